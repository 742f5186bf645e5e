//! Who a referring host is: a search engine, a social network, a mail program, a map, an assistant, an advertising
//! network, under which name, and which query parameters hold the words that were searched for.
//!
//! Doesn't decide which channel a visit belongs to: that is [`source`](super::source). A host that isn't known is
//! simply not found.
//!
//! Two files: `referrers.txt` is made from maintained lists (their names, versions and licences stand in it and in
//! NOTICE); `referrers-own.txt` is ours, by hand, and wins. Facts that shape the rules here:
//! - A search engine's name isn't all of its domain: `docs.google.com` sends readers of a document, not searchers. So
//!   a search engine is met by exactly its hosts, every other kind by the hosts under it too.
//! - Engines have a host in each country, `google.co.uk`, `google.com.br`. What counts as a country is Matomo's rule
//!   for its own list: two letters, or those after `com`, `co`, `org`, `net`, `edu` or `it`.
//! - Android's apps refer with `android-app://com.google.android.gm/`: the package stands where a host would
//!   (developer.android.com, `Intent.EXTRA_REFERRER`).
//! - Assistants are a kind of their own because nobody has settled whether they are search.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

/// Only so many labels at a host's end are looked up. The longest in the lists has five.
const LABELS_MAX: usize = 6;

/// What a known referrer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Search,
    Social,
    Email,
    /// Maps and business listings.
    Local,
    /// A chat that answers questions and cites pages.
    Assistant,
    /// Search advertising.
    Paid,
    /// Banner networks.
    Display,
    /// None of these, though the maintained list says so.
    Plain,
}

impl Kind {
    fn parse(text: &str) -> Option<Kind> {
        Some(match text {
            "search" => Kind::Search,
            "social" => Kind::Social,
            "email" => Kind::Email,
            "local" => Kind::Local,
            "assistant" => Kind::Assistant,
            "paid" => Kind::Paid,
            "display" => Kind::Display,
            "plain" => Kind::Plain,
            _ => return None,
        })
    }
}

/// A known referrer.
#[derive(Debug, PartialEq, Eq)]
pub struct Referrer {
    pub kind: Kind,
    /// In lower case; empty for [`Kind::Plain`].
    pub name: &'static str,
    /// Parameters that hold the words searched for, the best first.
    pub params: Vec<&'static str>,
}

/// Who refers from there. The host in lower case; an Android package counts as one.
pub fn find(host: &str, path: &str) -> Option<&'static Referrer> {
    let list = &*LIST;
    let host = host.strip_prefix("www.").unwrap_or(host);
    let stem = country_stem(host);
    let mut cuts = cuts(host);
    cuts.find_map(|cut| {
        let whole = cut == 0;
        let named = pick(&list.hosts, &host[cut..], path, whole);
        let stem = stem.and_then(|stem| stem.get(cut..)).filter(|stem| !stem.is_empty());
        let abroad = stem.and_then(|stem| pick(&list.stems, stem, path, whole));
        named.filter(|named| named.own || abroad.is_none_or(|abroad| !abroad.own)).or(abroad)
    })
    .map(|place| place.referrer)
}

/// Who a `utm_source` names: `google`, `fb`, `chatgpt.com`. In lower case.
pub fn find_name(name: &str) -> Option<&'static Referrer> {
    let list = &*LIST;
    match list.names.get(name) {
        Some(referrer) => Some(referrer),
        None if name.contains('.') => find(name, "/"),
        None => None,
    }
}

/// Where the host and the domains that it is under begin.
fn cuts(host: &str) -> impl Iterator<Item = usize> + '_ {
    let dots = host.bytes().filter(|b| *b == b'.').count();
    let skipped = dots.saturating_sub(LABELS_MAX);
    let after_dots = host.bytes().enumerate().filter(|(_, b)| *b == b'.').map(|(at, _)| at + 1);
    std::iter::once(0).chain(after_dots.skip(skipped))
}

/// `images.google.co.uk` without its country: `images.google`.
fn country_stem(host: &str) -> Option<&str> {
    let (rest, last) = host.rsplit_once('.')?;
    if last == "com" || last == "cat" {
        return Some(rest);
    }
    if last.len() != 2 {
        return None;
    }
    match rest.rsplit_once('.') {
        Some((stem, "com" | "co" | "org" | "net" | "edu" | "it")) => Some(stem),
        Some(_) | None => Some(rest),
    }
}

fn pick<'l>(places: &'l Places, host: &str, path: &str, whole: bool) -> Option<&'l Place> {
    let fits = |place: &&Place| (whole || place.under) && is_below(path, place.path);
    places.get(host)?.iter().find(fits)
}

/// Whether a path is that one or goes on from it.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| {
        prefix.is_empty() || rest.is_empty() || rest.starts_with(['/', '?', '#']) || prefix.ends_with('/')
    })
}

/// One host of a referrer, or a part of it.
struct Place {
    /// With its slash, or empty for all of the host.
    path: &'static str,
    /// Hosts under this one count too.
    under: bool,
    /// From our own list.
    own: bool,
    referrer: &'static Referrer,
}

type Places = Map<Vec<Place>>;
type Map<V> = HashMap<&'static str, V, BuildHasherDefault<Fnv>>;

#[derive(Default)]
struct List {
    hosts: Places,
    /// Hosts without their country.
    stems: Places,
    names: Map<&'static Referrer>,
}

/// FNV-1a, quicker for words as short as hosts than the standard hasher, whose defence against chosen keys isn't needed:
/// strangers look up but never insert.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

static ROWS: LazyLock<(Vec<Row>, Vec<Row>)> =
    LazyLock::new(|| (rows(include_str!("referrers-own.txt")), rows(include_str!("referrers.txt"))));

static LIST: LazyLock<List> = LazyLock::new(|| {
    let (own, taken) = &*ROWS;
    let mut list = List::default();
    for row in own {
        add_names(&mut list.names, row);
        add_places(&mut list, row, true);
    }
    for row in taken {
        add_places(&mut list, row, false);
    }
    // The part of a host comes before the whole of it; of two alike, the first stays first: ours.
    for places in list.hosts.values_mut().chain(list.stems.values_mut()) {
        places.sort_by_key(|place| std::cmp::Reverse(place.path.len()));
    }
    list
});

struct Row {
    referrer: Referrer,
    hosts: &'static str,
}

/// Lines that aren't of the form are left out; a test counts them.
fn rows(text: &'static str) -> Vec<Row> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(row).collect()
}

fn row(line: &'static str) -> Option<Row> {
    let mut columns = line.split('\t');
    let kind = Kind::parse(columns.next()?)?;
    let name = columns.next()?;
    let params = columns.next()?.split(',').filter(|param| !param.is_empty()).collect();
    Some(Row { referrer: Referrer { kind, name, params }, hosts: columns.next()? })
}

/// An engine's own name wins over that of its advertising.
fn add_names(names: &mut Map<&'static Referrer>, row: &'static Row) {
    let dotless = row.hosts.split(' ').filter(|host| !host.contains('.'));
    for name in std::iter::once(row.referrer.name).chain(dotless).filter(|name| !name.is_empty()) {
        names.entry(name).or_insert(&row.referrer);
    }
}

fn add_places(list: &mut List, row: &'static Row, own: bool) {
    let searches = row.referrer.kind == Kind::Search;
    for host in row.hosts.split(' ').filter(|host| host.contains('.')) {
        let (host, path) = host.split_at(host.find('/').unwrap_or(host.len()));
        let (host, starred) = host.strip_prefix("*.").map_or((host, false), |rest| (rest, true));
        let place = Place { path, under: starred || !searches, own, referrer: &row.referrer };
        let (places, host) = match host.strip_suffix(".*") {
            Some(stem) => (&mut list.stems, stem),
            None => (&mut list.hosts, host.strip_prefix("www.").unwrap_or(host)),
        };
        places.entry(host).or_default().push(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(host: &str, path: &str) -> Option<(Kind, &'static str)> {
        find(host, path).map(|referrer| (referrer.kind, referrer.name))
    }

    #[test]
    fn every_line_of_both_lists_is_read() {
        for text in [include_str!("referrers-own.txt"), include_str!("referrers.txt")] {
            let lines = text.lines().filter(|line| !line.starts_with('#')).count();
            assert_eq!(rows(text).len(), lines);
            assert!(lines > 90);
        }
    }

    #[test]
    fn names_and_hosts_are_in_lower_case_and_bounded() {
        for row in ROWS.0.iter().chain(&ROWS.1) {
            assert_eq!(row.referrer.name, row.referrer.name.to_lowercase());
            assert_eq!(row.hosts, row.hosts.to_lowercase());
            for host in row.hosts.split(' ') {
                assert!(host.matches('.').count() <= LABELS_MAX, "{host}");
            }
        }
    }

    #[test]
    fn search_engines_have_parameters_or_the_name_of_none() {
        for row in ROWS.0.iter().chain(&ROWS.1) {
            assert_eq!(
                row.referrer.params.is_empty(),
                row.referrer.kind != Kind::Search,
                "{}",
                row.referrer.name
            );
        }
    }

    #[test]
    fn an_engine_is_met_in_every_country_but_not_under_its_domain() {
        for host in
            ["google.com", "www.google.de", "google.co.uk", "google.com.br", "google.it.ao", "google.cat"]
        {
            assert_eq!(found(host, "/"), Some((Kind::Search, "google")), "{host}");
        }
        for host in ["docs.google.com", "google.example", "notgoogle.com", "google.evil.com", "com", "", "."]
        {
            assert_eq!(found(host, "/"), None, "{host}");
        }
    }

    #[test]
    fn a_part_of_a_host_wins_over_the_whole() {
        assert_eq!(found("google.com", "/maps/place/x"), Some((Kind::Local, "google maps")));
        assert_eq!(found("google.com", "/mapsy"), Some((Kind::Search, "google")));
        assert_eq!(found("x.com", "/i/grok"), Some((Kind::Assistant, "grok")));
        assert_eq!(found("x.com", "/i/status"), Some((Kind::Social, "twitter")));
    }

    #[test]
    fn hosts_under_a_network_are_the_network() {
        assert_eq!(found("l.facebook.com", "/l.php"), Some((Kind::Social, "facebook")));
        assert_eq!(found("uk.search.yahoo.com", "/"), Some((Kind::Search, "yahoo")));
        assert_eq!(found("nam02.safelinks.protection.outlook.com", "/"), Some((Kind::Email, "outlook")));
        assert_eq!(found("a.b.c.d.e.f.g.h.facebook.com", "/"), Some((Kind::Social, "facebook")));
    }

    #[test]
    fn only_our_own_names_are_names() {
        assert_eq!(find_name("fb").map(|r| r.name), Some("facebook"));
        assert_eq!(find_name("chatgpt.com").map(|r| r.kind), Some(Kind::Assistant));
        assert_eq!(find_name("google").map(|r| r.kind), Some(Kind::Search));
        for name in ["free", "web", "www", "orange", "meta-something", ""] {
            assert_eq!(find_name(name), None, "{name}");
        }
    }
}
