//! Numbers: on sale, bought, configured and released.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::page::page;
use super::{Reply, RestError, RestRequest, RestResult};
use crate::clock::rfc2822;
use crate::faults::CountedFault;
use crate::records::IncomingPhoneNumber;
use crate::sid::SidKind;
use crate::stock::{self, NumberType, StockNumber, StockQuery};
use crate::webhooks::Params;

/// Results of a search when nothing else is asked for.
const SEARCH_SIZE_DEFAULT: usize = 30;
const SEARCH_SIZE_MAX: usize = 1000;

/// A setting's name in requests and in answers, and what it may be.
const SETTINGS: [(&str, &str, SettingKind); 16] = [
    ("FriendlyName", "friendly_name", SettingKind::Text),
    ("VoiceUrl", "voice_url", SettingKind::Url),
    ("VoiceMethod", "voice_method", SettingKind::Method),
    ("VoiceFallbackUrl", "voice_fallback_url", SettingKind::Url),
    ("VoiceFallbackMethod", "voice_fallback_method", SettingKind::Method),
    ("VoiceApplicationSid", "voice_application_sid", SettingKind::Text),
    ("VoiceCallerIdLookup", "voice_caller_id_lookup", SettingKind::Flag),
    ("StatusCallback", "status_callback", SettingKind::Url),
    ("StatusCallbackMethod", "status_callback_method", SettingKind::Method),
    ("SmsUrl", "sms_url", SettingKind::Url),
    ("SmsMethod", "sms_method", SettingKind::Method),
    ("SmsFallbackUrl", "sms_fallback_url", SettingKind::Url),
    ("SmsFallbackMethod", "sms_fallback_method", SettingKind::Method),
    ("SmsApplicationSid", "sms_application_sid", SettingKind::Text),
    ("TrunkSid", "trunk_sid", SettingKind::Text),
    ("BundleSid", "bundle_sid", SettingKind::Text),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum SettingKind {
    Text,
    Url,
    Method,
    Flag,
}

/// `AvailablePhoneNumbers/{country}/{kind}`.
pub fn search(request: &RestRequest, country: &str, kind: &str) -> RestResult {
    let number_type = match kind {
        "Local" => Some(NumberType::Local),
        "TollFree" => Some(NumberType::TollFree),
        // There are such numbers, but none are on sale.
        "Mobile" | "National" | "Voip" | "SharedCost" | "MachineToMachine" => None,
        _unknown => return Err(RestError::not_found(&request.uri(&request.path))),
    };
    if !["US", "CA"].contains(&country) {
        return Err(RestError::not_found(&request.uri(&request.path)));
    }
    let text = |name| request.find(name).map(str::to_owned);
    let query = StockQuery {
        area_code: text("AreaCode"),
        contains: text("Contains"),
        region: text("InRegion"),
        locality: text("InLocality"),
        postal_code: text("InPostalCode"),
    };
    let count = request
        .find("PageSize")
        .and_then(|size| size.parse().ok())
        .map_or(SEARCH_SIZE_DEFAULT, |size: usize| size.clamp(1, SEARCH_SIZE_MAX));
    // Every number can do voice, SMS and MMS: asking for one that cannot finds nothing.
    let is_impossible =
        ["VoiceEnabled", "SmsEnabled", "MmsEnabled"].iter().any(|name| request.find(name) == Some("false"))
            || request.find("FaxEnabled") == Some("true");
    let state = request.carrier.state();
    let found: Vec<Value> = number_type
        .filter(|_| !is_impossible)
        .into_iter()
        .flat_map(|number_type| stock::search(country, number_type, &query))
        .filter(|number| state.find_number(&number.phone_number).is_none())
        .take(count)
        .map(|number| available_json(&number))
        .collect();
    Ok(Reply::Ok(json!({
        "uri": request.uri(&format!("AvailablePhoneNumbers/{country}/{kind}.json")),
        "available_phone_numbers": found,
    })))
}

/// Buys a number by itself or by its area code.
pub fn create(request: &RestRequest) -> RestResult {
    let settings = settings(&request.form)?;
    let carrier = &request.carrier;
    let mut state = carrier.state();
    let phone_number = match (request.find("PhoneNumber"), request.find("AreaCode")) {
        (Some(wanted), _) => {
            let wanted = stock_form(wanted)
                .ok_or_else(|| RestError::invalid(21_421, format!("{wanted} is not a valid number")))?;
            let on_sale = stock::find(&wanted).is_some() || state.extra_stock.contains(&wanted);
            let taken = state.find_number(&wanted).is_some();
            if taken || !on_sale || carrier.faults.take(CountedFault::BuyRace) {
                let text = format!("{wanted} is not available");
                return Err(RestError::invalid(21_422, text));
            }
            wanted
        }
        (None, Some(area_code)) => {
            let query = StockQuery { area_code: Some(area_code.to_owned()), ..StockQuery::default() };
            ["US", "CA"]
                .into_iter()
                .flat_map(|country| stock::search(country, NumberType::Local, &query))
                .find(|number| state.find_number(&number.phone_number).is_none())
                .map(|number| number.phone_number)
                .ok_or_else(|| {
                    let text = format!("No phone numbers found in area code {area_code}");
                    RestError::invalid(21_452, text)
                })?
        }
        (None, None) => {
            let text = "PhoneNumber or AreaCode is required";
            return Err(RestError::invalid(21_404, text));
        }
    };
    let now = carrier.clock.now();
    let mut number = IncomingPhoneNumber {
        sid: carrier.sids.next(SidKind::IncomingPhoneNumber, request.account.kind),
        account_sid: request.account.sid.clone(),
        phone_number,
        settings,
        created_at: now,
        updated_at: now,
    };
    let name = stock::friendly_name(&number.phone_number);
    number.settings.entry("friendly_name").or_insert(name);
    let body = number_json(request, &number);
    state.numbers.push(number);
    Ok(Reply::Created(body))
}

pub fn list(request: &RestRequest) -> RestResult {
    // A parsed query has a space where the caller forgot to escape the plus.
    let wanted = request.find("PhoneNumber").map(|number| number.replace(' ', "+"));
    let wanted_name = request.find("FriendlyName");
    let state = request.carrier.state();
    let items = state
        .numbers
        .iter()
        .rev()
        .filter(|number| number.account_sid == request.account.sid)
        .filter(|number| {
            wanted.as_deref().is_none_or(|wanted| number.phone_number.contains(wanted.trim_matches('*')))
        })
        .filter(|number| wanted_name.is_none_or(|name| number.find_setting("friendly_name") == Some(name)))
        .map(|number| number_json(request, number))
        .collect();
    drop(state);
    Ok(page(request, "incoming_phone_numbers", items))
}

pub fn get(request: &RestRequest, sid: &str) -> RestResult {
    let state = request.carrier.state();
    let number = state.numbers.iter().find(|number| is_own(request, number, sid));
    match number {
        Some(number) => Ok(Reply::Ok(number_json(request, number))),
        None => Err(RestError::not_found(&request.uri(&request.path))),
    }
}

pub fn update(request: &RestRequest, sid: &str) -> RestResult {
    let settings = settings(&request.form)?;
    let now = request.carrier.clock.now();
    let mut state = request.carrier.state();
    let number = state.numbers.iter_mut().find(|number| is_own(request, number, sid));
    match number {
        Some(number) => {
            number.settings.extend(settings);
            number.updated_at = now;
            Ok(Reply::Ok(number_json(request, number)))
        }
        None => Err(RestError::not_found(&request.uri(&request.path))),
    }
}

/// Releases a number; it is on sale again.
pub fn delete(request: &RestRequest, sid: &str) -> RestResult {
    let mut state = request.carrier.state();
    let count = state.numbers.len();
    state.numbers.retain(|number| !is_own(request, number, sid));
    if state.numbers.len() < count {
        Ok(Reply::NoContent)
    } else {
        Err(RestError::not_found(&request.uri(&request.path)))
    }
}

fn is_own(request: &RestRequest, number: &IncomingPhoneNumber, sid: &str) -> bool {
    number.sid == sid && number.account_sid == request.account.sid
}

/// The settings in a form. An empty value takes a setting away.
fn settings(form: &Params) -> Result<BTreeMap<&'static str, String>, RestError> {
    let mut settings = BTreeMap::new();
    for (name, value) in form {
        let known = SETTINGS.iter().find(|(request_name, ..)| request_name == name);
        let Some((_, answer_name, kind)) = known else {
            // The carrier ignores parameters it does not know, misspelt ones included.
            continue;
        };
        let is_valid = match kind {
            SettingKind::Text => true,
            SettingKind::Url => value.is_empty() || is_http_url(value),
            SettingKind::Method => ["GET", "POST"].contains(&value.as_str()),
            SettingKind::Flag => ["true", "false"].contains(&value.as_str()),
        };
        if !is_valid {
            let code = match kind {
                SettingKind::Url => 21_402,
                SettingKind::Method => 21_403,
                SettingKind::Text | SettingKind::Flag => 20_001,
            };
            let text = format!("{name} is not valid: {value}");
            return Err(RestError::invalid(code, text));
        }
        settings.insert(*answer_name, value.clone());
    }
    Ok(settings)
}

fn is_http_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()))
}

/// A number as customers may write it, in E.164.
fn stock_form(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let number = format!("+{digits}");
    (stock::is_e164(&number) && text.trim_start().starts_with(['+', ' ', '1'])).then_some(number)
}

fn available_json(number: &StockNumber) -> Value {
    let area = number.area.as_ref();
    json!({
        "phone_number": number.phone_number,
        "friendly_name": stock::friendly_name(&number.phone_number),
        "locality": area.map(|area| area.city),
        "region": area.map(|area| area.region),
        "postal_code": area.map(|area| area.postal_code),
        "rate_center": area.map(|area| area.city.to_uppercase()),
        "lata": null,
        "latitude": null,
        "longitude": null,
        "iso_country": area.map_or("US", |area| area.country),
        "address_requirements": "none",
        "beta": false,
        "capabilities": {"voice": true, "sms": true, "mms": true, "fax": false},
    })
}

fn number_json(request: &RestRequest, number: &IncomingPhoneNumber) -> Value {
    let mut body = Map::new();
    for (_, name, kind) in SETTINGS {
        let value = number.settings.get(name);
        let value = match kind {
            SettingKind::Flag => json!(value.is_some_and(|value| value == "true")),
            SettingKind::Method => json!(value.map_or("POST", String::as_str)),
            SettingKind::Url | SettingKind::Text => json!(number.find_setting(name)),
        };
        body.insert(name.to_owned(), value);
    }
    let base = format!("IncomingPhoneNumbers/{}", number.sid);
    let fixed = json!({
        "sid": number.sid,
        "account_sid": number.account_sid,
        "phone_number": number.phone_number,
        "api_version": "2010-04-01",
        "origin": "twilio",
        "type": if is_toll_free(&number.phone_number) { "toll-free" } else { "local" },
        "beta": false,
        "status": "in-use",
        "address_sid": null,
        "address_requirements": "none",
        "identity_sid": null,
        "emergency_status": "Inactive",
        "emergency_address_sid": null,
        "emergency_address_status": "unregistered",
        "voice_receive_mode": "voice",
        "capabilities": {"voice": true, "sms": true, "mms": true, "fax": false},
        "date_created": rfc2822(number.created_at),
        "date_updated": rfc2822(number.updated_at),
        "uri": request.uri(&format!("{base}.json")),
        "subresource_uris": {
            "assigned_add_ons": request.uri(&format!("{base}/AssignedAddOns.json")),
        },
    });
    if let Value::Object(fixed) = fixed {
        body.extend(fixed);
    }
    Value::Object(body)
}

fn is_toll_free(phone_number: &str) -> bool {
    phone_number
        .strip_prefix("+1")
        .is_some_and(|national| stock::TOLL_FREE_CODES.iter().any(|code| national.starts_with(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        let form = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        for (name, value, code) in [
            ("VoiceUrl", "http://127.0.0.1:1/voice?c=1", None),
            ("VoiceUrl", "", None),
            ("VoiceUrl", "voice", Some(21_402)),
            ("VoiceMethod", "PATCH", Some(21_403)),
            ("VoiceCallerIdLookup", "yes", Some(20_001)),
            ("VoiceURLL", "ignored", None),
        ] {
            let result = settings(&form(name, value));
            assert_eq!(result.err().map(|error| error.code), code, "{name}={value}");
        }
    }

    #[test]
    fn numbers_are_understood_as_customers_write_them() {
        for (text, number) in [
            ("+12705550100", Some("+12705550100")),
            (" 12705550100", Some("+12705550100")),
            ("+1 (270) 555-0100", Some("+12705550100")),
            ("abc", None),
        ] {
            assert_eq!(stock_form(text).as_deref(), number, "{text}");
        }
    }
}
