//! A PostgreSQL server of a test's own, which it may stop at any time.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use calltracker::kernel::seed::Seed;
use tempfile::TempDir;

use super::database::TestDatabase;

/// Below the range from which the system gives out ports by itself.
const PORT_MIN: u64 = 20_000;
const PORT_MAX: u64 = 32_000;

/// A running server; gone when dropped.
pub struct Cluster {
    bin: PathBuf,
    folder: TempDir,
    port: u64,
}

impl Cluster {
    pub fn start() -> Cluster {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let port =
            PORT_MIN + (u64::from(std::process::id()) + Seed::system().below(6_000)) % (PORT_MAX - PORT_MIN);
        let cluster = Cluster { bin: newest(), folder, port };
        if is_root() {
            // PostgreSQL refuses to run as root: then its package's own user runs it.
            let owned = Command::new("chown").arg("postgres").arg(cluster.folder.path()).status();
            assert!(owned.expect("there is a chown program").success());
        }
        let data = cluster.data();
        // The system doesn't end in these tests, so nothing needs fsync.
        cluster.run(
            "initdb",
            &["-D", &data, "-U", "calltracker", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"],
        );
        cluster.up();
        cluster
    }

    /// Its one database.
    pub fn database(&self) -> TestDatabase {
        TestDatabase::at(format!("postgres://calltracker@127.0.0.1:{}/postgres", self.port))
    }

    /// Ends it as a crash would, and starts it again.
    pub fn restart(&self) {
        self.run(
            "pg_ctl",
            &["-D", &self.data(), "-w", "-s", "-m", "immediate", "-l", &self.log(), "restart"],
        );
    }

    /// Ends it as a crash would.
    pub fn down(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-s", "-m", "immediate", "stop"]);
    }

    pub fn up(&self) {
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off",
            self.port,
            self.folder.path().display()
        );
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-s", "-l", &self.log(), "-o", &options, "start"]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let status = self.command(program).args(arguments).status().expect("PostgreSQL's programs run");
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        assert!(status.success(), "{program} {arguments:?}: {status}\n{log}");
    }

    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        // A server that inherits the test's output would keep it open. Nobody else can enter the test's folder.
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn data(&self) -> String {
        self.path("data")
    }

    fn log(&self) -> String {
        self.path("log")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("temporary folders have plain names").to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A failed test may have left it down.
        let _ =
            self.command("pg_ctl").args(["-D", &self.data(), "-w", "-s", "-m", "immediate", "stop"]).status();
    }
}

/// Where the newest PostgreSQL's programs are.
fn newest() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.unwrap().path()).max_by_key(version);
    newest.expect("PostgreSQL is installed").join("bin")
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // A process's folder in /proc is its user's.
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
