//! Webhooks and deliveries without an engine: for tests of what happens to rows.

use calltracker::db::sql;
use calltracker::events::{self, EventType};
use calltracker::kernel::id::WebhookId;
use calltracker::webhooks::{self, Settings};

use super::receiver::Receiver;
use super::{TestApp, TestCompany, usage};

/// What a webhook is made of when a test doesn't care.
pub fn settings(target: &str) -> Settings {
    Settings::all_to(target)
}

/// A webhook that nobody verified.
pub async fn unverified(app: &TestApp, company: &TestCompany, target: &str) -> WebhookId {
    let (scope, key, settings) = (company.scope, app.ctx.key.clone(), settings(target));
    app.write(move |tx| webhooks::create(tx, scope, &key, &settings)).await.0.id
}

/// A webhook that was verified.
pub async fn active(app: &TestApp, company: &TestCompany, receiver: &Receiver) -> WebhookId {
    let id = unverified(app, company, &receiver.url).await;
    let verdict = webhooks::verify(&app.ctx, company.scope, id).await.unwrap();
    assert!(verdict.expect("the webhook exists").success);
    id
}

pub async fn pause(app: &TestApp, company: &TestCompany, id: WebhookId, paused: bool) {
    let scope = company.scope;
    app.write(move |tx| webhooks::set_paused(tx, scope, id, paused)).await;
}

/// Appends so many events.
pub async fn append(app: &TestApp, company: &TestCompany, count: i64) {
    let scope = company.scope;
    let append = move |tx: &mut calltracker::db::Tx<'_>| {
        (0..count).try_for_each(|n| events::append(tx, scope, EventType::UsageCreated, &usage(n)))
    };
    app.write(append).await;
}

/// Finishes all that is pending of a webhook, as if it had been attempted once.
pub async fn finish(app: &TestApp, id: WebhookId, state: &'static str) {
    app.write(move |tx| {
        let now = tx.now();
        tx.execute(
            sql("insert into attempts (webhook_id, event_id, number, started_at, duration_ms, target,
                 request_headers, status_code, error, error_detail, response_body)
                 select webhook_id, event_id, attempts + 1, cast(? as bigint), 1, '', '{}', 200, null, '', ''
                 from deliveries where webhook_id = ?")
            .bind(now)
            .bind(id),
        )?;
        tx.execute(
            sql("insert into finished_deliveries (webhook_id, event_id, company_id, event_type, state, attempts,
                 created_at, finished_at) select webhook_id, event_id, company_id, event_type, cast(? as text),
                 attempts + 1, created_at, cast(? as bigint) from deliveries where webhook_id = ?")
            .bind(state)
            .bind(now)
            .bind(id),
        )?;
        tx.execute(sql("delete from deliveries where webhook_id = ?").bind(id))
    })
    .await;
}

/// Rows that fit a condition.
pub async fn count(app: &TestApp, rows: &'static str) -> i64 {
    let (count,): (i64,) = app.write(move |tx| tx.one(sql(format!("select count(*) from {rows}")))).await;
    count
}
