//! A visit: how it begins, goes on, and which numbers it is shown.
//!
//! A visit ends after [`IDLE_MAX`] without a sign of life, or when a page view comes from another source, as a
//! second advertisement that is clicked. It is credited to its own source or, if it has none, to that of the
//! visitor's last visit that had one, if that isn't too old.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rules::{self, Rank, Visit};
use super::sites::{Offer, Site, Target};
use super::source::clean_url;
use super::token::{self, Named};
use super::{Touch, agent};
use crate::companies::Scope;
use crate::db::{self, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{LeaseId, SessionId, TrackerId, VisitorId};
use crate::kernel::phone::PhoneNumber;
use crate::kernel::secret::SecretKey;
use crate::trackers::pool::{self, Exhausted, Guest, How, Pool, Taken};

/// Silence after which a visit is over.
pub const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// A page's title at most, in characters.
const TITLE_CHARS_MAX: usize = 300;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A page view that may begin a visit. Everything in it is a stranger's.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub visitor: Option<VisitorId>,
    pub session: Option<SessionId>,
    /// Cleaned, by [`page`].
    pub page: Page,
    /// What led to the page, by itself.
    pub touch: Touch,
    pub ip: Option<IpAddr>,
    pub user_agent: String,
    /// The visitor's network may have another number.
    pub may_take: bool,
}

/// A page that was viewed, fit to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub url: String,
    pub title: String,
}

/// A stranger's words, cleaned and bounded.
pub fn page(url: &str, title: &str) -> Page {
    let title = title.chars().filter(|c| !c.is_control()).take(TITLE_CHARS_MAX).collect();
    Page { url: clean_url(url), title }
}

/// Why a number is shown, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The number on the page.
    pub target: String,
    /// What is shown in its place; "" = it stays.
    pub number: String,
    /// `campaign`, or how a pool's number was come by, `fallback`, `unmatched`, `no_consent`.
    pub outcome: String,
    pub tracker_id: Option<i64>,
    pub tracker_name: String,
    pub why: String,
    pub lease_id: Option<i64>,
    /// In the order in which they were tried, up to the one that won.
    pub tried: Vec<Tried>,
}

/// A rule that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    pub tracker_id: i64,
    pub tracker_name: String,
    pub rule: String,
    pub matched: bool,
    pub why: String,
}

/// A number to be shown in place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Swap {
    pub target: String,
    pub number: String,
    /// The target's country calling code, and what is dialled before a number within the country.
    pub code: String,
    pub trunk: String,
}

/// A visit that began or went on.
#[derive(Clone, Debug)]
pub struct Begun {
    pub visitor: VisitorId,
    pub session: SessionId,
    pub decisions: Vec<Decision>,
    /// What pools were asked, for the planner: counted once it is known that this was written.
    pub asked: Vec<(TrackerId, How)>,
}

impl Begun {
    /// The visit has a pool's number that it didn't have before.
    pub fn took_number(&self) -> bool {
        let new = [How::Free.as_str(), How::Reused.as_str()];
        self.decisions.iter().any(|decision| new.contains(&decision.outcome.as_str()))
    }
}

/// Takes a page view in: the visit begins or goes on, and gets its numbers.
///
/// # Errors
/// The database's.
pub fn begin(tx: &mut Tx<'_>, site: &Site, arrival: &Arrival) -> db::Result<Begun> {
    take_in(tx, site, arrival, true)
}

/// The visit's number became somebody else's: it gets another, and nobody has opened a page. If it is over by now the
/// next one begins with the page that is looked at.
///
/// # Errors
/// The database's.
pub fn renew(tx: &mut Tx<'_>, site: &Site, arrival: &Arrival) -> db::Result<Begun> {
    take_in(tx, site, arrival, false)
}

fn take_in(tx: &mut Tx<'_>, site: &Site, arrival: &Arrival, is_view: bool) -> db::Result<Begun> {
    match present(tx, site.scope, arrival)? {
        Some(present) => go_on(tx, site, arrival, &present, is_view),
        None => begin_another(tx, site, arrival),
    }
}

fn go_on(
    tx: &mut Tx<'_>,
    site: &Site,
    arrival: &Arrival,
    present: &Present,
    is_view: bool,
) -> db::Result<Begun> {
    let (session, visitor) = (present.id, present.visitor);
    if is_view {
        add_page(tx, session, tx.now(), &arrival.page)?;
    }
    let visit = Visit { touch: &present.touch, landing_page: &present.landing_page };
    let guest = Guest { session, visitor, may_take: arrival.may_take };
    let mut desk = Desk { scope: site.scope, visit, guest, is_new: false, asked: Vec::new() };
    let decisions = desk.decide(tx, &site.targets)?;
    // Not back, if the clock was set back.
    let seen_at = tx.now().max(present.seen_at);
    let shown = "update sessions set seen_at = ?, decisions = ? where id = ?";
    tx.execute(sql(shown).bind(seen_at).bind(text_of(&decisions)).bind(session))?;
    Ok(Begun { visitor, session, decisions, asked: desk.asked })
}

/// A visit is one row, written when all about it is known: it gets its id before its leases, and they theirs before it.
fn begin_another(tx: &mut Tx<'_>, site: &Site, arrival: &Arrival) -> db::Result<Begun> {
    let scope = site.scope;
    let known = known_visitor(tx, scope, arrival.visitor)?;
    let touch = credited(tx, site, known, arrival)?;
    let visitor = match known {
        Some(visitor) => visitor,
        None => new_visitor(tx, scope, &arrival.touch)?,
    };
    let session = tx.next_id("sessions")?;
    let visit = Visit { touch: &touch, landing_page: &arrival.page.url };
    let guest = Guest { session, visitor, may_take: arrival.may_take };
    let mut desk = Desk { scope, visit, guest, is_new: known.is_none(), asked: Vec::new() };
    let decisions = desk.decide(tx, &site.targets)?;
    add_session(tx, scope, guest, &touch, arrival, &decisions)?;
    Ok(Begun { visitor, session, decisions, asked: desk.asked })
}

fn text_of(decisions: &[Decision]) -> String {
    serde_json::to_string(decisions).expect("texts and numbers always become JSON")
}

/// What somebody sees who isn't to be remembered, or is a robot: a campaign's number by this page view alone.
pub fn glance(site: &Site, touch: &Touch, page: &Page) -> Vec<Decision> {
    let visit = Visit { touch, landing_page: &page.url };
    let one = |target: &Target| {
        let (won, tried) = first_match(target, visit, |offer| offer.rank != Rank::Pool);
        let mut decision = Decision::of(target, won, tried);
        match won.and_then(|offer| offer.number.as_ref()) {
            Some(number) => decision.show("campaign", number),
            None => "no_consent".clone_into(&mut decision.outcome),
        }
        decision
    };
    site.targets.iter().map(one).collect()
}

/// What is shown in a test of the script: numbers that are nobody's (North America keeps 555-0100 to 555-0199 for
/// fiction), so that none is taken.
pub fn fictional(site: &Site) -> Vec<Decision> {
    let one = |(n, target): (usize, &Target)| {
        let mut decision = Decision::of(target, None, vec![]);
        let area = if target.code == "1" { target.number.as_str().get(2..5) } else { None };
        let number = format!("+1{}555{:04}", area.unwrap_or("202"), 100 + n % 100);
        if let Some(number) = PhoneNumber::from_e164(&number) {
            decision.show("test", &number);
        }
        decision
    };
    site.targets.iter().enumerate().map(one).collect()
}

/// The numbers to show.
pub fn swaps(site: &Site, decisions: &[Decision]) -> Vec<Swap> {
    let shown = site.targets.iter().zip(decisions).filter(|(_, decision)| !decision.number.is_empty());
    let swap = |(target, decision): (&Target, &Decision)| Swap {
        target: decision.target.clone(),
        number: decision.number.clone(),
        code: target.code.clone(),
        trunk: target.trunk.clone(),
    };
    shown.map(swap).collect()
}

impl Decision {
    fn of(target: &Target, won: Option<&Offer>, tried: Vec<Tried>) -> Decision {
        Decision {
            target: target.number.as_str().to_owned(),
            number: String::new(),
            outcome: "unmatched".to_owned(),
            tracker_id: won.map(|offer| offer.tracker.0),
            tracker_name: won.map_or_else(String::new, |offer| offer.settings.name.clone()),
            why: tried.last().filter(|_| won.is_some()).map_or_else(String::new, |last| last.why.clone()),
            lease_id: None,
            tried,
        }
    }

    fn show(&mut self, outcome: &str, number: &PhoneNumber) {
        outcome.clone_into(&mut self.outcome);
        number.as_str().clone_into(&mut self.number);
    }
}

/// The first offer whose rule matches, and those that were tried.
fn first_match<'a>(
    target: &'a Target,
    visit: Visit<'_>,
    may_win: impl Fn(&Offer) -> bool,
) -> (Option<&'a Offer>, Vec<Tried>) {
    let mut tried = Vec::new();
    for offer in target.offers.iter().filter(|offer| may_win(offer)) {
        let verdict = rules::matches(offer.rank, &offer.settings, visit);
        tried.push(Tried {
            tracker_id: offer.tracker.0,
            tracker_name: offer.settings.name.clone(),
            rule: offer.rank.as_str().to_owned(),
            matched: verdict.matched,
            why: verdict.why,
        });
        if verdict.matched {
            return (Some(offer), tried);
        }
    }
    (None, tried)
}

/// Gives a visit its numbers.
struct Desk<'a> {
    scope: Scope,
    visit: Visit<'a>,
    guest: Guest,
    /// The visitor has had no number: it needn't be looked for.
    is_new: bool,
    asked: Vec<(TrackerId, How)>,
}

impl Desk<'_> {
    fn decide(&mut self, tx: &mut Tx<'_>, targets: &[Target]) -> db::Result<Vec<Decision>> {
        targets.iter().map(|target| self.decide_one(tx, target)).collect()
    }

    fn decide_one(&mut self, tx: &mut Tx<'_>, target: &Target) -> db::Result<Decision> {
        let (won, tried) = first_match(target, self.visit, |_| true);
        let mut decision = Decision::of(target, won, tried);
        let Some(offer) = won else { return Ok(decision) };
        if offer.rank != Rank::Pool {
            match &offer.number {
                Some(number) => decision.show("campaign", number),
                None => "the tracker has no number".clone_into(&mut decision.why),
            }
            return Ok(decision);
        }
        let taken = self.ask(tx, &offer.pool())?;
        decision.lease_id = taken.lease.map(|LeaseId(id)| id);
        match (&taken.number, &offer.settings.pool.fallback_number) {
            (Some(number), _) => decision.show(taken.how.as_str(), number),
            (None, Some(number)) if offer.settings.pool.exhausted == Exhausted::FallbackNumber => {
                decision.show("fallback", number);
            }
            (None, _) => taken.how.as_str().clone_into(&mut decision.outcome),
        }
        decision.why = how(taken.how).to_owned();
        Ok(decision)
    }

    fn ask(&mut self, tx: &mut Tx<'_>, pool: &Pool) -> db::Result<Taken> {
        let is_first = self.is_new && self.asked.iter().all(|(tracker, _)| *tracker != pool.tracker);
        let taken = match is_first {
            true => pool::take_first(tx, self.scope, pool, self.guest)?,
            false => pool::take(tx, self.scope, pool, self.guest)?,
        };
        self.asked.push((pool.tracker, taken.how));
        Ok(taken)
    }
}

fn how(how: How) -> &'static str {
    match how {
        How::Held => "the visitor has this number in this visit",
        How::Returned => "the visitor had this number before, and nobody since",
        How::Free => "the pool's number that was free longest",
        How::Reused => "no number was free: that of the visitor seen least recently was taken over",
        How::Exhausted => "no number of the pool was free",
        How::Refused => "too many visitors of this network took numbers",
        How::Empty => "the pool has no numbers",
    }
}

fn known_visitor(tx: &mut Tx<'_>, scope: Scope, named: Option<VisitorId>) -> db::Result<Option<VisitorId>> {
    let Some(named) = named else { return Ok(None) };
    let statement = "select id from visitors where id = ? and company_id = ?";
    Ok(tx.find::<(VisitorId,)>(sql(statement).bind(named).bind(scope.company()))?.map(|(id,)| id))
}

/// A visit that goes on.
struct Present {
    id: SessionId,
    visitor: VisitorId,
    seen_at: Micros,
    touch: Touch,
    landing_page: String,
}

impl FromRow for Present {
    fn from_row(row: &mut Row<'_>) -> db::Result<Present> {
        Ok(Present {
            id: row.get()?,
            visitor: row.get()?,
            seen_at: row.get()?,
            touch: Touch::parse(&row.get::<String>()?),
            landing_page: row.get()?,
        })
    }
}

/// The visit that this page view belongs to; None if it begins another.
fn present(tx: &mut Tx<'_>, scope: Scope, arrival: &Arrival) -> db::Result<Option<Present>> {
    let (Some(session), Some(visitor)) = (arrival.session, arrival.visitor) else { return Ok(None) };
    let statement = "select id, visitor_id, seen_at, touch, landing_page from sessions
                     where id = ? and visitor_id = ? and company_id = ? {{for_update}}";
    let found = tx.find::<Present>(sql(statement).bind(session).bind(visitor).bind(scope.company()))?;
    let goes_on = |present: &Present| {
        tx.now().since(present.seen_at) <= IDLE_MAX
            && (arrival.touch.is_direct() || arrival.touch.is_same_source(&present.touch))
    };
    Ok(found.filter(goes_on))
}

/// What a new visit is credited to.
fn credited(
    tx: &mut Tx<'_>,
    site: &Site,
    visitor: Option<VisitorId>,
    arrival: &Arrival,
) -> db::Result<Touch> {
    let Some(visitor) = visitor.filter(|_| arrival.touch.is_direct()) else {
        return Ok(arrival.touch.clone());
    };
    let oldest = tx.now().before(DAY * site.source_days);
    let last =
        "select touch from sessions where visitor_id = ? and source_channel <> 'direct' and touched_at >= ?
                order by id desc limit 1";
    let last: Option<(String,)> = tx.find(sql(last).bind(visitor).bind(oldest))?;
    Ok(last.map_or_else(|| arrival.touch.clone(), |(text,)| Touch::parse(&text)))
}

fn new_visitor(tx: &mut Tx<'_>, scope: Scope, first: &Touch) -> db::Result<VisitorId> {
    let statement = "insert into visitors (company_id, created_at, first_touch) values (?, ?, ?)";
    tx.insert(sql(statement).bind(scope.company()).bind(tx.now()).bind(first.to_text()))
}

fn add_session(
    tx: &mut Tx<'_>,
    scope: Scope,
    guest: Guest,
    touch: &Touch,
    arrival: &Arrival,
    decisions: &[Decision],
) -> db::Result<()> {
    tx.execute(
        sql("insert into sessions (id, company_id, visitor_id, started_at, seen_at, source_channel, touch, touched_at,
             landing_page, landing_title, ip, device, decisions) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(guest.session)
        .bind(scope.company())
        .bind(guest.visitor)
        .bind(tx.now())
        .bind(tx.now())
        .bind(&touch.channel)
        .bind(touch.to_text())
        .bind(Micros(touch.at))
        .bind(&arrival.page.url)
        .bind(&arrival.page.title)
        .bind(arrival.ip.map_or_else(String::new, |ip| ip.to_canonical().to_string()))
        .bind(agent::device(&arrival.user_agent).as_str())
        .bind(text_of(decisions)),
    )?;
    Ok(())
}

/// Adds a page to a visit, after the one that it began with.
///
/// # Errors
/// The database's.
fn add_page(tx: &mut Tx<'_>, session: SessionId, at: Micros, page: &Page) -> db::Result<()> {
    let statement = "insert into page_views (session_id, viewed_at, url, title) values (?, ?, ?, ?)";
    tx.execute(sql(statement).bind(session).bind(at).bind(&page.url).bind(&page.title))?;
    Ok(())
}

/// The browser's names for a visitor and a visit.
pub fn tokens(key: &SecretKey, scope: Scope, begun: &Begun) -> (String, String) {
    let visitor = token::make(key, scope, Named::Visitor, begun.visitor);
    (visitor, token::make(key, scope, Named::Session, begun.session))
}
