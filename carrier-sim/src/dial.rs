//! The Dial verb: who is called, who is connected, what is reported. Legs ring all at once, or one after the other with
//! `sequential`.
//!
//! A leg with a whisper is connected when its document has run to the end, and given up when it hangs up. While a whisper
//! runs the other legs go on ringing; if one of them answers meanwhile, that is noticed when the whisper is over.

use jiff::Timestamp;

use crate::callbacks::{self, DialReport};
use crate::faults::Hook;
use crate::interpreter::{End, Interpreter, Next, Page, seconds_of};
use crate::legs::{BridgeEnd, CALLER, Ending, Gone, LegEvent, LegId, Legs};
use crate::recorder::OpenRecording;
use crate::records::{CallStatus, Recording, RecordingSource};
use crate::scenario::AbandonedDial;
use crate::sid::SidKind;
use crate::stock;
use crate::twiml::{Dial, Link, Target, Verb};
use crate::webhooks::Request;

/// More numbers in one Dial are left out (error 13233).
const TARGETS_MAX: usize = 10;

/// A leg that a Dial placed.
struct DialedLeg<'a> {
    leg: LegId,
    target: &'a Target,
    sequence_number: u32,
    answered_at: Option<Timestamp>,
    ended: Option<CallStatus>,
}

/// A Dial in progress.
struct Dialing<'a> {
    dial: &'a Dial,
    page: &'a Page,
    legs: Vec<DialedLeg<'a>>,
    recording: Option<OpenRecording>,
    last_recording: Option<Recording>,
    /// The leg that the report is about: the one connected, or the last that was.
    reported: Option<usize>,
    bridged: bool,
    answered_s: Option<i64>,
    caller_left: bool,
}

/// What became of a group of legs that rang together.
enum Rung {
    /// The caller talked to one of them, or left, or the call is over for another reason.
    Done,
    NobodyCame,
}

impl<L: Legs> Interpreter<L> {
    pub(crate) async fn dial(&mut self, dial: &Dial, page: &Page) -> Next {
        if !dial.answer_on_bridge {
            self.answer().await;
        }
        let mut dialing = Dialing {
            dial,
            page,
            legs: Vec::new(),
            recording: None,
            last_recording: None,
            reported: None,
            bridged: false,
            answered_s: None,
            caller_left: false,
        };
        if let Some(caller_id) = self.caller_id(dial) {
            self.ring_targets(&mut dialing, &caller_id).await;
        }
        self.stop_dial_recording(&mut dialing);
        self.after_dial(dialing).await
    }

    /// The number the destinations see. Nothing when the document names one the account may not use.
    fn caller_id(&self, dial: &Dial) -> Option<String> {
        let (from, to) = self.with_leg(CALLER, |call| (call.from.clone(), call.to.clone()));
        let Some(wanted) = &dial.caller_id else {
            return Some(from);
        };
        let owned = self.carrier.state().owns(&self.account.sid, wanted);
        if owned || *wanted == from || *wanted == to {
            return Some(wanted.clone());
        }
        let text = "callerId is neither the caller's, the called nor an owned number";
        self.warn(CALLER, 13_214, text);
        None
    }

    async fn ring_targets<'a>(&mut self, dialing: &mut Dialing<'a>, caller_id: &str) {
        let targets = &dialing.dial.targets;
        if targets.len() > TARGETS_MAX {
            let text = format!("only the first {TARGETS_MAX} of the Dial's numbers are called");
            self.warn(CALLER, 13_233, &text);
        }
        if targets.is_empty() {
            self.warn(CALLER, 13_221, "the Dial has no number");
        }
        let called = &targets[..targets.len().min(TARGETS_MAX)];
        let together = if dialing.dial.sequential { 1 } else { TARGETS_MAX };
        for group in called.chunks(together) {
            let first = dialing.legs.len();
            match self.ring(dialing, group, caller_id).await {
                Ok(Rung::Done) => return,
                Ok(Rung::NobodyCame) => {}
                Err(Gone(_caller)) => return self.abandon(dialing, first).await,
            }
        }
    }

    /// Calls some destinations at the same time. Fails when the caller leaves.
    async fn ring<'a>(
        &mut self,
        dialing: &mut Dialing<'a>,
        targets: &'a [Target],
        caller_id: &str,
    ) -> Result<Rung, Gone> {
        let first = dialing.legs.len();
        let record = dialing.dial.record.filter(|record| record.from_ringing);
        if let Some(record) = record.filter(|_| dialing.recording.is_none()) {
            self.start_dial_recording(dialing, record.dual).await;
        }
        for target in targets {
            self.place(dialing, target, caller_id).await;
        }
        let deadline = self.legs.now() + seconds_of(dialing.dial.timeout_s);
        while dialing.legs[first..].iter().any(|leg| leg.ended.is_none()) {
            let Some(event) = self.legs.next_event(deadline).await? else {
                self.end_open_legs(dialing, CallStatus::NoAnswer).await;
                break;
            };
            match event {
                LegEvent::Ringing(leg) => {
                    self.change_leg(leg, |call| call.status = CallStatus::Ringing);
                    self.report_step(dialing, dialing.place_of(leg)).await;
                }
                LegEvent::Ended(leg, ending) => {
                    let status = match ending {
                        Ending::Busy => CallStatus::Busy,
                        Ending::Failed => CallStatus::Failed,
                        Ending::HungUp => CallStatus::Canceled,
                    };
                    self.end_leg(dialing, dialing.place_of(leg), status).await;
                }
                LegEvent::Answered(leg) => {
                    let place = dialing.place_of(leg);
                    if self.connect(dialing, place).await? {
                        return Ok(Rung::Done);
                    }
                }
            }
        }
        Ok(Rung::NobodyCame)
    }

    async fn place<'a>(&mut self, dialing: &mut Dialing<'a>, target: &'a Target, caller_id: &str) {
        let sid = self.carrier.sids.next(SidKind::Call, self.account.kind);
        let now = self.legs.now();
        {
            let mut state = self.carrier.state();
            let child = state
                .calls
                .find(&self.call_sid)
                .map(|parent| parent.child(sid.clone(), caller_id.to_owned(), target.address.clone(), now));
            if let Some(child) = child {
                state.calls.add(child);
            }
        }
        let leg = self.legs.place(&sid, &target.address, caller_id).await;
        self.leg_sids.push(sid);
        dialing.legs.push(DialedLeg { leg, target, sequence_number: 0, answered_at: None, ended: None });
        let place = dialing.legs.len() - 1;
        self.report_step(dialing, place).await;
        if !is_callable(&target.address) {
            let text = format!("{:?} cannot be called", target.address);
            self.warn(leg, 13_223, &text);
            self.end_leg(dialing, place, CallStatus::Failed).await;
        }
    }

    /// A leg has answered: lets it hear the whisper, then connects it. False when it did not accept.
    async fn connect(&mut self, dialing: &mut Dialing<'_>, place: usize) -> Result<bool, Gone> {
        let (leg, target) = (dialing.legs[place].leg, dialing.legs[place].target);
        let now = self.legs.now();
        dialing.legs[place].answered_at = Some(now);
        dialing.reported = Some(place);
        self.change_leg(leg, |call| {
            call.status = CallStatus::InProgress;
            call.answered_at = Some(now);
        });
        self.report_step(dialing, place).await;
        if let Some(record) = dialing.dial.record.filter(|_| dialing.recording.is_none()) {
            self.start_dial_recording(dialing, record.dual).await;
        }
        if let Some(whisper) = &target.url {
            let accepted = match self.whisper(leg, whisper, dialing.page).await {
                Ok(accepted) => accepted,
                Err(gone @ Gone(CALLER)) => return Err(gone),
                Err(Gone(_callee)) => false,
            };
            if !accepted {
                self.end_leg(dialing, place, CallStatus::Completed).await;
                return Ok(false);
            }
        }
        self.end_other_legs(dialing, place).await;
        self.bridge(dialing, place).await;
        Ok(true)
    }

    async fn bridge(&mut self, dialing: &mut Dialing<'_>, place: usize) {
        self.answer().await;
        let leg = dialing.legs[place].leg;
        dialing.bridged = true;
        self.progress.bridged = true;
        self.change_leg(leg, |call| call.bridged = true);
        self.change_leg(CALLER, |call| call.bridged = true);
        let limit = seconds_of(dialing.dial.time_limit_s);
        match self.legs.bridge(leg, limit).await {
            BridgeEnd::CallerLeft => {
                dialing.caller_left = true;
                self.set_final_status(CallStatus::Completed);
            }
            BridgeEnd::CalleeLeft | BridgeEnd::TimeLimit => {}
        }
        self.end_leg(dialing, place, CallStatus::Completed).await;
    }

    /// Runs a whisper's documents on a leg. True when it may be connected.
    async fn whisper(&mut self, leg: LegId, url: &Link, page: &Page) -> Result<bool, Gone> {
        let params = self.with_leg(leg, callbacks::standard);
        let mut next = self.request(Hook::Whisper, leg, url, page, params);
        'documents: while let Some(request) = next.take() {
            let Some(page) = self.page(leg, request).await else {
                return Ok(false);
            };
            for verb in &page.verbs {
                self.trace_verb(leg, verb);
                match verb {
                    Verb::Prompt(prompt) => self.prompt(leg, prompt, &page).await?,
                    Verb::Gather(gather) => {
                        next = self.gather(leg, gather, &page).await?;
                        if next.is_some() {
                            continue 'documents;
                        }
                    }
                    Verb::Hangup => return Ok(false),
                    Verb::Dial(_)
                    | Verb::Record(_)
                    | Verb::Redirect(_)
                    | Verb::Reject { .. }
                    | Verb::StartRecording(_) => {
                        let text = "a whisper may only Say, Play, Pause, Gather and Hangup";
                        self.warn(leg, 12_200, text);
                        return Ok(false);
                    }
                }
            }
            return Ok(true);
        }
        // The URL of the whisper or of its action is not one.
        Ok(false)
    }

    async fn start_dial_recording(&mut self, dialing: &mut Dialing<'_>, dual: bool) {
        let callback = dialing.dial.recording_callback.as_ref();
        let source = RecordingSource::DialVerb;
        let open = self.open_recording(source, dual, callback, dialing.page).await;
        dialing.recording = Some(open);
    }

    fn stop_dial_recording(&mut self, dialing: &mut Dialing<'_>) {
        if let Some(open) = dialing.recording.take() {
            let recording = self.close_recording(open);
            dialing.last_recording = recording.filter(|recording| recording.duration_s() > 0);
        }
    }

    /// A leg is over; the first word about it stands.
    async fn end_leg(&mut self, dialing: &mut Dialing<'_>, place: usize, status: CallStatus) {
        if dialing.legs[place].ended.is_some() {
            return;
        }
        let leg = dialing.legs[place].leg;
        let now = self.legs.now();
        self.legs.hang_up(leg).await;
        dialing.legs[place].ended = Some(status);
        self.change_leg(leg, |call| {
            call.status = status;
            call.ended_at = Some(now);
        });
        if dialing.legs[place].answered_at.is_some() {
            dialing.answered_s = Some(self.with_leg(leg, |call| call.duration_s()));
            self.stop_dial_recording(dialing);
        } else if dialing.reported.is_none() {
            dialing.reported = Some(place);
        }
        self.report_step(dialing, place).await;
    }

    async fn end_open_legs(&mut self, dialing: &mut Dialing<'_>, status: CallStatus) {
        for place in 0..dialing.legs.len() {
            self.end_leg(dialing, place, status).await;
        }
    }

    /// One leg is going to be connected: the others stop ringing.
    async fn end_other_legs(&mut self, dialing: &mut Dialing<'_>, connected: usize) {
        for place in (0..dialing.legs.len()).filter(|place| *place != connected) {
            self.end_leg(dialing, place, CallStatus::Canceled).await;
        }
    }

    /// The caller left before anybody was connected.
    async fn abandon(&mut self, dialing: &mut Dialing<'_>, first: usize) {
        dialing.caller_left = true;
        self.progress.abandoned = true;
        self.set_final_status(if self.answered { CallStatus::Completed } else { CallStatus::Canceled });
        for place in first..dialing.legs.len() {
            let status = match (dialing.legs[place].answered_at, self.abandoned_dial) {
                (Some(_), _) => CallStatus::Completed,
                (None, AbandonedDial::Canceled) => CallStatus::Canceled,
                (None, AbandonedDial::NoAnswer | AbandonedDial::None) => CallStatus::NoAnswer,
            };
            self.end_leg(dialing, place, status).await;
        }
    }

    /// Posts a step of a leg to its statusCallback, if that step is wanted.
    async fn report_step(&mut self, dialing: &mut Dialing<'_>, place: usize) {
        let dialed = &mut dialing.legs[place];
        let status = self.with_leg(dialed.leg, |call| Some(call.status));
        let events = dialed.target.events;
        let wanted = match status {
            Some(CallStatus::Initiated | CallStatus::Queued) => events.initiated,
            Some(CallStatus::Ringing) => events.ringing,
            Some(CallStatus::InProgress) => events.answered,
            Some(
                CallStatus::Completed
                | CallStatus::Busy
                | CallStatus::Failed
                | CallStatus::NoAnswer
                | CallStatus::Canceled,
            ) => events.completed,
            None => false,
        };
        let sequence_number = dialed.sequence_number;
        dialed.sequence_number += 1;
        let Some(link) = dialed.target.status_callback.as_ref().filter(|_| wanted) else {
            return;
        };
        let recording = (dialing.last_recording.as_ref())
            .filter(|_| dialed.ended.is_some() && dialed.answered_at.is_some())
            .map(|recording| (recording, self.recording_url(&recording.sid)));
        let now = self.legs.now();
        let params = self.with_leg(dialed.leg, |call| {
            let recording = recording.as_ref().map(|(recording, url)| (*recording, url.as_str()));
            callbacks::leg_status(call, sequence_number, now, recording)
        });
        let request = self.request(Hook::LegStatus, dialed.leg, link, dialing.page, params);
        if let Some(request) = request {
            self.webhooks.notify(request).await;
        }
    }

    /// Reports the Dial to its action, or goes on with the next verb when there is none.
    async fn after_dial(&mut self, dialing: Dialing<'_>) -> Next {
        let status = dialing.status();
        self.progress.dial_ended = Some(status);
        let abandoned = dialing.caller_left && !dialing.bridged;
        let silent = abandoned && self.abandoned_dial == AbandonedDial::None;
        let Some(action) = dialing.dial.action.as_ref().filter(|_| !silent) else {
            return if dialing.caller_left { Next::End(End::CallerLeft) } else { Next::Verb };
        };
        match self.action_request(&dialing, action, status) {
            Some(request) => self.obey_if_present(request).await,
            None => Next::End(End::Document),
        }
    }

    fn action_request(&self, dialing: &Dialing<'_>, action: &Link, status: CallStatus) -> Option<Request> {
        let reported = dialing.reported.map(|place| &dialing.legs[place]);
        let recording = dialing.last_recording.as_ref();
        let report = DialReport {
            status: status.word(),
            child_sid: reported.map(|dialed| self.leg_sids[dialed.leg.0].clone()),
            duration_s: dialing.answered_s,
            bridged: dialing.bridged,
            recording_url: recording.map(|recording| self.recording_url(&recording.sid)),
        };
        let params = self.with_leg(CALLER, |call| callbacks::dial_action(call, &report));
        self.request(Hook::Dial, CALLER, action, dialing.page, params)
    }
}

impl Dialing<'_> {
    fn place_of(&self, leg: LegId) -> usize {
        self.legs
            .iter()
            .position(|dialed| dialed.leg == leg)
            .expect("the legs tell only of legs that this Dial has placed")
    }

    /// One word for all the legs: the best that happened.
    fn status(&self) -> CallStatus {
        [CallStatus::Completed, CallStatus::NoAnswer, CallStatus::Busy, CallStatus::Canceled]
            .into_iter()
            .find(|status| self.legs.iter().any(|dialed| dialed.ended == Some(*status)))
            .unwrap_or(CallStatus::Failed)
    }
}

/// A number with a country code, a SIP URI or a client; short and emergency numbers are not for customers to dial.
fn is_callable(address: &str) -> bool {
    stock::is_e164(address) || address.starts_with("sip:") || address.starts_with("client:")
}
