//! `lists`: the first page of a webhook's delivery log and each of its filters, through the API, when the webhook has
//! ten million finished deliveries; and of another that holds a million.

use std::time::Duration;

use calltracker::app::App;
use calltracker::companies::Scope;
use calltracker::kernel::clock::{Clock, Micros};
use calltracker::kernel::id::WebhookId;
use calltracker::webhooks;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::fill::{fill, series};
use crate::report::{ms, percentile, say, title, verdict};
use crate::server::{self, Place};

const FINISHED: usize = 10_000_000;
const HELD: usize = 1_000_000;
/// The finished ones are spread evenly over so long.
const SPAN: Duration = Duration::from_secs(10 * 86_400);
const REQUESTS: usize = 50;
const MOST: Duration = Duration::from_millis(50);
/// A list that takes much longer needn't be asked for so often to be known as too slow.
const TIME_MAX: Duration = Duration::from_secs(4);

/// Filters of the log of finished ones. One in a thousand is exhausted, one in a million cancelled or of the rare
/// type; nothing is expired.
const FILTERS: [&str; 15] = [
    "",
    "state=delivered",
    "state=exhausted",
    "state=cancelled",
    "state=expired",
    "state=pending",
    "type=message.received",
    "type=usage.created",
    "type=voicemail.received",
    "{span}",
    "state=delivered&type=usage.created",
    "state=exhausted&type=message.received",
    "state=exhausted&type=usage.created",
    "state=exhausted&{span}",
    "state=delivered&type=usage.created&{span}",
];

pub async fn run() -> anyhow::Result<()> {
    title("lists", "delivery log with 10 M finished and 1 M held, p99 of 50 requests");
    lists("SQLite", &Place::new(None)?).await?;
    let cluster = Cluster::start().await?;
    lists("PostgreSQL", &Place::new(Some(cluster.url.clone()))?).await
}

async fn lists(engine: &str, place: &Place) -> anyhow::Result<()> {
    let timer = Instant::now();
    let (scope, finished, held) = place_with_rows(place).await?;
    say(&format!("{engine}, filled in {:.0} s", timer.elapsed().as_secs_f64()));
    let app = place.start().await?;
    measure(&app, scope, "webhooks", "/webhooks").await?;
    let day = |n: u32| (start().after(n * SPAN / 10)).rfc3339();
    let span = format!("from={}&to={}", day(4), day(5));
    for filter in FILTERS {
        let query = filter.replace("{span}", &span);
        let name = format!("log {}", filter.replace("{span}", "from&to"));
        measure(&app, scope, &name, &format!("/webhooks/{finished}/deliveries?{query}")).await?;
    }
    for filter in ["", "state=held", "type=message.received"] {
        let path = format!("/webhooks/{held}/deliveries?{filter}");
        measure(&app, scope, &format!("log of held ones {filter}"), &path).await?;
    }
    app.stop().await;
    Ok(())
}

async fn measure(app: &App, scope: Scope, name: &str, path: &str) -> anyhow::Result<()> {
    let (client, root) = server::client(app, scope).await?;
    let (mut times, mut rows) = (Vec::new(), 0);
    for n in 0..=REQUESTS {
        let timer = Instant::now();
        let answer = client.get(format!("{root}{path}")).send().await?.error_for_status()?;
        let page: serde_json::Value = serde_json::from_slice(&answer.bytes().await?)?;
        rows = page["data"].as_array().map_or(0, Vec::len);
        // The first opens the connection.
        if n > 0 {
            times.push(timer.elapsed());
        }
        if times.iter().sum::<Duration>() > TIME_MAX {
            break;
        }
    }
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    let met = verdict(p99 <= MOST);
    say(&format!("{name}: {rows} rows, p50 {}, p99 {}, target {}: {met}", ms(p50), ms(p99), ms(MOST)));
    Ok(())
}

/// The moment of the first finished delivery: at midnight, so that it is the same in a run.
fn start() -> Micros {
    let day = Duration::from_secs(86_400).as_micros() as i64;
    Micros(Clock::System.now().0.div_euclid(day) * day).before(SPAN)
}

/// Gives the webhook with finished deliveries and the one that holds them.
async fn place_with_rows(place: &Place) -> anyhow::Result<(Scope, WebhookId, WebhookId)> {
    let app = place.start().await?;
    let scope = server::company(&app.ctx).await?;
    let targets = (0..2).map(|n| format!("http://127.0.0.1:9/{n}")).collect();
    let ids = server::webhooks(&app.ctx, scope, targets).await?;
    let (finished, held) = (ids[0], ids[1]);
    app.ctx.db.write("bench.pause", move |tx| webhooks::set_paused(tx, scope, held, true)).await?;
    app.stop().await;
    fill(place, vec![events(place, scope), finished_rows(finished), held_rows(held)]).await?;
    Ok((scope, finished, held))
}

fn events(place: &Place, scope: Scope) -> String {
    let step = SPAN.as_micros() / FINISHED as u128;
    format!(
        "{} insert into events (id, uid, company_id, type, object, data, occurred_at)
         select i, '0000000000000000' || (1000000000 + i), {},
         case when i % 1000000 = 7 then 'usage.created' when i % 3 = 0 then 'call.received'
              when i % 3 = 1 then 'call.finished' else 'message.received' end,
         'message', '{{}}', {} + i * cast({step} as bigint) from n",
        series(place, FINISHED),
        scope.company(),
        start().0
    )
}

fn finished_rows(webhook: WebhookId) -> String {
    format!(
        "insert into finished_deliveries (webhook_id, event_id, company_id, event_type, state, attempts,
         created_at, finished_at) select {webhook}, id, company_id, type,
         case when id % 1000000 = 0 then 'cancelled' when id % 1000 = 0 then 'exhausted' else 'delivered' end,
         1, occurred_at, occurred_at from events order by id"
    )
}

fn held_rows(webhook: WebhookId) -> String {
    format!(
        "insert into deliveries (webhook_id, event_id, company_id, event_type, activation, attempts,
         series_attempts, next_attempt_at, created_at)
         select {webhook}, id, company_id, type, 1, 0, 0, occurred_at, occurred_at from events
         where id <= {HELD} order by id"
    )
}
