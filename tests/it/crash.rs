//! The real program when things break under it: it is killed, told to end, its disk is full, its database
//! server goes away. Nothing that was acknowledged is lost, nothing that was recorded is sent again, and it
//! goes on by itself. Times of breaking are counted in arrivals at the receiver, never in seconds.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use calltracker::kernel::seed::Seed;
use serde_json::json;
use tokio::time::Instant;

use crate::support::chance;
use crate::support::client::Api;
use crate::support::cluster::Cluster;
use crate::support::database;
use crate::support::disk::Disk;
use crate::support::flow::Flow;
use crate::support::line::sign;
use crate::support::program::{Place, Program};
use crate::support::shop::{DESTINATION, NUMBER, PUBLIC_URL, Shop};
use crate::support::tally::{Tally, UNRECORDED_MAX};
use crate::support::world::{ACCOUNT_SID, AUTH_TOKEN};

/// What the API showed as delivered, and how many requests had arrived by then.
#[derive(Default)]
struct Witness(HashMap<String, usize>);

impl Witness {
    async fn look(&mut self, shop: &Shop, api: &Api) {
        for id in shop.shown_as_delivered(api, 30).await {
            self.0.entry(id).or_insert(shop.tally.progress().arrivals);
        }
    }

    /// What was shown as delivered was on disk: no crash is a reason to send it again.
    fn assert_never_again(&self, tally: &Tally) {
        let late = |(n, id): &(usize, String)| self.0.get(id).is_some_and(|shown| *shown <= *n);
        let ids = tally.arrivals().into_iter().map(|a| a.id).enumerate();
        let again: Vec<_> = ids.filter(late).collect();
        assert!(again.is_empty(), "shown as delivered and sent again: {again:?}");
        assert!(!self.0.is_empty(), "some were shown as delivered");
    }
}

/// What is sent twice was on its way when a process died: never twice by the same process, and not more
/// than a process has on its way.
fn assert_extra_is_of_crashes(tally: &Tally) {
    let (mut known, mut of_life, mut extra) = (HashSet::new(), HashSet::new(), HashMap::new());
    for arrival in tally.arrivals() {
        let twice = !of_life.insert((arrival.life, arrival.id.clone()));
        assert!(!twice, "{} was sent twice by one process", arrival.id);
        if !known.insert(arrival.id) {
            *extra.entry(arrival.life).or_insert(0) += 1;
        }
    }
    eprintln!("extra sends after each crash: {extra:?}");
    assert!(extra.values().all(|n| *n <= UNRECORDED_MAX), "{extra:?}");
}

/// The moments, in ids that have arrived, at which something shall be done in the `n`th of so many equal
/// parts of the flow: two, in order.
fn moments(chance: &Seed, n: usize, part: usize) -> (usize, usize) {
    let below = |bound: usize| usize::try_from(chance.below(bound as u64)).unwrap();
    let second = below(part);
    (n * part + below(second + 1), n * part + second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_ten_thousand_arrives_although_the_program_is_killed_twenty_times() {
    const KILLS: usize = 20;
    const HOOKS: usize = 20;
    const EVENTS: usize = 500;
    let (chance, begun) = (chance(), Instant::now());
    let (shop, mut program) = Shop::open(Place::new(), HOOKS).await;
    let flow = Flow::start(&shop.tally, HOOKS, EVENTS);
    flow.go_to([&program]);
    let mut witness = Witness::default();
    for kill in 0..KILLS {
        let (look, end) = moments(&chance, kill, HOOKS * EVENTS / KILLS);
        shop.tally.until("deliveries go on", |p| p.distinct >= look).await;
        witness.look(&shop, &program.api).await;
        shop.tally.until("deliveries go on", |p| p.distinct >= end).await;
        program.kill();
        flow.go_to([]);
        shop.tally.cut().await;
        program = shop.serve();
        flow.go_to([&program]);
    }
    let told = flow.done().await;
    let events = shop.assert_conserved(&program.api, &told.answered).await;
    assert!(events >= EVENTS, "{events}");
    witness.assert_never_again(&shop.tally);
    assert_extra_is_of_crashes(&shop.tally);
    eprintln!("{:?} in {:?}", shop.tally.progress(), begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sigterm_in_the_middle_of_a_flow_sends_nothing_twice() {
    const STOPS: usize = 4;
    const HOOKS: usize = 10;
    const EVENTS: usize = 100;
    let chance = chance();
    let (shop, mut program) = Shop::open(Place::new(), HOOKS).await;
    let flow = Flow::start(&shop.tally, HOOKS, EVENTS);
    flow.go_to([&program]);
    for stop in 0..STOPS {
        let (_, end) = moments(&chance, stop, HOOKS * EVENTS / STOPS);
        shop.tally.until("deliveries go on", |p| p.distinct >= end).await;
        program.signal("TERM");
        flow.go_to([]);
        assert_eq!(program.ended().code(), Some(0));
        program = shop.serve();
        flow.go_to([&program]);
    }
    let told = flow.done().await;
    shop.assert_conserved(&program.api, &told.answered).await;
    assert_eq!(shop.tally.progress().extra(), 0);
}

/// A flow that stands, because its receiver answers nothing: some requests are in flight.
async fn standing_flow(shop: &Shop, program: &Program) -> Flow {
    let flow = Flow::start(&shop.tally, shop.hooks, 60);
    flow.go_to([program]);
    shop.tally.until("deliveries go on", |p| p.distinct >= 20).await;
    shop.tally.hold();
    shop.tally.until("requests are in flight", |p| p.open >= 8).await;
    flow
}

async fn is_ready(program: &Program) -> bool {
    let answer = reqwest::get(format!("{}/readyz", program.url)).await;
    answer.is_ok_and(|answer| answer.status().as_u16() == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_sigterm_slow_receivers_are_waited_for() {
    let (shop, program) = Shop::open(Place::new(), 4).await;
    let flow = standing_flow(&shop, &program).await;
    program.signal("TERM");
    flow.go_to([]);
    while is_ready(&program).await {}
    shop.tally.release();
    assert_eq!(program.ended().code(), Some(0));
    let program = shop.serve();
    flow.go_to([&program]);
    let told = flow.done().await;
    shop.assert_conserved(&program.api, &told.answered).await;
    assert_eq!(shop.tally.progress().extra(), 0, "what was in flight was recorded before the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_sigterm_a_hanging_receiver_is_given_up_and_gets_the_same_again() {
    let (shop, program) = Shop::open(Place::new(), 4).await;
    let flow = standing_flow(&shop, &program).await;
    let asked = Instant::now();
    program.signal("TERM");
    flow.go_to([]);
    assert_eq!(program.ended().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(15), "ten seconds are granted: {:?}", asked.elapsed());
    shop.tally.cut().await;
    let unanswered = shop.tally.arrivals().into_iter().filter(|arrival| !arrival.answered);
    let given_up: HashSet<String> = unanswered.map(|arrival| arrival.id).collect();
    shop.tally.release();
    let program = shop.serve();
    flow.go_to([&program]);
    let told = flow.done().await;
    shop.assert_conserved(&program.api, &told.answered).await;
    let again = shop.tally.arrivals().into_iter().filter(|arrival| arrival.life == 1);
    let again: HashSet<String> = again.map(|a| a.id).filter(|id| given_up.contains(id)).collect();
    assert_eq!((&again, shop.tally.progress().extra()), (&given_up, given_up.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_what_it_cannot_keep_and_goes_on_when_there_is_room() {
    let place = Place::new();
    if !place.is_file() {
        return eprintln!("skipped: the data are on a server");
    }
    let Some(disk) = Disk::mount(&place.folder(), 32) else {
        return eprintln!("skipped: only root may mount a small disk");
    };
    let (shop, program) = Shop::open(place, 4).await;
    // Dropped before the folder that it lies on.
    let disk = disk;
    let flow = Flow::start(&shop.tally, shop.hooks, usize::MAX);
    flow.go_to([&program]);
    shop.tally.until("deliveries go on", |p| p.distinct >= 40).await;
    shop.tally.hold();
    shop.tally.until("requests are in flight", |p| p.open >= 8).await;
    disk.fill();
    let mut answered = rename_until_refused(&program.api, "Full").await;
    while is_ready(&program).await {}
    // Now the requests in flight are answered, and that can't be recorded.
    shop.tally.release();
    shop.tally.until("all are answered", |p| p.open == 0).await;
    answered.extend(rename_until_refused(&program.api, "Still full").await);
    assert_calls_are_forwarded(&shop, &program).await;
    let pending = program.api.get("/companies/1/webhooks/1/deliveries?state=pending").await.expect(200);
    assert_ne!(pending.json["data"], json!([]), "what couldn't be recorded is still pending");
    disk.free();
    while !is_ready(&program).await {}
    let before = flow.told().answered.len();
    flow.until("posts are taken again", |told| told.answered.len() > before + 20).await;
    answered.extend(flow.end().await.answered);
    shop.assert_conserved(&program.api, &answered).await;
    assert_eq!(shop.tally.progress().extra(), 0, "it lived on, so it knows what it had sent");
}

/// Gives the names that were taken.
async fn rename_until_refused(api: &Api, prefix: &str) -> Vec<String> {
    let mut taken = Vec::new();
    loop {
        let name = format!("{prefix} {}", taken.len());
        let answer = api.patch("/companies/1/trackers/1", &json!({ "name": name })).await;
        if answer.status == 503 {
            return taken;
        }
        answer.expect(200);
        taken.push(name);
    }
}

/// A call that can't be written down reaches its destination all the same.
async fn assert_calls_are_forwarded(shop: &Shop, program: &Program) {
    let form = [
        ("CallSid", "CA00000000000000000000000000005eed"),
        ("AccountSid", ACCOUNT_SID),
        ("From", "+15025550142"),
        ("To", NUMBER),
        ("CallStatus", "ringing"),
        ("Direction", "inbound"),
    ];
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = reqwest::Client::new()
        .post(shop.carrier_hook.replace(PUBLIC_URL, &program.url))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-twilio-signature", sign(AUTH_TOKEN, &shop.carrier_hook, &form))
        .body(body);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let twiml = answer.text().await.unwrap();
    assert!(twiml.contains("<Dial") && twiml.contains(DESTINATION), "{twiml}");
    let metrics = reqwest::get(format!("{}/metrics", program.url)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("result=\"fallback\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_server_that_crashes_three_times_loses_nothing_and_needs_no_restart_of_ours() {
    if database::server().is_none() {
        return eprintln!("skipped: only with PostgreSQL");
    }
    let (chance, cluster) = (chance(), Cluster::start());
    let (shop, program) = Shop::open(Place::with(cluster.database()), 5).await;
    let flow = Flow::start(&shop.tally, shop.hooks, usize::MAX);
    flow.go_to([&program]);
    for round in 0..3 {
        let so_far = shop.tally.progress().distinct;
        let (_, more) = moments(&chance, 0, 200);
        shop.tally.until("deliveries go on", |p| p.distinct >= so_far + more).await;
        if round == 1 {
            cluster.down();
            assert!(!is_ready(&program).await, "nothing can be persisted");
            cluster.up();
        } else {
            cluster.restart();
        }
        while !is_ready(&program).await {}
        let before = flow.told().answered.len();
        flow.until("posts are taken again", |told| told.answered.len() > before + 20).await;
    }
    let told = flow.end().await;
    shop.assert_conserved(&program.api, &told.answered).await;
    let extra = shop.tally.progress().extra();
    eprintln!("{extra} extra sends, {} posts refused", told.refused);
    assert!(extra <= 3 * UNRECORDED_MAX, "{extra}");
}
