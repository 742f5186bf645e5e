//! Replays: a range of a webhook's finished deliveries is sent again, each under its id and as a new series.
//!
//! - It is fed bit by bit: only [`AHEAD_MAX`] of its deliveries are pending at a time, so that a new event never waits
//!   behind more than those, however long the range is. What has been fed stands in the row, so a restart costs
//!   nothing.
//! - A replay has a cursor that only goes on, and it takes what was finished before it was asked for. So a delivery
//!   that it sends again, and that is finished again with the same place in the range, isn't taken twice.
//! - While the webhook isn't active nothing is fed: what is pending is held, the replay waits.
//! - It is done when the whole range was fed and nothing of it is pending any more. Deleting the webhook cancels it.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::deliveries::reopen;
use super::{DeliveryState, Status, lock};
use crate::companies::Scope;
use crate::ctx::Ctx;
use crate::db::{self, Db, FromRow, LockSpace, Note, Row, Sql, Tx, Wake, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CompanyId, EventId, ReplayId, TokenId, WebhookId};
use crate::kernel::page::{Listed, Page};

/// Deliveries of one replay that are pending at most.
const AHEAD_MAX: usize = 64;
/// It is fed when there is room for so many, so that each transaction is worth its commit.
const FEED_MIN: usize = 16;
/// Rows of the range that are looked at in one transaction: where few fit, many are passed over.
const SCAN_MAX: usize = 500;
/// Replays that are looked at in one round, over all companies.
const RUNNING_MAX: i64 = 1_000;
/// Time between two rounds while something moves.
const ROUND_EVERY: Duration = Duration::from_millis(20);
/// Rounds without anything that moved after which the job's own period is soon enough.
const STUCK_ROUNDS_MAX: u32 = 5;
/// A run ends after this and asks for the next one.
const RUN_FOR: Duration = Duration::from_secs(1);

/// What is replayed when nothing else was asked for.
pub const STATES_DEFAULT: [DeliveryState; 3] =
    [DeliveryState::Delivered, DeliveryState::Exhausted, DeliveryState::Expired];
/// What can be replayed: everything that is over.
pub const STATES: [DeliveryState; 4] =
    [DeliveryState::Delivered, DeliveryState::Exhausted, DeliveryState::Expired, DeliveryState::Cancelled];

/// How far a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayState {
    Running,
    /// Running, and the webhook isn't active. Derived: nothing stores it.
    Waiting,
    Done,
    /// By a user, or because the webhook was deleted.
    Cancelled,
}

impl ReplayState {
    pub const ALL: [ReplayState; 4] =
        [ReplayState::Running, ReplayState::Waiting, ReplayState::Done, ReplayState::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            ReplayState::Running => "running",
            ReplayState::Waiting => "waiting",
            ReplayState::Done => "done",
            ReplayState::Cancelled => "cancelled",
        }
    }

    /// Nothing more comes of it.
    pub fn is_over(self) -> bool {
        matches!(self, ReplayState::Done | ReplayState::Cancelled)
    }

    fn parse(text: &str) -> Option<ReplayState> {
        ReplayState::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// What shall be replayed. `from` is before `to`.
#[derive(Clone, Debug)]
pub struct Range {
    /// Created at or after.
    pub from: Micros,
    /// Created before.
    pub to: Micros,
    pub states: Vec<DeliveryState>,
}

/// A replay as stored.
#[derive(Clone, Debug)]
pub struct Replay {
    pub id: ReplayId,
    pub webhook: WebhookId,
    company: CompanyId,
    pub range: Range,
    pub state: ReplayState,
    cursor: (Micros, EventId),
    /// Deliveries that were made pending again so far.
    pub queued: i64,
    /// Those of them that are pending now.
    pub pending: i64,
    pub created_at: Micros,
    pub finished_at: Option<Micros>,
    /// The name of the token that asked for it.
    pub created_by: String,
}

const SELECT: &str = "select r.id, r.webhook_id, r.company_id, r.from_at, r.to_at, r.states,
    case when r.state = 'running' and w.status <> 'active' then 'waiting' else r.state end,
    r.cursor_at, r.cursor_event_id, r.queued, (select count(*) from deliveries d where d.replay_id = r.id),
    r.created_at, r.finished_at, coalesce(t.name, '')
    from replays r join webhooks w on w.id = r.webhook_id left join tokens t on t.id = r.token_id";

impl FromRow for Replay {
    fn from_row(row: &mut Row<'_>) -> db::Result<Replay> {
        let unknown = || db::Error::Internal("a replay has an unknown state".to_owned());
        let (id, webhook, company, from, to) = (row.get()?, row.get()?, row.get()?, row.get()?, row.get()?);
        let words = row.get::<String>()?;
        let states = words.split_whitespace().map(|word| DeliveryState::parse(word).ok_or_else(unknown));
        Ok(Replay {
            id,
            webhook,
            company,
            range: Range { from, to, states: states.collect::<db::Result<_>>()? },
            state: ReplayState::parse(&row.get::<String>()?).ok_or_else(unknown)?,
            cursor: (row.get()?, row.get()?),
            queued: row.get()?,
            pending: row.get()?,
            created_at: row.get()?,
            finished_at: row.get()?,
            created_by: row.get()?,
        })
    }
}

impl Replay {
    /// The object of the API.
    pub fn to_json(&self) -> Json {
        json!({
            "id": self.id,
            "webhook_id": self.webhook,
            "from": self.range.from.rfc3339(),
            "to": self.range.to.rfc3339(),
            "states": self.range.states.iter().map(|s| s.as_str()).collect::<Vec<_>>(),
            "state": self.state.as_str(),
            "progress": self.progress(),
            "queued": self.queued,
            "pending": self.pending,
            "created_by": self.created_by,
            "created_at": self.created_at.rfc3339(),
            "finished_at": self.finished_at.map(Micros::rfc3339),
        })
    }

    /// How much of the range in time was fed, 0 to 1, to the thousandth.
    pub fn progress(&self) -> f64 {
        let whole = self.range.to.since(self.range.from).as_secs_f64();
        let part = self.cursor.0.since(self.range.from).as_secs_f64();
        if self.is_fed() { 1.0 } else { (part / whole * 1_000.0).floor() / 1_000.0 }
    }

    /// The whole range was fed.
    fn is_fed(&self) -> bool {
        self.cursor.0 >= self.range.to
    }

    fn room(&self) -> usize {
        AHEAD_MAX.saturating_sub(usize::try_from(self.pending).unwrap_or(usize::MAX))
    }

    /// Whether [`step`] would do something.
    fn can_move(&self) -> bool {
        match self.state {
            ReplayState::Running if self.is_fed() => self.pending == 0,
            ReplayState::Running => self.room() >= FEED_MIN,
            ReplayState::Waiting => self.is_fed() && self.pending == 0,
            ReplayState::Done | ReplayState::Cancelled => false,
        }
    }
}

/// Why a replay isn't begun or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no such webhook or replay")]
    NotFound,
    #[error("replay {0} of this webhook is running: wait for its end, or cancel it")]
    Running(ReplayId),
    #[error("the replay is done")]
    Done,
    #[error(transparent)]
    Db(#[from] db::Error),
}

/// Begins a replay. The webhook needn't be active yet.
///
/// # Errors
/// No such webhook, or another one of its is running.
pub fn create(
    tx: &mut Tx<'_>,
    scope: Scope,
    webhook: WebhookId,
    token: Option<TokenId>,
    range: &Range,
) -> Result<Replay, Error> {
    // Held until the end: of two requests one is the first.
    lock(tx, scope, webhook)?.ok_or(Error::NotFound)?;
    let running = "select id from replays where webhook_id = ? and state = 'running'";
    if let Some((id,)) = tx.find::<(ReplayId,)>(sql(running).bind(webhook))? {
        return Err(Error::Running(id));
    }
    let states: Vec<_> = range.states.iter().map(|s| s.as_str()).collect();
    let (id,): (ReplayId,) = tx.one(
        sql("insert into replays (webhook_id, company_id, token_id, from_at, to_at, states, state, cursor_at,
             cursor_event_id, queued, created_at) values (?, ?, ?, ?, ?, ?, 'running', ?, 0, 0, ?) returning id")
        .bind(webhook)
        .bind(scope.company())
        .bind(token)
        .bind(range.from)
        .bind(range.to)
        .bind(states.join(" "))
        .bind(range.from)
        .bind(tx.now()),
    )?;
    tx.wake(Wake::Replays);
    find(tx, scope, webhook, id)?.ok_or(Error::NotFound)
}

/// A replay of the webhook.
///
/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, scope: Scope, webhook: WebhookId, id: ReplayId) -> db::Result<Option<Replay>> {
    tx.find(of(scope, webhook).and(" and r.id = ?").bind(id))
}

fn of(scope: Scope, webhook: WebhookId) -> Sql {
    let condition = "where r.company_id = ? and r.webhook_id = ? and w.deleted_at is null";
    sql(format!("{SELECT} {condition}")).bind(scope.company()).bind(webhook)
}

/// Newest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, webhook: WebhookId, page: Page) -> db::Result<Listed<Replay>> {
    let rows = db
        .read("replays.list", move |tx| {
            let statement = of(scope, webhook).and(" and r.id < ? order by r.id desc limit ?");
            tx.all(statement.bind(page.after.unwrap_or(i64::MAX)).bind(page.fetch_limit()))
        })
        .await?;
    Ok(Listed::new(rows, page, |r: &Replay| r.id.0))
}

/// Stops a replay: nothing more is fed; the few that are pending are delivered. One that was cancelled stays so.
///
/// # Errors
/// There is none, or it is done.
pub fn cancel(tx: &mut Tx<'_>, scope: Scope, webhook: WebhookId, id: ReplayId) -> Result<Replay, Error> {
    lock(tx, scope, webhook)?.ok_or(Error::NotFound)?;
    end(tx, " and id = ?", (webhook, Some(id)), ReplayState::Cancelled)?;
    let replay = find(tx, scope, webhook, id)?.ok_or(Error::NotFound)?;
    match replay.state {
        ReplayState::Cancelled => Ok(replay),
        ReplayState::Done | ReplayState::Running | ReplayState::Waiting => Err(Error::Done),
    }
}

/// The webhook is deleted: its replay ends.
///
/// # Errors
/// The database's.
pub(super) fn cancel_of(tx: &mut Tx<'_>, webhook: WebhookId) -> db::Result<()> {
    end(tx, "", (webhook, None), ReplayState::Cancelled)
}

fn end(
    tx: &mut Tx<'_>,
    and: &str,
    (webhook, id): (WebhookId, Option<ReplayId>),
    state: ReplayState,
) -> db::Result<()> {
    let statement =
        "update replays set state = ?, finished_at = ? where webhook_id = ? and state = 'running'";
    let statement = sql(statement).bind(state.as_str()).bind(tx.now()).bind(webhook).and(and);
    tx.execute(match id {
        Some(id) => statement.bind(id),
        None => statement,
    })?;
    Ok(())
}

/// Background work: feeds all running replays, for a second at most while something moves.
///
/// # Errors
/// The database's.
pub async fn feed(ctx: &Ctx) -> db::Result<()> {
    let (until, mut stuck) = (Instant::now() + RUN_FOR, 0);
    while stuck < STUCK_ROUNDS_MAX {
        match round(&ctx.db).await? {
            Round::NothingRuns => return Ok(()),
            Round::Moved => stuck = 0,
            Round::Stuck => stuck += 1,
        }
        if Instant::now() >= until {
            ctx.db.wakes().wake(Wake::Replays);
            return Ok(());
        }
        tokio::time::sleep(ROUND_EVERY).await;
    }
    Ok(())
}

/// What a look at all running replays came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    NothingRuns,
    /// They wait for receivers, or for their webhooks to be active.
    Stuck,
    Moved,
}

/// Feeds each running replay once.
///
/// # Errors
/// The database's.
pub async fn round(db: &Db) -> db::Result<Round> {
    let running = db
        .read("replays.running", |tx| {
            let statement = format!("{SELECT} where r.state = 'running' order by r.id limit ?");
            tx.all::<Replay>(sql(statement).bind(RUNNING_MAX))
        })
        .await?;
    if running.is_empty() {
        return Ok(Round::NothingRuns);
    }
    let mut moved = Round::Stuck;
    for replay in running.into_iter().filter(Replay::can_move) {
        let (scope, webhook, id) = (Scope::of(replay.company), replay.webhook, replay.id);
        db.write("replays.feed", move |tx| step(tx, scope, webhook, id)).await?;
        moved = Round::Moved;
    }
    Ok(moved)
}

/// Feeds one replay as much as there is room for, or ends it.
fn step(tx: &mut Tx<'_>, scope: Scope, webhook: WebhookId, id: ReplayId) -> db::Result<()> {
    tx.lock(LockSpace::Retention, 0)?;
    // Whoever cancels or deletes waits for this, or this for him.
    let Some(owner) = lock(tx, scope, webhook)? else { return Ok(()) };
    let Some(replay) = find(tx, scope, webhook, id)?.filter(Replay::can_move) else { return Ok(()) };
    if replay.is_fed() {
        return end(tx, " and id = ?", (webhook, Some(id)), ReplayState::Done);
    }
    if owner.status != Status::Active {
        return Ok(());
    }
    let found = Found { rows: candidates(tx, &replay)?, limit: SCAN_MAX };
    let bite = found.bite(&replay);
    let queued = reopen(tx, &owner, &bite.deliveries, Some(id.0))?;
    tx.execute(
        sql("update replays set cursor_at = ?, cursor_event_id = ?, queued = queued + ? where id = ?")
            .bind(bite.cursor.0)
            .bind(bite.cursor.1)
            .bind(i64::try_from(queued).unwrap_or(i64::MAX))
            .bind(id),
    )?;
    if queued > 0 {
        tx.note(Note::Due(webhook));
    }
    Ok(())
}

/// A finished delivery in the range, behind the cursor.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    created_at: Micros,
    event: EventId,
    state: DeliveryState,
    finished_at: Micros,
}

impl FromRow for Candidate {
    fn from_row(row: &mut Row<'_>) -> db::Result<Candidate> {
        let unknown = || db::Error::Internal("a delivery has an unknown state".to_owned());
        Ok(Candidate {
            created_at: row.get()?,
            event: row.get()?,
            state: DeliveryState::parse(&row.get::<String>()?).ok_or_else(unknown)?,
            finished_at: row.get()?,
        })
    }
}

/// The next rows behind the cursor, in its order. Where delivered ones are wanted, which are the most, all of them;
/// else those of the wanted states only, by an index that the delivered ones aren't in.
fn candidates(tx: &mut Tx<'_>, replay: &Replay) -> db::Result<Vec<Candidate>> {
    let range = &replay.range;
    let select = |and: &str| {
        let of = "select created_at, event_id, state, finished_at from finished_deliveries
                  where webhook_id = ? and (created_at, event_id) > (?, ?) and created_at < ?";
        sql(format!("{of}{and} order by created_at, event_id limit ?"))
            .bind(replay.webhook)
            .bind(replay.cursor.0)
            .bind(replay.cursor.1)
            .bind(range.to)
    };
    let limit = i64::try_from(SCAN_MAX).unwrap_or(i64::MAX);
    if range.states.contains(&DeliveryState::Delivered) {
        return tx.all(select("").bind(limit));
    }
    let mut rows: Vec<Candidate> = Vec::new();
    for state in &range.states {
        let of_state = select(" and state = ? and state <> 'delivered'").bind(state.as_str());
        rows.extend(tx.all::<Candidate>(of_state.bind(limit))?);
    }
    rows.sort_by_key(|row| (row.created_at, row.event));
    // Behind this some states may have more rows than were read.
    rows.truncate(SCAN_MAX);
    Ok(rows)
}

/// What was found behind the cursor, `limit` rows at most.
struct Found {
    rows: Vec<Candidate>,
    limit: usize,
}

/// What is fed in one transaction, and where the cursor is then.
#[derive(Debug, PartialEq, Eq)]
struct Bite {
    deliveries: Vec<(Micros, EventId)>,
    cursor: (Micros, EventId),
}

impl Found {
    fn bite(&self, replay: &Replay) -> Bite {
        let mut bite = Bite { deliveries: Vec::new(), cursor: replay.cursor };
        for row in &self.rows {
            if bite.deliveries.len() >= replay.room() {
                return bite;
            }
            bite.cursor = (row.created_at, row.event);
            if row.finished_at <= replay.created_at && replay.range.states.contains(&row.state) {
                bite.deliveries.push((row.created_at, row.event));
            }
        }
        if self.rows.len() < self.limit {
            bite.cursor = (replay.range.to, EventId(0));
        }
        bite
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(pending: i64) -> Replay {
        Replay {
            id: ReplayId(1),
            webhook: WebhookId(1),
            company: CompanyId(1),
            range: Range { from: Micros(0), to: Micros(1_000), states: STATES_DEFAULT.to_vec() },
            state: ReplayState::Running,
            cursor: (Micros(0), EventId(0)),
            queued: 0,
            pending,
            created_at: Micros(5_000),
            finished_at: None,
            created_by: String::new(),
        }
    }

    fn rows(count: i64, state: DeliveryState, finished_at: i64) -> Vec<Candidate> {
        let row = |n| Candidate {
            created_at: Micros(n),
            event: EventId(n),
            state,
            finished_at: Micros(finished_at),
        };
        (1..=count).map(row).collect()
    }

    #[test]
    fn only_what_there_is_room_for_is_fed_and_the_cursor_stands_behind_it() {
        let found = Found { rows: rows(100, DeliveryState::Delivered, 1), limit: 100 };
        let bite = found.bite(&replay(60));
        assert_eq!(bite.deliveries.len(), 4);
        assert_eq!(bite.cursor, (Micros(4), EventId(4)));
    }

    #[test]
    fn what_is_not_wanted_is_passed_over_and_the_end_of_the_rows_is_the_end_of_the_range() {
        for (state, finished_at) in [(DeliveryState::Cancelled, 1), (DeliveryState::Delivered, 5_001)] {
            let found = Found { rows: rows(10, state, finished_at), limit: 10 };
            let bite = found.bite(&replay(0));
            assert_eq!(bite, Bite { deliveries: Vec::new(), cursor: (Micros(10), EventId(10)) });
            let last = Found { limit: 11, ..found }.bite(&replay(0));
            assert_eq!(last.cursor, (Micros(1_000), EventId(0)));
        }
    }

    #[test]
    fn progress_is_the_part_of_the_range_that_was_fed() {
        let mut replay = replay(0);
        assert_eq!(replay.progress(), 0.0);
        replay.cursor = (Micros(333), EventId(7));
        assert_eq!(replay.progress(), 0.333);
        replay.cursor = (Micros(1_000), EventId(0));
        assert_eq!(replay.progress(), 1.0);
    }

    #[test]
    fn it_moves_only_when_there_is_room_or_nothing_is_left() {
        let mut replay = replay(64);
        assert!(!replay.can_move(), "it is full");
        replay.pending = 48;
        assert!(replay.can_move());
        replay.state = ReplayState::Waiting;
        assert!(!replay.can_move(), "its webhook isn't active");
        replay.cursor.0 = Micros(1_000);
        assert!(!replay.can_move(), "some are held");
        replay.pending = 0;
        assert!(replay.can_move(), "it is over, whatever the webhook's status");
    }
}
