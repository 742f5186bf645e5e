//! An event as the server's stream shows it, checked before any of it is printed or sent on. Pure.

use serde_json::value::RawValue;

use super::sse::Frame;
use crate::events;
use crate::kernel::clock::Micros;
use crate::kernel::id::{WebhookId, delivery_id, parse_delivery_id};

/// The webhook that this command stands for. Real ones count from 1.
const WEBHOOK: WebhookId = WebhookId(0);
/// Characters of a type at most; ours have 24.
const TYPE_CHARS_MAX: usize = 64;

/// Valid already.
pub(super) struct Event {
    pub id: i64,
    /// Of which `webhook-id` is made.
    uid: String,
    /// May be one that this version doesn't know.
    pub r#type: String,
    object: String,
    data: Box<RawValue>,
    occurred_at: Micros,
}

/// What a frame of the stream says.
pub(super) enum News {
    /// The stream stands behind the event with this id.
    At(i64),
    Happened(Event),
}

impl News {
    /// # Errors
    /// What is wrong with it: the server isn't one of ours.
    pub(super) fn read(frame: &Frame) -> Result<News, &'static str> {
        let id = frame.id.parse().ok().filter(|id| *id >= 0).ok_or("an event without an id")?;
        let Some(data) = &frame.data else { return Ok(News::At(id)) };
        let event = Event::parse(data)?;
        if event.id != id {
            return Err("an event with two ids");
        }
        Ok(News::Happened(event))
    }
}

impl Event {
    /// Reads the API's object.
    fn parse(json: &str) -> Result<Event, &'static str> {
        #[derive(serde::Deserialize)]
        struct Shown {
            id: i64,
            uid: String,
            r#type: String,
            object: String,
            data: Box<RawValue>,
            timestamp: String,
        }
        let shown: Shown = serde_json::from_str(json).map_err(|_| "data that is not an event's object")?;
        // It becomes a header.
        parse_delivery_id(&delivery_id(&shown.uid, WEBHOOK)).ok_or("an event with a strange uid")?;
        // It is printed on a terminal.
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'_' | b'-');
        if !(1..=TYPE_CHARS_MAX).contains(&shown.r#type.len()) || !shown.r#type.bytes().all(plain) {
            return Err("an event with a strange type");
        }
        let occurred_at = moment(&shown.timestamp).ok_or("an event with a strange timestamp")?;
        let Shown { id, uid, r#type, object, data, .. } = shown;
        Ok(Event { id, uid, r#type, object, data, occurred_at })
    }

    /// The `webhook-id`: made as for any webhook, so the same each time.
    pub(super) fn delivery_id(&self) -> String {
        delivery_id(&self.uid, WEBHOOK)
    }

    /// What is sent to `target`.
    pub(super) fn body(&self, target: &str) -> String {
        events::body(&self.r#type, &self.object, self.data.get(), self.occurred_at, WEBHOOK, target)
    }
}

/// The envelope's time, which has no zone. None unless it would be written the same way again.
fn moment(text: &str) -> Option<Micros> {
    let at: jiff::Timestamp = format!("{text}Z").parse().ok()?;
    Some(Micros::from(at)).filter(|at| at.envelope() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "01M85DG66E1QREN8NYJ8WKV8XG";

    fn read(id: &str, data: Option<&str>) -> Result<News, &'static str> {
        News::read(&Frame { id: id.to_owned(), event: String::new(), data: data.map(str::to_owned) })
    }

    fn shown(from: &str, to: &str) -> String {
        let json = format!(
            r#"{{"id":7,"uid":"{UID}","type":"call.finished","object":"call","data":{{"b": 1.0,"a":"\u00e4"}},"timestamp":"2026-11-23T23:54:43.713","new":1}}"#
        );
        assert!(json.contains(from));
        json.replace(from, to)
    }

    #[test]
    fn an_event_becomes_the_body_of_a_webhook_with_its_data_untouched() {
        let Ok(News::Happened(event)) = read("7", Some(&shown("", ""))) else { panic!("it is an event") };
        assert_eq!(event.delivery_id(), format!("msg_{UID}_0"));
        assert_eq!(
            event.body("http://localhost:3000/Hook"),
            r#"{"type":"call.finished","object":"call","data":{"b": 1.0,"a":"\u00e4"},"timestamp":"2026-11-23T23:54:43.713","webhook":{"id":0,"target":"http://localhost:3000/Hook"}}"#
        );
    }

    #[test]
    fn an_id_alone_says_where_the_stream_stands() {
        assert!(matches!(read("0", None), Ok(News::At(0))));
        for bad in ["", "x", "-1", "99999999999999999999"] {
            assert!(read(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_event_of_ours_is_refused() {
        for (from, to) in [
            (r#""id":7"#, r#""id":8"#),
            (r#""id":7,"#, ""),
            (UID, "x\\r\\ny"),
            ("call.finished", "call\\u001b[31m"),
            ("call.finished", ""),
            (".713", ".713Z"),
            (".713", ".7131"),
            ("2026-11-23T", "yesterday "),
            ("{\"b\"", "{\"b"),
        ] {
            assert!(read("7", Some(&shown(from, to))).is_err(), "{to}");
        }
    }
}
