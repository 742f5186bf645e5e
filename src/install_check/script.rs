//! Which of a page's scripts are ours: `{public_url}dni/SITE_KEY/tracker.js`, or `tracker-VERSION.js`.
//!
//! Decides: whose script an address is. Does not decide: whether browsers load it (`csp`, `report`).

use url::Url;

/// The folder of a company's script.
pub fn folder(public_url: &Url, site_key: &str) -> Url {
    let mut folder = public_url.clone();
    folder.set_path(&format!("{}dni/{site_key}/", public_url.path()));
    folder
}

/// The site key in a script's address, if this server has it. One with http instead of https is meant to be ours, too.
pub fn site_key<'a>(public_url: &Url, src: &'a Url) -> Option<&'a str> {
    let is_plain = src.scheme() == "http" && src.port().is_none() && public_url.port().is_none();
    let same_port = src.port_or_known_default() == public_url.port_or_known_default();
    if src.host() != public_url.host()
        || !(same_port || is_plain)
        || !matches!(src.scheme(), "http" | "https")
    {
        return None;
    }
    let rest = src.path().strip_prefix(public_url.path())?.strip_prefix("dni/")?;
    let (key, file) = rest.split_once('/')?;
    let version = file.strip_prefix("tracker-").and_then(|rest| rest.strip_suffix(".js"));
    let is_script =
        file == "tracker.js" || version.is_some_and(|text| !text.is_empty() && !text.contains('/'));
    (is_script && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect(text)
    }

    #[test]
    fn our_scripts_are_known_by_their_address() {
        for (public_url, src, expected) in [
            ("https://calls.example/", "https://calls.example/dni/site_1/tracker.js", Some("site_1")),
            ("https://calls.example/", "https://calls.example/dni/site_1/tracker-3f2a.js", Some("site_1")),
            ("https://calls.example/", "https://calls.example/dni/site_1/tracker.js?v=1", Some("site_1")),
            ("https://calls.example/", "https://CALLS.example:443/dni/site_1/tracker.js", Some("site_1")),
            ("https://calls.example/", "http://calls.example/dni/site_1/tracker.js", Some("site_1")),
            ("https://calls.example/", "https://calls.example:8443/dni/site_1/tracker.js", None),
            ("https://calls.example/", "https://other.example/dni/site_1/tracker.js", None),
            ("https://calls.example/", "https://calls.example/dni/tracker.js", None),
            ("https://calls.example/", "https://calls.example/dni//tracker.js", None),
            ("https://calls.example/", "https://calls.example/dni/site_1/tracker-.js", None),
            ("https://calls.example/", "https://calls.example/dni/site_1/x/tracker.js", None),
            ("https://calls.example/", "https://calls.example/dni/site_1/other.js", None),
            ("https://calls.example/", "data:text/javascript,dni", None),
            ("https://a.example/calls/", "https://a.example/calls/dni/site_1/tracker.js", Some("site_1")),
            ("https://a.example/calls/", "https://a.example/dni/site_1/tracker.js", None),
            ("http://127.0.0.1:9000/", "http://127.0.0.1:9000/dni/site_1/tracker.js", Some("site_1")),
        ] {
            assert_eq!(site_key(&url(public_url), &url(src)), expected, "{src}");
        }
        let folder = folder(&url("https://a.example/calls/"), "site_1");
        assert_eq!(folder.as_str(), "https://a.example/calls/dni/site_1/");
        assert_eq!(
            site_key(&url("https://a.example/calls/"), &folder.join("tracker.js").expect("it is one")),
            Some("site_1")
        );
    }
}
