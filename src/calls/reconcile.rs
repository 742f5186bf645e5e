//! Which calls a carrier should be asked about, because callbacks aren't repeated by carriers and one that got
//! lost is made up for by asking. `carriers::reconcile` asks; the answers are taken in like callbacks.

use std::time::Duration;

use crate::db::{self, FromRow, Row, Tx, sql};
use crate::kernel::id::{CallId, CarrierId, CompanyId};
use crate::recordings;

/// A call that goes on and wasn't heard of for this long is asked about.
pub const SILENCE: Duration = Duration::from_secs(5 * 60);
/// How long after a call's end its carrier is asked for a recording, if it doesn't answer.
const ASKING_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Calls of one run at most; the rest is the next run's.
const BATCH_MAX: i64 = 100;

/// A call to ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub call: CallId,
    pub company: CompanyId,
    pub carrier: CarrierId,
    pub carrier_call_id: String,
}

impl FromRow for Question {
    fn from_row(row: &mut Row<'_>) -> db::Result<Question> {
        Ok(Question {
            call: row.get()?,
            company: row.get()?,
            carrier: row.get()?,
            carrier_call_id: row.get()?,
        })
    }
}

/// The calls that weren't heard of for [`SILENCE`], the longest silent first. Each is asked about again after
/// as long.
///
/// # Errors
/// The database's.
pub fn silent(tx: &mut Tx<'_>) -> db::Result<Vec<Question>> {
    let before = tx.now().before(SILENCE);
    tx.all(
        sql("select id, company_id, carrier_id, carrier_call_id from calls
             where finished_at is null and checked_at <= ? order by checked_at limit ?")
        .bind(before)
        .bind(BATCH_MAX),
    )
}

/// The finished calls whose recording should have been told of.
///
/// # Errors
/// The database's.
pub fn unrecorded(tx: &mut Tx<'_>) -> db::Result<Vec<Question>> {
    let now = tx.now();
    tx.all(
        sql("select id, company_id, carrier_id, carrier_call_id from calls
             where recordings_due_at is not null and recordings_due_at <= ? order by recordings_due_at limit ?")
        .bind(now)
        .bind(BATCH_MAX),
    )
}

/// The carrier was asked, whatever it said: the call's turn comes again after [`SILENCE`] if it goes on.
///
/// # Errors
/// The database's.
pub fn checked(tx: &mut Tx<'_>, call: CallId) -> db::Result<()> {
    let now = tx.now();
    tx.execute(sql("update calls set checked_at = ? where id = ?").bind(now).bind(call))?;
    Ok(())
}

/// The carrier was asked for the call's recordings and answered: it isn't asked again.
///
/// # Errors
/// The database's.
pub fn recordings_checked(tx: &mut Tx<'_>, call: CallId) -> db::Result<()> {
    tx.execute(sql("update calls set recordings_due_at = null where id = ?").bind(call))?;
    recordings::give_up_untold(tx, call)
}

/// The carrier was asked for the call's recordings and didn't answer: it is asked again, for a day.
///
/// # Errors
/// The database's.
pub fn recordings_unanswered(tx: &mut Tx<'_>, call: CallId) -> db::Result<()> {
    let now = tx.now();
    let given_up = tx.execute(
        sql("update calls set recordings_due_at = null where id = ? and finished_at < ?")
            .bind(call)
            .bind(now.before(ASKING_TIME_MAX)),
    )?;
    if given_up > 0 {
        return recordings::give_up_untold(tx, call);
    }
    let due = now.after(SILENCE);
    tx.execute(sql("update calls set recordings_due_at = ? where id = ?").bind(due).bind(call))?;
    Ok(())
}
