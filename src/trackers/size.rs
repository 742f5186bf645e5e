//! How many numbers a pool has: the bounds, and which numbers go when it is made smaller. Buying more is `carriers`'
//! business.
//!
//! Only numbers that are free go, those first that have been free longest: a visitor who wrote down a number may still
//! dial it. What was released goes back to the carrier like the numbers of a deleted tracker, and calls to it aren't
//! ours any more.

use super::{Error, Settings, TrackerView, changed, find, pool, write_settings};
use crate::companies::Scope;
use crate::db::{self, LockSpace, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{NumberId, TrackerId};

/// Numbers of a pool at least, if its size is given.
pub const SIZE_MIN: usize = 2;
/// Numbers of a pool at most. A hundred visits at a time want 117.
pub const SIZE_MAX: usize = 500;

/// Whether the tracker may get so many numbers more.
///
/// # Errors
/// [`Error::PoolFull`].
pub fn check_growth(present: &TrackerView, more: usize) -> Result<(), Error> {
    let fits = present.pool_size().is_none_or(|size| size + more <= SIZE_MAX);
    if fits { Ok(()) } else { Err(Error::PoolFull) }
}

/// As [`super::update`], and releases numbers until the tracker has `size`; it is told of once. None: no such
/// tracker.
///
/// # Errors
/// [`Error::NotFree`] if visitors have too many of them; nothing was changed then. As [`super::update`].
pub fn shrink(
    tx: &mut Tx<'_>,
    scope: Scope,
    id: TrackerId,
    settings: &Settings,
    size: usize,
) -> Result<Option<TrackerView>, Error> {
    tx.lock(LockSpace::Numbers, 0)?;
    // Nobody is given a number while it is looked which are free.
    tx.lock(LockSpace::Pool, id.0)?;
    let Some(present) = find(tx, scope, id)? else { return Ok(None) };
    let surplus = present.number_count().saturating_sub(size);
    for number in free_longest(tx, id, surplus)? {
        release(tx, number)?;
    }
    write_settings(tx, scope, &present.tracker, settings)?;
    Ok(Some(changed(tx, scope, id)?))
}

fn free_longest(tx: &mut Tx<'_>, tracker: TrackerId, surplus: usize) -> Result<Vec<NumberId>, Error> {
    let statement = "select id, free_at from tracking_numbers where tracker_id = ? and released_at is null
                     order by free_at, id limit ?";
    let limit = i64::try_from(surplus).unwrap_or(i64::MAX);
    let found: Vec<(NumberId, Micros)> = tx.all(sql(statement).bind(tracker).bind(limit))?;
    let now = tx.now();
    let free = found.iter().filter(|(_, free_at)| *free_at <= now).count();
    match found.last() {
        Some((_, until)) if free < surplus => Err(Error::NotFree { free, surplus, until: *until }),
        Some(_) | None => Ok(found.into_iter().map(|(id, _)| id).collect()),
    }
}

fn release(tx: &mut Tx<'_>, number: NumberId) -> db::Result<()> {
    pool::end_of(tx, number)?;
    let now = tx.now();
    tx.execute(
        sql("update tracking_numbers set status = ?, released_at = ?, release_due_at = ? where id = ?")
            .bind(false)
            .bind(now)
            .bind(now)
            .bind(number),
    )?;
    Ok(())
}
