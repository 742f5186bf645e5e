//! One webhook in memory: what is ready to be sent, what is on the way, how many requests it may have in flight
//! and how fast they may follow each other. Pure: the time is an argument, the database is asked by whoever
//! takes the [`Question`]s.
//!
//! The rows are the truth. A lane holds a *window* of them, filled by what transactions hand over and by what is
//! read; `look` says that there may be more due than the window has. A delivery that is `known` (in the window,
//! in flight, or its result not written yet) is never taken in again, which is what keeps it from being sent twice.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Webhook;
use super::attempt::Recipient;
use crate::db::{EventRow, Fresh};
use crate::kernel::clock::Micros;
use crate::kernel::id::{EventId, WebhookId};
use crate::kernel::secret::SecretKey;

/// Requests in flight to a webhook that nothing is known of.
pub const CAP_FIRST: usize = 8;
/// Requests in flight to one webhook at most, however quick it is.
pub const CAP_MAX: usize = 64;
/// A webhook whose answers take longer than this on average is slow, and so is one with a request that is
/// under way for longer.
pub const SLOW_AFTER: Duration = Duration::from_secs(2);
/// Weight of the newest duration in the mean, one part in this many.
const MEAN_PARTS: u32 = 8;
/// Fresh deliveries that are kept while the rows are being read.
const ARRIVED_MAX: usize = 64;

/// An active webhook as it was loaded, ready to be sent to.
#[derive(Debug)]
pub struct Subscriber {
    pub webhook: Webhook,
    pub recipient: Recipient,
}

impl Subscriber {
    /// # Errors
    /// The webhook's secrets were sealed with another key.
    pub fn new(webhook: Webhook, key: &SecretKey, now: Micros) -> anyhow::Result<Subscriber> {
        Ok(Subscriber { recipient: Recipient::of(&webhook, key, now)?, webhook })
    }
}

/// A delivery that is due, with all that its body needs.
#[derive(Clone, Debug)]
pub struct Ready {
    pub event: Arc<EventRow>,
    /// Attempts that were recorded before.
    pub attempts: u32,
}

/// What a lane asks the database.
#[derive(Clone, Debug)]
pub struct Question {
    pub webhook: WebhookId,
    pub activation: i64,
    pub revision: i64,
    /// Deliveries of an earlier activation may be there, behind this event.
    pub held: Option<EventId>,
    /// Rows to read at most; those that the lane knows come along and are skipped.
    pub limit: usize,
}

/// What the database answered.
#[derive(Debug)]
pub struct Reply {
    pub webhook: WebhookId,
    /// As in the question.
    pub revision: i64,
    /// The webhook isn't as the lane has it: nothing was read.
    pub stale: bool,
    /// Held ones first, oldest first; then those due by the clock.
    pub rows: Vec<Ready>,
    /// There may be more held ones.
    pub held: bool,
    /// There may be more due ones.
    pub more: bool,
    /// When the next one is due that isn't yet.
    pub next_due: Option<Micros>,
}

impl Reply {
    /// The rows can't be read: nothing of the webhook's is sent until somebody looks again.
    pub fn unreadable(question: &Question) -> Reply {
        let (webhook, revision) = (question.webhook, question.revision);
        Reply { webhook, revision, stale: true, rows: Vec::new(), held: false, more: false, next_due: None }
    }
}

/// How an attempt went, as far as it matters for the next ones.
#[derive(Clone, Copy, Debug)]
pub struct Landing {
    pub success: bool,
    pub timed_out: bool,
    /// It timed out, or the receiver said that it is too much (429, 503).
    pub congested: bool,
    pub duration: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Lane {
    pub subscriber: Arc<Subscriber>,
    /// Of the lease of its shard.
    pub epoch: i64,
    /// False: nothing is started any more; it stays until what is under way is written down.
    pub open: bool,
    window: VecDeque<Ready>,
    in_flight: HashMap<EventId, Micros>,
    known: HashSet<EventId>,
    /// Bytes of events in the window.
    bytes: usize,
    /// The newest event that was ever taken in.
    highest: EventId,
    look: bool,
    /// There may be held ones behind this event.
    held: Option<EventId>,
    next_due: Option<Micros>,
    /// While the rows are being read: whose results were written meanwhile.
    reading: Option<HashSet<EventId>>,
    /// What is being read may be older than what somebody asked to look at.
    again: bool,
    arrived: Vec<Fresh>,
    cap: usize,
    /// Up to here each success adds one to the cap, beyond it each round of successes.
    threshold: usize,
    successes: usize,
    mean: Duration,
    timed_out: bool,
    bucket: Option<Bucket>,
}

/// A rate limit: tokens come at `per_s`, one is taken for each request.
#[derive(Debug)]
struct Bucket {
    per_s: f64,
    tokens: f64,
    at: Micros,
}

impl Bucket {
    fn new(per_s: f64, now: Micros) -> Bucket {
        Bucket { per_s, tokens: per_s.max(1.0), at: now }
    }

    fn refill(&mut self, now: Micros) {
        let most = self.per_s.max(1.0);
        self.tokens = (self.tokens + now.since(self.at).as_secs_f64() * self.per_s).min(most);
        self.at = now;
    }

    fn next_at(&self) -> Micros {
        // A microsecond more, so that rounding doesn't wake before the token is whole.
        let missing = Duration::from_secs_f64((1.0 - self.tokens).max(0.0) / self.per_s);
        self.at.after(missing + Duration::from_micros(1))
    }
}

impl Lane {
    pub fn new(subscriber: Arc<Subscriber>, epoch: i64, cap: usize, now: Micros) -> Lane {
        let bucket = subscriber.webhook.settings.rate_per_s.map(|per_s| Bucket::new(per_s, now));
        Lane {
            subscriber,
            epoch,
            open: true,
            window: VecDeque::new(),
            in_flight: HashMap::new(),
            known: HashSet::new(),
            bytes: 0,
            highest: EventId(0),
            look: true,
            held: Some(EventId(0)),
            next_due: None,
            reading: None,
            again: false,
            arrived: Vec::new(),
            cap,
            threshold: CAP_MAX,
            successes: 0,
            mean: Duration::ZERO,
            timed_out: false,
            bucket,
        }
    }

    /// Takes over new settings. What waits in the window is read again, so that nothing goes out by the settings
    /// from before; a new activation starts with one request in flight.
    pub fn renew(&mut self, subscriber: Arc<Subscriber>, epoch: i64, now: Micros) {
        let reactivated = !self.open || subscriber.webhook.activation != self.subscriber.webhook.activation;
        if subscriber.webhook.settings.rate_per_s != self.subscriber.webhook.settings.rate_per_s {
            self.bucket = subscriber.webhook.settings.rate_per_s.map(|per_s| Bucket::new(per_s, now));
        }
        if reactivated {
            (self.cap, self.threshold, self.successes) = (1, CAP_MAX, 0);
            (self.mean, self.timed_out) = (Duration::ZERO, false);
        }
        (self.subscriber, self.epoch, self.open) = (subscriber, epoch, true);
        self.forget_window();
        self.look_again();
    }

    /// Nothing is started any more.
    pub fn close(&mut self) {
        self.open = false;
        self.forget_window();
        (self.look, self.held, self.next_due) = (false, None, None);
        self.arrived.clear();
    }

    /// Nothing is under way or being written.
    pub fn is_idle(&self) -> bool {
        self.known.is_empty() && self.reading.is_none()
    }

    fn forget_window(&mut self) {
        for ready in self.window.drain(..) {
            self.known.remove(&ready.event.id);
        }
        self.bytes = 0;
    }

    /// The rows have to be looked at, those of earlier activations too.
    pub fn look_again(&mut self) {
        (self.look, self.held) = (self.open, self.open.then_some(EventId(0)));
        self.again = self.reading.is_some();
    }

    /// A delivery was made. False: it wasn't made by the settings that the lane has.
    pub fn offer(&mut self, fresh: Fresh, has_room: bool) -> bool {
        let webhook = &self.subscriber.webhook;
        let current = fresh.revision <= webhook.revision;
        if !self.open || fresh.activation != webhook.activation || fresh.revision != webhook.revision {
            self.look_again();
            return current;
        }
        if self.reading.is_none() {
            self.take_in_fresh(fresh, has_room);
        } else if self.arrived.len() < ARRIVED_MAX {
            self.arrived.push(fresh);
        } else {
            // What is being read may be older than this one.
            self.again = true;
        }
        true
    }

    /// Takes a fresh one in if nothing older can be missing; else the rows decide. One that comes late, after
    /// a newer one, may have been read, sent and written down long ago.
    fn take_in_fresh(&mut self, fresh: Fresh, has_room: bool) {
        if self.known.contains(&fresh.event.id) || self.look {
            return;
        }
        if fresh.event.id <= self.highest || self.window.len() >= self.window_max() || !has_room {
            self.look = true;
            return;
        }
        self.take_in(Ready { event: fresh.event, attempts: 0 });
    }

    fn take_in(&mut self, ready: Ready) {
        self.highest = self.highest.max(ready.event.id);
        self.known.insert(ready.event.id);
        self.bytes += ready.event.data.len();
        self.window.push_back(ready);
    }

    /// Deliveries that may wait in memory: two rounds of what may be in flight.
    fn window_max(&self) -> usize {
        2 * self.cap.max(CAP_FIRST)
    }

    /// Whether the rows have to be read now. The answer is to be given to [`Lane::answered`].
    pub fn question(&mut self, now: Micros, has_room: bool) -> Option<Question> {
        if self.next_due.is_some_and(|at| at <= now) {
            (self.look, self.next_due) = (true, None);
        }
        if !self.wants_to_read(now) {
            return None;
        }
        self.reading = Some(HashSet::new());
        let want = if has_room { self.window_max() } else { 1 };
        Some(Question {
            webhook: self.subscriber.webhook.id,
            activation: self.subscriber.webhook.activation,
            revision: self.subscriber.webhook.revision,
            held: self.held,
            limit: want + self.known.len(),
        })
    }

    /// The rows were read: what of them is news goes into the window.
    pub fn answered(&mut self, reply: Reply, has_room: bool) {
        let written = self.reading.take().unwrap_or_default();
        let again = std::mem::take(&mut self.again);
        self.take_reply(reply, &written, has_room);
        if again {
            self.look_again();
        }
    }

    fn take_reply(&mut self, reply: Reply, written: &HashSet<EventId>, has_room: bool) {
        if reply.revision != self.subscriber.webhook.revision {
            self.arrived.clear();
            return self.look_again();
        }
        if !self.open || reply.stale {
            // Whoever brings the new settings makes it look again.
            (self.held, self.look) = (None, false);
            return self.arrived.clear();
        }
        let last = reply.rows.last().map(|ready| ready.event.id);
        self.held = last.filter(|_| reply.held);
        self.look = reply.held || reply.more;
        self.next_due = self.next_due.into_iter().chain(reply.next_due).min();
        for ready in reply.rows {
            if !self.known.contains(&ready.event.id) && !written.contains(&ready.event.id) {
                self.take_in(ready);
            }
        }
        for fresh in std::mem::take(&mut self.arrived) {
            if !written.contains(&fresh.event.id) {
                self.take_in_fresh(fresh, has_room);
            }
        }
    }

    /// Whether one could be started now, but for the slots.
    pub fn is_ready(&mut self, now: Micros) -> bool {
        if let Some(bucket) = &mut self.bucket {
            bucket.refill(now);
        }
        self.open && !self.window.is_empty() && self.in_flight.len() < self.cap && self.has_token()
    }

    fn has_token(&self) -> bool {
        self.bucket.as_ref().is_none_or(|bucket| bucket.tokens >= 1.0)
    }

    /// Bytes of the one that is sent next.
    pub fn next_bytes(&self) -> usize {
        self.window.front().map_or(0, |ready| ready.event.data.len())
    }

    /// Takes the next one out; call only if [`Lane::is_ready`].
    pub fn start(&mut self, now: Micros) -> Option<Ready> {
        let ready = self.window.pop_front()?;
        self.bytes -= ready.event.data.len();
        if let Some(bucket) = &mut self.bucket {
            bucket.tokens -= 1.0;
        }
        self.in_flight.insert(ready.event.id, now);
        Some(ready)
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// An attempt ended. It stays known until its result is written. Gives when it was started.
    pub fn landed(&mut self, event: EventId, landing: Landing) -> Option<Micros> {
        let started = self.in_flight.remove(&event);
        self.timed_out = landing.timed_out;
        self.mean = (self.mean * (MEAN_PARTS - 1) + landing.duration) / MEAN_PARTS;
        if landing.congested {
            self.threshold = (self.cap / 2).max(1);
            (self.cap, self.successes) = (self.threshold, 0);
        } else if landing.success && landing.duration < SLOW_AFTER {
            self.grow();
        }
        started
    }

    /// Doubles the cap each round at first, so that a receiver that just recovered isn't flattened and a quick one
    /// isn't held back; after a congestion it grows by one a round.
    fn grow(&mut self) {
        self.successes += 1;
        if self.cap < self.threshold || self.successes >= self.cap {
            (self.cap, self.successes) = ((self.cap + 1).min(CAP_MAX), 0);
        }
    }

    /// Whether it belongs in the slow lane.
    pub fn is_slow(&self, now: Micros) -> bool {
        let lasts = |since: &Micros| now.since(*since) > SLOW_AFTER;
        self.timed_out || self.mean > SLOW_AFTER || self.in_flight.values().any(lasts)
    }

    /// A result was written. `next`: when it is to be sent again. `unsure`: the row may be pending still.
    pub fn written(&mut self, event: EventId, next: Option<Micros>, unsure: bool) {
        self.known.remove(&event);
        if let Some(written) = &mut self.reading {
            written.insert(event);
        }
        if let Some(at) = next.filter(|_| self.open) {
            self.next_due = Some(self.next_due.map_or(at, |due| due.min(at)));
        }
        if unsure {
            self.look_again();
        }
    }

    /// When there may be something to do that no event tells of.
    pub fn next_at(&self) -> Option<Micros> {
        let token = self.bucket.as_ref().filter(|_| !self.has_token() && !self.window.is_empty());
        self.next_due.into_iter().chain(token.map(Bucket::next_at)).min()
    }

    /// Bytes of events in the window.
    pub fn window_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether [`Lane::question`] would ask.
    pub fn wants_to_read(&self, now: Micros) -> bool {
        let due = self.next_due.is_some_and(|at| at <= now);
        let hungry = self.window.len() <= self.cap / 2;
        self.open && self.reading.is_none() && hungry && (self.look || due)
    }
}
