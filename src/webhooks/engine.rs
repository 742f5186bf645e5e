//! The engine: picks deliveries that are due, sends them, and writes down what came of it. The rows are
//! the truth; what is in memory is only who is on the way, so there is nothing to repair after a crash:
//! whatever was in flight is still pending and is sent again.
//!
//! One process at a time runs it (`db::Lead`). A webhook has a few requests in flight at most, so that
//! one that hangs costs the others nothing; one that was just verified again starts with a single one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::attempt::{self, Parcel};
use super::record::{self, Ended};
use super::{COLUMNS, Secret, Webhook};
use crate::ctx::Ctx;
use crate::db::{self, FromRow, Row, Tx, Wake, sql};
use crate::events;
use crate::kernel::clock::Micros;
use crate::kernel::id::{self, DeliveryId, WebhookId};
use crate::metrics::AttemptLabels;

/// Requests in flight to one webhook at most.
const LANE_MAX: usize = 8;
/// A lane that was just reactivated starts with one request in flight and gets another each time this
/// many succeeded.
const SLOW_START_STEP: u32 = 8;
/// Requests in flight over all webhooks at most: each holds a socket and a body.
const IN_FLIGHT_MAX: usize = 512;
/// Looks at all webhooks even if nobody asked: a lost wake-up costs this at most.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The same where other processes append events too, whose wake-ups don't reach this one.
const LOOK_EVERY_SHARED: Duration = Duration::from_secs(2);
/// Waits this long before it tries again to write results that the database didn't take.
const RECORD_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Runs until `stop` turns true; then waits for the requests in flight and writes their results.
pub async fn run(ctx: Ctx, mut stop: watch::Receiver<bool>) {
    let mut wakes = ctx.db.wakes().subscribe(Wake::Deliveries);
    let mut engine = Engine {
        ctx,
        lanes: HashMap::new(),
        flights: JoinSet::new(),
        look: Look::Everywhere,
        crowded: false,
        last_asked: WebhookId(0),
        looked_everywhere_at: Instant::now(),
    };
    while !*stop.borrow() {
        let sleep = engine.fill().await;
        tokio::select! {
            ended = engine.flights.join_next(), if !engine.flights.is_empty() => engine.land(ended).await,
            _ = wakes.changed() => engine.look = Look::Everywhere,
            () = tokio::time::sleep(sleep) => engine.look_where_due(),
            _ = stop.changed() => {}
        }
    }
    while let Some(ended) = engine.flights.join_next().await {
        engine.land(Some(ended)).await;
    }
}

struct Engine {
    ctx: Ctx,
    lanes: HashMap<WebhookId, Lane>,
    flights: JoinSet<Ended>,
    look: Look,
    /// Some lane had to wait for a slot of [`IN_FLIGHT_MAX`].
    crowded: bool,
    /// Whose turn it was last.
    last_asked: WebhookId,
    looked_everywhere_at: Instant,
}

/// Where new work may be.
enum Look {
    Everywhere,
    At(HashSet<WebhookId>),
}

/// One active webhook in memory.
struct Lane {
    webhook: Webhook,
    secrets: Vec<Secret>,
    in_flight: HashSet<DeliveryId>,
    /// Requests that may be in flight now.
    cap: usize,
    successes: u32,
    /// What was held before this activation may still be there.
    backlog: bool,
    next_due: Option<Micros>,
    bucket: Option<Bucket>,
}

/// A rate limit: tokens come at `per_s`, one is taken for each request.
struct Bucket {
    per_s: f64,
    tokens: f64,
    at: Micros,
}

impl Bucket {
    /// Whole tokens at `now`.
    fn available(&mut self, now: Micros) -> usize {
        let most = self.per_s.max(1.0);
        self.tokens = (self.tokens + now.since(self.at).as_secs_f64() * self.per_s).min(most);
        self.at = now;
        // At most `per_s`, which is a setting of limited size.
        self.tokens as usize
    }

    fn next_at(&self) -> Micros {
        self.at.after(Duration::from_secs_f64((1.0 - self.tokens).max(0.0) / self.per_s))
    }
}

impl Lane {
    fn new(webhook: Webhook, secrets: Vec<Secret>, cap: usize, now: Micros) -> Lane {
        let bucket =
            webhook.settings.rate_per_s.map(|per_s| Bucket { per_s, tokens: per_s.max(1.0), at: now });
        Lane {
            webhook,
            secrets,
            in_flight: HashSet::new(),
            cap,
            successes: 0,
            backlog: true,
            next_due: None,
            bucket,
        }
    }

    /// Takes over new settings; a new activation starts slowly.
    fn renew(&mut self, webhook: Webhook, secrets: Vec<Secret>, now: Micros) {
        let reactivated = webhook.activation != self.webhook.activation;
        if reactivated || webhook.settings.rate_per_s != self.webhook.settings.rate_per_s {
            let in_flight = std::mem::take(&mut self.in_flight);
            let cap = if reactivated { 1 } else { self.cap };
            *self = Lane { in_flight, ..Lane::new(webhook, secrets, cap, now) };
        } else {
            (self.webhook, self.secrets) = (webhook, secrets);
        }
    }

    fn free(&self) -> usize {
        self.cap.saturating_sub(self.in_flight.len())
    }

    fn landed(&mut self, ended: &Ended) {
        self.in_flight.remove(&ended.delivery);
        if !ended.outcome.success {
            return;
        }
        self.successes += 1;
        if self.successes.is_multiple_of(SLOW_START_STEP) {
            self.cap = (self.cap + 1).min(LANE_MAX);
        }
    }
}

/// A delivery that is due, with all that its body needs.
struct Due {
    id: DeliveryId,
    uid: String,
    kind: String,
    object: String,
    data: Box<RawValue>,
    occurred_at: Micros,
    attempts: u32,
}

impl FromRow for Due {
    fn from_row(row: &mut Row<'_>) -> db::Result<Due> {
        let (id, uid, kind, object) = (row.get()?, row.get()?, row.get()?, row.get()?);
        let data = RawValue::from_string(row.get()?)
            .map_err(|e| db::Error::Internal(format!("the data of delivery {id:?}: {e}")))?;
        Ok(Due { id, uid, kind, object, data, occurred_at: row.get()?, attempts: row.get()? })
    }
}

/// What a lane asks the database for.
#[derive(Clone)]
struct Question {
    webhook: WebhookId,
    activation: i64,
    revision: i64,
    backlog: bool,
    limit: i64,
}

struct Reply {
    webhook: WebhookId,
    backlog: bool,
    due: Vec<Due>,
    next_due: Option<Micros>,
}

impl Engine {
    /// Starts what is due and has a slot; gives the time until something else may be.
    async fn fill(&mut self) -> Duration {
        let every = if self.ctx.db.is_shared() { LOOK_EVERY_SHARED } else { LOOK_EVERY };
        if self.looked_everywhere_at.elapsed() >= every {
            self.look = Look::Everywhere;
        }
        if let Err(error) = self.start_due().await {
            tracing::error!(error = %error, "the delivery engine can't read the database");
            self.look = Look::Everywhere;
            return RECORD_AGAIN_AFTER;
        }
        let now = self.ctx.clock.now();
        let next = self.lanes.values().filter(|lane| lane.free() > 0).filter_map(|lane| lane.next_due).min();
        let rest = every.saturating_sub(self.looked_everywhere_at.elapsed());
        next.map_or(rest, |at| at.since(now).min(rest)).max(Duration::from_millis(1))
    }

    /// The timer went off: for a lane whose time has come, or because nobody asked for long.
    fn look_where_due(&mut self) {
        let now = self.ctx.clock.now();
        let is_due = |lane: &Lane| lane.next_due.is_some_and(|at| at <= now);
        let due: HashSet<_> = self.lanes.iter().filter(|(_, lane)| is_due(lane)).map(|(id, _)| *id).collect();
        self.look = if due.is_empty() { Look::Everywhere } else { Look::At(due) };
    }

    async fn start_due(&mut self) -> anyhow::Result<()> {
        let look = std::mem::replace(&mut self.look, Look::At(HashSet::new()));
        if matches!(look, Look::Everywhere) {
            self.looked_everywhere_at = Instant::now();
            self.reload().await?;
        }
        let mut waiting = self.turns(&look);
        // Slots are only taken by what is really due, so a chunk that has nothing leaves them to the next.
        loop {
            let questions = self.questions(&look, &mut waiting);
            if questions.is_empty() {
                return Ok(());
            }
            let replies = self
                .ctx
                .db
                .read("webhooks.due", move |tx| {
                    questions.iter().map(|question| answer(tx, question)).collect::<db::Result<Vec<_>>>()
                })
                .await?;
            for reply in replies {
                self.start(reply);
            }
        }
    }

    /// The lanes to look at, each time beginning behind the one that was asked last: with too few slots for
    /// all, each has its turn.
    fn turns(&mut self, look: &Look) -> VecDeque<WebhookId> {
        let asked = |id: &&WebhookId| !matches!(look, Look::At(some) if !some.contains(*id));
        let mut ids: Vec<_> = self.lanes.keys().filter(asked).copied().collect();
        ids.sort_unstable();
        let next = ids.partition_point(|id| *id <= self.last_asked);
        ids.rotate_left(next);
        self.crowded = false;
        ids.into()
    }

    /// Brings the lanes in line with the active webhooks.
    async fn reload(&mut self) -> anyhow::Result<()> {
        let webhooks: Vec<Webhook> = self
            .ctx
            .db
            .read("webhooks.active", |tx| {
                tx.all(sql(format!(
                    "select {COLUMNS} from webhooks where status = 'active' and deleted_at is null"
                )))
            })
            .await?;
        let now = self.ctx.clock.now();
        let active: HashSet<WebhookId> = webhooks.iter().map(|w| w.id).collect();
        // A lane that is no longer active stays until its requests have landed, so that they count.
        self.lanes.retain(|id, lane| active.contains(id) || !lane.in_flight.is_empty());
        for (id, lane) in &mut self.lanes {
            if !active.contains(id) {
                (lane.cap, lane.next_due) = (0, None);
            }
        }
        for webhook in webhooks {
            let secrets = match webhook.secrets(&self.ctx.key, now) {
                Ok(secrets) => secrets,
                Err(error) => {
                    tracing::error!(webhook.id = webhook.id.0, error = %error, "a webhook can't be signed for");
                    continue;
                }
            };
            match self.lanes.get_mut(&webhook.id) {
                Some(lane) => lane.renew(webhook, secrets, now),
                None => {
                    let cap = if webhook.activation > 1 { 1 } else { LANE_MAX };
                    self.lanes.insert(webhook.id, Lane::new(webhook, secrets, cap, now));
                }
            }
        }
        Ok(())
    }

    fn questions(&mut self, look: &Look, waiting: &mut VecDeque<WebhookId>) -> Vec<Question> {
        let now = self.ctx.clock.now();
        let mut room = IN_FLIGHT_MAX.saturating_sub(self.flights.len());
        let mut questions = Vec::new();
        while let Some(id) = waiting.pop_front() {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            if room == 0 && lane.free() > 0 {
                waiting.push_front(id);
                self.crowded = self.flights.len() >= IN_FLIGHT_MAX;
                break;
            }
            if matches!(look, Look::Everywhere) {
                // Another transaction may have appended by the activation before this one, and committed since.
                lane.backlog = true;
            }
            let tokens = lane.bucket.as_mut().map_or(usize::MAX, |bucket| bucket.available(now));
            let take = lane.free().min(room).min(tokens);
            if take == 0 {
                if tokens == 0 {
                    lane.next_due = lane.bucket.as_ref().map(Bucket::next_at);
                }
                continue;
            }
            room -= take;
            self.last_asked = id;
            // Those in flight are still pending in the database: they come along and are skipped.
            let limit = i64::try_from(take + lane.in_flight.len()).unwrap_or(i64::MAX);
            questions.push(Question {
                webhook: id,
                activation: lane.webhook.activation,
                revision: lane.webhook.revision,
                backlog: lane.backlog,
                limit,
            });
        }
        questions
    }

    fn start(&mut self, reply: Reply) {
        let Some(lane) = self.lanes.get_mut(&reply.webhook) else { return };
        lane.backlog = reply.backlog;
        lane.next_due = reply.next_due;
        for due in reply.due {
            let limited = lane.bucket.as_ref().is_some_and(|bucket| bucket.tokens < 1.0);
            if lane.free() == 0 || limited {
                // The next one that lands, or the next token, looks here again.
                break;
            }
            if !lane.in_flight.insert(due.id) {
                continue;
            }
            if let Some(bucket) = &mut lane.bucket {
                bucket.tokens -= 1.0;
            }
            self.flights.spawn(fly(self.ctx.clone(), lane.webhook.clone(), lane.secrets.clone(), due));
        }
        if let Some(bucket) = lane.bucket.as_ref().filter(|bucket| bucket.tokens < 1.0) {
            lane.next_due = Some(bucket.next_at());
        }
    }

    /// Writes down what landed: all that is there, sharing a commit. The slots are free only after that,
    /// so nothing is sent twice because its result wasn't written yet.
    async fn land(&mut self, first: Option<Result<Ended, tokio::task::JoinError>>) {
        let mut landed = Vec::new();
        let mut next = first;
        while let Some(ended) = next {
            match ended {
                Ok(ended) => landed.push(ended),
                Err(error) => tracing::error!(error = %error, "an attempt ended without a result"),
            }
            next = self.flights.try_join_next();
        }
        let lost = self.record(&landed).await;
        for ended in landed.iter().filter(|ended| !lost.contains(&ended.delivery)) {
            if let Some(lane) = self.lanes.get_mut(&ended.webhook) {
                lane.landed(ended);
            }
            if let Look::At(some) = &mut self.look {
                some.insert(ended.webhook);
            }
        }
        if self.crowded {
            self.look = Look::Everywhere;
        }
    }

    /// Writes results until the database has them: without them nothing could be decided anyway. One that the
    /// database refuses for good is a bug of ours; it is given back, and its delivery keeps its slot, so that it
    /// isn't sent over and over, and holds up nobody else.
    async fn record(&self, landed: &[Ended]) -> HashSet<DeliveryId> {
        let mut lost = HashSet::new();
        let mut left = landed.to_vec();
        while !left.is_empty() {
            let writes = left.iter().map(|ended| {
                let (ended, gaps) = (ended.clone(), self.ctx.config.webhooks.retry_schedule.clone());
                self.ctx.db.write("webhooks.record", move |tx| record::attempt(tx, &gaps, &ended))
            });
            let results = join_all(writes).await;
            let mut again = Vec::new();
            for (ended, result) in left.into_iter().zip(results) {
                let Err(error) = result else { continue };
                tracing::error!(delivery.row = ended.delivery.0, error = %error, "a result can't be written");
                match error {
                    db::Error::Unavailable(_) | db::Error::Busy => again.push(ended),
                    db::Error::Constraint(_) | db::Error::Internal(_) => drop(lost.insert(ended.delivery)),
                }
            }
            left = again;
            if !left.is_empty() {
                tokio::time::sleep(RECORD_AGAIN_AFTER).await;
            }
        }
        lost
    }
}

/// One attempt on its way.
async fn fly(ctx: Ctx, webhook: Webhook, secrets: Vec<Secret>, due: Due) -> Ended {
    let target = &webhook.settings.target;
    let parcel = Parcel {
        id: &id::delivery_id(&due.uid, webhook.id),
        target,
        body: events::body(&due.kind, &due.object, &due.data, due.occurred_at, webhook.id, target),
        secrets: &secrets,
        headers: &webhook.settings.headers,
        accept_any_2xx: webhook.settings.accept_any_2xx,
        test: false,
    };
    ctx.metrics.attempts_in_flight.inc();
    let outcome = attempt::send(&ctx.to_webhooks, &ctx.clock, ctx.config.webhooks.timeout, parcel).await;
    ctx.metrics.attempts_in_flight.dec();
    let word = match outcome.error {
        None if outcome.success => "success",
        None => "refused",
        Some(kind) => kind.as_str(),
    };
    ctx.metrics.attempts.get_or_create(&AttemptLabels { outcome: word }).inc();
    Ended {
        delivery: due.id,
        webhook: webhook.id,
        activation: webhook.activation,
        earlier: due.attempts,
        outcome,
    }
}

const DUE: &str = "select d.id, e.uid, e.type, e.object, e.data, e.occurred_at, d.attempts
    from deliveries d join events e on e.id = d.event_id where d.webhook_id = ? and d.state = 'pending'";

/// Whether the webhook is still as the lane knows it. In one snapshot with the deliveries, so that what was
/// made after a change never goes out by the settings from before; if it isn't, the
/// wake-up that came with the change brings the new ones.
fn is_current(tx: &mut Tx<'_>, question: &Question) -> db::Result<bool> {
    let statement =
        "select 1 from webhooks where id = ? and status = 'active' and revision = ? and deleted_at is null";
    let found: Option<(i64,)> = tx.find(sql(statement).bind(question.webhook).bind(question.revision))?;
    Ok(found.is_some())
}

/// What was held comes first, oldest first; then what is due by the clock.
fn answer(tx: &mut Tx<'_>, question: &Question) -> db::Result<Reply> {
    if !is_current(tx, question)? {
        return Ok(Reply { webhook: question.webhook, backlog: true, due: Vec::new(), next_due: None });
    }
    let mut due: Vec<Due> = Vec::new();
    if question.backlog {
        let statement = format!("{DUE} and d.activation < ? order by d.id limit ?");
        due = tx.all(sql(statement).bind(question.webhook).bind(question.activation).bind(question.limit))?;
    }
    let found = i64::try_from(due.len()).unwrap_or(i64::MAX);
    let backlog = found > 0;
    let now = tx.now();
    if found < question.limit {
        let statement = format!(
            "{DUE} and d.activation = ? and d.next_attempt_at <= ? order by d.next_attempt_at, d.id limit ?"
        );
        due.extend(
            tx.all::<Due>(
                sql(statement)
                    .bind(question.webhook)
                    .bind(question.activation)
                    .bind(now)
                    .bind(question.limit - found),
            )?,
        );
    }
    let (next_due,): (Option<Micros>,) = tx.one(
        sql("select min(next_attempt_at) from deliveries
             where webhook_id = ? and state = 'pending' and activation = ? and next_attempt_at > ?")
        .bind(question.webhook)
        .bind(question.activation)
        .bind(now),
    )?;
    Ok(Reply { webhook: question.webhook, backlog, due, next_due })
}
