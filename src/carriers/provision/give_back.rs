//! Tells carriers that we don't need numbers any more: those of deleted trackers, and those that were bought in
//! vain. Tried until it works, because a number costs money as long as the carrier thinks that we have it.

use super::purchases::{self, Abandoned};
use crate::carriers::accounts;
use crate::carriers::client::{CarrierError, Client};
use crate::companies::Scope;
use crate::ctx::Ctx;
use crate::db::{self, Wake};
use crate::kernel::id::{CarrierId, CompanyId};
use crate::trackers::release::{self, Due};

/// Numbers of each kind in one run; the next run takes the next. Each is one request, or two.
const NUMBERS_AT_ONCE: i64 = 20;

/// Gives back what is due; gives how many numbers went. What fails is tried again after a while. A job.
///
/// # Errors
/// The database's.
pub async fn release_due(ctx: &Ctx) -> db::Result<usize> {
    let claim = |tx: &mut db::Tx<'_>| {
        Ok::<_, db::Error>((release::claim(tx, NUMBERS_AT_ONCE)?, purchases::claim(tx, NUMBERS_AT_ONCE)?))
    };
    let (given_up, bought_in_vain) = ctx.db.write("numbers.claim_releases", claim).await?;
    let is_full = |count: usize| i64::try_from(count).is_ok_and(|count| count == NUMBERS_AT_ONCE);
    let more = is_full(given_up.len()) || is_full(bought_in_vain.len());
    let mut gone = 0;
    for due in given_up {
        gone += usize::from(release_number(ctx, &due).await?);
    }
    for abandoned in bought_in_vain {
        gone += usize::from(undo_purchase(ctx, &abandoned).await?);
    }
    if more {
        // The next run comes at once.
        ctx.db.wakes().wake(Wake::Routing);
    }
    Ok(gone)
}

async fn release_number(ctx: &Ctx, due: &Due) -> db::Result<bool> {
    let id = due.id;
    let released = match client(ctx, due.company_id, due.carrier_id).await? {
        Some(client) => client.release(&due.carrier_number_id).await,
        None => {
            tracing::warn!(number.id = %id, carrier.id = %due.carrier_id,
                "a number can't be given back, because its carrier account was removed");
            Ok(())
        }
    };
    if let Err(error) = released {
        tracing::warn!(number.id = %id, carrier.id = %due.carrier_id, error = error.as_str(),
            "the carrier didn't take a number back; trying again later");
        return Ok(false);
    }
    ctx.db.write("numbers.released", move |tx| release::done(tx, id)).await?;
    tracing::info!(number.id = %id, carrier.id = %due.carrier_id, "a number was given back");
    Ok(true)
}

async fn undo_purchase(ctx: &Ctx, abandoned: &Abandoned) -> db::Result<bool> {
    let Some(client) = client(ctx, abandoned.company_id, abandoned.carrier_id).await? else {
        tracing::warn!(purchase.id = %abandoned.id, carrier.id = %abandoned.carrier_id,
            "a purchase can't be undone, because its carrier account was removed");
        purchases::forget(ctx, abandoned.id).await?;
        return Ok(false);
    };
    match release_if_owned(&client, abandoned).await {
        Ok(was_owned) => {
            purchases::forget(ctx, abandoned.id).await?;
            tracing::info!(purchase.id = %abandoned.id, was_owned, "a purchase was undone");
            Ok(was_owned)
        }
        Err(error) => {
            tracing::warn!(purchase.id = %abandoned.id, carrier.id = %abandoned.carrier_id,
                error = error.as_str(), "a purchase couldn't be undone; trying again later");
            Ok(false)
        }
    }
}

async fn release_if_owned(client: &Client, abandoned: &Abandoned) -> Result<bool, CarrierError> {
    let Some(owned) = client.find_owned(&abandoned.number).await? else { return Ok(false) };
    client.release(&owned.carrier_number_id).await?;
    Ok(true)
}

/// The account's client; None if the account was removed.
async fn client(ctx: &Ctx, company: CompanyId, carrier: CarrierId) -> db::Result<Option<Client>> {
    let key = ctx.key.clone();
    let find = move |tx: &mut db::Tx<'_>| accounts::find(tx, Scope::of(company), carrier, &key);
    let found = ctx.db.read("carriers.find", find).await?;
    Ok(found.map(|registered| Client::new(ctx.to_carriers.clone(), registered.account)))
}
