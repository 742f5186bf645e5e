//! What a company uses: the billing period that runs, up to now, and those that are over, which never change.

use askama::Template;
use axum::Router;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{Html, IntoResponse as _};

use super::gate::{self, Answer, Request};
use super::view::{Frame, Pages, Section};
use crate::http::{AppState, csv};
use crate::kernel::page::{LIMIT_MAX, Listed, Page};
use crate::usage::{self, Counts, Running, Usage};

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/companies/{company_id}/usage", gate::page(list))
        .route("/companies/{company_id}/usage.csv", gate::page(export))
}

/// A period, whether it is over or not.
struct Row {
    start_date: String,
    end_date: String,
    /// "running" and "closing"; "" for one that is counted for good.
    state: &'static str,
    counts: Counts,
}

impl From<Running> for Row {
    fn from(running: Running) -> Row {
        let Running { start_date, end_date, is_over, counts } = running;
        Row { start_date, end_date, state: if is_over { "closing" } else { "running" }, counts }
    }
}

impl From<Usage> for Row {
    fn from(usage: Usage) -> Row {
        let Usage { start_date, end_date, counts, .. } = usage;
        Row { start_date, end_date, state: "", counts }
    }
}

#[derive(Template)]
#[template(path = "usage.html")]
struct UsagePage {
    frame: Frame,
    company_id: i64,
    time_zone: String,
    billing_day: i64,
    running: Vec<Row>,
    rows: Vec<Row>,
    pages: Pages,
}

async fn read(request: &Request, page: Page) -> Result<(Vec<Running>, Listed<Usage>), crate::db::Error> {
    let scope = request.scope();
    let db = &request.ctx.db;
    let running = db.read("usage.running", move |tx| usage::running(tx, scope)).await?;
    Ok((running, usage::list(db, scope, page).await?))
}

async fn list(request: Request) -> Answer {
    let page = request.page()?;
    let (running, listed) = read(&request, page).await?;
    let page = UsagePage {
        frame: request.frame("Usage", Section::Usage),
        company_id: request.company().id.0,
        time_zone: request.company().time_zone.clone(),
        billing_day: request.company().billing_day,
        running: running.into_iter().map(Row::from).collect(),
        rows: listed.rows.into_iter().map(Row::from).collect(),
        pages: request.pages(page, "", listed.next),
    };
    Ok(Html(page.render()?).into_response())
}

const CSV_COLUMNS: [&str; 8] = [
    "start_date",
    "end_date",
    "state",
    "local_numbers",
    "tollfree_numbers",
    "local_minutes",
    "tollfree_minutes",
    "sms_messages",
];

/// All periods, newest first: so many as a page of the API has, which are 41 years.
async fn export(request: Request) -> Answer {
    let page = Page { limit: LIMIT_MAX, ..Page::default() };
    let (running, listed) = read(&request, page).await?;
    let mut text = String::new();
    csv::push_line(&mut text, CSV_COLUMNS);
    let rows = running.into_iter().map(Row::from).chain(listed.rows.into_iter().map(Row::from));
    for Row { start_date, end_date, state, counts } in rows {
        let state = if state.is_empty() { "closed" } else { state };
        let Counts { local_numbers, tollfree_numbers, local_minutes, tollfree_minutes, sms_messages } =
            counts;
        let counts = [local_numbers, tollfree_numbers, local_minutes, tollfree_minutes, sms_messages];
        let counts = counts.map(|count| count.to_string());
        let cells = [start_date.as_str(), &end_date, state];
        csv::push_line(&mut text, cells.into_iter().chain(counts.iter().map(String::as_str)));
    }
    let named = (CONTENT_DISPOSITION, "attachment; filename=\"usage.csv\"");
    Ok(([(CONTENT_TYPE, csv::MEDIA_TYPE), named], text).into_response())
}
