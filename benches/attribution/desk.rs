//! Who gives out numbers and says whose a call is: the product, or the model of it.

use std::time::Duration;

use calltracker::visits::confidence::Spans;

/// The product's defaults: 30 minutes of hold, 5 of grace, 10 of cooldown.
pub const SPANS: Spans = Spans { live: Duration::from_secs(35 * 60), cooldown: Duration::from_secs(10 * 60) };

/// What becomes of a visitor if no number is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Gets the one whose holder was seen least recently.
    Reuse,
    /// Gets none.
    NoSwap,
}

/// How a visitor came by the number of this index, or that there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    Free(usize),
    Returned(usize),
    TakenOver(usize),
    Blocked,
}

impl Seat {
    pub fn number(self) -> Option<usize> {
        match self {
            Seat::Free(number) | Seat::Returned(number) | Seat::TakenOver(number) => Some(number),
            Seat::Blocked => None,
        }
    }

    /// No number was free.
    pub fn is_blocked(self) -> bool {
        match self {
            Seat::TakenOver(_) | Seat::Blocked => true,
            Seat::Free(_) | Seat::Returned(_) => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    pub visitor: u32,
    pub confidence: f64,
}

pub trait Desk {
    /// A visit begins, or needs another number.
    fn begin(&mut self, at: Duration, visit: usize, visitor: u32) -> anyhow::Result<Seat>;

    /// A sign of life. False: somebody else has been given the visit's number, it must begin again.
    fn seen(&mut self, at: Duration, visit: usize) -> anyhow::Result<bool>;

    /// Whose a call to a number is: the one it is credited to first, none if nobody.
    fn call(&mut self, at: Duration, number: usize) -> anyhow::Result<Vec<Candidate>>;
}
