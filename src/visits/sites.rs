//! What the script of each company's site may show, kept in memory: a page view of a site that shows nothing costs
//! no query. Read anew when something changed here ([`Wake::Routing`]), and every so often, since another process
//! may have changed it. While one request reads a site that is merely old the others go on with what is known: a page
//! view never waits for that. What was changed here they wait for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::rules::Rank;
use crate::companies::{self, Scope};
use crate::ctx::Ctx;
use crate::db::{self, Tx, Wake};
use crate::kernel::id::TrackerId;
use crate::kernel::phone::PhoneNumber;
use crate::trackers::pool::Pool;
use crate::trackers::{self, Settings, Tracker, swap};

/// So old may be what is in memory if another process changed it.
const FRESH_FOR: Duration = Duration::from_secs(10);
/// Trackers that can replace numbers on one site.
const TRACKERS_MAX: i64 = 1_000;
/// A site's key at most, in bytes.
const KEY_BYTES_MAX: usize = 64;

/// A company's site.
#[derive(Debug)]
pub struct Site {
    pub scope: Scope,
    /// For how many days a source counts for visits that have none of their own.
    pub source_days: u32,
    /// The numbers that are replaced.
    pub targets: Vec<Target>,
}

/// A number on the site that is replaced, and the trackers that may replace it in the order they are tried in.
#[derive(Debug)]
pub struct Target {
    pub number: PhoneNumber,
    /// The country's calling code, and what is dialled before a number within the country.
    pub code: String,
    pub trunk: String,
    pub offers: Vec<Arc<Offer>>,
}

/// A tracker that may replace a number.
#[derive(Debug)]
pub struct Offer {
    pub tracker: TrackerId,
    pub rank: Rank,
    pub settings: Settings,
    /// A campaign's number; None for a pool, or if it has none.
    pub number: Option<PhoneNumber>,
}

impl Offer {
    pub fn pool(&self) -> Pool {
        Pool { tracker: self.tracker, terms: self.settings.pool.clone() }
    }
}

/// All sites that were asked for.
pub struct Sites {
    known: Mutex<HashMap<String, Known>>,
    changed: tokio::sync::watch::Receiver<u64>,
}

#[derive(Clone)]
struct Known {
    site: Arc<Site>,
    version: u64,
    read_at: Instant,
    /// Held by the one request that reads the site anew.
    reading: Arc<tokio::sync::Mutex<()>>,
}

impl Known {
    fn is_fresh(&self, version: u64) -> bool {
        self.version == version && self.read_at.elapsed() < FRESH_FOR
    }
}

impl Sites {
    pub fn new(ctx: &Ctx) -> Sites {
        Sites { known: Mutex::default(), changed: ctx.db.wakes().subscribe(Wake::Routing) }
    }

    /// The site with this key; None if there is no such company.
    ///
    /// # Errors
    /// The database's, if it had to be asked.
    pub async fn find(&self, ctx: &Ctx, site_key: &str) -> db::Result<Option<Arc<Site>>> {
        let version = *self.changed.borrow();
        let Some(known) = self.known(site_key) else {
            return match is_key(site_key) {
                true => self.read(ctx, site_key, Arc::default()).await,
                false => Ok(None),
            };
        };
        if known.is_fresh(version) {
            return Ok(Some(known.site));
        }
        let reading = known.reading.clone();
        let Ok(_one) = reading.try_lock() else {
            if known.version == version {
                return Ok(Some(known.site));
            }
            let _next = reading.lock().await;
            return match self.known(site_key) {
                Some(known) if known.is_fresh(version) => Ok(Some(known.site)),
                Some(_) | None => self.read(ctx, site_key, reading.clone()).await,
            };
        };
        self.read(ctx, site_key, reading.clone()).await
    }

    fn known(&self, site_key: &str) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(site_key).cloned()
    }

    async fn read(
        &self,
        ctx: &Ctx,
        site_key: &str,
        reading: Arc<tokio::sync::Mutex<()>>,
    ) -> db::Result<Option<Arc<Site>>> {
        // Before it is read: what changes meanwhile is read next time.
        let version = *self.changed.borrow();
        let key = site_key.to_owned();
        let read = ctx.db.read("visits.site", move |tx| load(tx, &key)).await?;
        let mut sites = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(site) = read.map(Arc::new) else {
            sites.remove(site_key);
            return Ok(None);
        };
        let known = Known { site: site.clone(), version, read_at: Instant::now(), reading };
        sites.insert(site_key.to_owned(), known);
        Ok(Some(site))
    }
}

/// Whether it can be a site's key: what can't be isn't worth a query.
fn is_key(text: &str) -> bool {
    text.len() <= KEY_BYTES_MAX
        && text.strip_prefix("site_").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn load(tx: &mut Tx<'_>, site_key: &str) -> db::Result<Option<Site>> {
    let Some(company) = companies::find_by_site_key(tx, site_key)? else { return Ok(None) };
    let scope = Scope::of(company.id);
    let mut targets: Vec<Target> = Vec::new();
    let mut numbers = trackers::only_numbers(tx, scope, TRACKERS_MAX)?;
    for Tracker { id, settings, .. } in trackers::all(tx, scope, TRACKERS_MAX)? {
        let Some(rank) = Rank::of(&settings).filter(|_| settings.status) else { continue };
        let number = numbers.remove(&id);
        let replaced = swap::targets(&settings, &company.country);
        let offer = Arc::new(Offer { tracker: id, rank, settings, number });
        for number in replaced {
            offer_for(&mut targets, number).offers.push(offer.clone());
        }
    }
    for target in &mut targets {
        target.offers.sort_by_key(|offer| (offer.rank, offer.tracker));
    }
    Ok(Some(Site { scope, source_days: company.source_days, targets }))
}

fn offer_for(targets: &mut Vec<Target>, number: PhoneNumber) -> &mut Target {
    let at = targets.iter().position(|target| target.number == number).unwrap_or_else(|| {
        let (code, trunk) = number.prefixes();
        targets.push(Target { number, code, trunk, offers: Vec::new() });
        targets.len() - 1
    });
    &mut targets[at]
}
