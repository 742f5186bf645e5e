//! Ids: integers as the contract wants them, each kind a type of its own so that a tracker's id can't be
//! passed where a company's is meant. Also the two kinds of text ids that must not be guessed or reused.

use crate::kernel::clock::Micros;
use crate::kernel::seed::Seed;

/// An integer id as stored and as shown.
pub trait Id: Copy + Send + 'static {
    fn new(value: i64) -> Self;
    fn value(self) -> i64;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl Id for $name {
            fn new(value: i64) -> Self { $name(value) }
            fn value(self) -> i64 { self.0 }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { self.0.fmt(f) }
        }
    )*};
}

ids! {
    /// A company: the tenant. Everything else belongs to one.
    CompanyId;
    /// A carrier account of a company.
    CarrierId;
    /// A tracker.
    TrackerId;
    /// A tracking number, from when it was bought or attached until it was released.
    NumberId;
    /// Numbers that are bought bit by bit.
    NumberOrderId;
    CallId;
    MessageId;
    VoicemailId;
    RecordingId;
    UsageId;
    EventId;
    WebhookId;
    /// A range of deliveries that is sent again.
    ReplayId;
    TokenId;
    UserId;
    /// A link on which somebody becomes a user.
    InvitationId;
    AlertId;
    /// A browser of a web site's visitor.
    VisitorId;
    /// A visit of a web site.
    SessionId;
    /// That a visitor had a pool's number for a time.
    LeaseId;
    /// A caller's number that a company wants rejected.
    BlockedCallerId;
}

/// Crockford's base 32: no letters that are read as digits, and it sorts as the bytes do.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A new unique text id: 48 bits of milliseconds and 80 of chance, as in the ULID layout, so that ids of
/// one database restored from yesterday's backup never meet those it gave out since.
pub fn unique(now: Micros, seed: &Seed) -> String {
    let millis = u64::try_from(now.0.div_euclid(1000)).unwrap_or(0);
    let chance = seed.bytes::<10>();
    let mut bits = u128::from(millis & 0xFFFF_FFFF_FFFF) << 80;
    for (i, byte) in chance.iter().enumerate() {
        bits |= u128::from(*byte) << (72 - 8 * i);
    }
    (0..26)
        .rev()
        .map(|i| char::from(ALPHABET[usize::try_from((bits >> (5 * i)) & 31).unwrap_or(0)]))
        .collect()
}

/// A secret of 160 bits in base 32, with a prefix that tells secret scanners and people what it is.
pub fn secret(prefix: &str, seed: &Seed) -> String {
    let bytes = seed.bytes::<32>();
    let text: String = bytes.iter().map(|b| char::from(ALPHABET[usize::from(b & 31)])).collect();
    format!("{prefix}{}", text.to_ascii_lowercase())
}

/// What a receiver sees as `webhook-id`: made of the event's text id and the webhook, so that there can
/// be only one for each pair and it never changes.
pub fn delivery_id(event_uid: &str, webhook: WebhookId) -> String {
    format!("msg_{event_uid}_{webhook}")
}

/// The event's text id and the webhook of a `msg_…`; None if it isn't one.
pub fn parse_delivery_id(text: &str) -> Option<(&str, WebhookId)> {
    let (uid, webhook) = text.strip_prefix("msg_")?.rsplit_once('_')?;
    let whole = uid.len() == 26 && uid.bytes().all(|b| ALPHABET.contains(&b));
    whole.then_some((uid, WebhookId(webhook.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_ids_sort_by_time_and_differ_by_chance() {
        let seed = Seed::fixed(1);
        let early = unique(Micros(1_552_122_592_010_000), &seed);
        let late = unique(Micros(1_552_122_592_011_000), &seed);
        assert_eq!(early.len(), 26);
        assert!(early < late, "{early} {late}");
        assert_ne!(early, unique(Micros(1_552_122_592_010_000), &seed));
    }

    #[test]
    fn delivery_ids_round_trip_and_nothing_else_parses() {
        let uid = unique(Micros(1), &Seed::fixed(2));
        let text = delivery_id(&uid, WebhookId(21));
        assert_eq!(parse_delivery_id(&text), Some((uid.as_str(), WebhookId(21))));
        for bad in ["", "msg_", "msg_1_2", "msg_XX", "21", &format!("msg_{uid}"), &format!("msg_{uid}_x")] {
            assert_eq!(parse_delivery_id(bad), None, "{bad}");
        }
    }
}
