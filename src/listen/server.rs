//! The server as this command sees it: which companies a token sees, and a company's stream of events. Decides
//! which failures would only come again and which pass; doesn't decide what follows.
//!
//! A stream has no end, so no deadline over all of it: what is bounded is the time until it begins, and the
//! silence in it.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use tokio::time::timeout;
use url::Url;

use super::sse::{Bad, Frame, Parser};
use crate::outbound::{Answer, Download, Limits, Outbound, Request};

/// From DNS to the last byte of an answer, or to a stream's headers.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// A page of 500 companies is far below.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Bytes of an explanation that are read in place of a stream.
const PROBLEM_BYTES_MAX: usize = 16 * 1024;
/// Characters of an explanation that are shown.
const DETAIL_CHARS_MAX: usize = 300;
/// The server says something every 15 s: three times that without a word, and it is gone.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Companies that are asked for when the token may see several: a page.
const COMPANIES_PATH: &str = "api/v1/companies?limit=500";

/// Why there is no answer, or none any more.
#[derive(Debug)]
pub(super) enum Lost {
    /// The server would say so again.
    Refused(String),
    /// It may come back.
    Away(String),
    /// What came isn't what our server sends, or it can't be worked with here.
    Strange(String),
}

/// A company, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Company {
    pub id: i64,
    pub name: String,
    /// With the id it tells one company from another that has its id on a server whose data are new.
    pub created_at: String,
}

/// One server and a token for it.
pub(super) struct Server {
    outbound: Outbound,
    base: Url,
    authorization: HeaderValue,
}

impl Server {
    /// None if the token can't be one.
    pub(super) fn new(outbound: Outbound, base: Url, token: &str) -> Option<Server> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        authorization.set_sensitive(true);
        Some(Server { outbound, base, authorization })
    }

    /// Those that the token sees, 500 at most, newest first.
    ///
    /// # Errors
    /// See [`Lost`].
    pub(super) async fn companies(&self) -> Result<Vec<Company>, Lost> {
        #[derive(Deserialize)]
        struct Page {
            data: Vec<Company>,
        }
        let page: Page = self.get(COMPANIES_PATH).await?;
        Ok(page.data)
    }

    /// # Errors
    /// See [`Lost`].
    pub(super) async fn company(&self, id: i64) -> Result<Company, Lost> {
        self.get(&format!("api/v1/companies/{id}")).await
    }

    /// A company's events behind `after`; None: those that come next.
    ///
    /// # Errors
    /// See [`Lost`].
    pub(super) async fn stream(&self, company: i64, after: Option<i64>) -> Result<Stream, Lost> {
        let path = format!("api/v1/companies/{company}/events/stream");
        let mut request = self.request(&path)?;
        request.headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(after) = after {
            request.headers.insert(HeaderName::from_static("last-event-id"), after.into());
        }
        // Its own deadline and length are those of a stream: none.
        let limits =
            Limits { deadline: Duration::MAX, read_bytes_max: usize::MAX, keep_bytes_max: PROBLEM_BYTES_MAX };
        let opened = timeout(ANSWER_TIME_MAX, self.outbound.fetch(request, limits)).await;
        let opened = opened.map_err(|_| self.away("it doesn't answer"))?;
        let mut download = opened.map_err(|failure| self.away(&failure.detail))?;
        if download.status() != 200 {
            let body = timeout(ANSWER_TIME_MAX, explanation(&mut download)).await.unwrap_or_default();
            return Err(self.refusal(&path, download.status(), &body));
        }
        let is_stream = |kind: &HeaderValue| kind.as_bytes().starts_with(b"text/event-stream");
        if !download.headers().get(CONTENT_TYPE).is_some_and(is_stream) {
            return Err(Lost::Strange(format!("{}{path} is not a stream of events", self.base)));
        }
        Ok(Stream { download, parser: Parser::default() })
    }

    async fn get<T: for<'a> Deserialize<'a>>(&self, path: &str) -> Result<T, Lost> {
        let limits = Limits {
            deadline: ANSWER_TIME_MAX,
            read_bytes_max: ANSWER_BYTES_MAX,
            keep_bytes_max: ANSWER_BYTES_MAX,
        };
        let sent = self.outbound.send(self.request(path)?, limits).await;
        let Answer { status, body, .. } = sent.map_err(|failure| self.away(&failure.detail))?;
        if status != 200 {
            return Err(self.refusal(path, status, &body));
        }
        let strange = |_| Lost::Strange(format!("{}{path} did not answer as a Call Tracker does", self.base));
        serde_json::from_slice(&body).map_err(strange)
    }

    fn request(&self, path: &str) -> Result<Request, Lost> {
        let bad = |_| Lost::Refused(format!("{} can't be the server's address", self.base));
        let url = self.base.join(path).map_err(bad)?;
        let headers = HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone())]);
        Ok(Request { method: Method::GET, url, headers, body: Bytes::new() })
    }

    fn away(&self, why: &str) -> Lost {
        Lost::Away(format!("{} can't be reached: {why}", self.base))
    }

    /// What an answer that isn't 200 means.
    fn refusal(&self, path: &str, status: u16, body: &[u8]) -> Lost {
        let why = match detail(body) {
            Some(detail) => format!(": {detail}"),
            None => String::new(),
        };
        match status {
            401 => Lost::Refused(format!("the token is not valid at {} (401{why})", self.base)),
            403 => Lost::Refused(format!("the token may not follow events at {} (403{why})", self.base)),
            404 => {
                Lost::Refused(format!("{}{path} is not there, or not for this token (404{why})", self.base))
            }
            300..=399 => {
                Lost::Away(format!("{} answered {status}, and redirects are not followed", self.base))
            }
            _ => Lost::Away(format!("{} answered {status}{why}", self.base)),
        }
    }
}

/// The body in place of a stream: whatever comes of it.
async fn explanation(download: &mut Download) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = download.chunk().await {
        body.extend_from_slice(&piece);
    }
    body
}

/// The sentence of a problem (RFC 9457), if it is one.
fn detail(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    let problem: Problem = serde_json::from_slice(body).ok()?;
    Some(printable(&problem.detail))
}

/// Somebody else's words on one line of a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(DETAIL_CHARS_MAX).collect()
}

/// A company's events as they come.
pub(super) struct Stream {
    download: Download,
    parser: Parser,
}

impl Stream {
    /// Waits for the next frame. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The stream is over, see [`Lost`].
    pub(super) async fn next(&mut self) -> Result<Frame, Lost> {
        loop {
            if let Some(frame) = self.parser.next().map_err(|bad: Bad| Lost::Strange(bad.to_string()))? {
                return Ok(frame);
            }
            match timeout(SILENCE_MAX, self.download.chunk()).await {
                Ok(Ok(Some(piece))) => self.parser.push(piece),
                Ok(Ok(None)) => return Err(Lost::Away("the server ended the stream".to_owned())),
                Ok(Err(failure)) => return Err(Lost::Away(failure.detail)),
                Err(_) => {
                    let silence = SILENCE_MAX.as_secs();
                    return Err(Lost::Away(format!("the server has been silent for {silence} s")));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_in_one_printable_line() {
        assert_eq!(detail(br#"{"detail":"No\nsuch \u001b[31mthing"}"#).as_deref(), Some("Nosuch [31mthing"));
        assert_eq!(detail(b"<html>"), None);
        assert_eq!(printable(&"x".repeat(1000)).len(), DETAIL_CHARS_MAX);
    }
}
