//! Finding calls again: one, or a filtered page of a company's, newest first.

use std::collections::HashMap;

use super::fold;
use super::row::{self, Call, SELECT};
use super::state::Status;
use crate::companies::Scope;
use crate::db::{self, Db, Sql, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{CallId, SessionId, TrackerId, VisitorId};
use crate::kernel::page::{Listed, Page};

/// A search text at most, in characters.
pub const SEARCH_CHARS_MAX: usize = 100;

/// A call with its tags: what the API and the events show.
#[derive(Clone, Debug)]
pub struct CallView {
    pub call: Call,
    /// In alphabetical order.
    pub tags: Vec<String>,
}

/// Which calls; None is any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Started at this moment or later.
    pub from: Option<Micros>,
    /// Started before this moment.
    pub to: Option<Micros>,
    pub tracker: Option<TrackerId>,
    pub status: Option<Status>,
    pub source_channel: Option<String>,
    /// Who sent the visitor; known when the call is counted into the reports.
    pub source: Option<String>,
    pub source_keyword: Option<String>,
    /// The page's URL without what follows `?` or `#`.
    pub landing_page: Option<String>,
    pub is_first_time: Option<bool>,
    /// Lasted this many seconds or longer.
    pub min_duration_s: Option<u32>,
    pub tag: Option<String>,
    pub lead_status: Option<String>,
    /// Anywhere in the caller's number, name or city, the tracking number, the tracker's name or the note;
    /// [`SEARCH_CHARS_MAX`] at most.
    pub search: Option<String>,
}

/// A page, newest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, filter: Filter, page: Page) -> db::Result<Listed<CallView>> {
    let rows = db
        .read("calls.list", move |tx| {
            let calls: Vec<Call> = tx.all(statement(scope, &filter, page))?;
            with_tags(tx, calls)
        })
        .await?;
    Ok(Listed::new(rows, page, |view| view.call.id.0))
}

/// One call; None if the company has no such.
///
/// # Errors
/// The database's.
pub fn get(tx: &mut Tx<'_>, scope: Scope, id: CallId) -> db::Result<Option<CallView>> {
    row::find(tx, scope, id)?.map(|call| view(tx, call)).transpose()
}

/// The call with its tags.
pub(super) fn view(tx: &mut Tx<'_>, call: Call) -> db::Result<CallView> {
    let tags: Vec<(String,)> =
        tx.all(sql("select tag from call_tags where call_id = ? order by tag").bind(call.id))?;
    Ok(CallView { call, tags: tags.into_iter().map(|(tag,)| tag).collect() })
}

/// Calls since `since` that nobody took and whose caller hasn't been spoken with since, newest first. Withheld numbers
/// can't be called back.
///
/// # Errors
/// The database's.
pub fn to_return(tx: &mut Tx<'_>, scope: Scope, since: Micros, limit: i64) -> db::Result<Vec<Call>> {
    // Ids grow as time does: where to stop is found by the time's own index.
    let start = format!(
        "{SELECT} where c.company_id = ? and c.id >= coalesce((select s.id from calls s where s.company_id = ?
             and s.started_at >= ? order by s.started_at limit 1), 9223372036854775807)
         and not c.spam and c.caller_number <> ''
         and c.status in ('no_answer', 'busy', 'failed', 'canceled', 'voicemail')
         and not exists (select 1 from calls d where d.company_id = c.company_id
             and d.caller_number = c.caller_number and d.id > c.id) order by c.id desc limit ?"
    );
    tx.all(sql(start).bind(scope.company()).bind(scope.company()).bind(since).bind(limit))
}

/// The last call of each of these visits; visits that no call is credited to are left out.
///
/// # Errors
/// The database's.
pub fn of_sessions(
    tx: &mut Tx<'_>,
    scope: Scope,
    sessions: &[SessionId],
) -> db::Result<HashMap<SessionId, CallId>> {
    let statement =
        "select session_id, max(id) from calls where session_id {{in_ids}} and company_id = ? group by 1";
    let statement = sql(statement).bind_ids(sessions.iter().map(|id| id.0)).bind(scope.company());
    Ok(tx.all::<(SessionId, CallId)>(statement)?.into_iter().collect())
}

/// The calls that are credited to visits of a visitor, newest first.
///
/// # Errors
/// The database's.
pub fn of_visitor(tx: &mut Tx<'_>, scope: Scope, visitor: VisitorId, limit: i64) -> db::Result<Vec<Call>> {
    let statement = format!(
        "{SELECT} where c.company_id = ? and c.session_id in (select id from sessions where visitor_id = ?)
         order by c.id desc limit ?"
    );
    tx.all(sql(statement).bind(scope.company()).bind(visitor).bind(limit))
}

fn statement(scope: Scope, filter: &Filter, page: Page) -> Sql {
    let start = format!("{SELECT} where c.company_id = ? and c.id < ?");
    let mut statement = sql(start).bind(scope.company()).bind(page.after.unwrap_or(i64::MAX));
    if let Some(from) = filter.from {
        statement = statement.and(" and c.started_at >= ?").bind(from);
    }
    if let Some(to) = filter.to {
        statement = statement.and(" and c.started_at < ?").bind(to);
    }
    if let Some(tracker) = filter.tracker {
        statement = statement.and(" and c.tracker_id = ?").bind(tracker);
    }
    if let Some(status) = filter.status {
        statement = statement.and(" and c.status = ?").bind(status.as_str());
    }
    if let Some(channel) = &filter.source_channel {
        statement = statement.and(" and c.source_channel = ?").bind(channel);
    }
    if let Some(source) = &filter.source {
        statement = statement.and(" and c.source_name = ?").bind(source);
    }
    if let Some(keyword) = &filter.source_keyword {
        statement = statement.and(" and c.source_keyword = ?").bind(keyword);
    }
    if let Some(page) = &filter.landing_page {
        let begins = "substr(c.landing_page, 1, length(cast(? as text)) + 1) in (?, ?)";
        statement = statement.and(&format!(" and (c.landing_page = ? or {begins})"));
        statement = statement.bind(page).bind(page).bind(format!("{page}?")).bind(format!("{page}#"));
    }
    if let Some(first) = filter.is_first_time {
        statement = statement.and(" and c.is_first_time = ?").bind(first);
    }
    if let Some(seconds) = filter.min_duration_s {
        statement = statement.and(" and c.call_duration >= ?").bind(i64::from(seconds));
    }
    if let Some(tag) = &filter.tag {
        let tagged = " and exists (select 1 from call_tags g where g.call_id = c.id and g.tag = ?)";
        statement = statement.and(tagged).bind(tag);
    }
    if let Some(lead_status) = &filter.lead_status {
        statement = statement.and(" and c.lead_status = ?").bind(lead_status);
    }
    if let Some(search) = &filter.search {
        let cut: String = search.chars().take(SEARCH_CHARS_MAX).collect();
        statement = statement.and(r" and c.search_text like ? escape '\'").bind(fold::pattern(&cut));
    }
    statement.and(" order by c.id desc limit ?").bind(page.fetch_limit())
}

/// The tags of a whole page in one question.
fn with_tags(tx: &mut Tx<'_>, calls: Vec<Call>) -> db::Result<Vec<CallView>> {
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let question = "select call_id, tag from call_tags where call_id {{in_ids}} order by call_id desc, tag";
    let question = sql(question).bind_ids(calls.iter().map(|call| call.id.0));
    let mut tags: Vec<(CallId, String)> = tx.all(question)?;
    let views = calls.into_iter().map(|call| {
        let mine = tags.extract_if(.., |(id, _)| *id == call.id).map(|(_, tag)| tag).collect();
        CallView { call, tags: mine }
    });
    Ok(views.collect())
}
