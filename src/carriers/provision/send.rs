//! Sends a text message: written down, then the carrier is asked, then what came of it is written down. See
//! `messages::outgoing` for what holds if this ends in between.

use url::Url;

use super::Error;
use crate::carriers::accounts;
use crate::carriers::client::{CarrierError, Client, SentMessage};
use crate::carriers::hook::{Hook, HookUrls};
use crate::companies::Scope;
use crate::ctx::Ctx;
use crate::db;
use crate::kernel::id::MessageId;
use crate::messages::outgoing::{self, Accepted, Draft, UNKNOWN};
use crate::messages::update::OptOut;
use crate::messages::{Message, opt_outs};
use crate::outbound::FailureKind;

/// The parameter of the status callback's URL that names our message.
const MESSAGE_PARAMETER: &str = "message";

/// Sends a message; gives it as it stands when the carrier has accepted it.
///
/// # Errors
/// Why it wasn't sent, or that nobody knows; the message, if it was written, is `failed` then and says so too.
pub async fn send_message(ctx: &Ctx, scope: Scope, draft: Draft) -> Result<Message, Error> {
    let key = ctx.key.clone();
    let prepare = move |tx: &mut db::Tx<'_>| {
        let prepared = outgoing::prepare(tx, scope, &draft)?;
        let account = accounts::find(tx, scope, prepared.carrier_id, &key)?.ok_or(Error::NoSuchCarrier)?;
        Ok::<_, Error>((prepared, account))
    };
    let (prepared, account) = ctx.db.write("messages.prepare", prepare).await?;
    let id = prepared.id;
    let callback = status_callback(&account.hooks(&ctx.public_url), id);
    let client = Client::new(ctx.to_carriers.clone(), account.account);
    match client.send_message(&prepared.from, &prepared.to, prepared.body.as_str(), &callback).await {
        Ok(SentMessage { carrier_message_id, segments, state }) => {
            let accepted = Accepted { carrier_message_id, segments, state };
            let sent = move |tx: &mut db::Tx<'_>| outgoing::sent(tx, scope, id, &accepted);
            let written = ctx.db.write("messages.sent", sent).await;
            written.map_err(|error| Error::SentUnwritten { id, error })
        }
        Err(error) => {
            tracing::warn!(message.id = %id, carrier.id = %prepared.carrier_id, error = error.as_str(),
                "the carrier didn't accept a message");
            let why = error.clone();
            let failed = move |tx: &mut db::Tx<'_>| {
                if why == CarrierError::OptedOut {
                    opt_outs::record(tx, scope, &prepared.to, OptOut::Stop)?;
                }
                let (text, code) = told(&why);
                outgoing::failed(tx, scope, id, &text, code)
            };
            let written = ctx.db.write("messages.failed", failed).await;
            if may_have_been_sent(&error) {
                if let Err(error) = written {
                    // The row says so by itself after a while.
                    tracing::error!(message.id = %id, %error, "it could not be noted that a message is in doubt");
                }
                return Err(Error::MaybeSent(error));
            }
            written?;
            Err(error.into())
        }
    }
}

/// The URL on which the carrier tells how the message is doing: it names the message, so that a callback which
/// is quicker than the answer to our request, or comes when there was none, finds it.
fn status_callback(hooks: &HookUrls, id: MessageId) -> String {
    let url = hooks.url(Hook::MessageStatus);
    match Url::parse(&url) {
        Ok(mut url) => {
            url.query_pairs_mut().append_pair(MESSAGE_PARAMETER, &id.to_string());
            url.into()
        }
        Err(_) => url,
    }
}

/// The message that the query of a status callback names. The carrier's signature covers it.
pub fn named_message(raw_query: &str) -> Option<MessageId> {
    let mut pairs = form_urlencoded::parse(raw_query.as_bytes());
    let (_, id) = pairs.find(|(name, _)| name == MESSAGE_PARAMETER)?;
    id.parse().ok().map(MessageId)
}

/// What is noted about a message that the carrier didn't accept.
fn told(error: &CarrierError) -> (String, Option<u32>) {
    if may_have_been_sent(error) {
        return (UNKNOWN.to_owned(), None);
    }
    let code = match error {
        CarrierError::Invalid { code, .. } => *code,
        _ => None,
    };
    (error.to_string(), code)
}

/// Whether the carrier may have sent it in spite of the error.
fn may_have_been_sent(error: &CarrierError) -> bool {
    match error {
        CarrierError::Unreachable(failure) => match failure.kind {
            FailureKind::Dns | FailureKind::Connect | FailureKind::Tls | FailureKind::Blocked => false,
            FailureKind::Timeout | FailureKind::Reset | FailureKind::Protocol | FailureKind::TooLarge => true,
        },
        CarrierError::Transient { .. } | CarrierError::Unexpected(_) => true,
        CarrierError::Auth
        | CarrierError::NotFound
        | CarrierError::Invalid { .. }
        | CarrierError::NumberUnavailable
        | CarrierError::NoNumbers
        | CarrierError::OptedOut
        | CarrierError::GeoBlocked
        | CarrierError::NotSmsCapable
        | CarrierError::RateLimited { .. }
        | CarrierError::ForeignHost => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_names_its_message() {
        let public = Url::parse("https://h.example/").unwrap();
        let url = status_callback(&HookUrls::new(&public, "ch_1", None), MessageId(140));
        assert_eq!(url, "https://h.example/carrier/ch_1/message-status?message=140");
        assert_eq!(named_message("message=140"), Some(MessageId(140)));
        for other in ["", "message=", "message=x", "call=140"] {
            assert_eq!(named_message(other), None, "{other}");
        }
    }

    #[test]
    fn only_a_clear_refusal_says_that_nothing_was_sent() {
        assert_eq!(told(&CarrierError::Transient { status: 503 }).0, UNKNOWN);
        assert_eq!(told(&CarrierError::Unexpected("answered oddly".to_owned())).0, UNKNOWN);
        let invalid = CarrierError::Invalid { code: Some(21_211), message: "not a number".to_owned() };
        assert_eq!(
            told(&invalid),
            ("the carrier refused the request: not a number".to_owned(), Some(21_211))
        );
        assert_ne!(told(&CarrierError::Auth).0, UNKNOWN);
    }
}
