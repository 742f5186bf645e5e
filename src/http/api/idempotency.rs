//! `Idempotency-Key`: a POST that is sent again with the same key isn't done again but answered the same.
//!
//! The key is claimed before the work and gets its answer with the work: in the same transaction where
//! the work is one ([`super::Request::write`]), else right after. So a crash can leave a claim without an
//! answer; such a one may be taken over after a minute, or later for work that takes longer. The claim's
//! time is its fence: who was taken over can't store an answer any more, and its transaction fails.
//!
//! An answer of the 500s isn't stored: the next try may do better. The exception is a failure that leaves open
//! whether the work was done, such as a text of which nobody knows whether it went out: doing it again is just
//! what the key is there to prevent. Stored answers may hold secrets, so they are sealed.

use std::time::Duration;

use axum::http::header::HeaderValue;
use axum::http::{HeaderMap, StatusCode};
use ring::digest::{Context, SHA256};

use super::reply::Reply;
use crate::ctx::Ctx;
use crate::db::{self, FromRow, Row, Tx, sql};
use crate::http::problem::{Kind, Problem};
use crate::kernel::clock::Micros;
use crate::kernel::id::TokenId;
use crate::kernel::secret::{Purpose, SecretKey};

/// How long an answer is kept (the contract).
const TTL: Duration = Duration::from_secs(24 * 3600);
/// A claim without an answer that is older was left by a crash.
const TAKEOVER_AFTER: Duration = Duration::from_secs(60);
/// Characters of a key at most.
const KEY_CHARS_MAX: usize = 255;
/// Rows that one transaction of [`sweep`] deletes at most.
const SWEEP_ROWS: i64 = 1_000;

/// The header, as `HeaderMap` has it.
pub const HEADER: &str = "idempotency-key";
/// Marks an answer that was given before.
pub const REPLAYED: &str = "idempotent-replayed";

/// A key that this request may give an answer to.
#[derive(Clone)]
pub(super) struct Claim {
    token: TokenId,
    key: String,
    at: Micros,
}

/// What became of a claim.
pub(super) enum Claimed {
    /// The request is to be done.
    Fresh(Claim),
    /// It was done before: this is the answer.
    Before(Reply),
}

/// The key of a request, if it has one.
///
/// # Errors
/// It has several, or an unusable one.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or("");
    let fits = (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if !fits || values.next().is_some() {
        let message = format!("must be one header of 1 to {KEY_CHARS_MAX} visible ASCII characters");
        return Err(Problem::field("Idempotency-Key", message));
    }
    Ok(Some(text.to_owned()))
}

/// What makes a request the same request. Each part is preceded by its length, so that no two different
/// requests run together.
pub(super) fn request_hash(method: &str, path: &str, query: &str, body: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for part in [method.as_bytes(), path.as_bytes(), query.as_bytes(), body] {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

struct Stored {
    request_hash: Vec<u8>,
    status: Option<i64>,
    answer: Option<Vec<u8>>,
    created_at: Micros,
}

impl FromRow for Stored {
    fn from_row(row: &mut Row<'_>) -> db::Result<Stored> {
        Ok(Stored {
            request_hash: row.get()?,
            status: row.get()?,
            answer: row.get()?,
            created_at: row.get()?,
        })
    }
}

/// Claims a key for a request.
///
/// # Errors
/// The key belongs to another request or to one that is still running; the database's.
pub(super) async fn claim(
    ctx: &Ctx,
    token: TokenId,
    key: String,
    hash: Vec<u8>,
    patience: Duration,
) -> Result<Claimed, Problem> {
    let secret = ctx.key.clone();
    let claim = move |tx: &mut Tx<'_>| {
        // Work that may take longer than TAKEOVER_AFTER is claimed as if it began later.
        let claim = Claim { token, key: key.clone(), at: tx.now().after(patience) };
        claim_in(tx, &secret, claim, &hash)
    };
    ctx.db.write("idempotency.claim", claim).await
}

fn claim_in(tx: &mut Tx<'_>, secret: &SecretKey, claim: Claim, hash: &[u8]) -> Result<Claimed, Problem> {
    let Claim { token, key, at } = &claim;
    let insert = "insert into idempotency_keys (token_id, key, request_hash, created_at) values (?, ?, ?, ?)
                  on conflict (token_id, key) do nothing";
    if tx.execute(sql(insert).bind(*token).bind(key).bind(hash.to_vec()).bind(*at))? > 0 {
        return Ok(Claimed::Fresh(claim));
    }
    let select = "select request_hash, status, answer, created_at from idempotency_keys
                  where token_id = ? and key = ? {{for_update}}";
    // A request that just failed has given the key back in between: as good as still running.
    let found = tx.find::<Stored>(sql(select).bind(*token).bind(key))?;
    let Some(stored) = found else { return Err(running()) };
    let age = tx.now().since(stored.created_at);
    if age < TTL {
        if stored.request_hash != hash {
            let detail = "This Idempotency-Key was sent with another method, path, query or body before";
            return Err(Problem::new(Kind::KeyReused, detail));
        }
        if let Some(status) = stored.status {
            let answer = stored.answer.as_deref().unwrap_or_default();
            return replay(secret, status, answer).map(Claimed::Before);
        }
        if age < TAKEOVER_AFTER {
            return Err(running());
        }
    }
    let take = "update idempotency_keys set request_hash = ?, status = null, answer = null, created_at = ?
                where token_id = ? and key = ?";
    tx.execute(sql(take).bind(hash.to_vec()).bind(*at).bind(*token).bind(key))?;
    Ok(Claimed::Fresh(claim))
}

fn replay(secret: &SecretKey, status: i64, sealed: &[u8]) -> Result<Reply, Problem> {
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let opened = secret.open(Purpose::IdempotentAnswer, sealed);
    let reply = status.zip(opened).and_then(|(status, opened)| Reply::from_stored(status, &opened));
    let reply =
        reply.ok_or_else(|| Problem::internal("a stored answer can't be opened: another secret_key?"))?;
    Ok(reply.with_header(REPLAYED.parse().expect("it is a header's name"), HeaderValue::from_static("true")))
}

fn running() -> Problem {
    Problem::new(Kind::InProgress, "Wait for its answer, or send the same request again in a moment")
        .with_header(axum::http::header::RETRY_AFTER, HeaderValue::from_static("1"))
}

impl Claim {
    /// Stores the answer in the transaction of the work.
    ///
    /// # Errors
    /// The claim was taken over, so the work must not be done here; the database's.
    pub(super) fn store(
        &self,
        tx: &mut Tx<'_>,
        secret: &SecretKey,
        reply: &mut Reply,
    ) -> Result<(), Problem> {
        if let Some(answer) = reply.to_stored() {
            self.keep(tx, secret, reply.status, &answer)?;
            reply.stored = true;
        }
        Ok(())
    }

    fn keep(
        &self,
        tx: &mut Tx<'_>,
        secret: &SecretKey,
        status: StatusCode,
        answer: &str,
    ) -> Result<(), Problem> {
        let sealed = secret.seal(Purpose::IdempotentAnswer, answer.as_bytes(), tx.seed());
        let update = "update idempotency_keys set status = ?, answer = ?
                      where token_id = ? and key = ? and created_at = ? and status is null";
        let statement = sql(update).bind(i64::from(status.as_u16())).bind(sealed);
        let kept = tx.execute(statement.bind(self.token).bind(&self.key).bind(self.at))?;
        if kept == 0 { Err(running()) } else { Ok(()) }
    }

    /// Ends the claim of work that didn't store its answer itself: stores `answer`, or gives the key back
    /// if there is none ([`Reply::to_lasting`]).
    pub(super) async fn settle(self, ctx: &Ctx, answer: Option<(StatusCode, String)>) {
        let settled = match answer {
            Some((status, answer)) => {
                let secret = ctx.key.clone();
                let write = move |tx: &mut Tx<'_>| self.keep(tx, &secret, status, &answer);
                ctx.db.write("idempotency.settle", write).await
            }
            None => self.release(ctx).await,
        };
        if let Err(problem) = settled {
            // The answer goes out all the same; only a repetition would find none.
            tracing::warn!(problem = ?problem.kind(), "the answer to an Idempotency-Key could not be stored");
        }
    }

    async fn release(self, ctx: &Ctx) -> Result<(), Problem> {
        ctx.db
            .write("idempotency.release", move |tx| {
                let delete = "delete from idempotency_keys
                              where token_id = ? and key = ? and created_at = ? and status is null";
                tx.execute(sql(delete).bind(self.token).bind(&self.key).bind(self.at))?;
                Ok(())
            })
            .await
    }
}

/// Background work: deletes expired keys, a bounded number in each transaction. Gives their number.
///
/// # Errors
/// The database's.
pub async fn sweep(ctx: &Ctx) -> db::Result<u64> {
    let mut total = 0;
    loop {
        let deleted = ctx
            .db
            .write("idempotency.sweep", |tx| {
                let delete = "delete from idempotency_keys where (token_id, key) in
                              (select token_id, key from idempotency_keys where created_at <= ?
                               order by created_at limit ?)";
                tx.execute(sql(delete).bind(tx.now().before(TTL)).bind(SWEEP_ROWS))
            })
            .await?;
        total += deleted;
        if deleted < SWEEP_ROWS.unsigned_abs() {
            return Ok(total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_request_do_not_run_together() {
        let hash = request_hash("POST", "/a", "b", b"c");
        assert_eq!(hash, request_hash("POST", "/a", "b", b"c"));
        assert_ne!(hash, request_hash("POST", "/ab", "", b"c"));
        assert_ne!(hash, request_hash("POST", "/a", "", b"bc"));
    }

    #[test]
    fn a_key_is_one_header_of_visible_ascii() {
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, HeaderValue::from_bytes(value.as_bytes()).expect("it is a value"));
            }
            key(&headers)
        };
        assert!(matches!(with(&[]), Ok(None)));
        assert!(matches!(with(&["k"]), Ok(Some(key)) if key == "k"));
        assert!(with(&[&"k".repeat(KEY_CHARS_MAX)]).is_ok());
        for bad in [&["" as &str][..], &["a b"], &["é"], &["a", "b"], &[&"k".repeat(KEY_CHARS_MAX + 1)]] {
            assert!(with(bad).is_err(), "{bad:?}");
        }
    }
}
