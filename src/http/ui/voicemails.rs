//! What callers said when nobody was reached: to listen to, to read, and to go on from to the call.

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse as _};
use jiff::tz::TimeZone;
use url::{Position, Url};

use super::gate::{self, Answer, Request};
use super::view::{Frame, Moment, Pages, Section, clock};
use crate::http::AppState;
use crate::kernel::clock::Micros;
use crate::recordings::State;
use crate::recordings::link::Links;
use crate::voicemails::{self, TranscriptionStatus, Voicemail};

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/companies/{company_id}/voicemails", gate::page(list))
}

struct Row {
    voicemail: Voicemail,
    at: Moment,
    length: String,
    /// None while the audio isn't ours, or if it can't be had.
    url: Option<String>,
}

impl Row {
    fn new(voicemail: Voicemail, links: &Links, now: Micros, zone: &TimeZone) -> Row {
        let format = voicemail.format.filter(|_| voicemail.recording_state == State::Stored);
        let url = format.and_then(|format| {
            // The page may be read under another name than the public one: what it plays comes from there too.
            let url = Url::parse(&links.url(voicemail.recording_id, format, now)).ok()?;
            Some(url[Position::BeforePath..].to_owned())
        });
        Row {
            at: Moment::new(voicemail.created_at, zone),
            length: clock(voicemail.recording_duration_s),
            url,
            voicemail,
        }
    }

    /// Instead of the text, if there is none.
    fn why_no_text(&self) -> &'static str {
        match self.voicemail.transcription_status {
            TranscriptionStatus::Pending => "The text is being made.",
            TranscriptionStatus::Failed => "The carrier made no text of it.",
            TranscriptionStatus::Completed | TranscriptionStatus::Off => "",
        }
    }

    fn why_no_audio(&self) -> &'static str {
        match self.voicemail.recording_state {
            State::Failed | State::Absent | State::Discarded => "The audio can’t be had.",
            State::Pending | State::Stored => "The audio is being fetched.",
        }
    }
}

#[derive(Template)]
#[template(path = "voicemails.html")]
struct VoicemailsPage {
    frame: Frame,
    company_id: i64,
    time_zone: String,
    rows: Vec<Row>,
    pages: Pages,
}

async fn list(request: Request) -> Answer {
    let page = request.page()?;
    let listed = voicemails::list(&request.ctx.db, request.scope(), page).await?;
    let (links, now, zone) = (Links::of(&request.ctx), request.ctx.clock.now(), request.zone());
    let page = VoicemailsPage {
        frame: request.frame("Voicemails", Section::Voicemails),
        company_id: request.company().id.0,
        time_zone: request.company().time_zone.clone(),
        rows: listed.rows.into_iter().map(|one| Row::new(one, &links, now, &zone)).collect(),
        pages: request.pages(page, "", listed.next),
    };
    Ok(Html(page.render()?).into_response())
}
