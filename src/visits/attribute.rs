//! Whose call it is. A call or a message to a pool's number is credited to the visit of whoever was shown it, with
//! how sure that is and who else it may have been ([`confidence`](super::confidence)); to any other number, to what its
//! tracker stands for. What is found is kept with the call and never looked up again.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::Touch;
use super::confidence::{self, LeaseFacts, Spans};
use super::source::{Channel, classify};
use crate::companies::Scope;
use crate::db::{self, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{NumberId, SessionId, VisitorId};
use crate::kernel::phone::PhoneNumber;
use crate::trackers::pool::{self, Lease};
use crate::trackers::{Settings, TrackerType};

/// Visits that a call may be credited to.
const CANDIDATES_MAX: i64 = 20;
/// Pages of a visit that a call shows: the first ones.
const PAGES_MAX: i64 = 100;

/// What a call or a message is credited to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attribution {
    /// None: no visit is known.
    pub session: Option<SessionId>,
    /// 0 to 1; None where nobody could be meant, as with a number on a billboard.
    pub confidence: Option<f64>,
    pub source: Touch,
    /// URLs, oldest first.
    pub pages: Vec<String>,
    pub ip: String,
    pub snapshot: Snapshot,
}

/// What is kept beside the contract's keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub visitor_id: Option<i64>,
    pub session_id: Option<i64>,
    pub device: String,
    /// What led to the visitor's first visit, to the caller's first contact, and to this one.
    pub first_touch: Option<Touch>,
    pub lead_touch: Option<Touch>,
    pub last_touch: Option<Touch>,
    pub candidates: Vec<Candidate>,
    /// Why it is credited so, for people.
    pub why: String,
}

/// A visit whose visitor may have called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub session_id: i64,
    pub visitor_id: i64,
    pub lease_id: i64,
    pub confidence: f64,
    /// Microseconds since 1970: since when the visitor had the number, and their last sign of life.
    pub started_at: i64,
    pub seen_at: i64,
}

impl Snapshot {
    /// As kept in a column.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("texts and finite numbers always become JSON")
    }

    /// What a column holds.
    pub fn parse(text: &str) -> Snapshot {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Adds to a call's or a message's object what it has beside the contract's keys.
    pub fn add_to(&self, object: &mut Json, confidence: Option<f64>) {
        if let (Some(object), Json::Object(more)) = (object.as_object_mut(), self.to_json(confidence)) {
            object.extend(more);
        }
    }

    fn to_json(&self, confidence: Option<f64>) -> Json {
        let touch = |touch: &Option<Touch>| touch.as_ref().map(Touch::to_json);
        let mut json = json!({
            "attribution_confidence": confidence,
            "attribution_why": self.why,
            "candidates": self.candidates.iter().map(Candidate::to_json).collect::<Vec<_>>(),
            "visitor_id": self.visitor_id,
            "session_id": self.session_id,
            "device": self.device,
            "first_touch": touch(&self.first_touch),
            "lead_touch": touch(&self.lead_touch),
            "last_touch": touch(&self.last_touch),
        });
        self.last_touch.as_ref().unwrap_or(&Touch::default()).add_parameters_to(&mut json);
        json
    }
}

impl Candidate {
    /// As the API shows it.
    pub fn to_json(&self) -> Json {
        json!({
            "session_id": self.session_id,
            "visitor_id": self.visitor_id,
            "confidence": self.confidence,
            "started_at": Micros(self.started_at).rfc3339(),
            "seen_at": Micros(self.seen_at).rfc3339(),
        })
    }
}

/// Who is credited with a call or message to this number now.
///
/// # Errors
/// The database's.
pub fn attribute(
    tx: &mut Tx<'_>,
    scope: Scope,
    settings: &Settings,
    number: NumberId,
    caller: Option<&PhoneNumber>,
    at: Micros,
) -> db::Result<Attribution> {
    let mut found = match settings.tracker_type {
        TrackerType::NumberPool => of_pool(tx, scope, settings, number, at)?,
        TrackerType::Offline | TrackerType::Campaign => of_tracker(settings, at),
    };
    found.snapshot.last_touch = Some(found.source.clone());
    if let Some(caller) = caller {
        found.snapshot.lead_touch = Some(lead(tx, scope, caller, &found.source)?);
    }
    Ok(found)
}

/// What the tracker itself stands for.
fn of_tracker(settings: &Settings, at: Micros) -> Attribution {
    let parameters = settings.campaign_campaign_parameters.trim().trim_start_matches('?');
    let source = if settings.campaign_source == "campaign_parameters" && !parameters.is_empty() {
        // Whoever sees the number came with these.
        let page = format!("https://site.invalid/?{parameters}");
        Touch { landing_page: String::new(), ..Touch::new(&classify(&page, ""), "", at) }
    } else {
        Touch { at: at.0, channel: channel(settings).as_str().to_owned(), ..Touch::default() }
    };
    let why = format!("the number stands for {:?}, whoever calls it", settings.name);
    Attribution { source, snapshot: Snapshot { why, ..Snapshot::default() }, ..Attribution::default() }
}

/// The channel that a tracker stands for by itself.
fn channel(settings: &Settings) -> Channel {
    let search_for = settings.campaign_search_for.trim();
    match (settings.tracker_type, settings.campaign_source.as_str()) {
        (TrackerType::Offline, _) => Channel::Offline,
        (TrackerType::Campaign, "search") if search_for == "paid" => Channel::Paid,
        (TrackerType::Campaign, "search") if search_for == "organic" => Channel::Organic,
        (TrackerType::Campaign, "referral") => Channel::Referral,
        (TrackerType::Campaign, "direct") => Channel::Direct,
        (TrackerType::Campaign | TrackerType::NumberPool, _) => Channel::Unknown,
    }
}

fn of_pool(
    tx: &mut Tx<'_>,
    scope: Scope,
    settings: &Settings,
    number: NumberId,
    at: Micros,
) -> db::Result<Attribution> {
    let mut leases = pool::leases(tx, number, at, confidence::WINDOW, CANDIDATES_MAX)?;
    // Of two at the same moment the later one counts.
    leases.reverse();
    let terms = &settings.pool;
    let cooldown = terms.free_after().saturating_sub(terms.live_for());
    let facts: Vec<LeaseFacts<VisitorId>> = leases.iter().map(facts).collect();
    let weights = confidence::weigh(at, Spans { live: terms.live_for(), cooldown }, &facts);
    let Some(best) = confidence::credited(&facts, &weights) else {
        let mut nobody = of_tracker(settings, at);
        nobody.snapshot.why = "nobody was shown the number in the day before".to_owned();
        nobody.confidence = Some(0.0);
        return Ok(nobody);
    };
    let mut candidates: Vec<Candidate> = leases.iter().zip(&weights).map(candidate).collect();
    candidates.retain(|candidate| candidate.confidence > 0.0);
    candidates.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let (lease, sure) = (&leases[best], weights[best]);
    let visit = visit(tx, scope, lease.session)?;
    let pages = pages(tx, lease.session, &visit, at)?;
    let snapshot = Snapshot {
        visitor_id: Some(lease.visitor.0),
        session_id: Some(lease.session.0),
        device: visit.device,
        first_touch: Some(visit.first_touch),
        lead_touch: None,
        last_touch: None,
        why: why(lease, at, candidates.len()),
        candidates,
    };
    Ok(Attribution {
        session: Some(lease.session),
        confidence: Some(sure),
        source: Touch { landing_page: visit.landing_page, ..visit.touch },
        pages,
        ip: visit.ip,
        snapshot,
    })
}

fn facts(lease: &Lease) -> LeaseFacts<VisitorId> {
    LeaseFacts {
        visitor: lease.visitor,
        started_at: lease.started_at,
        seen_at: lease.seen_at,
        ended_at: lease.ended_at,
    }
}

fn candidate((lease, weight): (&Lease, &f64)) -> Candidate {
    Candidate {
        session_id: lease.session.0,
        visitor_id: lease.visitor.0,
        lease_id: lease.id.0,
        confidence: (weight * 1000.0).round() / 1000.0,
        started_at: lease.started_at.0,
        seen_at: lease.seen_at.0,
    }
}

fn why(lease: &Lease, at: Micros, candidates: usize) -> String {
    let minutes = at.since(lease.seen_at).as_secs() / 60;
    let had = match lease.ended_at {
        Some(ended) if ended <= at => "had the number before it was given to somebody else",
        _ if lease.live_until < at => "had the number, and nobody since",
        _ => "has the number",
    };
    let others = match candidates {
        0 | 1 => "nobody else is likely".to_owned(),
        2 => "one other may have called".to_owned(),
        n => format!("{} others may have called", n - 1),
    };
    format!("the visitor {had} and was seen {minutes} minutes before the call; {others}")
}

struct Visited {
    touch: Touch,
    landing_page: String,
    ip: String,
    device: String,
    first_touch: Touch,
}

impl FromRow for Visited {
    fn from_row(row: &mut Row<'_>) -> db::Result<Visited> {
        Ok(Visited {
            touch: Touch::parse(&row.get::<String>()?),
            landing_page: row.get()?,
            ip: row.get()?,
            device: row.get()?,
            first_touch: Touch::parse(&row.get::<String>()?),
        })
    }
}

fn visit(tx: &mut Tx<'_>, scope: Scope, session: SessionId) -> db::Result<Visited> {
    let statement = "select s.touch, s.landing_page, s.ip, s.device, v.first_touch
                     from sessions s join visitors v on v.id = s.visitor_id where s.id = ? and s.company_id = ?";
    tx.one(sql(statement).bind(session).bind(scope.company()))
}

/// The URLs of the pages that were viewed before the call: the landing page and later ones, [`PAGES_MAX`] of them.
fn pages(tx: &mut Tx<'_>, session: SessionId, visit: &Visited, at: Micros) -> db::Result<Vec<String>> {
    // What is of the future if the call is of now was written before the clock was set back.
    let until = if at < tx.now() { at } else { Micros(i64::MAX) };
    let later = "select url from page_views where session_id = ? and viewed_at <= ? order by id limit ?";
    let later: Vec<(String,)> = tx.all(sql(later).bind(session).bind(until).bind(PAGES_MAX - 1))?;
    Ok(std::iter::once(visit.landing_page.clone()).chain(later.into_iter().map(|(url,)| url)).collect())
}

/// What led to the first contact of this number with the company: this one, if there was none before.
fn lead(tx: &mut Tx<'_>, scope: Scope, caller: &PhoneNumber, this: &Touch) -> db::Result<Touch> {
    let made = tx.execute(
        sql("insert into contacts (company_id, number, lead_touch, created_at) values (?, ?, ?, ?)
             on conflict (company_id, number) do nothing")
        .bind(scope.company())
        .bind(caller)
        .bind(this.to_text())
        .bind(tx.now()),
    )?;
    if made > 0 {
        return Ok(this.clone());
    }
    let first = "select lead_touch from contacts where company_id = ? and number = ?";
    let (text,): (String,) = tx.one(sql(first).bind(scope.company()).bind(caller))?;
    Ok(Touch::parse(&text))
}
