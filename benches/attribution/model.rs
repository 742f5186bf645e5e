//! The pool's rules once more, in memory and without a database: to play far more days than the product can in the
//! same time, and to check that the product does what its rules say.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use calltracker::visits::confidence::{self, LeaseFacts};

use crate::desk::{Candidate, Desk, Policy, SPANS, Seat};
use crate::traffic::START;

/// As many as the product looks at.
const CANDIDATES_MAX: usize = 20;

#[derive(Default)]
struct Number {
    free_at: Duration,
    /// The newest last.
    leases: Vec<Lease>,
}

#[derive(Clone, Copy)]
struct Lease {
    visitor: u32,
    visit: usize,
    started: Duration,
    seen: Duration,
    ended: Option<Duration>,
}

pub struct Model {
    policy: Policy,
    numbers: Vec<Number>,
    /// Who was given which number last.
    last: HashMap<u32, usize>,
    /// Which number each visit was given, if it was.
    given: HashMap<usize, usize>,
    /// Visits whose number is somebody else's by now.
    lost: HashSet<usize>,
}

impl Model {
    pub fn new(numbers: u32, policy: Policy) -> Model {
        let numbers = (0..numbers).map(|_| Number::default()).collect();
        Model { policy, numbers, last: HashMap::new(), given: HashMap::new(), lost: HashSet::new() }
    }

    /// Hours of numbers that were held while it was busy, looked at each minute.
    pub fn held_hours(&self, busy: impl Fn(Duration) -> bool, end: Duration) -> f64 {
        let step = Duration::from_secs(60);
        let mut held = 0.0;
        for number in &self.numbers {
            for (n, lease) in number.leases.iter().enumerate() {
                let free = lease.seen + SPANS.live + SPANS.cooldown;
                let next = number.leases.get(n + 1).map_or(free, |next| next.started);
                let mut at = step * (lease.started.as_secs() / 60 + 1) as u32;
                while at < free.min(next).min(end) {
                    held += if busy(at) { step.as_secs_f64() / 3600.0 } else { 0.0 };
                    at += step;
                }
            }
        }
        held
    }

    fn give(&mut self, at: Duration, visit: usize, visitor: u32, number: usize) {
        let chosen = &mut self.numbers[number];
        if let Some(before) = chosen.leases.last_mut() {
            before.ended.get_or_insert(at);
        }
        chosen.leases.push(Lease { visitor, visit, started: at, seen: at, ended: None });
        chosen.free_at = at + SPANS.live + SPANS.cooldown;
        self.last.insert(visitor, number);
        self.given.insert(visit, number);
    }

    fn is_his(&self, visitor: u32, number: usize) -> bool {
        self.numbers[number].leases.last().is_some_and(|lease| lease.visitor == visitor)
    }
}

impl Desk for Model {
    fn begin(&mut self, at: Duration, visit: usize, visitor: u32) -> anyhow::Result<Seat> {
        if let Some(&number) = self.last.get(&visitor).filter(|number| self.is_his(visitor, **number)) {
            self.give(at, visit, visitor, number);
            return Ok(Seat::Returned(number));
        }
        let longest_free = |number: &usize| (self.numbers[*number].free_at, *number);
        let Some(number) = (0..self.numbers.len()).min_by_key(longest_free) else { return Ok(Seat::Blocked) };
        let is_free = self.numbers[number].free_at <= at;
        match (is_free, self.policy) {
            (true, _) => {
                self.give(at, visit, visitor, number);
                Ok(Seat::Free(number))
            }
            (false, Policy::Reuse) => {
                self.give(at, visit, visitor, number);
                Ok(Seat::TakenOver(number))
            }
            (false, Policy::NoSwap) => {
                self.given.remove(&visit);
                Ok(Seat::Blocked)
            }
        }
    }

    fn seen(&mut self, at: Duration, visit: usize) -> anyhow::Result<bool> {
        if self.lost.remove(&visit) {
            return Ok(false);
        }
        let Some(&number) = self.given.get(&visit) else { return Ok(true) };
        let number = &mut self.numbers[number];
        match number.leases.last_mut().filter(|lease| lease.visit == visit) {
            Some(lease) => {
                lease.seen = at;
                number.free_at = at + SPANS.live + SPANS.cooldown;
            }
            // Told with the next sign of life.
            None => drop(self.lost.insert(visit)),
        }
        Ok(true)
    }

    fn call(&mut self, at: Duration, number: usize) -> anyhow::Result<Vec<Candidate>> {
        let call_at = START.after(at);
        let facts = |lease: &Lease| LeaseFacts {
            visitor: lease.visitor,
            started_at: START.after(lease.started),
            seen_at: START.after(lease.seen),
            ended_at: lease.ended.map(|ended| START.after(ended)),
        };
        let recent = |lease: &LeaseFacts<u32>| call_at.since(lease.seen_at) <= confidence::WINDOW;
        let newest_first = self.numbers[number].leases.iter().rev().map(facts).filter(recent);
        let mut leases: Vec<LeaseFacts<u32>> = newest_first.take(CANDIDATES_MAX).collect();
        leases.reverse();
        let weights = confidence::weigh(call_at, SPANS, &leases);
        let best = confidence::credited(&leases, &weights);
        let said = |n: usize| Candidate { visitor: leases[n].visitor, confidence: weights[n] };
        let others = (0..leases.len()).filter(|n| Some(*n) != best && weights[*n] > 0.0);
        Ok(best.into_iter().chain(others).map(said).collect())
    }
}
