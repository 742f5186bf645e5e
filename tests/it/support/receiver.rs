//! A company's own server, as tests need it: a real HTTP server on loopback that does what it was told
//! and remembers every request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

/// What the receiver does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    Status(u16),
    /// A status and one header.
    With(u16, &'static str, String),
    /// 200, once it is notified.
    Held(Arc<Notify>),
    /// Never answers.
    Hang,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub headers: HashMap<String, String>,
    pub body: Bytes,
}

impl Arrived {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("bodies are JSON")
    }

    pub fn kind(&self) -> String {
        self.json()["type"].as_str().expect("bodies have a type").to_owned()
    }

    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }
}

struct Shared {
    arrived: Mutex<Vec<Arrived>>,
    count: watch::Sender<usize>,
    answer: Mutex<Answer>,
}

/// See the module.
pub struct Receiver {
    pub url: String,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Starts one that answers 200.
    pub async fn start() -> Receiver {
        Receiver::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// As [`Receiver::start`], where `listener` listens.
    pub fn on(listener: TcpListener) -> Receiver {
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            arrived: Mutex::default(),
            count: watch::Sender::new(0),
            answer: Mutex::new(Answer::Status(200)),
        });
        let app = Router::new().fallback(receive).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Receiver { url, shared }
    }

    /// From now on it answers so.
    pub fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    /// All requests so far.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.shared.arrived.lock().unwrap().clone()
    }

    /// Requests so far that aren't verifications.
    pub fn events(&self) -> Vec<Arrived> {
        self.arrived().into_iter().filter(|a| a.kind() != "webhook.verification").collect()
    }

    /// Waits until `n` requests have arrived, verifications included.
    pub async fn wait_for(&self, n: usize) -> Vec<Arrived> {
        self.wait_until(|arrived| arrived.len() >= n).await
    }

    /// Waits until `n` events have arrived.
    pub async fn wait_for_events(&self, n: usize) -> Vec<Arrived> {
        let is_event = |a: &&Arrived| a.kind() != "webhook.verification";
        self.wait_until(|arrived| arrived.iter().filter(is_event).count() >= n).await;
        self.events()
    }

    /// Waits for the first request that is `wanted`.
    pub async fn wait_for_one(&self, wanted: impl Fn(&Arrived) -> bool) -> Arrived {
        let arrived = self.wait_until(|arrived| arrived.iter().any(&wanted)).await;
        arrived.into_iter().find(wanted).expect("it is there")
    }

    /// Waits until what has arrived is `enough`.
    pub async fn wait_until(&self, enough: impl Fn(&[Arrived]) -> bool) -> Vec<Arrived> {
        let mut count = self.shared.count.subscribe();
        loop {
            let arrived = self.arrived();
            if enough(&arrived) {
                return arrived;
            }
            count.changed().await.expect("the receiver is running");
        }
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let headers = headers
        .iter()
        .map(|(k, v)| (k.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
        .collect();
    shared.arrived.lock().unwrap().push(Arrived { headers, body });
    shared.count.send_modify(|n| *n += 1);
    let answer = shared.answer.lock().unwrap().clone();
    let mut response = Response::new(Body::from("seen"));
    match answer {
        Answer::Status(status) => *response.status_mut() = StatusCode::from_u16(status).unwrap(),
        Answer::With(status, name, value) => {
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        Answer::Held(until) => until.notified().await,
        Answer::Hang => std::future::pending().await,
    }
    response
}
