//! The parameters of a query, by the same tables as bodies: an unknown or repeated one is an error.
//! Also the parameters that many lists share.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Map;

use super::fields::{Errors, Field, Kind, Rule, Values};
use crate::http::problem::Problem;
use crate::kernel::clock::Micros;
use crate::kernel::page::{LIMIT_DEFAULT, LIMIT_MAX, Page, parse_cursor};

/// Rows on a page.
pub const LIMIT: Field = Field::new(
    "limit",
    Kind::Integer { min: 1, max: LIMIT_MAX as i64 },
    "Rows on a page; 100 if it isn't given.",
);

/// Where a page starts.
pub const AFTER: Field =
    Field::new("after", Kind::Rule(&CURSOR), "The `next` of the page before, to get the one behind it.");

/// Start of a span of time.
pub const FROM: Field = Field::new(
    "from",
    Kind::Rule(&WHEN),
    "From this moment on: RFC 3339, or a date, which starts at midnight in the company's time zone.",
);

/// End of a span of time.
pub const TO: Field = Field::new(
    "to",
    Kind::Rule(&WHEN),
    "Before this moment: RFC 3339, or a date, which is included as a whole day in the company's time zone.",
);

static CURSOR: Rule = Rule {
    max: 64,
    format: "",
    example: "MTo1OTE3OQ",
    check: |text| parse_cursor(text).map(drop).ok_or_else(|| "is not a cursor of this list".to_owned()),
};

/// A moment or a day.
pub static WHEN: Rule = Rule {
    max: 40,
    format: "",
    example: "2026-03-09T09:00:00Z",
    check: |text| When::parse(text).map(drop).ok_or_else(|| NOT_A_TIME.to_owned()),
};

const NOT_A_TIME: &str =
    "must be an RFC 3339 time such as 2026-03-09T09:00:00Z, or a date such as 2026-03-09";

/// A moment, or a day whose bounds depend on a time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Moment(Micros),
    Day(Date),
}

impl When {
    /// None if it is neither.
    pub fn parse(text: &str) -> Option<When> {
        if text.len() == "2026-03-09".len() {
            return text.parse().ok().map(When::Day);
        }
        text.parse::<jiff::Timestamp>().ok().map(|t| When::Moment(t.into()))
    }

    /// The first moment of it.
    pub fn start(self, zone: &TimeZone) -> Micros {
        match self {
            When::Moment(at) => at,
            When::Day(date) => midnight(date, zone),
        }
    }

    /// The first moment behind it.
    pub fn end(self, zone: &TimeZone) -> Micros {
        match self {
            When::Moment(at) => at,
            When::Day(date) => date.tomorrow().map_or(Micros(i64::MAX), |next| midnight(next, zone)),
        }
    }
}

/// The first moment of a day: where clocks skip midnight, the first that exists.
fn midnight(date: Date, zone: &TimeZone) -> Micros {
    date.to_zoned(zone.clone()).map_or(Micros(i64::MAX), |zoned| zoned.timestamp().into())
}

impl Values {
    /// `limit` and `after`.
    pub fn page(&self) -> Page {
        let page = Page { limit: self.get("limit").unwrap_or(LIMIT_DEFAULT), ..Page::default() };
        self.choice("after", parse_cursor).map_or(page, |cursor| page.behind(cursor))
    }
}

/// Reads a query by its table.
///
/// # Errors
/// Everything that is wrong with it.
pub fn decode(query: &str, table: &[Field]) -> Result<Values, Problem> {
    let mut errors = Errors::default();
    let mut checked = Map::new();
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        let Some(field) = table.iter().find(|field| field.name == name) else {
            errors.add(&shown(&name), "is not a known parameter");
            continue;
        };
        let value = field.kind.check_parameter(&text, field.name, &mut errors);
        if checked.insert(field.name.to_owned(), value).is_some() {
            errors.add(field.name, "is there twice");
        }
    }
    errors.into_result()?;
    Ok(Values(checked))
}

/// As much of a strange name as is repeated in the error about it.
fn shown(name: &str) -> String {
    name.chars().take(64).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(query: &str) -> Vec<String> {
        let table = [LIMIT, AFTER, FROM, Field::new("on", Kind::Bool, "")];
        let Err(problem) = decode(query, &table) else { return Vec::new() };
        let (_, _, body) = problem.into_parts();
        let errors = body["errors"].as_array().expect("a query's problem lists its fields");
        errors.iter().filter_map(|e| e["field"].as_str().map(str::to_owned)).collect()
    }

    #[test]
    fn strange_parameters_are_errors() {
        for (query, fields) in [
            ("", vec![]),
            ("limit=1&on=true&from=2026-03-09", vec![]),
            ("limit=0", vec!["limit"]),
            ("limit=501", vec!["limit"]),
            ("limit=", vec!["limit"]),
            ("limit=1&limit=1", vec!["limit"]),
            ("after=x&colour=red", vec!["after", "colour"]),
            ("on=yes", vec!["on"]),
            ("from=yesterday", vec!["from"]),
            ("from=2026-02-30", vec!["from"]),
            ("from=2026-03-09T09:00:00", vec!["from"]),
            ("from=2026-03-09%00", vec!["from"]),
        ] {
            assert_eq!(errors(query), fields, "{query}");
        }
    }

    #[test]
    fn a_day_has_the_bounds_of_its_zone() {
        let zone = TimeZone::get("America/New_York").expect("it is a zone");
        // Clocks go forward on this day: it has 23 hours.
        let day = When::parse("2026-03-08").expect("it is a date");
        assert_eq!(day.start(&zone).rfc3339(), "2026-03-08T05:00:00.000000Z");
        assert_eq!(day.end(&zone).rfc3339(), "2026-03-09T04:00:00.000000Z");
        let moment = When::parse("2026-03-08T01:00:00+01:00").expect("it is a time");
        assert_eq!(moment.start(&zone), moment.end(&zone));
        assert_eq!(moment.start(&zone).rfc3339(), "2026-03-08T00:00:00.000000Z");
    }
}
