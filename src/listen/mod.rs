//! `calltracker listen`: a company's events, as they happen, at a server on the developer's own machine, signed
//! as a webhook's are. It is only a user of the product: it reads the event stream of the API and keeps what it
//! needs to go on ([`state`]) in a file.
//!
//! Decides: in which order events are forwarded (the log's, one at a time), where a run begins, when a lost
//! server is asked again. Doesn't decide what a request looks like: that is `webhooks`. It is no webhook either:
//! the server knows nothing of what came of an event here, and nothing is tried again for hours.

mod event;
mod forward;
mod server;
mod sse;
mod state;

use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use ipnet::IpNet;
use tokio::time::{Instant, sleep};

use self::event::{Event, News};
use self::forward::Forwarder;
use self::server::{Company, Lost, Server, Stream, printable};
use self::state::{Route, State};
use crate::config::{BadConfig, PublicUrl, Span};
use crate::events::EventType;
use crate::kernel::clock::Clock;
use crate::kernel::seed::Seed;
use crate::outbound::{Options, Outbound, ResolverChoice};
use crate::webhooks::{Outcome, Secret, Subscription};

/// As the server's own requests have it.
const USER_AGENT: &str = concat!("CallTracker/", env!("CARGO_PKG_VERSION"));
/// The first gap before a lost server is asked again; it doubles up to the largest.
const GAP_MIN: Duration = Duration::from_millis(500);
const GAP_MAX: Duration = Duration::from_secs(15);
/// A stream that lasted this long wasn't refused: the next gap is the first one again.
const LASTING: Duration = Duration::from_secs(15);
/// Companies that are named when one has to be chosen.
const NAMED_MAX: usize = 20;

/// The settings of the command. They aren't in the file, which is the server's.
#[derive(clap::Args)]
pub struct Args {
    /// Where events are sent: http://localhost:3000/hook, for instance
    #[arg(long, env = "CALLTRACKER_FORWARD_TO", value_name = "URL")]
    forward_to: String,
    /// The Call Tracker server
    #[arg(long, env = "CALLTRACKER_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: PublicUrl,
    /// An API token; one that may only read is enough
    #[arg(long, env = "CALLTRACKER_TOKEN", hide_env_values = true)]
    token: String,
    /// Id of the company [default: the only one that the token sees]
    #[arg(long, env = "CALLTRACKER_COMPANY", value_name = "ID")]
    company: Option<i64>,
    /// Types between commas, or all
    #[arg(long, env = "CALLTRACKER_EVENTS", value_name = "TYPES", default_value = "all", value_parser = subscription)]
    events: Subscription,
    /// whsec_…: signs with this secret [default: one that is made once and kept]
    #[arg(long, env = "CALLTRACKER_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Begins behind the event with this id [default: behind the last one forwarded; at first, with what comes next]
    #[arg(long, value_name = "EVENT_ID", value_parser = clap::value_parser!(i64).range(0..), conflicts_with = "from_start")]
    since: Option<i64>,
    /// Begins with the company's first event
    #[arg(long)]
    from_start: bool,
    /// File that keeps the secret and the place to go on from [default: one in ~/.local/state/calltracker]
    #[arg(long, env = "CALLTRACKER_STATE", value_name = "FILE")]
    state: Option<PathBuf>,
    /// How long an event waits for a receiver that refuses connections
    #[arg(long, env = "CALLTRACKER_PATIENCE", value_name = "TIME", default_value = "30s")]
    patience: Span,
}

fn subscription(text: &str) -> Result<Subscription, String> {
    if text == "all" {
        return Ok(Subscription::All);
    }
    let parse = |word: &str| EventType::parse(word.trim()).ok_or(word.to_owned());
    let types = text.split(',').map(parse).collect::<Result<_, _>>();
    types.map(Subscription::Chosen).map_err(|word| {
        let known = EventType::ALL.map(EventType::as_str).join(", ");
        format!("{word:?} is no type of event; there are {known}")
    })
}

#[expect(clippy::print_stdout, reason = "the command talks to the developer who started it")]
fn say(line: &str) {
    println!("{line}");
}

/// Runs until `ended`; the event that is on its way then is seen through.
///
/// # Errors
/// What was given can't work, the server can't be reached at first or refuses, or the state can't be kept.
pub async fn run(args: Args, ended: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut ended = std::pin::pin!(ended);
    let opened = tokio::select! {
        opened = Listener::open(args) => opened?,
        () = ended.as_mut() => return Ok(()),
    };
    opened.run(ended).await
}

impl From<Lost> for anyhow::Error {
    fn from(lost: Lost) -> anyhow::Error {
        match lost {
            // It is about what the user gave.
            Lost::Refused(why) => BadConfig(why).into(),
            Lost::Away(why) | Lost::Strange(why) => anyhow::anyhow!(why),
        }
    }
}

/// The command at work.
struct Listener {
    server: Server,
    company: Company,
    state: State,
    forwarder: Forwarder,
    events: Subscription,
    /// The server was reached before, so it is worth waiting for.
    was_there: bool,
    /// It is told that the server is lost.
    is_away: bool,
    /// It is told what can be done about a failure.
    has_advised: bool,
}

impl Listener {
    async fn open(args: Args) -> anyhow::Result<Listener> {
        let outbound = outbound()?;
        let checked = outbound.check_target(&args.forward_to);
        checked.map_err(|error| BadConfig(format!("--forward-to {error}")))?;
        let given = args.secret.as_deref().map(parse_secret).transpose()?;
        let base = args.server.0;
        let bad_token = || BadConfig("--token is not a token".to_owned());
        let server = Server::new(outbound.clone(), base.clone(), &args.token).ok_or_else(bad_token)?;
        let company = match args.company {
            Some(id) => server.company(id).await?,
            None => only_one(server.companies().await?)?,
        };
        let route = Route { server: base.into(), company: company.id, forward_to: args.forward_to };
        introduce(&company, &route);
        let mut state = open_state(args.state, &route, &company)?;
        if let Some(position) = args.since.or(args.from_start.then_some(0)) {
            state.pass(position);
            state.save()?;
        }
        match &given {
            Some(_) => say("  signing secret  as given"),
            None => say(&format!("  signing secret  {}", state.secret().to_text())),
        }
        let secret = given.unwrap_or_else(|| state.secret().clone());
        let forwarder = Forwarder::new(outbound, Clock::System, &secret, route.forward_to, args.patience.0);
        Ok(Listener {
            server,
            company,
            state,
            forwarder,
            events: args.events,
            was_there: false,
            is_away: false,
            has_advised: false,
        })
    }

    /// Follows the stream, and the next one when it is lost.
    async fn run(mut self, mut ended: Pin<&mut impl Future<Output = ()>>) -> anyhow::Result<()> {
        let mut gap = GAP_MIN;
        loop {
            let connected = tokio::select! {
                biased;
                () = ended.as_mut() => break,
                connected = self.connect() => connected,
            };
            let since = Instant::now();
            let lost = match connected {
                Ok(stream) => self.follow(stream, ended.as_mut()).await?,
                Err(lost) => Some(lost),
            };
            match lost {
                None => break,
                Some(Lost::Away(why)) if self.was_there => self.tell_away(&why),
                // Whoever has just started it is there to mend it.
                Some(lost) => return Err(lost.into()),
            }
            if since.elapsed() >= LASTING {
                gap = GAP_MIN;
            }
            tokio::select! {
                () = sleep(gap) => gap = (gap * 2).min(GAP_MAX),
                () = ended.as_mut() => break,
            }
        }
        self.state.save()
    }

    /// Begins a stream where the last one ended. What the developer is told of the place is on disk by then.
    async fn connect(&mut self) -> Result<Stream, Lost> {
        let strange = |error: anyhow::Error| Lost::Strange(format!("{error:#}"));
        let company = self.server.company(self.company.id).await?;
        forget_another_log(&mut self.state, &company).map_err(strange)?;
        let position = self.state.position();
        let mut stream = self.server.stream(company.id, position).await?;
        match News::read(&stream.next().await?) {
            Ok(News::At(id)) => self.state.pass(id),
            Ok(News::Happened(_)) | Err(_) => {
                return Err(Lost::Strange("the server doesn't say where its stream begins".to_owned()));
            }
        }
        self.state.save().map_err(strange)?;
        match position {
            _ if self.is_away => say("The server is back."),
            Some(position) => say(&format!("Connected: what came behind event {position} is sent first.")),
            None => say("Connected: it begins with the next event."),
        }
        (self.was_there, self.is_away) = (true, false);
        Ok(stream)
    }

    /// Forwards what comes until the stream is lost; None: it was told to end.
    async fn follow(
        &mut self,
        mut stream: Stream,
        mut ended: Pin<&mut impl Future<Output = ()>>,
    ) -> anyhow::Result<Option<Lost>> {
        loop {
            let next = tokio::select! {
                biased;
                () = ended.as_mut() => return Ok(None),
                next = stream.next() => next,
            };
            let frame = match next {
                Ok(frame) => frame,
                Err(lost) => return Ok(Some(lost)),
            };
            match News::read(&frame).map_err(|what| anyhow::anyhow!("the server sent {what}"))? {
                // It is said at the beginning, and heard there.
                News::At(_) => {}
                // Not worth a write: after a crash it is passed over once more.
                News::Happened(event) if !self.wants(&event) => self.state.pass(event.id),
                News::Happened(event) => {
                    let sent = self.forwarder.forward(&event, ended.as_mut()).await;
                    let Some(outcome) = sent else { return Ok(None) };
                    self.tell(&event, &outcome);
                    self.state.pass(event.id);
                    self.state.save()?;
                }
            }
        }
    }

    /// All also means types that this version doesn't know.
    fn wants(&self, event: &Event) -> bool {
        match &self.events {
            Subscription::All => true,
            Subscription::Chosen(types) => types.iter().any(|wanted| wanted.as_str() == event.r#type),
        }
    }

    fn tell(&mut self, event: &Event, outcome: &Outcome) {
        say(&forward::line(&event.r#type, event.id, outcome));
        if !outcome.success && !self.has_advised {
            self.has_advised = true;
            say(&format!("It is not sent again by itself; --since {} does.", event.id - 1));
        }
    }

    fn tell_away(&mut self, why: &str) {
        if !self.is_away {
            self.is_away = true;
            say(&format!("Lost the server: {why}. It is asked again until it is back."));
        }
    }
}

/// The receiver is the developer's own, and so may the server be: no network is closed.
fn outbound() -> anyhow::Result<Outbound> {
    let everywhere = ["0.0.0.0/0", "::/0"].map(str::parse::<IpNet>);
    Outbound::new(Options {
        allow: everywhere.into_iter().collect::<Result<_, _>>().context("the networks that may be called")?,
        roots: rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        resolver: ResolverChoice::System,
        user_agent: USER_AGENT.to_owned(),
    })
}

fn parse_secret(text: &str) -> Result<Secret, BadConfig> {
    Secret::parse(text).ok_or(BadConfig("--secret must be whsec_ and the base64 of 32 bytes".to_owned()))
}

/// The company that is meant if none is named.
fn only_one(mut companies: Vec<Company>) -> Result<Company, BadConfig> {
    companies.sort_by_key(|company| company.id);
    match companies.as_slice() {
        [] => Err(BadConfig("the token sees no company: make one first".to_owned())),
        [one] => Ok(one.clone()),
        several => {
            let named = several.iter().take(NAMED_MAX);
            let lines = named.map(|company| format!("\n  {}  {}", company.id, printable(&company.name)));
            let more = if several.len() > NAMED_MAX { "\n  …" } else { "" };
            let list: String = lines.collect();
            Err(BadConfig(format!("the token sees several companies: choose with --company{list}{more}")))
        }
    }
}

fn introduce(company: &Company, route: &Route) {
    say(&format!("Forwarding events of {}", printable(&company.name)));
    say(&format!("  from            {} company {}", route.server, route.company));
    say(&format!("  to              {}", route.forward_to));
}

fn open_state(given: Option<PathBuf>, route: &Route, company: &Company) -> anyhow::Result<State> {
    let path = given.or_else(|| state::default_path(route, |name| std::env::var_os(name)));
    let no_place = || BadConfig("HOME doesn't say where state is kept: give --state".to_owned());
    let path = path.ok_or_else(no_place)?;
    say(&format!("  state           {}", path.display()));
    let mut state = State::open(path, route, &company.created_at, &Seed::system())?;
    forget_another_log(&mut state, company)?;
    Ok(state)
}

/// A server whose data are new counts from 1 again: a position in its old log would pass events over in silence.
fn forget_another_log(state: &mut State, company: &Company) -> anyhow::Result<()> {
    if state.is_of(&company.created_at) {
        return Ok(());
    }
    say(
        "The company isn't the one of the last run: the server's data are new. It begins with what comes next.",
    );
    state.begin_anew(&company.created_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn company(id: i64, name: &str) -> Company {
        Company { id, name: name.to_owned(), created_at: String::new() }
    }

    #[test]
    fn types_are_named_between_commas_and_a_strange_one_is_told() {
        let chosen = vec![EventType::CallFinished, EventType::MessageReceived];
        assert_eq!(subscription("call.finished, message.received"), Ok(Subscription::Chosen(chosen)));
        assert_eq!(subscription("all"), Ok(Subscription::All));
        for (bad, named) in
            [("call.finish", "\"call.finish\""), ("", "\"\""), ("all,call.finished", "\"all\"")]
        {
            let error = subscription(bad).expect_err(bad);
            assert!(error.contains(named) && error.contains("voicemail.received"), "{error}");
        }
    }

    #[test]
    fn several_companies_are_listed_and_one_is_taken() {
        assert_eq!(only_one(vec![company(7, "Acme")]).unwrap().id, 7);
        assert!(only_one(vec![]).unwrap_err().to_string().contains("no company"));
        let error = only_one(vec![company(9, "Ot\u{1b}her"), company(7, "Acme")]).unwrap_err().to_string();
        assert!(error.ends_with("--company\n  7  Acme\n  9  Other"), "{error}");
        let many = (1..=500).map(|id| company(id, "A")).collect();
        let error = only_one(many).unwrap_err().to_string();
        assert!(error.lines().count() == NAMED_MAX + 2 && error.ends_with('…'), "{error}");
    }
}
