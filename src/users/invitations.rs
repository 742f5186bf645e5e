//! Invitations: a link on which somebody chooses a password and becomes a user. Its token is random, kept as a hash, and
//! good once and for a week.

use std::time::Duration;

use super::{
    AddError, Email, NewLogin, NewPassword, hash_password, hashing, insert, insert_login, token_hash,
};
use crate::companies::{self, Scope};
use crate::db::{self, Db, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{self, CompanyId, InvitationId};
use crate::kernel::seed::Seed;

/// So long a link is good.
pub const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// Invitations that a company may have open; a new one ends the oldest.
const OPEN_MAX: i64 = 100;

/// An invitation that nobody has taken yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    pub id: InvitationId,
    pub company: Option<CompanyId>,
    pub email: String,
    pub can_write: bool,
    pub expires_at: Micros,
}

const COLUMNS: &str = "id, company_id, email, can_write, expires_at from invitations";

impl FromRow for Invitation {
    fn from_row(row: &mut Row<'_>) -> db::Result<Invitation> {
        Ok(Invitation {
            id: row.get()?,
            company: row.get()?,
            email: row.get()?,
            can_write: row.get()?,
            expires_at: row.get()?,
        })
    }
}

/// Invites somebody to a company, instead of an earlier time if there is one, and gives the token, which is nowhere else.
///
/// # Errors
/// [`AddError::Taken`]: they are a user already.
pub fn invite(tx: &mut Tx<'_>, scope: Scope, email: &Email, can_write: bool) -> Result<String, AddError> {
    let known = sql("select id from users where email = ?").bind(email.as_str());
    if tx.find::<(i64,)>(known)?.is_some() {
        return Err(AddError::Taken);
    }
    let (now, company) = (tx.now(), scope.company());
    tx.execute(
        sql("delete from invitations where company_id = ? and (email = ? or expires_at <= ? or id not in
             (select id from invitations where company_id = ? order by id desc limit ?))")
        .bind(company)
        .bind(email.as_str())
        .bind(now)
        .bind(company)
        .bind(OPEN_MAX - 1),
    )?;
    let token = id::secret("cti_", tx.seed());
    tx.execute(
        sql("insert into invitations (company_id, email, can_write, hash, created_at, expires_at)
             values (?, ?, ?, ?, ?, ?)")
        .bind(company)
        .bind(email.as_str())
        .bind(can_write)
        .bind(token_hash(&token))
        .bind(now)
        .bind(now.after(LIFETIME)),
    )?;
    Ok(token)
}

/// A company's invitations that are good, oldest first.
///
/// # Errors
/// The database's.
pub fn open(tx: &mut Tx<'_>, scope: Scope) -> db::Result<Vec<Invitation>> {
    let statement = format!("select {COLUMNS} where company_id = ? and expires_at > ? order by id limit ?");
    tx.all(sql(statement).bind(scope.company()).bind(tx.now()).bind(OPEN_MAX))
}

/// Takes an invitation back. False: there is none.
///
/// # Errors
/// The database's.
pub fn withdraw(tx: &mut Tx<'_>, scope: Scope, id: InvitationId) -> db::Result<bool> {
    let statement = "delete from invitations where company_id = ? and id = ?";
    Ok(tx.execute(sql(statement).bind(scope.company()).bind(id))? > 0)
}

/// The invitation with this token; None if it was used or taken back, has expired, or its company is gone.
///
/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, token: &str) -> db::Result<Option<Invitation>> {
    let statement = format!("select {COLUMNS} where hash = ? and expires_at > ?");
    let found: Option<Invitation> = tx.find(sql(statement).bind(token_hash(token)).bind(tx.now()))?;
    let Some(invitation) = found else { return Ok(None) };
    let is_there = match invitation.company {
        Some(company) => companies::find(tx, company)?.is_some(),
        None => true,
    };
    Ok(Some(invitation).filter(|_| is_there))
}

/// Makes whoever was invited a user and logs them in. None: there is no such invitation any more.
///
/// # Errors
/// See [`AddError`].
pub async fn accept(
    db: &Db,
    seed: &Seed,
    token: &str,
    password: NewPassword,
) -> Result<Option<NewLogin>, AddError> {
    let salt = seed.bytes::<16>();
    let hash = hashing(move || hash_password(&password.0, &salt)).await.ok_or(AddError::Busy)?;
    let (token, login) = (token.to_owned(), id::secret("ctl_", seed));
    let login_hash = token_hash(&login);
    let add = move |tx: &mut Tx<'_>| -> Result<_, AddError> {
        let Some(invitation) = find(tx, &token)? else { return Ok(None) };
        // Of two who come with it at once, one finds it gone.
        if tx.execute(sql("delete from invitations where id = ?").bind(invitation.id))? == 0 {
            return Ok(None);
        }
        let Some(email) = Email::parse(&invitation.email) else { return Ok(None) };
        let user = insert(tx, &email, &hash, invitation.company)?;
        super::members::set_can_write(tx, user.id, invitation.can_write)?;
        insert_login(tx, user.id, &login_hash)?;
        Ok(Some(user.id))
    };
    let user = db.write("invitations.accept", add).await?;
    Ok(user.map(|user| NewLogin { user, token: login }))
}
