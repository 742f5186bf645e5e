//! Addresses of pages as browsers report them: taken apart, cleaned for storing, compared by site.
//!
//! Decides what of an address is kept. Doesn't decide what it says about a visit, and never fetches anything. Written
//! by hand rather than with the `url` crate: every page view passes here, most of its work (international names, IP
//! addresses in octal) isn't needed for text that a browser has already normalised, and text that no browser made may
//! be refused.
//!
//! Odd facts: a browser treats a backslash as a slash and takes the last `@` as the end of the user name
//! (url.spec.whatwg.org, "authority state"), so this does as well. Bidirectional controls (U+202A to U+202E, U+2066 to
//! U+2069) and the separators U+2028 and U+2029 aren't control characters to Unicode but reorder or break a line when
//! shown, so they go too.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::params;

/// An address is read so far, in bytes. Servers commonly refuse lines longer than 8 KiB, so no real one is cut.
pub const READ_BYTES_MAX: usize = 16_384;
/// An address is kept so far, in characters.
pub const URL_CHARS_MAX: usize = 2_048;
/// RFC 1035 section 2.3.4, in bytes.
const HOST_BYTES_MAX: usize = 253;

/// A page's address for storing. Only http and https, else "". Without user name and password, without `ct_debug` and
/// `ct_test`; without its fragment, unless that holds campaign parameters or a click id. Characters that could leave an attribute or a line are
/// percent-encoded.
pub fn clean_url(text: &str) -> String {
    match split(text) {
        Some(address) if address.is_web() => address.clean(),
        Some(_) | None => String::new(),
    }
}

/// Whether two pages are of one site: the same host but for `www.`, or one under the other. Takes hosts as well.
pub fn is_same_site(a: &str, b: &str) -> bool {
    let host = |text: &'_ str| match split(text) {
        Some(address) => address.host.into_owned(),
        None => text.trim().trim_end_matches('.').to_ascii_lowercase(),
    };
    is_same_host(&host(a), &host(b))
}

/// As [`is_same_site`], of hosts in lower case.
pub(super) fn is_same_host(a: &str, b: &str) -> bool {
    let a = a.strip_prefix("www.").unwrap_or(a);
    let b = b.strip_prefix("www.").unwrap_or(b);
    let under = |inner: &str, outer: &str| {
        inner.strip_suffix(outer).is_some_and(|rest| rest.ends_with('.')) && outer.contains('.')
    };
    !a.is_empty() && !b.is_empty() && (a == b || under(a, b) || under(b, a))
}

/// Removed wherever text is kept.
pub(super) fn is_unwanted(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// An address in its parts, as written but for the host.
pub(super) struct Address<'a> {
    pub scheme: &'a str,
    /// In lower case, without a final dot, never empty.
    pub host: Cow<'a, str>,
    /// Digits or empty.
    port: &'a str,
    /// With its first slash, or empty.
    pub path: &'a str,
    /// Without the question mark.
    pub query: &'a str,
    /// Without the hash.
    pub fragment: &'a str,
}

impl Address<'_> {
    pub fn is_web(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("https") || self.scheme.eq_ignore_ascii_case("http")
    }

    /// The address again, fit for storing. Cleaning it once more changes nothing.
    pub fn clean(&self) -> String {
        let room = self.host.len() + self.path.len() + self.query.len() + 24;
        let mut out = Bounded { text: String::with_capacity(room.min(URL_CHARS_MAX)), left: URL_CHARS_MAX };
        out.push_all(&self.scheme.to_ascii_lowercase());
        out.push_all("://");
        out.push_all(&self.host);
        if !self.port.is_empty() {
            out.push_all(":");
            out.push_all(self.port);
        }
        match self.path {
            "" => out.push_all("/"),
            path if path.contains('\\') => out.push_all(&path.replace('\\', "/")),
            path => out.push_all(path),
        }
        if !self.query.is_empty() {
            out.push_part("?", &without_our_own(self.query), |query| !query.is_empty());
        }
        if !self.fragment.is_empty() {
            let (before, query) = match self.fragment.rfind('?') {
                Some(at) => self.fragment.split_at(at + 1),
                None => ("", self.fragment),
            };
            let fragment = match without_our_own(query) {
                Cow::Borrowed(_) => Cow::Borrowed(self.fragment),
                Cow::Owned(query) => Cow::Owned(format!("{before}{query}")),
            };
            out.push_part("#", &fragment, params::names_any);
        }
        out.text
    }
}

/// A query without the parameters that tests of the script add: `ct_debug` opens the overlay to whoever has it, and
/// neither says anything of a visit.
fn without_our_own(query: &str) -> Cow<'_, str> {
    if !query.split('&').any(is_our_own) {
        return Cow::Borrowed(query);
    }
    let others: Vec<&str> = query.split('&').filter(|pair| !is_our_own(pair)).collect();
    Cow::Owned(others.join("&"))
}

/// `ct_debug` also within another parameter, as in an address to go on to.
fn is_our_own(pair: &str) -> bool {
    let is_plain = pair.bytes().all(|b| b.is_ascii_graphic() && b != b'%');
    let text = match is_plain {
        true => Cow::Borrowed(pair),
        false => {
            let kept: String = pair.chars().filter(|c| !is_unwanted(*c)).collect();
            Cow::Owned(percent_decode(kept.as_bytes()).decode_utf8_lossy().into_owned())
        }
    };
    let name = text.split('=').next().unwrap_or_default();
    text.contains("ct_debug") || name.strip_prefix("amp;").unwrap_or(name) == "ct_test"
}

/// Takes an address apart. None if it has no scheme with `//` and no host that could be one.
pub(super) fn split(text: &str) -> Option<Address<'_>> {
    let text = text[..text.floor_char_boundary(READ_BYTES_MAX)].trim_matches(|c: char| c <= ' ');
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
    let (scheme, rest) = text.split_at(text.bytes().position(|b| !named(b))?);
    let rest = rest.strip_prefix("://")?;
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let (authority, rest) = rest.split_at(rest.bytes().position(ends_authority).unwrap_or(rest.len()));
    let (host, port) = split_port(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
    let host = checked_host(host)?;
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Some(Address { scheme, host, port, path, query, fragment })
}

fn ends_authority(b: u8) -> bool {
    matches!(b, b'/' | b'\\' | b'?' | b'#')
}

/// A port that isn't a number is dropped.
fn split_port(authority: &str) -> (&str, &str) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let numeric = port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
            (host, if numeric { port } else { "" })
        }
        Some(_) | None => (authority, ""),
    }
}

/// A host in lower case, if it could be one: a name (also international), an IPv4 address or an IPv6 one in brackets.
fn checked_host(host: &str) -> Option<Cow<'_, str>> {
    let host = host.trim_end_matches('.');
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fits = match inner {
        Some(inner) => inner.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')),
        None => host.bytes().all(is_host_byte) || host.chars().all(is_host_char),
    };
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !fits {
        return None;
    }
    Some(match host.bytes().any(|b| b.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    })
}

fn is_host_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')
}

fn is_host_char(c: char) -> bool {
    u8::try_from(c).is_ok_and(is_host_byte) || (!c.is_ascii() && c.is_alphanumeric())
}

/// Text that grows to its limit and no further.
struct Bounded {
    text: String,
    left: usize,
}

impl Bounded {
    /// Plain runs are copied whole, which is nearly always everything.
    fn push_all(&mut self, part: &str) {
        let plain =
            part.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'`' | b'\\'));
        if plain {
            let taken = part.len().min(self.left);
            self.text.push_str(&part[..taken]);
            self.left -= taken;
            return;
        }
        for c in part.chars().filter(|c| !is_unwanted(*c)) {
            let written = encoded(c);
            let chars = written.map_or(1, str::len);
            if chars > self.left {
                // Nothing shorter may follow, or what is kept would have a hole.
                self.left = 0;
                return;
            }
            match written {
                Some(code) => self.text.push_str(code),
                None => self.text.push(c),
            }
            self.left -= chars;
        }
    }

    /// Kept, with its mark, only if what is left of it is worth keeping.
    fn push_part(&mut self, mark: &str, part: &str, is_worth: impl Fn(&str) -> bool) {
        let (length, left) = (self.text.len(), self.left);
        self.push_all(mark);
        let begin = self.text.len();
        self.push_all(part);
        if !self.text.get(begin..).is_some_and(is_worth) {
            self.text.truncate(length);
            self.left = left;
        }
    }
}

/// What the URL standard encodes in a query or a path, and a backslash, which could be read as a slash.
fn encoded(c: char) -> Option<&'static str> {
    Some(match c {
        ' ' => "%20",
        '"' => "%22",
        '<' => "%3C",
        '>' => "%3E",
        '`' => "%60",
        '\\' => "%5C",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_keeps_what_a_page_is_and_drops_the_rest() {
        let table = [
            ("https://calltracker.io/", "https://calltracker.io/"),
            ("https://calltracker.io", "https://calltracker.io/"),
            ("HTTPS://CallTracker.IO/Pricing?a=B", "https://calltracker.io/Pricing?a=B"),
            ("http://shop.example:8080/x", "http://shop.example:8080/x"),
            ("http://shop.example:x8/x", "http://shop.example/x"),
            ("  https://a.example/ \n", "https://a.example/"),
            ("https://user:secret@a.example/x", "https://a.example/x"),
            ("https://a@b@c.example/", "https://c.example/"),
            ("https://a.example/#top", "https://a.example/"),
            ("https://a.example/?q=1#", "https://a.example/?q=1"),
            ("https://a.example/#utm_source=x", "https://a.example/#utm_source=x"),
            ("https://a.example/#/p?gclid=x", "https://a.example/#/p?gclid=x"),
            ("https://a.example?x=1", "https://a.example/?x=1"),
            ("https://a.example/?ct_debug=17_x", "https://a.example/"),
            ("https://a.example/?ct_test=1#top", "https://a.example/"),
            ("https://a.example/?a=1&ct_debug=17_x&b=2&ct_test=1", "https://a.example/?a=1&b=2"),
            ("https://a.example/?a&ct_debug&amp;ct_test=1", "https://a.example/?a"),
            ("https://a.example/?ct%5Fdebug=17_x&c\u{0}t_debug=1&x=%zz", "https://a.example/?x=%zz"),
            ("https://a.example/?next=%2F%3Fct_debug%3D17_x&x=1", "https://a.example/?x=1"),
            ("https://a.example/#/p?ct_debug=17_x&gclid=y", "https://a.example/#/p?gclid=y"),
            ("https://a.example/#ct_debug=17_x&gclid=y", "https://a.example/#gclid=y"),
            (
                "https://a.example/?ct_testing=1&direct_test=2",
                "https://a.example/?ct_testing=1&direct_test=2",
            ),
            ("https://a.example\\b\\c", "https://a.example/b/c"),
            ("https://a.example./x", "https://a.example/x"),
            ("https://a.example/\u{0}\u{7}\n\t\u{202e}x", "https://a.example/x"),
            ("https://a.example/?q=<script>\"`", "https://a.example/?q=%3Cscript%3E%22%60"),
            ("https://a.example/a b", "https://a.example/a%20b"),
            ("https://münchen.example/straße", "https://münchen.example/straße"),
            ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443/"),
            ("https://127.0.0.1/", "https://127.0.0.1/"),
            ("", ""),
            ("/pricing", ""),
            ("a.example/x", ""),
            ("//a.example/x", ""),
            ("https:///x", ""),
            ("https://", ""),
            ("https://.", ""),
            ("https://<script>/", ""),
            ("https://a\u{0}b.example/", ""),
            ("javascript:alert(1)", ""),
            ("javascript://a.example/%0aalert(1)", ""),
            ("data:text/html,<b>", ""),
            ("file:///etc/passwd", ""),
            ("about:blank", ""),
            ("ht\ntp://a.example/", ""),
            ("https://[2001:db8::1/", ""),
        ];
        for (text, cleaned) in table {
            assert_eq!(clean_url(text), cleaned, "{text}");
        }
    }

    #[test]
    fn a_long_address_is_cut_to_the_limit() {
        let long = format!("https://a.example/{}", "é<".repeat(500_000));
        let cleaned = clean_url(&long);
        assert!((URL_CHARS_MAX - 3..=URL_CHARS_MAX).contains(&cleaned.chars().count()));
        assert_eq!(clean_url(&cleaned), cleaned);
        assert_eq!(clean_url(&format!("https://{}/", "a".repeat(1_000_000))), "");
    }

    #[test]
    fn a_site_is_its_host_and_the_hosts_under_it() {
        let same = [
            ("https://a.example/x", "https://www.a.example/y"),
            ("https://A.example/", "http://a.example:81"),
            ("https://shop.a.example/", "https://a.example/"),
            ("a.example", "https://blog.a.example/"),
            ("www.a.example", "a.example."),
        ];
        let other = [
            ("https://a.example/", "https://b.example/"),
            ("https://nota.example/", "https://a.example/"),
            ("https://one.a.example/", "https://two.a.example/"),
            ("https://a.com/", "com"),
            ("", ""),
            ("https://a.example/", ""),
        ];
        for (a, b) in same {
            assert!(is_same_site(a, b) && is_same_site(b, a), "{a} {b}");
        }
        for (a, b) in other {
            assert!(!is_same_site(a, b) && !is_same_site(b, a), "{a} {b}");
        }
    }
}
