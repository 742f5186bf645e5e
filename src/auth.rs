//! API tokens: who a request comes from and what it may do. Tokens are random, so a plain hash keeps
//! them at rest; only its owner ever sees one.

use ring::digest::{SHA256, digest};

use crate::companies::Scope;
use crate::db::{self, Db, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{self, CompanyId, TokenId};
use crate::kernel::page::{Listed, Page};

/// Who asks, as the token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// None: somebody who is logged in on the pages.
    pub token: Option<TokenId>,
    /// None: the whole account.
    pub company: Option<CompanyId>,
    pub can_write: bool,
}

impl FromRow for Caller {
    fn from_row(row: &mut Row<'_>) -> db::Result<Caller> {
        Ok(Caller { token: row.get()?, company: row.get()?, can_write: row.get()? })
    }
}

impl Caller {
    /// Permission for one company; None if the token is another company's, which is told as "no such company".
    pub fn scope(self, company: CompanyId) -> Option<Scope> {
        self.company.is_none_or(|own| own == company).then(|| Scope::of(company))
    }
}

/// Makes a token and gives its text, which is nowhere else.
///
/// # Errors
/// The database's.
pub fn create(
    tx: &mut Tx<'_>,
    name: &str,
    company: Option<CompanyId>,
    can_write: bool,
) -> db::Result<String> {
    let text = id::secret("ct_", tx.seed());
    insert(tx, &text, name, company, can_write)?;
    Ok(text)
}

/// A token as it is listed: without its text, which nobody has but its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    pub can_write: bool,
    pub created_at: Micros,
    pub revoked_at: Option<Micros>,
}

impl FromRow for Token {
    fn from_row(row: &mut Row<'_>) -> db::Result<Token> {
        Ok(Token {
            id: row.get()?,
            name: row.get()?,
            can_write: row.get()?,
            created_at: row.get()?,
            revoked_at: row.get()?,
        })
    }
}

/// A company's tokens, those that were revoked too, newest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, page: Page) -> db::Result<Listed<Token>> {
    let statement = "select id, name, can_write, created_at, revoked_at from tokens
                     where company_id = ? and id < ? order by id desc limit ?";
    let read = move |tx: &mut Tx<'_>| {
        let statement = sql(statement).bind(scope.company()).bind(page.after.unwrap_or(i64::MAX));
        tx.all(statement.bind(page.fetch_limit()))
    };
    let rows = db.read("tokens.list", read).await?;
    Ok(Listed::new(rows, page, |token: &Token| token.id.0))
}

/// Ends a company's token at once. False: there is none, or it has ended already.
///
/// # Errors
/// The database's.
pub fn revoke(tx: &mut Tx<'_>, scope: Scope, id: TokenId) -> db::Result<bool> {
    let statement = "update tokens set revoked_at = ? where company_id = ? and id = ? and revoked_at is null";
    Ok(tx.execute(sql(statement).bind(tx.now()).bind(scope.company()).bind(id))? > 0)
}

/// What a token is called; "" if there is none.
///
/// # Errors
/// The database's.
pub fn name(tx: &mut Tx<'_>, id: TokenId) -> db::Result<String> {
    let found: Option<(String,)> = tx.find(sql("select name from tokens where id = ?").bind(id))?;
    Ok(found.map(|(name,)| name).unwrap_or_default())
}

/// Makes sure that this very token exists: for automation that chooses its own.
///
/// # Errors
/// The database's.
pub fn ensure(tx: &mut Tx<'_>, text: &str, name: &str) -> db::Result<()> {
    insert(tx, text, name, None, true)
}

fn insert(
    tx: &mut Tx<'_>,
    text: &str,
    name: &str,
    company: Option<CompanyId>,
    can_write: bool,
) -> db::Result<()> {
    let statement =
        "insert into tokens (company_id, name, hash, can_write, created_at) values (?, ?, ?, ?, ?)
                     on conflict (hash) do nothing";
    tx.execute(sql(statement).bind(company).bind(name).bind(hash(text)).bind(can_write).bind(tx.now()))?;
    Ok(())
}

/// Whose token this is; None if it is nobody's or was revoked.
///
/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, text: &str) -> db::Result<Option<Caller>> {
    let statement = "select id, company_id, can_write from tokens where hash = ? and revoked_at is null";
    tx.find(sql(statement).bind(hash(text)))
}

fn hash(text: &str) -> Vec<u8> {
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}
