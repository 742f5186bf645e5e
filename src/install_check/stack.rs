//! What is open at a place of an HTML page: enough of <https://html.spec.whatwg.org/#parsing-main-inbody> to know
//! where a part ends that is left alone, though its page forgets end tags, or has too many.
//!
//! Decides: what a start tag closes, what an end tag closes. Does not decide: what is done with a text.

/// Open elements that are kept track of. Browsers stop at a depth of 512, too, and so a page can't make us slow:
/// looking for what an end tag closes takes so many steps at most.
const DEPTH_MAX: usize = 512;

/// Not closed by an end tag: they are empty.
const VOID: [&str; 18] = [
    "area", "base", "basefont", "bgsound", "br", "col", "embed", "frame", "hr", "img", "input", "keygen",
    "link", "meta", "param", "source", "track", "wbr",
];
/// What the script leaves alone.
const SKIPPED: [&str; 12] = [
    "head", "script", "style", "noscript", "template", "textarea", "input", "select", "iframe", "noembed",
    "noframes", "title",
];
/// What doesn't divide a text, for the script.
const INLINE: [&str; 20] = [
    "a", "abbr", "b", "bdi", "bdo", "code", "em", "font", "i", "label", "mark", "s", "small", "span",
    "strong", "sub", "sup", "time", "u", "wbr",
];
/// What stands in the head; anything else begins the body.
const OF_HEAD: [&str; 14] = [
    "html", "head", "base", "basefont", "bgsound", "link", "meta", "title", "noscript", "noframes", "style",
    "script", "template", "object",
];
/// What an end tag closes across blocks, leaving these open: <https://html.spec.whatwg.org/#formatting>.
const FORMATTING: [&str; 14] =
    ["a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"];
/// Beyond these an ordinary end tag closes nothing: <https://html.spec.whatwg.org/#special>, as far as it is blocks.
const SPECIAL: [&str; 66] = [
    "address",
    "applet",
    "article",
    "aside",
    "blockquote",
    "body",
    "button",
    "caption",
    "center",
    "colgroup",
    "dd",
    "details",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "frameset",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hgroup",
    "html",
    "iframe",
    "li",
    "listing",
    "main",
    "marquee",
    "menu",
    "nav",
    "noembed",
    "noframes",
    "noscript",
    "object",
    "ol",
    "p",
    "plaintext",
    "pre",
    "script",
    "search",
    "section",
    "select",
    "style",
    "summary",
    "table",
    "tbody",
    "td",
    "template",
    "textarea",
    "tfoot",
    "th",
    "thead",
    "title",
    "tr",
    "ul",
    "xmp",
    "dialog",
];
/// What closes an open paragraph.
const ENDS_PARAGRAPH: [&str; 41] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "center",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hgroup",
    "hr",
    "listing",
    "main",
    "menu",
    "nav",
    "ol",
    "p",
    "plaintext",
    "pre",
    "search",
    "section",
    "summary",
    "table",
    "ul",
    "li",
    "xmp",
    "dd",
    "dt",
];
/// <https://html.spec.whatwg.org/#has-an-element-in-scope>: what is open outside of these isn't closed inside.
const SCOPES: [&str; 9] = ["applet", "caption", "html", "table", "td", "th", "marquee", "object", "template"];
const HEADINGS: [&str; 6] = ["h1", "h2", "h3", "h4", "h5", "h6"];
const TABLE_PARTS: [&str; 9] = ["caption", "colgroup", "table", "tbody", "td", "tfoot", "th", "thead", "tr"];

pub fn is_skipped(name: &str) -> bool {
    SKIPPED.contains(&name)
}

pub fn is_inline(name: &str) -> bool {
    INLINE.contains(&name)
}

pub fn is_of_head(name: &str) -> bool {
    OF_HEAD.contains(&name)
}

/// Whether text in it is no text of the body.
pub fn is_text_of_head(name: &str) -> bool {
    matches!(name, "title" | "style" | "script" | "noscript" | "noframes" | "template")
}

/// An open element.
#[derive(Debug)]
pub struct Element {
    name: String,
    /// The script leaves what is in it alone.
    kept: bool,
    // Found out once: an end tag may ask for hundreds of elements.
    is_special: bool,
    is_scope: bool,
}

impl Element {
    pub fn new(name: &str, kept: bool) -> Element {
        let (is_special, is_scope) = (SPECIAL.contains(&name), SCOPES.contains(&name));
        Element { name: name.to_owned(), kept, is_special, is_scope }
    }

    fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Stack {
    open: Vec<Element>,
    /// Elements that are open beyond [`DEPTH_MAX`].
    beyond: usize,
    kept: usize,
    /// Mostly none, and then there is nothing to look for.
    paragraphs: usize,
    templates: usize,
    foreign: usize,
}

impl Stack {
    pub fn top(&self) -> Option<&str> {
        self.open.last().map(|element| element.name.as_str())
    }

    /// Whether the script leaves this place alone.
    pub fn is_kept(&self) -> bool {
        self.kept > 0
    }

    /// Whether nothing here is run.
    pub fn is_inert(&self) -> bool {
        self.templates > 0
    }

    /// Closes what a start tag closes.
    pub fn make_room_for(&mut self, name: &str) {
        if self.paragraphs > 0 && ENDS_PARAGRAPH.contains(&name) {
            self.close_until(&["p"], |open| open.is_scope || open.name == "button");
        }
        let list = |open: &Element| open.is_special && !open.is(&["address", "div", "p"]);
        let table = |open: &Element| open.is(&["table", "template", "html"]);
        match name {
            "li" => self.close_until(&["li"], list),
            "dd" | "dt" => self.close_until(&["dd", "dt"], list),
            "td" | "th" => self.close_until(&["td", "th", "caption"], table),
            "tr" => self.close_until(&["tr", "caption"], table),
            "tbody" | "thead" | "tfoot" => {
                self.close_until(&["tbody", "thead", "tfoot", "caption"], table);
            }
            "a" => self.close(name),
            "button" => self.close_until(&["button"], |open| open.is_scope),
            _ if HEADINGS.contains(&name) && self.top().is_some_and(|top| HEADINGS.contains(&top)) => {
                self.close(name);
            }
            _ => {}
        }
    }

    /// Opens an element, unless it is empty.
    pub fn open(&mut self, element: Element, self_closing: bool) {
        let name = element.name.as_str();
        let is_foreign = matches!(name, "svg" | "math");
        let is_empty = VOID.contains(&name) || (self_closing && (is_foreign || self.foreign > 0));
        let is_again = matches!(name, "html" | "body") && self.open.iter().any(|open| open.name == name);
        if is_empty || is_again {
            return;
        }
        if self.open.len() == DEPTH_MAX {
            self.beyond += 1;
            return;
        }
        self.count(&element, 1);
        self.open.push(element);
    }

    /// Closes what an end tag closes.
    pub fn close(&mut self, name: &str) {
        // Browsers leave these open to the page's end.
        if matches!(name, "html" | "body") || VOID.contains(&name) {
            return;
        }
        if self.beyond > 0 {
            self.beyond -= 1;
            return;
        }
        if FORMATTING.contains(&name) {
            return self.take_out(name);
        }
        let sought: &[&str] = if HEADINGS.contains(&name) { &HEADINGS } else { &[name] };
        let (is_special, is_of_table) = (SPECIAL.contains(&name), TABLE_PARTS.contains(&name));
        self.close_until(sought, |open| match name {
            "template" => false,
            _ if is_of_table => open.is(&["table", "template", "html"]),
            _ if is_special => open.is_scope,
            _ => open.is_special,
        });
    }

    /// Closes up to the innermost element with one of these names, unless that is outside of a barrier.
    fn close_until(&mut self, sought: &[&str], is_barrier: impl Fn(&Element) -> bool) {
        let stop = self.open.iter().rposition(|open| open.is(sought) || is_barrier(open));
        if let Some(index) = stop
            && self.open[index].is(sought)
        {
            for element in self.open.split_off(index) {
                self.count(&element, -1);
            }
        }
    }

    /// Closes an element and leaves what is open inside of it open.
    fn take_out(&mut self, name: &str) {
        let found = self.open.iter().rposition(|open| open.name == name || open.is_scope);
        if let Some(index) = found
            && self.open[index].name == name
        {
            let element = self.open.remove(index);
            self.count(&element, -1);
        }
    }

    fn count(&mut self, element: &Element, by: isize) {
        let add = |count: &mut usize, does: bool| {
            *count = count.saturating_add_signed(if does { by } else { 0 });
        };
        add(&mut self.kept, element.kept);
        add(&mut self.paragraphs, element.name == "p");
        add(&mut self.templates, element.name == "template");
        add(&mut self.foreign, matches!(element.name.as_str(), "svg" | "math"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that are open after these tags, outermost first.
    fn open(tags: &str) -> String {
        let mut stack = Stack::default();
        for tag in tags.split(' ') {
            match tag.strip_prefix('/') {
                Some(name) => stack.close(name),
                None => {
                    let (name, self_closing) =
                        tag.strip_suffix('/').map_or((tag, false), |name| (name, true));
                    stack.make_room_for(name);
                    stack.open(Element::new(name, false), self_closing);
                }
            }
        }
        stack.open.iter().map(|element| element.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn tags_open_and_close_as_in_browsers() {
        for (tags, expected) in [
            ("div span", "div span"),
            ("div span /div", ""),
            ("div span /span /span /div /div", ""),
            ("span div /span", "span div"),
            ("b div /b", "div"),
            ("p p", "p"),
            ("p span div", "div"),
            ("p b ul li p li", "ul li"),
            ("ul li ul li /ul li", "ul li"),
            ("ul li div li", "ul li"),
            ("dl dt b dd", "dl dd"),
            ("div table tr td /div", "div table tr td"),
            ("table tr td p td", "table tr td"),
            ("table tr td table tr td /table td", "table tr td"),
            ("table tbody tr td tr th", "table tbody tr th"),
            ("table tbody tr td tbody", "table tbody"),
            ("p table", "table"),
            ("p button p", "p button p"),
            ("button button", "button"),
            ("h1 /h2", ""),
            ("h1 h2", "h2"),
            ("a b a", "b a"),
            ("div/ span", "div span"),
            ("svg path/ g", "svg g"),
            ("svg/ div", "div"),
            ("br img input hr", ""),
            ("html body div /body p /html span", "html body div p span"),
            ("html body body", "html body"),
            ("div template div /template", "div"),
            ("template /div", "template"),
        ] {
            assert_eq!(open(tags), expected, "{tags}");
        }
    }

    #[test]
    fn what_is_too_deep_is_closed_before_the_rest() {
        let mut stack = Stack::default();
        for _ in 0..DEPTH_MAX + 7 {
            stack.open(Element::new("div", true), false);
        }
        assert_eq!((stack.open.len(), stack.kept), (DEPTH_MAX, DEPTH_MAX));
        for _ in 0..DEPTH_MAX + 7 {
            stack.close("div");
        }
        assert_eq!((stack.open.len(), stack.kept), (0, 0));
    }
}
