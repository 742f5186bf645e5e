//! `outbound` and addresses that must not be reached, however they are written, wherever they come from.
//!
//! The ranges stand here once more as the registries print them, so that a slip in `kernel::address` is a difference. What
//! is forbidden in general, and which spellings mean an address, is decided by `fuzz/oracle.rs`, which the fuzzer
//! shares.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use calltracker::kernel::address::{self, Refusal};
use calltracker::outbound::{FailureKind, Limits, Outbound, Request, TargetError};
use hyper::Method;
use ipnet::IpNet;
use proptest::prelude::*;
use rustls::RootCertStore;
use serde_json::json;

use crate::support::TestApp;
use crate::support::name_server::{Family, Reply, dns, ip};
use crate::support::program::Place;
use crate::support::receiver::Receiver;
use crate::support::strangers::{
    HASTY, Host, LOOPBACK, PATIENT, answering, answers, deaf_host, failed, outbound, outbound_with, request,
};

#[path = "../../fuzz/oracle.rs"]
mod oracle;

mod ranges {
    use super::*;

    /// IANA IPv4 Special-Purpose Address Registry, multicast, and the one metadata service at a public address.
    const V4: [&str; 24] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.0.0/29",
        "192.0.0.170/31",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "233.252.0.0/24",
        "240.0.0.0/4",
        "255.255.255.255/32",
        "192.0.0.8/29",
    ];

    /// IANA IPv6 Special-Purpose Address Registry without NAT64's 64:ff9b::/96, multicast, and space not given out.
    const V6: [&str; 30] = [
        "::/128",
        "::1/128",
        "::/96",
        "::ffff:0:0:0/96",
        "64:ff9b:1::/48",
        "100::/64",
        "100:0:0:1::/64",
        "2001::/23",
        "2001::/32",
        "2001:1::1/128",
        "2001:1::2/128",
        "2001:1::3/128",
        "2001:2::/48",
        "2001:3::/32",
        "2001:4:112::/48",
        "2001:10::/28",
        "2001:20::/28",
        "2001:30::/28",
        "2001:db8::/32",
        "2002::/16",
        "2620:4f:8000::/48",
        "3fff::/20",
        "4000::/3",
        "5f00::/16",
        "8000::/1",
        "fc00::/7",
        "fd00:ec2::254/128",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    ];

    /// Every IPv6 address that carries an IPv4 one, as text to be read by the standard library.
    fn embeddings(inner: Ipv4Addr) -> Vec<IpAddr> {
        let [a, b, c, d] = inner.octets();
        let (high, low) = (format!("{a:x}{b:02x}"), format!("{c:x}{d:02x}"));
        let inverted = inner.octets().map(|octet| !octet);
        let [e, f, g, h] = inverted;
        [
            format!("::ffff:{inner}"),
            format!("::{inner}"),
            format!("::ffff:0:{inner}"),
            format!("64:ff9b::{inner}"),
            format!("64:ff9b:1::{inner}"),
            format!("64:ff9b:1:{high}:{low}::"),
            format!("2002:{high}:{low}::"),
            format!("2002:{high}:{low}::1"),
            format!("2001:0:{high}:{low}:0:ffff:f7f7:f7f7"),
            format!("2001:0:808:808:0:ffff:{e:x}{f:02x}:{g:x}{h:02x}"),
            format!("2a00:1450::5efe:{inner}"),
            format!("2a00:1450::200:5efe:{inner}"),
        ]
        .map(|text| ip(&text))
        .to_vec()
    }

    fn ends(range: &str) -> [IpAddr; 2] {
        let range: IpNet = range.parse().expect(range);
        [range.network(), range.broadcast()]
    }

    /// The ends of all ranges, and every IPv6 address that carries one of them.
    pub(super) fn forbidden() -> Vec<IpAddr> {
        let plain = V4.into_iter().chain(V6).flat_map(ends);
        let carried = V4.into_iter().flat_map(ends).flat_map(|addr| match addr {
            IpAddr::V4(addr) => embeddings(addr),
            IpAddr::V6(_) => vec![],
        });
        plain.chain(carried).collect()
    }

    /// A name server whose answer changes in the test's hands.
    async fn pointing() -> (SocketAddr, Arc<Mutex<IpAddr>>) {
        let current = Arc::new(Mutex::new(ip("127.0.0.1")));
        let told = current.clone();
        let server =
            dns(move |_, _| Reply::Addresses(vec![*told.lock().expect("no test panics here")])).await;
        (server, current)
    }

    #[tokio::test]
    async fn no_special_address_is_called_written_out_or_found_in_dns() {
        let (server, current) = pointing().await;
        let outbound = outbound_with(&[], server, RootCertStore::empty());
        let all = forbidden();
        assert!(all.len() > 600, "{}", all.len());
        for addr in all {
            let target = format!("http://{}/", SocketAddr::new(addr, 8080));
            let error = outbound.check_target(&target).expect_err(&target);
            assert!(matches!(error, TargetError::Refused(_)), "{target}: {error}");
            let failure = outbound.send(request(&target), PATIENT).await.expect_err(&target);
            assert_eq!(failure.kind, FailureKind::Blocked, "{target}: {failure}");

            *current.lock().expect("no test panics here") = addr;
            let target = "http://anywhere.example:8080/";
            let error = outbound.check_target_resolved(target, PATIENT.deadline).await;
            assert!(matches!(error, Err(TargetError::Refused(_))), "{addr}: {error:?}");
            let failure = outbound.send(request(target), PATIENT).await.expect_err(target);
            assert_eq!(failure.kind, FailureKind::Blocked, "{addr}: {failure}");
        }
    }

    #[tokio::test]
    async fn allowing_one_network_opens_no_embedding_of_it_but_the_mapped_one() {
        let outbound = outbound(&["10.0.0.0/8"]);
        let [mapped, others @ ..] = &embeddings(Ipv4Addr::new(10, 1, 2, 3))[..] else {
            panic!("there are many")
        };
        assert!(outbound.check_target(&format!("http://[{mapped}]/")).is_ok());
        for addr in others {
            let error = outbound.check_target(&format!("http://[{addr}]/")).expect_err("refused");
            assert!(matches!(error, TargetError::Refused(_)), "{addr}: {error}");
        }
    }
}

mod spellings {
    use super::*;

    static OUTBOUND: LazyLock<Outbound> = LazyLock::new(|| outbound(&[]));

    fn accept(text: &str) -> Option<String> {
        OUTBOUND.check_target(text).ok().map(String::from)
    }

    /// Addresses at random, and those that differ from a special one in some of the last bits.
    fn addresses() -> impl Strategy<Value = IpAddr> {
        let near = |(addr, noise, unchanged_bits): (IpAddr, u128, u32)| {
            let noise = noise.checked_shr(unchanged_bits).unwrap_or(0);
            match addr {
                IpAddr::V4(addr) => IpAddr::V4(Ipv4Addr::from_bits(addr.to_bits() ^ noise as u32)),
                IpAddr::V6(addr) => IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() ^ noise)),
            }
        };
        prop_oneof![
            any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
            any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
            (prop::sample::select(ranges::forbidden()), any::<u128>(), 0_u32..=128).prop_map(near),
        ]
    }

    /// What hosts and their disguises are made of, with blanks between.
    const PIECES: &str = "http: https: // / \\ @ : ? # [ ] % %2e %2F %00 . 。 ． 127 0x7f 0177 2130706433 1 0 a \
        169.254.169.254 localhost api.localhost ::1 ::ffff: ｌ ① ８ 𝟏 \u{ad} \u{200b} \t \n example.com xn-- 8.8.8.8 \
        :80 user:pass";

    fn texts() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(PIECES.split(' ').chain([" "]).collect::<Vec<_>>());
        let pieces = prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat());
        ("(https?:(//)?)?", prop_oneof![pieces, "\\PC{0,40}".boxed()]).prop_map(|(head, tail)| head + &tail)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn an_address_passes_exactly_if_a_second_opinion_says_so(addr in addresses()) {
            oracle::judge_address(addr, address::vet(addr, &[]).is_ok());
        }

        #[test]
        fn an_address_spelled_oddly_is_that_address(addr in addresses(), chance in any::<u128>()) {
            oracle::judge_spelling(addr, chance, accept);
        }

        #[test]
        fn no_text_that_passes_leads_where_a_second_opinion_forbids(text in texts()) {
            oracle::judge_text(&text, accept);
        }
    }

    /// The seeds of the fuzzer, and what it has found.
    #[test]
    fn the_fuzzers_seeds_get_a_verdict_that_a_second_opinion_shares() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/target_verdict");
        let mut judged = 0;
        for seed in std::fs::read_dir(seeds).expect(seeds) {
            let text = std::fs::read(seed.expect("it is there").path()).expect("it can be read");
            if let Ok(text) = std::str::from_utf8(&text) {
                oracle::judge_text(text, accept);
                judged += 1;
            }
        }
        assert!(judged > 20, "{judged}");
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
        let dns = dns(|_, _| Reply::Addresses(vec![ip("127.0.0.1")])).await;
        let outbound = outbound_with(&[LOOPBACK], dns, RootCertStore::empty());
        let answer = outbound.send(request(&host.named("hook.example.")), PATIENT).await.expect("an answer");
        assert_eq!(answer.remote, Some(host.addr));
        let authority = format!("host: hook.example.:{}", host.addr.port());
        assert!(host.next_request().await.contains(&authority));
    }

    #[tokio::test]
    async fn a_name_with_only_refused_addresses_is_blocked() {
        let dns = dns(|_, _| Reply::Addresses(vec![ip("10.0.0.1"), ip("192.168.0.1")])).await;
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
            Host::at(SocketAddr::new(ip("127.0.0.2"), allowed.addr.port()), answering(answers::OK)).await;
        let dns = dns(|_, _| Reply::Addresses(vec![ip("127.0.0.2"), ip("127.0.0.1"), ip("10.0.0.1")])).await;
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
        let dns = dns(|_, _| Reply::Addresses(vec![ip("127.0.0.3"), ip("127.0.0.4"), ip("127.0.0.1")])).await;
        let outbound = outbound_with(&[LOOPBACK], dns, RootCertStore::empty());
        let answer =
            outbound.send(request(&host.named("several.example")), PATIENT).await.expect("an answer");
        assert_eq!(answer.remote, Some(host.addr));
    }

    #[tokio::test]
    async fn an_address_that_is_silent_lets_the_next_one_join_in() {
        let host = Host::answering(answers::OK).await;
        let _silent = deaf_host(SocketAddr::new(ip("127.0.0.2"), host.addr.port())).await;
        let dns = dns(|_, _| Reply::Addresses(vec![ip("127.0.0.2"), ip("127.0.0.1")])).await;
        let outbound = outbound_with(&[LOOPBACK], dns, RootCertStore::empty());
        let answer =
            outbound.send(request(&host.named("half-dead.example")), PATIENT).await.expect("an answer");
        assert_eq!(answer.remote, Some(host.addr));
    }

    #[tokio::test]
    async fn a_name_that_changes_to_a_refused_address_is_blocked() {
        let host = Host::answering(answers::OK_CLOSING).await;
        let dns =
            dns(|_, nth| Reply::Addresses(vec![ip(if nth == 0 { "127.0.0.1" } else { "127.0.0.2" })])).await;
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
            Family::V4 => Reply::Addresses(vec![ip("127.0.0.1")]),
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

    /// Between the check at registration and the delivery the name has moved.
    #[tokio::test]
    async fn a_name_that_moves_after_it_was_checked_is_blocked_when_it_is_called() {
        let host = Host::at(SocketAddr::new(ip("127.0.0.2"), 0), answering(answers::OK)).await;
        let server =
            dns(|_, nth| Reply::Addresses(vec![ip(if nth == 0 { "127.0.0.1" } else { "127.0.0.2" })])).await;
        let outbound = outbound_with(&["127.0.0.1/32"], server, RootCertStore::empty());
        let url = host.named("rebinding.example");
        assert!(outbound.check_target_resolved(&url, PATIENT.deadline).await.is_ok());
        let failure = outbound.send(request(&url), PATIENT).await.expect_err("refused");
        assert_eq!(failure, failed(FailureKind::Blocked, "the host leads to a loopback address"));
        assert_eq!(host.connections(), 0);
    }

    #[tokio::test]
    async fn one_family_that_is_public_does_not_open_the_other() {
        let host = Host::answering(answers::OK).await;
        for (forbidden, reason) in
            [("::1", "loopback"), ("fd00:ec2::254", "cloud metadata"), ("64:ff9b::a00:1", "private")]
        {
            let server = dns(move |_, _| Reply::Addresses(vec![ip(forbidden), ip("127.0.0.2")])).await;
            let outbound = outbound_with(&["127.0.0.2/32"], server, RootCertStore::empty());
            let failure =
                outbound.send(request(&host.named("mixed.example")), PATIENT).await.expect_err("refused");
            assert_eq!(failure.kind, FailureKind::Connect, "only the allowed one was dialled: {failure}");
            let outbound = outbound_with(&["127.0.0.3/32"], server, RootCertStore::empty());
            let failure =
                outbound.send(request(&host.named("mixed.example")), PATIENT).await.expect_err("refused");
            let detail = format!("the host leads to a {reason} address");
            assert!(
                [
                    failed(FailureKind::Blocked, &detail),
                    failed(FailureKind::Blocked, "the host leads to a loopback address")
                ]
                .contains(&failure),
                "{failure}"
            );
        }
        assert_eq!(host.connections(), 0);
    }

    #[tokio::test]
    async fn an_alias_leads_where_its_end_leads() {
        let host = Host::answering(answers::OK).await;
        for (end, expected) in [("10.0.0.1", None), ("127.0.0.1", Some(host.addr))] {
            let server = dns(move |_, nth| match nth {
                0 => Reply::Alias("end.example"),
                _ => Reply::Addresses(vec![ip(end)]),
            })
            .await;
            let outbound = outbound_with(&[LOOPBACK], server, RootCertStore::empty());
            match (outbound.send(request(&host.named("alias.example")), PATIENT).await, expected) {
                (Ok(answer), Some(_)) => assert_eq!(answer.remote, expected),
                (Err(failure), None) => assert_eq!(failure.kind, FailureKind::Blocked, "{failure}"),
                (other, _) => panic!("{end}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn aliases_in_a_circle_and_nonsense_are_dns_failures_or_cost_the_deadline() {
        let circle = dns(|_, _| Reply::Alias("circle.example")).await;
        let nonsense = dns(|_, _| Reply::Nonsense).await;
        for server in [circle, nonsense] {
            let outbound = outbound_with(&[], server, RootCertStore::empty());
            let failure =
                outbound.send(request("http://circle.example/"), HASTY).await.expect_err("no address");
            assert!(matches!(failure.kind, FailureKind::Dns | FailureKind::Timeout), "{failure}");
        }
    }

    #[tokio::test]
    async fn of_very_many_addresses_only_the_first_eight_are_dialled() {
        for (place, reached) in [(8, true), (9, false)] {
            let host = Host::at(
                SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 1, place)), 0),
                answering(answers::OK),
            )
            .await;
            let server = dns(|_, _| {
                Reply::Addresses((1..=20).map(|n| IpAddr::V4(Ipv4Addr::new(127, 0, 1, n))).collect())
            })
            .await;
            let outbound = outbound_with(&[LOOPBACK], server, RootCertStore::empty());
            let answer = outbound.send(request(&host.named("many.example")), PATIENT).await;
            assert_eq!(answer.is_ok(), reached, "{place}: {answer:?}");
        }
    }
}

mod itself {
    use super::*;

    #[tokio::test]
    async fn the_servers_own_address_is_refused_as_a_target() {
        let app = TestApp::with(|config| config.webhooks.allow_targets.clear()).await;
        let company = app.company("Acme").await;
        let webhook = json!({"target": app.api.base, "events": "all"});
        let refused =
            company.api.post(&company.path("/webhooks"), &webhook).await.expect_problem(400, "validation");
        assert_eq!(refused.fields(), ["target"]);
    }

    /// Where the operator has opened the network, or a proxy stands before us, a webhook can lead back to us with a valid
    /// token. No request of the API takes an event for its body, so what comes back ends there.
    #[tokio::test]
    async fn a_webhook_that_leads_back_to_us_does_not_go_round_in_circles() {
        let app = TestApp::start().await;
        let company = app.company("Acme").await;
        let own = |path: &str| format!("{}/api/v1{}", app.api.base, company.path(path));
        for (nth, path) in
            [(1, "/webhooks/1/verification"), (2, "/webhooks/2/test"), (3, "/webhooks/3/secret")]
        {
            let authorization = format!("Bearer {}", company.api.token);
            let webhook =
                json!({"target": own(path), "events": "all", "headers": {"authorization": authorization}});
            company.api.post(&company.path("/webhooks"), &webhook).await.expect(201);
            let verification = company.path(&format!("/webhooks/{nth}/verification"));
            let refused =
                company.api.post(&verification, &json!({})).await.expect_problem(422, "unprocessable");
            assert!(refused.text.contains("The receiver answered 400."), "{path}: {}", refused.text);
        }
    }
}

mod proxies {
    use super::*;

    /// A program reads its environment when it starts, so this one is a process of its own.
    #[tokio::test]
    async fn proxies_of_the_environment_are_not_used() {
        let proxy = Host::answering(answers::OK).await;
        let secure = Host::new(|_stream, log| async move { log.note("called") }).await;
        let url = format!("http://{}", proxy.addr);
        let names = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
        let mut environment: Vec<(&str, &str)> = names.iter().map(|name| (*name, url.as_str())).collect();
        environment.extend([
            ("no_proxy", ""),
            ("NO_PROXY", ""),
            ("CGI_HTTP_PROXY", &url),
            ("REQUEST_METHOD", "POST"),
        ]);

        let (place, receiver) = (Place::new(), Receiver::start().await);
        let program = place.serve_in(&environment, &[]);
        let company = json!({"name": "Acme", "time_zone": "UTC", "country": "US"});
        program.api.post("/companies", &company).await.expect(201);
        for target in [&receiver.url, &secure.secure("127.0.0.1")] {
            let webhook = json!({"target": target, "events": "all"});
            program.api.post("/companies/1/webhooks", &webhook).await.expect(201);
        }
        receiver.wait_for(1).await;
        let mut secure = secure;
        assert_eq!(secure.next_request().await, "called");
        assert_eq!(proxy.connections(), 0);
    }
}
