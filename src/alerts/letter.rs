//! The mail about a company's alerts: plain text, one letter for each user, with a Message-ID that is the same
//! whenever it is sent again. Pure: what names it has been given can be anybody's.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message};
use url::Url;

use super::queue::Mail;
use super::{Alert, words};
use crate::kernel::clock::Micros;
use crate::users::User;

/// Of a company's name at most, in characters: a subject is to be read at a glance.
const NAME_CHARS_MAX: usize = 80;
/// Says to programs that answer mail by themselves that this isn't the mail to answer (RFC 3834, 5).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// What all users are sent.
pub(super) struct Letter {
    subject: String,
    body: String,
    from: Mailbox,
    uid: String,
    date: Micros,
}

impl Letter {
    /// `public_url` is where the links lead to, and ends with `/`.
    pub(super) fn new(mail: &Mail, from: &Mailbox, public_url: &Url) -> Letter {
        Letter {
            subject: subject(mail),
            body: body(mail, public_url),
            from: from.clone(),
            uid: mail.uid.clone(),
            date: mail.now,
        }
    }

    /// For one user, whom nobody else learns of. None: mail can't be sent to that address.
    pub(super) fn to(&self, user: &User) -> Option<Message> {
        let address: Address = user.email.parse().ok()?;
        let since_1970 = Duration::from_micros(u64::try_from(self.date.0).unwrap_or(0));
        let id = format!("<{}.{}@{}>", self.uid, user.id, self.from.email.domain());
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, address))
            .subject(&self.subject)
            .date(SystemTime::UNIX_EPOCH + since_1970)
            .message_id(Some(id))
            .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()))
            // Without it programs don't look at how the text is encoded (RFC 2045, 4).
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN)
            .body(self.body.clone())
            .ok()
    }
}

fn subject(mail: &Mail) -> String {
    let name = words::line(&mail.company.name, NAME_CHARS_MAX);
    match mail.told.as_slice() {
        [only] => format!("{name}: {}", words::title(only.kind)),
        _ => format!("{name}: {} alerts about webhooks", mail.total),
    }
}

fn body(mail: &Mail, public_url: &Url) -> String {
    let company = format!("{public_url}companies/{}", mail.company.id);
    // A company's zone was checked when it was set.
    let zone = TimeZone::get(&mail.company.time_zone).unwrap_or(TimeZone::UTC);
    let mut parts: Vec<String> = mail.told.iter().map(|alert| paragraph(alert, &company, &zone)).collect();
    let rest = mail.total - i64::try_from(mail.told.len()).unwrap_or(0);
    if rest > 0 {
        parts.push(format!("And {rest} more:\n{company}/webhooks"));
    }
    let name = words::line(&mail.company.name, NAME_CHARS_MAX);
    parts.push(format!("-- \nYou get this as a user of Call Tracker who may see {name}.\n{public_url}"));
    parts.join("\n\n")
}

fn paragraph(alert: &Alert, company: &str, zone: &TimeZone) -> String {
    let at = alert.created_at.timestamp().to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z");
    format!("{}\n{at}\n{company}/webhooks/{}", alert.message, alert.webhook_id)
}
