//! Which account a carrier's request belongs to, and where a call goes if the database can't say: kept in
//! memory, so that a request is checked without a query and a caller reaches the destination even while the
//! database is down. Reloaded when something changed ([`Wake::Routing`]) and every so often, because another
//! process may have changed it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::accounts::{self, Registered};
use super::form;
use crate::calls;
use crate::ctx::Ctx;
use crate::db::{self, FromRow, Row, Tx, Wake, sql};
use crate::flows::Plan;
use crate::kernel::id::CarrierId;
use crate::kernel::phone::PhoneNumber;

/// How often it is reloaded without a reason.
const RELOAD_EVERY: Duration = Duration::from_secs(30);

/// The accounts and numbers of all companies. Empty until it is loaded, which changes nothing but the time
/// that a first request takes.
#[derive(Default)]
pub struct Directory(RwLock<Arc<Snapshot>>);

#[derive(Default)]
struct Snapshot {
    by_hook_token: HashMap<String, Arc<Registered>>,
    numbers: HashMap<(CarrierId, PhoneNumber), Destination>,
}

/// What a tracking number's calls need at least.
struct Destination {
    number: PhoneNumber,
    ring_timeout_s: u32,
    in_service: bool,
}

/// A tracking number's row, as [`load`] reads it.
struct Line {
    carrier: CarrierId,
    number: PhoneNumber,
    destination: Destination,
}

impl FromRow for Line {
    fn from_row(row: &mut Row<'_>) -> db::Result<Line> {
        Ok(Line {
            carrier: row.get()?,
            number: row.get()?,
            destination: Destination {
                number: row.get()?,
                ring_timeout_s: row.get()?,
                in_service: row.get()?,
            },
        })
    }
}

impl Directory {
    /// Reads everything anew.
    ///
    /// # Errors
    /// The database's; what was read before stays.
    pub async fn reload(&self, ctx: &Ctx) -> db::Result<()> {
        let key = ctx.key.clone();
        let fresh = ctx.db.read("carriers.directory", move |tx| load(tx, &key)).await?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(())
    }

    /// The account that has this hook token. One that isn't in memory is looked for in the database, so that
    /// a new account works at once on every node.
    ///
    /// # Errors
    /// The database's, if it had to be asked.
    pub async fn find(&self, ctx: &Ctx, hook_token: &str) -> db::Result<Option<Arc<Registered>>> {
        if let Some(known) = self.snapshot().by_hook_token.get(hook_token) {
            return Ok(Some(known.clone()));
        }
        // Whatever stands in a stranger's URL: what can't be a token isn't worth a query, and NUL breaks one.
        if !form::is_id(hook_token) {
            return Ok(None);
        }
        let token = hook_token.to_owned();
        let exists = ctx.db.read("carriers.find", move |tx| {
            let statement = "select id from carriers where hook_token = ? and deleted_at is null";
            tx.find::<(CarrierId,)>(sql(statement).bind(&token))
        });
        if exists.await?.is_none() {
            return Ok(None);
        }
        self.reload(ctx).await?;
        Ok(self.snapshot().by_hook_token.get(hook_token).cloned())
    }

    /// What is done with a call that can't be taken in: the caller reaches the destination.
    pub fn fallback(&self, carrier: CarrierId, dialled: &str) -> Plan {
        let snapshot = self.snapshot();
        let number = PhoneNumber::from_e164(dialled);
        let found = number.and_then(|number| snapshot.numbers.get(&(carrier, number)));
        match found.filter(|destination| destination.in_service) {
            Some(destination) => calls::fallback(destination.number.clone(), destination.ring_timeout_s),
            None => calls::not_in_service(),
        }
    }

    /// Reloads when it is due, until `stop` turns true.
    pub async fn keep_fresh(self: Arc<Self>, ctx: Ctx, mut stop: watch::Receiver<bool>) {
        let mut changed = ctx.db.wakes().subscribe(Wake::Routing);
        while !*stop.borrow() {
            changed.mark_unchanged();
            if let Err(error) = self.reload(&ctx).await {
                tracing::error!(%error, "the carriers' directory can't be read anew; the last one is used");
            }
            tokio::select! {
                woken = changed.changed() => if woken.is_err() { return },
                () = tokio::time::sleep(RELOAD_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn load(tx: &mut Tx<'_>, key: &crate::kernel::secret::SecretKey) -> db::Result<Snapshot> {
    let registered = accounts::list_all(tx, key)?;
    let lines: Vec<Line> = tx
        .all(sql("select n.carrier_id, n.number, t.destination, t.ring_timeout_s, t.status
         from tracking_numbers n join trackers t on t.id = n.tracker_id where n.released_at is null"))?;
    Ok(Snapshot {
        by_hook_token: registered.into_iter().map(|one| (one.hook_token.clone(), Arc::new(one))).collect(),
        numbers: lines.into_iter().map(|line| ((line.carrier, line.number), line.destination)).collect(),
    })
}
