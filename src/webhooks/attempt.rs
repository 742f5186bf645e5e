//! One attempt: the signed request and what came of it. Decides what a success is; what follows a failure
//! is decided in `record`.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::Webhook;
use super::sign::{self, Key, Secret};
use crate::kernel::clock::{Clock, Micros};
use crate::kernel::secret::SecretKey;
use crate::outbound::{Answer, Failure, FailureKind, Limits, Outbound, Request};

/// Bytes of a response that are read (delivery rule 8).
const READ_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a response that are kept (delivery rule 8).
const KEEP_BYTES_MAX: usize = 4 * 1024;
/// Marks a request that a user asked for to try an endpoint: it stands for nothing that happened.
const TEST_HEADER: HeaderName = HeaderName::from_static("webhook-test");

/// Where to send, and as whom: made once and used for many requests.
#[derive(Debug)]
pub struct Recipient {
    /// As typed.
    target: String,
    url: Option<Url>,
    /// The user's headers and those that never differ.
    headers: HeaderMap,
    /// Any 2xx is a success.
    accept_any_2xx: bool,
    /// The present secret, and the one before while it signs along.
    keys: Vec<Key>,
    /// When the second key stops to sign.
    second_until: Option<Micros>,
}

impl Recipient {
    /// Whoever is at `target`, without a wish of its own.
    pub fn new(target: &str, secret: &Secret) -> Recipient {
        Recipient {
            target: target.to_owned(),
            url: Url::parse(target).ok(),
            headers: fixed_headers(&[]),
            accept_any_2xx: false,
            keys: vec![Key::new(secret)],
            second_until: None,
        }
    }

    /// # Errors
    /// The webhook's secrets were sealed with another key.
    pub(super) fn of(webhook: &Webhook, key: &SecretKey, now: Micros) -> anyhow::Result<Recipient> {
        let secrets = webhook.secrets(key, now)?;
        Ok(Recipient {
            target: webhook.settings.target.clone(),
            url: Url::parse(&webhook.settings.target).ok(),
            headers: fixed_headers(&webhook.settings.headers),
            accept_any_2xx: webhook.settings.accept_any_2xx,
            keys: secrets.iter().map(Key::new).collect(),
            second_until: webhook.previous_until,
        })
    }

    fn keys(&self, now: Micros) -> &[Key] {
        let both = self.second_until.is_some_and(|until| now < until);
        if both { &self.keys } else { &self.keys[..1] }
    }
}

/// What is sent.
pub struct Parcel<'a> {
    /// The `webhook-id`.
    pub id: &'a str,
    pub body: String,
    pub test: bool,
}

/// What came of an attempt: as stored and shown.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub started_at: Micros,
    pub duration: Duration,
    pub target: String,
    /// All that we set, as a JSON object.
    pub request_headers: String,
    /// None if no answer came that far.
    pub status_code: Option<u16>,
    pub error: Option<FailureKind>,
    /// Why it failed, for people; "" on success.
    pub error_detail: String,
    /// The answer's beginning.
    pub response_body: String,
    pub success: bool,
    /// When the receiver asked to be left alone until.
    pub retry_after: Option<Micros>,
}

impl Outcome {
    /// We failed in a way that nobody foresaw.
    pub(super) fn broken(target: &str, now: Micros) -> Outcome {
        let detail = "The request could not be made.".to_owned();
        let request_headers = "{}".to_owned();
        let sent = Sent { started_at: now, duration: Duration::ZERO, target, request_headers };
        sent.failed(Failure { kind: FailureKind::Protocol, detail, status: None })
    }
}

/// Sends a parcel. Never fails: a failure is an outcome.
pub async fn send(
    outbound: &Outbound,
    clock: &Clock,
    timeout: Duration,
    recipient: &Recipient,
    parcel: Parcel<'_>,
) -> Outcome {
    let started_at = clock.now();
    let headers = headers(recipient, &parcel, started_at);
    let request_headers = describe(&headers);
    let timer = tokio::time::Instant::now();
    let result = match recipient.url.clone() {
        Some(url) => {
            let body = Bytes::from(parcel.body);
            let request = Request { method: Method::POST, url, headers, body };
            let limits =
                Limits { deadline: timeout, read_bytes_max: READ_BYTES_MAX, keep_bytes_max: KEEP_BYTES_MAX };
            outbound.send(request, limits).await
        }
        None => Err(Failure {
            kind: FailureKind::Blocked,
            detail: "The target isn't a URL.".to_owned(),
            status: None,
        }),
    };
    let sent = Sent { started_at, duration: timer.elapsed(), target: &recipient.target, request_headers };
    match result {
        Ok(answer) => sent.answered(&answer, recipient.accept_any_2xx),
        Err(failure) => sent.failed(failure),
    }
}

struct Sent<'a> {
    started_at: Micros,
    duration: Duration,
    target: &'a str,
    request_headers: String,
}

impl Sent<'_> {
    fn answered(self, answer: &Answer, accept_any_2xx: bool) -> Outcome {
        let success = answer.status == 200 || (accept_any_2xx && (200..300).contains(&answer.status));
        let retry_after = answer.headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok());
        Outcome {
            success,
            status_code: Some(answer.status),
            error: None,
            error_detail: if success { String::new() } else { refusal(answer.status) },
            response_body: text(&answer.body),
            retry_after: retry_after.and_then(|v| parse_retry_after(v, self.started_at)),
            started_at: self.started_at,
            duration: self.duration,
            target: self.target.to_owned(),
            request_headers: self.request_headers,
        }
    }

    fn failed(self, failure: Failure) -> Outcome {
        Outcome {
            success: false,
            status_code: failure.status,
            error: Some(failure.kind),
            error_detail: failure.detail,
            response_body: String::new(),
            retry_after: None,
            started_at: self.started_at,
            duration: self.duration,
            target: self.target.to_owned(),
            request_headers: self.request_headers,
        }
    }
}

fn refusal(status: u16) -> String {
    match status {
        300..400 => format!("The receiver answered {status}; redirects are not followed."),
        _ => format!("The receiver answered {status}."),
    }
}

/// The user's headers first, so that ours win.
fn fixed_headers(given: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

fn headers(recipient: &Recipient, parcel: &Parcel<'_>, now: Micros) -> HeaderMap {
    let mut headers = recipient.headers.clone();
    let signature = sign::signature(recipient.keys(now), parcel.id, now, parcel.body.as_bytes());
    let ours = [
        (HeaderName::from_static("webhook-id"), parcel.id.to_owned()),
        (HeaderName::from_static("webhook-timestamp"), now.seconds().to_string()),
        (HeaderName::from_static("webhook-signature"), signature),
    ];
    for (name, value) in ours {
        let value = HeaderValue::try_from(value).expect("ids, numbers and base64 are valid header values");
        headers.insert(name, value);
    }
    if parcel.test {
        headers.insert(TEST_HEADER, HeaderValue::from_static("true"));
    }
    headers
}

/// Whether a user may set this header: not one that says how the request is framed or signed.
pub fn is_settable_header(name: &HeaderName) -> bool {
    !crate::outbound::is_owned_header(name)
        && !name.as_str().starts_with("webhook-")
        && *name != header::CONTENT_TYPE
}

/// As a JSON object.
fn describe(headers: &HeaderMap) -> String {
    use serde::Serializer as _;
    let pairs =
        headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())));
    let mut text = Vec::with_capacity(256);
    let written = serde_json::Serializer::new(&mut text).collect_map(pairs);
    written.expect("strings always become JSON");
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// A stranger's bytes as text that both engines can store: PostgreSQL takes no NUL.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{FFFD}")
}

/// Seconds, or a date as HTTP writes it (RFC 9110 section 10.2.3). Anything else counts as not said.
fn parse_retry_after(text: &str, now: Micros) -> Option<Micros> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(now.after(Duration::from_secs(seconds.into())));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some(Micros(date.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Micros(1_700_000_000_000_000);
        assert_eq!(parse_retry_after("120", now), Some(Micros(1_700_000_120_000_000)));
        let date = parse_retry_after("Tue, 14 Nov 2023 22:15:20 GMT", now);
        assert_eq!(date, Some(Micros(1_700_000_120_000_000)));
        for nonsense in ["", "soon", "-5", "1e9", "99999999999"] {
            assert_eq!(parse_retry_after(nonsense, now), None, "{nonsense}");
        }
    }

    #[test]
    fn a_user_cannot_forge_our_headers() {
        let forged = [("content-type".to_owned(), "x".to_owned()), ("X-Mine".to_owned(), "y".to_owned())];
        let headers = fixed_headers(&forged);
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["x-mine"], "y");
        assert!(!is_settable_header(&HeaderName::from_static("webhook-signature")));
        assert!(!is_settable_header(&header::HOST));
        assert!(is_settable_header(&header::AUTHORIZATION));
    }

    #[test]
    fn headers_are_described_as_a_json_object() {
        let headers = fixed_headers(&[("x-mine".to_owned(), "a\"b".to_owned())]);
        let described: serde_json::Value = serde_json::from_str(&describe(&headers)).unwrap();
        assert_eq!(described, serde_json::json!({"content-type": "application/json", "x-mine": "a\"b"}));
    }

    #[test]
    fn answers_are_stored_as_text_that_both_engines_take() {
        assert_eq!(text(b"a\0b\xff"), "a\u{FFFD}b\u{FFFD}");
    }
}
