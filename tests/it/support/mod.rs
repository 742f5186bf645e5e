//! A server for each test, with a database of its own, and clients that hold every answer against the
//! OpenAPI document.

pub mod agency;
pub mod browser;
pub mod carrier;
pub mod chromium;
pub mod client;
pub mod cluster;
pub mod contract;
pub mod database;
pub mod deliveries;
pub mod disk;
pub mod flow;
pub mod line;
pub mod listener;
pub mod name_server;
pub mod program;
pub mod prompter;
pub mod receiver;
pub mod shop;
pub mod simulator;
pub mod site;
pub mod smtp;
pub mod strangers;
pub mod tally;
pub mod tls;
pub mod verifier;
pub mod website;
pub mod world;

use std::net::SocketAddr;
use std::time::Duration;

use calltracker::app::{self, App, Outside};
use calltracker::auth;
use calltracker::companies::{self, NewCompany, Scope};
use calltracker::config::{Config, Given};
use calltracker::ctx::Ctx;
use calltracker::db::{self, Tx, sql};
use calltracker::events::{self, EventType};
use calltracker::jobs::AsOf;
use calltracker::kernel::clock::{Clock, Micros};
use calltracker::kernel::id::CompanyId;
use calltracker::kernel::secret::SecretKey;
use calltracker::kernel::seed::Seed;
use serde_json::{Value as Json, json};

use self::client::Api;
use self::database::TestDatabase;

/// When every test begins.
pub const START: &str = "2026-03-09T09:00:00Z";
/// Whatever a test waits for comes much sooner or never.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Chance that differs from run to run. Its number is printed, which is shown if the test fails: given as
/// TEST_SEED it is the same again.
pub fn chance() -> Seed {
    let given = std::env::var("TEST_SEED").ok();
    let number =
        given.map_or_else(|| Seed::system().below(1_000_000), |text| text.parse().expect("a number"));
    eprintln!("TEST_SEED={number}");
    Seed::fixed(number)
}

/// A running server.
pub struct TestApp {
    pub ctx: Ctx,
    /// Of the whole account, may write.
    pub api: Api,
    app: App,
    // Dropped last: the database goes when nothing uses it.
    _database: TestDatabase,
}

/// A company and the clients of its tokens.
pub struct TestCompany {
    pub scope: Scope,
    pub id: CompanyId,
    /// May write.
    pub api: Api,
    pub reader: Api,
}

impl TestCompany {
    /// A path below the company.
    pub fn path(&self, rest: &str) -> String {
        format!("/companies/{}{rest}", self.id)
    }
}

impl TestApp {
    pub async fn start() -> TestApp {
        TestApp::with(|_| {}).await
    }

    /// With other settings than the defaults.
    pub async fn with(change: impl FnOnce(&mut Config)) -> TestApp {
        TestApp::at(hand(), true, change).await
    }

    /// Without background work: the test runs what it needs of it.
    pub async fn quiet(change: impl FnOnce(&mut Config)) -> TestApp {
        TestApp::at(hand(), false, change).await
    }

    /// By the system's clock, where a stranger's program checks the time.
    pub async fn with_real_time() -> TestApp {
        TestApp::at(Clock::System, true, |_| {}).await
    }

    async fn at(clock: Clock, run_jobs: bool, change: impl FnOnce(&mut Config)) -> TestApp {
        let (database, seed) = (TestDatabase::create(), Seed::fixed(1));
        let mut config = Given::default().resolve(Given::default()).expect("the defaults are valid");
        config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.data = database.folder();
        config.database_url = database.url();
        config.secret_key = Some(SecretKey::generate(&seed));
        let loopback = "127.0.0.0/8".parse().expect("it is a network");
        config.webhooks.allow_targets.push(loopback);
        config.carriers.allow_targets.push(loopback);
        change(&mut config);
        let outside = Outside { clock, seed, usage_as_of: AsOf::Clock, run_jobs };
        let app = app::start(config, outside).await.expect("the server starts");
        let ctx = app.ctx.clone();
        let token = ctx.db.write("test.token", |tx| auth::create(tx, "account", None, true)).await;
        let api = Api::new(&format!("http://{}", app.address), &token.expect("the token is made"));
        TestApp { ctx, api, app, _database: database }
    }

    /// Ends it and starts another server on its database, without background work. Its clock stands where it stood.
    pub async fn restart(self, company: TestCompany) -> (TestApp, TestCompany) {
        let TestApp { ctx, api, app, _database } = self;
        let (config, clock) = (ctx.config.clone(), ctx.clock.clone());
        drop(ctx);
        app.stop().await;
        let outside = Outside { clock, seed: Seed::fixed(2), usage_as_of: AsOf::Clock, run_jobs: false };
        let app = app::start(config, outside).await.expect("the server starts again");
        let at = |api: &Api| Api::new(&format!("http://{}", app.address), &api.token);
        let company = TestCompany { api: at(&company.api), reader: at(&company.reader), ..company };
        (TestApp { ctx: app.ctx.clone(), api: at(&api), app, _database }, company)
    }

    /// Another server on its database, without background work; None where a database has one only.
    pub async fn beside(&self) -> Option<App> {
        if !self.ctx.db.is_shared() {
            return None;
        }
        let clock = self.ctx.clock.clone();
        let outside = Outside { clock, seed: Seed::fixed(2), usage_as_of: AsOf::Clock, run_jobs: false };
        Some(app::start(self.ctx.config.clone(), outside).await.expect("the other server starts"))
    }

    /// Runs `work` in a transaction.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Tx<'_>) -> db::Result<T> + Send + 'static,
    ) -> T {
        self.ctx.db.write("test", work).await.expect("the test's own statements work")
    }

    /// A new company with a token of each kind.
    pub async fn company(&self, name: &str) -> TestCompany {
        let new = NewCompany {
            name: name.to_owned(),
            time_zone: "America/New_York".to_owned(),
            country: "US".to_owned(),
            billing_day: 1,
            source_days: 30,
        };
        let (id, writer, reader) = self
            .write(move |tx| {
                let id = companies::create(tx, &new)?.id;
                let writer = auth::create(tx, "writer", Some(id), true)?;
                Ok((id, writer, auth::create(tx, "reader", Some(id), false)?))
            })
            .await;
        let (api, reader) = (self.api.with_token(&writer), self.api.with_token(&reader));
        TestCompany { scope: Scope::of(id), id, api, reader }
    }

    /// Appends an event to a company's log and gives its id. Of those that are appended at a time each has another `n`.
    pub async fn append_event(&self, scope: Scope, n: i64) -> i64 {
        self.write(move |tx| events::append(tx, scope, EventType::UsageCreated, &usage(n))).await;
        let statement = "select max(id) from events where company_id = ? and data = ?";
        let find =
            move |tx: &mut Tx<'_>| tx.one(sql(statement).bind(scope.company()).bind(usage(n).to_string()));
        let (id,): (i64,) = self.ctx.db.read("test", find).await.expect("the event is there");
        id
    }

    /// Writes the signs of life of visits that wait.
    pub async fn write_beats(&self) {
        self.app.beats.write(&self.ctx).await.expect("the database answers");
    }

    pub fn advance(&self, by: Duration) {
        self.ctx.clock.advance(by);
    }

    /// Tells everything that lasts to end.
    pub fn shut_down(&self) {
        self.app.begin_stop();
    }
}

/// The data of an event.
pub fn usage(id: i64) -> Json {
    json!({
        "id": id, "company_id": 1, "company_name": "Acme", "start_date": "2026-02-01", "end_date": "2026-03-01",
        "local_numbers": 1, "tollfree_numbers": 0, "local_minutes": 3, "tollfree_minutes": 0, "sms_messages": 2,
        "timestamp": "2026-03-01T05:00:00.000000Z",
    })
}

/// A clock that stands at [`START`].
fn hand() -> Clock {
    let start: jiff::Timestamp = START.parse().expect("it is a time");
    Clock::manual(Micros::from(start))
}
