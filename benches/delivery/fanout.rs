//! `fanout`: one event to a thousand webhooks.

use crate::floor;
use crate::producer::Load;
use crate::receiver::{Manner, Receiver};
use crate::report::{against_floor, title};
use crate::server::{self, Place};
use crate::throughput;

const WEBHOOKS: usize = 1_000;
/// What all quick webhooks together may have in flight.
const IN_FLIGHT: usize = 384;
const FLOOR_REQUESTS: usize = 60_000;
/// One event at a time: the next is made when the one before has gone out.
const LOAD: Load = Load { per_transaction: 1, webhooks: WEBHOOKS, waiting_max: WEBHOOKS };

pub async fn run() -> anyhow::Result<()> {
    title("fanout", "each event to 1,000 webhooks");
    let receiver = Receiver::start().await?;
    for (case, own_hosts) in [("on one host", false), ("each on a host of its own", true)] {
        let place = Place::new(None)?;
        let app = place.start().await?;
        let scope = server::company(&app.ctx).await?;
        let url = |n| if own_hosts { receiver.url_of_own_host(n) } else { receiver.url(Manner::Answers, n) };
        server::webhooks(&app.ctx, scope, (0..WEBHOOKS).map(url).collect()).await?;
        let floor = floor::measure(&receiver, IN_FLIGHT, FLOOR_REQUESTS).await?;
        let measured = throughput::measure(&app.ctx, &[scope], LOAD, None).await?;
        app.stop().await;
        against_floor(case, measured, floor, 2.5);
    }
    Ok(())
}
