//! Pages as they are in the world.

use proptest::prelude::*;

use super::*;

/// The texts with digits, with their places; nodes are parted by `|`.
fn texts(html: &str) -> Vec<String> {
    let shown = |text: Text| format!("{} {}", text.place.as_str(), text.text.replace(EDGE, "|").trim());
    read(html).texts.into_iter().map(shown).collect()
}

#[test]
fn a_text_goes_on_over_inline_tags_and_ends_with_blocks() {
    for (html, expected) in [
        ("<p>Call 1 <b>2</b> 3</p>", &["text Call 1 |2| 3"][..]),
        ("<span>1</span><span>2</span>", &["text 1|2"]),
        ("1<!-- x -->2", &["text 1|2"]),
        ("1&nbsp;2&#45;3&amp;", &["text 1\u{a0}2-3&"]),
        ("<div>1</div><div>2</div>", &["text 1", "text 2"]),
        ("1<br>2<br/>3", &["text 1", "text 2", "text 3"]),
        ("1<img>2", &["text 1", "text 2"]),
        ("<td>1<td>2", &["text 1", "text 2"]),
        ("<li>1<li>2", &["text 1", "text 2"]),
        ("<p>1</P >2", &["text 1", "text 2"]),
        ("<a href=x>1<i>2</a>3</i>", &["text 1|2|3"]),
        ("no digits", &[]),
        ("<b>1", &["text 1"]),
        ("1<", &["text 1<"]),
        ("<title>1</title><p>2", &["text 2"]),
    ] {
        assert_eq!(texts(html), expected, "{html}");
    }
}

#[test]
fn what_the_script_leaves_alone_is_left_out() {
    for html in [
        "<script>1</script>",
        "<script>'<\\/script>1'</script>",
        "<script><!-- <script>1</script> --> </script>",
        "<script type='application/ld+json'>{\"telephone\": \"1\"}</script>",
        "<style>1</style>",
        "<noscript>1<p>2</noscript>",
        "<template><p>1</p></template>",
        "<textarea>1</textarea>",
        "<select><option>1<option>2</select>",
        "<input value=1 title=2 aria-label=3>",
        "<iframe>1</iframe>",
        "<head><title>1</title></head>",
        "<head title=1>",
        "<link title=1><meta content=1>",
        "<div contenteditable>1</div>",
        "<div contenteditable=''><p>1</p></div>",
        "<div contenteditable=true>1</div>",
        "<div contenteditable=plaintext-only>1</div>",
        "<div data-ct-noswap>1<p title=2>3<a href=tel:4>5</a></div>",
        "<div data-ct-noswap=1>1<div>2</div>3</div>",
        "<div data-ct-noswap><span>1</div>",
        "<span data-ct-noswap>1</span>",
        "<p data-ct-noswap>1</p>",
        "<body data-ct-noswap>1",
        "<!-- 1 -->",
        "<!DOCTYPE html>",
        "<p class=1 id=2 data-phone=3>",
        "<a href='https://example.com/1'></a>",
        "<plaintext data-ct-noswap>1</plaintext>",
    ] {
        assert_eq!(texts(html), [] as [String; 0], "{html}");
    }
}

#[test]
fn what_follows_is_not_left_out() {
    for html in [
        "<script>1</script>7",
        "<div contenteditable=false>7</div>",
        "<div data-ct-noswap>1</div>7",
        "<div data-ct-noswap>1<p>2<b>3</div>7",
        "<p data-ct-noswap>1<p>7",
        "<ul><li data-ct-noswap>1<ul><li>2</ul><li>7",
        "<b data-ct-noswap><p>1</b>7</p>",
        "<td data-ct-noswap>1<td>7",
        "<img data-ct-noswap>7",
        "<input>7",
        "<textarea><div data-ct-noswap></textarea>7",
        "<head><title>1</title><p>7",
        "<head><script src=x></script><p>7",
        "<div data-ct-noswap></div data-ct-noswap>7",
        "<svg data-ct-noswap/>7",
        "<template>1</div></template>7",
    ] {
        assert_eq!(texts(html), ["text 7"], "{html}");
    }
}

#[test]
fn attributes_have_numbers_too() {
    for (html, expected) in [
        ("<a href='tel:+1-270'>", &["tel_link +1-270"][..]),
        ("<a href=' TEL:+1%20270;ext=7'>", &["tel_link +1 270"]),
        ("<area href='tel:1'>", &["tel_link 1"]),
        ("<a href='sms:+1?body=2'>", &["sms_link +1"]),
        ("<a href='mailto:1'>", &[]),
        ("<a href=tel:>", &[]),
        ("<a href=tel:%ff1>", &["tel_link \u{fffd}1"]),
        ("<p aria-label='Call 1' title=2>", &["aria_label Call 1", "title 2"]),
        ("<img alt='Call &quot;1&quot;'>", &["alt Call \"1\""]),
        ("<img alt=1 alt=2>", &["alt 1"]),
    ] {
        assert_eq!(texts(html), expected, "{html}");
    }
}

#[test]
fn scripts_are_those_that_browsers_run() {
    let scripts = |html: &str| -> Vec<(String, bool)> {
        read(html).scripts.into_iter().map(|script| (script.src, script.held_back)).collect()
    };
    for (html, held_back) in [
        ("<script src=x></script>", false),
        ("<SCRIPT ASYNC SRC='x'/>", false),
        ("<head><script src=x></script></head>", false),
        ("<div contenteditable><script src=x></script></div>", false),
        ("<script src=x type=''></script>", false),
        ("<script src=x type='text/javascript'></script>", false),
        ("<script src=x type=' Application/JavaScript '></script>", false),
        ("<script src=x type=module></script>", false),
        ("<script src=x language=JavaScript></script>", false),
        ("<script src=x type=text/plain></script>", true),
        ("<script src=x type='text/javascript; charset=utf-8'></script>", true),
        ("<script src=x nomodule></script>", true),
        ("<script data-src=x></script>", true),
        ("<script data-cookieblock-src=x type=text/plain></script>", true),
        ("<script data-src=y src=x></script>", false),
    ] {
        assert_eq!(scripts(html), [("x".to_owned(), held_back)], "{html}");
    }
    for html in [
        "<script></script>",
        "<script src></script>",
        "<script src=''></script>",
        "<!-- <script src=x></script> -->",
        "<noscript><script src=x></script></noscript>",
        "<template><script src=x></script></template>",
        "<textarea><script src=x></script></textarea>",
        "<script>'<script src=x>'</script>",
        "<iframe><script src=x></script></iframe>",
    ] {
        assert_eq!(scripts(html), [], "{html}");
    }
    let page = read(
        "<script nonce=n integrity=sha256-x src=' x '></script><script>a</script><script type=x>b</script>",
    );
    let expected = Script {
        src: " x ".to_owned(),
        held_back: false,
        nonce: "n".to_owned(),
        integrity: "sha256-x".to_owned(),
    };
    assert_eq!((page.scripts, page.inline_scripts), (vec![expected], vec!["a".to_owned()]));
}

#[test]
fn policies_hold_in_the_head_and_for_what_comes_after() {
    let policies = |html: &str| -> Vec<(String, usize)> {
        read(html).policies.into_iter().map(|policy| (policy.content, policy.scripts_before)).collect()
    };
    let meta = "<meta http-equiv=Content-Security-POLICY content=x>";
    for (before, scripts_before) in [
        ("", 0),
        ("<!doctype html><html><head>", 0),
        ("<title>1</title> <style>1</style><script>1</script><link>", 0),
        ("<script src=x></script>", 1),
        ("<head></head>", 0),
    ] {
        assert_eq!(policies(&format!("{before}{meta}")), [("x".to_owned(), scripts_before)], "{before}");
    }
    for before in ["<p>", "text", "<body>", "<head></head>x", "<noscript>", "<template>", "<!--", "<img>"] {
        assert_eq!(policies(&format!("{before}{meta}")), [], "{before}");
    }
    assert_eq!(policies("<meta http-equiv=content-security-policy-report-only content=x>"), []);
}

#[test]
fn the_first_base_counts() {
    assert_eq!(read("<base target=x><base href=/a/><base href=/b/>").base.as_deref(), Some("/a/"));
}

#[test]
fn a_page_that_is_not_utf_8_keeps_its_digits_and_blanks() {
    assert_eq!(decode("ä 1".as_bytes()), "ä 1");
    assert_eq!(decode(b"B\xfcro 270\xa0315\x962766 \xff\x95"), "B\u{fc}ro 270\u{a0}315–2766 \u{ff}•");
    assert_eq!(decode(b""), "");
}

#[test]
fn hostile_pages_take_little_time() {
    // What takes time quadratic in its size is ended by the test runner.
    const BYTES: usize = 100_000;
    for unit in [
        "<div>",
        "<a>",
        "<b>",
        "<p>",
        "<li>",
        "<table>",
        "<td>",
        "</div>",
        "</x>",
        "<x><div>",
        "<span></b>",
        "<svg>",
        "<select>",
        "<template>",
        "<!--",
        "<![CDATA[",
        "<script>",
        "</script>",
        "<style>",
        "<textarea>",
        "<",
        "&",
        "&#",
        "&#x1;",
        "<a ",
        "<a b",
        " a=1",
        "<a href='tel:1",
        "<script src=x></script>",
        "<meta http-equiv=content-security-policy>",
        "<!doctype ",
        "\0",
        "\u{ff}",
        "1<b>",
        "<img alt=1>",
        "<title>",
        "<plaintext>",
        "<script>a</script>",
        "<script><!--<script>",
    ] {
        let page = read(&unit.repeat(BYTES / unit.len()));
        assert!(page.scripts.len() <= BYTES);
    }
    let attributes: String = (0..30_000).map(|n| format!(" data-{n}src={n}")).collect();
    read(&format!("<script{attributes}></script>"));
    let nested = format!("<x><div>{}{}", "<span>".repeat(20_000), "</x>".repeat(40_000));
    read(&nested);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        read(&decode(&bytes));
    }

    #[test]
    fn no_tags_panic(html in "(</?(p|div|b|a|li|table|td|template|svg|script|head|x)( (href|title|src|data-ct-noswap)(=.{0,3})?)?/?>|<!--|[0-9]|\\PC){0,60}") {
        read(&html);
    }
}
