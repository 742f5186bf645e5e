//! The nine types of events and what they carry.

/// A type of event, as receivers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    CallReceived,
    CallFinished,
    CallRecordingAvailable,
    MessageReceived,
    MessageSent,
    TrackerCreated,
    TrackerUpdated,
    UsageCreated,
    VoicemailReceived,
}

impl EventType {
    pub const ALL: [EventType; 9] = [
        EventType::CallReceived,
        EventType::CallFinished,
        EventType::CallRecordingAvailable,
        EventType::MessageReceived,
        EventType::MessageSent,
        EventType::TrackerCreated,
        EventType::TrackerUpdated,
        EventType::UsageCreated,
        EventType::VoicemailReceived,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            EventType::CallReceived => "call.received",
            EventType::CallFinished => "call.finished",
            EventType::CallRecordingAvailable => "call.recording.available",
            EventType::MessageReceived => "message.received",
            EventType::MessageSent => "message.sent",
            EventType::TrackerCreated => "tracker.created",
            EventType::TrackerUpdated => "tracker.updated",
            EventType::UsageCreated => "usage.created",
            EventType::VoicemailReceived => "voicemail.received",
        }
    }

    pub fn parse(text: &str) -> Option<EventType> {
        EventType::ALL.into_iter().find(|t| t.as_str() == text)
    }

    /// The kind of thing in `data`.
    pub fn object(self) -> &'static str {
        match self {
            EventType::CallReceived | EventType::CallFinished | EventType::CallRecordingAvailable => "call",
            EventType::MessageReceived | EventType::MessageSent => "message",
            EventType::TrackerCreated | EventType::TrackerUpdated => "tracker",
            EventType::UsageCreated => "usage",
            EventType::VoicemailReceived => "voicemail",
        }
    }
}
