//! Reads the attributes of a TwiML element: typed, with the carrier's defaults, and with a warning for every one that is
//! unknown or has a value it may not have. Used by `twiml` only.

use std::ops::RangeInclusive;

use crate::twiml::{Link, Method};
use crate::xml::Element;

/// "Schema validation warning" in the carrier's error dictionary.
pub const SCHEMA_WARNING: u32 = 12_200;

/// Something in a document that was left out or replaced by a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub code: u32,
    pub text: String,
}

/// The attributes of an element; those not asked for when it is finished are unknown.
pub struct Attributes<'element, 'warnings> {
    element: &'element Element,
    known: Vec<&'static str>,
    warnings: &'warnings mut Vec<Warning>,
}

impl<'element, 'warnings> Attributes<'element, 'warnings> {
    pub fn of(element: &'element Element, warnings: &'warnings mut Vec<Warning>) -> Self {
        Self { element, known: Vec::new(), warnings }
    }

    /// Attributes that exist but make no difference to a simulated call.
    pub fn ignore(&mut self, names: &[&'static str]) {
        self.known.extend(names);
    }

    /// An attribute's value; an empty one counts as absent.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.find(name).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    pub fn flag(&mut self, name: &'static str, default: bool) -> bool {
        self.choice(name, &[("true", true), ("false", false)], default)
    }

    pub fn number(&mut self, name: &'static str, default: u32, range: RangeInclusive<u32>) -> u32 {
        self.optional_number(name, range).unwrap_or(default)
    }

    pub fn optional_number(&mut self, name: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        let value = self.text(name)?;
        match value.parse::<u32>() {
            Ok(number) if range.contains(&number) => Some(number),
            Ok(_) | Err(_) => {
                self.warn_value(name, &value);
                None
            }
        }
    }

    /// One of a closed set of words.
    pub fn choice<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)], default: T) -> T {
        let Some(value) = self.text(name) else {
            return default;
        };
        match words.iter().find(|(word, _)| *word == value) {
            Some((_, meaning)) => *meaning,
            None => {
                self.warn_value(name, &value);
                default
            }
        }
    }

    /// Several words of a closed set, separated by spaces.
    pub fn words(&mut self, name: &'static str, allowed: &[&str], default: &[&str]) -> Vec<String> {
        let Some(value) = self.text(name) else {
            return default.iter().map(|word| (*word).to_owned()).collect();
        };
        let (known, unknown): (Vec<&str>, Vec<&str>) =
            value.split_whitespace().partition(|word| allowed.contains(word));
        for word in unknown {
            self.warn_value(name, word);
        }
        known.into_iter().map(str::to_owned).collect()
    }

    /// Telephone keys. An empty value is a value: no key ends the input.
    pub fn keys(&mut self, name: &'static str, default: &str) -> String {
        match self.find(name).map(str::to_owned) {
            None => default.to_owned(),
            Some(value) if value.chars().all(|key| "0123456789*#".contains(key)) => value,
            Some(value) => {
                self.warn_value(name, &value);
                default.to_owned()
            }
        }
    }

    pub fn method(&mut self, name: &'static str) -> Method {
        let words = [("POST", Method::Post), ("GET", Method::Get)];
        self.choice(name, &words, Method::Post)
    }

    /// A URL and its method.
    pub fn link(&mut self, url: &'static str, method: &'static str) -> Option<Link> {
        let method = self.method(method);
        self.text(url).map(|url| Link { url, method })
    }

    /// Warns of every attribute nobody asked for.
    pub fn finish(self) {
        for (name, _) in &self.element.attributes {
            if !self.known.contains(&name.as_str()) {
                self.warnings.push(Warning {
                    code: SCHEMA_WARNING,
                    text: format!("<{}> has no attribute {name}", self.element.name),
                });
            }
        }
    }

    fn find(&mut self, name: &'static str) -> Option<&'element str> {
        self.known.push(name);
        let element = self.element;
        element.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn warn_value(&mut self, name: &str, value: &str) {
        self.warnings.push(Warning {
            code: SCHEMA_WARNING,
            text: format!("<{}> {name} may not be {value:?}", self.element.name),
        });
    }
}
