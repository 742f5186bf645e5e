//! Number pools: which visitor has which number, now and in the past.
//!
//! A visit *leases* a number. It is the visitor's for `hold` after the last sign of life, and `grace` longer, as
//! people leave the browser to dial; after `cooldown` more another visitor may have it. Until somebody does, a
//! visitor who comes back gets the same number. A lease's row stays for ever as what was true at the time.
//!
//! A number has at most one lease that hasn't ended: the unique index `leases_held` says so, and
//! [`take`] asks one after the other (SQLite's writers wait for each other, PostgreSQL's for a lock on the pool).

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

impl Terms {
    pub(super) fn from_row(row: &mut Row<'_>) -> db::Result<Terms> {
        Ok(Terms {
            hold_minutes: row.get()?,
            grace_minutes: row.get()?,
            cooldown_minutes: row.get()?,
            exhausted: Exhausted::parse(&row.get::<String>()?)
                .ok_or_else(|| db::Error::Internal("a tracker has an unknown pool_exhausted".to_owned()))?,
            fallback_number: PhoneNumber::from_e164(&row.get::<String>()?),
        })
    }

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

/// Gives a visit a number, or says why there is none. What is free longest goes first.
///
/// # Errors
/// The database's.
pub fn take(tx: &mut Tx<'_>, scope: Scope, pool: &Pool, guest: Guest) -> db::Result<Taken> {
    // Rows of numbers are locked in one order only: behind this.
    tx.lock(LockSpace::Pool, pool.tracker.0)?;
    let now = tx.now();
    if let Some(own) = own(tx, scope, pool, guest)? {
        return Ok(own);
    }
    if !guest.may_take {
        return count(tx, pool, now, How::Refused, None);
    }
    let oldest = "select id, number, free_at, lease_id from tracking_numbers
                  where tracker_id = ? and released_at is null order by free_at, id limit 1";
    let Some(offer) = tx.find::<Offer>(sql(oldest).bind(pool.tracker))? else {
        return count(tx, pool, now, How::Empty, None);
    };
    let how = match (offer.free_at <= now, pool.terms.exhausted) {
        (true, _) => How::Free,
        (false, Exhausted::Reuse) => How::Reused,
        (false, Exhausted::FallbackNumber | Exhausted::NoSwap) => {
            return count(tx, pool, now, How::Exhausted, None);
        }
    };
    let lease = begin(tx, scope, pool, guest, &offer, how)?;
    count(tx, pool, now, how, Some((offer.number, lease)))
}

/// The number that the visitor has had, if it is still theirs for the asking.
fn own(tx: &mut Tx<'_>, scope: Scope, pool: &Pool, guest: Guest) -> db::Result<Option<Taken>> {
    let last = "select l.id, l.session_id, l.number_id, n.number from leases l
                join tracking_numbers n on n.id = l.number_id
                where l.visitor_id = ? and l.tracker_id = ? and l.ended_at is null and n.lease_id = l.id
                and n.released_at is null order by l.id desc limit 1";
    let found: Option<(LeaseId, SessionId, NumberId, PhoneNumber)> =
        tx.find(sql(last).bind(guest.visitor).bind(pool.tracker))?;
    let Some((lease, session, number_id, number)) = found else { return Ok(None) };
    if session == guest.session {
        keep(tx, pool, lease, number_id)?;
        return Ok(Some(Taken { how: How::Held, number: Some(number), lease: Some(lease) }));
    }
    let offer = Offer { id: number_id, number, free_at: tx.now(), lease: Some(lease) };
    let lease = begin(tx, scope, pool, guest, &offer, How::Returned)?;
    count(tx, pool, tx.now(), How::Returned, Some((offer.number, lease))).map(Some)
}

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
        let end = "update leases set ended_at = ? where id = ? and ended_at is null";
        tx.execute(sql(end).bind(now).bind(before))?;
    }
    let (lease,): (LeaseId,) = tx.one(
        sql("insert into leases (company_id, tracker_id, number_id, session_id, visitor_id, started_at, seen_at,
             live_until, reused) values (?, ?, ?, ?, ?, ?, ?, ?, ?) returning id")
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

fn keep(tx: &mut Tx<'_>, pool: &Pool, lease: LeaseId, number: NumberId) -> db::Result<()> {
    let now = tx.now();
    tx.execute(
        sql("update leases set seen_at = ?, live_until = ? where id = ?")
            .bind(now)
            .bind(now.after(pool.terms.live_for()))
            .bind(lease),
    )?;
    let free_at = now.after(pool.terms.free_after());
    tx.execute(sql("update tracking_numbers set free_at = ? where id = ?").bind(free_at).bind(number))?;
    Ok(())
}

/// Counts what was asked of the pool in this hour.
fn count(
    tx: &mut Tx<'_>,
    pool: &Pool,
    now: Micros,
    how: How,
    got: Option<(PhoneNumber, LeaseId)>,
) -> db::Result<Taken> {
    let reused = i64::from(how == How::Reused);
    let refused = i64::from(matches!(how, How::Exhausted | How::Empty));
    tx.execute(
        sql("insert into pool_hours (tracker_id, hour, asked, reused, refused) values (?, ?, 1, ?, ?)
             on conflict (tracker_id, hour) do update set asked = pool_hours.asked + 1,
             reused = pool_hours.reused + excluded.reused, refused = pool_hours.refused + excluded.refused")
        .bind(pool.tracker)
        .bind(hour(now))
        .bind(reused)
        .bind(refused),
    )?;
    let (number, lease) = got.unzip();
    Ok(Taken { how, number, lease })
}

/// Whole hours since 1970.
pub fn hour(at: Micros) -> i64 {
    at.seconds().div_euclid(3600)
}

/// The tracker is deleted: nobody holds a number of it any more. Called before its numbers are released.
pub(super) fn end_all(tx: &mut Tx<'_>, tracker: TrackerId) -> db::Result<()> {
    // Rows of numbers are locked in one order only: behind this.
    tx.lock(LockSpace::Pool, tracker.0)?;
    tx.execute(
        sql("update leases set ended_at = ? where ended_at is null and number_id in (
             select id from tracking_numbers where tracker_id = ? and released_at is null)")
        .bind(tx.now())
        .bind(tracker),
    )?;
    Ok(())
}

/// The number is released: nobody holds it any more. The pool's lock is held.
pub(super) fn end_of(tx: &mut Tx<'_>, number: NumberId) -> db::Result<()> {
    let end = "update leases set ended_at = ? where number_id = ? and ended_at is null";
    tx.execute(sql(end).bind(tx.now()).bind(number))?;
    Ok(())
}

/// A sign of life of a visit: its numbers stay its for longer. False: it has lost one, or never had any.
///
/// # Errors
/// The database's.
pub fn seen(tx: &mut Tx<'_>, session: SessionId, at: Micros) -> db::Result<bool> {
    // A cross join, because SQLite keeps its order: with statistics of an installation that has few trackers and had no
    // leases when they were made, it would begin with the trackers and read all of their leases.
    let held: Vec<Held> = tx.all(
        sql("select l.id, l.number_id, l.tracker_id, t.pool_hold_minutes, t.pool_grace_minutes,
             t.pool_cooldown_minutes, t.pool_exhausted, t.pool_fallback_number
             from leases l cross join trackers t
             where t.id = l.tracker_id and l.session_id = ? and l.ended_at is null order by l.tracker_id")
        .bind(session),
    )?;
    for one in &held {
        // Never back: signs of life may come out of order.
        tx.execute(
            sql("update leases set seen_at = ?, live_until = ? where id = ? and ended_at is null and seen_at < ?")
                .bind(at)
                .bind(at.after(one.pool.terms.live_for()))
                .bind(one.lease)
                .bind(at),
        )?;
        let free_at = at.after(one.pool.terms.free_after());
        tx.execute(
            sql("update tracking_numbers set free_at = ? where id = ? and lease_id = ? and free_at < ?")
                .bind(free_at)
                .bind(one.number)
                .bind(one.lease)
                .bind(free_at),
        )?;
    }
    Ok(!held.is_empty())
}

struct Held {
    lease: LeaseId,
    number: NumberId,
    pool: Pool,
}

impl FromRow for Held {
    fn from_row(row: &mut Row<'_>) -> db::Result<Held> {
        let (lease, number, tracker) = (row.get()?, row.get()?, row.get()?);
        Ok(Held { lease, number, pool: Pool { tracker, terms: Terms::from_row(row)? } })
    }
}

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

/// Who had a number at a time or up to `window` before, newest first, at most `limit`.
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
    tx.all(
        sql(
            "select id, session_id, visitor_id, started_at, seen_at, live_until, ended_at, reused from leases
             where number_id = ? and started_at <= ? and (ended_at is null or ended_at >= ?) and seen_at >= ?
             order by id desc limit ?",
        )
        .bind(number)
        .bind(at)
        .bind(at.before(window))
        .bind(at.before(window))
        .bind(limit),
    )
}
