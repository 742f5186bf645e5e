//! Statements and rows as the rest of the program sees them: text with `?`, bound values of a few types,
//! and columns read in order.

use std::borrow::Cow;

use super::{Error, Result};
use crate::kernel::clock::Micros;
use crate::kernel::id::Id;
use crate::kernel::phone::PhoneNumber;

/// A value to bind.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
}

/// A statement with its values. The text is one for both engines; `{{words}}` are replaced by
/// [`super::migrate::dialect`].
#[derive(Clone, Debug)]
pub struct Sql {
    pub(super) text: Cow<'static, str>,
    pub(super) values: Vec<Value>,
}

/// Starts a statement.
pub fn sql(text: impl Into<Cow<'static, str>>) -> Sql {
    Sql { text: text.into(), values: Vec::new() }
}

impl Sql {
    /// Binds the next `?`.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Sql {
        self.values.push(value.into());
        self
    }

    /// Binds the ids of the next `{{in_ids}}`.
    #[must_use]
    pub fn bind_ids(self, ids: impl IntoIterator<Item = i64>) -> Sql {
        let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
        self.bind(format!("[{}]", ids.join(",")))
    }

    /// Appends text: for filters that are there or not. Never a value.
    #[must_use]
    pub fn and(mut self, text: &str) -> Sql {
        self.text.to_mut().push_str(text);
        self
    }
}

impl From<i64> for Value {
    fn from(v: i64) -> Value {
        Value::Int(v)
    }
}

impl From<f64> for Value {
    fn from(v: f64) -> Value {
        Value::Float(v)
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Value {
        Value::Bool(v)
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Value {
        Value::Text(v.to_owned())
    }
}

impl From<String> for Value {
    fn from(v: String) -> Value {
        Value::Text(v)
    }
}

impl From<&String> for Value {
    fn from(v: &String) -> Value {
        Value::Text(v.clone())
    }
}

impl From<Vec<u8>> for Value {
    fn from(v: Vec<u8>) -> Value {
        Value::Bytes(v)
    }
}

impl From<Micros> for Value {
    fn from(v: Micros) -> Value {
        Value::Int(v.0)
    }
}

impl From<&PhoneNumber> for Value {
    fn from(v: &PhoneNumber) -> Value {
        Value::Text(v.as_str().to_owned())
    }
}

impl<T: Id> From<T> for Value {
    fn from(v: T) -> Value {
        Value::Int(v.value())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Value {
        v.map_or(Value::Null, Into::into)
    }
}

/// A type that a column can be read as.
pub trait Column: Sized {
    /// # Errors
    /// [`Error::Internal`] if the column holds something else.
    fn read(value: Value) -> Result<Self>;
}

fn wrong<T>(value: &Value) -> Result<T> {
    // The value itself stays out of the message: it may be personal.
    let kind = match value {
        Value::Null => "null",
        Value::Int(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Bool(_) => "a boolean",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytes",
    };
    Err(Error::Internal(format!("a column holds {kind} where {} was expected", std::any::type_name::<T>())))
}

impl Column for i64 {
    fn read(value: Value) -> Result<i64> {
        match value {
            Value::Int(v) => Ok(v),
            other => wrong(&other),
        }
    }
}

impl Column for f64 {
    fn read(value: Value) -> Result<f64> {
        match value {
            Value::Float(v) => Ok(v),
            other => wrong(&other),
        }
    }
}

impl Column for bool {
    fn read(value: Value) -> Result<bool> {
        match value {
            Value::Bool(v) => Ok(v),
            // SQLite has no booleans: it keeps 0 and 1.
            Value::Int(v) => Ok(v != 0),
            other => wrong(&other),
        }
    }
}

impl Column for String {
    fn read(value: Value) -> Result<String> {
        match value {
            Value::Text(v) => Ok(v),
            other => wrong(&other),
        }
    }
}

impl Column for Vec<u8> {
    fn read(value: Value) -> Result<Vec<u8>> {
        match value {
            Value::Bytes(v) => Ok(v),
            other => wrong(&other),
        }
    }
}

impl Column for u32 {
    fn read(value: Value) -> Result<u32> {
        match value {
            Value::Int(v) => u32::try_from(v).or_else(|_| wrong(&value)),
            other => wrong(&other),
        }
    }
}

impl Column for Micros {
    fn read(value: Value) -> Result<Micros> {
        i64::read(value).map(Micros)
    }
}

impl<T: Id> Column for T {
    fn read(value: Value) -> Result<T> {
        i64::read(value).map(T::new)
    }
}

impl Column for PhoneNumber {
    fn read(value: Value) -> Result<PhoneNumber> {
        let text = String::read(value)?;
        PhoneNumber::from_e164(&text).ok_or_else(|| {
            Error::Internal("a column holds text where a phone number was expected".to_owned())
        })
    }
}

impl<T: Column> Column for Option<T> {
    fn read(value: Value) -> Result<Option<T>> {
        match value {
            Value::Null => Ok(None),
            other => T::read(other).map(Some),
        }
    }
}

/// A row whose columns are read one after the other, in the order of the statement.
pub struct Row<'a> {
    pub(super) source: Source<'a>,
    pub(super) next: usize,
}

pub(super) enum Source<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a ::postgres::Row),
}

impl Row<'_> {
    /// The next column.
    ///
    /// # Errors
    /// [`Error::Internal`] if there is none or it holds another type.
    pub fn get<T: Column>(&mut self) -> Result<T> {
        let value = match &self.source {
            Source::Sqlite(row) => super::sqlite::column(row, self.next)?,
            Source::Postgres(row) => super::postgres::column(row, self.next)?,
        };
        let read = T::read(value)
            .map_err(|error| Error::Internal(format!("column {} of a row: {error}", self.next)));
        self.next += 1;
        read
    }
}

/// What a row can be read as.
pub trait FromRow: Sized {
    /// # Errors
    /// As [`Row::get`].
    fn from_row(row: &mut Row<'_>) -> Result<Self>;
}

impl<A: Column> FromRow for (A,) {
    fn from_row(row: &mut Row<'_>) -> Result<Self> {
        Ok((row.get()?,))
    }
}

impl<A: Column, B: Column> FromRow for (A, B) {
    fn from_row(row: &mut Row<'_>) -> Result<Self> {
        Ok((row.get()?, row.get()?))
    }
}

impl<A: Column, B: Column, C: Column> FromRow for (A, B, C) {
    fn from_row(row: &mut Row<'_>) -> Result<Self> {
        Ok((row.get()?, row.get()?, row.get()?))
    }
}

impl<A: Column, B: Column, C: Column, D: Column> FromRow for (A, B, C, D) {
    fn from_row(row: &mut Row<'_>) -> Result<Self> {
        Ok((row.get()?, row.get()?, row.get()?, row.get()?))
    }
}
