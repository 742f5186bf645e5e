//! API tokens: who a request comes from and what it may do. Tokens are random, so a plain hash keeps
//! them at rest; only its owner ever sees one.

use ring::digest::{SHA256, digest};

use crate::companies::Scope;
use crate::db::{self, FromRow, Row, Tx, sql};
use crate::kernel::id::{self, CompanyId, TokenId};

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
