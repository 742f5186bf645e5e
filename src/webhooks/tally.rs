//! What came of a webhook's attempts, summed up by the minute. Sums wait in memory for a few seconds and are then
//! added to the table, so that they cost the way of a delivery nothing; a crash loses those seconds of them. The
//! table is also read here, for people.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::attempt::Outcome;
use crate::companies::Scope;
use crate::db::{self, Db, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::WebhookId;
use crate::kernel::page::{Listed, Page};

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

/// What the attempts that began in one minute came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minute {
    number: i64,
    sums: Sums,
}

impl FromRow for Minute {
    fn from_row(row: &mut Row<'_>) -> db::Result<Minute> {
        let number = row.get()?;
        let sums = Sums {
            succeeded: row.get()?,
            failed: row.get()?,
            duration_ms: row.get()?,
            duration_ms_max: row.get()?,
        };
        Ok(Minute { number, sums })
    }
}

impl Minute {
    /// The object of the API.
    pub fn to_json(&self) -> Json {
        let attempts = (self.sums.succeeded + self.sums.failed).max(1);
        json!({
            "minute": Micros(self.number.saturating_mul(MINUTE_US)).rfc3339(),
            "succeeded": self.sums.succeeded,
            "failed": self.sums.failed,
            "duration_ms_mean": (self.sums.duration_ms + attempts / 2) / attempts,
            "duration_ms_max": self.sums.duration_ms_max,
        })
    }
}

/// The minutes in which there were attempts and which begin in the span, newest first. None: no such webhook.
///
/// # Errors
/// The database's.
pub async fn minutes(
    db: &Db,
    scope: Scope,
    webhook: WebhookId,
    (from, to): (Option<Micros>, Option<Micros>),
    page: Page,
) -> db::Result<Option<Listed<Minute>>> {
    let first = from.map_or(i64::MIN, first_from);
    let behind = to.map_or(i64::MAX, first_from).min(page.after.unwrap_or(i64::MAX));
    let rows = db
        .read("webhooks.minutes", move |tx| {
            if super::find(tx, scope, webhook)?.is_none() {
                return Ok(None);
            }
            let statement = "select minute, succeeded, failed, duration_ms, duration_ms_max from webhook_minutes
                             where webhook_id = ? and minute >= ? and minute < ? order by minute desc limit ?";
            let statement = sql(statement).bind(webhook).bind(first).bind(behind);
            tx.all(statement.bind(page.fetch_limit())).map(Some)
        })
        .await?;
    Ok(rows.map(|rows| Listed::new(rows, page, |minute: &Minute| minute.number)))
}

/// What attempts of an hour came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    pub succeeded: i64,
    pub failed: i64,
}

/// The last `count` hours of each of some webhooks up to now, the oldest first; only of those that tried anything.
///
/// # Errors
/// The database's.
pub fn last_hours(
    tx: &mut Tx<'_>,
    scope: Scope,
    webhooks: &[WebhookId],
    count: usize,
) -> db::Result<HashMap<WebhookId, Vec<Hour>>> {
    let end = tx.now().0.div_euclid(MINUTE_US * 60) + 1;
    let start = end - i64::try_from(count).unwrap_or(i64::MAX);
    let statement =
        "select m.webhook_id, m.minute / 60, cast(sum(m.succeeded) as bigint), cast(sum(m.failed) as bigint)
                     from webhook_minutes m join webhooks w on w.id = m.webhook_id
                     where m.webhook_id {{in_ids}} and m.minute >= ? and w.company_id = ? group by 1, 2";
    let statement =
        sql(statement).bind_ids(webhooks.iter().map(|id| id.0)).bind(start * 60).bind(scope.company());
    let mut hours: HashMap<WebhookId, Vec<Hour>> = HashMap::new();
    for (webhook, hour, succeeded, failed) in tx.all::<(WebhookId, i64, i64, i64)>(statement)? {
        let all = hours.entry(webhook).or_insert_with(|| vec![Hour::default(); count]);
        if let Some(one) = usize::try_from(hour - start).ok().and_then(|index| all.get_mut(index)) {
            *one = Hour { succeeded, failed };
        }
    }
    Ok(hours)
}

/// The first minute that begins at `at` or later.
fn first_from(at: Micros) -> i64 {
    at.0.saturating_add(MINUTE_US - 1).div_euclid(MINUTE_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_belongs_to_the_span_in_which_it_begins() {
        for (at, minute) in [(0, 0), (1, 1), (MINUTE_US, 1), (MINUTE_US + 1, 2), (-1, 0)] {
            assert_eq!(first_from(Micros(at)), minute, "{at}");
        }
    }

    #[test]
    fn the_mean_is_rounded() {
        let sums = Sums { succeeded: 2, failed: 1, duration_ms: 5, duration_ms_max: 3 };
        let json = Minute { number: 1, sums }.to_json();
        assert_eq!(
            (&json["minute"], &json["duration_ms_mean"]),
            (&json!("1970-01-01T00:01:00.000000Z"), &json!(2))
        );
    }
}
