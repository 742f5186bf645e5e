//! The REST API under `/api/v1`. Every request takes the same way: limits, token, company, access, query,
//! body, `Idempotency-Key`, and then the handler of its route. The steps are driven by the route's own
//! data ([`route::Route`]), so none of them can be forgotten for one route.
//!
//! A resource's file is thin: its table of routes, and handlers that call one function of the noun's
//! module and encode what comes back.

pub mod fields;
pub mod idempotency;
pub mod params;
pub mod rate;
pub mod reply;
pub mod route;

pub(super) mod ask;

mod alerts;
mod auth;
mod blocked_callers;
pub(super) mod calls;
mod carriers;
mod companies;
pub(super) mod deliveries;
mod events;
mod install_check;
mod messages;
mod number_orders;
pub(super) mod record;
mod replays;
pub(super) mod reports;
mod trackers;
mod usage;
mod visits;
mod voicemails;
mod webhooks;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{ConnectInfo, RawPathParams, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, on};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use self::fields::{Errors, Values, decode};
use self::idempotency::{Claim, Claimed};
use self::rate::Quota;
use self::record::Change;
use self::reply::Reply;
use self::route::{Access, Route};
use super::AppState;
use super::problem::{Kind, Problem, caught};
use crate::auth::Caller;
use crate::companies::{Company, Scope};
use crate::ctx::Ctx;
use crate::db::Tx;
use crate::kernel::id::{CompanyId, Id};
use crate::metrics::ApiLabels;

/// Where the API is.
pub const ROOT: &str = "/api/v1";
/// Bytes of a request's body at most.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// A body must be here after this long.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// All routes, in the order of the document.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    [
        companies::ROUTES,
        install_check::ROUTES,
        carriers::ROUTES,
        trackers::ROUTES,
        number_orders::ROUTES,
        blocked_callers::ROUTES,
        calls::ROUTES,
        messages::ROUTES,
        voicemails::ROUTES,
        usage::ROUTES,
        visits::ROUTES,
        events::ROUTES,
        webhooks::ROUTES,
        deliveries::ROUTES,
        alerts::ROUTES,
        replays::ROUTES,
        reports::ROUTES,
    ]
    .into_iter()
    .flatten()
}

pub(super) fn router() -> Router<AppState> {
    let mut router = Router::new();
    for route in routes() {
        let handler = move |State(state): State<AppState>,
                            path: Result<RawPathParams, RawPathParamsRejection>,
                            request: axum::extract::Request| async move {
            answer(state, route, path.ok(), request).await
        };
        let filter = MethodFilter::try_from(route.method.clone()).expect("the tables have common methods");
        router = router.route(&format!("{ROOT}{}", route.path), on(filter, handler));
    }
    router
}

/// What a handler is given: everything is checked.
pub struct Request {
    pub ctx: Ctx,
    pub state: AppState,
    pub caller: Caller,
    pub query: Values,
    pub body: Values,
    pub headers: HeaderMap,
    /// The token's text, for answers that last long and ask again.
    token: String,
    path: Vec<(String, String)>,
    company: Option<Company>,
    claim: Option<Claim>,
    /// Who is logged in on the pages; "" for a token.
    user: String,
}

impl Request {
    /// The company in the path, which the caller may work on.
    pub fn scope(&self) -> Scope {
        Scope::of(self.company().id)
    }

    /// As [`Request::scope`]: the company's settings.
    pub fn company(&self) -> &Company {
        self.company.as_ref().expect("the route's path has {company_id}, so it was looked up")
    }

    /// A part of the path.
    pub fn path(&self, name: &str) -> &str {
        let found = self.path.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).expect("the route's path has this name")
    }

    /// A part of the path that is an id.
    ///
    /// # Errors
    /// It isn't a number: nothing can have it as its id.
    pub fn id<T: Id>(&self, name: &str) -> Result<T, Problem> {
        id_in(self.path(name)).ok_or_else(Problem::not_found)
    }

    /// Does the request in one transaction, with which the answer is kept for its `Idempotency-Key`.
    ///
    /// # Errors
    /// `work`'s, or the database's; then nothing was written.
    pub async fn write<F>(&self, name: &'static str, mut work: F) -> Result<Reply, Problem>
    where
        F: FnMut(&mut Tx<'_>) -> Result<Reply, Problem> + Send + 'static,
    {
        let (reply, ()) = self.write_with(name, move |tx| Ok((work(tx)?, ()))).await?;
        Ok(reply)
    }

    /// As [`Request::write`], with something more than the answer.
    ///
    /// # Errors
    /// As [`Request::write`].
    pub async fn write_with<T, F>(&self, name: &'static str, mut work: F) -> Result<(Reply, T), Problem>
    where
        F: FnMut(&mut Tx<'_>) -> Result<(Reply, T), Problem> + Send + 'static,
        T: Send + 'static,
    {
        let (claim, secret) = (self.claim.clone(), self.ctx.key.clone());
        let write = move |tx: &mut Tx<'_>| {
            let (mut reply, more) = work(tx)?;
            if let Some(claim) = &claim {
                claim.store(tx, &secret, &mut reply)?;
            }
            Ok((reply, more))
        };
        self.ctx.db.write(name, write).await
    }
}

async fn answer(
    state: AppState,
    route: &'static Route,
    path: Option<RawPathParams>,
    request: axum::extract::Request,
) -> Response {
    let mut quota = None;
    let counters = state.ctx.metrics.api_requests.clone();
    let reply = admit(state, route, path, request, &mut quota).await.unwrap_or_else(Reply::from);
    let labels = ApiLabels { operation: route.operation_id, status: reply.status.as_u16() };
    counters.get_or_create(&labels).inc();
    let mut response = reply.into_response();
    if let Some(quota) = quota {
        quota.write(response.headers_mut());
    }
    response
}

/// The way of every request; see the module. `quota` is set as soon as the token is known.
async fn admit(
    state: AppState,
    route: &'static Route,
    path: Option<RawPathParams>,
    request: axum::extract::Request,
    quota: &mut Option<Quota>,
) -> Result<Reply, Problem> {
    let (parts, body) = request.into_parts();
    let path = path.ok_or_else(Problem::not_found)?;
    let path: Vec<_> = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let named = path.iter().find(|(name, _)| name == "company_id").map(|(_, value)| id_in(value));

    let who = identify(&state, &parts, named.flatten(), quota).await?;
    if named.is_some() && who.company.is_none() {
        return Err(Problem::not_found());
    }
    auth::authorise(who.caller, route.access)?;
    let query = params::decode(parts.uri.query().unwrap_or(""), route.params)?;
    let body = read_body(body).await?;
    let (values, errors) = decode_body(route, &parts.headers, &body)?;
    if !errors.is_empty() {
        return Err(refusal(&state.ctx, route, &values, errors).await);
    }
    let request = Request {
        ctx: state.ctx.clone(),
        caller: who.caller,
        query,
        body: values,
        token: auth::token(&parts.headers)?.to_owned(),
        headers: parts.headers,
        state,
        path,
        company: who.company,
        claim: None,
        user: String::new(),
    };
    if route.access == Access::Read {
        return perform(route, request).await;
    }
    // A client that goes away must not leave half of a write behind: it runs to its end by itself.
    let hash = idempotency::request_hash(
        route.method.as_str(),
        parts.uri.path(),
        parts.uri.query().unwrap_or(""),
        &body,
    );
    match tokio::spawn(perform_once(route, request, hash)).await {
        Ok(result) => result,
        Err(error) => Err(Problem::internal(format!("a request's task ended: {error}"))),
    }
}

/// Who asks; counts the request, or the failure to say who.
async fn identify(
    state: &AppState,
    parts: &Parts,
    company: Option<CompanyId>,
    quota: &mut Option<Quota>,
) -> Result<auth::Identified, Problem> {
    let (limits, clock) = (&state.limits, &state.ctx.clock);
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let address: Option<IpAddr> = peer.map(|ConnectInfo(address)| address.ip());
    let token = auth::token(&parts.headers)?;
    limits.admit(address, token, clock.now())?;
    let Some(who) = auth::identify(&state.ctx.db, token.to_owned(), company).await? else {
        limits.count_failure(address, clock.now());
        return Err(auth::invalid_token());
    };
    limits.remember(token);
    if let Some(token) = who.caller.token {
        let (left, counted) = limits.count_request(token, clock.now());
        *quota = Some(left);
        counted?;
    }
    Ok(who)
}

/// What is wrong with a body, beside what its table says.
async fn check(ctx: &Ctx, route: &Route, body: &Values, mut errors: Errors) -> Result<(), Problem> {
    if let Some(check) = route.check {
        check(ctx, body, &mut errors).await?;
    }
    errors.into_result()
}

/// As [`check`], where it is known that something is wrong.
async fn refusal(ctx: &Ctx, route: &Route, body: &Values, errors: Errors) -> Problem {
    let refused = caught(check(ctx, route, body, errors)).await;
    refused.err().unwrap_or_else(|| Problem::internal("the errors of a body were lost"))
}

async fn perform(route: &'static Route, request: Request) -> Result<Reply, Problem> {
    let mut change = None;
    let reply = caught(async {
        // Not before the claim: what was done once is answered the same, whatever is true now.
        check(&request.ctx, route, &request.body, Errors::default()).await?;
        change = Change::begin(route, &request).await;
        (route.handler)(request).await
    })
    .await?;
    if let Some(made) = change.and_then(|change| change.end(&reply)) {
        made.write().await;
    }
    Ok(reply)
}

/// As [`perform`], once for each `Idempotency-Key`.
async fn perform_once(route: &'static Route, mut request: Request, hash: Vec<u8>) -> Result<Reply, Problem> {
    let key = if route.method == Method::POST { idempotency::key(&request.headers)? } else { None };
    let (Some(key), Some(token)) = (key, request.caller.token) else { return perform(route, request).await };
    let ctx = request.ctx.clone();
    let claim = match idempotency::claim(&ctx, token, key, hash, route.patience).await? {
        Claimed::Fresh(claim) => claim,
        Claimed::Before(reply) => return Ok(reply),
    };
    request.claim = Some(claim.clone());
    let reply = perform(route, request).await.unwrap_or_else(Reply::from);
    if !reply.stored {
        claim.settle(&ctx, reply.to_lasting()).await;
    }
    Ok(reply)
}

async fn read_body(body: Body) -> Result<Bytes, Problem> {
    let read = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    match read {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::new(Kind::BodyTooLarge, format!("A body may have {BODY_BYTES_MAX} bytes")))
        }
        Ok(Err(_)) => Err(Problem::new(Kind::MalformedBody, "The body broke off")),
        Err(_) => Err(Problem::new(Kind::Timeout, "The body did not arrive in time")),
    }
}

fn decode_body(route: &Route, headers: &HeaderMap, body: &[u8]) -> Result<(Values, Errors), Problem> {
    match &route.body {
        Some(table) => decode(headers, body, table.fields, table.mode),
        // Clients that always send JSON send {} where there is nothing to say.
        None if matches!(body, b"" | b"{}") => Ok((Values::default(), Errors::default())),
        None => Err(Problem::new(Kind::MalformedBody, "This request has no body")),
    }
}

fn id_in<T: Id>(text: &str) -> Option<T> {
    // "+7" and "007" would be other names of the same thing.
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    plain.then(|| text.parse().ok().map(T::new)).flatten()
}
