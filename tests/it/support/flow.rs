//! A flow of events: clients that rename a tracker, each time to a name of its own, at whichever server is
//! up. They keep a little ahead of what the receiver has seen, so that the flow lasts as long as the test and
//! something is always on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::client::Api;
use super::program::Program;
use super::tally::{PATIENCE, Progress, Tally};

/// Clients at a time.
const CLIENTS: usize = 6;
/// Events that may be answered and not yet have arrived everywhere.
const AHEAD: usize = 20;

/// What came of the renamings so far.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Names that were answered with 200: these events exist. Others may.
    pub answered: Vec<String>,
    /// Renamings that were answered with 503.
    pub refused: usize,
    /// Renamings that weren't answered.
    pub unanswered: usize,
}

struct Shared {
    hooks: usize,
    /// The servers that are up.
    servers: watch::Sender<Vec<Api>>,
    /// How many answered renamings are enough.
    enough: watch::Sender<usize>,
    told: watch::Sender<Told>,
    next: AtomicUsize,
}

/// See the module; its clients end when dropped.
pub struct Flow {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

impl Flow {
    /// A flow of `enough` events, each to `hooks` webhooks whose receiver is `tally`.
    pub fn start(tally: &Tally, hooks: usize, enough: usize) -> Flow {
        let shared = Arc::new(Shared {
            hooks,
            servers: watch::Sender::default(),
            enough: watch::Sender::new(enough),
            told: watch::Sender::default(),
            next: AtomicUsize::new(0),
        });
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(run(shared.clone(), tally.watch()));
        }
        Flow { shared, clients }
    }

    /// From now on these are the servers.
    pub fn go_to<'p>(&self, programs: impl IntoIterator<Item = &'p Program>) {
        self.shared.servers.send_replace(programs.into_iter().map(|program| program.api.clone()).collect());
    }

    pub fn told(&self) -> Told {
        self.shared.told.borrow().clone()
    }

    /// Waits until this has come of the renamings.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Told) -> bool) {
        let mut told = self.shared.told.subscribe();
        let come = tokio::time::timeout(PATIENCE, told.wait_for(wanted)).await;
        assert!(come.is_ok(), "{what}: not after {PATIENCE:?}");
    }

    /// Waits until there were enough events, and gives what was told.
    pub async fn done(mut self) -> Told {
        while let Some(client) = tokio::time::timeout(PATIENCE, self.clients.join_next()).await.unwrap() {
            client.unwrap();
        }
        self.told()
    }

    /// What there was is enough: lets each client finish what it is at.
    pub async fn end(self) -> Told {
        self.shared.enough.send_replace(0);
        self.done().await
    }
}

async fn run(shared: Arc<Shared>, progress: watch::Receiver<Progress>) {
    let mut enough = shared.enough.subscribe();
    loop {
        let answered = shared.told.borrow().answered.len();
        if answered >= *enough.borrow_and_update() {
            return;
        }
        tokio::select! {
            api = shared.turn(progress.clone()) => shared.rename(&api).await,
            _ = enough.changed() => {}
        }
    }
}

impl Shared {
    /// Waits until a server is up and the receiver near; gives the server.
    async fn turn(&self, mut progress: watch::Receiver<Progress>) -> Api {
        let near = |p: &Progress| self.told.borrow().answered.len() < p.distinct / self.hooks + AHEAD;
        progress.wait_for(near).await.expect("the receiver is there");
        let mut servers = self.servers.subscribe();
        let servers = servers.wait_for(|servers| !servers.is_empty()).await.expect("the flow is there");
        servers[self.next.load(Ordering::Relaxed) % servers.len()].clone()
    }

    async fn rename(&self, api: &Api) {
        let name = format!("Flyer {}", self.next.fetch_add(1, Ordering::Relaxed));
        let request = api.request(Method::PATCH, "/companies/1/trackers/1").json(&json!({ "name": name }));
        let status = api.try_send(request).await.map(|answer| answer.status);
        self.told.send_modify(|told| match status {
            Ok(200) => told.answered.push(name),
            Ok(503) => told.refused += 1,
            Ok(other) => panic!("a renaming was answered with {other}"),
            Err(_) => told.unanswered += 1,
        });
    }
}
