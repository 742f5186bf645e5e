//! What people read: the API's document, the pages that show it, and a page for each type of problem.
//! The pages are Redoc, which is part of this program (`static/redoc`): nothing is loaded from elsewhere,
//! and the content security policy sees to it.

use axum::Router;
use axum::extract::Path;
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::problem::{Kind, unknown_path};
use super::{AppState, openapi};

/// Redoc's version is in the path, so that the file can be cached for ever.
const SCRIPT_PATH: &str = "/api/v1/docs/redoc-2.5.4.js";
/// Compressed already: every browser that runs Redoc takes gzip, and so it is sent to all.
const SCRIPT: &[u8] = include_bytes!("../../static/redoc/redoc.standalone.js.gz");

/// Redoc makes its styles while it runs and searches in a worker that it makes of a blob. The image is the
/// one thing that it would load from its makers.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Call Tracker API</title>
<style>body { margin: 0 } img[src^="https://cdn.redoc.ly/"] { display: none }</style>
</head>
<body>
<redoc spec-url="/api/v1/openapi.json"></redoc>
<noscript>These pages need JavaScript. The document itself: <a href="/api/v1/openapi.json">openapi.json</a></noscript>
<script src="/api/v1/docs/redoc-2.5.4.js"></script>
</body>
</html>
"#;

const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; worker-src blob:; child-src blob:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FOR_EVER: (HeaderName, &str) = (CACHE_CONTROL, "public, max-age=31536000, immutable");
const ASK_AGAIN: (HeaderName, &str) = (CACHE_CONTROL, "no-cache");

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/api/v1/openapi.json", get(document))
        .route("/api/v1/docs", get(page))
        .route(SCRIPT_PATH, get(script))
        .route("/problems/{slug}", get(problem))
}

async fn document() -> Response {
    ([ASK_AGAIN, (CONTENT_TYPE, "application/json")], openapi::text()).into_response()
}

async fn page() -> Response {
    let headers =
        [ASK_AGAIN, (CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, PAGE_POLICY)];
    (headers, PAGE).into_response()
}

async fn script() -> Response {
    let headers = [FOR_EVER, (CONTENT_TYPE, "text/javascript; charset=utf-8"), (CONTENT_ENCODING, "gzip")];
    (headers, SCRIPT).into_response()
}

/// Where a problem's `type` leads a person.
async fn problem(Path(slug): Path<String>) -> Response {
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.uri().ends_with(&format!("/{slug}"))) else {
        return unknown_path().await.into_response();
    };
    let text = format!("{}\n\n{} ({})\n{}\n", kind.uri(), kind.title(), kind.status(), kind.advice());
    ([ASK_AGAIN, (CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}
