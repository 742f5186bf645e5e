//! The sound of recordings: `Recordings/{sid}` and `.wav`, or `.mp3`; whole, or a range of bytes (RFC 9110, section 14).
//! Not found until the recording is completed, and when a fault says so.

use std::ops::Range;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::{Reply, RestError, RestRequest, RestResult};
use crate::faults::CountedFault;
use crate::media::{MediaFile, MediaFormat, Sound};
use crate::records::RecordingStatus;

/// How much is computed and sent at a time.
const CHUNK_BYTES: u64 = 64 * 1024;

pub fn get(request: &RestRequest, name: &str) -> RestResult {
    let (sid, format) = match name.rsplit_once('.') {
        None => (name, MediaFormat::Wav),
        Some((sid, "wav")) => (sid, MediaFormat::Wav),
        Some((sid, "mp3")) => (sid, MediaFormat::Mp3),
        Some(_) => return Err(RestError::not_found(&request.uri(&request.path))),
    };
    let sound = find_sound(request, sid)
        .filter(|_| !request.carrier.faults.take(CountedFault::Media404))
        .ok_or_else(|| RestError::not_found(&request.uri(&request.path)))?;
    let channels = match request.find("RequestedChannels") {
        None => sound.channels,
        Some("1") => 1,
        Some("2") if sound.channels == 2 => 2,
        Some("2") => {
            let text = "Requested 2 channels of a recording that has 1";
            return Err(RestError::invalid(20_001, text));
        }
        Some(_) => {
            return Err(RestError::invalid(20_001, "RequestedChannels must be 1 or 2"));
        }
    };
    Ok(Reply::Media(media_response(request, MediaFile::new(sound, format, channels), format)))
}

fn find_sound(request: &RestRequest, sid: &str) -> Option<Sound> {
    let state = request.carrier.state();
    let recording = state.recordings.find(sid)?;
    let is_available =
        recording.account_sid == request.account.sid && recording.status == RecordingStatus::Completed;
    recording.sound.clone().filter(|_| is_available)
}

fn media_response(request: &RestRequest, file: MediaFile, format: MediaFormat) -> Response {
    let length = file.byte_length();
    let asked = request.headers.get(header::RANGE);
    let range = match asked.and_then(|value| parse_range(value.to_str().ok()?, length)) {
        None => None,
        Some(Ok(range)) => Some(range),
        Some(Err(Unsatisfiable)) => {
            let content_range = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, content_range).into_response();
        }
    };
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let sent = range.clone().unwrap_or(0..length);
    let mut response = (
        status,
        [
            (header::CONTENT_TYPE, format.content_type().to_owned()),
            (header::CONTENT_LENGTH, (sent.end - sent.start).to_string()),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
        ],
        body(file, sent),
    )
        .into_response();
    if let Some(range) = range {
        let text = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        if let Ok(value) = header::HeaderValue::from_str(&text) {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
    }
    response
}

/// Computed while it is sent, so that a long recording takes no memory.
fn body(file: MediaFile, range: Range<u64>) -> Body {
    let mut next = range.start;
    let chunks = std::iter::from_fn(move || {
        let end = (next + CHUNK_BYTES).min(range.end);
        let chunk = (next < end).then(|| Ok::<_, std::io::Error>(Bytes::from(file.read(next..end))));
        next = end;
        chunk
    });
    Body::from_stream(futures_util::stream::iter(chunks))
}

struct Unsatisfiable;

/// The one range asked for. Nothing for several ranges and other units, which may be answered with everything.
fn parse_range(value: &str, length: u64) -> Option<Result<Range<u64>, Unsatisfiable>> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first, last) {
        ("", suffix) => length.saturating_sub(suffix.parse().ok()?)..length,
        (first, "") => first.parse().ok()?..length,
        (first, last) => first.parse().ok()?..last.parse::<u64>().ok()?.saturating_add(1).min(length),
    };
    Some(if range.start < range.end { Ok(range) } else { Err(Unsatisfiable) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_the_rfc() {
        for (value, range) in [
            ("bytes=0-99", Some(Some(0..100))),
            ("bytes=900-", Some(Some(900..1000))),
            ("bytes=-10", Some(Some(990..1000))),
            ("bytes=990-5000", Some(Some(990..1000))),
            ("bytes=1000-", Some(None)),
            ("bytes=0-1,5-6", None),
            ("seconds=1-2", None),
        ] {
            let parsed = parse_range(value, 1000).map(Result::ok);
            assert_eq!(parsed, range, "{value}");
        }
    }
}
