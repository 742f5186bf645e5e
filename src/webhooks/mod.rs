//! Webhooks: a company's own URLs and the promise that every event reaches them. The rows here are the
//! truth; [`engine`] is the queue in memory that acts on them.
//!
//! - *Dramatis personae*: `events::append` makes a **delivery** for each subscribed webhook, in the
//!   transaction of the change. The **engine** picks those that are due and makes **attempts**
//!   ([`attempt`]); [`record`] writes down what came of each and what follows ([`schedule`]).
//! - A pending delivery of a webhook that isn't active is *held*: nothing is written for that, so
//!   deactivating and verifying again touch one row, however many are held.
//! - `activation` counts how often the webhook became active. A pending delivery that carries a smaller
//!   count was held: it is due at once, oldest first, with a new series of sends.

mod attempt;
mod deliveries;
mod due;
mod engine;
mod health;
mod hints;
mod holding;
mod lane;
mod queue;
mod record;
pub mod replays;
pub mod retention;
mod samples;
mod schedule;
mod scheduler;
mod shards;
mod sign;
mod tally;
mod verify;

pub use self::attempt::{Outcome, Parcel, Recipient, is_settable_header, send as send_parcel};
pub use self::deliveries::{
    Attempt, Delivery, DeliveryFilter, DeliveryState, DeliveryWithAttempts, cancel_orphans,
    find as find_delivery, list as list_deliveries, of_event, resend,
};
pub use self::engine::run as run_engine;
pub use self::holding::expire;
pub use self::queue::{Depth, depths};
pub use self::samples::data as sample;
pub use self::sign::Secret;
pub use self::tally::{Hour, Minute, last_hours, minutes};

/// What the engine is made of, for the simulation that holds it against its promises.
pub mod parts {
    pub use super::due::answer;
    pub use super::engine::load;
    pub use super::lane::{CAP_FIRST, CAP_MAX, Landing, Question, Reply, Subscriber};
    pub use super::record::{Ended, batch};
    pub use super::scheduler::{Scheduler, Start, Verdict, Written};
}

pub use self::verify::{Verdict, send_test, verify};

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::companies::Scope;
use crate::db::{self, Db, FromRow, Note, Row, Tx, Wake, sql};
use crate::events::EventType;
use crate::kernel::clock::Micros;
use crate::kernel::id::{CompanyId, WebhookId};
use crate::kernel::page::{Listed, Page};
use crate::kernel::secret::{Purpose, SecretKey};

/// The old secret signs along for this long after a rotation (delivery rule 6).
const ROTATION: Duration = Duration::from_secs(24 * 3600);

/// Deactivated webhooks that are told of at once.
const TOLD_MAX: i64 = 5;

/// Whether deliveries go out, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its present target hasn't answered a verification.
    Unverified,
    Active,
    /// Stopped by the user.
    Paused,
    /// Stopped by us: the last retry of a delivery failed.
    Deactivated,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Unverified => "unverified",
            Status::Active => "active",
            Status::Paused => "paused",
            Status::Deactivated => "deactivated",
        }
    }

    fn parse(text: &str) -> db::Result<Status> {
        [Status::Unverified, Status::Active, Status::Paused, Status::Deactivated]
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| db::Error::Internal(format!("unknown webhook status {text:?}")))
    }
}

/// Which events a webhook gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// Also those that are added later.
    All,
    Chosen(Vec<EventType>),
}

impl Subscription {
    /// As stored: `all`, or the types between spaces.
    fn to_text(&self) -> String {
        match self {
            Subscription::All => "all".to_owned(),
            Subscription::Chosen(types) => {
                let words: Vec<_> = types.iter().map(|t| t.as_str()).collect();
                format!(" {} ", words.join(" "))
            }
        }
    }

    fn parse(text: &str) -> Subscription {
        match text {
            "all" => Subscription::All,
            types => Subscription::Chosen(types.split_whitespace().filter_map(EventType::parse).collect()),
        }
    }

    /// As the API shows it.
    pub fn to_json(&self) -> Json {
        match self {
            Subscription::All => json!("all"),
            Subscription::Chosen(types) => types.iter().map(|t| t.as_str()).collect(),
        }
    }
}

/// What a user may set. Valid already.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// As typed: it is part of every body.
    pub target: String,
    pub events: Subscription,
    pub description: String,
    /// Sent along with each request, in this order.
    pub headers: Vec<(String, String)>,
    /// Any 2xx is a success, not just 200.
    pub accept_any_2xx: bool,
    /// Requests per second at most; None = no limit.
    pub rate_per_s: Option<f64>,
}

impl Settings {
    /// Everything, to `target`, without a wish.
    pub fn all_to(target: &str) -> Settings {
        Settings {
            target: target.to_owned(),
            events: Subscription::All,
            description: String::new(),
            headers: Vec::new(),
            accept_any_2xx: false,
            rate_per_s: None,
        }
    }
}

/// A webhook as stored.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub id: WebhookId,
    pub company_id: CompanyId,
    pub settings: Settings,
    pub status: Status,
    /// Why it has this status, for people; "" if there is nothing to say.
    pub status_reason: String,
    pub status_at: Micros,
    /// The target that answered the last verification; "" if none did.
    pub verified_target: String,
    pub activation: i64,
    revision: i64,
    sealed_secret: Vec<u8>,
    sealed_previous: Option<Vec<u8>>,
    previous_until: Option<Micros>,
    pub created_at: Micros,
    /// Since when it fails; see [`health`].
    pub failing_since: Option<Micros>,
    /// Its deliveries that expired, ever, and when one last did; see [`holding`].
    pub expired: i64,
    pub expired_at: Option<Micros>,
}

const COLUMNS: &str = "id, company_id, target, events, description, headers, accept_any_2xx, rate_per_s, status,
    status_reason, status_at, verified_target, activation, revision, secret, previous_secret, previous_until, created_at, failing_since,
    expired, expired_at";

impl FromRow for Webhook {
    fn from_row(row: &mut Row<'_>) -> db::Result<Webhook> {
        let (id, company_id) = (row.get()?, row.get()?);
        let settings = Settings {
            target: row.get()?,
            events: Subscription::parse(&row.get::<String>()?),
            description: row.get()?,
            headers: serde_json::from_str(&row.get::<String>()?)
                .map_err(|e| db::Error::Internal(format!("the headers of webhook {id:?}: {e}")))?,
            accept_any_2xx: row.get()?,
            rate_per_s: row.get()?,
        };
        Ok(Webhook {
            id,
            company_id,
            settings,
            status: Status::parse(&row.get::<String>()?)?,
            status_reason: row.get()?,
            status_at: row.get()?,
            verified_target: row.get()?,
            activation: row.get()?,
            revision: row.get()?,
            sealed_secret: row.get()?,
            sealed_previous: row.get()?,
            previous_until: row.get()?,
            created_at: row.get()?,
            failing_since: row.get()?,
            expired: row.get()?,
            expired_at: row.get()?,
        })
    }
}

impl Webhook {
    /// The object of the API. The secret isn't in it: it is shown once, where it is made.
    pub fn to_json(&self) -> Json {
        let headers: serde_json::Map<String, Json> =
            self.settings.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({
            "id": self.id,
            "company_id": self.company_id,
            "target": self.settings.target,
            "events": self.settings.events.to_json(),
            "description": self.settings.description,
            "headers": headers,
            "accept_any_2xx": self.settings.accept_any_2xx,
            "rate_per_s": self.settings.rate_per_s,
            "status": self.status.as_str(),
            "status_reason": self.status_reason,
            "status_at": self.status_at.rfc3339(),
            "failing_since": self.failing_since.map(Micros::rfc3339),
            "expired": self.expired,
            "expired_at": self.expired_at.map(Micros::rfc3339),
            "created_at": self.created_at.rfc3339(),
        })
    }

    /// The secrets that sign at `now`, the current one first.
    ///
    /// # Errors
    /// They were sealed with another secret key.
    pub fn secrets(&self, key: &SecretKey, now: Micros) -> anyhow::Result<Vec<Secret>> {
        let open = |sealed: &[u8]| {
            key.open(Purpose::WebhookSecret, sealed).and_then(|bytes| Secret::from_bytes(&bytes)).ok_or_else(
                || anyhow::anyhow!("the secret of webhook {} was sealed with another key", self.id),
            )
        };
        let mut secrets = vec![open(&self.sealed_secret)?];
        if let (Some(sealed), Some(until)) = (&self.sealed_previous, self.previous_until)
            && now < until
        {
            secrets.push(open(sealed)?);
        }
        Ok(secrets)
    }
}

/// Makes a webhook; it gets events from now on, which are held until it is verified.
///
/// # Errors
/// The database's.
pub fn create(
    tx: &mut Tx<'_>,
    scope: Scope,
    key: &SecretKey,
    settings: &Settings,
) -> db::Result<(Webhook, Secret)> {
    let secret = Secret::generate(tx.seed());
    let sealed = key.seal(Purpose::WebhookSecret, secret.as_bytes(), tx.seed());
    let statement = "insert into webhooks (target, events, description, headers, accept_any_2xx, rate_per_s,
                     company_id, status, status_reason, status_at, verified_target, activation, revision, secret,
                     created_at) values (?, ?, ?, ?, ?, ?, ?, 'unverified', '', ?, '', 0, 0, ?, ?) returning ";
    let webhook = tx.one(
        bind_settings(sql(format!("{statement}{COLUMNS}")), settings)
            .bind(scope.company())
            .bind(tx.now())
            .bind(sealed)
            .bind(tx.now()),
    )?;
    Ok((webhook, secret))
}

/// The webhook, unless it was deleted.
///
/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, scope: Scope, id: WebhookId) -> db::Result<Option<Webhook>> {
    one(tx, scope, id, "")
}

/// As [`find`], and nobody else changes it until the transaction ends.
fn lock(tx: &mut Tx<'_>, scope: Scope, id: WebhookId) -> db::Result<Option<Webhook>> {
    one(tx, scope, id, "{{for_update}}")
}

fn one(tx: &mut Tx<'_>, scope: Scope, id: WebhookId, lock: &str) -> db::Result<Option<Webhook>> {
    let statement = format!(
        "select {COLUMNS} from webhooks where company_id = ? and id = ? and deleted_at is null {lock}"
    );
    tx.find(sql(statement).bind(scope.company()).bind(id))
}

/// Newest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, page: Page) -> db::Result<Listed<Webhook>> {
    let rows = db
        .read("webhooks.list", move |tx| {
            let statement = format!(
                "select {COLUMNS} from webhooks where company_id = ? and id < ? and deleted_at is null
                 order by id desc limit ?"
            );
            tx.all(
                sql(statement)
                    .bind(scope.company())
                    .bind(page.after.unwrap_or(i64::MAX))
                    .bind(page.fetch_limit()),
            )
        })
        .await?;
    Ok(Listed::new(rows, page, |w: &Webhook| w.id.0))
}

/// How many deliveries of a webhook are still to be made, counted up to `max`.
///
/// # Errors
/// The database's.
pub fn waiting(tx: &mut Tx<'_>, scope: Scope, id: WebhookId, max: i64) -> db::Result<i64> {
    let statement =
        "select count(*) from (select 1 from deliveries where webhook_id = ? and company_id = ? limit ?) d";
    let (count,) = tx.one(sql(statement).bind(id).bind(scope.company()).bind(max))?;
    Ok(count)
}

/// Those that were deactivated, newest first, a few at most: what a company's people are told on every page.
///
/// # Errors
/// The database's.
pub fn deactivated(tx: &mut Tx<'_>, scope: Scope) -> db::Result<Vec<Webhook>> {
    let statement = format!(
        "select {COLUMNS} from webhooks where company_id = ? and status = 'deactivated' and deleted_at is null
         order by status_at desc, id desc limit ?"
    );
    tx.all(sql(statement).bind(scope.company()).bind(TOLD_MAX))
}

/// How many don't deliver: those that were deactivated or never verified, and those that fail at the moment. One that was
/// paused is as its owner wants it.
///
/// # Errors
/// The database's.
pub fn troubled(tx: &mut Tx<'_>, scope: Scope) -> db::Result<i64> {
    let statement =
        "select count(*) from webhooks where company_id = ? and deleted_at is null and status <> 'paused'
                     and (status <> 'active' or failing_since is not null)";
    let (count,) = tx.one::<(i64,)>(sql(statement).bind(scope.company()))?;
    Ok(count)
}

/// Changes the settings. Another target has to be verified. None: no such webhook.
///
/// # Errors
/// The database's.
pub fn update(
    tx: &mut Tx<'_>,
    scope: Scope,
    id: WebhookId,
    settings: &Settings,
) -> db::Result<Option<Webhook>> {
    let Some(present) = lock(tx, scope, id)? else { return Ok(None) };
    let statement = "update webhooks set target = ?, events = ?, description = ?, headers = ?,
                     accept_any_2xx = ?, rate_per_s = ?, revision = revision + 1 where id = ?";
    tx.execute(bind_settings(sql(statement), settings).bind(id))?;
    if present.settings.target != settings.target {
        set_status(tx, id, Status::Unverified, "The target was changed.")?;
    }
    tx.note(Note::Changed(id));
    find(tx, scope, id)
}

/// Pauses or resumes. Resuming makes active what was verified before; deactivated and unverified ones
/// have to be verified. None: no such webhook.
///
/// # Errors
/// The database's.
pub fn set_paused(tx: &mut Tx<'_>, scope: Scope, id: WebhookId, paused: bool) -> db::Result<Option<Webhook>> {
    let Some(present) = lock(tx, scope, id)? else { return Ok(None) };
    match (present.status, paused) {
        (Status::Active | Status::Unverified, true) => set_status(tx, id, Status::Paused, "")?,
        (Status::Paused, false) if present.verified_target == present.settings.target => activate(tx, id)?,
        (Status::Paused, false) => set_status(tx, id, Status::Unverified, "")?,
        (Status::Paused | Status::Deactivated, true)
        | (Status::Active | Status::Unverified | Status::Deactivated, false) => {}
    }
    find(tx, scope, id)
}

/// A verification of `target` was answered: the webhook becomes active, and what was held goes out. False
/// if the target was changed meanwhile, or the webhook deleted.
///
/// # Errors
/// The database's.
pub fn verified(tx: &mut Tx<'_>, scope: Scope, id: WebhookId, target: &str) -> db::Result<bool> {
    let Some(present) = lock(tx, scope, id)? else { return Ok(false) };
    if present.settings.target != target {
        return Ok(false);
    }
    tx.execute(sql("update webhooks set verified_target = target where id = ?").bind(id))?;
    match present.status {
        Status::Unverified | Status::Deactivated => {
            activate(tx, id)?;
            health::verified(tx, &present)?;
        }
        Status::Active | Status::Paused => {}
    }
    Ok(true)
}

/// A verification of `target` failed: what there is to say about an unverified webhook.
///
/// # Errors
/// The database's.
pub fn not_verified(
    tx: &mut Tx<'_>,
    scope: Scope,
    id: WebhookId,
    target: &str,
    reason: &str,
) -> db::Result<()> {
    let statement = "update webhooks set status_reason = ? where company_id = ? and id = ? and target = ?
                     and status = 'unverified' and deleted_at is null";
    tx.execute(sql(statement).bind(reason).bind(scope.company()).bind(id).bind(target))?;
    Ok(())
}

/// Stops deliveries because the last retry of one failed. Verifying makes it active again.
fn deactivate(tx: &mut Tx<'_>, id: WebhookId, reason: &str) -> db::Result<()> {
    tx.execute(sql("update webhooks set verified_target = '' where id = ?").bind(id))?;
    set_status(tx, id, Status::Deactivated, reason)
}

fn activate(tx: &mut Tx<'_>, id: WebhookId) -> db::Result<()> {
    tx.execute(sql("update webhooks set activation = activation + 1 where id = ?").bind(id))?;
    tx.wake(Wake::Replays);
    set_status(tx, id, Status::Active, "")
}

fn set_status(tx: &mut Tx<'_>, id: WebhookId, status: Status, reason: &str) -> db::Result<()> {
    let statement = "update webhooks set status = ?, status_reason = ?, status_at = ?,
                     revision = revision + 1 where id = ?";
    tx.execute(sql(statement).bind(status.as_str()).bind(reason).bind(tx.now()).bind(id))?;
    tx.note(Note::Changed(id));
    Ok(())
}

/// A new secret; the old one signs along for 24 hours. None: no such webhook.
///
/// # Errors
/// The database's.
pub fn rotate_secret(
    tx: &mut Tx<'_>,
    scope: Scope,
    key: &SecretKey,
    id: WebhookId,
) -> db::Result<Option<Secret>> {
    if lock(tx, scope, id)?.is_none() {
        return Ok(None);
    }
    let secret = Secret::generate(tx.seed());
    let sealed = key.seal(Purpose::WebhookSecret, secret.as_bytes(), tx.seed());
    let until = tx.now().after(ROTATION);
    let statement = "update webhooks set previous_secret = secret, previous_until = ?, secret = ?,
                     revision = revision + 1 where id = ?";
    tx.execute(sql(statement).bind(until).bind(sealed).bind(id))?;
    tx.note(Note::Changed(id));
    Ok(Some(secret))
}

/// Deletes the webhook; a job cancels what was pending. False: no such webhook.
///
/// # Errors
/// The database's.
pub fn delete(tx: &mut Tx<'_>, scope: Scope, id: WebhookId) -> db::Result<bool> {
    let statement =
        "update webhooks set deleted_at = ? where company_id = ? and id = ? and deleted_at is null";
    let gone = tx.execute(sql(statement).bind(tx.now()).bind(scope.company()).bind(id))? > 0;
    if gone {
        replays::cancel_of(tx, id)?;
    }
    tx.note(Note::Changed(id));
    Ok(gone)
}

/// Deletes all webhooks of a company that is being deleted, as [`delete`] does one.
///
/// # Errors
/// The database's.
pub fn delete_all(tx: &mut Tx<'_>, scope: Scope) -> db::Result<()> {
    let statement =
        "update webhooks set deleted_at = ? where company_id = ? and deleted_at is null returning id";
    let gone: Vec<(WebhookId,)> = tx.all(sql(statement).bind(tx.now()).bind(scope.company()))?;
    for (id,) in gone {
        replays::cancel_of(tx, id)?;
        tx.note(Note::Changed(id));
    }
    Ok(())
}

fn bind_settings(statement: db::Sql, s: &Settings) -> db::Sql {
    let headers = serde_json::to_string(&s.headers).expect("pairs of strings always become JSON");
    statement
        .bind(&s.target)
        .bind(s.events.to_text())
        .bind(&s.description)
        .bind(headers)
        .bind(s.accept_any_2xx)
        .bind(s.rate_per_s)
}

#[cfg(test)]
impl Webhook {
    /// An active one for tests of the engine's parts.
    fn sample(id: WebhookId, seed: &crate::kernel::seed::Seed) -> Webhook {
        let secret = Secret::generate(seed);
        Webhook {
            id,
            company_id: CompanyId(1),
            settings: Settings::all_to("https://receiver.example/hook"),
            status: Status::Active,
            status_reason: String::new(),
            status_at: Micros(0),
            verified_target: String::new(),
            activation: 1,
            revision: 1,
            sealed_secret: Webhook::sample_key().seal(Purpose::WebhookSecret, secret.as_bytes(), seed),
            sealed_previous: None,
            previous_until: None,
            created_at: Micros(0),
            failing_since: None,
            expired: 0,
            expired_at: None,
        }
    }

    fn sample_key() -> SecretKey {
        SecretKey::generate(&crate::kernel::seed::Seed::fixed(7))
    }
}
