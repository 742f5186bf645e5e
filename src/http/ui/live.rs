//! Telling pages that something happened, as server-sent events: a page that lists what comes by itself asks for its list
//! again when it hears of it. What is told is only that, so nothing has to be kept for a page that isn't there.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse as _;
use futures_util::stream::{Stream, unfold};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::error::PageError;
use super::gate::{self, Answer, Request};
use crate::companies::Scope;
use crate::ctx::Ctx;
use crate::db::Wake;
use crate::events;
use crate::http::AppState;

/// Pages that listen at a time, of all users together.
const LISTENERS_MAX: usize = 1_000;
/// A stream ends after this; browsers come again by themselves, and then it is asked anew whether they may.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Something is sent this often, so that nothing between us and the browser takes the stream for dead.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// However much happens, a page is told so often at most: each time costs a read and the page itself.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// On several processes the one that we are isn't woken by what happens at another.
const LOOK_EVERY: Duration = Duration::from_secs(3);

pub(super) fn router() -> Router<AppState> {
    let listeners = Arc::new(Semaphore::new(LISTENERS_MAX));
    let listen = gate::page(move |request| listen(request, listeners.clone()));
    Router::new().route("/companies/{company_id}/live", listen)
}

async fn listen(request: Request, listeners: Arc<Semaphore>) -> Answer {
    let busy = |_| PageError::Busy("too many pages listen".to_owned());
    let place = listeners.try_acquire_owned().map_err(busy)?;
    let (ctx, scope) = (request.ctx.clone(), request.scope());
    // Before the log is read, so that nothing falls between.
    let woken = ctx.db.wakes().subscribe(Wake::Events);
    let last = events::last_id(&ctx.db, scope).await?;
    let now = Instant::now();
    let listener = Listener {
        shutdown: request.shutdown(),
        ctx,
        scope,
        woken,
        last,
        until: now + LIFETIME,
        looked_at: now,
        quiet_since: now - HEARTBEAT,
        _place: place,
    };
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(listener.stream())).into_response())
}

struct Listener {
    ctx: Ctx,
    scope: Scope,
    woken: watch::Receiver<u64>,
    shutdown: watch::Receiver<bool>,
    /// The company's last event that the page was told of.
    last: i64,
    until: Instant,
    looked_at: Instant,
    quiet_since: Instant,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        unfold(self, |mut listener| async move {
            let bytes = listener.next().await?;
            listener.quiet_since = Instant::now();
            Some((Ok(Bytes::from_static(bytes)), listener))
        })
    }

    /// What is sent next; None at the end.
    async fn next(&mut self) -> Option<&'static [u8]> {
        loop {
            if *self.shutdown.borrow() || Instant::now() >= self.until {
                return None;
            }
            self.looked_at = Instant::now();
            // A database that doesn't answer ends the stream: the browser comes again.
            let last = events::last_id(&self.ctx.db, self.scope).await.ok()?;
            if last > self.last {
                self.last = last;
                return Some(b"event: changed\ndata:\n\n");
            }
            if self.quiet_since.elapsed() >= HEARTBEAT {
                return Some(b": still here\n\n");
            }
            let woken = async {
                let told = self.looked_at + TELL_EVERY;
                let _ = self.woken.changed().await;
                tokio::time::sleep_until(told).await;
            };
            let until_heartbeat = HEARTBEAT.saturating_sub(self.quiet_since.elapsed());
            let is_shared = self.ctx.db.is_shared();
            let sleep = if is_shared { until_heartbeat.min(LOOK_EVERY) } else { until_heartbeat };
            tokio::select! {
                _ = self.shutdown.wait_for(|down| *down) => return None,
                () = woken => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }
}
