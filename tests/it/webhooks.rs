//! The delivery engine against real receivers: what is promised in docs/events.md under "Delivery".

use std::collections::HashSet;
use std::time::Duration;

use calltracker::db::{Wake, sql};
use calltracker::events::{self, EventType};
use calltracker::kernel::id::WebhookId;
use calltracker::webhooks::{self, Settings, Status, Subscription};
use serde_json::json;

use crate::support::receiver::{Answer, Arrived, Receiver};
use crate::support::{TestApp, TestCompany, verifier};

/// The contract's gaps, in seconds.
const GAPS_S: [u64; 5] = [55, 330, 1_980, 11_880, 71_280];

fn settings(target: &str) -> Settings {
    Settings::all_to(target)
}

/// A webhook that isn't verified yet, and its secret.
async fn unverified(app: &TestApp, company: &TestCompany, settings: Settings) -> (WebhookId, String) {
    let (scope, key) = (company.scope, app.ctx.key.clone());
    let (webhook, secret) = app.write(move |tx| webhooks::create(tx, scope, &key, &settings)).await;
    (webhook.id, secret.to_text())
}

async fn verify(app: &TestApp, company: &TestCompany, id: WebhookId) -> bool {
    let verdict = webhooks::verify(&app.ctx, company.scope, id).await.unwrap();
    verdict.expect("the webhook exists").success
}

async fn active(app: &TestApp, company: &TestCompany, settings: Settings) -> (WebhookId, String) {
    let made = unverified(app, company, settings).await;
    assert!(verify(app, company, made.0).await);
    made
}

/// Appends an event with this number in its data.
async fn append(app: &TestApp, company: &TestCompany, n: u32) {
    let scope = company.scope;
    let data = json!({"id": n, "text": "naïve 🚿 <script>"});
    app.write(move |tx| events::append(tx, scope, EventType::MessageReceived, &data)).await;
}

fn numbers(arrived: &[Arrived]) -> Vec<u64> {
    arrived.iter().map(|a| a.json()["data"]["id"].as_u64().unwrap()).collect()
}

async fn status(app: &TestApp, company: &TestCompany, id: WebhookId) -> Status {
    let scope = company.scope;
    let found = app.write(move |tx| webhooks::find(tx, scope, id)).await;
    found.expect("the webhook exists").status
}

/// Waits until so many attempts are written down: each question is a transaction behind theirs.
async fn recorded(app: &TestApp, attempts: i64) {
    loop {
        let (count,): (i64,) = app.write(|tx| tx.one(sql("select count(*) from attempts"))).await;
        if count >= attempts {
            return;
        }
    }
}

#[tokio::test]
async fn a_failing_webhook_gets_six_sends_then_holds_and_gets_all_in_order_after_verification() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let receiver = Receiver::start().await;
    let (id, _) = active(&app, &company, settings(&receiver.url)).await;
    receiver.answer(Answer::Status(503));
    append(&app, &company, 0).await;
    receiver.wait_for_events(1).await;
    recorded(&app, 1).await;
    for (sent, gap) in (2..).zip(GAPS_S) {
        assert_eq!(receiver.events().len(), sent - 1, "nothing is sent early");
        app.advance(Duration::from_secs(gap + gap / 100 + 1));
        app.ctx.db.wakes().wake(Wake::Deliveries);
        receiver.wait_for_events(sent).await;
        recorded(&app, i64::try_from(sent).unwrap()).await;
    }
    assert_eq!(status(&app, &company, id).await, Status::Deactivated);

    let sends = receiver.events();
    assert_eq!(sends.len(), 6);
    assert!(sends.iter().all(|s| s.id() == sends[0].id() && s.body == sends[0].body), "same id, same bytes");

    for n in 1..=12 {
        append(&app, &company, n).await;
    }
    let held =
        company.api.get(&company.path(&format!("/webhooks/{id}/deliveries?state=held"))).await.expect(200);
    assert_eq!(held.json["data"].as_array().unwrap().len(), 12);
    assert_eq!(receiver.events().len(), 6, "what is held isn't sent");

    receiver.answer(Answer::Status(200));
    assert!(verify(&app, &company, id).await);
    let all = receiver.wait_for_events(18).await;
    assert_eq!(numbers(&all[6..7]), [1], "the first goes alone, and it is the oldest");
    let mut rest = numbers(&all[7..]);
    rest.sort_unstable();
    assert_eq!(rest, (2..=12).collect::<Vec<_>>());
}

#[tokio::test]
async fn success_on_the_last_try_does_not_deactivate() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let receiver = Receiver::start().await;
    let (id, _) = active(&app, &company, settings(&receiver.url)).await;
    receiver.answer(Answer::Status(204));
    append(&app, &company, 0).await;
    for (sent, gap) in (1..).zip(GAPS_S) {
        receiver.wait_for_events(sent).await;
        recorded(&app, i64::try_from(sent).unwrap()).await;
        if sent == 5 {
            receiver.answer(Answer::Status(200));
        }
        app.advance(Duration::from_secs(gap + gap / 100 + 1));
        app.ctx.db.wakes().wake(Wake::Deliveries);
    }
    receiver.wait_for_events(6).await;
    recorded(&app, 6).await;
    assert_eq!(status(&app, &company, id).await, Status::Active);
    let list = company.api.get(&company.path(&format!("/webhooks/{id}/deliveries"))).await.expect(200);
    assert_eq!(list.json["data"][0]["state"], "delivered");
    assert_eq!(list.json["data"][0]["attempts"], 6);
}

#[tokio::test]
async fn only_200_is_a_success_unless_any_2xx_was_chosen() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    for (answer, any_2xx, success) in [
        (Answer::Status(200), false, true),
        (Answer::Status(201), false, false),
        (Answer::Status(204), false, false),
        (Answer::With(302, "location", "http://127.0.0.1:9/".to_owned()), false, false),
        (Answer::Status(204), true, true),
        (Answer::With(307, "location", "http://127.0.0.1:9/".to_owned()), true, false),
        (Answer::Status(500), true, false),
    ] {
        let receiver = Receiver::start().await;
        receiver.answer(answer.clone());
        let chosen = Settings { accept_any_2xx: any_2xx, ..settings(&receiver.url) };
        let (id, _) = unverified(&app, &company, chosen).await;
        assert_eq!(verify(&app, &company, id).await, success, "{answer:?}");
        assert_eq!(receiver.arrived().len(), 1, "a redirect is not followed");
        let expected = if success { Status::Active } else { Status::Unverified };
        assert_eq!(status(&app, &company, id).await, expected, "{answer:?}");
    }
}

#[tokio::test]
async fn the_official_library_accepts_our_signatures_also_while_a_secret_is_rotated() {
    let app = TestApp::with_real_time().await;
    let company = app.company("Acme").await;
    let receiver = Receiver::start().await;
    let (id, old) = active(&app, &company, settings(&receiver.url)).await;
    append(&app, &company, 1).await;
    let first = receiver.wait_for_events(1).await.remove(0);
    assert!(verifier::accepts(&old, &first), "the secret of a new webhook");
    let (scope, key) = (company.scope, app.ctx.key.clone());
    let rotated = app.write(move |tx| webhooks::rotate_secret(tx, scope, &key, id)).await;
    let new = rotated.expect("the webhook exists").to_text();
    // The engine takes the new secret up with its next look, which this event's wake-up asks for too.
    append(&app, &company, 2).await;
    let second = receiver.wait_for_events(2).await.remove(1);
    assert!(verifier::accepts(&old, &second), "the old secret signs along");
    assert!(verifier::accepts(&new, &second), "the new secret signs");
    let foreign = format!("whsec_{}", "A".repeat(43) + "=");
    assert!(!verifier::accepts(&foreign, &second), "and the library would notice");
}

#[tokio::test]
async fn one_that_hangs_does_not_hold_up_another() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    active(&app, &company, settings(&slow.url)).await;
    active(&app, &company, settings(&quick.url)).await;
    slow.answer(Answer::Hang);
    for n in 0..50 {
        append(&app, &company, n).await;
    }
    quick.wait_for_events(50).await;
    assert!(slow.events().len() <= 8, "a webhook has at most its own cap in flight");
}

#[tokio::test]
async fn a_paused_webhook_holds_and_a_changed_target_must_be_verified_again() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let (id, _) = active(&app, &company, settings(&first.url)).await;
    let scope = company.scope;
    app.write(move |tx| webhooks::set_paused(tx, scope, id, true)).await;
    append(&app, &company, 1).await;
    let changed = settings(&second.url);
    app.write(move |tx| webhooks::update(tx, scope, id, &changed)).await;
    assert_eq!(status(&app, &company, id).await, Status::Unverified);
    app.write(move |tx| webhooks::set_paused(tx, scope, id, false)).await;
    assert_eq!(status(&app, &company, id).await, Status::Unverified, "resuming is no verification");
    append(&app, &company, 2).await;
    assert!(verify(&app, &company, id).await);
    let arrived = second.wait_for_events(2).await;
    assert_eq!(numbers(&arrived), [1, 2]);
    assert_eq!(arrived[0].json()["webhook"], json!({"id": id.0, "target": second.url}));
    assert!(first.events().is_empty());
}

#[tokio::test]
async fn only_subscribed_types_arrive_and_a_deleted_webhook_gets_nothing() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let (some, gone) = (Receiver::start().await, Receiver::start().await);
    let chosen =
        Settings { events: Subscription::Chosen(vec![EventType::MessageSent]), ..settings(&some.url) };
    active(&app, &company, chosen).await;
    let (deleted, _) = active(&app, &company, settings(&gone.url)).await;
    let scope = company.scope;
    app.write(move |tx| webhooks::delete(tx, scope, deleted)).await;
    append(&app, &company, 1).await;
    app.write(move |tx| events::append(tx, scope, EventType::MessageSent, &json!({"id": 2}))).await;
    assert_eq!(numbers(&some.wait_for_events(1).await), [2]);
    assert!(gone.events().is_empty());
}

#[tokio::test]
async fn what_a_deleted_webhook_left_pending_is_cancelled() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let receiver = Receiver::start().await;
    let (id, _) = unverified(&app, &company, settings(&receiver.url)).await;
    append(&app, &company, 1).await;
    append(&app, &company, 2).await;
    let scope = company.scope;
    app.write(move |tx| webhooks::delete(tx, scope, id)).await;
    assert_eq!(webhooks::cancel_orphans(&app.ctx.db).await.unwrap(), 2);
    assert_eq!(webhooks::cancel_orphans(&app.ctx.db).await.unwrap(), 0);
    let (left,): (i64,) = app
        .write(|tx| tx.one(sql("select count(*) from finished_deliveries where state = 'cancelled'")))
        .await;
    assert_eq!(left, 2);
}

#[tokio::test]
async fn another_companys_events_stay_with_it() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.company("Ours").await, app.company("Theirs").await);
    let (our_receiver, their_receiver) = (Receiver::start().await, Receiver::start().await);
    active(&app, &ours, settings(&our_receiver.url)).await;
    let (foreign, _) = active(&app, &theirs, settings(&their_receiver.url)).await;
    append(&app, &theirs, 1).await;
    append(&app, &ours, 2).await;
    assert_eq!(numbers(&our_receiver.wait_for_events(1).await), [2]);
    assert_eq!(numbers(&their_receiver.wait_for_events(1).await), [1]);
    assert!(webhooks::verify(&app.ctx, ours.scope, foreign).await.unwrap().is_none());
}

#[tokio::test]
async fn a_rate_limit_spreads_deliveries_without_costing_tries() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let receiver = Receiver::start().await;
    let limited = Settings { rate_per_s: Some(2.0), ..settings(&receiver.url) };
    let (id, _) = active(&app, &company, limited).await;
    for n in 0..6 {
        append(&app, &company, n).await;
    }
    let mut seen = 2;
    receiver.wait_for_events(seen).await;
    while seen < 6 {
        recorded(&app, i64::try_from(seen).unwrap()).await;
        assert_eq!(receiver.events().len(), seen, "the clock stands still, so no token comes");
        app.advance(Duration::from_secs(1));
        app.ctx.db.wakes().wake(Wake::Deliveries);
        seen += 2;
        receiver.wait_for_events(seen).await;
    }
    recorded(&app, 6).await;
    let list = company.api.get(&company.path(&format!("/webhooks/{id}/deliveries"))).await.expect(200);
    assert!(list.json["data"].as_array().unwrap().iter().all(|d| d["attempts"] == 1), "{}", list.text);
}

#[tokio::test]
async fn a_private_target_is_blocked_and_its_attempt_says_so() {
    let app = TestApp::with(|config| config.webhooks.allow_targets.clear()).await;
    let company = app.company("Acme").await;
    let receiver = Receiver::start().await;
    let (id, _) = unverified(&app, &company, settings(&receiver.url)).await;
    let verdict = webhooks::verify(&app.ctx, company.scope, id).await.unwrap().unwrap();
    assert!(!verdict.success);
    assert_eq!(verdict.outcome.error.map(|kind| kind.as_str()), Some("blocked"));
    assert!(receiver.arrived().is_empty());
}

#[tokio::test]
async fn every_test_event_is_marked_and_counts_nowhere() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let receiver = Receiver::start().await;
    let (id, _) = unverified(&app, &company, settings(&receiver.url)).await;
    for event in EventType::ALL {
        let verdict = webhooks::send_test(&app.ctx, company.scope, id, event).await.unwrap().unwrap();
        assert!(verdict.success);
    }
    let arrived = receiver.wait_for(9).await;
    let kinds: Vec<_> = arrived.iter().map(|a| a.kind()).collect();
    assert_eq!(kinds, EventType::ALL.map(|t| t.as_str().to_owned()));
    assert!(arrived.iter().all(|a| a.headers["webhook-test"] == "true"));
    let counted = "select (select count(*) from deliveries) + (select count(*) from finished_deliveries)";
    let (deliveries,): (i64,) = app.write(move |tx| tx.one(sql(counted))).await;
    assert_eq!(deliveries, 0);
    assert_eq!(status(&app, &company, id).await, Status::Unverified);
}

#[tokio::test]
async fn a_resent_delivery_keeps_its_id_and_starts_a_new_series() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let receiver = Receiver::start().await;
    let (id, _) = active(&app, &company, settings(&receiver.url)).await;
    append(&app, &company, 7).await;
    let first = receiver.wait_for_events(1).await.remove(0);
    recorded(&app, 1).await;
    // Two attempts of one delivery never begin at the same moment.
    app.advance(Duration::from_secs(1));
    let path = company.path(&format!("/webhooks/{id}/deliveries/{}/resend", first.id()));
    company.api.post(&path, &json!({})).await.expect(202);
    let second = receiver.wait_for_events(2).await.remove(1);
    assert_eq!((first.id(), &first.body), (second.id(), &second.body));
    recorded(&app, 2).await;
    let path = company.path(&format!("/webhooks/{id}/deliveries/{}", first.id()));
    let delivery = company.api.get(&path).await.expect(200);
    assert_eq!(delivery.json["state"], "delivered");
    let log = delivery.json["attempt_log"].as_array().unwrap();
    assert_eq!(log.len(), 2);
    assert_eq!(log[0]["request_body"], String::from_utf8(first.body.to_vec()).unwrap());
    assert_eq!(log[0]["request_headers"]["webhook-id"], first.id());
    assert_eq!((&log[0]["status_code"], &log[0]["response_body"]), (&json!(200), &json!("seen")));
}

#[tokio::test]
async fn more_webhooks_than_slots_all_get_their_events() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let receiver = Receiver::start().await;
    for n in 0..80 {
        active(&app, &company, settings(&format!("{}?{n}", receiver.url))).await;
    }
    for n in 0..3 {
        append(&app, &company, n).await;
    }
    let arrived = receiver.wait_for_events(240).await;
    let ids: HashSet<_> = arrived.iter().map(Arrived::id).collect();
    assert_eq!(ids.len(), 240, "each webhook gets each event");
}

#[tokio::test]
async fn a_verification_that_was_under_way_does_not_undo_a_pause() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let receiver = Receiver::start().await;
    let (id, _) = unverified(&app, &company, settings(&receiver.url)).await;
    let scope = company.scope;
    app.write(move |tx| webhooks::set_paused(tx, scope, id, true)).await;
    assert!(verify(&app, &company, id).await);
    assert_eq!(status(&app, &company, id).await, Status::Paused);
    app.write(move |tx| webhooks::set_paused(tx, scope, id, false)).await;
    assert_eq!(status(&app, &company, id).await, Status::Active, "it was verified meanwhile");
}

/// The kinds of the company's alerts, oldest first.
async fn alerts(company: &TestCompany) -> Vec<String> {
    let list = company.api.get(&company.path("/alerts")).await.expect(200);
    let kinds = list.json["data"].as_array().unwrap().iter().rev();
    kinds.map(|alert| alert["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_webhook_that_fails_is_deactivated_and_recovers_is_told_of_once_each() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let receiver = Receiver::start().await;
    let (id, _) = active(&app, &company, settings(&receiver.url)).await;
    receiver.answer(Answer::Status(500));
    append(&app, &company, 0).await;
    append(&app, &company, 1).await;
    recorded(&app, 2).await;
    assert!(alerts(&company).await.is_empty(), "a first send that fails is nothing yet");
    for (round, gap) in (2..).zip(GAPS_S) {
        app.advance(Duration::from_secs(gap + gap / 100 + 1));
        app.ctx.db.wakes().wake(Wake::Deliveries);
        recorded(&app, 2 * round).await;
        let webhook = company.api.get(&company.path(&format!("/webhooks/{id}"))).await.expect(200);
        assert!(webhook.json["failing_since"].is_string(), "{}", webhook.text);
        if round < 6 {
            assert_eq!(alerts(&company).await, ["webhook.failing"]);
        }
    }
    assert_eq!(alerts(&company).await, ["webhook.failing", "webhook.deactivated"]);
    receiver.answer(Answer::Status(200));
    assert!(verify(&app, &company, id).await);
    let told = ["webhook.failing", "webhook.deactivated", "webhook.recovered"];
    assert_eq!(alerts(&company).await, told);
    append(&app, &company, 2).await;
    receiver.wait_for_one(|a| a.json()["data"]["id"] == 2).await;
    recorded(&app, 13).await;
    assert_eq!(alerts(&company).await, told, "a success of one that was well is nothing new");
}

#[tokio::test]
async fn a_success_after_failed_retries_is_a_recovery() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let receiver = Receiver::start().await;
    let (id, _) = active(&app, &company, settings(&receiver.url)).await;
    receiver.answer(Answer::Status(500));
    append(&app, &company, 0).await;
    recorded(&app, 1).await;
    app.advance(Duration::from_secs(60));
    app.ctx.db.wakes().wake(Wake::Deliveries);
    recorded(&app, 2).await;
    assert_eq!(alerts(&company).await, ["webhook.failing"]);
    receiver.answer(Answer::Status(200));
    app.advance(Duration::from_secs(400));
    app.ctx.db.wakes().wake(Wake::Deliveries);
    recorded(&app, 3).await;
    assert_eq!(alerts(&company).await, ["webhook.failing", "webhook.recovered"]);
    let webhook = company.api.get(&company.path(&format!("/webhooks/{id}"))).await.expect(200);
    assert!(webhook.json["failing_since"].is_null(), "{}", webhook.text);
}

#[tokio::test]
async fn deactivating_and_verifying_touch_one_row() {
    // Without an engine, so that nothing else changes the rows.
    let app = TestApp::quiet(|_| {}).await;
    let company = app.company("Acme").await;
    let receiver = Receiver::start().await;
    let (id, _) = active(&app, &company, settings(&receiver.url)).await;
    for n in 0..30 {
        append(&app, &company, n).await;
    }
    let rows = async || {
        let all =
            "select webhook_id, event_id, activation, next_attempt_at from deliveries order by event_id";
        app.write(move |tx| tx.all::<(i64, i64, i64, i64)>(sql(all))).await
    };
    let before = rows().await;
    assert_eq!(before.len(), 30);
    let scope = company.scope;
    app.write(move |tx| webhooks::set_paused(tx, scope, id, true)).await;
    let path = company.path(&format!("/webhooks/{id}/deliveries?state=held"));
    assert_eq!(company.api.get(&path).await.expect(200).json["data"].as_array().unwrap().len(), 30);
    app.write(move |tx| webhooks::set_paused(tx, scope, id, false)).await;
    assert_eq!(status(&app, &company, id).await, Status::Active);
    assert_eq!(rows().await, before);
}
