//! How SQLite goes about what is asked for each visit, sign of life and call: without statistics, with good ones, and
//! with those of an installation that had few trackers and leases when they were made.

use tempfile::TempDir;

use super::{OF_NUMBER, OF_SESSION, OF_VISITOR, TERMS};
use crate::db::{Db, Error, Location, Tx, sql};
use crate::kernel::clock::{Clock, Micros};
use crate::kernel::seed::Seed;

const STATISTICS: [&str; 4] = [
    "delete from sqlite_stat1",
    "insert into sqlite_stat1 values ('trackers', 'trackers_by_company', '1 1 1'),
     ('trackers', 'trackers_by_destination', '1 1')",
    "insert into sqlite_stat1 values ('trackers', 'trackers_by_company', '1 1 1'),
     ('trackers', 'trackers_by_destination', '1 1'), ('leases', 'leases_held', '1 1'), ('leases', 'leases_by_session', '1 1'),
     ('leases', 'leases_by_visitor', '1 1 1 1'),
     ('tracking_numbers', 'tracking_numbers_by_tracker', '1 1 1')",
    "insert into sqlite_stat1 values ('trackers', 'trackers_by_company', '200 2 1'),
     ('leases', 'leases_held', '5000 1'), ('leases', 'leases_by_session', '5000 1'),
     ('leases', 'leases_by_number', '900000 180 1'), ('leases', 'leases_by_visitor', '900000 1 1 1')",
];

/// The steps of a statement in an empty database with these statistics, without what joins them.
async fn steps(statement: String, statistics: &'static str) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let place = Location::Sqlite(folder.path().join("plan.sqlite3"));
    let db = Db::open(&place, Clock::manual(Micros(0)), Seed::fixed(1)).unwrap();
    let explain = move |tx: &mut Tx<'_>| {
        for prepare in ["analyze", statistics, "analyze sqlite_schema"] {
            tx.execute(sql(prepare))?;
        }
        let values = statement.matches('?').count();
        let explain = sql(format!("explain query plan {statement}"));
        tx.all::<(i64, i64, i64, String)>((0..values).fold(explain, |explain, _| explain.bind(1)))
    };
    let found = db.write::<_, Error, _>("test.plan", explain).await.unwrap();
    let steps = found.into_iter().map(|(.., step)| step);
    steps.filter(|step| step.starts_with("SEARCH") || step.starts_with("SCAN")).collect()
}

#[tokio::test]
async fn what_is_asked_most_is_found_by_its_index_whatever_statistics_say() {
    for (statement, expected) in [
        (OF_SESSION, &["SEARCH leases USING INDEX leases_by_session (session_id=?)"][..]),
        (OF_VISITOR, &["SEARCH leases USING INDEX leases_by_visitor (visitor_id=? AND tracker_id=?)"]),
        (TERMS, &["SEARCH trackers USING INTEGER PRIMARY KEY (rowid=?)"]),
        (
            OF_NUMBER,
            &[
                "SEARCH leases USING INDEX leases_held (number_id=?)",
                "SEARCH leases USING INDEX leases_by_number (number_id=? AND ended_at>?)",
            ],
        ),
    ] {
        for statistics in STATISTICS {
            assert_eq!(steps(statement.to_owned(), statistics).await, expected, "{statistics}");
        }
    }
}
