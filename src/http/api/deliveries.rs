//! `/companies/{c}/webhooks/{w}/deliveries`: what was sent to a webhook, and what became of it.

use jiff::tz::TimeZone;

use super::Request;
use super::fields::{Field, Kind, Values};
use super::params::{AFTER, FROM, LIMIT, TO, When};
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::companies::Company;
use crate::events::EventType;
use crate::http::problem::Problem;
use crate::kernel::id::WebhookId;
use crate::webhooks::{self, Delivery, DeliveryFilter, DeliveryState};

const TAG: &str = "Deliveries";

const FILTER: &[Field] = &[
    Field::new(
        "state",
        Kind::Choice(|| DeliveryState::ALL.map(DeliveryState::as_str).to_vec()),
        "`held`: to be delivered once the webhook is active.",
    ),
    Field::new("type", Kind::Choice(|| EventType::ALL.map(EventType::as_str).to_vec()), ""),
    FROM,
    TO,
    LIMIT,
    AFTER,
];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/companies/{company_id}/webhooks/{webhook_id}/deliveries", "list_deliveries", |r| {
        Box::pin(list(r))
    })
    .named(TAG, "List deliveries")
    .params(FILTER)
    .answers(Answer::Page("Delivery")),
    Route::get(
        "/companies/{company_id}/webhooks/{webhook_id}/deliveries/{delivery_id}",
        "get_delivery",
        |r| Box::pin(get(r)),
    )
    .named(TAG, "Get a delivery with its attempts")
    .answers(Answer::Object("DeliveryWithAttempts")),
    Route::post(
        "/companies/{company_id}/webhooks/{webhook_id}/deliveries/{delivery_id}/resend",
        "resend_delivery",
        |r| Box::pin(resend(r)),
    )
    .named(TAG, "Send a delivery again")
    .about(
        "Under the same id, with a new series of tries; at once if the webhook is active, else it is held.",
    )
    .answers(Answer::Accepted("Delivery")),
];

/// Which deliveries a query asks for.
pub(in crate::http) fn filter(query: &Values, company: &Company) -> DeliveryFilter {
    // A company's zone was checked when it was set.
    let zone = TimeZone::get(&company.time_zone).unwrap_or(TimeZone::UTC);
    DeliveryFilter {
        state: query.choice("state", DeliveryState::parse),
        event: query.choice("type", EventType::parse),
        from: query.choice("from", When::parse).map(|when| when.start(&zone)),
        to: query.choice("to", When::parse).map(|when| when.end(&zone)),
    }
}

async fn list(request: Request) -> Result<Reply, Problem> {
    let (query, scope, id) = (&request.query, request.scope(), request.id::<WebhookId>("webhook_id")?);
    let filter = filter(query, request.company());
    let webhook = request.ctx.db.read("webhooks.get", move |tx| webhooks::find(tx, scope, id)).await?;
    webhook.ok_or_else(Problem::not_found)?;
    let listed = webhooks::list_deliveries(&request.ctx.db, scope, id, filter, query.page()).await?;
    Ok(Reply::page(listed, Delivery::to_json))
}

async fn get(request: Request) -> Result<Reply, Problem> {
    let (scope, webhook) = (request.scope(), request.id("webhook_id")?);
    let id = request.path("delivery_id").to_owned();
    let find = move |tx: &mut crate::db::Tx<'_>| webhooks::find_delivery(tx, scope, webhook, &id);
    let found = request.ctx.db.read("deliveries.get", find).await?;
    Ok(Reply::ok(&found.ok_or_else(Problem::not_found)?.to_json()))
}

async fn resend(request: Request) -> Result<Reply, Problem> {
    let (scope, webhook) = (request.scope(), request.id::<WebhookId>("webhook_id")?);
    let id = request.path("delivery_id").to_owned();
    request
        .write("deliveries.resend", move |tx| {
            let delivery = webhooks::resend(tx, scope, webhook, &id)?.ok_or_else(Problem::not_found)?;
            Ok(Reply::accepted(&delivery.to_json()))
        })
        .await
}
