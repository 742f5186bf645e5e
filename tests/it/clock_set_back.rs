//! The clock is set back by an hour, as when a machine's time is corrected: nobody has two numbers, no number is two
//! visitors', calls find their visits, and nothing ends before it began.

use std::time::Duration;

use serde_json::json;

use crate::support::line::CALLER;
use crate::support::site::{Browser, Site};

const HOME: &str = "https://shop.example/";
const AD: &str = "https://shop.example/hats?utm_source=news&utm_medium=email&utm_campaign=spring";

impl Site {
    fn set_back(&self) {
        self.line.app.ctx.clock.set(self.now().before(Duration::from_secs(3600)));
    }

    async fn assert_sane(&self, numbers: i64) {
        for (nonsense, question) in [
            ("a lease was seen before it began", "select count(*) from leases where seen_at < started_at"),
            ("a lease ended before it was seen", "select count(*) from leases where ended_at < seen_at"),
            ("a number was nobody's at once", "select count(*) from leases where live_until < seen_at"),
            ("a visit was seen before it began", "select count(*) from sessions where seen_at < started_at"),
            ("a call ended before it began", "select count(*) from calls where ended_at < started_at"),
        ] {
            assert_eq!(self.line.count(question).await, 0, "{nonsense}");
        }
        let held = self.line.count("select count(*) from leases where ended_at is null").await;
        let of = self.line.count("select count(distinct number_id) from leases where ended_at is null").await;
        assert!(held == of && held <= numbers, "{held} leases of {of} numbers");
    }
}

#[tokio::test]
async fn a_visit_goes_on_when_the_clock_is_set_back() {
    let site = Site::open().await;
    site.pool(2).await;
    let mut first = site.newcomer(AD, "").await;
    site.advance_minutes(5);
    assert!(!site.heartbeat(&first).await);
    site.page(&first, "https://shop.example/a").await;
    site.write_beats().await;
    let before = first.clone();
    site.set_back();
    site.visit(&mut first, "https://shop.example/b", HOME).await;
    assert_eq!((&first.session, first.number()), (&before.session, before.number()));
    assert!(!site.heartbeat(&first).await);
    site.write_beats().await;
    assert!(!site.heartbeat(&first).await, "the number is still theirs");
    let call = site.call("CA01", CALLER, first.number()).await;
    assert_eq!((&call["attribution_confidence"], &call["utm_campaign"]), (&json!(1.0), &json!("spring")));
    let pages = [AD, "https://shop.example/a", "https://shop.example/b"];
    assert_eq!(call["pages_visited"], json!(pages));
    site.assert_sane(2).await;
    // The clock catches up, and all is as ever.
    site.advance_minutes(60 + 36);
    let late = site.call("CA02", "+18183219877", first.number()).await;
    assert_eq!(late["utm_campaign"], "spring");
    assert!(late["attribution_confidence"].as_f64().unwrap() < 1.0, "{late}");
}

#[tokio::test]
async fn numbers_stay_one_visitors_at_a_time_when_the_clock_is_set_back() {
    let site = Site::open().await;
    let tracker = site.pool(2).await;
    let first = site.newcomer(AD, "").await;
    site.set_back();
    let second = site.newcomer(HOME, "").await;
    assert_ne!(first.number(), second.number());
    site.advance_minutes(1);
    let third = site.newcomer(HOME, "").await;
    assert_ne!(third.number(), "", "one is taken over");
    site.assert_sane(2).await;
    let number = third.number().to_owned();
    let call = site.call("CA01", CALLER, &number).await;
    assert_eq!(call["candidates"].as_array().unwrap().len(), 2, "{call}");
    site.set_back();
    let fourth = site.newcomer(HOME, "").await;
    for browser in [&first, &second, &third, &fourth] {
        site.heartbeat(browser).await;
    }
    site.write_beats().await;
    site.assert_sane(2).await;
    // A call that began before the clock was set back ends before it began, by the clock.
    site.line.end("CA01", "7").await.expect(204);
    site.line.work().await;
    site.assert_sane(2).await;
    let plan = site.line.company.path(&format!("/trackers/{tracker}/plan"));
    let plan = site.line.company.reader.get(&plan).await.expect(200).json;
    assert_eq!(plan["measured"]["mean_occupancy_s"], 45 * 60);
    // Long after, everybody is forgotten, and the numbers are free.
    site.advance_minutes(24 * 60);
    let (mut fifth, sixth) = (site.newcomer(HOME, "").await, site.newcomer(HOME, "").await);
    assert_ne!(fifth.number(), sixth.number());
    let before: Browser = fifth.clone();
    site.visit(&mut fifth, AD, "").await;
    assert_eq!(fifth.number(), before.number());
    site.assert_sane(2).await;
}
