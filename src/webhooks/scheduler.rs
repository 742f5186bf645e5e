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

/// What became of whose result.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub webhook: WebhookId,
    pub event: EventId,
    /// Of the webhook, when the attempt began.
    pub activation: i64,
    pub verdict: Verdict,
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

    /// A result was written, or can't be.
    pub fn written(&mut self, written: Written, now: Micros) {
        self.unwritten = self.unwritten.saturating_sub(1);
        let Written { webhook: id, event, activation, verdict } = written;
        let Some(slot) = self.slots.get_mut(&id) else { return };
        match verdict {
            Verdict::Done => slot.lane.written(event, None, false),
            Verdict::RetryAt(at) => {
                // One that began before the webhook became active again is held by now: due at once.
                let held = activation != slot.lane.subscriber.webhook.activation;
                slot.lane.written(event, Some(at), held);
            }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::db::EventRow;
    use crate::kernel::seed::Seed;
    use crate::webhooks::Webhook;
    use crate::webhooks::lane::{CAP_FIRST, CAP_MAX};

    const T0: Micros = Micros(1_773_046_800_000_000);
    const QUICK: Landing =
        Landing { success: true, timed_out: false, congested: false, duration: Duration::from_millis(5) };
    const TIMED_OUT: Landing =
        Landing { success: false, timed_out: true, congested: true, duration: Duration::from_secs(15) };

    /// Lanes 1 to `count`, whose rows were looked at and are empty.
    fn lanes(count: i64, cap: usize, rate_per_s: Option<f64>) -> Scheduler {
        let mut scheduler = Scheduler::default();
        for id in 1..=count {
            let mut webhook = Webhook::sample(WebhookId(id), &Seed::fixed(1));
            webhook.settings.rate_per_s = rate_per_s;
            let subscriber = Subscriber::new(webhook, &Webhook::sample_key(), T0).unwrap();
            scheduler.open(Arc::new(subscriber), 0, cap, T0);
        }
        answer_nothing(&mut scheduler);
        scheduler
    }

    fn answer_nothing(scheduler: &mut Scheduler) {
        loop {
            let questions = scheduler.questions(T0);
            if questions.is_empty() {
                return;
            }
            for question in questions {
                let stale = Reply { stale: false, ..Reply::unreadable(&question) };
                assert!(scheduler.answered(stale, T0));
            }
        }
    }

    fn offer(scheduler: &mut Scheduler, id: i64, event: i64, bytes: usize) {
        let row = EventRow {
            id: EventId(event),
            uid: String::new(),
            kind: String::new(),
            object: String::new(),
            data: "x".repeat(bytes),
            occurred_at: T0,
        };
        let fresh = Fresh { webhook: WebhookId(id), activation: 1, revision: 1, event: Arc::new(row) };
        assert!(scheduler.offer(fresh, T0));
    }

    fn start_all(scheduler: &mut Scheduler, now: Micros) -> Vec<(WebhookId, EventId)> {
        std::iter::from_fn(|| scheduler.next_start(now))
            .map(|start| (start.subscriber.webhook.id, start.ready.event.id))
            .collect()
    }

    fn done((webhook, event): (WebhookId, EventId)) -> Written {
        Written { webhook, event, activation: 1, verdict: Verdict::Done }
    }

    fn finish(scheduler: &mut Scheduler, key: (WebhookId, EventId), landing: Landing, now: Micros) {
        scheduler.landed(key.0, key.1, landing, now);
        scheduler.written(done(key), now);
    }

    #[test]
    fn lanes_take_turns_by_bytes_and_a_new_one_waits_for_a_round_at_most() {
        let mut scheduler = lanes(2, CAP_MAX, None);
        for event in 0..100 {
            offer(&mut scheduler, 1, event + 1, 7 * 1024);
        }
        let first = scheduler.next_start(T0).unwrap();
        assert_eq!(first.subscriber.webhook.id, WebhookId(1));
        offer(&mut scheduler, 2, 1, 1024);
        // 8 KiB a request, 16 KiB a round: one more of the first lane's, then the newcomer.
        let next: Vec<_> = start_all(&mut scheduler, T0).into_iter().map(|(id, _)| id.0).take(4).collect();
        assert_eq!(next, [1, 2, 1, 1]);
    }

    #[test]
    fn a_webhook_has_its_cap_in_flight_which_doubles_each_round_of_successes() {
        let mut scheduler = lanes(1, 1, None);
        let mut event = 0;
        for expected in [1, 2, 4, 8, 16, 32, 64, 64] {
            for _ in 0..CAP_MAX {
                event += 1;
                offer(&mut scheduler, 1, event, 10);
            }
            let mut started = start_all(&mut scheduler, T0);
            if started.len() < expected {
                // The window was smaller than the cap: the rest is read.
                read_again(&mut scheduler, &mut event);
                started.extend(start_all(&mut scheduler, T0));
            }
            assert_eq!(started.len(), expected);
            started.into_iter().for_each(|key| finish(&mut scheduler, key, QUICK, T0));
        }
    }

    /// Answers the lane's question with new deliveries, as many as it asks for.
    fn read_again(scheduler: &mut Scheduler, event: &mut i64) {
        for question in scheduler.questions(T0) {
            let rows = (0..question.limit).map(|_| {
                *event += 1;
                let event = EventRow {
                    id: EventId(*event),
                    uid: String::new(),
                    kind: String::new(),
                    object: String::new(),
                    data: String::new(),
                    occurred_at: T0,
                };
                super::super::lane::Ready { event: Arc::new(event), attempts: 0 }
            });
            let rows = rows.collect();
            let reply = Reply { stale: false, more: true, rows, ..Reply::unreadable(&question) };
            assert!(scheduler.answered(reply, T0));
        }
    }

    #[test]
    fn a_timeout_halves_the_cap_and_the_way_back_is_slow() {
        let mut scheduler = lanes(1, CAP_FIRST, None);
        for event in 1..=8 {
            offer(&mut scheduler, 1, event, 10);
        }
        let started = start_all(&mut scheduler, T0);
        assert_eq!(started.len(), 8);
        finish(&mut scheduler, started[0], TIMED_OUT, T0);
        started[1..].iter().for_each(|key| finish(&mut scheduler, *key, QUICK, T0));
        (9..=20).for_each(|event| offer(&mut scheduler, 1, event, 10));
        assert_eq!(start_all(&mut scheduler, T0).len(), 5, "4, and one more for the round of successes");
    }

    #[test]
    fn slow_webhooks_share_a_quarter_and_leave_the_other_slots_free() {
        let mut scheduler = lanes(101, CAP_FIRST, None);
        for id in 1..=100 {
            (1..=16).for_each(|event| offer(&mut scheduler, id, event, 10));
        }
        assert_eq!(start_all(&mut scheduler, T0).len(), SLOTS[0], "quick ones have three quarters");
        let later = T0.after(SLOW_AFTER + Duration::from_millis(1));
        scheduler.tick(later);
        // Those that hang don't count any more, and can't start anything: they have more than their quarter already.
        let started = start_all(&mut scheduler, later);
        let hanging: BTreeSet<_> = (1..=48).map(WebhookId).collect();
        assert!(started.iter().all(|(id, _)| !hanging.contains(id)), "{started:?}");
        assert_eq!(started.len(), SLOTS[0]);
        let latest = later.after(SLOW_AFTER + Duration::from_millis(1));
        scheduler.tick(latest);
        offer(&mut scheduler, 101, 1, 10);
        assert!(start_all(&mut scheduler, latest).contains(&(WebhookId(101), EventId(1))));
    }

    #[test]
    fn a_webhook_that_was_slow_is_quick_again_after_quick_answers() {
        let mut scheduler = lanes(1, CAP_FIRST, None);
        offer(&mut scheduler, 1, 1, 10);
        let key = start_all(&mut scheduler, T0)[0];
        finish(&mut scheduler, key, TIMED_OUT, T0);
        assert!(scheduler.slots[&WebhookId(1)].slow);
        for event in 2..20 {
            offer(&mut scheduler, 1, event, 10);
            let key = start_all(&mut scheduler, T0)[0];
            finish(&mut scheduler, key, QUICK, T0);
        }
        assert!(!scheduler.slots[&WebhookId(1)].slow);
    }

    #[test]
    fn a_rate_limit_postpones_and_says_until_when() {
        let mut scheduler = lanes(1, CAP_FIRST, Some(2.0));
        (1..=5).for_each(|event| offer(&mut scheduler, 1, event, 10));
        assert_eq!(start_all(&mut scheduler, T0).len(), 2);
        let next = scheduler.timers.first().unwrap().0;
        assert_eq!(next.since(T0), Duration::from_micros(500_001));
        scheduler.tick(next);
        assert_eq!(start_all(&mut scheduler, next).len(), 1);
    }

    #[test]
    fn with_too_many_results_unwritten_nothing_is_started() {
        let mut scheduler = lanes(200, CAP_FIRST, None);
        let mut unwritten = Vec::new();
        for round in 0..4 {
            (1..=200).for_each(|id| offer(&mut scheduler, id, round + 1, 10));
            for key in start_all(&mut scheduler, T0) {
                scheduler.landed(key.0, key.1, QUICK, T0);
                unwritten.push(key);
            }
        }
        assert!(unwritten.len() >= UNWRITTEN_MAX && unwritten.len() < UNWRITTEN_MAX + SLOTS[0]);
        (1..=200).for_each(|id| offer(&mut scheduler, id, 5, 10));
        assert!(scheduler.next_start(T0).is_none());
        unwritten.into_iter().for_each(|key| scheduler.written(done(key), T0));
        assert!(scheduler.next_start(T0).is_some());
    }

    #[test]
    fn what_doesnt_fit_the_window_is_left_to_the_rows() {
        let mut scheduler = lanes(1, 1, None);
        (1..=1_000).for_each(|event| offer(&mut scheduler, 1, event, 10));
        assert_eq!(scheduler.bytes, 10 * 2 * CAP_FIRST);
        let mut taken = 0;
        while let Some(start) = scheduler.next_start(T0) {
            taken += 1;
            finish(&mut scheduler, (WebhookId(1), start.ready.event.id), QUICK, T0);
        }
        assert_eq!(taken, 2 * CAP_FIRST);
        assert_eq!(scheduler.questions(T0).len(), 1, "the rows are asked for the rest");
    }

    #[test]
    fn none_is_overlooked_that_comes_while_the_rows_are_read() {
        for count in [1, 10, 1_000] {
            // With a window that has room for all that is kept aside.
            let mut scheduler = lanes(1, CAP_MAX, None);
            scheduler.look(WebhookId(1), T0);
            let question = scheduler.questions(T0).remove(0);
            (1..=count).for_each(|event| offer(&mut scheduler, 1, event, 10));
            // What was read is older than all of them.
            assert!(scheduler.answered(Reply { stale: false, ..Reply::unreadable(&question) }, T0));
            let mut sent = 0;
            while let Some(start) = scheduler.next_start(T0) {
                sent += 1;
                finish(&mut scheduler, (WebhookId(1), start.ready.event.id), QUICK, T0);
            }
            assert!(
                sent == count || !scheduler.questions(T0).is_empty(),
                "{count}: {sent} sent, and nothing is read"
            );
        }
    }

    #[test]
    fn one_that_comes_late_and_is_older_is_never_taken_on_trust() {
        let mut scheduler = lanes(1, CAP_FIRST, None);
        offer(&mut scheduler, 1, 10, 10);
        let key = start_all(&mut scheduler, T0)[0];
        finish(&mut scheduler, key, QUICK, T0);
        offer(&mut scheduler, 1, 9, 10);
        assert!(scheduler.next_start(T0).is_none());
        assert_eq!(scheduler.questions(T0).len(), 1);
    }

    #[test]
    fn a_closed_lane_goes_when_its_last_result_is_written() {
        let mut scheduler = lanes(1, CAP_FIRST, None);
        (1..=3).for_each(|event| offer(&mut scheduler, 1, event, 10));
        let start = scheduler.next_start(T0).unwrap();
        scheduler.close(WebhookId(1), T0);
        assert!(scheduler.next_start(T0).is_none());
        assert_eq!(scheduler.closing_lanes().collect::<Vec<_>>(), [WebhookId(1)]);
        finish(&mut scheduler, (WebhookId(1), start.ready.event.id), QUICK, T0);
        assert!(scheduler.slots.is_empty() && scheduler.in_flight() == 0 && scheduler.bytes == 0);
    }
}
