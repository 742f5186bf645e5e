//! What operators and their machines ask: is it alive, can it persist, what has it counted. No tenant's
//! data, so no token.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::AppState;
use crate::db::sql;

/// A database that takes longer to persist a row isn't ready.
const READY_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

/// 200 if a row can be written and is on disk, else 503. Not while shutting down either, so that a load
/// balancer sends its requests elsewhere.
async fn ready(State(state): State<AppState>) -> impl IntoResponse {
    if *state.shutdown.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
    }
    let write = state.ctx.db.write("ops.ready", |tx| {
        let statement = "insert into readiness (id, checked_at) values (1, ?)
                         on conflict (id) do update set checked_at = excluded.checked_at";
        let now = tx.now();
        tx.execute(sql(statement).bind(now)).map(drop)
    });
    match tokio::time::timeout(READY_WITHIN, write).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n"),
        Ok(Err(_)) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database can't persist\n"),
    }
}

async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], state.ctx.metrics.text())
}
