//! `carriers` against the simulated carrier: two programs that share no code, over real HTTP. What it asks of
//! us is signed and read, what it is answered is executed, and what we ask of its API is done.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use calltracker::calls::update::{DialOutcome, Fact, LegState};
use calltracker::carriers::client::{CarrierError, Client, NumberHooks, NumberQuery, Prefer};
use calltracker::carriers::decode::{Told, arrival_of, decode};
use calltracker::carriers::form::Form;
use calltracker::carriers::hook::{Hook, HookQuery, HookUrls, signed_url};
use calltracker::carriers::signature::Body;
use calltracker::carriers::{Account, Kind, parse_base_url, twiml};
use calltracker::flows::{Dial, Plan, Step, Voicemail, Whisper};
use calltracker::kernel::id::{CallId, CarrierId, CompanyId};
use calltracker::kernel::phone::{NumberType, PhoneNumber};
use calltracker::messages::update::State as MessageState;
use calltracker::outbound::{Limits, Options, Outbound, Request, ResolverChoice};
use calltracker::recordings::update::{Audio, Kind as RecordingKind, Outcome};
use serde_json::{Value, json};
use tokio::sync::watch;
use url::Url;

use crate::support::simulator::Simulator;

const SID: &str = "AC0000000000000000000000000000abcd";
const DESTINATION: &str = "+12703152766";
const CALLER: &str = "+18183219876";

/// What is given to the server that plays our product.
#[derive(Clone)]
struct Hooked {
    account: Account,
    public_url: Url,
    told: watch::Sender<Vec<Told>>,
}

async fn answer(
    State(hooked): State<Hooked>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert_eq!(method, Method::POST);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let signature = hooked.account.kind.signature_headers().iter().find_map(|name| header(name));
    let url = signed_url(&hooked.public_url, uri.path_and_query().unwrap().as_str());
    if hooked.account.verify(signature, &url, Body::of(header("content-type"), &body)).is_err() {
        return StatusCode::FORBIDDEN.into_response();
    }
    let hook = Hook::parse(uri.path().rsplit('/').next().unwrap()).unwrap();
    let form = Form::parse(&body).unwrap();
    let told = decode(hook, HookQuery::parse(uri.query().unwrap_or_default()), &form).unwrap();
    let callers_leg = matches!(hook, Hook::Voice | Hook::Dial | Hook::Record | Hook::CallStatus);
    assert_eq!(arrival_of(&form).is_some(), callers_leg || hook == Hook::Transcription, "{hook:?}");
    let document = respond(hook, &told, &HookUrls::new(&hooked.public_url, "tok", Some(CallId(7))));
    hooked.told.send_modify(|log| log.push(told));
    match document {
        Some(xml) => ([("content-type", "text/xml")], xml).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

fn respond(hook: Hook, told: &Told, urls: &HookUrls) -> Option<String> {
    let plan = match (hook, told) {
        (Hook::Voice, _) => vec![Step::Say("This call may be <recorded> & kept.".to_owned()), dial()],
        (Hook::Dial, Told::Call(update)) => match &update.fact {
            Fact::DialEnded(end) if end.outcome == DialOutcome::Completed => vec![Step::Hangup],
            _ => vec![voicemail()],
        },
        (Hook::Record, _) => vec![Step::Hangup],
        (Hook::Whisper, _) => {
            return Some(twiml::render_whisper(&Whisper { message: "From the ads".to_owned() }));
        }
        (Hook::Message, _) => return Some(twiml::messages(&["Thanks & bye".to_owned()])),
        _ => return hook.wants_twiml().then(twiml::empty),
    };
    Some(twiml::render(&Plan { steps: plan }, urls))
}

fn dial() -> Step {
    let destination = PhoneNumber::from_e164(DESTINATION).unwrap();
    Step::Dial(Dial { destination, ring_timeout_s: 25, time_limit_s: 7200, record: true, whisper: true })
}

fn voicemail() -> Step {
    let greeting = "Please leave a message.".to_owned();
    Step::Voicemail(Voicemail { greeting, max_s: 119, silence_s: 5, transcribe: true })
}

/// Everything a test needs: the simulator, our hooks, and a client of an account at the simulator.
struct World {
    simulator: Simulator,
    outbound: Outbound,
    client: Client,
    urls: HookUrls,
    told: watch::Sender<Vec<Told>>,
    number: PhoneNumber,
}

impl World {
    /// With one number bought.
    async fn new(kind: Kind) -> World {
        let simulator = Simulator::start();
        let outbound = Outbound::new(Options {
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            roots: rustls::RootCertStore::empty(),
            resolver: ResolverChoice::System,
            user_agent: "calltracker-test".to_owned(),
        })
        .unwrap();
        let account = Account {
            id: CarrierId(1),
            company_id: CompanyId(1),
            kind,
            account_sid: SID.to_owned(),
            auth_tokens: vec!["token".to_owned(), "older".to_owned()],
            base_url: parse_base_url(kind, Some(&simulator.url)).unwrap(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public_url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let told = watch::Sender::new(Vec::new());
        let hooked = Hooked { account: account.clone(), public_url: public_url.clone(), told: told.clone() };
        let router = axum::Router::new().fallback(answer).with_state(hooked);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = Client::new(outbound.clone(), account);
        let urls = HookUrls::new(&public_url, "tok", None);
        let new = json!({"account_sid": SID, "auth_token": "token", "kind": kind.as_str()});
        control(&simulator, &outbound, Method::POST, "/sim/accounts", &new).await;
        let number = buy_first(&client, &urls).await;
        World { simulator, outbound, client, urls, told, number }
    }

    async fn control(&self, method: Method, path: &str, body: &Value) -> Value {
        control(&self.simulator, &self.outbound, method, path, body).await
    }

    /// Plays a call to its end, every callback included, and says the call's id.
    async fn call(&self, outcome: &str) -> String {
        let script = json!({
            "from": CALLER, "to": self.number.as_str(),
            "caller": {"city": "LOS ANGELES", "state": "CA", "zip": "91604", "country": "US",
                       "stir_verstat": "TN-Validation-Passed-A"},
            "destination": {"outcome": outcome, "talk_s": 12.0},
        });
        let started = self.control(Method::POST, "/sim/calls", &script).await;
        let sid = started["call_sid"].as_str().unwrap().to_owned();
        let ended = self.control(Method::GET, &format!("/sim/calls/{sid}?wait=1"), &Value::Null).await;
        assert_eq!((&ended["state"], &ended["warnings"]), (&json!("settled"), &json!([])), "{ended}");
        sid
    }

    fn facts(&self) -> Vec<Fact> {
        let told = self.told.borrow();
        told.iter()
            .filter_map(|told| if let Told::Call(update) = told { Some(update.fact.clone()) } else { None })
            .collect()
    }

    fn recordings(&self) -> Vec<calltracker::recordings::update::Update> {
        let told = self.told.borrow();
        told.iter()
            .filter_map(|told| if let Told::Recording(update) = told { Some(update.clone()) } else { None })
            .collect()
    }
}

async fn control(
    simulator: &Simulator,
    outbound: &Outbound,
    method: Method,
    path: &str,
    body: &Value,
) -> Value {
    let url = Url::parse(&format!("{}{path}", simulator.control)).unwrap();
    let headers =
        HeaderMap::from_iter([("content-type".parse().unwrap(), "application/json".parse().unwrap())]);
    let request = Request { method, url, headers, body: Bytes::from(body.to_string()) };
    let bytes_max = 1 << 20;
    let limits =
        Limits { deadline: Duration::from_secs(60), read_bytes_max: bytes_max, keep_bytes_max: bytes_max };
    let answer = outbound.send(request, limits).await.unwrap();
    assert!(answer.status < 300, "{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn query() -> NumberQuery {
    NumberQuery {
        country: "US".to_owned(),
        number_type: NumberType::Local,
        area_code: Some("270".to_owned()),
        region: None,
        contains: None,
        limit: 3,
    }
}

async fn buy_first(client: &Client, urls: &HookUrls) -> PhoneNumber {
    assert_eq!(client.verify().await, Ok(()));
    let found = client.search(&query()).await.unwrap();
    assert_eq!(found.len(), 3);
    let bought = client.buy(&found[0].number, &NumberHooks::of(urls), "Ads & co").await.unwrap();
    assert_eq!((&bought.number, bought.hooks_ignored), (&found[0].number, false));
    bought.number
}

async fn fetched(
    client: &Client,
    update: &calltracker::recordings::update::Update,
    prefer: Prefer,
) -> Vec<u8> {
    let Outcome::Completed(audio) = &update.outcome else { panic!("{update:?}") };
    let mut download = client.media(&audio.media_url, prefer).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = download.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

#[tokio::test]
async fn an_answered_call_is_told_from_ringing_to_its_recording() {
    let world = World::new(Kind::Twilio).await;
    let sid = world.call("answer").await;
    let facts = world.facts();
    assert!(matches!(&facts[0], Fact::Arrived(arrival) if arrival.geo.city == "Los Angeles"), "{facts:?}");
    let answered = |fact: &Fact| matches!(fact, Fact::Leg(leg) if leg.state == LegState::Answered);
    assert!(facts.iter().any(answered) && facts.contains(&Fact::WhisperStarted), "{facts:?}");
    let bridged = |fact: &Fact| matches!(fact, Fact::DialEnded(end) if end.bridged == Some(true));
    assert!(facts.iter().any(bridged), "{facts:?}");
    let Some(Fact::Ended(end)) = facts.last().cloned() else { panic!("{facts:?}") };
    assert_eq!(world.client.call(&sid).await.unwrap().unwrap().ended, Some(end));
    let told = world.recordings();
    let expected = (Some(RecordingKind::Call), 1, sid.as_str());
    assert_eq!((told[0].kind, told.len(), told[0].carrier_call_id.as_str()), expected);
    assert!(
        matches!(&told[0].outcome, Outcome::Completed(Audio { channels: 2, duration_s: 12.., .. })),
        "{told:?}"
    );
    assert_eq!(world.client.recordings_of(&sid).await, Ok(told.clone()));
    assert!(!fetched(&world.client, &told[0], Prefer::DualMp3).await.is_empty());
    for _ in 0..2 {
        assert_eq!(world.client.delete_recording(&told[0].carrier_recording_id).await, Ok(()));
    }
    let Outcome::Completed(audio) = &told[0].outcome else { panic!("{told:?}") };
    let gone = world.client.media(&audio.media_url, Prefer::Wav).await.err();
    assert_eq!(gone, Some(CarrierError::NotFound));
}

#[tokio::test]
async fn a_call_that_rings_out_leaves_a_voicemail() {
    for kind in [Kind::Twilio, Kind::SignalWire] {
        let world = World::new(kind).await;
        world.call("no_answer").await;
        let facts = world.facts();
        let rang_out =
            |fact: &Fact| matches!(fact, Fact::DialEnded(end) if end.outcome == DialOutcome::NoAnswer);
        assert!(facts.iter().any(rang_out), "{facts:?}");
        assert!(facts.iter().any(|fact| matches!(fact, Fact::VoicemailEnded { .. })), "{facts:?}");
        let told = world.recordings();
        let voicemail = told.iter().find(|update| matches!(update.outcome, Outcome::Completed(_))).unwrap();
        assert_eq!(voicemail.kind, Some(RecordingKind::Voicemail));
        assert!(fetched(&world.client, voicemail, Prefer::Wav).await.starts_with(b"RIFF"));
        assert!(!fetched(&world.client, voicemail, Prefer::DualMp3).await.is_empty(), "one channel will do");
        let transcription =
            |told: &Told| matches!(told, Told::Transcription(update) if update.text.is_some());
        assert!(world.told.borrow().iter().any(transcription), "{kind:?}");
    }
}

#[tokio::test]
async fn messages_go_both_ways() {
    let world = World::new(Kind::Twilio).await;
    let inbound = json!({"from": CALLER, "to": world.number.as_str(), "body": "Hi 👋\nthere",
                         "media_urls": ["http://127.0.0.1/x.jpg"]});
    world.control(Method::POST, "/sim/messages", &inbound).await;
    let to = PhoneNumber::from_e164(CALLER).unwrap();
    let callback = world.urls.url(Hook::MessageStatus);
    let sent = world.client.send_message(&world.number, &to, "Hello & 👋", &callback).await.unwrap();
    assert_eq!((sent.segments, sent.state), (1, MessageState::Queued));
    let delivered = |told: &Told| {
        matches!(told, Told::MessageStatus(status)
        if status.state == MessageState::Delivered && status.carrier_message_id == sent.carrier_message_id)
    };
    let arrived = |told: &Told| {
        matches!(told, Told::Message(arrival)
        if arrival.body == "Hi 👋\nthere" && arrival.media.len() == 1)
    };
    let mut log = world.told.subscribe();
    let all = log.wait_for(|told| told.iter().any(delivered) && told.iter().any(arrived));
    tokio::time::timeout(Duration::from_secs(20), all).await.unwrap().unwrap();
}

#[tokio::test]
async fn buying_twice_is_buying_once_and_a_released_number_is_gone() {
    let world = World::new(Kind::Twilio).await;
    let owned = world.client.find_owned(&world.number).await.unwrap().unwrap();
    let again = world.client.buy(&world.number, &NumberHooks::of(&world.urls), "again").await;
    assert_eq!(again, Ok(owned.clone()));
    world.control(Method::POST, "/sim/faults", &json!({"buy_race": 1})).await;
    let other = world.client.search(&query()).await.unwrap().remove(0).number;
    let lost = world.client.buy(&other, &NumberHooks::of(&world.urls), "lost").await;
    assert_eq!(lost, Err(CarrierError::NumberUnavailable));
    for _ in 0..2 {
        assert_eq!(world.client.release(&owned.carrier_number_id).await, Ok(()));
    }
    assert_eq!(world.client.find_owned(&world.number).await, Ok(None));
}
