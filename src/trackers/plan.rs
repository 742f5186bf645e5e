//! How large a pool should be, from the traffic that was measured: how many visits ask it for a number in its busiest
//! hour, and for how long a visit keeps one from others.
//!
//! The busiest hour is an hour of the day, by the company's clock, averaged over the days measured: of many single hours
//! chance makes one stand out, and by more the longer one looks. Working days (Monday to Friday) and weekends are averaged
//! apart, since a shop that is closed on Sundays would otherwise be told too little for each Monday, and the kind of
//! day with more visits counts. A single weekday would be a day in seven: too few to average.
//!
//! What "none is free" means depends on what the pool does then, and so does the recommendation: [`erlang`].

use std::time::Duration;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use serde_json::{Value as Json, json};

use super::pool::Exhausted;
use super::{TrackerType, erlang, pool};
use crate::companies::{self, Scope};
use crate::db::{self, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::TrackerId;

/// Leases that ended whose length is averaged: any of the days that count.
const SAMPLE: i64 = 1_000;
/// Visits counted in the busiest hour, on all its days, below which a forecast is guesswork: the error of a count is
/// its root.
const ENOUGH: i64 = 30;
/// Hours measured below which the busiest may not have come yet.
const HOURS_ENOUGH: i64 = 24;
/// Weekends are so much busier than working days, or aren't reckoned with: they are few, and chance would choose them.
const WEEKENDS_BUSIER: f64 = 1.1;

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
    /// The hour of the day in which most ask.
    pub busiest: Busiest,
    /// Hours that count, from the first in which the pool was asked.
    pub hours: i64,
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
    let counts = "select hour, asked from pool_hours where tracker_id = ? and hour > ? order by hour";
    let counts: Vec<(i64, i64)> = tx.all(sql(counts).bind(question.tracker).bind(since))?;
    let company = companies::find(tx, scope.company())?;
    let zone = company.and_then(|company| TimeZone::get(&company.time_zone).ok()).unwrap_or(TimeZone::UTC);
    let measured = measured(tx, question.tracker, since)?;
    let busiest = busiest(&counts, measured.clone(), &zone);
    let mean_occupancy = mean_visit(tx, question.tracker, since)? + settings.pool.free_after();
    let offered = erlang::offered_load(busiest.mean(), mean_occupancy);
    let recommended = match settings.pool.exhausted {
        Exhausted::Reuse => erlang::numbers_for_takeovers(offered, question.target),
        Exhausted::FallbackNumber | Exhausted::NoSwap => erlang::numbers_for(offered, question.target),
    };
    Ok(Some(Plan {
        tracker: question.tracker,
        target: question.target,
        days: question.days,
        numbers: u32::try_from(view.pool_size().unwrap_or(0)).unwrap_or(u32::MAX),
        asked,
        reused,
        refused,
        busiest,
        hours: i64::try_from(measured.count()).unwrap_or(i64::MAX),
        mean_occupancy,
        offered,
        recommended: recommended.max(1),
    }))
}

/// The hours that count: from the first in which the pool was asked, without the present one unless there is no other.
fn measured(tx: &mut Tx<'_>, tracker: TrackerId, since: i64) -> db::Result<std::ops::Range<i64>> {
    let now = pool::hour(tx.now());
    let first = "select min(hour) from pool_hours where tracker_id = ?";
    let (first,): (Option<i64>,) = tx.one(sql(first).bind(tracker))?;
    let Some(first) = first.map(|first| first.max(since + 1)) else { return Ok(now..now) };
    Ok(if first < now { first..now } else { first..first + 1 })
}

/// An hour of the day on working days or on weekends: how often it was measured, and how many asked in it altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busiest {
    /// 0 to 23.
    pub hour: i8,
    pub is_weekend: bool,
    pub times: i64,
    pub asked: i64,
}

impl Busiest {
    /// How many ask in it on average.
    pub fn mean(self) -> f64 {
        if self.times == 0 { 0.0 } else { self.asked as f64 / self.times as f64 }
    }
}

const HOURS: [i8; 24] =
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];

/// The busiest hour of the day, from how many asked by the hour since 1970; hours that have no count had no visits.
fn busiest(counts: &[(i64, i64)], measured: std::ops::Range<i64>, zone: &TimeZone) -> Busiest {
    let mut days =
        [false, true].map(|is_weekend| HOURS.map(|hour| Busiest { hour, is_weekend, ..Busiest::default() }));
    let mut counts = counts.iter().filter(|(hour, _)| measured.contains(hour)).peekable();
    for hour in measured.clone() {
        let local = Micros(hour.saturating_mul(3_600_000_000)).timestamp().to_zoned(zone.clone());
        let is_weekend = matches!(local.weekday(), Weekday::Saturday | Weekday::Sunday);
        let one = &mut days[usize::from(is_weekend)][usize::from(local.hour().unsigned_abs()) % 24];
        one.times += 1;
        one.asked += counts.next_if(|(counted, _)| *counted == hour).map_or(0, |(_, asked)| *asked);
    }
    let per_day = |day: &[Busiest; 24]| day.iter().map(|hour| hour.mean()).sum::<f64>();
    let busier = per_day(&days[1]) > per_day(&days[0]) * WEEKENDS_BUSIER;
    let day = days[usize::from(busier)].iter().copied();
    day.max_by(|a, b| a.mean().total_cmp(&b.mean())).unwrap_or_default()
}

/// From the first to the last sign of life, on average: of leases that ended since, and of those that haven't.
fn mean_visit(tx: &mut Tx<'_>, tracker: TrackerId, since: i64) -> db::Result<Duration> {
    let statement = "select cast(coalesce(avg(seen), 0) as bigint) from (
                     select seen from (select seen_at - started_at as seen from leases where ended_at >= ?
                     and number_id in (select id from tracking_numbers where tracker_id = ?) limit ?) as ended
                     union all select seen_at - started_at from leases where ended_at is null
                     and number_id in (select id from tracking_numbers where tracker_id = ?)) as visits";
    let since = Micros(since.saturating_mul(3_600_000_000));
    let (micros,): (i64,) = tx.one(sql(statement).bind(since).bind(tracker).bind(SAMPLE).bind(tracker))?;
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
            "is_reliable": self.busiest.asked >= ENOUGH && self.hours >= HOURS_ENOUGH,
            "measured": {
                "visits": self.asked,
                "taken_over": self.reused,
                "refused": self.refused,
                "hours": self.hours,
                "busiest_hour": (self.busiest.asked > 0).then_some(self.busiest.hour),
                "busiest_on": if self.busiest.is_weekend { "weekends" } else { "working_days" },
                "days_averaged": self.busiest.times,
                "visits_in_busiest_hour": rounded(self.busiest.mean()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Monday, 2026-03-02, 0 o'clock in UTC.
    const MONDAY: i64 = 492_336;

    fn found(counts: &[(i64, i64)], hours: i64, zone: &TimeZone) -> (i8, bool, i64, i64) {
        let Busiest { hour, is_weekend, times, asked } = busiest(counts, MONDAY..MONDAY + hours, zone);
        (hour, is_weekend, times, asked)
    }

    #[test]
    fn an_hour_that_stands_out_once_counts_as_often_as_it_was_measured() {
        let tens: Vec<_> = (0..5).map(|day| (MONDAY + 24 * day + 10, 20)).collect();
        let mut counts = tens.clone();
        counts.push((MONDAY + 15, 60));
        counts.sort_unstable();
        assert_eq!(found(&counts, 24 * 7, &TimeZone::UTC), (10, false, 5, 100));
        assert_eq!(found(&counts, 24, &TimeZone::UTC), (15, false, 1, 60), "a day is all there is");
        assert_eq!(found(&counts, 24 * 7, &TimeZone::get("America/New_York").unwrap()), (5, false, 5, 100));
    }

    #[test]
    fn a_quiet_weekend_takes_nothing_from_the_working_days_and_a_busy_one_counts() {
        let monday_to_friday: Vec<_> = (0..5).map(|day| (MONDAY + 24 * day + 9, 40)).collect();
        assert_eq!(found(&monday_to_friday, 24 * 7, &TimeZone::UTC), (9, false, 5, 200));
        let mut weekends = monday_to_friday;
        weekends.extend((5..7).map(|day| (MONDAY + 24 * day + 20, 50)));
        assert_eq!(found(&weekends, 24 * 7, &TimeZone::UTC), (20, true, 2, 100));
    }

    #[test]
    fn nothing_measured_is_nothing() {
        assert!(busiest(&[], MONDAY..MONDAY, &TimeZone::UTC).mean() < f64::EPSILON);
        assert_eq!(found(&[], 24 * 7, &TimeZone::UTC).3, 0);
    }
}
