//! One page of a list. The cursor is the id of the last row shown, so a row that is inserted meanwhile
//! neither shifts the next page nor repeats a row.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::kernel::clock::Micros;

/// Rows on a page when the client doesn't say.
pub const LIMIT_DEFAULT: usize = 100;
/// Rows on a page at most.
pub const LIMIT_MAX: usize = 500;

/// What the client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub limit: usize,
    /// Start behind the row with this id.
    pub after: Option<i64>,
    /// In a list by time: the moment of that row.
    pub after_at: Option<Micros>,
}

impl Default for Page {
    fn default() -> Page {
        Page { limit: LIMIT_DEFAULT, after: None, after_at: None }
    }
}

impl Page {
    /// One row more than is shown, which tells whether there is a next page.
    pub fn fetch_limit(self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// In a list by time: start behind the row of this moment and id.
    pub fn after_moment(self) -> Option<(Micros, i64)> {
        self.after_at.zip(self.after)
    }

    /// Starts behind a row.
    #[must_use]
    pub fn behind(self, cursor: Cursor) -> Page {
        Page { after: Some(cursor.id), after_at: cursor.at, ..self }
    }
}

/// The rows of a page and the cursor of the next.
#[derive(Debug)]
pub struct Listed<T> {
    pub rows: Vec<T>,
    pub next: Option<String>,
}

impl<T> Listed<T> {
    /// Cuts the extra row off and makes the cursor of it; `id` gives a row's id.
    pub fn new(mut rows: Vec<T>, page: Page, id: impl Fn(&T) -> i64) -> Listed<T> {
        let more = rows.len() > page.limit;
        rows.truncate(page.limit);
        let next = if more { rows.last().map(|row| cursor(id(row))) } else { None };
        Listed { rows, next }
    }

    /// As [`Listed::new`], of a list by time; `key` gives a row's moment and id.
    pub fn by_time(mut rows: Vec<T>, page: Page, key: impl Fn(&T) -> (Micros, i64)) -> Listed<T> {
        let more = rows.len() > page.limit;
        rows.truncate(page.limit);
        let last = rows.last().filter(|_| more).map(key);
        let next = last.map(|(at, id)| URL_SAFE_NO_PAD.encode(format!("2:{}:{id}", at.0)));
        Listed { rows, next }
    }
}

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub id: i64,
    /// In a list by time.
    pub at: Option<Micros>,
}

/// The cursor of a row: opaque to clients, so that its meaning may change.
pub fn cursor(id: i64) -> String {
    URL_SAFE_NO_PAD.encode(format!("1:{id}"))
}

/// What a cursor says; None if it isn't one of ours.
pub fn parse_cursor(text: &str) -> Option<Cursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?;
    if let Some(id) = text.strip_prefix("1:") {
        return Some(Cursor { id: id.parse().ok()?, at: None });
    }
    let (at, id) = text.strip_prefix("2:")?.split_once(':')?;
    Some(Cursor { id: id.parse().ok()?, at: Some(Micros(at.parse().ok()?)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_is_there_only_if_more_rows_are() {
        let page = Page { limit: 2, ..Page::default() };
        let full = Listed::new(vec![9, 8, 7], page, |n| *n);
        assert_eq!(full.rows, [9, 8]);
        assert_eq!(full.next.as_deref().and_then(parse_cursor), Some(Cursor { id: 8, at: None }));
        assert_eq!(Listed::new(vec![9, 8], page, |n| *n).next, None);
        let by_time = Listed::by_time(vec![9, 8, 7], page, |n| (Micros(-n), *n));
        let last = Cursor { id: 8, at: Some(Micros(-8)) };
        assert_eq!(by_time.next.as_deref().and_then(parse_cursor), Some(last));
    }

    #[test]
    fn a_strangers_cursor_is_refused() {
        for bad in ["", "8", "!!", "MTo", "Mjo4"] {
            assert_eq!(parse_cursor(bad), None, "{bad}");
        }
    }
}
