//! The limits of holding, and what operators see of what waits.

use std::time::Duration;

use calltracker::kernel::id::WebhookId;
use calltracker::webhooks::expire;
use serde_json::{Value as Json, json};

use crate::support::deliveries::{active, append, count, finish, pause, unverified};
use crate::support::receiver::Receiver;
use crate::support::{TestApp, TestCompany};

const DAY: Duration = Duration::from_secs(86_400);

async fn webhook(company: &TestCompany, id: WebhookId) -> Json {
    company.reader.get(&company.path(&format!("/webhooks/{id}"))).await.expect(200).json
}

async fn deliveries(company: &TestCompany, id: WebhookId, state: &str) -> Vec<i64> {
    let path = company.path(&format!("/webhooks/{id}/deliveries?state={state}"));
    let page = company.reader.get(&path).await.expect(200).json;
    page["data"].as_array().unwrap().iter().map(|row| row["event_id"].as_i64().unwrap()).collect()
}

async fn metrics(app: &TestApp) -> String {
    reqwest::get(format!("{}/metrics", app.api.base)).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn what_is_held_for_too_long_expires_and_an_active_webhooks_deliveries_never_do() {
    let app = TestApp::quiet(|_| {}).await;
    let (company, receiver) = (app.company("Acme").await, Receiver::start().await);
    let busy = active(&app, &company, &receiver).await;
    let paused = active(&app, &company, &receiver).await;
    append(&app, &company, 2).await;
    pause(&app, &company, paused, true).await;
    app.advance(DAY);
    append(&app, &company, 1).await;
    app.advance(29 * DAY);
    assert_eq!(expire(&app.ctx).await.unwrap(), 0);
    app.advance(Duration::from_secs(1));
    assert_eq!(expire(&app.ctx).await.unwrap(), 2);
    assert_eq!(expire(&app.ctx).await.unwrap(), 0);
    assert_eq!(deliveries(&company, paused, "expired").await, [2, 1]);
    assert_eq!(deliveries(&company, paused, "held").await, [3]);
    assert_eq!(deliveries(&company, busy, "pending").await, [3, 2, 1]);
    let shown = webhook(&company, paused).await;
    assert_eq!((&shown["expired"], &shown["expired_at"]), (&json!(2), &json!("2026-04-08T09:00:01.000000Z")));
    assert_eq!(webhook(&company, busy).await["expired"], 0);
    assert!(metrics(&app).await.contains("calltracker_webhook_deliveries_expired_total 2"));
}

#[tokio::test]
async fn beyond_the_number_that_is_held_the_oldest_expire() {
    let app = TestApp::quiet(|config| config.webhooks.hold_max = 3).await;
    let company = app.company("Acme").await;
    let id = unverified(&app, &company, "https://192.0.2.1/").await;
    append(&app, &company, 3).await;
    assert_eq!(expire(&app.ctx).await.unwrap(), 0);
    append(&app, &company, 2).await;
    assert_eq!(expire(&app.ctx).await.unwrap(), 2);
    assert_eq!(deliveries(&company, id, "expired").await, [2, 1]);
    assert_eq!(deliveries(&company, id, "held").await, [5, 4, 3]);
}

#[tokio::test]
async fn more_than_a_transactions_worth_expires_in_one_run() {
    let app = TestApp::quiet(|config| config.webhooks.hold_max = 10).await;
    let company = app.company("Acme").await;
    unverified(&app, &company, "https://192.0.2.1/").await;
    append(&app, &company, 1_210).await;
    assert_eq!(expire(&app.ctx).await.unwrap(), 1_200);
    assert_eq!(count(&app, "deliveries where event_id > 1200").await, 10);
    assert_eq!(count(&app, "finished_deliveries where state = 'expired' and attempts = 0").await, 1_200);
}

#[tokio::test]
async fn an_old_one_that_was_sent_again_by_hand_is_held_from_then() {
    let app = TestApp::quiet(|_| {}).await;
    let (company, receiver) = (app.company("Acme").await, Receiver::start().await);
    let id = active(&app, &company, &receiver).await;
    append(&app, &company, 1).await;
    finish(&app, id, "exhausted").await;
    pause(&app, &company, id, true).await;
    app.advance(40 * DAY);
    let path = company.path(&format!("/webhooks/{id}/deliveries"));
    let page = company.reader.get(&path).await.expect(200).json;
    let delivery = page["data"][0]["id"].as_str().unwrap();
    company.api.post(&format!("{path}/{delivery}/resend"), &json!({})).await.expect(202);
    assert_eq!(expire(&app.ctx).await.unwrap(), 0);
    app.advance(30 * DAY + Duration::from_secs(1));
    assert_eq!(expire(&app.ctx).await.unwrap(), 1);
}

#[tokio::test]
async fn operators_see_what_waits() {
    let app = TestApp::quiet(|_| {}).await;
    let (company, receiver) = (app.company("Acme").await, Receiver::start().await);
    let shared = app.ctx.db.is_shared();
    let shard = |id: WebhookId| if shared { format!("{{shard=\"{id}\"}}") } else { "{}".to_owned() };
    let (busy, held) =
        (active(&app, &company, &receiver).await, unverified(&app, &company, "https://192.0.2.1/").await);
    append(&app, &company, 2).await;
    app.advance(Duration::from_secs(90));
    append(&app, &company, 1).await;
    let text = metrics(&app).await;
    for line in [
        format!("calltracker_webhook_deliveries_pending{} 3\n", shard(busy)),
        format!("calltracker_webhook_deliveries_oldest_pending_seconds{} 90\n", shard(busy)),
        format!("calltracker_webhook_deliveries_held{} 3\n", shard(held)),
    ] {
        assert!(text.contains(&line), "{line}{text}");
    }
}
