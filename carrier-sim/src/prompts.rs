//! What a leg hears and what it answers: Say, Play, Pause and Gather, for the caller and for a whisper alike.

use jiff::SignedDuration;

use crate::callbacks;
use crate::faults::Hook;
use crate::interpreter::{Interpreter, Page, seconds_of};
use crate::legs::{Audio, CollectRules, Gone, Heard, LegId, Legs};
use crate::media::play_length_ms;
use crate::twiml::{Gather, Link, Method, Prompt};
use crate::webhooks::{Params, Request};

/// How often "loop 0", forever, plays: longer than any call lasts.
const FOREVER: u32 = 1000;

impl<L: Legs> Interpreter<L> {
    pub(crate) async fn prompt(&mut self, leg: LegId, prompt: &Prompt, page: &Page) -> Result<(), Gone> {
        for audio in self.audio(leg, prompt, page).await {
            self.legs.play(leg, &audio).await?;
        }
        Ok(())
    }

    /// A prompt as sound; the media of a Play is fetched once, however often it is repeated.
    async fn audio(&mut self, leg: LegId, prompt: &Prompt, page: &Page) -> Vec<Audio> {
        let repeated = |audio: Audio, repeat: u32| {
            let times = if repeat == 0 { FOREVER } else { repeat };
            vec![audio; usize::try_from(times).unwrap_or(1)]
        };
        match prompt {
            Prompt::Say { text, repeat } => repeated(Audio::Speech { text: text.clone() }, *repeat),
            Prompt::Play { url, repeat } => match self.media_length(leg, url, page).await {
                Some(length) => repeated(Audio::File { length }, *repeat),
                None => Vec::new(),
            },
            Prompt::PlayDigits { digits } => vec![Audio::Keys { digits: digits.clone() }],
            Prompt::Pause { seconds } => vec![Audio::Silence { length: seconds_of(*seconds) }],
        }
    }

    /// Fetches the media of a Play; a failure is in the error log and the call goes on.
    async fn media_length(&mut self, leg: LegId, url: &str, page: &Page) -> Option<SignedDuration> {
        let request = self.request(
            Hook::Play,
            leg,
            &Link { url: url.to_owned(), method: Method::Get },
            page,
            Params::new(),
        )?;
        let answer = self.fetch(request).await.ok()?;
        if !answer.content_type.starts_with("audio/") {
            let text = format!("{:?} cannot be played", answer.content_type);
            self.warn(leg, 12_300, &text);
            return None;
        }
        let length_ms = play_length_ms(&answer.content_type, &answer.body);
        Some(SignedDuration::from_millis(i64::try_from(length_ms).unwrap_or(i64::MAX)))
    }

    /// The request a Gather leads to, if it leads anywhere.
    pub(crate) async fn gather(
        &mut self,
        leg: LegId,
        gather: &Gather,
        page: &Page,
    ) -> Result<Option<Request>, Gone> {
        let mut prompts = Vec::new();
        for prompt in &gather.prompts {
            prompts.extend(self.audio(leg, prompt, page).await);
        }
        let rules = CollectRules {
            dtmf: gather.dtmf,
            speech: gather.speech,
            timeout: seconds_of(gather.timeout_s),
            num_digits: gather.num_digits,
            finish_on_key: gather.finish_on_key.clone(),
        };
        let mut params = self.with_leg(leg, callbacks::standard);
        match self.legs.collect(leg, &prompts, &rules).await? {
            Heard::Digits(digits) => callbacks::add(&mut params, "Digits", &digits),
            Heard::Speech(words) => {
                callbacks::add(&mut params, "SpeechResult", &words);
                callbacks::add(&mut params, "Confidence", "0.9");
            }
            Heard::Nothing if gather.action_on_empty_result => {
                callbacks::add(&mut params, "Digits", "");
            }
            Heard::Nothing => return Ok(None),
        }
        let action = gather.action.clone().unwrap_or_else(|| page.link());
        Ok(self.request(Hook::Gather, leg, &action, page, params))
    }
}
