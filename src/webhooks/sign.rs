//! Signing as Standard Webhooks has it (standardwebhooks.com, specification 1.0): HMAC-SHA256 over
//! `id.timestamp.body`. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::kernel::clock::Micros;
use crate::kernel::seed::Seed;

const PREFIX: &str = "whsec_";

/// The key of a webhook's signatures: 32 random bytes. Never printed but by [`Secret::to_text`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    pub fn generate(seed: &Seed) -> Secret {
        Secret(seed.bytes())
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Secret> {
        bytes.try_into().ok().map(Secret)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads what [`Secret::to_text`] writes.
    pub fn parse(text: &str) -> Option<Secret> {
        Secret::from_bytes(&STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?)
    }

    /// `whsec_…`: what the receiver's library takes.
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0))
    }
}

/// A secret ready to sign with.
#[derive(Debug)]
pub struct Key(hmac::Key);

impl Key {
    pub fn new(secret: &Secret) -> Key {
        Key(hmac::Key::new(hmac::HMAC_SHA256, &secret.0))
    }
}

/// The `webhook-signature` header: one signature for each key, the current one first.
pub fn signature(keys: &[Key], id: &str, at: Micros, body: &[u8]) -> String {
    let signed = |key: &Key| {
        let mut context = hmac::Context::with_key(&key.0);
        context.update(format!("{id}.{}.", at.seconds()).as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    };
    keys.iter().map(signed).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key 0x00..0x1f; the expected value is from Python's hmac module:
    /// `hmac.new(bytes(range(32)), b"msg_1.1614265330.{}", "sha256")`.
    #[test]
    fn signs_as_an_independent_implementation_does() {
        let secret = Secret::from_bytes(&(0..32).collect::<Vec<u8>>()).unwrap();
        assert_eq!(secret.to_text(), "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        assert_eq!(Secret::parse(&secret.to_text()), Some(secret.clone()));
        for bad in ["", "whsec_", "whsec_AAEC", &secret.to_text()[6..], &format!("{} ", secret.to_text())] {
            assert_eq!(Secret::parse(bad), None, "{bad:?}");
        }
        let text = signature(&[Key::new(&secret)], "msg_1", Micros(1_614_265_330_000_000), b"{}");
        assert_eq!(text, "v1,ATSItIDsNRS9QdKP9XOi7h6JK2iXVz31FeOLrDMxCpU=");
        let both =
            signature(&[Key::new(&secret), Key::new(&secret)], "msg_1", Micros(1_614_265_330_999_999), b"{}");
        assert_eq!(both, format!("{text} {text}"));
    }
}
