//! `/companies/{c}/reports/{name}`.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::Request;
use super::fields::{Field, Kind, Rule, Values};
use super::reply::Reply;
use super::route::{Answer, Route};
use crate::companies::Company;
use crate::db::{self, Tx};
use crate::http::csv;
use crate::http::problem::Problem;
use crate::kernel::clock::Micros;
use crate::kernel::id::TrackerId;
use crate::reports::{self, By, Line, Span};
use crate::visits::source::Channel;

/// Days that a report is about unless it says so.
const DAYS_DEFAULT: i64 = 30;
/// Days that it is about at most: ten years.
const DAYS_MAX: i64 = 3_660;
/// Lines that it has at most.
const LINES_MAX: usize = 1_000;
const LINES_DEFAULT: usize = 100;

static DATE: Rule = Rule {
    max: 10,
    format: "date",
    example: "2026-03-09",
    check: |text| text.parse::<Date>().map(drop).map_err(|_| "must be a date such as 2026-03-09".to_owned()),
};

pub(super) const PARAMS: &[Field] = &[
    Field::new(
        "from",
        Kind::Rule(&DATE),
        "The first day, in the company's time zone; 29 days before the last if it isn't given.",
    ),
    Field::new("to", Kind::Rule(&DATE), "The last day; today if it isn't given."),
    Field::new("tracker_id", Kind::Integer { min: 1, max: i64::MAX }, ""),
    Field::new("source_channel", Kind::Choice(|| Channel::ALL.map(Channel::as_str).to_vec()), ""),
    Field::new(
        "limit",
        Kind::Integer { min: 1, max: LINES_MAX as i64 },
        "Lines at most; 100 if it isn't given.",
    ),
    Field::new(
        "format",
        Kind::Choice(|| vec!["json", "csv"]),
        "`csv` answers with a table instead of an object.",
    ),
];

pub(super) const ROUTES: &[Route] =
    &[Route::get("/companies/{company_id}/reports/{report_name}", "get_report", |r| Box::pin(get(r)))
        .named("Reports", "Get a report on calls")
        .about(
            "`summary` (one line), `days` (a line for each day and channel, the name is the day), `channels`, `sources`, \
             `keywords`, `landing_pages` or `trackers`, those with the most calls first. Finished calls are in it a few \
             seconds later; spam and blocked calls aren't.",
        )
        .params(PARAMS)
        .answers(Answer::Table("Report"))];

/// All calls of the days that a report is about unless it says so.
pub(in crate::http) fn usual_span(company: &Company, now: Micros) -> Span {
    let last = today(company, now);
    Span { first: first_day(last), last, tracker: None, channel: None }
}

/// In the company's time zone.
fn today(company: &Company, now: Micros) -> Date {
    // A company's zone was checked when it was set.
    let zone = TimeZone::get(&company.time_zone).unwrap_or(TimeZone::UTC);
    now.timestamp().to_zoned(zone).date()
}

fn first_day(last: Date) -> Date {
    last.saturating_sub(jiff::Span::new().days(DAYS_DEFAULT - 1))
}

/// Which days and calls a query asks for.
///
/// # Errors
/// The days are the wrong way round, or too many.
pub(in crate::http) fn span(query: &Values, company: &Company, now: Micros) -> Result<Span, Problem> {
    let date = |name| query.choice(name, |text| text.parse::<Date>().ok());
    let last = date("to").unwrap_or_else(|| today(company, now));
    let first = date("from").unwrap_or_else(|| first_day(last));
    let tracker = query.get("tracker_id").map(TrackerId);
    let span = Span { first, last, tracker, channel: query.get("source_channel") };
    if first > last {
        return Err(Problem::field("from", "must not be after `to`"));
    }
    if span.days() > DAYS_MAX {
        return Err(Problem::field("from", format!("must be {DAYS_MAX} days before `to` at most")));
    }
    Ok(span)
}

async fn get(request: Request) -> Result<Reply, Problem> {
    let span = span(&request.query, request.company(), request.ctx.clock.now())?;
    let limit = request.query.get("limit").unwrap_or(LINES_DEFAULT);
    let (scope, name) = (request.scope(), request.path("report_name").to_owned());
    let asked = span.clone();
    let read = move |tx: &mut Tx<'_>| lines(tx, scope, &name, &asked, limit);
    let lines = request.ctx.db.read("reports.get", read).await?.ok_or_else(Problem::not_found)?;
    if request.query.get::<String>("format").as_deref() == Some("csv") {
        return Ok(Reply::csv(table(&lines)));
    }
    let data: Vec<Json> = lines.iter().map(Line::to_json).collect();
    Ok(Reply::ok(&json!({ "from": span.first.to_string(), "to": span.last.to_string(), "data": data })))
}

/// None: there is no such report.
fn lines(
    tx: &mut Tx<'_>,
    scope: crate::companies::Scope,
    name: &str,
    span: &Span,
    limit: usize,
) -> db::Result<Option<Vec<Line>>> {
    let by = match name {
        "summary" => {
            let sums = reports::total(tx, scope, span)?;
            return Ok(Some(vec![Line { name: String::new(), tracker: None, sums }]));
        }
        "days" => {
            let days = reports::days(tx, scope, span)?.into_iter();
            let line =
                |(date, channel, sums)| Line { name: format!("{date} {channel}"), tracker: None, sums };
            return Ok(Some(days.map(line).collect()));
        }
        "channels" => By::Channel,
        "sources" => By::Source,
        "keywords" => By::Keyword,
        "landing_pages" => By::LandingPage,
        "trackers" => By::Tracker,
        _ => return Ok(None),
    };
    reports::top(tx, scope, by, span, limit).map(Some)
}

fn table(lines: &[Line]) -> String {
    let mut text = String::new();
    csv::push_line(
        &mut text,
        ["name", "tracker_id", "calls", "answered", "missed", "first_time", "duration_s"],
    );
    for Line { name, tracker, sums } in lines {
        let tracker = tracker.map(|id| id.to_string()).unwrap_or_default();
        let numbers = [sums.calls, sums.answered, sums.missed, sums.first_time, sums.duration_s];
        let numbers = numbers.map(|number| number.to_string());
        let cells = [name.as_str(), &tracker].into_iter().chain(numbers.iter().map(String::as_str));
        csv::push_line(&mut text, cells);
    }
    text
}
