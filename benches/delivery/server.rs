//! The server under test: in this process, as `calltracker serve` would start it, or that program itself.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use calltracker::app::{self, App, Outside};
use calltracker::auth;
use calltracker::companies::{self, NewCompany, Scope};
use calltracker::config::{Config, Given};
use calltracker::ctx::Ctx;
use calltracker::db::Error;
use calltracker::kernel::id::WebhookId;
use calltracker::kernel::secret::SecretKey;
use calltracker::kernel::seed::Seed;
use calltracker::webhooks::{self, Settings};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::disk;

/// Where a server keeps its data; outlives it.
pub struct Place {
    pub folder: TempDir,
    pub database_url: Option<String>,
    key: SecretKey,
}

impl Place {
    pub fn new(database_url: Option<String>) -> anyhow::Result<Place> {
        Ok(Place { folder: disk::folder()?, database_url, key: SecretKey::generate(&Seed::system()) })
    }

    fn config(&self) -> anyhow::Result<Config> {
        let mut config = Given::default().resolve(Given::default())?;
        config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.data = self.folder.path().to_owned();
        config.database_url.clone_from(&self.database_url);
        config.secret_key = Some(self.key.clone());
        config.webhooks.allow_targets.push("127.0.0.0/8".parse()?);
        config.api.rate_per_minute = u32::MAX;
        Ok(config)
    }

    /// A server in this process.
    pub async fn start(&self) -> anyhow::Result<App> {
        app::start(self.config()?, Outside::real()).await
    }

    /// The program itself; gone when dropped. Its log goes to our stderr.
    pub async fn start_program(&self) -> anyhow::Result<Child> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_calltracker"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "warn"]);
        command.args(["--webhooks-allow-targets", "127.0.0.0/8", "--data"]).arg(self.folder.path());
        command.env("CALLTRACKER_SECRET_KEY", self.key.to_text());
        command.envs(self.database_url.as_ref().map(|url| ("CALLTRACKER_DATABASE_URL", url)));
        Ok(command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?)
    }
}

/// Waits until the program says that it listens.
pub async fn ready(program: &mut Child) -> anyhow::Result<()> {
    let stdout = program.stdout.as_mut().context("stdout is piped")?;
    BufReader::new(stdout).lines().next_line().await?.context("the program ended")?;
    Ok(())
}

pub async fn company(ctx: &Ctx) -> anyhow::Result<Scope> {
    let new = NewCompany {
        name: "Example Company".to_owned(),
        time_zone: "UTC".to_owned(),
        country: "US".to_owned(),
        billing_day: 1,
        source_days: 30,
    };
    let made = ctx.db.write("bench.company", move |tx| companies::create(tx, &new)).await?;
    Ok(Scope::of(made.id))
}

/// Active webhooks for all events.
pub async fn webhooks(ctx: &Ctx, scope: Scope, targets: Vec<String>) -> anyhow::Result<Vec<WebhookId>> {
    let key = ctx.key.clone();
    let create = ctx.db.write("bench.webhooks", move |tx| {
        let mut ids = Vec::new();
        for target in &targets {
            let (webhook, _) = webhooks::create(tx, scope, &key, &settings(target))?;
            webhooks::verified(tx, scope, webhook.id, target)?;
            ids.push(webhook.id);
        }
        Ok::<_, Error>(ids)
    });
    Ok(create.await?)
}

fn settings(target: &str) -> Settings {
    Settings::all_to(target)
}

/// A client of the whole account, and what the paths of the company begin with.
pub async fn client(app: &App, scope: Scope) -> anyhow::Result<(reqwest::Client, String)> {
    let token = app.ctx.db.write("bench.token", |tx| auth::create(tx, "bench", None, true)).await?;
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert(reqwest::header::AUTHORIZATION, format!("Bearer {token}").parse()?);
    let client = reqwest::Client::builder().default_headers(headers).timeout(Duration::from_secs(60));
    let root = format!("http://{}/api/v1/companies/{}", app.address, scope.company());
    Ok((client.no_proxy().build()?, root))
}
