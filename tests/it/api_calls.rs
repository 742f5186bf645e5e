//! `/calls` and `/recording`, `/voicemails`, `/usage`.

use std::time::Duration;

use calltracker::calls::update::{Arrival, Attestation, Fact, Geo, Update};
use calltracker::calls::{self, Recorded, Via};
use calltracker::carriers::accounts;
use calltracker::db::sql;
use calltracker::kernel::id::CarrierId;
use calltracker::recordings::link::Links;
use calltracker::trackers::{self, OwnedNumber};
use reqwest::Method;
use reqwest::header::RANGE;
use serde_json::{Value as Json, json};

use crate::support::world::{AUTH_TOKEN, NOWHERE, new_account, number, settings};
use crate::support::{TestApp, TestCompany};

const TRACKING: &str = "+12705550101";
const CALLER: &str = "+18183219876";

/// A company with a tracker whose carrier nobody asked.
async fn tracked(app: &TestApp) -> (TestCompany, CarrierId) {
    let company = app.company("Acme").await;
    let (scope, key) = (company.scope, app.ctx.key.clone());
    let carrier = app
        .ctx
        .db
        .write("test", move |tx| {
            let new = new_account(NOWHERE, AUTH_TOKEN);
            let carrier = accounts::create(tx, scope, &new, &key)?.account.id;
            let owned = OwnedNumber {
                carrier_id: carrier,
                carrier_number_id: "PN1".to_owned(),
                number: number(TRACKING),
            };
            trackers::create(tx, scope, &settings(), &[owned]).map_err(|_| accounts::Error::Duplicate)?;
            Ok::<_, accounts::Error>(carrier)
        })
        .await;
    (company, carrier.unwrap())
}

/// A call comes in; gives its id.
async fn arrive(
    app: &TestApp,
    company: &TestCompany,
    carrier: CarrierId,
    id: &str,
    from: Option<&str>,
) -> i64 {
    let (via, links) = (Via { scope: company.scope, carrier }, Links::of(&app.ctx));
    let arrival = Arrival {
        from: from.map(number),
        to: TRACKING.to_owned(),
        forwarded_from: String::new(),
        caller_name: "Ann Ödegård".to_owned(),
        geo: Geo { city: "Owensboro".to_owned(), ..Geo::default() },
        attestation: Attestation::A,
    };
    let update = Update { carrier_call_id: id.to_owned(), fact: Fact::Arrived(arrival) };
    let recorded = app.write(move |tx| calls::record(tx, via, &links, &update)).await;
    let Recorded::Known { call, .. } = recorded else { panic!("{recorded:?}") };
    call.0
}

#[tokio::test]
async fn a_call_is_shown_as_its_event_showed_it() {
    let app = TestApp::start().await;
    let (company, carrier) = tracked(&app).await;
    let id = arrive(&app, &company, carrier, "CA1", Some(CALLER)).await;
    let call = company.reader.get(&company.path(&format!("/calls/{id}"))).await.expect(200);
    let log = company.reader.get(&company.path("/events?type=call.received")).await.expect(200);
    assert_eq!(log.json["data"][0]["data"], call.json);
    assert_eq!(company.reader.get(&company.path("/calls")).await.json["data"], json!([call.json]));
    company.reader.get(&company.path("/calls/999")).await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn calls_are_filtered() {
    let app = TestApp::start().await;
    let (company, carrier) = tracked(&app).await;
    let first = arrive(&app, &company, carrier, "CA1", Some(CALLER)).await;
    app.advance(Duration::from_secs(24 * 3600));
    let second = arrive(&app, &company, carrier, "CA2", Some(CALLER)).await;
    let edit = json!({ "tags": ["hot"], "lead_status": "won" });
    company.api.patch(&company.path(&format!("/calls/{second}")), &edit).await.expect(200);
    for (query, expected) in [
        ("", vec![second, first]),
        ("is_first_time=true", vec![first]),
        ("status=ringing", vec![second, first]),
        ("status=answered", vec![]),
        ("tracker_id=1", vec![second, first]),
        ("tracker_id=2", vec![]),
        ("tag=hot", vec![second]),
        ("lead_status=won", vec![second]),
        ("lead_status=", vec![first]),
        ("min_duration=1", vec![]),
        ("source_channel=offline&search=%C3%96DEG", vec![second, first]),
        ("search=%25", vec![]),
        // 09:00 UTC is 05:00 in New York: the same day there.
        ("from=2026-03-09&to=2026-03-09", vec![first]),
        ("from=2026-03-10", vec![second]),
        ("to=2026-03-09T09:00:00Z", vec![]),
        ("from=2026-03-09T09:00:00Z&to=2026-03-09T09:00:01Z", vec![first]),
        ("from=2026-03-10T04:00:00-05:00", vec![second]),
    ] {
        let answer = company.reader.get(&company.path(&format!("/calls?{query}"))).await.expect(200);
        assert_eq!(answer.ids(), expected, "{query}");
    }
    let bad = "status=x&source_channel=x&is_first_time=1&min_duration=-1&tag=&from=x&to=2026-13-01&search=";
    let answer = company.reader.get(&company.path(&format!("/calls?{bad}"))).await.expect(400);
    let named = ["status", "source_channel", "is_first_time", "min_duration", "tag", "from", "to", "search"];
    assert_eq!(answer.fields(), named);
}

#[tokio::test]
async fn what_people_add_to_a_call_is_kept() {
    let app = TestApp::start().await;
    let (company, carrier) = tracked(&app).await;
    let id = arrive(&app, &company, carrier, "CA1", None).await;
    let path = company.path(&format!("/calls/{id}"));
    let edit = json!({ "tags": ["hot", "älter"], "note": "Call back", "value": 12.5, "spam": true });
    let edited = company.api.patch(&path, &edit).await.expect(200);
    for key in ["note", "value", "spam"] {
        assert_eq!(edited.json[key], edit[key]);
    }
    assert_eq!(edited.json["caller_number"], "");
    let cleared = company.api.patch(&path, &json!({ "value": null, "tags": [] })).await.expect(200);
    assert_eq!((&cleared.json["value"], &cleared.json["tags"]), (&Json::Null, &json!([])));
    assert_eq!(cleared.json["note"], "Call back");
    let bad = json!({
        "tags": ["a", "a", "x".repeat(65)], "note": "n".repeat(10_001), "value": -1, "spam": null,
        "lead_status": "a\u{0}", "status": "answered",
    });
    let answer = company.api.patch(&path, &bad).await.expect_problem(400, "validation");
    assert_eq!(answer.fields(), ["lead_status", "note", "spam", "status", "tags[1]", "tags[2]", "value"]);
    let line = company.api.patch(&path, &json!({ "lead_status": "two\nlines" })).await.expect(400);
    assert_eq!(line.fields(), ["lead_status"]);
    company.api.patch(&company.path("/calls/999"), &edit).await.expect_problem(404, "not-found");
}

/// A stored recording of a call, as if it had been fetched; gives its id.
async fn store(app: &TestApp, company: &TestCompany, carrier: CarrierId, call: i64, audio: &[u8]) -> i64 {
    let folder = app.ctx.config.data.join("recordings");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("1.mp3"), audio).unwrap();
    let company = company.id;
    app.write(move |tx| {
        let (id,): (i64,) = tx.one(
            sql("insert into recordings (company_id, call_id, carrier_id, carrier_recording_id, kind, state,
                 media_url, duration_s, content_type, path, bytes, fetch_attempts, failure, delete_attempts,
                 created_at) values (?, ?, ?, 'RE1', 'call', 'stored', 'x', 7, 'audio/mpeg', '1.mp3', 10, 1,
                 '', 0, ?) returning id")
            .bind(company)
            .bind(call)
            .bind(carrier)
            .bind(tx.now()),
        )?;
        tx.execute(sql("update calls set recording_id = ? where id = ?").bind(id).bind(call))?;
        Ok(id)
    })
    .await
}

#[tokio::test]
async fn a_recording_is_downloaded_in_whole_and_in_parts() {
    let app = TestApp::start().await;
    let (company, carrier) = tracked(&app).await;
    let call = arrive(&app, &company, carrier, "CA1", Some(CALLER)).await;
    let path = company.path(&format!("/calls/{call}/recording"));
    company.reader.get(&path).await.expect_problem(404, "not-found");
    store(&app, &company, carrier, call, b"ID3-audio!").await;
    let whole = company.reader.get(&path).await.expect(200);
    assert_eq!((whole.text.as_str(), whole.header("content-type")), ("ID3-audio!", Some("audio/mpeg")));
    let ranged = async |range: &str| {
        company.reader.send(company.reader.request(Method::GET, &path).header(RANGE, range)).await
    };
    let part = ranged("bytes=4-8").await.expect(206);
    assert_eq!((part.text.as_str(), part.header("content-range")), ("audio", Some("bytes 4-8/10")));
    let beyond = ranged("bytes=99-").await.expect_problem(416, "range-not-satisfiable");
    assert_eq!(beyond.header("content-range"), Some("bytes */10"));
    let shown = company.reader.get(&company.path(&format!("/calls/{call}"))).await.expect(200);
    let link = shown.json["recording"].as_str().expect("there is a link");
    assert_eq!(reqwest::get(link).await.unwrap().text().await.unwrap(), "ID3-audio!", "without a token");
}

#[tokio::test]
async fn voicemails_are_listed() {
    let app = TestApp::start().await;
    let (company, carrier) = tracked(&app).await;
    let call = arrive(&app, &company, carrier, "CA1", Some(CALLER)).await;
    let recording = store(&app, &company, carrier, call, b"ID3").await;
    let id = company.id;
    app.write(move |tx| {
        tx.execute(
            sql("insert into voicemails (company_id, call_id, tracker_id, recording_id, transcription,
                 transcription_status, created_at) values (?, ?, 1, ?, 'Hi', 'completed', ?)")
            .bind(id)
            .bind(call)
            .bind(recording)
            .bind(tx.now()),
        )
    })
    .await;
    let listed = company.reader.get(&company.path("/voicemails")).await.expect(200);
    let voicemail = &listed.json["data"][0];
    assert_eq!((&voicemail["call_id"], &voicemail["transcription"]), (&json!(call), &json!("Hi")));
    assert!(voicemail["recording"].as_str().is_some_and(|link| link.contains("/recordings/")));
}

#[tokio::test]
async fn closed_billing_periods_are_listed() {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    assert_eq!(company.reader.get(&company.path("/usage")).await.expect(200).ids(), [] as [i64; 0]);
    app.advance(Duration::from_secs(31 * 24 * 3600));
    let now = app.ctx.clock.now();
    calltracker::usage::close_due(&app.ctx.db, now).await.unwrap();
    let listed = company.reader.get(&company.path("/usage")).await.expect(200);
    assert_eq!(listed.json["data"][0]["end_date"], "2026-04-01");
    let log = company.reader.get(&company.path("/events?type=usage.created")).await.expect(200);
    assert_eq!(log.json["data"][0]["data"], listed.json["data"][0]);
}
