//! Requests by the clock.

use std::time::Duration;

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

pub const PER_S: u32 = 500;
pub const REQUESTS: usize = 10_000;
/// Twice what [`REQUESTS`] take at [`PER_S`].
pub const TIME_MAX: Duration = Duration::from_secs(40);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Visitors come from so many addresses, which a proxy before the server tells.
const ADDRESSES: usize = 5_000;

pub struct Answers {
    /// From when each was due to its last byte.
    pub times: Vec<Duration>,
    /// In the order of the requests.
    pub bodies: Vec<String>,
}

/// POSTs these bodies to these URLs, each in turn.
pub async fn send(urls: &[String], bodies: &[String], count: usize) -> anyhow::Result<Answers> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PER_S);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tasks = JoinSet::new();
    for n in 0..count {
        let due = ticks.tick().await;
        let request = client.post(&urls[n % urls.len()]).header("content-type", "text/plain;charset=UTF-8");
        let request = request.header("x-forwarded-for", address(n)).header("user-agent", USER_AGENT);
        let request = request.body(bodies[n % bodies.len()].clone());
        tasks.spawn(async move { answer(request, due).await.map(|(time, body)| (n, time, body)) });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(answered) = tasks.join_next().await {
        all.push(answered??);
    }
    all.sort_unstable_by_key(|(n, ..)| *n);
    let (times, bodies) = all.into_iter().map(|(_, time, body)| (time, body)).unzip();
    Ok(Answers { times, bodies })
}

const USER_AGENT: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
     Version/18.5 Mobile/15E148 Safari/604.1";

async fn answer(request: reqwest::RequestBuilder, due: Instant) -> anyhow::Result<(Duration, String)> {
    let response = request.send().await?;
    let status = response.status();
    let body = response.text().await?;
    let time = due.elapsed();
    ensure!(status.is_success(), "{status}: {body}");
    Ok((time, body))
}

fn address(n: usize) -> String {
    let n = n % ADDRESSES;
    format!("198.18.{}.{}", n / 250, n % 250 + 1)
}
