//! Text messages to and from tracking numbers. Here: what one is, taking one in, the list. Sending is
//! [`outgoing`]; who asked not to be texted [`opt_outs`]. How a carrier writes and is asked is `carriers`'
//! business.
//!
//! Odd facts:
//! - A sender that isn't a phone number (a short code, a name) is "" in `from_number`, as the contract has it
//!   for unknown text: there is nothing that could be answered.
//! - Keywords such as STOP are kept here, but answered by the carrier, which has to by law.

mod json;
pub mod opt_outs;
pub mod outgoing;
pub mod threads;
pub mod update;

use serde_json::{Value as Json, json};

use self::update::{Arrival, Media, State};
use crate::companies::Scope;
use crate::db::{self, Db, FromRow, Row, Tx, sql};
use crate::events::{self, EventType};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CarrierId, CompanyId, MessageId, TrackerId};
use crate::kernel::page::{Listed, Page};
use crate::kernel::phone::PhoneNumber;
use crate::trackers::route;
use crate::visits;
use crate::visits::attribute::Snapshot;

/// A message's text at most, in characters, in either direction: the carriers' own limit.
pub const BODY_CHARS_MAX: usize = 1_600;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Incoming,
    Outgoing,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Incoming => "incoming",
            Direction::Outgoing => "outgoing",
        }
    }
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It came in: nothing more can happen to it.
    Received,
    /// It was written here.
    Outgoing(State),
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Received => "received",
            Status::Outgoing(state) => state.as_str(),
        }
    }

    pub fn direction(self) -> Direction {
        match self {
            Status::Received => Direction::Incoming,
            Status::Outgoing(_) => Direction::Outgoing,
        }
    }

    fn parse(text: &str) -> Option<Status> {
        if text == "received" { Some(Status::Received) } else { State::parse(text).map(Status::Outgoing) }
    }
}

/// A message as stored.
#[derive(Clone, PartialEq)]
pub struct Message {
    pub id: MessageId,
    pub company_id: CompanyId,
    pub company_name: String,
    pub tracker_id: TrackerId,
    pub tracker_name: String,
    /// None if it didn't come from a number that can be answered.
    pub from: Option<PhoneNumber>,
    pub to: PhoneNumber,
    pub body: String,
    pub media: Vec<Media>,
    /// What the carrier charges it as; 0 while that isn't known.
    pub segments: u32,
    pub status: Status,
    /// Why it failed, for people; "" if it didn't.
    pub error: String,
    /// The carrier's number for that.
    pub error_code: Option<u32>,
    /// When it came in or was asked to be sent.
    pub created_at: Micros,
    /// 0 to 1; None if nobody could be meant, or we wrote it.
    pub attribution_confidence: Option<f64>,
    /// What an incoming message is credited to.
    pub attribution: Snapshot,
}

/// Shows neither numbers nor texts.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message").field("id", &self.id).field("status", &self.status).finish_non_exhaustive()
    }
}

const COLUMNS: &str = "m.id, m.company_id, c.name, m.tracker_id, t.name, m.from_number, m.to_number, m.body,
    m.media, m.segments, m.status, m.error, m.error_code, m.created_at, m.attribution_confidence, m.attribution
    from messages m join companies c on c.id = m.company_id join trackers t on t.id = m.tracker_id";

impl FromRow for Message {
    fn from_row(row: &mut Row<'_>) -> db::Result<Message> {
        let unknown = |what| db::Error::Internal(format!("a message has an unknown {what}"));
        Ok(Message {
            id: row.get()?,
            company_id: row.get()?,
            company_name: row.get()?,
            tracker_id: row.get()?,
            tracker_name: row.get()?,
            from: PhoneNumber::from_e164(&row.get::<String>()?),
            to: row.get()?,
            body: row.get()?,
            media: media_of(&row.get::<String>()?).ok_or_else(|| unknown("list of media"))?,
            segments: row.get()?,
            status: Status::parse(&row.get::<String>()?).ok_or_else(|| unknown("status"))?,
            error: row.get()?,
            error_code: row.get()?,
            created_at: row.get()?,
            attribution_confidence: row.get()?,
            attribution: Snapshot::parse(&row.get::<String>()?),
        })
    }
}

/// What became of a message that was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    New(MessageId),
    /// The carrier had told it before.
    Repeated,
    /// The number is nobody's now.
    UnknownNumber,
}

/// Takes a message in, once, and tells of it. A wish in it to get no more messages, or some again, is kept;
/// that of a repeated message isn't, since a later one may have changed it.
///
/// # Errors
/// The database's.
pub fn receive(tx: &mut Tx<'_>, carrier: CarrierId, scope: Scope, arrival: &Arrival) -> db::Result<Received> {
    let found = route::find(tx, carrier, &arrival.to)?.filter(|r| r.tracker.company_id == scope.company());
    let Some(route) = found else { return Ok(Received::UnknownNumber) };
    let (now, from, settings) = (tx.now(), arrival.from.as_ref(), &route.tracker.settings);
    // All that it writes is the caller's first contact, which a repeated message can't be.
    let credit = visits::attribute(tx, scope, settings, route.number_id, from, now)?;
    let made: Option<(MessageId,)> = tx.find(
        sql("insert into messages (company_id, tracker_id, number_id, carrier_id, carrier_message_id, direction,
             from_number, to_number, body, media, segments, status, error, created_at, accepted_at, session_id,
             attribution_confidence, attribution)
             values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?, ?, ?, ?)
             on conflict (carrier_id, carrier_message_id) do nothing returning id")
        .bind(scope.company())
        .bind(route.tracker.id)
        .bind(route.number_id)
        .bind(carrier)
        .bind(&arrival.carrier_message_id)
        .bind(Direction::Incoming.as_str())
        .bind(from.map_or("", PhoneNumber::as_str))
        .bind(&route.tracking_number)
        .bind(storable(&arrival.body))
        .bind(media_text(&arrival.media))
        .bind(i64::from(arrival.segments))
        .bind(Status::Received.as_str())
        .bind(now)
        .bind(now)
        .bind(credit.session)
        .bind(credit.confidence)
        .bind(credit.snapshot.to_text()),
    )?;
    let Some((id,)) = made else { return Ok(Received::Repeated) };
    if let (Some(number), Some(wish)) = (from, arrival.opt_out) {
        opt_outs::record(tx, scope, number, wish)?;
    }
    let message = get(tx, scope, id)?;
    events::append(tx, scope, EventType::MessageReceived, &message.to_json())?;
    Ok(Received::New(id))
}

/// The message, if it is this company's.
///
/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, scope: Scope, id: MessageId) -> db::Result<Option<Message>> {
    let statement = format!("select {COLUMNS} where m.company_id = ? and m.id = ?");
    tx.find(sql(statement).bind(scope.company()).bind(id))
}

/// Newest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, page: Page) -> db::Result<Listed<Message>> {
    let rows = db
        .read("messages.list", move |tx| {
            let statement =
                format!("select {COLUMNS} where m.company_id = ? and m.id < ? order by m.id desc limit ?");
            tx.all(
                sql(statement)
                    .bind(scope.company())
                    .bind(page.after.unwrap_or(i64::MAX))
                    .bind(page.fetch_limit()),
            )
        })
        .await?;
    Ok(Listed::new(rows, page, |message: &Message| message.id.0))
}

fn get(tx: &mut Tx<'_>, scope: Scope, id: MessageId) -> db::Result<Message> {
    find(tx, scope, id)?.ok_or_else(|| db::Error::Internal(format!("message {id} is gone")))
}

/// The text without NUL, which PostgreSQL can't store (docs: "Character Types"), and within the limit.
fn storable(body: &str) -> String {
    body.chars().filter(|c| *c != '\0').take(BODY_CHARS_MAX).collect()
}

fn media_text(media: &[Media]) -> String {
    // JSON writes a NUL as an escape, so that the column's text never holds one.
    let file = |media: &Media| json!([media.url, media.content_type]);
    Json::from(media.iter().map(file).collect::<Vec<_>>()).to_string()
}

fn media_of(text: &str) -> Option<Vec<Media>> {
    let files: Vec<(String, String)> = serde_json::from_str(text).ok()?;
    Some(files.into_iter().map(|(url, content_type)| Media { url, content_type }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_round_trip_and_say_the_direction() {
        for word in ["received", "queued", "sent", "delivered", "undelivered", "failed", "canceled"] {
            let status = Status::parse(word).unwrap();
            assert_eq!(status.as_str(), word);
            assert_eq!(status.direction() == Direction::Incoming, word == "received");
        }
        assert_eq!(Status::parse("lost"), None);
    }

    #[test]
    fn texts_lose_nul_and_nothing_else() {
        assert_eq!(storable("a\0b\n👩‍👩‍👧 żółw"), "ab\n👩‍👩‍👧 żółw");
        assert_eq!(storable(&"👍".repeat(1_601)).chars().count(), 1_600);
    }

    #[test]
    fn media_round_trip() {
        let media = vec![Media { url: "https://x/\"ü\0".to_owned(), content_type: "image/png".to_owned() }];
        assert!(!media_text(&media).contains('\0'));
        assert_eq!(media_of(&media_text(&media)), Some(media));
        assert_eq!(media_of("[]"), Some(vec![]));
    }
}
