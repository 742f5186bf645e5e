//! Recordings from the carrier's storage to a link that plays.

use std::time::Duration;

use calltracker::carriers::collect;
use calltracker::recordings::RETRY_GAPS;
use reqwest::{Method, StatusCode};

use crate::support::TestApp;
use crate::support::line::{CALLER, Line, MP3, WAV};

/// An answered call of which a recording is told.
async fn recorded() -> Line {
    let line = Line::start().await;
    record(&line).await;
    line
}

async fn record(line: &Line) {
    let voice = line.voice("CA1", CALLER).await;
    line.tell(&voice.url("action"), "CA1", &[("DialCallStatus", "completed"), ("DialBridged", "true")]).await;
    line.end("CA1", "90").await;
    line.recorded(&voice.url("recordingStatusCallback"), "CA1", "RE1", "60").await.expect(204);
}

/// A call's recording, stored, and its link.
async fn stored() -> (Line, String) {
    let line = recorded().await;
    line.rest.answer("GET Recordings/RE1.mp3", 200, MP3);
    line.work().await;
    let available = Line::only(&line.events().await, "call.recording.available");
    let link = available["recording"].as_str().unwrap().to_owned();
    (line, link)
}

async fn get(url: &str, method: Method, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = reqwest::Client::new().request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_link_plays_from_anywhere_in_the_recording() {
    let (_line, link) = stored().await;
    let whole = get(&link, Method::GET, &[]).await;
    assert_eq!(whole.status(), StatusCode::OK);
    for (name, value) in [
        ("content-type", "audio/mpeg"),
        ("cache-control", "private"),
        ("x-content-type-options", "nosniff"),
        ("accept-ranges", "bytes"),
        ("content-length", "20"),
    ] {
        assert_eq!(whole.headers()[name], value, "{name}");
    }
    let etag = whole.headers()["etag"].to_str().unwrap().to_owned();
    let part = get(&link, Method::GET, &[("range", "bytes=4-7")]).await;
    assert_eq!(
        (part.status(), &part.headers()["content-range"]),
        (StatusCode::PARTIAL_CONTENT, &"bytes 4-7/20".parse().unwrap())
    );
    assert_eq!(part.bytes().await.unwrap(), MP3[4..8]);
    let same = get(&link, Method::GET, &[("range", "bytes=4-7"), ("if-range", &etag)]).await;
    assert_eq!(same.status(), StatusCode::PARTIAL_CONTENT);
    let changed = get(&link, Method::GET, &[("range", "bytes=4-7"), ("if-range", "\"other\"")]).await;
    assert_eq!((changed.status(), changed.bytes().await.unwrap().len()), (StatusCode::OK, 20));
    let beyond = get(&link, Method::GET, &[("range", "bytes=99-")]).await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let head = get(&link, Method::HEAD, &[]).await;
    assert_eq!((head.status(), &head.headers()["content-length"]), (StatusCode::OK, &"20".parse().unwrap()));
    assert_eq!(get(&link, Method::POST, &[]).await.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_link_is_for_one_recording_and_some_time() {
    let (line, link) = stored().await;
    let status = async |url: &str| get(url, Method::GET, &[]).await.status();
    assert_eq!(status(&link.replace("/1.mp3", "/2.mp3")).await, StatusCode::FORBIDDEN);
    assert_eq!(status(&link.replace("/1.mp3", "/..%2f1.mp3")).await, StatusCode::FORBIDDEN);
    assert_eq!(status(link.split_once('?').unwrap().0).await, StatusCode::FORBIDDEN);
    assert_eq!(status(&link.replace("expires=1", "expires=2")).await, StatusCode::FORBIDDEN);
    line.app.advance(line.app.ctx.config.recordings.url_ttl);
    assert_eq!(status(&link).await, StatusCode::GONE);
}

#[tokio::test]
async fn files_lie_where_our_ids_say() {
    let (line, _) = stored().await;
    let folder =
        line.app.ctx.config.data.join("recordings").join(line.company.id.to_string()).join("2026-03");
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["1.mp3"]);
}

#[tokio::test]
async fn what_is_not_audio_is_tried_again_and_given_up_in_the_end() {
    let line = recorded().await;
    line.rest.answer("GET Recordings/RE1.mp3", 200, "<!doctype html><title>Sign in</title>");
    for gap in RETRY_GAPS {
        line.work().await;
        line.app.advance(gap - Duration::from_millis(1));
        line.work().await;
        line.app.advance(Duration::from_millis(1));
    }
    line.work().await;
    line.app.advance(Duration::from_secs(24 * 3600));
    line.work().await;
    assert_eq!(line.rest.asked().len(), 7, "the callback's try and one after each gap");
    assert_eq!(line.event_types().await, ["call.received", "call.finished"]);
    let failed = "select count(*) from recordings where state = 'failed' and failure = 'not_audio' and delete_due_at is null";
    assert_eq!(line.count(failed).await, 1);
    assert_eq!(files(&line), 0, "nothing half-written stays");
}

fn files(line: &Line) -> usize {
    let folder = line.app.ctx.config.data.join("recordings");
    let mut folders = vec![folder];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files += 1 }
        }
    }
    files
}

#[tokio::test]
async fn audio_that_is_not_there_yet_is_fetched_when_it_is() {
    let line = recorded().await;
    line.work().await;
    line.rest.answer("GET Recordings/RE1.mp3", 200, MP3);
    line.work().await;
    assert_eq!(line.event_types().await.len(), 2, "not before the gap has passed");
    line.app.advance(RETRY_GAPS[0]);
    line.work().await;
    Line::only(&line.events().await, "call.recording.available");
}

#[tokio::test]
async fn a_voicemail_without_audio_is_told_of_all_the_same() {
    let line = Line::with(|settings| settings.transcription_enabled = false).await;
    let voice = line.voice("CA1", CALLER).await;
    let record = line.tell(&voice.url("action"), "CA1", &[("DialCallStatus", "busy")]).await;
    line.recorded(&record.url("recordingStatusCallback"), "CA1", "RE1", "9").await;
    line.end("CA1", "30").await;
    for gap in RETRY_GAPS {
        line.work().await;
        line.app.advance(gap);
    }
    line.work().await;
    let voicemail = Line::only(&line.events().await, "voicemail.received");
    assert!(voicemail["recording"].is_null());
}

#[tokio::test]
async fn a_recording_of_nobody_is_discarded_unheard() {
    let line = Line::start().await;
    let voice = line.voice("CA1", CALLER).await;
    let hook = voice.url("recordingStatusCallback");
    // It holds the whisper; that is known only later.
    line.rest.answer("GET Recordings/RE1.mp3", 200, MP3);
    line.recorded(&hook, "CA1", "RE1", "4").await;
    line.work().await;
    assert_eq!(files(&line), 1);
    let declined = [("DialCallStatus", "completed"), ("DialBridged", "false"), ("DialCallDuration", "6")];
    line.tell(&voice.url("action"), "CA1", &declined).await;
    line.end("CA1", "20").await;
    line.app.advance(Duration::from_secs(10));
    line.work().await;
    let finished = Line::only(&line.events().await, "call.finished");
    assert_eq!((&finished["status"], &finished["recording_duration"]), (&"no_answer".into(), &0.into()));
    assert_eq!((line.events().await.len(), files(&line)), (2, 0));
    assert_eq!(line.rest.asked().last().map(String::as_str), Some("DELETE Recordings/RE1.json"));
    // Another that comes afterwards isn't even fetched.
    line.recorded(&hook, "CA1", "RE2", "4").await;
    line.work().await;
    assert!(!line.rest.asked().contains(&"GET Recordings/RE2.mp3".to_owned()));
}

#[tokio::test]
async fn the_carriers_copy_goes_after_ours_is_there() {
    let line = recorded().await;
    line.rest.answer("GET Recordings/RE1.mp3", 200, MP3);
    line.rest.answer("DELETE Recordings/RE1.json", 500, "");
    line.work().await;
    let deletions = || line.rest.asked().iter().filter(|asked| asked.starts_with("DELETE")).count();
    assert_eq!(deletions(), 1);
    line.rest.answer("DELETE Recordings/RE1.json", 204, "");
    line.app.advance(RETRY_GAPS[0]);
    line.work().await;
    line.app.advance(Duration::from_secs(24 * 3600));
    line.work().await;
    assert_eq!(deletions(), 2);
}

#[tokio::test]
async fn the_carriers_copy_stays_if_the_operator_wants_it() {
    let app = TestApp::quiet(|config| config.recordings.keep_at_carrier = true).await;
    let line = Line::on(app, |_| {}).await;
    record(&line).await;
    line.rest.answer("GET Recordings/RE1.mp3", 200, WAV);
    line.work().await;
    let available = Line::only(&line.events().await, "call.recording.available");
    assert!(
        available["recording"].as_str().unwrap().contains("/1.wav?"),
        "it is what it is, not what was asked for"
    );
    assert_eq!(line.rest.asked(), ["GET Recordings/RE1.mp3"]);
}

#[tokio::test]
async fn an_absent_recording_is_neither_fetched_nor_announced() {
    let line = Line::start().await;
    let voice = line.voice("CA1", CALLER).await;
    line.tell(&voice.url("action"), "CA1", &[("DialCallStatus", "completed"), ("DialBridged", "true")]).await;
    let absent = [("CallSid", "CA1"), ("RecordingSid", "RE1"), ("RecordingStatus", "absent")];
    line.post(&voice.url("recordingStatusCallback"), &absent).await.expect(204);
    line.end("CA1", "90").await;
    line.work().await;
    assert_eq!((line.event_types().await.len(), line.rest.asked().len()), (2, 0));
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_removed() {
    let (line, link) = stored().await;
    let folder = line.app.ctx.config.data.join("recordings/1/2026-03");
    std::fs::write(folder.join("9.x.part"), "half").unwrap();
    collect::clean_up(&line.app.ctx).await.unwrap();
    assert_eq!((files(&line), get(&link, Method::GET, &[]).await.status()), (1, StatusCode::OK));
}
