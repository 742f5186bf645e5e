//! Usage: what a company used in a billing period, counted once when the period is over and never changed.
//!
//! What counts, and for which period:
//! - **Minutes**: each finished call, rounded up to whole minutes, in the period in which it ended; of the kind
//!   of the number that was dialled. A blocked call lasts 0 s and counts nothing.
//! - **Numbers**: each number that was a tracking number at any moment of the period, once, even if it was given
//!   back and taken again.
//! - **Messages**: those that came in, and those that a carrier accepted, in the period.
//!
//! A company's first period begins on the day that it was created on. Each next one begins at the very moment
//! where the last ended, which is stored: so periods touch even if the time zone or the billing day is changed.

mod period;

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use self::period::Period;
use crate::companies::Scope;
use crate::db::{self, Db, FromRow, Row, Tx, sql};
use crate::events::{self, EventType};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CompanyId, UsageId};
use crate::kernel::page::{Listed, Page};
use crate::kernel::phone::NumberType;

/// How long after its end a period is counted at the earliest: a call is finished within seconds of its end.
/// After an outage it may take longer, so a period also waits for the calls that ended in it.
pub const SETTLE: Duration = Duration::from_secs(5 * 60);
/// Periods that aren't counted for good are shown at most.
const RUNNING_MAX: usize = 12;
/// Companies that are looked at in one read.
const COMPANIES_AT_ONCE: i64 = 500;

/// The usage of one period as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub id: UsageId,
    pub company_id: CompanyId,
    pub company_name: String,
    pub start_date: String,
    /// Not part of the period.
    pub end_date: String,
    pub counts: Counts,
    /// When it was counted.
    pub created_at: Micros,
}

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub local_numbers: i64,
    pub tollfree_numbers: i64,
    pub local_minutes: i64,
    pub tollfree_minutes: i64,
    pub sms_messages: i64,
}

const COLUMNS: &str = "u.id, u.company_id, c.name, u.start_date, u.end_date, u.local_numbers,
    u.tollfree_numbers, u.local_minutes, u.tollfree_minutes, u.sms_messages, u.created_at
    from usage_periods u join companies c on c.id = u.company_id";

impl FromRow for Usage {
    fn from_row(row: &mut Row<'_>) -> db::Result<Usage> {
        Ok(Usage {
            id: row.get()?,
            company_id: row.get()?,
            company_name: row.get()?,
            start_date: row.get()?,
            end_date: row.get()?,
            counts: Counts {
                local_numbers: row.get()?,
                tollfree_numbers: row.get()?,
                local_minutes: row.get()?,
                tollfree_minutes: row.get()?,
                sms_messages: row.get()?,
            },
            created_at: row.get()?,
        })
    }
}

impl Usage {
    /// The object of the API and of `usage.created`: the contract's keys and no more.
    pub fn to_json(&self) -> Json {
        json!({
            "id": self.id,
            "company_id": self.company_id,
            "company_name": self.company_name,
            "start_date": self.start_date,
            "end_date": self.end_date,
            "local_numbers": self.counts.local_numbers,
            "tollfree_numbers": self.counts.tollfree_numbers,
            "local_minutes": self.counts.local_minutes,
            "tollfree_minutes": self.counts.tollfree_minutes,
            "sms_messages": self.counts.sms_messages,
            "timestamp": self.created_at.rfc3339(),
        })
    }
}

/// Newest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, page: Page) -> db::Result<Listed<Usage>> {
    let rows = db
        .read("usage.list", move |tx| {
            let statement =
                format!("select {COLUMNS} where u.company_id = ? and u.id < ? order by u.id desc limit ?");
            tx.all(
                sql(statement)
                    .bind(scope.company())
                    .bind(page.after.unwrap_or(i64::MAX))
                    .bind(page.fetch_limit()),
            )
        })
        .await?;
    Ok(Listed::new(rows, page, |usage: &Usage| usage.id.0))
}

/// A period that isn't counted for good yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub start_date: String,
    /// Not part of the period.
    pub end_date: String,
    /// It is over, and is counted for good in a moment.
    pub is_over: bool,
    /// Up to now.
    pub counts: Counts,
}

/// The period that runs, and before it those that are over and not yet counted, newest first. Nothing is written.
///
/// # Errors
/// The database's.
pub fn running(tx: &mut Tx<'_>, scope: Scope) -> db::Result<Vec<Running>> {
    let (company, now) = (scope.company(), tx.now());
    let statement = format!("select {LEDGER} where c.id = ? and c.deleted_at is null");
    let Some(mut ledger) = tx.find::<Ledger>(sql(statement).bind(company))? else { return Ok(Vec::new()) };
    let mut open = Vec::new();
    while open.len() < RUNNING_MAX
        && let Some(next) = ledger.next()
    {
        let is_over = next.ended_at <= now;
        open.push(Running {
            start_date: next.period.start.to_string(),
            end_date: next.period.end.to_string(),
            is_over,
            counts: count(tx, company, next.started_at, next.ended_at)?,
        });
        if !is_over {
            break;
        }
        ledger.counted_until = Some((next.period.end.to_string(), next.ended_at));
    }
    open.reverse();
    Ok(open)
}

/// Counts every period of every company that ended [`SETTLE`] or longer before `as_of`, oldest first, and tells
/// of each, once. Gives how many. A job; `as_of` is the present but where the demo lets months pass.
///
/// # Errors
/// The database's.
pub async fn close_due(db: &Db, as_of: Micros) -> db::Result<usize> {
    let mut closed = 0;
    let mut seen = CompanyId(0);
    loop {
        let ledgers = db
            .read("usage.due", move |tx| {
                let statement = format!("select {LEDGER} where c.id > ? and c.deleted_at is null");
                tx.all::<Ledger>(
                    sql(statement).and(" order by c.id limit ?").bind(seen).bind(COMPANIES_AT_ONCE),
                )
            })
            .await?;
        let Some(last) = ledgers.last() else { return Ok(closed) };
        seen = last.company_id;
        for due in ledgers.iter().filter(|ledger| ledger.due(as_of).is_some()) {
            let company = due.company_id;
            while let Closing::Closed { new } =
                db.write("usage.close", move |tx| close_next(tx, company, as_of)).await?
            {
                closed += usize::from(new);
            }
        }
    }
}

/// What became of a company's next period.
enum Closing {
    /// It is counted; `new` unless someone else did it at the same time.
    Closed { new: bool },
    /// It isn't over yet, or a call that ended in it isn't finished.
    NotDue,
}

fn close_next(tx: &mut Tx<'_>, company: CompanyId, as_of: Micros) -> db::Result<Closing> {
    let statement = format!("select {LEDGER} where c.id = ? and c.deleted_at is null");
    let ledger: Option<Ledger> = tx.find(sql(statement).bind(company))?;
    let Some(due) = ledger.and_then(|ledger| ledger.due(as_of)) else { return Ok(Closing::NotDue) };
    if has_unfinished_calls(tx, company, &due)? {
        return Ok(Closing::NotDue);
    }
    let counts = count(tx, company, due.started_at, due.ended_at)?;
    let made: Option<(UsageId,)> = tx.find(
        sql("insert into usage_periods (company_id, start_date, end_date, started_at, ended_at, local_numbers,
             tollfree_numbers, local_minutes, tollfree_minutes, sms_messages, created_at)
             values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             on conflict (company_id, start_date) do nothing returning id")
        .bind(company)
        .bind(due.period.start.to_string())
        .bind(due.period.end.to_string())
        .bind(due.started_at)
        .bind(due.ended_at)
        .bind(counts.local_numbers)
        .bind(counts.tollfree_numbers)
        .bind(counts.local_minutes)
        .bind(counts.tollfree_minutes)
        .bind(counts.sms_messages)
        .bind(tx.now()),
    )?;
    let Some((id,)) = made else { return Ok(Closing::Closed { new: false }) };
    let usage: Usage = tx.one(sql(format!("select {COLUMNS} where u.id = ?")).bind(id))?;
    events::append(tx, Scope::of(company), EventType::UsageCreated, &usage.to_json())?;
    Ok(Closing::Closed { new: true })
}

fn has_unfinished_calls(tx: &mut Tx<'_>, company: CompanyId, due: &Due) -> db::Result<bool> {
    let unfinished = "select 1 from calls where company_id = ? and ended_at >= ? and ended_at < ?
                      and finished_at is null limit 1";
    let unfinished = sql(unfinished).bind(company).bind(due.started_at).bind(due.ended_at);
    Ok(tx.find::<(i64,)>(unfinished)?.is_some())
}

/// How far a company's usage is counted, and what decides where the next period ends.
struct Ledger {
    company_id: CompanyId,
    time_zone: String,
    billing_day: i64,
    created_at: Micros,
    /// Date and moment of the last period's end.
    counted_until: Option<(String, Micros)>,
}

const LEDGER: &str = "c.id, c.time_zone, c.billing_day, c.created_at, u.end_date, u.ended_at
    from companies c left join usage_periods u on u.company_id = c.id and u.start_date =
        (select max(last.start_date) from usage_periods last where last.company_id = c.id)";

impl FromRow for Ledger {
    fn from_row(row: &mut Row<'_>) -> db::Result<Ledger> {
        let (company_id, time_zone) = (row.get()?, row.get()?);
        let (billing_day, created_at) = (row.get()?, row.get()?);
        let counted_until = row.get::<Option<String>>()?.zip(row.get()?);
        Ok(Ledger { company_id, time_zone, billing_day, created_at, counted_until })
    }
}

/// A period that isn't counted.
struct Due {
    period: Period,
    started_at: Micros,
    ended_at: Micros,
}

impl Ledger {
    /// The next period, if it ended long enough before `as_of`.
    fn due(&self, as_of: Micros) -> Option<Due> {
        self.next().filter(|next| next.ended_at.after(SETTLE) <= as_of)
    }

    /// The next period.
    fn next(&self) -> Option<Due> {
        // Zones were checked when they were set; one that has gone since counts as UTC rather than never.
        let zone = TimeZone::get(&self.time_zone).unwrap_or(TimeZone::UTC);
        let (start, started_at) = match &self.counted_until {
            Some((date, at)) => (date.parse::<Date>().ok()?, *at),
            None => {
                let first_day = period::date_of(self.created_at, &zone);
                (first_day, period::beginning_of(first_day, &zone)?)
            }
        };
        let period = Period::from(start, self.billing_day)?;
        // A zone that was moved east since may let the day begin before the last period ended.
        let ended_at = period::beginning_of(period.end, &zone)?.max(started_at);
        Some(Due { period, started_at, ended_at })
    }
}

fn count(tx: &mut Tx<'_>, company: CompanyId, from: Micros, until: Micros) -> db::Result<Counts> {
    let mut counts = Counts::default();
    let numbers = sql("select number_type, count(distinct number) from tracking_numbers
                       where company_id = ? and created_at < ? and (released_at is null or released_at > ?)
                       group by number_type");
    for (kind, number) in tx.all::<(String, i64)>(numbers.bind(company).bind(until).bind(from))? {
        match kind_of(&kind)? {
            NumberType::Local => counts.local_numbers = number,
            NumberType::Tollfree => counts.tollfree_numbers = number,
        }
    }
    let minutes = sql("select n.number_type, cast(sum((c.call_duration + 59) / 60) as bigint)
                       from calls c join tracking_numbers n on n.id = c.number_id
                       where c.company_id = ? and c.ended_at >= ? and c.ended_at < ? group by n.number_type");
    for (kind, number) in tx.all::<(String, i64)>(minutes.bind(company).bind(from).bind(until))? {
        match kind_of(&kind)? {
            NumberType::Local => counts.local_minutes = number,
            NumberType::Tollfree => counts.tollfree_minutes = number,
        }
    }
    let messages =
        "select count(*) from messages where company_id = ? and accepted_at >= ? and accepted_at < ?";
    (counts.sms_messages,) = tx.one(sql(messages).bind(company).bind(from).bind(until))?;
    Ok(counts)
}

fn kind_of(text: &str) -> db::Result<NumberType> {
    NumberType::parse(text)
        .ok_or_else(|| db::Error::Internal("a tracking number has an unknown number type".to_owned()))
}
