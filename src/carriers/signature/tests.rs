use super::*;

const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
const FORM: &[u8] =
    b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
const PLAIN: &str = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
const HASH: &str = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
const EMPTY_HASH: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const JSON: &[u8] = br#"{"property": "value", "boolean": true}"#;

fn tokens(list: &[&str]) -> Vec<String> {
    list.iter().map(|token| (*token).to_owned()).collect()
}

fn check(signature: &str, url: &str, body: Body<'_>) -> Result<(), Forged> {
    verify(&tokens(&["12345"]), Some(signature), url, body)
}

fn sign(token: &str, message: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    STANDARD.encode(hmac::sign(&key, message))
}

#[test]
fn every_form_vector_of_the_vendor_passes() {
    let vectors = [
        ("as given", URL, PLAIN),
        ("a port that wasn't signed", "https://mycompany.com:1234/myapp.php?foo=1&bar=2", PLAIN),
        ("443 was signed", URL, "kvajT1Ptam85bY51eRf/AJRuM3w="),
        ("80 was signed", "http://mycompany.com/myapp.php?foo=1&bar=2", "0ZXoZLH/DfblKGATFgpif+LLRf4="),
        (
            "http's port was signed",
            "http://mycompany.com:1234/myapp.php?foo=1&bar=2",
            "Zmvh+3yNM1Phv2jhDCwEM3q5ebU=",
        ),
        (
            "user and password",
            "https://user:pass@mycompany.com/myapp.php?foo=1&bar=2",
            "CukzLTc1tT5dXEDIHm/tKBanW10=",
        ),
        (
            "and 443 was signed",
            "https://user:pass@mycompany.com/myapp.php?foo=1&bar=2",
            "ZQFR1PTIZXF2MXB8ZnKCvnnA+rI=",
        ),
        ("user", "https://user@mycompany.com/myapp.php?foo=1&bar=2", "2YRLlVAflCqxaNicjMpJcSTgzSs="),
        (
            "an apostrophe",
            "https://mycompany.com/myapp.php?foo=1&bar=2&Body=It's+amazing",
            "dsq4Ehbj6cs+KdTkpF5sSSplOWw=",
        ),
        (
            "an apostrophe that was signed encoded",
            "https://mycompany.com/myapp.php?foo=1&bar=2&Body=It's+amazing",
            "TfZzewPq8wqrGlMfyAud8+/IvJ0=",
        ),
        (
            "an encoded apostrophe that was signed plain",
            "https://mycompany.com/myapp.php?foo=1&bar=2&Body=It%27s+amazing",
            "dsq4Ehbj6cs+KdTkpF5sSSplOWw=",
        ),
    ];
    for (name, url, signature) in vectors {
        assert_eq!(check(signature, url, Body::Form(FORM)), Ok(()), "{name}");
    }
}

#[test]
fn repeated_parameters_count_once_and_in_any_order() {
    let signature = "IK+Dwps556ElfBT0I3Rgjkr1wJU=";
    for form in [
        "Digits=5678&Digits=1234&Digits=1234&Sid=CA123&SidAccount=AC123",
        "SidAccount=AC123&Digits=1234&Sid=CA123&Digits=5678",
    ] {
        assert_eq!(check(signature, URL, Body::Form(form.as_bytes())), Ok(()), "{form}");
    }
    let signature = "83O6e2vORAoJHUNzJjDWN1jz+BA=";
    for form in [
        "MessagingBinding.Address=%2B1325xxxxxxx&MessagingBinding.Address=%2B1415xxxxxxx",
        "MessagingBinding.Address=%2B1415xxxxxxx&MessagingBinding.Address=%2B1325xxxxxxx",
    ] {
        assert_eq!(check(signature, URL, Body::Form(form.as_bytes())), Ok(()), "{form}");
    }
}

#[test]
fn a_json_body_is_vouched_for_by_the_query() {
    let url = format!("{URL}&bodySHA256={HASH}");
    let signature = "a9nBmqA0ju/hNViExpshrM61xv4=";
    assert_eq!(check(signature, &url, Body::Hashed(JSON)), Ok(()));
    assert_eq!(check(signature, &url, Body::Hashed(b"{}")), Err(Forged), "another body");
    let only = format!("https://mycompany.com/myapp.php?bodySHA256={HASH}");
    assert_eq!(check("y77kIzt2vzLz71DgmJGsen2scGs=", &only, Body::Hashed(JSON)), Ok(()));
    let empty = format!("{URL}&bodySHA256={EMPTY_HASH}");
    assert_eq!(check("Ldidvp12m26NI7eqEvxnEpkd9Hc=", &empty, Body::Hashed(b"{}")), Ok(()));
    assert_eq!(check(PLAIN, URL, Body::Hashed(JSON)), Err(Forged), "no hash at all");
    let unsigned = format!("{URL}&bodySHA256={}", &HASH[..63]);
    assert_eq!(check(signature, &unsigned, Body::Hashed(JSON)), Err(Forged), "half a hash");
}

#[test]
fn anything_else_is_forged() {
    let extra = format!("{URL}&somethingUnexpected=true");
    let more = [FORM, b"&Extra=1"].concat();
    let cases: [(&str, Option<&str>, &str, &[u8]); 9] = [
        ("missing", None, URL, FORM),
        ("empty", Some(""), URL, FORM),
        ("not base64", Some("WRONG_SIGNATURE"), URL, FORM),
        ("short", Some("RSOYDt4T1cUTdK1P"), URL, FORM),
        ("of another request", Some("kvajT1Ptam85bY51eRf/AJRuM3x="), URL, FORM),
        ("another query", Some(PLAIN), &extra, FORM),
        ("another host", Some(PLAIN), "https://example.com/myapp.php?foo=1&bar=2", FORM),
        ("one parameter more", Some(PLAIN), URL, &more),
        ("no parameters", Some(PLAIN), URL, b""),
    ];
    for (name, signature, url, form) in cases {
        assert_eq!(verify(&tokens(&["12345"]), signature, url, Body::Form(form)), Err(Forged), "{name}");
    }
    for list in [&[][..], &["", "54321"]] {
        assert_eq!(verify(&tokens(list), Some(PLAIN), URL, Body::Form(FORM)), Err(Forged), "{list:?}");
    }
    let keyless = sign("", URL.as_bytes());
    assert_eq!(verify(&tokens(&[""]), Some(&keyless), URL, Body::Form(b"")), Err(Forged), "an empty token");
}

#[test]
fn an_older_token_is_good_until_it_is_taken_off() {
    assert_eq!(verify(&tokens(&["new", "12345"]), Some(PLAIN), URL, Body::Form(FORM)), Ok(()));
    assert_eq!(verify(&tokens(&["new"]), Some(PLAIN), URL, Body::Form(FORM)), Err(Forged));
}

#[test]
fn values_are_signed_as_they_came() {
    let form = b"Body=%20two+spaces+%20&Bad=%FF%00&Empty=&Flag&Text=a%3Db%26c";
    let mut message = URL.as_bytes().to_vec();
    message.extend_from_slice(b"Bad\xFF\x00Body two spaces  EmptyFlagTexta=b&c");
    assert_eq!(check(&sign("12345", &message), URL, Body::Form(form)), Ok(()));
}

#[test]
fn ports_are_found_in_every_kind_of_address() {
    let cases = [
        ("https://h", "https://h", ""),
        ("https://h:8443?q", "https://h?q", ":8443"),
        ("https://u:p@h/x", "https://u:p@h/x", ""),
        ("https://u:p@h:1/x", "https://u:p@h/x", ":1"),
        ("http://[::1]/x", "http://[::1]/x", ""),
        ("http://[::1]:8080/x", "http://[::1]/x", ":8080"),
    ];
    for (url, without, port) in cases {
        let parts = Parts::of(url).unwrap();
        assert_eq!((parts.with_port("").as_str(), parts.port), (without, port), "{url}");
    }
    assert!(Parts::of("nonsense").is_none());
}

#[test]
fn the_content_type_tells_a_form_from_other_bodies() {
    for form in [
        None,
        Some(""),
        Some("application/x-www-form-urlencoded; charset=UTF-8"),
        Some("Application/X-WWW-Form-Urlencoded"),
    ] {
        assert!(matches!(Body::of(form, b""), Body::Form(_)), "{form:?}");
    }
    assert!(matches!(Body::of(Some("application/json"), b""), Body::Hashed(_)));
}

proptest::proptest! {
    #[test]
    fn no_request_makes_the_check_panic(url in "\\PC*", header in "\\PC*", form: Vec<u8>) {
        let _ = check(&header, &url, Body::Form(&form));
        let _ = check(&header, &format!("https://{url}"), Body::Hashed(&form));
    }
}
