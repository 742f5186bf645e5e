//! Several processes on one PostgreSQL: each takes in, together they deliver, and one that dies or stands
//! still is replaced. Not run on SQLite, whose file one process has for itself.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::support::chance;
use crate::support::client::Api;
use crate::support::flow::Flow;
use crate::support::program::{Place, Program};
use crate::support::shop::Shop;
use crate::support::tally::UNRECORDED_MAX;

/// A share without a node goes on within this time: its lease lasts ten seconds.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(15);

/// A shop with this many servers; None where a database has one only.
async fn open(nodes: usize, hooks: usize) -> Option<(Shop, Vec<Program>)> {
    let place = Place::new();
    if place.is_file() {
        eprintln!("skipped: only with PostgreSQL");
        return None;
    }
    let (shop, first) = Shop::open(place, hooks).await;
    let mut programs = vec![first];
    programs.extend((1..nodes).map(|_| shop.serve()));
    Some((shop, programs))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_in_at_any_of_three_nodes_and_each_is_sent_once() {
    let Some((shop, nodes)) = open(3, 20).await else { return };
    let flow = Flow::start(&shop.tally, shop.hooks, 100);
    flow.go_to(&nodes);
    let told = flow.done().await;
    for node in &nodes {
        shop.assert_conserved(&node.api, &told.answered).await;
    }
    assert_eq!(shop.tally.progress().extra(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_killed_one_after_the_other_are_replaced_and_each_id_arrives() {
    const KILLS: usize = 5;
    let chance = chance();
    let Some((shop, mut nodes)) = open(3, 20).await else { return };
    let flow = Flow::start(&shop.tally, shop.hooks, usize::MAX);
    flow.go_to(&nodes);
    for kill in 0..KILLS {
        let so_far = shop.tally.progress().distinct;
        let more = usize::try_from(chance.below(500)).unwrap();
        shop.tally.until("deliveries go on", |p| p.distinct >= so_far + more).await;
        nodes.swap_remove(usize::try_from(chance.below(3)).unwrap()).kill();
        flow.go_to(&nodes);
        // Every other time the next one dies before the share of this one goes on.
        if kill % 2 == 0 {
            let name = format!("After kill {kill}");
            shop.tell_everywhere(&nodes[0].api, &name, TAKEN_OVER_WITHIN).await;
        }
        nodes.push(shop.serve());
        flow.go_to(&nodes);
    }
    let told = flow.end().await;
    shop.assert_conserved(&nodes[0].api, &told.answered).await;
    let extra = shop.tally.progress().extra();
    eprintln!("{extra} extra sends, {:?}", shop.tally.progress());
    assert!(extra <= KILLS * UNRECORDED_MAX, "{extra}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_records_nothing_stale_and_works_on() {
    let Some((shop, mut nodes)) = open(2, 8).await else { return };
    let (second, first) = (nodes.pop().unwrap(), nodes.pop().unwrap());
    shop.tell_everywhere(&first.api, "Before", TAKEN_OVER_WITHIN).await;
    shop.settle(&first.api).await;
    // Whoever has a share has a request of it in flight.
    shop.tally.hold();
    shop.tell_everywhere(&second.api, "In flight", TAKEN_OVER_WITHIN).await;
    first.signal("STOP");
    shop.tally.release();
    shop.tell_everywhere(&second.api, "While one stands still", TAKEN_OVER_WITHIN).await;
    shop.settle(&second.api).await;
    let before = logs(&shop, &second.api).await;
    // It reads the answers that came while it stood still: their results are no longer its to record.
    first.signal("CONT");
    while !reqwest::get(format!("{}/readyz", first.url))
        .await
        .is_ok_and(|answer| answer.status().is_success())
    {}
    assert_eq!(second.terminate().code(), Some(0));
    shop.tell_everywhere(&first.api, "Alone", TAKEN_OVER_WITHIN).await;
    assert_eq!(shop.assert_conserved(&first.api, &[]).await, 4);
    let after = logs(&shop, &first.api).await;
    assert!(before.iter().all(|delivery| after.contains(delivery)), "{before:#?}\n{after:#?}");
    for delivery in &after {
        assert_one_success(delivery);
    }
    let extra = shop.tally.progress().extra();
    assert!(extra <= shop.hooks, "only what was in flight was sent again: {extra}");
}

/// A transaction holds locks that others wait for. One whose node stands still must not hold them for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stands_still_in_a_transaction_holds_nobody_up() {
    let chance = chance();
    let Some((shop, nodes)) = open(2, 1).await else { return };
    let flow = Flow::start(&shop.tally, shop.hooks, usize::MAX);
    flow.go_to([&nodes[0]]);
    for stop in 0..2 {
        let so_far = shop.tally.progress().distinct;
        let more = usize::try_from(chance.below(50)).unwrap();
        shop.tally.until("deliveries go on", |p| p.distinct >= so_far + more).await;
        nodes[0].signal("STOP");
        flow.go_to([]);
        let name = json!({"name": format!("During stop {stop}")});
        let renaming = nodes[1].api.patch("/companies/1/trackers/1", &name);
        let answer = tokio::time::timeout(TAKEN_OVER_WITHIN, renaming).await;
        answer.expect("the other node answers").expect(200);
        nodes[0].signal("CONT");
        flow.go_to([&nodes[0]]);
    }
    let told = flow.end().await;
    shop.assert_conserved(&nodes[0].api, &told.answered).await;
}

/// All deliveries with their attempts.
async fn logs(shop: &Shop, api: &Api) -> Vec<Json> {
    let mut logs = Vec::new();
    for hook in 1..=shop.hooks {
        for delivery in shop.deliveries(api, hook).await {
            let id = delivery["id"].as_str().unwrap();
            let path = format!("/companies/1/webhooks/{hook}/deliveries/{id}");
            logs.push(api.get(&path).await.expect(200).json);
        }
    }
    logs
}

fn assert_one_success(delivery: &Json) {
    let log = delivery["attempt_log"].as_array().unwrap();
    let numbers: Vec<_> = log.iter().map(|attempt| attempt["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=delivery["attempts"].as_u64().unwrap()).collect::<Vec<_>>(), "{delivery:#}");
    let successes = log.iter().filter(|attempt| attempt["status_code"] == 200).count();
    assert_eq!((delivery["state"].as_str(), successes), (Some("delivered"), 1), "{delivery:#}");
}
