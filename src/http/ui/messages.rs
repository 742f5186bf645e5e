//! Texts as conversations: the list, one with its texts and a form to answer, and a form for a new one.

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse as _};
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::error::PageError;
use super::flash::Flash;
use super::form::{self, Ask, Choice, Input, Shape};
use super::gate::{self, Answer, Request};
use super::sheet::Sheet;
use super::view::{Frame, Moment, Pages, Section, word};
use crate::http::AppState;
use crate::http::api::ask::route;
use crate::http::problem::Problem;
use crate::kernel::id::MessageId;
use crate::messages::{self, Direction, Message, threads};
use crate::trackers::{self, Tracker};

/// Trackers that one can choose from.
const TRACKERS_MAX: i64 = 500;
/// Characters of a text that the list shows.
const EXCERPT_CHARS: usize = 140;

const ASKS: &[Ask] = &[
    Ask::new("tracker_id", "From").hint("It comes from a number of this tracker."),
    Ask::new("to_number", "To").hint("With country code, such as +12025550143."),
    Ask::new("body", "Text").hint(""),
];
const REPLY: &[Ask] = &[Ask::new("body", "Answer").hint("")];

pub(super) fn router() -> Router<AppState> {
    const ALL: &str = "/companies/{company_id}/messages";
    Router::new()
        .route(ALL, gate::page(list).merge(gate::form(create)))
        .route(&format!("{ALL}/new"), gate::page(new))
        .route(&format!("{ALL}/{{message_id}}"), gate::page(show).merge(gate::form(reply)))
}

/// A conversation as a row of the list.
struct Row {
    message: Message,
    at: Moment,
    number: String,
    excerpt: String,
}

impl Row {
    fn new(message: Message, zone: &TimeZone) -> Row {
        let mut excerpt: String = message.body.chars().take(EXCERPT_CHARS).collect();
        if excerpt.len() < message.body.len() {
            excerpt.push('…');
        }
        if excerpt.trim().is_empty() && !message.media.is_empty() {
            "(a file)".clone_into(&mut excerpt);
        }
        Row { at: Moment::new(message.created_at, zone), number: number(&message), excerpt, message }
    }

    fn is_ours(&self) -> bool {
        is_ours(&self.message)
    }

    fn status(&self) -> String {
        word(self.message.status.as_str())
    }
}

fn is_ours(message: &Message) -> bool {
    message.status.direction() == Direction::Outgoing
}

/// The other party for people.
fn number(message: &Message) -> String {
    message.other().map_or_else(|| "No number".to_owned(), ToString::to_string)
}

#[derive(Template)]
#[template(path = "messages.html")]
struct MessagesPage {
    frame: Frame,
    company_id: i64,
    time_zone: String,
    rows: Vec<Row>,
    pages: Pages,
}

async fn list(request: Request) -> Answer {
    let page = request.page()?;
    let listed = threads::list(&request.ctx.db, request.scope(), page).await?;
    let zone = request.zone();
    let page = MessagesPage {
        frame: request.frame("Messages", Section::Messages),
        company_id: request.company().id.0,
        time_zone: request.company().time_zone.clone(),
        rows: listed.rows.into_iter().map(|message| Row::new(message, &zone)).collect(),
        pages: request.pages(page, "", listed.next),
    };
    Ok(Html(page.render()?).into_response())
}

#[derive(Template)]
#[template(path = "thread.html")]
struct ThreadPage {
    frame: Frame,
    company_id: i64,
    time_zone: String,
    /// The other party; "" if it can't be answered.
    number: String,
    tracker_name: String,
    action: String,
    /// Oldest first, as one reads.
    rows: Vec<Row>,
    pages: Pages,
    /// What the first text is credited to; "" if that isn't on this page, or isn't known.
    source: String,
    failure: String,
    inputs: Vec<Input>,
}

/// The text in the path.
async fn find(request: &Request) -> Result<Message, PageError> {
    let (scope, id) = (request.scope(), request.id::<MessageId>("message_id")?);
    let found = request.ctx.db.read("messages.get", move |tx| messages::find(tx, scope, id)).await?;
    found.ok_or(PageError::NotFound)
}

async fn show(request: Request) -> Answer {
    let message = find(&request).await?;
    thread(&request, &message, &json!({}), None).await
}

async fn thread(request: &Request, message: &Message, typed: &Json, problem: Option<&Problem>) -> Answer {
    let page = request.page()?;
    let listed = threads::of(&request.ctx.db, request.scope(), message, page).await?;
    let zone = request.zone();
    let first = listed.rows.last().filter(|_| listed.next.is_none());
    let mut inputs = form::inputs(route("send_message").body_fields(), REPLY, typed, problem);
    inputs.iter_mut().for_each(widen);
    let page = ThreadPage {
        frame: request.frame("Conversation", Section::Messages),
        company_id: request.company().id.0,
        time_zone: request.company().time_zone.clone(),
        number: message.other().map(ToString::to_string).unwrap_or_default(),
        tracker_name: message.tracker_name.clone(),
        action: format!("/companies/{}/messages/{}", message.company_id, message.id),
        source: first.map(source).unwrap_or_default(),
        pages: request.pages(page, "", listed.next),
        rows: listed.rows.into_iter().rev().map(|message| Row::new(message, &zone)).collect(),
        failure: form::failure(problem, &inputs),
        inputs,
    };
    gate::rendered(&page, problem)
}

/// What a text is credited to, in a few words.
fn source(message: &Message) -> String {
    let Some(touch) = &message.attribution.last_touch else { return String::new() };
    let detail = [&touch.keyword, &touch.source, &touch.referrer].into_iter().find(|text| !text.is_empty());
    match detail {
        Some(detail) => format!("{}: {detail}", word(&touch.channel)),
        None => word(&touch.channel),
    }
}

async fn reply(request: Request) -> Answer {
    let message = find(&request).await?;
    let number = message.other().ok_or(PageError::BadRequest)?;
    let mut body = request.typed.body(route("send_message").body_fields(), REPLY);
    body["tracker_id"] = json!(message.tracker_id);
    body["to_number"] = json!(number);
    match request.ask("send_message", Some(body.clone())).await {
        Ok(sent) => Ok(go(&request, &sent)),
        Err(problem) if problem.is_about_input() => thread(&request, &message, &body, Some(&problem)).await,
        Err(problem) => Err(problem.into()),
    }
}

/// To the conversation of a text that was sent.
fn go(request: &Request, sent: &Json) -> axum::response::Response {
    request.go(&format!("/messages/{}", sent["id"]), &Flash::notice("The carrier has taken the text."))
}

async fn new(request: Request) -> Answer {
    let values = json!({ "to_number": request.query("to").unwrap_or_default() });
    sheet(&request, &values, None).await
}

async fn create(request: Request) -> Answer {
    let body = request.typed.body(route("send_message").body_fields(), ASKS);
    match request.ask("send_message", Some(body.clone())).await {
        Ok(sent) => Ok(go(&request, &sent)),
        Err(problem) if problem.is_about_input() => sheet(&request, &body, Some(&problem)).await,
        Err(problem) => Err(problem.into()),
    }
}

/// A text may have several lines.
fn widen(input: &mut Input) {
    if let ("body", Shape::Line { value, .. }) = (input.name, &mut input.shape) {
        input.shape = Shape::Area { value: std::mem::take(value) };
    }
}

async fn sheet(request: &Request, values: &Json, problem: Option<&Problem>) -> Answer {
    request.must_write()?;
    let scope = request.scope();
    let all = request.ctx.db.read("trackers.all", move |tx| trackers::all(tx, scope, TRACKERS_MAX)).await?;
    let mut inputs = form::inputs(route("send_message").body_fields(), ASKS, values, problem);
    if let Some(input) = inputs.iter_mut().find(|input| input.name == "tracker_id") {
        let choice = |tracker: Tracker| Choice {
            value: tracker.id.to_string(),
            label: tracker.settings.name,
            chosen: values["tracker_id"] == json!(tracker.id),
        };
        input.shape = Shape::Select { choices: all.into_iter().map(choice).collect() };
    }
    inputs.iter_mut().for_each(widen);
    let list = format!("/companies/{}/messages", request.company().id);
    Sheet::new(request.frame("New message", Section::Messages), "New message", list, "Send")
        .answer(inputs, problem)
}
