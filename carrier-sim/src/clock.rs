//! Virtual time: the only place that sleeps. A scale of 20 makes a talk of 20 s take one real second.
//!
//! A call keeps its own position in virtual time (see `sim_legs`) and only borrows the sleeping from here, so that
//! durations are exact at any scale however long an HTTP exchange takes.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// Virtual time since the program's start, which is where virtual and real time agree.
#[derive(Clone, Debug)]
pub struct VirtualClock {
    origin: Instant,
    epoch: Timestamp,
    scale: f64,
}

impl VirtualClock {
    /// A clock that starts now. `scale` is in virtual seconds per real second.
    pub fn start(scale: f64) -> Self {
        Self { origin: Instant::now(), epoch: Timestamp::now(), scale }
    }

    /// The virtual time.
    pub fn now(&self) -> Timestamp {
        self.epoch + self.to_virtual(self.origin.elapsed())
    }

    /// Sleeps for a virtual duration; nothing when it is zero or negative.
    pub async fn sleep(&self, virtual_time: SignedDuration) {
        let seconds = virtual_time.as_secs_f64() / self.scale;
        if seconds > 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
    }

    /// How much virtual time a real duration is.
    pub fn to_virtual(&self, real_time: Duration) -> SignedDuration {
        SignedDuration::from_secs_f64(real_time.as_secs_f64() * self.scale)
    }
}

/// A date as the carrier's REST API and callbacks write it (RFC 2822, always UTC).
pub fn rfc2822(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// Whole seconds between two instants, to the nearest; never negative.
pub fn whole_seconds(from: Timestamp, to: Timestamp) -> i64 {
    let milliseconds = to.duration_since(from).as_millis();
    i64::try_from((milliseconds + 500) / 1000).unwrap_or(0).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_rfc_2822_in_utc() {
        let at: Timestamp = "2026-03-05T07:08:09.9Z".parse().unwrap();
        assert_eq!(rfc2822(at), "Thu, 05 Mar 2026 07:08:09 +0000");
    }

    #[test]
    fn seconds_are_rounded_to_the_nearest() {
        let start: Timestamp = "2026-03-05T07:08:09Z".parse().unwrap();
        for (milliseconds, seconds) in [(0, 0), (499, 0), (500, 1), (30_040, 30), (-5_000, 0)] {
            let end = start + SignedDuration::from_millis(milliseconds);
            assert_eq!(whole_seconds(start, end), seconds, "{milliseconds} ms");
        }
    }

    #[tokio::test]
    async fn a_scaled_sleep_advances_virtual_time_by_at_least_its_length() {
        let clock = VirtualClock::start(1000.0);
        let before = clock.now();
        clock.sleep(SignedDuration::from_secs(5)).await;
        assert!(clock.now().duration_since(before) >= SignedDuration::from_secs(5));
    }
}
