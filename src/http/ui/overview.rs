//! The overview: what a company's calls came to in a period, beside the period before, and where they came from. All of it
//! is read from sums, and every number leads to its calls.

use askama::Template;
use axum::Router;
use axum::response::{Html, IntoResponse as _};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::chart::{Bars, Column};
use super::checklist::{self, Step};
use super::form::{Ask, Input, Shape};
use super::gate::{self, Answer, Request};
use super::view::{Frame, Moment, Section, clock, word};
use crate::calls::{self, Call};
use crate::companies::Scope;
use crate::db::{self, Tx};
use crate::http::AppState;
use crate::http::api::reports as api;
use crate::kernel::clock::Micros;
use crate::reports::{self, By, Line, Span, Sums};

/// Lines of each list.
const TOP: usize = 8;
/// Missed calls that are shown.
const MISSED_MAX: i64 = 10;
/// So old are the missed calls at most: later it is too late to call back.
const MISSED_DAYS: u64 = 14;
/// Columns of the chart at most; longer periods are cut into weeks or months.
const COLUMNS_MAX: i64 = 62;
/// Channels that have a colour of their own, as many as the style sheet has less one for the rest.
const COLOURS: [&str; 7] = ["c1", "c2", "c3", "c4", "c5", "c6", "c7"];

const FILTER: &[Ask] = &[
    Ask::new("from", "From"),
    Ask::new("to", "To"),
    Ask::new("source_channel", "Channel"),
    Ask::new("tracker_id", "Tracker’s id"),
];

pub(super) fn router() -> Router<AppState> {
    Router::new().route("/companies/{company_id}/overview", gate::page(show))
}

/// A period that one can choose.
struct Period {
    title: &'static str,
    url: String,
    is_current: bool,
}

/// A number that everybody looks at.
struct Tile {
    title: &'static str,
    value: String,
    /// Against the period before: "+12%"; "" if that had nothing.
    change: String,
    /// `up` is good, `down` isn't, "" is neither.
    mood: &'static str,
    url: String,
}

/// A list of names with their calls.
struct Table {
    title: &'static str,
    rows: Vec<Row>,
    /// What to read when there is nothing.
    empty: &'static str,
}

struct Row {
    name: String,
    url: String,
    calls: i64,
    answered: String,
    first_time: i64,
}

/// A channel with its colour.
struct Key {
    class: &'static str,
    name: String,
    calls: i64,
}

struct Missed {
    call: Call,
    started: Moment,
    status: String,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    company_id: i64,
    periods: Vec<Period>,
    inputs: Vec<Input>,
    /// "from" and "to" for people.
    span: String,
    tiles: Vec<Tile>,
    chart: Bars,
    keys: Vec<Key>,
    tables: Vec<Table>,
    missed: Vec<Missed>,
    /// What leads to the first call; None once there was one.
    steps: Option<Vec<Step>>,
}

/// All that is read.
struct Found {
    now: Sums,
    before: Sums,
    days: Vec<(Date, String, Sums)>,
    tops: Vec<(By, Vec<Line>)>,
    missed: Vec<Call>,
}

async fn show(request: Request) -> Answer {
    let filtered = request.filter("get_report", FILTER);
    let (company, now) = (request.company(), request.ctx.clock.now());
    let mut inputs = filtered.inputs;
    // What can't be meant is shown beside its input, and the usual period below.
    let span = filtered.values.as_ref().map(|values| api::span(values, company, now));
    let span = match span {
        Some(Ok(span)) => span,
        Some(Err(problem)) => {
            let wrong = problem.errors().first().map(|error| error.message.clone()).unwrap_or_default();
            if let Some(input) = inputs.first_mut() {
                input.error = wrong;
            }
            api::usual_span(company, now)
        }
        None => api::usual_span(company, now),
    };
    let (scope, asked) = (request.scope(), span.clone());
    let since = now.before(std::time::Duration::from_secs(MISSED_DAYS * 24 * 3600));
    let found = request.ctx.db.read("overview", move |tx| find(tx, scope, &asked, since)).await?;
    let links = Links { company: company.id.0, span: &span };
    let (keys, chart) = chart(&found.days, &span, &links);
    let steps = checklist::of(&request).await?;
    let page = OverviewPage {
        steps,
        company_id: company.id.0,
        periods: periods(&links, now, &request.zone()),
        inputs,
        span: format!("{} to {}, {}", span.first, span.last, company.time_zone),
        tiles: tiles(found.now, found.before, &links),
        chart,
        keys,
        tables: found.tops.into_iter().map(|(by, lines)| table(by, lines, &links)).collect(),
        missed: found.missed.into_iter().map(|call| missed(call, &request.zone())).collect(),
        frame: request.frame("Overview", Section::Overview),
    };
    Ok(Html(page.render()?).into_response())
}

fn find(tx: &mut Tx<'_>, scope: Scope, span: &Span, since: Micros) -> db::Result<Found> {
    let mut tops = Vec::new();
    for by in [By::Source, By::Keyword, By::LandingPage, By::Tracker] {
        tops.push((by, reports::top(tx, scope, by, span, TOP)?));
    }
    Ok(Found {
        now: reports::total(tx, scope, span)?,
        before: reports::total(tx, scope, &span.before())?,
        days: reports::days(tx, scope, span)?,
        tops,
        missed: calls::to_return(tx, scope, since, MISSED_MAX)?,
    })
}

/// URLs of a company's pages about the same calls.
struct Links<'a> {
    company: i64,
    span: &'a Span,
}

impl Links<'_> {
    fn query(&self, (first, last): (Date, Date), more: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("from", &first.to_string()).append_pair("to", &last.to_string());
        if let Some(tracker) = self.span.tracker {
            query.append_pair("tracker_id", &tracker.to_string());
        }
        if let Some(channel) = &self.span.channel {
            query.append_pair("source_channel", channel);
        }
        query.extend_pairs(more);
        query.finish()
    }

    fn overview(&self, days: (Date, Date)) -> String {
        format!("/companies/{}/overview?{}", self.company, self.query(days, &[]))
    }

    /// Calls of the span, or of a part of its days, that are also like `more`.
    fn calls(&self, days: Option<(Date, Date)>, more: &[(&str, &str)]) -> String {
        let days = days.unwrap_or((self.span.first, self.span.last));
        format!("/companies/{}/calls?{}", self.company, self.query(days, more))
    }
}

fn periods(links: &Links<'_>, now: Micros, zone: &TimeZone) -> Vec<Period> {
    let today = now.timestamp().to_zoned(zone.clone()).date();
    let period = |(title, days): (&'static str, i64)| {
        let first = today.saturating_sub(jiff::Span::new().days(days - 1));
        let is_current = (links.span.first, links.span.last) == (first, today);
        Period { title, url: links.overview((first, today)), is_current }
    };
    [("Today", 1), ("7 days", 7), ("30 days", 30), ("90 days", 90), ("A year", 365)].map(period).into()
}

fn tiles(now: Sums, before: Sums, links: &Links<'_>) -> Vec<Tile> {
    let change = |now: f64, before: f64| match before {
        0.0 => String::new(),
        before => format!("{:+.0}%", (now / before - 1.0) * 100.0),
    };
    let mood = |now: f64, before: f64| match now.partial_cmp(&before) {
        Some(std::cmp::Ordering::Greater) => "up",
        Some(std::cmp::Ordering::Less) if before > 0.0 => "down",
        _ => "",
    };
    let count = |title, now: i64, before: i64, more: &[(&str, &str)]| Tile {
        title,
        value: now.to_string(),
        change: change(now as f64, before as f64),
        mood: mood(now as f64, before as f64),
        url: links.calls(None, more),
    };
    let (rate, rate_before) = (now.answered_rate().unwrap_or(0.0), before.answered_rate().unwrap_or(0.0));
    let points = (rate - rate_before) * 100.0;
    let mean = |sums: Sums| sums.duration_mean_s().unwrap_or(0);
    vec![
        count("Calls", now.calls, before.calls, &[]),
        Tile {
            title: "Answered",
            value: now.answered_rate().map_or("–".to_owned(), |rate| format!("{:.0}%", rate * 100.0)),
            change: before.answered_rate().map_or(String::new(), |_| format!("{points:+.0} points")),
            mood: mood(rate, rate_before),
            url: links.calls(None, &[("status", "answered")]),
        },
        count("First-time callers", now.first_time, before.first_time, &[("is_first_time", "true")]),
        Tile {
            title: "Average duration",
            value: now.duration_mean_s().map_or("–".to_owned(), |s| clock(u32::try_from(s).unwrap_or(0))),
            change: change(mean(now) as f64, mean(before) as f64),
            mood: "",
            url: links.calls(None, &[]),
        },
    ]
}

/// Calls over time, stacked by channel: those with the most calls have a colour, the rest share one.
fn chart(days: &[(Date, String, Sums)], span: &Span, links: &Links<'_>) -> (Vec<Key>, Bars) {
    let mut totals: Vec<(String, i64)> = Vec::new();
    for (_, channel, sums) in days {
        match totals.iter_mut().find(|(name, _)| name == channel) {
            Some((_, calls)) => *calls += sums.calls,
            None => totals.push((channel.clone(), sums.calls)),
        }
    }
    totals.retain(|(_, calls)| *calls > 0);
    totals.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let own = totals.len().min(COLOURS.len() - usize::from(totals.len() > COLOURS.len()));
    let colour = |channel: &str| totals[..own].iter().position(|(name, _)| name == channel).unwrap_or(own);
    let slots = slots(span);
    let mut columns: Vec<Vec<i64>> = vec![vec![0; COLOURS.len()]; slots.len()];
    for (day, channel, sums) in days {
        if let Some(slot) = slots.iter().position(|(first, last)| (first..=last).contains(&day)) {
            columns[slot][colour(channel)] += sums.calls;
        }
    }
    let every = slots.len().div_ceil(10);
    let column = |(n, (parts, (first, last))): (usize, (Vec<i64>, &(Date, Date)))| Column {
        title: title(*first, *last, &parts, &totals, own),
        url: links.calls(Some((*first, *last)), &[]),
        tick: if n % every == 0 { first.strftime("%-d %b").to_string() } else { String::new() },
        parts,
    };
    let columns = columns.into_iter().zip(&slots).enumerate().map(column).collect();
    let mut keys: Vec<Key> = totals[..own]
        .iter()
        .zip(COLOURS)
        .map(|((name, calls), class)| Key { class, name: word(name), calls: *calls })
        .collect();
    if own < totals.len() {
        let rest = totals[own..].iter().map(|(_, calls)| calls).sum();
        keys.push(Key { class: COLOURS[own], name: "others".to_owned(), calls: rest });
    }
    (keys, Bars::large(columns, &COLOURS))
}

fn title(first: Date, last: Date, parts: &[i64], totals: &[(String, i64)], own: usize) -> String {
    let name = |n: usize| if n < own { word(&totals[n].0) } else { "others".to_owned() };
    let shares = parts.iter().enumerate().filter(|(_, calls)| **calls > 0);
    let shares: Vec<String> = shares.map(|(n, calls)| format!("{} {calls}", name(n))).collect();
    let days = if first == last { first.to_string() } else { format!("{first} to {last}") };
    format!("{days}: {} calls ({})", parts.iter().sum::<i64>(), shares.join(", "))
}

/// The days of each column.
fn slots(span: &Span) -> Vec<(Date, Date)> {
    let length = match span.days() {
        days if days <= COLUMNS_MAX => 1,
        days if days <= 7 * COLUMNS_MAX => 7,
        days => days.div_euclid(COLUMNS_MAX) + 1,
    };
    let (mut slots, mut first) = (Vec::new(), span.first);
    while first <= span.last {
        let last = first.saturating_add(jiff::Span::new().days(length - 1)).min(span.last);
        slots.push((first, last));
        let Ok(next) = last.tomorrow() else { break };
        first = next;
    }
    slots
}

fn table(by: By, lines: Vec<Line>, links: &Links<'_>) -> Table {
    let (title, empty) = match by {
        By::Channel => ("Channels", "No calls."),
        By::Source => ("Top sources", "No calls with a source."),
        By::Keyword => ("Top keywords", "No calls with a keyword."),
        By::LandingPage => ("Top landing pages", "No calls that began on the web site."),
        By::Tracker => ("Top trackers", "No calls."),
    };
    // Calls of which it isn't known stand in no list of names.
    let known = lines.into_iter().filter(|line| !line.name.is_empty());
    let row = |line: Line| Row {
        url: match (by, line.tracker) {
            (_, Some(tracker)) => links.calls(None, &[("tracker_id", &tracker.to_string())]),
            (By::Keyword, None) => links.calls(None, &[("source_keyword", &line.name)]),
            (By::LandingPage, None) => links.calls(None, &[("landing_page", &line.name)]),
            (By::Source, None) => links.calls(None, &[("source", &line.name)]),
            (By::Channel | By::Tracker, None) => links.calls(None, &[("source_channel", &line.name)]),
        },
        calls: line.sums.calls,
        answered: line.sums.answered_rate().map_or(String::new(), |rate| format!("{:.0}%", rate * 100.0)),
        first_time: line.sums.first_time,
        name: line.name,
    };
    Table { title, rows: known.map(row).collect(), empty }
}

fn missed(call: Call, zone: &TimeZone) -> Missed {
    Missed { started: Moment::new(call.started_at, zone), status: word(call.status.as_str()), call }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn span(first: Date, last: Date) -> Span {
        Span { first, last, tracker: None, channel: None }
    }

    #[test]
    fn the_columns_cover_every_day_once() {
        for (days, columns) in [(1, 1), (30, 30), (62, 62), (63, 9), (365, 53), (366, 53), (3_660, 61)] {
            let first = date(2025, 1, 1);
            let last = first.saturating_add(jiff::Span::new().days(days - 1));
            let slots = slots(&span(first, last));
            assert_eq!(slots.len(), columns, "{days}");
            assert_eq!((slots[0].0, slots[columns - 1].1), (first, last));
            assert!(slots.windows(2).all(|pair| pair[0].1.tomorrow().unwrap() == pair[1].0));
        }
    }

    #[test]
    fn channels_without_a_colour_of_their_own_share_one() {
        let day = date(2026, 3, 9);
        let sums = |calls| Sums { calls, ..Sums::default() };
        let days: Vec<_> = (1..=9).map(|n| (day, format!("channel{n}"), sums(n))).collect();
        let one = span(day, day);
        let (keys, bars) = chart(&days, &one, &Links { company: 1, span: &one });
        let shown: Vec<_> = keys.iter().map(|key| (key.name.as_str(), key.calls)).collect();
        assert_eq!(
            shown,
            [
                ("channel9", 9),
                ("channel8", 8),
                ("channel7", 7),
                ("channel6", 6),
                ("channel5", 5),
                ("channel4", 4),
                ("others", 6)
            ]
        );
        assert_eq!(bars.bars[0].parts.len(), 7);
        assert!(
            bars.bars[0].title.starts_with("2026-03-09: 45 calls (channel9 9, "),
            "{}",
            bars.bars[0].title
        );
    }
}
