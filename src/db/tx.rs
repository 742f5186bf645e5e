//! A transaction as a closure sees it: statements in, rows out, on either engine.

use super::handover::Note;
use super::rows::Columns;
use super::sql::{FromRow, Row, Sql, Value};
use super::wake::{Wake, WakeSet};
use super::{Env, Error, Result, postgres, sqlite};
use crate::kernel::clock::Micros;
use crate::kernel::id;
use crate::kernel::seed::Seed;

/// What [`Tx::lock`] can be held on. The numbers are part of PostgreSQL's lock key and never change.
#[derive(Clone, Copy, Debug)]
pub enum LockSpace {
    /// A company's event log: events become visible in the order of their ids.
    EventLog = 1,
    /// A carrier's call: its callbacks are taken in one after the other.
    Call = 2,
    /// The callers of a company: only one call can be a number's first.
    Caller = 3,
    /// An object whose settings are read and then written as a whole: changes come one after the other.
    Edit = 4,
    /// Which numbers are tracking numbers and which are destinations: neither may become the other.
    Numbers = 5,
    /// Who delivers for which webhooks.
    Shards = 6,
    /// Old events: none is removed while a delivery of it becomes pending.
    Retention = 7,
    /// A pool's numbers: they are given out one after the other.
    Pool = 8,
}

pub(super) enum Conn<'a> {
    Sqlite(&'a rusqlite::Connection),
    Postgres(&'a mut postgres::Session),
}

/// An open transaction.
pub struct Tx<'a> {
    pub(super) conn: Conn<'a>,
    env: &'a Env,
    now: Micros,
    pub(super) wakes: WakeSet,
    pub(super) notes: Vec<Note>,
    /// The engine asked to run the transaction again (PostgreSQL: deadlock, serialization).
    pub(super) run_again: bool,
}

impl<'a> Tx<'a> {
    pub(super) fn new(conn: Conn<'a>, env: &'a Env) -> Tx<'a> {
        Tx { conn, env, now: env.clock.now(), wakes: WakeSet::default(), notes: Vec::new(), run_again: false }
    }

    /// When the transaction began: the one moment that all its rows carry.
    pub fn now(&self) -> Micros {
        self.now
    }

    pub fn seed(&self) -> &Seed {
        &self.env.seed
    }

    /// A new unique text id of this moment.
    pub fn unique(&self) -> String {
        id::unique(self.now, &self.env.seed)
    }

    /// Wakes whoever waits for `kind`, if and after this transaction commits.
    pub fn wake(&mut self, kind: Wake) {
        self.wakes.add(kind);
    }

    /// Hands something over to this process's delivery engine, if and after this transaction commits.
    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// Inserts many rows, each with a value for each column.
    ///
    /// # Errors
    /// As [`Tx::execute`].
    pub fn insert_rows(&mut self, columns: &Columns, rows: Vec<Vec<Value>>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let result = match &mut self.conn {
            Conn::Sqlite(conn) => sqlite::execute_rows(conn, &columns.sqlite_insert(), rows).map(drop),
            Conn::Postgres(session) => {
                session.execute_arrays(&columns.postgres_insert(), &columns.by_column(rows))
            }
        };
        self.noted(result)
    }

    /// Deletes the rows that have these values; gives, for each, whether it was there.
    ///
    /// # Errors
    /// As [`Tx::execute`].
    pub fn delete_rows(&mut self, columns: &Columns, rows: Vec<Vec<Value>>) -> Result<Vec<bool>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let count = rows.len();
        let result = match &mut self.conn {
            Conn::Sqlite(conn) => {
                let changed = sqlite::execute_rows(conn, &columns.sqlite_delete(), rows);
                changed.map(|counts| counts.into_iter().map(|n| n > 0).collect())
            }
            Conn::Postgres(session) => {
                session.positions(&columns.postgres_delete(), &columns.by_column(rows), count)
            }
        };
        self.noted(result)
    }

    /// Runs a statement; gives the number of rows it changed.
    ///
    /// # Errors
    /// [`Error::Constraint`] if a rule of the schema was broken; on PostgreSQL the transaction is lost then.
    pub fn execute(&mut self, statement: Sql) -> Result<u64> {
        let result = match &mut self.conn {
            Conn::Sqlite(conn) => sqlite::execute(conn, &statement),
            Conn::Postgres(session) => session.execute(&statement),
        };
        self.noted(result)
    }

    /// All rows.
    ///
    /// # Errors
    /// As [`Tx::execute`]; also a row that can't be read.
    pub fn all<T: FromRow>(&mut self, statement: Sql) -> Result<Vec<T>> {
        let mut rows = Vec::new();
        let mut read = |row: &mut Row<'_>| -> Result<()> {
            rows.push(T::from_row(row)?);
            Ok(())
        };
        let result = match &mut self.conn {
            Conn::Sqlite(conn) => sqlite::query(conn, &statement, &mut read),
            Conn::Postgres(session) => session.query(&statement, &mut read),
        };
        self.noted(result)?;
        Ok(rows)
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// As [`Tx::all`].
    pub fn find<T: FromRow>(&mut self, statement: Sql) -> Result<Option<T>> {
        Ok(self.all(statement)?.into_iter().next())
    }

    /// The one row that must be there.
    ///
    /// # Errors
    /// As [`Tx::all`]; [`Error::Internal`] if there is none.
    pub fn one<T: FromRow>(&mut self, statement: Sql) -> Result<T> {
        let text = statement.text.clone();
        self.find(statement)?.ok_or_else(|| Error::Internal(format!("no row for: {text}")))
    }

    /// Holds a lock on (`space`, `key`) until the transaction ends: others that want it wait. SQLite's
    /// writers wait for each other anyway.
    ///
    /// # Errors
    /// The database can't answer.
    pub fn lock(&mut self, space: LockSpace, key: i64) -> Result<()> {
        if let Conn::Postgres(session) = &mut self.conn {
            // Advisory locks know one 64-bit key or two of 32 bits: the space goes into the top byte.
            let key = ((space as i64) << 56) | (key & 0x00FF_FFFF_FFFF_FFFF);
            let statement = super::sql("select pg_advisory_xact_lock(?)").bind(key);
            let result = session.execute(&statement);
            self.noted(result)?;
        }
        Ok(())
    }

    /// As [`Tx::lock`], on a text.
    ///
    /// # Errors
    /// The database can't answer.
    pub fn lock_text(&mut self, space: LockSpace, text: &str) -> Result<()> {
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let mut key = [0; 8];
        key.copy_from_slice(&digest.as_ref()[..8]);
        self.lock(space, i64::from_le_bytes(key))
    }

    pub(super) fn noted<T>(&mut self, result: Result<T, Fault>) -> Result<T> {
        result.map_err(|fault| {
            self.run_again |= fault.run_again;
            fault.error
        })
    }
}

/// An engine's error and whether it asks to run the transaction again.
pub(super) struct Fault {
    pub(super) error: Error,
    pub(super) run_again: bool,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault { error, run_again: false }
    }
}
