//! Logging in and out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};

use super::attempts::Attempts;
use super::device;
use super::error::PageError;
use super::form::Typed;
use super::gate::{self, Answer};
use super::view::Frame;
use crate::http::AppState;
use crate::users::{self, Email, LoginError};

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/login", get(show).post(log_in)).route("/logout", post(log_out))
}

/// Where to log in, and to go on from there.
pub(super) fn url(next: Option<&str>) -> String {
    match next {
        None | Some("/") => "/login".to_owned(),
        Some(next) => {
            let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
            format!("/login?next={next}")
        }
    }
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    frame: Frame,
    email: &'a str,
    next: &'a str,
    /// Why the last try failed; "" before the first.
    failure: &'a str,
}

impl LoginPage<'_> {
    fn answer(email: &str, next: &str, status: StatusCode, failure: &str) -> Answer {
        let page = LoginPage { frame: Frame::bare("Log in"), email, next, failure };
        Ok((status, Html(page.render()?)).into_response())
    }
}

async fn show(State(state): State<AppState>, headers: HeaderMap, uri: axum::http::Uri) -> Answer {
    let next = field(uri.query().unwrap_or("").as_bytes(), "next");
    if let Some(token) = gate::token(&state.ctx, &headers)
        && users::find_login(&state.ctx.db, token).await?.is_some()
    {
        return Ok(Redirect::to(local(&next)).into_response());
    }
    LoginPage::answer("", local(&next), StatusCode::OK, "")
}

async fn log_in(
    State(state): State<AppState>,
    Extension(attempts): Extension<Arc<Attempts>>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    if !gate::is_same_origin(&headers, &state.ctx.public_url) {
        return Err(PageError::CrossSite);
    }
    let form = gate::typed(body, gate::PASSWORD_FORM_BYTES_MAX).await?;
    let field = |name| form.get(name).unwrap_or_default().to_owned();
    let (typed, password, next) = (field("email"), field("password"), field("next"));
    let email = Email::parse(&typed);
    let address: Option<IpAddr> = peer.map(|Extension(ConnectInfo(address))| address.ip());
    let device = email.as_ref().and_then(|email| device::known(&state.ctx, &headers, email));
    let now = state.ctx.clock.now();
    let counted = match &device {
        Some(device) => attempts.count_known(device, now),
        None => attempts.count(email.as_ref(), address, now),
    };
    if let Err(wait) = counted {
        tracing::warn!("a login was refused: too many failed before");
        let failure = "Too many logins failed. Wait a few minutes and try again.";
        let mut page = LoginPage::answer(&typed, local(&next), StatusCode::TOO_MANY_REQUESTS, failure)?;
        page.headers_mut().insert(RETRY_AFTER, wait.as_secs().max(1).into());
        return Ok(page);
    }
    match users::log_in(&state.ctx.db, &state.ctx.seed, email.clone(), password).await {
        Ok(Some(login)) => {
            match &device {
                Some(device) => attempts.forgive_known(device),
                None => attempts.forgive(email.as_ref(), address),
            }
            tracing::info!(user.id = login.user.0, "a user logged in");
            let mut response = Redirect::to(local(&next)).into_response();
            let cookies = response.headers_mut();
            cookies.append(SET_COOKIE, gate::cookie(&state.ctx, &login.token));
            if let (Some(email), None) = (&email, &device) {
                cookies.append(SET_COOKIE, device::cookie(&state.ctx, email));
            }
            Ok(response)
        }
        Ok(None) => {
            let failure = "The e-mail address or the password is wrong.";
            LoginPage::answer(&typed, local(&next), StatusCode::UNAUTHORIZED, failure)
        }
        Err(busy @ LoginError::Busy) => Err(PageError::Busy(busy.to_string())),
        Err(LoginError::Database(error)) => Err(error.into()),
    }
}

async fn log_out(State(state): State<AppState>, headers: HeaderMap) -> Result<Response, PageError> {
    if !gate::is_same_origin(&headers, &state.ctx.public_url) {
        return Err(PageError::CrossSite);
    }
    if let Some(token) = gate::token(&state.ctx, &headers) {
        users::log_out(&state.ctx.db, token).await?;
    }
    Ok(([(SET_COOKIE, gate::no_cookie(&state.ctx))], Redirect::to("/login")).into_response())
}

/// A field of a query; "" if it isn't there.
fn field(query: &[u8], name: &str) -> String {
    Typed::parse(query).get(name).unwrap_or_default().to_owned()
}

/// A path of ours, whatever was asked for: `//host` and `/\host` are other sites to a browser.
fn local(next: &str) -> &str {
    let path = next.strip_prefix('/').is_some_and(|rest| !rest.starts_with(['/', '\\']));
    if path && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_on_never_leads_to_another_site() {
        for ours in ["/", "/companies/7/calls", "/companies/7/calls?after=MTo4"] {
            assert_eq!(local(ours), ours);
        }
        for strange in [
            "",
            "companies",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/\t/evil.example",
            "/a\r\nb",
        ] {
            assert_eq!(local(strange), "/", "{strange:?}");
        }
    }

    #[test]
    fn the_way_on_survives_the_login() {
        let url = url(Some("/companies/7/calls?after=MTo4&x=1"));
        assert_eq!(url, "/login?next=%2Fcompanies%2F7%2Fcalls%3Fafter%3DMTo4%26x%3D1");
        let query = url.split_once('?').expect("it has a query").1;
        assert_eq!(field(query.as_bytes(), "next"), "/companies/7/calls?after=MTo4&x=1");
    }
}
