//! Voicemails: messages that callers left when nobody was reached. Each is one recording of a call, with a
//! transcription if the tracker wants one. `voicemail.received` is told once, when the call was finished, the
//! audio is ours (or can't be had), and the transcription came, failed, is off or is overdue.
//!
//! Odd facts (carrier's page "Record"): a carrier transcribes nothing shorter than 2 s or longer than 120 s,
//! and doesn't say so; a transcription may come before the recording's own callback.

mod json;
pub mod update;

use std::time::Duration;

use self::update::Update;
use crate::calls::{self, Call, Via};
use crate::companies::Scope;
use crate::ctx::Ctx;
use crate::db::{self, Db, FromRow, Row, Tx, Wake, sql};
use crate::events::{self, EventType};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CallId, CompanyId, RecordingId, TrackerId, VoicemailId};
use crate::kernel::page::{Listed, Page};
use crate::recordings::link::Links;
use crate::recordings::update::Kind;
use crate::recordings::{self, Format, Recording, State};
use crate::trackers;

/// How long a transcription is waited for. Carriers take about as long as the message lasts, two minutes at
/// most.
pub const TRANSCRIPTION_WAIT: Duration = Duration::from_secs(5 * 60);
/// The lengths, in seconds, that carriers transcribe.
const TRANSCRIBED_S: std::ops::RangeInclusive<u32> = 2..=119;
/// Voicemails told of in one run at most; the rest is the next run's.
const BATCH_MAX: i64 = 200;

/// Whether there is a text, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranscriptionStatus {
    /// The carrier is at it.
    Pending,
    Completed,
    /// The carrier couldn't, or said nothing in time.
    Failed,
    /// The tracker doesn't want one, or the message is too short or too long for one.
    Off,
}

impl TranscriptionStatus {
    const ALL: [TranscriptionStatus; 4] = [
        TranscriptionStatus::Pending,
        TranscriptionStatus::Completed,
        TranscriptionStatus::Failed,
        TranscriptionStatus::Off,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            TranscriptionStatus::Pending => "pending",
            TranscriptionStatus::Completed => "completed",
            TranscriptionStatus::Failed => "failed",
            TranscriptionStatus::Off => "off",
        }
    }

    fn parse(text: &str) -> Option<TranscriptionStatus> {
        TranscriptionStatus::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// A voicemail as stored.
#[derive(Clone)]
pub struct Voicemail {
    pub id: VoicemailId,
    pub company_id: CompanyId,
    pub company_name: String,
    pub call_id: CallId,
    pub tracker_id: TrackerId,
    pub tracker_name: String,
    pub tracking_number: String,
    /// "" if it was withheld.
    pub caller_number: String,
    pub caller_name: String,
    pub recording_id: RecordingId,
    pub recording_state: State,
    pub recording_duration_s: u32,
    /// None unless the audio is stored.
    pub format: Option<Format>,
    pub transcription: String,
    pub transcription_status: TranscriptionStatus,
    pub created_at: Micros,
}

/// Shows neither numbers nor what was said.
impl std::fmt::Debug for Voicemail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voicemail")
            .field("id", &self.id)
            .field("call_id", &self.call_id)
            .finish_non_exhaustive()
    }
}

const SELECT: &str = "select v.id, v.company_id, co.name, v.call_id, v.tracker_id, t.name, c.tracking_number,
    c.caller_number, c.caller_name, r.id, r.state, r.duration_s, r.content_type, v.transcription,
    v.transcription_status, v.created_at
    from voicemails v join companies co on co.id = v.company_id join trackers t on t.id = v.tracker_id
    join calls c on c.id = v.call_id join recordings r on r.id = v.recording_id ";

impl FromRow for Voicemail {
    fn from_row(row: &mut Row<'_>) -> db::Result<Voicemail> {
        let unknown = |what| db::Error::Internal(format!("a voicemail has an unknown {what}"));
        Ok(Voicemail {
            id: row.get()?,
            company_id: row.get()?,
            company_name: row.get()?,
            call_id: row.get()?,
            tracker_id: row.get()?,
            tracker_name: row.get()?,
            tracking_number: row.get()?,
            caller_number: row.get()?,
            caller_name: row.get()?,
            recording_id: row.get()?,
            recording_state: State::parse(&row.get::<String>()?).ok_or_else(|| unknown("recording state"))?,
            recording_duration_s: row.get()?,
            format: Format::of_content_type(&row.get::<String>()?),
            transcription: row.get()?,
            transcription_status: TranscriptionStatus::parse(&row.get::<String>()?)
                .ok_or_else(|| unknown("transcription status"))?,
            created_at: row.get()?,
        })
    }
}

/// Takes in that a recording of a call is there. Only a voicemail's, with something in it, makes one. The
/// caller holds the call.
///
/// # Errors
/// The database's.
pub fn record_recording(tx: &mut Tx<'_>, call: &Call, recording: &Recording) -> db::Result<()> {
    if recording.kind != Kind::Voicemail || recording.duration_s == 0 {
        return Ok(());
    }
    let scope = Scope::of(call.company_id);
    let tracker = trackers::find(tx, scope, call.tracker_id)?;
    let wanted = tracker.is_some_and(|view| view.tracker.settings.transcription_enabled);
    let status = if wanted && TRANSCRIBED_S.contains(&recording.duration_s) {
        TranscriptionStatus::Pending
    } else {
        TranscriptionStatus::Off
    };
    insert(tx, call, recording, status, "")?;
    Ok(())
}

/// Takes in what a carrier told of a transcription. False: the call is unknown.
///
/// # Errors
/// The database's.
pub fn record_transcription(tx: &mut Tx<'_>, via: Via, update: &Update) -> db::Result<bool> {
    let Some(call) = calls::find_by_carrier_id(tx, via.carrier, &update.carrier_call_id)? else {
        return Ok(false);
    };
    let call = calls::hold(tx, call.id)?;
    let scope = Scope::of(call.company_id);
    let told = &update.carrier_recording_id;
    let recording = recordings::ensure(tx, scope, via.carrier, call.id, told, Kind::Voicemail)?;
    let status = match update.text {
        Some(_) => TranscriptionStatus::Completed,
        None => TranscriptionStatus::Failed,
    };
    let text = update.text.as_deref().unwrap_or_default();
    if insert(tx, &call, &recording, status, text)? {
        return Ok(true);
    }
    // A text that came once stays: neither a failure told late nor a repetition changes it.
    tx.execute(
        sql("update voicemails set transcription = ?, transcription_status = ?, transcription_due_at = null
             where recording_id = ? and transcription_status <> ?")
        .bind(text)
        .bind(status.as_str())
        .bind(recording.id)
        .bind(TranscriptionStatus::Completed.as_str()),
    )?;
    tx.wake(Wake::Recordings);
    Ok(true)
}

/// False if the recording has its voicemail already.
fn insert(
    tx: &mut Tx<'_>,
    call: &Call,
    recording: &Recording,
    status: TranscriptionStatus,
    transcription: &str,
) -> db::Result<bool> {
    let now = tx.now();
    let due = (status == TranscriptionStatus::Pending).then(|| now.after(TRANSCRIPTION_WAIT));
    let made = tx.execute(
        sql("insert into voicemails (company_id, call_id, tracker_id, recording_id, transcription,
             transcription_status, transcription_due_at, created_at) values (?, ?, ?, ?, ?, ?, ?, ?)
             on conflict (recording_id) do nothing")
        .bind(call.company_id)
        .bind(call.id)
        .bind(call.tracker_id)
        .bind(recording.id)
        .bind(transcription)
        .bind(status.as_str())
        .bind(due)
        .bind(now),
    )?;
    tx.wake(Wake::Recordings);
    Ok(made > 0)
}

/// Background work: tells of the voicemails that are complete, or as complete as they get. Gives their number.
///
/// # Errors
/// The database's.
pub async fn announce(ctx: &Ctx) -> db::Result<usize> {
    let due: Vec<(VoicemailId, CallId)> =
        ctx.db.read("voicemails.due", |tx| tx.all(ready(tx.now(), "").bind(BATCH_MAX))).await?;
    let (links, delete) = (Links::of(ctx), !ctx.config.recordings.keep_at_carrier);
    let telling = due.into_iter().map(|(id, call)| {
        let links = links.clone();
        ctx.db.write("voicemails.announce", move |tx| {
            let Some(recording) = announce_one(tx, &links, id, call)? else { return db::Result::Ok(false) };
            if delete {
                recordings::delete_at_carrier(tx, recording)?;
            }
            Ok(true)
        })
    });
    let told = futures_util::future::try_join_all(telling).await?;
    Ok(told.into_iter().filter(|told| *told).count())
}

/// The voicemails that can be told of; to be completed with the limit. `only` is a condition.
fn ready(now: Micros, only: &str) -> db::Sql {
    let question = format!(
        "select v.id, v.call_id from voicemails v join recordings r on r.id = v.recording_id
         join calls c on c.id = v.call_id
         where v.announced_at is null and (v.transcription_due_at is null or v.transcription_due_at <= ?)
         and r.state <> 'pending' and c.finished_at is not null {only} order by v.id limit ?"
    );
    sql(question).bind(now)
}

/// Gives the recording, whose copy at the carrier has served; None if there is nothing to tell any more.
fn announce_one(
    tx: &mut Tx<'_>,
    links: &Links,
    id: VoicemailId,
    call: CallId,
) -> db::Result<Option<RecordingId>> {
    calls::hold(tx, call)?;
    let still = ready(tx.now(), "and v.id = ?").bind(id).bind(1_i64);
    if tx.find::<(VoicemailId, CallId)>(still)?.is_none() {
        return Ok(None);
    }
    tx.execute(
        sql("update voicemails set announced_at = ?, transcription_due_at = null,
             transcription_status = case transcription_status when 'pending' then 'failed'
             else transcription_status end where id = ?")
        .bind(tx.now())
        .bind(id),
    )?;
    let voicemail: Voicemail = tx.one(sql(format!("{SELECT} where v.id = ?")).bind(id))?;
    let data = voicemail.to_json(links, tx.now());
    events::append(tx, Scope::of(voicemail.company_id), EventType::VoicemailReceived, &data)?;
    Ok(Some(voicemail.recording_id))
}

/// A company's voicemail.
///
/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, scope: Scope, id: VoicemailId) -> db::Result<Option<Voicemail>> {
    let statement = format!("{SELECT} where v.company_id = ? and v.id = ?");
    tx.find(sql(statement).bind(scope.company()).bind(id))
}

/// A company's voicemail by its audio.
///
/// # Errors
/// The database's.
pub fn find_by_recording(tx: &mut Tx<'_>, scope: Scope, id: RecordingId) -> db::Result<Option<Voicemail>> {
    let statement = format!("{SELECT} where v.company_id = ? and v.recording_id = ?");
    tx.find(sql(statement).bind(scope.company()).bind(id))
}

/// A page, newest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, page: Page) -> db::Result<Listed<Voicemail>> {
    let rows = db
        .read("voicemails.list", move |tx| {
            let statement =
                format!("{SELECT} where v.company_id = ? and v.id < ? order by v.id desc limit ?");
            tx.all(
                sql(statement)
                    .bind(scope.company())
                    .bind(page.after.unwrap_or(i64::MAX))
                    .bind(page.fetch_limit()),
            )
        })
        .await?;
    Ok(Listed::new(rows, page, |voicemail: &Voicemail| voicemail.id.0))
}
