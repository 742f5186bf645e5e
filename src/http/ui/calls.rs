//! A company's calls, newest first: searched, filtered, downloaded, and many of them changed at once.

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{Html, IntoResponse as _};
use futures_util::StreamExt as _;
use futures_util::stream::{once, unfold};
use jiff::tz::TimeZone;
use serde_json::json;

use super::error::PageError;
use super::flash::Flash;
use super::form::{Ask, Input, Shape};
use super::gate::{self, Answer, Request};
use super::view::{Frame, Moment, Pages, Section, clock, word};
use crate::calls::state::Status;
use crate::calls::{self, Call, CallView, Edit, TAGS_MAX};
use crate::db::{self, Tx};
use crate::http::api::calls as api;
use crate::http::{AppState, csv};
use crate::kernel::id::CallId;
use crate::kernel::page::{LIMIT_MAX, Listed, Page, parse_cursor};
use crate::recordings::State;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/companies/{company_id}/calls", gate::page(list))
        .route("/companies/{company_id}/calls.csv", gate::page(export))
        .route("/companies/{company_id}/calls/bulk", gate::form(edit_many))
}

/// A call as a row of the list.
pub(super) struct Row {
    pub call: Call,
    pub started: Moment,
    /// "" while nothing can be said.
    pub duration: String,
    /// How long the audio is that can be listened to.
    recording: Option<String>,
    pub tags: Vec<String>,
}

impl Row {
    pub(super) fn new(CallView { call, tags }: CallView, zone: &TimeZone) -> Row {
        let stored = call.recording.as_ref().filter(|shown| shown.state == State::Stored);
        Row {
            started: Moment::new(call.started_at, zone),
            duration: duration(&call),
            recording: stored.map(|shown| clock(shown.duration_s)),
            tags,
            call,
        }
    }

    pub(super) fn status(&self) -> String {
        word(self.call.status.as_str())
    }

    /// The caller left a message; the call's own page knows whether it can be listened to yet.
    fn has_message(&self) -> bool {
        self.call.status == Status::Voicemail
    }

    /// What the call is credited to, in a few words.
    fn source(&self) -> String {
        let source = &self.call.source;
        let detail = [&source.keyword, &source.referrer].into_iter().find(|text| !text.is_empty());
        match detail {
            Some(detail) => format!("{}: {detail}", word(&source.channel)),
            None => word(&source.channel),
        }
    }
}

/// A call that isn't over lasts for we don't know how long.
fn duration(call: &Call) -> String {
    if call.status.is_final() { clock(call.call_duration) } else { String::new() }
}

#[derive(Template)]
#[template(path = "calls.html")]
struct CallsPage {
    frame: Frame,
    company_id: i64,
    time_zone: String,
    rows: Vec<Row>,
    pages: Pages,
    inputs: Vec<Input>,
    /// What is asked for, each with the URL of the list without it.
    chips: Vec<Chip>,
    /// The filter as a query; "" for all calls.
    query: String,
}

struct Chip {
    label: String,
    url: String,
}

const FILTER: &[Ask] = &[
    Ask::new("search", "Search"),
    Ask::new("from", "From"),
    Ask::new("to", "To"),
    Ask::new("status", "Status"),
    Ask::new("source_channel", "Channel"),
    Ask::new("is_first_time", "First call"),
    Ask::new("min_duration", "Seconds at least"),
    Ask::new("tag", "Tag"),
    Ask::new("lead_status", "Lead status"),
    Ask::new("tracker_id", "Tracker’s id"),
    Ask::new("source", "Source"),
    Ask::new("source_keyword", "Keyword"),
    Ask::new("landing_page", "Landing page"),
];

async fn list(request: Request) -> Answer {
    let (page, filtered) = (request.page()?, request.filter("list_calls", FILTER));
    let listed = match &filtered.values {
        Some(values) => {
            let filter = api::filter(values, request.company());
            calls::list(&request.ctx.db, request.scope(), filter, page).await?
        }
        None => Listed { rows: Vec::new(), next: None },
    };
    let zone = request.zone();
    let page = CallsPage {
        frame: request.frame("Calls", Section::Calls),
        company_id: request.company().id.0,
        time_zone: request.company().time_zone.clone(),
        rows: listed.rows.into_iter().map(|view| Row::new(view, &zone)).collect(),
        pages: request.pages(page, &filtered.query, listed.next),
        chips: chips(request.company().id.0, &filtered.query),
        inputs: filtered.inputs,
        query: filtered.query,
    };
    Ok(Html(page.render()?).into_response())
}

fn chips(company: i64, query: &str) -> Vec<Chip> {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let chip = |(name, value): &(String, String)| {
        let label = FILTER.iter().find(|ask| ask.name == name).map_or(name.as_str(), |ask| ask.label);
        let mut rest = form_urlencoded::Serializer::new(String::new());
        rest.extend_pairs(pairs.iter().filter(|(other, _)| other != name));
        Chip {
            label: format!("{label}: {value}"),
            url: format!("/companies/{company}/calls?{}", rest.finish()),
        }
    };
    pairs.iter().map(chip).collect()
}

/// All calls of the filter as CSV, read and sent page by page.
async fn export(request: Request) -> Answer {
    let filtered = request.filter("list_calls", FILTER);
    let values = filtered.values.ok_or(PageError::BadRequest)?;
    let filter = api::filter(&values, request.company());
    let (ctx, scope, zone) = (request.ctx.clone(), request.scope(), request.zone());
    let mut head = String::new();
    csv::push_line(&mut head, CSV_COLUMNS);
    let first = Some(Page { limit: LIMIT_MAX, ..Page::default() });
    let rest = unfold(first, move |page| {
        let (ctx, filter, zone) = (ctx.clone(), filter.clone(), zone.clone());
        async move {
            let page = page?;
            match calls::list(&ctx.db, scope, filter, page).await {
                Ok(Listed { rows, next }) => {
                    let next = next.and_then(|text| parse_cursor(&text)).map(|cursor| page.behind(cursor));
                    Some((Ok(lines(&rows, &zone)), next))
                }
                // The download breaks off, so that nobody takes it for whole.
                Err(error) => Some((Err(std::io::Error::other(error.to_string())), None)),
            }
        }
    });
    let body = Body::from_stream(once(async { Ok(head) }).chain(rest));
    let named = (CONTENT_DISPOSITION, "attachment; filename=\"calls.csv\"");
    Ok(([(CONTENT_TYPE, csv::MEDIA_TYPE), named], body).into_response())
}

const CSV_COLUMNS: [&str; 19] = [
    "id",
    "time",
    "caller_number",
    "caller_name",
    "caller_city",
    "tracker",
    "tracking_number",
    "status",
    "duration_s",
    "first_time",
    "channel",
    "keyword",
    "referrer",
    "landing_page",
    "tags",
    "lead_status",
    "value",
    "spam",
    "note",
];

fn lines(views: &[CallView], zone: &TimeZone) -> String {
    let mut text = String::new();
    for CallView { call, tags } in views {
        let started =
            call.started_at.timestamp().to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
        let value = call.value.map(|value| value.to_string()).unwrap_or_default();
        csv::push_line(
            &mut text,
            [
                call.id.to_string().as_str(),
                &started,
                &call.caller_number,
                &call.caller_name,
                &call.caller_city,
                &call.tracker_name,
                &call.tracking_number,
                call.status.as_str(),
                &call.call_duration.to_string(),
                if call.is_first_time { "yes" } else { "no" },
                &call.source.channel,
                &call.source.keyword,
                &call.source.referrer,
                &call.source.landing_page,
                &tags.join(", "),
                &call.lead_status,
                &value,
                if call.spam { "yes" } else { "no" },
                &call.note,
            ],
        );
    }
    text
}

/// Calls that are changed at once, at most: a page of them.
const MANY_MAX: usize = 100;

/// Adds a tag, or sets the lead's status, or says that it is spam, for each of the calls that were ticked.
async fn edit_many(request: Request) -> Answer {
    let ids: Vec<CallId> = request.typed.all("id").filter_map(|text| text.parse().ok().map(CallId)).collect();
    let text = |name| request.typed.get(name).map(str::trim).unwrap_or_default().to_owned();
    let (tag, lead_status, what) = (text("tag"), text("lead_status"), text("spam"));
    let spam = (!what.is_empty()).then(|| what == "true");
    let edit = Edit {
        tags: (!tag.is_empty()).then(|| vec![tag]),
        lead_status: (!lead_status.is_empty()).then_some(lead_status),
        spam,
        ..Edit::default()
    };
    let back = |notice: String| Ok(request.go("/calls", &Flash::notice(notice)));
    if ids.is_empty() || ids.len() > MANY_MAX || edit == Edit::default() {
        return back("Nothing was changed: tick calls, and say what to change.".to_owned());
    }
    if let Some((field, why)) = edit.problems().first() {
        return back(format!("Nothing was changed: {} {why}.", word(field)));
    }
    let scope = request.scope();
    let noted = json!({ "ids": ids, "tags": edit.tags, "lead_status": edit.lead_status, "spam": edit.spam });
    let change = move |tx: &mut Tx<'_>| -> db::Result<usize> {
        let mut changed = 0;
        for id in &ids {
            let Some(present) = calls::get(tx, scope, *id)? else { continue };
            let mut edit = edit.clone();
            if let Some(tags) = &mut edit.tags {
                tags.extend(present.tags.into_iter().filter(|tag| !tags.contains(tag)).collect::<Vec<_>>());
                tags.truncate(TAGS_MAX);
            }
            changed += usize::from(calls::edit(tx, scope, *id, &edit)?.is_some());
        }
        Ok(changed)
    };
    let changed = request.ctx.db.write("calls.edit_many", change).await?;
    request.note("update_calls", &noted).await;
    back(format!("{changed} calls were changed."))
}
