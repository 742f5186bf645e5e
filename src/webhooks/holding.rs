//! The limits of holding: a delivery isn't held for longer than `webhooks.hold_for`, and a webhook has at most its
//! newest `webhooks.hold_max` held. What is beyond *expires*: it is finished with that state, to be seen in the list
//! and replayed while its event is kept, and counted in the webhook. Deliveries of active webhooks never expire.
//!
//! How long it is held counts from when it was due: for a fresh one from its event, for one that was sent again by
//! hand from then.

use std::time::Duration;

use tokio::time::Instant;

use super::deliveries::{ENDING, end_pending};
use super::{DeliveryState, Status, lock};
use crate::companies::Scope;
use crate::ctx::Ctx;
use crate::db::{self, Sql, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CompanyId, EventId, WebhookId};

/// Deliveries that expire in one transaction.
const CHUNK: i64 = 500;
/// A run ends after this; the next one goes on.
const RUN_FOR: Duration = Duration::from_secs(5);

/// Background work: lets what is beyond the limits expire, oldest first. Gives how many.
///
/// # Errors
/// The database's.
pub async fn expire(ctx: &Ctx) -> db::Result<u64> {
    let until = Instant::now() + RUN_FOR;
    let inactive = ctx
        .db
        .read("webhooks.inactive", |tx| {
            let statement =
                "select id, company_id from webhooks where status <> 'active' and deleted_at is null order by id";
            tx.all::<(WebhookId, CompanyId)>(sql(statement))
        })
        .await?;
    let mut total = 0;
    for (webhook, company) in inactive {
        let expired = expire_of(ctx, Scope::of(company), webhook, until).await?;
        if expired > 0 {
            tracing::warn!(webhook.id = webhook.0, expired, "deliveries of an inactive webhook expired");
            ctx.metrics.deliveries_expired.inc_by(expired);
        }
        total += expired;
    }
    Ok(total)
}

async fn expire_of(ctx: &Ctx, scope: Scope, webhook: WebhookId, until: Instant) -> db::Result<u64> {
    let since = ctx.clock.now().before(ctx.config.webhooks.hold_for);
    let hold_max = i64::from(ctx.config.webhooks.hold_max);
    let beyond = ctx.db.read("webhooks.beyond", move |tx| newest_beyond(tx, webhook, hold_max)).await?;
    let mut total = 0;
    while Instant::now() < until {
        let expired =
            ctx.db.write("webhooks.expire", move |tx| chunk(tx, scope, webhook, since, beyond)).await?;
        total += expired;
        if expired == 0 {
            break;
        }
    }
    Ok(total)
}

/// The newest event whose delivery is beyond the number that is held. It counts along the primary key, which takes
/// about 50 ms for a million rows, in a transaction that only reads.
fn newest_beyond(tx: &mut Tx<'_>, webhook: WebhookId, hold_max: i64) -> db::Result<Option<EventId>> {
    let statement =
        "select event_id from deliveries where webhook_id = ? order by event_id desc limit 1 offset ?";
    let found: Option<(EventId,)> = tx.find(sql(statement).bind(webhook).bind(hold_max))?;
    Ok(found.map(|(event,)| event))
}

/// Lets some expire, and counts them; none if the webhook became active meanwhile.
fn chunk(
    tx: &mut Tx<'_>,
    scope: Scope,
    webhook: WebhookId,
    since: Micros,
    beyond: Option<EventId>,
) -> db::Result<u64> {
    let inactive = lock(tx, scope, webhook)?.is_some_and(|webhook| webhook.status != Status::Active);
    if !inactive {
        return Ok(0);
    }
    let mut expired = too_long(tx, webhook, since)?;
    if let Some(newest) = beyond.filter(|_| expired == 0) {
        let order = "where d.webhook_id = ? and d.event_id <= ? order by d.event_id";
        expired = end(tx, sql(format!("{ENDING} {order}")).bind(webhook).bind(newest))?;
    }
    if expired > 0 {
        let statement = "update webhooks set expired = expired + ?, expired_at = ? where id = ?";
        let count = i64::try_from(expired).unwrap_or(i64::MAX);
        tx.execute(sql(statement).bind(count).bind(tx.now()).bind(webhook))?;
    }
    Ok(expired)
}

/// Those that were due before `since`. Their index begins with the activation, of which there are few.
fn too_long(tx: &mut Tx<'_>, webhook: WebhookId, since: Micros) -> db::Result<u64> {
    let next = "select min(activation) from deliveries where webhook_id = ? and activation > ?";
    let old = format!(
        "{ENDING} where d.webhook_id = ? and d.activation = ? and d.next_attempt_at < ?
         order by d.next_attempt_at, d.event_id"
    );
    let mut activation = -1;
    loop {
        let found: (Option<i64>,) = tx.one(sql(next).bind(webhook).bind(activation))?;
        let (Some(present),) = found else { return Ok(0) };
        let expired = end(tx, sql(old.clone()).bind(webhook).bind(present).bind(since))?;
        if expired > 0 {
            return Ok(expired);
        }
        activation = present;
    }
}

fn end(tx: &mut Tx<'_>, which: Sql) -> db::Result<u64> {
    end_pending(tx, which, CHUNK, DeliveryState::Expired)
}
