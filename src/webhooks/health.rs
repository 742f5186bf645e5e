//! Whether a webhook fails: what its owners are told of. A single failed send is nothing, receivers restart; the
//! webhook *starts failing* when a delivery's first retry failed too, and *recovers* with the next success.

use super::attempt::Outcome;
use super::record::Ended;
use super::{Status, Webhook};
use crate::alerts::{self, Kind, NewAlert};
use crate::companies::Scope;
use crate::db::{self, Note, Tx, sql};
use crate::kernel::id::WebhookId;

/// A retry failed. Told of once, until it recovers.
pub(super) fn failing(tx: &mut Tx<'_>, ended: &Ended) -> db::Result<()> {
    let statement = "update webhooks set failing_since = ? where id = ? and failing_since is null";
    if tx.execute(sql(statement).bind(tx.now()).bind(ended.webhook))? > 0 {
        tx.note(Note::Changed(ended.webhook));
        raise(tx, ended, Kind::Failing, &ended.outcome.error_detail)?;
    }
    Ok(())
}

/// A delivery succeeded after the webhook was failing.
pub(super) fn recovered(tx: &mut Tx<'_>, ended: &Ended) -> db::Result<()> {
    if clear(tx, ended.webhook)? {
        tx.note(Note::Changed(ended.webhook));
        raise(tx, ended, Kind::Recovered, "")?;
    }
    Ok(())
}

/// It was deactivated with this attempt.
pub(super) fn deactivated(tx: &mut Tx<'_>, ended: &Ended, reason: &str) -> db::Result<()> {
    raise(tx, ended, Kind::Deactivated, reason)
}

/// Its target answered a verification: whatever was wrong is mended, as far as anybody knows.
pub(super) fn verified(tx: &mut Tx<'_>, webhook: &Webhook) -> db::Result<()> {
    clear(tx, webhook.id)?;
    if webhook.status == Status::Deactivated {
        let target = webhook.settings.target.clone();
        let alert = NewAlert { kind: Kind::Recovered, webhook: webhook.id, target, reason: String::new() };
        alerts::raise(tx, Scope::of(webhook.company_id), &alert)?;
    }
    Ok(())
}

fn clear(tx: &mut Tx<'_>, id: WebhookId) -> db::Result<bool> {
    let statement = "update webhooks set failing_since = null where id = ? and failing_since is not null";
    Ok(tx.execute(sql(statement).bind(id))? > 0)
}

fn raise(tx: &mut Tx<'_>, ended: &Ended, kind: Kind, reason: &str) -> db::Result<()> {
    let Outcome { target, .. } = &ended.outcome;
    let alert = NewAlert { kind, webhook: ended.webhook, target: target.clone(), reason: reason.to_owned() };
    alerts::raise(tx, Scope::of(ended.company), &alert)?;
    Ok(())
}
