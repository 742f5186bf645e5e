//! What a carrier may tell about a voicemail's transcription, in our words. Its audio is told of as a
//! recording (`recordings::update`).

/// A carrier's transcription ended. It may come before the recording's own callback, or never: carriers
/// don't transcribe what is shorter than 2 s or longer than 120 s, and then say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The carrier's id of the caller's leg.
    pub carrier_call_id: String,
    /// Of the recording that was transcribed.
    pub carrier_recording_id: String,
    /// None if it failed.
    pub text: Option<String>,
}
