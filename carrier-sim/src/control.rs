//! The scenario control API, on a port of its own and without authentication: who calls whom, what goes wrong, and what
//! happened. JSON in and out; the fields are those of `scenario`, `faults` and `trace`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::account::{Account, AccountKind};
use crate::calls::{self, StartError};
use crate::faults::{CallbackFault, CountedFault, FaultAction, Pending};
use crate::media::Burst;
use crate::messages;
use crate::records::{Call, Outcome, Recording};
use crate::scenario::{CallScript, Destination};
use crate::state::{Carrier, State as Records};
use crate::stock;
use crate::trace::{Happening, TraceEntry};

/// How long a `wait` waits, in real time; then the answer says that it is not over.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// The control API.
pub fn router(carrier: Arc<Carrier>) -> Router {
    Router::new()
        .route("/sim/accounts", post(add_account))
        .route("/sim/stock/{number}", put(put_stock))
        .route("/sim/calls", post(start_call))
        .route("/sim/calls/{sid}", get(get_call))
        .route("/sim/messages", post(receive_message))
        .route("/sim/destinations/{number}", put(put_destination))
        .route("/sim/faults", post(add_fault).get(list_faults))
        .route("/sim/trace", get(list_trace))
        .route("/sim/reset", post(reset))
        .with_state(carrier)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    account_sid: String,
    auth_token: String,
    #[serde(default)]
    kind: AccountKind,
}

async fn add_account(State(carrier): State<Arc<Carrier>>, Json(new): Json<NewAccount>) -> Response {
    let account = Account {
        sid: new.account_sid,
        auth_token: new.auth_token,
        kind: new.kind,
        created_at: carrier.clock.now(),
    };
    let base_url = format!("{}{}", carrier.base_url, account.path());
    let body = Json(json!({"account_sid": account.sid, "kind": account.kind, "url": base_url}));
    let mut state = carrier.state();
    state.accounts.insert(account.sid.clone(), account);
    (StatusCode::CREATED, body).into_response()
}

/// Puts a number on sale that is not in the built-in stock.
async fn put_stock(State(carrier): State<Arc<Carrier>>, Path(number): Path<String>) -> Response {
    if !stock::is_e164(&number) {
        return error(StatusCode::BAD_REQUEST, "the number is not in E.164");
    }
    carrier.state().extra_stock.insert(number);
    StatusCode::NO_CONTENT.into_response()
}

async fn start_call(State(carrier): State<Arc<Carrier>>, Json(script): Json<CallScript>) -> Response {
    match calls::start(&carrier, script) {
        Ok(sid) => (StatusCode::CREATED, Json(json!({"call_sid": sid}))).into_response(),
        Err(error_ @ StartError::Script(_)) => error(StatusCode::BAD_REQUEST, &error_.to_string()),
        Err(error_ @ StartError::NotOwned(_)) => error(StatusCode::NOT_FOUND, &error_.to_string()),
    }
}

#[derive(Deserialize)]
struct WaitQuery {
    /// Any value: answer when all is over.
    wait: Option<String>,
}

/// A call as scenarios see it.
#[derive(Serialize)]
struct CallView {
    call_sid: String,
    /// `active`, `ended` (both legs are gone), `settled` (and every callback was posted).
    state: &'static str,
    status: &'static str,
    outcome: Option<Outcome>,
    settled: bool,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    duration_s: i64,
    legs: Vec<LegView>,
    recordings: Vec<RecordingView>,
    transcriptions: Vec<serde_json::Value>,
    warnings: Vec<serde_json::Value>,
}

#[derive(Serialize)]
struct LegView {
    call_sid: String,
    from: String,
    to: String,
    status: &'static str,
    bridged: bool,
    duration_s: i64,
}

#[derive(Serialize)]
struct RecordingView {
    recording_sid: String,
    source: &'static str,
    status: &'static str,
    channels: u8,
    duration_s: u32,
    /// Who talks when, in the media.
    bursts: Vec<Burst>,
}

async fn get_call(
    State(carrier): State<Arc<Carrier>>,
    Path(sid): Path<String>,
    Query(query): Query<WaitQuery>,
) -> Response {
    let settled = {
        let state = carrier.state();
        state.calls.find(&sid).map(|call| call.settled.subscribe())
    };
    if let Some(mut settled) = settled.filter(|_| query.wait.is_some()) {
        // Neither a timeout nor a reset changes what is answered: the call as it now is.
        let _over_or_not = tokio::time::timeout(WAIT_MAX, settled.wait_for(|over| *over)).await;
    }
    let view = call_view(&carrier, &carrier.state(), &sid);
    match view {
        Some(view) => Json(view).into_response(),
        None => error(StatusCode::NOT_FOUND, "no such call"),
    }
}

fn call_view(carrier: &Carrier, state: &Records, sid: &str) -> Option<CallView> {
    let call = state.calls.find(sid)?;
    let settled = *call.settled.borrow();
    let recordings: Vec<&Recording> =
        state.recordings.iter().filter(|recording| recording.call_sid == sid).collect();
    let transcriptions = state
        .transcriptions
        .iter()
        .filter(|transcription| {
            recordings.iter().any(|recording| recording.sid == transcription.recording_sid)
        })
        .map(|transcription| {
            json!({"transcription_sid": transcription.sid, "status": transcription.status.word(),
                "text": transcription.text})
        })
        .collect();
    Some(CallView {
        call_sid: sid.to_owned(),
        state: match (call.ended_at, settled) {
            (None, _) => "active",
            (Some(_), false) => "ended",
            (Some(_), true) => "settled",
        },
        status: call.status.word(),
        outcome: call.outcome,
        settled,
        started_at: call.started_at,
        ended_at: call.ended_at,
        duration_s: call.duration_s(),
        legs: state.calls.iter().filter(|leg| leg.parent_sid.as_deref() == Some(sid)).map(leg_view).collect(),
        recordings: recordings.into_iter().map(recording_view).collect(),
        transcriptions,
        warnings: warnings(&carrier.trace.list(Some(sid))),
    })
}

fn leg_view(leg: &Call) -> LegView {
    LegView {
        call_sid: leg.sid.clone(),
        from: leg.from.clone(),
        to: leg.to.clone(),
        status: leg.status.word(),
        bridged: leg.bridged,
        duration_s: leg.duration_s(),
    }
}

fn recording_view(recording: &Recording) -> RecordingView {
    let sound = recording.sound.as_ref();
    RecordingView {
        recording_sid: recording.sid.clone(),
        source: recording.source.word(),
        status: recording.status.word(),
        channels: recording.channels,
        duration_s: recording.duration_s(),
        bursts: sound.map(|sound| sound.bursts.clone()).unwrap_or_default(),
    }
}

fn warnings(entries: &[TraceEntry]) -> Vec<serde_json::Value> {
    entries
        .iter()
        .filter_map(|entry| match &entry.happening {
            Happening::Warning { code, text } => Some(json!({"code": code, "text": text})),
            Happening::Webhook(_)
            | Happening::Rest { .. }
            | Happening::Verb { .. }
            | Happening::Fault { .. } => None,
        })
        .collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InboundMessage {
    from: String,
    to: String,
    #[serde(default)]
    body: String,
    #[serde(default)]
    media_urls: Vec<String>,
}

async fn receive_message(
    State(carrier): State<Arc<Carrier>>,
    Json(message): Json<InboundMessage>,
) -> Response {
    let InboundMessage { from, to, body, media_urls } = message;
    if body.chars().count() > messages::BODY_CHARACTERS_MAX {
        return error(StatusCode::BAD_REQUEST, "the body is longer than 1600 characters");
    }
    match messages::receive(&carrier, from, to, body, media_urls).await {
        Some(received) => (StatusCode::CREATED, Json(received)).into_response(),
        None => error(StatusCode::NOT_FOUND, "no account owns the number"),
    }
}

async fn put_destination(
    State(carrier): State<Arc<Carrier>>,
    Path(number): Path<String>,
    Json(destination): Json<Destination>,
) -> Response {
    carrier.state().destinations.insert(number, destination);
    StatusCode::NO_CONTENT.into_response()
}

/// A fault of a callback, or of one of the counted kinds.
#[derive(Deserialize)]
#[serde(untagged)]
enum NewFault {
    Callback(CallbackFault),
    Media404 { media_404: u32 },
    RecordingAbsent { recording_absent: u32 },
    TranscriptionFailed { transcription_failed: u32 },
    BuyRace { buy_race: u32 },
}

async fn add_fault(State(carrier): State<Arc<Carrier>>, Json(fault): Json<NewFault>) -> Response {
    let (fault, count) = match fault {
        NewFault::Callback(fault) => {
            let waits = fault.callback.wants_document();
            if waits && fault.action == FaultAction::SwapWithNext {
                let text = "the carrier waits for the answer to this request: nothing can overtake it";
                return error(StatusCode::BAD_REQUEST, text);
            }
            carrier.faults.add_callback(fault);
            return StatusCode::NO_CONTENT.into_response();
        }
        NewFault::Media404 { media_404 } => (CountedFault::Media404, media_404),
        NewFault::RecordingAbsent { recording_absent } => (CountedFault::RecordingAbsent, recording_absent),
        NewFault::TranscriptionFailed { transcription_failed } => {
            (CountedFault::TranscriptionFailed, transcription_failed)
        }
        NewFault::BuyRace { buy_race } => (CountedFault::BuyRace, buy_race),
    };
    carrier.faults.set(fault, count);
    StatusCode::NO_CONTENT.into_response()
}

async fn list_faults(State(carrier): State<Arc<Carrier>>) -> Json<Pending> {
    Json(carrier.faults.pending())
}

#[derive(Deserialize)]
struct TraceQuery {
    call_sid: Option<String>,
    message_sid: Option<String>,
}

async fn list_trace(State(carrier): State<Arc<Carrier>>, Query(query): Query<TraceQuery>) -> Response {
    let sid = query.call_sid.or(query.message_sid);
    Json(json!({"entries": carrier.trace.list(sid.as_deref())})).into_response()
}

async fn reset(State(carrier): State<Arc<Carrier>>) -> StatusCode {
    carrier.reset();
    StatusCode::NO_CONTENT
}

fn error(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({"error": text}))).into_response()
}
