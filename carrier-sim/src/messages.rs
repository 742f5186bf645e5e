//! Text messages: what is refused, how a message gets from queued to delivered, what an inbound one asks of the customer's
//! server, and who has said STOP.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::account::Account;
use crate::callbacks;
use crate::faults::Hook;
use crate::records::{IncomingPhoneNumber, Message, MessageDirection, MessageStatus};
use crate::sid::SidKind;
use crate::state::{Carrier, OptOut};
use crate::stock;
use crate::trace::Subject;
use crate::twiml::{Link, Method};
use crate::twiml_messaging::{MessagingDocument, ReplyMessage, parse_messaging};
use crate::webhooks::{Params, Request, Webhooks, resolve};

/// Longer texts are refused (21617).
pub const BODY_CHARACTERS_MAX: usize = 1600;
/// How long a message takes to leave the carrier, and then to reach the phone.
const SENT_AFTER: SignedDuration = SignedDuration::from_secs(1);
const DELIVERED_AFTER: SignedDuration = SignedDuration::from_secs(3);
/// Numbers that end so are not reached: "unreachable destination handset".
const UNREACHABLE_SUFFIX: &str = "0199";
const UNREACHABLE_ERROR: u32 = 30_003;
/// A text in one document, and a Redirect from document to document.
const REDIRECTS_MAX: u32 = 10;

/// A text to send.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    pub from: String,
    pub to: String,
    pub body: String,
    pub media_urls: Vec<String>,
    pub status_callback: Option<String>,
}

/// Why a text is not sent, with the carrier's error code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refused {
    pub code: u32,
    pub text: String,
}

/// What came of an inbound text.
#[derive(Debug, serde::Serialize)]
pub struct Received {
    pub message_sid: String,
    /// Absent when the number has no SmsUrl.
    pub webhook: Option<WebhookResult>,
    pub replies: Vec<SentReply>,
}

#[derive(Debug, serde::Serialize)]
pub struct WebhookResult {
    /// Absent when there was no answer.
    pub status: Option<u16>,
    pub body: String,
    pub error: Option<String>,
}

#[derive(Debug, serde::Serialize)]
pub struct SentReply {
    pub message_sid: Option<String>,
    pub to: String,
    pub body: String,
    /// Why it was not sent.
    pub error_code: Option<u32>,
}

/// Accepts a text and delivers it in the background.
pub fn send(
    carrier: &Arc<Carrier>,
    account: &Account,
    outgoing: Outgoing,
    direction: MessageDirection,
) -> Result<Message, Refused> {
    check(carrier, account, &outgoing)?;
    let kind = if outgoing.media_urls.is_empty() { SidKind::Message } else { SidKind::MediaMessage };
    let now = carrier.clock.now();
    let message = Message {
        sid: carrier.sids.next(kind, account.kind),
        account_sid: account.sid.clone(),
        from: outgoing.from,
        to: outgoing.to,
        body: outgoing.body,
        media_urls: outgoing.media_urls,
        direction,
        status: MessageStatus::Queued,
        error_code: None,
        status_callback: outgoing.status_callback,
        created_at: now,
        updated_at: now,
    };
    carrier.state().messages.add(message.clone());
    carrier.spawn(deliver(carrier.clone(), account.clone(), message.sid.clone()));
    Ok(message)
}

fn check(carrier: &Carrier, account: &Account, outgoing: &Outgoing) -> Result<(), Refused> {
    let refuse = |code, text: String| Err(Refused { code, text });
    let Outgoing { from, to, body, .. } = outgoing;
    if !stock::is_e164(to) {
        return refuse(21_211, format!("Invalid 'To' Phone Number: {to}"));
    }
    if body.is_empty() && outgoing.media_urls.is_empty() {
        return refuse(21_602, "Message body is required.".to_owned());
    }
    if body.chars().count() > BODY_CHARACTERS_MAX {
        let text = "The concatenated message body exceeds the 1600 character limit";
        return refuse(21_617, text.to_owned());
    }
    let state = carrier.state();
    if !state.owns(&account.sid, from) {
        let text = format!(
            "The 'From' phone number provided ({from}) is not a valid message-capable phone number for this account."
        );
        return refuse(21_606, text);
    }
    let opt_out = OptOut { person: to.clone(), number: from.clone() };
    if state.opt_outs.contains(&opt_out) {
        return refuse(21_610, "Attempt to send to unsubscribed recipient".to_owned());
    }
    Ok(())
}

async fn deliver(carrier: Arc<Carrier>, account: Account, sid: String) {
    let mut webhooks = Webhooks::new(carrier.clone(), account, sid.clone());
    for (after, is_last) in [(SENT_AFTER, false), (DELIVERED_AFTER, true)] {
        carrier.clock.sleep(after).await;
        let request = {
            let mut state = carrier.state();
            // Deleted meanwhile: nobody wants to know.
            let Some(message) = state.messages.find_mut(&sid) else {
                return;
            };
            message.status = match is_last {
                false => MessageStatus::Sent,
                true if message.to.ends_with(UNREACHABLE_SUFFIX) => {
                    message.error_code = Some(UNREACHABLE_ERROR);
                    MessageStatus::Undelivered
                }
                true => MessageStatus::Delivered,
            };
            message.updated_at = carrier.clock.now();
            status_request(message)
        };
        if let Some(request) = request {
            webhooks.notify(request).await;
        }
    }
    webhooks.release_held().await;
}

fn status_request(message: &Message) -> Option<Request> {
    Some(Request {
        hook: Hook::MessageStatus,
        leg_sid: None,
        url: message.status_callback.clone()?,
        method: Method::Post,
        params: callbacks::message_status(message, message.updated_at),
    })
}

/// Takes in a text from outside: asks the customer's server and sends its replies. Nothing when nobody owns the number.
pub async fn receive(
    carrier: &Arc<Carrier>,
    from: String,
    to: String,
    body: String,
    media_urls: Vec<String>,
) -> Option<Received> {
    let (number, account) = {
        let state = carrier.state();
        let number = state.find_number(&to)?.clone();
        let account = state.accounts.get(&number.account_sid)?.clone();
        (number, account)
    };
    let now = carrier.clock.now();
    let kind = if media_urls.is_empty() { SidKind::Message } else { SidKind::MediaMessage };
    let message = Message {
        sid: carrier.sids.next(kind, account.kind),
        account_sid: account.sid.clone(),
        from,
        to,
        body,
        media_urls,
        direction: MessageDirection::Inbound,
        status: MessageStatus::Received,
        error_code: None,
        status_callback: None,
        created_at: now,
        updated_at: now,
    };
    note_opt_out(carrier, &message);
    carrier.state().messages.add(message.clone());
    let mut conversation = Conversation {
        webhooks: Webhooks::new(carrier.clone(), account.clone(), message.sid.clone()),
        carrier: carrier.clone(),
        account,
        number,
        message,
    };
    Some(conversation.run().await)
}

/// An inbound text and what the customer's server says to it.
struct Conversation {
    carrier: Arc<Carrier>,
    account: Account,
    number: IncomingPhoneNumber,
    message: Message,
    webhooks: Webhooks,
}

impl Conversation {
    async fn run(&mut self) -> Received {
        let mut received =
            Received { message_sid: self.message.sid.clone(), webhook: None, replies: Vec::new() };
        let segments = segment_count(&self.message.body);
        let has_geography = self.account.kind.has_geography();
        let params = callbacks::message(&self.message, segments, has_geography);
        let mut next = self.message_request(Hook::Message, "sms_url", "sms_method", &params);
        for _document in 0..=REDIRECTS_MAX {
            let Some(request) = next.take() else { break };
            let may_fall_back = request.hook == Hook::Message;
            match self.document(request, &mut received).await {
                Ok((url, document)) => {
                    for reply in document.messages {
                        received.replies.push(self.reply(reply, &url));
                    }
                    next = (document.redirect).and_then(|link| redirect_request(&link, &url, params.clone()));
                }
                Err(code) if may_fall_back => {
                    let mut params = params.clone();
                    callbacks::add(&mut params, "ErrorCode", &code.to_string());
                    let hook = Hook::MessageFallback;
                    next = self.message_request(hook, "sms_fallback_url", "sms_fallback_method", &params);
                }
                Err(_code) => {}
            }
        }
        self.webhooks.release_held().await;
        received
    }

    fn message_request(&self, hook: Hook, url: &str, method: &str, params: &Params) -> Option<Request> {
        Some(Request {
            hook,
            leg_sid: None,
            url: self.number.find_setting(url)?.to_owned(),
            method: Method::of_setting(self.number.find_setting(method)),
            params: params.clone(),
        })
    }

    async fn document(
        &mut self,
        request: Request,
        received: &mut Received,
    ) -> Result<(String, MessagingDocument), u32> {
        let answer = match self.webhooks.fetch(request).await {
            Ok(answer) => answer,
            Err(error) => {
                received.webhook = Some(WebhookResult {
                    status: error.status,
                    body: String::from_utf8_lossy(&error.body).into_owned(),
                    error: Some(error.text),
                });
                return Err(error.code);
            }
        };
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        let document = parse_messaging(&body);
        received.webhook = Some(WebhookResult {
            status: Some(answer.status),
            body,
            error: document.as_ref().err().map(ToString::to_string),
        });
        match document {
            Ok(document) => {
                for warning in &document.warnings {
                    self.warn(warning.code, &warning.text);
                }
                Ok((answer.url, document))
            }
            // 204 and an empty body are accepted as "no reply".
            Err(_) if answer.body.is_empty() => Ok((answer.url, MessagingDocument::default())),
            Err(error) => {
                self.warn(12_100, &error.to_string());
                Err(12_100)
            }
        }
    }

    fn reply(&self, reply: ReplyMessage, document_url: &str) -> SentReply {
        let callback = reply.status_callback.as_deref();
        let outgoing = Outgoing {
            from: reply.from.unwrap_or_else(|| self.message.to.clone()),
            to: reply.to.unwrap_or_else(|| self.message.from.clone()),
            body: reply.body,
            media_urls: reply.media_urls,
            status_callback: callback.and_then(|url| resolve(document_url, url)),
        };
        let (to, body) = (outgoing.to.clone(), outgoing.body.clone());
        let direction = MessageDirection::OutboundReply;
        let sent = send(&self.carrier, &self.account, outgoing, direction);
        if let Err(refused) = &sent {
            self.warn(refused.code, &refused.text);
        }
        SentReply {
            message_sid: sent.as_ref().ok().map(|message| message.sid.clone()),
            to,
            body,
            error_code: sent.err().map(|refused| refused.code),
        }
    }

    fn warn(&self, code: u32, text: &str) {
        let subject = Subject { sid: Some(&self.message.sid), leg_sid: None };
        self.carrier.warn(subject, code, text);
    }
}

fn redirect_request(link: &Link, document_url: &str, params: Params) -> Option<Request> {
    Some(Request {
        hook: Hook::Redirect,
        leg_sid: None,
        url: resolve(document_url, &link.url)?,
        method: link.method,
        params,
    })
}

/// The keywords every carrier obeys by itself.
fn note_opt_out(carrier: &Carrier, message: &Message) {
    let opt_out = OptOut { person: message.from.clone(), number: message.to.clone() };
    match message.body.trim().to_ascii_uppercase().as_str() {
        "STOP" | "STOPALL" | "UNSUBSCRIBE" | "CANCEL" | "END" | "QUIT" => {
            carrier.state().opt_outs.insert(opt_out);
        }
        "START" | "UNSTOP" | "YES" => {
            carrier.state().opt_outs.remove(&opt_out);
        }
        _any_other_text => {}
    }
}

/// How many messages a text is on the air: 160 characters of the GSM alphabet or 70 of UCS-2, a few less when there are
/// several (3GPP TS 23.038, 23.040).
pub fn segment_count(body: &str) -> usize {
    let septets: Option<usize> = body.chars().map(gsm_septets).sum();
    let (units, single, each) = match septets {
        Some(septets) => (septets, 160, 153),
        None => (body.encode_utf16().count(), 70, 67),
    };
    if units <= single { 1 } else { units.div_ceil(each) }
}

/// One for the basic alphabet, two for its extension, nothing for what is in neither.
fn gsm_septets(character: char) -> Option<usize> {
    const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà";
    const EXTENSION: &str = "^{}\\[~]|€\u{c}";
    if character.is_ascii_alphanumeric() || BASIC.contains(character) {
        Some(1)
    } else {
        EXTENSION.contains(character).then_some(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_depend_on_the_alphabet() {
        for (body, segments) in [
            (String::new(), 1),
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            ("😀".repeat(35), 1),
            ("😀".repeat(36), 2),
        ] {
            assert_eq!(segment_count(&body), segments, "{body}");
        }
    }
}
