//! Whether a webhook fails: what its owners are told of. A single failed send is nothing, receivers restart; the
//! webhook *starts failing* when a delivery's first retry failed too, and *recovers* with the next success.

use crate::companies::Scope;
use crate::db::{self, Note, Tx, sql};
use crate::kernel::id::WebhookId;

/// A retry failed. Told of once, until it recovers.
pub(super) fn failing(tx: &mut Tx<'_>, _scope: Scope, id: WebhookId, _reason: &str) -> db::Result<()> {
    let statement = "update webhooks set failing_since = ? where id = ? and failing_since is null";
    if tx.execute(sql(statement).bind(tx.now()).bind(id))? > 0 {
        tx.note(Note::Changed(id));
    }
    Ok(())
}

/// A delivery succeeded after it was failing.
pub(super) fn recovered(tx: &mut Tx<'_>, _scope: Scope, id: WebhookId) -> db::Result<()> {
    let statement = "update webhooks set failing_since = null where id = ? and failing_since is not null";
    if tx.execute(sql(statement).bind(id))? > 0 {
        tx.note(Note::Changed(id));
    }
    Ok(())
}

/// It was deactivated.
pub(super) fn deactivated(_tx: &mut Tx<'_>, _scope: Scope, _id: WebhookId, _reason: &str) -> db::Result<()> {
    Ok(())
}
