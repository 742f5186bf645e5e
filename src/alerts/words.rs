//! How an alert is put, and what is left of a stranger's words in it: one line of bounded length, without
//! characters that could break a mail's header, hide text or turn its direction.

use url::Url;

use super::{Kind, NewAlert};

/// Of a reason at most, in characters: failures of deliveries are a sentence or two.
const REASON_CHARS_MAX: usize = 500;
/// Of a host at most, in characters: names in DNS are no longer.
const HOST_CHARS_MAX: usize = 253;

/// What happened, for people.
pub(super) fn message(alert: &NewAlert) -> String {
    let happened = match alert.kind {
        Kind::Failing => "is failing.",
        Kind::Deactivated => "was deactivated.",
        Kind::Recovered => "takes deliveries again.",
    };
    let follows = match alert.kind {
        Kind::Failing => "What failed is sent again.",
        Kind::Deactivated => "Events are held until it is verified again.",
        Kind::Recovered => "",
    };
    let named = format!("Webhook {} ({}) {happened}", alert.webhook, host(&alert.target));
    let mut reason = line(&alert.reason, REASON_CHARS_MAX);
    if !reason.is_empty() && !reason.ends_with(['.', '!', '?', '…']) {
        reason.push('.');
    }
    let parts = [named, reason, follows.to_owned()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// What the subject of a mail says about it.
pub(super) fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Failing => "a webhook is failing",
        Kind::Deactivated => "a webhook was deactivated",
        Kind::Recovered => "a webhook takes deliveries again",
    }
}

/// Where a URL leads; the URL's user, path and query stay out.
fn host(target: &str) -> String {
    let url = Url::parse(target).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or("an unknown host");
    let port = url.as_ref().and_then(Url::port).map_or(String::new(), |port| format!(":{port}"));
    format!("{}{port}", line(host, HOST_CHARS_MAX))
}

/// A text as one line of so many characters at most.
pub(super) fn line(text: &str, chars_max: usize) -> String {
    let harmless = text.chars().map(|c| if is_harmless(c) { c } else { ' ' }).collect::<String>();
    let words = harmless.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() <= chars_max {
        return words;
    }
    let cut: String = words.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{cut}…")
}

/// Neither a control character nor one that ends a line or is only there to change how others are shown:
/// the marks, embeddings, overrides and isolates of the bidirectional algorithm (UAX #9, 2), zero widths.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::id::WebhookId;

    fn put(kind: Kind, target: &str, reason: &str) -> String {
        message(&NewAlert {
            kind,
            webhook: WebhookId(3),
            target: target.to_owned(),
            reason: reason.to_owned(),
        })
    }

    #[test]
    fn each_kind_is_a_sentence() {
        let target = "https://ana:pw@crm.example:8443/hooks/secret?key=1";
        assert_eq!(
            put(Kind::Failing, target, "The receiver answered 500."),
            "Webhook 3 (crm.example:8443) is failing. The receiver answered 500. What failed is sent again."
        );
        assert_eq!(
            put(Kind::Deactivated, target, "A delivery failed 6 times, the last time with: no answer"),
            "Webhook 3 (crm.example:8443) was deactivated. A delivery failed 6 times, the last time with: no answer. Events are held until it \
             is verified again."
        );
        assert_eq!(put(Kind::Recovered, target, ""), "Webhook 3 (crm.example:8443) takes deliveries again.");
        assert_eq!(put(Kind::Recovered, "no URL", ""), "Webhook 3 (an unknown host) takes deliveries again.");
    }

    #[test]
    fn a_strangers_words_stay_one_harmless_line() {
        for (text, left) in [
            ("a\r\nBcc: b@c.example\r\n\r\nd", "a Bcc: b@c.example d"),
            ("nul\0 tab\t vt\u{b} nel\u{85} ls\u{2028}ps\u{2029}", "nul tab vt nel ls ps"),
            ("\u{202e}txet\u{202c} \u{2066}x\u{2069} z\u{200b}w\u{feff}", "txet x z w"),
            ("<script>alert(1)</script>", "<script>alert(1)</script>"),
            ("שלום äöü 日本", "שלום äöü 日本"),
            ("", ""),
        ] {
            assert_eq!(line(text, 100), left, "{text:?}");
        }
        assert_eq!(line(&"ü".repeat(11), 10), format!("{}…", "ü".repeat(9)));
        assert_eq!(line(&"ü".repeat(10), 10), "ü".repeat(10));
    }
}
