//! One vetted connection.
//!
//! Decides: which addresses of a host are dialled, in what rhythm, and what stands between the socket and HTTP (TLS or
//! nothing). Does not decide: when connections are made or kept, which is the pool's business ([`pool`](super::pool)).
//!
//! Every answer of DNS is vetted at the moment of dialling, so a name that changes its address between registration and
//! delivery ("DNS rebinding") gains nothing, and the connected socket's peer is vetted once more.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, vec};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure::{Failure, FailureKind};
use super::resolve::Resolver;
use crate::kernel::address::{self, Refusal};

/// Longest time for DNS, connect and TLS together. A request's own deadline is usually shorter.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);
/// Most addresses of one host that are dialled. Real hosts have two to eight; a hostile answer can hold hundreds.
const ADDRESSES_MAX: usize = 8;
/// Head start of an address before the next is dialled as well (RFC 8305 section 5, "connection attempt delay").
const HEAD_START: Duration = Duration::from_millis(250);

/// Makes connections for the pool. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector(Arc<Parts>);

struct Parts {
    allow: Vec<IpNet>,
    resolver: Resolver,
    tls: TlsConnector,
}

impl Connector {
    pub(super) fn new(allow: Vec<IpNet>, resolver: Resolver, tls: rustls::ClientConfig) -> Connector {
        Connector(Arc::new(Parts { allow, resolver, tls: Arc::new(tls).into() }))
    }

    /// The operator's networks.
    pub(super) fn allow(&self) -> &[IpNet] {
        &self.0.allow
    }

    /// All addresses of `host`, a name or a literal address without brackets. None is vetted yet.
    ///
    /// # Errors
    /// [`FailureKind::Dns`].
    pub(super) async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        match host.parse() {
            Ok(literal) => Ok(vec![literal]),
            Err(_) => self.0.resolver.addresses(host).await,
        }
    }

    /// Those of a host's addresses that may be dialled.
    ///
    /// # Errors
    /// None may; the reason for the last.
    pub(super) fn vet(&self, mut addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, Refusal> {
        let mut refusal = None;
        addresses.retain(|addr| match address::vet(*addr, &self.0.allow) {
            Ok(()) => true,
            Err(reason) => {
                refusal = Some(reason);
                false
            }
        });
        match refusal {
            Some(reason) if addresses.is_empty() => Err(reason),
            _ => Ok(addresses),
        }
    }

    /// A connection to the URI's host.
    ///
    /// # Errors
    /// All kinds that come before a request.
    pub(super) async fn connect(&self, uri: &Uri) -> Result<Wire, Failure> {
        tokio::time::timeout(CONNECT_TIME_MAX, self.connect_unbounded(uri))
            .await
            .unwrap_or_else(|_| Err(Failure::timeout("no connection", CONNECT_TIME_MAX)))
    }

    async fn connect_unbounded(&self, uri: &Uri) -> Result<Wire, Failure> {
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });

        let addresses = self.vet(self.resolve(host).await?).map_err(blocked)?;
        let targets = addresses.into_iter().take(ADDRESSES_MAX).map(|addr| SocketAddr::new(addr, port));
        let stream = dial(targets.collect()).await?;
        let remote = vetted_peer(&stream, &self.0.allow)?;
        // A request is one write; waiting to fill a segment only delays it. Failing to say so is no reason to give up.
        let _ = stream.set_nodelay(true);

        let io = if secure {
            Layer::Tls(Box::new(TokioIo::new(self.handshake(host, stream).await?)))
        } else {
            Layer::Plain(TokioIo::new(stream))
        };
        Ok(Wire { io, remote })
    }

    async fn handshake(&self, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::new(FailureKind::Tls, "the host's name cannot be in a certificate"))?;
        self.0.tls.connect(name, stream).await.map_err(|error| Failure::from_handshake(&error))
    }
}

fn blocked(reason: Refusal) -> Failure {
    Failure::new(FailureKind::Blocked, format!("the host leads to {reason}"))
}

/// The address that the socket is really connected to, if it may be: the last word, whatever went before.
fn vetted_peer(stream: &TcpStream, allow: &[IpNet]) -> Result<SocketAddr, Failure> {
    let unknown = |error: io::Error| Failure::from_connect(Some(&error));
    let (local, remote) = (stream.local_addr().map_err(unknown)?, stream.peer_addr().map_err(unknown)?);
    vet_ends(local, remote, allow)?;
    Ok(remote)
}

/// Refuses, besides addresses that are not public, the public ones of this machine: what listens there may rely on a
/// firewall that packets from inside never meet. Towards an address of its own the kernel chooses that address as the
/// source, too, unless it has several in one subnet.
fn vet_ends(local: SocketAddr, remote: SocketAddr, allow: &[IpNet]) -> Result<(), Failure> {
    address::vet(remote.ip(), allow).map_err(blocked)?;
    if local.ip() == remote.ip() && !address::is_allowed(remote.ip(), allow) {
        return Err(Failure::new(FailureKind::Blocked, "the host leads to this machine itself"));
    }
    Ok(())
}

/// Connects to the first that answers. Each gets a head start; one that fails passes its turn on at once.
async fn dial(targets: Vec<SocketAddr>) -> Result<TcpStream, Failure> {
    let mut waiting: vec::IntoIter<SocketAddr> = targets.into_iter();
    let mut running = FuturesUnordered::new();
    let mut last_error = None;
    loop {
        running.extend(waiting.next().map(connect));
        let patience = if waiting.as_slice().is_empty() { CONNECT_TIME_MAX } else { HEAD_START };
        match tokio::time::timeout(patience, running.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => last_error = Some(error),
            Ok(None) => return Err(Failure::from_connect(last_error.as_ref())),
            // The next one joins the race; with none left, the caller's deadline is near.
            Err(_elapsed) => {}
        }
    }
}

async fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    not_itself(TcpStream::connect(target).await?)
}

/// Where nobody listens on a port of this machine from which the kernel gives out ports, it can give the dialler that
/// one: the two ends of a "simultaneous open" (RFC 9293 section 3.5) are one socket then, which echoes what is sent.
fn not_itself(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// A connection below HTTP.
pub(super) struct Wire {
    io: Layer,
    remote: SocketAddr,
}

enum Layer {
    Plain(TokioIo<TcpStream>),
    /// Boxed: 1 KiB of state against 32 bytes.
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Wire {
    /// The address at the other end.
    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.io {
            Layer::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Layer::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Layer::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Layer::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Layer::Plain(io) => Pin::new(io).poll_flush(cx),
            Layer::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Layer::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Layer::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Layer::Plain(io) => io.is_write_vectored(),
            Layer::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Layer::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Layer::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn a_socket_connected_to_a_refused_address_is_blocked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let stream = TcpStream::connect(addr).await.expect("a connection");
        let failure = vetted_peer(&stream, &[]).expect_err("loopback");
        assert_eq!(failure, Failure::new(FailureKind::Blocked, "the host leads to a loopback address"));
        assert_eq!(vetted_peer(&stream, &["127.0.0.0/8".parse().expect("a network")]), Ok(addr));
    }

    #[test]
    fn a_public_address_of_this_machine_is_reached_only_if_the_operator_says_so() {
        let end = |text: &str| text.parse::<SocketAddr>().expect(text);
        let this_machine = failed_blocked("the host leads to this machine itself");
        for (local, remote, allow, expected) in [
            ("10.0.0.7:40000", "8.8.8.8:443", &[][..], Ok(())),
            ("8.8.8.8:40000", "8.8.8.8:443", &[], Err(this_machine.clone())),
            ("8.8.8.8:40000", "8.8.8.8:443", &["8.8.8.8/32"], Ok(())),
            ("8.8.8.8:40000", "8.8.8.8:443", &["9.9.9.9/32"], Err(this_machine.clone())),
            ("[2606:4700::1]:40000", "[2606:4700::1]:80", &[], Err(this_machine)),
            ("[2606:4700::1]:40000", "[2606:4700::2]:80", &[], Ok(())),
            ("127.0.0.1:40000", "127.0.0.1:80", &["127.0.0.0/8"], Ok(())),
            (
                "127.0.0.1:40000",
                "127.0.0.1:80",
                &[],
                Err(failed_blocked("the host leads to a loopback address")),
            ),
        ] {
            let allow: Vec<IpNet> = allow.iter().map(|net: &&str| net.parse().expect(net)).collect();
            assert_eq!(vet_ends(end(local), end(remote), &allow), expected, "{local} -> {remote}");
        }
    }

    fn failed_blocked(detail: &str) -> Failure {
        Failure::new(FailureKind::Blocked, detail)
    }

    /// As the kernel does it by chance if it gives a dialler the very port that is dialled.
    #[tokio::test]
    async fn a_socket_connected_to_itself_counts_as_refused() {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let addr = socket.local_addr().expect("bound");
        let stream = socket.connect(addr).await.expect("a socket connects to itself");
        assert_eq!(stream.local_addr().expect("connected"), stream.peer_addr().expect("connected"));
        let error = not_itself(stream).expect_err("there is no host");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn with_nothing_to_dial_there_is_no_connection() {
        assert_eq!(dial(vec![]).await.map(drop), Err(Failure::from_connect(None)));
    }
}
