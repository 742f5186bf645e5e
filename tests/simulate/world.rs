//! The world around the engine: companies, webhooks, receivers, owners, and the engine's memory, which a crash takes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use calltracker::companies::{self, NewCompany, Scope};
use calltracker::db::{self, Db, Note, Reader, sql};
use calltracker::events::{self, EventType};
use calltracker::kernel::clock::{Clock, Micros};
use calltracker::kernel::id::{EventId, WebhookId};
use calltracker::kernel::secret::SecretKey;
use calltracker::kernel::seed::Seed;
use calltracker::outbound::FailureKind;
use calltracker::webhooks::parts::{
    self, CAP_FIRST, CAP_MAX, Ended, Landing, Reply, Scheduler, Start, Subscriber, Verdict, Written,
};
use calltracker::webhooks::{self, Outcome, Settings, Status};
use serde_json::json;

use crate::database::TestDatabase;
use crate::oracle::{GAPS, Key, Oracle};

const COMPANIES: u64 = 2;
const WEBHOOKS_EACH: usize = 3;
/// 2026-03-09T09:00:00Z.
const START: Micros = Micros(1_773_046_800_000_000);
/// A request is given up after this.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How a receiver is.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Well,
    Broken,
    Busy,
    Slow,
    Dead,
}

const MOODS: [Mood; 5] = [Mood::Well, Mood::Broken, Mood::Busy, Mood::Slow, Mood::Dead];

/// A request on its way, and how it will end.
struct Flight {
    start: Start,
    started: Micros,
    ends: Micros,
    mood: Mood,
}

/// What a crash takes.
struct Memory {
    scheduler: Scheduler,
    notes: Reader,
    changed: HashSet<WebhookId>,
    flights: Vec<Flight>,
    /// Read from the database, and not looked at yet.
    replies: VecDeque<Vec<Reply>>,
    results: Vec<Ended>,
}

pub struct World {
    seed: Seed,
    clock: Clock,
    db: Db,
    key: SecretKey,
    oracle: Oracle,
    moods: HashMap<WebhookId, Mood>,
    companies: Vec<Scope>,
    webhooks: Vec<(Scope, WebhookId)>,
    memory: Memory,
    // Dropped last.
    _database: TestDatabase,
}

impl World {
    pub async fn new(seed: u64) -> World {
        let (database, seed) = (TestDatabase::create(), Seed::fixed(seed));
        let clock = Clock::manual(START);
        let db = Db::open(&database.location, clock.clone(), Seed::fixed(1)).unwrap();
        let memory = Memory::new(&db);
        let mut world = World {
            key: SecretKey::generate(&seed),
            seed,
            clock,
            db,
            oracle: Oracle::default(),
            moods: HashMap::new(),
            companies: Vec::new(),
            webhooks: Vec::new(),
            memory,
            _database: database,
        };
        for n in 0..COMPANIES {
            world.found_company(n).await;
        }
        world.load(None).await;
        world
    }

    async fn found_company(&mut self, n: u64) {
        let key = self.key.clone();
        let made = write(&self.db, move |tx| {
            let (time_zone, country) = ("UTC".to_owned(), "US".to_owned());
            let new = NewCompany {
                name: format!("Company {n}"),
                time_zone,
                country,
                billing_day: 1,
                source_days: 30,
            };
            let scope = Scope::of(companies::create(tx, &new)?.id);
            let mut ids = Vec::new();
            for _ in 0..WEBHOOKS_EACH {
                let webhook = webhooks::create(tx, scope, &key, &settings())?.0;
                assert!(webhooks::verified(tx, scope, webhook.id, &webhook.settings.target)?);
                ids.push(webhook.id);
            }
            db::Result::Ok((scope, ids))
        });
        let (scope, ids) = made.await;
        self.companies.push(scope);
        self.webhooks.extend(ids.into_iter().map(|id| (scope, id)));
    }

    fn now(&self) -> Micros {
        self.clock.now()
    }

    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.seed.below(bound as u64)).unwrap()
    }

    fn some_webhook(&self) -> (Scope, WebhookId) {
        self.webhooks[self.below(self.webhooks.len())]
    }

    /// One thing happens.
    pub async fn step(&mut self) {
        match self.below(100) {
            0..15 => self.append(1).await,
            15..30 => self.take_notes(),
            30..42 => self.ask().await,
            42..54 => self.hear(),
            54..68 => self.send(),
            68..78 => self.land(),
            78..88 => self.write(true).await,
            88..92 => self.pass_time(),
            92..94 => self.change_mood(),
            94..97 => self.own().await,
            97 => self.resend().await,
            98 => self.load(None).await,
            _ => self.crash().await,
        }
        self.check_bounds();
    }

    /// One thing happens of those that happen all day: nothing that makes the engine look at all rows, so that what it
    /// overlooks stays overlooked. Now and then there is more than a lane keeps in memory.
    pub async fn calm_step(&mut self) {
        match self.below(70) {
            0 => self.append(100).await,
            1..10 => self.append(1).await,
            10..25 => self.take_notes(),
            25..35 => self.ask().await,
            35..40 => self.hear(),
            40..50 => self.send(),
            50..60 => self.land(),
            _ => self.write(false).await,
        }
        self.check_bounds();
    }

    async fn append(&mut self, count: usize) {
        let scope = self.companies[self.below(self.companies.len())];
        let append =
            move |tx: &mut db::Tx<'_>| events::append(tx, scope, EventType::MessageSent, &json!({"id": 1}));
        for _ in 0..count {
            write(&self.db, append).await;
        }
    }

    fn take_notes(&mut self) {
        let (taken, now) = (self.memory.notes.take(), self.now());
        for note in taken.notes {
            match note {
                Note::Fresh(fresh) => {
                    let id = fresh.webhook;
                    if !self.memory.scheduler.offer(fresh, now) {
                        self.memory.changed.insert(id);
                    }
                }
                Note::Changed(id) => {
                    self.memory.changed.insert(id);
                }
                Note::Due(id) => self.memory.scheduler.look(id, now),
            }
        }
    }

    /// The database is asked; the answers are heard later.
    async fn ask(&mut self) {
        let changed: Vec<WebhookId> = self.memory.changed.drain().collect();
        if !changed.is_empty() {
            self.load(Some(changed)).await;
        }
        let questions = self.memory.scheduler.questions(self.now());
        if !questions.is_empty() {
            let asked = read(&self.db, move |tx| questions.iter().map(|q| parts::answer(tx, q)).collect());
            self.memory.replies.push_back(asked.await);
        }
    }

    fn hear(&mut self) {
        let now = self.now();
        for reply in self.memory.replies.pop_front().into_iter().flatten() {
            let id = reply.webhook;
            if !self.memory.scheduler.answered(reply, now) {
                self.memory.changed.insert(id);
            }
        }
    }

    /// As the engine does it, for some webhooks or all.
    async fn load(&mut self, ids: Option<Vec<WebhookId>>) {
        let (now, asked) = (self.now(), ids.clone());
        let loaded = read(&self.db, move |tx| parts::load(tx, asked.as_deref())).await;
        let scheduler = &mut self.memory.scheduler;
        let mut gone: HashSet<_> = ids.unwrap_or_else(|| scheduler.open_lanes()).into_iter().collect();
        for webhook in loaded {
            gone.remove(&webhook.id);
            let subscriber = Subscriber::new(webhook, &self.key, now).unwrap();
            scheduler.open(subscriber.into(), 0, CAP_FIRST, now);
        }
        for id in gone {
            scheduler.close(id, now);
        }
    }

    fn send(&mut self) {
        let now = self.now();
        self.memory.scheduler.tick(now);
        for _ in 0..=self.below(20) {
            let Some(start) = self.memory.scheduler.next_start(now) else { break };
            let id = start.subscriber.webhook.id;
            self.oracle.sent((id, start.ready.event.id), now);
            let mood = self.moods.get(&id).copied().unwrap_or(Mood::Well);
            let ends = now.after(match mood {
                Mood::Well | Mood::Broken | Mood::Busy => Duration::from_millis(1 + self.seed.below(50)),
                Mood::Slow => Duration::from_millis(2_500 + self.seed.below(5_000)),
                Mood::Dead => TIMEOUT,
            });
            self.memory.flights.push(Flight { start, started: now, ends, mood });
        }
    }

    /// Time passes until a request has ended, and others with it.
    fn land(&mut self) {
        let Some(first) = self.memory.flights.iter().map(|flight| flight.ends).min() else { return };
        self.clock.set(self.now().max(first));
        let now = self.now();
        let (ended, rest) = std::mem::take(&mut self.memory.flights).into_iter().partition(|f| f.ends <= now);
        self.memory.flights = rest;
        for flight in Vec::<Flight>::into_iter(ended) {
            let ended = flight.end(now);
            let landing = Landing {
                success: ended.outcome.success,
                timed_out: matches!(flight.mood, Mood::Dead),
                congested: matches!(flight.mood, Mood::Dead | Mood::Busy),
                duration: ended.outcome.duration,
            };
            self.oracle.ended((ended.webhook, ended.event));
            self.memory.scheduler.landed(ended.webhook, ended.event, landing, now);
            self.memory.results.push(ended);
        }
    }

    /// Results are written; sometimes the process dies with the commit, before it hears of it.
    async fn write(&mut self, may_crash: bool) {
        if self.memory.results.is_empty() {
            return;
        }
        let count = 1 + self.below(self.memory.results.len());
        let batch: Vec<Ended> = self.memory.results.drain(..count).collect();
        let written = batch.clone();
        let written_down = write(&self.db, move |tx| parts::batch(tx, &GAPS, None, &written));
        let verdicts: Vec<Verdict> = written_down.await;
        for (ended, verdict) in batch.iter().zip(&verdicts) {
            let retry = if let Verdict::RetryAt(at) = verdict { Some(*at) } else { None };
            let (key, outcome) = ((ended.webhook, ended.event), &ended.outcome);
            let held = ended.activation < self.webhook(ended.webhook).await.activation;
            self.oracle.recorded(key, outcome.started_at, outcome.success, held, retry);
        }
        self.check_deactivated(&batch, &verdicts).await;
        if may_crash && self.below(20) == 0 {
            return self.crash().await;
        }
        let now = self.now();
        for (ended, verdict) in batch.iter().zip(verdicts) {
            let written =
                Written { webhook: ended.webhook, event: ended.event, activation: ended.activation, verdict };
            self.memory.scheduler.written(written, now);
        }
    }

    async fn check_deactivated(&self, batch: &[Ended], verdicts: &[Verdict]) {
        for (ended, verdict) in batch.iter().zip(verdicts) {
            let Verdict::Exhausted { deactivated } = verdict else { continue };
            let webhook = self.webhook(ended.webhook).await;
            let same = webhook.activation == ended.activation;
            if *deactivated || same {
                assert_ne!(webhook.status, Status::Active, "exhausted, and the webhook is active");
            }
        }
    }

    async fn webhook(&self, id: WebhookId) -> webhooks::Webhook {
        let scope = self.webhooks.iter().find(|(_, other)| *other == id).unwrap().0;
        let found = read(&self.db, move |tx| webhooks::find(tx, scope, id)).await;
        found.unwrap()
    }

    /// To the next moment at which something is due, or a little further.
    fn pass_time(&mut self) {
        let next = self.memory.scheduler.next_at();
        let a_little = self.now().after(Duration::from_millis(self.seed.below(3_000)));
        self.clock.set(next.map_or(a_little, |at| at.max(a_little)));
        self.memory.scheduler.tick(self.now());
    }

    fn change_mood(&mut self) {
        let (_, id) = self.some_webhook();
        self.moods.insert(id, MOODS[self.below(MOODS.len())]);
    }

    /// An owner pauses or resumes a webhook, or has it verified.
    async fn own(&mut self) {
        let (scope, id) = self.some_webhook();
        let before = self.webhook(id).await;
        let what = self.below(3);
        let change = write(&self.db, move |tx| match what {
            0 => webhooks::set_paused(tx, scope, id, true).map(drop),
            1 => webhooks::set_paused(tx, scope, id, false).map(drop),
            _ => webhooks::verified(tx, scope, id, &before.settings.target).map(drop),
        });
        change.await;
        if self.webhook(id).await.activation != before.activation {
            self.oracle.reactivated(id);
        }
    }

    async fn resend(&mut self) {
        let (scope, id) = self.some_webhook();
        // One that is under way would be sent twice on purpose: not what is looked for here.
        let busy: HashSet<EventId> =
            self.at_risk().into_iter().filter(|(w, _)| *w == id).map(|(_, e)| e).collect();
        let rows: Vec<(EventId, String)> = self.rows(
            "select d.event_id, e.uid from finished_deliveries d join events e on e.id = d.event_id where d.webhook_id = ?
             order by d.event_id",
            id,
        ).await;
        let rows: Vec<_> = rows.into_iter().filter(|(event, _)| !busy.contains(event)).collect();
        if rows.is_empty() {
            return;
        }
        let (event, uid) = rows[self.below(rows.len())].clone();
        let public = format!("msg_{uid}_{id}");
        let resent = write(&self.db, move |tx| webhooks::resend(tx, scope, id, &public)).await;
        assert!(resent.is_some());
        self.oracle.restarted((id, event));
    }

    async fn rows<T: db::FromRow + Send + 'static>(&self, statement: &'static str, id: WebhookId) -> Vec<T> {
        read(&self.db, move |tx| tx.all::<T>(sql(statement).bind(id))).await
    }

    /// The deliveries whose request is under way or whose result isn't written.
    fn at_risk(&self) -> Vec<Key> {
        let flights =
            self.memory.flights.iter().map(|f| (f.start.subscriber.webhook.id, f.start.ready.event.id));
        flights.chain(self.memory.results.iter().map(|e| (e.webhook, e.event))).collect()
    }

    /// kill -9 and a new start: the memory is gone.
    async fn crash(&mut self) {
        for key in self.at_risk() {
            self.oracle.lost(key);
        }
        self.memory = Memory::new(&self.db);
        self.load(None).await;
    }

    fn check_bounds(&self) {
        let mut in_flight: HashMap<WebhookId, usize> = HashMap::new();
        for flight in &self.memory.flights {
            *in_flight.entry(flight.start.subscriber.webhook.id).or_default() += 1;
        }
        assert!(in_flight.values().all(|n| *n <= CAP_MAX), "{in_flight:?}");
        assert_eq!(self.memory.scheduler.in_flight(), self.memory.flights.len());
        assert_eq!(self.memory.scheduler.at_risk(), self.at_risk().len());
    }

    /// Everybody is well and every webhook verified: whatever is pending goes out, by itself.
    pub async fn settle(&mut self) {
        self.moods.clear();
        // What is under way may still fail, and deactivate a webhook.
        while !self.at_risk().is_empty() {
            self.land();
            self.write(false).await;
        }
        for (scope, id) in self.webhooks.clone() {
            self.verify(scope, id).await;
        }
        for round in 0.. {
            assert!(round < 5_000, "it never ends: {:?}", self.pending().await);
            self.take_notes();
            self.ask().await;
            self.hear();
            self.send();
            self.land();
            while !self.memory.results.is_empty() {
                self.write(false).await;
            }
            let idle = self.memory.flights.is_empty() && self.memory.replies.is_empty();
            if idle && self.pending().await.is_empty() {
                return;
            }
            if idle && self.memory.scheduler.next_at().is_some() {
                self.pass_time();
            }
        }
    }

    async fn verify(&mut self, scope: Scope, id: WebhookId) {
        let before = self.webhook(id).await;
        let target = before.settings.target.clone();
        let verified = write(&self.db, move |tx| {
            webhooks::set_paused(tx, scope, id, false)?;
            webhooks::verified(tx, scope, id, &target)
        });
        assert!(verified.await);
        if self.webhook(id).await.activation != before.activation {
            self.oracle.reactivated(id);
        }
    }

    async fn pending(&self) -> Vec<(WebhookId, EventId)> {
        let statement = "select webhook_id, event_id from deliveries where webhook_id > ?";
        self.rows(statement, WebhookId(0)).await
    }

    pub fn sends(&self) -> usize {
        self.oracle.sends()
    }

    /// Each event has one delivery for each webhook of its company, and each attempt is accounted for.
    pub async fn check_all(&self) {
        for (scope, id) in &self.webhooks {
            let company = scope.company();
            let events: Vec<(EventId,)> = read(&self.db, move |tx| {
                tx.all(sql("select id from events where company_id = ? order by id").bind(company))
            })
            .await;
            let finished: Vec<(EventId, String, i64)> = self.rows(
                "select event_id, state, attempts from finished_deliveries where webhook_id = ? order by event_id",
                *id,
            ).await;
            let told: Vec<EventId> = finished.iter().map(|(event, ..)| *event).collect();
            assert_eq!(told, events.iter().map(|(event,)| *event).collect::<Vec<_>>(), "{id:?}");
            for (event, state, attempts) in finished {
                assert!(["delivered", "exhausted"].contains(&state.as_str()), "{state}");
                let counted = "select event_id from attempts where webhook_id = ? order by event_id, number";
                let rows: Vec<(EventId,)> = self.rows(counted, *id).await;
                let rows = rows.iter().filter(|(of,)| *of == event).count();
                assert_eq!(
                    usize::try_from(attempts).unwrap(),
                    rows,
                    "attempts are counted as they stand there"
                );
                self.oracle.check((*id, event), rows);
            }
        }
    }
}

impl Memory {
    fn new(db: &Db) -> Memory {
        Memory {
            scheduler: Scheduler::default(),
            notes: db.inbox().open(),
            changed: HashSet::new(),
            flights: Vec::new(),
            replies: VecDeque::new(),
            results: Vec::new(),
        }
    }
}

impl Flight {
    fn end(&self, now: Micros) -> Ended {
        let (webhook, event) = (&self.start.subscriber.webhook, &self.start.ready.event);
        let status = match self.mood {
            Mood::Well | Mood::Slow => Some(200),
            Mood::Broken => Some(500),
            Mood::Busy => Some(503),
            Mood::Dead => None,
        };
        let outcome = Outcome {
            started_at: self.started,
            duration: now.since(self.started),
            target: webhook.settings.target.clone(),
            request_headers: "{}".to_owned(),
            status_code: status,
            error: matches!(self.mood, Mood::Dead).then_some(FailureKind::Timeout),
            error_detail: String::new(),
            response_body: String::new(),
            success: status == Some(200),
            retry_after: matches!(self.mood, Mood::Busy).then(|| now.after(Duration::from_secs(600))),
        };
        Ended {
            webhook: webhook.id,
            event: event.id,
            company: webhook.company_id,
            event_type: event.kind.clone(),
            created_at: event.occurred_at,
            epoch: self.start.epoch,
            activation: webhook.activation,
            failing: webhook.failing_since.is_some(),
            earlier: self.start.ready.attempts,
            outcome,
        }
    }
}

fn settings() -> Settings {
    Settings::all_to("https://receiver.example/hook")
}

async fn write<T: Send + 'static>(
    db: &Db,
    work: impl FnMut(&mut db::Tx<'_>) -> db::Result<T> + Send + 'static,
) -> T {
    db.write("test", work).await.unwrap()
}

async fn read<T: Send + 'static>(
    db: &Db,
    work: impl FnMut(&mut db::Tx<'_>) -> db::Result<T> + Send + 'static,
) -> T {
    db.read("test", work).await.unwrap()
}
