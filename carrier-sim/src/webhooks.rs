//! The carrier's HTTP client towards the customer's server: one per call or message, as cookies are kept that long.
//! Decides signature, deadline, redirects, retries and what a failure is called; not what is asked or what the answer
//! means.
//!
//! Habits of the real one (<https://www.twilio.com/docs/usage/webhooks>): 15 s in all, up to 10 redirects, a redirect by
//! 301 to 303 becomes a GET without parameters, nothing is retried unless the URL's fragment asks for it (`#rc=2`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::cookie::{CookieStore as _, Jar};
use reqwest::header::{ACCEPT, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE, USER_AGENT};
use url::Url;

use crate::account::Account;
use crate::connection_overrides::{ConnectionOverrides, FailureKind};
use crate::faults::{FaultAction, Hook};
use crate::signature;
use crate::state::Carrier;
use crate::trace::{Happening, Subject, WebhookExchange};
use crate::twiml::Method;

/// Form parameters in the order they are sent.
pub type Params = Vec<(String, String)>;

/// For a request with all its redirects, in real time: a slow server is slow at any scale.
const DEADLINE: Duration = Duration::from_secs(15);
const REDIRECTS_MAX: u32 = 10;
/// Of a TwiML document or an answer to a callback.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Of the media of a Play.
const MEDIA_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The requests about one call or message.
#[derive(Debug)]
pub struct Webhooks {
    carrier: Arc<Carrier>,
    account: Account,
    subject_sid: String,
    cookies: Jar,
    /// A callback that a fault puts after the next request.
    held: Option<Request>,
}

/// What to ask.
#[derive(Clone, Debug)]
pub struct Request {
    pub hook: Hook,
    /// The leg it is about.
    pub leg_sid: Option<String>,
    /// As the customer configured it: the signature is over exactly this text.
    pub url: String,
    pub method: Method,
    pub params: Params,
}

/// A successful answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// After redirects: relative URLs in the document are relative to this.
    pub url: String,
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
    /// Real time.
    pub waited: Duration,
}

/// Why there is no usable answer, with the carrier's error code.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct WebhookError {
    pub code: u32,
    pub text: String,
    pub waited: Duration,
    /// The answer's status, where there was one.
    pub status: Option<u16>,
    pub body: Vec<u8>,
}

/// One request and its answer, without redirects.
struct Hop {
    status: u16,
    location: Option<String>,
    content_type: String,
    body: Vec<u8>,
}

/// A failure within a hop.
struct Failure {
    code: u32,
    text: String,
    is_connect: bool,
    status: Option<u16>,
    body: Vec<u8>,
}

impl Webhooks {
    pub fn new(carrier: Arc<Carrier>, account: Account, subject_sid: String) -> Self {
        Self { carrier, account, subject_sid, cookies: Jar::default(), held: None }
    }

    /// Asks for something the carrier has to obey.
    pub async fn fetch(&mut self, request: Request) -> Result<Answer, WebhookError> {
        let fault = self.take_fault(&request);
        let answer = match fault {
            Some(FaultAction::Drop) => Err(WebhookError {
                code: 11_200,
                text: "the request was dropped by a fault".to_owned(),
                waited: Duration::ZERO,
                status: None,
                body: Vec::new(),
            }),
            Some(FaultAction::Duplicate) => {
                let answer = self.send(&request, false).await;
                // The second answer comes too late to be obeyed.
                let _ignored = self.send(&request, false).await;
                answer
            }
            Some(FaultAction::BadSignature) => self.send(&request, true).await,
            // Nothing can overtake a request whose answer is awaited; the control API refuses this fault.
            Some(FaultAction::SwapWithNext) | None => self.send(&request, false).await,
        };
        if let Err(error) = &answer {
            let text = format!("{} {}: {}", request.hook.word(), request.url, error.text);
            self.warn(request.leg_sid.as_deref(), error.code, text);
        }
        self.release_held().await;
        answer
    }

    /// Tells something; the answer makes no difference.
    pub async fn notify(&mut self, request: Request) {
        match self.take_fault(&request) {
            Some(FaultAction::Drop) => {}
            Some(FaultAction::SwapWithNext) if self.held.is_none() => {
                self.held = Some(request);
                return;
            }
            Some(FaultAction::Duplicate) => {
                self.post(&request, false).await;
                self.post(&request, false).await;
            }
            Some(FaultAction::BadSignature) => self.post(&request, true).await,
            Some(FaultAction::SwapWithNext) | None => self.post(&request, false).await,
        }
        self.release_held().await;
    }

    /// Sends a callback that was waiting for a next one.
    pub async fn release_held(&mut self) {
        if let Some(request) = self.held.take() {
            self.post(&request, false).await;
        }
    }

    async fn post(&self, request: &Request, bad_signature: bool) {
        if let Err(error) = self.send(request, bad_signature).await {
            let text = format!("{} {}: {}", request.hook.word(), request.url, error.text);
            self.warn(request.leg_sid.as_deref(), error.code, text);
        }
    }

    async fn send(&self, request: &Request, bad_signature: bool) -> Result<Answer, WebhookError> {
        let overrides = ConnectionOverrides::of_url(&request.url);
        let token = self.carrier.sids.next_uuid();
        let mut attempt = 0;
        let started = Instant::now();
        loop {
            let failure = match self.follow(request, &token, bad_signature).await {
                Ok(mut answer) => {
                    answer.waited = started.elapsed();
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            if attempt >= overrides.retries || !overrides.retries_after(failure.kind()) {
                return Err(WebhookError {
                    code: failure.code,
                    text: failure.text,
                    waited: started.elapsed(),
                    status: failure.status,
                    body: failure.body,
                });
            }
            attempt += 1;
        }
    }

    /// One attempt, redirects included.
    async fn follow(&self, request: &Request, token: &str, bad_signature: bool) -> Result<Answer, Failure> {
        let started = Instant::now();
        let mut request = request.clone();
        for _redirect in 0..=REDIRECTS_MAX {
            let left = DEADLINE.saturating_sub(started.elapsed());
            let sent = Instant::now();
            let hop = tokio::time::timeout(left, self.hop(&request, token, bad_signature))
                .await
                .unwrap_or_else(|_elapsed| Err(Failure::timeout()));
            self.trace(&request, &hop, sent.elapsed());
            let hop = hop?;
            let Some(location) = hop.location else {
                return hop.into_answer(without_fragment(&request.url));
            };
            request.url = resolve(&request.url, &location)
                .ok_or_else(|| Failure::new(11_200, format!("redirected to {location:?}")))?;
            if !matches!(hop.status, 307 | 308) {
                request.method = Method::Get;
                request.params.clear();
            }
        }
        Err(Failure::new(11_215, "too many redirects".to_owned()))
    }

    async fn hop(&self, request: &Request, token: &str, bad_signature: bool) -> Result<Hop, Failure> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&request.params).finish();
        let base = signature::without_fragment(&request.url);
        let (url, signed_params) = match request.method {
            Method::Post => (base.to_owned(), request.params.as_slice()),
            Method::Get if form.is_empty() => (base.to_owned(), [].as_slice()),
            Method::Get => {
                let separator = if base.contains('?') { '&' } else { '?' };
                (format!("{base}{separator}{form}"), [].as_slice())
            }
        };
        let target = Url::parse(&url)
            .map_err(|error| Failure::new(11_100, format!("the URL is not valid: {error}")))?;
        let key = if bad_signature { "not the auth token" } else { &self.account.auth_token };
        let mut builder = match request.method {
            Method::Get => self.carrier.http.get(target.clone()),
            Method::Post => self
                .carrier
                .http
                .post(target.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=UTF-8")
                .body(form),
        };
        builder = builder
            .header(USER_AGENT, self.account.kind.user_agent())
            .header(ACCEPT, "*/*")
            .header("I-Twilio-Idempotency-Token", token)
            .header(self.account.kind.signature_header(), signature::sign(key, &url, signed_params));
        if let Some(cookies) = self.cookies.cookies(&target) {
            builder = builder.header(COOKIE, cookies);
        }
        let response = builder.send().await.map_err(Failure::transport)?;
        let set_cookies = response.headers().get_all(SET_COOKIE);
        self.cookies.set_cookies(&mut set_cookies.iter(), &target);
        Hop::read(response, body_limit(request.hook)).await
    }

    fn take_fault(&self, request: &Request) -> Option<FaultAction> {
        let status = ["RecordingStatus", "MessageStatus", "TranscriptionStatus", "CallStatus"]
            .into_iter()
            .find_map(|name| find_param(&request.params, name));
        let action = self.carrier.faults.take_callback(request.hook, status)?;
        let happening =
            Happening::Fault { callback: request.hook.word().to_owned(), action: action.word().to_owned() };
        self.carrier.record(self.subject(request.leg_sid.as_deref()), happening);
        Some(action)
    }

    fn trace(&self, request: &Request, hop: &Result<Hop, Failure>, took: Duration) {
        let (status, body, error) = match hop {
            Ok(hop) => (Some(hop.status), hop.body.as_slice(), None),
            Err(failure) => (failure.status, failure.body.as_slice(), Some(failure.text.clone())),
        };
        let body = if request.hook == Hook::Play {
            String::new()
        } else {
            String::from_utf8_lossy(body).into_owned()
        };
        let exchange = WebhookExchange {
            hook: request.hook.word().to_owned(),
            method: request.method.word().to_owned(),
            url: request.url.clone(),
            params: request.params.clone(),
            status,
            body,
            error,
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        self.carrier.record(self.subject(request.leg_sid.as_deref()), Happening::Webhook(exchange));
    }

    fn warn(&self, leg_sid: Option<&str>, code: u32, text: String) {
        self.carrier.warn(self.subject(leg_sid), code, text);
    }

    fn subject<'a>(&'a self, leg_sid: Option<&'a str>) -> Subject<'a> {
        Subject { sid: Some(&self.subject_sid), leg_sid }
    }
}

impl Hop {
    async fn read(mut response: reqwest::Response, limit: usize) -> Result<Self, Failure> {
        let header =
            |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let location = header(LOCATION).filter(|_| (300..400).contains(&status));
        let content_type = header(CONTENT_TYPE).unwrap_or_default();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(Failure::transport)? {
            if body.len() + chunk.len() > limit {
                let text = format!("the answer is longer than {limit} bytes");
                return Err(Failure { status: Some(status), ..Failure::new(11_750, text) });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self { status, location, content_type, body })
    }

    fn into_answer(self, url: &str) -> Result<Answer, Failure> {
        if !(200..300).contains(&self.status) {
            return Err(Failure {
                status: Some(self.status),
                body: self.body,
                ..Failure::new(11_200, format!("answered with status {}", self.status))
            });
        }
        Ok(Answer {
            url: url.to_owned(),
            status: self.status,
            content_type: self.content_type,
            body: self.body,
            waited: Duration::ZERO,
        })
    }
}

impl Failure {
    fn kind(&self) -> FailureKind {
        match self.status {
            Some(status) => FailureKind::Status(status),
            None if self.is_connect => FailureKind::Connect,
            None => FailureKind::Read,
        }
    }

    fn new(code: u32, text: String) -> Self {
        Self { code, text, is_connect: false, status: None, body: Vec::new() }
    }

    fn timeout() -> Self {
        Self::new(11_200, format!("no answer within {} s", DEADLINE.as_secs()))
    }

    fn transport(error: reqwest::Error) -> Self {
        let is_connect = error.is_connect();
        Self { is_connect, ..Self::new(if is_connect { 11_205 } else { 11_200 }, format!("{error:?}")) }
    }
}

/// A parameter's value.
pub fn find_param<'a>(params: &'a Params, name: &str) -> Option<&'a str> {
    params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// A URL in a document, relative to the document's; an absolute one stays exactly as it is written.
pub fn resolve(base: &str, url: &str) -> Option<String> {
    if Url::parse(url).is_ok() {
        return Some(url.to_owned());
    }
    Url::parse(base).ok()?.join(url).ok().map(|url| url.to_string())
}

fn without_fragment(url: &str) -> &str {
    signature::without_fragment(url)
}

fn body_limit(hook: Hook) -> usize {
    if hook == Hook::Play { MEDIA_BYTES_MAX } else { BODY_BYTES_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_urls_resolve_and_absolute_ones_stay_as_written() {
        let base = "http://127.0.0.1:1/a/voice?c=1";
        for (url, resolved) in [
            ("/b?x=1&y=2", "http://127.0.0.1:1/b?x=1&y=2"),
            ("dial", "http://127.0.0.1:1/a/dial"),
            ("http://Example.test?q", "http://Example.test?q"),
        ] {
            assert_eq!(resolve(base, url).as_deref(), Some(resolved));
        }
    }
}
