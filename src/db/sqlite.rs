//! The embedded engine: one thread writes, a few read. The writer drains its queue into one transaction, commits once
//! and then answers all: the batch, and with it the throughput, grows with the load. If a closure of it fails all of
//! them run again, each in a savepoint, so that the one rolls back alone.
//!
//! What was committed is brought from the WAL into the database by a thread of its own, since that takes a hundred
//! milliseconds on a busy disk, and nobody can write while the writer does it. Only the rest that came meanwhile is the
//! writer's: the WAL begins anew when all of it has been brought over, and by then there is always more.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::time::Instant;

use super::rows::Cell;
use super::sql::{Row, Source, Sql, Value};
use super::tx::{Conn, Fault, Left, Tx};
use super::{Env, Error, Mode, QUEUE_MAX, Result, Work, migrate};

/// Closures that share a commit at most: beyond this the first waits longer than the fsync it saves.
const BATCH_MAX: usize = 512;
/// Batches that get savepoints after one in which a closure wanted to be rolled back: others may want that, too.
const WARY_BATCHES: u32 = 8;
/// From the beginning of one transaction to that of the next if all that waits is patient ([`super::Db::write_patiently`]):
/// what comes meanwhile shares the second. After a pause nobody waits.
const PACE: Duration = Duration::from_millis(3);
/// Threads that read. Reads are short and the machine small; a slow report must not block the rest.
const READERS: usize = 4;
/// Prepared statements kept by each connection.
const STATEMENTS_MAX: usize = 256;
/// Page cache of the writer, in KiB (SQLite takes negative numbers as KiB).
const CACHE_KIB: i64 = 32 * 1024;
/// Pages in the WAL from which on all of it is brought into the database. Deliveries change the same pages over and over;
/// the later, the more of those changes are brought over at once. At SQLite's own 1,000 that took a tenth of the time of
/// a fan-out.
const CHECKPOINT_PAGES: i64 = 8_000;
/// Pages in the WAL from which on the writer does it alone: the other thread doesn't keep up.
const CHECKPOINT_PAGES_MAX: i64 = 3 * CHECKPOINT_PAGES;
/// How often the other thread looks whether there is something in the WAL.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
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
        let (writer_env, wal) = (env.clone(), Arc::new(Wal::default()));
        let (ends, ended) = sync_channel::<()>(0);
        let (checkpointer, looked_at) = (connect(path, Mode::Write)?, wal.clone());
        handles.push(spawn("db-checkpoint", move || checkpoint_loop(&checkpointer, &looked_at, &ended))?);
        handles.push(spawn("db-write", move || write_loop(&writer, &write_queue, &writer_env, &wal, ends))?);
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
         pragma wal_autocheckpoint = {CHECKPOINT_PAGES_MAX}; pragma journal_size_limit = {WAL_BYTES};
         pragma busy_timeout = 5000;"
    );
    conn.execute_batch(&pragmas).map_err(opening)?;
    if mode == Mode::Read {
        conn.execute_batch("pragma query_only = on").map_err(opening)?;
    }
    Ok(conn)
}

/// What the writer and the checkpointer tell each other.
#[derive(Default)]
struct Wal {
    /// There were commits.
    has_grown: AtomicBool,
    /// All but what came meanwhile has been brought over, and it is long enough.
    is_due: AtomicBool,
}

fn checkpoint_loop(conn: &Connection, wal: &Wal, ended: &Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(CHECKPOINT_EVERY) {
        if !wal.has_grown.swap(false, Ordering::Relaxed) {
            continue;
        }
        match checkpoint(conn) {
            Ok(pages) if pages >= CHECKPOINT_PAGES => wal.is_due.store(true, Ordering::Relaxed),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the WAL can't be brought into the database yet"),
        }
    }
}

/// Brings over what can be without waiting for anybody; gives the pages in the WAL.
fn checkpoint(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("pragma wal_checkpoint(passive)", [], |row| row.get(1))
}

/// Ends the checkpointer when it ends.
fn write_loop(
    conn: &Connection,
    queue: &Receiver<Box<dyn Work>>,
    env: &Env,
    wal: &Wal,
    ends: SyncSender<()>,
) {
    let (mut wary, mut not_before) = (0, Instant::now());
    while let Ok(first) = queue.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX {
            let is_urgent = batch.last().is_some_and(|last| !last.is_patient());
            if is_urgent {
                not_before = Instant::now();
            }
            let Ok(next) = queue.recv_timeout(not_before.saturating_duration_since(Instant::now())) else {
                break;
            };
            batch.push(next);
        }
        not_before = Instant::now() + PACE;
        if wary > 0 || !write_boldly(conn, &mut batch, env) {
            write_warily(conn, batch, env);
            wary = if wary > 0 { wary - 1 } else { WARY_BATCHES };
        }
        wal.has_grown.store(true, Ordering::Relaxed);
        if wal.is_due.swap(false, Ordering::Relaxed) {
            // If it fails the next one does it.
            let _ = checkpoint(conn);
        }
    }
    drop(ends);
    // A tidy end: the next start finds no WAL to replay. If it fails, the WAL is replayed instead.
    let _ = conn.execute_batch("pragma wal_checkpoint(truncate); pragma optimize;");
}

/// Runs a batch in one transaction without savepoints, for which SQLite would keep a copy of each page that a closure
/// changes. False: a closure wants to be rolled back; nothing was done and nobody was answered.
fn write_boldly(conn: &Connection, batch: &mut Vec<Box<dyn Work>>, env: &Env) -> bool {
    let mut left = Left::default();
    let mut durable = control(conn, "begin immediate");
    if durable.is_ok() {
        for work in batch.iter_mut() {
            let mut tx = Tx::new(Conn::Sqlite(conn), env);
            if !work.run(&mut tx) || conn.is_autocommit() {
                roll_back(conn);
                return false;
            }
            left.merge(tx.left);
        }
        durable = finish(conn, env, left);
    }
    answer(conn, batch, &durable);
    true
}

/// Answers a transaction's closures. If it didn't become durable it is rolled back.
fn answer(conn: &Connection, ran: &mut Vec<Box<dyn Work>>, durable: &Result<()>) {
    if let Err(error) = durable {
        tracing::error!(error = %error, closures = ran.len(), "a transaction was rolled back");
        roll_back(conn);
    }
    ran.drain(..).for_each(|work| work.answer(durable.clone()));
}

/// Writes the events, commits, and tells the others.
fn finish(conn: &Connection, env: &Env, left: Left) -> Result<()> {
    let mut tx = Tx::new(Conn::Sqlite(conn), env);
    tx.left = left;
    tx.finish()?;
    control(conn, "commit")?;
    tx.left.tell(env);
    Ok(())
}

fn roll_back(conn: &Connection) {
    if !conn.is_autocommit() {
        let _ = conn.execute_batch("rollback");
    }
}

/// Runs a batch in one transaction with a savepoint for each closure. If the engine gives the whole transaction up in
/// the middle (a full disk does that), those that had run are answered with the error and the rest gets a new
/// transaction.
fn write_warily(conn: &Connection, batch: Vec<Box<dyn Work>>, env: &Env) {
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
        let durable = durable.and_then(|()| finish(conn, env, left));
        answer(conn, &mut ran, &durable);
    }
}

/// Err = the whole transaction is gone, not just this closure's part.
fn run_in_savepoint(conn: &Connection, work: &mut dyn Work, env: &Env, left: &mut Left) -> Result<()> {
    let step = |statement: &str| control(conn, statement);
    step("savepoint closure")?;
    let mut tx = Tx::new(Conn::Sqlite(conn), env);
    let keep = work.run(&mut tx);
    if conn.is_autocommit() {
        return Err(Error::Unavailable(format!("{} ended the whole transaction", work.name())));
    }
    if keep {
        left.merge(tx.left);
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
pub(super) fn execute_rows<'v, const N: usize>(
    conn: &Connection,
    text: &str,
    rows: impl Iterator<Item = [Cell<'v>; N]>,
) -> Result<Vec<usize>, Fault> {
    let mut prepared = conn.prepare_cached(text).map_err(fault)?;
    rows.map(|row| {
        bind_cells(&mut prepared, &row)?;
        prepared.raw_execute().map_err(fault)
    })
    .collect()
}

/// Runs an insert with the values of each row; gives the rows' ids. Not by `returning`, for which SQLite makes a table
/// in memory each time.
pub(super) fn insert_for_ids<'v, const N: usize>(
    conn: &Connection,
    text: &str,
    rows: impl Iterator<Item = [Cell<'v>; N]>,
) -> Result<Vec<i64>, Fault> {
    let mut prepared = conn.prepare_cached(text).map_err(fault)?;
    rows.map(|row| {
        bind_cells(&mut prepared, &row)?;
        prepared.raw_execute().map_err(fault)?;
        Ok(conn.last_insert_rowid())
    })
    .collect()
}

fn bind_cells(prepared: &mut rusqlite::CachedStatement<'_>, cells: &[Cell<'_>]) -> Result<(), Fault> {
    for (index, cell) in (1..).zip(cells) {
        match cell {
            Cell::Null => prepared.raw_bind_parameter(index, rusqlite::types::Null),
            Cell::Int(v) => prepared.raw_bind_parameter(index, v),
            Cell::Text(v) => prepared.raw_bind_parameter(index, v),
        }
        .map_err(fault)?;
    }
    Ok(())
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
