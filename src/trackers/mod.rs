//! Trackers and their tracking numbers: what stands on a billboard or a web page and where its calls go.
//! Buying and giving back numbers at a carrier is `carriers`' business; here is what we know of them.
//!
//! A number belongs to one tracker from `created_at` to `released_at`. A tracker that was deleted keeps its
//! row, because its calls point at it.
//!
//! A destination is never a tracking number, neither this company's nor another's here: a call would be
//! forwarded to ourselves, be two calls, and go round for ever if that number's tracker points back.

pub mod blocked;
pub mod erlang;
mod json;
pub mod plan;
pub mod pool;
pub mod release;
pub mod route;
pub mod size;
pub mod swap;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::companies::Scope;
use crate::db::{self, Db, FromRow, LockSpace, Row, Tx, Wake, sql};
use crate::events::{self, EventType};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CarrierId, CompanyId, NumberId, TrackerId};
use crate::kernel::page::{Listed, Page};
use crate::kernel::phone::{NumberType, PhoneNumber};

/// What kind of source a tracker stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackerType {
    /// One number for a billboard or a flyer.
    Offline,
    /// One number for visitors that match a rule.
    Campaign,
    /// A number for each visitor.
    NumberPool,
}

impl TrackerType {
    pub const ALL: [TrackerType; 3] = [TrackerType::Offline, TrackerType::Campaign, TrackerType::NumberPool];

    pub fn as_str(self) -> &'static str {
        match self {
            TrackerType::Offline => "offline",
            TrackerType::Campaign => "campaign",
            TrackerType::NumberPool => "number_pool",
        }
    }

    pub fn parse(text: &str) -> Option<TrackerType> {
        TrackerType::ALL.into_iter().find(|t| t.as_str() == text)
    }
}

/// The rules that a campaign tracker can match by, as `campaign_source` has them; "" for other trackers.
pub const CAMPAIGN_SOURCES: [&str; 7] =
    ["", "search", "landing_page", "referral", "campaign_parameters", "direct", "always"];

/// A tracker's settings: what a user may change. Valid already. A number order keeps them as JSON until its tracker
/// is made, so a key that is new needs a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub name: String,
    pub tracker_type: TrackerType,
    pub number_type: NumberType,
    pub destination: PhoneNumber,
    /// False: callers hear that the number isn't in service.
    pub status: bool,
    pub recording_enabled: bool,
    /// Said to the caller before a recording starts; "" = nothing is said.
    pub recording_message: String,
    pub whisper_enabled: bool,
    /// Said to the destination before it is connected.
    pub whisper_message: String,
    /// Takes a message if nobody answers.
    pub voicemail_enabled: bool,
    pub voicemail_greeting: String,
    /// The carrier transcribes voicemails.
    pub transcription_enabled: bool,
    /// Seconds that the destination rings.
    pub ring_timeout_s: u32,
    pub swap_target: String,
    pub campaign_source: String,
    pub campaign_search_from: String,
    pub campaign_search_for: String,
    pub campaign_landing_page: String,
    pub campaign_referral: String,
    pub campaign_campaign_parameters: String,
    pub pool: pool::Terms,
}

/// A tracker as stored, without its numbers.
#[derive(Clone, Debug)]
pub struct Tracker {
    pub id: TrackerId,
    pub company_id: CompanyId,
    pub company_name: String,
    pub settings: Settings,
    pub created_at: Micros,
    pub deleted_at: Option<Micros>,
}

/// A number of a tracker.
#[derive(Clone, Debug)]
pub struct TrackingNumber {
    pub id: NumberId,
    pub tracker_id: TrackerId,
    pub carrier_id: CarrierId,
    pub carrier_number_id: String,
    pub number: PhoneNumber,
    pub number_type: NumberType,
    /// Calls to it are ours.
    pub status: bool,
}

/// A number at a carrier that is to become a tracker's.
#[derive(Clone, Debug)]
pub struct OwnedNumber {
    pub carrier_id: CarrierId,
    pub carrier_number_id: String,
    pub number: PhoneNumber,
}

/// Why a tracker can't be made or changed so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} is a number of another tracker already")]
    NumberInUse(PhoneNumber),
    #[error("{0} is just being given back to the carrier; try again in a minute")]
    BeingReleased(PhoneNumber),
    #[error("{0} is the destination of a tracker and can't be a tracking number: calls would go round")]
    NumberIsDestination(PhoneNumber),
    #[error("the destination is a tracking number: calls would go round")]
    DestinationIsTracked,
    #[error("a pool has {} numbers at most", size::SIZE_MAX)]
    PoolFull,
    /// The numbers of visitors, who may be calling them.
    #[error("only {free} of {surplus} numbers can be released now; the others are visitors' until {}", until.rfc3339())]
    NotFree { free: usize, surplus: usize, until: Micros },
    #[error(transparent)]
    Db(#[from] db::Error),
}

const COLUMNS: &str =
    "t.id, t.company_id, c.name, t.name, t.tracker_type, t.number_type, t.destination, t.status,
    t.recording_enabled, t.recording_message, t.whisper_enabled, t.whisper_message, t.voicemail_enabled,
    t.voicemail_greeting, t.transcription_enabled, t.ring_timeout_s, t.swap_target, t.campaign_source,
    t.campaign_search_from, t.campaign_search_for, t.campaign_landing_page, t.campaign_referral,
    t.campaign_campaign_parameters, t.pool_hold_minutes, t.pool_grace_minutes, t.pool_cooldown_minutes,
    t.pool_exhausted, t.pool_fallback_number, t.created_at, t.deleted_at
    from trackers t join companies c on c.id = t.company_id";

impl FromRow for Tracker {
    fn from_row(row: &mut Row<'_>) -> db::Result<Tracker> {
        let unknown = |what| db::Error::Internal(format!("a tracker has an unknown {what}"));
        let (id, company_id, company_name) = (row.get()?, row.get()?, row.get()?);
        let settings = Settings {
            name: row.get()?,
            tracker_type: TrackerType::parse(&row.get::<String>()?).ok_or_else(|| unknown("type"))?,
            number_type: NumberType::parse(&row.get::<String>()?).ok_or_else(|| unknown("number type"))?,
            destination: row.get()?,
            status: row.get()?,
            recording_enabled: row.get()?,
            recording_message: row.get()?,
            whisper_enabled: row.get()?,
            whisper_message: row.get()?,
            voicemail_enabled: row.get()?,
            voicemail_greeting: row.get()?,
            transcription_enabled: row.get()?,
            ring_timeout_s: row.get()?,
            swap_target: row.get()?,
            campaign_source: row.get()?,
            campaign_search_from: row.get()?,
            campaign_search_for: row.get()?,
            campaign_landing_page: row.get()?,
            campaign_referral: row.get()?,
            campaign_campaign_parameters: row.get()?,
            pool: pool::Terms::from_row(row)?,
        };
        Ok(Tracker { id, company_id, company_name, settings, created_at: row.get()?, deleted_at: row.get()? })
    }
}

impl FromRow for TrackingNumber {
    fn from_row(row: &mut Row<'_>) -> db::Result<TrackingNumber> {
        Ok(TrackingNumber {
            id: row.get()?,
            tracker_id: row.get()?,
            carrier_id: row.get()?,
            carrier_number_id: row.get()?,
            number: row.get()?,
            number_type: NumberType::parse(&row.get::<String>()?).unwrap_or(NumberType::Local),
            status: row.get()?,
        })
    }
}

/// A tracker with its numbers: what the API and the events show.
#[derive(Clone, Debug)]
pub struct TrackerView {
    pub tracker: Tracker,
    pub numbers: Vec<TrackingNumber>,
}

/// Makes a tracker with its numbers and tells of it.
///
/// # Errors
/// A number is another tracker's, or the destination can't be one.
pub fn create(
    tx: &mut Tx<'_>,
    scope: Scope,
    settings: &Settings,
    numbers: &[OwnedNumber],
) -> Result<TrackerView, Error> {
    tx.lock(LockSpace::Numbers, 0)?;
    check_destination(tx, &settings.destination)?;
    let (id,): (TrackerId,) = tx.one(bind_settings(
        sql("insert into trackers (name, tracker_type, number_type, destination, status, recording_enabled,
             recording_message, whisper_enabled, whisper_message, voicemail_enabled, voicemail_greeting,
             transcription_enabled, ring_timeout_s, swap_target, campaign_source, campaign_search_from,
             campaign_search_for, campaign_landing_page, campaign_referral, campaign_campaign_parameters,
             pool_hold_minutes, pool_grace_minutes, pool_cooldown_minutes, pool_exhausted, pool_fallback_number,
             company_id, created_at)
             values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) returning id"),
        settings,
    )
    .bind(scope.company())
    .bind(tx.now()))?;
    insert_numbers(tx, scope, id, numbers)?;
    let view = get(tx, scope, id)?;
    events::append(tx, scope, EventType::TrackerCreated, &view.to_json())?;
    tx.wake(Wake::Routing);
    Ok(view)
}

/// Changes the settings and tells of it, if anything did change. None: no such tracker.
///
/// # Errors
/// The destination can't be one.
pub fn update(
    tx: &mut Tx<'_>,
    scope: Scope,
    id: TrackerId,
    settings: &Settings,
) -> Result<Option<TrackerView>, Error> {
    let Some(present) = find(tx, scope, id)? else { return Ok(None) };
    if present.tracker.settings == *settings {
        return Ok(Some(present));
    }
    write_settings(tx, scope, &present.tracker, settings)?;
    Ok(Some(changed(tx, scope, id)?))
}

fn write_settings(
    tx: &mut Tx<'_>,
    scope: Scope,
    present: &Tracker,
    settings: &Settings,
) -> Result<(), Error> {
    if present.settings.destination != settings.destination {
        tx.lock(LockSpace::Numbers, 0)?;
        check_destination(tx, &settings.destination)?;
    }
    tx.execute(
        bind_settings(
            sql("update trackers set name = ?, tracker_type = ?, number_type = ?, destination = ?, status = ?,
                 recording_enabled = ?, recording_message = ?, whisper_enabled = ?, whisper_message = ?,
                 voicemail_enabled = ?, voicemail_greeting = ?, transcription_enabled = ?, ring_timeout_s = ?,
                 swap_target = ?, campaign_source = ?, campaign_search_from = ?, campaign_search_for = ?,
                 campaign_landing_page = ?, campaign_referral = ?, campaign_campaign_parameters = ?,
                 pool_hold_minutes = ?, pool_grace_minutes = ?, pool_cooldown_minutes = ?, pool_exhausted = ?,
                 pool_fallback_number = ?
                 where company_id = ? and id = ?"),
            settings,
        )
        .bind(scope.company())
        .bind(present.id),
    )?;
    Ok(())
}

/// Gives the tracker more numbers and tells of it. None: no such tracker.
///
/// # Errors
/// A number is another tracker's; [`Error::PoolFull`].
pub fn add_numbers(
    tx: &mut Tx<'_>,
    scope: Scope,
    id: TrackerId,
    numbers: &[OwnedNumber],
) -> Result<Option<TrackerView>, Error> {
    tx.lock(LockSpace::Numbers, 0)?;
    let Some(present) = find(tx, scope, id)? else { return Ok(None) };
    size::check_growth(&present, numbers.len())?;
    insert_numbers(tx, scope, id, numbers)?;
    Ok(Some(changed(tx, scope, id)?))
}

/// Deletes the tracker: its numbers go back (a job tells the carrier), its history stays. None: no such tracker.
///
/// # Errors
/// The database's.
pub fn delete(tx: &mut Tx<'_>, scope: Scope, id: TrackerId) -> db::Result<Option<()>> {
    tx.lock(LockSpace::Numbers, 0)?;
    if find(tx, scope, id)?.is_none() {
        return Ok(None);
    }
    pool::end_all(tx, id)?;
    let now = tx.now();
    tx.execute(
        sql("update tracking_numbers set status = ?, released_at = ?, release_due_at = ?
             where company_id = ? and tracker_id = ? and released_at is null")
        .bind(false)
        .bind(now)
        .bind(now)
        .bind(scope.company())
        .bind(id),
    )?;
    tx.execute(sql("update trackers set status = ? where id = ?").bind(false).bind(id))?;
    changed(tx, scope, id)?;
    tx.execute(sql("update trackers set deleted_at = ? where id = ?").bind(now).bind(id))?;
    Ok(Some(()))
}

/// The tracker, unless it was deleted.
///
/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, scope: Scope, id: TrackerId) -> db::Result<Option<TrackerView>> {
    let statement = format!("select {COLUMNS} where t.company_id = ? and t.id = ? and t.deleted_at is null");
    let found: Option<Tracker> = tx.find(sql(statement).bind(scope.company()).bind(id))?;
    let Some(tracker) = found else { return Ok(None) };
    let numbers = numbers_of(tx, id)?;
    Ok(Some(TrackerView { tracker, numbers }))
}

/// The ids of a company's trackers, oldest first, at most `limit`.
///
/// # Errors
/// The database's.
pub fn ids(tx: &mut Tx<'_>, scope: Scope, limit: i64) -> db::Result<Vec<TrackerId>> {
    let statement = "select id from trackers where company_id = ? and deleted_at is null order by id limit ?";
    let found: Vec<(TrackerId,)> = tx.all(sql(statement).bind(scope.company()).bind(limit))?;
    Ok(found.into_iter().map(|(id,)| id).collect())
}

/// A company's trackers without their numbers, oldest first, at most `limit`.
///
/// # Errors
/// The database's.
pub fn all(tx: &mut Tx<'_>, scope: Scope, limit: i64) -> db::Result<Vec<Tracker>> {
    let statement =
        format!("select {COLUMNS} where t.company_id = ? and t.deleted_at is null order by t.id limit ?");
    tx.all(sql(statement).bind(scope.company()).bind(limit))
}

/// The number of each of these trackers that isn't a pool: the first that is in use.
///
/// # Errors
/// The database's.
pub fn only_numbers(
    tx: &mut Tx<'_>,
    scope: Scope,
    limit: i64,
) -> db::Result<HashMap<TrackerId, PhoneNumber>> {
    let statement = "select t.id, (select n.number from tracking_numbers n
                     where n.tracker_id = t.id and n.status = ? order by n.id limit 1)
                     from trackers t where t.company_id = ? and t.deleted_at is null and t.tracker_type <> ?
                     order by t.id limit ?";
    let pool = TrackerType::NumberPool.as_str();
    let found: Vec<(TrackerId, Option<PhoneNumber>)> =
        tx.all(sql(statement).bind(true).bind(scope.company()).bind(pool).bind(limit))?;
    Ok(found.into_iter().filter_map(|(id, number)| Some((id, number?))).collect())
}

/// Newest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, page: Page) -> db::Result<Listed<TrackerView>> {
    let rows = db
        .read("trackers.list", move |tx| {
            let statement = format!(
                "select {COLUMNS} where t.company_id = ? and t.id < ? and t.deleted_at is null
                 order by t.id desc limit ?"
            );
            let trackers: Vec<Tracker> = tx.all(
                sql(statement)
                    .bind(scope.company())
                    .bind(page.after.unwrap_or(i64::MAX))
                    .bind(page.fetch_limit()),
            )?;
            let with_numbers =
                |tracker: Tracker| Ok(TrackerView { numbers: numbers_of(tx, tracker.id)?, tracker });
            trackers.into_iter().map(with_numbers).collect::<db::Result<Vec<_>>>()
        })
        .await?;
    Ok(Listed::new(rows, page, |view| view.tracker.id.0))
}

/// Whether calls may be forwarded to this number: it isn't a tracking number.
///
/// # Errors
/// [`Error::DestinationIsTracked`].
pub fn check_destination(tx: &mut Tx<'_>, destination: &PhoneNumber) -> Result<(), Error> {
    if is_in_use(tx, destination)? { Err(Error::DestinationIsTracked) } else { Ok(()) }
}

/// Whether some tracker, of whichever company, has this number now.
///
/// # Errors
/// The database's.
pub fn is_in_use(tx: &mut Tx<'_>, number: &PhoneNumber) -> db::Result<bool> {
    let statement = "select 1 from tracking_numbers where number = ? and released_at is null limit 1";
    Ok(tx.find::<(i64,)>(sql(statement).bind(number))?.is_some())
}

/// Whether some tracker, of whichever company, forwards its calls to this number: it can't become a tracking
/// number then.
///
/// # Errors
/// The database's.
pub fn is_destination(tx: &mut Tx<'_>, number: &PhoneNumber) -> db::Result<bool> {
    let statement = "select 1 from trackers where destination = ? and deleted_at is null limit 1";
    Ok(tx.find::<(i64,)>(sql(statement).bind(number))?.is_some())
}

fn get(tx: &mut Tx<'_>, scope: Scope, id: TrackerId) -> db::Result<TrackerView> {
    find(tx, scope, id)?.ok_or_else(|| db::Error::Internal(format!("tracker {id} is gone")))
}

fn changed(tx: &mut Tx<'_>, scope: Scope, id: TrackerId) -> db::Result<TrackerView> {
    let view = get(tx, scope, id)?;
    events::append(tx, scope, EventType::TrackerUpdated, &view.to_json())?;
    tx.wake(Wake::Routing);
    Ok(view)
}

fn numbers_of(tx: &mut Tx<'_>, tracker: TrackerId) -> db::Result<Vec<TrackingNumber>> {
    tx.all(
        sql("select id, tracker_id, carrier_id, carrier_number_id, number, number_type, status
             from tracking_numbers where tracker_id = ? order by id")
        .bind(tracker),
    )
}

fn insert_numbers(
    tx: &mut Tx<'_>,
    scope: Scope,
    tracker: TrackerId,
    numbers: &[OwnedNumber],
) -> Result<(), Error> {
    for owned in numbers {
        if is_destination(tx, &owned.number)? {
            return Err(Error::NumberIsDestination(owned.number.clone()));
        }
        release::cancel(tx, owned.carrier_id, &owned.number)?;
        // `on conflict`, because on PostgreSQL a broken constraint would lose the transaction.
        let made = tx.execute(
            sql(
                "insert into tracking_numbers (company_id, tracker_id, carrier_id, carrier_number_id, number,
                 number_type, status, created_at, release_attempts) values (?, ?, ?, ?, ?, ?, ?, ?, 0)
                 on conflict do nothing",
            )
            .bind(scope.company())
            .bind(tracker)
            .bind(owned.carrier_id)
            .bind(&owned.carrier_number_id)
            .bind(&owned.number)
            .bind(owned.number.number_type().as_str())
            .bind(true)
            .bind(tx.now()),
        )?;
        if made == 0 {
            return Err(Error::NumberInUse(owned.number.clone()));
        }
    }
    Ok(())
}

fn bind_settings(statement: db::Sql, s: &Settings) -> db::Sql {
    statement
        .bind(&s.name)
        .bind(s.tracker_type.as_str())
        .bind(s.number_type.as_str())
        .bind(&s.destination)
        .bind(s.status)
        .bind(s.recording_enabled)
        .bind(&s.recording_message)
        .bind(s.whisper_enabled)
        .bind(&s.whisper_message)
        .bind(s.voicemail_enabled)
        .bind(&s.voicemail_greeting)
        .bind(s.transcription_enabled)
        .bind(i64::from(s.ring_timeout_s))
        .bind(&s.swap_target)
        .bind(&s.campaign_source)
        .bind(&s.campaign_search_from)
        .bind(&s.campaign_search_for)
        .bind(&s.campaign_landing_page)
        .bind(&s.campaign_referral)
        .bind(&s.campaign_campaign_parameters)
        .bind(i64::from(s.pool.hold_minutes))
        .bind(i64::from(s.pool.grace_minutes))
        .bind(i64::from(s.pool.cooldown_minutes))
        .bind(s.pool.exhausted.as_str())
        .bind(s.pool.fallback_number.as_ref().map_or("", PhoneNumber::as_str))
}
