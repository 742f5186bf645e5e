//! The TwiML parser, table by table.

use carrier_sim::twiml::{LegEvents, Method, Prompt, Verb, parse};

#[track_caller]
fn verbs(body: &str) -> Vec<Verb> {
    let document = parse(&format!("<Response>{body}</Response>")).unwrap();
    assert_eq!(document.warnings, [], "{body}");
    document.verbs
}

#[track_caller]
fn verb(body: &str) -> Verb {
    let mut verbs = verbs(body);
    assert_eq!(verbs.len(), 1, "{body}");
    verbs.remove(0)
}

#[test]
fn prompts_are_read() {
    for (body, prompt) in [
        (
            r#"<Say voice="alice" language="en-US" loop="2"> Hi &amp; bye <break strength="weak"/></Say>"#,
            Prompt::Say { text: "Hi & bye".to_owned(), repeat: 2 },
        ),
        ("<Play>/a.wav?x=1</Play>", Prompt::Play { url: "/a.wav?x=1".to_owned(), repeat: 1 }),
        (r#"<Play digits="ww12"/>"#, Prompt::PlayDigits { digits: "ww12".to_owned() }),
        ("<Pause/>", Prompt::Pause { seconds: 1 }),
        (r#"<Pause length="5"/>"#, Prompt::Pause { seconds: 5 }),
    ] {
        assert_eq!(verb(body), Verb::Prompt(prompt), "{body}");
    }
}

#[test]
fn a_dial_has_the_carriers_defaults() {
    let Verb::Dial(dial) = verb("<Dial>+12705550101</Dial>") else {
        panic!("not a Dial");
    };
    assert_eq!((dial.timeout_s, dial.time_limit_s), (30, 14_400));
    assert!(dial.action.is_none() && dial.record.is_none() && !dial.answer_on_bridge);
    assert_eq!(dial.targets[0].address, "+12705550101");
    assert_eq!(dial.targets[0].events, LegEvents::COMPLETED);
}

#[test]
fn a_dial_is_read_with_its_numbers_and_recording() {
    let Verb::Dial(dial) = verb(
        r#"<Dial action="/d" method="GET" record="record-from-answer-dual" recordingStatusCallback="/r"
            recordingStatusCallbackEvent="in-progress absent" sequential="true" callerId="+12705550100">
            <Number url="/w" statusCallback="/l" statusCallbackEvent="initiated answered">+12705550101</Number>
            <Sip>sip:a@b.test</Sip><Client>joe</Client></Dial>"#,
    ) else {
        panic!("not a Dial");
    };
    assert_eq!(dial.action.unwrap().method, Method::Get);
    let record = dial.record.unwrap();
    assert!(record.dual && !record.from_ringing);
    let callback = dial.recording_callback.unwrap();
    assert!(callback.in_progress && callback.absent && !callback.completed);
    let number = &dial.targets[0];
    assert_eq!(number.url.as_ref().unwrap().url, "/w");
    assert!(number.events.initiated && number.events.answered);
    assert!(!number.events.ringing && !number.events.completed);
    assert_eq!(dial.targets[2].address, "client:joe");
}

#[test]
fn record_and_gather_have_the_carriers_defaults() {
    let Verb::Record(record) = verb("<Record/>") else {
        panic!("not a Record");
    };
    assert_eq!((record.timeout_s, record.max_length_s), (5, 3600));
    assert_eq!(record.finish_on_key, "1234567890*#");
    assert!(record.play_beep && record.trim_silence && !record.transcribe);
    let Verb::Gather(gather) = verb(r#"<Gather finishOnKey=""><Say>Hi</Say></Gather>"#) else {
        panic!("not a Gather");
    };
    assert!(gather.dtmf && !gather.speech && gather.num_digits.is_none());
    assert_eq!(gather.finish_on_key, "");
    assert_eq!(gather.prompts.len(), 1);
}

#[test]
fn a_transcription_callback_asks_for_a_transcription() {
    let Verb::Record(record) = verb(r#"<Record action="/a" transcribeCallback="/t"/>"#) else {
        panic!("not a Record");
    };
    assert!(record.transcribe);
}

#[test]
fn the_short_verbs_are_read() {
    assert_eq!(verb("<Hangup/>"), Verb::Hangup);
    assert_eq!(verb("<Reject/>"), Verb::Reject { busy: false });
    assert_eq!(verb(r#"<Reject reason="busy"/>"#), Verb::Reject { busy: true });
    let Verb::Redirect(link) = verb("<Redirect method=\"POST\"> /next </Redirect>") else {
        panic!("not a Redirect");
    };
    assert_eq!(link.url, "/next");
    let Verb::StartRecording(start) = verb(r#"<Start><Recording recordingStatusCallback="/r"/></Start>"#)
    else {
        panic!("not a Start");
    };
    assert!(start.dual);
}

#[test]
fn what_the_carrier_does_not_know_is_a_warning() {
    for (body, verbs) in [
        ("<say>Hi</say>", 0),
        ("<Number>+12705550101</Number>", 0),
        (r#"<Say Voice="alice">Hi</Say>"#, 1),
        (r#"<Dial timeout="soon">+12705550101</Dial>"#, 1),
        (r#"<Dial timeout="601">+12705550101</Dial>"#, 1),
        ("<Dial><Say>Hi</Say></Dial>", 1),
        ("<Gather><Dial>+12705550101</Dial></Gather>", 1),
        (r#"<Record finishOnKey="x"/>"#, 1),
        (r#"<Dial record="yes">+12705550101</Dial>"#, 1),
        (r#"<Reject reason="Busy"/>"#, 1),
        ("<Hangup/><Say>never</Say>", 2),
        (r#"<Dial action="/d">+12705550101</Dial><Say>never</Say>"#, 2),
    ] {
        let document = parse(&format!("<Response>{body}</Response>")).unwrap();
        assert_eq!(document.verbs.len(), verbs, "{body}");
        assert_eq!(document.warnings.len(), 1, "{body}: {:?}", document.warnings);
        assert_eq!(document.warnings[0].code, 12_200);
    }
}

#[test]
fn what_is_not_a_response_is_an_error() {
    for body in ["", "Hello", "<response/>", "<Say>Hi</Say>", "<Response><Say>Hi</Response>", "{\"a\": 1}"] {
        assert!(parse(body).is_err(), "{body}");
    }
}
