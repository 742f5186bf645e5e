//! `/companies/{c}/voicemails`: what callers left.

use super::Request;
use super::params::{AFTER, LIMIT};
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::http::problem::Problem;
use crate::recordings::link::Links;
use crate::voicemails;

pub(super) const ROUTES: &[Route] =
    &[Route::get("/companies/{company_id}/voicemails", "list_voicemails", |r| Box::pin(list(r)))
        .named("Voicemails", "List voicemails")
        .params(&[LIMIT, AFTER])
        .answers(Answer::Page("Voicemail"))];

async fn list(request: Request) -> Result<Reply, Problem> {
    let ctx = &request.ctx;
    let listed = voicemails::list(&ctx.db, request.scope(), request.query.page()).await?;
    let (links, now) = (Links::of(ctx), ctx.clock.now());
    Ok(Reply::page(listed, |voicemail| voicemail.to_json(&links, now)))
}
