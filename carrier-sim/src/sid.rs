//! Identifiers in the shapes the carriers use: two letters and 32 hex digits at Twilio, a bare UUID at SignalWire. The
//! generator is SplitMix64 (Steele, Lea, Flood 2014): small, seeded, good enough for a simulation and never for secrets.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::account::AccountKind;

/// What an identifier names; decides its two letters at Twilio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SidKind {
    Call,
    IncomingPhoneNumber,
    Message,
    MediaMessage,
    Recording,
    Transcription,
}

impl SidKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Call => "CA",
            Self::IncomingPhoneNumber => "PN",
            Self::Message => "SM",
            Self::MediaMessage => "MM",
            Self::Recording => "RE",
            Self::Transcription => "TR",
        }
    }
}

/// A seeded source of identifiers, shared by all tasks.
#[derive(Debug)]
pub struct Sids {
    state: AtomicU64,
}

impl Sids {
    /// The same seed gives the same identifiers in the same order.
    pub fn seeded(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// A new identifier of an account's dialect.
    pub fn next(&self, kind: SidKind, dialect: AccountKind) -> String {
        let (high, low) = (self.next_u64(), self.next_u64());
        match dialect {
            AccountKind::Twilio => format!("{}{high:016x}{low:016x}", kind.prefix()),
            AccountKind::SignalWire => uuid(high, low),
        }
    }

    /// A UUID for headers.
    pub fn next_uuid(&self) -> String {
        uuid(self.next_u64(), self.next_u64())
    }

    fn next_u64(&self) -> u64 {
        let state = self.state.fetch_add(GOLDEN_GAMMA, Ordering::Relaxed);
        mix(state.wrapping_add(GOLDEN_GAMMA))
    }
}

/// A number that depends on nothing but the seed and a text: the delay of a recording, the pitch of a voice.
pub fn seeded_hash(seed: u64, text: &str) -> u64 {
    text.bytes().fold(mix(seed), |hash, byte| mix(hash ^ u64::from(byte)))
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// RFC 9562 version 4 layout.
fn uuid(high: u64, low: u64) -> String {
    let high = (high & !0xf000) | 0x4000;
    let low = (low & !(0b11 << 62)) | (0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_has_its_shape() {
        let sids = Sids::seeded(1);
        let twilio = sids.next(SidKind::Call, AccountKind::Twilio);
        assert_eq!(twilio.len(), 34);
        assert!(twilio.starts_with("CA"));
        let signalwire = sids.next(SidKind::Call, AccountKind::SignalWire);
        assert_eq!(signalwire.len(), 36);
        assert_eq!(&signalwire[14..15], "4");
    }

    #[test]
    fn a_seed_repeats_itself() {
        let (a, b) = (Sids::seeded(7), Sids::seeded(7));
        for _ in 0..3 {
            assert_eq!(a.next_uuid(), b.next_uuid());
        }
        assert_ne!(a.next_uuid(), Sids::seeded(8).next_uuid());
    }
}
