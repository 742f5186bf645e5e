//! Counting calls into the sums by the day. A call is counted when it is finished, and once; it is taken out again if
//! somebody says that it was spam.

use std::collections::HashMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::time::Instant;

use super::{Kind, Sums};
use crate::calls::state::Status;
use crate::db::{self, Db, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CallId, CompanyId, TrackerId};
use crate::visits::attribute::Snapshot;

/// Calls that are counted in one transaction: a few milliseconds.
const AT_ONCE: usize = 100;
/// Others have the writer for so long between two of them.
const PAUSE: Duration = Duration::from_millis(5);
/// A run ends after this; the next one goes on.
const RUN_FOR: Duration = Duration::from_secs(5);
/// A name at most, in characters: sums are for reading.
const NAME_CHARS_MAX: usize = 200;

/// A row of the sums.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    company: CompanyId,
    kind: Kind,
    day: i64,
    tracker: TrackerId,
    channel: String,
    name: String,
}

/// A call that is to be looked at.
struct Due {
    id: CallId,
    company: CompanyId,
    zone: String,
    tracker: TrackerId,
    channel: String,
    keyword: String,
    landing_page: String,
    attribution: String,
    status: String,
    started_at: Micros,
    duration_s: i64,
    is_first_time: bool,
    spam: bool,
    counted_day: Option<i64>,
}

impl FromRow for Due {
    fn from_row(row: &mut Row<'_>) -> db::Result<Due> {
        Ok(Due {
            id: row.get()?,
            company: row.get()?,
            zone: row.get()?,
            tracker: row.get()?,
            channel: row.get()?,
            keyword: row.get()?,
            landing_page: row.get()?,
            attribution: row.get()?,
            status: row.get()?,
            started_at: row.get()?,
            duration_s: row.get()?,
            is_first_time: row.get()?,
            spam: row.get()?,
            counted_day: row.get()?,
        })
    }
}

/// Counts what is to be counted; gives how many calls were looked at.
///
/// # Errors
/// The database's; what was counted until then stays so.
pub async fn count_due(db: &Db) -> db::Result<usize> {
    let (mut all, until) = (0, Instant::now() + RUN_FOR);
    loop {
        let looked_at = db.write("reports.count", step).await?;
        all += looked_at;
        if looked_at < AT_ONCE || Instant::now() >= until {
            return Ok(all);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn step(tx: &mut Tx<'_>) -> db::Result<usize> {
    let due: Vec<Due> = tx.all(
        sql("select c.id, c.company_id, co.time_zone, c.tracker_id, c.source_channel, c.source_keyword, c.landing_page,
             c.attribution, c.status, c.started_at, c.call_duration, c.is_first_time, c.spam, c.counted_day
             from calls c join companies co on co.id = c.company_id
             where c.count_due and c.finished_at is not null order by c.id limit ? {{for_update_of_c}}")
        .bind(i64::try_from(AT_ONCE).unwrap_or(i64::MAX)),
    )?;
    let mut sums: HashMap<Key, Sums> = HashMap::new();
    for call in &due {
        let day = counts(call).then(|| call.counted_day.unwrap_or_else(|| day_of(call)));
        if day != call.counted_day {
            add(&mut sums, call, call.counted_day, -1);
            add(&mut sums, call, day, 1);
        }
        let counted = "update calls set count_due = false, counted_day = ?, source_name = ? where id = ?";
        tx.execute(sql(counted).bind(day).bind(source(call)).bind(call.id))?;
    }
    // In one order, so that two processes never wait for each other.
    let mut sums: Vec<(Key, Sums)> = sums.into_iter().collect();
    sums.sort_by(|a, b| a.0.cmp(&b.0));
    sums.iter().try_for_each(|(key, sums)| write(tx, key, sums))?;
    Ok(due.len())
}

/// Whether it belongs into the sums at all.
fn counts(call: &Due) -> bool {
    !call.spam && call.status != Status::Blocked.as_str()
}

/// The day in the company's zone on which it came in.
fn day_of(call: &Due) -> i64 {
    let zone = TimeZone::get(&call.zone).unwrap_or(TimeZone::UTC);
    super::day_number(call.started_at.timestamp().to_zoned(zone).date())
}

fn add(sums: &mut HashMap<Key, Sums>, call: &Due, day: Option<i64>, times: i64) {
    let Some(day) = day else { return };
    let is_answered = call.status == Status::Answered.as_str();
    let one = Sums {
        calls: times,
        answered: times * i64::from(is_answered),
        missed: times * i64::from(!is_answered),
        first_time: times * i64::from(call.is_first_time),
        duration_s: times * call.duration_s,
    };
    for (kind, name) in names(call) {
        let key = Key {
            company: call.company,
            kind,
            day,
            tracker: call.tracker,
            channel: call.channel.clone(),
            name,
        };
        sums.entry(key).or_default().add(one);
    }
}

/// Under which names it is counted.
fn names(call: &Due) -> [(Kind, String); 4] {
    let page = call.landing_page.split(['?', '#']).next().unwrap_or_default();
    [
        (Kind::All, String::new()),
        (Kind::Source, source(call)),
        (Kind::Keyword, cut(&call.keyword)),
        (Kind::LandingPage, cut(page)),
    ]
}

/// Who sent the visitor.
fn source(call: &Due) -> String {
    let touch = Snapshot::parse(&call.attribution).last_touch;
    cut(&touch.map(|touch| touch.source).unwrap_or_default())
}

fn cut(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

fn write(tx: &mut Tx<'_>, key: &Key, sums: &Sums) -> db::Result<()> {
    tx.execute(
        sql("insert into call_days as d (company_id, kind, day, tracker_id, channel, name, calls, answered, missed,
             first_time, duration_s) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             on conflict (company_id, kind, day, tracker_id, channel, name) do update set
             calls = d.calls + excluded.calls, answered = d.answered + excluded.answered,
             missed = d.missed + excluded.missed, first_time = d.first_time + excluded.first_time,
             duration_s = d.duration_s + excluded.duration_s")
        .bind(key.company)
        .bind(key.kind.as_str())
        .bind(key.day)
        .bind(key.tracker)
        .bind(&key.channel)
        .bind(&key.name)
        .bind(sums.calls)
        .bind(sums.answered)
        .bind(sums.missed)
        .bind(sums.first_time)
        .bind(sums.duration_s),
    )?;
    Ok(())
}
