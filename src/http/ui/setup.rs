//! The first run: while nobody is a user yet, whoever has the link that the server printed makes the first one. The link
//! has a code that only we can make, so that a stranger who finds a fresh server can't take it.

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Redirect};
use axum::routing::get;

use super::error::PageError;
use super::form::Typed;
use super::gate::{self, Answer};
use super::view::Frame;
use crate::ctx::Ctx;
use crate::http::AppState;
use crate::kernel::secret::Purpose;
use crate::users::{self, AddError, Email, LoginError, NewPassword, PASSWORD_CHARS};

/// What is signed.
const WHAT: &str = "the first user";

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/setup", get(show).post(create))
}

/// Where the first user is made.
pub fn url(ctx: &Ctx) -> String {
    let code = ctx.key.sign(Purpose::Setup, WHAT);
    ctx.public_url.join(&format!("/setup?code={code}")).map_or_else(|_| "/setup".to_owned(), Into::into)
}

#[derive(Template)]
#[template(path = "setup.html")]
struct SetupPage<'a> {
    frame: Frame,
    code: &'a str,
    email: &'a str,
    failure: &'a str,
    shortest: usize,
}

impl SetupPage<'_> {
    fn answer(code: &str, email: &str, status: StatusCode, failure: &str) -> Answer {
        let frame = Frame::bare("Welcome");
        let page = SetupPage { frame, code, email, failure, shortest: *PASSWORD_CHARS.start() };
        Ok((status, Html(page.render()?)).into_response())
    }
}

/// Whether a first user may still be made by whoever has this code.
async fn admit(state: &AppState, code: &str) -> Result<(), PageError> {
    let is_ours = state.ctx.key.verify(Purpose::Setup, WHAT, code);
    match is_ours && !users::are_there(&state.ctx.db).await? {
        true => Ok(()),
        false => Err(PageError::NotFound),
    }
}

async fn show(State(state): State<AppState>, uri: Uri) -> Answer {
    let query = Typed::parse(uri.query().unwrap_or("").as_bytes());
    let code = query.get("code").unwrap_or_default();
    admit(&state, code).await?;
    SetupPage::answer(code, "", StatusCode::OK, "")
}

async fn create(State(state): State<AppState>, headers: HeaderMap, body: Body) -> Answer {
    if !gate::is_same_origin(&headers, &state.ctx.public_url) {
        return Err(PageError::CrossSite);
    }
    let typed = gate::typed(body, gate::FORM_BYTES_MAX).await?;
    let text = |name| typed.get(name).unwrap_or_default().to_owned();
    let (code, email, password) = (text("code"), text("email"), text("password"));
    admit(&state, &code).await?;
    let refuse = |why: &str| SetupPage::answer(&code, &email, StatusCode::BAD_REQUEST, why);
    let Some(address) = Email::parse(&email) else { return refuse("That isn’t an e-mail address.") };
    let Some(new) = NewPassword::parse(&password) else {
        let (least, most) = (PASSWORD_CHARS.start(), PASSWORD_CHARS.end());
        return refuse(&format!("A password has {least} to {most} characters."));
    };
    let ctx = &state.ctx;
    match users::add_first(&ctx.db, &ctx.seed, address.clone(), new).await {
        Ok(_) => {}
        // Somebody was quicker.
        Err(AddError::Taken | AddError::NoSuchCompany) => return Err(PageError::NotFound),
        Err(busy @ AddError::Busy) => return Err(PageError::Busy(busy.to_string())),
        Err(AddError::Database(error)) => return Err(error.into()),
    }
    match users::log_in(&ctx.db, &ctx.seed, Some(address), password).await {
        Ok(Some(login)) => {
            let cookie = gate::cookie(ctx, &login.token);
            Ok(([(SET_COOKIE, cookie)], Redirect::to("/")).into_response())
        }
        Ok(None) | Err(LoginError::Busy) => Ok(Redirect::to("/login").into_response()),
        Err(LoginError::Database(error)) => Err(error.into()),
    }
}
