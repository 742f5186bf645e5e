//! Links to recordings that work for whoever has one, until they expire: what events and the API give out, so
//! that a receiver needs no token to play what it was told of. The signature is the permission.

use std::time::Duration;

use url::Url;

use super::Format;
use crate::ctx::Ctx;
use crate::kernel::clock::Micros;
use crate::kernel::id::RecordingId;
use crate::kernel::secret::{Purpose, SecretKey};

/// Makes and checks links. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Links {
    key: SecretKey,
    /// Ends with `/`.
    public_url: Url,
    ttl: Duration,
}

/// Why a link doesn't work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the link's signature is missing or wrong")]
    Forged,
    #[error("the link has expired")]
    Expired,
}

impl Links {
    pub fn new(key: SecretKey, public_url: Url, ttl: Duration) -> Links {
        Links { key, public_url, ttl }
    }

    /// Those of this installation.
    pub fn of(ctx: &Ctx) -> Links {
        Links::new(ctx.key.clone(), ctx.public_url.clone(), ctx.config.recordings.url_ttl)
    }

    /// `{public_url}recordings/{id}.mp3?expires={seconds since 1970}&signature=…`
    pub fn url(&self, id: RecordingId, format: Format, now: Micros) -> String {
        let file = format!("{id}.{}", format.extension());
        let expires = now.after(self.ttl).seconds();
        let signature = self.key.sign(Purpose::RecordingLink, &signed_text(&file, expires));
        format!("{}recordings/{file}?expires={expires}&signature={signature}", self.public_url)
    }

    /// The recording that a link is for. `file` is the path's last segment, the others the query's values.
    ///
    /// # Errors
    /// See [`Refused`]; that a link has expired is only said of one that we made.
    pub fn check(
        &self,
        file: &str,
        expires: &str,
        signature: &str,
        now: Micros,
    ) -> Result<(RecordingId, Format), Refused> {
        let expires: i64 = expires.parse().map_err(|_| Refused::Forged)?;
        if !self.key.verify(Purpose::RecordingLink, &signed_text(file, expires), signature) {
            return Err(Refused::Forged);
        }
        let (id, extension) = file.split_once('.').ok_or(Refused::Forged)?;
        let id = id.parse().map(RecordingId).map_err(|_| Refused::Forged)?;
        let format = Format::of_extension(extension).ok_or(Refused::Forged)?;
        if now.seconds() >= expires { Err(Refused::Expired) } else { Ok((id, format)) }
    }
}

fn signed_text(file: &str, expires: i64) -> String {
    format!("{file}/{expires}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::seed::Seed;

    fn links() -> Links {
        let url = Url::parse("https://track.example.com/").unwrap();
        Links::new(SecretKey::generate(&Seed::fixed(1)), url, Duration::from_secs(3600))
    }

    fn parts(url: &str) -> (String, String, String) {
        let url = Url::parse(url).unwrap();
        let value = |name| url.query_pairs().find(|(n, _)| n == name).unwrap().1.into_owned();
        (url.path_segments().unwrap().next_back().unwrap().to_owned(), value("expires"), value("signature"))
    }

    #[test]
    fn a_link_works_until_it_expires() {
        let now = Micros(1_700_000_000_000_000);
        let url = links().url(RecordingId(7), Format::Mp3, now);
        assert!(url.starts_with("https://track.example.com/recordings/7.mp3?expires=1700003600&signature="));
        let (file, expires, signature) = parts(&url);
        let at = |now| links().check(&file, &expires, &signature, now);
        assert_eq!(at(now), Ok((RecordingId(7), Format::Mp3)));
        assert_eq!(at(now.after(Duration::from_secs(3599))), Ok((RecordingId(7), Format::Mp3)));
        assert_eq!(at(now.after(Duration::from_secs(3600))), Err(Refused::Expired));
    }

    #[test]
    fn a_link_is_for_one_recording_and_one_expiry() {
        let now = Micros(1_700_000_000_000_000);
        let (file, expires, signature) = parts(&links().url(RecordingId(7), Format::Wav, now));
        let refused = |file: &str, expires: &str, signature: &str| {
            links().check(file, expires, signature, now) == Err(Refused::Forged)
        };
        assert!(!refused(&file, &expires, &signature));
        assert!(refused("8.wav", &expires, &signature));
        assert!(refused("7.mp3", &expires, &signature));
        assert!(refused(&file, "1700003601", &signature));
        assert!(refused(&file, "never", &signature));
        assert!(refused(&file, &expires, ""));
        assert!(refused("../7.wav", &expires, &signature));
    }
}
