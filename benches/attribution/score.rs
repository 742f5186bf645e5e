//! Plays traffic and keeps count of what came of it.

use std::time::Duration;

use crate::desk::{Candidate, Desk, Seat};
use crate::traffic::{DAY, Traffic, What};

/// A call to a pool's number, and what was said of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    pub confidence: f64,
    pub right: bool,
    pub stray: bool,
    /// Somebody else had been given the number since the caller saw it.
    pub given_on: bool,
}

impl Call {
    /// The same, but for the rounding of sums in another order.
    pub fn is_like(&self, other: &Call) -> bool {
        let close = (self.confidence - other.confidence).abs() < 1e-9;
        close && Call { confidence: other.confidence, ..*self } == *other
    }
}

/// Visits of the busy hours of one day.
#[derive(Clone, Copy, Default)]
pub struct BusyDay {
    pub asked: u32,
    pub blocked: u32,
}

#[derive(Default)]
pub struct Score {
    /// For each visit the latest.
    pub seats: Vec<Seat>,
    /// For each number who was shown it last.
    holders: Vec<u32>,
    pub calls: Vec<Call>,
    pub days: Vec<BusyDay>,
}

/// A share and its standard error.
#[derive(Clone, Copy)]
pub struct Share {
    pub of: u32,
    pub share: f64,
    pub error: f64,
}

pub fn play(traffic: &Traffic, desk: &mut impl Desk) -> anyhow::Result<Score> {
    let mut score = Score { days: vec![BusyDay::default(); traffic.days as usize], ..Score::default() };
    score.seats = vec![Seat::Blocked; traffic.visitors.len()];
    for moment in &traffic.moments {
        let (at, visit, visitor) = (moment.at, moment.visit, traffic.visitors[moment.visit]);
        match moment.what {
            What::Begin => {
                let seat = desk.begin(at, visit, visitor)?;
                score.sit(visit, visitor, seat);
                score.ask(traffic, at, seat);
            }
            What::Seen => {
                if !desk.seen(at, visit)? {
                    let seat = desk.begin(at, visit, visitor)?;
                    score.sit(visit, visitor, seat);
                }
            }
            What::Dial => {
                // Without a number of the pool on the page it isn't a call that needs attribution.
                let Some(number) = score.seats[visit].number() else { continue };
                let given_on = score.holders[number] != visitor;
                score.called(desk.call(at, number)?.first(), Some(visitor), given_on);
            }
            What::Stray(millionths) => {
                let number = score.holders.len() * millionths as usize / 1_000_000;
                score.called(desk.call(at, number)?.first(), None, false);
            }
        }
    }
    Ok(score)
}

impl Score {
    fn sit(&mut self, visit: usize, visitor: u32, seat: Seat) {
        self.seats[visit] = seat;
        if let Some(number) = seat.number() {
            self.holders.resize(self.holders.len().max(number + 1), u32::MAX);
            self.holders[number] = visitor;
        }
    }

    fn ask(&mut self, traffic: &Traffic, at: Duration, seat: Seat) {
        if traffic.curve.is_busy(at) {
            let day = &mut self.days[(at.as_secs() / DAY.as_secs()) as usize];
            day.asked += 1;
            day.blocked += u32::from(seat.is_blocked());
        }
    }

    fn called(&mut self, said: Option<&Candidate>, caller: Option<u32>, given_on: bool) {
        let right = said.is_some_and(|said| Some(said.visitor) == caller);
        let confidence = said.map_or(0.0, |said| said.confidence);
        self.calls.push(Call { confidence, right, stray: caller.is_none(), given_on });
    }

    /// Of the visitors' calls, those of which this is true.
    pub fn calls_that(&self, is: impl Fn(&Call) -> bool) -> Share {
        let calls = self.calls.iter().filter(|call| !call.stray);
        let (of, those) = calls.fold((0, 0), |(of, those), call| (of + 1, those + u32::from(is(call))));
        let share = f64::from(those) / f64::from(of.max(1));
        Share { of, share, error: (share * (1.0 - share) / f64::from(of.max(1))).sqrt() }
    }

    /// Of the visits in the busy hours, those that found no number free. They come in bunches, days don't: the error is
    /// that of the days.
    pub fn blocked(&self) -> Share {
        let sum = |what: fn(&BusyDay) -> u32| self.days.iter().map(what).sum::<u32>();
        let of = sum(|day| day.asked);
        let share = f64::from(sum(|day| day.blocked)) / f64::from(of.max(1));
        let off = |day: &BusyDay| f64::from(day.blocked) - share * f64::from(day.asked);
        let variance: f64 = self.days.iter().map(|day| off(day).powi(2)).sum();
        Share { of, share, error: variance.sqrt() / f64::from(of.max(1)) }
    }
}
