//! Everything that is answered over HTTP, put together: which path leads where, and what holds for all
//! answers. The rules are in the nouns' modules; here is decoding, authorising, one call, encoding.

pub mod api;
pub mod openapi;
pub mod problem;

mod carrier;
mod client;
mod csv;
mod dni;
mod docs;
mod ops;
pub mod recordings;
pub mod ui;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use self::api::rate::Limits;
use crate::carriers::directory::Directory;
use crate::ctx::Ctx;
use crate::visits::beats::Beats;
use crate::visits::sites::Sites;

/// What all handlers share.
#[derive(Clone)]
pub struct AppState {
    pub ctx: Ctx,
    pub(crate) limits: Arc<Limits>,
    /// What each company's script may show.
    pub(crate) sites: Arc<Sites>,
    /// Signs of life of visits; writing them is the caller's business.
    pub beats: Arc<Beats>,
    /// Whose keeping fresh is the caller's business.
    pub directory: Arc<Directory>,
    /// Becomes true when the server shuts down: answers that would last end then.
    pub(crate) shutdown: watch::Receiver<bool>,
    /// When it was last read how much waits to be delivered.
    depths_at: Arc<Mutex<Option<Instant>>>,
}

impl AppState {
    /// `shutdown` becomes true when the server ends.
    pub fn new(ctx: Ctx, shutdown: watch::Receiver<bool>) -> AppState {
        let (limits, sites) = (
            Arc::new(Limits::new(ctx.config.api.rate_per_minute, ctx.config.visits)),
            Arc::new(Sites::new(&ctx)),
        );
        let (beats, directory) = (Arc::default(), Arc::default());
        AppState { ctx, limits, sites, beats, directory, shutdown, depths_at: Arc::default() }
    }
}

/// The whole server. To limit failed logins by address it wants
/// `into_make_service_with_connect_info::<SocketAddr>()`.
pub fn router(state: AppState) -> Router {
    Router::new()
        .merge(api::router())
        .merge(carrier::router())
        .merge(dni::router())
        .merge(recordings::router())
        .merge(docs::router())
        .merge(ops::router())
        .merge(ui::router())
        .fallback(problem::unknown_path)
        .method_not_allowed_fallback(problem::unknown_method)
        .layer(from_fn(for_all))
        .with_state(state)
}

/// What holds for every answer: a panic is a problem, and browsers are told to guess nothing. A page that
/// needs other headers sets its own.
async fn for_all(request: Request, next: Next) -> Response {
    let answered = problem::caught(async { Ok(next.run(request).await) }).await;
    let mut response = answered.unwrap_or_else(problem::Problem::into_response);
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
