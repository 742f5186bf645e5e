//! Whose request it is, by address. Behind a proxy that the operator trusts the address is the last one in
//! `X-Forwarded-For` that isn't a trusted proxy's; what stands before that anyone may have written.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The client's address; None if even the peer's isn't known.
pub fn address(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = peer?.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return Some(peer);
    }
    let all: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let mut last = peer;
    for text in all.iter().rev() {
        let Ok(address) = text.trim().parse::<IpAddr>() else { return Some(last) };
        last = address.to_canonical();
        if !is_trusted(&last) {
            break;
        }
    }
    Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = ["127.0.0.0/8", "10.0.0.0/8"].map(|text| text.parse().unwrap()).to_vec();
        for (peer, forwarded, expected) in [
            ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
            ("127.0.0.1", "", "127.0.0.1"),
            ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("127.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
            ("127.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.7", "198.51.100.1"),
            ("127.0.0.1", "10.0.0.8, 10.0.0.7", "10.0.0.8"),
            ("127.0.0.1", "junk", "127.0.0.1"),
            ("127.0.0.1", "198.51.100.1, <script>", "127.0.0.1"),
            ("::ffff:127.0.0.1", "2001:db8::1", "2001:db8::1"),
        ] {
            let mut headers = HeaderMap::new();
            if !forwarded.is_empty() {
                headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            }
            let found = address(Some(peer.parse().unwrap()), &headers, &trusted);
            assert_eq!(found, Some(expected.parse().unwrap()), "{peer} {forwarded}");
        }
        assert_eq!(address(None, &HeaderMap::new(), &trusted), None);
    }
}
