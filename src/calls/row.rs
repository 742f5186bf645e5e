//! A call as stored: reading its row, and writing the part that changes as its course is told.

use super::state::{Facts, Status, Treatment};
use super::update::{DialEnd, DialOutcome, End};
use crate::companies::Scope;
use crate::db::{self, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CallId, CarrierId, CompanyId, NumberId, RecordingId, TrackerId};
use crate::kernel::phone::NumberType;
use crate::recordings;
use crate::visits::attribute::Snapshot;

/// A call as stored.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: CallId,
    pub company_id: CompanyId,
    pub company_name: String,
    pub tracker_id: TrackerId,
    pub tracker_name: String,
    pub number_id: NumberId,
    pub number_type: NumberType,
    pub carrier_id: CarrierId,
    pub carrier_call_id: String,
    pub tracking_number: String,
    /// "" if it was withheld.
    pub caller_number: String,
    pub caller_name: String,
    pub caller_city: String,
    pub caller_state: String,
    pub caller_zip: String,
    pub caller_country: String,
    pub forwarded_from: String,
    pub attestation: String,
    pub is_first_time: bool,
    pub source: Source,
    /// 0 to 1; None if nobody could be meant.
    pub attribution_confidence: Option<f64>,
    pub attribution: Snapshot,
    pub status: Status,
    pub started_at: Micros,
    pub call_duration: u32,
    pub facts: Facts,
    pub ended_at: Option<Micros>,
    pub finish_due_at: Option<Micros>,
    pub finished_at: Option<Micros>,
    pub recording: Option<RecordingBrief>,
    pub note: String,
    pub value: Option<f64>,
    pub lead_status: String,
    pub spam: bool,
}

/// What the call is credited to, as it was when the call came.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub channel: String,
    pub referrer: String,
    pub keyword: String,
    pub landing_page: String,
    /// JSON: a list of URLs.
    pub pages_visited: String,
    pub gclid: String,
    pub visitor_ip: String,
}

/// What a call's object shows of its recording.
#[derive(Clone, Debug)]
pub struct RecordingBrief {
    pub id: RecordingId,
    pub state: recordings::State,
    pub duration_s: u32,
    /// None unless the audio is stored.
    pub format: Option<recordings::Format>,
}

/// Everything that [`Call::from_row`] reads, in its order, up to where the conditions begin.
pub(super) const SELECT: &str = "select c.id, c.company_id, co.name, c.tracker_id, t.name, c.number_id,
    n.number_type, c.carrier_id, c.carrier_call_id, c.tracking_number, c.caller_number, c.caller_name,
    c.caller_city, c.caller_state, c.caller_zip, c.caller_country, c.forwarded_from, c.attestation,
    c.is_first_time, c.source_channel, c.source_referrer, c.source_keyword, c.landing_page, c.pages_visited,
    c.gclid, c.visitor_ip, c.status, c.started_at, c.call_duration, c.treatment, c.leg_answered, c.leg_outcome,
    c.whisper_started, c.dial_outcome, c.dial_bridged, c.dial_duration_s, c.voicemail_s, c.end_outcome,
    c.end_duration_s, c.ended_at, c.finish_due_at, c.finished_at, r.id, r.state, r.duration_s, r.content_type,
    c.note, c.value, c.lead_status, c.spam, c.attribution_confidence, c.attribution
    from calls c join companies co on co.id = c.company_id join trackers t on t.id = c.tracker_id
    join tracking_numbers n on n.id = c.number_id left join recordings r on r.id = c.recording_id ";

impl FromRow for Call {
    fn from_row(row: &mut Row<'_>) -> db::Result<Call> {
        Ok(Call {
            id: row.get()?,
            company_id: row.get()?,
            company_name: row.get()?,
            tracker_id: row.get()?,
            tracker_name: row.get()?,
            number_id: row.get()?,
            number_type: word(row, NumberType::parse)?,
            carrier_id: row.get()?,
            carrier_call_id: row.get()?,
            tracking_number: row.get()?,
            caller_number: row.get()?,
            caller_name: row.get()?,
            caller_city: row.get()?,
            caller_state: row.get()?,
            caller_zip: row.get()?,
            caller_country: row.get()?,
            forwarded_from: row.get()?,
            attestation: row.get()?,
            is_first_time: row.get()?,
            source: read_source(row)?,
            status: word(row, Status::parse)?,
            started_at: row.get()?,
            call_duration: row.get()?,
            facts: read_facts(row)?,
            ended_at: row.get()?,
            finish_due_at: row.get()?,
            finished_at: row.get()?,
            recording: read_recording(row)?,
            note: row.get()?,
            value: row.get()?,
            lead_status: row.get()?,
            spam: row.get()?,
            attribution_confidence: row.get()?,
            attribution: Snapshot::parse(&row.get::<String>()?),
        })
    }
}

fn read_source(row: &mut Row<'_>) -> db::Result<Source> {
    Ok(Source {
        channel: row.get()?,
        referrer: row.get()?,
        keyword: row.get()?,
        landing_page: row.get()?,
        pages_visited: row.get()?,
        gclid: row.get()?,
        visitor_ip: row.get()?,
    })
}

fn read_facts(row: &mut Row<'_>) -> db::Result<Facts> {
    let treatment = word(row, Treatment::parse)?;
    let leg_answered = row.get()?;
    let leg_ended = find_word(row, parse_outcome)?;
    let whisper_started = row.get()?;
    let dial_outcome = find_word(row, parse_outcome)?;
    let (bridged, dial_duration_s) = (row.get()?, row.get()?);
    let voicemail_s = row.get()?;
    let end_outcome = find_word(row, parse_outcome)?;
    let end_duration_s = row.get()?;
    Ok(Facts {
        treatment,
        leg_answered,
        leg_ended,
        whisper_started,
        dial: dial_outcome.map(|outcome| DialEnd { outcome, bridged, duration_s: dial_duration_s }),
        voicemail_s,
        end: end_outcome.map(|outcome| End { outcome, duration_s: end_duration_s }),
    })
}

fn read_recording(row: &mut Row<'_>) -> db::Result<Option<RecordingBrief>> {
    let id: Option<RecordingId> = row.get()?;
    let state = find_word(row, recordings::State::parse)?;
    let duration_s: Option<u32> = row.get()?;
    let content_type: Option<String> = row.get()?;
    let format = content_type.as_deref().and_then(recordings::Format::of_content_type);
    let whole = id.zip(state).zip(duration_s);
    Ok(whole.map(|((id, state), duration_s)| RecordingBrief { id, state, duration_s, format }))
}

/// A column that holds one of our words.
fn word<T>(row: &mut Row<'_>, parse: fn(&str) -> Option<T>) -> db::Result<T> {
    find_word(row, parse)?.ok_or_else(|| db::Error::Internal("a call lacks a word".to_owned()))
}

fn find_word<T>(row: &mut Row<'_>, parse: fn(&str) -> Option<T>) -> db::Result<Option<T>> {
    let Some(text) = row.get::<Option<String>>()? else { return Ok(None) };
    parse(&text).map(Some).ok_or_else(|| db::Error::Internal(format!("a call has the unknown word {text:?}")))
}

fn outcome_word(outcome: DialOutcome) -> &'static str {
    match outcome {
        DialOutcome::Completed => "completed",
        DialOutcome::Busy => "busy",
        DialOutcome::NoAnswer => "no_answer",
        DialOutcome::Failed => "failed",
        DialOutcome::Canceled => "canceled",
    }
}

fn parse_outcome(text: &str) -> Option<DialOutcome> {
    use DialOutcome::{Busy, Canceled, Completed, Failed, NoAnswer};
    [Completed, Busy, NoAnswer, Failed, Canceled].into_iter().find(|outcome| outcome_word(*outcome) == text)
}

/// The call, whoever's: for background work that read its id off a row.
///
/// # Errors
/// The database's.
pub(super) fn get_any(tx: &mut Tx<'_>, id: CallId) -> db::Result<Call> {
    tx.one(sql(format!("{SELECT} where c.id = ?")).bind(id))
}

/// A company's call.
///
/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, scope: Scope, id: CallId) -> db::Result<Option<Call>> {
    let statement = format!("{SELECT} where c.company_id = ? and c.id = ?");
    tx.find(sql(statement).bind(scope.company()).bind(id))
}

/// The call that a carrier means.
///
/// # Errors
/// The database's.
pub fn find_by_carrier_id(
    tx: &mut Tx<'_>,
    carrier: CarrierId,
    carrier_call_id: &str,
) -> db::Result<Option<Call>> {
    let statement = format!("{SELECT} where c.carrier_id = ? and c.carrier_call_id = ?");
    tx.find(sql(statement).bind(carrier).bind(carrier_call_id))
}

/// Writes the call's course: facts, status and times.
///
/// # Errors
/// The database's.
pub(super) fn save_course(tx: &mut Tx<'_>, call: &Call) -> db::Result<()> {
    let facts = &call.facts;
    let (dial, end) = (facts.dial.as_ref(), facts.end.as_ref());
    tx.execute(
        sql("update calls set status = ?, call_duration = ?, leg_answered = ?, leg_outcome = ?,
             whisper_started = ?, dial_outcome = ?, dial_bridged = ?, dial_duration_s = ?, voicemail_s = ?,
             end_outcome = ?, end_duration_s = ?, ended_at = ?, finish_due_at = ?, finished_at = ?,
             checked_at = ? where id = ?")
        .bind(call.status.as_str())
        .bind(i64::from(call.call_duration))
        .bind(facts.leg_answered)
        .bind(facts.leg_ended.map(outcome_word))
        .bind(facts.whisper_started)
        .bind(dial.map(|dial| outcome_word(dial.outcome)))
        .bind(dial.and_then(|dial| dial.bridged))
        .bind(dial.and_then(|dial| dial.duration_s).map(i64::from))
        .bind(facts.voicemail_s.map(i64::from))
        .bind(end.map(|end| outcome_word(end.outcome)))
        .bind(end.and_then(|end| end.duration_s).map(i64::from))
        .bind(call.ended_at)
        .bind(call.finish_due_at)
        .bind(call.finished_at)
        .bind(tx.now())
        .bind(call.id),
    )?;
    Ok(())
}
