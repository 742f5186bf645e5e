//! Handing over in memory: what a transaction made or changed for the delivery engine of this process, told
//! after its commit. The rows are the truth and are read again whenever something here was missed, so that a
//! note that is lost costs time and nothing else; what it saves is reading each new delivery back.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::kernel::clock::Micros;
use crate::kernel::id::{EventId, WebhookId};

/// Notes that wait at most. The engine takes them within milliseconds; beyond this it reads the rows.
const NOTES_MAX: usize = 16_384;
/// Bytes of events in waiting notes at most; an event for many webhooks counts once for each.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// Something for the delivery engine.
#[derive(Clone, Debug)]
pub enum Note {
    /// A delivery was made, due at once.
    Fresh(Fresh),
    /// A webhook was made, changed or deleted.
    Changed(WebhookId),
    /// Something of this webhook's became due that isn't fresh.
    Due(WebhookId),
}

impl Note {
    /// Whom it is about.
    pub fn webhook(&self) -> WebhookId {
        match self {
            Note::Fresh(fresh) => fresh.webhook,
            Note::Changed(id) | Note::Due(id) => *id,
        }
    }
}

/// A new delivery of an active webhook.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub webhook: WebhookId,
    /// Of the webhook, as the transaction saw it.
    pub activation: i64,
    pub revision: i64,
    pub event: Arc<EventRow>,
}

/// An event as a delivery needs it; shared by the deliveries that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    pub id: EventId,
    /// The part of a delivery's id that names the event.
    pub uid: String,
    pub kind: String,
    pub object: String,
    /// JSON, as stored.
    pub data: String,
    pub occurred_at: Micros,
}

/// What the engine takes out at once.
#[derive(Default)]
pub struct Taken {
    pub notes: Vec<Note>,
    /// Some notes were dropped: the rows have to be looked at.
    pub missed: bool,
}

#[derive(Default)]
struct Waiting {
    readers: usize,
    taken: Taken,
    bytes: usize,
}

/// Where notes wait; cheap to clone.
#[derive(Clone, Default)]
pub struct Inbox(Arc<(Mutex<Waiting>, Notify)>);

impl Inbox {
    /// From now on notes are kept for whoever holds the reader; without one they are dropped.
    pub fn open(&self) -> Reader {
        self.with(|waiting| waiting.readers += 1);
        Reader(self.clone())
    }

    pub(super) fn put(&self, notes: Vec<Note>) {
        if notes.is_empty() {
            return;
        }
        let kept = self.with(|waiting| {
            for note in notes {
                waiting.put(note);
            }
            waiting.readers > 0
        });
        if kept {
            self.0.1.notify_one();
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Waiting) -> T) -> T {
        f(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Waiting {
    fn put(&mut self, note: Note) {
        let bytes = match &note {
            Note::Fresh(fresh) => fresh.event.data.len(),
            Note::Changed(_) | Note::Due(_) => 0,
        };
        if self.readers == 0 {
            return;
        }
        if self.taken.notes.len() >= NOTES_MAX || self.bytes + bytes > BYTES_MAX {
            self.taken.missed = true;
            return;
        }
        self.bytes += bytes;
        self.taken.notes.push(note);
    }
}

/// The taking side.
pub struct Reader(Inbox);

impl Reader {
    /// All that waits.
    pub fn take(&self) -> Taken {
        self.0.with(|waiting| {
            waiting.bytes = 0;
            std::mem::take(&mut waiting.taken)
        })
    }

    /// Ready when something was put in since the last time.
    pub async fn notified(&self) {
        self.0.0.1.notified().await;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.with(|waiting| {
            waiting.readers -= 1;
            if waiting.readers == 0 {
                (waiting.taken, waiting.bytes) = (Taken::default(), 0);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_kept_only_for_a_reader_and_only_so_many() {
        let inbox = Inbox::default();
        inbox.put(vec![Note::Due(WebhookId(1))]);
        let reader = inbox.open();
        assert!(reader.take().notes.is_empty());
        inbox.put((0..20_000).map(|n| Note::Due(WebhookId(n))).collect());
        let taken = reader.take();
        assert_eq!((taken.notes.len(), taken.missed), (NOTES_MAX, true));
        inbox.put(vec![Note::Changed(WebhookId(1))]);
        let taken = reader.take();
        assert_eq!((taken.notes.len(), taken.missed), (1, false));
    }
}
