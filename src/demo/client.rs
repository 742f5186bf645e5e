//! The demo as a user of the product: JSON requests to the REST API and to the simulated carrier's control.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value as Json;
use url::Url;

use crate::outbound::{Limits, Options, Outbound, Request, ResolverChoice};

/// A call's whole story is waited for, at the demo's speed.
const DEADLINE: Duration = Duration::from_secs(120);
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A way to the servers on this machine.
pub(super) fn outbound() -> anyhow::Result<Outbound> {
    Outbound::new(Options {
        allow: vec!["127.0.0.0/8".parse()?],
        roots: rustls::RootCertStore::empty(),
        resolver: ResolverChoice::System,
        user_agent: "CallTracker-demo".to_owned(),
    })
}

/// One server and what to say to it.
#[derive(Clone)]
pub(super) struct Client {
    outbound: Outbound,
    base: Url,
    authorization: Option<String>,
}

impl Client {
    pub(super) fn new(base: &str, token: Option<&str>) -> anyhow::Result<Client> {
        let outbound = outbound()?;
        let authorization = token.map(|token| format!("Bearer {token}"));
        Ok(Client { outbound, base: Url::parse(base)?, authorization })
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Json> {
        self.send(hyper::Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Json) -> anyhow::Result<Json> {
        self.send(hyper::Method::POST, path, Some(body)).await
    }

    async fn send(&self, method: hyper::Method, path: &str, body: Option<&Json>) -> anyhow::Result<Json> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(authorization)?);
        }
        let what = format!("{method} {path}");
        let body = body.map(|json| Bytes::from(json.to_string())).unwrap_or_default();
        let request = Request { method, url: self.base.join(path)?, headers, body };
        let limits =
            Limits { deadline: DEADLINE, read_bytes_max: ANSWER_BYTES_MAX, keep_bytes_max: ANSWER_BYTES_MAX };
        let answer = self.outbound.send(request, limits).await.with_context(|| what.clone())?;
        let text = String::from_utf8_lossy(&answer.body);
        if !(200..300).contains(&answer.status) {
            bail!("{what} was answered with {}: {text}", answer.status);
        }
        if text.is_empty() {
            return Ok(Json::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("{what}: the answer isn't JSON"))
    }
}
