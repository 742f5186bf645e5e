//! `latency`: from a request to the API to the arrival of its event, at a rate that leaves the server idle most
//! of the time. Open loop: requests go out by the clock, whatever became of those before.

use std::time::Duration;

use anyhow::ensure;
use calltracker::app::App;
use calltracker::companies::Scope;
use calltracker::kernel::clock::{Clock, Micros};
use calltracker::kernel::id::TrackerId;
use calltracker::kernel::phone::{NumberType, PhoneNumber};
use calltracker::trackers::{self, Settings, TrackerType};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::disk;
use crate::receiver::{MARK, Manner, Receiver};
use crate::report::{at_most, ms, percentile, say, title};
use crate::server::{self, Place};

/// 50 a second.
const EVERY: Duration = Duration::from_millis(20);
const REQUESTS: usize = 600;
/// Not counted: the first ones open connections and prepare statements.
const WARM_UP: usize = 50;

pub async fn run() -> anyhow::Result<()> {
    title("latency", "PATCH of a tracker -> arrival at the receiver, 50/s, open loop");
    let (place, mut receiver) = (Place::new(None)?, Receiver::start().await?);
    let app = place.start().await?;
    let scope = server::company(&app.ctx).await?;
    server::webhooks(&app.ctx, scope, vec![receiver.url(Manner::Answers, 0)]).await?;
    let tracker = tracker(&app, scope).await?;
    // Now and then, in the same seconds.
    let fsyncs = disk::fsync(REQUESTS / 5, 5 * EVERY);
    let (sent, fsyncs) = tokio::try_join!(send(&app, scope, tracker), fsyncs)?;
    let (fsync, fsync_p99) = fsyncs;
    say(&format!("fsync: p50 {}, p99 {}", ms(fsync), ms(fsync_p99)));
    app.stop().await;
    let arrivals = receiver.arrivals().await?;
    ensure!(arrivals.len() == REQUESTS, "{} of {REQUESTS} arrived", arrivals.len());
    let counted = arrivals.iter().filter(|arrival| arrival.mark >= WARM_UP);
    let mut times: Vec<Duration> = counted.map(|a| a.at.since(sent[a.mark])).collect();
    at_most("p50", percentile(&mut times, 50), 3 * fsync + Duration::from_millis(1));
    at_most("p99", percentile(&mut times, 99), 3 * fsync + Duration::from_millis(3));
    Ok(())
}

/// Gives when each was sent.
async fn send(app: &App, scope: Scope, tracker: TrackerId) -> anyhow::Result<Vec<Micros>> {
    let (client, root) = server::client(app, scope).await?;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut sent, mut tasks) = (Vec::new(), JoinSet::new());
    for n in 0..REQUESTS {
        ticks.tick().await;
        sent.push(Clock::System.now());
        let patch = client.patch(format!("{root}/trackers/{tracker}"));
        tasks.spawn(patch.json(&json!({"name": format!("{MARK}{n}")})).send());
    }
    while let Some(answered) = tasks.join_next().await {
        answered??.error_for_status()?;
    }
    Ok(sent)
}

async fn tracker(app: &App, scope: Scope) -> anyhow::Result<TrackerId> {
    let settings = settings()?;
    let create = move |tx: &mut calltracker::db::Tx<'_>| trackers::create(tx, scope, &settings, &[]);
    Ok(app.ctx.db.write("bench.tracker", create).await?.tracker.id)
}

fn settings() -> anyhow::Result<Settings> {
    let destination = PhoneNumber::from_e164("+12703152766");
    Ok(Settings {
        name: "Example Tracker".to_owned(),
        tracker_type: TrackerType::Offline,
        number_type: NumberType::Local,
        destination: destination.ok_or_else(|| anyhow::anyhow!("it is a number"))?,
        status: true,
        recording_enabled: true,
        recording_message: "This call may be recorded for quality assurance.".to_owned(),
        whisper_enabled: true,
        whisper_message: "Call from Example Tracker.".to_owned(),
        voicemail_enabled: true,
        voicemail_greeting: String::new(),
        transcription_enabled: true,
        ring_timeout_s: 25,
        swap_target: String::new(),
        campaign_source: String::new(),
        campaign_search_from: String::new(),
        campaign_search_for: String::new(),
        campaign_landing_page: String::new(),
        campaign_referral: String::new(),
        campaign_campaign_parameters: String::new(),
        pool: calltracker::trackers::pool::Terms::default(),
    })
}
