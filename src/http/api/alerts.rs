//! `/companies/{c}/alerts`: what a company's people were told about their webhooks.

use jiff::tz::TimeZone;

use super::Request;
use super::fields::{Field, Kind as FieldKind};
use super::params::{AFTER, FROM, LIMIT, TO, When};
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::alerts::{self, Alert, Filter, Kind};
use crate::http::problem::Problem;
use crate::kernel::id::{AlertId, WebhookId};

const TAG: &str = "Alerts";

const FILTER: &[Field] = &[
    Field::new("kind", FieldKind::Choice(|| Kind::ALL.map(Kind::as_str).to_vec()), ""),
    Field::new("webhook_id", FieldKind::Integer { min: 1, max: i64::MAX }, ""),
    Field::new("acknowledged", FieldKind::Bool, "false: those that nobody has said to have seen."),
    FROM,
    TO,
    LIMIT,
    AFTER,
];

const CHANGE: &[Field] =
    &[Field::new("acknowledged", FieldKind::Bool, "true: somebody has seen it; false takes that back.")];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/companies/{company_id}/alerts", "list_alerts", |r| Box::pin(list(r)))
        .named(TAG, "List alerts")
        .params(FILTER)
        .answers(Answer::Page("Alert")),
    Route::get("/companies/{company_id}/alerts/{alert_id}", "get_alert", |r| Box::pin(get(r)))
        .named(TAG, "Get an alert")
        .answers(Answer::Object("Alert")),
    Route::patch("/companies/{company_id}/alerts/{alert_id}", "update_alert", |r| Box::pin(update(r)))
        .named(TAG, "Acknowledge an alert")
        .changes("AlertChange", CHANGE)
        .answers(Answer::Object("Alert")),
];

async fn list(request: Request) -> Result<Reply, Problem> {
    let query = &request.query;
    let zone = TimeZone::get(&request.company().time_zone).unwrap_or(TimeZone::UTC);
    let filter = Filter {
        kind: query.choice("kind", Kind::parse),
        webhook: query.get("webhook_id").map(WebhookId),
        acknowledged: query.get("acknowledged"),
        from: query.choice("from", When::parse).map(|when| when.start(&zone)),
        to: query.choice("to", When::parse).map(|when| when.end(&zone)),
    };
    let listed = alerts::list(&request.ctx.db, request.scope(), filter, query.page()).await?;
    Ok(Reply::page(listed, Alert::to_json))
}

async fn get(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id("alert_id")?);
    let found = request.ctx.db.read("alerts.get", move |tx| alerts::find(tx, scope, id)).await?;
    Ok(Reply::ok(&found.ok_or_else(Problem::not_found)?.to_json()))
}

async fn update(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id::<AlertId>("alert_id")?);
    let acknowledged: Option<bool> = request.body.get("acknowledged");
    request
        .write("alerts.acknowledge", move |tx| {
            let alert = match acknowledged {
                Some(acknowledged) => alerts::acknowledge(tx, scope, id, acknowledged)?,
                None => alerts::find(tx, scope, id)?,
            };
            Ok(Reply::ok(&alert.ok_or_else(Problem::not_found)?.to_json()))
        })
        .await
}
