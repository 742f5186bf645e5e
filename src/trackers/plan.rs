//! How large a pool should be, from the traffic that was measured: how many visits asked it for a number in its busiest
//! hour, and for how long a visit keeps one from others.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{TrackerType, erlang, pool};
use crate::companies::Scope;
use crate::db::{self, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::TrackerId;

/// Leases whose length is averaged: the latest.
const SAMPLE: i64 = 1_000;
/// Visits in the busiest hour below which a forecast is guesswork: the error of a count is its root.
const ENOUGH: i64 = 30;

/// What is asked of the planner.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub tracker: TrackerId,
    /// The share of visits, 0 to 1, that may find no number free.
    pub target: f64,
    /// Days up to now that count.
    pub days: u32,
}

/// What was measured, and what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub tracker: TrackerId,
    pub target: f64,
    pub days: u32,
    /// Numbers that the pool has.
    pub numbers: u32,
    /// Visits that asked for a number, that took one over, and that got none.
    pub asked: i64,
    pub reused: i64,
    pub refused: i64,
    /// The hour in which most asked, and how many.
    pub busiest_hour: Option<Micros>,
    pub busiest: i64,
    /// From the start of a lease until somebody else may have the number.
    pub mean_occupancy: Duration,
    /// Erlangs in the busiest hour.
    pub offered: f64,
    pub recommended: u32,
}

/// Answers; None if there is no such pool.
///
/// # Errors
/// The database's.
pub fn plan(tx: &mut Tx<'_>, scope: Scope, question: Question) -> db::Result<Option<Plan>> {
    let Some(view) = super::find(tx, scope, question.tracker)? else { return Ok(None) };
    let settings = &view.tracker.settings;
    if settings.tracker_type != TrackerType::NumberPool {
        return Ok(None);
    }
    let since = pool::hour(tx.now().before(Duration::from_secs(u64::from(question.days) * 86_400)));
    let sums = "select cast(coalesce(sum(asked), 0) as bigint), cast(coalesce(sum(reused), 0) as bigint),
                cast(coalesce(sum(refused), 0) as bigint) from pool_hours where tracker_id = ? and hour > ?";
    let (asked, reused, refused): (i64, i64, i64) = tx.one(sql(sums).bind(question.tracker).bind(since))?;
    let busiest = "select hour, asked from pool_hours where tracker_id = ? and hour > ?
                   order by asked desc, hour desc limit 1";
    let busiest: Option<(i64, i64)> = tx.find(sql(busiest).bind(question.tracker).bind(since))?;
    let mean_occupancy = mean_visit(tx, question.tracker)? + settings.pool.free_after();
    let (hour, count) = busiest.unzip();
    let offered = erlang::offered_load(count.unwrap_or(0) as f64, mean_occupancy);
    Ok(Some(Plan {
        tracker: question.tracker,
        target: question.target,
        days: question.days,
        numbers: u32::try_from(view.pool_size().unwrap_or(0)).unwrap_or(u32::MAX),
        asked,
        reused,
        refused,
        busiest_hour: hour.map(|hour| Micros(hour * 3_600_000_000)),
        busiest: count.unwrap_or(0),
        mean_occupancy,
        offered,
        recommended: erlang::numbers_for(offered, question.target).max(1),
    }))
}

/// From the first to the last sign of life, on average.
fn mean_visit(tx: &mut Tx<'_>, tracker: TrackerId) -> db::Result<Duration> {
    let statement = "select cast(coalesce(avg(seen), 0) as bigint) from (
                     select seen_at - started_at as seen from leases where tracker_id = ? order by id desc limit ?
                     ) as latest";
    let (micros,): (i64,) = tx.one(sql(statement).bind(tracker).bind(SAMPLE))?;
    Ok(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

impl Plan {
    /// The object of the API.
    pub fn to_json(&self) -> Json {
        json!({
            "tracker_id": self.tracker,
            "target_blocking": self.target,
            "days": self.days,
            "numbers": self.numbers,
            "recommended": self.recommended,
            "buy": self.recommended.saturating_sub(self.numbers),
            "release": self.numbers.saturating_sub(self.recommended),
            "is_reliable": self.busiest >= ENOUGH,
            "measured": {
                "visits": self.asked,
                "taken_over": self.reused,
                "refused": self.refused,
                "busiest_hour": self.busiest_hour.map(Micros::rfc3339),
                "visits_in_busiest_hour": self.busiest,
                "mean_occupancy_s": self.mean_occupancy.as_secs(),
                "offered_load": rounded(self.offered),
            },
            "expected": expected(self.offered, self.numbers),
            "expected_if_followed": expected(self.offered, self.recommended),
        })
    }
}

/// In the busiest hour: the share of visits that find no number free, that take one over where the pool does that,
/// and of calls that may be somebody else's then: those of whoever took a number over, and of whoever lost it.
fn expected(offered: f64, numbers: u32) -> Json {
    let taken_over = erlang::takeovers(offered, numbers);
    json!({
        "blocking": rounded(erlang::blocking(offered, numbers)),
        "taken_over": rounded(taken_over),
        "ambiguous_calls": rounded((2.0 * taken_over).min(1.0)),
    })
}

/// Five decimals.
fn rounded(share: f64) -> f64 {
    (share * 100_000.0).round() / 100_000.0
}
