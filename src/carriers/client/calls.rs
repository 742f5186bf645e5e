//! Sending messages, and asking how a call and its recordings are: callbacks aren't repeated by carriers, so
//! one that got lost is made up for by asking.

use serde::Deserialize;

use super::{CarrierError, Client, lenient_number, lenient_text};
use crate::calls::update::End;
use crate::carriers::form::is_id;
use crate::carriers::words;
use crate::kernel::phone::PhoneNumber;
use crate::messages::update::State;
use crate::recordings::update::{Audio, Kind, Outcome, Update};

/// A message that the carrier has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMessage {
    pub carrier_message_id: String,
    /// What the carrier charges it as; it may not know yet and say 0, which is 1 here.
    pub segments: u32,
    pub state: State,
}

/// How a call is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSnapshot {
    /// None while it lasts.
    pub ended: Option<End>,
}

impl Client {
    /// Sends a text message. Not to be repeated after an error that leaves open whether it was sent
    /// ([`CarrierError::Unreachable`], [`CarrierError::Transient`]): carriers know no idempotency key here,
    /// and a person would get it twice.
    ///
    /// # Errors
    /// [`CarrierError::OptedOut`], [`CarrierError::GeoBlocked`], [`CarrierError::NotSmsCapable`], and as every
    /// request.
    pub async fn send_message(
        &self,
        from: &PhoneNumber,
        to: &PhoneNumber,
        body: &str,
        status_callback: &str,
    ) -> Result<SentMessage, CarrierError> {
        let form = [
            ("From", from.as_str()),
            ("To", to.as_str()),
            ("Body", body),
            ("StatusCallback", status_callback),
        ];
        let url = self.account.api_url(&["Messages.json"]);
        let sent: MessageAnswer = self.post(url, &form).await?;
        if !is_id(&sent.sid) {
            return Err(CarrierError::Unexpected("answered with a message that has no id".to_owned()));
        }
        Ok(SentMessage {
            carrier_message_id: sent.sid,
            segments: sent.num_segments.unwrap_or(1).max(1),
            state: words::message_state(&sent.status).unwrap_or(State::Queued),
        })
    }

    /// How a call is; None if the carrier doesn't know it.
    ///
    /// # Errors
    /// As every request.
    pub async fn call(&self, carrier_call_id: &str) -> Result<Option<CallSnapshot>, CarrierError> {
        let url = self.account.api_url(&["Calls", &format!("{carrier_call_id}.json")]);
        let call: CallAnswer = match self.get(url).await {
            Err(CarrierError::NotFound) => return Ok(None),
            other => other?,
        };
        let ended = words::outcome(&call.status).map(|outcome| End { outcome, duration_s: call.duration });
        Ok(Some(CallSnapshot { ended }))
    }

    /// What the carrier has recorded of a call, as its callbacks would have told; except that of a carrier which
    /// doesn't say which verb recorded (SignalWire) the kind stays open.
    ///
    /// # Errors
    /// As every request.
    pub async fn recordings_of(&self, carrier_call_id: &str) -> Result<Vec<Update>, CarrierError> {
        let url = self.account.api_url(&["Calls", carrier_call_id, "Recordings.json"]);
        let found: RecordingsPage = match self.get(url).await {
            Err(CarrierError::NotFound) => return Ok(Vec::new()),
            other => other?,
        };
        let updates =
            found.recordings.into_iter().filter_map(|answer| self.recording(carrier_call_id, answer));
        Ok(updates.collect())
    }

    /// Deletes a recording at the carrier; one that is gone already counts as deleted.
    ///
    /// # Errors
    /// As every request.
    pub async fn delete_recording(&self, carrier_recording_id: &str) -> Result<(), CarrierError> {
        self.delete(self.account.api_url(&["Recordings", &format!("{carrier_recording_id}.json")])).await
    }

    fn recording(&self, carrier_call_id: &str, answer: RecordingAnswer) -> Option<Update> {
        let outcome = match answer.status.as_str() {
            "completed" => Outcome::Completed(Audio {
                duration_s: answer.duration.unwrap_or(0),
                media_url: self.account.api_url(&["Recordings", &answer.sid]).into(),
                channels: if answer.channels == Some(2) { 2 } else { 1 },
            }),
            "absent" => Outcome::Absent,
            "failed" => Outcome::Failed,
            "in-progress" | "paused" | "stopped" | "processing" => Outcome::InProgress,
            _ => return None,
        };
        let kind = match answer.source.as_str() {
            "" => None,
            "RecordVerb" => Some(Kind::Voicemail),
            _ => Some(Kind::Call),
        };
        let carrier_recording_id = is_id(&answer.sid).then_some(answer.sid)?;
        Some(Update { carrier_call_id: carrier_call_id.to_owned(), carrier_recording_id, kind, outcome })
    }
}

#[derive(Deserialize)]
struct MessageAnswer {
    sid: String,
    #[serde(default, deserialize_with = "lenient_text")]
    status: String,
    #[serde(default, deserialize_with = "lenient_number")]
    num_segments: Option<u32>,
}

#[derive(Deserialize)]
struct CallAnswer {
    #[serde(default, deserialize_with = "lenient_text")]
    status: String,
    #[serde(default, deserialize_with = "lenient_number")]
    duration: Option<u32>,
}

#[derive(Deserialize)]
struct RecordingsPage {
    #[serde(default)]
    recordings: Vec<RecordingAnswer>,
}

#[derive(Deserialize)]
struct RecordingAnswer {
    sid: String,
    #[serde(default, deserialize_with = "lenient_text")]
    status: String,
    #[serde(default, deserialize_with = "lenient_text")]
    source: String,
    #[serde(default, deserialize_with = "lenient_number")]
    duration: Option<u32>,
    #[serde(default, deserialize_with = "lenient_number")]
    channels: Option<u32>,
}
