//! The real program as a process: what is true of it is true of what a user runs.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use calltracker::kernel::secret::SecretKey;
use calltracker::kernel::seed::Seed;

use super::client::Api;
use super::database::TestDatabase;

/// The account-wide token of every program under test.
pub const TOKEN: &str = "ct_a_token_that_only_tests_know";

/// A place for a program's data, which outlives its crashes.
pub struct Place {
    database: TestDatabase,
    key: String,
}

impl Place {
    pub fn new() -> Place {
        Place::with(TestDatabase::create())
    }

    /// With a database that the test has a hand on.
    pub fn with(database: TestDatabase) -> Place {
        Place { database, key: SecretKey::generate(&Seed::system()).to_text() }
    }

    /// A command of the program with the settings of this place.
    pub fn command(&self, command: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_calltracker"));
        program.args(command).arg("--data").arg(self.database.folder()).args(["--secret-key", &self.key]);
        if let Some(url) = self.database.url() {
            program.args(["--database-url", &url]);
        }
        program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        program
    }

    /// Starts the server and waits until it listens.
    pub fn serve(&self, more: &[&str]) -> Program {
        self.serve_at("127.0.0.1:0", more)
    }

    /// As [`Place::serve`], at an address that others know already.
    pub fn serve_at(&self, address: &str, more: &[&str]) -> Program {
        Program::start(self.server(address, more))
    }

    /// As [`Place::serve`], with these variables in its environment.
    pub fn serve_in(&self, environment: &[(&str, &str)], more: &[&str]) -> Program {
        let mut command = self.server("127.0.0.1:0", more);
        command.envs(environment.iter().copied());
        Program::start(command)
    }

    fn server(&self, address: &str, more: &[&str]) -> Command {
        let mut command = self.command(&["serve"]);
        command.args(["--listen", address, "--bootstrap-token", TOKEN]);
        command.args(["--webhooks-allow-targets", "127.0.0.0/8", "--carriers-allow-targets", "127.0.0.0/8"]);
        command.args(more).stderr(Stdio::inherit());
        command
    }

    /// Whether the data are in a file, rather than on a server.
    pub fn is_file(&self) -> bool {
        self.database.url().is_none()
    }

    pub fn folder(&self) -> std::path::PathBuf {
        self.database.folder()
    }

    pub fn database(&self) -> &TestDatabase {
        &self.database
    }
}

/// A running program; killed when dropped.
pub struct Program {
    child: Child,
    /// `http://address`.
    pub url: String,
    pub api: Api,
}

impl Program {
    fn start(mut command: Command) -> Program {
        let mut child = command.spawn().expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it was asked for");
        BufReader::new(stdout).read_line(&mut line).expect("the program says where it listens");
        let url = line.trim().strip_prefix("calltracker listening on ").expect("its first line").to_owned();
        Program { api: Api::new(&url, TOKEN), child, url }
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("it is running");
        self.child.wait().expect("it ended");
    }

    /// SIGTERM; waits for the end.
    pub fn terminate(self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    /// Sends a signal, by its name without SIG.
    pub fn signal(&self, name: &str) {
        // The shell's own: a bare Debian has no kill program.
        let told = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(told.expect("a shell runs").success());
    }

    /// Waits for an end that somebody else asked for.
    pub fn ended(mut self) -> ExitStatus {
        self.child.wait().expect("it ended")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
