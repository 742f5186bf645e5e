//! What was told about a company's webhooks: the whole list with a button for each that nobody has seen, and the
//! latest of those for the webhooks' page.

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse as _, Redirect};
use jiff::tz::TimeZone;

use super::error::PageError;
use super::gate::{self, Answer, Request};
use super::view::{Frame, Moment, Pages, Section};
use crate::alerts::{self, Alert, Filter, Kind, MailStatus};
use crate::http::AppState;
use crate::kernel::id::AlertId;
use crate::kernel::page::Page;

/// Alerts on the webhooks' page.
const LATEST: usize = 5;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/companies/{company_id}/alerts", gate::page(list))
        .route("/companies/{company_id}/alerts/{alert_id}/acknowledge", gate::form(acknowledge))
}

/// An alert as pages show it.
pub(super) struct Told {
    pub alert: Alert,
    pub raised: Moment,
    pub acknowledged: Option<Moment>,
}

impl Told {
    fn new(alert: Alert, zone: &TimeZone) -> Told {
        Told {
            raised: Moment::new(alert.created_at, zone),
            acknowledged: alert.acknowledged_at.map(|at| Moment::new(at, zone)),
            alert,
        }
    }

    /// What happened, in a word.
    pub(super) fn word(&self) -> &'static str {
        match self.alert.kind {
            Kind::Failing => "failing",
            Kind::Deactivated => "deactivated",
            Kind::Recovered => "recovered",
        }
    }

    pub(super) fn webhook_url(&self) -> String {
        format!("/companies/{}/webhooks/{}", self.alert.company_id, self.alert.webhook_id)
    }

    /// About its mail, if that didn't go as it should.
    pub(super) fn mail_note(&self) -> Option<String> {
        let failure = &self.alert.mail.failure;
        match self.alert.mail.status() {
            MailStatus::Pending if !failure.is_empty() => Some(format!("It isn’t mailed yet. {failure}")),
            MailStatus::Failed => Some(format!("It wasn’t mailed to everybody. {failure}")),
            MailStatus::None | MailStatus::Sent | MailStatus::Pending => None,
        }
    }
}

/// The latest that nobody has acknowledged.
///
/// # Errors
/// The database's.
pub(super) async fn latest(request: &Request) -> Result<Vec<Told>, PageError> {
    let filter = Filter { acknowledged: Some(false), ..Filter::default() };
    let page = Page { limit: LATEST, ..Page::default() };
    let listed = alerts::list(&request.ctx.db, request.scope(), filter, page).await?;
    let zone = request.zone();
    Ok(listed.rows.into_iter().map(|alert| Told::new(alert, &zone)).collect())
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct AlertsPage {
    frame: Frame,
    company_id: i64,
    time_zone: String,
    rows: Vec<Told>,
    pages: Pages,
    is_mailed: bool,
}

async fn list(request: Request) -> Answer {
    let page = request.page()?;
    let listed = alerts::list(&request.ctx.db, request.scope(), Filter::default(), page).await?;
    let zone = request.zone();
    let page = AlertsPage {
        frame: request.frame("Alerts", Section::Webhooks),
        company_id: request.company().id.0,
        time_zone: request.company().time_zone.clone(),
        rows: listed.rows.into_iter().map(|alert| Told::new(alert, &zone)).collect(),
        pages: request.pages(page, "", listed.next),
        is_mailed: request.ctx.config.mail.is_some(),
    };
    Ok(Html(page.render()?).into_response())
}

async fn acknowledge(request: Request) -> Answer {
    let (scope, id) = (request.scope(), request.id::<AlertId>("alert_id")?);
    let change =
        request.ctx.db.write("alerts.acknowledge", move |tx| alerts::acknowledge(tx, scope, id, true));
    change.await?.ok_or(PageError::NotFound)?;
    Ok(Redirect::to(&format!("/companies/{}/alerts", request.company().id)).into_response())
}
