//! The receivers of webhooks: a process of its own, so that its CPU time isn't counted, made by running this program
//! again. It reads requests by hand, as cheaply as it can, and remembers when those with a mark arrived. It is asked
//! by lines on its stdin and answers by lines on its stdout.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use calltracker::kernel::clock::{Clock, Micros};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// What makes this program a receiver.
pub const ARGUMENT: &str = "receiver";
/// Stands before the number in an event's data that makes an arrival worth remembering.
pub const MARK: &str = "mark-";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// Between two bytes of an answer that trickles.
const TRICKLE: Duration = Duration::from_secs(1);

/// How a URL of the receiver behaves.
#[derive(Clone, Copy)]
pub enum Manner {
    Answers,
    NeverAnswers,
    Trickles,
}

impl Manner {
    fn word(self) -> &'static str {
        match self {
            Manner::Answers => "ok",
            Manner::NeverAnswers => "hang",
            Manner::Trickles => "trickle",
        }
    }
}

/// A marked request.
#[derive(Clone, Copy)]
pub struct Arrival {
    /// The number at the end of the URL.
    pub hook: usize,
    pub mark: usize,
    pub at: Micros,
}

/// A running receiver; ends when dropped.
pub struct Receiver {
    pub port: u16,
    _child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Receiver {
    pub async fn start() -> anyhow::Result<Receiver> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let questions = child.stdin.take().context("stdin is piped")?;
        let mut answers = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let port = answers.next_line().await?.context("it tells its port")?.parse()?;
        Ok(Receiver { port, _child: child, questions, answers })
    }

    pub fn url(&self, manner: Manner, hook: usize) -> String {
        format!("http://127.0.0.1:{}/{}/{hook}", self.port, manner.word())
    }

    /// As [`Receiver::url`], each at a host of its own.
    pub fn url_of_own_host(&self, hook: usize) -> String {
        format!("http://127.1.{}.{}:{}/ok/{hook}", hook / 250, 1 + hook % 250, self.port)
    }

    /// When the first request arrived.
    pub async fn first(&mut self) -> anyhow::Result<Option<Micros>> {
        let text = self.ask("first").await?;
        Ok(text.parse().ok().map(Micros))
    }

    /// All marked requests so far.
    pub async fn arrivals(&mut self) -> anyhow::Result<Vec<Arrival>> {
        let count: usize = self.ask("arrivals").await?.parse()?;
        let mut arrivals = Vec::with_capacity(count);
        for _ in 0..count {
            let line = self.answers.next_line().await?.context("the receiver ended")?;
            let numbers: Vec<i64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
            let [hook, mark, at] = numbers[..] else { anyhow::bail!("what is {line:?}?") };
            arrivals.push(Arrival { hook: hook.try_into()?, mark: mark.try_into()?, at: Micros(at) });
        }
        Ok(arrivals)
    }

    async fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        self.questions.write_all(format!("{question}\n").as_bytes()).await?;
        self.answers.next_line().await?.context("the receiver ended")
    }
}

#[derive(Default)]
struct Seen {
    first: Option<Micros>,
    arrivals: Vec<Arrival>,
}

/// The receiver's own main.
pub fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        println!("{}", listener.local_addr()?.port());
        let seen = Arc::new(Mutex::new(Seen::default()));
        tokio::spawn(accept(listener, seen.clone()));
        let mut questions = BufReader::new(tokio::io::stdin()).lines();
        while let Some(question) = questions.next_line().await? {
            answer(&question, &seen.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(())
    })
}

fn answer(question: &str, seen: &Seen) {
    if question == "first" {
        return println!("{}", seen.first.map_or("none".to_owned(), |at| at.0.to_string()));
    }
    println!("{}", seen.arrivals.len());
    for Arrival { hook, mark, at } in &seen.arrivals {
        println!("{hook} {mark} {}", at.0);
    }
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let seen = seen.clone();
        tokio::spawn(async move { serve(stream, &seen).await });
    }
}

async fn serve(mut stream: TcpStream, seen: &Mutex<Seen>) -> Option<()> {
    let mut buffer = Vec::with_capacity(8192);
    loop {
        let (head, whole) = loop {
            if let Some(lengths) = lengths(&buffer) {
                break lengths;
            }
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        };
        let path = std::str::from_utf8(&buffer[..head]).ok()?.split(' ').nth(1)?.to_owned();
        let (manner, hook) = path.strip_prefix('/')?.split_once('/')?;
        remember(seen, hook.parse().ok()?, &buffer[head..whole]);
        if manner == Manner::NeverAnswers.word() {
            std::future::pending::<()>().await;
        }
        if manner == Manner::Trickles.word() {
            trickle(&mut stream).await?;
        } else {
            stream.write_all(ANSWER).await.ok()?;
        }
        buffer.drain(..whole);
    }
}

async fn trickle(stream: &mut TcpStream) -> Option<()> {
    for byte in ANSWER {
        stream.write_all(&[*byte]).await.ok()?;
        tokio::time::sleep(TRICKLE).await;
    }
    Some(())
}

/// Bytes of the head and of the whole request, once it is there.
fn lengths(buffer: &[u8]) -> Option<(usize, usize)> {
    let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?;
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let whole = head + length.parse::<usize>().ok()?;
    (buffer.len() >= whole).then_some((head, whole))
}

fn remember(seen: &Mutex<Seen>, hook: usize, body: &[u8]) {
    let at = Clock::System.now();
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.first.get_or_insert(at);
    if let Some(mark) = mark(body) {
        seen.arrivals.push(Arrival { hook, mark, at });
    }
}

fn mark(body: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(body).ok()?;
    let digits = text.split_once(MARK)?.1;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}
