//! Taking in what a carrier tells, in the transaction that its callback waits for. Everything here may be told
//! twice, late or in another order; two callbacks of one call come one after the other, because each holds the
//! call's lock first.

use serde_json::Value as Json;

use super::list::view;
use super::row::{self, Call};
use super::state::{self, Facts, Treatment};
use super::update::{Arrival, Fact, Update};
use super::{fold, plan};
use crate::companies::Scope;
use crate::db::{self, LockSpace, Tx, Wake, sql};
use crate::events::{self, EventType};
use crate::flows::{Plan, Whisper};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CallId, CarrierId};
use crate::kernel::phone::PhoneNumber;
use crate::recordings::link::Links;
use crate::recordings::update::Kind;
use crate::recordings::{self, Recording};
use crate::trackers::{self, Settings, blocked, route};
use crate::visits;

/// How long after a call's end its recording may be told of. The carrier is asked after that.
const RECORDINGS_WAIT: std::time::Duration = std::time::Duration::from_secs(5 * 60);

/// Whose news are taken in: a carrier account, and the company that has it.
#[derive(Clone, Copy, Debug)]
pub struct Via {
    pub scope: Scope,
    pub carrier: CarrierId,
}

/// What an update was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// A call to a number that nobody has at this carrier. Nothing was kept of it.
    NotOurs,
    /// A call that never arrived here.
    Unknown,
    Known {
        call: CallId,
        next: Next,
    },
}

/// What the carrier shall do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// With the caller.
    Plan(Plan),
    /// Before it connects the destination. None: connect it at once.
    Whisper(Option<Whisper>),
    /// It didn't ask.
    Nothing,
}

/// Takes in one thing told of one call.
///
/// # Errors
/// The database's.
pub fn record(tx: &mut Tx<'_>, via: Via, links: &Links, update: &Update) -> db::Result<Recorded> {
    lock(tx, via.carrier, &update.carrier_call_id)?;
    if let Fact::Arrived(arrival) = &update.fact {
        let started_at = tx.now();
        return arrive(tx, via, links, &update.carrier_call_id, arrival, Arrived::Now(started_at));
    }
    let Some(call) = row::find_by_carrier_id(tx, via.carrier, &update.carrier_call_id)? else {
        return Ok(Recorded::Unknown);
    };
    let settings = settings_of(tx, &call)?;
    let call = take_in(tx, links, call, settings.as_ref(), &update.fact)?;
    Ok(Recorded::Known { call: call.id, next: next(&call, settings.as_ref(), &update.fact) })
}

/// Takes in something told of a call whose arrival couldn't be taken in when it came: it was answered from
/// memory then, so it was forwarded whoever called.
///
/// # Errors
/// The database's.
pub fn record_late(
    tx: &mut Tx<'_>,
    via: Via,
    links: &Links,
    arrival: &Arrival,
    update: &Update,
) -> db::Result<Recorded> {
    lock(tx, via.carrier, &update.carrier_call_id)?;
    let lasted_s = match &update.fact {
        Fact::Ended(end) => end.duration_s.unwrap_or(0),
        _ => 0,
    };
    let started_at = tx.now().before(std::time::Duration::from_secs(u64::from(lasted_s)));
    match arrive(tx, via, links, &update.carrier_call_id, arrival, Arrived::Earlier(started_at))? {
        Recorded::Known { .. } => record(tx, via, links, update),
        other => Ok(other),
    }
}

/// Takes in what a carrier told of a call's recording. None: the call is unknown, or there is nothing to know
/// yet.
///
/// # Errors
/// The database's.
pub fn record_recording(
    tx: &mut Tx<'_>,
    via: Via,
    links: &Links,
    update: &recordings::update::Update,
) -> db::Result<Option<(Call, Recording)>> {
    lock(tx, via.carrier, &update.carrier_call_id)?;
    let Some(call) = row::find_by_carrier_id(tx, via.carrier, &update.carrier_call_id)? else {
        return Ok(None);
    };
    let scope = Scope::of(call.company_id);
    let likely = state::recorded_kind(&call.facts);
    let Some(recording) = recordings::record(tx, scope, via.carrier, call.id, update, likely)? else {
        return Ok(None);
    };
    match recording.kind {
        Kind::Call => show_recording(tx, &call, &recording)?,
        Kind::Voicemail => {
            let told = Fact::VoicemailEnded { duration_s: Some(recording.duration_s) };
            let settings = settings_of(tx, &call)?;
            take_in(tx, links, call.clone(), settings.as_ref(), &told)?;
        }
    }
    tx.execute(sql("update calls set recordings_due_at = null where id = ?").bind(call.id))?;
    announce_recordings(tx, links, call.id)?;
    Ok(Some((row::get_any(tx, call.id)?, recording)))
}

/// Holds the call until the transaction ends, and reads it: what is done to its recordings and its voicemail
/// depends on its course.
///
/// # Errors
/// The database's.
pub fn hold(tx: &mut Tx<'_>, id: CallId) -> db::Result<Call> {
    let call = row::get_any(tx, id)?;
    lock(tx, call.carrier_id, &call.carrier_call_id)?;
    row::get_any(tx, id)
}

/// Tells of the recordings that are ready, if the call is finished; each once. The caller holds the call.
///
/// # Errors
/// The database's.
pub fn announce_recordings(tx: &mut Tx<'_>, links: &Links, id: CallId) -> db::Result<()> {
    let call = row::get_any(tx, id)?;
    if call.finished_at.is_none() {
        return Ok(());
    }
    discard_unbridged(tx, &call)?;
    for recording in recordings::of_call(tx, id)? {
        let ready = recording.kind == Kind::Call && recording.state == recordings::State::Stored;
        if ready && recordings::announce(tx, recording.id)? {
            tx.execute(sql("update calls set recording_id = ? where id = ?").bind(recording.id).bind(id))?;
            append(tx, links, id, EventType::CallRecordingAvailable)?;
        }
    }
    Ok(())
}

/// Tells what the call was. The caller holds the call, and has made sure that it wasn't finished before.
pub(super) fn finish(tx: &mut Tx<'_>, links: &Links, mut call: Call) -> db::Result<Call> {
    let now = tx.now();
    let ended_at = call.ended_at.unwrap_or(now).max(call.started_at);
    let elapsed_s = || u32::try_from(ended_at.since(call.started_at).as_secs()).unwrap_or(u32::MAX);
    let told_s = call.facts.end.as_ref().and_then(|end| end.duration_s);
    call.call_duration = told_s.unwrap_or_else(elapsed_s);
    call.status = state::final_status(&call.facts);
    call.ended_at = Some(ended_at);
    call.finish_due_at = None;
    call.finished_at = Some(now);
    row::save_course(tx, &call)?;
    discard_unbridged(tx, &call)?;
    append(tx, links, call.id, EventType::CallFinished)?;
    expect_recordings(tx, &call)?;
    announce_recordings(tx, links, call.id)?;
    // Its voicemail may be told of now.
    tx.wake(Wake::Recordings);
    Ok(call)
}

/// Callbacks of one call are taken in one after the other.
fn lock(tx: &mut Tx<'_>, carrier: CarrierId, carrier_call_id: &str) -> db::Result<()> {
    tx.lock_text(LockSpace::Call, &format!("{carrier}/{carrier_call_id}"))
}

/// The settings of the call's tracker; None if the tracker was deleted meanwhile.
fn settings_of(tx: &mut Tx<'_>, call: &Call) -> db::Result<Option<Settings>> {
    let found = trackers::find(tx, Scope::of(call.company_id), call.tracker_id)?;
    Ok(found.map(|view| view.tracker.settings))
}

#[derive(Clone, Copy)]
enum Arrived {
    Now(Micros),
    /// It was answered from memory.
    Earlier(Micros),
}

fn arrive(
    tx: &mut Tx<'_>,
    via: Via,
    links: &Links,
    carrier_call_id: &str,
    arrival: &Arrival,
    arrived: Arrived,
) -> db::Result<Recorded> {
    if let Some(call) = row::find_by_carrier_id(tx, via.carrier, carrier_call_id)? {
        let settings = settings_of(tx, &call)?;
        let plan = settings.map_or_else(plan::not_in_service, |s| plan::answer(&s, call.facts.treatment));
        return Ok(Recorded::Known { call: call.id, next: Next::Plan(plan) });
    }
    let Some(route) = route::find(tx, via.carrier, &arrival.to)? else { return Ok(Recorded::NotOurs) };
    let settings = &route.tracker.settings;
    let (treatment, started_at) = match arrived {
        Arrived::Now(at) if is_blocked(tx, via.scope, arrival.from.as_ref())? => (Treatment::Blocked, at),
        Arrived::Now(at) | Arrived::Earlier(at) if settings.status => (Treatment::Forwarded, at),
        Arrived::Now(at) | Arrived::Earlier(at) => (Treatment::OutOfService, at),
    };
    let id = insert(tx, via, carrier_call_id, arrival, &route, &Facts::new(treatment), started_at)?;
    append(tx, links, id, EventType::CallReceived)?;
    Ok(Recorded::Known { call: id, next: Next::Plan(plan::answer(settings, treatment)) })
}

fn is_blocked(tx: &mut Tx<'_>, scope: Scope, caller: Option<&PhoneNumber>) -> db::Result<bool> {
    caller.map_or(Ok(false), |number| blocked::is_blocked(tx, scope, number))
}

/// Whether this is the number's first call ever to the company. A withheld number's never is.
fn is_first_time(tx: &mut Tx<'_>, scope: Scope, caller: Option<&PhoneNumber>) -> db::Result<bool> {
    let Some(number) = caller else { return Ok(false) };
    // Two calls of one number at the same moment: only one can be the first.
    tx.lock_text(LockSpace::Caller, &format!("{}/{number}", scope.company()))?;
    let earlier = "select 1 from calls where company_id = ? and caller_number = ? limit 1";
    Ok(tx.find::<(i64,)>(sql(earlier).bind(scope.company()).bind(number))?.is_none())
}

fn insert(
    tx: &mut Tx<'_>,
    via: Via,
    carrier_call_id: &str,
    arrival: &Arrival,
    route: &route::Route,
    facts: &Facts,
    started_at: Micros,
) -> db::Result<CallId> {
    let caller = arrival.from.as_ref();
    let first = is_first_time(tx, via.scope, caller)?;
    let credit =
        visits::attribute(tx, via.scope, &route.tracker.settings, route.number_id, caller, started_at)?;
    let by_plan = || caller.map(PhoneNumber::country).unwrap_or_default();
    let country = if arrival.geo.country.is_empty() { by_plan() } else { arrival.geo.country.clone() };
    let tracker = &route.tracker;
    let searched = [
        caller.map_or("", PhoneNumber::as_str),
        &arrival.caller_name,
        &arrival.geo.city,
        route.tracking_number.as_str(),
        &tracker.settings.name,
    ];
    let statement = sql("insert into calls (company_id, tracker_id, number_id, carrier_id, carrier_call_id,
         tracking_number, caller_number, caller_name, caller_city, caller_state, caller_zip, caller_country,
         forwarded_from, attestation, is_first_time, source_channel, source_referrer, source_keyword,
         landing_page, pages_visited, gclid, visitor_ip, status, started_at, call_duration, treatment,
         leg_answered, whisper_started, checked_at, note, lead_status, spam, search_text, session_id,
         attribution_confidence, attribution)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?,
                 '', '', ?, ?, ?, ?, ?) returning id");
    let (id,) = tx.one(
        statement
            .bind(via.scope.company())
            .bind(tracker.id)
            .bind(route.number_id)
            .bind(via.carrier)
            .bind(carrier_call_id)
            .bind(&route.tracking_number)
            .bind(caller.map_or("", PhoneNumber::as_str))
            .bind(&arrival.caller_name)
            .bind(&arrival.geo.city)
            .bind(&arrival.geo.state)
            .bind(&arrival.geo.zip)
            .bind(country)
            .bind(&arrival.forwarded_from)
            .bind(arrival.attestation.as_str())
            .bind(first)
            .bind(&credit.source.channel)
            .bind(&credit.source.referrer)
            .bind(&credit.source.keyword)
            .bind(&credit.source.landing_page)
            .bind(Json::from(credit.pages).to_string())
            .bind(credit.source.click_ids.get("gclid").map_or("", String::as_str))
            .bind(&credit.ip)
            .bind(state::status(facts).as_str())
            .bind(started_at)
            .bind(facts.treatment.as_str())
            .bind(false)
            .bind(false)
            .bind(tx.now())
            .bind(false)
            .bind(fold::searchable(&searched))
            .bind(credit.session)
            .bind(credit.confidence)
            .bind(credit.snapshot.to_text()),
    )?;
    Ok(id)
}

/// Merges a fact, and finishes the call if that settles its end.
fn take_in(
    tx: &mut Tx<'_>,
    links: &Links,
    mut call: Call,
    settings: Option<&Settings>,
    fact: &Fact,
) -> db::Result<Call> {
    call.facts = state::apply(&call.facts, fact);
    if call.finished_at.is_some() {
        // What was told stays; but a recording may turn out to hold a whisper only.
        row::save_course(tx, &call)?;
        discard_unbridged(tx, &call)?;
        return Ok(call);
    }
    call.status = state::status(&call.facts);
    if call.facts.end.is_some() {
        let now = tx.now();
        // Not before it began, if the clock was set back meanwhile.
        call.ended_at = call.ended_at.or(Some(now.max(call.started_at)));
        if state::is_settled(&call.facts, settings.is_none_or(|s| s.voicemail_enabled)) {
            return finish(tx, links, call);
        }
        if call.finish_due_at.is_none() {
            call.finish_due_at = Some(now.after(state::GRACE));
            tx.wake(Wake::Calls);
        }
    }
    row::save_course(tx, &call)?;
    Ok(call)
}

fn next(call: &Call, settings: Option<&Settings>, fact: &Fact) -> Next {
    match fact {
        Fact::DialEnded(_) => {
            Next::Plan(settings.map_or_else(plan::hang_up, |s| plan::after_dial(s, &call.facts)))
        }
        Fact::VoicemailEnded { .. } => Next::Plan(plan::hang_up()),
        Fact::WhisperStarted => Next::Whisper(settings.and_then(plan::whisper)),
        Fact::Arrived(_) | Fact::Leg(_) | Fact::Ended(_) => Next::Nothing,
    }
}

/// The call's object shows its first recording that has, or will have, audio.
fn show_recording(tx: &mut Tx<'_>, call: &Call, recording: &Recording) -> db::Result<()> {
    use recordings::State::{Pending, Stored};
    let good = |state| matches!(state, Pending | Stored);
    if good(recording.state) && !call.recording.as_ref().is_some_and(|shown| good(shown.state)) {
        let statement = "update calls set recording_id = ? where id = ?";
        tx.execute(sql(statement).bind(recording.id).bind(call.id))?;
    }
    Ok(())
}

/// A Dial is recorded from when the destination picks up: if nobody was connected that's the whisper.
fn discard_unbridged(tx: &mut Tx<'_>, call: &Call) -> db::Result<()> {
    if !state::was_not_bridged(&call.facts) {
        return Ok(());
    }
    for recording in recordings::of_call(tx, call.id)? {
        if recording.kind == Kind::Call {
            recordings::discard(tx, recording.id)?;
        }
    }
    Ok(())
}

/// Callbacks aren't repeated by carriers: if a recording should be told of and isn't, the carrier is asked.
fn expect_recordings(tx: &mut Tx<'_>, call: &Call) -> db::Result<()> {
    let recorded = settings_of(tx, call)?.is_some_and(|settings| settings.recording_enabled);
    let expected = match call.status {
        state::Status::Answered => recorded,
        state::Status::Voicemail => true,
        _ => false,
    };
    if expected && !recordings::of_call(tx, call.id)?.iter().any(Recording::is_told) {
        let due = tx.now().after(RECORDINGS_WAIT);
        tx.execute(sql("update calls set recordings_due_at = ? where id = ?").bind(due).bind(call.id))?;
    }
    Ok(())
}

/// An event with the call as it is now.
fn append(tx: &mut Tx<'_>, links: &Links, id: CallId, event: EventType) -> db::Result<()> {
    let call = row::get_any(tx, id)?;
    let scope = Scope::of(call.company_id);
    let data = view(tx, call)?.to_json(links, tx.now());
    events::append(tx, scope, event, &data)?;
    Ok(())
}
