//! `outbound` against hosts that mean harm: slow ones, endless ones, and ones that tempt a client to send twice.
//!
//! What a host may cost is bounded in time by the deadline and in memory by what is read; a test of the latter counts
//! what the host got rid of, which is what was read and a few MiB in the kernel's buffers.

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use calltracker::outbound::{FailureKind, Limits, Request};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::strangers::{
    HASTY, Host, LOOPBACK, Log, PATIENT, UNUSED_DNS, answers, deaf_host, drip, failed, outbound,
    outbound_with, post, request, send_all,
};
use crate::support::tls::identity;

/// An answer of unknown length.
const OPEN: &str = "HTTP/1.1 200 OK\r\n\r\n";
/// An answer in chunks.
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

mod slow {
    use super::*;

    #[tokio::test]
    async fn a_host_that_takes_no_connection_costs_the_deadline_and_no_more() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        let _deaf = deaf_host(port).await;
        for scheme in ["http", "https"] {
            let failure = post(&format!("{scheme}://{port}/"), HASTY).await.expect_err("nobody accepts");
            assert_eq!(failure, failed(FailureKind::Timeout, "no connection within 250ms"));
        }
    }

    #[tokio::test]
    async fn a_host_that_does_not_read_the_request_costs_the_deadline_and_no_more() {
        let host = Host::new(|stream, _log| async move {
            let _stream = stream;
            pending::<()>().await;
        })
        .await;
        // More than the kernel's buffers hold.
        let request = Request { body: Bytes::from(vec![0; 32 << 20]), ..request(&host.url("/")) };
        let failure = outbound(&[LOOPBACK]).send(request, HASTY).await.expect_err("it is not read");
        assert_eq!(failure, failed(FailureKind::Timeout, "connected, but no answer within 250ms"));
    }

    /// Takes a request, says `head` and then `piece` again and again, as slowly as it can.
    async fn dripping(head: &'static str, piece: &'static str) -> Host {
        Host::new(move |mut stream, log| async move {
            log.request(&mut stream).await;
            send_all(&mut stream, head.as_bytes()).await;
            drip(&mut stream, piece.as_bytes()).await;
            log.note("closed");
        })
        .await
    }

    #[tokio::test]
    async fn whatever_drips_ends_at_the_deadline_and_its_connection_with_it() {
        let hosts = [
            ("", "H", None),
            ("HTTP/1.1 200 O", "K", None),
            ("HTTP/1.1 200 OK\r\n", "a: b\r\n", None),
            ("HTTP/1.1 200 OK\r\na: ", "b", None),
            ("", "HTTP/1.1 103 Early Hints\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", "x", Some(200)),
            (OPEN, "x", Some(200)),
            (CHUNKED, "1\r\nx\r\n", Some(200)),
            (CHUNKED, "0", Some(200)),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", "x", Some(200)),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "a: b\r\n", Some(200)),
        ];
        let all = hosts.map(|(head, piece, status)| async move {
            let mut host = dripping(head, piece).await;
            let failure = post(&host.url("/"), HASTY).await.expect_err("no end");
            assert_eq!((failure.kind, failure.status), (FailureKind::Timeout, status), "{head:?} {failure}");
            host.next_request().await;
            assert_eq!(host.next_request().await, "closed", "{head:?}");
        });
        join_all(all).await;
    }
}

mod endless {
    use super::*;

    /// What the kernel's buffers and ours may hold: 6 MiB here and 4 MiB there, by Linux' defaults, and some.
    const BUFFERED_BYTES_MAX: usize = 16 << 20;
    /// What a flood brings before its memory is looked at.
    const FLOOD_BYTES: usize = 64 << 20;
    /// What a flood may add to the process, which is host and client at once.
    const GROWTH_BYTES_MAX: usize = 16 << 20;

    /// Takes a request, says `head` and then `piece` as fast as it is taken, and counts.
    async fn flooding(head: &'static str, piece: &'static str) -> (Host, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let host = Host::new(move |stream, log| flood(stream, log, head, piece, counter.clone())).await;
        (host, count)
    }

    async fn flood(
        mut stream: TcpStream,
        log: Log,
        head: &'static str,
        piece: &'static str,
        count: Arc<AtomicUsize>,
    ) {
        log.request(&mut stream).await;
        send_all(&mut stream, head.as_bytes()).await;
        let wave = piece.repeat(1 + 65_536 / piece.len());
        let mut is_flooded = false;
        while stream.write_all(wave.as_bytes()).await.is_ok() {
            if count.fetch_add(wave.len(), Ordering::SeqCst) > FLOOD_BYTES && !is_flooded {
                is_flooded = true;
                log.note("flooded");
            }
        }
        log.note("closed");
    }

    /// The most memory that the process has had once it has done a request: from then on all code is loaded.
    async fn peak_bytes_when_warm() -> usize {
        let host = Host::answering(answers::OK).await;
        post(&host.url("/"), PATIENT).await.expect("an answer");
        peak_bytes()
    }

    /// The most memory that the process has had, from proc(5).
    fn peak_bytes() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("a Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("proc(5) has it");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    #[tokio::test]
    async fn a_body_without_end_is_cut_however_it_is_framed() {
        let announced = "HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775807\r\n\r\n";
        let xs = "xxxxxxxxxxxxxxxx";
        for (head, piece) in [(OPEN, xs), (announced, xs), (CHUNKED, "10\r\nxxxxxxxxxxxxxxxx\r\n")] {
            let (mut host, count) = flooding(head, piece).await;
            let answer = post(&host.url("/"), PATIENT).await.expect("an answer");
            assert_eq!(
                (answer.status, answer.body.len(), answer.truncated),
                (200, PATIENT.keep_bytes_max, true)
            );
            host.next_request().await;
            assert_eq!(host.next_request().await, "closed", "{head:?}");
            assert!(count.load(Ordering::SeqCst) < BUFFERED_BYTES_MAX, "{head:?}");
        }
    }

    #[tokio::test]
    async fn a_head_without_end_is_too_large_wherever_it_goes_on() {
        for head in ["", "HTTP/1.1 200 O", "HTTP/1.1 200 OK\r\na", "HTTP/1.1 200 OK\r\na: "] {
            let (mut host, count) = flooding(head, "xxxx").await;
            let failure = post(&host.url("/"), PATIENT).await.expect_err("no end");
            let expected = if head.is_empty() { FailureKind::Protocol } else { FailureKind::TooLarge };
            assert_eq!((failure.kind, failure.status), (expected, None), "{head:?} {failure}");
            host.next_request().await;
            assert_eq!(host.next_request().await, "closed", "{head:?}");
            assert!(count.load(Ordering::SeqCst) < BUFFERED_BYTES_MAX, "{head:?}");
        }
    }

    #[tokio::test]
    async fn frames_of_a_body_without_end_are_a_failure_with_the_status() {
        for (after_head, piece) in
            [("1;", "xxxx"), ("0\r\n", "a: b\r\n"), ("0\r\na: ", "bbbb"), ("1", "1111")]
        {
            let head: &'static str = format!("{CHUNKED}{after_head}").leak();
            let (mut host, count) = flooding(head, piece).await;
            let failure = post(&host.url("/"), PATIENT).await.expect_err("no end");
            assert_eq!((failure.kind, failure.status), (FailureKind::Protocol, Some(200)), "{after_head:?}");
            host.next_request().await;
            assert_eq!(host.next_request().await, "closed", "{after_head:?}");
            assert!(count.load(Ordering::SeqCst) < BUFFERED_BYTES_MAX, "{after_head:?}");
        }
    }

    #[tokio::test]
    async fn a_flood_of_interim_answers_is_a_protocol_failure_long_before_the_deadline() {
        let fat = format!("HTTP/1.1 100 Continue\r\na: {}\r\n\r\n", "b".repeat(30_000)).leak();
        for piece in ["HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n", "HTTP/1.1 100 \r\n\r\n", fat] {
            let (mut host, count) = flooding("", piece).await;
            let before = peak_bytes_when_warm().await;
            let failure = post(&host.url("/"), PATIENT).await.expect_err("no final answer");
            let detail = "the host sends interim answers without end";
            assert_eq!(failure, failed(FailureKind::Protocol, detail));
            host.next_request().await;
            assert_eq!(host.next_request().await, "closed");
            let growth = peak_bytes() - before;
            assert!(growth < GROWTH_BYTES_MAX, "{growth}");
            assert!(count.load(Ordering::SeqCst) < BUFFERED_BYTES_MAX);
        }
    }

    #[tokio::test]
    async fn a_hundred_interim_answers_are_borne() {
        for (interim, borne) in [(100, true), (101, false)] {
            let early = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(interim);
            let host = Host::answering([&early, answers::OK].concat()).await;
            assert_eq!(post(&host.url("/"), PATIENT).await.is_ok(), borne, "{interim}");
        }
    }

    #[tokio::test]
    async fn a_download_that_is_passed_on_costs_no_memory() {
        let (mut host, _) = flooding(OPEN, "xxxxxxxxxxxxxxxx").await;
        let limits = Limits { read_bytes_max: usize::MAX, ..PATIENT };
        let before = peak_bytes_when_warm().await;
        let mut download =
            outbound(&[LOOPBACK]).fetch(request(&host.url("/")), limits).await.expect("the beginning");
        let mut read = 0;
        while read < FLOOD_BYTES {
            read += download.chunk().await.expect("it goes on").expect("it never ends").len();
        }
        let growth = peak_bytes() - before;
        assert!(growth < GROWTH_BYTES_MAX, "{growth}");
        drop(download);
        host.next_request().await;
        while host.next_request().await != "closed" {}
    }

    #[tokio::test]
    async fn twenty_megabytes_of_headers_cost_no_memory() {
        let (mut host, count) = flooding("HTTP/1.1 200 OK\r\n", "a: b\r\n").await;
        let before = peak_bytes_when_warm().await;
        let failure = post(&host.url("/"), PATIENT).await.expect_err("no end");
        assert_eq!((failure.kind, failure.status), (FailureKind::TooLarge, None), "{failure}");
        host.next_request().await;
        assert_eq!(host.next_request().await, "closed");
        let growth = peak_bytes() - before;
        assert!(growth < GROWTH_BYTES_MAX, "{growth}");
        assert!(count.load(Ordering::SeqCst) < BUFFERED_BYTES_MAX);
    }
}

mod twice {
    //! One attempt is one POST (delivery rule 5): what was written may have been read.

    use super::*;

    /// Answers a connection's first request and does `then` with the second, which it may or may not read.
    async fn turning<Playing>(
        then: impl Fn(TcpStream, Log) -> Playing + Clone + Send + Sync + 'static,
    ) -> Host
    where
        Playing: Future<Output = ()> + Send + 'static,
    {
        Host::new(move |mut stream, log| {
            let then = then.clone();
            async move {
                log.request(&mut stream).await;
                send_all(&mut stream, answers::OK).await;
                then(stream, log).await;
            }
        })
        .await
    }

    /// Sends two requests, of which the second fails as a reset, and gives the host's notes about it.
    async fn second_is_reset(mut host: Host) -> Vec<String> {
        let outbound = outbound(&[LOOPBACK]);
        outbound.send(request(&host.url("/1")), PATIENT).await.expect("an answer");
        let failure = outbound.send(request(&host.url("/2")), PATIENT).await.expect_err("no answer");
        assert_eq!(failure.kind, FailureKind::Reset, "{failure}");
        assert_eq!(host.connections(), 1, "it was not sent again");
        assert!(host.next_request().await.starts_with("POST /1 "));
        std::iter::from_fn(|| host.requests.try_recv().ok()).collect()
    }

    #[tokio::test]
    async fn a_request_that_was_read_and_not_answered_on_a_kept_connection_is_a_reset() {
        let closing = turning(|mut stream, log| async move {
            log.request(&mut stream).await;
        })
        .await;
        let aborting = turning(|mut stream, log| async move {
            log.request(&mut stream).await;
            stream.set_zero_linger().expect("a socket");
        })
        .await;
        let answering_half = turning(|mut stream, log| async move {
            log.request(&mut stream).await;
            send_all(&mut stream, b"HTTP/1.1 200 O").await;
        })
        .await;
        for host in [closing, aborting, answering_half] {
            let notes = second_is_reset(host).await;
            assert_eq!(notes.len(), 1, "{notes:?}");
            assert!(notes[0].starts_with("POST /2 "), "{notes:?}");
        }
    }

    #[tokio::test]
    async fn a_request_that_was_written_but_not_read_is_a_reset_too() {
        let unread = turning(|stream, _log| async move {
            let _ = stream.peek(&mut [0; 1]).await;
        })
        .await;
        let half_read = turning(|mut stream, _log| async move {
            let _ = stream.read(&mut [0; 10]).await;
            stream.set_zero_linger().expect("a socket");
        })
        .await;
        for host in [unread, half_read] {
            assert_eq!(second_is_reset(host).await, [""; 0]);
        }
    }

    #[tokio::test]
    async fn after_a_kept_connection_was_closed_the_next_request_comes_once_on_another() {
        let (acceptor, roots) = identity(&["127.0.0.1"]);
        let plain = Host::new(|mut stream, log| async move {
            log.request(&mut stream).await;
            send_all(&mut stream, answers::OK).await;
            let _ = stream.shutdown().await;
            let _ = stream.read(&mut [0; 1]).await;
            log.note("noticed");
        })
        .await;
        let secure = Host::new(move |stream, log| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                log.request(&mut stream).await;
                send_all(&mut stream, answers::OK).await;
                let _ = stream.shutdown().await;
                let _ = stream.read(&mut [0; 1]).await;
                log.note("noticed");
            }
        })
        .await;
        let (plain_url, secure_url) = (plain.url("/"), secure.secure("127.0.0.1"));
        for (mut host, url) in [(plain, plain_url), (secure, secure_url)] {
            let outbound = outbound_with(&[LOOPBACK], UNUSED_DNS, roots.clone());
            for connections in 1..=3 {
                outbound.send(request(&url), PATIENT).await.expect("an answer");
                assert!(host.next_request().await.starts_with("POST "));
                assert_eq!(host.next_request().await, "noticed");
                assert_eq!(host.connections(), connections);
            }
            assert!(host.requests.try_recv().is_err());
        }
    }

    /// Both ends act at once here, so each run is another one; the rule holds in all.
    #[tokio::test]
    async fn a_host_that_closes_while_the_next_request_leaves_gets_no_request_twice() {
        let mut host = Host::new(|mut stream, log| async move {
            log.request(&mut stream).await;
            send_all(&mut stream, answers::OK).await;
        })
        .await;
        let outbound = outbound(&[LOOPBACK]);
        let mut answered = Vec::new();
        for n in 0..300 {
            let path = format!("/{n}");
            match outbound.send(request(&host.url(&path)), PATIENT).await {
                Ok(_) => answered.push(format!("POST {path} HTTP/1.1")),
                Err(failure) => assert_eq!(failure.kind, FailureKind::Reset, "{failure}"),
            }
        }
        let seen = std::iter::from_fn(|| host.requests.try_recv().ok());
        let mut lines: Vec<String> =
            seen.map(|it| it.lines().next().unwrap_or_default().to_owned()).collect();
        assert!(answered.iter().all(|line| lines.contains(line)), "what was answered was seen");
        let all = lines.len();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), all, "nothing was seen twice");
    }

    /// Otherwise a host that others share could answer for them.
    #[tokio::test]
    async fn an_answer_that_nobody_asked_for_is_not_taken_for_the_next_requests() {
        let unasked = [answers::OK, b"HTTP/1.1 500 Unasked\r\ncontent-length: 0\r\n\r\n"].concat();
        let host = Host::new(move |mut stream, log| {
            let unasked = unasked.clone();
            async move {
                log.request(&mut stream).await;
                send_all(&mut stream, &unasked).await;
                let _ = stream.read(&mut [0; 1]).await;
            }
        })
        .await;
        let outbound = outbound(&[LOOPBACK]);
        for connections in 1..=3 {
            let answer = outbound.send(request(&host.url("/")), PATIENT).await.expect("an answer");
            assert_eq!((answer.status, host.connections()), (200, connections));
        }
    }
}
