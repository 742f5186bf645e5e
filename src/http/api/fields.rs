//! What a request may say, as tables: each key of a body and each parameter of a query with its type,
//! limits and meaning. One table decides what is accepted and is what the OpenAPI document shows, so the
//! two can't differ. Nothing is ignored: an unknown, doubled or ill-typed key is an error, and all errors
//! are told at once.

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json, json};

use crate::http::problem::{FieldError, Kind as ProblemKind, Problem};

/// So much of a strange key is repeated in the error about it, in characters.
const NAME_SHOWN_MAX: usize = 64;

/// A key of a body, or a parameter of a query.
#[derive(Clone, Copy)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// What it means, for the document.
    pub about: &'static str,
    required: bool,
    nullable: bool,
    /// JSON that holds when a new object doesn't say.
    default: Option<&'static str>,
}

impl Field {
    /// An optional key.
    pub const fn new(name: &'static str, kind: Kind, about: &'static str) -> Field {
        Field { name, kind, about, required: false, nullable: false, default: None }
    }

    /// A new object must have it.
    pub const fn required(mut self) -> Field {
        self.required = true;
        self
    }

    /// `null` is a value of its own.
    pub const fn nullable(mut self) -> Field {
        self.nullable = true;
        self
    }

    /// What holds when a new object doesn't say, as JSON.
    pub const fn default(mut self, json: &'static str) -> Field {
        self.default = Some(json);
        self
    }

    fn default_value(&self) -> Option<Json> {
        self.default.map(|text| serde_json::from_str(text).expect("a table's defaults are JSON"))
    }

    /// JSON Schema of its values.
    pub fn schema(&self, mode: Mode) -> Json {
        let mut schema = self.kind.schema();
        if self.nullable {
            schema = json!({ "anyOf": [schema, { "type": "null" }] });
        }
        if !self.about.is_empty() {
            schema["description"] = self.about.into();
        }
        if let (Some(default), Mode::New) = (self.default_value(), mode) {
            schema["default"] = default;
        }
        schema
    }
}

/// A type of values, with its limits.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Text of so many characters (Unicode scalar values). NUL is refused: PostgreSQL can't keep it.
    Text {
        min: usize,
        max: usize,
    },
    /// Text that a rule of the domain must accept.
    Rule(&'static Rule),
    /// One of some words.
    Choice(fn() -> Vec<&'static str>),
    Bool,
    Integer {
        min: i64,
        max: i64,
    },
    Number {
        min: f64,
        max: f64,
    },
    /// A list without repetitions.
    List {
        of: &'static Kind,
        min: usize,
        max: usize,
    },
    Object(&'static [Field]),
    /// An object that has exactly one of these keys.
    OneOf(&'static [Field]),
    /// An object with keys of the client's choice, each checked as a text of so many characters.
    Map {
        entries_max: usize,
        key_max: usize,
        value: &'static Kind,
    },
    /// A word, or a list.
    WordOr {
        word: &'static str,
        list: &'static Kind,
    },
}

/// A rule of the domain about a text: made of a function that the domain has.
pub struct Rule {
    /// In characters.
    pub max: usize,
    /// JSON Schema's `format`, "" if there is none.
    pub format: &'static str,
    pub example: &'static str,
    /// Ok, or what is wrong with it ("is not …").
    pub check: fn(&str) -> Result<(), String>,
}

/// Whether a body makes something or changes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Required keys must be there, defaults hold for the rest.
    New,
    /// What is absent stays as it is.
    Change,
}

impl Kind {
    /// JSON Schema of the values that [`Kind::check`] accepts.
    pub fn schema(&self) -> Json {
        match self {
            Kind::Text { min, max } => json!({ "type": "string", "minLength": min, "maxLength": max }),
            Kind::Rule(rule) => {
                let mut schema =
                    json!({ "type": "string", "maxLength": rule.max, "examples": [rule.example] });
                if !rule.format.is_empty() {
                    schema["format"] = rule.format.into();
                }
                schema
            }
            Kind::Choice(words) => json!({ "type": "string", "enum": words() }),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
            Kind::Number { min, max } => json!({ "type": "number", "minimum": min, "maximum": max }),
            Kind::List { of, min, max } => json!({
                "type": "array", "items": of.schema(), "minItems": min, "maxItems": max, "uniqueItems": true,
            }),
            Kind::Object(fields) => object_schema(fields, Mode::New),
            Kind::OneOf(fields) => {
                let mut schema = object_schema(fields, Mode::Change);
                schema["minProperties"] = 1.into();
                schema["maxProperties"] = 1.into();
                schema
            }
            Kind::Map { entries_max, key_max, value } => json!({
                "type": "object", "maxProperties": entries_max, "propertyNames": { "maxLength": key_max },
                "additionalProperties": value.schema(),
            }),
            Kind::WordOr { word, list } => {
                json!({ "anyOf": [{ "type": "string", "const": word }, list.schema()] })
            }
        }
    }

    fn check(&self, node: Node, path: &str, errors: &mut Errors) -> Json {
        match (self, node) {
            (Kind::Text { min, max }, Node::Text(text)) => {
                errors.check_text(path, &text, *min, *max);
                text.into()
            }
            (Kind::Rule(rule), Node::Text(text)) => {
                if errors.check_text(path, &text, 0, rule.max)
                    && let Err(message) = (rule.check)(&text)
                {
                    errors.add(path, message);
                }
                text.into()
            }
            (Kind::Choice(words), Node::Text(text)) => {
                if !words().contains(&text.as_str()) {
                    errors.add(path, format!("must be one of: {}", words().join(", ")));
                }
                text.into()
            }
            (Kind::Bool, Node::Bool(value)) => value.into(),
            (Kind::Integer { min, max }, Node::Number(number)) => {
                if !number.as_i64().is_some_and(|n| (*min..=*max).contains(&n)) {
                    errors.add(path, format!("must be an integer from {min} to {max}"));
                }
                number.into()
            }
            (Kind::Number { min, max }, Node::Number(number)) => {
                if !number.as_f64().is_some_and(|n| (*min..=*max).contains(&n)) {
                    errors.add(path, format!("must be a number from {min} to {max}"));
                }
                number.into()
            }
            (Kind::List { of, min, max }, Node::List(nodes)) => {
                check_list(of, (*min, *max), nodes, path, errors)
            }
            (Kind::Object(fields), Node::Object(entries)) => {
                check_object(fields, entries, Mode::New, path, errors).into()
            }
            (Kind::OneOf(fields), Node::Object(entries)) => {
                if entries.len() != 1 {
                    let names: Vec<_> = fields.iter().map(|field| field.name).collect();
                    errors.add(path, format!("must have exactly one of: {}", names.join(", ")));
                }
                check_object(fields, entries, Mode::Change, path, errors).into()
            }
            (Kind::Map { entries_max, key_max, value }, Node::Object(entries)) => {
                check_map((*entries_max, *key_max), value, entries, path, errors)
            }
            (Kind::WordOr { word, .. }, Node::Text(text)) => {
                if text != *word {
                    errors.add(path, format!("must be {word:?} or a list"));
                }
                text.into()
            }
            (Kind::WordOr { list, .. }, node @ Node::List(_)) => list.check(node, path, errors),
            (kind, Node::Null) => errors.wrong(path, format!("must not be null but {}", kind.noun())),
            (kind, _) => errors.wrong(path, format!("must be {}", kind.noun())),
        }
    }

    fn noun(&self) -> String {
        match self {
            Kind::Text { .. } | Kind::Rule(_) => "a text".to_owned(),
            Kind::Choice(words) => format!("one of: {}", words().join(", ")),
            Kind::Bool => "true or false".to_owned(),
            Kind::Integer { min, max } => format!("an integer from {min} to {max}"),
            Kind::Number { min, max } => format!("a number from {min} to {max}"),
            Kind::List { .. } => "a list".to_owned(),
            Kind::Object(_) | Kind::OneOf(_) | Kind::Map { .. } => "an object".to_owned(),
            Kind::WordOr { word, .. } => format!("{word:?} or a list"),
        }
    }

    /// The value of a parameter of a query, where everything is text.
    pub(super) fn check_parameter(&self, text: &str, name: &str, errors: &mut Errors) -> Json {
        let node = match self {
            Kind::Integer { .. } => text.parse().ok().map(|n: i64| Node::Number(n.into())),
            Kind::Number { .. } => text.parse().ok().and_then(Number::from_f64).map(Node::Number),
            Kind::Bool => text.parse().ok().map(Node::Bool),
            _ => None,
        };
        self.check(node.unwrap_or_else(|| Node::Text(text.to_owned())), name, errors)
    }
}

fn check_list(
    of: &Kind,
    (min, max): (usize, usize),
    nodes: Vec<Node>,
    path: &str,
    errors: &mut Errors,
) -> Json {
    if !(min..=max).contains(&nodes.len()) {
        // The items of an oversized list are not looked at: there may be very many.
        return errors.wrong(path, format!("must have {min} to {max} items"));
    }
    let mut values = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.into_iter().enumerate() {
        let item = format!("{path}[{index}]");
        let value = of.check(node, &item, errors);
        if values.contains(&value) {
            errors.add(&item, "is there twice");
        }
        values.push(value);
    }
    values.into()
}

fn check_map(
    (entries_max, key_max): (usize, usize),
    value: &Kind,
    entries: Vec<(String, Node)>,
    path: &str,
    errors: &mut Errors,
) -> Json {
    if entries.len() > entries_max {
        return errors.wrong(path, format!("must have at most {entries_max} keys"));
    }
    let mut checked = Map::new();
    for (key, node) in entries {
        let at = join(path, &key);
        errors.check_text(&at, &key, 1, key_max);
        let node = value.check(node, &at, errors);
        if checked.insert(key, node).is_some() {
            errors.add(&at, "is there twice");
        }
    }
    checked.into()
}

fn check_object(
    fields: &[Field],
    entries: Vec<(String, Node)>,
    mode: Mode,
    path: &str,
    errors: &mut Errors,
) -> Map<String, Json> {
    let mut checked = Map::new();
    for (key, node) in entries {
        let at = join(path, &key);
        let Some(field) = fields.iter().find(|field| field.name == key) else {
            errors.add(&at, "is not a known key");
            continue;
        };
        let value = match node {
            Node::Null if field.nullable => Json::Null,
            node => field.kind.check(node, &at, errors),
        };
        if checked.insert(key, value).is_some() {
            errors.add(&at, "is there twice");
        }
    }
    if mode == Mode::New {
        for field in fields.iter().filter(|field| !checked.contains_key(field.name)).collect::<Vec<_>>() {
            if field.required {
                errors.add(&join(path, field.name), "is required");
            } else if let Some(value) = field.default_value() {
                checked.insert(field.name.to_owned(), value);
            }
        }
    }
    checked
}

/// JSON Schema of an object with these keys and no others.
pub fn object_schema(fields: &[Field], mode: Mode) -> Json {
    let properties: Map<_, _> =
        fields.iter().map(|field| (field.name.to_owned(), field.schema(mode))).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    let required: Vec<_> = fields.iter().filter(|f| f.required).map(|field| field.name).collect();
    if mode == Mode::New && !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

fn join(path: &str, key: &str) -> String {
    let key: String = key.chars().take(NAME_SHOWN_MAX).filter(|c| !c.is_control()).collect();
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// What is wrong so far.
#[derive(Default)]
pub struct Errors(Vec<FieldError>);

impl Errors {
    /// `message` reads on from the field's name.
    pub fn add(&mut self, field: &str, message: impl Into<String>) {
        self.0.push(FieldError { field: field.to_owned(), message: message.into() });
    }

    /// # Errors
    /// Whatever was added.
    pub fn into_result(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::validation(self.0)) }
    }

    /// The value of a result, or its error added.
    pub fn take<T, E: fmt::Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(field, error.to_string())).ok()
    }

    /// As [`Errors::into_result`], where it is known that something was added.
    pub fn into_problem(self) -> Problem {
        Problem::validation(self.0)
    }

    fn wrong(&mut self, field: &str, message: String) -> Json {
        self.add(field, message);
        Json::Null
    }

    fn check_text(&mut self, field: &str, text: &str, min: usize, max: usize) -> bool {
        let length = text.chars().count();
        if text.contains('\0') {
            self.add(field, "must not contain the character NUL");
        } else if length < min && min == 1 {
            self.add(field, "must not be empty");
        } else if length < min || length > max {
            self.add(field, format!("must have {min} to {max} characters, not {length}"));
        } else {
            return true;
        }
        false
    }
}

/// Checked values by name.
#[derive(Debug, Default)]
pub struct Values(pub(super) Map<String, Json>);

impl Values {
    /// The value of `name`, if the client gave one (or the table has a default). For a key that may be
    /// null, ask for an `Option`: absent is None, null is `Some(None)`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let value = self.0.get(name)?.clone();
        Some(serde_json::from_value(value).expect("the type asked for is the one in the table"))
    }

    /// The value of a key that the table requires or has a default for.
    pub fn need<T: DeserializeOwned>(&self, name: &str) -> T {
        self.get(name).expect("the table requires the key, so it was checked")
    }

    /// A word of a closed set.
    pub fn choice<T>(&self, name: &str, parse: fn(&str) -> Option<T>) -> Option<T> {
        let text = self.0.get(name)?.as_str()?;
        Some(parse(text).expect("the table lists the words that parse"))
    }

    /// Replaces what is in `place`, if the client gave a value.
    pub fn set<T: DeserializeOwned>(&self, name: &str, place: &mut T) {
        if let Some(value) = self.get(name) {
            *place = value;
        }
    }
}

/// Reads a body by its table.
///
/// # Errors
/// It isn't JSON, isn't an object, or its fields aren't valid.
pub fn decode(headers: &HeaderMap, body: &[u8], fields: &[Field], mode: Mode) -> Result<Values, Problem> {
    if !is_json(headers) {
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, "Send Content-Type: application/json"));
    }
    let node: Node = serde_json::from_slice(body).map_err(|error| {
        // serde_json's text ends with the line and the column.
        Problem::new(ProblemKind::MalformedBody, format!("The body is not JSON: {error}"))
    })?;
    let Node::Object(entries) = node else {
        return Err(Problem::new(ProblemKind::MalformedBody, "The body must be a JSON object"));
    };
    let mut errors = Errors::default();
    let checked = check_object(fields, entries, mode, "", &mut errors);
    errors.into_result()?;
    Ok(Values(checked))
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
    let parameters = parameters.trim().to_ascii_lowercase();
    media.trim().eq_ignore_ascii_case("application/json")
        && ["", "charset=utf-8", "charset=\"utf-8\""].contains(&parameters.as_str())
}

/// JSON as it was sent: an object's keys may be there twice, which `serde_json::Value` would hide.
enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl<'de> serde::Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        Number::from_f64(value).map(Node::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = access.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Object(entries))
    }
}

#[cfg(test)]
mod tests {
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

    fn errors(body: &str, mode: Mode) -> Vec<String> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let Err(problem) = decode(&headers, body.as_bytes(), TABLE, mode) else { return Vec::new() };
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
        let headers = HeaderMap::from_iter([(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=UTF-8"),
        )]);
        let changed = decode(&headers, br#"{"value":null}"#, TABLE, Mode::Change).expect("it is valid");
        assert_eq!(changed.get::<bool>("on"), None);
        assert_eq!(changed.get::<Option<f64>>("value"), Some(None));
        let new = decode(&headers, r#"{"name":"ééééé"}"#.as_bytes(), TABLE, Mode::New).expect("it is valid");
        assert!(new.need::<bool>("on"));
        assert_eq!(new.need::<String>("name"), "ééééé");
        assert_eq!(new.get::<Option<f64>>("value"), None);
    }

    #[test]
    fn only_json_is_read() {
        for media in
            ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"]
        {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media))]);
            let problem = decode(&headers, b"{}", TABLE, Mode::Change).expect_err(media);
            assert_eq!(problem.kind(), ProblemKind::UnsupportedMediaType, "{media}");
        }
    }
}
