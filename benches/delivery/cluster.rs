//! A PostgreSQL server of its own with its defaults, fsync among them; gone when dropped.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::disk;

pub struct Cluster {
    pub url: String,
    /// The process whose children serve the connections.
    pub pid: u32,
    folder: TempDir,
    programs: PathBuf,
}

impl Cluster {
    pub async fn start() -> anyhow::Result<Cluster> {
        // It blocks for a second or two, and nothing else is going on.
        tokio::task::spawn_blocking(Cluster::start_blocking).await?
    }

    fn start_blocking() -> anyhow::Result<Cluster> {
        let (folder, programs) = (disk::folder()?, programs()?);
        if is_root()? {
            run(Command::new("chown").arg("postgres").arg(folder.path()))?;
        }
        let data = folder.path().join("data");
        let mut initdb = postgres(&programs, "initdb")?;
        run(initdb.arg("-D").arg(&data).args([
            "-U",
            "calltracker",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
        ]))?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let options = format!("-p {port} -k {} -c listen_addresses=127.0.0.1", folder.path().display());
        let mut start = postgres(&programs, "pg_ctl")?;
        run(start
            .args(["-w", "-s", "start", "-o", &options, "-l"])
            .arg(folder.path().join("log"))
            .arg("-D")
            .arg(&data))?;
        let pid = std::fs::read_to_string(data.join("postmaster.pid"))?;
        let pid = pid.lines().next().context("it is there")?.trim().parse()?;
        let url = format!("postgres://calltracker@127.0.0.1:{port}/postgres");
        Ok(Cluster { url, pid, folder, programs })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stop = postgres(&self.programs, "pg_ctl").and_then(|mut stop| {
            run(stop.args(["-m", "immediate", "-s", "stop", "-D"]).arg(self.folder.path().join("data")))
        });
        if let Err(error) = stop {
            tracing::warn!(error = %error, "PostgreSQL can't be stopped");
        }
    }
}

/// Where the newest PostgreSQL's programs are.
fn programs() -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("looking for PostgreSQL")?.flatten();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|version| version.path()).max_by_key(number);
    Ok(newest.context("there is no PostgreSQL")?.join("bin"))
}

/// PostgreSQL refuses to run as root: then its package's own user runs it.
fn postgres(programs: &Path, name: &str) -> anyhow::Result<Command> {
    if !is_root()? {
        return Ok(Command::new(programs.join(name)));
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(programs.join(name));
    Ok(command)
}

fn is_root() -> anyhow::Result<bool> {
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("running {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
