//! The message object of the API and of `message.*` events.

use serde_json::{Value as Json, json};

use super::{Media, Message};

impl Message {
    /// The contract's keys, then our additions (from `status` on).
    pub fn to_json(&self) -> Json {
        let file = |media: &Media| json!({"url": media.url, "content_type": media.content_type});
        let mut json = json!({
            "id": self.id,
            "direction": self.status.direction().as_str(),
            "from_number": self.from.as_ref().map_or("", |number| number.as_str()),
            "to_number": self.to,
            "body": self.body,
            "timestamp": self.created_at.rfc3339(),
            "tracker_id": self.tracker_id,
            "tracker_name": self.tracker_name,
            "company_id": self.company_id,
            "company_name": self.company_name,
            "status": self.status.as_str(),
            // Why an outgoing message failed, in words; "" if it didn't or the carrier only gave a code.
            "error": self.error,
            "error_code": self.error_code,
            // The carrier's URLs: they may ask for the carrier account's credentials.
            "media": self.media.iter().map(file).collect::<Vec<_>>(),
            "segments": self.segments,
        });
        self.attribution.add_to(&mut json, self.attribution_confidence);
        json
    }
}
