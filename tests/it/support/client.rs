//! A client of the API. Every answer must be one that the OpenAPI document tells of.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder};
use serde_json::Value as Json;

use super::contract;

/// A client with one token.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    pub base: String,
    pub token: String,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// Null if the body isn't JSON.
    pub json: Json,
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// A problem of this type: the last part of its URI.
    #[track_caller]
    pub fn expect_problem(self, status: u16, slug: &str) -> Answer {
        assert_eq!(self.json["type"], format!("/problems/{slug}"), "{}", self.text);
        self.expect(status)
    }

    /// The fields that a problem names.
    pub fn fields(&self) -> Vec<String> {
        let errors = self.json["errors"].as_array().into_iter().flatten();
        errors.filter_map(|error| error["field"].as_str().map(str::to_owned)).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The ids of a page's rows.
    #[track_caller]
    pub fn ids(&self) -> Vec<i64> {
        let rows = self.json["data"].as_array().expect("it is a page");
        rows.iter().map(|row| row["id"].as_i64().expect("rows have ids")).collect()
    }
}

impl Api {
    pub fn new(base: &str, token: &str) -> Api {
        Api { http: reqwest::Client::new(), base: base.to_owned(), token: token.to_owned() }
    }

    pub fn with_token(&self, token: &str) -> Api {
        Api { token: token.to_owned(), ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Json) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn post_once(&self, path: &str, body: &Json, key: &str) -> Answer {
        let request = self.request(Method::POST, path).json(body).header("Idempotency-Key", key);
        self.send(request).await
    }

    pub async fn patch(&self, path: &str, body: &Json) -> Answer {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// A POST of bytes that may be no JSON.
    pub async fn post_text(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, path).header(CONTENT_TYPE, "application/json").body(body);
        self.send(request).await
    }

    /// All rows of a list, page by page.
    pub async fn list(&self, path: &str) -> Vec<Json> {
        let (mut rows, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}{after}")).await.expect(200);
            rows.extend(page.json["data"].as_array().expect("it is a page").iter().cloned());
            let Some(next) = page.json["next"].as_str() else { return rows };
            after = format!("&after={next}");
        }
    }

    /// A request under `/api/v1` with the token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.token)
    }

    /// A request under `/api/v1` without a token.
    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/api/v1{path}", self.base))
    }

    /// Sends a request and holds the answer against the document.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.expect("the server answers")
    }

    /// As [`Api::send`].
    ///
    /// # Errors
    /// The server went away, which it may have done before or after it acted.
    pub async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let request = request.build().expect("the test's request is well-formed");
        let method = request.method().clone();
        let path = request.url().path().to_owned();
        let sent: Json = request
            .body()
            .and_then(reqwest::Body::as_bytes)
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default();
        let response = self.http.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or_default();
        let answer = Answer { status, headers, text, json };
        contract::check(method.as_str(), &path, &sent, &answer);
        Ok(answer)
    }
}
