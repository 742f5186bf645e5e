//! Routing: the number that was dialled, and the tracker behind it.

use super::{COLUMNS, Tracker};
use crate::db::{self, Tx, sql};
use crate::kernel::id::{CarrierId, NumberId};
use crate::kernel::phone::PhoneNumber;

/// Who a dialled number belongs to.
#[derive(Clone, Debug)]
pub struct Route {
    pub number_id: NumberId,
    pub tracking_number: PhoneNumber,
    pub tracker: Tracker,
}

/// The tracker that has this number at this carrier now; None if nobody has.
///
/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, carrier: CarrierId, dialled: &str) -> db::Result<Option<Route>> {
    let Some(number) = PhoneNumber::from_e164(dialled) else { return Ok(None) };
    let held = "select id, tracker_id from tracking_numbers
                where carrier_id = ? and number = ? and released_at is null";
    let Some((number_id, tracker_id)) = tx.find::<(NumberId, i64)>(sql(held).bind(carrier).bind(&number))?
    else {
        return Ok(None);
    };
    let tracker = tx.one(sql(format!("select {COLUMNS} where t.id = ?")).bind(tracker_id))?;
    Ok(Some(Route { number_id, tracking_number: number, tracker }))
}
