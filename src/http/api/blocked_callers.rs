//! `/companies/{c}/blocked-callers`: numbers whose calls are refused.

use super::Request;
use super::fields::{Field, Kind, Rule};
use super::params::{AFTER, LIMIT};
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::http::problem::Problem;
use crate::kernel::id::BlockedCallerId;
use crate::kernel::phone::PhoneNumber;
use crate::trackers::blocked::{self, BlockedCaller};

const TAG: &str = "Blocked callers";

static CALLER: Rule = Rule {
    max: 32,
    format: "",
    example: "+18183219876",
    check: |text| {
        let number = PhoneNumber::caller(text);
        number
            .map(drop)
            .ok_or_else(|| "is not a valid phone number in E.164, such as +12703152766".to_owned())
    },
};

const NEW: &[Field] = &[
    Field::new("number", Kind::Rule(&CALLER), "Who isn't wanted, in E.164.").required(),
    Field::new("note", Kind::Text { min: 0, max: 500 }, "").default("\"\""),
];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/companies/{company_id}/blocked-callers", "list_blocked_callers", |r| Box::pin(list(r)))
        .named(TAG, "List blocked callers")
        .params(&[LIMIT, AFTER])
        .answers(Answer::Page("BlockedCaller")),
    Route::post("/companies/{company_id}/blocked-callers", "block_caller", |r| Box::pin(block(r)))
        .named(TAG, "Block a caller")
        .about("Blocking a number again changes its note.")
        .takes("NewBlockedCaller", NEW)
        .answers(Answer::Created("BlockedCaller")),
    Route::delete("/companies/{company_id}/blocked-callers/{blocked_caller_id}", "unblock_caller", |r| {
        Box::pin(unblock(r))
    })
    .named(TAG, "Unblock a caller"),
];

async fn list(request: Request) -> Result<Reply, Problem> {
    let listed = blocked::list(&request.ctx.db, request.scope(), request.query.page()).await?;
    Ok(Reply::page(listed, BlockedCaller::to_json))
}

async fn block(request: Request) -> Result<Reply, Problem> {
    let (scope, note) = (request.scope(), request.body.need::<String>("note"));
    let number = request.body.choice("number", PhoneNumber::caller).expect("the table requires the key");
    request
        .write("blocked_callers.block", move |tx| {
            let blocked = blocked::block(tx, scope, &number, &note)?;
            let path = format!("/companies/{}/blocked-callers/{}", scope.company(), blocked.id);
            Ok(Reply::created(&path, &blocked.to_json()))
        })
        .await
}

async fn unblock(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id::<BlockedCallerId>("blocked_caller_id")?);
    request
        .write("blocked_callers.unblock", move |tx| {
            let found = blocked::unblock(tx, scope, id)?;
            found.then(Reply::no_content).ok_or_else(Problem::not_found)
        })
        .await
}
