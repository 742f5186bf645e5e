//! The one way out to strangers' URLs: webhook targets, carriers' REST and media hosts.
//!
//! Decides: whether a URL may be called at all, which address of it is dialled, how long and how much is listened to,
//! and what a failure is called. Does not decide: what is sent, whether a status is a success, when to try again.
//! Called by the delivery engine, the carriers' clients and the download of recordings; nothing else in the product
//! opens a connection to a host that somebody else named.
//!
//! How it holds:
//! - Addresses are vetted in the connector ([`kernel::address`](crate::kernel::address)), on every answer of DNS and
//!   on the connected socket. Redirects are never followed, proxies of the environment never used.
//! - One deadline covers DNS, connect, TLS, sending, headers and body. At the deadline everything is dropped and the
//!   connection closed.
//! - Bodies are counted in bytes as they come from the wire and never decompressed; `accept-encoding: identity` asks
//!   for none.
//! - Connections are kept alive per scheme, host and port. A request is sent again on a new connection only if a kept one
//!   turned out closed before a byte of it was written (hyper hands the request back untouched then). That is wanted:
//!   the receiver has seen nothing, so it is not a second POST.
//!
//! Odd facts: hyper reads on while interim answers (1xx, RFC 9110 section 15.2) come, without a limit, so they are
//! counted here. A receiver may answer before it has read everything, which counts.

mod connector;
mod failure;
mod pool;
mod resolve;
mod target;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};
use ipnet::IpNet;
use rustls::RootCertStore;
use tokio::time::{Instant, timeout_at};
use url::Url;

use connector::Connector;
pub use failure::{Failure, FailureKind};
use pool::{Lease, Pool};
use resolve::Resolver;
pub use resolve::ResolverChoice;
pub use target::{TARGET_BYTES_MAX, TargetError};

/// TLS sessions remembered for resumption, over all hosts. A full handshake costs ten times a delivery.
const TLS_SESSIONS_MAX: usize = 2048;
/// In place of deadlines that no clock can hold.
const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);
/// Headers that a caller can't set, because they frame the message or belong to the connection (RFC 9110 section
/// 7.6.1), or, `accept-encoding`, because of what they would bring. They are dropped from a request.
const OWNED_HEADERS: [HeaderName; 12] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::ACCEPT_ENCODING,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What an [`Outbound`] is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Networks that may be called although they are not public.
    pub allow: Vec<IpNet>,
    /// Authorities that may vouch for an https host.
    pub roots: RootCertStore,
    /// Whom to ask for addresses.
    pub resolver: ResolverChoice,
    /// Sent with requests that have no `user-agent` of their own.
    pub user_agent: String,
}

/// One request. The headers in which a caller has no say ([`is_owned_header`]) are dropped.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Bounds of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For everything from DNS to the last byte of the body.
    pub deadline: Duration,
    /// Bytes of the body that are read before we hang up.
    pub read_bytes_max: usize,
    /// Bytes of the body that are handed over: by [`Outbound::send`] always, by a [`Download`] if the status is no
    /// success.
    pub keep_bytes_max: usize,
}

/// A complete answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// The body's beginning, at most [`Limits::keep_bytes_max`], as it came: never decompressed.
    pub body: Vec<u8>,
    /// Whether there was more than `body` holds.
    pub truncated: bool,
    /// The address that answered.
    pub remote: Option<SocketAddr>,
}

/// Calls strangers. Clones share connections, TLS sessions and DNS answers.
#[derive(Clone)]
pub struct Outbound {
    pool: Pool,
    user_agent: HeaderValue,
}

impl Outbound {
    /// Opens nothing yet. Needs a Tokio runtime from the first request on.
    ///
    /// # Errors
    /// `user_agent` is not a valid header. A machine without usable DNS configuration is no error here: each request
    /// to a name will fail with [`FailureKind::Dns`].
    pub fn new(options: Options) -> anyhow::Result<Outbound> {
        let user_agent = HeaderValue::from_str(&options.user_agent).context("reading the user agent")?;
        let tls = tls_config(options.roots).context("setting up TLS")?;
        let connector = Connector::new(options.allow, Resolver::new(options.resolver), tls);
        Ok(Outbound { pool: Pool::new(connector), user_agent })
    }

    /// What can be said about a target without asking DNS: its form, and its address if that is written out. The URL
    /// that comes back is normalised and is the one to store.
    ///
    /// # Errors
    /// All but [`TargetError::Unresolved`].
    pub fn check_target(&self, target: &str) -> Result<Url, TargetError> {
        target::check(target, self.pool.connector().allow())
    }

    /// As [`check_target`](Self::check_target), and the name has at least one address that may be called: the same rule
    /// by which requests are sent.
    ///
    /// # Errors
    /// As `check_target`; [`TargetError::Refused`] if all its addresses are, [`TargetError::Unresolved`] if it has none
    /// or DNS does not say so `within` the given time.
    pub async fn check_target_resolved(&self, target: &str, within: Duration) -> Result<Url, TargetError> {
        let url = self.check_target(target)?;
        if let Some(url::Host::Domain(name)) = url.host() {
            let addresses = tokio::time::timeout(within, self.pool.connector().resolve(name))
                .await
                .unwrap_or_else(|_| Err(Failure::timeout("no answer from DNS", within)))
                .map_err(|failure| TargetError::Unresolved(failure.detail))?;
            self.pool.connector().vet(addresses).map_err(TargetError::Refused)?;
        }
        Ok(url)
    }

    /// Sends one request and reads the answer. A body over `read_bytes_max` is cut there and the connection closed,
    /// which is no failure: the status has been said. Dropping the future gives everything up.
    ///
    /// # Errors
    /// No answer, or one that did not end: see [`FailureKind`].
    pub async fn send(&self, request: Request, limits: Limits) -> Result<Answer, Failure> {
        let mut answering = self.begin(request, limits.deadline).await?;
        let (body, truncated) = answering.read_body(limits).await?;
        let Answering { status, headers, remote, .. } = answering;
        Ok(Answer { status, headers, body, truncated, remote })
    }

    /// Sends one request and hands the body over piece by piece, for what does not fit into memory. The deadline goes
    /// on running between the pieces.
    ///
    /// # Errors
    /// As [`send`](Self::send); and [`FailureKind::TooLarge`] if a success announces more than `read_bytes_max`.
    pub async fn fetch(&self, request: Request, limits: Limits) -> Result<Download, Failure> {
        let answering = self.begin(request, limits.deadline).await?;
        let success = (200..300).contains(&answering.status);
        let announced = answering.body.size_hint().lower();
        if success && announced > u64::try_from(limits.read_bytes_max).unwrap_or(u64::MAX) {
            return Err(too_large().with_status(answering.status));
        }
        Ok(Download { answering, success, limits, bytes_read: 0, end: None })
    }

    /// Everything up to the answer's headers.
    async fn begin(&self, request: Request, within: Duration) -> Result<Answering, Failure> {
        let now = Instant::now();
        let deadline = now.checked_add(within).unwrap_or_else(|| now + CENTURY);
        let (request, connected) = (self.prepare(request)?, AtomicBool::new(false));
        let (response, lease) = match timeout_at(deadline, self.pool.send(request, &connected)).await {
            Ok(answer) => answer?,
            Err(_elapsed) => {
                let connected = connected.load(Ordering::Relaxed);
                let phase = if connected { "connected, but no answer" } else { "no connection" };
                return Err(Failure::timeout(phase, within));
            }
        };
        let (parts, body) = response.into_parts();
        Ok(Answering {
            status: parts.status.as_u16(),
            headers: parts.headers,
            remote: lease.remote(),
            body,
            lease,
            deadline,
            within,
        })
    }

    fn prepare(&self, request: Request) -> Result<hyper::Request<Full<Bytes>>, Failure> {
        let uri = self.check_request(&request)?;
        let host = host_header(&uri);
        let mut prepared = hyper::Request::new(Full::new(request.body));
        *prepared.method_mut() = request.method;
        *prepared.uri_mut() = uri;
        let headers = prepared.headers_mut();
        *headers = request.headers;
        for owned in &OWNED_HEADERS {
            headers.remove(owned);
        }
        headers.insert(header::HOST, host);
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.entry(header::USER_AGENT).or_insert_with(|| self.user_agent.clone());
        Ok(prepared)
    }

    fn check_request(&self, request: &Request) -> Result<Uri, Failure> {
        if request.method == Method::CONNECT {
            return Err(Failure::new(FailureKind::Blocked, "the target must not be a tunnel"));
        }
        target::check_url(&request.url, self.pool.connector().allow())
            .map_err(|error| Failure::new(FailureKind::Blocked, format!("the target {error}")))
    }
}

/// RFC 9110 section 7.2: host and port, the latter if it isn't the scheme's own, which the URL's parser drops. What has
/// been checked has no user name in it.
fn host_header(uri: &Uri) -> HeaderValue {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    HeaderValue::from_str(authority).expect("an authority has only printable ASCII")
}

/// Whether a request's header of this name would be dropped; so that it can be refused where somebody sets it.
pub fn is_owned_header(name: &HeaderName) -> bool {
    OWNED_HEADERS.contains(name)
}

fn tls_config(roots: RootCertStore) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = rustls::client::Resumption::in_memory_sessions(TLS_SESSIONS_MAX);
    Ok(config)
}

fn too_large() -> Failure {
    Failure::new(FailureKind::TooLarge, "the answer's body is too large")
}

/// An answer whose headers are there and whose body is coming.
struct Answering {
    status: u16,
    headers: HeaderMap,
    remote: Option<SocketAddr>,
    body: Incoming,
    lease: Lease,
    deadline: Instant,
    within: Duration,
}

impl Answering {
    /// The next piece of the body, `None` at its end. Trailers are skipped.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            // A body that is always ready would never give the timer a turn.
            if Instant::now() >= self.deadline {
                return Err(self.late());
            }
            let frame = match timeout_at(self.deadline, self.lease.frame(&mut self.body)).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(Failure::classify(&error).with_status(self.status)),
                Err(_elapsed) => return Err(self.late()),
            };
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// The body's beginning, and whether there was more.
    async fn read_body(&mut self, limits: Limits) -> Result<(Vec<u8>, bool), Failure> {
        let mut kept = Vec::new();
        let mut bytes_read = 0;
        while let Some(chunk) = self.next().await? {
            bytes_read += chunk.len();
            let room = limits.keep_bytes_max.min(limits.read_bytes_max) - kept.len();
            kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if bytes_read > limits.read_bytes_max {
                // The caller drops us, and with us the connection.
                return Ok((kept, true));
            }
        }
        let truncated = bytes_read > kept.len();
        Ok((kept, truncated))
    }

    fn late(&self) -> Failure {
        Failure::timeout("answered, but the body did not end", self.within).with_status(self.status)
    }
}

/// An answer whose body is taken piece by piece. Dropping it before the end closes the connection.
pub struct Download {
    answering: Answering,
    success: bool,
    limits: Limits,
    bytes_read: usize,
    /// How it ended, once it has.
    end: Option<Result<(), Failure>>,
}

impl Download {
    /// The answer's status, whatever it is.
    pub fn status(&self) -> u16 {
        self.answering.status
    }

    /// The answer's headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.answering.headers
    }

    /// The address that answered.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.answering.remote
    }

    /// The next piece; `None` after the last, and once more the same failure after a failure. Dropping this future loses
    /// nothing. A status outside 2xx comes with an explanation at best, so its body ends after
    /// [`Limits::keep_bytes_max`].
    ///
    /// # Errors
    /// As [`Outbound::send`]; and [`FailureKind::TooLarge`] for a success over [`Limits::read_bytes_max`], because half
    /// a recording is none.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        if let Some(end) = &self.end {
            return end.clone().map(|()| None);
        }
        let piece = match self.answering.next().await {
            Ok(Some(piece)) => self.admit(piece).map(Some),
            Ok(None) => Ok(None),
            Err(failure) => Err(failure),
        };
        match &piece {
            Ok(Some(_)) => {}
            Ok(None) => self.end = Some(Ok(())),
            Err(failure) => self.end = Some(Err(failure.clone())),
        }
        piece
    }

    /// What of a piece is within the limit.
    fn admit(&mut self, mut piece: Bytes) -> Result<Bytes, Failure> {
        let bytes_max = if self.success { self.limits.read_bytes_max } else { self.limits.keep_bytes_max };
        let room = bytes_max - self.bytes_read;
        if self.success && piece.len() > room {
            return Err(too_large().with_status(self.answering.status));
        }
        piece.truncate(room);
        self.bytes_read += piece.len();
        if !self.success && self.bytes_read == bytes_max {
            self.end = Some(Ok(()));
        }
        Ok(piece)
    }
}
