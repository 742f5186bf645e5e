//! What carriers call: `POST /carrier/{token}/{hook}`. Each request is found its account by the token, checked
//! against the account's signature, decoded, taken in by one transaction, and answered with what the carrier
//! shall do next. What the news mean is decided by `calls`, `voicemails` and `messages`.
//!
//! - Who forges a request learns nothing from the answer; a genuine one about something that we don't know is
//!   answered as if we did, since carriers can't do anything about it.
//! - A caller waits for the answer. If the database doesn't come back in time, the call is connected from
//!   memory; what its later callbacks tell is taken in late, arrival included. A text that can't be stored is
//!   refused: answered, it would be lost; refused, it is an error at the carrier, which its operator sees.
//! - A replayed request is the same news a second time, which changes nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::AppState;
use crate::calls::update::Update;
use crate::calls::{self, Next, Recorded, Via};
use crate::carriers::accounts::Registered;
use crate::carriers::decode::{Told, arrival_of, decode};
use crate::carriers::form::Form;
use crate::carriers::hook::{Hook, HookQuery, HookUrls, signed_url};
use crate::carriers::provision::named_message;
use crate::carriers::signature::Body;
use crate::carriers::twiml;
use crate::companies::Scope;
use crate::ctx::Ctx;
use crate::db::{self, Tx};
use crate::flows::{Plan, Whisper};
use crate::kernel::id::{CallId, MessageId};
use crate::messages;
use crate::metrics::HookLabels;
use crate::recordings::link::Links;
use crate::voicemails;

/// A request's body at most. The largest real one, a picture message with 10 files, has about 5 KiB.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// A body that takes longer isn't a carrier's.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// What a caller may wait for the database. Carriers give up after 15 s, callers sooner.
const DB_TIME_MAX: Duration = Duration::from_secs(3);

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/carrier/{token}/{hook}", post(answer))
}

/// Why a request isn't taken in; the text is what the metric says.
enum Refused {
    UnknownHook,
    UnknownAccount,
    TooLarge,
    TooSlow,
    Broken,
    Forged,
    BadForm,
    Unavailable,
}

impl Refused {
    fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Refused::UnknownHook => (StatusCode::NOT_FOUND, "unknown_hook"),
            Refused::UnknownAccount => (StatusCode::NOT_FOUND, "unknown_account"),
            Refused::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Refused::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too_slow"),
            Refused::Broken => (StatusCode::BAD_REQUEST, "broken"),
            Refused::Forged => (StatusCode::FORBIDDEN, "forged"),
            Refused::BadForm => (StatusCode::BAD_REQUEST, "bad_form"),
            Refused::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }
}

/// What the carrier is told.
enum Reply {
    /// What to do with the caller.
    Plan(Plan, Option<CallId>),
    /// What the destination hears first.
    Whisper(Option<Whisper>),
    Nothing,
}

/// A request that is the carrier's own.
struct Genuine {
    told: Told,
    /// The call's arrival, if the request says it again.
    arrival: Option<Update>,
    message: Option<MessageId>,
}

async fn answer(
    State(state): State<AppState>,
    Path((token, hook)): Path<(String, String)>,
    request: Request,
) -> Response {
    let hook = Hook::parse(&hook);
    let answered = match hook {
        Some(hook) => take_in_and_reply(&state, &token, hook, request).await,
        None => Err(Refused::UnknownHook),
    };
    let (response, result) = match answered {
        Ok((response, result)) => (response, result),
        Err(refused) => {
            let (status, result) = refused.parts();
            (status.into_response(), result)
        }
    };
    let labels = HookLabels { hook: hook.map_or("", Hook::as_str), result };
    state.ctx.metrics.carrier_hooks.get_or_create(&labels).inc();
    response
}

async fn take_in_and_reply(
    state: &AppState,
    token: &str,
    hook: Hook,
    request: Request,
) -> Result<(Response, &'static str), Refused> {
    let ctx = &state.ctx;
    let path_and_query = request.uri().path_and_query().map_or("", |both| both.as_str()).to_owned();
    let account = match state.directory.find(ctx, token).await {
        Ok(found) => found.ok_or(Refused::UnknownAccount)?,
        Err(_) => return Err(Refused::Unavailable),
    };
    let headers = request.headers().clone();
    let body = read_body(request).await?;
    let genuine = check(ctx, &account, hook, &path_and_query, &headers, &body)?;
    let fallback = match &genuine.told {
        Told::Call(update) => fallback(state, &account, hook, update),
        Told::Nothing => Some(Reply::Nothing),
        Told::Recording(_) | Told::Transcription(_) | Told::Message(_) | Told::MessageStatus(_) => None,
    };
    let taken_in = tokio::time::timeout(DB_TIME_MAX, take_in(ctx, &account, genuine)).await;
    let error = match taken_in {
        Ok(Ok(reply)) => return Ok((render(ctx, &account, hook, reply), "ok")),
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => format!("the database didn't answer within {} s", DB_TIME_MAX.as_secs()),
    };
    let carrier = account.account.id;
    tracing::error!(carrier.id = %carrier, hook = hook.as_str(), error, "a carrier's request wasn't taken in");
    match fallback {
        Some(reply) => Ok((render(ctx, &account, hook, reply), "fallback")),
        None => Err(Refused::Unavailable),
    }
}

/// The whole body, within its limits.
async fn read_body(request: Request) -> Result<Bytes, Refused> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let announced: Option<usize> = announced.and_then(|text| text.parse().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
        return Err(Refused::TooLarge);
    }
    let reading = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIME_MAX, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refused::TooLarge),
        Ok(Err(_)) => Err(Refused::Broken),
        Err(_elapsed) => Err(Refused::TooSlow),
    }
}

/// Whether the request is the carrier's, and what it tells.
fn check(
    ctx: &Ctx,
    account: &Registered,
    hook: Hook,
    path_and_query: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Genuine, Refused> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let signature = account.account.kind.signature_headers().iter().find_map(|name| header(name));
    let url = signed_url(&ctx.public_url, path_and_query);
    let signed = Body::of(header(CONTENT_TYPE.as_str()), body);
    if account.account.verify(signature, &url, signed).is_err() {
        let carrier = account.account.id;
        tracing::warn!(carrier.id = %carrier, hook = hook.as_str(), "a request has no valid signature");
        return Err(Refused::Forged);
    }
    let query = path_and_query.split_once('?').map_or("", |(_, query)| query);
    let form = Form::parse(body).map_err(|_| Refused::BadForm)?;
    let told = decode(hook, HookQuery::parse(query), &form).map_err(|error| {
        tracing::warn!(carrier.id = %account.account.id, hook = hook.as_str(), %error, "a request can't be read");
        Refused::BadForm
    })?;
    Ok(Genuine { told, arrival: arrival_of(&form), message: named_message(query) })
}

/// What is answered if the database can't be asked; None: that it wasn't taken in.
fn fallback(state: &AppState, account: &Registered, hook: Hook, update: &Update) -> Option<Reply> {
    use calls::update::Fact;
    match &update.fact {
        Fact::Arrived(arrival) => {
            let plan = state.directory.fallback(account.account.id, &arrival.to);
            Some(Reply::Plan(plan, None))
        }
        // The destination is connected at once.
        Fact::WhisperStarted => Some(Reply::Whisper(None)),
        Fact::DialEnded(_) | Fact::VoicemailEnded { .. } => Some(Reply::Plan(calls::hang_up(), None)),
        Fact::Leg(_) | Fact::Ended(_) => hook.wants_twiml().then_some(Reply::Nothing),
    }
}

/// One transaction. Answers after it is on disk: carriers don't tell things again.
async fn take_in(ctx: &Ctx, account: &Arc<Registered>, genuine: Genuine) -> db::Result<Reply> {
    let links = Links::of(ctx);
    let via = Via { scope: Scope::of(account.account.company_id), carrier: account.account.id };
    ctx.db.write("carrier.hook", move |tx| note(tx, via, &links, &genuine)).await
}

fn note(tx: &mut Tx<'_>, via: Via, links: &Links, genuine: &Genuine) -> db::Result<Reply> {
    match &genuine.told {
        Told::Call(update) => note_call(tx, via, links, update, genuine.arrival.as_ref()),
        Told::Recording(update) => {
            if let Some((call, recording)) = calls::record_recording(tx, via, links, update)? {
                voicemails::record_recording(tx, &call, &recording)?;
            }
            Ok(Reply::Nothing)
        }
        Told::Transcription(update) => {
            voicemails::record_transcription(tx, via, update)?;
            Ok(Reply::Nothing)
        }
        Told::Message(arrival) => {
            messages::receive(tx, via.carrier, via.scope, arrival)?;
            Ok(Reply::Nothing)
        }
        Told::MessageStatus(status) => {
            messages::outgoing::status(tx, via.carrier, via.scope, genuine.message, status)?;
            Ok(Reply::Nothing)
        }
        Told::Nothing => Ok(Reply::Nothing),
    }
}

fn note_call(
    tx: &mut Tx<'_>,
    via: Via,
    links: &Links,
    update: &Update,
    arrival: Option<&Update>,
) -> db::Result<Reply> {
    use calls::update::Fact;
    let mut recorded = calls::record(tx, via, links, update)?;
    if let (Recorded::Unknown, Some(Update { fact: Fact::Arrived(arrival), .. })) = (&recorded, arrival) {
        recorded = calls::record_late(tx, via, links, arrival, update)?;
    }
    Ok(match recorded {
        Recorded::Known { call, next: Next::Plan(plan) } => Reply::Plan(plan, Some(call)),
        Recorded::Known { next: Next::Whisper(whisper), .. } => Reply::Whisper(whisper),
        Recorded::Known { next: Next::Nothing, .. } | Recorded::Unknown => Reply::Nothing,
        Recorded::NotOurs => Reply::Plan(calls::not_in_service(), None),
    })
}

fn render(ctx: &Ctx, account: &Registered, hook: Hook, reply: Reply) -> Response {
    if !hook.wants_twiml() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let document = match reply {
        Reply::Plan(plan, call) => {
            twiml::render(&plan, &HookUrls::new(&ctx.public_url, &account.hook_token, call))
        }
        Reply::Whisper(Some(whisper)) => twiml::render_whisper(&whisper),
        Reply::Whisper(None) | Reply::Nothing => twiml::empty(),
    };
    ([(CONTENT_TYPE, "text/xml; charset=utf-8")], document).into_response()
}
