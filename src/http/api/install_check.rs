//! `/companies/{c}/install-check`.

use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use url::Url;

use super::Request;
use super::fields::{Errors, Field, Kind, Values};
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::ctx::Ctx;
use crate::http::problem::{Kind as ProblemKind, Problem};
use crate::install_check::{self, DEADLINE, Error, LIMITS, PATIENCE};
use crate::outbound::{TARGET_BYTES_MAX, TargetError};

/// The page's name is looked up for so long before it is fetched.
const DNS_TIMEOUT: Duration = Duration::from_secs(2);

const PAGE: &[Field] = &[Field::new(
    "url",
    Kind::Text { min: 1, max: TARGET_BYTES_MAX },
    "A page of the company's site that has a phone number on it.",
)
.required()];

pub(super) const ROUTES: &[Route] =
    &[Route::post("/companies/{company_id}/install-check", "check_install", |r| Box::pin(check(r)))
        .named("Companies", "Check a page of the company's site")
        .about(
            "Fetches the page, follows up to 5 redirects, and tells what keeps its calls from being tracked. No script \
             is run: what scripts or a tag manager put on the page can't be seen. A page that can't be fetched is a \
             report, too.",
        )
        .takes("InstallCheck", PAGE)
        .checked_by(|ctx, body, errors| Box::pin(check_body(ctx, body, errors)))
        .answers(Answer::Object("InstallReport"))
        .takes_long(DEADLINE.saturating_add(PATIENCE))];

async fn check(request: Request) -> Result<Reply, Problem> {
    let url = page_url(&request.ctx, &request.body.need::<String>("url"));
    let url = url.map_err(|error| Problem::field("url", error.to_string()))?;
    match install_check::check(&request.ctx, request.company(), url, LIMITS).await {
        Ok(report) => Ok(Reply::ok(&report.to_json())),
        Err(Error::Busy) => Err(Problem::new(ProblemKind::Unavailable, "Too many pages are being checked")
            .with_header(RETRY_AFTER, HeaderValue::from_static("5"))),
        Err(Error::Db(error)) => Err(error.into()),
        Err(Error::Broken) => Err(Problem::internal("reading a page broke off")),
    }
}

/// A name that DNS doesn't know is told in the report.
async fn check_body(ctx: &Ctx, body: &Values, errors: &mut Errors) -> Result<(), Problem> {
    let Some(text) = body.get::<String>("url") else { return Ok(()) };
    let checked = match page_url(ctx, &text) {
        Ok(url) => ctx.to_webhooks.check_target_resolved(url.as_str(), DNS_TIMEOUT).await.map(drop),
        Err(error) => Err(error),
    };
    match checked {
        Ok(()) | Err(TargetError::Unresolved(_)) => {}
        Err(error) => errors.add("url", error.to_string()),
    }
    Ok(())
}

/// What is behind `#` is copied along from a browser, and isn't sent.
fn page_url(ctx: &Ctx, text: &str) -> Result<Url, TargetError> {
    ctx.to_webhooks.check_target(text.split('#').next().unwrap_or(text))
}
