//! The pages: what an agency watches its calls and webhooks on. Rendered here, without a script that a page
//! needs. Each handler is thin: [`gate`] has decided who asks and for which company, the noun's module does the
//! work, a template shows it. The buttons call the same functions as the REST API.

mod alerts;
mod assets;
mod attempts;
mod audit;
mod blocked;
mod call;
mod calls;
mod carriers;
mod catalogue;
mod chart;
mod checklist;
mod companies;
mod deliveries;
mod device;
mod error;
mod events;
mod flash;
mod form;
mod gate;
mod invitation;
mod live;
mod login;
mod messages;
mod overview;
mod people;
mod replays;
mod script;
mod settings;
pub mod setup;
mod sheet;
mod tokens;
mod tracker_form;
mod trackers;
mod usage;
mod view;
mod visits;
mod voicemails;
mod webhooks;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use futures_util::FutureExt as _;

use self::attempts::Attempts;
use self::error::PageError;
use super::AppState;

/// A page must be answered after this long: verifying a webhook takes 15 s at most when nothing else is set.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Everything is ours: no page loads, frames, or sends a form to anything else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// All pages. To limit failed logins by address the server wants
/// `into_make_service_with_connect_info::<SocketAddr>()`.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .merge(login::router())
        .merge(setup::router())
        .merge(companies::router())
        .merge(overview::router())
        .merge(calls::router())
        .merge(call::router())
        .merge(events::router())
        .merge(webhooks::router())
        .merge(deliveries::router())
        .merge(alerts::router())
        .merge(live::router())
        .merge(catalogue::router())
        .merge(replays::router())
        .merge(trackers::router())
        .merge(script::router())
        .merge(visits::router())
        .merge(blocked::router())
        .merge(messages::router())
        .merge(voicemails::router())
        .merge(usage::router())
        .merge(settings::router())
        .merge(carriers::router())
        .merge(tokens::router())
        .merge(audit::router())
        .merge(people::router())
        .merge(invitation::router())
        .route("/companies/{company_id}/{*rest}", gate::page(async |_| Err(PageError::NotFound)))
        .layer(Extension(Arc::new(Attempts::default())))
        .merge(assets::router())
        .layer(from_fn(for_all))
}

/// What holds for every page: a panic and a slow answer are pages too, nothing is kept in shared caches, and
/// nothing strange is loaded.
async fn for_all(request: Request, next: Next) -> Response {
    // What panicked is dropped with its request; what is shared is behind locks that outlive a panic.
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match tokio::time::timeout(PAGE_TIMEOUT, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => PageError::Internal("a page's handler panicked".to_owned()).into_response(),
        Err(_) => PageError::Busy("a page took too long".to_owned()).into_response(),
    };
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (CACHE_CONTROL, "no-store"),
        // Not no-referrer: browsers would send `Origin: null` with our own forms (Fetch standard, 3.2).
        (REFERRER_POLICY, "same-origin"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
