//! What one page tells the next: that something was done, or a secret that is shown this once. It travels in a sealed
//! cookie, so neither a reload nor the history shows it again, and nobody but we can write one.

use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::gate;
use crate::ctx::Ctx;
use crate::kernel::secret::Purpose;

/// So long it waits for the next page, in seconds.
const LIFETIME_S: u64 = 60;
const NAME: &str = "calltracker_flash";

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Flash {
    /// A sentence; "" for none.
    pub notice: String,
    /// Shown where secrets are shown; "" for none.
    #[serde(default)]
    pub secret: String,
}

impl Flash {
    pub(super) fn notice(text: impl Into<String>) -> Flash {
        Flash { notice: text.into(), secret: String::new() }
    }

    pub(super) fn cookie(&self, ctx: &Ctx) -> HeaderValue {
        let text = serde_json::to_vec(self).expect("texts always become JSON");
        let sealed = ctx.key.seal(Purpose::Flash, &text, &ctx.seed);
        gate::set_cookie(ctx, NAME, &URL_SAFE_NO_PAD.encode(sealed), LIFETIME_S)
    }

    /// What the page before had to tell.
    pub(super) fn read(ctx: &Ctx, headers: &HeaderMap) -> Option<Flash> {
        let sealed = URL_SAFE_NO_PAD.decode(gate::read_cookie(ctx, NAME, headers)?).ok()?;
        serde_json::from_slice(&ctx.key.open(Purpose::Flash, &sealed)?).ok()
    }

    /// Makes a browser forget it.
    pub(super) fn no_cookie(ctx: &Ctx) -> HeaderValue {
        gate::set_cookie(ctx, NAME, "", 0)
    }
}
