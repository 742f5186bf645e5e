//! Gives one letter to the mail server and tells what became of it. The server is the operator's, so that its
//! address is dialled wherever it leads; what it says isn't repeated to a company's people, because it may name
//! addresses and machines.

use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::DEFAULT_MECHANISMS;
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::time::Instant;
use url::{Host, Url};

use crate::config::{Encryption, Mail};

/// A server that took the letter may say goodbye for so long.
const QUIT_TIME: Duration = Duration::from_secs(2);

/// Why a letter wasn't taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There was nobody to give it to: no connection, no encryption, no login. The text is for the log.
    Unreachable(String),
    /// It broke off, or time was up: nobody knows whether the server took it.
    BrokeOff(String),
    /// Not now: its code, 4xx.
    Deferred(String),
    /// Never: its code, 5xx.
    Refused(String),
    /// Its address is one that the server can't take.
    Unsendable,
}

impl Failure {
    /// For the company's people.
    pub(super) fn words(&self) -> String {
        match self {
            Failure::Unreachable(_) => "The mail server couldn't be reached or didn't let us in.".to_owned(),
            Failure::BrokeOff(_) => "The mail server didn't answer to the end.".to_owned(),
            Failure::Deferred(code) => format!("The mail server put it off with {code}."),
            Failure::Refused(code) => format!("The mail server refused it with {code}."),
            Failure::Unsendable => "The address is none that mail can be sent to.".to_owned(),
        }
    }

    /// For the log.
    pub(super) fn detail(&self) -> &str {
        match self {
            Failure::Unreachable(text)
            | Failure::BrokeOff(text)
            | Failure::Deferred(text)
            | Failure::Refused(text) => text,
            Failure::Unsendable => "an address that mail can't be sent to",
        }
    }

    /// Trying again later may help.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Failure::Unreachable(_) | Failure::BrokeOff(_) | Failure::Deferred(_))
    }
}

/// Gives the letter to the server, until `deadline`. Over a connection of its own: a refusal ends it.
///
/// # Errors
/// See [`Failure`].
pub(super) async fn give(
    settings: &Mail,
    name: &ClientId,
    letter: &Message,
    deadline: Instant,
) -> Result<(), Failure> {
    let Ok(connected) = tokio::time::timeout_at(deadline, connect(settings, name)).await else {
        return Err(Failure::Unreachable("no answer in time".to_owned()));
    };
    let mut connection = connected.map_err(|error| Failure::Unreachable(without_answer(&error)))?;
    let bytes = letter.formatted();
    match tokio::time::timeout_at(deadline, connection.send(letter.envelope(), &bytes)).await {
        Err(_) => return Err(Failure::BrokeOff("no answer in time".to_owned())),
        Ok(Err(error)) => return Err(failure(&error)),
        Ok(Ok(_)) => {}
    }
    // It is taken, whatever becomes of the rest of the conversation.
    let goodbye = deadline.min(Instant::now() + QUIT_TIME);
    let _ = tokio::time::timeout_at(goodbye, connection.quit()).await;
    Ok(())
}

/// A connection on which letters may be given.
async fn connect(settings: &Mail, name: &ClientId) -> Result<AsyncSmtpConnection, Error> {
    let server = &settings.server;
    let tls = || {
        let trusted = settings.trusted.iter().cloned();
        trusted
            .fold(TlsParameters::builder(server.host.clone()), |tls, one| tls.add_root_certificate(one))
            .build()
    };
    let wrapped = if server.encryption == Encryption::Tls { Some(tls()?) } else { None };
    let address = (server.host.as_str(), server.port);
    let mut connection = AsyncSmtpConnection::connect_tokio1(address, None, name, wrapped, None).await?;
    if server.encryption == Encryption::StartTls {
        connection.starttls(tls()?, name).await?;
    }
    if let Some(login) = &server.login {
        connection.auth(DEFAULT_MECHANISMS, login).await?;
    }
    Ok(connection)
}

fn failure(error: &Error) -> Failure {
    match error.status() {
        Some(code) if error.is_permanent() => Failure::Refused(code.to_string()),
        Some(code) => Failure::Deferred(code.to_string()),
        None if error.is_client() => Failure::Unsendable,
        None => Failure::BrokeOff(without_answer(error)),
    }
}

/// An error for the log, in which addresses don't belong: of the server's answers only the code.
fn without_answer(error: &Error) -> String {
    match error.status() {
        Some(code) => format!("the server answered {code}"),
        None if error.is_response() => {
            "the connection ended, or something answers that isn't SMTP".to_owned()
        }
        None => error.to_string(),
    }
}

/// What we call ourselves to the server: the name by which the world reaches us.
pub(super) fn own_name(public_url: &Url) -> ClientId {
    match public_url.host() {
        Some(Host::Domain(name)) => ClientId::Domain(name.to_owned()),
        Some(Host::Ipv4(address)) => ClientId::Ipv4(address),
        Some(Host::Ipv6(address)) => ClientId::Ipv6(address),
        None => ClientId::default(),
    }
}
