//! What is kept, what goes, and on PostgreSQL the days that it lies in.

use std::sync::mpsc;
use std::time::Duration;

use calltracker::db::sql;
use calltracker::webhooks::{expire, retention};

use crate::support::deliveries::{active, append, count, finish, pause, unverified};
use crate::support::receiver::Receiver;
use crate::support::{TestApp, TestCompany};

const DAY: Duration = Duration::from_secs(86_400);
/// From one mark to the next.
const HOUR: Duration = Duration::from_secs(3_600);

async fn retain(app: &TestApp) {
    retention::run_once(&app.ctx).await.unwrap();
}

/// A text column, in its order.
async fn texts(app: &TestApp, query: &'static str) -> Vec<String> {
    let rows: Vec<(String,)> = app.write(move |tx| tx.all(sql(query))).await;
    rows.into_iter().map(|(text,)| text).collect()
}

/// The partitions of a table but the rest.
async fn days(app: &TestApp) -> Vec<String> {
    let query = "select cast(c.relname as text) from pg_inherits i join pg_class c on c.oid = i.inhrelid
                 where i.inhparent = to_regclass('events') and c.relname <> 'events_rest' order by 1";
    texts(app, query).await
}

async fn a_webhook(app: &TestApp) -> (TestCompany, calltracker::kernel::id::WebhookId) {
    let (company, receiver) = (app.company("Acme").await, Receiver::start().await);
    let id = active(app, &company, &receiver).await;
    (company, id)
}

#[tokio::test]
async fn what_is_too_old_goes_with_all_that_belongs_to_it() {
    let app = TestApp::quiet(|_| {}).await;
    let (company, id) = a_webhook(&app).await;
    retain(&app).await;
    append(&app, &company, 3).await;
    finish(&app, id, "delivered").await;
    app.write(|tx| {
        tx.execute(sql(
            "insert into webhook_minutes values (1, 29550000, 1, 0, 5, 5), (1, 29560000, 1, 0, 5, 5)",
        ))
    })
    .await;
    app.advance(HOUR);
    retain(&app).await;
    app.advance(2 * DAY);
    retain(&app).await;
    append(&app, &company, 1).await;
    finish(&app, id, "delivered").await;
    app.advance(29 * DAY + HOUR);
    retain(&app).await;
    assert_eq!(count(&app, "events").await, 1, "the first day is older than 30 days");
    assert_eq!(count(&app, "finished_deliveries").await, 1);
    assert_eq!(count(&app, "attempts").await, 1);
    assert_eq!(count(&app, "webhook_minutes where minute < 29560000").await, 0);
    assert_eq!(count(&app, "event_marks").await, 3, "those from which nothing can be told any more are gone");
    let path = company.path(&format!("/webhooks/{id}/deliveries"));
    assert_eq!(company.reader.get(&path).await.expect(200).json["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn each_is_kept_for_as_long_as_its_own_setting_says() {
    let app = TestApp::quiet(|config| config.retention.attempts = 5 * DAY).await;
    let (company, id) = a_webhook(&app).await;
    retain(&app).await;
    append(&app, &company, 2).await;
    finish(&app, id, "delivered").await;
    app.advance(HOUR);
    retain(&app).await;
    app.advance(7 * DAY);
    retain(&app).await;
    assert_eq!((count(&app, "attempts").await, count(&app, "finished_deliveries").await), (0, 2));
}

#[tokio::test]
async fn an_event_stays_while_an_older_one_is_pending_and_goes_when_that_expired() {
    let app = TestApp::quiet(|_| {}).await;
    let (company, id) = a_webhook(&app).await;
    let held = unverified(&app, &company, "https://192.0.2.1/").await;
    retain(&app).await;
    append(&app, &company, 5).await;
    finish(&app, id, "delivered").await;
    app.advance(HOUR);
    append(&app, &company, 1).await;
    retain(&app).await;
    app.advance(32 * DAY);
    retain(&app).await;
    assert_eq!(count(&app, "events").await, 6);
    assert_eq!(expire(&app.ctx).await.unwrap(), 6);
    let path = company.path(&format!("/webhooks/{held}/deliveries?state=expired"));
    assert_eq!(company.reader.get(&path).await.expect(200).json["data"].as_array().unwrap().len(), 6);
    finish(&app, id, "delivered").await;
    append(&app, &company, 1).await;
    retain(&app).await;
    assert_eq!(count(&app, "events").await, 1, "the new one");
    assert_eq!(count(&app, "deliveries").await, 2);
}

#[tokio::test]
async fn the_newest_event_keeps_its_id_from_being_given_out_again() {
    let app = TestApp::quiet(|_| {}).await;
    let (company, id) = a_webhook(&app).await;
    append(&app, &company, 3).await;
    finish(&app, id, "delivered").await;
    app.advance(HOUR);
    retain(&app).await;
    app.advance(60 * DAY);
    retain(&app).await;
    assert_eq!(count(&app, "finished_deliveries").await, 0);
    assert_eq!(count(&app, "events").await, 1);
    append(&app, &company, 1).await;
    assert_eq!(count(&app, "events where id = 4").await, 1);
}

#[tokio::test]
async fn what_lies_in_no_day_of_its_own_is_deleted_bit_by_bit() {
    let app = TestApp::quiet(|_| {}).await;
    let (company, id) = a_webhook(&app).await;
    // Before there are days: the rows of this day lie in the rest.
    append(&app, &company, 1_200).await;
    finish(&app, id, "delivered").await;
    retain(&app).await;
    app.advance(HOUR);
    pause(&app, &company, id, true).await;
    append(&app, &company, 1).await;
    retain(&app).await;
    app.advance(29 * DAY);
    retain(&app).await;
    assert_eq!(count(&app, "finished_deliveries").await, 1_200);
    app.advance(2 * DAY - HOUR);
    retain(&app).await;
    assert_eq!((count(&app, "events").await, count(&app, "finished_deliveries").await), (1, 0));
    assert_eq!(count(&app, "attempts").await, 0);
}

#[tokio::test]
async fn days_are_made_ahead_filled_and_dropped() {
    let app = TestApp::quiet(|_| {}).await;
    if !app.ctx.db.is_shared() {
        return;
    }
    let (company, id) = a_webhook(&app).await;
    retain(&app).await;
    retain(&app).await;
    let made = ["events_20260309", "events_20260310", "events_20260311", "events_20260312"];
    assert_eq!(days(&app).await, made);
    append(&app, &company, 1).await;
    finish(&app, id, "delivered").await;
    let places = "select cast(tableoid as regclass)::text from events union all
                  select cast(tableoid as regclass)::text from finished_deliveries union all
                  select cast(tableoid as regclass)::text from attempts";
    let first_day = ["events_20260309", "finished_deliveries_20260309", "attempts_20260309"];
    assert_eq!(texts(&app, places).await, first_day);
    // Nobody led for a week: the rows of a day without a partition go to the rest, and the day is left to it.
    app.advance(7 * DAY);
    append(&app, &company, 1).await;
    retain(&app).await;
    assert_eq!(
        texts(&app, "select cast(tableoid as regclass)::text from events order by id").await[1],
        "events_rest"
    );
    let now = days(&app).await;
    assert_eq!(now[4..], ["events_20260317", "events_20260318", "events_20260319"]);
    app.advance(24 * DAY);
    retain(&app).await;
    let left = days(&app).await;
    assert_eq!(left[..3], ["events_20260310", "events_20260311", "events_20260312"]);
    assert_eq!(count(&app, "finished_deliveries").await, 0);
}

#[tokio::test]
async fn a_day_that_is_in_use_is_dropped_another_time() {
    let app = TestApp::quiet(|_| {}).await;
    if !app.ctx.db.is_shared() {
        return;
    }
    let (company, _) = a_webhook(&app).await;
    retain(&app).await;
    app.advance(40 * DAY);
    append(&app, &company, 1).await;
    let url = app.ctx.config.database_url.clone().unwrap();
    let (release, released) = mpsc::channel::<()>();
    let (held, holds) = tokio::sync::oneshot::channel();
    let reader = std::thread::spawn(move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        let mut transaction = client.transaction().unwrap();
        transaction.query("select id from events", &[]).unwrap();
        held.send(()).unwrap();
        // Until the test lets go.
        let _ = released.recv();
    });
    holds.await.unwrap();
    retain(&app).await;
    assert!(days(&app).await.contains(&"events_20260309".to_owned()));
    drop(release);
    reader.join().unwrap();
    retain(&app).await;
    assert!(!days(&app).await.contains(&"events_20260309".to_owned()));
}

#[tokio::test]
async fn postgres_looks_rows_up_as_sqlite_does() {
    let app = TestApp::quiet(|_| {}).await;
    if !app.ctx.db.is_shared() {
        return;
    }
    // With hashes a hundred deliveries would have a month of events read: see db::postgres.
    let settings = "select current_setting(name) from
                    (values ('enable_hashjoin'), ('enable_mergejoin'), ('jit')) as of (name)";
    assert_eq!(texts(&app, settings).await, ["off", "off", "off"]);
}
