//! Where the benchmarks' data lies, and what it costs to have something on that disk.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use crate::report::percentile;

/// Bytes of an append: a page of SQLite.
const APPEND_BYTES: usize = 4096;

/// A folder below target/, on the real disk, gone when dropped.
pub fn folder() -> anyhow::Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("delivery-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// The median time and the 99th percentile of small appends with fdatasync, `every` so often.
pub async fn fsync(appends: usize, every: Duration) -> anyhow::Result<(Duration, Duration)> {
    let folder = folder()?;
    let mut file = File::create(folder.path().join("appended"))?;
    let mut times = Vec::new();
    for _ in 0..appends {
        let (time, kept) = tokio::task::spawn_blocking(move || append(file)).await??;
        times.push(time);
        file = kept;
        tokio::time::sleep(every).await;
    }
    Ok((percentile(&mut times, 50), percentile(&mut times, 99)))
}

fn append(mut file: File) -> anyhow::Result<(Duration, File)> {
    let timer = Instant::now();
    file.write_all(&[b'x'; APPEND_BYTES])?;
    file.sync_data()?;
    Ok((timer.elapsed(), file))
}
