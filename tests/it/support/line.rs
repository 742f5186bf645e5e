//! A tracking number and the carrier behind it: signs and posts hooks as the carrier does, and plays its REST
//! API, so that recordings can be fetched and calls asked about. Shares no code with what it tests.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use calltracker::carriers::accounts::{self, NewAccount, Secret};
use calltracker::carriers::{Kind, collect};
use calltracker::db::sql;
use calltracker::kernel::id::{CarrierId, TrackerId};
use calltracker::kernel::phone::{NumberType, PhoneNumber};
use calltracker::trackers::{self, OwnedNumber, Settings, TrackerType};
use calltracker::{calls, voicemails};
use serde_json::Value as Json;
use tokio::net::TcpListener;

use super::{TestApp, TestCompany};

pub const NUMBER: &str = "+12702822733";
pub const DESTINATION: &str = "+12703152766";
pub const CALLER: &str = "+18183219876";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SID: &str = "AC0000000000000000000000000000abcd";

/// The beginning of an MP3 as telephone carriers make them: MPEG 2, layer III.
pub const MP3: &[u8] = &[0xFF, 0xF3, 0x14, 0xC4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
pub const WAV: &[u8] = b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00";

/// See the module.
pub struct Line {
    pub app: TestApp,
    pub company: TestCompany,
    pub carrier: CarrierId,
    pub tracker: TrackerId,
    pub rest: Rest,
    hook_token: String,
    http: reqwest::Client,
}

/// What a hook was answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    pub text: String,
}

impl Reply {
    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The attribute's URL, below the public one, as the carrier would call it.
    #[track_caller]
    pub fn url(&self, attribute: &str) -> String {
        let (_, rest) = self.text.split_once(&format!(" {attribute}=\"")).expect("the attribute is there");
        let url = rest.split('"').next().unwrap_or_default().replace("&amp;", "&");
        let (_, below) = url.split_once("/carrier/").expect("it is a hook's");
        let (_, hook) = below.split_once('/').expect("a hook follows the token");
        hook.to_owned()
    }
}

/// A tracker that does everything.
pub fn settings() -> Settings {
    Settings {
        name: "Billboard".to_owned(),
        tracker_type: TrackerType::Offline,
        number_type: NumberType::Local,
        destination: PhoneNumber::from_e164(DESTINATION).expect("it is a number"),
        status: true,
        recording_enabled: true,
        recording_message: "This call may be recorded.".to_owned(),
        whisper_enabled: true,
        whisper_message: "Call from Billboard.".to_owned(),
        voicemail_enabled: true,
        voicemail_greeting: "Please leave a message.".to_owned(),
        transcription_enabled: true,
        ring_timeout_s: 25,
        swap_target: String::new(),
        campaign_source: String::new(),
        campaign_search_from: String::new(),
        campaign_search_for: String::new(),
        campaign_landing_page: String::new(),
        campaign_referral: String::new(),
        campaign_campaign_parameters: String::new(),
        pool: calltracker::trackers::pool::Terms::default(),
    }
}

impl Line {
    pub async fn start() -> Line {
        Line::with(|_| {}).await
    }

    /// With other settings of the tracker.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Line {
        Line::on(TestApp::quiet(|_| {}).await, change).await
    }

    /// On a server that was started with other settings, and runs no background work.
    pub async fn on(app: TestApp, change: impl FnOnce(&mut Settings)) -> Line {
        let company = app.company("Example Company").await;
        let rest = Rest::start().await;
        let (mut settings, key, scope) = (settings(), app.ctx.key.clone(), company.scope);
        change(&mut settings);
        let base_url = rest.url.parse().expect("it is a URL");
        let token = Secret::parse(TOKEN).expect("it is a token");
        let new = NewAccount::new(Kind::Twilio, SID, base_url, token, None).expect("it is an account");
        let (carrier, hook_token, tracker) = app
            .write(move |tx| {
                let account = accounts::create(tx, scope, &new, &key).expect("the account is new");
                let number = OwnedNumber {
                    carrier_id: account.account.id,
                    carrier_number_id: "PN1".to_owned(),
                    number: PhoneNumber::from_e164(NUMBER).expect("it is a number"),
                };
                let view = trackers::create(tx, scope, &settings, &[number]).expect("the number is free");
                Ok((account.account.id, account.hook_token, view.tracker.id))
            })
            .await;
        let http = reqwest::Client::new();
        Line { app, company, carrier, tracker, rest, hook_token, http }
    }

    /// Where a hook is; `hook` may have a query.
    pub fn url(&self, hook: &str) -> String {
        format!("{}carrier/{}/{hook}", self.app.ctx.public_url, self.hook_token)
    }

    /// Posts to a hook as the carrier does. Parameters with the same name may be given twice.
    pub async fn post(&self, hook: &str, form: &[(&str, &str)]) -> Reply {
        self.post_signed(hook, form, Some(&sign(TOKEN, &self.url(hook), form))).await
    }

    /// With any signature, or none.
    pub async fn post_signed(&self, hook: &str, form: &[(&str, &str)], signature: Option<&str>) -> Reply {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = self.http.post(self.url(hook)).body(body);
        request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=UTF-8");
        if let Some(signature) = signature {
            request = request.header("X-Twilio-Signature", signature);
        }
        let response = request.send().await.expect("the server answers");
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let status = response.status().as_u16();
        Reply { status, content_type, text: response.text().await.expect("the answer is text") }
    }

    /// A call arrives.
    pub async fn voice(&self, call: &str, from: &str) -> Reply {
        let form = standard(call, from);
        let form: Vec<(&str, &str)> = form.iter().map(|(n, v)| (*n, v.as_str())).collect();
        self.post("voice", &form).await
    }

    /// Something about the caller's leg, with the standard parameters.
    pub async fn tell(&self, hook: &str, call: &str, more: &[(&str, &str)]) -> Reply {
        let form = standard(call, CALLER);
        let mut form: Vec<(&str, &str)> = form.iter().map(|(n, v)| (*n, v.as_str())).collect();
        form.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        form.extend(more);
        self.post(hook, &form).await
    }

    /// Something about the destination's leg.
    pub async fn leg(&self, hook: &str, call: &str, status: &str) -> Reply {
        let child = format!("{call}child");
        let form = [
            ("CallSid", child.as_str()),
            ("ParentCallSid", call),
            ("AccountSid", SID),
            ("From", CALLER),
            ("To", DESTINATION),
            ("Direction", "outbound-dial"),
            ("CallStatus", status),
            ("CallbackSource", "call-progress-events"),
        ];
        self.post(hook, &form).await
    }

    /// A recording is ready, of a conversation or (`recording?…kind=voicemail`) of a voicemail.
    pub async fn recorded(&self, hook: &str, call: &str, recording: &str, seconds: &str) -> Reply {
        let url = self.recording_url(recording);
        let form = [
            ("AccountSid", SID),
            ("CallSid", call),
            ("RecordingSid", recording),
            ("RecordingUrl", &url),
            ("RecordingStatus", "completed"),
            ("RecordingDuration", seconds),
            ("RecordingChannels", "1"),
        ];
        self.post(hook, &form).await
    }

    pub fn recording_url(&self, recording: &str) -> String {
        format!("{}/2010-04-01/Accounts/{SID}/Recordings/{recording}", self.rest.url)
    }

    /// The end of the caller's leg.
    pub async fn end(&self, call: &str, seconds: &str) -> Reply {
        self.tell("call-status", call, &[("CallStatus", "completed"), ("CallDuration", seconds)]).await
    }

    /// Runs the background work of this side until there is nothing left that is due now.
    pub async fn work(&self) {
        for _ in 0..3 {
            calls::settle(&self.app.ctx).await.expect("the database answers");
            collect::run_once(&self.app.ctx).await.expect("the database answers");
            voicemails::announce(&self.app.ctx).await.expect("the database answers");
        }
    }

    /// Types and data of the company's events so far, without the tracker's.
    pub async fn events(&self) -> Vec<(String, Json)> {
        let company = self.company.id;
        let rows = self.app.write(move |tx| {
            let question =
                "select type, data from events where company_id = ? and object <> 'tracker' order by id";
            tx.all::<(String, String)>(sql(question).bind(company))
        });
        let parse = |data: &str| serde_json::from_str(data).expect("data is JSON");
        rows.await.into_iter().map(|(kind, data)| (kind, parse(&data))).collect()
    }

    /// Types of the events so far.
    pub async fn event_types(&self) -> Vec<String> {
        self.events().await.into_iter().map(|(kind, _)| kind).collect()
    }

    /// The data of the one event of this type.
    #[track_caller]
    pub fn only(events: &[(String, Json)], kind: &str) -> Json {
        let mut found = events.iter().filter(|(other, _)| other == kind);
        let (_, data) = found.next().unwrap_or_else(|| panic!("there is no {kind} in {events:?}"));
        assert!(found.next().is_none(), "{kind} was told twice");
        data.clone()
    }

    /// Runs statements as a person with access to the database would.
    pub async fn execute(&self, statement: &'static str) {
        self.app.write(move |tx| tx.execute(sql(statement))).await;
    }

    /// The one number that a question gives.
    pub async fn count(&self, question: &'static str) -> i64 {
        let (count,) = self.app.write(move |tx| tx.one::<(i64,)>(sql(question))).await;
        count
    }
}

/// What every request about a caller's leg says.
fn standard(call: &str, from: &str) -> Vec<(&'static str, String)> {
    let pairs = [
        ("CallSid", call),
        ("AccountSid", SID),
        ("ApiVersion", "2010-04-01"),
        ("From", from),
        ("Caller", from),
        ("To", NUMBER),
        ("Called", NUMBER),
        ("CallStatus", "ringing"),
        ("Direction", "inbound"),
        ("FromCity", "LOS ANGELES"),
        ("FromState", "CA"),
        ("FromZip", "91604"),
        ("FromCountry", "US"),
        ("StirVerstat", "TN-Validation-Passed-A"),
        ("CallToken", "{\"unknown\":1}"),
    ];
    pairs.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// The vendor's signature scheme, written for the tests from its description.
pub fn sign(token: &str, url: &str, form: &[(&str, &str)]) -> String {
    let sorted: BTreeSet<(&str, &str)> = form.iter().copied().collect();
    let signed = sorted.into_iter().fold(url.to_owned(), |text, (name, value)| text + name + value);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    STANDARD.encode(ring::hmac::sign(&key, signed.as_bytes()))
}

/// The carrier's REST API: what was put there, and 404 for the rest.
pub struct Rest {
    pub url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// By method and last segments of the path.
    answers: Mutex<HashMap<String, (u16, Vec<u8>)>>,
    asked: Mutex<Vec<String>>,
}

impl Rest {
    async fn start() -> Rest {
        let shared = Arc::<Shared>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let router = Router::new().fallback(played).with_state(shared.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        Rest { url, shared }
    }

    /// Answers `request`, such as `GET Recordings/RE1.mp3`.
    pub fn answer(&self, request: &str, status: u16, body: impl Into<Vec<u8>>) {
        let mut answers = self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(request.to_owned(), (status, body.into()));
    }

    /// What was asked, in order, without queries.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn played(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let below = request.uri().path().replace(&format!("/2010-04-01/Accounts/{SID}/"), "");
    let asked = format!("{} {below}", request.method());
    shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
    let answers = shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
    match answers.get(&asked) {
        Some((status, body)) => {
            (StatusCode::from_u16(*status).expect("it is a status"), body.clone()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "{\"code\":20404,\"message\":\"x\",\"status\":404}").into_response(),
    }
}
