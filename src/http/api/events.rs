//! `/companies/{c}/events`: the log as a list, and as a live stream of server-sent events. A stream reads
//! the log like any other reader; a wake-up only makes it look sooner, so nothing is lost between the two.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use futures_util::stream::{Stream, unfold};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Request;
use super::auth::{invalid_token, still_sees};
use super::fields::{Field, Kind, Rule};
use super::params::{AFTER, LIMIT};
use super::rate::StreamPlace;
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::companies::Scope;
use crate::ctx::Ctx;
use crate::db::{self, Wake};
use crate::events::{self, Event, EventType};
use crate::http::problem::{Kind as ProblemKind, Problem};

const TAG: &str = "Events";
/// Events that a stream reads at a time.
const BATCH: usize = 100;
/// A stream looks at the log this often even if nothing woke it: another node may have written.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A quiet stream sends a comment this often, so that neither end takes the other for gone; the token is
/// asked for again then.
const HEARTBEAT: Duration = Duration::from_secs(15);

const TYPE: Field = Field::new(
    "type",
    Kind::Choice(|| EventType::ALL.map(EventType::as_str).to_vec()),
    "Only events of this type.",
);

const LAST_EVENT_ID: Field = Field::new(
    "last_event_id",
    Kind::Rule(&EVENT_ID),
    "As the header `Last-Event-ID`, which wins: 0 begins with the oldest event.",
);

static EVENT_ID: Rule = Rule {
    max: 19,
    format: "",
    example: "59179",
    check: |text| {
        event_id(text).map(drop).ok_or_else(|| "is not the id of an event, or 0 for the whole log".to_owned())
    },
};

pub(super) const ROUTES: &[Route] = &[
    Route::get("/companies/{company_id}/events", "list_events", |r| Box::pin(list(r)))
        .named(TAG, "List events, oldest first")
        .params(&[TYPE, LIMIT, AFTER])
        .answers(Answer::Page("Event")),
    Route::get("/companies/{company_id}/events/stream", "stream_events", |r| Box::pin(stream(r)))
        .named(TAG, "Receive events as they happen")
        .about(
            "Server-sent events. Each has the event's `id`, its type as `event`, and the object of the list as \
             `data`. The stream begins behind the event that the header `Last-Event-ID` names, or \
             `last_event_id`; without either, with the next event. First it says where it begins: an `id` without \
             data, so that a client that saw no event yet can come back without a gap. A token may have 10 streams \
             open.",
        )
        .params(&[LAST_EVENT_ID])
        .answers(Answer::EventStream)
        .or(&[ProblemKind::RateLimited]),
];

async fn list(request: Request) -> Result<Reply, Problem> {
    let only = request.query.choice("type", EventType::parse);
    let listed = events::list(&request.ctx.db, request.scope(), only, request.query.page()).await?;
    Ok(Reply::listed(&listed))
}

async fn stream(request: Request) -> Result<Reply, Problem> {
    let place = request.state.limits.open_stream(request.caller.token.ok_or_else(invalid_token)?)?;
    let scope = request.scope();
    // Before the log is read, so that nothing falls between.
    let woken = request.ctx.db.wakes().subscribe(Wake::Events);
    let last = match start(&request)? {
        Some(last) => last,
        None => events::last_id(&request.ctx.db, scope).await?,
    };
    let follower = Follower {
        shutdown: request.state.shutdown.clone(),
        ctx: request.ctx,
        scope,
        token: request.token,
        woken,
        last,
        ready: VecDeque::from([beginning(last)]),
        quiet_since: Instant::now(),
        asked_at: Instant::now(),
        _place: place,
    };
    let headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx would hold events back to fill its buffer.
        ("x-accel-buffering".parse().expect("it is a header's name"), HeaderValue::from_static("no")),
    ]);
    Ok(Reply::stream(StatusCode::OK, headers, Body::from_stream(follower.stream())))
}

/// The id of the event that the client saw last; None if it doesn't say.
fn start(request: &Request) -> Result<Option<i64>, Problem> {
    let Some(header) = request.headers.get("last-event-id") else {
        return Ok(request.query.choice("last_event_id", event_id));
    };
    let id = header.to_str().ok().and_then(event_id);
    id.map(Some).ok_or_else(|| Problem::field("Last-Event-ID", "is not the id of an event"))
}

fn event_id(text: &str) -> Option<i64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// One client that follows the log.
struct Follower {
    ctx: Ctx,
    scope: Scope,
    token: String,
    woken: watch::Receiver<u64>,
    shutdown: watch::Receiver<bool>,
    /// The last event that was made ready.
    last: i64,
    ready: VecDeque<Bytes>,
    quiet_since: Instant,
    /// When the token was last found good.
    asked_at: Instant,
    _place: StreamPlace,
}

impl Follower {
    fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        unfold(self, |mut follower| async move {
            let bytes = follower.next().await?;
            Some((Ok(bytes), follower))
        })
    }

    /// What is sent next; None at the end of the stream. Waits as long as the client doesn't take what
    /// is ready, so a slow client costs no memory.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.quiet_since = Instant::now();
                return Some(bytes);
            }
            if *self.shutdown.borrow() {
                return None;
            }
            // Also of a stream that is never quiet.
            if self.asked_at.elapsed() >= HEARTBEAT {
                let sees = still_sees(&self.ctx.db, self.token.clone(), self.scope).await;
                if !sees.unwrap_or(false) {
                    return None;
                }
                self.asked_at = Instant::now();
            }
            if let Err(error) = self.look().await {
                // The client comes again with the id of its last event.
                tracing::warn!(company.id = %self.scope.company(), error = %error, "a live stream ended");
                return None;
            }
            if !self.ready.is_empty() {
                continue;
            }
            if self.quiet_since.elapsed() >= HEARTBEAT {
                self.ready.push_back(Bytes::from_static(b": still here\n\n"));
                continue;
            }
            if self.wait().await {
                return None;
            }
        }
    }

    async fn look(&mut self) -> db::Result<()> {
        for event in events::after(&self.ctx.db, self.scope, self.last, BATCH).await? {
            self.last = event.id.0;
            self.ready.push_back(frame(&event));
        }
        Ok(())
    }

    /// Waits for a reason to look again; true if the server shuts down.
    async fn wait(&mut self) -> bool {
        let until_heartbeat = HEARTBEAT.saturating_sub(self.quiet_since.elapsed());
        tokio::select! {
            // An error means that the server is gone already.
            _ = self.shutdown.wait_for(|down| *down) => true,
            // The database that wakes is in `ctx`, so this never fails.
            _ = self.woken.changed() => false,
            () = tokio::time::sleep(until_heartbeat.min(LOOK_EVERY)) => false,
        }
    }
}

/// An id without data is no event, but clients keep it as the last one seen (HTML Standard, "Interpreting an
/// event stream"): who loses the stream before its first event comes back to where it began.
fn beginning(last: i64) -> Bytes {
    format!(": connected\nid: {last}\n\n").into()
}

/// JSON has no line breaks when it is written without spaces, so one `data:` line holds it.
fn frame(event: &Event) -> Bytes {
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("id: {}\nevent: {}\ndata: {data}\n\n", event.id, event.r#type).into()
}
