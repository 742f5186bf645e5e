use super::*;
use crate::calls::update::{Arrival, Attestation, DialEnd, DialOutcome, End, Fact, Geo, Leg, LegState};
use crate::kernel::phone::PhoneNumber;
use crate::messages::update::{self as message, OptOut};
use crate::recordings::update::{self as recording, Audio, Outcome};

/// The parameters of a request that was captured from the carrier, its values made up.
const VOICE: &str = "Called=%2B13235550134&ToState=CA&CallerCountry=US&Direction=inbound&CallerState=CA&ToZip=\
    &CallSid=CA45010000000000000000000000000001&To=%2B13235550134&CallerZip=91604&ToCountry=US\
    &StirVerstat=TN-Validation-Passed-A&CallToken=%7B%7D&CalledZip=&ApiVersion=2010-04-01&CalledCity=\
    &CallStatus=ringing&From=%2B18183219876&AccountSid=AC1&CalledCountry=US&CallerCity=LOS+ANGELES&ToCity=\
    &FromCountry=US&Caller=%2B18183219876&FromCity=LOS+ANGELES&CalledState=CA&FromZip=91604&FromState=CA";

const PARENT: &str = "CallSid=CA1&AccountSid=AC1&From=%2B18183219876&To=%2B13235550134&Direction=inbound";
const CHILD: &str = "CallSid=CA2&ParentCallSid=CA1&AccountSid=AC1&Direction=outbound-dial";

fn told(hook: Hook, form: &str) -> Result<Told, BadForm> {
    decode(hook, HookQuery::default(), &Form::parse(form.as_bytes()).unwrap())
}

/// The fact told of the call CA1.
fn fact(hook: Hook, form: &str) -> Fact {
    match told(hook, form) {
        Ok(Told::Call(update)) if update.carrier_call_id == "CA1" => update.fact,
        other => panic!("{form}: {other:?}"),
    }
}

fn arrived(form: &str) -> Arrival {
    match fact(Hook::Voice, form) {
        Fact::Arrived(arrival) => arrival,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_real_voice_request_becomes_an_arrival() {
    let Ok(Told::Call(update)) = told(Hook::Voice, VOICE) else { panic!("not a call") };
    assert_eq!(update.carrier_call_id, "CA45010000000000000000000000000001");
    let arrival = Arrival {
        from: PhoneNumber::from_e164("+18183219876"),
        to: "+13235550134".to_owned(),
        forwarded_from: String::new(),
        caller_name: String::new(),
        geo: Geo {
            city: "Los Angeles".to_owned(),
            state: "CA".to_owned(),
            zip: "91604".to_owned(),
            country: "US".to_owned(),
        },
        attestation: Attestation::A,
    };
    assert_eq!(update.fact, Fact::Arrived(arrival));
}

#[test]
fn a_sparse_voice_request_is_enough() {
    let arrival = arrived("CallSid=CA1&To=sip:sales@example.com&From=anonymous&FromCountry=Narnia&New=thing");
    assert_eq!((arrival.from, arrival.to.as_str()), (None, "sip:sales@example.com"));
    assert_eq!((arrival.geo, arrival.attestation), (Geo::default(), Attestation::None));
    let named = arrived(&format!("{PARENT}&CallerName=+ANN%00%07+LEE+&ForwardedFrom=%2B13235550199"));
    assert_eq!((named.caller_name.as_str(), named.forwarded_from.as_str()), ("ANN LEE", "+13235550199"));
    let long = arrived(&format!("CallSid=CA1&To={}&CallerName={}", "9".repeat(999), "é".repeat(999)));
    assert_eq!((long.to.chars().count(), long.caller_name.chars().count()), (128, 100));
}

#[test]
fn a_call_without_identity_is_refused() {
    assert_eq!(told(Hook::Voice, "To=%2B1"), Err(BadForm::Missing("CallSid")));
    assert_eq!(told(Hook::Voice, "CallSid=CA1"), Err(BadForm::Missing("To")));
    assert_eq!(told(Hook::Voice, "CallSid=../x&To=1"), Err(BadForm::BadId("CallSid")));
    assert_eq!(told(Hook::Voice, "CallSid=CA1&Direction=outbound-api"), Ok(Told::Nothing));
    for hook in [Hook::Whisper, Hook::LegStatus] {
        assert_eq!(
            told(hook, "CallSid=CA2&CallStatus=ringing"),
            Err(BadForm::Missing("ParentCallSid")),
            "{hook:?}"
        );
    }
    for hook in Hook::ALL {
        assert!(matches!(told(hook, ""), Err(_) | Ok(Told::Nothing)), "{hook:?}");
    }
}

#[test]
fn an_arrival_can_be_rebuilt_from_what_follows_it() {
    let later = format!("{PARENT}&CallStatus=completed&DialCallStatus=busy&FromCity=RENO");
    let update = arrival_of(&Form::parse(later.as_bytes()).unwrap()).unwrap();
    assert!(matches!(&update.fact, Fact::Arrived(arrival) if arrival.geo.city == "Reno"), "{update:?}");
    for other in [
        format!("{CHILD}&From=%2B18183219876&To=%2B1"),
        PARENT.replace("inbound", "outbound-api"),
        "CallSid=CA1&RecordingSid=RE1".to_owned(),
        "From=%2B18183219876&To=%2B1&Direction=inbound".to_owned(),
        String::new(),
    ] {
        assert_eq!(arrival_of(&Form::parse(other.as_bytes()).unwrap()), None, "{other}");
    }
}

#[test]
fn the_dial_tells_how_the_destination_did() {
    let cases = [
        ("completed&DialBridged=true&DialCallDuration=186", DialOutcome::Completed, Some(true), Some(186)),
        ("completed&DialBridged=false", DialOutcome::Completed, Some(false), None),
        ("answered", DialOutcome::Completed, None, None),
        ("busy", DialOutcome::Busy, None, None),
        ("no-answer&DialCallDuration=", DialOutcome::NoAnswer, None, None),
        ("failed&DialCallDuration=-1", DialOutcome::Failed, None, None),
        ("canceled", DialOutcome::Canceled, None, None),
        ("no-answer&CallStatus=in-progress", DialOutcome::NoAnswer, None, None),
        ("no-answer&CallStatus=completed", DialOutcome::Canceled, None, None),
        ("a-new-word", DialOutcome::Failed, None, None),
    ];
    for (status, outcome, bridged, duration_s) in cases {
        let end = DialEnd { outcome, bridged, duration_s };
        assert_eq!(
            fact(Hook::Dial, &format!("{PARENT}&DialCallStatus={status}")),
            Fact::DialEnded(end),
            "{status}"
        );
    }
    assert_eq!(told(Hook::Dial, PARENT), Err(BadForm::Missing("DialCallStatus")));
}

#[test]
fn the_destinations_leg_is_told_of_under_its_parent() {
    let cases = [
        ("initiated&SequenceNumber=0", LegState::Initiated, Some(0)),
        ("ringing&SequenceNumber=1", LegState::Ringing, Some(1)),
        ("in-progress&SequenceNumber=2", LegState::Answered, Some(2)),
        ("completed&SequenceNumber=3", LegState::Ended(DialOutcome::Completed), Some(3)),
        ("no-answer", LegState::Ended(DialOutcome::NoAnswer), None),
    ];
    for (status, state, sequence) in cases {
        let leg = Fact::Leg(Leg { state, sequence });
        assert_eq!(fact(Hook::LegStatus, &format!("{CHILD}&CallStatus={status}")), leg, "{status}");
    }
    assert_eq!(told(Hook::LegStatus, &format!("{CHILD}&CallStatus=dreaming")), Ok(Told::Nothing));
    assert_eq!(fact(Hook::Whisper, CHILD), Fact::WhisperStarted);
    assert_eq!(told(Hook::Gather, &format!("{CHILD}&Digits=1")), Ok(Told::Nothing));
}

#[test]
fn only_a_final_status_of_the_callers_leg_ends_the_call() {
    let ended = fact(Hook::CallStatus, &format!("{PARENT}&CallStatus=completed&CallDuration=219&Duration=4"));
    assert_eq!(ended, Fact::Ended(End { outcome: DialOutcome::Completed, duration_s: Some(219) }));
    for form in
        [format!("{PARENT}&CallStatus=ringing"), format!("{CHILD}&CallStatus=completed"), PARENT.to_owned()]
    {
        assert_eq!(told(Hook::CallStatus, &form), Ok(Told::Nothing), "{form}");
    }
    let voicemail = fact(Hook::Record, &format!("{PARENT}&RecordingDuration=17&Digits=hangup"));
    assert_eq!(voicemail, Fact::VoicemailEnded { duration_s: Some(17) });
}

#[test]
fn recordings_are_of_the_call_unless_the_verb_or_our_query_says_voicemail() {
    let update = |query: &str, form: &str| {
        let form = Form::parse(format!("CallSid=CA1&RecordingSid=RE1&{form}").as_bytes()).unwrap();
        match decode(Hook::Recording, HookQuery::parse(query), &form) {
            Ok(Told::Recording(update)) => (update.kind.unwrap(), update.outcome),
            other => panic!("{other:?}"),
        }
    };
    let done =
        "RecordingStatus=completed&RecordingUrl=https://h/RE1&RecordingDuration=186&RecordingChannels=2";
    let audio = Audio { duration_s: 186, media_url: "https://h/RE1".to_owned(), channels: 2 };
    let expected = (recording::Kind::Call, Outcome::Completed(audio));
    assert_eq!(update("", &format!("{done}&RecordingSource=DialVerb")), expected);
    assert_eq!(update("call=7", "RecordingStatus=absent").0, recording::Kind::Call);
    assert_eq!(
        update("kind=voicemail", "RecordingStatus=absent"),
        (recording::Kind::Voicemail, Outcome::Absent)
    );
    let failed = update("", "RecordingStatus=failed&RecordingSource=RecordVerb");
    assert_eq!(failed, (recording::Kind::Voicemail, Outcome::Failed));
    assert_eq!(update("", "RecordingStatus=in-progress").1, Outcome::InProgress);
    let deleted = "CallSid=CA1&RecordingSid=RE1&RecordingStatus=deleted";
    assert_eq!(told(Hook::Recording, deleted), Ok(Told::Nothing));
    let nowhere = "CallSid=CA1&RecordingSid=RE1&RecordingStatus=completed";
    assert_eq!(told(Hook::Recording, nowhere), Err(BadForm::Missing("RecordingUrl")));
}

#[test]
fn a_transcription_is_a_text_or_a_failure() {
    let text = |form: &str| match told(Hook::Transcription, &format!("CallSid=CA1&RecordingSid=RE1&{form}")) {
        Ok(Told::Transcription(update)) => update.text,
        other => panic!("{other:?}"),
    };
    let done = text("TranscriptionStatus=completed&TranscriptionText=Call+me%0Aback.");
    assert_eq!(done.as_deref(), Some("Call me\nback."));
    assert_eq!(text("TranscriptionStatus=failed&TranscriptionText=junk"), None);
    assert_eq!(told(Hook::Transcription, "TranscriptionStatus=in-progress"), Ok(Told::Nothing));
}

#[test]
fn messages_arrive_with_text_and_files() {
    let form = "MessageSid=MM1&From=%2B18183219876&To=%2B13235550134&Body=Hi+%F0%9F%91%8B%00%0Athere&NumMedia=3\
        &NumSegments=2&MediaUrl0=https://h/ME0&MediaContentType0=image/jpeg&MediaUrl2=https://h/ME2";
    let Ok(Told::Message(arrival)) = told(Hook::Message, form) else { panic!("not a message") };
    assert_eq!((arrival.carrier_message_id.as_str(), arrival.body.as_str()), ("MM1", "Hi 👋\nthere"));
    let file = |url: &str, kind: &str| message::Media { url: url.to_owned(), content_type: kind.to_owned() };
    assert_eq!(arrival.media, [file("https://h/ME0", "image/jpeg"), file("https://h/ME2", "")]);
    assert_eq!((arrival.segments, arrival.opt_out), (2, None));
    let many: String = (0..20).map(|n| format!("&MediaUrl{n}=https://h/{n}")).collect();
    let Ok(Told::Message(short)) =
        told(Hook::Message, &format!("SmsSid=SM1&From=40404&To=1&NumMedia=20{many}"))
    else {
        panic!("not a message")
    };
    assert_eq!((short.carrier_message_id.as_str(), short.from, short.segments), ("SM1", None, 1));
    assert_eq!(short.media.len(), 10);
}

#[test]
fn opting_out_is_the_carriers_verdict_or_the_whole_message() {
    let opt_out = |form: &str| match told(Hook::Message, &format!("MessageSid=SM1&To=1&{form}")) {
        Ok(Told::Message(arrival)) => arrival.opt_out,
        other => panic!("{other:?}"),
    };
    let cases = [
        ("Body=+stop%0A", Some(OptOut::Stop)),
        ("Body=Unsubscribe", Some(OptOut::Stop)),
        ("Body=START", Some(OptOut::Start)),
        ("Body=help", Some(OptOut::Help)),
        ("Body=please+stop", None),
        ("Body=Arret&OptOutType=STOP", Some(OptOut::Stop)),
        ("Body=stop&OptOutType=HELP", Some(OptOut::Help)),
        ("Body=", None),
    ];
    for (form, expected) in cases {
        assert_eq!(opt_out(form), expected, "{form}");
    }
}

#[test]
fn a_message_is_followed_by_its_states() {
    let state = |form: &str| match told(Hook::MessageStatus, &format!("MessageSid=SM1&{form}")) {
        Ok(Told::MessageStatus(status)) => Some((status.state, status.error_code)),
        Ok(Told::Nothing) => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(state("MessageStatus=sent&SmsStatus=queued"), Some((message::State::Sent, None)));
    assert_eq!(state("SmsStatus=delivered&ErrorCode=0"), Some((message::State::Delivered, None)));
    let undelivered = Some((message::State::Undelivered, Some(30003)));
    assert_eq!(state("MessageStatus=undelivered&ErrorCode=30003"), undelivered);
    assert_eq!(state("MessageStatus=received"), None);
}

proptest::proptest! {
    #[test]
    fn no_body_makes_reading_panic(bytes: Vec<u8>, query in "\\PC*") {
        if let Ok(form) = Form::parse(&bytes) {
            for hook in Hook::ALL {
                let _ = decode(hook, HookQuery::parse(&query), &form);
            }
            let _ = arrival_of(&form);
        }
    }

    #[test]
    fn no_value_makes_reading_panic(value in "\\PC{0,40}", other in "\\PC{0,40}", n in 0_usize..9) {
        let names = ["From", "FromCity", "FromCountry", "Body", "NumMedia", "StirVerstat", "To", "CallStatus", "X"];
        let mut form = form_urlencoded::Serializer::new(format!("{PARENT}&ParentCallSid=CA0&MessageSid=SM1"));
        form.append_pair(names[n], &value).append_pair("MediaUrl0", &other);
        let form = Form::parse(form.finish().as_bytes()).unwrap();
        for hook in Hook::ALL {
            let _ = decode(hook, HookQuery::default(), &form);
        }
    }
}
