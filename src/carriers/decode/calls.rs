//! What is told of calls and their legs.

use super::{ADDRESS_CHARS_MAX, Told};
use crate::calls::update::{Arrival, DialEnd, DialOutcome, End, Fact, Geo, Leg, LegState, Update};
use crate::carriers::form::{BadForm, Form};
use crate::carriers::words;
use crate::kernel::phone::PhoneNumber;

/// A caller's name is at most this long; the network's own limit (CNAM) is 15 characters.
const NAME_CHARS_MAX: usize = 100;
/// A city's or state's name at most.
const PLACE_CHARS_MAX: usize = 64;
/// A postal code at most.
const ZIP_CHARS_MAX: usize = 16;

/// The arrival of the call that a request is about, for a call whose first request was answered while
/// nothing could be stored. What is told of the caller's leg says it again (the end, a Dial's or Record's
/// action, a transcription); callbacks of recordings and of other legs don't, and give None.
pub fn arrival_of(form: &Form) -> Option<Update> {
    let callers_leg = form.get("ParentCallSid").is_empty() && form.get("Direction") == "inbound";
    if callers_leg && form.has("From") { arrival(form).ok() } else { None }
}

pub(super) fn voice(form: &Form) -> Result<Told, BadForm> {
    match form.get("Direction") {
        "" | "inbound" => arrival(form).map(Told::Call),
        // A call that was placed through the API asks the same URL; it isn't a caller's.
        _ => callers_call_id(form).map(|_| Told::Nothing),
    }
}

pub(super) fn dial(form: &Form) -> Result<Update, BadForm> {
    let outcome = match form.get("DialCallStatus") {
        "" => return Err(BadForm::Missing("DialCallStatus")),
        "answered" => DialOutcome::Completed,
        // The caller's own leg is over: it isn't that nobody answered, the caller didn't wait for it.
        "no-answer" if words::outcome(form.get("CallStatus")).is_some() => DialOutcome::Canceled,
        // A caller is waiting: with a word that we don't know they are better off in voicemail than cut off.
        other => words::outcome(other).unwrap_or(DialOutcome::Failed),
    };
    let bridged = match form.get("DialBridged") {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    };
    let end = DialEnd { outcome, bridged, duration_s: form.number("DialCallDuration") };
    Ok(Update { carrier_call_id: callers_call_id(form)?, fact: Fact::DialEnded(end) })
}

pub(super) fn whisper(form: &Form) -> Result<Update, BadForm> {
    Ok(Update { carrier_call_id: leg_call_id(form)?, fact: Fact::WhisperStarted })
}

pub(super) fn record(form: &Form) -> Result<Update, BadForm> {
    let fact = Fact::VoicemailEnded { duration_s: form.number("RecordingDuration") };
    Ok(Update { carrier_call_id: callers_call_id(form)?, fact })
}

pub(super) fn call_status(form: &Form) -> Result<Told, BadForm> {
    let carrier_call_id = callers_call_id(form)?;
    let outcome = words::outcome(form.get("CallStatus"));
    let callers_leg = form.get("ParentCallSid").is_empty();
    Ok(match outcome {
        Some(outcome) if callers_leg => {
            let fact = Fact::Ended(End { outcome, duration_s: form.number("CallDuration") });
            Told::Call(Update { carrier_call_id, fact })
        }
        _ => Told::Nothing,
    })
}

pub(super) fn leg_status(form: &Form) -> Result<Told, BadForm> {
    let carrier_call_id = leg_call_id(form)?;
    let state = match form.get("CallStatus") {
        "queued" | "initiated" => LegState::Initiated,
        "ringing" => LegState::Ringing,
        "in-progress" | "answered" => LegState::Answered,
        other => match words::outcome(other) {
            Some(outcome) => LegState::Ended(outcome),
            None => return Ok(Told::Nothing),
        },
    };
    let leg = Leg { state, sequence: form.number("SequenceNumber") };
    Ok(Told::Call(Update { carrier_call_id, fact: Fact::Leg(leg) }))
}

/// The call's id in a request about the destination's leg.
fn leg_call_id(form: &Form) -> Result<String, BadForm> {
    form.id("ParentCallSid")
}

/// The call's id in a request about the caller's leg.
fn callers_call_id(form: &Form) -> Result<String, BadForm> {
    form.id("CallSid")
}

fn arrival(form: &Form) -> Result<Update, BadForm> {
    let to = form.line("To", ADDRESS_CHARS_MAX);
    if to.is_empty() {
        return Err(BadForm::Missing("To"));
    }
    let arrival = Arrival {
        from: PhoneNumber::caller(form.get("From")),
        to,
        forwarded_from: form.line("ForwardedFrom", ADDRESS_CHARS_MAX),
        caller_name: form.line("CallerName", NAME_CHARS_MAX),
        geo: Geo {
            city: words::title_case(&form.line("FromCity", PLACE_CHARS_MAX)),
            state: form.line("FromState", PLACE_CHARS_MAX),
            zip: form.line("FromZip", ZIP_CHARS_MAX),
            country: words::country(&form.line("FromCountry", PLACE_CHARS_MAX)),
        },
        attestation: words::attestation(form.get("StirVerstat")),
    };
    Ok(Update { carrier_call_id: callers_call_id(form)?, fact: Fact::Arrived(arrival) })
}
