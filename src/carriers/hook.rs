//! The URLs that a carrier calls: which there are, how they are written into plans and numbers, and how
//! they are read when they are called. `http::carrier` serves them.
//!
//! URLs are absolute, because carriers resolve relative ones against different documents. They carry the call's
//! id for people who read a carrier's log; nothing is decided by it, since which call it is stands in the form,
//! and the carrier's signature covers both.

use url::Url;

use crate::kernel::id::CallId;

/// What a carrier calls us for: the last segment of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// A call reached a number; the answer is its plan.
    Voice,
    /// The forwarding ended; the answer says what follows.
    Dial,
    /// The destination picked up; the answer is what it hears first.
    Whisper,
    /// Someone pressed keys. No plan of ours asks for any, so no carrier has a reason to call it; one that does
    /// is answered with empty TwiML, and nothing is taken in.
    Gather,
    /// The caller ended a voicemail; the answer says what follows.
    Record,
    CallStatus,
    LegStatus,
    Recording,
    Transcription,
    /// A message reached a number; the answer may be replies.
    Message,
    MessageStatus,
}

impl Hook {
    pub const ALL: [Hook; 11] = [
        Hook::Voice,
        Hook::Dial,
        Hook::Whisper,
        Hook::Gather,
        Hook::Record,
        Hook::CallStatus,
        Hook::LegStatus,
        Hook::Recording,
        Hook::Transcription,
        Hook::Message,
        Hook::MessageStatus,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Hook::Voice => "voice",
            Hook::Dial => "dial",
            Hook::Whisper => "whisper",
            Hook::Gather => "gather",
            Hook::Record => "record",
            Hook::CallStatus => "call-status",
            Hook::LegStatus => "leg-status",
            Hook::Recording => "recording",
            Hook::Transcription => "transcription",
            Hook::Message => "message",
            Hook::MessageStatus => "message-status",
        }
    }

    /// The hook of a path's last segment.
    pub fn parse(segment: &str) -> Option<Hook> {
        Hook::ALL.into_iter().find(|hook| hook.as_str() == segment)
    }

    /// Whether the carrier waits for TwiML; the others want 204 and look at nothing else.
    pub fn wants_twiml(self) -> bool {
        match self {
            Hook::Voice | Hook::Dial | Hook::Whisper | Hook::Gather | Hook::Record | Hook::Message => true,
            Hook::CallStatus
            | Hook::LegStatus
            | Hook::Recording
            | Hook::Transcription
            | Hook::MessageStatus => false,
        }
    }
}

/// The hooks' URLs of one carrier account, for one call or for none.
#[derive(Clone, Debug)]
pub struct HookUrls {
    /// `https://host/carrier/{token}/`, to which a hook's word is added.
    base: Url,
    call: Option<CallId>,
}

impl HookUrls {
    /// `public_url` is the one that carriers see; `hook_token` the account's own, which can't be guessed.
    pub fn new(public_url: &Url, hook_token: &str, call: Option<CallId>) -> HookUrls {
        let mut base = public_url.clone();
        base.set_query(None);
        base.set_fragment(None);
        if let Ok(mut path) = base.path_segments_mut() {
            path.pop_if_empty().extend(["carrier", hook_token, ""]);
        }
        HookUrls { base, call }
    }

    /// The URL of `hook`, such as `https://host/carrier/{token}/dial?call=59179`.
    pub fn url(&self, hook: Hook) -> String {
        self.written(hook, None)
    }

    /// The URL that is told of a voicemail's recording: carriers other than Twilio don't say which verb
    /// recorded, so the URL does.
    pub fn voicemail_recording(&self) -> String {
        self.written(Hook::Recording, Some("voicemail"))
    }

    fn written(&self, hook: Hook, kind: Option<&str>) -> String {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(hook.as_str());
        }
        if let Some(call) = self.call {
            url.query_pairs_mut().append_pair("call", &call.to_string());
        }
        if let Some(kind) = kind {
            url.query_pairs_mut().append_pair("kind", kind);
        }
        url.into()
    }
}

/// What a hook's query says; we wrote it ourselves, and the carrier's signature covers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookQuery {
    /// The recording is a voicemail's.
    pub voicemail: bool,
}

impl HookQuery {
    /// Reads the raw query; what isn't ours is ignored.
    pub fn parse(raw: &str) -> HookQuery {
        let mut query = HookQuery::default();
        for (name, value) in form_urlencoded::parse(raw.as_bytes()) {
            if name == "kind" {
                query.voicemail = value == "voicemail";
            }
        }
        query
    }
}

/// The URL as the carrier was given it, for its signature: the public URL and the request's path and query
/// as they came. Host and scheme of the request play no part, because proxies rewrite them.
pub fn signed_url(public_url: &Url, path_and_query: &str) -> String {
    let origin = &public_url[..url::Position::BeforePath];
    let prefix = public_url.path().trim_end_matches('/');
    // A proxy may or may not have cut the public URL's own path off.
    let prefix = if path_and_query.starts_with(&format!("{prefix}/")) { "" } else { prefix };
    format!("{origin}{prefix}{path_and_query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_found_by_their_segment() {
        for hook in Hook::ALL {
            assert_eq!(Hook::parse(hook.as_str()), Some(hook));
        }
        assert_eq!(Hook::parse("Voice"), None);
        assert_eq!(Hook::ALL.into_iter().filter(|hook| hook.wants_twiml()).count(), 6);
    }

    #[test]
    fn urls_are_absolute_and_name_the_call() {
        let public = Url::parse("https://track.example.com").unwrap();
        let urls = HookUrls::new(&public, "tok", Some(CallId(59179)));
        assert_eq!(urls.url(Hook::Dial), "https://track.example.com/carrier/tok/dial?call=59179");
        let voicemail = "https://track.example.com/carrier/tok/recording?call=59179&kind=voicemail";
        assert_eq!(urls.voicemail_recording(), voicemail);
        let below = Url::parse("http://127.0.0.1:8080/calls/").unwrap();
        let urls = HookUrls::new(&below, "a/b", None);
        assert_eq!(urls.url(Hook::Voice), "http://127.0.0.1:8080/calls/carrier/a%2Fb/voice");
    }

    #[test]
    fn a_query_round_trips_and_a_strangers_is_ignored() {
        let urls = HookUrls::new(&Url::parse("https://h").unwrap(), "t", Some(CallId(5)));
        let url = Url::parse(&urls.voicemail_recording()).unwrap();
        assert_eq!(HookQuery::parse(url.query().unwrap()), HookQuery { voicemail: true });
        for raw in ["", "x=1", "call=5", "kind=call", "&&=%FF"] {
            assert_eq!(HookQuery::parse(raw), HookQuery::default(), "{raw}");
        }
    }

    #[test]
    fn the_signed_url_is_the_public_one() {
        let cases = [
            (
                "https://h.example",
                "/carrier/t/voice?a=It's+%27",
                "https://h.example/carrier/t/voice?a=It's+%27",
            ),
            ("https://h.example:8443/x/", "/carrier/t/voice", "https://h.example:8443/x/carrier/t/voice"),
            ("https://h.example/x", "/x/carrier/t/voice", "https://h.example/x/carrier/t/voice"),
        ];
        for (public, path, expected) in cases {
            assert_eq!(signed_url(&Url::parse(public).unwrap(), path), expected);
        }
    }
}
