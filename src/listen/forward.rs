//! One event to the developer's own server, sent as a webhook's attempt is. Decides how long a server that isn't
//! there is waited for. A failure of any other kind is an answer, and the developer wants to see it now, not a
//! second request that hides it.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::event::Event;
use super::say;
use crate::config::WEBHOOK_TIMEOUT_S;
use crate::kernel::clock::Clock;
use crate::outbound::{FailureKind, Outbound};
use crate::webhooks::{Outcome, Parcel, Recipient, Secret, send_parcel};

/// The first gap before a connection that was refused is tried again; it doubles up to the largest.
const GAP_MIN: Duration = Duration::from_millis(250);
const GAP_MAX: Duration = Duration::from_secs(4);

/// Where events go.
pub(super) struct Forwarder {
    outbound: Outbound,
    clock: Clock,
    recipient: Recipient,
    /// As typed, which is how it stands in the body.
    target: String,
    /// How long a server that isn't there is waited for.
    patience: Duration,
    /// It was waited for in vain: until it is back, each event tries once.
    given_up: bool,
}

impl Forwarder {
    pub(super) fn new(
        outbound: Outbound,
        clock: Clock,
        secret: &Secret,
        target: String,
        patience: Duration,
    ) -> Forwarder {
        let recipient = Recipient::new(&target, secret);
        Forwarder { outbound, clock, recipient, target, patience, given_up: false }
    }

    /// Sends an event and tells what came of it; None if `ended` came while the server was waited for, and the
    /// event wasn't sent.
    pub(super) async fn forward(
        &mut self,
        event: &Event,
        mut ended: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<Outcome> {
        let (began, mut gap) = (Instant::now(), GAP_MIN);
        loop {
            let outcome = self.attempt(event).await;
            if outcome.error != Some(FailureKind::Connect) {
                self.given_up = false;
                return Some(outcome);
            }
            let left = self.patience.saturating_sub(began.elapsed());
            if self.given_up || left.is_zero() {
                self.given_up = true;
                return Some(outcome);
            }
            if gap == GAP_MIN {
                let (why, patience) = (&outcome.error_detail, self.patience);
                say(&format!("{}: {why}. It is waited for, {patience:?} at most.", self.target));
            }
            tokio::select! {
                () = sleep(gap.min(left)) => {}
                () = ended.as_mut() => return None,
            }
            gap = (gap * 2).min(GAP_MAX);
        }
    }

    async fn attempt(&self, event: &Event) -> Outcome {
        let parcel = Parcel { id: &event.delivery_id(), body: event.body(&self.target), test: false };
        let timeout = Duration::from_secs(WEBHOOK_TIMEOUT_S);
        send_parcel(&self.outbound, &self.clock, timeout, &self.recipient, parcel).await
    }
}

/// One line about an event that was sent.
pub(super) fn line(event_type: &str, id: i64, outcome: &Outcome) -> String {
    let at = outcome.started_at.timestamp().strftime("%Y-%m-%dT%H:%M:%SZ");
    let status = match outcome.status_code {
        Some(status) => status.to_string(),
        None => "---".to_owned(),
    };
    let ms = outcome.duration.as_millis();
    let told = format!("{at}  {event_type:<24}  {id:>6}  -> {status}  {ms:>4} ms");
    match (outcome.success, outcome.error) {
        (true, _) => told,
        (false, None) => format!("{told}  NOT DELIVERED: only 200 counts"),
        (false, Some(kind)) => format!("{told}  NOT DELIVERED: {kind}: {}", outcome.error_detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::clock::Micros;

    #[test]
    fn a_line_tells_when_what_and_how_it_went() {
        let outcome = |status_code, error, error_detail: &str| Outcome {
            started_at: Micros(1_700_000_000_000_000),
            duration: Duration::from_micros(12_900),
            target: String::new(),
            request_headers: String::new(),
            status_code,
            error,
            error_detail: error_detail.to_owned(),
            response_body: String::new(),
            success: status_code == Some(200),
            retry_after: None,
        };
        let refused = outcome(None, Some(FailureKind::Connect), "the connection was refused");
        for (outcome, end) in [
            (outcome(Some(200), None, ""), "-> 200    12 ms"),
            (outcome(Some(201), None, "x"), "-> 201    12 ms  NOT DELIVERED: only 200 counts"),
            (refused, "-> ---    12 ms  NOT DELIVERED: connect: the connection was refused"),
        ] {
            let expected = format!("2023-11-14T22:13:20Z  call.finished                 42  {end}");
            assert_eq!(line("call.finished", 42, &outcome), expected);
        }
    }
}
