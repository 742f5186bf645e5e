//! Number orders: more numbers for a pool than a request can buy. They are bought bit by bit ([`super::fill`]), and
//! the pool gets all of them in one transaction, or none.
//!
//! - The rows say everything: what is bought stands in `purchases`, so a restart goes on where the order stood.
//! - While an order is buying nobody gives its numbers back. The transaction that ends it decides about them: the
//!   tracker gets them, or the job that gives numbers back does.
//! - An order holds its account: removing the account, or the tracker that was to grow, cancels the order first. A
//!   company goes only when it has no accounts, so it has no orders then.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Error, checked_area_code, choose, purchases};
use crate::carriers::accounts;
use crate::carriers::client::CarrierError;
use crate::companies::Scope;
use crate::db::{self, Db, FromRow, Row, Sql, Tx, Wake, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CarrierId, CompanyId, NumberOrderId, TrackerId};
use crate::kernel::page::{Listed, Page};
use crate::kernel::secret::SecretKey;
use crate::trackers::size::{self, SIZE_MAX};
use crate::trackers::{self, Settings, TrackerType};

/// Orders of one company that are buying at a time.
pub const BUYING_MAX: i64 = 10;
/// Orders that [`recent`] gives at most.
const RECENT_MAX: i64 = 20;
/// A carrier that has sold nothing and failed for so long won't get over it by itself.
const FAILING_MAX: Duration = Duration::from_secs(10 * 60);
/// Wait behind the first failure, which each further one doubles.
const GAP_MIN: Duration = Duration::from_secs(5);
/// Wait at most, unless the carrier asks for more.
const GAP_MAX: Duration = Duration::from_secs(60);

/// What an order is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// A new pool.
    Create,
    /// More numbers for a pool.
    Grow,
}

impl OrderKind {
    pub const ALL: [OrderKind; 2] = [OrderKind::Create, OrderKind::Grow];

    pub fn as_str(self) -> &'static str {
        match self {
            OrderKind::Create => "create",
            OrderKind::Grow => "grow",
        }
    }

    fn parse(text: &str) -> Option<OrderKind> {
        OrderKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderState {
    Buying,
    /// The pool has the numbers.
    Done,
    /// What was bought goes back.
    Failed,
    /// By a user, or because its tracker or account was removed. What was bought goes back.
    Cancelled,
}

impl OrderState {
    pub const ALL: [OrderState; 4] =
        [OrderState::Buying, OrderState::Done, OrderState::Failed, OrderState::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            OrderState::Buying => "buying",
            OrderState::Done => "done",
            OrderState::Failed => "failed",
            OrderState::Cancelled => "cancelled",
        }
    }

    fn parse(text: &str) -> Option<OrderState> {
        OrderState::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// An order as stored.
#[derive(Clone, Debug)]
pub struct Order {
    pub id: NumberOrderId,
    pub company_id: CompanyId,
    pub(super) carrier_id: CarrierId,
    pub kind: OrderKind,
    /// None as long as it isn't made.
    pub tracker_id: Option<TrackerId>,
    pub tracker_name: String,
    settings: String,
    pub(super) area_code: Option<String>,
    pub wanted: u32,
    pub bought: u32,
    pub state: OrderState,
    pub error: String,
    failing_since: Option<Micros>,
    failures: u32,
    pub created_at: Micros,
    pub finished_at: Option<Micros>,
}

const SELECT: &str =
    "select id, company_id, carrier_id, kind, tracker_id, tracker_name, settings, area_code, wanted,
    bought, state, error, failing_since, failures, created_at, finished_at from number_orders";

impl FromRow for Order {
    fn from_row(row: &mut Row<'_>) -> db::Result<Order> {
        let unknown = |what| db::Error::Internal(format!("a number order has an unknown {what}"));
        Ok(Order {
            id: row.get()?,
            company_id: row.get()?,
            carrier_id: row.get()?,
            kind: OrderKind::parse(&row.get::<String>()?).ok_or_else(|| unknown("kind"))?,
            tracker_id: row.get()?,
            tracker_name: row.get()?,
            settings: row.get()?,
            area_code: Some(row.get::<String>()?).filter(|code| !code.is_empty()),
            wanted: row.get()?,
            bought: row.get()?,
            state: OrderState::parse(&row.get::<String>()?).ok_or_else(|| unknown("state"))?,
            error: row.get()?,
            failing_since: row.get()?,
            failures: row.get()?,
            created_at: row.get()?,
            finished_at: row.get()?,
        })
    }
}

impl Order {
    /// The object of the API.
    pub fn to_json(&self) -> Json {
        json!({
            "id": self.id,
            "company_id": self.company_id,
            "tracker_id": self.tracker_id,
            "tracker_name": self.tracker_name,
            "kind": self.kind.as_str(),
            "wanted": self.wanted,
            "bought": self.bought,
            "state": self.state.as_str(),
            "error": self.error,
            "created_at": self.created_at.rfc3339(),
            "finished_at": self.finished_at.map(Micros::rfc3339),
        })
    }

    pub(super) fn scope(&self) -> Scope {
        Scope::of(self.company_id)
    }

    /// Of the tracker that is to be made, or is to grow.
    pub(super) fn tracker_settings(&self, tx: &mut Tx<'_>) -> Result<Settings, Error> {
        match (self.kind, self.tracker_id) {
            (OrderKind::Grow, Some(tracker)) => {
                let found = trackers::find(tx, self.scope(), tracker)?;
                Ok(found.ok_or(Error::NoSuchTracker)?.tracker.settings)
            }
            (OrderKind::Create | OrderKind::Grow, _) => {
                let parsed = serde_json::from_str(&self.settings);
                let broken =
                    |error| db::Error::Internal(format!("the settings of order {}: {error}", self.id));
                Ok(parsed.map_err(broken)?)
            }
        }
    }
}

/// The pool that the numbers are for.
#[derive(Clone, Debug)]
pub enum Target {
    New(Box<Settings>),
    Present(TrackerId),
}

/// What is to be bought.
#[derive(Clone, Debug)]
pub struct Bulk {
    /// None: the company's only carrier account.
    pub carrier_id: Option<CarrierId>,
    pub area_code: Option<String>,
    pub count: usize,
}

/// Begins an order.
///
/// # Errors
/// Says what to do about it.
pub fn create(
    tx: &mut Tx<'_>,
    scope: Scope,
    key: &SecretKey,
    target: &Target,
    bulk: &Bulk,
) -> Result<Order, Error> {
    let account = choose(accounts::of_company(tx, scope, key)?, bulk.carrier_id)?.account.id;
    // Whoever removes the account comes behind this, and finds the order.
    if !accounts::hold(tx, account)? {
        return Err(Error::NoSuchCarrier);
    }
    let buying = "select count(*) from number_orders where company_id = ? and state = 'buying'";
    let (buying,): (i64,) = tx.one(sql(buying).bind(scope.company()))?;
    if buying >= BUYING_MAX {
        return Err(Error::TooManyOrders);
    }
    let id = match target {
        Target::New(settings) => insert_new(tx, scope, account, settings, bulk)?,
        Target::Present(tracker) => insert_growth(tx, scope, account, *tracker, bulk)?,
    };
    tx.wake(Wake::Orders);
    find(tx, scope, id)?.ok_or(Error::NoSuchOrder)
}

fn insert_new(
    tx: &mut Tx<'_>,
    scope: Scope,
    account: CarrierId,
    settings: &Settings,
    bulk: &Bulk,
) -> Result<NumberOrderId, Error> {
    if settings.tracker_type != TrackerType::NumberPool || bulk.count > SIZE_MAX {
        return Err(Error::Count);
    }
    trackers::check_destination(tx, &settings.destination)?;
    let stored = serde_json::to_string(settings).expect("settings are texts and numbers");
    let (kind, name) = (OrderKind::Create, settings.name.as_str());
    insert(tx, scope, account, bulk, (kind, None, name, &stored))?.ok_or(Error::NoSuchOrder)
}

fn insert_growth(
    tx: &mut Tx<'_>,
    scope: Scope,
    account: CarrierId,
    tracker: TrackerId,
    bulk: &Bulk,
) -> Result<NumberOrderId, Error> {
    let present = trackers::find(tx, scope, tracker)?.ok_or(Error::NoSuchTracker)?;
    if present.pool_size().is_none() {
        return Err(Error::Count);
    }
    size::check_growth(&present, bulk.count)?;
    let name = &present.tracker.settings.name;
    let made = insert(tx, scope, account, bulk, (OrderKind::Grow, Some(tracker), name, ""))?;
    match made {
        Some(id) => Ok(id),
        None => Err(growing(tx, tracker)?.map_or(Error::NoSuchOrder, Error::Growing)),
    }
}

/// None: the tracker has an order already.
fn insert(
    tx: &mut Tx<'_>,
    scope: Scope,
    account: CarrierId,
    bulk: &Bulk,
    (kind, tracker, name, settings): (OrderKind, Option<TrackerId>, &str, &str),
) -> Result<Option<NumberOrderId>, Error> {
    let area_code = checked_area_code(bulk.area_code.clone())?.unwrap_or_default();
    let now = tx.now();
    let made: Option<(NumberOrderId,)> = tx.find(
        sql("insert into number_orders (company_id, carrier_id, kind, tracker_id, tracker_name, settings, area_code,
             wanted, bought, state, error, failures, due_at, created_at)
             values (?, ?, ?, ?, ?, ?, ?, ?, 0, 'buying', '', 0, ?, ?) on conflict do nothing returning id")
        .bind(scope.company())
        .bind(account)
        .bind(kind.as_str())
        .bind(tracker)
        .bind(name)
        .bind(settings)
        .bind(area_code)
        .bind(i64::try_from(bulk.count).unwrap_or(i64::MAX))
        .bind(now)
        .bind(now),
    )?;
    Ok(made.map(|(id,)| id))
}

/// The order that is buying for a tracker.
pub(super) fn growing(tx: &mut Tx<'_>, tracker: TrackerId) -> db::Result<Option<NumberOrderId>> {
    let statement = "select id from number_orders where tracker_id = ? and state = 'buying'";
    Ok(tx.find::<(NumberOrderId,)>(sql(statement).bind(tracker))?.map(|(id,)| id))
}

/// An order of the company.
///
/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, scope: Scope, id: NumberOrderId) -> db::Result<Option<Order>> {
    tx.find(of(scope).and(" and id = ?").bind(id))
}

fn of(scope: Scope) -> Sql {
    sql(format!("{SELECT} where company_id = ?")).bind(scope.company())
}

/// Newest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, page: Page) -> db::Result<Listed<Order>> {
    let rows = db
        .read("number_orders.list", move |tx| {
            let statement = of(scope).and(" and id < ? order by id desc limit ?");
            tx.all(statement.bind(page.after.unwrap_or(i64::MAX)).bind(page.fetch_limit()))
        })
        .await?;
    Ok(Listed::new(rows, page, |order: &Order| order.id.0))
}

/// The orders that are buying or have ended since, newest first.
///
/// # Errors
/// The database's.
pub fn recent(tx: &mut Tx<'_>, scope: Scope, since: Micros) -> db::Result<Vec<Order>> {
    tx.all(
        of(scope)
            .and(" and (state = 'buying' or finished_at > ?) order by id desc limit ?")
            .bind(since)
            .bind(RECENT_MAX),
    )
}

/// Ends an order; what was bought goes back. One that was cancelled stays so.
///
/// # Errors
/// There is none, or it has ended otherwise.
pub fn cancel(tx: &mut Tx<'_>, scope: Scope, id: NumberOrderId) -> Result<Order, Error> {
    find(tx, scope, id)?.ok_or(Error::NoSuchOrder)?;
    end(tx, id, OrderState::Cancelled, "")?;
    let order = find(tx, scope, id)?.ok_or(Error::NoSuchOrder)?;
    match order.state {
        OrderState::Cancelled => Ok(order),
        OrderState::Buying | OrderState::Done | OrderState::Failed => Err(Error::OrderEnded),
    }
}

/// The tracker is about to be deleted: it won't grow any more.
///
/// # Errors
/// The database's.
pub fn cancel_of_tracker(tx: &mut Tx<'_>, scope: Scope, tracker: TrackerId) -> db::Result<()> {
    let statement =
        "select id from number_orders where company_id = ? and tracker_id = ? and state = 'buying'";
    let found: Vec<(NumberOrderId,)> = tx.all(sql(statement).bind(scope.company()).bind(tracker))?;
    for (id,) in found {
        end(tx, id, OrderState::Cancelled, "its tracker was deleted")?;
    }
    Ok(())
}

/// The account is about to be removed: nothing more is bought with it.
pub(in crate::carriers) fn cancel_of_account(
    tx: &mut Tx<'_>,
    scope: Scope,
    account: CarrierId,
) -> db::Result<()> {
    let statement =
        "select id from number_orders where company_id = ? and carrier_id = ? and state = 'buying'";
    let found: Vec<(NumberOrderId,)> = tx.all(sql(statement).bind(scope.company()).bind(account))?;
    for (id,) in found {
        end(tx, id, OrderState::Cancelled, "its carrier account was removed")?;
    }
    Ok(())
}

/// Nothing happens to an order that has ended already.
fn end(tx: &mut Tx<'_>, id: NumberOrderId, state: OrderState, error: &str) -> db::Result<()> {
    let statement =
        "update number_orders set state = ?, error = ?, finished_at = ? where id = ? and state = 'buying'";
    let ended = tx.execute(sql(statement).bind(state.as_str()).bind(error).bind(tx.now()).bind(id))?;
    if ended > 0 {
        purchases::abandon_all(tx, id)?;
        // The job that gives numbers back.
        tx.wake(Wake::Routing);
    }
    Ok(())
}

/// The orders that may go on now, those first that have waited longest.
pub(super) fn due(tx: &mut Tx<'_>, limit: i64) -> db::Result<Vec<Order>> {
    let statement = format!("{SELECT} where state = 'buying' and due_at <= ? order by due_at, id limit ?");
    tx.all(sql(statement).bind(tx.now()).bind(limit))
}

/// The order if it is buying, held until the transaction ends: whoever ends it waits for this, or this for him.
pub(super) fn hold(tx: &mut Tx<'_>, id: NumberOrderId) -> db::Result<Option<Order>> {
    let statement = format!("{SELECT} where id = ? and state = 'buying' {{{{for_update}}}}");
    tx.find(sql(statement).bind(id))
}

/// A number more was bought: all is well again.
pub(super) fn count_bought(tx: &mut Tx<'_>, id: NumberOrderId) -> db::Result<()> {
    tx.execute(
        sql("update number_orders set bought = bought + 1, error = '', failing_since = null, failures = 0
             where id = ? and state = 'buying'")
        .bind(id),
    )?;
    Ok(())
}

/// Ends the order if all numbers are there: the pool gets them, and is told of once. Else it goes on when others had
/// their turn.
///
/// # Errors
/// The pool can't have them; nothing was changed then.
pub(super) fn complete(tx: &mut Tx<'_>, account: CarrierId, id: NumberOrderId) -> Result<(), Error> {
    if !accounts::hold(tx, account)? {
        return Err(Error::NoSuchCarrier);
    }
    let Some(order) = hold(tx, id)? else { return Ok(()) };
    let numbers = purchases::bought_for(tx, id)?;
    if numbers.len() < usize::try_from(order.wanted).unwrap_or(usize::MAX) {
        tx.execute(sql("update number_orders set due_at = ? where id = ?").bind(tx.now()).bind(id))?;
        return Ok(());
    }
    purchases::settle_all(tx, id)?;
    let view = match order.tracker_id {
        None => {
            let settings = order.tracker_settings(tx)?;
            trackers::create(tx, order.scope(), &settings, &numbers)?
        }
        Some(tracker) => {
            trackers::add_numbers(tx, order.scope(), tracker, &numbers)?.ok_or(Error::NoSuchTracker)?
        }
    };
    tx.execute(
        sql("update number_orders set state = 'done', tracker_id = ?, finished_at = ? where id = ?")
            .bind(view.tracker.id)
            .bind(tx.now())
            .bind(id),
    )?;
    Ok(())
}

/// What stood in an order's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setback {
    /// For the people of the company.
    text: String,
    /// It may be gone later without anybody doing anything.
    passes: bool,
    /// What the carrier asks us to wait.
    asked: Option<Duration>,
}

impl Setback {
    pub(super) fn of(error: &Error) -> Setback {
        let mut setback = Setback { text: error.to_string(), passes: passes(error), asked: None };
        if let Error::Carrier(CarrierError::RateLimited { retry_after }) = error {
            setback.asked = *retry_after;
        }
        setback
    }

    /// When the order goes on; None if it has failed for good. `failing_for` is the time since the last good news.
    fn wait(&self, failing_for: Duration, failures: u32) -> Option<Duration> {
        if !self.passes || failing_for >= FAILING_MAX {
            return None;
        }
        let gap = (GAP_MIN * 2_u32.pow(failures.min(8))).min(GAP_MAX);
        Some(gap.max(self.asked.unwrap_or_default()))
    }
}

/// Whether it may be otherwise later. What was bought in spite of an answer that can't be read is taken over by the
/// next try.
fn passes(error: &Error) -> bool {
    if let Error::Carrier(error) = error {
        return error.is_temporary() || matches!(error, CarrierError::Unexpected(_));
    }
    matches!(error, Error::Outrun | Error::Tracker(trackers::Error::BeingReleased(_)))
}

/// Has the order wait, or ends it.
pub(super) fn set_back(tx: &mut Tx<'_>, id: NumberOrderId, setback: &Setback) -> db::Result<()> {
    let Some(order) = hold(tx, id)? else { return Ok(()) };
    let now = tx.now();
    let since = order.failing_since.unwrap_or(now);
    let Some(wait) = setback.wait(now.since(since), order.failures) else {
        return end(tx, id, OrderState::Failed, &setback.text);
    };
    tx.execute(
        sql("update number_orders set error = ?, failing_since = ?, failures = failures + 1, due_at = ?
             where id = ?")
        .bind(&setback.text)
        .bind(since)
        .bind(now.after(wait))
        .bind(id),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn what_passes_is_waited_for_ten_minutes() {
        let down = Setback::of(&CarrierError::Transient { status: 503 }.into());
        let waits = [0, 1, 2, 3, 4, 100].map(|failures| down.wait(seconds(0), failures));
        assert_eq!(waits, [5, 10, 20, 40, 60, 60].map(|s| Some(seconds(s))));
        assert_eq!(down.wait(seconds(599), 100), Some(seconds(60)));
        assert_eq!(down.wait(seconds(600), 0), None);
    }

    #[test]
    fn a_carrier_is_left_alone_for_as_long_as_it_asks() {
        let limited = |s| CarrierError::RateLimited { retry_after: Some(seconds(s)) }.into();
        assert_eq!(Setback::of(&limited(90)).wait(seconds(0), 0), Some(seconds(90)));
        assert_eq!(Setback::of(&limited(1)).wait(seconds(0), 0), Some(seconds(5)));
    }

    #[test]
    fn what_needs_a_person_is_not_waited_for() {
        let invalid = CarrierError::Invalid { code: Some(20_005), message: "no funds".to_owned() };
        for error in [
            CarrierError::Auth.into(),
            CarrierError::NoNumbers.into(),
            invalid.into(),
            Error::NoSuchCarrier,
            Error::NoSuchTracker,
            Error::TooFew { found: 7 },
            Error::Tracker(trackers::Error::DestinationIsTracked),
        ] {
            assert_eq!(Setback::of(&error).wait(seconds(0), 0), None, "{error}");
        }
        assert!(Setback::of(&Error::Outrun).wait(seconds(0), 0).is_some());
    }
}
