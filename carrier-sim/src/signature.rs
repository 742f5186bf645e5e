//! The webhook signature: base64 of HMAC-SHA1, keyed with the auth token, over the URL followed by every form parameter's
//! name and value in order of names. <https://www.twilio.com/docs/usage/security#validating-requests>
//!
//! Repeated names: their values are de-duplicated and sorted, as the vendor's validators do. A fragment in the URL is
//! the carrier's own (connection overrides), never sent and never signed.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// The signature of a request to `url` with these form parameters. A GET and a JSON body have none.
pub fn sign(auth_token: &str, url: &str, form: &[(String, String)]) -> String {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in form {
        values.entry(name).or_default().insert(value);
    }
    let mut message = without_fragment(url).to_owned();
    for (name, values) in values {
        for value in values {
            message.push_str(name);
            message.push_str(value);
        }
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth_token.as_bytes());
    STANDARD.encode(hmac::sign(&key, message.as_bytes()))
}

/// The URL as it goes over the wire.
pub fn without_fragment(url: &str) -> &str {
    url.split_once('#').map_or(url, |(before, _)| before)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "12345";

    fn form(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn call_form() -> Vec<(String, String)> {
        form(&[
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
        ])
    }

    #[test]
    fn the_vendors_vectors_hold() {
        let page = "mycompany.com/myapp.php?foo=1&bar=2";
        let with_port = |port| format!("mycompany.com:{port}/myapp.php?foo=1&bar=2");
        for (url, signature) in [
            (format!("https://{page}"), "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
            (format!("https://{}", with_port(443)), "kvajT1Ptam85bY51eRf/AJRuM3w="),
            (format!("http://{}", with_port(80)), "0ZXoZLH/DfblKGATFgpif+LLRf4="),
            (format!("http://{}", with_port(1234)), "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
            (format!("https://user:pass@{page}"), "CukzLTc1tT5dXEDIHm/tKBanW10="),
            (format!("https://user@{page}"), "2YRLlVAflCqxaNicjMpJcSTgzSs="),
            (format!("https://{page}#rc=2"), "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ] {
            assert_eq!(sign(TOKEN, &url, &call_form()), signature, "{url}");
        }
    }

    #[test]
    fn repeated_names_are_deduplicated_and_sorted() {
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        for digits in [["5678", "1234", "1234"], ["1234", "5678", "1234"]] {
            let mut fields = form(&[("Sid", "CA123"), ("SidAccount", "AC123")]);
            fields.extend(digits.map(|value| ("Digits".to_owned(), value.to_owned())));
            assert_eq!(sign(TOKEN, url, &fields), "IK+Dwps556ElfBT0I3Rgjkr1wJU=", "{digits:?}");
        }
    }

    #[test]
    fn a_json_body_is_signed_by_its_hash_in_the_url() {
        let hash = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
        let page = "https://mycompany.com/myapp.php";
        for (url, signature) in [
            (format!("{page}?foo=1&bar=2&bodySHA256={hash}"), "a9nBmqA0ju/hNViExpshrM61xv4="),
            (format!("{page}?bodySHA256={hash}"), "y77kIzt2vzLz71DgmJGsen2scGs="),
        ] {
            assert_eq!(sign(TOKEN, &url, &[]), signature, "{url}");
        }
    }
}
