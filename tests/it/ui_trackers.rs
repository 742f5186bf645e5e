//! The pages about trackers: what is done on them is done, at a modelled carrier, and what is wrong is told there.

use axum::Router;
use axum::response::Html;
use calltracker::carriers::provision::fill_orders;
use calltracker::db::sql;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::agency::{Agency, ESCAPED, HOSTILE};
use crate::support::browser::Browser;
use crate::support::carrier::{Carrier, Fault, Step};
use crate::support::world::{ACCOUNT_SID, AUTH_TOKEN, DESTINATION};
use crate::support::{TestApp, TestCompany};

const ANA: &str = "ana@agency.example";
const ON_SALE: [&str; 4] = ["+12705550101", "+12705550102", "+12705550103", "+15025550104"];
const OWN: &str = "+12705550150";

/// A company with an account at a carrier that has numbers on sale, and somebody who looks at its pages.
struct Scene {
    app: TestApp,
    company: TestCompany,
    carrier: Carrier,
    ana: Browser,
}

impl Scene {
    async fn new() -> Scene {
        let app = TestApp::quiet(|_| {}).await;
        let (company, carrier) = (app.company("Acme").await, Carrier::start().await);
        carrier.put_on_sale(&ON_SALE);
        let ana = Browser::of_user(&app.api.base, &app.ctx, ANA, None).await;
        let scene = Scene { app, company, carrier, ana };
        scene.connect(ACCOUNT_SID).await;
        scene
    }

    async fn connect(&self, sid: &str) {
        let account = json!({
            "kind": "twilio", "account_sid": sid, "auth_token": AUTH_TOKEN, "base_url": self.carrier.url,
        });
        self.company.api.post(&self.company.path("/carriers"), &account).await.expect(201);
    }

    fn path(&self, rest: &str) -> String {
        self.company.path(rest)
    }

    /// Fills in the form for a new tracker; gives its path.
    async fn made(&mut self, fields: &[(&str, &str)]) -> String {
        let to = self.path("/trackers");
        self.ana.post_form(&to, fields).await.location().to_owned()
    }

    /// A pool of so many numbers; gives its path.
    async fn pool(&mut self, size: &str) -> String {
        let mut fields = form("number_pool", "Web site");
        fields.extend([("swap_target", "(270) 315-2766"), ("number_pool_size", size)]);
        self.made(&fields).await
    }
}

/// What a browser sends of the form for a new tracker, as far as every kind has it.
fn form<'a>(kind: &'a str, name: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("tracker_type", kind),
        ("name", name),
        ("number_type", "local"),
        ("numbers.buy.area_code", ""),
        ("numbers.attach", ""),
        ("destination", DESTINATION),
        ("ring_timeout_s", "25"),
        ("status", "on"),
        ("recording_message", ""),
        ("whisper_message", ""),
        ("voicemail_greeting", ""),
    ]
}

fn set<'a>(fields: &mut Vec<(&'a str, &'a str)>, name: &'a str, value: &'a str) {
    fields.retain(|(present, _)| *present != name);
    fields.push((name, value));
}

#[tokio::test]
async fn a_tracker_is_made_step_by_step_with_a_number_of_choice() {
    let mut scene = Scene::new().await;
    let (list, new) = (scene.path("/trackers"), scene.path("/trackers/new"));
    let empty = scene.ana.get(&list).await.expect(200);
    assert_eq!(empty.link("Create the first one"), new);
    let kinds = scene.ana.get(&new).await.expect(200);
    let offline = kinds.link("Offline");
    let step = scene.ana.get(&offline).await.expect(200);
    step.assert_has("name=\"tracker_type\" value=\"offline\"");
    step.assert_lacks("name=\"swap_target\"");
    step.assert_lacks("name=\"carrier_id\"");
    step.assert_lacks("name=\"pool_hold_minutes\"");

    let mut fields = form("offline", "Spring <b>flyer");
    set(&mut fields, "numbers.buy.area_code", "270");
    fields.extend([("recording_enabled", "on"), ("step", "search")]);
    let searched = scene.ana.post_form(&list, &fields).await.expect(200);
    searched.assert_has("name=\"choose\" value=\"+12705550102\"");
    searched.assert_lacks("+15025550104");
    searched.assert_has("value=\"Spring &#60;b&#62;flyer\"");
    searched.assert_has("name=\"recording_enabled\" checked");
    assert_eq!(scene.carrier.count(Step::Buy), 0, "a look buys nothing");

    // Asked for by a link, it is the same.
    let linked = scene.ana.get(&format!("{offline}&area_code=502")).await.expect(200);
    linked.assert_has("name=\"numbers.buy.area_code\" value=\"502\"");
    linked.assert_has("name=\"choose\" value=\"+15025550104\"");

    fields.retain(|(name, _)| *name != "step");
    fields.push(("choose", "+12705550102"));
    let tracker = scene.made(&fields).await;
    assert_eq!(scene.carrier.owned(), ["+12705550102"]);
    let shown = scene.ana.get(&tracker).await.expect(200);
    shown.assert_has("The tracker is made.");
    shown.assert_has("<h1>Spring &#60;b&#62;flyer</h1>");
    shown.assert_has("+12705550102");
    shown.assert_has("on; callers aren’t told");
    let listed = scene.ana.get(&list).await.expect(200);
    listed.assert_has("<span class=\"badge active\">in service</span>");
    listed.assert_has("<span class=\"badge\">records</span>");
}

#[tokio::test]
async fn any_number_is_bought_and_own_ones_are_attached() {
    let mut scene = Scene::new().await;
    let mut fields = form("offline", "Any");
    set(&mut fields, "numbers.buy.area_code", "502");
    scene.made(&fields).await;
    assert_eq!(scene.carrier.owned(), ["+15025550104"]);
    scene.carrier.give(OWN, "");
    let mut fields = form("campaign", "Own");
    set(&mut fields, "numbers.attach", OWN);
    fields.extend([
        ("swap_target", "(270) 315-2766"),
        ("campaign_source", "search"),
        ("campaign_search_from", "google, bing"),
    ]);
    let tracker = scene.made(&fields).await;
    let shown = scene.ana.get(&tracker).await.expect(200);
    shown.assert_has(OWN);
    shown.assert_has("Visitors who searched at google or bing (paid or organic) see its number in place of (270) 315-2766.");
    assert_eq!(scene.carrier.count(Step::Buy), 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_tracker_is_told_and_nothing_is_lost() {
    let mut scene = Scene::new().await;
    let list = scene.path("/trackers");
    let mut fields = form("campaign", "");
    for (name, value) in
        [("destination", "12"), ("numbers.buy.area_code", "27"), ("whisper_message", "From <us>")]
    {
        set(&mut fields, name, value);
    }
    fields.push(("swap_target", "nonsense"));
    let refused = scene.ana.post_form(&list, &fields).await.expect(400);
    refused.assert_has("id=\"f-name-error\"");
    refused.assert_has("id=\"f-destination-error\"");
    refused.assert_has("id=\"f-numbers-buy-area_code-error\">must be three digits");
    refused.assert_has("From &#60;us&#62;</textarea>");
    fields.push(("step", "search"));
    let searched = scene.ana.post_form(&list, &fields).await.expect(400);
    searched.assert_has("id=\"f-numbers-buy-area_code-error\">must be three digits");

    let mut fields = form("offline", "Kept");
    set(&mut fields, "numbers.buy.area_code", "999");
    fields.push(("step", "search"));
    let nothing = scene.ana.post_form(&list, &fields).await.expect(200);
    nothing.assert_has("The carrier has no such numbers now.");
    // The carrier fails: a sentence, and the form as it was.
    scene.carrier.fail(Step::Search, Fault::Refuse(503, 0));
    let failed = scene.ana.post_form(&list, &fields).await.expect(502);
    failed.assert_has("class=\"failure\" role=\"alert\">");
    failed.assert_has("value=\"Kept\"");
    failed.assert_has("value=\"999\"");
    // Somebody else was quicker.
    let mut fields = form("offline", "Kept");
    fields.push(("choose", "+12705550177"));
    let taken = scene.ana.post_form(&list, &fields).await.expect(422);
    taken.assert_has("A number that was chosen isn&#39;t for sale any more; choose another.");
    taken.assert_has("value=\"+12705550177\" checked");
    assert!(scene.carrier.owned().is_empty());
    scene.ana.get(&list).await.expect(200).assert_has("No trackers yet");
    scene.ana.get(&scene.path("/trackers/new?tracker_type=strange")).await.expect(400);
    scene.ana.post_form(&list, &[("name", "No kind")]).await.expect(400);
}

#[tokio::test]
async fn without_a_carrier_it_is_told_to_connect_one_and_of_several_one_is_chosen() {
    let app = TestApp::quiet(|_| {}).await;
    let company = app.company("Acme").await;
    let mut ana = Browser::of_user(&app.api.base, &app.ctx, ANA, None).await;
    let list = company.path("/trackers");
    assert_eq!(
        ana.get(&list).await.expect(200).link("connect an account"),
        company.path("/settings/carriers")
    );
    let refused = ana.post_form(&list, &form("offline", "First")).await.expect(409);
    refused.assert_has("Connect a carrier account first.");
    refused.assert_has("value=\"First\"");

    let mut scene = Scene::new().await;
    let (company, carrier) = (scene.company.id, scene.carrier.url.clone());
    // A second account, which nobody asked the carrier about.
    let copy =
        "insert into carriers (company_id, kind, account_sid, credentials, base_url, hook_token, created_at)
                select company_id, kind, 'AC2', credentials, base_url, 'ch_other', created_at from carriers
                where company_id = ? and base_url like ?";
    scene.app.write(move |tx| tx.execute(sql(copy).bind(company).bind(format!("{carrier}%")))).await;
    let list = scene.path("/trackers");
    let which = scene.ana.post_form(&list, &form("offline", "Which")).await.expect(400);
    which.assert_has("id=\"f-carrier_id-error\">is required");
    which.assert_has("<option value=\"1\">twilio AC0000");
    let mut fields = form("offline", "This");
    fields.push(("carrier_id", "1"));
    scene.made(&fields).await;
    assert_eq!(scene.carrier.owned().len(), 1);
}

#[tokio::test]
async fn a_tracker_is_changed_and_deleted() {
    let mut scene = Scene::new().await;
    let tracker = scene.made(&form("offline", "Flyer")).await;
    let edit = scene.ana.get(&format!("{tracker}/edit")).await.expect(200);
    edit.assert_has("value=\"Flyer\"");
    edit.assert_lacks("numbers.attach");
    let mut fields = form("offline", "Poster");
    fields.retain(|(name, _)| *name != "status");
    fields.push(("voicemail_enabled", "on"));
    set(&mut fields, "voicemail_greeting", "We are out.");
    assert_eq!(scene.ana.post_form(&tracker, &fields).await.location(), tracker);
    let changed = scene.ana.get(&tracker).await.expect(200);
    changed.assert_has("<h1>Poster</h1>");
    changed.assert_has("<span class=\"badge\">off</span>");
    changed.assert_has("on; “We are out.”");
    let number = scene.carrier.owned().remove(0);
    set(&mut fields, "destination", &number);
    let refused = scene.ana.post_form(&tracker, &fields).await.expect(400);
    refused.assert_has("id=\"f-destination-error\">is a tracking number: calls would go round");
    assert_eq!(scene.ana.post(&format!("{tracker}/delete")).await.location(), scene.path("/trackers"));
    scene.ana.get(&tracker).await.expect(404);
    scene.ana.get(&scene.path("/trackers")).await.expect(200).assert_has("No trackers yet");
    scene.ana.post(&format!("{tracker}/delete")).await.expect(404);
}

#[tokio::test]
async fn a_pool_grows_and_shrinks_and_says_how_many_it_needs() {
    let mut scene = Scene::new().await;
    let pool = scene.pool("2").await;
    let shown = scene.ana.get(&pool).await.expect(200);
    shown.assert_has("2 numbers</h2>");
    shown.assert_has("No visit has asked for a number yet.");
    shown.assert_lacks("<dt>Recommended</dt>");
    shown.assert_has("2, 0 of them taken");
    scene.ana.get(&scene.path("/trackers")).await.expect(200).assert_has("0 of 2 taken");
    let more = format!("{pool}/numbers");
    let refused =
        scene.ana.post_form(&more, &[("numbers.buy.area_code", "1"), ("numbers.buy.count", "2")]).await;
    refused.expect(400).assert_has("id=\"f-numbers-buy-area_code-error\">must be three digits");
    let typed = [("numbers.buy.area_code", ""), ("numbers.buy.count", "1"), ("numbers.attach", "")];
    assert_eq!(scene.ana.post_form(&more, &typed).await.location(), pool);
    scene.ana.get(&pool).await.expect(200).assert_has("3 numbers</h2>");
    let size = format!("{pool}/size");
    let refused = scene.ana.post_form(&size, &[("number_pool_size", "9")]).await.expect(400);
    refused.assert_has("id=\"f-number_pool_size-error\">is larger than the pool");
    assert_eq!(scene.ana.post_form(&size, &[("number_pool_size", "2")]).await.location(), pool);
    let smaller = scene.ana.get(&pool).await.expect(200);
    smaller.assert_has("2 numbers</h2>");
    smaller.assert_has("<span class=\"badge\">given back</span>");
    // More than can be bought while one waits.
    let many = [("numbers.buy.count", "11")];
    assert_eq!(scene.ana.post_form(&more, &many).await.location(), pool);
    let ordered = scene.ana.get(&pool).await.expect(200);
    ordered.assert_has("11 numbers are being bought.");
    ordered.assert_has("<progress max=\"11\" value=\"0\"");
    let second = scene.ana.post_form(&more, &many).await.expect(409);
    second.assert_has("Number order 1 is buying for this tracker");
    let cancel = scene.path("/number-orders/1/cancel");
    assert_eq!(scene.ana.post(&cancel).await.location(), pool);
    let cancelled = scene.ana.get(&pool).await.expect(200);
    cancelled.assert_has("<span class=\"badge cancelled\">cancelled</span>");
    cancelled.assert_lacks("<progress");
    scene.ana.post(&scene.path("/number-orders/9/cancel")).await.expect(404);
}

#[tokio::test]
async fn a_large_pool_is_ordered_and_its_order_shown_until_it_is_there() {
    let mut scene = Scene::new().await;
    let many: Vec<String> = (0..20).map(|n| format!("+1812555{n:04}")).collect();
    scene.carrier.put_on_sale(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let list = scene.path("/trackers");
    assert_eq!(scene.pool("12").await, list);
    let ordered = scene.ana.get(&list).await.expect(200);
    ordered.assert_has("12 numbers are being bought. The tracker is made when all are there.");
    ordered.assert_has("<span class=\"url\">Web site</span>: 0 of 12 numbers");
    while fill_orders(&scene.app.ctx).await.unwrap() > 0 {}
    let done = scene.ana.get(&list).await.expect(200);
    done.assert_has("0 of 12 taken");
    done.assert_lacks("<progress");
}

#[tokio::test]
async fn the_script_is_shown_and_a_page_of_the_site_checked() {
    let mut scene = Scene::new().await;
    let page = scene.path("/script");
    let shown = scene.ana.get(&page).await.expect(200);
    shown.assert_has("&#60;script async src=&#34;");
    shown.assert_has("integrity=&#34;sha384-");
    shown.assert_has("ct_debug=");
    shown.assert_has("<code>ct_test=1</code>");
    let company = scene.company.reader.get(&scene.path("")).await.expect(200);
    let key = company.json["site_key"].as_str().unwrap();
    let tag = format!("<script async src=\"{}dni/{key}/tracker.js\"></script>", scene.app.ctx.public_url);
    let good = format!("<html><head>{tag}</head><body>Call (270) 315-2766</body></html>");
    let bad = format!("<html><body>Call (502) 555-0199, or +1 270 555 0150 {HOSTILE}</body></html>");
    let router = Router::new()
        .route("/good", axum::routing::get(async move || Html(good)))
        .route("/bad", axum::routing::get(async move || Html(bad)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });

    scene.carrier.give(OWN, "");
    let mut fields = form("campaign", "Search <b>");
    set(&mut fields, "numbers.attach", OWN);
    fields.extend([("swap_target", "(270) 315-2766"), ("campaign_source", "always")]);
    let tracker = scene.made(&fields).await;

    let report = scene.ana.post_form(&page, &[("url", &format!("{site}/good"))]).await.expect(200);
    report.assert_has("Everything is in place: calls from this page are tracked.");
    report.assert_has("there, once");
    report.assert_has("(270) 315-2766");
    assert_eq!(report.link("Search &#60;b&#62;"), tracker);
    let report = scene.ana.post_form(&page, &[("url", &format!("{site}/bad"))]).await.expect(200);
    report.assert_has("The script isn&#39;t on the page.");
    report.assert_has("not found");
    report.assert_has("a tracking number, typed in");
    report.assert_has("<h3>Not on the page</h3>");
    report.assert_lacks("<b>");
    let nowhere = scene.ana.post_form(&page, &[("url", "http://127.0.0.1:9/")]).await.expect(200);
    nowhere.assert_has("no answer");
    let wrong = scene.ana.post_form(&page, &[("url", "ftp://<x>")]).await.expect(400);
    wrong.assert_has("id=\"f-url-error\"");
    wrong.assert_has("value=\"ftp://&#60;x&#62;\"");
}

#[tokio::test]
async fn a_visit_is_shown_with_its_pages_its_numbers_and_its_call() {
    let agency = Agency::start().await;
    agency.shown_tracker(calltracker::trackers::TrackerType::Campaign, 5, 1).await;
    let pool = agency.shown_tracker(calltracker::trackers::TrackerType::NumberPool, 7, 3).await;
    let visit = agency.visit().await;
    let call = agency.answered_call().await;
    agency.credit(call, visit).await;
    let mut ana = Browser::of_user(&agency.app.api.base, &agency.app.ctx, ANA, None).await;
    let list = ana.get(&agency.path("/visits")).await.expect(200);
    list.assert_has("<td data-label=\"Channel\">paid</td>");
    list.assert_has("<td data-label=\"Pages\" class=\"number\">2</td>");
    assert_eq!(list.link(&format!("Call {call}")), agency.path(&format!("/calls/{call}")));
    let shown = ana.get(&agency.path(&format!("/visits/{visit}"))).await.expect(200);
    shown.assert_has(&format!("<dt>Keyword</dt><dd>&#34;&#39;&#62;&#60;/td&#62;&#60;/pre&#62;{ESCAPED}"));
    shown.assert_has("https://www.example.com/contact");
    shown.assert_has("<code class=\"phone\">campaign/search</code>");
    shown.assert_has("the search was at google, not bing");
    shown.assert_has("<strong class=\"phone\">+15025557");
    shown.assert_has("this one</td>");
    let taken = ana.get(&agency.path(&format!("/trackers/{pool}"))).await.expect(200);
    taken.assert_has("3, 1 of them taken");
    taken.assert_has("<strong>Buy 1 more.</strong>");
    taken.assert_has("a guess so far");
    ana.get(&agency.path("/visits/999")).await.expect(404);
}

#[tokio::test]
async fn a_caller_is_blocked_and_unblocked() {
    let mut scene = Scene::new().await;
    let list = scene.path("/blocked-callers");
    let refused = scene.ana.post_form(&list, &[("number", "12"), ("note", "Kept <b>")]).await.expect(400);
    refused.assert_has("id=\"f-number-error\">is not a valid phone number");
    refused.assert_has("value=\"Kept &#60;b&#62;\"");
    let typed = [("number", "+18183219876"), ("note", "Sells things <b>")];
    assert_eq!(scene.ana.post_form(&list, &typed).await.location(), list);
    let shown = scene.ana.get(&list).await.expect(200);
    shown.assert_has("Calls from +18183219876 are refused from now on.");
    shown.assert_has("Sells things &#60;b&#62;");
    assert_eq!(shown.link("+18183219876"), scene.path("/calls?search=%2B18183219876"));
    assert_eq!(scene.ana.post(&format!("{list}/1/unblock")).await.location(), list);
    scene.ana.get(&list).await.expect(200).assert_has("Nobody is blocked");
    scene.ana.post(&format!("{list}/1/unblock")).await.expect(404);
}

#[tokio::test]
async fn who_may_only_look_sees_no_forms_and_changes_nothing_and_others_see_nothing() {
    let mut scene = Scene::new().await;
    let pool = scene.pool("2").await;
    let (base, ctx) = (&scene.app.api.base, &scene.app.ctx);
    let mut eve = Browser::of_user(base, ctx, "eve@agency.example", Some(scene.company.id)).await;
    let look = "update users set can_write = ? where email = 'eve@agency.example'";
    scene.app.write(move |tx| tx.execute(sql(look).bind(false))).await;
    let other = scene.app.company("Other").await;
    let mut bob = Browser::of_user(base, ctx, "bob@other.example", Some(other.id)).await;
    for page in [pool.clone(), scene.path("/trackers"), scene.path("/script"), scene.path("/blocked-callers")]
    {
        let shown = eve.get(&page).await.expect(200);
        // The one form is for logging out.
        assert_eq!(shown.text.matches("<form").count(), 1, "{page}");
        shown.assert_lacks("/new\"");
        shown.assert_lacks("/edit\"");
        bob.get(&page).await.expect(404);
    }
    for form in [scene.path("/trackers/new"), format!("{pool}/edit")] {
        eve.get(&form).await.expect(403);
        bob.get(&form).await.expect(404);
    }
    for button in [
        scene.path("/trackers"),
        scene.path("/script"),
        scene.path("/blocked-callers"),
        scene.path("/blocked-callers/1/unblock"),
        scene.path("/number-orders/1/cancel"),
        pool.clone(),
        format!("{pool}/numbers"),
        format!("{pool}/size"),
        format!("{pool}/delete"),
    ] {
        eve.post(&button).await.expect(403);
        bob.post(&button).await.expect(404);
    }
    scene.ana.get(&pool).await.expect(200).assert_has("2 numbers</h2>");
}
