//! The first page: the companies that a user sees. Who sees one only is sent there.

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse as _, Redirect};

use super::gate::{self, Answer, Request};
use super::view::{Frame, Pages};
use crate::companies::{self, Company};
use crate::http::AppState;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/", gate::page(list))
        .route("/companies/{company_id}", gate::page(async |request| Ok(first_page(request.company()))))
}

#[derive(Template)]
#[template(path = "companies.html")]
struct CompaniesPage {
    frame: Frame,
    companies: Vec<Company>,
    pages: Pages,
    /// The user may see companies that are made later.
    sees_all: bool,
}

async fn list(request: Request) -> Answer {
    let page = request.page()?;
    let listed = companies::list(&request.ctx.db, request.user.company, page).await?;
    if let ([only], None) = (listed.rows.as_slice(), page.after) {
        return Ok(first_page(only));
    }
    let page = CompaniesPage {
        frame: Frame::of("Companies", &request.user, None),
        companies: listed.rows,
        pages: request.pages(page, "", listed.next),
        sees_all: request.user.company.is_none(),
    };
    Ok(Html(page.render()?).into_response())
}

/// What there is to see first of a company.
fn first_page(company: &Company) -> axum::response::Response {
    Redirect::to(&format!("/companies/{}/overview", company.id)).into_response()
}
