//! The life of an inbound call around its documents: begins it, states its end, and afterwards delivers what takes the
//! carrier some time, the recordings and transcriptions. Decides the final status and the order of the last callbacks.

use std::sync::Arc;

use jiff::SignedDuration;
use tokio::sync::mpsc;

use crate::account::Account;
use crate::callbacks;
use crate::faults::{CountedFault, Hook};
use crate::interpreter::{End, Interpreter, Remains};
use crate::recorder::{FinishedRecording, WantedTranscription, recording_url};
use crate::records::{
    Call, CallStatus, IncomingPhoneNumber, Outcome, Recording, RecordingStatus, Transcription,
    TranscriptionStatus,
};
use crate::scenario::CallScript;
use crate::sid::{SidKind, seeded_hash};
use crate::sim_legs::SimLegs;
use crate::state::Carrier;
use crate::trace::Subject;
use crate::twiml::Method;
use crate::webhooks::{Request, Webhooks};

/// Hang-up commands waiting for a call; more are refused as the call is ending anyway.
const COMMANDS_MAX: usize = 16;
/// A recording is available this long after the call's end; observed at the real carrier.
const RECORDING_DELAY_S: std::ops::RangeInclusive<u64> = 2..=35;
/// A transcription takes this long after its recording is available.
const TRANSCRIPTION_DELAY_S: std::ops::RangeInclusive<u64> = 3..=20;
/// Only recordings longer than 2 s and shorter than 2 minutes are transcribed.
const TRANSCRIBED_S: std::ops::Range<u32> = 3..120;

/// Why a call cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Script(String),
    #[error("no account owns {0}")]
    NotOwned(String),
}

/// Begins a scripted call to an owned number and gives its SID.
pub fn start(carrier: &Arc<Carrier>, script: CallScript) -> Result<String, StartError> {
    if let Some(error) = script.find_error() {
        return Err(StartError::Script(error));
    }
    let (commands, received) = mpsc::channel(COMMANDS_MAX);
    let now = carrier.clock.now();
    let mut state = carrier.state();
    let number = state.find_number(&script.to).cloned();
    let number = number.ok_or_else(|| StartError::NotOwned(script.to.clone()))?;
    let account = state.accounts.get(&number.account_sid).cloned();
    let account = account.ok_or_else(|| StartError::NotOwned(script.to.clone()))?;
    let sid = carrier.sids.next(SidKind::Call, account.kind);
    let mut call = Call::inbound(sid.clone(), account.kind, &number, &script, now);
    call.commands = Some(commands);
    state.calls.add(call);
    drop(state);

    let abandoned_dial = script.abandoned_dial;
    let legs = SimLegs::new(carrier.clone(), script, sid.clone(), now, received);
    let interpreter =
        Interpreter::new(carrier.clone(), account.clone(), number.clone(), sid.clone(), legs, abandoned_dial);
    let aftermath = Aftermath { carrier: carrier.clone(), account, number, call_sid: sid.clone() };
    carrier.spawn(async move {
        let remains = interpreter.run().await;
        aftermath.settle(remains).await;
    });
    Ok(sid)
}

/// What is left to do when the legs are gone.
struct Aftermath {
    carrier: Arc<Carrier>,
    account: Account,
    number: IncomingPhoneNumber,
    call_sid: String,
}

/// Something to deliver, so long after the call's end.
enum Delivery {
    Recording(FinishedRecording),
    Transcription(String, WantedTranscription),
}

impl Aftermath {
    async fn settle(&self, remains: Remains) {
        let mut webhooks = remains.webhooks;
        self.end_call(remains.end, remains.outcome, remains.ended_at);
        self.post_call_status(&mut webhooks).await;
        let mut waited = SignedDuration::ZERO;
        for (after, delivery) in self.deliveries(remains.recordings) {
            self.carrier.clock.sleep(after - waited).await;
            waited = after;
            match delivery {
                Delivery::Recording(finished) => {
                    self.deliver_recording(&mut webhooks, &finished).await;
                }
                Delivery::Transcription(recording_sid, wanted) => {
                    self.deliver_transcription(&mut webhooks, &recording_sid, wanted).await;
                }
            }
        }
        webhooks.release_held().await;
        if let Some(call) = self.carrier.state().calls.find_mut(&self.call_sid) {
            call.settled.send_replace(true);
        }
    }

    fn end_call(&self, end: End, outcome: Outcome, ended_at: jiff::Timestamp) {
        let mut state = self.carrier.state();
        let Some(call) = state.calls.find_mut(&self.call_sid) else {
            return;
        };
        call.status = match (end, call.answered_at) {
            (End::Rejected { busy: true }, _) => CallStatus::Busy,
            (End::Rejected { busy: false }, _) => CallStatus::NoAnswer,
            (End::Document | End::CallerLeft, Some(_)) => CallStatus::Completed,
            (End::CallerLeft, None) => CallStatus::Canceled,
            // Only a Dial that rang without picking up ends an unanswered call.
            (End::Document, None) => match outcome {
                Outcome::Busy => CallStatus::Busy,
                Outcome::Failed => CallStatus::Failed,
                Outcome::Answered
                | Outcome::Voicemail
                | Outcome::NoAnswer
                | Outcome::Abandoned
                | Outcome::Rejected
                | Outcome::Completed => CallStatus::NoAnswer,
            },
        };
        call.ended_at.get_or_insert(ended_at);
        call.outcome = Some(outcome);
        call.commands = None;
    }

    async fn post_call_status(&self, webhooks: &mut Webhooks) {
        let Some(url) = self.number.find_setting("status_callback") else {
            return;
        };
        let params = {
            let state = self.carrier.state();
            let Some(call) = state.calls.find(&self.call_sid) else {
                return;
            };
            let at = call.ended_at.unwrap_or(call.started_at);
            callbacks::call_status(call, at)
        };
        let method = self.number.find_setting("status_callback_method");
        let request = Request {
            hook: Hook::CallStatus,
            leg_sid: Some(self.call_sid.clone()),
            url: url.to_owned(),
            method: Method::of_setting(method),
            params,
        };
        webhooks.notify(request).await;
    }

    /// Recordings and transcriptions in the order they will be ready. The delays depend on the seed and the SID only.
    fn deliveries(&self, recordings: Vec<FinishedRecording>) -> Vec<(SignedDuration, Delivery)> {
        let mut deliveries = Vec::new();
        for mut finished in recordings {
            let ready_s = self.delay_s(&finished.sid, "recording", RECORDING_DELAY_S);
            if let Some(wanted) = finished.transcription.take() {
                let more_s = self.delay_s(&finished.sid, "transcription", TRANSCRIPTION_DELAY_S);
                let delivery = Delivery::Transcription(finished.sid.clone(), wanted);
                deliveries.push((ready_s + more_s, delivery));
            }
            deliveries.push((ready_s, Delivery::Recording(finished)));
        }
        deliveries.sort_by_key(|(after, _)| *after);
        deliveries
    }

    fn delay_s(&self, sid: &str, what: &str, range: std::ops::RangeInclusive<u64>) -> SignedDuration {
        let span = range.end() - range.start() + 1;
        let seconds = range.start() + seeded_hash(self.carrier.seed, &format!("{sid}{what}")) % span;
        SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(0))
    }

    async fn deliver_recording(&self, webhooks: &mut Webhooks, finished: &FinishedRecording) {
        let Some(recording) = self.complete_recording(&finished.sid) else {
            return;
        };
        let Some(callback) = &finished.callback else {
            return;
        };
        let wanted =
            if recording.status == RecordingStatus::Absent { callback.absent } else { callback.completed };
        if wanted {
            let url = self.recording_url(&recording.sid);
            webhooks.notify(callback.request(&recording, &url)).await;
        }
    }

    /// From here on the media can be fetched, unless there is none. Nothing when the recording was deleted meanwhile.
    fn complete_recording(&self, sid: &str) -> Option<Recording> {
        let mut state = self.carrier.state();
        let recording = state.recordings.find_mut(sid)?;
        let absent = recording.duration_s() == 0 || self.carrier.faults.take(CountedFault::RecordingAbsent);
        recording.status = if absent { RecordingStatus::Absent } else { RecordingStatus::Completed };
        Some(recording.clone())
    }

    async fn deliver_transcription(
        &self,
        webhooks: &mut Webhooks,
        recording_sid: &str,
        wanted: WantedTranscription,
    ) {
        let Some(recording) = self.carrier.state().recordings.find(recording_sid).cloned() else {
            return;
        };
        if recording.status == RecordingStatus::Absent {
            return;
        }
        if !TRANSCRIBED_S.contains(&recording.duration_s()) {
            let subject = Subject { sid: Some(&self.call_sid), leg_sid: None };
            let text = "the recording is too short or too long to be transcribed";
            self.carrier.warn(subject, 13_617, text);
            return;
        }
        let transcription = self.transcribe(&recording, wanted.text);
        let Some(url) = wanted.callback_url else {
            return;
        };
        let recording_url = self.recording_url(&recording.sid);
        let transcription_url =
            format!("{}{}/Transcriptions/{}", self.carrier.base_url, self.account.path(), transcription.sid);
        let params = {
            let state = self.carrier.state();
            let Some(call) = state.calls.find(&self.call_sid) else {
                return;
            };
            callbacks::transcription(call, &transcription, &transcription_url, &recording_url)
        };
        let request = Request { hook: Hook::Transcription, leg_sid: None, url, method: Method::Post, params };
        webhooks.notify(request).await;
    }

    fn transcribe(&self, recording: &Recording, text: String) -> Transcription {
        let failed = self.carrier.faults.take(CountedFault::TranscriptionFailed);
        let (status, text) = if failed {
            (TranscriptionStatus::Failed, String::new())
        } else {
            (TranscriptionStatus::Completed, text)
        };
        let kind = self.account.kind;
        let transcription = Transcription {
            sid: self.carrier.sids.next(SidKind::Transcription, kind),
            account_sid: self.account.sid.clone(),
            recording_sid: recording.sid.clone(),
            status,
            text,
            seconds: recording.duration_s(),
            created_at: self.carrier.clock.now(),
        };
        let mut state = self.carrier.state();
        state.transcriptions.add(transcription.clone());
        transcription
    }

    fn recording_url(&self, sid: &str) -> String {
        recording_url(&self.carrier.base_url, &self.account.path(), sid)
    }
}
