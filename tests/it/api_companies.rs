//! `/companies`.

use calltracker::carriers::provision;
use calltracker::db::sql;
use calltracker::kernel::id::CompanyId;
use calltracker::users::{self, Email, NewPassword};
use serde_json::json;

use crate::support::TestApp;
use crate::support::carrier::Carrier;
use crate::support::receiver::Receiver;
use crate::support::world::{ACCOUNT_SID, AUTH_TOKEN, DESTINATION};

#[tokio::test]
async fn a_company_is_created_read_changed_and_deleted() {
    let app = TestApp::start().await;
    let body = json!({ "name": "Acme", "time_zone": "America/New_York", "country": "US" });
    let created = app.api.post("/companies", &body).await.expect(201);
    let site_key = created.json["site_key"].as_str().unwrap_or_default();
    assert!(site_key.starts_with("site_"), "{site_key}");
    let mut shown = created.json.clone();
    shown["site_key"] = "site_…".into();
    insta::assert_json_snapshot!(shown, @r#"
    {
      "billing_day": 1,
      "country": "US",
      "created_at": "2026-03-09T09:00:00.000000Z",
      "id": 1,
      "name": "Acme",
      "site_key": "site_…",
      "source_days": 30,
      "time_zone": "America/New_York"
    }
    "#);
    let path =
        created.header("location").and_then(|l| l.strip_prefix("/api/v1")).unwrap_or_default().to_owned();
    assert_eq!(app.api.get(&path).await.expect(200).json, created.json);

    let change = json!({ "name": "Acme Inc.", "billing_day": 15 });
    let changed = app.api.patch(&path, &change).await.expect(200);
    assert_eq!(changed.json["name"], "Acme Inc.");
    assert_eq!(changed.json["billing_day"], 15);
    assert_eq!(changed.json["time_zone"], "America/New_York");
    assert_eq!(app.api.patch(&path, &json!({})).await.expect(200).json, changed.json);
    app.api.patch(&path, &json!({ "id": 7 })).await.expect_problem(400, "validation");
    app.api.patch(&path, &json!({ "name": null })).await.expect_problem(400, "validation");

    app.api.delete(&path).await.expect(204);
    app.api.get(&path).await.expect_problem(404, "not-found");
    app.api.delete(&path).await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn a_companys_token_sees_its_company_only() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.company("Acme").await, app.company("Other").await);
    assert_eq!(ours.reader.get("/companies").await.expect(200).ids(), [ours.id.0]);
    assert_eq!(app.api.get("/companies").await.expect(200).ids(), [theirs.id.0, ours.id.0]);
    ours.api.patch(&ours.path(""), &json!({ "name": "New" })).await.expect(200);
}

#[tokio::test]
async fn a_company_with_trackers_or_carrier_accounts_is_not_deleted() {
    let app = TestApp::quiet(|_| {}).await;
    let (company, carrier) = (app.company("Acme").await, Carrier::start().await);
    carrier.put_on_sale(&["+12705550101"]);
    let account = json!({ "kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": carrier.url });
    let account = company.api.post(&company.path("/carriers"), &account).await.expect(201).json["id"].clone();
    let tracker = json!({ "name": "Flyer", "destination": DESTINATION, "numbers": { "buy": {} } });
    let tracker = company.api.post(&company.path("/trackers"), &tracker).await.expect(201).json["id"].clone();

    let refused = app.api.delete(&company.path("")).await.expect_problem(409, "conflict");
    let expected = "The company still has trackers (1) and carrier accounts (1); delete them first";
    assert_eq!(refused.json["detail"], expected);
    company.api.get(&company.path("")).await.expect(200);
    company.api.delete(&company.path(&format!("/trackers/{tracker}"))).await.expect(204);
    let refused = app.api.delete(&company.path("")).await.expect_problem(409, "conflict");
    assert_eq!(refused.json["detail"], "The company still has carrier accounts (1); delete them first");
    provision::release_due(&app.ctx).await.expect("it runs");
    company.api.delete(&company.path(&format!("/carriers/{account}"))).await.expect(204);
    app.api.delete(&company.path("")).await.expect(204);
}

#[tokio::test]
async fn a_deleted_companys_webhooks_and_logins_go_with_it() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.company("Acme").await, app.company("Other").await);
    let receiver = Receiver::start().await;
    let body = json!({ "target": receiver.url, "events": "all" });
    for company in [&ours, &theirs] {
        company.api.post(&company.path("/webhooks"), &body).await.expect(201);
    }
    let mut tokens = Vec::new();
    for (company, name) in [(&ours, "ana@acme.example"), (&theirs, "bo@other.example")] {
        add_user(&app, name, company.id).await;
        tokens.push(log_in(&app, name).await.expect("the password is right"));
    }
    app.api.delete(&ours.path("")).await.expect(204);
    let live = "select count(*) from webhooks where deleted_at is null and company_id = ?";
    for (company, expected) in [(ours.id, 0), (theirs.id, 1)] {
        let (count,): (i64,) = app.write(move |tx| tx.one(sql(live).bind(company))).await;
        assert_eq!(count, expected);
    }
    let login = async |token: &str| users::find_login(&app.ctx.db, token).await.expect("it is looked up");
    assert!(login(&tokens[0]).await.is_none());
    assert!(login(&tokens[1]).await.is_some());
    assert_eq!(log_in(&app, "ana@acme.example").await, None);
}

const PASSWORD: &str = "correct horse battery";

async fn add_user(app: &TestApp, email: &str, company: CompanyId) {
    let (email, password) = (Email::parse(email).unwrap(), NewPassword::parse(PASSWORD).unwrap());
    users::add(&app.ctx.db, &app.ctx.seed, email, password, Some(company)).await.expect("it is added");
}

async fn log_in(app: &TestApp, email: &str) -> Option<String> {
    let made = users::log_in(&app.ctx.db, &app.ctx.seed, Email::parse(email), PASSWORD.to_owned()).await;
    made.expect("it is looked up").map(|login| login.token)
}
