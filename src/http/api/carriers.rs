//! `/companies/{c}/carriers` and `/available-numbers`: a company's accounts at carriers, and what these
//! have for sale.

use serde_json::{Value as Json, json};

use super::Request;
use super::fields::{Errors, Field, Kind, Rule, Values};
use super::params::{AFTER, LIMIT};
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::carriers::accounts::{self, Error as AccountError, Invalid, NewAccount, Secret};
use crate::carriers::client::AvailableNumber;
use crate::carriers::form::{ID_CHARS_MAX, is_id};
use crate::carriers::{Kind as CarrierKind, provision};
use crate::ctx::Ctx;
use crate::http::problem::{Kind as ProblemKind, Problem};
use crate::kernel::id::CarrierId;
use crate::kernel::page::Listed;
use crate::kernel::phone::NumberType;
use crate::outbound::TARGET_BYTES_MAX;

const TAG: &str = "Carriers";

static ACCOUNT_SID: Rule = Rule {
    max: ID_CHARS_MAX,
    format: "",
    example: "AC00000000000000000000000000000000",
    check: |text| is_id(text).then_some(()).ok_or_else(|| Invalid::AccountSid.to_string()),
};

static SECRET: Rule = Rule {
    max: 256,
    format: "password",
    example: "0123456789abcdef0123456789abcdef",
    check: |text| Secret::parse(text).map(drop).map_err(|error| error.to_string()),
};

static AREA_CODE: Rule = Rule {
    max: 3,
    format: "",
    example: "270",
    check: |text| {
        let fits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        fits.then_some(()).ok_or_else(|| "must be three digits".to_owned())
    },
};

/// Where a number is: an area code of North America.
pub(super) const AREA_CODE_FIELD: Field = Field::new("area_code", Kind::Rule(&AREA_CODE), "Three digits.");

/// Which of the company's accounts.
pub(super) const CARRIER_ID: Field = Field::new(
    "carrier_id",
    Kind::Integer { min: 1, max: i64::MAX },
    "A carrier account; needed if the company has several.",
);

const NEW: &[Field] = &[
    Field::new(
        "kind",
        Kind::Choice(|| vec![CarrierKind::Twilio.as_str(), CarrierKind::SignalWire.as_str()]),
        "",
    )
    .required(),
    Field::new("account_sid", Kind::Rule(&ACCOUNT_SID), "The account (SignalWire: the project).").required(),
    Field::new("auth_token", Kind::Rule(&SECRET), "Kept encrypted and never shown again.").required(),
    SIGNING_KEY,
    Field::new(
        "base_url",
        Kind::Text { min: 1, max: TARGET_BYTES_MAX },
        "Where the carrier's API is; SignalWire's customers each have a host of their own.",
    ),
];

const CHANGE: &[Field] = &[
    Field::new(
        "auth_token",
        Kind::Rule(&SECRET),
        "A new token; requests signed with the one before are still accepted.",
    ),
    SIGNING_KEY,
];

const SIGNING_KEY: Field = Field::new(
    "signing_key",
    Kind::Rule(&SECRET),
    "What SignalWire signs its requests with: its accounts need it.",
);

const SEARCH: &[Field] = &[
    CARRIER_ID,
    Field::new("number_type", Kind::Choice(number_types), "`local` if it isn't given."),
    AREA_CODE_FIELD,
    Field::new("region", Kind::Text { min: 1, max: 32 }, "A state or province, such as KY."),
    Field::new("contains", Kind::Text { min: 1, max: 32 }, "Digits or letters that the number has."),
];

/// The words for kinds of numbers.
pub(super) fn number_types() -> Vec<&'static str> {
    vec![NumberType::Local.as_str(), NumberType::Tollfree.as_str()]
}

pub(super) const ROUTES: &[Route] = &[
    Route::get("/companies/{company_id}/carriers", "list_carriers", |r| Box::pin(list(r)))
        .named(TAG, "List carrier accounts")
        .params(&[LIMIT, AFTER])
        .answers(Answer::Page("Carrier")),
    Route::post("/companies/{company_id}/carriers", "create_carrier", |r| Box::pin(create(r)))
        .named(TAG, "Connect a carrier account")
        .about("The carrier is asked whether the credentials are right.")
        .takes("NewCarrier", NEW)
        .checked_by(|ctx, body, errors| Box::pin(check(ctx, body, errors)))
        .answers(Answer::Created("Carrier"))
        .or(&[ProblemKind::Conflict, ProblemKind::Unprocessable, ProblemKind::Carrier]),
    Route::get("/companies/{company_id}/carriers/{carrier_id}", "get_carrier", |r| Box::pin(get(r)))
        .named(TAG, "Get a carrier account")
        .answers(Answer::Object("Carrier")),
    Route::patch("/companies/{company_id}/carriers/{carrier_id}", "update_carrier", |r| Box::pin(update(r)))
        .named(TAG, "Change a carrier account's credentials")
        .changes("CarrierChange", CHANGE)
        .answers(Answer::Object("Carrier"))
        .or(&[ProblemKind::Unprocessable, ProblemKind::Carrier]),
    Route::delete("/companies/{company_id}/carriers/{carrier_id}", "delete_carrier", |r| Box::pin(delete(r)))
        .named(TAG, "Disconnect a carrier account")
        .about(
            "Its credentials are forgotten. An account with tracking numbers can't be disconnected. Its number orders \
             are cancelled, and until what they bought is back at the carrier the answer is 409.",
        )
        .or(&[ProblemKind::Conflict]),
    Route::get("/companies/{company_id}/available-numbers", "list_available_numbers", |r| {
        Box::pin(available(r))
    })
    .named("Numbers", "Look for numbers to buy")
    .about("What the carrier has right now, in the company's country: 30 at most, and no further page.")
    .params(SEARCH)
    .answers(Answer::Page("AvailableNumber"))
    .or(&[ProblemKind::Conflict, ProblemKind::Unprocessable, ProblemKind::Carrier]),
];

async fn list(request: Request) -> Result<Reply, Problem> {
    let ctx = &request.ctx;
    let listed = accounts::list(&ctx.db, request.scope(), &ctx.key, request.query.page()).await?;
    Ok(Reply::page(listed, |account| account.to_json(&ctx.public_url)))
}

/// Where a kind's API may be, and whether its requests can be checked.
async fn check(ctx: &Ctx, body: &Values, errors: &mut Errors) -> Result<(), Problem> {
    let kind = body.choice("kind", CarrierKind::parse);
    let given: Option<String> = body.get("base_url");
    // A URL that is given can be looked at without knowing whose it is.
    let known = kind.or(given.as_ref().map(|_| CarrierKind::Twilio));
    if let Some(kind) = known.filter(|_| !errors.is_about("base_url"))
        && let Err(error) = accounts::check_base_url(&ctx.to_carriers, kind, given.as_deref())
    {
        errors.add("base_url", error.to_string());
    }
    let has_key = body.get::<String>("signing_key").is_some() || errors.is_about("signing_key");
    if kind == Some(CarrierKind::SignalWire) && !has_key {
        errors.add("signing_key", "is required: SignalWire signs its requests with it");
    }
    Ok(())
}

async fn create(request: Request) -> Result<Reply, Problem> {
    let (ctx, body) = (&request.ctx, &request.body);
    let kind = body.choice("kind", CarrierKind::parse).expect("the table requires the key");
    let given: Option<String> = body.get("base_url");
    let base_url = accounts::check_base_url(&ctx.to_carriers, kind, given.as_deref())
        .map_err(|error| Problem::field("base_url", error.to_string()))?;
    let auth_token = secret(&request, "auth_token").expect("the table requires the key");
    let signing_key = secret(&request, "signing_key");
    let sid: String = body.need("account_sid");
    let new = NewAccount::new(kind, &sid, base_url, auth_token, signing_key)
        .map_err(|error| Problem::field("account_sid", error.to_string()))?;
    let made = provision::create_account(ctx, request.scope(), new).await?;
    let path = format!("/companies/{}/carriers/{}", made.account.company_id, made.account.id);
    Ok(Reply::created(&path, &made.to_json(&ctx.public_url)))
}

async fn get(request: Request) -> Result<Reply, Problem> {
    let (scope, id, key) = (request.scope(), request.id("carrier_id")?, request.ctx.key.clone());
    let found = request.ctx.db.read("carriers.get", move |tx| accounts::find(tx, scope, id, &key)).await?;
    Ok(Reply::ok(&found.ok_or_else(Problem::not_found)?.to_json(&request.ctx.public_url)))
}

async fn update(request: Request) -> Result<Reply, Problem> {
    let (ctx, id) = (&request.ctx, request.id("carrier_id")?);
    let (token, key) = (secret(&request, "auth_token"), secret(&request, "signing_key"));
    let changed = provision::rotate_credentials(ctx, request.scope(), id, token, key).await?;
    Ok(Reply::ok(&changed.ok_or_else(Problem::not_found)?.to_json(&ctx.public_url)))
}

fn secret(request: &Request, name: &str) -> Option<Secret> {
    let text: String = request.body.get(name)?;
    Some(Secret::parse(&text).expect("the table's rule is this check"))
}

async fn delete(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id::<CarrierId>("carrier_id")?);
    request
        .write("carriers.delete", move |tx| {
            match accounts::delete(tx, scope, id) {
                // A refusal that is committed: its orders are cancelled.
                Err(error @ AccountError::NumbersReleasing) => Ok(Problem::from(error).into()),
                Err(error) => Err(error.into()),
                Ok(None) => Err(Problem::not_found()),
                Ok(Some(())) => Ok(Reply::no_content()),
            }
        })
        .await
}

async fn available(request: Request) -> Result<Reply, Problem> {
    let query = &request.query;
    let number_type = query.choice("number_type", NumberType::parse).unwrap_or(NumberType::Local);
    let search = provision::Search {
        carrier_id: query.get("carrier_id").map(CarrierId),
        number_type,
        area_code: query.get("area_code"),
        region: query.get("region"),
        contains: query.get("contains"),
    };
    let rows = provision::search(&request.ctx, request.scope(), search).await?;
    Ok(Reply::page(Listed { rows, next: None }, |number| encode(number, number_type)))
}

fn encode(available: &AvailableNumber, number_type: NumberType) -> Json {
    json!({
        "number": available.number,
        "number_type": number_type.as_str(),
        "city": available.city,
        "state": available.state,
        "zip": available.zip,
        "country": available.country,
        "sms": available.sms,
    })
}
