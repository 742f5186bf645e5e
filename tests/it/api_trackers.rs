//! `/carriers`, `/available-numbers`, `/trackers`, `/blocked-callers`, against a modelled carrier.

use serde_json::{Value as Json, json};

use crate::support::carrier::{Carrier, Fault, Step};
use crate::support::world::{ACCOUNT_SID, AUTH_TOKEN, DESTINATION};
use crate::support::{TestApp, TestCompany};

const ON_SALE: [&str; 3] = ["+12705550101", "+12705550102", "+15025550103"];

fn account(carrier: &Carrier) -> Json {
    json!({ "kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": carrier.url })
}

fn tracker(numbers: &Json) -> Json {
    json!({ "name": "Spring flyer", "destination": DESTINATION, "numbers": numbers })
}

/// A company with an account at a carrier that has numbers on sale.
async fn connected(app: &TestApp) -> (TestCompany, Carrier) {
    let (company, carrier) = (app.company("Acme").await, Carrier::start().await);
    carrier.put_on_sale(&ON_SALE);
    company.api.post(&company.path("/carriers"), &account(&carrier)).await.expect(201);
    (company, carrier)
}

#[tokio::test]
async fn a_carrier_account_is_connected_once_and_its_secrets_are_never_shown() {
    let app = TestApp::start().await;
    let (company, carrier) = (app.company("Acme").await, Carrier::start().await);
    let made = company.api.post(&company.path("/carriers"), &account(&carrier)).await.expect(201);
    let path = made.header("location").and_then(|l| l.strip_prefix("/api/v1")).unwrap().to_owned();
    assert_eq!(company.reader.get(&path).await.expect(200).json, made.json);
    for answer in [&made, &company.reader.get(&company.path("/carriers")).await.expect(200)] {
        assert!(!answer.text.contains(AUTH_TOKEN), "{}", answer.text);
    }
    let again = company.api.post(&company.path("/carriers"), &account(&carrier)).await;
    again.expect_problem(409, "conflict");
    let wrong = json!({ "auth_token": "wrong" });
    company.api.patch(&path, &wrong).await.expect_problem(422, "unprocessable");
    company.api.patch(&path, &json!({ "auth_token": AUTH_TOKEN })).await.expect(200);
    company.api.delete(&path).await.expect(204);
    company.api.get(&path).await.expect(404);
    company.api.patch(&path, &json!({})).await.expect(404);
    company.api.delete(&path).await.expect(404);
}

#[tokio::test]
async fn an_account_that_cannot_be_used_is_refused() {
    let app = TestApp::with(|config| config.carriers.allow_targets.clear()).await;
    let company = app.company("Acme").await;
    let path = company.path("/carriers");
    let body = json!({ "kind": "bell", "account_sid": "../x", "auth_token": "a b", "colour": 1 });
    let answer = company.api.post(&path, &body).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["account_sid", "auth_token", "colour", "kind"]);
    for base in ["http://127.0.0.1:9", "http://example.com", "ftp://example.com", "x"] {
        let body = json!({ "kind": "twilio", "account_sid": "AC1", "auth_token": "t", "base_url": base });
        let answer = company.api.post(&path, &body).await.expect_problem(400, "validation");
        assert_eq!(answer.fields(), ["base_url"], "{base}");
    }
}

#[tokio::test]
async fn what_is_found_out_elsewhere_is_told_with_the_rest() {
    let app = TestApp::start().await;
    let (company, _carrier) = connected(&app).await;
    for (body, fields) in [
        (json!({ "kind": "twilio", "base_url": "ftp://x" }), &["account_sid", "auth_token", "base_url"][..]),
        (
            json!({ "kind": "bell", "account_sid": "a", "auth_token": "t", "base_url": "x" }),
            &["kind", "base_url"],
        ),
        (json!({ "kind": "signalwire" }), &["account_sid", "auth_token", "base_url", "signing_key"]),
    ] {
        let answer =
            company.api.post(&company.path("/carriers"), &body).await.expect_problem(400, "validation");
        assert_eq!(answer.fields(), fields, "{body}");
    }
    let path = company.path("/trackers");
    let made = company.api.post(&path, &tracker(&json!({ "buy": {} }))).await.expect(201);
    let tracked = &made.json["phone_numbers"][0]["number"];
    let body = json!({ "destination": tracked, "numbers": { "buy": { "count": 0 } } });
    let answer = company.api.post(&path, &body).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["numbers.buy.count", "name", "destination"]);
    let one = format!("{path}/{}", made.json["id"]);
    let change = json!({ "destination": tracked, "name": "" });
    let answer = company.api.patch(&one, &change).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["name", "destination"]);
}

#[tokio::test]
async fn numbers_of_choice_are_bought_or_none() {
    let app = TestApp::start().await;
    let (company, carrier) = connected(&app).await;
    let path = company.path("/trackers");
    let chosen = json!({ "choose": [ON_SALE[1]] });
    let made = company.api.post(&path, &tracker(&chosen)).await.expect(201);
    assert_eq!(made.json["phone_numbers"][0]["number"], ON_SALE[1]);
    assert_eq!(carrier.owned(), [ON_SALE[1]]);
    // One of them is a tracker's already, which is found out when the other is bought: that goes back.
    let both = json!({ "choose": [ON_SALE[0], ON_SALE[1]] });
    company.api.post(&path, &tracker(&both)).await.expect_problem(422, "unprocessable");
    let of_another_kind = company.api.post(&path, &tracker(&json!({ "choose": ["+18005550101"] }))).await;
    assert_eq!(of_another_kind.expect_problem(400, "validation").fields(), ["numbers"]);
    let own = json!({ "choose": [DESTINATION] });
    company.api.post(&path, &tracker(&own)).await.expect_problem(400, "validation");
    let two = json!({ "choose": [ON_SALE[0]], "buy": {} });
    company.api.post(&path, &tracker(&two)).await.expect_problem(400, "validation");
    assert_eq!(company.api.get(&path).await.ids().len(), 1);
    let more = company.path(&format!("/trackers/{}/numbers", made.json["id"]));
    let grown = company.api.post(&more, &json!({ "numbers": { "choose": [ON_SALE[2]] } })).await.expect(200);
    assert_eq!(grown.json["phone_numbers"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_signalwire_account_needs_its_signing_key() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let path = company.path("/carriers");
    let mut body = json!({ "kind": "signalwire", "account_sid": "a1", "auth_token": "t" });
    let answer = company.api.post(&path, &body).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["base_url", "signing_key"]);
    body["base_url"] = json!("http://127.0.0.1:9");
    let answer = company.api.post(&path, &body).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["signing_key"]);
    body["signing_key"] = json!("");
    let answer = company.api.post(&path, &body).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["signing_key"]);
    // Now the carrier is asked, which isn't there.
    body["signing_key"] = json!("k");
    company.api.post(&path, &body).await.expect_problem(502, "carrier");
}

#[tokio::test]
async fn a_carrier_that_fails_is_a_502_and_nothing_is_kept() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let body = json!({
        "kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": "http://127.0.0.1:9",
    });
    company.api.post(&company.path("/carriers"), &body).await.expect_problem(502, "carrier");
    assert_eq!(company.api.get(&company.path("/carriers")).await.ids(), [] as [i64; 0]);
}

#[tokio::test]
async fn numbers_are_looked_for_at_the_carrier() {
    let app = TestApp::start().await;
    let lone = app.company("Lone").await;
    lone.api.get(&lone.path("/available-numbers")).await.expect_problem(409, "conflict");
    let (company, carrier) = connected(&app).await;
    let path = company.path("/available-numbers?area_code=270&number_type=local");
    let answer = company.reader.get(&path).await.expect(200);
    let numbers: Vec<_> = answer.json["data"].as_array().unwrap().iter().map(|n| &n["number"]).collect();
    assert_eq!(numbers, ["+12705550101", "+12705550102"]);
    assert_eq!(answer.json["next"], Json::Null);
    let bad = company.path("/available-numbers?area_code=27&number_type=gold&carrier_id=0&contains=");
    let answer = company.reader.get(&bad).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["area_code", "number_type", "carrier_id", "contains"]);
    let answer = company.reader.get(&company.path("/available-numbers?carrier_id=999")).await.expect(400);
    assert_eq!(answer.fields(), ["carrier_id"]);
    carrier.fail(Step::Search, Fault::Refuse(500, 0));
    company.reader.get(&path).await.expect_problem(502, "carrier");
}

#[tokio::test]
async fn a_tracker_is_bought_changed_and_deleted() {
    let app = TestApp::start().await;
    let (company, carrier) = connected(&app).await;
    let body = tracker(&json!({ "buy": { "area_code": "270" } }));
    let made = company.api.post_once(&company.path("/trackers"), &body, "k").await.expect(201);
    assert_eq!(made.json["phone_numbers"], json!([{ "number": "+12705550101", "status": true }]));
    assert_eq!(made.json["tracker_type"], "offline");
    assert_eq!(made.json["ring_timeout_s"], 25);
    let again = company.api.post_once(&company.path("/trackers"), &body, "k").await.expect(201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!((again.text, carrier.count(Step::Buy)), (made.text.clone(), 1));

    let path = company.path(&format!("/trackers/{}", made.json["id"]));
    assert_eq!(company.reader.get(&path).await.expect(200).json, made.json);
    let change = json!({ "name": "Summer flyer", "recording_enabled": true, "campaign_source": "always" });
    let changed = company.api.patch(&path, &change).await.expect(200);
    assert_eq!(changed.json["name"], "Summer flyer");
    assert_eq!(changed.json["destination"], DESTINATION);
    let more = json!({ "numbers": { "buy": { "area_code": "502", "count": 1 } } });
    let grown = company.api.post(&format!("{path}/numbers"), &more).await.expect(200);
    assert_eq!(grown.json["phone_numbers"].as_array().map(Vec::len), Some(2));
    assert_eq!(company.reader.get(&company.path("/trackers")).await.expect(200).json["data"][0], grown.json);

    company.api.delete(&path).await.expect(204);
    for gone in [company.api.get(&path).await, company.api.patch(&path, &change).await] {
        gone.expect_problem(404, "not-found");
    }
    company.api.post(&format!("{path}/numbers"), &more).await.expect_problem(404, "not-found");
    company.api.delete(&path).await.expect_problem(404, "not-found");
    let log = company.reader.get(&company.path("/events")).await.expect(200);
    let types: Vec<_> = log.json["data"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["tracker.created", "tracker.updated", "tracker.updated", "tracker.updated"]);
}

#[tokio::test]
async fn a_tracker_that_cannot_be_is_refused_with_every_reason() {
    let app = TestApp::start().await;
    let (company, carrier) = connected(&app).await;
    let path = company.path("/trackers");
    let body = json!({
        "name": "", "destination": "911", "tracker_type": "lottery", "number_type": "gold", "status": "on",
        "ring_timeout_s": 1, "campaign_source": "luck", "whisper_message": "x".repeat(1001),
        "numbers": { "buy": { "area_code": "27", "count": 501, "colour": 1 } }, "number_pool_size": 1,
    });
    let answer = company.api.post(&path, &body).await.expect_problem(400, "validation");
    insta::assert_json_snapshot!(answer.fields(), @r#"
    [
      "campaign_source",
      "destination",
      "name",
      "number_pool_size",
      "number_type",
      "numbers.buy.area_code",
      "numbers.buy.colour",
      "numbers.buy.count",
      "ring_timeout_s",
      "status",
      "tracker_type",
      "whisper_message"
    ]
    "#);
    for (numbers, field) in [
        (json!({}), "numbers"),
        (json!({ "buy": {}, "attach": ["+12705550101"] }), "numbers"),
        (json!({ "attach": [] }), "numbers.attach"),
        (json!({ "attach": ["2705550101"] }), "numbers.attach[0]"),
        (json!({ "attach": ["+12705550101", "+12705550101"] }), "numbers.attach[1]"),
        (json!({ "steal": 1 }), "numbers.steal"),
    ] {
        let answer = company.api.post(&path, &tracker(&numbers)).await.expect_problem(400, "validation");
        assert_eq!(answer.fields(), [field], "{numbers}");
    }
    let attach = tracker(&json!({ "attach": ["+12705550199"] }));
    company.api.post(&path, &attach).await.expect_problem(422, "unprocessable");
    let none = tracker(&json!({ "buy": { "area_code": "212" } }));
    company.api.post(&path, &none).await.expect_problem(422, "unprocessable");
    assert_eq!(carrier.owned(), [] as [String; 0]);

    let made = company.api.post(&path, &tracker(&json!({ "buy": {} }))).await.expect(201);
    let own = made.json["phone_numbers"][0]["number"].clone();
    let mut round = tracker(&json!({ "buy": {} }));
    round["destination"] = own.clone();
    let answer = company.api.post(&path, &round).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["destination"]);
    company.api.post(&path, &tracker(&json!({ "attach": [own] }))).await.expect_problem(409, "conflict");
}

#[tokio::test]
async fn parallel_changes_of_different_fields_all_stand() {
    let app = TestApp::start().await;
    let (company, _carrier) = connected(&app).await;
    let made =
        company.api.post(&company.path("/trackers"), &tracker(&json!({ "buy": {} }))).await.expect(201);
    let path = company.path(&format!("/trackers/{}", made.json["id"]));
    let changes = [
        ("name", json!("Other")),
        ("status", json!(false)),
        ("recording_enabled", json!(true)),
        ("recording_message", json!("Hello")),
        ("whisper_enabled", json!(true)),
        ("whisper_message", json!("Flyer")),
        ("voicemail_enabled", json!(true)),
        ("ring_timeout_s", json!(40)),
    ];
    let sent = changes.iter().map(|(name, value)| {
        let (api, path, body) = (company.api.clone(), path.clone(), json!({ *name: value }));
        async move { api.patch(&path, &body).await.expect(200) }
    });
    futures_util::future::join_all(sent).await;
    let now = company.api.get(&path).await.expect(200);
    for (name, value) in changes {
        assert_eq!(now.json[name], value, "{name}");
    }
}

#[tokio::test]
async fn callers_are_blocked_and_unblocked() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let path = company.path("/blocked-callers");
    let made = company.api.post(&path, &json!({ "number": "+18183219876" })).await.expect(201);
    assert_eq!(made.json["note"], "");
    let again = json!({ "number": "+1 (818) 321-9876", "note": "Sells warranties" });
    let again = company.api.post(&path, &again).await.expect(201);
    assert_eq!((&again.json["id"], &again.json["number"]), (&made.json["id"], &made.json["number"]));
    assert_eq!(company.reader.get(&path).await.expect(200).json["data"], json!([again.json]));
    let answer = company.api.post(&path, &json!({ "number": "anonymous" })).await.expect(400);
    assert_eq!(answer.fields(), ["number"]);
    let one = format!("{path}/{}", made.json["id"]);
    company.api.delete(&one).await.expect(204);
    company.api.delete(&one).await.expect_problem(404, "not-found");
}
