//! What a webhook URL's fragment asks of the carrier: `#rc=2&rp=5xx,rt`. Decides whether a failed request is made again;
//! without a fragment it never is.
//! <https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides>

/// The most retries that can be asked for.
const RETRIES_MAX: u32 = 5;

/// Retries and what they are for.
#[derive(Debug)]
pub struct ConnectionOverrides {
    pub retries: u32,
    policies: Vec<String>,
}

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// There was no connection.
    Connect,
    /// There was one, but no answer in time.
    Read,
    Status(u16),
}

impl ConnectionOverrides {
    pub fn of_url(url: &str) -> Self {
        let fragment = url.split_once('#').map_or("", |(_, fragment)| fragment);
        let mut overrides = Self { retries: 0, policies: vec!["ct".to_owned()] };
        for (name, value) in form_urlencoded::parse(fragment.as_bytes()) {
            match name.as_ref() {
                "rc" => overrides.retries = value.parse().unwrap_or(0).min(RETRIES_MAX),
                "rp" => overrides.policies = value.split(',').map(str::to_owned).collect(),
                _other_settings => {}
            }
        }
        overrides
    }

    /// Whether this failure is one of those that the URL wants retried.
    pub fn retries_after(&self, failure: FailureKind) -> bool {
        let policy = match failure {
            FailureKind::Connect => "ct",
            FailureKind::Read => "rt",
            FailureKind::Status(400..500) => "4xx",
            FailureKind::Status(500..600) => "5xx",
            FailureKind::Status(_) => return false,
        };
        self.policies.iter().any(|wanted| wanted == policy || wanted == "all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_happen_only_when_the_fragment_asks() {
        for (url, retries, after_503, after_connect) in [
            ("http://a/b", 0, false, true),
            ("http://a/b#rc=2", 2, false, true),
            ("http://a/b#rc=9&rp=5xx", 5, true, false),
            ("http://a/b#rp=all&rc=1", 1, true, true),
        ] {
            let overrides = ConnectionOverrides::of_url(url);
            assert_eq!(overrides.retries, retries, "{url}");
            let after = |failure| overrides.retries_after(failure);
            assert_eq!(after(FailureKind::Status(503)), after_503, "{url}");
            assert_eq!(after(FailureKind::Connect), after_connect, "{url}");
        }
    }
}
