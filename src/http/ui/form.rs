//! Forms, made of the API's own tables: a field's kind says what its input looks like, how what was typed becomes the JSON
//! of the API, and where an error of the API is shown. So a form takes what the API takes, and says the same about it.

use form_urlencoded::parse;
use serde_json::{Map, Value as Json, json};

use super::view::word;
use crate::http::api::fields::{Field, Kind};
use crate::http::problem::Problem;

/// Texts that may be longer get an area of lines, in characters.
const LINE_CHARS_MAX: usize = 300;

/// An input of a form: a key of the API's table (`numbers.buy.count` is inside objects), and what people call it.
#[derive(Clone, Copy)]
pub(super) struct Ask {
    pub name: &'static str,
    pub label: &'static str,
    /// Instead of what the table says about the field.
    pub hint: Option<&'static str>,
    /// One line, however long it may be.
    line: bool,
}

impl Ask {
    pub(super) const fn new(name: &'static str, label: &'static str) -> Ask {
        Ask { name, label, hint: None, line: false }
    }

    pub(super) const fn hint(mut self, hint: &'static str) -> Ask {
        self.hint = Some(hint);
        self
    }

    pub(super) const fn line(mut self) -> Ask {
        self.line = true;
        self
    }
}

/// An input as a template shows it.
#[derive(Debug, PartialEq)]
pub(super) struct Input {
    pub name: &'static str,
    pub label: &'static str,
    pub hint: String,
    /// What is wrong with it; "" if nothing is.
    pub error: String,
    pub required: bool,
    pub shape: Shape,
}

impl Input {
    pub(super) fn is_bad(&self) -> bool {
        !self.error.is_empty()
    }

    /// Its `id` in the page.
    pub(super) fn id(&self) -> String {
        format!("f-{}", self.name.replace('.', "-"))
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Shape {
    /// `kind` is what HTML calls it.
    Line {
        kind: &'static str,
        value: String,
    },
    Area {
        value: String,
    },
    Check {
        checked: bool,
    },
    /// One of some.
    Select {
        choices: Vec<Choice>,
    },
    /// Any of some.
    Checks {
        choices: Vec<Choice>,
    },
}

#[derive(Debug, PartialEq)]
pub(super) struct Choice {
    pub value: String,
    pub label: String,
    pub chosen: bool,
}

/// What a browser sent.
pub(super) struct Typed(Vec<(String, String)>);

impl Typed {
    pub(super) fn parse(form: &[u8]) -> Typed {
        Typed(parse(form).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// As parameters of a query are: texts.
    pub(super) fn parameters(&self) -> Json {
        self.0
            .iter()
            .map(|(name, value)| (name.clone(), Json::from(value.as_str())))
            .collect::<Map<_, _>>()
            .into()
    }

    /// The body for the API. What was left empty and may be is left out, or null where that is a value.
    pub(super) fn body(&self, fields: &[Field], asks: &[Ask]) -> Json {
        let mut body = Map::new();
        for ask in asks {
            let Some(field) = find(fields, ask.name) else { continue };
            if let Some(value) = self.value(field, ask.name) {
                put(&mut body, ask.name, value);
            }
        }
        body.into()
    }

    fn value(&self, field: &Field, name: &str) -> Option<Json> {
        let text = self.get(name);
        match &field.kind {
            Kind::Bool => Some(matches!(text, Some("on" | "true")).into()),
            Kind::List { of: Kind::Choice(_), .. } => Some(self.all(name).collect::<Vec<_>>().into()),
            Kind::WordOr { word, .. } => Some(match self.all(name).collect::<Vec<_>>() {
                chosen if chosen.contains(word) => (*word).into(),
                chosen => chosen.into(),
            }),
            kind => {
                let text = text?.trim_matches(['\r', '\n', ' ']);
                match (kind, text.is_empty()) {
                    (_, true) if field.is_nullable() => Some(Json::Null),
                    (Kind::Text { min: 0, .. }, true) if !field.is_required() => Some("".into()),
                    (Kind::Rule(rule), true) if (rule.check)("").is_ok() => Some("".into()),
                    (Kind::List { .. } | Kind::Map { .. }, _) => Some(lines(kind, text)),
                    (_, true) => None,
                    (Kind::Integer { .. }, false) => {
                        Some(text.parse::<i64>().map_or_else(|_| text.into(), Json::from))
                    }
                    (Kind::Number { .. }, false) => {
                        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
                        Some(number.map_or_else(|| text.into(), Json::from))
                    }
                    (_, false) => Some(text.replace("\r\n", "\n").into()),
                }
            }
        }
    }
}

/// A list with commas or ends of lines between, or a `name: value` on each line.
fn lines(kind: &Kind, text: &str) -> Json {
    let parts = |between: &'static [char]| text.split(between).map(str::trim).filter(|part| !part.is_empty());
    match kind {
        Kind::Map { .. } => {
            let pair = |line: &str| {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                (name.trim().to_owned(), Json::from(value.trim()))
            };
            parts(&['\n']).map(pair).collect::<Map<_, _>>().into()
        }
        _ => parts(&[',', '\n']).collect::<Vec<_>>().into(),
    }
}

fn put(body: &mut Map<String, Json>, name: &str, value: Json) {
    match name.split_once('.') {
        None => drop(body.insert(name.to_owned(), value)),
        Some((outer, inner)) => {
            let object = body.entry(outer).or_insert_with(|| json!({}));
            if let Json::Object(object) = object {
                put(object, inner, value);
            }
        }
    }
}

fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    let (outer, inner) = name.split_once('.').map_or((name, None), |(outer, inner)| (outer, Some(inner)));
    let field = fields.iter().find(|field| field.name == outer)?;
    match (inner, &field.kind) {
        (None, _) => Some(field),
        (Some(inner), Kind::Object(fields) | Kind::OneOf(fields)) => find(fields, inner),
        (Some(_), _) => None,
    }
}

/// The inputs with their values, and with what the API said is wrong.
pub(super) fn inputs(fields: &[Field], asks: &[Ask], values: &Json, problem: Option<&Problem>) -> Vec<Input> {
    let asked = asks.iter().filter_map(|ask| Some((ask, find(fields, ask.name)?)));
    asked.map(|(ask, field)| input(ask, field, at(values, ask.name), problem)).collect()
}

/// What a form for something new begins with.
pub(super) fn defaults(fields: &[Field]) -> Json {
    let pairs = fields.iter().filter_map(|field| Some((field.name.to_owned(), field.default_value()?)));
    pairs.collect::<Map<_, _>>().into()
}

/// What is wrong with the whole, or with something that has no input in `inputs`; "" if nothing is.
pub(super) fn failure(problem: Option<&Problem>, inputs: &[Input]) -> String {
    let Some(problem) = problem else { return String::new() };
    if problem.errors().is_empty() {
        return problem.detail().to_owned();
    }
    let homeless =
        problem.errors().iter().filter(|e| !inputs.iter().any(|input| is_of(&e.field, input.name)));
    let texts: Vec<String> = homeless.map(|e| format!("{} {}", e.field, e.message)).collect();
    if texts.is_empty() { "Some of this isn’t right yet.".to_owned() } else { texts.join("; ") }
}

/// Whether an error's path is that of the input, or inside it.
fn is_of(path: &str, name: &str) -> bool {
    path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn at<'a>(values: &'a Json, name: &str) -> &'a Json {
    name.split('.').fold(values, |value, key| &value[key])
}

fn input(ask: &Ask, field: &Field, value: &Json, problem: Option<&Problem>) -> Input {
    let errors = problem.map(Problem::errors).unwrap_or_default();
    let mine = errors.iter().filter(|error| is_of(&error.field, ask.name));
    Input {
        name: ask.name,
        label: ask.label,
        hint: ask.hint.map_or_else(|| field.about.replace('`', ""), str::to_owned),
        error: mine.map(|error| error.message.clone()).collect::<Vec<_>>().join("; "),
        required: field.is_required(),
        shape: shape(ask, field, value),
    }
}

fn shape(ask: &Ask, field: &Field, value: &Json) -> Shape {
    let line = |kind| Shape::Line { kind, value: text(value) };
    match &field.kind {
        // A parameter that isn't given is neither.
        Kind::Bool if value.is_string() || value.is_null() => {
            Shape::Select { choices: choices(["", "true", "false"], |word| value == word) }
        }
        Kind::Bool => Shape::Check { checked: value.as_bool().unwrap_or(false) },
        Kind::Choice(words) => {
            let words = words();
            // What isn't required can be left open.
            let open = (!field.is_required() && field.default_value().is_none() && !words.contains(&""))
                .then_some("");
            Shape::Select { choices: choices(open.into_iter().chain(words), |word| value == word) }
        }
        Kind::List { of: Kind::Choice(words), .. } => {
            Shape::Checks { choices: choices(words(), |word| holds(value, word)) }
        }
        Kind::WordOr { word: all, list: Kind::List { of: Kind::Choice(words), .. } } => Shape::Checks {
            choices: choices([*all].into_iter().chain(words()), |word| value == word || holds(value, word)),
        },
        Kind::Integer { .. } | Kind::Number { .. } => line("number"),
        Kind::Text { max, .. } if *max > LINE_CHARS_MAX && !ask.line => Shape::Area { value: text(value) },
        Kind::List { .. } => line("text"),
        Kind::Map { .. } => Shape::Area { value: text(value) },
        _ => line("text"),
    }
}

fn choices(words: impl IntoIterator<Item = &'static str>, chosen: impl Fn(&str) -> bool) -> Vec<Choice> {
    let label = |value| match value {
        "true" => "yes".to_owned(),
        "false" => "no".to_owned(),
        other => word(other),
    };
    let choice =
        |value: &'static str| Choice { label: label(value), chosen: chosen(value), value: value.to_owned() };
    words.into_iter().map(choice).collect()
}

fn holds(list: &Json, word: &str) -> bool {
    list.as_array().is_some_and(|items| items.iter().any(|item| item == word))
}

/// A value as people type it.
fn text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        Json::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Json::Object(pairs) => {
            let lines = pairs.iter().map(|(name, value)| format!("{name}: {}", text(value)));
            lines.collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static HEADER: Kind = Kind::Text { min: 0, max: 20 };
    static EVENTS: Kind = Kind::List { of: &Kind::Choice(|| vec!["a.b", "c.d"]), min: 1, max: 2 };
    static TAG: Kind = Kind::Text { min: 1, max: 9 };
    const FIELDS: &[Field] = &[
        Field::new("name", Kind::Text { min: 1, max: 20 }, "The `name`.").required(),
        Field::new("note", Kind::Text { min: 0, max: 4_000 }, ""),
        Field::new("rate", Kind::Number { min: 0.0, max: 9.0 }, "").nullable(),
        Field::new("count", Kind::Integer { min: 1, max: 9 }, ""),
        Field::new("on", Kind::Bool, ""),
        Field::new("events", Kind::WordOr { word: "all", list: &EVENTS }, ""),
        Field::new("headers", Kind::Map { entries_max: 9, key_max: 9, value: &HEADER }, ""),
        Field::new("tags", Kind::List { of: &TAG, min: 0, max: 9 }, ""),
        Field::new("buy", Kind::Object(&[Field::new("area", Kind::Text { min: 0, max: 3 }, "")]), ""),
    ];
    const ASKS: &[Ask] = &[
        Ask::new("name", "Name"),
        Ask::new("note", "Note"),
        Ask::new("rate", "Rate"),
        Ask::new("count", "Count"),
        Ask::new("on", "On"),
        Ask::new("events", "Events"),
        Ask::new("headers", "Headers"),
        Ask::new("tags", "Tags"),
        Ask::new("buy.area", "Area"),
    ];

    #[test]
    fn what_was_typed_becomes_the_apis_json() {
        let typed = "name=+Ana+&note=a%0D%0Ab&rate=2.5&count=3&on=on&events=a.b&events=c.d\
                     &headers=X-A%3A+1%0D%0AX-B%3A2&tags=x%2C+y&buy.area=202";
        let body = Typed::parse(typed.as_bytes()).body(FIELDS, ASKS);
        let wanted = json!({
            "name": "Ana", "note": "a\nb", "rate": 2.5, "count": 3, "on": true, "events": ["a.b", "c.d"],
            "headers": {"X-A": "1", "X-B": "2"}, "tags": ["x", "y"], "buy": {"area": "202"},
        });
        assert_eq!(body, wanted);
    }

    #[test]
    fn what_was_left_empty_is_left_to_the_api() {
        let body = Typed::parse(b"name=&note=&rate=&count=&headers=&tags=&buy.area=").body(FIELDS, ASKS);
        let wanted = json!({
            "note": "", "rate": null, "on": false, "events": [], "headers": {}, "tags": [], "buy": {"area": ""},
        });
        assert_eq!(body, wanted);
        let all = Typed::parse(b"events=a.b&events=all&count=many").body(FIELDS, ASKS);
        assert_eq!((&all["events"], &all["count"]), (&json!("all"), &json!("many")));
    }

    #[test]
    fn a_form_shows_what_the_api_has() {
        let typed =
            "name=Ana&note=a%0Ab&rate=2.5&count=3&on=on&events=a.b&headers=X-A%3A+1&tags=x%2C+y&buy.area=202";
        let body = Typed::parse(typed.as_bytes()).body(FIELDS, ASKS);
        for input in inputs(FIELDS, ASKS, &body, None) {
            let shown = match (input.name, input.shape) {
                ("on", Shape::Check { checked }) => checked,
                ("events", Shape::Checks { choices }) => choices
                    .iter()
                    .map(|c| (c.value.as_str(), c.chosen))
                    .eq([("all", false), ("a.b", true), ("c.d", false)]),
                ("note", Shape::Area { value }) => value == "a\nb",
                ("headers", Shape::Area { value }) => value == "X-A: 1",
                ("name", Shape::Line { kind: "text", value }) => value == "Ana",
                ("rate", Shape::Line { kind: "number", value }) => value == "2.5",
                ("count", Shape::Line { kind: "number", value }) => value == "3",
                ("tags", Shape::Line { value, .. }) => value == "x, y",
                ("buy.area", Shape::Line { value, .. }) => value == "202",
                _ => false,
            };
            assert!(shown, "{}", input.name);
        }
    }

    #[test]
    fn an_error_stands_beside_its_input_or_above_all() {
        let problem = Problem::field("headers.X-A", "is set by us");
        let shown = inputs(FIELDS, ASKS, &json!({}), Some(&problem));
        let bad: Vec<_> = shown.iter().filter(|input| input.is_bad()).map(|input| input.name).collect();
        assert_eq!(bad, ["headers"]);
        assert_eq!(failure(Some(&problem), &shown), "Some of this isn’t right yet.");
        let strange = Problem::field("carrier_id", "is required");
        assert_eq!(failure(Some(&strange), &shown), "carrier_id is required");
        assert_eq!(failure(None, &shown), "");
    }
}
