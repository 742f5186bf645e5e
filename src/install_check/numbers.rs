//! Phone numbers in the texts of a page.
//!
//! Decides: where a number that we know (one that is replaced, or a tracking number) is written, by the rules of the
//! script on the site, in any format; and which other numbers stand there. Does not decide: which texts of a page
//! count (`page`), what a number's presence means (`report`).
//!
//! Odd facts: a page's digits are mostly no phone numbers, and ten of them in a row are a valid American one surprisingly
//! often: "2024-03-09 10" is. So a number that we don't know has to be grouped as people group theirs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use crate::kernel::phone::PhoneNumber;

/// Characters between two digits of a number at most: as the script.
const GAP_CHARS_MAX: usize = 6;
/// Stands between two nodes of a text: "Call <b>270</b>…" has two. No text has it of its own, by Unicode's rules.
pub const EDGE: char = '\u{ffff}';
/// Digits that a number has at least and at most, trunk and international prefixes included.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=18;
/// E.164's.
const E164_DIGITS_MAX: usize = 15;
/// Digits that are looked at together. A longer row is cut, wherever that is: it isn't for people.
const RUN_DIGITS_MAX: usize = 500;
/// How often digits of a page are tried as a number that we don't know: each costs microseconds.
const TRIES_MAX: usize = 2_000;
/// Different numbers of one page that we don't know, at most.
const STRANGERS_MAX: usize = 200;
/// What international numbers begin with, beside `+`.
const ABROAD: [&str; 2] = ["00", "011"];
/// How North Americans group the ten digits of a number and the 1 before them.
const AMERICAN_GROUPS: [&[usize]; 9] =
    [&[3, 3, 4], &[3, 7], &[6, 4], &[10], &[1, 3, 3, 4], &[1, 3, 7], &[1, 10], &[4, 3, 4], &[11]];

/// Where on a page a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Text,
    TelLink,
    SmsLink,
    AriaLabel,
    Title,
    Alt,
}

impl Place {
    pub const ALL: [Place; 6] =
        [Place::Text, Place::TelLink, Place::SmsLink, Place::AriaLabel, Place::Title, Place::Alt];

    pub fn as_str(self) -> &'static str {
        match self {
            Place::Text => "text",
            Place::TelLink => "tel_link",
            Place::SmsLink => "sms_link",
            Place::AriaLabel => "aria_label",
            Place::Title => "title",
            Place::Alt => "alt",
        }
    }
}

/// One text of a page, as a reader sees it, with [`EDGE`] between its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub place: Place,
    pub text: String,
}

/// A number on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// As the page has it, where it stands first.
    pub text: String,
    pub places: BTreeSet<Place>,
    pub count: usize,
}

/// The numbers that a page is searched for.
#[derive(Debug, Default)]
pub struct Known {
    /// By the digits without country code.
    forms: HashMap<Vec<u8>, Vec<Form>>,
    /// How many digits those have, most first.
    lengths: BTreeSet<usize>,
}

/// How a number is written.
#[derive(Debug)]
struct Form {
    number: PhoneNumber,
    code: String,
    trunk: String,
}

impl Known {
    pub fn new<'a>(numbers: impl IntoIterator<Item = &'a PhoneNumber>) -> Known {
        let mut known = Known::default();
        for number in numbers {
            let (code, trunk) = number.prefixes();
            let digits = &number.as_str()[1..];
            let national = digits.strip_prefix(&code).unwrap_or(digits).as_bytes().to_vec();
            known.lengths.insert(national.len());
            let forms = known.forms.entry(national).or_default();
            if !forms.iter().any(|form| form.number == *number) {
                forms.push(Form { number: number.clone(), code, trunk });
            }
        }
        known
    }

    fn has(&self, number: &PhoneNumber) -> bool {
        let digits = &number.as_str().as_bytes()[1..];
        self.lengths.iter().any(|length| {
            let national = digits.len().checked_sub(*length).map(|from| &digits[from..]);
            let forms = national.and_then(|national| self.forms.get(national));
            forms.is_some_and(|forms| forms.iter().any(|form| form.number == *number))
        })
    }
}

/// All numbers in these texts of a page of this country.
pub fn find(texts: &[Text], known: &Known, country: &str) -> BTreeMap<PhoneNumber, Found> {
    let mut search = Search { known, country, tries_left: TRIES_MAX, strangers: 0, found: BTreeMap::new() };
    for text in texts {
        search.read(text);
    }
    search.found
}

struct Search<'a> {
    known: &'a Known,
    country: &'a str,
    tries_left: usize,
    strangers: usize,
    found: BTreeMap<PhoneNumber, Found>,
}

/// A digit and where it stands.
type Digit = (usize, u8);

impl Search<'_> {
    fn read(&mut self, text: &Text) {
        let mut run: Vec<Digit> = Vec::new();
        for digit in text.text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
            let joined = run.last().is_some_and(|last| is_gap(&text.text[last.0 + 1..digit.0]));
            if !joined || run.len() == RUN_DIGITS_MAX {
                self.read_run(text, &run);
                run.clear();
            }
            run.push(digit);
        }
        self.read_run(text, &run);
    }

    /// Digits with nothing but gaps between them.
    fn read_run(&mut self, text: &Text, run: &[Digit]) {
        let (mut rest, mut at) = (0, 0);
        while at < run.len() {
            let Some((number, span, end)) = self.known_at(text, run, at) else {
                at += 1;
                continue;
            };
            let begin = run.partition_point(|digit| digit.0 < span.start).max(rest);
            self.strangers_in(text, &run[rest..begin]);
            self.note(number, text, span);
            (at, rest) = (end, end);
        }
        self.strangers_in(text, &run[rest..]);
    }

    /// The known number whose national digits begin with this digit of the run, the text that it takes, and the digit
    /// behind it.
    fn known_at(&self, text: &Text, run: &[Digit], at: usize) -> Option<(PhoneNumber, Range<usize>, usize)> {
        self.known.lengths.iter().rev().find_map(|length| {
            let national = run.get(at..at + length)?;
            let mut key = [0; E164_DIGITS_MAX];
            for (place, (_, digit)) in key.iter_mut().zip(national) {
                *place = *digit;
            }
            let end = national.last()?.0 + 1;
            self.known.forms.get(&key[..*length])?.iter().find_map(|form| {
                let starts = form.starts(text, run, at);
                let start = starts.into_iter().find(|start| stands_alone(text, *start..end))?;
                Some((form.number.clone(), start..end, at + length))
            })
        })
    }

    /// Numbers that we don't know, among digits that are none of a known one.
    fn strangers_in(&mut self, text: &Text, digits: &[Digit]) {
        if self.tries_left == 0 {
            return;
        }
        if matches!(text.place, Place::TelLink | Place::SmsLink) {
            return self.stranger_in_link(text, digits);
        }
        let groups: Vec<&[Digit]> = digits.chunk_by(|a, b| a.0 + 1 == b.0).collect();
        let mut at = 0;
        while at < groups.len() {
            at += self.stranger_at(text, &groups[at..]).unwrap_or(1);
        }
    }

    /// A link is all number, however it is grouped.
    fn stranger_in_link(&mut self, text: &Text, digits: &[Digit]) {
        let (Some(first), Some(last)) = (digits.first(), digits.last()) else { return };
        let span = with_sign(&text.text, first.0)..last.0 + 1;
        if DIGITS.contains(&digits.len())
            && let Some(number) = self.parse(&text.text[span.clone()])
        {
            self.note(number, text, span);
        }
    }

    /// Takes the longest number that begins with the first group; gives how many groups it has.
    fn stranger_at(&mut self, text: &Text, groups: &[&[Digit]]) -> Option<usize> {
        let start = with_sign(&text.text, groups.first()?.first()?.0);
        let mut digits = 0;
        let fitting = groups.iter().take_while(|group| {
            digits += group.len();
            digits <= *DIGITS.end()
        });
        for count in (1..=fitting.count()).rev() {
            let (chosen, last) = (&groups[..count], groups[count - 1].last()?);
            let span = start..last.0 + 1;
            let sizes: Vec<usize> = chosen.iter().map(|group| group.len()).collect();
            if sizes.iter().sum::<usize>() < *DIGITS.start() || !stands_alone(text, span.clone()) {
                continue;
            }
            let Some(number) = self.parse(&text.text[span.clone()]) else { continue };
            if is_usual(&text.text[span.clone()], &sizes, &number) {
                self.note(number, text, span);
                return Some(count);
            }
        }
        None
    }

    fn parse(&mut self, text: &str) -> Option<PhoneNumber> {
        self.tries_left = self.tries_left.checked_sub(1)?;
        let plain: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
        PhoneNumber::local(&plain, self.country)
    }

    fn note(&mut self, number: PhoneNumber, text: &Text, span: Range<usize>) {
        if !self.found.contains_key(&number) {
            let is_known = self.known.has(&number);
            self.strangers += usize::from(!is_known);
            if !is_known && self.strangers > STRANGERS_MAX {
                return;
            }
        }
        let shown = || shown(&text.text, span);
        let found = self.found.entry(number).or_insert_with(|| Found {
            text: shown(),
            places: BTreeSet::new(),
            count: 0,
        });
        found.places.insert(text.place);
        found.count += 1;
    }
}

impl Form {
    /// Where the number may begin in the text if its national digits begin with digit `at` of the run: with all that
    /// can stand before them, then with less.
    fn starts(&self, text: &Text, run: &[Digit], at: usize) -> Vec<usize> {
        let mut starts = vec![run[at].0];
        let mut national = vec![at];
        if let Some(before) = preceded(run, at, &self.trunk) {
            starts.insert(0, run[before].0);
            national.insert(0, before);
        }
        for from in national {
            let Some(code) = preceded(run, from, &self.code) else { continue };
            let abroad = ABROAD.iter().find_map(|prefix| preceded(run, code, prefix));
            let signed = with_sign(&text.text, run[code].0);
            let longest = if signed < run[code].0 { signed } else { run[abroad.unwrap_or(code)].0 };
            starts.splice(0..0, [longest, run[code].0]);
        }
        starts.sort_unstable();
        starts.dedup();
        starts
    }
}

/// Where these digits begin, if they stand before digit `at` of the run.
fn preceded(run: &[Digit], at: usize, digits: &str) -> Option<usize> {
    let from = at.checked_sub(digits.len())?;
    let same = run[from..at].iter().map(|(_, digit)| *digit).eq(digits.bytes());
    (same && !digits.is_empty()).then_some(from)
}

/// Where the `+` of a number stands whose first digit is here; or the digit, if it has none.
fn with_sign(text: &str, digit: usize) -> usize {
    let before = without_gap(&text[..digit]);
    before.strip_suffix('+').map_or(digit, str::len)
}

/// Whether a number isn't a part of a longer one, or of another country's.
fn stands_alone(text: &Text, span: Range<usize>) -> bool {
    !goes_before(&text.text[..span.start]) && !goes_on(&text.text[span.end..])
}

fn goes_before(before: &str) -> bool {
    let ends_with_digit = |text: &str| text.ends_with(|c: char| c.is_ascii_digit());
    if ends_with_digit(before) || ends_with_digit(before.strip_suffix(['-', '.', '/']).unwrap_or(before)) {
        return true;
    }
    let code = without_gap(before);
    let sign = code.trim_end_matches(|c: char| c.is_ascii_digit());
    sign.ends_with('+') && (1..=3).contains(&(code.len() - sign.len()))
}

fn goes_on(after: &str) -> bool {
    let next = after.strip_prefix(['-', '.', '/']).unwrap_or(after);
    next.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether this is how such a number is written.
fn is_usual(text: &str, sizes: &[usize], number: &PhoneNumber) -> bool {
    if text.starts_with('+') || text.starts_with("00") {
        return true;
    }
    let (code, trunk) = number.prefixes();
    if code == "1" {
        return AMERICAN_GROUPS.contains(&sizes);
    }
    let with_trunk = trunk.is_empty() || text.starts_with(&trunk);
    with_trunk && sizes.len() <= 5 && sizes.iter().skip(1).all(|size| *size >= 2)
}

/// What is shown of a number: with the bracket that it begins with.
fn shown(text: &str, span: Range<usize>) -> String {
    let open = text[..span.start].ends_with('(') && text[span.clone()].contains(')');
    text[span.start - usize::from(open)..span.end].replace(EDGE, "")
}

/// Whether digits on both sides of this may be of one number.
fn is_gap(between: &str) -> bool {
    // Nothing is longer in UTF-8 than four bytes.
    between.len() <= 4 * GAP_CHARS_MAX
        && between.chars().count() <= GAP_CHARS_MAX
        && between.chars().all(is_gap_char)
}

fn without_gap(before: &str) -> &str {
    let gap = before.chars().rev().take(GAP_CHARS_MAX).take_while(|c| is_gap_char(*c));
    &before[..before.len() - gap.map(char::len_utf8).sum::<usize>()]
}

/// Blanks, brackets, dashes, dots, and what can't be seen: as the script has it.
fn is_gap_char(c: char) -> bool {
    c.is_whitespace()
        || c == EDGE
        || "().,/·•\u{ad}\u{feff}\u{2060}-".contains(c)
        || matches!(c, '\u{200b}'..='\u{2015}' | '\u{202a}'..='\u{202e}' | '\u{2212}')
}

#[cfg(test)]
mod tests;
