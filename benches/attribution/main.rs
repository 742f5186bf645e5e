//! Which visit caused a call: how often that is found out, how sure it says it is, whether the planner's formulas hold,
//! and what it costs. `cargo bench --bench attribution -- [names…] [--seed N] [--days N]`; what each part measures and
//! what was seen is in docs/attribution-performance.md. Linux only: CPU times come from /proc.

#![expect(clippy::print_stdout, reason = "what a benchmark found goes to stdout")]

mod blocking;
mod calibration;
mod chance;
mod classify;
#[path = "../delivery/cpu.rs"]
#[expect(dead_code, reason = "the other benchmark needs more of it")]
mod cpu;
mod desk;
#[path = "../delivery/disk.rs"]
mod disk;
mod load;
mod model;
mod product;
mod report;
mod score;
mod server;
mod simulation;
mod speed;
mod traffic;
mod world;

use anyhow::{Context as _, bail};

use crate::simulation::Asked;

/// In the order in which they run if none is named.
const NAMES: [&str; 3] = ["simulation", "classify", "speed"];

fn main() -> anyhow::Result<()> {
    let mut asked = Asked { seed: 7, days: 20 };
    let mut names = Vec::new();
    // Cargo adds `--bench`.
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(arg) = args.next() {
        let mut number = || args.next().with_context(|| format!("{arg} needs a number"));
        match arg.as_str() {
            "--seed" => asked.seed = number()?.parse()?,
            "--days" => asked.days = number()?.parse()?,
            _ => names.push(arg),
        }
    }
    let runtime = tokio::runtime::Runtime::new()?;
    if names.first().is_some_and(|name| name == server::FLOOR) {
        return runtime.block_on(server::run_floor());
    }
    tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_writer(std::io::stderr).init();
    if names.is_empty() {
        names = NAMES.map(str::to_owned).to_vec();
    }
    for name in names {
        match name.as_str() {
            "simulation" => simulation::run(asked)?,
            "classify" => classify::run(),
            "speed" => runtime.block_on(Box::pin(speed::run()))?,
            other => bail!("no benchmark is called {other}; there are {}", NAMES.join(", ")),
        }
    }
    Ok(())
}
