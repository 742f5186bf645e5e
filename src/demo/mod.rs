//! `calltracker demo`: the main job on one's own machine. The server runs in this process, exactly as
//! `serve` runs it; the carrier and the receiver run in processes of their own and are spoken to over HTTP.
//! The demo itself is only a user: it works through the REST API and the simulated carrier's control.

mod client;
pub mod receiver;
mod script;
pub mod site;
mod visitors;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use anyhow::{Context as _, bail};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use self::client::Client;
use crate::app::{self, App, Outside};
use crate::config::Config;
use crate::jobs::AsOf;
use crate::kernel::id;
use crate::users::{self, Email, NewPassword};

/// Virtual seconds of the simulated carrier in a real one: a call of a minute takes six seconds.
const SCALE: &str = "10";
const ACCOUNT_SID: &str = "AC0123456789abcdef0123456789abcdef";
const EMAIL: &str = "demo@example.com";

#[expect(clippy::print_stdout, reason = "the demo talks to the person who started it")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Runs until `ended`. Data lie in a folder of their own that is removed at the end.
///
/// # Errors
/// A part couldn't be started.
pub async fn run(mut config: Config, ended: impl Future<Output = ()>) -> anyhow::Result<()> {
    let outside = Outside::real();
    let folder = Folder::new(&outside)?;
    let token = id::secret("ct_", &outside.seed);
    let loopback = "127.0.0.0/8".parse().context("the loopback network")?;
    config.data = folder.0.clone();
    config.database_url = None;
    config.bootstrap_token = Some(token.clone());
    config.webhooks.allow_targets.push(loopback);
    config.carriers.allow_targets.push(loopback);

    let auth_token = id::secret("", &outside.seed);
    let carrier = Part::start(
        "carrier-sim",
        &["--account-sid", ACCOUNT_SID, "--auth-token", &auth_token, "--scale", SCALE, "--exit-with-stdin"],
    )
    .await?;
    let mut receiver = Part::start("demo-receiver", &[]).await?;
    let mut site = Part::start("demo-site", &[]).await?;
    let calendar = Arc::new(AtomicI64::new(outside.clock.now().0));
    let app = app::start(config, Outside { usage_as_of: AsOf::Hand(calendar.clone()), ..outside }).await?;

    let urls = carrier.urls();
    let [rest, control] = urls.as_slice() else { bail!("the carrier said: {}", carrier.first_line) };
    let played = async {
        let api = Client::new(&format!("http://{}/api/v1/", app.address), Some(&token))?;
        let password = add_user(&app).await?;
        let mut company = set_up(&api, rest, &auth_token, &mut receiver).await?;
        set_up_site(&api, &mut company, &mut site).await?;
        receiver.print_rest();
        introduce(&app, &token, &password, &company, &receiver, control);
        let carrier = Client::new(&format!("{control}/"), None)?;
        script::run(&api, &carrier, &company, &calendar).await
    };
    let result = tokio::select! {
        result = played => result,
        () = ended => Ok(()),
    };
    say("\nEnding: requests in flight may finish.");
    app.stop().await;
    result
}

/// The sample company.
pub(super) struct Company {
    id: i64,
    tracker_id: i64,
    tracking_number: String,
    /// Where its web site is.
    site: String,
}

/// A name in the API's paths.
impl Company {
    pub(super) fn path(&self, rest: &str) -> String {
        format!("companies/{}/{rest}", self.id)
    }
}

/// A login for the pages. Gives its password.
async fn add_user(app: &App) -> anyhow::Result<String> {
    let password = id::secret("", &app.ctx.seed);
    let email = Email::parse(EMAIL).context("the demo's e-mail address")?;
    let new = NewPassword::parse(&password).context("the demo's password")?;
    users::add(&app.ctx.db, &app.ctx.seed, email, new, None).await?;
    Ok(password)
}

/// What a person would do with curl after reading the README.
async fn set_up(
    api: &Client,
    carrier: &str,
    auth_token: &str,
    receiver: &mut Part,
) -> anyhow::Result<Company> {
    let sample = json!({"name": "Riverside Plumbing", "time_zone": "America/Chicago", "country": "US"});
    let made = api.post("companies", &sample).await?;
    let mut company = Company {
        id: number(&made["id"])?,
        tracker_id: 0,
        tracking_number: String::new(),
        site: String::new(),
    };
    let account =
        json!({"kind": "twilio", "account_sid": ACCOUNT_SID, "auth_token": auth_token, "base_url": carrier});
    api.post(&company.path("carriers"), &account).await?;
    let target = receiver.urls().into_iter().next().context("the receiver named no URL")?;
    let webhook = api.post(&company.path("webhooks"), &json!({"target": target, "events": "all"})).await?;
    let secret = webhook["secret"].as_str().context("a new webhook has a secret")?;
    receiver.tell(secret, receiver::SECRET_KNOWN).await?;
    api.post(&company.path(&format!("webhooks/{}/verification", webhook["id"])), &json!({})).await?;
    let tracker = api
        .post(
            &company.path("trackers"),
            &json!({
                "name": "Spring flyer", "tracker_type": "offline", "number_type": "local",
                "destination": script::DESTINATION, "recording_enabled": true,
                "recording_message": "This call may be recorded.", "whisper_enabled": true,
                "whisper_message": "A call from the spring flyer.", "voicemail_enabled": true,
                "voicemail_greeting": "Nobody is free right now. Please leave a message after the tone.",
                "transcription_enabled": true,
                "numbers": {"buy": {"area_code": "270", "count": 1}},
            }),
        )
        .await?;
    company.tracker_id = number(&tracker["id"])?;
    let bought = tracker["phone_numbers"][0]["number"].as_str();
    bought.context("a new tracker has a number")?.clone_into(&mut company.tracking_number);
    let blocked = json!({"number": script::BLOCKED, "note": "Sells car warranties"});
    api.post(&company.path("blocked-callers"), &blocked).await?;
    Ok(company)
}

/// A pool of numbers for the visitors of the site, and the script on its pages.
async fn set_up_site(api: &Client, company: &mut Company, site: &mut Part) -> anyhow::Result<()> {
    let pool = json!({
        "name": "Web site", "tracker_type": "number_pool", "number_type": "local",
        "destination": script::DESTINATION, "swap_target": script::DESTINATION,
        "numbers": {"buy": {"area_code": "502", "count": 8}},
    });
    api.post(&company.path("trackers"), &pool).await?;
    let script = api.get(&company.path("script")).await?;
    let tag = script["html"].as_str().context("the script has a tag")?;
    site.tell(tag, site::SCRIPT_KNOWN).await?;
    company.site = site.urls().into_iter().next().context("the site named no URL")?;
    Ok(())
}

fn number(json: &serde_json::Value) -> anyhow::Result<i64> {
    json.as_i64().context("an id is a number")
}

fn introduce(app: &App, token: &str, password: &str, company: &Company, receiver: &Part, control: &str) {
    let base = format!("http://{}", app.address);
    say(&format!(
        "
Call Tracker demo: calls, texts and webhooks keep coming until you press Ctrl-C.

  Pages               {base}/
  Login               {EMAIL}, password {password}
  API documentation   {base}/api/v1/docs
  API token           {token}
  Sample company      Riverside Plumbing, id {}
  Its tracker         Spring flyer, {} -> {}
  Its web site        {}
  Webhook receiver    {}
  Simulated carrier   {control}

  Try:  curl -H 'Authorization: Bearer {token}' {base}/api/v1/{}
",
        company.id,
        company.tracking_number,
        script::DESTINATION,
        company.site,
        receiver.urls().concat(),
        company.path("calls?limit=3"),
    ));
}

/// A process of the demo. It ends when its stdin closes, which happens when this process ends, however.
struct Part {
    first_line: String,
    stdin: ChildStdin,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    _child: Child,
}

impl Part {
    /// Starts this very program with another command, and waits for its first line.
    async fn start(command: &str, arguments: &[&str]) -> anyhow::Result<Part> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut child = Command::new(program)
            .arg(command)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C in the terminal is for this process, which ends the others in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {command}"))?;
        let stdin = child.stdin.take().context("its stdin is piped")?;
        let mut lines = BufReader::new(child.stdout.take().context("its stdout is piped")?).lines();
        let first = lines.next_line().await.with_context(|| format!("waiting for {command}"))?;
        let first_line = first.with_context(|| format!("{command} ended at once"))?;
        Ok(Part { first_line, stdin, lines: Some(lines), _child: child })
    }

    /// The URLs that its first line names.
    fn urls(&self) -> Vec<String> {
        self.first_line
            .split_whitespace()
            .filter(|word| word.starts_with("http"))
            .map(str::to_owned)
            .collect()
    }

    /// Writes a line to it and waits until it says `answer`; prints what it says before that.
    async fn tell(&mut self, line: &str, answer: &str) -> anyhow::Result<()> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        let lines = self.lines.as_mut().context("its lines are still read here")?;
        while let Some(said) = lines.next_line().await? {
            say(&said);
            if said == answer {
                return Ok(());
            }
        }
        bail!("a process of the demo ended")
    }

    /// Prints what it says from now on.
    fn print_rest(&mut self) {
        if let Some(mut lines) = self.lines.take() {
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    say(&line);
                }
            });
        }
    }
}

/// The demo's data folder; gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(outside: &Outside) -> anyhow::Result<Folder> {
        let name = format!("calltracker-demo-{}", id::secret("", &outside.seed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It lies in the folder for temporary files: what can't be removed now will be some day.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The default address of the receiver and the site.
pub const PART_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
