//! What the installation's one secret key does: seals credentials at rest (ChaCha20-Poly1305) and signs
//! links that we give out (HMAC-SHA256). Each purpose has a key of its own, derived by HKDF (RFC 5869), so
//! that something sealed for one can't be opened as another.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{hkdf, hmac};

use crate::kernel::seed::Seed;

/// What a derived key is for. The words are part of the derivation and never change.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    CarrierCredentials,
    WebhookSecret,
    IdempotentAnswer,
    RecordingLink,
    VisitToken,
    DebugLink,
    Flash,
    Setup,
    Device,
}

impl Purpose {
    fn word(self) -> &'static [u8] {
        match self {
            Purpose::CarrierCredentials => b"carrier credentials",
            Purpose::WebhookSecret => b"webhook secret",
            Purpose::IdempotentAnswer => b"idempotent answer",
            Purpose::RecordingLink => b"recording link",
            Purpose::VisitToken => b"visit token",
            Purpose::DebugLink => b"debug link",
            Purpose::Flash => b"flash",
            Purpose::Setup => b"setup",
            Purpose::Device => b"device",
        }
    }
}

/// The installation's secret key: 32 bytes. Never printed.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

impl SecretKey {
    pub fn generate(seed: &Seed) -> SecretKey {
        SecretKey(seed.bytes())
    }

    /// From its text form: base64 of 32 bytes.
    pub fn parse(text: &str) -> Option<SecretKey> {
        Some(SecretKey(STANDARD.decode(text.trim()).ok()?.try_into().ok()?))
    }

    pub fn to_text(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Encrypts and authenticates; [`SecretKey::open`] gives `plain` back.
    pub fn seal(&self, purpose: Purpose, plain: &[u8], seed: &Seed) -> Vec<u8> {
        let nonce = seed.bytes::<NONCE_LEN>();
        let mut sealed = plain.to_vec();
        self.cipher(purpose)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .expect("the cipher takes messages of this size");
        [nonce.as_slice(), &sealed].concat()
    }

    /// What was sealed; None if it was sealed with another key or for another purpose, or was changed.
    pub fn open(&self, purpose: Purpose, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        let mut plain = rest.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = self.cipher(purpose).open_in_place(nonce, Aad::empty(), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }

    /// A signature of `text` for a URL.
    pub fn sign(&self, purpose: Purpose, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.signing_key(purpose), text.as_bytes()))
    }

    /// Whether `signature` is [`SecretKey::sign`]'s, compared in constant time.
    pub fn verify(&self, purpose: Purpose, text: &str, signature: &str) -> bool {
        let Ok(tag) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        hmac::verify(&self.signing_key(purpose), text.as_bytes(), &tag).is_ok()
    }

    fn signing_key(&self, purpose: Purpose) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.derive(purpose))
    }

    fn cipher(&self, purpose: Purpose) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.derive(purpose));
        LessSafeKey::new(key.expect("the derived key has the cipher's length"))
    }

    fn derive(&self, purpose: Purpose) -> [u8; 32] {
        let mut key = [0; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"calltracker 1")
            .extract(&self.0)
            .expand(&[purpose.word()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key))
            .expect("32 bytes are within HKDF's range");
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_things_open_only_whole_and_for_their_purpose() {
        let seed = Seed::fixed(1);
        let key = SecretKey::generate(&seed);
        let sealed = key.seal(Purpose::WebhookSecret, b"whsec", &seed);
        assert_eq!(key.open(Purpose::WebhookSecret, &sealed).as_deref(), Some(b"whsec".as_slice()));
        assert_eq!(key.open(Purpose::CarrierCredentials, &sealed), None);
        assert_eq!(SecretKey::generate(&seed).open(Purpose::WebhookSecret, &sealed), None);
        for cut in 0..sealed.len() {
            assert_eq!(key.open(Purpose::WebhookSecret, &sealed[..cut]), None);
        }
        assert_eq!(SecretKey::parse(&key.to_text()).map(|k| k.0), Some(key.0));
    }

    #[test]
    fn links_are_signed_for_one_text() {
        let key = SecretKey::generate(&Seed::fixed(1));
        let signature = key.sign(Purpose::RecordingLink, "7/1700000000");
        assert!(key.verify(Purpose::RecordingLink, "7/1700000000", &signature));
        assert!(!key.verify(Purpose::RecordingLink, "8/1700000000", &signature));
        assert!(!key.verify(Purpose::RecordingLink, "7/1700000000", "!"));
        assert!(!key.verify(Purpose::WebhookSecret, "7/1700000000", &signature));
    }
}
