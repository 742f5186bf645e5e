//! What a carrier may tell about a recording, in our words. `carriers` makes these of its dialect, from a
//! callback or when asked; whether the audio is fetched, and what for, is decided above.

/// One thing told about one recording. The same update may come late, twice, or before the call's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The carrier's id of the caller's leg, also where the destination's leg was recorded.
    pub carrier_call_id: String,
    pub carrier_recording_id: String,
    /// None if the carrier doesn't say, as when it was asked and names no verb.
    pub kind: Option<Kind>,
    pub outcome: Outcome,
}

/// What was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The conversation.
    Call,
    /// A message that the caller left.
    Voicemail,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    InProgress,
    Completed(Audio),
    /// There is no audio, for instance because nothing was said.
    Absent,
    Failed,
}

/// A recording that can be fetched from the carrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Whole seconds; 0 if the carrier didn't say.
    pub duration_s: u32,
    /// Where it lies, as the carrier wrote it: not to be fetched except through `carriers`, which knows
    /// the hosts that may be given the account's credentials.
    pub media_url: String,
    /// 2 if caller and destination are on a channel of their own.
    pub channels: u8,
}
