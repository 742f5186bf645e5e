//! The tracker object of the API and of `tracker.*` events.

use serde_json::{Value as Json, json};

use super::{TrackerType, TrackerView, TrackingNumber};
use crate::kernel::phone::PhoneNumber;

impl TrackerView {
    /// How many numbers a pool has; None for other trackers.
    pub fn pool_size(&self) -> Option<usize> {
        let is_pool = self.tracker.settings.tracker_type == TrackerType::NumberPool;
        is_pool.then(|| self.number_count())
    }

    /// How many numbers it has, without those that were given back.
    pub fn number_count(&self) -> usize {
        self.numbers.iter().filter(|n| n.status).count()
    }

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
            "number_pool_size": self.pool_size(),
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
            "pool_hold_minutes": s.pool.hold_minutes,
            "pool_grace_minutes": s.pool.grace_minutes,
            "pool_cooldown_minutes": s.pool.cooldown_minutes,
            "pool_exhausted": s.pool.exhausted.as_str(),
            "pool_fallback_number": s.pool.fallback_number.as_ref().map_or("", PhoneNumber::as_str),
            "created_at": tracker.created_at.rfc3339(),
        })
    }
}
