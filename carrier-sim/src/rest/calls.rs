//! Calls: seen and ended. Starting calls by the API is not simulated.

use serde_json::{Value, json};

use super::page::page;
use super::{Reply, RestError, RestRequest, RestResult};
use crate::clock::rfc2822;
use crate::records::{Call, CallDirection, CallStatus, HangUpCommand};
use crate::stock;

pub fn list(request: &RestRequest) -> RestResult {
    let wanted = |name: &'static str| request.find(name);
    let (from, to, status, parent) =
        (wanted("From"), wanted("To"), wanted("Status"), wanted("ParentCallSid"));
    let since = date(request, "StartTime>")?.or(date(request, "StartTime")?);
    let until = date(request, "StartTime<")?;
    let state = request.carrier.state();
    let items = state
        .calls
        .iter()
        .rev()
        .filter(|call| call.account_sid == request.account.sid)
        .filter(|call| from.is_none_or(|from| call.from == from))
        .filter(|call| to.is_none_or(|to| call.to == to))
        .filter(|call| status.is_none_or(|status| call.status.word() == status))
        .filter(|call| parent.is_none_or(|sid| call.parent_sid.as_deref() == Some(sid)))
        .filter(|call| since.is_none_or(|since| call.started_at >= since))
        .filter(|call| until.is_none_or(|until| call.started_at <= until))
        .map(|call| call_json(request, call))
        .collect();
    drop(state);
    Ok(page(request, "calls", items))
}

pub fn get(request: &RestRequest, sid: &str) -> RestResult {
    let state = request.carrier.state();
    let call = state.calls.find(sid);
    match call.filter(|call| call.account_sid == request.account.sid) {
        Some(call) => Ok(Reply::Ok(call_json(request, call))),
        None => Err(RestError::not_found(&request.uri(&request.path))),
    }
}

/// Ends a call: `Status=completed`, or `canceled` for one that only rings.
pub fn update(request: &RestRequest, sid: &str) -> RestResult {
    let status = request.find("Status").unwrap_or_default();
    if !["completed", "canceled"].contains(&status) {
        let text = "Only Status=completed and Status=canceled are simulated";
        return Err(RestError::invalid(21_220, text));
    }
    let state = request.carrier.state();
    let call = state.calls.find(sid);
    let call = call
        .filter(|call| call.account_sid == request.account.sid)
        .ok_or_else(|| RestError::not_found(&request.uri(&request.path)))?;
    if call.ended_at.is_some() || (status == "canceled" && call.status == CallStatus::InProgress) {
        let text = format!("Call is not in-progress. Cannot redirect. ({})", call.status.word());
        return Err(RestError::invalid(21_220, text));
    }
    let parent = match &call.parent_sid {
        Some(parent_sid) => state.calls.find(parent_sid),
        None => Some(call),
    };
    if let Some(commands) = parent.and_then(|parent| parent.commands.as_ref()) {
        let leg_sid = sid.to_owned();
        // A full queue means that the call is being ended already.
        let _queue_is_full = commands.try_send(HangUpCommand { leg_sid });
    }
    Ok(Reply::Ok(call_json(request, call)))
}

/// A date of a filter: a day or an instant.
fn date(request: &RestRequest, name: &str) -> Result<Option<jiff::Timestamp>, RestError> {
    let Some(text) = request.find(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let instant = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    match instant.parse() {
        Ok(instant) => Ok(Some(instant)),
        Err(_) => Err(RestError::invalid(20_001, format!("{name} is not a date: {text}"))),
    }
}

fn call_json(request: &RestRequest, call: &Call) -> Value {
    let base = format!("Calls/{}", call.sid);
    let has_ended = call.ended_at.is_some();
    let price = call.answered_at.filter(|_| has_ended).map(|_| {
        let minutes = (call.duration_s() + 59) / 60;
        format!("-{}.{:04}", minutes * 85 / 10_000, minutes * 85 % 10_000)
    });
    json!({
        "sid": call.sid,
        "account_sid": call.account_sid,
        "parent_call_sid": call.parent_sid,
        "phone_number_sid": call.number_sid,
        "from": call.from,
        "from_formatted": stock::friendly_name(&call.from),
        "to": call.to,
        "to_formatted": stock::friendly_name(&call.to),
        "status": call.status.word(),
        "direction": call.direction.word(),
        "duration": has_ended.then(|| call.duration_s().to_string()),
        "date_created": rfc2822(call.started_at),
        "date_updated": rfc2822(call.ended_at.or(call.answered_at).unwrap_or(call.started_at)),
        "start_time": call_start(call),
        "end_time": call.ended_at.map(rfc2822),
        "answered_by": null,
        "caller_name": call.caller_name,
        "forwarded_from": call.forwarded_from,
        "group_sid": null,
        "trunk_sid": null,
        "queue_time": "0",
        "annotation": null,
        "price": price,
        "price_unit": "USD",
        "api_version": "2010-04-01",
        "uri": request.uri(&format!("{base}.json")),
        "subresource_uris": {
            "recordings": request.uri(&format!("{base}/Recordings.json")),
        },
    })
}

/// An inbound call starts with its first ring, an outbound leg when it is answered.
fn call_start(call: &Call) -> Option<String> {
    match call.direction {
        CallDirection::Inbound => Some(rfc2822(call.started_at)),
        CallDirection::OutboundDial => call.answered_at.map(rfc2822),
    }
}
