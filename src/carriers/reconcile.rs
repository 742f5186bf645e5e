//! The job that asks carriers what their callbacks didn't tell: calls that seem to go on for ever, and
//! recordings that should be there. What is answered is taken in like a callback, by the same functions.

use std::collections::HashMap;

use futures_util::StreamExt as _;

use super::Account;
use super::client::{CallSnapshot, CarrierError, Client};
use super::collect::find_accounts;
use crate::calls::reconcile::{self, Question};
use crate::calls::update::{DialOutcome, End, Fact, Update};
use crate::calls::{self, Via};
use crate::companies::Scope;
use crate::ctx::Ctx;
use crate::db::{self, Tx};
use crate::kernel::id::CarrierId;
use crate::recordings;
use crate::recordings::link::Links;
use crate::voicemails;

/// Carriers are asked about so many calls at the same time.
const PARALLEL: usize = 4;

/// Background work: asks about the calls that are due. Gives the number of questions that were answered.
///
/// # Errors
/// The database's. A carrier that doesn't answer is asked again later.
pub async fn run_once(ctx: &Ctx) -> db::Result<usize> {
    let due = |tx: &mut Tx<'_>| Ok::<_, db::Error>((reconcile::silent(tx)?, reconcile::unrecorded(tx)?));
    let (silent, unrecorded) = ctx.db.read("calls.questions", due).await?;
    let asked = silent.iter().chain(&unrecorded);
    let wanted: HashMap<CarrierId, Scope> =
        asked.map(|question| (question.carrier, Scope::of(question.company))).collect();
    let clients: HashMap<CarrierId, Client> = find_accounts(ctx, wanted)
        .await?
        .into_iter()
        .map(|(id, account): (CarrierId, Account)| (id, Client::new(ctx.to_carriers.clone(), account)))
        .collect();
    let about_calls = silent.into_iter().map(|question| {
        let client = clients.get(&question.carrier);
        ask_about_call(ctx, client, question)
    });
    let mut answered = collect(about_calls).await?;
    let about_recordings = unrecorded.into_iter().map(|question| {
        let client = clients.get(&question.carrier);
        ask_about_recordings(ctx, client, question)
    });
    answered += collect(about_recordings).await?;
    Ok(answered)
}

async fn collect(asking: impl Iterator<Item = impl Future<Output = db::Result<bool>>>) -> db::Result<usize> {
    let answers: Vec<db::Result<bool>> =
        futures_util::stream::iter(asking).buffer_unordered(PARALLEL).collect().await;
    let answers: Vec<bool> = answers.into_iter().collect::<db::Result<_>>()?;
    Ok(answers.into_iter().filter(|answered| *answered).count())
}

/// Asks how a call is. One that its carrier doesn't know, or whose account was removed, is over.
async fn ask_about_call(ctx: &Ctx, client: Option<&Client>, question: Question) -> db::Result<bool> {
    let lost = CallSnapshot { ended: Some(End { outcome: DialOutcome::Failed, duration_s: Some(0) }) };
    let snapshot = match client {
        None => Ok(Some(lost.clone())),
        Some(client) => client.call(&question.carrier_call_id).await,
    };
    let call = question.call;
    let ended = match snapshot {
        Ok(snapshot) => snapshot.unwrap_or(lost).ended,
        Err(error) => {
            unanswered(&question, &error);
            ctx.db.write("calls.checked", move |tx| reconcile::checked(tx, call)).await?;
            return Ok(false);
        }
    };
    let Some(end) = ended else {
        ctx.db.write("calls.checked", move |tx| reconcile::checked(tx, call)).await?;
        return Ok(true);
    };
    let told = match client {
        Some(client) => client.recordings_of(&question.carrier_call_id).await,
        None => Ok(Vec::new()),
    };
    let told = match told {
        // Without its recordings a call with a voicemail would be finished as a missed one: asked again later.
        Err(error) if error.is_temporary() => {
            unanswered(&question, &error);
            ctx.db.write("calls.checked", move |tx| reconcile::checked(tx, call)).await?;
            return Ok(false);
        }
        told => told.unwrap_or_default(),
    };
    tracing::info!(call.id = %call, "a call's end was learnt by asking");
    let links = Links::of(ctx);
    let taking_in = ctx.db.write("calls.reconcile", move |tx| {
        // The recordings first: a voicemail's length belongs to what the call was.
        take_in_recordings(tx, &links, &question, &told)?;
        let update =
            Update { carrier_call_id: question.carrier_call_id.clone(), fact: Fact::Ended(end.clone()) };
        calls::record(tx, via(&question), &links, &update)?;
        Ok::<_, db::Error>(true)
    });
    taking_in.await
}

async fn ask_about_recordings(ctx: &Ctx, client: Option<&Client>, question: Question) -> db::Result<bool> {
    let told = match client {
        None => Ok(Vec::new()),
        Some(client) => client.recordings_of(&question.carrier_call_id).await,
    };
    let links = Links::of(ctx);
    match told {
        Ok(told) => {
            let taking_in = ctx.db.write("calls.recordings", move |tx| {
                take_in_recordings(tx, &links, &question, &told)?;
                reconcile::recordings_checked(tx, question.call)?;
                Ok::<_, db::Error>(true)
            });
            taking_in.await
        }
        Err(error) => {
            unanswered(&question, &error);
            let waiting = move |tx: &mut Tx<'_>| reconcile::recordings_unanswered(tx, question.call);
            ctx.db.write("calls.recordings", waiting).await?;
            Ok(false)
        }
    }
}

fn take_in_recordings(
    tx: &mut Tx<'_>,
    links: &Links,
    question: &Question,
    told: &[recordings::update::Update],
) -> db::Result<()> {
    for update in told {
        if let Some((call, recording)) = calls::record_recording(tx, via(question), links, update)? {
            voicemails::record_recording(tx, &call, &recording)?;
        }
    }
    Ok(())
}

fn via(question: &Question) -> Via {
    Via { scope: Scope::of(question.company), carrier: question.carrier }
}

fn unanswered(question: &Question, error: &CarrierError) {
    let (call, carrier) = (question.call, question.carrier);
    tracing::warn!(call.id = %call, carrier.id = %carrier, reason = error.as_str(), "a carrier didn't answer");
}
