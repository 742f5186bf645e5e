//! What shall happen to a call, in neutral words. Routing produces a [`Plan`]; only `carriers` knows how a
//! carrier wants to hear it. Nothing here does I/O.

use crate::kernel::phone::PhoneNumber;

/// How long the destination rings when the tracker doesn't say, in seconds: five rings in North America,
/// below the usual 30 s after which mobile carriers' own voicemail answers.
pub const RING_TIMEOUT_S_DEFAULT: u32 = 25;
/// A forwarded call is cut off after this many seconds: the limit that carriers have by default (4 h).
pub const TIME_LIMIT_S: u32 = 4 * 3600;
/// A voicemail's length at most, in seconds; carriers transcribe only those under 120.
pub const VOICEMAIL_S_MAX: u32 = 119;
/// A voicemail ends after this many seconds of silence.
pub const VOICEMAIL_SILENCE_S: u32 = 5;

/// The steps of a call, done one after the other; after the last the carrier hangs up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Speaks a text to the caller.
    Say(String),
    /// Forwards the call; what follows is decided when the carrier reports how it went.
    Dial(Dial),
    /// Takes a message; what follows is decided when the carrier reports its end.
    Voicemail(Voicemail),
    /// Refuses the call before it is answered; the carrier doesn't charge for it.
    Reject,
    Hangup,
}

/// Forwards to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    pub destination: PhoneNumber,
    pub ring_timeout_s: u32,
    pub time_limit_s: u32,
    /// Records both sides on a channel of their own from when the destination answers.
    pub record: bool,
    /// Plays something to the destination before it is connected (the carrier asks for it then).
    pub whisper: bool,
}

/// Takes a message from the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voicemail {
    pub greeting: String,
    pub max_s: u32,
    pub silence_s: u32,
    /// The carrier shall transcribe it.
    pub transcribe: bool,
}

/// What the destination hears before it is connected; it alone hears it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whisper {
    pub message: String,
}
