//! `outbound` and what hosts may answer, honest ones and broken ones. Hosts that mean harm are in `outbound_hostile`,
//! addresses that must not be reached in `outbound_ssrf`, TLS in `outbound_tls`.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use calltracker::outbound::{
    Failure, FailureKind, Limits, Options, Outbound, Request, ResolverChoice, is_owned_header,
};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::support::strangers::{
    HASTY, Host, LOOPBACK, PATIENT, UNUSED_DNS, answers, failed, options, outbound, post, request, send_all,
};

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
