//! Number pools: which visitor has which number, now and in the past.
//!
//! A visit *leases* a number. It is the visitor's for `hold` after the last sign of life, and `grace` longer, as
//! people leave the browser to dial; after `cooldown` more another visitor may have it. Until somebody does, a
//! visitor who comes back gets the same number. A lease's row stays for ever as what was true at the time.
//!
//! A number has at most one lease that hasn't ended: the unique index `leases_held` says so, and
//! [`take`] asks one after the other (SQLite's writers wait for each other, PostgreSQL's for a lock on the pool).
//!
//! The clock may be set back, and processes have one each. A lease never ends before it began, nor is seen before it was;
//! what a row says of the future counts as of now ([`leases`]). Until the clock is where it was, numbers that were given
//! out before stay their visitors' for as much longer, and `reuse` takes over those of later visitors first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::companies::Scope;
use crate::db::{self, FromRow, LockSpace, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{LeaseId, NumberId, SessionId, TrackerId, VisitorId};
use crate::kernel::phone::PhoneNumber;

/// Minutes that a number may be held without a sign of life, kept in grace, or cool down: a day each.
pub const MINUTES_MAX: i64 = 24 * 60;

/// What a visitor sees if no number is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exhausted {
    /// The number whose holder was seen least recently; calls to it are ambiguous then.
    Reuse,
    /// A number of the company's that belongs to no visitor.
    FallbackNumber,
    /// The number that is on the page.
    NoSwap,
}

impl Exhausted {
    pub const ALL: [Exhausted; 3] = [Exhausted::Reuse, Exhausted::FallbackNumber, Exhausted::NoSwap];

    pub fn as_str(self) -> &'static str {
        match self {
            Exhausted::Reuse => "reuse",
            Exhausted::FallbackNumber => "fallback_number",
            Exhausted::NoSwap => "no_swap",
        }
    }

    pub fn parse(text: &str) -> Option<Exhausted> {
        Exhausted::ALL.into_iter().find(|one| one.as_str() == text)
    }
}

/// How a pool gives out its numbers. Meaningless for other trackers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub hold_minutes: u32,
    pub grace_minutes: u32,
    pub cooldown_minutes: u32,
    pub exhausted: Exhausted,
    pub fallback_number: Option<PhoneNumber>,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            hold_minutes: 30,
            grace_minutes: 5,
            cooldown_minutes: 10,
            exhausted: Exhausted::Reuse,
            fallback_number: None,
        }
    }
}

impl FromRow for Terms {
    fn from_row(row: &mut Row<'_>) -> db::Result<Terms> {
        Ok(Terms {
            hold_minutes: row.get()?,
            grace_minutes: row.get()?,
            cooldown_minutes: row.get()?,
            exhausted: Exhausted::parse(&row.get::<String>()?)
                .ok_or_else(|| db::Error::Internal("a tracker has an unknown pool_exhausted".to_owned()))?,
            fallback_number: PhoneNumber::from_e164(&row.get::<String>()?),
        })
    }
}

impl Terms {
    /// How long after the last sign of life a number is still its visitor's.
    pub fn live_for(&self) -> Duration {
        minutes(self.hold_minutes + self.grace_minutes)
    }

    /// How long after the last sign of life another visitor may have the number.
    pub fn free_after(&self) -> Duration {
        self.live_for() + minutes(self.cooldown_minutes)
    }
}

fn minutes(n: u32) -> Duration {
    Duration::from_secs(u64::from(n) * 60)
}

/// A pool as [`take`] needs it.
#[derive(Clone, Debug)]
pub struct Pool {
    pub tracker: TrackerId,
    pub terms: Terms,
}

/// Who wants a number.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    pub session: SessionId,
    pub visitor: VisitorId,
    /// False: only a number that they have already.
    pub may_take: bool,
}

/// How a visitor came by a number, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It was theirs in this visit.
    Held,
    /// It was theirs in an earlier visit, and nobody's since.
    Returned,
    /// It was free.
    Free,
    /// Somebody else still had it.
    Reused,
    /// None was free, and the pool's terms don't allow to reuse one.
    Exhausted,
    /// The visitor's network took too many numbers.
    Refused,
    /// The pool has no numbers at all.
    Empty,
}

impl How {
    pub fn as_str(self) -> &'static str {
        match self {
            How::Held => "held",
            How::Returned => "returned",
            How::Free => "free",
            How::Reused => "reused",
            How::Exhausted => "exhausted",
            How::Refused => "refused",
            How::Empty => "empty",
        }
    }
}

/// The number that a visitor sees, if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub how: How,
    pub number: Option<PhoneNumber>,
    pub lease: Option<LeaseId>,
}

/// A number that could be had.
struct Offer {
    id: NumberId,
    number: PhoneNumber,
    free_at: Micros,
    lease: Option<LeaseId>,
}

impl FromRow for Offer {
    fn from_row(row: &mut Row<'_>) -> db::Result<Offer> {
        Ok(Offer { id: row.get()?, number: row.get()?, free_at: row.get()?, lease: row.get()? })
    }
}

/// Gives a visit a number, or says why there is none: the visitor's own, or what is free longest. Whoever asks
/// counts it ([`count`]).
///
/// # Errors
/// The database's.
pub fn take(tx: &mut Tx<'_>, scope: Scope, pool: &Pool, guest: Guest) -> db::Result<Taken> {
    // Rows of numbers are locked in one order only: behind this.
    tx.lock(LockSpace::Pool, pool.tracker.0)?;
    match own(tx, scope, pool, guest)? {
        Some(own) => Ok(own),
        None => another(tx, scope, pool, guest),
    }
}

/// How many numbers of each of these pools nobody else may have now; pools of which all are free are left out.
///
/// # Errors
/// The database's.
pub fn taken(tx: &mut Tx<'_>, scope: Scope, pools: &[TrackerId]) -> db::Result<HashMap<TrackerId, i64>> {
    let statement = "select tracker_id, count(*) from tracking_numbers
                     where tracker_id {{in_ids}} and company_id = ? and released_at is null and free_at > ? group by 1";
    let statement = sql(statement).bind_ids(pools.iter().map(|id| id.0)).bind(scope.company()).bind(tx.now());
    Ok(tx.all::<(TrackerId, i64)>(statement)?.into_iter().collect())
}

/// As [`take`], for a visitor who has never had a number of the pool.
///
/// # Errors
/// The database's.
pub fn take_first(tx: &mut Tx<'_>, scope: Scope, pool: &Pool, guest: Guest) -> db::Result<Taken> {
    tx.lock(LockSpace::Pool, pool.tracker.0)?;
    another(tx, scope, pool, guest)
}

fn another(tx: &mut Tx<'_>, scope: Scope, pool: &Pool, guest: Guest) -> db::Result<Taken> {
    let none = |how: How| Ok(Taken { how, number: None, lease: None });
    if !guest.may_take {
        return none(How::Refused);
    }
    let oldest = "select id, number, free_at, lease_id from tracking_numbers
                  where tracker_id = ? and released_at is null order by free_at, id limit 1";
    let Some(offer) = tx.find::<Offer>(sql(oldest).bind(pool.tracker))? else {
        return none(How::Empty);
    };
    let how = match (offer.free_at <= tx.now(), pool.terms.exhausted) {
        (true, _) => How::Free,
        (false, Exhausted::Reuse) => How::Reused,
        (false, Exhausted::FallbackNumber | Exhausted::NoSwap) => {
            return none(How::Exhausted);
        }
    };
    let lease = begin(tx, scope, pool, guest, &offer, how)?;
    Ok(Taken { how, number: Some(offer.number), lease: Some(lease) })
}

/// The number that the visitor has had, if it is still theirs for the asking.
fn own(tx: &mut Tx<'_>, scope: Scope, pool: &Pool, guest: Guest) -> db::Result<Option<Taken>> {
    let held: Vec<(LeaseId, SessionId, NumberId)> =
        tx.all(sql(OF_VISITOR).bind(guest.visitor).bind(pool.tracker))?;
    let Some((lease, session, id)) = held.into_iter().max() else { return Ok(None) };
    let number = "select number from tracking_numbers where id = ? and lease_id = ? and released_at is null";
    let number: Option<(PhoneNumber,)> = tx.find(sql(number).bind(id).bind(lease))?;
    let Some((number,)) = number else { return Ok(None) };
    if session == guest.session {
        keep(tx, &pool.terms, lease, id, tx.now())?;
        return Ok(Some(Taken { how: How::Held, number: Some(number), lease: Some(lease) }));
    }
    let offer = Offer { id, number, free_at: tx.now(), lease: Some(lease) };
    let lease = begin(tx, scope, pool, guest, &offer, How::Returned)?;
    Ok(Some(Taken { how: How::Returned, number: Some(offer.number), lease: Some(lease) }))
}

/// Not joined with the number, for the same reason as [`OF_SESSION`], and by an index that SQLite would leave aside.
const OF_VISITOR: &str = "select id, session_id, number_id from leases {{by_visitor}}
    where visitor_id = ? and tracker_id = ? and ended_at is null";

fn begin(
    tx: &mut Tx<'_>,
    scope: Scope,
    pool: &Pool,
    guest: Guest,
    offer: &Offer,
    how: How,
) -> db::Result<LeaseId> {
    let now = tx.now();
    if let Some(before) = offer.lease {
        end(tx, "id = ?", before.0)?;
    }
    let lease: LeaseId = tx.insert(
        sql("insert into leases (company_id, tracker_id, number_id, session_id, visitor_id, started_at, seen_at,
             live_until, reused) values (?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(scope.company())
        .bind(pool.tracker)
        .bind(offer.id)
        .bind(guest.session)
        .bind(guest.visitor)
        .bind(now)
        .bind(now)
        .bind(now.after(pool.terms.live_for()))
        .bind(how == How::Reused),
    )?;
    tx.execute(
        sql("update tracking_numbers set lease_id = ?, free_at = ? where id = ?")
            .bind(lease)
            .bind(now.after(pool.terms.free_after()))
            .bind(offer.id),
    )?;
    Ok(lease)
}

/// The visitor was seen: the number stays theirs for longer. Never back: signs of life may come out of order, and the
/// clock may be set back.
fn keep(tx: &mut Tx<'_>, terms: &Terms, lease: LeaseId, number: NumberId, at: Micros) -> db::Result<()> {
    tx.execute(
        sql(
            "update leases set seen_at = ?, live_until = ? where id = ? and ended_at is null and seen_at < ?",
        )
        .bind(at)
        .bind(at.after(terms.live_for()))
        .bind(lease)
        .bind(at),
    )?;
    let free_at = at.after(terms.free_after());
    tx.execute(
        sql("update tracking_numbers set free_at = ? where id = ? and lease_id = ? and free_at < ?")
            .bind(free_at)
            .bind(number)
            .bind(lease)
            .bind(free_at),
    )?;
    Ok(())
}

/// Leases end now, those that haven't: `which` is a condition with one value.
fn end(tx: &mut Tx<'_>, which: &'static str, value: i64) -> db::Result<()> {
    // Not before they were seen, if the clock was set back since.
    let statement = "update leases set ended_at = case when seen_at > ? then seen_at else ? end
                     where ended_at is null and ";
    tx.execute(sql(statement).and(which).bind(tx.now()).bind(tx.now()).bind(value))?;
    Ok(())
}

/// What a pool was asked for, by the hour: for the planner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub asked: i64,
    pub reused: i64,
    pub refused: i64,
}

impl Asked {
    /// A visit asked for a number, and this is what became of it; None if it has one.
    pub fn once(how: How) -> Option<Asked> {
        let (reused, refused) = match how {
            How::Held => return None,
            How::Returned | How::Free | How::Refused => (0, 0),
            How::Reused => (1, 0),
            How::Exhausted | How::Empty => (0, 1),
        };
        Some(Asked { asked: 1, reused, refused })
    }

    pub fn add(&mut self, other: Asked) {
        self.asked += other.asked;
        self.reused += other.reused;
        self.refused += other.refused;
    }
}

/// Counts what was asked of a pool in an hour.
///
/// # Errors
/// The database's.
pub fn count(tx: &mut Tx<'_>, tracker: TrackerId, hour: i64, asked: Asked) -> db::Result<()> {
    tx.execute(
        sql("insert into pool_hours (tracker_id, hour, asked, reused, refused) values (?, ?, ?, ?, ?)
             on conflict (tracker_id, hour) do update set asked = pool_hours.asked + excluded.asked,
             reused = pool_hours.reused + excluded.reused, refused = pool_hours.refused + excluded.refused")
        .bind(tracker)
        .bind(hour)
        .bind(asked.asked)
        .bind(asked.reused)
        .bind(asked.refused),
    )?;
    Ok(())
}

/// Whole hours since 1970.
pub fn hour(at: Micros) -> i64 {
    at.seconds().div_euclid(3600)
}

/// The tracker is deleted: nobody holds a number of it any more. Called before its numbers are released.
pub(super) fn end_all(tx: &mut Tx<'_>, tracker: TrackerId) -> db::Result<()> {
    // Rows of numbers are locked in one order only: behind this.
    tx.lock(LockSpace::Pool, tracker.0)?;
    let of_numbers =
        "number_id in (select id from tracking_numbers where tracker_id = ? and released_at is null)";
    end(tx, of_numbers, tracker.0)
}

/// The number is released: nobody holds it any more. The pool's lock is held.
pub(super) fn end_of(tx: &mut Tx<'_>, number: NumberId) -> db::Result<()> {
    end(tx, "number_id = ?", number.0)
}

/// A sign of life of a visit: its numbers stay its for longer. False: it has lost one, or never had any. `known` are the
/// terms of pools that were asked for in this transaction.
///
/// # Errors
/// The database's.
pub fn seen(
    tx: &mut Tx<'_>,
    session: SessionId,
    at: Micros,
    known: &mut HashMap<TrackerId, Terms>,
) -> db::Result<bool> {
    let mut held: Vec<(LeaseId, NumberId, TrackerId)> = tx.all(sql(OF_SESSION).bind(session))?;
    held.sort_by_key(|(.., tracker)| *tracker);
    for (lease, number, tracker) in &held {
        let terms = match known.entry(*tracker) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(tx.one(sql(TERMS).bind(*tracker))?),
        };
        keep(tx, terms, *lease, *number, at)?;
    }
    Ok(!held.is_empty())
}

/// The leases that a visit has. Not joined with the trackers, and not sorted: with statistics of an installation that had
/// few trackers and leases when they were made, SQLite has begun with the trackers and read all of their leases, or read
/// all leases by tracker (3.40).
const OF_SESSION: &str =
    "select id, number_id, tracker_id from leases where session_id = ? and ended_at is null";

const TERMS: &str = "select pool_hold_minutes, pool_grace_minutes, pool_cooldown_minutes, pool_exhausted,
    pool_fallback_number from trackers where id = ?";

/// That a visit had a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub id: LeaseId,
    pub session: SessionId,
    pub visitor: VisitorId,
    pub started_at: Micros,
    /// The visitor's last sign of life.
    pub seen_at: Micros,
    pub live_until: Micros,
    /// When somebody else got the number, or it was released; None while neither has happened.
    pub ended_at: Option<Micros>,
    /// It was somebody else's until then.
    pub reused: bool,
}

impl FromRow for Lease {
    fn from_row(row: &mut Row<'_>) -> db::Result<Lease> {
        Ok(Lease {
            id: row.get()?,
            session: row.get()?,
            visitor: row.get()?,
            started_at: row.get()?,
            seen_at: row.get()?,
            live_until: row.get()?,
            ended_at: row.get()?,
            reused: row.get()?,
        })
    }
}

/// Who had a number at a time or up to `window` before, newest first, at most `limit`. What a lease says of the future
/// was written before the clock was set back, or by another process's clock: it counts as of now.
///
/// # Errors
/// The database's.
pub fn leases(
    tx: &mut Tx<'_>,
    number: NumberId,
    at: Micros,
    window: Duration,
    limit: i64,
) -> db::Result<Vec<Lease>> {
    let now = tx.now();
    let (since, until) = (at.before(window), if at < now { at } else { Micros(i64::MAX) });
    let mut found: Vec<Lease> = tx.all(
        sql(OF_NUMBER)
            .bind(number)
            .bind(until)
            .bind(since)
            .bind(number)
            .bind(since)
            .bind(until)
            .bind(since)
            .bind(limit),
    )?;
    for lease in &mut found {
        for time in [&mut lease.started_at, &mut lease.seen_at].into_iter().chain(&mut lease.ended_at) {
            *time = now.min(*time);
        }
    }
    Ok(found)
}

/// The lease that hasn't ended, and those that ended since: two indexes, of which neither leads through the number's
/// whole history.
const OF_NUMBER: &str =
    "select id, session_id, visitor_id, started_at, seen_at, live_until, ended_at, reused from leases
    where number_id = ? and ended_at is null and started_at <= ? and seen_at >= ?
    union all select id, session_id, visitor_id, started_at, seen_at, live_until, ended_at, reused from leases
    where number_id = ? and ended_at >= ? and started_at <= ? and seen_at >= ?
    order by id desc limit ?";

#[cfg(test)]
mod tests;
