//! What is told of text messages.

use super::{ADDRESS_CHARS_MAX, Told, URL_CHARS_MAX};
use crate::carriers::form::{BadForm, Form};
use crate::carriers::words;
use crate::kernel::phone::PhoneNumber;
use crate::messages::update::{Arrival, Media, OptOut, Status};

/// A message's text at most, in characters: carriers put longer ones together up to this.
const BODY_CHARS_MAX: usize = 1_600;
/// Files of a message at most: the carriers' own limit.
const MEDIA_MAX: u32 = 10;
/// A file's content type at most, in characters (RFC 6838 allows 127 on each side of the slash).
const CONTENT_TYPE_CHARS_MAX: usize = 255;

pub(super) fn arrival(form: &Form) -> Result<Arrival, BadForm> {
    let to = form.line("To", ADDRESS_CHARS_MAX);
    if to.is_empty() {
        return Err(BadForm::Missing("To"));
    }
    Ok(Arrival {
        carrier_message_id: message_id(form)?,
        from: PhoneNumber::caller(form.get("From")),
        to,
        body: form.text("Body", BODY_CHARS_MAX),
        media: media(form),
        segments: form.number("NumSegments").unwrap_or(1).max(1),
        opt_out: opt_out(form),
    })
}

pub(super) fn status(form: &Form) -> Result<Told, BadForm> {
    let carrier_message_id = message_id(form)?;
    let word = if form.has("MessageStatus") { "MessageStatus" } else { "SmsStatus" };
    Ok(match words::message_state(form.get(word)) {
        Some(state) => {
            let error_code = form.number("ErrorCode").filter(|code| *code != 0);
            Told::MessageStatus(Status { carrier_message_id, state, error_code })
        }
        None => Told::Nothing,
    })
}

/// The message's id; older accounts send it only under its first name.
fn message_id(form: &Form) -> Result<String, BadForm> {
    if form.get("MessageSid").is_empty() && form.has("SmsSid") {
        form.id("SmsSid")
    } else {
        form.id("MessageSid")
    }
}

fn media(form: &Form) -> Vec<Media> {
    let count = form.number("NumMedia").unwrap_or(0).min(MEDIA_MAX);
    let files = (0..count).map(|n| Media {
        url: form.line(&format!("MediaUrl{n}"), URL_CHARS_MAX),
        content_type: form.line(&format!("MediaContentType{n}"), CONTENT_TYPE_CHARS_MAX),
    });
    files.filter(|file| !file.url.is_empty()).collect()
}

/// The carrier's own verdict where it keeps the list; else by the keywords that it would act on, which are
/// the whole message (carrier's page "Support for opt-out keywords").
fn opt_out(form: &Form) -> Option<OptOut> {
    let word = match form.get("OptOutType") {
        "" => form.get("Body").trim(),
        verdict => verdict,
    };
    match word.to_ascii_uppercase().as_str() {
        "STOP" | "STOPALL" | "UNSUBSCRIBE" | "CANCEL" | "END" | "QUIT" | "REVOKE" | "OPTOUT" => {
            Some(OptOut::Stop)
        }
        "START" | "YES" | "UNSTOP" => Some(OptOut::Start),
        "HELP" | "INFO" => Some(OptOut::Help),
        _ => None,
    }
}
