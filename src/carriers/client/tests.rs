//! The client against a real HTTP server that plays a carrier: it gives the answers it was told, in order,
//! and keeps what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::calls::update::{DialOutcome, End};
use crate::carriers::{Kind, parse_base_url};
use crate::kernel::id::{CarrierId, CompanyId};
use crate::kernel::phone::{NumberType, PhoneNumber};
use crate::messages::update::State;
use crate::outbound::{FailureKind, Options, ResolverChoice};
use crate::recordings::update::{Audio, Kind as RecordingKind, Outcome};

/// `AC1:secret`
const CREDENTIALS: &str = "Basic QUMxOnNlY3JldA==";

/// A client of the carrier at `base_url`.
pub(super) fn client(kind: Kind, base_url: &str) -> Client {
    let options = Options {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        roots: rustls::RootCertStore::empty(),
        resolver: ResolverChoice::System,
        user_agent: "test".to_owned(),
    };
    let account = Account {
        id: CarrierId(1),
        company_id: CompanyId(1),
        kind,
        account_sid: "AC1".to_owned(),
        auth_tokens: vec!["secret".to_owned(), "older".to_owned()],
        base_url: parse_base_url(kind, Some(base_url)).unwrap(),
    };
    Client::new(Outbound::new(options).unwrap(), account)
}

/// What the carrier was asked.
struct Asked {
    /// Method, path and query.
    line: String,
    authorization: Option<String>,
    body: String,
}

struct Carrier {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Carrier {
    /// Answers with `answers`, one after the other; an empty one hangs up without a word.
    async fn playing<const N: usize>(answers: [String; N]) -> Carrier {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, mut answers) = (Arc::clone(&asked), VecDeque::from(answers));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read(&mut stream).await;
                log.lock().unwrap().push(request);
                let answer =
                    answers.pop_front().unwrap_or_else(|| reply(500, "", "asked once more than expected"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Carrier { address, asked }
    }

    fn client(&self) -> Client {
        client(Kind::Twilio, &self.address)
    }

    fn lines(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|asked| asked.line.clone()).collect()
    }

    fn bodies(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|asked| asked.body.clone()).collect()
    }
}

async fn read(stream: &mut TcpStream) -> Asked {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let header = |name: &str| {
                let fields = head.lines().filter_map(|line| line.split_once(": "));
                fields
                    .filter(|(known, _)| known.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_owned())
                    .next()
            };
            if body.len() >= header("content-length").map_or(0, |length| length.parse().unwrap()) {
                let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
                return Asked { line, authorization: header("authorization"), body: body.to_owned() };
            }
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "the request ended early: {text}");
    }
}

fn reply(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn ok(body: &str) -> String {
    reply(200, "", body)
}

fn refused(status: u16, code: u32) -> String {
    reply(status, "", &format!(r#"{{"code":{code},"message":"said the carrier","status":{status}}}"#))
}

fn number() -> PhoneNumber {
    PhoneNumber::from_e164("+12705550101").unwrap()
}

fn hooks() -> NumberHooks {
    NumberHooks {
        voice_url: "https://h/voice".to_owned(),
        status_callback: "https://h/call-status".to_owned(),
        sms_url: "https://h/message".to_owned(),
    }
}

const OWNED: &str = r#"{"sid":"PN1","phone_number":"+12705550101","trunk_sid":null,"extra":{}}"#;
const BUY: &str = "POST /2010-04-01/Accounts/AC1/IncomingPhoneNumbers.json";
const FIND: &str = "GET /2010-04-01/Accounts/AC1/IncomingPhoneNumbers.json?PhoneNumber=%2B12705550101";
const CONFIGURE: &str = "POST /2010-04-01/Accounts/AC1/IncomingPhoneNumbers/PN1.json";

fn owned_page() -> String {
    let other = r#"{"sid":"PN9","phone_number":"+127055501019"}"#;
    ok(&format!(r#"{{"incoming_phone_numbers":[{other},{OWNED}]}}"#))
}

#[tokio::test]
async fn the_credentials_are_checked_by_reading_the_account() {
    let carrier = Carrier::playing([
        ok(r#"{"status":"active"}"#),
        refused(401, 20_003),
        refused(404, 20_404),
        ok(r#"{"status":"suspended"}"#),
    ])
    .await;
    let client = carrier.client();
    assert_eq!(client.verify().await, Ok(()));
    assert_eq!(client.verify().await, Err(CarrierError::Auth));
    assert_eq!(client.verify().await, Err(CarrierError::Auth));
    let suspended = client.verify().await.unwrap_err();
    assert_eq!(suspended.to_string(), "the carrier refused the request: the account is suspended");
    assert_eq!(carrier.lines()[0], "GET /2010-04-01/Accounts/AC1.json");
    assert_eq!(carrier.asked.lock().unwrap()[0].authorization.as_deref(), Some(CREDENTIALS));
}

#[tokio::test]
async fn numbers_are_searched_with_what_was_asked_for() {
    let page = r#"{"available_phone_numbers":[
        {"phone_number":"+12705550101","locality":"BOWLING GREEN","region":"KY","postal_code":"42101",
         "iso_country":"US","capabilities":{"voice":true,"SMS":true,"MMS":false}},
        {"phone_number":"+18885550102","locality":null,"region":null,"capabilities":{"sms":false}},
        {"phone_number":"bogus"}]}"#;
    let carrier = Carrier::playing([ok(page), refused(404, 21_452)]).await;
    let mut query = NumberQuery {
        country: "us".to_owned(),
        number_type: NumberType::Local,
        area_code: Some("270".to_owned()),
        region: None,
        contains: Some("27*&x".to_owned()),
        limit: 0,
    };
    let found = carrier.client().search(&NumberQuery { limit: 5, ..query.clone() }).await.unwrap();
    let place =
        (found[0].city.as_str(), found[0].state.as_str(), found[0].zip.as_str(), found[0].country.as_str());
    assert_eq!((place, found[0].sms), (("Bowling Green", "KY", "42101", "US"), true));
    assert_eq!((found.len(), found[1].city.as_str(), found[1].sms), (2, "", false));
    query.number_type = NumberType::Tollfree;
    assert_eq!(carrier.client().search(&query).await, Err(CarrierError::NoNumbers));
    let path = "GET /2010-04-01/Accounts/AC1/AvailablePhoneNumbers/US";
    let rest = "VoiceEnabled=true&AreaCode=270&Contains=27*%26x";
    assert_eq!(
        carrier.lines(),
        [format!("{path}/Local.json?PageSize=5&{rest}"), format!("{path}/TollFree.json?PageSize=1&{rest}")]
    );
    query.country = "../US".to_owned();
    assert_eq!(carrier.client().search(&query).await.unwrap_err().as_str(), "invalid");
}

#[tokio::test]
async fn a_number_is_bought_with_its_hooks() {
    let carrier = Carrier::playing([reply(201, "", OWNED)]).await;
    let bought = carrier.client().buy(&number(), &hooks(), "Spring & Summer").await.unwrap();
    let expected =
        OwnedNumber { carrier_number_id: "PN1".to_owned(), number: number(), hooks_ignored: false };
    assert_eq!(bought, expected);
    assert_eq!(carrier.lines(), [BUY]);
    assert_eq!(
        carrier.bodies()[0],
        "PhoneNumber=%2B12705550101&FriendlyName=Spring+%26+Summer&VoiceUrl=https%3A%2F%2Fh%2Fvoice&VoiceMethod=POST\
         &StatusCallback=https%3A%2F%2Fh%2Fcall-status\
         &StatusCallbackMethod=POST&SmsUrl=https%3A%2F%2Fh%2Fmessage&SmsMethod=POST"
    );
}

#[tokio::test]
async fn a_number_that_turns_out_to_be_ours_is_taken_over() {
    let causes = [
        ("taken already", refused(400, 21_422)),
        ("bought, then the carrier failed", refused(500, 20_500)),
        ("bought, and the answer was lost", String::new()),
        ("bought, and the answer was garbled", reply(201, "", "<html>")),
    ];
    for (cause, answer) in causes {
        let carrier = Carrier::playing([answer, owned_page(), ok(OWNED)]).await;
        let bought = carrier.client().buy(&number(), &hooks(), "x").await;
        assert_eq!(bought.map(|owned| owned.carrier_number_id).as_deref(), Ok("PN1"), "{cause}");
        assert_eq!(carrier.lines(), [BUY, FIND, CONFIGURE], "{cause}");
        assert!(carrier.bodies()[2].starts_with("VoiceUrl="), "{cause}");
    }
}

#[tokio::test]
async fn a_number_that_is_not_ours_stays_the_error_that_it_was() {
    let nothing = || ok(r#"{"incoming_phone_numbers":[]}"#);
    let carrier =
        Carrier::playing([refused(400, 21_422), nothing(), refused(503, 0), reply(503, "", "")]).await;
    let gone = carrier.client().buy(&number(), &hooks(), "x").await;
    assert_eq!(gone, Err(CarrierError::NumberUnavailable));
    let down = carrier.client().buy(&number(), &hooks(), "x").await;
    assert_eq!(down, Err(CarrierError::Transient { status: 503 }));
    let limited = Carrier::playing([reply(429, "retry-after: 7\r\n", "")]).await;
    let wait = CarrierError::RateLimited { retry_after: Some(Duration::from_secs(7)) };
    assert_eq!(limited.client().buy(&number(), &hooks(), "x").await, Err(wait));
    assert_eq!(limited.lines(), [BUY], "nothing was bought, so nothing is looked for");
}

#[tokio::test]
async fn hooks_that_something_else_overrides_are_told_of() {
    let trunk = OWNED.replace("null", r#""TK1""#);
    let carrier = Carrier::playing([ok(&trunk), refused(404, 20_404)]).await;
    assert!(carrier.client().configure("PN1", &hooks()).await.unwrap().hooks_ignored);
    assert_eq!(carrier.client().configure("PN1", &hooks()).await, Err(CarrierError::NotFound));
}

#[tokio::test]
async fn what_is_gone_can_be_given_back_and_deleted() {
    let gone = || refused(404, 20_404);
    let carrier = Carrier::playing([reply(204, "", ""), gone(), gone(), refused(401, 20_003)]).await;
    let client = carrier.client();
    assert_eq!(client.release("PN1").await, Ok(()));
    assert_eq!(client.release("PN1").await, Ok(()));
    assert_eq!(client.delete_recording("RE1").await, Ok(()));
    assert_eq!(client.release("PN1").await, Err(CarrierError::Auth));
    let number = "DELETE /2010-04-01/Accounts/AC1/IncomingPhoneNumbers/PN1.json";
    let recording = "DELETE /2010-04-01/Accounts/AC1/Recordings/RE1.json";
    assert_eq!(carrier.lines(), [number, number, recording, number]);
}

#[tokio::test]
async fn a_message_is_sent_and_its_state_may_be_followed() {
    let sent = r#"{"sid":"SM1","status":"accepted","num_segments":"0"}"#;
    let carrier =
        Carrier::playing([reply(201, "", sent), refused(400, 21_610), reply(201, "", r#"{"sid":""}"#)]).await;
    let client = carrier.client();
    let to = PhoneNumber::from_e164("+12705550102").unwrap();
    let expected = SentMessage { carrier_message_id: "SM1".to_owned(), segments: 1, state: State::Queued };
    assert_eq!(client.send_message(&number(), &to, "Hi 👋 & bye", "https://h/s").await, Ok(expected));
    let body = "From=%2B12705550101&To=%2B12705550102&Body=Hi+%F0%9F%91%8B+%26+bye&StatusCallback=https%3A%2F%2Fh%2Fs";
    assert_eq!(carrier.bodies()[0], body);
    assert_eq!(client.send_message(&number(), &to, "x", "https://h/s").await, Err(CarrierError::OptedOut));
    assert_eq!(
        client.send_message(&number(), &to, "x", "https://h/s").await.unwrap_err().as_str(),
        "unexpected"
    );
}

#[tokio::test]
async fn a_call_and_its_recordings_can_be_asked_for_when_callbacks_were_lost() {
    let recordings = r#"{"recordings":[
        {"sid":"RE1","status":"completed","source":"DialVerb","duration":"186","channels":2},
        {"sid":"RE2","status":"completed","source":"RecordVerb","duration":17,"channels":"1"},
        {"sid":"RE3","status":"absent","source":null,"duration":"-1"},{"sid":"RE4","status":"deleted"}]}"#;
    let carrier = Carrier::playing([
        ok(r#"{"status":"completed","duration":"219"}"#),
        ok(r#"{"status":"in-progress","duration":null}"#),
        refused(404, 20_404),
        ok(recordings),
    ])
    .await;
    let client = carrier.client();
    let ended = End { outcome: DialOutcome::Completed, duration_s: Some(219) };
    assert_eq!(client.call("CA1").await, Ok(Some(CallSnapshot { ended: Some(ended) })));
    assert_eq!(client.call("CA1").await, Ok(Some(CallSnapshot { ended: None })));
    assert_eq!(client.call("CA1").await, Ok(None));
    let found = client.recordings_of("CA1").await.unwrap();
    let audio = |id: &str, duration_s, channels| {
        let media_url = format!("{}/2010-04-01/Accounts/AC1/Recordings/{id}", carrier.address);
        Outcome::Completed(Audio { duration_s, media_url, channels })
    };
    let told: Vec<_> = found.iter().map(|update| (update.kind, update.outcome.clone())).collect();
    let expected = [
        (Some(RecordingKind::Call), audio("RE1", 186, 2)),
        (Some(RecordingKind::Voicemail), audio("RE2", 17, 1)),
        (None, Outcome::Absent),
    ];
    assert_eq!(told, expected);
    let base = "GET /2010-04-01/Accounts/AC1/Calls/CA1";
    assert_eq!(carrier.lines()[2..], [format!("{base}.json"), format!("{base}/Recordings.json")]);
}

#[tokio::test]
async fn an_answer_over_the_limit_and_no_answer_are_errors() {
    let long = format!(r#"{{"status":"{}"}}"#, "x".repeat(ANSWER_BYTES_MAX));
    let carrier = Carrier::playing([ok(&long), String::new()]).await;
    let client = carrier.client();
    assert_eq!(client.verify().await.unwrap_err().as_str(), "unexpected");
    assert!(
        matches!(client.verify().await, Err(CarrierError::Unreachable(failure)) if failure.kind == FailureKind::Reset)
    );
}

#[tokio::test]
async fn signalwire_is_asked_under_its_own_path() {
    let carrier = Carrier::playing([ok("{}")]).await;
    assert_eq!(client(Kind::SignalWire, &carrier.address).verify().await, Ok(()));
    assert_eq!(carrier.lines(), ["GET /api/laml/2010-04-01/Accounts/AC1.json"]);
}

async fn fetched(client: &Client, url: &str, prefer: Prefer) -> Result<String, CarrierError> {
    let mut download = client.media(url, prefer).await?;
    let mut body = Vec::new();
    while let Some(chunk) = download.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn one_channel_is_taken_where_there_are_not_two() {
    let carrier = Carrier::playing([refused(400, 21_218), ok("mono"), ok("dual"), ok("wav")]).await;
    let client = carrier.client();
    let url = format!("{}/2010-04-01/Accounts/AC1/Recordings/RE1", carrier.address);
    assert_eq!(fetched(&client, &url, Prefer::DualMp3).await.as_deref(), Ok("mono"));
    assert_eq!(fetched(&client, &url, Prefer::DualMp3).await.as_deref(), Ok("dual"));
    assert_eq!(fetched(&client, &url, Prefer::Wav).await.as_deref(), Ok("wav"));
    let path = "GET /2010-04-01/Accounts/AC1/Recordings/RE1";
    let dual = format!("{path}.mp3?RequestedChannels=2");
    let mono = format!("{path}.mp3?RequestedChannels=1");
    assert_eq!(carrier.lines(), [dual.clone(), mono, dual, format!("{path}.wav")]);
}

#[tokio::test]
async fn media_that_is_not_there_yet_is_not_found() {
    let carrier = Carrier::playing([refused(404, 20_404), refused(401, 20_003), reply(502, "", "")]).await;
    let url = format!("{}/RE1", carrier.address);
    for expected in [CarrierError::NotFound, CarrierError::Auth, CarrierError::Transient { status: 502 }] {
        assert_eq!(fetched(&carrier.client(), &url, Prefer::DualMp3).await, Err(expected));
    }
    assert_eq!(carrier.lines().len(), 3, "only 400 is answered by asking for one channel");
}

#[tokio::test]
async fn credentials_go_to_the_accounts_own_host_only() {
    let stranger = Carrier::playing([ok("yours?")]).await;
    let carrier = Carrier::playing([
        reply(302, "location: /file\r\n", ""),
        ok("picture"),
        reply(302, &format!("location: {}/x\r\n", stranger.address), ""),
        reply(307, "location: /a\r\n", ""),
        reply(307, "location: /b\r\n", ""),
        reply(302, "", ""),
    ])
    .await;
    let client = carrier.client();
    let direct = fetched(&client, &format!("{}/RE1", stranger.address), Prefer::Wav).await;
    assert_eq!(direct, Err(CarrierError::ForeignHost));
    let url = format!("{}/ME1", carrier.address);
    assert_eq!(fetched(&client, &url, Prefer::AsIs).await.as_deref(), Ok("picture"));
    assert_eq!(fetched(&client, &url, Prefer::AsIs).await, Err(CarrierError::ForeignHost));
    for _ in 0..2 {
        assert_eq!(fetched(&client, &url, Prefer::AsIs).await.unwrap_err().as_str(), "unexpected");
    }
    assert!(stranger.lines().is_empty());
    let authorized: Vec<bool> =
        carrier.asked.lock().unwrap().iter().map(|a| a.authorization.is_some()).collect();
    assert_eq!(authorized, [true, false, true, true, false, true]);
}
