//! Which visitors see which tracker's number. Pure.
//!
//! For each number on the site that is replaced, trackers are tried in the order of [`Rank`]; the first whose rule
//! matches wins, so a campaign always beats a pool. Of two with the same rule the older one is tried first. Each
//! rule says why it matched or didn't, in words for the people of the company.

use crate::trackers::{Settings, TrackerType};

use super::Touch;

/// Where a tracker stands among others that replace the same number: smaller is tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    Search,
    LandingPage,
    Referral,
    CampaignParameters,
    Direct,
    Always,
    Pool,
}

impl Rank {
    /// None: the tracker is never shown on a site.
    pub fn of(settings: &Settings) -> Option<Rank> {
        match settings.tracker_type {
            TrackerType::Offline => None,
            TrackerType::NumberPool => Some(Rank::Pool),
            TrackerType::Campaign => match settings.campaign_source.as_str() {
                "search" => Some(Rank::Search),
                "landing_page" => Some(Rank::LandingPage),
                "referral" => Some(Rank::Referral),
                "campaign_parameters" => Some(Rank::CampaignParameters),
                "direct" => Some(Rank::Direct),
                "always" => Some(Rank::Always),
                _ => None,
            },
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Rank::Search => "campaign/search",
            Rank::LandingPage => "campaign/landing_page",
            Rank::Referral => "campaign/referral",
            Rank::CampaignParameters => "campaign/campaign_parameters",
            Rank::Direct => "campaign/direct",
            Rank::Always => "campaign/always",
            Rank::Pool => "number_pool",
        }
    }
}

/// Whether a rule matches, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub matched: bool,
    pub why: String,
}

fn verdict(matched: bool, why: String) -> Verdict {
    Verdict { matched, why }
}

/// A visit as rules see it: what it is credited to, and its own first page.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    pub touch: &'a Touch,
    pub landing_page: &'a str,
}

/// Tries a tracker's rule.
pub fn matches(rank: Rank, settings: &Settings, visit: Visit<'_>) -> Verdict {
    match rank {
        Rank::Search => search(&settings.campaign_search_from, &settings.campaign_search_for, visit.touch),
        Rank::LandingPage => landing_page(&settings.campaign_landing_page, visit.landing_page),
        Rank::Referral => referral(&settings.campaign_referral, visit.touch),
        Rank::CampaignParameters => parameters(&settings.campaign_campaign_parameters, visit),
        Rank::Direct => {
            let direct = visit.touch.is_direct();
            verdict(direct, if direct { "nothing led to the visit".to_owned() } else { came_by(visit.touch) })
        }
        Rank::Always => verdict(true, "it matches every visit".to_owned()),
        Rank::Pool => verdict(true, "each visitor gets a number of their own".to_owned()),
    }
}

fn came_by(touch: &Touch) -> String {
    match touch.source.as_str() {
        "" => format!("the visit's channel is {}", touch.channel),
        source => format!("the visit came from {source} ({})", touch.channel),
    }
}

/// Comma-separated words, in lower case.
fn words(text: &str) -> Vec<String> {
    text.split([',', '\n']).map(|word| word.trim().to_lowercase()).filter(|word| !word.is_empty()).collect()
}

fn is_any(words: &[String]) -> bool {
    words.is_empty() || words.iter().any(|word| word == "all")
}

fn search(from: &str, what: &str, touch: &Touch) -> Verdict {
    let engine = match touch.search_engine.as_str() {
        // A click id or utm_source names the engine as well as a referrer does.
        "" => &touch.source,
        engine => engine,
    };
    let is_search = matches!(touch.channel.as_str(), "organic" | "paid");
    if !is_search {
        return verdict(false, came_by(touch));
    }
    let engines = words(from);
    if !is_any(&engines) && !engines.contains(&engine.to_lowercase()) {
        return verdict(false, format!("the search was at {engine}, not {}", engines.join(" or ")));
    }
    let wanted = words(what);
    if is_any(&wanted) || wanted.contains(&touch.channel) {
        return verdict(true, format!("a search at {engine} ({})", touch.channel));
    }
    let keyword = touch.keyword.to_lowercase();
    let found =
        wanted.iter().find(|word| !matches!(word.as_str(), "paid" | "organic") && keyword.contains(*word));
    match found {
        Some(word) => verdict(true, format!("the keyword has {word:?}")),
        None => {
            let had =
                if keyword.is_empty() { "no keyword".to_owned() } else { format!("the keyword {keyword:?}") };
            verdict(false, format!("the search was {} and had {had}", touch.channel))
        }
    }
}

fn landing_page(patterns: &str, page: &str) -> Verdict {
    let patterns = words(patterns);
    let lower = page.to_lowercase();
    match patterns.iter().find(|pattern| is_page(pattern, &lower)) {
        Some(pattern) => verdict(true, format!("the first page matches {pattern:?}")),
        None => verdict(false, format!("the first page matches none of: {}", patterns.join(", "))),
    }
}

/// A pattern with `*` must match the whole of host, path and query (or path and query, if it begins with `/`);
/// one without need only be in it.
fn is_page(pattern: &str, page: &str) -> bool {
    let without_scheme = |text: &str| text.split_once("://").map_or(text, |(_, rest)| rest).to_owned();
    let (pattern, page) = (without_scheme(pattern), without_scheme(page));
    if !pattern.contains('*') {
        return page.contains(&pattern);
    }
    let path = page.find('/').map_or("", |at| &page[at..]);
    let subject = if pattern.starts_with('/') { path } else { &page };
    wildcard(&pattern, subject)
}

/// Whether `*` in a pattern, each standing for anything, makes it the text. Linear but for the search of each part.
fn wildcard(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn referral(hosts: &str, touch: &Touch) -> Verdict {
    let host = url::Url::parse(&touch.referrer).ok().and_then(|url| url.host_str().map(str::to_lowercase));
    let Some(host) = host else { return verdict(false, "no page led to the visit".to_owned()) };
    let bare = host.strip_prefix("www.").unwrap_or(&host);
    let hosts = words(hosts);
    if is_any(&hosts) {
        let matched = touch.channel == "referral";
        return verdict(matched, if matched { format!("a link on {bare}") } else { came_by(touch) });
    }
    let is_below = |wanted: &String| {
        let wanted = wanted.strip_prefix("www.").unwrap_or(wanted);
        bare == wanted || bare.strip_suffix(wanted).is_some_and(|rest| rest.ends_with('.'))
    };
    match hosts.iter().find(|wanted| is_below(wanted)) {
        Some(wanted) => verdict(true, format!("a link on {wanted}")),
        None => verdict(false, format!("the link was on {bare}, not {}", hosts.join(" or "))),
    }
}

fn parameters(wanted: &str, visit: Visit<'_>) -> Verdict {
    let wanted: Vec<(String, String)> =
        form_urlencoded::parse(wanted.trim().trim_start_matches('?').as_bytes())
            .map(|(name, value)| (name.to_lowercase(), value.to_lowercase()))
            .collect();
    if wanted.is_empty() {
        return verdict(false, "the rule names no parameters".to_owned());
    }
    // A later visit of the same source has them on its first page.
    let pages = [visit.landing_page, visit.touch.landing_page.as_str()];
    let lacking = pages.map(|page| lacking(&wanted, page));
    match lacking {
        [None, _] | [_, None] => verdict(true, "the first page has the parameters".to_owned()),
        [Some(name), Some(_)] => verdict(false, format!("the first page doesn't say {name}")),
    }
}

/// The first of the wanted parameters that a URL lacks.
fn lacking(wanted: &[(String, String)], page: &str) -> Option<String> {
    let query = page.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or("");
    let has: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| (name.to_lowercase(), value.to_lowercase()))
        .collect();
    let is_there = |(name, value): &&(String, String)| {
        has.iter().any(|(n, v)| n == name && (value == "*" && !v.is_empty() || v == value))
    };
    wanted.iter().find(|one| !is_there(one)).map(|(name, value)| format!("{name}={value}"))
}
