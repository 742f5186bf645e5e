//! Sending a range of a webhook's deliveries again: how far those are that run, and the form for another.

use askama::Template;
use axum::Router;
use serde_json::{Value as Json, json};

use super::error::PageError;
use super::flash::Flash;
use super::form::{self, Ask, Input, Shape};
use super::gate::{self, Answer, Request};
use super::view::{Frame, Moment, Pages, Section};
use super::webhooks::{find, url};
use crate::http::AppState;
use crate::http::api::ask::route;
use crate::http::problem::Problem;
use crate::webhooks::Webhook;
use crate::webhooks::replays::{self, Replay, ReplayState, STATES_DEFAULT};

const ASKS: &[Ask] = &[
    Ask::new("from", "From").hint(
        "A date of the company’s time zone such as 2026-03-09, or a time such as 2026-03-09T09:00:00Z.",
    ),
    Ask::new("to", "To").hint("As well; a date counts as a whole day. Empty: until now."),
    Ask::new("states", "Deliveries that were"),
];

pub(super) fn router() -> Router<AppState> {
    const ALL: &str = "/companies/{company_id}/webhooks/{webhook_id}/replays";
    Router::new()
        .route(ALL, gate::page(list).merge(gate::form(create)))
        .route(&format!("{ALL}/{{replay_id}}/cancel"), gate::form(cancel))
}

struct Row {
    replay: Replay,
    from: Moment,
    to: Moment,
    percent: u32,
}

#[derive(Template)]
#[template(path = "replays.html")]
struct ReplaysPage {
    frame: Frame,
    webhook: Webhook,
    webhook_url: String,
    rows: Vec<Row>,
    pages: Pages,
    failure: String,
    inputs: Vec<Input>,
    time_zone: String,
}

async fn list(request: Request) -> Answer {
    let states: Vec<&str> = STATES_DEFAULT.iter().map(|state| state.as_str()).collect();
    answer(&request, &json!({ "states": states }), None).await
}

async fn answer(request: &Request, values: &Json, problem: Option<&Problem>) -> Answer {
    let (webhook, page) = (find(request).await?, request.page()?);
    let listed = replays::list(&request.ctx.db, request.scope(), webhook.id, page).await?;
    let zone = request.zone();
    let row = |replay: Replay| Row {
        from: Moment::new(replay.range.from, &zone),
        to: Moment::new(replay.range.to, &zone),
        percent: (replay.progress() * 100.0) as u32,
        replay,
    };
    let inputs = form::inputs(route("create_replay").body_fields(), ASKS, values, problem);
    let page = ReplaysPage {
        frame: request.frame("Replays", Section::Webhooks),
        webhook_url: url(&webhook),
        webhook,
        rows: listed.rows.into_iter().map(row).collect(),
        pages: request.pages(page, "", listed.next),
        failure: form::failure(problem, &inputs),
        inputs,
        time_zone: request.company().time_zone.clone(),
    };
    gate::rendered(&page, problem)
}

async fn create(request: Request) -> Answer {
    let body = request.typed.body(route("create_replay").body_fields(), ASKS);
    match request.ask("create_replay", Some(body.clone())).await {
        Ok(_) => Ok(back(&request, "The replay has begun.")),
        Err(problem) if problem.is_about_input() => answer(&request, &body, Some(&problem)).await,
        Err(problem) => Err(problem.into()),
    }
}

async fn cancel(request: Request) -> Answer {
    let cancelled = json!({ "state": ReplayState::Cancelled.as_str() });
    match request.ask("update_replay", Some(cancelled)).await {
        Ok(_) => Ok(back(&request, "The replay is cancelled.")),
        Err(problem) if problem.is_about_input() => answer(&request, &json!({}), Some(&problem)).await,
        Err(problem) => Err(PageError::from(problem)),
    }
}

fn back(request: &Request, notice: &str) -> axum::response::Response {
    request.go(&format!("/webhooks/{}/replays", request.path("webhook_id")), &Flash::notice(notice))
}
