//! Events: the outbox. [`append`] is called in the transaction of the change that an event tells of, and
//! makes a delivery for each webhook that is subscribed at that moment, so that an event exists exactly if
//! its change does. It doesn't know how deliveries travel: that is `webhooks`.
//!
//! Here and nowhere else: the nine types, the envelope, and the rule which webhook gets what.

mod stream;
mod types;

pub use self::stream::{Event, after, last_id, latest, list};
pub use self::types::EventType;

use std::sync::Arc;

use serde_json::Value as Json;

use crate::companies::Scope;
use crate::db::{self, Columns, EventRow, Fresh, FromRow, Kind, LockSpace, Note, Row, Tx, Wake, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{EventId, WebhookId};

/// Appends an event and its deliveries. `data` is the API's object at this moment.
///
/// # Errors
/// The database's.
pub fn append(tx: &mut Tx<'_>, scope: Scope, event: EventType, data: &Json) -> db::Result<EventId> {
    // Ids are given out under this lock, so a reader who has seen one has seen all smaller ones.
    tx.lock(LockSpace::EventLog, scope.company().0)?;
    let row = Arc::new(insert(tx, scope, event, data)?);
    let subscribed = subscribed(tx, scope, event)?;
    let deliveries = subscribed.iter().map(|webhook| webhook.delivery(scope, &row)).collect();
    tx.insert_rows(&DELIVERIES, deliveries)?;
    for webhook in subscribed.into_iter().filter(|webhook| webhook.is_active) {
        let Subscribed { id, activation, revision, .. } = webhook;
        tx.note(Note::Fresh(Fresh { webhook: id, activation, revision, event: row.clone() }));
    }
    tx.wake(Wake::Events);
    Ok(row.id)
}

fn insert(tx: &mut Tx<'_>, scope: Scope, event: EventType, data: &Json) -> db::Result<EventRow> {
    let (uid, data, occurred_at) = (tx.unique(), data.to_string(), tx.now());
    let (id,): (EventId,) = tx.one(
        sql("insert into events (uid, company_id, type, object, data, occurred_at)
             values (?, ?, ?, ?, ?, ?) returning id")
        .bind(&uid)
        .bind(scope.company())
        .bind(event.as_str())
        .bind(event.object())
        .bind(&data)
        .bind(occurred_at),
    )?;
    let (kind, object) = (event.as_str().to_owned(), event.object().to_owned());
    Ok(EventRow { id, uid, kind, object, data, occurred_at })
}

/// A webhook that gets the event, whatever its status.
struct Subscribed {
    id: WebhookId,
    activation: i64,
    revision: i64,
    is_active: bool,
}

impl FromRow for Subscribed {
    fn from_row(row: &mut Row<'_>) -> db::Result<Subscribed> {
        Ok(Subscribed { id: row.get()?, activation: row.get()?, revision: row.get()?, is_active: row.get()? })
    }
}

/// Types are stored between spaces, so that one that is part of another's name doesn't match.
fn subscribed(tx: &mut Tx<'_>, scope: Scope, event: EventType) -> db::Result<Vec<Subscribed>> {
    tx.all(
        sql("select id, activation, revision, status = 'active' from webhooks
             where company_id = ? and deleted_at is null and (events = 'all' or events like ?) order by id")
        .bind(scope.company())
        .bind(format!("% {} %", event.as_str())),
    )
}

const DELIVERIES: Columns = Columns {
    table: "deliveries",
    columns: &[
        ("webhook_id", Kind::Int),
        ("event_id", Kind::Int),
        ("company_id", Kind::Int),
        ("event_type", Kind::Text),
        ("activation", Kind::Int),
        ("attempts", Kind::Int),
        ("series_attempts", Kind::Int),
        ("next_attempt_at", Kind::Int),
        ("created_at", Kind::Int),
    ],
};

impl Subscribed {
    fn delivery(&self, scope: Scope, event: &EventRow) -> Vec<db::Value> {
        vec![
            self.id.into(),
            event.id.into(),
            scope.company().into(),
            event.kind.as_str().into(),
            self.activation.into(),
            0_i64.into(),
            0_i64.into(),
            event.occurred_at.into(),
            event.occurred_at.into(),
        ]
    }
}

/// The body of a request to a webhook. `data` is spliced in as it was stored: the same event and target
/// give the same bytes.
pub fn body(event: &str, object: &str, data: &str, at: Micros, webhook: WebhookId, target: &str) -> String {
    let target = serde_json::to_string(target).expect("a string always becomes JSON");
    let at = at.envelope();
    // The words of types and objects are ours and need no escaping.
    format!(
        r#"{{"type":"{event}","object":"{object}","data":{data},"timestamp":"{at}","webhook":{{"id":{webhook},"target":{target}}}}}"#
    )
}
