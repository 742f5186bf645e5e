//! Hosts of strangers: real sockets on 127.0.0.1, which the tests allow by CIDR. Each plays a script that knows no
//! manners. A host that has to be slow waits for ever instead; only where an answer must drip does it wait on a timer.

use std::future::{Future, pending};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use calltracker::outbound::{
    Answer, Failure, FailureKind, Limits, Options, Outbound, Request, ResolverChoice,
};
use hyper::Method;
use hyper::header::HeaderMap;
use rustls::RootCertStore;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use url::Url;

/// Where an answer is expected. Only a broken test gets this far.
pub const PATIENT: Limits =
    Limits { deadline: Duration::from_secs(20), read_bytes_max: 16 * 1024, keep_bytes_max: 4 * 1024 };
/// Where the deadline is expected.
pub const HASTY: Limits = Limits { deadline: Duration::from_millis(250), ..PATIENT };

/// Where all the hosts are.
pub const LOOPBACK: &str = "127.0.0.0/8";

pub mod answers {
    //! What honest hosts say.

    pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    pub const OK_CLOSING: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
}

/// No test that uses it gets as far as asking.
pub const UNUSED_DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

pub fn outbound(allow: &[&str]) -> Outbound {
    outbound_with(allow, UNUSED_DNS, RootCertStore::empty())
}

pub fn outbound_with(allow: &[&str], dns: SocketAddr, roots: RootCertStore) -> Outbound {
    let options = Options { resolver: ResolverChoice::NameServer(dns), roots, ..options(allow) };
    Outbound::new(options).expect("valid options")
}

pub fn options(allow: &[&str]) -> Options {
    Options {
        allow: allow.iter().map(|net| net.parse().expect(net)).collect(),
        roots: RootCertStore::empty(),
        resolver: ResolverChoice::NameServer(UNUSED_DNS),
        user_agent: "calltracker-test".to_owned(),
    }
}

pub fn request(url: &str) -> Request {
    Request {
        method: Method::POST,
        url: Url::parse(url).expect(url),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"payload"),
    }
}

pub async fn post(url: &str, limits: Limits) -> Result<Answer, Failure> {
    outbound(&[LOOPBACK]).send(request(url), limits).await
}

pub fn failed(kind: FailureKind, detail: &str) -> Failure {
    Failure { kind, detail: detail.to_owned(), status: None }
}

/// A host that plays a script on each of its connections.
pub struct Host {
    pub addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// What the scripts have noted, in order.
    pub requests: mpsc::UnboundedReceiver<String>,
}

impl Host {
    pub async fn new<Script, Playing>(script: Script) -> Host
    where
        Script: Fn(TcpStream, Log) -> Playing + Send + 'static,
        Playing: Future<Output = ()> + Send + 'static,
    {
        Host::at(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), script).await
    }

    pub async fn at<Script, Playing>(addr: SocketAddr, script: Script) -> Host
    where
        Script: Fn(TcpStream, Log) -> Playing + Send + 'static,
        Playing: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(addr).await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let (log, requests) = mpsc::unbounded_channel();
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(stream, Log(log.clone())));
            }
        });
        Host { addr, connections, requests }
    }

    /// Gives the same answer to each request, connections kept.
    pub async fn answering(raw: impl AsRef<[u8]>) -> Host {
        Host::new(answering(raw)).await
    }

    /// Takes the request, says `raw` and closes.
    pub async fn closing_after(raw: impl AsRef<[u8]>) -> Host {
        let raw = Bytes::copy_from_slice(raw.as_ref());
        Host::new(move |mut stream, log| {
            let raw = raw.clone();
            async move {
                log.request(&mut stream).await;
                send_all(&mut stream, &raw).await;
            }
        })
        .await
    }

    /// Takes the request, says `raw` and then nothing more.
    pub async fn stalling_after(raw: impl AsRef<[u8]>) -> Host {
        let raw = Bytes::copy_from_slice(raw.as_ref());
        Host::new(move |mut stream, log| {
            let raw = raw.clone();
            async move {
                log.request(&mut stream).await;
                send_all(&mut stream, &raw).await;
                pending::<()>().await;
            }
        })
        .await
    }

    /// Takes the request, says `raw` and then one byte at a time for ever.
    pub async fn dripping_after(raw: &'static [u8]) -> Host {
        Host::new(move |mut stream, log| async move {
            log.request(&mut stream).await;
            send_all(&mut stream, raw).await;
            drip(&mut stream, b"x").await;
        })
        .await
    }

    /// Answers each connection's one request by TLS.
    pub async fn secured(acceptor: TlsAcceptor) -> Host {
        Host::new(move |stream, log| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                log.request(&mut stream).await;
                send_all(&mut stream, answers::OK_CLOSING).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub fn named(&self, name: &str) -> String {
        format!("http://{name}:{}/", self.addr.port())
    }

    pub fn secure(&self, name: &str) -> String {
        format!("https://{name}:{}/", self.addr.port())
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub async fn next_request(&mut self) -> String {
        self.requests.recv().await.expect("the host is still there")
    }
}

/// A port that takes no more connections and does not refuse them either: its queue is full and nobody accepts.
pub async fn deaf_host(addr: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(addr).expect("a port");
    let listener = socket.listen(1).expect("a queue");
    let mut queue = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(addr)).await {
        queue.push(stream.expect("a place in the queue"));
    }
    (listener, queue)
}

pub fn answering(
    raw: impl AsRef<[u8]>,
) -> impl Fn(TcpStream, Log) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static {
    let raw = Bytes::copy_from_slice(raw.as_ref());
    move |mut stream, log| {
        let raw = raw.clone();
        Box::pin(async move {
            while log.request(&mut stream).await {
                send_all(&mut stream, &raw).await;
            }
        })
    }
}

/// Where a script notes what happened to it.
#[derive(Clone)]
pub struct Log(mpsc::UnboundedSender<String>);

impl Log {
    pub fn note(&self, what: &str) {
        // The test may be over.
        let _ = self.0.send(what.to_owned());
    }

    /// Reads one request and notes it; false when there is none.
    pub async fn request(&self, stream: &mut (impl AsyncRead + Unpin)) -> bool {
        let mut seen = Vec::new();
        while !is_complete(&seen) {
            match stream.read_buf(&mut seen).await {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        self.note(&String::from_utf8_lossy(&seen));
        true
    }
}

fn is_complete(request: &[u8]) -> bool {
    request.windows(4).any(|bytes| bytes == b"\r\n\r\n") && request.ends_with(b"payload")
}

/// `piece` by piece until the client hangs up.
pub async fn drip(stream: &mut (impl AsyncWrite + Unpin), piece: &[u8]) {
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    while stream.write_all(piece).await.is_ok() {
        pause.tick().await;
    }
}

/// Clients hang up on some of these hosts, which is their right.
pub async fn send_all(stream: &mut (impl AsyncWrite + Unpin), raw: &[u8]) {
    let _ = stream.write_all(raw).await;
    let _ = stream.flush().await;
}
