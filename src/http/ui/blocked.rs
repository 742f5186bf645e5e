//! Callers whom the company doesn't want: the list, and a form for one more.

use askama::Template;
use axum::Router;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::flash::Flash;
use super::form::{self, Ask, Input, Shape};
use super::gate::{self, Answer, Request};
use super::view::{Frame, Moment, Pages, Section};
use crate::http::AppState;
use crate::http::api::ask::route;
use crate::http::problem::Problem;
use crate::trackers::blocked::{self, BlockedCaller};

const ASKS: &[Ask] = &[
    Ask::new("number", "Number").hint("With its country, such as +18183219876.").line(),
    Ask::new("note", "Note").hint("Why, for people. Blocking a number again changes its note.").line(),
];

pub(super) fn router() -> Router<AppState> {
    const ALL: &str = "/companies/{company_id}/blocked-callers";
    Router::new()
        .route(ALL, gate::page(list).merge(gate::form(block)))
        .route(&format!("{ALL}/{{blocked_caller_id}}/unblock"), gate::form(unblock))
}

struct Row {
    caller: BlockedCaller,
    since: Moment,
    /// For the query of the calls' list: `+` is a space there.
    search: String,
}

impl Row {
    fn new(caller: BlockedCaller, zone: &TimeZone) -> Row {
        let search = caller.number.as_str().replace('+', "%2B");
        Row { since: Moment::new(caller.created_at, zone), search, caller }
    }
}

#[derive(Template)]
#[template(path = "blocked_callers.html")]
struct BlockedPage {
    frame: Frame,
    company_id: i64,
    time_zone: String,
    rows: Vec<Row>,
    pages: Pages,
    failure: String,
    inputs: Vec<Input>,
}

async fn list(request: Request) -> Answer {
    answer(&request, &json!({}), None).await
}

async fn answer(request: &Request, typed: &Json, problem: Option<&Problem>) -> Answer {
    let page = request.page()?;
    let listed = blocked::list(&request.ctx.db, request.scope(), page).await?;
    let zone = request.zone();
    let inputs = form::inputs(route("block_caller").body_fields(), ASKS, typed, problem);
    let page = BlockedPage {
        frame: request.frame("Blocked callers", Section::Trackers),
        company_id: request.company().id.0,
        time_zone: request.company().time_zone.clone(),
        rows: listed.rows.into_iter().map(|caller| Row::new(caller, &zone)).collect(),
        pages: request.pages(page, "", listed.next),
        failure: form::failure(problem, &inputs),
        inputs,
    };
    gate::rendered(&page, problem)
}

async fn block(request: Request) -> Answer {
    let body = request.typed.body(route("block_caller").body_fields(), ASKS);
    match request.ask("block_caller", Some(body.clone())).await {
        Ok(made) => {
            let number = made["number"].as_str().unwrap_or_default();
            let notice = format!("Calls from {number} are refused from now on.");
            Ok(request.go("/blocked-callers", &Flash::notice(notice)))
        }
        Err(problem) if problem.is_about_input() => answer(&request, &body, Some(&problem)).await,
        Err(problem) => Err(problem.into()),
    }
}

async fn unblock(request: Request) -> Answer {
    request.ask("unblock_caller", None).await?;
    Ok(request.go("/blocked-callers", &Flash::notice("The number may call again.")))
}
