//! `/events`: the log, and its live stream.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::Value as Json;

use crate::support::client::Api;
use crate::support::{PATIENCE, TestApp, usage};

/// A live stream, read frame by frame.
struct Frames {
    response: reqwest::Response,
    buffer: String,
    /// The id that it began behind.
    began: i64,
}

impl Frames {
    async fn open(api: &Api, path: &str, last: Option<&str>) -> Frames {
        let mut request = api.request(Method::GET, path);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut frames = Frames { response, buffer: String::new(), began: 0 };
        let beginning = frames.next().await.expect("the stream says where it begins");
        let id = beginning.strip_prefix(": connected\nid: ").and_then(|id| id.parse().ok());
        frames.began = id.unwrap_or_else(|| panic!("{beginning}"));
        frames
    }

    /// The next frame; None at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((frame, rest)) = self.buffer.split_once("\n\n") {
                let frame = frame.to_owned();
                self.buffer = rest.to_owned();
                return Some(frame);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk.expect("something comes").expect("the connection holds")?;
            self.buffer.push_str(&String::from_utf8_lossy(&chunk));
        }
    }

    async fn id(&mut self) -> i64 {
        let frame = self.next().await.expect("an event comes");
        let id = frame.lines().find_map(|line| line.strip_prefix("id: "));
        id.and_then(|id| id.parse().ok()).expect("an event has an id")
    }
}

#[tokio::test]
async fn the_log_is_oldest_first_and_can_be_filtered() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.company("Acme").await, app.company("Other").await);
    let first = app.append_event(ours.scope, 1).await;
    app.append_event(theirs.scope, 2).await;
    let third = app.append_event(ours.scope, 3).await;
    let path = ours.path("/events");
    let answer = ours.reader.get(&path).await.expect(200);
    assert_eq!(answer.ids(), [first, third]);
    assert_eq!(answer.json["data"][0]["timestamp"], "2026-03-09T09:00:00.000");
    assert_eq!(answer.json["data"][0]["data"], usage(1));
    let uids = answer.json["data"].as_array().unwrap().iter().map(|e| e["uid"].as_str().unwrap());
    assert_eq!(uids.map(str::len).collect::<Vec<_>>(), [26, 26]);
    assert_eq!(ours.reader.get(&format!("{path}?type=usage.created")).await.ids(), [first, third]);
    assert_eq!(ours.reader.get(&format!("{path}?type=call.received")).await.ids(), [] as [i64; 0]);
    let bad = ours.reader.get(&format!("{path}?type=call")).await.expect_problem(400, "validation");
    assert_eq!(bad.fields(), ["type"]);
}

#[tokio::test]
async fn a_stream_sends_what_comes_and_what_was_missed() {
    let app = TestApp::start().await;
    let (ours, theirs) = (app.company("Acme").await, app.company("Other").await);
    let first = app.append_event(ours.scope, 1).await;
    let second = app.append_event(ours.scope, 2).await;
    let path = ours.path("/events/stream");

    let mut from_now = Frames::open(&ours.reader, &path, None).await;
    let mut behind_first = Frames::open(&ours.reader, &path, Some(&first.to_string())).await;
    let mut from_start = Frames::open(&ours.reader, &format!("{path}?last_event_id=0"), None).await;
    assert_eq!([from_now.began, behind_first.began, from_start.began], [second, first, 0]);
    assert_eq!(behind_first.id().await, second);
    app.append_event(theirs.scope, 3).await;
    let fourth = app.append_event(ours.scope, 4).await;
    for (frames, expected) in [
        (&mut from_now, vec![fourth]),
        (&mut behind_first, vec![fourth]),
        (&mut from_start, vec![first, second, fourth]),
    ] {
        for id in expected {
            assert_eq!(frames.id().await, id);
        }
    }
    let fifth = app.append_event(ours.scope, 5).await;
    let frame = from_now.next().await.expect("an event comes");
    let listed = ours.reader.get(&ours.path("/events")).await.json["data"][3].clone();
    let lines: Vec<_> = frame.lines().collect();
    assert_eq!(lines[..2], [format!("id: {fifth}"), "event: usage.created".to_owned()]);
    let data: Json =
        serde_json::from_str(lines[2].strip_prefix("data: ").unwrap_or_default()).expect("it is JSON");
    assert_eq!(data, listed);
}

#[tokio::test]
async fn streams_begun_while_events_are_written_miss_none() {
    let app = TestApp::start().await;
    let ours = app.company("Acme").await;
    let path = ours.path("/events/stream");
    let mut frames = Frames::open(&ours.reader, &path, Some("0")).await;
    let writes = (0..100).map(|n| app.append_event(ours.scope, n));
    let mut written: Vec<i64> = futures_util::stream::iter(writes).buffer_unordered(8).collect().await;
    written.sort_unstable();
    for id in written {
        assert_eq!(frames.id().await, id);
    }
}

#[tokio::test]
async fn streams_end_when_the_server_does() {
    let app = TestApp::start().await;
    let ours = app.company("Acme").await;
    let mut frames = Frames::open(&ours.reader, &ours.path("/events/stream"), None).await;
    app.shut_down();
    assert_eq!(frames.next().await, None);
}

#[tokio::test]
async fn a_token_has_ten_streams() {
    let app = TestApp::start().await;
    let ours = app.company("Acme").await;
    let path = ours.path("/events/stream");
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(Frames::open(&ours.reader, &path, None).await);
    }
    ours.reader.get(&path).await.expect_problem(429, "rate-limited");
    drop(open);
    let given_back = async {
        while ours.reader.request(Method::GET, &path).send().await.expect("it answers").status() != 200 {
            app.append_event(ours.scope, 1).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, given_back).await.expect("closed streams give their place back");
}

#[tokio::test]
async fn a_strange_start_is_refused() {
    let app = TestApp::start().await;
    let ours = app.company("Acme").await;
    let path = ours.path("/events/stream");
    for bad in ["x", "-1", "99999999999999999999"] {
        let answer = ours.reader.get(&format!("{path}?last_event_id={bad}")).await.expect(400);
        assert_eq!(answer.fields(), ["last_event_id"], "{bad}");
        let request = ours.reader.request(Method::GET, &path).header("Last-Event-ID", bad);
        assert_eq!(ours.reader.send(request).await.expect(400).fields(), ["Last-Event-ID"], "{bad}");
    }
}
