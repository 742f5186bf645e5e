//! A company's webhooks: the list, one with its deliveries, and the buttons that verify, pause and resume it.

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse as _, Redirect};
use jiff::tz::TimeZone;

use super::alerts::{self, Told};
use super::deliveries::{self, Rows};
use super::error::PageError;
use super::gate::{self, Answer, Request};
use super::view::{Frame, Moment, Pages, Section};
use crate::http::AppState;
use crate::kernel::id::WebhookId;
use crate::webhooks::{self, DeliveryState, Status, Subscription, Webhook};

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/companies/{company_id}/webhooks", gate::page(list))
        .route("/companies/{company_id}/webhooks/{webhook_id}", gate::page(show))
        .route("/companies/{company_id}/webhooks/{webhook_id}/verify", gate::button(verify))
        .route("/companies/{company_id}/webhooks/{webhook_id}/pause", gate::button(pause))
        .route("/companies/{company_id}/webhooks/{webhook_id}/resume", gate::button(resume))
}

/// A webhook as pages show it.
pub(super) struct Shown {
    pub webhook: Webhook,
    /// Since when it has its status.
    pub since: Moment,
}

impl Shown {
    fn new(webhook: Webhook, zone: &TimeZone) -> Shown {
        Shown { since: Moment::new(webhook.status_at, zone), webhook }
    }

    /// The types of its events; "all events" for those too that are added later.
    fn events(&self) -> Vec<&'static str> {
        match &self.webhook.settings.events {
            Subscription::All => vec!["all events"],
            Subscription::Chosen(types) => types.iter().map(|event| event.as_str()).collect(),
        }
    }

    fn url(&self) -> String {
        url(&self.webhook)
    }

    /// What its status means for its events.
    fn meaning(&self) -> &'static str {
        match self.webhook.status {
            Status::Active => "Events are delivered as they happen.",
            Status::Unverified => "Events are held until the target answers a verification with 200.",
            Status::Paused => "Events are held until you resume.",
            Status::Deactivated => "Events are held until the target answers a verification with 200 again.",
        }
    }

    fn can_pause(&self) -> bool {
        matches!(self.webhook.status, Status::Active | Status::Unverified)
    }

    fn can_resume(&self) -> bool {
        self.webhook.status == Status::Paused
    }
}

pub(super) fn url(webhook: &Webhook) -> String {
    format!("/companies/{}/webhooks/{}", webhook.company_id, webhook.id)
}

#[derive(Template)]
#[template(path = "webhooks.html")]
struct WebhooksPage {
    frame: Frame,
    company_id: i64,
    rows: Vec<Shown>,
    pages: Pages,
    /// The latest that nobody has acknowledged.
    alerts: Vec<Told>,
    time_zone: String,
}

async fn list(request: Request) -> Answer {
    let page = request.page()?;
    let listed = webhooks::list(&request.ctx.db, request.scope(), page).await?;
    let alerts = alerts::latest(&request).await?;
    let zone = request.zone();
    let page = WebhooksPage {
        frame: request.frame("Webhooks", Section::Webhooks),
        company_id: request.company().id.0,
        rows: listed.rows.into_iter().map(|webhook| Shown::new(webhook, &zone)).collect(),
        pages: request.pages(page, "", listed.next),
        alerts,
        time_zone: request.company().time_zone.clone(),
    };
    Ok(Html(page.render()?).into_response())
}

/// The webhook in the path.
///
/// # Errors
/// The company has no such webhook.
pub(super) async fn find(request: &Request) -> Result<Webhook, PageError> {
    let (scope, id) = (request.scope(), request.id::<WebhookId>("webhook_id")?);
    let found = request.ctx.db.read("webhooks.find", move |tx| webhooks::find(tx, scope, id)).await?;
    found.ok_or(PageError::NotFound)
}

#[derive(Template)]
#[template(path = "webhook.html")]
struct WebhookPage {
    frame: Frame,
    shown: Shown,
    created: Moment,
    /// Why what was asked for didn't work; "" if nothing was.
    failure: String,
    /// The filter's choices; the one that is made is marked.
    states: Vec<(Option<DeliveryState>, bool)>,
    deliveries: Rows,
    time_zone: String,
}

async fn show(request: Request) -> Answer {
    answer(&request, String::new()).await
}

async fn answer(request: &Request, failure: String) -> Answer {
    let webhook = find(request).await?;
    let state = match request.query("state") {
        None => None,
        Some(word) => Some(DeliveryState::parse(word).ok_or(PageError::BadRequest)?),
    };
    let deliveries = deliveries::rows(request, &webhook, state).await?;
    let zone = request.zone();
    let choices = [None].into_iter().chain(DeliveryState::ALL.map(Some));
    let page = WebhookPage {
        frame: request.frame(format!("Webhook {}", webhook.id), Section::Webhooks),
        created: Moment::new(webhook.created_at, &zone),
        shown: Shown::new(webhook, &zone),
        failure,
        states: choices.map(|choice| (choice, choice == state)).collect(),
        deliveries,
        time_zone: request.company().time_zone.clone(),
    };
    Ok(Html(page.render()?).into_response())
}

async fn verify(request: Request) -> Answer {
    let (scope, id) = (request.scope(), request.id::<WebhookId>("webhook_id")?);
    let verdict = webhooks::verify(&request.ctx, scope, id).await?.ok_or(PageError::NotFound)?;
    if verdict.success {
        return Ok(back(&request, id));
    }
    answer(&request, format!("The verification failed. {}", verdict.reason)).await
}

async fn pause(request: Request) -> Answer {
    set_paused(request, true).await
}

async fn resume(request: Request) -> Answer {
    set_paused(request, false).await
}

async fn set_paused(request: Request, paused: bool) -> Answer {
    let (scope, id) = (request.scope(), request.id::<WebhookId>("webhook_id")?);
    let change =
        request.ctx.db.write("webhooks.pause", move |tx| webhooks::set_paused(tx, scope, id, paused));
    change.await?.ok_or(PageError::NotFound)?;
    Ok(back(&request, id))
}

fn back(request: &Request, id: WebhookId) -> axum::response::Response {
    Redirect::to(&format!("/companies/{}/webhooks/{id}", request.company().id)).into_response()
}
