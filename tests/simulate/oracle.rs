//! What must be true, kept apart from the engine: a model of each delivery that is told of every request and of
//! every transaction, and objects.

use std::collections::HashMap;
use std::time::Duration;

use calltracker::kernel::clock::Micros;
use calltracker::kernel::id::{EventId, WebhookId};

/// The contract's gaps.
pub const GAPS: [Duration; 5] = [
    Duration::from_secs(55),
    Duration::from_secs(330),
    Duration::from_secs(1_980),
    Duration::from_secs(11_880),
    Duration::from_secs(71_280),
];
const DAY: Duration = Duration::from_secs(86_400);

pub type Key = (WebhookId, EventId);

#[derive(Debug, Default)]
struct Model {
    sends: usize,
    recorded: usize,
    /// Sends whose result went down with a crash.
    lost: usize,
    in_flight: bool,
    /// Sends of the present series that were recorded as failures, and when the first and the last were made.
    series: Vec<Micros>,
    /// A success was recorded and nobody asked for another send.
    over: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Oracle {
    models: HashMap<Key, Model>,
}

impl Oracle {
    fn of(&mut self, key: Key) -> &mut Model {
        self.models.entry(key).or_default()
    }

    /// A request is made.
    pub fn sent(&mut self, key: Key, now: Micros) {
        let model = self.of(key);
        assert!(!model.in_flight, "{key:?} is sent while it is under way");
        assert!(!model.over, "{key:?} is sent after its success was recorded");
        if let (Some(first), Some(last)) = (model.series.first(), model.series.last()) {
            let gap = GAPS.get(model.series.len() - 1);
            let gap = *gap.unwrap_or_else(|| panic!("{key:?} is sent a seventh time in its series"));
            assert!(now.since(*last) >= gap, "{key:?} is sent early: {:?} after the last", now.since(*last));
            // What was held up by a crash or a pause may be late; the schedule itself isn't.
            assert!(*first <= now);
        }
        model.sends += 1;
        model.in_flight = true;
    }

    /// It ended, whatever came of it.
    pub fn ended(&mut self, key: Key) {
        self.of(key).in_flight = false;
    }

    /// Its result was committed. `held`: it was made before its webhook became active the last time, so that the next
    /// send begins a new series.
    pub fn recorded(
        &mut self,
        key: Key,
        started: Micros,
        success: bool,
        held: bool,
        retry_at: Option<Micros>,
    ) {
        let model = self.of(key);
        model.recorded += 1;
        model.over |= success;
        if held {
            return model.series.clear();
        }
        model.series.push(started);
        if let Some(at) = retry_at {
            let k = model.series.len() - 1;
            let first = model.series[0];
            assert!(at.since(started) >= GAPS[k], "{key:?}: the next send is planned early");
            let rest: Duration = GAPS[k + 1..].iter().sum();
            assert!(
                at.since(first) + rest <= DAY || at.since(started) <= GAPS[k] + GAPS[k] / 100,
                "{key:?}: the rest of the series doesn't fit into a day"
            );
        }
    }

    /// A crash took the result of a send with it.
    pub fn lost(&mut self, key: Key) {
        let model = self.of(key);
        model.lost += 1;
        model.in_flight = false;
    }

    /// The delivery begins a new series: it was resent, or its webhook became active again.
    pub fn restarted(&mut self, key: Key) {
        let model = self.of(key);
        model.series.clear();
        model.over = false;
    }

    /// As [`Oracle::restarted`], of all that is still to be delivered to a webhook.
    pub fn reactivated(&mut self, webhook: WebhookId) {
        for model in self.models.iter_mut().filter(|((id, _), m)| *id == webhook && !m.over).map(|(_, m)| m) {
            model.series.clear();
        }
    }

    pub fn sends(&self) -> usize {
        self.models.values().map(|model| model.sends).sum()
    }

    /// At the end: `attempts` stand in the database.
    pub fn check(&self, key: Key, attempts: usize) {
        let Some(model) = self.models.get(&key) else {
            return assert_eq!(attempts, 0, "{key:?} was never sent");
        };
        assert_eq!(model.recorded, attempts, "{key:?}: attempts in the database");
        assert_eq!(model.sends, model.recorded + model.lost, "{key:?}: each send is recorded or was lost");
    }
}
