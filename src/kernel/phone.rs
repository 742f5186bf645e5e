//! Phone numbers in E.164 and what may be known from the digits alone: kind, country, and whether a call
//! may be forwarded there. It doesn't know who owns a number.
//!
//! Odd facts: carriers write a withheld caller as `anonymous`, `restricted`, `unknown`, `unavailable`, or
//! as the digits of such a word on a keypad (`+266696687` spells ANONYMOUS), which parse as foreign
//! numbers but aren't valid ones. `911` parses as `+1911` and isn't valid either, so validity is always asked.

use std::fmt;

use phonenumber::country;

/// A phone number in E.164: `+` and 7 to 15 digits, the first not 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct PhoneNumber(String);

impl<'de> serde::Deserialize<'de> for PhoneNumber {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<PhoneNumber, D::Error> {
        let text = String::deserialize(deserializer)?;
        PhoneNumber::from_e164(&text).ok_or_else(|| serde::de::Error::custom("not a phone number in E.164"))
    }
}

/// What a tracking number costs by: the two kinds that the contract knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberType {
    Local,
    Tollfree,
}

impl NumberType {
    pub fn as_str(self) -> &'static str {
        match self {
            NumberType::Local => "local",
            NumberType::Tollfree => "tollfree",
        }
    }

    pub fn parse(text: &str) -> Option<NumberType> {
        [NumberType::Local, NumberType::Tollfree].into_iter().find(|t| t.as_str() == text)
    }
}

/// Why a number can't be called by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("is not a valid phone number in E.164, such as +12703152766")]
    Invalid,
    #[error("is a premium-rate, shared-cost or personal number, which calls are not forwarded to")]
    Premium,
}

impl PhoneNumber {
    /// A number that is already in E.164 by its shape, valid or not: what carriers send.
    pub fn from_e164(text: &str) -> Option<PhoneNumber> {
        let digits = text.strip_prefix('+')?;
        let shaped = (7..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        shaped.then(|| PhoneNumber(text.to_owned()))
    }

    /// A caller's number from what the carrier said, in any usual spelling; None if it was withheld or
    /// isn't a number that could be called back.
    pub fn caller(text: &str) -> Option<PhoneNumber> {
        parse_valid(text.trim(), None).map(|(number, _)| number)
    }

    /// A number that calls may be forwarded to. Emergency and short codes are never valid.
    ///
    /// # Errors
    /// Says why it may not be.
    pub fn destination(text: &str) -> Result<PhoneNumber, Unusable> {
        use phonenumber::Type;
        let (number, parsed) = parse_valid(text, None).ok_or(Unusable::Invalid)?;
        let kind = parsed.number_type(&phonenumber::metadata::DATABASE);
        match kind {
            Type::PremiumRate | Type::SharedCost | Type::PersonalNumber => Err(Unusable::Premium),
            _ => Ok(number),
        }
    }

    /// A number as people of this country (ISO 3166-1 alpha-2) write it, with or without the country's code.
    pub fn local(text: &str, country: &str) -> Option<PhoneNumber> {
        let text = text.trim();
        if text.len() > 32 {
            return None;
        }
        let parsed = phonenumber::parse(country.parse().ok(), text).ok()?;
        if !phonenumber::is_valid(&parsed) || parsed.extension().is_some() {
            return None;
        }
        PhoneNumber::from_e164(&parsed.format().mode(phonenumber::Mode::E164).to_string())
    }

    /// The country's calling code, and what people of the country dial before their own numbers ("0" in most
    /// of Europe, "" in North America, where the 1 is both).
    pub fn prefixes(&self) -> (String, String) {
        let Ok(parsed) = phonenumber::parse(None, &self.0) else { return (String::new(), String::new()) };
        let code = parsed.code().value().to_string();
        let metadata = phonenumber::metadata::DATABASE.by_code(&parsed.code().value());
        let trunk = metadata.and_then(|all| all.first().and_then(|m| m.national_prefix().map(str::to_owned)));
        let trunk = trunk.filter(|trunk| *trunk != code).unwrap_or_default();
        (code, trunk)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Toll-free or local, by the number plan.
    pub fn number_type(&self) -> NumberType {
        let parsed = phonenumber::parse(None, &self.0);
        let kind = parsed.map(|p| p.number_type(&phonenumber::metadata::DATABASE));
        match kind {
            Ok(phonenumber::Type::TollFree) => NumberType::Tollfree,
            _ => NumberType::Local,
        }
    }

    /// ISO 3166-1 alpha-2 of the number's country, "" if it has none (or can't be told).
    pub fn country(&self) -> String {
        let id = phonenumber::parse(None, &self.0).ok().and_then(|p| p.country().id());
        id.map(|id: country::Id| id.as_ref().to_owned()).unwrap_or_default()
    }
}

fn parse_valid(text: &str, region: Option<country::Id>) -> Option<(PhoneNumber, phonenumber::PhoneNumber)> {
    let plausible = text.len() <= 32 && text.starts_with('+');
    let parsed = plausible.then(|| phonenumber::parse(region, text).ok()).flatten()?;
    if !phonenumber::is_valid(&parsed) || parsed.extension().is_some() {
        return None;
    }
    let e164 = parsed.format().mode(phonenumber::Mode::E164).to_string();
    Some((PhoneNumber::from_e164(&e164)?, parsed))
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn withheld_and_impossible_callers_have_no_number() {
        for text in [
            "anonymous",
            "Restricted",
            "unknown",
            "",
            "+266696687",
            "+7378742833",
            "+86282452253",
            "911",
            "+1911",
            "sip:bob@example.com",
            "+1",
            "+",
            "+١٢٣٤٥٦٧٨٩٠",
            "+12025550123;ext=9",
            "\u{0}",
        ] {
            assert_eq!(PhoneNumber::caller(text), None, "{text:?}");
        }
        let number = PhoneNumber::caller("+1 (270) 282-2733");
        assert_eq!(number.as_ref().map(PhoneNumber::as_str), Some("+12702822733"));
    }

    #[test]
    fn calls_go_to_ordinary_numbers_only() {
        assert!(PhoneNumber::destination("+12703152766").is_ok());
        assert!(PhoneNumber::destination("+18558871739").is_ok());
        assert!(PhoneNumber::destination("+442071838750").is_ok());
        assert_eq!(PhoneNumber::destination("911"), Err(Unusable::Invalid));
        assert_eq!(PhoneNumber::destination("+15005550006"), Err(Unusable::Premium));
        assert_eq!(PhoneNumber::destination("+19002345678"), Err(Unusable::Premium));
    }

    #[test]
    fn kind_and_country_come_from_the_plan() {
        let number = |text| PhoneNumber::from_e164(text).unwrap();
        assert_eq!(number("+18558871739").number_type(), NumberType::Tollfree);
        assert_eq!(number("+12702822733").number_type(), NumberType::Local);
        assert_eq!(number("+12702822733").country(), "US");
        assert_eq!(number("+442071838750").country(), "GB");
        assert_eq!(number("+12705550101").number_type(), NumberType::Local);
    }
}
