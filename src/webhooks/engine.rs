//! The engine: does what the [`scheduler`](super::scheduler) says. Reads what is due, sends it, and has written
//! down what came of it. The rows are the truth; after a crash whatever was in flight is pending still and is sent
//! again, and there is nothing to repair.
//!
//! Nothing here polls: deliveries are handed over by the transactions that make them (`db::handover`), timers are set
//! for those that are due later, and on PostgreSQL the other processes' hints come in by [`hints`](super::hints).

use std::collections::{BTreeSet, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::attempt::{self, Outcome, Parcel};
use super::hints::{self, Hints};
use super::lane::{CAP_FIRST, Landing, Question, Reply, Subscriber};
use super::record::{self, Ended};
use super::scheduler::{Scheduler, Start, Verdict, Written};
use super::shards::{self, Link, Node, NodeId, Owned};
use super::tally::Tally;
use super::{COLUMNS, Webhook, due};
use crate::ctx::Ctx;
use crate::db::{self, Db, Heard, Note, Reader, Wake, sql};
use crate::events;
use crate::kernel::id::{self, WebhookId};
use crate::metrics::AttemptLabels;
use crate::outbound::FailureKind;

/// Looks at all rows even if nobody asked: a note that was lost costs this at most.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// The same where other processes append events too, whose hints may be lost with them.
const LOOK_EVERY_SHARED: Duration = Duration::from_secs(10);
/// Waits this long before it asks a database again that didn't answer.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Results that are written in one transaction.
const BATCH_MAX: usize = 512;
/// Webhooks that are loaded with one statement.
const LOAD_MAX: usize = 500;
/// Requests in flight may take so long at the end: a little less than the whole program gets.
const FINISH_WITHIN: Duration = Duration::from_secs(9);
/// Sums by the minute are written this often; a crash loses so much of them.
const TALLY_EVERY: Duration = Duration::from_secs(5);

/// Runs until `stop` turns true; then waits for the requests in flight and writes their results.
pub async fn run(ctx: Ctx, mut stop: watch::Receiver<bool>) {
    let (owned, leases) = watch::channel(shards::first(&ctx));
    let (busy, told_busy) = watch::channel(BTreeSet::new());
    let (end_leases, end) = watch::channel(false);
    let named = ctx.db.is_shared().then(|| Node::of(&ctx));
    let node = named.as_ref().map(|node| node.id);
    let keeper =
        node.map(|node| tokio::spawn(shards::keep(ctx.clone(), node, Link { owned, busy: told_busy }, end)));
    let mut engine = Engine::new(ctx.clone(), node, leases, busy);
    engine.work(&mut stop).await;
    if tokio::time::timeout(FINISH_WITHIN, engine.finish()).await.is_err() {
        tracing::warn!("requests that took too long are given up and will be sent again");
    }
    end_leases.send_replace(true);
    if let (Some(keeper), Some(node)) = (keeper, node) {
        let _ = keeper.await;
        shards::release(&ctx, node).await;
    }
}

struct Engine {
    ctx: Ctx,
    node: Option<NodeId>,
    leases: watch::Receiver<Owned>,
    busy: watch::Sender<BTreeSet<i64>>,
    scheduler: Scheduler,
    notes: Reader,
    wakes: watch::Receiver<u64>,
    /// Where attempts put their results.
    landing: mpsc::UnboundedSender<Ended>,
    landed: mpsc::UnboundedReceiver<Ended>,
    reads: JoinSet<Read>,
    /// Webhooks to load.
    changed: HashSet<WebhookId>,
    /// All of them.
    changed_all: bool,
    loading: bool,
    results: Vec<Ended>,
    writing: Option<JoinHandle<Vec<Written>>>,
    tally: Tally,
    /// What other processes are to be told.
    hints: Hints,
    telling: bool,
    /// What other processes tell us.
    heard: mpsc::Receiver<Heard>,
    looked_at: Instant,
}

/// What was done with the database beside writing results.
enum Read {
    Replies(Vec<Reply>),
    /// Those of the ids that are active, or all.
    Webhooks(Option<Vec<WebhookId>>, Vec<Webhook>),
    Tally(db::Result<()>),
    Told(db::Result<()>),
}

impl Engine {
    fn new(
        ctx: Ctx,
        node: Option<NodeId>,
        leases: watch::Receiver<Owned>,
        busy: watch::Sender<BTreeSet<i64>>,
    ) -> Engine {
        let (landing, landed) = mpsc::unbounded_channel();
        Engine {
            node,
            leases,
            busy,
            scheduler: Scheduler::default(),
            notes: ctx.db.inbox().open(),
            wakes: ctx.db.wakes().subscribe(Wake::Deliveries),
            landing,
            landed,
            reads: JoinSet::new(),
            changed: HashSet::new(),
            changed_all: true,
            loading: false,
            results: Vec::new(),
            writing: None,
            tally: Tally::default(),
            hints: Hints::default(),
            telling: false,
            heard: ctx.db.listen(),
            looked_at: Instant::now(),
            ctx,
        }
    }

    async fn work(&mut self, stop: &mut watch::Receiver<bool>) {
        let mut ended = Vec::new();
        while !*stop.borrow() {
            self.take_notes();
            self.scheduler.tick(self.ctx.clock.now());
            if self.looked_at.elapsed() >= self.look_every() {
                self.look_everywhere();
            }
            self.start();
            self.ask();
            self.write();
            let sleep = self.sleep();
            tokio::select! {
                _ = self.landed.recv_many(&mut ended, BATCH_MAX) => self.land(&mut ended),
                Some(read) = self.reads.join_next() => self.take_read(read.ok()),
                verdicts = written(&mut self.writing) => self.take_verdicts(verdicts),
                () = self.notes.notified() => {}
                Some(heard) = self.heard.recv() => self.take_hints(heard),
                _ = self.wakes.changed() => self.look_everywhere(),
                Ok(()) = self.leases.changed() => self.take_leases(),
                () = tokio::time::sleep(sleep) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Starts nothing more; ends when every result is written.
    async fn finish(&mut self) {
        let mut ended = Vec::new();
        loop {
            self.write();
            if self.scheduler.at_risk() == 0 && self.writing.is_none() {
                break;
            }
            tokio::select! {
                _ = self.landed.recv_many(&mut ended, BATCH_MAX) => self.land(&mut ended),
                verdicts = written(&mut self.writing) => self.take_verdicts(verdicts),
            }
        }
        if let Err(error) = self.tally.write(&self.ctx.db).await {
            tracing::warn!(error = %error, "the last sums by the minute can't be written");
        }
    }

    /// Takes what transactions handed over.
    fn take_notes(&mut self) {
        let taken = self.notes.take();
        let now = self.ctx.clock.now();
        for note in taken.notes {
            if !self.is_ours(note.webhook()) {
                self.hints.add(&note);
                continue;
            }
            match note {
                Note::Fresh(fresh) => {
                    let id = fresh.webhook;
                    if !self.scheduler.offer(fresh, now) {
                        self.changed.insert(id);
                    }
                }
                Note::Changed(id) => {
                    self.changed.insert(id);
                }
                Note::Due(id) => self.scheduler.look(id, now),
            }
        }
        if taken.missed {
            self.look_everywhere();
        }
    }

    fn is_ours(&self, webhook: WebhookId) -> bool {
        self.leases.borrow().epoch(webhook).is_some()
    }

    /// Takes what other processes told.
    fn take_hints(&mut self, heard: Heard) {
        let now = self.ctx.clock.now();
        match heard {
            Heard::Lost => self.look_everywhere(),
            Heard::Hint(text) => {
                let ours: Vec<_> = hints::parse(&text).filter(|(_, id)| self.is_ours(*id)).collect();
                for (kind, id) in ours {
                    match kind {
                        hints::Kind::Due => self.scheduler.look(id, now),
                        hints::Kind::Changed => {
                            self.changed.insert(id);
                        }
                    }
                }
            }
        }
    }

    fn look_everywhere(&mut self) {
        self.looked_at = Instant::now();
        self.changed_all = true;
        self.scheduler.look_everywhere(self.ctx.clock.now());
    }

    /// Starts what is ready and has a slot.
    fn start(&mut self) {
        if !self.leases.borrow().holds() {
            return;
        }
        let now = self.ctx.clock.now();
        while let Some(start) = self.scheduler.next_start(now) {
            self.ctx.metrics.attempts_in_flight.inc();
            tokio::spawn(fly(self.ctx.clone(), start, self.landing.clone()));
        }
    }

    /// Asks the database for what lanes and changed webhooks need.
    fn ask(&mut self) {
        let db = &self.ctx.db;
        let questions = self.scheduler.questions(self.ctx.clock.now());
        if !questions.is_empty() {
            self.reads.spawn(answers(db.clone(), questions));
        }
        if !self.loading && (self.changed_all || !self.changed.is_empty()) {
            self.loading = true;
            let ids = (!std::mem::take(&mut self.changed_all)).then(|| {
                let ids: Vec<WebhookId> = self.changed.iter().copied().take(LOAD_MAX).collect();
                self.changed.retain(|id| !ids.contains(id));
                ids
            });
            self.reads.spawn(webhooks(db.clone(), ids));
        }
        if self.tally.is_due(TALLY_EVERY) {
            let (db, mut tally) = (db.clone(), std::mem::take(&mut self.tally));
            self.reads.spawn(async move { Read::Tally(tally.write(&db).await) });
        }
        if !self.telling && !self.hints.is_empty() {
            self.telling = true;
            let (db, hints) = (db.clone(), std::mem::take(&mut self.hints));
            self.reads.spawn(async move { Read::Told(hints.tell(&db).await) });
        }
    }

    fn take_read(&mut self, read: Option<Read>) {
        let now = self.ctx.clock.now();
        match read {
            Some(Read::Replies(replies)) => {
                for reply in replies {
                    let id = reply.webhook;
                    if !self.scheduler.answered(reply, now) {
                        self.changed.insert(id);
                    }
                }
            }
            Some(Read::Webhooks(ids, webhooks)) => {
                self.loading = false;
                self.take_webhooks(ids, webhooks);
            }
            Some(Read::Told(told)) => {
                self.telling = false;
                if let Err(error) = told {
                    tracing::warn!(error = %error, "other processes can't be told of new deliveries");
                }
            }
            Some(Read::Tally(Err(error))) => tracing::warn!(error = %error, "sums by the minute are lost"),
            Some(Read::Tally(Ok(()))) | None => {}
        }
    }

    /// Brings the lanes in line with the webhooks that were loaded: those of `ids`, or all.
    fn take_webhooks(&mut self, ids: Option<Vec<WebhookId>>, webhooks: Vec<Webhook>) {
        let now = self.ctx.clock.now();
        let owned = self.leases.borrow().clone();
        let all = ids.is_none();
        let mut gone: HashSet<WebhookId> =
            ids.unwrap_or_else(|| self.scheduler.open_lanes()).into_iter().collect();
        for webhook in webhooks {
            let id = webhook.id;
            let Some(epoch) = owned.epoch(id) else { continue };
            // One that became active again just now starts slowly; at our own start nothing is known of any.
            let cap = if !all && webhook.activation > 1 { 1 } else { CAP_FIRST };
            match Subscriber::new(webhook, &self.ctx.key, now) {
                Ok(subscriber) => {
                    gone.remove(&id);
                    self.scheduler.open(subscriber.into(), epoch, cap, now);
                }
                Err(error) => {
                    tracing::error!(webhook.id = id.0, error = %error, "a webhook can't be signed for");
                }
            }
        }
        for id in gone {
            self.scheduler.close(id, now);
        }
        self.tell_busy();
    }

    /// The leases changed: lanes of shards that are no longer ours are closed, those that became ours are loaded.
    fn take_leases(&mut self) {
        let (owned, now) = (self.leases.borrow_and_update().clone(), self.ctx.clock.now());
        for id in self.scheduler.open_lanes() {
            if owned.epoch(id).is_none() {
                self.scheduler.close(id, now);
            }
        }
        self.changed_all = true;
        self.tell_busy();
    }

    /// Tells the keeper of the leases which shards that we don't own any more still have requests under way.
    fn tell_busy(&self) {
        if self.node.is_none() {
            return;
        }
        let busy: BTreeSet<i64> = self.scheduler.closing_lanes().map(shards::shard_of).collect();
        self.busy.send_if_modified(|told| {
            let changed = *told != busy;
            *told = busy;
            changed
        });
    }

    /// Until something may be to be done that nothing tells of.
    fn sleep(&self) -> Duration {
        let now = self.ctx.clock.now();
        let timer = self.scheduler.next_at().map(|at| at.since(now));
        let look = self.look_every().saturating_sub(self.looked_at.elapsed());
        let tally = self.tally.due_in(TALLY_EVERY);
        let sleep = timer.into_iter().chain(tally).chain([look]).min().unwrap_or(look);
        sleep.max(Duration::from_millis(1))
    }

    fn look_every(&self) -> Duration {
        if self.ctx.db.is_shared() { LOOK_EVERY_SHARED } else { LOOK_EVERY }
    }

    /// Attempts ended: their slots are free, their results are to be written.
    fn land(&mut self, ended: &mut Vec<Ended>) {
        let now = self.ctx.clock.now();
        for ended in ended.drain(..) {
            self.ctx.metrics.attempts_in_flight.dec();
            self.ctx.metrics.attempts.get_or_create(&AttemptLabels { outcome: word(&ended.outcome) }).inc();
            self.tally.add(ended.webhook, &ended.outcome);
            self.scheduler.landed(ended.webhook, ended.event, landing(&ended.outcome), now);
            self.results.push(ended);
        }
    }

    /// Has results written: all that are there, sharing a commit. What lands meanwhile goes with the next batch, so
    /// batches grow with the load.
    fn write(&mut self) {
        if self.writing.is_none() && !self.results.is_empty() {
            let rest = self.results.split_off(self.results.len().min(BATCH_MAX));
            let batch = std::mem::replace(&mut self.results, rest);
            self.writing = Some(tokio::spawn(write(self.ctx.clone(), self.node, batch)));
        }
    }

    fn take_verdicts(&mut self, verdicts: Vec<Written>) {
        self.writing = None;
        let now = self.ctx.clock.now();
        for written in verdicts {
            if written.verdict == Verdict::Fenced {
                self.changed_all = true;
            }
            self.scheduler.written(written, now);
        }
        self.tell_busy();
    }
}

/// Waits for the batch that is being written; for ever if there is none.
async fn written(writing: &mut Option<JoinHandle<Vec<Written>>>) -> Vec<Written> {
    match writing {
        Some(handle) => handle.await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

/// Answers questions, however long the database takes. If it refuses them together each is asked alone, so that one
/// row that can't be read holds up its own webhook only.
async fn answers(db: Db, questions: Vec<Question>) -> Read {
    let read = async |asked: Vec<Question>| {
        db.read("webhooks.due", move |tx| asked.iter().map(|question| due::answer(tx, question)).collect())
            .await
    };
    loop {
        match read(questions.clone()).await {
            Ok(replies) => return Read::Replies(replies),
            Err(error @ (db::Error::Internal(_) | db::Error::Constraint(_))) => {
                tracing::error!(error = %error, "the delivery engine can't read what is due");
                break;
            }
            Err(error) => tracing::error!(error = %error, "the delivery engine can't read what is due"),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    let mut replies = Vec::new();
    for question in questions {
        let reply = read(vec![question.clone()]).await.ok().and_then(|mut replies| replies.pop());
        replies.push(reply.unwrap_or_else(|| Reply::unreadable(&question)));
    }
    Read::Replies(replies)
}

/// The active webhooks among `ids`, or all, however long the database takes.
async fn webhooks(db: Db, ids: Option<Vec<WebhookId>>) -> Read {
    loop {
        let asked = ids.clone();
        match db.read("webhooks.active", move |tx| load(tx, asked.as_deref())).await {
            Ok(webhooks) => return Read::Webhooks(ids, webhooks),
            Err(error) => tracing::error!(error = %error, "the delivery engine can't read the webhooks"),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// The active webhooks among `ids`, or all.
///
/// # Errors
/// The database's.
pub fn load(tx: &mut db::Tx<'_>, ids: Option<&[WebhookId]>) -> db::Result<Vec<Webhook>> {
    let active =
        sql(format!("select {COLUMNS} from webhooks where status = 'active' and deleted_at is null"));
    tx.all(match ids {
        Some(ids) => active.and(" and id {{in_ids}}").bind_ids(ids.iter().map(|id| id.0)),
        None => active,
    })
}

/// One attempt on its way. However it ends, a result comes of it.
async fn fly(ctx: Ctx, start: Start, landing: mpsc::UnboundedSender<Ended>) {
    let Start { subscriber, epoch, ready } = start;
    let (webhook, event) = (&subscriber.webhook, &*ready.event);
    let target = &webhook.settings.target;
    let id = id::delivery_id(&event.uid, webhook.id);
    let body = events::body(&event.kind, &event.object, &event.data, event.occurred_at, webhook.id, target);
    let parcel = Parcel { id: &id, body, test: false };
    let (timeout, recipient) = (ctx.config.webhooks.timeout, &subscriber.recipient);
    let sending = attempt::send(&ctx.to_webhooks, &ctx.clock, timeout, recipient, parcel);
    let outcome = AssertUnwindSafe(sending).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| Outcome::broken(target, ctx.clock.now()));
    let ended = Ended {
        webhook: webhook.id,
        event: event.id,
        company: webhook.company_id,
        event_type: event.kind.clone(),
        created_at: event.occurred_at,
        epoch,
        activation: webhook.activation,
        failing: webhook.failing_since.is_some(),
        earlier: ready.attempts,
        outcome,
    };
    // The engine waits for all before it ends.
    let _ = landing.send(ended);
}

fn landing(outcome: &Outcome) -> Landing {
    let timed_out = outcome.error == Some(FailureKind::Timeout);
    Landing {
        success: outcome.success,
        timed_out,
        congested: timed_out || matches!(outcome.status_code, Some(429 | 503)),
        duration: outcome.duration,
    }
}

/// The attempt's outcome for the metrics.
fn word(outcome: &Outcome) -> &'static str {
    match outcome.error {
        None if outcome.success => "success",
        None => "refused",
        Some(kind) => kind.as_str(),
    }
}

/// Writes a batch until the database has it: without it nothing could be decided anyway.
async fn write(ctx: Ctx, node: Option<NodeId>, batch: Vec<Ended>) -> Vec<Written> {
    let keys: Vec<_> = batch.iter().map(|ended| (ended.webhook, ended.event, ended.activation)).collect();
    let batch = Arc::new(batch);
    let verdicts = match write_together(&ctx, node, batch.clone()).await {
        Ok(verdicts) => verdicts,
        Err(error) => {
            tracing::error!(error = %error, "a batch of results is refused; each is written alone");
            let mut verdicts = Vec::new();
            for ended in batch.iter() {
                let alone = Arc::new(vec![ended.clone()]);
                verdicts.extend(write_together(&ctx, node, alone).await.unwrap_or_else(|error| {
                    tracing::error!(error = %error, "a result can't be written");
                    vec![Verdict::Stuck]
                }));
            }
            verdicts
        }
    };
    let written = |((webhook, event, activation), verdict)| Written { webhook, event, activation, verdict };
    keys.into_iter().zip(verdicts).map(written).collect()
}

/// # Errors
/// The database refuses it for good.
async fn write_together(ctx: &Ctx, node: Option<NodeId>, batch: Arc<Vec<Ended>>) -> db::Result<Vec<Verdict>> {
    loop {
        let (batch, gaps) = (batch.clone(), ctx.config.webhooks.retry_schedule.clone());
        let write = ctx.db.write("webhooks.record", move |tx| record::batch(tx, &gaps, node, &batch));
        match write.await {
            Err(error @ (db::Error::Unavailable(_) | db::Error::Busy)) => {
                tracing::error!(error = %error, "results can't be written and are kept");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            done => return done,
        }
    }
}
