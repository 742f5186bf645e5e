//! What came of a webhook's attempts, summed up by the minute. Sums wait in memory for a few seconds and are then
//! added to the table, so that they cost the way of a delivery nothing; a crash loses those seconds of them.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::Outcome;
use crate::db::{self, Db, Tx, sql};
use crate::kernel::id::WebhookId;

/// Microseconds of a minute.
pub(super) const MINUTE_US: i64 = 60_000_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    succeeded: i64,
    failed: i64,
    duration_ms: i64,
    duration_ms_max: i64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Tally {
    sums: HashMap<(WebhookId, i64), Sums>,
    since: Option<Instant>,
}

impl Tally {
    pub(super) fn add(&mut self, webhook: WebhookId, outcome: &Outcome) {
        self.since.get_or_insert_with(Instant::now);
        let minute = outcome.started_at.0.div_euclid(MINUTE_US);
        let sums = self.sums.entry((webhook, minute)).or_default();
        let duration = i64::try_from(outcome.duration.as_millis()).unwrap_or(i64::MAX);
        sums.succeeded += i64::from(outcome.success);
        sums.failed += i64::from(!outcome.success);
        sums.duration_ms += duration;
        sums.duration_ms_max = sums.duration_ms_max.max(duration);
    }

    /// Whether sums wait for longer than `every`.
    pub(super) fn is_due(&self, every: Duration) -> bool {
        self.due_in(every).is_some_and(|left| left.is_zero())
    }

    pub(super) fn due_in(&self, every: Duration) -> Option<Duration> {
        self.since.map(|since| every.saturating_sub(since.elapsed()))
    }

    /// Adds all sums to the table.
    ///
    /// # Errors
    /// The database's; then they are lost.
    pub(super) async fn write(&mut self, db: &Db) -> db::Result<()> {
        let sums = std::mem::take(&mut self.sums);
        self.since = None;
        if sums.is_empty() {
            return Ok(());
        }
        db.write("webhooks.tally", move |tx| {
            sums.iter().try_for_each(|((webhook, minute), sums)| add(tx, *webhook, *minute, *sums))
        })
        .await
    }
}

fn add(tx: &mut Tx<'_>, webhook: WebhookId, minute: i64, sums: Sums) -> db::Result<()> {
    tx.execute(
        sql("insert into webhook_minutes as m (webhook_id, minute, succeeded, failed, duration_ms, duration_ms_max)
             values (?, ?, ?, ?, ?, ?) on conflict (webhook_id, minute) do update set
             succeeded = m.succeeded + excluded.succeeded, failed = m.failed + excluded.failed,
             duration_ms = m.duration_ms + excluded.duration_ms,
             duration_ms_max = case when m.duration_ms_max > excluded.duration_ms_max
                                    then m.duration_ms_max else excluded.duration_ms_max end")
        .bind(webhook)
        .bind(minute)
        .bind(sums.succeeded)
        .bind(sums.failed)
        .bind(sums.duration_ms)
        .bind(sums.duration_ms_max),
    )?;
    Ok(())
}
