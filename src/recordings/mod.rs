//! Recordings: the audio of conversations and voicemails, from when a carrier tells of one until it lies in our
//! own folder and is deleted at the carrier's. Here: the rows and their states, the files ([`files`]), and the
//! signed links ([`link`]). Fetching is `carriers::collect`; what is announced when is decided by `calls` and
//! `voicemails`, because an announcement shows their objects.
//!
//! Odd facts (carrier's page "Recording status callback"): a recording may be told of before its audio can be
//! fetched, before the call's end, twice, and of a Dial in which nobody was connected (then it holds the
//! whisper).

pub mod files;
mod format;
pub mod link;
pub mod update;

use std::time::Duration;

pub use self::format::Format;
use self::update::{Kind, Outcome, Update};
use crate::companies::Scope;
use crate::db::{self, FromRow, Row, Tx, Wake, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CallId, CarrierId, CompanyId, RecordingId};

/// Gaps between the attempts to fetch a recording, or to delete it at the carrier; after the last it is given
/// up. A carrier may need a minute to have the audio ready, and may be down for hours.
pub const RETRY_GAPS: [Duration; 6] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(6 * 3600),
];

/// How long after a failure of our own disk a recording is fetched again.
const DISK_WAIT: Duration = Duration::from_secs(5 * 60);

/// Where a recording is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Told of, and to be fetched.
    Pending,
    /// The audio is in our folder.
    Stored,
    /// It couldn't be fetched, or the carrier says that it failed.
    Failed,
    /// The carrier says that there is no audio.
    Absent,
    /// Not kept, because nobody was connected.
    Discarded,
}

impl State {
    const ALL: [State; 5] = [State::Pending, State::Stored, State::Failed, State::Absent, State::Discarded];

    pub fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Stored => "stored",
            State::Failed => "failed",
            State::Absent => "absent",
            State::Discarded => "discarded",
        }
    }

    pub fn parse(text: &str) -> Option<State> {
        State::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// A recording as stored.
#[derive(Clone, Debug)]
pub struct Recording {
    pub id: RecordingId,
    pub company_id: CompanyId,
    pub call_id: CallId,
    pub carrier_id: CarrierId,
    pub carrier_recording_id: String,
    pub kind: Kind,
    pub state: State,
    /// As the carrier wrote it; "" while it has only told of the transcription.
    pub media_url: String,
    pub duration_s: u32,
    /// Known once the audio is stored.
    pub format: Option<Format>,
    /// Below the folder of recordings; "" unless stored.
    pub path: String,
    pub fetch_attempts: u32,
    pub delete_attempts: u32,
    pub announced_at: Option<Micros>,
    pub created_at: Micros,
}

const COLUMNS: &str = "id, company_id, call_id, carrier_id, carrier_recording_id, kind, state, media_url,
    duration_s, content_type, path, fetch_attempts, delete_attempts, announced_at, created_at";

impl FromRow for Recording {
    fn from_row(row: &mut Row<'_>) -> db::Result<Recording> {
        let unknown = |what| db::Error::Internal(format!("a recording has an unknown {what}"));
        Ok(Recording {
            id: row.get()?,
            company_id: row.get()?,
            call_id: row.get()?,
            carrier_id: row.get()?,
            carrier_recording_id: row.get()?,
            kind: parse_kind(&row.get::<String>()?).ok_or_else(|| unknown("kind"))?,
            state: State::parse(&row.get::<String>()?).ok_or_else(|| unknown("state"))?,
            media_url: row.get()?,
            duration_s: row.get()?,
            format: Format::of_content_type(&row.get::<String>()?),
            path: row.get()?,
            fetch_attempts: row.get()?,
            delete_attempts: row.get()?,
            announced_at: row.get()?,
            created_at: row.get()?,
        })
    }
}

impl Recording {
    /// Whether the carrier has said what became of it: until then only its transcription was told.
    pub fn is_told(&self) -> bool {
        self.state != State::Pending || !self.media_url.is_empty()
    }
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Call => "call",
        Kind::Voicemail => "voicemail",
    }
}

fn parse_kind(text: &str) -> Option<Kind> {
    [Kind::Call, Kind::Voicemail].into_iter().find(|kind| kind_word(*kind) == text)
}

/// Takes in what a carrier told of a call's recording. None while there is nothing to know yet.
///
/// The caller holds the call's lock, so that two callbacks of one recording come one after the other. `likely`
/// is the kind of one that neither this update nor an earlier one names.
///
/// # Errors
/// The database's.
pub fn record(
    tx: &mut Tx<'_>,
    scope: Scope,
    carrier: CarrierId,
    call: CallId,
    update: &Update,
    likely: Kind,
) -> db::Result<Option<Recording>> {
    let audio = match &update.outcome {
        Outcome::InProgress => return Ok(None),
        Outcome::Completed(audio) => Some(audio),
        Outcome::Absent | Outcome::Failed => None,
    };
    let state = match &update.outcome {
        Outcome::InProgress | Outcome::Completed(_) => State::Pending,
        Outcome::Absent => State::Absent,
        Outcome::Failed => State::Failed,
    };
    let kind = update.kind.unwrap_or(likely);
    let recording = ensure(tx, scope, carrier, call, &update.carrier_recording_id, kind)?;
    // What was decided once stands: a repeated callback changes nothing.
    if recording.is_told() {
        return Ok(Some(recording));
    }
    let due = audio.is_some().then(|| tx.now());
    if due.is_some() {
        tx.wake(Wake::Recordings);
    }
    let statement = "update recordings set kind = ?, state = ?, media_url = ?, duration_s = ?, failure = ?,
                     fetch_due_at = ? where id = ? returning ";
    tx.one(
        sql(format!("{statement}{COLUMNS}"))
            .bind(kind_word(update.kind.unwrap_or(recording.kind)))
            .bind(state.as_str())
            .bind(audio.map_or("", |audio| audio.media_url.as_str()))
            .bind(audio.map_or(0, |audio| i64::from(audio.duration_s)))
            .bind(if state == State::Failed { "carrier" } else { "" })
            .bind(due)
            .bind(recording.id),
    )
    .map(Some)
}

/// The row of a recording, made if the carrier has not told of it yet: a voicemail's transcription may come
/// before its recording. The caller holds the call's lock.
///
/// # Errors
/// The database's.
pub fn ensure(
    tx: &mut Tx<'_>,
    scope: Scope,
    carrier: CarrierId,
    call: CallId,
    carrier_recording_id: &str,
    kind: Kind,
) -> db::Result<Recording> {
    let found = format!("select {COLUMNS} from recordings where carrier_id = ? and carrier_recording_id = ?");
    if let Some(known) = tx.find(sql(found).bind(carrier).bind(carrier_recording_id))? {
        return Ok(known);
    }
    let statement = "insert into recordings (company_id, call_id, carrier_id, carrier_recording_id, kind, state,
                     media_url, duration_s, content_type, path, bytes, fetch_attempts, failure, delete_attempts,
                     created_at) values (?, ?, ?, ?, ?, ?, '', 0, '', '', 0, 0, '', 0, ?) returning ";
    tx.one(
        sql(format!("{statement}{COLUMNS}"))
            .bind(scope.company())
            .bind(call)
            .bind(carrier)
            .bind(carrier_recording_id)
            .bind(kind_word(kind))
            .bind(State::Pending.as_str())
            .bind(tx.now()),
    )
}

/// The carrier was asked what it recorded of a call, and doesn't know of the recordings that it never told of.
///
/// # Errors
/// The database's.
pub fn give_up_untold(tx: &mut Tx<'_>, call: CallId) -> db::Result<()> {
    let statement = "update recordings set state = ? where call_id = ? and state = ? and media_url = ''";
    tx.execute(sql(statement).bind(State::Absent.as_str()).bind(call).bind(State::Pending.as_str()))?;
    Ok(())
}

/// A recording, whoever's: for links, whose signature is the permission, and for background work.
///
/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, id: RecordingId) -> db::Result<Option<Recording>> {
    tx.find(sql(format!("select {COLUMNS} from recordings where id = ?")).bind(id))
}

/// The recordings of a call, oldest first.
///
/// # Errors
/// The database's.
pub fn of_call(tx: &mut Tx<'_>, call: CallId) -> db::Result<Vec<Recording>> {
    tx.all(sql(format!("select {COLUMNS} from recordings where call_id = ? order by id")).bind(call))
}

/// Those that are to be fetched now, the longest waiting first.
///
/// # Errors
/// The database's.
pub fn due_to_fetch(tx: &mut Tx<'_>, now: Micros, limit: i64) -> db::Result<Vec<Recording>> {
    let due = "where fetch_due_at is not null and fetch_due_at <= ? order by fetch_due_at limit ?";
    tx.all(sql(format!("select {COLUMNS} from recordings {due}")).bind(now).bind(limit))
}

/// Those that are to be deleted at the carrier now, the longest waiting first.
///
/// # Errors
/// The database's.
pub fn due_to_delete(tx: &mut Tx<'_>, now: Micros, limit: i64) -> db::Result<Vec<Recording>> {
    let due = "where delete_due_at is not null and delete_due_at <= ? order by delete_due_at limit ?";
    tx.all(sql(format!("select {COLUMNS} from recordings {due}")).bind(now).bind(limit))
}

/// The audio is in our folder. `delete`: the carrier's copy isn't needed any more. Gives the state that the
/// recording has now: not stored, if it was discarded meanwhile, so that the file has to go.
///
/// # Errors
/// The database's.
pub fn stored(tx: &mut Tx<'_>, id: RecordingId, file: &files::Kept, delete: bool) -> db::Result<State> {
    let now = tx.now();
    tx.execute(
        sql("update recordings set state = ?, path = ?, content_type = ?, bytes = ?, stored_at = ?, failure = '',
             fetch_due_at = null, delete_due_at = ? where id = ? and state = ?")
        .bind(State::Stored.as_str())
        .bind(&file.path)
        .bind(file.format.content_type())
        .bind(i64::try_from(file.bytes).unwrap_or(i64::MAX))
        .bind(now)
        .bind(delete.then_some(now))
        .bind(id)
        .bind(State::Pending.as_str()),
    )?;
    let found = find(tx, id)?.ok_or_else(|| db::Error::Internal(format!("recording {id} is gone")))?;
    Ok(found.state)
}

/// The carrier's copy of what is stored isn't needed any more.
///
/// # Errors
/// The database's.
pub fn delete_at_carrier(tx: &mut Tx<'_>, id: RecordingId) -> db::Result<()> {
    let statement = "update recordings set delete_due_at = ? where id = ? and state = ?";
    tx.execute(sql(statement).bind(tx.now()).bind(id).bind(State::Stored.as_str()))?;
    tx.wake(Wake::Recordings);
    Ok(())
}

/// An attempt to fetch failed, for a reason in a word. Gives the state that follows: pending again, or failed
/// if it was the last. Of two attempts at the same time one counts.
///
/// # Errors
/// The database's.
pub fn fetch_failed(tx: &mut Tx<'_>, recording: &Recording, failure: &str) -> db::Result<State> {
    let due = retry_at(tx.now(), recording.fetch_attempts);
    let state = if due.is_some() { State::Pending } else { State::Failed };
    tx.execute(
        sql("update recordings set state = ?, failure = ?, fetch_attempts = fetch_attempts + 1, fetch_due_at = ?
             where id = ? and state = ? and fetch_attempts = ?")
        .bind(state.as_str())
        .bind(failure)
        .bind(due)
        .bind(recording.id)
        .bind(State::Pending.as_str())
        .bind(i64::from(recording.fetch_attempts)),
    )?;
    Ok(state)
}

/// The audio couldn't be kept for a reason of our own, such as a full disk: that isn't counted as an attempt,
/// since the carrier keeps its copy until we have one.
///
/// # Errors
/// The database's.
pub fn postpone_fetch(tx: &mut Tx<'_>, id: RecordingId, failure: &str) -> db::Result<()> {
    let due = tx.now().after(DISK_WAIT);
    tx.execute(
        sql("update recordings set failure = ?, fetch_due_at = ? where id = ? and state = ?")
            .bind(failure)
            .bind(due)
            .bind(id)
            .bind(State::Pending.as_str()),
    )?;
    Ok(())
}

/// The carrier has no copy any more.
///
/// # Errors
/// The database's.
pub fn deleted_at_carrier(tx: &mut Tx<'_>, id: RecordingId) -> db::Result<()> {
    tx.execute(sql("update recordings set delete_due_at = null where id = ?").bind(id))?;
    Ok(())
}

/// The carrier couldn't be asked to delete its copy. False if that is given up.
///
/// # Errors
/// The database's.
pub fn delete_failed(tx: &mut Tx<'_>, recording: &Recording) -> db::Result<bool> {
    let due = retry_at(tx.now(), recording.delete_attempts);
    let statement = "update recordings set delete_due_at = ?, delete_attempts = delete_attempts + 1
         where id = ? and delete_attempts = ?";
    let attempts = i64::from(recording.delete_attempts);
    tx.execute(sql(statement).bind(due).bind(recording.id).bind(attempts))?;
    Ok(due.is_some())
}

/// Gives up what was recorded of a call in which nobody was connected: it isn't fetched, and the carrier is
/// asked to delete it even if its copies are kept otherwise. A file that is here already goes in the same run
/// that asks the carrier.
///
/// # Errors
/// The database's.
pub fn discard(tx: &mut Tx<'_>, id: RecordingId) -> db::Result<()> {
    let now = tx.now();
    let changed = tx.execute(
        sql("update recordings set state = ?, fetch_due_at = null, delete_due_at = ?
             where id = ? and state in ('pending', 'stored') and announced_at is null")
        .bind(State::Discarded.as_str())
        .bind(now)
        .bind(id),
    )?;
    if changed > 0 {
        tx.wake(Wake::Recordings);
    }
    Ok(())
}

/// Notes that the recording was told of. False if it was before.
///
/// # Errors
/// The database's.
pub fn announce(tx: &mut Tx<'_>, id: RecordingId) -> db::Result<bool> {
    let statement = "update recordings set announced_at = ? where id = ? and announced_at is null";
    Ok(tx.execute(sql(statement).bind(tx.now()).bind(id))? > 0)
}

fn retry_at(now: Micros, attempts: u32) -> Option<Micros> {
    let gap = RETRY_GAPS.get(usize::try_from(attempts).unwrap_or(usize::MAX))?;
    Some(now.after(*gap))
}
