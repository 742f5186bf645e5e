//! What a page's Content-Security-Policy allows, by <https://www.w3.org/TR/CSP3/>.
//!
//! Decides: whether browsers load a script from an address, and whether they let it connect to one. Does not decide:
//! which policies a page has (`fetch`, `page`), what is told about it (`report`). A policy that only reports blocks
//! nothing and never gets here.
//!
//! Odd facts: all policies of a page have to allow a thing. With `'strict-dynamic'` the hosts in a list mean nothing
//! for scripts: a tag needs the page's nonce or a hash. A host without a scheme means the page's scheme, or the safe
//! one. `default-src` stands in for what isn't there, and adding a list of its own then takes nothing from the others.

use url::Url;

/// A policy: its directives, and their sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    directives: Vec<(String, Vec<String>)>,
}

/// A script's tag, as far as policies look at it.
#[derive(Clone, Copy, Debug)]
pub struct Tag<'a> {
    pub nonce: &'a str,
    pub integrity: &'a str,
}

/// Why a policy doesn't allow something.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The directive that decided.
    pub directive: String,
    pub remedy: Remedy,
}

/// What would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// The host in the directive's list.
    Host,
    /// The page's nonce, or a hash, on the tag.
    NonceOrHash,
    /// `allow-scripts` in the directive.
    AllowScripts,
}

impl Policy {
    /// The policies of a header: several can stand in one, between commas.
    pub fn of_header(value: &str) -> Vec<Policy> {
        value.split(',').map(Policy::parse).filter(|policy| !policy.directives.is_empty()).collect()
    }

    /// The policy of a `meta` tag, where some directives mean nothing.
    pub fn of_meta(content: &str) -> Policy {
        let mut policy = Policy::parse(content);
        policy.directives.retain(|(name, _)| name != "sandbox");
        policy
    }

    fn parse(text: &str) -> Policy {
        let mut policy = Policy::default();
        for part in text.split(';') {
            let mut words = part.split_ascii_whitespace();
            let Some(name) = words.next().map(str::to_ascii_lowercase) else { continue };
            // Of two with one name, the first holds.
            if policy.sources(&name).is_none() {
                policy.directives.push((name, words.map(str::to_owned).collect()));
            }
        }
        policy
    }

    /// Whether a page's browser goes to the https address where http is written.
    pub fn upgrades(&self) -> bool {
        self.sources("upgrade-insecure-requests").is_some()
    }

    /// Whether a tag of the page may load a script from this address.
    ///
    /// # Errors
    /// Says what stands against it.
    pub fn check_script(&self, page: &Url, url: &Url, tag: Tag<'_>) -> Result<(), Refusal> {
        if let Some(sandbox) = self.sources("sandbox")
            && !sandbox.iter().any(|word| word.eq_ignore_ascii_case("allow-scripts"))
        {
            return Err(Refusal { directive: "sandbox".to_owned(), remedy: Remedy::AllowScripts });
        }
        let Some((directive, sources)) = self.first_of(&["script-src-elem", "script-src", "default-src"])
        else {
            return Ok(());
        };
        let dynamic = has(sources, "'strict-dynamic'");
        let allowed = has_nonce(sources, tag.nonce)
            || has_hashes(sources, tag.integrity)
            || (!dynamic && matches_any(sources, page, url));
        let remedy = if dynamic { Remedy::NonceOrHash } else { Remedy::Host };
        if allowed { Ok(()) } else { Err(Refusal { directive: directive.to_owned(), remedy }) }
    }

    /// Whether a script of the page may connect to this address.
    ///
    /// # Errors
    /// Says what stands against it.
    pub fn check_connection(&self, page: &Url, url: &Url) -> Result<(), Refusal> {
        match self.first_of(&["connect-src", "default-src"]) {
            Some((directive, sources)) if !matches_any(sources, page, url) => {
                Err(Refusal { directive: directive.to_owned(), remedy: Remedy::Host })
            }
            _ => Ok(()),
        }
    }

    fn sources(&self, name: &str) -> Option<&[String]> {
        self.directives.iter().find(|(own, _)| own == name).map(|(_, sources)| sources.as_slice())
    }

    fn first_of<'a>(&'a self, names: &[&'a str]) -> Option<(&'a str, &'a [String])> {
        names.iter().find_map(|name| Some((*name, self.sources(name)?)))
    }
}

fn has(sources: &[String], keyword: &str) -> bool {
    sources.iter().any(|source| source.eq_ignore_ascii_case(keyword))
}

/// What stands behind `'prefix-` in a source, up to its closing quote.
fn quoted<'a>(source: &'a str, prefix: &str) -> Option<&'a str> {
    let inner = source.strip_prefix('\'')?.strip_suffix('\'')?;
    let (kind, value) = inner.split_once('-')?;
    kind.eq_ignore_ascii_case(prefix).then_some(value)
}

/// The nonce itself is compared to the letter.
fn has_nonce(sources: &[String], nonce: &str) -> bool {
    !nonce.is_empty() && sources.iter().any(|source| quoted(source, "nonce") == Some(nonce))
}

/// Whether the list has all hashes of the tag's `integrity`.
fn has_hashes(sources: &[String], integrity: &str) -> bool {
    let listed = |kind: &str, value: &str| sources.iter().any(|source| quoted(source, kind) == Some(value));
    let parts = integrity.split_ascii_whitespace().filter_map(|part| part.split('?').next()?.split_once('-'));
    let mut known = parts
        .filter(|(kind, _)| matches!(kind.to_ascii_lowercase().as_str(), "sha256" | "sha384" | "sha512"))
        .peekable();
    known.peek().is_some() && known.all(|(kind, value)| listed(kind, value))
}

fn matches_any(sources: &[String], page: &Url, url: &Url) -> bool {
    sources.iter().any(|source| matches(source, page, url))
}

/// Whether a source of a list matches an address.
fn matches(source: &str, page: &Url, url: &Url) -> bool {
    if source == "*" {
        return is_network(url.scheme()) || url.scheme() == page.scheme();
    }
    if source.eq_ignore_ascii_case("'self'") {
        return is_self(page, url);
    }
    if source.starts_with('\'') {
        return false;
    }
    match source.strip_suffix(':') {
        Some(scheme) if is_scheme(scheme) => scheme_matches(scheme, url.scheme()),
        _ => HostSource::parse(source).is_some_and(|host| host.matches(page, url)),
    }
}

fn is_network(scheme: &str) -> bool {
    matches!(scheme, "http" | "https" | "ws" | "wss")
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The page's own origin, or the same host made safer.
fn is_self(page: &Url, url: &Url) -> bool {
    if page.origin() == url.origin() {
        return true;
    }
    let both_default = page.port().is_none() && url.port().is_none();
    let same_port = page.port_or_known_default() == url.port_or_known_default();
    page.host() == url.host()
        && (same_port || both_default)
        && (matches!(url.scheme(), "https" | "wss") || (page.scheme() == "http" && url.scheme() == "ws"))
}

/// Whether an address of this scheme may be called where the list has that one: it, or what is safer.
fn scheme_matches(listed: &str, scheme: &str) -> bool {
    match listed.to_ascii_lowercase().as_str() {
        "http" => matches!(scheme, "http" | "https"),
        "ws" => matches!(scheme, "ws" | "wss" | "http" | "https"),
        "wss" => matches!(scheme, "wss" | "https"),
        other => other == scheme,
    }
}

/// `[scheme://]host[:port][/path]`
#[derive(Debug)]
struct HostSource<'a> {
    scheme: Option<&'a str>,
    host: &'a str,
    port: Option<&'a str>,
    path: &'a str,
}

impl<'a> HostSource<'a> {
    fn parse(source: &'a str) -> Option<HostSource<'a>> {
        let (scheme, rest) = match source.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
            Some(_) => return None,
            None => (None, source),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let known_port = |port: &str| port == "*" || port.parse::<u16>().is_ok();
        let valid = !host.is_empty() && port.is_none_or(known_port) && !path.contains(['?', '#']);
        valid.then_some(HostSource { scheme, host, port, path })
    }

    fn matches(&self, page: &Url, url: &Url) -> bool {
        scheme_matches(self.scheme.unwrap_or(page.scheme()), url.scheme())
            && url.host_str().is_some_and(|host| self.host_matches(host))
            && self.port_matches(url)
            && self.path_matches(url.path())
    }

    fn host_matches(&self, host: &str) -> bool {
        let listed = self.host.to_ascii_lowercase();
        match listed.strip_prefix('*') {
            Some("") => true,
            Some(domain) if domain.starts_with('.') => host.ends_with(domain) && host.len() > domain.len(),
            Some(_) => false,
            None => listed == host,
        }
    }

    fn port_matches(&self, url: &Url) -> bool {
        let actual = url.port_or_known_default();
        match self.port {
            None => url.port().is_none(),
            Some("*") => true,
            // What is written for http holds for https.
            Some("80") if url.scheme() == "https" => matches!(actual, Some(80 | 443)),
            Some(port) => port.parse().ok() == actual,
        }
    }

    /// A path that ends with `/` stands for all below it.
    fn path_matches(&self, path: &str) -> bool {
        let decoded = |text: &str| -> Vec<u8> { percent_encoding::percent_decode_str(text).collect() };
        if self.path.is_empty() || self.path == "/" {
            return true;
        }
        let (listed, actual): (Vec<_>, Vec<_>) =
            (self.path.split('/').map(decoded).collect(), path.split('/').map(decoded).collect());
        match listed.split_last() {
            Some((last, folders)) if last.is_empty() => {
                actual.starts_with(folders) && actual.len() > folders.len()
            }
            _ => listed == actual,
        }
    }
}

#[cfg(test)]
mod tests;
