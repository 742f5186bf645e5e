//! Numbers that are being bought: the table `purchases`. A row is written before the carrier is asked and goes
//! in the transaction in which a tracker gets the number. One that is left over, because the tracker wasn't made
//! or this program ended in between, is a number that somebody pays for and nobody uses: it is given back.
//!
//! A purchase for a number order stands until the order ends, however long that takes. It is open until the carrier
//! has said that the number is ours.

use std::time::Duration;

use super::{Error, orders};
use crate::carriers::accounts;
use crate::companies::Scope;
use crate::ctx::Ctx;
use crate::db::{self, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CarrierId, CompanyId, NumberOrderId};
use crate::kernel::phone::PhoneNumber;
use crate::trackers::{self, OwnedNumber, release};

/// A row that is as old as this is nobody's any more: far more than a request may take for buying.
const ABANDONED_AFTER: Duration = Duration::from_secs(10 * 60);
/// When an order ends, the carrier may just be asked for a number. It has answered, or never will, after this: buying
/// is three requests of 10 s at most.
const ANSWERED_AFTER: Duration = Duration::from_secs(60);
/// An order decides about its purchases, not time.
const NEVER: Micros = Micros(i64::MAX);

/// A purchase; not seen outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PurchaseId(i64);

impl std::fmt::Display for PurchaseId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A purchase that came to nothing and is to be undone now.
pub(super) struct Abandoned {
    pub(super) id: PurchaseId,
    pub(super) company_id: CompanyId,
    pub(super) carrier_id: CarrierId,
    pub(super) number: PhoneNumber,
}

impl FromRow for Abandoned {
    fn from_row(row: &mut Row<'_>) -> db::Result<Abandoned> {
        Ok(Abandoned {
            id: PurchaseId(row.get()?),
            company_id: row.get()?,
            carrier_id: row.get()?,
            number: row.get()?,
        })
    }
}

/// Notes that a number is going to be bought. None: someone else is buying it, or was quicker, or calls are
/// forwarded to it (the carrier sells what its last owner gave up, and a tracker may still point there). Asked for at the
/// same moment, one number would be sold to both, because a carrier's client takes over what the account has.
///
/// # Errors
/// [`Error::NoSuchCarrier`] if the account was removed meanwhile; [`Error::OrderEnded`] if the order has ended, or
/// has as many purchases as it wants.
pub(super) async fn begin(
    ctx: &Ctx,
    scope: Scope,
    carrier: CarrierId,
    number: &PhoneNumber,
    order: Option<NumberOrderId>,
) -> Result<Option<PurchaseId>, Error> {
    let number = number.clone();
    let insert = move |tx: &mut Tx<'_>| {
        if !accounts::hold(tx, carrier)? {
            return Err(Error::NoSuchCarrier);
        }
        let due_at = match order {
            None => tx.now().after(ABANDONED_AFTER),
            Some(order) if has_room(tx, order)? => NEVER,
            Some(_) => return Err(Error::OrderEnded),
        };
        if trackers::is_in_use(tx, &number)? || trackers::is_destination(tx, &number)? {
            return Ok(None);
        }
        let made: Option<(i64,)> = tx.find(
            sql("insert into purchases (company_id, carrier_id, number, attempts, due_at, order_id)
                 values (?, ?, ?, 0, ?, ?) on conflict (number) do nothing returning id")
            .bind(scope.company())
            .bind(carrier)
            .bind(&number)
            .bind(due_at)
            .bind(order),
        )?;
        Ok(made.map(|(id,)| PurchaseId(id)))
    };
    ctx.db.write("purchases.begin", insert).await
}

/// Whether the order is buying and wants more than it has. It is held until the transaction ends.
fn has_room(tx: &mut Tx<'_>, order: NumberOrderId) -> db::Result<bool> {
    let Some(order) = orders::hold(tx, order)? else { return Ok(false) };
    let (count,): (i64,) = tx.one(sql("select count(*) from purchases where order_id = ?").bind(order.id))?;
    Ok(count < i64::from(order.wanted))
}

/// An order's purchases of which nobody knows what came of them, oldest first.
pub(super) fn open_of(tx: &mut Tx<'_>, order: NumberOrderId) -> db::Result<Vec<(PurchaseId, PhoneNumber)>> {
    let statement =
        "select id, number from purchases where order_id = ? and carrier_number_id is null order by id";
    let found: Vec<(i64, PhoneNumber)> = tx.all(sql(statement).bind(order))?;
    Ok(found.into_iter().map(|(id, number)| (PurchaseId(id), number)).collect())
}

/// A number that was bought for an order is ours. If the order has ended meanwhile it goes back all the same.
pub(super) fn bought(
    tx: &mut Tx<'_>,
    id: PurchaseId,
    order: NumberOrderId,
    carrier_number_id: &str,
) -> db::Result<()> {
    // Locked in one order only: the order, then its purchases.
    orders::hold(tx, order)?;
    let statement = "update purchases set carrier_number_id = ? where id = ? and carrier_number_id is null";
    if tx.execute(sql(statement).bind(carrier_number_id).bind(id.0))? > 0 {
        orders::count_bought(tx, order)?;
    }
    Ok(())
}

/// The numbers that an order has bought so far.
pub(super) fn bought_for(tx: &mut Tx<'_>, order: NumberOrderId) -> db::Result<Vec<OwnedNumber>> {
    let found: Vec<(CarrierId, String, PhoneNumber)> = tx.all(
        sql("select carrier_id, carrier_number_id, number from purchases
             where order_id = ? and carrier_number_id is not null order by id")
        .bind(order),
    )?;
    let owned =
        |(carrier_id, carrier_number_id, number)| OwnedNumber { carrier_id, carrier_number_id, number };
    Ok(found.into_iter().map(owned).collect())
}

/// A tracker gets all numbers of the order, which is held.
pub(super) fn settle_all(tx: &mut Tx<'_>, order: NumberOrderId) -> db::Result<()> {
    tx.execute(sql("delete from purchases where order_id = ?").bind(order))?;
    Ok(())
}

/// The order has ended for nothing: its numbers go back.
pub(super) fn abandon_all(tx: &mut Tx<'_>, order: NumberOrderId) -> db::Result<()> {
    let now = tx.now();
    for (which, due_at) in [("is not null", now), ("is null", now.after(ANSWERED_AFTER))] {
        let statement =
            format!("update purchases set due_at = ? where order_id = ? and carrier_number_id {which}");
        tx.execute(sql(statement).bind(due_at).bind(order))?;
    }
    Ok(())
}

/// A tracker gets the number.
///
/// # Errors
/// [`Error::TookTooLong`] if the number is being given back already.
pub(super) fn settle(tx: &mut Tx<'_>, id: PurchaseId) -> Result<(), Error> {
    let settled = tx.execute(sql("delete from purchases where id = ? and attempts = 0").bind(id.0))?;
    if settled > 0 { Ok(()) } else { Err(Error::TookTooLong) }
}

/// There is nothing to undo, or no longer.
pub(super) async fn forget(ctx: &Ctx, id: PurchaseId) -> db::Result<()> {
    let delete = move |tx: &mut Tx<'_>| tx.execute(sql("delete from purchases where id = ?").bind(id.0));
    ctx.db.write("purchases.forget", delete).await.map(|_| ())
}

/// Has purchases undone now rather than when they count as abandoned. If this fails, they are.
pub(super) async fn undo(ctx: &Ctx, ids: Vec<PurchaseId>) {
    let hurry = move |tx: &mut Tx<'_>| -> db::Result<()> {
        for id in &ids {
            tx.execute(sql("update purchases set due_at = ? where id = ?").bind(tx.now()).bind(id.0))?;
        }
        Ok(())
    };
    if let Err(error) = ctx.db.write("purchases.undo", hurry).await {
        tracing::warn!(%error, "numbers that were bought in vain will be given back later");
    }
}

/// Takes up to `limit` purchases to be undone and sets the time of the next try in case this one fails. Those
/// of numbers that a tracker has after all aren't touched.
pub(super) fn claim(tx: &mut Tx<'_>, limit: i64) -> db::Result<Vec<Abandoned>> {
    let now = tx.now();
    tx.execute(
        sql("delete from purchases where due_at <= ? and exists (select 1 from tracking_numbers
             where tracking_numbers.number = purchases.number and released_at is null)")
        .bind(now),
    )?;
    let statement = "select id, attempts from purchases where due_at <= ? order by due_at, id limit ?
                     {{for_update}}";
    let due: Vec<(i64, i64)> = tx.all(sql(statement).bind(now).bind(limit))?;
    let mut claimed = Vec::with_capacity(due.len());
    for (id, attempts) in due {
        claimed.push(
            tx.one(
                sql("update purchases set attempts = ?, due_at = ? where id = ?
                     returning id, company_id, carrier_id, number")
                .bind(attempts + 1)
                .bind(now.after(release::gap(attempts)))
                .bind(id),
            )?,
        );
    }
    Ok(claimed)
}
