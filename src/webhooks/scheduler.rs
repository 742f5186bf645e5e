//! Who is next: all lanes of this process, the slots that they share, and the timers. Pure, like [`lane`](super::lane);
//! [`engine`](super::engine) does what it says, and so does the simulation.
//!
//! - **Fair**: deficit round-robin (Shreedhar and Varghese, 1995) over the lanes that are ready, by bytes: a lane that
//!   becomes ready waits for one round at most, however much others have.
//! - **Isolated**: lanes that are slow share a quarter of the slots. One that turns slow with requests in flight
//!   takes them along, so its slots are free for the others at once.
//! - **Bounded**: requests in flight, results that wait to be written, and bytes in windows.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::lane::{Landing, Lane, Question, Ready, Reply, SLOW_AFTER, Subscriber};
use crate::db::Fresh;
use crate::kernel::clock::Micros;
use crate::kernel::id::{EventId, WebhookId};

/// Requests in flight over all quick lanes, and over all slow ones: each holds a socket and a body.
const SLOTS: [usize; 2] = [384, 128];
/// With results that wait to be written beyond this nothing is started: they are what a crash would repeat.
const UNWRITTEN_MAX: usize = 512;
/// Bytes of events that wait in all windows.
const WINDOW_BYTES_MAX: usize = 48 * 1024 * 1024;
/// Bytes that a lane may send in a round, about a dozen ordinary events.
const QUANTUM_BYTES: usize = 16 * 1024;
/// What a request costs beside its data: head, signature, the receiver's trouble.
const REQUEST_BYTES: usize = 1024;
/// Lanes that are read for in one go.
const QUESTIONS_MAX: usize = 64;

/// A request to make.
#[derive(Clone, Debug)]
pub struct Start {
    pub subscriber: Arc<Subscriber>,
    pub epoch: i64,
    pub ready: Ready,
}

/// What became of a result that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Delivered, or its row isn't ours to send any more.
    Done,
    RetryAt(Micros),
    /// That was the last try; the webhook was deactivated with it if `deactivated`.
    Exhausted {
        deactivated: bool,
    },
    /// Another process owns the webhook by now: not written.
    Fenced,
    /// The database refuses it for good, which is a bug of ours. It stays known so that it isn't sent over and over.
    Stuck,
}

struct Slot {
    lane: Lane,
    /// What is counted of the lane in the totals.
    bytes: usize,
    flights: usize,
    slow: bool,
    timer: Option<Micros>,
    in_ring: bool,
    hungry: bool,
    /// Bytes that it may still send in this round.
    deficit: usize,
    /// Whether this round's quantum was given.
    served: bool,
}

/// See the module.
#[derive(Default)]
pub struct Scheduler {
    slots: HashMap<WebhookId, Slot>,
    /// Lanes that are ready, or were: quick ones and slow ones.
    rings: [VecDeque<WebhookId>; 2],
    in_flight: [usize; 2],
    unwritten: usize,
    bytes: usize,
    timers: BTreeSet<(Micros, WebhookId)>,
    /// When each request in flight was started, to find those that take long.
    started: BTreeSet<(Micros, WebhookId, EventId)>,
    hungry: VecDeque<WebhookId>,
}

impl Scheduler {
    /// Makes a lane that may have `cap` requests in flight at first, or brings one in line with its webhook's settings.
    pub fn open(&mut self, subscriber: Arc<Subscriber>, epoch: i64, cap: usize, now: Micros) {
        let id = subscriber.webhook.id;
        match self.slots.get_mut(&id) {
            Some(slot) => slot.lane.renew(subscriber, epoch, now),
            None => {
                let lane = Lane::new(subscriber, epoch, cap, now);
                self.slots.insert(id, Slot::new(lane));
            }
        }
        self.settle(id, now);
    }

    /// Starts nothing more for a webhook.
    pub fn close(&mut self, id: WebhookId, now: Micros) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.lane.close();
            self.settle(id, now);
        }
    }

    /// The webhooks that have an open lane.
    pub fn open_lanes(&self) -> Vec<WebhookId> {
        self.slots.iter().filter(|(_, slot)| slot.lane.open).map(|(id, _)| *id).collect()
    }

    /// The webhooks whose lane is closed but has something under way.
    pub fn closing_lanes(&self) -> impl Iterator<Item = WebhookId> + '_ {
        self.slots.iter().filter(|(_, slot)| !slot.lane.open).map(|(id, _)| *id)
    }

    /// A delivery was made. False: its webhook's lane isn't there or is out of date.
    pub fn offer(&mut self, fresh: Fresh, now: Micros) -> bool {
        let (id, has_room) = (fresh.webhook, self.has_room());
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        let current = slot.lane.offer(fresh, has_room);
        self.settle(id, now);
        current
    }

    /// The rows of a webhook have to be looked at.
    pub fn look(&mut self, id: WebhookId, now: Micros) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.lane.look_again();
            self.settle(id, now);
        }
    }

    /// The rows of all webhooks have to be looked at.
    pub fn look_everywhere(&mut self, now: Micros) {
        for id in self.open_lanes() {
            self.look(id, now);
        }
    }

    fn has_room(&self) -> bool {
        self.bytes < WINDOW_BYTES_MAX
    }

    /// What has to be read, a few lanes at a time. Every question must be answered.
    pub fn questions(&mut self, now: Micros) -> Vec<Question> {
        let mut questions = Vec::new();
        while questions.len() < QUESTIONS_MAX {
            let Some(id) = self.hungry.pop_front() else { break };
            let has_room = self.has_room();
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            slot.hungry = false;
            questions.extend(slot.lane.question(now, has_room));
            self.settle(id, now);
        }
        questions
    }

    /// An answer. False: the webhook was changed, and its lane is out of date.
    pub fn answered(&mut self, reply: Reply, now: Micros) -> bool {
        let (id, has_room, stale) = (reply.webhook, self.has_room(), reply.stale);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.lane.answered(reply, has_room);
            self.settle(id, now);
        }
        !stale
    }

    /// The next request to make; None: nothing is ready, or there is no slot for it.
    pub fn next_start(&mut self, now: Micros) -> Option<Start> {
        (0..SLOTS.len()).find_map(|class| self.next_of(class, now))
    }

    fn next_of(&mut self, class: usize, now: Micros) -> Option<Start> {
        while self.in_flight[class] < SLOTS[class] && self.unwritten < UNWRITTEN_MAX {
            let id = *self.rings[class].front()?;
            let Some(slot) = self.slots.get_mut(&id) else {
                self.rings[class].pop_front();
                continue;
            };
            if usize::from(slot.slow) != class || !slot.lane.is_ready(now) {
                self.rings[class].pop_front();
                (slot.in_ring, slot.deficit, slot.served) = (false, 0, false);
                self.settle(id, now);
                continue;
            }
            if !std::mem::replace(&mut slot.served, true) {
                slot.deficit += QUANTUM_BYTES;
            }
            let cost = slot.lane.next_bytes() + REQUEST_BYTES;
            if slot.deficit < cost {
                slot.served = false;
                self.rings[class].rotate_left(1);
                continue;
            }
            slot.deficit -= cost;
            let ready = slot.lane.start(now)?;
            let (subscriber, epoch) = (slot.lane.subscriber.clone(), slot.lane.epoch);
            self.started.insert((now, id, ready.event.id));
            self.settle(id, now);
            return Some(Start { subscriber, epoch, ready });
        }
        None
    }

    /// An attempt ended; its result is to be written.
    pub fn landed(&mut self, id: WebhookId, event: EventId, landing: Landing, now: Micros) {
        self.unwritten += 1;
        if let Some(slot) = self.slots.get_mut(&id) {
            if let Some(at) = slot.lane.landed(event, landing) {
                self.started.remove(&(at, id, event));
            }
            self.settle(id, now);
        }
    }

    /// What became of a result.
    pub fn written(&mut self, id: WebhookId, event: EventId, verdict: Verdict, now: Micros) {
        self.unwritten = self.unwritten.saturating_sub(1);
        let Some(slot) = self.slots.get_mut(&id) else { return };
        match verdict {
            Verdict::Done => slot.lane.written(event, None, false),
            Verdict::RetryAt(at) => slot.lane.written(event, Some(at), false),
            Verdict::Exhausted { deactivated } => {
                slot.lane.written(event, None, false);
                if deactivated {
                    slot.lane.close();
                }
            }
            Verdict::Fenced => slot.lane.written(event, None, true),
            Verdict::Stuck => {}
        }
        self.settle(id, now);
    }

    /// Lets time pass: what is due becomes ready, and who takes too long is slow.
    pub fn tick(&mut self, now: Micros) {
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.timer = None;
                self.settle(id, now);
            }
        }
        let long_ago = now.before(SLOW_AFTER);
        while let Some(first) = self.started.first().copied().filter(|(at, ..)| *at < long_ago) {
            // Once is enough: it stays slow until an attempt ends.
            self.started.remove(&first);
            self.settle(first.1, now);
        }
    }

    /// When [`Scheduler::tick`] may change something.
    pub fn next_at(&self) -> Option<Micros> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let slow = self.started.first().map(|(at, ..)| at.after(SLOW_AFTER));
        timer.into_iter().chain(slow).min()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.iter().sum()
    }

    /// Requests in flight to one webhook.
    pub fn in_flight_of(&self, id: WebhookId) -> usize {
        self.slots.get(&id).map_or(0, |slot| slot.lane.in_flight())
    }

    /// Requests in flight and results that aren't written: what a crash now could repeat.
    pub fn at_risk(&self) -> usize {
        self.in_flight() + self.unwritten
    }

    /// Brings the totals, the rings and the timers in line with a lane that changed.
    fn settle(&mut self, id: WebhookId, now: Micros) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        self.bytes = self.bytes - slot.bytes + slot.lane.window_bytes();
        slot.bytes = slot.lane.window_bytes();
        self.in_flight[usize::from(slot.slow)] -= slot.flights;
        (slot.slow, slot.flights) = (slot.lane.is_slow(now), slot.lane.in_flight());
        self.in_flight[usize::from(slot.slow)] += slot.flights;
        if !slot.in_ring && slot.lane.is_ready(now) {
            slot.in_ring = true;
            self.rings[usize::from(slot.slow)].push_back(id);
        }
        if !slot.hungry && slot.lane.wants_to_read(now) {
            slot.hungry = true;
            self.hungry.push_back(id);
        }
        let timer = slot.lane.next_at().filter(|at| *at > now);
        if timer != slot.timer {
            if let Some(old) = slot.timer.take() {
                self.timers.remove(&(old, id));
            }
            slot.timer = timer;
            self.timers.extend(timer.map(|at| (at, id)));
        }
        if !slot.lane.open && slot.lane.is_idle() {
            self.slots.remove(&id);
        }
    }
}

impl Slot {
    fn new(lane: Lane) -> Slot {
        Slot {
            lane,
            bytes: 0,
            flights: 0,
            slow: false,
            timer: None,
            in_ring: false,
            hungry: false,
            deficit: 0,
            served: false,
        }
    }
}
