//! The nine events as a company's own server gets them. What makes them is real: a carrier's hooks, the API, the
//! end of a month. Each body is held against a golden file, against the contract's example, and against what the
//! API shows of the same thing at that moment.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use calltracker::events::EventType;
use calltracker::kernel::phone::PhoneNumber;
use calltracker::{usage, webhooks};
use serde_json::{Value as Json, json};
use tokio::sync::watch;

use crate::support::PATIENCE;
use crate::support::line::{CALLER, DESTINATION, Line, MP3, WAV};
use crate::support::receiver::{Arrived, Receiver};

const TOLLFREE: &str = "+18556000724";
/// Keys that may be null although the example has a value, or the other way round.
const NULLABLE: [&str; 2] = ["recording", "number_pool_size"];

/// A line whose company has a webhook, and the engine that delivers. Other background work is the test's.
struct Scene {
    line: Line,
    receiver: Receiver,
    seen: BTreeSet<String>,
    // Ends the engine when dropped.
    _stop: watch::Sender<bool>,
}

impl Scene {
    async fn start() -> Scene {
        let (line, receiver) = (Line::start().await, Receiver::start().await);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(webhooks::run_engine(line.app.ctx.clone(), stopped));
        let webhook = json!({ "target": receiver.url, "events": "all" });
        let (api, path) = (&line.company.api, line.company.path("/webhooks"));
        let made = api.post(&path, &webhook).await.expect(201).json;
        api.post(&format!("{path}/{}/verification", made["id"]), &json!({})).await.expect(200);
        Scene { line, receiver, seen: BTreeSet::new(), _stop: stop }
    }

    /// The first event of a type, once it is delivered: it is as the contract says and as its golden file.
    async fn told(&mut self, event: EventType) -> Json {
        let kind = event.as_str();
        let arriving = self.receiver.wait_for_one(|arrived: &Arrived| arrived.kind() == kind);
        let arrived = tokio::time::timeout(PATIENCE, arriving).await.expect("the event is delivered");
        let body = arrived.json();
        assert_contract(event, &body);
        insta::assert_json_snapshot!(kind, self.without_ports(&body));
        self.seen.insert(kind.to_owned());
        body["data"].clone()
    }

    /// All else is the same in every run: the clock stands still, and the key comes from a fixed seed.
    fn without_ports(&self, body: &Json) -> Json {
        let text = body.to_string();
        let text = text.replace(&self.receiver.url, "http://receiver.test/");
        let text = text.replace(self.line.app.ctx.public_url.as_str(), "http://calltracker.test/");
        serde_json::from_str(&text).unwrap()
    }

    /// What the API shows at a path below the company.
    async fn shown(&self, path: &str) -> Json {
        self.line.company.reader.get(&self.line.company.path(path)).await.expect(200).json
    }

    /// What the API shows of the thing with this event's id.
    async fn shown_again(&self, list: &str, data: &Json) -> Json {
        self.shown(&format!("/{list}/{}", data["id"])).await
    }

    /// A tracker is made of a number that the account has, and renamed.
    async fn track(&mut self) -> i64 {
        let (api, path) = (self.line.company.api.clone(), self.line.company.path("/trackers"));
        let owned = json!({ "sid": "PN2", "phone_number": TOLLFREE });
        let found = json!({ "incoming_phone_numbers": [owned] });
        self.line.rest.answer("GET IncomingPhoneNumbers.json", 200, found.to_string());
        self.line.rest.answer("POST IncomingPhoneNumbers/PN2.json", 200, owned.to_string());
        let tracker = json!({
            "name": "Startup Lister", "destination": DESTINATION, "number_type": "tollfree",
            "recording_enabled": true, "recording_message": "This call may be recorded for quality assurance.",
            "whisper_enabled": true, "whisper_message": "Call from Startup Lister.",
            "numbers": { "attach": [TOLLFREE] },
        });
        let made = api.post(&path, &tracker).await.expect(201).json;
        let created = self.told(EventType::TrackerCreated).await;
        assert_eq!((&created, &self.shown_again("trackers", &created).await), (&made, &made));
        let id = made["id"].as_i64().unwrap();
        let renamed = json!({ "name": "Billing" });
        let changed = api.patch(&format!("{path}/{id}"), &renamed).await.expect(200).json;
        let updated = self.told(EventType::TrackerUpdated).await;
        assert_eq!((&updated, &self.shown_again("trackers", &updated).await), (&changed, &changed));
        id
    }

    /// A call that is answered and recorded.
    async fn talk(&mut self) {
        let voice = self.line.voice("CA1", CALLER).await.expect(200);
        let received = self.told(EventType::CallReceived).await;
        assert_eq!(received, self.shown_again("calls", &received).await);
        self.line.app.advance(Duration::from_secs(219));
        let bridged = [("DialCallStatus", "completed"), ("DialBridged", "true"), ("DialCallDuration", "186")];
        self.line.tell(&voice.url("action"), "CA1", &bridged).await.expect(200);
        self.line.end("CA1", "219").await.expect(204);
        let finished = self.told(EventType::CallFinished).await;
        assert_eq!(finished, self.shown_again("calls", &finished).await);
        self.line.rest.answer("GET Recordings/RE1.mp3", 200, MP3);
        self.line.recorded(&voice.url("recordingStatusCallback"), "CA1", "RE1", "186").await.expect(204);
        self.line.work().await;
        let available = self.told(EventType::CallRecordingAvailable).await;
        assert_eq!(available, self.shown_again("calls", &available).await);
        let audio = reqwest::get(available["recording"].as_str().unwrap()).await.unwrap();
        assert_eq!(audio.bytes().await.unwrap(), MP3);
    }

    /// A call that nobody takes; the caller leaves a message.
    async fn leave_a_message(&mut self) {
        let voice = self.line.voice("CA2", CALLER).await.expect(200);
        let missed = [("DialCallStatus", "no-answer"), ("DialBridged", "false")];
        let record = self.line.tell(&voice.url("action"), "CA2", &missed).await.expect(200);
        self.line.end("CA2", "40").await.expect(204);
        self.line.rest.answer("GET Recordings/RE2.wav", 200, WAV);
        self.line.recorded(&record.url("recordingStatusCallback"), "CA2", "RE2", "14").await.expect(204);
        let text = "Hi, this is an example voicemail transcription. Thanks.";
        let transcribed =
            [("RecordingSid", "RE2"), ("TranscriptionStatus", "completed"), ("TranscriptionText", text)];
        self.line.tell(&record.url("transcribeCallback"), "CA2", &transcribed).await.expect(204);
        self.line.work().await;
        let voicemail = self.told(EventType::VoicemailReceived).await;
        assert_eq!(json!([voicemail]), self.shown("/voicemails").await["data"]);
    }

    /// A text comes in and is answered.
    async fn text(&mut self, tracker: i64) {
        let form = [
            ("MessageSid", "SM1"),
            ("From", CALLER),
            ("To", TOLLFREE),
            ("Body", "Hello! This is an message example"),
            ("NumMedia", "1"),
            ("MediaUrl0", "https://carrier.test/ME1"),
            ("MediaContentType0", "image/jpeg"),
            ("NumSegments", "1"),
        ];
        self.line.post("message", &form).await.expect(200);
        let received = self.told(EventType::MessageReceived).await;
        assert_eq!(received, self.shown_again("messages", &received).await);
        let accepted = json!({ "sid": "SM2", "status": "queued", "num_segments": "1" });
        self.line.rest.answer("POST Messages.json", 201, accepted.to_string());
        let answer =
            json!({ "tracker_id": tracker, "to_number": CALLER, "body": "Thanks for your message!" });
        let (api, path) = (&self.line.company.api, self.line.company.path("/messages"));
        let made = api.post(&path, &answer).await.expect(201).json;
        let sent = self.told(EventType::MessageSent).await;
        assert_eq!(made, self.shown_again("messages", &sent).await);
        assert_eq!(sent, made);
    }

    /// The month ends.
    async fn close_the_month(&mut self) {
        self.line.app.advance(Duration::from_secs(23 * 24 * 3600));
        let ctx = &self.line.app.ctx;
        assert_eq!(usage::close_due(&ctx.db, ctx.clock.now()).await.unwrap(), 1);
        let created = self.told(EventType::UsageCreated).await;
        assert_eq!(json!([created]), self.shown("/usage").await["data"]);
    }
}

#[tokio::test]
async fn each_event_is_as_the_contract_says_and_as_the_api_shows_it() {
    let mut scene = Scene::start().await;
    let tracker = scene.track().await;
    scene.talk().await;
    scene.leave_a_message().await;
    scene.text(tracker).await;
    scene.close_the_month().await;
    let all: BTreeSet<String> = EventType::ALL.iter().map(|event| event.as_str().to_owned()).collect();
    assert_eq!(scene.seen, all);
}

#[test]
fn every_event_type_has_a_golden_file_and_the_contracts_example() {
    for event in EventType::ALL {
        for file in [golden(event), example(event)] {
            assert!(file.is_file(), "{} is missing", file.display());
        }
    }
}

fn golden(event: EventType) -> PathBuf {
    below_tests(&format!("it/snapshots/it__events__{}.snap", event.as_str()))
}

fn example(event: EventType) -> PathBuf {
    below_tests(&format!("fixtures/contract/{}.json", event.as_str()))
}

fn below_tests(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

/// Holds a body against the contract's example and its rules.
#[track_caller]
fn assert_contract(event: EventType, body: &Json) {
    let example: Json = serde_json::from_str(&std::fs::read_to_string(example(event)).unwrap()).unwrap();
    assert_eq!((&body["type"], &body["object"]), (&example["type"], &example["object"]));
    let keys: BTreeSet<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys, example.as_object().unwrap().keys().collect(), "the envelope's keys");
    let keys: BTreeSet<&String> = body["webhook"].as_object().unwrap().keys().collect();
    assert_eq!(keys, example["webhook"].as_object().unwrap().keys().collect(), "the webhook's keys");
    assert_like("webhook", &body["webhook"], &example["webhook"]);
    assert_like("data", &body["data"], &example["data"]);
    let at = body["timestamp"].as_str().unwrap();
    assert!(at.len() == "2019-03-09T09:09:52.010".len() && at.as_bytes()[19] == b'.', "{at}");
    at.parse::<jiff::civil::DateTime>().unwrap();
    assert_rules("data", &body["data"]);
}

/// Every key of the example is there, with the same type of value.
#[track_caller]
fn assert_like(key: &str, value: &Json, example: &Json) {
    if NULLABLE.contains(&key) {
        return assert!(value.is_null() || value.is_string() || value.is_i64(), "{key}: {value}");
    }
    assert_eq!(type_of(value), type_of(example), "{key}: {value}");
    match (value, example) {
        (Json::Object(map), Json::Object(examples)) => {
            for (key, example) in examples {
                let value = map.get(key).unwrap_or_else(|| panic!("{key} is missing"));
                assert_like(key, value, example);
            }
        }
        (Json::Array(values), Json::Array(examples)) => {
            for (value, example) in values.iter().zip(examples.iter().cycle()) {
                assert_like(key, value, example);
            }
        }
        _ => {}
    }
}

fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_i64() => "integer",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

/// What the contract says about values, whichever key of whichever event they stand in.
#[track_caller]
fn assert_rules(key: &str, value: &Json) {
    let text = value.as_str().unwrap_or_default();
    match key {
        "id" | "company_id" | "tracker_id" | "call_id" => assert!(value.is_i64(), "{key}: {value}"),
        "tracking_number" | "caller_number" | "from_number" | "to_number" | "number" | "destination" => {
            assert!(PhoneNumber::from_e164(text).is_some(), "{key}: {value}");
        }
        "timestamp" | "created_at" | "ended_at" if !value.is_null() => {
            assert!(text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(), "{key}: {value}");
        }
        "start_date" | "end_date" => {
            assert!(text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(), "{key}: {value}");
        }
        "caller_country" => {
            assert!(text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()), "{key}: {value}");
        }
        _ => {}
    }
    match value {
        Json::Object(map) => map.iter().for_each(|(key, value)| assert_rules(key, value)),
        Json::Array(values) => values.iter().for_each(|value| assert_rules(key, value)),
        _ => {}
    }
}
