//! The OpenAPI 3.1 document: made of the same tables that the router and the decoders use, so what it says
//! is what the server does. Served at `/api/v1/openapi.json`, printed by `calltracker openapi`.

pub mod schemas;

use std::sync::LazyLock;

use serde_json::{Map, Value as Json, json};

use super::api::fields::{Field, object_schema};
use super::api::route::{Access, Answer, Body, Route};
use super::api::{ROOT, routes};
use super::csv;
use super::problem::{self, Kind};
use crate::events::EventType;

/// The version of the API, not of the program: the first part changes when a client would break.
const VERSION: &str = "1.0.0";

const ABOUT: &str = "\
Call tracking: which ad, keyword and page made each call.

**Tokens.** Send `Authorization: Bearer TOKEN`. A token belongs to the account or to one company, and may \
read, or read and write. What a token doesn't see is answered with 404.

**Strictness.** Unknown parameters and unknown keys of a body are errors, never ignored. All errors of a \
request are told at once.

**Errors** are `application/problem+json` (RFC 9457). `type` is stable: branch on it.

**Lists** have `limit` and `after`, and answer `{\"data\": […], \"next\": \"<cursor>\" | null}`, newest first \
unless said otherwise. Rows that are inserted meanwhile neither shift nor repeat anything.

**Repeating a POST.** With an `Idempotency-Key`, a POST that is sent again within 24 hours is not done again \
but answered the same, with `Idempotent-Replayed: true`.

**Limits.** Each answer to a valid token has `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` \
(seconds). Beyond the limit the answer is 429 with `Retry-After`.

**Times** are RFC 3339 in UTC. Phone numbers are E.164. Ids are integers unless said otherwise.";

const WEBHOOKS_ABOUT: &str = "\
Signed by the Standard Webhooks rules. Only 200 means that it was taken; otherwise it is sent again up to 5 \
times within 24 hours. The same event may come more than once: `webhook-id` tells.";

const VERIFICATION_ABOUT: &str = "\
Asks whether the target wants a webhook's events: answered with 200, the webhook is active and what was held goes \
out. Sent once when a webhook is created and whenever it is asked for; never sent again by itself. It is signed like \
everything else, but the first may arrive before the secret is known.";

/// The groups, in the order of the document.
const TAGS: [(&str, &str); 16] = [
    ("Companies", "The tenants: everything else belongs to one."),
    ("Carriers", "A company's accounts at telephone carriers."),
    ("Numbers", "Numbers that a carrier has for sale."),
    ("Trackers", "What a tracking number stands for, and where its calls go."),
    ("Number orders", "Numbers for pools that are bought bit by bit."),
    ("Blocked callers", "Numbers whose calls are rejected."),
    ("Calls", "What came in, with its source."),
    ("Messages", "Texts in and out."),
    ("Voicemails", "What callers left, with its transcription."),
    ("Reports", "How many calls there were, and from where."),
    ("Usage", "What a billing period came to."),
    ("Events", "The log of everything that webhooks are told."),
    ("Webhooks", "Where events are sent to."),
    ("Deliveries", "What was sent to a webhook, and what became of it."),
    ("Alerts", "What people were told about their webhooks."),
    ("Replays", "Ranges of a webhook's deliveries that are sent again."),
];

/// The whole document.
pub fn document() -> Json {
    let used = |name: &str| routes().any(|route| route.tag == name);
    let tags: Vec<_> = TAGS
        .iter()
        .filter(|(name, _)| used(name))
        .map(|(name, about)| json!({ "name": name, "description": about }))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Call Tracker API",
            "version": VERSION,
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": ROOT }],
        "security": [{ "token": [] }],
        "tags": tags,
        "paths": paths(),
        "webhooks": webhooks(),
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "headers": headers(),
            "responses": responses(),
            "schemas": component_schemas(),
        },
    })
}

/// The document as text, made once.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());
    &TEXT
}

fn paths() -> Json {
    let mut paths = Map::new();
    for route in routes() {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    paths.into()
}

fn operation(route: &Route) -> Json {
    let mut operation = json!({
        "operationId": route.operation_id,
        "tags": [route.tag],
        "summary": route.summary,
        "responses": operation_responses(route),
    });
    let about = operation_about(route);
    if !about.is_empty() {
        operation["description"] = about.into();
    }
    let parameters = parameters(route);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = &route.body {
        let content = json!({ "application/json": { "schema": reference(body.name) } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn operation_about(route: &Route) -> String {
    let access = match route.access {
        Access::Read => "",
        Access::Write => "Needs a token that may write.",
        Access::Account => "Needs a token of the whole account that may write.",
    };
    [route.about, access].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

fn parameters(route: &Route) -> Vec<Json> {
    let in_path = route.path_names().map(|name| {
        // A delivery is known by what its receiver sees as webhook-id.
        let schema = match name {
            "delivery_id" => json!({ "type": "string", "examples": ["msg_01JNX3Y8AB5V7PD3K0Q2M6R9ST_21"] }),
            _ => json!({ "type": "integer", "minimum": 1 }),
        };
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    });
    let in_query = route.params.iter().map(query_parameter);
    let key = (route.method == axum::http::Method::POST).then(|| {
        json!({
            "name": "Idempotency-Key", "in": "header",
            "description": "1 to 255 visible ASCII characters of the client's choice.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
        })
    });
    in_path.chain(in_query).chain(key).collect()
}

fn query_parameter(field: &Field) -> Json {
    json!({
        "name": field.name, "in": "query", "description": field.about, "schema": field.kind.schema(),
    })
}

fn operation_responses(route: &Route) -> Json {
    let mut responses = Map::new();
    let (status, answer) = success(route.answer);
    responses.insert(status.to_owned(), answer.clone());
    if let Some(name) = route.later {
        let (status, mut begun) = success(Answer::Accepted(name));
        begun["headers"]["Location"] = json!({ "$ref": "#/components/headers/Location" });
        responses.insert(status.to_owned(), begun);
    }
    if route.answer == Answer::Audio {
        let mut part = answer;
        part["description"] = "The part that `Range` asked for".into();
        responses.insert("206".to_owned(), part);
    }
    for kind in problems(route) {
        // Several problems may share a status: the schema is the same, `type` tells them apart.
        let status = kind.status().as_u16().to_string();
        responses.insert(status.clone(), json!({ "$ref": format!("#/components/responses/{status}") }));
    }
    responses.into()
}

fn success(answer: Answer) -> (&'static str, Json) {
    let json_of = |schema: Json| json!({ "application/json": { "schema": schema } });
    let (status, about, content) = match answer {
        Answer::Object(name) => ("200", "Done", json_of(reference(name))),
        Answer::Created(name) => ("201", "Created", json_of(reference(name))),
        Answer::Accepted(name) => ("202", "Begun", json_of(reference(name))),
        Answer::Page(name) => ("200", "A page", json_of(page_of(name))),
        Answer::Table(name) => {
            let mut content = json_of(reference(name));
            content[csv::MEDIA_TYPE] = json!({ "schema": { "type": "string" } });
            ("200", "Done", content)
        }
        Answer::Nothing => ("204", "Done", json!({})),
        Answer::Audio => {
            ("200", "The audio", json!({ "audio/*": { "schema": { "contentMediaType": "audio/*" } } }))
        }
        Answer::EventStream => {
            ("200", "The stream", json!({ "text/event-stream": { "schema": { "type": "string" } } }))
        }
    };
    let mut headers: Map<_, _> = ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]
        .map(|name| (name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })))
        .into_iter()
        .collect();
    if let Answer::Created(_) = answer {
        headers.insert("Location".to_owned(), json!({ "$ref": "#/components/headers/Location" }));
    }
    let mut response = json!({ "description": about, "headers": headers });
    if content != json!({}) {
        response["content"] = content;
    }
    (status, response)
}

/// What may go wrong: it follows from what the route is, and what it says itself.
fn problems(route: &Route) -> Vec<Kind> {
    let mut kinds = vec![Kind::Unauthenticated, Kind::RateLimited, Kind::Internal, Kind::Unavailable];
    // Every query is checked: a route without parameters refuses them all.
    kinds.push(Kind::Validation);
    if route.path_names().next().is_some() {
        kinds.push(Kind::NotFound);
    }
    if route.access != Access::Read {
        kinds.extend([Kind::Forbidden, Kind::BodyTooLarge, Kind::Timeout]);
    }
    if route.body.is_some() {
        kinds.extend([Kind::MalformedBody, Kind::UnsupportedMediaType]);
    }
    if route.method == axum::http::Method::POST {
        kinds.extend([Kind::InProgress, Kind::KeyReused]);
    }
    kinds.extend(route.problems);
    kinds
}

fn page_of(name: &str) -> Json {
    json!({
        "type": "object",
        "properties": {
            "data": { "type": "array", "items": reference(name) },
            "next": { "type": ["string", "null"], "description": "The cursor of the next page, if there is one." },
        },
        "required": ["data", "next"],
    })
}

fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn headers() -> Json {
    let integer = |about: &str| json!({ "description": about, "schema": { "type": "integer" } });
    json!({
        "RateLimit-Limit": integer("Requests that the token may send in a minute."),
        "RateLimit-Remaining": integer("Requests that it may still send now."),
        "RateLimit-Reset": integer("Seconds until it may send the full number again."),
        "Retry-After": integer("Seconds to wait."),
        "Location": { "description": "Where the new object is.", "schema": { "type": "string" } },
    })
}

/// One response for each status that problems have.
fn responses() -> Json {
    let mut responses = Map::new();
    for kind in Kind::ALL {
        let status = kind.status().as_u16().to_string();
        let line = format!("- `{}`: {}", kind.uri(), kind.title());
        let response = responses.entry(status).or_insert_with(|| {
            let content = json!({ problem::MEDIA_TYPE: { "schema": reference("Problem") } });
            json!({ "description": "", "content": content })
        });
        let about = response["description"].as_str().unwrap_or_default();
        let joined = if about.is_empty() { line } else { format!("{about}\n{line}") };
        response["description"] = joined.into();
        if matches!(kind, Kind::RateLimited | Kind::Unavailable) {
            response["headers"] = json!({ "Retry-After": { "$ref": "#/components/headers/Retry-After" } });
        }
    }
    responses.into()
}

/// The objects, and the bodies of the routes' tables.
fn component_schemas() -> Json {
    let mut all = schemas::objects();
    for Body { name, fields, mode } in routes().filter_map(|route| route.body.as_ref()) {
        all.insert((*name).to_owned(), object_schema(fields, *mode));
    }
    all.into()
}

/// What webhooks receive: one for each type of event, and the verification.
fn webhooks() -> Json {
    let sample = "`true` on a sample that a person asked for: nothing happened. Absent otherwise.";
    let sample = json!({
        "name": "webhook-test", "in": "header", "required": false, "description": sample,
        "schema": { "const": "true" },
    });
    let mut webhooks = Map::new();
    for event in EventType::ALL {
        let (title, about) = schemas::event(event);
        let about = format!("{about}\n\n{WEBHOOKS_ABOUT}");
        let not_taken = "Not taken: it is sent again";
        let mut operation = webhook(event.as_str(), title, &about, &schemas::envelope(event), not_taken);
        operation["parameters"].as_array_mut().expect("it is a list").push(sample.clone());
        webhooks.insert(event.as_str().to_owned(), json!({ "post": operation }));
    }
    let (kind, schema) = schemas::verification_envelope();
    let not_taken = "Not taken: the webhook stays as it is";
    let operation = webhook(kind, "A target is verified", VERIFICATION_ABOUT, &schema, not_taken);
    webhooks.insert(kind.to_owned(), json!({ "post": operation }));
    webhooks.into()
}

/// A request to a webhook.
fn webhook(kind: &str, title: &str, about: &str, schema: &Json, not_taken: &str) -> Json {
    let header = |name: &str, about: &str| {
        json!({
            "name": name, "in": "header", "required": true, "description": about,
            "schema": { "type": "string" },
        })
    };
    json!({
        "operationId": format!("on_{}", kind.replace('.', "_")),
        "summary": title,
        "description": about,
        "security": [],
        "parameters": [
            header("webhook-id", "The delivery's id: the same on every try."),
            header("webhook-timestamp", "When this try was sent, in seconds since 1970."),
            header("webhook-signature", "`v1,` and the base64 of HMAC-SHA256 of `id.timestamp.body`."),
        ],
        "requestBody": { "required": true, "content": { "application/json": { "schema": schema } } },
        "responses": {
            "200": { "description": "Taken" },
            "default": { "description": not_taken },
        },
    })
}
