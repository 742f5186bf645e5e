//! The program itself: what a parent process can rely on.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

#[test]
fn the_program_says_where_it_listens_and_ends_with_its_parents_pipe() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_carrier-sim"))
        .args(["--exit-with-stdin", "--scale", "20"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let addresses = line
        .trim_end()
        .strip_prefix("carrier-sim listening on http://127.0.0.1:")
        .and_then(|rest| rest.split_once(" control http://127.0.0.1:"))
        .unwrap();
    assert_ne!(addresses.0, addresses.1);
    drop(program.stdin.take());
    assert!(program.wait().unwrap().success());
}
