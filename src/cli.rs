//! The commands. Each does its work and says in one line what went wrong if it can't: exit code 2 for what
//! the user gave, 1 for everything else.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::app::{self, Outside};
use crate::config::{BadConfig, Config, Given, LogFormat, LogLevel};
use crate::db::Db;
use crate::http::ui::setup;
use crate::kernel::clock::Clock;
use crate::kernel::id::CompanyId;
use crate::kernel::seed::Seed;
use crate::users::{self, Email, NewPassword, PASSWORD_CHARS};
use crate::{auth, companies, demo, http, listen};

#[derive(Parser)]
#[command(name = "calltracker", version, about, propagate_version = true)]
struct Cli {
    /// File of settings [default: ./calltracker.toml, if it is there]
    #[arg(long, global = true, env = "CALLTRACKER_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server
    Serve(Box<Given>),
    /// Runs the whole job on this machine: server, simulated carrier, sample receiver, sample company
    Demo(Box<Given>),
    /// Forwards a company's events to a server on your machine, signed as webhooks are
    Listen(Box<listen::Args>),
    /// The simulated carrier: a process of the demo and of the tests
    #[command(hide = true)]
    CarrierSim(carrier_sim::Args),
    /// The sample webhook receiver: a process of the demo
    #[command(hide = true)]
    DemoReceiver {
        #[arg(long, default_value_t = demo::PART_LISTEN)]
        listen: SocketAddr,
    },
    /// The sample web site: a process of the demo
    #[command(hide = true)]
    DemoSite {
        #[arg(long, default_value_t = demo::PART_LISTEN)]
        listen: SocketAddr,
    },
    /// People who log in to the pages
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// API tokens
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Prints the OpenAPI document of the REST API and the webhooks
    Openapi,
}

#[derive(Subcommand)]
enum UserCommand {
    /// Adds a user; the password is read from the first line of stdin. With the embedded database the server must not be running
    Add {
        #[arg(long)]
        email: String,
        /// Id of the one company that the user sees [default: all companies]
        #[arg(long)]
        company: Option<i64>,
        #[command(flatten)]
        given: Box<Given>,
    },
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Makes a token and prints it: it is shown nowhere else. With the embedded database the server must not be running
    Create {
        /// What it is for
        #[arg(long)]
        name: String,
        /// Id of the one company that it is for [default: the whole account]
        #[arg(long)]
        company: Option<i64>,
        /// It may read but not change anything
        #[arg(long)]
        read_only: bool,
        #[command(flatten)]
        given: Box<Given>,
    },
}

/// Runs the command of this process.
pub async fn main() -> ExitCode {
    // The process-wide provider; rustls is built with one only, so that this can't be done twice.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last word of a command is for its user")]
            {
                eprintln!("calltracker: {error:#}");
            }
            if error.is::<BadConfig>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(given) => serve(configure(*given, cli.config.as_deref())?).await,
        Command::Demo(given) => {
            let mut config = configure(*given, cli.config.as_deref())?;
            if config.log == LogLevel::Info {
                // The demo tells what happens in its own words.
                config.log = LogLevel::Warn;
            }
            start_log(&config);
            demo::run(config, ended_by_signal()?).await
        }
        Command::Listen(args) => {
            refuse_unknown_environment()?;
            listen::run(*args, ended_by_signal()?).await
        }
        Command::CarrierSim(args) => carrier_sim::run(args).await,
        Command::DemoReceiver { listen } => demo::receiver::run(listen).await,
        Command::DemoSite { listen } => demo::site::run(listen).await,
        Command::User { command: UserCommand::Add { email, company, given } } => {
            let config = configure(*given, cli.config.as_deref())?;
            user_add(config, &email, company.map(CompanyId)).await
        }
        Command::Token { command: TokenCommand::Create { name, company, read_only, given } } => {
            let config = configure(*given, cli.config.as_deref())?;
            token_create(config, name, company.map(CompanyId), !read_only).await
        }
        Command::Openapi => {
            say(&serde_json::to_string_pretty(&http::openapi::document())?);
            Ok(())
        }
    }
}

/// What a command answers goes to stdout. Whoever started us may have read enough and closed it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn configure(given: Given, file: Option<&std::path::Path>) -> Result<Config, BadConfig> {
    refuse_unknown_environment()?;
    given.resolve(Given::from_file(file)?)
}

/// A misspelt variable would be ignored in silence otherwise.
fn refuse_unknown_environment() -> Result<(), BadConfig> {
    let serve = Cli::command();
    let mut known: Vec<_> =
        serve.get_arguments().filter_map(|a| a.get_env()).map(ToOwned::to_owned).collect();
    for command in serve.get_subcommands() {
        known.extend(command.get_arguments().filter_map(|a| a.get_env()).map(ToOwned::to_owned));
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CALLTRACKER_") && !known.contains(&name) {
            return Err(BadConfig(format!("unknown setting in the environment: {}", name.display())));
        }
    }
    Ok(())
}

async fn serve(config: Config) -> anyhow::Result<()> {
    start_log(&config);
    let ended = ended_by_signal()?;
    let app = app::start(config, Outside::real()).await?;
    say(&format!("calltracker listening on http://{}", app.address));
    if let Ok(false) = users::are_there(&app.ctx.db).await {
        say(&format!("nobody can log in yet: make the first user at {}", setup::url(&app.ctx)));
    }
    ended.await;
    app.stop().await;
    Ok(())
}

/// Logs go to stderr: stdout belongs to what a command answers.
fn start_log(config: &Config) {
    let level = match config.log {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    // Libraries log addresses and headers at their lower levels: ours only.
    let filter =
        tracing_subscriber::EnvFilter::new(format!("warn,calltracker={level},hyper=error,rustls=error"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (a test) keeps the first log.
    let _ = match config.log_format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

/// Ready when SIGTERM or SIGINT comes.
fn ended_by_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

async fn user_add(config: Config, email: &str, company: Option<CompanyId>) -> anyhow::Result<()> {
    let email = Email::parse(email).ok_or(BadConfig("--email is not an e-mail address".to_owned()))?;
    if std::io::stdin().is_terminal() {
        say("Password:");
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let password = line.trim_end_matches(['\r', '\n']);
    let (least, most) = (PASSWORD_CHARS.start(), PASSWORD_CHARS.end());
    let bad = || BadConfig(format!("the password must have {least} to {most} characters"));
    let password = NewPassword::parse(password).ok_or_else(bad)?;
    let db = open_database(&config).await?;
    let user = users::add(&db, &Seed::system(), email, password, company).await?;
    say(&format!("added user {}", user.id));
    Ok(())
}

async fn open_database(config: &Config) -> anyhow::Result<Db> {
    std::fs::create_dir_all(&config.data)?;
    let location = app::location(config);
    Ok(tokio::task::spawn_blocking(move || Db::open(&location, Clock::System, Seed::system())).await??)
}

async fn token_create(
    config: Config,
    name: String,
    company: Option<CompanyId>,
    can_write: bool,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.data)?;
    let location = app::location(&config);
    let db =
        tokio::task::spawn_blocking(move || Db::open(&location, Clock::System, Seed::system())).await??;
    let token = db
        .write("token.create", move |tx| {
            if let Some(company) = company
                && companies::find(tx, company)?.is_none()
            {
                return anyhow::Ok(None);
            }
            Ok(Some(auth::create(tx, &name, company, can_write)?))
        })
        .await?;
    let Some(token) = token else {
        return Err(BadConfig("there is no company with this id".to_owned()).into());
    };
    say(&token);
    Ok(())
}
