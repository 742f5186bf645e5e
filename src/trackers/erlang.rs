//! How many numbers a pool needs. Pure; the formula is A. K. Erlang's loss formula of 1917, "Erlang B": visitors come
//! at random, each holds one of N numbers for a while, and whoever finds all of them held gets none. Only the *mean* of
//! the time that a number is held matters, not how it is spread (Sevastyanov 1957), so measured traffic is enough.
//!
//! Load is offered in erlangs: how many numbers would be held on average if there were always a free one. A number
//! counts as held from the start of the lease until it may be given to somebody else: the visit itself, the hold, the
//! grace and the cooldown.
//!
//! What blocking means depends on what the pool does when it is exhausted. Where the visitor gets no number, it is
//! Erlang B: [`blocking`]. Where a number is taken over, nobody is turned away, so more is held at any time and more
//! visitors find all numbers held: [`takeovers`], two to three times as many at 1 %. [`numbers_for`] is about the former,
//! [`numbers_for_takeovers`] about the latter, which wants a few numbers more.
//!
//! Both hold for traffic that is steady for a few times the mean occupancy: feed them with the busiest hours.

use std::time::Duration;

/// The most that is reckoned with, in erlangs; more counts as this. At 45 minutes a visitor it is 13 333 visitors an
/// hour, beyond what a carrier would sell numbers for.
pub const OFFERED_MAX: f64 = 10_000.0;

/// The most numbers that are recommended or reckoned with. It is enough for [`OFFERED_MAX`] at any target.
pub const NUMBERS_MAX: u32 = 12_000;

/// The strictest target, one visitor in a million; a stricter one, or none at all, counts as this.
pub const TARGET_MIN: f64 = 1e-6;

/// The share of visitors, 0 to 1, that find none of `numbers` free. `offered` is in erlangs; less than nothing, or not
/// a number, counts as nothing.
///
/// By the recursion B(n) = A B(n-1) / (n + A B(n-1)), B(0) = 1, which neither overflows nor cancels, unlike the
/// formula with its powers and factorials.
pub fn blocking(offered: f64, numbers: u32) -> f64 {
    let offered = bounded(offered);
    if offered == 0.0 {
        return 0.0;
    }
    (1..=numbers.min(NUMBERS_MAX)).fold(1.0, |before, n| next(offered, before, n))
}

/// The fewest numbers with which at most `target` of the visitors, 0 to 1, find none free; [`NUMBERS_MAX`] at most.
pub fn numbers_for(offered: f64, target: f64) -> u32 {
    let offered = bounded(offered);
    let target = if target >= TARGET_MIN { target } else { TARGET_MIN };
    let (mut numbers, mut share) = (0, if offered > 0.0 { 1.0 } else { 0.0 });
    while share > target && numbers < NUMBERS_MAX {
        numbers += 1;
        share = next(offered, share, numbers);
    }
    numbers
}

/// The share of visitors, 0 to 1, that take a number over from somebody else because none is free, in a pool that then
/// takes the one whose holder was seen least recently.
///
/// That one would have become free first, so the numbers held are always those of the latest N visitors of an endless
/// pool, where the count of those held has Poisson's distribution: it is the chance of N or more.
pub fn takeovers(offered: f64, numbers: u32) -> f64 {
    let (offered, numbers) = (bounded(offered), numbers.min(NUMBERS_MAX));
    if offered == 0.0 {
        return 0.0;
    }
    let chance = |n: u32| {
        let log_factorial: f64 = (1..=n).map(|k| f64::from(k).ln()).sum();
        (f64::from(n) * offered.ln() - offered - log_factorial).exp()
    };
    // Whichever side of the mean is the tail is summed, away from the mean, so that small sums keep their digits.
    if f64::from(numbers) <= offered {
        let below = (0..numbers).rev().scan(chance(numbers), |term, n| {
            *term *= f64::from(n + 1) / offered;
            Some(*term)
        });
        return (1.0 - below.sum::<f64>()).clamp(0.0, 1.0);
    }
    let (mut term, mut sum, mut n) = (chance(numbers), 0.0, numbers);
    while term > sum * f64::EPSILON {
        sum += term;
        n += 1;
        term *= offered / f64::from(n);
    }
    sum.min(1.0)
}

/// The fewest numbers with which at most `target` of the visitors, 0 to 1, take one over, in a pool that does so;
/// [`NUMBERS_MAX`] at most.
pub fn numbers_for_takeovers(offered: f64, target: f64) -> u32 {
    let target = if target >= TARGET_MIN { target } else { TARGET_MIN };
    // The share falls with each number.
    let (mut too_few, mut enough) = (0, NUMBERS_MAX);
    if takeovers(offered, 0) <= target {
        return 0;
    }
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        match takeovers(offered, middle) <= target {
            true => enough = middle,
            false => too_few = middle,
        }
    }
    enough
}

/// The load in erlangs of so many leases an hour that hold a number for `mean_occupancy` each, up to [`OFFERED_MAX`].
pub fn offered_load(arrivals_per_hour: f64, mean_occupancy: Duration) -> f64 {
    bounded(arrivals_per_hour * mean_occupancy.as_secs_f64() / 3600.0)
}

/// One number more: B(n) from B(n-1).
fn next(offered: f64, before: f64, n: u32) -> f64 {
    let lost = offered * before;
    lost / (f64::from(n) + lost)
}

fn bounded(offered: f64) -> f64 {
    if offered > 0.0 { offered.min(OFFERED_MAX) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recommended_sizes_are_those_of_the_design() {
        for (offered, numbers) in [(5.0, 11), (10.0, 18), (30.0, 42), (100.0, 117)] {
            assert_eq!(numbers_for(offered, 0.01), numbers, "{offered} erlangs at 1 %");
            assert!(blocking(offered, numbers) <= 0.01);
            assert!(blocking(offered, numbers - 1) > 0.01);
        }
    }

    #[test]
    fn a_pool_that_takes_numbers_over_wants_a_few_more() {
        for (offered, numbers) in [(0.0, 0), (5.0, 12), (10.0, 19), (30.0, 44), (100.0, 125)] {
            assert_eq!(numbers_for_takeovers(offered, 0.01), numbers, "{offered} erlangs at 1 %");
            assert!(takeovers(offered, numbers) <= 0.01);
            assert!(numbers == 0 || takeovers(offered, numbers - 1) > 0.01);
        }
        assert_eq!(numbers_for_takeovers(5.0, 1.0), 0);
        assert!(numbers_for_takeovers(OFFERED_MAX, 0.0) < NUMBERS_MAX);
    }

    /// Rows of the usual printed table of Erlang B: numbers, blocking, and the load that they carry, to three digits.
    const TABLE: [(u32, f64, f64); 16] = [
        (1, 0.01, 0.0101),
        (2, 0.01, 0.153),
        (5, 0.01, 1.36),
        (10, 0.01, 4.46),
        (20, 0.01, 12.0),
        (30, 0.01, 20.3),
        (50, 0.01, 37.9),
        (100, 0.01, 84.1),
        (5, 0.001, 0.762),
        (10, 0.001, 3.09),
        (20, 0.001, 9.41),
        (100, 0.001, 75.2),
        (10, 0.02, 5.08),
        (30, 0.02, 21.9),
        (10, 0.05, 6.22),
        (20, 0.05, 15.2),
    ];

    #[test]
    fn blocking_is_that_of_the_printed_tables() {
        for (numbers, expected, offered) in TABLE {
            // A load that is rounded to three digits is off by up to one in 200, the blocking by some times that.
            let off = (blocking(offered, numbers) / expected - 1.0).abs();
            assert!(off < 0.05, "{numbers} numbers, {offered} erlangs: off by {off}");
        }
    }

    #[test]
    fn the_recursion_gives_what_the_formula_gives() {
        for numbers in 0..15_u32 {
            for offered in [0.1, 1.0, 4.5, 20.0_f64] {
                let mut terms = vec![1.0];
                for n in 1..=numbers {
                    terms.push(terms[n as usize - 1] * offered / f64::from(n));
                }
                let formula = terms[numbers as usize] / terms.iter().sum::<f64>();
                assert!((blocking(offered, numbers) - formula).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn takeovers_are_the_tail_of_poissons_distribution() {
        // Poisson of mean 10: 17 or fewer have 0.98572 of it, 8 or fewer 0.33282 (any printed table).
        for (offered, numbers, expected) in [(10.0, 18, 0.014_28), (10.0, 9, 0.667_18), (10.0, 0, 1.0)] {
            let share = takeovers(offered, numbers);
            assert!((share - expected).abs() < 1e-5, "{offered} erlangs, {numbers} numbers: {share}");
        }
        assert!(takeovers(OFFERED_MAX, 10_000) > 0.49 && takeovers(OFFERED_MAX, 10_000) < 0.51);
    }

    #[test]
    fn taking_over_meets_more_visitors_than_turning_away() {
        for (offered, numbers) in [(0.5, 1), (5.0, 11), (10.0, 18), (100.0, 90), (100.0, 117)] {
            assert!(takeovers(offered, numbers) > blocking(offered, numbers));
        }
    }

    #[test]
    fn what_is_no_load_needs_no_numbers() {
        for offered in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(blocking(offered, 3), 0.0);
            assert_eq!(blocking(offered, 0), 0.0);
            assert_eq!(takeovers(offered, 3), 0.0);
            assert_eq!(numbers_for(offered, 0.01), 0);
        }
        assert_eq!(blocking(1.0, 0), 1.0);
    }

    #[test]
    fn everything_has_an_upper_bound() {
        assert!(numbers_for(f64::INFINITY, 0.0) <= NUMBERS_MAX);
        assert!(blocking(OFFERED_MAX, NUMBERS_MAX) < TARGET_MIN);
        assert!(blocking(f64::INFINITY, u32::MAX).is_finite());
        assert!(takeovers(f64::INFINITY, u32::MAX).is_finite());
        assert_eq!(offered_load(f64::INFINITY, Duration::MAX), OFFERED_MAX);
    }

    #[test]
    fn a_target_that_is_none_is_the_strictest_and_one_that_allows_all_needs_nothing() {
        assert_eq!(numbers_for(5.0, f64::NAN), numbers_for(5.0, TARGET_MIN));
        assert_eq!(numbers_for(5.0, -0.1), numbers_for(5.0, 0.0));
        assert_eq!(numbers_for(5.0, 1.0), 0);
        assert_eq!(numbers_for(5.0, f64::INFINITY), 0);
    }

    #[test]
    fn load_is_arrivals_times_occupancy() {
        assert_eq!(offered_load(20.0, Duration::from_secs(45 * 60)), 15.0);
        assert_eq!(offered_load(f64::NAN, Duration::from_secs(1)), 0.0);
        assert_eq!(offered_load(5.0, Duration::ZERO), 0.0);
    }
}
