//! Reads an XML document into a small tree. Decides well-formedness and nothing about TwiML; see `twiml`.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Deeper nesting than any TwiML has.
const DEPTH_MAX: usize = 16;

/// An element with the text of all its descendants.
#[derive(Debug, Default)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    pub text: String,
}

/// The root element, or why there is none.
pub fn parse(document: &str) -> Result<Element, String> {
    let mut reader = Reader::from_str(document.trim_start_matches('\u{feff}'));
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(start) => {
                if open.len() == DEPTH_MAX {
                    return Err(format!("elements are nested more than {DEPTH_MAX} deep"));
                }
                open.push(element(&start)?);
            }
            Event::Empty(start) => close(element(&start)?, &mut open, &mut root)?,
            Event::End(_) => {
                let closed = open.pop().ok_or("an element is closed that was not opened")?;
                close(closed, &mut open, &mut root)?;
            }
            Event::Text(text) => add_text(&text.xml10_content(), &mut open)?,
            Event::CData(text) => add_text(&text.xml10_content(), &mut open)?,
            Event::GeneralRef(reference) => {
                let text = match reference.resolve_char_ref().map_err(|error| error.to_string())? {
                    Some(character) => character.to_string(),
                    None => named_entity(&reference.xml10_content())?,
                };
                add_text(&text, &mut open)?;
            }
            Event::DocType(_) => return Err("a document type is not allowed".to_owned()),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    match open.pop() {
        Some(element) => Err(format!("<{}> is not closed", element.name)),
        None => root.ok_or_else(|| "the document is empty".to_owned()),
    }
}

fn element(start: &BytesStart<'_>) -> Result<Element, String> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let value = attribute.normalized_value(XmlVersion::Explicit1_0).map_err(|error| error.to_string())?;
        attributes.push((attribute.key.0.to_owned(), value.into_owned()));
    }
    Ok(Element { name: start.name().0.to_owned(), attributes, ..Element::default() })
}

fn close(closed: Element, open: &mut [Element], root: &mut Option<Element>) -> Result<(), String> {
    match open.last_mut() {
        Some(parent) => {
            parent.text.push_str(&closed.text);
            parent.children.push(closed);
        }
        None if root.is_some() => return Err("there is more than one root element".to_owned()),
        None => *root = Some(closed),
    }
    Ok(())
}

fn add_text(text: &str, open: &mut [Element]) -> Result<(), String> {
    match open.last_mut() {
        Some(parent) => parent.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err("there is text outside the root element".to_owned()),
    }
    Ok(())
}

/// XML knows five names; any other needs a document type.
fn named_entity(name: &str) -> Result<String, String> {
    match name {
        "amp" => Ok("&".to_owned()),
        "lt" => Ok("<".to_owned()),
        "gt" => Ok(">".to_owned()),
        "quot" => Ok("\"".to_owned()),
        "apos" => Ok("'".to_owned()),
        unknown => Err(format!("the entity &{unknown}; is not defined")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_and_nesting_are_read() {
        let root = parse(
            "<?xml version=\"1.0\"?><R a=\"x?c=1&amp;s=2\"><!-- c --><Say>A &amp; B&#33;</Say><E/></R>",
        )
        .unwrap();
        assert_eq!(root.attributes, [("a".to_owned(), "x?c=1&s=2".to_owned())]);
        assert_eq!(root.children[0].text, "A & B!");
        assert_eq!(root.children[1].name, "E");
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for document in [
            "",
            "hello",
            "<R>",
            "<R></S>",
            "<R/><R/>",
            "<R a=1/>",
            "<R a=\"1\" a=\"2\"/>",
            "<R>&nbsp;</R>",
            "<R/> tail",
            "<!DOCTYPE R []><R/>",
        ] {
            assert!(parse(document).is_err(), "{document}");
        }
    }
}
