//! What is asked: the program, and a bare handler. Each is a process of its own, so that its CPU time is its own.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use calltracker::app::{self, Outside};
use calltracker::companies::Scope;
use calltracker::config::Given;
use calltracker::kernel::secret::SecretKey;
use calltracker::kernel::seed::Seed;
use calltracker::trackers::pool::Exhausted;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::{disk, world};

/// What makes this program the floor.
pub const FLOOR: &str = "floor";
/// As long as what the product answers.
const ANSWER: &str = r#"{"visitor":"v123456_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","session":"s123456_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","days":30,"heartbeat":60,"swaps":[{"target":"+12025550100","number":"+12022000123","code":"1","trunk":"1"}]}"#;

/// The bare handler; gone when dropped.
pub struct Floor {
    pub pid: u32,
    address: String,
    _child: Child,
}

impl Floor {
    pub async fn start() -> anyhow::Result<Floor> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg(FLOOR).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let address = first_line(&mut child).await?;
        Ok(Floor { pid: child.id().context("it runs")?, address, _child: child })
    }

    pub fn urls(&self, path: &str) -> Vec<String> {
        vec![format!("http://{}/dni/site/{path}", self.address)]
    }
}

/// Serves until the process is killed; says its address first.
#[expect(clippy::print_stdout, reason = "its parent reads it")]
pub async fn run_floor() -> anyhow::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!("{}", listener.local_addr()?);
    let nothing = |_body: Bytes| async { StatusCode::NO_CONTENT };
    let router = Router::new()
        .route("/dni/{site_key}/session", post(shown))
        .route("/dni/{site_key}/page", post(nothing))
        .route("/dni/{site_key}/heartbeat", post(nothing));
    Ok(axum::serve(listener, router).await?)
}

async fn shown(_body: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json")], ANSWER).into_response()
}

/// The program with sites, a pool for each; gone when dropped.
pub struct Server {
    pub pid: u32,
    address: String,
    site_keys: Vec<String>,
    _child: Child,
    _folder: TempDir,
}

impl Server {
    pub async fn start(sites: u32, numbers: u32) -> anyhow::Result<Server> {
        let (folder, key) = (disk::folder()?, SecretKey::generate(&Seed::system()));
        let mut config = Given::default().resolve(Given::default())?;
        config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.data = folder.path().to_owned();
        config.secret_key = Some(key.clone());
        let app = app::start(config, Outside::real()).await?;
        let mut site_keys = Vec::new();
        for site in 0..sites {
            let company = world::company(&app.ctx).await?;
            let scope = Scope::of(company.id);
            world::pool(&app.ctx, scope, numbers, site * numbers, Exhausted::Reuse).await?;
            site_keys.push(company.site_key);
        }
        app.stop().await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_calltracker"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "warn"]);
        command.args(["--trusted-proxies", "127.0.0.0/8", "--data"]).arg(folder.path());
        command.env("CALLTRACKER_SECRET_KEY", key.to_text());
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let line = first_line(&mut child).await?;
        let address = line.rsplit("http://").next().map(|rest| rest.trim_end_matches('/').to_owned());
        let address = address.context("it says where it listens")?;
        let pid = child.id().context("it runs")?;
        Ok(Server { pid, address, site_keys, _child: child, _folder: folder })
    }

    /// One for each site.
    pub fn urls(&self, path: &str) -> Vec<String> {
        self.site_keys.iter().map(|site| format!("http://{}/dni/{site}/{path}", self.address)).collect()
    }
}

async fn first_line(child: &mut Child) -> anyhow::Result<String> {
    let stdout = child.stdout.as_mut().context("stdout is piped")?;
    BufReader::new(stdout).lines().next_line().await?.context("the program ended")
}
