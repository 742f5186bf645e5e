//! A carrier's form as it is read: bounded, with every value a text that we can store. Pure; made for
//! [`decode`](super::decode). What the parameters mean isn't decided here.
//!
//! Signatures are checked on the raw body, not on this: here bytes that aren't UTF-8 are replaced and NUL
//! is dropped, because PostgreSQL can't store it (docs: "Character Types").

use std::fmt;

/// Parameters at most. The largest real request, a picture message with 10 files, has about 50.
pub const PARAMETERS_MAX: usize = 500;
/// A carrier's id at most, in characters: Twilio's have 34, SignalWire's 36.
pub const ID_CHARS_MAX: usize = 64;

/// Why a request can't be used although its signature is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadForm {
    #[error("the form has more than {PARAMETERS_MAX} parameters")]
    TooManyParameters,
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    #[error("the parameter {0} is not an id")]
    BadId(&'static str),
}

/// The decoded parameters of one request.
#[derive(Clone, PartialEq, Eq)]
pub struct Form {
    pairs: Vec<(String, String)>,
}

/// Shows how many there are: names and numbers of people are among them.
impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Form").field("parameters", &self.pairs.len()).finish_non_exhaustive()
    }
}

impl Form {
    /// Reads an `application/x-www-form-urlencoded` body; any bytes are one.
    ///
    /// # Errors
    /// If it has more than [`PARAMETERS_MAX`] parameters.
    pub fn parse(body: &[u8]) -> Result<Form, BadForm> {
        let without_nul = |text: &str| text.replace('\0', "");
        let mut pairs = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            if pairs.len() == PARAMETERS_MAX {
                return Err(BadForm::TooManyParameters);
            }
            pairs.push((without_nul(&name), without_nul(&value)));
        }
        Ok(Form { pairs })
    }

    /// Whether the carrier sent `name`, even if empty.
    pub fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(known, _)| known == name)
    }

    /// The first value of `name`, "" if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }

    /// A text of several lines, cut after `chars_max` characters.
    pub fn text(&self, name: &str, chars_max: usize) -> String {
        self.get(name).chars().take(chars_max).collect()
    }

    /// A text of one line without control characters and outer spaces, cut after `chars_max` characters.
    pub fn line(&self, name: &str, chars_max: usize) -> String {
        let shown: String = self.get(name).chars().filter(|c| !c.is_control()).collect();
        shown.trim().chars().take(chars_max).collect()
    }

    /// A whole number; None if there is none, or it is negative, as carriers write an unknown duration.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.get(name).trim().parse().ok()
    }

    /// A carrier's id.
    ///
    /// # Errors
    /// If it is missing, or isn't 1 to [`ID_CHARS_MAX`] of `A-Z a-z 0-9 : _ -`.
    pub fn id(&self, name: &'static str) -> Result<String, BadForm> {
        let text = self.get(name);
        match text {
            "" => Err(BadForm::Missing(name)),
            text if is_id(text) => Ok(text.to_owned()),
            _ => Err(BadForm::BadId(name)),
        }
    }
}

/// Whether a text may be a carrier's id. It goes into paths of its API, so what could leave them is refused.
pub fn is_id(text: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_can_always_be_stored() {
        let form = Form::parse(b"Bad=%FFx&Nul=a%00b&Lines=+a%0Ab%07+&Twice=1&Twice=2&Flag").unwrap();
        assert_eq!(form.get("Bad"), "\u{FFFD}x");
        assert_eq!(form.get("Nul"), "ab");
        assert_eq!(form.text("Lines", 4), " a\nb");
        assert_eq!(form.line("Lines", 9), "ab");
        assert_eq!(form.get("Twice"), "1");
        assert_eq!((form.has("Flag"), form.has("None"), form.get("None")), (true, false, ""));
        assert_eq!(Form::parse("Body=héé".as_bytes()).unwrap().text("Body", 2), "hé");
    }

    #[test]
    fn ids_are_opaque_but_bounded() {
        let id = |value: &str| Form::parse(format!("CallSid={value}").as_bytes()).unwrap().id("CallSid");
        for good in ["CA45", "0d0ab2e2-8aa5-4fd6-8d8d-1bd5b0eb9d35", "v3:a_b", &"x".repeat(64)] {
            assert_eq!(id(good).as_deref(), Ok(good));
        }
        assert_eq!(id(""), Err(BadForm::Missing("CallSid")));
        for bad in ["a/b", "..", "a+b", "%C3%A9", "a%0A", &"x".repeat(65)] {
            assert_eq!(id(bad), Err(BadForm::BadId("CallSid")), "{bad}");
        }
    }

    #[test]
    fn numbers_are_whole_and_not_negative() {
        let number = |value: &str| Form::parse(format!("N={value}").as_bytes()).unwrap().number("N");
        assert_eq!(
            (number("12"), number("0"), number("-1"), number(""), number("1.5")),
            (Some(12), Some(0), None, None, None)
        );
        assert_eq!(number("99999999999"), None);
    }

    #[test]
    fn a_form_has_a_bounded_number_of_parameters() {
        assert!(Form::parse("a=1&".repeat(PARAMETERS_MAX).as_bytes()).is_ok());
        let more = Form::parse("a=1&".repeat(PARAMETERS_MAX + 1).as_bytes());
        assert_eq!(more, Err(BadForm::TooManyParameters));
    }

    #[test]
    fn a_form_is_never_printed() {
        let form = Form::parse(b"From=%2B12705550101").unwrap();
        assert_eq!(format!("{form:?}"), "Form { parameters: 1, .. }");
    }
}
