//! What strangers may send to the script's routes, and what becomes of it on our pages.

use std::collections::BTreeMap;

use calltracker::trackers::TrackerType;
use serde_json::json;

use crate::support::TestApp;
use crate::support::browser::Browser as Pages;
use crate::support::site::{Browser, Site, shown};

const HOME: &str = "https://shop.example/";
/// Whoever doesn't say what they are is taken for a robot.
const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) Chrome/148.0.0.0 Safari/537.36";
const SCRIPT: &str = "<script>alert(1)</script>";

/// Sends bytes to a route of a site.
async fn send(site: &Site, key: &str, what: &str, body: Vec<u8>) -> u16 {
    let url = format!("{}dni/{key}/{what}", site.line.app.ctx.public_url);
    let request = reqwest::Client::new().post(url).header("user-agent", CHROME).body(body);
    request.send().await.expect("the server answers").status().as_u16()
}

#[tokio::test]
async fn bodies_that_no_script_sends_are_refused_and_store_nothing() {
    let site = Site::open().await;
    site.pool(1).await;
    let visitor = site.newcomer(HOME, "").await;
    let with_url = |url: &[u8]| {
        let mut body = format!("{{\"session\": \"{}\", \"url\": \"", visitor.session).into_bytes();
        body.extend_from_slice(url);
        body.extend_from_slice(b"\"}");
        body
    };
    let long = [b"https://shop.example/".as_slice(), &[b'a'; 1_000_000]].concat();
    for (body, status) in [
        (with_url(&long), 413),
        (vec![b' '; 1_000_000], 413),
        (with_url(b"https://shop.example/\xff\xfe"), 400),
        (with_url(b"https://shop.example/\xc0\xaf"), 400),
        (with_url(b"https://shop.example/\x00"), 400),
        (with_url(b"https://shop.example/\\ud800"), 400),
        (vec![0xff; 64], 400),
        ((0..=255).collect(), 400),
        (b"{\"session\": [[[[".to_vec(), 400),
        (format!("{{\"session\": {}", "[".repeat(60_000)).into_bytes(), 400),
        (b"{\"session\": null}".to_vec(), 400),
        (b"\x1f\x8b\x08".to_vec(), 400),
    ] {
        let begins = String::from_utf8_lossy(&body).chars().take(60).collect::<String>();
        // A sign of life has no address, so that one is passed over there.
        let routes = ["session", "page", "heartbeat"];
        let reading = if body.starts_with(b"{\"session\": \"") && status == 400 { 2 } else { 3 };
        for what in &routes[..reading] {
            assert_eq!(send(&site, &site.key, what, body.clone()).await, status, "{what} {begins}");
        }
    }
    site.write_beats().await;
    assert_eq!(site.line.count("select count(*) from page_views").await, 0);
    assert_eq!(site.line.count("select count(*) from sessions").await, 1);
}

#[tokio::test]
async fn sites_that_do_not_exist_are_unknown_however_they_are_spelled() {
    let site = Site::open().await;
    let long = "s".repeat(20_000);
    let upper = site.key.to_uppercase();
    for key in ["site_unknown", &long, &upper, "%00", "%2e%2e", "%27%20or%201=1", "%f0%9f%98%80", " "] {
        for what in ["session", "page", "heartbeat"] {
            let body = json!({ "session": "s1_x", "url": HOME }).to_string().into_bytes();
            assert_eq!(send(&site, key, what, body).await, 404, "{what} of {key:.40}");
        }
    }
    // Not even text.
    assert_eq!(send(&site, "%ff", "session", b"{}".to_vec()).await, 400);
    assert_eq!(site.line.count("select count(*) from sessions").await, 0);
}

#[tokio::test]
async fn names_of_another_companys_visit_are_nobodys() {
    let site = Site::open().await;
    site.pool(2).await;
    let victim = site.newcomer(HOME, "").await;
    let other = site.line.app.company("Other").await;
    let key = other.reader.get(&other.path("")).await.expect(200).json["site_key"].clone();
    let body = json!({ "visitor": victim.visitor, "session": victim.session, "url": HOME }).to_string();
    let url = format!("{}dni/{}/session", site.line.app.ctx.public_url, key.as_str().unwrap());
    let answer =
        reqwest::Client::new().post(url).header("user-agent", CHROME).body(body).send().await.unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_ne!((&answer["visitor"], &answer["session"]), (&json!(victim.visitor), &json!(victim.session)));
    let theirs = other.reader.list(&other.path("/sessions")).await;
    assert_eq!((theirs.len(), &theirs[0]["visitor_id"]), (1, &json!(2)));
    // A visit's name where a visitor's belongs, and the other way round.
    let mut swapped =
        Browser { visitor: victim.session.clone(), session: victim.visitor.clone(), ..victim.clone() };
    site.visit(&mut swapped, HOME, "").await;
    assert_ne!((&swapped.visitor, &swapped.session), (&victim.visitor, &victim.session));
    for session in [&victim.visitor, &format!("{}x", victim.session), &victim.session.replace("s1_", "s2_")] {
        for what in ["page", "heartbeat"] {
            let body = json!({ "session": session, "url": HOME }).to_string();
            assert_eq!(send(&site, &site.key, what, body.into_bytes()).await, 400, "{what} {session}");
        }
    }
}

#[tokio::test]
async fn markup_stays_text_in_answers_and_on_pages() {
    let site = Site::open().await;
    site.pool(1).await;
    let mut browser = Browser::default();
    let encoded = "%3Cscript%3Ealert(1)%3C/script%3E";
    let page = format!(
        "{HOME}?utm_source={encoded}&utm_medium={SCRIPT}&utm_campaign=\"{encoded}&utm_term={encoded}"
    );
    let referrer = format!("https://blog.example/{SCRIPT}?q={encoded}");
    site.visit_with(&mut browser, &page, &referrer, &json!({ "title": SCRIPT })).await;
    let call = site.call("CA01", "+18183219876", browser.number()).await;
    for (key, expected) in [
        ("utm_source", SCRIPT),
        ("utm_medium", SCRIPT),
        ("utm_campaign", "\"<script>alert(1)</script>"),
        ("utm_term", SCRIPT),
        ("source_keyword", SCRIPT),
        (
            "source_referrer",
            "https://blog.example/%3Cscript%3Ealert(1)%3C/script%3E?q=%3Cscript%3Ealert(1)%3C/script%3E",
        ),
    ] {
        assert_eq!(call[key], expected, "{key}");
    }
    let company = &site.line.company;
    let path = company.path(&format!("/sessions/{}", call["session_id"]));
    assert_eq!(company.reader.get(&path).await.expect(200).json["pages"][0]["title"], SCRIPT);
    let app = &site.line.app;
    let mut pages = Pages::of_user(&app.api.base, &app.ctx, "ana@agency.example", None).await;
    for path in
        [company.path("/calls"), company.path(&format!("/calls/{}", call["id"])), company.path("/events")]
    {
        let shown = pages.get(&path).await.expect(200);
        shown.assert_lacks("<script>alert");
    }
    let shown = pages.get(&company.path(&format!("/calls/{}", call["id"]))).await.expect(200);
    shown.assert_has("&#60;script&#62;alert(1)&#60;/script&#62;");
}

#[tokio::test]
async fn a_number_to_replace_is_one_or_the_request_is_refused() {
    let site = Site::open().await;
    let company = &site.line.company;
    let eleven = (0..11).map(|n| format!("+1270315{:04}", 2766 + n)).collect::<Vec<_>>().join(",");
    let long = "+12703152766,".repeat(40);
    for target in [
        "call us",
        "911",
        "12345",
        "+1270315276",
        "+12703152766123456789",
        "+12703152766, 911",
        "+12703152766 <script>alert(1)</script>",
        "+999 123 456 789",
        "+12703152766;ext",
        "tel:",
        &eleven,
        &long,
    ] {
        let body = json!({
            "name": "Pool", "tracker_type": "number_pool", "destination": "+18125550177", "swap_target": target,
            "number_pool_size": 2, "numbers": { "attach": ["+15025550001", "+15025550002"] },
        });
        let refused = company.api.post(&company.path("/trackers"), &body).await;
        assert_eq!(refused.expect_problem(400, "validation").fields(), ["swap_target"], "{target}");
        let path = company.path(&format!("/trackers/{}", site.line.tracker));
        let refused = company.api.patch(&path, &json!({ "swap_target": target })).await;
        assert_eq!(refused.expect_problem(400, "validation").fields(), ["swap_target"], "{target}");
    }
    // One that was kept before there were rules replaces nothing, and spoils nothing.
    site.tracker(
        calltracker::trackers::Settings {
            swap_target: "call us".to_owned(),
            ..shown("Old", TrackerType::NumberPool, "")
        },
        3,
        1,
    )
    .await;
    assert_eq!(site.newcomer(HOME, "").await.answer["swaps"], json!([]));
    site.pool(1).await;
    assert_eq!(site.newcomer(HOME, "").await.number(), "+15025557000");
}

#[tokio::test]
async fn a_flood_of_pages_and_signs_of_life_is_limited_by_address() {
    let app = TestApp::quiet(|config| {
        config.trusted_proxies.push("127.0.0.0/8".parse().unwrap());
        config.visits.rate_per_minute = 30;
    });
    let site = Site::on(app.await).await;
    site.pool(1).await;
    let visitor = site.newcomer(HOME, "").await;
    let body = json!({ "session": visitor.session, "url": HOME }).to_string();
    let mut statuses = BTreeMap::new();
    for n in 0..50 {
        let what = ["page", "heartbeat"][n % 2];
        let status = site.post(what, &body, "203.0.113.66").await.status().as_u16();
        *statuses.entry(status).or_insert(0) += 1;
    }
    assert_eq!(statuses, [(204, 30), (429, 20)].into());
    assert_eq!(site.post("session", &body, "203.0.113.66").await.status(), 429, "they count together");
    // The addresses of a network of IPv6 are one subscriber's.
    for n in 0..30 {
        assert_eq!(site.post("page", &body, &format!("2001:db8:1:2::{n}")).await.status(), 204);
    }
    assert_eq!(site.post("page", &body, "2001:db8:1:2:ffff::1").await.status(), 429);
    for other in ["203.0.113.67", "2001:db8:1:3::1"] {
        assert_eq!(site.post("page", &body, other).await.status(), 204, "{other} is not concerned");
    }
}

#[tokio::test]
async fn a_tracker_that_is_deleted_while_its_number_is_on_screen_takes_it_off_the_page() {
    let site = Site::open().await;
    let tracker = site.pool(1).await;
    let mut visitor = site.newcomer(HOME, "").await;
    let number = visitor.number().to_owned();
    let company = &site.line.company;
    company.api.delete(&company.path(&format!("/trackers/{tracker}"))).await.expect(204);
    assert!(!site.heartbeat(&visitor).await, "it is not known yet");
    site.page(&visitor, "https://shop.example/hats").await;
    site.write_beats().await;
    assert!(site.heartbeat(&visitor).await, "the script begins again");
    site.visit_with(&mut visitor, HOME, "", &json!({ "view": false })).await;
    assert_eq!(visitor.answer["swaps"], json!([]));
    site.write_beats().await;
    assert!(!site.heartbeat(&visitor).await, "and leaves it at that");
    let form = [
        ("CallSid", "CA01"),
        ("AccountSid", "AC0000000000000000000000000000abcd"),
        ("From", "+18183219876"),
        ("To", number.as_str()),
        ("CallStatus", "ringing"),
        ("Direction", "inbound"),
    ];
    let answer = site.line.post("voice", &form).await.expect(200);
    assert!(answer.text.contains("not in service"), "{}", answer.text);
    assert_eq!(site.line.count("select count(*) from calls").await, 0);
    let visit = company.reader.get(&company.path("/sessions/1")).await.expect(200).json;
    assert_eq!(visit["pages"][1]["url"], "https://shop.example/hats");
    assert!(visit["leases"][0]["ended_at"].is_string(), "{visit}");
}
