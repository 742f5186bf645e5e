//! Messages: sent, seen and deleted.

use serde_json::{Value, json};

use super::page::page;
use super::{Reply, RestError, RestRequest, RestResult};
use crate::clock::rfc2822;
use crate::messages::{Outgoing, segment_count, send};
use crate::records::{Message, MessageDirection, MessageStatus};

pub fn create(request: &RestRequest) -> RestResult {
    let text = |name| request.find(name).unwrap_or_default().to_owned();
    if text("To").is_empty() {
        return Err(RestError::invalid(21_604, "A 'To' phone number is required."));
    }
    if text("From").is_empty() {
        let text = "A 'From' phone number is required; messaging services are not simulated.";
        return Err(RestError::invalid(21_603, text));
    }
    let outgoing = Outgoing {
        from: text("From"),
        to: text("To"),
        body: text("Body"),
        media_urls: request
            .form
            .iter()
            .filter(|(name, _)| name == "MediaUrl")
            .map(|(_, url)| url.clone())
            .collect(),
        status_callback: Some(text("StatusCallback")).filter(|url| !url.is_empty()),
    };
    let direction = MessageDirection::OutboundApi;
    match send(&request.carrier, &request.account, outgoing, direction) {
        Ok(message) => Ok(Reply::Created(message_json(request, &message))),
        Err(refused) => Err(RestError::invalid(refused.code, refused.text)),
    }
}

pub fn list(request: &RestRequest) -> RestResult {
    let (from, to) = (request.find("From"), request.find("To"));
    let state = request.carrier.state();
    let items = state
        .messages
        .iter()
        .rev()
        .filter(|message| message.account_sid == request.account.sid)
        .filter(|message| from.is_none_or(|from| message.from == from))
        .filter(|message| to.is_none_or(|to| message.to == to))
        .map(|message| message_json(request, message))
        .collect();
    drop(state);
    Ok(page(request, "messages", items))
}

pub fn get(request: &RestRequest, sid: &str) -> RestResult {
    let state = request.carrier.state();
    let message = state.messages.find(sid);
    match message.filter(|message| message.account_sid == request.account.sid) {
        Some(message) => Ok(Reply::Ok(message_json(request, message))),
        None => Err(RestError::not_found(&request.uri(&request.path))),
    }
}

pub fn delete(request: &RestRequest, sid: &str) -> RestResult {
    let mut state = request.carrier.state();
    let is_own = state.messages.find(sid).is_some_and(|message| message.account_sid == request.account.sid);
    if !is_own {
        return Err(RestError::not_found(&request.uri(&request.path)));
    }
    state.messages.remove(sid);
    Ok(Reply::NoContent)
}

fn message_json(request: &RestRequest, message: &Message) -> Value {
    let base = format!("Messages/{}", message.sid);
    let date_sent = match message.status {
        MessageStatus::Queued | MessageStatus::Failed => None,
        MessageStatus::Sent
        | MessageStatus::Delivered
        | MessageStatus::Undelivered
        | MessageStatus::Received => Some(rfc2822(message.updated_at)),
    };
    let error_message = message.error_code.map(|_| "Unreachable destination handset");
    json!({
        "sid": message.sid,
        "account_sid": message.account_sid,
        "messaging_service_sid": null,
        "from": message.from,
        "to": message.to,
        "body": message.body,
        "num_segments": segment_count(&message.body).to_string(),
        "num_media": message.media_urls.len().to_string(),
        "direction": message.direction.word(),
        "status": message.status.word(),
        "error_code": message.error_code,
        "error_message": error_message,
        "price": null,
        "price_unit": "USD",
        "date_created": rfc2822(message.created_at),
        "date_updated": rfc2822(message.updated_at),
        "date_sent": date_sent,
        "api_version": "2010-04-01",
        "uri": request.uri(&format!("{base}.json")),
        "subresource_uris": {
            "media": request.uri(&format!("{base}/Media.json")),
        },
    })
}
