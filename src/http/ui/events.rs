//! A company's events, newest first: what its webhooks are told.

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse as _};
use jiff::tz::TimeZone;
use serde_json::Value as Json;

use super::gate::{self, Answer, Request};
use super::view::{Frame, Moment, Pages, Section};
use crate::events::{self, Event};
use crate::http::AppState;
use crate::kernel::id::EventId;

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/companies/{company_id}/events", gate::page(list))
}

struct Row {
    id: EventId,
    event_type: String,
    occurred: Moment,
    /// The event's data, for people.
    data: String,
    /// The call that it tells of.
    call_id: Option<i64>,
}

impl Row {
    fn new(event: Event, zone: &TimeZone) -> Row {
        let data: Json = serde_json::from_str(event.data.get()).unwrap_or_default();
        let is_call = event.object == "call";
        Row {
            id: event.id,
            occurred: Moment::new(event.occurred_at, zone),
            call_id: data["id"].as_i64().filter(|_| is_call),
            data: format!("{data:#}"),
            event_type: event.r#type,
        }
    }
}

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    frame: Frame,
    company_id: i64,
    time_zone: String,
    rows: Vec<Row>,
    pages: Pages,
}

async fn list(request: Request) -> Answer {
    let page = request.page()?;
    let listed = events::latest(&request.ctx.db, request.scope(), page).await?;
    let zone = request.zone();
    let page = EventsPage {
        frame: request.frame("Events", Section::Events),
        company_id: request.company().id.0,
        time_zone: request.company().time_zone.clone(),
        rows: listed.rows.into_iter().map(|event| Row::new(event, &zone)).collect(),
        pages: request.pages(page, "", listed.next),
    };
    Ok(Html(page.render()?).into_response())
}
