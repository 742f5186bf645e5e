//! How much waits to be delivered, for operators: read from what is pending alone, never from history.

use std::collections::BTreeMap;

use super::shards::shard_of;
use crate::db::{self, Db, FromRow, Row, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::WebhookId;

/// What waits in one shard, or in all where one process does everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Deliveries of active webhooks.
    pub pending: i64,
    /// The oldest of them.
    pub oldest: Option<Micros>,
    /// Deliveries of others.
    pub held: i64,
}

struct OfWebhook {
    webhook: WebhookId,
    count: i64,
    oldest: Micros,
    active: bool,
}

impl FromRow for OfWebhook {
    fn from_row(row: &mut Row<'_>) -> db::Result<OfWebhook> {
        Ok(OfWebhook { webhook: row.get()?, count: row.get()?, oldest: row.get()?, active: row.get()? })
    }
}

/// The depth of each shard in which something waits; under None where there are no shards.
///
/// # Errors
/// The database's.
pub async fn depths(db: &Db) -> db::Result<BTreeMap<Option<i64>, Depth>> {
    let shared = db.is_shared();
    let rows = db
        .read("webhooks.depths", |tx| {
            let statement = "select q.webhook_id, q.n, q.oldest, w.status = 'active' and w.deleted_at is null
                             from (select webhook_id, count(*) as n, min(created_at) as oldest from deliveries
                                   group by webhook_id) q
                             join webhooks w on w.id = q.webhook_id";
            tx.all::<OfWebhook>(sql(statement))
        })
        .await?;
    let mut depths: BTreeMap<Option<i64>, Depth> = BTreeMap::new();
    if !shared {
        depths.insert(None, Depth::default());
    }
    for row in rows {
        let depth = depths.entry(shared.then(|| shard_of(row.webhook))).or_default();
        if row.active {
            depth.pending += row.count;
            depth.oldest = Some(depth.oldest.map_or(row.oldest, |oldest| oldest.min(row.oldest)));
        } else {
            depth.held += row.count;
        }
    }
    Ok(depths)
}
