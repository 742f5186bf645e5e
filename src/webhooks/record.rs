//! Writing down attempts and what follows from them, a batch in one transaction: delivered, a retry, or
//! exhausted and the webhook deactivated.
//!
//! The way of a success is short: its row is taken out of the pending ones if it is still as it was when the
//! attempt began, and stands among the finished ones with its attempt. Everything else is looked at one by one.

use std::collections::HashSet;
use std::time::Duration;

use super::attempt::Outcome;
use super::schedule::{self, Next, Series};
use super::scheduler::Verdict;
use super::shards::{self, NodeId};
use super::{DeliveryState, Status, deactivate, health};
use crate::db::{self, Cell, Columns, FromRow, Kind, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CompanyId, EventId, WebhookId};

/// An attempt that ended, and whose it was.
#[derive(Clone, Debug)]
pub struct Ended {
    pub webhook: WebhookId,
    pub event: EventId,
    pub company: CompanyId,
    pub event_type: String,
    pub created_at: Micros,
    /// Of the lease under which it was made.
    pub epoch: i64,
    /// Of the webhook, when the attempt began.
    pub activation: i64,
    /// The webhook was failing then.
    pub failing: bool,
    /// Attempts that were recorded before this one began.
    pub earlier: u32,
    pub outcome: Outcome,
}

/// Records a batch; gives what became of each, in their order. `node` is the process that writes, where there can be
/// several.
///
/// # Errors
/// The database's; then none of them is recorded.
pub fn batch(
    tx: &mut Tx<'_>,
    gaps: &[Duration],
    node: Option<NodeId>,
    ended: &[Ended],
) -> db::Result<Vec<Verdict>> {
    let ours: HashSet<(i64, i64)> = match node {
        Some(node) => shards::hold(tx, node, ended.iter().map(|e| e.webhook))?,
        None => HashSet::new(),
    };
    let fenced = |e: &Ended| node.is_some() && !ours.contains(&(shards::shard_of(e.webhook), e.epoch));
    let mut verdicts: Vec<Verdict> =
        ended.iter().map(|e| if fenced(e) { Verdict::Fenced } else { Verdict::Done }).collect();
    let valid = || ended.iter().zip(&verdicts).filter(|(_, v)| **v != Verdict::Fenced).map(|(e, _)| e);
    let successes: Vec<&Ended> = valid().filter(|e| e.outcome.success).collect();
    delivered(tx, &successes)?;
    for (ended, verdict) in ended.iter().zip(&mut verdicts) {
        if *verdict != Verdict::Fenced && !ended.outcome.success {
            *verdict = failed(tx, gaps, ended)?;
        }
    }
    Ok(verdicts)
}

/// What names a pending delivery as it was seen: one that was attempted since isn't meant.
pub(super) static PENDING: Columns<3> =
    Columns::new("deliveries", [("webhook_id", Kind::Int), ("event_id", Kind::Int), ("attempts", Kind::Int)]);

pub(super) static FINISHED: Columns<8> = Columns::new(
    "finished_deliveries",
    [
        ("webhook_id", Kind::Int),
        ("event_id", Kind::Int),
        ("company_id", Kind::Int),
        ("event_type", Kind::Text),
        ("state", Kind::Text),
        ("attempts", Kind::Int),
        ("created_at", Kind::Int),
        ("finished_at", Kind::Int),
    ],
);

static ATTEMPTS: Columns<11> = Columns::new(
    "attempts",
    [
        ("webhook_id", Kind::Int),
        ("event_id", Kind::Int),
        ("number", Kind::Int),
        ("started_at", Kind::Int),
        ("duration_ms", Kind::Int),
        ("target", Kind::Text),
        ("request_headers", Kind::Text),
        ("status_code", Kind::Int),
        ("error", Kind::Text),
        ("error_detail", Kind::Text),
        ("response_body", Kind::Text),
    ],
);

fn delivered(tx: &mut Tx<'_>, successes: &[&Ended]) -> db::Result<()> {
    let found = tx.delete_rows(&PENDING, successes.iter().map(|e| pending_row(e)))?;
    let now = tx.now();
    let mut ended_now = Vec::new();
    let mut recovered = HashSet::new();
    for (ended, found) in successes.iter().zip(found) {
        if !found {
            late(tx, ended)?;
            continue;
        }
        ended_now.push(*ended);
        if ended.failing && recovered.insert(ended.webhook) {
            health::recovered(tx, ended)?;
        }
    }
    tx.insert_rows(&FINISHED, ended_now.iter().map(|e| finished_row(e, DeliveryState::Delivered, now)))?;
    tx.insert_rows(&ATTEMPTS, ended_now.iter().map(|e| attempt_row(e)))
}

fn pending_row(ended: &Ended) -> [Cell<'_>; 3] {
    [ended.webhook.into(), ended.event.into(), ended.earlier.into()]
}

fn finished_row(ended: &Ended, state: DeliveryState, now: Micros) -> [Cell<'_>; 8] {
    [
        ended.webhook.into(),
        ended.event.into(),
        ended.company.into(),
        ended.event_type.as_str().into(),
        state.as_str().into(),
        (ended.earlier + 1).into(),
        ended.created_at.into(),
        now.into(),
    ]
}

fn attempt_row(ended: &Ended) -> [Cell<'_>; 11] {
    let outcome = &ended.outcome;
    [
        ended.webhook.into(),
        ended.event.into(),
        (ended.earlier + 1).into(),
        outcome.started_at.into(),
        i64::try_from(outcome.duration.as_millis()).unwrap_or(i64::MAX).into(),
        (&outcome.target).into(),
        (&outcome.request_headers).into(),
        outcome.status_code.map(i64::from).into(),
        outcome.error.map(|kind| kind.as_str()).into(),
        (&outcome.error_detail).into(),
        (&outcome.response_body).into(),
    ]
}

/// The delivery isn't pending any more, or an attempt was recorded meanwhile. One that was cancelled or has expired
/// keeps its state; the attempt is kept all the same, because it was made. Anything else is this very write,
/// which comes again after a commit whose answer was lost.
fn late(tx: &mut Tx<'_>, ended: &Ended) -> db::Result<()> {
    let key = "where webhook_id = ? and created_at = ? and event_id = ? and attempts = ?";
    let counted = tx.execute(
        sql(format!("update finished_deliveries set attempts = attempts + 1 {key}"))
            .bind(ended.webhook)
            .bind(ended.created_at)
            .bind(ended.event)
            .bind(i64::from(ended.earlier)),
    )?;
    if counted > 0 {
        tx.insert_rows(&ATTEMPTS, [attempt_row(ended)])?;
    }
    Ok(())
}

struct Present {
    attempts: u32,
    series_attempts: u32,
    series_started_at: Option<Micros>,
    activation: i64,
}

impl FromRow for Present {
    fn from_row(row: &mut Row<'_>) -> db::Result<Present> {
        Ok(Present {
            attempts: row.get()?,
            series_attempts: row.get()?,
            series_started_at: row.get()?,
            activation: row.get()?,
        })
    }
}

fn failed(tx: &mut Tx<'_>, gaps: &[Duration], ended: &Ended) -> db::Result<Verdict> {
    let statement = "select attempts, series_attempts, series_started_at, activation from deliveries
                     where webhook_id = ? and event_id = ? {{for_update}}";
    let present = tx.find::<Present>(sql(statement).bind(ended.webhook).bind(ended.event))?;
    let Some(present) = present.filter(|present| present.attempts == ended.earlier) else {
        late(tx, ended)?;
        return Ok(Verdict::Done);
    };
    tx.insert_rows(&ATTEMPTS, [attempt_row(ended)])?;
    let series = series(&present, ended);
    let chance = u64::from_le_bytes(tx.seed().bytes());
    match schedule::next(gaps, series, ended.outcome.retry_after, chance) {
        Next::RetryAt(at) => {
            retry(tx, ended, series, at)?;
            if series.attempts > 1 && !ended.failing {
                health::failing(tx, ended)?;
            }
            Ok(Verdict::RetryAt(at))
        }
        Next::Exhausted => exhausted(tx, ended, series),
    }
}

/// A delivery that was held begins a new series with the first attempt after its webhook became active.
fn series(present: &Present, ended: &Ended) -> Series {
    let started = ended.outcome.started_at;
    match present.series_started_at {
        Some(first) if present.activation >= ended.activation && present.series_attempts > 0 => {
            Series { attempts: present.series_attempts + 1, first_sent_at: first, last_sent_at: started }
        }
        _ => Series { attempts: 1, first_sent_at: started, last_sent_at: started },
    }
}

fn retry(tx: &mut Tx<'_>, ended: &Ended, series: Series, at: Micros) -> db::Result<()> {
    tx.execute(
        sql("update deliveries set attempts = ?, series_attempts = ?, series_started_at = ?, activation = ?,
             next_attempt_at = ? where webhook_id = ? and event_id = ?")
        .bind(i64::from(ended.earlier + 1))
        .bind(i64::from(series.attempts))
        .bind(series.first_sent_at)
        .bind(ended.activation)
        .bind(at)
        .bind(ended.webhook)
        .bind(ended.event),
    )?;
    Ok(())
}

/// The webhook is deactivated with it, unless it was paused, changed or verified again while the attempt
/// was on its way.
fn exhausted(tx: &mut Tx<'_>, ended: &Ended, series: Series) -> db::Result<Verdict> {
    tx.delete_rows(&PENDING, [pending_row(ended)])?;
    let now = tx.now();
    tx.insert_rows(&FINISHED, [finished_row(ended, DeliveryState::Exhausted, now)])?;
    let statement =
        "select status, activation from webhooks where id = ? and deleted_at is null {{for_update}}";
    let webhook: Option<(String, i64)> = tx.find(sql(statement).bind(ended.webhook))?;
    let deactivated = webhook == Some((Status::Active.as_str().to_owned(), ended.activation));
    if deactivated {
        let reason = format!(
            "A delivery failed {} times, the last time with: {}",
            series.attempts, ended.outcome.error_detail
        );
        deactivate(tx, ended.webhook, &reason)?;
        health::deactivated(tx, ended, &reason)?;
    }
    Ok(Verdict::Exhausted { deactivated })
}
