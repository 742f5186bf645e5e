//! Visits of the company's web site: the list, and one with its pages and the reasons for the numbers that it was shown.

use std::collections::HashMap;

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse as _};
use jiff::tz::TimeZone;

use super::error::PageError;
use super::gate::{self, Answer, Request};
use super::view::{Frame, Moment, Pages, Section, word};
use crate::calls::{self, Call};
use crate::db::{self, Tx};
use crate::http::AppState;
use crate::kernel::clock::Micros;
use crate::kernel::id::{CallId, SessionId};
use crate::visits::Touch;
use crate::visits::explain::{self, Explained, Had, PageView, Session};
use crate::visits::session::Decision;

/// Calls of a visitor that are shown.
const CALLS_MAX: i64 = 50;

pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/companies/{company_id}/visits", gate::page(list))
        .route("/companies/{company_id}/visits/{session_id}", gate::page(show))
}

/// What a visit is credited to, for people.
fn source(touch: &Touch) -> String {
    let parts = [&touch.source, &touch.campaign, &touch.keyword];
    parts.into_iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(", ")
}

/// A visit as a row of the list.
struct Row {
    session: Session,
    started: Moment,
    channel: String,
    source: String,
    pages: i64,
    /// The last that is credited to it.
    call: Option<CallId>,
}

#[derive(Template)]
#[template(path = "visits.html")]
struct VisitsPage {
    frame: Frame,
    company_id: i64,
    time_zone: String,
    rows: Vec<Row>,
    pages: Pages,
}

async fn list(request: Request) -> Answer {
    let (page, scope) = (request.page()?, request.scope());
    let listed = explain::list(&request.ctx.db, scope, page).await?;
    let ids: Vec<SessionId> = listed.rows.iter().map(|session| session.id).collect();
    let read = move |tx: &mut Tx<'_>| {
        Ok::<_, db::Error>((explain::further_pages(tx, &ids)?, calls::of_sessions(tx, scope, &ids)?))
    };
    let (further, calls): (HashMap<_, _>, HashMap<_, _>) = request.ctx.db.read("visits.page", read).await?;
    let zone = request.zone();
    let row = |session: Session| Row {
        started: Moment::new(session.started_at, &zone),
        channel: word(&session.touch.channel),
        source: source(&session.touch),
        pages: 1 + further.get(&session.id).copied().unwrap_or_default(),
        call: calls.get(&session.id).copied(),
        session,
    };
    let page = VisitsPage {
        frame: request.frame("Visits", Section::Trackers),
        company_id: request.company().id.0,
        time_zone: request.company().time_zone.clone(),
        rows: listed.rows.into_iter().map(row).collect(),
        pages: request.pages(page, "", listed.next),
    };
    Ok(Html(page.render()?).into_response())
}

/// A page that was looked at.
struct Viewed {
    page: PageView,
    at: Moment,
}

/// A number that was the visitor's.
struct Lent {
    had: Had,
    from: Moment,
    until: Moment,
    /// Somebody else has it since.
    has_ended: bool,
}

impl Lent {
    fn new(had: Had, zone: &TimeZone) -> Lent {
        Lent {
            from: Moment::new(had.started_at, zone),
            until: Moment::new(had.ended_at.unwrap_or(had.live_until), zone),
            has_ended: had.ended_at.is_some(),
            had,
        }
    }
}

/// A decision with its outcome for people.
struct Decided {
    decision: Decision,
    outcome: String,
}

/// A call of the visitor.
struct Called {
    call: Call,
    started: Moment,
    status: String,
    /// It is credited to this very visit.
    is_of_this: bool,
}

#[derive(Template)]
#[template(path = "visit.html")]
struct VisitPage {
    frame: Frame,
    company_id: i64,
    time_zone: String,
    session: Session,
    started: Moment,
    seen: Moment,
    channel: String,
    /// What first led the visitor here, if it was something else.
    first: Option<(Moment, String)>,
    viewed: Vec<Viewed>,
    decided: Vec<Decided>,
    lent: Vec<Lent>,
    called: Vec<Called>,
}

async fn show(request: Request) -> Answer {
    let (scope, id) = (request.scope(), request.id::<SessionId>("session_id")?);
    let read = move |tx: &mut Tx<'_>| {
        let Some(found) = explain::find(tx, scope, id)? else { return Ok(None) };
        let calls = calls::of_visitor(tx, scope, found.session.visitor, CALLS_MAX)?;
        Ok::<_, db::Error>(Some((found, calls)))
    };
    let found = request.ctx.db.read("visits.get", read).await?;
    let (Explained { session, pages, leases }, calls) = found.ok_or(PageError::NotFound)?;
    let zone = request.zone();
    let first = &session.first_touch;
    let first = (!first.is_same_source(&session.touch)).then(|| {
        let parts = [word(&first.channel), source(first)];
        let text = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        (Moment::new(Micros(first.at), &zone), text)
    });
    let decided =
        |decision: &Decision| Decided { outcome: word(&decision.outcome), decision: decision.clone() };
    let called = |call: Call| Called {
        started: Moment::new(call.started_at, &zone),
        status: word(call.status.as_str()),
        is_of_this: call.attribution.session_id == Some(id.0),
        call,
    };
    let page = VisitPage {
        frame: request.frame("Visit", Section::Trackers),
        company_id: request.company().id.0,
        time_zone: request.company().time_zone.clone(),
        started: Moment::new(session.started_at, &zone),
        seen: Moment::new(session.seen_at, &zone),
        channel: word(&session.touch.channel),
        first,
        viewed: pages.into_iter().map(|page| Viewed { at: Moment::new(page.at, &zone), page }).collect(),
        decided: session.decisions.iter().map(decided).collect(),
        lent: leases.into_iter().map(|had| Lent::new(had, &zone)).collect(),
        called: calls.into_iter().map(called).collect(),
        session,
    };
    Ok(Html(page.render()?).into_response())
}
