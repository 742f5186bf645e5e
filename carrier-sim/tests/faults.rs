//! What goes wrong on demand.

mod common;

use axum::http::Method;
use common::{Customer, Sim, VOICEMAIL, serve_tracker};
use serde_json::{Value, json};

async fn tracker() -> (Sim, Customer) {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    sim.buy_number(&customer).await;
    (sim, customer)
}

#[tokio::test]
async fn a_callback_comes_twice() {
    let (sim, customer) = tracker().await;
    sim.fault(json!({"callback": "call-status", "action": "duplicate"})).await;
    sim.fault(json!({"callback": "dial", "action": "duplicate"})).await;
    sim.call(json!({})).await;
    for path in ["/status", "/dial-done"] {
        let twice = customer.all(path);
        assert_eq!(twice.len(), 2, "{path}");
        assert_eq!(twice[0].params, twice[1].params);
    }
}

#[tokio::test]
async fn a_callback_is_lost() {
    let (sim, customer) = tracker().await;
    sim.fault(json!({"callback": "call-status", "action": "drop"})).await;
    sim.fault(json!({"callback": "leg-status", "action": "drop", "status": "ringing"})).await;
    let call = sim.call(json!({})).await;
    assert!(customer.all("/status").is_empty());
    let numbers: Vec<_> =
        customer.all("/leg").iter().map(|leg| leg.get("SequenceNumber").to_owned()).collect();
    assert_eq!(numbers, ["0", "2", "3"]);
    // The API knows what the callback would have said.
    let resource = format!("Calls/{}.json", call["call_sid"].as_str().unwrap());
    let fetched = sim.get(&resource).await.json();
    assert_eq!(fetched["status"], "completed");
}

#[tokio::test]
async fn callbacks_overtake_each_other() {
    let (sim, customer) = tracker().await;
    for status in ["ringing", "completed"] {
        let fault = json!({"callback": "leg-status", "action": "swap_with_next", "status": status});
        sim.fault(fault).await;
    }
    sim.fault(json!({"callback": "call-status", "action": "swap_with_next"})).await;
    sim.call(json!({"destination": {"hangs_up_first": true}})).await;
    assert_eq!(
        customer.paths(),
        [
            "/voice",
            "/leg:initiated",
            "/leg:in-progress",
            "/leg:ringing",
            "/whisper",
            "/accept",
            "/dial-done",
            "/leg:completed",
            "/recording:completed",
            "/status:completed",
        ]
    );
}

#[tokio::test]
async fn a_held_callback_is_sent_even_when_none_follows() {
    let (sim, customer) = tracker().await;
    sim.fault(json!({"callback": "recording", "action": "swap_with_next"})).await;
    sim.call(json!({})).await;
    assert_eq!(customer.all("/recording").len(), 1);
}

#[tokio::test]
async fn a_request_that_is_awaited_cannot_be_overtaken() {
    let sim = Sim::start().await;
    let fault = json!({"callback": "voice", "action": "swap_with_next"});
    let reply = sim.control(Method::POST, "/sim/faults", fault).await;
    assert_eq!(reply.status, 400);
    let unknown = json!({"callback": "voice", "action": "explode"});
    let reply = sim.control(Method::POST, "/sim/faults", unknown).await;
    assert_eq!(reply.status, 422);
}

#[tokio::test]
async fn a_bad_signature_is_sent_once() {
    let (sim, customer) = tracker().await;
    sim.fault(json!({"callback": "recording", "action": "bad_signature", "count": 1})).await;
    sim.call(json!({})).await;
    sim.call(json!({})).await;
    let valid: Vec<bool> = customer.all("/recording").iter().map(|asked| asked.signature_is_valid).collect();
    assert_eq!(valid, [false, true]);
}

#[tokio::test]
async fn media_is_not_found_at_first() {
    let (sim, customer) = tracker().await;
    sim.fault(json!({"media_404": 2})).await;
    sim.call(json!({})).await;
    let sid = customer.the("/recording").get("RecordingSid").to_owned();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let media = format!("Recordings/{sid}.mp3");
        statuses.push(sim.get(&media).await.status);
    }
    assert_eq!(statuses, [404, 404, 200]);
}

#[tokio::test]
async fn a_recording_is_absent() {
    let (sim, customer) = tracker().await;
    sim.fault(json!({"recording_absent": 1})).await;
    sim.call(json!({})).await;
    let recording = customer.the("/recording");
    assert_eq!(recording.get("RecordingStatus"), "absent");
    assert!(recording.find("RecordingDuration").is_none());
    let sid = recording.get("RecordingSid");
    let media = sim.get(&format!("Recordings/{sid}.wav")).await;
    assert_eq!(media.status, 404);
    let resource = sim.get(&format!("Recordings/{sid}.json")).await;
    assert!(resource.json()["error_code"].is_number());
}

#[tokio::test]
async fn a_transcription_fails() {
    let (sim, customer) = tracker().await;
    customer.answers("/dial-done", VOICEMAIL);
    sim.fault(json!({"transcription_failed": 1})).await;
    sim.call(json!({"destination": {"outcome": "busy"}})).await;
    let transcription = customer.the("/transcription");
    assert_eq!(transcription.get("TranscriptionStatus"), "failed");
    assert_eq!(transcription.get("TranscriptionText"), "");
}

#[tokio::test]
async fn the_trace_tells_requests_verbs_warnings_and_faults() {
    let (sim, customer) = tracker().await;
    customer.answers("/dial-done", r#"<Response><Say colour="red">Bye.</Say></Response>"#);
    sim.fault(json!({"callback": "leg-status", "action": "duplicate"})).await;
    let call = sim.call(json!({"destination": {"hangs_up_first": true}})).await;
    let path = format!("/sim/trace?call_sid={}", call["call_sid"].as_str().unwrap());
    let trace = sim.control(Method::GET, &path, Value::Null).await.json();
    let entries = trace["entries"].as_array().unwrap();
    let find = |kind: &str, key: &str, text: &str| {
        entries
            .iter()
            .find(|entry| entry["kind"] == kind && entry[key].as_str().unwrap().contains(text))
            .unwrap_or_else(|| panic!("no {kind} {text} in {entries:#?}"))
    };
    let voice = find("webhook", "hook", "voice");
    assert_eq!(voice["status"], 200);
    assert!(voice["body"].as_str().unwrap().contains("<Dial"));
    find("verb", "verb", "Dial");
    find("warning", "text", "has no attribute colour");
    find("fault", "action", "duplicate");
    let whisper = find("webhook", "hook", "whisper");
    assert_eq!(whisper["leg_sid"], call["legs"][0]["call_sid"]);
}
