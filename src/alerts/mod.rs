//! Alerts: what a company's people are told about their webhooks. One starts failing, is deactivated,
//! recovers; whoever changes a webhook's state raises the alert in the same transaction, so that an alert
//! exists exactly if its change does. When that is, is decided there and not here.
//!
//! - [`words`] is how it is put; [`queue`] what is to be mailed and when, in the database.
//! - [`letter`] is the mail; [`smtp`] gives one to the server; [`post`] is the job that does both.
//! - An alert may repeat what a stranger's server said: it is text, never markup, and one line.

mod letter;
mod post;
mod queue;
mod smtp;
mod words;

pub use self::post::run_once as mail_due;

use serde_json::{Value as Json, json};

use crate::companies::Scope;
use crate::db::{self, Db, FromRow, Row, Sql, Tx, Wake, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{AlertId, CompanyId, WebhookId};
use crate::kernel::page::{Listed, Page};

/// What happened to a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A delivery failed, and none had before.
    Failing,
    /// The last retry of a delivery failed: nothing is sent any more.
    Deactivated,
    /// It was failing or deactivated, and takes deliveries again.
    Recovered,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Failing, Kind::Deactivated, Kind::Recovered];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Failing => "webhook.failing",
            Kind::Deactivated => "webhook.deactivated",
            Kind::Recovered => "webhook.recovered",
        }
    }

    pub fn parse(text: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What there is to tell.
#[derive(Clone, Debug)]
pub struct NewAlert {
    pub kind: Kind,
    pub webhook: WebhookId,
    /// The webhook's URL. Its host is told and no more: paths of targets hold secrets.
    pub target: String,
    /// A sentence, or more; "" if there is nothing to add. May repeat a stranger's words.
    pub reason: String,
}

/// How far an alert's mail has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailStatus {
    /// It isn't mailed: there is no mail server, or nobody to write to.
    None,
    /// It is to be mailed, or tried again.
    Pending,
    /// The mail server took it for everybody.
    Sent,
    /// Given up, for one user at least; [`Mailed::failure`] says why.
    Failed,
}

impl MailStatus {
    pub const ALL: [MailStatus; 4] =
        [MailStatus::None, MailStatus::Pending, MailStatus::Sent, MailStatus::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            MailStatus::None => "none",
            MailStatus::Pending => "pending",
            MailStatus::Sent => "sent",
            MailStatus::Failed => "failed",
        }
    }
}

/// What became of the mail that an alert is told in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailed {
    pub due_at: Option<Micros>,
    pub attempts: u32,
    /// Why the last try failed; "" if it didn't.
    pub failure: String,
}

impl Mailed {
    pub fn status(&self) -> MailStatus {
        match (self.due_at, self.attempts, self.failure.is_empty()) {
            (Some(_), _, _) => MailStatus::Pending,
            (None, 0, _) => MailStatus::None,
            (None, _, true) => MailStatus::Sent,
            (None, _, false) => MailStatus::Failed,
        }
    }
}

/// An alert as stored.
#[derive(Clone, Debug)]
pub struct Alert {
    pub id: AlertId,
    pub company_id: CompanyId,
    pub kind: Kind,
    pub webhook_id: WebhookId,
    /// For people.
    pub message: String,
    pub created_at: Micros,
    /// When somebody said that they have seen it.
    pub acknowledged_at: Option<Micros>,
    pub mail: Mailed,
}

/// The mail's state is that of the alert which it began with.
const COLUMNS: &str = "a.id, a.company_id, a.kind, a.webhook_id, a.message, a.created_at, a.acknowledged_at,
    m.mail_due_at, m.mail_attempts, m.mail_failure
    from alerts a join alerts m on m.id = coalesce(a.mail_in, a.id)";

impl FromRow for Alert {
    fn from_row(row: &mut Row<'_>) -> db::Result<Alert> {
        let unknown = || db::Error::Internal("an alert has an unknown kind".to_owned());
        Ok(Alert {
            id: row.get()?,
            company_id: row.get()?,
            kind: Kind::parse(&row.get::<String>()?).ok_or_else(unknown)?,
            webhook_id: row.get()?,
            message: row.get()?,
            created_at: row.get()?,
            acknowledged_at: row.get()?,
            mail: Mailed { due_at: row.get()?, attempts: row.get()?, failure: row.get()? },
        })
    }
}

impl Alert {
    /// The object of the API.
    pub fn to_json(&self) -> Json {
        json!({
            "id": self.id,
            "company_id": self.company_id,
            "kind": self.kind.as_str(),
            "webhook_id": self.webhook_id,
            "message": self.message,
            "created_at": self.created_at.rfc3339(),
            "acknowledged_at": self.acknowledged_at.map(Micros::rfc3339),
            "mail_status": self.mail.status().as_str(),
            "mail_attempts": self.mail.attempts,
            "mail_due_at": self.mail.due_at.map(Micros::rfc3339),
            "mail_failure": self.mail.failure,
        })
    }
}

/// Tells a company's people of a change, in the transaction that makes it. It is mailed afterwards.
///
/// # Errors
/// The database's.
pub fn raise(tx: &mut Tx<'_>, scope: Scope, alert: &NewAlert) -> db::Result<AlertId> {
    let statement = "insert into alerts (uid, company_id, kind, webhook_id, message, created_at, mail_due_at,
                     mail_attempts, mail_failure, mail_progress) values (?, ?, ?, ?, ?, ?, ?, 0, '', '')
                     returning id";
    let (uid, now) = (tx.unique(), tx.now());
    let (id,) = tx.one::<(AlertId,)>(
        sql(statement)
            .bind(uid)
            .bind(scope.company())
            .bind(alert.kind.as_str())
            .bind(alert.webhook)
            .bind(words::message(alert))
            .bind(now)
            .bind(now),
    )?;
    tx.wake(Wake::Alerts);
    Ok(id)
}

/// The alert, if it is the company's.
///
/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, scope: Scope, id: AlertId) -> db::Result<Option<Alert>> {
    let statement = format!("select {COLUMNS} where a.company_id = ? and a.id = ?");
    tx.find(sql(statement).bind(scope.company()).bind(id))
}

/// Which alerts; None is any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub kind: Option<Kind>,
    pub webhook: Option<WebhookId>,
    pub acknowledged: Option<bool>,
    /// Raised at this moment or later.
    pub from: Option<Micros>,
    /// Raised before this moment.
    pub to: Option<Micros>,
}

/// Newest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, filter: Filter, page: Page) -> db::Result<Listed<Alert>> {
    let rows = db.read("alerts.list", move |tx| tx.all(statement(scope, &filter, page))).await?;
    Ok(Listed::new(rows, page, |alert: &Alert| alert.id.0))
}

fn statement(scope: Scope, filter: &Filter, page: Page) -> Sql {
    let start = format!("select {COLUMNS} where a.company_id = ? and a.id < ?");
    let mut statement = sql(start).bind(scope.company()).bind(page.after.unwrap_or(i64::MAX));
    if let Some(kind) = filter.kind {
        statement = statement.and(" and a.kind = ?").bind(kind.as_str());
    }
    if let Some(webhook) = filter.webhook {
        statement = statement.and(" and a.webhook_id = ?").bind(webhook);
    }
    if let Some(acknowledged) = filter.acknowledged {
        let state = if acknowledged { "not null" } else { "null" };
        statement = statement.and(&format!(" and a.acknowledged_at is {state}"));
    }
    if let Some(from) = filter.from {
        statement = statement.and(" and a.created_at >= ?").bind(from);
    }
    if let Some(to) = filter.to {
        statement = statement.and(" and a.created_at < ?").bind(to);
    }
    statement.and(" order by a.id desc limit ?").bind(page.fetch_limit())
}

/// Notes that somebody has seen the alert, the first time that it is said, or takes that back. None: no such
/// alert.
///
/// # Errors
/// The database's.
pub fn acknowledge(
    tx: &mut Tx<'_>,
    scope: Scope,
    id: AlertId,
    acknowledged: bool,
) -> db::Result<Option<Alert>> {
    let statement = if acknowledged {
        sql("update alerts set acknowledged_at = coalesce(acknowledged_at, ?) where company_id = ? and id = ?")
            .bind(tx.now())
    } else {
        sql("update alerts set acknowledged_at = null where company_id = ? and id = ?")
    };
    tx.execute(statement.bind(scope.company()).bind(id))?;
    find(tx, scope, id)
}
