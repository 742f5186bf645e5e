//! What shall happen to a call, by the tracker's settings. Pure.

use super::state::{self, Facts, Treatment};
use crate::flows::{
    Dial, Plan, Step, TIME_LIMIT_S, VOICEMAIL_S_MAX, VOICEMAIL_SILENCE_S, Voicemail, Whisper,
};
use crate::kernel::phone::PhoneNumber;
use crate::trackers::Settings;

/// What a caller hears who dialled a number that is nobody's, or is switched off.
const NOT_IN_SERVICE: &str =
    "The number you have dialed is not in service. Please check the number and dial again.";

/// For a call that just arrived. The same for as long as the settings are, so that a carrier that asks twice
/// is told the same.
pub(super) fn answer(settings: &Settings, treatment: Treatment) -> Plan {
    match treatment {
        Treatment::Blocked => Plan { steps: vec![Step::Reject] },
        Treatment::OutOfService => not_in_service(),
        Treatment::Forwarded => forward(settings),
    }
}

fn forward(settings: &Settings) -> Plan {
    let mut steps = Vec::new();
    // Said before the Dial that records: whoever is recorded has been told.
    if settings.recording_enabled && !settings.recording_message.trim().is_empty() {
        steps.push(Step::Say(settings.recording_message.clone()));
    }
    steps.push(Step::Dial(Dial {
        destination: settings.destination.clone(),
        ring_timeout_s: settings.ring_timeout_s,
        time_limit_s: TIME_LIMIT_S,
        record: settings.recording_enabled,
        whisper: whisper(settings).is_some(),
    }));
    Plan { steps }
}

/// What the destination hears first; None if nothing.
pub(super) fn whisper(settings: &Settings) -> Option<Whisper> {
    let wanted = settings.whisper_enabled && !settings.whisper_message.trim().is_empty();
    wanted.then(|| Whisper { message: settings.whisper_message.clone() })
}

/// After the forwarding.
pub(super) fn after_dial(settings: &Settings, facts: &Facts) -> Plan {
    if !settings.voicemail_enabled || !state::may_leave_voicemail(facts) {
        return hang_up();
    }
    let voicemail = Voicemail {
        greeting: settings.voicemail_greeting.clone(),
        max_s: VOICEMAIL_S_MAX,
        silence_s: VOICEMAIL_SILENCE_S,
        transcribe: settings.transcription_enabled,
    };
    Plan { steps: vec![Step::Voicemail(voicemail)] }
}

/// Nothing more is to be done with the caller.
pub fn hang_up() -> Plan {
    Plan { steps: vec![Step::Hangup] }
}

/// For a number that isn't ours, or is switched off.
pub fn not_in_service() -> Plan {
    Plan { steps: vec![Step::Say(NOT_IN_SERVICE.to_owned()), Step::Hangup] }
}

/// For a call that can't be taken in because the database doesn't answer: the caller still reaches the
/// destination. Nothing is recorded, since nothing could be kept of it and no disclosure is played; nothing
/// is whispered, since the question for it couldn't be answered either.
pub fn fallback(destination: PhoneNumber, ring_timeout_s: u32) -> Plan {
    let dial =
        Dial { destination, ring_timeout_s, time_limit_s: TIME_LIMIT_S, record: false, whisper: false };
    Plan { steps: vec![Step::Dial(dial)] }
}
