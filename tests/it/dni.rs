//! What the script asks: numbers for visits, signs of life; and what strangers may send instead.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use calltracker::db::sql;
use calltracker::trackers::TrackerType;
use calltracker::trackers::pool::Exhausted;
use flate2::read::GzDecoder;
use serde_json::{Value as Json, json};

use crate::support::TestApp;
use crate::support::prompter::{DEBUG_JS, TRACKER_JS};
use crate::support::site::{Browser, ON_PAGE, Site, shown};

const HOME: &str = "https://shop.example/";

#[tokio::test]
async fn each_visitor_sees_a_number_of_their_own_and_keeps_it() {
    let site = Site::open().await;
    site.pool(3).await;
    let mut first = site.newcomer(HOME, "").await;
    let second = site.newcomer(HOME, "").await;
    assert_eq!(first.answer["swaps"][0]["target"], ON_PAGE);
    assert_eq!(first.answer["swaps"][0]["code"], "1");
    assert_eq!(first.answer["heartbeat"], 60);
    assert!(first.number().starts_with("+15025557"), "{}", first.answer);
    assert_ne!(first.number(), second.number());
    let before = first.clone();
    site.visit(&mut first, "https://shop.example/prices", HOME).await;
    assert_eq!((first.number(), &first.session), (before.number(), &before.session));
}

#[tokio::test]
async fn a_visitor_who_comes_back_gets_the_number_that_nobody_had_since() {
    let site = Site::open().await;
    site.pool(2).await;
    let mut first = site.newcomer(HOME, "").await;
    let before = first.clone();
    site.advance_minutes(24 * 60);
    site.visit(&mut first, HOME, "").await;
    assert_eq!(first.visitor, before.visitor);
    assert_ne!(first.session, before.session);
    assert_eq!(first.number(), before.number());
    site.advance_minutes(24 * 60);
    let (other, another) = (site.newcomer(HOME, "").await, site.newcomer(HOME, "").await);
    assert!([other.number(), another.number()].contains(&before.number()));
    site.visit(&mut first, HOME, "").await;
    assert_eq!(first.answer["swaps"].as_array().unwrap().len(), 1);
    assert_ne!(first.session, before.session);
}

#[tokio::test]
async fn a_number_is_free_after_hold_grace_and_cooldown_and_not_before() {
    let site = Site::open().await;
    let mut settings = shown("Pool", TrackerType::NumberPool, "");
    settings.pool.exhausted = Exhausted::NoSwap;
    site.tracker(settings, 7, 1).await;
    let first = site.newcomer(HOME, "").await;
    site.advance_minutes(20);
    assert!(!site.heartbeat(&first).await);
    site.write_beats().await;
    site.advance_minutes(44);
    let early = site.newcomer(HOME, "").await;
    assert_eq!(early.answer["swaps"], json!([]), "20 minutes later it was seen, and 45 count from then on");
    site.advance_minutes(1);
    let late = site.newcomer(HOME, "").await;
    assert_eq!(late.number(), first.number());
    assert!(!site.heartbeat(&first).await, "it is not known yet");
    site.write_beats().await;
    assert!(site.heartbeat(&first).await, "the number is somebody else's: the script begins again");
}

#[tokio::test]
async fn an_exhausted_pool_does_what_its_terms_say() {
    let site = Site::open().await;
    for (digit, policy, outcome) in [
        (1, Exhausted::Reuse, "reused"),
        (2, Exhausted::FallbackNumber, "fallback"),
        (3, Exhausted::NoSwap, "exhausted"),
    ] {
        let mut settings = shown(policy.as_str(), TrackerType::NumberPool, "");
        settings.pool.exhausted = policy;
        settings.pool.fallback_number = calltracker::kernel::phone::PhoneNumber::from_e164("+18005550199");
        let tracker = site.tracker(settings, digit, 1).await;
        let first = site.newcomer(HOME, "").await;
        site.advance_minutes(1);
        let second = site.newcomer(HOME, "").await;
        let expected = match policy {
            Exhausted::Reuse => first.number(),
            Exhausted::FallbackNumber => "+18005550199",
            Exhausted::NoSwap => "",
        };
        assert_eq!(second.number(), expected, "{outcome}");
        let sessions =
            site.line.company.reader.get(&site.line.company.path("/sessions?limit=1")).await.expect(200);
        assert_eq!(sessions.json["data"][0]["decisions"][0]["outcome"], outcome);
        let path = site.line.company.path(&format!("/trackers/{tracker}"));
        site.line.company.api.delete(&path).await.expect(204);
    }
}

#[tokio::test]
async fn a_campaign_beats_the_pool_and_the_reasons_are_kept() {
    let site = Site::open().await;
    site.pool(2).await;
    let mut ads = shown("Google ads", TrackerType::Campaign, "search");
    ads.campaign_search_from = "google".to_owned();
    ads.campaign_search_for = "paid".to_owned();
    site.tracker(ads, 1, 1).await;
    let mut landing = shown("Summer page", TrackerType::Campaign, "landing_page");
    landing.campaign_landing_page = "/summer*".to_owned();
    site.tracker(landing, 2, 1).await;
    for (url, referrer, number) in [
        ("https://shop.example/?gclid=abc", "https://www.google.com/", "+15025551000"),
        ("https://shop.example/summer/hats", "", "+15025552000"),
        ("https://shop.example/summer?gclid=abc", "", "+15025551000"),
        ("https://shop.example/winter", "https://www.google.com/", "+15025557000"),
    ] {
        let browser = site.newcomer(url, referrer).await;
        assert_eq!(browser.number(), number, "{url}");
    }
    let listed = site.line.company.reader.get(&site.line.company.path("/sessions?limit=1")).await.expect(200);
    let path = format!("/sessions/{}", listed.json["data"][0]["id"]);
    let explained = site.line.company.reader.get(&site.line.company.path(&path)).await.expect(200);
    let decision = &explained.json["decisions"][0];
    let tried: Vec<_> =
        decision["tried"].as_array().unwrap().iter().map(|t| (&t["rule"], &t["matched"])).collect();
    let expected = [
        (&json!("campaign/search"), &json!(false)),
        (&json!("campaign/landing_page"), &json!(false)),
        (&json!("number_pool"), &json!(true)),
    ];
    assert_eq!(tried, expected);
    assert_eq!(decision["outcome"], "free");
    assert_eq!(explained.json["leases"][0]["number"], "+15025557000");
    assert_eq!(explained.json["pages"][0]["url"], "https://shop.example/winter");
}

#[tokio::test]
async fn another_advertisement_begins_another_visit_and_a_direct_one_is_credited_to_the_last() {
    let site = Site::open().await;
    site.pool(5).await;
    let mut browser = site.newcomer("https://shop.example/?utm_source=news&utm_medium=email", "").await;
    let first = browser.session.clone();
    site.visit(&mut browser, "https://shop.example/b", "https://shop.example/").await;
    assert_eq!(browser.session, first);
    site.visit(&mut browser, "https://shop.example/?gclid=x", "https://www.google.com/").await;
    assert_ne!(browser.session, first);
    site.advance_minutes(60 * 24 * 29);
    site.visit(&mut browser, HOME, "").await;
    let sessions =
        site.line.company.reader.get(&site.line.company.path("/sessions?limit=1")).await.expect(200);
    assert_eq!(sessions.json["data"][0]["touch"]["source_channel"], "paid");
    assert_eq!(sessions.json["data"][0]["first_touch"]["source_channel"], "email");
    site.advance_minutes(60 * 24 * 2);
    site.visit(&mut browser, HOME, "").await;
    let sessions =
        site.line.company.reader.get(&site.line.company.path("/sessions?limit=1")).await.expect(200);
    assert_eq!(
        sessions.json["data"][0]["touch"]["source_channel"], "direct",
        "31 days after the advertisement"
    );
}

#[tokio::test]
async fn who_may_not_be_remembered_sees_a_campaigns_number_and_leaves_nothing() {
    let site = Site::open().await;
    site.pool(2).await;
    let everybody = shown("Everybody", TrackerType::Campaign, "direct");
    site.tracker(everybody, 1, 1).await;
    for more in [json!({"consent": false}), json!({"take": false})] {
        let mut browser = Browser::default();
        site.visit_with(&mut browser, HOME, "", &more).await;
        assert_eq!((browser.number(), browser.visitor.as_str()), ("+15025551000", ""), "{more}");
        site.visit_with(&mut browser, HOME, "https://other.example/", &more).await;
        assert_eq!(browser.number(), "", "only the pool would have matched: {more}");
    }
    assert_eq!(site.line.count("select count(*) from visitors").await, 0);
    let mut later = Browser::default();
    site.visit_with(&mut later, HOME, "https://other.example/", &json!({"consent": true})).await;
    assert_eq!(later.number(), "+15025557000", "upgraded");
}

#[tokio::test]
async fn robots_and_tests_take_no_number() {
    let site = Site::open().await;
    site.pool(1).await;
    let url = format!("{}dni/{}/session", site.line.app.ctx.public_url, site.key);
    let robot =
        reqwest::Client::new().post(url).header("user-agent", "Googlebot/2.1").body("{}").send().await;
    let robot: Json = robot.unwrap().json().await.unwrap();
    assert_eq!(robot["swaps"], json!([]));
    let mut tester = Browser::default();
    site.visit_with(&mut tester, HOME, "", &json!({"test": true})).await;
    assert_eq!(tester.number(), "+12705550100");
    assert_eq!(site.line.count("select count(*) from leases").await, 0);
}

#[tokio::test]
async fn further_pages_and_signs_of_life_are_written_each_second() {
    let site = Site::open().await;
    site.pool(1).await;
    let browser = site.newcomer(HOME, "").await;
    site.advance_minutes(1);
    site.page(&browser, "https://shop.example/a").await;
    site.page(&browser, "https://shop.example/b").await;
    site.write_beats().await;
    assert_eq!(site.line.count("select count(*) from page_views").await, 2, "and the one it began with");
    let seen = site.line.app.write(|tx| tx.one::<(i64,)>(sql("select seen_at from sessions"))).await;
    assert_eq!(seen.0, site.now().0);
    let leased = site.line.app.write(|tx| tx.one::<(i64,)>(sql("select seen_at from leases"))).await;
    assert_eq!(leased.0, site.now().0);
}

#[tokio::test]
async fn nobody_can_be_somebody_else() {
    let site = Site::open().await;
    site.pool(3).await;
    let victim = site.newcomer(HOME, "").await;
    let id = victim.visitor.trim_start_matches('v').split('_').next().unwrap().to_owned();
    for forged in [format!("v{id}_AAAA"), format!("v{id}"), id, "v1_".to_owned(), "x".repeat(5_000)] {
        let mut thief =
            Browser { visitor: forged.clone(), session: victim.session.clone(), answer: Json::Null };
        site.visit(&mut thief, HOME, "").await;
        assert_ne!(thief.visitor, victim.visitor, "{forged}");
        assert_ne!(thief.session, victim.session, "{forged}");
    }
    let other = site.line.app.company("Other").await;
    let key = other.reader.get(&other.path("")).await.expect(200).json["site_key"].clone();
    for what in ["page", "heartbeat"] {
        let url = format!("{}dni/{}/{what}", site.line.app.ctx.public_url, key.as_str().unwrap());
        let body = json!({ "session": victim.session, "url": HOME }).to_string();
        let answer = reqwest::Client::new().post(url).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 400, "another company's visit");
    }
}

#[tokio::test]
async fn hostile_requests_get_clear_errors_and_store_nothing_bad() {
    let site = Site::open().await;
    site.pool(3).await;
    let address = "198.51.100.8";
    for (what, body, status) in [
        ("session", String::new(), 400),
        ("session", "[]".to_owned(), 400),
        ("session", "{\"url\": 7}".to_owned(), 400),
        ("session", "\u{0}\u{1}".to_owned(), 400),
        ("session", format!("{{\"url\": \"https://a.example/{}\"}}", "a".repeat(1_000_000)), 413),
        ("page", "{}".to_owned(), 400),
        ("heartbeat", "{\"session\": \"s1_x\"}".to_owned(), 400),
    ] {
        let response = site.post(what, &body, address).await;
        assert_eq!(response.status(), status, "{what} {}", body.chars().take(40).collect::<String>());
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
    }
    let url = format!("{}dni/site_unknown/session", site.line.app.ctx.public_url);
    assert_eq!(reqwest::Client::new().post(url).body("{}").send().await.unwrap().status(), 404);
    let mut browser = Browser::default();
    let nasty =
        "https://shop.example/<script>alert(1)</script>?utm_source=%00%3Cscript%3E&utm_campaign=\u{202e}x";
    site.visit_with(&mut browser, nasty, "javascript:alert(1)", &json!({"title": "<script>\u{0}</script>"}))
        .await;
    assert_ne!(browser.number(), "");
    let call = site.call("CA01", "+18183219876", browser.number()).await;
    assert!(!call.to_string().contains('\u{0}'), "{call}");
}

#[tokio::test]
async fn a_flood_from_one_address_is_limited_and_leaves_the_others_their_numbers() {
    let site = Site::on(
        TestApp::quiet(|config| {
            config.trusted_proxies.push("127.0.0.0/8".parse().unwrap());
            config.visits.rate_per_minute = 40;
            config.visits.numbers_per_hour = 3;
        })
        .await,
    )
    .await;
    site.pool(10).await;
    let body = json!({ "url": HOME }).to_string();
    let mut statuses = std::collections::BTreeMap::new();
    for _ in 0..60 {
        *statuses.entry(site.post("session", &body, "203.0.113.66").await.status().as_u16()).or_insert(0) +=
            1;
    }
    assert_eq!(statuses, [(200, 40), (429, 20)].into());
    assert_eq!(site.line.count("select count(*) from leases").await, 3);
    let other = site.newcomer(HOME, "").await;
    assert_ne!(other.number(), "", "another address is not concerned");
}

#[tokio::test]
async fn the_script_comes_under_a_name_that_never_changes_too() {
    let site = Site::open().await;
    let script = site.line.company.reader.get(&site.line.company.path("/script")).await.expect(200).json;
    let http = reqwest::Client::new();
    for (url, cache) in [
        (&script["url"], "public, max-age=300"),
        (&script["versioned_url"], "public, max-age=31536000, immutable"),
    ] {
        let response = http.get(url.as_str().unwrap()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["cache-control"], cache);
        assert_eq!(response.headers()["content-type"], "text/javascript; charset=utf-8");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let etag = response.headers()["etag"].clone();
        let again = http.get(url.as_str().unwrap()).header("if-none-match", etag).send().await.unwrap();
        assert_eq!(again.status(), 304);
    }
    let older = script["versioned_url"].as_str().unwrap().replace("tracker-", "tracker-0");
    assert_eq!(http.get(older).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_signed_link_shows_why() {
    let site = Site::open().await;
    site.pool(1).await;
    let script = site.line.company.reader.get(&site.line.company.path("/script")).await.expect(200).json;
    let token = script["debug"].as_str().unwrap().strip_prefix("ct_debug=").unwrap().to_owned();
    let mut browser = Browser::default();
    site.visit_with(&mut browser, HOME, "", &json!({ "debug": token })).await;
    assert_eq!(browser.answer["debug"]["decisions"][0]["tried"][0]["rule"], "number_pool");
    site.advance_minutes(24 * 60 + 1);
    site.visit_with(&mut browser, HOME, "", &json!({ "debug": token })).await;
    assert_eq!(browser.answer.get("debug"), None);
}

#[tokio::test]
async fn the_script_comes_packed_to_browsers_that_unpack_it_and_plain_to_others() {
    let site = Site::open().await;
    let script = site.line.company.reader.get(&site.line.company.path("/script")).await.expect(200).json;
    let plain = script["url"].as_str().unwrap();
    let debug = plain.replace("tracker.js", "debug.js");
    let http = reqwest::Client::new();
    for (url, text) in [
        (plain, TRACKER_JS),
        (script["versioned_url"].as_str().unwrap(), TRACKER_JS),
        (debug.as_str(), DEBUG_JS),
    ] {
        let ask = async |encodings: &str, tag: &str| {
            let request = http.get(url).header("accept-encoding", encodings).header("if-none-match", tag);
            let response = request.send().await.unwrap();
            assert_eq!(response.headers()["vary"], "accept-encoding", "{url} {encodings}");
            response
        };
        let mut tags = Vec::new();
        for encodings in ["gzip", "deflate, GZIP;q=0.5, br", "gzip;q=1.0"] {
            let packed = ask(encodings, "").await;
            assert_eq!(
                (packed.status().as_u16(), &packed.headers()["content-encoding"]),
                (200, &"gzip".parse().unwrap())
            );
            let tag = packed.headers()["etag"].to_str().unwrap().to_owned();
            let bytes = packed.bytes().await.unwrap();
            assert!(bytes.len() < 5_000, "{url}: {} bytes", bytes.len());
            let mut unpacked = String::new();
            GzDecoder::new(&*bytes).read_to_string(&mut unpacked).unwrap();
            assert_eq!(unpacked, text);
            for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}")] {
                assert_eq!(ask(encodings, &known).await.status(), 304, "{known}");
            }
            assert_eq!(ask("br", &tag).await.status(), 200, "it has other bytes");
            tags.push(tag);
        }
        for encodings in ["", "identity", "br", "gzip;q=0", "gzip; q=0.0", "*", "xgzip"] {
            let response = ask(encodings, "").await;
            assert_eq!(response.headers().get("content-encoding"), None, "{encodings}");
            assert!(!tags.contains(&response.headers()["etag"].to_str().unwrap().to_owned()));
            assert_eq!(response.text().await.unwrap(), text);
        }
    }
    let hash = STANDARD.encode(ring::digest::digest(&ring::digest::SHA384, TRACKER_JS.as_bytes()));
    assert_eq!(script["integrity"], format!("sha384-{hash}"), "of the script, however it came");
}

#[tokio::test]
async fn the_parameters_of_a_test_are_not_kept() {
    let site = Site::open().await;
    site.pool(1).await;
    let company = &site.line.company;
    let script = company.reader.get(&company.path("/script")).await.expect(200).json;
    let debug = script["debug"].as_str().unwrap();
    let token = debug.strip_prefix("ct_debug=").unwrap();
    let page = format!("https://shop.example/hats?utm_source=news&{debug}&size=7");
    let mut browser = Browser::default();
    let more = json!({ "debug": token, "title": "Hats" });
    let from = format!("https://blog.example/?ct_test=1&{debug}");
    site.visit_with(&mut browser, &page, &from, &more).await;
    assert!(browser.answer["debug"].is_object());
    site.page(&browser, &format!("https://shop.example/shoes?ct_test=1#/?{debug}&utm_term=x")).await;
    site.write_beats().await;
    let call = site.call("CA01", "+18183219876", browser.number()).await;
    assert_eq!(call["landing_page"], "https://shop.example/hats?utm_source=news&size=7");
    assert_eq!(call["pages_visited"][1], "https://shop.example/shoes#/?utm_term=x");
    let mut kept = call.to_string();
    for path in [
        format!("/sessions/{}", call["session_id"]),
        format!("/calls/{}/attribution", call["id"]),
        "/events".to_owned(),
    ] {
        kept += &company.reader.get(&company.path(&path)).await.expect(200).text;
    }
    for column in [
        "sessions.landing_page",
        "sessions.touch",
        "visitors.first_touch",
        "page_views.url",
        "calls.attribution",
        "contacts.lead_touch",
    ] {
        let (table, column) = column.split_once('.').unwrap();
        let query = format!("select {column} from {table}");
        let rows: Vec<(String,)> = site.line.app.write(move |tx| tx.all(sql(query.clone()))).await;
        assert!(!rows.is_empty(), "{table}");
        kept.extend(rows.into_iter().map(|(text,)| text));
    }
    assert!(!kept.contains(token) && !kept.contains("ct_debug") && !kept.contains("ct_test"), "{kept}");
}

#[tokio::test]
async fn a_visit_whose_number_was_taken_over_gets_one_again_without_another_page() {
    let site = Site::open().await;
    site.pool(1).await;
    let mut first = site.newcomer("https://shop.example/?gclid=x", "https://www.google.com/").await;
    let before = first.clone();
    site.advance_minutes(1);
    site.newcomer(HOME, "").await;
    assert!(!site.heartbeat(&first).await);
    site.write_beats().await;
    assert!(site.heartbeat(&first).await);
    site.advance_minutes(1);
    // By now the page's address has nothing of the advertisement any more, as in an application of one page.
    let renewal = json!({ "view": false });
    site.visit_with(&mut first, "https://shop.example/prices", "https://www.google.com/", &renewal).await;
    assert_eq!((&first.session, first.number()), (&before.session, before.number()));
    let pages = "select count(*) from page_views where session_id = 1";
    assert_eq!((site.line.count(pages).await, site.line.count("select count(*) from leases").await), (0, 3));
    assert_eq!(site.line.count("select count(*) from sessions").await, 2);
    site.visit(&mut first, "https://shop.example/prices", HOME).await;
    assert_eq!(site.line.count(pages).await, 1, "that was a page");
    // A visit that is over is followed by another, which has the page that is looked at.
    site.advance_minutes(24 * 60);
    site.visit_with(&mut first, "https://shop.example/prices", "", &renewal).await;
    assert_ne!(first.session, before.session);
    let last = site.line.company.reader.get(&site.line.company.path("/sessions?limit=1")).await.expect(200);
    assert_eq!(last.json["data"][0]["touch"]["source_channel"], "paid");
    let path = format!("/sessions/{}", last.json["data"][0]["id"]);
    let last = site.line.company.reader.get(&site.line.company.path(&path)).await.expect(200).json;
    assert_eq!(last["pages"][0]["url"], "https://shop.example/prices");
}
