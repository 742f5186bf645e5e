//! Wake-ups: after a commit, whoever waits for that kind of change is told that there is something to look
//! at. They carry no data; one that is lost only costs time, since every waiter also looks by itself.

use std::sync::Arc;

use tokio::sync::watch;

/// What a transaction left to do for someone else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Deliveries were made, or a webhook changed.
    Deliveries,
    /// An event was appended: live streams look.
    Events,
    /// Recordings are to be fetched or deleted, or a voicemail may be told of.
    Recordings,
    /// A call's end is to be settled.
    Calls,
    /// Carriers, trackers or numbers changed: what is kept in memory is stale.
    Routing,
    /// An alert was raised, and is to be mailed.
    Alerts,
    /// A replay was asked for, or one that waits may go on.
    Replays,
    /// A number order was made, or goes on.
    Orders,
}

const KINDS: [Wake; 8] = [
    Wake::Deliveries,
    Wake::Events,
    Wake::Recordings,
    Wake::Calls,
    Wake::Routing,
    Wake::Alerts,
    Wake::Replays,
    Wake::Orders,
];

/// The waiting side of all kinds; cheap to clone.
#[derive(Clone)]
pub struct Wakes(Arc<[watch::Sender<u64>; KINDS.len()]>);

impl Default for Wakes {
    fn default() -> Wakes {
        Wakes(Arc::new(KINDS.map(|_| watch::Sender::new(0))))
    }
}

impl Wakes {
    /// A receiver whose `changed()` answers after the next wake-up of this kind.
    pub fn subscribe(&self, kind: Wake) -> watch::Receiver<u64> {
        self.0[kind as usize].subscribe()
    }

    /// Wakes whoever waits for `kind`.
    pub fn wake(&self, kind: Wake) {
        self.0[kind as usize].send_modify(|n| *n = n.wrapping_add(1));
    }

    pub(super) fn wake_all(&self, set: WakeSet) {
        for kind in KINDS {
            if set.contains(kind) {
                self.wake(kind);
            }
        }
    }
}

/// The wake-ups that a transaction asks for.
#[derive(Clone, Copy, Default)]
pub(super) struct WakeSet(u16);

impl WakeSet {
    pub(super) fn add(&mut self, kind: Wake) {
        self.0 |= 1 << kind as u16;
    }

    pub(super) fn merge(&mut self, other: WakeSet) {
        self.0 |= other.0;
    }

    fn contains(self, kind: Wake) -> bool {
        self.0 & (1 << kind as u16) != 0
    }
}
