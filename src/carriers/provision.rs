//! Gets numbers for trackers, gives them back, sends texts: what needs both a carrier and the database. The
//! carrier is always asked between two transactions, never inside one; what the rows mean is decided by their
//! nouns (`trackers`, `messages`).
//!
//! - [`create_tracker`], [`add_numbers`]: buy or attach, then write the tracker.
//! - [`orders`], [`fill_orders`]: more numbers for a pool than a request can buy.
//! - [`release_due`]: the job that gives numbers back, also those that were bought in vain.
//! - [`send_message`]: writes a message, asks the carrier, writes what came of it.
//! - [`create_account`], [`rotate_credentials`]: try credentials before they are kept.

mod fill;
mod give_back;
pub mod orders;
mod purchases;
mod send;

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};

pub use self::fill::fill_orders;
pub use self::give_back::release_due;
use self::orders::Bulk;
pub use self::send::{named_message, send_message};
use super::accounts::{self, NewAccount, Registered, Secret};
use super::client::{self, AvailableNumber, CarrierError, Client, NumberHooks, NumberQuery};
use crate::companies::{self, Scope};
use crate::ctx::Ctx;
use crate::db;
use crate::kernel::id::{CarrierId, MessageId, NumberOrderId, TrackerId};
use crate::kernel::phone::{NumberType, PhoneNumber};
use crate::messages::{self, outgoing::UNKNOWN};
use crate::trackers::{self, OwnedNumber, Settings, TrackerView};

/// Numbers that one request may buy; more are ordered.
pub const BUY_MAX: usize = 10;
/// Numbers that one request may attach.
pub const ATTACH_MAX: usize = 50;
/// Numbers that are attached at the same time. Each is two requests, so 50 take 200 s at most.
const ATTACHED_AT_ONCE: usize = 5;
/// Numbers that one search shows, and that buying chooses from: what carriers show at most.
const CANDIDATES_MAX: u32 = 30;
/// All of a request's buying. A number takes 1 to 3 s.
const BUYING_TIME_MAX: Duration = Duration::from_secs(120);

/// The numbers that a tracker is to get.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// None: the company's only carrier account.
    pub carrier_id: Option<CarrierId>,
    pub source: Source,
}

/// Where they come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Bought, of the tracker's number type and in the company's country.
    Buy { area_code: Option<String>, count: usize },
    /// These are bought, which a search has shown.
    Choose(Vec<PhoneNumber>),
    /// Numbers that the account has already.
    Attach(Vec<PhoneNumber>),
}

impl Numbers {
    /// Set if more is to be bought than a request can: an order's business.
    pub fn bulk(&self) -> Option<Bulk> {
        match &self.source {
            Source::Buy { area_code, count } if *count > BUY_MAX => {
                Some(Bulk { carrier_id: self.carrier_id, area_code: area_code.clone(), count: *count })
            }
            Source::Buy { .. } | Source::Choose(_) | Source::Attach(_) => None,
        }
    }
}

impl Source {
    fn count(&self) -> usize {
        match self {
            Source::Buy { count, .. } => *count,
            Source::Choose(numbers) | Source::Attach(numbers) => numbers.len(),
        }
    }
}

/// Which numbers to look for. What is None doesn't matter.
#[derive(Clone, Debug)]
pub struct Search {
    /// None: the company's only carrier account.
    pub carrier_id: Option<CarrierId>,
    pub number_type: NumberType,
    /// Three digits.
    pub area_code: Option<String>,
    pub region: Option<String>,
    pub contains: Option<String>,
}

/// Why it couldn't be done. The texts are for the people of the company.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("connect a carrier account first")]
    NoCarrier,
    #[error("the company has several carrier accounts; say which by carrier_id")]
    WhichCarrier,
    #[error("there is no such carrier account")]
    NoSuchCarrier,
    #[error("there is no such tracker")]
    NoSuchTracker,
    #[error("1 to {BUY_MAX} numbers can be bought at once; only a number pool can have more")]
    Count,
    #[error("1 to {ATTACH_MAX} numbers can be attached at once")]
    AttachCount,
    #[error("an area code has three digits")]
    AreaCode,
    #[error("{number} is not a {} number, as the tracker's are", wanted.as_str())]
    WrongType { number: PhoneNumber, wanted: NumberType },
    #[error("the carrier account doesn't have {0}")]
    NotOwned(PhoneNumber),
    #[error(
        "calls to {0} are taken by a trunk or an application at the carrier; remove it from the number there"
    )]
    HooksIgnored(PhoneNumber),
    #[error("the carrier has only {found} such numbers; try another area code or fewer")]
    TooFew { found: usize },
    #[error("others were quicker to buy what the carrier has, or it can't be used; try another area code")]
    Outrun,
    #[error("a number that was chosen isn't for sale any more; choose another")]
    Taken,
    #[error("buying took too long and was undone; try again")]
    TookTooLong,
    #[error("there is no such number order")]
    NoSuchOrder,
    #[error("the order has ended already")]
    OrderEnded,
    #[error("number order {0} is buying for this tracker: wait for its end, or cancel it")]
    Growing(NumberOrderId),
    #[error("{max} number orders are buying already: wait for one's end, or cancel one", max = orders::BUYING_MAX)]
    TooManyOrders,
    /// The carrier may have done it all the same: doing it again could do it twice.
    #[error("{UNKNOWN}: {0}")]
    MaybeSent(CarrierError),
    #[error("the carrier has taken message {id}, but that could not be written down: {error}")]
    SentUnwritten { id: MessageId, error: db::Error },
    #[error(transparent)]
    Account(#[from] accounts::Error),
    #[error(transparent)]
    Tracker(#[from] trackers::Error),
    #[error(transparent)]
    Message(#[from] messages::outgoing::Error),
    #[error(transparent)]
    Carrier(#[from] CarrierError),
    #[error(transparent)]
    Db(#[from] db::Error),
}

/// Keeps a new account, if its carrier says that the credentials are right.
///
/// # Errors
/// [`CarrierError::Auth`] if they aren't; [`accounts::Error::Duplicate`].
pub async fn create_account(ctx: &Ctx, scope: Scope, new: NewAccount) -> Result<Registered, Error> {
    Client::new(ctx.to_carriers.clone(), new.preview(scope)).verify().await?;
    let key = ctx.key.clone();
    Ok(ctx.db.write("carriers.create", move |tx| accounts::create(tx, scope, &new, &key)).await?)
}

/// Changes an account's credentials, if its carrier takes the new ones. None: no such account.
///
/// # Errors
/// [`CarrierError::Auth`] if they are wrong.
pub async fn rotate_credentials(
    ctx: &Ctx,
    scope: Scope,
    id: CarrierId,
    auth_token: Option<Secret>,
    signing_key: Option<Secret>,
) -> Result<Option<Registered>, Error> {
    let key = ctx.key.clone();
    let present = ctx.db.read("carriers.find", move |tx| accounts::find(tx, scope, id, &key)).await?;
    let Some(present) = present else { return Ok(None) };
    if let Some(token) = &auth_token {
        let account = present.account.with_token(token);
        Client::new(ctx.to_carriers.clone(), account).verify().await?;
    }
    let key = ctx.key.clone();
    let rotate = move |tx: &mut db::Tx<'_>| {
        accounts::rotate(tx, scope, id, auth_token.as_ref(), signing_key.as_ref(), &key)
    };
    Ok(ctx.db.write("carriers.rotate", rotate).await?)
}

/// Numbers that could be bought now, in the company's country.
///
/// # Errors
/// Says what to do about it.
pub async fn search(ctx: &Ctx, scope: Scope, wanted: Search) -> Result<Vec<AvailableNumber>, Error> {
    let place = place(ctx, scope, wanted.carrier_id).await?;
    let query = NumberQuery {
        country: place.country,
        number_type: wanted.number_type,
        area_code: checked_area_code(wanted.area_code)?,
        region: wanted.region,
        contains: wanted.contains,
        limit: CANDIDATES_MAX,
    };
    Ok(place.client.search(&query).await?)
}

/// Makes a tracker with numbers. If that fails, numbers that were bought for it go back.
///
/// # Errors
/// Says what to do about it; no tracker was made then.
pub async fn create_tracker(
    ctx: &Ctx,
    scope: Scope,
    settings: Settings,
    numbers: Numbers,
) -> Result<TrackerView, Error> {
    let destination = settings.destination.clone();
    let check = move |tx: &mut db::Tx<'_>| trackers::check_destination(tx, &destination);
    ctx.db.read("trackers.check_destination", check).await?;
    let got = obtain(ctx, scope, &settings, numbers).await?;
    let taken = got.clone();
    let create = move |tx: &mut db::Tx<'_>| {
        taken.settle(tx)?;
        Ok(trackers::create(tx, scope, &settings, &taken.numbers)?)
    };
    let made = ctx.db.write("trackers.create", create).await;
    got.give_back_unless(ctx, made).await
}

/// Gives a tracker more numbers. If that fails, numbers that were bought for it go back.
///
/// # Errors
/// Says what to do about it; the tracker is as before then.
pub async fn add_numbers(
    ctx: &Ctx,
    scope: Scope,
    id: TrackerId,
    numbers: Numbers,
) -> Result<TrackerView, Error> {
    let more = numbers.source.count();
    let find = move |tx: &mut db::Tx<'_>| {
        let present = trackers::find(tx, scope, id)?.ok_or(Error::NoSuchTracker)?;
        trackers::size::check_growth(&present, more)?;
        // Else the pool might be full when the order has bought everything.
        match orders::growing(tx, id)? {
            Some(order) => Err(Error::Growing(order)),
            None => Ok(present.tracker.settings),
        }
    };
    let settings = ctx.db.read("trackers.find", find).await?;
    let got = obtain(ctx, scope, &settings, numbers).await?;
    let taken = got.clone();
    let add = move |tx: &mut db::Tx<'_>| {
        taken.settle(tx)?;
        trackers::add_numbers(tx, scope, id, &taken.numbers)?.ok_or(Error::NoSuchTracker)
    };
    let made = ctx.db.write("trackers.add_numbers", add).await;
    got.give_back_unless(ctx, made).await
}

/// Where numbers come from and go to.
struct Place {
    client: Client,
    carrier_id: CarrierId,
    hooks: NumberHooks,
    /// The company's.
    country: String,
}

async fn place(ctx: &Ctx, scope: Scope, carrier: Option<CarrierId>) -> Result<Place, Error> {
    let key = ctx.key.clone();
    let read = move |tx: &mut db::Tx<'_>| {
        let accounts = accounts::of_company(tx, scope, &key)?;
        let company = companies::find(tx, scope.company())?.ok_or(Error::NoCarrier)?;
        Ok::<_, Error>((choose(accounts, carrier)?, company.country))
    };
    let (chosen, country) = ctx.db.read("carriers.choose", read).await?;
    Ok(Place {
        carrier_id: chosen.account.id,
        hooks: NumberHooks::of(&chosen.hooks(&ctx.public_url)),
        client: Client::new(ctx.to_carriers.clone(), chosen.account),
        country,
    })
}

fn choose(accounts: Vec<Registered>, wanted: Option<CarrierId>) -> Result<Registered, Error> {
    let several = accounts.len() > 1;
    match wanted {
        Some(id) => accounts.into_iter().find(|one| one.account.id == id).ok_or(Error::NoSuchCarrier),
        None if several => Err(Error::WhichCarrier),
        None => accounts.into_iter().next().ok_or(Error::NoCarrier),
    }
}

/// Numbers that we have at the carrier and that no tracker has yet.
#[derive(Clone)]
struct Obtained {
    carrier_id: CarrierId,
    numbers: Vec<OwnedNumber>,
    /// Those of them that were bought.
    purchases: Vec<purchases::PurchaseId>,
}

impl Obtained {
    /// In the transaction in which a tracker gets them.
    fn settle(&self, tx: &mut db::Tx<'_>) -> Result<(), Error> {
        if !accounts::hold(tx, self.carrier_id)? {
            return Err(Error::NoSuchCarrier);
        }
        for purchase in &self.purchases {
            purchases::settle(tx, *purchase)?;
        }
        Ok(())
    }

    async fn give_back_unless<T>(self, ctx: &Ctx, made: Result<T, Error>) -> Result<T, Error> {
        if made.is_err() {
            purchases::undo(ctx, self.purchases).await;
        }
        made
    }
}

async fn obtain(ctx: &Ctx, scope: Scope, settings: &Settings, numbers: Numbers) -> Result<Obtained, Error> {
    let place = place(ctx, scope, numbers.carrier_id).await?;
    match numbers.source {
        Source::Buy { area_code, count } => {
            if !(1..=BUY_MAX).contains(&count) {
                return Err(Error::Count);
            }
            let candidates = candidates(ctx, &place, settings, checked_area_code(area_code)?).await?;
            buy(ctx, scope, &place, settings, candidates, count).await
        }
        Source::Choose(numbers) => {
            let chosen = chosen(settings, numbers)?;
            let count = chosen.len();
            let bought = buy(ctx, scope, &place, settings, chosen, count).await;
            bought.map_err(|error| if matches!(error, Error::TooFew { .. }) { Error::Taken } else { error })
        }
        Source::Attach(numbers) => attach(ctx, &place, settings, numbers).await,
    }
}

fn checked_area_code(text: Option<String>) -> Result<Option<String>, Error> {
    let fits = |code: &String| code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit());
    if text.as_ref().is_none_or(fits) { Ok(text) } else { Err(Error::AreaCode) }
}

/// What the carrier has of the tracker's kind, in an order of chance.
async fn candidates(
    ctx: &Ctx,
    place: &Place,
    settings: &Settings,
    area_code: Option<String>,
) -> Result<Vec<PhoneNumber>, Error> {
    let query = NumberQuery {
        country: place.country.clone(),
        number_type: settings.number_type,
        area_code,
        region: None,
        contains: None,
        limit: CANDIDATES_MAX,
    };
    let found = place.client.search(&query).await?;
    let mut candidates: Vec<_> = found.into_iter().map(|available| available.number).collect();
    candidates.retain(|candidate| *candidate != settings.destination);
    shuffle(&mut candidates, &ctx.seed);
    Ok(candidates)
}

/// The numbers that are to be bought, if the tracker can have them.
fn chosen(settings: &Settings, mut numbers: Vec<PhoneNumber>) -> Result<Vec<PhoneNumber>, Error> {
    let wanted = settings.number_type;
    numbers.sort();
    numbers.dedup();
    if !(1..=BUY_MAX).contains(&numbers.len()) {
        return Err(Error::Count);
    }
    if let Some(number) = numbers.iter().find(|number| number.number_type() != wanted) {
        return Err(Error::WrongType { number: number.clone(), wanted });
    }
    if numbers.contains(&settings.destination) {
        return Err(trackers::Error::NumberIsDestination(settings.destination.clone()).into());
    }
    Ok(numbers)
}

async fn buy(
    ctx: &Ctx,
    scope: Scope,
    place: &Place,
    settings: &Settings,
    candidates: Vec<PhoneNumber>,
    count: usize,
) -> Result<Obtained, Error> {
    let mut got = Obtained { carrier_id: place.carrier_id, numbers: vec![], purchases: vec![] };
    let buying = buy_some(ctx, scope, place, &settings.name, candidates, count, &mut got);
    let bought = match tokio::time::timeout(BUYING_TIME_MAX, buying).await {
        Ok(bought) => bought,
        Err(_elapsed) => Err(Error::TookTooLong),
    };
    match bought {
        Ok(()) => Ok(got),
        Err(error) => got.give_back_unless(ctx, Err(error)).await,
    }
}

/// Buys one candidate after the other until there are `count`; those that someone else was quicker to buy are
/// passed over.
async fn buy_some(
    ctx: &Ctx,
    scope: Scope,
    place: &Place,
    name: &str,
    candidates: Vec<PhoneNumber>,
    count: usize,
    got: &mut Obtained,
) -> Result<(), Error> {
    for candidate in candidates {
        if got.numbers.len() == count {
            break;
        }
        let begun = purchases::begin(ctx, scope, place.carrier_id, &candidate, None).await?;
        let Some(purchase) = begun else { continue };
        match place.client.buy(&candidate, &place.hooks, name).await {
            Ok(owned) => {
                got.purchases.push(purchase);
                got.numbers.push(tracked(place.carrier_id, owned));
            }
            Err(CarrierError::NumberUnavailable) => purchases::forget(ctx, purchase).await?,
            Err(error) => {
                // Whether it was bought all the same is found out when it is given back.
                got.purchases.push(purchase);
                return Err(error.into());
            }
        }
    }
    if got.numbers.len() == count { Ok(()) } else { Err(Error::TooFew { found: got.numbers.len() }) }
}

/// So that those who buy at the same time don't run after the same numbers.
fn shuffle<T>(items: &mut [T], seed: &crate::kernel::seed::Seed) {
    for last in (1..items.len()).rev() {
        let other = seed.below(u64::try_from(last).unwrap_or(0) + 1);
        items.swap(last, usize::try_from(other).unwrap_or(last));
    }
}

/// Nothing is changed at the carrier before all numbers were found to be usable.
async fn attach(
    ctx: &Ctx,
    place: &Place,
    settings: &Settings,
    mut numbers: Vec<PhoneNumber>,
) -> Result<Obtained, Error> {
    let wanted = settings.number_type;
    numbers.sort();
    numbers.dedup();
    if !(1..=ATTACH_MAX).contains(&numbers.len()) {
        return Err(Error::AttachCount);
    }
    if let Some(number) = numbers.iter().find(|number| number.number_type() != wanted) {
        return Err(Error::WrongType { number: number.clone(), wanted });
    }
    if numbers.contains(&settings.destination) {
        return Err(trackers::Error::NumberIsDestination(settings.destination.clone()).into());
    }
    let asked = numbers.clone();
    let check = move |tx: &mut db::Tx<'_>| {
        for number in &asked {
            if trackers::is_in_use(tx, number)? {
                return Err(trackers::Error::NumberInUse(number.clone()));
            }
            if trackers::is_destination(tx, number)? {
                return Err(trackers::Error::NumberIsDestination(number.clone()));
            }
        }
        Ok(())
    };
    ctx.db.read("trackers.check_numbers", check).await?;
    let found = numbers.into_iter().map(|number| find_usable(place, number));
    let found: Vec<_> = futures_util::stream::iter(found).buffered(ATTACHED_AT_ONCE).try_collect().await?;
    let configured = found.into_iter().map(async |owned: client::OwnedNumber| {
        place.client.configure(&owned.carrier_number_id, &place.hooks).await?;
        Ok::<_, Error>(tracked(place.carrier_id, owned))
    });
    let numbers = futures_util::stream::iter(configured).buffered(ATTACHED_AT_ONCE).try_collect().await?;
    Ok(Obtained { carrier_id: place.carrier_id, numbers, purchases: vec![] })
}

async fn find_usable(place: &Place, number: PhoneNumber) -> Result<client::OwnedNumber, Error> {
    let owned = place.client.find_owned(&number).await?.ok_or(Error::NotOwned(number))?;
    if owned.hooks_ignored { Err(Error::HooksIgnored(owned.number)) } else { Ok(owned) }
}

fn tracked(carrier_id: CarrierId, owned: client::OwnedNumber) -> OwnedNumber {
    OwnedNumber { carrier_id, carrier_number_id: owned.carrier_number_id, number: owned.number }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::seed::Seed;

    #[test]
    fn shuffling_keeps_all_and_moves_some() {
        let mut items: Vec<u32> = (0..30).collect();
        shuffle(&mut items, &Seed::fixed(1));
        assert_ne!(items, (0..30).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..30).collect::<Vec<_>>());
        shuffle(&mut items[..0], &Seed::fixed(1));
    }

    #[test]
    fn area_codes_have_three_digits() {
        for good in [None, Some("270".to_owned())] {
            assert_eq!(checked_area_code(good.clone()).ok(), Some(good));
        }
        for bad in ["", "27", "2700", "27x", "２７０"] {
            assert!(checked_area_code(Some(bad.to_owned())).is_err(), "{bad}");
        }
    }
}
