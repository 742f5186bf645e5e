//! Replays: a range of finished deliveries is sent again, bit by bit.

use std::collections::HashMap;
use std::time::Duration;

use calltracker::kernel::id::WebhookId;
use calltracker::webhooks::replays::{Round, round};
use serde_json::{Value as Json, json};

use crate::support::deliveries::{active, append, count, finish, pause, unverified};
use crate::support::receiver::Receiver;
use crate::support::{START, TestApp, TestCompany};

fn path(company: &TestCompany, webhook: WebhookId) -> String {
    company.path(&format!("/webhooks/{webhook}/replays"))
}

/// Asks for a replay of everything there is.
async fn begin(company: &TestCompany, webhook: WebhookId, more: Json) -> Json {
    let mut body = json!({ "from": START });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    company.api.post(&path(company, webhook), &body).await.expect(201).json
}

async fn look(company: &TestCompany, webhook: WebhookId, replay: &Json) -> Json {
    company.reader.get(&format!("{}/{}", path(company, webhook), replay["id"])).await.expect(200).json
}

/// A webhook that has finished so many deliveries; the clock has gone on since.
async fn finished(app: &TestApp, company: &TestCompany, events: i64) -> WebhookId {
    let receiver = Receiver::start().await;
    let id = active(app, company, &receiver).await;
    append(app, company, events).await;
    finish(app, id, "delivered").await;
    app.advance(Duration::from_secs(1));
    id
}

#[tokio::test]
async fn a_replay_sends_everything_once_more_under_the_same_ids() {
    let app = TestApp::start().await;
    let (company, receiver) = (app.company("Acme").await, Receiver::start().await);
    let id = active(&app, &company, &receiver).await;
    append(&app, &company, 200).await;
    receiver.wait_for_events(200).await;
    while count(&app, "finished_deliveries").await < 200 {}
    app.advance(Duration::from_secs(1));
    let begun = begin(&company, id, json!({})).await;
    assert_eq!(begun["states"], json!(["delivered", "exhausted", "expired"]));
    assert_eq!(
        (&begun["created_by"], &begun["to"]),
        (&json!("writer"), &json!("2026-03-09T09:00:01.000000Z"))
    );
    let done = loop {
        let shown = look(&company, id, &begun).await;
        if shown["state"] == "done" {
            break shown;
        }
    };
    assert_eq!((&done["queued"], &done["pending"], &done["progress"]), (&json!(200), &json!(0), &json!(1.0)));
    assert!(done["finished_at"].is_string());
    let mut sends: HashMap<String, usize> = HashMap::new();
    for arrived in receiver.wait_for_events(400).await {
        *sends.entry(arrived.id().to_owned()).or_default() += 1;
    }
    assert_eq!(sends.len(), 200);
    assert!(sends.values().all(|n| *n == 2), "none is replayed twice");
    assert_eq!(count(&app, "finished_deliveries where attempts = 2 and state = 'delivered'").await, 200);
}

#[tokio::test]
async fn only_a_few_are_pending_at_a_time_and_the_cursor_takes_none_twice() {
    let app = TestApp::quiet(|_| {}).await;
    let company = app.company("Acme").await;
    let id = finished(&app, &company, 150).await;
    let begun = begin(&company, id, json!({})).await;
    for (queued, pending) in [(64, 64), (128, 64), (150, 22)] {
        assert_eq!(round(&app.ctx.db).await.unwrap(), Round::Moved);
        let shown = look(&company, id, &begun).await;
        assert_eq!((&shown["queued"], &shown["pending"]), (&json!(queued), &json!(pending)));
        assert_eq!(shown["state"], "running");
        // The clock stands still: those that are finished again lie in the range like the others.
        finish(&app, id, "delivered").await;
    }
    while round(&app.ctx.db).await.unwrap() == Round::Moved {}
    assert_eq!(round(&app.ctx.db).await.unwrap(), Round::NothingRuns);
    let done = look(&company, id, &begun).await;
    assert_eq!(
        (&done["state"], &done["queued"], &done["progress"]),
        (&json!("done"), &json!(150), &json!(1.0))
    );
    assert_eq!(count(&app, "finished_deliveries where attempts = 2").await, 150);
}

#[tokio::test]
async fn nothing_more_is_fed_while_its_own_are_pending() {
    let app = TestApp::quiet(|_| {}).await;
    let company = app.company("Acme").await;
    let id = finished(&app, &company, 100).await;
    let begun = begin(&company, id, json!({})).await;
    assert_eq!(round(&app.ctx.db).await.unwrap(), Round::Moved);
    assert_eq!(round(&app.ctx.db).await.unwrap(), Round::Stuck);
    assert_eq!(look(&company, id, &begun).await["pending"], 64);
}

#[tokio::test]
async fn only_the_chosen_states_in_the_range_are_replayed() {
    let app = TestApp::quiet(|_| {}).await;
    let (company, receiver) = (app.company("Acme").await, Receiver::start().await);
    let id = active(&app, &company, &receiver).await;
    for state in ["delivered", "exhausted", "expired", "exhausted"] {
        append(&app, &company, 2).await;
        finish(&app, id, state).await;
        app.advance(Duration::from_secs(60));
    }
    append(&app, &company, 1).await;
    app.advance(Duration::from_secs(60));
    for (range, queued) in [
        (json!({ "states": ["exhausted"] }), 4),
        (json!({ "states": ["exhausted", "expired"], "to": "2026-03-09T09:02:01Z" }), 4),
        (json!({ "from": "2026-03-09T09:01:00Z", "to": "2026-03-09T09:03:00Z" }), 4),
        (json!({ "states": ["cancelled"] }), 0),
        (json!({ "to": "2027-01-01" }), 8),
    ] {
        let begun = begin(&company, id, range.clone()).await;
        while round(&app.ctx.db).await.unwrap() == Round::Moved {}
        let shown = look(&company, id, &begun).await;
        assert_eq!(shown["queued"], queued, "{range}");
        assert_eq!(
            count(&app, "deliveries where replay_id is null").await,
            1,
            "what is pending is left alone"
        );
        app.write(|tx| {
            use calltracker::db::sql;
            tx.execute(sql("insert into finished_deliveries (webhook_id, event_id, company_id, event_type, state,
                            attempts, created_at, finished_at)
                            select d.webhook_id, d.event_id, d.company_id, d.event_type,
                            case (d.event_id - 1) / 2 when 0 then 'delivered' when 2 then 'expired' else 'exhausted' end,
                            d.attempts, d.created_at, d.created_at from deliveries d where d.replay_id is not null"))?;
            tx.execute(sql("delete from deliveries where replay_id is not null"))
        })
        .await;
        while round(&app.ctx.db).await.unwrap() != Round::NothingRuns {}
    }
}

#[tokio::test]
async fn a_replay_waits_while_its_webhook_is_not_active() {
    let app = TestApp::quiet(|_| {}).await;
    let company = app.company("Acme").await;
    let id = finished(&app, &company, 3).await;
    pause(&app, &company, id, true).await;
    let begun = begin(&company, id, json!({})).await;
    assert_eq!((&begun["state"], &begun["progress"]), (&json!("waiting"), &json!(0.0)));
    assert_eq!(round(&app.ctx.db).await.unwrap(), Round::Stuck);
    assert_eq!(look(&company, id, &begun).await["queued"], 0);
    pause(&app, &company, id, false).await;
    assert_eq!(round(&app.ctx.db).await.unwrap(), Round::Moved);
    let shown = look(&company, id, &begun).await;
    assert_eq!(
        (&shown["state"], &shown["queued"], &shown["pending"]),
        (&json!("running"), &json!(3), &json!(3))
    );
}

#[tokio::test]
async fn one_runs_at_a_time_and_can_be_cancelled() {
    let app = TestApp::quiet(|_| {}).await;
    let company = app.company("Acme").await;
    let id = finished(&app, &company, 100).await;
    let first = begin(&company, id, json!({})).await;
    assert_eq!(round(&app.ctx.db).await.unwrap(), Round::Moved);
    let body = json!({ "from": START });
    let refused = company.api.post(&path(&company, id), &body).await.expect_problem(409, "conflict");
    assert!(
        refused.json["detail"].as_str().unwrap().contains(&format!("replay {}", first["id"])),
        "{}",
        refused.text
    );

    let one = format!("{}/{}", path(&company, id), first["id"]);
    assert_eq!(company.api.patch(&one, &json!({})).await.expect(200).json["state"], "running");
    for _ in 0..2 {
        let cancelled = company.api.patch(&one, &json!({ "state": "cancelled" })).await.expect(200).json;
        assert_eq!((&cancelled["state"], &cancelled["pending"]), (&json!("cancelled"), &json!(64)));
    }
    assert_eq!(round(&app.ctx.db).await.unwrap(), Round::NothingRuns);
    finish(&app, id, "delivered").await;
    let second = begin(&company, id, json!({ "states": ["exhausted"] })).await;
    while round(&app.ctx.db).await.unwrap() != Round::NothingRuns {}
    let done = format!("{}/{}", path(&company, id), second["id"]);
    company.api.patch(&done, &json!({ "state": "cancelled" })).await.expect_problem(409, "conflict");
    let page = company.reader.get(&format!("{}?limit=1", path(&company, id))).await.expect(200);
    assert_eq!(page.ids(), [second["id"].as_i64().unwrap()]);
    let rest = format!("{}?after={}", path(&company, id), page.json["next"].as_str().unwrap());
    assert_eq!(company.reader.get(&rest).await.expect(200).ids(), [first["id"].as_i64().unwrap()]);
}

#[tokio::test]
async fn deleting_the_webhook_cancels_its_replay() {
    let app = TestApp::quiet(|_| {}).await;
    let company = app.company("Acme").await;
    let id = finished(&app, &company, 1).await;
    let begun = begin(&company, id, json!({})).await;
    company.api.delete(&company.path(&format!("/webhooks/{id}"))).await.expect(204);
    assert_eq!(round(&app.ctx.db).await.unwrap(), Round::NothingRuns);
    assert_eq!(count(&app, "replays where state = 'cancelled' and finished_at is not null").await, 1);
    let one = format!("{}/{}", path(&company, id), begun["id"]);
    company.reader.get(&one).await.expect_problem(404, "not-found");
    company.reader.get(&path(&company, id)).await.expect_problem(404, "not-found");
    company.api.post(&path(&company, id), &json!({ "from": START })).await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn a_range_that_cannot_be_is_refused() {
    let app = TestApp::quiet(|_| {}).await;
    let company = app.company("Acme").await;
    let id = unverified(&app, &company, "https://192.0.2.1/").await;
    for (body, fields) in [
        (json!({}), &["from"][..]),
        (json!({ "from": "2026-03-10" }), &["from"]),
        (json!({ "from": "2026-03-09T08:00:00Z", "to": "2026-03-09T08:00:00Z" }), &["from"]),
        (json!({ "from": "yesterday", "to": 7, "states": ["held"] }), &["from", "states[0]", "to"]),
        (json!({ "from": "2026-03-01", "states": [] }), &["states"]),
    ] {
        let answer = company.api.post(&path(&company, id), &body).await.expect_problem(400, "validation");
        let mut told = answer.fields();
        told.sort();
        assert_eq!(told, fields, "{body}");
    }
    let begun = begin(&company, id, json!({ "from": "2026-03-01" })).await;
    assert_eq!(begun["from"], "2026-03-01T05:00:00.000000Z", "a day begins in the company's zone");
    assert_eq!(begun["state"], "waiting");
}
