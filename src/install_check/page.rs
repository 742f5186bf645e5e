//! What of an HTML page matters to the script on it.
//!
//! Decides: which texts the script would look at (and what belongs to one text although tags divide it), which scripts
//! the page runs, which policies it has. Does not decide: what is a phone number (`numbers`), what a policy allows
//! (`csp`).
//!
//! The library makes tokens of the page as browsers do; what is open when is kept track of here, by the few rules of
//! <https://html.spec.whatwg.org/#parsing-main-inbody> that decide it on real pages. A browser's whole tree isn't
//! built, because tables, forms and frames matter to nothing here, and because building it takes time quadratic in
//! the depth.
//!
//! Odd facts: a `meta` policy holds only in the head, and only for what comes after it. `<script type="text/plain">`
//! is how consent managers keep a script from running; they put its address into a `data-` attribute often enough.
//! Pages that aren't UTF-8 are nearly always windows-1252, whose blank and dashes stand in phone numbers.

use std::convert::Infallible;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};

use super::numbers::{EDGE, Place, Text};
use super::stack::{self, Element, Stack};

/// What a page has.
#[derive(Debug, Default)]
pub struct Page {
    pub texts: Vec<Text>,
    /// Those with an address, in their order.
    pub scripts: Vec<Script>,
    /// The texts of the others that run.
    pub inline_scripts: Vec<String>,
    pub policies: Vec<MetaPolicy>,
    /// The `href` of the first `base` that has one.
    pub base: Option<String>,
}

/// A `script` that loads something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    pub src: String,
    /// Browsers don't run it as it is: its type is another, or its address is in a `data-` attribute.
    pub held_back: bool,
    pub nonce: String,
    pub integrity: String,
}

/// A Content-Security-Policy in the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaPolicy {
    pub content: String,
    /// How many of [`Page::scripts`] come before it, and aren't bound by it.
    pub scripts_before: usize,
}

/// Reads a page. Never fails: browsers make something of every text, too.
pub fn read(html: &str) -> Page {
    let mut reader = Reader::default();
    let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, _: Span<()>| {
        reader.take(event);
        None::<Infallible>
    });
    emitter.naively_switch_states(true);
    let Ok(()) = Tokenizer::new_with_emitter(html, emitter).finish();
    reader.end_text();
    reader.page
}

/// The text of a page: UTF-8, and what isn't as windows-1252 has it.
pub fn decode(body: &[u8]) -> String {
    let mut text = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| match byte {
            0x95 => '•',
            0x96 => '–',
            0x97 => '—',
            other => char::from(*other),
        }));
    }
    text
}

/// Attributes that matter; of the `data-…src` ones the first, as [`HELD_SRC`].
const ATTRIBUTES: [&str; 15] = [
    "src",
    "type",
    "nonce",
    "nomodule",
    "integrity",
    "http-equiv",
    "content",
    "href",
    "aria-label",
    "title",
    "alt",
    "contenteditable",
    "data-ct-noswap",
    "language",
    HELD_SRC,
];
const HELD_SRC: &str = "data-src";

/// A start tag.
#[derive(Debug, Default)]
struct Tag {
    name: String,
    attributes: Vec<(&'static str, String)>,
    /// The value that comes now is of the last of them.
    wanted: bool,
}

impl Tag {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    fn begin_attribute(&mut self, name: &[u8]) {
        let is_held = name.starts_with(b"data-") && name.ends_with(b"src");
        let name = if is_held { HELD_SRC.as_bytes() } else { name };
        let known = ATTRIBUTES.into_iter().find(|known| known.as_bytes() == name);
        // Of two with one name, the first holds.
        let known = known.filter(|name| !self.has(name));
        self.wanted = known.is_some();
        self.attributes.extend(known.map(|name| (name, String::new())));
    }

    fn end_attribute(&mut self, value: &[u8]) {
        if let Some((_, place)) = self.attributes.last_mut().filter(|_| self.wanted) {
            place.push_str(&String::from_utf8_lossy(value));
        }
    }

    /// Whether the script leaves what is in it alone.
    fn is_kept(&self) -> bool {
        let editable = self.get("contenteditable").is_some_and(|text| !text.eq_ignore_ascii_case("false"));
        stack::is_skipped(&self.name) || editable || self.has("data-ct-noswap")
    }

    /// Whether browsers run a script of this type: <https://html.spec.whatwg.org/#prepare-the-script-element>.
    fn is_run(&self) -> bool {
        let old = self.get("language").filter(|text| !text.is_empty()).map(|text| format!("text/{text}"));
        let kind = self.get("type").map(str::to_owned).or(old).unwrap_or_default();
        let kind = kind.trim_ascii().to_ascii_lowercase();
        let javascript =
            ["javascript", "ecmascript", "x-javascript", "x-ecmascript", "jscript", "livescript"];
        let known = kind.strip_prefix("text/").or_else(|| kind.strip_prefix("application/"));
        let known = known.is_some_and(|name| javascript.contains(&name) || name.starts_with("javascript1."));
        !self.has("nomodule") && (kind.is_empty() || kind == "module" || known)
    }
}

#[derive(Default)]
struct Reader {
    page: Page,
    stack: Stack,
    tag: Option<Tag>,
    text: Option<Text>,
    /// Something of the body has been there.
    in_body: bool,
    /// The script that is open runs.
    running: bool,
}

impl Reader {
    fn take(&mut self, event: CallbackEvent<'_>) {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                let name = String::from_utf8_lossy(name).into_owned();
                self.tag = Some(Tag { name, ..Tag::default() });
            }
            CallbackEvent::AttributeName { name } => {
                // End tags can have attributes, which mean nothing.
                if let Some(tag) = &mut self.tag {
                    tag.begin_attribute(name);
                }
            }
            CallbackEvent::AttributeValue { value } => {
                if let Some(tag) = &mut self.tag {
                    tag.end_attribute(value);
                }
            }
            CallbackEvent::CloseStartTag { self_closing } => {
                if let Some(tag) = self.tag.take() {
                    self.start(&tag, self_closing);
                }
            }
            CallbackEvent::EndTag { name } => self.end(&String::from_utf8_lossy(name)),
            CallbackEvent::String { value } => self.add(&String::from_utf8_lossy(value)),
            CallbackEvent::Comment { .. } | CallbackEvent::Doctype { .. } | CallbackEvent::Error(_) => {}
        }
    }

    fn start(&mut self, tag: &Tag, self_closing: bool) {
        if !stack::is_of_head(&tag.name) {
            self.enter_body();
        }
        let kept = tag.is_kept();
        if !stack::is_inline(&tag.name) || kept {
            self.end_text();
        }
        self.stack.make_room_for(&tag.name);
        if !self.stack.is_inert() {
            self.note(tag);
        }
        if !self.stack.is_kept() && !kept && !matches!(tag.name.as_str(), "link" | "meta") {
            self.note_attributes(tag);
        }
        self.running = tag.is_run();
        self.stack.open(Element::new(&tag.name, kept), self_closing);
    }

    fn end(&mut self, name: &str) {
        if !stack::is_inline(name) || self.stack.is_kept() {
            self.end_text();
        }
        self.stack.close(name);
    }

    fn add(&mut self, text: &str) {
        let top = self.stack.top();
        if top == Some("script") {
            if self.running && !self.stack.is_inert() && !text.trim_ascii().is_empty() {
                self.page.inline_scripts.push(text.to_owned());
            }
            return;
        }
        if !text.trim_ascii().is_empty() && !top.is_some_and(stack::is_text_of_head) {
            self.enter_body();
        }
        if self.stack.is_kept() {
            return;
        }
        match &mut self.text {
            Some(present) => {
                present.text.push(EDGE);
                present.text.push_str(text);
            }
            None => self.text = Some(Text { place: Place::Text, text: text.to_owned() }),
        }
    }

    fn enter_body(&mut self) {
        if !self.in_body {
            self.in_body = true;
            self.stack.close("head");
        }
    }

    /// What the page loads and allows.
    fn note(&mut self, tag: &Tag) {
        match tag.name.as_str() {
            "script" => {
                let held = tag.get("src").is_none() && tag.has(HELD_SRC);
                let src = if held { tag.text(HELD_SRC) } else { tag.text("src") };
                if !src.trim_ascii().is_empty() {
                    self.page.scripts.push(Script {
                        src,
                        held_back: held || !tag.is_run(),
                        nonce: tag.text("nonce"),
                        integrity: tag.text("integrity"),
                    });
                }
            }
            "base" => self.page.base = self.page.base.take().or_else(|| tag.get("href").map(str::to_owned)),
            "meta" if !self.in_body => {
                let name = tag.get("http-equiv").unwrap_or_default();
                if name.eq_ignore_ascii_case("content-security-policy") {
                    let scripts_before = self.page.scripts.len();
                    self.page.policies.push(MetaPolicy { content: tag.text("content"), scripts_before });
                }
            }
            _ => {}
        }
    }

    fn note_attributes(&mut self, tag: &Tag) {
        for (name, place) in [("aria-label", Place::AriaLabel), ("title", Place::Title), ("alt", Place::Alt)]
        {
            self.note_text(place, tag.text(name));
        }
        if let Some((place, number)) = tag.get("href").and_then(number_of_link) {
            self.note_text(place, number);
        }
    }

    fn note_text(&mut self, place: Place, text: String) {
        if text.bytes().any(|byte| byte.is_ascii_digit()) {
            self.page.texts.push(Text { place, text });
        }
    }

    /// A text ends here, and what comes is another.
    fn end_text(&mut self) {
        if let Some(text) = self.text.take()
            && text.text.bytes().any(|byte| byte.is_ascii_digit())
        {
            self.page.texts.push(text);
        }
    }
}

/// The number that a link dials: RFC 3966, RFC 5724.
fn number_of_link(href: &str) -> Option<(Place, String)> {
    let (scheme, rest) = href.trim_ascii().split_once(':')?;
    let place = match scheme.to_ascii_lowercase().as_str() {
        "tel" => Place::TelLink,
        "sms" => Place::SmsLink,
        _ => return None,
    };
    let number = rest.split(['?', ';']).next()?;
    Some((place, percent_encoding::percent_decode_str(number).decode_utf8_lossy().into_owned()))
}

#[cfg(test)]
mod tests;
