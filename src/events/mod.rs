//! Events: the outbox. [`append`] is called in the transaction of the change that an event tells of, and
//! makes a delivery for each webhook that is subscribed at that moment, so that an event exists exactly if
//! its change does. It doesn't know how deliveries travel: that is `webhooks`.
//!
//! Here and nowhere else: the nine types, the envelope, and the rule which webhook gets what.

mod stream;
mod types;

pub use self::stream::{Event, after, last_id, latest, list, since};
pub use self::types::EventType;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::companies::Scope;
use crate::db::{
    self, Cell, Columns, EventRow, Fresh, FromRow, Kind, LockSpace, NewEvent, Note, Row, Tx, Wake, sql,
};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CompanyId, EventId, WebhookId};

/// Appends an event and its deliveries. `data` is the API's object at this moment. They are written at the end of the
/// transaction.
///
/// # Errors
/// The database's.
pub fn append(tx: &mut Tx<'_>, scope: Scope, event: EventType, data: &Json) -> db::Result<()> {
    let new = NewEvent {
        company: scope.company(),
        uid: tx.unique(),
        kind: event.as_str(),
        object: event.object(),
        data: data.to_string(),
        occurred_at: tx.now(),
    };
    tx.put_event(new, write);
    tx.wake(Wake::Events);
    Ok(())
}

/// Writes events with a delivery for each subscribed webhook, and hands those of active ones over.
fn write(tx: &mut Tx<'_>, new: Vec<NewEvent>) -> db::Result<()> {
    let companies: BTreeSet<CompanyId> = new.iter().map(|event| event.company).collect();
    // Ids are given out under these locks, so a reader who has seen one has seen all smaller ones of its company.
    tx.lock_all(LockSpace::EventLog, companies.iter().map(|company| company.0))?;
    let ids = tx.insert_for_ids(&EVENTS, new.iter().map(event_row))?;
    let webhooks = subscribers(tx, &companies)?;
    let events: Vec<(CompanyId, Arc<EventRow>)> = new.into_iter().zip(ids).map(written).collect();
    let mut deliveries = Vec::new();
    for (company, event) in &events {
        let subscribed =
            webhooks.get(company).into_iter().flatten().filter(|webhook| webhook.wants(&event.kind));
        deliveries.extend(subscribed.map(|webhook| (*company, event, webhook)));
    }
    tx.insert_rows(&DELIVERIES, deliveries.iter().map(delivery_row))?;
    for (_, event, webhook) in deliveries.into_iter().filter(|(.., webhook)| webhook.is_active) {
        let Subscriber { id, activation, revision, .. } = *webhook;
        tx.note(Note::Fresh(Fresh { webhook: id, activation, revision, event: event.clone() }));
    }
    Ok(())
}

static EVENTS: Columns<6> = Columns::new(
    "events",
    [
        ("uid", Kind::Text),
        ("company_id", Kind::Int),
        ("type", Kind::Text),
        ("object", Kind::Text),
        ("data", Kind::Text),
        ("occurred_at", Kind::Int),
    ],
);

fn event_row(new: &NewEvent) -> [Cell<'_>; 6] {
    [
        (&new.uid).into(),
        new.company.into(),
        new.kind.into(),
        new.object.into(),
        (&new.data).into(),
        new.occurred_at.into(),
    ]
}

fn written((new, id): (NewEvent, i64)) -> (CompanyId, Arc<EventRow>) {
    let NewEvent { company, uid, kind, object, data, occurred_at } = new;
    let (kind, object) = (kind.to_owned(), object.to_owned());
    (company, Arc::new(EventRow { id: EventId(id), uid, kind, object, data, occurred_at }))
}

/// A webhook, whatever its status.
struct Subscriber {
    id: WebhookId,
    activation: i64,
    revision: i64,
    is_active: bool,
    /// As stored.
    events: String,
    company: CompanyId,
}

impl FromRow for Subscriber {
    fn from_row(row: &mut Row<'_>) -> db::Result<Subscriber> {
        Ok(Subscriber {
            id: row.get()?,
            activation: row.get()?,
            revision: row.get()?,
            is_active: row.get()?,
            events: row.get()?,
            company: row.get()?,
        })
    }
}

impl Subscriber {
    /// Types are stored between spaces.
    fn wants(&self, kind: &str) -> bool {
        self.events == "all" || self.events.split(' ').any(|word| word == kind)
    }
}

/// Those of each company, in the order of their ids.
fn subscribers(
    tx: &mut Tx<'_>,
    companies: &BTreeSet<CompanyId>,
) -> db::Result<HashMap<CompanyId, Vec<Subscriber>>> {
    let statement = "select id, activation, revision, status = 'active', events, company_id from webhooks
                     where company_id {{in_ids}} and deleted_at is null order by id";
    let mut found: HashMap<CompanyId, Vec<Subscriber>> = HashMap::new();
    for subscriber in
        tx.all::<Subscriber>(sql(statement).bind_ids(companies.iter().map(|company| company.0)))?
    {
        found.entry(subscriber.company).or_default().push(subscriber);
    }
    Ok(found)
}

static DELIVERIES: Columns<9> = Columns::new(
    "deliveries",
    [
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
);

fn delivery_row<'a>(
    (company, event, webhook): &(CompanyId, &'a Arc<EventRow>, &Subscriber),
) -> [Cell<'a>; 9] {
    [
        webhook.id.into(),
        event.id.into(),
        (*company).into(),
        event.kind.as_str().into(),
        webhook.activation.into(),
        0_i64.into(),
        0_i64.into(),
        event.occurred_at.into(),
        event.occurred_at.into(),
    ]
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
