//! The carrier as a program of its own; everything is in the library.

use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    carrier_sim::run(carrier_sim::Args::parse()).await
}
