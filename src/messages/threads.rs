//! Texts as conversations: all that went between one of a company's trackers and one other party. Senders that can't be
//! answered have "" for a number, so that all of a tracker's are in one conversation.

use super::{COLUMNS, Direction, Message};
use crate::companies::Scope;
use crate::db::{self, Db, Tx, sql};
use crate::kernel::page::{Listed, Page};
use crate::kernel::phone::PhoneNumber;

/// The other party's number, as the index has it; `t` is the table's name.
fn other(t: &str) -> String {
    format!("(case when {t}.direction = 'incoming' then {t}.from_number else {t}.to_number end)")
}

impl Message {
    /// The party that isn't ours; None if it can't be answered.
    pub fn other(&self) -> Option<&PhoneNumber> {
        match self.status.direction() {
            Direction::Incoming => self.from.as_ref(),
            Direction::Outgoing => Some(&self.to),
        }
    }
}

/// The last text of each conversation, newest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, page: Page) -> db::Result<Listed<Message>> {
    let statement = format!(
        "select {COLUMNS} where m.company_id = ? and m.id < ? and not exists (select 1 from messages l
         where l.tracker_id = m.tracker_id and {} = {} and l.id > m.id) order by m.id desc limit ?",
        other("l"),
        other("m")
    );
    let read = move |tx: &mut Tx<'_>| {
        let statement = sql(statement.clone()).bind(scope.company());
        tx.all(statement.bind(page.after.unwrap_or(i64::MAX)).bind(page.fetch_limit()))
    };
    let rows = db.read("messages.threads", read).await?;
    Ok(Listed::new(rows, page, |message: &Message| message.id.0))
}

/// The conversation that a text is part of, newest first.
///
/// # Errors
/// The database's.
pub async fn of(db: &Db, scope: Scope, message: &Message, page: Page) -> db::Result<Listed<Message>> {
    let number = message.other().map_or("", PhoneNumber::as_str).to_owned();
    let tracker = message.tracker_id;
    let statement = format!(
        "select {COLUMNS} where m.company_id = ? and m.tracker_id = ? and {} = ? and m.id < ?
         order by m.id desc limit ?",
        other("m")
    );
    let read = move |tx: &mut Tx<'_>| {
        let statement = sql(statement.clone()).bind(scope.company()).bind(tracker).bind(number.as_str());
        tx.all(statement.bind(page.after.unwrap_or(i64::MAX)).bind(page.fetch_limit()))
    };
    let rows = db.read("messages.thread", read).await?;
    Ok(Listed::new(rows, page, |message: &Message| message.id.0))
}
