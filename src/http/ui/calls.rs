//! A company's calls, newest first, and one of them with all that is known of it.

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse as _};
use jiff::tz::TimeZone;
use url::Url;

use super::error::PageError;
use super::gate::{self, Answer, Request};
use super::view::{Frame, Moment, Pages, Section, clock, word};
use crate::calls::state::Status;
use crate::calls::{self, Call, CallView, Filter};
use crate::companies::Scope;
use crate::db::{self, Tx};
use crate::http::AppState;
use crate::kernel::clock::Micros;
use crate::kernel::id::CallId;
use crate::recordings::link::Links;
use crate::recordings::update::Kind;
use crate::recordings::{self, Recording, State};
use crate::voicemails;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/companies/{company_id}/calls", gate::page(list))
        .route("/companies/{company_id}/calls/{call_id}", gate::page(show))
}

/// A call as a row of the list.
struct Row {
    call: Call,
    started: Moment,
    /// "" while nothing can be said.
    duration: String,
    /// How long the audio is that can be listened to.
    recording: Option<String>,
}

impl Row {
    fn new(call: Call, zone: &TimeZone) -> Row {
        let stored = call.recording.as_ref().filter(|shown| shown.state == State::Stored);
        Row {
            started: Moment::new(call.started_at, zone),
            duration: duration(&call),
            recording: stored.map(|shown| clock(shown.duration_s)),
            call,
        }
    }

    fn status(&self) -> String {
        word(self.call.status.as_str())
    }

    /// The caller left a message; the call's own page knows whether it can be listened to yet.
    fn has_message(&self) -> bool {
        self.call.status == Status::Voicemail
    }

    /// What the call is credited to, in a few words.
    fn source(&self) -> String {
        let source = &self.call.source;
        let detail = [&source.keyword, &source.referrer].into_iter().find(|text| !text.is_empty());
        match detail {
            Some(detail) => format!("{}: {detail}", word(&source.channel)),
            None => word(&source.channel),
        }
    }
}

/// A call that isn't over lasts for we don't know how long.
fn duration(call: &Call) -> String {
    if call.status.is_final() { clock(call.call_duration) } else { String::new() }
}

#[derive(Template)]
#[template(path = "calls.html")]
struct CallsPage {
    frame: Frame,
    company_id: i64,
    time_zone: String,
    rows: Vec<Row>,
    pages: Pages,
}

async fn list(request: Request) -> Answer {
    let page = request.page()?;
    let listed = calls::list(&request.ctx.db, request.scope(), Filter::default(), page).await?;
    let zone = request.zone();
    let page = CallsPage {
        frame: request.frame("Calls", Section::Calls),
        company_id: request.company().id.0,
        time_zone: request.company().time_zone.clone(),
        rows: listed.rows.into_iter().map(|view| Row::new(view.call, &zone)).collect(),
        pages: request.pages(page, "", listed.next),
    };
    Ok(Html(page.render()?).into_response())
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
    row: Row,
    ended: Option<Moment>,
    audio: Vec<Audio>,
    pages_visited: Vec<String>,
    tags: Vec<String>,
}

async fn show(request: Request) -> Answer {
    let (scope, id) = (request.scope(), request.id::<CallId>("call_id")?);
    let found = request.ctx.db.read("calls.get", move |tx| find(tx, scope, id)).await?;
    let (CallView { call, tags }, recorded) = found.ok_or(PageError::NotFound)?;
    let (zone, now) = (request.zone(), request.ctx.clock.now());
    let links = Links::of(&request.ctx);
    let page = CallPage {
        frame: request.frame("Call", Section::Calls),
        ended: call.ended_at.map(|at| Moment::new(at, &zone)),
        audio: recorded.into_iter().filter_map(|recorded| Audio::new(recorded, &links, now)).collect(),
        pages_visited: serde_json::from_str(&call.source.pages_visited).unwrap_or_default(),
        row: Row::new(call, &zone),
        tags,
    };
    Ok(Html(page.render()?).into_response())
}

struct Recorded {
    recording: Recording,
    transcription: String,
}

fn find(tx: &mut Tx<'_>, scope: Scope, id: CallId) -> db::Result<Option<(CallView, Vec<Recorded>)>> {
    let Some(view) = calls::get(tx, scope, id)? else { return Ok(None) };
    let mut all = Vec::new();
    for recording in recordings::of_call(tx, id)? {
        let voicemail = voicemails::find_by_recording(tx, scope, recording.id)?;
        let transcription = voicemail.map(|voicemail| voicemail.transcription).unwrap_or_default();
        all.push(Recorded { recording, transcription });
    }
    Ok(Some((view, all)))
}
