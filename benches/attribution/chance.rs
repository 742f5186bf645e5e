//! Chance for the simulation: the same numbers for the same seed.

use std::time::Duration;

use calltracker::kernel::seed::Seed;

const MINUTE_S: f64 = 60.0;

pub struct Chance(Seed);

impl Chance {
    pub fn of(seed: u64) -> Chance {
        Chance(Seed::fixed(seed))
    }

    /// At least 0 and below 1.
    pub fn uniform(&mut self) -> f64 {
        // 53 bits are what a double holds.
        self.0.below(1 << 53) as f64 / (1_u64 << 53) as f64
    }

    pub fn happens(&mut self, share: f64) -> bool {
        self.uniform() < share
    }

    /// Which of several shares; the last if they add up to less than 1.
    pub fn which(&mut self, shares: &[f64]) -> usize {
        let mut left = self.uniform();
        let fits = |share: &f64| {
            left -= share;
            left < 0.0
        };
        shares.iter().position(fits).unwrap_or(shares.len().saturating_sub(1))
    }

    /// Exponential, of this mean in minutes.
    pub fn exponential(&mut self, mean: f64) -> Duration {
        minutes(-(1.0 - self.uniform()).ln() * mean)
    }

    /// Weibull, of this scale in minutes. A shape below 1 has more short and more long times than the exponential.
    pub fn weibull(&mut self, scale: f64, shape: f64) -> Duration {
        minutes(scale * (-(1.0 - self.uniform()).ln()).powf(1.0 / shape))
    }

    /// Log-normal, of this median in minutes; half of the times are within a factor e^(0.67 sigma) of it.
    pub fn log_normal(&mut self, median: f64, sigma: f64) -> Duration {
        // Box and Muller, 1958.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.uniform()).cos();
        minutes(median * (sigma * normal).exp())
    }
}

/// To the microsecond, as the product counts.
fn minutes(n: f64) -> Duration {
    Duration::from_micros((n * MINUTE_S * 1e6) as u64)
}
