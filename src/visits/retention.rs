//! How long visits are kept that led to nothing: `visits.keep_days` after the last sign of life, then they go with their
//! page views, their leases and their address. A visit that a call or a message is credited to stays, and so does a
//! visitor, with what led to their first visit, as long as one of their visits does.
//!
//! - Visits are looked through in the order in which they began, some hundred rows in a transaction that only
//!   reads, and once a day from the beginning. There is no index by the last sign of life: each of those would have to move in it.
//! - What is too old is deleted in small transactions with pauses, so that nobody has to wait.
//! - The lease of a number that nobody else got in all that time goes, too: it would say whose it was.

use std::time::Duration;

use tokio::time::Instant;

use crate::ctx::Ctx;
use crate::db::{self, Db, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{SessionId, VisitorId};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// From the beginning again after this long.
const BEGIN_EVERY: Duration = DAY;
/// Visits that are looked at in one transaction.
const LOOK_MAX: usize = 500;
/// Visits that are deleted in one transaction at most, and page views: a few milliseconds of a small machine.
const VISITS_MAX: usize = 50;
const PAGES_MAX: u64 = 500;
/// Others have the writer for so long between two of them.
const PAUSE: Duration = Duration::from_millis(5);
/// A run ends after this; the next one goes on.
const RUN_FOR: Duration = Duration::from_secs(5);

/// A visit that was looked at.
#[derive(Clone, Copy)]
struct Looked {
    id: SessionId,
    visitor: VisitorId,
    started_at: Micros,
    is_due: bool,
}

impl FromRow for Looked {
    fn from_row(row: &mut Row<'_>) -> db::Result<Looked> {
        let (id, visitor, started_at) = (row.get()?, row.get()?, row.get()?);
        Ok(Looked { id, visitor, started_at, is_due: row.get::<i64>()? != 0 })
    }
}

/// Background work: removes visits that are too old; gives how many.
///
/// # Errors
/// The database's.
pub async fn run_once(ctx: &Ctx) -> db::Result<usize> {
    let (db, now, until) = (&ctx.db, ctx.clock.now(), Instant::now() + RUN_FOR);
    let before = now.before(DAY * ctx.config.visits.keep_days);
    let sweep = |tx: &mut Tx<'_>| tx.one(sql("select session_id, begun_at from visit_sweeps where id = 1"));
    let (mut through, mut begun_at): (SessionId, Micros) = db.read("visits.sweep", sweep).await?;
    if through == SessionId(0) {
        if now.since(begun_at) < BEGIN_EVERY {
            return Ok(0);
        }
        begun_at = now;
    }
    let (mut gone, mut is_over) = (0, false);
    while !is_over && Instant::now() < until {
        let looked = db.read("visits.look", move |tx| look(tx, through, before)).await?;
        is_over = looked.last().is_none_or(|last| last.started_at >= before);
        through = looked.last().filter(|_| !is_over).map_or(SessionId(0), |last| last.id);
        gone += delete_all(db, looked, before).await?;
        db.write("visits.sweep", move |tx| note(tx, through, begun_at)).await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(gone)
}

fn note(tx: &mut Tx<'_>, through: SessionId, begun_at: Micros) -> db::Result<()> {
    let statement = "update visit_sweeps set session_id = ?, begun_at = ? where id = 1";
    tx.execute(sql(statement).bind(through).bind(begun_at)).map(drop)
}

/// That the last sign of life of the visit `s` is older than a moment, and nothing is credited to it.
const IS_DUE: &str = "s.seen_at < ? and not exists (select 1 from calls c where c.session_id = s.id)
    and not exists (select 1 from messages m where m.session_id = s.id)";

/// The next visits behind `through`.
fn look(tx: &mut Tx<'_>, through: SessionId, before: Micros) -> db::Result<Vec<Looked>> {
    // The limit stands in the text and inside: PostgreSQL would read all calls for what it takes to be all visits.
    let statement = format!(
        "select s.id, s.visitor_id, s.started_at, cast(case when {IS_DUE} then 1 else 0 end as bigint)
         from (select id, visitor_id, started_at, seen_at from sessions where id > ? order by id limit {LOOK_MAX}) s
         order by s.id"
    );
    tx.all(sql(statement).bind(before).bind(through))
}

async fn delete_all(db: &Db, looked: Vec<Looked>, before: Micros) -> db::Result<usize> {
    let due: Vec<Looked> = looked.into_iter().filter(|visit| visit.is_due).collect();
    let (count, mut rest) = (due.len(), due);
    while !rest.is_empty() {
        let visits: Vec<Looked> = rest.iter().take(VISITS_MAX).copied().collect();
        let done = db.write("visits.delete", move |tx| delete(tx, &visits, before)).await?;
        rest.drain(..done);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(count)
}

/// Deletes visits; gives how many are done with. A visit of very many pages takes several transactions.
fn delete(tx: &mut Tx<'_>, visits: &[Looked], before: Micros) -> db::Result<usize> {
    let mut pages = PAGES_MAX;
    for (done, visit) in visits.iter().enumerate() {
        // A call, or a sign of life, may just have come.
        let still = format!("select s.id from sessions s where s.id = ? and {IS_DUE} {{{{for_update}}}}");
        if tx.find::<(SessionId,)>(sql(still).bind(visit.id).bind(before))?.is_none() {
            continue;
        }
        let views = "delete from page_views where id in
                     (select id from page_views where session_id = ? order by id limit ?)";
        pages -= tx.execute(sql(views).bind(visit.id).bind(i64::try_from(pages).unwrap_or(i64::MAX)))?;
        if pages == 0 {
            return Ok(done);
        }
        let leases = "delete from leases where visitor_id = ? and session_id = ?";
        tx.execute(sql(leases).bind(visit.visitor).bind(visit.id))?;
        tx.execute(sql("delete from sessions where id = ?").bind(visit.id))?;
        let visitor = "delete from visitors where id = ?
                       and not exists (select 1 from sessions s where s.visitor_id = visitors.id)";
        tx.execute(sql(visitor).bind(visit.visitor))?;
    }
    Ok(visits.len())
}
