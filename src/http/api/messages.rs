//! `/companies/{c}/messages`.

use super::Request;
use super::fields::{Field, Kind, Rule};
use super::params::{AFTER, LIMIT};
use super::reply::Reply;
use super::route::{Answer, Route};
use super::trackers::DESTINATION;
use crate::carriers::provision;
use crate::http::problem::{Kind as ProblemKind, Problem};
use crate::kernel::id::TrackerId;
use crate::kernel::phone::PhoneNumber;
use crate::messages::outgoing::{Body, Draft};
use crate::messages::{self, BODY_CHARS_MAX, Message};

const TAG: &str = "Messages";

static BODY: Rule = Rule {
    max: BODY_CHARS_MAX,
    format: "",
    example: "Thanks for your message!",
    check: |text| Body::parse(text).map(drop).map_err(|error| error.to_string()),
};

const NEW: &[Field] = &[
    Field::new("tracker_id", Kind::Integer { min: 1, max: i64::MAX }, "Whose number it comes from.")
        .required(),
    Field::new("to_number", Kind::Rule(&DESTINATION), "In E.164.").required(),
    Field::new("body", Kind::Rule(&BODY), "").required(),
];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/companies/{company_id}/messages", "list_messages", |r| Box::pin(list(r)))
        .named(TAG, "List messages")
        .params(&[LIMIT, AFTER])
        .answers(Answer::Page("Message")),
    Route::post("/companies/{company_id}/messages", "send_message", |r| Box::pin(send(r)))
        .named(TAG, "Send a message")
        .about("The answer comes when the carrier has taken it; `status` tells later how it went.")
        .takes("NewMessage", NEW)
        .answers(Answer::Created("Message"))
        .or(&[ProblemKind::Conflict, ProblemKind::Unprocessable, ProblemKind::Carrier]),
    Route::get("/companies/{company_id}/messages/{message_id}", "get_message", |r| Box::pin(get(r)))
        .named(TAG, "Get a message")
        .answers(Answer::Object("Message")),
];

async fn list(request: Request) -> Result<Reply, Problem> {
    let listed = messages::list(&request.ctx.db, request.scope(), request.query.page()).await?;
    Ok(Reply::page(listed, Message::to_json))
}

async fn send(request: Request) -> Result<Reply, Problem> {
    let (number, text): (String, String) = (request.body.need("to_number"), request.body.need("body"));
    let draft = Draft {
        tracker_id: TrackerId(request.body.need("tracker_id")),
        to: PhoneNumber::destination(&number).expect("the table's rule is this check"),
        body: Body::parse(&text).expect("the table's rule is this check"),
    };
    let sent = provision::send_message(&request.ctx, request.scope(), draft).await?;
    Ok(Reply::created(&format!("/companies/{}/messages/{}", sent.company_id, sent.id), &sent.to_json()))
}

async fn get(request: Request) -> Result<Reply, Problem> {
    let (scope, id) = (request.scope(), request.id("message_id")?);
    let found = request.ctx.db.read("messages.get", move |tx| messages::find(tx, scope, id)).await?;
    Ok(Reply::ok(&found.ok_or_else(Problem::not_found)?.to_json()))
}
