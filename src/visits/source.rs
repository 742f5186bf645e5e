//! Where a visit came from: its channel and source, the campaign, the click ids and the words searched for, out of the
//! page's address and the referrer alone.
//!
//! Decides by the first of these that says anything: a click id; `utm_medium` and `utm_source`; a referrer that is
//! known; any other referrer; and if there's none, the visit is direct. Doesn't decide which of a visitor's visits is
//! credited with a call, doesn't know bots, and never gives [`Channel::Unknown`]: that is of a call without a visit.
//! Everything it reads was written by strangers: nothing panics, everything kept is bounded and without control
//! characters.
//!
//! Odd facts:
//! - A click id is what the network itself adds to a paid click, so it beats what somebody typed into a campaign:
//!   `gclid`, `gbraid`, `wbraid` (support.google.com/google-ads, "About the Google click ID" and "About URL parameters
//!   gbraid and wbraid"), `msclkid` (help.ads.microsoft.com, "Auto-tagging of Click ID"), `ttclid` (ads.tiktok.com,
//!   "TikTok Click ID"), `li_fat_id` (LinkedIn's "first-party cookies and enhanced conversion tracking"), `twclid`
//!   (business.x.com, "web conversions"). `dclid` is Campaign Manager's, which serves banners: display.
//! - `fbclid` alone says nothing about money: Facebook and Instagram add it to every link that leaves them, shares
//!   among friends too. It's paid only with a `utm_medium` that says so.
//! - A link with a `gclid` that is shared on Facebook gets an `fbclid` as well. The paid id wins: nobody can tell an old
//!   one from a new one here.
//! - `utm_medium=cpm` is a banner, unless the source is a search engine or a social network: advertisers name paid
//!   posts so, and Google Analytics puts them there too (support.google.com/analytics, "Default channel group").
//! - Business listings have no medium of their own; people tag the link in Google's Business Profile with
//!   `utm_source=gmb` and whatever medium, mostly `organic`. The source decides. `utm_source=google` with
//!   `utm_medium=organic` stays organic, whatever the campaign is called.
//! - Search engines have hidden the words since 2011; a few still send them, and a share of Bing's and Yahoo's do.
//! - Yelp, Yellow Pages and other directories are referrals here, and so are assistants (ChatGPT, Perplexity): a link
//!   was followed. ChatGPT adds `utm_source=chatgpt.com` itself.

mod address;
mod params;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use self::address::{Address, split};
pub use self::address::{READ_BYTES_MAX, URL_CHARS_MAX, clean_url, is_same_site};
pub use self::params::TEXT_CHARS_MAX;
use super::referrers::{self, Kind, Referrer};

/// What a search's words are called when the engine hides them: the field's own phrase.
const NOT_PROVIDED: &str = "(not provided)";

/// The contract's `source_channel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    Organic,
    Paid,
    Direct,
    Referral,
    Social,
    Email,
    Display,
    Local,
    Offline,
    Other,
    Unknown,
}

impl Channel {
    pub const ALL: [Channel; 11] = [
        Channel::Organic,
        Channel::Paid,
        Channel::Direct,
        Channel::Referral,
        Channel::Social,
        Channel::Email,
        Channel::Display,
        Channel::Local,
        Channel::Offline,
        Channel::Other,
        Channel::Unknown,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Organic => "organic",
            Channel::Paid => "paid",
            Channel::Direct => "direct",
            Channel::Referral => "referral",
            Channel::Social => "social",
            Channel::Email => "email",
            Channel::Display => "display",
            Channel::Local => "local",
            Channel::Offline => "offline",
            Channel::Other => "other",
            Channel::Unknown => "unknown",
        }
    }

    pub fn parse(text: &str) -> Option<Channel> {
        Channel::ALL.into_iter().find(|channel| channel.as_str() == text)
    }

    /// Channels in which a search may have led to the visit.
    fn may_follow_search(self) -> bool {
        match self {
            Channel::Organic | Channel::Paid | Channel::Local => true,
            Channel::Direct
            | Channel::Referral
            | Channel::Social
            | Channel::Email
            | Channel::Display
            | Channel::Offline
            | Channel::Other
            | Channel::Unknown => false,
        }
    }
}

/// A network's id of one click.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClickId {
    pub kind: ClickKind,
    pub value: String,
}

/// The parameter that a click id comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClickKind {
    Gclid,
    Gbraid,
    Wbraid,
    Dclid,
    Msclkid,
    Fbclid,
    Ttclid,
    LiFatId,
    Twclid,
}

impl ClickKind {
    pub const ALL: [ClickKind; 9] = [
        ClickKind::Gclid,
        ClickKind::Gbraid,
        ClickKind::Wbraid,
        ClickKind::Dclid,
        ClickKind::Msclkid,
        ClickKind::Fbclid,
        ClickKind::Ttclid,
        ClickKind::LiFatId,
        ClickKind::Twclid,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            ClickKind::Gclid => "gclid",
            ClickKind::Gbraid => "gbraid",
            ClickKind::Wbraid => "wbraid",
            ClickKind::Dclid => "dclid",
            ClickKind::Msclkid => "msclkid",
            ClickKind::Fbclid => "fbclid",
            ClickKind::Ttclid => "ttclid",
            ClickKind::LiFatId => "li_fat_id",
            ClickKind::Twclid => "twclid",
        }
    }

    /// The lowest decides the channel when an address has several: certainly paid, then banners, then perhaps paid.
    fn rank(self) -> u8 {
        match self {
            ClickKind::Gclid
            | ClickKind::Gbraid
            | ClickKind::Wbraid
            | ClickKind::Msclkid
            | ClickKind::Ttclid
            | ClickKind::LiFatId
            | ClickKind::Twclid => 0,
            ClickKind::Dclid => 1,
            ClickKind::Fbclid => 2,
        }
    }
}

/// Campaign parameters, as somebody wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Utm {
    pub source: String,
    pub medium: String,
    pub campaign: String,
    pub term: String,
    pub content: String,
    pub id: String,
}

/// Where a visit came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub channel: Channel,
    /// `utm_source` as written, else the engine's or network's name in lower case, else the referring host without
    /// `www.` (of an app, its package). Empty for direct.
    pub source: String,
    pub utm: Utm,
    /// One of a kind, in the order of [`ClickKind::ALL`].
    pub click_ids: Vec<ClickId>,
    /// `utm_term`, else the words searched for, else `(not provided)` for organic search, else empty.
    pub keyword: String,
    /// Cleaned; empty if there was none, it was of the same site, or it was no address.
    pub referrer: String,
    /// The search engine's name in lower case when the visit followed a search, as far as that is known; paid clicks
    /// count as their network's.
    pub search_engine: String,
}

impl Source {
    /// Google's click id, or "".
    pub fn gclid(&self) -> &str {
        self.click_ids.iter().find(|click| click.kind == ClickKind::Gclid).map_or("", |click| &click.value)
    }

    pub fn is_direct(&self) -> bool {
        self.channel == Channel::Direct
    }
}

/// Where a visit came from, by the address of its landing page and that page's `document.referrer`.
pub fn classify(page: &str, referrer: &str) -> Source {
    let page = split(page).filter(Address::is_web);
    let (utm, click_ids) = page.as_ref().map(params::read).unwrap_or_default();
    let from = refers(referrer, page.as_ref());
    let verdict = by_click_id(&click_ids, &utm, from.as_ref())
        .or_else(|| by_utm(&utm))
        .or_else(|| from.as_ref().map(by_referrer))
        .unwrap_or(Verdict { channel: Channel::Direct, network: "" });
    Source {
        channel: verdict.channel,
        source: source_name(&verdict, &utm, from.as_ref()),
        keyword: keyword(verdict.channel, &utm, from.as_ref()),
        referrer: from.as_ref().map(|from| from.address.clean()).unwrap_or_default(),
        search_engine: search_engine(&verdict, from.as_ref()).to_owned(),
        utm,
        click_ids,
    }
}

/// A referrer that counts.
struct Referring<'a> {
    address: Address<'a>,
    known: Option<&'static Referrer>,
}

impl Referring<'_> {
    fn kind(&self) -> Option<Kind> {
        self.known.map(|known| known.kind)
    }

    /// What it is called: by its own name, or by its host.
    fn name(&self) -> &str {
        match self.known.map(|known| known.name) {
            Some("") | None => self.address.host.strip_prefix("www.").unwrap_or(&self.address.host),
            Some(name) => name,
        }
    }
}

/// None if there is no referrer, it's no page's or app's address, or it's of the same site.
fn refers<'a>(referrer: &'a str, page: Option<&Address<'_>>) -> Option<Referring<'a>> {
    let address = split(referrer)?;
    let app = ["android-app", "ios-app"].iter().any(|scheme| address.scheme.eq_ignore_ascii_case(scheme));
    if !app && !address.is_web() {
        return None;
    }
    if page.is_some_and(|page| address::is_same_host(&page.host, &address.host)) {
        return None;
    }
    let known = referrers::find(&address.host, address.path);
    let known = known.or_else(|| if app { opened_page(address.path) } else { None });
    Some(Referring { address, known })
}

/// An app may say which page it showed: `android-app://com.example.browser/https/www.google.com/search`.
fn opened_page(path: &str) -> Option<&'static Referrer> {
    let rest = path.strip_prefix("/https/").or_else(|| path.strip_prefix("/http/"))?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    referrers::find(host, path)
}

/// What a rule found: the channel and the network's name, "" if the rule knows none.
struct Verdict<'a> {
    channel: Channel,
    network: &'a str,
}

fn by_click_id(clicks: &[ClickId], utm: &Utm, from: Option<&Referring<'_>>) -> Option<Verdict<'static>> {
    let click = clicks.iter().min_by_key(|click| click.kind.rank())?;
    let (channel, network) = match click.kind {
        ClickKind::Gclid | ClickKind::Gbraid | ClickKind::Wbraid => (Channel::Paid, "google"),
        ClickKind::Dclid => (Channel::Display, "google"),
        ClickKind::Msclkid => (Channel::Paid, "bing"),
        ClickKind::Ttclid => (Channel::Paid, "tiktok"),
        ClickKind::LiFatId => (Channel::Paid, "linkedin"),
        ClickKind::Twclid => (Channel::Paid, "twitter"),
        ClickKind::Fbclid => {
            let social = from.and_then(|from| from.known).filter(|known| known.kind == Kind::Social);
            let channel = if Medium::of(&utm.medium).is_bought() { Channel::Paid } else { Channel::Social };
            (channel, social.map_or("facebook", |known| known.name))
        }
    };
    Some(Verdict { channel, network })
}

fn by_utm(utm: &Utm) -> Option<Verdict<'static>> {
    let medium = Medium::of(&utm.medium);
    if utm.source.is_empty() && medium == Medium::Absent {
        return None;
    }
    let named = referrers::find_name(&lower(&utm.source));
    let kind = named.map(|named| named.kind);
    let channel = match medium.channel(kind) {
        Some(channel) => channel,
        None if utm.source.eq_ignore_ascii_case("(direct)") || utm.source.eq_ignore_ascii_case("direct") => {
            Channel::Direct
        }
        None => kind.map_or(Channel::Other, channel_of),
    };
    Some(Verdict { channel, network: named.map_or("", |named| named.name) })
}

fn by_referrer<'a>(from: &'a Referring<'_>) -> Verdict<'a> {
    Verdict { channel: from.kind().map_or(Channel::Referral, channel_of), network: from.name() }
}

/// What a known referrer, or its name alone, says.
fn channel_of(kind: Kind) -> Channel {
    match kind {
        Kind::Search => Channel::Organic,
        Kind::Social => Channel::Social,
        Kind::Email => Channel::Email,
        Kind::Local => Channel::Local,
        Kind::Paid => Channel::Paid,
        Kind::Display => Channel::Display,
        Kind::Assistant | Kind::Plain => Channel::Referral,
    }
}

fn source_name(verdict: &Verdict<'_>, utm: &Utm, from: Option<&Referring<'_>>) -> String {
    if verdict.channel == Channel::Direct {
        return String::new();
    }
    if !utm.source.is_empty() {
        return utm.source.clone();
    }
    let name = if verdict.network.is_empty() { from.map_or("", Referring::name) } else { verdict.network };
    name.to_owned()
}

fn keyword(channel: Channel, utm: &Utm, from: Option<&Referring<'_>>) -> String {
    if !utm.term.is_empty() {
        return utm.term.clone();
    }
    let searched = from.filter(|_| channel.may_follow_search());
    let words = searched.and_then(|from| Some(params::search_words(&from.address, &from.known?.params)));
    match words.filter(|words| !words.is_empty()) {
        Some(words) => words,
        None if channel == Channel::Organic => NOT_PROVIDED.to_owned(),
        None => String::new(),
    }
}

fn search_engine(verdict: &Verdict<'_>, from: Option<&Referring<'_>>) -> &'static str {
    if !verdict.channel.may_follow_search() {
        return "";
    }
    let engine = |known: &&Referrer| known.kind == Kind::Search;
    let referrer = from.and_then(|from| from.known).filter(engine);
    let network = || referrers::find_name(verdict.network).filter(engine);
    referrer.or_else(network).map_or("", |known| known.name)
}

/// What a `utm_medium` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    /// None given, or analytics' own word for none.
    Absent,
    Paid,
    /// Cost per thousand views: what was bought depends on where.
    Cpm,
    Display,
    Email,
    Social,
    Organic,
    Referral,
    Local,
    Offline,
    Direct,
    Other,
}

impl Medium {
    /// In any case, with any punctuation: `Paid-Search`, `paid_search` and `paid search` are one.
    fn of(text: &str) -> Medium {
        /// Longer than any word below.
        const WORD_BYTES_MAX: usize = 32;
        let mut word = [0; WORD_BYTES_MAX];
        let mut length = 0;
        for byte in text.bytes().filter(|b| b.is_ascii_alphanumeric() || !b.is_ascii()) {
            if length == WORD_BYTES_MAX {
                return Medium::Other;
            }
            word[length] = byte.to_ascii_lowercase();
            length += 1;
        }
        Medium::of_word(&word[..length])
    }

    fn of_word(word: &[u8]) -> Medium {
        match word {
            b"" | b"notset" | b"null" | b"undefined" => Medium::Absent,
            b"none" | b"direct" => Medium::Direct,
            b"cpm" => Medium::Cpm,
            b"cpc" | b"ppc" | b"cpa" | b"cpv" | b"cpl" | b"cpp" | b"sem" | b"sea" | b"ad" | b"ads"
            | b"adwords" | b"googleads" | b"retargeting" | b"remarketing" => Medium::Paid,
            word if word.starts_with(b"paid") => Medium::Paid,
            b"display" | b"banner" | b"banners" | b"programmatic" | b"expandable" | b"interstitial"
            | b"native" => Medium::Display,
            b"email" | b"emails" | b"mail" | b"newsletter" | b"newsletters" | b"edm" | b"emailmarketing" => {
                Medium::Email
            }
            b"social" | b"socialmedia" | b"socialnetwork" | b"socialnetworks" | b"sm" | b"organicsocial"
            | b"socialorganic" | b"socialpost" => Medium::Social,
            b"organic" | b"organicsearch" | b"seo" => Medium::Organic,
            b"referral" | b"referrer" | b"affiliate" | b"affiliates" | b"partner" | b"link" => {
                Medium::Referral
            }
            b"local"
            | b"localseo"
            | b"locallisting"
            | b"gmb"
            | b"gbp"
            | b"map"
            | b"maps"
            | b"googlemaps"
            | b"googlemybusiness"
            | b"googlebusinessprofile" => Medium::Local,
            b"offline" | b"print" | b"qr" | b"qrcode" | b"radio" | b"tv" | b"billboard" | b"flyer"
            | b"leaflet" | b"brochure" | b"directmail" | b"postcard" | b"newspaper" | b"magazine"
            | b"ooh" => Medium::Offline,
            _ => Medium::Other,
        }
    }

    /// Somebody paid for the click or the view.
    fn is_bought(self) -> bool {
        match self {
            Medium::Paid | Medium::Cpm | Medium::Display => true,
            Medium::Absent
            | Medium::Email
            | Medium::Social
            | Medium::Organic
            | Medium::Referral
            | Medium::Local
            | Medium::Offline
            | Medium::Direct
            | Medium::Other => false,
        }
    }

    /// The channel, given what the source is. None if the medium says nothing.
    fn channel(self, source: Option<Kind>) -> Option<Channel> {
        Some(match (self, source) {
            (Medium::Absent, _) => return None,
            (Medium::Organic | Medium::Referral | Medium::Social | Medium::Other, Some(Kind::Local)) => {
                Channel::Local
            }
            (Medium::Organic | Medium::Referral, Some(Kind::Social)) => Channel::Social,
            (Medium::Cpm, Some(Kind::Search | Kind::Social | Kind::Paid)) => Channel::Paid,
            (Medium::Paid, _) => Channel::Paid,
            (Medium::Cpm | Medium::Display, _) => Channel::Display,
            (Medium::Email, _) => Channel::Email,
            (Medium::Social, _) => Channel::Social,
            (Medium::Organic, _) => Channel::Organic,
            (Medium::Referral, _) => Channel::Referral,
            (Medium::Local, _) => Channel::Local,
            (Medium::Offline, _) => Channel::Offline,
            (Medium::Direct, _) => Channel::Direct,
            (Medium::Other, _) => Channel::Other,
        })
    }
}

fn lower(text: &str) -> Cow<'_, str> {
    match text.bytes().any(|b| b.is_ascii_uppercase()) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    }
}
