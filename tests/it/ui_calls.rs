//! The overview and the list of calls: numbers that lead to their calls, filters, notes, many at once, CSV.

use calltracker::reports;
use serde_json::json;

use crate::support::agency::{Agency, ESCAPED};
use crate::support::browser::Browser;
use crate::support::line::CALLER;
use crate::support::site::Site;

async fn scene() -> (Agency, Browser) {
    let agency = Agency::start().await;
    let (base, ctx) = (agency.app.api.base.clone(), agency.app.ctx.clone());
    (agency, Browser::of_user(&base, &ctx, "ana@agency.example", None).await)
}

#[tokio::test]
async fn the_overview_says_what_calls_came_to_and_leads_to_them() {
    let (agency, mut browser) = scene().await;
    let path = agency.path("/overview");
    browser.get(&path).await.expect(200).assert_has("No calls in this time.");
    let call = agency.answered_call().await;
    let not_spam = json!({ "spam": false });
    agency.company.api.patch(&agency.path(&format!("/calls/{call}")), &not_spam).await.expect(200);
    let missed = agency.voicemail_call().await;
    reports::count_due(&agency.app.ctx.db).await.unwrap();
    let shown = browser.get(&path).await.expect(200);
    shown.assert_has("<span class=\"soft\">Calls</span><b>2</b>");
    shown.assert_has("<span class=\"soft\">Answered</span><b>50%</b>");
    shown.assert_has("<title>2026-03-09: 2 calls (offline 2)</title>");
    shown.assert_has(ESCAPED);
    // The caller of the missed one hasn't called since.
    shown.assert_has(&format!("href=\"{}\"", agency.path(&format!("/calls/{missed}"))));
    let keyword = shown.text.split("Top keywords").nth(1).unwrap();
    let url = keyword.split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let listed = browser.get(&url).await.expect(200);
    assert_eq!(listed.text.matches("name=\"id\" value=").count(), 1, "the keyword's one call");
    // They called again, so there is nobody to call back.
    agency.ring("CA9").await;
    browser.get(&path).await.expect(200).assert_lacks("Missed calls to return");
    let wrong = browser.get(&format!("{path}?from=2026-03-10&to=2026-03-09")).await.expect(200);
    wrong.assert_has("must not be after `to`");
}

#[tokio::test]
async fn calls_are_found_by_filters_that_can_be_taken_away() {
    let (agency, mut browser) = scene().await;
    let (answered, missed) = (agency.answered_call().await, agency.voicemail_call().await);
    let list = agency.path("/calls");
    let found = async |browser: &mut Browser, query: &str| {
        let shown = browser.get(&format!("{list}?{query}")).await.expect(200);
        let has = |id| shown.text.contains(&format!("name=\"id\" value=\"{id}\""));
        (has(answered), has(missed), shown)
    };
    let (first, second, shown) = found(&mut browser, "status=answered&search=burbank&tag=").await;
    assert_eq!((first, second), (true, false));
    shown.assert_has(">Status: answered ×</a>");
    assert_eq!(shown.link("Status: answered ×"), format!("{list}?search=burbank"));
    let (first, second, shown) = found(&mut browser, "search=nobody").await;
    assert_eq!((first, second), (false, false));
    shown.assert_has("No calls like that");
    let (first, second, shown) = found(&mut browser, "min_duration=long").await;
    assert_eq!((first, second), (false, false));
    shown.assert_has("must be an integer from 0");
}

#[tokio::test]
async fn what_is_noted_about_a_call_is_kept_or_refused_with_its_reason() {
    let (agency, mut browser) = scene().await;
    let page = agency.path(&format!("/calls/{}", agency.answered_call().await));
    let typed = [("tags", "vip, hot "), ("lead_status", "won"), ("value", "99.5"), ("note", "a\r\nb")];
    assert_eq!(browser.post_form(&page, &typed).await.location(), page);
    let shown = browser.get(&page).await.expect(200);
    shown.assert_has("value=\"hot, vip\"");
    shown.assert_has("value=\"99.5\"");
    shown.assert_has("a\nb</textarea>");
    shown.assert_lacks("name=\"spam\" checked");
    let wrong = browser.post_form(&page, &[("value", "-1"), ("note", "kept")]).await.expect(400);
    wrong.assert_has("id=\"f-value-error\">must be a number from 0");
    wrong.assert_has("kept</textarea>");
    let call = agency.company.api.get(&page).await.expect(200).json;
    assert_eq!((&call["note"], &call["tags"]), (&json!("a\nb"), &json!(["hot", "vip"])));
}

#[tokio::test]
async fn many_calls_are_changed_at_once_and_only_the_companys() {
    let (agency, mut browser) = scene().await;
    let (first, second) = (agency.answered_call().await, agency.voicemail_call().await);
    let other = agency.app.company("Other").await;
    let ids = [first.to_string(), second.to_string()];
    let typed =
        [("id", ids[0].as_str()), ("id", &ids[1]), ("id", "999"), ("tag", "spring"), ("spam", "true")];
    assert_eq!(
        browser.post_form(&agency.path("/calls/bulk"), &typed).await.location(),
        agency.path("/calls")
    );
    browser.get(&agency.path("/calls")).await.expect(200).assert_has("2 calls were changed.");
    let tagged = agency.company.api.get(&agency.path("/calls?tag=spring")).await.expect(200);
    assert_eq!(tagged.ids().len(), 2);
    assert_eq!(
        tagged.json["data"][1]["tags"].as_array().unwrap().len(),
        2,
        "a tag is added to those there are"
    );
    browser.post_form(&other.path("/calls/bulk"), &typed).await.location();
    browser.get(&other.path("/calls")).await.expect(200).assert_has("0 calls were changed.");
    browser.post_form(&agency.path("/calls/bulk"), &[("tag", "x")]).await.location();
    browser.get(&agency.path("/calls")).await.expect(200).assert_has("Nothing was changed");
}

#[tokio::test]
async fn calls_are_downloaded_as_a_table_that_is_safe_to_open() {
    let (agency, mut browser) = scene().await;
    let call = agency.answered_call().await;
    agency.voicemail_call().await;
    let note = json!({ "note": "=HYPERLINK(\"https://evil.example\")" });
    agency.company.api.patch(&agency.path(&format!("/calls/{call}")), &note).await.expect(200);
    let table = browser.get(&agency.path("/calls.csv?status=answered")).await.expect(200);
    assert_eq!(table.header("content-disposition"), "attachment; filename=\"calls.csv\"");
    let lines: Vec<_> = table.text.trim_end().split("\r\n").collect();
    assert_eq!(lines.len(), 2, "{}", table.text);
    assert!(lines[1].starts_with(&format!("{call},2026-03-09 05:00:00,+18183219876,")), "{}", lines[1]);
    assert!(lines[1].ends_with("\"'=HYPERLINK(\"\"https://evil.example\"\")\""), "{}", lines[1]);
    browser.get(&agency.path("/calls.csv?status=strange")).await.expect(400);
}

#[tokio::test]
async fn a_call_shows_what_webhooks_were_told_of_it() {
    let (agency, mut browser) = scene().await;
    let webhook = agency.webhook("https://crm.example/hook").await;
    let (call, other) = (agency.answered_call().await, agency.voicemail_call().await);
    let shown = browser.get(&agency.path(&format!("/calls/{call}"))).await.expect(200);
    let told = shown.text.split("What webhooks were told").nth(1).unwrap();
    for event in ["call.received", "call.finished", "call.recording.available"] {
        assert_eq!(told.matches(&format!("<code>{event}</code>")).count(), 1, "{event} of this call alone");
    }
    assert!(!told.contains("voicemail.received"));
    let delivery = format!("href=\"{}\"", agency.path(&format!("/webhooks/{webhook}/deliveries/msg_")));
    assert_eq!(told.matches(delivery.trim_end_matches('"')).count(), 3);
    let shown = browser.get(&agency.path(&format!("/calls/{other}"))).await.expect(200);
    shown.assert_has("<code>voicemail.received</code>");
}

#[tokio::test]
async fn a_call_shows_its_visitors_way_to_it() {
    let site = Site::open().await;
    site.pool(2).await;
    let visitor = site.newcomer("https://shop.example/?utm_source=news&utm_medium=email", "").await;
    site.page(&visitor, "https://shop.example/hats?x=<script>").await;
    site.write_beats().await;
    site.advance_minutes(1);
    let call = site.call("CA01", CALLER, visitor.number()).await;
    let app = &site.line.app;
    let mut browser = Browser::of_user(&app.api.base, &app.ctx, "ana@agency.example", None).await;
    let path = site.line.company.path(&format!("/calls/{}", call["id"]));
    let shown = browser.get(&path).await.expect(200);
    let way = shown.text.split("The visitor’s way").nth(1).unwrap();
    let steps: Vec<_> = way.split("</ol>").next().unwrap().split("<li").skip(1).collect();
    assert_eq!(steps.len(), 3, "{way}");
    assert!(steps[0].contains("utm_source=news"));
    assert!(
        steps[1].contains("/hats?x=%3Cscript%3E") || steps[1].contains("/hats?x=&#60;script&#62;"),
        "{}",
        steps[1]
    );
    assert!(steps[2].contains("class=\"called\"") && steps[2].contains("Called"));
    shown.assert_has("<dt>Sure by</dt><dd>100%</dd>");
}
