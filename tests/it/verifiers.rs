//! The code that the event catalogue shows for checking signatures: it takes a real request of this program, and nothing
//! that was changed, is too old, or was signed with another secret. Run by each language's own interpreter or compiler,
//! which `scripts/test` installs.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};

use crate::support::TestApp;
use crate::support::receiver::Receiver;

/// A real request, and what must not be taken for one: with what is right about it.
async fn cases() -> Vec<(Json, bool)> {
    let app = TestApp::start().await;
    let company = app.company("Acme").await;
    let receiver = Receiver::start().await;
    let made = app
        .api
        .post(&company.path("/webhooks"), &json!({"target": receiver.url, "events": "all"}))
        .await
        .expect(201);
    let secret = made.json["secret"].as_str().unwrap().to_owned();
    let arrived = receiver.wait_for(1).await.remove(0);
    let at: i64 = arrived.headers["webhook-timestamp"].parse().unwrap();
    let body = String::from_utf8(arrived.body.to_vec()).unwrap();
    let real = json!({"secret": secret, "headers": arrived.headers, "body": body, "now": at});
    let but = |key: &str, value: Json| {
        let mut case = real.clone();
        case[key] = value;
        case
    };
    let headers = |name: &str, value: String| {
        let mut headers = real["headers"].clone();
        headers[name] = value.into();
        but("headers", headers)
    };
    let signature = &arrived.headers["webhook-signature"];
    vec![
        (real.clone(), true),
        (but("now", json!(at + 299)), true),
        (headers("webhook-signature", format!("v1,{} {signature}", "A".repeat(43) + "=")), true),
        (headers("webhook-signature", format!("v2,x {signature}")), true),
        (but("now", json!(at + 301)), false),
        (but("now", json!(at - 301)), false),
        (but("body", json!(body.replace("webhook", "Webhook"))), false),
        (but("secret", json!("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")), false),
        (headers("webhook-id", "msg_x".to_owned()), false),
        (headers("webhook-timestamp", (at + 1).to_string()), false),
        (headers("webhook-signature", signature.replace("v1,", "v2,")), false),
        (headers("webhook-signature", String::new()), false),
    ]
}

/// Runs a command in a folder that has the code and what calls it.
fn run(files: &[(&str, &str)], command: &[&str], cases: &[Json]) -> Vec<bool> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .current_dir(folder.path())
        .env("GOCACHE", folder.path().join("cache"))
        .env("GOPATH", folder.path().join("go"))
        .env("GOFLAGS", "-mod=mod")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; scripts/test installs it", command[0]));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(Json::from(cases.to_vec()).to_string().as_bytes()).unwrap();
    drop(stdin);
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{command:?}");
    serde_json::from_slice(&done.stdout).unwrap()
}

#[tokio::test]
async fn the_code_of_the_catalogue_takes_what_is_ours_and_nothing_else() {
    let (cases, wanted): (Vec<Json>, Vec<bool>) = cases().await.into_iter().unzip();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    for (language, command) in [
        ("py", &["python3", "check.py"][..]),
        ("mjs", &["node", "check.mjs"]),
        ("php", &["php", "check.php"]),
        ("rb", &["ruby", "check.rb"]),
    ] {
        let (code, check) = (format!("verify.{language}"), format!("check.{language}"));
        let texts = (read(&format!("static/verify/{code}")), read(&format!("tests/it/verifiers/{check}")));
        let taken = run(&[(&code, &texts.0), (&check, &texts.1)], command, &cases);
        assert_eq!(taken, wanted, "{language}");
    }
    let (code, check) = (read("static/verify/verify.go"), read("tests/it/verifiers/check.go.txt"));
    let files = [("go.mod", "module check\n"), ("webhook/verify.go", &code), ("main.go", &check)];
    assert_eq!(run(&files, &["go", "run", "."], &cases), wanted, "go");
}
