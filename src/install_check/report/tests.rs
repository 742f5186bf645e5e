//! Pages and what is told of them.

use super::*;

const TAG: &str = "<script async src='https://calls.example/dni/site_1/tracker.js'></script>";
const OFFICE: &str = "<p>(270) 315-2766</p>";

fn number(text: &str) -> PhoneNumber {
    PhoneNumber::from_e164(text).expect(text)
}

fn site() -> Site {
    Site {
        public_url: Url::parse("https://calls.example/").expect("it is one"),
        site_key: "site_1".to_owned(),
        country: "US".to_owned(),
    }
}

fn trackers() -> Vec<Shown> {
    let shown = |id, name: &str, targets: &[&str], numbers: &[&str]| Shown {
        id: TrackerId(id),
        name: name.to_owned(),
        targets: targets.iter().copied().map(number).collect(),
        numbers: numbers.iter().copied().map(number).collect(),
    };
    vec![
        shown(1, "Search", &["+12703152766"], &["+12705550101"]),
        shown(2, "Direct", &["+12703152766"], &["+12705550102"]),
        shown(3, "Flyer", &[], &["+12705550103"]),
    ]
}

fn judged(url: &str, header: &str, html: &str) -> Report {
    let fetched = Fetched {
        url: Url::parse(url).expect(url),
        status: Some(200),
        truncated: false,
        content: Content::Html { text: html.to_owned(), policies: Policy::of_header(header) },
    };
    judge(&site(), &fetched, Micros(0), &trackers())
}

fn kinds(report: &Report) -> Vec<&'static str> {
    report.problems.iter().map(|problem| problem.kind.as_str()).collect()
}

#[test]
fn a_page_that_is_right_has_no_problems() {
    let csp = "script-src https://calls.example; connect-src calls.example";
    for (header, tag) in [
        ("", TAG),
        (csp, TAG),
        (
            "script-src 'nonce-n' 'strict-dynamic'",
            "<script nonce=n src=https://calls.example/dni/site_1/tracker.js></script>",
        ),
        ("", "<script src='//calls.example/dni/site_1/tracker-3f2a.js'></script>"),
        ("", "<base href='https://calls.example/dni/'><script src='site_1/tracker.js'></script>"),
        ("upgrade-insecure-requests", "<script src='http://calls.example/dni/site_1/tracker.js'></script>"),
        (
            "",
            "<script src=https://calls.example/dni/site_1/tracker.js></script><meta http-equiv=content-security-policy content='script-src-elem none'>",
        ),
        ("img-src 'none', frame-ancestors 'none'", TAG),
    ] {
        let report = judged("https://shop.example/", header, &format!("{tag}{OFFICE}"));
        assert_eq!(kinds(&report), [] as [&str; 0], "{header} {tag} {report:?}");
        let json = report.to_json();
        assert_eq!((&json["ok"], &json["script"]["ok"]), (&true.into(), &true.into()));
    }
}

#[test]
fn each_problem_is_found() {
    let meta = "<meta http-equiv=content-security-policy content=\"default-src 'self'\">";
    for (header, head, body, expected) in [
        ("", "", OFFICE, &["script_missing"][..]),
        (
            "",
            "<script async type=text/plain src='https://calls.example/dni/site_1/tracker.js'></script>",
            OFFICE,
            &["script_missing"],
        ),
        (
            "",
            "<script>load('https://calls.example/dni/site_1/tracker.js')</script>",
            OFFICE,
            &["script_missing"],
        ),
        (
            "",
            "<script src=https://www.googletagmanager.com/gtm.js?id=1></script>",
            OFFICE,
            &["script_missing"],
        ),
        ("", &format!("{TAG}{TAG}"), OFFICE, &["script_twice"]),
        (
            "",
            "<script src=https://calls.example/dni/site_2/tracker.js></script>",
            OFFICE,
            &["script_missing", "script_of_other_company"],
        ),
        (
            "",
            &format!("{TAG}<script src=https://calls.example/dni/site_2/tracker.js></script>"),
            OFFICE,
            &["script_of_other_company"],
        ),
        ("script-src 'self'", TAG, OFFICE, &["script_blocked_by_csp"]),
        ("script-src 'self'", "", OFFICE, &["script_missing", "script_blocked_by_csp"]),
        ("sandbox", TAG, OFFICE, &["script_blocked_by_csp"]),
        ("script-src *, connect-src 'self'", TAG, OFFICE, &["connect_blocked_by_csp"]),
        (
            "default-src 'self', default-src 'self'",
            TAG,
            OFFICE,
            &["script_blocked_by_csp", "connect_blocked_by_csp"],
        ),
        ("script-src 'strict-dynamic' 'nonce-n'", TAG, OFFICE, &["nonce_or_hash_required"]),
        ("", &format!("{meta}{TAG}"), OFFICE, &["script_blocked_by_csp", "connect_blocked_by_csp"]),
        ("", &format!("{TAG}{meta}"), OFFICE, &["connect_blocked_by_csp"]),
        ("", "<script src=http://calls.example/dni/site_1/tracker.js></script>", OFFICE, &["mixed_content"]),
        ("", TAG, "<p>Nothing</p>", &["no_numbers"]),
        ("", TAG, "<p data-ct-noswap>270-315-2766</p>", &["no_numbers"]),
        ("", TAG, "<p>(270) 282-2733", &["target_missing"]),
        ("", TAG, "<p>270-315-2766<p>270-555-0103", &["tracking_number_on_page"]),
    ] {
        let report = judged("https://shop.example/", header, &format!("{head}<body>{body}"));
        assert_eq!(kinds(&report), expected, "{header} {head} {body}");
        for problem in &report.problems {
            assert!(problem.text.ends_with(['.', '>']), "{problem:?}");
        }
    }
}

#[test]
fn what_cannot_be_seen_is_said_to_be() {
    let text =
        |head: &str| judged("https://shop.example/", "", &format!("{head}{OFFICE}")).problems[0].text.clone();
    assert!(
        text("<script>(function(){'//www.googletagmanager.com/gtm.js'})</script>")
            .contains("Google Tag Manager")
    );
    assert!(
        text("<script data-src=https://calls.example/dni/site_1/tracker.js></script>").contains("consent")
    );
    assert!(text("<script>s='/dni/site_1/tracker.js'</script>").contains("can't be seen"));
    assert!(text("").contains("<script async src=\"https://calls.example/dni/site_1/tracker.js\"></script>"));
}

#[test]
fn numbers_are_told_with_what_they_are_to_the_trackers() {
    let html =
        format!("{TAG}{OFFICE}<a href=tel:+12703152766 title='2703152766'></a>270-555-0103 270-282-2733");
    let json = judged("https://shop.example/", "", &html).to_json();
    let both = json!([{ "id": 1, "name": "Search" }, { "id": 2, "name": "Direct" }]);
    let expected = json!([
        { "text": "270-282-2733", "number": "+12702822733", "places": ["text"], "count": 1, "trackers": [], "is_tracking_number": false },
        { "text": "(270) 315-2766", "number": "+12703152766", "places": ["text", "tel_link", "title"], "count": 3, "trackers": both, "is_tracking_number": false },
        { "text": "270-555-0103", "number": "+12705550103", "places": ["text"], "count": 1, "trackers": [], "is_tracking_number": true },
    ]);
    assert_eq!(json["numbers"], expected);
    let json = judged("https://shop.example/", "", &format!("{TAG}270-282-2733")).to_json();
    let missing = json!([
        { "tracker_id": 1, "tracker_name": "Search", "swap_target": "+12703152766" },
        { "tracker_id": 2, "tracker_name": "Direct", "swap_target": "+12703152766" },
    ]);
    assert_eq!(json["missing_targets"], missing);
    assert_eq!(
        json["problems"][0]["text"],
        "+12703152766, which Search (and 1 more) replaces, is nowhere on the page."
    );
}

#[test]
fn a_number_of_one_tracker_that_another_replaces_is_no_mistake() {
    let mut trackers = trackers();
    trackers[0].targets = vec![number("+12705550103")];
    trackers[1].targets = Vec::new();
    let fetched = Fetched {
        url: Url::parse("https://shop.example/").expect("it is one"),
        status: Some(200),
        truncated: true,
        content: Content::Html { text: format!("{TAG}270-555-0103"), policies: Vec::new() },
    };
    let report = judge(&site(), &fetched, Micros(0), &trackers);
    assert_eq!(kinds(&report), [] as [&str; 0]);
    assert_eq!(report.to_json()["truncated"], true);
}

#[test]
fn what_is_no_page_is_only_told_to_be_none() {
    for (content, expected) in [
        (Content::Failed("It broke.".to_owned()), "http_error"),
        (Content::Other("application/pdf".to_owned()), "not_html"),
    ] {
        let url = Url::parse("https://shop.example/").expect("it is one");
        let fetched = Fetched { url, status: None, truncated: false, content };
        let report = judge(&site(), &fetched, Micros(0), &trackers());
        assert_eq!(kinds(&report), [expected]);
        assert_eq!(report.to_json()["ok"], false);
        assert_eq!(report.to_json()["script"]["ok"], false);
    }
}

#[test]
fn plain_pages_may_load_plain_scripts() {
    let tag = "<script src='http://calls.example/dni/site_1/tracker.js'></script>";
    assert_eq!(kinds(&judged("http://shop.example/", "", &format!("{tag}{OFFICE}"))), [] as [&str; 0]);
}
