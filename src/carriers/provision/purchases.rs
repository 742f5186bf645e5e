//! Numbers that are being bought: the table `purchases`. A row is written before the carrier is asked and goes
//! in the transaction in which a tracker gets the number. One that is left over, because the tracker wasn't made
//! or this program ended in between, is a number that somebody pays for and nobody uses: it is given back.

use std::time::Duration;

use super::Error;
use crate::carriers::accounts;
use crate::companies::Scope;
use crate::ctx::Ctx;
use crate::db::{self, FromRow, Row, Tx, sql};
use crate::kernel::id::{CarrierId, CompanyId};
use crate::kernel::phone::PhoneNumber;
use crate::trackers::{self, release};

/// A row that is as old as this is nobody's any more: far more than a request may take for buying.
const ABANDONED_AFTER: Duration = Duration::from_secs(10 * 60);

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
/// [`Error::NoSuchCarrier`] if the account was removed meanwhile.
pub(super) async fn begin(
    ctx: &Ctx,
    scope: Scope,
    carrier: CarrierId,
    number: &PhoneNumber,
) -> Result<Option<PurchaseId>, Error> {
    let number = number.clone();
    let insert = move |tx: &mut Tx<'_>| {
        if !accounts::hold(tx, carrier)? {
            return Err(Error::NoSuchCarrier);
        }
        if trackers::is_in_use(tx, &number)? || trackers::is_destination(tx, &number)? {
            return Ok(None);
        }
        let made: Option<(i64,)> = tx.find(
            sql("insert into purchases (company_id, carrier_id, number, attempts, due_at)
                 values (?, ?, ?, 0, ?) on conflict (number) do nothing returning id")
            .bind(scope.company())
            .bind(carrier)
            .bind(&number)
            .bind(tx.now().after(ABANDONED_AFTER)),
        )?;
        Ok(made.map(|(id,)| PurchaseId(id)))
    };
    ctx.db.write("purchases.begin", insert).await
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
