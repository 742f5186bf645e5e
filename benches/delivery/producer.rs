//! Makes events as the product does: `db.write` closures that call `events::append`, many at a time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use calltracker::companies::Scope;
use calltracker::ctx::Ctx;
use calltracker::db::{Error, sql};
use calltracker::events::{self, EventType};
use calltracker::metrics::AttemptLabels;
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// About what a request's body has.
pub const BODY_BYTES: usize = 1024;
/// The envelope around an event's data, and the data's own keys.
const ENVELOPE_BYTES: usize = 220;
/// Closures at a time.
const PRODUCERS: usize = 128;
/// Nothing here takes that long.
const PATIENCE: Duration = Duration::from_secs(120);

/// What to make.
#[derive(Clone, Copy)]
pub struct Load {
    pub per_transaction: usize,
    /// Deliveries that each event has.
    pub webhooks: usize,
    /// Deliveries that may be made and not yet sent; beyond it producers wait.
    pub waiting_max: usize,
}

/// An event's data; `text` is in it.
pub fn data(text: &str) -> Json {
    let body = "x".repeat(BODY_BYTES - ENVELOPE_BYTES);
    json!({"id": 1, "from": "+12025550123", "to": "+12025550199", "name": text, "body": body})
}

/// Makes events for `scopes` while `time` lasts, and ends when all their deliveries are recorded. Gives their number.
pub async fn deliver(ctx: &Ctx, scopes: &[Scope], load: Load, time: Duration) -> anyhow::Result<usize> {
    let (before, until) = (succeeded(ctx), Instant::now() + time);
    let room = Arc::new(Semaphore::new(load.waiting_max));
    let mut tasks = JoinSet::new();
    for n in 0..PRODUCERS {
        let scope = scopes[n % scopes.len()];
        tasks.spawn(produce(ctx.clone(), scope, load, until, room.clone()));
    }
    let (mut seen, mut made) = (before, 0);
    while !tasks.is_empty() || seen - before < made {
        ensure!(Instant::now() < until + PATIENCE, "{} of {made} deliveries in time", seen - before);
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Some(ended) = tasks.try_join_next() {
            made += ended??;
        }
        let now = succeeded(ctx);
        room.add_permits(usize::try_from(now - seen)?);
        seen = now;
    }
    recorded(ctx).await?;
    Ok(usize::try_from(made)?)
}

/// Gives the number of deliveries.
async fn produce(
    ctx: Ctx,
    scope: Scope,
    load: Load,
    until: Instant,
    room: Arc<Semaphore>,
) -> anyhow::Result<u64> {
    let (data, mut made) = (Arc::new(data("Somebody")), 0);
    let deliveries = load.per_transaction * load.webhooks;
    loop {
        room.acquire_many(u32::try_from(deliveries)?).await?.forget();
        if Instant::now() >= until {
            // The others needn't wait for room to see it.
            room.add_permits(deliveries);
            return Ok(made);
        }
        let data = data.clone();
        let append = ctx.db.write("bench.append", move |tx| {
            for _ in 0..load.per_transaction {
                events::append(tx, scope, EventType::MessageReceived, &data)?;
            }
            Ok::<_, Error>(())
        });
        append.await?;
        made += u64::try_from(deliveries)?;
    }
}

/// Attempts of this process that succeeded.
fn succeeded(ctx: &Ctx) -> u64 {
    ctx.metrics.attempts.get_or_create(&AttemptLabels { outcome: "success" }).get()
}

/// Waits until nothing is pending.
async fn recorded(ctx: &Ctx) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let pending = ctx.db.read("bench.pending", |tx| {
            tx.find::<(i64,)>(sql("select event_id from deliveries limit 1")).map(|row| row.is_some())
        });
        if !pending.await? {
            return Ok(());
        }
        ensure!(Instant::now() < until, "not all results were recorded after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
