//! The parameters of an address that say where a visit came from: campaign parameters and click ids, and the words
//! of a search.
//!
//! Decides how they are found and read: in the query first, then in the fragment; by names in any case; of a repeated
//! one the first that isn't empty. Doesn't decide what they mean.
//!
//! Odd facts, all met in the wild: `&amp;` in links that were escaped twice, names with a percent-encoded underscore
//! (`utm%5Fsource`), single-page apps with the whole query behind the hash (`#/offer?utm_source=x`), and click ids that
//! are still the template's own `{gclid}`.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::address::{Address, is_unwanted};
use super::{ClickId, ClickKind, Utm};

/// Any value that isn't an address is kept so far, in characters.
pub const TEXT_CHARS_MAX: usize = 500;
/// Enough bytes of a value to fill that: four a character, each written as `%41`.
const VALUE_BYTES_MAX: usize = TEXT_CHARS_MAX * 4 * 3;

/// The names, in the order of [`Found::values`].
const NAMES: [&str; 15] = [
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "utm_id",
    "gclid",
    "gbraid",
    "wbraid",
    "dclid",
    "msclkid",
    "fbclid",
    "ttclid",
    "li_fat_id",
    "twclid",
];
/// The shortest and the longest name, the longest with all its characters percent-encoded.
const NAME_BYTES_MIN: usize = 5;
const NAME_BYTES_MAX: usize = 12 * 3;
/// So many of them are campaign parameters, the rest click ids in the order of [`ClickKind::ALL`].
const UTMS: usize = NAMES.len() - ClickKind::ALL.len();

/// What a page's address says.
pub(super) fn read(page: &Address<'_>) -> (Utm, Vec<ClickId>) {
    let mut found = Found::default();
    found.add(page.query);
    found.add(fragment_query(page.fragment));
    found.split()
}

/// Whether a fragment holds anything that [`read`] would look for.
pub(super) fn names_any(fragment: &str) -> bool {
    pairs(fragment_query(fragment)).any(|(name, _)| place_of(name).is_some())
}

/// The first of these parameters that holds the words of a search. Engines' redirects have addresses in the same
/// place (`google.com/url?q=https://...`): those aren't words.
pub(super) fn search_words(referrer: &Address<'_>, names: &[&str]) -> String {
    let sought = |part: &str, name: &str| {
        let value = pairs(part).find(|(n, v)| n.eq_ignore_ascii_case(name) && !v.is_empty())?.1;
        Some(decode(value)).filter(|words| !words.is_empty() && !words.contains("://"))
    };
    let of = |part: &str| names.iter().find_map(|name| sought(part, name));
    of(referrer.query).or_else(|| of(fragment_query(referrer.fragment))).unwrap_or_default()
}

#[derive(Default)]
struct Found {
    values: [String; NAMES.len()],
}

impl Found {
    fn add(&mut self, query: &str) {
        for (name, value) in pairs(query) {
            let Some(place) = place_of(name) else { continue };
            if self.values[place].is_empty() {
                self.values[place] = decode(value);
            }
        }
    }

    fn split(self) -> (Utm, Vec<ClickId>) {
        let mut values = self.values;
        let clicks = ClickKind::ALL.into_iter().zip(&mut values[UTMS..]);
        let clicks = clicks.filter(|(_, value)| is_click_id(value));
        let clicks = clicks.map(|(kind, value)| ClickId { kind, value: std::mem::take(value) }).collect();
        let [source, medium, campaign, term, content, id, ..] = values;
        (Utm { source, medium, campaign, term, content, id }, clicks)
    }
}

/// Names and values as written.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter_map(|pair| {
        let pair = pair.strip_prefix("amp;").unwrap_or(pair);
        // Quicker on text this short than `split_once`, which prepares for long ones.
        let at = pair.bytes().position(|b| b == b'=')?;
        Some((&pair[..at], &pair[at + 1..]))
    })
}

/// What of a fragment is like a query: all of it, or what follows the last question mark.
fn fragment_query(fragment: &str) -> &str {
    fragment.rsplit_once('?').map_or(fragment, |(_, query)| query)
}

fn place_of(name: &str) -> Option<usize> {
    if !(NAME_BYTES_MIN..=NAME_BYTES_MAX).contains(&name.len()) {
        return None;
    }
    let name = match name.bytes().any(|b| b == b'%') {
        true => Cow::Owned(percent_decode(name.as_bytes()).decode_utf8_lossy().into_owned()),
        false => Cow::Borrowed(name),
    };
    let begins = |known: &str| known.as_bytes()[0] == name.as_bytes()[0].to_ascii_lowercase();
    NAMES
        .iter()
        .position(|known| known.len() == name.len() && begins(known) && known.eq_ignore_ascii_case(&name))
}

/// A value as text: `+` is a space, bytes that aren't UTF-8 become U+FFFD.
fn decode(value: &str) -> String {
    let value = &value[..value.floor_char_boundary(VALUE_BYTES_MAX)];
    if value.len() <= TEXT_CHARS_MAX && value.bytes().all(is_plain) {
        return value.to_owned();
    }
    let spaced = match value.bytes().any(|b| b == b'+') {
        true => Cow::Owned(value.replace('+', " ")),
        false => Cow::Borrowed(value),
    };
    let mut decoded = Vec::with_capacity(spaced.len());
    decoded.extend(percent_decode(spaced.as_bytes()));
    tidy(
        String::from_utf8(decoded)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// Stands for itself, wherever in a value.
fn is_plain(b: u8) -> bool {
    b.is_ascii_graphic() && b != b'%' && b != b'+'
}

/// Text without control characters and outer space, cut to [`TEXT_CHARS_MAX`].
fn tidy(text: String) -> String {
    let trimmed = text.trim_matches(|c: char| c.is_whitespace() || is_unwanted(c));
    let clean = trimmed.len() <= TEXT_CHARS_MAX && !trimmed.contains(is_unwanted);
    if clean && trimmed.len() == text.len() {
        return text;
    }
    let mut kept: String = trimmed.chars().filter(|c| !is_unwanted(*c)).take(TEXT_CHARS_MAX).collect();
    kept.truncate(kept.trim_end().len());
    kept
}

/// Every network's ids are of letters, digits and a little punctuation. A template's `{gclid}` is none.
fn is_click_id(value: &str) -> bool {
    let fits =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b':' | b'=' | b'/');
    !value.is_empty() && value.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::super::address::split;
    use super::*;

    fn utm(query: &str) -> Utm {
        read(&split(&format!("https://a.example/{query}")).unwrap()).0
    }

    #[test]
    fn names_and_kinds_are_in_one_order() {
        for (name, kind) in NAMES[UTMS..].iter().zip(ClickKind::ALL) {
            assert_eq!(*name, kind.as_str());
        }
    }

    #[test]
    fn a_source_is_read_wherever_and_however_it_stands() {
        for query in [
            "?utm_source=news",
            "?UTM_Source=news",
            "?a=1&amp;utm_source=news",
            "?utm%5Fsource=news",
            "?utm_source=&utm_source=+&utm_source=news&utm_source=late",
            "#utm_source=news",
            "#/offer?utm_source=news",
            "?utm_source=#!x?utm_source=news",
            "?utm_source=%20news%00",
            "?utm_source=n%65ws",
        ] {
            assert_eq!(utm(query).source, "news", "{query}");
        }
        assert_eq!(utm("?utm_source=query#utm_source=fragment").source, "query");
        assert_eq!(utm("?utm_source=%ff%fe").source, "\u{fffd}\u{fffd}");
        assert_eq!(utm("?utm_source=a%zz%").source, "a%zz%");
        assert_eq!(utm("?utm_source"), Utm::default());
    }

    #[test]
    fn a_template_left_as_it_was_is_no_click_id() {
        for id in ["", "{gclid}", "%7Bgclid%7D", "[click_id]", "<script>", "a b", "é"] {
            let address = format!("https://a.example/?gclid={id}");
            assert_eq!(read(&split(&address).unwrap()).1, Vec::new(), "{id}");
        }
    }

    #[test]
    fn values_are_bounded_in_characters() {
        let long = format!("?utm_term={}", "%C3%A9".repeat(2_000));
        assert_eq!(utm(&long).term.chars().count(), TEXT_CHARS_MAX);
    }
}
