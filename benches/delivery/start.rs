//! `start`: the program itself, started on a million pending deliveries.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use calltracker::kernel::clock::Clock;

use crate::cpu;
use crate::fill::{fill, series};
use crate::receiver::{Manner, Receiver};
use crate::report::{at_most, ms, say, title, verdict};
use crate::server::{self, Place};

const WEBHOOKS: usize = 200;
const EVENTS: usize = 5_000;
const RSS_MIB_MAX: u64 = 150;
/// How long an idle process is watched.
const IDLE: Duration = Duration::from_secs(10);
/// About nothing, in CPU time over that.
const IDLE_CPU_MAX: Duration = Duration::from_millis(50);

pub async fn run() -> anyhow::Result<()> {
    title("start", "a million pending deliveries of 200 webhooks, SQLite");
    due().await?;
    delayed().await
}

async fn due() -> anyhow::Result<()> {
    let mut receiver = Receiver::start().await?;
    let place = place(&receiver, Duration::ZERO).await?;
    let started_at = Clock::System.now();
    let program = place.start_program().await?;
    let pid = program.id().context("it runs")?;
    let first = loop {
        if let Some(first) = receiver.first().await? {
            break first;
        }
        ensure!(Clock::System.now().since(started_at) < Duration::from_secs(60), "nothing arrived");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    at_most("start -> first delivery", first.since(started_at), Duration::from_secs(3));
    memory("RSS at the first delivery", pid);
    tokio::time::sleep(Duration::from_secs(5)).await;
    memory("RSS five seconds into delivering", pid);
    Ok(())
}

async fn delayed() -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    let place = place(&receiver, Duration::from_secs(3600)).await?;
    let started_at = Clock::System.now();
    let mut program = place.start_program().await?;
    server::ready(&mut program).await?;
    say(&format!("all due in an hour: ready after {}", ms(Clock::System.now().since(started_at))));
    let pid = program.id().context("it runs")?;
    // What is done once at the start isn't what an idle process costs.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = cpu::of(pid);
    tokio::time::sleep(IDLE).await;
    at_most("CPU in 10 s of idling", cpu::of(pid).saturating_sub(before), IDLE_CPU_MAX);
    memory("RSS", pid);
    Ok(())
}

fn memory(what: &str, pid: u32) {
    let rss = cpu::rss_mib(pid);
    say(&format!("{what}: {rss} MiB, target {RSS_MIB_MAX} MiB: {}", verdict(rss <= RSS_MIB_MAX)));
}

async fn place(receiver: &Receiver, due_in: Duration) -> anyhow::Result<Place> {
    let place = Place::new(None)?;
    let app = place.start().await?;
    let scope = server::company(&app.ctx).await?;
    let targets = (0..WEBHOOKS).map(|n| receiver.url(Manner::Answers, n)).collect();
    server::webhooks(&app.ctx, scope, targets).await?;
    app.stop().await;
    let now = Clock::System.now();
    let (at, due, data) = (now.0, now.after(due_in).0, crate::producer::data("Somebody"));
    let events = format!(
        "{} insert into events (id, uid, company_id, type, object, data, occurred_at)
         select i, '0000000000000000' || (1000000000 + i), {}, 'message.received', 'message', '{data}', {at} from n",
        series(&place, EVENTS),
        scope.company()
    );
    let deliveries = format!(
        "insert into deliveries (webhook_id, event_id, company_id, event_type, activation, attempts,
         series_attempts, next_attempt_at, created_at)
         select w.id, e.id, e.company_id, e.type, w.activation, 0, 0, {due}, e.occurred_at
         from webhooks w cross join events e order by w.id, e.id"
    );
    fill(&place, vec![events, deliveries]).await?;
    Ok(place)
}
