//! Starts and ends the carrier: two listeners, one line on standard output that says where they are, and the three ways to
//! end (SIGTERM, ctrl-c, a closed standard input).

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::account::{Account, AccountKind};
use crate::args::{Args, SCALE_MAX, scale_is_valid};
use crate::clock::VirtualClock;
use crate::state::Carrier;
use crate::{control, rest};

/// A carrier that is listening; it ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    /// Where the REST API is.
    pub listen: SocketAddr,
    /// Where the control API is.
    pub control: SocketAddr,
    carrier: Arc<Carrier>,
    servers: [AbortHandle; 2],
}

impl Drop for Running {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
        self.carrier.reset();
    }
}

/// Starts a carrier inside this process.
pub async fn start(args: &Args) -> anyhow::Result<Running> {
    anyhow::ensure!(scale_is_valid(args.scale), "the scale must be above 0 and up to {SCALE_MAX}");
    let rest_listener = listen(args.listen).await?;
    let control_listener = listen(args.control).await?;
    let listen = rest_listener.local_addr()?;
    let control = control_listener.local_addr()?;
    let clock = VirtualClock::start(args.scale);
    let account = Account {
        sid: args.account_sid.clone(),
        auth_token: args.auth_token.clone(),
        kind: AccountKind::Twilio,
        created_at: clock.now(),
    };
    let carrier = Carrier::new(clock, args.seed, format!("http://{listen}"), account)
        .context("building the HTTP client")?;
    let carrier = Arc::new(carrier);
    let servers = [
        serve(rest_listener, rest::router(carrier.clone())),
        serve(control_listener, control::router(carrier.clone())),
    ];
    Ok(Running { listen, control, carrier, servers })
}

/// Runs a carrier until it is told to end.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let running = start(&args).await?;
    let line =
        format!("carrier-sim listening on http://{} control http://{}", running.listen, running.control);
    // Not println: a parent that has stopped reading is no reason to panic.
    let mut stdout = std::io::stdout();
    let _parent_may_be_gone = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    let stdin_closed = stdin_closed(args.exit_with_stdin);
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.context("waiting for ctrl-c")?,
        result = terminated() => result.context("waiting for SIGTERM")?,
        () = stdin_closed => {}
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))
}

fn serve(listener: TcpListener, router: axum::Router) -> AbortHandle {
    tokio::spawn(async move {
        // Serving ends only with the task: axum retries what fails at accepting connections.
        let _never = axum::serve(listener, router).await;
    })
    .abort_handle()
}

#[cfg(unix)]
async fn terminated() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}

#[cfg(not(unix))]
async fn terminated() -> std::io::Result<()> {
    std::future::pending().await
}

/// Completes when standard input is at its end; never if that is not asked for. A thread of its own, as a read in tokio's
/// pool would keep the runtime from ending.
async fn stdin_closed(asked: bool) {
    if !asked {
        return std::future::pending().await;
    }
    let (closed, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _read_to_the_end = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _nobody_waits = closed.send(());
    });
    let _closed = wait.await;
}
