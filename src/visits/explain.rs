//! Visits for people: a list, and one with its pages and the reasons for the numbers that it was shown, as they were
//! kept at the time.

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use super::Touch;
use super::session::{Decision, Tried};
use crate::companies::Scope;
use crate::db::{self, Db, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{LeaseId, SessionId, VisitorId};
use crate::kernel::page::{Listed, Page};

/// Pages of a visit that are shown: the first ones.
const PAGES_MAX: i64 = 1_000;

/// A visit as stored.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: SessionId,
    pub visitor: VisitorId,
    pub started_at: Micros,
    pub seen_at: Micros,
    pub touch: Touch,
    pub landing_page: String,
    pub landing_title: String,
    pub ip: String,
    pub device: String,
    pub decisions: Vec<Decision>,
    pub first_touch: Touch,
}

const SELECT: &str =
    "select s.id, s.visitor_id, s.started_at, s.seen_at, s.touch, s.landing_page, s.landing_title, s.ip, s.device,
    s.decisions, v.first_touch from sessions s join visitors v on v.id = s.visitor_id";

impl FromRow for Session {
    fn from_row(row: &mut Row<'_>) -> db::Result<Session> {
        Ok(Session {
            id: row.get()?,
            visitor: row.get()?,
            started_at: row.get()?,
            seen_at: row.get()?,
            touch: Touch::parse(&row.get::<String>()?),
            landing_page: row.get()?,
            landing_title: row.get()?,
            ip: row.get()?,
            device: row.get()?,
            decisions: serde_json::from_str(&row.get::<String>()?).unwrap_or_default(),
            first_touch: Touch::parse(&row.get::<String>()?),
        })
    }
}

/// A page of a visit.
#[derive(Clone, Debug)]
pub struct PageView {
    pub at: Micros,
    pub url: String,
    pub title: String,
}

impl FromRow for PageView {
    fn from_row(row: &mut Row<'_>) -> db::Result<PageView> {
        Ok(PageView { at: row.get()?, url: row.get()?, title: row.get()? })
    }
}

/// A number that a visit had.
#[derive(Clone, Debug)]
pub struct Had {
    id: LeaseId,
    pub number: String,
    pub started_at: Micros,
    pub seen_at: Micros,
    pub live_until: Micros,
    pub ended_at: Option<Micros>,
    pub reused: bool,
}

impl FromRow for Had {
    fn from_row(row: &mut Row<'_>) -> db::Result<Had> {
        Ok(Had {
            id: row.get()?,
            number: row.get()?,
            started_at: row.get()?,
            seen_at: row.get()?,
            live_until: row.get()?,
            ended_at: row.get()?,
            reused: row.get()?,
        })
    }
}

impl Had {
    fn to_json(&self) -> Json {
        json!({
            "id": self.id,
            "number": self.number,
            "started_at": self.started_at.rfc3339(),
            "seen_at": self.seen_at.rfc3339(),
            "live_until": self.live_until.rfc3339(),
            "ended_at": self.ended_at.map(Micros::rfc3339),
            "reused": self.reused,
        })
    }
}

/// A visit with everything that is known of it.
#[derive(Clone, Debug)]
pub struct Explained {
    pub session: Session,
    pub pages: Vec<PageView>,
    pub leases: Vec<Had>,
}

impl Session {
    /// The object of the API's list.
    pub fn to_json(&self) -> Json {
        json!({
            "id": self.id,
            "visitor_id": self.visitor,
            "started_at": self.started_at.rfc3339(),
            "seen_at": self.seen_at.rfc3339(),
            "landing_page": self.landing_page,
            "visitor_ip": self.ip,
            "device": self.device,
            "touch": self.touch.to_json(),
            "first_touch": self.first_touch.to_json(),
            "decisions": self.decisions.iter().map(Decision::to_json).collect::<Vec<_>>(),
        })
    }
}

impl Decision {
    /// As the API and the script's overlay show it.
    pub fn to_json(&self) -> Json {
        json!({
            "target": self.target,
            "number": self.number,
            "outcome": self.outcome,
            "tracker_id": self.tracker_id,
            "tracker_name": self.tracker_name,
            "why": self.why,
            "lease_id": self.lease_id,
            "tried": self.tried.iter().map(Tried::to_json).collect::<Vec<_>>(),
        })
    }
}

impl Tried {
    fn to_json(&self) -> Json {
        json!({
            "tracker_id": self.tracker_id,
            "tracker_name": self.tracker_name,
            "rule": self.rule,
            "matched": self.matched,
            "why": self.why,
        })
    }
}

impl Explained {
    /// The object of the API.
    pub fn to_json(&self) -> Json {
        let mut json = self.session.to_json();
        let page = |page: &PageView| json!({"at": page.at.rfc3339(), "url": page.url, "title": page.title});
        json["pages"] = self.pages.iter().map(page).collect();
        json["leases"] = self.leases.iter().map(Had::to_json).collect();
        json
    }
}

/// Newest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, page: Page) -> db::Result<Listed<Session>> {
    let rows = db
        .read("visits.list", move |tx| {
            let statement =
                format!("{SELECT} where s.company_id = ? and s.id < ? order by s.id desc limit ?");
            tx.all(
                sql(statement)
                    .bind(scope.company())
                    .bind(page.after.unwrap_or(i64::MAX))
                    .bind(page.fetch_limit()),
            )
        })
        .await?;
    Ok(Listed::new(rows, page, |session: &Session| session.id.0))
}

/// How many pages each of these visits had, from the second on; visits of one page are left out.
///
/// # Errors
/// The database's.
pub fn further_pages(tx: &mut Tx<'_>, sessions: &[SessionId]) -> db::Result<HashMap<SessionId, i64>> {
    let statement = "select session_id, count(*) from page_views where session_id {{in_ids}} group by 1";
    let statement = sql(statement).bind_ids(sessions.iter().map(|id| id.0));
    Ok(tx.all::<(SessionId, i64)>(statement)?.into_iter().collect())
}

/// One visit; None if it isn't this company's.
///
/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, scope: Scope, id: SessionId) -> db::Result<Option<Explained>> {
    let statement = format!("{SELECT} where s.company_id = ? and s.id = ?");
    let found: Option<Session> = tx.find(sql(statement).bind(scope.company()).bind(id))?;
    let Some(session) = found else { return Ok(None) };
    let pages = "select viewed_at, url, title from page_views where session_id = ? order by id limit ?";
    let leases = "select l.id, n.number, l.started_at, l.seen_at, l.live_until, l.ended_at, l.reused
                  from leases l join tracking_numbers n on n.id = l.number_id
                  where l.visitor_id = ? and l.session_id = ? order by l.id";
    let (at, url, title) = (session.started_at, session.landing_page.clone(), session.landing_title.clone());
    let mut viewed = vec![PageView { at, url, title }];
    viewed.extend(tx.all::<PageView>(sql(pages).bind(id).bind(PAGES_MAX - 1))?);
    Ok(Some(Explained {
        pages: viewed,
        leases: tx.all(sql(leases).bind(session.visitor).bind(id))?,
        session,
    }))
}
