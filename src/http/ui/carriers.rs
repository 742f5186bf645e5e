//! A company's carrier accounts: connecting one, new credentials, asking the carrier whether it still takes them. What is
//! typed as a secret is never shown again.

use askama::Template;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _};
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::error::PageError;
use super::flash::Flash;
use super::form::{self, Ask, Input, Shape};
use super::gate::{self, Answer, Request};
use super::settings::tabs;
use super::sheet::Sheet;
use super::view::{Frame, Moment, Pages, Section, Tab};
use crate::carriers::Kind;
use crate::carriers::accounts::{self, Registered};
use crate::carriers::client::Client;
use crate::carriers::hook::Hook;
use crate::http::AppState;
use crate::http::api::ask::route;
use crate::http::problem::Problem;
use crate::kernel::id::CarrierId;

const ASKS: &[Ask] = &[
    Ask::new("kind", "Carrier").hint(""),
    Ask::new("account_sid", "Account SID").hint("SignalWire: the project’s id."),
    Ask::new("auth_token", "Auth token").hint("Kept encrypted and never shown again."),
    Ask::new("signing_key", "Signing key").hint("SignalWire only: what it signs its requests with."),
    Ask::new("base_url", "API address")
        .hint("Empty for Twilio. SignalWire: https:// and the host of your space.")
        .line(),
];
const CHANGE: &[Ask] = &[
    Ask::new("auth_token", "New auth token")
        .hint("Empty: it stays as it is. Requests signed with the old one are still taken."),
    Ask::new("signing_key", "New signing key").hint("SignalWire only. Empty: it stays as it is."),
];
const SECRETS: [&str; 2] = ["auth_token", "signing_key"];

pub(super) fn router() -> Router<AppState> {
    const ALL: &str = "/companies/{company_id}/settings/carriers";
    let one = |rest: &str| format!("{ALL}/{{carrier_id}}{rest}");
    Router::new()
        .route(ALL, gate::page(list).merge(gate::form(create)))
        .route(&format!("{ALL}/new"), gate::page(async |request| sheet(&request, None, &json!({}), None)))
        .route(&one(""), gate::page(edit).merge(gate::form(update)))
        .route(&one("/check"), gate::form(check))
        .route(&one("/delete"), gate::form(delete))
}

struct Row {
    id: CarrierId,
    kind: &'static str,
    account_sid: String,
    base_url: String,
    hook_url: String,
    created: Moment,
}

impl Row {
    fn new(found: &Registered, request: &Request, zone: &TimeZone) -> Row {
        let account = &found.account;
        Row {
            id: account.id,
            kind: name(account.kind),
            account_sid: account.account_sid.clone(),
            base_url: account.base_url.to_string(),
            hook_url: found.hooks(&request.ctx.public_url).url(Hook::Voice),
            created: Moment::new(found.created_at, zone),
        }
    }
}

#[derive(Template)]
#[template(path = "carriers.html")]
struct CarriersPage {
    frame: Frame,
    tabs: Vec<Tab>,
    path: String,
    rows: Vec<Row>,
    pages: Pages,
    failure: String,
}

async fn list(request: Request) -> Answer {
    answer(&request, String::new(), StatusCode::OK).await
}

async fn answer(request: &Request, failure: String, status: StatusCode) -> Answer {
    let page = request.page()?;
    let listed = accounts::list(&request.ctx.db, request.scope(), &request.ctx.key, page).await?;
    let zone = request.zone();
    let page = CarriersPage {
        frame: request.frame("Carriers", Section::Settings),
        tabs: tabs(request, "/carriers"),
        path: path(request),
        rows: listed.rows.iter().map(|found| Row::new(found, request, &zone)).collect(),
        pages: request.pages(page, "", listed.next),
        failure,
    };
    Ok((status, Html(page.render()?)).into_response())
}

fn path(request: &Request) -> String {
    format!("/companies/{}/settings/carriers", request.company().id)
}

/// The account in the path.
async fn find(request: &Request) -> Result<Registered, PageError> {
    let (scope, id, key) = (request.scope(), request.id("carrier_id")?, request.ctx.key.clone());
    let found = request.ctx.db.read("carriers.get", move |tx| accounts::find(tx, scope, id, &key)).await?;
    found.ok_or(PageError::NotFound)
}

/// The form for a new account, or for one's credentials.
fn sheet(request: &Request, of: Option<CarrierId>, values: &Json, problem: Option<&Problem>) -> Answer {
    request.must_write()?;
    let (operation, asks) = if of.is_some() { ("update_carrier", CHANGE) } else { ("create_carrier", ASKS) };
    let mut inputs = form::inputs(route(operation).body_fields(), asks, values, problem);
    inputs.iter_mut().for_each(dress);
    let (title, button) = if of.is_some() {
        ("New credentials", "Ask the carrier and save")
    } else {
        ("Connect a carrier", "Ask the carrier and connect")
    };
    let list = path(request);
    let action = of.map_or_else(|| list.clone(), |id| format!("{list}/{id}"));
    let frame = request.frame(title, Section::Settings);
    Sheet::new(frame, title, action, button).with_back(list).answer(inputs, problem)
}

/// What people call the carrier.
fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Twilio => "Twilio",
        Kind::SignalWire => "SignalWire",
    }
}

/// Carriers by their names; a secret is typed unseen and not shown again, even if it was refused.
fn dress(input: &mut Input) {
    if let Shape::Select { choices } = &mut input.shape {
        for choice in choices {
            choice.label = Kind::parse(&choice.value).map_or_else(String::new, |kind| name(kind).to_owned());
        }
    }
    if SECRETS.contains(&input.name) {
        input.shape = Shape::Line { kind: "password", value: String::new() };
    }
}

async fn create(request: Request) -> Answer {
    let body = request.typed.body(route("create_carrier").body_fields(), ASKS);
    match request.ask("create_carrier", Some(body.clone())).await {
        Ok(_) => {
            let flash = Flash::notice("The carrier has taken the credentials: the account is connected.");
            Ok(request.go("/settings/carriers", &flash))
        }
        Err(problem) if problem.is_about_input() => sheet(&request, None, &body, Some(&problem)),
        Err(problem) => Err(problem.into()),
    }
}

async fn edit(request: Request) -> Answer {
    let found = find(&request).await?;
    sheet(&request, Some(found.account.id), &json!({}), None)
}

async fn update(request: Request) -> Answer {
    let id = find(&request).await?.account.id;
    let body = request.typed.body(route("update_carrier").body_fields(), CHANGE);
    match request.ask("update_carrier", Some(body)).await {
        Ok(_) => Ok(request.go("/settings/carriers", &Flash::notice("The credentials are changed."))),
        Err(problem) if problem.is_about_input() => sheet(&request, Some(id), &json!({}), Some(&problem)),
        Err(problem) => Err(problem.into()),
    }
}

/// Asks the carrier for the account: nothing is changed there, and it answers only if the credentials are right.
async fn check(request: Request) -> Answer {
    let account = find(&request).await?.account;
    let id = account.id;
    match Client::new(request.ctx.to_carriers.clone(), account).verify().await {
        Ok(()) => {
            let notice = format!("Account {id} works: the carrier answered and took its credentials.");
            Ok(request.go("/settings/carriers", &Flash::notice(notice)))
        }
        Err(error) => answer(&request, format!("Account {id} doesn’t work: {error}."), StatusCode::OK).await,
    }
}

async fn delete(request: Request) -> Answer {
    match request.ask("delete_carrier", None).await {
        Ok(_) => Ok(request.go("/settings/carriers", &Flash::notice("The account is disconnected."))),
        Err(problem) if problem.is_about_input() => {
            answer(&request, problem.detail().to_owned(), problem.kind().status()).await
        }
        Err(problem) => Err(problem.into()),
    }
}
