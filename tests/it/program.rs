//! The program as a process: what it refuses, how it ends, and what survives when it is killed.

use std::collections::{HashMap, HashSet};
use std::process::Output;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use calltracker::kernel::seed::Seed;
use futures_util::future::join_all;
use ring::hmac;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use crate::support::client::Api;
use crate::support::program::{Place, TOKEN};
use crate::support::receiver::{Answer, Arrived, Receiver};
use crate::support::simulator::Simulator;
use crate::support::world::{ACCOUNT_SID, AUTH_TOKEN};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn unknown_and_malformed_settings_end_it_with_code_2_and_their_name() {
    let place = Place::new();
    for (flag, named) in [
        (["--webhooks-timeot", "1s"], "--webhooks-timeot"),
        (["--webhooks-timeout", "soon"], "soon"),
        (["--webhooks-retry-schedule", "55s,5x"], "5x"),
        (["--listen", "nowhere"], "nowhere"),
        (["--webhooks-allow-targets", "10.0.0.0/40"], "10.0.0.0/40"),
        (["--mail-smtp-url", "smtp://mail.example"], "mail.from"),
    ] {
        let output = place.command(&["serve"]).args(flag).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flag:?}");
        assert!(said(&output).contains(named), "{flag:?}: {}", said(&output));
    }
    let output = place.command(&["serve"]).env("CALLTRACKER_WEBHOOKS_TIMEOT", "1s").output().unwrap();
    assert_eq!(
        (output.status.code(), said(&output).contains("CALLTRACKER_WEBHOOKS_TIMEOT")),
        (Some(2), true)
    );
    let file = place.folder().join("settings.toml");
    std::fs::write(&file, "[webhooks]\ncolour = \"red\"\n").unwrap();
    let output = place.command(&["serve"]).arg("--config").arg(&file).output().unwrap();
    assert_eq!(
        (output.status.code(), said(&output).contains("colour")),
        (Some(2), true),
        "{}",
        said(&output)
    );
}

#[test]
fn a_malformed_mail_server_is_told_without_its_password() {
    let place = Place::new();
    let mut command = place.command(&["serve"]);
    command.args(["--mail-from", "alerts@calls.example"]);
    command.env("CALLTRACKER_MAIL_SMTP_URL", "smtp://user:hunter2@mail.example/inbox");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("mail.smtp_url must be smtp"), "{}", said(&output));
    let help =
        place.command(&["serve", "--help"]).env("CALLTRACKER_MAIL_SMTP_URL", "smtp://hunter2").output();
    let help = help.unwrap();
    let all = said(&output) + &said(&help) + &String::from_utf8_lossy(&help.stdout);
    assert!(all.contains("CALLTRACKER_MAIL_SMTP_URL") && !all.contains("hunter2"), "{all}");
}

#[tokio::test]
async fn a_sigterm_ends_it_in_order_with_code_0_and_nothing_is_lost_or_sent_twice() {
    let place = Place::new();
    let (program, receiver) = (place.serve(&[]), Receiver::start().await);
    let company = json!({"name": "Acme", "time_zone": "UTC", "country": "US"});
    program.api.post("/companies", &company).await.expect(201);
    let webhook = json!({"target": receiver.url, "events": "all"});
    program.api.post("/companies/1/webhooks", &webhook).await.expect(201);
    until_active(&program.api).await;
    assert_eq!(program.terminate().code(), Some(0));
    let program = place.serve(&[]);
    let list = program.api.get("/companies/1/webhooks").await.expect(200);
    assert_eq!(list.json["data"][0]["status"], "active");
}

#[tokio::test]
async fn a_file_in_use_and_a_newer_schema_are_refused() {
    let place = Place::new();
    let program = place.serve(&[]);
    if place.is_file() {
        let output = place.command(&["serve"]).args(["--listen", "127.0.0.1:0"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("in use"), "{}", said(&output));
    }
    assert_eq!(program.terminate().code(), Some(0));
    place.database().execute("insert into schema_version values (9999)");
    let output = place.command(&["serve"]).args(["--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("newer"), "{}", said(&output));
}

#[tokio::test]
async fn health_is_told_and_counters_are_shown() {
    let place = Place::new();
    let program = place.serve(&[]);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(reqwest::get(format!("{}{path}", program.url)).await.unwrap().status().as_u16(), 200);
    }
    program.api.get("/companies").await.expect(200);
    let metrics = reqwest::get(format!("{}/metrics", program.url)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("calltracker_api_requests_total{operation=\"list_companies\""), "{metrics}");
}

/// Carriers sign the URL that they were given: it is the same for each process.
const PUBLIC: [&str; 2] = ["--public-url", "http://public.example"];

/// A carrier's signed request: the algorithm of its documentation, written again.
fn signed(url: &str, form: &[(&str, String)]) -> (String, String) {
    let mut sorted = form.to_vec();
    sorted.sort();
    let text = sorted.iter().fold(url.to_owned(), |text, (name, value)| text + name + value);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, AUTH_TOKEN.as_bytes());
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    (STANDARD.encode(hmac::sign(&key, text.as_bytes())), body)
}

/// kill -9 while a carrier posts calls: each one that was answered is there afterwards, once, with its
/// event, and the event arrives.
#[tokio::test]
async fn what_was_answered_survives_kill_9() {
    let place = Place::new();
    let (simulator, receiver) = (Simulator::start(), Receiver::start().await);
    let hook = open_shop(&place, &simulator, &receiver).await;
    let chance = Seed::system();
    let mut answered = HashSet::new();
    for round in 0..5 {
        let program = place.serve(&PUBLIC);
        let url = hook.replace("http://public.example", &program.url);
        let posts = (0..40).map(|n| call(&hook, &url, format!("CA{round:016}{n:016}")));
        let kill = async {
            // Somewhere among the requests: after a random number of round trips.
            for _ in 0..chance.below(20) {
                let _ = reqwest::get(format!("{}/healthz", program.url)).await;
            }
            program.kill();
        };
        let (answers, ()) = tokio::join!(join_all(posts), kill);
        answered.extend(answers.into_iter().flatten());
    }
    let program = place.serve(&PUBLIC);
    let known = place.database().texts("select carrier_call_id from calls");
    let lost: Vec<_> = answered.iter().filter(|sid| !known.contains(sid)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(!answered.is_empty(), "some were answered before the program was killed");
    let shown = program.api.get("/companies/1/calls?limit=500").await.expect(200);
    assert_eq!(shown.json["data"].as_array().unwrap().len(), known.len());
    let calls_told = |arrived: &[Arrived]| {
        arrived.iter().filter_map(|a| a.json()["data"]["id"].as_i64()).collect::<HashSet<_>>().len()
    };
    let arrived = receiver.wait_until(|arrived| calls_told(arrived) >= known.len()).await;
    let events: HashSet<_> =
        arrived.iter().filter(|a| a.kind() == "call.received").map(Arrived::id).collect();
    assert_eq!(events.len(), known.len(), "one event for each call");
}

/// Page views are written within a second; here a machine may be busy with other tests, too.
const SURELY_WRITTEN: Duration = Duration::from_secs(3);

/// A site of a real program, as its script sees it.
struct Visits<'a> {
    api: &'a Api,
    /// Before `session` and the like.
    base: String,
    http: reqwest::Client,
}

impl Visits<'_> {
    async fn of<'a>(url: &str, api: &'a Api) -> Visits<'a> {
        let company = api.get("/companies/1").await.expect(200).json;
        let base = format!("{url}/dni/{}", company["site_key"].as_str().unwrap());
        Visits { api, base, http: reqwest::Client::new() }
    }

    /// None: it wasn't answered.
    async fn post(&self, what: &str, body: &Json) -> Option<reqwest::Response> {
        let request = self.http.post(format!("{}/{what}", self.base)).body(body.to_string());
        request
            .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/148.0.0.0 Safari/537.36")
            .send()
            .await
            .ok()
    }

    /// A new visitor's landing page, and the number that they were shown if they were.
    async fn begin(&self, n: usize) -> Option<(String, String, Json)> {
        let page = format!("https://shop.example/landing/{n}");
        let response = self.post("session", &json!({ "url": page })).await?;
        assert_eq!(response.status(), 200);
        let answer: Json = response.json().await.ok()?;
        Some((page, answer["swaps"][0]["number"].as_str().expect("a number").to_owned(), answer))
    }

    /// The pages of the first visit.
    async fn pages(&self) -> Vec<String> {
        let visit = self.api.get("/companies/1/sessions/1").await.expect(200).json;
        let pages = visit["pages"].as_array().unwrap().iter();
        pages.map(|page| page["url"].as_str().unwrap().to_owned()).collect()
    }
}

/// kill -9 while people look at a site: who was answered has their visit, with its number and landing page; and no page
/// view is missing but those of the last moment.
#[tokio::test]
async fn visits_survive_kill_9_and_so_do_their_pages_but_the_last() {
    let (simulator, place) = (Simulator::start(), Place::new());
    let serve = || place.serve(&["--visits-rate-per-minute", "1000000", "--api-rate-per-minute", "1000000"]);
    let program = serve();
    let api = &program.api;
    let company = json!({"name": "Acme", "time_zone": "UTC", "country": "US"});
    api.post("/companies", &company).await.expect(201);
    let account = json!({"kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": simulator.url});
    api.post("/companies/1/carriers", &account).await.expect(201);
    let pool = json!({
        "name": "Web site", "destination": "+18125550101", "tracker_type": "number_pool",
        "swap_target": "+12705550100", "number_pool_size": 5, "numbers": {"buy": {}},
    });
    api.post("/companies/1/trackers", &pool).await.expect(201);
    let visits = Visits::of(&program.url, api).await;
    let first = visits.begin(0).await.expect("it is answered");
    let mut sent: Vec<(Instant, String)> = Vec::new();
    loop {
        let page = format!("https://shop.example/page/{}", sent.len());
        let body = json!({"session": first.2["session"], "url": page, "title": "A page"});
        assert_eq!(visits.post("page", &body).await.expect("it is answered").status(), 204);
        sent.push((Instant::now(), page));
        // The landing page is one of them. Some wait to be written, others have waited for long enough.
        let is_waiting = visits.pages().await.len() <= sent.len();
        if is_waiting && sent[0].0.elapsed() > SURELY_WRITTEN {
            break;
        }
    }
    let chance = Seed::system();
    let posts = (1..40).map(|n| visits.begin(n));
    let kill = async {
        for _ in 0..chance.below(20) {
            let _ = reqwest::get(format!("{}/healthz", program.url)).await;
        }
        program.signal("KILL");
        Instant::now()
    };
    let (answers, killed_at) = tokio::join!(join_all(posts), kill);
    program.kill();
    let program = serve();
    let visits = Visits::of(&program.url, &program.api).await;
    let known: HashMap<String, String> = visits
        .api
        .list("/companies/1/sessions?limit=100")
        .await
        .iter()
        .map(|visit| (&visit["landing_page"], &visit["decisions"][0]["number"]))
        .map(|(page, number)| (page.as_str().unwrap().to_owned(), number.as_str().unwrap().to_owned()))
        .collect();
    for (page, number, _) in answers.iter().flatten().chain([&first]) {
        assert_eq!(known.get(page), Some(number), "{page}");
    }
    let written: HashSet<String> = visits.pages().await.into_iter().collect();
    let due = sent.iter().filter(|(at, _)| killed_at.duration_since(*at) > SURELY_WRITTEN);
    let missing: Vec<_> = due.clone().filter(|(_, page)| !written.contains(page)).collect();
    assert!(due.count() > 0 && missing.is_empty(), "{missing:?}");
    assert!(written.contains(&first.0));
    eprintln!(
        "{} visits answered, {} of {} pages",
        answers.iter().flatten().count(),
        written.len() - 1,
        sent.len()
    );
}

/// Creating a webhook sends its verification in the background: waits for what came of it.
async fn until_active(api: &Api) {
    while api.get("/companies/1/webhooks/1").await.expect(200).json["status"] != "active" {}
}

/// Posts a call and gives its id if it was answered with TwiML.
async fn call(hook: &str, url: &str, sid: String) -> Option<String> {
    let form = [
        ("CallSid", sid.clone()),
        ("AccountSid", ACCOUNT_SID.to_owned()),
        ("From", "+15025550142".to_owned()),
        ("To", "+12705550199".to_owned()),
        ("CallStatus", "ringing".to_owned()),
        ("Direction", "inbound".to_owned()),
    ];
    let (signature, body) = signed(hook, &form);
    let request = reqwest::Client::new()
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-twilio-signature", signature)
        .body(body);
    let answer = request.send().await.ok()?;
    let ok = answer.status().as_u16() == 200;
    let text = answer.text().await.ok()?;
    (ok && text.contains("<Dial")).then_some(sid)
}

/// A company whose number is +12705550199, and an active webhook. Gives the number's voice hook.
async fn open_shop(place: &Place, simulator: &Simulator, receiver: &Receiver) -> String {
    let program = place.serve(&PUBLIC);
    let api = &program.api;
    let company = json!({"name": "Acme", "time_zone": "UTC", "country": "US"});
    api.post("/companies", &company).await.expect(201);
    let account = json!({"kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": simulator.url});
    let account = api.post("/companies/1/carriers", &account).await.expect(201);
    simulator.buy("+12705550199").await;
    let tracker = json!({
        "name": "Flyer", "tracker_type": "offline", "number_type": "local", "destination": "+18125550101",
        "numbers": {"attach": ["+12705550199"]},
    });
    api.post("/companies/1/trackers", &tracker).await.expect(201);
    api.post("/companies/1/webhooks", &json!({"target": receiver.url, "events": ["call.received"]}))
        .await
        .expect(201);
    until_active(&program.api).await;
    account.json["hook_url"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tokens_are_made_on_the_command_line() {
    let place = Place::new();
    let output = place.command(&["token", "create", "--name", "reports", "--read-only"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let token = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert!(token.starts_with("ct_") && token != TOKEN, "{token}");
    let program = place.serve(&[]);
    let reader = program.api.with_token(&token);
    reader.get("/companies").await.expect(200);
    let company = json!({"name": "Acme", "time_zone": "UTC", "country": "US"});
    reader.post("/companies", &company).await.expect_problem(403, "forbidden");
}

/// The whole series by the real clock, with gaps of a fifth of a second.
#[tokio::test]
async fn a_shortened_schedule_gives_six_sends_then_holds_then_sends_all() {
    let place = Place::new();
    let receiver = Receiver::start().await;
    let schedule = ["--webhooks-retry-schedule", "200ms,200ms,200ms,200ms,200ms"];
    let (program, simulator) = (place.serve(&schedule), Simulator::start());
    let api = &program.api;
    let company = json!({"name": "Acme", "time_zone": "UTC", "country": "US"});
    api.post("/companies", &company).await.expect(201);
    let account = json!({"kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "base_url": simulator.url});
    api.post("/companies/1/carriers", &account).await.expect(201);
    api.post("/companies/1/webhooks", &json!({"target": receiver.url, "events": "all"})).await.expect(201);
    until_active(api).await;
    receiver.answer(Answer::Status(500));
    let tracker = json!({
        "name": "Flyer", "tracker_type": "offline", "number_type": "local", "destination": "+18125550101",
        "numbers": {"buy": {"area_code": "270", "count": 1}},
    });
    api.post("/companies/1/trackers", &tracker).await.expect(201);
    let sends = receiver.wait_for_events(6).await;
    assert!(sends.iter().all(|send| send.id() == sends[0].id() && send.body == sends[0].body));
    while api.get("/companies/1/webhooks/1").await.expect(200).json["status"] != "deactivated" {}
    for n in 1..=5 {
        api.patch("/companies/1/trackers/1", &json!({"name": format!("Flyer {n}")})).await.expect(200);
    }
    let held = api.get("/companies/1/webhooks/1/deliveries?state=held").await.expect(200);
    assert_eq!(held.json["data"].as_array().unwrap().len(), 5);
    assert_eq!(receiver.events().len(), 6, "nothing is sent while it is deactivated");
    receiver.answer(Answer::Status(200));
    api.post("/companies/1/webhooks/1/verification", &json!({})).await.expect(200);
    let all = receiver.wait_for_events(11).await;
    let mut names: Vec<_> =
        all[6..].iter().map(|a| a.json()["data"]["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names[0], "Flyer 1", "the oldest goes first, and alone");
    names.sort();
    assert_eq!(names, ["Flyer 1", "Flyer 2", "Flyer 3", "Flyer 4", "Flyer 5"]);
}
