//! The REST API as a client of the real carrier would use it.

mod common;

use axum::http::Method;
use carrier_sim::{DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN};
use common::{Customer, NUMBER, Sim, VOICEMAIL, serve_tracker};
use serde_json::{Value, json};

#[tokio::test]
async fn a_number_is_found_bought_configured_and_released() {
    let sim = Sim::start().await;
    let search = "AvailablePhoneNumbers/US/Local.json?AreaCode=270&PageSize=2&SmsEnabled=true";
    let found = sim.get(search).await.json();
    let first = &found["available_phone_numbers"][0];
    assert_eq!(first["phone_number"], "+12705550100");
    assert_eq!(first["friendly_name"], "(270) 555-0100");
    assert_eq!(first["locality"], "Bowling Green");
    assert_eq!(found["available_phone_numbers"].as_array().unwrap().len(), 2);

    let form = [("PhoneNumber", "+12705550100"), ("FriendlyName", "Radio")];
    let bought = sim.rest(Method::POST, "IncomingPhoneNumbers.json", &form);
    let bought = bought.await;
    assert_eq!(bought.status, 201);
    let bought = bought.json();
    let sid = bought["sid"].as_str().unwrap();
    assert!(sid.starts_with("PN") && sid.len() == 34);
    assert_eq!(bought["capabilities"]["voice"], true);
    assert_eq!(bought["voice_caller_id_lookup"], false);
    assert!(bought["date_created"].as_str().unwrap().ends_with("+0000"));

    let taken = sim.rest(Method::POST, "IncomingPhoneNumbers.json", &form).await;
    assert_eq!(taken.status, 400);
    assert_eq!(taken.json()["code"], 21_422);
    let found = sim.get(search).await.json();
    assert_eq!(found["available_phone_numbers"][0]["phone_number"], "+12705550101");

    let resource = format!("IncomingPhoneNumbers/{sid}.json");
    let form = [("VoiceUrl", "http://127.0.0.1:9/voice?c=1"), ("VoiceMethod", "GET")];
    let changed = sim.rest(Method::POST, &resource, &form).await.json();
    assert_eq!(changed["voice_url"], "http://127.0.0.1:9/voice?c=1");
    assert_eq!(changed["voice_method"], "GET");
    assert_eq!(changed["friendly_name"], "Radio");

    let list = "IncomingPhoneNumbers.json?PhoneNumber=%2B12705550100";
    let listed = sim.get(list).await.json();
    assert_eq!(listed["incoming_phone_numbers"][0]["sid"], sid);

    assert_eq!(sim.rest(Method::DELETE, &resource, &[]).await.status, 204);
    let gone = sim.get(&resource).await;
    assert_eq!(gone.status, 404);
    assert_eq!(gone.json()["code"], 20_404);
    let found = sim.get(search).await.json();
    assert_eq!(found["available_phone_numbers"][0]["phone_number"], "+12705550100");
}

#[tokio::test]
async fn numbers_that_cannot_be_bought_have_their_codes() {
    let sim = Sim::start().await;
    for (form, code) in [
        (("PhoneNumber", "+12705550100x1"), 21_422),
        (("PhoneNumber", "abc"), 21_421),
        (("PhoneNumber", "+12702822733"), 21_422),
        (("AreaCode", "999"), 21_452),
        (("FriendlyName", "none"), 21_404),
    ] {
        let reply = sim.rest(Method::POST, "IncomingPhoneNumbers.json", &[form]).await;
        assert_eq!(reply.status, 400, "{form:?}");
        let body = reply.json();
        assert_eq!(body["code"], code, "{form:?}");
        assert_eq!(body["status"], 400);
        assert!(body["message"].is_string() && body["more_info"].is_string());
    }
    sim.fault(json!({"buy_race": 1})).await;
    let form = [("PhoneNumber", NUMBER)];
    let raced = sim.rest(Method::POST, "IncomingPhoneNumbers.json", &form).await;
    assert_eq!(raced.json()["code"], 21_422);
    let bought = sim.rest(Method::POST, "IncomingPhoneNumbers.json", &form).await;
    assert_eq!(bought.status, 201);
}

#[tokio::test]
async fn toll_free_numbers_and_extra_stock_can_be_bought() {
    let sim = Sim::start().await;
    let search = "AvailablePhoneNumbers/US/TollFree.json?AreaCode=855&Contains=0107";
    let found = sim.get(search).await.json();
    let number = found["available_phone_numbers"][0]["phone_number"].clone();
    assert_eq!(number, "+18555550107");
    assert_eq!(found["available_phone_numbers"][0]["region"], Value::Null);

    let path = "/sim/stock/+12702822733";
    assert_eq!(sim.control(Method::PUT, path, Value::Null).await.status, 204);
    let form = [("PhoneNumber", "+12702822733")];
    let bought = sim.rest(Method::POST, "IncomingPhoneNumbers.json", &form).await;
    assert_eq!(bought.status, 201);
    let area = [("AreaCode", "416")];
    let bought = sim.rest(Method::POST, "IncomingPhoneNumbers.json", &area).await;
    assert_eq!(bought.json()["phone_number"], "+14165550100");
}

#[tokio::test]
async fn nothing_is_told_without_the_right_credentials() {
    let sim = Sim::start().await;
    for (sid, token, mount, status) in [
        (DEFAULT_ACCOUNT_SID, "wrong", "/2010-04-01", 401),
        ("AC1", DEFAULT_AUTH_TOKEN, "/2010-04-01", 401),
        (DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN, "/api/laml/2010-04-01", 401),
        (DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN, "/2011-01-01", 404),
        (DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN, "/2010-04-01", 200),
    ] {
        let reply = sim.rest_of((sid, token), mount, Method::GET, "Calls.json", &[]);
        let reply = reply.await;
        assert_eq!(reply.status, status, "{sid} {token} {mount}");
        if status == 401 {
            assert_eq!(reply.json()["code"], 20_003);
            assert!(reply.headers.contains_key("www-authenticate"));
        }
    }
}

#[tokio::test]
async fn lists_lead_from_page_to_page() {
    let sim = Sim::start().await;
    for _ in 0..5 {
        let form = [("AreaCode", "502")];
        sim.rest(Method::POST, "IncomingPhoneNumbers.json", &form).await;
    }
    let mut resource = "IncomingPhoneNumbers.json?PageSize=2".to_owned();
    let mut sizes = Vec::new();
    loop {
        let page = sim.get(&resource).await.json();
        sizes.push(page["incoming_phone_numbers"].as_array().unwrap().len());
        let Some(next) = page["next_page_uri"].as_str() else {
            break;
        };
        let prefix = format!("/2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}/");
        resource = next.strip_prefix(&prefix).unwrap().to_owned();
    }
    assert_eq!(sizes, [2, 2, 1]);
}

#[tokio::test]
async fn a_dual_recording_is_fetched_in_every_form() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    sim.buy_number(&customer).await;
    let call = sim.call(json!({"destination": {"talk_s": 21}})).await;
    let call_sid = call["call_sid"].as_str().unwrap();

    let list = format!("Calls/{call_sid}/Recordings.json");
    let listed = sim.get(&list).await.json();
    let recording = &listed["recordings"][0];
    assert_eq!(recording["status"], "completed");
    assert_eq!(recording["source"], "DialVerb");
    assert_eq!(recording["channels"], 2);
    // 21 s of talk, 3 s of whisper and 1 s to press the key.
    assert_eq!(recording["duration"], "25");
    let sid = recording["sid"].as_str().unwrap();
    let media = format!("Recordings/{sid}");

    for (suffix, channels) in
        [("", 2), (".wav", 2), (".wav?RequestedChannels=2", 2), (".wav?RequestedChannels=1", 1)]
    {
        let reply = sim.get(&format!("{media}{suffix}")).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.headers["content-type"], "audio/x-wav");
        let (format, found, seconds) = read_wav(&reply.body);
        assert_eq!((format, found, seconds), (7, channels, 25.0), "{suffix}");
    }
    let mp3 = sim.get(&format!("{media}.mp3?RequestedChannels=2")).await;
    assert_eq!(mp3.headers["content-type"], "audio/mpeg");
    let seconds = mp3.body.len() as f64 / 288.0 * 0.072;
    assert!((25.0..25.1).contains(&seconds), "{seconds}");

    let url = recording["media_url"].as_str().unwrap();
    assert_eq!(sim.raw(url, &[]).await.status, 401);
    let user = format!("{DEFAULT_ACCOUNT_SID}:{DEFAULT_AUTH_TOKEN}");
    let basic = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(user)
    };
    let basic = format!("Basic {basic}");
    let range = [("authorization", basic.as_str()), ("range", "bytes=0-57")];
    let part = sim.raw(url, &range).await;
    assert_eq!(part.status, 206);
    assert_eq!(part.body.len(), 58);
    assert!(part.headers["content-range"].to_str().unwrap().starts_with("bytes 0-57/"));

    let resource = format!("{media}.json");
    assert_eq!(sim.rest(Method::DELETE, &resource, &[]).await.status, 204);
    assert_eq!(sim.get(&format!("{media}.wav")).await.status, 404);
}

#[tokio::test]
async fn a_voicemail_is_mono_and_as_long_as_reported() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    customer.answers("/dial-done", VOICEMAIL);
    sim.buy_number(&customer).await;
    sim.call(json!({"destination": {"outcome": "no_answer"}, "voicemail": {"seconds": 14}})).await;

    let recording = customer.the("/recording");
    assert_eq!(recording.get("RecordingDuration"), "14");
    let sid = recording.get("RecordingSid");
    let media = format!("Recordings/{sid}.wav");
    let wav = sim.get(&media).await;
    assert_eq!(read_wav(&wav.body), (7, 1, 14.0));
    let dual = sim.get(&format!("{media}?RequestedChannels=2")).await;
    assert_eq!(dual.status, 400);

    let transcription = customer.the("/transcription");
    let resource = format!("Transcriptions/{}.json", transcription.get("TranscriptionSid"));
    let fetched = sim.get(&resource).await.json();
    assert_eq!(fetched["transcription_text"], transcription.get("TranscriptionText"));
    assert_eq!(fetched["duration"], "14");
}

#[tokio::test]
async fn calls_are_listed_with_their_legs_and_used_up_minutes() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    sim.buy_number(&customer).await;
    let call = sim.call(json!({"destination": {"talk_s": 100}})).await;
    let sid = call["call_sid"].as_str().unwrap();

    let one = sim.get(&format!("Calls/{sid}.json")).await.json();
    assert_eq!(one["status"], "completed");
    assert_eq!(one["direction"], "inbound");
    assert_eq!(one["duration"], call["duration_s"].to_string());
    let children = format!("Calls.json?ParentCallSid={sid}");
    let children = sim.get(&children).await.json();
    assert_eq!(children["calls"][0]["direction"], "outbound-dial");
    let future = "Calls.json?StartTime%3E=2999-01-01";
    let future = sim.get(future).await.json();
    assert_eq!(future["calls"], json!([]));

    let usage = "Usage/Records/ThisMonth.json?Category=calls-inbound";
    let usage = sim.get(usage).await.json();
    assert_eq!(usage["usage_records"][0]["usage"], "2");
    let balance = sim.get("Balance.json").await.json();
    assert_eq!(balance["currency"], "USD");
}

#[tokio::test]
async fn a_signalwire_account_has_its_own_dialect() {
    let (sim, customer) = (Sim::start().await, Customer::start().await);
    serve_tracker(&customer);
    let account = ("5eed5eed-0000-4000-8000-000000000001", "PT5eed");
    customer.accepts_token(account.1);
    let body = json!({"account_sid": account.0, "auth_token": account.1, "kind": "signalwire"});
    let added = sim.control(Method::POST, "/sim/accounts", body).await;
    assert_eq!(added.status, 201);
    let url = format!("{}/voice", customer.base_url);
    let form = [("PhoneNumber", NUMBER), ("VoiceUrl", url.as_str())];
    let mount = "/api/laml/2010-04-01";
    let bought = sim.rest_of(account, mount, Method::POST, "IncomingPhoneNumbers", &form);
    let bought = bought.await;
    assert_eq!(bought.status, 201);
    assert_eq!(bought.json()["sid"].as_str().unwrap().len(), 36);

    let call = sim.call(json!({})).await;

    assert_eq!(call["call_sid"].as_str().unwrap().len(), 36);
    customer.assert_all_signed();
    let voice = customer.the("/voice");
    assert_eq!(voice.get("AccountSid"), account.0);
    for absent in ["FromCity", "Caller", "CallToken", "StirVerstat"] {
        assert!(voice.find(absent).is_none(), "{absent}");
    }
    assert!(customer.the("/dial-done").find("DialBridged").is_none());
}

/// Format, channels and seconds of a WAV file.
#[track_caller]
fn read_wav(bytes: &[u8]) -> (u16, u16, f64) {
    let short = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(&bytes[8..16], b"WAVEfmt ");
    assert_eq!(word(24), 8000);
    let data = f64::from(word(54));
    assert_eq!(data as usize, bytes.len() - 58);
    (short(20), short(22), data / f64::from(word(28)))
}
