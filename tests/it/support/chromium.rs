//! A real browser: Chromium without a window, driven over WebDriver (w3.org/TR/webdriver2), which is JSON over HTTP. Each
//! test has one of its own, with a fresh profile. It waits for what shall be, by asking again until then.
//!
//! The few commands are written out here: of the libraries, fantoccini needs a crate under the MPL, and thirtyfour adds
//! an operator to `String`, which breaks the types of tests that have nothing to do with it.
//!
//! Tests that use it need a runtime of several threads: leaving the browser blocks one of them, and a page that still
//! waits for a server of the test would hold that up.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::PATIENCE;

/// A person's. Without a window Chromium would call itself `HeadlessChrome`, which is taken for a robot.
const USER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36";

/// See the module.
pub struct Chromium {
    // Dropped in this order: leaving the browser needs the driver, and the profile is in use until then.
    session: Session,
    _chromedriver: Chromedriver,
    _profile: Profile,
}

impl Chromium {
    pub async fn start() -> Chromium {
        let (chromedriver, profile) = (Chromedriver::start(), Profile(tempfile::tempdir().unwrap()));
        let flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", profile.0.path().display()),
            &format!("--user-agent={USER_AGENT}"),
        ];
        let session = Session::begin(&chromedriver.address, &flags).await;
        Chromium { session, _chromedriver: chromedriver, _profile: profile }
    }

    pub async fn open(&self, url: &str) {
        self.session.command("url", json!({ "url": url })).await;
    }

    pub async fn back(&self) {
        self.session.command("back", json!({})).await;
    }

    /// Has each page that is opened from now on begin with this script.
    pub async fn begin_with(&self, script: &str) {
        self.session.develop("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    }

    /// Has pages that are opened from now on see another browser.
    pub async fn pretend_to_be(&self, user_agent: &str) {
        self.session.develop("Network.setUserAgentOverride", json!({ "userAgent": user_agent })).await;
    }

    /// Lets nothing through to URLs of this form, as if nobody were there.
    pub async fn cut_off(&self, pattern: &str) {
        self.session.develop("Network.enable", json!({})).await;
        self.session.develop("Network.setBlockedURLs", json!({ "urls": [pattern] })).await;
    }

    /// Shows pages on a screen of this size, in CSS pixels.
    pub async fn resize(&self, (width, height): (u32, u32)) {
        let screen = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.session.develop("Emulation.setDeviceMetricsOverride", screen).await;
    }

    /// As if the system were set to dark colours, or light ones.
    pub async fn darken(&self, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.session.develop("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// The whole page as a PNG.
    pub async fn photograph(&self) -> Vec<u8> {
        let all = json!({"format": "png", "captureBeyondViewport": true});
        let taken = self.session.develop("Page.captureScreenshot", all).await;
        BASE64.decode(taken["data"].as_str().unwrap()).unwrap()
    }

    /// Runs the body of a function in the page that calls its last argument with what it comes to.
    pub async fn run_async(&self, script: &str) -> Json {
        self.session.command("execute/async", json!({ "script": script, "args": [] })).await
    }

    /// Runs the body of a function in the page.
    pub async fn run(&self, script: &str) -> Json {
        self.session.command("execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// The value of an expression in the page.
    pub async fn value(&self, expression: &str) -> Json {
        self.run(&format!("return {expression}")).await
    }

    /// Waits until an expression has this value.
    pub async fn until(&self, expression: &str, wanted: impl Into<Json>) {
        let (wanted, mut last) = (wanted.into(), Json::Null);
        let waiting = async {
            loop {
                last = self.value(expression).await;
                if last == wanted {
                    return;
                }
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{expression} is {last}, not {wanted}");
    }

    /// Waits until the element with this id has this text.
    pub async fn shows(&self, id: &str, text: &str) {
        self.until(&format!("(document.getElementById('{id}') || {{}}).textContent"), text).await;
    }

    pub async fn click(&self, id: &str) {
        self.run(&format!("document.getElementById('{id}').click()")).await;
    }

    /// What scripts have kept in the browser about the page's site.
    pub async fn kept(&self) -> (String, u64) {
        let kept = self.value("[document.cookie, sessionStorage.length + localStorage.length]").await;
        (kept[0].as_str().unwrap().to_owned(), kept[1].as_u64().unwrap())
    }
}

/// A session of WebDriver: one browser.
struct Session {
    http: reqwest::Client,
    address: String,
    /// `/session/` and its id.
    path: String,
}

impl Session {
    async fn begin(address: &str, flags: &[&str]) -> Session {
        let options = json!({ "args": flags });
        let wanted = json!({"browserName": "chrome", "goog:chromeOptions": options});
        let mut session =
            Session { http: reqwest::Client::new(), address: address.to_owned(), path: String::new() };
        let begun = session.post("/session", json!({"capabilities": {"alwaysMatch": wanted}})).await;
        session.path = format!("/session/{}", begun["sessionId"].as_str().expect("the browser starts"));
        session
    }

    async fn command(&self, name: &str, parameters: Json) -> Json {
        self.post(&format!("{}/{name}", self.path), parameters).await
    }

    /// A command of Chromium's own protocol (chromedevtools.github.io/devtools-protocol).
    async fn develop(&self, name: &str, parameters: Json) -> Json {
        self.command("goog/cdp/execute", json!({ "cmd": name, "params": parameters })).await
    }

    async fn post(&self, path: &str, parameters: Json) -> Json {
        let request = self.http.post(format!("http://{}{path}", self.address)).json(&parameters);
        let answer: Json = request.send().await.expect("chromedriver answers").json().await.unwrap();
        let value = &answer["value"];
        assert!(value["error"].is_null(), "{parameters}: {value}");
        value.clone()
    }
}

impl Drop for Session {
    /// The browser leaves: otherwise its processes would outlive the driver's.
    fn drop(&mut self) {
        let request =
            format!("DELETE {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.path, self.address);
        let left = TcpStream::connect(&self.address).and_then(|mut stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(request.as_bytes())?;
            // The answer comes when the browser is gone, and the driver doesn't close the connection behind it.
            stream.read(&mut [0; 512])
        });
        if let Err(error) = left {
            eprintln!("a browser may be left running: {error}");
        }
    }
}

/// The program between us and the browser; ends with the test.
struct Chromedriver {
    child: Child,
    // It would stumble over a closed pipe.
    _stdout: BufReader<ChildStdout>,
    address: String,
}

impl Chromedriver {
    fn start() -> Chromedriver {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("chromedriver is installed; scripts/test does it on Debian");
        let mut stdout = BufReader::new(child.stdout.take().expect("it was asked for"));
        let port = loop {
            let mut line = String::new();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "chromedriver ended");
            if let Some((_, port)) = line.trim().split_once("started successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        Chromedriver { child, _stdout: stdout, address: format!("127.0.0.1:{port}") }
    }
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the browser keeps everything; goes with the test.
struct Profile(TempDir);

impl Drop for Profile {
    /// A browser that is leaving still writes: one attempt may find a folder that has just been filled again.
    fn drop(&mut self) {
        let attempts_max = 1_000;
        for _ in 0..attempts_max {
            if std::fs::remove_dir_all(self.0.path()).is_ok() {
                return;
            }
        }
    }
}
