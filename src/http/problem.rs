//! Errors as a client reads them: problem details (RFC 9457). This is the one place where a failure inside
//! becomes an answer, so nothing internal gets out: the cause goes to the log, once, and the client is told
//! what it can do about it.

mod nouns;

pub use self::nouns::DESTINATION_IS_TRACKED;

use std::panic::AssertUnwindSafe;

use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use serde_json::{Value as Json, json};

use crate::db;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// Field errors in one answer at most: a body of a million unknown keys must not make a larger answer.
const ERRORS_MAX: usize = 100;

/// What went wrong, as far as a client may branch on it. The slugs are part of the API and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Validation,
    MalformedBody,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Timeout,
    Conflict,
    InProgress,
    BodyTooLarge,
    UnsupportedMediaType,
    RangeNotSatisfiable,
    Unprocessable,
    KeyReused,
    RateLimited,
    Internal,
    Carrier,
    Unavailable,
}

impl Kind {
    pub const ALL: [Kind; 18] = [
        Kind::Validation,
        Kind::MalformedBody,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::NotFound,
        Kind::MethodNotAllowed,
        Kind::Timeout,
        Kind::Conflict,
        Kind::InProgress,
        Kind::BodyTooLarge,
        Kind::UnsupportedMediaType,
        Kind::RangeNotSatisfiable,
        Kind::Unprocessable,
        Kind::KeyReused,
        Kind::RateLimited,
        Kind::Internal,
        Kind::Carrier,
        Kind::Unavailable,
    ];

    /// The status, the last part of the type's URI, and the title.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Kind::Validation => (StatusCode::BAD_REQUEST, "validation", "The request is not valid"),
            Kind::MalformedBody => {
                (StatusCode::BAD_REQUEST, "malformed-body", "The body is not a JSON object")
            }
            Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "A valid token is needed"),
            Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The token may not do this"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing here"),
            Kind::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not supported here")
            }
            Kind::Timeout => (StatusCode::REQUEST_TIMEOUT, "timeout", "The request came too slowly"),
            Kind::Conflict => (StatusCode::CONFLICT, "conflict", "The present state does not allow this"),
            Kind::InProgress => {
                (StatusCode::CONFLICT, "in-progress", "A request with this Idempotency-Key is still running")
            }
            Kind::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            Kind::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be JSON")
            }
            Kind::RangeNotSatisfiable => {
                (StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "The range lies outside")
            }
            Kind::Unprocessable => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", "The request can't be carried out")
            }
            Kind::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The Idempotency-Key belongs to another request",
            ),
            Kind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong here"),
            Kind::Carrier => (StatusCode::BAD_GATEWAY, "carrier", "The carrier did not do what was asked"),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Try again in a moment"),
        }
    }

    pub fn status(self) -> StatusCode {
        self.parts().0
    }

    /// The `type`: a reference relative to the server, so that it holds wherever the server is reached.
    pub fn uri(self) -> String {
        format!("/problems/{}", self.parts().1)
    }

    pub fn title(self) -> &'static str {
        self.parts().2
    }

    /// What a client can do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Kind::Validation => {
                "`errors` lists every field that is wrong. Mend them and send the request again."
            }
            Kind::MalformedBody => "`detail` says where the body stops being a JSON object.",
            Kind::Unauthenticated => "Send a token that is valid: Authorization: Bearer TOKEN.",
            Kind::Forbidden => "Use a token that may do this; `detail` says what this one lacks.",
            Kind::NotFound => "Check the path. What another company owns is answered like this too.",
            Kind::MethodNotAllowed => "The `Allow` header lists the methods of this path.",
            Kind::Timeout => "Send the whole body within 30 seconds.",
            Kind::Conflict => "Look at the present state; `detail` says what stands in the way.",
            Kind::InProgress => "Wait for the first request's answer, or send the same again a moment later.",
            Kind::BodyTooLarge => "Send at most 1 MiB.",
            Kind::UnsupportedMediaType => "Send JSON with Content-Type: application/json.",
            Kind::RangeNotSatisfiable => "`Content-Range` has the length.",
            Kind::Unprocessable => "The request is well-formed; `detail` says why it can't be done.",
            Kind::KeyReused => "Use a new Idempotency-Key for a new request.",
            Kind::RateLimited => "Wait as many seconds as `Retry-After` says.",
            Kind::Internal => "This is a fault of the server: its log has the cause.",
            Kind::Carrier => "`detail` has what the carrier answered.",
            Kind::Unavailable => "Nothing was done. Send the request again after `Retry-After` seconds.",
        }
    }
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// The key of the body, as a path (`numbers.attach[1]`), or the parameter or header.
    pub field: String,
    /// Reads on from the field's name: "must be …".
    pub message: String,
}

/// A failed request.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log only.
    cause: Option<String>,
    perhaps_done: bool,
}

impl Problem {
    /// `detail` is a sentence for a person, about this very request.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            headers: Vec::new(),
            cause: None,
            perhaps_done: false,
        }
    }

    /// Everything that is wrong with the fields of a request. `errors` isn't empty.
    pub fn validation(mut errors: Vec<FieldError>) -> Problem {
        let count = errors.len();
        errors.truncate(ERRORS_MAX);
        let detail = match errors.as_slice() {
            [only] => format!("{} {}", only.field, only.message),
            _ => format!("{count} fields are not valid"),
        };
        Problem { errors, ..Problem::new(Kind::Validation, detail) }
    }

    /// One field that is wrong.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem::validation(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// No such thing, or none that the caller may know of: the answers are the same.
    pub fn not_found() -> Problem {
        Problem::new(Kind::NotFound, "No such resource, or none that this token may see")
    }

    /// `challenge` is what `WWW-Authenticate` says (RFC 6750).
    pub fn unauthenticated(challenge: &'static str) -> Problem {
        Problem::new(Kind::Unauthenticated, "Send a valid token as Authorization: Bearer TOKEN")
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// Try again after so many seconds.
    pub fn rate_limited(detail: &str, retry_after_s: u64) -> Problem {
        Problem::new(Kind::RateLimited, detail).with_header(RETRY_AFTER, retry_after_s.into())
    }

    /// A bug: `cause` is logged, the client learns nothing of it.
    pub fn internal(cause: impl Into<String>) -> Problem {
        let detail = "The request could not be answered; the server's log says why";
        Problem { cause: Some(cause.into()), ..Problem::new(Kind::Internal, detail) }
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// What was asked for may have been done in spite of it: a repetition must not do it again.
    #[must_use]
    pub fn but_perhaps_done(mut self) -> Problem {
        self.perhaps_done = true;
        self
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whoever filled in a form can mend it, or is told why it can't be done.
    pub fn is_about_input(&self) -> bool {
        matches!(
            self.kind,
            Kind::Validation | Kind::Conflict | Kind::Unprocessable | Kind::Carrier | Kind::BodyTooLarge
        )
    }

    /// A sentence for a person.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What the log is told and nobody else.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// What is wrong with each field.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    pub fn is_perhaps_done(&self) -> bool {
        self.perhaps_done
    }

    /// Status, headers and body for the client. Logs the cause: a problem is turned into an answer once.
    pub fn into_parts(self) -> (StatusCode, HeaderMap, Json) {
        if let Some(cause) = &self.cause {
            tracing::error!(error = %cause, problem = self.kind.parts().1, "a request failed");
        }
        let (status, _, title) = self.kind.parts();
        let mut body = json!({
            "type": self.kind.uri(),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
        });
        if !self.errors.is_empty() {
            body["errors"] = json!(self.errors);
        }
        let mut headers: HeaderMap = self.headers.into_iter().collect();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        (status, headers, body)
    }
}

impl From<db::Error> for Problem {
    fn from(error: db::Error) -> Problem {
        match error {
            db::Error::Unavailable(_) | db::Error::Busy => Problem {
                cause: Some(error.to_string()),
                ..Problem::new(Kind::Unavailable, "The server can't reach its database or is overloaded")
            }
            .with_header(RETRY_AFTER, HeaderValue::from_static("1")),
            db::Error::Constraint(_) | db::Error::Internal(_) => Problem::internal(error.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, headers, body) = self.into_parts();
        (status, headers, body.to_string()).into_response()
    }
}

/// Answers for paths that nothing is at.
pub async fn unknown_path() -> Problem {
    Problem::new(Kind::NotFound, "Nothing is at this path")
}

/// Answers for methods that a path doesn't know. The router adds which ones it does, as `Allow`.
pub async fn unknown_method() -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("The {ALLOW} header says which methods are supported"))
}

/// Runs `work`; a panic in it becomes a problem instead of a broken connection.
///
/// # Errors
/// `work`'s, or that it panicked.
pub async fn caught<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    // What panicked is dropped with its request; what is shared is behind locks that outlive a panic.
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Problem::internal(format!("a handler panicked: {text}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_internal_gets_out() {
        for error in [
            db::Error::Internal("select secret".to_owned()),
            db::Error::Constraint("select secret".to_owned()),
            db::Error::Unavailable("select secret".to_owned()),
        ] {
            let (status, _, body) = Problem::from(error).into_parts();
            assert!(status.is_server_error());
            assert!(!body.to_string().contains("secret"), "{body}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_tells_nothing() {
        let caught = caught::<()>(async { panic!("the secret is 7") }).await;
        let (status, _, body) = caught.expect_err("it panicked").into_parts();
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!body.to_string().contains("secret"), "{body}");
    }

    #[test]
    fn types_are_distinct_and_errors_are_bounded() {
        let mut uris: Vec<String> = Kind::ALL.iter().map(|kind| kind.uri()).collect();
        uris.sort();
        uris.dedup();
        assert_eq!(uris.len(), Kind::ALL.len());
        let many = vec![FieldError { field: "a".to_owned(), message: "b".to_owned() }; 1000];
        let (_, _, body) = Problem::validation(many).into_parts();
        assert_eq!(body["errors"].as_array().map(Vec::len), Some(ERRORS_MAX));
        assert_eq!(body["detail"], "1000 fields are not valid");
    }
}
