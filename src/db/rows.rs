//! Many rows in one go, for the few places that write thousands a second: SQLite takes them one by one with
//! one prepared statement, PostgreSQL all at once as arrays. The table and its columns are the program's own
//! words, never a stranger's. Rows are borrowed: nothing is copied on the way to the engine.

use std::sync::OnceLock;

use crate::kernel::clock::Micros;
use crate::kernel::id::Id;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    Text,
}

impl Kind {
    fn postgres(self) -> &'static str {
        match self {
            Kind::Int => "bigint",
            Kind::Text => "text",
        }
    }
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    Null,
    Int(i64),
    Text(&'a str),
}

impl From<i64> for Cell<'_> {
    fn from(v: i64) -> Self {
        Cell::Int(v)
    }
}

impl From<u32> for Cell<'_> {
    fn from(v: u32) -> Self {
        Cell::Int(v.into())
    }
}

impl From<Micros> for Cell<'_> {
    fn from(v: Micros) -> Self {
        Cell::Int(v.0)
    }
}

impl<T: Id> From<T> for Cell<'_> {
    fn from(v: T) -> Self {
        Cell::Int(v.value())
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(v: &'a str) -> Self {
        Cell::Text(v)
    }
}

impl<'a> From<&'a String> for Cell<'a> {
    fn from(v: &'a String) -> Self {
        Cell::Text(v)
    }
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(v: Option<T>) -> Self {
        v.map_or(Cell::Null, Into::into)
    }
}

/// A table and some of its columns; a static, so that its statements are put together once.
#[derive(Debug)]
pub struct Columns<const N: usize> {
    table: &'static str,
    columns: [(&'static str, Kind); N],
    sqlite_insert: OnceLock<String>,
    sqlite_delete: OnceLock<String>,
    postgres_insert: OnceLock<String>,
    postgres_insert_for_ids: OnceLock<String>,
    postgres_delete: OnceLock<String>,
}

impl<const N: usize> Columns<N> {
    pub const fn new(table: &'static str, columns: [(&'static str, Kind); N]) -> Columns<N> {
        Columns {
            table,
            columns,
            sqlite_insert: OnceLock::new(),
            sqlite_delete: OnceLock::new(),
            postgres_insert: OnceLock::new(),
            postgres_insert_for_ids: OnceLock::new(),
            postgres_delete: OnceLock::new(),
        }
    }

    fn names(&self) -> [&'static str; N] {
        self.columns.map(|(name, _)| name)
    }

    pub(super) fn sqlite_insert(&self) -> &str {
        self.sqlite_insert.get_or_init(|| {
            let (names, marks) = (self.names().join(", "), ["?"; N].join(", "));
            format!("insert into {} ({names}) values ({marks})", self.table)
        })
    }

    pub(super) fn sqlite_delete(&self) -> &str {
        self.sqlite_delete.get_or_init(|| {
            let keys = self.names().map(|name| format!("{name} = ?")).join(" and ");
            format!("delete from {} where {keys}", self.table)
        })
    }

    pub(super) fn postgres_insert(&self) -> &str {
        self.postgres_insert.get_or_init(|| {
            let names = self.names().join(", ");
            format!("insert into {} ({names}) select * from unnest({})", self.table, self.arrays())
        })
    }

    /// Gives back the ids. They are given out in the order of the rows (documentation of `insert`: "in the order of the
    /// query"), but what order they are told in isn't said.
    pub(super) fn postgres_insert_for_ids(&self) -> &str {
        self.postgres_insert_for_ids.get_or_init(|| {
            let names = self.names().join(", ");
            format!(
                "insert into {} ({names}) select {names} from unnest({}) with ordinality as k ({names}, n) \
                 order by n returning id",
                self.table,
                self.arrays()
            )
        })
    }

    /// Gives back the positions of the rows that were there, beginning with 1.
    pub(super) fn postgres_delete(&self) -> &str {
        self.postgres_delete.get_or_init(|| {
            let keys = self.names().map(|name| format!("t.{name} = k.{name}")).join(" and ");
            format!(
                "delete from {} t using unnest({}) with ordinality as k ({}, n) where {keys} returning k.n",
                self.table,
                self.arrays(),
                self.names().join(", "),
            )
        })
    }

    fn arrays(&self) -> String {
        let array = |(n, (_, kind)): (usize, &(&str, Kind))| format!("${}::{}[]", n + 1, kind.postgres());
        self.columns.iter().enumerate().map(array).collect::<Vec<_>>().join(", ")
    }

    /// The rows' values column by column.
    pub(super) fn by_column<'a>(&self, rows: impl Iterator<Item = [Cell<'a>; N]>) -> Vec<Array<'a>> {
        let mut arrays: Vec<Array<'a>> = self.columns.iter().map(|(_, kind)| Array::new(*kind)).collect();
        for row in rows {
            for (array, cell) in arrays.iter_mut().zip(row) {
                array.push(cell);
            }
        }
        arrays
    }
}

/// The values of one column.
#[derive(Debug)]
pub(super) enum Array<'a> {
    Int(Vec<Option<i64>>),
    Text(Vec<Option<&'a str>>),
}

impl<'a> Array<'a> {
    fn new(kind: Kind) -> Array<'a> {
        match kind {
            Kind::Int => Array::Int(Vec::new()),
            Kind::Text => Array::Text(Vec::new()),
        }
    }

    fn push(&mut self, cell: Cell<'a>) {
        match (self, cell) {
            (Array::Int(values), Cell::Int(v)) => values.push(Some(v)),
            (Array::Int(values), Cell::Null | Cell::Text(_)) => values.push(None),
            (Array::Text(values), Cell::Text(v)) => values.push(Some(v)),
            (Array::Text(values), Cell::Null | Cell::Int(_)) => values.push(None),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Array::Int(values) => values.len(),
            Array::Text(values) => values.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static COLUMNS: Columns<2> = Columns::new("t", [("a", Kind::Int), ("b", Kind::Text)]);

    #[test]
    fn one_table_is_written_in_two_dialects() {
        assert_eq!(COLUMNS.sqlite_insert(), "insert into t (a, b) values (?, ?)");
        assert_eq!(COLUMNS.sqlite_delete(), "delete from t where a = ? and b = ?");
        assert_eq!(
            COLUMNS.postgres_insert(),
            "insert into t (a, b) select * from unnest($1::bigint[], $2::text[])"
        );
        assert_eq!(
            COLUMNS.postgres_insert_for_ids(),
            "insert into t (a, b) select a, b from unnest($1::bigint[], $2::text[]) with ordinality as k (a, b, n) \
             order by n returning id"
        );
        assert_eq!(
            COLUMNS.postgres_delete(),
            "delete from t t using unnest($1::bigint[], $2::text[]) with ordinality as k (a, b, n) \
             where t.a = k.a and t.b = k.b returning k.n"
        );
    }
}
