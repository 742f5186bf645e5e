//! Settings: what may be set, where from, and what holds otherwise. Flags, environment
//! (`CALLTRACKER_…`) and the file (`calltracker.toml`) say the same things; a flag beats the environment,
//! which beats the file. An unknown key or a malformed value is an error with its name in it.

mod mail;

pub use self::mail::{Encryption, Mail, MailServer};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use url::Url;

use crate::kernel::secret::SecretKey;

/// Gaps between the six sends of a delivery when nothing else is set: 55 s x 6^k, the last 23 h 45 min
/// after the first (the contract's delivery rule 2).
const RETRY_SCHEDULE_S: [u64; 5] = [55, 330, 1_980, 11_880, 71_280];
/// Everything about one attempt, DNS to the last byte read (delivery rule 8).
pub const WEBHOOK_TIMEOUT_S: u64 = 15;
/// How long a recording's link works: as long as a delivery may be held.
const RECORDING_URL_TTL_S: u64 = 30 * 24 * 3600;
/// How long a delivery is held for a webhook that isn't active, and how many are.
const HOLD_FOR_S: u64 = 30 * 24 * 3600;
const HOLD_MAX: u32 = 1_000_000;
/// How long events with their deliveries, and attempts, are kept.
const RETENTION_S: u64 = 30 * 24 * 3600;
/// API requests of one token in a minute.
const API_RATE_PER_MINUTE: u32 = 1_200;
/// Requests of the script from one address in a minute: a company's whole office may share one.
const VISITS_RATE_PER_MINUTE: u32 = 1_200;
/// Pools' numbers that one address may take in an hour.
const VISITS_NUMBERS_PER_HOUR: u32 = 120;
/// Days for which visits are kept that led to nothing: a year and a month, as `source_days` may be a year.
const VISITS_KEEP_DAYS: u32 = 400;
/// A call may be credited to a visit of the day before.
const VISITS_KEEP_DAYS_MIN: u32 = 2;

/// What the user gave, from one place. A field is a setting: the flag, the environment variable and the
/// key in the file are all made of its name.
#[derive(clap::Args, Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    /// Address to listen on; port 0 picks one and prints it [default: 127.0.0.1:8080]
    #[arg(long, env = "CALLTRACKER_LISTEN")]
    listen: Option<SocketAddr>,
    /// Folder of the SQLite file, recordings and exports [default: ./data]
    #[arg(long, env = "CALLTRACKER_DATA")]
    data: Option<PathBuf>,
    /// postgres://… instead of the embedded SQLite
    #[arg(long, env = "CALLTRACKER_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Base64 of 32 bytes; made at first start in the data folder, must be given with database_url
    #[arg(long, env = "CALLTRACKER_SECRET_KEY", hide_env_values = true)]
    secret_key: Option<Key>,
    /// What carriers, pages and receivers see [default: http://<listen>]
    #[arg(long, env = "CALLTRACKER_PUBLIC_URL")]
    public_url: Option<PublicUrl>,
    /// CIDRs of proxies before this server, whose X-Forwarded-For is believed
    #[arg(long, env = "CALLTRACKER_TRUSTED_PROXIES", value_delimiter = ',')]
    trusted_proxies: Option<Vec<IpNet>>,
    /// An account-wide API token with write access that is made at start, for automation
    #[arg(long, env = "CALLTRACKER_BOOTSTRAP_TOKEN", hide_env_values = true)]
    bootstrap_token: Option<BootstrapToken>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long, env = "CALLTRACKER_LOG")]
    log: Option<LogLevel>,
    /// text or json [default: text]
    #[arg(long, env = "CALLTRACKER_LOG_FORMAT")]
    log_format: Option<LogFormat>,
    #[command(flatten)]
    webhooks: WebhooksGiven,
    #[command(flatten)]
    carriers: CarriersGiven,
    #[command(flatten)]
    recordings: RecordingsGiven,
    #[command(flatten)]
    api: ApiGiven,
    #[command(flatten)]
    visits: VisitsGiven,
    #[command(flatten)]
    mail: MailGiven,
    #[command(flatten)]
    retention: RetentionGiven,
}

#[derive(clap::Args, Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct WebhooksGiven {
    /// Gaps between the sends of a delivery; their number is the number of retries [default: 55s,330s,1980s,11880s,71280s]
    #[arg(
        long = "webhooks-retry-schedule",
        env = "CALLTRACKER_WEBHOOKS_RETRY_SCHEDULE",
        value_delimiter = ','
    )]
    #[arg(id = "webhooks_retry_schedule")]
    retry_schedule: Option<Vec<Span>>,
    /// Deadline of one attempt, from DNS to the last byte [default: 15s]
    #[arg(long = "webhooks-timeout", env = "CALLTRACKER_WEBHOOKS_TIMEOUT", id = "webhooks_timeout")]
    timeout: Option<Span>,
    /// CIDRs that may be webhook targets although they are private
    #[arg(
        long = "webhooks-allow-targets",
        env = "CALLTRACKER_WEBHOOKS_ALLOW_TARGETS",
        value_delimiter = ','
    )]
    #[arg(id = "webhooks_allow_targets")]
    allow_targets: Option<Vec<IpNet>>,
    /// How long a delivery is held while its webhook isn't active [default: 30d]
    #[arg(long = "webhooks-hold-for", env = "CALLTRACKER_WEBHOOKS_HOLD_FOR", id = "webhooks_hold_for")]
    hold_for: Option<Span>,
    /// Deliveries that are held for one webhook at most, the newest [default: 1000000]
    #[arg(long = "webhooks-hold-max", env = "CALLTRACKER_WEBHOOKS_HOLD_MAX", id = "webhooks_hold_max")]
    hold_max: Option<u32>,
}

#[derive(clap::Args, Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct CarriersGiven {
    /// CIDRs that a carrier's base_url may lead to although they are private
    #[arg(
        long = "carriers-allow-targets",
        env = "CALLTRACKER_CARRIERS_ALLOW_TARGETS",
        value_delimiter = ','
    )]
    #[arg(id = "carriers_allow_targets")]
    allow_targets: Option<Vec<IpNet>>,
}

#[derive(clap::Args, Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct RecordingsGiven {
    /// How long a recording's link works [default: 30d]
    #[arg(long = "recordings-url-ttl", env = "CALLTRACKER_RECORDINGS_URL_TTL", id = "recordings_url_ttl")]
    url_ttl: Option<Span>,
    /// Leave the carrier's copy of a recording where it is [default: false]
    #[arg(
        long = "recordings-keep-at-carrier",
        env = "CALLTRACKER_RECORDINGS_KEEP_AT_CARRIER",
        id = "recordings_keep_at_carrier"
    )]
    keep_at_carrier: Option<bool>,
}

#[derive(clap::Args, Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct ApiGiven {
    /// API requests of one token in a minute [default: 1200]
    #[arg(long = "api-rate-per-minute", env = "CALLTRACKER_API_RATE_PER_MINUTE", id = "api_rate_per_minute")]
    rate_per_minute: Option<u32>,
}

#[derive(clap::Args, Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct VisitsGiven {
    /// Requests of the script on web sites from one address in a minute [default: 1200]
    #[arg(
        long = "visits-rate-per-minute",
        env = "CALLTRACKER_VISITS_RATE_PER_MINUTE",
        id = "visits_rate_per_minute"
    )]
    rate_per_minute: Option<u32>,
    /// Numbers of pools that visitors from one address may take in an hour [default: 120]
    #[arg(
        long = "visits-numbers-per-hour",
        env = "CALLTRACKER_VISITS_NUMBERS_PER_HOUR",
        id = "visits_numbers_per_hour"
    )]
    numbers_per_hour: Option<u32>,
    /// Days for which visits are kept that led to no call and no text [default: 400]
    #[arg(long = "visits-keep-days", env = "CALLTRACKER_VISITS_KEEP_DAYS", id = "visits_keep_days")]
    keep_days: Option<u32>,
}

#[derive(clap::Args, Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct MailGiven {
    /// The server that alerts are mailed through: smtp://user:password@host[:587], or smtps://
    #[arg(
        long = "mail-smtp-url",
        env = "CALLTRACKER_MAIL_SMTP_URL",
        hide_env_values = true,
        id = "mail_smtp_url"
    )]
    smtp_url: Option<String>,
    /// The address that they come from, such as Call Tracker <alerts@example.com>
    #[arg(long = "mail-from", env = "CALLTRACKER_MAIL_FROM", id = "mail_from")]
    from: Option<String>,
}

#[derive(clap::Args, Deserialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields, default)]
struct RetentionGiven {
    /// How long events are kept, with their deliveries [default: 30d]
    #[arg(long = "retention-events", env = "CALLTRACKER_RETENTION_EVENTS", id = "retention_events")]
    events: Option<Span>,
    /// How long attempts are kept, and what they came to by the minute [default: 30d]
    #[arg(long = "retention-attempts", env = "CALLTRACKER_RETENTION_ATTEMPTS", id = "retention_attempts")]
    attempts: Option<Span>,
}

/// The settings that hold.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub data: PathBuf,
    pub database_url: Option<String>,
    /// None: to be read from the data folder, or made there.
    pub secret_key: Option<SecretKey>,
    /// None: http:// and the address that is really listened on.
    pub public_url: Option<Url>,
    pub trusted_proxies: Vec<IpNet>,
    pub bootstrap_token: Option<String>,
    pub log: LogLevel,
    pub log_format: LogFormat,
    pub webhooks: Webhooks,
    pub carriers: Carriers,
    pub recordings: Recordings,
    pub api: Api,
    pub visits: Visits,
    /// None: alerts aren't mailed.
    pub mail: Option<Mail>,
    pub retention: Retention,
}

#[derive(Clone, Debug)]
pub struct Webhooks {
    pub retry_schedule: Vec<Duration>,
    pub timeout: Duration,
    pub allow_targets: Vec<IpNet>,
    pub hold_for: Duration,
    pub hold_max: u32,
}

#[derive(Clone, Debug)]
pub struct Carriers {
    pub allow_targets: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug)]
pub struct Recordings {
    pub url_ttl: Duration,
    pub keep_at_carrier: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Api {
    pub rate_per_minute: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Visits {
    pub rate_per_minute: u32,
    pub numbers_per_hour: u32,
    pub keep_days: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub events: Duration,
    pub attempts: Duration,
}

/// What is wrong with the settings; the program ends with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub String);

/// The file that is read if `--config` doesn't name another; it need not exist.
pub const FILE: &str = "calltracker.toml";

impl Given {
    /// Reads the file.
    ///
    /// # Errors
    /// It can't be read (unless it is the default one and isn't there), or says something unknown.
    pub fn from_file(path: Option<&Path>) -> Result<Given, BadConfig> {
        let named = path.unwrap_or(Path::new(FILE));
        let text = match std::fs::read_to_string(named) {
            Ok(text) => text,
            Err(e) if path.is_none() && e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Given::default());
            }
            Err(e) => return Err(BadConfig(format!("reading {}: {e}", named.display()))),
        };
        toml::from_str(&text).map_err(|e| BadConfig(format!("{}: {e}", named.display())))
    }

    /// These settings, those of `under` where these are silent, and the defaults.
    ///
    /// # Errors
    /// Settings that contradict each other.
    pub fn resolve(self, under: Given) -> Result<Config, BadConfig> {
        let config = Config {
            listen: self.listen.or(under.listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
            data: self.data.or(under.data).unwrap_or(PathBuf::from("data")),
            database_url: self.database_url.or(under.database_url),
            secret_key: self.secret_key.or(under.secret_key).map(|k| k.0),
            public_url: self.public_url.or(under.public_url).map(|u| u.0),
            trusted_proxies: self.trusted_proxies.or(under.trusted_proxies).unwrap_or_default(),
            bootstrap_token: self.bootstrap_token.or(under.bootstrap_token).map(|t| t.0),
            log: self.log.or(under.log).unwrap_or(LogLevel::Info),
            log_format: self.log_format.or(under.log_format).unwrap_or(LogFormat::Text),
            webhooks: self.webhooks.resolve(under.webhooks),
            carriers: Carriers {
                allow_targets: self
                    .carriers
                    .allow_targets
                    .or(under.carriers.allow_targets)
                    .unwrap_or_default(),
            },
            recordings: Recordings {
                url_ttl: or(self.recordings.url_ttl, under.recordings.url_ttl, RECORDING_URL_TTL_S),
                keep_at_carrier: self
                    .recordings
                    .keep_at_carrier
                    .or(under.recordings.keep_at_carrier)
                    .unwrap_or(false),
            },
            api: Api {
                rate_per_minute: self
                    .api
                    .rate_per_minute
                    .or(under.api.rate_per_minute)
                    .unwrap_or(API_RATE_PER_MINUTE)
                    .max(1),
            },
            visits: self.visits.resolve(&under.visits),
            mail: self.mail.or(under.mail).resolve()?,
            retention: Retention {
                events: or(self.retention.events, under.retention.events, RETENTION_S),
                attempts: or(self.retention.attempts, under.retention.attempts, RETENTION_S),
            },
        };
        if config.database_url.is_some() && config.secret_key.is_none() {
            let why = "secret_key must be given with database_url, so that all nodes share it";
            return Err(BadConfig(why.to_owned()));
        }
        Ok(config)
    }
}

impl VisitsGiven {
    fn resolve(&self, under: &VisitsGiven) -> Visits {
        let rate = self.rate_per_minute.or(under.rate_per_minute).unwrap_or(VISITS_RATE_PER_MINUTE);
        let numbers = self.numbers_per_hour.or(under.numbers_per_hour).unwrap_or(VISITS_NUMBERS_PER_HOUR);
        let days = self.keep_days.or(under.keep_days).unwrap_or(VISITS_KEEP_DAYS);
        Visits {
            rate_per_minute: rate.max(1),
            numbers_per_hour: numbers.max(1),
            keep_days: days.max(VISITS_KEEP_DAYS_MIN),
        }
    }
}

impl MailGiven {
    fn or(self, under: MailGiven) -> MailGiven {
        MailGiven { smtp_url: self.smtp_url.or(under.smtp_url), from: self.from.or(under.from) }
    }

    fn resolve(&self) -> Result<Option<Mail>, BadConfig> {
        Mail::resolve(self.smtp_url.as_deref(), self.from.as_deref())
    }
}

impl WebhooksGiven {
    fn resolve(self, under: WebhooksGiven) -> Webhooks {
        let spans = |v: Vec<Span>| v.into_iter().map(|s| s.0).collect();
        Webhooks {
            retry_schedule: self
                .retry_schedule
                .or(under.retry_schedule)
                .map_or_else(|| RETRY_SCHEDULE_S.map(Duration::from_secs).to_vec(), spans),
            timeout: or(self.timeout, under.timeout, WEBHOOK_TIMEOUT_S),
            allow_targets: self.allow_targets.or(under.allow_targets).unwrap_or_default(),
            hold_for: or(self.hold_for, under.hold_for, HOLD_FOR_S),
            hold_max: self.hold_max.or(under.hold_max).unwrap_or(HOLD_MAX),
        }
    }
}

fn or(first: Option<Span>, second: Option<Span>, default_s: u64) -> Duration {
    first.or(second).map_or(Duration::from_secs(default_s), |s| s.0)
}

/// A length of time: a whole number and its unit, `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let bad = || format!("{text:?} is not a length of time such as 500ms, 55s, 5m, 12h or 30d");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        // A hundred years, so that sums of times stay far from the end of the range.
        let total = number.checked_mul(millis).filter(|ms| *ms <= 100 * 365 * 86_400_000);
        total.map(|ms| Span(Duration::from_millis(ms))).ok_or_else(bad)
    }
}

#[derive(Clone, Debug)]
struct Key(SecretKey);

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Key, String> {
        SecretKey::parse(text).map(Key).ok_or("is not the base64 of 32 bytes".to_owned())
    }
}

#[derive(Clone, Debug)]
struct BootstrapToken(String);

/// A guessable token would open everything: 32 characters are what we make ourselves.
const BOOTSTRAP_TOKEN_CHARS_MIN: usize = 20;

impl FromStr for BootstrapToken {
    type Err = String;

    fn from_str(text: &str) -> Result<BootstrapToken, String> {
        let fits = text.len() >= BOOTSTRAP_TOKEN_CHARS_MIN && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| BootstrapToken(text.to_owned()))
            .ok_or(format!("must be at least {BOOTSTRAP_TOKEN_CHARS_MIN} printable ASCII characters"))
    }
}

/// A server as others reach it: scheme, host, port.
#[derive(Clone, Debug)]
pub(crate) struct PublicUrl(pub(crate) Url);

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<PublicUrl, String> {
        let url = Url::parse(text).map_err(|e| format!("{text:?} is not a URL: {e}"))?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        plain.then_some(PublicUrl(url)).ok_or("must be http(s)://host[:port] and nothing more".to_owned())
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// Reads a text value of the file by the same rules as a flag.
macro_rules! from_text {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

from_text!(Span, Key, BootstrapToken, PublicUrl);

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Config, String> {
        let given: Given = toml::from_str(text).map_err(|e| e.to_string())?;
        Given::default().resolve(given).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_are_the_contracts() {
        let config = file("").unwrap();
        let gaps: Vec<u64> = config.webhooks.retry_schedule.iter().map(Duration::as_secs).collect();
        assert_eq!(gaps, [55, 330, 1_980, 11_880, 71_280]);
        assert_eq!(gaps.iter().sum::<u64>(), 23 * 3600 + 45 * 60 + 25);
        assert_eq!(config.webhooks.timeout, Duration::from_secs(15));
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        let month = Duration::from_secs(30 * 86_400);
        assert_eq!((config.webhooks.hold_for, config.webhooks.hold_max), (month, 1_000_000));
        assert_eq!((config.retention.events, config.retention.attempts), (month, month));
        assert_eq!(config.visits.keep_days, 400);
        assert_eq!(file("[visits]\nkeep_days = 0").unwrap().visits.keep_days, 2, "a call may still come");
    }

    #[test]
    fn unknown_keys_and_malformed_values_are_named() {
        for (text, named) in [
            ("colour = 1", "colour"),
            ("listen = \"nowhere\"", "listen"),
            ("[webhooks]\nretry_schedule = [\"55\"]", "55"),
            ("[webhooks]\ntimeot = \"1s\"", "timeot"),
            ("[webhooks]\nallow_targets = [\"10.0.0.0/33\"]", "allow_targets"),
            ("[webhooks]\nhold_max = -1", "hold_max"),
            ("[retention]\nevents = \"30\"", "30"),
            ("public_url = \"https://example.com/path\"", "public_url"),
            ("secret_key = \"short\"", "secret_key"),
            ("log = \"loud\"", "log"),
            ("bootstrap_token = \"x\"", "bootstrap_token"),
            ("database_url = \"postgres://x\"", "secret_key"),
            ("[mail]\nsmtp_url = \"smtp://x\"", "mail.from"),
            ("[mail]\nsmtp_url = \"x\"\nfrom = \"a@b.example\"", "mail.smtp_url"),
        ] {
            let error = file(text).expect_err(text);
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_given_first_wins() {
        let above: Given = toml::from_str("[webhooks]\ntimeout = \"2s\"").unwrap();
        let under: Given = toml::from_str("data = \"d\"\n[webhooks]\ntimeout = \"3s\"").unwrap();
        let config = above.resolve(under).unwrap();
        assert_eq!(config.webhooks.timeout, Duration::from_secs(2));
        assert_eq!(config.data, Path::new("d"));
    }
}
