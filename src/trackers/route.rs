//! Routing: the number that was dialled, and what the tracker behind it wants to happen. Pure but for the
//! one look-up.

use super::{COLUMNS, Settings, Tracker, TrackerType};
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

/// The channel that a call is credited to when no visit is known: what the tracker itself stands for.
pub fn source_channel(settings: &Settings) -> &'static str {
    match (settings.tracker_type, settings.campaign_source.as_str()) {
        (TrackerType::Offline, _) => "offline",
        (TrackerType::Campaign, "search") if settings.campaign_search_for.trim() == "paid" => "paid",
        (TrackerType::Campaign, "search") if settings.campaign_search_for.trim() == "organic" => "organic",
        (TrackerType::Campaign, "referral") => "referral",
        (TrackerType::Campaign, "direct") => "direct",
        (TrackerType::Campaign | TrackerType::NumberPool, _) => "unknown",
    }
}
