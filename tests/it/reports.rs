//! Reports: what is counted, when, for which day, and for whom.

use calltracker::db::sql;
use calltracker::kernel::id::CallId;
use calltracker::reports;
use calltracker::visits::Touch;
use calltracker::visits::attribute::Snapshot;
use serde_json::{Value as Json, json};

use crate::support::TestApp;
use crate::support::agency::Agency;

/// Gives calls a source, a time and a fate, as if they had come so; `started` is RFC 3339.
async fn shape(app: &TestApp, id: CallId, channel: &str, keyword: &str, page: &str, started: &str) {
    let at: jiff::Timestamp = started.parse().unwrap();
    let (channel, keyword, page) = (channel.to_owned(), keyword.to_owned(), page.to_owned());
    let touch = Touch { source: "google".to_owned(), ..Touch::default() };
    let attribution = Snapshot { last_touch: Some(touch), ..Snapshot::default() }.to_text();
    app.write(move |tx| {
        tx.execute(
            sql("update calls set source_channel = ?, source_keyword = ?, landing_page = ?, started_at = ?, spam = ?,
                 attribution = ? where id = ?")
            .bind(&channel)
            .bind(&keyword)
            .bind(&page)
            .bind(at.as_microsecond())
            .bind(false)
            .bind(&attribution)
            .bind(id),
        )
    })
    .await;
}

async fn count(app: &TestApp) -> usize {
    reports::count_due(&app.ctx.db).await.unwrap()
}

/// An answered call by an ad late on the 8th in New York, a missed one by a search on the 9th, and one that rings.
async fn scene() -> (Agency, CallId, CallId) {
    let agency = Agency::start().await;
    let (answered, missed) = (agency.answered_call().await, agency.voicemail_call().await);
    agency.ring("CA9").await;
    shape(&agency.app, answered, "paid", "boiler", "https://acme.example/a?gclid=1", "2026-03-09T03:30:00Z")
        .await;
    shape(&agency.app, missed, "organic", "", "https://acme.example/a#top", "2026-03-09T04:30:00Z").await;
    (agency, answered, missed)
}

async fn lines(agency: &Agency, report: &str) -> Vec<Json> {
    let path = agency.path(&format!("/reports/{report}"));
    agency.company.api.get(&path).await.expect(200).json["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_finished_call_is_counted_once_on_its_companys_day() {
    let (agency, ..) = scene().await;
    assert_eq!(lines(&agency, "summary").await[0]["calls"], 0, "nothing is counted yet");
    assert_eq!(count(&agency.app).await, 2, "the one that rings isn't finished");
    assert_eq!(count(&agency.app).await, 0, "each is counted once");
    let all = json!({
        "name": "", "tracker_id": null, "calls": 2, "answered": 1, "missed": 1, "first_time": 1, "duration_s": 83 + 47,
    });
    assert_eq!(lines(&agency, "summary").await, [all]);
    let days = lines(&agency, "days").await;
    let days: Vec<_> = days.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(days, ["2026-03-08 paid", "2026-03-09 organic"]);
    let only = lines(&agency, "summary?from=2026-03-09&to=2026-03-09").await;
    assert_eq!((&only[0]["calls"], &only[0]["missed"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn each_report_names_what_its_calls_have_in_common() {
    let (agency, ..) = scene().await;
    count(&agency.app).await;
    let named = async |report: &str| -> Vec<(String, i64)> {
        let lines = lines(&agency, report).await;
        lines.iter().map(|l| (l["name"].as_str().unwrap().to_owned(), l["calls"].as_i64().unwrap())).collect()
    };
    let pairs = |pairs: &[(&str, i64)]| pairs.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect::<Vec<_>>();
    assert_eq!(named("channels").await, pairs(&[("organic", 1), ("paid", 1)]));
    assert_eq!(named("sources").await, pairs(&[("google", 2)]));
    assert_eq!(named("keywords").await, pairs(&[("", 1), ("boiler", 1)]));
    assert_eq!(named("landing_pages").await, pairs(&[("https://acme.example/a", 2)]));
    assert_eq!(named("keywords?source_channel=paid").await, pairs(&[("boiler", 1)]));
    assert_eq!(named("channels?limit=1").await, pairs(&[("organic", 1)]));
    assert_eq!(named("channels?tracker_id=999").await, pairs(&[]));
    let trackers = lines(&agency, "trackers").await;
    assert_eq!((&trackers[0]["tracker_id"], &trackers[0]["calls"]), (&json!(1), &json!(2)));
    // What a report counts is what the list of calls has.
    for query in ["source=google", "landing_page=https://acme.example/a"] {
        let found = agency.company.api.get(&agency.path(&format!("/calls?{query}"))).await.expect(200);
        assert_eq!(found.ids().len(), 2, "{query}");
    }
    let found = agency.company.api.get(&agency.path("/calls?source_keyword=boiler")).await.expect(200);
    assert_eq!(found.ids().len(), 1);
}

#[tokio::test]
async fn spam_is_taken_out_and_put_back() {
    let (agency, answered, _) = scene().await;
    count(&agency.app).await;
    let path = agency.path(&format!("/calls/{answered}"));
    for (spam, calls) in [(true, 1), (true, 1), (false, 2), (false, 2)] {
        agency.company.api.patch(&path, &json!({ "spam": spam, "note": "x" })).await.expect(200);
        count(&agency.app).await;
        let sums = &lines(&agency, "summary").await[0];
        assert_eq!(sums["calls"], calls, "spam: {spam}");
        assert_eq!(sums["duration_s"], if calls == 1 { 47 } else { 130 });
        assert_eq!(lines(&agency, "channels").await.len(), calls, "a channel without calls isn't named");
    }
}

#[tokio::test]
async fn a_report_is_a_table_if_asked_and_another_companys_is_empty() {
    let (agency, answered, _) = scene().await;
    shape(&agency.app, answered, "paid", "=cmd()", "https://acme.example/", "2026-03-09T03:30:00Z").await;
    count(&agency.app).await;
    let table = agency
        .company
        .api
        .get(&agency.path("/reports/keywords?format=csv&source_channel=paid"))
        .await
        .expect(200);
    let wanted = "name,tracker_id,calls,answered,missed,first_time,duration_s\r\n\"'=cmd()\",,1,1,0,1,83\r\n";
    assert_eq!(table.text, wanted);
    let other = agency.app.company("Other").await;
    let theirs = other.api.get(&other.path("/reports/summary")).await.expect(200);
    assert_eq!(theirs.json["data"][0]["calls"], 0);
    other.api.get(&agency.path("/reports/summary")).await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn what_is_no_report_is_said() {
    let agency = Agency::start().await;
    let api = &agency.company.api;
    api.get(&agency.path("/reports/strange")).await.expect_problem(404, "not-found");
    for (query, field) in [
        ("from=2026-03-10&to=2026-03-09", "from"),
        ("from=1990-01-01&to=2026-03-09", "from"),
        ("from=yesterday", "from"),
        ("to=2026-02-30", "to"),
        ("limit=1001", "limit"),
        ("format=xml", "format"),
        ("source_channel=tv", "source_channel"),
    ] {
        let refused = api.get(&agency.path(&format!("/reports/summary?{query}"))).await;
        assert_eq!(refused.expect_problem(400, "validation").fields(), [field], "{query}");
    }
}
