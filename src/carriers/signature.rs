//! Whether a request really comes from the carrier: `base64(HMAC-SHA1(token, url + sorted parameters))`.
//! Pure; `http::carrier` calls it before anything else looks at the body.
//!
//! The scheme (docs: "Security", X-Twilio-Signature; behaviour: the validators of twilio-node@45d3d65 and
//! twilio-python@306691e, whose vectors are the tests below) and what bites in it:
//! - The URL is the one the carrier was *given*: public URL, path and raw query, never rebuilt from the
//!   `Host` header, never re-encoded, nothing trimmed.
//! - Carriers differ on whether they sign the port, so it is tried as given, without, and with the
//!   scheme's own. They also differ on `'` and `%27` in a query.
//! - Parameters are sorted by name; a name's values are sorted too, and the same value counts once. Names
//!   and values are signed as bytes, so text that isn't UTF-8 is compared as it came.
//! - A JSON body isn't signed itself; its SHA-256 is in the signed query as `bodySHA256`.
//! - There is no time in it: a replay is caught by the carrier's ids, not here.

use std::borrow::Cow;
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode;
use ring::{digest, hmac};

/// What came in the request's body, as the bytes that came.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// `application/x-www-form-urlencoded`; empty for a GET.
    Form(&'a [u8]),
    /// Anything else, which the query must vouch for by its hash.
    Hashed(&'a [u8]),
}

impl<'a> Body<'a> {
    /// The body as its `Content-Type` says; without one it is taken for a form.
    pub fn of(content_type: Option<&str>, bytes: &'a [u8]) -> Body<'a> {
        let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match media_type.to_ascii_lowercase().as_str() {
            "" | "application/x-www-form-urlencoded" => Body::Form(bytes),
            _ => Body::Hashed(bytes),
        }
    }
}

/// The request isn't the carrier's; why isn't said, because only someone who forges would learn from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the carrier's signature is missing or wrong")]
pub struct Forged;

/// Checks a request against any of the account's tokens; comparisons take the same time however wrong.
///
/// `url` is what the carrier was configured with: the public URL, the path and the raw query.
///
/// # Errors
/// [`Forged`] if no token made this signature.
pub fn verify(tokens: &[String], header: Option<&str>, url: &str, body: Body<'_>) -> Result<(), Forged> {
    let signature = header.and_then(|text| STANDARD.decode(text).ok()).ok_or(Forged)?;
    let signed_body = match body {
        Body::Form(bytes) => parameters(bytes),
        Body::Hashed(bytes) if hash_matches(url, bytes) => Vec::new(),
        Body::Hashed(_) => return Err(Forged),
    };
    let urls = spellings(url);
    let keys = tokens.iter().filter(|token| !token.is_empty());
    let genuine =
        keys.map(|token| hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes())).any(|key| {
            urls.iter().any(|url| {
                let message = [url.as_bytes(), &signed_body].concat();
                hmac::verify(&key, &message, &signature).is_ok()
            })
        });
    if genuine { Ok(()) } else { Err(Forged) }
}

/// The form's parameters as they are signed: name and value after one another, sorted, each pair once.
fn parameters(form: &[u8]) -> Vec<u8> {
    let pairs = form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let pairs: BTreeSet<(Vec<u8>, Vec<u8>)> = pairs
        .map(|pair| {
            let mut sides = pair.splitn(2, |byte| *byte == b'=');
            let mut side = || decode(sides.next().unwrap_or_default());
            (side(), side())
        })
        .collect();
    pairs.into_iter().flat_map(|(name, value)| [name, value].concat()).collect()
}

fn decode(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).collect()
}

/// Whether the query's `bodySHA256` is the body's. Not a secret, since the body itself is at hand.
fn hash_matches(url: &str, body: &[u8]) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let stated = query.split('&').find_map(|pair| pair.strip_prefix("bodySHA256="));
    let actual = digest::digest(&digest::SHA256, body);
    let hex: String = actual.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    stated.is_some_and(|stated| stated.eq_ignore_ascii_case(&hex))
}

/// The ways a carrier may have written the URL when it signed it.
fn spellings(url: &str) -> Vec<String> {
    let mut urls = vec![url.to_owned()];
    if let Some(parts) = Parts::of(url) {
        urls.push(parts.with_port(""));
        if parts.port.is_empty() {
            urls.push(parts.with_port(if parts.scheme == "http" { ":80" } else { ":443" }));
        }
    }
    let quoted: Vec<String> = urls.iter().filter_map(|url| other_apostrophes(url)).collect();
    urls.extend(quoted);
    urls.sort_unstable();
    urls.dedup();
    urls
}

/// The URL with its query's apostrophes written the other way, if it has any.
fn other_apostrophes(url: &str) -> Option<String> {
    let (path, query) = url.split_once('?')?;
    let other: Cow<'_, str> = match query {
        query if query.contains('\'') => query.replace('\'', "%27").into(),
        query if query.contains("%27") => query.replace("%27", "'").into(),
        _ => return None,
    };
    Some(format!("{path}?{other}"))
}

/// A URL cut around its port, without changing a character.
struct Parts<'a> {
    scheme: &'a str,
    /// User info and host.
    host: &'a str,
    /// With its colon; "" if there is none.
    port: &'a str,
    rest: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Parts<'a>> {
        let (scheme, behind) = url.split_once("://")?;
        let (authority, rest) = behind.split_at(behind.find(['/', '?']).unwrap_or(behind.len()));
        let host_start = authority.rfind('@').map_or(0, |at| at + 1);
        // An IPv6 address has colons of its own, inside brackets.
        let address_end = authority.rfind(']').unwrap_or(host_start);
        let port_start = authority[address_end..].find(':').map_or(authority.len(), |at| address_end + at);
        let (host, port) = authority.split_at(port_start);
        Some(Parts { scheme, host, port, rest })
    }

    fn with_port(&self, port: &str) -> String {
        format!("{}://{}{port}{}", self.scheme, self.host, self.rest)
    }
}

#[cfg(test)]
mod tests;
