//! A company's trackers: the list, and one with its numbers, what its pool needs, and the orders that buy for it.

use std::collections::HashMap;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse as _};
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::error::PageError;
use super::flash::Flash;
use super::form::{self, Ask, Input, Shape};
use super::gate::{self, Answer, Request};
use super::tracker_form::{self, complaint};
use super::view::{Frame, Moment, Pages, Section, word};
use crate::carriers::provision::orders::{self, Order, OrderState};
use crate::db::{self, Tx};
use crate::http::AppState;
use crate::http::api::ask::route;
use crate::http::api::reports as api;
use crate::http::problem::Problem;
use crate::kernel::id::TrackerId;
use crate::reports::{self, By};
use crate::trackers::pool::{self, Exhausted};
use crate::trackers::{self, Settings, TrackerType, TrackerView};

/// Trackers whose calls are counted for the list: a company has tens.
const COUNTED_MAX: usize = 2_000;
/// What became of an order is shown for so long.
const ORDERS_SHOWN: Duration = Duration::from_secs(2 * 24 * 3600);

pub(super) fn router() -> Router<AppState> {
    const ALL: &str = "/companies/{company_id}/trackers";
    const ONE: &str = "/companies/{company_id}/trackers/{tracker_id}";
    const ORDER: &str = "/companies/{company_id}/number-orders/{order_id}/cancel";
    Router::new()
        .route(ALL, gate::page(list).merge(gate::form(tracker_form::create)))
        .route(&format!("{ALL}/new"), gate::page(tracker_form::new))
        .route(ONE, gate::page(show).merge(gate::form(tracker_form::update)))
        .route(&format!("{ONE}/edit"), gate::page(tracker_form::edit))
        .route(&format!("{ONE}/numbers"), gate::form(add_numbers))
        .route(&format!("{ONE}/size"), gate::form(shrink))
        .route(&format!("{ONE}/delete"), gate::form(delete))
        .route(ORDER, gate::form(cancel_order))
}

/// What people call a type.
pub(super) fn kind_word(kind: TrackerType) -> &'static str {
    match kind {
        TrackerType::Offline => "offline",
        TrackerType::Campaign => "campaign",
        TrackerType::NumberPool => "number pool",
    }
}

/// A tracker as a row of the list.
struct Row {
    view: TrackerView,
    calls: i64,
    /// Of a pool's numbers those that another visitor can't have now.
    taken: i64,
}

impl Row {
    fn kind(&self) -> &'static str {
        kind_word(self.view.tracker.settings.tracker_type)
    }

    fn first_number(&self) -> &str {
        let first = self.view.numbers.iter().find(|number| number.status);
        first.map_or("none", |number| number.number.as_str())
    }

    /// Beside the first one.
    fn more(&self) -> usize {
        self.view.number_count().saturating_sub(1)
    }

    fn is_pool(&self) -> bool {
        self.view.pool_size().is_some()
    }
}

/// A number order, with what it came to.
pub(super) struct Progress {
    order: Order,
    begun: Moment,
}

impl Progress {
    fn new(order: Order, zone: &TimeZone) -> Progress {
        Progress { begun: Moment::new(order.created_at, zone), order }
    }

    fn is_buying(&self) -> bool {
        self.order.state == OrderState::Buying
    }
}

#[derive(Template)]
#[template(path = "trackers.html")]
struct TrackersPage {
    frame: Frame,
    company_id: i64,
    rows: Vec<Row>,
    pages: Pages,
    orders: Vec<Progress>,
    has_carrier: bool,
}

async fn list(request: Request) -> Answer {
    let (page, scope) = (request.page()?, request.scope());
    let listed = trackers::list(&request.ctx.db, scope, page).await?;
    let span = api::usual_span(request.company(), request.ctx.clock.now());
    let is_pool = |view: &&TrackerView| view.pool_size().is_some();
    let pools: Vec<TrackerId> = listed.rows.iter().filter(is_pool).map(|view| view.tracker.id).collect();
    let read = move |tx: &mut Tx<'_>| {
        let lines = reports::top(tx, scope, By::Tracker, &span, COUNTED_MAX)?;
        let calls = lines.into_iter().filter_map(|line| Some((line.tracker?, line.sums.calls)));
        let taken = if pools.is_empty() { HashMap::new() } else { pool::taken(tx, scope, &pools)? };
        let orders = orders::recent(tx, scope, tx.now().before(ORDERS_SHOWN))?;
        Ok::<_, db::Error>((calls.collect::<HashMap<_, _>>(), taken, orders))
    };
    let (calls, taken, orders) = request.ctx.db.read("trackers.page", read).await?;
    let zone = request.zone();
    let count = |counts: &HashMap<TrackerId, i64>, view: &TrackerView| {
        counts.get(&view.tracker.id).copied().unwrap_or_default()
    };
    let row = |view: TrackerView| Row { calls: count(&calls, &view), taken: count(&taken, &view), view };
    let page = TrackersPage {
        frame: request.frame("Trackers", Section::Trackers),
        company_id: request.company().id.0,
        rows: listed.rows.into_iter().map(row).collect(),
        pages: request.pages(page, "", listed.next),
        // One that is done is a row of the list.
        orders: orders
            .into_iter()
            .filter(|order| order.state != OrderState::Done)
            .map(|order| Progress::new(order, &zone))
            .collect(),
        has_carrier: !tracker_form::carriers(&request).await?.is_empty(),
    };
    Ok(Html(page.render()?).into_response())
}

/// The tracker in the path.
///
/// # Errors
/// The company has no such tracker.
pub(super) async fn find(request: &Request) -> Result<TrackerView, PageError> {
    let (scope, id) = (request.scope(), request.id::<TrackerId>("tracker_id")?);
    let found = request.ctx.db.read("trackers.find", move |tx| trackers::find(tx, scope, id)).await?;
    found.ok_or(PageError::NotFound)
}

pub(super) fn url(view: &TrackerView) -> String {
    format!("/companies/{}/trackers/{}", view.tracker.company_id, view.tracker.id)
}

/// Who sees a tracker's number, in a sentence; "" if it never replaces one.
fn rule(s: &Settings) -> String {
    let who = match (s.tracker_type, s.campaign_source.as_str()) {
        (TrackerType::Offline, _) | (TrackerType::Campaign, "") => return String::new(),
        (TrackerType::NumberPool, _) => {
            "Each visitor of the web site whom no campaign’s rule matches".to_owned()
        }
        (TrackerType::Campaign, "search") => {
            let engine = listed(&s.campaign_search_from, "any search engine");
            format!(
                "Visitors who searched at {engine} ({})",
                listed(&s.campaign_search_for, "paid or organic")
            )
        }
        (TrackerType::Campaign, "landing_page") => {
            format!("Visitors whose first page is like {}", listed(&s.campaign_landing_page, "nothing yet"))
        }
        (TrackerType::Campaign, "referral") => {
            format!("Visitors whom a link of {} led here", listed(&s.campaign_referral, "any other site"))
        }
        (TrackerType::Campaign, "campaign_parameters") => {
            let parameters = listed(&s.campaign_campaign_parameters, "nothing yet");
            format!("Visitors whose first page’s address has {parameters}")
        }
        (TrackerType::Campaign, "direct") => "Visitors who came by themselves, without a link".to_owned(),
        (TrackerType::Campaign, _) => "All visitors of the web site".to_owned(),
    };
    match s.swap_target.as_str() {
        "" => format!("{who} would see its number, but no number on the web site is named that it replaces."),
        target if s.tracker_type == TrackerType::NumberPool => {
            format!("{who} sees a number of their own in place of {target}.")
        }
        target => format!("{who} see its number in place of {target}."),
    }
}

fn listed(text: &str, any: &str) -> String {
    if text.is_empty() || text == "all" {
        any.to_owned()
    } else {
        text.replace(',', " or").replace("  ", " ")
    }
}

/// What happens when a pool has none that is free.
fn when_exhausted(s: &Settings) -> String {
    match (s.pool.exhausted, &s.pool.fallback_number) {
        (Exhausted::Reuse, _) => "the number of whoever was seen least recently".to_owned(),
        (Exhausted::FallbackNumber, Some(number)) => number.to_string(),
        (Exhausted::FallbackNumber, None) | (Exhausted::NoSwap, _) => {
            "the number that is on the page".to_owned()
        }
    }
}

/// The planner's advice, in words.
struct Advice {
    numbers: u64,
    recommended: u64,
    /// What to do.
    verdict: String,
    /// Percent.
    expected: String,
    /// After doing so.
    followed: String,
    /// How it was measured.
    measured: String,
    /// Something was: else there is nothing to recommend.
    is_measured: bool,
    is_reliable: bool,
}

impl Advice {
    /// From the API's object.
    fn of(plan: &Json) -> Advice {
        let count = |key: &str| plan[key].as_u64().unwrap_or_default();
        let share = |which: &str| {
            let share = plan[which]["taken_over"].as_f64().unwrap_or_default();
            format!("{:.1}%", share * 100.0)
        };
        let is_measured = plan["measured"]["visits"].as_u64().is_some_and(|visits| visits > 0);
        let verdict = match (count("buy"), count("release")) {
            _ if !is_measured => "No visit has asked for a number yet.".to_owned(),
            (0, 0) => "It has as many numbers as it needs.".to_owned(),
            (0, release) => format!("It could do with {release} fewer."),
            (buy, _) => format!("Buy {buy} more."),
        };
        let measured = &plan["measured"];
        let hour = measured["busiest_hour"].as_i64();
        let busiest = hour.map_or_else(String::new, |hour| {
            let on = word(measured["busiest_on"].as_str().unwrap_or_default());
            let visits = measured["visits_in_busiest_hour"].as_f64().unwrap_or_default();
            format!(" The busiest hour begins at {hour}:00 on {on}, with {visits:.1} visits on average.")
        });
        Advice {
            numbers: count("numbers"),
            recommended: count("recommended"),
            verdict,
            expected: share("expected"),
            followed: share("expected_if_followed"),
            measured: format!(
                "{} asked for a number in {}; {} took over somebody else’s.{busiest}",
                counted(&measured["visits"], "visit"),
                counted(&measured["hours"], "hour"),
                measured["taken_over"]
            ),
            is_measured,
            is_reliable: plan["is_reliable"] == true,
        }
    }
}

fn counted(count: &Json, what: &str) -> String {
    if *count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Which of the forms on the page wasn't taken, with what was typed.
#[derive(Clone, Copy)]
pub(super) struct Refused<'a> {
    is_shrink: bool,
    typed: &'a Json,
    problem: &'a Problem,
}

#[derive(Template)]
#[template(path = "tracker.html")]
struct TrackerPage {
    frame: Frame,
    company_id: i64,
    view: TrackerView,
    url: String,
    kind: &'static str,
    created: Moment,
    rule: String,
    when_exhausted: String,
    taken: i64,
    advice: Option<Advice>,
    orders: Vec<Progress>,
    failure: String,
    more: Vec<Input>,
    /// The form for more numbers wasn't taken.
    is_more_open: bool,
    fewer: Vec<Input>,
    is_fewer_open: bool,
}

impl TrackerPage {
    fn number_words(&self) -> &'static str {
        if self.view.number_count() == 1 { "number" } else { "numbers" }
    }
}

const MORE: &[Ask] = &[
    Ask::new("carrier_id", "Carrier account").hint(""),
    Ask::new("numbers.buy.area_code", "Area code").hint("Three digits; empty for any."),
    Ask::new("numbers.buy.count", "How many to buy")
        .hint("1 if left empty. A pool that gets more than 10 gets them bit by bit."),
    Ask::new("numbers.attach", "Or numbers that the account has already")
        .hint("With commas between: +12705550101, +12705550102"),
];
const FEWER: &[Ask] = &[Ask::new("number_pool_size", "Numbers to keep")
    .hint("Numbers that no visitor has go back to the carrier, those first that have been free longest.")];

async fn show(request: Request) -> Answer {
    answer(&request, None).await
}

async fn answer(request: &Request, refused: Option<Refused<'_>>) -> Answer {
    let view = find(request).await?;
    let (scope, id, is_pool) = (request.scope(), view.tracker.id, view.pool_size().is_some());
    let read = move |tx: &mut Tx<'_>| {
        let taken = pool::taken(tx, scope, &[id])?.get(&id).copied().unwrap_or_default();
        let orders = orders::recent(tx, scope, tx.now().before(ORDERS_SHOWN))?;
        Ok::<_, db::Error>((taken, orders))
    };
    let (taken, orders) = request.ctx.db.read("trackers.page", read).await?;
    let advice = if is_pool { Some(Advice::of(&request.ask("get_pool_plan", None).await?)) } else { None };
    let zone = request.zone();
    let problem_of = |is_shrink| refused.filter(|one| one.is_shrink == is_shrink).map(|one| one.problem);
    let empty = json!({});
    let typed = |is_shrink| refused.filter(|one| one.is_shrink == is_shrink).map_or(&empty, |one| one.typed);
    let fields = route("add_tracker_numbers").body_fields();
    let mut more = form::inputs(fields, MORE, typed(false), problem_of(false));
    tracker_form::choose_carrier(request, &mut more, typed(false)).await?;
    let fewer = form::inputs(route("update_tracker").body_fields(), FEWER, typed(true), problem_of(true));
    let failure = match problem_of(true) {
        Some(problem) => complaint(Some(problem), &fewer),
        None => complaint(problem_of(false), &more),
    };
    let page = TrackerPage {
        frame: request.frame(view.tracker.settings.name.clone(), Section::Trackers),
        company_id: request.company().id.0,
        url: url(&view),
        kind: kind_word(view.tracker.settings.tracker_type),
        created: Moment::new(view.tracker.created_at, &zone),
        rule: rule(&view.tracker.settings),
        when_exhausted: when_exhausted(&view.tracker.settings),
        taken,
        advice,
        orders: orders
            .into_iter()
            .filter(|order| order.tracker_id == Some(id))
            .map(|order| Progress::new(order, &zone))
            .collect(),
        failure,
        more,
        is_more_open: problem_of(false).is_some(),
        fewer: if is_pool { fewer } else { Vec::new() },
        is_fewer_open: problem_of(true).is_some(),
        view,
    };
    gate::rendered(&page, refused.map(|refused| refused.problem))
}

async fn add_numbers(request: Request) -> Answer {
    let view = find(&request).await?;
    let fields = route("add_tracker_numbers").body_fields();
    let typed = request.typed.body(fields, MORE);
    let mut body = typed.clone();
    body["numbers"] = tracker_form::source(&typed["numbers"], None);
    match request.ask("add_tracker_numbers", Some(body)).await {
        Ok(made) => {
            let notice = match made["wanted"].as_u64() {
                Some(wanted) => format!("{wanted} numbers are being bought."),
                None => "The numbers are the tracker’s now.".to_owned(),
            };
            Ok(request.go(&format!("/trackers/{}", view.tracker.id), &Flash::notice(notice)))
        }
        Err(problem) if problem.is_about_input() => {
            answer(&request, Some(Refused { is_shrink: false, typed: &typed, problem: &problem })).await
        }
        Err(problem) => Err(problem.into()),
    }
}

async fn shrink(request: Request) -> Answer {
    let view = find(&request).await?;
    let body = request.typed.body(route("update_tracker").body_fields(), FEWER);
    match request.ask("update_tracker", Some(body.clone())).await {
        Ok(_) => {
            let notice = Flash::notice("The numbers that weren’t needed go back to the carrier.");
            Ok(request.go(&format!("/trackers/{}", view.tracker.id), &notice))
        }
        Err(problem) if problem.is_about_input() => {
            answer(&request, Some(Refused { is_shrink: true, typed: &body, problem: &problem })).await
        }
        Err(problem) => Err(problem.into()),
    }
}

async fn delete(request: Request) -> Answer {
    request.ask("delete_tracker", None).await?;
    let notice = "The tracker is deleted; its numbers go back to the carrier.";
    Ok(request.go("/trackers", &Flash::notice(notice)))
}

async fn cancel_order(request: Request) -> Answer {
    let cancelled = json!({ "state": OrderState::Cancelled.as_str() });
    let (notice, tracker) = match request.ask("update_number_order", Some(cancelled)).await {
        Ok(order) => {
            let notice = "The order is cancelled: what it had bought goes back to the carrier.".to_owned();
            (notice, order["tracker_id"].as_i64())
        }
        Err(problem) if problem.is_about_input() => {
            (format!("Nothing was done: {}.", problem.detail()), None)
        }
        Err(problem) => return Err(problem.into()),
    };
    let to = tracker.map_or_else(|| "/trackers".to_owned(), |id| format!("/trackers/{id}"));
    Ok(request.go(&to, &Flash::notice(notice)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::phone::{NumberType, PhoneNumber};

    fn campaign(source: &str, words: &str) -> Settings {
        let number = PhoneNumber::from_e164("+12703152766").expect("it is a number");
        Settings {
            name: "Search".to_owned(),
            tracker_type: TrackerType::Campaign,
            number_type: NumberType::Local,
            destination: number,
            status: true,
            recording_enabled: false,
            recording_message: String::new(),
            whisper_enabled: false,
            whisper_message: String::new(),
            voicemail_enabled: false,
            voicemail_greeting: String::new(),
            transcription_enabled: false,
            ring_timeout_s: 25,
            swap_target: "(270) 315-2766".to_owned(),
            campaign_source: source.to_owned(),
            campaign_search_from: words.to_owned(),
            campaign_search_for: String::new(),
            campaign_landing_page: words.to_owned(),
            campaign_referral: words.to_owned(),
            campaign_campaign_parameters: words.to_owned(),
            pool: pool::Terms::default(),
        }
    }

    #[test]
    fn a_rule_is_told_in_a_sentence() {
        for (source, words, told) in [
            ("search", "google, bing", "Visitors who searched at google or bing (paid or organic)"),
            ("search", "all", "Visitors who searched at any search engine (paid or organic)"),
            ("landing_page", "/spring", "Visitors whose first page is like /spring"),
            ("referral", "", "Visitors whom a link of any other site led here"),
            (
                "campaign_parameters",
                "utm_source=mail",
                "Visitors whose first page’s address has utm_source=mail",
            ),
            ("direct", "", "Visitors who came by themselves, without a link"),
            ("always", "", "All visitors of the web site"),
        ] {
            assert_eq!(
                rule(&campaign(source, words)),
                format!("{told} see its number in place of (270) 315-2766.")
            );
        }
        assert_eq!(rule(&campaign("", "")), "");
        let nowhere = Settings { swap_target: String::new(), ..campaign("always", "") };
        assert!(rule(&nowhere).ends_with("no number on the web site is named that it replaces."));
        let offline = Settings { tracker_type: TrackerType::Offline, ..campaign("always", "") };
        assert_eq!(rule(&offline), "");
        let pool = Settings { tracker_type: TrackerType::NumberPool, ..campaign("", "") };
        assert!(rule(&pool).ends_with("sees a number of their own in place of (270) 315-2766."));
    }
}
