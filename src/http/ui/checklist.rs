//! What leads to the first call: the steps of a new company, each of which looks by itself whether it is done.

use super::error::PageError;
use super::gate::Request;
use crate::calls::{self, Filter};
use crate::carriers::accounts;
use crate::kernel::page::Page;
use crate::trackers;
use crate::visits::explain;
use crate::webhooks::{self, Status};

/// A step.
pub(super) struct Step {
    pub title: &'static str,
    pub about: &'static str,
    /// Below the company's pages.
    pub path: &'static str,
    pub is_done: bool,
}

/// The steps of the company; None once it has had a call.
///
/// # Errors
/// The database's.
pub(super) async fn of(request: &Request) -> Result<Option<Vec<Step>>, PageError> {
    let (db, scope) = (&request.ctx.db, request.scope());
    let one = Page { limit: 1, ..Page::default() };
    if !calls::list(db, scope, Filter::default(), one).await?.rows.is_empty() {
        return Ok(None);
    }
    let carrier = !accounts::list(db, scope, &request.ctx.key, one).await?.rows.is_empty();
    let tracker = !trackers::list(db, scope, one).await?.rows.is_empty();
    let visit = !explain::list(db, scope, one).await?.rows.is_empty();
    let hooks = webhooks::list(db, scope, Page::default()).await?.rows;
    let step = |title, about, path, is_done| Step { title, about, path, is_done };
    Ok(Some(vec![
        step(
            "Connect a carrier",
            "Your own account at Twilio or one that speaks its language.",
            "settings/carriers",
            carrier,
        ),
        step(
            "Create a tracker",
            "A number of its own for an ad, or a pool of them for your web site.",
            "trackers/new",
            tracker,
        ),
        step(
            "Put the script on your site",
            "It shows each visitor a number. Not needed for billboards and flyers.",
            "script",
            visit,
        ),
        step(
            "Connect a webhook",
            "Your own server hears of every call. It has to answer a verification.",
            "webhooks/new",
            hooks.iter().any(|webhook| webhook.status == Status::Active),
        ),
        step(
            "Get the first call",
            "Dial one of the tracking numbers: the call appears here.",
            "calls",
            false,
        ),
    ]))
}
