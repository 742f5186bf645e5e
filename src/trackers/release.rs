//! Numbers that were given up here and have to go back to their carrier: which are due, and when the next try
//! is. Telling the carrier is `carriers`' business, between [`claim`] and [`done`].
//!
//! A number may be attached to a tracker again before it went back. Then it stays; only while the carrier is
//! being told it can't be attached, because nobody knows whether it is still there.

use std::time::Duration;

use super::Error;
use crate::db::{self, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CarrierId, CompanyId, NumberId};
use crate::kernel::phone::PhoneNumber;

/// Gap behind the first try, which each further one doubles. Longer than [`TELLING_TIME_MAX`].
const GAP_MIN: Duration = Duration::from_secs(60);
/// Gap at most. There is no last try: the number costs money until the carrier has it back.
const GAP_MAX: Duration = Duration::from_secs(6 * 3600);
/// Telling the carrier takes no longer than this: a request has 10 s.
const TELLING_TIME_MAX: Duration = Duration::from_secs(30);

/// A number that is to be given back now.
#[derive(Clone, Debug)]
pub struct Due {
    pub id: NumberId,
    pub company_id: CompanyId,
    pub carrier_id: CarrierId,
    pub carrier_number_id: String,
}

impl FromRow for Due {
    fn from_row(row: &mut Row<'_>) -> db::Result<Due> {
        Ok(Due {
            id: row.get()?,
            company_id: row.get()?,
            carrier_id: row.get()?,
            carrier_number_id: row.get()?,
        })
    }
}

/// How long to wait behind a try, by the number of those before it.
pub fn gap(attempts_before: i64) -> Duration {
    let doublings = u32::try_from(attempts_before.clamp(0, 16)).unwrap_or(0);
    (GAP_MIN * 2_u32.pow(doublings)).min(GAP_MAX)
}

/// Takes up to `limit` numbers whose time has come, and sets the time of the next try in case this one fails.
/// Those that a tracker has again are left out for good.
///
/// # Errors
/// The database's.
pub fn claim(tx: &mut Tx<'_>, limit: i64) -> db::Result<Vec<Due>> {
    let now = tx.now();
    tx.execute(
        sql("update tracking_numbers set release_due_at = null where release_due_at <= ? and exists (
             select 1 from tracking_numbers again where again.carrier_id = tracking_numbers.carrier_id
             and again.number = tracking_numbers.number and again.released_at is null)")
        .bind(now),
    )?;
    let due: Vec<(NumberId, i64)> = tx.all(
        sql("select id, release_attempts from tracking_numbers where release_due_at <= ?
             order by release_due_at, id limit ? {{for_update}}")
        .bind(now)
        .bind(limit),
    )?;
    let mut claimed = Vec::with_capacity(due.len());
    for (id, attempts) in due {
        claimed.push(
            tx.one(
                sql("update tracking_numbers set release_attempts = ?, release_due_at = ? where id = ?
                     returning id, company_id, carrier_id, carrier_number_id")
                .bind(attempts + 1)
                .bind(now.after(gap(attempts)))
                .bind(id),
            )?,
        );
    }
    Ok(claimed)
}

/// The carrier has the number back, or it is nobody's business any more.
///
/// # Errors
/// The database's.
pub fn done(tx: &mut Tx<'_>, id: NumberId) -> db::Result<()> {
    tx.execute(sql("update tracking_numbers set release_due_at = null where id = ?").bind(id))?;
    Ok(())
}

/// A tracker takes the number again: it isn't to go back any more.
pub(super) fn cancel(tx: &mut Tx<'_>, carrier: CarrierId, number: &PhoneNumber) -> Result<(), Error> {
    let waiting: Vec<(NumberId, Micros, i64)> = tx.all(
        sql("select id, release_due_at, release_attempts from tracking_numbers
             where carrier_id = ? and number = ? and release_due_at is not null {{for_update}}")
        .bind(carrier)
        .bind(number),
    )?;
    for (id, due_at, attempts) in waiting {
        let last_try = due_at.before(gap(attempts - 1));
        if attempts > 0 && tx.now() < last_try.after(TELLING_TIME_MAX) {
            return Err(Error::BeingReleased(number.clone()));
        }
        done(tx, id)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_double_from_a_minute_to_six_hours() {
        let minutes = [0, 1, 2, 8, 9, 1_000].map(|attempts| gap(attempts).as_secs() / 60);
        assert_eq!(minutes, [1, 2, 4, 256, 360, 360]);
        assert!(TELLING_TIME_MAX < GAP_MIN);
    }
}
