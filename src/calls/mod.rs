//! Calls: what came in on a tracking number, from whom, what became of it. [`record`] takes in what a carrier
//! tells (in a transaction that its callback waits for) and says what the carrier shall do next; [`settle`] and
//! [`reconcile`] finish what callbacks left open. A call is told of twice: `call.received` when it arrives and
//! `call.finished` exactly once, when its end is settled ([`state`]); that holds for a blocked call too, which
//! is received as `ringing` and finished as `blocked`. `call.recording.available` follows when the audio is
//! ours, never before `call.finished`.
//!
//! Not here: how carriers write (`carriers`), the audio (`recordings`), messages that callers leave
//! (`voicemails`).

mod edit;
mod fold;
mod json;
mod list;
mod plan;
pub mod reconcile;
mod record;
mod row;
mod settle;
pub mod state;
pub mod update;

pub use self::edit::{Edit, LEAD_STATUS_CHARS_MAX, NOTE_CHARS_MAX, TAG_CHARS_MAX, TAGS_MAX, edit};
pub use self::list::{CallView, Filter, SEARCH_CHARS_MAX, get, list, of_sessions, of_visitor, to_return};
pub use self::plan::{fallback, hang_up, not_in_service};
pub use self::record::{
    Next, Recorded, Via, announce_recordings, hold, record, record_late, record_recording,
};
pub use self::row::{Call, RecordingBrief, find, find_by_carrier_id};
pub use self::settle::settle;
