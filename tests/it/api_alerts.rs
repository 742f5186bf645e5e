//! Alerts through the API and on the pages.

use std::time::Duration;

use calltracker::alerts::{self, Kind, NewAlert};
use calltracker::companies::Scope;
use calltracker::db;
use calltracker::kernel::id::{AlertId, WebhookId};
use serde_json::json;

use crate::support::agency::{Agency, ESCAPED};
use crate::support::browser::Browser;
use crate::support::{TestApp, TestCompany};

async fn raise(app: &TestApp, scope: Scope, webhook: WebhookId, kind: Kind) -> AlertId {
    let (target, reason) = ("https://crm.example/hook".to_owned(), "The receiver answered 500.".to_owned());
    let alert = NewAlert { kind, webhook, target, reason };
    app.write(move |tx| alerts::raise(tx, scope, &alert)).await
}

/// A webhook that nobody verifies.
async fn webhook(app: &TestApp, company: &TestCompany) -> WebhookId {
    let settings = calltracker::webhooks::Settings::all_to("https://crm.example/hook");
    let (scope, key) = (company.scope, app.ctx.key.clone());
    app.write(move |tx| calltracker::webhooks::create(tx, scope, &key, &settings)).await.0.id
}

/// A server without mail, a company and a webhook of its.
async fn scene() -> (TestApp, TestCompany, WebhookId) {
    let app = TestApp::quiet(|_| {}).await;
    let company = app.company("Acme").await;
    let webhook = webhook(&app, &company).await;
    (app, company, webhook)
}

#[tokio::test]
async fn an_alert_is_what_its_kind_and_its_reason_say() {
    let (app, company, webhook) = scene().await;
    let id = raise(&app, company.scope, webhook, Kind::Deactivated).await;
    alerts::mail_due(&app.ctx).await.unwrap();
    let alert = company.reader.get(&company.path(&format!("/alerts/{id}"))).await.expect(200);
    let message = format!(
        "Webhook {webhook} (crm.example) was deactivated. The receiver answered 500. Events are held until it \
         is verified again."
    );
    let expected = json!({
        "id": id, "company_id": company.id, "kind": "webhook.deactivated", "webhook_id": webhook,
        "message": message, "created_at": "2026-03-09T09:00:00.000000Z", "acknowledged_at": null,
        "mail_status": "none", "mail_attempts": 0, "mail_due_at": null, "mail_failure": "",
    });
    assert_eq!(alert.json, expected);
}

#[tokio::test]
async fn an_alert_exists_exactly_if_its_change_does() {
    let (app, company, webhook) = scene().await;
    let scope = company.scope;
    let undone = app.ctx.db.write("test", move |tx| {
        let (target, reason) = ("https://crm.example".to_owned(), String::new());
        alerts::raise(tx, scope, &NewAlert { kind: Kind::Failing, webhook, target, reason })?;
        Err::<(), _>(db::Error::Internal("the change didn't work".to_owned()))
    });
    assert!(undone.await.is_err());
    assert_eq!(company.api.get(&company.path("/alerts")).await.expect(200).ids(), [] as [i64; 0]);
}

#[tokio::test]
async fn alerts_are_listed_newest_first_and_filtered() {
    let (app, company, first) = scene().await;
    let second = webhook(&app, &company).await;
    let mut ids = Vec::new();
    for (webhook, kind) in [
        (first, Kind::Failing),
        (first, Kind::Deactivated),
        (second, Kind::Failing),
        (first, Kind::Recovered),
    ] {
        ids.push(raise(&app, company.scope, webhook, kind).await.0);
        app.advance(Duration::from_secs(3600));
    }
    let get = async |query: String| company.reader.get(&company.path(&format!("/alerts{query}"))).await;
    let seen = company.path(&format!("/alerts/{}", ids[1]));
    company.api.patch(&seen, &json!({ "acknowledged": true })).await.expect(200);
    for (query, places) in [
        (String::new(), vec![3, 2, 1, 0]),
        ("?limit=2".to_owned(), vec![3, 2]),
        ("?kind=webhook.failing".to_owned(), vec![2, 0]),
        (format!("?webhook_id={second}"), vec![2]),
        (format!("?webhook_id={first}&kind=webhook.recovered"), vec![3]),
        ("?acknowledged=true".to_owned(), vec![1]),
        ("?acknowledged=false".to_owned(), vec![3, 2, 0]),
        ("?from=2026-03-09T10:00:00Z&to=2026-03-09T12:00:00Z".to_owned(), vec![2, 1]),
        // In the company's time zone.
        ("?from=2026-03-09&to=2026-03-09".to_owned(), vec![3, 2, 1, 0]),
        ("?to=2026-03-08".to_owned(), vec![]),
    ] {
        let expected: Vec<i64> = places.into_iter().map(|place: usize| ids[place]).collect();
        assert_eq!(get(query.clone()).await.expect(200).ids(), expected, "{query}");
    }
    let page = get("?limit=3".to_owned()).await.expect(200);
    let next = page.json["next"].as_str().expect("there is more");
    assert_eq!(get(format!("?limit=3&after={next}")).await.expect(200).ids(), [ids[0]]);
    for query in ["?kind=webhook.bored", "?webhook_id=0", "?acknowledged=yes", "?from=then"] {
        get(query.to_owned()).await.expect_problem(400, "validation");
    }
}

#[tokio::test]
async fn an_alert_is_acknowledged_once_and_that_can_be_taken_back() {
    let (app, company, webhook) = scene().await;
    let id = raise(&app, company.scope, webhook, Kind::Failing).await;
    let path = company.path(&format!("/alerts/{id}"));
    let set = async |body| company.api.patch(&path, &body).await.expect(200).json["acknowledged_at"].clone();
    let at = json!("2026-03-09T09:00:00.000000Z");
    assert_eq!(set(json!({ "acknowledged": true })).await, at);
    app.advance(Duration::from_secs(60));
    assert_eq!(set(json!({ "acknowledged": true })).await, at, "the first time stands");
    assert_eq!(set(json!({})).await, at);
    assert_eq!(set(json!({ "acknowledged": false })).await, json!(null));
    company.reader.patch(&path, &json!({ "acknowledged": true })).await.expect_problem(403, "forbidden");
    company.api.patch(&path, &json!({ "acknowledged": null })).await.expect_problem(400, "validation");
}

#[tokio::test]
async fn another_companys_alerts_do_not_exist() {
    let (app, ours, webhook) = scene().await;
    let theirs = app.company("Other").await;
    let id = raise(&app, ours.scope, webhook, Kind::Failing).await;
    let under_theirs = theirs.path(&format!("/alerts/{id}"));
    for api in [&theirs.api, &app.api] {
        api.get(&under_theirs).await.expect_problem(404, "not-found");
        api.patch(&under_theirs, &json!({ "acknowledged": true })).await.expect_problem(404, "not-found");
    }
    assert_eq!(theirs.api.get(&theirs.path("/alerts")).await.expect(200).ids(), [] as [i64; 0]);
    let untouched = ours.api.get(&ours.path(&format!("/alerts/{id}"))).await.expect(200);
    assert_eq!(untouched.json["acknowledged_at"], json!(null));
}

#[tokio::test]
async fn what_nobody_has_seen_is_on_the_webhooks_page_until_a_button_is_pressed() {
    let agency = Agency::start().await;
    let mut browser =
        Browser::of_user(&agency.app.api.base, &agency.app.ctx, "ana@agency.example", None).await;
    let (list, all) = (agency.path("/webhooks"), agency.path("/alerts"));
    browser.get(&list).await.expect(200).assert_has("No new alerts.");
    browser.get(&all).await.expect(200).assert_has("<h2>No alerts</h2>");
    let webhook = agency.webhook("https://crm.example/hook").await;
    let id = agency.alert(webhook).await;
    let told = browser.get(&list).await.expect(200);
    told.assert_has("<span class=\"badge deactivated\">deactivated</span>");
    told.assert_has(ESCAPED);
    assert_eq!(told.link("All alerts"), all);
    assert_eq!(told.link(&format!("Webhook {webhook}")), agency.path(&format!("/webhooks/{webhook}")));
    browser.get(&all).await.expect(200).assert_has("<button class=\"quiet\">Acknowledge</button>");
    assert_eq!(browser.post(&format!("{all}/{id}/acknowledge")).await.location(), all);
    browser.get(&all).await.expect(200).assert_lacks("Acknowledge</button>");
    browser.get(&list).await.expect(200).assert_has("No new alerts.");
    browser.post(&format!("{all}/999/acknowledge")).await.expect(404);
}
