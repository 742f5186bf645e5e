//! `isolation`: what webhooks that hang do to the others. Each event goes to a hundred webhooks; those that behave
//! are compared with themselves in a run in which all do.

use std::collections::HashMap;
use std::time::Duration;

use calltracker::companies::Scope;
use calltracker::ctx::Ctx;
use calltracker::events::{self, EventType};
use calltracker::kernel::clock::{Clock, Micros};

use crate::producer::data;
use crate::receiver::{MARK, Manner, Receiver};
use crate::report::{ms, percentile, say, title, verdict};
use crate::server::{self, Place};

const WEBHOOKS: usize = 100;
const EVENTS: usize = 140;
/// Not counted: connections are opened, and nobody is known to be slow yet.
const WARM_UP: usize = 20;
/// 1,000 deliveries a second, a small part of what the machine can do.
const EVERY: Duration = Duration::from_millis(100);
const RATIO_MAX: f64 = 1.2;
/// Less than that is the timer's and the scheduler's doing.
const NOISE: Duration = Duration::from_micros(500);

pub async fn run() -> anyhow::Result<()> {
    title("isolation", "100 webhooks, 10 events/s; event committed -> arrival at those that behave");
    let none = measure(0, Manner::Answers).await?;
    say(&format!("all behave: p50 {}, p99 {}", ms(none.0), ms(none.1)));
    let cases = [
        ("1 hangs", 1, Manner::NeverAnswers),
        ("10 hang", 10, Manner::NeverAnswers),
        ("10 trickle", 10, Manner::Trickles),
    ];
    for (case, bad, manner) in cases {
        let (p50, p99) = measure(bad, manner).await?;
        let ratio = p99.as_secs_f64() / none.1.as_secs_f64();
        let met = ratio <= RATIO_MAX || p99 <= none.1 + NOISE;
        say(&format!(
            "{case}: p50 {}, p99 {} | {ratio:.2} x, target {RATIO_MAX} x: {}",
            ms(p50),
            ms(p99),
            verdict(met)
        ));
    }
    Ok(())
}

/// The median and the 99th percentile at the webhooks that behave.
async fn measure(bad: usize, manner: Manner) -> anyhow::Result<(Duration, Duration)> {
    let (place, mut receiver) = (Place::new(None)?, Receiver::start().await?);
    let app = place.start().await?;
    let scope = server::company(&app.ctx).await?;
    let url = |n| receiver.url(if n < bad { manner } else { Manner::Answers }, n);
    server::webhooks(&app.ctx, scope, (0..WEBHOOKS).map(url).collect()).await?;
    let committed = produce(&app.ctx, scope).await?;
    let arrivals = receiver.arrivals().await?;
    // Whoever hangs is cut off, so that the server needn't wait for the deadline.
    drop(receiver);
    app.stop().await;
    let good = arrivals.iter().filter(|a| a.hook >= bad && a.mark >= WARM_UP);
    let mut times: Vec<Duration> = good.map(|a| a.at.since(committed[&a.mark])).collect();
    Ok((percentile(&mut times, 50), percentile(&mut times, 99)))
}

/// Gives when each was committed.
async fn produce(ctx: &Ctx, scope: Scope) -> anyhow::Result<HashMap<usize, Micros>> {
    let mut ticks = tokio::time::interval(EVERY);
    let mut committed = HashMap::new();
    for n in 0..EVENTS {
        ticks.tick().await;
        let data = data(&format!("{MARK}{n}"));
        let append = move |tx: &mut calltracker::db::Tx<'_>| {
            events::append(tx, scope, EventType::MessageReceived, &data)
        };
        ctx.db.write("bench.append", append).await?;
        committed.insert(n, Clock::System.now());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(committed)
}
