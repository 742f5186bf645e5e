//! Users: people who look at the pages, each with an e-mail address, a password, and either one company or
//! the whole account. A browser in which a user has logged in holds a **login**: a random token whose hash is
//! a row here, so that logging out ends it at once and a stolen database opens nothing.
//!
//! Passwords are hashed by Argon2id with OWASP's parameters, on a thread that may block and never inside a
//! transaction. How often somebody may try is decided where the tries come in (`http::ui`).

pub mod invitations;
pub mod members;

use std::sync::LazyLock;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::digest::{SHA256, digest};
use tokio::sync::Semaphore;

use crate::companies::{self, Scope};
use crate::db::{self, Db, FromRow, LockSpace, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{self, CompanyId, UserId};
use crate::kernel::seed::Seed;

/// A login ends after this long without being used.
pub const LOGIN_LIFETIME: Duration = Duration::from_secs(14 * 24 * 3600);
/// A login that is used is prolonged this often at most: a write a day, not one for each page.
const LOGIN_STEP: Duration = Duration::from_secs(24 * 3600);
/// Logins that a user may have at a time; a new one ends the oldest.
const LOGINS_MAX: i64 = 20;

/// Characters of a password. NIST SP 800-63B asks for 8 at least and that 64 be possible; the upper bound
/// keeps hashing cheap.
pub const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 12..=256;
/// Characters of an e-mail address at most (RFC 5321, 4.5.3.1.3, less the angle brackets).
const EMAIL_CHARS_MAX: usize = 254;

/// OWASP's Password Storage Cheat Sheet: Argon2id, 19 MiB, 2 passes, 1 lane.
const ARGON2_KIB: u32 = 19 * 1024;
const ARGON2_PASSES: u32 = 2;
const ARGON2_LANES: u32 = 1;
/// Passwords that are hashed at a time: 76 MiB at most.
const HASHES_AT_ONCE: usize = 4;
/// Whoever waits longer for their turn is told to come again.
const HASH_WAIT: Duration = Duration::from_secs(5);

/// The lock of whoever makes the first user: no object has this id.
const FIRST_USER: i64 = -1;

static HASHING: Semaphore = Semaphore::const_new(HASHES_AT_ONCE);

/// What an unknown user's password is held against, so that it takes as long as a known one's. Nobody's.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    let zeros = "A".repeat(43);
    format!("$argon2id$v=19$m={ARGON2_KIB},t={ARGON2_PASSES},p={ARGON2_LANES}$AAAAAAAAAAAAAAAAAAAAAA${zeros}")
});

/// An e-mail address in the one spelling that we keep: trimmed, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    /// None if it can't be one. Whether it exists only a message to it could tell.
    pub fn parse(text: &str) -> Option<Email> {
        let text = text.trim().to_lowercase();
        let (local, domain) = text.rsplit_once('@')?;
        let plausible = !local.is_empty()
            && !domain.is_empty()
            && text.chars().count() <= EMAIL_CHARS_MAX
            && !text.chars().any(|c| c.is_whitespace() || c.is_control());
        plausible.then_some(Email(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A password that may be chosen. Never printed.
pub struct NewPassword(String);

impl NewPassword {
    /// None if it isn't within [`PASSWORD_CHARS`].
    pub fn parse(text: &str) -> Option<NewPassword> {
        PASSWORD_CHARS.contains(&text.chars().count()).then(|| NewPassword(text.to_owned()))
    }
}

/// A user as stored, without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    /// None: the whole account.
    pub company: Option<CompanyId>,
    pub email: String,
    /// May change things; false: only look at them.
    pub can_write: bool,
}

impl FromRow for User {
    fn from_row(row: &mut Row<'_>) -> db::Result<User> {
        Ok(User { id: row.get()?, company: row.get()?, email: row.get()?, can_write: row.get()? })
    }
}

impl User {
    /// Permission for one company; None if the user is another company's, which is told as "no such company".
    pub fn scope(&self, company: CompanyId) -> Option<Scope> {
        self.company.is_none_or(|own| own == company).then(|| Scope::of(company))
    }
}

/// Why a user wasn't added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    #[error("there is a user with this e-mail address already")]
    Taken,
    #[error("there is no company with this id")]
    NoSuchCompany,
    #[error("too many passwords are being checked at the moment")]
    Busy,
    #[error(transparent)]
    Database(#[from] db::Error),
}

/// Adds a user of one company, or of the whole account.
///
/// # Errors
/// See [`AddError`].
pub async fn add(
    db: &Db,
    seed: &Seed,
    email: Email,
    password: NewPassword,
    company: Option<CompanyId>,
) -> Result<User, AddError> {
    let salt = seed.bytes::<16>();
    let hash = hashing(move || hash_password(&password.0, &salt)).await.ok_or(AddError::Busy)?;
    db.write("users.add", move |tx| insert(tx, &email, &hash, company)).await
}

/// Adds the first user, of the whole account.
///
/// # Errors
/// See [`AddError`]; [`AddError::Taken`] if there is a user already.
pub async fn add_first(db: &Db, seed: &Seed, email: Email, password: NewPassword) -> Result<User, AddError> {
    let salt = seed.bytes::<16>();
    let hash = hashing(move || hash_password(&password.0, &salt)).await.ok_or(AddError::Busy)?;
    db.write("users.add_first", move |tx| {
        tx.lock(LockSpace::Edit, FIRST_USER)?;
        if is_any(tx)? {
            return Err(AddError::Taken);
        }
        insert(tx, &email, &hash, None)
    })
    .await
}

/// Whether anybody can log in.
///
/// # Errors
/// The database's.
pub async fn are_there(db: &Db) -> db::Result<bool> {
    db.read("users.are_there", is_any).await
}

fn is_any(tx: &mut Tx<'_>) -> db::Result<bool> {
    Ok(tx.find::<(UserId,)>(sql("select id from users limit 1"))?.is_some())
}

fn insert(
    tx: &mut Tx<'_>,
    email: &Email,
    password_hash: &str,
    company: Option<CompanyId>,
) -> Result<User, AddError> {
    if let Some(company) = company
        && companies::find(tx, company)?.is_none()
    {
        return Err(AddError::NoSuchCompany);
    }
    let statement = "insert into users (company_id, email, password_hash, created_at) values (?, ?, ?, ?)
                     on conflict (email) do nothing returning id, company_id, email, can_write";
    let now = tx.now();
    let added = sql(statement).bind(company).bind(email.as_str()).bind(password_hash).bind(now);
    tx.find(added)?.ok_or(AddError::Taken)
}

/// A login that was just made: its token is nowhere else.
#[derive(Debug)]
pub struct NewLogin {
    pub user: UserId,
    pub token: String,
}

/// Why nobody could be logged in, right password or not.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("too many passwords are being checked at the moment")]
    Busy,
    #[error(transparent)]
    Database(#[from] db::Error),
}

/// Logs a user in; None if there is no such user or the password is wrong, which take equally long.
///
/// # Errors
/// See [`LoginError`].
pub async fn log_in(
    db: &Db,
    seed: &Seed,
    email: Option<Email>,
    password: String,
) -> Result<Option<NewLogin>, LoginError> {
    let known = match email {
        None => None,
        Some(email) => db.read("users.find", move |tx| find_password(tx, &email)).await?,
    };
    let (user, hash) = match known {
        Some((user, hash)) => (Some(user), hash),
        None => (None, NOBODY.clone()),
    };
    let right = hashing(move || is_password(&password, &hash)).await.ok_or(LoginError::Busy)?;
    let Some(user) = user.filter(|_| right) else { return Ok(None) };
    let token = id::secret("ctl_", seed);
    let hash = token_hash(&token);
    db.write("users.log_in", move |tx| insert_login(tx, user, &hash)).await?;
    Ok(Some(NewLogin { user, token }))
}

fn find_password(tx: &mut Tx<'_>, email: &Email) -> db::Result<Option<(UserId, String)>> {
    let statement = "select id, password_hash from users where email = ? and (company_id is null or exists
                     (select 1 from companies c where c.id = users.company_id and c.deleted_at is null))";
    tx.find(sql(statement).bind(email.as_str()))
}

fn insert_login(tx: &mut Tx<'_>, user: UserId, hash: &[u8]) -> db::Result<()> {
    let now = tx.now();
    tx.execute(
        sql("insert into logins (user_id, hash, created_at, expires_at) values (?, ?, ?, ?)")
            .bind(user)
            .bind(hash.to_vec())
            .bind(now)
            .bind(now.after(LOGIN_LIFETIME)),
    )?;
    tx.execute(
        sql("delete from logins where user_id = ? and (expires_at <= ? or id not in
             (select id from logins where user_id = ? order by id desc limit ?))")
        .bind(user)
        .bind(now)
        .bind(user)
        .bind(LOGINS_MAX),
    )?;
    Ok(())
}

/// Whose login a token is.
#[derive(Clone, Debug)]
pub struct Login {
    pub user: User,
    /// The login was prolonged just now: its cookie has to be as well.
    pub prolonged: bool,
}

/// Whose login this is; None if it is nobody's, has expired, or was ended. Using a login prolongs it.
///
/// # Errors
/// The database's.
pub async fn find_login(db: &Db, token: &str) -> db::Result<Option<Login>> {
    let hash = token_hash(token);
    let wanted = hash.clone();
    let found = db.read("users.find_login", move |tx| read_login(tx, &wanted)).await?;
    let Some((user, prolonged)) = found else { return Ok(None) };
    if prolonged {
        let later = move |tx: &mut Tx<'_>| {
            let until = tx.now().after(LOGIN_LIFETIME);
            tx.execute(sql("update logins set expires_at = ? where hash = ?").bind(until).bind(hash.clone()))
        };
        db.write("users.prolong_login", later).await?;
    }
    Ok(Some(Login { user, prolonged }))
}

/// The user of a login that hasn't expired, and whether it is to be prolonged.
fn read_login(tx: &mut Tx<'_>, hash: &[u8]) -> db::Result<Option<(User, bool)>> {
    let now = tx.now();
    let statement = "select u.id, u.company_id, u.email, u.can_write, l.expires_at from logins l
                     join users u on u.id = l.user_id where l.hash = ? and l.expires_at > ?";
    let found: Option<Found> = tx.find(sql(statement).bind(hash.to_vec()).bind(now))?;
    Ok(found
        .map(|Found { user, expires_at }| (user, expires_at <= now.after(LOGIN_LIFETIME).before(LOGIN_STEP))))
}

struct Found {
    user: User,
    expires_at: Micros,
}

impl FromRow for Found {
    fn from_row(row: &mut Row<'_>) -> db::Result<Found> {
        Ok(Found { user: User::from_row(row)?, expires_at: row.get()? })
    }
}

/// Ends a login; nothing happens if it has ended already.
///
/// # Errors
/// The database's.
pub async fn log_out(db: &Db, token: &str) -> db::Result<()> {
    let hash = token_hash(token);
    let ended =
        move |tx: &mut Tx<'_>| tx.execute(sql("delete from logins where hash = ?").bind(hash.clone()));
    db.write("users.log_out", ended).await.map(|_| ())
}

/// Whom a company's news is for, oldest first, so many at most: its own users, or those of the whole account if
/// it has none. Who may only look isn't told.
///
/// # Errors
/// The database's.
pub fn to_tell(tx: &mut Tx<'_>, scope: Scope, limit: i64) -> db::Result<Vec<User>> {
    let own = "select id, company_id, email, can_write from users where company_id = ? and can_write order by id limit ?";
    let own = tx.all(sql(own).bind(scope.company()).bind(limit))?;
    if !own.is_empty() {
        return Ok(own);
    }
    let all = "select id, company_id, email, can_write from users where company_id is null and can_write order by id limit ?";
    tx.all(sql(all).bind(limit))
}

/// Ends the logins of a company's users: it is being deleted, and nobody logs in there again.
///
/// # Errors
/// The database's.
pub fn log_out_company(tx: &mut Tx<'_>, scope: Scope) -> db::Result<()> {
    let statement = "delete from logins where user_id in (select id from users where company_id = ?)";
    tx.execute(sql(statement).bind(scope.company()))?;
    Ok(())
}

/// A token is random: a plain hash keeps it.
fn token_hash(token: &str) -> Vec<u8> {
    digest(&SHA256, token.as_bytes()).as_ref().to_vec()
}

/// Runs `work` on a thread that may block, a few at a time. None: too many are waiting.
async fn hashing<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let turn = tokio::time::timeout(HASH_WAIT, HASHING.acquire()).await.ok()?.ok()?;
    // The turn goes along: it lasts until the hash is made, whether anyone still waits for it or not.
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    done.await.ok()
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(ARGON2_KIB, ARGON2_PASSES, ARGON2_LANES, None);
    let params = params.expect("the parameters are within Argon2's ranges");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// A PHC string, which carries its parameters and its salt.
fn hash_password(password: &str, salt: &[u8]) -> String {
    let hash: PasswordHash = argon2()
        .hash_password_with_salt(password.as_bytes(), salt)
        .expect("the password and the salt have lengths that Argon2 takes");
    hash.to_string()
}

/// A password that is too long to be anyone's is cut: it is still nobody's, and costs no more than others.
fn is_password(password: &str, hash: &str) -> bool {
    let cut: String = password.chars().take(PASSWORD_CHARS.end() + 1).collect();
    PasswordHash::new(hash).is_ok_and(|hash| argon2().verify_password(cut.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        let parsed = |text| Email::parse(text).map(|email| email.0);
        assert_eq!(parsed(" Ana@Agency.Example "), Some("ana@agency.example".to_owned()));
        assert_eq!(parsed("ÄNA@agency.example"), Some("äna@agency.example".to_owned()));
        let long = format!("{}@a.example", "x".repeat(EMAIL_CHARS_MAX));
        for bad in ["", "ana", "@agency.example", "ana@", "a na@b.example", "ana@b\n.example", &long] {
            assert_eq!(parsed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_new_password_is_neither_short_nor_endless() {
        for (length, fine) in [(0, false), (11, false), (12, true), (256, true), (257, false)] {
            assert_eq!(NewPassword::parse(&"ü".repeat(length)).is_some(), fine, "{length}");
        }
    }

    #[test]
    fn a_hash_knows_its_password_only() {
        let hash = hash_password("correct horse battery", &[7; 16]);
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(is_password("correct horse battery", &hash));
        assert!(!is_password("correct horse batterz", &hash));
        assert!(!is_password("", &hash));
        let longest = "x".repeat(*PASSWORD_CHARS.end());
        let hash = hash_password(&longest, &[7; 16]);
        assert!(is_password(&longest, &hash));
        assert!(!is_password(&format!("{longest}x"), &hash));
    }

    #[test]
    fn an_unknown_users_password_costs_as_much_as_a_known_ones() {
        let nobody = PasswordHash::new(&NOBODY).expect("it is a PHC string");
        let somebody = hash_password("correct horse battery", &[7; 16]);
        let somebody = PasswordHash::new(&somebody).expect("it is a PHC string");
        assert_eq!(nobody.algorithm, somebody.algorithm);
        assert_eq!(nobody.params.to_string(), somebody.params.to_string());
        assert_eq!(nobody.salt.map(|s| s.len()), somebody.salt.map(|s| s.len()));
        assert_eq!(nobody.hash.map(|h| h.len()), somebody.hash.map(|h| h.len()));
        assert!(!is_password("", &NOBODY));
    }
}
