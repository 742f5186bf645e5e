//! Who asks, and for which company. Every page but the login takes the same way: login, company, handler; a
//! button's request also has to come from our own pages. A page of another tenant is one that doesn't exist.
//!
//! Forms of other sites are refused twice (OWASP, Cross-Site Request Forgery Prevention): the login's cookie is
//! `SameSite=Lax`, so browsers don't send it with another site's POST, and what may change anything must say that it
//! comes from here, which a page can't forge: `Sec-Fetch-Site`, or `Origin` where a browser leaves that out
//! (plain HTTP). Tokens hidden in forms would add nothing to that.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::header::{COOKIE, HOST, ORIGIN, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{MethodRouter, get, post};
use jiff::tz::TimeZone;
use serde_json::Value as Json;
use url::Url;

use super::attempts::Attempts;
use super::error::PageError;
use super::flash::Flash;
use super::form::{self, Ask, Input, Typed};
use super::view::{Frame, Pages, Section};
use crate::audit::NewEntry;
use crate::auth::Caller;
use crate::companies::{self, Company, Scope};
use crate::ctx::Ctx;
use crate::http::AppState;
use crate::http::api::ask::{Question, ask, route};
use crate::http::api::fields::Values;
use crate::http::api::params;
use crate::http::api::record;
use crate::http::problem::Problem;
use crate::kernel::id::{CompanyId, Id};
use crate::kernel::page::{Page, parse_cursor};
use crate::users::{self, LOGIN_LIFETIME, Login, User};
use crate::webhooks::{self, Webhook};

/// Rows on a page.
const PAGE_ROWS: usize = 50;
/// Bytes of a form at most: all texts of the longest one, and room.
pub(super) const FORM_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a form with a password at most, which anybody may send: the longest that there can be, and room.
pub(super) const PASSWORD_FORM_BYTES_MAX: usize = 8 * 1024;
/// A form must be here after this long.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type Answer = Result<Response, PageError>;

/// A page with a form; its status tells whether what was typed wasn't taken.
pub(super) fn rendered(page: &impl Template, problem: Option<&Problem>) -> Answer {
    let status = problem.map_or(StatusCode::OK, |problem| problem.kind().status());
    Ok((status, Html(page.render()?)).into_response())
}

/// What a handler is given: somebody is logged in, and a company in the path is one that they may see.
pub(super) struct Request {
    pub ctx: Ctx,
    pub user: User,
    /// What was filled in; nothing on a page that is only looked at.
    pub typed: Typed,
    state: AppState,
    uri: Uri,
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
    company: Option<Company>,
    stopped: Vec<Webhook>,
    /// What the page before had to tell.
    pub flash: Flash,
    /// How often passwords were tried.
    pub attempts: Option<Arc<Attempts>>,
    /// The token of the login that it came with.
    pub login: String,
}

impl Request {
    /// Becomes true when the server shuts down: answers that would last end then.
    pub(super) fn shutdown(&self) -> tokio::sync::watch::Receiver<bool> {
        self.state.shutdown.clone()
    }

    /// The company in the path.
    pub(super) fn company(&self) -> &Company {
        self.company.as_ref().expect("the route's path has {company_id}, so it was looked up")
    }

    /// Permission for the company in the path.
    pub(super) fn scope(&self) -> Scope {
        Scope::of(self.company().id)
    }

    /// The zone in which the company's times are shown.
    pub(super) fn zone(&self) -> TimeZone {
        TimeZone::get(&self.company().time_zone).unwrap_or(TimeZone::UTC)
    }

    /// For a page that is nothing but a form.
    ///
    /// # Errors
    /// The user may only look.
    pub(super) fn must_write(&self) -> Result<(), PageError> {
        if self.user.can_write { Ok(()) } else { Err(PageError::Forbidden) }
    }

    /// A part of the path.
    pub(super) fn path(&self, name: &str) -> &str {
        let found = self.path.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).expect("the route's path has this name")
    }

    /// A part of the path that is an id.
    ///
    /// # Errors
    /// It isn't a number: nothing can have it as its id.
    pub(super) fn id<T: Id>(&self, name: &str) -> Result<T, PageError> {
        id_in(self.path(name)).ok_or(PageError::NotFound)
    }

    /// A parameter; "" is as good as none.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Asks the API in the user's name; what the path of the route needs stands in this request's own.
    ///
    /// # Errors
    /// The API's.
    pub(super) async fn ask(&self, operation: &'static str, body: Option<Json>) -> Result<Json, Problem> {
        self.ask_for(operation, String::new(), body).await
    }

    /// As [`Request::ask`], with parameters.
    ///
    /// # Errors
    /// The API's.
    pub(super) async fn ask_for(
        &self,
        operation: &'static str,
        query: String,
        body: Option<Json>,
    ) -> Result<Json, Problem> {
        let User { company, can_write, ref email, .. } = self.user;
        let (user, path) = (email.clone(), self.path.clone());
        let question = Question { operation, user, path, company: self.company.clone(), query, body };
        ask(&self.state, Caller { token: None, company, can_write }, question).await
    }

    /// Writes to the audit log what was changed without the API.
    pub(super) async fn note(&self, operation: &'static str, body: &Json) {
        let entry = NewEntry {
            company: self.company.as_ref().map(|company| company.id),
            actor: self.user.email.clone(),
            operation: operation.to_owned(),
            path: self.path.clone(),
            body: body.clone(),
            ..NewEntry::default()
        };
        record::write(&self.ctx, None, entry).await;
    }

    /// The filter of a list, by the table of the API's route: what was asked for, and the inputs of its form. What
    /// isn't of the table, and what is empty, counts as not asked for.
    pub(super) fn filter(&self, operation: &'static str, asks: &[Ask]) -> Filtered {
        let fields = route(operation).params;
        let known = |name: &str| asks.iter().any(|ask| ask.name == name);
        let asked = self.query.iter().filter(|(name, value)| known(name) && !value.is_empty());
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(asked);
        let query = query.finish();
        let shown = Typed::parse(query.as_bytes()).parameters();
        let (values, problem) = match params::decode(&query, fields) {
            Ok(values) => (values, None),
            Err(problem) => (Values::default(), Some(problem)),
        };
        let inputs = form::inputs(fields, asks, &shown, problem.as_ref());
        Filtered { values: problem.is_none().then_some(values), inputs, query }
    }

    /// Which rows of a list are asked for.
    ///
    /// # Errors
    /// The cursor isn't one of ours.
    pub(super) fn page(&self) -> Result<Page, PageError> {
        let page = Page { limit: PAGE_ROWS, ..Page::default() };
        match self.query("after") {
            None => Ok(page),
            Some(text) => Ok(page.behind(parse_cursor(text).ok_or(PageError::BadRequest)?)),
        }
    }

    /// To a page of the company, which is told something.
    pub(super) fn go(&self, rest: &str, flash: &Flash) -> Response {
        let to = Redirect::to(&format!("/companies/{}{rest}", self.company().id));
        ([(SET_COOKIE, flash.cookie(&self.ctx))], to).into_response()
    }

    /// The way to the other pages of a list. `filter` is the query that all of them have.
    pub(super) fn pages(&self, page: Page, filter: &str, next: Option<String>) -> Pages {
        Pages::new(self.uri.path(), filter, page, next)
    }

    /// What is around a page of the company.
    pub(super) fn frame(&self, title: impl Into<String>, section: Section) -> Frame {
        let (stopped, notice) = (self.stopped.clone(), self.flash.notice.clone());
        Frame { stopped, notice, ..Frame::of(title, &self.user, Some((self.company(), section))) }
    }
}

/// See [`Request::filter`].
pub(super) struct Filtered {
    /// None if something is wrong with it, which the inputs say.
    pub values: Option<Values>,
    pub inputs: Vec<Input>,
    /// For links to other pages of the list; "" if nothing is asked for.
    pub query: String,
}

/// A page for whoever is logged in and may see the company in its path.
pub(super) fn page<F, Fut>(handler: F) -> MethodRouter<AppState>
where
    F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send,
{
    get(async move |State(state), path, request| answer(state, path, request, Who::MayWrite, handler).await)
}

/// As [`page`], for a button or a form of somebody who may change things.
pub(super) fn form<F, Fut>(handler: F) -> MethodRouter<AppState>
where
    F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send,
{
    post(async move |State(state), path, request| answer(state, path, request, Who::MayWrite, handler).await)
}

/// As [`form`], for what everybody may change of their own.
pub(super) fn own_form<F, Fut>(handler: F) -> MethodRouter<AppState>
where
    F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send,
{
    post(async move |State(state), path, request| answer(state, path, request, Who::Everybody, handler).await)
}

/// Who may send a form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    MayWrite,
    Everybody,
}

async fn answer<F, Fut>(
    state: AppState,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: axum::extract::Request,
    who: Who,
    handler: F,
) -> Response
where
    F: Fn(Request) -> Fut,
    Fut: Future<Output = Answer>,
{
    let (parts, body) = request.into_parts();
    let login = match login(&state, &parts).await {
        Ok(login) => login,
        Err(error) => return error.into_response(),
    };
    let flashed = parts.method.is_safe() && Flash::read(&state.ctx, &parts.headers).is_some();
    let prolonged = login.prolonged.then(|| token(&state.ctx, &parts.headers)).flatten();
    let result = match admit(&state, login.user, who, path.ok(), &parts, body).await {
        Ok(request) => handler(request).await,
        Err(error) => Err(error),
    };
    let mut response = result.unwrap_or_else(PageError::into_response);
    // A page has shown what the one before had to tell.
    if flashed && response.status().is_success() {
        response.headers_mut().append(SET_COOKIE, Flash::no_cookie(&state.ctx));
    }
    if let Some(token) = prolonged {
        response.headers_mut().append(SET_COOKIE, cookie(&state.ctx, token));
    }
    response
}

/// Whoever is logged in, and that the request comes from our own pages if it changes anything.
async fn login(state: &AppState, parts: &Parts) -> Result<Login, PageError> {
    if !parts.method.is_safe() && !is_same_origin(&parts.headers, &state.ctx.public_url) {
        return Err(PageError::CrossSite);
    }
    let found = match token(&state.ctx, &parts.headers) {
        Some(token) => users::find_login(&state.ctx.db, token).await?,
        None => None,
    };
    found.ok_or_else(|| {
        // A button's path can't be asked for by going there.
        let next = parts.method.is_safe().then(|| parts.uri.to_string());
        PageError::LoggedOut { next }
    })
}

async fn admit(
    state: &AppState,
    user: User,
    who: Who,
    path: Option<RawPathParams>,
    parts: &Parts,
    body: Body,
) -> Result<Request, PageError> {
    let ctx = &state.ctx;
    let path = path.ok_or(PageError::NotFound)?;
    let path: Vec<_> = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let uri = parts.uri.clone();
    let query = uri.query().unwrap_or("").as_bytes();
    let query = form_urlencoded::parse(query).into_owned().collect();
    let (company, stopped) = match path.iter().find(|(name, _)| name == "company_id") {
        None => (None, Vec::new()),
        Some((_, id)) => company(ctx, &user, id).await.map(|(company, stopped)| (Some(company), stopped))?,
    };
    if !parts.method.is_safe() && !user.can_write && who == Who::MayWrite {
        return Err(PageError::Forbidden);
    }
    let typed = typed(body, FORM_BYTES_MAX).await?;
    let flash = Flash::read(ctx, &parts.headers).unwrap_or_default();
    Ok(Request {
        ctx: ctx.clone(),
        user,
        typed,
        state: state.clone(),
        uri,
        path,
        query,
        company,
        stopped,
        flash,
        attempts: parts.extensions.get::<Arc<Attempts>>().cloned(),
        login: token(ctx, &parts.headers).unwrap_or_default().to_owned(),
    })
}

/// A form, read to its end.
///
/// # Errors
/// It has more bytes than that, or doesn't come.
pub(super) async fn typed(body: Body, bytes_max: usize) -> Result<Typed, PageError> {
    match tokio::time::timeout(FORM_TIMEOUT, to_bytes(body, bytes_max)).await {
        Ok(Ok(form)) => Ok(Typed::parse(&form)),
        Ok(Err(_)) | Err(_) => Err(PageError::BadRequest),
    }
}

/// The company, and its webhooks that we stopped.
async fn company(ctx: &Ctx, user: &User, id: &str) -> Result<(Company, Vec<Webhook>), PageError> {
    let scope = id_in::<CompanyId>(id).and_then(|id| user.scope(id)).ok_or(PageError::NotFound)?;
    let reading = ctx.db.read("companies.find", move |tx| {
        let Some(company) = companies::find(tx, scope.company())? else { return Err(PageError::NotFound) };
        Ok((company, webhooks::deactivated(tx, scope)?))
    });
    reading.await
}

fn id_in<T: Id>(text: &str) -> Option<T> {
    text.parse().ok().map(T::new)
}

/// The login's cookie.
const LOGIN: &str = "calltracker_login";

/// A cookie's name as browsers get it. They take `__Host-` only over HTTPS and for this very host, so that neither a
/// neighbouring host nor somebody on the wire can plant one (RFC 6265bis, 4.1.3.2).
fn cookie_name(ctx: &Ctx, name: &str) -> String {
    if is_https(ctx) { format!("__Host-{name}") } else { name.to_owned() }
}

fn is_https(ctx: &Ctx) -> bool {
    ctx.public_url.scheme() == "https"
}

/// A cookie's value.
pub(super) fn read_cookie<'a>(ctx: &Ctx, name: &str, headers: &'a HeaderMap) -> Option<&'a str> {
    let name = cookie_name(ctx, name);
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

pub(super) fn set_cookie(ctx: &Ctx, name: &str, value: &str, max_age_s: u64) -> HeaderValue {
    let name = cookie_name(ctx, name);
    let secure = if is_https(ctx) { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// The login's token that a request carries.
pub(super) fn token<'a>(ctx: &Ctx, headers: &'a HeaderMap) -> Option<&'a str> {
    read_cookie(ctx, LOGIN, headers)
}

/// Gives a browser its login's token.
pub(super) fn cookie(ctx: &Ctx, token: &str) -> HeaderValue {
    set_cookie(ctx, LOGIN, token, LOGIN_LIFETIME.as_secs())
}

/// Makes a browser forget its login's token.
pub(super) fn no_cookie(ctx: &Ctx) -> HeaderValue {
    set_cookie(ctx, LOGIN, "", 0)
}

/// Whether a form was sent by one of our own pages; see the module.
pub(super) fn is_same_origin(headers: &HeaderMap, public_url: &Url) -> bool {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = header("sec-fetch-site") {
        return site == "same-origin";
    }
    let Some(origin) = header(ORIGIN.as_str()) else { return false };
    if origin == public_url.origin().ascii_serialization() {
        return true;
    }
    // Reached by another name than the public one.
    let named = Url::parse(origin).ok().map(|url| url.authority().to_owned());
    named.is_some() && named.as_deref() == header(HOST.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comes_from_us(pairs: &[(&'static str, &str)]) -> bool {
        let headers = pairs.iter().map(|(name, value)| {
            (axum::http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        is_same_origin(&headers.collect(), &"https://track.example.com/".parse().unwrap())
    }

    #[test]
    fn only_our_own_forms_are_taken() {
        for ours in [
            [("sec-fetch-site", "same-origin"), ("origin", "https://elsewhere.example")],
            [("origin", "https://track.example.com"), ("host", "10.0.0.7:8080")],
            [("origin", "http://localhost:8080"), ("host", "localhost:8080")],
        ] {
            assert!(comes_from_us(&ours), "{ours:?}");
        }
        for strange in [
            [("sec-fetch-site", "cross-site"), ("origin", "https://track.example.com")],
            [("sec-fetch-site", "same-site"), ("origin", "https://track.example.com")],
            [("sec-fetch-site", "none"), ("origin", "https://track.example.com")],
            [("origin", "https://elsewhere.example"), ("host", "track.example.com")],
            [("origin", "http://track.example.com"), ("host", "10.0.0.7:8080")],
            [("origin", "null"), ("host", "track.example.com")],
            [("x-nothing", "1"), ("host", "track.example.com")],
        ] {
            assert!(!comes_from_us(&strange), "{strange:?}");
        }
    }
}
