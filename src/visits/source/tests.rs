use proptest::prelude::*;

use super::*;

const PAGE: &str = "https://plumber.example/";

#[test]
fn real_visits_come_from_where_the_table_says() {
    let mut wrong = Vec::new();
    let lines = include_str!("cases.txt").lines().filter(|line| !line.starts_with('#'));
    let mut seen = 0;
    for line in lines {
        let [page, referrer, channel, source, keyword] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("not five columns: {line}");
        };
        let found = classify(page, referrer);
        if (found.channel.as_str(), found.source.as_str(), found.keyword.as_str())
            != (channel, source, keyword)
        {
            wrong.push(format!("{line}\n  -> {:?} {:?} {:?}", found.channel, found.source, found.keyword));
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 200);
}

#[test]
fn every_channel_but_unknown_is_in_the_table() {
    let table = include_str!("cases.txt");
    for channel in Channel::ALL {
        let met = table.contains(&format!("\t{}\t", channel.as_str()));
        assert_eq!(met, channel != Channel::Unknown, "{channel:?}");
        assert_eq!(Channel::parse(channel.as_str()), Some(channel));
    }
    assert_eq!(Channel::parse("Organic"), None);
}

#[test]
fn a_click_keeps_its_campaign_and_all_its_ids() {
    let page = "https://plumber.example/?fbclid=f1&gclid=g1&gclid=g2&utm_source=Google&utm_medium=cpc\
                &utm_campaign=spring&utm_term=tap&utm_content=ad+2&utm_id=77";
    let source = classify(page, "");
    assert_eq!(source.gclid(), "g1");
    let ids: Vec<_> = source.click_ids.iter().map(|id| (id.kind.as_str(), id.value.as_str())).collect();
    assert_eq!(ids, [("gclid", "g1"), ("fbclid", "f1")]);
    let text = |text: &str| text.to_owned();
    let utm = Utm {
        source: text("Google"),
        medium: text("cpc"),
        campaign: text("spring"),
        term: text("tap"),
        content: text("ad 2"),
        id: text("77"),
    };
    assert_eq!(source.utm, utm);
    assert!(!source.is_direct());
    assert_eq!(classify(PAGE, "").gclid(), "");
}

#[test]
fn the_engine_is_known_whenever_a_search_led_to_the_visit() {
    let table = [
        ("", "https://www.google.com/", "google"),
        ("?gclid=x", "", "google"),
        ("?msclkid=x", "https://search.yahoo.com/", "yahoo"),
        ("?utm_source=bing&utm_medium=cpc", "", "bing"),
        ("?utm_source=googleads", "", "google"),
        ("?utm_source=gmb&utm_medium=organic", "https://www.google.com/", "google"),
        ("?utm_source=gmb", "", ""),
        ("?ttclid=x", "", ""),
        ("?dclid=x", "https://www.google.com/", ""),
        ("?utm_source=news&utm_medium=email", "https://www.google.com/", ""),
        ("", "https://www.facebook.com/", ""),
        ("", "https://chatgpt.com/", ""),
        ("", "", ""),
    ];
    for (query, referrer, engine) in table {
        assert_eq!(classify(&format!("{PAGE}{query}"), referrer).search_engine, engine, "{query} {referrer}");
    }
}

#[test]
fn a_referrer_is_kept_clean_and_only_if_it_counts() {
    let table = [
        ("https://www.google.com", "https://www.google.com/"),
        ("https://me:secret@blog.example/x#y", "https://blog.example/x"),
        ("https://blog.example/<script>", "https://blog.example/%3Cscript%3E"),
        ("android-app://com.google.android.gm", "android-app://com.google.android.gm/"),
        ("https://www.plumber.example/contact", ""),
        ("javascript://blog.example/", ""),
        ("nonsense", ""),
    ];
    for (referrer, kept) in table {
        assert_eq!(classify(PAGE, referrer).referrer, kept, "{referrer}");
    }
}

#[test]
fn a_megabyte_of_anything_is_read_in_bounds() {
    let long = [
        format!("{PAGE}?{}", "utm_source=%20&".repeat(70_000)),
        format!("{PAGE}?utm_source={}", "%F0%9F%98%80".repeat(90_000)),
        format!("{PAGE}?gclid={}", "a".repeat(1_000_000)),
        format!("https://{}/", "a.".repeat(500_000)),
        "\u{0}".repeat(1_000_000),
        format!("{PAGE}#{}", "?#&=".repeat(250_000)),
        "https://".repeat(125_000),
    ];
    for a in &long {
        for b in &long {
            assert_bounded(&classify(a, b));
        }
    }
}

fn assert_bounded(source: &Source) {
    let Utm { source: utm_source, medium, campaign, term, content, id } = &source.utm;
    let utm = [utm_source, medium, campaign, term, content, id];
    let ids = source.click_ids.iter().map(|id| &id.value);
    let texts = utm.into_iter().chain([&source.source, &source.keyword, &source.search_engine]).chain(ids);
    for text in texts {
        assert!(text.chars().count() <= TEXT_CHARS_MAX);
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    assert!(source.referrer.chars().count() <= URL_CHARS_MAX);
    assert!(!source.referrer.chars().any(char::is_control));
    assert!(source.click_ids.len() <= ClickKind::ALL.len());
    assert_eq!(source.is_direct(), source.source.is_empty() && source.channel == Channel::Direct);
}

/// Text with the pieces that addresses are made of, well formed or not.
fn address() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "https://",
            "http://",
            "android-app://",
            "javascript:",
            "www.",
            "google.",
            "com",
            "co.uk",
            "facebook.com",
            "plumber.example",
            "/",
            "/maps",
            "?",
            "#",
            "&",
            "=",
            "&amp;",
            "utm_source=",
            "utm_medium=",
            "utm_term=",
            "gclid=",
            "fbclid=",
            "q=",
            "cpc",
            "email",
            "organic",
            "gmb",
            "%00",
            "%",
            "%ff",
            "%C3%A9",
            "+",
            " ",
            "@",
            ":",
            ":80",
            "\\",
            "[",
            "]",
            ".",
            "\u{0}",
            "\n",
            "\u{202e}",
            "<",
            "\"",
            "é",
            "😀",
        ])
        .prop_map(str::to_owned),
        ".{0,8}",
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn nothing_panics_and_everything_is_bounded(page in address(), referrer in address()) {
        assert_bounded(&classify(&page, &referrer));
        assert_bounded(&classify(&format!("{PAGE}?{page}"), &format!("https://{referrer}")));
        is_same_site(&page, &referrer);
    }

    #[test]
    fn cleaning_again_changes_nothing(text in address(), long in 0_usize..4_000) {
        for text in [text.clone(), format!("https://a.example/{}{text}", "é\"".repeat(long)), format!("{PAGE}{text}")] {
            let cleaned = clean_url(&text);
            prop_assert_eq!(clean_url(&cleaned), cleaned.clone());
            prop_assert!(cleaned.chars().count() <= URL_CHARS_MAX);
            prop_assert!(!cleaned.contains(['<', '>', '"', '`', ' ', '\\']) && !cleaned.contains(address::is_unwanted));
        }
    }

    #[test]
    fn a_cleaned_page_is_classified_as_the_page_was(text in "[a-z=&?#%+/_]{0,80}", referrer in address()) {
        let page = format!("{PAGE}?utm_source=x&{text}");
        prop_assert_eq!(classify(&clean_url(&page), &referrer), classify(&page, &referrer));
    }

    #[test]
    fn a_site_is_the_same_both_ways(a in address(), b in address()) {
        prop_assert_eq!(is_same_site(&a, &b), is_same_site(&b, &a));
    }

    #[test]
    fn a_page_that_refers_to_itself_is_direct_without_parameters(host in "[a-z]{1,9}\\.[a-z]{2,5}") {
        let visit = classify(&format!("https://{host}/"), &format!("https://www.{host}/x"));
        prop_assert!(visit.is_direct());
    }
}
