//! How long things are kept: events with their finished deliveries for `retention.events`, attempts and the sums by
//! the minute for `retention.attempts`.
//!
//! - On PostgreSQL whole days are dropped (`db::Day`), and what lies in no day of its own is deleted row by row. On
//!   SQLite everything is, a few hundred rows in a transaction, so that nobody has to wait.
//! - An event stays while a delivery of it, or of an older one, is pending: a webhook that holds something old makes
//!   all events behind it stay. [`holding`](super::holding) sets an end to that.
//! - Finished deliveries go before their events, so that none is left that could be sent again without one.
//! - The newest event stays in any case: on SQLite its id would be given out again.
//! - There is no index by time alone. A **mark** says each hour which event is the newest; what is older than a moment
//!   has ids up to the mark before it.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Retention;
use crate::ctx::Ctx;
use crate::db::{self, Cell, Columns, Day, DayTable, Db, FromRow, Kind, LockSpace, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{EventId, WebhookId};

/// Days for which partitions are made ahead: a leader that is missing for so long costs nothing.
const DAYS_AHEAD: i64 = 3;
/// Ids are given out in the order of time but for transactions that overlap, and clocks that differ: by less than this.
const OUT_OF_ORDER: Duration = Duration::from_secs(3600);
/// A mark is made so often.
const MARK_EVERY: Duration = Duration::from_secs(3600);
/// Rows that are deleted in one transaction: a few milliseconds of a small machine.
const CHUNK: i64 = 500;
/// Others have the writer for so long between two of them.
const PAUSE: Duration = Duration::from_millis(5);
/// A run ends after this; the next one goes on.
const RUN_FOR: Duration = Duration::from_secs(5);
/// Webhooks whose rows are looked at in one transaction.
const WEBHOOKS_MAX: i64 = 100;

/// Background work: makes days ahead, and removes what is too old.
///
/// # Errors
/// The database's.
pub async fn run_once(ctx: &Ctx) -> db::Result<()> {
    let (db, now) = (&ctx.db, ctx.clock.now());
    let Retention { events, attempts } = ctx.config.retention;
    db.make_days(Day::of(now), Day::of(now).plus(DAYS_AHEAD)).await?;
    db.write("retention.mark", mark).await?;
    let (events, attempts) = (now.before(events), now.before(attempts));
    drop_days(db, events, attempts).await?;
    let sweep = Sweep { db, until: Instant::now() + RUN_FOR };
    if sweep.finished_deliveries(events).await? {
        sweep.events(events).await?;
    }
    sweep.attempts(attempts).await?;
    sweep.minutes(attempts).await?;
    let older = events.min(attempts);
    db.write("retention.marks", move |tx| {
        let statement = "delete from event_marks where at < (select max(at) from event_marks where at <= ?)";
        tx.execute(sql(statement).bind(older))
    })
    .await?;
    Ok(())
}

/// Writes down which event is the newest, once an hour.
fn mark(tx: &mut Tx<'_>) -> db::Result<()> {
    let recent = "select 1 from event_marks where at > ? limit 1";
    let now = tx.now();
    if tx.find::<(i64,)>(sql(recent).bind(now.before(MARK_EVERY)))?.is_none() {
        let statement =
            "insert into event_marks (at, event_id) select cast(? as bigint), coalesce(max(id), 0)
                         from events where true on conflict (at) do nothing";
        tx.execute(sql(statement).bind(now))?;
    }
    Ok(())
}

/// The newest event of which is known that it isn't younger than `at`.
fn marked(tx: &mut Tx<'_>, at: Micros) -> db::Result<EventId> {
    let statement = "select event_id from event_marks where at <= ? order by at desc limit 1";
    let found: Option<(EventId,)> = tx.find(sql(statement).bind(at))?;
    Ok(found.map_or(EventId(0), |(id,)| id))
}

/// Drops the days that lie wholly before these moments.
async fn drop_days(db: &Db, events: Micros, attempts: Micros) -> db::Result<()> {
    for (table, before) in
        [(DayTable::FinishedDeliveries, events), (DayTable::Events, events), (DayTable::Attempts, attempts)]
    {
        let days = db.read("retention.days", move |tx| tx.days(table)).await?;
        for day in days.into_iter().filter(|day| day.end() <= before) {
            match db.write("retention.drop", move |tx| drop_day(tx, table, day)).await {
                Ok(true) => tracing::info!(?table, day = day.start().rfc3339(), "a day was dropped"),
                Ok(false) => break,
                Err(db::Error::Unavailable(error)) => {
                    tracing::info!(?table, error, "a day can't be dropped now");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// False: something of it, or of its deliveries, is still needed.
fn drop_day(tx: &mut Tx<'_>, table: DayTable, day: Day) -> db::Result<bool> {
    tx.lock(LockSpace::Retention, 0)?;
    let needed = match table {
        DayTable::Events | DayTable::FinishedDeliveries => {
            let left = table == DayTable::Events && tx.days(DayTable::FinishedDeliveries)?.contains(&day);
            left || oldest_pending(tx)?.is_some_and(|oldest| oldest.before(OUT_OF_ORDER) < day.end())
        }
        DayTable::Attempts => false,
    };
    if !needed {
        tx.drop_day(table, day)?;
    }
    Ok(!needed)
}

/// When the oldest event happened of which a delivery is pending, give or take [`OUT_OF_ORDER`]: each webhook's first
/// row by its primary key.
fn oldest_pending(tx: &mut Tx<'_>) -> db::Result<Option<Micros>> {
    let statement = "select min(q.created_at) from (select
                     (select d.created_at from deliveries d where d.webhook_id = w.id order by d.event_id limit 1)
                     as created_at from webhooks w) q";
    let (oldest,): (Option<Micros>,) = tx.one(sql(statement))?;
    Ok(oldest)
}

/// The first event that must stay: the oldest of which a delivery is pending, or the newest of all.
fn first_needed(tx: &mut Tx<'_>) -> db::Result<EventId> {
    let pending = "select min(q.event_id) from (select
                   (select min(d.event_id) from deliveries d where d.webhook_id = w.id) as event_id
                   from webhooks w) q";
    let (pending,): (Option<EventId>,) = tx.one(sql(pending))?;
    let (newest,): (EventId,) = tx.one(sql("select coalesce(max(id), 0) from events"))?;
    Ok(pending.map_or(newest, |pending| pending.min(newest)))
}

static ATTEMPT_KEYS: Columns<4> = Columns::new(
    "attempts",
    [("webhook_id", Kind::Int), ("event_id", Kind::Int), ("number", Kind::Int), ("started_at", Kind::Int)],
);

#[derive(Clone, Copy)]
struct AttemptKey {
    event: EventId,
    webhook: WebhookId,
    number: i64,
    started_at: Micros,
}

impl FromRow for AttemptKey {
    fn from_row(row: &mut Row<'_>) -> db::Result<AttemptKey> {
        let (event, webhook) = (row.get()?, row.get()?);
        Ok(AttemptKey { event, webhook, number: row.get()?, started_at: row.get()? })
    }
}

impl AttemptKey {
    fn row(&self) -> [Cell<'static>; 4] {
        [self.webhook.into(), self.event.into(), self.number.into(), self.started_at.into()]
    }
}

/// Deleting row by row, for so long.
struct Sweep<'a> {
    db: &'a Db,
    until: Instant,
}

impl Sweep<'_> {
    /// Gives the others a turn; true: time is up.
    async fn pause(&self) -> bool {
        tokio::time::sleep(PAUSE).await;
        Instant::now() >= self.until
    }

    /// The next webhooks behind `after` of which `exists`, a condition on `w.id` with these values, holds.
    async fn webhooks(
        &self,
        after: WebhookId,
        exists: &'static str,
        values: Vec<i64>,
    ) -> db::Result<Vec<(WebhookId,)>> {
        self.db
            .read("retention.webhooks", move |tx| {
                let text = format!(
                    "select w.id from webhooks w where w.id > ? and exists ({exists}) order by w.id limit ?"
                );
                let statement = values.iter().fold(sql(text).bind(after), |sql, value| sql.bind(*value));
                tx.all(statement.bind(WEBHOOKS_MAX))
            })
            .await
    }

    /// True: none is left that is older than `before`.
    async fn finished_deliveries(&self, before: Micros) -> db::Result<bool> {
        let exists =
            "select 1 from {{rest_of_finished_deliveries}} f where f.webhook_id = w.id and f.created_at < ?";
        let mut after = WebhookId(0);
        loop {
            let webhooks = self.webhooks(after, exists, vec![before.0]).await?;
            let Some((last,)) = webhooks.last().copied() else { return Ok(true) };
            after = last;
            for (webhook,) in webhooks {
                let delete = move |tx: &mut Tx<'_>| delete_finished(tx, webhook, before);
                while self.db.write("retention.deliveries", delete).await? > 0 {
                    if self.pause().await {
                        return Ok(false);
                    }
                }
            }
        }
    }

    async fn events(&self, before: Micros) -> db::Result<()> {
        let delete = move |tx: &mut Tx<'_>| delete_events(tx, before);
        while self.db.write("retention.events", delete).await? > 0 {
            if self.pause().await {
                break;
            }
        }
        Ok(())
    }

    /// The rows are found in transactions that only read: after a replay many young ones may stand before an old one.
    async fn attempts(&self, before: Micros) -> db::Result<()> {
        let mark = self.db.read("retention.marked", move |tx| marked(tx, before)).await?;
        let mut after =
            AttemptKey { event: EventId(0), webhook: WebhookId(0), number: 0, started_at: before };
        loop {
            let find = move |tx: &mut Tx<'_>| old_attempts(tx, after, mark, before);
            let found = self.db.read("retention.attempts", find).await?;
            let Some(last) = found.last().copied() else { return Ok(()) };
            after = last;
            let delete = move |tx: &mut Tx<'_>| {
                tx.delete_rows(&ATTEMPT_KEYS, found.iter().map(|key| key.row())).map(drop)
            };
            self.db.write("retention.attempts", delete).await?;
            if self.pause().await {
                return Ok(());
            }
        }
    }

    /// A minute's sums are one row, so those of a webhook go at once.
    async fn minutes(&self, before: Micros) -> db::Result<()> {
        let minute = before.0.div_euclid(super::tally::MINUTE_US);
        let exists = "select 1 from webhook_minutes m where m.webhook_id = w.id and m.minute < ?";
        let mut after = WebhookId(0);
        loop {
            let webhooks = self.webhooks(after, exists, vec![minute]).await?;
            let Some((last,)) = webhooks.last().copied() else { return Ok(()) };
            after = last;
            let delete = move |tx: &mut Tx<'_>| {
                let statement = "delete from webhook_minutes where webhook_id = ? and minute < ?";
                webhooks
                    .iter()
                    .try_for_each(|(id,)| tx.execute(sql(statement).bind(*id).bind(minute)).map(drop))
            };
            self.db.write("retention.minutes", delete).await?;
            if self.pause().await {
                return Ok(());
            }
        }
    }
}

fn delete_finished(tx: &mut Tx<'_>, webhook: WebhookId, before: Micros) -> db::Result<u64> {
    tx.execute(
        sql("delete from {{rest_of_finished_deliveries}} where webhook_id = ? and created_at < ?
             and (created_at, event_id) in
             (select created_at, event_id from {{rest_of_finished_deliveries}}
              where webhook_id = ? and created_at < ? order by created_at, event_id limit ?)")
        .bind(webhook)
        .bind(before)
        .bind(webhook)
        .bind(before)
        .bind(CHUNK),
    )
}

fn delete_events(tx: &mut Tx<'_>, before: Micros) -> db::Result<u64> {
    tx.lock(LockSpace::Retention, 0)?;
    let (needed, marked) = (first_needed(tx)?, marked(tx, before)?);
    tx.execute(
        sql("delete from {{rest_of_events}} where id in
             (select id from {{rest_of_events}} where id < ? and id <= ? and occurred_at < ? order by id limit ?)")
        .bind(needed)
        .bind(marked)
        .bind(before)
        .bind(CHUNK),
    )
}

/// The next old attempts behind `after`.
fn old_attempts(
    tx: &mut Tx<'_>,
    after: AttemptKey,
    mark: EventId,
    before: Micros,
) -> db::Result<Vec<AttemptKey>> {
    tx.all(
        sql("select event_id, webhook_id, number, started_at from {{rest_of_attempts}}
             where (event_id, webhook_id, number) > (?, ?, ?) and event_id <= ? and started_at < ?
             order by event_id, webhook_id, number limit ?")
        .bind(after.event)
        .bind(after.webhook)
        .bind(after.number)
        .bind(mark)
        .bind(before)
        .bind(CHUNK),
    )
}
