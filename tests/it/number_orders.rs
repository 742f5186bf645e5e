//! Number orders, and the size of pools: numbers that are bought bit by bit, and what is left when that fails or we
//! end in between. Where the carrier has to fail it is the modelled one, else the simulated one in its own process.

use std::collections::BTreeSet;
use std::time::Duration;

use calltracker::carriers::provision::{fill_orders, release_due};
use calltracker::db::sql;
use calltracker::kernel::id::{CarrierId, SessionId, TrackerId, VisitorId};
use calltracker::kernel::phone::PhoneNumber;
use calltracker::trackers::pool::{self, Guest, How, Pool, Terms};
use calltracker::trackers::route;
use serde_json::{Value as Json, json};

use crate::support::carrier::{Carrier, Fault, Step};
use crate::support::client::{Answer, Api};
use crate::support::deliveries::count;
use crate::support::program::Place;
use crate::support::simulator::Simulator;
use crate::support::world::{ACCOUNT_SID, AUTH_TOKEN, DESTINATION};
use crate::support::{TestApp, TestCompany};

fn account(base_url: &str) -> Json {
    json!({ "kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": base_url })
}

fn pool(size: usize) -> Json {
    json!({
        "name": "Web site", "destination": DESTINATION, "tracker_type": "number_pool", "swap_target": "+12705550100",
        "number_pool_size": size, "numbers": { "buy": {} },
    })
}

/// So many numbers for the modelled carrier to sell.
fn stock(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("+1502555{n:04}")).collect()
}

/// A company with an account at a carrier, on a server that does no background work by itself.
struct Scene {
    app: TestApp,
    company: TestCompany,
}

impl Scene {
    async fn at(carrier_url: &str) -> Scene {
        let app = TestApp::quiet(|_| {}).await;
        let company = app.company("Acme").await;
        company.api.post(&company.path("/carriers"), &account(carrier_url)).await.expect(201);
        Scene { app, company }
    }

    async fn modelled(on_sale: usize) -> (Scene, Carrier) {
        let carrier = Carrier::start().await;
        let numbers = stock(on_sale);
        carrier.put_on_sale(&numbers.iter().map(String::as_str).collect::<Vec<_>>());
        (Scene::at(&carrier.url).await, carrier)
    }

    async fn post(&self, path: &str, body: &Json) -> Answer {
        self.company.api.post(&self.company.path(path), body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.company.reader.get(&self.company.path(path)).await
    }

    /// Orders a pool; gives the order's path below the company.
    async fn order(&self, size: usize) -> String {
        let begun = self.post("/trackers", &pool(size)).await.expect(202);
        let path = format!("/number-orders/{}", begun.json["id"]);
        let location = format!("/api/v1{}", self.company.path(&path));
        assert_eq!(begun.header("location"), Some(location.as_str()));
        assert_eq!(self.get(&path).await.expect(200).json, begun.json);
        path
    }

    /// A pool that is there; gives its path below the company.
    async fn present(&self, size: usize) -> String {
        let made = self.post("/trackers", &pool(size)).await.expect(201);
        assert_eq!(made.json["number_pool_size"], size);
        format!("/trackers/{}", made.json["id"])
    }

    async fn fill(&self) -> usize {
        fill_orders(&self.app.ctx).await.unwrap()
    }

    async fn release(&self) -> usize {
        let mut gone = 0;
        loop {
            match release_due(&self.app.ctx).await.unwrap() {
                0 => return gone,
                some => gone += some,
            }
        }
    }

    /// State, what was bought, and the error.
    async fn look(&self, order: &str) -> (String, i64, String) {
        let shown = self.get(order).await.expect(200).json;
        let text = |key: &str| shown[key].as_str().unwrap().to_owned();
        (text("state"), shown["bought"].as_i64().unwrap(), text("error"))
    }

    async fn cancel(&self, order: &str) -> Answer {
        self.company.api.patch(&self.company.path(order), &json!({ "state": "cancelled" })).await
    }

    /// The types of the company's events.
    async fn told(&self) -> Vec<String> {
        let log = self.get("/events").await.expect(200);
        let types = log.json["data"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap());
        types.map(str::to_owned).collect()
    }

    async fn assert_nothing_left(&self) {
        assert_eq!(count(&self.app, "purchases").await, 0);
        assert_eq!(self.told().await, [] as [&str; 0]);
        assert_eq!(self.get("/trackers").await.ids(), [] as [i64; 0]);
    }

    fn pass(&self, seconds: u64) {
        self.app.advance(Duration::from_secs(seconds));
    }
}

fn state(name: &str, bought: i64, error: &str) -> (String, i64, String) {
    (name.to_owned(), bought, error.to_owned())
}

fn numbers(tracker: &Json) -> BTreeSet<String> {
    let all = tracker["phone_numbers"].as_array().unwrap().iter();
    all.filter(|one| one["status"] == true).map(|one| one["number"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_pool_is_bought_bit_by_bit_and_told_of_once() {
    let simulator = Simulator::start();
    let scene = Scene::at(&simulator.url).await;
    let order = scene.order(25).await;
    let begun = scene.get(&order).await.expect(200).json;
    assert_eq!(
        (&begun["kind"], &begun["wanted"], &begun["bought"]),
        (&json!("create"), &json!(25), &json!(0))
    );
    assert_eq!((&begun["tracker_id"], &begun["tracker_name"]), (&Json::Null, &json!("Web site")));
    for bought in [5, 10, 15, 20] {
        assert_eq!(scene.fill().await, 1);
        assert_eq!(scene.look(&order).await, state("buying", bought, ""));
        assert_eq!((scene.told().await.len(), scene.release().await), (0, 0));
    }
    // However long it takes, nobody gives back what an order has.
    scene.pass(86_400);
    assert_eq!(scene.release().await, 0);
    assert_eq!(scene.fill().await, 1);
    let done = scene.get(&order).await.expect(200).json;
    assert_eq!((&done["state"], &done["bought"]), (&json!("done"), &json!(25)));
    assert_eq!(done["finished_at"], "2026-03-10T09:00:00.000000Z");
    let tracker = scene.get(&format!("/trackers/{}", done["tracker_id"])).await.expect(200).json;
    assert_eq!(tracker["number_pool_size"], 25);
    assert_eq!(numbers(&tracker), simulator.owned().await);
    assert_eq!((scene.told().await, scene.fill().await), (vec!["tracker.created".to_owned()], 0));
    let log = scene.get("/events").await.expect(200);
    assert_eq!(log.json["data"][0]["data"], tracker);
    assert_eq!((count(&scene.app, "purchases").await, scene.release().await), (0, 0));
    assert_eq!(scene.get("/number-orders").await.expect(200).json["data"], json!([done]));
}

#[tokio::test]
async fn an_ordered_pool_is_as_one_that_was_made_at_once() {
    let (scene, _carrier) = Scene::modelled(30).await;
    let mut body = pool(2);
    let more = json!({
        "status": false, "recording_enabled": true, "recording_message": "Recorded.", "whisper_message": "“Pool”",
        "voicemail_enabled": true, "ring_timeout_s": 7, "pool_hold_minutes": 3, "pool_grace_minutes": 2,
        "pool_cooldown_minutes": 1, "pool_exhausted": "fallback_number", "pool_fallback_number": "+12705550101",
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut made = scene.post("/trackers", &body).await.expect(201).json;
    body["number_pool_size"] = json!(11);
    scene.post("/trackers", &body).await.expect(202);
    while scene.fill().await > 0 {}
    let mut ordered = scene.get("/trackers?limit=1").await.expect(200).json["data"][0].clone();
    assert_eq!((&made["number_pool_size"], &ordered["number_pool_size"]), (&json!(2), &json!(11)));
    for tracker in [&mut made, &mut ordered] {
        for of_its_own in ["id", "phone_numbers", "number_pool_size"] {
            tracker[of_its_own] = Json::Null;
        }
    }
    assert_eq!(made, ordered);
}

#[tokio::test]
async fn up_to_ten_are_there_at_once_and_more_by_themselves() {
    let simulator = Simulator::start();
    // It asks without a pause how far the order is.
    let app = TestApp::with(|config| config.api.rate_per_minute = 1_000_000).await;
    let company = app.company("Acme").await;
    company.api.post(&company.path("/carriers"), &account(&simulator.url)).await.expect(201);
    let made = company.api.post(&company.path("/trackers"), &pool(10)).await.expect(201);
    assert_eq!(numbers(&made.json).len(), 10);
    let begun = company.api.post_once(&company.path("/trackers"), &pool(11), "k").await.expect(202);
    let again = company.api.post_once(&company.path("/trackers"), &pool(11), "k").await.expect(202);
    assert_eq!((again.header("idempotent-replayed"), &again.text), (Some("true"), &begun.text));
    assert_eq!(again.header("location"), begun.header("location"));
    let order = company.path(&format!("/number-orders/{}", begun.json["id"]));
    while company.reader.get(&order).await.expect(200).json["state"] == "buying" {}
    assert_eq!(company.reader.get(&order).await.expect(200).json["state"], "done");
    assert_eq!(simulator.owned().await.len(), 21);
    assert_eq!(company.reader.get(&company.path("/number-orders")).await.ids().len(), 1);
}

#[tokio::test]
async fn what_is_said_about_the_size_must_fit() {
    let (scene, carrier) = Scene::modelled(20).await;
    let with = |more: Json| {
        let mut body = pool(20);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (more, fields) in [
        (json!({ "numbers": { "buy": { "count": 19 } } }), &["number_pool_size"][..]),
        (json!({ "numbers": { "attach": ["+15025550001"] } }), &["number_pool_size"]),
        (json!({ "number_pool_size": 1 }), &["number_pool_size"]),
        (json!({ "number_pool_size": 501 }), &["number_pool_size"]),
        (json!({ "tracker_type": "campaign" }), &["number_pool_size"]),
        (
            json!({ "tracker_type": "offline", "numbers": { "buy": { "count": 11 } } }),
            &["number_pool_size", "numbers.buy.count"],
        ),
        (json!({ "swap_target": "" }), &["swap_target"]),
        (json!({ "numbers": { "buy": { "area_code": "27" } } }), &["numbers.buy.area_code"]),
        (json!({ "carrier_id": 999 }), &["carrier_id"]),
    ] {
        let answer = scene.post("/trackers", &with(more.clone())).await.expect_problem(400, "validation");
        assert_eq!(answer.fields(), fields, "{more}");
    }
    assert_eq!((carrier.count(Step::Search), count(&scene.app, "number_orders").await), (0, 0));
    let same = with(json!({ "numbers": { "buy": { "count": 20, "area_code": "502" } } }));
    scene.post("/trackers", &same).await.expect(202);
    let mut counted = with(json!({ "numbers": { "buy": { "count": 20 } } }));
    counted.as_object_mut().unwrap().remove("number_pool_size");
    assert_eq!(scene.post("/trackers", &counted).await.expect(202).json["wanted"], 20);
}

#[tokio::test]
async fn when_the_carrier_runs_out_everything_goes_back() {
    let simulator = Simulator::start();
    let scene = Scene::at(&simulator.url).await;
    let mut body = pool(101);
    body["numbers"] = json!({ "buy": { "area_code": "270" } });
    let begun = scene.post("/trackers", &body).await.expect(202);
    let order = format!("/number-orders/{}", begun.json["id"]);
    while scene.fill().await > 0 {}
    let why = "the carrier has only 100 such numbers; try another area code or fewer";
    assert_eq!(scene.look(&order).await, state("failed", 100, why));
    assert!(scene.get(&order).await.expect(200).json["finished_at"].is_string());
    assert_eq!(simulator.owned().await.len(), 100);
    assert_eq!(scene.release().await, 100);
    assert_eq!(simulator.owned().await.len(), 0);
    scene.assert_nothing_left().await;
    scene.cancel(&order).await.expect_problem(409, "conflict");
}

#[tokio::test]
async fn a_refusal_half_way_undoes_the_order() {
    let (scene, carrier) = Scene::modelled(30).await;
    let order = scene.order(20).await;
    assert_eq!(scene.fill().await, 1);
    carrier.fail(Step::Buy, Fault::Refuse(403, 20_005));
    assert_eq!(scene.fill().await, 1);
    let refused = "the carrier refused the request: it went wrong";
    assert_eq!(scene.look(&order).await, state("failed", 5, refused));
    assert_eq!((carrier.owned().len(), scene.release().await, carrier.owned().len()), (5, 5, 0));
    // What was asked last is looked at when the carrier must have answered.
    assert_eq!(count(&scene.app, "purchases").await, 1);
    scene.pass(60);
    assert_eq!(scene.release().await, 0);
    assert_eq!(scene.fill().await, 0);
    scene.assert_nothing_left().await;
}

#[tokio::test]
async fn a_carrier_in_trouble_is_waited_for_and_then_given_up() {
    let (scene, carrier) = Scene::modelled(30).await;
    let order = scene.order(20).await;
    assert_eq!(scene.fill().await, 1);
    carrier.fail(Step::Buy, Fault::Refuse(429, 20_429));
    assert_eq!(scene.fill().await, 1);
    let limited = "the carrier limits how often it may be asked; try again later";
    assert_eq!(scene.look(&order).await, state("buying", 5, limited));
    scene.pass(4);
    assert_eq!(scene.fill().await, 0);
    scene.pass(1);
    assert_eq!(scene.fill().await, 1);
    // The number that was asked for first, and five more.
    assert_eq!(scene.look(&order).await, state("buying", 11, ""));
    assert_eq!(carrier.owned().len(), 11);
    let mut tries = 0;
    while scene.look(&order).await.0 == "buying" {
        carrier.fail(Step::Search, Fault::Refuse(503, 0));
        assert_eq!(scene.fill().await, 1);
        scene.pass(60);
        tries += 1;
    }
    assert_eq!(tries, 11, "ten minutes behind the first");
    let down = "the carrier has a problem of its own (status 503); try again later";
    assert_eq!(scene.look(&order).await, state("failed", 11, down));
    assert_eq!((scene.release().await, carrier.owned().len()), (11, 0));
    scene.assert_nothing_left().await;
}

#[tokio::test]
async fn a_number_that_somebody_else_got_is_passed_over() {
    let (scene, carrier) = Scene::modelled(20).await;
    let order = scene.order(12).await;
    for _ in 0..3 {
        carrier.fail(Step::Buy, Fault::Refuse(400, 21_422));
    }
    assert_eq!(scene.fill().await, 1);
    assert_eq!(scene.look(&order).await, state("buying", 5, ""));
    assert_eq!((carrier.count(Step::Buy), count(&scene.app, "purchases").await), (8, 5));
    // One that we got ourselves, and of which the carrier doesn't say so: nobody takes it for somebody else's.
    carrier.fail(Step::Buy, Fault::DoAndFail(500));
    for wait in [5, 10] {
        carrier.fail(Step::Find, Fault::Refuse(503, 0));
        assert_eq!(scene.fill().await, 1);
        assert_eq!(scene.look(&order).await.0, "buying");
        assert_eq!((carrier.owned().len(), count(&scene.app, "purchases").await), (6, 6));
        scene.pass(wait);
    }
    while scene.fill().await > 0 {}
    assert_eq!(scene.look(&order).await, state("done", 12, ""));
    assert_eq!(carrier.owned().len(), 12);
}

#[tokio::test]
async fn an_order_goes_on_where_a_killed_program_left_it() {
    let (scene, carrier) = Scene::modelled(30).await;
    let order = scene.order(12).await;
    assert_eq!(scene.fill().await, 1);
    carrier.fail(Step::Buy, Fault::DoAndHang);
    let buying = async {
        while carrier.count(Step::Buy) < 6 {
            tokio::task::yield_now().await
        }
    };
    tokio::select! {
        filled = scene.fill() => panic!("{filled}"),
        () = buying => {}
    }
    let Scene { app, company } = scene;
    let (app, company) = app.restart(company).await;
    let scene = Scene { app, company };
    assert_eq!(scene.look(&order).await, state("buying", 5, ""));
    assert_eq!((carrier.owned().len(), scene.release().await), (6, 0));
    while scene.fill().await > 0 {}
    assert_eq!(scene.look(&order).await, state("done", 12, ""));
    let tracker = scene.get("/trackers").await.expect(200).json["data"][0].clone();
    assert_eq!(numbers(&tracker), carrier.owned().into_iter().collect());
    assert_eq!((numbers(&tracker).len(), count(&scene.app, "purchases").await), (12, 0));
}

/// The only order, when it has bought so many or has ended.
async fn reached(api: &Api, bought: i64) -> Json {
    loop {
        let order = api.get("/companies/1/number-orders/1").await.expect(200).json;
        if order["state"] != "buying" || order["bought"].as_i64() >= Some(bought) {
            return order;
        }
    }
}

#[tokio::test]
async fn a_program_that_is_killed_again_and_again_pays_for_what_was_ordered_and_no_more() {
    let (simulator, place) = (Simulator::start(), Place::new());
    // It asks without a pause how far the order is.
    let arguments = ["--log", "warn", "--api-rate-per-minute", "1000000"];
    let mut program = place.serve(&arguments);
    let company = json!({ "name": "Acme", "time_zone": "UTC", "country": "US" });
    program.api.post("/companies", &company).await.expect(201);
    program.api.post("/companies/1/carriers", &account(&simulator.url)).await.expect(201);
    program.api.post("/companies/1/trackers", &pool(150)).await.expect(202);
    for bought in [1, 20, 40, 60, 80] {
        let order = reached(&program.api, bought).await;
        assert_eq!(order["state"], "buying", "it was killed in the middle: {order}");
        program.kill();
        program = place.serve(&arguments);
    }
    let order = reached(&program.api, i64::MAX).await;
    assert_eq!((&order["state"], &order["bought"]), (&json!("done"), &json!(150)));
    let tracker = program.api.get("/companies/1/trackers/1").await.expect(200).json;
    assert_eq!(numbers(&tracker).len(), 150);
    assert_eq!(numbers(&tracker), simulator.owned().await);
}

/// As when one leads no more and doesn't know it yet. On SQLite, which one process has for itself, two tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_that_work_on_one_order_buy_what_was_ordered_and_no_more() {
    let (scene, carrier) = Scene::modelled(200).await;
    let other = scene.app.beside().await;
    let theirs = other.as_ref().map_or(&scene.app.ctx, |app| &app.ctx);
    let order = scene.order(60).await;
    // Both find this one begun, and ask for it again.
    carrier.fail(Step::Buy, Fault::DoAndFail(500));
    carrier.fail(Step::Find, Fault::Refuse(503, 0));
    assert_eq!(scene.fill().await, 1);
    assert_eq!((carrier.owned().len(), count(&scene.app, "purchases").await), (1, 1));
    scene.pass(60);
    while scene.look(&order).await.0 == "buying" {
        let (one, another) = tokio::join!(fill_orders(&scene.app.ctx), fill_orders(theirs));
        assert!(one.unwrap() + another.unwrap() > 0, "it goes on");
        let bought: i64 = scene.look(&order).await.1;
        assert!(carrier.owned().len() <= 60 && bought <= 60, "{bought}");
        scene.pass(60);
    }
    assert_eq!(scene.look(&order).await, state("done", 60, ""));
    let trackers = scene.get("/trackers").await.expect(200).json["data"].clone();
    assert_eq!(trackers.as_array().unwrap().len(), 1);
    assert_eq!(numbers(&trackers[0]), carrier.owned().into_iter().collect());
    assert_eq!((carrier.owned().len(), count(&scene.app, "purchases").await), (60, 0));
    assert_eq!((scene.told().await, scene.release().await), (vec!["tracker.created".to_owned()], 0));
}

#[tokio::test]
async fn the_largest_pool_is_bought_in_the_background() {
    let (simulator, place) = (Simulator::start(), Place::new());
    let program = place.serve(&["--log", "warn", "--api-rate-per-minute", "1000000"]);
    let api = &program.api;
    let company = json!({ "name": "Acme", "time_zone": "UTC", "country": "US" });
    api.post("/companies", &company).await.expect(201);
    api.post("/companies/1/carriers", &account(&simulator.url)).await.expect(201);
    let began = tokio::time::Instant::now();
    api.post("/companies/1/trackers", &pool(500)).await.expect(202);
    let order = reached(api, i64::MAX).await;
    eprintln!("500 numbers in {:?}", began.elapsed());
    assert_eq!((&order["state"], &order["bought"]), (&json!("done"), &json!(500)));
    let tracker = api.get("/companies/1/trackers/1").await.expect(200).json;
    assert_eq!((numbers(&tracker).len(), &tracker["number_pool_size"]), (500, &json!(500)));
    assert_eq!(numbers(&tracker), simulator.owned().await);
}

#[tokio::test]
async fn a_cancelled_order_gives_everything_back() {
    let (scene, carrier) = Scene::modelled(30).await;
    let order = scene.order(20).await;
    assert_eq!(scene.fill().await, 1);
    // While the carrier is asked for one more.
    carrier.fail(Step::Buy, Fault::DoAndHang);
    let buying = async {
        while carrier.count(Step::Buy) < 6 {
            tokio::task::yield_now().await
        }
    };
    tokio::select! {
        filled = scene.fill() => panic!("{filled}"),
        () = buying => {}
    }
    for _ in 0..2 {
        let cancelled = scene.cancel(&order).await.expect(200).json;
        assert_eq!((&cancelled["state"], &cancelled["error"]), (&json!("cancelled"), &json!("")));
        assert!(cancelled["finished_at"].is_string());
    }
    assert_eq!((scene.fill().await, scene.release().await, carrier.owned().len()), (0, 5, 1));
    scene.pass(60);
    assert_eq!((scene.release().await, carrier.owned().len()), (1, 0));
    scene.assert_nothing_left().await;
}

#[tokio::test]
async fn an_order_that_is_cancelled_during_a_purchase_buys_no_more() {
    let (scene, carrier) = Scene::modelled(30).await;
    let order = scene.order(20).await;
    carrier.fail(Step::Buy, Fault::DoAndFail(500));
    let asked = async {
        carrier.saw(Step::Buy).await;
        scene.cancel(&order).await.expect(200)
    };
    let (filled, _) = tokio::join!(scene.fill(), asked);
    assert_eq!(filled, 1);
    let bought = carrier.owned().len();
    assert!(bought < 5, "{bought}");
    scene.pass(60);
    assert_eq!((scene.release().await, carrier.owned().len()), (bought, 0));
    scene.assert_nothing_left().await;
}

#[tokio::test]
async fn a_pool_gets_more_numbers_by_an_order() {
    let (scene, carrier) = Scene::modelled(60).await;
    let pool = scene.present(3).await;
    let more = |count: usize| json!({ "numbers": { "buy": { "count": count } } });
    let at = format!("{pool}/numbers");
    let begun = scene.post(&at, &more(11)).await.expect(202).json;
    assert_eq!((&begun["kind"], &begun["wanted"]), (&json!("grow"), &json!(11)));
    assert_eq!(format!("/trackers/{}", begun["tracker_id"]), pool);
    for again in [1, 11] {
        let refused = scene.post(&at, &more(again)).await.expect_problem(409, "conflict");
        assert!(refused.json["detail"].as_str().unwrap().contains(&format!("order {}", begun["id"])));
    }
    assert_eq!(scene.fill().await, 1);
    assert_eq!(scene.get(&pool).await.expect(200).json["number_pool_size"], 3);
    while scene.fill().await > 0 {}
    let grown = scene.get(&pool).await.expect(200).json;
    assert_eq!(numbers(&grown), carrier.owned().into_iter().collect());
    assert_eq!((numbers(&grown).len(), scene.told().await.len()), (14, 2));
    assert_eq!(scene.told().await[1], "tracker.updated");
    // Then there may be another one, of up to ten at once too.
    assert_eq!(scene.post(&at, &more(2)).await.expect(200).json["number_pool_size"], 16);
    let answer = scene.post(&at, &more(485)).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["numbers"]);
    scene.post("/trackers/999/numbers", &more(11)).await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn only_a_pool_has_many_numbers() {
    let (scene, _carrier) = Scene::modelled(60).await;
    let flyer = json!({ "name": "Flyer", "destination": DESTINATION, "numbers": { "buy": {} } });
    let made = scene.post("/trackers", &flyer).await.expect(201);
    let at = format!("/trackers/{}", made.json["id"]);
    let more = json!({ "numbers": { "buy": { "count": 11 } } });
    let answer = scene.post(&format!("{at}/numbers"), &more).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["numbers"]);
    let size = json!({ "number_pool_size": 2 });
    let answer = scene.company.api.patch(&scene.company.path(&at), &size).await.expect(400);
    assert_eq!(answer.fields(), ["number_pool_size"]);
}

#[tokio::test]
async fn deleting_the_tracker_cancels_the_order_and_ends_the_leases() {
    let (scene, carrier) = Scene::modelled(60).await;
    let pool = scene.present(3).await;
    let more = json!({ "numbers": { "buy": { "count": 20 } } });
    let begun = scene.post(&format!("{pool}/numbers"), &more).await.expect(202).json;
    assert_eq!(scene.fill().await, 1);
    assert_eq!(take(&scene, &pool, 1).await, How::Free);
    scene.company.api.delete(&scene.company.path(&pool)).await.expect(204);
    let order = format!("/number-orders/{}", begun["id"]);
    assert_eq!(scene.look(&order).await, state("cancelled", 5, "its tracker was deleted"));
    assert_eq!((scene.release().await, carrier.owned().len()), (8, 0));
    assert_eq!(count(&scene.app, "leases where ended_at is null").await, 0);
    assert_eq!(take(&scene, &pool, 1).await, How::Empty);
}

#[tokio::test]
async fn an_order_does_not_outlive_its_account_nor_its_company() {
    let (scene, carrier) = Scene::modelled(60).await;
    let order = scene.order(20).await;
    assert_eq!(scene.fill().await, 1);
    let account = scene.company.path(&format!("/carriers/{}", scene.get("/carriers").await.ids()[0]));
    scene.app.api.delete(&scene.company.path("")).await.expect_problem(409, "conflict");
    assert_eq!(scene.look(&order).await.0, "buying");
    scene.company.api.delete(&account).await.expect_problem(409, "conflict");
    assert_eq!(scene.look(&order).await, state("cancelled", 5, "its carrier account was removed"));
    assert_eq!((scene.release().await, carrier.owned().len()), (5, 0));
    scene.company.api.delete(&account).await.expect(204);
    scene.app.api.delete(&scene.company.path("")).await.expect(204);
    assert_eq!(count(&scene.app, "purchases").await, 0);
}

#[tokio::test]
async fn an_account_with_numbers_keeps_its_orders_when_it_can_not_be_removed() {
    let (scene, _carrier) = Scene::modelled(60).await;
    scene.present(2).await;
    let order = scene.order(20).await;
    let account = scene.company.path(&format!("/carriers/{}", scene.get("/carriers").await.ids()[0]));
    scene.company.api.delete(&account).await.expect_problem(409, "conflict");
    assert_eq!(scene.look(&order).await.0, "buying");
}

#[tokio::test]
async fn a_destination_that_became_a_tracking_number_fails_the_order() {
    let (scene, carrier) = Scene::modelled(30).await;
    let order = scene.order(11).await;
    assert_eq!(scene.fill().await, 1);
    carrier.give(DESTINATION, "");
    let flyer =
        json!({ "name": "Flyer", "destination": "+18125550101", "numbers": { "attach": [DESTINATION] } });
    let made = scene.post("/trackers", &flyer).await.expect(201);
    while scene.fill().await > 0 {}
    let why = "the destination is a tracking number: calls would go round";
    assert_eq!(scene.look(&order).await, state("failed", 11, why));
    assert_eq!((scene.release().await, carrier.owned()), (11, vec![DESTINATION.to_owned()]));
    assert_eq!(scene.get("/trackers").await.ids(), [made.json["id"].as_i64().unwrap()]);
}

#[tokio::test]
async fn orders_are_the_companys_own_and_not_too_many() {
    let (scene, _carrier) = Scene::modelled(60).await;
    let mut orders = Vec::new();
    for _ in 0..10 {
        orders.push(scene.order(11).await);
    }
    scene.post("/trackers", &pool(11)).await.expect_problem(409, "conflict");
    scene.cancel(&orders[0]).await.expect(200);
    scene.order(11).await;
    let page = scene.get("/number-orders?limit=2").await.expect(200);
    let rest = format!("/number-orders?limit=500&after={}", page.json["next"].as_str().unwrap());
    assert_eq!((page.ids(), scene.get(&rest).await.ids().len()), (vec![11, 10], 9));

    let other = scene.app.company("Other").await;
    let theirs = other.path(&orders[1]);
    other.reader.get(&theirs).await.expect_problem(404, "not-found");
    other.api.patch(&theirs, &json!({ "state": "cancelled" })).await.expect_problem(404, "not-found");
    assert_eq!(other.reader.get(&other.path("/number-orders")).await.ids(), [] as [i64; 0]);
    let done = json!({ "state": "done" });
    scene.company.api.patch(&scene.company.path(&orders[1]), &done).await.expect(400);
    let unchanged = scene.company.api.patch(&scene.company.path(&orders[1]), &json!({})).await.expect(200);
    assert_eq!(unchanged.json["state"], "buying");
}

/// How a visitor of his own comes by a number of the pool.
async fn take(scene: &Scene, tracker: &str, visitor: i64) -> How {
    let tracker = TrackerId(tracker.rsplit('/').next().unwrap().parse().unwrap());
    let (scope, pool) = (scene.company.scope, Pool { tracker, terms: Terms::default() });
    let guest = Guest { session: SessionId(visitor), visitor: VisitorId(visitor), may_take: true };
    scene.app.write(move |tx| pool::take(tx, scope, &pool, guest)).await.how
}

#[tokio::test]
async fn a_pool_gets_smaller_by_the_numbers_that_nobody_has() {
    let (scene, carrier) = Scene::modelled(60).await;
    let pool = scene.present(5).await;
    for visitor in 1..=3 {
        assert_eq!(take(&scene, &pool, visitor).await, How::Free);
    }
    let resize = async |body: Json| scene.company.api.patch(&scene.company.path(&pool), &body).await;
    let refused = resize(json!({ "number_pool_size": 2, "name": "Smaller" })).await;
    let refused = refused.expect_problem(409, "conflict");
    let why =
        "only 2 of 3 numbers can be released now; the others are visitors' until 2026-03-09T09:45:00.000000Z";
    assert_eq!(refused.json["detail"], why);
    assert_eq!(scene.get(&pool).await.expect(200).json["name"], "Web site");

    let before = numbers(&scene.get(&pool).await.expect(200).json);
    let smaller = resize(json!({ "number_pool_size": 3, "name": "Smaller" })).await.expect(200).json;
    assert_eq!((&smaller["number_pool_size"], &smaller["name"]), (&json!(3), &json!("Smaller")));
    assert_eq!(scene.told().await, ["tracker.created", "tracker.updated"]);
    assert_eq!(count(&scene.app, "leases where ended_at is null").await, 3);
    assert_eq!(scene.release().await, 2);
    assert_eq!(numbers(&smaller), carrier.owned().into_iter().collect());
    for gone in before.difference(&numbers(&smaller)) {
        let (gone, account) = (
            gone.clone(),
            scene.app.write(|tx| tx.one::<(CarrierId,)>(sql("select id from carriers"))).await.0,
        );
        let routed = scene.app.write(move |tx| route::find(tx, account, &gone)).await;
        assert!(routed.is_none(), "its calls aren't ours any more");
    }

    // Behind hold, grace and cool-down all are free; the visitor who was there last keeps the number longest.
    scene.pass(60);
    assert_eq!(take(&scene, &pool, 1).await, How::Held);
    scene.pass(44 * 60);
    let smallest = resize(json!({ "number_pool_size": 2 })).await.expect(200).json;
    assert_eq!(count(&scene.app, "leases where ended_at is not null").await, 1);
    assert_eq!(take(&scene, &pool, 1).await, How::Held);
    assert_eq!((scene.release().await, numbers(&smallest).len()), (1, 2));
}

#[tokio::test]
async fn a_change_of_settings_never_buys() {
    let (scene, carrier) = Scene::modelled(60).await;
    let pool = scene.present(3).await;
    let resize = async |size: i64| {
        scene.company.api.patch(&scene.company.path(&pool), &json!({ "number_pool_size": size })).await
    };
    for size in [1, 4, 501] {
        assert_eq!(resize(size).await.expect_problem(400, "validation").fields(), ["number_pool_size"]);
    }
    resize(3).await.expect(200);
    assert_eq!((scene.told().await.len(), carrier.owned().len()), (1, 3));
}

#[tokio::test]
async fn a_pool_takes_many_numbers_that_the_account_has() {
    let (scene, carrier) = Scene::modelled(0).await;
    let own = stock(50);
    for number in &own {
        carrier.give(number, "");
    }
    let mut body = pool(50);
    body["numbers"] = json!({ "attach": own });
    let made = scene.post("/trackers", &body).await.expect(201);
    assert_eq!(numbers(&made.json), carrier.owned().into_iter().collect());
    for number in &own {
        assert!(PhoneNumber::from_e164(number).is_some());
        assert!(carrier.setting(number, "VoiceUrl").unwrap().ends_with("/voice"));
    }
    body["numbers"] = json!({ "attach": stock(51) });
    let answer = scene.post("/trackers", &body).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["numbers.attach"]);
}
