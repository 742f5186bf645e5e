//! A company's API tokens: made here, shown once, revoked.

use askama::Template;
use axum::Router;
use serde_json::{Value as Json, json};

use super::error::PageError;
use super::flash::Flash;
use super::form::{self, Ask, Input, Shape};
use super::gate::{self, Answer, Request};
use super::settings::tabs;
use super::view::{Frame, Moment, Pages, Section, Tab};
use crate::auth;
use crate::http::AppState;
use crate::http::api::fields::{self, Field, Kind, Mode};
use crate::http::problem::Problem;
use crate::kernel::id::TokenId;

const FIELDS: &[Field] = &[
    Field::new("name", Kind::Text { min: 1, max: 100 }, "").required(),
    Field::new("can_write", Kind::Bool, "").required(),
];
const ASKS: &[Ask] = &[
    Ask::new("name", "Name").hint("What it is for, such as “CRM”."),
    Ask::new("can_write", "May change things").hint("Without, it only reads."),
];

pub(super) fn router() -> Router<AppState> {
    const ALL: &str = "/companies/{company_id}/settings/tokens";
    Router::new()
        .route(ALL, gate::page(list).merge(gate::form(create)))
        .route(&format!("{ALL}/{{token_id}}/revoke"), gate::form(revoke))
}

struct Row {
    token: auth::Token,
    created: Moment,
    revoked: Option<Moment>,
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage {
    frame: Frame,
    tabs: Vec<Tab>,
    path: String,
    /// Made just now; "" usually.
    secret: String,
    rows: Vec<Row>,
    pages: Pages,
    time_zone: String,
    failure: String,
    inputs: Vec<Input>,
}

async fn list(request: Request) -> Answer {
    answer(&request, &json!({ "can_write": false }), None).await
}

async fn answer(request: &Request, values: &Json, problem: Option<&Problem>) -> Answer {
    let page = request.page()?;
    let listed = auth::list(&request.ctx.db, request.scope(), page).await?;
    let zone = request.zone();
    let row = |token: auth::Token| Row {
        created: Moment::new(token.created_at, &zone),
        revoked: token.revoked_at.map(|at| Moment::new(at, &zone)),
        token,
    };
    let inputs = form::inputs(FIELDS, ASKS, values, problem);
    let page = TokensPage {
        frame: request.frame("API tokens", Section::Settings),
        tabs: tabs(request, "/tokens"),
        path: format!("/companies/{}/settings/tokens", request.company().id),
        secret: request.flash.secret.clone(),
        rows: listed.rows.into_iter().map(row).collect(),
        pages: request.pages(page, "", listed.next),
        time_zone: request.company().time_zone.clone(),
        failure: form::failure(problem, &inputs),
        inputs,
    };
    gate::rendered(&page, problem)
}

async fn create(request: Request) -> Answer {
    let body = request.typed.body(FIELDS, ASKS);
    let (values, errors) = fields::read(body.to_string().as_bytes(), FIELDS, Mode::New)?;
    if let Err(problem) = errors.into_result() {
        return answer(&request, &body, Some(&problem)).await;
    }
    let (scope, name, can_write) = (request.scope(), values.need::<String>("name"), values.need("can_write"));
    let make = move |tx: &mut crate::db::Tx<'_>| auth::create(tx, &name, Some(scope.company()), can_write);
    let secret = request.ctx.db.write("tokens.create", make).await?;
    request.note("create_token", &body).await;
    let notice = "The token is made.".to_owned();
    Ok(request.go("/settings/tokens", &Flash { notice, secret }))
}

async fn revoke(request: Request) -> Answer {
    let (scope, id) = (request.scope(), request.id::<TokenId>("token_id")?);
    if !request.ctx.db.write("tokens.revoke", move |tx| auth::revoke(tx, scope, id)).await? {
        return Err(PageError::NotFound);
    }
    request.note("revoke_token", &Json::Null).await;
    Ok(request.go("/settings/tokens", &Flash::notice("The token is revoked: it opens nothing any more.")))
}
