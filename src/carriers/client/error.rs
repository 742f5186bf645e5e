//! Why a carrier didn't do what it was asked, in words that a person can act on.
//!
//! The codes are the carrier's own (its page "Error and Warning Dictionary"); SignalWire uses the same where
//! it has one. Newer services write problem details (RFC 9457) instead of `code` and `message`.

use std::time::Duration;

use hyper::header::{HeaderMap, RETRY_AFTER};

use super::{lenient_number, lenient_text};
use crate::outbound::Failure;

/// How much of the carrier's own explanation is kept, in characters.
const MESSAGE_CHARS_MAX: usize = 300;
/// A wait that the carrier asks for counts at most this much, in seconds.
const RETRY_AFTER_S_MAX: u64 = 3_600;

/// What went wrong. The texts are shown to people of the company; logs get [`CarrierError::as_str`], because
/// the carrier's own messages quote numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarrierError {
    #[error("the carrier refused the account's credentials; check the account SID and the auth token")]
    Auth,
    #[error("the carrier doesn't have it, or has it no longer")]
    NotFound,
    #[error("the carrier refused the request: {message}")]
    Invalid {
        /// The carrier's number for it.
        code: Option<u32>,
        message: String,
    },
    #[error("the number is no longer available; choose another one")]
    NumberUnavailable,
    #[error("the carrier has no numbers in this area code; try another one")]
    NoNumbers,
    #[error("the receiver has opted out of messages from this number; they must send START first")]
    OptedOut,
    #[error("the account may not reach this country; allow it in the carrier's geographic permissions")]
    GeoBlocked,
    #[error("the number can't send text messages; choose one that can, or enable it at the carrier")]
    NotSmsCapable,
    #[error("the carrier limits how often it may be asked; try again later")]
    RateLimited {
        /// What it asks us to wait, if it says.
        retry_after: Option<Duration>,
    },
    #[error("the file isn't on one of the carrier's own hosts and was not fetched")]
    ForeignHost,
    #[error("the carrier can't be reached: {0}")]
    Unreachable(Failure),
    #[error("the carrier has a problem of its own (status {status}); try again later")]
    Transient { status: u16 },
    #[error("the carrier {0}")]
    Unexpected(String),
}

impl CarrierError {
    /// A word for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            CarrierError::Auth => "auth",
            CarrierError::NotFound => "not_found",
            CarrierError::Invalid { .. } => "invalid",
            CarrierError::NumberUnavailable => "number_unavailable",
            CarrierError::NoNumbers => "no_numbers",
            CarrierError::OptedOut => "opted_out",
            CarrierError::GeoBlocked => "geo_blocked",
            CarrierError::NotSmsCapable => "not_sms_capable",
            CarrierError::RateLimited { .. } => "rate_limited",
            CarrierError::ForeignHost => "foreign_host",
            CarrierError::Unreachable(failure) => failure.kind.as_str(),
            CarrierError::Transient { .. } => "transient",
            CarrierError::Unexpected(_) => "unexpected",
        }
    }

    /// Whether the same request may succeed later without anybody doing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            CarrierError::RateLimited { .. }
            | CarrierError::Unreachable(_)
            | CarrierError::Transient { .. } => true,
            CarrierError::Auth
            | CarrierError::NotFound
            | CarrierError::Invalid { .. }
            | CarrierError::NumberUnavailable
            | CarrierError::NoNumbers
            | CarrierError::OptedOut
            | CarrierError::GeoBlocked
            | CarrierError::NotSmsCapable
            | CarrierError::ForeignHost
            | CarrierError::Unexpected(_) => false,
        }
    }

    /// The error of an answer that isn't a success.
    pub(super) fn of(status: u16, headers: &HeaderMap, body: &[u8]) -> CarrierError {
        let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
        match (problem.code, status) {
            (Some(21_421 | 21_422), _) => CarrierError::NumberUnavailable,
            (Some(21_452), _) => CarrierError::NoNumbers,
            (Some(21_610), _) => CarrierError::OptedOut,
            (Some(21_408 | 21_215), _) => CarrierError::GeoBlocked,
            (Some(21_606), _) => CarrierError::NotSmsCapable,
            (Some(20_003), _) | (_, 401) => CarrierError::Auth,
            (Some(20_429), _) | (_, 429) => CarrierError::RateLimited { retry_after: retry_after(headers) },
            (Some(20_404), _) | (_, 404 | 410) => CarrierError::NotFound,
            (code, 400..=499) => CarrierError::Invalid { code, message: problem.message(status) },
            (_, 500..=599) => CarrierError::Transient { status },
            _ => CarrierError::Unexpected(format!("answered with status {status}")),
        }
    }
}

/// Seconds; the header's other form, a date, is left aside because no carrier writes it.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_S_MAX)))
}

/// An error's body, in either of its forms.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Problem {
    #[serde(deserialize_with = "lenient_number")]
    code: Option<u32>,
    #[serde(deserialize_with = "lenient_text")]
    message: String,
    #[serde(deserialize_with = "lenient_text")]
    detail: String,
    #[serde(deserialize_with = "lenient_text")]
    title: String,
}

impl Problem {
    fn message(self, status: u16) -> String {
        let said = [self.message, self.detail, self.title].into_iter().find(|text| !text.is_empty());
        let text = said.unwrap_or_else(|| format!("status {status}"));
        text.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str) -> CarrierError {
        CarrierError::of(status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn the_carriers_codes_have_meanings() {
        let cases = [
            (401, r#"{"code":20003,"message":"Authenticate"}"#, CarrierError::Auth),
            (403, r#"{"code":20003}"#, CarrierError::Auth),
            (404, "<html>", CarrierError::NotFound),
            (400, r#"{"code":"21422","status":400}"#, CarrierError::NumberUnavailable),
            (404, r#"{"code":21452}"#, CarrierError::NoNumbers),
            (400, r#"{"code":21610}"#, CarrierError::OptedOut),
            (400, r#"{"code":21408}"#, CarrierError::GeoBlocked),
            (403, r#"{"code":21215}"#, CarrierError::GeoBlocked),
            (400, r#"{"code":21606}"#, CarrierError::NotSmsCapable),
            (503, "", CarrierError::Transient { status: 503 }),
            (304, "", CarrierError::Unexpected("answered with status 304".to_owned())),
        ];
        for (status, body, expected) in cases {
            assert_eq!(error(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn what_we_do_not_know_is_told_in_the_carriers_words() {
        let invalid = |code, message: &str| CarrierError::Invalid { code, message: message.to_owned() };
        assert_eq!(
            error(400, r#"{"code":21211,"message":"Invalid\u0000 To"}"#),
            invalid(Some(21211), "Invalid To")
        );
        assert_eq!(
            error(422, r#"{"title":"Bad","detail":"No such thing","code":null}"#),
            invalid(None, "No such thing")
        );
        assert_eq!(error(409, "oops"), invalid(None, "status 409"));
        let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(9_999));
        assert_eq!(error(400, &long), invalid(None, &"x".repeat(MESSAGE_CHARS_MAX)));
    }

    #[test]
    fn a_wait_is_taken_from_the_header_and_bounded() {
        let limited = |value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            CarrierError::of(429, &headers, b"")
        };
        let wait = |seconds| CarrierError::RateLimited { retry_after: seconds };
        assert_eq!(limited("7"), wait(Some(Duration::from_secs(7))));
        assert_eq!(limited("999999"), wait(Some(Duration::from_secs(3_600))));
        assert_eq!(limited("Wed, 21 Oct 2026 07:28:00 GMT"), wait(None));
        assert!(limited("7").is_temporary() && !error(401, "").is_temporary());
    }
}
