//! The sample of each type for trying an endpoint: every key that the contract promises, with made-up
//! values (numbers from the ranges kept for fiction).

use serde_json::{Value as Json, json};

use crate::events::EventType;
use crate::kernel::clock::Micros;
use crate::kernel::id::CompanyId;

/// `data` of the sample.
pub fn data(event: EventType, company: CompanyId, company_name: &str, now: Micros) -> Json {
    let mut data = match event {
        EventType::CallReceived => call("ringing", 0, 0, None),
        EventType::CallFinished => call("answered", 95, 61, None),
        EventType::CallRecordingAvailable => {
            call("answered", 95, 61, Some("https://example.com/recording.mp3"))
        }
        EventType::MessageReceived => message("incoming", "+12025550143", "+12025550101"),
        EventType::MessageSent => message("outgoing", "+12025550101", "+12025550143"),
        EventType::TrackerCreated | EventType::TrackerUpdated => tracker(),
        EventType::UsageCreated => usage(),
        EventType::VoicemailReceived => voicemail(),
    };
    data["company_id"] = json!(company);
    // The contract's voicemail and tracker times are their own: only what its examples have is set.
    if event != EventType::VoicemailReceived {
        data["company_name"] = json!(company_name);
    }
    if data.get("timestamp").is_some() {
        data["timestamp"] = json!(now.rfc3339());
    }
    data
}

fn call(status: &str, call_s: u32, recording_s: u32, recording: Option<&str>) -> Json {
    json!({
        "id": 1, "status": status, "timestamp": "", "tracker_id": 1, "tracker_name": "Sample tracker",
        "tracking_number": "+12025550101", "caller_number": "+12025550143", "caller_name": "Sample Caller",
        "caller_city": "Washington", "caller_state": "DC", "caller_zip": "20001", "caller_country": "US",
        "call_duration": call_s, "recording_duration": recording_s, "recording": recording,
        "is_first_time": true, "source_channel": "organic", "source_referrer": "https://www.example.com/",
        "source_keyword": "(not provided)", "landing_page": "https://example.com/",
        "pages_visited": ["https://example.com/"], "gclid": "", "visitor_ip": "192.0.2.1",
    })
}

fn message(direction: &str, from: &str, to: &str) -> Json {
    json!({
        "id": 1, "direction": direction, "from_number": from, "to_number": to, "body": "A sample text message",
        "tracker_id": 1, "tracker_name": "Sample tracker", "timestamp": "",
    })
}

fn tracker() -> Json {
    json!({
        "id": 1, "name": "Sample tracker", "tracker_type": "offline", "number_type": "local", "status": true,
        "phone_numbers": [{"number": "+12025550101", "status": true}], "number_pool_size": null,
        "destination": "+12025550102", "recording_enabled": true,
        "recording_message": "This call is recorded.", "whisper_enabled": true,
        "whisper_message": "A call from the sample tracker.", "swap_target": "", "campaign_source": "",
        "campaign_search_from": "", "campaign_search_for": "", "campaign_landing_page": "",
        "campaign_referral": "", "campaign_campaign_parameters": "",
    })
}

fn usage() -> Json {
    json!({
        "id": 1, "timestamp": "", "start_date": "2026-01-01", "end_date": "2026-02-01", "local_numbers": 2,
        "tollfree_numbers": 1, "local_minutes": 340, "tollfree_minutes": 55, "sms_messages": 12,
    })
}

fn voicemail() -> Json {
    json!({
        "id": 1, "call_id": 1, "tracker_id": 1, "tracker_name": "Sample tracker",
        "tracking_number": "+12025550101", "caller_number": "+12025550143",
        "recording": "https://example.com/voicemail.wav", "recording_duration": 14,
        "transcription": "Hello, this is a sample voicemail.",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_the_keys_of_the_contracts_examples() {
        for event in EventType::ALL {
            let path =
                format!("{}/tests/fixtures/contract/{}.json", env!("CARGO_MANIFEST_DIR"), event.as_str());
            let example: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            let sample = data(event, CompanyId(1), "Example", Micros(0));
            for (key, value) in example["data"].as_object().unwrap() {
                let ours = sample.get(key).unwrap_or_else(|| panic!("{}: {key}", event.as_str()));
                let same = std::mem::discriminant(ours) == std::mem::discriminant(value);
                assert!(same || key == "recording", "{}: {key}", event.as_str());
            }
        }
    }
}
