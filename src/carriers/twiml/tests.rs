use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use url::Url;

use super::*;
use crate::kernel::id::CallId;
use crate::kernel::phone::PhoneNumber;

/// An element as a carrier's parser would see it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
    children: Vec<Element>,
}

impl Element {
    fn new(name: &str, attributes: &[(&str, &str)]) -> Element {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Element {
            name: name.to_owned(),
            attributes: attributes.iter().map(owned).collect(),
            ..Element::default()
        }
    }

    fn with_text(mut self, text: &str) -> Element {
        self.text = text.to_owned();
        self
    }

    fn with(mut self, children: Vec<Element>) -> Element {
        self.children = children;
        self
    }
}

fn opened(start: &BytesStart<'_>) -> Element {
    let attributes = start.attributes().map(|attribute| {
        let attribute = attribute.unwrap();
        let value = quick_xml::escape::unescape(&attribute.value).unwrap().into_owned();
        (attribute.key.as_ref().to_owned(), value)
    });
    Element { name: start.name().as_ref().to_owned(), attributes: attributes.collect(), ..Element::default() }
}

/// Reads a document with checks on, so that what isn't well-formed panics.
fn parse(xml: &str) -> Element {
    let mut reader = Reader::from_str(xml);
    let mut stack = vec![Element::default()];
    loop {
        let event = reader.read_event().unwrap();
        let top = stack.last_mut().unwrap();
        match event {
            Event::Start(start) => stack.push(opened(&start)),
            Event::Empty(start) => top.children.push(opened(&start)),
            Event::Text(text) => top.text.push_str(&text.xml10_content()),
            Event::GeneralRef(entity) => {
                let escaped = format!("&{};", entity.xml10_content());
                top.text.push_str(&quick_xml::escape::unescape(&escaped).unwrap());
            }
            Event::End(_) => {
                let done = stack.pop().unwrap();
                stack.last_mut().unwrap().children.push(done);
            }
            Event::Eof => break,
            other => panic!("unexpected {other:?} in {xml}"),
        }
    }
    let mut root = stack.pop().unwrap();
    assert_eq!((root.children.len(), root.text.as_str(), stack.len()), (1, "", 0), "{xml}");
    root.children.remove(0)
}

fn urls() -> HookUrls {
    HookUrls::new(&Url::parse("https://h.example").unwrap(), "tok", Some(CallId(59179)))
}

fn rendered(steps: Vec<Step>) -> Vec<Element> {
    let root = parse(&render(&Plan { steps }, &urls()));
    assert_eq!((root.name.as_str(), root.attributes.len(), root.text.as_str()), ("Response", 0, ""));
    root.children
}

fn dial(record: bool, whisper: bool) -> Step {
    let destination = PhoneNumber::from_e164("+12703152766").unwrap();
    Step::Dial(Dial { destination, ring_timeout_s: 25, time_limit_s: 7200, record, whisper })
}

fn said(text: &str) -> Element {
    Element::new("Say", &[]).with_text(text)
}

const ACTION: (&str, &str) = ("action", "https://h.example/carrier/tok/dial?call=59179");
const TIMES: [(&str, &str); 2] = [("timeout", "25"), ("timeLimit", "7200")];
const LEG: (&str, &str) = ("statusCallback", "https://h.example/carrier/tok/leg-status?call=59179");
const LEG_EVENTS: (&str, &str) = ("statusCallbackEvent", "initiated ringing answered completed");

#[test]
fn disclosure_recording_and_whisper_are_all_in_one_document() {
    let number = Element::new(
        "Number",
        &[("url", "https://h.example/carrier/tok/whisper?call=59179"), LEG, LEG_EVENTS],
    );
    let expected = Element::new(
        "Dial",
        &[
            ACTION,
            TIMES[0],
            TIMES[1],
            ("record", "record-from-answer-dual"),
            ("recordingStatusCallback", "https://h.example/carrier/tok/recording?call=59179"),
            ("recordingStatusCallbackEvent", "completed absent"),
        ],
    )
    .with(vec![number.with_text("+12703152766")]);
    let steps = vec![Step::Say("This call may be recorded.".to_owned()), dial(true, true)];
    assert_eq!(rendered(steps), [said("This call may be recorded."), expected]);
}

#[test]
fn a_dial_that_stands_first_lets_the_caller_hear_the_ringing() {
    let expected = Element::new("Dial", &[ACTION, TIMES[0], TIMES[1], ("answerOnBridge", "true")])
        .with(vec![Element::new("Number", &[LEG, LEG_EVENTS]).with_text("+12703152766")]);
    assert_eq!(rendered(vec![dial(false, false), Step::Hangup]), [expected]);
    let unspoken = rendered(vec![Step::Say(" ".to_owned()), dial(false, false)]);
    assert!(
        unspoken[0].attributes.contains(&("answerOnBridge".to_owned(), "true".to_owned())),
        "{unspoken:?}"
    );
}

#[test]
fn a_voicemail_is_a_greeting_and_a_recording() {
    let voicemail = |transcribe| {
        let greeting = "Please leave a message.".to_owned();
        Step::Voicemail(Voicemail { greeting, max_s: 119, silence_s: 5, transcribe })
    };
    let mut attributes = vec![
        ("action", "https://h.example/carrier/tok/record?call=59179"),
        ("maxLength", "119"),
        ("timeout", "5"),
        ("finishOnKey", "#"),
        ("playBeep", "true"),
        ("recordingStatusCallback", "https://h.example/carrier/tok/recording?call=59179&kind=voicemail"),
        ("recordingStatusCallbackEvent", "completed absent"),
    ];
    let greeting = || said("Please leave a message.");
    assert_eq!(rendered(vec![voicemail(false)]), [greeting(), Element::new("Record", &attributes)]);
    attributes.push(("transcribe", "true"));
    attributes.push(("transcribeCallback", "https://h.example/carrier/tok/transcription?call=59179"));
    assert_eq!(rendered(vec![voicemail(true)]), [greeting(), Element::new("Record", &attributes)]);
}

#[test]
fn the_short_documents_are_exactly_these() {
    assert_eq!(empty(), "<Response/>");
    assert_eq!(render(&Plan { steps: vec![] }, &urls()), "<Response/>");
    assert_eq!(render_hangup(), "<Response><Hangup/></Response>");
    let blocked = Plan { steps: vec![Step::Reject, Step::Say("unreachable".to_owned())] };
    assert_eq!(render(&blocked, &urls()), r#"<Response><Reject reason="busy"/></Response>"#);
    let whisper = Whisper { message: "Call from Google Ads.".to_owned() };
    assert_eq!(render_whisper(&whisper), "<Response><Say>Call from Google Ads.</Say></Response>");
    let replies = ["Thanks!".to_owned(), " ".to_owned()];
    assert_eq!(messages(&replies), "<Response><Message>Thanks!</Message></Response>");
    assert_eq!(messages(&[]), "<Response/>");
}

#[test]
fn hostile_texts_stay_texts() {
    let cases = [
        ("<script>alert('x')</script>", "<script>alert('x')</script>"),
        ("</Say><Dial>+1900</Dial>", "</Say><Dial>+1900</Dial>"),
        ("a ]]> b <![CDATA[ c", "a ]]> b <![CDATA[ c"),
        ("Tom & Jerry's \"shop\" &amp; &#0; &x;", "Tom & Jerry's \"shop\" &amp; &#0; &x;"),
        ("<!-- a --> <?xml?> <!DOCTYPE x>", "<!-- a --> <?xml?> <!DOCTYPE x>"),
        ("👩‍👩‍👧 ünï \u{2028}", "👩‍👩‍👧 ünï \u{2028}"),
        ("a\0b\u{1}c\u{FFFF}d\u{FFFE}e\u{1B}f", "abcdef"),
        ("one\r\ntwo\rthree\n\tfour", "one\ntwo\nthree\n\tfour"),
    ];
    for (text, spoken) in cases {
        assert_eq!(rendered(vec![Step::Say(text.to_owned())]), [said(spoken)], "{text:?}");
    }
    for silent in ["", "  \n", "\0\u{FFFF}"] {
        assert_eq!(render(&Plan { steps: vec![Step::Say(silent.to_owned())] }, &urls()), "<Response/>");
    }
}

#[test]
fn texts_are_cut_to_the_carriers_limit_by_characters() {
    let long = rendered(vec![Step::Say("é".repeat(5_000))]);
    assert_eq!(long[0].text.chars().count(), SAY_CHARS_MAX);
    let reply = parse(&messages(&["é".repeat(5_000)]));
    assert_eq!(reply.children[0].text.chars().count(), MESSAGE_CHARS_MAX);
}

proptest::proptest! {
    #[test]
    fn any_text_is_said_as_it_is(text: String) {
        let spoken = writable(&text, SAY_CHARS_MAX);
        let expected = if spoken.trim().is_empty() { vec![] } else { vec![said(&spoken)] };
        proptest::prop_assert_eq!(rendered(vec![Step::Say(text.clone())]), expected);
        let whisper = parse(&render_whisper(&Whisper { message: text }));
        proptest::prop_assert!(whisper.children.len() <= 1);
    }
}
