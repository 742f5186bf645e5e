//! The call object of the API and of `call.*` events.

use serde_json::{Value as Json, json};

use super::list::CallView;
use crate::kernel::clock::Micros;
use crate::recordings::State;
use crate::recordings::link::Links;

impl CallView {
    /// The contract's keys, then our additions (from `direction` on). `now` is when the recording's link
    /// begins to age.
    pub fn to_json(&self, links: &Links, now: Micros) -> Json {
        let (call, source) = (&self.call, &self.call.source);
        let stored = |shown: &&super::RecordingBrief| shown.state == State::Stored;
        let recording = call.recording.as_ref().filter(stored);
        let link = recording.and_then(|shown| Some(links.url(shown.id, shown.format?, now)));
        // A recording that was told of has its length before it can be downloaded.
        let kept = |shown: &&super::RecordingBrief| matches!(shown.state, State::Pending | State::Stored);
        let recording_duration = call.recording.as_ref().filter(kept).map_or(0, |shown| shown.duration_s);
        let pages: Json = serde_json::from_str(&source.pages_visited).unwrap_or_else(|_| json!([]));
        let mut json = json!({
            "id": call.id,
            "company_id": call.company_id,
            "company_name": call.company_name,
            "tracker_id": call.tracker_id,
            "tracker_name": call.tracker_name,
            "tracking_number": call.tracking_number,
            "caller_number": call.caller_number,
            "caller_name": call.caller_name,
            "caller_city": call.caller_city,
            "caller_state": call.caller_state,
            "caller_zip": call.caller_zip,
            "caller_country": call.caller_country,
            "status": call.status.as_str(),
            "timestamp": call.started_at.rfc3339(),
            "call_duration": call.call_duration,
            "recording": link,
            "recording_duration": recording_duration,
            "is_first_time": call.is_first_time,
            "source_channel": source.channel,
            "source_referrer": source.referrer,
            "source_keyword": source.keyword,
            "landing_page": source.landing_page,
            "pages_visited": pages,
            "gclid": source.gclid,
            "visitor_ip": source.visitor_ip,
            "direction": "inbound",
            "number_type": call.number_type.as_str(),
            "forwarded_from": call.forwarded_from,
            "attestation": call.attestation,
            "ended_at": call.ended_at.map(Micros::rfc3339),
            "tags": self.tags,
            "note": call.note,
            "value": call.value,
            "lead_status": call.lead_status,
            "spam": call.spam,
        });
        call.attribution.add_to(&mut json, call.attribution_confidence);
        json
    }
}
