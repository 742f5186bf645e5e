//! What a recording sounds like. Decides the bytes of the media files from the bursts of talk on each channel, so that a
//! file is never stored: any part of it can be computed again.
//!
//! WAV is 8 kHz mu-law; a burst is a tone with some noise, the caller's lower than the destination's, and everything else
//! is digital silence, so that peaks and talk times are exact. MP3 is **silence** of the right length: real frames that
//! every decoder accepts, but no encoder stands behind them.

use std::f64::consts::TAU;
use std::ops::Range;

use crate::sid::seeded_hash;

/// Telephone sampling rate.
const SAMPLE_RATE: u64 = 8000;
/// RIFF (12), fmt with an extension size (26), fact (12) and the data header (8).
const WAV_HEADER_BYTES: u64 = 58;
/// mu-law for a sample of zero.
const MULAW_SILENCE: u8 = 0xff;
/// MPEG-2.5 Layer III, 8 kHz, 32 kbit/s: 72 * 32000 / 8000 bytes for 576 samples (ISO/IEC 13818-3).
const MP3_FRAME_BYTES: u64 = 288;
const MP3_FRAME_SAMPLES: u64 = 576;

/// Talk on one channel, in milliseconds from the recording's start. Channel 1 is the caller, 2 the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Burst {
    pub channel: u8,
    pub start_ms: u64,
    pub end_ms: u64,
}

/// A recording's content.
#[derive(Clone, Debug)]
pub struct Sound {
    pub channels: u8,
    pub seconds: u32,
    /// In order of start; bursts of one channel do not overlap.
    pub bursts: Vec<Burst>,
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaFormat {
    Wav,
    Mp3,
}

/// A media file of a recording, readable at any place.
#[derive(Clone, Debug)]
pub struct MediaFile {
    sound: Sound,
    format: MediaFormat,
    channels: u8,
}

impl MediaFormat {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/x-wav",
            Self::Mp3 => "audio/mpeg",
        }
    }
}

impl Sound {
    /// The part of a call between two instants (milliseconds), as a recording of whole seconds.
    pub fn cut(channels: u8, seconds: u32, start_ms: u64, bursts: &[Burst], seed: u64) -> Self {
        let length_ms = u64::from(seconds) * 1000;
        let clip = |at: u64| at.saturating_sub(start_ms).min(length_ms);
        let bursts = bursts
            .iter()
            .map(|burst| Burst { start_ms: clip(burst.start_ms), end_ms: clip(burst.end_ms), ..*burst })
            .filter(|burst| burst.start_ms < burst.end_ms)
            .collect();
        Self { channels, seconds, bursts, seed }
    }

    fn is_talk(&self, channel: u8, at_ms: u64) -> bool {
        let mono = self.channels == 1;
        let started = self.bursts.partition_point(|burst| burst.start_ms <= at_ms);
        // Both parties' latest bursts are among the last few that have started.
        self.bursts[started.saturating_sub(4)..started]
            .iter()
            .any(|burst| (mono || burst.channel == channel) && at_ms < burst.end_ms)
    }

    fn sample(&self, channel: u8, index: u64) -> u8 {
        if !self.is_talk(channel, index * 1000 / SAMPLE_RATE) {
            return MULAW_SILENCE;
        }
        let base_hz = if channel == 1 { 180.0 } else { 320.0 };
        let pitch_hz = base_hz + (self.seed % 40) as f64;
        let phase = TAU * pitch_hz * (index % (SAMPLE_RATE * 60)) as f64 / SAMPLE_RATE as f64;
        let noise = (seeded_hash(self.seed ^ index, "noise") % 2000) as f64 - 1000.0;
        mulaw((6000.0 * phase.sin() + 2500.0 * (2.0 * phase).sin() + noise) as i16)
    }
}

impl MediaFile {
    /// A file with 1 or 2 channels; asking for 1 of 2 mixes them.
    pub fn new(mut sound: Sound, format: MediaFormat, channels: u8) -> Self {
        if channels == 1 {
            sound.channels = 1;
        }
        Self { sound, format, channels }
    }

    /// Of the whole file.
    pub fn byte_length(&self) -> u64 {
        match self.format {
            MediaFormat::Wav => WAV_HEADER_BYTES + self.samples() * u64::from(self.channels),
            MediaFormat::Mp3 => self.samples().div_ceil(MP3_FRAME_SAMPLES) * MP3_FRAME_BYTES,
        }
    }

    /// The bytes of a range, which must lie within the length.
    pub fn read(&self, range: Range<u64>) -> Vec<u8> {
        match self.format {
            MediaFormat::Wav => {
                let header = self.wav_header();
                range.map(|at| self.wav_byte(&header, at)).collect()
            }
            MediaFormat::Mp3 => {
                let header = mp3_frame_header(self.channels);
                range
                    .map(|at| {
                        let place = usize::try_from(at % MP3_FRAME_BYTES).unwrap_or(usize::MAX);
                        header.get(place).copied().unwrap_or(0)
                    })
                    .collect()
            }
        }
    }

    fn samples(&self) -> u64 {
        u64::from(self.sound.seconds) * SAMPLE_RATE
    }

    fn wav_byte(&self, header: &[u8], at: u64) -> u8 {
        match at.checked_sub(WAV_HEADER_BYTES) {
            None => header[usize::try_from(at).unwrap_or(0)],
            Some(place) => {
                let channels = u64::from(self.channels);
                let channel = if place % channels == 0 { 1 } else { 2 };
                self.sound.sample(channel, place / channels)
            }
        }
    }

    fn wav_header(&self) -> Vec<u8> {
        let channels = u32::from(self.channels);
        let rate = u32::try_from(SAMPLE_RATE).unwrap_or(u32::MAX);
        let samples = u32::try_from(self.samples()).unwrap_or(u32::MAX);
        let data = samples.saturating_mul(channels);
        let mut header = Vec::with_capacity(58);
        header.extend(b"RIFF");
        header.extend((data.saturating_add(50)).to_le_bytes());
        header.extend(b"WAVEfmt ");
        header.extend(18_u32.to_le_bytes());
        header.extend(7_u16.to_le_bytes()); // WAVE_FORMAT_MULAW
        header.extend(u16::from(self.channels).to_le_bytes());
        header.extend(rate.to_le_bytes());
        header.extend((rate * channels).to_le_bytes()); // bytes per second
        header.extend(u16::from(self.channels).to_le_bytes()); // bytes per sample of all channels
        header.extend(8_u16.to_le_bytes()); // bits per sample
        header.extend(0_u16.to_le_bytes()); // no extension
        header.extend(b"fact");
        header.extend(4_u32.to_le_bytes());
        header.extend(samples.to_le_bytes());
        header.extend(b"data");
        header.extend(data.to_le_bytes());
        header
    }
}

/// A conversation between two instants: the parties take turns, starting with the destination, who picks up.
pub fn conversation(start_ms: u64, end_ms: u64, seed: u64) -> Vec<Burst> {
    bursts(start_ms, end_ms, |turn| {
        let hash = seeded_hash(seed ^ turn, "turn");
        let channel = if turn % 2 == 0 { 2 } else { 1 };
        (channel, 1200 + hash % 2400, 200 + (hash >> 32) % 500)
    })
}

/// One party speaking, with short pauses between the sentences.
pub fn monologue(start_ms: u64, end_ms: u64, seed: u64) -> Vec<Burst> {
    bursts(start_ms, end_ms, |turn| {
        let hash = seeded_hash(seed ^ turn, "sentence");
        (1, 900 + hash % 1600, 150 + (hash >> 32) % 300)
    })
}

/// `turn` gives the channel, the length of the burst and of the pause after it.
fn bursts(start_ms: u64, end_ms: u64, turn: impl Fn(u64) -> (u8, u64, u64)) -> Vec<Burst> {
    let mut bursts = Vec::new();
    let mut at = start_ms;
    for number in 0.. {
        let (channel, length_ms, pause_ms) = turn(number);
        if at >= end_ms {
            break;
        }
        bursts.push(Burst { channel, start_ms: at, end_ms: (at + length_ms).min(end_ms) });
        at += length_ms + pause_ms;
    }
    bursts
}

/// How long a media file plays, as far as its header tells: WAV by its data size, MP3 by its first frame's bit rate.
pub fn play_length_ms(content_type: &str, body: &[u8]) -> u64 {
    let bytes = body.len() as u64;
    let word = |at: usize| {
        body.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
    };
    if body.starts_with(b"RIFF") {
        let bytes_per_second = u64::from(word(28)).max(1);
        return bytes.saturating_sub(44) * 1000 / bytes_per_second;
    }
    if content_type.contains("mpeg") || content_type.contains("mp3") {
        // 32 kbit/s, the telephone rate, where no frame says otherwise.
        return bytes * 1000 / (u64::from(mp3_kilobits(body).unwrap_or(32)) * 125);
    }
    // Raw mu-law and whatever else.
    bytes * 1000 / SAMPLE_RATE
}

fn mp3_kilobits(body: &[u8]) -> Option<u32> {
    const MPEG1: [u32; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    const MPEG2: [u32; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let frame = body.windows(3).find(|bytes| bytes[0] == 0xff && bytes[1] & 0xe6 == 0xe2)?;
    let table = if frame[1] & 0x18 == 0x18 { MPEG1 } else { MPEG2 };
    table.get(usize::from(frame[2] >> 4)).copied().filter(|rate| *rate > 0)
}

/// Sync, MPEG-2.5, Layer III, no CRC; 32 kbit/s at 8 kHz; stereo or mono. The side information that follows is all zero:
/// no main data, which decodes to silence.
fn mp3_frame_header(channels: u8) -> [u8; 4] {
    let mode = if channels == 1 { 0b11 << 6 } else { 0 };
    [0xff, 0xe3, 0x48, mode]
}

/// Linear 16-bit to G.711 mu-law (ITU-T G.711, the usual bias-and-segment form).
fn mulaw(sample: i16) -> u8 {
    const BIAS: i32 = 0x84;
    const CLIP: i32 = 32_635;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(CLIP) + BIAS;
    let exponent = 24 - magnitude.leading_zeros().cast_signed();
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    let code = sign | (exponent << 4) | mantissa;
    !u8::try_from(code).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(channels: u8, seconds: u32) -> Sound {
        let end_ms = u64::from(seconds) * 1000;
        Sound::cut(channels, seconds, 0, &conversation(0, end_ms, 3), 3)
    }

    #[test]
    fn a_wav_has_the_length_its_header_says() {
        for channels in [1, 2] {
            let file = MediaFile::new(sound(channels, 7), MediaFormat::Wav, channels);
            let bytes = file.read(0..file.byte_length());
            assert_eq!(bytes.len() as u64, 58 + 7 * 8000 * u64::from(channels));
            assert_eq!(&bytes[0..4], b"RIFF");
            let riff = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
            assert_eq!(u64::from(riff), file.byte_length() - 8);
            let data = u32::from_le_bytes(bytes[54..58].try_into().unwrap());
            assert_eq!(u64::from(data), file.byte_length() - 58);
        }
    }

    #[test]
    fn talk_is_where_the_bursts_are_and_silence_elsewhere() {
        let sound = sound(2, 20);
        let file = MediaFile::new(sound.clone(), MediaFormat::Wav, 2);
        for burst in &sound.bursts {
            let middle = (burst.start_ms + burst.end_ms) / 2 * 8;
            let window = file.read(58 + middle * 2..58 + (middle + 80) * 2);
            let loud =
                |offset: usize| window.iter().skip(offset).step_by(2).any(|byte| *byte != MULAW_SILENCE);
            assert!(loud(usize::from(burst.channel) - 1), "{burst:?}");
            assert!(!loud(2 - usize::from(burst.channel)), "{burst:?}");
        }
    }

    #[test]
    fn any_range_is_the_same_bytes() {
        let file = MediaFile::new(sound(2, 3), MediaFormat::Wav, 2);
        let whole = file.read(0..file.byte_length());
        assert_eq!(file.read(30..5001), whole[30..5001]);
    }

    #[test]
    fn an_mp3_is_whole_frames_covering_the_duration() {
        let file = MediaFile::new(sound(2, 10), MediaFormat::Mp3, 2);
        let bytes = file.read(0..file.byte_length());
        assert_eq!(bytes.len() as u64 % MP3_FRAME_BYTES, 0);
        let frames = bytes.len() as u64 / MP3_FRAME_BYTES;
        assert_eq!(frames, (10 * SAMPLE_RATE).div_ceil(MP3_FRAME_SAMPLES));
        for frame in bytes.chunks(288) {
            assert_eq!(frame[..4], [0xff, 0xe3, 0x48, 0x00]);
        }
        let length_ms = play_length_ms("audio/mpeg", &bytes);
        assert!((10_000..10_080).contains(&length_ms), "{length_ms}");
    }

    #[test]
    fn cutting_moves_and_clips_the_bursts() {
        let talk = [
            Burst { channel: 1, start_ms: 500, end_ms: 2500 },
            Burst { channel: 2, start_ms: 2600, end_ms: 9000 },
            Burst { channel: 1, start_ms: 9100, end_ms: 9900 },
        ];
        let cut = Sound::cut(2, 4, 1000, &talk, 0);
        assert_eq!(
            cut.bursts,
            [
                Burst { channel: 1, start_ms: 0, end_ms: 1500 },
                Burst { channel: 2, start_ms: 1600, end_ms: 4000 },
            ]
        );
    }

    #[test]
    fn mulaw_matches_g711() {
        for (linear, code) in [(0, 0xff), (-1, 0x7f), (32_635, 0x80), (-32_635, 0x00), (1000, 0xce)] {
            assert_eq!(mulaw(linear), code, "{linear}");
        }
    }

    #[test]
    fn play_length_is_read_from_the_header() {
        let file = MediaFile::new(sound(1, 5), MediaFormat::Wav, 1);
        let length_ms = play_length_ms("audio/x-wav", &file.read(0..file.byte_length()));
        assert!((4990..5010).contains(&length_ms), "{length_ms}");
    }
}
