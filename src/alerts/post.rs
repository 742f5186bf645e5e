//! The job that mails alerts: what is due by the database is sent, one mail after the other, and what came of
//! it is written down. A mail that the server took isn't sent again, unless the program ends, or the
//! server's answer gets lost, between its taking the mail and our noting it: at least once, never more often
//! without such a reason, and with the same Message-ID.

use tokio::time::Instant;

use super::letter::Letter;
use super::queue::{self, Mail, Next, Outcome};
use super::smtp::{self, Failure};
use crate::config;
use crate::ctx::Ctx;
use crate::db;
use crate::users::User;

/// What is looked at in one run; the next one goes on.
const RUN_MAX: usize = 100;

/// Background work: mails the alerts that are due. Gives the number of tries that were made.
///
/// # Errors
/// The database's. A server that doesn't take a mail is asked again later.
pub async fn run_once(ctx: &Ctx) -> db::Result<usize> {
    let Some(mail) = &ctx.config.mail else {
        queue::forget(&ctx.db).await?;
        return Ok(0);
    };
    let mut tries = 0;
    for _ in 0..RUN_MAX {
        match ctx.db.write("alerts.begin_mail", queue::begin).await? {
            Next::Nothing => break,
            Next::Again => {}
            Next::Send(begun) => {
                tries += 1;
                if !send(ctx, mail, &begun).await? {
                    break;
                }
            }
        }
    }
    Ok(tries)
}

/// Makes a try. False: the server can't be asked at the moment.
async fn send(ctx: &Ctx, settings: &config::Mail, mail: &Mail) -> db::Result<bool> {
    let letter = Letter::new(mail, &settings.from, &ctx.public_url);
    let deadline = Instant::now() + settings.timeout;
    let name = smtp::own_name(&ctx.public_url);
    let mut outcome = Outcome { refused: mail.refused.clone(), ..Outcome::default() };
    let (mut failed, mut is_away) = (Vec::new(), false);
    for user in &mail.to {
        if is_away {
            outcome.left.push(user.id.0);
            continue;
        }
        let given = match letter.to(user) {
            None => Err(Failure::Unsendable),
            Some(message) => smtp::give(settings, &name, &message, deadline).await,
        };
        let Err(failure) = given else { continue };
        log(mail, user, &failure);
        if failure.may_pass() {
            failed.push(user.id.0);
            outcome.failure = failure.words();
        } else {
            outcome.refused.push(format!("User {}: {}", user.id, failure.words()));
        }
        is_away = matches!(failure, Failure::Unreachable(_)) || Instant::now() >= deadline;
    }
    // The next try begins with those that this one didn't get to: nobody's address keeps it from others.
    outcome.left.append(&mut failed);
    let (id, attempt) = (mail.id, mail.attempt);
    ctx.db.write("alerts.end_mail", move |tx| queue::end(tx, id, attempt, &outcome)).await?;
    Ok(!is_away)
}

fn log(mail: &Mail, user: &User, failure: &Failure) {
    let (company, alert, user) = (mail.company.id.0, mail.id.0, user.id.0);
    let (attempt, reason) = (mail.attempt, failure.detail());
    if mail.is_last || !failure.may_pass() {
        tracing::error!(company, alert, user, attempt, reason, "mail about an alert was given up");
    } else {
        tracing::warn!(
            company,
            alert,
            user,
            attempt,
            reason,
            "mail about an alert wasn't taken; it is tried again"
        );
    }
}
