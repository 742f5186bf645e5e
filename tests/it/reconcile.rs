//! Asking the carrier about calls whose callbacks never came.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse as _;
use calltracker::calls::update::{
    Arrival, Attestation, DialEnd, DialOutcome, Fact, Geo, Leg, LegState, Update,
};
use calltracker::calls::{self, Via};
use calltracker::carriers::reconcile;
use calltracker::recordings::link::Links;
use serde_json::json;

use crate::support::world::{World, number};

const CALL: &str = "CA00000000000000000000000000000001";

/// A carrier that knows one ended call with a voicemail, and whose list of recordings fails until it is `well`.
async fn carrier(well: Arc<AtomicBool>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = move |uri: Uri| async move {
        if !uri.path().ends_with("Recordings.json") {
            return json!({"status": "completed", "duration": "40"}).to_string().into_response();
        }
        if !well.load(Ordering::SeqCst) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let voicemail = json!({"sid": "RE1", "status": "completed", "source": "RecordVerb", "duration": "12", "channels": 1});
        json!({"recordings": [voicemail]}).to_string().into_response()
    };
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn a_voicemail_is_not_lost_when_the_carrier_has_a_bad_moment() {
    let well = Arc::new(AtomicBool::new(false));
    let world = World::at("2026-03-09T07:30:00Z").await;
    let scope = world.company("America/New_York", 1).await;
    let carrier = world.account(scope, &carrier(well.clone()).await).await;
    world.tracker(scope, carrier, &["+12705550101"]).await;
    let (via, links) = (Via { scope, carrier }, Links::of(&world.ctx));
    let arrival = Arrival {
        from: Some(number("+18183219876")),
        to: "+12705550101".to_owned(),
        forwarded_from: String::new(),
        caller_name: String::new(),
        geo: Geo::default(),
        attestation: Attestation::None,
    };
    let rang_out = DialEnd { outcome: DialOutcome::NoAnswer, bridged: Some(false), duration_s: None };
    for fact in [
        Fact::Arrived(arrival),
        Fact::Leg(Leg { state: LegState::Ended(DialOutcome::NoAnswer), sequence: None }),
        Fact::DialEnded(rang_out),
    ] {
        let (links, update) = (links.clone(), Update { carrier_call_id: CALL.to_owned(), fact });
        let telling = world.ctx.db.write("told", move |tx| calls::record(tx, via, &links, &update));
        telling.await.unwrap();
    }
    // The callbacks of the voicemail and of the end are lost; asking fails once.
    world.clock.advance(Duration::from_secs(6 * 60));
    reconcile::run_once(&world.ctx).await.unwrap();
    well.store(true, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(6 * 60));
    reconcile::run_once(&world.ctx).await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    calls::settle(&world.ctx).await.unwrap();
    let finished = world.events(scope, "call.finished").await;
    assert_eq!(finished.len(), 1);
    assert_eq!((finished[0]["status"].as_str(), world.count("voicemails").await), (Some("voicemail"), 1));
}
