//! The tracker object of the API and of `tracker.*` events.

use serde_json::{Value as Json, json};

use super::{TrackerView, TrackingNumber};

impl TrackerView {
    /// The contract's keys, then our additions (from `voicemail_enabled` on).
    pub fn to_json(&self) -> Json {
        let (tracker, s) = (&self.tracker, &self.tracker.settings);
        let number = |n: &TrackingNumber| json!({"number": n.number, "status": n.status});
        json!({
            "id": tracker.id,
            "company_id": tracker.company_id,
            "company_name": tracker.company_name,
            "name": s.name,
            "tracker_type": s.tracker_type.as_str(),
            "number_type": s.number_type.as_str(),
            // Numbers that were given back stay, with status false.
            "phone_numbers": self.numbers.iter().map(number).collect::<Vec<_>>(),
            "number_pool_size": null,
            "destination": s.destination,
            "status": s.status,
            "recording_enabled": s.recording_enabled,
            "recording_message": s.recording_message,
            "whisper_enabled": s.whisper_enabled,
            "whisper_message": s.whisper_message,
            "swap_target": s.swap_target,
            "campaign_source": s.campaign_source,
            "campaign_search_from": s.campaign_search_from,
            "campaign_search_for": s.campaign_search_for,
            "campaign_landing_page": s.campaign_landing_page,
            "campaign_referral": s.campaign_referral,
            "campaign_campaign_parameters": s.campaign_campaign_parameters,
            "voicemail_enabled": s.voicemail_enabled,
            "voicemail_greeting": s.voicemail_greeting,
            "transcription_enabled": s.transcription_enabled,
            "ring_timeout_s": s.ring_timeout_s,
            "created_at": tracker.created_at.rfc3339(),
        })
    }
}
