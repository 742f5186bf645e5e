//! Wiring: opens the database, binds the port, starts the background work, and takes it all down in order.
//! Knows every part and decides nothing about calls or webhooks.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

use crate::config::Config;
use crate::ctx::{Ctx, Parts};
use crate::db::{Db, Location};
use crate::jobs;
use crate::kernel::clock::Clock;
use crate::kernel::phone::PhoneNumber;
use crate::kernel::secret::SecretKey;
use crate::kernel::seed::Seed;
use crate::metrics::Metrics;
use crate::outbound::{Options, Outbound, ResolverChoice};
use crate::visits::beats::Beats;
use crate::{auth, http, webhooks};

/// Requests and deliveries in flight may take this long when the program is asked to end.
const GRACE: Duration = Duration::from_secs(10);
/// Sent with every request of ours.
const USER_AGENT: &str = concat!("CallTracker/", env!("CARGO_PKG_VERSION"));
/// File of the secret key in the data folder, when the settings don't give one.
const KEY_FILE: &str = "secret_key";
/// File of the embedded database in the data folder.
const DATABASE_FILE: &str = "calltracker.sqlite3";

/// A running server.
pub struct App {
    /// Where it listens.
    pub address: SocketAddr,
    pub ctx: Ctx,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    background: JoinHandle<()>,
    /// Signs of life of visits, which wait to be written.
    pub beats: Arc<Beats>,
}

/// What differs between a server, the demo and a test.
pub struct Outside {
    pub clock: Clock,
    pub seed: Seed,
    /// The moment up to which billing periods are closed: the clock, unless the demo says otherwise.
    pub usage_as_of: jobs::AsOf,
    /// Whether the background work runs by itself; a test may want to run each job by hand.
    pub run_jobs: bool,
}

impl Outside {
    /// The real time and chance.
    pub fn real() -> Outside {
        Outside { clock: Clock::System, seed: Seed::system(), usage_as_of: jobs::AsOf::Clock, run_jobs: true }
    }
}

/// Opens everything and serves. When this answers, requests are.
///
/// # Errors
/// Says what couldn't be opened and why.
pub async fn start(config: Config, outside: Outside) -> anyhow::Result<App> {
    let ctx_parts = open(&config, &outside).await?;
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("listening on {}", config.listen))?;
    let address = listener.local_addr().context("asking for the address listened on")?;
    let ctx = context(config, outside.clock, outside.seed, ctx_parts, address)?;
    let (stop, stopped) = watch::channel(false);
    let state = http::AppState::new(ctx.clone(), stopped.clone());
    let beats = state.beats.clone();
    let fresh = state.directory.clone().keep_fresh(ctx.clone(), stopped.clone());
    let router = http::router(state);
    let jobs = jobs::run(ctx.clone(), outside.usage_as_of, stopped.clone());
    let engine = webhooks::run_engine(ctx.clone(), stopped.clone());
    let (writing, of, until) = (beats.clone(), ctx.clone(), stopped.clone());
    let background = tokio::spawn(async move {
        let kept = async { tokio::join!(fresh, writing.keep_writing(&of, until)) };
        if outside.run_jobs {
            tokio::join!(jobs, engine, kept);
        } else {
            kept.await;
        }
    });
    let server = tokio::spawn(serve(listener, router, stopped));
    let (version, engine) = (env!("CARGO_PKG_VERSION"), ctx.db.engine_name());
    tracing::info!(version, %address, database = engine, "started");
    Ok(App { address, ctx, stop, server, background, beats })
}

impl App {
    /// Tells everything to end, and doesn't wait for it.
    pub fn begin_stop(&self) {
        self.stop.send_replace(true);
    }

    /// No new work; what is in flight may finish, for ten seconds at most; then the database is closed.
    pub async fn stop(self) {
        let App { ctx, stop, server, background, beats, .. } = self;
        stop.send_replace(true);
        tracing::info!("stopping: what is in flight may finish");
        let deadline = tokio::time::Instant::now() + GRACE;
        for mut task in [server, background] {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                tracing::warn!("work in flight was given up after {} s", GRACE.as_secs());
                task.abort();
            }
        }
        if let Err(error) = beats.write(&ctx).await {
            tracing::error!(%error, "the last page views and signs of life are lost");
        }
        // The last handle closes the database, which waits for its threads.
        let _ = tokio::task::spawn_blocking(move || drop(ctx)).await;
        tracing::info!("stopped");
    }
}

struct Opened {
    db: Db,
    key: SecretKey,
}

async fn open(config: &Config, outside: &Outside) -> anyhow::Result<Opened> {
    // Callers' numbers and voices lie here: for nobody else on the machine.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data)
        .with_context(|| format!("making the data folder {}", config.data.display()))?;
    let location = location(config);
    let (clock, seed) = (outside.clock.clone(), outside.seed.clone());
    let opening = tokio::task::spawn_blocking(move || Db::open(&location, clock, seed));
    let db = opening.await.context("opening the database")??;
    // Reads the number plans, which takes half a second: no caller shall wait for that.
    tokio::task::spawn_blocking(|| PhoneNumber::caller("+12025550123")).await?;
    let key = match &config.secret_key {
        Some(key) => key.clone(),
        // Read after the database's lock was taken: two first starts can't make two keys.
        None => key_file(&config.data.join(KEY_FILE), &outside.seed)?,
    };
    if let Some(token) = config.bootstrap_token.clone() {
        db.write("auth.bootstrap", move |tx| auth::ensure(tx, &token, "bootstrap")).await?;
    }
    Ok(Opened { db, key })
}

/// Where the settings put the data.
pub fn location(config: &Config) -> Location {
    match &config.database_url {
        Some(url) => Location::Postgres(url.clone()),
        None => Location::Sqlite(config.data.join(DATABASE_FILE)),
    }
}

/// Reads the key, or makes one that only its owner can read and that is on disk before it is used.
fn key_file(path: &Path, seed: &Seed) -> anyhow::Result<SecretKey> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let reading = || format!("reading the secret key {}", path.display());
    match std::fs::read_to_string(path) {
        Ok(text) => {
            return SecretKey::parse(&text).context("it isn't the base64 of 32 bytes").with_context(reading);
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(reading);
        }
        Err(_) => {}
    }
    let key = SecretKey::generate(seed);
    let writing = || format!("writing the secret key {}", path.display());
    let fresh = path.with_extension("new");
    let mut file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .with_context(writing)?;
    file.write_all(key.to_text().as_bytes()).with_context(writing)?;
    file.sync_all().with_context(writing)?;
    std::fs::rename(&fresh, path).with_context(writing)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|dir| dir.sync_all()).with_context(writing)?;
    Ok(key)
}

fn context(
    config: Config,
    clock: Clock,
    seed: Seed,
    opened: Opened,
    address: SocketAddr,
) -> anyhow::Result<Ctx> {
    let outbound = |allow: &[ipnet::IpNet]| {
        Outbound::new(Options {
            allow: allow.to_vec(),
            roots: rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
            resolver: ResolverChoice::System,
            user_agent: USER_AGENT.to_owned(),
        })
    };
    let public_url = match &config.public_url {
        Some(url) => url.clone(),
        None => Url::parse(&format!("http://{address}/")).context("making the public URL")?,
    };
    Ok(Ctx::new(Parts {
        to_webhooks: outbound(&config.webhooks.allow_targets)?,
        to_carriers: outbound(&config.carriers.allow_targets)?,
        db: opened.db,
        key: opened.key,
        metrics: Metrics::default(),
        clock,
        seed,
        config,
        public_url,
    }))
}

async fn serve(listener: TcpListener, router: axum::Router, mut stopped: watch::Receiver<bool>) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let until = async move {
        // Ends also if the sender is gone.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(until).await {
        tracing::error!(error = %error, "the server ended");
    }
}
