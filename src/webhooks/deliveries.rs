//! Deliveries as people and the API see them: the list, one with its attempts, and sending one again.

use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

use super::lock;
use crate::companies::Scope;
use crate::db::{self, Db, FromRow, Row, Tx, Wake, sql};
use crate::events::{self, EventType};
use crate::kernel::clock::Micros;
use crate::kernel::id::{self, DeliveryId, EventId, WebhookId};
use crate::kernel::page::{Listed, Page};

/// Deliveries that are cancelled in one transaction.
const CANCEL_BATCH: i64 = 1_000;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    Pending,
    /// Pending, and the webhook isn't active. Derived: nothing stores it.
    Held,
    Delivered,
    /// All sends of its series failed.
    Exhausted,
    /// The webhook was deleted.
    Cancelled,
    /// Held for too long.
    Expired,
}

impl DeliveryState {
    pub const ALL: [DeliveryState; 6] = [
        DeliveryState::Pending,
        DeliveryState::Held,
        DeliveryState::Delivered,
        DeliveryState::Exhausted,
        DeliveryState::Cancelled,
        DeliveryState::Expired,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::Held => "held",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Exhausted => "exhausted",
            DeliveryState::Cancelled => "cancelled",
            DeliveryState::Expired => "expired",
        }
    }

    pub fn parse(text: &str) -> Option<DeliveryState> {
        DeliveryState::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// A delivery without its attempts.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub row: DeliveryId,
    pub webhook: WebhookId,
    pub event_id: EventId,
    pub event_uid: String,
    pub event_type: String,
    pub state: DeliveryState,
    pub attempts: u32,
    pub next_attempt_at: Option<Micros>,
    pub created_at: Micros,
    pub delivered_at: Option<Micros>,
}

/// `case` derives what is held; the join is by primary keys.
const COLUMNS: &str = "d.id, d.webhook_id, d.event_id, e.uid, d.event_type,
    case when d.state = 'pending' and w.status <> 'active' then 'held' else d.state end,
    d.attempts, d.next_attempt_at, d.created_at, d.delivered_at
    from deliveries d join events e on e.id = d.event_id join webhooks w on w.id = d.webhook_id";

impl FromRow for Delivery {
    fn from_row(row: &mut Row<'_>) -> db::Result<Delivery> {
        let unknown = || db::Error::Internal("a delivery has an unknown state".to_owned());
        Ok(Delivery {
            row: row.get()?,
            webhook: row.get()?,
            event_id: row.get()?,
            event_uid: row.get()?,
            event_type: row.get()?,
            state: DeliveryState::parse(&row.get::<String>()?).ok_or_else(unknown)?,
            attempts: row.get()?,
            next_attempt_at: row.get()?,
            created_at: row.get()?,
            delivered_at: row.get()?,
        })
    }
}

impl Delivery {
    /// What the receiver sees as `webhook-id`.
    pub fn public_id(&self) -> String {
        id::delivery_id(&self.event_uid, self.webhook)
    }

    /// The object of the API. What is held has no next attempt: it waits for a verification.
    pub fn to_json(&self) -> Json {
        let next = self.next_attempt_at.filter(|_| self.state == DeliveryState::Pending);
        json!({
            "id": self.public_id(),
            "event_type": self.event_type,
            "event_id": self.event_id,
            "state": self.state.as_str(),
            "attempts": self.attempts,
            "next_attempt_at": next.map(Micros::rfc3339),
            "created_at": self.created_at.rfc3339(),
            "delivered_at": self.delivered_at.map(Micros::rfc3339),
        })
    }
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    pub state: Option<DeliveryState>,
    pub event: Option<EventType>,
    /// Created at or after.
    pub from: Option<Micros>,
    /// Created before.
    pub to: Option<Micros>,
}

/// Newest first.
///
/// # Errors
/// The database's.
pub async fn list(
    db: &Db,
    scope: Scope,
    webhook: WebhookId,
    filter: DeliveryFilter,
    page: Page,
) -> db::Result<Listed<Delivery>> {
    let rows = db
        .read("deliveries.list", move |tx| {
            let mut statement =
                sql(format!("select {COLUMNS} where d.webhook_id = ? and d.company_id = ? and d.id < ?"))
                    .bind(webhook)
                    .bind(scope.company())
                    .bind(page.after.unwrap_or(i64::MAX));
            statement = match filter.state {
                None => statement,
                Some(DeliveryState::Held) => {
                    statement.and(" and d.state = 'pending' and w.status <> 'active'")
                }
                Some(DeliveryState::Pending) => {
                    statement.and(" and d.state = 'pending' and w.status = 'active'")
                }
                Some(state) => statement.and(" and d.state = ?").bind(state.as_str()),
            };
            if let Some(event) = filter.event {
                statement = statement.and(" and d.event_type = ?").bind(event.as_str());
            }
            if let Some(from) = filter.from {
                statement = statement.and(" and d.created_at >= ?").bind(from);
            }
            if let Some(to) = filter.to {
                statement = statement.and(" and d.created_at < ?").bind(to);
            }
            tx.all(statement.and(" order by d.id desc limit ?").bind(page.fetch_limit()))
        })
        .await?;
    Ok(Listed::new(rows, page, |d: &Delivery| d.row.0))
}

/// An attempt as stored.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub number: u32,
    pub started_at: Micros,
    pub duration_ms: i64,
    pub target: String,
    pub request_headers: String,
    pub status_code: Option<i64>,
    pub error: Option<String>,
    pub error_detail: String,
    pub response_body: String,
}

impl FromRow for Attempt {
    fn from_row(row: &mut Row<'_>) -> db::Result<Attempt> {
        Ok(Attempt {
            number: row.get()?,
            started_at: row.get()?,
            duration_ms: row.get()?,
            target: row.get()?,
            request_headers: row.get()?,
            status_code: row.get()?,
            error: row.get()?,
            error_detail: row.get()?,
            response_body: row.get()?,
        })
    }
}

/// A delivery with all that was tried. Its body is a function of the event and the target.
pub struct DeliveryWithAttempts {
    pub delivery: Delivery,
    pub attempts: Vec<Attempt>,
    pub object: String,
    pub data: Box<RawValue>,
    pub occurred_at: Micros,
}

impl DeliveryWithAttempts {
    /// The object of the API, with each attempt's request and answer.
    pub fn to_json(&self) -> Json {
        let attempt = |a: &Attempt| {
            json!({
                "number": a.number,
                "started_at": a.started_at.rfc3339(),
                "duration_ms": a.duration_ms,
                "status_code": a.status_code,
                "error": a.error,
                "error_detail": a.error_detail,
                "response_body": a.response_body,
                "target": a.target,
                "request_headers": serde_json::from_str::<Json>(&a.request_headers).unwrap_or_default(),
                "request_body": self.body(&a.target),
            })
        };
        let mut json = self.delivery.to_json();
        json["attempt_log"] = self.attempts.iter().map(attempt).collect();
        json
    }

    /// What is sent to `target`, byte for byte.
    pub fn body(&self, target: &str) -> String {
        let (kind, webhook) = (&self.delivery.event_type, self.delivery.webhook);
        events::body(kind, &self.object, &self.data, self.occurred_at, webhook, target)
    }
}

/// The delivery with this public id, if it is this webhook's.
///
/// # Errors
/// The database's.
pub fn find(
    tx: &mut Tx<'_>,
    scope: Scope,
    webhook: WebhookId,
    public_id: &str,
) -> db::Result<Option<DeliveryWithAttempts>> {
    let Some(delivery) = find_bare(tx, scope, webhook, public_id)? else { return Ok(None) };
    let attempts = tx.all(
        sql("select number, started_at, duration_ms, target, request_headers, status_code, error, error_detail,
             response_body from attempts where delivery_id = ? order by number")
        .bind(delivery.row),
    )?;
    let statement = "select object, data, occurred_at from events where id = ?";
    let (object, data, occurred_at): (String, String, Micros) =
        tx.one(sql(statement).bind(delivery.event_id))?;
    let data = RawValue::from_string(data)
        .map_err(|e| db::Error::Internal(format!("the data of event {}: {e}", delivery.event_id)))?;
    Ok(Some(DeliveryWithAttempts { delivery, attempts, object, data, occurred_at }))
}

fn find_bare(
    tx: &mut Tx<'_>,
    scope: Scope,
    webhook: WebhookId,
    public_id: &str,
) -> db::Result<Option<Delivery>> {
    let Some((uid, of)) = id::parse_delivery_id(public_id) else { return Ok(None) };
    if of != webhook {
        return Ok(None);
    }
    let statement = format!(
        "select {COLUMNS} where e.uid = ? and d.webhook_id = ? and d.company_id = ? and w.deleted_at is null"
    );
    tx.find(sql(statement).bind(uid).bind(webhook).bind(scope.company()))
}

/// Sends a delivery again, as a new series under the same id; at once if the webhook is active, else it
/// is held. None: no such delivery.
///
/// # Errors
/// The database's.
pub fn resend(
    tx: &mut Tx<'_>,
    scope: Scope,
    webhook: WebhookId,
    public_id: &str,
) -> db::Result<Option<Delivery>> {
    let Some(owner) = lock(tx, scope, webhook)? else { return Ok(None) };
    let Some(delivery) = find_bare(tx, scope, webhook, public_id)? else { return Ok(None) };
    tx.execute(
        sql("update deliveries set state = 'pending', series_attempts = 0, series_started_at = null,
             activation = ?, next_attempt_at = ?, delivered_at = null where id = ?")
        .bind(owner.activation)
        .bind(tx.now())
        .bind(delivery.row),
    )?;
    tx.wake(Wake::Deliveries);
    find_bare(tx, scope, webhook, public_id)
}

/// Background work: cancels what deleted webhooks left pending. Gives the number of deliveries.
///
/// # Errors
/// The database's.
pub async fn cancel_orphans(db: &Db) -> db::Result<u64> {
    let mut total = 0;
    loop {
        let cancelled = db
            .write("deliveries.cancel", |tx| {
                tx.execute(
                    sql("update deliveries set state = 'cancelled', next_attempt_at = null where id in
                         (select d.id from deliveries d join webhooks w on w.id = d.webhook_id
                          where w.deleted_at is not null and d.state = 'pending' limit ?)")
                    .bind(CANCEL_BATCH),
                )
            })
            .await?;
        total += cancelled;
        if cancelled < CANCEL_BATCH.unsigned_abs() {
            return Ok(total);
        }
    }
}
