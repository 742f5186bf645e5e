//! Asks a carrier: numbers, messages, calls, audio. Its children decide how each thing is asked and what of
//! the answer counts; when it is asked, and what follows, is decided by whoever calls (the jobs and the API).
//!
//! Everything goes through [`Outbound`], outside any transaction, with a deadline and a byte limit. Nothing
//! is tried again here, except that buying looks whether a number was bought although no answer said so.
//!
//! Odd facts (the carrier's OpenAPI description, twilio-oai@d50069b): requests are forms in PascalCase,
//! answers JSON in snake_case; numbers in answers are often texts (`"12"`); errors aren't described at all.

mod calls;
mod error;
mod media;
mod numbers;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use url::Url;

use crate::carriers::Account;
use crate::outbound::{Answer, Limits, Outbound, Request};
pub use calls::{CallSnapshot, SentMessage};
pub use error::CarrierError;
pub use media::Prefer;
pub use numbers::{AvailableNumber, NumberHooks, NumberQuery, OwnedNumber};

/// How long one request may take. Buying a number is the slowest and takes 1 to 3 s.
const DEADLINE: Duration = Duration::from_secs(10);
/// An answer at most: a page of 100 numbers has about 100 KiB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// One account's way to its carrier. Cheap to make and to clone.
#[derive(Clone)]
pub struct Client {
    outbound: Outbound,
    account: Account,
}

impl Client {
    pub fn new(outbound: Outbound, account: Account) -> Client {
        Client { outbound, account }
    }

    /// Whether the account exists, the token is right and the account may be used.
    ///
    /// # Errors
    /// [`CarrierError::Auth`] if the credentials are wrong.
    pub async fn verify(&self) -> Result<(), CarrierError> {
        let account_file = format!("{}.json", self.account.account_sid);
        let mut url = self.account.api_url(&[]);
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop().push(&account_file);
        }
        let found: AccountAnswer = match self.get(url).await {
            // Without an account there is nothing that the token could be wrong for.
            Err(CarrierError::NotFound) => return Err(CarrierError::Auth),
            other => other?,
        };
        match found.status.as_str() {
            "" | "active" => Ok(()),
            status => Err(CarrierError::Invalid { code: None, message: format!("the account is {status}") }),
        }
    }

    async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, CarrierError> {
        decode(&self.answer(Method::GET, url, &[]).await?)
    }

    async fn post<T: DeserializeOwned>(&self, url: Url, form: &[(&str, &str)]) -> Result<T, CarrierError> {
        decode(&self.answer(Method::POST, url, form).await?)
    }

    /// Deletes; what isn't there any more counts as deleted.
    async fn delete(&self, url: Url) -> Result<(), CarrierError> {
        match self.answer(Method::DELETE, url, &[]).await {
            Ok(_) | Err(CarrierError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The answer to a request if it is a success.
    async fn answer(&self, method: Method, url: Url, form: &[(&str, &str)]) -> Result<Answer, CarrierError> {
        let mut headers = self.headers();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if method == Method::POST {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = Request { method, url, headers, body: Bytes::from(body) };
        let limits =
            Limits { deadline: DEADLINE, read_bytes_max: ANSWER_BYTES_MAX, keep_bytes_max: ANSWER_BYTES_MAX };
        let answer = self.outbound.send(request, limits).await.map_err(CarrierError::Unreachable)?;
        match answer.status {
            200..300 => Ok(answer),
            status => Err(CarrierError::of(status, &answer.headers, &answer.body)),
        }
    }

    /// The account's credentials, for its own hosts only.
    fn headers(&self) -> HeaderMap {
        let token = self.account.auth_tokens.first().map_or("", String::as_str);
        let credentials = STANDARD.encode(format!("{}:{token}", self.account.account_sid));
        let mut value =
            HeaderValue::from_str(&format!("Basic {credentials}")).expect("base64 is plain ASCII");
        value.set_sensitive(true);
        HeaderMap::from_iter([(AUTHORIZATION, value)])
    }
}

fn decode<T: DeserializeOwned>(answer: &Answer) -> Result<T, CarrierError> {
    if answer.truncated {
        return Err(CarrierError::Unexpected(format!("answered with more than {ANSWER_BYTES_MAX} bytes")));
    }
    // Only the place: the decoder's own words would quote the answer, which holds people's numbers.
    let place = |error: serde_json::Error| format!("line {} column {}", error.line(), error.column());
    serde_json::from_slice(&answer.body).map_err(|error| {
        CarrierError::Unexpected(format!("answered with JSON that isn't as described, at {}", place(error)))
    })
}

#[derive(serde::Deserialize)]
struct AccountAnswer {
    #[serde(default)]
    status: String,
}

/// A whole number that may be written as a text; None for null, a negative one and anything else.
fn lenient_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(match &value {
        serde_json::Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64().and_then(|number| u32::try_from(number).ok()),
    })
}

/// A text that may be null, which is "" then.
fn lenient_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::<String>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests;
