//! `calltracker listen` as a process, and the place where it keeps its state.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use tempfile::TempDir;
use tokio::sync::watch;

use super::PATIENCE;
use super::program::TOKEN;

/// A developer's machine: outlives the runs on it.
pub struct Desk(TempDir);

impl Desk {
    pub fn new() -> Desk {
        Desk(tempfile::tempdir().expect("a folder can be made"))
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// The program with the account's token in its environment.
    pub fn bare(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_calltracker"));
        command.args(arguments).env("XDG_STATE_HOME", self.folder()).env("CALLTRACKER_TOKEN", TOKEN);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn command(&self, server: &str, to: &str, more: &[&str]) -> Command {
        let mut command = self.bare(&["listen", "--server", server, "--forward-to", to]);
        command.args(more);
        command
    }

    /// Starts it and waits until it follows the stream.
    pub async fn listen(&self, server: &str, to: &str, more: &[&str]) -> Listener {
        self.start(self.command(server, to, more)).await
    }

    pub async fn start(&self, mut command: Command) -> Listener {
        let mut child = command.stderr(Stdio::inherit()).spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("it was asked for"));
        let (sender, lines) = watch::channel(Vec::new());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                sender.send_modify(|lines| lines.push(line));
            }
        });
        let listener = Listener { child, lines };
        listener.line("Connected").await;
        listener
    }

    /// Runs it to its end.
    pub async fn ended(mut command: Command) -> Output {
        tokio::task::spawn_blocking(move || command.output()).await.expect("it ran").expect("it starts")
    }
}

/// Running; killed when dropped.
pub struct Listener {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
}

impl Listener {
    /// Waits for a line with `words` in it.
    pub async fn line(&self, words: &str) -> String {
        let mut lines = self.lines.clone();
        let there = lines.wait_for(|lines| lines.iter().any(|line| line.contains(words)));
        let there = tokio::time::timeout(PATIENCE, there).await;
        let lines = there.unwrap_or_else(|_| panic!("{words:?} comes: {:#?}", self.lines()));
        let lines = lines.unwrap_or_else(|_| panic!("{words:?} comes before the end: {:#?}", self.lines()));
        lines.iter().find(|line| line.contains(words)).cloned().expect("it was found")
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    pub async fn secret(&self) -> String {
        let line = self.line("signing secret").await;
        line.split_whitespace().last().expect("it has words").to_owned()
    }

    /// SIGTERM, or another signal.
    pub fn signal(&self, name: &str) {
        // The shell's own: a bare Debian has no kill program.
        let told = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(told.expect("a shell runs").success());
    }

    /// Waits for the end.
    pub async fn ended(mut self) -> ExitStatus {
        let ended = tokio::task::spawn_blocking(move || self.child.wait().expect("it ended"));
        tokio::time::timeout(PATIENCE, ended).await.expect("it ends").expect("it was waited for")
    }

    /// SIGTERM; waits for the end.
    pub async fn terminate(self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
