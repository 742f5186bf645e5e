//! Which numbers of a web site a tracker replaces: its `swap_target`, one or several numbers between commas, as
//! people of the company's country write them.

use super::Settings;
use crate::kernel::phone::PhoneNumber;

/// Numbers that one tracker may replace.
pub const TARGETS_MAX: usize = 10;

/// Why a text isn't a `swap_target`; completes a sentence that begins with the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error("has no phone number in {0:?}; write one or several, separated by commas")]
    NotANumber(String),
    #[error("may have {TARGETS_MAX} numbers at most")]
    TooMany,
}

/// The numbers of a `swap_target`; none if it is empty.
///
/// # Errors
/// Says which part isn't a number.
pub fn parse(text: &str, country: &str) -> Result<Vec<PhoneNumber>, BadTarget> {
    let mut numbers = Vec::new();
    for part in text.split([',', ';', '\n']).map(str::trim).filter(|part| !part.is_empty()) {
        let Some(number) = PhoneNumber::local(part, country) else {
            return Err(BadTarget::NotANumber(part.chars().take(40).collect()));
        };
        if !numbers.contains(&number) {
            numbers.push(number);
        }
        if numbers.len() > TARGETS_MAX {
            return Err(BadTarget::TooMany);
        }
    }
    Ok(numbers)
}

/// The numbers that a tracker replaces. What can't be read, as it was kept before there were rules, replaces
/// nothing.
pub fn targets(settings: &Settings, country: &str) -> Vec<PhoneNumber> {
    parse(&settings.swap_target, country).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_country_writes_them() {
        for (text, country, expected) in [
            ("", "US", &[][..]),
            ("+1 270-315-2766", "DE", &["+12703152766"]),
            ("(270) 315-2766", "US", &["+12703152766"]),
            ("1-270-315-2766, 270.315.2766", "US", &["+12703152766"]),
            ("030 901820", "DE", &["+4930901820"]),
            ("020 7183 8750; +44 20 7183 8751", "GB", &["+442071838750", "+442071838751"]),
        ] {
            let numbers = parse(text, country).unwrap();
            assert_eq!(numbers.iter().map(PhoneNumber::as_str).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_named() {
        assert_eq!(parse("call us", "US"), Err(BadTarget::NotANumber("call us".to_owned())));
        assert_eq!(parse("+12703152766, 911", "US"), Err(BadTarget::NotANumber("911".to_owned())));
        let many: Vec<String> = (0..11).map(|n| format!("+1270315{:04}", 2766 + n)).collect();
        assert_eq!(parse(&many.join(","), "US"), Err(BadTarget::TooMany));
    }
}
