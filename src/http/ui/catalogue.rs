//! The event catalogue: each type with what it means and a request as a webhook gets it, and how a receiver checks the
//! signature, in five languages. The code lies in `static/verify/`, where tests run it.

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse as _};
use serde_json::Value as Json;

use super::gate::{self, Answer, Request};
use super::view::{Frame, Section};
use crate::events::{self, EventType};
use crate::http::AppState;
use crate::http::openapi::schemas;
use crate::kernel::id::WebhookId;
use crate::webhooks;

/// Language and code.
pub const VERIFIERS: [(&str, &str); 5] = [
    ("Python", include_str!("../../../static/verify/verify.py")),
    ("Node.js", include_str!("../../../static/verify/verify.mjs")),
    ("PHP", include_str!("../../../static/verify/verify.php")),
    ("Ruby", include_str!("../../../static/verify/verify.rb")),
    ("Go", include_str!("../../../static/verify/verify.go")),
];

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/companies/{company_id}/events/catalogue", gate::page(show))
}

struct Entry {
    name: &'static str,
    title: &'static str,
    about: String,
    /// The body of a request, for people.
    body: String,
}

#[derive(Template)]
#[template(path = "catalogue.html")]
struct CataloguePage {
    frame: Frame,
    company_id: i64,
    entries: Vec<Entry>,
    verifiers: [(&'static str, &'static str); VERIFIERS.len()],
}

async fn show(request: Request) -> Answer {
    let now = request.ctx.clock.now();
    let entry = |event: EventType| {
        let data = webhooks::sample(event, request.company().id, &request.company().name, now).to_string();
        let body = events::body(
            event.as_str(),
            event.object(),
            &data,
            now,
            WebhookId(1),
            "https://example.com/calls",
        );
        let body: Json = serde_json::from_str(&body).unwrap_or_default();
        let (title, about) = schemas::event(event);
        Entry { name: event.as_str(), title, about: about.replace('`', ""), body: format!("{body:#}") }
    };
    let page = CataloguePage {
        company_id: request.company().id.0,
        entries: EventType::ALL.into_iter().map(entry).collect(),
        verifiers: VERIFIERS,
        frame: request.frame("Event catalogue", Section::Webhooks),
    };
    Ok(Html(page.render()?).into_response())
}
