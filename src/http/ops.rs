//! What operators and their machines ask: is it alive, can it persist, what has it counted. No tenant's
//! data, so no token.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::time::Instant;

use super::AppState;
use crate::db::sql;
use crate::metrics::ShardLabels;
use crate::webhooks;

/// A database that takes longer to persist a row isn't ready.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// What waits to be delivered is counted this often at most, however often it is asked for: it takes a look at each
/// row that is pending.
const DEPTHS_EVERY: Duration = Duration::from_secs(10);

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
    read_depths(&state).await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], state.ctx.metrics.text())
}

/// Reads how much waits to be delivered, unless that was done just now. If it can't be read the old numbers stay.
async fn read_depths(state: &AppState) {
    let mut read_at = state.depths_at.lock().await;
    if read_at.is_some_and(|at| at.elapsed() < DEPTHS_EVERY) {
        return;
    }
    *read_at = Some(Instant::now());
    let (metrics, now) = (&state.ctx.metrics, state.ctx.clock.now());
    match webhooks::depths(&state.ctx.db).await {
        Ok(depths) => {
            let gauges =
                [&metrics.deliveries_pending, &metrics.deliveries_held, &metrics.deliveries_oldest_s];
            gauges.iter().for_each(|gauge| gauge.clear());
            for (shard, depth) in depths {
                let labels: ShardLabels =
                    shard.map(|shard| ("shard", shard.to_string())).into_iter().collect();
                let oldest = depth.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest)).as_secs();
                let oldest = i64::try_from(oldest).unwrap_or(i64::MAX);
                for (gauge, value) in gauges.iter().zip([depth.pending, depth.held, oldest]) {
                    gauge.get_or_create(&labels).set(value);
                }
            }
        }
        Err(error) => tracing::warn!(error = %error, "can't count what waits to be delivered"),
    }
}
