//! The audit log: what was changed through the API and on the pages, when and by whom. Each entry is written right after
//! its change, in a transaction of its own, so that it can't break the change; whoever kills the program in between has
//! changed something that isn't in it. Secrets are taken out before anything is written, and each text has a limit.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use crate::companies::Scope;
use crate::db::{self, Db, FromRow, Row, Tx, sql};
use crate::kernel::clock::Micros;
use crate::kernel::id::CompanyId;
use crate::kernel::page::{Listed, Page};

/// So long entries are kept.
pub const KEPT_FOR: Duration = Duration::from_secs(400 * 24 * 3600);
/// Bytes of each object that is kept; of a larger one only its size is.
const OBJECT_BYTES_MAX: usize = 16 * 1024;
/// Characters of each text in an object.
const TEXT_CHARS_MAX: usize = 500;
/// Entries that are deleted in one transaction.
const BATCH: i64 = 1_000;

/// Keys whose values are secrets; of `headers` the values are.
const SECRETS: [&str; 8] =
    ["auth_token", "signing_key", "password", "present", "secret", "token", "api_key", "previous_secret"];

/// What is to be written.
#[derive(Clone, Debug, Default)]
pub struct NewEntry {
    /// None: it is the account's.
    pub company: Option<CompanyId>,
    /// A user's e-mail address, or what an API token is called.
    pub actor: String,
    pub operation: String,
    /// The ids in the path, by their names.
    pub path: Vec<(String, String)>,
    /// What was sent; null for nothing.
    pub body: Json,
    /// The object as it was; null for none.
    pub before: Json,
    /// What was answered; null for nothing.
    pub after: Json,
}

/// An entry as kept.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: i64,
    pub created_at: Micros,
    pub actor: String,
    pub operation: String,
    pub path: Vec<(String, String)>,
    pub body: Json,
    pub before: Json,
    pub after: Json,
}

impl FromRow for Entry {
    fn from_row(row: &mut Row<'_>) -> db::Result<Entry> {
        Ok(Entry {
            id: row.get()?,
            created_at: row.get()?,
            actor: row.get()?,
            operation: row.get()?,
            path: serde_json::from_str(&row.get::<String>()?).unwrap_or_default(),
            body: parse(&row.get::<String>()?),
            before: parse(&row.get::<String>()?),
            after: parse(&row.get::<String>()?),
        })
    }
}

fn parse(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_default()
}

/// # Errors
/// The database's.
pub fn record(tx: &mut Tx<'_>, entry: &NewEntry) -> db::Result<()> {
    let statement =
        "insert into audit_log (company_id, created_at, actor, operation, path, body, before, after)
                     values (?, ?, ?, ?, ?, ?, ?, ?)";
    let path = serde_json::to_string(&entry.path).unwrap_or_default();
    tx.execute(
        sql(statement)
            .bind(entry.company)
            .bind(tx.now())
            .bind(&entry.actor)
            .bind(&entry.operation)
            .bind(path)
            .bind(kept(&entry.body))
            .bind(kept(&entry.before))
            .bind(kept(&entry.after)),
    )?;
    Ok(())
}

/// A company's entries, newest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, page: Page) -> db::Result<Listed<Entry>> {
    let statement = "select id, created_at, actor, operation, path, body, before, after from audit_log
                     where company_id = ? and id < ? order by id desc limit ?";
    let read = move |tx: &mut Tx<'_>| {
        let statement = sql(statement).bind(scope.company()).bind(page.after.unwrap_or(i64::MAX));
        tx.all(statement.bind(page.fetch_limit()))
    };
    let rows = db.read("audit.list", read).await?;
    Ok(Listed::new(rows, page, |entry: &Entry| entry.id))
}

/// Background work: deletes entries that are older than [`KEPT_FOR`]. Gives their number.
///
/// # Errors
/// The database's.
pub async fn retain(db: &Db) -> db::Result<u64> {
    let mut deleted = 0;
    loop {
        let some = db.write("audit.retain", |tx| {
            let statement = "delete from audit_log where id in
                             (select id from audit_log where created_at < ? order by created_at limit ?)";
            tx.execute(sql(statement).bind(tx.now().before(KEPT_FOR)).bind(BATCH))
        });
        let some = some.await?;
        deleted += some;
        if i64::try_from(some).unwrap_or(0) < BATCH {
            return Ok(deleted);
        }
    }
}

/// As a column keeps it.
fn kept(object: &Json) -> String {
    if object.is_null() {
        return String::new();
    }
    let text = tidy(object).to_string();
    if text.len() <= OBJECT_BYTES_MAX { text } else { json!({ "left_out_bytes": text.len() }).to_string() }
}

/// Without secrets and with short texts. NUL, which PostgreSQL can't keep, JSON writes as an escape.
fn tidy(value: &Json) -> Json {
    match value {
        Json::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), member(key, value))).collect::<Map<_, _>>().into()
        }
        Json::Array(items) => items.iter().map(tidy).collect(),
        Json::String(text) => short(text).into(),
        other => other.clone(),
    }
}

fn member(key: &str, value: &Json) -> Json {
    match value {
        Json::String(_) if SECRETS.contains(&key) => "…".into(),
        Json::Object(map) if key == "headers" => {
            map.keys().map(|name| (name.clone(), Json::from("…"))).collect::<Map<_, _>>().into()
        }
        // A recording's link opens it.
        Json::String(text) if key == "recording" => text.split('?').next().unwrap_or_default().into(),
        value => tidy(value),
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A key that differs: before and after, as they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub key: String,
    pub before: String,
    pub after: String,
}

impl Entry {
    /// What was changed, if both are known.
    pub fn differences(&self) -> Vec<Difference> {
        let (Json::Object(before), Json::Object(after)) = (&self.before, &self.after) else {
            return Vec::new();
        };
        let differ = after.iter().filter(|(key, value)| before.get(*key).is_some_and(|old| old != *value));
        let difference = |(key, value): (&String, &Json)| Difference {
            key: key.clone(),
            before: plain(&before[key]),
            after: plain(value),
        };
        differ.map(difference).collect()
    }
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_kept() {
        let body = json!({
            "auth_token": "5eed", "name": "a", "deep": [{ "secret": "whsec_1" }],
            "headers": { "X-Api-Key": "very secret" }, "recording": "https://x/recordings/1.mp3?signature=abc",
        });
        let wanted = json!({
            "auth_token": "…", "name": "a", "deep": [{ "secret": "…" }], "headers": { "X-Api-Key": "…" },
            "recording": "https://x/recordings/1.mp3",
        });
        assert_eq!(parse(&kept(&body)), wanted);
        assert_eq!(kept(&Json::Null), "");
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let long = json!({ "note": "ü".repeat(10_000) });
        assert_eq!(
            parse(&kept(&long))["note"].as_str().map(|text| text.chars().count()),
            Some(TEXT_CHARS_MAX + 1)
        );
        let many: Vec<_> = (0..10_000).collect();
        assert!(kept(&json!({ "ids": many })).len() < 100);
    }

    #[test]
    fn what_differs_is_told_key_by_key() {
        let entry = Entry {
            id: 1,
            created_at: Micros(0),
            actor: String::new(),
            operation: String::new(),
            path: Vec::new(),
            body: Json::Null,
            before: json!({ "name": "a", "on": true, "gone": 1 }),
            after: json!({ "name": "b", "on": true, "new": 1 }),
        };
        let only = Difference { key: "name".to_owned(), before: "a".to_owned(), after: "b".to_owned() };
        assert_eq!(entry.differences(), [only]);
    }
}
