//! How sure is it that a call came from this visitor? Pure. A call to a pool's number is credited to one of those who
//! were shown the number, and says how likely that is, so that reports can leave out what is unlikely.
//!
//! **By rule.** One lease is live, and nobody else who was shown the number has been seen within the hold, the grace
//! and the cooldown: 1, exactly.
//!
//! **By weight** otherwise. Each visitor counts with the rate at which people dial who have been silent for so long:
//! [`rate_per_minute`]. So does everybody whom we can't see: people who noted the number before [`WINDOW`], or have it
//! from somebody else. A visitor's probability is his share of the sum. Which lease is the current one doesn't matter
//! beyond that: a page that was left open still shows a number that was given on.
//!
//! The parameters are an assumption, not a measurement: nobody publishes how long people wait before they dial. They
//! say that four of five dial with the page in front of them or within a few minutes, most others within the half hour
//! of the hold, and that one in 25 has noted the number. `benches/attribution` tries them on visitors who behave
//! otherwise.

use std::time::Duration;

use crate::kernel::clock::Micros;

/// How far back visitors are looked for, from their last sign of life to the call. Later calls are one in a thousand by
/// [`DELAYS`], and by then a number of a busy pool has had a dozen other holders.
pub const WINDOW: Duration = Duration::from_secs(24 * 3600);

/// From the last sign of life to the call: the share of callers, and the mean of their delay in minutes. Each part is
/// exponential, the sum has a long tail. The shares add up to 1.
const DELAYS: [(f64, f64); 4] = [(0.80, 2.0), (0.16, 10.0), (0.03, 60.0), (0.01, 600.0)];

/// How many calls come from people whom we can't see, for one from a visitor whom we can.
const UNSEEN: f64 = 0.01;

/// For how long a lease's number is the visitor's after his last sign of life: the pool's settings.
#[derive(Clone, Copy, Debug)]
pub struct Spans {
    /// The hold and the grace: until then the lease is live.
    pub live: Duration,
    /// Then nobody else is given the number for so long.
    pub cooldown: Duration,
}

/// What is known of one lease of the number that was called. Who has it is whatever tells visitors apart.
#[derive(Clone, Copy, Debug)]
pub struct LeaseFacts<V> {
    pub visitor: V,
    pub started_at: Micros,
    /// The last sign of life: a page view or a heartbeat.
    pub seen_at: Micros,
    /// When the number was released or given to somebody else; none if it is still the visitor's.
    pub ended_at: Option<Micros>,
}

impl<V> LeaseFacts<V> {
    /// From the last sign of life to the call; zero if the visitor has been seen since.
    fn silence(&self, call_at: Micros) -> Duration {
        call_at.since(self.seen_at)
    }

    fn is_live(&self, call_at: Micros, spans: Spans) -> bool {
        self.ended_at.is_none_or(|ended| ended > call_at) && self.silence(call_at) <= spans.live
    }
}

/// For each lease the probability, 0 to 1, that its visitor made the call; together at most 1. A visitor with several
/// leases has it all at the latest. Leases from after the call, or from before [`WINDOW`], have none.
pub fn weigh<V: PartialEq>(call_at: Micros, spans: Spans, leases: &[LeaseFacts<V>]) -> Vec<f64> {
    let counts: Vec<bool> = (0..leases.len()).map(|n| is_candidate(call_at, leases, n)).collect();
    let candidates = || leases.iter().zip(&counts).filter(|(_, counts)| **counts).map(|(lease, _)| lease);
    let recent = spans.live.saturating_add(spans.cooldown);
    let certain = candidates().filter(|lease| lease.silence(call_at) < recent).count() == 1
        && candidates().any(|lease| lease.is_live(call_at, spans));
    let weight = |lease: &LeaseFacts<V>| match certain {
        true => f64::from(u8::from(lease.is_live(call_at, spans))),
        false => rate_per_minute(lease.silence(call_at)),
    };
    let unseen = if certain { 0.0 } else { unseen_per_minute(candidates().count()) };
    let total = candidates().map(weight).sum::<f64>() + unseen;
    let share = |(lease, counts): (_, &bool)| if *counts { weight(lease) / total } else { 0.0 };
    leases.iter().zip(&counts).map(share).collect()
}

/// Who is credited: the likeliest, and of equals the one who was seen last. None if nobody can have made the call.
pub fn credited<V>(leases: &[LeaseFacts<V>], weights: &[f64]) -> Option<usize> {
    let possible = (0..leases.len().min(weights.len())).filter(|n| weights[*n] > 0.0);
    possible.max_by(|a, b| {
        let seen = leases[*a].seen_at.cmp(&leases[*b].seen_at);
        weights[*a].total_cmp(&weights[*b]).then(seen)
    })
}

/// Whether the lease can have led to the call, and is the visitor's latest that can.
fn is_candidate<V: PartialEq>(call_at: Micros, leases: &[LeaseFacts<V>], n: usize) -> bool {
    let possible = |lease: &LeaseFacts<V>| lease.started_at <= call_at && lease.silence(call_at) <= WINDOW;
    let order = |n: usize| (leases[n].seen_at, leases[n].started_at, n);
    let later =
        |m: usize| leases[m].visitor == leases[n].visitor && possible(&leases[m]) && order(m) > order(n);
    possible(&leases[n]) && !(0..leases.len()).any(later)
}

/// Calls a minute of a visitor who will call once, when he has been silent for so long: the density of the delay.
fn rate_per_minute(silence: Duration) -> f64 {
    let minutes = silence.as_secs_f64() / 60.0;
    DELAYS.iter().map(|(share, mean)| share / mean * (-minutes / mean).exp()).sum()
}

/// Calls a minute of all whom we can't see. Those before the window were as many as those in it, and each leads to
/// [`UNSEEN`] calls, at any time.
fn unseen_per_minute(visitors: usize) -> f64 {
    UNSEEN * visitors as f64 / (WINDOW.as_secs_f64() / 60.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPANS: Spans = Spans { live: Duration::from_secs(35 * 60), cooldown: Duration::from_secs(10 * 60) };
    const CALL: Micros = Micros(1_764_150_000_000_000);

    fn ago(minutes: u64) -> Micros {
        CALL.before(Duration::from_secs(60 * minutes))
    }

    /// A visitor, and how many minutes before the call the lease started, he was seen last, and it ended.
    fn lease(visitor: u8, started: u64, seen: u64, ended: Option<u64>) -> LeaseFacts<u8> {
        LeaseFacts { visitor, started_at: ago(started), seen_at: ago(seen), ended_at: ended.map(ago) }
    }

    #[test]
    fn one_live_lease_and_nobody_else_within_the_cooldown_is_certain() {
        let alone = [lease(1, 40, 35, None)];
        let after_the_cooldown = [lease(1, 90, 51, Some(6)), lease(2, 6, 0, None)];
        let a_takeover_long_ago = [lease(1, 70, 46, Some(45)), lease(2, 45, 30, None)];
        let the_same_visitor_again = [lease(1, 60, 40, Some(20)), lease(1, 10, 3, None)];
        assert_eq!(weigh(CALL, SPANS, &alone), [1.0]);
        assert_eq!(weigh(CALL, SPANS, &after_the_cooldown), [0.0, 1.0]);
        assert_eq!(weigh(CALL, SPANS, &a_takeover_long_ago), [0.0, 1.0]);
        assert_eq!(weigh(CALL, SPANS, &the_same_visitor_again), [0.0, 1.0]);
    }

    #[test]
    fn anything_else_is_not() {
        let table = [
            ("an expired lease", vec![lease(1, 60, 36, None)], 0, 0.97..1.0),
            ("one that is long past", vec![lease(1, 720, 700, None)], 0, 0.3..0.6),
            ("one that was released", vec![lease(1, 60, 20, Some(5))], 0, 0.99..1.0),
            ("a takeover", vec![lease(1, 50, 25, Some(1)), lease(2, 1, 0, None)], 1, 0.98..1.0),
            (
                "one from a page that is open",
                vec![lease(1, 9, 1, Some(0)), lease(2, 0, 0, None)],
                1,
                0.5..0.7,
            ),
            ("a silent holder", vec![lease(1, 60, 31, Some(30)), lease(2, 30, 30, None)], 1, 0.4..0.6),
        ];
        for (name, leases, expected, confidence) in table {
            let weights = weigh(CALL, SPANS, &leases);
            assert_eq!(credited(&leases, &weights), Some(expected), "{name}: {weights:?}");
            assert!(confidence.contains(&weights[expected]), "{name}: {weights:?}");
            assert!(weights.iter().sum::<f64>() <= 1.0, "{name}: {weights:?}");
        }
    }

    #[test]
    fn leases_of_tomorrow_and_of_the_day_before_yesterday_have_no_part() {
        let old = lease(1, 1500, 24 * 60 + 1, None);
        let mut later = lease(2, 0, 0, None);
        later.started_at = CALL.after(Duration::from_micros(1));
        let weights = weigh(CALL, SPANS, &[old, later]);
        assert_eq!(weights, [0.0, 0.0]);
        assert_eq!(credited(&[old, later], &weights), None);
        assert_eq!(credited::<u8>(&[], &weigh::<u8>(CALL, SPANS, &[])), None);
    }

    #[test]
    fn a_visitor_who_was_seen_after_the_call_is_not_silent() {
        let mut here = lease(1, 5, 0, None);
        here.seen_at = CALL.after(Duration::from_secs(90));
        assert_eq!(weigh(CALL, SPANS, &[here]), [1.0]);
    }

    #[test]
    fn a_visitor_counts_once() {
        let once = weigh(CALL, SPANS, &[lease(1, 80, 50, None), lease(2, 90, 60, Some(55))]);
        let again = [lease(1, 80, 50, None), lease(1, 200, 190, Some(150)), lease(2, 90, 60, Some(55))];
        let twice = weigh(CALL, SPANS, &again);
        assert_eq!(twice, [once[0], 0.0, once[1]]);
    }

    #[test]
    fn a_longer_silence_is_never_likelier() {
        let rates: Vec<f64> = (0..2000).map(|s| rate_per_minute(Duration::from_secs(s * 60))).collect();
        assert!(rates.windows(2).all(|pair| pair[0] > pair[1] && pair[1] > 0.0));
        assert!(rate_per_minute(Duration::MAX) >= 0.0);
    }

    #[test]
    fn of_two_that_are_alike_the_one_seen_last_is_credited() {
        let mut seen_since = lease(2, 3, 0, None);
        seen_since.seen_at = CALL.after(Duration::from_secs(1));
        let leases = [seen_since, lease(1, 9, 0, Some(3))];
        let weights = weigh(CALL, SPANS, &leases);
        assert_eq!(weights[0], weights[1]);
        assert_eq!(credited(&leases, &weights), Some(0));
    }

    #[test]
    fn the_shares_add_up() {
        let sum: f64 = DELAYS.iter().map(|(share, _)| share).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
}
