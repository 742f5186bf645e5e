//! What a target URL may look like.
//!
//! Decides: scheme, host, port and length of a URL that strangers want us to call, and whether the address or name in
//! it is refused without asking DNS. Does not decide: what a name resolves to. Called through
//! [`Outbound`](super::Outbound) at registration, and again for each request, because the operator's networks may have
//! changed since.
//!
//! Odd facts: the URL standard (url.spec.whatwg.org, "host parsing") turns `0x7f.1`, `2130706433`, `017700000001`,
//! fullwidth digits and `127.0.0.1.` into 127.0.0.1, drops tabs and newlines, and reads a backslash as a slash. All of
//! that is done before anything is checked here, and only the parser's result is ever used afterwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use ipnet::IpNet;
use url::{Host, Url};

use crate::kernel::address::{self, Refusal};

/// Longest target, as typed and as normalised, in bytes. Common receivers and proxies stop at 2 to 8 KiB.
pub const TARGET_BYTES_MAX: usize = 2048;
/// RFC 1035 section 2.3.4: a name without its final dot, in bytes.
const NAME_BYTES_MAX: usize = 253;
/// RFC 1035 section 2.3.4, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// Why a URL can't be a target. The text is meant for the person who typed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("must be at most {TARGET_BYTES_MAX} bytes long")]
    TooLong,
    #[error("must be an absolute URL")]
    Syntax,
    #[error("must begin with https:// or http://")]
    Scheme,
    #[error("must not contain a user name or password")]
    Userinfo,
    #[error("must name a valid host")]
    Host,
    #[error("must not use port 0")]
    Port,
    #[error("must not contain a fragment")]
    Fragment,
    #[error("must not lead to {0}")]
    Refused(Refusal),
    /// Only from [`Outbound::check_target_resolved`](super::Outbound::check_target_resolved).
    #[error("must name a host that DNS knows: {0}")]
    Unresolved(String),
}

/// Parses and checks what somebody typed.
pub(super) fn check(target: &str, allow: &[IpNet]) -> Result<Url, TargetError> {
    if target.len() > TARGET_BYTES_MAX {
        return Err(TargetError::TooLong);
    }
    let url = Url::parse(target).map_err(|error| match error {
        url::ParseError::EmptyHost
        | url::ParseError::IdnaError
        | url::ParseError::InvalidIpv4Address
        | url::ParseError::InvalidIpv6Address
        | url::ParseError::InvalidDomainCharacter => TargetError::Host,
        _ => TargetError::Syntax,
    })?;
    check_url(&url, allow)?;
    Ok(url)
}

/// Checks a parsed URL and hands it over in the HTTP client's form.
pub(super) fn check_url(url: &Url, allow: &[IpNet]) -> Result<Uri, TargetError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(TargetError::Scheme);
    }
    if url.as_str().len() > TARGET_BYTES_MAX {
        return Err(TargetError::TooLong);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(TargetError::Userinfo);
    }
    if url.fragment().is_some() {
        return Err(TargetError::Fragment);
    }
    if url.port() == Some(0) {
        return Err(TargetError::Port);
    }
    check_host(url.host().ok_or(TargetError::Host)?, allow)?;
    url.as_str().parse().map_err(|_| TargetError::Syntax)
}

fn check_host(host: Host<&str>, allow: &[IpNet]) -> Result<(), TargetError> {
    match host {
        Host::Ipv4(addr) => address::vet(addr.into(), allow).map_err(TargetError::Refused),
        Host::Ipv6(addr) => address::vet(addr.into(), allow).map_err(TargetError::Refused),
        Host::Domain(name) => check_name(name, allow),
    }
}

/// Host names as the world uses them: letters, digits, hyphen and underscore. The URL parser lets more through, and has
/// turned capital letters and other scripts into what DNS carries.
fn check_name(name: &str, allow: &[IpNet]) -> Result<(), TargetError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label_is_valid = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.len() > NAME_BYTES_MAX || !name.split('.').all(label_is_valid) {
        return Err(TargetError::Host);
    }
    if is_localhost(name) && !allows_loopback(allow) {
        return Err(TargetError::Refused(Refusal::Loopback));
    }
    Ok(())
}

/// RFC 6761 section 6.3: these names are loopback whatever DNS says.
fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn allows_loopback(allow: &[IpNet]) -> bool {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    loopback.into_iter().any(|addr| address::vet(addr, allow).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(target: &str) -> TargetError {
        check(target, &[]).expect_err(target)
    }

    #[test]
    fn ordinary_targets_pass_and_come_back_normalised() {
        for (target, expected) in [
            ("https://example.com/hook", "https://example.com/hook"),
            ("HTTPS://Example.COM:443", "https://example.com/"),
            ("http://example.com:8080/a?b=c|d&e=[f]", "http://example.com:8080/a?b=c|d&e=[f]"),
            ("https://bücher.example/ä", "https://xn--bcher-kva.example/%C3%A4"),
            ("https://a_b.example.com./", "https://a_b.example.com./"),
            ("https://8.8.8.8/", "https://8.8.8.8/"),
            ("https://[2606:4700::1111]:8443/", "https://[2606:4700::1111]:8443/"),
            (" https:\\\\example.com\\x ", "https://example.com/x"),
        ] {
            assert_eq!(check(target, &[]).as_ref().map(Url::as_str), Ok(expected), "{target}");
        }
    }

    #[test]
    fn a_target_of_another_form_is_refused_with_its_reason() {
        for (target, expected) in [
            ("", TargetError::Syntax),
            ("example.com/hook", TargetError::Syntax),
            ("//example.com", TargetError::Syntax),
            ("ftp://example.com/", TargetError::Scheme),
            ("file:///etc/passwd", TargetError::Scheme),
            ("gopher://example.com/", TargetError::Scheme),
            ("javascript:alert(1)", TargetError::Scheme),
            ("data:,x", TargetError::Scheme),
            ("unix:/var/run/docker.sock", TargetError::Scheme),
            ("https://", TargetError::Host),
            ("https://user@example.com/", TargetError::Userinfo),
            ("https://user:pass@example.com/", TargetError::Userinfo),
            ("https://:pass@example.com/", TargetError::Userinfo),
            ("https://example.com@127.0.0.1/", TargetError::Userinfo),
            ("https://example.com/#x", TargetError::Fragment),
            ("https://example.com/#", TargetError::Fragment),
            ("https://example.com:0/", TargetError::Port),
            ("https://example.com:65536/", TargetError::Syntax),
            ("https://exa mple.com/", TargetError::Host),
            ("https://a..example.com/", TargetError::Host),
            ("https://.example.com/", TargetError::Host),
            ("https://example.com../", TargetError::Host),
            ("https://a;b.example.com/", TargetError::Host),
            ("https://%00.example.com/", TargetError::Host),
            ("https://1.2.3.256/", TargetError::Host),
            ("https://[::1%25eth0]/", TargetError::Host),
            ("https://[fe80::1", TargetError::Host),
        ] {
            assert_eq!(refused(target), expected, "{target}");
        }
    }

    #[test]
    fn odd_spellings_of_an_address_are_that_address() {
        for target in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://127.0.1/",
            "http://0x7f.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://017700000001/",
            "http://0177.0.0.1/",
            "http://127.0.0.1./",
            "http://１２７.０.０.１/",
            "http://127。0。0。1/",
            "http://%31%32%37.0.0.1/",
            "http://①②⑦.⓪.⓪.①/",
            "http://[::1]/",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::127.0.0.1]/",
            "http://[2002:7f00:1::]/",
            "http://127.0.0.1\t/",
            "http:127.0.0.1",
            "http:\\\\127.0.0.1",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://ｌocalhost/",
            "http://api.localhost:8080/",
        ] {
            assert_eq!(refused(target), TargetError::Refused(Refusal::Loopback), "{target}");
        }
        assert_eq!(refused("http://0/"), TargetError::Refused(Refusal::Unspecified));
        assert_eq!(refused("http://169.254.169.254/"), TargetError::Refused(Refusal::Metadata));
        assert_eq!(refused("http://0xa9fea9fe/"), TargetError::Refused(Refusal::Metadata));
        assert_eq!(refused("http://[fd00:ec2::254]/"), TargetError::Refused(Refusal::Metadata));
    }

    #[test]
    fn an_allowed_network_opens_its_addresses_and_localhost() {
        let allow = ["127.0.0.0/8".parse().expect("a network")];
        for target in
            ["http://127.0.0.1:3000/", "http://0x7f.1/", "http://localhost:3000/", "http://a.localhost/"]
        {
            assert!(check(target, &allow).is_ok(), "{target}");
        }
        assert_eq!(check("http://10.0.0.1/", &allow), Err(TargetError::Refused(Refusal::Private)));
        assert_eq!(check("http://[::1]/", &allow), Err(TargetError::Refused(Refusal::Loopback)));
    }

    #[test]
    fn length_is_limited_before_and_after_normalising() {
        let path = |bytes: usize| format!("https://example.com/{}", "a".repeat(bytes - 20));
        assert!(check(&path(TARGET_BYTES_MAX), &[]).is_ok());
        assert_eq!(refused(&path(TARGET_BYTES_MAX + 1)), TargetError::TooLong);
        assert_eq!(refused(&format!("https://example.com/{}", "ä".repeat(700))), TargetError::TooLong);
        let label = |bytes: usize| format!("https://{}.example/", "a".repeat(bytes));
        assert!(check(&label(LABEL_BYTES_MAX), &[]).is_ok());
        assert_eq!(refused(&label(LABEL_BYTES_MAX + 1)), TargetError::Host);
        assert_eq!(refused(&format!("https://{}a/", "a.".repeat(127))), TargetError::Host);
    }

    #[test]
    fn a_reason_completes_the_sentence_of_a_form_field() {
        assert_eq!(refused("http://10.0.0.1/").to_string(), "must not lead to a private address");
    }

    proptest! {
        #[test]
        fn no_input_panics_and_what_passes_is_stable(target in "(https?://)?\\PC{0,80}") {
            if let Ok(url) = check(&target, &[]) {
                prop_assert_eq!(check(url.as_str(), &[]), Ok(url.clone()));
            }
        }
    }
}
