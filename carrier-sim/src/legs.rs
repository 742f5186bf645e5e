//! The seam between the TwiML interpreter and the telephone network: what the interpreter needs of a call's legs. Here
//! they are simulated (`sim_legs`); a SIP gateway implements the same with real ones.
//!
//! Every method that takes time ends early when a leg it depends on leaves, and says which.

use std::future::Future;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::media::Sound;

/// A leg of a call; numbered in the order they were placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LegId(pub usize);

/// The leg the call began with.
pub const CALLER: LegId = LegId(0);

/// A leg has left the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone(pub LegId);

/// A step of a leg that was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegEvent {
    Ringing(LegId),
    Answered(LegId),
    Ended(LegId, Ending),
}

/// Why a leg that was placed is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Busy,
    Failed,
    HungUp,
}

/// Something a leg can be made to hear.
#[derive(Clone, Debug, PartialEq)]
pub enum Audio {
    Speech {
        text: String,
    },
    /// Its length as the file's header tells it.
    File {
        length: SignedDuration,
    },
    Keys {
        digits: String,
    },
    Silence {
        length: SignedDuration,
    },
}

/// How keys or speech are collected.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectRules {
    pub dtmf: bool,
    pub speech: bool,
    /// How long to wait after the prompts, and between keys.
    pub timeout: SignedDuration,
    pub num_digits: Option<u32>,
    pub finish_on_key: String,
}

/// What a leg gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Without the key that finished them.
    Digits(String),
    Speech(String),
    Nothing,
}

/// How one leg alone is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordRules {
    pub max_length: SignedDuration,
    /// This much silence ends it.
    pub silence: SignedDuration,
    pub finish_on_key: String,
    pub play_beep: bool,
    pub trim_silence: bool,
}

/// One leg's recording.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub started_at: Timestamp,
    pub sound: Sound,
    pub end: RecordEnd,
    /// What was said, where the network knows; otherwise somebody has to listen.
    pub transcript: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordEnd {
    HungUp,
    Key(char),
    Silence,
    MaxLength,
}

/// Why two legs do not hear each other any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeEnd {
    CallerLeft,
    CalleeLeft,
    TimeLimit,
}

/// A recording in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingHandle(pub usize);

/// The legs of one call.
pub trait Legs: Send {
    /// The call's own time.
    fn now(&self) -> Timestamp;

    /// The customer's server took this long in real time. Legs that live in real time have nothing to do.
    fn waited(&mut self, _real_time: Duration) {}

    /// Whether a leg is still there.
    fn is_present(&self, leg: LegId) -> bool;

    /// Picks up for the caller.
    fn answer(&mut self) -> impl Future<Output = ()> + Send;

    /// Starts calling a number; what comes of it is told by `next_event`. `sid` is how the REST API names the leg.
    fn place(&mut self, sid: &str, number: &str, caller_id: &str) -> impl Future<Output = LegId> + Send;

    /// The next step of the legs that were placed and have not ended; nothing when the deadline comes first.
    fn next_event(
        &mut self,
        deadline: Timestamp,
    ) -> impl Future<Output = Result<Option<LegEvent>, Gone>> + Send;

    /// Lets a leg hear something to its end.
    fn play(&mut self, leg: LegId, audio: &Audio) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Lets a leg hear prompts and collects what it answers.
    fn collect(
        &mut self,
        leg: LegId,
        prompts: &[Audio],
        rules: &CollectRules,
    ) -> impl Future<Output = Result<Heard, Gone>> + Send;

    /// Records the caller alone.
    fn record(&mut self, rules: &RecordRules) -> impl Future<Output = Recorded> + Send;

    /// Lets the caller and a leg talk.
    fn bridge(&mut self, callee: LegId, limit: SignedDuration) -> impl Future<Output = BridgeEnd> + Send;

    /// Starts recording the whole call from here.
    fn start_recording(&mut self) -> RecordingHandle;

    /// Ends that recording. Dual: channel 1 is the caller, 2 everybody else.
    fn stop_recording(&mut self, recording: RecordingHandle, dual: bool) -> Sound;

    /// Ends a leg.
    fn hang_up(&mut self, leg: LegId) -> impl Future<Output = ()> + Send;
}
