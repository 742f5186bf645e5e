//! Calls and messages to pools' numbers, and whose they are.

use calltracker::trackers::TrackerType;
use serde_json::json;

use crate::support::line::CALLER;
use crate::support::site::{Browser, Site, shown};

const AD: &str = "https://shop.example/hats?utm_source=google&utm_medium=cpc&utm_campaign=spring&utm_term=red+hats&gclid=abc";

#[tokio::test]
async fn a_call_carries_its_visit() {
    let site = Site::open().await;
    site.pool(3).await;
    let browser = site.newcomer(AD, "https://www.google.com/").await;
    site.advance_minutes(2);
    site.page(&browser, "https://shop.example/contact").await;
    site.write_beats().await;
    let call = site.call("CA01", CALLER, browser.number()).await;
    for (key, expected) in [
        ("source_channel", json!("paid")),
        ("source_referrer", json!("https://www.google.com/")),
        ("source_keyword", json!("red hats")),
        ("gclid", json!("abc")),
        ("visitor_ip", json!("198.51.100.7")),
        ("attribution_confidence", json!(1.0)),
        ("utm_source", json!("google")),
        ("utm_medium", json!("cpc")),
        ("utm_campaign", json!("spring")),
        ("utm_term", json!("red hats")),
        ("device", json!("desktop")),
    ] {
        assert_eq!(call[key], expected, "{key}");
    }
    assert_eq!(call["landing_page"], AD);
    assert_eq!(call["pages_visited"], json!([AD, "https://shop.example/contact"]));
    assert_eq!(call["click_ids"], json!({"gclid": "abc"}));
    assert_eq!(call["candidates"].as_array().unwrap().len(), 1);
    assert_eq!(call["lead_touch"], call["last_touch"]);
    assert_eq!(call["first_touch"]["utm_campaign"], "spring");
    let path = site.line.company.path(&format!("/calls/{}/attribution", call["id"]));
    let explained = site.line.company.reader.get(&path).await.expect(200).json;
    assert_eq!(explained["candidates"][0]["session"]["id"], call["session_id"]);
    assert_eq!(explained["candidates"][0]["session"]["decisions"][0]["outcome"], "free");
}

#[tokio::test]
async fn a_message_is_credited_as_a_call_is() {
    let site = Site::open().await;
    site.pool(2).await;
    let browser = site.newcomer(AD, "").await;
    let form = [
        ("MessageSid", "SM01"),
        ("AccountSid", "AC0000000000000000000000000000abcd"),
        ("From", CALLER),
        ("To", browser.number()),
        ("Body", "Do you have red hats?"),
        ("NumMedia", "0"),
        ("NumSegments", "1"),
    ];
    site.line.post("message", &form).await.expect(200);
    let messages = site.line.company.reader.get(&site.line.company.path("/messages")).await.expect(200).json;
    let message = &messages["data"][0];
    assert_eq!(
        (&message["attribution_confidence"], &message["utm_campaign"]),
        (&json!(1.0), &json!("spring"))
    );
    assert_eq!(message["click_ids"], json!({"gclid": "abc"}));
}

#[tokio::test]
async fn the_lead_is_what_led_to_the_first_contact_however_later_ones_came_about() {
    let site = Site::open().await;
    site.pool(3).await;
    let mut browser = site.newcomer(AD, "").await;
    site.call("CA01", CALLER, browser.number()).await;
    site.visit(&mut browser, "https://shop.example/", "https://duckduckgo.com/").await;
    let again = site.call("CA02", CALLER, browser.number()).await;
    assert_eq!(again["last_touch"]["source_channel"], "organic");
    assert_eq!(again["lead_touch"]["source_channel"], "paid");
    assert_eq!(again["first_touch"]["source_channel"], "paid");
    let withheld = site.call("CA03", "anonymous", browser.number()).await;
    assert_eq!((&withheld["lead_touch"], &withheld["caller_number"]), (&json!(null), &json!("")));
    assert_eq!(withheld["attribution_confidence"], 1.0, "the number says who, whatever the caller hides");
}

#[tokio::test]
async fn a_number_that_was_taken_over_makes_a_call_ambiguous() {
    let site = Site::open().await;
    site.pool(1).await;
    let first = site.newcomer(AD, "").await;
    site.advance_minutes(3);
    let second = site.newcomer("https://shop.example/", "").await;
    assert_eq!(first.number(), second.number());
    site.advance_minutes(1);
    let call = site.call("CA01", CALLER, second.number()).await;
    let confidence = call["attribution_confidence"].as_f64().unwrap();
    assert!(confidence > 0.5 && confidence < 1.0, "{confidence}");
    assert_eq!(call["candidates"].as_array().unwrap().len(), 2);
    assert_eq!(call["source_channel"], "direct", "the visitor who was seen last is the likelier one");
}

#[tokio::test]
async fn a_call_after_the_lease_ended_is_credited_with_less_certainty_and_after_a_day_to_nobody() {
    let site = Site::open().await;
    site.pool(1).await;
    let browser = site.newcomer(AD, "").await;
    site.advance_minutes(34);
    let live = site.call("CA01", CALLER, browser.number()).await;
    assert_eq!(live["attribution_confidence"], 1.0);
    site.advance_minutes(120);
    let late = site.call("CA02", CALLER, browser.number()).await;
    assert_eq!(late["utm_campaign"], "spring");
    assert!(late["attribution_confidence"].as_f64().unwrap() < 1.0);
    site.advance_minutes(24 * 60);
    let unknown = site.call("CA03", CALLER, browser.number()).await;
    assert_eq!(unknown["source_channel"], "unknown");
    assert_eq!(unknown["attribution_confidence"], 0.0);
    assert_eq!(unknown["session_id"], json!(null));
}

#[tokio::test]
async fn a_released_number_is_not_ours_even_while_it_is_on_screen() {
    let site = Site::open().await;
    let tracker = site.pool(1).await;
    let mut browser = site.newcomer(AD, "").await;
    let number = browser.number().to_owned();
    site.line.company.api.delete(&site.line.company.path(&format!("/trackers/{tracker}"))).await.expect(204);
    let form = [
        ("CallSid", "CA01"),
        ("AccountSid", "AC0000000000000000000000000000abcd"),
        ("From", CALLER),
        ("To", number.as_str()),
        ("CallStatus", "ringing"),
        ("Direction", "inbound"),
    ];
    let answer = site.line.post("voice", &form).await.expect(200);
    assert!(answer.text.contains("not in service"), "{}", answer.text);
    assert_eq!(site.line.count("select count(*) from calls").await, 0);
    site.visit(&mut browser, "https://shop.example/", "").await;
    assert_eq!(browser.number(), "", "the page keeps its own number");
    assert!(!site.heartbeat(&browser).await);
}

#[tokio::test]
async fn a_campaigns_call_says_what_the_campaign_stands_for() {
    let site = Site::open().await;
    let mut ads = shown("Ads", TrackerType::Campaign, "search");
    ads.campaign_search_for = "paid".to_owned();
    site.tracker(ads, 1, 1).await;
    let mut mail = shown("Mail", TrackerType::Campaign, "campaign_parameters");
    mail.campaign_campaign_parameters = "utm_source=news&utm_medium=email&utm_campaign=may".to_owned();
    site.tracker(mail, 2, 1).await;
    let ad = site.call("CA01", CALLER, "+15025551000").await;
    assert_eq!((&ad["source_channel"], &ad["attribution_confidence"]), (&json!("paid"), &json!(null)));
    let mail = site.call("CA02", CALLER, "+15025552000").await;
    assert_eq!((&mail["source_channel"], &mail["utm_campaign"]), (&json!("email"), &json!("may")));
}

#[tokio::test]
async fn a_plan_says_how_many_numbers_the_measured_traffic_needs() {
    let site = Site::open().await;
    let tracker = site.pool(2).await;
    for _ in 0..40 {
        let mut browser = Browser::default();
        site.visit(&mut browser, "https://shop.example/", "").await;
    }
    let path = site.line.company.path(&format!("/trackers/{tracker}/plan"));
    site.write_beats().await;
    let plan = site.line.company.reader.get(&path).await.expect(200).json;
    assert_eq!(plan["measured"]["visits"], 40);
    assert_eq!(plan["measured"]["taken_over"], 38);
    assert_eq!(plan["measured"]["mean_occupancy_s"], 45 * 60);
    assert_eq!(plan["measured"]["offered_load"], 30.0, "40 an hour, each for 45 minutes");
    assert_eq!((&plan["recommended"], &plan["buy"]), (&json!(44), &json!(42)), "the pool takes numbers over");
    assert!(plan["expected_if_followed"]["taken_over"].as_f64().unwrap() <= 0.01);
    assert_eq!(plan["is_reliable"], false, "the busiest hour may not have come yet");
    site.advance_minutes(3 * 24 * 60);
    let later = site.line.company.reader.get(&path).await.expect(200).json;
    let measured = &later["measured"];
    // Monday, 5 o'clock in New York; it was measured on three days, of which two had no visits.
    assert_eq!((&measured["busiest_hour"], &measured["days_averaged"]), (&json!(5), &json!(3)));
    assert_eq!((&measured["offered_load"], &later["is_reliable"]), (&json!(10.0), &json!(true)));
    let no_swap = json!({"pool_exhausted": "no_swap"});
    let tracker = site.line.company.path(&format!("/trackers/{tracker}"));
    site.line.company.api.patch(&tracker, &no_swap).await.expect(200);
    assert_eq!(later["recommended"], 19);
    let later = site.line.company.reader.get(&path).await.expect(200).json;
    assert_eq!(later["recommended"], 18, "by Erlang's formula where nothing is taken over");
    let billboard = site.line.company.path(&format!("/trackers/{}/plan", site.line.tracker));
    site.line.company.reader.get(&billboard).await.expect_problem(404, "not-found");
}
