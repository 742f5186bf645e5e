//! Who may see a company and what they may do there: listed, given another role, removed; and a user's own password. Who
//! may do that to whom is decided where it is asked for.

use super::{LoginError, NewPassword, User, hash_password, hashing, is_password, token_hash};
use crate::companies::Scope;
use crate::db::{self, Db, Tx, sql};
use crate::kernel::id::UserId;
use crate::kernel::seed::Seed;

/// The company's own users, oldest first.
///
/// # Errors
/// The database's.
pub fn of_company(tx: &mut Tx<'_>, scope: Scope, limit: i64) -> db::Result<Vec<User>> {
    let statement =
        "select id, company_id, email, can_write from users where company_id = ? order by id limit ?";
    tx.all(sql(statement).bind(scope.company()).bind(limit))
}

/// Those of the whole account, oldest first.
///
/// # Errors
/// The database's.
pub fn of_account(tx: &mut Tx<'_>, limit: i64) -> db::Result<Vec<User>> {
    let statement =
        "select id, company_id, email, can_write from users where company_id is null order by id limit ?";
    tx.all(sql(statement).bind(limit))
}

/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, id: UserId) -> db::Result<Option<User>> {
    tx.find(sql("select id, company_id, email, can_write from users where id = ?").bind(id))
}

/// It holds from the user's next request on.
///
/// # Errors
/// The database's.
pub fn set_can_write(tx: &mut Tx<'_>, id: UserId, can_write: bool) -> db::Result<()> {
    tx.execute(sql("update users set can_write = ? where id = ?").bind(can_write).bind(id))?;
    Ok(())
}

/// Removes a user and ends their logins.
///
/// # Errors
/// The database's.
pub fn remove(tx: &mut Tx<'_>, id: UserId) -> db::Result<()> {
    tx.execute(sql("delete from logins where user_id = ?").bind(id))?;
    tx.execute(sql("delete from users where id = ?").bind(id))?;
    Ok(())
}

/// Gives a user another password and ends their logins but the one with this token. False: `present` isn't their password.
///
/// # Errors
/// See [`LoginError`].
pub async fn change_password(
    db: &Db,
    seed: &Seed,
    id: UserId,
    present: String,
    new: NewPassword,
    token: &str,
) -> Result<bool, LoginError> {
    let read = move |tx: &mut Tx<'_>| {
        tx.find::<(String,)>(sql("select password_hash from users where id = ?").bind(id))
    };
    let Some((old,)) = db.read("users.password", read).await? else { return Ok(false) };
    let salt = seed.bytes::<16>();
    let hash = move || is_password(&present, &old).then(|| hash_password(&new.0, &salt));
    let Some(hash) = hashing(hash).await.ok_or(LoginError::Busy)? else { return Ok(false) };
    let login = token_hash(token);
    let change = move |tx: &mut Tx<'_>| {
        tx.execute(sql("update users set password_hash = ? where id = ?").bind(&hash).bind(id))?;
        tx.execute(sql("delete from logins where user_id = ? and hash <> ?").bind(id).bind(login.clone()))
    };
    db.write("users.change_password", change).await?;
    Ok(true)
}
