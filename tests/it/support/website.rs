//! A company's website: the pages in `tests/it/pages`, on an origin of its own, with the script's tag in them.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;

/// Where a page wants the tag.
const PLACEHOLDER: &str = "TAG";

#[derive(Clone, Default)]
struct Settings {
    tag: String,
    policy: Option<String>,
}

/// See the module.
pub struct Website {
    pub url: String,
    settings: Arc<Mutex<Settings>>,
}

impl Website {
    pub async fn start(tag: &str) -> Website {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let settings = Settings { tag: tag.to_owned(), policy: None };
        let settings = Arc::new(Mutex::new(settings));
        let app = Router::new().fallback(serve).with_state(settings.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Website { url, settings }
    }

    /// The URL of a page.
    pub fn page(&self, name: &str) -> String {
        format!("{}/{name}", self.url)
    }

    /// Has another tag in the pages.
    pub fn put(&self, tag: &str) {
        tag.clone_into(&mut self.settings.lock().unwrap().tag);
    }

    /// Sends this content security policy with everything.
    pub fn restrict(&self, policy: &str) {
        self.settings.lock().unwrap().policy = Some(policy.to_owned());
    }
}

async fn serve(State(settings): State<Arc<Mutex<Settings>>>, uri: Uri) -> Response {
    let settings = settings.lock().unwrap().clone();
    let name = uri.path().trim_start_matches('/');
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/pages").join(name);
    let Ok(text) = std::fs::read_to_string(&path) else { return StatusCode::NOT_FOUND.into_response() };
    let html = path.extension().is_some_and(|e| e == "html");
    let kind = if html { "text/html" } else { "text/javascript" };
    let text = if html { text.replacen(PLACEHOLDER, &settings.tag, 1) } else { text };
    let mut response = ([(CONTENT_TYPE, kind)], text).into_response();
    if let Some(policy) = settings.policy {
        let policy = HeaderValue::from_str(&policy).expect("policies are ASCII");
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
