//! Asking a target whether it wants what we send: the verification that makes a webhook active, and test
//! events. Both are answered at once and are no deliveries: nothing counts them, nothing retries them.

use serde_json::{Value as Json, json};

use super::attempt::{self, Outcome, Parcel, Recipient};
use super::{Webhook, find, not_verified, samples, verified};
use crate::companies::{self, Scope};
use crate::ctx::Ctx;
use crate::db;
use crate::events::{self, EventType};
use crate::kernel::id::{self, WebhookId};

/// What came of a verification or a test.
#[derive(Debug)]
pub struct Verdict {
    /// The target took it.
    pub success: bool,
    /// Why not, for people.
    pub reason: String,
    pub outcome: Outcome,
}

impl Verdict {
    fn of(outcome: Outcome) -> Verdict {
        Verdict { success: outcome.success, reason: outcome.error_detail.clone(), outcome }
    }

    /// The attempt as the API shows it.
    pub fn to_json(&self) -> Json {
        json!({
            "success": self.success,
            "started_at": self.outcome.started_at.rfc3339(),
            "duration_ms": u64::try_from(self.outcome.duration.as_millis()).unwrap_or(u64::MAX),
            "status_code": self.outcome.status_code,
            "error": self.outcome.error.map(|kind| kind.as_str()),
            "error_detail": self.outcome.error_detail,
            "response_body": self.outcome.response_body,
        })
    }
}

/// Sends a verification and makes the webhook active if it is answered with 200. None: no such webhook.
///
/// # Errors
/// The database's, or the secret can't be opened.
pub async fn verify(ctx: &Ctx, scope: Scope, id: WebhookId) -> anyhow::Result<Option<Verdict>> {
    let Some(webhook) = load(ctx, scope, id).await? else { return Ok(None) };
    let data = json!({"webhook_id": webhook.id, "company_id": webhook.company_id});
    let outcome = send(ctx, &webhook, "webhook.verification", "webhook", &data, false).await?;
    let mut verdict = Verdict::of(outcome);
    let target = webhook.settings.target.clone();
    let (success, reason) = (verdict.success, verdict.reason.clone());
    let still = ctx
        .db
        .write("webhooks.verified", move |tx| {
            if success {
                return verified(tx, scope, id, &target);
            }
            not_verified(tx, scope, id, &target, &format!("The verification failed. {reason}"))?;
            db::Result::Ok(true)
        })
        .await?;
    if !still {
        verdict.success = false;
        "The target was changed while it was verified.".clone_into(&mut verdict.reason);
    }
    Ok(Some(verdict))
}

/// Sends the sample of a type, marked as a test. None: no such webhook.
///
/// # Errors
/// The database's, or the secret can't be opened.
pub async fn send_test(
    ctx: &Ctx,
    scope: Scope,
    id: WebhookId,
    event: EventType,
) -> anyhow::Result<Option<Verdict>> {
    let Some(webhook) = load(ctx, scope, id).await? else { return Ok(None) };
    let company = ctx.db.read("companies.find", move |tx| companies::find(tx, scope.company())).await?;
    let name = company.map(|c| c.name).unwrap_or_default();
    let data = samples::data(event, scope.company(), &name, ctx.clock.now());
    let outcome = send(ctx, &webhook, event.as_str(), event.object(), &data, true).await?;
    Ok(Some(Verdict::of(outcome)))
}

async fn load(ctx: &Ctx, scope: Scope, id: WebhookId) -> db::Result<Option<Webhook>> {
    ctx.db.read("webhooks.find", move |tx| find(tx, scope, id)).await
}

async fn send(
    ctx: &Ctx,
    webhook: &Webhook,
    kind: &str,
    object: &str,
    data: &Json,
    test: bool,
) -> anyhow::Result<Outcome> {
    let now = ctx.clock.now();
    let body = events::body(kind, object, &data.to_string(), now, webhook.id, &webhook.settings.target);
    let id = id::delivery_id(&id::unique(now, &ctx.seed), webhook.id);
    let recipient = Recipient::of(webhook, &ctx.key, now)?;
    let parcel = Parcel { id: &id, body, test };
    Ok(attempt::send(&ctx.to_webhooks, &ctx.clock, ctx.config.webhooks.timeout, &recipient, parcel).await)
}
