//! What the product needs around a pool: a database of its own, a company, and a tracker with numbers.

use std::path::Path;

use anyhow::Context as _;
use calltracker::carriers::accounts::{self, NewAccount, Secret};
use calltracker::carriers::{Kind, parse_base_url};
use calltracker::companies::{self, Company, NewCompany, Scope};
use calltracker::config::Given;
use calltracker::ctx::{Ctx, Parts};
use calltracker::db::{Db, Location, Tx};
use calltracker::kernel::clock::Clock;
use calltracker::kernel::phone::{NumberType, PhoneNumber};
use calltracker::kernel::secret::SecretKey;
use calltracker::kernel::seed::Seed;
use calltracker::metrics::Metrics;
use calltracker::outbound::{Options, Outbound, ResolverChoice};
use calltracker::trackers::pool::{Exhausted, Terms};
use calltracker::trackers::{self, OwnedNumber, Settings, TrackerType, TrackerView};
use url::Url;

/// The number on the site's pages.
const SHOWN: &str = "+12025550100";
const NOWHERE: &str = "http://127.0.0.1:9";

/// A context whose clock can be turned, on a new SQLite file. Blocks.
pub fn open(folder: &Path, clock: Clock, seed: u64) -> anyhow::Result<Ctx> {
    let seed = Seed::fixed(seed);
    let file = Location::Sqlite(folder.join("simulation.sqlite3"));
    let db = Db::open(&file, clock.clone(), seed.clone())?;
    let outbound = Outbound::new(Options {
        allow: vec![],
        roots: rustls::RootCertStore::empty(),
        resolver: ResolverChoice::System,
        user_agent: String::new(),
    })?;
    Ok(Ctx::new(Parts {
        db,
        clock,
        key: SecretKey::generate(&seed),
        seed,
        config: Given::default().resolve(Given::default())?,
        public_url: Url::parse(NOWHERE)?,
        metrics: Metrics::default(),
        to_webhooks: outbound.clone(),
        to_carriers: outbound,
    }))
}

pub async fn company(ctx: &Ctx) -> anyhow::Result<Company> {
    let new = NewCompany {
        name: "Example Company".to_owned(),
        time_zone: "UTC".to_owned(),
        country: "US".to_owned(),
        billing_day: 1,
        source_days: 30,
    };
    Ok(ctx.db.write("bench.company", move |tx| companies::create(tx, &new)).await?)
}

/// A pool of numbers that stands for [`SHOWN`]. Numbers are unique in a database: the first `taken` have been used.
pub async fn pool(
    ctx: &Ctx,
    scope: Scope,
    numbers: u32,
    taken: u32,
    exhausted: Exhausted,
) -> anyhow::Result<TrackerView> {
    let base_url = parse_base_url(Kind::Twilio, Some(NOWHERE)).ok().context("it is a URL")?;
    let token = Secret::parse("5eed0000000000000000000000005eed").ok().context("it is a token")?;
    let account_sid = format!("AC{:032x}", scope.company().0);
    let new = NewAccount::new(Kind::Twilio, &account_sid, base_url, token, None)
        .ok()
        .context("it is an account")?;
    let (key, settings) = (ctx.key.clone(), settings(exhausted)?);
    let create = move |tx: &mut Tx<'_>| {
        let carrier_id = accounts::create(tx, scope, &new, &key)
            .map_err(|error| trackers::Error::Db(calltracker::db::Error::Internal(error.to_string())))?
            .account
            .id;
        let owned = (taken..taken + numbers).filter_map(|n| {
            let number = PhoneNumber::from_e164(&format!("+1202{:07}", 2_000_000 + n))?;
            Some(OwnedNumber { carrier_id, carrier_number_id: format!("PN{n:032}"), number })
        });
        trackers::create(tx, scope, &settings, &owned.collect::<Vec<_>>())
    };
    Ok(ctx.db.write("bench.pool", create).await?)
}

fn settings(exhausted: Exhausted) -> anyhow::Result<Settings> {
    Ok(Settings {
        name: "Example Pool".to_owned(),
        tracker_type: TrackerType::NumberPool,
        number_type: NumberType::Local,
        destination: PhoneNumber::from_e164("+12703152766").context("it is a number")?,
        status: true,
        recording_enabled: false,
        recording_message: String::new(),
        whisper_enabled: false,
        whisper_message: String::new(),
        voicemail_enabled: false,
        voicemail_greeting: String::new(),
        transcription_enabled: false,
        ring_timeout_s: 25,
        swap_target: SHOWN.to_owned(),
        campaign_source: String::new(),
        campaign_search_from: String::new(),
        campaign_search_for: String::new(),
        campaign_landing_page: String::new(),
        campaign_referral: String::new(),
        campaign_campaign_parameters: String::new(),
        pool: Terms { exhausted, ..Terms::default() },
    })
}
