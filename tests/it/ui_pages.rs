//! The pages: what is on them, for whom, and that nothing that a stranger named gets out of its place.

use std::collections::BTreeSet;
use std::path::Path;

use calltracker::events;
use calltracker::kernel::page::Page;
use calltracker::trackers::TrackerType;

use crate::support::TestApp;
use crate::support::agency::{Agency, ESCAPED, HOSTILE};
use crate::support::browser::Browser;

const ANA: &str = "ana@agency.example";
const BOB: &str = "bob@acme.example";

/// A page: where it is, and the template that it is made of.
pub struct Known {
    template: &'static str,
    pub path: String,
}

/// An agency with something on every page, and all its pages that are one company's.
pub async fn scene() -> (Agency, Vec<Known>) {
    let agency = Agency::start().await;
    let webhook = agency.webhook(&format!("https://crm.example/{HOSTILE}")).await;
    let (answered, voicemail) = (agency.answered_call().await, agency.voicemail_call().await);
    calltracker::reports::count_due(&agency.app.ctx.db).await.unwrap();
    let text = agency.texts().await;
    agency.changed().await;
    let delivery = agency.tried_delivery(webhook).await;
    agency.alert(webhook).await;
    let campaign = agency.shown_tracker(TrackerType::Campaign, 5, 1).await;
    let pool = agency.shown_tracker(TrackerType::NumberPool, 7, 5).await;
    agency.order(pool).await;
    let visit = agency.visit().await;
    agency.credit(answered, visit).await;
    agency.blocked().await;
    let known = |template, rest: String| Known { template, path: agency.path(&rest) };
    let pages = vec![
        known("overview.html", "/overview".to_owned()),
        known("calls.html", "/calls".to_owned()),
        known("call.html", format!("/calls/{answered}")),
        known("call.html", format!("/calls/{voicemail}")),
        known("events.html", "/events".to_owned()),
        known("webhooks.html", "/webhooks".to_owned()),
        known("catalogue.html", "/events/catalogue".to_owned()),
        known("webhook_form.html", "/webhooks/new".to_owned()),
        known("webhook_form.html", format!("/webhooks/{webhook}/edit")),
        known("replays.html", format!("/webhooks/{webhook}/replays")),
        known("webhook.html", format!("/webhooks/{webhook}")),
        known("webhook.html", format!("/webhooks/{webhook}?state=held")),
        known("alerts.html", "/alerts".to_owned()),
        known("trackers.html", "/trackers".to_owned()),
        known("tracker_kind.html", "/trackers/new".to_owned()),
        known("tracker_form.html", "/trackers/new?tracker_type=offline".to_owned()),
        known("tracker_form.html", "/trackers/new?tracker_type=campaign".to_owned()),
        known("tracker_form.html", "/trackers/new?tracker_type=number_pool".to_owned()),
        known("tracker.html", "/trackers/1".to_owned()),
        known("tracker.html", format!("/trackers/{campaign}")),
        known("tracker.html", format!("/trackers/{pool}")),
        known("tracker_form.html", format!("/trackers/{pool}/edit")),
        known("script.html", "/script".to_owned()),
        known("visits.html", "/visits".to_owned()),
        known("visit.html", format!("/visits/{visit}")),
        known("blocked_callers.html", "/blocked-callers".to_owned()),
        known("messages.html", "/messages".to_owned()),
        known("webhook_form.html", "/messages/new".to_owned()),
        known("thread.html", format!("/messages/{text}")),
        known("voicemails.html", "/voicemails".to_owned()),
        known("usage.html", "/usage".to_owned()),
        known("settings.html", "/settings".to_owned()),
        known("carriers.html", "/settings/carriers".to_owned()),
        known("webhook_form.html", "/settings/carriers/new".to_owned()),
        known("webhook_form.html", "/settings/carriers/1".to_owned()),
        known("tokens.html", "/settings/tokens".to_owned()),
        known("users.html", "/settings/users".to_owned()),
        known("password.html", "/settings/password".to_owned()),
        known("audit.html", "/settings/audit".to_owned()),
        known("delivery.html", format!("/webhooks/{webhook}/deliveries/{delivery}")),
    ];
    (agency, pages)
}

async fn account_browser(app: &TestApp) -> Browser {
    Browser::of_user(&app.api.base, &app.ctx, ANA, None).await
}

#[tokio::test]
async fn nothing_that_was_named_by_others_gets_out_of_its_place() {
    let (agency, pages) = scene().await;
    let mut browser = account_browser(&agency.app).await;
    for page in pages {
        let shown = browser.get(&page.path).await.expect(200);
        shown.assert_has(ESCAPED);
        shown.assert_lacks("<script>");
        shown.assert_lacks("\"'>");
    }
}

#[tokio::test]
async fn every_template_is_shown_somewhere() {
    let (agency, pages) = scene().await;
    let mut browser = account_browser(&agency.app).await;
    let mut rendered: BTreeSet<String> = pages.iter().map(|page| page.template.to_owned()).collect();
    for page in &pages {
        browser.get(&page.path).await.expect(200);
    }
    agency.app.company("Second").await;
    browser.get("/").await.expect(200).assert_has("<h1>Companies</h1>");
    browser.get("/companies/999/calls").await.expect(404).assert_has("There is nothing here");
    Browser::new(&agency.app.api.base).get("/login").await.expect(200);
    let fresh = TestApp::start().await;
    let setup = calltracker::http::ui::setup::url(&fresh.ctx);
    let path = &setup[setup.find("/setup").unwrap()..];
    Browser::new(&fresh.api.base).get(path).await.expect(200);
    Browser::new(&agency.app.api.base)
        .get("/invitation/none")
        .await
        .expect(404)
        .assert_has("isn’t good any more");
    rendered.extend(
        ["companies.html", "error.html", "login.html", "setup.html", "invitation.html"].map(str::to_owned),
    );
    // Parts of all the others.
    rendered.extend(["frame.html", "parts.html", "tracker_parts.html"].map(str::to_owned));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let files = std::fs::read_dir(folder).unwrap();
    let all: BTreeSet<_> = files.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(rendered, all);
}

/// Every page as it is read: see `snapshots/`.
#[tokio::test]
async fn pages_look_as_they_did() {
    let (agency, pages) = scene().await;
    let mut browser = account_browser(&agency.app).await;
    // A delivery's id is made of chance.
    let (_, delivery) = pages.last().unwrap().path.rsplit_once('/').unwrap();
    for Known { path, .. } in pages.iter().filter(|page| !page.path.contains('?')) {
        let shown = browser.get(path).await.expect(200);
        let name = path.replace(delivery, "id").replace('/', "_");
        insta::assert_snapshot!(
            name.trim_start_matches("_companies_1_"),
            tidy(&shown.text.replace(&agency.app.api.base, "http://here"))
        );
    }
    agency.app.company("Second").await;
    for (name, path) in [("companies", "/"), ("error", "/companies/999/calls")] {
        insta::assert_snapshot!(name, tidy(&browser.get(path).await.text));
    }
    let mut nobody = Browser::new(&agency.app.api.base);
    insta::assert_snapshot!("login", tidy(&nobody.log_in("bob@acme.example", "x").await.expect(401).text));
}

/// Without what chance makes (the ids of deliveries), without the hashes of files, and without empty lines.
fn tidy(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let text = lines.collect::<Vec<_>>().join("\n");
    let text = cut_behind(&cut_behind(&text, "msg_", 26), "?v=", 12);
    // The script: a site's key, the hashes of its text, and a link that expires.
    let text = cut_behind(&cut_behind(&text, "/dni/", 37), "/tracker-", 16);
    // Names that open nothing by themselves, made of chance.
    let text = cut_behind(&cut_behind(&text, "\"secret\">site_", 32), "/carrier/ch_", 32);
    cut_behind(&cut_behind(&text, "sha384-", 64), "ct_debug=", 54)
}

/// Cuts so many characters behind each `mark`.
fn cut_behind(text: &str, mark: &str, count: usize) -> String {
    let mut parts = text.split(mark);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |so_far, part| so_far + mark + "…" + &part[count..])
}

/// Pages that each company has.
const LISTS: [&str; 20] = [
    "/overview",
    "/calls",
    "/events",
    "/catalogue",
    "/new",
    "/webhooks",
    "/alerts",
    "/trackers",
    "/script",
    "/visits",
    "/blocked-callers",
    "/messages",
    "/voicemails",
    "/usage",
    "/settings",
    "/carriers",
    "/tokens",
    "/audit",
    "/users",
    "/password",
];

#[tokio::test]
async fn another_companys_pages_and_buttons_do_not_exist() {
    let (agency, pages) = scene().await;
    let other = agency.app.company("Other").await;
    let (base, ctx) = (&agency.app.api.base, &agency.app.ctx);
    let mut bob = Browser::of_user(base, ctx, BOB, Some(other.id)).await;
    let mut ana = account_browser(&agency.app).await;
    let mut stranger = Browser::new(base);
    let ours = agency.path("");
    for Known { path, .. } in &pages {
        bob.get(path).await.expect(404).assert_lacks("Acme");
        assert!(stranger.get(path).await.location().starts_with("/login?next="));
        // Under the other company's own path there is no such thing either, whoever asks.
        let moved = path.replace(&ours, &other.path(""));
        let is_list = LISTS.iter().any(|list| moved.ends_with(list)) || moved.contains("/new?");
        for browser in [&mut bob, &mut ana] {
            let shown = browser.get(&moved).await.expect(if is_list { 200 } else { 404 });
            shown.assert_lacks("Billboard");
            shown.assert_lacks("crm.example");
        }
    }
    let delivery = &pages.last().unwrap().path;
    let webhook = delivery.split("/deliveries/").next().unwrap();
    for button in [
        format!("{webhook}/verify"),
        format!("{webhook}/pause"),
        format!("{webhook}/resume"),
        format!("{webhook}/test"),
        format!("{webhook}/secret"),
        format!("{webhook}/delete"),
        format!("{webhook}/replays"),
        format!("{webhook}/replays/1/cancel"),
        webhook.to_owned(),
        format!("{delivery}/resend"),
        format!("{ours}/alerts/1/acknowledge"),
        format!("{ours}/trackers/1"),
        format!("{ours}/trackers/1/numbers"),
        format!("{ours}/trackers/1/size"),
        format!("{ours}/trackers/1/delete"),
        format!("{ours}/number-orders/1/cancel"),
        format!("{ours}/blocked-callers/1/unblock"),
    ] {
        bob.post(&button).await.expect(404);
        ana.post(&button.replace(&ours, &other.path(""))).await.expect(404);
        assert_eq!(stranger.post(&button).await.location(), "/login");
    }
    ana.get(webhook).await.expect(200).assert_has("<span class=\"badge unverified\">unverified</span>");
}

#[tokio::test]
async fn who_sees_one_company_is_led_to_its_overview() {
    let app = TestApp::start().await;
    let mut ana = account_browser(&app).await;
    ana.get("/").await.expect(200).assert_has("No companies yet");
    let first = app.company("First").await;
    assert_eq!(ana.get("/").await.location(), first.path("/overview"));
    assert_eq!(ana.get(&first.path("")).await.location(), first.path("/overview"));
    let second = app.company("Second").await;
    let shown = ana.get("/").await.expect(200);
    assert_eq!(shown.link("First"), first.path("/overview"));
    assert_eq!(shown.link("Second"), second.path("/overview"));
    let mut bob = Browser::of_user(&app.api.base, &app.ctx, BOB, Some(second.id)).await;
    assert_eq!(bob.get("/").await.location(), second.path("/overview"));
    app.write(move |tx| calltracker::companies::delete(tx, second.scope)).await;
    bob.get("/").await.expect(200).assert_has("isn’t there any more");
    bob.get(&second.path("/overview")).await.expect(404);
}

#[tokio::test]
async fn empty_pages_say_what_to_do() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let mut browser = account_browser(&app).await;
    for (rest, text) in [
        ("/calls", "No calls yet"),
        ("/events", "Nothing has happened yet"),
        ("/webhooks", "No webhooks yet"),
        ("/alerts", "No alerts"),
        ("/trackers", "No trackers yet"),
        ("/trackers/new", "connect an account"),
        ("/visits", "No visits yet"),
        ("/blocked-callers", "Nobody is blocked"),
        ("/messages", "No messages yet"),
        ("/voicemails", "No voicemails yet"),
        ("/usage", "No period is over yet"),
        ("/settings/carriers", "No carrier yet"),
        ("/settings/audit", "Nothing was changed yet"),
    ] {
        browser.get(&company.path(rest)).await.expect(200).assert_has(text);
    }
}

#[tokio::test]
async fn a_call_is_shown_with_the_time_of_its_company() {
    let agency = Agency::start().await;
    let ringing = agency.ring("CA9").await;
    let answered = agency.answered_call().await;
    let mut browser = account_browser(&agency.app).await;
    let list = browser.get(&agency.path("/calls")).await.expect(200);
    // 09:00 in UTC; the clocks went forward the day before.
    list.assert_has(
        "<time datetime=\"2026-03-09T09:00:00.000000Z\">2026-03-09 05:00:00 <abbr>EDT</abbr></time>",
    );
    list.assert_has("America/New_York");
    list.assert_has("<span class=\"badge ringing\">ringing</span>");
    list.assert_has("<span class=\"badge answered\">answered</span>");
    list.assert_has("1:23");
    let (first, last) = (format!("/calls/{answered}\""), format!("/calls/{ringing}\""));
    assert!(list.text.find(&first) < list.text.find(&last), "the newest is first");
    let call = browser.get(&agency.path(&format!("/calls/{answered}"))).await.expect(200);
    call.assert_has("<h1>Call from +18183219876</h1>");
    call.assert_has("src=\"/recordings/1.mp3?expires=");
    call.assert_has("<span class=\"soft\">1:01</span>");
    call.assert_has("name=\"value\" value=\"12.5\"");
    let ringing = browser.get(&agency.path(&format!("/calls/{ringing}"))).await.expect(200);
    ringing.assert_lacks("<audio");
    ringing.assert_lacks("<dt>Duration</dt>");
}

#[tokio::test]
async fn a_message_can_be_listened_to() {
    let agency = Agency::start().await;
    let call = agency.voicemail_call().await;
    let mut browser = account_browser(&agency.app).await;
    let shown = browser.get(&agency.path(&format!("/calls/{call}"))).await.expect(200);
    shown.assert_has("<span class=\"badge voicemail\">voicemail</span>");
    shown.assert_has("aria-label=\"Voicemail of this call\"");
    shown.assert_has("<blockquote>Please call me back.");
    let list = browser.get(&agency.path("/calls")).await.expect(200);
    assert_eq!(list.link("Message"), agency.path(&format!("/calls/{call}#audio")));
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let agency = Agency::start().await;
    for n in 0..51 {
        agency.ring(&format!("CA{n}")).await;
    }
    let mut browser = account_browser(&agency.app).await;
    // A call is an event, and so was the tracker.
    for (list, total) in [("/calls", 51), ("/events", 52)] {
        let count = |text: &str| text.matches("<tr>").count() - 1;
        let first = browser.get(&agency.path(list)).await.expect(200);
        assert_eq!(count(&first.text), 50);
        first.assert_lacks(">Newest</a>");
        first.assert_has("<div data-live>");
        let second = browser.get(&first.link("Older")).await.expect(200);
        assert_eq!(count(&second.text), total - 50);
        second.assert_lacks(">Older</a>");
        second.assert_lacks("data-live");
        assert_eq!(second.link("Newest"), agency.path(list));
        browser.get(&agency.path(&format!("{list}?after=nonsense"))).await.expect(400);
    }
}

#[tokio::test]
async fn events_are_shown_newest_first() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let other = app.company("Other").await;
    let first = app.append_event(company.scope, 1).await;
    app.append_event(other.scope, 2).await;
    let last = app.append_event(company.scope, 3).await;
    let all = events::latest(&app.ctx.db, company.scope, Page::default()).await.unwrap();
    assert_eq!(all.rows.iter().map(|event| event.id.0).collect::<Vec<_>>(), [last, first]);
    let page = Page { limit: 1, ..Page::default() };
    let newest = events::latest(&app.ctx.db, company.scope, page).await.unwrap();
    assert_eq!(newest.rows[0].id.0, last);
    assert_eq!(newest.rows[0].timestamp, newest.rows[0].occurred_at.envelope());
    assert!(newest.next.is_some());
}

#[tokio::test]
async fn pages_load_nothing_strange_and_are_not_kept() {
    let (agency, pages) = scene().await;
    let mut browser = account_browser(&agency.app).await;
    let mut all: Vec<String> = pages.into_iter().map(|page| page.path).collect();
    all.extend(["/login", "/companies/999", "/companies/1/nothing/here"].map(str::to_owned));
    for path in all {
        let shown = browser.get(&path).await;
        let policy = shown.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(shown.header("cache-control"), "no-store", "{path}");
        assert_eq!(shown.header("referrer-policy"), "same-origin");
        assert_eq!(shown.header("x-content-type-options"), "nosniff");
        for inline in ["<style", " style=", " onclick=", "javascript:", "http-equiv"] {
            shown.assert_lacks(inline);
        }
    }
}

#[tokio::test]
async fn the_style_sheet_is_kept_until_it_changes() {
    let app = TestApp::start().await;
    let mut browser = Browser::new(&app.api.base);
    let login = browser.get("/login").await.expect(200);
    for (before, kind) in [("rel=\"stylesheet\" href=\"", "text/css"), ("rel=\"icon\" href=\"", "image/svg")]
    {
        let url = login.text.split_once(before).unwrap().1.split('"').next().unwrap();
        assert!(url.contains("?v="), "{url}");
        let file = browser.get(url).await.expect(200);
        assert!(file.header("content-type").starts_with(kind));
        assert_eq!(file.header("cache-control"), "public, max-age=31536000, immutable");
    }
    let script = browser.get("/static/app.js").await.expect(200);
    assert!(script.header("content-type").starts_with("text/javascript"));
}

#[tokio::test]
async fn what_does_not_exist_is_told_on_a_page() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let mut browser = account_browser(&app).await;
    for rest in ["/calls/1", "/calls/x", "/calls/-1", "/webhooks/1", "/webhooks/1/deliveries/msg_1", "/x/y"] {
        let shown = browser.get(&company.path(rest)).await.expect(404);
        assert_eq!(shown.header("content-type"), "text/html; charset=utf-8", "{rest}");
    }
    browser.get("/companies/x/calls").await.expect(404);
    browser.get(&company.path("/webhooks/1?state=strange")).await.expect(404);
}
