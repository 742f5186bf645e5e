//! The embedded engine: one thread writes, a few read. The writer drains its queue into one transaction,
//! with a savepoint for each closure so that one that fails rolls back alone, commits once and then
//! answers all: the batch, and with it the throughput, grows with the load.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::handover::Note;
use super::sql::{Row, Source, Sql, Value};
use super::tx::{Conn, Fault, Tx};
use super::wake::WakeSet;
use super::{Env, Error, Mode, QUEUE_MAX, Result, Work, migrate};

/// Closures that share a commit at most: beyond this the first waits longer than the fsync it saves.
const BATCH_MAX: usize = 512;
/// Threads that read. Reads are short and the machine small; a slow report must not block the rest.
const READERS: usize = 4;
/// Prepared statements kept by each connection.
const STATEMENTS_MAX: usize = 256;
/// Page cache of the writer, in KiB (SQLite takes negative numbers as KiB).
const CACHE_KIB: i64 = 32 * 1024;
/// The WAL file is cut back to this size after a checkpoint, in bytes.
const WAL_BYTES: i64 = 64 * 1024 * 1024;

#[derive(Clone)]
pub(super) struct Pool {
    /// Declared before `threads`: its end is what lets the threads end.
    queues: Option<Arc<Queues>>,
    _threads: Arc<Threads>,
}

struct Queues {
    write: SyncSender<Box<dyn Work>>,
    read: SyncSender<Box<dyn Work>>,
}

struct Threads {
    handles: Mutex<Vec<JoinHandle<()>>>,
    /// Held as long as the file is open: another process that opens it is refused.
    _lock: File,
}

impl Drop for Threads {
    fn drop(&mut self) {
        let handles = self.handles.get_mut().unwrap_or_else(PoisonError::into_inner);
        for handle in handles.drain(..) {
            // A thread that panicked has already said so.
            let _ = handle.join();
        }
    }
}

impl Pool {
    pub(super) fn open(path: &Path, env: Env) -> Result<Pool> {
        let lock = lock_file(path)?;
        let mut writer = connect(path, Mode::Write)?;
        migrate::sqlite(&mut writer)?;
        let (write, write_queue) = sync_channel(QUEUE_MAX);
        let (read, read_queue) = sync_channel(QUEUE_MAX);
        let mut handles = Vec::new();
        let writer_env = env.clone();
        handles.push(spawn("db-write", move || write_loop(&writer, &write_queue, &writer_env))?);
        let read_queue = Arc::new(Mutex::new(read_queue));
        for _ in 0..READERS {
            let (conn, queue, env) = (connect(path, Mode::Read)?, read_queue.clone(), env.clone());
            handles.push(spawn("db-read", move || read_loop(&conn, &queue, &env))?);
        }
        let threads = Threads { handles: Mutex::new(handles), _lock: lock };
        Ok(Pool { queues: Some(Arc::new(Queues { write, read })), _threads: Arc::new(threads) })
    }

    pub(super) fn submit(&self, mode: Mode, work: Box<dyn Work>) -> Result<()> {
        let queues = self.queues.as_ref().expect("only drop takes the queues");
        let queue = if mode == Mode::Write { &queues.write } else { &queues.read };
        queue.try_send(work).map_err(|error| match error {
            TrySendError::Full(_) => Error::Busy,
            TrySendError::Disconnected(_) => Error::Unavailable("its thread ended".to_owned()),
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // The queues close with the last clone, before the threads are waited for.
        self.queues.take();
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|e| Error::Unavailable(format!("starting thread {name}: {e}")))
}

/// Takes the operating system's lock on a file beside the database. It ends with the process, however
/// that ends, so nothing is ever left to clean up.
fn lock_file(path: &Path) -> Result<File> {
    let lock_path = path.with_extension("lock");
    let open = File::options().create(true).truncate(false).write(true).open(&lock_path);
    let file = open.map_err(|e| Error::Unavailable(format!("opening {}: {e}", lock_path.display())))?;
    file.try_lock().map_err(|_| {
        Error::Unavailable(format!("{} is in use by another calltracker process", path.display()))
    })?;
    Ok(file)
}

fn connect(path: &Path, mode: Mode) -> Result<Connection> {
    let opening = |e: rusqlite::Error| Error::Unavailable(format!("opening {}: {e}", path.display()));
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(opening)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // The "query planner stability guarantee": without it SQLite parses and plans a statement anew whenever a 0 or 1
    // is bound where it compares, and for each pattern of a `like ?`. An append to company 1 paid as much for that as
    // for its rows.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(opening)?;
    // FULL: with NORMAL a power loss takes commits that were already answered.
    let pragmas = format!(
        "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on;
         pragma temp_store = memory; pragma cache_size = -{CACHE_KIB};
         pragma journal_size_limit = {WAL_BYTES}; pragma busy_timeout = 5000;"
    );
    conn.execute_batch(&pragmas).map_err(opening)?;
    if mode == Mode::Read {
        conn.execute_batch("pragma query_only = on").map_err(opening)?;
    }
    Ok(conn)
}

fn write_loop(conn: &Connection, queue: &Receiver<Box<dyn Work>>, env: &Env) {
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX {
            let Ok(next) = queue.try_recv() else { break };
            batch.push(next);
        }
        write_batch(conn, batch, env);
    }
    // A tidy end: the next start finds no WAL to replay. If it fails, the WAL is replayed instead.
    let _ = conn.execute_batch("pragma wal_checkpoint(truncate); pragma optimize;");
}

/// Runs a batch in one transaction. If the engine gives the whole transaction up in the middle (a full
/// disk does that), those that had run are answered with the error and the rest gets a new transaction.
fn write_batch(conn: &Connection, batch: Vec<Box<dyn Work>>, env: &Env) {
    let mut waiting = batch.into_iter();
    while waiting.len() > 0 {
        let mut ran: Vec<Box<dyn Work>> = Vec::new();
        let mut left = Left::default();
        let mut durable = control(conn, "begin immediate");
        for mut work in waiting.by_ref() {
            if durable.is_ok() {
                durable = run_in_savepoint(conn, work.as_mut(), env, &mut left);
            }
            let given_up = durable.is_err();
            ran.push(work);
            if given_up {
                break;
            }
        }
        if durable.is_ok() {
            durable = control(conn, "commit");
        }
        if let Err(error) = &durable {
            tracing::error!(error = %error, closures = ran.len(), "a transaction was rolled back");
            if !conn.is_autocommit() {
                let _ = conn.execute_batch("rollback");
            }
        } else {
            env.inbox.put(left.notes);
            env.wakes.wake_all(left.wakes);
        }
        for work in ran {
            work.answer(durable.clone());
        }
    }
}

/// What the closures of a batch leave behind for others, if it commits.
#[derive(Default)]
struct Left {
    wakes: WakeSet,
    notes: Vec<Note>,
}

/// Err = the whole transaction is gone, not just this closure's part.
fn run_in_savepoint(conn: &Connection, work: &mut dyn Work, env: &Env, left: &mut Left) -> Result<()> {
    let step = |statement: &str| control(conn, statement);
    step("savepoint closure")?;
    let mut tx = Tx::new(Conn::Sqlite(conn), env);
    let keep = work.run(&mut tx);
    let (wakes, notes) = (tx.wakes, std::mem::take(&mut tx.notes));
    if conn.is_autocommit() {
        return Err(Error::Unavailable(format!("{} ended the whole transaction", work.name())));
    }
    if keep {
        left.wakes.merge(wakes);
        left.notes.extend(notes);
    } else {
        step("rollback to closure")?;
    }
    step("release closure")
}

/// Begins and ends transactions and savepoints, which are too many to parse each time.
fn control(conn: &Connection, statement: &str) -> Result<()> {
    let mut prepared = conn.prepare_cached(statement).map_err(|e| fault(e).error)?;
    prepared.raw_execute().map(drop).map_err(|e| fault(e).error)
}

fn read_loop(conn: &Connection, queue: &Mutex<Receiver<Box<dyn Work>>>, env: &Env) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut work) = next else { return };
        let begun = control(conn, "begin");
        if begun.is_ok() {
            work.run(&mut Tx::new(Conn::Sqlite(conn), env));
            let _ = control(conn, "rollback");
        }
        work.answer(begun);
    }
}

pub(super) fn execute(conn: &Connection, statement: &Sql) -> Result<u64, Fault> {
    let mut prepared = prepare(conn, statement)?;
    let changed = prepared.raw_execute().map_err(fault)?;
    Ok(changed as u64)
}

pub(super) fn query(
    conn: &Connection,
    statement: &Sql,
    each: &mut dyn FnMut(&mut Row<'_>) -> Result<()>,
) -> Result<(), Fault> {
    let mut prepared = prepare(conn, statement)?;
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next().map_err(fault)? {
        each(&mut Row { source: Source::Sqlite(row), next: 0 })?;
    }
    Ok(())
}

/// Runs one statement with the values of each row; gives how many rows each time changed.
pub(super) fn execute_rows(
    conn: &Connection,
    text: &str,
    rows: Vec<Vec<Value>>,
) -> Result<Vec<usize>, Fault> {
    let mut prepared = conn.prepare_cached(text).map_err(fault)?;
    let mut run = |row: Vec<Value>| {
        bind(&mut prepared, &row)?;
        prepared.raw_execute().map_err(fault)
    };
    rows.into_iter().map(&mut run).collect()
}

fn prepare<'c>(conn: &'c Connection, statement: &Sql) -> Result<rusqlite::CachedStatement<'c>, Fault> {
    let text = migrate::dialect(&statement.text, migrate::Dialect::Sqlite);
    let mut prepared = conn.prepare_cached(&text).map_err(fault)?;
    if prepared.parameter_count() != statement.values.len() {
        return Err(Error::Internal(format!("wrong number of values for: {}", statement.text)).into());
    }
    bind(&mut prepared, &statement.values)?;
    Ok(prepared)
}

fn bind(prepared: &mut rusqlite::CachedStatement<'_>, values: &[Value]) -> Result<(), Fault> {
    for (index, value) in (1..).zip(values) {
        match value {
            Value::Null => prepared.raw_bind_parameter(index, rusqlite::types::Null),
            Value::Int(v) => prepared.raw_bind_parameter(index, v),
            Value::Float(v) => prepared.raw_bind_parameter(index, v),
            Value::Bool(v) => prepared.raw_bind_parameter(index, v),
            Value::Text(v) => prepared.raw_bind_parameter(index, v),
            Value::Bytes(v) => prepared.raw_bind_parameter(index, v),
        }
        .map_err(fault)?;
    }
    Ok(())
}

pub(super) fn column(row: &rusqlite::Row<'_>, index: usize) -> Result<Value> {
    let value = row.get_ref(index).map_err(|e| Error::Internal(format!("column {index}: {e}")))?;
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(v) => Value::Int(v),
        ValueRef::Real(v) => Value::Float(v),
        ValueRef::Text(v) => Value::Text(String::from_utf8_lossy(v).into_owned()),
        ValueRef::Blob(v) => Value::Bytes(v.to_vec()),
    })
}

pub(super) fn fault(error: rusqlite::Error) -> Fault {
    let text = error.to_string();
    let error = match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => Error::Constraint(text),
        Some(
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::CannotOpen
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase,
        ) => Error::Unavailable(text),
        _ => Error::Internal(text),
    };
    Fault { error, run_again: false }
}
