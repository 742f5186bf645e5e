//! The product itself at the desk: its own code for giving out numbers and for crediting calls, on a SQLite file in
//! memory, with the clock turned to each moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use calltracker::ctx::Ctx;
use calltracker::db::Tx;
use calltracker::kernel::clock::Clock;
use calltracker::kernel::id::{NumberId, SessionId, VisitorId};
use calltracker::trackers::TrackerView;
use calltracker::trackers::plan::{self, Plan, Question};
use calltracker::trackers::pool::Exhausted;
use calltracker::visits::beats::{Beat, Beats};
use calltracker::visits::session::{self, Arrival, Decision};
use calltracker::visits::sites::{Site, Sites};
use calltracker::visits::source::classify;
use calltracker::visits::{self, Attribution, Touch};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::desk::{Candidate, Desk, Policy, Seat};
use crate::traffic::START;
use crate::world;

const PAGE: &str = "https://www.example.com/";

pub struct Product {
    // Before the context, whose threads it waits for.
    runtime: Runtime,
    ctx: Ctx,
    site: Arc<Site>,
    pool: TrackerView,
    /// Written before anything else happens.
    beats: Beats,
    /// By the number, and by the index.
    indices: HashMap<String, usize>,
    visitors: HashMap<u32, VisitorId>,
    names: HashMap<i64, u32>,
    sessions: HashMap<usize, SessionId>,
    _folder: TempDir,
}

impl Product {
    pub fn new(numbers: u32, policy: Policy, seed: u64) -> anyhow::Result<Product> {
        // Where nothing is written to a disk: what is measured isn't speed.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ctx = world::open(folder.path(), Clock::manual(START), seed)?;
        let exhausted = match policy {
            Policy::Reuse => Exhausted::Reuse,
            Policy::NoSwap => Exhausted::NoSwap,
        };
        let (site, pool) = runtime.block_on(async {
            let company = world::company(&ctx).await?;
            let scope = calltracker::companies::Scope::of(company.id);
            let pool = world::pool(&ctx, scope, numbers, 0, exhausted).await?;
            let site =
                Sites::new(&ctx).find(&ctx, &company.site_key).await?.context("the company has a site")?;
            anyhow::Ok((site, pool))
        })?;
        let numbers = pool.numbers.iter().enumerate();
        let indices = numbers.map(|(n, number)| (number.number.as_str().to_owned(), n)).collect();
        Ok(Product {
            runtime,
            ctx,
            site,
            pool,
            beats: Beats::default(),
            indices,
            visitors: HashMap::new(),
            names: HashMap::new(),
            sessions: HashMap::new(),
            _folder: folder,
        })
    }

    /// What the planner makes of the last days.
    pub fn plan(&self, days: u32, target: f64) -> anyhow::Result<Plan> {
        let (scope, tracker) = (self.site.scope, self.pool.tracker.id);
        let ask = move |tx: &mut Tx<'_>| plan::plan(tx, scope, Question { tracker, target, days });
        self.runtime.block_on(self.ctx.db.read("bench.plan", ask))?.context("it is a pool")
    }

    fn turn(&self, at: Duration) -> anyhow::Result<()> {
        self.runtime.block_on(self.beats.write(&self.ctx))?;
        self.ctx.clock.set(START.after(at));
        Ok(())
    }

    fn seat(&self, decision: &Decision) -> anyhow::Result<Seat> {
        let number = || self.indices.get(&decision.number).copied().context("it is a number of the pool");
        Ok(match decision.outcome.as_str() {
            "free" => Seat::Free(number()?),
            "held" | "returned" => Seat::Returned(number()?),
            "reused" => Seat::TakenOver(number()?),
            "exhausted" => Seat::Blocked,
            other => anyhow::bail!("a pool that is shown to all answered {other}"),
        })
    }

    fn attribute(&self, at: Duration, number: NumberId) -> anyhow::Result<Attribution> {
        let (scope, settings) = (self.site.scope, self.pool.tracker.settings.clone());
        let find =
            move |tx: &mut Tx<'_>| visits::attribute(tx, scope, &settings, number, None, START.after(at));
        Ok(self.runtime.block_on(self.ctx.db.read("bench.attribute", find))?)
    }
}

impl Desk for Product {
    fn begin(&mut self, at: Duration, visit: usize, visitor: u32) -> anyhow::Result<Seat> {
        self.turn(at)?;
        let page = session::page(PAGE, "");
        let arrival = Arrival {
            visitor: self.visitors.get(&visitor).copied(),
            session: self.sessions.get(&visit).copied(),
            touch: Touch::new(&classify(PAGE, ""), &page.url, START.after(at)),
            page,
            ip: None,
            user_agent: String::new(),
            may_take: true,
        };
        let site = self.site.clone();
        let begin = move |tx: &mut Tx<'_>| session::begin(tx, &site, &arrival);
        let begun = self.runtime.block_on(self.ctx.db.write("bench.begin", begin))?;
        self.beats.asked(&begun.asked, START.after(at));
        self.visitors.insert(visitor, begun.visitor);
        self.names.insert(begun.visitor.0, visitor);
        self.sessions.insert(visit, begun.session);
        self.seat(begun.decisions.first().context("the site shows the pool")?)
    }

    fn seen(&mut self, at: Duration, visit: usize) -> anyhow::Result<bool> {
        self.turn(at)?;
        let session = *self.sessions.get(&visit).context("it has begun")?;
        match self.beats.alive(session, START.after(at)) {
            Beat::Taken => Ok(true),
            Beat::Lost => Ok(false),
            Beat::Full => anyhow::bail!("too many signs of life wait to be written"),
        }
    }

    fn call(&mut self, at: Duration, number: usize) -> anyhow::Result<Vec<Candidate>> {
        self.turn(at)?;
        let id = self.pool.numbers.get(number).context("it is an index of the pool's")?.id;
        let found = self.attribute(at, id)?;
        let Some(credited) = found.snapshot.visitor_id else { return Ok(vec![]) };
        let who = |id: i64| self.names.get(&id).copied().unwrap_or(u32::MAX);
        let first = Candidate { visitor: who(credited), confidence: found.confidence.unwrap_or(0.0) };
        let others = found.snapshot.candidates.iter().filter(|other| other.visitor_id != credited);
        let others =
            others.map(|other| Candidate { visitor: who(other.visitor_id), confidence: other.confidence });
        Ok(std::iter::once(first).chain(others).collect())
    }
}
