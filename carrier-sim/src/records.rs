//! The carrier's records: what the REST API shows and the callbacks report of numbers, calls, recordings, transcriptions
//! and messages. Decides the words of every status; holds no rules about when one becomes another.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use crate::account::AccountKind;
use crate::clock::whole_seconds;
use crate::media::Sound;
use crate::scenario::CallScript;
use crate::stock;

/// Where a number is, as the carrier writes it: the city in capitals, unknown parts empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geography {
    pub city: String,
    pub state: String,
    pub zip: String,
    pub country: String,
}

/// A number an account owns.
#[derive(Clone, Debug)]
pub struct IncomingPhoneNumber {
    pub sid: String,
    pub account_sid: String,
    pub phone_number: String,
    /// By their names in the REST API's answers, `voice_url` for example; absent when never set.
    pub settings: BTreeMap<&'static str, String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// One leg of a call.
#[derive(Debug)]
pub struct Call {
    pub sid: String,
    pub account_sid: String,
    pub dialect: AccountKind,
    /// The inbound leg, for a leg that a Dial made.
    pub parent_sid: Option<String>,
    pub number_sid: Option<String>,
    pub from: String,
    pub to: String,
    pub direction: CallDirection,
    pub status: CallStatus,
    pub from_geography: Option<Geography>,
    pub to_geography: Option<Geography>,
    pub caller_name: Option<String>,
    pub stir_verstat: Option<String>,
    pub forwarded_from: Option<String>,
    pub extra_params: BTreeMap<String, String>,
    pub started_at: Timestamp,
    pub answered_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Whether the two legs could hear each other.
    pub bridged: bool,
    pub outcome: Option<Outcome>,
    /// True once every callback about the call was posted.
    pub settled: watch::Sender<bool>,
    /// How the REST API reaches a call in progress; only the inbound leg has it.
    pub commands: Option<mpsc::Sender<HangUpCommand>>,
}

/// The REST API asks a leg to end.
#[derive(Clone, Debug)]
pub struct HangUpCommand {
    pub leg_sid: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallDirection {
    Inbound,
    OutboundDial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStatus {
    Queued,
    Initiated,
    Ringing,
    InProgress,
    Completed,
    Busy,
    Failed,
    NoAnswer,
    Canceled,
}

/// What became of an inbound call, in a word for scenarios; the carrier itself only knows `CallStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Answered,
    Voicemail,
    NoAnswer,
    Busy,
    Failed,
    /// The caller left before anybody could talk to them.
    Abandoned,
    Rejected,
    /// The document ended the call without a Dial.
    Completed,
}

#[derive(Clone, Debug)]
pub struct Recording {
    pub sid: String,
    pub account_sid: String,
    /// The inbound leg, also for a recording of a Dial.
    pub call_sid: String,
    pub status: RecordingStatus,
    pub source: RecordingSource,
    pub channels: u8,
    pub started_at: Timestamp,
    /// Absent until the recording has ended.
    pub sound: Option<Sound>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingStatus {
    InProgress,
    Processing,
    Completed,
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingSource {
    DialVerb,
    RecordVerb,
    StartCallRecordingTwiml,
}

#[derive(Clone, Debug)]
pub struct Transcription {
    pub sid: String,
    pub account_sid: String,
    pub recording_sid: String,
    pub status: TranscriptionStatus,
    pub text: String,
    pub seconds: u32,
    pub created_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranscriptionStatus {
    InProgress,
    Completed,
    Failed,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub sid: String,
    pub account_sid: String,
    pub from: String,
    pub to: String,
    pub body: String,
    pub media_urls: Vec<String>,
    pub direction: MessageDirection,
    pub status: MessageStatus,
    pub error_code: Option<u32>,
    pub status_callback: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageDirection {
    Inbound,
    OutboundApi,
    OutboundReply,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageStatus {
    Queued,
    Sent,
    Delivered,
    Undelivered,
    Failed,
    Received,
}

impl IncomingPhoneNumber {
    /// A setting that is not empty.
    pub fn find_setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl Call {
    /// The inbound leg of a scripted call.
    pub fn inbound(
        sid: String,
        dialect: AccountKind,
        number: &IncomingPhoneNumber,
        script: &CallScript,
        now: Timestamp,
    ) -> Self {
        let from_geography = script.caller.find_geography().or_else(|| Geography::of_number(&script.from));
        let caller_name = script.caller.name.clone();
        let wants_name = number.find_setting("voice_caller_id_lookup") == Some("true");
        Self {
            sid,
            account_sid: number.account_sid.clone(),
            dialect,
            parent_sid: None,
            number_sid: Some(number.sid.clone()),
            from: script.from.clone(),
            to: script.to.clone(),
            direction: CallDirection::Inbound,
            status: CallStatus::Ringing,
            from_geography,
            to_geography: Geography::of_number(&script.to),
            caller_name: caller_name.filter(|_| wants_name),
            stir_verstat: script.caller.stir_verstat.clone(),
            forwarded_from: script.forwarded_from.clone(),
            extra_params: script.extra_params.clone(),
            started_at: now,
            answered_at: None,
            ended_at: None,
            bridged: false,
            outcome: None,
            settled: watch::Sender::new(false),
            commands: None,
        }
    }

    /// A leg that a Dial of this call makes.
    pub fn child(&self, sid: String, from: String, to: String, now: Timestamp) -> Self {
        Self {
            sid,
            account_sid: self.account_sid.clone(),
            dialect: self.dialect,
            parent_sid: Some(self.sid.clone()),
            number_sid: None,
            from_geography: if from == self.from {
                self.from_geography.clone()
            } else {
                Geography::of_number(&from)
            },
            to_geography: Geography::of_number(&to),
            from,
            to,
            direction: CallDirection::OutboundDial,
            status: CallStatus::Initiated,
            caller_name: None,
            stir_verstat: None,
            forwarded_from: None,
            extra_params: self.extra_params.clone(),
            started_at: now,
            answered_at: None,
            ended_at: None,
            bridged: false,
            outcome: None,
            settled: watch::Sender::new(true),
            commands: None,
        }
    }

    /// Billable seconds: from the answer to the end; 0 when it never was answered or has not ended.
    pub fn duration_s(&self) -> i64 {
        match (self.answered_at, self.ended_at) {
            (Some(answered), Some(ended)) => whole_seconds(answered, ended),
            (None, _) | (_, None) => 0,
        }
    }
}

impl Geography {
    /// What the carrier knows of a number's place: all of it, nothing but the country for toll-free and unknown area
    /// codes, nothing at all for what is not a North American number.
    pub fn of_number(number: &str) -> Option<Self> {
        if !stock::is_nanp(number) {
            return None;
        }
        Some(match stock::area_of(number) {
            Some(area) => Self {
                city: area.city.to_uppercase(),
                state: area.region.to_owned(),
                zip: area.postal_code.to_owned(),
                country: area.country.to_owned(),
            },
            None => Self { country: "US".to_owned(), ..Self::default() },
        })
    }
}

impl CallDirection {
    pub fn word(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::OutboundDial => "outbound-dial",
        }
    }
}

impl CallStatus {
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Initiated => "initiated",
            Self::Ringing => "ringing",
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::NoAnswer => "no-answer",
            Self::Canceled => "canceled",
        }
    }
}

impl Recording {
    /// Whole seconds; 0 until the recording has ended.
    pub fn duration_s(&self) -> u32 {
        self.sound.as_ref().map_or(0, |sound| sound.seconds)
    }
}

impl RecordingStatus {
    pub fn word(self) -> &'static str {
        match self {
            Self::InProgress => "in-progress",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Absent => "absent",
        }
    }
}

impl RecordingSource {
    pub fn word(self) -> &'static str {
        match self {
            Self::DialVerb => "DialVerb",
            Self::RecordVerb => "RecordVerb",
            Self::StartCallRecordingTwiml => "StartCallRecordingTwiML",
        }
    }
}

impl TranscriptionStatus {
    pub fn word(self) -> &'static str {
        match self {
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

impl MessageDirection {
    pub fn word(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::OutboundApi => "outbound-api",
            Self::OutboundReply => "outbound-reply",
        }
    }
}

impl MessageStatus {
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Failed => "failed",
            Self::Received => "received",
        }
    }
}
