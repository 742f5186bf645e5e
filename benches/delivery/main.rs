//! The delivery engine beside what can't be beaten: each benchmark measures its floor in the same run, so that
//! its ratio means something on a loaded machine too. `cargo bench --bench delivery -- [names…]`; what each one
//! measures and what was seen is in docs/performance.md. Linux only: CPU times come from /proc.

#![expect(clippy::print_stdout, reason = "what a benchmark found goes to stdout")]

mod cluster;
mod cpu;
mod disk;
mod fanout;
mod fill;
mod floor;
mod isolation;
mod latency;
mod lists;
mod producer;
mod receiver;
mod report;
mod server;
mod start;
mod throughput;

use anyhow::bail;
use mimalloc::MiMalloc;

/// The program's, so that it is the program that is measured.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// In the order in which they run if none is named.
const NAMES: [&str; 7] = ["sqlite", "postgres", "fanout", "latency", "isolation", "start", "lists"];

fn main() -> anyhow::Result<()> {
    // Cargo adds `--bench`.
    let mut names: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if names.first().is_some_and(|name| name == receiver::ARGUMENT) {
        return receiver::run();
    }
    tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_writer(std::io::stderr).init();
    if names.is_empty() {
        names = NAMES.map(str::to_owned).to_vec();
    }
    let runtime = tokio::runtime::Runtime::new()?;
    for name in names {
        runtime.block_on(Box::pin(run(&name)))?;
    }
    Ok(())
}

async fn run(name: &str) -> anyhow::Result<()> {
    match name {
        "sqlite" => throughput::sqlite().await,
        "postgres" => throughput::postgres().await,
        "fanout" => fanout::run().await,
        "latency" => latency::run().await,
        "isolation" => isolation::run().await,
        "start" => start::run().await,
        "lists" => lists::run().await,
        other => bail!("no benchmark is called {other}; there are {}", NAMES.join(", ")),
    }
}
