//! Recordings and their transcriptions while a call is in progress: when they begin and end, and what is to be told about
//! them afterwards (`calls` does the telling, as the carrier needs some time for it).

use crate::callbacks;
use crate::faults::Hook;
use crate::interpreter::{Interpreter, Page};
use crate::legs::{Legs, Recorded, RecordingHandle};
use crate::records::{Recording, RecordingSource, RecordingStatus};
use crate::sid::SidKind;
use crate::twiml::{Method, Record, RecordingCallback, StartRecording};
use crate::webhooks::{Request, resolve};

/// A recording in progress.
#[derive(Debug)]
pub(crate) struct OpenRecording {
    pub sid: String,
    /// Absent for a Record verb, whose sound the legs give back as a whole.
    handle: Option<RecordingHandle>,
    dual: bool,
    callback: Option<StatusCallback>,
}

/// A recording whose end was reached, and who wants to hear of it.
#[derive(Clone, Debug)]
pub struct FinishedRecording {
    pub sid: String,
    pub callback: Option<StatusCallback>,
    pub transcription: Option<WantedTranscription>,
}

/// A recordingStatusCallback with its URL resolved.
#[derive(Clone, Debug)]
pub struct StatusCallback {
    pub url: String,
    pub method: Method,
    pub in_progress: bool,
    pub completed: bool,
    pub absent: bool,
}

/// A transcription that a Record asked for.
#[derive(Clone, Debug)]
pub struct WantedTranscription {
    pub callback_url: Option<String>,
    /// What was said.
    pub text: String,
}

impl<L: Legs> Interpreter<L> {
    /// Starts recording what the caller and the others say.
    pub(crate) async fn open_recording(
        &mut self,
        source: RecordingSource,
        dual: bool,
        callback: Option<&RecordingCallback>,
        page: &Page,
    ) -> OpenRecording {
        let handle = self.legs.start_recording();
        let mut open = self.add_recording(source, dual, callback, page).await;
        open.handle = Some(handle);
        open
    }

    /// Ends it. The record is complete from here on, the media not yet available.
    pub(crate) fn close_recording(&mut self, open: OpenRecording) -> Option<Recording> {
        let sound = self.legs.stop_recording(open.handle?, open.dual);
        let recording = {
            let mut state = self.carrier.state();
            let recording = state.recordings.find_mut(&open.sid)?;
            recording.status = RecordingStatus::Processing;
            recording.sound = Some(sound);
            recording.clone()
        };
        self.recordings.push(FinishedRecording {
            sid: open.sid,
            callback: open.callback,
            transcription: None,
        });
        Some(recording)
    }

    /// Starts the recording of a Record verb.
    pub(crate) async fn open_voicemail(&mut self, record: &Record, page: &Page) -> OpenRecording {
        let callback = record.recording_callback.as_ref();
        self.add_recording(RecordingSource::RecordVerb, false, callback, page).await
    }

    /// Ends it. Nothing when there was nothing to hear.
    pub(crate) fn keep_voicemail(
        &mut self,
        open: OpenRecording,
        record: &Record,
        page: &Page,
        recorded: Recorded,
    ) -> Option<Recording> {
        let recording = {
            let mut state = self.carrier.state();
            let recording = state.recordings.find_mut(&open.sid)?;
            recording.status = RecordingStatus::Processing;
            recording.started_at = recorded.started_at;
            recording.sound = Some(recorded.sound);
            recording.clone()
        };
        let callback_url = record.transcribe_callback.as_deref();
        let transcription = record.transcribe.then(|| WantedTranscription {
            callback_url: callback_url.and_then(|url| resolve(&page.url, url)),
            text: recorded.transcript.unwrap_or_default(),
        });
        self.recordings.push(FinishedRecording { sid: open.sid, callback: open.callback, transcription });
        (recording.duration_s() > 0).then_some(recording)
    }

    /// Starts a recording that lasts as long as the call.
    pub(crate) async fn start_call_recording(&mut self, start: &StartRecording, page: &Page) {
        let open = self
            .open_recording(
                RecordingSource::StartCallRecordingTwiml,
                start.dual,
                start.recording_callback.as_ref(),
                page,
            )
            .await;
        self.call_recordings.push(open);
    }

    /// Ends the recordings of the whole call.
    pub(crate) fn stop_call_recordings(&mut self) {
        for open in std::mem::take(&mut self.call_recordings) {
            self.close_recording(open);
        }
    }

    /// Where a recording is found, as callbacks write it: without an extension.
    pub(crate) fn recording_url(&self, recording_sid: &str) -> String {
        recording_url(&self.carrier.base_url, &self.account.path(), recording_sid)
    }

    async fn add_recording(
        &mut self,
        source: RecordingSource,
        dual: bool,
        callback: Option<&RecordingCallback>,
        page: &Page,
    ) -> OpenRecording {
        let sid = self.carrier.sids.next(SidKind::Recording, self.account.kind);
        let recording = Recording {
            sid: sid.clone(),
            account_sid: self.account.sid.clone(),
            call_sid: self.call_sid.clone(),
            status: RecordingStatus::InProgress,
            source,
            channels: if dual { 2 } else { 1 },
            started_at: self.legs.now(),
            sound: None,
        };
        self.carrier.state().recordings.add(recording.clone());
        let callback = callback.and_then(|callback| {
            Some(StatusCallback {
                url: resolve(&page.url, &callback.link.url)?,
                method: callback.link.method,
                in_progress: callback.in_progress,
                completed: callback.completed,
                absent: callback.absent,
            })
        });
        if let Some(callback) = callback.as_ref().filter(|callback| callback.in_progress) {
            let url = self.recording_url(&sid);
            let request = callback.request(&recording, &url);
            self.webhooks.notify(request).await;
        }
        OpenRecording { sid, handle: None, dual, callback }
    }
}

impl StatusCallback {
    /// The callback about a recording as it now is.
    pub fn request(&self, recording: &Recording, url: &str) -> Request {
        Request {
            hook: Hook::Recording,
            leg_sid: None,
            url: self.url.clone(),
            method: self.method,
            params: callbacks::recording_status(recording, url),
        }
    }
}

/// A recording's URL under the REST API.
pub fn recording_url(base_url: &str, account_path: &str, recording_sid: &str) -> String {
    format!("{base_url}{account_path}/Recordings/{recording_sid}")
}
