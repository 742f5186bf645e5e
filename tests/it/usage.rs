//! Closing billing periods, against the database. The arithmetic of dates is tested beside it.

use std::time::Duration;

use calltracker::companies::{self, NewCompany, Scope};
use calltracker::db::{Tx, sql};
use calltracker::kernel::clock::Micros;
use calltracker::kernel::id::CarrierId;
use calltracker::kernel::page::Page;
use calltracker::trackers::{TrackerView, TrackingNumber};
use calltracker::usage::{self, SETTLE, Usage};
use serde_json::Value as Json;

use crate::support::world::{NOWHERE, World, assert_contract, moment, stranger};

const LOCAL: &str = "+12705550101";
const TOLLFREE: &str = "+18555550102";

/// A company created on 20 January 2026 with a local and a toll-free number.
struct Scene {
    world: World,
    scope: Scope,
    carrier: CarrierId,
    tracker: TrackerView,
}

impl Scene {
    async fn new(zone: &str, billing_day: i64) -> Scene {
        let world = World::at("2026-01-20T12:00:00Z").await;
        let scope = world.company(zone, billing_day).await;
        let carrier = world.account(scope, NOWHERE).await;
        let tracker = world.tracker(scope, carrier, &[LOCAL, TOLLFREE]).await;
        Scene { world, scope, carrier, tracker }
    }

    fn local(&self) -> &TrackingNumber {
        &self.tracker.numbers[0]
    }

    fn tollfree(&self) -> &TrackingNumber {
        &self.tracker.numbers[1]
    }

    async fn close(&self, as_of: Micros) -> usize {
        usage::close_due(&self.world.ctx.db, as_of).await.unwrap()
    }

    /// Oldest first.
    async fn periods(&self) -> Vec<Usage> {
        let listed = usage::list(&self.world.ctx.db, self.scope, Page::default()).await.unwrap();
        listed.rows.into_iter().rev().collect()
    }

    async fn message(&self, id: &str, accepted_at: Option<Micros>) {
        self.world
            .execute(
                sql("insert into messages (company_id, tracker_id, number_id, carrier_id, carrier_message_id,
                     direction, from_number, to_number, body, media, segments, status, error, created_at,
                     accepted_at) values (?, ?, ?, ?, ?, 'incoming', '', ?, '', '[]', 1, 'received', '', 0, ?)")
                .bind(self.scope.company())
                .bind(self.tracker.tracker.id)
                .bind(self.local().id)
                .bind(self.carrier)
                .bind(id)
                .bind(LOCAL)
                .bind(accepted_at),
            )
            .await;
    }

    async fn call(&self, id: &str, number: &TrackingNumber, seconds: i64, ended: &str, finished: bool) {
        let ended_at = moment(ended);
        self.world
            .execute(
                sql("insert into calls (company_id, tracker_id, number_id, carrier_id, carrier_call_id,
                     tracking_number, caller_number, caller_name, caller_city, caller_state, caller_zip,
                     caller_country, forwarded_from, attestation, is_first_time, source_channel,
                     source_referrer, source_keyword, landing_page, pages_visited, gclid, visitor_ip, status,
                     started_at, call_duration, treatment, leg_answered, whisper_started, ended_at,
                     finished_at, checked_at, note, lead_status, spam, search_text)
                     values (?, ?, ?, ?, ?, ?, '', '', '', '', '', '', '', '', ?, 'offline', '', '', '', '[]',
                     '', '', 'answered', ?, ?, '', ?, ?, ?, ?, 0, '', '', ?, '')")
                .bind(self.scope.company())
                .bind(self.tracker.tracker.id)
                .bind(number.id)
                .bind(self.carrier)
                .bind(id)
                .bind(&number.number)
                .bind(false)
                .bind(ended_at)
                .bind(seconds)
                .bind(true)
                .bind(false)
                .bind(ended_at)
                .bind(finished.then_some(ended_at))
                .bind(false),
            )
            .await;
    }

    async fn change(&self, time_zone: &str, billing_day: i64) {
        let (scope, time_zone) = (self.scope, time_zone.to_owned());
        let change = move |tx: &mut Tx<'_>| {
            let (name, country) = ("Example Company".to_owned(), "US".to_owned());
            let new =
                NewCompany { name, time_zone: time_zone.clone(), country, billing_day, source_days: 30 };
            companies::update(tx, scope, &new)
        };
        self.world.ctx.db.write("test", change).await.unwrap();
    }
}

fn dates(periods: &[Usage]) -> Vec<(&str, &str)> {
    periods.iter().map(|usage| (usage.start_date.as_str(), usage.end_date.as_str())).collect()
}

#[tokio::test]
async fn months_end_at_the_companys_own_midnight() {
    for (zone, first, ends) in [
        ("UTC", "2026-01-20", ["2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"]),
        (
            "America/New_York",
            "2026-01-20",
            ["2026-02-01T05:00:00Z", "2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z"],
        ),
        (
            "Europe/Berlin",
            "2026-01-20",
            ["2026-01-31T23:00:00Z", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"],
        ),
        (
            "Asia/Kolkata",
            "2026-01-20",
            ["2026-01-31T18:30:00Z", "2026-02-28T18:30:00Z", "2026-03-31T18:30:00Z"],
        ),
        (
            "Pacific/Kiritimati",
            "2026-01-21",
            ["2026-01-31T10:00:00Z", "2026-02-28T10:00:00Z", "2026-03-31T10:00:00Z"],
        ),
    ] {
        let scene = Scene::new(zone, 1).await;
        for end in ends {
            let end = moment(end);
            scene.message(&format!("{} before", end.0), Some(end.before(Duration::from_micros(1)))).await;
            scene.message(&format!("{} at", end.0), Some(end)).await;
        }
        assert_eq!(scene.close(moment(ends[2]).after(SETTLE)).await, 3, "{zone}");
        let periods = scene.periods().await;
        let months = [(first, "2026-02-01"), ("2026-02-01", "2026-03-01"), ("2026-03-01", "2026-04-01")];
        assert_eq!(dates(&periods), months, "{zone}");
        let messages: Vec<i64> = periods.iter().map(|usage| usage.counts.sms_messages).collect();
        assert_eq!(messages, [1, 2, 2], "{zone}");
    }
}

#[tokio::test]
async fn a_period_is_counted_five_minutes_after_its_end() {
    let scene = Scene::new("UTC", 10).await;
    let end = moment("2026-02-10T00:00:00Z");
    assert_eq!(scene.close(end.after(Duration::from_secs(299))).await, 0);
    assert_eq!(scene.close(end.after(Duration::from_secs(300))).await, 1);
}

#[tokio::test]
async fn usage_has_the_contracts_keys_and_no_more() {
    let scene = Scene::new("UTC", 10).await;
    scene.close(moment("2026-02-11T00:00:00Z")).await;
    let events = scene.world.events(scene.scope, "usage.created").await;
    assert_eq!(events.len(), 1);
    assert_contract("usage.created", &events[0]);
    let path = format!("{}/tests/fixtures/contract/usage.created.json", env!("CARGO_MANIFEST_DIR"));
    let example: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(events[0].as_object().unwrap().len(), example["data"].as_object().unwrap().len());
    assert_eq!(events[0], scene.periods().await[0].to_json());
    assert_eq!(events[0]["timestamp"], "2026-01-20T12:00:00.000000Z");
}

#[tokio::test]
async fn each_period_is_told_of_once_however_often_and_by_whom_it_is_closed() {
    let scene = Scene::new("UTC", 1).await;
    let as_of = moment("2026-06-15T00:00:00Z");
    let closings = futures_util::future::join_all((0..4).map(|_| scene.close(as_of))).await;
    assert_eq!(closings.iter().sum::<usize>(), 5);
    assert_eq!(scene.close(as_of).await, 0);
    assert_eq!(scene.periods().await.len(), 5);
    assert_eq!(scene.world.events(scene.scope, "usage.created").await.len(), 5);
}

#[tokio::test]
async fn counted_again_a_period_is_the_same() {
    let scene = Scene::new("America/New_York", 1).await;
    scene.message("SM1", Some(moment("2026-01-25T12:00:00Z"))).await;
    scene.message("never accepted", None).await;
    scene.call("CA1", scene.local(), 61, "2026-01-25T12:00:00Z", true).await;
    scene.call("CA2", scene.tollfree(), 1, "2026-01-25T12:00:00Z", true).await;
    scene.close(moment("2026-02-02T00:00:00Z")).await;
    let first = scene.periods().await.remove(0);
    let counts = first.counts;
    assert_eq!((counts.local_numbers, counts.tollfree_numbers, counts.sms_messages), (1, 1, 1));
    assert_eq!((counts.local_minutes, counts.tollfree_minutes), (2, 1));
    scene.world.execute(sql("delete from usage_periods")).await;
    scene.world.delete_tracker(scene.scope, &scene.tracker).await;
    scene.world.clock.advance(Duration::from_secs(90 * 86_400));
    scene.close(moment("2026-02-03T00:00:00Z")).await;
    let again = scene.periods().await.remove(0);
    assert_eq!(
        (again.counts, &again.start_date, &again.end_date),
        (counts, &first.start_date, &first.end_date)
    );
}

#[tokio::test]
async fn minutes_are_rounded_up_call_by_call() {
    let scene = Scene::new("UTC", 1).await;
    for (nth, seconds) in [0, 1, 59, 60, 61, 3_600].into_iter().enumerate() {
        scene.call(&format!("CA{nth}"), scene.local(), seconds, "2026-01-31T23:59:59.999999Z", true).await;
    }
    scene.call("CA next", scene.tollfree(), 1, "2026-02-01T00:00:00Z", true).await;
    scene.close(moment("2026-03-02T00:00:00Z")).await;
    let minutes: Vec<_> = scene
        .periods()
        .await
        .iter()
        .map(|usage| (usage.counts.local_minutes, usage.counts.tollfree_minutes))
        .collect();
    assert_eq!(minutes, [(1 + 1 + 1 + 2 + 60, 0), (0, 1)]);
}

#[tokio::test]
async fn a_period_waits_for_the_calls_that_ended_in_it() {
    let scene = Scene::new("UTC", 1).await;
    scene.call("CA1", scene.local(), 30, "2026-01-31T23:59:59Z", false).await;
    scene.call("CA2", scene.local(), 30, "2026-02-01T00:00:00Z", false).await;
    let as_of = moment("2026-02-01T08:00:00Z");
    assert_eq!(scene.close(as_of).await, 0);
    scene.world.execute(sql("update calls set finished_at = 1 where carrier_call_id = 'CA1'")).await;
    assert_eq!(scene.close(as_of).await, 1);
    assert_eq!(scene.periods().await[0].counts.local_minutes, 1);
}

#[tokio::test]
async fn a_number_counts_in_each_period_in_which_we_had_it() {
    let scene = Scene::new("UTC", 1).await;
    let set = |created: &str, released: Option<&str>| {
        sql("update tracking_numbers set created_at = ?, released_at = ? where number = ?")
            .bind(moment(created))
            .bind(released.map(moment))
            .bind(LOCAL)
    };
    for (created, released, counted) in [
        ("2026-01-20T12:00:00Z", None, [1, 1]),
        ("2026-01-20T12:00:00Z", Some("2026-01-20T12:00:01Z"), [1, 0]),
        ("2026-01-20T12:00:00Z", Some("2026-02-01T00:00:00Z"), [1, 0]),
        ("2026-01-20T12:00:00Z", Some("2026-02-01T00:00:00.000001Z"), [1, 1]),
        ("2026-01-31T23:59:59.999999Z", None, [1, 1]),
        ("2026-02-01T00:00:00Z", None, [0, 1]),
        ("2026-03-01T00:00:00Z", None, [0, 0]),
    ] {
        scene.world.execute(set(created, released)).await;
        scene.world.execute(sql("delete from usage_periods")).await;
        assert_eq!(scene.close(moment("2026-03-01T01:00:00Z")).await, 2);
        let numbers: Vec<i64> =
            scene.periods().await.iter().map(|usage| usage.counts.local_numbers).collect();
        assert_eq!(numbers, counted, "{created} {released:?}");
    }
}

#[tokio::test]
async fn a_number_taken_again_counts_once() {
    let scene = Scene::new("UTC", 1).await;
    scene.world.delete_tracker(scene.scope, &scene.tracker).await;
    scene.world.clock.advance(Duration::from_secs(86_400));
    scene.world.tracker(scene.scope, scene.carrier, &[LOCAL]).await;
    scene.close(moment("2026-02-02T00:00:00Z")).await;
    let counts = scene.periods().await[0].counts;
    assert_eq!((counts.local_numbers, counts.tollfree_numbers), (1, 1));
}

#[tokio::test]
async fn periods_touch_when_zone_and_billing_day_change() {
    let scene = Scene::new("America/New_York", 10).await;
    scene.close(moment("2026-02-11T00:00:00Z")).await;
    // Two messages in the hours that belong to other days in the new zone.
    let end = moment("2026-02-10T05:00:00Z");
    scene.change("Pacific/Kiritimati", 20).await;
    scene.message("SM1", Some(end.before(Duration::from_secs(1)))).await;
    scene.message("SM2", Some(end)).await;
    scene.close(moment("2026-02-21T00:00:00Z")).await;
    scene.change("Pacific/Pago_Pago", 15).await;
    scene.message("SM3", Some(moment("2026-02-19T10:00:00Z"))).await;
    scene.close(moment("2026-03-16T00:00:00Z")).await;
    let periods = scene.periods().await;
    let expected = [("2026-01-20", "2026-02-10"), ("2026-02-10", "2026-02-20"), ("2026-02-20", "2026-03-15")];
    assert_eq!(dates(&periods), expected);
    // SM1 came after its period was counted, SM2 and SM3 lie on the boundaries.
    let messages: Vec<i64> = periods.iter().map(|usage| usage.counts.sms_messages).collect();
    assert_eq!(messages, [0, 1, 1]);
    let ends: Vec<(Micros, Micros)> =
        scene.world.rows(sql("select started_at, ended_at from usage_periods order by id")).await;
    assert!(ends.windows(2).all(|pair| pair[0].1 == pair[1].0));
}

#[tokio::test]
async fn months_pass_one_by_one_as_the_demo_turns_its_calendar() {
    let scene = Scene::new("UTC", 1).await;
    for (month, closed) in [("2026-01-31", 0), ("2026-02-01", 1), ("2026-03-01", 1), ("2026-05-01", 2)] {
        assert_eq!(scene.close(moment(&format!("{month}T00:10:00Z"))).await, closed, "{month}");
    }
}

#[tokio::test]
async fn only_companies_that_are_there_are_counted() {
    let scene = Scene::new("UTC", 1).await;
    let other = scene.world.company("UTC", 1).await;
    let delete = move |tx: &mut Tx<'_>| companies::delete(tx, other);
    scene.world.ctx.db.write("test", delete).await.unwrap();
    assert_eq!(scene.close(moment("2026-02-02T00:00:00Z")).await, 1);
    let listed = usage::list(&scene.world.ctx.db, stranger(scene.scope), Page::default()).await.unwrap();
    assert!(listed.rows.is_empty());
}
