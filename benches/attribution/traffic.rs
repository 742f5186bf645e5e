//! Visitors of a web site as they might be, and what they do: the truth that attribution is measured against. None of
//! it depends on what the pool does; which number is dialled does, and is up to who plays it.

use std::time::Duration;

use calltracker::kernel::clock::Micros;

use crate::chance::Chance;

/// Midnight of 2026-01-05, a Monday, in UTC.
pub const START: Micros = Micros(1_767_571_200_000_000);
pub const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
/// While a page is visible.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Visitors of each hour of the day, as a share of the busiest: a business that is called in office hours.
const DAY_CURVE: [f64; 24] = [
    0.06, 0.04, 0.03, 0.03, 0.04, 0.08, 0.20, 0.45, 0.75, 0.92, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.95, 0.85,
    0.70, 0.60, 0.50, 0.35, 0.22, 0.12,
];

/// The hours of [`DAY_CURVE`] in which a prediction for the busiest hour holds: as busy, and for two hours before them.
const BUSY: std::ops::Range<u128> = 12..16;

/// Of all visits. Common figures for local services are 2 to 10 %.
const CALLERS: f64 = 0.05;
/// Of all visits, those that are followed by another of the same visitor, some hours later.
const RETURNING: f64 = 0.20;
/// A visitor who is back sooner is still in the same visit.
const IDLE: Duration = Duration::from_secs(31 * 60);
/// Of all visits, those in which the page is out of sight for some minutes and then looked at again.
const AWAY: f64 = 0.12;
/// Of those who dial with the page open, those whose page vanishes behind the telephone's app.
const MOBILE: f64 = 0.6;

/// When people dial, and who else does.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    /// Shares: with the page open; soon after (minutes); later (half an hour); from a note (hours).
    pub delays: [f64; 4],
    /// Calls to a pool's number by people who never saw it, for each call of a visitor.
    pub strays: f64,
}

/// The times that each share of [`Scenario::delays`] takes are in [`Maker::dial`]. None is of the model's shape.
pub const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "usual", delays: [0.72, 0.245, 0.025, 0.01], strays: 0.0 },
    Scenario { name: "phones", delays: [0.90, 0.085, 0.010, 0.005], strays: 0.0 },
    Scenario { name: "strays", delays: [0.72, 0.245, 0.025, 0.01], strays: 0.02 },
    Scenario { name: "noted", delays: [0.45, 0.35, 0.12, 0.08], strays: 0.0 },
];

/// How the traffic changes over the day.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    Day,
    /// The busiest hour for ever.
    Steady,
}

impl Curve {
    pub fn name(self) -> &'static str {
        match self {
            Curve::Day => "the busy hours of days",
            Curve::Steady => "day and night",
        }
    }

    fn share(self, at: Duration) -> f64 {
        match self {
            Curve::Day => DAY_CURVE[(hour(at) % 24) as usize],
            Curve::Steady => 1.0,
        }
    }

    /// Whether the traffic is, and has been for a while, that of the busiest hour.
    pub fn is_busy(self, at: Duration) -> bool {
        match self {
            Curve::Day => BUSY.contains(&(hour(at) % 24)),
            // The pool starts empty.
            Curve::Steady => hour(at) >= 3,
        }
    }

    fn busy_hours(self, days: u32) -> f64 {
        let hours = 24 * u128::from(days);
        (0..hours).filter(|hour| self.is_busy(HOUR * *hour as u32)).count() as f64
    }
}

fn hour(at: Duration) -> u128 {
    at.as_nanos() / HOUR.as_nanos()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A visit begins, with its first page.
    Begin,
    /// A heartbeat or another page.
    Seen,
    /// The visit's visitor dials the number that he has been shown.
    Dial,
    /// Somebody dials a number of the pool that nobody has shown him: which one, from 0 to 1, in millionths.
    Stray(u32),
}

/// What happens, since [`START`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    pub at: Duration,
    /// An index of [`Traffic::visitors`].
    pub visit: usize,
    pub what: What,
}

pub struct Traffic {
    pub curve: Curve,
    pub days: u32,
    /// For each visit who makes it.
    pub visitors: Vec<u32>,
    /// In the order of time.
    pub moments: Vec<Moment>,
}

impl Traffic {
    pub fn busy_hours(&self) -> f64 {
        self.curve.busy_hours(self.days)
    }
}

/// New visitors come at random, `per_hour` of them in the busiest hour; those who return come on top.
pub fn make(scenario: Scenario, curve: Curve, days: u32, per_hour: f64, seed: u64) -> Traffic {
    let traffic = Traffic { curve, days, visitors: Vec::new(), moments: Vec::new() };
    let mut maker = Maker { chance: Chance::of(seed), scenario, traffic };
    let (mut at, mut visitor) = (Duration::ZERO, 0);
    loop {
        at += maker.chance.exponential(60.0 / per_hour);
        if at >= DAY * days {
            break;
        }
        let share = curve.share(at);
        if maker.chance.happens(share) {
            maker.visitor(visitor, at);
            visitor += 1;
        }
    }
    let mut traffic = maker.traffic;
    traffic.moments.retain(|moment| moment.at < DAY * days);
    traffic.moments.sort_unstable();
    traffic
}

struct Maker {
    chance: Chance,
    scenario: Scenario,
    traffic: Traffic,
}

impl Maker {
    fn visitor(&mut self, visitor: u32, at: Duration) {
        let mut end = self.visit(visitor, at);
        while self.chance.happens(RETURNING) {
            let begin = end + self.chance.log_normal(300.0, 1.5).max(IDLE);
            end = self.visit(visitor, begin);
        }
    }

    /// Gives when the page was seen last.
    fn visit(&mut self, visitor: u32, at: Duration) -> Duration {
        let visit = self.traffic.visitors.len();
        self.traffic.visitors.push(visitor);
        self.put(at, visit, What::Begin);
        let how = self.chance.happens(CALLERS).then(|| self.chance.which(&self.scenario.delays));
        let mut end = self.look(visit, at, how == Some(0));
        if self.chance.happens(AWAY) {
            let back = end + self.chance.exponential(8.0).min(25 * HEARTBEAT);
            self.put(back, visit, What::Seen);
            end = self.look(visit, back, false);
        }
        self.dial(visit, end, how);
        end
    }

    /// The page is visible for a while; someone may dial meanwhile. Gives when it no longer is.
    fn look(&mut self, visit: usize, at: Duration, dials: bool) -> Duration {
        let mut visible = self.chance.log_normal(1.3, 1.1).min(HOUR);
        if dials {
            let dialled = self.part_of(visible);
            self.put(at + dialled, visit, What::Dial);
            if self.chance.happens(MOBILE) {
                visible = dialled;
            }
        }
        let mut beat = at + HEARTBEAT;
        while beat <= at + visible {
            self.put(beat, visit, What::Seen);
            beat += HEARTBEAT;
        }
        while self.chance.happens(0.4) {
            let page = at + self.part_of(visible);
            self.put(page, visit, What::Seen);
        }
        at + visible
    }

    /// Who hasn't dialled with the page open does so after it was.
    fn dial(&mut self, visit: usize, end: Duration, how: Option<usize>) {
        let delay = match how {
            Some(1) => self.chance.weibull(4.0, 0.8),
            Some(2) => self.chance.log_normal(25.0, 0.6),
            Some(3) => self.chance.log_normal(300.0, 1.3),
            _ => Duration::ZERO,
        };
        if how.is_some_and(|how| how > 0) {
            self.put(end + delay, visit, What::Dial);
        }
        if how.is_some() && self.chance.happens(self.scenario.strays) {
            let (at, number) = (self.chance.exponential(1440.0), self.chance.uniform() * 1e6);
            self.put(end + at, visit, What::Stray(number as u32));
        }
    }

    fn part_of(&mut self, time: Duration) -> Duration {
        Duration::from_micros((time.as_micros() as f64 * self.chance.uniform()) as u64)
    }

    fn put(&mut self, at: Duration, visit: usize, what: What) {
        self.traffic.moments.push(Moment { at, visit, what });
    }
}
