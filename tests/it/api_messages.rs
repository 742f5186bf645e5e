//! `/messages`, against a modelled carrier.

use std::time::Duration;

use calltracker::db::sql;
use serde_json::json;

use crate::support::TestApp;
use crate::support::carrier::{Carrier, Fault, Step};
use crate::support::world::{ACCOUNT_SID, AUTH_TOKEN, DESTINATION};

const TO: &str = "+18183219876";

#[tokio::test]
async fn a_message_is_sent_once_for_its_key_and_shown() {
    let app = TestApp::start().await;
    let (company, carrier) = (app.company("Acme").await, Carrier::start().await);
    carrier.put_on_sale(&["+12705550101"]);
    let account = json!({ "kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": carrier.url });
    company.api.post(&company.path("/carriers"), &account).await.expect(201);
    let tracker = json!({ "name": "Billing", "destination": DESTINATION, "numbers": { "buy": {} } });
    let tracker = company.api.post(&company.path("/trackers"), &tracker).await.expect(201);

    let path = company.path("/messages");
    let body = json!({ "tracker_id": tracker.json["id"], "to_number": TO, "body": "Thanks 🚿" });
    let sent = company.api.post_once(&path, &body, "k").await.expect(201);
    assert_eq!((&sent.json["direction"], &sent.json["to_number"]), (&json!("outgoing"), &json!(TO)));
    let again = company.api.post_once(&path, &body, "k").await.expect(201);
    assert_eq!((again.text, carrier.messages().len()), (sent.text.clone(), 1));
    let location = sent.header("location").and_then(|l| l.strip_prefix("/api/v1")).unwrap();
    assert_eq!(company.reader.get(location).await.expect(200).json, sent.json);
    assert_eq!(company.reader.get(&path).await.expect(200).json["data"], json!([sent.json]));
    company.reader.get(&company.path("/messages/999")).await.expect_problem(404, "not-found");

    // The carrier's failures are told, and tell apart who has to do something.
    carrier.fail(Step::Send, Fault::Refuse(400, 21_610));
    company.api.post(&path, &body).await.expect_problem(422, "unprocessable");
    // That was an opt-out, and it is remembered.
    company.api.post(&path, &body).await.expect_problem(422, "unprocessable");
    let mut other = body.clone();
    other["to_number"] = json!("+18183219877");
    carrier.fail(Step::Send, Fault::Refuse(429, 20_429));
    company.api.post_once(&path, &other, "k2").await.expect_problem(502, "carrier");
    company.api.post_once(&path, &other, "k2").await.expect(201);
}

#[tokio::test]
async fn a_key_never_sends_a_text_twice_of_which_nobody_knows_whether_it_went_out() {
    let app = TestApp::start().await;
    let (company, carrier) = (app.company("Acme").await, Carrier::start().await);
    carrier.put_on_sale(&["+12705550101"]);
    let account = json!({ "kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": carrier.url });
    company.api.post(&company.path("/carriers"), &account).await.expect(201);
    let tracker = json!({ "name": "Billing", "destination": DESTINATION, "numbers": { "buy": {} } });
    let tracker = company.api.post(&company.path("/trackers"), &tracker).await.expect(201);
    let path = company.path("/messages");
    let body = json!({ "tracker_id": tracker.json["id"], "to_number": TO, "body": "Hello" });
    carrier.fail(Step::Send, Fault::DoAndFail(503));
    let doubtful = company.api.post_once(&path, &body, "k").await.expect_problem(502, "carrier");
    let detail = doubtful.json["detail"].as_str().unwrap_or_default();
    assert!(detail.starts_with("unknown whether it was sent: "), "{detail}");
    app.advance(Duration::from_secs(3_600));
    let again = company.api.post_once(&path, &body, "k").await.expect_problem(502, "carrier");
    assert_eq!((again.header("idempotent-replayed"), &again.text), (Some("true"), &doubtful.text));
    assert_eq!(carrier.messages().len(), 1);

    // The carrier took it and we couldn't write that down.
    app.write(|tx| tx.execute(sql("alter table events rename to elsewhere"))).await;
    company.api.post_once(&path, &body, "k2").await.expect_problem(500, "internal");
    app.write(|tx| tx.execute(sql("alter table elsewhere rename to events"))).await;
    company.api.post_once(&path, &body, "k2").await.expect_problem(500, "internal");
    assert_eq!(carrier.messages().len(), 2);
    company.api.post_once(&path, &body, "k3").await.expect(201);
}

#[tokio::test]
async fn a_message_that_cannot_be_sent_is_refused() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let path = company.path("/messages");
    let bad = json!({ "tracker_id": "1", "to_number": "911", "body": " ", "from_number": TO });
    let answer = company.api.post(&path, &bad).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["body", "from_number", "to_number", "tracker_id"]);
    let long = json!({ "tracker_id": 1, "to_number": TO, "body": "x".repeat(1_601) });
    assert_eq!(company.api.post(&path, &long).await.expect(400).fields(), ["body"]);
    let none = json!({ "tracker_id": 1, "to_number": TO, "body": "x" });
    assert_eq!(company.api.post(&path, &none).await.expect(400).fields(), ["tracker_id"]);
}
