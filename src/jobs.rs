//! The table of background work. A job is a function that looks at the database and acts: idempotent,
//! bounded, without input. It runs when it was woken, and every so often in case a wake-up was lost. Of all
//! processes on one database only the one that leads runs them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ctx::Ctx;
use crate::db::{self, Lead, Wake};
use crate::kernel::clock::Micros;
use crate::{alerts, audit, calls, carriers, http, messages, reports, usage, visits, voicemails, webhooks};

/// How often a process that doesn't lead asks whether it may, and one that does whether it still is.
const ASK_LEAD_EVERY: Duration = Duration::from_secs(2);

/// Up to which moment billing periods are closed.
#[derive(Clone)]
pub enum AsOf {
    /// Now.
    Clock,
    /// A hand that the demo moves, so that a month's end is seen in minutes.
    Hand(Arc<AtomicI64>),
}

impl AsOf {
    /// The moment.
    pub fn get(&self, ctx: &Ctx) -> Micros {
        match self {
            AsOf::Clock => ctx.clock.now(),
            AsOf::Hand(at) => Micros(at.load(Ordering::SeqCst)),
        }
    }
}

/// One kind of background work.
pub struct Job {
    pub name: &'static str,
    every: Duration,
    wake: Option<Wake>,
    run: fn(Ctx, AsOf) -> Running,
}

type Running = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// All of it but the delivery engine, which is a loop of its own.
pub const JOBS: [Job; 17] = [
    Job {
        name: "calls.settle",
        every: SECONDS_5,
        wake: Some(Wake::Calls),
        run: |ctx, _| Box::pin(async move { done(calls::settle(&ctx).await) }),
    },
    Job {
        name: "reports.count",
        every: SECONDS_5,
        wake: None,
        run: |ctx, _| Box::pin(async move { done(reports::count_due(&ctx.db).await) }),
    },
    Job {
        name: "voicemails.announce",
        every: SECONDS_5,
        wake: Some(Wake::Recordings),
        run: |ctx, _| Box::pin(async move { done(voicemails::announce(&ctx).await) }),
    },
    Job {
        name: "recordings.collect",
        every: SECONDS_5,
        wake: Some(Wake::Recordings),
        run: |ctx, _| Box::pin(async move { done(carriers::collect::run_once(&ctx).await) }),
    },
    Job {
        name: "calls.reconcile",
        every: MINUTE,
        wake: None,
        run: |ctx, _| Box::pin(async move { done(carriers::reconcile::run_once(&ctx).await) }),
    },
    Job {
        name: "numbers.buy",
        every: SECONDS_5,
        wake: Some(Wake::Orders),
        run: |ctx, _| Box::pin(async move { done(carriers::provision::fill_orders(&ctx).await) }),
    },
    Job {
        name: "numbers.release",
        every: MINUTE,
        wake: Some(Wake::Routing),
        run: |ctx, _| Box::pin(async move { done(carriers::provision::release_due(&ctx).await) }),
    },
    Job {
        name: "messages.fail_stale",
        every: MINUTE,
        wake: None,
        run: |ctx, _| Box::pin(async move { done(messages::outgoing::fail_stale(&ctx.db).await) }),
    },
    Job {
        name: "usage.close",
        every: SECONDS_5,
        wake: None,
        run: |ctx, as_of| Box::pin(async move { done(usage::close_due(&ctx.db, as_of.get(&ctx)).await) }),
    },
    Job {
        name: "deliveries.cancel",
        every: MINUTE,
        wake: None,
        run: |ctx, _| Box::pin(async move { done(webhooks::cancel_orphans(&ctx.db).await) }),
    },
    Job {
        name: "alerts.mail",
        every: MINUTE,
        wake: Some(Wake::Alerts),
        run: |ctx, _| Box::pin(async move { done(alerts::mail_due(&ctx).await) }),
    },
    Job {
        name: "webhooks.replay",
        every: SECOND,
        wake: Some(Wake::Replays),
        run: |ctx, _| Box::pin(async move { done(webhooks::replays::feed(&ctx).await) }),
    },
    Job {
        name: "webhooks.expire",
        every: MINUTES_10,
        wake: None,
        run: |ctx, _| Box::pin(async move { done(webhooks::expire(&ctx).await) }),
    },
    Job {
        name: "events.retain",
        every: MINUTE,
        wake: None,
        run: |ctx, _| Box::pin(async move { done(webhooks::retention::run_once(&ctx).await) }),
    },
    Job {
        name: "visits.retain",
        every: MINUTE,
        wake: None,
        run: |ctx, _| Box::pin(async move { done(visits::retention::run_once(&ctx).await) }),
    },
    Job {
        name: "audit.retain",
        every: MINUTES_10,
        wake: None,
        run: |ctx, _| Box::pin(async move { done(audit::retain(&ctx.db).await) }),
    },
    Job {
        name: "idempotency.sweep",
        every: MINUTE,
        wake: None,
        run: |ctx, _| Box::pin(async move { done(http::api::idempotency::sweep(&ctx).await) }),
    },
];

const SECOND: Duration = Duration::from_secs(1);
const SECONDS_5: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);
const MINUTES_10: Duration = Duration::from_secs(600);

/// How much a job did is of no interest here.
fn done<T>(result: db::Result<T>) -> anyhow::Result<()> {
    Ok(result.map(drop)?)
}

impl Job {
    /// Runs it once, now.
    ///
    /// # Errors
    /// What stopped it; the next run tries again.
    pub async fn run_once(&self, ctx: &Ctx, usage_as_of: &AsOf) -> anyhow::Result<()> {
        (self.run)(ctx.clone(), usage_as_of.clone()).await
    }
}

/// Runs all background work until `stop` turns true.
pub async fn run(ctx: Ctx, usage_as_of: AsOf, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        match ctx.db.lead().await {
            Ok(Some(lead)) => work(&ctx, &usage_as_of, &lead, stop.clone()).await,
            Ok(None) => tracing::debug!("another process runs the background work"),
            Err(error) => tracing::error!(error = %error, "can't ask who runs the background work"),
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_LEAD_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

/// Works until `stop` turns true or the lead is lost; then nothing of it is left running.
async fn work(ctx: &Ctx, usage_as_of: &AsOf, lead: &Lead, mut stop: watch::Receiver<bool>) {
    if let Err(error) = carriers::collect::clean_up(ctx).await {
        tracing::error!(error = %error, "half-written recordings can't be removed");
    }
    let (halt, halted) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for job in &JOBS {
        tasks.spawn(repeat(job, ctx.clone(), usage_as_of.clone(), halted.clone()));
    }
    let lost = async {
        while !lead.is_lost() {
            tokio::time::sleep(ASK_LEAD_EVERY).await;
        }
    };
    tokio::select! {
        () = lost => tracing::warn!("lost the lead: another process may run the background work now"),
        _ = stop.wait_for(|stop| *stop) => {}
        Some(ended) = tasks.join_next() => tracing::error!(?ended, "background work ended by itself"),
    }
    halt.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(error = %error, "background work panicked");
        }
    }
}

async fn repeat(job: &'static Job, ctx: Ctx, usage_as_of: AsOf, mut halted: watch::Receiver<bool>) {
    let mut wakes = job.wake.map(|wake| ctx.db.wakes().subscribe(wake));
    while !*halted.borrow() {
        if let Err(error) = job.run_once(&ctx, &usage_as_of).await {
            tracing::error!(job = job.name, error = format!("{error:#}"), "a job failed and will run again");
        }
        let woken = async {
            match &mut wakes {
                Some(wakes) => drop(wakes.changed().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = woken => {}
            () = tokio::time::sleep(job.every) => {}
            _ = halted.wait_for(|halt| *halt) => {}
        }
    }
}
