//! Callers whom a company doesn't want: their calls are refused before they are answered.

use serde_json::{Value as Json, json};

use crate::companies::Scope;
use crate::db::{self, Db, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::BlockedCallerId;
use crate::kernel::page::{Listed, Page};
use crate::kernel::phone::PhoneNumber;

/// A blocked caller as stored.
#[derive(Clone, Debug)]
pub struct BlockedCaller {
    pub id: BlockedCallerId,
    pub number: PhoneNumber,
    pub note: String,
    pub created_at: Micros,
}

impl FromRow for BlockedCaller {
    fn from_row(row: &mut Row<'_>) -> db::Result<BlockedCaller> {
        Ok(BlockedCaller { id: row.get()?, number: row.get()?, note: row.get()?, created_at: row.get()? })
    }
}

impl BlockedCaller {
    /// The object of the API.
    pub fn to_json(&self) -> Json {
        json!({"id": self.id, "number": self.number, "note": self.note, "created_at": self.created_at.rfc3339()})
    }
}

/// Blocks a number; blocking it again changes the note.
///
/// # Errors
/// The database's.
pub fn block(tx: &mut Tx<'_>, scope: Scope, number: &PhoneNumber, note: &str) -> db::Result<BlockedCaller> {
    tx.one(
        sql("insert into blocked_callers (company_id, number, note, created_at) values (?, ?, ?, ?)
             on conflict (company_id, number) do update set note = excluded.note
             returning id, number, note, created_at")
        .bind(scope.company())
        .bind(number)
        .bind(note)
        .bind(tx.now()),
    )
}

/// Unblocks; false if there is no such row.
///
/// # Errors
/// The database's.
pub fn unblock(tx: &mut Tx<'_>, scope: Scope, id: BlockedCallerId) -> db::Result<bool> {
    let statement = "delete from blocked_callers where company_id = ? and id = ?";
    Ok(tx.execute(sql(statement).bind(scope.company()).bind(id))? > 0)
}

/// Newest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, page: Page) -> db::Result<Listed<BlockedCaller>> {
    let rows = db
        .read("blocked_callers.list", move |tx| {
            tx.all(
                sql("select id, number, note, created_at from blocked_callers
                     where company_id = ? and id < ? order by id desc limit ?")
                .bind(scope.company())
                .bind(page.after.unwrap_or(i64::MAX))
                .bind(page.fetch_limit()),
            )
        })
        .await?;
    Ok(Listed::new(rows, page, |b: &BlockedCaller| b.id.0))
}

/// Whether calls from this number are refused.
///
/// # Errors
/// The database's.
pub fn is_blocked(tx: &mut Tx<'_>, scope: Scope, number: &PhoneNumber) -> db::Result<bool> {
    let statement = "select 1 from blocked_callers where company_id = ? and number = ?";
    Ok(tx.find::<(i64,)>(sql(statement).bind(scope.company()).bind(number))?.is_some())
}
