//! The mail server's setting: where it is, how the way there is encrypted, and who logs in. What is wrong with
//! it is told without repeating it, because it holds a password; that is also why it isn't parsed where clap
//! or the file's reader would show the text.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::Certificate;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::BadConfig;

/// Submission with STARTTLS, and inside of TLS (RFC 8314, 3.3).
const PORT: u16 = 587;
const PORT_TLS: u16 = 465;
/// Shorter than the shortest gap between two tries of a mail, so that they never overlap.
const TIMEOUT: Duration = Duration::from_secs(45);

/// How mail leaves.
#[derive(Clone, Debug)]
pub struct Mail {
    pub server: MailServer,
    pub from: Mailbox,
    /// A try's deadline, over all its letters. Like `trusted` no setting: tests change them.
    pub timeout: Duration,
    /// Authorities that are believed beside the public ones.
    pub trusted: Vec<Certificate>,
}

/// Whom mail is given to.
#[derive(Clone, Debug)]
pub struct MailServer {
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
    pub encryption: Encryption,
    /// Its `Debug` shows neither name nor password.
    pub login: Option<Credentials>,
}

/// How the way to the mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// From the first byte: `smtps://`.
    Tls,
    /// Before anything is said, or nothing is sent: `smtp://`.
    StartTls,
    /// Not at all: `smtp://…?tls=none`, for a server on the same machine.
    None,
}

impl Mail {
    /// None if neither is given: no mail is sent.
    ///
    /// # Errors
    /// Only one is given, or one is malformed.
    pub fn resolve(smtp_url: Option<&str>, from: Option<&str>) -> Result<Option<Mail>, BadConfig> {
        let bad = |why: &str| BadConfig(why.to_owned());
        let (url, from) = match (smtp_url, from) {
            (None, None) => return Ok(None),
            (Some(url), Some(from)) => (url, from),
            (Some(_), None) => return Err(bad("mail.from must be given with mail.smtp_url")),
            (None, Some(_)) => return Err(bad("mail.smtp_url must be given with mail.from")),
        };
        let server = MailServer::parse(url).map_err(|why| BadConfig(format!("mail.smtp_url {why}")))?;
        let from = from
            .parse()
            .map_err(|_| bad("mail.from must be an address such as Call Tracker <alerts@example.com>"))?;
        Ok(Some(Mail { server, from, timeout: TIMEOUT, trusted: Vec::new() }))
    }
}

impl MailServer {
    fn parse(text: &str) -> Result<MailServer, &'static str> {
        let url = Url::parse(text).map_err(|_| SHAPE)?;
        let nothing_more = matches!(url.path(), "" | "/") && url.fragment().is_none();
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(Host::Domain(_)) | None => return Err(SHAPE),
        };
        let (encryption, port) = match (url.scheme(), url.query()) {
            ("smtps", None) => (Encryption::Tls, PORT_TLS),
            ("smtp", None | Some("tls=required")) => (Encryption::StartTls, PORT),
            ("smtp", Some("tls=none")) => (Encryption::None, PORT),
            _ => return Err(SHAPE),
        };
        if !nothing_more {
            return Err(SHAPE);
        }
        let port = url.port().unwrap_or(port);
        Ok(MailServer { host, port, encryption, login: login(&url)? })
    }
}

const SHAPE: &str = "must be smtp[s]://[user:password@]host[:port] and nothing more; smtp:// may end with \
                     ?tls=none. Special characters of user and password are percent-encoded";

fn login(url: &Url) -> Result<Option<Credentials>, &'static str> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(String::from);
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) | (_, None) => Err("must have both a user and a password, or neither"),
        (user, Some(password)) => {
            let (user, password) = (decoded(user), decoded(password));
            let both = user.and_then(|user| Ok(Credentials::new(user, password?)));
            both.map(Some).map_err(|_| "has a user or a password that isn't UTF-8")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> MailServer {
        MailServer::parse(text).expect(text)
    }

    #[test]
    fn encryption_is_the_default_and_each_has_its_port() {
        for (text, host, port, encryption) in [
            ("smtp://mail.example", "mail.example", 587, Encryption::StartTls),
            ("smtp://mail.example:25/?tls=required", "mail.example", 25, Encryption::StartTls),
            ("smtp://127.0.0.1:2525?tls=none", "127.0.0.1", 2525, Encryption::None),
            ("smtps://mail.example", "mail.example", 465, Encryption::Tls),
            ("smtps://[2001:db8::1]:4650", "2001:db8::1", 4650, Encryption::Tls),
        ] {
            let server = server(text);
            assert_eq!((server.host.as_str(), server.port, server.encryption), (host, port, encryption));
            assert!(server.login.is_none());
        }
    }

    #[test]
    fn a_login_is_decoded_and_never_shown() {
        let server = server("smtp://ana%40acme.example:p%2Fw%3A1@mail.example");
        let expected = Credentials::new("ana@acme.example".to_owned(), "p/w:1".to_owned());
        assert!(server.login == Some(expected));
        let shown = format!("{server:?}");
        assert!(!shown.contains("p/w") && !shown.contains("ana"), "{shown}");
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for url in [
            "mail.example",
            "http://user:hunter2@mail.example",
            "smtp://",
            "smtp:user:hunter2@mail.example",
            "smtp://user:hunter2@mail.example/inbox",
            "smtp://user:hunter2@mail.example?tls=maybe",
            "smtp://user:hunter2@mail.example#x",
            "smtps://user:hunter2@mail.example?tls=none",
            "smtp://user@mail.example",
            "smtp://:hunter2@mail.example",
            "smtp://user:hunter2%ff@mail.example",
            "smtp://user:hunter2@mail.example:99999",
        ] {
            let error = Mail::resolve(Some(url), Some("alerts@acme.example")).expect_err(url).to_string();
            assert!(error.starts_with("mail.smtp_url ") && !error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn a_server_and_a_sender_come_together() {
        let url = Some("smtp://mail.example");
        let named = |url, from| Mail::resolve(url, from).map(|mail| mail.map(|mail| mail.from.to_string()));
        assert_eq!(named(None, None).unwrap(), None);
        assert!(named(url, None).unwrap_err().to_string().contains("mail.from"));
        assert!(named(None, Some("a@b.example")).unwrap_err().to_string().contains("mail.smtp_url"));
        for bad in ["", "nobody", "a@b.example\r\nBcc: c@d.example", "a@b.example, c@d.example"] {
            assert!(named(url, Some(bad)).is_err(), "{bad:?}");
        }
        let from = named(url, Some("Call Tracker <alerts@acme.example>")).unwrap();
        assert_eq!(from.as_deref(), Some("Call Tracker <alerts@acme.example>"));
    }
}
