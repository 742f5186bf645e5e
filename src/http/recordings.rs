//! Recordings as audio: the public link, which works for whoever has it until it expires, and [`serve`] for
//! the API. Ranges are served, because players seek.

use std::path::Path as FilePath;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tower_http::services::ServeFile;

use super::AppState;
use super::problem::Problem;
use crate::ctx::Ctx;
use crate::recordings::files::Folder;
use crate::recordings::link::{Links, Refused};
use crate::recordings::{self, Format, Recording};

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/recordings/{file}", get(linked))
}

#[derive(serde::Deserialize)]
struct Signed {
    #[serde(default)]
    expires: String,
    #[serde(default)]
    signature: String,
}

/// A recording by its signed link. HEAD too.
async fn linked(
    State(state): State<AppState>,
    Path(file): Path<String>,
    Query(signed): Query<Signed>,
    request: Request,
) -> Result<Response, Problem> {
    let ctx = &state.ctx;
    let checked = Links::of(ctx).check(&file, &signed.expires, &signed.signature, ctx.clock.now());
    let id = match checked {
        Ok((id, _)) => id,
        // For a person who clicked on it, so not a problem in JSON.
        Err(Refused::Forged) => {
            return Ok((StatusCode::FORBIDDEN, "This link is not valid.\n").into_response());
        }
        Err(Refused::Expired) => {
            return Ok(
                (StatusCode::GONE, "This link has expired. The API gives out a new one.\n").into_response()
            );
        }
    };
    let found = ctx.db.read("recordings.find", move |tx| recordings::find(tx, id)).await?;
    let recording = found.ok_or_else(Problem::not_found)?;
    serve(ctx, &recording, request.method(), request.headers()).await
}

/// A stored recording's audio, or the range of it that was asked for.
///
/// # Errors
/// If the audio isn't there.
pub async fn serve(
    ctx: &Ctx,
    recording: &Recording,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let stored = recording.state == recordings::State::Stored;
    let Some(format) = recording.format.filter(|_| stored) else { return Err(Problem::not_found()) };
    let path = Folder::below(&ctx.config.data).path_of(recording);
    let mut headers = headers.clone();
    if let Some(condition) = headers.remove(IF_RANGE)
        && !is_current(&path, format, &condition).await
    {
        headers.remove(RANGE);
    }
    let mut response = read(&path, format, method.clone(), headers).await;
    if response.status() == StatusCode::NOT_FOUND {
        tracing::error!(recording.id = %recording.id, "a recording's file is missing");
        return Err(Problem::not_found());
    }
    // Neither shared caches nor the browser's history may keep a conversation for others.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    Ok(response)
}

/// Whether the file is still the one that an `If-Range` means (RFC 9110, 13.1.5).
async fn is_current(path: &FilePath, format: Format, condition: &HeaderValue) -> bool {
    let head = read(path, format, Method::HEAD, HeaderMap::new()).await;
    [ETAG, LAST_MODIFIED].into_iter().any(|name| head.headers().get(name) == Some(condition))
}

async fn read(path: &FilePath, format: Format, method: Method, headers: HeaderMap) -> Response {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.headers_mut() = headers;
    let mut files = ServeFile::new(path);
    // The type is what the audio was found to be.
    let response = match files.try_call(request).await {
        Ok(response) => response.map(Body::new),
        Err(_) => return StatusCode::NOT_FOUND.into_response(),
    };
    let (mut parts, body) = response.into_parts();
    if parts.headers.contains_key(CONTENT_TYPE) {
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    }
    Response::from_parts(parts, body)
}
