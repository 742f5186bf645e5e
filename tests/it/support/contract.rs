//! Holds answers against the OpenAPI document: the status must be documented for that route, the headers
//! there, and the body must be what the schema says and nothing more.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use calltracker::http::openapi;
use jsonschema::Validator;
use serde_json::{Value as Json, json};

use super::client::Answer;

static DOCUMENT: LazyLock<Json> = LazyLock::new(|| {
    let mut document = openapi::document();
    for schema in document["components"]["schemas"].as_object_mut().expect("it has schemas").values_mut() {
        close(schema);
    }
    document
});

/// Clients must take keys that they don't know; the tests refuse them, so that none goes undocumented.
fn close(schema: &mut Json) {
    if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
        schema["additionalProperties"] = false.into();
    }
    match schema {
        Json::Object(map) => map.values_mut().for_each(close),
        Json::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Panics if the answer, or a body that was accepted, isn't as documented.
#[track_caller]
pub fn check(method: &str, path: &str, sent: &Json, answer: &Answer) {
    let at = format!("{method} {path} -> {}", answer.status);
    let Some((template, operation)) = operation(method, path) else {
        assert!(matches!(answer.status, 404 | 405), "{at} isn't documented");
        assert_valid(&at, "Problem", &json!({ "$ref": "#/components/schemas/Problem" }), &answer.json);
        return;
    };
    let response = resolve(&operation["responses"][answer.status.to_string()]);
    assert!(response.is_object(), "{at} isn't documented: {}", answer.text);
    for name in response["headers"].as_object().into_iter().flat_map(|headers| headers.keys()) {
        // A replayed answer and a stream have them too; only problems may do without.
        assert!(answer.headers.contains_key(name), "{at} lacks the header {name}");
    }
    let Some(content) = response["content"].as_object() else {
        assert_eq!(answer.text, "", "{at} has no body by the document");
        return;
    };
    let media = answer.header("content-type").unwrap_or_default();
    let Some(schema) = content.get(media).map(|media| &media["schema"]) else {
        assert!(content.contains_key("audio/*"), "{at} came as {media:?}");
        return;
    };
    let key = format!("{method} {template} {}", answer.status);
    if media.ends_with("json") {
        assert_valid(&at, &key, schema, &answer.json);
    }
    let taken = &operation["requestBody"]["content"]["application/json"]["schema"];
    if (200..300).contains(&answer.status) && taken.is_object() {
        assert_valid(&format!("the body of {at}"), &format!("{key} sent"), taken, sent);
    }
}

/// The operation at a path; a literal part beats a parameter.
fn operation(method: &str, path: &str) -> Option<(&'static str, &'static Json)> {
    let path = path.strip_prefix("/api/v1")?;
    let paths = DOCUMENT["paths"].as_object().expect("it has paths");
    let matches = |template: &str| {
        let (mut theirs, mut ours) = (template.split('/'), path.split('/'));
        loop {
            match (theirs.next(), ours.next()) {
                (None, None) => return true,
                (Some(their), Some(our)) if their == our || their.starts_with('{') => {}
                _ => return false,
            }
        }
    };
    let found = paths.iter().filter(|(template, _)| matches(template));
    let (template, item) = found.min_by_key(|(template, _)| template.matches('{').count())?;
    Some((template, item.get(method.to_ascii_lowercase())?))
}

fn resolve(node: &'static Json) -> &'static Json {
    match node["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(&reference[1..]).expect("references lead somewhere"),
        None => node,
    }
}

#[track_caller]
fn assert_valid(at: &str, key: &str, schema: &Json, value: &Json) {
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let validator = {
        let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
        validators.entry(key.to_owned()).or_insert_with(|| Arc::new(compile(schema))).clone()
    };
    let errors: Vec<_> =
        validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{at} isn't as documented:\n{}\n{value:#}", errors.join("\n"));
}

fn compile(schema: &Json) -> Validator {
    let mut root = schema.clone();
    close(&mut root);
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["components"] = DOCUMENT["components"].clone();
    jsonschema::options()
        .should_validate_formats(true)
        .build(&root)
        .expect("the document's schemas are valid")
}
