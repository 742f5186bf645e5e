//! The engine of a growing installation: a few threads, each with a connection of its own, take closures
//! from two queues, one of those that write and one of those that read. Closures that wait to write share a transaction:
//! its round trips, its fsync, and the time that its locks are held. If one of them fails each is run alone. A closure is
//! run again when the server says so (deadlock, serialization); a lost connection is opened anew.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ::postgres::error::SqlState;
use ::postgres::fallible_iterator::FallibleIterator as _;
use ::postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use ::postgres::{Client, Config, Statement};
use bytes::BytesMut;
use tokio::sync::{mpsc, oneshot};

use super::rows::Array;
use super::sql::{Row, Source, Sql, Value};
use super::tx::{Conn, Fault, Left, Tx};
use super::{Env, Error, Heard, Mode, QUEUE_MAX, Result, Work, migrate};

/// Connections of one node that write. More would only wait for the same fsync, and for each other's locks.
const WRITERS: usize = 4;
/// So many of them write at a time: one does while the other waits for its fsync. What comes meanwhile gathers, and
/// shares the next transaction.
const WRITING_MAX: usize = 2;
/// Unless those wait for longer, which can only be for a lock: then the others go on.
const WRITING_TIME: Duration = Duration::from_millis(5);
/// Connections of one node that only read, so that no read waits behind those that wait for locks.
const READERS: usize = 4;
/// Closures that share a transaction, and with it its locks, at most.
const BATCH_MAX: usize = 64;
/// Batches that are taken apart after one in which a closure failed: others may, too.
const WARY_BATCHES: u32 = 8;
/// A transaction of several closures that waits for a lock so long is given up, and each is run alone: two such
/// transactions can wait for each other where their closures wouldn't.
const LOCK_TIMEOUT_MS: u32 = 300;
/// Prepared statements kept by each connection.
const STATEMENTS_MAX: usize = 256;
/// How often one closure is run again at most.
const RUNS_MAX: u32 = 10;
/// A connection attempt is given up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The server ends a statement that runs longer: nothing here should, and a hung one would hold a worker.
const STATEMENT_TIMEOUT_MS: u32 = 60_000;
/// The server ends a transaction whose process says nothing for so long, and a statement that waits for a lock for so
/// long. Ours do neither, unless a process is stopped in a transaction (a frozen machine): its locks would hold up all
/// others, and its sessions that wait for them would get them one after the other. So it lasts this long twice at most.
const STANDSTILL_MS: u32 = 4_000;
/// Every statement here walks along an index and looks the rest up by primary keys, as it does on SQLite, which knows no
/// other way. The planner doesn't count on most days of a table being skipped then: it would rather read a month of
/// events to hash them for a hundred deliveries (measured with 35 days of 20,000: 520 ms instead of 4), start workers
/// for it, and compile it.
const PLANNER: &str =
    "-c enable_hashjoin=off -c enable_mergejoin=off -c max_parallel_workers_per_gather=0 -c jit=off";
/// How long a listener waits for a hint before it looks whether anybody still wants to hear it.
const LISTEN_FOR: Duration = Duration::from_millis(500);
/// How long it waits before it connects again.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The key of the lock that the node which runs background work holds.
const LEAD_KEY: i64 = 2;

#[derive(Clone)]
pub(super) struct Pool {
    queues: Option<Queues>,
    config: Arc<Config>,
    _threads: Arc<Threads>,
}

#[derive(Clone)]
struct Queues {
    write: SyncSender<Box<dyn Work>>,
    read: SyncSender<Box<dyn Work>>,
}

struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Drop for Threads {
    fn drop(&mut self) {
        for handle in self.0.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = handle.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queues.take();
    }
}

impl Pool {
    pub(super) fn open(url: &str, env: Env) -> Result<Pool> {
        // The URL holds a password: it stays out of the message.
        let mut config: Config =
            url.parse().map_err(|_| Error::Unavailable("database_url is malformed".to_owned()))?;
        config.connect_timeout(CONNECT_TIMEOUT);
        config.options(&format!(
            "-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={STANDSTILL_MS} \
             -c idle_in_transaction_session_timeout={STANDSTILL_MS} {PLANNER}"
        ));
        config.application_name("calltracker");
        let (config, migrated) = on_thread(move || {
            let migrated = connect(&config).and_then(|mut client| migrate::postgres(&mut client));
            (config, migrated)
        })?;
        migrated?;
        let config = Arc::new(config);
        let (write, writes) = sync_channel(QUEUE_MAX);
        let (read, reads) = sync_channel(QUEUE_MAX);
        let worker = || Worker { config: config.clone(), env: env.clone(), session: None, wary: 0 };
        let mut handles = Vec::new();
        for (mode, queue, workers) in [(Mode::Write, writes, WRITERS), (Mode::Read, reads, READERS)] {
            let queue = Arc::new(Queue::new(mode, queue));
            for _ in 0..workers {
                let (mut worker, queue) = (worker(), queue.clone());
                let body = move || worker.run(&queue);
                let spawned = std::thread::Builder::new().name("db-worker".to_owned()).spawn(body);
                handles.push(spawned.map_err(|e| Error::Unavailable(format!("starting a thread: {e}")))?);
            }
        }
        let threads = Arc::new(Threads(Mutex::new(handles)));
        Ok(Pool { queues: Some(Queues { write, read }), config, _threads: threads })
    }

    pub(super) fn submit(&self, mode: Mode, work: Box<dyn Work>) -> Result<()> {
        let queues = self.queues.as_ref().expect("only drop takes the queues");
        let queue = if mode == Mode::Write { &queues.write } else { &queues.read };
        queue.try_send(work).map_err(|error| match error {
            TrySendError::Full(_) => Error::Busy,
            TrySendError::Disconnected(_) => Error::Unavailable("its threads ended".to_owned()),
        })
    }

    /// See [`super::Db::listen`]: on a connection of its own, until nobody hears it any more.
    pub(super) fn listen(&self, tell: mpsc::Sender<Heard>) {
        let config = self.config.clone();
        let body = move || {
            while !tell.is_closed() {
                if let Err(error) = hear(&config, &tell) {
                    tracing::warn!(error = %error, "can't listen to other processes");
                }
                // Waits before it connects again; nothing is lost by that, everybody looks by himself.
                std::thread::park_timeout(LISTEN_AGAIN_AFTER);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("db-listen".to_owned()).spawn(body) {
            tracing::error!(error = %error, "can't listen to other processes");
        }
    }

    /// See [`super::Db::lead`]: the lock lives on a connection of its own.
    pub(super) async fn lead(self) -> Result<Option<Held>> {
        let (reply, answer) = oneshot::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let lost = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = lost.clone();
        let config = self.config.clone();
        let body = move || {
            let mut client =
                match connect(&config).and_then(|mut c| try_lead(&mut c).map(|got| got.then_some(c))) {
                    Ok(Some(client)) => client,
                    Ok(None) => return drop(reply.send(Ok(false))),
                    Err(error) => return drop(reply.send(Err(error))),
                };
            let _ = reply.send(Ok(true));
            // Ask now and then whether the connection, and with it the lock, is still there.
            while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) =
                released.recv_timeout(Duration::from_secs(2))
            {
                if client.simple_query("select 1").is_err() {
                    flag.store(true, std::sync::atomic::Ordering::SeqCst);
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("db-lead".to_owned())
            .spawn(body)
            .map_err(|e| Error::Unavailable(format!("starting a thread: {e}")))?;
        let got = answer.await.map_err(|_| Error::Unavailable("its thread ended".to_owned()))??;
        Ok(got.then_some(Held { _release: release, lost }))
    }
}

/// Passes on what is heard, until the connection ends or nobody hears it.
fn hear(config: &Config, tell: &mpsc::Sender<Heard>) -> Result<()> {
    let mut client = connect(config)?;
    client.batch_execute("listen calltracker").map_err(|e| fault(&e).error)?;
    let mut lost = true;
    while !tell.is_closed() {
        if lost {
            lost = tell.try_send(Heard::Lost).is_err();
        }
        let next = client.notifications().timeout_iter(LISTEN_FOR).next();
        let hint = next.map_err(|e| fault(&e).error)?;
        if let Some(hint) = hint {
            lost |= tell.try_send(Heard::Hint(hint.payload().to_owned())).is_err();
        } else if client.is_closed() {
            return Err(Error::Unavailable("the connection ended".to_owned()));
        }
    }
    Ok(())
}

/// The lock of [`Pool::lead`], until dropped.
pub(super) struct Held {
    _release: std::sync::mpsc::Sender<()>,
    lost: Arc<std::sync::atomic::AtomicBool>,
}

impl Held {
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(std::sync::atomic::Ordering::SeqCst)
    }
}

fn try_lead(client: &mut Client) -> Result<bool> {
    let row = client.query_one("select pg_try_advisory_lock($1)", &[&LEAD_KEY]);
    Ok(row.map_err(|e| fault(&e).error)?.get(0))
}

/// The synchronous client must not run on a thread of the async runtime.
fn on_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    std::thread::spawn(body).join().map_err(|_| Error::Internal("opening PostgreSQL panicked".to_owned()))
}

fn connect(config: &Config) -> Result<Client> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.connect(tokio_postgres_rustls::MakeRustlsConnect::new(tls)).map_err(|e| fault(&e).error)
}

struct Worker {
    config: Arc<Config>,
    env: Env,
    session: Option<Session>,
    /// So many batches are still taken apart.
    wary: u32,
}

/// What became of a batch in one transaction.
enum Together {
    /// Nothing of it was done: each is to be run alone.
    Apart,
    /// Committed, or not, or that isn't known.
    Ended(Result<()>),
}

impl Worker {
    fn run(&mut self, queue: &Queue) {
        loop {
            let batch = queue.next_batch();
            if batch.is_empty() {
                return;
            }
            self.run_batch(queue.mode, batch);
            queue.ended();
        }
    }

    fn run_batch(&mut self, mode: Mode, mut batch: Vec<Box<dyn Work>>) {
        if batch.len() > 1 && self.wary == 0 {
            match self.together(&mut batch) {
                Together::Ended(durable) => {
                    self.look_after(&durable, "several closures");
                    return batch.into_iter().for_each(|work| work.answer(durable.clone()));
                }
                Together::Apart => self.wary = WARY_BATCHES,
            }
        } else {
            self.wary = self.wary.saturating_sub(1);
        }
        for mut work in batch {
            let durable = self.transaction(mode, work.as_mut());
            self.look_after(&durable, work.name());
            work.answer(durable);
        }
    }

    fn look_after(&mut self, durable: &Result<()>, name: &str) {
        if let Err(error) = durable {
            tracing::error!(error = %error, transaction = name, "a transaction was rolled back");
            if matches!(error, Error::Unavailable(_)) {
                self.session = None;
            }
        }
    }

    /// Runs several closures in one transaction, which they share or lose together.
    fn together(&mut self, batch: &mut [Box<dyn Work>]) -> Together {
        let env = self.env.clone();
        let begin = format!("begin; set local lock_timeout = {LOCK_TIMEOUT_MS}");
        if self.begin(&begin).is_err() {
            return Together::Apart;
        }
        let Some(session) = self.session.as_mut() else { return Together::Apart };
        let mut left = Left::default();
        for work in batch {
            let mut tx = Tx::new(Conn::Postgres(session), &env);
            if !work.run(&mut tx) || tx.failed {
                let _ = session.simple("rollback");
                return Together::Apart;
            }
            left.merge(tx.left);
        }
        let mut tx = Tx::new(Conn::Postgres(session), &env);
        tx.left = left;
        if tx.finish().is_err() {
            let _ = session.simple("rollback");
            return Together::Apart;
        }
        let left = tx.left;
        match session.batch("commit") {
            Ok(()) => {
                left.tell(&env);
                Together::Ended(Ok(()))
            }
            Err(fault) if fault.run_again => Together::Apart,
            Err(fault) => Together::Ended(Err(fault.error)),
        }
    }

    /// Begins a transaction, on a new connection if the one that was idle has died.
    fn begin(&mut self, begin: &str) -> Result<()> {
        if let Err(Error::Unavailable(_)) = self.session()?.simple(begin) {
            self.session = None;
            self.session()?.simple(begin)?;
        }
        Ok(())
    }

    fn transaction(&mut self, mode: Mode, work: &mut dyn Work) -> Result<()> {
        let begin =
            if mode == Mode::Write { "begin" } else { "begin isolation level repeatable read read only" };
        let env = self.env.clone();
        for _ in 0..RUNS_MAX {
            self.begin(begin)?;
            let mut tx = Tx::new(Conn::Postgres(self.session()?), &env);
            let keep = work.run(&mut tx);
            let finished = if keep { tx.finish() } else { Ok(()) };
            let (left, mut run_again) = (tx.left, tx.run_again);
            let session = self.session()?;
            if keep && finished.is_ok() {
                match session.batch("commit") {
                    Ok(()) => {
                        left.tell(&env);
                        return Ok(());
                    }
                    Err(fault) if fault.run_again => run_again = true,
                    Err(fault) => return Err(fault.error),
                }
            }
            session.simple("rollback")?;
            if !run_again {
                return finished;
            }
        }
        Err(Error::Unavailable(format!("{} met other transactions {RUNS_MAX} times", work.name())))
    }

    /// The connection, opened anew if it is gone.
    fn session(&mut self) -> Result<&mut Session> {
        if self.session.as_ref().is_none_or(|s| s.client.is_closed()) {
            self.session = Some(Session { client: connect(&self.config)?, statements: HashMap::new() });
        }
        Ok(self.session.as_mut().expect("it was just set"))
    }
}

/// What waits, and how much of it is being done.
struct Queue {
    mode: Mode,
    waiting: Mutex<Receiver<Box<dyn Work>>>,
    /// Batches that are being done.
    doing: Mutex<usize>,
    fewer: Condvar,
}

impl Queue {
    fn new(mode: Mode, waiting: Receiver<Box<dyn Work>>) -> Queue {
        Queue { mode, waiting: Mutex::new(waiting), doing: Mutex::new(0), fewer: Condvar::new() }
    }

    /// The next to run in one transaction: what waits of what writes, one of what reads. None: there will be no more.
    fn next_batch(&self) -> Vec<Box<dyn Work>> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(first) = waiting.recv() else { return Vec::new() };
        if self.mode == Mode::Read {
            return vec![first];
        }
        let doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.fewer.wait_timeout_while(doing, WRITING_TIME, |doing| *doing >= WRITING_MAX);
        *turn.unwrap_or_else(PoisonError::into_inner).0 += 1;
        std::iter::once(first).chain(waiting.try_iter().take(BATCH_MAX - 1)).collect()
    }

    /// The batch was done.
    fn ended(&self) {
        if self.mode == Mode::Write {
            *self.doing.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
            self.fewer.notify_one();
        }
    }
}

/// A connection with its prepared statements.
pub(super) struct Session {
    client: Client,
    statements: HashMap<String, Statement>,
}

impl Session {
    pub(super) fn execute(&mut self, statement: &Sql) -> Result<u64, Fault> {
        let prepared = self.prepare(&statement.text)?;
        self.client.execute(&prepared, &parameters(statement)).map_err(|e| fault(&e))
    }

    pub(super) fn query(
        &mut self,
        statement: &Sql,
        each: &mut dyn FnMut(&mut Row<'_>) -> Result<()>,
    ) -> Result<(), Fault> {
        let prepared = self.prepare(&statement.text)?;
        for row in self.client.query(&prepared, &parameters(statement)).map_err(|e| fault(&e))? {
            each(&mut Row { source: Source::Postgres(&row), next: 0 })?;
        }
        Ok(())
    }

    /// Runs an insert on arrays that gives back ids; gives them in the order of the rows, which is theirs.
    pub(super) fn insert_for_ids(&mut self, text: &str, arrays: &[Array<'_>]) -> Result<Vec<i64>, Fault> {
        let prepared = self.prepare_numbered(text)?;
        let rows = self.client.query(&prepared, &array_parameters(arrays)).map_err(|e| fault(&e))?;
        let ids: Result<Vec<i64>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        let mut ids = ids.map_err(|e| fault(&e))?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// Takes advisory locks, one after the other.
    pub(super) fn lock_all(&mut self, keys: Vec<i64>) -> Result<(), Fault> {
        let prepared =
            self.prepare_numbered("select pg_advisory_xact_lock(k) from unnest($1::bigint[]) k")?;
        self.client.execute(&prepared, &[&keys]).map_err(|e| fault(&e))?;
        Ok(())
    }

    /// Runs a statement on arrays; not at all if they are empty.
    pub(super) fn execute_arrays(&mut self, text: &str, arrays: &[Array<'_>]) -> Result<(), Fault> {
        if rows_of(arrays) > 0 {
            let prepared = self.prepare_numbered(text)?;
            self.client.execute(&prepared, &array_parameters(arrays)).map_err(|e| fault(&e))?;
        }
        Ok(())
    }

    /// Runs a statement that gives back positions in the arrays, beginning with 1; true for each that it gave.
    pub(super) fn positions(&mut self, text: &str, arrays: &[Array<'_>]) -> Result<Vec<bool>, Fault> {
        let mut found = vec![false; rows_of(arrays)];
        if found.is_empty() {
            return Ok(found);
        }
        let prepared = self.prepare_numbered(text)?;
        for row in self.client.query(&prepared, &array_parameters(arrays)).map_err(|e| fault(&e))? {
            let position: i64 = row.try_get(0).map_err(|e| fault(&e))?;
            let index = usize::try_from(position).ok().and_then(|n| n.checked_sub(1));
            if let Some(found) = index.and_then(|index| found.get_mut(index)) {
                *found = true;
            }
        }
        Ok(found)
    }

    fn simple(&mut self, text: &str) -> Result<()> {
        self.batch(text).map_err(|fault| fault.error)
    }

    /// Statements without values, such as those that define tables.
    pub(super) fn batch(&mut self, text: &str) -> Result<(), Fault> {
        self.client.batch_execute(text).map_err(|e| fault(&e))
    }

    fn prepare(&mut self, text: &str) -> Result<Statement, Fault> {
        if let Some(statement) = self.statements.get(text) {
            return Ok(statement.clone());
        }
        let numbered = numbered(&migrate::dialect(text, migrate::Dialect::Postgres));
        self.prepare_as(text, &numbered)
    }

    /// A statement whose parameters are `$1` and so on already.
    fn prepare_numbered(&mut self, text: &str) -> Result<Statement, Fault> {
        match self.statements.get(text) {
            Some(statement) => Ok(statement.clone()),
            None => self.prepare_as(text, text),
        }
    }

    fn prepare_as(&mut self, text: &str, numbered: &str) -> Result<Statement, Fault> {
        let statement = self.client.prepare(numbered).map_err(|e| fault(&e))?;
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        self.statements.insert(text.to_owned(), statement.clone());
        Ok(statement)
    }
}

fn parameters(statement: &Sql) -> Vec<&(dyn ToSql + Sync)> {
    statement.values.iter().map(|v| v as &(dyn ToSql + Sync)).collect()
}

fn rows_of(arrays: &[Array<'_>]) -> usize {
    arrays.first().map_or(0, Array::len)
}

fn array_parameter<'a>(array: &'a Array<'_>) -> &'a (dyn ToSql + Sync) {
    match array {
        Array::Int(values) => values,
        Array::Text(values) => values,
    }
}

fn array_parameters<'a>(arrays: &'a [Array<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    arrays.iter().map(array_parameter).collect()
}

/// `?` as `$1`, `$2` …; those in quotes stay.
fn numbered(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let (mut quoted, mut number) = (false, 0);
    for c in text.chars() {
        if c == '\'' {
            quoted = !quoted;
        }
        if c == '?' && !quoted {
            number += 1;
            out.push_str(&format!("${number}"));
        } else {
            out.push(c);
        }
    }
    out
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(v) => v.to_sql(ty, out),
            Value::Float(v) => v.to_sql(ty, out),
            Value::Bool(v) => v.to_sql(ty, out),
            Value::Text(v) => v.to_sql(ty, out),
            Value::Bytes(v) => v.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT8 | Type::FLOAT8 | Type::BOOL | Type::TEXT | Type::BYTEA)
    }

    to_sql_checked!();
}

pub(super) fn column(row: &::postgres::Row, index: usize) -> Result<Value> {
    let Some(column) = row.columns().get(index) else {
        return Err(Error::Internal(format!("a row has no column {index}")));
    };
    let value = match *column.type_() {
        Type::INT8 => row.try_get::<_, Option<i64>>(index).map(|v| v.map(Value::Int)),
        Type::INT4 => row.try_get::<_, Option<i32>>(index).map(|v| v.map(|v| Value::Int(v.into()))),
        Type::FLOAT8 => row.try_get::<_, Option<f64>>(index).map(|v| v.map(Value::Float)),
        Type::BOOL => row.try_get::<_, Option<bool>>(index).map(|v| v.map(Value::Bool)),
        Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(index).map(|v| v.map(Value::Bytes)),
        _ => row.try_get::<_, Option<String>>(index).map(|v| v.map(Value::Text)),
    };
    match value {
        Ok(value) => Ok(value.unwrap_or(Value::Null)),
        Err(error) => Err(Error::Internal(format!("column {index}: {error}"))),
    }
}

pub(super) fn fault(error: &::postgres::Error) -> Fault {
    let Some(server) = error.as_db_error() else {
        let cause = error.source().map(|s| format!(": {s}")).unwrap_or_default();
        let text = format!("{error}{cause}");
        let fatal = error.is_closed() || error.source().is_none_or(|s| s.is::<std::io::Error>());
        return if fatal || text.starts_with("error") {
            Error::Unavailable(text).into()
        } else {
            Error::Internal(text).into()
        };
    };
    let text = format!("{} ({})", server.message(), server.code().code());
    let run_again =
        [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(server.code());
    let error = match server.code().code().get(..2) {
        Some("23") => Error::Constraint(text),
        // 08 connection, 40 rollback, 53 resources, 57 operator intervention, 58 system error.
        Some("08" | "40" | "53" | "57" | "58") => Error::Unavailable(text),
        _ if server.severity() == "FATAL" => Error::Unavailable(text),
        // Whoever set a lock_timeout tries again later.
        _ if *server.code() == SqlState::LOCK_NOT_AVAILABLE => Error::Unavailable(text),
        _ => Error::Internal(text),
    };
    Fault { error, run_again }
}

#[cfg(test)]
mod tests {
    use super::numbered;

    #[test]
    fn question_marks_become_numbers_but_not_in_quotes() {
        assert_eq!(numbered("a = ? and b = '?''?' and c = ?"), "a = $1 and b = '?''?' and c = $2");
    }
}
