//! Signs of life and further pages of visits, and how often pools were asked, gathered in memory and written together
//! each second: a crash loses a second of them at most, which moves the end of a lease by as much. Nothing that a
//! visitor was shown depends on them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::session::{self, Page};
use crate::ctx::Ctx;
use crate::db::{self, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{SessionId, TrackerId};
use crate::trackers::pool::{self, Asked, How};

/// How often they are written.
pub const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Page views that may wait; more are refused: the database is behind.
const WAITING_MAX: usize = 20_000;
/// Visits that may be remembered as having lost their numbers.
const LOST_MAX: usize = 10_000;

/// What waits to be written.
#[derive(Default)]
pub struct Beats {
    waiting: Mutex<Waiting>,
    /// Visits that have no number any more: told with their next sign of life.
    lost: Mutex<HashSet<SessionId>>,
}

#[derive(Default)]
struct Waiting {
    pages: Vec<(SessionId, Micros, Page)>,
    seen: HashMap<SessionId, Micros>,
    /// By pool and hour.
    asked: BTreeMap<(TrackerId, i64), Asked>,
}

/// What became of a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    Taken,
    /// The visit's number is somebody else's by now: it must begin again.
    Lost,
    /// Too much waits.
    Full,
}

impl Beats {
    /// The visitor still looks at the page.
    pub fn alive(&self, session: SessionId, at: Micros) -> Beat {
        if lock(&self.lost).remove(&session) {
            return Beat::Lost;
        }
        let mut waiting = lock(&self.waiting);
        if waiting.seen.len() >= WAITING_MAX && !waiting.seen.contains_key(&session) {
            return Beat::Full;
        }
        waiting.seen.insert(session, at);
        Beat::Taken
    }

    /// The visitor went on to another page, without leaving the first.
    pub fn viewed(&self, session: SessionId, at: Micros, page: Page) -> Beat {
        let mut waiting = lock(&self.waiting);
        if waiting.pages.len() >= WAITING_MAX {
            return Beat::Full;
        }
        waiting.pages.push((session, at, page));
        waiting.seen.insert(session, at);
        Beat::Taken
    }

    /// A visit asked pools for numbers, and has its answer.
    pub fn asked(&self, asked: &[(TrackerId, How)], at: Micros) {
        let mut waiting = lock(&self.waiting);
        for (tracker, how) in asked {
            if let Some(once) = Asked::once(*how) {
                waiting.asked.entry((*tracker, pool::hour(at))).or_default().add(once);
            }
        }
    }

    /// Writes what waits. What can't be written is lost.
    ///
    /// # Errors
    /// The database's.
    pub async fn write(&self, ctx: &Ctx) -> db::Result<()> {
        let Waiting { pages, seen, asked } = std::mem::take(&mut *lock(&self.waiting));
        if seen.is_empty() && asked.is_empty() {
            return Ok(());
        }
        // In one order, so that two processes don't wait for each other.
        let mut seen: Vec<_> = seen.into_iter().collect();
        seen.sort_unstable();
        let write = move |tx: &mut Tx<'_>| {
            let without = note(tx, &pages, &seen)?;
            for ((tracker, hour), asked) in &asked {
                pool::count(tx, *tracker, *hour, *asked)?;
            }
            Ok::<_, db::Error>(without)
        };
        let without = ctx.db.write("visits.beats", write).await?;
        let mut lost = lock(&self.lost);
        let room = LOST_MAX.saturating_sub(lost.len());
        lost.extend(without.into_iter().take(room));
        Ok(())
    }

    /// Writes until `stop` turns true. Whoever stops it calls [`Beats::write`] once more.
    pub async fn keep_writing(&self, ctx: &Ctx, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            tokio::select! {
                () = tokio::time::sleep(WRITE_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if let Err(error) = self.write(ctx).await {
                tracing::error!(%error, "page views and signs of life are lost");
            }
        }
    }
}

/// Gives the visits that had a pool's number and have it no more.
fn note(
    tx: &mut Tx<'_>,
    pages: &[(SessionId, Micros, Page)],
    seen: &[(SessionId, Micros)],
) -> db::Result<Vec<SessionId>> {
    for (session, at, page) in pages {
        // Only of a visit that is there: a page that was left open for longer than visits are kept may wake up.
        let statement = "insert into page_views (session_id, viewed_at, url, title)
                         select id, cast(? as bigint), cast(? as text), cast(? as text) from sessions where id = ?";
        tx.execute(sql(statement).bind(*at).bind(&page.url).bind(&page.title).bind(*session))?;
    }
    let (mut lost, mut pools) = (Vec::new(), HashMap::new());
    for (session, at) in seen {
        let statement = "update sessions set seen_at = ? where id = ? and seen_at < ?";
        tx.execute(sql(statement).bind(*at).bind(*session).bind(*at))?;
        if !pool::seen(tx, *session, *at, &mut pools)? && had_number(tx, *session)? {
            lost.push(*session);
        }
    }
    Ok(lost)
}

/// Also a visit that isn't kept any more.
fn had_number(tx: &mut Tx<'_>, session: SessionId) -> db::Result<bool> {
    let decisions: Option<(String,)> =
        tx.find(sql("select decisions from sessions where id = ?").bind(session))?;
    let Some((text,)) = decisions else { return Ok(true) };
    let decisions: Vec<session::Decision> = serde_json::from_str(&text).unwrap_or_default();
    Ok(decisions.iter().any(|decision| decision.lease_id.is_some()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
