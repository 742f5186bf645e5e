//! The accounts that companies have with carriers: the table `carriers`. Whether the credentials are right
//! is asked elsewhere ([`provision`](super::provision)); here they are kept, sealed, and never shown again.
//!
//! An account has a hook token, the unguessable part of the URLs that its carrier calls. It stands in the
//! carrier's own configuration, so it never changes.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use url::{Host, Url};

use super::hook::{Hook, HookUrls};
use super::provision::orders;
use super::{Account, BadBaseUrl, Kind, form, parse_base_url};
use crate::companies::{self, Scope};
use crate::db::{self, Db, FromRow, Row, Tx, Wake, sql};
use crate::kernel::address;
use crate::kernel::clock::Micros;
use crate::kernel::id::{self, CarrierId, CompanyId};
use crate::kernel::page::{Listed, Page};
use crate::kernel::secret::{Purpose, SecretKey};
use crate::outbound::{Outbound, TargetError};

/// A token or key at most, in bytes; carriers' have 32 to 64.
const SECRET_BYTES_MAX: usize = 256;
/// A number that its carrier refused to take back so often holds its account no longer: the account itself may
/// be what is broken, and could never be removed otherwise.
const RELEASE_ATTEMPTS_HOLDING_MAX: i64 = 3;

/// An account as stored.
#[derive(Clone)]
pub struct Registered {
    pub account: Account,
    pub hook_token: String,
    pub created_at: Micros,
}

/// Shows neither the hook token nor, as [`Account`] does, the credentials.
impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Registered {
    /// The URLs that the carrier calls for things that aren't a known call's.
    pub fn hooks(&self, public_url: &Url) -> HookUrls {
        HookUrls::new(public_url, &self.hook_token, None)
    }

    /// The object of the API: no credentials. `hook_url` is for a person who configures a number by hand.
    pub fn to_json(&self, public_url: &Url) -> Json {
        json!({
            "id": self.account.id,
            "company_id": self.account.company_id,
            "kind": self.account.kind.as_str(),
            "account_sid": self.account.account_sid,
            "base_url": self.account.base_url.as_str(),
            "hook_url": self.hooks(public_url).url(Hook::Voice),
            "created_at": self.created_at.rfc3339(),
        })
    }
}

/// What an account is signed in with. Never printed.
#[derive(Clone, Serialize, Deserialize)]
struct Credentials {
    auth_token: String,
    /// The token before the last change: the carrier may sign with it for a while.
    previous: Option<String>,
    /// What SignalWire signs with instead of the token.
    signing_key: Option<String>,
}

impl Credentials {
    /// In the order of [`Account::auth_tokens`].
    fn into_tokens(self) -> Vec<String> {
        [Some(self.auth_token), self.previous, self.signing_key].into_iter().flatten().collect()
    }

    fn seal(&self, key: &SecretKey, tx: &Tx<'_>) -> Vec<u8> {
        let plain = serde_json::to_vec(self).expect("texts always become JSON");
        key.seal(Purpose::CarrierCredentials, &plain, tx.seed())
    }

    fn open(key: &SecretKey, sealed: &[u8]) -> Option<Credentials> {
        serde_json::from_slice(&key.open(Purpose::CarrierCredentials, sealed)?).ok()
    }
}

/// A token or key as it was typed, valid by its shape. Never printed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// # Errors
    /// If it can't be a token.
    pub fn parse(text: &str) -> Result<Secret, Invalid> {
        let fits = (1..=SECRET_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Secret(text.to_owned())).ok_or(Invalid::Secret)
    }
}

/// A field's value that can't be used. The texts complete a sentence that begins with the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("must be 1 to {max} letters, digits or _ - :", max = form::ID_CHARS_MAX)]
    AccountSid,
    #[error("must be 1 to {SECRET_BYTES_MAX} printable ASCII characters without spaces")]
    Secret,
    #[error(transparent)]
    BaseUrl(#[from] BadBaseUrl),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("must begin with https://, because the account's token is sent there")]
    NotHttps,
}

/// A new account, valid by its shape.
#[derive(Clone)]
pub struct NewAccount {
    kind: Kind,
    account_sid: String,
    base_url: Url,
    credentials: Credentials,
}

impl NewAccount {
    /// `base_url` is from [`check_base_url`]; `signing_key` is SignalWire's.
    ///
    /// # Errors
    /// [`Invalid::AccountSid`]: it becomes a part of the API's paths.
    pub fn new(
        kind: Kind,
        account_sid: &str,
        base_url: Url,
        auth_token: Secret,
        signing_key: Option<Secret>,
    ) -> Result<NewAccount, Invalid> {
        if !form::is_id(account_sid) {
            return Err(Invalid::AccountSid);
        }
        let credentials = Credentials {
            auth_token: auth_token.0,
            previous: None,
            signing_key: signing_key.map(|key| key.0),
        };
        Ok(NewAccount { kind, account_sid: account_sid.to_owned(), base_url, credentials })
    }

    /// The account as it will be, with an id that is nobody's: enough to ask the carrier whether it is right.
    pub fn preview(&self, scope: Scope) -> Account {
        Account {
            id: CarrierId(0),
            company_id: scope.company(),
            kind: self.kind,
            account_sid: self.account_sid.clone(),
            auth_tokens: self.credentials.clone().into_tokens(),
            base_url: self.base_url.clone(),
        }
    }
}

impl Account {
    /// The account signed in with another token, to try it.
    pub(super) fn with_token(&self, token: &Secret) -> Account {
        Account { auth_tokens: vec![token.0.clone()], ..self.clone() }
    }
}

/// Where a carrier's API is, if it may be called: https, or http on an address that is private and that the
/// operator has allowed, such as a simulated carrier's on the same machine.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_base_url(outbound: &Outbound, kind: Kind, given: Option<&str>) -> Result<Url, Invalid> {
    let url = outbound.check_target(parse_base_url(kind, given)?.as_str())?;
    // `check_target` has let it through, so a private address is one that the operator allows.
    let is_private = match url.host() {
        Some(Host::Ipv4(addr)) => address::vet(addr.into(), &[]).is_err(),
        Some(Host::Ipv6(addr)) => address::vet(addr.into(), &[]).is_err(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    };
    if url.scheme() == "https" || is_private { Ok(url) } else { Err(Invalid::NotHttps) }
}

/// Why an account can't be added or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the company was deleted")]
    NoSuchCompany,
    #[error("this account is connected already")]
    Duplicate,
    #[error("the account has tracking numbers; delete their trackers first")]
    NumbersInUse,
    #[error("numbers are still being given back to the carrier; try again in a few minutes")]
    NumbersReleasing,
    #[error(transparent)]
    Db(#[from] db::Error),
}

/// Adds an account.
///
/// # Errors
/// [`Error::Duplicate`], [`Error::NoSuchCompany`].
pub fn create(tx: &mut Tx<'_>, scope: Scope, new: &NewAccount, key: &SecretKey) -> Result<Registered, Error> {
    if !companies::hold(tx, scope)? {
        return Err(Error::NoSuchCompany);
    }
    let sealed = new.credentials.seal(key, tx);
    let hook_token = id::secret("ch_", tx.seed());
    let made: Option<(CarrierId,)> = tx.find(
        sql("insert into carriers (company_id, kind, account_sid, credentials, base_url, hook_token, created_at)
             values (?, ?, ?, ?, ?, ?, ?) on conflict do nothing returning id")
        .bind(scope.company())
        .bind(new.kind.as_str())
        .bind(&new.account_sid)
        .bind(sealed)
        .bind(new.base_url.as_str())
        .bind(&hook_token)
        .bind(tx.now()),
    )?;
    let (id,) = made.ok_or(Error::Duplicate)?;
    tx.wake(Wake::Routing);
    Ok(Registered { account: Account { id, ..new.preview(scope) }, hook_token, created_at: tx.now() })
}

/// The account, unless it was removed.
///
/// # Errors
/// The database's; also credentials that can't be opened, because the installation's secret key is another one.
pub fn find(tx: &mut Tx<'_>, scope: Scope, id: CarrierId, key: &SecretKey) -> db::Result<Option<Registered>> {
    let statement =
        format!("select {COLUMNS} from carriers where company_id = ? and id = ? and deleted_at is null");
    let found: Option<Stored> = tx.find(sql(statement).bind(scope.company()).bind(id))?;
    found.map(|stored| stored.open(key)).transpose()
}

/// The ids of a company's accounts, oldest first, at most `limit`.
///
/// # Errors
/// The database's.
pub fn ids(tx: &mut Tx<'_>, scope: Scope, limit: i64) -> db::Result<Vec<CarrierId>> {
    let statement = "select id from carriers where company_id = ? and deleted_at is null order by id limit ?";
    let found: Vec<(CarrierId,)> = tx.all(sql(statement).bind(scope.company()).bind(limit))?;
    Ok(found.into_iter().map(|(id,)| id).collect())
}

/// All accounts of a company, oldest first.
///
/// # Errors
/// As [`find`].
pub fn of_company(tx: &mut Tx<'_>, scope: Scope, key: &SecretKey) -> db::Result<Vec<Registered>> {
    let statement =
        format!("select {COLUMNS} from carriers where company_id = ? and deleted_at is null order by id");
    let found: Vec<Stored> = tx.all(sql(statement).bind(scope.company()))?;
    found.into_iter().map(|stored| stored.open(key)).collect()
}

/// Newest first.
///
/// # Errors
/// As [`find`].
pub async fn list(db: &Db, scope: Scope, key: &SecretKey, page: Page) -> db::Result<Listed<Registered>> {
    let key = key.clone();
    let rows = db
        .read("carriers.list", move |tx| {
            let statement = format!(
                "select {COLUMNS} from carriers where company_id = ? and id < ? and deleted_at is null
                 order by id desc limit ?"
            );
            let found: Vec<Stored> = tx.all(
                sql(statement)
                    .bind(scope.company())
                    .bind(page.after.unwrap_or(i64::MAX))
                    .bind(page.fetch_limit()),
            )?;
            found.into_iter().map(|stored| stored.open(&key)).collect::<db::Result<Vec<_>>>()
        })
        .await?;
    Ok(Listed::new(rows, page, |row: &Registered| row.account.id.0))
}

/// The accounts of all companies, for the directory that carriers' requests are checked against. One whose
/// credentials can't be opened is left out and logged, so that it doesn't take the others' calls down.
///
/// # Errors
/// The database's.
pub fn list_all(tx: &mut Tx<'_>, key: &SecretKey) -> db::Result<Vec<Registered>> {
    let statement = format!("select {COLUMNS} from carriers where deleted_at is null order by id");
    let mut opened = Vec::new();
    for stored in tx.all::<Stored>(sql(statement))? {
        let id = stored.id;
        match stored.open(key) {
            Ok(registered) => opened.push(registered),
            Err(error) => {
                tracing::error!(carrier.id = %id, %error, "left out a carrier account");
            }
        }
    }
    Ok(opened)
}

/// Replaces what is given: the new token counts at once, the one before it is still accepted in signatures
/// until the next change. None: no such account.
///
/// # Errors
/// As [`find`].
pub fn rotate(
    tx: &mut Tx<'_>,
    scope: Scope,
    id: CarrierId,
    auth_token: Option<&Secret>,
    signing_key: Option<&Secret>,
    key: &SecretKey,
) -> db::Result<Option<Registered>> {
    let statement = "select credentials from carriers where company_id = ? and id = ? and deleted_at is null
                     {{for_update}}";
    let Some((sealed,)) = tx.find::<(Vec<u8>,)>(sql(statement).bind(scope.company()).bind(id))? else {
        return Ok(None);
    };
    let mut credentials = Credentials::open(key, &sealed).ok_or_else(|| sealed_otherwise(id))?;
    if let Some(Secret(new)) = auth_token
        && *new != credentials.auth_token
    {
        credentials.previous = Some(std::mem::replace(&mut credentials.auth_token, new.clone()));
    }
    if let Some(Secret(new)) = signing_key {
        credentials.signing_key = Some(new.clone());
    }
    let sealed = credentials.seal(key, tx);
    tx.execute(sql("update carriers set credentials = ? where id = ?").bind(sealed).bind(id))?;
    tx.wake(Wake::Routing);
    find(tx, scope, id, key)
}

/// Removes the account and forgets its credentials; what its calls left behind stays. None: no such account.
///
/// # Errors
/// [`Error::NumbersInUse`], [`Error::NumbersReleasing`]. Behind the second its number orders are cancelled: commit, or
/// the numbers that these have bought never go back.
pub fn delete(tx: &mut Tx<'_>, scope: Scope, id: CarrierId) -> Result<Option<()>, Error> {
    // Held before anything is looked at: whoever gives an account numbers holds it, too.
    if !is_of(tx, scope, id)? || !hold(tx, id)? {
        return Ok(None);
    }
    let in_use =
        "select 1 from tracking_numbers where company_id = ? and carrier_id = ? and released_at is null";
    if tx.find::<(i64,)>(sql(in_use).bind(scope.company()).bind(id))?.is_some() {
        return Err(Error::NumbersInUse);
    }
    orders::cancel_of_account(tx, scope, id)?;
    let releasing = "select 1 from tracking_numbers where company_id = ? and carrier_id = ?
                     and release_due_at is not null and release_attempts < ?
                     union all select 1 from purchases where carrier_id = ? and attempts < ?";
    let releasing = sql(releasing)
        .bind(scope.company())
        .bind(id)
        .bind(RELEASE_ATTEMPTS_HOLDING_MAX)
        .bind(id)
        .bind(RELEASE_ATTEMPTS_HOLDING_MAX);
    if tx.find::<(i64,)>(releasing)?.is_some() {
        return Err(Error::NumbersReleasing);
    }
    let remove = "update carriers set deleted_at = ?, credentials = ? where id = ?";
    tx.execute(sql(remove).bind(tx.now()).bind(Vec::new()).bind(id))?;
    tx.wake(Wake::Routing);
    Ok(Some(()))
}

fn is_of(tx: &mut Tx<'_>, scope: Scope, id: CarrierId) -> db::Result<bool> {
    let statement = "select id from carriers where company_id = ? and id = ?";
    Ok(tx.find::<(CarrierId,)>(sql(statement).bind(scope.company()).bind(id))?.is_some())
}

/// Keeps the account from being removed until the transaction ends, for those who give it numbers. False: it
/// was removed.
pub(super) fn hold(tx: &mut Tx<'_>, id: CarrierId) -> db::Result<bool> {
    let statement = "select id from carriers where id = ? and deleted_at is null {{for_update}}";
    Ok(tx.find::<(CarrierId,)>(sql(statement).bind(id))?.is_some())
}

const COLUMNS: &str = "id, company_id, kind, account_sid, credentials, base_url, hook_token, created_at";

/// A row before its credentials are opened.
struct Stored {
    id: CarrierId,
    company_id: CompanyId,
    kind: String,
    account_sid: String,
    credentials: Vec<u8>,
    base_url: String,
    hook_token: String,
    created_at: Micros,
}

impl FromRow for Stored {
    fn from_row(row: &mut Row<'_>) -> db::Result<Stored> {
        Ok(Stored {
            id: row.get()?,
            company_id: row.get()?,
            kind: row.get()?,
            account_sid: row.get()?,
            credentials: row.get()?,
            base_url: row.get()?,
            hook_token: row.get()?,
            created_at: row.get()?,
        })
    }
}

impl Stored {
    fn open(self, key: &SecretKey) -> db::Result<Registered> {
        let unknown =
            |what| db::Error::Internal(format!("carrier account {} has an unknown {what}", self.id));
        let kind = Kind::parse(&self.kind).ok_or_else(|| unknown("kind"))?;
        let base_url = Url::parse(&self.base_url).map_err(|_| unknown("base URL"))?;
        let credentials =
            Credentials::open(key, &self.credentials).ok_or_else(|| sealed_otherwise(self.id))?;
        let account = Account {
            id: self.id,
            company_id: self.company_id,
            kind,
            account_sid: self.account_sid,
            auth_tokens: credentials.into_tokens(),
            base_url,
        };
        Ok(Registered { account, hook_token: self.hook_token, created_at: self.created_at })
    }
}

fn sealed_otherwise(id: CarrierId) -> db::Error {
    db::Error::Internal(format!(
        "the credentials of carrier account {id} were sealed with another secret key"
    ))
}
