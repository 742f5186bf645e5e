//! A simulation of the delivery engine: its real scheduler and its real statements on a real database, with a clock that is
//! turned, receivers that answer 200, 500, 503, slowly or never, owners who pause, resume, verify and resend, and crashes
//! between any two steps. Everything that happens follows from a seed; a failure prints the seed and the command that repeats it.
//!
//! What is checked (the invariants are those of docs/delivery.md):
//! - each event has exactly one delivery for each webhook, in one state (I2);
//! - each request is recorded as an attempt, or was under way or unwritten at a crash; none is sent twice otherwise (I4);
//! - no send is early, no series has more than six, the last within a day (I5);
//! - an exhausted delivery deactivates its webhook in the same transaction, a success never does (I6);
//! - no webhook has more in flight than its cap, and no delivery twice at a time (I8);
//! - when everybody answers 200 again, everything arrives.

#![allow(clippy::unwrap_used, reason = "a test that can't go on panics")]

#[path = "it/support/database.rs"]
#[allow(dead_code, reason = "the other tests use more of it")]
mod database;
#[path = "simulate/oracle.rs"]
mod oracle;
#[path = "simulate/world.rs"]
mod world;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use crate::world::World;

/// Seeds of each test unless SIMULATE_SEEDS says otherwise.
const SEEDS: u64 = 30;
/// Steps of a run in which anything may happen.
const STEPS: usize = 400;
/// Steps after them in which only events and deliveries happen.
const CALM_STEPS: usize = 200;

// Four tests, so that they share the cores.

#[test]
fn the_engine_keeps_its_promises_whatever_happens_when() {
    run(0);
}

#[test]
fn the_engine_keeps_its_promises_with_other_seeds() {
    run(1);
}

#[test]
fn the_engine_keeps_its_promises_with_still_other_seeds() {
    run(2);
}

#[test]
fn the_engine_keeps_its_promises_with_the_last_seeds() {
    run(3);
}

/// Runs the `part`th portion of the seeds, or only the one that is asked for.
fn run(part: u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seeds = match number("SIMULATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let count = number("SIMULATE_SEEDS").unwrap_or(SEEDS);
            part * count..(part + 1) * count
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut sends = 0;
    for seed in seeds {
        let run = AssertUnwindSafe(simulate(seed)).catch_unwind();
        match runtime.block_on(run) {
            Ok(made) => sends += made,
            Err(panic) => {
                let command =
                    format!("SIMULATE_SEED={seed} cargo nextest run --test simulate -E 'test(whatever)'");
                #[expect(clippy::print_stderr, reason = "a failed test tells how to repeat it")]
                {
                    eprintln!("seed {seed} failed; to repeat it: {command}");
                }
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(sends > 0, "something was sent");
}

/// Gives the number of requests that were made.
async fn simulate(seed: u64) -> usize {
    let mut world = World::new(seed).await;
    for _ in 0..STEPS {
        world.step().await;
    }
    for _ in 0..CALM_STEPS {
        world.calm_step().await;
    }
    world.settle().await;
    world.check_all().await;
    world.sends()
}
