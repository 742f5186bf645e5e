//! A transaction as a closure sees it: statements in, rows out, on either engine.

use super::handover::Note;
use super::outbox::{NewEvent, Outbox, WriteEvents};
use super::rows::{Cell, Columns};
use super::sql::{FromRow, Row, Sql, sql};
use super::wake::{Wake, WakeSet};
use super::{Env, Error, Result, postgres, sqlite};
use crate::kernel::clock::Micros;
use crate::kernel::id::{self, Id};
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
    pub(super) left: Left,
    /// A statement failed: on PostgreSQL the transaction is lost, whatever the closure makes of it.
    pub(super) failed: bool,
    /// The engine asked to run the transaction again (PostgreSQL: deadlock, serialization).
    pub(super) run_again: bool,
}

impl<'a> Tx<'a> {
    pub(super) fn new(conn: Conn<'a>, env: &'a Env) -> Tx<'a> {
        let now = env.clock.now();
        Tx { conn, env, now, left: Left::default(), failed: false, run_again: false }
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
        self.left.wakes.add(kind);
    }

    /// Hands something over to this process's delivery engine, if and after this transaction commits.
    pub fn note(&mut self, note: Note) {
        self.left.notes.push(note);
    }

    /// Has an event written at the end of this transaction.
    pub fn put_event(&mut self, event: NewEvent, write: WriteEvents) {
        self.left.outbox.put(event, write);
    }

    /// The id that the next row of a table gets, for rows that name each other. On SQLite it is nobody's until that
    /// row is inserted, so it is asked for once before that.
    ///
    /// # Errors
    /// As [`Tx::all`].
    pub fn next_id<T: Id>(&mut self, table: &'static str) -> Result<T> {
        let next = match &self.conn {
            Conn::Sqlite(_) => "select coalesce((select seq from sqlite_sequence where name = ?), 0) + 1",
            Conn::Postgres(_) => "select nextval(pg_get_serial_sequence(?, 'id'))",
        };
        let (id,): (i64,) = self.one(sql(next).bind(table))?;
        Ok(T::new(id))
    }

    /// Inserts a row into a table that gives out ids; gives its id. Not by `returning` on SQLite, which makes a table in
    /// memory for it each time.
    ///
    /// # Errors
    /// As [`Tx::execute`].
    pub fn insert<T: Id>(&mut self, statement: Sql) -> Result<T> {
        let conn = match &mut self.conn {
            Conn::Sqlite(conn) => *conn,
            Conn::Postgres(_) => {
                return self.one::<(i64,)>(statement.and(" returning id")).map(|(id,)| T::new(id));
            }
        };
        self.execute(statement)?;
        Ok(T::new(conn.last_insert_rowid()))
    }

    /// Inserts many rows into a table that gives out ids; gives those, in the order of the rows.
    ///
    /// # Errors
    /// As [`Tx::execute`].
    pub fn insert_for_ids<'v, const N: usize>(
        &mut self,
        columns: &Columns<N>,
        rows: impl IntoIterator<Item = [Cell<'v>; N]>,
    ) -> Result<Vec<i64>> {
        let rows = rows.into_iter();
        let result = match &mut self.conn {
            Conn::Sqlite(conn) => sqlite::insert_for_ids(conn, columns.sqlite_insert(), rows),
            Conn::Postgres(session) => {
                session.insert_for_ids(columns.postgres_insert_for_ids(), &columns.by_column(rows))
            }
        };
        self.noted(result)
    }

    /// Inserts many rows.
    ///
    /// # Errors
    /// As [`Tx::execute`].
    pub fn insert_rows<'v, const N: usize>(
        &mut self,
        columns: &Columns<N>,
        rows: impl IntoIterator<Item = [Cell<'v>; N]>,
    ) -> Result<()> {
        let rows = rows.into_iter();
        let result = match &mut self.conn {
            Conn::Sqlite(conn) => sqlite::execute_rows(conn, columns.sqlite_insert(), rows).map(drop),
            Conn::Postgres(session) => {
                session.execute_arrays(columns.postgres_insert(), &columns.by_column(rows))
            }
        };
        self.noted(result)
    }

    /// Deletes the rows that have these values; gives, for each, whether it was there.
    ///
    /// # Errors
    /// As [`Tx::execute`].
    pub fn delete_rows<'v, const N: usize>(
        &mut self,
        columns: &Columns<N>,
        rows: impl IntoIterator<Item = [Cell<'v>; N]>,
    ) -> Result<Vec<bool>> {
        let rows = rows.into_iter();
        let result = match &mut self.conn {
            Conn::Sqlite(conn) => {
                let changed = sqlite::execute_rows(conn, columns.sqlite_delete(), rows);
                changed.map(|counts| counts.into_iter().map(|n| n > 0).collect())
            }
            Conn::Postgres(session) => session.positions(columns.postgres_delete(), &columns.by_column(rows)),
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
        self.lock_all(space, [key])
    }

    /// As [`Tx::lock`], on several keys one after the other.
    ///
    /// # Errors
    /// The database can't answer.
    pub fn lock_all(&mut self, space: LockSpace, keys: impl IntoIterator<Item = i64>) -> Result<()> {
        if let Conn::Postgres(session) = &mut self.conn {
            // Advisory locks know one 64-bit key or two of 32 bits: the space goes into the top byte.
            let key = |key: i64| ((space as i64) << 56) | (key & 0x00FF_FFFF_FFFF_FFFF);
            let result = session.lock_all(keys.into_iter().map(key).collect());
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

    /// Writes the events that were put off.
    pub(super) fn finish(&mut self) -> Result<()> {
        std::mem::take(&mut self.left.outbox).empty(self)
    }

    pub(super) fn noted<T>(&mut self, result: Result<T, Fault>) -> Result<T> {
        result.map_err(|fault| {
            self.failed = true;
            self.run_again |= fault.run_again;
            fault.error
        })
    }
}

/// What closures leave behind for the end of their transaction, and for others if it commits.
#[derive(Default)]
pub(super) struct Left {
    pub(super) wakes: WakeSet,
    pub(super) notes: Vec<Note>,
    outbox: Outbox,
}

impl Left {
    pub(super) fn merge(&mut self, other: Left) {
        self.wakes.merge(other.wakes);
        self.notes.extend(other.notes);
        self.outbox.merge(other.outbox);
    }

    /// Tells the others: the transaction has committed.
    pub(super) fn tell(self, env: &Env) {
        env.inbox.put(self.notes);
        env.wakes.wake_all(self.wakes);
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
