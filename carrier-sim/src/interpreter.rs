//! The TwiML interpreter: carries out the customer's documents on a call's legs. Decides what each verb does and which
//! document comes next; prompts and Gather are in `prompts`, Dial and whisper in `dial`, recordings in `recorder`. It
//! knows the legs only through `legs::Legs`, so the same code runs simulated and real calls.
//!
//! Rules that are easy to get wrong, as documented for the verbs: a Dial or Record with an action never continues with the
//! next verb; a Record without an action asks for the current document again; Reject, Pause, Redirect and a Dial with
//! answerOnBridge do not pick up; "completed" only says that the document ran to its end.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::account::Account;
use crate::callbacks;
use crate::faults::Hook;
use crate::legs::{Audio, CALLER, Gone, LegId, Legs, RecordEnd, RecordRules};
use crate::recorder::FinishedRecording;
use crate::records::{Call, CallStatus, IncomingPhoneNumber, Outcome};
use crate::scenario::AbandonedDial;
use crate::state::Carrier;
use crate::trace::{Happening, Subject};
use crate::twiml::{self, Link, Method, Prompt, Record, Verb};
use crate::webhooks::{Answer, Params, Request, Webhooks, resolve};

/// A call that asks for more documents than this is going round in circles.
const DOCUMENTS_MAX: u32 = 100;
/// The same Record again and again: its document has no action.
const RECORD_LOOPS_MAX: u32 = 3;
/// What the carrier says when it cannot go on.
const APOLOGY: &str = "We are sorry, an application error has occurred. Goodbye.";

/// A call in progress.
pub struct Interpreter<L> {
    pub(crate) carrier: Arc<Carrier>,
    pub(crate) account: Account,
    pub(crate) number: IncomingPhoneNumber,
    pub(crate) call_sid: String,
    pub(crate) legs: L,
    pub(crate) webhooks: Webhooks,
    pub(crate) abandoned_dial: AbandonedDial,
    /// The SIDs of the legs, by `LegId`.
    pub(crate) leg_sids: Vec<String>,
    pub(crate) answered: bool,
    pub(crate) recordings: Vec<FinishedRecording>,
    /// Recordings of the whole call, stopped at its end.
    pub(crate) call_recordings: Vec<crate::recorder::OpenRecording>,
    pub(crate) progress: Progress,
    documents: u32,
    record_loops: u32,
}

/// What has happened so far, for the call's outcome.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub bridged: bool,
    pub voicemail: bool,
    /// The caller left while it rang.
    pub abandoned: bool,
    pub dial_ended: Option<CallStatus>,
}

/// A document and where it came from.
pub(crate) struct Page {
    pub url: String,
    pub verbs: Vec<Verb>,
}

/// What to do after a verb.
pub(crate) enum Next {
    Verb,
    Document(Request),
    End(End),
}

/// How a call came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The document ran out, or said Hangup.
    Document,
    CallerLeft,
    Rejected {
        busy: bool,
    },
}

/// What is left of a call when its legs are gone.
pub struct Remains {
    pub end: End,
    pub outcome: Outcome,
    pub webhooks: Webhooks,
    pub recordings: Vec<FinishedRecording>,
    pub ended_at: jiff::Timestamp,
}

impl From<Gone> for Next {
    fn from(_caller: Gone) -> Self {
        Self::End(End::CallerLeft)
    }
}

impl<L: Legs> Interpreter<L> {
    pub fn new(
        carrier: Arc<Carrier>,
        account: Account,
        number: IncomingPhoneNumber,
        call_sid: String,
        legs: L,
        abandoned_dial: AbandonedDial,
    ) -> Self {
        let webhooks = Webhooks::new(carrier.clone(), account.clone(), call_sid.clone());
        Self {
            carrier,
            account,
            number,
            leg_sids: vec![call_sid.clone()],
            call_sid,
            legs,
            webhooks,
            abandoned_dial,
            answered: false,
            recordings: Vec::new(),
            call_recordings: Vec::new(),
            progress: Progress::default(),
            documents: 0,
            record_loops: 0,
        }
    }

    /// Runs an inbound call from its first request to the moment both legs are gone.
    pub async fn run(mut self) -> Remains {
        let mut next = match self.voice_request() {
            Some(request) => Next::Document(request),
            None => {
                self.warn(CALLER, 21_402, "there is no document for this call");
                self.apologise().await
            }
        };
        let end = loop {
            next = match next {
                Next::End(end) => break end,
                Next::Verb => Next::End(End::Document),
                Next::Document(request) => match self.page(CALLER, request).await {
                    Some(page) => self.execute(&page).await,
                    None => self.apologise().await,
                },
            };
        };
        let end = if self.legs.is_present(CALLER) || end != End::Document { end } else { End::CallerLeft };
        self.legs.hang_up(CALLER).await;
        self.stop_call_recordings();
        Remains {
            end,
            outcome: self.outcome(end),
            ended_at: self.legs.now(),
            webhooks: self.webhooks,
            recordings: self.recordings,
        }
    }

    fn outcome(&self, end: End) -> Outcome {
        match end {
            End::Rejected { .. } => Outcome::Rejected,
            End::Document | End::CallerLeft if self.progress.bridged => Outcome::Answered,
            End::Document | End::CallerLeft if self.progress.voicemail => Outcome::Voicemail,
            End::CallerLeft if self.progress.abandoned || self.progress.dial_ended.is_none() => {
                Outcome::Abandoned
            }
            End::Document | End::CallerLeft => match self.progress.dial_ended {
                Some(CallStatus::NoAnswer | CallStatus::Canceled | CallStatus::Completed) => {
                    Outcome::NoAnswer
                }
                Some(CallStatus::Busy) => Outcome::Busy,
                Some(CallStatus::Failed) => Outcome::Failed,
                Some(
                    CallStatus::Queued | CallStatus::Initiated | CallStatus::Ringing | CallStatus::InProgress,
                )
                | None => Outcome::Completed,
            },
        }
    }

    /// Nothing when the number has no VoiceUrl, or has something that goes before it.
    fn voice_request(&self) -> Option<Request> {
        let overrides = ["trunk_sid", "voice_application_sid"];
        let is_set = |name: &&str| self.number.find_setting(name).is_some();
        if let Some(name) = overrides.into_iter().find(is_set) {
            let text = format!("VoiceUrl is ignored: the number has a {name}");
            self.warn(CALLER, 21_402, &text);
            return None;
        }
        let url = self.number.find_setting("voice_url")?;
        let token = format!("{{\"parentCallInfoToken\":\"{}\"}}", self.carrier.sids.next_uuid());
        Some(Request {
            hook: Hook::Voice,
            leg_sid: Some(self.call_sid.clone()),
            url: url.to_owned(),
            method: Method::of_setting(self.number.find_setting("voice_method")),
            params: self.with_leg(CALLER, |call| callbacks::voice(call, &token)),
        })
    }

    /// Fetches and reads a document, or the fallback's when that fails. Nothing when both fail.
    pub(crate) async fn page(&mut self, leg: LegId, request: Request) -> Option<Page> {
        let failed_url = request.url.clone();
        let code = match self.read_page(leg, request).await {
            Ok(page) => return Some(page),
            Err(code) => code,
        };
        let url = self.number.find_setting("voice_fallback_url")?.to_owned();
        if leg != CALLER {
            return None;
        }
        let mut params = self.with_leg(leg, callbacks::standard);
        callbacks::add(&mut params, "ErrorCode", &code.to_string());
        callbacks::add(&mut params, "ErrorUrl", &failed_url);
        let fallback = Request {
            hook: Hook::VoiceFallback,
            leg_sid: Some(self.leg_sids[leg.0].clone()),
            url,
            method: Method::of_setting(self.number.find_setting("voice_fallback_method")),
            params,
        };
        self.read_page(leg, fallback).await.ok()
    }

    async fn read_page(&mut self, leg: LegId, request: Request) -> Result<Page, u32> {
        self.documents += 1;
        if self.documents > DOCUMENTS_MAX {
            let text = format!("the call asked for more than {DOCUMENTS_MAX} documents");
            self.warn(leg, 12_400, &text);
            return Err(12_400);
        }
        let answer = self.fetch(request).await?;
        if !is_twiml(&answer.content_type) {
            let text = format!("{:?} is not TwiML", answer.content_type);
            self.warn(leg, 12_300, &text);
            return Err(12_300);
        }
        match twiml::parse(&String::from_utf8_lossy(&answer.body)) {
            Ok(document) => {
                for warning in &document.warnings {
                    self.warn(leg, warning.code, &warning.text);
                }
                Ok(Page { url: answer.url, verbs: document.verbs })
            }
            Err(error) => {
                self.warn(leg, 12_100, &error.to_string());
                Err(12_100)
            }
        }
    }

    pub(crate) async fn fetch(&mut self, request: Request) -> Result<Answer, u32> {
        match self.webhooks.fetch(request).await {
            Ok(answer) => {
                self.legs.waited(answer.waited);
                Ok(answer)
            }
            Err(error) => {
                self.legs.waited(error.waited);
                Err(error.code)
            }
        }
    }

    async fn apologise(&mut self) -> Next {
        self.answer().await;
        let text = APOLOGY.to_owned();
        match self.legs.play(CALLER, &Audio::Speech { text }).await {
            Ok(()) => Next::End(End::Document),
            Err(gone) => gone.into(),
        }
    }

    async fn execute(&mut self, page: &Page) -> Next {
        for verb in &page.verbs {
            if !self.legs.is_present(CALLER) {
                return Next::End(End::CallerLeft);
            }
            self.trace_verb(CALLER, verb);
            match self.execute_verb(verb, page).await {
                Next::Verb => {}
                next @ (Next::Document(_) | Next::End(_)) => return next,
            }
        }
        self.hang_up().await
    }

    /// The carrier picks up before it hangs up, except after a Dial that rang without picking up.
    async fn hang_up(&mut self) -> Next {
        if self.progress.dial_ended.is_none() {
            self.answer().await;
        }
        Next::End(End::Document)
    }

    async fn execute_verb(&mut self, verb: &Verb, page: &Page) -> Next {
        match verb {
            Verb::Prompt(prompt) => {
                if !matches!(prompt, Prompt::Pause { .. }) {
                    self.answer().await;
                }
                match self.prompt(CALLER, prompt, page).await {
                    Ok(()) => Next::Verb,
                    Err(gone) => gone.into(),
                }
            }
            Verb::Gather(gather) => {
                self.answer().await;
                match self.gather(CALLER, gather, page).await {
                    Ok(Some(request)) => Next::Document(request),
                    Ok(None) => Next::Verb,
                    Err(gone) => gone.into(),
                }
            }
            Verb::Dial(dial) => self.dial(dial, page).await,
            Verb::Record(record) => {
                self.answer().await;
                self.record(record, page).await
            }
            Verb::Redirect(link) => self.redirect(CALLER, link, page),
            Verb::Reject { busy } if !self.answered => Next::End(End::Rejected { busy: *busy }),
            Verb::Reject { .. } => {
                self.warn(CALLER, 12_200, "<Reject> after the call was answered hangs up");
                Next::End(End::Document)
            }
            Verb::Hangup => self.hang_up().await,
            Verb::StartRecording(start) => {
                self.start_call_recording(start, page).await;
                Next::Verb
            }
        }
    }

    /// Picks up, unless that has happened.
    pub(crate) async fn answer(&mut self) {
        if self.answered || !self.legs.is_present(CALLER) {
            return;
        }
        self.legs.answer().await;
        self.answered = true;
        let now = self.legs.now();
        self.change_leg(CALLER, |call| {
            call.status = CallStatus::InProgress;
            call.answered_at = Some(now);
        });
    }

    async fn record(&mut self, record: &Record, page: &Page) -> Next {
        if record.action.is_none() {
            self.record_loops += 1;
            let text = "<Record> has no action: the current document is requested again";
            self.warn(CALLER, 13_610, text);
            if self.record_loops > RECORD_LOOPS_MAX {
                self.warn(CALLER, 12_400, "the call is recording in a loop");
                return Next::End(End::Document);
            }
        }
        let rules = RecordRules {
            max_length: seconds_of(record.max_length_s),
            silence: seconds_of(record.timeout_s),
            finish_on_key: record.finish_on_key.clone(),
            play_beep: record.play_beep,
            trim_silence: record.trim_silence,
        };
        let open = self.open_voicemail(record, page).await;
        let recorded = self.legs.record(&rules).await;
        let digits = match recorded.end {
            RecordEnd::HungUp => "hangup".to_owned(),
            RecordEnd::Key(key) => key.to_string(),
            RecordEnd::Silence | RecordEnd::MaxLength => String::new(),
        };
        let Some(recording) = self.keep_voicemail(open, record, page, recorded) else {
            // Nothing was said: no action is requested and the next verb is reached after all.
            return if self.legs.is_present(CALLER) { Next::Verb } else { Next::End(End::CallerLeft) };
        };
        self.progress.voicemail = true;
        let url = self.recording_url(&recording.sid);
        if !self.legs.is_present(CALLER) {
            self.set_final_status(CallStatus::Completed);
        }
        let params = self.with_leg(CALLER, |call| callbacks::record_action(call, &recording, &url, &digits));
        let action = record.action.clone().unwrap_or_else(|| page.link());
        match self.request(Hook::Record, CALLER, &action, page, params) {
            Some(request) => self.obey_if_present(request).await,
            None => Next::End(End::Document),
        }
    }

    /// Asks for the document of an action. When the caller is gone, the answer is for nobody.
    pub(crate) async fn obey_if_present(&mut self, request: Request) -> Next {
        if self.legs.is_present(CALLER) {
            return Next::Document(request);
        }
        let _ignored = self.fetch(request).await;
        Next::End(End::CallerLeft)
    }

    pub(crate) fn redirect(&self, leg: LegId, link: &Link, page: &Page) -> Next {
        let params = self.with_leg(leg, callbacks::standard);
        match self.request(Hook::Redirect, leg, link, page, params) {
            Some(request) => Next::Document(request),
            None => Next::End(End::Document),
        }
    }

    /// A request for a URL in a document; nothing but a warning when the URL is not one.
    pub(crate) fn request(
        &self,
        hook: Hook,
        leg: LegId,
        link: &Link,
        page: &Page,
        params: Params,
    ) -> Option<Request> {
        let Some(url) = resolve(&page.url, &link.url) else {
            let text = format!("{:?} is not a URL", link.url);
            self.warn(leg, 11_100, &text);
            return None;
        };
        Some(Request { hook, leg_sid: Some(self.leg_sids[leg.0].clone()), url, method: link.method, params })
    }

    /// Reads a leg's record. A record cannot be missing while its call is in progress.
    pub(crate) fn with_leg<T: Default>(&self, leg: LegId, read: impl FnOnce(&Call) -> T) -> T {
        let state = self.carrier.state();
        state.calls.find(&self.leg_sids[leg.0]).map(read).unwrap_or_default()
    }

    pub(crate) fn change_leg(&self, leg: LegId, change: impl FnOnce(&mut Call)) {
        let mut state = self.carrier.state();
        if let Some(call) = state.calls.find_mut(&self.leg_sids[leg.0]) {
            change(call);
        }
    }

    /// The caller has left: what the last requests about the call say of it.
    pub(crate) fn set_final_status(&self, status: CallStatus) {
        let now = self.legs.now();
        self.change_leg(CALLER, |call| {
            call.status = status;
            call.ended_at = Some(now);
        });
    }

    pub(crate) fn trace_verb(&self, leg: LegId, verb: &Verb) {
        let verb = format!("{verb:?}");
        self.carrier.record(self.subject(leg), Happening::Verb { verb });
    }

    pub(crate) fn warn(&self, leg: LegId, code: u32, text: &str) {
        self.carrier.warn(self.subject(leg), code, text);
    }

    fn subject(&self, leg: LegId) -> Subject<'_> {
        Subject { sid: Some(&self.call_sid), leg_sid: Some(&self.leg_sids[leg.0]) }
    }
}

impl Page {
    /// The document itself, which is what an absent action means.
    pub fn link(&self) -> Link {
        Link { url: self.url.clone(), method: Method::Post }
    }
}

impl Method {
    /// A number's setting; POST unless it says GET.
    pub fn of_setting(setting: Option<&str>) -> Self {
        match setting {
            Some("GET") => Self::Get,
            Some(_) | None => Self::Post,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

pub(crate) fn seconds_of(seconds: u32) -> SignedDuration {
    SignedDuration::from_secs(i64::from(seconds))
}

/// The media types the carrier reads as TwiML.
fn is_twiml(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    ["text/xml", "application/xml", "text/html"].iter().any(|twiml| media_type.eq_ignore_ascii_case(twiml))
}
