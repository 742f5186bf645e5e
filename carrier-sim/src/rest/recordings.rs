//! Recordings and transcriptions as resources; the sound is in `media`.

use serde_json::{Value, json};

use super::page::page;
use super::{Reply, RestError, RestRequest, RestResult};
use crate::clock::rfc2822;
use crate::records::{Recording, RecordingStatus, Transcription};

/// Why a recording has no sound. The number is this simulator's own; the real carrier's error dictionary has several.
const ABSENT_ERROR: u32 = 16_001;

/// All recordings, or those of a call.
pub fn list(request: &RestRequest, call_sid: Option<&str>) -> RestResult {
    let wanted = call_sid.or(request.find("CallSid"));
    let state = request.carrier.state();
    let items = state
        .recordings
        .iter()
        .rev()
        .filter(|recording| recording.account_sid == request.account.sid)
        .filter(|recording| wanted.is_none_or(|sid| recording.call_sid == sid))
        .map(|recording| recording_json(request, recording))
        .collect();
    drop(state);
    Ok(page(request, "recordings", items))
}

pub fn get(request: &RestRequest, sid: &str) -> RestResult {
    let state = request.carrier.state();
    let recording = state.recordings.find(sid);
    match recording.filter(|recording| recording.account_sid == request.account.sid) {
        Some(recording) => Ok(Reply::Ok(recording_json(request, recording))),
        None => Err(RestError::not_found(&request.uri(&request.path))),
    }
}

/// Deletes a recording and its media.
pub fn delete(request: &RestRequest, sid: &str) -> RestResult {
    let mut state = request.carrier.state();
    let is_own =
        state.recordings.find(sid).is_some_and(|recording| recording.account_sid == request.account.sid);
    if !is_own {
        return Err(RestError::not_found(&request.uri(&request.path)));
    }
    state.recordings.remove(sid);
    Ok(Reply::NoContent)
}

pub fn list_transcriptions(request: &RestRequest, recording_sid: &str) -> RestResult {
    let state = request.carrier.state();
    let items = state
        .transcriptions
        .iter()
        .rev()
        .filter(|transcription| transcription.account_sid == request.account.sid)
        .filter(|transcription| transcription.recording_sid == recording_sid)
        .map(|transcription| transcription_json(request, transcription))
        .collect();
    drop(state);
    Ok(page(request, "transcriptions", items))
}

pub fn get_transcription(request: &RestRequest, sid: &str) -> RestResult {
    let state = request.carrier.state();
    let transcription = state.transcriptions.find(sid);
    match transcription.filter(|found| found.account_sid == request.account.sid) {
        Some(transcription) => Ok(Reply::Ok(transcription_json(request, transcription))),
        None => Err(RestError::not_found(&request.uri(&request.path))),
    }
}

fn recording_json(request: &RestRequest, recording: &Recording) -> Value {
    let base = format!("Recordings/{}", recording.sid);
    let has_ended = recording.sound.is_some();
    let is_absent = recording.status == RecordingStatus::Absent;
    let media_url = format!("{}{}", request.carrier.base_url, request.uri(&base));
    json!({
        "sid": recording.sid,
        "account_sid": recording.account_sid,
        "call_sid": recording.call_sid,
        "conference_sid": null,
        "status": recording.status.word(),
        "source": recording.source.word(),
        "channels": recording.channels,
        "duration": has_ended.then(|| recording.duration_s().to_string()),
        "start_time": rfc2822(recording.started_at),
        "date_created": rfc2822(recording.started_at),
        "date_updated": rfc2822(recording.started_at),
        "track": "both",
        "price": null,
        "price_unit": "USD",
        "error_code": is_absent.then_some(ABSENT_ERROR),
        "encryption_details": null,
        "api_version": "2010-04-01",
        "media_url": media_url,
        "uri": request.uri(&format!("{base}.json")),
        "subresource_uris": {
            "transcriptions": request.uri(&format!("{base}/Transcriptions.json")),
        },
    })
}

fn transcription_json(request: &RestRequest, transcription: &Transcription) -> Value {
    json!({
        "sid": transcription.sid,
        "account_sid": transcription.account_sid,
        "recording_sid": transcription.recording_sid,
        "status": transcription.status.word(),
        "type": "fast",
        "transcription_text": transcription.text,
        "duration": transcription.seconds.to_string(),
        "price": null,
        "price_unit": "USD",
        "date_created": rfc2822(transcription.created_at),
        "date_updated": rfc2822(transcription.created_at),
        "api_version": "2010-04-01",
        "uri": request.uri(&format!("Transcriptions/{}.json", transcription.sid)),
    })
}
