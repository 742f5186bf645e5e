//! Writing down an attempt and what follows from it, in one transaction: delivered, a retry, or exhausted
//! and the webhook deactivated.

use std::time::Duration;

use super::attempt::Outcome;
use super::schedule::{self, Next, Series};
use super::{Status, deactivate};
use crate::db::{self, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{DeliveryId, WebhookId};

/// An attempt that ended, and whose it was.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub delivery: DeliveryId,
    pub webhook: WebhookId,
    /// Of the webhook, when the attempt began.
    pub activation: i64,
    /// Attempts that were recorded before this one began.
    pub earlier: u32,
    pub outcome: Outcome,
}

struct Present {
    attempts: u32,
    series_attempts: u32,
    series_started_at: Option<Micros>,
    activation: i64,
}

impl db::FromRow for Present {
    fn from_row(row: &mut db::Row<'_>) -> db::Result<Present> {
        Ok(Present {
            attempts: row.get()?,
            series_attempts: row.get()?,
            series_started_at: row.get()?,
            activation: row.get()?,
        })
    }
}

/// Records one attempt. A delivery that is no longer pending (cancelled meanwhile) keeps its state; the
/// attempt is kept all the same, because it was made.
///
/// # Errors
/// The database's.
pub(super) fn attempt(tx: &mut Tx<'_>, gaps: &[Duration], ended: &Ended) -> db::Result<()> {
    let statement = "select attempts, series_attempts, series_started_at, activation from deliveries
                     where id = ? {{for_update}}";
    let Some(present) = tx.find::<Present>(sql(statement).bind(ended.delivery))? else { return Ok(()) };
    // The write may come again: after a commit whose answer was lost, nobody knows that it was made.
    if present.attempts > ended.earlier {
        return Ok(());
    }
    insert(tx, present.attempts + 1, ended)?;
    // Whatever state it is in: the next attempt's number must be a new one.
    let counted = "update deliveries set attempts = ? where id = ?";
    tx.execute(sql(counted).bind(i64::from(present.attempts + 1)).bind(ended.delivery))?;
    if ended.outcome.success {
        return delivered(tx, ended, present.attempts + 1);
    }
    let series = series(&present, ended);
    let chance = u64::from_le_bytes(tx.seed().bytes());
    match schedule::next(gaps, series, ended.outcome.retry_after, chance) {
        Next::RetryAt(at) => retry(tx, ended, &present, series, at),
        Next::Exhausted => exhausted(tx, ended, &present, series),
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

fn insert(tx: &mut Tx<'_>, number: u32, ended: &Ended) -> db::Result<()> {
    let outcome = &ended.outcome;
    tx.execute(
        sql("insert into attempts (delivery_id, number, started_at, duration_ms, target, request_headers,
             status_code, error, error_detail, response_body) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(ended.delivery)
        .bind(i64::from(number))
        .bind(outcome.started_at)
        .bind(i64::try_from(outcome.duration.as_millis()).unwrap_or(i64::MAX))
        .bind(&outcome.target)
        .bind(&outcome.request_headers)
        .bind(outcome.status_code.map(i64::from))
        .bind(outcome.error.map(|kind| kind.as_str()))
        .bind(&outcome.error_detail)
        .bind(&outcome.response_body),
    )?;
    Ok(())
}

fn delivered(tx: &mut Tx<'_>, ended: &Ended, attempts: u32) -> db::Result<()> {
    tx.execute(
        sql("update deliveries set state = 'delivered', attempts = ?, next_attempt_at = null, delivered_at = ?
             where id = ? and state = 'pending'")
        .bind(i64::from(attempts))
        .bind(tx.now())
        .bind(ended.delivery),
    )?;
    Ok(())
}

fn retry(tx: &mut Tx<'_>, ended: &Ended, present: &Present, series: Series, at: Micros) -> db::Result<()> {
    tx.execute(
        sql("update deliveries set attempts = ?, series_attempts = ?, series_started_at = ?, activation = ?,
             next_attempt_at = ? where id = ? and state = 'pending'")
        .bind(i64::from(present.attempts + 1))
        .bind(i64::from(series.attempts))
        .bind(series.first_sent_at)
        .bind(ended.activation)
        .bind(at)
        .bind(ended.delivery),
    )?;
    Ok(())
}

/// The webhook is deactivated with it, unless it was paused, changed or verified again while the attempt
/// was on its way.
fn exhausted(tx: &mut Tx<'_>, ended: &Ended, present: &Present, series: Series) -> db::Result<()> {
    tx.execute(
        sql("update deliveries set state = 'exhausted', attempts = ?, series_attempts = ?, series_started_at = ?,
             activation = ?, next_attempt_at = null where id = ? and state = 'pending'")
        .bind(i64::from(present.attempts + 1))
        .bind(i64::from(series.attempts))
        .bind(series.first_sent_at)
        .bind(ended.activation)
        .bind(ended.delivery),
    )?;
    let statement =
        "select status, activation from webhooks where id = ? and deleted_at is null {{for_update}}";
    let webhook: Option<(String, i64)> = tx.find(sql(statement).bind(ended.webhook))?;
    if webhook == Some((Status::Active.as_str().to_owned(), ended.activation)) {
        let reason = format!(
            "A delivery failed {} times, the last time with: {}",
            series.attempts, ended.outcome.error_detail
        );
        deactivate(tx, ended.webhook, &reason)?;
    }
    Ok(())
}
