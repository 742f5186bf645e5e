//! How a plan is said to the carrier: TwiML, which both carriers understand. Pure; `http::carrier` answers
//! with it. What shall happen isn't decided here (`flows`, `calls`).
//!
//! Odd facts (carrier's pages on each verb):
//! - `answerOnBridge` (the caller hears the real ringing, and isn't charged for it) works only if Dial is
//!   the first verb: after a spoken text the caller is already connected.
//! - With an `action`, what stands behind Dial is never reached; a Record without one asks for its own
//!   document again, for ever. So both always have one, and whatever follows them is left out.
//! - `recordingStatusCallbackEvent="absent"` is the only news of a recording without audio.
//! - A whisper's document ends with the two being connected, and may hold neither Dial nor Record.
//! - Texts are people's own words: everything goes through an XML writer, and characters that XML 1.0
//!   can't hold (section 2.2) are dropped.

use quick_xml::Writer;
use quick_xml::events::BytesText;

use crate::carriers::hook::{Hook, HookUrls};
use crate::flows::{Dial, Plan, Step, Voicemail, Whisper};

/// A spoken text at most, in characters (carrier's page "Say": a longer one is refused with error 13520).
pub const SAY_CHARS_MAX: usize = 4_096;
/// A message at most, in characters (error 21617 beyond).
pub const MESSAGE_CHARS_MAX: usize = 1_600;

/// In-memory output, so that writing never fails.
type Xml = Writer<Vec<u8>>;

/// The document for the caller's leg. An empty plan hangs up.
pub fn render(plan: &Plan, urls: &HookUrls) -> String {
    let last = plan.steps.iter().position(|step| !matches!(step, Step::Say(_)));
    let reached = &plan.steps[..last.map_or(plan.steps.len(), |at| at + 1)];
    document(|xml| {
        for step in reached {
            match step {
                Step::Say(text) => say(xml, text)?,
                Step::Dial(dial) => write_dial(xml, dial, urls)?,
                Step::Voicemail(voicemail) => write_voicemail(xml, voicemail, urls)?,
                Step::Reject => reject(xml)?,
                Step::Hangup => hangup(xml)?,
            }
        }
        Ok(())
    })
}

/// The document for the destination's leg before the two are connected.
pub fn render_whisper(whisper: &Whisper) -> String {
    document(|xml| say(xml, &whisper.message))
}

/// No further instructions: hangs up the caller's leg, connects the destination's, answers no message.
pub fn empty() -> String {
    document(|_| Ok(()))
}

/// Ends the leg.
pub fn render_hangup() -> String {
    document(hangup)
}

/// Replies to a message, each a message of its own.
pub fn messages(replies: &[String]) -> String {
    document(|xml| {
        for reply in replies {
            let text = writable(reply, MESSAGE_CHARS_MAX);
            if !text.trim().is_empty() {
                xml.create_element("Message").write_text_content(BytesText::new(&text))?;
            }
        }
        Ok(())
    })
}

fn document(content: impl FnOnce(&mut Xml) -> std::io::Result<()>) -> String {
    let mut xml = Writer::new(Vec::with_capacity(1024));
    // Written apart, because it matters whether anything is: to a Dial that would stand first, and for
    // the short `<Response/>`.
    let mut inner = Writer::new(Vec::with_capacity(1024));
    content(&mut inner).expect("writing to memory doesn't fail");
    let inner = inner.into_inner();
    let response = xml.create_element("Response");
    let written = if inner.is_empty() {
        response.write_empty()
    } else {
        response.write_inner_content(|xml| std::io::Write::write_all(xml.get_mut(), &inner))
    };
    written.expect("writing to memory doesn't fail");
    String::from_utf8(xml.into_inner()).expect("the writer is given only text")
}

fn say(xml: &mut Xml, text: &str) -> std::io::Result<()> {
    let text = writable(text, SAY_CHARS_MAX);
    // An empty Say is reported as an error and says nothing.
    if !text.trim().is_empty() {
        xml.create_element("Say").write_text_content(BytesText::new(&text))?;
    }
    Ok(())
}

fn write_dial(xml: &mut Xml, dial: &Dial, urls: &HookUrls) -> std::io::Result<()> {
    let is_first = xml.get_mut().is_empty();
    let mut element = xml
        .create_element("Dial")
        .with_attribute(("action", urls.url(Hook::Dial).as_str()))
        .with_attribute(("timeout", dial.ring_timeout_s.to_string().as_str()))
        .with_attribute(("timeLimit", dial.time_limit_s.to_string().as_str()));
    if is_first {
        element = element.with_attribute(("answerOnBridge", "true"));
    }
    if dial.record {
        element = element
            .with_attribute(("record", "record-from-answer-dual"))
            .with_attribute(("recordingStatusCallback", urls.url(Hook::Recording).as_str()))
            .with_attribute(("recordingStatusCallbackEvent", "completed absent"));
    }
    element.write_inner_content(|xml| write_number(xml, dial, urls))?;
    Ok(())
}

fn write_number(xml: &mut Xml, dial: &Dial, urls: &HookUrls) -> std::io::Result<()> {
    let mut element = xml.create_element("Number");
    if dial.whisper {
        element = element.with_attribute(("url", urls.url(Hook::Whisper).as_str()));
    }
    element
        .with_attribute(("statusCallback", urls.url(Hook::LegStatus).as_str()))
        .with_attribute(("statusCallbackEvent", "initiated ringing answered completed"))
        .write_text_content(BytesText::new(dial.destination.as_str()))?;
    Ok(())
}

fn write_voicemail(xml: &mut Xml, voicemail: &Voicemail, urls: &HookUrls) -> std::io::Result<()> {
    say(xml, &voicemail.greeting)?;
    let mut element = xml
        .create_element("Record")
        .with_attribute(("action", urls.url(Hook::Record).as_str()))
        .with_attribute(("maxLength", voicemail.max_s.to_string().as_str()))
        .with_attribute(("timeout", voicemail.silence_s.to_string().as_str()))
        .with_attribute(("finishOnKey", "#"))
        .with_attribute(("playBeep", "true"))
        .with_attribute(("recordingStatusCallback", urls.voicemail_recording().as_str()))
        .with_attribute(("recordingStatusCallbackEvent", "completed absent"));
    if voicemail.transcribe {
        element = element
            .with_attribute(("transcribe", "true"))
            .with_attribute(("transcribeCallback", urls.url(Hook::Transcription).as_str()));
    }
    element.write_empty()?;
    Ok(())
}

/// Busy rather than "rejected", which makes the carrier say that the number isn't in service: that would be
/// untrue, and someone blocked by mistake would believe that the business is gone instead of trying again.
fn reject(xml: &mut Xml) -> std::io::Result<()> {
    xml.create_element("Reject").with_attribute(("reason", "busy")).write_empty()?;
    Ok(())
}

fn hangup(xml: &mut Xml) -> std::io::Result<()> {
    xml.create_element("Hangup").write_empty()?;
    Ok(())
}

/// The beginning of a text, without the characters that XML 1.0 can't hold. Line ends become `\n`, which is
/// what every reader would make of them.
fn writable(text: &str, chars_max: usize) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.chars().filter(|c| is_xml_char(*c)).take(chars_max).collect()
}

/// XML 1.0, production 2. Rust's `char` has no surrogates already.
fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
}

#[cfg(test)]
mod tests;
