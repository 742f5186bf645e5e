//! Policies as pages have them.

use proptest::prelude::*;

use super::*;

const SCRIPT: &str = "https://calls.example.com/dni/site_1/tracker.js";
const HASH: &str = "sha384-AAAA";
const BARE: Tag<'_> = Tag { nonce: "", integrity: "" };

fn url(text: &str) -> Url {
    Url::parse(text).expect(text)
}

/// What refuses the script, of all the policies in a header; "" if nothing does.
fn refusal(header: &str, page: &str, script: &str, tag: Tag<'_>) -> String {
    let refused = Policy::of_header(header)
        .iter()
        .find_map(|policy| policy.check_script(&url(page), &url(script), tag).err());
    refused.map(|refusal| format!("{} {:?}", refusal.directive, refusal.remedy)).unwrap_or_default()
}

#[test]
fn a_script_is_allowed_as_browsers_allow_it() {
    let (ok, host, nonce) = ("", "script-src Host", "script-src NonceOrHash");
    for (policy, expected) in [
        ("", ok),
        ("   ;; , ;", ok),
        ("img-src 'none'", ok),
        ("script-src *", ok),
        ("script-src", host),
        ("script-src 'none'", host),
        ("script-src 'none' https:", ok),
        ("script-src 'self'", host),
        ("script-src 'self' 'unsafe-inline' 'unsafe-eval'", host),
        ("script-src https:", ok),
        ("script-src HTTPS:", ok),
        ("script-src http:", ok),
        ("script-src data: blob:", host),
        ("SCRIPT-SRC https://calls.example.com", ok),
        ("script-src calls.example.com", ok),
        ("script-src CALLS.Example.COM", ok),
        ("script-src http://calls.example.com", ok),
        ("script-src http://calls.example.com:80", ok),
        ("script-src https://calls.example.com/", ok),
        ("script-src https://calls.example.com:443", ok),
        ("script-src https://calls.example.com:8443", host),
        ("script-src https://calls.example.com:*", ok),
        ("script-src https://calls.example.com:x", host),
        ("script-src *.example.com", ok),
        ("script-src https://*.example.com", ok),
        ("script-src *.calls.example.com", host),
        ("script-src *alls.example.com", host),
        ("script-src *:443", ok),
        ("script-src *:8443", host),
        ("script-src example.com", host),
        ("script-src calls.example.com.evil.example", host),
        ("script-src wss://calls.example.com", ok),
        ("script-src ftp://calls.example.com", host),
        ("script-src https://calls.example.com/dni/", ok),
        ("script-src https://calls.example.com/dni", host),
        ("script-src https://calls.example.com/%64ni/", ok),
        ("script-src https://calls.example.com/dni/site_1/tracker.js", ok),
        ("script-src https://calls.example.com/dni/site_1/", ok),
        ("script-src https://calls.example.com/other/", host),
        ("script-src https://calls.example.com/?x", host),
        ("script-src 'nonce-abc'", host),
        ("script-src 'strict-dynamic' 'nonce-abc' https://calls.example.com", nonce),
        ("script-src 'STRICT-dynamic' *", nonce),
        ("script-src-elem 'none'; script-src *", "script-src-elem Host"),
        ("script-src-elem *; script-src 'none'", ok),
        ("script-src-attr 'none'", ok),
        ("default-src 'self'", "default-src Host"),
        ("default-src 'none'; script-src *", ok),
        ("default-src *; script-src 'none'", host),
        ("script-src *; script-src 'none'", ok),
        ("script-src *, script-src 'self'", host),
        ("script-src 'self', script-src *", host),
        ("script-src *, default-src *", ok),
        ("sandbox", "sandbox AllowScripts"),
        ("sandbox allow-forms ALLOW-scripts", ok),
        ("require-trusted-types-for 'script'; frame-ancestors 'none'", ok),
        ("script-src\thttps://calls.example.com\n", ok),
        ("script-src :// // : * ''", ok),
        ("script-src :// // : '' ' https://", host),
    ] {
        assert_eq!(refusal(policy, "https://shop.example/", SCRIPT, BARE), expected, "{policy}");
    }
}

#[test]
fn a_nonce_or_a_hash_on_the_tag_is_enough() {
    let refused = |policy, nonce, integrity| {
        !refusal(policy, "https://shop.example/", SCRIPT, Tag { nonce, integrity }).is_empty()
    };
    for (policy, tag, expected) in [
        ("script-src 'nonce-abc'", ("abc", ""), false),
        ("script-src 'NONCE-abc'", ("abc", ""), false),
        ("script-src 'nonce-abc'", ("ABC", ""), true),
        ("script-src 'nonce-'", ("", ""), true),
        ("script-src 'nonce-abc' 'strict-dynamic'", ("abc", ""), false),
        ("script-src 'nonce-abc', script-src 'self'", ("abc", ""), true),
        ("script-src 'sha384-AAAA'", ("", HASH), false),
        ("script-src 'sha384-AAAA' 'strict-dynamic'", ("", HASH), false),
        ("script-src 'sha384-AAAA'", ("", "sha384-AAAA sha384-BBBB"), true),
        ("script-src 'sha384-AAAA'", ("", "md5-CCCC sha384-AAAA?x"), false),
        ("script-src 'sha384-AAAA'", ("", "md5-CCCC"), true),
        ("script-src 'sha384-BBBB'", ("", HASH), true),
    ] {
        assert_eq!(refused(policy, tag.0, tag.1), expected, "{policy} {tag:?}");
    }
}

#[test]
fn the_pages_own_address_counts() {
    for (policy, page, script, allowed) in [
        ("script-src 'self'", "https://a.example/x", "https://a.example/dni/t.js", true),
        ("script-src 'self'", "https://a.example/", "https://www.a.example/t.js", false),
        ("script-src 'self'", "http://a.example/", "https://a.example/t.js", true),
        ("script-src 'self'", "https://a.example/", "http://a.example/t.js", false),
        ("script-src 'self'", "https://a.example/", "https://a.example:8443/t.js", false),
        ("script-src 'self'", "http://a.example:8080/", "http://a.example:8080/t.js", true),
        ("script-src b.example", "http://a.example/", "http://b.example/t.js", true),
        ("script-src b.example", "http://a.example/", "https://b.example/t.js", true),
        ("script-src b.example", "https://a.example/", "http://b.example/t.js", false),
        ("script-src https://b.example", "http://a.example/", "http://b.example/t.js", false),
        ("script-src http://b.example:8080", "http://a.example/", "http://b.example:8080/t.js", true),
        ("script-src b.example", "http://a.example/", "http://b.example:8080/t.js", false),
        ("script-src 127.0.0.1:*", "http://127.0.0.1:1/", "http://127.0.0.1:2/t.js", true),
        ("script-src [::1]", "http://a.example/", "http://[::1]/t.js", true),
        ("script-src http://[::1]:8080", "http://a.example/", "http://[::1]:8080/t.js", true),
    ] {
        assert_eq!(refusal(policy, page, script, BARE).is_empty(), allowed, "{policy} {page} {script}");
    }
}

#[test]
fn a_connection_is_allowed_as_browsers_allow_it() {
    for (policy, expected) in [
        ("", ""),
        ("script-src 'none'", ""),
        ("connect-src *", ""),
        ("connect-src 'self'", "connect-src"),
        ("connect-src calls.example.com", ""),
        ("connect-src wss:", ""),
        ("connect-src 'none'; default-src *", "connect-src"),
        ("default-src 'self'", "default-src"),
        ("default-src 'self'; connect-src https:", ""),
        ("connect-src 'strict-dynamic' calls.example.com", ""),
        ("connect-src 'nonce-abc'", "connect-src"),
    ] {
        let refused = Policy::of_header(policy).iter().find_map(|policy| {
            policy
                .check_connection(
                    &url("https://shop.example/"),
                    &url("https://calls.example.com/dni/site_1/"),
                )
                .err()
        });
        assert_eq!(refused.map(|refusal| refusal.directive).unwrap_or_default(), expected, "{policy}");
    }
}

#[test]
fn a_policy_in_the_page_is_one_policy_and_has_no_sandbox() {
    let policy = Policy::of_meta("sandbox; script-src a.example, b.example");
    let refused = policy.check_script(&url("https://shop.example/"), &url(SCRIPT), BARE);
    assert_eq!(refused, Err(Refusal { directive: "script-src".to_owned(), remedy: Remedy::Host }));
    assert_eq!(
        Policy::of_meta("sandbox").check_script(&url("https://shop.example/"), &url(SCRIPT), BARE),
        Ok(())
    );
    assert!(Policy::of_meta("upgrade-insecure-requests").upgrades());
}

proptest! {
    #[test]
    fn no_policy_panics(text in "(script-src|connect-src|;|,| |'|:|/|\\*|\\[|\\]|[a-z0-9.]{1,4}|\\PC){0,30}") {
        let tag = Tag { nonce: &text, integrity: &text };
        for policy in Policy::of_header(&text).iter().chain([&Policy::of_meta(&text)]) {
            let _ = policy.check_script(&url("https://shop.example/"), &url(SCRIPT), tag);
            let _ = policy.check_connection(&url("https://shop.example/"), &url(SCRIPT));
        }
    }
}
