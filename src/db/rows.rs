//! Many rows in one go, for the few places that write thousands a second: SQLite takes them one by one with
//! one prepared statement, PostgreSQL all at once as arrays. The table and its columns are the program's own
//! words, never a stranger's.

use super::sql::Value;

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

/// A table and some of its columns.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    pub table: &'static str,
    pub columns: &'static [(&'static str, Kind)],
}

impl Columns {
    fn names(&self) -> Vec<&'static str> {
        self.columns.iter().map(|(name, _)| *name).collect()
    }

    pub(super) fn sqlite_insert(&self) -> String {
        let marks = vec!["?"; self.columns.len()].join(", ");
        format!("insert into {} ({}) values ({marks})", self.table, self.names().join(", "))
    }

    pub(super) fn sqlite_delete(&self) -> String {
        let keys: Vec<_> = self.names().into_iter().map(|name| format!("{name} = ?")).collect();
        format!("delete from {} where {}", self.table, keys.join(" and "))
    }

    pub(super) fn postgres_insert(&self) -> String {
        let names = self.names().join(", ");
        format!("insert into {} ({names}) select * from unnest({})", self.table, self.arrays())
    }

    /// Gives back the positions of the rows that were there, beginning with 1.
    pub(super) fn postgres_delete(&self) -> String {
        let keys: Vec<_> = self.names().into_iter().map(|name| format!("t.{name} = k.{name}")).collect();
        format!(
            "delete from {} t using unnest({}) with ordinality as k ({}, n) where {} returning k.n",
            self.table,
            self.arrays(),
            self.names().join(", "),
            keys.join(" and ")
        )
    }

    fn arrays(&self) -> String {
        let array = |(n, (_, kind)): (usize, &(&str, Kind))| format!("${}::{}[]", n + 1, kind.postgres());
        self.columns.iter().enumerate().map(array).collect::<Vec<_>>().join(", ")
    }

    /// The rows' values column by column.
    pub(super) fn by_column(&self, rows: Vec<Vec<Value>>) -> Vec<Array> {
        let mut arrays: Vec<Array> = self.columns.iter().map(|(_, kind)| Array::new(*kind)).collect();
        for row in rows {
            debug_assert_eq!(row.len(), arrays.len());
            for (array, value) in arrays.iter_mut().zip(row) {
                array.push(value);
            }
        }
        arrays
    }
}

/// The values of one column.
#[derive(Debug)]
pub(super) enum Array {
    Int(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
}

impl Array {
    fn new(kind: Kind) -> Array {
        match kind {
            Kind::Int => Array::Int(Vec::new()),
            Kind::Text => Array::Text(Vec::new()),
        }
    }

    fn push(&mut self, value: Value) {
        match (self, value) {
            (Array::Int(values), Value::Int(v)) => values.push(Some(v)),
            (Array::Int(values), _) => values.push(None),
            (Array::Text(values), Value::Text(v)) => values.push(Some(v)),
            (Array::Text(values), _) => values.push(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: Columns = Columns { table: "t", columns: &[("a", Kind::Int), ("b", Kind::Text)] };

    #[test]
    fn one_table_is_written_in_two_dialects() {
        assert_eq!(COLUMNS.sqlite_insert(), "insert into t (a, b) values (?, ?)");
        assert_eq!(COLUMNS.sqlite_delete(), "delete from t where a = ? and b = ?");
        assert_eq!(
            COLUMNS.postgres_insert(),
            "insert into t (a, b) select * from unnest($1::bigint[], $2::text[])"
        );
        assert_eq!(
            COLUMNS.postgres_delete(),
            "delete from t t using unnest($1::bigint[], $2::text[]) with ordinality as k (a, b, n) \
             where t.a = k.a and t.b = k.b returning k.n"
        );
    }
}
