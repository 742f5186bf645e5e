//! `/companies`. Making and deleting one is for tokens of the whole account.

use super::Request;
use super::fields::{Field, Kind, Rule};
use super::params::{AFTER, LIMIT};
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::carriers::accounts;
use crate::companies::{self, NewCompany, Scope};
use crate::db::{LockSpace, Tx};
use crate::http::problem::{Kind as ProblemKind, Problem};
use crate::{trackers, users, webhooks};

const TAG: &str = "Companies";
/// Ids that a refusal names at most, of each kind.
const NAMED_MAX: usize = 10;

static TIME_ZONE: Rule = Rule {
    max: 64,
    format: "",
    example: "America/New_York",
    check: |text| {
        let known = companies::is_time_zone(text);
        known.then_some(()).ok_or_else(|| "is not an IANA time zone such as America/New_York".to_owned())
    },
};

static COUNTRY: Rule = Rule {
    max: 2,
    format: "",
    example: "US",
    check: |text| {
        let shaped = text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
        shaped.then_some(()).ok_or_else(|| "must be two capital letters such as US".to_owned())
    },
};

const FIELDS: &[Field] = &[
    Field::new("name", Kind::Text { min: 1, max: 200 }, "").required(),
    Field::new("time_zone", Kind::Rule(&TIME_ZONE), "An IANA time zone: its days are the days of reports.")
        .required(),
    Field::new("country", Kind::Rule(&COUNTRY), "ISO 3166-1 alpha-2.").required(),
    Field::new(
        "billing_day",
        Kind::Integer { min: 1, max: 28 },
        "The day of the month on which a billing period starts.",
    )
    .default("1"),
    Field::new(
        "source_days",
        Kind::Integer { min: 0, max: 365 },
        "For how many days the source of a visit counts for later ones that have none of their own.",
    )
    .default("30"),
];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/companies", "list_companies", |r| Box::pin(list(r)))
        .named(TAG, "List the companies that the token sees")
        .params(&[LIMIT, AFTER])
        .answers(Answer::Page("Company")),
    Route::post("/companies", "create_company", |r| Box::pin(create(r)))
        .named(TAG, "Create a company")
        .for_the_account()
        .takes("NewCompany", FIELDS)
        .answers(Answer::Created("Company")),
    Route::get("/companies/{company_id}", "get_company", |r| Box::pin(get(r)))
        .named(TAG, "Get a company")
        .answers(Answer::Object("Company")),
    Route::patch("/companies/{company_id}", "update_company", |r| Box::pin(update(r)))
        .named(TAG, "Change a company's settings")
        .changes("CompanyChange", FIELDS)
        .answers(Answer::Object("Company")),
    Route::delete("/companies/{company_id}", "delete_company", |r| Box::pin(delete(r)))
        .named(TAG, "Delete a company")
        .about(
            "Its webhooks are deleted, its tokens and its users' logins stop working, and nobody sees it any more. \
             Its trackers and carrier accounts must be deleted before: until then calls come in and numbers cost.",
        )
        .for_the_account()
        .or(&[ProblemKind::Conflict]),
];

async fn list(request: Request) -> Result<Reply, Problem> {
    let page = request.query.page();
    let listed = companies::list(&request.ctx.db, request.caller.company, page).await?;
    Ok(Reply::page(listed, companies::Company::to_json))
}

async fn create(request: Request) -> Result<Reply, Problem> {
    let new = NewCompany {
        name: request.body.need("name"),
        time_zone: request.body.need("time_zone"),
        country: request.body.need("country"),
        billing_day: request.body.need("billing_day"),
        source_days: request.body.need("source_days"),
    };
    request
        .write("companies.create", move |tx| {
            let company = companies::create(tx, &new)?;
            Ok(Reply::created(&format!("/companies/{}", company.id), &company.to_json()))
        })
        .await
}

async fn get(request: Request) -> Result<Reply, Problem> {
    Ok(Reply::ok(&request.company().to_json()))
}

async fn update(mut request: Request) -> Result<Reply, Problem> {
    let (scope, body) = (request.scope(), std::mem::take(&mut request.body));
    request
        .write("companies.update", move |tx| {
            tx.lock_text(LockSpace::Edit, &format!("company {}", scope.company()))?;
            let present = companies::find(tx, scope.company())?.ok_or_else(Problem::not_found)?;
            let mut new = NewCompany {
                name: present.name,
                time_zone: present.time_zone,
                country: present.country,
                billing_day: present.billing_day,
                source_days: present.source_days,
            };
            body.set("name", &mut new.name);
            body.set("time_zone", &mut new.time_zone);
            body.set("country", &mut new.country);
            body.set("billing_day", &mut new.billing_day);
            body.set("source_days", &mut new.source_days);
            let company = companies::update(tx, scope, &new)?.ok_or_else(Problem::not_found)?;
            Ok(Reply::ok(&company.to_json()))
        })
        .await
}

async fn delete(request: Request) -> Result<Reply, Problem> {
    let scope = request.scope();
    request
        .write("companies.delete", move |tx| {
            // Held before anything is looked at, so that nothing is added behind our back.
            if !companies::hold(tx, scope)? {
                return Err(Problem::not_found());
            }
            check_unused(tx, scope)?;
            webhooks::delete_all(tx, scope)?;
            users::log_out_company(tx, scope)?;
            companies::delete(tx, scope)?;
            Ok(Reply::no_content())
        })
        .await
}

/// A company goes when nothing is left of it at a carrier. Trackers need an account, and whoever adds an account
/// holds the company.
fn check_unused(tx: &mut Tx<'_>, scope: Scope) -> Result<(), Problem> {
    let limit = NAMED_MAX as i64 + 1;
    let trackers = named("trackers", &trackers::ids(tx, scope, limit)?);
    let accounts = named("carrier accounts", &accounts::ids(tx, scope, limit)?);
    let present: Vec<String> = [trackers, accounts].into_iter().flatten().collect();
    if present.is_empty() {
        return Ok(());
    }
    let detail = format!("The company still has {}; delete them first", present.join(" and "));
    Err(Problem::new(ProblemKind::Conflict, detail))
}

/// Such as "trackers (3, 4)"; None if there are none.
fn named<T: std::fmt::Display>(noun: &str, ids: &[T]) -> Option<String> {
    let shown: Vec<String> = ids.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = if ids.len() > NAMED_MAX { ", …" } else { "" };
    (!ids.is_empty()).then(|| format!("{noun} ({}{more})", shown.join(", ")))
}
