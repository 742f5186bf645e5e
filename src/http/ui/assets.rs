//! The style sheet, the icon and the one script, part of the program. A file's URL has its hash, so that browsers keep
//! it for ever and still get a new one at once.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse as _;
use axum::routing::get;
use ring::digest::{SHA256, digest};

use crate::http::AppState;

const ICON: &str = include_str!("../../../static/icon.svg");
const STYLE: &str = include_str!("../../../static/ui.css");
const SCRIPT: &str = include_str!("../../../static/app.js");

/// Where the icon is.
pub(super) static ICON_URL: LazyLock<String> = LazyLock::new(|| versioned("/static/icon.svg", ICON));
/// Where the style sheet is.
pub(super) static STYLE_URL: LazyLock<String> = LazyLock::new(|| versioned("/static/ui.css", STYLE));
/// Where the script of the pages is.
pub(super) static SCRIPT_URL: LazyLock<String> = LazyLock::new(|| versioned("/static/app.js", SCRIPT));

pub(super) fn router() -> Router<AppState> {
    let file = |kind: &'static str, text: &'static str| {
        get(async move || {
            let for_ever = (CACHE_CONTROL, "public, max-age=31536000, immutable");
            ([(CONTENT_TYPE, kind), for_ever], text).into_response()
        })
    };
    Router::new()
        .route("/static/icon.svg", file("image/svg+xml", ICON))
        .route("/static/ui.css", file("text/css; charset=utf-8", STYLE))
        .route("/static/app.js", file("text/javascript; charset=utf-8", SCRIPT))
}

fn versioned(path: &str, text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    let start: String = hash.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{path}?v={start}")
}
