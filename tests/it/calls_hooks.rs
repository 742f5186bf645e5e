//! Calls as a carrier tells of them, over HTTP: what it is answered, and what the company's server is told.

use std::time::Duration;

use calltracker::carriers::reconcile;
use calltracker::db::LockSpace;
use calltracker::kernel::phone::PhoneNumber;
use calltracker::trackers::blocked;
use serde_json::Value as Json;

use crate::support::line::{CALLER, DESTINATION, Line, MP3, NUMBER, WAV, sign};

/// Whether `data` has every key of the contract's sample, with the sample's JSON type.
#[track_caller]
fn assert_like_the_contract(data: &Json, kind: &str) {
    let path = format!("{}/tests/fixtures/contract/{kind}.json", env!("CARGO_MANIFEST_DIR"));
    let sample: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let type_of = |value: &Json| match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_i64() => "integer",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    for (key, expected) in sample["data"].as_object().unwrap() {
        let actual = data.get(key).unwrap_or_else(|| panic!("{kind} lacks {key}"));
        assert_eq!(type_of(actual), type_of(expected), "{kind}.{key}");
    }
}

fn text(data: &Json, key: &str) -> String {
    data[key].as_str().unwrap_or_else(|| panic!("{key} is a text")).to_owned()
}

#[tokio::test]
async fn an_answered_call_is_received_finished_and_recorded() {
    let line = Line::start().await;
    let voice = line.voice("CA1", CALLER).await.expect(200);
    assert_eq!(voice.content_type, "text/xml; charset=utf-8");
    assert!(voice.text.contains("<Say>This call may be recorded.</Say><Dial "), "{}", voice.text);
    assert!(voice.text.contains(&format!(">{DESTINATION}</Number>")));
    let received = Line::only(&line.events().await, "call.received");
    assert_like_the_contract(&received, "call.received");

    line.leg(&voice.url("statusCallback"), "CA1", "ringing").await.expect(204);
    line.leg(&voice.url("statusCallback"), "CA1", "in-progress").await.expect(204);
    let whisper = line.leg(&voice.url("url"), "CA1", "in-progress").await.expect(200);
    assert_eq!(whisper.text, "<Response><Say>Call from Billboard.</Say></Response>");
    line.app.advance(Duration::from_secs(219));
    line.leg(&voice.url("statusCallback"), "CA1", "completed").await.expect(204);
    let bridged = [("DialCallStatus", "completed"), ("DialBridged", "true"), ("DialCallDuration", "186")];
    let done = line.tell(&voice.url("action"), "CA1", &bridged).await.expect(200);
    assert_eq!(done.text, "<Response><Hangup/></Response>");
    // The audio is there before the call's end is told: it is held back.
    line.rest.answer("GET Recordings/RE1.mp3", 200, MP3);
    line.rest.answer("DELETE Recordings/RE1.json", 204, "");
    line.recorded(&voice.url("recordingStatusCallback"), "CA1", "RE1", "186").await.expect(204);
    line.work().await;
    assert_eq!(line.event_types().await, ["call.received"]);

    line.end("CA1", "219").await.expect(204);
    let events = line.events().await;
    let types: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(types, ["call.received", "call.finished", "call.recording.available"]);
    let finished = &events[1].1;
    assert_eq!((text(finished, "status").as_str(), &finished["call_duration"]), ("answered", &219.into()));
    assert_eq!(finished["recording_duration"], 186);
    let available = &events[2].1;
    assert_like_the_contract(available, "call.recording.available");
    let audio = reqwest::get(text(available, "recording")).await.unwrap();
    assert_eq!(
        (audio.status().as_u16(), &audio.headers()["content-type"]),
        (200, &"audio/mpeg".parse().unwrap())
    );
    assert_eq!(audio.bytes().await.unwrap(), MP3);
    line.work().await;
    assert_eq!(line.rest.asked(), ["GET Recordings/RE1.mp3", "DELETE Recordings/RE1.json"]);
}

#[tokio::test]
async fn finished_calls_look_like_the_contracts() {
    let line = Line::with(|settings| settings.recording_enabled = false).await;
    let voice = line.voice("CA1", CALLER).await;
    line.tell(&voice.url("action"), "CA1", &[("DialCallStatus", "completed"), ("DialBridged", "true")]).await;
    line.end("CA1", "12").await;
    let data = Line::only(&line.events().await, "call.finished");
    assert_like_the_contract(&data, "call.finished");
    let shown = [
        ("caller_city", "Los Angeles"),
        ("caller_state", "CA"),
        ("caller_zip", "91604"),
        ("caller_country", "US"),
        ("source_channel", "offline"),
        ("tracker_name", "Billboard"),
        ("company_name", "Example Company"),
        ("tracking_number", NUMBER),
        ("caller_number", CALLER),
        ("attestation", "A"),
        ("number_type", "local"),
        ("direction", "inbound"),
        ("timestamp", "2026-03-09T09:00:00.000000Z"),
    ];
    for (key, value) in shown {
        assert_eq!(data[key], value, "{key}");
    }
    assert_eq!((&data["is_first_time"], &data["pages_visited"]), (&true.into(), &Json::Array(vec![])));
}

#[tokio::test]
async fn a_missed_call_becomes_a_voicemail_with_its_text() {
    let line = Line::start().await;
    let voice = line.voice("CA1", CALLER).await;
    line.leg(&voice.url("statusCallback"), "CA1", "no-answer").await;
    let missed = [("DialCallStatus", "no-answer"), ("DialBridged", "false")];
    let record = line.tell(&voice.url("action"), "CA1", &missed).await.expect(200);
    assert!(
        record.text.starts_with("<Response><Say>Please leave a message.</Say><Record "),
        "{}",
        record.text
    );
    let hook = record.url("action");
    let done =
        line.tell(&hook, "CA1", &[("RecordingDuration", "14"), ("Digits", "hangup")]).await.expect(200);
    assert_eq!(done.text, "<Response><Hangup/></Response>");
    line.end("CA1", "40").await;
    assert_eq!(text(&Line::only(&line.events().await, "call.finished"), "status"), "voicemail");

    line.rest.answer("GET Recordings/RE1.wav", 200, WAV);
    line.recorded(&record.url("recordingStatusCallback"), "CA1", "RE1", "14").await.expect(204);
    line.work().await;
    assert_eq!(line.event_types().await, ["call.received", "call.finished"], "its text is waited for");
    let told =
        [("RecordingSid", "RE1"), ("TranscriptionStatus", "completed"), ("TranscriptionText", "Hi 👋")];
    line.tell(&record.url("transcribeCallback"), "CA1", &told).await.expect(204);
    line.work().await;
    let voicemail = Line::only(&line.events().await, "voicemail.received");
    assert_like_the_contract(&voicemail, "voicemail.received");
    assert_eq!(
        (text(&voicemail, "transcription").as_str(), &voicemail["recording_duration"]),
        ("Hi 👋", &14.into())
    );
    let audio = reqwest::get(text(&voicemail, "recording")).await.unwrap();
    assert_eq!(audio.headers()["content-type"], "audio/wav");
    line.tell(&record.url("transcribeCallback"), "CA1", &told).await.expect(204);
    line.work().await;
    Line::only(&line.events().await, "voicemail.received");
}

#[tokio::test]
async fn a_text_that_does_not_come_is_not_waited_for_long() {
    let line = Line::start().await;
    let voice = line.voice("CA1", CALLER).await;
    let record = line.tell(&voice.url("action"), "CA1", &[("DialCallStatus", "busy")]).await;
    line.rest.answer("GET Recordings/RE1.wav", 200, WAV);
    line.rest.answer("GET Recordings/RE2.wav", 200, WAV);
    line.recorded(&record.url("recordingStatusCallback"), "CA1", "RE1", "14").await;
    // Carriers don't transcribe what is so short.
    line.recorded(&record.url("recordingStatusCallback"), "CA1", "RE2", "1").await;
    line.end("CA1", "40").await;
    line.work().await;
    let short = Line::only(&line.events().await, "voicemail.received");
    assert_eq!(
        (short["recording_duration"].as_i64(), text(&short, "transcription_status").as_str()),
        (Some(1), "off")
    );
    line.app.advance(Duration::from_secs(300));
    line.work().await;
    let events = line.events().await;
    let (_, overdue) = events.last().unwrap();
    assert_eq!(
        (text(overdue, "transcription").as_str(), text(overdue, "transcription_status").as_str()),
        ("", "failed")
    );
}

#[tokio::test]
async fn a_text_may_come_before_its_recording() {
    let line = Line::start().await;
    let voice = line.voice("CA1", CALLER).await;
    let record = line.tell(&voice.url("action"), "CA1", &[("DialCallStatus", "failed")]).await;
    let told =
        [("RecordingSid", "RE1"), ("TranscriptionStatus", "completed"), ("TranscriptionText", "Early")];
    line.tell(&record.url("transcribeCallback"), "CA1", &told).await.expect(204);
    line.end("CA1", "30").await;
    line.rest.answer("GET Recordings/RE1.wav", 200, WAV);
    line.recorded(&record.url("recordingStatusCallback"), "CA1", "RE1", "9").await;
    line.work().await;
    assert_eq!(text(&Line::only(&line.events().await, "voicemail.received"), "transcription"), "Early");
    assert_eq!(text(&Line::only(&line.events().await, "call.finished"), "status"), "voicemail");
}

#[tokio::test]
async fn a_blocked_caller_is_refused_and_both_events_tell_of_it() {
    let line = Line::start().await;
    let scope = line.company.scope;
    let caller = PhoneNumber::from_e164(CALLER).unwrap();
    line.app.write(move |tx| blocked::block(tx, scope, &caller, "spam")).await;
    let refused = line.voice("CA1", CALLER).await.expect(200);
    assert_eq!(refused.text, "<Response><Reject reason=\"busy\"/></Response>");
    line.tell("call-status", "CA1", &[("CallStatus", "busy"), ("CallDuration", "0")]).await.expect(204);
    let statuses: Vec<String> = line.events().await.iter().map(|(_, data)| text(data, "status")).collect();
    assert_eq!(statuses, ["ringing", "blocked"]);
}

#[tokio::test]
async fn a_number_that_is_off_or_not_ours_is_said_to_be_out_of_service() {
    let line = Line::with(|settings| settings.status = false).await;
    let off = line.voice("CA1", CALLER).await.expect(200);
    assert!(
        off.text.contains("not in service") && off.text.ends_with("<Hangup/></Response>"),
        "{}",
        off.text
    );
    line.end("CA1", "6").await;
    assert_eq!(text(&Line::only(&line.events().await, "call.finished"), "status"), "no_answer");
    let strange = line.tell("voice", "CA2", &[("To", "+12705550999")]).await.expect(200);
    assert_eq!(strange.text, off.text);
    line.tell("call-status", "CA2", &[("To", "+12705550999"), ("CallStatus", "completed")]).await.expect(204);
    assert_eq!(line.events().await.len(), 2, "nothing is kept of a call that isn't ours");
}

#[tokio::test]
async fn who_cannot_sign_changes_nothing() {
    let line = Line::start().await;
    let form = [("CallSid", "CA1"), ("From", CALLER), ("To", NUMBER), ("Direction", "inbound")];
    let token = "0123456789abcdef0123456789abcdef";
    let good = sign(token, &line.url("voice"), &form);
    let elsewhere = sign(token, &line.url("dial"), &form);
    let stranger = sign("another account's token", &line.url("voice"), &form);
    for signature in [None, Some(""), Some("AAAA"), Some(elsewhere.as_str()), Some(stranger.as_str())] {
        let refused = line.post_signed("voice", &form, signature).await.expect(403);
        assert_eq!(refused.text, "");
    }
    let changed = [("CallSid", "CA2"), ("From", CALLER), ("To", NUMBER), ("Direction", "inbound")];
    line.post_signed("voice", &changed, Some(&good)).await.expect(403);
    assert_eq!(line.events().await.len(), 0);
    // Replayed, it is the same news again.
    let first = line.post_signed("voice", &form, Some(&good)).await.expect(200);
    let again = line.post_signed("voice", &form, Some(&good)).await.expect(200);
    assert_eq!((first.text, line.event_types().await.len()), (again.text, 1));
    let metrics = line.app.ctx.metrics.text();
    assert!(metrics.contains("carrier_hooks_total{hook=\"voice\",result=\"forged\"} 6"), "{metrics}");
}

#[tokio::test]
async fn requests_that_are_no_carriers_are_refused_early() {
    let line = Line::start().await;
    let http = reqwest::Client::new();
    let unknown = line.url("voice").replace("/carrier/", "/carrier/x");
    assert_eq!(http.post(unknown).send().await.unwrap().status(), 404);
    assert_eq!(http.post(line.url("nothing")).send().await.unwrap().status(), 404);
    assert_eq!(http.get(line.url("voice")).send().await.unwrap().status(), 405);
    let large = "x".repeat(64 * 1024 + 1);
    assert_eq!(http.post(line.url("voice")).body(large.clone()).send().await.unwrap().status(), 413);
    let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>(large)]);
    let streamed = http.post(line.url("voice")).body(reqwest::Body::wrap_stream(chunks)).send().await;
    assert_eq!(streamed.unwrap().status(), 413);
    line.post("voice", &[("From", CALLER)]).await.expect(400);
    let many: Vec<(&str, &str)> = vec![("a", "b"); 501];
    line.post("voice", &many).await.expect(400);
}

#[tokio::test]
async fn callbacks_about_calls_that_never_came_are_taken_politely() {
    let line = Line::start().await;
    line.leg("leg-status", "CA9", "completed").await.expect(204);
    line.leg("whisper", "CA9", "in-progress").await.expect(200);
    line.recorded("recording", "CA9", "RE9", "3").await.expect(204);
    let told = [("RecordingSid", "RE9"), ("TranscriptionStatus", "failed")];
    line.tell("transcription", "CA9", &told).await.expect(204);
    let message = [("MessageSid", "SM9"), ("MessageStatus", "sent")];
    line.post("message-status", &message).await.expect(204);
    assert_eq!(line.count("select count(*) from calls").await, 0);
    // But the end of a call to our number is a call that we missed.
    line.app.advance(Duration::from_secs(60));
    line.end("CA8", "31").await.expect(204);
    line.app.advance(Duration::from_secs(10));
    line.work().await;
    let finished = Line::only(&line.events().await, "call.finished");
    assert_eq!((text(&finished, "status").as_str(), &finished["call_duration"]), ("canceled", &31.into()));
    assert_eq!(text(&finished, "timestamp"), "2026-03-09T09:00:29.000000Z", "when it must have begun");
}

#[tokio::test]
async fn withheld_callers_are_nobody_and_never_first() {
    let line = Line::start().await;
    for (at, from) in
        ["anonymous", "+266696687", "Restricted", "sip:x@example.com", ""].into_iter().enumerate()
    {
        line.voice(&format!("CA{at}"), from).await.expect(200);
    }
    let events = line.events().await;
    assert_eq!(events.len(), 5);
    for (_, data) in events {
        assert_eq!((text(&data, "caller_number").as_str(), &data["is_first_time"]), ("", &false.into()));
    }
}

#[tokio::test]
async fn strange_texts_are_stored_and_spoken_safely() {
    let line = Line::with(|settings| {
        settings.name = "<script>alert(1)</script>".to_owned();
        settings.whisper_message = "Call & <script>\u{1}\"'".to_owned();
        settings.recording_message = "]]> <Hangup/>".to_owned();
    });
    let line = line.await;
    let odd = [
        ("CallerName", "Bobby \u{0}\u{1}🎉 <b>"),
        ("FromCity", "SÃO PAULO"),
        ("Unknown", "1"),
        ("Unknown", "2"),
        ("", "x"),
        ("Ünïcode", "ß"),
    ];
    let voice = line.tell("voice", "CA1", &odd).await.expect(200);
    assert!(voice.text.contains("<Say>]]&gt; &lt;Hangup/&gt;</Say>"), "{}", voice.text);
    let whisper = line.leg(&voice.url("url"), "CA1", "in-progress").await.expect(200);
    assert!(!whisper.text.contains("<script"), "{}", whisper.text);
    let data = Line::only(&line.events().await, "call.received");
    assert_eq!(
        (text(&data, "caller_name").as_str(), text(&data, "caller_city").as_str()),
        ("Bobby 🎉 <b>", "São Paulo")
    );
}

#[tokio::test]
async fn a_call_reaches_its_destination_while_the_database_is_broken() {
    let line = Line::start().await;
    line.voice("CA0", CALLER).await.expect(200);
    let before = line.count("select count(*) from calls").await;
    line.execute("alter table calls rename to calls_gone").await;
    let voice = line.voice("CA1", CALLER).await.expect(200);
    assert!(voice.text.contains(&format!(">{DESTINATION}</Number>")), "{}", voice.text);
    assert!(!voice.text.contains("record"), "what can't be kept isn't recorded: {}", voice.text);
    line.leg(&voice.url("statusCallback"), "CA1", "in-progress").await.expect(503);
    line.execute("alter table calls_gone rename to calls").await;
    assert_eq!(line.count("select count(*) from calls").await, before);
    // What comes later brings the call with it.
    let bridged = [("CallStatus", "in-progress"), ("DialCallStatus", "completed"), ("DialBridged", "true")];
    line.tell(&voice.url("action"), "CA1", &bridged).await.expect(200);
    line.end("CA1", "20").await.expect(204);
    let events = line.events().await;
    let types: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(types, ["call.received", "call.received", "call.finished"]);
    assert_eq!(text(&events[2].1, "status"), "answered");
}

#[tokio::test]
async fn a_call_is_not_kept_waiting_for_a_slow_database() {
    let line = Line::start().await;
    line.voice("CA0", CALLER).await.expect(200);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (held, holding) = tokio::sync::oneshot::channel();
    let (mut held, key) = (Some(held), format!("{}/CA1", line.carrier));
    // Holds SQLite's only writer, or the call's lock on PostgreSQL.
    let slow = line.app.write(move |tx| {
        tx.lock_text(LockSpace::Call, &key)?;
        let _ = held.take().map(|held| held.send(()));
        let _ = released.recv();
        Ok(())
    });
    let call = async {
        holding.await.unwrap();
        let voice = line.voice("CA1", CALLER).await.expect(200);
        release.send(()).unwrap();
        voice
    };
    let ((), voice) = tokio::join!(slow, call);
    assert!(voice.text.contains(DESTINATION) && !voice.text.contains("record"), "{}", voice.text);
    // Its transaction was late, not lost; the end is the same call's.
    line.end("CA1", "9").await.expect(204);
    assert_eq!(line.count("select count(*) from calls where carrier_call_id = 'CA1'").await, 1);
    assert_eq!(line.event_types().await, ["call.received", "call.received"]);
}

#[tokio::test]
async fn a_call_that_arrives_many_times_at_once_is_one() {
    let line = Line::start().await;
    let same = (0..20).map(|_| line.voice("CA1", CALLER));
    let answers = futures_util::future::join_all(same).await;
    assert!(answers.iter().all(|reply| reply.text == answers[0].text && reply.status == 200));
    assert_eq!(line.event_types().await, ["call.received"]);
    let ends =
        (0..10).map(|_| line.tell("call-status", "CA1", &[("CallStatus", "failed"), ("CallDuration", "0")]));
    futures_util::future::join_all(ends).await;
    line.app.advance(Duration::from_secs(10));
    futures_util::future::join_all((0..4).map(|_| line.work())).await;
    assert_eq!(line.event_types().await, ["call.received", "call.finished"]);
}

#[tokio::test]
async fn of_a_callers_simultaneous_calls_one_is_the_first() {
    let line = Line::start().await;
    let ids: Vec<String> = (0..20).map(|at| format!("CA{at}")).collect();
    futures_util::future::join_all(ids.iter().map(|id| line.voice(id, CALLER))).await;
    let firsts = line.events().await.iter().filter(|(_, data)| data["is_first_time"] == true).count();
    assert_eq!(firsts, 1);
    line.voice("CB1", "+12705550123").await;
    assert_eq!(line.events().await.last().unwrap().1["is_first_time"], true, "another caller's first");
}

#[tokio::test]
async fn a_call_whose_end_got_lost_is_asked_about() {
    let line = Line::start().await;
    let voice = line.voice("CA1", CALLER).await;
    line.tell(&voice.url("action"), "CA1", &[("DialCallStatus", "completed"), ("DialBridged", "true")]).await;
    line.app.advance(Duration::from_secs(301));
    line.rest.answer("GET Calls/CA1.json", 200, r#"{"status":"in-progress"}"#);
    assert_eq!(reconcile::run_once(&line.app.ctx).await.unwrap(), 1);
    assert_eq!(
        reconcile::run_once(&line.app.ctx).await.unwrap(),
        0,
        "not before it was silent as long again"
    );
    line.app.advance(Duration::from_secs(301));
    line.rest.answer("GET Calls/CA1.json", 200, r#"{"status":"completed","duration":"400"}"#);
    let recordings = r#"{"recordings":[{"sid":"RE1","status":"completed","source":"DialVerb","duration":"390","channels":2}]}"#;
    line.rest.answer("GET Calls/CA1/Recordings.json", 200, recordings);
    line.rest.answer("GET Recordings/RE1.mp3", 200, MP3);
    reconcile::run_once(&line.app.ctx).await.unwrap();
    line.work().await;
    let events = line.events().await;
    let types: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(types, ["call.received", "call.finished", "call.recording.available"]);
    assert_eq!(
        (text(&events[1].1, "status").as_str(), &events[1].1["call_duration"]),
        ("answered", &400.into())
    );
}

#[tokio::test]
async fn a_recording_that_was_never_told_of_is_asked_for() {
    let line = Line::start().await;
    let voice = line.voice("CA1", CALLER).await;
    line.tell(&voice.url("action"), "CA1", &[("DialCallStatus", "completed"), ("DialBridged", "true")]).await;
    line.end("CA1", "90").await;
    line.app.advance(Duration::from_secs(300));
    reconcile::run_once(&line.app.ctx).await.unwrap();
    assert_eq!(line.rest.asked(), ["GET Calls/CA1/Recordings.json"]);
    reconcile::run_once(&line.app.ctx).await.unwrap();
    assert_eq!(line.rest.asked().len(), 1, "the carrier has said that there is none");
}

#[tokio::test]
async fn a_text_that_cannot_be_stored_is_an_error_at_the_carrier() {
    let line = Line::start().await;
    let form = [("MessageSid", "SM1"), ("From", CALLER), ("To", NUMBER), ("Body", "Hi"), ("NumMedia", "0")];
    line.execute("alter table messages rename to messages_gone").await;
    line.post("message", &form).await.expect(503);
    line.execute("alter table messages_gone rename to messages").await;
    assert_eq!(line.event_types().await, Vec::<String>::new());
    // Sent again, by its operator or by a carrier that does so, it isn't lost.
    assert_eq!(line.post("message", &form).await.expect(200).text, "<Response/>");
    assert_eq!(line.event_types().await, ["message.received"]);
}

/// What SignalWire says of a recording: not which verb made it.
const ANONYMOUS_RECORDING: &str =
    r#"{"recordings":[{"sid":"RE1","status":"completed","duration":"14","channels":1}]}"#;

#[tokio::test]
async fn a_voicemail_that_is_found_by_asking_is_kept_whoever_the_carrier_is() {
    for ended in [false, true] {
        let line = Line::with(|settings| settings.transcription_enabled = false).await;
        let voice = line.voice("CA1", CALLER).await;
        let record = line.tell(&voice.url("action"), "CA1", &[("DialCallStatus", "no-answer")]).await;
        if ended {
            line.tell(&record.url("action"), "CA1", &[("RecordingDuration", "14")]).await.expect(200);
            line.end("CA1", "40").await;
        }
        line.app.advance(Duration::from_secs(301));
        line.rest.answer("GET Calls/CA1.json", 200, r#"{"status":"completed","duration":"40"}"#);
        line.rest.answer("GET Calls/CA1/Recordings.json", 200, ANONYMOUS_RECORDING);
        line.rest.answer("GET Recordings/RE1.wav", 200, WAV);
        reconcile::run_once(&line.app.ctx).await.unwrap();
        line.app.advance(Duration::from_secs(10));
        line.work().await;
        let events = line.events().await;
        assert_eq!(text(&Line::only(&events, "call.finished"), "status"), "voicemail", "ended: {ended}");
        let voicemail = Line::only(&events, "voicemail.received");
        let audio = reqwest::get(text(&voicemail, "recording")).await.unwrap();
        assert_eq!(audio.bytes().await.unwrap(), WAV, "ended: {ended}");
    }
}

#[tokio::test]
async fn a_recording_is_only_discarded_if_it_is_certain_that_nobody_spoke() {
    let line = Line::start().await;
    let voice = line.voice("CA1", CALLER).await;
    // Somebody picked up; the carrier doesn't say whether the two were connected.
    line.leg(&voice.url("statusCallback"), "CA1", "in-progress").await;
    line.tell(&voice.url("action"), "CA1", &[("DialCallStatus", "no-answer")]).await;
    line.rest.answer("GET Recordings/RE1.mp3", 200, MP3);
    line.recorded(&voice.url("recordingStatusCallback"), "CA1", "RE1", "30").await;
    line.end("CA1", "40").await;
    line.app.advance(Duration::from_secs(10));
    line.work().await;
    let available = Line::only(&line.events().await, "call.recording.available");
    let audio = reqwest::get(text(&available, "recording")).await.unwrap();
    assert_eq!(audio.bytes().await.unwrap(), MP3);
}

#[tokio::test]
async fn keys_that_nobody_asked_for_lead_nowhere() {
    let line = Line::start().await;
    line.voice("CA1", CALLER).await;
    assert_eq!(line.tell("gather", "CA1", &[("Digits", "1")]).await.expect(200).text, "<Response/>");
    assert_eq!(line.leg("gather", "CA1", "in-progress").await.expect(200).text, "<Response/>");
    assert_eq!(line.event_types().await, ["call.received"]);
}

/// Posts the nth of a call's requests and a text, always the very same bytes with the very same signature.
async fn request(line: &Line, nth: usize) {
    let bridged = [("DialCallStatus", "completed"), ("DialBridged", "true"), ("DialCallDuration", "80")];
    let text = [("MessageSid", "SM1"), ("From", CALLER), ("To", NUMBER), ("Body", "Hi"), ("NumMedia", "0")];
    let reply = match nth {
        0 => line.voice("CA1", CALLER).await,
        1 => line.tell("dial?call=1", "CA1", &bridged).await,
        2 => line.end("CA1", "90").await,
        3 => line.recorded("recording?call=1", "CA1", "RE1", "80").await,
        _ => line.post("message", &text).await,
    };
    assert!((200..300).contains(&reply.status), "{nth}: {}", reply.status);
}

#[tokio::test]
async fn requests_that_are_replayed_or_swapped_make_no_second_event() {
    let once = ["call.finished", "call.received", "call.recording.available", "message.received"];
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]] {
        let line = Line::start().await;
        line.rest.answer("GET Recordings/RE1.mp3", 200, MP3);
        for nth in order.into_iter().flat_map(|nth| [nth, nth]) {
            request(&line, nth).await;
        }
        // A recording of a call that isn't known yet is told of once more, as everything else.
        for nth in order.into_iter().rev().chain(order) {
            request(&line, nth).await;
            line.work().await;
        }
        let mut types = line.event_types().await;
        types.sort();
        assert_eq!(types, once, "{order:?}");
    }
}
