//! Conversations, voicemails and usage: what is read, and texts that are written on the pages.

use std::time::Duration;

use calltracker::usage;
use serde_json::json;

use crate::support::TestApp;
use crate::support::agency::{Agency, ESCAPED};
use crate::support::browser::Browser;
use crate::support::carrier::{Carrier, Fault, Step};
use crate::support::world::{ACCOUNT_SID, AUTH_TOKEN, DESTINATION};

const ANA: &str = "ana@agency.example";

#[tokio::test]
async fn a_conversation_is_one_line_and_read_from_top_to_bottom() {
    let agency = Agency::start().await;
    let text = agency.texts().await;
    let mut browser = Browser::of_user(&agency.app.api.base, &agency.app.ctx, ANA, None).await;
    let list = browser.get(&agency.path("/messages")).await.expect(200);
    assert_eq!(list.text.matches("<tr>").count(), 2, "the head and one conversation");
    list.assert_has("<span class=\"soft\">You:</span> Yes, at nine.");
    list.assert_has("<span class=\"badge failed\">failed</span>");
    let thread = browser.get(&list.link("+18183219876")).await.expect(200);
    let theirs = thread.text.find("Do you have time on Monday?").unwrap();
    assert!(theirs < thread.text.find("Yes, at nine.").unwrap());
    thread.assert_has(&format!("<p class=\"wrong\">&#34;&#39;&#62;&#60;/td&#62;&#60;/pre&#62;{ESCAPED}</p>"));
    thread.assert_has("2026-03-09 05:00:00 <abbr>EDT</abbr>");
    // Any text of it leads there.
    let same = browser.get(&agency.path(&format!("/messages/{text}"))).await.expect(200);
    assert_eq!(same.text.matches("class=\"bubble").count(), 2);
}

/// A company with a tracker whose number can send texts.
async fn scene() -> (TestApp, crate::support::TestCompany, Carrier, i64, Browser) {
    let app = TestApp::start().await;
    let (company, carrier) = (app.company("Acme").await, Carrier::start().await);
    carrier.put_on_sale(&["+12705550101"]);
    let account = json!({ "kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": carrier.url });
    company.api.post(&company.path("/carriers"), &account).await.expect(201);
    let tracker = json!({ "name": "Billing", "destination": DESTINATION, "numbers": { "buy": {} } });
    let tracker = company.api.post(&company.path("/trackers"), &tracker).await.expect(201);
    let id = tracker.json["id"].as_i64().unwrap();
    let browser = Browser::of_user(&app.api.base, &app.ctx, ANA, None).await;
    (app, company, carrier, id, browser)
}

#[tokio::test]
async fn a_text_is_written_answered_and_refused_with_its_reason() {
    let (_app, company, carrier, tracker, mut browser) = scene().await;
    let list = company.path("/messages");
    let form = browser.get(&format!("{list}/new")).await.expect(200);
    form.assert_has(&format!("<option value=\"{tracker}\">Billing</option>"));
    let tracker = tracker.to_string();
    let wrong = [("tracker_id", tracker.as_str()), ("to_number", "12"), ("body", " ")];
    let refused = browser.post_form(&list, &wrong).await.expect(400);
    refused.assert_has("id=\"f-to_number-error\"");
    refused.assert_has("id=\"f-body-error\"");
    refused.assert_has("value=\"12\"");
    let typed = [("tracker_id", tracker.as_str()), ("to_number", "+18183219876"), ("body", "Hello\r\nAna")];
    let thread = browser.post_form(&list, &typed).await.location().to_owned();
    let shown = browser.get(&thread).await.expect(200);
    shown.assert_has("The carrier has taken the text.");
    shown.assert_has("<p class=\"said\">Hello\nAna</p>");
    let answered = browser.post_form(&thread, &[("body", "Still there?")]).await.location().to_owned();
    assert_eq!(browser.get(&answered).await.expect(200).text.matches("class=\"bubble").count(), 2);
    assert_eq!(carrier.messages().len(), 2);
    carrier.fail(Step::Send, Fault::Refuse(400, 21_610));
    let refused = browser.post_form(&thread, &[("body", "Kept")]).await.expect(422);
    refused.assert_has("the receiver has opted out");
    refused.assert_has("Kept</textarea>");
    let refused = browser.post_form(&thread, &[("body", "")]).await.expect(400);
    refused.assert_has("id=\"f-body-error\"");
}

#[tokio::test]
async fn who_may_only_look_writes_no_texts_and_others_see_none() {
    let agency = Agency::start().await;
    let text = agency.path(&format!("/messages/{}", agency.texts().await));
    let other = agency.app.company("Other").await;
    let (base, ctx) = (&agency.app.api.base, &agency.app.ctx);
    let mut bob = Browser::of_user(base, ctx, "bob@other.example", Some(other.id)).await;
    bob.get(&text).await.expect(404);
    bob.post_form(&text, &[("body", "x")]).await.expect(404);
    let mut eve = Browser::of_user(base, ctx, "eve@acme.example", Some(agency.company.id)).await;
    eve.lose_the_right_to_write(&agency.app, "eve@acme.example").await;
    let shown = eve.get(&text).await.expect(200);
    shown.assert_lacks("<textarea");
    eve.get(&agency.path("/messages")).await.expect(200).assert_lacks("New message");
    eve.post_form(&text, &[("body", "x")]).await.expect(403);
    eve.post_form(&agency.path("/messages"), &[("body", "x")]).await.expect(403);
}

#[tokio::test]
async fn voicemails_are_listened_to_and_read_in_one_place() {
    let agency = Agency::start().await;
    let call = agency.voicemail_call().await;
    let mut browser = Browser::of_user(&agency.app.api.base, &agency.app.ctx, ANA, None).await;
    let shown = browser.get(&agency.path("/voicemails")).await.expect(200);
    shown.assert_has("<audio controls preload=\"none\" src=\"/recordings/");
    shown.assert_has("<blockquote>Please call me back.");
    shown.assert_has(&format!("href=\"{}\"", agency.path(&format!("/calls/{call}"))));
    shown.assert_has("<span class=\"soft\">1:01</span>");
}

#[tokio::test]
async fn usage_is_shown_while_it_runs_and_when_it_is_over() {
    let agency = Agency::start().await;
    agency.texts().await;
    let mut browser = Browser::of_user(&agency.app.api.base, &agency.app.ctx, ANA, None).await;
    let path = agency.path("/usage");
    let shown = browser.get(&path).await.expect(200);
    shown.assert_has("<h2>2026-03-09 to now</h2>");
    shown.assert_has("<span class=\"soft\">Local numbers</span><b>1</b>");
    shown.assert_has("<span class=\"soft\">Texts</span><b>1</b>");
    // It is over, and calls that ended in it may still be told of.
    agency.app.advance(Duration::from_secs(23 * 24 * 3600));
    let ctx = &agency.app.ctx;
    let scope = agency.company.scope;
    let open = ctx.db.read("test", move |tx| usage::running(tx, scope)).await.unwrap();
    let last = open.first().unwrap();
    assert_eq!((last.start_date.as_str(), last.is_over), ("2026-04-01", false));
    usage::close_due(&ctx.db, ctx.clock.now()).await.unwrap();
    let table = browser.get(&agency.path("/usage.csv")).await;
    // The login has expired meanwhile.
    let table = if table.status == 303 {
        browser.log_in(ANA, crate::support::browser::PASSWORD).await.location();
        browser.get(&agency.path("/usage.csv")).await.expect(200)
    } else {
        table
    };
    assert_eq!(table.header("content-disposition"), "attachment; filename=\"usage.csv\"");
    let lines: Vec<_> = table.text.lines().collect();
    assert_eq!(lines[1], "2026-04-01,2026-05-01,running,1,0,0,0,0");
    assert_eq!(lines[2], "2026-03-09,2026-04-01,closed,1,0,0,0,1");
    assert_eq!(lines.len(), 3);
}
