//! Strangers' dialects in, our words out. This module and its children know how a carrier writes; nothing
//! above or below does. They don't decide what a call's news mean (`calls`), store nothing, and don't serve
//! HTTP (`http::carrier` does, and calls [`signature`], [`hook`], [`decode`] and [`twiml`] in that order);
//! [`client`] asks the carrier for numbers, messages and audio.
//!
//! One dialect so far, Twilio's, and two carriers that speak it. Where they differ, and who deals with it:
//!
//! | | Twilio | SignalWire | where |
//! |---|---|---|---|
//! | API | one host, `/2010-04-01` | a host each, `/api/laml/2010-04-01` | [`parse_base_url`] |
//! | ids | two letters, 32 hex digits | UUIDs | [`form::is_id`]: opaque, bounded |
//! | signed with | the auth token | a signing key, not the API token | [`Account::auth_tokens`] |
//! | in the header | `X-Twilio-Signature` | `X-SignalWire-Signature` | [`Kind::signature_headers`] |
//! | caller's place, name, attestation | sent | not sent | [`decode`]: "" and none |
//! | which verb recorded | sent | not documented | [`hook::HookQuery::voicemail`]; asked for: None |
//! | `DialBridged` | sent | not documented | [`decode`]: None |
//! | audio needs credentials | yes | no | [`client`]: sent to the account's own hosts only |
//! | a message's files | on the API's host | behind a redirect to a file host | [`client`] follows one |
//!
//! Carriers add parameters, values and verbs without notice, so what isn't known is ignored, never refused.

pub mod accounts;
pub mod client;
pub mod collect;
pub mod decode;
pub mod directory;
pub mod form;
pub mod hook;
pub mod provision;
pub mod reconcile;
pub mod signature;
pub mod twiml;
mod words;

use std::fmt;

use url::Url;

use crate::kernel::id::{CarrierId, CompanyId};
use signature::{Body, Forged};

/// A carrier that we speak with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Twilio,
    SignalWire,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Twilio => "twilio",
            Kind::SignalWire => "signalwire",
        }
    }

    /// The kind of an API word.
    pub fn parse(text: &str) -> Option<Kind> {
        [Kind::Twilio, Kind::SignalWire].into_iter().find(|kind| kind.as_str() == text)
    }

    /// The request headers that may hold the signature; the first that is there counts.
    pub fn signature_headers(self) -> &'static [&'static str] {
        match self {
            Kind::Twilio => &["x-twilio-signature"],
            Kind::SignalWire => &["x-signalwire-signature", "x-twilio-signature"],
        }
    }

    /// Where the API is if the account doesn't say: nowhere for SignalWire, whose customers each have a
    /// host of their own.
    fn base_url_default(self) -> Option<&'static str> {
        match self {
            Kind::Twilio => Some("https://api.twilio.com"),
            Kind::SignalWire => None,
        }
    }

    /// What stands between the host and the version in the API's paths.
    fn api_prefix(self) -> &'static [&'static str] {
        match self {
            Kind::Twilio => &[],
            Kind::SignalWire => &["api", "laml"],
        }
    }
}

/// A company's account with a carrier.
#[derive(Clone)]
pub struct Account {
    pub id: CarrierId,
    pub company_id: CompanyId,
    pub kind: Kind,
    /// Twilio's account SID, SignalWire's project id: the user name too.
    pub account_sid: String,
    /// The first is the password of the API, so the newest stands first. Requests may be signed with any:
    /// older ones while a rotation is under way and, last, SignalWire's signing key.
    pub auth_tokens: Vec<String>,
    /// From [`parse_base_url`].
    pub base_url: Url,
}

/// Shows everything but the tokens.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.id)
            .field("company_id", &self.company_id)
            .field("kind", &self.kind)
            .field("account_sid", &self.account_sid)
            .field("base_url", &self.base_url.as_str())
            .finish_non_exhaustive()
    }
}

impl Account {
    /// Checks a request's signature; see [`signature::verify`].
    ///
    /// # Errors
    /// [`Forged`] if the request isn't this account's carrier's.
    pub fn verify(&self, header: Option<&str>, url: &str, body: Body<'_>) -> Result<(), Forged> {
        signature::verify(&self.auth_tokens, header, url, body)
    }

    /// The URL of one of the account's resources: its path's segments are encoded here.
    fn api_url(&self, resource: &[&str]) -> Url {
        let account = ["2010-04-01", "Accounts", &self.account_sid];
        let segments = self.kind.api_prefix().iter().chain(&account).chain(resource);
        let mut url = self.base_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(segments);
        }
        url
    }
}

/// Why a base URL can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBaseUrl {
    #[error("is required: the URL of your SignalWire space, such as https://example.signalwire.com")]
    Required,
    #[error("must be an http or https URL of a host, without user name, path or query")]
    Invalid,
}

/// The account's base URL: scheme, host and port. The dialect's path is known, so one that a person copied
/// along with it is dropped.
///
/// # Errors
/// [`BadBaseUrl`] if none was given where one is needed, or it isn't one.
pub fn parse_base_url(kind: Kind, given: Option<&str>) -> Result<Url, BadBaseUrl> {
    let text = given.or(kind.base_url_default()).ok_or(BadBaseUrl::Required)?;
    let mut url = Url::parse(text.trim()).map_err(|_| BadBaseUrl::Invalid)?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let known_path = ["", "api", "api/laml", "2010-04-01", "api/laml/2010-04-01"];
    if !matches!(url.scheme(), "http" | "https")
        || !plain
        || !known_path.contains(&url.path().trim_matches('/'))
    {
        return Err(BadBaseUrl::Invalid);
    }
    url.set_path("/");
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(kind: Kind, base_url: Option<&str>) -> Account {
        Account {
            id: CarrierId(7),
            company_id: CompanyId(3),
            kind,
            account_sid: "AC1/../x".to_owned(),
            auth_tokens: vec!["hush-new".to_owned(), "hush-old".to_owned()],
            base_url: parse_base_url(kind, base_url).unwrap(),
        }
    }

    #[test]
    fn tokens_are_never_printed() {
        let text = format!("{:?}", account(Kind::Twilio, None));
        assert!(text.contains("CarrierId(7)") && !text.contains("hush"), "{text}");
    }

    #[test]
    fn each_kind_has_its_own_paths_and_ids_cannot_leave_them() {
        let twilio = account(Kind::Twilio, None);
        assert_eq!(
            twilio.api_url(&["Calls", "a b.json"]).as_str(),
            "https://api.twilio.com/2010-04-01/Accounts/AC1%2F..%2Fx/Calls/a%20b.json"
        );
        let space = account(Kind::SignalWire, Some("https://example.signalwire.com/api/laml/"));
        assert_eq!(
            space.api_url(&["Calls.json"]).as_str(),
            "https://example.signalwire.com/api/laml/2010-04-01/Accounts/AC1%2F..%2Fx/Calls.json"
        );
    }

    #[test]
    fn a_base_url_is_a_host_and_nothing_else() {
        assert_eq!(parse_base_url(Kind::SignalWire, None), Err(BadBaseUrl::Required));
        for bad in
            ["", "example.com", "ftp://example.com", "https://u:p@example.com", "https://h/?q", "https://h/x"]
        {
            assert_eq!(parse_base_url(Kind::Twilio, Some(bad)), Err(BadBaseUrl::Invalid), "{bad}");
        }
        let local = parse_base_url(Kind::Twilio, Some("http://127.0.0.1:4010#x")).unwrap();
        assert_eq!(local.as_str(), "http://127.0.0.1:4010/");
    }

    #[test]
    fn kinds_have_words() {
        for kind in [Kind::Twilio, Kind::SignalWire] {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("Twilio"), None);
    }
}
