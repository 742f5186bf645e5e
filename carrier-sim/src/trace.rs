//! The trace: what the carrier did, for assertions and for debugging a customer's server. Every HTTP exchange in both
//! directions, every verb executed, every warning. Bounded: the oldest entries are dropped.

use std::collections::VecDeque;
use std::sync::Mutex;

use jiff::Timestamp;
use serde::Serialize;

/// Entries kept; with the limits below some 60 MB at the very most.
const ENTRIES_MAX: usize = 10_000;
/// Of each body this much is kept.
const BODY_BYTES_MAX: usize = 4096;

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub struct TraceEntry {
    /// Counts from 1, without gaps.
    pub number: u64,
    /// Virtual time.
    pub at: Timestamp,
    /// The inbound call (parent leg) or message this belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_sid: Option<String>,
    /// The leg, where it is not the parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leg_sid: Option<String>,
    #[serde(flatten)]
    pub happening: Happening,
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happening {
    /// The carrier asked the customer's server.
    Webhook(WebhookExchange),
    /// The customer asked the REST API.
    Rest { method: String, url: String, params: Vec<(String, String)>, status: u16, body: String },
    /// A TwiML verb began.
    Verb { verb: String },
    /// Something a real carrier would put into its error log, with its error code.
    Warning { code: u32, text: String },
    /// A fault was injected.
    Fault { callback: String, action: String },
}

/// A request to the customer's server and its answer.
#[derive(Clone, Debug, Serialize)]
pub struct WebhookExchange {
    /// What the request was for, in the words of `faults::Hook`.
    pub hook: String,
    pub method: String,
    pub url: String,
    pub params: Vec<(String, String)>,
    /// Absent when there was no answer.
    pub status: Option<u16>,
    pub body: String,
    /// Why there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Real milliseconds.
    pub ms: u64,
}

/// Which entries are about what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    pub sid: Option<&'a str>,
    pub leg_sid: Option<&'a str>,
}

/// The bounded log.
#[derive(Debug, Default)]
pub struct Trace {
    entries: Mutex<(u64, VecDeque<TraceEntry>)>,
}

impl Trace {
    /// Adds an entry; bodies are cut to their limit.
    pub fn record(&self, at: Timestamp, subject: Subject<'_>, mut happening: Happening) {
        match &mut happening {
            Happening::Webhook(WebhookExchange { body, .. }) | Happening::Rest { body, .. } => {
                truncate(body);
            }
            Happening::Verb { .. } | Happening::Warning { .. } | Happening::Fault { .. } => {}
        }
        let mut entries = self.lock();
        entries.0 += 1;
        let entry = TraceEntry {
            number: entries.0,
            at,
            subject_sid: subject.sid.map(str::to_owned),
            leg_sid: subject.leg_sid.filter(|leg| Some(*leg) != subject.sid).map(str::to_owned),
            happening,
        };
        if entries.1.len() == ENTRIES_MAX {
            entries.1.pop_front();
        }
        entries.1.push_back(entry);
    }

    /// The entries, oldest first, of one call or message or of all.
    pub fn list(&self, subject_sid: Option<&str>) -> Vec<TraceEntry> {
        self.lock()
            .1
            .iter()
            .filter(|entry| {
                subject_sid.is_none_or(|sid| {
                    entry.subject_sid.as_deref() == Some(sid) || entry.leg_sid.as_deref() == Some(sid)
                })
            })
            .cloned()
            .collect()
    }

    /// Forgets everything; the numbering goes on.
    pub fn clear(&self) {
        self.lock().1.clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, VecDeque<TraceEntry>)> {
        self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn truncate(body: &mut String) {
    if body.len() > BODY_BYTES_MAX {
        let mut end = BODY_BYTES_MAX;
        while !body.is_char_boundary(end) {
            end -= 1;
        }
        body.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verb(trace: &Trace, sid: &str) {
        let subject = Subject { sid: Some(sid), leg_sid: Some(sid) };
        let happening = Happening::Verb { verb: "Say".to_owned() };
        trace.record(Timestamp::UNIX_EPOCH, subject, happening);
    }

    #[test]
    fn the_oldest_entries_are_dropped() {
        let trace = Trace::default();
        for _ in 0..ENTRIES_MAX + 5 {
            verb(&trace, "CA1");
        }
        let entries = trace.list(None);
        assert_eq!(entries.len(), ENTRIES_MAX);
        assert_eq!(entries[0].number, 6);
    }

    #[test]
    fn entries_are_found_by_call() {
        let trace = Trace::default();
        verb(&trace, "CA1");
        verb(&trace, "CA2");
        assert_eq!(trace.list(Some("CA2")).len(), 1);
        assert_eq!(trace.list(Some("CA2"))[0].leg_sid, None);
    }

    #[test]
    fn bodies_are_cut_at_a_character() {
        let mut body = "é".repeat(BODY_BYTES_MAX);
        truncate(&mut body);
        assert!(body.len() <= BODY_BYTES_MAX);
    }
}
