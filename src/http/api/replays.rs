//! `/companies/{c}/webhooks/{w}/replays`: sending a range of deliveries again.

use jiff::tz::TimeZone;
use serde_json::Value as Json;

use super::Request;
use super::fields::{Field, Kind, Values};
use super::params::{AFTER, FROM, LIMIT, WHEN, When};
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::companies::Company;
use crate::http::problem::{Kind as ProblemKind, Problem};
use crate::kernel::clock::Micros;
use crate::kernel::id::{ReplayId, WebhookId};
use crate::webhooks::replays::{self, Range, Replay, ReplayState, STATES, STATES_DEFAULT};
use crate::webhooks::{self, DeliveryState};

const TAG: &str = "Replays";

fn states() -> Vec<&'static str> {
    STATES.map(DeliveryState::as_str).to_vec()
}

const NEW: &[Field] = &[
    FROM.required(),
    Field::new("to", Kind::Rule(&WHEN), "As in lists; now if it isn't given, and at the latest."),
    Field::new(
        "states",
        Kind::List { of: &Kind::Choice(states), min: 1, max: STATES.len() },
        "Deliveries in these states; delivered, exhausted and expired ones if it isn't given.",
    ),
];
const CHANGE: &[Field] = &[Field::new(
    "state",
    Kind::Choice(|| vec![ReplayState::Cancelled.as_str()]),
    "Ends it: nothing more is queued, and the few that are pending are delivered.",
)];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/companies/{company_id}/webhooks/{webhook_id}/replays", "list_replays", |r| Box::pin(list(r)))
        .named(TAG, "List replays")
        .params(&[LIMIT, AFTER])
        .answers(Answer::Page("Replay")),
    Route::post("/companies/{company_id}/webhooks/{webhook_id}/replays", "create_replay", |r| {
        Box::pin(create(r))
    })
    .named(TAG, "Send a range of deliveries again")
    .about(
        "All of the webhook's finished deliveries whose event happened in the range, each under its id and with a new \
         series of tries; those that are pending are left alone. They are queued a few at a time, so that new events \
         don't wait behind them. While the webhook isn't active the replay waits. One at a time for each webhook.",
    )
    .takes("NewReplay", NEW)
    .answers(Answer::Created("Replay"))
    .or(&[ProblemKind::Conflict]),
    Route::get("/companies/{company_id}/webhooks/{webhook_id}/replays/{replay_id}", "get_replay", |r| {
        Box::pin(get(r))
    })
    .named(TAG, "Get a replay with its progress")
    .answers(Answer::Object("Replay")),
    Route::patch("/companies/{company_id}/webhooks/{webhook_id}/replays/{replay_id}", "update_replay", |r| {
        Box::pin(update(r))
    })
    .named(TAG, "Cancel a replay")
    .changes("ReplayChange", CHANGE)
    .answers(Answer::Object("Replay"))
    .or(&[ProblemKind::Conflict]),
];

async fn list(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id::<WebhookId>("webhook_id")?);
    let webhook = request.ctx.db.read("webhooks.get", move |tx| webhooks::find(tx, scope, id)).await?;
    webhook.ok_or_else(Problem::not_found)?;
    let listed = replays::list(&request.ctx.db, scope, id, request.query.page()).await?;
    Ok(Reply::page(listed, Replay::to_json))
}

async fn create(mut request: Request) -> Result<Reply, Problem> {
    let (scope, webhook) = (request.scope(), request.id::<WebhookId>("webhook_id")?);
    let (token, company) = (request.caller.token, request.company().clone());
    let body = std::mem::take(&mut request.body);
    request
        .write("replays.create", move |tx| {
            let range = range(&body, &company, tx.now())?;
            let replay = replays::create(tx, scope, webhook, token, &range)?;
            let path = format!("/companies/{}/webhooks/{webhook}/replays/{}", scope.company(), replay.id);
            Ok(Reply::created(&path, &replay.to_json()))
        })
        .await
}

fn range(body: &Values, company: &Company, now: Micros) -> Result<Range, Problem> {
    let zone = TimeZone::get(&company.time_zone).unwrap_or(TimeZone::UTC);
    let from = body.choice("from", When::parse).expect("the table requires the key").start(&zone);
    let to = body.choice("to", When::parse).map_or(now, |when| when.end(&zone)).min(now);
    if from >= to {
        return Err(Problem::field("from", "must be before `to`, and in the past"));
    }
    let states = match body.get::<Vec<Json>>("states") {
        None => STATES_DEFAULT.to_vec(),
        Some(words) => words.iter().filter_map(|word| DeliveryState::parse(word.as_str()?)).collect(),
    };
    Ok(Range { from, to, states })
}

async fn get(request: Request) -> Result<Reply, Problem> {
    let (scope, webhook, id) = (request.scope(), request.id("webhook_id")?, request.id("replay_id")?);
    let found = request.ctx.db.read("replays.get", move |tx| replays::find(tx, scope, webhook, id)).await?;
    Ok(Reply::ok(&found.ok_or_else(Problem::not_found)?.to_json()))
}

async fn update(request: Request) -> Result<Reply, Problem> {
    let (scope, webhook) = (request.scope(), request.id::<WebhookId>("webhook_id")?);
    let id = request.id::<ReplayId>("replay_id")?;
    let cancel = request.body.get::<Json>("state").is_some();
    request
        .write("replays.update", move |tx| {
            let replay = if cancel {
                replays::cancel(tx, scope, webhook, id)?
            } else {
                replays::find(tx, scope, webhook, id)?.ok_or_else(Problem::not_found)?
            };
            Ok(Reply::ok(&replay.to_json()))
        })
        .await
}
