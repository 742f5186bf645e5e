//! What is told of recordings and their transcriptions.

use super::{Told, URL_CHARS_MAX};
use crate::carriers::form::{BadForm, Form};
use crate::carriers::hook::HookQuery;
use crate::recordings::update::{Audio, Kind, Outcome, Update};
use crate::voicemails;

/// A transcription at most, in characters: two minutes of speech are about 2,000.
const TRANSCRIPTION_CHARS_MAX: usize = 10_000;

pub(super) fn recording(query: HookQuery, form: &Form) -> Result<Told, BadForm> {
    let carrier_call_id = form.id("CallSid")?;
    let carrier_recording_id = form.id("RecordingSid")?;
    // SignalWire doesn't say which verb recorded; the query that we wrote does.
    let voicemail = query.voicemail || form.get("RecordingSource") == "RecordVerb";
    let kind = if voicemail { Kind::Voicemail } else { Kind::Call };
    let outcome = match form.get("RecordingStatus") {
        "completed" => Outcome::Completed(audio(form)?),
        "absent" => Outcome::Absent,
        "failed" => Outcome::Failed,
        "in-progress" | "paused" | "stopped" | "processing" => Outcome::InProgress,
        _ => return Ok(Told::Nothing),
    };
    Ok(Told::Recording(Update { carrier_call_id, carrier_recording_id, kind: Some(kind), outcome }))
}

fn audio(form: &Form) -> Result<Audio, BadForm> {
    let media_url = form.line("RecordingUrl", URL_CHARS_MAX);
    if media_url.is_empty() {
        return Err(BadForm::Missing("RecordingUrl"));
    }
    let channels = if form.number("RecordingChannels") == Some(2) { 2 } else { 1 };
    Ok(Audio { duration_s: form.number("RecordingDuration").unwrap_or(0), media_url, channels })
}

pub(super) fn transcription(form: &Form) -> Result<Told, BadForm> {
    let text = match form.get("TranscriptionStatus") {
        "completed" => Some(form.text("TranscriptionText", TRANSCRIPTION_CHARS_MAX)),
        "failed" => None,
        _ => return Ok(Told::Nothing),
    };
    let carrier_call_id = form.id("CallSid")?;
    let carrier_recording_id = form.id("RecordingSid")?;
    Ok(Told::Transcription(voicemails::update::Update { carrier_call_id, carrier_recording_id, text }))
}
