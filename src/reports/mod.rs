//! Reports: how many calls there were, from where, and what became of them, by the day of the company's time zone. They
//! are read from sums ([`count`]) and not from the calls, so a year takes as long as it has days and names. The sums follow
//! a few seconds behind: a call is in them once it is finished. Spam and blocked calls aren't in them. Days stay those of
//! the zone that the company had when they were counted.

mod count;

pub use self::count::count_due;

use jiff::civil::Date;
use serde_json::{Value as Json, json};

use crate::companies::Scope;
use crate::db::{self, FromRow, Row, Sql, Tx, sql};
use crate::kernel::id::TrackerId;

/// What calls are summed up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    All,
    Source,
    Keyword,
    LandingPage,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::All => "all",
            Kind::Source => "source",
            Kind::Keyword => "keyword",
            Kind::LandingPage => "landing_page",
        }
    }
}

/// What a number of calls came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub calls: i64,
    pub answered: i64,
    /// All others: nobody reached, a voicemail, the caller gone.
    pub missed: i64,
    pub first_time: i64,
    pub duration_s: i64,
}

impl FromRow for Sums {
    fn from_row(row: &mut Row<'_>) -> db::Result<Sums> {
        Ok(Sums {
            calls: row.get()?,
            answered: row.get()?,
            missed: row.get()?,
            first_time: row.get()?,
            duration_s: row.get()?,
        })
    }
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.calls += other.calls;
        self.answered += other.answered;
        self.missed += other.missed;
        self.first_time += other.first_time;
        self.duration_s += other.duration_s;
    }

    /// Answered calls of all, 0 to 1; None if there were none.
    pub fn answered_rate(&self) -> Option<f64> {
        (self.calls > 0).then(|| self.answered as f64 / self.calls as f64)
    }

    /// Seconds that a call lasted on average; None if there were none.
    pub fn duration_mean_s(&self) -> Option<i64> {
        (self.calls > 0).then(|| (self.duration_s + self.calls / 2) / self.calls)
    }
}

/// Which days and calls a report is about.
#[derive(Clone, Debug)]
pub struct Span {
    pub first: Date,
    /// Is part of it.
    pub last: Date,
    pub tracker: Option<TrackerId>,
    pub channel: Option<String>,
}

impl Span {
    /// How many days it has.
    pub fn days(&self) -> i64 {
        day_number(self.last) - day_number(self.first) + 1
    }

    /// As many days right before.
    pub fn before(&self) -> Span {
        let first = day_number(self.first);
        Span { first: date_of(first - self.days()), last: date_of(first - 1), ..self.clone() }
    }
}

/// Days since 1970.
fn day_number(date: Date) -> i64 {
    i64::from((date - EPOCH).get_days())
}

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// The day of a number; the last one that there is for numbers that are too large.
fn date_of(number: i64) -> Date {
    EPOCH.checked_add(jiff::Span::new().try_days(number).unwrap_or_default()).unwrap_or(Date::MAX)
}

/// A line of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What the calls have in common; "" for calls of which that isn't known.
    pub name: String,
    pub tracker: Option<TrackerId>,
    pub sums: Sums,
}

impl FromRow for Line {
    fn from_row(row: &mut Row<'_>) -> db::Result<Line> {
        Ok(Line { name: row.get()?, tracker: row.get()?, sums: Sums::from_row(row)? })
    }
}

impl Line {
    /// The object of the API.
    pub fn to_json(&self) -> Json {
        let Sums { calls, answered, missed, first_time, duration_s } = self.sums;
        json!({
            "name": self.name,
            "tracker_id": self.tracker,
            "calls": calls,
            "answered": answered,
            "missed": missed,
            "first_time": first_time,
            "duration_s": duration_s,
        })
    }
}

const SUMS: &str = "cast(coalesce(sum(d.calls), 0) as bigint), cast(coalesce(sum(d.answered), 0) as bigint),
    cast(coalesce(sum(d.missed), 0) as bigint), cast(coalesce(sum(d.first_time), 0) as bigint),
    cast(coalesce(sum(d.duration_s), 0) as bigint)";

/// `select` up to the conditions that the span makes.
fn select(what: &str, more: &str, scope: Scope, kind: Kind, span: &Span) -> Sql {
    let mut statement = sql(format!(
        "select {what}{SUMS} from call_days d {more} where d.company_id = ? and d.kind = ? and d.day >= ? and d.day <= ?"
    ))
    .bind(scope.company())
    .bind(kind.as_str())
    .bind(day_number(span.first))
    .bind(day_number(span.last));
    if let Some(tracker) = span.tracker {
        statement = statement.and(" and d.tracker_id = ?").bind(tracker);
    }
    if let Some(channel) = &span.channel {
        statement = statement.and(" and d.channel = ?").bind(channel);
    }
    statement
}

/// All calls of the span together.
///
/// # Errors
/// The database's.
pub fn total(tx: &mut Tx<'_>, scope: Scope, span: &Span) -> db::Result<Sums> {
    tx.one(select("", "", scope, Kind::All, span))
}

/// Calls by the day and the channel, in the order of days; days without calls are left out.
///
/// # Errors
/// The database's.
pub fn days(tx: &mut Tx<'_>, scope: Scope, span: &Span) -> db::Result<Vec<(Date, String, Sums)>> {
    let rows: Vec<Day> =
        tx.all(select("d.day, d.channel, ", "", scope, Kind::All, span).and(" group by 1, 2 order by 1, 2"))?;
    Ok(rows.into_iter().map(|Day(day, channel, sums)| (date_of(day), channel, sums)).collect())
}

struct Day(i64, String, Sums);

impl FromRow for Day {
    fn from_row(row: &mut Row<'_>) -> db::Result<Day> {
        Ok(Day(row.get()?, row.get()?, Sums::from_row(row)?))
    }
}

/// What lines of a report are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Channel,
    Source,
    Keyword,
    LandingPage,
    Tracker,
}

/// The names with the most calls; of those with equally many the first in the alphabet.
///
/// # Errors
/// The database's.
pub fn top(tx: &mut Tx<'_>, scope: Scope, by: By, span: &Span, limit: usize) -> db::Result<Vec<Line>> {
    let join = "join trackers t on t.id = d.tracker_id";
    let (kind, what, join, groups) = match by {
        By::Channel => (Kind::All, "d.channel, null, ", "", "d.channel"),
        By::Source => (Kind::Source, "d.name, null, ", "", "d.name"),
        By::Keyword => (Kind::Keyword, "d.name, null, ", "", "d.name"),
        By::LandingPage => (Kind::LandingPage, "d.name, null, ", "", "d.name"),
        By::Tracker => (Kind::All, "t.name, t.id, ", join, "t.id, t.name"),
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let order = format!(" group by {groups} having sum(d.calls) > 0 order by sum(d.calls) desc, 1 limit ?");
    tx.all(select(what, join, scope, kind, span).and(&order).bind(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_before_is_as_long_and_touches() {
        let span = Span {
            first: jiff::civil::date(2026, 3, 1),
            last: jiff::civil::date(2026, 3, 31),
            tracker: None,
            channel: None,
        };
        let before = span.before();
        assert_eq!((span.days(), before.days()), (31, 31));
        assert_eq!(
            (before.first.to_string(), before.last.to_string()),
            ("2026-01-29".to_owned(), "2026-02-28".to_owned())
        );
        assert_eq!(date_of(day_number(span.first)), span.first);
    }

    #[test]
    fn means_are_rounded_and_never_of_nothing() {
        let sums = Sums { calls: 3, answered: 2, missed: 1, first_time: 0, duration_s: 100 };
        assert_eq!((sums.duration_mean_s(), sums.answered_rate()), (Some(33), Some(2.0 / 3.0)));
        assert_eq!((Sums::default().duration_mean_s(), Sums::default().answered_rate()), (None, None));
    }
}
