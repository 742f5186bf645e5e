//! A webhook's buttons: they do what the REST API does.

use calltracker::db::sql;
use calltracker::kernel::id::WebhookId;

use crate::support::agency::{Agency, ESCAPED};
use crate::support::browser::Browser;
use crate::support::receiver::{Answer, Receiver};

/// An agency with a webhook that leads to `receiver`, the webhook's path, and somebody who looks at it.
async fn scene(receiver: &Receiver) -> (Agency, String, Browser) {
    let agency = Agency::start().await;
    let webhook = agency.webhook(&receiver.url).await;
    let path = agency.path(&format!("/webhooks/{webhook}"));
    let (base, ctx) = (&agency.app.api.base, &agency.app.ctx);
    let browser = Browser::of_user(base, ctx, "ana@agency.example", None).await;
    (agency, path, browser)
}

#[tokio::test]
async fn a_webhook_is_verified_by_a_button() {
    let receiver = Receiver::start().await;
    let (_agency, path, mut browser) = scene(&receiver).await;
    let before = browser.get(&path).await.expect(200);
    before.assert_has("<span class=\"badge unverified\">unverified</span>");
    before.assert_has("X-Api-Key");
    before.assert_lacks("very secret");
    receiver.answer(Answer::Status(500));
    let refused = browser.post(&format!("{path}/verify")).await.expect(200);
    refused.assert_has("role=\"alert\">The verification failed.");
    refused.assert_has("<span class=\"badge unverified\">unverified</span>");
    receiver.answer(Answer::Status(200));
    assert_eq!(browser.post(&format!("{path}/verify")).await.location(), path);
    browser.get(&path).await.expect(200).assert_has("<span class=\"badge active\">active</span>");
    assert_eq!(receiver.arrived().len(), 2);
}

#[tokio::test]
async fn a_webhook_is_paused_and_resumed_by_buttons() {
    let receiver = Receiver::start().await;
    let (_agency, path, mut browser) = scene(&receiver).await;
    browser.post(&format!("{path}/verify")).await.location();
    assert_eq!(browser.post(&format!("{path}/pause")).await.location(), path);
    let paused = browser.get(&path).await.expect(200);
    paused.assert_has("<span class=\"badge paused\">paused</span>");
    paused.assert_has("Paused: events are held.");
    paused.assert_lacks("/pause\"");
    assert_eq!(browser.post(&format!("{path}/resume")).await.location(), path);
    let active = browser.get(&path).await.expect(200);
    active.assert_has("<span class=\"badge active\">active</span>");
    active.assert_lacks("/resume\"");
}

#[tokio::test]
async fn deliveries_are_filtered_by_state_and_read_page_by_page() {
    let receiver = Receiver::start().await;
    let (agency, path, mut browser) = scene(&receiver).await;
    for n in 0..51 {
        agency.app.append_event(agency.company.scope, n).await;
    }
    let count = |text: &str| text.matches("<tr>").count().saturating_sub(1);
    let held = browser.get(&format!("{path}?state=held")).await.expect(200);
    assert_eq!(count(&held.text), 50);
    held.assert_has("<option value=\"held\" selected>");
    let older = held.link("Older");
    assert!(older.starts_with(&format!("{path}?state=held&after=")), "{older}");
    assert_eq!(count(&browser.get(&older).await.expect(200).text), 1);
    let delivered = browser.get(&format!("{path}?state=delivered")).await.expect(200);
    assert_eq!(count(&delivered.text), 0);
    delivered.assert_has("No deliveries");
    let strange = browser.get(&format!("{path}?state=strange&from=never")).await.expect(200);
    strange.assert_has("must be one of: pending, held");
    strange.assert_has("must be an RFC 3339 time");
    assert_eq!(count(&strange.text), 0, "what can't be asked for isn't taken for everything");
}

#[tokio::test]
async fn a_delivery_shows_what_was_sent_and_what_came_back() {
    let receiver = Receiver::start().await;
    let (agency, path, mut browser) = scene(&receiver).await;
    let id = agency.tried_delivery(webhook_in(&path)).await;
    let shown = browser.get(&format!("{path}/deliveries/{id}")).await.expect(200);
    shown.assert_has("<span class=\"badge held\">held</span>");
    shown.assert_has("<span class=\"badge exhausted\">500</span>");
    shown.assert_has("<span class=\"badge exhausted\">dns</span>");
    shown.assert_has("content-type: application/json");
    shown.assert_has("&#34;type&#34;:&#34;usage.created&#34;,&#34;object&#34;:&#34;usage&#34;");
    shown.assert_has(&format!("It went wrong. &#34;&#39;&#62;&#60;/td&#62;&#60;/pre&#62;{ESCAPED}"));
    let second = shown.text.find("<strong>2</strong>");
    assert!(second.is_some() && second < shown.text.find("<strong>1</strong>"), "the last attempt is first");
}

#[tokio::test]
async fn a_delivery_that_was_given_up_is_sent_again_by_a_button() {
    let receiver = Receiver::start().await;
    let (agency, path, mut browser) = scene(&receiver).await;
    let id = agency.tried_delivery(webhook_in(&path)).await;
    let over = "insert into finished_deliveries (webhook_id, event_id, company_id, event_type, state, attempts,
                created_at, finished_at) select webhook_id, event_id, company_id, event_type, 'exhausted', attempts,
                created_at, created_at from deliveries";
    agency.app.write(move |tx| tx.execute(sql(over))).await;
    agency.app.write(|tx| tx.execute(sql("delete from deliveries"))).await;
    let delivery = format!("{path}/deliveries/{id}");
    let before = browser.get(&delivery).await.expect(200);
    before.assert_has("<span class=\"badge exhausted\">exhausted</span>");
    assert_eq!(browser.post(&format!("{delivery}/resend")).await.location(), delivery);
    browser.get(&delivery).await.expect(200).assert_has("<span class=\"badge held\">held</span>");
    browser.post(&format!("{path}/verify")).await.location();
    assert_eq!(receiver.wait_for_events(1).await[0].id(), id);
}

fn webhook_in(path: &str) -> WebhookId {
    WebhookId(path.rsplit_once('/').unwrap().1.parse().unwrap())
}

#[tokio::test]
async fn a_deactivation_is_told_on_every_page_of_the_company_until_it_is_verified() {
    let receiver = Receiver::start().await;
    let (agency, path, mut browser) = scene(&receiver).await;
    browser.post(&format!("{path}/verify")).await.location();
    let told = "was deactivated. A delivery failed 6 times";
    browser.get(&agency.path("/calls")).await.expect(200).assert_lacks(told);
    agency
        .app
        .write(|tx| {
            tx.execute(sql("update webhooks set status = 'deactivated',
                            status_reason = 'A delivery failed 6 times, the last time with: <b>', revision = revision + 1"))
        })
        .await;
    for page in ["/calls", "/events", "/webhooks"] {
        let page = browser.get(&agency.path(page)).await.expect(200);
        page.assert_has(told);
        page.assert_lacks("<b>");
    }
    browser.post(&format!("{path}/verify")).await.location();
    browser.get(&agency.path("/calls")).await.expect(200).assert_lacks(told);
}

#[tokio::test]
async fn a_webhook_is_made_and_its_secret_shown_once() {
    let receiver = Receiver::start().await;
    let (agency, _, mut browser) = scene(&receiver).await;
    let form = browser.get(&agency.path("/webhooks/new")).await.expect(200);
    form.assert_has("name=\"events\" value=\"all\" checked");
    let typed = [
        ("target", receiver.url.as_str()),
        ("description", "The CRM"),
        ("events", "call.finished"),
        ("events", "message.received"),
        ("headers", "X-Key: 7"),
        ("rate_per_s", "2.5"),
    ];
    let page = browser.post_form(&agency.path("/webhooks"), &typed).await.location().to_owned();
    let shown = browser.get(&page).await.expect(200);
    shown.assert_has("The webhook is made and being verified.");
    shown.assert_has("<code class=\"secret\">whsec_");
    shown.assert_has("<code>call.finished</code> <code>message.received</code>");
    shown.assert_has("2.5 a second at most");
    let again = browser.get(&page).await.expect(200);
    again.assert_lacks("whsec_");
    again.assert_lacks("being verified");
    assert_eq!(receiver.wait_for(1).await[0].headers["x-key"], "7");
}

#[tokio::test]
async fn what_is_wrong_with_a_webhook_stands_beside_its_input() {
    let receiver = Receiver::start().await;
    let (agency, path, mut browser) = scene(&receiver).await;
    let typed =
        [("target", "ftp://x"), ("description", "Kept <b>"), ("headers", "Host: x"), ("rate_per_s", "many")];
    for page in [agency.path("/webhooks"), path.clone()] {
        let refused = browser.post_form(&page, &typed).await.expect(400);
        refused.assert_has("aria-invalid=\"true\" aria-describedby=\"f-target-error\"");
        refused.assert_has("id=\"f-headers-error\">is set by us");
        refused.assert_has("id=\"f-rate_per_s-error\">must be a number");
        refused.assert_has("value=\"Kept &#60;b&#62;\"");
        refused.assert_has("must have 1 to 9 items");
    }
    let list = browser.get(&agency.path("/webhooks")).await.expect(200);
    assert_eq!(list.text.matches("badge unverified").count(), 1, "nothing was made");
}

#[tokio::test]
async fn a_webhook_is_changed_tried_rotated_and_deleted() {
    let receiver = Receiver::start().await;
    let (agency, path, mut browser) = scene(&receiver).await;
    let edit = browser.get(&format!("{path}/edit")).await.expect(200);
    edit.assert_has(&format!("value=\"{}\"", receiver.url));
    let typed = [("target", receiver.url.as_str()), ("description", "Renamed"), ("events", "usage.created")];
    assert_eq!(browser.post_form(&path, &typed).await.location(), path);
    let changed = browser.get(&path).await.expect(200);
    changed.assert_has("<dd>Renamed</dd>");
    changed.assert_has("<code>usage.created</code>");
    let tried = browser.post_form(&format!("{path}/test"), &[("type", "usage.created")]).await.expect(200);
    tried.assert_has("Sample of usage.created: 200 in ");
    assert_eq!(receiver.wait_for(1).await[0].headers["webhook-test"], "true");
    assert_eq!(browser.post(&format!("{path}/secret")).await.location(), path);
    browser.get(&path).await.expect(200).assert_has("<code class=\"secret\">whsec_");
    assert_eq!(browser.post(&format!("{path}/delete")).await.location(), agency.path("/webhooks"));
    browser.get(&path).await.expect(404);
    browser.get(&agency.path("/webhooks")).await.expect(200).assert_has("No webhooks yet");
}

#[tokio::test]
async fn a_range_is_replayed_and_the_replay_cancelled() {
    let receiver = Receiver::start().await;
    let (_agency, path, mut browser) = scene(&receiver).await;
    let replays = format!("{path}/replays");
    let wrong = browser
        .post_form(&replays, &[("from", "2026-03-09"), ("to", "2026-03-01"), ("states", "delivered")])
        .await
        .expect(400);
    wrong.assert_has("id=\"f-from-error\">must be before `to`");
    let typed = [("from", "2026-03-01"), ("to", ""), ("states", "delivered")];
    assert_eq!(browser.post_form(&replays, &typed).await.location(), replays);
    let waiting = browser.get(&replays).await.expect(200);
    waiting.assert_has("The replay has begun.");
    waiting.assert_has("<span class=\"badge waiting\">waiting</span>");
    let second = browser.post_form(&replays, &typed).await.expect(409);
    second.assert_has("eplay 1 of this webhook is running");
    assert_eq!(browser.post(&format!("{replays}/1/cancel")).await.location(), replays);
    browser.get(&replays).await.expect(200).assert_has("<span class=\"badge cancelled\">cancelled</span>");
}

#[tokio::test]
async fn who_may_only_look_sees_no_buttons_and_changes_nothing() {
    let receiver = Receiver::start().await;
    let (agency, path, mut ana) = scene(&receiver).await;
    let (base, ctx) = (&agency.app.api.base, &agency.app.ctx);
    let mut eve = Browser::of_user(base, ctx, "eve@agency.example", Some(agency.company.id)).await;
    agency
        .app
        .write(|tx| {
            tx.execute(sql("update users set can_write = ? where email = 'eve@agency.example'").bind(false))
        })
        .await;
    let shown = eve.get(&path).await.expect(200);
    for button in ["verify", "pause", "test", "secret", "delete", "edit"] {
        shown.assert_lacks(&format!("{path}/{button}"));
        eve.post(&format!("{path}/{button}")).await.expect(if button == "edit" { 405 } else { 403 });
    }
    eve.post_form(&agency.path("/webhooks"), &[("target", &receiver.url)]).await.expect(403);
    ana.get(&path).await.expect(200).assert_has("badge unverified");
}
