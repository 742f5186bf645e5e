//! The page behind an invitation's link: whoever has the link chooses a password and is a user, logged in. Tries are
//! limited like logins, by address.

use std::net::SocketAddr;
use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Redirect};
use axum::routing::get;
use axum::{Extension, Router};

use super::attempts::Attempts;
use super::error::PageError;
use super::gate::{self, Answer};
use super::view::Frame;
use crate::http::AppState;
use crate::users::invitations::{self, Invitation};
use crate::users::{AddError, NewPassword, PASSWORD_CHARS};

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/invitation/{token}", get(show).post(accept))
}

#[derive(Template)]
#[template(path = "invitation.html")]
struct InvitationPage {
    frame: Frame,
    token: String,
    /// "" if the link isn't good any more.
    email: String,
    failure: String,
}

impl InvitationPage {
    fn answer(token: String, found: Option<Invitation>, status: StatusCode, failure: &str) -> Answer {
        let email = found.map(|invitation| invitation.email).unwrap_or_default();
        let frame = Frame::bare("Invitation");
        let page = InvitationPage { frame, token, email, failure: failure.to_owned() };
        Ok((status, Html(page.render()?)).into_response())
    }
}

async fn find(state: &AppState, token: &str) -> Result<Option<Invitation>, PageError> {
    let token = token.to_owned();
    Ok(state.ctx.db.read("invitations.find", move |tx| invitations::find(tx, &token)).await?)
}

async fn show(State(state): State<AppState>, Path(token): Path<String>) -> Answer {
    let found = find(&state, &token).await?;
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    InvitationPage::answer(token, found, status, "")
}

async fn accept(
    State(state): State<AppState>,
    Extension(attempts): Extension<Arc<Attempts>>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    if !gate::is_same_origin(&headers, &state.ctx.public_url) {
        return Err(PageError::CrossSite);
    }
    let typed = gate::typed(body, gate::PASSWORD_FORM_BYTES_MAX).await?;
    let address = peer.map(|Extension(ConnectInfo(address))| address.ip());
    let found = find(&state, &token).await?;
    if attempts.count(None, address, state.ctx.clock.now()).is_err() {
        let failure = "Too many tries. Wait a few minutes and try again.";
        return InvitationPage::answer(token, found, StatusCode::TOO_MANY_REQUESTS, failure);
    }
    if found.is_none() {
        return InvitationPage::answer(token, None, StatusCode::NOT_FOUND, "");
    }
    let Some(password) = NewPassword::parse(typed.get("password").unwrap_or_default()) else {
        let (least, most) = (PASSWORD_CHARS.start(), PASSWORD_CHARS.end());
        let failure = format!("A password has {least} to {most} characters.");
        return InvitationPage::answer(token, found, StatusCode::BAD_REQUEST, &failure);
    };
    match invitations::accept(&state.ctx.db, &state.ctx.seed, &token, password).await {
        Ok(Some(login)) => {
            attempts.forgive(None, address);
            tracing::info!(user.id = login.user.0, "somebody who was invited became a user");
            let cookie = gate::cookie(&state.ctx, &login.token);
            Ok(([(SET_COOKIE, cookie)], Redirect::to("/")).into_response())
        }
        Ok(None) | Err(AddError::NoSuchCompany) => {
            InvitationPage::answer(token, None, StatusCode::NOT_FOUND, "")
        }
        Err(error @ AddError::Taken) => {
            InvitationPage::answer(token, found, StatusCode::CONFLICT, &format!("It can’t be used: {error}."))
        }
        Err(busy @ AddError::Busy) => Err(PageError::Busy(busy.to_string())),
        Err(AddError::Database(error)) => Err(error.into()),
    }
}
