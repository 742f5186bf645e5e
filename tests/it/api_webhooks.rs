//! `/webhooks` and `/deliveries`. What is delivered, when and how is in `webhooks.rs`.

use calltracker::db::sql;
use serde_json::{Value as Json, json};

use crate::support::client::Answer;
use crate::support::receiver::{self, Receiver};
use crate::support::{TestApp, TestCompany};

async fn create(company: &TestCompany, receiver: &Receiver) -> Answer {
    let body = json!({ "target": receiver.url, "events": "all" });
    company.api.post(&company.path("/webhooks"), &body).await.expect(201)
}

fn one(company: &TestCompany, made: &Answer) -> String {
    company.path(&format!("/webhooks/{}", made.json["id"]))
}

#[tokio::test]
async fn a_webhook_is_created_with_its_secret_and_verified_at_once() {
    let app = TestApp::start().await;
    let (company, receiver) = (app.company("Acme").await, Receiver::start().await);
    let made = create(&company, &receiver).await;
    assert_eq!(made.json["status"], "unverified");
    assert!(made.json["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")));
    let arrived = receiver.wait_for(1).await;
    assert_eq!(arrived[0].kind(), "webhook.verification");
    let verified = company.api.post(&format!("{}/verification", one(&company, &made)), &json!({})).await;
    assert_eq!(verified.expect(200).json["status"], "active");
    let shown = company.reader.get(&one(&company, &made)).await.expect(200);
    assert_eq!((&shown.json["status"], shown.json.get("secret")), (&json!("active"), None));
    assert_eq!(company.reader.get(&company.path("/webhooks")).await.json["data"], json!([shown.json]));
}

#[tokio::test]
async fn a_verification_that_fails_says_why() {
    let app = TestApp::start().await;
    let (company, receiver) = (app.company("Acme").await, Receiver::start().await);
    receiver.answer(receiver::Answer::Status(204));
    let made = create(&company, &receiver).await;
    let path = format!("{}/verification", one(&company, &made));
    let refused = company.api.post(&path, &json!({})).await.expect_problem(422, "unprocessable");
    assert!(refused.json["detail"].as_str().is_some_and(|detail| detail.contains("204")), "{}", refused.text);
    let any = json!({ "accept_any_2xx": true });
    company.api.patch(&one(&company, &made), &any).await.expect(200);
    company.api.post(&path, &json!({})).await.expect(200);
}

#[tokio::test]
async fn a_bad_target_and_bad_fields_are_told_together() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let path = company.path("/webhooks");
    for (body, fields) in [
        (json!({ "target": "ftp://x", "events": [] }), &["events", "target"][..]),
        (json!({ "target": "ftp://x" }), &["events", "target"]),
        (
            json!({ "target": "", "events": [], "headers": { "host": "x" } }),
            &["events", "target", "headers.host"],
        ),
        (json!({ "target": 7, "events": "all", "headers": { "host": 1 } }), &["headers.host", "target"]),
    ] {
        let answer = company.api.post(&path, &body).await.expect_problem(400, "validation");
        assert_eq!(answer.fields(), fields, "{body}");
    }
    let body = json!({ "target": "ftp://x", "paused": 1 });
    let answer =
        company.api.patch(&company.path("/webhooks/1"), &body).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["paused", "target"]);
}

#[tokio::test]
async fn a_webhook_that_cannot_be_is_refused_with_every_reason() {
    let app = TestApp::with(|config| config.webhooks.allow_targets.clear()).await;
    let company = app.company("Acme").await;
    let path = company.path("/webhooks");
    for target in [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://[::1]/",
        "http://169.254.169.254/",
        "http://2130706433/",
        "http://10.1.2.3/",
        "ftp://example.com/",
        "https://user:pass@example.com/",
        "nothing",
        "",
    ] {
        let body = json!({ "target": target, "events": "all" });
        let answer = company.api.post(&path, &body).await.expect_problem(400, "validation");
        assert_eq!(answer.fields(), ["target"], "{target}");
    }
    let body = json!({
        "target": "http://127.0.0.1/", "events": ["call.received"],
        "headers": { "webhook-id": "1", "x y": "1", "Host": "a", "X-Fine": "\n" },
    });
    let answer = company.api.post(&path, &body).await.expect_problem(400, "validation");
    assert_eq!(
        answer.fields(),
        ["target", "headers.Host", "headers.X-Fine", "headers.webhook-id", "headers.x y"]
    );
    let body =
        json!({ "events": ["call.received", "call.lost", "call.received"], "rate_per_s": 0, "secret": "x" });
    let answer = company.api.post(&path, &body).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["events[1]", "events[2]", "rate_per_s", "secret", "target"]);
    for events in [json!("some"), json!([]), json!(null), json!({})] {
        let body = json!({ "target": "https://192.0.2.1/", "events": events });
        assert!(company.api.post(&path, &body).await.expect(400).fields().contains(&"events".to_owned()));
    }
    assert_eq!(company.api.get(&path).await.ids(), [] as [i64; 0]);
}

#[tokio::test]
async fn a_webhook_is_changed_paused_resumed_and_deleted() {
    let app = TestApp::start().await;
    let (company, receiver) = (app.company("Acme").await, Receiver::start().await);
    let made = create(&company, &receiver).await;
    let path = one(&company, &made);
    company.api.post(&format!("{path}/verification"), &json!({})).await.expect(200);
    let change = json!({
        "events": ["call.received"], "headers": { "X-Token": "t" }, "rate_per_s": 2.5, "description": "CRM",
    });
    let changed = company.api.patch(&path, &change).await.expect(200);
    for key in ["events", "headers", "rate_per_s", "description"] {
        assert_eq!(changed.json[key], change[key]);
    }
    assert_eq!(changed.json["status"], "active");
    assert_eq!(company.api.patch(&path, &json!({ "rate_per_s": null })).await.json["rate_per_s"], Json::Null);
    assert_eq!(company.api.patch(&path, &json!({ "paused": true })).await.json["status"], "paused");
    assert_eq!(company.api.patch(&path, &json!({ "paused": false })).await.json["status"], "active");
    let moved = json!({ "target": format!("{}/other", receiver.url) });
    assert_eq!(company.api.patch(&path, &moved).await.json["status"], "unverified");
    company.api.delete(&path).await.expect(204);
    for answer in [
        company.api.get(&path).await,
        company.api.patch(&path, &change).await,
        company.api.post(&format!("{path}/verification"), &json!({})).await,
        company.api.post(&format!("{path}/secret"), &json!({})).await,
        company.api.post(&format!("{path}/test"), &json!({ "type": "call.received" })).await,
        company.api.get(&format!("{path}/deliveries")).await,
        company.api.delete(&path).await,
    ] {
        answer.expect_problem(404, "not-found");
    }
}

#[tokio::test]
async fn secrets_are_rotated_and_a_repeated_request_shows_the_same() {
    let app = TestApp::start().await;
    let (company, receiver) = (app.company("Acme").await, Receiver::start().await);
    let made = create(&company, &receiver).await;
    let path = format!("{}/secret", one(&company, &made));
    let first = company.api.post_once(&path, &json!({}), "k").await.expect(200);
    assert_ne!(first.json["secret"], made.json["secret"]);
    let again = company.api.post_once(&path, &json!({}), "k").await.expect(200);
    assert_eq!((again.header("idempotent-replayed"), &again.json), (Some("true"), &first.json));
    let next = company.api.post_once(&path, &json!({}), "k2").await.expect(200);
    assert_ne!(next.json, first.json);
}

#[tokio::test]
async fn a_sample_is_sent_and_counts_nowhere() {
    let app = TestApp::start().await;
    let (company, receiver) = (app.company("Acme").await, Receiver::start().await);
    let made = create(&company, &receiver).await;
    let path = format!("{}/test", one(&company, &made));
    let result = company.api.post(&path, &json!({ "type": "call.finished" })).await.expect(200);
    assert_eq!((&result.json["success"], &result.json["status_code"]), (&json!(true), &json!(200)));
    let sent = receiver.wait_for_events(1).await;
    assert_eq!((sent[0].kind().as_str(), sent[0].json()["object"].clone()), ("call.finished", json!("call")));
    let deliveries = company.api.get(&format!("{}/deliveries", one(&company, &made))).await.expect(200);
    assert_eq!(deliveries.json["data"], json!([]));
    let bad = company.api.post(&path, &json!({ "type": "call" })).await.expect_problem(400, "validation");
    assert_eq!(bad.fields(), ["type"]);
}

#[tokio::test]
async fn deliveries_are_listed_shown_and_sent_again() {
    let app = TestApp::start().await;
    let (company, receiver) = (app.company("Acme").await, Receiver::start().await);
    let made = create(&company, &receiver).await;
    let path = one(&company, &made);
    company.api.post(&format!("{path}/verification"), &json!({})).await.expect(200);
    let event = app.append_event(company.scope, 1).await;
    receiver.wait_for_events(1).await;
    let delivered = loop {
        let page = company.reader.get(&format!("{path}/deliveries?state=delivered")).await.expect(200);
        if let Some(row) = page.json["data"].get(0) {
            break row.clone();
        }
    };
    assert_eq!(delivered["event_id"], event);
    let id = delivered["id"].as_str().expect("its id is a text").to_owned();
    assert_eq!(receiver.events()[0].id(), id);
    let shown = company.reader.get(&format!("{path}/deliveries/{id}")).await.expect(200);
    let attempt = &shown.json["attempt_log"][0];
    assert_eq!((&attempt["number"], &attempt["status_code"]), (&json!(1), &json!(200)));
    assert_eq!(attempt["request_body"], String::from_utf8_lossy(&receiver.events()[0].body).into_owned());

    // Two attempts of one delivery never begin at the same moment.
    app.advance(std::time::Duration::from_secs(1));
    let again = company.api.post(&format!("{path}/deliveries/{id}/resend"), &json!({})).await.expect(202);
    assert_eq!(again.json["state"], "pending");
    let sends = receiver.wait_for_events(2).await;
    assert_eq!((sends[1].id(), &sends[1].body), (sends[0].id(), &sends[0].body));

    for (query, count) in [
        ("type=usage.created", 1),
        ("type=call.received", 0),
        ("from=2026-03-09&to=2026-03-09", 1),
        ("from=2026-03-10", 0),
        ("state=held", 0),
    ] {
        let page = company.reader.get(&format!("{path}/deliveries?{query}")).await.expect(200);
        assert_eq!(page.json["data"].as_array().map(Vec::len), Some(count), "{query}");
    }
    for strange in ["msg_1", "1", "msg_01JNX3Y8AB5V7PD3K0Q2M6R9ST_1"] {
        let missing = format!("{path}/deliveries/{strange}");
        company.reader.get(&missing).await.expect_problem(404, "not-found");
        company.api.post(&format!("{missing}/resend"), &json!({})).await.expect_problem(404, "not-found");
    }
}

#[tokio::test]
async fn attempts_are_summed_up_by_the_minute() {
    let app = TestApp::start().await;
    let (company, receiver) = (app.company("Acme").await, Receiver::start().await);
    let made = create(&company, &receiver).await;
    let path = format!("{}/statistics", one(&company, &made));
    let id = made.json["id"].as_i64().expect("it has an id");
    // 2026-03-09T09:00:00Z is minute 29550780 since 1970.
    app.write(move |tx| {
        for (minute, succeeded, failed, duration) in
            [(29_550_778, 3, 0, 30), (29_550_779, 1, 2, 100), (29_550_780, 0, 1, 15_000)]
        {
            tx.execute(
                sql("insert into webhook_minutes values (?, ?, ?, ?, ?, ?)")
                    .bind(id)
                    .bind(minute)
                    .bind(succeeded)
                    .bind(failed)
                    .bind(duration)
                    .bind(duration),
            )?;
        }
        calltracker::db::Result::Ok(())
    })
    .await;
    let page = company.reader.get(&format!("{path}?limit=2")).await.expect(200);
    let newest = json!({
        "minute": "2026-03-09T09:00:00.000000Z", "succeeded": 0, "failed": 1, "duration_ms_mean": 15_000,
        "duration_ms_max": 15_000,
    });
    assert_eq!(page.json["data"][0], newest);
    assert_eq!(page.json["data"][1]["duration_ms_mean"], 33);
    let next = page.json["next"].as_str().expect("there is a next page");
    let rest = company.reader.get(&format!("{path}?after={next}")).await.expect(200);
    assert_eq!(rest.json["data"].as_array().map(Vec::len), Some(1));
    for (query, count) in [
        ("from=2026-03-09T08:59:00Z&to=2026-03-09T09:00:00Z", 1),
        ("from=2026-03-09", 3),
        ("to=2026-03-08", 0),
        ("from=2026-03-09T08:58:00.000001Z", 2),
    ] {
        let page = company.reader.get(&format!("{path}?{query}")).await.expect(200);
        assert_eq!(page.json["data"].as_array().map(Vec::len), Some(count), "{query}");
    }
    let missing = company.path("/webhooks/999/statistics");
    company.reader.get(&missing).await.expect_problem(404, "not-found");
}
