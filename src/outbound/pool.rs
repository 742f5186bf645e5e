//! Connections that are kept between requests, and one request's use of one.
//!
//! Decides: which connection a request goes out on, how many are kept and for how long. Does not decide: how one is made
//! ([`connector`](super::connector)), for how long a request may take.
//!
//! A connection's bytes move only while whoever has it polls it: a request drives its own within its own task, so an
//! exchange wakes nobody else. What is idle isn't driven, therefore it is looked at once before it is used again,
//! and every few seconds for a host that has hung up.

use std::collections::HashMap;
use std::future::{Future as _, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::http::uri::Authority;
use hyper::{Request, Response, Uri};
use tokio::time::Instant;

use super::connector::{Connector, Wire};
use super::failure::{Failure, FailureKind};

/// How long an unused connection is kept. Common servers close theirs after 60 to 120 s.
const IDLE_TIME_MAX: Duration = Duration::from_secs(90);
/// Unused connections kept per host: as many as a delivery engine has in flight at most, since webhooks may share a host,
/// and those beyond it are closed with each lull between two batches and dialled again. Each costs about 16 kB and a
/// descriptor.
const IDLE_PER_HOST_MAX: usize = 512;
/// Unused connections kept in all.
const IDLE_MAX: usize = 2048;
/// How often unused ones are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Longest head of an answer, status line and all headers, in bytes. Browsers and proxies stop at 16 to 256 KiB. hyper
/// looks between two reads, so up to twice as much can pass, never more.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers in an answer.
const HEADERS_MAX: usize = 100;
/// Most interim answers before the final one. Honest hosts send one, or one every few seconds while they think.
const INTERIM_ANSWERS_MAX: usize = 100;

/// Makes connections and keeps them; clones share them.
#[derive(Clone)]
pub(super) struct Pool {
    connector: Connector,
    idle: Arc<Mutex<Idle>>,
}

/// Whom a connection leads to: whether by TLS, host and port.
type Key = (bool, Authority);

#[derive(Default)]
struct Idle {
    /// Those that were used last are behind.
    hosts: HashMap<Key, Vec<(Instant, Box<Live>)>>,
    count: usize,
    swept: bool,
}

impl Pool {
    pub(super) fn new(connector: Connector) -> Pool {
        Pool { connector, idle: Arc::default() }
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Sends a request, whose URI is absolute, to its host. If a kept connection turns out closed before a byte of the
    /// request was written it goes out on another one. `connected` turns true with the first connection.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        connected: &AtomicBool,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        let interim = count_interim(&mut request);
        let uri = std::mem::take(request.uri_mut());
        *request.uri_mut() = uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
        let no_host = || Failure::new(FailureKind::Blocked, "the target names no host");
        let key: Key = (uri.scheme_str() == Some("https"), uri.authority().cloned().ok_or_else(no_host)?);
        loop {
            let (mut live, kept) = match self.take(&key) {
                Some(live) => (live, true),
                None => (self.connect(key.clone(), &uri).await?, false),
            };
            connected.store(true, Ordering::Relaxed);
            match live.exchange(request, &interim).await? {
                Ok(response) => return Ok((response, Lease { pool: self.clone(), live: Some(live) })),
                Err(mut error) => match error.take_message() {
                    Some(untouched) if kept => request = untouched,
                    _ => return Err(Failure::classify(&error.into_error())),
                },
            }
        }
    }

    async fn connect(&self, key: Key, uri: &Uri) -> Result<Box<Live>, Failure> {
        let wire = self.connector.connect(uri).await?;
        let remote = wire.remote();
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
        let (sender, connection) =
            builder.handshake(wire).await.map_err(|error| Failure::classify(&error))?;
        let mut live = Box::new(Live { key, sender, connection: Some(connection), remote });
        // Its first look is what makes it ready.
        live.look();
        Ok(live)
    }

    /// A kept connection that is still open, the one that was used last.
    fn take(&self, key: &Key) -> Option<Box<Live>> {
        loop {
            let mut live = self.idle().pop(key)?;
            if live.look() {
                return Some(live);
            }
        }
    }

    fn put(&self, live: Box<Live>) {
        let mut idle = self.idle();
        idle.push(live, Instant::now());
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.idle)));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what has been unused for too long or was closed by the other end, until nothing is left or nobody could use it.
async fn sweep(idle: Weak<Mutex<Idle>>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.sweep(Instant::now());
        if idle.count == 0 {
            idle.swept = false;
            return;
        }
    }
}

impl Idle {
    fn pop(&mut self, key: &Key) -> Option<Box<Live>> {
        let (_, live) = self.hosts.get_mut(key)?.pop()?;
        self.count -= 1;
        Some(live)
    }

    fn push(&mut self, live: Box<Live>, now: Instant) {
        if self.count >= IDLE_MAX {
            return;
        }
        let kept = self.hosts.entry(live.key.clone()).or_default();
        if kept.len() < IDLE_PER_HOST_MAX {
            kept.push((now, live));
            self.count += 1;
        }
    }

    fn sweep(&mut self, now: Instant) {
        for kept in self.hosts.values_mut() {
            kept.retain_mut(|(since, live)| now.duration_since(*since) < IDLE_TIME_MAX && live.look());
        }
        self.hosts.retain(|_, kept| !kept.is_empty());
        self.count = self.hosts.values().map(Vec::len).sum();
    }
}

/// A connection.
struct Live {
    key: Key,
    sender: SendRequest<Full<Bytes>>,
    /// What moves its bytes; None once it has ended.
    connection: Option<Connection<Wire, Full<Bytes>>>,
    remote: SocketAddr,
}

impl Live {
    /// Moves bytes.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(cx).is_ready()
        {
            // What went wrong is told to the request.
            self.connection = None;
        }
    }

    /// Whether a request can be sent, as far as can be told now.
    fn look(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }

    /// The final answer, unless too many others precede it. hyper gives a request back that it has not begun to write.
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        interim: &AtomicUsize,
    ) -> Result<Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>>, Failure> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            self.drive(cx);
            if interim.load(Ordering::Relaxed) > INTERIM_ANSWERS_MAX {
                let endless = "the host sends interim answers without end";
                return Poll::Ready(Err(Failure::new(FailureKind::Protocol, endless)));
            }
            answer.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Asking for a piece is what lets the connection read one.
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => {
                self.drive(cx);
                Pin::new(body).poll_frame(cx)
            }
            ready => ready,
        }
    }
}

/// A connection while its answer is read. Dropped before the end, it is closed.
pub(super) struct Lease {
    pool: Pool,
    live: Option<Box<Live>>,
}

impl Lease {
    /// The address at the other end.
    pub(super) fn remote(&self) -> Option<SocketAddr> {
        self.live.as_ref().map(|live| live.remote)
    }

    /// The body's next frame. At its end the connection is kept for others.
    pub(super) async fn frame(&mut self, body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        let frame = match &mut self.live {
            Some(live) => poll_fn(|cx| live.poll_frame(body, cx)).await,
            None => None,
        };
        if frame.is_none()
            && let Some(mut live) = self.live.take()
            && live.look()
        {
            self.pool.put(live);
        }
        frame
    }
}

/// Counts the request's interim answers: hyper reads on while they come.
fn count_interim(request: &mut Request<Full<Bytes>>) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    hyper::ext::on_informational(request, move |_interim| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    count
}
