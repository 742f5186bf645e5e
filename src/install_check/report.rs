//! What is told of a page: each thing that keeps its calls from being tracked, as a sentence for the people of the
//! company.
//!
//! Decides: what is a problem, and its words. Takes values and gives values.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use url::Url;

use super::csp::{Policy, Refusal, Remedy, Tag};
use super::fetch::{Content, Fetched};
use super::numbers::{self, Found, Known, Place};
use super::page::{self, Page, Script};
use super::script;
use crate::kernel::clock::Micros;
use crate::kernel::id::TrackerId;
use crate::kernel::phone::PhoneNumber;

/// Numbers that are named one by one in the problems, of each kind.
const NAMED_MAX: usize = 20;
/// So much of a text of the page is repeated, in characters.
const REPEATED_CHARS_MAX: usize = 100;

/// The site that a page should belong to.
#[derive(Clone, Debug)]
pub struct Site {
    pub public_url: Url,
    pub site_key: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

/// A tracker, as far as pages show it.
#[derive(Clone, Debug)]
pub struct Shown {
    pub id: TrackerId,
    pub name: String,
    /// What it replaces.
    pub targets: Vec<PhoneNumber>,
    pub numbers: Vec<PhoneNumber>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    ScriptMissing,
    ScriptTwice,
    ScriptOfOtherCompany,
    ScriptBlockedByCsp,
    ConnectBlockedByCsp,
    NonceOrHashRequired,
    MixedContent,
    TargetMissing,
    TrackingNumberOnPage,
    NoNumbers,
    NotHtml,
    HttpError,
}

impl ProblemKind {
    pub const ALL: [ProblemKind; 12] = [
        ProblemKind::ScriptMissing,
        ProblemKind::ScriptTwice,
        ProblemKind::ScriptOfOtherCompany,
        ProblemKind::ScriptBlockedByCsp,
        ProblemKind::ConnectBlockedByCsp,
        ProblemKind::NonceOrHashRequired,
        ProblemKind::MixedContent,
        ProblemKind::TargetMissing,
        ProblemKind::TrackingNumberOnPage,
        ProblemKind::NoNumbers,
        ProblemKind::NotHtml,
        ProblemKind::HttpError,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            ProblemKind::ScriptMissing => "script_missing",
            ProblemKind::ScriptTwice => "script_twice",
            ProblemKind::ScriptOfOtherCompany => "script_of_other_company",
            ProblemKind::ScriptBlockedByCsp => "script_blocked_by_csp",
            ProblemKind::ConnectBlockedByCsp => "connect_blocked_by_csp",
            ProblemKind::NonceOrHashRequired => "nonce_or_hash_required",
            ProblemKind::MixedContent => "mixed_content",
            ProblemKind::TargetMissing => "target_missing",
            ProblemKind::TrackingNumberOnPage => "tracking_number_on_page",
            ProblemKind::NoNumbers => "no_numbers",
            ProblemKind::NotHtml => "not_html",
            ProblemKind::HttpError => "http_error",
        }
    }

    /// Whether it keeps the script from doing its work.
    fn is_of_script(self) -> bool {
        use ProblemKind as Kind;
        match self {
            Kind::ScriptMissing
            | Kind::ScriptTwice
            | Kind::ScriptOfOtherCompany
            | Kind::ScriptBlockedByCsp
            | Kind::ConnectBlockedByCsp
            | Kind::NonceOrHashRequired
            | Kind::MixedContent => true,
            Kind::TargetMissing
            | Kind::TrackingNumberOnPage
            | Kind::NoNumbers
            | Kind::NotHtml
            | Kind::HttpError => false,
        }
    }
}

#[derive(Clone, Debug)]
struct Problem {
    kind: ProblemKind,
    text: String,
}

/// See the module.
#[derive(Debug)]
pub struct Report {
    url: Url,
    status: Option<u16>,
    fetched_at: Micros,
    truncated: bool,
    /// The script's tags that browsers run.
    scripts: usize,
    has_policy: bool,
    policy_problems: Vec<String>,
    numbers: Vec<Json>,
    missing_targets: Vec<Json>,
    problems: Vec<Problem>,
}

impl Report {
    /// The object of the API.
    pub fn to_json(&self) -> Json {
        let of_script: Vec<_> = self.problems.iter().filter(|problem| problem.kind.is_of_script()).collect();
        let texts: Vec<_> = of_script.iter().map(|problem| problem.text.as_str()).collect();
        let problems: Vec<_> = self
            .problems
            .iter()
            .map(|problem| json!({ "kind": problem.kind.as_str(), "text": problem.text }))
            .collect();
        json!({
            "url": self.url.as_str(),
            "status": self.status,
            "fetched_at": self.fetched_at.rfc3339(),
            "truncated": self.truncated,
            "ok": self.problems.is_empty(),
            "script": { "found": self.scripts, "ok": self.scripts == 1 && texts.is_empty(), "problems": texts },
            "numbers": self.numbers,
            "missing_targets": self.missing_targets,
            "csp": { "present": self.has_policy, "problems": self.policy_problems },
            "problems": problems,
        })
    }

    fn add(&mut self, kind: ProblemKind, text: impl Into<String>) {
        self.problems.push(Problem { kind, text: text.into() });
    }
}

/// Says what is to be said of a page.
pub fn judge(site: &Site, fetched: &Fetched, fetched_at: Micros, trackers: &[Shown]) -> Report {
    let mut report = Report {
        url: fetched.url.clone(),
        status: fetched.status,
        fetched_at,
        truncated: fetched.truncated,
        scripts: 0,
        has_policy: false,
        policy_problems: Vec::new(),
        numbers: Vec::new(),
        missing_targets: Vec::new(),
        problems: Vec::new(),
    };
    match &fetched.content {
        Content::Failed(text) => report.add(ProblemKind::HttpError, text),
        Content::Other(what) => {
            let text = format!("What is at this address is {}, not an HTML page.", repeated(what));
            report.add(ProblemKind::NotHtml, text);
        }
        Content::Html { text, policies } => {
            let page = page::read(text);
            judge_script(&mut report, site, &page, policies);
            judge_numbers(&mut report, site, &page, trackers);
        }
    }
    report
}

/// One of the page's tags that names a script of this server.
struct OurTag<'a> {
    /// Which of the page's scripts it is.
    index: usize,
    tag: &'a Script,
    src: Url,
}

fn judge_script(report: &mut Report, site: &Site, page: &Page, header_policies: &[Policy]) {
    let base = page.base.as_deref().and_then(|href| report.url.join(href).ok());
    let base = base.unwrap_or_else(|| report.url.clone());
    let mut ours = Vec::new();
    let mut others = BTreeSet::new();
    for (index, tag) in page.scripts.iter().enumerate() {
        let Ok(src) = base.join(&tag.src) else { continue };
        match script::site_key(&site.public_url, &src).map(str::to_owned) {
            Some(key) if key == site.site_key => ours.push(OurTag { index, tag, src }),
            Some(key) => _ = others.insert(key),
            None => {}
        }
    }
    let (held, run): (Vec<_>, Vec<_>) = ours.into_iter().partition(|our| our.tag.held_back);
    report.scripts = run.len();
    match run.len() {
        0 => report.add(ProblemKind::ScriptMissing, text_of_missing(site, page, !held.is_empty())),
        1 => {}
        n => {
            let text = format!("The script is on the page {n} times; once is enough.");
            report.add(ProblemKind::ScriptTwice, text);
        }
    }
    if let Some(key) = others.first() {
        let text = format!(
            "The page has another company's script (site key {}): calls are credited to that company, too.",
            repeated(key),
        );
        report.add(ProblemKind::ScriptOfOtherCompany, text);
    }
    judge_policies(report, site, page, header_policies, run.first());
}

fn text_of_missing(site: &Site, page: &Page, is_held: bool) -> String {
    let folder = script::folder(&site.public_url, &site.site_key);
    let (manager, path) = ("googletagmanager.com", format!("dni/{}/tracker", site.site_key));
    let names = |text: &str| page.inline_scripts.iter().any(|script| script.contains(text));
    let is_managed = names(manager) || page.scripts.iter().any(|script| script.src.contains(manager));
    if is_held {
        "The script's tag is held back, by its type or by data-src, as consent managers do it: browsers run it only \
         when something on the page releases it, and that can't be seen from here."
            .to_owned()
    } else if names(&path) {
        "No tag of the page loads the script. One of the page's own scripts names it, and whether that loads it can't \
         be seen from here."
            .to_owned()
    } else if is_managed {
        "The script isn't in the page itself. The page uses Google Tag Manager, and what that inserts can't be seen \
         from here: look there for a tag with the script."
            .to_owned()
    } else {
        format!(
            "The script isn't on the page. Put this into its head: <script async src=\"{folder}tracker.js\"></script>"
        )
    }
}

/// What browsers won't load or connect to. A page without the script is judged as if it had it.
fn judge_policies(
    report: &mut Report,
    site: &Site,
    page: &Page,
    header_policies: &[Policy],
    ours: Option<&OurTag<'_>>,
) {
    let in_page: Vec<_> = page.policies.iter().map(|meta| (Policy::of_meta(&meta.content), meta)).collect();
    let all: Vec<&Policy> = header_policies.iter().chain(in_page.iter().map(|(policy, _)| policy)).collect();
    report.has_policy = !all.is_empty();
    let bound = in_page.iter().filter(|(_, meta)| ours.is_none_or(|our| our.index >= meta.scripts_before));
    let for_script: Vec<&Policy> = header_policies.iter().chain(bound.map(|(policy, _)| policy)).collect();

    let folder = script::folder(&site.public_url, &site.site_key);
    let src = address_of(ours, &folder, all.iter().any(|policy| policy.upgrades()));
    if report.url.scheme() == "https" && src.scheme() == "http" {
        report.add(
            ProblemKind::MixedContent,
            "The page's address begins with https://, the script's with http://: browsers don't load it.",
        );
    }
    let tag = ours.map_or(Tag { nonce: "", integrity: "" }, |our| Tag {
        nonce: &our.tag.nonce,
        integrity: &our.tag.integrity,
    });
    let refused = for_script.iter().filter_map(|policy| policy.check_script(&report.url, &src, tag).err());
    let refused: Vec<Refusal> = refused.collect();
    for refusal in different(refused) {
        add_refused_script(report, &refusal, &src);
    }
    // Where the script asks for numbers first.
    let asked = folder.join("session").unwrap_or(folder);
    let refused =
        all.iter().filter_map(|policy| policy.check_connection(&report.url, &asked).err()).collect();
    for refusal in different(refused) {
        add_refused_connection(report, &refusal, &asked);
    }
}

/// Where browsers look for the script.
fn address_of(ours: Option<&OurTag<'_>>, folder: &Url, upgrades: bool) -> Url {
    let written = ours.map(|our| our.src.clone()).or_else(|| folder.join("tracker.js").ok());
    let mut src = written.unwrap_or_else(|| folder.clone());
    if upgrades && src.scheme() == "http" {
        // Between these two schemes it can be changed.
        let _ = src.set_scheme("https");
    }
    src
}

/// Each once, in their order.
fn different(refusals: Vec<Refusal>) -> Vec<Refusal> {
    let mut seen: Vec<Refusal> = Vec::new();
    for refusal in refusals {
        if !seen.contains(&refusal) {
            seen.push(refusal);
        }
    }
    seen
}

fn add_refused_script(report: &mut Report, refusal: &Refusal, src: &Url) {
    let (host, directive) = (src.origin().ascii_serialization(), &refusal.directive);
    match refusal.remedy {
        Remedy::Host => {
            report.policy_problems.push(format!("{directive} doesn't allow {host}"));
            let text = format!(
                "The page's Content-Security-Policy keeps browsers from loading the script. {}",
                advice(directive, "script-src", &host),
            );
            report.add(ProblemKind::ScriptBlockedByCsp, text);
        }
        Remedy::NonceOrHash => {
            report
                .policy_problems
                .push(format!("{directive} has 'strict-dynamic' and wants a nonce or a hash"));
            let text = format!(
                "The page's Content-Security-Policy has 'strict-dynamic' in {directive}: the script's tag needs the \
                 page's nonce, or an integrity whose hash is in the policy. Naming the host is not enough.",
            );
            report.add(ProblemKind::NonceOrHashRequired, text);
        }
        Remedy::AllowScripts => {
            report.policy_problems.push("sandbox doesn't have allow-scripts".to_owned());
            let text =
                "The page's Content-Security-Policy has a sandbox without allow-scripts: no script runs.";
            report.add(ProblemKind::ScriptBlockedByCsp, text);
        }
    }
}

fn add_refused_connection(report: &mut Report, refusal: &Refusal, asked: &Url) {
    let host = asked.origin().ascii_serialization();
    report.policy_problems.push(format!("{} doesn't allow {host}", refusal.directive));
    let text = format!(
        "The page's Content-Security-Policy keeps the script from asking for numbers. {}",
        advice(&refusal.directive, "connect-src", &host),
    );
    report.add(ProblemKind::ConnectBlockedByCsp, text);
}

/// What to write where only `default-src` spoke: a list of its own takes its place, so it has to have the rest, too.
fn advice(directive: &str, own: &str, host: &str) -> String {
    if directive == "default-src" {
        format!("Give it a {own} with what default-src has and {host}.")
    } else {
        format!("Add {host} to {directive}.")
    }
}

fn judge_numbers(report: &mut Report, site: &Site, page: &Page, trackers: &[Shown]) {
    let mut replaced: BTreeMap<&PhoneNumber, Vec<&Shown>> = BTreeMap::new();
    let mut tracking: BTreeMap<&PhoneNumber, &Shown> = BTreeMap::new();
    for tracker in trackers {
        for target in &tracker.targets {
            replaced.entry(target).or_default().push(tracker);
        }
        tracking.extend(tracker.numbers.iter().map(|number| (number, tracker)));
    }
    let known = Known::new(replaced.keys().chain(tracking.keys()).copied());
    let found = numbers::find(&page.texts, &known, &site.country);

    let mut typed_in = Vec::new();
    for (number, there) in &found {
        let targets_of = replaced.get(number).map_or(&[][..], Vec::as_slice);
        report.numbers.push(number_json(number, there, targets_of, tracking.contains_key(number)));
        // A number that is replaced is a place for one, whoever's it is.
        typed_in
            .extend(tracking.get(number).filter(|_| targets_of.is_empty()).map(|tracker| (there, *tracker)));
    }
    for (there, tracker) in typed_in.into_iter().take(NAMED_MAX) {
        let text = format!(
            "{} is a tracking number of {} and is typed into the page: its calls count for that tracker, whatever \
             brought the caller. Write the company's own number there.",
            there.text, tracker.name,
        );
        report.add(ProblemKind::TrackingNumberOnPage, text);
    }
    replaced.retain(|number, _| !found.contains_key(*number));
    add_missing(report, &replaced, found.is_empty());
}

/// What is replaced and isn't there.
fn add_missing(report: &mut Report, missing: &BTreeMap<&PhoneNumber, Vec<&Shown>>, is_without_numbers: bool) {
    for (number, trackers) in missing {
        report.missing_targets.extend(trackers.iter().map(|tracker| {
            json!({ "tracker_id": tracker.id, "tracker_name": tracker.name, "swap_target": number })
        }));
    }
    if is_without_numbers {
        let text = "No phone number is on the page, so none can be replaced. Numbers that other scripts put there \
                    can't be seen from here.";
        return report.add(ProblemKind::NoNumbers, text);
    }
    for (number, trackers) in missing.iter().take(NAMED_MAX) {
        let more = trackers.len() - 1;
        let others = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        let name = trackers.first().map_or("", |tracker| tracker.name.as_str());
        let text = format!("{number}, which {name}{others} replaces, is nowhere on the page.");
        report.add(ProblemKind::TargetMissing, text);
    }
}

fn number_json(number: &PhoneNumber, found: &Found, targets_of: &[&Shown], is_tracking: bool) -> Json {
    let trackers: Vec<_> =
        targets_of.iter().map(|tracker| json!({ "id": tracker.id, "name": tracker.name })).collect();
    let places: Vec<_> = found.places.iter().copied().map(Place::as_str).collect();
    json!({
        "text": found.text,
        "number": number,
        "places": places,
        "count": found.count,
        "trackers": trackers,
        "is_tracking_number": is_tracking,
    })
}

/// A text of a stranger's, cut.
fn repeated(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(REPEATED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
