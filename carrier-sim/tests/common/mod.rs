//! What the tests share: a carrier at a high scale, and a customer's server that answers by path and remembers what it was
//! asked, with the signature checked.

// Every test file uses a part of this.
#![allow(dead_code)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use carrier_sim::{Args, DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN, Running, signature};
use serde_json::{Value, json};
use tokio::sync::watch;

/// The tracking number of the tests.
pub const NUMBER: &str = "+12705550142";
/// The caller of the tests: from Evansville, as the carrier's table has it.
pub const CALLER: &str = "+18125550177";
/// Where calls are sent.
pub const DESTINATION: &str = "+12703152766";

/// A request that the customer's server got.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    /// Path and query as they came.
    pub uri: String,
    pub params: Vec<(String, String)>,
    pub cookie: Option<String>,
    pub signature_is_valid: bool,
}

impl Asked {
    pub fn find(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("{} has no {name}: {:?}", self.uri, self.params))
    }
}

#[derive(Default)]
struct Answers {
    base_url: String,
    by_path: HashMap<String, (u16, String)>,
    asked: Vec<Asked>,
    auth_tokens: Vec<String>,
}

/// The customer's server.
#[derive(Clone)]
pub struct Customer {
    pub base_url: String,
    answers: Arc<Mutex<Answers>>,
    /// How many requests there were.
    count: Arc<watch::Sender<usize>>,
}

impl Customer {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::new(Mutex::new(Answers {
            base_url: base_url.clone(),
            auth_tokens: vec![DEFAULT_AUTH_TOKEN.to_owned()],
            ..Answers::default()
        }));
        let count = Arc::new(watch::Sender::new(0));
        let router = axum::Router::new().fallback(answer).with_state((answers.clone(), count.clone()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base_url, answers, count }
    }

    /// Waits until a path was asked for at least so often.
    pub async fn until_asked(&self, path: &str, times: usize) {
        let mut count = self.count.subscribe();
        count.wait_for(|_| self.all(path).len() >= times).await.unwrap();
    }

    /// What a path answers from now on; without this it is 204.
    pub fn answers(&self, path: &str, body: impl Into<String>) -> &Self {
        self.answers_with(path, 200, body)
    }

    pub fn answers_with(&self, path: &str, status: u16, body: impl Into<String>) -> &Self {
        let mut answers = self.answers.lock().unwrap();
        answers.by_path.insert(path.to_owned(), (status, body.into()));
        self
    }

    pub fn accepts_token(&self, token: &str) {
        let mut answers = self.answers.lock().unwrap();
        answers.auth_tokens.push(token.to_owned());
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.answers.lock().unwrap().asked.clone()
    }

    /// The paths asked for, in order; a leg's, call's or recording's status is added to its path.
    pub fn paths(&self) -> Vec<String> {
        self.asked()
            .iter()
            .map(|asked| match asked.path.as_str() {
                "/leg" | "/status" => format!("{}:{}", asked.path, asked.get("CallStatus")),
                "/recording" => format!("{}:{}", asked.path, asked.get("RecordingStatus")),
                path => path.to_owned(),
            })
            .collect()
    }

    /// The only request for a path.
    #[track_caller]
    pub fn the(&self, path: &str) -> Asked {
        let mut found = self.all(path);
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        found.remove(0)
    }

    pub fn all(&self, path: &str) -> Vec<Asked> {
        let mut asked = self.asked();
        asked.retain(|asked| asked.path == path);
        asked
    }

    #[track_caller]
    pub fn assert_all_signed(&self) {
        for asked in self.asked() {
            assert!(asked.signature_is_valid, "{asked:?}");
        }
    }
}

type Shared = (Arc<Mutex<Answers>>, Arc<watch::Sender<usize>>);

async fn answer(
    State((answers, count)): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut answers = answers.lock().unwrap();
    let url = format!("{}{uri}", answers.base_url);
    let params: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let given = header("x-twilio-signature").or_else(|| header("x-signalwire-signature"));
    let signature_is_valid =
        answers.auth_tokens.iter().any(|token| given == Some(signature::sign(token, &url, &params).as_str()));
    let query_params = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let query_params: Vec<_> = query_params.into_owned().collect();
    answers.asked.push(Asked {
        path: uri.path().to_owned(),
        uri: uri.to_string(),
        params: if method == Method::GET { query_params } else { params },
        cookie: header("cookie").map(str::to_owned),
        signature_is_valid,
    });
    let answer = answers.by_path.get(uri.path()).cloned();
    drop(answers);
    count.send_modify(|count| *count += 1);
    let Some((status, body)) = answer else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let status = StatusCode::from_u16(status).unwrap();
    let headers = [("content-type", "text/xml"), ("set-cookie", "c=1; Path=/")];
    if status.is_redirection() {
        return (status, [("location", body)]).into_response();
    }
    (status, headers, body).into_response()
}

/// A carrier and an HTTP client for its two ports.
pub struct Sim {
    pub running: Running,
    http: reqwest::Client,
}

/// An answer of the carrier.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the answer is JSON")
    }
}

impl Sim {
    pub async fn start() -> Self {
        Self::start_at(1000.0).await
    }

    pub async fn start_at(scale: f64) -> Self {
        let args = Args { scale, ..Args::default() };
        Self { running: carrier_sim::start(&args).await.unwrap(), http: reqwest::Client::new() }
    }

    /// A request to the control API.
    pub async fn control(&self, method: Method, path: &str, body: Value) -> Reply {
        let url = format!("http://{}{path}", self.running.control);
        let request = self.http.request(method, url);
        let request = request.header("content-type", "application/json");
        reply(request.body(body.to_string())).await
    }

    /// A request to the REST API of the first account, relative to it.
    pub async fn rest(&self, method: Method, resource: &str, form: &[(&str, &str)]) -> Reply {
        let account = (DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN);
        self.rest_of(account, "/2010-04-01", method, resource, form).await
    }

    /// A GET to the REST API of the first account.
    pub async fn get(&self, resource: &str) -> Reply {
        self.rest(Method::GET, resource, &[]).await
    }

    pub async fn rest_of(
        &self,
        (sid, token): (&str, &str),
        mount: &str,
        method: Method,
        resource: &str,
        form: &[(&str, &str)],
    ) -> Reply {
        let url = format!("http://{}{mount}/Accounts/{sid}/{resource}", self.running.listen);
        let mut request = self.http.request(method, url);
        request = request.basic_auth(sid, Some(token));
        if !form.is_empty() {
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
            request = request.body(body);
        }
        reply(request).await
    }

    /// A request with credentials and headers of the test's choice.
    pub async fn raw(&self, url: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = self.http.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        reply(request).await
    }

    /// Buys the tests' number, with all its hooks at the customer's server.
    pub async fn buy_number(&self, customer: &Customer) -> String {
        let url = |path: &str| format!("{}{path}", customer.base_url);
        let reply = self
            .rest(
                Method::POST,
                "IncomingPhoneNumbers.json",
                &[
                    ("PhoneNumber", NUMBER),
                    ("VoiceUrl", &url("/voice?a=A1&b=x%20y")),
                    ("VoiceFallbackUrl", &url("/fallback")),
                    ("StatusCallback", &url("/status?a=A1")),
                    ("SmsUrl", &url("/sms")),
                ],
            )
            .await;
        assert_eq!(reply.status, 201, "{}", reply.json());
        reply.json()["sid"].as_str().unwrap().to_owned()
    }

    /// Makes a call from the tests' caller and waits until nothing about it is left to do.
    pub async fn call(&self, more: Value) -> Value {
        let sid = self.start_call(more).await;
        self.settled(&sid).await
    }

    pub async fn start_call(&self, more: Value) -> String {
        let mut script = json!({"from": CALLER, "to": NUMBER});
        if let (Value::Object(script), Value::Object(more)) = (&mut script, more) {
            script.extend(more);
        }
        let reply = self.control(Method::POST, "/sim/calls", script).await;
        assert_eq!(reply.status, 201, "{}", reply.json());
        reply.json()["call_sid"].as_str().unwrap().to_owned()
    }

    pub async fn settled(&self, sid: &str) -> Value {
        let path = format!("/sim/calls/{sid}?wait=1");
        let call = self.control(Method::GET, &path, Value::Null).await.json();
        assert_eq!(call["settled"], true, "{call}");
        call
    }

    pub async fn fault(&self, fault: Value) {
        let reply = self.control(Method::POST, "/sim/faults", fault).await;
        assert_eq!(reply.status, 204, "{}", String::from_utf8_lossy(&reply.body));
    }
}

async fn reply(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    Reply {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.bytes().await.unwrap().to_vec(),
    }
}

/// The documents of a tracker: disclosure, whisper to accept, dual recording, voicemail.
pub fn serve_tracker(customer: &Customer) {
    customer
        .answers(
            "/voice",
            format!(
                r##"<?xml version="1.0" encoding="UTF-8"?>
<Response>
  <Say voice="Polly.Joanna-Neural">This call may be recorded for quality assurance.</Say>
  <Dial action="/dial-done?c=59179&amp;s=1" timeout="25" timeLimit="7200" record="record-from-answer-dual"
        recordingStatusCallback="/recording?c=59179" recordingStatusCallbackEvent="completed absent">
    <Number url="/whisper?c=59179" statusCallback="/leg?c=59179" statusCallbackEvent="initiated ringing answered completed">{DESTINATION}</Number>
  </Dial>
</Response>"##
            ),
        )
        .answers(
            "/whisper",
            r#"<Response><Gather numDigits="1" timeout="8" action="/accept?c=59179"><Say>Call from Startup Lister. Press 1 to accept.</Say></Gather><Hangup/></Response>"#,
        )
        .answers("/accept", "<Response/>")
        .answers("/dial-done", "<Response><Hangup/></Response>")
        .answers("/vm-done", "<Response><Hangup/></Response>");
}

/// What a Dial's action answers to let the caller leave a message.
pub const VOICEMAIL: &str = r##"<Response><Say>Please leave a message after the tone.</Say>
  <Record action="/vm-done?c=59179" maxLength="120" timeout="5" finishOnKey="#" playBeep="true"
    recordingStatusCallback="/recording?c=59179&amp;k=vm" transcribeCallback="/transcription?c=59179"/></Response>"##;

/// Dial first, so that the caller hears ringing and the call stays unanswered.
pub fn ringing_document() -> String {
    format!(
        r#"<Response><Dial answerOnBridge="true" action="/dial-done" timeout="25"><Number statusCallback="/leg" statusCallbackEvent="initiated ringing answered completed">{DESTINATION}</Number></Dial></Response>"#
    )
}
