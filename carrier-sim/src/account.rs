//! An account: who may use the REST API, which key signs the webhooks, and which carrier's habits apply to it.

/// Which carrier an account imitates. The dialects differ in identifiers, mount point, signature header and parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountKind {
    #[default]
    Twilio,
    SignalWire,
}

impl AccountKind {
    /// Where the REST API of this dialect is mounted.
    pub fn mount(self) -> &'static str {
        match self {
            Self::Twilio => "/2010-04-01",
            Self::SignalWire => "/api/laml/2010-04-01",
        }
    }

    /// The header that carries the webhook signature.
    pub fn signature_header(self) -> &'static str {
        match self {
            Self::Twilio => "X-Twilio-Signature",
            Self::SignalWire => "X-SignalWire-Signature",
        }
    }

    /// What the carrier's requests call themselves.
    pub fn user_agent(self) -> &'static str {
        match self {
            Self::Twilio => "TwilioProxy/1.1",
            Self::SignalWire => "SignalWire",
        }
    }

    /// Whether webhooks tell where caller and number are, and repeat From and To as Caller and Called. SignalWire
    /// documents neither.
    pub fn has_geography(self) -> bool {
        match self {
            Self::Twilio => true,
            Self::SignalWire => false,
        }
    }

    /// Whether the Dial action says if the legs were connected. SignalWire does not document the parameter.
    pub fn has_dial_bridged(self) -> bool {
        match self {
            Self::Twilio => true,
            Self::SignalWire => false,
        }
    }
}

/// An account of the carrier.
#[derive(Clone, Debug)]
pub struct Account {
    pub sid: String,
    pub auth_token: String,
    pub kind: AccountKind,
    pub created_at: jiff::Timestamp,
}

impl Account {
    /// The path under which everything of this account is found, without a trailing slash.
    pub fn path(&self) -> String {
        format!("{}/Accounts/{}", self.kind.mount(), self.sid)
    }
}
