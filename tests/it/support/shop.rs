//! A company with one tracker and a number of webhooks, made through the API of the real program, and the
//! check that nothing of its events is lost.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::client::Api;
use super::program::{Place, Program};
use super::simulator::Simulator;
use super::tally::{PATIENCE, Tally};
use super::world::{ACCOUNT_SID, AUTH_TOKEN};

/// The number of its tracker, and where its calls go.
pub const NUMBER: &str = "+12705550199";
pub const DESTINATION: &str = "+18125550101";
/// Carriers sign this URL: it is the same for each process.
pub const PUBLIC_URL: &str = "http://public.example";

/// See the module. Its webhooks are 1, 2 … and get each renaming of the tracker.
pub struct Shop {
    pub tally: Tally,
    pub hooks: usize,
    /// Below [`PUBLIC_URL`]: where the carrier tells of calls.
    pub carrier_hook: String,
    simulator: Simulator,
    // Behind the rest: the database goes last.
    pub place: Place,
}

impl Shop {
    /// Opens it, and gives the program that is running for it.
    pub async fn open(place: Place, hooks: usize) -> (Shop, Program) {
        let (simulator, tally) = (Simulator::start(), Tally::start());
        let mut shop = Shop { tally, hooks, carrier_hook: String::new(), simulator, place };
        let program = shop.serve();
        shop.furnish(&program.api).await;
        (shop, program)
    }

    /// Starts a server on its database.
    pub fn serve(&self) -> Program {
        let flags = ["--public-url", PUBLIC_URL, "--api-rate-per-minute", "1000000", "--log", "warn"];
        self.place.serve(&flags)
    }

    async fn furnish(&mut self, api: &Api) {
        let company = json!({"name": "Acme", "time_zone": "UTC", "country": "US"});
        api.post("/companies", &company).await.expect(201);
        let account = json!({
            "kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": self.simulator.url,
        });
        let account = api.post("/companies/1/carriers", &account).await.expect(201);
        account.json["hook_url"].as_str().unwrap().clone_into(&mut self.carrier_hook);
        self.simulator.buy(NUMBER).await;
        let tracker = json!({
            "name": "Flyer", "tracker_type": "offline", "number_type": "local", "destination": DESTINATION,
            "numbers": {"attach": [NUMBER]},
        });
        api.post("/companies/1/trackers", &tracker).await.expect(201);
        for hook in 1..=self.hooks {
            let webhook = json!({"target": self.tally.url(hook), "events": ["tracker.updated"]});
            let made = api.post("/companies/1/webhooks", &webhook).await.expect(201);
            assert_eq!(made.json["id"], hook, "webhooks are numbered from 1");
        }
        for hook in 1..=self.hooks {
            let path = format!("/companies/1/webhooks/{hook}");
            while api.get(&path).await.expect(200).json["status"] != "active" {}
        }
    }

    /// Renames the tracker and waits until each webhook was told.
    pub async fn tell_everywhere(&self, api: &Api, name: &str, patience: Duration) {
        let from = self.tally.progress().arrivals;
        api.patch("/companies/1/trackers/1", &json!({ "name": name })).await.expect(200);
        self.tally.everywhere(patience, name, from, self.hooks).await;
    }

    /// The deliveries of a webhook, newest first.
    pub async fn deliveries(&self, api: &Api, hook: usize) -> Vec<Json> {
        api.list(&format!("/companies/1/webhooks/{hook}/deliveries?limit=500")).await
    }

    /// The last deliveries of each webhook that the API shows as delivered: their ids.
    pub async fn shown_as_delivered(&self, api: &Api, last: usize) -> Vec<String> {
        let mut shown = Vec::new();
        for hook in 1..=self.hooks {
            let path = format!("/companies/1/webhooks/{hook}/deliveries?state=delivered&limit={last}");
            let page = api.get(&path).await.expect(200);
            shown.extend(page.json["data"].as_array().unwrap().iter().map(|d| text(&d["id"])));
        }
        shown
    }

    /// Waits until the API shows nothing as pending.
    pub async fn settle(&self, api: &Api) {
        let settling = async {
            for hook in 1..=self.hooks {
                let path = format!("/companies/1/webhooks/{hook}/deliveries?state=pending&limit=1");
                while api.get(&path).await.expect(200).json["data"] != json!([]) {}
            }
        };
        let settled = tokio::time::timeout(PATIENCE, settling).await;
        assert!(settled.is_ok(), "something is still pending: {:?}", self.tally.progress());
    }

    /// Nothing is lost. Once nothing is pending: what was answered is in the log, each webhook has one
    /// delivery for each event of the log, each of these is delivered, and has arrived under its id with
    /// what the event tells; and nothing else has. Gives how many events there are.
    pub async fn assert_conserved(&self, api: &Api, answered: &[String]) -> usize {
        self.settle(api).await;
        let log = api.list("/companies/1/events?type=tracker.updated&limit=500").await;
        let events: HashMap<i64, String> =
            log.iter().map(|e| (e["id"].as_i64().unwrap(), text(&e["data"]["name"]))).collect();
        let names: HashSet<&String> = events.values().collect();
        let lost: Vec<_> = answered.iter().filter(|name| !names.contains(name)).collect();
        assert!(lost.is_empty(), "answered and not in the log: {lost:?}");
        let arrived = self.arrived();
        for hook in 1..=self.hooks {
            let deliveries = self.deliveries(api, hook).await;
            assert_eq!(deliveries.len(), events.len(), "deliveries of webhook {hook}");
            let mut of_events = HashSet::new();
            for delivery in deliveries {
                assert_eq!(delivery["state"], "delivered", "{delivery}");
                let event = delivery["event_id"].as_i64().unwrap();
                assert!(of_events.insert(event), "two deliveries of one event: {delivery}");
                let told = arrived.get(&text(&delivery["id"])).unwrap_or_else(|| panic!("lost: {delivery}"));
                assert_eq!((told.hook, Some(&told.name)), (hook, events.get(&event)), "{delivery}");
            }
        }
        assert_eq!(arrived.len(), events.len() * self.hooks, "ids that the log doesn't know");
        events.len()
    }

    /// What arrived under each id: every time the same.
    fn arrived(&self) -> HashMap<String, Arrived> {
        let mut arrived: HashMap<String, Arrived> = HashMap::new();
        let mut bodies = HashMap::new();
        for arrival in self.tally.arrivals() {
            let body = bodies.entry(arrival.id.clone()).or_insert_with(|| arrival.body.clone());
            assert_eq!(*body, arrival.body, "the body of {} changed", arrival.id);
            arrived.entry(arrival.id).or_insert_with(|| {
                let json: Json = serde_json::from_slice(&arrival.body).unwrap();
                assert_eq!(json["webhook"]["id"], arrival.hook, "{json}");
                Arrived { hook: arrival.hook, name: text(&json["data"]["name"]) }
            });
        }
        arrived
    }
}

struct Arrived {
    hook: usize,
    name: String,
}

fn text(json: &Json) -> String {
    json.as_str().expect("it is a text").to_owned()
}
