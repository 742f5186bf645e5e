//! A world for one test without a server: a database of its own, a clock that stands still, and the few rows
//! that most tests start from.

use calltracker::carriers::accounts::{self, NewAccount, Secret};
use calltracker::carriers::{Kind, parse_base_url};
use calltracker::companies::{self, NewCompany, Scope};
use calltracker::config::Given;
use calltracker::ctx::{Ctx, Parts};
use calltracker::db::{Db, FromRow, Sql, sql};
use calltracker::kernel::clock::{Clock, Micros};
use calltracker::kernel::id::{CarrierId, CompanyId};
use calltracker::kernel::phone::{NumberType, PhoneNumber};
use calltracker::kernel::secret::SecretKey;
use calltracker::kernel::seed::Seed;
use calltracker::metrics::Metrics;
use calltracker::outbound::{Options, Outbound, ResolverChoice};
use calltracker::trackers::{self, OwnedNumber, Settings, TrackerType, TrackerView};
use serde_json::Value as Json;
use url::Url;

use super::database::TestDatabase;

pub const ACCOUNT_SID: &str = "AC00000000000000000000000000005eed";
pub const AUTH_TOKEN: &str = "5eed0000000000000000000000005eed";
pub const DESTINATION: &str = "+12703152766";
/// Where a carrier is that no test may reach.
pub const NOWHERE: &str = "http://127.0.0.1:9";

pub struct World {
    pub ctx: Ctx,
    pub clock: Clock,
    // Dropped behind the context, which holds the database open.
    _database: TestDatabase,
}

impl World {
    /// A world in which it is `now`, in RFC 3339.
    pub async fn at(now: &str) -> World {
        let clock = Clock::manual(moment(now));
        let seed = Seed::system();
        let database = TestDatabase::create();
        let location = database.location.clone();
        let (db_clock, db_seed) = (clock.clone(), seed.clone());
        // As the server does: the number plans are read before a transaction wants them, or PostgreSQL ends it on a
        // busy machine, because it stands still for so long.
        tokio::task::spawn_blocking(|| PhoneNumber::caller("+12025550123")).await.unwrap();
        let opening = tokio::task::spawn_blocking(move || Db::open(&location, db_clock, db_seed));
        let db = opening.await.unwrap().unwrap();
        let outbound = Outbound::new(Options {
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            roots: rustls::RootCertStore::empty(),
            resolver: ResolverChoice::System,
            user_agent: "CallTracker/test".to_owned(),
        });
        let outbound = outbound.unwrap();
        let ctx = Ctx::new(Parts {
            db,
            clock: clock.clone(),
            key: SecretKey::generate(&seed),
            seed,
            config: Given::default().resolve(Given::default()).unwrap(),
            public_url: Url::parse("http://127.0.0.1:9/").unwrap(),
            metrics: Metrics::default(),
            to_webhooks: outbound.clone(),
            to_carriers: outbound,
        });
        World { ctx, clock, _database: database }
    }

    pub async fn company(&self, time_zone: &str, billing_day: i64) -> Scope {
        let new = NewCompany {
            name: "Example Company".to_owned(),
            time_zone: time_zone.to_owned(),
            country: "US".to_owned(),
            billing_day,
            source_days: 30,
        };
        let made = self.ctx.db.write("test", move |tx| companies::create(tx, &new)).await.unwrap();
        Scope::of(made.id)
    }

    /// A carrier account that nobody asked the carrier about.
    pub async fn account(&self, scope: Scope, base_url: &str) -> CarrierId {
        let new = new_account(base_url, AUTH_TOKEN);
        let key = self.ctx.key.clone();
        let create = move |tx: &mut calltracker::db::Tx<'_>| accounts::create(tx, scope, &new, &key);
        self.ctx.db.write("test", create).await.unwrap().account.id
    }

    /// A tracker with numbers that nobody asked the carrier about.
    pub async fn tracker(&self, scope: Scope, carrier_id: CarrierId, numbers: &[&str]) -> TrackerView {
        let owned: Vec<OwnedNumber> = numbers
            .iter()
            .map(|text| OwnedNumber {
                carrier_id,
                carrier_number_id: format!("PN{}", &text[1..]),
                number: number(text),
            })
            .collect();
        let create = move |tx: &mut calltracker::db::Tx<'_>| trackers::create(tx, scope, &settings(), &owned);
        self.ctx.db.write("test", create).await.unwrap()
    }

    pub async fn delete_tracker(&self, scope: Scope, view: &TrackerView) {
        let id = view.tracker.id;
        let deleted = self.ctx.db.write("test", move |tx| trackers::delete(tx, scope, id)).await.unwrap();
        assert!(deleted.is_some());
    }

    /// The company's events of one type: their data.
    pub async fn events(&self, scope: Scope, event: &'static str) -> Vec<Json> {
        let statement = sql("select data from events where company_id = ? and type = ? order by id");
        let rows: Vec<(String,)> = self.rows(statement.bind(scope.company()).bind(event)).await;
        rows.iter().map(|(data,)| serde_json::from_str(data).unwrap()).collect()
    }

    pub async fn rows<T: FromRow + Send + 'static>(&self, statement: Sql) -> Vec<T> {
        self.ctx.db.read("test", move |tx| tx.all::<T>(statement.clone())).await.unwrap()
    }

    /// Runs a statement that no rule stands for: to make what the product makes elsewhere, or to break things.
    pub async fn execute(&self, statement: Sql) -> u64 {
        self.ctx.db.write("test", move |tx| tx.execute(statement.clone())).await.unwrap()
    }

    pub async fn count(&self, table: &str) -> i64 {
        self.rows::<(i64,)>(sql(format!("select count(*) from {table}"))).await[0].0
    }
}

pub fn moment(text: &str) -> Micros {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

pub fn number(text: &str) -> PhoneNumber {
    PhoneNumber::from_e164(text).unwrap()
}

pub fn new_account(base_url: &str, token: &str) -> NewAccount {
    let base_url = parse_base_url(Kind::Twilio, Some(base_url)).unwrap();
    NewAccount::new(Kind::Twilio, ACCOUNT_SID, base_url, Secret::parse(token).unwrap(), None).unwrap()
}

pub fn settings() -> Settings {
    Settings {
        name: "Example Tracker".to_owned(),
        tracker_type: TrackerType::Offline,
        number_type: NumberType::Local,
        destination: number(DESTINATION),
        status: true,
        recording_enabled: true,
        recording_message: "This call may be recorded for quality assurance.".to_owned(),
        whisper_enabled: true,
        whisper_message: "Call from Example Tracker.".to_owned(),
        voicemail_enabled: true,
        voicemail_greeting: String::new(),
        transcription_enabled: true,
        ring_timeout_s: 25,
        swap_target: String::new(),
        campaign_source: String::new(),
        campaign_search_from: String::new(),
        campaign_search_for: String::new(),
        campaign_landing_page: String::new(),
        campaign_referral: String::new(),
        campaign_campaign_parameters: String::new(),
        pool: calltracker::trackers::pool::Terms::default(),
    }
}

/// Holds an event's data against the contract's example: each of its keys is there, with the same JSON type.
pub fn assert_contract(event: &str, data: &Json) {
    let path = format!("{}/tests/fixtures/contract/{event}.json", env!("CARGO_MANIFEST_DIR"));
    let example: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (key, expected) in example["data"].as_object().unwrap() {
        let found = data.get(key).unwrap_or_else(|| panic!("{event}: {key} is missing"));
        assert_eq!(kind(found), kind(expected), "{event}: {key}");
    }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(n) if n.is_f64() => "float",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

/// The company behind an id, for tests that need another one's.
pub fn stranger(scope: Scope) -> Scope {
    Scope::of(CompanyId(scope.company().0 + 1_000))
}
