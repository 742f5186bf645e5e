//! The parameters of every request and callback, name by name. Pure: from records to parameters. The names and when they
//! are there follow the carrier's documentation (<https://www.twilio.com/docs/voice/twiml#request-parameters> and the
//! pages of the verbs) and captured requests.

use jiff::Timestamp;

use crate::clock::rfc2822;
use crate::records::{Call, CallDirection, Geography, Message, Recording, RecordingStatus, Transcription};
use crate::webhooks::Params;

/// The version in every request.
pub const API_VERSION: &str = "2010-04-01";

/// What a Dial came to.
#[derive(Clone, Debug)]
pub struct DialReport {
    pub status: &'static str,
    pub child_sid: Option<String>,
    /// Seconds since the child answered; absent when nobody did.
    pub duration_s: Option<i64>,
    pub bridged: bool,
    pub recording_url: Option<String>,
}

/// The parameters of every request about a leg.
pub fn standard(call: &Call) -> Params {
    let mut params = Params::new();
    add(&mut params, "AccountSid", &call.account_sid);
    add(&mut params, "ApiVersion", API_VERSION);
    add(&mut params, "CallSid", &call.sid);
    add(&mut params, "CallStatus", call.status.word());
    add(&mut params, "Direction", call.direction.word());
    add(&mut params, "From", &call.from);
    add(&mut params, "To", &call.to);
    add_some(&mut params, "ParentCallSid", call.parent_sid.as_deref());
    add_some(&mut params, "ForwardedFrom", call.forwarded_from.as_deref());
    if call.dialect.has_geography() {
        add(&mut params, "Caller", &call.from);
        add(&mut params, "Called", &call.to);
        for (prefixes, geography) in
            [(["From", "Caller"], &call.from_geography), (["To", "Called"], &call.to_geography)]
        {
            for prefix in prefixes {
                add_geography(&mut params, prefix, geography.as_ref());
            }
        }
        add_some(&mut params, "CallerName", call.caller_name.as_deref());
        add_some(&mut params, "StirVerstat", call.stir_verstat.as_deref());
    }
    for (name, value) in &call.extra_params {
        add(&mut params, name, value);
    }
    params
}

/// The first request about an inbound call.
pub fn voice(call: &Call, call_token: &str) -> Params {
    let mut params = standard(call);
    if call.dialect.has_geography() && call.direction == CallDirection::Inbound {
        add(&mut params, "CallToken", call_token);
    }
    params
}

/// A step of a leg that a Dial made; `recording` on the last one, where the Dial recorded.
pub fn leg_status(
    call: &Call,
    sequence_number: u32,
    at: Timestamp,
    recording: Option<(&Recording, &str)>,
) -> Params {
    let mut params = standard(call);
    add(&mut params, "CallbackSource", "call-progress-events");
    add(&mut params, "SequenceNumber", &sequence_number.to_string());
    add(&mut params, "Timestamp", &rfc2822(at));
    if call.ended_at.is_some() {
        add_durations(&mut params, call);
    }
    if let Some((recording, url)) = recording {
        add(&mut params, "RecordingSid", &recording.sid);
        add(&mut params, "RecordingUrl", url);
        let seconds = recording.duration_s().to_string();
        add(&mut params, "RecordingDuration", &seconds);
    }
    params
}

/// The end of an inbound call, for the number's StatusCallback.
pub fn call_status(call: &Call, at: Timestamp) -> Params {
    let mut params = standard(call);
    add(&mut params, "CallbackSource", "call-progress-events");
    add(&mut params, "SequenceNumber", "0");
    add(&mut params, "Timestamp", &rfc2822(at));
    add_durations(&mut params, call);
    params
}

/// The request for a Dial's action.
pub fn dial_action(call: &Call, report: &DialReport) -> Params {
    let mut params = standard(call);
    add(&mut params, "DialCallStatus", report.status);
    add_some(&mut params, "DialCallSid", report.child_sid.as_deref());
    if let Some(seconds) = report.duration_s {
        add(&mut params, "DialCallDuration", &seconds.to_string());
    }
    if call.dialect.has_dial_bridged() {
        add(&mut params, "DialBridged", if report.bridged { "true" } else { "false" });
    }
    add_some(&mut params, "RecordingUrl", report.recording_url.as_deref());
    params
}

/// The request for a Record's action.
pub fn record_action(call: &Call, recording: &Recording, url: &str, digits: &str) -> Params {
    let mut params = standard(call);
    add(&mut params, "RecordingSid", &recording.sid);
    add(&mut params, "RecordingUrl", url);
    let seconds = recording.duration_s().to_string();
    add(&mut params, "RecordingDuration", &seconds);
    add(&mut params, "Digits", digits);
    params
}

/// A recording's status. It names the inbound leg, also for the recording of a Dial.
pub fn recording_status(recording: &Recording, url: &str) -> Params {
    let mut params = Params::new();
    add(&mut params, "AccountSid", &recording.account_sid);
    add(&mut params, "CallSid", &recording.call_sid);
    add(&mut params, "RecordingSid", &recording.sid);
    add(&mut params, "RecordingUrl", url);
    add(&mut params, "RecordingStatus", recording.status.word());
    if recording.status == RecordingStatus::Completed {
        let seconds = recording.duration_s().to_string();
        add(&mut params, "RecordingDuration", &seconds);
    }
    add(&mut params, "RecordingChannels", &recording.channels.to_string());
    add(&mut params, "RecordingStartTime", &rfc2822(recording.started_at));
    add(&mut params, "RecordingSource", recording.source.word());
    add(&mut params, "RecordingTrack", "both");
    params
}

/// A transcription has been made or has failed.
pub fn transcription(
    call: &Call,
    transcription: &Transcription,
    transcription_url: &str,
    recording_url: &str,
) -> Params {
    let mut params = standard(call);
    add(&mut params, "TranscriptionSid", &transcription.sid);
    add(&mut params, "TranscriptionStatus", transcription.status.word());
    add(&mut params, "TranscriptionText", &transcription.text);
    add(&mut params, "TranscriptionType", "fast");
    add(&mut params, "TranscriptionUrl", transcription_url);
    add(&mut params, "RecordingSid", &transcription.recording_sid);
    add(&mut params, "RecordingUrl", recording_url);
    params
}

/// A text that has come in.
pub fn message(message: &Message, segments: usize, has_geography: bool) -> Params {
    let mut params = Params::new();
    add(&mut params, "AccountSid", &message.account_sid);
    add(&mut params, "ApiVersion", API_VERSION);
    add_message_sids(&mut params, &message.sid);
    add(&mut params, "SmsMessageSid", &message.sid);
    add(&mut params, "SmsStatus", message.status.word());
    add(&mut params, "From", &message.from);
    add(&mut params, "To", &message.to);
    add(&mut params, "Body", &message.body);
    add(&mut params, "NumSegments", &segments.to_string());
    add(&mut params, "NumMedia", &message.media_urls.len().to_string());
    for (number, url) in message.media_urls.iter().enumerate() {
        add(&mut params, &format!("MediaUrl{number}"), url);
        add(&mut params, &format!("MediaContentType{number}"), media_type(url));
    }
    if has_geography {
        let from = Geography::of_number(&message.from);
        add_geography(&mut params, "From", from.as_ref());
        let to = Geography::of_number(&message.to);
        add_geography(&mut params, "To", to.as_ref());
    }
    params
}

/// A step of a text that was sent.
pub fn message_status(message: &Message, at: Timestamp) -> Params {
    let mut params = Params::new();
    add(&mut params, "AccountSid", &message.account_sid);
    add(&mut params, "ApiVersion", API_VERSION);
    add_message_sids(&mut params, &message.sid);
    add(&mut params, "MessageStatus", message.status.word());
    add(&mut params, "SmsStatus", message.status.word());
    add(&mut params, "From", &message.from);
    add(&mut params, "To", &message.to);
    if let Some(code) = message.error_code {
        add(&mut params, "ErrorCode", &code.to_string());
    }
    match message.status {
        crate::records::MessageStatus::Delivered | crate::records::MessageStatus::Undelivered => {
            // YYMMDDhhmm, as delivery receipts have it.
            let date = at.strftime("%y%m%d%H%M").to_string();
            add(&mut params, "RawDlrDoneDate", &date);
        }
        crate::records::MessageStatus::Queued
        | crate::records::MessageStatus::Sent
        | crate::records::MessageStatus::Failed
        | crate::records::MessageStatus::Received => {}
    }
    params
}

/// Adds a parameter.
pub fn add(params: &mut Params, name: &str, value: &str) {
    params.push((name.to_owned(), value.to_owned()));
}

fn add_some(params: &mut Params, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        add(params, name, value);
    }
}

fn add_geography(params: &mut Params, prefix: &str, geography: Option<&Geography>) {
    if let Some(geography) = geography {
        for (part, value) in [
            ("City", &geography.city),
            ("State", &geography.state),
            ("Zip", &geography.zip),
            ("Country", &geography.country),
        ] {
            add(params, &format!("{prefix}{part}"), value);
        }
    }
}

/// `CallDuration` in seconds, `Duration` in minutes begun.
fn add_durations(params: &mut Params, call: &Call) {
    let seconds = call.duration_s();
    add(params, "CallDuration", &seconds.to_string());
    let minutes = (seconds + 59) / 60;
    add(params, "Duration", &minutes.to_string());
}

fn add_message_sids(params: &mut Params, sid: &str) {
    add(params, "MessageSid", sid);
    add(params, "SmsSid", sid);
}

fn media_type(url: &str) -> &'static str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    match path.rsplit('.').next() {
        Some("png") => "image/png",
        Some("gif") => "image/gif",
        Some("pdf") => "application/pdf",
        Some("mp4") => "video/mp4",
        Some("mp3") => "audio/mpeg",
        Some("vcf") => "text/vcard",
        Some(_) | None => "image/jpeg",
    }
}
