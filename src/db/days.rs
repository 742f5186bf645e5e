//! Tables that grow for ever, cut into days (UTC): on PostgreSQL each day is a partition, made ahead and dropped as a
//! whole; on SQLite there are none and everything here does nothing. Which days are to go is not decided here.
//!
//! - Rows of a day without a partition lie in the table's `_rest`, its default partition. PostgreSQL refuses to make a
//!   day that has rows there already (23514); such a day stays in the rest.
//! - Making and dropping a partition locks the whole table (PostgreSQL 15, "Table Partitioning": the concurrent way
//!   isn't there for a table with a default partition). Whoever waits for that lock makes everybody behind him wait,
//!   so it is waited for only briefly: [`Error::Unavailable`] then, and the next run tries again.

use super::sql::sql;
use super::tx::{Conn, Tx};
use super::{Db, Error, Result};
use crate::kernel::clock::Micros;

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;
/// Deliveries may have to wait so long while a day is made or dropped.
const LOCK_TIMEOUT_MS: u32 = 200;
/// What PostgreSQL may take for it: the rest is searched for rows of a new day.
const WORK_TIMEOUT_MS: u32 = 2_000;

/// A table that is cut into days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayTable {
    Events,
    FinishedDeliveries,
    Attempts,
}

impl DayTable {
    pub const ALL: [DayTable; 3] = [DayTable::Events, DayTable::FinishedDeliveries, DayTable::Attempts];

    fn name(self) -> &'static str {
        match self {
            DayTable::Events => "events",
            DayTable::FinishedDeliveries => "finished_deliveries",
            DayTable::Attempts => "attempts",
        }
    }

    /// The moment by which a row has its day.
    fn column(self) -> &'static str {
        match self {
            DayTable::Events => "occurred_at",
            DayTable::FinishedDeliveries => "created_at",
            DayTable::Attempts => "started_at",
        }
    }

    fn partition(self, day: Day) -> String {
        format!("{}_{}", self.name(), day.start().timestamp().strftime("%Y%m%d"))
    }
}

/// A day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(i64);

impl Day {
    /// The day in which `at` lies.
    pub fn of(at: Micros) -> Day {
        Day(at.0.div_euclid(DAY_US))
    }

    /// So many days later.
    #[must_use]
    pub fn plus(self, days: i64) -> Day {
        Day(self.0.saturating_add(days))
    }

    /// Its first moment.
    pub fn start(self) -> Micros {
        Micros(self.0.saturating_mul(DAY_US))
    }

    /// The first moment behind it.
    pub fn end(self) -> Micros {
        self.plus(1).start()
    }

    /// From the end of a partition's name.
    fn parse(digits: &str) -> Option<Day> {
        let whole = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit());
        let date = whole.then(|| jiff::civil::Date::strptime("%Y%m%d", digits).ok()).flatten()?;
        let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Day::of(midnight.timestamp().into()))
    }
}

impl Db {
    /// Makes the partitions of the days from `first` to `last` that aren't there and may be.
    ///
    /// # Errors
    /// The database's. A day that can't be made now is no error: its rows go to the rest, or the next run makes it.
    pub async fn make_days(&self, first: Day, last: Day) -> Result<()> {
        for table in DayTable::ALL {
            let missing = self.read("days.missing", move |tx| tx.missing_days(table, first, last)).await?;
            for day in missing {
                match self.write("days.make", move |tx| tx.make_day(table, day)).await {
                    Ok(()) => {}
                    // Rows of that day came into the rest meanwhile, or it is busy.
                    Err(error @ (Error::Constraint(_) | Error::Unavailable(_))) => {
                        tracing::info!(table = table.name(), error = %error, "a day's partition isn't made now");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

impl Tx<'_> {
    /// The days that have a partition, oldest first.
    ///
    /// # Errors
    /// The database can't answer.
    pub fn days(&mut self, table: DayTable) -> Result<Vec<Day>> {
        if matches!(self.conn, Conn::Sqlite(_)) {
            return Ok(Vec::new());
        }
        let statement =
            "select cast(c.relname as text) from pg_inherits i join pg_class c on c.oid = i.inhrelid
                         where i.inhparent = to_regclass(?)";
        let names: Vec<(String,)> = self.all(sql(statement).bind(table.name()))?;
        let day = |name: &str| Day::parse(name.strip_prefix(table.name())?.strip_prefix('_')?);
        let mut days: Vec<Day> = names.iter().filter_map(|(name,)| day(name)).collect();
        days.sort_unstable();
        Ok(days)
    }

    /// Days without a partition that have no rows in the rest either: others can't be made, and finding that out
    /// while making them would lock the table.
    fn missing_days(&mut self, table: DayTable, first: Day, last: Day) -> Result<Vec<Day>> {
        if matches!(self.conn, Conn::Sqlite(_)) {
            return Ok(Vec::new());
        }
        let made = self.days(table)?;
        let mut missing = Vec::new();
        for day in (first.0..=last.0).map(Day).filter(|day| !made.contains(day)) {
            let (name, column) = (table.name(), table.column());
            let statement = format!("select 1 from {name}_rest where {column} >= ? and {column} < ? limit 1");
            let taken: Option<(i64,)> = self.find(sql(statement).bind(day.start()).bind(day.end()))?;
            if taken.is_none() {
                missing.push(day);
            }
        }
        Ok(missing)
    }

    fn make_day(&mut self, table: DayTable, day: Day) -> Result<()> {
        let (name, partition) = (table.name(), table.partition(day));
        let (from, to) = (day.start().0, day.end().0);
        self.define(&format!(
            "create table if not exists {partition} partition of {name} for values from ({from}) to ({to})"
        ))
    }

    /// Drops a day with all its rows.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the table is busy: try again later.
    pub fn drop_day(&mut self, table: DayTable, day: Day) -> Result<()> {
        self.define(&format!("drop table if exists {}", table.partition(day)))
    }

    /// Runs a definition, and gives up soon if others hold the table.
    fn define(&mut self, text: &str) -> Result<()> {
        let result = match &mut self.conn {
            Conn::Sqlite(_) => Ok(()),
            Conn::Postgres(session) => session.batch(&format!(
                "set local lock_timeout = {LOCK_TIMEOUT_MS}; set local statement_timeout = {WORK_TIMEOUT_MS}; {text}"
            )),
        };
        self.noted(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_named_after_its_day_in_utc() {
        let at: Micros = "2026-11-26T23:59:59.999999Z".parse::<jiff::Timestamp>().unwrap().into();
        let day = Day::of(at);
        assert_eq!(DayTable::Events.partition(day), "events_20261126");
        assert_eq!(DayTable::Attempts.partition(day.plus(1)), "attempts_20261127");
        assert_eq!(Day::parse("20261126"), Some(day));
        assert_eq!(day.end().rfc3339(), "2026-11-27T00:00:00.000000Z");
        assert!(day.start() <= at && at < day.end());
        for other in ["rest", "", "20261341", "2026112", "202611261"] {
            assert_eq!(Day::parse(other), None, "{other}");
        }
    }
}
