//! What was sent to a webhook: the rows of its page, and one delivery with every attempt's request and answer.

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse as _, Redirect};
use jiff::tz::TimeZone;
use serde_json::{Map, Value as Json};

use super::error::PageError;
use super::form::{Ask, Input};
use super::gate::{self, Answer, Request};
use super::view::{Frame, Moment, Pages, Section};
use super::webhooks::{find, url};
use crate::http::AppState;
use crate::http::api::deliveries as api;
use crate::kernel::id::WebhookId;
use crate::kernel::page::Listed;
use crate::webhooks::{self, Attempt, Delivery, DeliveryState, DeliveryWithAttempts, Webhook};

pub(super) fn router() -> Router<AppState> {
    const ONE: &str = "/companies/{company_id}/webhooks/{webhook_id}/deliveries/{delivery_id}";
    Router::new().route(ONE, gate::page(show)).route(&format!("{ONE}/resend"), gate::form(resend))
}

/// A delivery as pages show it.
pub(super) struct Row {
    pub delivery: Delivery,
    pub id: String,
    pub created: Moment,
    pub delivered: Option<Moment>,
    /// None unless it is going to be sent at a known time.
    pub next_attempt: Option<Moment>,
}

impl Row {
    fn new(delivery: Delivery, zone: &TimeZone) -> Row {
        let next = delivery.next_attempt_at.filter(|_| delivery.state == DeliveryState::Pending);
        Row {
            id: delivery.public_id(),
            created: Moment::new(delivery.created_at, zone),
            delivered: delivery.delivered_at.map(|at| Moment::new(at, zone)),
            next_attempt: next.map(|at| Moment::new(at, zone)),
            delivery,
        }
    }
}

const FILTER: &[Ask] =
    &[Ask::new("state", "State"), Ask::new("type", "Event"), Ask::new("from", "From"), Ask::new("to", "To")];

/// A page of a webhook's deliveries.
pub(super) struct Rows {
    pub rows: Vec<Row>,
    pub pages: Pages,
    pub inputs: Vec<Input>,
    pub is_filtered: bool,
}

/// The deliveries that the query asks for, newest first.
///
/// # Errors
/// The database's, or that the cursor isn't one of ours.
pub(super) async fn rows(request: &Request, webhook: &Webhook) -> Result<Rows, PageError> {
    let (page, filtered) = (request.page()?, request.filter("list_deliveries", FILTER));
    let listed = match &filtered.values {
        Some(values) => {
            let filter = api::filter(values, request.company());
            webhooks::list_deliveries(&request.ctx.db, request.scope(), webhook.id, filter, page).await?
        }
        None => Listed { rows: Vec::new(), next: None },
    };
    let zone = request.zone();
    Ok(Rows {
        rows: listed.rows.into_iter().map(|delivery| Row::new(delivery, &zone)).collect(),
        pages: request.pages(page, &filtered.query, listed.next),
        inputs: filtered.inputs,
        is_filtered: !filtered.query.is_empty(),
    })
}

/// An attempt as its page shows it.
struct Try {
    attempt: Attempt,
    started: Moment,
    headers: Vec<(String, String)>,
    /// Exactly as sent.
    body: String,
}

impl Try {
    fn new(found: &DeliveryWithAttempts, attempt: &Attempt, zone: &TimeZone) -> Try {
        let headers: Map<String, Json> = serde_json::from_str(&attempt.request_headers).unwrap_or_default();
        let text = |value: Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Try {
            started: Moment::new(attempt.started_at, zone),
            headers: headers.into_iter().map(|(name, value)| (name, text(value))).collect(),
            body: found.body(&attempt.target),
            attempt: attempt.clone(),
        }
    }
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct DeliveryPage {
    frame: Frame,
    webhook_url: String,
    webhook: Webhook,
    row: Row,
    /// The last one first.
    tries: Vec<Try>,
}

async fn show(request: Request) -> Answer {
    let webhook = find(&request).await?;
    let (scope, webhook_id, id) = (request.scope(), webhook.id, request.path("delivery_id").to_owned());
    let read = move |tx: &mut crate::db::Tx<'_>| webhooks::find_delivery(tx, scope, webhook_id, &id);
    let found = request.ctx.db.read("deliveries.find", read).await?.ok_or(PageError::NotFound)?;
    let zone = request.zone();
    let page = DeliveryPage {
        frame: request.frame("Delivery", Section::Webhooks),
        webhook_url: url(&webhook),
        webhook,
        tries: found.attempts.iter().rev().map(|attempt| Try::new(&found, attempt, &zone)).collect(),
        row: Row::new(found.delivery, &zone),
    };
    Ok(Html(page.render()?).into_response())
}

async fn resend(request: Request) -> Answer {
    let (scope, webhook) = (request.scope(), request.id::<WebhookId>("webhook_id")?);
    let id = request.path("delivery_id").to_owned();
    let again =
        request.ctx.db.write("deliveries.resend", move |tx| webhooks::resend(tx, scope, webhook, &id));
    let delivery = again.await?.ok_or(PageError::NotFound)?;
    let company = request.company().id;
    let page = format!("/companies/{company}/webhooks/{webhook}/deliveries/{}", delivery.public_id());
    Ok(Redirect::to(&page).into_response())
}
