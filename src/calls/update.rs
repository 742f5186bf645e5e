//! What a carrier may tell about a call, in our words. `carriers` makes these of its dialect;
//! `calls::state` decides what they mean.

use crate::kernel::phone::PhoneNumber;

/// One thing told about one call. The same update may come late, twice, or before an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The carrier's id of the caller's leg: what identifies the call.
    pub carrier_call_id: String,
    pub fact: Fact,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A call reached a tracking number.
    Arrived(Arrival),
    /// The leg to the destination changed.
    Leg(Leg),
    /// The destination picked up and its whisper was asked for.
    WhisperStarted,
    /// The forwarding ended; the caller may still be there.
    DialEnded(DialEnd),
    /// The caller ended a voicemail, or hung up in it.
    VoicemailEnded { duration_s: Option<u32> },
    /// The caller's leg ended: the call is over.
    Ended(End),
}

/// A new call as the carrier presents it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// None if the caller withheld it or it isn't a number that can be called.
    pub from: Option<PhoneNumber>,
    /// The number dialled, as the carrier wrote it.
    pub to: String,
    pub forwarded_from: String,
    pub caller_name: String,
    pub geo: Geo,
    pub attestation: Attestation,
}

/// Where the caller's number is registered; "" where the carrier didn't say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geo {
    /// In title case (carriers send capitals).
    pub city: String,
    pub state: String,
    pub zip: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

/// How far the carrier vouches for the caller's number (STIR/SHAKEN, RFC 8588).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attestation {
    /// Full: the carrier knows the caller and their right to the number.
    A,
    /// Partial: it knows the caller.
    B,
    /// Gateway: it only knows where the call entered.
    C,
    Failed,
    /// Not signed, or the carrier doesn't say.
    None,
}

impl Attestation {
    pub fn as_str(self) -> &'static str {
        match self {
            Attestation::A => "A",
            Attestation::B => "B",
            Attestation::C => "C",
            Attestation::Failed => "failed",
            Attestation::None => "",
        }
    }
}

/// A change of the leg to the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    pub state: LegState,
    /// The carrier's counter of this leg's reports; their order of arrival means nothing.
    pub sequence: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegState {
    Initiated,
    Ringing,
    /// Someone, or some machine, picked up.
    Answered,
    Ended(DialOutcome),
}

/// How the forwarding ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialEnd {
    pub outcome: DialOutcome,
    /// Whether caller and destination were connected; None if the carrier doesn't say.
    pub bridged: Option<bool>,
    pub duration_s: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialOutcome {
    /// Picked up (and, if the carrier says so, connected).
    Completed,
    Busy,
    NoAnswer,
    Failed,
    Canceled,
}

/// The end of the caller's leg. A carrier's "completed" only says that its instructions ran to the end:
/// a call that rang out and went to voicemail is completed too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub outcome: DialOutcome,
    /// Whole seconds of the caller's leg.
    pub duration_s: Option<u32>,
}
