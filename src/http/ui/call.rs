//! One call with all that is known of it: its audio, where it came from and how sure that is, what its visitor looked at,
//! what webhooks were told of it, and what people note about it.

use askama::Template;
use axum::Router;
use jiff::tz::TimeZone;
use serde_json::Value as Json;
use url::Url;

use super::calls::Row;
use super::error::PageError;
use super::flash::Flash;
use super::form::{self, Ask, Input, Shape};
use super::gate::{self, Answer, Request};
use super::view::{Frame, Moment, Section, clock};
use crate::calls::{self, Call, CallView};
use crate::companies::Scope;
use crate::db::{self, Tx};
use crate::events::{self, Event};
use crate::http::AppState;
use crate::http::api::ask::route;
use crate::http::problem::Problem;
use crate::kernel::clock::Micros;
use crate::kernel::id::{CallId, SessionId, WebhookId};
use crate::recordings::link::Links;
use crate::recordings::update::Kind;
use crate::recordings::{self, Recording, State};
use crate::visits::attribute;
use crate::visits::explain::{self, Explained, PageView};
use crate::voicemails;
use crate::webhooks::{self, Delivery};

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/companies/{company_id}/calls/{call_id}", gate::page(show).merge(gate::form(edit)))
}

/// Audio that can be listened to, and what is said in it.
struct Audio {
    title: &'static str,
    url: String,
    duration: String,
    /// "" if there is none.
    transcription: String,
}

impl Audio {
    /// None while there is no audio.
    fn new(recorded: Recorded, links: &Links, now: Micros) -> Option<Audio> {
        let Recorded { recording, transcription } = recorded;
        let format = recording.format.filter(|_| recording.state == State::Stored)?;
        let title = match recording.kind {
            Kind::Call => "Recording",
            Kind::Voicemail => "Voicemail",
        };
        // The page may be read under another name than the public one: what it plays comes from there too.
        let url = Url::parse(&links.url(recording.id, format, now)).ok()?;
        let url = url[url::Position::BeforePath..].to_owned();
        Some(Audio { title, url, duration: clock(recording.duration_s), transcription })
    }
}

#[derive(Template)]
#[template(path = "call.html")]
struct CallPage {
    frame: Frame,
    company_id: i64,
    row: Row,
    ended: Option<Moment>,
    audio: Vec<Audio>,
    /// What the visitor looked at; nothing if nobody is credited.
    journey: Vec<Step>,
    /// As kept with the call, for calls whose visit is gone.
    pages_visited: Vec<String>,
    candidates: Vec<Candidate>,
    told: Vec<Told>,
    /// How sure the source is, in percent.
    confidence: Option<i64>,
    failure: String,
    inputs: Vec<Input>,
}

const ASKS: &[Ask] = &[
    Ask::new("tags", "Tags").hint("With commas between."),
    Ask::new("lead_status", "Lead status").hint("A word of your own, such as “quoted” or “won”."),
    Ask::new("value", "Value").hint("In the company’s currency."),
    Ask::new("note", "Note"),
    Ask::new("spam", "Spam").hint("Spam isn’t counted in reports."),
];

async fn show(request: Request) -> Answer {
    answer(&request, None).await
}

/// `refused` is what was typed and why it wasn't taken.
async fn answer(request: &Request, refused: Option<(&Json, &Problem)>) -> Answer {
    let (scope, id) = (request.scope(), request.id::<CallId>("call_id")?);
    let found = request.ctx.db.read("calls.get", move |tx| find(tx, scope, id)).await?;
    let Found { view, recorded, visit, events } = found.ok_or(PageError::NotFound)?;
    let (zone, now) = (request.zone(), request.ctx.clock.now());
    let links = Links::of(&request.ctx);
    let stored = view.to_json(&links, now);
    let (values, problem) = refused.map_or((&stored, None), |(typed, problem)| (typed, Some(problem)));
    let inputs = form::inputs(route("update_call").body_fields(), ASKS, values, problem);
    let call = &view.call;
    let page = CallPage {
        frame: request.frame("Call", Section::Calls),
        company_id: request.company().id.0,
        journey: visit.map(|visit| journey(&visit, call, &zone)).unwrap_or_default(),
        candidates: call.attribution.candidates.iter().map(|one| Candidate::new(one, &zone)).collect(),
        told: events.into_iter().map(|(event, sent)| Told::new(&event, sent, &zone)).collect(),
        ended: call.ended_at.map(|at| Moment::new(at, &zone)),
        audio: recorded.into_iter().filter_map(|recorded| Audio::new(recorded, &links, now)).collect(),
        pages_visited: serde_json::from_str(&call.source.pages_visited).unwrap_or_default(),
        confidence: call.attribution_confidence.map(|share| (share * 100.0).round() as i64),
        failure: form::failure(problem, &inputs),
        inputs,
        row: Row::new(view, &zone),
    };
    gate::rendered(&page, problem)
}

async fn edit(request: Request) -> Answer {
    let body = request.typed.body(route("update_call").body_fields(), ASKS);
    match request.ask("update_call", Some(body.clone())).await {
        Ok(_) => Ok(request.go(&format!("/calls/{}", request.path("call_id")), &Flash::notice("Saved."))),
        Err(problem) if problem.is_about_input() => answer(&request, Some((&body, &problem))).await,
        Err(problem) => Err(problem.into()),
    }
}

/// A moment of the visitor's way to the call.
struct Step {
    at: Moment,
    /// A page's title or address, or that they called.
    what: String,
    url: String,
}

fn journey(visit: &Explained, call: &Call, zone: &TimeZone) -> Vec<Step> {
    let page = |page: &PageView| Step {
        at: Moment::new(page.at, zone),
        what: if page.title.is_empty() { page.url.clone() } else { page.title.clone() },
        url: page.url.clone(),
    };
    let called =
        Step { at: Moment::new(call.started_at, zone), what: "Called".to_owned(), url: String::new() };
    let before = visit.pages.iter().filter(|page| page.at <= call.started_at);
    let after = visit.pages.iter().filter(|page| page.at > call.started_at);
    before.map(page).chain([called]).chain(after.map(page)).collect()
}

/// A visit whose visitor may have called.
struct Candidate {
    session_id: i64,
    percent: i64,
    seen: Moment,
}

impl Candidate {
    fn new(one: &attribute::Candidate, zone: &TimeZone) -> Candidate {
        let percent = (one.confidence * 100.0).round() as i64;
        Candidate { session_id: one.session_id, percent, seen: Moment::new(Micros(one.seen_at), zone) }
    }
}

/// An event about the call, and what became of it at each webhook.
struct Told {
    at: Moment,
    event_type: String,
    sent: Vec<Sent>,
}

struct Sent {
    url: String,
    webhook: WebhookId,
    state: &'static str,
    attempts: u32,
}

impl Told {
    fn new(event: &Event, sent: Vec<Delivery>, zone: &TimeZone) -> Told {
        let one = |delivery: Delivery| Sent {
            url: format!("/webhooks/{}/deliveries/{}", delivery.webhook, delivery.public_id()),
            webhook: delivery.webhook,
            state: delivery.state.as_str(),
            attempts: delivery.attempts,
        };
        Told {
            at: Moment::new(event.occurred_at, zone),
            event_type: event.r#type.clone(),
            sent: sent.into_iter().map(one).collect(),
        }
    }
}

struct Recorded {
    recording: Recording,
    transcription: String,
}

/// A call with all that is known around it.
struct Found {
    view: CallView,
    recorded: Vec<Recorded>,
    visit: Option<Explained>,
    events: Vec<(Event, Vec<Delivery>)>,
}

/// Events that are looked through for those of one call, from its beginning on and from its end on.
const EVENTS_MAX: usize = 500;

fn find(tx: &mut Tx<'_>, scope: Scope, id: CallId) -> db::Result<Option<Found>> {
    let Some(view) = calls::get(tx, scope, id)? else { return Ok(None) };
    let mut recorded = Vec::new();
    for recording in recordings::of_call(tx, id)? {
        let voicemail = voicemails::find_by_recording(tx, scope, recording.id)?;
        let transcription = voicemail.map(|voicemail| voicemail.transcription).unwrap_or_default();
        recorded.push(Recorded { recording, transcription });
    }
    let visit = match view.call.attribution.session_id {
        Some(session) => explain::find(tx, scope, SessionId(session))?,
        None => None,
    };
    let mut events = Vec::new();
    for event in events_of(tx, scope, &view.call)? {
        let sent = webhooks::of_event(tx, scope, event.id, event.occurred_at)?;
        events.push((event, sent));
    }
    Ok(Some(Found { view, recorded, visit, events }))
}

/// Events carry no index of what they are about: those from the beginning and from the end of the call on are looked
/// through. In a company with hundreds of events a second that doesn't find those that came much later.
fn events_of(tx: &mut Tx<'_>, scope: Scope, call: &Call) -> db::Result<Vec<Event>> {
    let mut found: Vec<Event> = Vec::new();
    for at in [Some(call.started_at), call.finished_at].into_iter().flatten() {
        for event in events::since(tx, scope, at, EVENTS_MAX)? {
            if is_about(&event, call.id) && !found.iter().any(|known| known.id == event.id) {
                found.push(event);
            }
        }
    }
    Ok(found)
}

fn is_about(event: &Event, call: CallId) -> bool {
    let key = match event.object.as_str() {
        "call" => "id",
        "voicemail" => "call_id",
        _ => return false,
    };
    let data: Json = serde_json::from_str(event.data.get()).unwrap_or_default();
    data[key] == call.0
}
