//! What can go wrong on the way out, and how an error of the libraries below becomes one of eight names.
//!
//! Decides: the kind of a failure and the sentence that is stored and shown with it. Does not decide: which HTTP
//! status is a success, what is tried again (the delivery engine). Called by the other files of this module.
//!
//! A sentence is for the owner of the target, who may be a stranger: it never holds an address that a name resolved
//! to, a header, a body, or the text of a library's error.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

/// The name under which a failed attempt is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The name has no address, or no name server said so in time
    Dns,
    /// No TCP connection: refused, unreachable
    Connect,
    /// The handshake failed: certificate, name, version, or not TLS at all
    Tls,
    /// The deadline passed, in whatever phase
    Timeout,
    /// The connection ended before the answer did
    Reset,
    /// We will not call this target
    Blocked,
    /// The answer is not HTTP/1.1
    Protocol,
    /// More headers than we read, or a download over its limit
    TooLarge,
}

impl FailureKind {
    /// As in the API's `error` of an attempt.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::Dns => "dns",
            FailureKind::Connect => "connect",
            FailureKind::Tls => "tls",
            FailureKind::Timeout => "timeout",
            FailureKind::Reset => "reset",
            FailureKind::Blocked => "blocked",
            FailureKind::Protocol => "protocol",
            FailureKind::TooLarge => "too_large",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request got no complete answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Failure {
    pub kind: FailureKind,
    /// One short sentence for the target's owner, without secrets, internal addresses or library text.
    pub detail: String,
    /// The status, if the answer's headers had arrived.
    pub status: Option<u16>,
}

impl Failure {
    pub(super) fn new(kind: FailureKind, detail: impl Into<String>) -> Failure {
        Failure { kind, detail: detail.into(), status: None }
    }

    pub(super) fn with_status(self, status: u16) -> Failure {
        Failure { status: Some(status), ..self }
    }

    /// The deadline passed; `phase` says what was missing then ("no connection").
    pub(super) fn timeout(phase: &str, within: Duration) -> Failure {
        Failure::new(FailureKind::Timeout, format!("{phase} within {within:?}"))
    }

    /// Names an error of the HTTP client by its chain of sources. Our connector's own failures are in there as they
    /// were made; the rest is judged by type, never by text.
    pub(super) fn classify(error: &(dyn StdError + 'static)) -> Failure {
        if let Some(failure) = chain(error).find_map(<dyn StdError>::downcast_ref::<Failure>) {
            return failure.clone();
        }
        if let Some(error) = chain(error).find_map(tls_cause) {
            return Failure::from_tls(error);
        }
        if let Some(error) = chain(error).find_map(<dyn StdError>::downcast_ref::<io::Error>) {
            return Failure::from_io(error.kind());
        }
        match chain(error).filter_map(<dyn StdError>::downcast_ref::<hyper::Error>).last() {
            Some(innermost) => Failure::from_http(innermost),
            // The pool lost the connection and has no word from hyper about it.
            None => Failure::from_io(io::ErrorKind::UnexpectedEof),
        }
    }

    /// What hyper itself found, rather than the socket.
    fn from_http(error: &hyper::Error) -> Failure {
        if error.is_parse_too_large() {
            return Failure::new(FailureKind::TooLarge, "the answer's headers are too large");
        }
        if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            return Failure::from_io(io::ErrorKind::UnexpectedEof);
        }
        // A parse error, or bytes before anything was asked, as mail and SSH servers send them.
        Failure::new(FailureKind::Protocol, "the answer is not valid HTTP/1.1")
    }

    fn from_io(kind: io::ErrorKind) -> Failure {
        match kind {
            // So hyper reports broken chunks.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Failure::new(FailureKind::Protocol, "the answer's body is not valid HTTP/1.1")
            }
            // The kernel gave up on unacknowledged data before our deadline.
            io::ErrorKind::TimedOut => Failure::new(FailureKind::Timeout, "the connection went silent"),
            _ => Failure::new(FailureKind::Reset, "the connection was closed before the answer was complete"),
        }
    }

    /// A connection that could not be made. `None`: there was nothing to dial.
    pub(super) fn from_connect(error: Option<&io::Error>) -> Failure {
        match error.map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => {
                Failure::new(FailureKind::Connect, "the connection was refused")
            }
            Some(io::ErrorKind::TimedOut) => Failure::new(FailureKind::Timeout, "the host did not answer"),
            _ => Failure::new(FailureKind::Connect, "the host cannot be reached"),
        }
    }

    /// An error of the TLS handshake. One without a cause in TLS is a connection cut in the middle of it.
    pub(super) fn from_handshake(error: &io::Error) -> Failure {
        match tls_cause(error) {
            Some(cause) => Failure::from_tls(cause),
            None if error.kind() == io::ErrorKind::TimedOut => Failure::from_io(error.kind()),
            None => Failure::new(FailureKind::Tls, "the connection was closed during the TLS handshake"),
        }
    }

    fn from_tls(error: &rustls::Error) -> Failure {
        use rustls::Error as Tls;
        let detail = match error {
            Tls::InvalidCertificate(cause) => certificate_detail(cause),
            Tls::InvalidMessage(_) => "the host does not speak TLS on this port",
            Tls::AlertReceived(alert) => alert_detail(*alert),
            Tls::PeerIncompatible(_) => NO_COMMON_GROUND,
            Tls::NoApplicationProtocol => NO_HTTP_1,
            Tls::NoCertificatesPresented => "the host shows no certificate",
            _ => "the TLS connection failed",
        };
        Failure::new(FailureKind::Tls, detail)
    }
}

const NO_COMMON_GROUND: &str = "the host shares no TLS version or cipher with us";
const NO_HTTP_1: &str = "the host does not offer HTTP/1.1 on this port";

/// What a host says before it hangs up (RFC 8446 section 6.2). OpenSSL, and with it most servers, reports "no shared
/// cipher" as a failure of the handshake.
fn alert_detail(alert: rustls::AlertDescription) -> &'static str {
    use rustls::AlertDescription as Alert;
    match alert {
        Alert::ProtocolVersion | Alert::InsufficientSecurity | Alert::HandshakeFailure => NO_COMMON_GROUND,
        Alert::NoApplicationProtocol => NO_HTTP_1,
        Alert::UnrecognisedName => "the host has no certificate for its name",
        Alert::CertificateRequired => "the host demands a certificate from us",
        _ => "the host refused the TLS connection",
    }
}

fn certificate_detail(error: &rustls::CertificateError) -> &'static str {
    use rustls::CertificateError as Certificate;
    match error {
        Certificate::Expired | Certificate::ExpiredContext { .. } => "the host's certificate has expired",
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            "the host's certificate is not valid yet"
        }
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            "the host's certificate is for another name"
        }
        Certificate::UnknownIssuer => "the host's certificate is not from a trusted authority",
        Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => {
            "the host's certificate is not one for servers"
        }
        Certificate::Revoked => "the host's certificate is revoked",
        _ => "the host's certificate is not valid",
    }
}

/// The error and all it was caused by.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| (*error).source())
}

/// The TLS error that `error` is or wraps. An [`io::Error`] hides what it wraps from `source`, which goes one further.
fn tls_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref()?.downcast_ref(),
        None => error.downcast_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_in_the_api() {
        use FailureKind::*;
        let names = [Dns, Connect, Tls, Timeout, Reset, Blocked, Protocol, TooLarge].map(FailureKind::as_str);
        assert_eq!(names, ["dns", "connect", "tls", "timeout", "reset", "blocked", "protocol", "too_large"]);
    }

    #[test]
    fn errors_of_the_socket_are_named_by_their_kind() {
        for (kind, expected) in [
            (io::ErrorKind::ConnectionReset, FailureKind::Reset),
            (io::ErrorKind::ConnectionAborted, FailureKind::Reset),
            (io::ErrorKind::BrokenPipe, FailureKind::Reset),
            (io::ErrorKind::UnexpectedEof, FailureKind::Reset),
            (io::ErrorKind::TimedOut, FailureKind::Timeout),
            (io::ErrorKind::InvalidData, FailureKind::Protocol),
            (io::ErrorKind::InvalidInput, FailureKind::Protocol),
        ] {
            assert_eq!(Failure::classify(&io::Error::from(kind)).kind, expected, "{kind:?}");
        }
    }

    #[test]
    fn errors_of_connecting_are_named_by_their_kind() {
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, FailureKind::Connect),
            (io::ErrorKind::NetworkUnreachable, FailureKind::Connect),
            (io::ErrorKind::ConnectionReset, FailureKind::Connect),
            (io::ErrorKind::TimedOut, FailureKind::Timeout),
        ] {
            assert_eq!(Failure::from_connect(Some(&kind.into())).kind, expected, "{kind:?}");
        }
        assert_eq!(Failure::from_connect(None).kind, FailureKind::Connect);
    }

    #[test]
    fn a_tls_error_is_found_inside_the_error_that_carries_it() {
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let carried = io::Error::new(io::ErrorKind::InvalidData, expired);
        assert_eq!(
            Failure::classify(&carried),
            Failure::new(FailureKind::Tls, "the host's certificate has expired")
        );
        assert_eq!(Failure::from_handshake(&carried).detail, "the host's certificate has expired");
    }

    #[test]
    fn a_handshake_cut_off_is_a_tls_failure() {
        let failure = Failure::from_handshake(&io::ErrorKind::UnexpectedEof.into());
        assert_eq!(failure.kind, FailureKind::Tls);
    }

    #[test]
    fn a_failure_made_by_us_keeps_its_words_below_another_error() {
        let blocked = Failure::new(FailureKind::Blocked, "no");
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] Failure);
        assert_eq!(Failure::classify(&Outer(blocked.clone())), blocked);
    }

    #[test]
    fn a_timeout_says_what_was_missing() {
        let failure = Failure::timeout("no answer", Duration::from_millis(300));
        assert_eq!(failure.to_string(), "timeout: no answer within 300ms");
    }
}
