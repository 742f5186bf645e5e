//! The program: one binary for everything. See `cli` for its commands.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    calltracker::cli::main().await
}
