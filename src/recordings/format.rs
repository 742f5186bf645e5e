//! Which audio a file holds, by its first bytes. A carrier's content type isn't believed: error pages come with
//! any, and what isn't audio must never be served as such.

/// A kind of audio file that we keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Mp3,
    Wav,
}

/// Bytes from a file's beginning that [`Format::sniff`] needs.
pub const SNIFF_BYTES: usize = 12;

impl Format {
    /// A file's ending, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Mp3 => "mp3",
            Format::Wav => "wav",
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::Mp3 => "audio/mpeg",
            Format::Wav => "audio/wav",
        }
    }

    /// The format that is stored or served under this content type.
    pub fn of_content_type(text: &str) -> Option<Format> {
        [Format::Mp3, Format::Wav].into_iter().find(|format| format.content_type() == text)
    }

    pub(super) fn of_extension(text: &str) -> Option<Format> {
        [Format::Mp3, Format::Wav].into_iter().find(|format| format.extension() == text)
    }

    /// The format of a file that begins so; None if it isn't audio of a kind that we keep.
    pub fn sniff(beginning: &[u8]) -> Option<Format> {
        let wave = beginning.starts_with(b"RIFF") && beginning.get(8..12) == Some(b"WAVE");
        if wave {
            return Some(Format::Wav);
        }
        (beginning.starts_with(b"ID3") || is_mpeg_layer_3(beginning)).then_some(Format::Mp3)
    }
}

/// An MPEG audio frame's header (ISO/IEC 11172-3, 2.4.1.3): 11 bits of sync, a version that isn't the reserved
/// one, layer III, and neither the bad bit rate nor the reserved sampling rate.
fn is_mpeg_layer_3(beginning: &[u8]) -> bool {
    let &[first, second, third, ..] = beginning else { return false };
    let sync = first == 0xFF && second & 0xE0 == 0xE0;
    let version_known = second & 0x18 != 0x08;
    let layer_3 = second & 0x06 == 0x02;
    sync && version_known && layer_3 && third & 0xF0 != 0xF0 && third & 0x0C != 0x0C
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_is_known_by_its_first_bytes() {
        assert_eq!(Format::sniff(b"RIFF\x24\x00\x00\x00WAVEfmt "), Some(Format::Wav));
        assert_eq!(Format::sniff(b"ID3\x04\x00"), Some(Format::Mp3));
        assert_eq!(Format::sniff(&[0xFF, 0xFB, 0x90, 0x64]), Some(Format::Mp3), "MPEG 1");
        assert_eq!(Format::sniff(&[0xFF, 0xF3, 0x14, 0xC4]), Some(Format::Mp3), "MPEG 2, telephone quality");
        assert_eq!(Format::sniff(&[0xFF, 0xE3, 0x18, 0xC4]), Some(Format::Mp3), "MPEG 2.5, 8 kHz");
    }

    #[test]
    fn what_is_not_audio_is_refused() {
        let strangers: [&[u8]; 9] = [
            b"",
            b"<!DOCTYPE html>",
            b"{\"code\":20404}",
            b"RIFF\x24\x00\x00\x00AVI LIST",
            b"RIFF",
            &[0xFF],
            &[0xFF, 0xFF, 0xFF, 0xFF],
            &[0xFF, 0xD8, 0xFF, 0xE0],
            &[0xFF, 0xF1, 0x50, 0x80],
        ];
        for bytes in strangers {
            assert_eq!(Format::sniff(bytes), None, "{bytes:?}");
        }
    }
}
