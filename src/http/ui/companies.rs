//! The first page: the companies that a user sees, each at a glance. Who sees one only is sent there; who sees the whole
//! account makes new ones here.

use askama::Template;
use axum::Router;
use axum::http::header::SET_COOKIE;
use axum::response::{Html, IntoResponse as _, Redirect};
use serde_json::Value as Json;

use super::error::PageError;
use super::flash::Flash;
use super::form::{self, Ask};
use super::gate::{self, Answer, Request};
use super::settings::ASKS;
use super::sheet::Sheet;
use super::view::{Frame, Pages};
use crate::companies::{self, Company, Scope};
use crate::db::{self, Tx};
use crate::http::AppState;
use crate::http::api::ask::route;
use crate::http::api::reports as api;
use crate::http::problem::Problem;
use crate::kernel::clock::Micros;
use crate::kernel::page::{Listed, Page};
use crate::{reports, webhooks};

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/", gate::page(first))
        .route("/companies", gate::page(list).merge(gate::form(create)))
        .route("/companies/new", gate::page(new))
        .route("/companies/{company_id}", gate::page(async |request| Ok(first_page(request.company()))))
}

/// A company at a glance.
struct Row {
    company: Company,
    /// Of the last 30 days.
    calls: i64,
    /// In percent; "–" without calls.
    answered: String,
    /// Webhooks that don't deliver.
    troubled: i64,
}

impl Row {
    fn read(tx: &mut Tx<'_>, company: Company, now: Micros) -> db::Result<Row> {
        let scope = Scope::of(company.id);
        let sums = reports::total(tx, scope, &api::usual_span(&company, now))?;
        let answered =
            sums.answered_rate().map_or_else(|| "–".to_owned(), |rate| format!("{:.0}%", rate * 100.0));
        Ok(Row { calls: sums.calls, answered, troubled: webhooks::troubled(tx, scope)?, company })
    }
}

#[derive(Template)]
#[template(path = "companies.html")]
struct CompaniesPage {
    frame: Frame,
    rows: Vec<Row>,
    pages: Pages,
    /// The user may see companies that are made later.
    sees_all: bool,
}

async fn first(request: Request) -> Answer {
    let page = request.page()?;
    let listed = companies::list(&request.ctx.db, request.user.company, page).await?;
    if let ([only], None) = (listed.rows.as_slice(), page.after) {
        return Ok(first_page(only));
    }
    show(&request, listed, page).await
}

async fn list(request: Request) -> Answer {
    let page = request.page()?;
    let listed = companies::list(&request.ctx.db, request.user.company, page).await?;
    show(&request, listed, page).await
}

async fn show(request: &Request, listed: Listed<Company>, page: Page) -> Answer {
    let (found, now) = (listed.rows, request.ctx.clock.now());
    let read = move |tx: &mut Tx<'_>| -> db::Result<Vec<Row>> {
        found.iter().map(|company| Row::read(tx, company.clone(), now)).collect()
    };
    let page = CompaniesPage {
        frame: Frame::of("Companies", &request.user, None),
        rows: request.ctx.db.read("companies.glance", read).await?,
        pages: request.pages(page, "", listed.next),
        sees_all: request.user.company.is_none(),
    };
    Ok(Html(page.render()?).into_response())
}

/// What there is to see first of a company.
fn first_page(company: &Company) -> axum::response::Response {
    Redirect::to(&format!("/companies/{}/overview", company.id)).into_response()
}

async fn new(request: Request) -> Answer {
    sheet(&request, &form::defaults(route("create_company").body_fields()), None)
}

async fn create(request: Request) -> Answer {
    let body = request.typed.body(route("create_company").body_fields(), ASKS);
    match request.ask("create_company", Some(body.clone())).await {
        Ok(made) => {
            let flash = Flash::notice("The company is made. Connect its carrier next, under Settings.");
            let to = Redirect::to(&format!("/companies/{}/overview", made["id"]));
            Ok(([(SET_COOKIE, flash.cookie(&request.ctx))], to).into_response())
        }
        Err(problem) if problem.is_about_input() => sheet(&request, &body, Some(&problem)),
        Err(problem) => Err(problem.into()),
    }
}

fn sheet(request: &Request, values: &Json, problem: Option<&Problem>) -> Answer {
    if request.user.company.is_some() {
        return Err(PageError::NotFound);
    }
    request.must_write()?;
    let asks: &[Ask] = ASKS;
    let inputs = form::inputs(route("create_company").body_fields(), asks, values, problem);
    let frame = Frame::of("New company", &request.user, None);
    Sheet::new(frame, "New company", "/companies".to_owned(), "Create").answer(inputs, problem)
}
