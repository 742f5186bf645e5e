//! Simulated visitors of the sample site. Each comes from somewhere, loads a page, asks for a number as the script on
//! it does, looks at another page, and calls the number that they saw. What the product credits the call to is held
//! against where they really came from.

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use serde_json::{Value as Json, json};
use url::Url;

use super::client::outbound;
use crate::outbound::{Limits, Outbound, Request};

const BROWSER: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 \
                       (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1";
const LIMITS: Limits =
    Limits { deadline: std::time::Duration::from_secs(10), read_bytes_max: 1 << 20, keep_bytes_max: 1 << 20 };

/// Somebody who comes to the site and calls.
pub(super) struct Person {
    pub(super) from: &'static str,
    /// For people who watch.
    pub(super) came_by: &'static str,
    /// Path and query of the first page.
    page: &'static str,
    referrer: &'static str,
    /// The channel that the call should be credited to.
    pub(super) channel: &'static str,
}

/// Those who come, over and over.
pub(super) const PEOPLE: [Person; 6] = [
    Person {
        from: "+15025550111",
        came_by: "an ad on Google",
        page: "/?utm_source=google&utm_medium=cpc&utm_campaign=drains&gclid=Cj0demo1",
        referrer: "https://www.google.com/",
        channel: "paid",
    },
    Person {
        from: "+15025550112",
        came_by: "a search on Bing",
        page: "/prices",
        referrer: "https://www.bing.com/",
        channel: "organic",
    },
    Person {
        from: "+15025550113",
        came_by: "a post on Facebook",
        page: "/",
        referrer: "https://m.facebook.com/",
        channel: "social",
    },
    Person {
        from: "+15025550114",
        came_by: "the newsletter",
        page: "/prices?utm_source=newsletter&utm_medium=email&utm_campaign=winter",
        referrer: "",
        channel: "email",
    },
    Person {
        from: "+15025550115",
        came_by: "a link in a local paper",
        page: "/contact",
        referrer: "https://www.riverside-times.example/homes",
        channel: "referral",
    },
    Person {
        from: "+15025550116",
        came_by: "typing the address",
        page: "/",
        referrer: "",
        channel: "direct",
    },
];

/// What a visitor saw.
pub(super) struct Visit {
    /// The number to call.
    pub(super) number: String,
    /// The first page's URL: which visit it was.
    pub(super) landing_page: String,
}

/// Comes to the site as `person`. `nth` tells this visit from others in its URL.
///
/// # Errors
/// The site has no script, or the visitor was shown no number.
pub(super) async fn visit(site: &str, person: &Person, nth: usize) -> anyhow::Result<Visit> {
    let browser = outbound()?;
    let joint = if person.page.contains('?') { '&' } else { '?' };
    let page = Url::parse(site)?.join(&format!("{}{joint}visit={nth}", person.page))?;
    let html = fetch(&browser, hyper::Method::GET, page.clone(), Bytes::new()).await?;
    let script = script_of(&html).context("the page has no script")?;
    let opened = json!({"visitor": "", "session": "", "url": page.as_str(), "referrer": person.referrer, "title": "",
                        "consent": true, "take": true, "test": false, "debug": ""});
    let answer = ask(&browser, &script, "session", &opened).await?;
    let shown: Json = serde_json::from_str(&answer).context("the server's answer isn't JSON")?;
    let number = shown["swaps"][0]["number"].as_str().context("the visitor was shown no number")?.to_owned();
    let next = Url::parse(site)?.join("/contact")?;
    let viewed = json!({"session": shown["session"], "url": next.as_str(), "referrer": page.as_str(), "title": "Contact"});
    ask(&browser, &script, "page", &viewed).await?;
    Ok(Visit { number, landing_page: page.into() })
}

/// The address of the script on a page.
fn script_of(html: &str) -> Option<Url> {
    let (_, rest) = html.split_once("<script async src=\"")?;
    Url::parse(rest.split('"').next()?).ok()
}

async fn ask(browser: &Outbound, script: &Url, what: &str, body: &Json) -> anyhow::Result<String> {
    fetch(browser, hyper::Method::POST, script.join(what)?, Bytes::from(body.to_string())).await
}

async fn fetch(browser: &Outbound, method: hyper::Method, url: Url, body: Bytes) -> anyhow::Result<String> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(BROWSER));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain;charset=UTF-8"));
    let what = format!("{method} {}", url.path());
    let answer = browser.send(Request { method, url, headers, body }, LIMITS).await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    if !(200..300).contains(&answer.status) {
        bail!("{what} was answered with {}: {text}", answer.status);
    }
    ensure!(!answer.truncated, "{what} was answered with too much");
    Ok(text)
}

/// Whether a call is credited to the visit that it came from.
pub(super) fn is_right(call: &Json, person: &Person, visit: &Visit) -> bool {
    call["landing_page"] == visit.landing_page.as_str() && call["source_channel"] == person.channel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_found_on_the_page() {
        let html = r#"<head><script async src="http://127.0.0.1:1/dni/site_x/tracker.js"></script></head>"#;
        let session = script_of(html).and_then(|script| script.join("session").ok());
        assert_eq!(session.map(String::from).as_deref(), Some("http://127.0.0.1:1/dni/site_x/session"));
        assert_eq!(script_of("<p>none</p>"), None);
    }
}
