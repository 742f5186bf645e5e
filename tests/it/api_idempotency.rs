//! `Idempotency-Key`: once is enough, whatever happens in between.

use std::time::Duration;

use calltracker::db::sql;
use calltracker::http::api::idempotency::sweep;
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::support::TestApp;
use crate::support::carrier::{Carrier, Fault, Step};
use crate::support::world::{ACCOUNT_SID, AUTH_TOKEN, DESTINATION};

fn company(name: &str) -> Json {
    json!({ "name": name, "time_zone": "UTC", "country": "US" })
}

#[tokio::test]
async fn the_same_request_is_answered_the_same_and_done_once() {
    let app = TestApp::start().await;
    let first = app.api.post_once("/companies", &company("Acme"), "k1").await.expect(201);
    assert_eq!(first.header("idempotent-replayed"), None);
    app.advance(Duration::from_secs(23 * 3600));
    let again = app.api.post_once("/companies", &company("Acme"), "k1").await.expect(201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.text, first.text);
    assert_eq!(app.api.get("/companies").await.ids().len(), 1);
    app.api.post_once("/companies", &company("Acme"), "k2").await.expect(201);
    app.api.post("/companies", &company("Acme")).await.expect(201);
    assert_eq!(app.api.get("/companies").await.ids().len(), 3);
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_token() {
    let app = TestApp::start().await;
    app.api.post_once("/companies", &company("Acme"), "k").await.expect(201);
    let other = app.api.post_once("/companies", &company("Other"), "k").await;
    other.expect_problem(422, "idempotency-key-reused");
    let token = app.write(|tx| calltracker::auth::create(tx, "second", None, true)).await;
    let second = app.api.with_token(&token);
    let answer = second.post_once("/companies", &company("Other"), "k").await.expect(201);
    assert_eq!(answer.header("idempotent-replayed"), None);
}

#[tokio::test]
async fn a_refused_request_uses_no_key_up() {
    let app = TestApp::start().await;
    app.api.post_once("/companies", &json!({}), "k").await.expect(400);
    app.api.post_once("/companies", &company("Acme"), "k").await.expect(201);
}

#[tokio::test]
async fn many_at_once_make_one_company() {
    let app = TestApp::start().await;
    let requests = (0..24).map(|_| {
        let api = app.api.clone();
        tokio::spawn(async move { api.post_once("/companies", &company("Acme"), "k").await })
    });
    let mut made = Vec::new();
    for answer in futures_util::future::join_all(requests.collect::<Vec<_>>()).await {
        let answer = answer.expect("the request was sent");
        match answer.status {
            201 => made.push(answer),
            _ => drop(answer.expect_problem(409, "in-progress")),
        }
    }
    assert_eq!(made.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).count(), 1);
    assert!(made.iter().all(|answer| answer.text == made[0].text));
    assert_eq!(app.api.get("/companies").await.ids().len(), 1);
}

/// What a crash between the claim and the answer leaves.
async fn forget_the_answer(app: &TestApp) {
    app.write(|tx| tx.execute(sql("update idempotency_keys set status = null, answer = null"))).await;
}

#[tokio::test]
async fn what_a_crash_left_is_taken_over_after_a_minute() {
    let app = TestApp::start().await;
    app.api.post_once("/companies", &company("Acme"), "k").await.expect(201);
    forget_the_answer(&app).await;
    app.advance(Duration::from_secs(59));
    let answer =
        app.api.post_once("/companies", &company("Acme"), "k").await.expect_problem(409, "in-progress");
    assert_eq!(answer.header("retry-after"), Some("1"));
    app.advance(Duration::from_secs(1));
    app.api
        .post_once("/companies", &company("Other"), "k")
        .await
        .expect_problem(422, "idempotency-key-reused");
    let answer = app.api.post_once("/companies", &company("Acme"), "k").await.expect(201);
    assert_eq!(answer.header("idempotent-replayed"), None);
}

#[tokio::test]
async fn a_failure_of_the_server_is_not_kept() {
    let app = TestApp::start().await;
    app.write(|tx| tx.execute(sql("alter table companies rename to elsewhere"))).await;
    let answer = app.api.post_once("/companies", &company("Acme"), "k").await.expect_problem(500, "internal");
    assert!(!answer.text.contains("companies"), "{}", answer.text);
    app.write(|tx| tx.execute(sql("alter table elsewhere rename to companies"))).await;
    let answer = app.api.post_once("/companies", &company("Acme"), "k").await.expect(201);
    assert_eq!(answer.header("idempotent-replayed"), None);
}

#[tokio::test]
async fn keys_expire_after_a_day_and_are_swept() {
    let app = TestApp::start().await;
    app.api.post_once("/companies", &company("Acme"), "k").await.expect(201);
    app.advance(Duration::from_secs(24 * 3600));
    app.api.post_once("/companies", &company("Other"), "k").await.expect(201);
    app.api.post_once("/companies", &company("Third"), "k3").await.expect(201);
    assert_eq!(sweep(&app.ctx).await.expect("it sweeps"), 0);
    app.advance(Duration::from_secs(24 * 3600));
    assert_eq!(sweep(&app.ctx).await.expect("it sweeps"), 2);
}

#[tokio::test]
async fn stored_answers_are_sealed() {
    let app = TestApp::start().await;
    app.api.post_once("/companies", &company("Secretive"), "k").await.expect(201);
    let (answer,) = app.write(|tx| tx.one::<(Vec<u8>,)>(sql("select answer from idempotency_keys"))).await;
    assert!(!String::from_utf8_lossy(&answer).contains("Secretive"));
}

#[tokio::test]
async fn odd_keys_are_refused() {
    let app = TestApp::start().await;
    for key in ["", "a b", &"k".repeat(256)] {
        let request = app.api.request(Method::POST, "/companies").json(&company("Acme"));
        let answer = app.api.send(request.header("Idempotency-Key", key)).await;
        assert_eq!(answer.expect_problem(400, "validation").fields(), ["Idempotency-Key"]);
    }
    let request = app.api.request(Method::POST, "/companies").json(&company("Acme"));
    let twice = request.header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    app.api.send(twice).await.expect_problem(400, "validation");
}

#[tokio::test]
async fn work_that_takes_long_is_not_taken_over_while_it_runs() {
    let app = TestApp::start().await;
    let (company, carrier) = (app.company("Acme").await, Carrier::start().await);
    carrier.put_on_sale(&["+12705550101"]);
    let account = json!({ "kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": carrier.url });
    company.api.post(&company.path("/carriers"), &account).await.expect(201);
    carrier.fail(Step::Buy, Fault::DoAndHang);
    let (api, path) = (company.api.clone(), company.path("/trackers"));
    let tracker = json!({ "name": "Flyer", "destination": DESTINATION, "numbers": { "buy": {} } });
    let (first, body) = (path.clone(), tracker.clone());
    tokio::spawn(async move { api.post_once(&first, &body, "k").await });
    carrier.saw(Step::Buy).await;
    app.advance(Duration::from_secs(200));
    company.api.post_once(&path, &tracker, "k").await.expect_problem(409, "in-progress");
    assert_eq!(carrier.count(Step::Buy), 1);
}
