//! `outbound` against hosts that mean no good.
//!
//! Every host is modelled by a real socket on 127.0.0.1, which the tests allow by CIDR, and by a DNS server of some
//! lines. A host that has to be slow waits for ever instead; only where an answer must drip does it wait on a timer.

use std::future::{Future, pending};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use calltracker::kernel::address::Refusal;
use calltracker::outbound::{
    Answer, Failure, FailureKind, Limits, Options, Outbound, Request, ResolverChoice, TargetError,
    is_owned_header,
};
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{Notify, mpsc};
use tokio_rustls::TlsAcceptor;
use url::Url;

/// Where an answer is expected. Only a broken test gets this far.
const PATIENT: Limits =
    Limits { deadline: Duration::from_secs(20), read_bytes_max: 16 * 1024, keep_bytes_max: 4 * 1024 };
/// Where the deadline is expected.
const HASTY: Limits = Limits { deadline: Duration::from_millis(250), ..PATIENT };

/// Where all the hosts are.
const LOOPBACK: &str = "127.0.0.0/8";

mod answers {
    //! What honest hosts say.

    pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    pub const OK_CLOSING: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
}

mod answered {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_handed_over_with_its_status_headers_and_body() {
        let host =
            Host::answering(b"HTTP/1.1 201 Created\r\nX-Note: hi\r\ncontent-length: 5\r\n\r\nhello").await;
        let answer = post(&host.url("/hook"), PATIENT).await.expect("an answer");
        assert_eq!(answer.status, 201);
        assert_eq!(answer.headers["x-note"], "hi");
        assert_eq!(answer.body, b"hello");
        assert!(!answer.truncated);
        assert_eq!(answer.remote, Some(host.addr));
    }

    #[tokio::test]
    async fn a_request_carries_the_callers_headers_except_those_that_frame_it() {
        let mut host = Host::answering(answers::OK).await;
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-custom", "kept"),
            ("authorization", "Basic Zm9v"),
            ("host", "evil.example"),
            ("content-length", "1"),
            ("transfer-encoding", "chunked"),
            ("connection", "upgrade"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("accept-encoding", "gzip"),
            ("proxy-authorization", "Basic Zm9v"),
        ] {
            let name = HeaderName::from_static(name);
            assert_eq!(
                is_owned_header(&name),
                !["x-custom", "authorization"].contains(&name.as_str()),
                "{name}"
            );
            headers.insert(name, HeaderValue::from_static(value));
        }
        let request = Request { headers, ..request(&host.url("/a?b=c")) };
        outbound(&[LOOPBACK]).send(request, PATIENT).await.expect("an answer");

        let seen = host.next_request().await;
        let mut lines: Vec<&str> = seen.split("\r\n").collect();
        assert_eq!(lines.remove(0), "POST /a?b=c HTTP/1.1");
        lines.sort_unstable();
        let addr = format!("host: {}", host.addr);
        let expected = [
            "",
            "accept-encoding: identity",
            "authorization: Basic Zm9v",
            "content-length: 7",
            &addr,
            "payload",
            "user-agent: calltracker-test",
            "x-custom: kept",
        ];
        assert_eq!(lines, expected);
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let mut host =
            Host::answering(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n").await;
        let answer = post(&host.url("/"), PATIENT).await.expect("an answer");
        assert_eq!(answer.status, 302);
        assert!(host.next_request().await.starts_with("POST / "));
        assert!(host.requests.try_recv().is_err());
    }

    #[tokio::test]
    async fn an_answer_without_a_body_or_without_a_length_ends_where_it_ends() {
        for (raw, body) in [
            (&b"HTTP/1.1 204 No Content\r\n\r\n"[..], &b""[..]),
            (b"HTTP/1.0 200 OK\r\n\r\nto the end", b"to the end"),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n", b"abc"),
            (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", b"x"),
        ] {
            let host = Host::closing_after(raw).await;
            let answer = post(&host.url("/"), PATIENT).await.expect("an answer");
            assert_eq!(answer.body, body);
        }
    }

    #[tokio::test]
    async fn one_connection_serves_requests_that_follow_each_other() {
        let host = Host::answering(answers::OK).await;
        let outbound = outbound(&[LOOPBACK]);
        for _ in 0..2 {
            outbound.send(request(&host.url("/")), PATIENT).await.expect("an answer");
        }
        assert_eq!(host.connections(), 1);
    }

    #[tokio::test]
    async fn a_kept_connection_that_was_closed_is_replaced() {
        let mut host = Host::new(|mut stream, log| async move {
            log.request(&mut stream).await;
            send_all(&mut stream, answers::OK).await;
            let _ = stream.shutdown().await;
            let _ = stream.read(&mut [0; 1]).await;
            log.note("noticed");
        })
        .await;
        let outbound = outbound(&[LOOPBACK]);
        for connections in 1..=2 {
            outbound.send(request(&host.url("/")), PATIENT).await.expect("an answer");
            assert_eq!(host.connections(), connections);
            host.next_request().await;
            assert_eq!(host.next_request().await, "noticed");
        }
    }

    #[tokio::test]
    async fn an_offer_to_switch_protocols_is_an_answer_and_the_end_of_the_connection() {
        let mut host = Host::new(|mut stream, log| async move {
            log.request(&mut stream).await;
            send_all(&mut stream, b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n").await;
            let _ = stream.read(&mut [0; 1]).await;
            log.note("closed");
        })
        .await;
        let answer = post(&host.url("/"), PATIENT).await.expect("an answer");
        assert_eq!((answer.status, answer.body.len()), (101, 0));
        host.next_request().await;
        assert_eq!(host.next_request().await, "closed");
    }

    #[test]
    fn nothing_is_opened_before_the_first_request() {
        for resolver in [ResolverChoice::System, ResolverChoice::NameServer(UNUSED_DNS)] {
            assert!(Outbound::new(Options { resolver, ..options(&[]) }).is_ok(), "outside a runtime");
        }
        assert!(Outbound::new(Options { user_agent: "a\nb".to_owned(), ..options(&[]) }).is_err());
    }

    #[tokio::test]
    async fn a_deadline_beyond_all_clocks_is_one_that_never_comes() {
        let host = Host::answering(answers::OK).await;
        let limits =
            Limits { deadline: Duration::MAX, read_bytes_max: usize::MAX, keep_bytes_max: usize::MAX };
        assert_eq!(post(&host.url("/"), limits).await.expect("an answer").body, b"ok");
    }

    #[tokio::test]
    async fn the_machines_own_dns_configuration_is_not_needed_for_a_literal_address() {
        let host = Host::answering(answers::OK).await;
        let options = Options { resolver: ResolverChoice::System, ..options(&[LOOPBACK]) };
        let outbound = Outbound::new(options).expect("valid options");
        assert_eq!(outbound.send(request(&host.url("/")), PATIENT).await.expect("an answer").status, 200);
    }

    #[tokio::test]
    async fn a_request_that_was_written_is_not_sent_again() {
        let mut host = Host::new(|mut stream, log| async move {
            log.request(&mut stream).await;
            send_all(&mut stream, answers::OK).await;
            log.request(&mut stream).await;
        })
        .await;
        let outbound = outbound(&[LOOPBACK]);
        outbound.send(request(&host.url("/1")), PATIENT).await.expect("an answer");
        let failure = outbound.send(request(&host.url("/2")), PATIENT).await.expect_err("no answer");
        assert_eq!(failure.kind, FailureKind::Reset);
        assert_eq!(host.connections(), 1);
        assert!(host.next_request().await.starts_with("POST /1 "));
        assert!(host.next_request().await.starts_with("POST /2 "));
        assert!(host.requests.try_recv().is_err());
    }
}

mod bodies {
    use super::*;

    #[tokio::test]
    async fn an_endless_body_is_cut_and_the_connection_closed() {
        let mut host = Host::new(|mut stream, log| async move {
            log.request(&mut stream).await;
            send_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
            log.note("closed");
        })
        .await;
        let answer = post(&host.url("/"), PATIENT).await.expect("an answer");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body.len(), PATIENT.keep_bytes_max);
        assert!(answer.truncated);
        host.next_request().await;
        assert_eq!(host.next_request().await, "closed");
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_is_whole() {
        for (length, truncated) in [(4096, false), (4097, true), (16 * 1024, true), (16 * 1024 + 1, true)] {
            let mut raw = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
            raw.resize(raw.len() + length, b'x');
            let host = Host::answering(raw).await;
            let answer = post(&host.url("/"), PATIENT).await.expect("an answer");
            assert_eq!((answer.body.len(), answer.truncated), (4096, truncated), "{length}");
        }
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_is_a_timeout_with_the_status() {
        let host = Host::stalling_after(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        let failure = post(&host.url("/"), HASTY).await.expect_err("no end");
        assert_eq!((failure.kind, failure.status), (FailureKind::Timeout, Some(200)));
        assert_eq!(failure.detail, "answered, but the body did not end within 250ms");
    }

    #[tokio::test]
    async fn a_body_that_drips_is_a_timeout_with_the_status() {
        let host = Host::dripping_after(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let failure = post(&host.url("/"), HASTY).await.expect_err("no end");
        assert_eq!((failure.kind, failure.status), (FailureKind::Timeout, Some(200)));
    }

    #[tokio::test]
    async fn a_body_cut_off_is_a_reset_with_the_status() {
        for raw in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"[..],
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ] {
            let host = Host::closing_after(raw).await;
            let failure = post(&host.url("/"), PATIENT).await.expect_err("no end");
            assert_eq!((failure.kind, failure.status), (FailureKind::Reset, Some(200)));
        }
    }

    #[tokio::test]
    async fn a_chunk_that_is_none_is_a_protocol_failure_with_the_status() {
        for chunk in ["zz\r\n", "fffffffffffffffff\r\n", "-1\r\n", "1\r\nab\r\n"] {
            let raw = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}");
            let host = Host::stalling_after(raw.into_bytes()).await;
            let failure = post(&host.url("/"), PATIENT).await.expect_err("no chunk");
            assert_eq!((failure.kind, failure.status), (FailureKind::Protocol, Some(200)), "{chunk:?}");
        }
    }

    /// gzip of one MiB of zeros, one kB long.
    fn bomb() -> Vec<u8> {
        [&BOMB_HEAD[..], &[0; BOMB_ZEROS], &BOMB_TAIL].concat()
    }
    const BOMB_HEAD: [u8; 25] =
        [31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 237, 193, 49, 1, 0, 0, 0, 194, 160, 245, 79, 109, 8, 95, 160];
    const BOMB_ZEROS: usize = 1016;
    const BOMB_TAIL: [u8; 10] = [62, 3, 28, 234, 56, 167, 0, 0, 16, 0];

    #[tokio::test]
    async fn a_compressed_bomb_stays_as_small_as_it_came() {
        let bomb = bomb();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len());
        let host = Host::answering([head.into_bytes(), bomb.clone()].concat()).await;
        let answer = post(&host.url("/"), PATIENT).await.expect("an answer");
        assert_eq!(answer.body, bomb);
        assert!(!answer.truncated);
    }
}

mod heads {
    use super::*;

    #[tokio::test]
    async fn silence_is_a_timeout() {
        let host = Host::stalling_after(b"").await;
        let failure = post(&host.url("/"), HASTY).await.expect_err("silence");
        assert_eq!((failure.kind, failure.status), (FailureKind::Timeout, None));
        assert_eq!(failure.detail, "connected, but no answer within 250ms");
    }

    #[tokio::test]
    async fn headers_that_drip_are_a_timeout() {
        let host = Host::dripping_after(b"HTTP/1.1 200 OK\r\nx: ").await;
        let failure = post(&host.url("/"), HASTY).await.expect_err("no end of headers");
        assert_eq!((failure.kind, failure.status), (FailureKind::Timeout, None));
    }

    #[tokio::test]
    async fn a_flood_of_interim_answers_is_a_protocol_failure_and_ends_the_connection() {
        let mut host = Host::new(|mut stream, log| async move {
            log.request(&mut stream).await;
            while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_ok() {}
            log.note("closed");
        })
        .await;
        let failure = post(&host.url("/"), PATIENT).await.expect_err("no final answer");
        assert_eq!((failure.kind, failure.status), (FailureKind::Protocol, None));
        host.next_request().await;
        assert_eq!(host.next_request().await, "closed");
    }

    #[tokio::test]
    async fn headers_over_the_limits_are_too_large() {
        let many = |count: usize| format!("HTTP/1.1 204 No Content\r\n{}\r\n", "a: b\r\n".repeat(count));
        let long = |bytes: usize| format!("HTTP/1.1 204 No Content\r\na: {}\r\n\r\n", "b".repeat(bytes));
        for fitting in [many(100), long(60_000)] {
            let host = Host::answering(fitting.into_bytes()).await;
            assert_eq!(post(&host.url("/"), PATIENT).await.expect("an answer").status, 204);
        }
        for excessive in [many(101), long(140_000), many(4_000_000), long(20_000_000)] {
            let host = Host::answering(excessive.into_bytes()).await;
            let failure =
                post(&host.url("/"), PATIENT).await.map(|answer| answer.status).expect_err("too much");
            assert_eq!((failure.kind, failure.status), (FailureKind::TooLarge, None), "{failure}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_not_http_is_a_protocol_failure() {
        for raw in [
            &b"\x00\x01\x02\x03\r\n\r\n"[..],
            b"hello world, how are you?\r\n\r\n",
            b"HTTP/3.0 200 OK\r\n\r\n",
            b"HTTP/1.1 abc OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
            b"HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            let host = Host::stalling_after(raw).await;
            let failure = post(&host.url("/"), PATIENT).await.expect_err("not HTTP");
            let raw = String::from_utf8_lossy(raw);
            assert_eq!((failure.kind, failure.status), (FailureKind::Protocol, None), "{raw:?} {failure}");
        }
    }

    #[tokio::test]
    async fn a_banner_before_the_request_is_a_protocol_failure() {
        let host = Host::new(|mut stream, _log| async move {
            send_all(&mut stream, b"SSH-2.0-OpenSSH_9.9\r\n").await;
            pending::<()>().await;
        })
        .await;
        let failure = post(&host.url("/"), PATIENT).await.expect_err("not HTTP");
        assert_eq!(failure.kind, FailureKind::Protocol, "{failure}");
    }
}

mod connections {
    use super::*;

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_a_connect_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        drop(listener);
        let failure = post(&format!("http://{addr}/"), PATIENT).await.expect_err("nobody");
        assert_eq!(failure, failed(FailureKind::Connect, "the connection was refused"));
    }

    #[tokio::test]
    async fn a_connection_closed_before_the_answer_is_a_reset() {
        for raw in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-le"] {
            let host = Host::closing_after(raw).await;
            let failure = post(&host.url("/"), PATIENT).await.expect_err("closed");
            assert_eq!((failure.kind, failure.status), (FailureKind::Reset, None));
        }
    }

    #[tokio::test]
    async fn a_connection_closed_before_the_request_is_a_reset() {
        let host = Host::new(|stream, _log| async move { drop(stream) }).await;
        let failure = post(&host.url("/"), PATIENT).await.expect_err("closed");
        assert_eq!((failure.kind, failure.status), (FailureKind::Reset, None), "{failure}");
    }

    #[tokio::test]
    async fn a_connection_aborted_is_a_reset() {
        let host = Host::new(|mut stream, log| async move {
            log.request(&mut stream).await;
            stream.set_zero_linger().expect("a socket");
        })
        .await;
        let failure = post(&host.url("/"), PATIENT).await.expect_err("aborted");
        assert_eq!((failure.kind, failure.status), (FailureKind::Reset, None));
    }

    #[tokio::test]
    async fn a_connection_aborted_within_the_body_is_a_reset_with_the_status() {
        // Aborting throws away what the client has not read yet, so the host waits until it has.
        let seen = Arc::new(Notify::new());
        let clients_word = seen.clone();
        let host = Host::new(move |mut stream, log| {
            let seen = clients_word.clone();
            async move {
                log.request(&mut stream).await;
                send_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
                seen.notified().await;
                stream.set_zero_linger().expect("a socket");
            }
        })
        .await;
        let mut download =
            outbound(&[LOOPBACK]).fetch(request(&host.url("/")), PATIENT).await.expect("the beginning");
        assert_eq!(download.chunk().await, Ok(Some(Bytes::from_static(b"half"))));
        seen.notify_one();
        let failure = download.chunk().await.expect_err("aborted");
        assert_eq!((failure.kind, failure.status), (FailureKind::Reset, Some(200)));
    }

    #[tokio::test]
    async fn giving_up_on_a_request_closes_its_connection() {
        let mut host = Host::new(|mut stream, log| async move {
            log.request(&mut stream).await;
            let _ = stream.read(&mut [0; 1]).await;
            log.note("closed");
        })
        .await;
        let outbound = outbound(&[LOOPBACK]);
        let url = host.url("/");
        let sending = tokio::spawn(async move { outbound.send(request(&url), PATIENT).await });
        host.requests.recv().await.expect("the request");
        sending.abort();
        assert_eq!(host.next_request().await, "closed");
    }
}

mod blocked {
    use super::*;

    #[tokio::test]
    async fn a_literal_address_that_is_not_allowed_is_not_dialled() {
        let host = Host::answering(answers::OK).await;
        let outbound = outbound(&["127.0.0.2/32"]);
        for url in [host.url("/"), format!("http://[::ffff:127.0.0.1]:{}/", host.addr.port())] {
            let failure = outbound.send(request(&url), PATIENT).await.expect_err("refused");
            assert_eq!(
                failure,
                failed(FailureKind::Blocked, "the target must not lead to a loopback address")
            );
        }
        assert_eq!(host.connections(), 0);
    }

    #[tokio::test]
    async fn a_url_that_could_not_be_registered_is_not_called_either() {
        let outbound = outbound(&[LOOPBACK]);
        for url in ["http://u:p@127.0.0.1/", "ftp://127.0.0.1/", "http://127.0.0.1/#x", "http://127.0.0.1:0/"]
        {
            let failure = outbound.send(request(url), PATIENT).await.expect_err("refused");
            assert_eq!(failure.kind, FailureKind::Blocked, "{url}");
        }
    }

    #[tokio::test]
    async fn a_tunnel_is_refused() {
        let request = Request { method: Method::CONNECT, ..request("http://127.0.0.1/") };
        let failure = outbound(&[LOOPBACK]).send(request, PATIENT).await.expect_err("refused");
        assert_eq!(failure.kind, FailureKind::Blocked);
    }
}

mod dns {
    use super::*;

    #[tokio::test]
    async fn a_name_is_resolved_and_called_by_its_name() {
        let mut host = Host::answering(answers::OK).await;
        let dns = dns(|_, _| Reply::Addresses(vec![v4("127.0.0.1")])).await;
        let outbound = outbound_with(&[LOOPBACK], dns, RootCertStore::empty());
        let answer = outbound.send(request(&host.named("hook.example.")), PATIENT).await.expect("an answer");
        assert_eq!(answer.remote, Some(host.addr));
        let authority = format!("host: hook.example.:{}", host.addr.port());
        assert!(host.next_request().await.contains(&authority));
    }

    #[tokio::test]
    async fn a_name_with_only_refused_addresses_is_blocked() {
        let dns = dns(|_, _| Reply::Addresses(vec![v4("10.0.0.1"), v4("192.168.0.1")])).await;
        let outbound = outbound_with(&[], dns, RootCertStore::empty());
        let failure = outbound.send(request("http://inside.example/"), PATIENT).await.expect_err("refused");
        assert_eq!(failure, failed(FailureKind::Blocked, "the host leads to a private address"));
        let error = outbound.check_target_resolved("http://inside.example/", PATIENT.deadline).await;
        assert_eq!(error, Err(TargetError::Refused(Refusal::Private)));
    }

    #[tokio::test]
    async fn of_mixed_addresses_only_the_allowed_are_dialled() {
        let allowed = Host::answering(answers::OK).await;
        let refused =
            Host::at(SocketAddr::new(v4("127.0.0.2"), allowed.addr.port()), answering(answers::OK)).await;
        let dns = dns(|_, _| Reply::Addresses(vec![v4("127.0.0.2"), v4("127.0.0.1"), v4("10.0.0.1")])).await;
        let outbound = outbound_with(&["127.0.0.1/32"], dns, RootCertStore::empty());
        let url = allowed.named("mixed.example");
        assert_eq!(
            outbound.send(request(&url), PATIENT).await.expect("an answer").remote,
            Some(allowed.addr)
        );
        assert_eq!((allowed.connections(), refused.connections()), (1, 0));
        assert!(outbound.check_target_resolved(&url, PATIENT.deadline).await.is_ok());
    }

    #[tokio::test]
    async fn an_address_that_refuses_passes_its_turn_on() {
        let host = Host::answering(answers::OK).await;
        let dns = dns(|_, _| Reply::Addresses(vec![v4("127.0.0.3"), v4("127.0.0.4"), v4("127.0.0.1")])).await;
        let outbound = outbound_with(&[LOOPBACK], dns, RootCertStore::empty());
        let answer =
            outbound.send(request(&host.named("several.example")), PATIENT).await.expect("an answer");
        assert_eq!(answer.remote, Some(host.addr));
    }

    #[tokio::test]
    async fn an_address_that_is_silent_lets_the_next_one_join_in() {
        let host = Host::answering(answers::OK).await;
        let _silent = deaf_host(SocketAddr::new(v4("127.0.0.2"), host.addr.port())).await;
        let dns = dns(|_, _| Reply::Addresses(vec![v4("127.0.0.2"), v4("127.0.0.1")])).await;
        let outbound = outbound_with(&[LOOPBACK], dns, RootCertStore::empty());
        let answer =
            outbound.send(request(&host.named("half-dead.example")), PATIENT).await.expect("an answer");
        assert_eq!(answer.remote, Some(host.addr));
    }

    #[tokio::test]
    async fn a_name_that_changes_to_a_refused_address_is_blocked() {
        let host = Host::answering(answers::OK_CLOSING).await;
        let dns =
            dns(|_, nth| Reply::Addresses(vec![v4(if nth == 0 { "127.0.0.1" } else { "127.0.0.2" })])).await;
        let outbound = outbound_with(&["127.0.0.1/32"], dns, RootCertStore::empty());
        let url = host.named("rebinding.example");
        outbound.send(request(&url), PATIENT).await.expect("an answer");
        let failure = outbound.send(request(&url), PATIENT).await.expect_err("refused");
        assert_eq!(failure, failed(FailureKind::Blocked, "the host leads to a loopback address"));
        assert_eq!(host.connections(), 1);
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_a_dns_failure() {
        let dns = dns(|_, _| Reply::NoSuchName).await;
        let outbound = outbound_with(&[], dns, RootCertStore::empty());
        let failure = outbound.send(request("http://nobody.example/"), PATIENT).await.expect_err("no name");
        assert_eq!(failure, failed(FailureKind::Dns, "the host's name has no address"));
        let error = outbound.check_target_resolved("http://nobody.example/", PATIENT.deadline).await;
        assert_eq!(error, Err(TargetError::Unresolved("the host's name has no address".to_owned())));
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_a_dns_failure() {
        let dns = dns(|_, _| Reply::Addresses(vec![])).await;
        let outbound = outbound_with(&[], dns, RootCertStore::empty());
        let failure =
            outbound.send(request("http://mail-only.example/"), PATIENT).await.expect_err("no address");
        assert_eq!(failure.kind, FailureKind::Dns);
    }

    #[tokio::test]
    async fn a_name_server_that_is_silent_costs_the_deadline_and_no_more() {
        let dns = dns(|_, _| Reply::Silence).await;
        let outbound = outbound_with(&[], dns, RootCertStore::empty());
        let failure = outbound.send(request("http://silent.example/"), HASTY).await.expect_err("silence");
        assert_eq!(failure, failed(FailureKind::Timeout, "no connection within 250ms"));
        let error = outbound.check_target_resolved("http://silent.example/", HASTY.deadline).await;
        assert_eq!(error, Err(TargetError::Unresolved("no answer from DNS within 250ms".to_owned())));
    }

    #[tokio::test]
    async fn one_address_family_that_is_silent_delays_the_other_only_a_little() {
        let host = Host::answering(answers::OK).await;
        let dns = dns(|family, _| match family {
            Family::V4 => Reply::Addresses(vec![v4("127.0.0.1")]),
            Family::V6 => Reply::Silence,
        })
        .await;
        let outbound = outbound_with(&[LOOPBACK], dns, RootCertStore::empty());
        let limits = Limits { deadline: Duration::from_secs(4), ..PATIENT };
        outbound
            .send(request(&host.named("half.example")), limits)
            .await
            .expect("before DNS gives up at 5 s");
    }

    #[tokio::test]
    async fn a_literal_or_local_target_is_checked_without_dns() {
        let dns = dns(|_, _| Reply::Silence).await;
        let outbound = outbound_with(&[], dns, RootCertStore::empty());
        assert!(outbound.check_target_resolved("https://8.8.8.8/", PATIENT.deadline).await.is_ok());
        for target in ["https://127.0.0.1/", "https://localhost/"] {
            let error = outbound.check_target_resolved(target, PATIENT.deadline).await;
            assert_eq!(error, Err(TargetError::Refused(Refusal::Loopback)), "{target}");
        }
    }
}

mod tls {
    use super::*;

    #[tokio::test]
    async fn a_trusted_host_is_called_and_its_session_resumed() {
        let (acceptor, roots) = identity(&["127.0.0.1"], Validity::Now);
        let mut host = Host::new(move |stream, log| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                log.note(&format!("{:?}", stream.get_ref().1.handshake_kind()));
                log.request(&mut stream).await;
                send_all(&mut stream, answers::OK_CLOSING).await;
                let _ = stream.shutdown().await;
            }
        })
        .await;
        let outbound = outbound_with(&[LOOPBACK], UNUSED_DNS, roots);
        for handshake in ["Some(Full)", "Some(Resumed)"] {
            let answer = outbound.send(request(&host.secure("127.0.0.1")), PATIENT).await.expect("an answer");
            assert_eq!(answer.body, b"ok");
            assert_eq!(host.next_request().await, handshake);
            host.next_request().await;
        }
    }

    #[tokio::test]
    async fn a_name_with_a_final_dot_matches_its_certificate() {
        let (acceptor, roots) = identity(&["hook.example"], Validity::Now);
        let host = Host::secured(acceptor).await;
        let dns = dns(|_, _| Reply::Addresses(vec![v4("127.0.0.1")])).await;
        let outbound = outbound_with(&[LOOPBACK], dns, roots);
        for name in ["hook.example", "hook.example."] {
            outbound.send(request(&host.secure(name)), PATIENT).await.expect("an answer");
        }
    }

    #[tokio::test]
    async fn a_certificate_that_does_not_hold_is_a_tls_failure() {
        let (untrusted, _) = identity(&["127.0.0.1"], Validity::Now);
        let (misnamed, misnamed_roots) = identity(&["other.example"], Validity::Now);
        let (expired, expired_roots) = identity(&["127.0.0.1"], Validity::Past);
        for (acceptor, roots, detail) in [
            (untrusted, RootCertStore::empty(), "the host's certificate is not from a trusted authority"),
            (misnamed, misnamed_roots, "the host's certificate is for another name"),
            (expired, expired_roots, "the host's certificate has expired"),
        ] {
            let host = Host::secured(acceptor).await;
            let outbound = outbound_with(&[LOOPBACK], UNUSED_DNS, roots);
            let failure =
                outbound.send(request(&host.secure("127.0.0.1")), PATIENT).await.expect_err("no trust");
            assert_eq!(failure, failed(FailureKind::Tls, detail));
        }
    }

    #[tokio::test]
    async fn a_host_that_does_not_speak_tls_is_a_tls_failure() {
        let plain = Host::new(|mut stream, _log| async move {
            send_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            pending::<()>().await;
        })
        .await;
        let closing = Host::new(|stream, _log| async move { drop(stream) }).await;
        for host in [plain, closing] {
            let failure = post(&host.secure("127.0.0.1"), PATIENT).await.expect_err("no TLS");
            assert_eq!(failure.kind, FailureKind::Tls, "{failure}");
        }
    }

    #[tokio::test]
    async fn a_handshake_that_stalls_is_a_timeout() {
        let host = Host::new(|stream, _log| async move {
            let _stream = stream;
            pending::<()>().await;
        })
        .await;
        let failure = post(&host.secure("127.0.0.1"), HASTY).await.expect_err("silence");
        assert_eq!(failure, failed(FailureKind::Timeout, "no connection within 250ms"));
    }
}

mod downloads {
    use super::*;

    /// Everything that comes, or what stopped it.
    async fn download(host: &Host, limits: Limits) -> Result<(u16, Vec<u8>), Failure> {
        let mut download = outbound(&[LOOPBACK]).fetch(request(&host.url("/")), limits).await?;
        let mut body = Vec::new();
        while let Some(chunk) = download.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        assert_eq!(download.chunk().await, Ok(None), "the end is final");
        Ok((download.status(), body))
    }

    fn body_of(status: &str, length: usize) -> Vec<u8> {
        let mut raw = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n").into_bytes();
        raw.resize(raw.len() + length, b'x');
        raw
    }

    #[tokio::test]
    async fn a_download_comes_whole_up_to_its_limit() {
        let limits = Limits { read_bytes_max: 3_000_000, ..PATIENT };
        let host = Host::answering(body_of("200 OK", 3_000_000)).await;
        let (status, body) = download(&host, limits).await.expect("all of it");
        assert_eq!((status, body.len()), (200, 3_000_000));
    }

    #[tokio::test]
    async fn a_download_over_its_limit_is_too_large_announced_or_not() {
        let announced = Host::answering(body_of("200 OK", PATIENT.read_bytes_max + 1)).await;
        let mut raw = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        raw.resize(raw.len() + PATIENT.read_bytes_max + 1, b'x');
        let unannounced = Host::closing_after(raw).await;
        for host in [announced, unannounced] {
            let failure = download(&host, PATIENT).await.expect_err("too much");
            assert_eq!((failure.kind, failure.status), (FailureKind::TooLarge, Some(200)));
        }
    }

    #[tokio::test]
    async fn the_explanation_of_a_refusal_is_read_up_to_its_own_limit() {
        for (length, read) in [(10, 10), (4096, 4096), (4097, 4096), (1_000_000, 4096)] {
            let host = Host::answering(body_of("404 Not Found", length)).await;
            let (status, body) = download(&host, PATIENT).await.expect("the beginning");
            assert_eq!((status, body.len()), (404, read));
        }
    }

    #[tokio::test]
    async fn the_deadline_runs_on_between_the_pieces() {
        let stalled = Host::stalling_after(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        let endless = Host::new(|mut stream, log| async move {
            log.request(&mut stream).await;
            send_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
        })
        .await;
        for host in [stalled, endless] {
            let failure =
                download(&host, Limits { read_bytes_max: usize::MAX, ..HASTY }).await.expect_err("no end");
            assert_eq!((failure.kind, failure.status), (FailureKind::Timeout, Some(200)));
        }
    }

    #[tokio::test]
    async fn a_reader_that_dawdles_does_not_stretch_the_deadline() {
        let host = Host::stalling_after(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        let mut download =
            outbound(&[LOOPBACK]).fetch(request(&host.url("/")), HASTY).await.expect("the beginning");
        // The passing of the time itself is what is tested.
        tokio::time::sleep(HASTY.deadline).await;
        let failure = download.chunk().await.expect_err("too late, although there is something to read");
        assert_eq!((failure.kind, failure.status), (FailureKind::Timeout, Some(200)));
    }

    #[tokio::test]
    async fn a_download_cut_off_is_a_reset() {
        let host = Host::closing_after(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        let mut download =
            outbound(&[LOOPBACK]).fetch(request(&host.url("/")), PATIENT).await.expect("the beginning");
        assert_eq!(download.chunk().await, Ok(Some(Bytes::from_static(b"half"))));
        for _ in 0..2 {
            let failure = download.chunk().await.expect_err("no end, ever");
            assert_eq!((failure.kind, failure.status), (FailureKind::Reset, Some(200)));
        }
    }
}

/// No test that uses it gets as far as asking.
const UNUSED_DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

fn outbound(allow: &[&str]) -> Outbound {
    outbound_with(allow, UNUSED_DNS, RootCertStore::empty())
}

fn outbound_with(allow: &[&str], dns: SocketAddr, roots: RootCertStore) -> Outbound {
    let options = Options { resolver: ResolverChoice::NameServer(dns), roots, ..options(allow) };
    Outbound::new(options).expect("valid options")
}

fn options(allow: &[&str]) -> Options {
    Options {
        allow: allow.iter().map(|net| net.parse().expect(net)).collect(),
        roots: RootCertStore::empty(),
        resolver: ResolverChoice::NameServer(UNUSED_DNS),
        user_agent: "calltracker-test".to_owned(),
    }
}

fn request(url: &str) -> Request {
    Request {
        method: Method::POST,
        url: Url::parse(url).expect(url),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"payload"),
    }
}

async fn post(url: &str, limits: Limits) -> Result<Answer, Failure> {
    outbound(&[LOOPBACK]).send(request(url), limits).await
}

fn failed(kind: FailureKind, detail: &str) -> Failure {
    Failure { kind, detail: detail.to_owned(), status: None }
}

/// A host that plays a script on each of its connections.
struct Host {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// What the scripts have noted, in order.
    requests: mpsc::UnboundedReceiver<String>,
}

impl Host {
    async fn new<Script, Playing>(script: Script) -> Host
    where
        Script: Fn(TcpStream, Log) -> Playing + Send + 'static,
        Playing: Future<Output = ()> + Send + 'static,
    {
        Host::at(SocketAddr::new(v4("127.0.0.1"), 0), script).await
    }

    async fn at<Script, Playing>(addr: SocketAddr, script: Script) -> Host
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
    async fn answering(raw: impl AsRef<[u8]>) -> Host {
        Host::new(answering(raw)).await
    }

    /// Takes the request, says `raw` and closes.
    async fn closing_after(raw: impl AsRef<[u8]>) -> Host {
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
    async fn stalling_after(raw: impl AsRef<[u8]>) -> Host {
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
    async fn dripping_after(raw: &'static [u8]) -> Host {
        Host::new(move |mut stream, log| async move {
            log.request(&mut stream).await;
            send_all(&mut stream, raw).await;
            let mut drip = tokio::time::interval(Duration::from_millis(10));
            while stream.write_all(b"x").await.is_ok() {
                drip.tick().await;
            }
        })
        .await
    }

    /// Answers each connection's one request by TLS.
    async fn secured(acceptor: TlsAcceptor) -> Host {
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

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    fn named(&self, name: &str) -> String {
        format!("http://{name}:{}/", self.addr.port())
    }

    fn secure(&self, name: &str) -> String {
        format!("https://{name}:{}/", self.addr.port())
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    async fn next_request(&mut self) -> String {
        self.requests.recv().await.expect("the host is still there")
    }
}

/// A port that takes no more connections and does not refuse them either: its queue is full and nobody accepts.
async fn deaf_host(addr: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(addr).expect("a port");
    let listener = socket.listen(1).expect("a queue");
    let mut queue = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(addr)).await {
        queue.push(stream.expect("a place in the queue"));
    }
    (listener, queue)
}

fn answering(
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
struct Log(mpsc::UnboundedSender<String>);

impl Log {
    fn note(&self, what: &str) {
        // The test may be over.
        let _ = self.0.send(what.to_owned());
    }

    /// Reads one request and notes it; false when there is none.
    async fn request(&self, stream: &mut (impl AsyncRead + Unpin)) -> bool {
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

/// Clients hang up on some of these hosts, which is their right.
async fn send_all(stream: &mut (impl AsyncWrite + Unpin), raw: &[u8]) {
    let _ = stream.write_all(raw).await;
    let _ = stream.flush().await;
}

#[derive(Clone, Copy, PartialEq)]
enum Validity {
    Now,
    Past,
}

/// A certificate for `names`, made now, and the store that trusts it.
fn identity(names: &[&str], validity: Validity) -> (TlsAcceptor, RootCertStore) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).expect("valid names");
    if validity == Validity::Past {
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("key and certificate belong together");
    (TlsAcceptor::from(Arc::new(config)), roots)
}

fn v4(addr: &str) -> IpAddr {
    addr.parse().expect(addr)
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Family {
    V4,
    V6,
}

/// What the name server says; addresses of the other family than asked for are left out.
enum Reply {
    Addresses(Vec<IpAddr>),
    NoSuchName,
    Silence,
}

/// A name server that answers every question by `reply(family, how many of that family came before)`, with a TTL of 0.
async fn dns(reply: impl Fn(Family, usize) -> Reply + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let addr = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut packet = [0; 512];
        let mut asked = [0, 0];
        while let Ok((length, client)) = socket.recv_from(&mut packet).await {
            let (question, family) = question(&packet[..length]);
            let count = &mut asked[usize::from(family == Family::V6)];
            let reply = reply(family, *count);
            *count += 1;
            if let Some(answer) = dns_answer(&packet[..2], question, family, reply) {
                let _ = socket.send_to(&answer, client).await;
            }
        }
    });
    addr
}

/// The question section of a query with one question: labels, a zero, type and class (RFC 1035 section 4.1.2).
fn question(query: &[u8]) -> (&[u8], Family) {
    let mut end = 12;
    while query[end] != 0 {
        end += usize::from(query[end]) + 1;
    }
    let family = if query[end + 2] == 1 { Family::V4 } else { Family::V6 };
    (&query[12..end + 5], family)
}

fn dns_answer(id: &[u8], question: &[u8], family: Family, reply: Reply) -> Option<Vec<u8>> {
    let (code, addresses) = match reply {
        Reply::Addresses(addresses) => (0, addresses),
        Reply::NoSuchName => (3, vec![]),
        Reply::Silence => return None,
    };
    let data = |addr: IpAddr| match (addr, family) {
        (IpAddr::V4(addr), Family::V4) => Some((1, addr.octets().to_vec())),
        (IpAddr::V6(addr), Family::V6) => Some((28, addr.octets().to_vec())),
        (IpAddr::V4(_), Family::V6) | (IpAddr::V6(_), Family::V4) => None,
    };
    let records: Vec<(u8, Vec<u8>)> = addresses.into_iter().filter_map(data).collect();
    let count = u8::try_from(records.len()).expect("few records");
    // Flags: response, recursion desired and available; then the counts of the four sections.
    let mut answer = [id, &[0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0], question].concat();
    for (kind, data) in records {
        let length = u8::try_from(data.len()).expect("an address");
        // The question's name, type, class IN, TTL 0, length.
        answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, length]);
        answer.extend(data);
    }
    Some(answer)
}
