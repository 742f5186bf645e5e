//! The main job, end to end: the real program, the simulated carrier and a receiver, each a process or a
//! server of its own, that speak only HTTP.

use std::collections::HashMap;

use futures_util::future::join_all;
use serde_json::{Value as Json, json};

use crate::support::program::{Place, Program};
use crate::support::receiver::{Arrived, Receiver};
use crate::support::simulator::Simulator;
use crate::support::world::{ACCOUNT_SID, AUTH_TOKEN};

const DESTINATION: &str = "+18125550101";

/// A company with a tracker and an active webhook, all made through the API.
struct Shop {
    program: Program,
    simulator: Simulator,
    receiver: Receiver,
    tracker: Json,
    _place: Place,
}

impl Shop {
    async fn open() -> Shop {
        let place = Place::new();
        let (program, simulator, receiver) = (place.serve(&[]), Simulator::start(), Receiver::start().await);
        let api = &program.api;
        let company = json!({"name": "Riverside <script>", "time_zone": "America/Chicago", "country": "US"});
        api.post("/companies", &company).await.expect(201);
        let account = json!({
            "kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": simulator.url,
        });
        api.post("/companies/1/carriers", &account).await.expect(201);
        let webhook = json!({"target": receiver.url, "events": "all"});
        api.post("/companies/1/webhooks", &webhook).await.expect(201);
        let tracker = json!({
            "name": "Spring \"flyer\" & <Hangup/>", "tracker_type": "offline", "number_type": "local",
            "destination": DESTINATION, "recording_enabled": true, "recording_message": "Recorded <3 & ]]>",
            "whisper_enabled": true, "whisper_message": "<script>alert(1)</script>", "voicemail_enabled": true,
            "voicemail_greeting": "Nobody's here.", "transcription_enabled": true,
            "numbers": {"buy": {"area_code": "270", "count": 1}},
        });
        let tracker = api.post("/companies/1/trackers", &tracker).await.expect(201).json;
        Shop { program, simulator, receiver, tracker, _place: place }
    }

    fn number(&self) -> &str {
        self.tracker["phone_numbers"][0]["number"].as_str().unwrap()
    }

    /// Has a call made by the carrier, and gives what it was told about it at the end.
    async fn call(&self, mut scenario: Json) -> Json {
        scenario["to"] = json!(self.number());
        self.simulator.call(&scenario).await
    }

    /// Waits for the event of this type that tells of this call.
    async fn event(&self, kind: &str, key: &str, id: i64) -> Arrived {
        let told = |a: &Arrived| a.kind() == kind && a.json()["data"][key] == id;
        self.receiver.wait_for_one(told).await
    }
}

#[tokio::test]
async fn each_kind_of_call_ends_with_its_status_and_is_told_once() {
    let shop = Shop::open().await;
    let blocked = json!({"number": "+16065550166"});
    shop.program.api.post("/companies/1/blocked-callers", &blocked).await.expect(201);
    let answer = json!({"outcome": "answer", "answer_after_s": 6, "talk_s": 40});
    let hangs_up = json!({"outcome": "answer", "answer_after_s": 3, "talk_s": 5, "hangs_up_first": true});
    let no_answer = json!({"outcome": "no_answer"});
    let silent = json!({"says": "", "seconds": 0, "finish": "hangup"});
    let voicemail = json!({"says": "Please call me back.", "seconds": 12, "finish": "hangup"});
    let calls = [
        ("answered", "+15025550142", json!({"destination": answer})),
        ("answered", "+15025550143", json!({"destination": hangs_up})),
        ("voicemail", "+18595550144", json!({"destination": no_answer, "voicemail": voicemail})),
        ("no_answer", "+18595550145", json!({"destination": no_answer, "voicemail": silent})),
        ("busy", "+16155550146", json!({"destination": {"outcome": "busy"}, "voicemail": silent})),
        ("failed", "+16155550147", json!({"destination": {"outcome": "fail"}, "voicemail": silent})),
        ("canceled", "anonymous", json!({"destination": no_answer, "hangup_after_s": 9})),
        ("blocked", "+16065550166", json!({})),
    ];
    join_all(calls.iter().map(|(_, from, scenario)| {
        let mut scenario = scenario.clone();
        scenario["from"] = json!(from);
        shop.call(scenario)
    }))
    .await;
    for (status, from, scenario) in &calls {
        let caller = if *from == "anonymous" { "" } else { *from };
        let of_call =
            |a: &Arrived| a.kind() == "call.finished" && a.json()["data"]["caller_number"] == caller;
        let finished = shop.receiver.wait_for_one(of_call).await.json();
        assert_eq!(finished["data"]["status"], *status, "{scenario}");
        let long = finished["data"]["call_duration"].as_i64().unwrap() > 10;
        assert_eq!(long, ["answered", "voicemail", "no_answer"].contains(status), "{finished}");
    }
    let mut told: HashMap<(String, i64), usize> = HashMap::new();
    for event in shop.receiver.events().iter().filter(|e| e.kind().starts_with("call.")) {
        *told.entry((event.kind(), event.json()["data"]["id"].as_i64().unwrap())).or_default() += 1;
    }
    assert!(told.values().all(|times| *times == 1), "{told:?}");
    let received = told.keys().filter(|(kind, _)| kind == "call.received").count();
    let finished = told.keys().filter(|(kind, _)| kind == "call.finished").count();
    assert_eq!((received, finished), (8, 8));
}

#[tokio::test]
async fn a_recording_is_copied_served_in_parts_and_deleted_at_the_carrier() {
    let shop = Shop::open().await;
    let answer = json!({"outcome": "answer", "answer_after_s": 6, "talk_s": 40});
    let told = shop.call(json!({"from": "+15025550142", "destination": answer})).await;
    let event = shop.event("call.recording.available", "id", 1).await.json();
    let length = event["data"]["recording_duration"].as_i64().unwrap();
    assert!((40..=50).contains(&length), "{event}");
    let link = event["data"]["recording"].as_str().unwrap();
    let whole = reqwest::get(link).await.unwrap();
    assert_eq!(
        (whole.status().as_u16(), &whole.headers()["content-type"]),
        (200, &"audio/mpeg".parse().unwrap())
    );
    let whole = whole.bytes().await.unwrap();
    let part = reqwest::Client::new().get(link).header("range", "bytes=100-199").send().await.unwrap();
    assert_eq!(part.status().as_u16(), 206);
    assert_eq!(part.bytes().await.unwrap(), whole[100..200]);
    let forged = link.replace("expires=1", "expires=2");
    assert_ne!(forged, link);
    assert_eq!(reqwest::get(forged).await.unwrap().status().as_u16(), 403);

    let sid = told["recordings"][0]["sid"].as_str().unwrap_or_default();
    let url = format!("{}/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings.json", shop.simulator.url);
    loop {
        let list = reqwest::Client::new().get(&url).basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN)).send().await;
        let list: Json = list.unwrap().json().await.unwrap();
        if list["recordings"].as_array().unwrap().is_empty() {
            break;
        }
        assert!(list.to_string().contains(sid), "{list}");
    }
}

#[tokio::test]
async fn a_voicemail_is_told_with_its_transcription() {
    let shop = Shop::open().await;
    let scenario = json!({
        "from": "+18595550187", "destination": {"outcome": "no_answer"},
        "voicemail": {"says": "Hi, my basement is flooding.", "seconds": 12, "finish": "hangup"},
    });
    shop.call(scenario).await;
    let event = shop.event("voicemail.received", "call_id", 1).await.json();
    assert_eq!(event["data"]["transcription"], "Hi, my basement is flooding.");
    assert_eq!(event["data"]["recording_duration"], 12);
    let audio = reqwest::get(event["data"]["recording"].as_str().unwrap()).await.unwrap();
    assert_eq!(audio.headers()["content-type"], "audio/wav");
    assert!(audio.bytes().await.unwrap().starts_with(b"RIFF"));
}

#[tokio::test]
async fn texts_go_both_ways() {
    let shop = Shop::open().await;
    let text = json!({"from": "+15025550142", "to": shop.number(), "body": "Größe 🚿 <b>?"});
    let answered = shop.simulator.post("/sim/messages", &text).await;
    assert_eq!(answered["webhook"]["status"], 200);
    let received = shop.receiver.wait_for_one(|a| a.kind() == "message.received").await.json();
    assert_eq!(received["data"]["body"], "Größe 🚿 <b>?");
    let reply = json!({"tracker_id": shop.tracker["id"], "to_number": "+15025550142", "body": "Yes ✅"});
    shop.program.api.post("/companies/1/messages", &reply).await.expect(201);
    let sent = shop.receiver.wait_for_one(|a| a.kind() == "message.sent").await.json();
    assert_eq!(sent["data"]["direction"], "outgoing");
    assert_eq!(sent["data"]["from_number"], shop.number());
}

#[tokio::test]
async fn a_released_number_is_gone_at_the_carrier_and_its_caller_hears_a_polite_word() {
    let shop = Shop::open().await;
    shop.program.api.delete("/companies/1/trackers/1").await.expect(204);
    let updated = shop.receiver.wait_for_one(|a| a.kind() == "tracker.updated").await.json();
    assert_eq!(updated["data"]["status"], false);
    assert_eq!(updated["data"]["phone_numbers"][0]["status"], false);
    let url = format!("{}/2010-04-01/Accounts/{ACCOUNT_SID}/IncomingPhoneNumbers.json", shop.simulator.url);
    loop {
        let list = reqwest::Client::new().get(&url).basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN)).send().await;
        let list: Json = list.unwrap().json().await.unwrap();
        if list["incoming_phone_numbers"].as_array().unwrap().is_empty() {
            return;
        }
    }
}
