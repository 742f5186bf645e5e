//! Companies: the tenants. Everything else belongs to one, and a query on a tenant's data starts with a
//! [`Scope`].

use serde_json::{Value as Json, json};

use crate::db::{self, Db, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::{self, CompanyId};
use crate::kernel::page::{Listed, Page};

/// Permission to work on one company's data: what queries on it start with. Made where a request was
/// authorised, or where background work read the company's id off a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope(CompanyId);

impl Scope {
    /// The caller has made sure that this company is the one that may be worked on.
    pub fn of(company: CompanyId) -> Scope {
        Scope(company)
    }

    pub fn company(self) -> CompanyId {
        self.0
    }
}

/// A company as stored.
#[derive(Clone, Debug)]
pub struct Company {
    pub id: CompanyId,
    pub name: String,
    /// An IANA zone name that jiff knows.
    pub time_zone: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// Public: names the company to the script on its web site.
    pub site_key: String,
    /// The day of the month on which a billing period starts, 1 to 28.
    pub billing_day: i64,
    /// For how many days the source of a visit counts for later ones that have none of their own.
    pub source_days: u32,
    pub created_at: Micros,
}

const COLUMNS: &str = "id, name, time_zone, country, site_key, billing_day, source_days, created_at";

impl FromRow for Company {
    fn from_row(row: &mut Row<'_>) -> db::Result<Company> {
        Ok(Company {
            id: row.get()?,
            name: row.get()?,
            time_zone: row.get()?,
            country: row.get()?,
            site_key: row.get()?,
            billing_day: row.get()?,
            source_days: row.get()?,
            created_at: row.get()?,
        })
    }
}

impl Company {
    /// The object of the API.
    pub fn to_json(&self) -> Json {
        json!({
            "id": self.id,
            "name": self.name,
            "time_zone": self.time_zone,
            "country": self.country,
            "site_key": self.site_key,
            "billing_day": self.billing_day,
            "source_days": self.source_days,
            "created_at": self.created_at.rfc3339(),
        })
    }
}

/// A new company's settings, valid already.
#[derive(Clone, Debug)]
pub struct NewCompany {
    pub name: String,
    pub time_zone: String,
    pub country: String,
    pub billing_day: i64,
    pub source_days: u32,
}

/// Whether `name` is a time zone that we know.
pub fn is_time_zone(name: &str) -> bool {
    jiff::tz::TimeZone::get(name).is_ok()
}

/// # Errors
/// The database's.
pub fn create(tx: &mut Tx<'_>, new: &NewCompany) -> db::Result<Company> {
    let site_key = id::secret("site_", tx.seed());
    let statement =
        "insert into companies (name, time_zone, country, site_key, billing_day, source_days, created_at)
                     values (?, ?, ?, ?, ?, ?, ?) returning ";
    tx.one(
        sql(format!("{statement}{COLUMNS}"))
            .bind(&new.name)
            .bind(&new.time_zone)
            .bind(&new.country)
            .bind(site_key)
            .bind(new.billing_day)
            .bind(i64::from(new.source_days))
            .bind(tx.now()),
    )
}

/// The company, if it exists and wasn't deleted.
///
/// # Errors
/// The database's.
pub fn find(tx: &mut Tx<'_>, id: CompanyId) -> db::Result<Option<Company>> {
    tx.find(sql(format!("select {COLUMNS} from companies where id = ? and deleted_at is null")).bind(id))
}

/// The company whose site has this key, if it wasn't deleted.
///
/// # Errors
/// The database's.
pub fn find_by_site_key(tx: &mut Tx<'_>, site_key: &str) -> db::Result<Option<Company>> {
    let statement = format!("select {COLUMNS} from companies where site_key = ? and deleted_at is null");
    tx.find(sql(statement).bind(site_key))
}

/// Newest first. `only` limits the list to one company, for a token that sees no other.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, only: Option<CompanyId>, page: Page) -> db::Result<Listed<Company>> {
    let rows = db
        .read("companies.list", move |tx| {
            let statement = format!(
                "select {COLUMNS} from companies where deleted_at is null
                 and (? or id = ?) and id < ? order by id desc limit ?"
            );
            tx.all(
                sql(statement)
                    .bind(only.is_none())
                    .bind(only.unwrap_or(CompanyId(0)))
                    .bind(page.after.unwrap_or(i64::MAX))
                    .bind(page.fetch_limit()),
            )
        })
        .await?;
    Ok(Listed::new(rows, page, |c: &Company| c.id.0))
}

/// Replaces the settings.
///
/// # Errors
/// The database's.
pub fn update(tx: &mut Tx<'_>, scope: Scope, new: &NewCompany) -> db::Result<Option<Company>> {
    let statement = "update companies set name = ?, time_zone = ?, country = ?, billing_day = ?,
                     source_days = ? where id = ? and deleted_at is null returning ";
    tx.find(
        sql(format!("{statement}{COLUMNS}"))
            .bind(&new.name)
            .bind(&new.time_zone)
            .bind(&new.country)
            .bind(new.billing_day)
            .bind(i64::from(new.source_days))
            .bind(scope.company()),
    )
}

/// Keeps the company from being deleted until the transaction ends, and the other way round: whoever deletes it
/// waits for those who are giving it something. False: it was deleted.
///
/// # Errors
/// The database's.
pub fn hold(tx: &mut Tx<'_>, scope: Scope) -> db::Result<bool> {
    let statement = "select id from companies where id = ? and deleted_at is null {{for_update}}";
    Ok(tx.find::<(CompanyId,)>(sql(statement).bind(scope.company()))?.is_some())
}

/// Marks the company deleted: its tokens stop working and nobody sees it; its history stays on disk.
///
/// # Errors
/// The database's.
pub fn delete(tx: &mut Tx<'_>, scope: Scope) -> db::Result<()> {
    let statement = "update companies set deleted_at = ? where id = ? and deleted_at is null";
    tx.execute(sql(statement).bind(tx.now()).bind(scope.company()))?;
    let revoke = "update tokens set revoked_at = ? where company_id = ? and revoked_at is null";
    tx.execute(sql(revoke).bind(tx.now()).bind(scope.company()))?;
    Ok(())
}
