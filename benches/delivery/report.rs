//! What a benchmark says: one line for each case, with its floor, the ratio, the target and whether it is met.

use std::time::Duration;

use tokio::time::Instant;

use crate::cpu;

/// So many units took so long and so much CPU time.
#[derive(Clone, Copy)]
pub struct Measured {
    pub units: usize,
    pub elapsed: Duration,
    pub cpu: Duration,
}

impl Measured {
    pub fn per_s(&self) -> f64 {
        self.units as f64 / self.elapsed.as_secs_f64()
    }

    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.units as f64
    }
}

/// Time and CPU time since a moment.
pub struct Timer {
    at: Instant,
    cpu: Duration,
    clock: fn(u32) -> Duration,
    server: Option<u32>,
}

impl Timer {
    /// Also counts the CPU time of a database server.
    pub fn start(server: Option<u32>) -> Timer {
        let clock = cpu::of_family;
        Timer { at: Instant::now(), cpu: total(clock, server), clock, server }
    }

    pub fn stop(&self, units: usize) -> Measured {
        let cpu = total(self.clock, self.server).saturating_sub(self.cpu);
        Measured { units, elapsed: self.at.elapsed(), cpu }
    }
}

fn total(clock: fn(u32) -> Duration, server: Option<u32>) -> Duration {
    cpu::own() + server.map_or(Duration::ZERO, clock)
}

pub fn title(name: &str, what: &str) {
    println!("\n{name}: {what}");
}

pub fn say(text: &str) {
    println!("  {text}");
}

/// Throughput beside its floor; the target is a ratio of CPU times.
pub fn against_floor(case: &str, measured: Measured, floor: Measured, ratio_max: f64) {
    let ratio = measured.cpu_us() / floor.cpu_us();
    println!(
        "  {case}: {:.0}/s, {:.1} us CPU each | floor {:.0}/s, {:.1} us | {ratio:.1} x, target {ratio_max} x: {}",
        measured.per_s(),
        measured.cpu_us(),
        floor.per_s(),
        floor.cpu_us(),
        verdict(ratio <= ratio_max)
    );
}

/// A time beside the most it may be.
pub fn at_most(case: &str, time: Duration, most: Duration) {
    println!("  {case}: {}, target {}: {}", ms(time), ms(most), verdict(time <= most));
}

pub fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

pub fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// The value that `percent` of the values don't exceed; zero if there are none.
pub fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1) - 1;
    values.get(rank).copied().unwrap_or_default()
}
