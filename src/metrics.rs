//! What the program counts, for `/metrics` in Prometheus' text format. Counters are of this process. What waits to
//! be delivered stands in the database: whoever answers `/metrics` reads it now and then and sets it here.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Labels of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AttemptLabels {
    /// `success`, `refused` (an answer that isn't a success) or the kind of error.
    pub outcome: &'static str,
}

/// Labels of a carrier's request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HookLabels {
    /// The hook's name, "" for an unknown one.
    pub hook: &'static str,
    /// `ok`, or why it was refused.
    pub result: &'static str,
}

/// Labels of an API request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApiLabels {
    /// The operation's id in the OpenAPI document.
    pub operation: &'static str,
    pub status: u16,
}

/// Labels of a request of the script on a web site.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VisitLabels {
    pub request: &'static str,
    pub status: u16,
}

/// `shard` where several processes share the work, else none.
pub type ShardLabels = Vec<(&'static str, String)>;

/// All counters.
pub struct Metrics {
    registry: Registry,
    pub attempts: Family<AttemptLabels, Counter>,
    pub attempts_in_flight: Gauge,
    pub deliveries_pending: Family<ShardLabels, Gauge>,
    pub deliveries_held: Family<ShardLabels, Gauge>,
    pub deliveries_oldest_s: Family<ShardLabels, Gauge>,
    pub deliveries_expired: Counter,
    pub carrier_hooks: Family<HookLabels, Counter>,
    pub api_requests: Family<ApiLabels, Counter>,
    pub visits: Family<VisitLabels, Counter>,
    pub recordings_stored: Counter,
    pub recordings_failed: Counter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("calltracker");
        let attempts = Family::default();
        registry.register("webhook_attempts", "Attempts to deliver, by outcome", attempts.clone());
        let attempts_in_flight = Gauge::default();
        registry.register("webhook_attempts_in_flight", "Attempts under way", attempts_in_flight.clone());
        let [deliveries_pending, deliveries_held, deliveries_oldest_s] = queue(&mut registry);
        let deliveries_expired = Counter::default();
        let help = "Deliveries that were held for too long, or were too many";
        registry.register("webhook_deliveries_expired", help, deliveries_expired.clone());
        let carrier_hooks = Family::default();
        registry.register("carrier_hooks", "Requests of carriers, by hook and result", carrier_hooks.clone());
        let api_requests = Family::default();
        registry.register("api_requests", "API requests, by operation and status", api_requests.clone());
        let visits = Family::default();
        let help = "Requests of the script on web sites, by kind and status";
        registry.register("visit_requests", help, visits.clone());
        let recordings_stored = Counter::default();
        registry.register("recordings_stored", "Recordings fetched from carriers", recordings_stored.clone());
        let recordings_failed = Counter::default();
        let help = "Fetches of recordings that failed, each try counted";
        registry.register("recording_fetches_failed", help, recordings_failed.clone());
        Metrics {
            registry,
            attempts,
            attempts_in_flight,
            deliveries_pending,
            deliveries_held,
            deliveries_oldest_s,
            deliveries_expired,
            carrier_hooks,
            api_requests,
            visits,
            recordings_stored,
            recordings_failed,
        }
    }
}

/// What waits to be delivered, in the whole database: every process tells the same.
fn queue(registry: &mut Registry) -> [Family<ShardLabels, Gauge>; 3] {
    [
        ("webhook_deliveries_pending", "Deliveries of active webhooks that are not over"),
        ("webhook_deliveries_held", "Deliveries that wait for their webhook to be active"),
        ("webhook_deliveries_oldest_pending_seconds", "Age of the oldest one of an active webhook"),
    ]
    .map(|(name, help)| {
        let family = Family::default();
        registry.register(name, help, family.clone());
        family
    })
}

impl Metrics {
    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a string can't fail");
        text
    }
}
