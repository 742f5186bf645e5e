//! A company with a web site: a pool of numbers that visitors see, and browsers without a browser, which ask what the
//! script asks. The carrier behind the numbers is [`Line`]'s.

use std::time::Duration;

use calltracker::kernel::clock::Micros;
use calltracker::kernel::id::TrackerId;
use calltracker::kernel::phone::PhoneNumber;
use calltracker::trackers::{self, OwnedNumber, Settings, TrackerType};
use serde_json::{Value as Json, json};

use super::TestApp;
use super::line::{Line, settings};

/// The number that stands on the site.
pub const ON_PAGE: &str = "+12703152766";
const CHROME: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36";

/// See the module.
pub struct Site {
    /// Its own tracker is a billboard's, with another number than those below.
    pub line: Line,
    pub key: String,
    http: reqwest::Client,
}

/// What a browser knows of itself.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    pub visitor: String,
    pub session: String,
    /// The server's last answer.
    pub answer: Json,
}

impl Browser {
    /// What is shown in place of the number on the page; "" if that stays.
    pub fn number(&self) -> &str {
        self.answer["swaps"][0]["number"].as_str().unwrap_or_default()
    }
}

/// The settings of a tracker that replaces the number on the site.
pub fn shown(name: &str, tracker_type: TrackerType, campaign_source: &str) -> Settings {
    Settings {
        name: name.to_owned(),
        tracker_type,
        campaign_source: campaign_source.to_owned(),
        swap_target: ON_PAGE.to_owned(),
        destination: PhoneNumber::from_e164("+18125550177").expect("it is a number"),
        ..settings()
    }
}

impl Site {
    pub async fn open() -> Site {
        Site::on(TestApp::quiet(|config| config.trusted_proxies.push("127.0.0.0/8".parse().unwrap())).await)
            .await
    }

    pub async fn on(app: TestApp) -> Site {
        let line = Line::on(app, |settings| settings.recording_enabled = false).await;
        let company = line.company.reader.get(&line.company.path("")).await.expect(200);
        let key = company.json["site_key"].as_str().expect("it is a text").to_owned();
        Site { line, key, http: reqwest::Client::new() }
    }

    /// Makes a tracker with numbers that begin with `+1502555` and this digit.
    pub async fn tracker(&self, settings: Settings, digit: u8, count: usize) -> TrackerId {
        let (scope, carrier) = (self.line.company.scope, self.line.carrier);
        let number = |n: usize| OwnedNumber {
            carrier_id: carrier,
            carrier_number_id: format!("PN{digit}{n:03}"),
            number: PhoneNumber::from_e164(&format!("+1502555{digit}{n:03}")).expect("it is a number"),
        };
        let numbers: Vec<OwnedNumber> = (0..count).map(number).collect();
        let create = move |tx: &mut calltracker::db::Tx<'_>| {
            Ok(trackers::create(tx, scope, &settings, &numbers).expect("the numbers are free").tracker.id)
        };
        self.line.app.write(create).await
    }

    /// A pool of so many numbers.
    pub async fn pool(&self, count: usize) -> TrackerId {
        self.tracker(shown("Pool", TrackerType::NumberPool, ""), 7, count).await
    }

    /// Posts what a script posts, from an address.
    pub async fn post(&self, what: &str, body: &str, address: &str) -> reqwest::Response {
        let url = format!("{}dni/{}/{what}", self.line.app.ctx.public_url, self.key);
        let request = self.http.post(url).header("content-type", "text/plain;charset=UTF-8");
        let request = request.header("user-agent", CHROME).header("x-forwarded-for", address);
        request.body(body.to_owned()).send().await.expect("the server answers")
    }

    /// A page of the site is opened.
    pub async fn visit(&self, browser: &mut Browser, url: &str, referrer: &str) {
        self.visit_with(browser, url, referrer, &json!({})).await;
    }

    /// A page of the site is opened, and the script says more.
    pub async fn visit_with(&self, browser: &mut Browser, url: &str, referrer: &str, more: &Json) {
        let mut body = json!({
            "visitor": browser.visitor, "session": browser.session, "url": url, "referrer": referrer,
            "title": "A page", "consent": true, "take": true, "test": false, "debug": "",
        });
        for (name, value) in more.as_object().expect("it is an object") {
            body[name] = value.clone();
        }
        let response = self.post("session", &body.to_string(), "198.51.100.7").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let answer: Json = response.json().await.expect("the answer is JSON");
        answer["visitor"].as_str().expect("a text").clone_into(&mut browser.visitor);
        answer["session"].as_str().expect("a text").clone_into(&mut browser.session);
        browser.answer = answer;
    }

    /// A new visitor comes.
    pub async fn newcomer(&self, url: &str, referrer: &str) -> Browser {
        let mut browser = Browser::default();
        self.visit(&mut browser, url, referrer).await;
        browser
    }

    /// The visitor still looks at the page; gives whether the script must begin again.
    pub async fn heartbeat(&self, browser: &Browser) -> bool {
        let body = json!({ "session": browser.session }).to_string();
        let response = self.post("heartbeat", &body, "198.51.100.7").await;
        let renew = response.status() == 200;
        assert!(renew || response.status() == 204, "{}", response.status());
        renew
    }

    /// The visitor goes on to another page of an application of one page.
    pub async fn page(&self, browser: &Browser, url: &str) {
        let body =
            json!({ "session": browser.session, "url": url, "referrer": "", "title": "Next" }).to_string();
        assert_eq!(self.post("page", &body, "198.51.100.7").await.status(), 204);
    }

    /// Time goes by.
    pub fn advance_minutes(&self, minutes: u64) {
        self.line.app.advance(Duration::from_secs(60 * minutes));
    }

    pub fn now(&self) -> Micros {
        self.line.app.ctx.clock.now()
    }

    /// Somebody calls a number; gives the call's object.
    pub async fn call(&self, sid: &str, from: &str, to: &str) -> Json {
        let form = [
            ("CallSid", sid),
            ("AccountSid", "AC0000000000000000000000000000abcd"),
            ("From", from),
            ("To", to),
            ("CallStatus", "ringing"),
            ("ApiVersion", "2010-04-01"),
            ("Direction", "inbound"),
        ];
        self.line.post("voice", &form).await.expect(200);
        let calls = self.line.company.reader.get(&self.line.company.path("/calls?limit=1")).await.expect(200);
        calls.json["data"][0].clone()
    }

    /// Writes the signs of life that wait, as the server does each second.
    pub async fn write_beats(&self) {
        self.line.app.write_beats().await;
    }
}
