//! The script for the company's web site: what to paste, how to try it, and whether it works on a page.

use askama::Template;
use axum::Router;
use serde_json::{Value as Json, json};

use super::form::{self, Ask, Input, Shape};
use super::gate::{self, Answer, Request};
use super::view::{Frame, Section, word};
use crate::http::AppState;
use crate::http::api::ask::route;
use crate::http::problem::Problem;

const ASKS: &[Ask] = &[Ask::new("url", "Address of a page")
    .hint("One that has a phone number on it, such as https://www.example.com/contact.")
    .line()];

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/companies/{company_id}/script", gate::page(show).merge(gate::form(check)))
}

/// A phone number on the page.
struct Found {
    /// As it is written there.
    text: String,
    number: String,
    places: String,
    count: u64,
    /// Those that replace it.
    trackers: Vec<Named>,
    is_tracking_number: bool,
}

struct Named {
    id: i64,
    name: String,
}

/// What replaces a number that is nowhere on the page.
struct Missing {
    tracker: Named,
    target: String,
}

/// What was found on a page.
struct Report {
    url: String,
    /// Of the answer; None if there was none.
    status: Option<u64>,
    is_truncated: bool,
    problems: Vec<String>,
    scripts: u64,
    is_script_ok: bool,
    has_policy: bool,
    is_policy_ok: bool,
    numbers: Vec<Found>,
    missing: Vec<Missing>,
}

fn text(json: &Json, key: &str) -> String {
    json[key].as_str().unwrap_or_default().to_owned()
}

fn items<'a>(json: &'a Json, key: &str) -> &'a [Json] {
    json[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

impl Report {
    /// From the API's object.
    fn of(report: &Json) -> Report {
        let named = |json: &Json, id: &str, name: &str| Named {
            id: json[id].as_i64().unwrap_or_default(),
            name: text(json, name),
        };
        let found = |one: &Json| Found {
            text: text(one, "text"),
            number: text(one, "number"),
            places: items(one, "places")
                .iter()
                .filter_map(Json::as_str)
                .map(word)
                .collect::<Vec<_>>()
                .join(", "),
            count: one["count"].as_u64().unwrap_or_default(),
            trackers: items(one, "trackers").iter().map(|tracker| named(tracker, "id", "name")).collect(),
            is_tracking_number: one["is_tracking_number"] == true,
        };
        let missing = |one: &Json| Missing {
            tracker: named(one, "tracker_id", "tracker_name"),
            target: text(one, "swap_target"),
        };
        Report {
            url: text(report, "url"),
            status: report["status"].as_u64(),
            is_truncated: report["truncated"] == true,
            problems: items(report, "problems").iter().map(|problem| text(problem, "text")).collect(),
            scripts: report["script"]["found"].as_u64().unwrap_or_default(),
            is_script_ok: report["script"]["ok"] == true,
            has_policy: report["csp"]["present"] == true,
            is_policy_ok: items(&report["csp"], "problems").is_empty(),
            numbers: items(report, "numbers").iter().map(found).collect(),
            missing: items(report, "missing_targets").iter().map(missing).collect(),
        }
    }
}

#[derive(Template)]
#[template(path = "script.html")]
struct ScriptPage {
    frame: Frame,
    company_id: i64,
    tag: String,
    pinned_tag: String,
    debug: String,
    test: String,
    failure: String,
    inputs: Vec<Input>,
    report: Option<Report>,
}

async fn show(request: Request) -> Answer {
    answer(&request, &json!({}), None, None).await
}

async fn answer(
    request: &Request,
    typed: &Json,
    problem: Option<&Problem>,
    report: Option<Report>,
) -> Answer {
    let script = request.ask("get_script", None).await?;
    let inputs = form::inputs(route("check_install").body_fields(), ASKS, typed, problem);
    let page = ScriptPage {
        frame: request.frame("Script", Section::Trackers),
        company_id: request.company().id.0,
        tag: text(&script, "html"),
        pinned_tag: text(&script, "versioned_html"),
        debug: text(&script, "debug"),
        test: text(&script, "test"),
        failure: form::failure(problem, &inputs),
        inputs,
        report,
    };
    gate::rendered(&page, problem)
}

async fn check(request: Request) -> Answer {
    let body = request.typed.body(route("check_install").body_fields(), ASKS);
    match request.ask("check_install", Some(body.clone())).await {
        Ok(report) => answer(&request, &body, None, Some(Report::of(&report))).await,
        Err(problem) if problem.is_about_input() => answer(&request, &body, Some(&problem), None).await,
        Err(problem) => Err(problem.into()),
    }
}
