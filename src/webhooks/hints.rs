//! What processes on one PostgreSQL tell each other: that a webhook of somebody else's has something due, or was
//! changed. Hints only save time: every process looks at its rows every few seconds anyway.

use std::collections::BTreeSet;

use crate::db::{self, Db, Note, sql};
use crate::kernel::id::WebhookId;

/// Bytes of one hint at most; PostgreSQL takes 7,999.
const HINT_BYTES_MAX: usize = 7_000;

/// What about a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Due,
    Changed,
}

/// Hints that wait to be told, each once.
#[derive(Default)]
pub(super) struct Hints(BTreeSet<(Kind, WebhookId)>);

impl Hints {
    pub(super) fn add(&mut self, note: &Note) {
        self.0.insert(match note {
            Note::Fresh(fresh) => (Kind::Due, fresh.webhook),
            Note::Due(id) => (Kind::Due, *id),
            Note::Changed(id) => (Kind::Changed, *id),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn texts(&self) -> Vec<String> {
        let mut texts = vec![String::new()];
        for (kind, id) in &self.0 {
            let word = match kind {
                Kind::Due => format!("d{id} "),
                Kind::Changed => format!("c{id} "),
            };
            if texts.last().is_some_and(|text| text.len() + word.len() > HINT_BYTES_MAX) {
                texts.push(String::new());
            }
            texts.last_mut().expect("there is one").push_str(&word);
        }
        texts
    }

    /// Tells all of them.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn tell(&self, db: &Db) -> db::Result<()> {
        let texts = self.texts();
        db.write("webhooks.tell", move |tx| {
            for text in &texts {
                tx.execute(sql("select pg_notify('calltracker', ?)").bind(text))?;
            }
            Ok(())
        })
        .await
    }
}

/// What a hint says; words that aren't ours are passed over.
pub(super) fn parse(text: &str) -> impl Iterator<Item = (Kind, WebhookId)> + '_ {
    text.split_whitespace().filter_map(|word| {
        let (kind, id) = word.split_at_checked(1)?;
        let kind = match kind {
            "d" => Kind::Due,
            "c" => Kind::Changed,
            _ => return None,
        };
        Some((kind, WebhookId(id.parse().ok()?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard_in_pieces_that_postgres_takes() {
        let mut hints = Hints::default();
        for id in 0..5_000 {
            hints.add(&Note::Due(WebhookId(id)));
            hints.add(&Note::Due(WebhookId(id)));
        }
        hints.add(&Note::Changed(WebhookId(7)));
        let texts = hints.texts();
        assert!(texts.iter().all(|text| text.len() < 7_999), "{}", texts.len());
        let heard: Vec<_> = texts.iter().flat_map(|text| parse(text)).collect();
        assert_eq!(heard.len(), 5_001);
        assert_eq!(heard.last(), Some(&(Kind::Changed, WebhookId(7))));
        assert_eq!(parse("x1 d c- dé 9").count(), 0);
    }
}
