//! Plays the tracking server: it hands out the real scripts, answers them what the test says, and remembers what
//! they asked. For what the real server does only after hours, or never.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::PATIENCE;

pub const TRACKER_JS: &str = include_str!("../../../snippet/tracker.js");
pub const DEBUG_JS: &str = include_str!("../../../snippet/debug.js");

/// What the script asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// `session`, `page` or `heartbeat`.
    pub what: String,
    pub site_key: String,
    /// Must not need a preflight.
    pub content_type: String,
    pub body: Json,
}

/// How questions are answered.
#[derive(Clone, Copy, PartialEq)]
pub enum Mood {
    Answers,
    Fails,
    /// Never answers.
    Hangs,
}

type Swaps = Box<dyn Fn(&Question) -> Json + Send>;

struct Script {
    mood: Mood,
    swaps: Swaps,
    debug: Json,
    heartbeat_s: u64,
    renew: bool,
}

struct Shared {
    script: Mutex<Script>,
    questions: watch::Sender<Vec<Question>>,
}

/// See the module.
pub struct Prompter {
    pub url: String,
    shared: Arc<Shared>,
}

impl Prompter {
    /// Starts one that has no numbers.
    pub async fn start() -> Prompter {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Script {
            mood: Mood::Answers,
            swaps: Box::new(|_| json!([])),
            debug: Json::Null,
            heartbeat_s: 60,
            renew: false,
        };
        let shared = Arc::new(Shared { script: Mutex::new(script), questions: watch::Sender::default() });
        let app = Router::new().route("/dni/{key}/{what}", get(file).post(answer)).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Prompter { url, shared }
    }

    /// The tag of a site.
    pub fn tag(&self, site_key: &str, attributes: &str) -> String {
        format!(r#"<script async src="{}/dni/{site_key}/tracker.js" {attributes}></script>"#, self.url)
    }

    /// From now on these numbers are shown.
    pub fn swap(&self, swaps: Json) {
        self.swap_by(move |_| swaps.clone());
    }

    /// As [`Prompter::swap`], by what is asked.
    pub fn swap_by(&self, swaps: impl Fn(&Question) -> Json + Send + 'static) {
        self.shared.script.lock().unwrap().swaps = Box::new(swaps);
    }

    pub fn be(&self, mood: Mood) {
        self.shared.script.lock().unwrap().mood = mood;
    }

    /// Wants a heartbeat that often.
    pub fn listen_each(&self, heartbeat_s: u64) {
        self.shared.script.lock().unwrap().heartbeat_s = heartbeat_s;
    }

    /// Answers the next heartbeat that the session is over.
    pub fn end_session(&self) {
        self.shared.script.lock().unwrap().renew = true;
    }

    /// Explains itself to whoever brings a token.
    pub fn explain(&self, debug: Json) {
        self.shared.script.lock().unwrap().debug = debug;
    }

    /// What was asked so far, of one kind.
    pub fn asked(&self, what: &str) -> Vec<Question> {
        self.shared.questions.borrow().iter().filter(|q| q.what == what).cloned().collect()
    }

    /// Waits until so much of one kind was asked.
    pub async fn wait_for(&self, what: &str, count: usize) -> Vec<Question> {
        let mut questions = self.shared.questions.subscribe();
        let enough = |all: &Vec<Question>| all.iter().filter(|q| q.what == what).count() >= count;
        let waited = tokio::time::timeout(PATIENCE, questions.wait_for(enough)).await;
        assert!(waited.is_ok(), "{count} times {what}: {:?}", self.asked(what));
        drop(waited);
        self.asked(what)
    }
}

async fn file(Path((_, name)): Path<(String, String)>) -> Response {
    let text = match name.as_str() {
        "debug.js" => DEBUG_JS,
        _ if name.starts_with("tracker") => TRACKER_JS,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    open(([(CONTENT_TYPE, "text/javascript; charset=utf-8")], text).into_response())
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path((site_key, what)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let content_type = headers.get(CONTENT_TYPE).map_or("", |v| v.to_str().unwrap()).to_owned();
    let body = serde_json::from_slice(&body).expect("the script sends JSON");
    let question = Question { what, site_key, content_type, body };
    let mut number = 0;
    shared.questions.send_modify(|all| {
        all.push(question.clone());
        number = all.len();
    });
    let mood = shared.script.lock().unwrap().mood;
    match mood {
        Mood::Answers => {}
        Mood::Fails => return open(StatusCode::SERVICE_UNAVAILABLE.into_response()),
        Mood::Hangs => return std::future::pending().await,
    }
    let mut script = shared.script.lock().unwrap();
    let answer = match question.what.as_str() {
        "session" => session(&script, &question, number),
        "heartbeat" if std::mem::take(&mut script.renew) => json!({"renew": true}),
        _ => return open(StatusCode::NO_CONTENT.into_response()),
    };
    open(axum::Json(answer).into_response())
}

/// Without consent nobody gets a token.
fn session(script: &Script, question: &Question, number: usize) -> Json {
    let token = |name: &str| match (question.body["consent"] == true, question.body[name].as_str()) {
        (true, Some("") | None) => format!("{name}.{number}_-"),
        (true, Some(known)) => known.to_owned(),
        (false, _) => String::new(),
    };
    let mut answer = json!({
        "visitor": token("visitor"), "session": token("session"), "days": 30, "heartbeat": script.heartbeat_s,
        "swaps": (script.swaps)(question),
    });
    if question.body["debug"] != "" && !script.debug.is_null() {
        answer["debug"] = script.debug.clone();
    }
    answer
}

/// Any site may read it.
fn open(mut response: Response) -> Response {
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
