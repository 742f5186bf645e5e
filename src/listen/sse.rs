//! Server-sent events (HTML Standard, section 9.2.6, "Interpreting an event stream") out of whatever pieces
//! the network makes of them. Pure.
//!
//! Decides: where an event ends, what its id, type and data are, and how long one may be. Doesn't decide what
//! they mean. The bytes are a stranger's: what is too long or no text ends the stream, it never fills memory.
//!
//! Odd facts: a line ends with CR, LF or both; an event without data is none, but its id counts; `retry` is
//! not listened to, because we have a pace of our own.

use bytes::{Buf as _, Bytes};

/// Bytes of a line, and of an event's data, at most. The largest event of the product is far below: its texts
/// are limited where they come in.
pub(super) const BYTES_MAX: usize = 1 << 20;

/// What stands between two empty lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The last id that was said, here or before; "" if none was.
    pub id: String,
    /// The type of the event; "" if it isn't said.
    pub event: String,
    /// None: it only moved the id.
    pub data: Option<String>,
}

/// Why a stream can't be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Bad {
    #[error("an event of the server is longer than {BYTES_MAX} bytes")]
    TooLong,
    #[error("what the server sent is not UTF-8")]
    NotText,
}

/// Give it each piece, then take frames until there are none.
#[derive(Default)]
pub(super) struct Parser {
    /// Came, and wasn't looked at yet.
    pending: Bytes,
    /// The line that has begun.
    line: Vec<u8>,
    /// The last byte was a CR: an LF now belongs to it.
    after_cr: bool,
    /// The first line is over: only there a byte order mark may stand.
    begun: bool,
    id: String,
    id_was_said: bool,
    event: String,
    data: Option<String>,
}

impl Parser {
    /// Adds what came. All frames of earlier pieces have been taken.
    pub(super) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.pending.is_empty(), "frames are taken before more is read");
        self.pending = piece;
    }

    /// The next frame; None until more comes.
    ///
    /// # Errors
    /// The stream can't be read; it is to be given up.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Bad> {
        while self.finish_line()? {
            let line = String::from_utf8(std::mem::take(&mut self.line)).map_err(|_| Bad::NotText)?;
            let line = if self.begun { &line } else { line.strip_prefix('\u{FEFF}').unwrap_or(&line) };
            self.begun = true;
            if !line.is_empty() {
                self.field(line)?;
            } else if let Some(frame) = self.frame() {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Moves bytes into the line up to its end; false if that hasn't come yet.
    fn finish_line(&mut self) -> Result<bool, Bad> {
        if self.after_cr && !self.pending.is_empty() {
            self.after_cr = false;
            if self.pending[0] == b'\n' {
                self.pending.advance(1);
            }
        }
        let end = self.pending.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let rest = self.pending.split_to(end.unwrap_or(self.pending.len()));
        if self.line.len() + rest.len() > BYTES_MAX {
            return Err(Bad::TooLong);
        }
        self.line.extend_from_slice(&rest);
        if end.is_none() {
            return Ok(false);
        }
        self.after_cr = self.pending[0] == b'\r';
        self.pending.advance(1);
        Ok(true)
    }

    fn field(&mut self, line: &str) -> Result<(), Bad> {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.event),
            "data" => self.add_data(value)?,
            "id" if !value.contains('\0') => {
                value.clone_into(&mut self.id);
                self.id_was_said = true;
            }
            // Comments, which have no name, and what we don't know.
            _ => {}
        }
        Ok(())
    }

    fn add_data(&mut self, value: &str) -> Result<(), Bad> {
        let so_far = self.data.as_ref().map_or(0, |data| data.len() + 1);
        if so_far + value.len() > BYTES_MAX {
            return Err(Bad::TooLong);
        }
        match &mut self.data {
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
            none => *none = Some(value.to_owned()),
        }
        Ok(())
    }

    /// What the lines since the last empty one add up to.
    fn frame(&mut self) -> Option<Frame> {
        let (event, data) = (std::mem::take(&mut self.event), self.data.take());
        let says_something = std::mem::take(&mut self.id_was_said) || data.is_some();
        says_something.then(|| Frame { id: self.id.clone(), event, data })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(id: &str, event: &str, data: Option<&str>) -> Frame {
        Frame { id: id.to_owned(), event: event.to_owned(), data: data.map(str::to_owned) }
    }

    /// Everything that comes of the pieces, up to the first error.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<Bad>) {
        let (mut parser, mut frames) = (Parser::default(), Vec::new());
        for piece in pieces {
            parser.push(Bytes::copy_from_slice(piece));
            loop {
                match parser.next() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(bad) => return (frames, Some(bad)),
                }
            }
        }
        (frames, None)
    }

    #[test]
    fn streams_are_read_as_the_standard_says() {
        for (stream, expected) in [
            ("", vec![]),
            ("\n\n\n", vec![]),
            (": a comment\n\n", vec![]),
            ("data: x\n\n", vec![frame("", "", Some("x"))]),
            ("id: 5\nevent: a.b\ndata: {}\n\n", vec![frame("5", "a.b", Some("{}"))]),
            ("id: 5\r\nevent: a\r\ndata: x\r\n\r\n", vec![frame("5", "a", Some("x"))]),
            ("id: 5\rdata: x\r\rdata: y\r\r", vec![frame("5", "", Some("x")), frame("5", "", Some("y"))]),
            (": connected\nid: 7\n\n", vec![frame("7", "", None)]),
            ("event: a\n\ndata: x\n\n", vec![frame("", "", Some("x"))]),
            ("data: x\ndata: y\ndata\n\n", vec![frame("", "", Some("x\ny\n"))]),
            ("data:x\n\ndata:  x\n\n", vec![frame("", "", Some("x")), frame("", "", Some(" x"))]),
            ("data:\n\n", vec![frame("", "", Some(""))]),
            ("data: a:b\nretry: 3\nnonsense\nDATA: y\n\n", vec![frame("", "", Some("a:b"))]),
            ("id: 1\nid: 2\0\ndata: x\n\n", vec![frame("1", "", Some("x"))]),
            ("id: 1\nid\ndata: x\n\n", vec![frame("", "", Some("x"))]),
            ("\u{FEFF}data: x\n\n", vec![frame("", "", Some("x"))]),
            ("data: x\n\n\u{FEFF}data: y\n\n", vec![frame("", "", Some("x"))]),
            // Cut off: the client gets it when it comes back.
            ("data: x\n\ndata: y\n", vec![frame("", "", Some("x"))]),
            ("data: x\n\ndata: y", vec![frame("", "", Some("x"))]),
        ] {
            assert_eq!(read([stream.as_bytes()]), (expected, None), "{stream:?}");
        }
    }

    #[test]
    fn what_is_too_long_or_no_text_ends_the_stream_behind_what_was_good() {
        let good = b"data: x\n\n".to_vec();
        let endless_line = vec![b'a'; BYTES_MAX + 1];
        let endless_data = b"data: aaaa\n".repeat(BYTES_MAX / 5 + 1);
        for (bytes, bad) in [
            (endless_line, Bad::TooLong),
            (endless_data, Bad::TooLong),
            (b"data: \xff\n\n".to_vec(), Bad::NotText),
        ] {
            let stream = [good.clone(), bytes].concat();
            let expected = (vec![frame("", "", Some("x"))], Some(bad));
            assert_eq!(read([stream.as_slice()]), expected);
            assert_eq!(read(stream.chunks(4096)), expected);
        }
    }

    #[test]
    fn the_longest_line_passes() {
        let stream = format!("{}\n\n", "data: ".to_owned() + &"x".repeat(BYTES_MAX - 6));
        let (frames, bad) = read([stream.as_bytes()]);
        assert_eq!((frames.len(), bad), (1, None));
    }

    /// Lines that mean something, ends of all kinds, and bytes that are neither.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just(b"\n".to_vec()),
            2 => Just(b"\r\n".to_vec()),
            2 => Just(b"\r".to_vec()),
            3 => "(data|id|event|retry|): ?[a-zä📞]{0,6}".prop_map(String::into_bytes),
            1 => Just("\u{FEFF}".as_bytes().to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_chunking_of_the_bytes_gives_the_same_events(
            stream in stream(),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|ends| &stream[ends[0]..ends[1]]);
            let whole = read([stream.as_slice()]);
            prop_assert_eq!(read(pieces), whole.clone());
            prop_assert_eq!(read(stream.chunks(1)), whole);
        }
    }
}
