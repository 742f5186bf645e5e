//! The dialect's words in ours, where callbacks and the API use the same. Pure.

use crate::calls::update::{Attestation, DialOutcome};
use crate::messages::update::State;

/// How a leg ended, by its `CallStatus`; None while it hasn't.
pub fn outcome(status: &str) -> Option<DialOutcome> {
    match status {
        "completed" => Some(DialOutcome::Completed),
        "busy" => Some(DialOutcome::Busy),
        "no-answer" => Some(DialOutcome::NoAnswer),
        "failed" => Some(DialOutcome::Failed),
        "canceled" => Some(DialOutcome::Canceled),
        _ => None,
    }
}

/// A message's `MessageStatus`; None for those of messages that came in, and for words that we don't know.
pub fn message_state(status: &str) -> Option<State> {
    match status {
        "accepted" | "scheduled" | "queued" | "sending" => Some(State::Queued),
        // Of a group, some have it and some don't yet.
        "sent" | "partially_delivered" => Some(State::Sent),
        "delivered" | "read" => Some(State::Delivered),
        "undelivered" => Some(State::Undelivered),
        "failed" => Some(State::Failed),
        "canceled" => Some(State::Canceled),
        _ => None,
    }
}

/// A `StirVerstat`: `TN-Validation-Passed-A`, `TN-Validation-Failed-B`, `No-TN-Validation`, each maybe with
/// an ending such as `-Diverted` (carrier's page "Trusted calling with SHAKEN/STIR").
pub fn attestation(verstat: &str) -> Attestation {
    if verstat.starts_with("TN-Validation-Failed") {
        return Attestation::Failed;
    }
    let level = verstat.strip_prefix("TN-Validation-Passed-").and_then(|rest| rest.split('-').next());
    match level {
        Some("A") => Attestation::A,
        Some("B") => Attestation::B,
        Some("C") => Attestation::C,
        _ => Attestation::None,
    }
}

/// A country if it is written as two letters, as ISO 3166-1 alpha-2 is; else "".
pub fn country(text: &str) -> String {
    let two_letters = text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic());
    if two_letters { text.to_ascii_uppercase() } else { String::new() }
}

/// A city that was sent in capitals, in title case: `SÃO PAULO`, `O'FALLON`, `MARTHA'S VINEYARD`. What has
/// small letters already is left alone.
pub fn title_case(text: &str) -> String {
    if text.chars().any(char::is_lowercase) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut starts_word = true;
    for (at, c) in text.char_indices() {
        if starts_word {
            out.push(c);
        } else {
            out.extend(c.to_lowercase());
        }
        starts_word = match c {
            // Behind an apostrophe a name goes on (O'Fallon), a single letter is a genitive (Martha's).
            '\'' | '’' => {
                text[at + c.len_utf8()..].chars().take_while(|c| c.is_alphabetic()).nth(1).is_some()
            }
            c => !c.is_alphanumeric(),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cities_are_written_as_people_write_them() {
        let cases = [
            ("LOS ANGELES", "Los Angeles"),
            ("SÃO PAULO", "São Paulo"),
            ("ÎLE-D'ORLÉANS", "Île-D'Orléans"),
            ("O'FALLON", "O'Fallon"),
            ("COEUR D’ALENE", "Coeur D’Alene"),
            ("MARTHA'S VINEYARD", "Martha's Vineyard"),
            ("WINSTON-SALEM", "Winston-Salem"),
            ("ST. LOUIS", "St. Louis"),
            ("29 PALMS 5TH", "29 Palms 5th"),
            ("McAllen", "McAllen"),
            ("台北", "台北"),
            ("'", "'"),
            ("", ""),
        ];
        for (sent, shown) in cases {
            assert_eq!(title_case(sent), shown);
        }
    }

    #[test]
    fn attestation_is_the_letter_behind_passed() {
        let cases = [
            ("TN-Validation-Passed-A", Attestation::A),
            ("TN-Validation-Passed-B-Diverted", Attestation::B),
            ("TN-Validation-Passed-C", Attestation::C),
            ("TN-Validation-Passed", Attestation::None),
            ("TN-Validation-Passed-D", Attestation::None),
            ("TN-Validation-Failed", Attestation::Failed),
            ("TN-Validation-Failed-A", Attestation::Failed),
            ("No-TN-Validation", Attestation::None),
            ("", Attestation::None),
        ];
        for (sent, meant) in cases {
            assert_eq!(attestation(sent), meant, "{sent}");
        }
    }

    #[test]
    fn countries_have_two_letters() {
        for (sent, meant) in [("us", "US"), ("GB", "GB"), ("USA", ""), ("é", ""), ("1A", ""), ("", "")] {
            assert_eq!(country(sent), meant, "{sent}");
        }
    }
}
