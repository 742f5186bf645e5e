//! A carrier's API, modelled: numbers on sale, numbers that are owned, messages; over real HTTP. Beside what it
//! does properly it can be told to fail at a step, or to do the thing and leave without an answer, which the
//! simulated carrier (`carrier-sim`) can't.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use tokio::sync::watch;

use super::world::{ACCOUNT_SID, AUTH_TOKEN};

/// A step of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Search,
    Buy,
    Find,
    Configure,
    Release,
    Send,
}

/// What goes wrong, once.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Nothing is done; the answer has this status and the carrier's code.
    Refuse(u16, u32),
    /// It is done; the answer has this status all the same.
    DoAndFail(u16),
    /// It is done; there is never an answer.
    DoAndHang,
}

#[derive(Default)]
struct Model {
    on_sale: Vec<String>,
    /// By the carrier's id.
    owned: BTreeMap<String, Owned>,
    messages: Vec<HashMap<String, String>>,
    faults: HashMap<Step, VecDeque<Fault>>,
    ids: u32,
}

#[derive(Clone, Default)]
struct Owned {
    number: String,
    trunk: String,
    form: HashMap<String, String>,
}

/// A running carrier; ends with the test's runtime.
#[derive(Clone)]
pub struct Carrier {
    model: Arc<Mutex<Model>>,
    /// Each step that was taken, in order.
    steps: watch::Sender<Vec<Step>>,
    pub url: String,
}

impl Carrier {
    pub async fn start() -> Carrier {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let carrier = Carrier { model: Arc::default(), steps: watch::Sender::new(vec![]), url };
        let router = Router::new().fallback(answer).with_state(carrier.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        carrier
    }

    pub fn put_on_sale(&self, numbers: &[&str]) {
        self.model().on_sale.extend(numbers.iter().map(|number| (*number).to_owned()));
    }

    /// Gives the account a number that it bought by itself.
    pub fn give(&self, number: &str, trunk: &str) {
        self.model().add(Owned { number: number.to_owned(), trunk: trunk.to_owned(), form: HashMap::new() });
    }

    pub fn fail(&self, step: Step, fault: Fault) {
        self.model().faults.entry(step).or_default().push_back(fault);
    }

    /// The numbers that the account has, sorted.
    pub fn owned(&self) -> Vec<String> {
        let mut numbers: Vec<String> =
            self.model().owned.values().map(|owned| owned.number.clone()).collect();
        numbers.sort();
        numbers
    }

    /// What was set for a number, such as `VoiceUrl`.
    pub fn setting(&self, number: &str, name: &str) -> Option<String> {
        let model = self.model();
        let owned = model.owned.values().find(|owned| owned.number == number)?;
        owned.form.get(name).cloned()
    }

    /// The forms of the messages that were accepted.
    pub fn messages(&self) -> Vec<HashMap<String, String>> {
        self.model().messages.clone()
    }

    pub fn count(&self, step: Step) -> usize {
        self.steps.borrow().iter().filter(|one| **one == step).count()
    }

    /// Waits until a step has been taken.
    pub async fn saw(&self, step: Step) {
        self.steps.subscribe().wait_for(|steps| steps.contains(&step)).await.unwrap();
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }
}

async fn answer(
    State(carrier): State<Carrier>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let credentials = STANDARD.encode(format!("{ACCOUNT_SID}:{AUTH_TOKEN}"));
    if headers.get("authorization").is_none_or(|given| given != &format!("Basic {credentials}")) {
        return failed(401, 20_003);
    }
    let path: Vec<&str> = uri.path().trim_end_matches(".json").split('/').skip(4).collect();
    let step = match (&method, path.as_slice()) {
        (&Method::GET, []) => return ok(json!({"sid": ACCOUNT_SID, "status": "active"})),
        (&Method::GET, ["AvailablePhoneNumbers", ..]) => Step::Search,
        (&Method::GET, ["IncomingPhoneNumbers"]) => Step::Find,
        (&Method::POST, ["IncomingPhoneNumbers"]) => Step::Buy,
        (&Method::POST, ["IncomingPhoneNumbers", _]) => Step::Configure,
        (&Method::DELETE, ["IncomingPhoneNumbers", _]) => Step::Release,
        (&Method::POST, ["Messages"]) => Step::Send,
        other => panic!("{other:?}"),
    };
    let form = parsed(body.as_bytes());
    let query = parsed(uri.query().unwrap_or_default().as_bytes());
    let (done, fault) = {
        let mut model = carrier.model();
        let fault = model.faults.get_mut(&step).and_then(VecDeque::pop_front);
        match fault {
            Some(Fault::Refuse(status, code)) => (failed(status, code), None),
            other => (model.take(step, path.last().copied().unwrap_or_default(), &form, &query), other),
        }
    };
    carrier.steps.send_modify(|steps| steps.push(step));
    match fault {
        Some(Fault::DoAndFail(status)) => failed(status, 0),
        Some(Fault::DoAndHang) => std::future::pending().await,
        Some(Fault::Refuse(..)) | None => done,
    }
}

impl Model {
    fn take(
        &mut self,
        step: Step,
        id: &str,
        form: &HashMap<String, String>,
        query: &HashMap<String, String>,
    ) -> Response {
        match step {
            Step::Search => {
                let fits = |number: &&String| {
                    query.get("AreaCode").is_none_or(|code| number[2..].starts_with(code))
                        && !self.owned.values().any(|owned| owned.number == **number)
                };
                let shown = |number| json!({"phone_number": number, "iso_country": "US"});
                let found: Vec<Json> = self.on_sale.iter().filter(fits).map(shown).collect();
                ok(json!({"available_phone_numbers": found}))
            }
            Step::Buy => {
                let number = form["PhoneNumber"].clone();
                let taken = self.owned.values().any(|owned| owned.number == number);
                if taken || !self.on_sale.contains(&number) {
                    return failed(400, 21_422);
                }
                let id = self.add(Owned { number, trunk: String::new(), form: form.clone() });
                (StatusCode::CREATED, self.shown(&id).to_string()).into_response()
            }
            Step::Find => {
                let wanted = &query["PhoneNumber"];
                let fits = |id: &&String| self.owned[*id].number == *wanted;
                let found: Vec<Json> = self.owned.keys().filter(fits).map(|id| self.shown(id)).collect();
                ok(json!({"incoming_phone_numbers": found}))
            }
            Step::Configure => match self.owned.get_mut(id) {
                Some(owned) => {
                    owned.form.extend(form.clone());
                    ok(self.shown(id))
                }
                None => failed(404, 20_404),
            },
            Step::Release => match self.owned.remove(id) {
                Some(_) => StatusCode::NO_CONTENT.into_response(),
                None => failed(404, 20_404),
            },
            Step::Send => {
                self.messages.push(form.clone());
                let sid = format!("SM{:032}", self.messages.len());
                let sent = json!({"sid": sid, "status": "queued", "num_segments": "1"});
                (StatusCode::CREATED, sent.to_string()).into_response()
            }
        }
    }

    fn add(&mut self, owned: Owned) -> String {
        self.ids += 1;
        let id = format!("PN{:032}", self.ids);
        self.owned.insert(id.clone(), owned);
        id
    }

    fn shown(&self, id: &str) -> Json {
        let owned = &self.owned[id];
        json!({"sid": id, "phone_number": owned.number, "trunk_sid": owned.trunk})
    }
}

fn parsed(text: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(text).into_owned().collect()
}

fn ok(body: Json) -> Response {
    body.to_string().into_response()
}

fn failed(status: u16, code: u32) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, json!({"code": code, "message": "it went wrong", "status": status.as_u16()}).to_string())
        .into_response()
}
