//! The official verification library of Standard Webhooks, in the language it was written in.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::receiver::Arrived;

/// Whether the Python library accepts a request by this secret. `scripts/test` has installed it.
pub fn accepts(secret: &str, arrived: &Arrived) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let body = std::str::from_utf8(&arrived.body).expect("bodies are UTF-8");
    let given = json!({"secret": secret, "headers": arrived.headers, "body": body});
    let mut child = Command::new(root.join("target/verifier/bin/python"))
        .arg(root.join("tests/it/verify.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("scripts/test has installed the library");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(given.to_string().as_bytes()).expect("it reads");
    drop(stdin);
    child.wait().expect("it ended").success()
}
