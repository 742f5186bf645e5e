//! `calltracker listen` as a developer runs it: the real command, against a real server and a receiver of the
//! developer's own.

use std::process::Output;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;

use crate::support::client::Api;
use crate::support::listener::Desk;
use crate::support::program::{Place, Program, TOKEN};
use crate::support::receiver::{Answer, Arrived, Receiver};
use crate::support::simulator::Simulator;
use crate::support::verifier;
use crate::support::world::{ACCOUNT_SID, AUTH_TOKEN};

/// A company whose tracker is renamed for each event that a test wants.
struct Shop {
    place: Place,
    program: Program,
    _simulator: Simulator,
}

impl Shop {
    /// Its log begins with a `tracker.created`.
    async fn open() -> Shop {
        let (place, simulator) = (Place::new(), Simulator::start());
        let program = place.serve(&[]);
        let api = &program.api;
        found(api, "Acme").await;
        let account = json!({"kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": simulator.url});
        api.post("/companies/1/carriers", &account).await.expect(201);
        make_tracker(api).await;
        Shop { place, program, _simulator: simulator }
    }

    async fn rename(&self, name: &str) {
        rename(&self.program.api, name).await;
    }
}

/// Makes a `tracker.updated`.
async fn rename(api: &Api, name: &str) {
    api.patch("/companies/1/trackers/1", &json!({"name": name})).await.expect(200);
}

async fn found(api: &Api, name: &str) {
    let company = json!({"name": name, "time_zone": "UTC", "country": "US"});
    api.post("/companies", &company).await.expect(201);
}

async fn make_tracker(api: &Api) {
    let tracker = json!({
        "name": "Flyer", "tracker_type": "offline", "number_type": "local", "destination": "+18125550101",
        "numbers": {"buy": {"area_code": "270", "count": 1}},
    });
    api.post("/companies/1/trackers", &tracker).await.expect(201);
}

fn names(arrived: &[Arrived]) -> Vec<String> {
    arrived.iter().map(|a| a.json()["data"]["name"].as_str().unwrap().to_owned()).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Without what differs from webhook to webhook.
fn common(mut arrived: Arrived) -> (Vec<(String, String)>, String, String) {
    let own = ["webhook-timestamp", "webhook-signature", "content-length", "host"];
    let id = arrived.headers.remove("webhook-id").unwrap();
    let event = id.rsplit_once('_').unwrap().0.to_owned();
    let mut headers: Vec<_> =
        arrived.headers.into_iter().filter(|(name, _)| !own.contains(&name.as_str())).collect();
    headers.sort();
    let body = String::from_utf8(arrived.body.to_vec()).unwrap();
    let (body, webhook) = body.split_once(r#","webhook":"#).unwrap();
    assert!(webhook.starts_with(r#"{"id":"#) && webhook.ends_with("}}"), "{webhook}");
    (headers, event, body.to_owned())
}

#[tokio::test]
async fn events_arrive_as_a_webhook_gets_them_but_for_its_id_target_and_signature() {
    let (shop, desk) = (Shop::open().await, Desk::new());
    let (real, local) = (Receiver::start().await, Receiver::start().await);
    let webhook = json!({"target": real.url, "events": "all"});
    shop.program.api.post("/companies/1/webhooks", &webhook).await.expect(201);
    real.wait_for(1).await;
    let listener = desk.listen(&shop.program.url, &local.url, &[]).await;
    shop.rename("Größe \u{1F4DE} \"1\" </a>").await;
    let (real, local) = (real.wait_for_events(1).await, local.wait_for_events(1).await);
    assert!(verifier::accepts(&listener.secret().await, &local[0]));
    assert!(local[0].id().ends_with("_0"), "{}", local[0].id());
    assert_eq!(local[0].json()["webhook"]["id"], 0);
    assert_eq!(common(local[0].clone()), common(real[0].clone()));
    let line = listener.line("tracker.updated").await;
    assert!(line.contains("-> 200") && !line.contains("NOT DELIVERED"), "{line}");
    assert_eq!(listener.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_restart_goes_on_behind_the_last_event_with_the_same_secret() {
    let (shop, desk, local) = (Shop::open().await, Desk::new(), Receiver::start().await);
    let listener = desk.listen(&shop.program.url, &local.url, &[]).await;
    let secret = listener.secret().await;
    assert_eq!(listener.terminate().await.code(), Some(0));
    // The first run has seen no event, and yet the second one begins where the first did.
    shop.rename("A").await;
    let listener = desk.listen(&shop.program.url, &local.url, &[]).await;
    listener.line("-> 200").await;
    assert_eq!(listener.terminate().await.code(), Some(0));
    shop.rename("B").await;
    shop.rename("C").await;
    let listener = desk.listen(&shop.program.url, &local.url, &[]).await;
    assert_eq!(names(&local.wait_for(3).await), ["A", "B", "C"]);
    assert_eq!(listener.secret().await, secret);
    // kill -9, perhaps before the last event was noted: it may come once more, and nothing is left out.
    drop(listener);
    shop.rename("D").await;
    let _listener = desk.listen(&shop.program.url, &local.url, &[]).await;
    let arrived = local.wait_until(|arrived| names(arrived).contains(&"D".to_owned())).await;
    let again = names(&arrived)[3..].to_vec();
    assert!(again == ["D"] || again == ["C", "D"], "{again:?}");
}

#[tokio::test]
async fn a_run_from_the_start_or_since_an_event_sends_it_again_under_the_same_id() {
    let (shop, desk, local) = (Shop::open().await, Desk::new(), Receiver::start().await);
    shop.rename("A").await;
    shop.rename("B").await;
    let listener = desk.listen(&shop.program.url, &local.url, &["--from-start"]).await;
    let all = local.wait_for(3).await;
    assert_eq!(names(&all), ["Flyer", "A", "B"]);
    listener.line("Connected: what came behind event 0").await;
    drop(listener);
    let listed = shop.program.api.get("/companies/1/events").await.expect(200);
    let second = listed.ids()[1].to_string();
    let _listener = desk.listen(&shop.program.url, &local.url, &["--since", &second]).await;
    let again = local.wait_for(4).await;
    assert_eq!((again[3].id(), &again[3].body), (all[2].id(), &all[2].body));
}

#[tokio::test]
async fn only_the_wanted_types_are_forwarded_and_the_others_are_passed_for_good() {
    let (shop, desk, local) = (Shop::open().await, Desk::new(), Receiver::start().await);
    let wanted = ["--from-start", "--events", "usage.created,tracker.updated"];
    let listener = desk.listen(&shop.program.url, &local.url, &wanted).await;
    shop.rename("A").await;
    local.wait_for(1).await;
    make_tracker(&shop.program.api).await;
    shop.rename("B").await;
    assert_eq!(names(&local.wait_for(2).await), ["A", "B"]);
    assert_eq!(listener.terminate().await.code(), Some(0));
    let _listener = desk.listen(&shop.program.url, &local.url, &[]).await;
    shop.rename("C").await;
    assert_eq!(names(&local.wait_for(3).await), ["A", "B", "C"]);
}

#[tokio::test]
async fn a_server_that_restarts_is_found_again_and_nothing_is_left_out() {
    let (Shop { place, mut program, _simulator }, desk) = (Shop::open().await, Desk::new());
    let local = Receiver::start().await;
    let address = program.url.strip_prefix("http://").unwrap().to_owned();
    let listener = desk.listen(&program.url, &local.url, &[]).await;
    for name in ["A", "B"] {
        program.kill();
        program = place.serve_at(&address, &[]);
        rename(&program.api, name).await;
        local.wait_until(|arrived| names(arrived).last().is_some_and(|last| last == name)).await;
    }
    assert_eq!(names(&local.arrived()), ["A", "B"]);
    let told = listener.lines();
    for told_once in ["Lost the server", "The server is back"] {
        assert_eq!(told.iter().filter(|line| line.starts_with(told_once)).count(), 2, "{told:#?}");
    }
}

#[tokio::test]
async fn a_receiver_that_fails_is_shown_and_the_next_event_follows() {
    let (shop, desk, local) = (Shop::open().await, Desk::new(), Receiver::start().await);
    let listener = desk.listen(&shop.program.url, &local.url, &[]).await;
    for (status, name) in [(500, "A"), (201, "B"), (307, "C")] {
        local.answer(Answer::Status(status));
        shop.rename(name).await;
        let line = listener.line(&format!("-> {status}")).await;
        assert!(line.contains("NOT DELIVERED"), "{line}");
    }
    local.answer(Answer::Status(200));
    shop.rename("D").await;
    listener.line("-> 200").await;
    assert_eq!(names(&local.arrived()), ["A", "B", "C", "D"], "none is sent twice");
    let listed = shop.program.api.get("/companies/1/events").await.expect(200);
    let advice = format!("--since {} does", listed.ids()[0]);
    assert_eq!(listener.lines().iter().filter(|line| line.contains("--since")).count(), 1);
    listener.line(&advice).await;
}

/// An address at which connections are refused until somebody listens.
fn reserved() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/hook", socket.local_addr().unwrap());
    (socket, url)
}

#[tokio::test]
async fn a_receiver_that_is_down_is_waited_for() {
    let (shop, desk) = (Shop::open().await, Desk::new());
    let (socket, url) = reserved();
    let listener = desk.listen(&shop.program.url, &url, &[]).await;
    shop.rename("A").await;
    shop.rename("B").await;
    let line = listener.line("It is waited for").await;
    assert!(line.contains("the connection was refused"), "{line}");
    let local = Receiver::on(socket.listen(16).unwrap());
    assert_eq!(names(&local.wait_for(2).await), ["A", "B"]);
    assert_eq!(listener.lines().iter().filter(|line| line.contains("waited for")).count(), 1);
}

#[tokio::test]
async fn an_event_that_waits_for_its_receiver_when_the_run_ends_is_the_next_runs_first() {
    let (shop, desk) = (Shop::open().await, Desk::new());
    let (socket, url) = reserved();
    let listener = desk.listen(&shop.program.url, &url, &[]).await;
    shop.rename("A").await;
    listener.line("It is waited for").await;
    listener.signal("INT");
    assert_eq!(listener.ended().await.code(), Some(0));
    let local = Receiver::on(socket.listen(16).unwrap());
    let _listener = desk.listen(&shop.program.url, &url, &[]).await;
    assert_eq!(names(&local.wait_for(1).await), ["A"]);
}

#[tokio::test]
async fn a_receiver_that_was_waited_for_in_vain_does_not_hold_up_the_events_behind() {
    let (shop, desk) = (Shop::open().await, Desk::new());
    let (socket, url) = reserved();
    let patience = ["--from-start", "--patience", "300ms"];
    let listener = desk.listen(&shop.program.url, &url, &patience).await;
    shop.rename("A").await;
    for event in ["tracker.created", "tracker.updated"] {
        let line = listener.line(event).await;
        assert!(line.contains("NOT DELIVERED: connect: the connection was refused"), "{line}");
    }
    assert_eq!(listener.lines().iter().filter(|line| line.contains("waited for")).count(), 1);
    let local = Receiver::on(socket.listen(16).unwrap());
    shop.rename("B").await;
    assert_eq!(names(&local.wait_for(1).await), ["B"]);
}

#[tokio::test]
async fn the_event_on_its_way_is_seen_through_when_the_run_ends() {
    let (shop, desk, local) = (Shop::open().await, Desk::new(), Receiver::start().await);
    let release = Arc::new(Notify::new());
    local.answer(Answer::Held(release.clone()));
    let listener = desk.listen(&shop.program.url, &local.url, &[]).await;
    shop.rename("A").await;
    shop.rename("B").await;
    local.wait_for(1).await;
    listener.signal("TERM");
    release.notify_one();
    assert_eq!(listener.ended().await.code(), Some(0));
    local.answer(Answer::Status(200));
    let _listener = desk.listen(&shop.program.url, &local.url, &[]).await;
    assert_eq!(names(&local.wait_for(2).await), ["A", "B"]);
}

#[tokio::test]
async fn the_company_is_the_tokens_or_the_only_one_or_has_to_be_chosen() {
    let (place, desk, local) = (Place::new(), Desk::new(), Receiver::start().await);
    let mut program = place.serve(&[]);
    let none = Desk::ended(desk.command(&program.url, &local.url, &[])).await;
    assert_eq!(none.status.code(), Some(2));
    assert!(said(&none).contains("no company"), "{}", said(&none));
    found(&program.api, "Acme").await;
    found(&program.api, "Other").await;
    let several = Desk::ended(desk.command(&program.url, &local.url, &[])).await;
    assert_eq!(several.status.code(), Some(2));
    assert!(said(&several).contains("--company\n  1  Acme\n  2  Other"), "{}", said(&several));
    drop(desk.listen(&program.url, &local.url, &["--company", "2"]).await);

    assert_eq!(program.terminate().code(), Some(0));
    let words = ["token", "create", "--name", "ana", "--company", "2", "--read-only"];
    let token = place.command(&words).output().unwrap();
    assert!(token.status.success(), "{}", said(&token));
    let token = String::from_utf8(token.stdout).unwrap().trim().to_owned();
    program = place.serve(&[]);
    let listener = desk.listen(&program.url, &local.url, &["--token", &token]).await;
    listener.line("Forwarding events of Other").await;
    let theirs = desk.command(&program.url, &local.url, &["--token", &token, "--company", "1"]);
    let theirs = Desk::ended(theirs).await;
    assert_eq!(theirs.status.code(), Some(2));
    assert!(said(&theirs).contains("not for this token"), "{}", said(&theirs));
}

#[tokio::test]
async fn what_cannot_work_ends_it_with_a_sentence() {
    let (place, desk) = (Place::new(), Desk::new());
    let program = place.serve(&[]);
    found(&program.api, "Acme").await;
    let (server, here) = (program.url.as_str(), "http://127.0.0.1:9/hook");
    let (_socket, nobody) = reserved();
    let nobody = nobody.trim_end_matches("/hook");
    for (server, to, more, code, named) in [
        (server, here, &["--token", "ct_wrong"][..], 2, "the token is not valid"),
        (server, here, &["--token", "a b\n"], 2, "--token"),
        (server, here, &["--company", "7"], 2, "404"),
        (server, here, &["--events", "call.finish"], 2, "call.finish"),
        (server, here, &["--secret", "whsec_AAEC"], 2, "--secret"),
        (server, here, &["--since", "1", "--from-start"], 2, "--from-start"),
        (server, here, &["--since", "-1"], 2, "-1"),
        (server, here, &["--patience", "soon"], 2, "soon"),
        (server, "localhost:3000", &[], 2, "--forward-to must begin with"),
        (nobody, here, &[], 1, "can't be reached: the connection was refused"),
        ("ftp://localhost", here, &[], 2, "--server"),
    ] {
        let output = Desk::ended(desk.command(server, to, more)).await;
        assert_eq!(output.status.code(), Some(code), "{more:?} {server} {to}: {}", said(&output));
        assert!(said(&output).contains(named), "{more:?} {server} {to}: {}", said(&output));
    }
    let mut command = desk.command(server, here, &[]);
    command.env("CALLTRACKER_TOKN", TOKEN);
    let output = Desk::ended(command).await;
    assert_eq!((output.status.code(), said(&output).contains("CALLTRACKER_TOKN")), (Some(2), true));
}

#[tokio::test]
async fn settings_come_from_the_environment_too() {
    let (shop, desk, local) = (Shop::open().await, Desk::new(), Receiver::start().await);
    let secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let mut command = desk.bare(&["listen", "--from-start"]);
    command
        .env("CALLTRACKER_SERVER", &shop.program.url)
        .env("CALLTRACKER_FORWARD_TO", &local.url)
        .env("CALLTRACKER_COMPANY", "1")
        .env("CALLTRACKER_EVENTS", "tracker.created")
        .env("CALLTRACKER_SECRET", secret)
        .env("CALLTRACKER_STATE", desk.folder().join("mine.json"))
        .env("CALLTRACKER_PATIENCE", "1s");
    let listener = desk.start(command).await;
    let arrived = local.wait_for(1).await;
    assert!(verifier::accepts(secret, &arrived[0]));
    listener.line("as given").await;
    assert!(desk.folder().join("mine.json").exists());
}

#[tokio::test]
async fn a_company_that_is_gone_ends_it() {
    let (place, desk, local) = (Place::new(), Desk::new(), Receiver::start().await);
    let mut program = place.serve(&[]);
    found(&program.api, "Acme").await;
    let address = program.url.strip_prefix("http://").unwrap().to_owned();
    let listener = desk.listen(&program.url, &local.url, &[]).await;
    program.api.delete("/companies/1").await.expect(204);
    assert_eq!(program.terminate().code(), Some(0));
    program = place.serve_at(&address, &[]);
    assert_eq!(listener.ended().await.code(), Some(2));
    drop(program);
}

#[tokio::test]
async fn a_company_that_was_made_anew_begins_anew() {
    let (mut place, desk, local) = (Place::new(), Desk::new(), Receiver::start().await);
    let mut program = place.serve(&[]);
    found(&program.api, "Acme").await;
    let address = program.url.strip_prefix("http://").unwrap().to_owned();
    drop(desk.listen(&program.url, &local.url, &["--since", "5000"]).await);
    program.kill();
    place = Place::new();
    program = place.serve_at(&address, &[]);
    found(&program.api, "Acme").await;
    let listener = desk.listen(&program.url, &local.url, &[]).await;
    listener.line("the server's data are new").await;
    listener.line("Connected: it begins with the next event").await;
}

#[tokio::test]
async fn an_endless_event_ends_it_instead_of_filling_its_memory() {
    let (desk, local) = (Desk::new(), Receiver::start().await);
    let company = json!({"id": 1, "name": "Acme", "created_at": "2026-03-09T09:00:00.000000Z"}).to_string();
    let list = format!(r#"{{"data":[{company}],"next":null}}"#);
    let endless = "id: 0\n\ndata: ".to_owned() + &"x".repeat(3 << 20);
    let app = Router::new()
        .route("/api/v1/companies", get(|| async { list }))
        .route("/api/v1/companies/1", get(|| async { company }))
        .route(
            "/api/v1/companies/1/events/stream",
            get(|| async { ([(CONTENT_TYPE, "text/event-stream")], endless) }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let output = Desk::ended(desk.command(&url, &local.url, &[])).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("longer than"), "{}", said(&output));
}
