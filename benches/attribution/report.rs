//! What a benchmark says: a line for each case, and beside a target whether it is met.

use std::time::Duration;

pub fn title(name: &str, what: &str) {
    println!("\n{name}: {what}");
}

pub fn say(text: &str) {
    println!("  {text}");
}

pub fn verdict(met: bool) -> &'static str {
    if met { "PASS" } else { "MISSED" }
}

pub fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
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
