//! Each scenario is what a carrier tells of one course of a call, in the order in which it happens. What comes
//! out may not depend on the order in which it arrives, nor on how often.

use proptest::prelude::*;

use super::*;
use crate::calls::update::Leg;

struct Scenario {
    name: &'static str,
    treatment: Treatment,
    /// The tracker takes messages.
    voicemail: bool,
    told: Vec<Fact>,
    status: Status,
    duration_s: u32,
}

fn leg(state: LegState) -> Fact {
    Fact::Leg(Leg { state, sequence: None })
}

fn dial(outcome: DialOutcome, bridged: Option<bool>, duration_s: Option<u32>) -> Fact {
    Fact::DialEnded(DialEnd { outcome, bridged, duration_s })
}

fn ended(outcome: DialOutcome, duration_s: u32) -> Fact {
    Fact::Ended(End { outcome, duration_s: Some(duration_s) })
}

/// A forwarded call to a tracker that takes messages.
fn forwarded(name: &'static str, status: Status, duration_s: u32, told: Vec<Fact>) -> Scenario {
    Scenario { name, treatment: Treatment::Forwarded, voicemail: true, told, status, duration_s }
}

fn scenarios() -> Vec<Scenario> {
    use DialOutcome::{Busy, Canceled, Completed, Failed, NoAnswer};
    use LegState::{Answered, Ended, Initiated, Ringing};
    let mut all = vec![
        forwarded(
            "answered",
            Status::Answered,
            219,
            vec![
                leg(Initiated),
                leg(Ringing),
                leg(Answered),
                leg(Ended(Completed)),
                dial(Completed, Some(true), Some(186)),
                ended(Completed, 219),
            ],
        ),
        forwarded(
            "answered with a whisper",
            Status::Answered,
            90,
            vec![
                leg(Ringing),
                leg(Answered),
                Fact::WhisperStarted,
                leg(Ended(Completed)),
                dial(Completed, Some(true), Some(80)),
                ended(Completed, 90),
            ],
        ),
        forwarded(
            "answered, at a carrier that doesn't tell of the bridge",
            Status::Answered,
            60,
            vec![leg(Answered), leg(Ended(Completed)), dial(Completed, None, Some(50)), ended(Completed, 60)],
        ),
        forwarded(
            "missed, then a message",
            Status::Voicemail,
            55,
            vec![
                leg(Ringing),
                leg(Ended(NoAnswer)),
                dial(NoAnswer, Some(false), None),
                Fact::VoicemailEnded { duration_s: Some(17) },
                Fact::VoicemailEnded { duration_s: Some(17) },
                ended(Completed, 55),
            ],
        ),
        forwarded(
            "missed, and the message is too short to be one",
            Status::NoAnswer,
            31,
            vec![
                leg(Ringing),
                leg(Ended(NoAnswer)),
                dial(NoAnswer, Some(false), None),
                Fact::VoicemailEnded { duration_s: Some(0) },
                ended(Completed, 31),
            ],
        ),
        forwarded(
            "missed, and the caller leaves in the greeting",
            Status::NoAnswer,
            28,
            vec![leg(Ended(NoAnswer)), dial(NoAnswer, Some(false), None), ended(Completed, 28)],
        ),
        forwarded(
            "whisper declined, then a message",
            Status::Voicemail,
            40,
            vec![
                leg(Answered),
                Fact::WhisperStarted,
                leg(Ended(Completed)),
                dial(Completed, Some(false), Some(6)),
                Fact::VoicemailEnded { duration_s: Some(9) },
                ended(Completed, 40),
            ],
        ),
        forwarded(
            "whisper declined",
            Status::NoAnswer,
            20,
            vec![
                leg(Answered),
                Fact::WhisperStarted,
                leg(Ended(Completed)),
                dial(Completed, Some(false), Some(6)),
                ended(Completed, 20),
            ],
        ),
        forwarded(
            "busy",
            Status::Busy,
            4,
            vec![leg(Ended(Busy)), dial(Busy, Some(false), None), ended(Completed, 4)],
        ),
        forwarded(
            "failed",
            Status::Failed,
            2,
            vec![leg(Initiated), leg(Ended(Failed)), dial(Failed, Some(false), None), ended(Completed, 2)],
        ),
        forwarded(
            "the caller leaves while it rings",
            Status::Canceled,
            9,
            vec![leg(Ringing), leg(Ended(Canceled)), dial(NoAnswer, Some(false), None), ended(Completed, 9)],
        ),
        forwarded(
            "the caller leaves while it rings, and the Dial says so",
            Status::Canceled,
            9,
            vec![leg(Ringing), leg(Ended(NoAnswer)), dial(Canceled, Some(false), None), ended(Completed, 9)],
        ),
        forwarded(
            "the caller leaves while it rings, and the Dial's end isn't told",
            Status::Canceled,
            9,
            vec![leg(Ringing), leg(Ended(NoAnswer)), ended(Completed, 9)],
        ),
        forwarded("the caller leaves in the disclosure", Status::Canceled, 3, vec![ended(Completed, 3)]),
        forwarded(
            "the caller leaves in the whisper, and the Dial's end isn't told",
            Status::Canceled,
            12,
            vec![leg(Answered), Fact::WhisperStarted, leg(Ended(Completed)), ended(Completed, 12)],
        ),
        forwarded(
            "answered, and the Dial's end got lost",
            Status::Answered,
            100,
            vec![leg(Answered), leg(Ended(Completed)), ended(Completed, 100)],
        ),
    ];
    let mut no_messages = forwarded(
        "missed, and the tracker takes no messages",
        Status::NoAnswer,
        25,
        vec![leg(Ended(NoAnswer)), dial(NoAnswer, Some(false), None), ended(Completed, 25)],
    );
    no_messages.voicemail = false;
    let mut blocked = forwarded("blocked", Status::Blocked, 0, vec![ended(Busy, 0)]);
    blocked.treatment = Treatment::Blocked;
    let mut off = forwarded("switched off", Status::NoAnswer, 5, vec![ended(Completed, 5)]);
    off.treatment = Treatment::OutOfService;
    all.extend([no_messages, blocked, off]);
    all
}

#[test]
fn each_scenario_ends_as_the_contract_names_it() {
    for scenario in scenarios() {
        let start = Facts::new(scenario.treatment);
        let facts = scenario.told.iter().fold(start, |facts, fact| apply(&facts, fact));
        assert_eq!(final_status(&facts), scenario.status, "{}", scenario.name);
        assert_eq!(facts.end.and_then(|end| end.duration_s), Some(scenario.duration_s), "{}", scenario.name);
    }
}

/// What `calls::record` does with a call's row: finishes it once it is settled, and at the latest when nothing
/// more came. Gives each status that the row has had.
fn run(scenario: &Scenario, told: &[Fact]) -> Vec<Status> {
    let mut facts = Facts::new(scenario.treatment);
    let mut seen = vec![status(&facts)];
    let mut finished = false;
    for fact in told {
        facts = apply(&facts, fact);
        if !finished {
            finished = is_settled(&facts, scenario.voicemail);
            seen.push(if finished { final_status(&facts) } else { status(&facts) });
        }
    }
    if !finished {
        seen.push(final_status(&facts));
    }
    seen
}

/// A scenario with everything told once or more, in any order.
fn shuffled() -> impl Strategy<Value = (usize, Vec<Fact>)> {
    let all = scenarios();
    (0..all.len()).prop_flat_map(move |at| {
        let told = all[at].told.clone();
        let again = proptest::sample::subsequence(told.clone(), 0..=told.len());
        again.prop_flat_map(move |again| {
            let both: Vec<Fact> = told.iter().cloned().chain(again).collect();
            (Just(at), Just(both).prop_shuffle())
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn neither_order_nor_repetition_changes_what_a_call_was((at, told) in shuffled()) {
        let scenario = &scenarios()[at];
        let seen = run(scenario, &told);
        let (last, before) = seen.split_last().expect("there is always a status");
        prop_assert_eq!(*last, scenario.status, "{}", scenario.name);
        prop_assert!(before.iter().all(|status| !status.is_final()), "{}: {before:?}", scenario.name);
    }

    #[test]
    fn merging_is_idempotent_and_commutes((at, told) in shuffled()) {
        let start = Facts::new(scenarios()[at].treatment);
        let merged = |facts: &[Fact]| facts.iter().fold(start.clone(), |known, fact| apply(&known, fact));
        let (all, mut reversed) = (merged(&told), told.clone());
        reversed.reverse();
        prop_assert_eq!(&merged(&reversed), &all);
        prop_assert_eq!(&told.iter().fold(all.clone(), |known, fact| apply(&known, fact)), &all);
    }
}

#[test]
fn contradicting_news_are_merged_the_same_in_both_orders() {
    use DialOutcome::{Busy, Canceled, Completed, NoAnswer};
    let pairs = [
        (dial(NoAnswer, None, None), dial(Completed, Some(true), Some(3))),
        (dial(Completed, Some(false), Some(1)), dial(Busy, None, Some(2))),
        (ended(Canceled, 2), ended(Completed, 1)),
        (leg(LegState::Ended(Canceled)), leg(LegState::Ended(NoAnswer))),
    ];
    for (a, b) in pairs {
        let start = Facts::new(Treatment::Forwarded);
        assert_eq!(apply(&apply(&start, &a), &b), apply(&apply(&start, &b), &a), "{a:?} {b:?}");
    }
}

#[test]
fn a_message_is_asked_for_only_if_nobody_was_reached() {
    use DialOutcome::{Busy, Canceled, Completed, Failed, NoAnswer};
    let offered = |outcome, bridged| {
        may_leave_voicemail(&apply(&Facts::new(Treatment::Forwarded), &dial(outcome, bridged, None)))
    };
    assert!(offered(NoAnswer, Some(false)) && offered(Busy, None) && offered(Failed, None));
    assert!(offered(Completed, Some(false)), "declined in the whisper");
    assert!(!offered(Completed, Some(true)) && !offered(Completed, None) && !offered(Canceled, None));
    let gone = apply(&Facts::new(Treatment::Forwarded), &ended(Completed, 3));
    assert!(!may_leave_voicemail(&apply(&gone, &dial(NoAnswer, None, None))), "the caller has left");
}

/// A forwarded call's facts.
fn facts(told: &[Fact]) -> Facts {
    told.iter().fold(Facts::new(Treatment::Forwarded), |facts, fact| apply(&facts, fact))
}

#[test]
fn a_recording_is_only_worthless_if_it_is_certain_that_nobody_was_connected() {
    use DialOutcome::{Busy, Canceled, Completed, NoAnswer};
    let answered = leg(LegState::Answered);
    let certain = [
        facts(&[answered.clone(), dial(Completed, Some(false), Some(6))]),
        facts(&[dial(Canceled, Some(false), None)]),
        facts(&[dial(NoAnswer, None, None)]),
        facts(&[dial(Busy, None, None)]),
    ];
    for facts in certain {
        assert!(was_not_bridged(&facts), "{facts:?}");
    }
    let doubtful = [
        facts(&[]),
        facts(&[dial(Completed, Some(true), Some(6))]),
        facts(&[dial(Completed, None, None)]),
        facts(&[dial(Canceled, None, None)]),
        facts(&[answered, dial(NoAnswer, None, None)]),
        facts(&[Fact::WhisperStarted, dial(NoAnswer, None, None)]),
    ];
    for facts in doubtful {
        assert!(!was_not_bridged(&facts), "{facts:?}");
    }
}

#[test]
fn a_recording_that_nobody_names_is_the_message_of_who_could_leave_one() {
    use DialOutcome::{Canceled, Completed, Failed, NoAnswer};
    let message = Fact::VoicemailEnded { duration_s: None };
    let left = [
        facts(&[dial(NoAnswer, None, None)]),
        facts(&[dial(Failed, None, None), ended(Completed, 40)]),
        facts(&[dial(Completed, Some(false), None)]),
        facts(&[Fact::VoicemailEnded { duration_s: Some(14) }, ended(Completed, 40)]),
    ];
    for facts in left {
        assert_eq!(recorded_kind(&facts), Kind::Voicemail, "{facts:?}");
    }
    let talked = [
        facts(&[]),
        facts(&[leg(LegState::Answered), dial(Completed, None, Some(60))]),
        facts(&[dial(Completed, Some(true), None), message]),
        facts(&[dial(Completed, None, None)]),
        facts(&[dial(Canceled, None, None)]),
    ];
    for facts in talked {
        assert_eq!(recorded_kind(&facts), Kind::Call, "{facts:?}");
    }
}

#[test]
fn words_round_trip() {
    for status in Status::ALL {
        assert_eq!(Status::parse(status.as_str()), Some(status));
    }
    for treatment in Treatment::ALL {
        assert_eq!(Treatment::parse(treatment.as_str()), Some(treatment));
    }
}
