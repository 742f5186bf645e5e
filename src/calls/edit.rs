//! What people add to a call: tags, a note, what it was worth, how the lead is doing, whether it was spam.

use super::fold;
use super::list::{CallView, get};
use crate::companies::Scope;
use crate::db::{self, Tx, sql};
use crate::kernel::id::CallId;

/// Tags of a call at most.
pub const TAGS_MAX: usize = 50;
/// A tag at most, in characters.
pub const TAG_CHARS_MAX: usize = 64;
/// A note at most, in characters.
pub const NOTE_CHARS_MAX: usize = 10_000;
/// A lead's status at most, in characters. The words are the company's own; "" is none.
pub const LEAD_STATUS_CHARS_MAX: usize = 64;

/// A change; what is None stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edit {
    /// All tags, replacing those there are.
    pub tags: Option<Vec<String>>,
    pub note: Option<String>,
    /// In the company's currency. `Some(None)` takes it away.
    pub value: Option<Option<f64>>,
    pub lead_status: Option<String>,
    pub spam: Option<bool>,
}

impl Edit {
    /// What can't be stored: the field and why, for all fields at once.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let long = |text: &str, chars_max| text.chars().count() > chars_max;
        let mut problems = Vec::new();
        if let Some(tags) = &self.tags {
            if tags.len() > TAGS_MAX {
                problems.push(("tags", format!("may be {TAGS_MAX} at most")));
            }
            let bad = |tag: &String| {
                tag.trim().is_empty() || long(tag, TAG_CHARS_MAX) || tag.chars().any(char::is_control)
            };
            if tags.iter().any(bad) {
                let why = format!("must each be 1 to {TAG_CHARS_MAX} characters on one line");
                problems.push(("tags", why));
            }
        }
        if self.note.as_ref().is_some_and(|note| long(note, NOTE_CHARS_MAX) || note.contains('\0')) {
            problems.push(("note", format!("may have {NOTE_CHARS_MAX} characters at most, and no NUL")));
        }
        let bad_word =
            |text: &String| long(text, LEAD_STATUS_CHARS_MAX) || text.chars().any(char::is_control);
        if self.lead_status.as_ref().is_some_and(bad_word) {
            let why = format!("may have {LEAD_STATUS_CHARS_MAX} characters at most, on one line");
            problems.push(("lead_status", why));
        }
        if self.value.flatten().is_some_and(|value| !value.is_finite() || value < 0.0) {
            problems.push(("value", "must not be negative".to_owned()));
        }
        problems
    }
}

/// Changes a call. `edit` has no [`Edit::problems`]. None: no such call.
///
/// # Errors
/// The database's.
pub fn edit(tx: &mut Tx<'_>, scope: Scope, id: CallId, edit: &Edit) -> db::Result<Option<CallView>> {
    // Two edits of one call come one after the other.
    let held = "select id from calls where company_id = ? and id = ? {{for_update}}";
    if tx.find::<(CallId,)>(sql(held).bind(scope.company()).bind(id))?.is_none() {
        return Ok(None);
    }
    let Some(CallView { call, .. }) = get(tx, scope, id)? else { return Ok(None) };
    let note = edit.note.as_ref().unwrap_or(&call.note);
    let searched = [
        call.caller_number.as_str(),
        &call.caller_name,
        &call.caller_city,
        &call.tracking_number,
        &call.tracker_name,
        note,
    ];
    tx.execute(
        sql("update calls set note = ?, value = ?, lead_status = ?, spam = ?, search_text = ?,
             count_due = (count_due or spam <> ?) where id = ?")
        .bind(note)
        .bind(edit.value.unwrap_or(call.value))
        .bind(edit.lead_status.as_ref().map_or(call.lead_status.as_str(), |word| word.trim()))
        .bind(edit.spam.unwrap_or(call.spam))
        .bind(fold::searchable(&searched))
        .bind(edit.spam.unwrap_or(call.spam))
        .bind(id),
    )?;
    if let Some(tags) = &edit.tags {
        replace_tags(tx, id, tags)?;
    }
    get(tx, scope, id)
}

fn replace_tags(tx: &mut Tx<'_>, id: CallId, tags: &[String]) -> db::Result<()> {
    tx.execute(sql("delete from call_tags where call_id = ?").bind(id))?;
    for tag in tags {
        let statement = "insert into call_tags (call_id, tag) values (?, ?) on conflict do nothing";
        tx.execute(sql(statement).bind(id).bind(tag.trim()))?;
    }
    Ok(())
}
