//! Finishing calls whose end was told of, but not everything that belongs to it: what hasn't come within
//! [`super::state::GRACE`] isn't waited for.

use super::record::{self, hold};
use crate::ctx::Ctx;
use crate::db::{self, sql};
use crate::kernel::id::CallId;
use crate::recordings::link::Links;

/// Calls of one run at most; the rest is the next run's.
const BATCH_MAX: i64 = 500;

/// Background work: finishes the calls that are due. Gives their number.
///
/// # Errors
/// The database's.
pub async fn settle(ctx: &Ctx) -> db::Result<usize> {
    let now = ctx.clock.now();
    let due: Vec<(CallId,)> = ctx
        .db
        .read("calls.due", move |tx| {
            let due = "select id from calls where finish_due_at is not null and finish_due_at <= ?
                       order by finish_due_at limit ?";
            tx.all(sql(due).bind(now).bind(BATCH_MAX))
        })
        .await?;
    let links = Links::of(ctx);
    // Sent together, so that they share commits.
    let finishing = due.into_iter().map(|(id,)| {
        let links = links.clone();
        ctx.db.write("calls.settle", move |tx| {
            let call = hold(tx, id)?;
            let is_due = call.finish_due_at.is_some_and(|due| due <= tx.now());
            if is_due {
                record::finish(tx, &links, call)?;
            }
            Ok::<_, db::Error>(usize::from(is_due))
        })
    });
    let finished = futures_util::future::try_join_all(finishing).await?;
    Ok(finished.into_iter().sum())
}
