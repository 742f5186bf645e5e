//! A mail server, as tests need it: speaks SMTP on loopback, takes letters and remembers them, unless it was
//! told to refuse, to hang or to hang up at some stage.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use calltracker::config::Mail;
use lettre::transport::smtp::client::Certificate;
use rcgen::generate_simple_self_signed;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Where a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Greeting,
    Login,
    Recipient,
    /// The whole letter is there, and remembered.
    Letter,
    Goodbye,
}

/// What the server does instead of going on.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    Answer(&'static str),
    Hang,
    HangUp,
}

/// What it can do for a connection's secrecy, with a certificate that nobody vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    None,
    StartTls,
    Tls,
}

/// A letter as it came.
#[derive(Clone, Debug)]
pub struct Letter {
    pub to: Vec<String>,
    /// Headers and body, with the dots of the transfer undone.
    pub raw: String,
}

impl Letter {
    /// The values of all headers of this name, unfolded and undone of their encoding.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let (head, _) = self.raw.split_once("\r\n\r\n").expect("headers end with an empty line");
        let head = head.replace("\r\n ", " ");
        let pairs = head.split("\r\n").map(|line| line.split_once(": ").expect("each line is a header"));
        pairs
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| decode_words(value))
            .collect()
    }

    /// The one value of a header.
    #[track_caller]
    pub fn header(&self, name: &str) -> String {
        let mut all = self.headers(name);
        assert_eq!(all.len(), 1, "{name}: {all:?}");
        all.remove(0)
    }

    /// The text, with lines that end in \n.
    pub fn body(&self) -> String {
        let (_, body) = self.raw.split_once("\r\n\r\n").expect("headers end with an empty line");
        let bytes = match self.header("content-transfer-encoding").as_str() {
            "base64" => STANDARD.decode(body.replace("\r\n", "")).expect("it is base64"),
            "quoted-printable" => quoted_printable(body),
            _ => body.into(),
        };
        String::from_utf8(bytes).expect("it is UTF-8").replace("\r\n", "\n")
    }
}

/// `=?utf-8?b?…?=` (RFC 2047): encoded words that follow each other have nothing between them.
fn decode_words(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.replace("?= =?", "?==?");
    while let Some((before, after)) = rest.split_once("=?utf-8?b?") {
        let (word, behind) = after.split_once("?=").expect("an encoded word ends");
        out += before;
        out += &String::from_utf8(STANDARD.decode(word).expect("it is base64")).expect("it is UTF-8");
        rest = behind.to_owned();
    }
    out + &rest
}

fn quoted_printable(text: &str) -> Vec<u8> {
    let mut bytes = text.replace("=\r\n", "").into_bytes().into_iter();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        let pair = (byte == b'=').then(|| String::from_utf8(bytes.by_ref().take(2).collect()).unwrap());
        out.push(pair.map_or(byte, |hex| u8::from_str_radix(&hex, 16).expect("two digits follow")));
    }
    out
}

#[derive(Default)]
struct Seen {
    letters: Vec<Letter>,
    /// All that clients said, line by line, without letters.
    said: Vec<String>,
    connections: usize,
}

struct Shared {
    seen: Mutex<Seen>,
    changed: watch::Sender<()>,
    rules: Mutex<Vec<(Stage, String, Deed)>>,
    secrecy: Secrecy,
    tls: TlsAcceptor,
    certificate: Certificate,
}

/// See the module.
pub struct MailServer {
    pub port: u16,
    shared: Arc<Shared>,
}

impl MailServer {
    /// One that takes everything.
    pub async fn start() -> MailServer {
        MailServer::with(Secrecy::None).await
    }

    pub async fn with(secrecy: Secrecy) -> MailServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tls, certificate) = tls();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            changed: watch::Sender::new(()),
            rules: Mutex::default(),
            secrecy,
            tls,
            certificate,
        });
        let accepting = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.seen.lock().unwrap().connections += 1;
                tokio::spawn(serve(accepting.clone(), stream));
            }
        });
        MailServer { port, shared }
    }

    /// The settings that lead here.
    pub fn settings(&self, scheme: &str, login: &str, query: &str) -> Option<Mail> {
        let url = format!("{scheme}://{login}127.0.0.1:{}{query}", self.port);
        Mail::resolve(Some(&url), Some("Call Tracker <alerts@calls.example>")).unwrap()
    }

    /// As [`MailServer::settings`], and its certificate is believed.
    pub fn trusted(&self, scheme: &str, login: &str) -> Option<Mail> {
        let mail = self.settings(scheme, login, "");
        mail.map(|mail| Mail { trusted: vec![self.shared.certificate.clone()], ..mail })
    }

    /// The settings that lead here without encryption.
    pub fn plain(&self) -> Option<Mail> {
        self.settings("smtp", "", "?tls=none")
    }

    /// From now on it does so when a line of the client's at this stage has `word` in it.
    pub fn at(&self, stage: Stage, word: &str, deed: Deed) {
        self.shared.rules.lock().unwrap().push((stage, word.to_owned(), deed));
    }

    /// From now on it takes everything.
    pub fn recover(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// All letters that came, also those that were refused then.
    pub fn letters(&self) -> Vec<Letter> {
        self.shared.seen.lock().unwrap().letters.clone()
    }

    /// To whom letters came, in the order in which they did.
    pub fn receivers(&self) -> Vec<String> {
        self.letters().into_iter().flat_map(|letter| letter.to).collect()
    }

    pub fn connections(&self) -> usize {
        self.shared.seen.lock().unwrap().connections
    }

    pub fn said(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().said.clone()
    }

    /// Waits until `n` letters have come.
    pub async fn wait_for(&self, n: usize) -> Vec<Letter> {
        let mut changed = self.shared.changed.subscribe();
        while self.letters().len() < n {
            changed.changed().await.expect("the server is running");
        }
        self.letters()
    }
}

fn tls() -> (TlsAcceptor, Certificate) {
    let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let certificate = Certificate::from_der(made.cert.der().to_vec()).unwrap();
    (Arc::new(config).into(), certificate)
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Ends when the client does, or when a rule says so.
async fn serve(shared: Arc<Shared>, stream: TcpStream) -> Option<()> {
    let stream: Box<dyn Wire> = match shared.secrecy {
        Secrecy::Tls => Box::new(shared.tls.accept(stream).await.ok()?),
        Secrecy::None | Secrecy::StartTls => Box::new(stream),
    };
    let mut talk = Talk { shared, stream: BufReader::new(stream), secure: false, to: Vec::new() };
    talk.answer(Stage::Greeting, "", "220 mail.example ESMTP").await?;
    loop {
        let line = talk.line().await?;
        talk.shared.seen.lock().unwrap().said.push(line.clone());
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => talk.say(talk.extensions()).await?,
            "STARTTLS" => {
                talk.say("220 go ahead").await?;
                let stream = talk.shared.tls.clone().accept(talk.stream.into_inner()).await.ok()?;
                talk.stream = BufReader::new(Box::new(stream));
                talk.secure = true;
            }
            "AUTH" => talk.answer(Stage::Login, &line, "235 welcome").await?,
            "RCPT" => {
                talk.to.push(line.trim_start_matches("RCPT TO:<").trim_end_matches('>').to_owned());
                talk.answer(Stage::Recipient, &line, "250 ok").await?;
            }
            "DATA" => talk.letter().await?,
            "QUIT" => {
                talk.answer(Stage::Goodbye, "", "221 bye").await?;
                return None;
            }
            _ => talk.say("250 ok").await?,
        }
    }
}

struct Talk {
    shared: Arc<Shared>,
    stream: BufReader<Box<dyn Wire>>,
    secure: bool,
    to: Vec<String>,
}

impl Talk {
    fn extensions(&self) -> &'static str {
        match self.shared.secrecy {
            Secrecy::StartTls if !self.secure => "250-mail.example\r\n250 STARTTLS",
            _ => "250-mail.example\r\n250 AUTH PLAIN",
        }
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).await.ok()?;
        (read > 0).then(|| line.trim_end_matches("\r\n").to_owned())
    }

    async fn say(&mut self, text: &str) -> Option<()> {
        self.stream.write_all(format!("{text}\r\n").as_bytes()).await.ok()?;
        self.stream.flush().await.ok()
    }

    /// Does what a rule says; the usual, if none does.
    async fn answer(&mut self, stage: Stage, said: &str, usual: &str) -> Option<()> {
        let rules = self.shared.rules.lock().unwrap().clone();
        let deed = rules.iter().find(|(at, word, _)| *at == stage && said.contains(word.as_str()));
        match deed.map(|(_, _, deed)| *deed) {
            None => self.say(usual).await,
            Some(Deed::Answer(text)) => self.say(text).await,
            Some(Deed::Hang) => std::future::pending().await,
            Some(Deed::HangUp) => None,
        }
    }

    async fn letter(&mut self) -> Option<()> {
        self.say("354 go on").await?;
        let mut raw = String::new();
        loop {
            let line = self.line().await?;
            match line.as_str() {
                "." => break,
                line => raw += &format!("{}\r\n", line.strip_prefix('.').unwrap_or(line)),
            }
        }
        let letter = Letter { to: std::mem::take(&mut self.to), raw };
        let text = letter.raw.clone();
        self.shared.seen.lock().unwrap().letters.push(letter);
        self.shared.changed.send_replace(());
        self.answer(Stage::Letter, &text, "250 taken").await
    }
}
