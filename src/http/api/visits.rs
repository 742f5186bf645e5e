//! `/companies/{c}/sessions`, the plan of a pool, why a call is credited as it is, and the script for the company's
//! site.

use serde_json::{Value as Json, json};

use super::Request;
use super::fields::{Field, Kind};
use super::params::{AFTER, LIMIT};
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::calls;
use crate::http::dni;
use crate::http::problem::Problem;
use crate::kernel::id::SessionId;
use crate::trackers::plan::{self, Question};
use crate::visits::attribute::Candidate;
use crate::visits::debug;
use crate::visits::explain::{self, Session};

const TAG: &str = "Visits";

const TARGET: Field = Field::new(
    "target_blocking",
    Kind::Number { min: 0.0001, max: 0.5 },
    "The share of visits that may find no number free; 0.01 if it isn't given.",
);
const DAYS: Field = Field::new(
    "days",
    Kind::Integer { min: 1, max: 90 },
    "Traffic of so many days up to now counts; 7 if it isn't given.",
);

pub(super) const ROUTES: &[Route] = &[
    Route::get("/companies/{company_id}/sessions", "list_sessions", |r| Box::pin(list(r)))
        .named(TAG, "List visits")
        .params(&[LIMIT, AFTER])
        .answers(Answer::Page("Session")),
    Route::get("/companies/{company_id}/sessions/{session_id}", "get_session", |r| Box::pin(get(r)))
        .named(TAG, "Get a visit, its pages, and why it was shown its numbers")
        .answers(Answer::Object("SessionExplained")),
    Route::get("/companies/{company_id}/calls/{call_id}/attribution", "get_call_attribution", |r| {
        Box::pin(attribution(r))
    })
    .named(TAG, "Explain what a call is credited to")
    .about("As it was decided when the call came in, with the visits that it may have come from.")
    .answers(Answer::Object("CallAttribution")),
    Route::get("/companies/{company_id}/trackers/{tracker_id}/plan", "get_pool_plan", |r| Box::pin(plan(r)))
        .named(TAG, "Say how many numbers a pool needs")
        .about("By Erlang's formula from the measured traffic of its busiest hour. 404 for other trackers.")
        .params(&[TARGET, DAYS])
        .answers(Answer::Object("PoolPlan")),
    Route::get("/companies/{company_id}/script", "get_script", |r| Box::pin(script(r)))
        .named(TAG, "Get the script for the company's site")
        .about(
            "`debug` is added to the URL of a page of the site: an overlay says then what was shown and why.",
        )
        .answers(Answer::Object("Script")),
];

async fn list(request: Request) -> Result<Reply, Problem> {
    let listed = explain::list(&request.ctx.db, request.scope(), request.query.page()).await?;
    Ok(Reply::page(listed, Session::to_json))
}

async fn get(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id("session_id")?);
    let found = request.ctx.db.read("visits.get", move |tx| explain::find(tx, scope, id)).await?;
    Ok(Reply::ok(&found.ok_or_else(Problem::not_found)?.to_json()))
}

async fn attribution(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id("call_id")?);
    let read = move |tx: &mut crate::db::Tx<'_>| {
        let Some(call) = calls::find(tx, scope, id)? else { return Ok(None) };
        let mut candidates = Vec::new();
        for candidate in &call.attribution.candidates {
            let visit = explain::find(tx, scope, SessionId(candidate.session_id))?;
            candidates.push(candidate_json(candidate, visit.as_ref().map(explain::Explained::to_json)));
        }
        Ok::<_, crate::db::Error>(Some((call, candidates)))
    };
    let found = request.ctx.db.read("calls.attribution", read).await?;
    let (call, candidates) = found.ok_or_else(Problem::not_found)?;
    Ok(Reply::ok(&json!({
        "call_id": call.id,
        "tracker_id": call.tracker_id,
        "tracker_name": call.tracker_name,
        "tracking_number": call.tracking_number,
        "confidence": call.attribution_confidence,
        "why": call.attribution.why,
        "session_id": call.attribution.session_id,
        "candidates": candidates,
    })))
}

fn candidate_json(candidate: &Candidate, visit: Option<Json>) -> Json {
    let mut json = candidate.to_json();
    json["session"] = visit.unwrap_or(Json::Null);
    json
}

async fn plan(request: Request) -> Result<Reply, Problem> {
    let (scope, query) = (request.scope(), &request.query);
    let question = Question {
        tracker: request.id("tracker_id")?,
        target: query.get("target_blocking").unwrap_or(0.01),
        days: query.get("days").unwrap_or(7),
    };
    let found = request.ctx.db.read("trackers.plan", move |tx| plan::plan(tx, scope, question)).await?;
    Ok(Reply::ok(&found.ok_or_else(Problem::not_found)?.to_json()))
}

async fn script(request: Request) -> Result<Reply, Problem> {
    let (ctx, key) = (&request.ctx, &request.company().site_key);
    let base = format!("{}dni/{key}/", ctx.public_url);
    let integrity = dni::integrity();
    let (plain, pinned) = (format!("{base}tracker.js"), format!("{base}{}", dni::versioned_file()));
    let token = debug::token(&ctx.key, request.scope(), ctx.clock.now());
    Ok(Reply::ok(&json!({
        "url": plain,
        "html": format!(r#"<script async src="{plain}"></script>"#),
        "versioned_url": pinned,
        "integrity": integrity,
        "versioned_html": format!(
            r#"<script async src="{pinned}" integrity="{integrity}" crossorigin="anonymous"></script>"#
        ),
        "debug": format!("ct_debug={token}"),
        "test": "ct_test=1",
    })))
}
