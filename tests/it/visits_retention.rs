//! Visits that led to nothing are kept for a while only, and the rest goes on without them.

use std::time::Duration;

use calltracker::db::sql;
use calltracker::visits::retention;
use serde_json::json;

use crate::support::TestApp;
use crate::support::line::CALLER;
use crate::support::site::{Browser, Site};

const HOME: &str = "https://shop.example/";
const AD: &str = "https://shop.example/?utm_source=news&utm_medium=email";
const DAY_MINUTES: u64 = 24 * 60;

/// A site whose visits are kept for 30 days, with a pool of so many numbers.
async fn scene(numbers: usize) -> Site {
    let app = TestApp::quiet(|config| {
        config.trusted_proxies.push("127.0.0.0/8".parse().unwrap());
        config.visits.keep_days = 30;
    });
    let site = Site::on(app.await).await;
    site.pool(numbers).await;
    site
}

async fn retain(site: &Site) -> usize {
    retention::run_once(&site.line.app.ctx).await.unwrap()
}

/// Visitors, visits, page views and leases that are there.
async fn left(site: &Site) -> [i64; 4] {
    let mut counts = [0; 4];
    for (count, table) in counts.iter_mut().zip(["visitors", "sessions", "page_views", "leases"]) {
        let query = format!("select count(*) from {table}");
        (*count,) = site.line.app.write(move |tx| tx.one::<(i64,)>(sql(query.clone()))).await;
    }
    counts
}

async fn text(site: &Site, browser: &Browser) {
    let form = [
        ("MessageSid", "SM01"),
        ("AccountSid", "AC0000000000000000000000000000abcd"),
        ("From", "+18183219877"),
        ("To", browser.number()),
        ("Body", "Do you have red hats?"),
        ("NumMedia", "0"),
        ("NumSegments", "1"),
    ];
    site.line.post("message", &form).await.expect(200);
}

#[tokio::test]
async fn a_visit_that_led_to_nothing_goes_and_whatever_led_to_something_stays() {
    let site = scene(5).await;
    let caller = site.newcomer(AD, "").await;
    let call = site.call("CA01", CALLER, caller.number()).await;
    let texter = site.newcomer(HOME, "").await;
    text(&site, &texter).await;
    let looker = site.newcomer(HOME, "").await;
    site.page(&looker, "https://shop.example/hats").await;
    let mut regular = site.newcomer(AD, "").await;
    let stayed = site.newcomer(HOME, "").await;
    site.write_beats().await;
    assert_eq!(left(&site).await, [5, 5, 1, 5]);
    site.advance_minutes(20 * DAY_MINUTES);
    site.visit(&mut regular, HOME, "").await;
    assert!(!site.heartbeat(&stayed).await);
    site.write_beats().await;
    site.advance_minutes(10 * DAY_MINUTES);
    assert_eq!(retain(&site).await, 0, "30 days have not gone by");
    site.advance_minutes(1);
    assert_eq!(retain(&site).await, 0, "once a day is enough");
    site.advance_minutes(DAY_MINUTES);
    // The looker's, and the first one of whoever came again.
    assert_eq!(retain(&site).await, 2);
    assert_eq!(left(&site).await, [4, 4, 0, 4]);
    let company = &site.line.company;
    let visits = company.reader.list(&company.path("/sessions")).await;
    assert_eq!(visits[0]["first_touch"]["utm_source"], "news", "it is what led to the first visit");
    let path = company.path(&format!("/calls/{}", call["id"]));
    assert_eq!(company.reader.get(&path).await.expect(200).json["landing_page"], AD);
    let path = company.path(&format!("/sessions/{}", call["session_id"]));
    assert_eq!(company.reader.get(&path).await.expect(200).json["pages"][0]["url"], AD);
    // Everything but what is credited.
    site.advance_minutes(31 * DAY_MINUTES);
    assert_eq!(retain(&site).await, 2);
    assert_eq!(left(&site).await, [2, 2, 0, 2]);
    let held: std::collections::BTreeSet<String> = futures_util::future::join_all(
        (0..5).map(|_| async { site.newcomer(HOME, "").await.number().to_owned() }),
    )
    .await
    .into_iter()
    .collect();
    assert_eq!(held.len(), 5, "the numbers are given out as before");
    let call = site.call("CA02", CALLER, held.first().unwrap()).await;
    assert_eq!(call["attribution_confidence"], json!(1.0));
}

#[tokio::test]
async fn a_page_that_was_left_open_for_longer_begins_again() {
    let site = scene(1).await;
    let mut sleeper = site.newcomer(AD, "").await;
    site.advance_minutes(31 * DAY_MINUTES);
    assert_eq!(retain(&site).await, 1);
    site.page(&sleeper, "https://shop.example/hats").await;
    assert!(!site.heartbeat(&sleeper).await);
    site.write_beats().await;
    assert_eq!(left(&site).await, [0, 0, 0, 0], "nothing belongs to nobody");
    assert!(site.heartbeat(&sleeper).await);
    site.visit_with(&mut sleeper, "https://shop.example/hats", "", &json!({ "view": false })).await;
    assert_eq!((sleeper.number(), left(&site).await), ("+15025557000", [1, 1, 0, 1]));
}

#[tokio::test]
async fn many_visits_and_very_long_ones_go_bit_by_bit() {
    let site = scene(1).await;
    site.newcomer(HOME, "").await;
    site.line
        .app
        .write(|tx| {
            for n in 0..1_300_i64 {
                tx.execute(sql(
                    "insert into visitors (company_id, created_at, first_touch) select company_id, created_at, first_touch
                     from visitors where id = 1",
                ))?;
                tx.execute(
                    sql("insert into sessions (company_id, visitor_id, started_at, seen_at, source_channel, touch,
                         touched_at, landing_page, ip, device, decisions)
                         select company_id, cast(? as bigint), started_at, seen_at, source_channel, touch, touched_at,
                         landing_page, ip, device, decisions from sessions where id = 1")
                    .bind(n + 2),
                )?;
            }
            for n in 0..1_700_i64 {
                tx.execute(
                    sql("insert into page_views (session_id, viewed_at, url, title) values (7, ?, '', '')").bind(n),
                )?;
            }
            Ok(())
        })
        .await;
    site.advance_minutes(31 * DAY_MINUTES);
    let young = site.newcomer(HOME, "").await;
    let mut gone = 0;
    // A run ends after some seconds, however much there is to do; the next one goes on where it ended.
    while gone < 1_301 {
        gone += retain(&site).await;
    }
    assert_eq!((gone, left(&site).await), (1_301, [1, 1, 0, 1]));
    assert!(!site.heartbeat(&young).await);
    site.line.app.advance(Duration::from_secs(24 * 3600));
    assert_eq!(retain(&site).await, 0);
}
