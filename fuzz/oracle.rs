//! A second opinion on targets, for the fuzzer and for the property tests of `outbound`.
//!
//! Decides: which addresses are forbidden, and which address a reader of URLs takes a text to mean. Shares nothing with
//! the product, on purpose: no crate for networks or URLs, ranges as patterns of octets and segments rather than as
//! prefixes, texts read the lenient way of resolvers and command-line clients rather than by the URL standard. A rule
//! that is wrong here and there in the same way is a rule that was understood wrongly, not mistyped.
//!
//! What the product says comes in as closures; what is wrong with it goes out as a panic, which both fuzzers and
//! property tests report with the input that caused it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use unicode_normalization::UnicodeNormalization as _;

/// Holds the product's verdict on one address against ours. It must agree in both directions.
pub fn judge_address(addr: IpAddr, passes: bool) {
    assert_eq!(passes, !is_forbidden(addr), "{addr} passes: {passes}");
}

/// Holds the product's verdict on any text against ours. `accept` gives the normalised URL if the product accepts.
/// Only acceptance is judged: the product may be stricter than we know.
pub fn judge_text(text: &str, accept: impl Fn(&str) -> Option<String>) {
    let Some(accepted) = accept(text) else { return };
    let host =
        host_of(&accepted).unwrap_or_else(|| panic!("{text:?} became {accepted:?}, which has no host"));
    assert_harmless(text, &accepted, &host);
    assert_eq!(accept(&accepted).as_deref(), Some(accepted.as_str()), "{text:?} is normalised twice");

    // Whoever reads the text before normalisation, a person or another program, must mean the same address.
    let typed = host_of(text).unwrap_or_else(|| panic!("{text:?} has no host, but became {accepted:?}"));
    assert_harmless(text, &accepted, &typed);
    assert_eq!(address_of(&typed), address_of(&host), "{text:?} became {accepted:?}");

    // The dialler reads the normalised URL with another parser than the check did.
    let dialled: hyper::Uri =
        accepted.parse().unwrap_or_else(|e| panic!("{accepted:?} can't be dialled: {e}"));
    assert_eq!(dialled.host(), Some(host.as_str()), "{text:?} became {accepted:?}");
    assert!(!dialled.authority().is_some_and(|it| it.as_str().contains('@')), "{accepted:?} has a user");
}

/// Spells an address in an odd way, which `chance` chooses, and holds the product's verdict on it against ours. It must
/// agree in both directions: these spellings are all valid.
pub fn judge_spelling(addr: IpAddr, chance: u128, accept: impl Fn(&str) -> Option<String>) {
    let text = spell(addr, &mut Chance(chance));
    let accepted = accept(&text);
    assert_eq!(accepted.is_some(), !is_forbidden(addr), "{text:?} is {addr} and became {accepted:?}");
    if let Some(accepted) = accepted {
        let host = host_of(&accepted).and_then(|host| address_of(&host));
        assert_eq!(host, Some(addr), "{text:?} became {accepted:?}");
    }
    judge_text(&text, accept);
}

fn assert_harmless(text: &str, accepted: &str, host: &str) {
    let forbidden = address_of(host).is_some_and(is_forbidden);
    assert!(!forbidden, "{text:?} was accepted as {accepted:?} and leads to {host}");
    let name = host.trim_end_matches('.');
    let local = name == "localhost" || name.ends_with(".localhost");
    assert!(!local, "{text:?} was accepted as {accepted:?} and leads to this machine");
}

/// Everything that isn't an ordinary public address.
fn is_forbidden(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => is_forbidden_v4(addr.octets()),
        IpAddr::V6(addr) => is_forbidden_v6(addr.segments()),
    }
}

fn is_forbidden_v4(octets: [u8; 4]) -> bool {
    match octets {
        // This network, private, loopback; multicast, reserved, broadcast
        [0 | 10 | 127 | 224..=255, ..] => true,
        // Private, carrier-grade NAT, link-local
        [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [169, 254, ..] => true,
        // Protocol assignments, three documentation networks, benchmarks
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18..=19, ..] => true,
        // AS112, AMT, AS112 again, 6to4 relays
        [192, 31, 196, _] | [192, 52, 193, _] | [192, 175, 48, _] | [192, 88, 99, _] => true,
        // Azure's wire server
        [168, 63, 129, 16] => true,
        _ => false,
    }
}

fn is_forbidden_v6(segments: [u16; 8]) -> bool {
    let [.., high, low] = segments;
    let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
    match segments {
        // Mapped; NAT64
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_forbidden_v4([a, b, c, d]),
        // Protocol assignments with Teredo among them, documentation, 6to4, AS112, documentation
        [0x2001, 0..=0x1ff | 0xdb8, ..]
        | [0x2002, ..]
        | [0x2620, 0x4f, 0x8000, ..]
        | [0x3fff, 0..=0xfff, ..] => true,
        // ISATAP, global or not, group or not
        [0x2000..=0x3fff, _, _, _, 0 | 0x100 | 0x200 | 0x300, 0x5efe, ..] => is_forbidden_v4([a, b, c, d]),
        [0x2000..=0x3fff, ..] => false,
        _ => true,
    }
}

/// The host that a lenient reader finds in a text, in lower case and without disguise; IPv6 in brackets.
fn host_of(text: &str) -> Option<String> {
    let text: String = text.trim_matches(|c: char| c <= ' ').replace(['\t', '\n', '\r'], "");
    let (scheme, rest) = text.split_once(':')?;
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return None;
    }
    let rest = rest.trim_start_matches(['/', '\\']);
    let authority = rest.split(['/', '\\', '?', '#']).next()?;
    let server = authority.rsplit('@').next()?;
    let host = match server.find(']') {
        Some(end) => &server[..=end],
        None => server.split(':').next()?,
    };
    Some(undisguised(host))
}

/// Without percent signs, typographic variants, invisible characters and capitals: what internationalised names do
/// to a text (UTS 46 section 4) as far as it can matter to an address.
fn undisguised(host: &str) -> String {
    let is_invisible = |c: &char| {
        matches!(c, '\u{ad}' | '\u{34f}' | '\u{180b}'..='\u{180f}' | '\u{200b}' | '\u{2060}' | '\u{2064}')
            || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0100}'..='\u{e01ef}')
    };
    let decoded = percent_decoded(host);
    let plain = decoded.nfkc().filter(|c| !is_invisible(c)).flat_map(char::to_lowercase);
    plain.map(|c| if c == '\u{3002}' { '.' } else { c }).collect()
}

fn percent_decoded(text: &str) -> String {
    let (mut rest, mut decoded) = (text.as_bytes(), Vec::new());
    while let [first, more @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)),
            _ => None,
        };
        let (byte, after) = match escaped {
            Some((high, low)) => (high << 4 | low, &more[2..]),
            None => (*first, more),
        };
        decoded.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The address that a resolver takes a host to be before it asks DNS: inet_aton(3) and the literals of RFC 3986.
fn address_of(host: &str) -> Option<IpAddr> {
    if let Some(literal) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return literal.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let parts = host.split('.').map(number).collect::<Option<Vec<u64>>>()?;
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|part| *part > 255) {
        return None;
    }
    let high = leading.iter().fold(0, |sum, part| sum << 8 | part);
    let free_bits = 8 * (4 - leading.len());
    let bits = (*last < 1 << free_bits).then_some(high << free_bits | last)?;
    u32::try_from(bits).ok().map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
}

/// Decimal, octal after a 0, hexadecimal after 0x; a lone 0x is nought to some.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(""), _) => ("0", 16),
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        (None, _) => (text, 10),
    };
    // from_str_radix takes a sign.
    if digits.starts_with(['+', '-']) { None } else { u64::from_str_radix(digits, radix).ok() }
}

/// A number that is used up choice by choice.
struct Chance(u128);

impl Chance {
    fn below(&mut self, n: u8) -> u8 {
        let chosen = self.0 % u128::from(n);
        self.0 /= u128::from(n);
        u8::try_from(chosen).unwrap_or_default()
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[usize::from(self.below(u8::try_from(choices.len()).unwrap_or(1)))]
    }
}

/// A valid URL, by the URL standard, whose host is `addr`.
fn spell(addr: IpAddr, chance: &mut Chance) -> String {
    let scheme = chance.one_of(&["http:", "https:", "HTTP:", "ht\ttp:", " https:"]);
    let slashes = chance.one_of(&["//", "\\\\", "/\\", "/", "", "///"]);
    let end = chance.one_of(&["/", "", "/a?b=c", "?q", "\\x", ":8080", ":8080/x@y", ":/", "/%2e%2e", "\n "]);
    let host = match addr {
        IpAddr::V4(addr) => spell_v4(addr, chance),
        IpAddr::V6(addr) => spell_v6(addr, chance),
    };
    format!("{scheme}{slashes}{host}{end}")
}

fn spell_v4(addr: Ipv4Addr, chance: &mut Chance) -> String {
    let leading = chance.below(4);
    let mut rest = u64::from(addr.to_bits());
    let mut parts = Vec::new();
    for left in (4 - leading..4).rev() {
        parts.push(spell_number(rest >> (8 * left), chance));
        rest &= (1 << (8 * left)) - 1;
    }
    parts.push(spell_number(rest, chance));
    let dot = chance.one_of(&[".", "。", "．", "｡", "%2e", "%E3%80%82"]);
    let last = chance.one_of(&["", "", "."]);
    parts.join(dot) + last
}

fn spell_number(value: u64, chance: &mut Chance) -> String {
    let digits = match chance.below(6) {
        0 => format!("{value:#x}"),
        1 => format!("0X{value:08X}"),
        2 => format!("0{value:o}"),
        3 => format!("0000{value:o}"),
        _ => value.to_string(),
    };
    let disguise = |c: char, way: u8| match (way, c) {
        (1, '!'..='~') => char::from_u32(u32::from(c) + 0xfee0).into_iter().collect(),
        (2, '0'..='9') => char::from_u32(u32::from(c) - u32::from('0') + 0x1d7ce).into_iter().collect(),
        (3, _) => format!("%{:02x}", u32::from(c)),
        (4, _) => format!("{c}\u{ad}"),
        (5, _) => format!("{c}\t"),
        _ => c.to_string(),
    };
    let way = chance.below(9);
    digits.chars().map(|c| disguise(c, way)).collect()
}

fn spell_v6(addr: Ipv6Addr, chance: &mut Chance) -> String {
    let [a, b, c, d, e, f, ..] = addr.segments();
    let low = Ipv4Addr::from_bits(addr.to_bits() as u32);
    let text = match chance.below(4) {
        0 => addr.segments().map(|segment| format!("{segment:04x}")).join(":"),
        1 => addr.segments().map(|segment| format!("{segment:x}")).join(":"),
        2 => format!("{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}:{low}"),
        _ => addr.to_string(),
    };
    let text = if chance.below(2) == 0 { text } else { text.to_uppercase() };
    format!("[{text}]")
}
