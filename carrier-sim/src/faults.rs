//! Faults on demand: what the carrier shall do wrong next. Decides which request or callback is hit; `webhooks` and the
//! REST side do the damage.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

/// What the carrier asks the customer's server for; the words of the control API and the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// The number's VoiceUrl.
    Voice,
    /// The number's VoiceFallbackUrl.
    VoiceFallback,
    /// A Redirect's document.
    Redirect,
    /// A Dial's action.
    Dial,
    /// A Number's url.
    Whisper,
    /// A Gather's action.
    Gather,
    /// A Record's action.
    Record,
    /// The media of a Play.
    Play,
    /// A Number's statusCallback.
    LegStatus,
    /// The number's StatusCallback.
    CallStatus,
    Recording,
    Transcription,
    /// The number's SmsUrl.
    Message,
    /// The number's SmsFallbackUrl.
    MessageFallback,
    MessageStatus,
}

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultAction {
    /// Sent twice.
    Duplicate,
    /// Not sent.
    Drop,
    /// Sent after the next request about the same call or message.
    SwapWithNext,
    /// Sent with a signature that does not fit.
    BadSignature,
}

/// The faults still to be made.
#[derive(Debug, Default)]
pub struct Faults {
    pending: Mutex<Pending>,
}

/// Also what `GET /sim/faults` shows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pending {
    pub callbacks: Vec<CallbackFault>,
    /// Fetches of recording media that shall answer 404.
    pub media_404: u32,
    /// Recordings that shall have no audio.
    pub recording_absent: u32,
    /// Transcriptions that shall fail.
    pub transcription_failed: u32,
    /// Purchases that shall find somebody else was quicker (21422).
    pub buy_race: u32,
}

/// A fault of one kind of callback.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbackFault {
    pub callback: Hook,
    pub action: FaultAction,
    /// Only callbacks with this CallStatus, RecordingStatus or MessageStatus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(default = "one")]
    pub count: u32,
}

fn one() -> u32 {
    1
}

/// The counted faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedFault {
    Media404,
    RecordingAbsent,
    TranscriptionFailed,
    BuyRace,
}

impl Hook {
    /// The word in the control API and the trace.
    pub fn word(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::VoiceFallback => "voice-fallback",
            Self::Redirect => "redirect",
            Self::Dial => "dial",
            Self::Whisper => "whisper",
            Self::Gather => "gather",
            Self::Record => "record",
            Self::Play => "play",
            Self::LegStatus => "leg-status",
            Self::CallStatus => "call-status",
            Self::Recording => "recording",
            Self::Transcription => "transcription",
            Self::Message => "message",
            Self::MessageFallback => "message-fallback",
            Self::MessageStatus => "message-status",
        }
    }

    /// Whether the carrier waits for the answer because it has to obey it.
    pub fn wants_document(self) -> bool {
        match self {
            Self::Voice
            | Self::VoiceFallback
            | Self::Redirect
            | Self::Dial
            | Self::Whisper
            | Self::Gather
            | Self::Record
            | Self::Play
            | Self::Message
            | Self::MessageFallback => true,
            Self::LegStatus
            | Self::CallStatus
            | Self::Recording
            | Self::Transcription
            | Self::MessageStatus => false,
        }
    }
}

impl FaultAction {
    pub fn word(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Drop => "drop",
            Self::SwapWithNext => "swap_with_next",
            Self::BadSignature => "bad_signature",
        }
    }
}

impl Faults {
    /// Adds a fault of a callback.
    pub fn add_callback(&self, fault: CallbackFault) {
        self.lock().callbacks.push(fault);
    }

    /// Sets how often a counted fault shall happen.
    pub fn set(&self, fault: CountedFault, count: u32) {
        *self.lock().counter(fault) = count;
    }

    /// The fault for a callback that is about to be sent, if any; it then has happened once.
    pub fn take_callback(&self, hook: Hook, status: Option<&str>) -> Option<FaultAction> {
        let mut pending = self.lock();
        let fault = pending.callbacks.iter_mut().find(|fault| {
            fault.callback == hook
                && fault.count > 0
                && (fault.status.is_none() || fault.status.as_deref() == status)
        })?;
        fault.count -= 1;
        let action = fault.action;
        pending.callbacks.retain(|fault| fault.count > 0);
        Some(action)
    }

    /// Whether a counted fault happens now; it then has happened once.
    pub fn take(&self, fault: CountedFault) -> bool {
        let mut pending = self.lock();
        let counter = pending.counter(fault);
        let happens = *counter > 0;
        *counter = counter.saturating_sub(1);
        happens
    }

    /// What is still to happen.
    pub fn pending(&self) -> Pending {
        self.lock().clone()
    }

    /// Forgets all faults.
    pub fn clear(&self) {
        *self.lock() = Pending::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Pending {
    fn counter(&mut self, fault: CountedFault) -> &mut u32 {
        match fault {
            CountedFault::Media404 => &mut self.media_404,
            CountedFault::RecordingAbsent => &mut self.recording_absent,
            CountedFault::TranscriptionFailed => &mut self.transcription_failed,
            CountedFault::BuyRace => &mut self.buy_race,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_its_callback_as_often_as_asked() {
        let faults = Faults::default();
        faults.add_callback(CallbackFault {
            callback: Hook::LegStatus,
            action: FaultAction::Drop,
            status: Some("completed".to_owned()),
            count: 1,
        });
        assert_eq!(faults.take_callback(Hook::LegStatus, Some("ringing")), None);
        assert_eq!(faults.take_callback(Hook::CallStatus, Some("completed")), None);
        assert_eq!(faults.take_callback(Hook::LegStatus, Some("completed")), Some(FaultAction::Drop));
        assert_eq!(faults.take_callback(Hook::LegStatus, Some("completed")), None);
    }

    #[test]
    fn a_counted_fault_runs_out() {
        let faults = Faults::default();
        faults.set(CountedFault::Media404, 2);
        let happened: Vec<bool> = (0..3).map(|_| faults.take(CountedFault::Media404)).collect();
        assert_eq!(happened, [true, true, false]);
    }
}
