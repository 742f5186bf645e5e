//! What a carrier's news make of a call. Pure: [`apply`] merges a fact, [`status`] and [`final_status`] say what
//! the facts mean, [`is_settled`] whether the end can be told yet. `calls::record` keeps the facts in the row.
//!
//! Facts only ever grow, each in a direction of its own, so that the order in which news arrive and how often
//! doesn't matter; the carriers' own sequence numbers aren't needed. Two rules follow:
//! - A call has no final status until its end is told of *and* nothing that may still come could change what it
//!   is. What doesn't come within [`GRACE`] isn't waited for.
//! - A finished call stays as it was told, whatever comes afterwards.
//!
//! Odd facts (carriers' pages on Dial and call status):
//! - The caller's leg is "completed" whether somebody was reached or not: only the Dial's end tells.
//! - If the caller hangs up while it rings, the Dial's end comes as "canceled" or not at all, and the leg to
//!   the destination ends as "canceled" or "no-answer".
//! - Twilio says whether the two were connected (`DialBridged`), SignalWire doesn't. There a destination that
//!   picked up counts as connected, also if it hung up in its whisper. Nor does it say of a recording that is
//!   found by asking which verb made it ([`recorded_kind`]).

use std::time::Duration;

use super::update::{DialEnd, DialOutcome, End, Fact, LegState};
use crate::recordings::update::Kind;

/// How long news that came late are waited for after a call's end. Callbacks of one call are sent at the same
/// time and arrive within a second or two of each other; this is for the slow ones.
pub const GRACE: Duration = Duration::from_secs(10);

/// What was done with a call when it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Sent on to the tracker's destination.
    Forwarded,
    /// Refused, because the company blocked the caller.
    Blocked,
    /// Told that the number isn't in service, because the tracker is switched off.
    OutOfService,
}

impl Treatment {
    pub const ALL: [Treatment; 3] = [Treatment::Forwarded, Treatment::Blocked, Treatment::OutOfService];

    pub fn as_str(self) -> &'static str {
        match self {
            Treatment::Forwarded => "forwarded",
            Treatment::Blocked => "blocked",
            Treatment::OutOfService => "out_of_service",
        }
    }

    pub fn parse(text: &str) -> Option<Treatment> {
        Treatment::ALL.into_iter().find(|t| t.as_str() == text)
    }
}

/// The contract's words for how a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Ringing,
    InProgress,
    /// Someone at the destination picked up and was connected.
    Answered,
    NoAnswer,
    Busy,
    Failed,
    /// The caller left before anyone was reached.
    Canceled,
    /// Nobody was reached and the caller left a message.
    Voicemail,
    Blocked,
}

impl Status {
    pub const ALL: [Status; 9] = [
        Status::Ringing,
        Status::InProgress,
        Status::Answered,
        Status::NoAnswer,
        Status::Busy,
        Status::Failed,
        Status::Canceled,
        Status::Voicemail,
        Status::Blocked,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ringing => "ringing",
            Status::InProgress => "in_progress",
            Status::Answered => "answered",
            Status::NoAnswer => "no_answer",
            Status::Busy => "busy",
            Status::Failed => "failed",
            Status::Canceled => "canceled",
            Status::Voicemail => "voicemail",
            Status::Blocked => "blocked",
        }
    }

    pub fn parse(text: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Whether a call that is this stays this.
    pub fn is_final(self) -> bool {
        !matches!(self, Status::Ringing | Status::InProgress)
    }
}

/// All that is known of a call's course.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub treatment: Treatment,
    /// The destination's side picked up: a person, or a machine.
    pub leg_answered: bool,
    pub leg_ended: Option<DialOutcome>,
    pub whisper_started: bool,
    pub dial: Option<DialEnd>,
    /// Whole seconds of the message that the caller left.
    pub voicemail_s: Option<u32>,
    /// The caller's leg ended.
    pub end: Option<End>,
}

impl Facts {
    /// Those of a call that just arrived.
    pub fn new(treatment: Treatment) -> Facts {
        Facts {
            treatment,
            leg_answered: false,
            leg_ended: None,
            whisper_started: false,
            dial: None,
            voicemail_s: None,
            end: None,
        }
    }
}

/// The facts with one more: the same whatever the order, and however often it is told.
#[must_use]
pub fn apply(facts: &Facts, fact: &Fact) -> Facts {
    let mut next = facts.clone();
    match fact {
        Fact::Arrived(_) => {}
        Fact::Leg(leg) => match leg.state {
            LegState::Initiated | LegState::Ringing => {}
            LegState::Answered => next.leg_answered = true,
            LegState::Ended(outcome) => {
                next.leg_answered |= outcome == DialOutcome::Completed;
                next.leg_ended = stronger(next.leg_ended, Some(outcome), rank);
            }
        },
        Fact::WhisperStarted => next.whisper_started = true,
        Fact::DialEnded(end) => {
            next.dial = Some(next.dial.map_or_else(|| end.clone(), |known| merge_dials(&known, end)));
        }
        Fact::VoicemailEnded { duration_s } => next.voicemail_s = next.voicemail_s.max(*duration_s),
        Fact::Ended(end) => {
            next.end = Some(next.end.map_or_else(|| end.clone(), |known| merge_ends(&known, end)));
        }
    }
    next
}

fn merge_dials(a: &DialEnd, b: &DialEnd) -> DialEnd {
    DialEnd {
        outcome: if rank(a.outcome) >= rank(b.outcome) { a.outcome } else { b.outcome },
        bridged: a.bridged.max(b.bridged),
        duration_s: a.duration_s.max(b.duration_s),
    }
}

fn merge_ends(a: &End, b: &End) -> End {
    End {
        outcome: if rank(a.outcome) >= rank(b.outcome) { a.outcome } else { b.outcome },
        duration_s: a.duration_s.max(b.duration_s),
    }
}

fn stronger(
    a: Option<DialOutcome>,
    b: Option<DialOutcome>,
    rank: impl Fn(DialOutcome) -> u8,
) -> Option<DialOutcome> {
    if a.map(&rank) >= b.map(&rank) { a } else { b }
}

/// Which of two contradicting outcomes holds. A carrier tells one; this only makes sure that it doesn't depend
/// on the order if it ever tells two.
fn rank(outcome: DialOutcome) -> u8 {
    match outcome {
        DialOutcome::Canceled => 0,
        DialOutcome::NoAnswer => 1,
        DialOutcome::Failed => 2,
        DialOutcome::Busy => 3,
        DialOutcome::Completed => 4,
    }
}

/// How a call is that isn't finished: never a final status.
pub fn status(facts: &Facts) -> Status {
    let picked_up = facts.leg_answered || facts.whisper_started || facts.dial.is_some();
    if facts.treatment == Treatment::Forwarded && picked_up { Status::InProgress } else { Status::Ringing }
}

/// What a call was that ended, by what is known now.
pub fn final_status(facts: &Facts) -> Status {
    match facts.treatment {
        Treatment::Blocked => Status::Blocked,
        // The caller was there and nobody spoke with them.
        Treatment::OutOfService => Status::NoAnswer,
        Treatment::Forwarded if was_answered(facts) => Status::Answered,
        Treatment::Forwarded if facts.voicemail_s > Some(0) => Status::Voicemail,
        Treatment::Forwarded => unanswered(facts),
    }
}

fn unanswered(facts: &Facts) -> Status {
    let dial = facts.dial.as_ref().map(|dial| dial.outcome);
    match (dial, facts.leg_ended) {
        // Nobody cancels but the caller, by leaving.
        (Some(DialOutcome::Canceled), _) | (_, Some(DialOutcome::Canceled)) => Status::Canceled,
        (Some(DialOutcome::Busy), _) | (None, Some(DialOutcome::Busy)) => Status::Busy,
        (Some(DialOutcome::Failed), _) | (None, Some(DialOutcome::Failed)) => Status::Failed,
        // Picked up, but declined in the whisper.
        (Some(DialOutcome::NoAnswer | DialOutcome::Completed), _) => Status::NoAnswer,
        (None, Some(DialOutcome::NoAnswer | DialOutcome::Completed) | None) => without_dial_end(facts),
    }
}

/// Carriers need not tell of a Dial's end if the caller left in it.
fn without_dial_end(facts: &Facts) -> Status {
    match facts.end.as_ref().map(|end| end.outcome) {
        Some(DialOutcome::Failed) => Status::Failed,
        Some(DialOutcome::Busy) => Status::Busy,
        Some(DialOutcome::Completed | DialOutcome::NoAnswer | DialOutcome::Canceled) | None => {
            Status::Canceled
        }
    }
}

/// Whether caller and destination were connected, by what is known now.
pub fn was_answered(facts: &Facts) -> bool {
    match &facts.dial {
        Some(DialEnd { bridged: Some(bridged), .. }) => *bridged,
        // A carrier that doesn't say: someone picked up, and there is a second witness of it.
        Some(DialEnd { outcome: DialOutcome::Completed, bridged: None, duration_s }) => {
            facts.leg_answered || *duration_s > Some(0)
        }
        Some(DialEnd { bridged: None, .. }) => false,
        // The report got lost; without a whisper who picks up is connected then and there.
        None => facts.leg_answered && !facts.whisper_started,
    }
}

/// Whether it is certain that nobody was connected, so that a recording of the Dial holds a whisper at most. In
/// doubt it isn't: what is discarded can't be had again.
pub fn was_not_bridged(facts: &Facts) -> bool {
    match &facts.dial {
        Some(DialEnd { bridged: Some(bridged), .. }) => !*bridged,
        Some(dial) => is_unreached(dial) && !facts.leg_answered && !facts.whisper_started,
        None => false,
    }
}

/// What was recorded, where the carrier doesn't say which verb did it: the voicemail, if the caller was not
/// connected and could leave one.
pub fn recorded_kind(facts: &Facts) -> Kind {
    let offered = facts.voicemail_s.is_some() || facts.dial.as_ref().is_some_and(is_unreached);
    if offered && !was_answered(facts) { Kind::Voicemail } else { Kind::Call }
}

/// Whether what the caller shall hear after the forwarding is a voicemail's greeting: nobody was connected,
/// and the caller is still there. In doubt they were connected: nobody is to be asked for a message after
/// a conversation.
pub fn may_leave_voicemail(facts: &Facts) -> bool {
    let Some(dial) = &facts.dial else { return false };
    is_unreached(dial) && facts.end.is_none()
}

/// Whether the forwarding ended with nobody connected and the caller still there, by what it says itself.
fn is_unreached(dial: &DialEnd) -> bool {
    match (dial.outcome, dial.bridged) {
        (DialOutcome::Canceled, _) => false,
        (_, Some(bridged)) => !bridged,
        (DialOutcome::Completed, None) => false,
        (DialOutcome::Busy | DialOutcome::NoAnswer | DialOutcome::Failed, None) => true,
    }
}

/// Whether the final status can be told: the call ended, and no news that may still be under way could change
/// [`final_status`]. `voicemail`: the tracker takes messages.
pub fn is_settled(facts: &Facts, voicemail: bool) -> bool {
    let dial = match (&facts.end, facts.treatment, &facts.dial) {
        (None, _, _) => return false,
        (Some(_), Treatment::Blocked | Treatment::OutOfService, _) => return true,
        (Some(_), Treatment::Forwarded, None) => return false,
        (Some(_), Treatment::Forwarded, Some(dial)) => dial,
    };
    let message_known = facts.voicemail_s > Some(0) || !voicemail;
    match (dial.outcome, dial.bridged) {
        _ if was_answered(facts) => true,
        (DialOutcome::Canceled, _) => true,
        // Whether anyone picked up is told by the leg.
        (DialOutcome::Completed, None) => false,
        (DialOutcome::Completed | DialOutcome::Busy | DialOutcome::Failed, _) => message_known,
        // The leg's end tells whether the caller left while it rang; not if there is a message.
        (DialOutcome::NoAnswer, _) => {
            facts.voicemail_s > Some(0) || (message_known && facts.leg_ended.is_some())
        }
    }
}

#[cfg(test)]
mod tests;
