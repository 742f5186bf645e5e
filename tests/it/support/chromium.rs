//! A real browser: Chromium without a window, driven over WebDriver. Each test has one of its own, with a fresh
//! profile. It waits for what shall be, by asking again until then.
//!
//! Tests that use it need a runtime of several threads: leaving the browser blocks one of them, and a page that still
//! waits for a server of the test would hold that up.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use thirtyfour::prelude::*;

use super::PATIENCE;

/// A person's. Without a window Chromium would call itself `HeadlessChrome`, which is taken for a robot.
const USER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36";

/// See the module.
pub struct Chromium {
    // Dropped in this order: leaving the browser needs the driver, and the profile is in use until then.
    driver: WebDriver,
    _chromedriver: Chromedriver,
    _profile: Profile,
}

impl Chromium {
    pub async fn start() -> Chromium {
        let (chromedriver, profile) = (Chromedriver::start(), Profile(tempfile::tempdir().unwrap()));
        let mut wanted = DesiredCapabilities::chrome();
        let profile_flag = format!("--user-data-dir={}", profile.0.path().display());
        let agent_flag = format!("--user-agent={USER_AGENT}");
        for flag in [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &profile_flag,
            &agent_flag,
        ] {
            wanted.add_arg(flag).unwrap();
        }
        let driver = WebDriver::new(&chromedriver.url, wanted).await.expect("Chromium starts");
        Chromium { driver, _chromedriver: chromedriver, _profile: profile }
    }

    pub async fn open(&self, url: &str) {
        self.driver.goto(url).await.expect("the page opens");
    }

    pub async fn back(&self) {
        self.driver.back().await.expect("there is a page before");
    }

    /// Has each page that is opened from now on begin with this script.
    pub async fn begin_with(&self, script: &str) {
        self.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    }

    /// Has pages that are opened from now on see another browser.
    pub async fn pretend_to_be(&self, user_agent: &str) {
        self.command("Network.setUserAgentOverride", json!({ "userAgent": user_agent })).await;
    }

    /// Lets nothing through to URLs of this form, as if nobody were there.
    pub async fn cut_off(&self, pattern: &str) {
        self.command("Network.enable", json!({})).await;
        self.command("Network.setBlockedURLs", json!({ "urls": [pattern] })).await;
    }

    async fn command(&self, method: &str, parameters: Json) {
        self.driver.cdp().send_raw(method, parameters).await.expect("Chromium knows the command");
    }

    /// Runs the body of a function in the page.
    pub async fn run(&self, script: &str) -> Json {
        let answer = self.driver.execute(script, vec![]).await;
        answer.unwrap_or_else(|e| panic!("{script}: {e}")).json().clone()
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

/// The program between us and the browser; ends with the test.
struct Chromedriver {
    child: Child,
    // It would stumble over a closed pipe.
    _stdout: BufReader<ChildStdout>,
    url: String,
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
        Chromedriver { child, _stdout: stdout, url: format!("http://127.0.0.1:{port}") }
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
