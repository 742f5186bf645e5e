//! `/companies/{c}/calls`.

use axum::http::header::{CONTENT_RANGE, IF_RANGE, RANGE};
use axum::http::{HeaderMap, Method, StatusCode};
use jiff::tz::TimeZone;

use super::Request;
use super::fields::{Errors, Field, Kind, Values};
use super::params::{AFTER, FROM, LIMIT, TO, When};
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::calls::state::Status;
use crate::calls::{
    self, Edit, Filter, LEAD_STATUS_CHARS_MAX, NOTE_CHARS_MAX, SEARCH_CHARS_MAX, TAG_CHARS_MAX, TAGS_MAX,
};
use crate::companies::Company;
use crate::db;
use crate::http::problem::{Kind as ProblemKind, Problem};
use crate::http::recordings::serve;
use crate::kernel::id::{CallId, TrackerId};
use crate::recordings;
use crate::recordings::link::Links;
use crate::visits::source::Channel;

const TAG: &str = "Calls";
const LEAD_STATUS: Kind = Kind::Text { min: 0, max: LEAD_STATUS_CHARS_MAX };

/// A name in reports.
const NAME: Kind = Kind::Text { min: 1, max: 2_000 };

const FILTER: &[Field] = &[
    FROM,
    TO,
    Field::new("tracker_id", Kind::Integer { min: 1, max: i64::MAX }, ""),
    Field::new("status", Kind::Choice(|| Status::ALL.map(Status::as_str).to_vec()), ""),
    Field::new("source_channel", Kind::Choice(|| Channel::ALL.map(Channel::as_str).to_vec()), ""),
    Field::new("source", NAME, "Who sent the visitor, known a few seconds after the call's end."),
    Field::new("source_keyword", NAME, ""),
    Field::new("landing_page", NAME, "The page's URL without what follows `?` or `#`."),
    Field::new("is_first_time", Kind::Bool, ""),
    Field::new(
        "min_duration",
        Kind::Integer { min: 0, max: u32::MAX as i64 },
        "Calls that lasted so many seconds or longer.",
    ),
    Field::new("tag", Kind::Text { min: 1, max: TAG_CHARS_MAX }, ""),
    Field::new("lead_status", LEAD_STATUS, "\"\" for calls without one."),
    Field::new(
        "search",
        Kind::Text { min: 1, max: SEARCH_CHARS_MAX },
        "Anywhere in the caller's number, name or city, the tracking number, the tracker's name or the note.",
    ),
    LIMIT,
    AFTER,
];

const CHANGE: &[Field] = &[
    Field::new(
        "tags",
        Kind::List { of: &Kind::Text { min: 1, max: TAG_CHARS_MAX }, min: 0, max: TAGS_MAX },
        "All tags: they replace those there are.",
    ),
    Field::new("note", Kind::Text { min: 0, max: NOTE_CHARS_MAX }, ""),
    Field::new("value", Kind::Number { min: 0.0, max: 1e12 }, "In the company's currency.").nullable(),
    Field::new("lead_status", LEAD_STATUS, "A word of the company's own."),
    Field::new("spam", Kind::Bool, ""),
];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/companies/{company_id}/calls", "list_calls", |r| Box::pin(list(r)))
        .named(TAG, "List calls")
        .params(FILTER)
        .answers(Answer::Page("Call")),
    Route::get("/companies/{company_id}/calls/{call_id}", "get_call", |r| Box::pin(get(r)))
        .named(TAG, "Get a call")
        .answers(Answer::Object("Call")),
    Route::patch("/companies/{company_id}/calls/{call_id}", "update_call", |r| Box::pin(update(r)))
        .named(TAG, "Change what people add to a call")
        .changes("CallChange", CHANGE)
        .answers(Answer::Object("Call")),
    Route::get("/companies/{company_id}/calls/{call_id}/recording", "get_call_recording", |r| {
        Box::pin(recording(r))
    })
    .named(TAG, "Download a call's recording")
    .about("With `Range`, parts of it.")
    .answers(Answer::Audio)
    .or(&[ProblemKind::RangeNotSatisfiable]),
];

async fn list(request: Request) -> Result<Reply, Problem> {
    let (ctx, query) = (&request.ctx, &request.query);
    let filter = filter(query, request.company());
    let listed = calls::list(&ctx.db, request.scope(), filter, query.page()).await?;
    let (links, now) = (Links::of(ctx), ctx.clock.now());
    Ok(Reply::page(listed, |view| view.to_json(&links, now)))
}

/// Which calls a query asks for.
pub(in crate::http) fn filter(query: &Values, company: &Company) -> Filter {
    // A company's zone was checked when it was set.
    let zone = TimeZone::get(&company.time_zone).unwrap_or(TimeZone::UTC);
    Filter {
        from: query.choice("from", When::parse).map(|when| when.start(&zone)),
        to: query.choice("to", When::parse).map(|when| when.end(&zone)),
        tracker: query.get("tracker_id").map(TrackerId),
        status: query.choice("status", Status::parse),
        source_channel: query.get("source_channel"),
        source: query.get("source"),
        source_keyword: query.get("source_keyword"),
        landing_page: query.get("landing_page"),
        is_first_time: query.get("is_first_time"),
        min_duration_s: query.get("min_duration"),
        tag: query.get("tag"),
        lead_status: query.get("lead_status"),
        search: query.get("search"),
    }
}

async fn get(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id("call_id")?);
    let found = request.ctx.db.read("calls.get", move |tx| calls::get(tx, scope, id)).await?;
    let view = found.ok_or_else(Problem::not_found)?;
    Ok(Reply::ok(&view.to_json(&Links::of(&request.ctx), request.ctx.clock.now())))
}

async fn update(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id::<CallId>("call_id")?);
    let body = &request.body;
    let edit = Edit {
        tags: body.get("tags"),
        note: body.get("note"),
        value: body.get("value"),
        lead_status: body.get("lead_status"),
        spam: body.get("spam"),
    };
    let mut errors = Errors::default();
    for (field, message) in edit.problems() {
        errors.add(field, message);
    }
    errors.into_result()?;
    let links = Links::of(&request.ctx);
    request
        .write("calls.edit", move |tx| {
            let view = calls::edit(tx, scope, id, &edit)?.ok_or_else(Problem::not_found)?;
            Ok(Reply::ok(&view.to_json(&links, tx.now())))
        })
        .await
}

async fn recording(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id("call_id")?);
    let find = move |tx: &mut db::Tx<'_>| {
        let brief = calls::get(tx, scope, id)?.and_then(|view| view.call.recording);
        brief.map_or(Ok(None), |brief| recordings::find(tx, brief.id))
    };
    let found = request.ctx.db.read("calls.recording", find).await?;
    let recording = found.ok_or_else(Problem::not_found)?;
    // A recording never changes: no other conditions matter.
    let ranged = [RANGE, IF_RANGE].map(|name| Some((name.clone(), request.headers.get(name)?.clone())));
    let headers: HeaderMap = ranged.into_iter().flatten().collect();
    let response = serve(&request.ctx, &recording, &Method::GET, &headers).await?;
    let (parts, body) = response.into_parts();
    if parts.status == StatusCode::RANGE_NOT_SATISFIABLE {
        let problem = Problem::new(ProblemKind::RangeNotSatisfiable, "The recording has no such part");
        let length = parts.headers.get(CONTENT_RANGE).cloned();
        return Err(length
            .into_iter()
            .fold(problem, |problem, text| problem.with_header(CONTENT_RANGE, text)));
    }
    Ok(Reply::stream(parts.status, parts.headers, body))
}
