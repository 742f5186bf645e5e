//! What a carrier's request tells, in our words. Pure: it neither knows our calls nor decides what the news
//! mean (`calls::state` and its like do). `http::carrier` calls it after the signature was checked.
//!
//! Odd facts (carrier's pages "TwiML request parameters", "Dial", "Number", "Recording status callback"):
//! - The destination's leg has a `CallSid` of its own; the call is its `ParentCallSid`. Recordings name the
//!   caller's leg even where the destination's was recorded.
//! - A final `CallStatus` of the caller's leg says nothing about the destination: a call that rang out and
//!   went to voicemail is `completed`. Only the Dial's end tells.
//! - A caller who withholds their number comes as `anonymous`, `restricted`, or anything that isn't E.164.
//! - Values may be empty, cities are in capitals, toll-free callers have no place at all.

mod calls;
mod messages;
mod recordings;

use crate::carriers::form::{BadForm, Form};
use crate::carriers::hook::{Hook, HookQuery};

pub use calls::arrival_of;

/// A number or address as a carrier writes it, in characters: SIP addresses are the longest.
const ADDRESS_CHARS_MAX: usize = 128;
/// Where media may lie, in characters; none is over 300.
const URL_CHARS_MAX: usize = 2_000;

/// What one request tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Call(crate::calls::update::Update),
    Recording(crate::recordings::update::Update),
    Transcription(crate::voicemails::update::Update),
    Message(crate::messages::update::Arrival),
    MessageStatus(crate::messages::update::Status),
    /// Nothing that changes anything here: a state in between, or a word that we don't know.
    Nothing,
}

/// Reads a request to `hook`, with the hook's query and the body's form.
///
/// # Errors
/// If what identifies the thing told of is missing or isn't an id. Everything else may be missing.
pub fn decode(hook: Hook, query: HookQuery, form: &Form) -> Result<Told, BadForm> {
    match hook {
        Hook::Voice => calls::voice(form),
        Hook::Dial => calls::dial(form).map(Told::Call),
        Hook::Whisper => calls::whisper(form).map(Told::Call),
        Hook::Gather => Ok(Told::Nothing),
        Hook::Record => calls::record(form).map(Told::Call),
        Hook::CallStatus => calls::call_status(form),
        Hook::LegStatus => calls::leg_status(form),
        Hook::Recording => recordings::recording(query, form),
        Hook::Transcription => recordings::transcription(form),
        Hook::Message => messages::arrival(form).map(Told::Message),
        Hook::MessageStatus => messages::status(form),
    }
}

#[cfg(test)]
mod tests;
