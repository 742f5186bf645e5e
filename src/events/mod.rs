//! Events: the outbox. [`append`] is called in the transaction of the change that an event tells of, and
//! makes a delivery for each webhook that is subscribed at that moment, so that an event exists exactly if
//! its change does. It doesn't know how deliveries travel: that is `webhooks`.
//!
//! Here and nowhere else: the nine types, the envelope, and the rule which webhook gets what.

mod stream;
mod types;

pub use self::stream::{Event, after, last_id, latest, list};
pub use self::types::EventType;

use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::companies::Scope;
use crate::db::{self, LockSpace, Tx, Wake, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{EventId, WebhookId};

/// Appends an event and its deliveries. `data` is the API's object at this moment.
///
/// # Errors
/// The database's.
pub fn append(tx: &mut Tx<'_>, scope: Scope, event: EventType, data: &Json) -> db::Result<EventId> {
    let company = scope.company();
    // Ids are given out under this lock, so a reader who has seen one has seen all smaller ones.
    tx.lock(LockSpace::EventLog, company.0)?;
    let now = tx.now();
    let uid = tx.unique();
    let (id,): (EventId,) = tx.one(
        sql("insert into events (uid, company_id, type, object, data, occurred_at)
             values (?, ?, ?, ?, ?, ?) returning id")
        .bind(uid)
        .bind(company)
        .bind(event.as_str())
        .bind(event.object())
        .bind(data.to_string())
        .bind(now),
    )?;
    // Types are stored between spaces, so that one that is part of another's name doesn't match.
    let made = tx.execute(
        sql("insert into deliveries (company_id, webhook_id, event_id, event_type, state, attempts,
                                     series_attempts, activation, next_attempt_at, created_at)
             select company_id, id, ?, ?, 'pending', 0, 0, activation, ?, ? from webhooks
             where company_id = ? and deleted_at is null and (events = 'all' or events like ?) order by id")
        .bind(id)
        .bind(event.as_str())
        .bind(now)
        .bind(now)
        .bind(company)
        .bind(format!("% {} %", event.as_str())),
    )?;
    if made > 0 {
        tx.wake(Wake::Deliveries);
    }
    tx.wake(Wake::Events);
    Ok(id)
}

/// The body of a request to a webhook. `data` is spliced in as it was stored: the same event and target
/// give the same bytes.
pub fn body(
    event: &str,
    object: &str,
    data: &RawValue,
    at: Micros,
    webhook: WebhookId,
    target: &str,
) -> String {
    #[derive(serde::Serialize)]
    struct Envelope<'a> {
        r#type: &'a str,
        object: &'a str,
        data: &'a RawValue,
        timestamp: String,
        webhook: Webhook<'a>,
    }
    #[derive(serde::Serialize)]
    struct Webhook<'a> {
        id: WebhookId,
        target: &'a str,
    }
    let envelope = Envelope {
        r#type: event,
        object,
        data,
        timestamp: at.envelope(),
        webhook: Webhook { id: webhook, target },
    };
    serde_json::to_string(&envelope).expect("strings and numbers always become JSON")
}
