//! Whole calls over real HTTP: which requests the customer's server gets, in which order, with which parameters.

mod common;

use axum::http::Method;
use common::{CALLER, Customer, DESTINATION, NUMBER, Sim, VOICEMAIL, ringing_document, serve_tracker};
use serde_json::json;

#[tokio::test]
async fn an_accepted_call_is_connected_and_recorded_on_two_channels() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    sim.buy_number(&customer).await;

    let call = sim
        .call(json!({"destination": {"talk_s": 60, "hangs_up_first": true},
            "caller": {"city": "Evansville", "state": "IN", "zip": "47708", "country": "US",
                "stir_verstat": "TN-Validation-Passed-A"},
            "extra_params": {"SomethingNew": "yes"}}))
        .await;

    assert_eq!(
        customer.paths(),
        [
            "/voice",
            "/leg:initiated",
            "/leg:ringing",
            "/leg:in-progress",
            "/whisper",
            "/accept",
            "/leg:completed",
            "/dial-done",
            "/status:completed",
            "/recording:completed",
        ]
    );
    customer.assert_all_signed();
    assert_eq!(call["outcome"], "answered");

    let voice = customer.the("/voice");
    assert_eq!(voice.uri, "/voice?a=A1&b=x%20y");
    for (name, value) in [
        ("CallStatus", "ringing"),
        ("From", CALLER),
        ("To", NUMBER),
        ("Caller", CALLER),
        ("Called", NUMBER),
        ("Direction", "inbound"),
        ("ApiVersion", "2010-04-01"),
        ("FromCity", "EVANSVILLE"),
        ("CallerZip", "47708"),
        ("ToState", "KY"),
        ("StirVerstat", "TN-Validation-Passed-A"),
        ("SomethingNew", "yes"),
    ] {
        assert_eq!(voice.get(name), value, "{name}");
    }
    assert!(voice.find("CallToken").is_some());
    assert!(voice.find("CallerName").is_none());
    assert_answered_callbacks(&customer);
}

/// What the callbacks of an answered call say: 4 s of disclosure, 4 s of ringing, 3 s of whisper, 1 s to press the key and
/// 60 s of talk.
#[track_caller]
fn assert_answered_callbacks(customer: &Customer) {
    let voice = customer.the("/voice");
    let whisper = customer.the("/whisper");
    let legs = customer.all("/leg");
    assert_eq!(whisper.get("CallSid"), legs[0].get("CallSid"));
    assert_eq!(whisper.get("ParentCallSid"), voice.get("CallSid"));
    assert_eq!(whisper.get("Direction"), "outbound-dial");
    assert_eq!(whisper.get("To"), DESTINATION);
    assert_eq!(customer.the("/accept").get("Digits"), "1");

    for (number, leg) in legs.iter().enumerate() {
        assert_eq!(leg.get("SequenceNumber"), number.to_string());
        assert_eq!(leg.get("CallbackSource"), "call-progress-events");
        assert!(leg.get("Timestamp").ends_with("+0000"));
    }
    // 60 s of talk, 3 s of whisper and 1 s to press the key.
    assert_eq!(legs[3].get("CallDuration"), "64");
    assert_eq!(legs[3].get("RecordingDuration"), "64");
    assert!(legs[2].find("CallDuration").is_none());

    let done = customer.the("/dial-done");
    assert_eq!(done.get("CallStatus"), "in-progress");
    assert_eq!(done.get("DialCallStatus"), "completed");
    assert_eq!(done.get("DialBridged"), "true");
    assert_eq!(done.get("DialCallDuration"), "64");
    assert_eq!(done.get("DialCallSid"), whisper.get("CallSid"));
    assert_eq!(done.cookie.as_deref(), Some("c=1"));

    // 4 s of disclosure and 4 s of ringing more than the destination's leg.
    assert_eq!(customer.the("/status").get("CallDuration"), "72");
    let recording = customer.the("/recording");
    assert_eq!(recording.get("CallSid"), voice.get("CallSid"));
    assert_eq!(recording.get("RecordingChannels"), "2");
    assert_eq!(recording.get("RecordingSource"), "DialVerb");
    assert_eq!(recording.get("RecordingUrl"), done.get("RecordingUrl"));
    assert_eq!(recording.get("RecordingSid"), legs[3].get("RecordingSid"));
}

#[tokio::test]
async fn no_answer_leads_to_a_transcribed_voicemail() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    customer.answers("/dial-done", VOICEMAIL);
    sim.buy_number(&customer).await;

    let call = sim
        .call(json!({"destination": {"outcome": "no_answer"},
            "voicemail": {"says": "My basement is under water.", "seconds": 12, "finish": "#"}}))
        .await;

    assert_eq!(
        customer.paths(),
        [
            "/voice",
            "/leg:initiated",
            "/leg:ringing",
            "/leg:no-answer",
            "/dial-done",
            "/vm-done",
            "/status:completed",
            "/recording:completed",
            "/transcription",
        ]
    );
    customer.assert_all_signed();
    assert_eq!(call["outcome"], "voicemail");
    let done = customer.the("/dial-done");
    assert_eq!(done.get("DialCallStatus"), "no-answer");
    assert_eq!(done.get("DialBridged"), "false");
    assert!(done.find("DialCallDuration").is_none());
    assert!(done.find("RecordingUrl").is_none());
    let left = customer.the("/vm-done");
    assert_eq!(left.get("RecordingDuration"), "12");
    assert_eq!(left.get("Digits"), "#");
    let recording = customer.the("/recording");
    assert_eq!(recording.get("RecordingSource"), "RecordVerb");
    assert_eq!(recording.get("RecordingChannels"), "1");
    let transcription = customer.the("/transcription");
    assert_eq!(transcription.get("TranscriptionStatus"), "completed");
    assert_eq!(transcription.get("TranscriptionText"), "My basement is under water.");
    assert_eq!(transcription.get("RecordingSid"), recording.get("RecordingSid"));
    // 4 s of disclosure, 25 s of ringing, 3 s of greeting, the beep and the message.
    assert_eq!(customer.the("/status").get("CallDuration"), "45");
}

#[tokio::test]
async fn a_voicemail_that_ends_with_hanging_up_says_so() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    customer.answers("/dial-done", VOICEMAIL);
    sim.buy_number(&customer).await;

    let call = sim.call(json!({"destination": {"outcome": "no_answer"}, "voicemail": {"seconds": 2}})).await;

    let left = customer.the("/vm-done");
    assert_eq!(left.get("Digits"), "hangup");
    assert_eq!(left.get("CallStatus"), "completed");
    // Two seconds are too short to be transcribed.
    assert!(customer.all("/transcription").is_empty());
    assert_eq!(call["warnings"][0]["code"], 13_617);
}

#[tokio::test]
async fn a_caller_who_says_nothing_leaves_no_voicemail() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    customer.answers("/dial-done", VOICEMAIL);
    sim.buy_number(&customer).await;

    let call = sim.call(json!({"destination": {"outcome": "no_answer"}, "voicemail": {"seconds": 0}})).await;

    assert_eq!(call["outcome"], "no_answer");
    assert!(customer.all("/vm-done").is_empty());
    assert!(customer.all("/recording").is_empty());
}

#[tokio::test]
async fn a_busy_destination_is_reported_at_once() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    sim.buy_number(&customer).await;

    let call = sim.call(json!({"destination": {"outcome": "busy"}})).await;

    assert_eq!(
        customer.paths(),
        ["/voice", "/leg:initiated", "/leg:busy", "/dial-done", "/status:completed",]
    );
    customer.assert_all_signed();
    assert_eq!(customer.the("/dial-done").get("DialCallStatus"), "busy");
    assert_eq!(call["outcome"], "busy");
}

#[tokio::test]
async fn a_caller_who_hangs_up_while_it_rings_was_never_answered() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    customer.answers("/voice", ringing_document());
    sim.buy_number(&customer).await;

    let call = sim.call(json!({"hangup_after_s": 10, "destination": {"answer_after_s": 11}})).await;

    assert_eq!(
        customer.paths(),
        ["/voice", "/leg:initiated", "/leg:ringing", "/leg:no-answer", "/dial-done", "/status:canceled",]
    );
    customer.assert_all_signed();
    let done = customer.the("/dial-done");
    assert_eq!(done.get("DialCallStatus"), "no-answer");
    assert_eq!(done.get("CallStatus"), "canceled");
    assert_eq!(customer.the("/status").get("CallDuration"), "0");
    assert_eq!(call["outcome"], "abandoned");
}

#[tokio::test]
async fn an_abandoned_dial_may_not_be_reported_at_all() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    sim.buy_number(&customer).await;

    sim.call(json!({"hangup_after_s": 6, "abandoned_dial": "none"})).await;

    assert!(customer.all("/dial-done").is_empty());
    // The disclosure had been played, so the call had been answered.
    assert_eq!(customer.the("/status").get("CallStatus"), "completed");
    assert_eq!(customer.the("/status").get("CallDuration"), "6");
}

#[tokio::test]
async fn a_rejected_call_is_busy_and_costs_nothing() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    sim.buy_number(&customer).await;
    for (reason, status) in [("busy", "busy"), ("rejected", "no-answer")] {
        customer.answers("/voice", format!(r#"<Response><Reject reason="{reason}"/></Response>"#));
        let call = sim.call(json!({})).await;
        assert_eq!(call["outcome"], "rejected");
        let last = customer.asked().pop().unwrap();
        assert_eq!(last.path, "/status");
        assert_eq!(last.get("CallStatus"), status);
        assert_eq!(last.get("CallDuration"), "0");
    }
    customer.assert_all_signed();
}

#[tokio::test]
async fn a_declined_whisper_is_completed_but_not_bridged() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    sim.buy_number(&customer).await;

    let call = sim.call(json!({"destination": {"whisper_keys": ""}})).await;

    let done = customer.the("/dial-done");
    assert_eq!(done.get("DialCallStatus"), "completed");
    assert_eq!(done.get("DialBridged"), "false");
    // 3 s of whisper and 8 s of waiting for a key.
    assert_eq!(done.get("DialCallDuration"), "11");
    assert!(customer.all("/accept").is_empty());
    assert_eq!(call["outcome"], "no_answer");
    assert_eq!(call["recordings"][0]["bursts"], json!([]));
}

#[tokio::test]
async fn when_the_caller_hangs_up_first_the_action_still_comes_and_is_not_obeyed() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    customer.answers("/dial-done", VOICEMAIL);
    sim.buy_number(&customer).await;

    let call = sim.call(json!({"destination": {"talk_s": 20}})).await;

    let done = customer.the("/dial-done");
    assert_eq!(done.get("CallStatus"), "completed");
    assert_eq!(done.get("DialBridged"), "true");
    assert!(customer.all("/vm-done").is_empty());
    assert_eq!(call["outcome"], "answered");
}

#[tokio::test]
async fn answer_on_bridge_leaves_an_unanswered_call_unanswered() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    customer.answers("/voice", ringing_document()).answers("/dial-done", "<Response><Hangup/></Response>");
    sim.buy_number(&customer).await;

    sim.call(json!({"destination": {"outcome": "no_answer"}})).await;
    assert_eq!(customer.the("/dial-done").get("CallStatus"), "ringing");
    assert_eq!(customer.the("/status").get("CallStatus"), "no-answer");

    let call = sim.call(json!({"destination": {"talk_s": 30}})).await;
    // Billed from the bridge, not from the first ring.
    assert_eq!(call["duration_s"], 30);
}

#[tokio::test]
async fn all_numbers_ring_and_the_first_to_accept_wins() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    customer.answers(
        "/voice",
        r#"<Response><Dial action="/dial-done">
            <Number statusCallback="/leg" statusCallbackEvent="completed">+12705550111</Number>
            <Number statusCallback="/leg" statusCallbackEvent="completed">+12705550112</Number>
            <Number statusCallback="/leg" statusCallbackEvent="completed">+12705550102</Number>
        </Dial></Response>"#,
    );
    sim.buy_number(&customer).await;
    let destination = json!({"answer_after_s": 3, "talk_s": 9});
    let path = "/sim/destinations/+12705550112";
    sim.control(Method::PUT, path, destination).await;

    let call = sim.call(json!({})).await;

    let statuses: Vec<_> = call["legs"].as_array().unwrap().iter().collect();
    assert_eq!(statuses[0]["status"], "canceled");
    assert_eq!(statuses[1]["status"], "completed");
    assert_eq!(statuses[1]["bridged"], true);
    assert_eq!(statuses[2]["status"], "busy");
    let done = customer.the("/dial-done");
    assert_eq!(done.get("DialCallSid"), statuses[1]["call_sid"]);
    assert_eq!(done.get("DialCallDuration"), "9");
}

#[tokio::test]
async fn a_menu_collects_the_callers_keys() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    customer
        .answers(
            "/voice",
            r#"<Response><Gather numDigits="1" action="menu?x=1"><Say>Press 2 for sales.</Say></Gather><Redirect>/voice</Redirect></Response>"#,
        )
        .answers("/menu", "<Response><Say>Goodbye.</Say></Response>");
    sim.buy_number(&customer).await;

    let call = sim.call(json!({"digits": "2"})).await;

    assert_eq!(customer.paths(), ["/voice", "/menu", "/status:completed"]);
    assert_eq!(customer.the("/menu").get("Digits"), "2");
    assert_eq!(call["outcome"], "completed");
    customer.assert_all_signed();
}

#[tokio::test]
async fn a_withheld_number_is_sent_as_it_is_and_has_no_geography() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    customer.answers("/voice", "<Response><Reject/></Response>");
    sim.buy_number(&customer).await;

    sim.call(json!({"from": "anonymous"})).await;

    let voice = customer.the("/voice");
    assert_eq!(voice.get("From"), "anonymous");
    assert!(voice.find("FromCity").is_none());
    assert_eq!(voice.get("ToCity"), "BOWLING GREEN");
}

#[tokio::test]
async fn the_rest_api_ends_a_call_in_progress() {
    // At this scale the talk lasts long enough for the API to come in between.
    let (sim, customer) = (Sim::start_at(20.0).await, Customer::start().await);
    serve_tracker(&customer);
    customer.answers("/whisper", "<Response/>");
    sim.buy_number(&customer).await;
    let sid = sim.start_call(json!({"destination": {"answer_after_s": 0, "talk_s": 80000}})).await;
    customer.until_asked("/whisper", 1).await;

    let resource = format!("Calls/{sid}.json");
    let reply = sim.rest(Method::POST, &resource, &[("Status", "completed")]).await;
    assert_eq!(reply.status, 200);

    let call = sim.settled(&sid).await;
    assert_eq!(call["status"], "completed");
    assert!(call["duration_s"].as_i64().unwrap() < 80_000);
    let again = sim.rest(Method::POST, &resource, &[("Status", "completed")]).await;
    assert_eq!(again.json()["code"], 21_220);
}

#[tokio::test]
async fn a_failing_voice_url_falls_back() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    sim.buy_number(&customer).await;
    customer.answers("/fallback", "<Response><Reject/></Response>");
    for (status, body, code) in
        [(500, "<Response/>", "11200"), (200, "<Respons/>", "12100"), (200, "not XML", "12100")]
    {
        customer.answers_with("/voice", status, body);
        sim.call(json!({})).await;
        let asked = customer.all("/fallback").pop().unwrap();
        assert_eq!(asked.get("ErrorCode"), code);
        assert!(asked.get("ErrorUrl").contains("/voice?a=A1"));
    }
    customer.assert_all_signed();
}

#[tokio::test]
async fn redirects_are_followed_with_new_signatures_and_cookies() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    customer
        .answers_with("/voice", 307, "/moved?x=1")
        .answers("/moved", "<Response><Redirect method=\"GET\">/next</Redirect></Response>")
        .answers("/next", "<Response><Reject/></Response>");
    sim.buy_number(&customer).await;

    sim.call(json!({})).await;

    assert_eq!(customer.paths()[..3], ["/voice", "/moved", "/next"]);
    assert_eq!(customer.the("/moved").get("From"), CALLER);
    assert_eq!(customer.the("/next").get("From"), CALLER);
    assert_eq!(customer.the("/next").cookie.as_deref(), Some("c=1"));
    customer.assert_all_signed();
}

#[tokio::test]
async fn endless_redirects_end_in_an_apology() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    customer.answers_with("/voice", 302, "/voice");
    sim.buy_number(&customer).await;

    let call = sim.call(json!({})).await;

    assert_eq!(customer.all("/voice").len(), 11);
    assert_eq!(call["warnings"][0]["code"], 11_215);
    assert_eq!(call["status"], "completed");
}

#[tokio::test]
async fn a_record_without_action_does_not_loop_forever() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    customer.answers("/voice", "<Response><Record timeout=\"2\"/></Response>");
    sim.buy_number(&customer).await;

    let call = sim.call(json!({"voicemail": {"finish": "silence"}})).await;

    assert_eq!(customer.all("/voice").len(), 4);
    let warnings = call["warnings"].as_array().unwrap();
    assert_eq!(warnings.last().unwrap()["code"], 12_400);
}

#[tokio::test]
async fn a_whisper_may_not_dial() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    customer.answers("/whisper", "<Response><Dial>+12705550101</Dial></Response>");
    sim.buy_number(&customer).await;

    sim.call(json!({})).await;

    assert_eq!(customer.the("/dial-done").get("DialBridged"), "false");
}

#[tokio::test]
async fn a_caller_id_that_is_not_the_accounts_fails_the_dial() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    customer.answers(
        "/voice",
        r#"<Response><Dial action="/dial-done" callerId="+13125550100">+12705550101</Dial></Response>"#,
    );
    sim.buy_number(&customer).await;

    let call = sim.call(json!({})).await;

    assert_eq!(customer.the("/dial-done").get("DialCallStatus"), "failed");
    assert_eq!(call["warnings"][0]["code"], 13_214);
}

#[tokio::test]
async fn a_number_that_belongs_to_a_trunk_does_not_ask_its_voice_url() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    let sid = sim.buy_number(&customer).await;
    let resource = format!("IncomingPhoneNumbers/{sid}.json");
    sim.rest(Method::POST, &resource, &[("TrunkSid", "TK5eed")]).await;

    sim.call(json!({})).await;

    assert_eq!(customer.paths(), ["/status:completed"]);
}

#[tokio::test]
async fn the_whole_call_is_recorded_when_the_document_starts_it() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    customer.answers(
        "/voice",
        r#"<Response><Start><Recording recordingStatusCallback="/recording"
            recordingStatusCallbackEvent="in-progress completed"/></Start>
            <Play digits="12"/><Pause length="9"/><Dial>+12705550101</Dial></Response>"#,
    );
    sim.buy_number(&customer).await;

    sim.call(json!({"destination": {"talk_s": 20}})).await;

    let recordings = customer.all("/recording");
    assert_eq!(recordings[0].get("RecordingStatus"), "in-progress");
    assert!(recordings[0].find("RecordingDuration").is_none());
    assert_eq!(recordings[1].get("RecordingDuration"), "34");
    assert_eq!(recordings[1].get("RecordingSource"), "StartCallRecordingTwiML");
}

#[tokio::test]
async fn numbers_ring_one_by_one_when_the_dial_is_sequential() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    customer.answers(
        "/voice",
        r#"<Response><Dial sequential="true" timeout="7" action="/dial-done">
            <Number>+12705550103</Number><Number>911</Number><Number>+12705550102</Number>
            <Number>+12705550101</Number></Dial></Response>"#,
    );
    sim.buy_number(&customer).await;

    let call = sim.call(json!({})).await;

    let legs = call["legs"].as_array().unwrap();
    let statuses: Vec<_> = legs.iter().map(|leg| leg["status"].clone()).collect();
    assert_eq!(statuses, ["no-answer", "failed", "busy", "completed"]);
    // 7 s, then 2 s until busy, then 4 s until the answer and 30 s of talk.
    assert_eq!(call["duration_s"], 43);
}

#[tokio::test]
async fn a_call_to_nobodys_number_is_refused() {
    let sim = Sim::start().await;
    let script = json!({"from": CALLER, "to": NUMBER});
    let reply = sim.control(Method::POST, "/sim/calls", script).await;
    assert_eq!(reply.status, 404);
}

#[tokio::test]
async fn a_reset_forgets_everything_but_the_first_account() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    customer.answers("/voice", "<Response><Reject/></Response>");
    sim.buy_number(&customer).await;
    let call = sim.call(json!({})).await;

    let reply = sim.control(Method::POST, "/sim/reset", json!({})).await;
    assert_eq!(reply.status, 204);

    let path = format!("/sim/calls/{}", call["call_sid"].as_str().unwrap());
    assert_eq!(sim.control(Method::GET, &path, json!({})).await.status, 404);
    let numbers = sim.get("IncomingPhoneNumbers.json").await;
    assert_eq!(numbers.json()["incoming_phone_numbers"], json!([]));
}
