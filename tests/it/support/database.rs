//! A database for one test: a file in a folder of its own, or a database of its own on the server that
//! TEST_DATABASE_URL names.

use std::path::PathBuf;

use calltracker::db::Location;
use calltracker::kernel::seed::Seed;
use tempfile::TempDir;

/// Gone when dropped.
pub struct TestDatabase {
    pub location: Location,
    folder: TempDir,
    /// The server's URL, and the name of the database on it.
    on_server: Option<(String, String)>,
}

impl TestDatabase {
    pub fn create() -> TestDatabase {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let Some(server) = server() else {
            let location = Location::Sqlite(folder.path().join("calltracker.sqlite3"));
            return TestDatabase { location, folder, on_server: None };
        };
        let name = format!("calltracker_test_{}", hex(Seed::system().bytes::<8>()));
        execute(&server, &format!("create database {name}"));
        let mut url: url::Url = server.parse().expect("TEST_DATABASE_URL is a URL");
        url.set_path(&name);
        TestDatabase { location: Location::Postgres(url.into()), folder, on_server: Some((server, name)) }
    }

    /// The database at this URL, which goes with its server.
    pub fn at(url: String) -> TestDatabase {
        let folder = tempfile::tempdir().expect("a folder can be made");
        TestDatabase { location: Location::Postgres(url), folder, on_server: None }
    }

    /// The setting that leads the server to it; None for a file.
    pub fn url(&self) -> Option<String> {
        match &self.location {
            Location::Sqlite(_) => None,
            Location::Postgres(url) => Some(url.clone()),
        }
    }

    /// Changes the database behind the server's back.
    pub fn execute(&self, statement: &str) {
        match &self.location {
            Location::Sqlite(path) => {
                let conn = rusqlite::Connection::open(path).expect("the file is there");
                conn.execute_batch(statement).expect("the statement works");
            }
            Location::Postgres(url) => execute(url, statement),
        }
    }

    /// The first column of a query on texts.
    pub fn texts(&self, query: &str) -> Vec<String> {
        match &self.location {
            Location::Sqlite(path) => {
                let conn = rusqlite::Connection::open(path).expect("the file is there");
                let mut statement = conn.prepare(query).expect("the query works");
                let rows = statement.query_map([], |row| row.get(0)).expect("the query works");
                rows.collect::<Result<_, _>>().expect("they are texts")
            }
            Location::Postgres(url) => on_thread(|| {
                let mut client =
                    postgres::Client::connect(url, postgres::NoTls).expect("the server is there");
                client.query(query, &[]).expect("the query works").iter().map(|row| row.get(0)).collect()
            }),
        }
    }

    /// For files.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some((server, name)) = &self.on_server {
            // The server under test may still hold connections: its task ends with the test's runtime.
            execute(server, &format!("drop database {name} with (force)"));
        }
    }
}

/// The URL of the server that the tests run on; None: they run on files.
pub fn server() -> Option<String> {
    std::env::var("TEST_DATABASE_URL").ok()
}

fn execute(url: &str, statement: &str) {
    on_thread(|| {
        let client = postgres::Client::connect(url, postgres::NoTls);
        client.expect("the server is there").batch_execute(statement).expect("the statement works");
    });
}

/// The client brings a runtime, and the test's thread has one already.
fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().expect("it didn't panic"))
}

fn hex(bytes: [u8; 8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
