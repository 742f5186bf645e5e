//! What a request may say, as tables: each key of a body and each parameter of a query with its type,
//! limits and meaning. One table decides what is accepted and is what the OpenAPI document shows, so the
//! two can't differ. Nothing is ignored: an unknown, doubled or ill-typed key is an error, and all errors
//! are told at once.

mod node;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value as Json, json};

use self::node::Node;
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

    pub fn is_required(&self) -> bool {
        self.required
    }

    pub fn is_nullable(&self) -> bool {
        self.nullable
    }

    /// What holds when a new object doesn't say.
    pub fn default_value(&self) -> Option<Json> {
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

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something is wrong with this key of a body, or inside its value.
    pub fn is_about(&self, key: &str) -> bool {
        let rests = self.0.iter().filter_map(|error| error.field.strip_prefix(key));
        rests.into_iter().any(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }

    /// # Errors
    /// Whatever was added.
    pub fn into_result(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::validation(self.0)) }
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
        } else if min == 0 && length > max {
            self.add(field, format!("must have at most {max} characters, not {length}"));
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

/// Reads a body by its table. What is wrong with it stands in the errors, and its values are those of the keys
/// that are right: so that checks by something else than the table can still tell what is wrong with these.
///
/// # Errors
/// It isn't JSON, or isn't an object.
pub fn decode(
    headers: &HeaderMap,
    body: &[u8],
    fields: &[Field],
    mode: Mode,
) -> Result<(Values, Errors), Problem> {
    if !is_json(headers) {
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, "Send Content-Type: application/json"));
    }
    read(body, fields, mode)
}

/// As [`decode`], of bytes that are JSON if anything.
///
/// # Errors
/// As [`decode`].
pub(in crate::http) fn read(body: &[u8], fields: &[Field], mode: Mode) -> Result<(Values, Errors), Problem> {
    let node: Node = serde_json::from_slice(body).map_err(|error| {
        // serde_json's text ends with the line and the column.
        Problem::new(ProblemKind::MalformedBody, format!("The body is not JSON: {error}"))
    })?;
    let Node::Object(entries) = node else {
        return Err(Problem::new(ProblemKind::MalformedBody, "The body must be a JSON object"));
    };
    let mut errors = Errors::default();
    let mut checked = check_object(fields, entries, mode, "", &mut errors);
    checked.retain(|name, _| !errors.is_about(name));
    Ok((Values(checked), errors))
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
    let parameters = parameters.trim().to_ascii_lowercase();
    media.trim().eq_ignore_ascii_case("application/json")
        && ["", "charset=utf-8", "charset=\"utf-8\""].contains(&parameters.as_str())
}

#[cfg(test)]
mod tests;
