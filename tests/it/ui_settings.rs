//! The settings of a company: itself, its carriers, tokens and users, and the log of what was changed.

use calltracker::audit;
use calltracker::kernel::page::Page;
use serde_json::json;

use crate::support::browser::Browser;
use crate::support::carrier::Carrier;
use crate::support::world::{ACCOUNT_SID, AUTH_TOKEN};
use crate::support::{TestApp, TestCompany};

const ANA: &str = "ana@agency.example";

async fn scene() -> (TestApp, TestCompany, Browser) {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let browser = Browser::of_user(&app.api.base, &app.ctx, ANA, None).await;
    (app, company, browser)
}

#[tokio::test]
async fn a_companys_settings_are_changed_or_refused_with_the_reason() {
    let (_app, company, mut browser) = scene().await;
    let page = company.path("/settings");
    let shown = browser.get(&page).await.expect(200);
    shown.assert_has("name=\"time_zone\" value=\"America/New_York\"");
    shown.assert_has("<code class=\"secret\">site_");
    let typed = [
        ("name", "Acme & Sons"),
        ("time_zone", "Europe/Vienna"),
        ("country", "AT"),
        ("billing_day", "5"),
        ("source_days", "10"),
    ];
    assert_eq!(browser.post_form(&page, &typed).await.location(), page);
    let shown = browser.get(&page).await.expect(200);
    shown.assert_has("Saved.");
    shown.assert_has("value=\"Acme &#38; Sons\"");
    let wrong = [("name", "Kept"), ("time_zone", "Mars"), ("country", "at"), ("billing_day", "31")];
    let refused = browser.post_form(&page, &wrong).await.expect(400);
    refused.assert_has("id=\"f-time_zone-error\">is not an IANA time zone");
    refused.assert_has("id=\"f-country-error\"");
    refused.assert_has("id=\"f-billing_day-error\"");
    refused.assert_has("value=\"Kept\"");
    let saved = company.api.get(&company.path("")).await.expect(200).json;
    assert_eq!((&saved["name"], &saved["billing_day"]), (&json!("Acme & Sons"), &json!(5)));
}

#[tokio::test]
async fn a_carrier_is_connected_checked_given_new_credentials_and_disconnected() {
    let (_app, company, mut browser) = scene().await;
    let carrier = Carrier::start().await;
    let list = company.path("/settings/carriers");
    let form = browser.get(&format!("{list}/new")).await.expect(200);
    form.assert_has("type=\"password\" id=\"f-auth_token\"");
    let typed =
        [("kind", "twilio"), ("account_sid", "no sid"), ("auth_token", AUTH_TOKEN), ("base_url", "x")];
    let refused = browser.post_form(&list, &typed).await.expect(400);
    refused.assert_has("id=\"f-account_sid-error\"");
    refused.assert_has("id=\"f-base_url-error\"");
    refused.assert_lacks(AUTH_TOKEN);
    let typed = [
        ("kind", "twilio"),
        ("account_sid", ACCOUNT_SID),
        ("auth_token", AUTH_TOKEN),
        ("signing_key", ""),
        ("base_url", carrier.url.as_str()),
    ];
    assert_eq!(browser.post_form(&list, &typed).await.location(), list);
    let shown = browser.get(&list).await.expect(200);
    shown.assert_has("the account is connected");
    shown.assert_has(ACCOUNT_SID);
    shown.assert_has("/carrier/");
    shown.assert_lacks(AUTH_TOKEN);
    browser.post(&format!("{list}/1/check")).await.location();
    browser.get(&list).await.expect(200).assert_has("Account 1 works");
    let wrong = [("auth_token", "0000000000000000000000000000bad0")];
    let refused = browser.post_form(&format!("{list}/1"), &wrong).await.expect(422);
    refused.assert_has("the carrier refused the account");
    refused.assert_lacks("bad0");
    assert_eq!(browser.post_form(&format!("{list}/1"), &[("auth_token", AUTH_TOKEN)]).await.location(), list);
    assert_eq!(browser.post(&format!("{list}/1/delete")).await.location(), list);
    browser.get(&list).await.expect(200).assert_has("No carrier yet");
    browser.post(&format!("{list}/1/check")).await.expect(404);
}

#[tokio::test]
async fn a_carrier_that_does_not_answer_is_told_in_its_own_words() {
    let agency = crate::support::agency::Agency::start().await;
    let mut browser = Browser::of_user(&agency.app.api.base, &agency.app.ctx, ANA, None).await;
    let list = agency.path("/settings/carriers");
    let shown = browser.post(&format!("{list}/1/check")).await.expect(200);
    shown.assert_has("Account 1 doesn’t work: the carrier can&#39;t be reached");
    // A tracker has a number of it.
    let shown = browser.post(&format!("{list}/1/delete")).await.expect(409);
    shown.assert_has("<p class=\"failure\" role=\"alert\">");
}

#[tokio::test]
async fn a_token_is_shown_once_works_and_is_revoked() {
    let (app, company, mut browser) = scene().await;
    let list = company.path("/settings/tokens");
    let refused = browser.post_form(&list, &[("name", "")]).await.expect(400);
    refused.assert_has("id=\"f-name-error\"");
    assert_eq!(browser.post_form(&list, &[("name", "CRM"), ("can_write", "on")]).await.location(), list);
    let shown = browser.get(&list).await.expect(200);
    let token = shown.text.split("<code class=\"secret\">").nth(1).unwrap().split('<').next().unwrap();
    assert!(token.starts_with("ct_"), "{token}");
    browser.get(&list).await.expect(200).assert_lacks(token);
    let api = app.api.with_token(token);
    api.patch(&company.path(""), &json!({ "name": "By token" })).await.expect(200);
    let other = app.company("Other").await;
    api.get(&other.path("")).await.expect_problem(404, "not-found");
    let button = shown.text.split("aria-label=\"Revoke CRM\"").next().unwrap();
    let button = button.rsplit("action=\"").next().unwrap().split('"').next().unwrap().to_owned();
    browser.post(&button.replace(&company.path(""), &other.path(""))).await.expect(404);
    assert_eq!(browser.post(&button).await.location(), list);
    browser.post(&button).await.expect(404);
    api.get(&company.path("")).await.expect_problem(401, "unauthenticated");
    let log = browser.get(&company.path("/settings/audit")).await.expect(200);
    log.assert_has("by API token CRM");
    log.assert_has("<del>Acme</del> <ins>By token</ins>");
    log.assert_has("<strong>revoke token</strong>");
    log.assert_lacks(token);
}

#[tokio::test]
async fn who_changed_what_is_kept_without_secrets_and_only_if_it_was_changed() {
    let (app, company, mut browser) = scene().await;
    let webhook =
        json!({ "target": "https://127.0.0.1:9/x", "events": "all", "headers": { "X-Key": "very secret" } });
    let made = company.api.post(&company.path("/webhooks"), &webhook).await.expect(201);
    let secret = made.json["secret"].as_str().unwrap();
    company.api.patch(&company.path(""), &json!({ "country": "us" })).await.expect_problem(400, "validation");
    company.reader.patch(&company.path(""), &json!({ "name": "x" })).await.expect_problem(403, "forbidden");
    let page = company.path(&format!("/webhooks/{}", made.json["id"]));
    browser.post(&format!("{page}/pause")).await.location();
    company.api.delete(&page).await.expect(204);
    let kept = audit::list(&app.ctx.db, company.scope, Page::default()).await.unwrap().rows;
    let told: Vec<_> = kept.iter().map(|entry| (entry.operation.as_str(), entry.actor.as_str())).collect();
    let wanted = [
        ("delete_webhook", "API token writer"),
        ("update_webhook", ANA),
        ("create_webhook", "API token writer"),
    ];
    assert_eq!(told, wanted, "newest first");
    assert_eq!(kept[1].body, json!({ "paused": true }));
    assert_eq!(
        (&kept[1].before["status"], &kept[1].after["status"]),
        (&json!("unverified"), &json!("paused"))
    );
    assert_eq!(kept[0].before["status"], "paused");
    assert!(kept[0].after.is_null());
    for entry in &kept {
        let text = format!("{entry:?}");
        assert!(!text.contains(secret) && !text.contains("very secret"), "{text}");
    }
    let other = app.company("Other").await;
    browser.get(&other.path("/settings/audit")).await.expect(200).assert_has("Nothing was changed yet");
    app.advance(audit::KEPT_FOR + std::time::Duration::from_secs(1));
    assert_eq!(audit::retain(&app.ctx.db).await.unwrap(), 3);
}

#[tokio::test]
async fn who_may_only_look_changes_no_settings() {
    let (app, company, _) = scene().await;
    let mut eve = Browser::of_user(&app.api.base, &app.ctx, "eve@acme.example", Some(company.id)).await;
    eve.lose_the_right_to_write(&app, "eve@acme.example").await;
    for rest in ["/settings", "/settings/carriers", "/settings/tokens"] {
        let shown = eve.get(&company.path(rest)).await.expect(200);
        shown.assert_lacks(&format!("action=\"{}", company.path("/settings")));
        eve.post_form(&company.path(rest), &[("name", "x")]).await.expect(403);
    }
    for rest in ["/settings/carriers/new", "/messages/new"] {
        eve.get(&company.path(rest)).await.expect(403);
    }
    let other = app.company("Other").await;
    for rest in ["/settings", "/settings/carriers", "/settings/tokens", "/settings/audit"] {
        eve.get(&other.path(rest)).await.expect(404);
    }
}

#[tokio::test]
async fn companies_are_seen_at_a_glance_and_made_by_who_sees_them_all() {
    let agency = crate::support::agency::Agency::start().await;
    let (base, ctx) = (&agency.app.api.base, &agency.app.ctx);
    let mut ana = Browser::of_user(base, ctx, ANA, None).await;
    agency.webhook("https://crm.example/x").await;
    let call = agency.answered_call().await;
    let not_spam = json!({ "spam": false });
    agency.company.api.patch(&agency.path(&format!("/calls/{call}")), &not_spam).await.expect(200);
    calltracker::reports::count_due(&ctx.db).await.unwrap();
    let list = ana.get("/companies").await.expect(200);
    list.assert_has("<td data-label=\"Calls\" class=\"number\">1</td>");
    list.assert_has("<td data-label=\"Answered\" class=\"number\">100%</td>");
    list.assert_has(&format!("href=\"{}\">1 not delivering</a>", agency.path("/webhooks")));
    ana.get("/companies/new").await.expect(200).assert_has("name=\"billing_day\" value=\"1\"");
    let wrong = [("name", "Beta"), ("time_zone", "Mars"), ("country", "US"), ("billing_day", "1")];
    let refused = ana.post_form("/companies", &wrong).await.expect(400);
    refused.assert_has("id=\"f-time_zone-error\"");
    let typed = [
        ("name", "Beta"),
        ("time_zone", "UTC"),
        ("country", "US"),
        ("billing_day", "1"),
        ("source_days", "30"),
    ];
    let made = ana.post_form("/companies", &typed).await.location().to_owned();
    ana.get(&made).await.expect(200).assert_has("The company is made.");
    let log = ana.get(&made.replace("/overview", "/settings/audit")).await.expect(200);
    log.assert_has("<strong>create company</strong>");
    assert_eq!(ana.get("/").await.expect(200).link("Beta"), made);
    let mut bob = Browser::of_user(base, ctx, "bob@acme.example", Some(agency.company.id)).await;
    bob.get("/companies/new").await.expect(404);
    bob.post_form("/companies", &typed).await.expect(403);
    bob.get("/companies").await.expect(200).assert_lacks("Beta");
}
