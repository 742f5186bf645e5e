//! A company's webhooks: the list with their health, one with its deliveries, making, changing and trying one, and its
//! secret, which is shown where it is made and nowhere else.

use std::collections::HashMap;

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse as _};
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::alerts::{self, Told};
use super::chart::Bars;
use super::deliveries::{self, Rows};
use super::error::PageError;
use super::flash::Flash;
use super::form::{self, Ask, Shape};
use super::gate::{self, Answer, Request};
use super::sheet::Sheet;
use super::view::{Frame, Moment, Pages, Section};
use crate::events::EventType;
use crate::http::AppState;
use crate::http::api::ask::route;
use crate::http::problem::Problem;
use crate::kernel::id::WebhookId;
use crate::webhooks::{self, Hour, Status, Subscription, Webhook};

/// The hours that a webhook's health is about.
const HOURS: usize = 24;
/// Held deliveries are counted so far.
const HELD_MAX: i64 = 10_000;

const ASKS: &[Ask] = &[
    Ask::new("target", "Target URL").hint("Where events are posted to, with https:// in front. It has to answer a verification with 200 before it gets any.").line(),
    Ask::new("description", "Description").hint("What it is for, for people.").line(),
    Ask::new("events", "Events").hint("“All” has those in it that are added later."),
    Ask::new("accept_any_2xx", "Any 2xx counts as taken, not only 200").hint(""),
    Ask::new("headers", "Headers").hint("Sent along with each request, one on a line: Name: value"),
    Ask::new("rate_per_s", "Requests per second").hint("At most; empty for no limit."),
];

pub(super) fn router() -> Router<AppState> {
    const ALL: &str = "/companies/{company_id}/webhooks";
    const ONE: &str = "/companies/{company_id}/webhooks/{webhook_id}";
    let one = |rest: &str| format!("{ONE}/{rest}");
    Router::new()
        .route(ALL, gate::page(list).merge(gate::form(create)))
        .route(&format!("{ALL}/new"), gate::page(new))
        .route(ONE, gate::page(show).merge(gate::form(update)))
        .route(&one("edit"), gate::page(edit))
        .route(&one("verify"), gate::form(verify))
        .route(&one("pause"), gate::form(async |request| set_paused(request, true).await))
        .route(&one("resume"), gate::form(async |request| set_paused(request, false).await))
        .route(&one("test"), gate::form(test))
        .route(&one("secret"), gate::form(rotate))
        .route(&one("delete"), gate::form(delete))
}

/// A webhook as pages show it.
pub(super) struct Shown {
    pub webhook: Webhook,
    /// Since when it has its status.
    pub since: Moment,
    hours: Vec<Hour>,
}

impl Shown {
    fn new(webhook: Webhook, zone: &TimeZone, hours: Option<Vec<Hour>>) -> Shown {
        Shown { since: Moment::new(webhook.status_at, zone), webhook, hours: hours.unwrap_or_default() }
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

    fn is_failing(&self) -> bool {
        self.webhook.failing_since.is_some() && self.webhook.status == Status::Active
    }

    fn can_pause(&self) -> bool {
        matches!(self.webhook.status, Status::Active | Status::Unverified)
    }

    fn can_resume(&self) -> bool {
        self.webhook.status == Status::Paused
    }

    /// Attempts that succeeded of all in the last hours, for people.
    fn health(&self) -> String {
        let succeeded: i64 = self.hours.iter().map(|hour| hour.succeeded).sum();
        let all = succeeded + self.hours.iter().map(|hour| hour.failed).sum::<i64>();
        match all {
            0 => "nothing sent".to_owned(),
            // Never rounded up to 100.
            _ => format!("{}% of {all}", succeeded * 100 / all),
        }
    }

    fn bars(&self) -> Bars {
        let columns = self.hours.iter().map(|hour| vec![hour.succeeded, hour.failed]).collect();
        Bars::small(columns, &["c1", "c5"])
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
    let (page, scope) = (request.page()?, request.scope());
    let listed = webhooks::list(&request.ctx.db, scope, page).await?;
    let ids: Vec<WebhookId> = listed.rows.iter().map(|webhook| webhook.id).collect();
    let mut hours = hours(&request, ids).await?;
    let alerts = alerts::latest(&request).await?;
    let zone = request.zone();
    let shown = |webhook: Webhook| {
        let hours = hours.remove(&webhook.id);
        Shown::new(webhook, &zone, hours)
    };
    let page = WebhooksPage {
        company_id: request.company().id.0,
        rows: listed.rows.into_iter().map(shown).collect(),
        pages: request.pages(page, "", listed.next),
        alerts,
        time_zone: request.company().time_zone.clone(),
        frame: request.frame("Webhooks", Section::Webhooks),
    };
    Ok(Html(page.render()?).into_response())
}

async fn hours(request: &Request, ids: Vec<WebhookId>) -> Result<HashMap<WebhookId, Vec<Hour>>, PageError> {
    let scope = request.scope();
    let read = move |tx: &mut crate::db::Tx<'_>| webhooks::last_hours(tx, scope, &ids, HOURS);
    Ok(request.ctx.db.read("webhooks.hours", read).await?)
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

/// What a test or a verification came to.
struct Tried {
    title: String,
    success: bool,
    reason: String,
    response: String,
}

impl Tried {
    /// From the API's object.
    fn of(title: &str, attempt: &Json) -> Tried {
        let text = |key: &str| attempt[key].as_str().unwrap_or_default().to_owned();
        let status = attempt["status_code"].as_u64().map(|status| format!("{status} in "));
        Tried {
            title: format!("{title}: {}{} ms", status.unwrap_or_default(), attempt["duration_ms"]),
            success: attempt["success"] == true,
            reason: text("error_detail"),
            response: text("response_body"),
        }
    }
}

#[derive(Template)]
#[template(path = "webhook.html")]
struct WebhookPage {
    frame: Frame,
    shown: Shown,
    created: Moment,
    /// Why what was asked for didn't work; "" if nothing was.
    failure: String,
    tried: Option<Tried>,
    /// Made just now; "" usually.
    secret: String,
    /// Deliveries that wait for it to be active; counted so far.
    held: i64,
    event_types: [&'static str; EventType::ALL.len()],
    deliveries: Rows,
    time_zone: String,
}

async fn show(request: Request) -> Answer {
    answer(&request, String::new(), None).await
}

async fn answer(request: &Request, failure: String, tried: Option<Tried>) -> Answer {
    let webhook = find(request).await?;
    let (scope, id) = (request.scope(), webhook.id);
    let deliveries = deliveries::rows(request, &webhook).await?;
    let hours = hours(request, vec![id]).await?.remove(&id);
    let held = match webhook.status {
        Status::Active => 0,
        _ => {
            request.ctx.db.read("webhooks.held", move |tx| webhooks::waiting(tx, scope, id, HELD_MAX)).await?
        }
    };
    let zone = request.zone();
    let page = WebhookPage {
        frame: request.frame(format!("Webhook {id}"), Section::Webhooks),
        created: Moment::new(webhook.created_at, &zone),
        shown: Shown::new(webhook, &zone, hours),
        failure,
        tried,
        secret: request.flash.secret.clone(),
        held,
        event_types: EventType::ALL.map(EventType::as_str),
        deliveries,
        time_zone: request.company().time_zone.clone(),
    };
    Ok(Html(page.render()?).into_response())
}

/// The form for a new webhook, or for what is to be changed of one.
fn sheet(request: &Request, webhook: Option<&Webhook>, values: &Json, problem: Option<&Problem>) -> Answer {
    let (operation, title, button) = match webhook {
        Some(_) => ("update_webhook", "Change the webhook", "Save"),
        None => ("create_webhook", "New webhook", "Create and verify"),
    };
    let inputs = form::inputs(route(operation).body_fields(), ASKS, values, problem);
    let action = webhook.map_or_else(|| format!("/companies/{}/webhooks", request.company().id), url);
    Sheet::new(request.frame(title, Section::Webhooks), title, action, button).answer(inputs, problem)
}

async fn new(request: Request) -> Answer {
    let mut values = form::defaults(route("create_webhook").body_fields());
    values["events"] = json!("all");
    sheet(&request, None, &values, None)
}

async fn create(request: Request) -> Answer {
    let body = request.typed.body(route("create_webhook").body_fields(), ASKS);
    match request.ask("create_webhook", Some(body.clone())).await {
        Ok(made) => {
            let secret = made["secret"].as_str().unwrap_or_default().to_owned();
            let flash = Flash { notice: "The webhook is made and being verified.".to_owned(), secret };
            Ok(request.go(&format!("/webhooks/{}", made["id"]), &flash))
        }
        Err(problem) if problem.is_about_input() => sheet(&request, None, &body, Some(&problem)),
        Err(problem) => Err(problem.into()),
    }
}

async fn edit(request: Request) -> Answer {
    let webhook = find(&request).await?;
    sheet(&request, Some(&webhook), &webhook.to_json(), None)
}

async fn update(request: Request) -> Answer {
    let webhook = find(&request).await?;
    let body = request.typed.body(route("update_webhook").body_fields(), ASKS);
    match request.ask("update_webhook", Some(body.clone())).await {
        Ok(_) => Ok(request.go(&format!("/webhooks/{}", webhook.id), &Flash::notice("Saved."))),
        Err(problem) if problem.is_about_input() => sheet(&request, Some(&webhook), &body, Some(&problem)),
        Err(problem) => Err(problem.into()),
    }
}

async fn verify(request: Request) -> Answer {
    let (scope, id) = (request.scope(), request.id::<WebhookId>("webhook_id")?);
    let verdict = webhooks::verify(&request.ctx, scope, id).await?.ok_or(PageError::NotFound)?;
    if verdict.success {
        let notice = "The target took the verification: the webhook is active.";
        return Ok(request.go(&format!("/webhooks/{id}"), &Flash::notice(notice)));
    }
    answer(&request, format!("The verification failed. {}", verdict.reason), None).await
}

async fn set_paused(request: Request, paused: bool) -> Answer {
    request.ask("update_webhook", Some(json!({ "paused": paused }))).await?;
    let notice = if paused { "Paused: events are held." } else { "Resumed." };
    Ok(request.go(&format!("/webhooks/{}", request.path("webhook_id")), &Flash::notice(notice)))
}

async fn test(request: Request) -> Answer {
    find(&request).await?;
    let event = request.typed.get("type").unwrap_or_default().to_owned();
    match request.ask("test_webhook", Some(json!({ "type": event }))).await {
        Ok(attempt) => {
            answer(&request, String::new(), Some(Tried::of(&format!("Sample of {event}"), &attempt))).await
        }
        Err(problem) => Err(problem.into()),
    }
}

async fn rotate(request: Request) -> Answer {
    let made = request.ask("rotate_webhook_secret", None).await?;
    let secret = made["secret"].as_str().unwrap_or_default().to_owned();
    let notice = "There is a new secret. The old one signs along for 24 hours.".to_owned();
    Ok(request.go(&format!("/webhooks/{}", request.path("webhook_id")), &Flash { notice, secret }))
}

async fn delete(request: Request) -> Answer {
    request.ask("delete_webhook", None).await?;
    Ok(request.go("/webhooks", &Flash::notice("The webhook is deleted.")))
}
