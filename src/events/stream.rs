//! Reading the log: a company's events, oldest first for the API's list and for live streams, newest first for
//! people.

use serde_json::value::RawValue;

use super::EventType;
use crate::companies::Scope;
use crate::db::{self, Db, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::EventId;
use crate::kernel::page::{Listed, Page};

/// An event as the API shows it.
#[derive(Debug, serde::Serialize)]
pub struct Event {
    pub id: EventId,
    /// The part of `webhook-id` that names the event.
    pub uid: String,
    pub r#type: String,
    pub object: String,
    pub data: Box<RawValue>,
    pub timestamp: String,
    /// The same moment as `timestamp`.
    #[serde(skip)]
    pub occurred_at: Micros,
}

impl FromRow for Event {
    fn from_row(row: &mut Row<'_>) -> db::Result<Event> {
        let (id, uid, r#type, object) = (row.get()?, row.get()?, row.get()?, row.get()?);
        let data = RawValue::from_string(row.get()?)
            .map_err(|e| db::Error::Internal(format!("the data of event {id:?}: {e}")))?;
        let occurred_at: Micros = row.get()?;
        Ok(Event { id, uid, r#type, object, data, timestamp: occurred_at.envelope(), occurred_at })
    }
}

/// A page, oldest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, only: Option<EventType>, page: Page) -> db::Result<Listed<Event>> {
    let rows = db
        .read("events.list", move |tx| {
            let mut statement = sql("select id, uid, type, object, data, occurred_at from events
                                     where company_id = ? and id > ?")
            .bind(scope.company())
            .bind(page.after.unwrap_or(0));
            if let Some(event) = only {
                statement = statement.and(" and type = ?").bind(event.as_str());
            }
            tx.all(statement.and(" order by id limit ?").bind(page.fetch_limit()))
        })
        .await?;
    Ok(Listed::new(rows, page, |e: &Event| e.id.0))
}

/// A page, newest first.
///
/// # Errors
/// The database's.
pub async fn latest(db: &Db, scope: Scope, page: Page) -> db::Result<Listed<Event>> {
    let rows = db
        .read("events.latest", move |tx| {
            let statement = "select id, uid, type, object, data, occurred_at from events
                             where company_id = ? and id < ? order by id desc limit ?";
            tx.all(
                sql(statement)
                    .bind(scope.company())
                    .bind(page.after.unwrap_or(i64::MAX))
                    .bind(page.fetch_limit()),
            )
        })
        .await?;
    Ok(Listed::new(rows, page, |e: &Event| e.id.0))
}

/// The events behind `last`, oldest first, `limit` at most: what a live stream sends next.
///
/// # Errors
/// The database's.
pub async fn after(db: &Db, scope: Scope, last: i64, limit: usize) -> db::Result<Vec<Event>> {
    Ok(list(db, scope, None, Page { limit, after: Some(last), ..Page::default() }).await?.rows)
}

/// The company's events from a moment on, oldest first, `limit` at most. They are found by their ids, which grow as time
/// does but for transactions that were under way at once: a second more is looked at.
///
/// # Errors
/// The database's.
pub fn since(tx: &mut Tx<'_>, scope: Scope, at: Micros, limit: usize) -> db::Result<Vec<Event>> {
    let at = at.before(std::time::Duration::from_secs(1));
    // The first event that isn't before the moment lies in low..=high.
    let (mut low, mut high) = bounds(tx, scope)?;
    while low < high {
        let middle = low + (high - low) / 2;
        let next = "select id, occurred_at from events where company_id = ? and id > ? order by id limit 1";
        let next: Option<(i64, Micros)> = tx.find(sql(next).bind(scope.company()).bind(middle))?;
        match next {
            Some((id, occurred_at)) if occurred_at < at => low = id,
            _ => high = middle,
        }
    }
    let rows = "select id, uid, type, object, data, occurred_at from events
                where company_id = ? and id > ? order by id limit ?";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    tx.all(sql(rows).bind(scope.company()).bind(low).bind(limit))
}

/// Before the first event, and the last one.
fn bounds(tx: &mut Tx<'_>, scope: Scope) -> db::Result<(i64, i64)> {
    let statement = "select coalesce(min(id), 1) - 1, coalesce(max(id), 0) from events where company_id = ?";
    tx.one(sql(statement).bind(scope.company()))
}

/// The id of the newest event, 0 if there is none: where a stream of what is to come begins.
///
/// # Errors
/// The database's.
pub async fn last_id(db: &Db, scope: Scope) -> db::Result<i64> {
    db.read("events.last_id", move |tx| {
        let statement = "select coalesce(max(id), 0) from events where company_id = ?";
        let (id,): (i64,) = tx.one(sql(statement).bind(scope.company()))?;
        Ok(id)
    })
    .await
}
