//! Fetching a page as a browser would that knows nothing of it yet.
//!
//! Decides: which redirects are followed, what counts as an HTML page. Does not decide: which addresses may be called;
//! [`Outbound`] does, for each step anew.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use url::Url;

use super::csp::Policy;
use super::page;
use crate::outbound::{Limits, Outbound, Request};

/// Redirects that are followed. Sites have two or three: to https, to www, to a language.
pub const REDIRECTS_MAX: usize = 5;

const POLICY: HeaderName = header::CONTENT_SECURITY_POLICY;

/// What came of it.
#[derive(Debug)]
pub struct Fetched {
    /// The address that answered last, after redirects.
    pub url: Url,
    /// What it answered; None if it didn't.
    pub status: Option<u16>,
    /// There was more of the page than is read.
    pub truncated: bool,
    pub content: Content,
}

/// What was at the address.
#[derive(Debug)]
pub enum Content {
    /// An HTML page, and the policies of its headers.
    Html { text: String, policies: Vec<Policy> },
    /// No page; why, as a sentence.
    Failed(String),
    /// Something else; what, as the rest of a sentence.
    Other(String),
}

/// Fetches a page. The deadline covers all redirects.
pub async fn fetch(outbound: &Outbound, mut url: Url, limits: Limits) -> Fetched {
    let end = Instant::now() + limits.deadline;
    let failed =
        |url, status, text| Fetched { url, status, truncated: false, content: Content::Failed(text) };
    for _ in 0..=REDIRECTS_MAX {
        let limits = Limits { deadline: end.saturating_duration_since(Instant::now()), ..limits };
        let answer = match outbound.send(request(&url), limits).await {
            Ok(answer) => answer,
            Err(failure) => {
                let text = format!("The page can't be fetched: {}.", failure.detail);
                return failed(url, failure.status, text);
            }
        };
        let status = Some(answer.status);
        if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
            let content = content_of(answer.status, &answer.headers, &answer.body);
            return Fetched { url, status, truncated: answer.truncated, content };
        }
        let Some(next) = target(&url, &answer.headers) else {
            return failed(url, status, "The page redirects, but doesn't say where to.".to_owned());
        };
        url = next;
    }
    failed(url, None, format!("The page redirects more than {REDIRECTS_MAX} times."))
}

fn request(url: &Url) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/html,application/xhtml+xml"));
    Request { method: Method::GET, url: url.clone(), headers, body: Bytes::new() }
}

/// Where a redirect leads. The part behind `#` is a browser's own business.
fn target(from: &Url, headers: &HeaderMap) -> Option<Url> {
    let location = headers.get(header::LOCATION)?;
    let mut to = from.join(std::str::from_utf8(location.as_bytes()).ok()?).ok()?;
    to.set_fragment(None);
    Some(to)
}

fn content_of(status: u16, headers: &HeaderMap, body: &[u8]) -> Content {
    if !(200..300).contains(&status) {
        return Content::Failed(format!("The page answers with status {status}."));
    }
    let text_of =
        |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if let Some(coding) = text_of(header::CONTENT_ENCODING)
        && !matches!(coding.trim().to_ascii_lowercase().as_str(), "" | "identity")
    {
        return Content::Other(format!("compressed ({coding}), though that wasn't asked for"));
    }
    let declared = text_of(header::CONTENT_TYPE).unwrap_or_default();
    let media = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !matches!(media.as_str(), "" | "text/html" | "application/xhtml+xml") {
        return Content::Other(media);
    }
    if body.iter().take(512).any(|byte| *byte == 0) {
        return Content::Other("not text".to_owned());
    }
    let policies = headers.get_all(POLICY).iter();
    let policies = policies.flat_map(|value| Policy::of_header(&String::from_utf8_lossy(value.as_bytes())));
    Content::Html { policies: policies.collect(), text: page::decode(body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> String {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).expect("it is a value"))
        });
        match content_of(status, &headers.collect(), body) {
            Content::Html { policies, .. } => format!("html {}", policies.len()),
            Content::Failed(text) | Content::Other(text) => text,
        }
    }

    #[test]
    fn a_page_is_told_from_what_is_none() {
        let page = b"<p>";
        for (status, headers, body, expected) in [
            (200, &[][..], &page[..], "html 0"),
            (204, &[], b"", "html 0"),
            (200, &[("content-type", "text/html")], page, "html 0"),
            (200, &[("content-type", "TEXT/html; charset=utf-8")], page, "html 0"),
            (200, &[("content-type", "application/xhtml+xml")], page, "html 0"),
            (200, &[("content-type", "application/pdf")], page, "application/pdf"),
            (200, &[("content-type", "\u{e4}")], page, "\u{e4}"),
            (200, &[("content-type", "text/html")], b"<\0p>", "not text"),
            (200, &[("content-encoding", "identity")], page, "html 0"),
            (200, &[("content-encoding", "gzip")], page, "compressed (gzip), though that wasn't asked for"),
            (404, &[], page, "The page answers with status 404."),
            (304, &[], page, "The page answers with status 304."),
            (200, &[("content-security-policy", "img-src *, script-src *")], page, "html 2"),
            (200, &[("content-security-policy-report-only", "script-src 'none'")], page, "html 0"),
        ] {
            assert_eq!(content(status, headers, body), expected, "{status} {headers:?}");
        }
    }

    #[test]
    fn a_redirect_leads_where_browsers_go() {
        let from = Url::parse("https://shop.example/a/b?c").expect("it is one");
        for (location, expected) in [
            ("/x", Some("https://shop.example/x")),
            ("x#y", Some("https://shop.example/a/x")),
            ("//other.example", Some("https://other.example/")),
            ("http://other.example/", Some("http://other.example/")),
            ("", Some("https://shop.example/a/b?c")),
            ("https://", None),
        ] {
            let headers = [(header::LOCATION, HeaderValue::from_static(location))].into_iter().collect();
            assert_eq!(target(&from, &headers).as_ref().map(Url::as_str), expected, "{location}");
        }
        assert_eq!(target(&from, &HeaderMap::new()), None);
    }
}
