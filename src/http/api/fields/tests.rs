//! What tables accept and how they say no.

use axum::http::HeaderValue;

use super::*;

static SHOUT: Rule = Rule {
    max: 5,
    format: "",
    example: "HEY",
    check: |text| {
        if text.to_uppercase() == text { Ok(()) } else { Err("is not loud".to_owned()) }
    },
};

const TABLE: &[Field] = &[
    Field::new("name", Kind::Text { min: 1, max: 5 }, "").required(),
    Field::new("loud", Kind::Rule(&SHOUT), ""),
    Field::new("on", Kind::Bool, "").default("true"),
    Field::new("count", Kind::Integer { min: 1, max: 9 }, ""),
    Field::new("value", Kind::Number { min: 0.0, max: 1.5 }, "").nullable(),
    Field::new("kind", Kind::Choice(|| vec!["a", "b"]), ""),
    Field::new("tags", Kind::List { of: &Kind::Text { min: 1, max: 3 }, min: 0, max: 2 }, ""),
    Field::new("inner", Kind::Object(&[Field::new("x", Kind::Bool, "").required()]), ""),
    Field::new(
        "either",
        Kind::OneOf(&[Field::new("a", Kind::Bool, ""), Field::new("b", Kind::Bool, "")]),
        "",
    ),
    Field::new("map", Kind::Map { entries_max: 2, key_max: 3, value: &Kind::Bool }, ""),
    Field::new("some", Kind::WordOr { word: "all", list: &TAGS }, ""),
];
static TAGS: Kind = Kind::List { of: &Kind::Choice(|| vec!["a", "b"]), min: 1, max: 2 };

fn valid(headers: &HeaderMap, body: &[u8], mode: Mode) -> Result<Values, Problem> {
    let (values, errors) = decode(headers, body, TABLE, mode)?;
    errors.into_result().map(|()| values)
}

fn errors(body: &str, mode: Mode) -> Vec<String> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let Err(problem) = valid(&headers, body.as_bytes(), mode) else { return Vec::new() };
    let (_, _, body) = problem.into_parts();
    let Some(errors) = body["errors"].as_array() else {
        return vec![body["detail"].as_str().unwrap_or_default().to_owned()];
    };
    let text = |e: &Json, key: &str| e[key].as_str().unwrap_or_default().to_owned();
    errors.iter().map(|e| format!("{} {}", text(e, "field"), text(e, "message"))).collect()
}

#[test]
fn every_wrong_field_is_told_at_once() {
    let body = r#"{"name":"toolong","loud":"hey","on":1,"count":10,"value":"1","kind":"c","tags":["a","a"],
        "inner":{"y":1},"either":{},"map":{"long":true,"b":1},"some":"none","other":0}"#;
    insta::assert_snapshot!(errors(body, Mode::New).join("\n"), @r#"
    name must have 1 to 5 characters, not 7
    loud is not loud
    on must be true or false
    count must be an integer from 1 to 9
    value must be a number from 0 to 1.5
    kind must be one of: a, b
    tags[1] is there twice
    inner.y is not a known key
    inner.x is required
    either must have exactly one of: a, b
    map.long must have 1 to 3 characters, not 4
    map.b must be true or false
    some must be "all" or a list
    other is not a known key
    "#);
}

#[test]
fn odd_bodies_are_refused_with_their_reason() {
    for (body, expected) in [
        ("", "The body is not JSON: EOF while parsing a value at line 1 column 0"),
        ("{\"name\":\n1,}", "The body is not JSON: trailing comma at line 2 column 3"),
        ("[]", "The body must be a JSON object"),
        ("{} {}", "The body is not JSON: trailing characters at line 1 column 4"),
        ("{}", "name is required"),
        (r#"{"name":"a","name":"b"}"#, "name is there twice"),
        (r#"{"name":null}"#, "name must not be null but a text"),
        (r#"{"name":"a\u0000"}"#, "name must not contain the character NUL"),
        (r#"{"name":""}"#, "name must not be empty"),
        (r#"{"name":"a","count":1.5}"#, "count must be an integer from 1 to 9"),
        (r#"{"name":"a","tags":["a","b","c"]}"#, "tags must have 0 to 2 items"),
        (r#"{"name":"a","some":["c"]}"#, "some[0] must be one of: a, b"),
        (r#"{"name":"a","either":{"a":true,"b":true}}"#, "either must have exactly one of: a, b"),
    ] {
        assert_eq!(errors(body, Mode::New), [expected], "{body}");
    }
    let deep = format!("{{\"name\":{}", "[".repeat(100_000));
    assert!(errors(&deep, Mode::New)[0].contains("recursion limit exceeded"));
}

#[test]
fn a_change_needs_nothing_and_a_new_object_gets_defaults() {
    let headers =
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"))]);
    let changed = valid(&headers, br#"{"value":null}"#, Mode::Change).expect("it is valid");
    assert_eq!(changed.get::<bool>("on"), None);
    assert_eq!(changed.get::<Option<f64>>("value"), Some(None));
    let new = valid(&headers, r#"{"name":"ééééé"}"#.as_bytes(), Mode::New).expect("it is valid");
    assert!(new.need::<bool>("on"));
    assert_eq!(new.need::<String>("name"), "ééééé");
    assert_eq!(new.get::<Option<f64>>("value"), None);
}

#[test]
fn only_json_is_read() {
    for media in ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"] {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media))]);
        let problem = valid(&headers, b"{}", Mode::Change).expect_err(media);
        assert_eq!(problem.kind(), ProblemKind::UnsupportedMediaType, "{media}");
    }
}

#[test]
fn what_is_wrong_is_not_among_the_values() {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let body = br#"{"name":"","on":true,"tags":["a","a"],"inner":{"y":1}}"#;
    let (values, errors) = decode(&headers, body, TABLE, Mode::Change).expect("it is an object");
    assert_eq!(values.0.keys().collect::<Vec<_>>(), ["on"]);
    assert!(errors.is_about("tags") && errors.is_about("inner") && !errors.is_about("tag"));
}
