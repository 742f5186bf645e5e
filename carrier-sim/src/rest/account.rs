//! The account itself, its balance and its usage.

use serde_json::{Value, json};

use super::page::page;
use super::{Reply, RestRequest, RestResult};
use crate::clock::rfc2822;
use crate::records::{Call, CallDirection, MessageDirection};

/// The account.
pub fn get(request: &RestRequest) -> Reply {
    let account = &request.account;
    let uri = |resource: &str| request.uri(&format!("{resource}.json"));
    Reply::Ok(json!({
        "sid": account.sid,
        "owner_account_sid": account.sid,
        "friendly_name": "Simulated account",
        "status": "active",
        "type": "Full",
        "auth_token": account.auth_token,
        "date_created": rfc2822(account.created_at),
        "date_updated": rfc2822(account.created_at),
        "uri": format!("{}.json", account.path()),
        "subresource_uris": {
            "available_phone_numbers": uri("AvailablePhoneNumbers"),
            "calls": uri("Calls"),
            "incoming_phone_numbers": uri("IncomingPhoneNumbers"),
            "messages": uri("Messages"),
            "recordings": uri("Recordings"),
        },
    }))
}

/// A simulation is always solvent.
pub fn balance(request: &RestRequest) -> Reply {
    Reply::Ok(json!({
        "account_sid": request.account.sid,
        "balance": "1000.00",
        "currency": "USD",
    }))
}

/// Counts of what is still on the shelves, for a few categories.
pub fn usage(request: &RestRequest) -> RestResult {
    let sid = &request.account.sid;
    let state = request.carrier.state();
    let minutes = |direction: CallDirection| {
        let calls = state.calls.iter().filter(|call| call.account_sid == *sid && call.direction == direction);
        calls.fold((0, 0), |(count, minutes), call| (count + 1, minutes + billed_minutes(call)))
    };
    let texts = |inbound: bool| {
        let count = state
            .messages
            .iter()
            .filter(|message| {
                message.account_sid == *sid && (message.direction == MessageDirection::Inbound) == inbound
            })
            .count();
        i64::try_from(count).unwrap_or(i64::MAX)
    };
    let numbers = state.numbers.iter().filter(|number| number.account_sid == *sid).count();
    let numbers = i64::try_from(numbers).unwrap_or(i64::MAX);
    let (inbound, inbound_minutes) = minutes(CallDirection::Inbound);
    let (outbound, outbound_minutes) = minutes(CallDirection::OutboundDial);
    let records = [
        ("calls-inbound", inbound, inbound_minutes, "minutes"),
        ("calls-outbound", outbound, outbound_minutes, "minutes"),
        ("sms-inbound", texts(true), texts(true), "messages"),
        ("sms-outbound", texts(false), texts(false), "messages"),
        ("phonenumbers", numbers, numbers, "numbers"),
    ];
    drop(state);
    let wanted = request.find("Category");
    let today = request.carrier.clock.now().strftime("%Y-%m-%d").to_string();
    let items = records
        .into_iter()
        .filter(|(category, ..)| wanted.is_none_or(|wanted| wanted == *category))
        .map(|(category, count, usage, unit)| usage_record(request, category, count, usage, unit, &today))
        .collect();
    Ok(page(request, "usage_records", items))
}

fn usage_record(
    request: &RestRequest,
    category: &str,
    count: i64,
    usage: i64,
    unit: &str,
    today: &str,
) -> Value {
    json!({
        "account_sid": request.account.sid,
        "api_version": "2010-04-01",
        "category": category,
        "description": category,
        "start_date": request.find("StartDate").unwrap_or(today),
        "end_date": request.find("EndDate").unwrap_or(today),
        "count": count.to_string(),
        "count_unit": if unit == "minutes" { "calls" } else { unit },
        "usage": usage.to_string(),
        "usage_unit": unit,
        "price": 0,
        "price_unit": "usd",
        "uri": request.uri(&format!("Usage/Records.json?Category={category}")),
    })
}

fn billed_minutes(call: &Call) -> i64 {
    (call.duration_s() + 59) / 60
}
