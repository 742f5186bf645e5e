//! The table of background work. A job is a function that looks at the database and acts: idempotent,
//! bounded, without input. It runs when it was woken, and every so often in case a wake-up was lost. Of all
//! processes on one database only the one that leads runs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ctx::Ctx;
use crate::db::{Lead, Wake};
use crate::kernel::clock::Micros;
use crate::webhooks;

/// How often a process that doesn't lead asks whether it may.
const ASK_LEAD_EVERY: Duration = Duration::from_secs(2);

/// Up to which moment billing periods are closed.
#[derive(Clone)]
pub enum AsOf {
    /// Now.
    Clock,
    /// A hand that the demo moves, so that a month's end is seen in minutes.
    Hand(Arc<AtomicI64>),
}

impl AsOf {
    /// The moment.
    pub fn get(&self, ctx: &Ctx) -> Micros {
        match self {
            AsOf::Clock => ctx.clock.now(),
            AsOf::Hand(at) => Micros(at.load(Ordering::SeqCst)),
        }
    }
}

/// Runs all background work until `stop` turns true.
pub async fn run(ctx: Ctx, usage_as_of: AsOf, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        match ctx.db.lead().await {
            Ok(Some(lead)) => lead_until(&ctx, &usage_as_of, &lead, &mut stop).await,
            Ok(None) => tracing::debug!("another process runs the background work"),
            Err(error) => tracing::error!(error = %error, "can't ask who runs the background work"),
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_LEAD_EVERY) => {}
            _ = stop.changed() => {}
        }
    }
}
