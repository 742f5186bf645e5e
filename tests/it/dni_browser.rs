//! The whole way from a page in a real browser to a call's source: the real script, the real server, numbers of a
//! pool. What the script does to pages is in [`super::dni_browser_script`].

use calltracker::carriers::accounts;
use calltracker::db::Tx;
use calltracker::trackers::pool::Exhausted;
use calltracker::trackers::{self, OwnedNumber, Settings, TrackerType};
use serde_json::{Value as Json, json};

use crate::support::PATIENCE;
use crate::support::chromium::Chromium;
use crate::support::site::{Site, shown};
use crate::support::website::Website;
use crate::support::world::{AUTH_TOKEN, NOWHERE, new_account, number};

const REAL: &str = "270-315-2766";

/// A company with a site, and somebody who looks at it.
struct Scene {
    site: Site,
    /// What the API says of the script.
    script: Json,
    website: Website,
    chromium: Chromium,
}

impl Scene {
    async fn start() -> Scene {
        let site = Site::open().await;
        let company = &site.line.company;
        let script = company.reader.get(&company.path("/script")).await.expect(200).json;
        let website = Website::start(text(&script["html"])).await;
        Scene { site, script, website, chromium: Chromium::start().await }
    }

    async fn open(&self, page: &str) {
        self.chromium.open(&self.website.page(page)).await;
    }

    /// The company's visits, newest first.
    async fn visits(&self) -> Vec<Json> {
        let company = &self.site.line.company;
        company.reader.list(&company.path("/sessions?limit=100")).await
    }

    /// A visit with its pages and numbers.
    async fn explained(&self, visit: &Json) -> Json {
        let company = &self.site.line.company;
        let path = company.path(&format!("/sessions/{}", visit["id"]));
        company.reader.get(&path).await.expect(200).json
    }

    /// Waits until the last visit has so many pages; gives it.
    async fn until_pages(&self, count: usize) -> Json {
        let mut last = Json::Null;
        let waiting = async {
            while last["pages"].as_array().is_none_or(|pages| pages.len() < count) {
                self.site.write_beats().await;
                last = self.explained(&self.visits().await[0]).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{last}");
        last
    }

    /// The script has had its answer, and this is what stands on the page then.
    async fn assert_shows_after_answer(&self, text: &str) {
        let answered =
            "performance.getEntriesByType('resource').filter(r => r.name.endsWith('/session')).length";
        self.chromium.until(answered, 1).await;
        self.chromium.shows("number", text).await;
        assert_eq!(self.chromium.value("window.errors").await, json!([]));
    }
}

fn text(json: &Json) -> &str {
    json.as_str().expect("it is a text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_the_number_on_the_page_is_credited_to_the_visit() {
    let scene = Scene::start().await;
    scene.site.pool(2).await;
    scene.open("plain.html?utm_source=news&utm_medium=email").await;
    scene.chromium.shows("number", "502-555-7000").await;
    scene.chromium.until("document.getElementById('link').href", "tel:+15025557000").await;
    scene.open("react.html").await;
    scene.chromium.shows("text", "Call 502-555-7000 now (0)").await;
    scene.chromium.click("other").await;
    scene.chromium.shows("route", "Other page, (502) 555-7000").await;
    let explained = scene.until_pages(3).await;
    let titles: Vec<_> = explained["pages"].as_array().unwrap().iter().map(|page| &page["title"]).collect();
    assert_eq!(titles, ["Plain", "React", "React /other"]);
    assert_eq!(scene.visits().await.len(), 1);
    let call = scene.site.call("CA1", "+18183219876", "+15025557000").await;
    assert_eq!((&call["source_channel"], &call["attribution_confidence"]), (&json!("email"), &json!(1.0)));
    assert_eq!(call["landing_page"], explained["landing_page"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_too_late_for_a_number_sees_the_pages_own() {
    let scene = Scene::start().await;
    let mut settings = shown("Pool", TrackerType::NumberPool, "");
    settings.pool.exhausted = Exhausted::NoSwap;
    scene.site.tracker(settings, 7, 1).await;
    scene.site.newcomer("https://shop.example/", "").await;
    scene.open("plain.html").await;
    scene.assert_shows_after_answer(REAL).await;
    assert_eq!(scene.chromium.value("window.swapped").await, json!([]));
    assert_eq!(scene.visits().await[0]["decisions"][0]["outcome"], "exhausted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_takes_its_numbers_along() {
    let scene = Scene::start().await;
    scene.site.pool(1).await;
    scene.open("plain.html").await;
    scene.chromium.shows("number", "502-555-7000").await;
    scene.chromium.cut_off(&format!("*/{}/session", scene.site.key)).await;
    // The script itself is still in the browser's memory.
    scene.open("plain.html").await;
    scene.chromium.until("typeof CallTracker", "object").await;
    scene.chromium.shows("number", REAL).await;
    assert_eq!(scene.chromium.value("window.errors").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_the_pool_waits_for_consent() {
    let scene = Scene::start().await;
    scene.site.pool(1).await;
    let ads = shown("Newsletter", TrackerType::Campaign, "landing_page");
    let ads = calltracker::trackers::Settings { campaign_landing_page: "*summer*".to_owned(), ..ads };
    scene.site.tracker(ads, 1, 1).await;
    let tag = text(&scene.script["html"]).replace("async", r#"async data-consent="required""#);
    scene.website.put(&tag);
    scene.open("plain.html?summer").await;
    // The campaign's number is everybody's who comes this way.
    scene.assert_shows_after_answer("502-555-1000").await;
    scene.open("plain.html").await;
    scene.assert_shows_after_answer(REAL).await;
    assert_eq!(scene.chromium.kept().await, (String::new(), 0));
    assert_eq!(scene.visits().await.len(), 0);
    scene.chromium.run("CallTracker.consent(true)").await;
    scene.chromium.shows("number", "502-555-7000").await;
    assert_eq!(scene.visits().await.len(), 1);
    let (cookie, _) = scene.chromium.kept().await;
    let name = format!("_ct_{}=", &scene.site.key[scene.site.key.len() - 8..]);
    assert!(cookie.starts_with(&name), "{cookie}");
    scene.chromium.run("CallTracker.consent(false)").await;
    scene.chromium.shows("number", REAL).await;
    assert_eq!(scene.chromium.kept().await, (String::new(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn robots_and_people_who_object_leave_the_numbers_to_others() {
    let scene = Scene::start().await;
    scene.site.pool(1).await;
    let chromium = &scene.chromium;
    chromium.pretend_to_be("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)").await;
    scene.open("plain.html").await;
    scene.assert_shows_after_answer(REAL).await;
    chromium.pretend_to_be("Mozilla/5.0 (X11; Linux x86_64) Chrome/148.0.0.0 Safari/537.36").await;
    let objects = "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {value: true})";
    chromium.begin_with(objects).await;
    scene.open("plain.html").await;
    scene.assert_shows_after_answer(REAL).await;
    assert_eq!(chromium.kept().await, (String::new(), 0));
    assert_eq!(scene.visits().await.len(), 0);
    let next = scene.site.newcomer("https://shop.example/", "").await;
    assert_eq!(next.number(), "+15025557000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_shows_a_number_that_is_nobodys() {
    let scene = Scene::start().await;
    scene.site.pool(1).await;
    scene.open(&format!("plain.html?{}", text(&scene.script["test"]))).await;
    scene.assert_shows_after_answer("270-555-0100").await;
    assert_eq!(scene.visits().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pinned_script_and_the_overlay_work_under_a_strict_policy() {
    let scene = Scene::start().await;
    scene.site.pool(1).await;
    let mut ads = shown("Google <b>ads</b>", TrackerType::Campaign, "search");
    ads.campaign_search_from = "google".to_owned();
    ads.campaign_search_for = "paid".to_owned();
    scene.site.tracker(ads, 1, 1).await;
    let host = scene.site.line.app.ctx.public_url.as_str();
    scene.website.restrict(&format!("default-src 'none'; script-src 'self' {host}; connect-src {host}"));
    scene.website.put(text(&scene.script["versioned_html"]));
    scene.open(&format!("strict.html?{}", text(&scene.script["debug"]))).await;
    let overlay = "document.getElementById('calltracker-debug')";
    scene.chromium.until(&format!("!!{overlay}"), true).await;
    let shown = scene.chromium.value(&format!("{overlay}.shadowRoot.textContent")).await;
    for wanted in [
        "+12703152766 → +15025557000",
        "✗ campaign/search · Google <b>ads</b>",
        "✓ number_pool · Pool",
        "the pool's number that was free longest",
        "3 numbers found",
    ] {
        assert!(text(&shown).contains(wanted), "{wanted} in {shown}");
    }
    let forbidden = "window.violations.filter(v => !v.includes('favicon'))";
    assert_eq!(scene.chromium.value(forbidden).await, json!([]));
    // A link that somebody made up shows nothing, and the visitor still has the number.
    scene.open("strict.html?ct_debug=9999999999_x").await;
    scene.chromium.shows("number", "502-555-7000").await;
    assert_eq!(scene.chromium.value(overlay).await, Json::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_companies_on_one_page_have_a_visit_and_a_number_each() {
    let scene = Scene::start().await;
    scene.site.pool(1).await;
    let app = &scene.site.line.app;
    let other = app.company("Other").await;
    let (scope, key) = (other.scope, app.ctx.key.clone());
    let settings =
        Settings { swap_target: "+12703152700".to_owned(), ..shown("Theirs", TrackerType::NumberPool, "") };
    let account = new_account(NOWHERE, AUTH_TOKEN);
    let create = move |tx: &mut Tx<'_>| {
        let carrier_id = accounts::create(tx, scope, &account, &key).expect("the account is new").account.id;
        let owned =
            OwnedNumber { carrier_id, carrier_number_id: "PN8".to_owned(), number: number("+15025558000") };
        trackers::create(tx, scope, &settings, &[owned]).expect("the number is free");
        Ok(())
    };
    app.write(create).await;
    let script = other.reader.get(&other.path("/script")).await.expect(200).json;
    scene.website.put(&format!("{}{}", text(&scene.script["html"]), text(&script["html"])));
    scene.open("plain.html?utm_source=news").await;
    scene.chromium.shows("number", "502-555-7000").await;
    scene.chromium.shows("second", "502-555-8000").await;
    // The next page is the same visit, to each of them.
    scene.open("plain.html").await;
    scene.chromium.shows("number", "502-555-7000").await;
    scene.chromium.shows("second", "502-555-8000").await;
    let ours = scene.until_pages(2).await;
    let theirs = other.reader.list(&other.path("/sessions?limit=100")).await;
    assert_eq!((scene.visits().await.len(), theirs.len()), (1, 1));
    let path = other.path(&format!("/sessions/{}", theirs[0]["id"]));
    let theirs = other.reader.get(&path).await.expect(200).json;
    assert_eq!(
        (&ours["leases"][0]["number"], &theirs["leases"][0]["number"]),
        (&json!("+15025557000"), &json!("+15025558000"))
    );
    assert_ne!(ours["visitor_id"], theirs["visitor_id"]);
    let (cookie, _) = scene.chromium.kept().await;
    assert_eq!(cookie.matches("_ct_").count(), 2, "{cookie}");
    assert_eq!(scene.chromium.value("window.errors").await, json!([]));
}
