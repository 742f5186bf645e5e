//! What a handler gives back, before it becomes an HTTP response: kept apart so that it can be stored for
//! an `Idempotency-Key` and given again.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::http::csv;
use crate::http::problem::Problem;
use crate::kernel::page::Listed;

/// An answer of the API.
pub struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Content,
    /// Stored for its `Idempotency-Key` already, in the transaction of what it tells of.
    pub(super) stored: bool,
    /// A failure after which the work may have been done all the same.
    pub(super) perhaps_done: bool,
}

/// What an answer carries.
pub(super) enum Content {
    Empty,
    /// JSON or a problem.
    Text(String),
    /// Audio or events: not stored.
    Stream(Body),
}

impl Reply {
    /// 200 with an object.
    pub fn ok(object: &impl Serialize) -> Reply {
        let text = serde_json::to_string(object).expect("the API's objects always become JSON");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Reply::new(StatusCode::OK, headers, Content::Text(text))
    }

    /// 200 with a table as CSV.
    pub fn csv(text: String) -> Reply {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(csv::MEDIA_TYPE))]);
        Reply::new(StatusCode::OK, headers, Content::Text(text))
    }

    /// 201 with the new object and where it is, as a path under `/api/v1`.
    pub fn created(path: &str, object: &impl Serialize) -> Reply {
        Reply::located(StatusCode::CREATED, path, object)
    }

    /// 202 with an object that tells of the work begun and where it is, as a path under `/api/v1`.
    pub fn begun(path: &str, object: &impl Serialize) -> Reply {
        Reply::located(StatusCode::ACCEPTED, path, object)
    }

    fn located(status: StatusCode, path: &str, object: &impl Serialize) -> Reply {
        let location = HeaderValue::try_from(format!("/api/v1{path}"));
        let location = location.expect("a path of names and numbers is a header's value");
        Reply { status, ..Reply::ok(object) }.with_header(LOCATION, location)
    }

    /// 202 with an object that tells of the work begun.
    pub fn accepted(object: &impl Serialize) -> Reply {
        Reply { status: StatusCode::ACCEPTED, ..Reply::ok(object) }
    }

    /// 200 with a page of a list.
    pub fn page<T>(listed: Listed<T>, encode: impl FnMut(&T) -> Json) -> Reply {
        Reply::listed(&Listed { rows: listed.rows.iter().map(encode).collect(), next: listed.next })
    }

    /// As [`Reply::page`], of rows that are what the API shows.
    pub fn listed<T: Serialize>(listed: &Listed<T>) -> Reply {
        #[derive(Serialize)]
        struct Page<'a, T> {
            data: &'a [T],
            next: Option<&'a str>,
        }
        Reply::ok(&Page { data: &listed.rows, next: listed.next.as_deref() })
    }

    /// 204.
    pub fn no_content() -> Reply {
        Reply::new(StatusCode::NO_CONTENT, HeaderMap::new(), Content::Empty)
    }

    /// Bytes that are read as they are sent.
    pub fn stream(status: StatusCode, headers: HeaderMap, body: Body) -> Reply {
        Reply::new(status, headers, Content::Stream(body))
    }

    fn new(status: StatusCode, headers: HeaderMap, body: Content) -> Reply {
        Reply { status, headers, body, stored: false, perhaps_done: false }
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Reply {
        self.headers.insert(name, value);
        self
    }

    /// The parts that are stored; None for a stream.
    pub(super) fn to_stored(&self) -> Option<String> {
        let body = match &self.body {
            Content::Empty => "",
            Content::Text(text) => text,
            Content::Stream(_) => return None,
        };
        let pairs =
            self.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        Some(json!({ "headers": pairs.collect::<Vec<_>>(), "body": body }).to_string())
    }

    /// What is stored of work that didn't store its answer itself; None if it failed here and wasn't done, so
    /// that the next try may do better.
    pub(super) fn to_lasting(&self) -> Option<(StatusCode, String)> {
        let lasts = self.perhaps_done || !self.status.is_server_error();
        self.to_stored().filter(|_| lasts).map(|stored| (self.status, stored))
    }

    /// From [`Reply::to_stored`]; None if it is something else.
    pub(super) fn from_stored(status: StatusCode, stored: &[u8]) -> Option<Reply> {
        let (pairs, body): (Vec<(String, String)>, String) = {
            let mut stored: Json = serde_json::from_slice(stored).ok()?;
            let pairs = serde_json::from_value(stored["headers"].take()).ok()?;
            (pairs, serde_json::from_value(stored["body"].take()).ok()?)
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        }
        let body = if body.is_empty() { Content::Empty } else { Content::Text(body) };
        Some(Reply { stored: true, ..Reply::new(status, headers, body) })
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Reply {
        let perhaps_done = problem.is_perhaps_done();
        let (status, headers, body) = problem.into_parts();
        Reply { perhaps_done, ..Reply::new(status, headers, Content::Text(body.to_string())) }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let body = match self.body {
            Content::Empty => Body::empty(),
            Content::Text(text) => Body::from(text),
            Content::Stream(body) => body,
        };
        let mut response = (self.status, self.headers, body).into_response();
        // Answers depend on the token and may hold personal data.
        response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_answer_is_the_same_answer() {
        let reply = Reply::created("/companies/7", &json!({ "name": "é" }));
        let stored = reply.to_stored().expect("it has a text");
        let again = Reply::from_stored(reply.status, stored.as_bytes()).expect("it was stored");
        assert_eq!((again.status, &again.headers), (reply.status, &reply.headers));
        let text = |reply: &Reply| match &reply.body {
            Content::Text(text) => text.clone(),
            Content::Empty | Content::Stream(_) => String::new(),
        };
        assert_eq!(text(&again), text(&reply));
        assert!(Reply::from_stored(StatusCode::OK, b"{}").is_none());
    }
}
