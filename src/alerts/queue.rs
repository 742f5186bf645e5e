//! What is to be mailed, to whom and when, in the database. The server isn't spoken to here.
//!
//! - A mail tells of all alerts of a company that wait when it begins, and a company's mails begin [`PACE`]
//!   apart: the first alert is mailed at once, and a flood becomes a mail every ten minutes.
//! - A mail is written down before it is tried, with the time of the next try: whatever happens meanwhile, even
//!   the end of the program, it has a bounded number of tries, and two processes don't make the same one.

use std::time::Duration;

use super::{Alert, COLUMNS};
use crate::companies::{self, Company, Scope};
use crate::db::{self, Db, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{AlertId, CompanyId};
use crate::users::{self, User};

/// Between the beginnings of two mails to a company.
pub(super) const PACE: Duration = Duration::from_secs(10 * 60);
/// Gaps between the tries of a mail, each counted from the beginning of the one before; then it is given up.
const RETRY_GAPS: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(6 * 3600),
];
/// Users of a company that are written to.
const USERS_MAX: i64 = 50;
/// Alerts that a mail tells of one by one; of the rest it gives the number.
const TOLD_MAX: i64 = 20;
/// What stands there if a try never came to its end.
const UNFINISHED: &str = "The last try was not finished.";

/// A try that was begun: a mail for each of `to`.
#[derive(Debug)]
pub(super) struct Mail {
    /// The alert that it began with.
    pub id: AlertId,
    /// Names it in its Message-ID.
    pub uid: String,
    pub company: Company,
    /// Oldest first, [`TOLD_MAX`] at most.
    pub told: Vec<Alert>,
    /// Alerts that it tells of, those that aren't in `told` included.
    pub total: i64,
    /// Whom it hasn't reached yet.
    pub to: Vec<User>,
    /// As in [`Outcome`].
    pub refused: Vec<String>,
    /// The number of the try.
    pub attempt: u32,
    pub is_last: bool,
    pub now: Micros,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Next {
    Send(Box<Mail>),
    /// Something was due that isn't to be sent now: ask again.
    Again,
    Nothing,
}

struct Due {
    id: AlertId,
    uid: String,
    company: CompanyId,
    attempts: u32,
    /// None if no try came to its end.
    progress: Option<Outcome>,
}

impl FromRow for Due {
    fn from_row(row: &mut Row<'_>) -> db::Result<Due> {
        let (id, uid, company, attempts) = (row.get()?, row.get()?, row.get()?, row.get()?);
        let progress = match row.get::<String>()?.as_str() {
            "" => None,
            json => serde_json::from_str(json)
                .map(Some)
                .map_err(|e| db::Error::Internal(format!("the progress of alert {id}: {e}")))?,
        };
        Ok(Due { id, uid, company, attempts, progress })
    }
}

/// Without a mail server nothing waits to be mailed; nor is it, once there is one.
pub(super) async fn forget(db: &Db) -> db::Result<()> {
    let statement = "update alerts set mail_due_at = null where mail_due_at is not null";
    db.write("alerts.forget", move |tx| tx.execute(sql(statement))).await?;
    Ok(())
}

/// Begins the try that is due for the longest time.
pub(super) fn begin(tx: &mut Tx<'_>) -> db::Result<Next> {
    let statement = "select id, uid, company_id, mail_attempts, mail_progress from alerts
                     where mail_due_at is not null and mail_due_at <= ? order by mail_due_at, id limit 1
                     {{for_update}}";
    let now = tx.now();
    let Some(due) = tx.find::<Due>(sql(statement).bind(now))? else { return Ok(Next::Nothing) };
    let scope = Scope::of(due.company);
    let users = users::to_tell(tx, scope, USERS_MAX)?;
    let company = companies::find(tx, due.company)?.filter(|_| !users.is_empty());
    let Some(company) = company else {
        let nobody = "update alerts set mail_due_at = null where company_id = ? and mail_due_at is not null";
        tx.execute(sql(nobody).bind(due.company))?;
        return Ok(Next::Again);
    };
    if due.attempts == 0 && !gather(tx, &due)? {
        return Ok(Next::Again);
    }
    let gap = RETRY_GAPS.get(usize::try_from(due.attempts).unwrap_or(usize::MAX));
    let attempt = due.attempts + 1;
    let begun = "update alerts set mail_attempts = ?, mail_due_at = ?, mail_failure = ? where id = ?";
    let next = gap.map(|gap| now.after(*gap));
    tx.execute(sql(begun).bind(i64::from(attempt)).bind(next).bind(UNFINISHED).bind(due.id))?;
    let told = format!("select {COLUMNS} where a.mail_in = ? order by a.id limit ?");
    let told = tx.all(sql(told).bind(due.id).bind(TOLD_MAX))?;
    let (total,) = tx.one(sql("select count(*) from alerts where mail_in = ?").bind(due.id))?;
    let (Due { id, uid, progress, .. }, is_last) = (due, gap.is_none());
    let (to, refused) = match progress {
        None => (users, Vec::new()),
        Some(Outcome { left, refused, .. }) => (in_order(&users, &left), refused),
    };
    Ok(Next::Send(Box::new(Mail { id, uid, company, told, total, to, refused, attempt, is_last, now })))
}

fn in_order(users: &[User], ids: &[i64]) -> Vec<User> {
    ids.iter().filter_map(|id| users.iter().find(|user| user.id.0 == *id)).cloned().collect()
}

/// Makes a mail of all alerts of the company that wait for one. False, and they go on waiting, if the one
/// before began a short time ago.
fn gather(tx: &mut Tx<'_>, first: &Due) -> db::Result<bool> {
    let now = tx.now();
    let before = "select mail_began_at from alerts where company_id = ? and mail_began_at is not null
                  order by id desc limit 1";
    let before: Option<(Micros,)> = tx.find(sql(before).bind(first.company))?;
    let waiting = "company_id = ? and mail_in is null and mail_due_at is not null";
    if let Some((before,)) = before
        && before.after(PACE) > now
    {
        let later = format!("update alerts set mail_due_at = ? where {waiting}");
        tx.execute(sql(later).bind(before.after(PACE)).bind(first.company))?;
        return Ok(false);
    }
    let gathered = format!("update alerts set mail_in = ?, mail_due_at = null where {waiting}");
    tx.execute(sql(gathered).bind(first.id).bind(first.company))?;
    let began = "update alerts set mail_began_at = ? where id = ?";
    tx.execute(sql(began).bind(now).bind(first.id))?;
    Ok(true)
}

/// What came of a mail's tries so far.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Outcome {
    /// Ids of the users that the next try may reach, in the order in which it is to try.
    pub left: Vec<i64>,
    /// For whom it was given up, and why: a sentence for each.
    pub refused: Vec<String>,
    /// Why the last try didn't reach those that are left; "" if none are.
    #[serde(skip)]
    pub failure: String,
}

/// Writes down what came of a try, unless another was begun meanwhile.
pub(super) fn end(tx: &mut Tx<'_>, id: AlertId, attempt: u32, outcome: &Outcome) -> db::Result<()> {
    let progress = serde_json::to_string(outcome).expect("numbers and texts always become JSON");
    let failure = [outcome.refused.join(" "), outcome.failure.clone()].join(" ");
    let done = outcome.left.is_empty();
    tx.execute(
        sql("update alerts set mail_progress = ?, mail_failure = ?,
             mail_due_at = case when ? then null else mail_due_at end where id = ? and mail_attempts = ?")
        .bind(progress)
        .bind(failure.trim())
        .bind(done)
        .bind(id)
        .bind(i64::from(attempt)),
    )?;
    Ok(())
}
