//! When a failed delivery is sent again. Pure: the contract's delivery rules 2 and 3 and nothing else.
//!
//! A *series* is one run of up to six sends. A delivery has a second one only if its webhook was
//! verified again meanwhile, or a person asked for it.

use std::time::Duration;

use crate::kernel::clock::Micros;

/// The last send of a series is within this time of the first (delivery rule 2).
const WINDOW: Duration = Duration::from_secs(24 * 3600);
/// Jitter adds at most one part in this many to a gap.
const JITTER_PART: u64 = 100;

/// A series after an attempt failed.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// Sends so far, at least 1.
    pub attempts: u32,
    pub first_sent_at: Micros,
    pub last_sent_at: Micros,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    RetryAt(Micros),
    /// That was the last one.
    Exhausted,
}

/// The moment of the next send: the gap after the last one, with jitter that only adds. A receiver's
/// `Retry-After` may postpone it. Both only as far as the remaining gaps still fit into 24 hours. `chance`
/// is any number; it decides the jitter.
pub fn next(gaps: &[Duration], series: Series, retry_after: Option<Micros>, chance: u64) -> Next {
    let made = usize::try_from(series.attempts).unwrap_or(usize::MAX).saturating_sub(1);
    let Some((gap, later)) = gaps.get(made..).and_then(<[Duration]>::split_first) else {
        return Next::Exhausted;
    };
    let earliest = series.last_sent_at.after(*gap);
    let wanted = earliest.after(jitter(*gap, chance)).max(retry_after.unwrap_or(earliest));
    let latest = series.first_sent_at.after(WINDOW).before(later.iter().sum());
    Next::RetryAt(wanted.min(latest).max(earliest))
}

fn jitter(gap: Duration, chance: u64) -> Duration {
    let most = u64::try_from(gap.as_micros()).unwrap_or(u64::MAX) / JITTER_PART;
    Duration::from_micros(chance.checked_rem(most).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONTRACT: [Duration; 5] = [
        Duration::from_secs(55),
        Duration::from_secs(330),
        Duration::from_secs(1_980),
        Duration::from_secs(11_880),
        Duration::from_secs(71_280),
    ];

    /// The times of all sends of a series that never succeeds, in seconds after the first.
    fn sends(gaps: &[Duration], retry_after: Option<Duration>, chance: u64) -> Vec<f64> {
        let first = Micros(1_700_000_000_000_000);
        let mut sent = vec![first];
        loop {
            let last = sent[sent.len() - 1];
            let attempts = u32::try_from(sent.len()).unwrap();
            let series = Series { attempts, first_sent_at: first, last_sent_at: last };
            match next(gaps, series, retry_after.map(|d| last.after(d)), chance) {
                Next::RetryAt(at) => sent.push(at),
                Next::Exhausted => return sent.iter().map(|at| at.since(first).as_secs_f64()).collect(),
            }
        }
    }

    #[test]
    fn six_sends_at_the_contracts_times() {
        let times = sends(&CONTRACT, None, 0);
        assert_eq!(times, [0.0, 55.0, 385.0, 2_365.0, 14_245.0, 85_525.0]);
    }

    #[test]
    fn no_gaps_means_one_send() {
        assert_eq!(sends(&[], None, 0), [0.0]);
    }

    #[test]
    fn a_receiver_can_postpone_but_not_beyond_the_day() {
        let times = sends(&CONTRACT, Some(Duration::from_secs(600)), 0);
        assert_eq!(times[..3], [0.0, 600.0, 1_200.0]);
        assert_eq!(times.len(), 6);
        let greedy = sends(&CONTRACT, Some(Duration::from_secs(7 * 86_400)), 0);
        assert_eq!(greedy.len(), 6);
        assert!(greedy[5] <= 86_400.0, "{greedy:?}");
    }

    proptest! {
        #[test]
        fn never_early_never_after_a_day_never_more_than_six(chance: u64, asked in proptest::option::of(0u64..10_000_000)) {
            let times = sends(&CONTRACT, asked.map(Duration::from_secs), chance);
            prop_assert_eq!(times.len(), 6);
            for (pair, gap) in times.windows(2).zip(CONTRACT) {
                prop_assert!(pair[1] - pair[0] >= gap.as_secs_f64());
            }
            prop_assert!(times[5] <= 86_400.0);
            if asked.is_none() {
                for (pair, gap) in times.windows(2).zip(CONTRACT) {
                    prop_assert!(pair[1] - pair[0] <= gap.as_secs_f64() * 1.01 + 1e-6);
                }
            }
        }
    }
}
