//! Who delivers which webhook, where several processes share a PostgreSQL. Webhooks are dealt out by their id into
//! [`SHARDS`] shards; a process leases shards, delivers for their webhooks and for no other.
//!
//! - A lease has an **epoch** that grows with each new owner. Results are written in one transaction with a look at
//!   the lease, locked against change, so a process that was stopped and woke too late can write nothing.
//! - All times of leases are the database's. A process counts its own lease from *before* it asked for it, by a clock
//!   that goes on while it is stopped, and starts nothing beyond it.
//! - On SQLite there is one process, by the file's lock, and nothing of this.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::ctx::Ctx;
use crate::db::{self, Tx, sql};
use crate::kernel::id::WebhookId;

/// Shards: many more than processes, so that a share can be split evenly.
pub const SHARDS: i64 = 256;
/// How long a lease holds. After a process dies its webhooks wait for this long.
const LEASE: Duration = Duration::from_secs(10);
/// How often a lease is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// A process stops to start requests so long before its lease ends, so that a clock that goes a little faster or
/// slower than the database's doesn't matter.
const MARGIN: Duration = Duration::from_secs(1);

/// A process among those on one database.
pub type NodeId = i64;

/// File in the data folder that names the process which has it locked.
const NODE_FILE: &str = "node_id";

/// Who we are among the processes on one database: the same after a restart on the same data folder, so that a process
/// needn't wait for the lease that its own crash left behind. Where another process has the folder, we are new.
pub(super) struct Node {
    pub id: NodeId,
    /// Locked for as long as we run; ends with the process, however that ends.
    _lock: Option<File>,
}

impl Node {
    pub(super) fn of(ctx: &Ctx) -> Node {
        let new = i64::from_le_bytes(ctx.seed.bytes());
        match Node::named(&ctx.config.data.join(NODE_FILE), new) {
            Ok(node) => node,
            Err(error) => {
                tracing::info!(error = %error, "this process is a new one among those on its database");
                Node { id: new, _lock: None }
            }
        }
    }

    fn named(path: &Path, new: NodeId) -> std::io::Result<Node> {
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        file.try_lock()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let id = match text.trim().parse() {
            Ok(id) => id,
            Err(_) => {
                file.set_len(0)?;
                file.rewind()?;
                file.write_all(new.to_string().as_bytes())?;
                new
            }
        };
        Ok(Node { id, _lock: Some(file) })
    }
}

/// The shard of a webhook.
pub fn shard_of(webhook: WebhookId) -> i64 {
    webhook.0.rem_euclid(SHARDS)
}

/// What this process may deliver for.
#[derive(Clone, Debug)]
pub struct Owned {
    /// None: alone on the database, everything is ours.
    epochs: Option<BTreeMap<i64, i64>>,
    /// Nothing may be started after this; None: no limit.
    until: Option<Instant>,
}

impl Owned {
    pub fn everything() -> Owned {
        Owned { epochs: None, until: None }
    }

    fn nothing() -> Owned {
        Owned { epochs: Some(BTreeMap::new()), until: None }
    }

    /// The epoch under which we deliver for a webhook; None: somebody else does.
    pub fn epoch(&self, webhook: WebhookId) -> Option<i64> {
        match &self.epochs {
            None => Some(0),
            Some(epochs) => epochs.get(&shard_of(webhook)).copied(),
        }
    }

    /// Whether requests may be started now.
    pub fn holds(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }

    fn same_shards(&self, other: &Owned) -> bool {
        self.epochs == other.epochs
    }
}

/// Locks the leases of the webhooks' shards against change and gives those that `node` has, with their epochs.
///
/// # Errors
/// The database's.
pub(super) fn hold(
    tx: &mut Tx<'_>,
    node: NodeId,
    webhooks: impl Iterator<Item = WebhookId>,
) -> db::Result<HashSet<(i64, i64)>> {
    let shards: BTreeSet<i64> = webhooks.map(shard_of).collect();
    // In the order in which everybody locks them.
    let statement =
        "select id, epoch from shards where id {{in_ids}} and node_id = ? order by id {{for_share}}";
    Ok(tx.all::<(i64, i64)>(sql(statement).bind_ids(shards).bind(node))?.into_iter().collect())
}

/// What the engine and the keeper of its leases tell each other.
pub(super) struct Link {
    pub owned: watch::Sender<Owned>,
    /// Shards whose webhooks still have requests under way that were started before they were to be given up.
    pub busy: watch::Receiver<BTreeSet<i64>>,
}

/// Renews this process's leases until told to stop, and publishes what it owns.
pub(super) async fn keep(ctx: Ctx, node: NodeId, link: Link, mut stop: watch::Receiver<bool>) {
    let mut leaving = BTreeSet::new();
    // What an earlier process of this name had is ours under new epochs: it can't write any more.
    release(&ctx, node).await;
    while !*stop.borrow() {
        let asked_at = Instant::now();
        let done: Vec<i64> = leaving.difference(&*link.busy.borrow()).copied().collect();
        match ctx.db.write("shards.renew", move |tx| renew(tx, node, &done)).await {
            Ok(Renewed { ours, leaving: surplus }) => {
                let until = asked_at + LEASE - MARGIN;
                let new = Owned { epochs: Some(ours), until: Some(until) };
                link.owned.send_if_modified(|owned| {
                    let changed = !owned.same_shards(&new);
                    *owned = new;
                    changed
                });
                leaving = surplus;
            }
            Err(error) => tracing::error!(error = %error, "the lease on webhooks can't be renewed"),
        }
        tokio::select! {
            () = tokio::time::sleep(RENEW_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

/// Ends this process's leases at once, so that others needn't wait for them to lapse.
pub(super) async fn release(ctx: &Ctx, node: NodeId) {
    let released = ctx.db.write("shards.release", move |tx| {
        tx.execute(sql("update shards set node_id = null where node_id = ?").bind(node))?;
        tx.execute(sql("delete from nodes where id = ?").bind(node))
    });
    if let Err(error) = released.await {
        tracing::warn!(error = %error, "the lease on webhooks can't be given up; it lapses by itself");
    }
}

/// The database's own clock, in microseconds. Not the transaction's: that one stands still while it waits.
const DB_NOW: &str = "cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)";

/// What a heartbeat came to.
struct Renewed {
    /// The shards that we deliver for, with their epochs.
    ours: BTreeMap<i64, i64>,
    /// Those above our share: nothing is started for them any more, and a later heartbeat gives them up.
    leaving: BTreeSet<i64>,
}

/// One heartbeat: we are here; those who aren't lose their shards; everybody gets an even share. `done` are shards
/// to give up now.
fn renew(tx: &mut Tx<'_>, node: NodeId, done: &[i64]) -> db::Result<Renewed> {
    // One at a time decides who gets what.
    tx.lock(db::LockSpace::Shards, 0)?;
    tx.execute(sql(format!("delete from nodes where expires_at < {DB_NOW} and id <> ?")).bind(node))?;
    let here = format!(
        "insert into nodes (id, expires_at) values (?, {DB_NOW} + ?)
         on conflict (id) do update set expires_at = excluded.expires_at"
    );
    let lease = i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX);
    tx.execute(sql(here).bind(node).bind(lease))?;
    for shard in done {
        let statement = "update shards set node_id = null where id = ? and node_id = ?";
        tx.execute(sql(statement).bind(*shard).bind(node))?;
    }
    tx.execute(sql("update shards set node_id = null where node_id not in (select id from nodes)"))?;
    let (nodes,): (i64,) = tx.one(sql("select count(*) from nodes"))?;
    let share = SHARDS / nodes.max(1) + i64::from(SHARDS % nodes.max(1) != 0);
    let held = ours(tx, node)?.len();
    take(tx, node, share - i64::try_from(held).unwrap_or(share))?;
    let mut ours = ours(tx, node)?;
    let keep = usize::try_from(share).unwrap_or(usize::MAX);
    let leaving: BTreeSet<i64> = ours.keys().copied().skip(keep).collect();
    ours.retain(|shard, _| !leaving.contains(shard));
    Ok(Renewed { ours, leaving })
}

fn ours(tx: &mut Tx<'_>, node: NodeId) -> db::Result<BTreeMap<i64, i64>> {
    let rows = tx.all::<(i64, i64)>(sql("select id, epoch from shards where node_id = ?").bind(node))?;
    Ok(rows.into_iter().collect())
}

fn take(tx: &mut Tx<'_>, node: NodeId, count: i64) -> db::Result<()> {
    if count <= 0 {
        return Ok(());
    }
    let statement = "update shards set node_id = ?, epoch = epoch + 1 where id in
                     (select id from shards where node_id is null order by id limit ?)";
    tx.execute(sql(statement).bind(node).bind(count))?;
    Ok(())
}

/// What a process owns before it asked.
pub(super) fn first(ctx: &Ctx) -> Owned {
    if ctx.db.is_shared() { Owned::nothing() } else { Owned::everything() }
}
