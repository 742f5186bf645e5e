//! Time as an argument. Whoever needs the time is given a `Clock`; tests turn it by hand. Reading the
//! system's clock anywhere else is banned by `clippy.toml`, because a rule that reads the clock by itself
//! can't be tested at the end of a month or simulated.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A moment: microseconds since 1970-01-01T00:00:00Z, as stored in every time column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    /// The moment `d` later; saturates at the end of the range.
    #[must_use]
    pub fn after(self, d: Duration) -> Micros {
        Micros(self.0.saturating_add(i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The moment `d` earlier; saturates.
    #[must_use]
    pub fn before(self, d: Duration) -> Micros {
        Micros(self.0.saturating_sub(i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Micros) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whole seconds since 1970, as the `webhook-timestamp` header has it.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The moment as jiff's type, for calendars and zones. Out-of-range values become the nearest end.
    pub fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }

    /// RFC 3339 in UTC with `Z` and six decimals: how times inside `data` are written.
    pub fn rfc3339(self) -> String {
        self.timestamp().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    }

    /// UTC with milliseconds and without a zone: how the envelope's `timestamp` is written.
    pub fn envelope(self) -> String {
        self.timestamp().strftime("%Y-%m-%dT%H:%M:%S.%3f").to_string()
    }
}

impl From<jiff::Timestamp> for Micros {
    fn from(t: jiff::Timestamp) -> Micros {
        Micros(t.as_microsecond())
    }
}

/// Where the time comes from: the system, or a hand that a test turns.
#[derive(Clone, Debug)]
pub enum Clock {
    System,
    /// Stands still until it is set.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `at` until [`Clock::advance`].
    pub fn manual(at: Micros) -> Clock {
        Clock::Manual(Arc::new(AtomicI64::new(at.0)))
    }

    /// The present moment.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn now(&self) -> Micros {
        match self {
            Clock::System => {
                let since = std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .unwrap_or(Duration::ZERO);
                Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
            }
            Clock::Manual(hand) => Micros(hand.load(Ordering::SeqCst)),
        }
    }

    /// Turns a manual clock forward; the system's clock can't be turned and ignores it.
    pub fn advance(&self, d: Duration) {
        if let Clock::Manual(hand) = self {
            hand.fetch_add(i64::try_from(d.as_micros()).unwrap_or(0), Ordering::SeqCst);
        }
    }

    /// Sets a manual clock; the system's clock ignores it.
    pub fn set(&self, at: Micros) {
        if let Clock::Manual(hand) = self {
            hand.store(at.0, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_contract_says() {
        let t: Micros = "2019-03-09T09:09:52.010733Z".parse::<jiff::Timestamp>().unwrap().into();
        assert_eq!(t.rfc3339(), "2019-03-09T09:09:52.010733Z");
        assert_eq!(t.envelope(), "2019-03-09T09:09:52.010");
        assert_eq!(t.seconds(), 1_552_122_592);
    }

    #[test]
    fn times_beyond_the_calendar_do_not_panic() {
        assert!(Micros(i64::MAX).rfc3339().starts_with("9999-"));
        assert!(Micros(i64::MIN).rfc3339().starts_with("-9999-"));
        assert_eq!(Micros(i64::MAX).after(Duration::from_secs(1)), Micros(i64::MAX));
    }
}
