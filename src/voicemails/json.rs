//! The voicemail object of the API and of `voicemail.received`.

use serde_json::{Value as Json, json};

use super::Voicemail;
use crate::kernel::clock::Micros;
use crate::recordings::State;
use crate::recordings::link::Links;

impl Voicemail {
    /// The contract's keys, then our additions (from `company_name` on). `recording` is null while the audio
    /// isn't ours, and stays so if it can't be had. `now` is when its link begins to age.
    pub fn to_json(&self, links: &Links, now: Micros) -> Json {
        let format = self.format.filter(|_| self.recording_state == State::Stored);
        json!({
            "id": self.id,
            "company_id": self.company_id,
            "call_id": self.call_id,
            "tracker_id": self.tracker_id,
            "tracker_name": self.tracker_name,
            "tracking_number": self.tracking_number,
            "caller_number": self.caller_number,
            "recording": format.map(|format| links.url(self.recording_id, format, now)),
            "recording_duration": self.recording_duration_s,
            "transcription": self.transcription,
            "company_name": self.company_name,
            "caller_name": self.caller_name,
            "timestamp": self.created_at.rfc3339(),
            "transcription_status": self.transcription_status.as_str(),
        })
    }
}
