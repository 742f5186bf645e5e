//! Looks for a target that the product accepts although it leads where nothing may be called.
//!
//! An input that begins with byte 0 is one address (16 bytes, or 4), byte 1 an address and how to spell it oddly; every
//! other input is a URL as somebody might type it. What is right is decided in `oracle.rs` alone.

#![no_main]

#[path = "../oracle.rs"]
mod oracle;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use calltracker::kernel::address;
use calltracker::outbound::{Options, Outbound, ResolverChoice};
use libfuzzer_sys::fuzz_target;

static OUTBOUND: LazyLock<Outbound> = LazyLock::new(|| {
    Outbound::new(Options {
        allow: vec![],
        roots: rustls::RootCertStore::empty(),
        resolver: ResolverChoice::NameServer(([127, 0, 0, 1], 9).into()),
        user_agent: String::new(),
    })
    .expect("the options are valid")
});

fn accept(text: &str) -> Option<String> {
    OUTBOUND.check_target(text).ok().map(String::from)
}

fuzz_target!(|data: &[u8]| match data {
    [0, rest @ ..] => {
        if let Some((addr, _)) = address(rest) {
            oracle::judge_address(addr, address::vet(addr, &[]).is_ok());
        }
    }
    [1, rest @ ..] => {
        if let Some((addr, rest)) = address(rest) {
            let chance = rest.iter().take(16).fold(0, |sum, byte| sum << 8 | u128::from(*byte));
            oracle::judge_spelling(addr, chance, accept);
        }
    }
    text => {
        if let Ok(text) = std::str::from_utf8(text) {
            oracle::judge_text(text, accept);
            // Most inputs lack a scheme, which is the least interesting of all faults.
            oracle::judge_text(&format!("http://{text}"), accept);
        }
    }
});

/// An address, its family first, and what follows it.
fn address(bytes: &[u8]) -> Option<(IpAddr, &[u8])> {
    let (family, bytes) = bytes.split_first()?;
    if family % 2 == 0 {
        let (octets, rest) = bytes.split_first_chunk::<4>()?;
        Some((Ipv4Addr::from(*octets).into(), rest))
    } else {
        let (octets, rest) = bytes.split_first_chunk::<16>()?;
        Some((Ipv6Addr::from(*octets).into(), rest))
    }
}
