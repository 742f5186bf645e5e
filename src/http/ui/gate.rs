//! Who asks, and for which company. Every page but the login takes the same way: login, company, handler; a
//! button's request also has to come from our own pages. A page of another tenant is one that doesn't exist.
//!
//! Forms of other sites are refused twice (OWASP, Cross-Site Request Forgery Prevention): the login's cookie is
//! `SameSite=Lax`, so browsers don't send it with another site's POST, and what may change anything must say that it
//! comes from here, which a page can't forge: `Sec-Fetch-Site`, or `Origin` where a browser leaves that out
//! (plain HTTP). Tokens hidden in forms would add nothing to that.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::http::header::{COOKIE, HOST, ORIGIN, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use jiff::tz::TimeZone;
use url::Url;

use super::error::PageError;
use super::view::{Frame, Pages, Section};
use crate::companies::{self, Company, Scope};
use crate::ctx::Ctx;
use crate::http::AppState;
use crate::kernel::id::{CompanyId, Id};
use crate::kernel::page::{Page, parse_cursor};
use crate::users::{self, LOGIN_LIFETIME, Login, User};
use crate::webhooks::{self, Webhook};

/// Rows on a page.
const PAGE_ROWS: usize = 50;

pub(super) type Answer = Result<Response, PageError>;

/// What a handler is given: somebody is logged in, and a company in the path is one that they may see.
pub(super) struct Request {
    pub ctx: Ctx,
    pub user: User,
    uri: Uri,
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
    company: Option<Company>,
    stopped: Vec<Webhook>,
}

impl Request {
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

    /// The way to the other pages of a list. `filter` is the query that all of them have.
    pub(super) fn pages(&self, page: Page, filter: &str, next: Option<String>) -> Pages {
        Pages::new(self.uri.path(), filter, page, next)
    }

    /// What is around a page of the company.
    pub(super) fn frame(&self, title: impl Into<String>, section: Section) -> Frame {
        let stopped = self.stopped.clone();
        Frame { stopped, ..Frame::of(title, &self.user, Some((self.company(), section))) }
    }
}

/// A page for whoever is logged in and may see the company in its path.
pub(super) fn page<F, Fut>(handler: F) -> MethodRouter<AppState>
where
    F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send,
{
    get(async move |State(state), path, parts| answer(state, path, parts, handler).await)
}

/// As [`page`], for a button. It has no fields: what it does is in its path.
pub(super) fn button<F, Fut>(handler: F) -> MethodRouter<AppState>
where
    F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send,
{
    post(async move |State(state), path, parts| answer(state, path, parts, handler).await)
}

async fn answer<F, Fut>(
    state: AppState,
    path: Result<RawPathParams, RawPathParamsRejection>,
    parts: Parts,
    handler: F,
) -> Response
where
    F: Fn(Request) -> Fut,
    Fut: Future<Output = Answer>,
{
    let login = match login(&state, &parts).await {
        Ok(login) => login,
        Err(error) => return error.into_response(),
    };
    let prolonged = login.prolonged.then(|| token(&state.ctx, &parts.headers)).flatten();
    let result = match admit(&state.ctx, login.user, path.ok(), &parts).await {
        Ok(request) => handler(request).await,
        Err(error) => Err(error),
    };
    let mut response = result.unwrap_or_else(PageError::into_response);
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
    ctx: &Ctx,
    user: User,
    path: Option<RawPathParams>,
    parts: &Parts,
) -> Result<Request, PageError> {
    let path = path.ok_or(PageError::NotFound)?;
    let path: Vec<_> = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let uri = parts.uri.clone();
    let query = uri.query().unwrap_or("").as_bytes();
    let query = form_urlencoded::parse(query).into_owned().collect();
    let (company, stopped) = match path.iter().find(|(name, _)| name == "company_id") {
        None => (None, Vec::new()),
        Some((_, id)) => company(ctx, &user, id).await.map(|(company, stopped)| (Some(company), stopped))?,
    };
    Ok(Request { ctx: ctx.clone(), user, uri, path, query, company, stopped })
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

/// The cookie's name. A browser takes `__Host-` only over HTTPS and for this very host, so that neither a
/// neighbouring host nor somebody on the wire can plant one (RFC 6265bis, 4.1.3.2).
fn cookie_name(ctx: &Ctx) -> &'static str {
    if is_https(ctx) { "__Host-calltracker_login" } else { "calltracker_login" }
}

fn is_https(ctx: &Ctx) -> bool {
    ctx.public_url.scheme() == "https"
}

/// The login's token that a request carries.
pub(super) fn token<'a>(ctx: &Ctx, headers: &'a HeaderMap) -> Option<&'a str> {
    let name = cookie_name(ctx);
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Gives a browser its login's token.
pub(super) fn cookie(ctx: &Ctx, token: &str) -> HeaderValue {
    set_cookie(ctx, token, LOGIN_LIFETIME.as_secs())
}

/// Makes a browser forget its login's token.
pub(super) fn no_cookie(ctx: &Ctx) -> HeaderValue {
    set_cookie(ctx, "", 0)
}

fn set_cookie(ctx: &Ctx, value: &str, max_age_s: u64) -> HeaderValue {
    let name = cookie_name(ctx);
    let secure = if is_https(ctx) { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
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
