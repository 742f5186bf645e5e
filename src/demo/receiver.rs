//! A sample of a company's own server: takes webhooks, checks their signatures and prints each with its
//! verdict. It runs in a process of its own and shares nothing with the product, not even the signing code:
//! what it accepts, a stranger's library would accept.
//!
//! Lines on its stdin are secrets that it shall accept; until the first one comes it refuses everything.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;

use super::say;
use crate::kernel::clock::Clock;

/// A request whose timestamp differs more from the clock is refused, so that an old one can't be replayed:
/// the tolerance of the Standard Webhooks libraries, in seconds.
const TOLERANCE_S: i64 = 5 * 60;

/// Said for each secret once it is accepted.
pub(super) const SECRET_KNOWN: &str = "  receiver knows the webhook's secret";

type Keys = Arc<Mutex<Vec<hmac::Key>>>;

/// Serves until stdin ends, which it does with the process that started this one.
///
/// # Errors
/// It can't listen.
pub async fn run(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    say(&format!("receiver listening on http://{}/webhooks", listener.local_addr()?));
    let keys = Keys::default();
    let app = Router::new().route("/webhooks", post(receive)).with_state(keys.clone());
    let reading = async move {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(key) = line.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok()) {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
                keys.lock().unwrap_or_else(PoisonError::into_inner).push(key);
                say(SECRET_KNOWN);
            }
        }
    };
    axum::serve(listener, app).with_graceful_shutdown(reading).await?;
    Ok(())
}

async fn receive(State(keys): State<Keys>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let id = header(&headers, "webhook-id");
    let verdict = check(&keys.lock().unwrap_or_else(PoisonError::into_inner), &headers, &body);
    let kind = kind(&body).unwrap_or_else(|| "not JSON".to_owned());
    let (status, words) = match verdict {
        Ok(()) => (StatusCode::OK, "signature valid"),
        Err(why) => (StatusCode::UNAUTHORIZED, why),
    };
    say(&format!("  webhook  {kind:<25} {words:<16} -> {}   {id}", status.as_u16()));
    status
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

fn kind(body: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(json.get("type")?.as_str()?.to_owned())
}

/// Err = why the request isn't to be believed.
fn check(keys: &[hmac::Key], headers: &HeaderMap, body: &[u8]) -> Result<(), &'static str> {
    let (id, at) = (header(headers, "webhook-id"), header(headers, "webhook-timestamp"));
    let sent: i64 = at.parse().map_err(|_| "no timestamp")?;
    if (Clock::System.now().seconds() - sent).abs() > TOLERANCE_S {
        return Err("too old");
    }
    let signed = [id.as_bytes(), b".", at.as_bytes(), b".", body].concat();
    let signatures = header(headers, "webhook-signature").split(' ').filter_map(|s| s.strip_prefix("v1,"));
    let valid = signatures
        .filter_map(|text| STANDARD.decode(text).ok())
        .any(|tag| keys.iter().any(|key| hmac::verify(key, &signed, &tag).is_ok()));
    valid.then_some(()).ok_or("signature unknown")
}
