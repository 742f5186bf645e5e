//! `outbound` and TLS: each way in which a handshake fails has a sentence of its own, because the owner of a target can
//! mend only what they are told.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use calltracker::outbound::{Failure, FailureKind};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::support::name_server::{Reply, dns, ip};
use crate::support::strangers::{
    HASTY, Host, LOOPBACK, PATIENT, UNUSED_DNS, answers, drip, failed, outbound_with, post, request, send_all,
};
use crate::support::tls::{demanding, identity, identity_with, server_with};

#[tokio::test]
async fn a_trusted_host_is_called_and_its_session_resumed() {
    let (acceptor, roots) = identity(&["127.0.0.1"]);
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
    let (acceptor, roots) = identity(&["hook.example"]);
    let host = Host::secured(acceptor).await;
    let dns = dns(|_, _| Reply::Addresses(vec![ip("127.0.0.1")])).await;
    let outbound = outbound_with(&[LOOPBACK], dns, roots);
    for name in ["hook.example", "hook.example."] {
        outbound.send(request(&host.secure(name)), PATIENT).await.expect("an answer");
    }
}

/// What calling a host comes to, if the store trusts it.
async fn refusal(host: &Host, roots: RootCertStore) -> Failure {
    let outbound = outbound_with(&[LOOPBACK], UNUSED_DNS, roots);
    outbound.send(request(&host.secure("127.0.0.1")), PATIENT).await.expect_err("no trust")
}

#[tokio::test]
async fn each_fault_of_a_certificate_is_a_tls_failure_of_its_own() {
    let own_name = &["127.0.0.1"][..];
    let (untrusted, _) = identity(own_name);
    let stranger = (untrusted, identity(own_name).1);
    let (unknown, _) = identity(own_name);
    let past = identity_with(own_name, |it| it.not_after = date_time_ymd(2020, 1, 1));
    let future = identity_with(own_name, |it| it.not_before = date_time_ymd(2090, 1, 1));
    let of_a_client =
        identity_with(own_name, |it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    for ((acceptor, roots), detail) in [
        ((unknown, RootCertStore::empty()), "the host's certificate is not from a trusted authority"),
        (stranger, "the host's certificate is not valid"),
        (identity(&["other.example"]), "the host's certificate is for another name"),
        (past, "the host's certificate has expired"),
        (future, "the host's certificate is not valid yet"),
        (of_a_client, "the host's certificate is not one for servers"),
    ] {
        let host = Host::secured(acceptor).await;
        assert_eq!(refusal(&host, roots).await, failed(FailureKind::Tls, detail));
    }
}

#[tokio::test]
async fn a_host_with_demands_that_we_do_not_meet_is_a_tls_failure_that_names_them() {
    let only_http2 = server_with(|it| it.alpn_protocols = vec![b"h2".to_vec()]);
    for ((acceptor, roots), detail) in [
        (only_http2, "the host does not offer HTTP/1.1 on this port"),
        (demanding(), "the host demands a certificate from us"),
    ] {
        let host = Host::secured(acceptor).await;
        assert_eq!(refusal(&host, roots).await, failed(FailureKind::Tls, detail));
    }
}

/// A host that hears the greeting and says `raw`.
async fn retorting(raw: impl AsRef<[u8]>) -> Host {
    let raw = raw.as_ref().to_vec();
    Host::new(move |mut stream, _log| {
        let raw = raw.clone();
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            send_all(&mut stream, &raw).await;
            pending::<()>().await;
        }
    })
    .await
}

#[tokio::test]
async fn an_alert_is_told_in_words() {
    let no_common_ground = "the host shares no TLS version or cipher with us";
    // RFC 8446 section 6, RFC 6066 section 3, RFC 7301 section 3.2.
    for (alert, detail) in [
        (40, no_common_ground),
        (70, no_common_ground),
        (71, no_common_ground),
        (112, "the host has no certificate for its name"),
        (116, "the host demands a certificate from us"),
        (120, "the host does not offer HTTP/1.1 on this port"),
        (10, "the host refused the TLS connection"),
        (49, "the host refused the TLS connection"),
        (80, "the host refused the TLS connection"),
        (255, "the host refused the TLS connection"),
    ] {
        let host = retorting([21, 3, 3, 0, 2, 2, alert]).await;
        let failure = post(&host.secure("127.0.0.1"), PATIENT).await.expect_err("no TLS");
        assert_eq!(failure, failed(FailureKind::Tls, detail), "alert {alert}");
    }
}

/// A ServerHello (RFC 5246 section 7.4.1.3) that chooses a version and a cipher.
fn server_hello(version: [u8; 2], cipher: [u8; 2]) -> Vec<u8> {
    let hello = [&version[..], &[7; 32], &[0], &cipher, &[0]].concat();
    [&[22, 3, 1, 0, 42, 2, 0, 0, 38][..], &hello].concat()
}

#[tokio::test]
async fn a_host_of_another_age_is_a_tls_failure() {
    for (version, cipher, detail) in [
        ([3, 1], [0, 0x2f], "the host shares no TLS version or cipher with us"),
        ([3, 0], [0, 0x2f], "the host shares no TLS version or cipher with us"),
        ([3, 3], [0, 0x2f], "the TLS connection failed"),
    ] {
        let host = retorting(server_hello(version, cipher)).await;
        let failure = post(&host.secure("127.0.0.1"), PATIENT).await.expect_err("no TLS");
        assert_eq!(failure, failed(FailureKind::Tls, detail), "{version:?}");
    }
}

#[tokio::test]
async fn a_host_that_does_not_speak_tls_is_a_tls_failure() {
    for raw in ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9.9\r\n", "220 mail.example ESMTP\r\n"] {
        let host = retorting(raw).await;
        let failure = post(&host.secure("127.0.0.1"), PATIENT).await.expect_err("no TLS");
        assert_eq!(failure, failed(FailureKind::Tls, "the host does not speak TLS on this port"), "{raw}");
    }
}

#[tokio::test]
async fn a_handshake_cut_off_is_a_tls_failure() {
    let deaf = Host::new(|stream, _log| async move { drop(stream) }).await;
    let polite = Host::new(|mut stream, _log| async move {
        let _ = stream.read(&mut [0; 4096]).await;
    })
    .await;
    let rude = Host::new(|mut stream, _log| async move {
        let _ = stream.read(&mut [0; 1]).await;
        stream.set_zero_linger().expect("a socket");
    })
    .await;
    let halfway = Host::new(|mut stream, _log| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        send_all(&mut stream, &server_hello([3, 3], [0xc0, 0x2f])[..20]).await;
    })
    .await;
    for host in [deaf, polite, rude, halfway] {
        let failure = post(&host.secure("127.0.0.1"), PATIENT).await.expect_err("no TLS");
        let detail = "the connection was closed during the TLS handshake";
        assert_eq!(failure, failed(FailureKind::Tls, detail));
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

#[tokio::test]
async fn a_handshake_that_drips_is_a_timeout() {
    let host = Host::new(|mut stream, _log| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        // The beginning of a handshake record of 16 KiB.
        send_all(&mut stream, &[22, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xfc]).await;
        drip(&mut stream, b"x").await;
    })
    .await;
    let failure = post(&host.secure("127.0.0.1"), HASTY).await.expect_err("no end");
    assert_eq!(failure, failed(FailureKind::Timeout, "no connection within 250ms"));
}

#[tokio::test]
async fn records_without_end_in_place_of_a_handshake_are_a_tls_failure() {
    let mut host = Host::new(|mut stream, log| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        // A certificate message of 16 MiB, as the first fragments of it claim.
        send_all(&mut stream, &[22, 3, 3, 0, 4, 11, 0xff, 0xff, 0xff]).await;
        let fragment = [&[22, 3, 3, 0x40, 0][..], &[0; 0x4000]].concat();
        while stream.write_all(&fragment).await.is_ok() {}
        log.note("closed");
    })
    .await;
    let failure = post(&host.secure("127.0.0.1"), PATIENT).await.expect_err("no end");
    assert_eq!(failure.kind, FailureKind::Tls, "{failure}");
    assert_eq!(host.next_request().await, "closed");
}

/// Takes a request by TLS, begins an answer and, when it was seen, says `raw` past the encryption.
async fn breaking_off(acceptor: TlsAcceptor, raw: &'static [u8], seen: Arc<Notify>) -> Host {
    Host::new(move |stream, log| {
        let (acceptor, seen) = (acceptor.clone(), seen.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            log.request(&mut stream).await;
            send_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\nhalf").await;
            seen.notified().await;
            let (mut naked, _) = stream.into_inner();
            send_all(&mut naked, raw).await;
        }
    })
    .await
}

/// Whoever sits on the way can close a connection: without TLS's own goodbye (RFC 8446 section 6.1) a body that ends with
/// its connection has no end.
#[tokio::test]
async fn a_body_that_ends_without_a_goodbye_is_a_reset_and_one_that_was_tampered_with_a_tls_failure() {
    for (raw, kind) in [
        (&b""[..], FailureKind::Reset),
        (b"\x17\x03\x03\x00\x20 32 bytes that are no ciphertext.", FailureKind::Tls),
    ] {
        let ((acceptor, roots), seen) = (identity(&["127.0.0.1"]), Arc::new(Notify::new()));
        let host = breaking_off(acceptor, raw, seen.clone()).await;
        let outbound = outbound_with(&[LOOPBACK], UNUSED_DNS, roots);
        let mut download =
            outbound.fetch(request(&host.secure("127.0.0.1")), PATIENT).await.expect("the beginning");
        assert_eq!(download.chunk().await, Ok(Some(Bytes::from_static(b"half"))));
        seen.notify_one();
        let failure = download.chunk().await.expect_err("no end");
        assert_eq!((failure.kind, failure.status), (kind, Some(200)), "{failure}");
    }
}
