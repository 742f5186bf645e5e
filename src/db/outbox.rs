//! Events on their way into the log. A closure only says which; they are written at the end of the transaction, those of
//! all closures that share it together. So their statements run once for many, and the lock of a log is held for
//! no longer than that and the commit. How they are written is `events`' business.

use super::tx::Tx;
use super::{Error, Result};
use crate::kernel::clock::Micros;
use crate::kernel::id::CompanyId;

/// An event that has no id yet.
#[derive(Debug)]
pub struct NewEvent {
    pub company: CompanyId,
    /// The part of a delivery's id that names the event.
    pub uid: String,
    pub kind: &'static str,
    pub object: &'static str,
    /// JSON, as stored.
    pub data: String,
    pub occurred_at: Micros,
}

/// Writes events, in their order.
pub type WriteEvents = fn(&mut Tx<'_>, Vec<NewEvent>) -> Result<()>;

/// The events of a transaction.
#[derive(Default)]
pub(super) struct Outbox {
    events: Vec<NewEvent>,
    write: Option<WriteEvents>,
}

impl Outbox {
    pub(super) fn put(&mut self, event: NewEvent, write: WriteEvents) {
        self.events.push(event);
        self.write = Some(write);
    }

    pub(super) fn merge(&mut self, other: Outbox) {
        self.events.extend(other.events);
        self.write = other.write.or(self.write);
    }

    /// Writes what there is. A panic is an error: the engine's thread lives on.
    pub(super) fn empty(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        let Some(write) = self.write.take() else { return Ok(()) };
        let events = std::mem::take(&mut self.events);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| write(tx, events)))
            .unwrap_or_else(|_| Err(Error::Internal("writing events panicked".to_owned())))
    }
}
