//! Audio, in whole or in parts: for the API, and for the links that events and objects carry, which work
//! for whoever has one.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::response::Response;
use axum::routing::get;
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

use super::AppState;
use super::problem::{Kind, Problem};
use crate::ctx::Ctx;
use crate::recordings::link::{Links, Refused};
use crate::recordings::{self, Recording, State as RecordingState, files::Folder};

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/recordings/{file}", get(linked))
}

/// The query of a link; both parts are "" if they aren't there, which no signature fits.
#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Signed {
    expires: String,
    signature: String,
}

async fn linked(
    State(AppState { ctx, .. }): State<AppState>,
    Path(file): Path<String>,
    Query(signed): Query<Signed>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let checked = Links::of(&ctx).check(&file, &signed.expires, &signed.signature, ctx.clock.now());
    let (id, _) = checked.map_err(|refused| match refused {
        Refused::Forged | Refused::Expired => Problem::new(Kind::Forbidden, refused.to_string()),
    })?;
    let found = ctx.db.read("recordings.find", move |tx| recordings::find(tx, id)).await?;
    serve(&ctx, found, &headers).await
}

/// The audio of a recording, or the part that `Range` asks for.
///
/// # Errors
/// There is none, or not that part of it.
pub(super) async fn serve(
    ctx: &Ctx,
    recording: Option<Recording>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let kept = recording.filter(|recording| recording.state == RecordingState::Stored);
    let recording = kept.ok_or_else(Problem::not_found)?;
    let format = recording.format.ok_or_else(Problem::not_found)?;
    // A recording never changes, so no other conditions than the range matter.
    let mut request = Request::new(Body::empty());
    if let Some(range) = headers.get(RANGE) {
        request.headers_mut().insert(RANGE, range.clone());
    }
    let path = Folder::below(&ctx.config.data).path_of(&recording);
    let Ok(served) = ServeFile::new(&path).oneshot(request).await;
    match served.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => {}
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let problem = Problem::new(Kind::RangeNotSatisfiable, "The recording has no such part");
            let length = served.headers().get(CONTENT_RANGE).cloned();
            return Err(length
                .into_iter()
                .fold(problem, |problem, value| problem.with_header(CONTENT_RANGE, value)));
        }
        status => {
            let cause = format!("the file of recording {} can't be read ({status})", recording.id);
            return Err(Problem::internal(cause));
        }
    }
    let (mut parts, body) = served.into_parts();
    let name = format!("inline; filename=\"{}.{}\"", recording.id, format.extension());
    for (header, value) in [
        (CONTENT_TYPE, HeaderValue::from_static(format.content_type())),
        (CONTENT_DISPOSITION, HeaderValue::try_from(name).expect("a number and an ending are visible ASCII")),
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600")),
    ] {
        parts.headers.insert(header, value);
    }
    Ok(Response::from_parts(parts, Body::new(body)))
}
