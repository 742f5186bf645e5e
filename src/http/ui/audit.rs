//! What was changed for a company, through the API and on the pages, when and by whom.

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse as _};
use jiff::tz::TimeZone;
use serde_json::Value as Json;

use super::gate::{self, Answer, Request};
use super::settings::tabs;
use super::view::{Frame, Moment, Pages, Section, Tab, word};
use crate::audit::{self, Difference, Entry};
use crate::http::AppState;

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/companies/{company_id}/settings/audit", gate::page(list))
}

struct Row {
    id: i64,
    at: Moment,
    actor: String,
    /// Such as "update webhook".
    what: String,
    /// Such as "webhook 3"; "" if it is the company's own.
    about: String,
    differences: Vec<Difference>,
    /// Objects as they are kept, each with its name.
    objects: Vec<(&'static str, String)>,
}

impl Row {
    fn new(entry: Entry, zone: &TimeZone) -> Row {
        let differences = entry.differences();
        let ids = entry.path.iter().filter(|(name, _)| name != "company_id");
        let about: Vec<String> =
            ids.map(|(name, id)| format!("{} {id}", word(name.trim_end_matches("_id")))).collect();
        let objects = [("Sent", entry.body), ("Before", entry.before), ("Answered", entry.after)];
        Row {
            id: entry.id,
            at: Moment::new(entry.created_at, zone),
            actor: entry.actor,
            what: word(&entry.operation),
            about: about.join(", "),
            differences,
            objects: objects
                .into_iter()
                .filter_map(|(name, object)| Some((name, pretty(&object)?)))
                .collect(),
        }
    }
}

/// None for nothing.
fn pretty(object: &Json) -> Option<String> {
    if object.is_null() { None } else { serde_json::to_string_pretty(object).ok() }
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    tabs: Vec<Tab>,
    time_zone: String,
    rows: Vec<Row>,
    pages: Pages,
}

async fn list(request: Request) -> Answer {
    let page = request.page()?;
    let listed = audit::list(&request.ctx.db, request.scope(), page).await?;
    let zone = request.zone();
    let page = AuditPage {
        frame: request.frame("Audit log", Section::Settings),
        tabs: tabs(&request, "/audit"),
        time_zone: request.company().time_zone.clone(),
        rows: listed.rows.into_iter().map(|entry| Row::new(entry, &zone)).collect(),
        pages: request.pages(page, "", listed.next),
    };
    Ok(Html(page.render()?).into_response())
}
