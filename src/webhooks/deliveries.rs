//! Deliveries as people and the API see them: the list, one with its attempts, and sending one again.

use std::cmp::Reverse;

use serde_json::{Value as Json, json};

use super::{Webhook, lock};
use crate::companies::Scope;
use crate::db::{self, Db, FromRow, LockSpace, Note, Row, Sql, Tx, sql};
use crate::events::{self, EventType};
use crate::kernel::clock::Micros;
use crate::kernel::id::{self, CompanyId, EventId, WebhookId};
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
    /// Held for too long, or one of too many; see [`super::holding`].
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

/// What is pending; `case` derives what is held.
const PENDING: &str = "select d.webhook_id, d.event_id, e.uid, d.event_type,
    case when w.status <> 'active' then 'held' else 'pending' end,
    d.attempts, d.next_attempt_at, d.created_at, cast(null as bigint)";
/// What is over, in the same columns.
const FINISHED: &str = "select d.webhook_id, d.event_id, e.uid, d.event_type, d.state, d.attempts,
    cast(null as bigint), d.created_at, case when d.state = 'delivered' then d.finished_at end";

/// Webhook, event and company follow.
const PENDING_ONE: &str = "from deliveries d join webhooks w on w.id = d.webhook_id
    join events e on e.id = d.event_id and e.occurred_at = d.created_at
    where d.webhook_id = ? and d.event_id = ? and d.company_id = ?";
/// Webhook, moment, event and company follow.
const FINISHED_ONE: &str = "from finished_deliveries d
    join events e on e.id = d.event_id and e.occurred_at = d.created_at
    where d.webhook_id = ? and d.created_at = ? and d.event_id = ? and d.company_id = ?";

/// The rows of a page, after their keys: `k` is chosen by an index alone, and only then are rows and events looked
/// up, by their primary keys. SQLite keeps the order of a `cross join`; else it may begin with the rows. Webhook and
/// company follow.
const PENDING_PAGE: &str = "from k cross join deliveries d join webhooks w on w.id = d.webhook_id
    join events e on e.id = d.event_id and e.occurred_at = d.created_at
    where d.webhook_id = ? and d.event_id = k.event_id and d.company_id = ?";
const FINISHED_PAGE: &str = "from k cross join finished_deliveries d
    join events e on e.id = d.event_id and e.occurred_at = d.created_at
    where d.webhook_id = ? and d.created_at = k.created_at and d.event_id = k.event_id and d.company_id = ?";

impl FromRow for Delivery {
    fn from_row(row: &mut Row<'_>) -> db::Result<Delivery> {
        let unknown = || db::Error::Internal("a delivery has an unknown state".to_owned());
        Ok(Delivery {
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

impl DeliveryFilter {
    /// The keys of a page's rows in a table, as `k`. `states` is a condition.
    fn keys(&self, table: &str, states: &str, webhook: WebhookId, page: Page) -> Sql {
        let of = format!("with k as (select created_at, event_id from {table} where webhook_id = ?{states}");
        let mut statement = sql(of).bind(webhook);
        if let Some((at, id)) = page.after_moment() {
            statement = statement.and(" and (created_at, event_id) < (?, ?)").bind(at).bind(id);
        }
        if let Some(event) = self.event {
            statement = statement.and(" and event_type = ?").bind(event.as_str());
        }
        if let Some(from) = self.from {
            statement = statement.and(" and created_at >= ?").bind(from);
        }
        if let Some(to) = self.to {
            statement = statement.and(" and created_at < ?").bind(to);
        }
        statement.and(" order by created_at desc, event_id desc limit ?) ").bind(page.fetch_limit())
    }

    /// What is pending and fits; None if nothing can.
    fn pending(&self, (webhook, scope): (WebhookId, Scope), page: Page) -> Option<Sql> {
        // A webhook's are held all or none.
        let status = match self.state {
            None => "",
            Some(DeliveryState::Held) => " and w.status <> 'active'",
            Some(DeliveryState::Pending) => " and w.status = 'active'",
            Some(
                DeliveryState::Delivered
                | DeliveryState::Exhausted
                | DeliveryState::Cancelled
                | DeliveryState::Expired,
            ) => return None,
        };
        let keys = self.keys("deliveries {{by_time}}", "", webhook, page);
        let rows = keys.and(&format!("{PENDING} {PENDING_PAGE}{status}"));
        Some(rows.bind(webhook).bind(scope.company()))
    }

    /// What is over and fits; None if nothing can.
    fn finished(&self, (webhook, scope): (WebhookId, Scope), page: Page) -> Option<Sql> {
        let by_type = if self.event.is_some() { "{{by_type}}" } else { "{{by_key}}" };
        let (index, states) = match self.state {
            None => (by_type, String::new()),
            Some(DeliveryState::Held | DeliveryState::Pending) => return None,
            Some(DeliveryState::Delivered) => (by_type, " and state = 'delivered'".to_owned()),
            // In so many words, so that the index on what wasn't delivered serves.
            Some(state @ (DeliveryState::Exhausted | DeliveryState::Cancelled | DeliveryState::Expired)) => {
                ("{{by_state}}", format!(" and state = '{}' and state <> 'delivered'", state.as_str()))
            }
        };
        let keys = self.keys(&format!("finished_deliveries {index}"), &states, webhook, page);
        let rows = keys.and(&format!("{FINISHED} {FINISHED_PAGE}"));
        Some(rows.bind(webhook).bind(scope.company()))
    }
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
    let of = (webhook, scope);
    let rows = db
        .read("deliveries.list", move |tx| {
            let mut rows: Vec<Delivery> = Vec::new();
            for part in [filter.pending(of, page), filter.finished(of, page)].into_iter().flatten() {
                rows.extend(tx.all::<Delivery>(part)?);
            }
            rows.sort_by_key(|d| Reverse((d.created_at, d.event_id)));
            db::Result::Ok(rows)
        })
        .await?;
    Ok(Listed::by_time(rows, page, |d: &Delivery| (d.created_at, d.event_id.0)))
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
    /// JSON, as stored.
    pub data: String,
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
             response_body from attempts where webhook_id = ? and event_id = ? order by number")
        .bind(webhook)
        .bind(delivery.event_id),
    )?;
    let statement = "select object, data from events where id = ? and occurred_at = ?";
    let (object, data): (String, String) =
        tx.one(sql(statement).bind(delivery.event_id).bind(delivery.created_at))?;
    let occurred_at = delivery.created_at;
    Ok(Some(DeliveryWithAttempts { delivery, attempts, object, data, occurred_at }))
}

fn find_bare(
    tx: &mut Tx<'_>,
    scope: Scope,
    webhook: WebhookId,
    public_id: &str,
) -> db::Result<Option<Delivery>> {
    let Some((uid, of)) = id::parse_delivery_id(public_id) else { return Ok(None) };
    if of != webhook || super::find(tx, scope, webhook)?.is_none() {
        return Ok(None);
    }
    let statement = "select id, occurred_at from events where uid = ? and company_id = ?";
    let event: Option<(EventId, Micros)> = tx.find(sql(statement).bind(uid).bind(scope.company()))?;
    let Some((event, created_at)) = event else { return Ok(None) };
    let pending = sql(format!("{PENDING} {PENDING_ONE}")).bind(webhook).bind(event).bind(scope.company());
    if let Some(pending) = tx.find(pending)? {
        return Ok(Some(pending));
    }
    let finished = sql(format!("{FINISHED} {FINISHED_ONE}")).bind(webhook).bind(created_at).bind(event);
    tx.find(finished.bind(scope.company()))
}

/// What became of an event at each of the company's webhooks; `created_at` is the event's moment.
///
/// # Errors
/// The database's.
pub fn of_event(
    tx: &mut Tx<'_>,
    scope: Scope,
    event: EventId,
    created_at: Micros,
) -> db::Result<Vec<Delivery>> {
    let webhooks: Vec<(i64,)> =
        tx.all(sql("select id from webhooks where company_id = ? order by id").bind(scope.company()))?;
    let ids = || webhooks.iter().map(|(id,)| *id);
    let pending = format!(
        "{PENDING} from deliveries d join webhooks w on w.id = d.webhook_id
         join events e on e.id = d.event_id and e.occurred_at = d.created_at
         where d.webhook_id {{{{in_ids}}}} and d.event_id = ? and d.company_id = ?"
    );
    let finished = format!(
        "{FINISHED} from finished_deliveries d join events e on e.id = d.event_id and e.occurred_at = d.created_at
         where d.webhook_id {{{{in_ids}}}} and d.created_at = ? and d.event_id = ? and d.company_id = ?"
    );
    let mut found: Vec<Delivery> = tx.all(sql(pending).bind_ids(ids()).bind(event).bind(scope.company()))?;
    let finished = sql(finished).bind_ids(ids()).bind(created_at).bind(event).bind(scope.company());
    found.extend(tx.all::<Delivery>(finished)?);
    found.sort_by_key(|delivery| delivery.webhook);
    Ok(found)
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
    // The event stays while its delivery becomes pending.
    tx.lock(LockSpace::Retention, 0)?;
    let Some(owner) = lock(tx, scope, webhook)? else { return Ok(None) };
    let Some(delivery) = find_bare(tx, scope, webhook, public_id)? else { return Ok(None) };
    match delivery.state {
        DeliveryState::Pending | DeliveryState::Held => restart(tx, &owner, delivery.event_id)?,
        DeliveryState::Delivered
        | DeliveryState::Exhausted
        | DeliveryState::Cancelled
        | DeliveryState::Expired => {
            reopen(tx, &owner, &[(delivery.created_at, delivery.event_id)], None)?;
        }
    }
    tx.note(Note::Due(webhook));
    find_bare(tx, scope, webhook, public_id)
}

/// A pending one begins a new series now.
fn restart(tx: &mut Tx<'_>, owner: &Webhook, event: EventId) -> db::Result<()> {
    tx.execute(
        sql("update deliveries set series_attempts = 0, series_started_at = null, activation = ?,
             next_attempt_at = ? where webhook_id = ? and event_id = ?")
        .bind(owner.activation)
        .bind(tx.now())
        .bind(owner.id)
        .bind(event),
    )?;
    Ok(())
}

/// Makes finished deliveries pending again, each with a new series that begins now. Those that are no longer
/// there, or whose event isn't, are passed over. Gives how many it were. The caller holds [`LockSpace::Retention`].
///
/// # Errors
/// The database's.
pub(super) fn reopen(
    tx: &mut Tx<'_>,
    owner: &Webhook,
    deliveries: &[(Micros, EventId)],
    replay: Option<i64>,
) -> db::Result<u64> {
    let mut reopened = 0;
    for (created_at, event) in deliveries {
        let key = "webhook_id = ? and created_at = ? and event_id = ?";
        let bind = |text: String| sql(text).bind(owner.id).bind(*created_at).bind(*event);
        let copied = tx.execute(
            sql("insert into deliveries (webhook_id, event_id, company_id, event_type, activation, attempts,
                 series_attempts, next_attempt_at, replay_id, created_at)
                 select webhook_id, event_id, company_id, event_type, cast(? as bigint), attempts, 0,
                 cast(? as bigint), cast(? as bigint), created_at from finished_deliveries
                 where webhook_id = ? and created_at = ? and event_id = ? and exists
                 (select 1 from events where id = event_id and occurred_at = created_at)")
            .bind(owner.activation)
            .bind(tx.now())
            .bind(replay)
            .bind(owner.id)
            .bind(*created_at)
            .bind(*event),
        )?;
        if copied > 0 {
            tx.execute(bind(format!("delete from finished_deliveries where {key}")))?;
        }
        reopened += copied;
    }
    Ok(reopened)
}

/// A pending delivery on its way to the finished ones.
struct Pending {
    webhook: WebhookId,
    event: EventId,
    company: CompanyId,
    event_type: String,
    attempts: i64,
    created_at: Micros,
}

impl FromRow for Pending {
    fn from_row(row: &mut Row<'_>) -> db::Result<Pending> {
        Ok(Pending {
            webhook: row.get()?,
            event: row.get()?,
            company: row.get()?,
            event_type: row.get()?,
            attempts: row.get()?,
            created_at: row.get()?,
        })
    }
}

/// Ends pending deliveries without an attempt: those that `which`, a condition with its values, names. Gives
/// how many it were, `limit` at most.
///
/// # Errors
/// The database's.
pub(super) fn end_pending(tx: &mut Tx<'_>, which: Sql, limit: i64, state: DeliveryState) -> db::Result<u64> {
    let pending: Vec<Pending> = tx.all(which.and(" limit ?").bind(limit))?;
    let key = |p: &Pending| [p.webhook.into(), p.event.into(), p.attempts.into()];
    // One that was attempted or finished since it was read is left alone.
    let found = tx.delete_rows(&super::record::PENDING, pending.iter().map(key))?;
    let now = tx.now();
    let ended: Vec<_> = pending.iter().zip(found).filter(|(_, found)| *found).map(|(p, _)| p).collect();
    let rows = ended.iter().map(|p| {
        [
            p.webhook.into(),
            p.event.into(),
            p.company.into(),
            p.event_type.as_str().into(),
            state.as_str().into(),
            p.attempts.into(),
            p.created_at.into(),
            now.into(),
        ]
    });
    tx.insert_rows(&super::record::FINISHED, rows)?;
    Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX))
}

/// The columns that [`end_pending`] reads.
pub(super) const ENDING: &str =
    "select d.webhook_id, d.event_id, d.company_id, d.event_type, d.attempts, d.created_at from deliveries d";

/// Background work: cancels what deleted webhooks left pending. Gives the number of deliveries.
///
/// # Errors
/// The database's.
pub async fn cancel_orphans(db: &Db) -> db::Result<u64> {
    let mut total = 0;
    loop {
        let cancelled = db
            .write("deliveries.cancel", |tx| {
                let orphans = " where d.webhook_id in (select id from webhooks where deleted_at is not null)";
                end_pending(tx, sql(format!("{ENDING}{orphans}")), CANCEL_BATCH, DeliveryState::Cancelled)
            })
            .await?;
        total += cancelled;
        if cancelled < CANCEL_BATCH.unsigned_abs() {
            return Ok(total);
        }
    }
}
