//! What `snippet/tracker.js` does to pages, in a real browser. The server is played, so that it can be slow, fail and
//! change its mind.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use crate::support::chromium::Chromium;
use crate::support::prompter::{Mood, Prompter, TRACKER_JS};
use crate::support::website::Website;

const SITE_KEY: &str = "site_0123456789abcdef";
/// Of the cookie and of what is kept for the next page.
const KEPT: &str = "_ct_89abcdef";

const REAL: &str = "270-315-2766";

/// A browser, a website, and the server that it asks.
struct Scene {
    chromium: Chromium,
    website: Website,
    server: Prompter,
}

impl Scene {
    /// In which the visitor's number is +1 270 555 0101.
    async fn start() -> Scene {
        let server = Prompter::start().await;
        server.swap(json!([swap("+12703152766", "+12705550101")]));
        let website = Website::start(&server.tag(SITE_KEY, "")).await;
        Scene { chromium: Chromium::start().await, website, server }
    }

    async fn open(&self, page: &str) {
        self.chromium.open(&self.website.page(page)).await;
    }

    async fn text(&self, id: &str) -> Json {
        self.chromium.value(&format!("document.getElementById('{id}').textContent")).await
    }

    /// The page has noticed nothing.
    async fn assert_no_errors(&self) {
        assert_eq!(self.chromium.value("window.errors").await, json!([]));
    }
}

/// A number for a target in North America.
fn swap(target: &str, number: &str) -> Json {
    json!({"target": target, "number": number, "code": "1", "trunk": ""})
}

#[test]
fn the_script_is_small_and_its_text_needs_no_charset() {
    let mut gzip =
        Command::new("gzip").arg("-nc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    gzip.stdin.take().unwrap().write_all(TRACKER_JS.as_bytes()).unwrap();
    let bytes = gzip.wait_with_output().unwrap().stdout.len();
    assert!((1_000..5_000).contains(&bytes), "{bytes} bytes");
    assert!(TRACKER_JS.is_ascii());
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_found_in_every_format_and_keep_it() {
    let scene = Scene::start().await;
    let london = json!({"target": "+442079460000", "number": "+442079460999", "code": "44", "trunk": "0"});
    scene.server.swap(json!([swap("+12703152766", "+12705550101"), london]));
    scene.open("formats.html").await;
    let chromium = &scene.chromium;
    for (id, text) in [
        ("dashes", "Call 270-555-0101 today"),
        ("parens", "(270) 555-0101"),
        ("dots", "270.555.0101"),
        ("spaces", "270 555 0101"),
        ("bare", "2705550101"),
        ("one", "1-270-555-0101"),
        ("plus", "+1 (270) 555-0101"),
        ("e164", "+12705550101"),
        ("zeros", "001 270 555 0101"),
        ("nbsp", "270\u{a0}555\u{a0}0101"),
        ("thin", "270\u{202f}555\u{2011}0101"),
        ("en-dash", "270\u{2013}555\u{2013}0101"),
        ("marks", "\u{200e}+1 270-555-0101\u{200e}"),
        ("hours", "Open 24/7 270-555-0101, Mo-Fr 8-17"),
        ("twice", "270-555-0101 or (270) 555-0101"),
        ("extension", "270-555-0101 x12"),
        ("london", "+44 20 7946 0999"),
        ("london-trunk", "020 7946 0999"),
        ("london-both", "+44 (0)20 7946 0999"),
        ("london-zeros", "0044 20 7946 0999"),
        ("neighbours", "Line 7270-555-0101"),
    ] {
        chromium.shows(id, text).await;
    }
    for (id, attribute, value) in [
        ("tel", "href", "tel:+12705550101"),
        ("tel", "title", "Call 270-555-0101"),
        ("tel", "aria-label", "Call (270) 555-0101"),
        ("tel-local", "href", "tel:270-555-0101"),
        ("tel-escaped", "href", "tel:+1 270 555 0101;ext=5"),
        ("sms", "href", "sms:+12705550101?body=Call%20me%20at%20noon"),
        ("img", "alt", "Our phone: 270.555.0101"),
    ] {
        chromium.until(&format!("document.getElementById('{id}').getAttribute('{attribute}')"), value).await;
    }
    chromium.until("document.getElementById('host').shadowRoot.textContent", "270-555-0101").await;
    let late = "(document.getElementById('late').shadowRoot || {}).textContent";
    chromium.until(late, "Call 270-555-0101").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_split_over_tags_stays_split_where_it_was() {
    let scene = Scene::start().await;
    scene.open("formats.html").await;
    for (id, html) in [
        ("split", "<b>(270)</b> 555-<span>0101</span>"),
        ("split-digits", "<i>2</i><i>7</i><i>0</i>-<i>555</i>-<i>0101</i>"),
        ("split-comments", "Call 270-<!-- -->555<!-- -->-0101"),
        ("split-plus", "<small>+1</small> 270-555-<em><b>01</b>01</em>"),
    ] {
        scene.chromium.until(&format!("document.getElementById('{id}').innerHTML"), html).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_part_of_something_else_stays() {
    let scene = Scene::start().await;
    scene.open("formats.html").await;
    scene.chromium.shows("dashes", "Call 270-555-0101 today").await;
    for (id, text) in [
        ("longer", "2703152766123"),
        ("longer-before", "992703152766"),
        ("longer-dash", "270-315-2766-55"),
        ("other-country", "+49 270 315 2766"),
        ("other-number", "270-315-2767"),
        ("noswap", "270-315-2766 tel"),
        ("textarea", REAL),
        ("option", REAL),
        ("editable", REAL),
        ("noscript", REAL),
        ("style", "/* 270-315-2766 */"),
        ("json-ld", r#"{"telephone": "+1-270-315-2766"}"#),
    ] {
        assert_eq!(scene.text(id).await, text, "{id}");
    }
    for (expression, value) in [
        ("document.getElementById('input').value", REAL),
        ("document.getElementById('input').title", REAL),
        ("document.getElementById('web').getAttribute('href')", "https://example.com/p/2703152766"),
        ("document.querySelector('#noswap a').getAttribute('href')", "tel:+12703152766"),
        ("document.getElementById('template').content.textContent", REAL),
        ("document.title", "Call 270-315-2766"),
    ] {
        assert_eq!(scene.chromium.value(expression).await, value, "{expression}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_another_length_or_country_are_whole() {
    let scene = Scene::start().await;
    let longer = json!({"target": "+442079460000", "number": "+4420794600991", "code": "44", "trunk": "0"});
    scene.server.swap(json!([swap("+12703152766", "+442079460999"), longer]));
    scene.open("formats.html").await;
    for (id, text) in [
        ("dashes", "Call +442079460999 today"),
        ("parens", "+442079460999"),
        ("plus", "+442079460999"),
        ("split", "+442079460999"),
        ("london", "+44 20 7946 00991"),
        ("london-trunk", "020 7946 00991"),
    ] {
        scene.chromium.shows(id, text).await;
    }
    scene
        .server
        .swap(json!([{"target": "+442079460000", "number": "+44207946099", "code": "44", "trunk": "0"}]));
    scene.open("formats.html").await;
    scene.chromium.shows("london-both", "+44 (0)20 7946 099").await;
}

/// React and Vue: the same page in each.
async fn assert_framework_keeps_the_number(page: &str, name: &str) {
    let scene = Scene::start().await;
    let chromium = &scene.chromium;
    scene.open(page).await;
    chromium.shows("joined", "Call 270-555-0101 now (0)").await;
    for n in 1..=7 {
        chromium.click("more").await;
        chromium.shows("text", &format!("Call 270-555-0101 now ({n})")).await;
        chromium.shows("joined", &format!("Call 270-555-0101 now ({n})")).await;
    }
    chromium.shows("odd", "Odd: 270-555-0101").await;
    chromium.shows("list", &"270-555-0101".repeat(3)).await;
    chromium.until("document.getElementById('link').getAttribute('href')", "tel:270-555-0101").await;
    chromium.until("document.getElementById('link').title", "270-555-0101 (7)").await;
    chromium.click("no-phone").await;
    chromium.shows("text", "Call nobody now (7)").await;
    chromium.click("phone").await;
    chromium.shows("text", "Call (270) 555-0101 now (7)").await;
    chromium.click("other").await;
    chromium.shows("route", "Other page, (270) 555-0101").await;
    let views = scene.server.wait_for("page", 1).await;
    let session = &views[0].body["session"];
    let expected = json!({
        "session": session, "url": scene.website.page("other"), "referrer": scene.website.page(page),
        "title": format!("{name} /other"),
    });
    assert_eq!(views[0].body, expected);
    assert!(views[0].content_type.starts_with("text/plain"), "{views:?}");
    chromium.back().await;
    chromium.shows("route", "First page").await;
    let views = scene.server.wait_for("page", 2).await;
    assert_eq!(views[1].body["url"], scene.website.page(page));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_react_page_keeps_the_number_when_it_draws_again_and_changes_routes() {
    assert_framework_keeps_the_number("react.html", "React").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vue_page_keeps_the_number_when_it_draws_again_and_changes_routes() {
    assert_framework_keeps_the_number("vue.html", "Vue").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_page_views_and_anchors_are_not() {
    let scene = Scene::start().await;
    let chromium = &scene.chromium;
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0101").await;
    let forbidden =
        "try { history.pushState({}, '', 'https://elsewhere.example/') } catch (e) { return e.name }";
    assert_eq!(chromium.run(forbidden).await, "SecurityError");
    chromium.run("location.hash = 'contact'").await;
    assert_eq!(
        chromium.run("return [history.pushState({a: 1}, '', '?a'), history.state.a]").await,
        json!([null, 1])
    );
    scene.server.wait_for("page", 1).await;
    chromium.run("location.hash = '#/route'").await;
    scene.server.wait_for("page", 2).await;
    // A burst is one step.
    chromium.run("for (const step of ['?b', '?c', '?d']) history.replaceState(null, '', step)").await;
    let views = scene.server.wait_for("page", 3).await;
    let steps: Vec<_> = views.iter().map(|v| (v.body["referrer"].clone(), v.body["url"].clone())).collect();
    let page = |rest: &str| Json::from(scene.website.page(&format!("plain.html{rest}")));
    let expected = [(page(""), page("?a")), (page("?a"), page("?a#/route")), (page("?a#/route"), page("?d"))];
    assert_eq!(steps, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_fights_back_gets_its_way_and_doesnt_hang() {
    let scene = Scene::start().await;
    let chromium = &scene.chromium;
    scene.open("fights.html").await;
    chromium.shows("calm", "270-555-0101").await;
    chromium.shows("text", REAL).await;
    let rounds = chromium.value("window.fought").await;
    assert!(rounds["text"].as_u64().unwrap() <= 21, "{rounds}");
    // A new node each time: put off, again and again, but for the rest of the page soon.
    chromium.run("document.getElementById('calm').textContent = 'Now (270) 315-2766'").await;
    chromium.shows("calm", "Now (270) 555-0101").await;
    chromium.until("window.fought.nodes < 500", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_is_there_twice_acts_once() {
    let scene = Scene::start().await;
    let tag = scene.server.tag(SITE_KEY, "");
    scene.website.put(&format!("{tag}{tag}"));
    scene.open("plain.html").await;
    scene.chromium.shows("number", "270-555-0101").await;
    scene.chromium.until("document.readyState", "complete").await;
    scene.chromium.run("history.pushState(null, '', '?next')").await;
    assert_eq!(scene.server.wait_for("page", 1).await.len(), 1);
    assert_eq!(scene.server.asked("session").len(), 1);
    assert_eq!(scene.chromium.value("window.swapped.length").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_companies_share_a_page() {
    let scene = Scene::start().await;
    let chromium = &scene.chromium;
    let (one, other) = ("site_one_aaaaaaaa", "site_two_bbbbbbbb");
    scene.website.put(&format!("{}{}", scene.server.tag(one, ""), scene.server.tag(other, "")));
    scene.server.swap_by(move |question| match question.site_key == one {
        true => json!([swap("+12703152766", "+12705550101")]),
        false => json!([swap("+12703152700", "+12705550102")]),
    });
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0101").await;
    chromium.shows("second", "270-555-0102").await;
    let numbers = "CallTracker.getNumbers().map(n => n.target + ' ' + n.number + ' ' + n.count).sort()";
    let expected = json!(["+12703152700 +12705550102 1", "+12703152766 +12705550101 2"]);
    assert_eq!(chromium.value(numbers).await, expected);
    let (cookie, _) = chromium.kept().await;
    assert!(cookie.contains("_ct_aaaaaaaa=") && cookie.contains("_ct_bbbbbbbb="), "{cookie}");
    chromium.run("CallTracker.consent(false)").await;
    scene.server.wait_for("session", 4).await;
    assert_eq!(chromium.kept().await, (String::new(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_can_ask_for_more_and_are_told() {
    let scene = Scene::start().await;
    let chromium = &scene.chromium;
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0101").await;
    let numbers = json!([{"target": "+12703152766", "number": "+12705550101", "count": 2}]);
    assert_eq!(chromium.value("window.swapped").await, json!([numbers]));
    assert_eq!(chromium.value("CallTracker.getNumbers()").await, numbers);
    let out_of_sight = "const host = document.createElement('div'); document.body.append(host);
        host.attachShadow({mode: 'open'}).textContent = '(270) 315-2766'; CallTracker.swap(host);
        return host.shadowRoot.textContent";
    assert_eq!(chromium.run(out_of_sight).await, "(270) 555-0101");
    chromium.run("CallTracker.swap('nonsense'); CallTracker.swap(null); CallTracker.swap()").await;
    scene.assert_no_errors().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_the_page_keeps_its_number() {
    let scene = Scene::start().await;
    let chromium = &scene.chromium;
    for mood in [Mood::Fails, Mood::Hangs] {
        // The page before has left a number to begin with.
        scene.server.be(Mood::Answers);
        scene.open("plain.html").await;
        chromium.shows("number", "270-555-0101").await;
        scene.server.be(mood);
        scene.open("plain.html").await;
        chromium.shows("number", REAL).await;
        chromium.until("document.getElementById('link').getAttribute('href')", "tel:+12703152766").await;
        scene.assert_no_errors().await;
    }
    scene.server.be(Mood::Answers);
    chromium.cut_off("*/session").await;
    scene.open("plain.html").await;
    chromium.until("CallTracker.getNumbers()", json!([])).await;
    assert_eq!(scene.text("number").await, REAL);
    scene.assert_no_errors().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_for_the_visitor_leaves_the_pages_own() {
    let scene = Scene::start().await;
    scene.server.swap(json!([]));
    scene.open("plain.html").await;
    scene.chromium.until("document.cookie !== ''", true).await;
    assert_eq!(scene.text("number").await, REAL);
    assert_eq!(scene.chromium.value("window.swapped").await, json!([]));
    scene.assert_no_errors().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_page_of_a_visit_shows_its_number_before_the_answer() {
    let scene = Scene::start().await;
    let chromium = &scene.chromium;
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0101").await;
    let first = scene.server.asked("session");
    assert_eq!((&first[0].body["visitor"], &first[0].body["session"]), (&json!(""), &json!("")));
    scene.server.be(Mood::Hangs);
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0101").await;
    let next = &scene.server.wait_for("session", 2).await[1].body;
    assert_eq!((&next["visitor"], &next["session"]), (&json!("visitor.1_-"), &json!("session.1_-")));
    // What the server says then is what holds.
    scene.server.be(Mood::Answers);
    scene.server.swap(json!([swap("+12703152766", "+12705550107")]));
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0107").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_that_goes_on_after_its_end_gets_another_number() {
    let scene = Scene::start().await;
    let (chromium, server) = (&scene.chromium, &scene.server);
    server.listen_each(1);
    // One number for two targets: later nobody can tell by it which one a text was.
    server.swap(json!([swap("+12703152766", "+12705550101"), swap("+12703152700", "+12705550101")]));
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0101").await;
    chromium.shows("second", "270-555-0101").await;
    let beat = server.wait_for("heartbeat", 1).await;
    assert_eq!(beat[0].body, json!({"session": "session.1_-"}));
    assert!(beat[0].content_type.starts_with("text/plain"), "{beat:?}");
    let copy = |id: &str| {
        format!(
            "const copy = document.createElement('p'); copy.id = '{id}';
             copy.textContent = document.getElementById('number').textContent; document.body.append(copy)"
        )
    };
    chromium.run(&copy("unclear")).await;
    server.swap(json!([swap("+12703152766", "+12705550102"), swap("+12703152700", "+442079460999")]));
    server.end_session();
    chromium.shows("number", "270-555-0102").await;
    chromium.shows("second", "+442079460999").await;
    assert_eq!(scene.text("unclear").await, "270-555-0101");
    // A copy that the page makes of what is shown follows, too, if it can be of one target only.
    chromium.run(&copy("copy")).await;
    server.swap(json!([swap("+12703152766", "+12705550103")]));
    server.end_session();
    chromium.shows("number", "270-555-0103").await;
    chromium.shows("copy", "270-555-0103").await;
    chromium.shows("second", "270-315-2700").await;
    // A heartbeat that fails changes nothing.
    let beats = server.asked("heartbeat").len();
    server.be(Mood::Fails);
    server.wait_for("heartbeat", beats + 2).await;
    assert_eq!(scene.text("number").await, "270-555-0103");
    scene.assert_no_errors().await;
}

/// Holds back the first answer of the server until `letGo()`; `window.overtaken` when the script has had it then.
const HOLD_FIRST_ANSWER: &str = "
    const ask = window.fetch;
    let isFirst = true;
    window.fetch = async (url, options) => {
        if (!isFirst || !url.endsWith('/session')) return ask(url, options);
        isFirst = false;
        const answer = await (await ask(url, {...options, signal: undefined})).json();
        await new Promise(go => { window.letGo = go; });
        setTimeout(() => { window.overtaken = true; });
        return {status: 200, json: async () => answer};
    };";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_overtaken_changes_nothing() {
    let scene = Scene::start().await;
    let (chromium, server) = (&scene.chromium, &scene.server);
    scene.website.put(&server.tag(SITE_KEY, r#"data-consent="required""#));
    server.swap_by(|question| match question.body["consent"] == true {
        true => json!([swap("+12703152766", "+12705550101")]),
        false => json!([swap("+12703152766", "+12705550150")]),
    });
    chromium.begin_with(HOLD_FIRST_ANSWER).await;
    scene.open("plain.html").await;
    chromium.until("typeof window.letGo", "function").await;
    chromium.run("CallTracker.consent(true)").await;
    chromium.shows("number", "270-555-0101").await;
    let kept = chromium.kept().await;
    chromium.run("window.letGo()").await;
    chromium.until("window.overtaken", true).await;
    assert_eq!(scene.text("number").await, "270-555-0101");
    assert_eq!((chromium.kept().await, kept.1), (kept, 1), "nor is the visit forgotten");
    assert_eq!(server.asked("session").len(), 2);
    scene.assert_no_errors().await;
}

/// The page's own clock, and timers that the test calls; `asked(what)` counts what was sent.
const CLOCK: &str = "
    const now = Date.now, ask = window.fetch, all = [];
    window.later = 0;
    Date.now = () => now() + window.later;
    window.setInterval = (tick, every) => { Object.assign(window, {tick, every}); return 1; };
    window.fetch = (url, options) => { all.push(url); return ask(url, options); };
    window.asked = what => all.filter(url => url.endsWith(what)).length;
    window.state = 'visible';
    Object.defineProperty(Document.prototype, 'visibilityState', {get: () => window.state});
    window.pass = () => { window.later += 60000; window.tick(); return window.asked('/heartbeat'); };
    window.turn = state => {
        window.later += 60000;
        window.state = state;
        document.dispatchEvent(new Event('visibilitychange'));
        return window.asked('/heartbeat');
    };";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_gives_signs_of_life_only_while_it_is_looked_at() {
    let scene = Scene::start().await;
    let chromium = &scene.chromium;
    chromium.begin_with(CLOCK).await;
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0101").await;
    chromium.until("window.every", 60_000).await;
    for (step, beats) in [
        ("pass()", 1),
        ("pass()", 2),
        ("turn('hidden')", 2),
        ("pass()", 2),
        ("pass()", 2),
        // At once: the number may be somebody else's by now.
        ("turn('visible')", 3),
        ("pass()", 4),
        ("turn('prerender')", 4),
        ("pass()", 4),
    ] {
        assert_eq!(chromium.value(step).await, beats, "{step}");
    }
    scene.server.wait_for("heartbeat", 4).await;
    scene.assert_no_errors().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_is_no_page_view() {
    let scene = Scene::start().await;
    let (chromium, server) = (&scene.chromium, &scene.server);
    chromium.begin_with(CLOCK).await;
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0101").await;
    chromium.until("window.every", 60_000).await;
    server.swap(json!([swap("+12703152766", "+12705550102")]));
    server.end_session();
    chromium.run("window.pass()").await;
    chromium.shows("number", "270-555-0102").await;
    let asked = server.asked("session");
    assert_eq!(
        (asked.len(), &asked[0].body["view"], &asked[1].body["view"]),
        (2, &json!(true), &json!(false))
    );
    assert_eq!(asked[1].body["session"], "session.1_-");
    assert_eq!(server.asked("page").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_out_of_the_browsers_memory_asks_whether_its_number_still_holds() {
    let scene = Scene::start().await;
    let chromium = &scene.chromium;
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0101").await;
    chromium.run("window.mark = true").await;
    scene.open("strict.html").await;
    chromium.shows("number", "270-555-0101").await;
    scene.server.swap(json!([swap("+12703152766", "+12705550108")]));
    scene.server.end_session();
    chromium.back().await;
    assert_eq!(chromium.value("window.mark").await, true, "the page is the same");
    chromium.shows("number", "270-555-0108").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_consent_nothing_is_kept_until_it_comes() {
    let scene = Scene::start().await;
    let (chromium, server) = (&scene.chromium, &scene.server);
    scene.website.put(&server.tag(SITE_KEY, r#"data-consent="required""#));
    server.swap_by(|question| match question.body["consent"] == true {
        true => json!([swap("+12703152766", "+12705550101")]),
        false => json!([swap("+12703152766", "+12705550150")]),
    });
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0150").await;
    assert_eq!(chromium.kept().await, (String::new(), 0));
    assert_eq!(server.asked("session")[0].body["take"], true);
    // Consent managers say it more than once.
    chromium.run("CallTracker.consent(true); CallTracker.consent(true)").await;
    chromium.shows("number", "270-555-0101").await;
    assert_eq!(chromium.kept().await, (format!("{KEPT}=visitor.2_-~session.2_-"), 1));
    assert_eq!(server.asked("session").len(), 2);
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0101").await;
    let known = &server.wait_for("session", 3).await[2].body;
    assert_eq!((&known["consent"], &known["visitor"]), (&json!(true), &json!("visitor.2_-")));
    let withdrawn =
        chromium.run("CallTracker.consent(false); return [document.cookie, sessionStorage.length]").await;
    assert_eq!(withdrawn, json!(["", 0]), "at once");
    chromium.shows("number", "270-555-0150").await;
    assert_eq!(chromium.kept().await, (String::new(), 0));
    // Said before the script is there.
    scene.website.put(&format!(
        "<script>window.CallTracker = {{consent: true}}</script>{}",
        server.tag(SITE_KEY, r#"data-consent="required""#)
    ));
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0101").await;
    scene.assert_no_errors().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn global_privacy_control_is_obeyed_whatever_the_page_says() {
    let scene = Scene::start().await;
    let chromium = &scene.chromium;
    chromium
        .begin_with("Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {value: true})")
        .await;
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0101").await;
    chromium.run("CallTracker.consent(true); history.pushState(null, '', '?next')").await;
    let asked = scene.server.asked("session");
    assert_eq!(asked.len(), 1);
    assert_eq!((&asked[0].body["take"], &asked[0].body["consent"]), (&json!(false), &json!(false)));
    assert_eq!(chromium.kept().await, (String::new(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn robots_take_no_number_and_pages_drawn_ahead_wait() {
    let scene = Scene::start().await;
    let chromium = &scene.chromium;
    chromium.pretend_to_be("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)").await;
    scene.open("plain.html").await;
    chromium.shows("number", "270-555-0101").await;
    assert_eq!(scene.server.asked("session")[0].body["take"], false);
    // A phone whose maker's name only ends like a robot's.
    chromium.pretend_to_be("Mozilla/5.0 (Linux; Android 13; CUBOT P80) Chrome/148.0 Mobile").await;
    chromium
        .begin_with(
            "window.ahead = true;
             Object.defineProperty(Document.prototype, 'prerendering', {get: () => window.ahead})",
        )
        .await;
    scene.open("plain.html").await;
    chromium.until("document.readyState + typeof CallTracker", "completeobject").await;
    chromium.run("CallTracker.swap(); CallTracker.consent(true); CallTracker.getNumbers()").await;
    assert_eq!(scene.server.asked("session").len(), 1);
    chromium.run("window.ahead = false; document.dispatchEvent(new Event('prerenderingchange'))").await;
    assert_eq!(scene.server.wait_for("session", 2).await[1].body["take"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overlay_shows_what_was_found_and_why_under_a_strict_policy() {
    let scene = Scene::start().await;
    let (chromium, host) = (&scene.chromium, &scene.server.url);
    scene.website.restrict(&format!("default-src 'none'; script-src 'self' {host}; connect-src {host}"));
    scene.server.explain(json!({"decisions": [{
        "target": "+12703152766", "number": "+12705550101", "outcome": "pool", "tracker_id": 3,
        "tracker_name": "<b>Website</b>", "why": "a number was free",
        "tried": [
            {"tracker_id": 1, "tracker_name": "Ads", "rule": "campaign/search", "matched": false, "why": "no search"},
            {"tracker_id": 3, "tracker_name": "<b>Website</b>", "rule": "number pool", "matched": true, "why": ""},
        ],
    }]}));
    scene.open("strict.html?ct_debug=a.b-c_d").await;
    let overlay = "document.getElementById('calltracker-debug').shadowRoot";
    chromium.until(&format!("!!document.getElementById('calltracker-debug') && !!{overlay}"), true).await;
    assert_eq!(scene.server.asked("session")[0].body["debug"], "a.b-c_d");
    let shown = chromium.value(&format!("{overlay}.textContent")).await;
    for text in [
        "+12703152766 → +12705550101",
        "<b>Website</b> (3)",
        "✗ campaign/search",
        "no search",
        "✓ number pool",
        "3 numbers found",
        "270-315-2766 → +12705550101",
        "text in p#number",
        "href of a#link",
        "title of a#link",
    ] {
        assert!(shown.as_str().unwrap().contains(text), "{text} in {shown}");
    }
    let place = format!("getComputedStyle({overlay}.querySelector('section')).position");
    assert_eq!(chromium.value(&place).await, "fixed", "it has its style");
    chromium.shows("number", "270-555-0101").await;
    chromium.run(&format!("{overlay}.querySelector('button').click()")).await;
    assert_eq!(chromium.value("document.getElementById('calltracker-debug')").await, Json::Null);
    // Chromium asks for an icon by itself.
    let forbidden = "window.violations.filter(v => !v.includes('favicon'))";
    assert_eq!(chromium.value(forbidden).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_says_so_and_leaves_nothing_for_the_next_page() {
    let scene = Scene::start().await;
    scene.open("plain.html?ct_test=1").await;
    scene.chromium.shows("number", "270-555-0101").await;
    assert_eq!(scene.server.asked("session")[0].body["test"], true);
    assert_eq!(scene.chromium.value("sessionStorage.length").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_versioned_script_may_be_pinned_to_its_hash() {
    let scene = Scene::start().await;
    let hash = STANDARD.encode(ring::digest::digest(&ring::digest::SHA384, TRACKER_JS.as_bytes()));
    let tag = |hash: &str| {
        let url = format!("{}/dni/{SITE_KEY}/tracker-0a1b2c3d.js", scene.server.url);
        format!(r#"<script async src="{url}" integrity="sha384-{hash}" crossorigin="anonymous"></script>"#)
    };
    scene.website.put(&tag(&hash));
    scene.open("plain.html").await;
    scene.chromium.shows("number", "270-555-0101").await;
    scene.website.put(&tag(&STANDARD.encode([0; 48])));
    scene.open("plain.html").await;
    scene.chromium.until("document.readyState + typeof CallTracker", "completeundefined").await;
}
