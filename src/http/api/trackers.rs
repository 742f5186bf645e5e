//! `/companies/{c}/trackers`.

use std::cmp::Ordering;
use std::time::Duration;

use serde::Deserialize;

use super::carriers::{AREA_CODE_FIELD, CARRIER_ID, number_types};
use super::fields::{Errors, Field, Kind, Rule, Values};
use super::params::{AFTER, LIMIT};
use super::reply::Reply;
use super::route::{Answer, Route};
use super::{Request, number_orders};
use crate::carriers::provision::orders::{self, Target};
use crate::carriers::provision::{self, ATTACH_MAX, BUY_MAX, Numbers, Source};
use crate::ctx::Ctx;
use crate::db::{LockSpace, Tx};
use crate::flows::RING_TIMEOUT_S_DEFAULT;
use crate::http::problem::{DESTINATION_IS_TRACKED, Kind as ProblemKind, Problem};
use crate::kernel::id::{CarrierId, TrackerId};
use crate::kernel::phone::{NumberType, PhoneNumber};
use crate::trackers::pool::{Exhausted, MINUTES_MAX, Terms};
use crate::trackers::size::{self, SIZE_MAX, SIZE_MIN};
use crate::trackers::{self, CAMPAIGN_SOURCES, Settings, TrackerType, TrackerView, swap};

const TAG: &str = "Trackers";
/// Buying a request's numbers and, if that fails, giving them back.
const BUYING_TIME: Duration = Duration::from_secs(240);
/// Seconds that a destination may ring: the carriers' own bounds.
const RING_TIMEOUT_S: Kind = Kind::Integer { min: 5, max: 600 };
/// Something said to a person, in characters; carriers read out 4,096 bytes at most.
const SPOKEN: Kind = Kind::Text { min: 0, max: 1_000 };
/// A pattern or a part of a URL, in characters.
const PATTERN: Kind = Kind::Text { min: 0, max: 500 };

/// Where calls may be forwarded to.
pub(super) static DESTINATION: Rule = Rule {
    max: 32,
    format: "",
    example: "+12703152766",
    check: |text| PhoneNumber::destination(text).map(drop).map_err(|error| error.to_string()),
};

static OWN_NUMBER: Kind = Kind::Rule(&E164);

static E164: Rule = Rule {
    max: 16,
    format: "",
    example: "+12705550101",
    check: |text| {
        let number = PhoneNumber::from_e164(text);
        number.map(drop).ok_or_else(|| "is not a phone number in E.164, such as +12703152766".to_owned())
    },
};

const NUMBERS: Field =
    Field::new("numbers", Kind::OneOf(NUMBER_SOURCES), "Where the tracking numbers come from.");

const NUMBER_SOURCES: &[Field] = &[
    Field::new(
        "buy",
        Kind::Object(PURCHASE),
        "Buys numbers of the tracker's `number_type` in the company's country.",
    ),
    Field::new(
        "choose",
        Kind::List { of: &OWN_NUMBER, min: 1, max: BUY_MAX },
        "Buys these very numbers, as a look for numbers to buy has shown them.",
    ),
    Field::new(
        "attach",
        Kind::List { of: &OWN_NUMBER, min: 1, max: ATTACH_MAX },
        "Takes numbers that the carrier account has already.",
    ),
];

const PURCHASE: &[Field] = &[
    AREA_CODE_FIELD,
    Field::new(
        "count",
        Kind::Integer { min: 1, max: SIZE_MAX as i64 },
        "1, or `number_pool_size`, if it isn't given. Only a number pool may have more than 10 at once.",
    ),
];

/// The settings; a new tracker's destination and name have no default.
const NEW: &[Field] = &[
    NAME.required(),
    DESTINATION_FIELD.required(),
    NUMBERS.required(),
    NUMBER_POOL_SIZE,
    CARRIER_ID,
    TRACKER_TYPE.default("\"offline\""),
    NUMBER_TYPE.default("\"local\""),
    STATUS.default("true"),
    RECORDING_ENABLED.default("false"),
    RECORDING_MESSAGE.default("\"\""),
    WHISPER_ENABLED.default("false"),
    WHISPER_MESSAGE.default("\"\""),
    VOICEMAIL_ENABLED.default("false"),
    VOICEMAIL_GREETING.default("\"\""),
    TRANSCRIPTION_ENABLED.default("false"),
    RING_TIMEOUT.default("25"),
    SWAP_TARGET.default("\"\""),
    CAMPAIGN_SOURCE.default("\"\""),
    CAMPAIGN_SEARCH_FROM.default("\"\""),
    CAMPAIGN_SEARCH_FOR.default("\"\""),
    CAMPAIGN_LANDING_PAGE.default("\"\""),
    CAMPAIGN_REFERRAL.default("\"\""),
    CAMPAIGN_CAMPAIGN_PARAMETERS.default("\"\""),
    POOL_HOLD.default("30"),
    POOL_GRACE.default("5"),
    POOL_COOLDOWN.default("10"),
    POOL_EXHAUSTED.default("\"reuse\""),
    POOL_FALLBACK_NUMBER.default("\"\""),
];

const MORE_NUMBERS: &[Field] = &[NUMBERS.required(), CARRIER_ID];

const CHANGE: &[Field] = &[
    NAME,
    DESTINATION_FIELD,
    TRACKER_TYPE,
    FEWER_NUMBERS,
    STATUS,
    RECORDING_ENABLED,
    RECORDING_MESSAGE,
    WHISPER_ENABLED,
    WHISPER_MESSAGE,
    VOICEMAIL_ENABLED,
    VOICEMAIL_GREETING,
    TRANSCRIPTION_ENABLED,
    RING_TIMEOUT,
    SWAP_TARGET,
    CAMPAIGN_SOURCE,
    CAMPAIGN_SEARCH_FROM,
    CAMPAIGN_SEARCH_FOR,
    CAMPAIGN_LANDING_PAGE,
    CAMPAIGN_REFERRAL,
    CAMPAIGN_CAMPAIGN_PARAMETERS,
    POOL_HOLD,
    POOL_GRACE,
    POOL_COOLDOWN,
    POOL_EXHAUSTED,
    POOL_FALLBACK_NUMBER,
];

const NAME: Field = Field::new("name", Kind::Text { min: 1, max: 200 }, "");
const DESTINATION_FIELD: Field =
    Field::new("destination", Kind::Rule(&DESTINATION), "Where calls go, in E.164.");
const TRACKER_TYPE: Field = Field::new(
    "tracker_type",
    Kind::Choice(|| TrackerType::ALL.map(TrackerType::as_str).to_vec()),
    "`offline`: one number for a billboard or a flyer. `campaign`: one number for all visitors of the web site that \
     match `campaign_source`. `number_pool`: a number for each visitor.",
);
const POOL_SIZE: Kind = Kind::Integer { min: SIZE_MIN as i64, max: SIZE_MAX as i64 };
const NUMBER_POOL_SIZE: Field = Field::new(
    "number_pool_size",
    POOL_SIZE,
    "How many numbers a pool is to have: another way to say `numbers.buy.count`. If both are given they must be the same.",
);
const FEWER_NUMBERS: Field = Field::new(
    "number_pool_size",
    POOL_SIZE,
    "Makes a pool smaller: numbers that no visitor has go back to the carrier. It doesn't make a pool larger, which \
     costs money: get more numbers for it.",
);
const NUMBER_TYPE: Field = Field::new("number_type", Kind::Choice(number_types), "");
const STATUS: Field =
    Field::new("status", Kind::Bool, "False: callers hear that the number isn't in service.");
const RECORDING_ENABLED: Field = Field::new("recording_enabled", Kind::Bool, "");
const RECORDING_MESSAGE: Field =
    Field::new("recording_message", SPOKEN, "Said to the caller before a recording starts.");
const WHISPER_ENABLED: Field = Field::new("whisper_enabled", Kind::Bool, "");
const WHISPER_MESSAGE: Field =
    Field::new("whisper_message", SPOKEN, "Said to the destination before it is connected.");
const VOICEMAIL_ENABLED: Field =
    Field::new("voicemail_enabled", Kind::Bool, "Takes a message if nobody answers.");
const VOICEMAIL_GREETING: Field = Field::new("voicemail_greeting", SPOKEN, "");
const TRANSCRIPTION_ENABLED: Field =
    Field::new("transcription_enabled", Kind::Bool, "The carrier transcribes voicemails.");
const RING_TIMEOUT: Field =
    Field::new("ring_timeout_s", RING_TIMEOUT_S, "Seconds that the destination rings.");
const SWAP_TARGET: Field = Field::new(
    "swap_target",
    Kind::Text { min: 0, max: 400 },
    "The number on the web site that is replaced, as people of the company's country write it, or several with \
     commas between.",
);
const CAMPAIGN_SOURCE: Field = Field::new(
    "campaign_source",
    Kind::Choice(|| CAMPAIGN_SOURCES.to_vec()),
    "Which visitors see a campaign's number; required for a campaign that replaces a number.",
);
const CAMPAIGN_SEARCH_FROM: Field = Field::new(
    "campaign_search_from",
    PATTERN,
    "With `search`: names of search engines such as `google, bing`; `all` or empty for any.",
);
const CAMPAIGN_SEARCH_FOR: Field = Field::new(
    "campaign_search_for",
    PATTERN,
    "With `search`: `paid`, `organic`, `all` (or empty), or words of which one must be in the keyword.",
);
const CAMPAIGN_LANDING_PAGE: Field = Field::new(
    "campaign_landing_page",
    PATTERN,
    "With `landing_page`: parts of URLs of which one must be in that of the visit's first page; `*` stands for \
     anything, and a pattern that has one must match the URL's host and path as a whole.",
);
const CAMPAIGN_REFERRAL: Field = Field::new(
    "campaign_referral",
    PATTERN,
    "With `referral`: hosts of which one, or a host below it, must have led to the visit; `all` or empty for any.",
);
const CAMPAIGN_CAMPAIGN_PARAMETERS: Field = Field::new(
    "campaign_campaign_parameters",
    PATTERN,
    "With `campaign_parameters`: what the first page's URL must say, such as `utm_source=newsletter&utm_medium=email`; \
     a value of `*` is any.",
);
const POOL_MINUTES: Kind = Kind::Integer { min: 0, max: MINUTES_MAX };
const POOL_HOLD: Field = Field::new(
    "pool_hold_minutes",
    Kind::Integer { min: 1, max: MINUTES_MAX },
    "A number is its visitor's for so long after the last sign of life.",
);
const POOL_GRACE: Field = Field::new(
    "pool_grace_minutes",
    POOL_MINUTES,
    "And so much longer, since people leave the browser to dial.",
);
const POOL_COOLDOWN: Field =
    Field::new("pool_cooldown_minutes", POOL_MINUTES, "Then nobody gets the number for so long.");
const POOL_EXHAUSTED: Field = Field::new(
    "pool_exhausted",
    Kind::Choice(|| Exhausted::ALL.map(Exhausted::as_str).to_vec()),
    "What a visitor sees if no number is free: `reuse` takes the number whose visitor was seen least recently, \
     `fallback_number` shows `pool_fallback_number`, `no_swap` leaves the page as it is.",
);
const POOL_FALLBACK_NUMBER: Field = Field::new(
    "pool_fallback_number",
    Kind::Rule(&NUMBER_OR_NONE),
    "In E.164; it may be a number of another tracker.",
);

static NUMBER_OR_NONE: Rule = Rule {
    max: 16,
    format: "",
    example: "+12705550101",
    check: |text| if text.is_empty() { Ok(()) } else { (E164.check)(text) },
};

const _: () = assert!(RING_TIMEOUT_S_DEFAULT == 25, "the default of ring_timeout_s in the table");

const FROM_CARRIER: &[ProblemKind] =
    &[ProblemKind::Conflict, ProblemKind::Unprocessable, ProblemKind::Carrier];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/companies/{company_id}/trackers", "list_trackers", |r| Box::pin(list(r)))
        .named(TAG, "List trackers")
        .params(&[LIMIT, AFTER])
        .answers(Answer::Page("Tracker")),
    Route::post("/companies/{company_id}/trackers", "create_tracker", |r| Box::pin(create(r)))
        .named(TAG, "Create a tracker and get its numbers")
        .about(
            "Up to 10 numbers are bought at once. A number pool may have more: then they are ordered, the answer is 202 \
             with a number order, and the tracker is made when all of them are there. Numbers that were bought go back if \
             the tracker can't be made.",
        )
        .takes("NewTracker", NEW)
        .checked_by(|ctx, body, errors| Box::pin(check_new(ctx, body, errors)))
        .takes_long(BUYING_TIME)
        .answers(Answer::Created("Tracker"))
        .or_begins("NumberOrder")
        .or(FROM_CARRIER),
    Route::get("/companies/{company_id}/trackers/{tracker_id}", "get_tracker", |r| Box::pin(get(r)))
        .named(TAG, "Get a tracker")
        .answers(Answer::Object("Tracker")),
    Route::patch("/companies/{company_id}/trackers/{tracker_id}", "update_tracker", |r| Box::pin(update(r)))
        .named(TAG, "Change a tracker's settings")
        .about(
            "With a `number_pool_size` below the present one, the numbers that have been free longest go back to the \
             carrier; if visitors have too many of them nothing is changed, and 409 says how many are free and until when \
             the others are not.",
        )
        .changes("TrackerChange", CHANGE)
        .checked_by(|ctx, body, errors| Box::pin(check(ctx, body, errors)))
        .answers(Answer::Object("Tracker"))
        .or(&[ProblemKind::Conflict]),
    Route::delete("/companies/{company_id}/trackers/{tracker_id}", "delete_tracker", |r| Box::pin(delete(r)))
        .named(TAG, "Delete a tracker")
        .about("Its numbers go back to the carrier, a number order for it is cancelled; its calls and messages stay."),
    Route::post("/companies/{company_id}/trackers/{tracker_id}/numbers", "add_tracker_numbers", |r| {
        Box::pin(add_numbers(r))
    })
    .named(TAG, "Get more numbers for a tracker")
    .about(
        "Up to 10 are bought at once. A number pool may get more: then they are ordered, the answer is 202 with a number \
         order, and the pool gets them when all of them are there.",
    )
    .takes("MoreNumbers", MORE_NUMBERS)
    .takes_long(BUYING_TIME)
    .answers(Answer::Object("Tracker"))
    .or_begins("NumberOrder")
    .or(FROM_CARRIER),
];

/// The value of `numbers`, as its table has it.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    Buy { area_code: Option<String>, count: Option<usize> },
    Choose(Vec<String>),
    Attach(Vec<String>),
}

fn numbers(body: &Values) -> Numbers {
    let source = match body.need("numbers") {
        Wanted::Buy { area_code, count } => {
            Source::Buy { area_code, count: count.or(body.get("number_pool_size")).unwrap_or(1) }
        }
        Wanted::Choose(texts) => Source::Choose(parsed(&texts)),
        Wanted::Attach(texts) => Source::Attach(parsed(&texts)),
    };
    Numbers { carrier_id: body.get("carrier_id").map(CarrierId), source }
}

/// The table's rule let only numbers through.
fn parsed(texts: &[String]) -> Vec<PhoneNumber> {
    texts.iter().filter_map(|text| PhoneNumber::from_e164(text)).collect()
}

fn destination(body: &Values) -> Option<PhoneNumber> {
    let text: String = body.get("destination")?;
    Some(PhoneNumber::destination(&text).expect("the table's rule is this check"))
}

fn new_settings(body: &Values) -> Settings {
    Settings {
        name: body.need("name"),
        tracker_type: body.choice("tracker_type", TrackerType::parse).unwrap_or(TrackerType::Offline),
        number_type: body.choice("number_type", NumberType::parse).unwrap_or(NumberType::Local),
        destination: destination(body).expect("the table requires the key"),
        status: body.need("status"),
        recording_enabled: body.need("recording_enabled"),
        recording_message: body.need("recording_message"),
        whisper_enabled: body.need("whisper_enabled"),
        whisper_message: body.need("whisper_message"),
        voicemail_enabled: body.need("voicemail_enabled"),
        voicemail_greeting: body.need("voicemail_greeting"),
        transcription_enabled: body.need("transcription_enabled"),
        ring_timeout_s: body.need("ring_timeout_s"),
        swap_target: body.need("swap_target"),
        campaign_source: body.need("campaign_source"),
        campaign_search_from: body.need("campaign_search_from"),
        campaign_search_for: body.need("campaign_search_for"),
        campaign_landing_page: body.need("campaign_landing_page"),
        campaign_referral: body.need("campaign_referral"),
        campaign_campaign_parameters: body.need("campaign_campaign_parameters"),
        pool: Terms {
            hold_minutes: body.need("pool_hold_minutes"),
            grace_minutes: body.need("pool_grace_minutes"),
            cooldown_minutes: body.need("pool_cooldown_minutes"),
            exhausted: body.choice("pool_exhausted", Exhausted::parse).unwrap_or(Exhausted::Reuse),
            fallback_number: fallback_number(body).flatten(),
        },
    }
}

/// Some(None) takes the number away.
fn fallback_number(body: &Values) -> Option<Option<PhoneNumber>> {
    let text: String = body.get("pool_fallback_number")?;
    Some(PhoneNumber::from_e164(&text))
}

/// What is wrong with the settings as a whole: they depend on each other, and on the company's country.
fn check_settings(s: &Settings, country: &str) -> Result<(), Problem> {
    let mut errors = Errors::default();
    match swap::parse(&s.swap_target, country) {
        Err(error) => errors.add("swap_target", error.to_string()),
        Ok(targets) if targets.is_empty() && s.tracker_type == TrackerType::NumberPool => {
            errors.add("swap_target", "is needed: the number on the web site that the pool replaces");
        }
        Ok(targets)
            if !targets.is_empty()
                && s.tracker_type == TrackerType::Campaign
                && s.campaign_source.is_empty() =>
        {
            errors.add("campaign_source", "is needed: which visitors see the number");
        }
        Ok(_) => {}
    }
    if s.pool.exhausted == Exhausted::FallbackNumber && s.pool.fallback_number.is_none() {
        errors.add("pool_fallback_number", "is needed with pool_exhausted fallback_number");
    }
    errors.into_result()
}

/// What the body says replaces what is there.
fn change(body: &Values, s: &mut Settings) {
    body.set("name", &mut s.name);
    body.set("status", &mut s.status);
    body.set("recording_enabled", &mut s.recording_enabled);
    body.set("recording_message", &mut s.recording_message);
    body.set("whisper_enabled", &mut s.whisper_enabled);
    body.set("whisper_message", &mut s.whisper_message);
    body.set("voicemail_enabled", &mut s.voicemail_enabled);
    body.set("voicemail_greeting", &mut s.voicemail_greeting);
    body.set("transcription_enabled", &mut s.transcription_enabled);
    body.set("ring_timeout_s", &mut s.ring_timeout_s);
    body.set("swap_target", &mut s.swap_target);
    body.set("campaign_source", &mut s.campaign_source);
    body.set("campaign_search_from", &mut s.campaign_search_from);
    body.set("campaign_search_for", &mut s.campaign_search_for);
    body.set("campaign_landing_page", &mut s.campaign_landing_page);
    body.set("campaign_referral", &mut s.campaign_referral);
    body.set("campaign_campaign_parameters", &mut s.campaign_campaign_parameters);
    body.set("pool_hold_minutes", &mut s.pool.hold_minutes);
    body.set("pool_grace_minutes", &mut s.pool.grace_minutes);
    body.set("pool_cooldown_minutes", &mut s.pool.cooldown_minutes);
    s.pool.exhausted = body.choice("pool_exhausted", Exhausted::parse).unwrap_or(s.pool.exhausted);
    if let Some(number) = fallback_number(body) {
        s.pool.fallback_number = number;
    }
    s.tracker_type = body.choice("tracker_type", TrackerType::parse).unwrap_or(s.tracker_type);
    if let Some(destination) = destination(body) {
        s.destination = destination;
    }
}

/// Whether calls may go where the body says. Whoever writes the tracker asks again, in the same transaction.
async fn check(ctx: &Ctx, body: &Values, errors: &mut Errors) -> Result<(), Problem> {
    let Some(destination) = destination(body) else { return Ok(()) };
    let tracked = move |tx: &mut Tx<'_>| trackers::is_in_use(tx, &destination);
    if ctx.db.read("trackers.check_destination", tracked).await? {
        errors.add("destination", DESTINATION_IS_TRACKED);
    }
    Ok(())
}

/// As [`check`], and whether what is said about the number of numbers fits together.
async fn check_new(ctx: &Ctx, body: &Values, errors: &mut Errors) -> Result<(), Problem> {
    check(ctx, body, errors).await?;
    let is_pool = body.choice("tracker_type", TrackerType::parse) == Some(TrackerType::NumberPool);
    let size: Option<usize> = body.get("number_pool_size");
    let (bought, attached) = match body.get("numbers") {
        Some(Wanted::Buy { count, .. }) => (count, None),
        Some(Wanted::Choose(numbers) | Wanted::Attach(numbers)) => (None, Some(numbers.len())),
        None => (None, None),
    };
    if size.is_some() && !is_pool {
        errors.add("number_pool_size", "is for number pools only");
    } else if size.zip(bought.or(attached)).is_some_and(|(size, count)| size != count) {
        errors.add("number_pool_size", "must be the number of `numbers`; one of the two is enough");
    }
    if !is_pool && bought.is_some_and(|count| count > BUY_MAX) {
        let message = format!("must be an integer from 1 to {BUY_MAX}, except for a number pool");
        errors.add("numbers.buy.count", message);
    }
    Ok(())
}

async fn list(request: Request) -> Result<Reply, Problem> {
    let listed = trackers::list(&request.ctx.db, request.scope(), request.query.page()).await?;
    Ok(Reply::page(listed, TrackerView::to_json))
}

async fn create(request: Request) -> Result<Reply, Problem> {
    let (settings, numbers) = (new_settings(&request.body), numbers(&request.body));
    check_settings(&settings, &request.company().country)?;
    if let Some(bulk) = numbers.bulk() {
        return number_orders::begin(request, Target::New(Box::new(settings)), bulk).await;
    }
    let made = provision::create_tracker(&request.ctx, request.scope(), settings, numbers).await?;
    let path = format!("/companies/{}/trackers/{}", made.tracker.company_id, made.tracker.id);
    Ok(Reply::created(&path, &made.to_json()))
}

async fn get(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id("tracker_id")?);
    let found = request.ctx.db.read("trackers.get", move |tx| trackers::find(tx, scope, id)).await?;
    Ok(Reply::ok(&found.ok_or_else(Problem::not_found)?.to_json()))
}

async fn update(mut request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id::<TrackerId>("tracker_id")?);
    let (body, country) = (std::mem::take(&mut request.body), request.company().country.clone());
    request
        .write("trackers.update", move |tx| {
            tx.lock_text(LockSpace::Edit, &format!("tracker {id}"))?;
            let present = trackers::find(tx, scope, id)?.ok_or_else(Problem::not_found)?;
            let count = present.number_count();
            let mut settings = present.tracker.settings;
            change(&body, &mut settings);
            check_settings(&settings, &country)?;
            let changed = match fewer(&body, &settings, count)? {
                Some(size) => size::shrink(tx, scope, id, &settings, size)?,
                None => trackers::update(tx, scope, id, &settings)?,
            };
            Ok(Reply::ok(&changed.ok_or_else(Problem::not_found)?.to_json()))
        })
        .await
}

/// The size that a pool is to be made smaller to.
fn fewer(body: &Values, settings: &Settings, present: usize) -> Result<Option<usize>, Problem> {
    let Some(size) = body.get::<usize>("number_pool_size") else { return Ok(None) };
    let wrong = |message| Err(Problem::field("number_pool_size", message));
    match size.cmp(&present) {
        _ if settings.tracker_type != TrackerType::NumberPool => wrong("is for number pools only"),
        Ordering::Less => Ok(Some(size)),
        Ordering::Equal => Ok(None),
        Ordering::Greater => wrong("is larger than the pool; get more numbers with POST …/numbers"),
    }
}

async fn delete(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id::<TrackerId>("tracker_id")?);
    request
        .write("trackers.delete", move |tx| {
            orders::cancel_of_tracker(tx, scope, id)?;
            trackers::delete(tx, scope, id)?.ok_or_else(Problem::not_found)?;
            Ok(Reply::no_content())
        })
        .await
}

async fn add_numbers(request: Request) -> Result<Reply, Problem> {
    let (id, numbers) = (request.id("tracker_id")?, numbers(&request.body));
    if let Some(bulk) = numbers.bulk() {
        return number_orders::begin(request, Target::Present(id), bulk).await;
    }
    let changed = provision::add_numbers(&request.ctx, request.scope(), id, numbers).await?;
    Ok(Reply::ok(&changed.to_json()))
}
