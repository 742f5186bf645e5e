//! `/companies/{c}/usage`: billing periods that were closed.

use super::Request;
use super::params::{AFTER, LIMIT};
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::http::problem::Problem;
use crate::usage::{self, Usage};

pub(super) const ROUTES: &[Route] =
    &[Route::get("/companies/{company_id}/usage", "list_usage", |r| Box::pin(list(r)))
        .named("Usage", "List closed billing periods")
        .params(&[LIMIT, AFTER])
        .answers(Answer::Page("Usage"))];

async fn list(request: Request) -> Result<Reply, Problem> {
    let listed = usage::list(&request.ctx.db, request.scope(), request.query.page()).await?;
    Ok(Reply::page(listed, Usage::to_json))
}
