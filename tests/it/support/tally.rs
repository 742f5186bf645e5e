//! A receiver that keeps up with whatever is sent: it notes who came, answers, and looks into nothing until
//! it is asked. It runs on a thread of its own, so that nothing that a test does slows it down.
//!
//! Its paths `/1`, `/2` … are the targets of as many webhooks. Verifications are answered and not noted.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

/// What a test waits for comes within this time, a dead node's lease and a loaded machine included.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// What a dead process may have had on its way: its requests in flight, those of slow receivers, and one batch
/// of results that weren't written yet.
pub const UNRECORDED_MAX: usize = 512 + 128 + 512;

/// How a verification begins.
const VERIFICATION: &str = r#"{"type":"webhook.verification""#;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The `webhook-id`.
    pub id: String,
    /// The number in the path.
    pub hook: usize,
    pub body: Bytes,
    /// Not if its sender went away before.
    pub answered: bool,
    /// How often [`Tally::cut`] was called before.
    pub life: usize,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub arrivals: usize,
    /// Different ids.
    pub distinct: usize,
    /// Requests that aren't answered yet.
    pub open: usize,
    connections: usize,
}

impl Progress {
    /// Arrivals of ids that had arrived before.
    pub fn extra(self) -> usize {
        self.arrivals - self.distinct
    }
}

struct Shared {
    log: Mutex<Log>,
    progress: watch::Sender<Progress>,
    /// Whether answers are held back.
    held: watch::Sender<bool>,
}

#[derive(Default)]
struct Log {
    arrivals: Vec<Arrival>,
    known: HashSet<String>,
    life: usize,
}

/// See the module; ends when dropped.
pub struct Tally {
    address: String,
    shared: Arc<Shared>,
    _running: oneshot::Sender<()>,
}

impl Tally {
    pub fn start() -> Tally {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            log: Mutex::default(),
            progress: watch::Sender::default(),
            held: watch::Sender::new(false),
        });
        let (running, dropped) = oneshot::channel();
        let server = serve(listener, shared.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = server => {}
                    _ = dropped => {}
                }
            });
        });
        Tally { address, shared, _running: running }
    }

    /// The target of a webhook.
    pub fn url(&self, hook: usize) -> String {
        format!("http://{}/{hook}", self.address)
    }

    /// From now on requests are noted and not answered.
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Answers what was held back, and everything from now on.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    pub fn progress(&self) -> Progress {
        *self.shared.progress.borrow()
    }

    /// Tells of each step.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.log().arrivals.clone()
    }

    /// Waits until it is so far.
    pub async fn until(&self, what: &str, enough: impl Fn(&Progress) -> bool) {
        let mut progress = self.watch();
        let reached = tokio::time::timeout(PATIENCE, progress.wait_for(enough)).await.is_ok();
        assert!(reached, "{what}: not after {PATIENCE:?}, {:?}", self.progress());
    }

    /// Waits until what tells this name has arrived at each of so many paths, among the arrivals behind the
    /// first `from`.
    pub async fn everywhere(&self, patience: Duration, name: &str, from: usize, hooks: usize) {
        let told = format!("\"name\":\"{name}\"");
        let (mut missing, mut next): (HashSet<usize>, usize) = ((1..=hooks).collect(), from);
        let mut progress = self.watch();
        let looking = async {
            while !missing.is_empty() {
                progress.borrow_and_update();
                for arrival in self.behind(&mut next) {
                    if String::from_utf8_lossy(&arrival.body).contains(&told) {
                        missing.remove(&arrival.hook);
                    }
                }
                if !missing.is_empty() {
                    progress.changed().await.expect("the receiver is there");
                }
            }
        };
        let arrived = tokio::time::timeout(patience, looking).await.is_ok();
        assert!(arrived, "{name} hasn't arrived at {missing:?} after {patience:?}: {:?}", self.progress());
    }

    /// The arrivals behind the first `next`, which moves on.
    fn behind(&self, next: &mut usize) -> Vec<Arrival> {
        let log = self.shared.log();
        let behind = log.arrivals[*next..].to_vec();
        *next = log.arrivals.len();
        behind
    }

    /// The only sender has died. Waits until all that it had sent is noted: what arrives later is another
    /// life's.
    pub async fn cut(&self) {
        // Connections are taken in the order in which they were made: behind this one there is none.
        let last = reqwest::Client::new().post(self.url(0)).header("webhook-id", "").body(VERIFICATION);
        assert!(last.send().await.is_ok(), "the receiver answers");
        self.until("a dead sender's connections close", |p| p.connections == 0).await;
        self.shared.log().life += 1;
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    /// Gives the arrival's place in the log.
    fn note(&self, hook: usize, id: String, body: Bytes) -> usize {
        let (place, new) = {
            let mut log = self.log();
            let (new, life) = (log.known.insert(id.clone()), log.life);
            log.arrivals.push(Arrival { id, hook, body, answered: false, life });
            (log.arrivals.len() - 1, new)
        };
        self.progress.send_modify(|p| {
            p.arrivals += 1;
            p.distinct += usize::from(new);
        });
        place
    }
}

/// Counts something as long as it lasts, also if it ends by being dropped.
struct Counted<'a>(&'a Shared, fn(&mut Progress) -> &mut usize);

impl<'a> Counted<'a> {
    fn new(shared: &'a Shared, what: fn(&mut Progress) -> &mut usize) -> Counted<'a> {
        shared.progress.send_modify(|p| *what(p) += 1);
        Counted(shared, what)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.progress.send_modify(|p| *self.1(p) -= 1);
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("it is a listener");
    loop {
        let (stream, _) = listener.accept().await.expect("connections can be taken");
        tokio::spawn(converse(stream, shared.clone()));
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let _counted = Counted::new(&shared, |p| &mut p.connections);
    let service = service_fn(|request| receive(request, &shared));
    // A sender may die in the middle of a request: then it is none.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn receive(
    request: Request<Incoming>,
    shared: &Shared,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let hook = request.uri().path()[1..].parse().expect("paths are numbers");
    let id = request.headers()["webhook-id"].to_str().expect("ids are text").to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    if body.starts_with(VERIFICATION.as_bytes()) {
        return Ok(Response::new(Empty::new()));
    }
    let _counted = Counted::new(shared, |p| &mut p.open);
    let place = shared.note(hook, id, body);
    let _ = shared.held.subscribe().wait_for(|held| !held).await;
    shared.log().arrivals[place].answered = true;
    Ok(Response::new(Empty::new()))
}
