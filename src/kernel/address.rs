//! Which network addresses may be dialled on behalf of a stranger.
//!
//! Decides: whether one IP address, taken from a URL, from a DNS answer or from a connected socket, is a public
//! one. Does not decide: what a URL may look like, how names are resolved, when an address is checked: that is
//! [`outbound`](crate::outbound), the only caller.
//!
//! The rule is: only global unicast is dialled. IPv4 is everything outside the IANA IPv4 Special-Purpose Address
//! Registry (RFC 6890) and multicast (RFC 5771). IPv6 is 2000::/3 (all that IANA has given out, RFC 4291 section 2.4)
//! outside the IPv6 registry, and the well-known NAT64 prefix, through which a host without IPv4 reaches the rest.
//! Registry entries that count as globally reachable (AS112 sinks, anycast of TURN and port control, AMT) are refused
//! too: none of them is a web server.
//!
//! Odd facts:
//! - An IPv6 address can carry an IPv4 one, and the kernel or a relay on the way delivers to that. Known carriers:
//!   IPv4-mapped (RFC 4291 section 2.5.5.2), IPv4-compatible (2.5.5.1), NAT64 (RFC 6052, local use RFC 8215), 6to4
//!   (RFC 3056), Teredo (RFC 4380 section 4: server in clear, client inverted), ISATAP (RFC 5214 section 6.1).
//! - Not every metadata service hides in a private range: Azure's 168.63.129.16 is an ordinary public address.
//! - On Linux a connection to 0.0.0.0 or :: goes to the machine itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Why an address may not be dialled. As text it is a noun phrase ("a loopback address").
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 0.0.0.0/8 and ::
    #[error("an unspecified address")]
    Unspecified,
    /// 127.0.0.0/8 and ::1
    #[error("a loopback address")]
    Loopback,
    /// RFC 1918, RFC 6598 (carrier-grade NAT), RFC 4193 (unique local), RFC 3879 (site-local)
    #[error("a private address")]
    Private,
    /// 169.254.0.0/16 and fe80::/10
    #[error("a link-local address")]
    LinkLocal,
    /// The address at which a cloud gives a machine its own credentials
    #[error("a cloud metadata address")]
    Metadata,
    /// 224.0.0.0/4 and ff00::/8
    #[error("a multicast address")]
    Multicast,
    /// Documentation, benchmarks, transition mechanisms, protocol assignments and space not given out
    #[error("a reserved address")]
    Reserved,
}

/// Verdict on one address. `allow` are the operator's networks; an address inside one of them passes whatever else it
/// is. IPv4-mapped IPv6 is the IPv4 address for both checks; other carriers are not unwrapped for `allow`, so allowing
/// 127.0.0.0/8 does not open 64:ff9b::7f00:1.
///
/// # Errors
/// The first reason found, that of the embedded IPv4 address included.
pub fn vet(addr: IpAddr, allow: &[IpNet]) -> Result<(), Refusal> {
    if is_allowed(addr, allow) {
        return Ok(());
    }
    match addr.to_canonical() {
        IpAddr::V4(addr) => vet_v4(addr),
        IpAddr::V6(addr) => vet_v6(addr),
    }
}

/// Whether an address is inside one of the operator's networks, public or not.
pub fn is_allowed(addr: IpAddr, allow: &[IpNet]) -> bool {
    let addr = addr.to_canonical();
    allow.iter().any(|net| allows(net, addr))
}

/// Whether `net` holds `addr`. A network of mapped addresses (::ffff:10.0.0.0/104) means its IPv4 addresses; a shorter
/// IPv6 prefix, ::/0 too, holds no IPv4 address.
fn allows(net: &IpNet, addr: IpAddr) -> bool {
    match (net, addr) {
        (IpNet::V4(net), IpAddr::V4(addr)) => net.contains(&addr),
        (IpNet::V6(net), IpAddr::V6(addr)) => net.contains(&addr),
        (IpNet::V6(net), IpAddr::V4(addr)) => {
            net.prefix_len() >= MAPPED_PREFIX_BITS && net.contains(&addr.to_ipv6_mapped())
        }
        (IpNet::V4(_), IpAddr::V6(_)) => false,
    }
}

fn vet_v4(addr: Ipv4Addr) -> Result<(), Refusal> {
    refuse_listed(REFUSED_V4.iter().find(|(net, _)| net.contains(&addr)).map(|(_, refusal)| *refusal))
}

fn vet_v6(addr: Ipv6Addr) -> Result<(), Refusal> {
    refuse_listed(NAMED_V6.iter().find(|(net, _)| net.contains(&addr)).map(|(_, refusal)| *refusal))?;
    for embedded in embedded_v4(addr).into_iter().flatten() {
        vet_v4(embedded)?;
    }
    let special = SPECIAL_V6.iter().any(|net| net.contains(&addr));
    let public = NAT64_WELL_KNOWN.contains(&addr) || (GLOBAL_UNICAST_V6.contains(&addr) && !special);
    if public { Ok(()) } else { Err(Refusal::Reserved) }
}

fn refuse_listed(found: Option<Refusal>) -> Result<(), Refusal> {
    found.map_or(Ok(()), Err)
}

/// The IPv4 addresses inside an IPv6 address: by its prefix (Teredo has two) and by its interface identifier (ISATAP
/// works under any prefix). Mapped addresses do not get here: [`vet`] has unwrapped them.
fn embedded_v4(addr: Ipv6Addr) -> [Option<Ipv4Addr>; 3] {
    let bits = addr.to_bits();
    let at = |shift: u32| Ipv4Addr::from_bits((bits >> shift) as u32);
    let low =
        NAT64_WELL_KNOWN.contains(&addr) || NAT64_LOCAL_USE.contains(&addr) || COMPATIBLE.contains(&addr);
    let (first, second) = if low {
        (Some(at(0)), None)
    } else if SIX_TO_FOUR.contains(&addr) {
        (Some(at(80)), None)
    } else if TEREDO.contains(&addr) {
        (Some(at(64)), Some(Ipv4Addr::from_bits(!at(0).to_bits())))
    } else {
        (None, None)
    };
    let isatap = ((bits >> 32) as u32 & !ISATAP_FLAGS) == ISATAP_MARK;
    [first, second, isatap.then(|| at(0))]
}

/// Length of ::ffff:0:0/96.
const MAPPED_PREFIX_BITS: u8 = 96;
/// Upper half of an ISATAP interface identifier, 0000:5efe (RFC 5214 section 6.1) ...
const ISATAP_MARK: u32 = 0x0000_5efe;
/// ... in which the "universal" and "group" bits say nothing about the address.
const ISATAP_FLAGS: u32 = 0x0300_0000;

const NAT64_WELL_KNOWN: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
/// Its /48 can place the IPv4 address elsewhere (RFC 6052 section 2.2): the whole prefix is refused, as local.
const NAT64_LOCAL_USE: Ipv6Net = v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);
const COMPATIBLE: Ipv6Net = v6([0; 8], 96);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
const TEREDO: Ipv6Net = v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32);
const GLOBAL_UNICAST_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// IANA IPv4 Special-Purpose Address Registry, multicast and the clouds' metadata addresses, which stand first because
/// most of them lie in one of the other ranges and deserve their own name.
const REFUSED_V4: [(Ipv4Net, Refusal); 24] = [
    (v4([169, 254, 169, 254], 32), Refusal::Metadata), // AWS, Azure, Google, Oracle, DigitalOcean, Hetzner
    (v4([169, 254, 170, 2], 32), Refusal::Metadata),   // AWS ECS task credentials
    (v4([169, 254, 170, 23], 32), Refusal::Metadata),  // AWS EKS pod identity
    (v4([100, 100, 100, 200], 32), Refusal::Metadata), // Alibaba
    (v4([168, 63, 129, 16], 32), Refusal::Metadata),   // Azure wire server, a public address
    (v4([192, 0, 0, 192], 32), Refusal::Metadata),     // Oracle, classic
    (v4([0, 0, 0, 0], 8), Refusal::Unspecified),       // RFC 791, "this network"
    (v4([127, 0, 0, 0], 8), Refusal::Loopback),        // RFC 1122
    (v4([10, 0, 0, 0], 8), Refusal::Private),          // RFC 1918
    (v4([172, 16, 0, 0], 12), Refusal::Private),       // RFC 1918
    (v4([192, 168, 0, 0], 16), Refusal::Private),      // RFC 1918
    (v4([100, 64, 0, 0], 10), Refusal::Private),       // RFC 6598, carrier-grade NAT
    (v4([169, 254, 0, 0], 16), Refusal::LinkLocal),    // RFC 3927
    (v4([192, 0, 0, 0], 24), Refusal::Reserved),       // RFC 6890, protocol assignments
    (v4([192, 0, 2, 0], 24), Refusal::Reserved),       // RFC 5737, documentation
    (v4([198, 51, 100, 0], 24), Refusal::Reserved),    // RFC 5737
    (v4([203, 0, 113, 0], 24), Refusal::Reserved),     // RFC 5737
    (v4([198, 18, 0, 0], 15), Refusal::Reserved),      // RFC 2544, benchmarks
    (v4([192, 31, 196, 0], 24), Refusal::Reserved),    // RFC 7535, AS112
    (v4([192, 175, 48, 0], 24), Refusal::Reserved),    // RFC 7534, AS112
    (v4([192, 52, 193, 0], 24), Refusal::Reserved),    // RFC 7450, AMT
    (v4([192, 88, 99, 0], 24), Refusal::Reserved),     // RFC 7526, 6to4 relays
    (v4([224, 0, 0, 0], 4), Refusal::Multicast),       // RFC 5771
    (v4([240, 0, 0, 0], 4), Refusal::Reserved),        // RFC 1112, and 255.255.255.255 of RFC 919
];

/// IPv6 ranges with a reason of their own. Most lie outside 2000::/3 and would be refused as reserved.
const NAMED_V6: [(Ipv6Net, Refusal); 9] = [
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), Refusal::Metadata), // AWS
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), Refusal::Metadata),  // Google
    (v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128), Refusal::Metadata),   // Scaleway
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), Refusal::Unspecified),           // RFC 4291
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Refusal::Loopback),              // RFC 4291
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Refusal::Private),            // RFC 4193
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), Refusal::Private),           // RFC 3879, site-local
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Refusal::LinkLocal),         // RFC 4291
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Refusal::Multicast),          // RFC 4291
];

/// IANA IPv6 Special-Purpose Address Registry, as far as it lies inside 2000::/3.
const SPECIAL_V6: [Ipv6Net; 5] = [
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // RFC 2928, protocol assignments; Teredo is its first /32
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // RFC 3849, documentation
    SIX_TO_FOUR,                           // RFC 7526 has retired its relays
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), // RFC 7534, AS112
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // RFC 9637, documentation
];

const fn v4(octets: [u8; 4], prefix_bits: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_bits)
}

const fn v6(segments: [u16; 8], prefix_bits: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix_bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(addr: &str, allow: &[&str]) -> Result<(), Refusal> {
        let allow: Vec<IpNet> = allow.iter().map(|net| net.parse().expect(net)).collect();
        vet(addr.parse().expect(addr), &allow)
    }

    /// (before, first, last, after): `None` where the neighbour is refused for another reason.
    type Edges = (Option<&'static str>, &'static str, &'static str, Option<&'static str>);

    fn assert_edges(table: &[(Edges, Refusal)]) {
        for ((before, first, last, after), refusal) in table {
            assert_eq!(verdict(first, &[]), Err(*refusal), "{first}");
            assert_eq!(verdict(last, &[]), Err(*refusal), "{last}");
            for outside in [before, after].into_iter().flatten() {
                assert_eq!(verdict(outside, &[]), Ok(()), "{outside}");
            }
        }
    }

    #[test]
    fn special_ipv4_ranges_are_refused_to_their_edges() {
        use Refusal::*;
        assert_edges(&[
            ((None, "0.0.0.0", "0.255.255.255", Some("1.0.0.0")), Unspecified),
            ((Some("9.255.255.255"), "10.0.0.0", "10.255.255.255", Some("11.0.0.0")), Private),
            ((Some("100.63.255.255"), "100.64.0.0", "100.127.255.255", Some("100.128.0.0")), Private),
            ((Some("126.255.255.255"), "127.0.0.0", "127.255.255.255", Some("128.0.0.0")), Loopback),
            ((Some("169.253.255.255"), "169.254.0.0", "169.254.255.255", Some("169.255.0.0")), LinkLocal),
            ((Some("172.15.255.255"), "172.16.0.0", "172.31.255.255", Some("172.32.0.0")), Private),
            ((Some("191.255.255.255"), "192.0.0.0", "192.0.0.255", Some("192.0.1.0")), Reserved),
            ((Some("192.0.1.255"), "192.0.2.0", "192.0.2.255", Some("192.0.3.0")), Reserved),
            ((Some("192.31.195.255"), "192.31.196.0", "192.31.196.255", Some("192.31.197.0")), Reserved),
            ((Some("192.52.192.255"), "192.52.193.0", "192.52.193.255", Some("192.52.194.0")), Reserved),
            ((Some("192.88.98.255"), "192.88.99.0", "192.88.99.255", Some("192.88.100.0")), Reserved),
            ((Some("192.167.255.255"), "192.168.0.0", "192.168.255.255", Some("192.169.0.0")), Private),
            ((Some("192.175.47.255"), "192.175.48.0", "192.175.48.255", Some("192.175.49.0")), Reserved),
            ((Some("198.17.255.255"), "198.18.0.0", "198.19.255.255", Some("198.20.0.0")), Reserved),
            ((Some("198.51.99.255"), "198.51.100.0", "198.51.100.255", Some("198.51.101.0")), Reserved),
            ((Some("203.0.112.255"), "203.0.113.0", "203.0.113.255", Some("203.0.114.0")), Reserved),
            ((Some("223.255.255.255"), "224.0.0.0", "239.255.255.255", None), Multicast),
            ((None, "240.0.0.0", "255.255.255.255", None), Reserved),
        ]);
    }

    #[test]
    fn special_ipv6_ranges_are_refused_to_their_edges() {
        use Refusal::*;
        assert_edges(&[
            ((None, "::", "::", None), Unspecified),
            ((None, "::1", "::1", None), Loopback),
            ((None, "64:ff9b:1::808:808", "64:ff9b:1:ffff:ffff:ffff:808:808", None), Reserved),
            ((None, "100::", "100::ffff:ffff:ffff:ffff", None), Reserved),
            ((None, "100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff", None), Reserved),
            ((None, "1fff:ffff::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("2000::")), Reserved),
            ((Some("2000:ffff:ffff::"), "2001:4::", "2001:1ff:ffff::1", Some("2001:200::")), Reserved),
            ((Some("2001:db7:ffff::"), "2001:db8::", "2001:db8:ffff:ffff::1", Some("2001:db9::")), Reserved),
            ((Some("2001:ffff::1"), "2002:808:808::", "2002:dfff:ffff::1", Some("2003::")), Reserved),
            (
                (Some("2620:4f:7fff::1"), "2620:4f:8000::", "2620:4f:8000:ffff::1", Some("2620:4f:8001::")),
                Reserved,
            ),
            ((Some("3ffe:ffff::1"), "3fff::", "3fff:fff:ffff::1", Some("3fff:1000::")), Reserved),
            ((Some("3fff:ffff:ffff:ffff::"), "4000::", "5eff::1", None), Reserved),
            ((None, "5f00::", "5f00:ffff::1", None), Reserved),
            ((None, "fbff::", "fbff:ffff::1", None), Reserved),
            ((None, "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None), Private),
            ((None, "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None), LinkLocal),
            ((None, "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None), Private),
            ((None, "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None), Multicast),
        ]);
    }

    #[test]
    fn metadata_services_are_refused_by_name_even_at_public_addresses() {
        for addr in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "64:ff9b::168.63.129.16",
        ] {
            assert_eq!(verdict(addr, &[]), Err(Refusal::Metadata), "{addr}");
        }
        assert_eq!(verdict("168.63.129.17", &[]), Ok(()));
    }

    #[test]
    fn an_embedded_ipv4_address_is_judged_like_itself() {
        for (addr, refusal) in [
            ("::ffff:127.0.0.1", Refusal::Loopback),
            ("::ffff:10.0.0.1", Refusal::Private),
            ("::ffff:0.0.0.0", Refusal::Unspecified),
            ("::127.0.0.1", Refusal::Loopback),
            ("::10.1.2.3", Refusal::Private),
            ("::ffff:0:127.0.0.1", Refusal::Reserved),
            ("64:ff9b::127.0.0.1", Refusal::Loopback),
            ("64:ff9b::a9fe:101", Refusal::LinkLocal),
            ("64:ff9b:1::192.168.0.1", Refusal::Private),
            ("2002:7f00:1::", Refusal::Loopback),
            ("2002:a9fe:a9fe::1", Refusal::Metadata),
            ("2001:0:7f00:1:0:ffff:f7f7:f7f7", Refusal::Loopback), // server 127.0.0.1, client 8.8.8.8
            ("2001:0:808:808:0:ffff:80ff:fffe", Refusal::Loopback), // server 8.8.8.8, client 127.0.0.1
            ("2a00:1450::5efe:127.0.0.1", Refusal::Loopback),
            ("2a00:1450::200:5efe:10.0.0.1", Refusal::Private),
            ("2a00:1450::300:5efe:169.254.0.1", Refusal::LinkLocal),
        ] {
            assert_eq!(verdict(addr, &[]), Err(refusal), "{addr}");
        }
    }

    #[test]
    fn public_addresses_pass_and_so_do_the_carriers_of_one_in_use() {
        for addr in [
            "8.8.8.8",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2a00:1450:4001:80b::200e",
            "2606:4700::1111",
            "2a00:1450::5efe:8.8.8.8",
        ] {
            assert_eq!(verdict(addr, &[]), Ok(()), "{addr}");
        }
    }

    #[test]
    fn carriers_out_of_use_are_refused_whatever_they_carry() {
        for addr in ["::8.8.8.8", "2002:808:808::1", "2001:0:808:808:0:ffff:f7f7:f7f7", "64:ff9b:1::8.8.8.8"]
        {
            assert_eq!(verdict(addr, &[]), Err(Refusal::Reserved), "{addr}");
        }
    }

    #[test]
    fn an_allowed_network_allows_exactly_its_addresses() {
        for (addr, allow, expected) in [
            ("127.0.0.1", &["127.0.0.0/8"][..], Ok(())),
            ("::ffff:127.0.0.1", &["127.0.0.0/8"], Ok(())),
            ("127.0.0.1", &["::ffff:127.0.0.0/104"], Ok(())),
            ("127.0.0.1", &["::/0"], Err(Refusal::Loopback)),
            ("::ffff:127.0.0.1", &["::/0"], Err(Refusal::Loopback)),
            ("::1", &["127.0.0.0/8"], Err(Refusal::Loopback)),
            ("::1", &["0.0.0.0/0", "::1/128"], Ok(())),
            ("64:ff9b::7f00:1", &["127.0.0.0/8"], Err(Refusal::Loopback)),
            ("64:ff9b::7f00:1", &["64:ff9b::/96"], Ok(())),
            ("2002:7f00:1::", &["127.0.0.0/8"], Err(Refusal::Loopback)),
            ("10.0.0.2", &["10.0.0.1/32", "10.0.0.3/32"], Err(Refusal::Private)),
            ("10.0.0.3", &["10.0.0.1/32", "10.0.0.3/32"], Ok(())),
            ("169.254.169.254", &["169.254.169.254/32"], Ok(())),
        ] {
            assert_eq!(verdict(addr, allow), expected, "{addr} with {allow:?}");
        }
    }

    #[test]
    fn a_refusal_reads_as_a_noun_phrase() {
        assert_eq!(Refusal::LinkLocal.to_string(), "a link-local address");
    }

    /// Every way of writing an IPv4 address as an IPv6 one; `other` fills the bits that the carrier leaves free.
    fn carriers(inner: Ipv4Addr, other: u128) -> Vec<Ipv6Addr> {
        let low = u128::from(inner.to_bits());
        let prefix_64 = (other >> 64) << 64;
        [
            low,
            0xffff << 32 | low,
            0xffff << 48 | low,
            0x64_ff9b << 96 | low,
            0x64_ff9b_0001 << 80 | other & ((1 << 80) - 1) & !0xffff_ffff | low,
            0x2002 << 112 | low << 80 | (other & ((1 << 80) - 1)),
            0x2001_0000 << 96 | low << 64 | (other & u128::from(u64::MAX)),
            0x2001_0000 << 96 | prefix_64 >> 32 & !0xffff_ffff | u128::from(!inner.to_bits()),
            prefix_64 | 0x5efe << 32 | low,
            prefix_64 | 0x0200_5efe << 32 | low,
        ]
        .map(Ipv6Addr::from_bits)
        .to_vec()
    }

    proptest! {
        #[test]
        fn no_refused_ipv4_address_passes_under_any_carrier(
            range in prop::sample::select(REFUSED_V4.to_vec()),
            host in any::<u32>(),
            other in any::<u128>(),
        ) {
            let (net, _) = range;
            let inner = Ipv4Addr::from_bits(net.network().to_bits() | host & net.hostmask().to_bits());
            prop_assert!(vet(inner.into(), &[]).is_err(), "{}", inner);
            for carrier in carriers(inner, other) {
                prop_assert!(vet(carrier.into(), &[]).is_err(), "{} in {}", inner, carrier);
            }
        }

        #[test]
        fn mapped_and_plain_ipv4_get_the_same_verdict(bits in any::<u32>()) {
            let addr = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(vet(addr.into(), &[]), vet(addr.to_ipv6_mapped().into(), &[]));
        }
    }
}
