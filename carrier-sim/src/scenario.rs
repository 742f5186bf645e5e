//! What the people on the phone do: the caller, the destinations and the voicemail, as the control API takes them. Decides
//! the defaults and the meaning of magic numbers; `sim_legs` plays it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::records::Geography;

/// An inbound call that shall happen.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallScript {
    /// Sent as it is: a number, or what carriers write for withheld ones, as in "anonymous".
    pub from: String,
    /// A number that an account owns.
    pub to: String,
    #[serde(default)]
    pub caller: Caller,
    /// What the caller says when a Gather listens; one text for each.
    #[serde(default)]
    pub says: OneOrMany,
    /// What the caller presses when a Gather listens; one text for each.
    #[serde(default)]
    pub digits: OneOrMany,
    /// The caller hangs up that long after the call began, whatever is going on.
    pub hangup_after_s: Option<f64>,
    /// What every destination of this call does, unless `destinations` has the number.
    pub destination: Option<Destination>,
    #[serde(default)]
    pub destinations: BTreeMap<String, Destination>,
    #[serde(default)]
    pub voicemail: Voicemail,
    /// Sent with the call's webhooks, as carriers add parameters without notice.
    #[serde(default)]
    pub extra_params: BTreeMap<String, String>,
    pub forwarded_from: Option<String>,
    /// What a Dial reports when the caller hangs up while it rings.
    #[serde(default)]
    pub abandoned_dial: AbandonedDial,
}

/// What the carrier knows of a caller.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    pub city: Option<String>,
    pub state: Option<String>,
    pub zip: Option<String>,
    pub country: Option<String>,
    /// Sent only for numbers with VoiceCallerIdLookup.
    pub name: Option<String>,
    pub stir_verstat: Option<String>,
}

/// How a destination behaves when it is called.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Destination {
    pub outcome: DestinationOutcome,
    pub answer_after_s: f64,
    /// What is pressed when a whisper's Gather listens; one text for each. Empty: nothing, so the Gather times out.
    pub whisper_keys: OneOrMany,
    /// How long the conversation lasts, from the moment both can hear each other.
    pub talk_s: f64,
    /// Who ends it.
    pub hangs_up_first: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DestinationOutcome {
    #[default]
    Answer,
    Busy,
    NoAnswer,
    Fail,
}

/// What the caller does at the beep.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Voicemail {
    /// The text the carrier's transcription will understand.
    pub says: String,
    /// 0: not a word.
    pub seconds: f64,
    pub finish: VoicemailFinish,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum VoicemailFinish {
    #[default]
    #[serde(rename = "hangup")]
    Hangup,
    #[serde(rename = "#")]
    Pound,
    /// Says no more and stays on the line until the carrier has heard enough silence.
    #[serde(rename = "silence")]
    Silence,
}

/// Both words have been seen from carriers, and no request at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AbandonedDial {
    #[default]
    NoAnswer,
    Canceled,
    /// The action is not requested.
    None,
}

/// A text or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    /// The texts that are not empty.
    pub fn texts(&self) -> Vec<String> {
        let texts = match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts.as_slice(),
        };
        texts.iter().filter(|text| !text.is_empty()).cloned().collect()
    }
}

impl Default for Destination {
    fn default() -> Self {
        Self {
            outcome: DestinationOutcome::Answer,
            answer_after_s: 4.0,
            whisper_keys: OneOrMany::One("1".to_owned()),
            talk_s: 30.0,
            hangs_up_first: false,
        }
    }
}

impl Default for Voicemail {
    fn default() -> Self {
        Self {
            says: "Hi, please call me back when you have a minute. Thanks.".to_owned(),
            seconds: 8.0,
            finish: VoicemailFinish::Hangup,
        }
    }
}

impl Destination {
    /// What a number does when nobody said anything about it: its last digits decide.
    pub fn of_number(number: &str) -> Self {
        let outcome = match number.get(number.len().saturating_sub(4)..) {
            Some("0102") => DestinationOutcome::Busy,
            Some("0103" | "0104") => DestinationOutcome::NoAnswer,
            _answers => DestinationOutcome::Answer,
        };
        Self { outcome, ..Self::default() }
    }
}

impl CallScript {
    /// Why the script cannot be played, if it cannot.
    pub fn find_error(&self) -> Option<String> {
        let destinations = self.destination.iter().chain(self.destinations.values());
        destinations
            .flat_map(|destination| {
                [("answer_after_s", destination.answer_after_s), ("talk_s", destination.talk_s)]
            })
            .chain([
                ("hangup_after_s", self.hangup_after_s.unwrap_or(0.0)),
                ("voicemail.seconds", self.voicemail.seconds),
            ])
            .find(|(_, seconds)| !(0.0..=SECONDS_MAX).contains(seconds))
            .map(|(name, _)| format!("{name} must be between 0 and {SECONDS_MAX}"))
    }

    /// What this script says of a destination, if it does.
    pub fn find_destination(&self, number: &str) -> Option<&Destination> {
        self.destinations.get(number).or(self.destination.as_ref())
    }
}

/// The longest anything takes: a day, like the longest call a carrier allows.
pub const SECONDS_MAX: f64 = 86_400.0;

impl Caller {
    /// The caller's place, where the script names any of it; the rest is then empty.
    pub fn find_geography(&self) -> Option<Geography> {
        let fields = [&self.city, &self.state, &self.zip, &self.country];
        if fields.iter().all(|field| field.is_none()) {
            return None;
        }
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        Some(Geography {
            city: text(&self.city).to_uppercase(),
            state: text(&self.state),
            zip: text(&self.zip),
            country: self.country.clone().unwrap_or_else(|| "US".to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_suffixes_decide_when_nothing_else_does() {
        for (number, outcome) in [
            ("+12705550101", DestinationOutcome::Answer),
            ("+12705550102", DestinationOutcome::Busy),
            ("+12705550103", DestinationOutcome::NoAnswer),
            ("+12705550104", DestinationOutcome::NoAnswer),
            ("+12703152766", DestinationOutcome::Answer),
            ("x", DestinationOutcome::Answer),
        ] {
            assert_eq!(Destination::of_number(number).outcome, outcome, "{number}");
        }
    }

    #[test]
    fn a_script_needs_only_two_numbers() {
        let script: CallScript =
            serde_json::from_str(r#"{"from": "anonymous", "to": "+12705550100"}"#).unwrap();
        assert!(script.find_error().is_none());
        assert!(script.find_destination("+12703152766").is_none());
        assert_eq!(script.voicemail.finish, VoicemailFinish::Hangup);
    }

    #[test]
    fn a_misspelt_field_is_an_error() {
        let script = r#"{"from": "a", "to": "b", "destination": {"talks_s": 3}}"#;
        assert!(serde_json::from_str::<CallScript>(script).is_err());
    }
}
