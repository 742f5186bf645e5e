//! Failures as pages. This is where a failure inside becomes a page, so nothing internal gets out: the cause
//! goes to the log, once.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::view::Frame;
use crate::db;
use crate::http::problem::{Kind, Problem};

/// Why there is no page.
#[derive(Debug)]
pub(super) enum PageError {
    /// No such thing, or none that the user may know of: the answers are the same.
    NotFound,
    /// Nobody is logged in. Where to go on afterwards, if the page can be asked for again.
    LoggedOut { next: Option<String> },
    /// The user may look, not change anything.
    Forbidden,
    /// A form that another site sent.
    CrossSite,
    /// A parameter isn't one of ours, or a form didn't arrive whole.
    BadRequest,
    /// The same request may work in a moment. Why is for the log only.
    Busy(String),
    /// A bug: for the log only.
    Internal(String),
}

impl From<db::Error> for PageError {
    fn from(error: db::Error) -> PageError {
        match error {
            db::Error::Unavailable(_) | db::Error::Busy => PageError::Busy(error.to_string()),
            db::Error::Constraint(_) | db::Error::Internal(_) => PageError::Internal(error.to_string()),
        }
    }
}

impl From<Problem> for PageError {
    fn from(problem: Problem) -> PageError {
        match problem.kind() {
            Kind::NotFound => PageError::NotFound,
            Kind::Forbidden => PageError::Forbidden,
            Kind::Unavailable | Kind::RateLimited => PageError::Busy(problem.detail().to_owned()),
            _ if problem.kind().status().is_client_error() => PageError::BadRequest,
            _ => PageError::Internal(problem.cause().unwrap_or_else(|| problem.detail()).to_owned()),
        }
    }
}

impl From<anyhow::Error> for PageError {
    fn from(error: anyhow::Error) -> PageError {
        match error.downcast::<db::Error>() {
            Ok(error) => error.into(),
            Err(error) => PageError::Internal(format!("{error:#}")),
        }
    }
}

impl From<askama::Error> for PageError {
    fn from(error: askama::Error) -> PageError {
        PageError::Internal(format!("rendering a page: {error}"))
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    advice: &'static str,
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, title, advice) = match self {
            PageError::LoggedOut { next } => {
                return Redirect::to(&super::login::url(next.as_deref())).into_response();
            }
            PageError::NotFound => (
                StatusCode::NOT_FOUND,
                "There is nothing here",
                "It may have been deleted, or it isn’t one that you may see.",
            ),
            PageError::Forbidden => (
                StatusCode::FORBIDDEN,
                "You may look at this, not change it",
                "Nothing was done. Somebody who manages the account can give you the right to.",
            ),
            PageError::CrossSite => (
                StatusCode::FORBIDDEN,
                "That came from another site",
                "Nothing was done. Go back to the page and press the button there.",
            ),
            PageError::BadRequest => (
                StatusCode::BAD_REQUEST,
                "That doesn’t work",
                "A part of the address or the form is missing, was changed, or is too long.",
            ),
            PageError::Busy(cause) => {
                tracing::error!(error = %cause, "a page could not be shown");
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Too much to do at the moment",
                    "Nothing is lost. Load the page again in a few seconds.",
                )
            }
            PageError::Internal(cause) => {
                tracing::error!(error = %cause, "a page failed");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Something went wrong here",
                    "The server’s log says what. Going back and trying again may help.",
                )
            }
        };
        let page = ErrorPage { frame: Frame::bare(title), advice };
        match page.render() {
            Ok(text) => (status, Html(text)).into_response(),
            Err(_) => (status, title).into_response(),
        }
    }
}
