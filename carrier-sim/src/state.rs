//! Everything the carrier remembers, in memory and bounded: records beyond their limit are forgotten, oldest first.
//! Decides the limits; the rules are elsewhere.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::account::Account;
use crate::clock::VirtualClock;
use crate::faults::Faults;
use crate::records::{Call, IncomingPhoneNumber, Message, Recording, Transcription};
use crate::scenario::Destination;
use crate::sid::Sids;
use crate::trace::{Happening, Subject, Trace};

/// Records kept of each kind; calls in progress do not count.
const RECORDS_MAX: usize = 10_000;
/// How long a customer's server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The running carrier: shared by the REST side, the control side and every call.
#[derive(Debug)]
pub struct Carrier {
    pub clock: VirtualClock,
    pub sids: Sids,
    pub trace: Trace,
    pub faults: Faults,
    pub http: reqwest::Client,
    /// Where the REST side is found, without a trailing slash.
    pub base_url: String,
    pub seed: u64,
    /// The account that a reset leaves.
    first_account: Account,
    state: Mutex<State>,
}

/// The records.
#[derive(Debug, Default)]
pub struct State {
    pub accounts: BTreeMap<String, Account>,
    pub numbers: Vec<IncomingPhoneNumber>,
    /// Numbers on sale that are not in the built-in stock.
    pub extra_stock: BTreeSet<String>,
    pub calls: Shelf<Call>,
    pub recordings: Shelf<Recording>,
    pub transcriptions: Shelf<Transcription>,
    pub messages: Shelf<Message>,
    pub destinations: HashMap<String, Destination>,
    /// Who does not want texts from which number.
    pub opt_outs: BTreeSet<OptOut>,
    tasks: Vec<AbortHandle>,
}

/// A person who said STOP to a number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OptOut {
    pub person: String,
    pub number: String,
}

impl Carrier {
    /// A carrier with one account.
    pub fn new(clock: VirtualClock, seed: u64, base_url: String, account: Account) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()?;
        let carrier = Self {
            clock,
            sids: Sids::seeded(seed),
            trace: Trace::default(),
            faults: Faults::default(),
            http,
            base_url,
            seed,
            first_account: account,
            state: Mutex::default(),
        };
        carrier.reset();
        Ok(carrier)
    }

    /// The records; held only for straight-line work, never over an `await`.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every call and forgets everything but the first account.
    pub fn reset(&self) {
        let account = self.first_account.clone();
        let mut state = self.state();
        for task in state.tasks.drain(..) {
            task.abort();
        }
        *state = State::default();
        state.accounts.insert(account.sid.clone(), account);
        drop(state);
        self.faults.clear();
        self.trace.clear();
    }

    /// Runs a call or a message in the background until it is over or the carrier is reset.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut state = self.state();
        state.tasks.retain(|task| !task.is_finished());
        state.tasks.push(tokio::spawn(task).abort_handle());
    }

    /// Adds to the trace at the present virtual time.
    pub fn record(&self, subject: Subject<'_>, happening: Happening) {
        self.trace.record(self.clock.now(), subject, happening);
    }

    /// Puts something into the error log.
    pub fn warn(&self, subject: Subject<'_>, code: u32, text: impl Into<String>) {
        let text = text.into();
        self.record(subject, Happening::Warning { code, text });
    }
}

impl State {
    /// A number somebody owns.
    pub fn find_number(&self, phone_number: &str) -> Option<&IncomingPhoneNumber> {
        self.numbers.iter().find(|number| number.phone_number == phone_number)
    }

    /// Whether an account owns a number.
    pub fn owns(&self, account_sid: &str, phone_number: &str) -> bool {
        self.find_number(phone_number).is_some_and(|number| number.account_sid == account_sid)
    }
}

/// Records by SID and in order of creation, with a limit on their number.
#[derive(Debug)]
pub struct Shelf<T> {
    by_number: BTreeMap<u64, T>,
    numbers: HashMap<String, u64>,
    next_number: u64,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { by_number: BTreeMap::new(), numbers: HashMap::new(), next_number: 0 }
    }
}

impl<T: Shelved> Shelf<T> {
    /// Adds a record, and forgets the oldest that may be forgotten when there are too many.
    pub fn add(&mut self, record: T) {
        if self.by_number.len() >= RECORDS_MAX {
            let oldest = self
                .by_number
                .iter()
                .find(|(_, record)| record.may_be_forgotten())
                .map(|(_, record)| record.sid().to_owned());
            if let Some(sid) = oldest {
                self.remove(&sid);
            }
        }
        self.numbers.insert(record.sid().to_owned(), self.next_number);
        self.by_number.insert(self.next_number, record);
        self.next_number += 1;
    }

    pub fn find(&self, sid: &str) -> Option<&T> {
        self.by_number.get(self.numbers.get(sid)?)
    }

    pub fn find_mut(&mut self, sid: &str) -> Option<&mut T> {
        self.by_number.get_mut(self.numbers.get(sid)?)
    }

    pub fn remove(&mut self, sid: &str) -> Option<T> {
        let number = self.numbers.remove(sid)?;
        self.by_number.remove(&number)
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.by_number.values()
    }
}

/// A record that can be kept on a shelf.
pub trait Shelved {
    fn sid(&self) -> &str;

    /// Whether nothing is going on with it any more.
    fn may_be_forgotten(&self) -> bool;
}

impl Shelved for Call {
    fn sid(&self) -> &str {
        &self.sid
    }

    fn may_be_forgotten(&self) -> bool {
        self.ended_at.is_some() && *self.settled.borrow()
    }
}

impl Shelved for Recording {
    fn sid(&self) -> &str {
        &self.sid
    }

    fn may_be_forgotten(&self) -> bool {
        self.sound.is_some()
    }
}

impl Shelved for Transcription {
    fn sid(&self) -> &str {
        &self.sid
    }

    fn may_be_forgotten(&self) -> bool {
        true
    }
}

impl Shelved for Message {
    fn sid(&self) -> &str {
        &self.sid
    }

    fn may_be_forgotten(&self) -> bool {
        true
    }
}
