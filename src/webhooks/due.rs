//! Reading what is due: the answers to lanes' questions.

use std::sync::Arc;

use super::lane::{Question, Ready, Reply};
use crate::db::{self, EventRow, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;

impl FromRow for Ready {
    fn from_row(row: &mut Row<'_>) -> db::Result<Ready> {
        let event = EventRow {
            id: row.get()?,
            uid: row.get()?,
            kind: row.get()?,
            object: row.get()?,
            data: row.get()?,
            occurred_at: row.get()?,
        };
        Ok(Ready { event: Arc::new(event), attempts: row.get()? })
    }
}

/// Conditions, order and limit follow, and then [`THEIR_EVENTS`]: the limit is inside, so that no planner comes to
/// think of sorting a whole backlog with its events.
const DUE: &str = "select e.id, e.uid, e.type, e.object, e.data, e.occurred_at, d.attempts
    from (select event_id, created_at, attempts, next_attempt_at from deliveries where webhook_id = ?";
/// The day's partition is known by created_at, which is the event's own moment.
const THEIR_EVENTS: &str = ") d join events e on e.id = d.event_id and e.occurred_at = d.created_at order by";

/// What was held comes first, oldest first; then what is due by the clock.
///
/// # Errors
/// The database's.
pub fn answer(tx: &mut Tx<'_>, question: &Question) -> db::Result<Reply> {
    let (webhook, revision) = (question.webhook, question.revision);
    let mut reply = Reply {
        webhook,
        revision,
        stale: !is_current(tx, question)?,
        rows: Vec::new(),
        held: false,
        more: false,
        next_due: None,
    };
    if reply.stale {
        return Ok(reply);
    }
    let limit = i64::try_from(question.limit).unwrap_or(i64::MAX);
    if let Some(behind) = question.held
        && are_held(tx, question)?
    {
        // By the primary key: in the order of events, and without those that were passed already.
        let statement = format!(
            "{DUE} and event_id > ? and activation < ? order by event_id limit ? {THEIR_EVENTS} d.event_id"
        );
        let rows = sql(statement).bind(webhook).bind(behind).bind(question.activation).bind(limit);
        reply.rows = tx.all(rows)?;
        reply.held = reply.rows.len() >= question.limit;
    }
    if reply.held {
        return Ok(reply);
    }
    let now = tx.now();
    let statement = format!(
        "{DUE} and activation = ? and next_attempt_at <= ? order by next_attempt_at, event_id limit ?
         {THEIR_EVENTS} d.next_attempt_at, d.event_id"
    );
    let due: Vec<Ready> =
        tx.all(sql(statement).bind(webhook).bind(question.activation).bind(now).bind(limit))?;
    reply.more = due.len() >= question.limit;
    reply.rows.extend(due);
    reply.next_due = next_due(tx, question, now)?;
    Ok(reply)
}

/// Whether the webhook is still as the lane knows it. In one snapshot with the deliveries, so that what was
/// made after a change never goes out by the settings from before.
fn is_current(tx: &mut Tx<'_>, question: &Question) -> db::Result<bool> {
    let statement =
        "select 1 from webhooks where id = ? and status = 'active' and revision = ? and deleted_at is null";
    let found: Option<(i64,)> = tx.find(sql(statement).bind(question.webhook).bind(question.revision))?;
    Ok(found.is_some())
}

/// Whether there is anything of an earlier activation: one probe of an index, however much is pending.
fn are_held(tx: &mut Tx<'_>, question: &Question) -> db::Result<bool> {
    let statement = "select 1 from deliveries where webhook_id = ? and activation < ? limit 1";
    let found: Option<(i64,)> = tx.find(sql(statement).bind(question.webhook).bind(question.activation))?;
    Ok(found.is_some())
}

fn next_due(tx: &mut Tx<'_>, question: &Question, now: Micros) -> db::Result<Option<Micros>> {
    let statement = "select min(next_attempt_at) from deliveries
                     where webhook_id = ? and activation = ? and next_attempt_at > ?";
    let (next,): (Option<Micros>,) =
        tx.one(sql(statement).bind(question.webhook).bind(question.activation).bind(now))?;
    Ok(next)
}
