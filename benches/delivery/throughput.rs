//! `sqlite` and `postgres`: event committed, delivered, recorded; to one webhook of each company.

use std::time::Duration;

use calltracker::companies::Scope;
use calltracker::ctx::Ctx;

use crate::cluster::Cluster;
use crate::producer::{Load, deliver};
use crate::receiver::{Manner, Receiver};
use crate::report::{Measured, Timer, against_floor, ms, say, title};
use crate::server::{self, Place};
use crate::{disk, floor};

/// What one webhook may have in flight.
const IN_FLIGHT: usize = 64;
const FLOOR_REQUESTS: usize = 60_000;
/// Few enough to be handed over in memory.
const STEADY: usize = 512;
/// No limit: producers run ahead, and the engine reads what it couldn't keep.
const AHEAD: usize = 1 << 20;

/// Producers make events for so long.
const TIME: Duration = Duration::from_secs(6);
const WARM_UP: Duration = Duration::from_secs(1);

const LOAD: Load = Load { per_transaction: 1, webhooks: 1, waiting_max: STEADY };

pub async fn sqlite() -> anyhow::Result<()> {
    title("sqlite", "event committed -> delivered -> recorded, synchronous = full, one webhook");
    let (fsync, _) = disk::fsync(200, Duration::ZERO).await?;
    say(&format!("fsync {}", ms(fsync)));
    let receiver = Receiver::start().await?;
    let cases = [("in balance", LOAD), ("with a backlog", Load { waiting_max: AHEAD, ..LOAD })];
    for (case, load) in cases {
        let place = Place::new(None)?;
        let floor = floor::measure(&receiver, IN_FLIGHT, FLOOR_REQUESTS).await?;
        let measured = run(&place, &receiver, 1, load, None).await?;
        against_floor(case, measured, floor, 5.0);
    }
    say("on an idle machine also: 20,000/s or more, 60 us or less");
    Ok(())
}

pub async fn postgres() -> anyhow::Result<()> {
    title("postgres", "the same on PostgreSQL with fsync; CPU time of both processes");
    let (fsync, _) = disk::fsync(200, Duration::ZERO).await?;
    say(&format!("fsync {}", ms(fsync)));
    let receiver = Receiver::start().await?;
    let cases = [
        ("one company", 1, LOAD),
        ("8 companies", 8, LOAD),
        ("100 events a transaction", 8, Load { per_transaction: 100, waiting_max: 4_096, ..LOAD }),
    ];
    for (case, companies, load) in cases {
        let cluster = Cluster::start().await?;
        let place = Place::new(Some(cluster.url.clone()))?;
        let floor = floor::measure(&receiver, IN_FLIGHT, FLOOR_REQUESTS).await?;
        let measured = run(&place, &receiver, companies, load, Some(cluster.pid)).await?;
        against_floor(case, measured, floor, 8.0);
    }
    Ok(())
}

async fn run(
    place: &Place,
    receiver: &Receiver,
    companies: usize,
    load: Load,
    database: Option<u32>,
) -> anyhow::Result<Measured> {
    let app = place.start().await?;
    let mut scopes: Vec<Scope> = Vec::new();
    for n in 0..companies {
        let scope = server::company(&app.ctx).await?;
        server::webhooks(&app.ctx, scope, vec![receiver.url(Manner::Answers, n)]).await?;
        scopes.push(scope);
    }
    let measured = measure(&app.ctx, &scopes, load, database).await?;
    app.stop().await;
    Ok(measured)
}

/// Warms up, then measures.
pub async fn measure(
    ctx: &Ctx,
    scopes: &[Scope],
    load: Load,
    database: Option<u32>,
) -> anyhow::Result<Measured> {
    deliver(ctx, scopes, load, WARM_UP).await?;
    let timer = Timer::start(database);
    let units = deliver(ctx, scopes, load, TIME).await?;
    Ok(timer.stop(units))
}
