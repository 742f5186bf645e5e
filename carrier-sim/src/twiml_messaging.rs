//! The TwiML that answers a text message: `<Message>` and `<Redirect>`. See `twiml` for the voice side.

use crate::twiml::{Link, TwimlError, response};
use crate::twiml_attributes::{Attributes, SCHEMA_WARNING, Warning};
use crate::xml::Element;

/// A messaging document.
#[derive(Debug, Default)]
pub struct MessagingDocument {
    pub messages: Vec<ReplyMessage>,
    pub redirect: Option<Link>,
    pub warnings: Vec<Warning>,
}

/// A `<Message>`: goes to the sender unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyMessage {
    pub to: Option<String>,
    pub from: Option<String>,
    pub body: String,
    pub media_urls: Vec<String>,
    pub status_callback: Option<String>,
}

/// Reads a messaging document.
pub fn parse_messaging(body: &str) -> Result<MessagingDocument, TwimlError> {
    let root = response(body)?;
    let mut document = MessagingDocument::default();
    for element in &root.children {
        match element.name.as_str() {
            "Message" => {
                let message = message(element, &mut document.warnings);
                document.messages.push(message);
            }
            "Redirect" => {
                let mut attributes = Attributes::of(element, &mut document.warnings);
                let method = attributes.method("method");
                attributes.finish();
                document.redirect = Some(Link { url: element.text.trim().to_owned(), method });
                break;
            }
            unknown => document.warnings.push(Warning {
                code: SCHEMA_WARNING,
                text: format!("<{unknown}> is not a messaging verb and was left out"),
            }),
        }
    }
    Ok(document)
}

fn message(element: &Element, warnings: &mut Vec<Warning>) -> ReplyMessage {
    let mut attributes = Attributes::of(element, warnings);
    attributes.ignore(&["method"]);
    // `action` is the older name of `statusCallback`.
    let action = attributes.text("action");
    let mut message = ReplyMessage {
        to: attributes.text("to"),
        from: attributes.text("from"),
        status_callback: attributes.text("statusCallback").or(action),
        ..ReplyMessage::default()
    };
    attributes.finish();
    for child in &element.children {
        match child.name.as_str() {
            "Body" => child.text.trim().clone_into(&mut message.body),
            "Media" => message.media_urls.push(child.text.trim().to_owned()),
            unknown => warnings.push(Warning {
                code: SCHEMA_WARNING,
                text: format!("<{unknown}> may not stand in <Message>"),
            }),
        }
    }
    if element.children.is_empty() {
        element.text.trim().clone_into(&mut message.body);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_body_are_the_same_message() {
        for body in [
            "<Response><Message>Thanks!</Message></Response>",
            "<Response><Message><Body>Thanks!</Body></Message></Response>",
        ] {
            let document = parse_messaging(body).unwrap();
            assert_eq!(document.messages[0].body, "Thanks!", "{body}");
            assert!(document.warnings.is_empty());
        }
    }

    #[test]
    fn an_empty_response_is_no_reply() {
        assert!(parse_messaging("<Response/>").unwrap().messages.is_empty());
    }

    #[test]
    fn a_voice_verb_is_a_warning() {
        let document = parse_messaging("<Response><Say>Hi</Say></Response>").unwrap();
        assert_eq!(document.warnings.len(), 1);
    }
}
