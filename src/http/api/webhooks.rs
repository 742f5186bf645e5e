//! `/companies/{c}/webhooks`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::Request;
use super::fields::{Errors, Field, Kind, Values};
use super::params::{AFTER, FROM, LIMIT, TO, When};
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::companies::Scope;
use crate::ctx::Ctx;
use crate::db::LockSpace;
use crate::events::EventType;
use crate::http::problem::{Kind as ProblemKind, Problem};
use crate::kernel::id::WebhookId;
use crate::outbound::{TARGET_BYTES_MAX, TargetError};
use crate::webhooks::{self, Minute, Settings, Subscription, Webhook, is_settable_header};

const TAG: &str = "Webhooks";
/// A target's name is looked up for so long when it is set. What DNS doesn't say by then, the verification
/// finds out.
const DNS_TIMEOUT: Duration = Duration::from_secs(2);
/// Headers of the user's at most.
const HEADERS_MAX: usize = 20;
/// A header's name at most, in characters.
const HEADER_NAME_CHARS_MAX: usize = 100;
/// A header's value at most, in characters: enough for a token.
const HEADER_VALUE: Kind = Kind::Text { min: 0, max: 2_000 };

fn event_types() -> Vec<&'static str> {
    EventType::ALL.map(EventType::as_str).to_vec()
}

const TARGET: Field = Field::new(
    "target",
    Kind::Text { min: 1, max: TARGET_BYTES_MAX },
    "The URL that events are posted to. A changed one must be verified again.",
);
const EVENTS: Field = Field::new(
    "events",
    Kind::WordOr {
        word: "all",
        list: &Kind::List { of: &Kind::Choice(event_types), min: 1, max: EventType::ALL.len() },
    },
    "`all`, those added later too, or a list of types.",
);
const DESCRIPTION: Field = Field::new("description", Kind::Text { min: 0, max: 500 }, "");
const ACCEPT_ANY_2XX: Field =
    Field::new("accept_any_2xx", Kind::Bool, "Any 2xx counts as taken, not only 200.");
const HEADERS: Field = Field::new(
    "headers",
    Kind::Map { entries_max: HEADERS_MAX, key_max: HEADER_NAME_CHARS_MAX, value: &HEADER_VALUE },
    "Sent along with each request.",
);
const RATE_PER_S: Field = Field::new(
    "rate_per_s",
    Kind::Number { min: 0.01, max: 10_000.0 },
    "Requests per second at most; null for no limit of its own.",
)
.nullable();
const PAUSED: Field = Field::new("paused", Kind::Bool, "Pauses, or resumes; what was held goes out then.");

const NEW: &[Field] = &[
    TARGET.required(),
    EVENTS.required(),
    DESCRIPTION.default("\"\""),
    ACCEPT_ANY_2XX.default("false"),
    HEADERS.default("{}"),
    RATE_PER_S.default("null"),
];
const CHANGE: &[Field] = &[TARGET, EVENTS, DESCRIPTION, ACCEPT_ANY_2XX, HEADERS, RATE_PER_S, PAUSED];
const TEST: &[Field] = &[Field::new("type", Kind::Choice(event_types), "").required()];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/companies/{company_id}/webhooks", "list_webhooks", |r| Box::pin(list(r)))
        .named(TAG, "List webhooks")
        .params(&[LIMIT, AFTER])
        .answers(Answer::Page("Webhook")),
    Route::post("/companies/{company_id}/webhooks", "create_webhook", |r| Box::pin(create(r)))
        .named(TAG, "Create a webhook")
        .about(
            "The answer has the secret, this once. A verification is sent to the target; until it is answered \
             with 200, events are held.",
        )
        .takes("NewWebhook", NEW)
        .checked_by(|ctx, body, errors| Box::pin(check(ctx, body, errors)))
        .answers(Answer::Created("WebhookWithSecret")),
    Route::get("/companies/{company_id}/webhooks/{webhook_id}", "get_webhook", |r| Box::pin(get(r)))
        .named(TAG, "Get a webhook")
        .answers(Answer::Object("Webhook")),
    Route::patch("/companies/{company_id}/webhooks/{webhook_id}", "update_webhook", |r| Box::pin(update(r)))
        .named(TAG, "Change, pause or resume a webhook")
        .about("Resuming makes active what was verified before; a deactivated webhook has to be verified.")
        .changes("WebhookChange", CHANGE)
        .checked_by(|ctx, body, errors| Box::pin(check(ctx, body, errors)))
        .answers(Answer::Object("Webhook")),
    Route::delete("/companies/{company_id}/webhooks/{webhook_id}", "delete_webhook", |r| Box::pin(delete(r)))
        .named(TAG, "Delete a webhook")
        .about("What was still to be delivered is cancelled."),
    Route::post("/companies/{company_id}/webhooks/{webhook_id}/verification", "verify_webhook", |r| {
        Box::pin(verify(r))
    })
    .named(TAG, "Verify a webhook")
    .about("Sends a signed `webhook.verification`; answered with 200, the webhook is active and what was held goes out.")
    .answers(Answer::Object("Verification"))
    .or(&[ProblemKind::Unprocessable]),
    Route::post("/companies/{company_id}/webhooks/{webhook_id}/secret", "rotate_webhook_secret", |r| {
        Box::pin(rotate(r))
    })
    .named(TAG, "Make a new secret")
    .about("The old one signs along for 24 hours.")
    .answers(Answer::Object("WebhookSecret")),
    Route::post("/companies/{company_id}/webhooks/{webhook_id}/test", "test_webhook", |r| Box::pin(test(r)))
        .named(TAG, "Send a sample")
        .about("The sample of a type, marked as a test in a header: no event, no delivery, never repeated.")
        .takes("WebhookTest", TEST)
        .answers(Answer::Object("TestResult")),
    Route::get(
        "/companies/{company_id}/webhooks/{webhook_id}/statistics",
        "list_webhook_statistics",
        |r| Box::pin(statistics(r)),
    )
    .named(TAG, "List what attempts came to, by the minute")
    .about("Minutes without attempts are left out. The last seconds may be missing.")
    .params(&[FROM, TO, LIMIT, AFTER])
    .answers(Answer::Page("WebhookMinute")),
];

async fn list(request: Request) -> Result<Reply, Problem> {
    let listed = webhooks::list(&request.ctx.db, request.scope(), request.query.page()).await?;
    Ok(Reply::page(listed, Webhook::to_json))
}

async fn create(request: Request) -> Result<Reply, Problem> {
    let settings = Settings {
        // As typed: it is part of every body.
        target: request.body.need("target"),
        events: subscription(&request.body).expect("the table requires the key"),
        description: request.body.need("description"),
        headers: headers(&request.body).unwrap_or_default(),
        accept_any_2xx: request.body.need("accept_any_2xx"),
        rate_per_s: request.body.need("rate_per_s"),
    };
    let (scope, key) = (request.scope(), request.ctx.key.clone());
    let (reply, id) = request
        .write_with("webhooks.create", move |tx| {
            let (webhook, secret) = webhooks::create(tx, scope, &key, &settings)?;
            let mut shown = webhook.to_json();
            shown["secret"] = secret.to_text().into();
            let path = format!("/companies/{}/webhooks/{}", scope.company(), webhook.id);
            Ok((Reply::created(&path, &shown), webhook.id))
        })
        .await?;
    // Not waited for: the receiver can't check a signature before it has read the secret in this answer.
    tokio::spawn(verify_once(request.ctx, scope, id));
    Ok(reply)
}

/// The verification that creating a webhook sends. What came of it stands in the webhook's status.
async fn verify_once(ctx: Ctx, scope: Scope, id: WebhookId) {
    if let Err(error) = webhooks::verify(&ctx, scope, id).await {
        tracing::error!(webhook.id = %id, error = format!("{error:#}"), "a new webhook's verification failed");
    }
}

async fn get(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id("webhook_id")?);
    let found = request.ctx.db.read("webhooks.get", move |tx| webhooks::find(tx, scope, id)).await?;
    Ok(Reply::ok(&found.ok_or_else(Problem::not_found)?.to_json()))
}

async fn update(mut request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id::<WebhookId>("webhook_id")?);
    let body = std::mem::take(&mut request.body);
    request
        .write("webhooks.update", move |tx| {
            tx.lock_text(LockSpace::Edit, &format!("webhook {id}"))?;
            let present = webhooks::find(tx, scope, id)?.ok_or_else(Problem::not_found)?;
            let mut settings = present.settings.clone();
            body.set("description", &mut settings.description);
            body.set("accept_any_2xx", &mut settings.accept_any_2xx);
            body.set("rate_per_s", &mut settings.rate_per_s);
            body.set("target", &mut settings.target);
            settings.headers = headers(&body).unwrap_or(settings.headers);
            settings.events = subscription(&body).unwrap_or(settings.events);
            let mut changed = Some(present);
            if changed.as_ref().is_some_and(|webhook| webhook.settings != settings) {
                changed = webhooks::update(tx, scope, id, &settings)?;
            }
            if let Some(paused) = body.get("paused") {
                changed = webhooks::set_paused(tx, scope, id, paused)?;
            }
            Ok(Reply::ok(&changed.ok_or_else(Problem::not_found)?.to_json()))
        })
        .await
}

async fn delete(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id::<WebhookId>("webhook_id")?);
    request
        .write("webhooks.delete", move |tx| {
            webhooks::delete(tx, scope, id)?.then(Reply::no_content).ok_or_else(Problem::not_found)
        })
        .await
}

async fn verify(request: Request) -> Result<Reply, Problem> {
    let verdict = webhooks::verify(&request.ctx, request.scope(), request.id("webhook_id")?).await?;
    let verdict = verdict.ok_or_else(Problem::not_found)?;
    if !verdict.success {
        let detail = format!("The target did not take the verification. {}", verdict.reason);
        return Err(Problem::new(ProblemKind::Unprocessable, detail));
    }
    Ok(Reply::ok(&json!({ "status": webhooks::Status::Active.as_str(), "attempt": verdict.to_json() })))
}

async fn rotate(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id::<WebhookId>("webhook_id")?);
    let key = request.ctx.key.clone();
    request
        .write("webhooks.rotate", move |tx| {
            let secret = webhooks::rotate_secret(tx, scope, &key, id)?.ok_or_else(Problem::not_found)?;
            Ok(Reply::ok(&json!({ "secret": secret.to_text() })))
        })
        .await
}

async fn test(request: Request) -> Result<Reply, Problem> {
    let event = request.body.choice("type", EventType::parse).expect("the table requires the key");
    let verdict =
        webhooks::send_test(&request.ctx, request.scope(), request.id("webhook_id")?, event).await?;
    Ok(Reply::ok(&verdict.ok_or_else(Problem::not_found)?.to_json()))
}

async fn statistics(request: Request) -> Result<Reply, Problem> {
    let (query, scope, id) = (&request.query, request.scope(), request.id::<WebhookId>("webhook_id")?);
    let zone = TimeZone::get(&request.company().time_zone).unwrap_or(TimeZone::UTC);
    let from = query.choice("from", When::parse).map(|when| when.start(&zone));
    let to = query.choice("to", When::parse).map(|when| when.end(&zone));
    let listed = webhooks::minutes(&request.ctx.db, scope, id, (from, to), query.page()).await?;
    Ok(Reply::page(listed.ok_or_else(Problem::not_found)?, Minute::to_json))
}

/// Whether the target may be one, and the headers may be sent. A name that DNS doesn't know yet may: registering
/// comes before the receiver is up often enough, and the verification asks again.
async fn check(ctx: &Ctx, body: &Values, errors: &mut Errors) -> Result<(), Problem> {
    if let Some(target) = body.get::<String>("target") {
        match ctx.to_webhooks.check_target_resolved(&target, DNS_TIMEOUT).await {
            Ok(_) | Err(TargetError::Unresolved(_)) => {}
            Err(error) => errors.add("target", error.to_string()),
        }
    }
    for (name, value) in headers(body).unwrap_or_default() {
        let field = format!("headers.{name}");
        match HeaderName::try_from(name) {
            Err(_) => errors.add(&field, "is not a header's name"),
            Ok(name) if !is_settable_header(&name) => {
                errors.add(&field, "is set by us: it says how the request is framed or signed");
            }
            Ok(_) if HeaderValue::try_from(value).is_err() => {
                errors.add(&field, "must not contain control characters");
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

fn subscription(body: &Values) -> Option<Subscription> {
    Some(match body.get::<Json>("events")? {
        Json::Array(words) => {
            let event = |word: &Json| EventType::parse(word.as_str()?);
            Subscription::Chosen(words.iter().filter_map(event).collect())
        }
        _ => Subscription::All,
    })
}

/// The headers that the body gives, in the order of their names.
fn headers(body: &Values) -> Option<Vec<(String, String)>> {
    let given: BTreeMap<String, String> = body.get("headers")?;
    Some(given.into_iter().collect())
}
