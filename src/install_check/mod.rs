//! Whether a company's script is on its site as it should be: fetches one page and says what stands against it.
//!
//! Decides: what is fetched and how much of it, which trackers' numbers are looked for. The rules are in files of
//! their own, and pure: what a page has (`page`, `stack`), which numbers stand on it (`numbers`), what its policies
//! allow (`csp`), which script is ours (`script`), and what is told of all that (`report`).
//!
//! What scripts put on a page can't be seen from here: no script is run.

mod csp;
mod fetch;
mod numbers;
mod page;
mod report;
mod script;
mod stack;

use std::time::Duration;

use tokio::sync::Semaphore;
use url::Url;

pub use numbers::Place;
pub use report::{ProblemKind, Report};

use crate::companies::{Company, Scope};
use crate::ctx::Ctx;
use crate::db;
use crate::kernel::page::{LIMIT_MAX, Page};
use crate::outbound::Limits;
use crate::trackers::{self, TrackerType, TrackerView};
use report::{Shown, Site};

/// For a page with all its redirects.
pub const DEADLINE: Duration = Duration::from_secs(15);
/// Bytes of a page that are read; most have a tenth of it.
pub const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What a page may cost.
pub const LIMITS: Limits =
    Limits { deadline: DEADLINE, read_bytes_max: PAGE_BYTES_MAX, keep_bytes_max: PAGE_BYTES_MAX };
/// A check waits so long for others to end.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Checks at a time: each may hold some 20 MB for a moment.
pub const CHECKS_MAX: usize = 16;
/// Trackers that are looked at: the newest of a company that has more.
const TRACKERS_MAX: usize = 2_000;

static CHECKS: Semaphore = Semaphore::const_new(CHECKS_MAX);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("too many pages are being checked")]
    Busy,
    #[error(transparent)]
    Db(#[from] db::Error),
    #[error("reading a page broke off")]
    Broken,
}

/// Checks a page, whose address has been vetted. That it can't be fetched is in the report.
///
/// # Errors
/// See [`Error`].
pub async fn check(ctx: &Ctx, company: &Company, url: Url, limits: Limits) -> Result<Report, Error> {
    let permit = tokio::time::timeout(PATIENCE, CHECKS.acquire()).await.map_err(|_| Error::Busy)?;
    let trackers = trackers_of(ctx, company).await?;
    let fetched_at = ctx.clock.now();
    let fetched = fetch::fetch(&ctx.to_webhooks, url, limits).await;
    let site = Site {
        public_url: ctx.public_url.clone(),
        site_key: company.site_key.clone(),
        country: company.country.clone(),
    };
    // Tenths of a second, on a page that was made to be slow.
    let judging = tokio::task::spawn_blocking(move || report::judge(&site, &fetched, fetched_at, &trackers));
    let report = judging.await.map_err(|_| Error::Broken)?;
    drop(permit);
    Ok(report)
}

/// The company's trackers, with what they show and replace.
async fn trackers_of(ctx: &Ctx, company: &Company) -> db::Result<Vec<Shown>> {
    let mut shown = Vec::new();
    let mut page = Page { limit: LIMIT_MAX, ..Page::default() };
    loop {
        let listed = trackers::list(&ctx.db, Scope::of(company.id), page).await?;
        let last = listed.rows.last().map(|view| view.tracker.id.0);
        shown.extend(listed.rows.into_iter().map(|view| shown_of(view, &company.country)));
        if listed.next.is_none() || shown.len() >= TRACKERS_MAX {
            return Ok(shown);
        }
        page.after = last;
    }
}

/// Numbers of a billboard aren't shown instead of others; nor are those of a tracker that is off.
fn shown_of(view: TrackerView, country: &str) -> Shown {
    let settings = &view.tracker.settings;
    let replaces = settings.status && settings.tracker_type != TrackerType::Offline;
    let targets = if replaces { trackers::swap::targets(settings, country) } else { Vec::new() };
    let numbers =
        view.numbers.into_iter().filter(|number| number.status).map(|number| number.number).collect();
    Shown { id: view.tracker.id, name: view.tracker.settings.name, targets, numbers }
}
