//! Making and changing a tracker: first what kind it is, then a form with the inputs that matter to that kind. The
//! carrier's numbers are looked for by a button of the same form, so nothing of what was typed is lost.

use askama::Template;
use axum::response::{Html, IntoResponse as _};
use serde_json::{Value as Json, json};

use super::error::PageError;
use super::flash::Flash;
use super::form::{self, Ask, Choice, Input, Shape};
use super::gate::{self, Answer, Request};
use super::trackers::{find, kind_word, url};
use super::view::{Frame, Section};
use crate::http::api::ask::route;
use crate::http::problem::Problem;
use crate::trackers::{TrackerType, TrackerView};

/// Numbers that a new pool gets if nothing else is said: enough for a few visitors at a time.
const POOL_SIZE: u32 = 5;

/// A part of the form.
struct Part {
    title: &'static str,
    asks: &'static [Ask],
    /// The carrier's numbers are looked for here.
    has_search: bool,
}

const fn part(title: &'static str, asks: &'static [Ask]) -> Part {
    Part { title, asks, has_search: false }
}

const TRACKER: Part = part(
    "Tracker",
    &[Ask::new("name", "Name").hint("What its calls are told apart by, such as “Spring flyer”.").line()],
);
const NUMBER: Part = Part {
    title: "Number",
    asks: &[
        Ask::new("carrier_id", "Carrier account").hint(""),
        Ask::new("number_type", "Kind of number").hint(""),
        Ask::new("numbers.buy.area_code", "Area code").hint("Three digits; empty for any."),
        Ask::new("numbers.attach", "Or a number that the account has already")
            .hint("Such as +12705550101. Its settings at the carrier are replaced; nothing is bought."),
    ],
    has_search: true,
};
const NUMBERS: Part = Part {
    title: "Numbers",
    asks: &[
        Ask::new("carrier_id", "Carrier account").hint(""),
        Ask::new("number_type", "Kind of numbers").hint(""),
        Ask::new("number_pool_size", "How many")
            .hint("About as many as visitors look at the site within an hour. More than 10 are bought bit by bit; the tracker tells later how many it needs."),
        Ask::new("numbers.buy.area_code", "Area code").hint("Three digits; empty for any."),
        Ask::new("numbers.attach", "Or numbers that the account has already")
            .hint("With commas between. Their settings at the carrier are replaced; nothing is bought."),
    ],
    has_search: true,
};
const CALLS: Part = part(
    "Calls",
    &[
        Ask::new("destination", "Calls go to")
            .hint("A phone number with its country, such as +12703152766.")
            .line(),
        Ask::new("ring_timeout_s", "Seconds that it rings").hint(""),
        Ask::new("status", "In service").hint("If not, callers hear that the number isn’t in service."),
    ],
);
const RECORDING: Part = part(
    "Recording and whisper",
    &[
        Ask::new("recording_enabled", "Record calls").hint("In many places callers have to be told."),
        Ask::new("recording_message", "Said to callers first").hint(""),
        Ask::new("whisper_enabled", "Whisper").hint("Tells whoever answers what the call is about."),
        Ask::new("whisper_message", "Said to whoever answers").hint(""),
    ],
);
const VOICEMAIL: Part = part(
    "Voicemail",
    &[
        Ask::new("voicemail_enabled", "Take a message if nobody answers").hint(""),
        Ask::new("voicemail_greeting", "Greeting").hint("Said before the tone."),
        Ask::new("transcription_enabled", "Have messages written down").hint("The carrier charges for it."),
    ],
);
const RULE: Part = part(
    "Web site rule",
    &[
        Ask::new("swap_target", "Number on the site").hint("It is replaced for visitors who match; several with commas between.").line(),
        Ask::new("campaign_source", "Visitors who match").hint("Those who came by a search, to a page, by a link, with parameters in the address, by themselves, or always."),
        Ask::new("campaign_search_from", "Search: engines").hint("Such as google, bing; empty for any.").line(),
        Ask::new("campaign_search_for", "Search: what").hint("paid, organic, or words of which one must be in the keyword; empty for any.").line(),
        Ask::new("campaign_landing_page", "Landing page").hint("A part of its address, such as /spring; * stands for anything.").line(),
        Ask::new("campaign_referral", "Referral: hosts").hint("Such as example.org; empty for any.").line(),
        Ask::new("campaign_campaign_parameters", "Campaign parameters").hint("Such as utm_source=newsletter&utm_medium=email; * is any value.").line(),
    ],
);
const POOL: Part = part(
    "Pool",
    &[
        Ask::new("swap_target", "Number on the site").hint("It is replaced by the visitor’s; several with commas between.").line(),
        Ask::new("pool_hold_minutes", "Minutes held").hint("A number is its visitor’s for so long after the last sign of life."),
        Ask::new("pool_grace_minutes", "Minutes of grace").hint("And so much longer, since people leave the browser to dial."),
        Ask::new("pool_cooldown_minutes", "Minutes of cooldown").hint("Then nobody gets the number for so long."),
        Ask::new("pool_exhausted", "When no number is free").hint("Reuse the one whose visitor was seen least recently, show the fallback number, or leave the page as it is."),
        Ask::new("pool_fallback_number", "Fallback number").hint("Such as +12705550101."),
    ],
);

/// The parts that matter to a kind; numbers have a page of their own once the tracker is there.
fn parts(kind: TrackerType, is_new: bool) -> Vec<Part> {
    let numbers = if kind == TrackerType::NumberPool { NUMBERS } else { NUMBER };
    let site = match kind {
        TrackerType::Offline => None,
        TrackerType::Campaign => Some(RULE),
        TrackerType::NumberPool => Some(POOL),
    };
    let numbers = is_new.then_some(numbers);
    [Some(TRACKER), numbers, Some(CALLS), site, Some(RECORDING), Some(VOICEMAIL)]
        .into_iter()
        .flatten()
        .collect()
}

fn asks(kind: TrackerType, is_new: bool) -> Vec<Ask> {
    parts(kind, is_new).iter().flat_map(|part| part.asks.iter().copied()).collect()
}

/// A carrier account that numbers may come from.
pub(super) struct Carrier {
    id: i64,
    name: String,
}

/// The company's carrier accounts.
///
/// # Errors
/// The database's.
pub(super) async fn carriers(request: &Request) -> Result<Vec<Carrier>, Problem> {
    let listed = request.ask("list_carriers", None).await?;
    let all = listed["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |one: &Json, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let carrier = |one: &Json| Carrier {
        id: one["id"].as_i64().unwrap_or_default(),
        name: format!("{} {}", text(one, "kind"), text(one, "account_sid")),
    };
    Ok(all.iter().map(carrier).collect())
}

/// Makes the input for the carrier a choice; there is none where there is nothing to choose.
///
/// # Errors
/// The database's.
pub(super) async fn choose_carrier(
    request: &Request,
    inputs: &mut Vec<Input>,
    typed: &Json,
) -> Result<(), Problem> {
    let carriers = carriers(request).await?;
    if carriers.len() < 2 {
        inputs.retain(|input| input.name != "carrier_id");
        return Ok(());
    }
    let choice = |carrier: Carrier| Choice {
        chosen: typed["carrier_id"] == carrier.id,
        value: carrier.id.to_string(),
        label: carrier.name,
    };
    let mut choices: Vec<Choice> = carriers.into_iter().map(choice).collect();
    if let Some(input) = inputs.iter_mut().find(|input| input.name == "carrier_id") {
        choices.insert(0, Choice { value: String::new(), label: String::new(), chosen: false });
        input.shape = Shape::Select { choices };
    }
    Ok(())
}

/// What the API is told about where numbers come from. `numbers` is what was typed, `chosen` a number of the
/// carrier's.
pub(super) fn source(numbers: &Json, chosen: Option<&str>) -> Json {
    match (&numbers["attach"], chosen) {
        (Json::Array(attached), _) if !attached.is_empty() => json!({ "attach": attached }),
        (_, Some(number)) => json!({ "choose": [number] }),
        (_, None) => match &numbers["buy"] {
            Json::Null => json!({ "buy": {} }),
            buy => json!({ "buy": buy }),
        },
    }
}

/// As [`form::failure`]; what is wrong with the numbers as a whole stands above all.
pub(super) fn complaint(problem: Option<&Problem>, inputs: &[Input]) -> String {
    match problem.map(Problem::errors) {
        Some([only]) if only.field == "numbers" => format!("These numbers can’t be had: {}.", only.message),
        // The API's own texts aren't sentences.
        Some([]) => sentence(&form::failure(problem, inputs)),
        Some(_) | None => form::failure(problem, inputs),
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}

/// A kind of tracker, to begin with.
struct Kind {
    title: &'static str,
    about: &'static str,
    url: String,
}

#[derive(Template)]
#[template(path = "tracker_kind.html")]
struct KindPage {
    frame: Frame,
    company_id: i64,
    kinds: Vec<Kind>,
    has_carrier: bool,
}

/// A number that the carrier has.
struct Found {
    number: String,
    place: String,
    is_chosen: bool,
}

/// What the carrier has, as far as it was asked.
#[derive(Default)]
struct Search {
    found: Vec<Found>,
    is_done: bool,
}

struct Group {
    title: &'static str,
    inputs: Vec<Input>,
    has_search: bool,
    /// Inputs that stand below what the search has found.
    below: Vec<Input>,
}

#[derive(Template)]
#[template(path = "tracker_form.html")]
struct FormPage {
    frame: Frame,
    company_id: i64,
    title: String,
    kind: TrackerType,
    is_new: bool,
    action: String,
    button: &'static str,
    back: String,
    failure: String,
    groups: Vec<Group>,
    search: Search,
}

impl FormPage {
    /// One number is chosen, a pool takes any.
    fn can_choose(&self) -> bool {
        self.kind != TrackerType::NumberPool
    }

    fn is_any_chosen(&self) -> bool {
        self.search.found.iter().any(|found| found.is_chosen)
    }
}

/// A form, as far as it is filled in.
struct Form<'a> {
    kind: TrackerType,
    present: Option<&'a TrackerView>,
    values: &'a Json,
    problem: Option<&'a Problem>,
    search: Search,
}

async fn form_page(request: &Request, form: Form<'_>) -> Answer {
    let Form { kind, present, values, problem, search } = form;
    let operation = if present.is_some() { "update_tracker" } else { "create_tracker" };
    let fields = route(operation).body_fields();
    let mut groups = Vec::new();
    for part in parts(kind, present.is_none()) {
        let mut inputs = form::inputs(fields, part.asks, values, problem);
        choose_carrier(request, &mut inputs, values).await?;
        let (below, inputs) = inputs.into_iter().partition(|input| input.name == "numbers.attach");
        groups.push(Group { title: part.title, inputs, has_search: part.has_search, below });
    }
    let all = form::inputs(fields, &asks(kind, present.is_none()), values, problem);
    let list = format!("/companies/{}/trackers", request.company().id);
    let title = match present {
        Some(view) => format!("Change {}", view.tracker.settings.name),
        None => format!("New tracker: {}", kind_word(kind)),
    };
    let page = FormPage {
        frame: request.frame(title.clone(), Section::Trackers),
        company_id: request.company().id.0,
        title,
        kind,
        is_new: present.is_none(),
        button: if present.is_some() { "Save" } else { "Create the tracker" },
        action: present.map_or_else(|| list.clone(), url),
        back: present.map_or(list, url),
        failure: complaint(problem, &all),
        groups,
        search,
    };
    gate::rendered(&page, problem)
}

pub(super) async fn new(request: Request) -> Answer {
    request.must_write()?;
    let Some(kind) = request.query("tracker_type") else { return kinds(&request).await };
    let kind = TrackerType::parse(kind).ok_or(PageError::BadRequest)?;
    let mut values = form::defaults(route("create_tracker").body_fields());
    if kind == TrackerType::NumberPool {
        values["number_pool_size"] = json!(POOL_SIZE);
    }
    let Some(area_code) = request.query("area_code") else {
        let form = Form { kind, present: None, values: &values, problem: None, search: Search::default() };
        return form_page(&request, form).await;
    };
    values["numbers"] = json!({ "buy": { "area_code": area_code } });
    searched(&request, kind, &values).await
}

async fn kinds(request: &Request) -> Answer {
    let kind = |kind: TrackerType, title, about| {
        let url = format!("/companies/{}/trackers/new?tracker_type={}", request.company().id, kind.as_str());
        Kind { title, about, url }
    };
    let page = KindPage {
        frame: request.frame("New tracker", Section::Trackers),
        company_id: request.company().id.0,
        kinds: vec![
            kind(
                TrackerType::Offline,
                "Offline",
                "One number for a billboard, a flyer or an advertisement in print. Every call to it counts for that.",
            ),
            kind(
                TrackerType::Campaign,
                "Campaign",
                "One number that is shown on the web site to all visitors who match a rule, such as those who come from \
                 a search at Google.",
            ),
            kind(
                TrackerType::NumberPool,
                "Number pool",
                "Numbers that are lent to the visitors of the web site, one to each. So a call is known to be theirs, \
                 with source, keyword and pages.",
            ),
        ],
        has_carrier: !carriers(request).await?.is_empty(),
    };
    Ok(Html(page.render()?).into_response())
}

/// What is typed as the query of the search.
fn search_query(values: &Json) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let typed = [
        ("area_code", &values["numbers"]["buy"]["area_code"]),
        ("number_type", &values["number_type"]),
        ("carrier_id", &values["carrier_id"]),
    ];
    for (name, value) in typed {
        match value {
            Json::String(text) => _ = query.append_pair(name, text),
            Json::Number(number) => _ = query.append_pair(name, &number.to_string()),
            _ => {}
        }
    }
    query.finish()
}

/// The form with what the carrier has.
async fn searched(request: &Request, kind: TrackerType, values: &Json) -> Answer {
    let query = search_query(values);
    let (search, problem) = match request.ask_for("list_available_numbers", query, None).await {
        Ok(listed) => (found(request, &listed), None),
        Err(problem) if problem.is_about_input() => (Search::default(), Some(at_its_input(problem))),
        Err(problem) => return Err(problem.into()),
    };
    form_page(request, Form { kind, present: None, values, problem: problem.as_ref(), search }).await
}

fn found(request: &Request, listed: &Json) -> Search {
    let all = listed["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |one: &Json, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let chosen = request.typed.get("choose").unwrap_or_default();
    let found = |one: &Json| {
        let place = [text(one, "city"), text(one, "state")];
        let place = place.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        let number = text(one, "number");
        Found { is_chosen: number == chosen, number, place }
    };
    Search { found: all.iter().map(found).collect(), is_done: true }
}

/// The parameters of the search are inputs of the form.
fn at_its_input(problem: Problem) -> Problem {
    match problem.errors() {
        [only] if only.field == "area_code" => Problem::field("numbers.buy.area_code", only.message.clone()),
        _ => problem,
    }
}

/// What was typed, for the API. Numbers that are attached say themselves how many they are.
fn body(kind: TrackerType, typed: &Json, chosen: Option<&str>) -> Result<Json, Problem> {
    let mut body = typed.clone();
    body["numbers"] = source(&typed["numbers"], chosen);
    let is_bought = body["numbers"]["attach"].is_null();
    if kind == TrackerType::NumberPool && is_bought && body["number_pool_size"].is_null() {
        return Err(Problem::field("number_pool_size", "is needed"));
    }
    if let (false, Json::Object(body)) = (is_bought, &mut body) {
        body.remove("number_pool_size");
    }
    Ok(body)
}

pub(super) async fn create(request: Request) -> Answer {
    let kind = request.typed.get("tracker_type").and_then(TrackerType::parse).ok_or(PageError::BadRequest)?;
    let mut typed = request.typed.body(route("create_tracker").body_fields(), &asks(kind, true));
    typed["tracker_type"] = json!(kind.as_str());
    if request.typed.get("step") == Some("search") {
        return searched(&request, kind, &typed).await;
    }
    let chosen = request.typed.get("choose").filter(|number| !number.is_empty());
    let made = match body(kind, &typed, chosen) {
        Ok(body) => request.ask("create_tracker", Some(body)).await,
        Err(problem) => Err(problem),
    };
    match made {
        Ok(made) => Ok(match made["wanted"].as_u64() {
            Some(wanted) => {
                let notice =
                    format!("{wanted} numbers are being bought. The tracker is made when all are there.");
                request.go("/trackers", &Flash::notice(notice))
            }
            None => request.go(&format!("/trackers/{}", made["id"]), &Flash::notice("The tracker is made.")),
        }),
        Err(problem) if problem.is_about_input() => {
            let kept = chosen.map(|number| Found {
                number: number.to_owned(),
                place: String::new(),
                is_chosen: true,
            });
            let search = Search { is_done: kept.is_some(), found: kept.into_iter().collect() };
            let form = Form { kind, present: None, values: &typed, problem: Some(&problem), search };
            form_page(&request, form).await
        }
        Err(problem) => Err(problem.into()),
    }
}

pub(super) async fn edit(request: Request) -> Answer {
    let view = find(&request).await?;
    request.must_write()?;
    changed(&request, &view, &view.to_json(), None).await
}

async fn changed(request: &Request, view: &TrackerView, values: &Json, problem: Option<&Problem>) -> Answer {
    let kind = view.tracker.settings.tracker_type;
    form_page(request, Form { kind, present: Some(view), values, problem, search: Search::default() }).await
}

pub(super) async fn update(request: Request) -> Answer {
    let view = find(&request).await?;
    let asks = asks(view.tracker.settings.tracker_type, false);
    let body = request.typed.body(route("update_tracker").body_fields(), &asks);
    match request.ask("update_tracker", Some(body.clone())).await {
        Ok(_) => Ok(request.go(&format!("/trackers/{}", view.tracker.id), &Flash::notice("Saved."))),
        Err(problem) if problem.is_about_input() => changed(&request, &view, &body, Some(&problem)).await,
        Err(problem) => Err(problem.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_from_where_something_was_typed() {
        let buy = json!({ "buy": { "area_code": "270" }, "attach": [] });
        assert_eq!(source(&buy, None), json!({ "buy": { "area_code": "270" } }));
        assert_eq!(source(&buy, Some("+12705550101")), json!({ "choose": ["+12705550101"] }));
        let own = json!({ "attach": ["+12705550150"] });
        assert_eq!(source(&own, Some("+12705550101")), own);
        assert_eq!(source(&Json::Null, None), json!({ "buy": {} }));
    }

    #[test]
    fn a_pools_size_is_said_or_is_that_of_its_own_numbers() {
        let bought = json!({ "number_pool_size": 4, "numbers": { "buy": {} } });
        assert_eq!(body(TrackerType::NumberPool, &bought, None).ok(), Some(bought));
        let own = json!({ "number_pool_size": 5, "numbers": { "attach": ["+12705550150"] } });
        let attached = json!({ "numbers": { "attach": ["+12705550150"] } });
        assert_eq!(body(TrackerType::NumberPool, &own, None).ok(), Some(attached));
        let unsaid = body(TrackerType::NumberPool, &json!({ "numbers": { "buy": {} } }), None);
        assert_eq!(
            unsaid.err().map(|problem| problem.errors()[0].field.clone()).as_deref(),
            Some("number_pool_size")
        );
        assert!(body(TrackerType::Offline, &json!({ "numbers": {} }), None).is_ok());
    }

    #[test]
    fn what_a_carrier_says_is_read_as_a_sentence() {
        let problem = Problem::new(crate::http::problem::Kind::Conflict, "connect a carrier account first");
        assert_eq!(complaint(Some(&problem), &[]), "Connect a carrier account first.");
        let numbers = Problem::field("numbers", "+18005550101 is not a local number, as the tracker's are");
        assert!(complaint(Some(&numbers), &[]).starts_with("These numbers can’t be had: +1800"));
        assert_eq!(complaint(None, &[]), "");
    }

    #[test]
    fn each_kind_asks_for_what_the_api_has() {
        for (kind, is_new) in TrackerType::ALL.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
            let operation = if is_new { "create_tracker" } else { "update_tracker" };
            let asks = asks(kind, is_new);
            let inputs = form::inputs(route(operation).body_fields(), &asks, &json!({}), None);
            assert_eq!(inputs.len(), asks.len(), "{kind:?}");
        }
    }
}
