//! Fills a database in seconds by SQL of its own, as no product would: a million rows in a statement. One text serves
//! both engines.

use std::path::Path;

use crate::server::Place;

/// Runs the statements, each in a transaction of its own, while no server has the database open.
pub async fn fill(place: &Place, statements: Vec<String>) -> anyhow::Result<()> {
    let (file, url) = (place.folder.path().join("calltracker.sqlite3"), place.database_url.clone());
    let filling = move || match url {
        None => sqlite(&file, &statements),
        Some(url) => postgres(&url, &statements),
    };
    tokio::task::spawn_blocking(filling).await?
}

/// A common table with one column of numbers.
pub fn series(place: &Place, length: usize) -> String {
    match place.database_url {
        None => {
            format!("with recursive n (i) as (select 1 union all select i + 1 from n where i < {length})")
        }
        Some(_) => format!("with n (i) as (select generate_series(1, {length}))"),
    }
}

fn sqlite(file: &Path, statements: &[String]) -> anyhow::Result<()> {
    let conn = rusqlite::Connection::open(file)?;
    // The server turns the WAL on again.
    conn.execute_batch(
        "pragma journal_mode = delete; pragma journal_mode = off; pragma synchronous = off;
                        pragma cache_size = -500000;",
    )?;
    for statement in statements {
        conn.execute_batch(&format!("begin; {statement}; commit"))?;
    }
    Ok(())
}

fn postgres(url: &str, statements: &[String]) -> anyhow::Result<()> {
    let mut client = postgres::Client::connect(url, postgres::NoTls)?;
    for statement in statements {
        client.batch_execute(statement)?;
    }
    // As the server does by itself in the minutes after.
    Ok(client.batch_execute("vacuum analyze")?)
}
