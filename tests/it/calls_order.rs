//! Callbacks of one call in any order, told once or twice: it is finished once, and as what it was. The rules
//! alone are tested with all their scenarios beside `calls::state`; here with the rows and the events.

use std::time::Duration;

use calltracker::calls::update::{
    Arrival, Attestation, DialEnd, DialOutcome, End, Fact, Geo, Leg, LegState, Update,
};
use calltracker::calls::{self, Recorded, Via};
use calltracker::kernel::phone::PhoneNumber;
use calltracker::kernel::seed::Seed;
use calltracker::recordings;
use calltracker::recordings::link::Links;
use calltracker::recordings::update::{Audio, Kind, Outcome};

use crate::support::line::{CALLER, Line, NUMBER};

/// Something that is told of a call, or of its recording.
#[derive(Clone)]
enum News {
    Call(Fact),
    Recording(Kind, u32),
}

fn leg(state: LegState) -> News {
    News::Call(Fact::Leg(Leg { state, sequence: None }))
}

fn dial(outcome: DialOutcome, bridged: bool) -> News {
    News::Call(Fact::DialEnded(DialEnd { outcome, bridged: Some(bridged), duration_s: None }))
}

fn ended(duration_s: u32) -> News {
    News::Call(Fact::Ended(End { outcome: DialOutcome::Completed, duration_s: Some(duration_s) }))
}

/// Name, news in order, status and duration in the end.
fn scenarios() -> Vec<(&'static str, Vec<News>, &'static str, i64)> {
    use DialOutcome::{Busy, Canceled, Completed, NoAnswer};
    let whisper = News::Call(Fact::WhisperStarted);
    let message = News::Call(Fact::VoicemailEnded { duration_s: Some(17) });
    vec![
        (
            "answered",
            vec![
                leg(LegState::Answered),
                whisper.clone(),
                leg(LegState::Ended(Completed)),
                dial(Completed, true),
                News::Recording(Kind::Call, 186),
                ended(219),
            ],
            "answered",
            219,
        ),
        (
            "voicemail",
            vec![
                leg(LegState::Ended(NoAnswer)),
                dial(NoAnswer, false),
                message,
                News::Recording(Kind::Voicemail, 17),
                ended(55),
            ],
            "voicemail",
            55,
        ),
        (
            "declined",
            vec![
                leg(LegState::Answered),
                whisper,
                leg(LegState::Ended(Completed)),
                dial(Completed, false),
                News::Recording(Kind::Call, 4),
                ended(20),
            ],
            "no_answer",
            20,
        ),
        ("busy", vec![leg(LegState::Ended(Busy)), dial(Busy, false), ended(4)], "busy", 4),
        ("left", vec![leg(LegState::Ended(Canceled)), dial(NoAnswer, false), ended(9)], "canceled", 9),
        ("left, unreported", vec![leg(LegState::Ended(NoAnswer)), ended(9)], "canceled", 9),
    ]
}

/// All the news, some of them twice, in a random order.
fn shuffled(news: &[News], seed: &Seed) -> Vec<News> {
    let again = news.iter().filter(|_| seed.below(2) == 0);
    let mut all: Vec<News> = news.iter().chain(again).cloned().collect();
    for at in (1..all.len()).rev() {
        let other = usize::try_from(seed.below(at as u64 + 1)).unwrap();
        all.swap(at, other);
    }
    all
}

async fn tell(line: &Line, call: &str, news: &News) -> Option<Recorded> {
    let via = Via { scope: line.company.scope, carrier: line.carrier };
    let (links, carrier_call_id) = (Links::of(&line.app.ctx), call.to_owned());
    match news.clone() {
        News::Call(fact) => {
            let update = Update { carrier_call_id, fact };
            Some(line.app.write(move |tx| calls::record(tx, via, &links, &update)).await)
        }
        News::Recording(kind, duration_s) => {
            let media_url = line.recording_url(call);
            let outcome = Outcome::Completed(Audio { duration_s, media_url, channels: 2 });
            let carrier_recording_id = format!("RE{call}");
            let kind = Some(kind);
            let update = recordings::update::Update { carrier_call_id, carrier_recording_id, kind, outcome };
            line.app.write(move |tx| calls::record_recording(tx, via, &links, &update).map(drop)).await;
            None
        }
    }
}

fn arrived() -> News {
    News::Call(Fact::Arrived(Arrival {
        from: PhoneNumber::from_e164(CALLER),
        to: NUMBER.to_owned(),
        forwarded_from: String::new(),
        caller_name: String::new(),
        geo: Geo::default(),
        attestation: Attestation::None,
    }))
}

#[tokio::test]
async fn order_and_repetition_change_nothing() {
    let line = Line::start().await;
    let seed = Seed::fixed(7);
    let mut expected = Vec::new();
    for (name, news, status, duration) in scenarios() {
        for round in 0..12 {
            let call = format!("CA{}x{round}", name.replace([' ', ','], ""));
            tell(&line, &call, &arrived()).await;
            for one in shuffled(&news, &seed) {
                tell(&line, &call, &one).await;
            }
            expected.push((call, news.clone(), status, duration));
        }
    }
    line.app.advance(Duration::from_secs(10));
    calls::settle(&line.app.ctx).await.unwrap();
    // Whatever is told of a finished call again changes nothing.
    for (call, news, _, _) in &expected {
        for one in news {
            tell(&line, call, one).await;
        }
    }
    let events = line.events().await;
    let finished: Vec<_> = events.iter().filter(|(kind, _)| kind == "call.finished").collect();
    assert_eq!((events.len(), finished.len()), (2 * expected.len(), expected.len()));
    for (at, (call, _, status, duration)) in expected.iter().enumerate() {
        let id = i64::try_from(at + 1).unwrap();
        let told = finished.iter().filter(|(_, data)| data["id"] == id).collect::<Vec<_>>();
        assert_eq!(told.len(), 1, "{call}");
        assert_eq!(
            (told[0].1["status"].as_str(), told[0].1["call_duration"].as_i64()),
            (Some(*status), Some(*duration)),
            "{call}"
        );
        let stored = line.company.scope;
        let id = calltracker::kernel::id::CallId(id);
        let view = line.app.write(move |tx| calls::get(tx, stored, id)).await.unwrap();
        assert_eq!(view.call.status.as_str(), *status, "{call}");
    }
}

#[tokio::test]
async fn a_late_answer_does_not_reopen_a_call() {
    let line = Line::start().await;
    tell(&line, "CA1", &arrived()).await;
    tell(&line, "CA1", &ended(30)).await;
    line.app.advance(Duration::from_secs(9));
    assert_eq!(calls::settle(&line.app.ctx).await.unwrap(), 0, "what is late is waited for");
    line.app.advance(Duration::from_secs(1));
    calls::settle(&line.app.ctx).await.unwrap();
    tell(&line, "CA1", &dial(DialOutcome::Completed, true)).await;
    line.app.advance(Duration::from_secs(60));
    calls::settle(&line.app.ctx).await.unwrap();
    let finished = Line::only(&line.events().await, "call.finished");
    assert_eq!(finished["status"], "canceled");
}
