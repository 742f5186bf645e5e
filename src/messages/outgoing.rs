//! Messages that are sent: the row is written before the carrier is asked, and says afterwards what came of it.
//! Asking the carrier lies between two transactions and is `carriers::provision`'s.
//!
//! A message is never sent again by itself: a person who gets a text twice is worse off than one who doesn't
//! get it, and carriers know no idempotency key here. So if nobody can say whether the carrier took a message,
//! because the connection broke or this program ended, it becomes `failed` with [`UNKNOWN`] as its error. The
//! carrier's first callback still sets that right: it names our id, which is in its URL.

use std::time::Duration;

use super::update::{self, State};
use super::{BODY_CHARS_MAX, Direction, Message, get, opt_outs};
use crate::companies::Scope;
use crate::db::{self, Db, Tx, sql};
use crate::events::{self, EventType};
use crate::kernel::id::{CarrierId, MessageId, NumberId, TrackerId};
use crate::kernel::phone::PhoneNumber;
use crate::trackers;

/// The error of a message of which nobody can say whether it went out.
pub const UNKNOWN: &str = "unknown whether it was sent";
/// A message that has been waiting for the carrier's answer for so long never gets it: requests to carriers end
/// after 10 s.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5 * 60);

/// A text that can be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(String);

/// Why a text can't be sent; completes a sentence that begins with the field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most {BODY_CHARS_MAX} characters")]
    TooLong,
    #[error("must not contain the character NUL")]
    Nul,
}

impl Body {
    /// # Errors
    /// Says why it can't be sent.
    pub fn parse(text: &str) -> Result<Body, BadBody> {
        if text.trim().is_empty() {
            return Err(BadBody::Empty);
        }
        if text.contains('\0') {
            return Err(BadBody::Nul);
        }
        if text.chars().count() > BODY_CHARS_MAX {
            return Err(BadBody::TooLong);
        }
        Ok(Body(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A message that is to be sent. Valid already.
#[derive(Clone)]
pub struct Draft {
    pub tracker_id: TrackerId,
    /// From [`PhoneNumber::destination`].
    pub to: PhoneNumber,
    pub body: Body,
}

/// Why a message can't be sent. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no such tracker")]
    NoSuchTracker,
    #[error("the tracker has no number that could send it")]
    NoNumber,
    #[error("the receiver has opted out of messages; they must send START first")]
    OptedOut,
    #[error(transparent)]
    Db(#[from] db::Error),
}

/// A message that waits for its carrier to be asked.
#[derive(Clone)]
pub struct Prepared {
    pub id: MessageId,
    pub carrier_id: CarrierId,
    pub from: PhoneNumber,
    pub to: PhoneNumber,
    pub body: Body,
}

/// That the carrier took a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub carrier_message_id: String,
    pub segments: u32,
    pub state: State,
}

/// Writes the message down as `queued`. It comes from the number that the receiver last wrote to, so that a
/// conversation stays one, else from the tracker's oldest.
///
/// # Errors
/// Says why it can't be sent.
pub fn prepare(tx: &mut Tx<'_>, scope: Scope, draft: &Draft) -> Result<Prepared, Error> {
    if trackers::find(tx, scope, draft.tracker_id)?.is_none() {
        return Err(Error::NoSuchTracker);
    }
    if opt_outs::is_opted_out(tx, scope, &draft.to)? {
        return Err(Error::OptedOut);
    }
    let (number_id, carrier_id, from) = sender(tx, scope, draft)?.ok_or(Error::NoNumber)?;
    let (id,): (MessageId,) = tx.one(
        sql("insert into messages (company_id, tracker_id, number_id, carrier_id, direction, from_number,
             to_number, body, media, segments, status, error, created_at)
             values (?, ?, ?, ?, ?, ?, ?, ?, '[]', 0, ?, '', ?) returning id")
        .bind(scope.company())
        .bind(draft.tracker_id)
        .bind(number_id)
        .bind(carrier_id)
        .bind(Direction::Outgoing.as_str())
        .bind(&from)
        .bind(&draft.to)
        .bind(draft.body.as_str())
        .bind(State::Queued.as_str())
        .bind(tx.now()),
    )?;
    Ok(Prepared { id, carrier_id, from, to: draft.to.clone(), body: draft.body.clone() })
}

type Sender = (NumberId, CarrierId, PhoneNumber);

fn sender(tx: &mut Tx<'_>, scope: Scope, draft: &Draft) -> db::Result<Option<Sender>> {
    let last = "select number_id from messages where company_id = ? and from_number = ? and tracker_id = ?
                order by id desc limit 1";
    let last = sql(last).bind(scope.company()).bind(&draft.to).bind(draft.tracker_id);
    let (last,) = tx.find::<(NumberId,)>(last)?.unwrap_or((NumberId(0),));
    tx.find(
        sql("select id, carrier_id, number from tracking_numbers
             where company_id = ? and tracker_id = ? and released_at is null
             order by case when id = ? then 0 else 1 end, id limit 1")
        .bind(scope.company())
        .bind(draft.tracker_id)
        .bind(last),
    )
}

/// The carrier took the message: from now on it counts, and is told of. Once; the carrier's callback may have
/// said so before.
///
/// # Errors
/// The database's.
pub fn sent(tx: &mut Tx<'_>, scope: Scope, id: MessageId, accepted: &Accepted) -> db::Result<Message> {
    // First, because accepting tells of the message as it stands.
    let segments = "update messages set segments = ? where company_id = ? and id = ?";
    let segments = sql(segments).bind(i64::from(accepted.segments)).bind(scope.company()).bind(id);
    tx.execute(segments)?;
    accept(tx, scope, id, &accepted.carrier_message_id)?;
    advance(tx, scope, id, accepted.state, None)?;
    get(tx, scope, id)
}

/// The message didn't go out, or nobody can say ([`UNKNOWN`]). A message that the carrier has taken stays as
/// it is.
///
/// # Errors
/// The database's.
pub fn failed(
    tx: &mut Tx<'_>,
    scope: Scope,
    id: MessageId,
    why: &str,
    code: Option<u32>,
) -> db::Result<Message> {
    tx.execute(
        sql("update messages set status = ?, error = ?, error_code = ?
             where company_id = ? and id = ? and status = 'queued' and accepted_at is null")
        .bind(State::Failed.as_str())
        .bind(why)
        .bind(code.map(i64::from))
        .bind(scope.company())
        .bind(id),
    )?;
    get(tx, scope, id)
}

/// Takes in how a message is doing, whatever the order in which that is told. `named` is our id from the
/// callback's URL, which finds a message whose acceptance we haven't seen. None: it isn't a message of ours.
///
/// # Errors
/// The database's.
pub fn status(
    tx: &mut Tx<'_>,
    carrier: CarrierId,
    scope: Scope,
    named: Option<MessageId>,
    told: &update::Status,
) -> db::Result<Option<MessageId>> {
    let known = "select id from messages where company_id = ? and carrier_id = ? and carrier_message_id = ?
                 and direction = 'outgoing'";
    let known = sql(known).bind(scope.company()).bind(carrier).bind(&told.carrier_message_id);
    let id = match tx.find::<(MessageId,)>(known)? {
        Some((id,)) => id,
        None => {
            let Some(named) = named else { return Ok(None) };
            let waiting = "select carrier_message_id from messages where company_id = ? and carrier_id = ?
                           and id = ? and direction = 'outgoing' {{for_update}}";
            let waiting = sql(waiting).bind(scope.company()).bind(carrier).bind(named);
            let Some((has,)) = tx.find::<(Option<String>,)>(waiting)? else { return Ok(None) };
            // Behind the lock: the answer to our request may have been written down meanwhile.
            if has.is_some_and(|has| has != told.carrier_message_id) {
                return Ok(None);
            }
            named
        }
    };
    accept(tx, scope, id, &told.carrier_message_id)?;
    advance(tx, scope, id, told.state, told.error_code)?;
    Ok(Some(id))
}

/// Gives up on messages of which nobody will say any more whether the carrier took them: those of a program
/// that ended in between. Gives their number. A job.
///
/// # Errors
/// The database's.
pub async fn fail_stale(db: &Db) -> db::Result<u64> {
    db.write("messages.fail_stale", |tx| {
        tx.execute(
            sql("update messages set status = ?, error = ?
                 where status = 'queued' and accepted_at is null and created_at <= ?")
            .bind(State::Failed.as_str())
            .bind(UNKNOWN)
            .bind(tx.now().before(ANSWER_TIME_MAX)),
        )
    })
    .await
}

/// Notes the carrier's id and tells that the message was sent, unless that was done before.
fn accept(tx: &mut Tx<'_>, scope: Scope, id: MessageId, carrier_message_id: &str) -> db::Result<()> {
    let first = tx.execute(
        sql("update messages set carrier_message_id = ?, accepted_at = ?, status = 'queued', error = '',
             error_code = null where company_id = ? and id = ? and accepted_at is null")
        .bind(carrier_message_id)
        .bind(tx.now())
        .bind(scope.company())
        .bind(id),
    )?;
    if first > 0 {
        let message = get(tx, scope, id)?;
        events::append(tx, scope, EventType::MessageSent, &message.to_json())?;
    }
    Ok(())
}

fn advance(
    tx: &mut Tx<'_>,
    scope: Scope,
    id: MessageId,
    told: State,
    error_code: Option<u32>,
) -> db::Result<()> {
    let statement = "select status from messages where company_id = ? and id = ? {{for_update}}";
    let (present,): (String,) = tx.one(sql(statement).bind(scope.company()).bind(id))?;
    let present = State::parse(&present)
        .ok_or_else(|| db::Error::Internal(format!("message {id} has an unknown status")))?;
    let Some(state) = next(present, told) else { return Ok(()) };
    tx.execute(
        sql("update messages set status = ?, error_code = ? where company_id = ? and id = ?")
            .bind(state.as_str())
            .bind(error_code.map(i64::from))
            .bind(scope.company())
            .bind(id),
    )?;
    Ok(())
}

/// The state that a message gets by what is told of it; None if it keeps the one it has: callbacks overtake
/// each other, and what is final stays.
fn next(present: State, told: State) -> Option<State> {
    (rank(told) > rank(present)).then_some(told)
}

fn rank(state: State) -> u8 {
    match state {
        State::Queued => 0,
        State::Sent => 1,
        State::Delivered | State::Undelivered | State::Failed | State::Canceled => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_only_move_on() {
        use State::{Canceled, Delivered, Failed, Queued, Sent, Undelivered};
        assert_eq!(next(Queued, Sent), Some(Sent));
        assert_eq!(next(Queued, Delivered), Some(Delivered));
        assert_eq!(next(Sent, Queued), None);
        for last in [Delivered, Undelivered, Failed, Canceled] {
            assert_eq!(next(Sent, last), Some(last));
            for told in [Queued, Sent, Delivered, Undelivered, Failed, Canceled] {
                assert_eq!(next(last, told), None);
            }
        }
    }

    #[test]
    fn a_text_is_sent_as_it_is_or_not_at_all() {
        let parse = |text: &str| Body::parse(text).map(|body| body.0);
        assert_eq!(parse(" 👍🏽 żółw\n").as_deref(), Ok(" 👍🏽 żółw\n"));
        assert_eq!(parse(" \n"), Err(BadBody::Empty));
        assert_eq!(parse("a\0"), Err(BadBody::Nul));
        assert!(parse(&"👍".repeat(1_600)).is_ok());
        assert_eq!(parse(&"x".repeat(1_601)), Err(BadBody::TooLong));
    }
}
