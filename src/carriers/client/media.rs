//! Fetching audio and pictures. A media URL comes in a callback, so where it leads is decided here: to the
//! account's own hosts with its credentials, anywhere else never with them.
//!
//! Odd facts (carrier's page "Recordings resource"): the URL has no ending; `.mp3` and `.wav` choose the
//! format. Two channels asked of a recording that has one are refused with 400. Media may be there some
//! seconds after the callback said so (404 until then). Pictures are handed out by a redirect to a
//! file host, with a URL that is its own permission.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderMap, LOCATION};
use url::Url;

use super::{CarrierError, Client};
use crate::outbound::{Download, Limits, Request};

/// How long a download may take: an hour of MP3 has 14 MB, which a slow line carries in two minutes.
const MEDIA_DEADLINE: Duration = Duration::from_secs(120);
/// A file at most: the longest call there is, 4 h at 32 kbit/s, has 58 MB.
const MEDIA_BYTES_MAX: usize = 128 * 1024 * 1024;
/// How much of an error's text may be read.
const ERROR_BYTES_MAX: usize = 16 * 1024;

/// The hosts of Twilio's API, one for each region. An account that uses one may be told of media on another.
const TWILIO_HOSTS: [&str; 3] = ["api.twilio.com", "api.dublin.ie1.twilio.com", "api.sydney.au1.twilio.com"];

/// In which form media are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    /// MP3 with caller and destination on a channel of their own, or one if there is only one.
    DualMp3,
    /// What voicemails are kept as.
    Wav,
    /// As it is: the files of a message.
    AsIs,
}

impl Client {
    /// Starts a download. Its status is a success; the body comes in pieces.
    ///
    /// # Errors
    /// [`CarrierError::ForeignHost`] if the URL isn't on the carrier's own hosts, [`CarrierError::NotFound`]
    /// if it isn't there, or not yet.
    pub async fn media(&self, media_url: &str, prefer: Prefer) -> Result<Download, CarrierError> {
        let url = self.own_url(media_url)?;
        match prefer {
            Prefer::AsIs => self.download(url).await,
            Prefer::Wav => self.download(formatted(&url, "wav", None)).await,
            Prefer::DualMp3 => match self.download(formatted(&url, "mp3", Some(2))).await {
                Err(CarrierError::Invalid { .. }) => self.download(formatted(&url, "mp3", Some(1))).await,
                other => other,
            },
        }
    }

    /// The URL if it leads to where the account's credentials may go.
    fn own_url(&self, media_url: &str) -> Result<Url, CarrierError> {
        let mut url = Url::parse(media_url).map_err(|_| CarrierError::ForeignHost)?;
        let base = &self.account.base_url;
        let bare = url.username().is_empty() && url.password().is_none();
        let at_twilio = |url: &Url| {
            let host = url.host_str().is_some_and(|host| TWILIO_HOSTS.contains(&host));
            host && url.scheme() == "https" && url.port().is_none()
        };
        if !bare || !(url.origin() == base.origin() || at_twilio(base) && at_twilio(&url)) {
            return Err(CarrierError::ForeignHost);
        }
        url.set_fragment(None);
        Ok(url)
    }

    /// Fetches with the credentials and follows at most one redirect, without them.
    async fn download(&self, url: Url) -> Result<Download, CarrierError> {
        let answered = self.fetch(url.clone(), self.headers()).await?;
        if !is_redirect(answered.status()) {
            return success(answered);
        }
        let target = self.redirect_target(&url, answered.headers())?;
        let answered = self.fetch(target, HeaderMap::new()).await?;
        if is_redirect(answered.status()) {
            return Err(CarrierError::Unexpected("redirected a file twice".to_owned()));
        }
        success(answered)
    }

    async fn fetch(&self, url: Url, headers: HeaderMap) -> Result<Download, CarrierError> {
        let request = Request { method: Method::GET, url, headers, body: Bytes::new() };
        let limits = Limits {
            deadline: MEDIA_DEADLINE,
            read_bytes_max: MEDIA_BYTES_MAX,
            keep_bytes_max: ERROR_BYTES_MAX,
        };
        self.outbound.fetch(request, limits).await.map_err(CarrierError::Unreachable)
    }

    /// Where a redirect leads, if it may be followed: within the account's own host, or to any by https.
    fn redirect_target(&self, from: &Url, headers: &HeaderMap) -> Result<Url, CarrierError> {
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let target = location.and_then(|location| from.join(location).ok());
        let target =
            target.ok_or_else(|| CarrierError::Unexpected("redirected a file to nowhere".to_owned()))?;
        let own = target.origin() == self.account.base_url.origin();
        if own || target.scheme() == "https" { Ok(target) } else { Err(CarrierError::ForeignHost) }
    }
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

fn success(answered: Download) -> Result<Download, CarrierError> {
    match answered.status() {
        200..300 => Ok(answered),
        status => Err(CarrierError::of(status, answered.headers(), b"")),
    }
}

/// The URL of a recording in a format, whichever it had before.
fn formatted(url: &Url, ending: &str, channels: Option<u8>) -> Url {
    let mut formatted = url.clone();
    let path = url.path();
    let stem =
        [".mp3", ".wav", ".json"].into_iter().find_map(|known| path.strip_suffix(known)).unwrap_or(path);
    formatted.set_path(&format!("{stem}.{ending}"));
    formatted.set_query(None);
    if let Some(channels) = channels {
        formatted.query_pairs_mut().append_pair("RequestedChannels", &channels.to_string());
    }
    formatted
}

#[cfg(test)]
mod tests {
    use super::super::tests::client;
    use super::*;
    use crate::carriers::Kind;

    #[test]
    fn only_the_accounts_own_hosts_are_given_its_credentials() {
        let twilio = client(Kind::Twilio, "https://api.twilio.com");
        for own in [
            "https://api.twilio.com/x",
            "https://API.twilio.com:443/x#f",
            "https://api.sydney.au1.twilio.com/x",
        ] {
            assert!(twilio.own_url(own).is_ok_and(|url| url.fragment().is_none()), "{own}");
        }
        let foreign = [
            "http://api.twilio.com/x",
            "https://api.twilio.com:8443/x",
            "https://u@api.twilio.com/x",
            "https://api.twilio.com.example.com/x",
            "https://example.com/api.twilio.com",
            "https://media.twiliocdn.com/x",
            "file:///etc/passwd",
            "/relative",
            "",
        ];
        for url in foreign {
            assert_eq!(twilio.own_url(url), Err(CarrierError::ForeignHost), "{url}");
        }
        let space = client(Kind::SignalWire, "https://example.signalwire.com");
        assert!(space.own_url("https://example.signalwire.com/api/laml/x").is_ok());
        for url in ["https://other.signalwire.com/x", "https://api.twilio.com/x"] {
            assert_eq!(space.own_url(url), Err(CarrierError::ForeignHost), "{url}");
        }
        let simulated = client(Kind::Twilio, "http://127.0.0.1:4010");
        assert_eq!(simulated.own_url("https://api.twilio.com/x"), Err(CarrierError::ForeignHost));
    }

    #[test]
    fn a_redirect_to_a_file_host_is_followed_by_https_only() {
        let client = client(Kind::SignalWire, "https://example.signalwire.com");
        let from = Url::parse("https://example.signalwire.com/media/ME1").unwrap();
        let target = |location: &str| {
            let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
            client.redirect_target(&from, &headers).map(String::from)
        };
        assert_eq!(
            target("https://files.signalwire.com/a?b").as_deref(),
            Ok("https://files.signalwire.com/a?b")
        );
        assert_eq!(target("b.jpg").as_deref(), Ok("https://example.signalwire.com/media/b.jpg"));
        assert_eq!(target("http://files.signalwire.com/a"), Err(CarrierError::ForeignHost));
        assert_eq!(target("file:///etc/passwd"), Err(CarrierError::ForeignHost));
        assert_eq!(target("https://").unwrap_err().as_str(), "unexpected");
    }

    #[test]
    fn a_recordings_url_gets_one_ending() {
        let url = |text: &str| Url::parse(text).unwrap();
        let dual = "https://h/Recordings/RE1.mp3?RequestedChannels=2";
        for given in
            ["https://h/Recordings/RE1", "https://h/Recordings/RE1.wav?x=1", "https://h/Recordings/RE1.mp3"]
        {
            assert_eq!(formatted(&url(given), "mp3", Some(2)).as_str(), dual, "{given}");
        }
        assert_eq!(formatted(&url("https://h/a.b/RE1"), "wav", None).as_str(), "https://h/a.b/RE1.wav");
    }
}
