//! What a browser says it is: the device, and whether it is a robot. Pure. Anybody can say anything: a robot that
//! wants to be taken for a person is.

/// The kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Desktop,
    Mobile,
    Tablet,
    Unknown,
}

impl Device {
    pub fn as_str(self) -> &'static str {
        match self {
            Device::Desktop => "desktop",
            Device::Mobile => "mobile",
            Device::Tablet => "tablet",
            Device::Unknown => "unknown",
        }
    }
}

/// Tells the device by the browser's `User-Agent`.
pub fn device(user_agent: &str) -> Device {
    let says = |word: &str| user_agent.contains(word);
    if says("iPad") || says("Tablet") || says("Android") && !says("Mobile") {
        Device::Tablet
    } else if says("Mobile") || says("iPhone") {
        Device::Mobile
    } else if says("Windows") || says("Macintosh") || says("X11") || says("CrOS") {
        Device::Desktop
    } else {
        Device::Unknown
    }
}

/// Words that robots have in their `User-Agent`, in lower case.
const ROBOTS: [&str; 10] =
    ["bot", "crawl", "spider", "slurp", "preview", "headless", "lighthouse", "monitor", "curl/", "python"];

/// Whether it says that it is a robot, or nothing at all.
pub fn is_bot(user_agent: &str) -> bool {
    let lower = user_agent.to_lowercase();
    lower.trim().is_empty() || ROBOTS.iter().any(|word| lower.contains(word))
}
