//! A number is never two visitors' at a time, however many come at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use calltracker::db::{Tx, sql};
use calltracker::trackers::TrackerType;
use calltracker::trackers::pool::Exhausted;
use tokio::task::JoinSet;

use crate::support::site::{Browser, Site, shown};
use crate::support::{TestApp, chance};

const VISITORS: usize = 1_000;
/// Minutes after the last sign of life until somebody else may have a number.
const FREE_AFTER: i64 = 45;

/// Number, visitor, start, last sign of life, end.
type Lease = (i64, i64, i64, i64);

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_visitors_at_once_never_share_a_number_that_need_not_be_shared() {
    let site = Arc::new(crowded(Exhausted::NoSwap, 40).await);
    let shown_numbers = come(&site).await;
    let leases = leases(&site).await;
    assert!(leases.len() >= 40, "{} leases", leases.len());
    let seen: usize = shown_numbers.iter().filter(|number| !number.is_empty()).count();
    assert_eq!(seen, leases.len(), "each number that was shown is a lease, and the other way round");
    for (before, after) in successors(&leases) {
        let free_at = before.2 + FREE_AFTER * 60_000_000;
        assert!(after.1 >= free_at, "{after:?} began while {before:?} was held");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_taken_over_is_one_visitors_at_a_time() {
    let site = Arc::new(crowded(Exhausted::Reuse, 25).await);
    let shown_numbers = come(&site).await;
    assert!(shown_numbers.iter().all(|number| !number.is_empty()), "everybody gets one");
    let leases = leases(&site).await;
    assert_eq!(leases.len(), VISITORS);
    let of_numbers: HashSet<&String> = shown_numbers.iter().collect();
    assert_eq!(of_numbers.len(), 25);
    for (before, after) in successors(&leases) {
        assert!(before.3 <= after.1, "{after:?} began before {before:?} ended");
    }
    let held = site.line.count("select count(*) from leases where ended_at is null").await;
    assert_eq!(held, 25, "the last of each number");
}

async fn crowded(exhausted: Exhausted, numbers: usize) -> Site {
    let settings = |config: &mut calltracker::config::Config| {
        config.trusted_proxies.push("127.0.0.0/8".parse().unwrap());
        config.visits.rate_per_minute = 1_000_000;
        config.visits.numbers_per_hour = 1_000_000;
    };
    let site = Site::on(TestApp::quiet(settings).await).await;
    let mut pool = shown("Pool", TrackerType::NumberPool, "");
    pool.pool.exhausted = exhausted;
    site.tracker(pool, 7, numbers).await;
    site
}

/// All come at once, in ten waves between which some time goes by; gives the number that each is shown.
async fn come(site: &Arc<Site>) -> Vec<String> {
    let chance = chance();
    let mut numbers = Vec::with_capacity(VISITORS);
    for _ in 0..10 {
        let mut wave: JoinSet<Browser> = JoinSet::new();
        for _ in 0..VISITORS / 10 {
            let site = site.clone();
            wave.spawn(async move { site.newcomer("https://shop.example/", "").await });
        }
        while let Some(came) = wave.join_next().await {
            numbers.push(came.expect("no visit fails").number().to_owned());
        }
        site.advance_minutes(chance.below(30));
    }
    numbers
}

/// By number, in their order.
async fn leases(site: &Site) -> HashMap<(i64, usize), Lease> {
    let read = |tx: &mut Tx<'_>| {
        tx.all::<(i64, i64, i64, i64)>(sql(
            "select number_id, started_at, seen_at, coalesce(ended_at, 9223372036854775807) from leases
             order by number_id, id",
        ))
    };
    let rows = site.line.app.write(read).await;
    let mut places: HashMap<i64, usize> = HashMap::new();
    rows.into_iter()
        .map(|lease| {
            let place = places.entry(lease.0).or_default();
            *place += 1;
            ((lease.0, *place), lease)
        })
        .collect()
}

/// Each lease with the next of its number.
fn successors(leases: &HashMap<(i64, usize), Lease>) -> Vec<(&Lease, &Lease)> {
    let next = |(number, place): &(i64, usize)| leases.get(&(*number, place + 1));
    leases.iter().filter_map(|(key, lease)| Some((lease, next(key)?))).collect()
}
