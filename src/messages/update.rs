//! What a carrier may tell about text messages, in our words. `carriers` makes these of its dialect;
//! `messages` decides what they mean.

use crate::kernel::phone::PhoneNumber;

/// A message reached a tracking number. The carrier may tell it twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub carrier_message_id: String,
    /// None if the sender isn't a number that can be answered: a short code, or a name.
    pub from: Option<PhoneNumber>,
    /// The number written to, as the carrier wrote it.
    pub to: String,
    pub body: String,
    /// Pictures and other files, in the sender's order; 10 at most.
    pub media: Vec<Media>,
    /// What the carrier charges it as.
    pub segments: u32,
    /// What the sender wants of further messages, if that is what the message is about.
    pub opt_out: Option<OptOut>,
}

/// One file of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Where it lies, as the carrier wrote it: fetched through `carriers` only.
    pub url: String,
    pub content_type: String,
}

/// The keywords that carriers of the United States act on (CTIA Messaging Principles, 5.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptOut {
    Stop,
    Start,
    Help,
}

/// How a message that we sent is doing. Updates may come in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub carrier_message_id: String,
    pub state: State,
    /// The carrier's number for what went wrong.
    pub error_code: Option<u32>,
}

/// The stations of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The carrier has accepted it, or is about to send it.
    Queued,
    /// Handed to the receiver's network.
    Sent,
    Delivered,
    /// The receiver's network took it and didn't deliver it.
    Undelivered,
    /// It was never handed over.
    Failed,
    /// Withdrawn before it was sent.
    Canceled,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Sent => "sent",
            State::Delivered => "delivered",
            State::Undelivered => "undelivered",
            State::Failed => "failed",
            State::Canceled => "canceled",
        }
    }

    /// The state of a stored word.
    pub fn parse(text: &str) -> Option<State> {
        use State::{Canceled, Delivered, Failed, Queued, Sent, Undelivered};
        [Queued, Sent, Delivered, Undelivered, Failed, Canceled].into_iter().find(|s| s.as_str() == text)
    }
}
