//! Background work that buys what number orders want, a few numbers at a time, so that none waits for another and a
//! restart loses nothing. It looks at the rows and goes on: a purchase that was begun and of which nobody knows what
//! came of it is made again, which takes over the number if the account has it.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::orders::{self, Order, Setback};
use super::purchases::{self, PurchaseId};
use super::{CANDIDATES_MAX, Error, Place, place, shuffle};
use crate::carriers::client::{AvailableNumber, CarrierError, NumberQuery};
use crate::ctx::Ctx;
use crate::db::{self, Tx, Wake};
use crate::kernel::phone::PhoneNumber;
use crate::trackers::{self, Settings};

/// Orders that go on in one run, at the same time.
const ORDERS_AT_ONCE: i64 = 8;
/// Numbers that an order buys in one run.
const NUMBERS_AT_ONCE: usize = 5;
/// An order's turn ends with the number behind which so much time has passed, so that a slow carrier doesn't hold up
/// the others' orders for longer.
const TURN_TIME: Duration = Duration::from_secs(30);

/// Lets each order go on that may; gives how many did. A job.
///
/// # Errors
/// The database's; what a carrier says stands in the orders.
pub async fn fill_orders(ctx: &Ctx) -> db::Result<usize> {
    let due = ctx.db.read("number_orders.due", |tx| orders::due(tx, ORDERS_AT_ONCE)).await?;
    let turns = futures_util::stream::iter(due.into_iter().map(|order| turn(ctx, order)));
    let turns: Vec<db::Result<()>> = turns.buffer_unordered(ORDERS_AT_ONCE as usize).collect().await;
    let count = turns.len();
    turns.into_iter().collect::<db::Result<Vec<()>>>()?;
    if count > 0 {
        // There may be more to do at once; what waits isn't due.
        ctx.db.wakes().wake(Wake::Orders);
    }
    Ok(count)
}

async fn turn(ctx: &Ctx, order: Order) -> db::Result<()> {
    let id = order.id;
    let error = match go_on(ctx, &order).await {
        Ok(()) | Err(Error::OrderEnded) => return Ok(()),
        Err(Error::Db(error) | Error::Tracker(trackers::Error::Db(error))) => return Err(error),
        Err(error) => error,
    };
    // Only a word: the text may have a number in it.
    let word = if let Error::Carrier(error) = &error { error.as_str() } else { "impossible" };
    tracing::warn!(order.id = %id, carrier.id = %order.carrier_id, error = word, "a number order was set back");
    let setback = Setback::of(&error);
    ctx.db.write("number_orders.set_back", move |tx| orders::set_back(tx, id, &setback)).await
}

async fn go_on(ctx: &Ctx, order: &Order) -> Result<(), Error> {
    let asked = order.clone();
    let settings = move |tx: &mut Tx<'_>| asked.tracker_settings(tx);
    let settings = ctx.db.read("number_orders.settings", settings).await?;
    let place = place(ctx, order.scope(), Some(order.carrier_id)).await?;
    let turn = Turn { ctx, order, place, settings };
    turn.buy_some().await?;
    let (account, id) = (order.carrier_id, order.id);
    ctx.db.write("number_orders.complete", move |tx| orders::complete(tx, account, id)).await
}

struct Turn<'a> {
    ctx: &'a Ctx,
    order: &'a Order,
    place: Place,
    settings: Settings,
}

impl Turn<'_> {
    async fn buy_some(&self) -> Result<(), Error> {
        let id = self.order.id;
        let read = move |tx: &mut Tx<'_>| {
            Ok::<_, db::Error>((purchases::open_of(tx, id)?, purchases::bought_for(tx, id)?.len()))
        };
        let (open, mut bought) = self.ctx.db.read("purchases.of_order", read).await?;
        for (purchase, number) in open {
            bought += usize::from(self.buy(purchase, &number).await?);
        }
        let missing = usize::try_from(self.order.wanted).unwrap_or(0).saturating_sub(bought);
        if missing > 0 { self.buy_new(missing.min(NUMBERS_AT_ONCE)).await } else { Ok(()) }
    }

    /// Buys one candidate after the other; those that someone else was quicker to buy are passed over.
    async fn buy_new(&self, count: usize) -> Result<(), Error> {
        let candidates = self.candidates().await?;
        if candidates.is_empty() {
            return Err(Error::TooFew { found: usize::try_from(self.order.bought).unwrap_or(0) });
        }
        let (began, mut bought) = (Instant::now(), 0);
        for candidate in candidates {
            if bought == count || began.elapsed() > TURN_TIME {
                break;
            }
            let (order, number) = (self.order, candidate.number);
            let begun = purchases::begin(self.ctx, order.scope(), order.carrier_id, &number, Some(order.id));
            let Some(purchase) = begun.await? else { continue };
            bought += usize::from(self.buy(purchase, &number).await?);
        }
        if bought > 0 { Ok(()) } else { Err(Error::Outrun) }
    }

    async fn candidates(&self) -> Result<Vec<AvailableNumber>, Error> {
        let query = NumberQuery {
            country: self.place.country.clone(),
            number_type: self.settings.number_type,
            area_code: self.order.area_code.clone(),
            region: None,
            contains: None,
            limit: CANDIDATES_MAX,
        };
        let mut candidates = self.place.client.search(&query).await?;
        candidates.retain(|candidate| candidate.number != self.settings.destination);
        shuffle(&mut candidates, &self.ctx.seed);
        Ok(candidates)
    }

    /// False: someone else was quicker. After an error the purchase stays open.
    async fn buy(&self, purchase: PurchaseId, number: &PhoneNumber) -> Result<bool, Error> {
        match self.place.client.buy(number, &self.place.hooks, &self.settings.name).await {
            Ok(owned) => {
                let id = self.order.id;
                let note =
                    move |tx: &mut Tx<'_>| purchases::bought(tx, purchase, id, &owned.carrier_number_id);
                self.ctx.db.write("purchases.bought", note).await?;
                Ok(true)
            }
            Err(CarrierError::NumberUnavailable) => {
                purchases::forget(self.ctx, purchase).await?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}
