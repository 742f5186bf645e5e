//! TwiML into typed verbs. Strict as the carrier is: names and attributes are case-sensitive, what it does not know is a
//! warning (12200) and left out, what is not XML or not a `<Response>` is an error (12100).
//!
//! Decides what a document says, not what happens: see `interpreter`. Attribute names and defaults:
//! <https://www.twilio.com/docs/voice/twiml>.

use crate::xml::{self, Element};

pub use crate::twiml_attributes::Warning;
use crate::twiml_attributes::{Attributes, SCHEMA_WARNING};

/// A voice document.
#[derive(Debug, Default)]
pub struct Document {
    pub verbs: Vec<Verb>,
    pub warnings: Vec<Warning>,
}

/// The document cannot be executed: error 12100.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TwimlError(String);

#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    Prompt(Prompt),
    Gather(Gather),
    Dial(Dial),
    Record(Record),
    Redirect(Link),
    Reject { busy: bool },
    Hangup,
    StartRecording(StartRecording),
}

/// What a leg hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    Say { text: String, repeat: u32 },
    Play { url: String, repeat: u32 },
    PlayDigits { digits: String },
    Pause { seconds: u32 },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    Get,
    #[default]
    Post,
}

/// A URL as written in the document, and how to ask for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub url: String,
    pub method: Method,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Gather {
    pub dtmf: bool,
    pub speech: bool,
    /// Absent means the current document.
    pub action: Option<Link>,
    pub timeout_s: u32,
    pub num_digits: Option<u32>,
    pub finish_on_key: String,
    pub action_on_empty_result: bool,
    pub prompts: Vec<Prompt>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Dial {
    pub action: Option<Link>,
    pub timeout_s: u32,
    pub time_limit_s: u32,
    pub caller_id: Option<String>,
    pub answer_on_bridge: bool,
    pub sequential: bool,
    pub record: Option<DialRecord>,
    pub recording_callback: Option<RecordingCallback>,
    pub targets: Vec<Target>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialRecord {
    pub from_ringing: bool,
    pub dual: bool,
}

/// One destination of a Dial.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// A number, a SIP URI or a client's name.
    pub address: String,
    /// The whisper.
    pub url: Option<Link>,
    pub status_callback: Option<Link>,
    pub events: LegEvents,
}

/// Which steps of a leg its status callback wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegEvents {
    pub initiated: bool,
    pub ringing: bool,
    pub answered: bool,
    pub completed: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Absent means the current document, which is a loop in the making.
    pub action: Option<Link>,
    pub timeout_s: u32,
    pub finish_on_key: String,
    pub max_length_s: u32,
    pub play_beep: bool,
    pub trim_silence: bool,
    pub recording_callback: Option<RecordingCallback>,
    pub transcribe: bool,
    pub transcribe_callback: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StartRecording {
    pub dual: bool,
    pub recording_callback: Option<RecordingCallback>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RecordingCallback {
    pub link: Link,
    pub in_progress: bool,
    pub completed: bool,
    pub absent: bool,
}

/// Reads a voice document.
pub fn parse(body: &str) -> Result<Document, TwimlError> {
    let root = response(body)?;
    let mut document = Document::default();
    for element in &root.children {
        if let Some(verb) = verb(element, &mut document.warnings) {
            document.verbs.push(verb);
        }
    }
    warn_of_unreachable(&mut document);
    Ok(document)
}

/// The root of a voice or messaging document.
pub(crate) fn response(body: &str) -> Result<Element, TwimlError> {
    let root = xml::parse(body).map_err(TwimlError)?;
    if root.name == "Response" {
        Ok(root)
    } else {
        Err(TwimlError(format!("the root element is <{}>, not <Response>", root.name)))
    }
}

fn verb(element: &Element, warnings: &mut Vec<Warning>) -> Option<Verb> {
    let verb = match element.name.as_str() {
        "Say" | "Play" | "Pause" => Verb::Prompt(prompt(element, warnings)),
        "Gather" => Verb::Gather(gather(element, warnings)),
        "Dial" => Verb::Dial(dial(element, warnings)),
        "Record" => Verb::Record(record(element, warnings)),
        "Redirect" => Verb::Redirect(redirect(element, warnings)),
        "Reject" => Verb::Reject { busy: reject_is_busy(element, warnings) },
        "Hangup" => {
            Attributes::of(element, warnings).finish();
            Verb::Hangup
        }
        "Start" => Verb::StartRecording(start_recording(element, warnings)?),
        unknown => {
            warnings.push(Warning {
                code: SCHEMA_WARNING,
                text: format!("<{unknown}> is not a verb and was left out"),
            });
            return None;
        }
    };
    Some(verb)
}

fn prompt(element: &Element, warnings: &mut Vec<Warning>) -> Prompt {
    let mut attributes = Attributes::of(element, warnings);
    let prompt = match element.name.as_str() {
        "Pause" => Prompt::Pause { seconds: attributes.number("length", 1, 0..=600) },
        "Play" => {
            let repeat = attributes.number("loop", 1, 0..=1000);
            match attributes.text("digits") {
                Some(digits) => Prompt::PlayDigits { digits },
                None => Prompt::Play { url: element.text.trim().to_owned(), repeat },
            }
        }
        _say => {
            attributes.ignore(&["voice", "language"]);
            Prompt::Say {
                text: element.text.trim().to_owned(),
                repeat: attributes.number("loop", 1, 0..=1000),
            }
        }
    };
    attributes.finish();
    prompt
}

fn gather(element: &Element, warnings: &mut Vec<Warning>) -> Gather {
    let mut attributes = Attributes::of(element, warnings);
    let input = attributes.words("input", &["dtmf", "speech"], &["dtmf"]);
    attributes.ignore(&[
        "language",
        "hints",
        "speechTimeout",
        "maxSpeechTime",
        "profanityFilter",
        "partialResultCallback",
        "partialResultCallbackMethod",
        "speechModel",
        "enhanced",
        "bargeIn",
        "debug",
    ]);
    let mut gather = Gather {
        dtmf: input.iter().any(|word| word == "dtmf"),
        speech: input.iter().any(|word| word == "speech"),
        action: attributes.link("action", "method"),
        timeout_s: attributes.number("timeout", 5, 0..=600),
        num_digits: attributes.optional_number("numDigits", 1..=1000),
        finish_on_key: attributes.keys("finishOnKey", "#"),
        action_on_empty_result: attributes.flag("actionOnEmptyResult", false),
        prompts: Vec::new(),
    };
    attributes.finish();
    for child in &element.children {
        match child.name.as_str() {
            "Say" | "Play" | "Pause" => gather.prompts.push(prompt(child, warnings)),
            _other => warn_nesting(element, child, warnings),
        }
    }
    gather
}

fn dial(element: &Element, warnings: &mut Vec<Warning>) -> Dial {
    let mut attributes = Attributes::of(element, warnings);
    attributes.ignore(&[
        "trim",
        "recordingTrack",
        "ringTone",
        "hangupOnStar",
        "referUrl",
        "referMethod",
        "events",
    ]);
    let mut dial = Dial {
        action: attributes.link("action", "method"),
        timeout_s: attributes.number("timeout", 30, 1..=600),
        time_limit_s: attributes.number("timeLimit", 14_400, 1..=86_400),
        caller_id: attributes.text("callerId"),
        answer_on_bridge: attributes.flag("answerOnBridge", false),
        sequential: attributes.flag("sequential", false),
        record: dial_record(&mut attributes),
        recording_callback: recording_callback(&mut attributes),
        targets: Vec::new(),
    };
    attributes.finish();
    for child in &element.children {
        match child.name.as_str() {
            "Number" | "Sip" | "Client" => dial.targets.push(target(child, warnings)),
            _other => warn_nesting(element, child, warnings),
        }
    }
    let bare_number = element.text.trim();
    if element.children.is_empty() && !bare_number.is_empty() {
        dial.targets.push(Target {
            address: bare_number.to_owned(),
            url: None,
            status_callback: None,
            events: LegEvents::COMPLETED,
        });
    }
    dial
}

fn dial_record(attributes: &mut Attributes<'_, '_>) -> Option<DialRecord> {
    let kinds = [
        ("do-not-record", None),
        ("false", None),
        ("true", Some((false, false))),
        ("record-from-answer", Some((false, false))),
        ("record-from-answer-dual", Some((false, true))),
        ("record-from-ringing", Some((true, false))),
        ("record-from-ringing-dual", Some((true, true))),
    ];
    let kind = attributes.choice("record", &kinds, None);
    kind.map(|(from_ringing, dual)| DialRecord { from_ringing, dual })
}

fn target(element: &Element, warnings: &mut Vec<Warning>) -> Target {
    let mut attributes = Attributes::of(element, warnings);
    attributes.ignore(&[
        "sendDigits",
        "byoc",
        "username",
        "password",
        "machineDetection",
        "machineDetectionTimeout",
        "machineDetectionSpeechThreshold",
        "machineDetectionSpeechEndThreshold",
        "machineDetectionSilenceTimeout",
        "amdStatusCallback",
        "amdStatusCallbackMethod",
    ]);
    let names = ["initiated", "ringing", "answered", "completed"];
    let events = attributes.words("statusCallbackEvent", &names, &["completed"]);
    let wants = |name: &str| events.iter().any(|event| event == name);
    let text = element.text.trim();
    let target = Target {
        address: if element.name == "Client" { format!("client:{text}") } else { text.to_owned() },
        url: attributes.link("url", "method"),
        status_callback: attributes.link("statusCallback", "statusCallbackMethod"),
        events: LegEvents {
            initiated: wants("initiated"),
            ringing: wants("ringing"),
            answered: wants("answered"),
            completed: wants("completed"),
        },
    };
    attributes.finish();
    target
}

fn record(element: &Element, warnings: &mut Vec<Warning>) -> Record {
    let mut attributes = Attributes::of(element, warnings);
    attributes.ignore(&["recordingTrack", "transcribeLanguage"]);
    let transcribe_callback = attributes.text("transcribeCallback");
    let trims = [("trim-silence", true), ("do-not-trim", false)];
    let record = Record {
        action: attributes.link("action", "method"),
        timeout_s: attributes.number("timeout", 5, 0..=600),
        finish_on_key: attributes.keys("finishOnKey", "1234567890*#"),
        max_length_s: attributes.number("maxLength", 3600, 1..=14_400),
        play_beep: attributes.flag("playBeep", true),
        trim_silence: attributes.choice("trim", &trims, true),
        recording_callback: recording_callback(&mut attributes),
        transcribe: attributes.flag("transcribe", false) || transcribe_callback.is_some(),
        transcribe_callback,
    };
    attributes.finish();
    record
}

fn start_recording(element: &Element, warnings: &mut Vec<Warning>) -> Option<StartRecording> {
    Attributes::of(element, warnings).finish();
    let mut started = None;
    for child in &element.children {
        if child.name != "Recording" || started.is_some() {
            warn_nesting(element, child, warnings);
            continue;
        }
        let mut attributes = Attributes::of(child, warnings);
        attributes.ignore(&["trim", "track", "recordingTrack"]);
        let channels = [("dual", true), ("mono", false)];
        started = Some(StartRecording {
            dual: attributes.choice("channels", &channels, true),
            recording_callback: recording_callback(&mut attributes),
        });
        attributes.finish();
    }
    started
}

fn recording_callback(attributes: &mut Attributes<'_, '_>) -> Option<RecordingCallback> {
    let names = ["in-progress", "completed", "absent"];
    let events = attributes.words("recordingStatusCallbackEvent", &names, &["completed"]);
    let wants = |name: &str| events.iter().any(|event| event == name);
    let link = attributes.link("recordingStatusCallback", "recordingStatusCallbackMethod")?;
    Some(RecordingCallback {
        link,
        in_progress: wants("in-progress"),
        completed: wants("completed"),
        absent: wants("absent"),
    })
}

fn redirect(element: &Element, warnings: &mut Vec<Warning>) -> Link {
    let mut attributes = Attributes::of(element, warnings);
    let method = attributes.method("method");
    attributes.finish();
    Link { url: element.text.trim().to_owned(), method }
}

fn reject_is_busy(element: &Element, warnings: &mut Vec<Warning>) -> bool {
    let mut attributes = Attributes::of(element, warnings);
    let reasons = [("busy", true), ("rejected", false)];
    let busy = attributes.choice("reason", &reasons, false);
    attributes.finish();
    busy
}

fn warn_nesting(parent: &Element, child: &Element, warnings: &mut Vec<Warning>) {
    warnings.push(Warning {
        code: SCHEMA_WARNING,
        text: format!("<{}> may not stand in <{}>", child.name, parent.name),
    });
}

/// A verb that never gives control back makes what follows it dead text.
fn warn_of_unreachable(document: &mut Document) {
    let last = document.verbs.len().saturating_sub(1);
    let ends = document.verbs.iter().position(|verb| match verb {
        Verb::Redirect(_) | Verb::Reject { .. } | Verb::Hangup | Verb::Record(_) => true,
        Verb::Dial(dial) => dial.action.is_some(),
        Verb::Prompt(_) | Verb::Gather(_) | Verb::StartRecording(_) => false,
    });
    if let Some(position) = ends.filter(|position| *position < last) {
        document.warnings.push(Warning {
            code: SCHEMA_WARNING,
            text: format!("the verbs after verb {} are not reached", position + 1),
        });
    }
}

impl LegEvents {
    /// What the carrier reports when the document does not say.
    pub const COMPLETED: Self = Self { initiated: false, ringing: false, answered: false, completed: true };
}
