//! `speed`: what a site's script asks, over HTTP, beside a bare handler that reads the same bodies and answers as much.
//! Both are processes of their own, asked by the same client at the same rate in the same minute. Open loop: requests go
//! out by the clock, whatever became of those before.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::load::{self, Answers, PER_S, REQUESTS};
use crate::report::{ms, percentile, say, title, verdict};
use crate::server::{Floor, Server};
use crate::{cpu, disk};

const P99_MAX: Duration = Duration::from_millis(10);
/// CPU time of a request, of the floor's.
const CPU_RATIO_MAX: f64 = 4.0;
/// It divides the number of requests, so that each visit goes on where it began.
const SITES: u32 = 100;
/// Of each site: enough for every visit of the benchmark to get one, and to keep it.
const NUMBERS: u32 = 120;
const PAGE: &str =
    "https://www.example.com/services/boilers?gclid=EAIaIQobChMIx7mN5p2K_QIVj4BQBh0SgQ2fEAAYASAAEgJ1x_D_BwE";
const REFERRER: &str = "https://www.google.com/";

struct Case {
    answers: Answers,
    cpu: Duration,
}

pub async fn run() -> anyhow::Result<()> {
    title(
        "speed",
        &format!(
            "{PER_S} requests/s, open loop, {REQUESTS} of each kind, {SITES} sites with {NUMBERS} numbers, SQLite"
        ),
    );
    let floor = Floor::start().await?;
    let server = Server::start(SITES, NUMBERS).await?;
    let (fsync, fsync_p99) = disk::fsync(200, Duration::from_millis(10)).await?;
    say(&format!("fsync: p50 {}, p99 {}", ms(fsync), ms(fsync_p99)));
    let begun = both("visits begin", &floor, &server, "session", vec![opened()]).await?;
    let sessions: Vec<String> = begun.iter().filter_map(|body| token(body)).collect();
    anyhow::ensure!(sessions.len() == begun.len(), "{} of {} visits began", sessions.len(), begun.len());
    both("pages viewed", &floor, &server, "page", sessions.iter().map(|session| viewed(session)).collect())
        .await?;
    both(
        "signs of life",
        &floor,
        &server,
        "heartbeat",
        sessions.iter().map(|session| alive(session)).collect(),
    )
    .await?;
    Ok(())
}

/// Asks the floor and the server the same; gives the server's answers.
async fn both(
    name: &str,
    floor: &Floor,
    server: &Server,
    path: &str,
    bodies: Vec<String>,
) -> anyhow::Result<Vec<String>> {
    let mut bare = ask(floor.pid, &floor.urls(path), &bodies).await?;
    let mut product = ask(server.pid, &server.urls(path), &bodies).await?;
    let each = |case: &Case| case.cpu.as_secs_f64() * 1e6 / case.answers.times.len() as f64;
    let ratio = each(&product) / each(&bare);
    let times = &mut product.answers.times;
    let (p50, p99, worst) = (percentile(times, 50), percentile(times, 99), percentile(times, 100));
    say(&format!(
        "{name}: p50 {}, p99 {}, target {}: {}; worst {} | floor p50 {}, p99 {}",
        ms(p50),
        ms(p99),
        ms(P99_MAX),
        verdict(p99 < P99_MAX),
        ms(worst),
        ms(percentile(&mut bare.answers.times, 50)),
        ms(percentile(&mut bare.answers.times, 99)),
    ));
    say(&format!(
        "{name}: {:.0} us CPU each | floor {:.0} us | {ratio:.1} x, target {CPU_RATIO_MAX} x: {}",
        each(&product),
        each(&bare),
        verdict(ratio <= CPU_RATIO_MAX),
    ));
    Ok(product.answers.bodies)
}

async fn ask(pid: u32, urls: &[String], bodies: &[String]) -> anyhow::Result<Case> {
    // Not counted: opens connections, prepares statements.
    load::send(urls, bodies, REQUESTS / 10).await?;
    let before = cpu::of(pid);
    let began = Instant::now();
    let answers = load::send(urls, bodies, REQUESTS).await?;
    anyhow::ensure!(began.elapsed() < load::TIME_MAX, "the machine is too slow for {PER_S} requests/s");
    // What is gathered in memory is written each second.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    Ok(Case { answers, cpu: cpu::of(pid).saturating_sub(before) })
}

fn opened() -> String {
    let body = json!({
        "visitor": "", "session": "", "url": PAGE, "referrer": REFERRER, "title": "Boilers | Example Company",
        "consent": true, "take": true,
    });
    body.to_string()
}

fn viewed(session: &str) -> String {
    json!({"session": session, "url": PAGE, "title": "Boilers | Example Company"}).to_string()
}

fn alive(session: &str) -> String {
    json!({"session": session}).to_string()
}

fn token(body: &str) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(answer["session"].as_str().filter(|session| !session.is_empty())?.to_owned())
}
