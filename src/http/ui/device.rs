//! Browsers in which a user has logged in before. Each has a cookie that names the user and is signed, and its failures are
//! counted apart: so whoever fails for somebody else's e-mail address on purpose doesn't keep that user out (OWASP,
//! Slow Down Online Guessing Attacks with Device Cookies).

use axum::http::{HeaderMap, HeaderValue};

use super::gate;
use crate::ctx::Ctx;
use crate::kernel::id;
use crate::kernel::secret::Purpose;
use crate::users::Email;

const NAME: &str = "calltracker_device";
/// So long a browser is known, in seconds: a year.
const LIFETIME_S: u64 = 365 * 24 * 3600;

/// The name of the browser, if this user has logged in there before.
pub(super) fn known(ctx: &Ctx, headers: &HeaderMap, email: &Email) -> Option<String> {
    let (name, signature) = gate::read_cookie(ctx, NAME, headers)?.split_once('.')?;
    let is_ours = ctx.key.verify(Purpose::Device, &signed(name, email), signature);
    is_ours.then(|| name.to_owned())
}

/// Makes a browser one that the user is known in.
pub(super) fn cookie(ctx: &Ctx, email: &Email) -> HeaderValue {
    let name = id::secret("", &ctx.seed);
    let signature = ctx.key.sign(Purpose::Device, &signed(&name, email));
    gate::set_cookie(ctx, NAME, &format!("{name}.{signature}"), LIFETIME_S)
}

fn signed(name: &str, email: &Email) -> String {
    format!("{name} {}", email.as_str())
}
