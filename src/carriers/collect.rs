//! The job that collects recordings: fetches the audio that carriers told of into our own folder, and then
//! deletes their copy, which costs storage there and is a person's voice. Both are tried again by the gaps of
//! `recordings::RETRY_GAPS`. What is announced follows in the transaction that notes the file.
//!
//! Order of the steps, each of which may be the last before a crash: the file is written and made durable; the
//! row says so; the carrier's copy goes. So there is never a time without a copy, and a file that no row knows
//! is overwritten by the next attempt.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt as _;

use super::Account;
use super::accounts;
use super::client::{CarrierError, Client, Prefer};
use crate::calls;
use crate::companies::Scope;
use crate::ctx::Ctx;
use crate::db::{self, Wake};
use crate::kernel::id::{self, CarrierId, RecordingId};
use crate::outbound::Failure;
use crate::recordings::files::{self, Folder, Kept};
use crate::recordings::link::Links;
use crate::recordings::update::Kind;
use crate::recordings::{self, Recording, State};

/// Recordings that are fetched at the same time, and copies that are deleted.
const PARALLEL: usize = 4;
/// Recordings of one run at most; the rest is the next run's.
const BATCH_MAX: i64 = 100;
/// One download with everything that belongs to it.
const FETCH_TIME_MAX: Duration = Duration::from_secs(10 * 60);

/// Why audio wasn't fetched.
enum NotFetched {
    /// The account was removed.
    NoAccount,
    Carrier(CarrierError),
    Download(Failure),
    NotAudio,
    TooSlow,
    /// Our own fault.
    Disk(std::io::Error),
}

impl NotFetched {
    /// For the row, logs and metrics: neither the carrier's texts nor URLs.
    fn as_str(&self) -> &'static str {
        match self {
            NotFetched::NoAccount => "no_account",
            NotFetched::Carrier(error) => error.as_str(),
            NotFetched::Download(failure) => failure.kind.as_str(),
            NotFetched::NotAudio => "not_audio",
            NotFetched::TooSlow => "timeout",
            NotFetched::Disk(_) => "disk",
        }
    }
}

impl From<files::Error> for NotFetched {
    fn from(error: files::Error) -> NotFetched {
        match error {
            files::Error::NotAudio => NotFetched::NotAudio,
            files::Error::Io(error) => NotFetched::Disk(error),
        }
    }
}

/// Removes what a crash left half-written. To be called once, before the first [`run_once`].
///
/// # Errors
/// The file system's.
pub async fn clean_up(ctx: &Ctx) -> std::io::Result<()> {
    let removed = Folder::below(&ctx.config.data).remove_partial().await?;
    if removed > 0 {
        tracing::info!(files = removed, "removed half-written recordings");
    }
    Ok(())
}

/// Background work: fetches and deletes what is due. Gives the number of recordings stored.
///
/// # Errors
/// The database's; a carrier's are noted in the rows.
pub async fn run_once(ctx: &Ctx) -> db::Result<usize> {
    let now = ctx.clock.now();
    let due = move |tx: &mut db::Tx<'_>| {
        let fetch = recordings::due_to_fetch(tx, now, BATCH_MAX)?;
        Ok::<_, db::Error>((fetch, recordings::due_to_delete(tx, now, BATCH_MAX)?))
    };
    let (to_fetch, to_delete) = ctx.db.read("recordings.due", due).await?;
    let is_full = |rows: &[Recording]| i64::try_from(rows.len()).is_ok_and(|rows| rows == BATCH_MAX);
    let more = is_full(&to_fetch) || is_full(&to_delete);
    let accounts = accounts_of(ctx, to_fetch.iter().chain(&to_delete)).await?;
    let fetching = to_fetch.into_iter().map(|recording| {
        let account = accounts.get(&recording.carrier_id).cloned();
        fetch(ctx, account, recording)
    });
    let fetched: Vec<db::Result<bool>> = in_parallel(fetching).await;
    let deleting = to_delete.into_iter().map(|recording| {
        let account = accounts.get(&recording.carrier_id).cloned();
        delete(ctx, account, recording)
    });
    let deleted: Vec<db::Result<()>> = in_parallel(deleting).await;
    if more {
        ctx.db.wakes().wake(Wake::Recordings);
    }
    let mut stored = 0;
    for result in fetched {
        stored += usize::from(result?);
    }
    deleted.into_iter().collect::<db::Result<Vec<()>>>()?;
    Ok(stored)
}

async fn in_parallel<T>(work: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    futures_util::stream::iter(work).buffer_unordered(PARALLEL).collect().await
}

/// The accounts of these recordings; those that were removed are missing.
async fn accounts_of(
    ctx: &Ctx,
    recordings: impl Iterator<Item = &Recording>,
) -> db::Result<HashMap<CarrierId, Account>> {
    let wanted: HashMap<CarrierId, Scope> =
        recordings.map(|recording| (recording.carrier_id, Scope::of(recording.company_id))).collect();
    find_accounts(ctx, wanted).await
}

/// The accounts with their credentials.
pub(super) async fn find_accounts(
    ctx: &Ctx,
    wanted: HashMap<CarrierId, Scope>,
) -> db::Result<HashMap<CarrierId, Account>> {
    let key = ctx.key.clone();
    ctx.db
        .read("carriers.accounts", move |tx| {
            let mut found = HashMap::new();
            for (id, scope) in &wanted {
                if let Some(registered) = accounts::find(tx, *scope, *id, &key)? {
                    found.insert(*id, registered.account);
                }
            }
            Ok(found)
        })
        .await
}

/// Fetches one recording and notes what came of it. Gives whether it is stored.
async fn fetch(ctx: &Ctx, account: Option<Account>, recording: Recording) -> db::Result<bool> {
    let folder = Folder::below(&ctx.config.data);
    let downloading = tokio::time::timeout(FETCH_TIME_MAX, download(ctx, &folder, account, &recording));
    let kept = downloading.await.unwrap_or(Err(NotFetched::TooSlow));
    match kept {
        Ok(kept) => note_stored(ctx, &folder, recording, kept).await,
        Err(why) => note_failure(ctx, recording, &why).await.map(|()| false),
    }
}

async fn download(
    ctx: &Ctx,
    folder: &Folder,
    account: Option<Account>,
    recording: &Recording,
) -> Result<Kept, NotFetched> {
    let client = Client::new(ctx.to_carriers.clone(), account.ok_or(NotFetched::NoAccount)?);
    let prefer = match recording.kind {
        Kind::Call => Prefer::DualMp3,
        Kind::Voicemail => Prefer::Wav,
    };
    let mut media = client.media(&recording.media_url, prefer).await.map_err(NotFetched::Carrier)?;
    let attempt = id::unique(ctx.clock.now(), &ctx.seed);
    let mut partial = folder.begin(recording, &attempt).await.map_err(NotFetched::Disk)?;
    loop {
        let written = match media.chunk().await {
            Ok(Some(chunk)) => partial.write(&chunk).await.map_err(NotFetched::from),
            Ok(None) => return Ok(partial.keep().await?),
            Err(failure) => Err(NotFetched::Download(failure)),
        };
        if let Err(why) = written {
            partial.abandon().await;
            return Err(why);
        }
    }
}

async fn note_stored(ctx: &Ctx, folder: &Folder, recording: Recording, kept: Kept) -> db::Result<bool> {
    let links = Links::of(ctx);
    // A carrier that is still transcribing needs its copy: a voicemail's goes when it was told of.
    let delete = !ctx.config.recordings.keep_at_carrier && recording.kind == Kind::Call;
    let (id, call) = (recording.id, recording.call_id);
    let path = kept.path.clone();
    let noting = ctx.db.write("recordings.stored", move |tx| {
        calls::hold(tx, call)?;
        let state = recordings::stored(tx, id, &kept, delete)?;
        calls::announce_recordings(tx, &links, call)?;
        // A voicemail may be complete with it, and the carrier's copy may go.
        tx.wake(Wake::Recordings);
        Ok::<_, db::Error>(state)
    });
    let state = noting.await?;
    match state {
        State::Stored => drop(ctx.metrics.recordings_stored.inc()),
        State::Discarded => remove(folder, &Recording { path, ..recording }).await,
        State::Pending | State::Failed | State::Absent => {}
    }
    Ok(state == State::Stored)
}

async fn note_failure(ctx: &Ctx, recording: Recording, why: &NotFetched) -> db::Result<()> {
    ctx.metrics.recordings_failed.inc();
    let word = why.as_str();
    if let NotFetched::Disk(error) = why {
        tracing::error!(recording.id = %recording.id, %error, "a recording can't be written; it will be fetched again");
        let id = recording.id;
        return ctx.db.write("recordings.postpone", move |tx| recordings::postpone_fetch(tx, id, word)).await;
    }
    let (id, attempt) = (recording.id, recording.fetch_attempts + 1);
    let noting = ctx.db.write("recordings.failed", move |tx| {
        let state = recordings::fetch_failed(tx, &recording, word)?;
        if state == State::Failed {
            // Its voicemail is told of without audio.
            tx.wake(Wake::Recordings);
        }
        Ok::<_, db::Error>(state)
    });
    match noting.await? {
        State::Failed => {
            tracing::error!(recording.id = %id, reason = word, attempt, "a recording was given up");
        }
        _ => {
            tracing::warn!(recording.id = %id, reason = word, attempt, "a recording couldn't be fetched yet")
        }
    }
    Ok(())
}

/// Deletes the carrier's copy, and ours of a recording that was discarded.
async fn delete(ctx: &Ctx, account: Option<Account>, recording: Recording) -> db::Result<()> {
    if recording.state == State::Discarded {
        remove(&Folder::below(&ctx.config.data), &recording).await;
    }
    let id = recording.id;
    let Some(account) = account else {
        tracing::warn!(recording.id = %id, "the carrier's copy stays: its account was removed");
        return done(ctx, id).await;
    };
    let client = Client::new(ctx.to_carriers.clone(), account);
    let Err(error) = client.delete_recording(&recording.carrier_recording_id).await else {
        return done(ctx, id).await;
    };
    let attempt = recording.delete_attempts + 1;
    let again =
        ctx.db.write("recordings.delete", move |tx| recordings::delete_failed(tx, &recording)).await?;
    tracing::warn!(recording.id = %id, reason = error.as_str(), attempt, again, "the carrier's copy wasn't deleted");
    Ok(())
}

async fn done(ctx: &Ctx, id: RecordingId) -> db::Result<()> {
    ctx.db.write("recordings.deleted", move |tx| recordings::deleted_at_carrier(tx, id)).await
}

/// A file that stays although nobody wants it is a blemish, no failure.
async fn remove(folder: &Folder, recording: &Recording) {
    if let Err(error) = folder.delete(recording).await {
        tracing::error!(recording.id = %recording.id, %error, "a discarded recording's file can't be removed");
    }
}
