//! A company's settings: its own, and the way to those of its carriers, users and tokens and to what was changed.

use askama::Template;
use axum::Router;
use serde_json::Value as Json;

use super::flash::Flash;
use super::form::{self, Ask, Input, Shape};
use super::gate::{self, Answer, Request};
use super::view::{Frame, Section, Tab};
use crate::http::AppState;
use crate::http::api::ask::route;
use crate::http::problem::Problem;

pub(super) const ASKS: &[Ask] = &[
    Ask::new("name", "Name").hint(""),
    Ask::new("time_zone", "Time zone")
        .hint("Such as America/New_York: its days are the days of reports and of billing periods."),
    Ask::new("country", "Country").hint("Two letters, such as US: where numbers are bought."),
    Ask::new("billing_day", "Billing day")
        .hint("The day of the month on which a billing period begins, 1 to 28."),
    Ask::new("source_days", "Days that a source counts")
        .hint("A visitor who comes back without a source of their own keeps the last one for so long."),
];

/// The parts of the settings: what they are called, and their path.
const PARTS: [(&str, &str); 6] = [
    ("Company", ""),
    ("Carriers", "/carriers"),
    ("Users", "/users"),
    ("API tokens", "/tokens"),
    ("Audit log", "/audit"),
    ("My password", "/password"),
];

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/companies/{company_id}/settings", gate::page(show).merge(gate::form(update)))
}

/// The links to the parts; `current` is the path of the one that is shown.
pub(super) fn tabs(request: &Request, current: &str) -> Vec<Tab> {
    let tab = |(title, path): (&'static str, &'static str)| Tab {
        title,
        icon: "settings",
        url: format!("/companies/{}/settings{path}", request.company().id),
        is_current: path == current,
    };
    PARTS.into_iter().map(tab).collect()
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    tabs: Vec<Tab>,
    company_id: i64,
    site_key: String,
    /// Whoever looks sees the whole account.
    sees_all: bool,
    failure: String,
    inputs: Vec<Input>,
    /// For those who may only look.
    facts: Vec<(&'static str, String)>,
}

async fn show(request: Request) -> Answer {
    answer(&request, None).await
}

/// `refused` is what was typed and why it wasn't taken.
async fn answer(request: &Request, refused: Option<(&Json, &Problem)>) -> Answer {
    let company = request.company();
    let present = company.to_json();
    let (values, problem) = refused.map_or((&present, None), |(typed, problem)| (typed, Some(problem)));
    let inputs = form::inputs(route("update_company").body_fields(), ASKS, values, problem);
    let fact = |ask: &Ask| {
        let value = &present[ask.name];
        (ask.label, value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let page = SettingsPage {
        frame: request.frame("Settings", Section::Settings),
        tabs: tabs(request, ""),
        company_id: company.id.0,
        site_key: company.site_key.clone(),
        sees_all: request.user.company.is_none(),
        failure: form::failure(problem, &inputs),
        inputs,
        facts: ASKS.iter().map(fact).collect(),
    };
    gate::rendered(&page, problem)
}

async fn update(request: Request) -> Answer {
    let body = request.typed.body(route("update_company").body_fields(), ASKS);
    match request.ask("update_company", Some(body.clone())).await {
        Ok(_) => Ok(request.go("/settings", &Flash::notice("Saved."))),
        Err(problem) if problem.is_about_input() => answer(&request, Some((&body, &problem))).await,
        Err(problem) => Err(problem.into()),
    }
}
