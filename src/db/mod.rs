//! The one door to the database. A transaction is a plain closure that is sent to a thread which owns a
//! connection; the rest of the program is async and never touches one. Only this folder knows that there
//! are two engines: an embedded SQLite file, or a PostgreSQL server.
//!
//! - A closure may run again (after a deadlock), so it has no effect but SQL through its [`Tx`].
//! - Closures share commits: many small writes cost one fsync. What a write answered is on disk.
//! - Where the order of two transactions matters, [`Tx::lock`] or a constraint decides, never luck:
//!   SQLite serialises writers, PostgreSQL doesn't.

mod days;
mod handover;
mod migrate;
mod outbox;
mod postgres;
mod rows;
mod sql;
mod sqlite;
mod tx;
mod wake;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot};

pub use self::days::{Day, DayTable};
pub use self::handover::{EventRow, Fresh, Inbox, Note, Reader, Taken};
pub use self::outbox::NewEvent;
pub use self::rows::{Cell, Columns, Kind};
pub use self::sql::{Column, FromRow, Row, Sql, Value, sql};
pub use self::tx::{LockSpace, Tx};
pub use self::wake::{Wake, Wakes};
use crate::kernel::clock::Clock;
use crate::kernel::seed::Seed;

/// Transactions that may wait at most; beyond it callers get [`Error::Busy`] at once, so that an
/// overload can't grow memory. At 1 ms a transaction this is ten seconds of work.
const QUEUE_MAX: usize = 10_000;

/// Why a transaction didn't happen. Nothing of it is in the database then.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The engine can't be reached, is full, or lost the connection: the same call may work later.
    #[error("the database can't answer: {0}")]
    Unavailable(String),
    /// Too many transactions are waiting.
    #[error("the database is overloaded")]
    Busy,
    /// A rule of the schema was broken: a bug, unless the caller expected it.
    #[error("the database refused: {0}")]
    Constraint(String),
    /// A statement or a decoded column is wrong, or the closure panicked: a bug.
    #[error("{0}")]
    Internal(String),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where the data is.
#[derive(Clone, Debug)]
pub enum Location {
    /// The SQLite file; its folder exists.
    Sqlite(PathBuf),
    /// A `postgres://` URL.
    Postgres(String),
}

/// The database: cheap to clone, closes when the last clone is gone.
#[derive(Clone)]
pub struct Db {
    engine: Engine,
    wakes: Wakes,
    inbox: Inbox,
}

#[derive(Clone)]
enum Engine {
    Sqlite(sqlite::Pool),
    Postgres(postgres::Pool),
}

impl Db {
    /// Opens the database, takes the lock of a SQLite file and brings the schema up to date. Blocks.
    ///
    /// # Errors
    /// The file is in use, the server can't be reached, or the schema is newer than this program.
    pub fn open(location: &Location, clock: Clock, seed: Seed) -> Result<Db> {
        let wakes = Wakes::default();
        let inbox = Inbox::default();
        let env = Env { clock, seed, wakes: wakes.clone(), inbox: inbox.clone() };
        let engine = match location {
            Location::Sqlite(path) => Engine::Sqlite(sqlite::Pool::open(path, env)?),
            Location::Postgres(url) => Engine::Postgres(postgres::Pool::open(url, env)?),
        };
        Ok(Db { engine, wakes, inbox })
    }

    /// Runs `work` in a transaction that is on disk when this answers. `name` is for logs and metrics.
    ///
    /// # Errors
    /// What `work` gave (then nothing was written), or why the database couldn't.
    pub async fn write<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.submit(Mode::Write, name, false, work).await
    }

    /// As [`Db::write`], but may wait a few milliseconds for others to share the commit if there was one just before. For
    /// what comes by the hundred a second from people: the embedded engine's commits cost more than such a closure.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub async fn write_patiently<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.submit(Mode::Write, name, true, work).await
    }

    /// Runs `work` against one consistent snapshot; a write in it fails.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub async fn read<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.submit(Mode::Read, name, false, work).await
    }

    /// The wake-ups that committed transactions left behind.
    pub fn wakes(&self) -> &Wakes {
        &self.wakes
    }

    /// What committed transactions of this process hand over to its delivery engine.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// What other processes on the same database tell by `pg_notify('calltracker', …)`; nothing ever where there
    /// can be none.
    pub fn listen(&self) -> mpsc::Receiver<Heard> {
        let (tell, heard) = mpsc::channel(HEARD_MAX);
        match &self.engine {
            // Kept open and silent.
            Engine::Sqlite(_) => drop(tokio::spawn(async move { tell.closed().await })),
            Engine::Postgres(pool) => pool.listen(tell),
        }
        heard
    }

    /// Tries to become the one process that runs background work on this database. On SQLite the file's
    /// lock has decided that already; on PostgreSQL a session lock decides, which ends with its holder.
    ///
    /// # Errors
    /// The database can't answer.
    pub async fn lead(&self) -> Result<Option<Lead>> {
        match &self.engine {
            Engine::Sqlite(_) => Ok(Some(Lead { held: None })),
            Engine::Postgres(pool) => {
                let held = pool.clone().lead().await?;
                Ok(held.map(|held| Lead { held: Some(held) }))
            }
        }
    }

    /// Whether other processes may use this database at the same time.
    pub fn is_shared(&self) -> bool {
        matches!(self.engine, Engine::Postgres(_))
    }

    /// "sqlite" or "postgres", for logs and metrics.
    pub fn engine_name(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite(_) => "sqlite",
            Engine::Postgres(_) => "postgres",
        }
    }

    async fn submit<T, E, F>(&self, mode: Mode, name: &'static str, is_patient: bool, work: F) -> Result<T, E>
    where
        F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let task = Box::new(Task { name, is_patient, work, outcome: None, reply });
        match &self.engine {
            Engine::Sqlite(pool) => pool.submit(mode, task)?,
            Engine::Postgres(pool) => pool.submit(mode, task)?,
        }
        let gone = || E::from(Error::Unavailable("it was closed".to_owned()));
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Hints that wait at most; if there are more, [`Heard::Lost`] stands for them.
const HEARD_MAX: usize = 1024;

/// Something from another process.
#[derive(Debug)]
pub enum Heard {
    Hint(String),
    /// Hints may have been lost: the connection is new, or there were too many.
    Lost,
}

/// Being the one process that runs background work; given up when dropped.
pub struct Lead {
    held: Option<postgres::Held>,
}

impl Lead {
    /// The lock went away with its connection: another process may be leading.
    pub fn is_lost(&self) -> bool {
        self.held.as_ref().is_some_and(postgres::Held::is_lost)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
}

/// What the engine's threads are given beside a connection.
#[derive(Clone)]
struct Env {
    clock: Clock,
    seed: Seed,
    wakes: Wakes,
    inbox: Inbox,
}

/// A closure on its way through an engine's thread.
trait Work: Send {
    fn name(&self) -> &'static str;
    /// It may wait for others to share its commit.
    fn is_patient(&self) -> bool;
    /// Runs the closure; false = roll back.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Answers the caller: with the closure's result, or with why it couldn't be made durable.
    fn answer(self: Box<Self>, durable: Result<()>);
}

struct Task<T, E, F> {
    name: &'static str,
    is_patient: bool,
    work: F,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Work for Task<T, E, F>
where
    F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<Error> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_patient(&self) -> bool {
        self.is_patient
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let work = &mut self.work;
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| work(tx)))
            .unwrap_or_else(|_| Err(Error::Internal(format!("{} panicked", self.name)).into()));
        let keep = result.is_ok();
        self.outcome = Some(result);
        keep
    }

    fn answer(self: Box<Self>, durable: Result<()>) {
        let result = match (durable, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            // The closure's own error is more useful than the roll-back that it asked for.
            (Err(_), Some(Err(error))) => Err(error),
            (Err(error), _) => Err(error.into()),
            (Ok(()), None) => Err(Error::Internal(format!("{} never ran", self.name)).into()),
        };
        // A caller that went away has no use for the answer; the write stands.
        let _ = self.reply.send(result);
    }
}
