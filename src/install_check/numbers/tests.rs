//! Texts as pages have them.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const OFFICE: &str = "+12703152766";
const LONDON: &str = "+442071838750";

fn number(text: &str) -> PhoneNumber {
    PhoneNumber::from_e164(text).expect(text)
}

fn text(text: &str) -> Text {
    Text { place: Place::Text, text: text.to_owned() }
}

/// Number, text and count of all that is found, in one line.
fn found(texts: &[Text], known: &[&str], country: &str) -> String {
    let known: Vec<_> = known.iter().map(|text| number(text)).collect();
    let found = find(texts, &Known::new(&known), country);
    found.iter().fold(String::new(), |mut all, (number, found)| {
        let _ = write!(all, "{number} [{}] {};", found.text, found.count);
        all
    })
}

#[test]
fn a_known_number_is_found_in_any_format() {
    for (page, expected) in [
        ("270-315-2766", "270-315-2766"),
        ("Call (270) 315-2766 now", "(270) 315-2766"),
        ("Call (270)315-2766, ext. 7", "(270)315-2766"),
        ("270.315.2766", "270.315.2766"),
        ("270 315 2766", "270 315 2766"),
        ("270/315/2766", "270/315/2766"),
        ("270\u{a0}315\u{2011}2766", "270\u{a0}315\u{2011}2766"),
        ("2703152766", "2703152766"),
        ("2 7 0 3 1 5 2 7 6 6", "2 7 0 3 1 5 2 7 6 6"),
        ("1-270-315-2766", "1-270-315-2766"),
        ("+1 270-315-2766", "+1 270-315-2766"),
        ("+1 (270) 315-2766", "+1 (270) 315-2766"),
        ("+ 1 270 315 2766", "+ 1 270 315 2766"),
        ("001 270 315 2766", "001 270 315 2766"),
        ("011 1 270 315 2766", "011 1 270 315 2766"),
        ("(1) 270 315 2766", "(1) 270 315 2766"),
        ("since 1994 270-315-2766", "270-315-2766"),
        ("7 1 270-315-2766", "1 270-315-2766"),
        ("270-315-2766.", "270-315-2766"),
        ("270-315-2766 24/7", "270-315-2766"),
    ] {
        assert_eq!(found(&[text(page)], &[OFFICE], "US"), format!("{OFFICE} [{expected}] 1;"), "{page}");
    }
}

#[test]
fn a_part_of_another_number_is_not_the_number() {
    for page in [
        "92703152766",
        "9-2703152766",
        "27031527661",
        "270-315-2766-1",
        "270-315-2766/1",
        "+44 270-315-2766",
        "+44 (270) 315-2766",
        "270 - - - - 315-2766",
        "270x315x2766",
        "270,      315-2766",
        "270-315-276",
        "",
    ] {
        let known = [number(OFFICE)];
        let all = find(&[text(page)], &Known::new(&known), "US");
        assert!(!all.contains_key(&known[0]), "{page}: {all:?}");
    }
}

#[test]
fn other_countries_write_theirs_with_what_is_dialled_before_them() {
    for page in
        ["020 7183 8750", "(020) 7183 8750", "+44 20 7183 8750", "+44 (0)20 7183 8750", "0044 20 71838750"]
    {
        let expected = format!("{LONDON} [{page}] 1;");
        assert_eq!(found(&[text(page)], &[LONDON], "GB"), expected, "known");
        assert_eq!(found(&[text(page)], &[], "GB"), expected, "unknown");
    }
}

#[test]
fn numbers_that_we_do_not_know_are_found_if_people_write_them_so() {
    for (page, country, expected) in [
        (
            "Call 270-282-2733 or (270) 282-2734",
            "US",
            "+12702822733 [270-282-2733] 1;+12702822734 [(270) 282-2734] 1;",
        ),
        ("2024 270-282-2733", "US", "+12702822733 [270-282-2733] 1;"),
        ("270 282 2733 270 282 2734", "US", "+12702822733 [270 282 2733] 1;+12702822734 [270 282 2734] 1;"),
        ("1-800-356-9377", "US", "+18003569377 [1-800-356-9377] 1;"),
        ("+49 30 901820", "US", "+4930901820 [+49 30 901820] 1;"),
        ("030 901820", "DE", "+4930901820 [030 901820] 1;"),
        ("912 345 678", "ES", "+34912345678 [912 345 678] 1;"),
        ("2024-03-09 10:00", "US", ""),
        ("1.234.567.890", "US", ""),
        ("4111 1111 1111 1111", "US", ""),
        ("978-3-16-148410-0", "US", ""),
        ("911", "US", ""),
        ("282-2733", "US", ""),
        ("123-456-7890", "US", ""),
    ] {
        assert_eq!(found(&[text(page)], &[], country), expected, "{page}");
    }
}

#[test]
fn a_link_is_a_number_however_it_is_grouped() {
    let link = |text: &str| Text { place: Place::TelLink, text: text.to_owned() };
    assert_eq!(found(&[link("+12-70282-2733")], &[], "US"), "+12702822733 [+12-70282-2733] 1;");
    assert_eq!(found(&[link("27-0282-2733")], &[], "US"), "+12702822733 [27-0282-2733] 1;");
    assert_eq!(found(&[link("junk"), link("+"), link("1"), link("")], &[], "US"), "");
}

#[test]
fn one_number_counts_once_for_each_time_it_stands_there() {
    let texts = [
        text("270-315-2766 270.315.2766"),
        Text { place: Place::TelLink, ..text("+12703152766") },
        Text { place: Place::Alt, ..text("Call 2703152766") },
    ];
    let all = find(&texts, &Known::new(&[number(OFFICE)]), "US");
    let one = &all[&number(OFFICE)];
    assert_eq!((one.text.as_str(), one.count), ("270-315-2766", 4));
    assert_eq!(
        one.places.iter().map(|place| place.as_str()).collect::<Vec<_>>(),
        ["text", "tel_link", "alt"]
    );
}

#[test]
fn what_stands_in_the_next_node_is_of_no_longer_number() {
    for (page, expected) in [
        ("7|270-315-2766", "+12703152766 [270-315-2766] 1;"),
        ("270-315-2766|7", "+12703152766 [270-315-2766] 1;"),
        ("270|-315|-|2766", "+12703152766 [270-315-2766] 1;"),
        ("+1|(270)| 315-2766", "+12703152766 [+1(270) 315-2766] 1;"),
        ("7270|-315-2766", ""),
        ("+44|270-315-2766", ""),
    ] {
        let page = text(&page.replace('|', &EDGE.to_string()));
        assert_eq!(found(&[page], &[OFFICE], "US"), expected);
    }
}

#[test]
fn numbers_without_end_take_little_time() {
    let known: Vec<_> = (0..1_000).map(|n| number(&format!("+1270315{n:04}"))).collect();
    let known = Known::new(&known);
    for unit in ["2", "2 ", "270-315-2766", "+1 270 315 0001 ", "270 282 2733, ", "+1", "1 1 1 1 ", "((((2"] {
        let page = text(&unit.repeat(20_000 / unit.len()));
        let all = find(&[page], &known, "US");
        assert!(all.len() <= STRANGERS_MAX + 1_000);
    }
    let many: String = (0..3_000).fold(String::new(), |mut all, n| {
        let _ = write!(all, "+1 270 28{}-{:04} ", n / 2_000 + 2, n % 2_000);
        all
    });
    assert_eq!(find(&[text(&many)], &known, "US").len(), STRANGERS_MAX);
}

proptest! {
    #[test]
    fn no_text_panics(page in "([0-9]{1,5}|[-+() ./·\u{ffff}]|\\PC){0,40}") {
        let known = Known::new(&[number(OFFICE), number(LONDON)]);
        for place in Place::ALL {
            find(&[Text { place, text: page.clone() }], &known, "US");
        }
    }

    #[test]
    fn a_known_number_is_found_among_gaps(gaps in proptest::collection::vec("[ ().,/-]{0,6}", 9)) {
        let digits = OFFICE[2..].chars();
        let page: String = digits.zip(gaps.iter().map(String::as_str).chain([""])).map(|(d, gap)| format!("{d}{gap}")).collect();
        prop_assert!(find(&[text(&page)], &Known::new(&[number(OFFICE)]), "US").contains_key(&number(OFFICE)));
    }
}
