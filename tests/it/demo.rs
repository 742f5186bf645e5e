//! The demo as a user runs it: a receiver that is registered by its API gets all nine types, and the official
//! library accepts each; and calls of its web site's visitors are credited to them. It has its own database, so it runs once, not on each engine.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use calltracker::events::EventType;
use serde_json::json;

use crate::support::PATIENCE;
use crate::support::client::Api;
use crate::support::receiver::{Arrived, Receiver};
use crate::support::verifier;

#[tokio::test]
async fn a_receiver_with_the_official_library_gets_all_nine_types_from_the_demo() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_calltracker"))
        .args(["demo", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the demo starts");
    let mut lines = BufReader::new(demo.stdout.take().expect("it was asked for")).lines();
    let mut word_after = |label: &str| loop {
        let line = lines.next().expect("the demo introduces itself").expect("it writes text");
        if let Some(rest) = line.trim().strip_prefix(label) {
            return rest.trim().to_owned();
        }
    };
    let pages = word_after("Pages");
    let (_login, _docs, token) =
        (word_after("Login"), word_after("API documentation"), word_after("API token"));
    // What it says from now on has to go somewhere, or it would wait for a reader.
    let (tell, credits) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok).filter(|line| line.contains(" right so far")) {
            let _ = tell.send(line);
        }
    });

    let api = Api::new(pages.trim_end_matches('/'), &token);
    let receiver = Receiver::start().await;
    let made = api
        .post("/companies/1/webhooks", &json!({"target": receiver.url, "events": "all"}))
        .await
        .expect(201);
    let secret = made.json["secret"].as_str().expect("a new webhook has a secret").to_owned();
    let tracker = json!({
        "name": "Second flyer", "tracker_type": "offline", "number_type": "tollfree",
        "destination": "+18125550102", "numbers": {"buy": {"count": 1}},
    });
    let tracker = api.post("/companies/1/trackers", &tracker).await.expect(201).json;
    api.patch(&format!("/companies/1/trackers/{}", tracker["id"]), &json!({"name": "Third flyer"}))
        .await
        .expect(200);

    let kinds = |arrived: &[Arrived]| -> BTreeMap<String, Arrived> {
        arrived
            .iter()
            .map(|a| (a.kind(), a.clone()))
            .filter(|(kind, _)| EventType::parse(kind).is_some())
            .collect()
    };
    let arrived = receiver.wait_until(|arrived| kinds(arrived).len() == EventType::ALL.len()).await;
    for (kind, event) in kinds(&arrived) {
        assert!(verifier::accepts(&secret, &event), "{kind}");
    }
    let credited: Vec<String> =
        (0..3).map(|_| credits.recv_timeout(PATIENCE * 5).expect("visitors of the site call")).collect();
    assert!(credited[2].ends_with("right; 3 of 3 right so far"), "{credited:?}");
    demo.kill().expect("it is running");
    demo.wait().expect("it ended");
}
