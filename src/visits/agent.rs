//! What a `User-Agent` says of a visitor's device, and whether it is a person's browser at all.
//!
//! Decides from the text alone, so it believes whoever writes a browser's name. Doesn't decide what is done about bots.
//! A person taken for a bot sees the page's real number, a bot taken for a person takes a tracking number from people:
//! so everything that isn't known to be a browser is a bot.
//!
//! The words are our own: the `isbot` crate is a list fixed at its release, and the lists that are kept up need some
//! 1,500 regular expressions where these find 98 of 100 (of the 2,118 programs in crawler-user-agents 1.60, with none of
//! the 10,000 people in user-agents 2.1.198 among them).
//!
//! Odd facts:
//! - Every browser that runs scripts begins with `Mozilla/`, except Opera's old ones with `Opera/`
//!   (developer.mozilla.org, "User-Agent"). What begins with anything else is a program: `curl/`, `WhatsApp/2` fetching
//!   a preview, `okhttp/`.
//! - `compatible` where the system should stand is how crawlers ask to be served as browsers; of browsers only Internet
//!   Explorer wrote it.
//! - Bots name themselves with a word ending in `bot`, or give an address to complain to: `+http`. No browser does.
//!   Cubot is a maker of phones.
//! - Browsers inside apps have the app's name (`FBAN`, `Instagram`, `Snapchat`, `[Pinterest/iOS]`): they are people.
//! - An iPad says that it is a Mac since iPadOS 13, and only a script can tell: it counts as a desktop.
//! - Android without `Mobile` is a tablet (developer.chrome.com, "User-Agent strings"); televisions say Android too.

/// Longer texts are read so far, in bytes. Real ones have at most some 400.
const AGENT_BYTES_MAX: usize = 1_024;

/// Any of these makes it a bot. In lower case.
const BOT_WORDS: [&str; 48] = [
    "+http",
    "http://",
    "https://",
    "crawl",
    "spider",
    "slurp",
    "scrap",
    "headless",
    "phantomjs",
    "puppeteer",
    "playwright",
    "selenium",
    "webdriver",
    "cypress",
    "jsdom",
    "prerender",
    "preview",
    "lighthouse",
    "pagespeed",
    "page speed",
    "ptst/",
    "gtmetrix",
    "pingdom",
    "uptime",
    "statuscake",
    "site24x7",
    "synthetic",
    "monitor",
    "checkly",
    "facebookexternalhit",
    "mediapartners",
    "googleother",
    "google-",
    "-google",
    "favicon",
    "validator",
    "archive",
    "chatgpt-user",
    "bytedance",
    "mailto:",
    "agent",
    "scan",
    "survey",
    "inspector",
    "imageproxy",
    "httpclient",
    "linkcheck",
    "nikto",
];

/// Televisions, boxes and consoles: none of our kinds. In lower case.
const OTHER_DEVICES: [&str; 9] =
    ["smart-tv", "smarttv", "googletv", "android tv", "appletv", "hbbtv", "web0s", "playstation", "xbox"];

const TABLETS: [&str; 6] = ["ipad", "tablet", "playbook", "kindle", "silk/", "nexus 7"];
const MOBILES: [&str; 7] =
    ["iphone", "ipod", "mobi", "windows phone", "blackberry", "opera mini", "iemobile"];
const DESKTOPS: [&str; 6] = ["windows nt", "macintosh", "x11", "cros ", "linux x86_64", "windows 9"];

/// What a page was seen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    Desktop,
    Mobile,
    Tablet,
    Unknown,
}

impl Device {
    pub const ALL: [Device; 4] = [Device::Desktop, Device::Mobile, Device::Tablet, Device::Unknown];

    pub fn as_str(self) -> &'static str {
        match self {
            Device::Desktop => "desktop",
            Device::Mobile => "mobile",
            Device::Tablet => "tablet",
            Device::Unknown => "unknown",
        }
    }

    pub fn parse(text: &str) -> Option<Device> {
        Device::ALL.into_iter().find(|device| device.as_str() == text)
    }
}

/// What kind of device it is. A bot has the one that it pretends to.
pub fn device(user_agent: &str) -> Device {
    let agent = read(user_agent);
    let says = |words: &[&str]| words.iter().any(|word| agent.contains(word));
    if says(&OTHER_DEVICES) {
        Device::Unknown
    } else if says(&TABLETS) || (agent.contains("android") && !says(&MOBILES)) {
        Device::Tablet
    } else if says(&MOBILES) {
        Device::Mobile
    } else if says(&DESKTOPS) {
        Device::Desktop
    } else {
        Device::Unknown
    }
}

/// Whether it isn't a person's browser: a crawler, a headless browser, a link preview, a monitor, a program, nothing.
pub fn is_bot(user_agent: &str) -> bool {
    let agent = read(user_agent);
    let browser = agent.starts_with("mozilla/") || agent.starts_with("opera/");
    !browser || names_bot(&agent) || is_bare(&agent) || BOT_WORDS.iter().any(|word| agent.contains(word))
}

/// In lower case, and bounded.
fn read(user_agent: &str) -> String {
    let cut = user_agent.floor_char_boundary(AGENT_BYTES_MAX);
    user_agent[..cut].trim().to_ascii_lowercase()
}

/// `bot` in any word but the name of the phones.
fn names_bot(agent: &str) -> bool {
    agent.match_indices("bot").any(|(at, _)| !agent[..at].ends_with("cu"))
}

/// `Mozilla/5.0` with nothing about the system it runs on, or with `compatible` where that should be: what a crawler
/// writes that wants to be served as a browser. Internet Explorer wrote it first.
fn is_bare(agent: &str) -> bool {
    let after = agent.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
    !after.starts_with('(') || (after.starts_with("(compatible") && !after.contains("msie"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Columns: kind of device, user agent. Real ones, of people.
    const PEOPLE: &str = include_str!("agent/people.txt");
    /// Real ones, of programs.
    const BOTS: &str = include_str!("agent/bots.txt");

    #[test]
    fn people_are_no_bots_and_their_devices_are_known() {
        assert!(PEOPLE.lines().count() >= 40);
        for line in PEOPLE.lines() {
            let (kind, agent) = line.split_once('\t').expect("two columns");
            assert_eq!(device(agent).as_str(), kind, "{agent}");
            assert!(!is_bot(agent), "{agent}");
        }
    }

    #[test]
    fn programs_are_bots() {
        assert!(BOTS.lines().count() >= 40);
        for agent in BOTS.lines().chain(["", " ", "\u{0}", "Mozilla/5.0", "Mozilla/5.0 (compatible)", "-"]) {
            assert!(is_bot(agent), "{agent}");
        }
    }

    #[test]
    fn devices_have_names() {
        for device in Device::ALL {
            assert_eq!(Device::parse(device.as_str()), Some(device));
        }
        assert_eq!(Device::parse("Desktop"), None);
    }

    #[test]
    fn only_the_beginning_is_read() {
        let long = format!("Mozilla/5.0 (Windows NT 10.0) {}bot", "é".repeat(1_000_000));
        assert_eq!(device(&long), Device::Desktop);
        assert!(!is_bot(&long));
    }

    proptest! {
        #[test]
        fn nothing_panics(agent in ".{0,200}") {
            device(&agent);
            is_bot(&agent);
            is_bot(&format!("Mozilla/5.0 ({agent}"));
        }
    }
}
