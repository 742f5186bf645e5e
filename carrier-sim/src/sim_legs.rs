//! The simulated telephone network: plays a scenario's people on the legs of one call. Decides when who rings, answers,
//! talks, presses keys and hangs up.
//!
//! A call has its own time, in whole steps from event to event: what would happen first is computed, then slept to. So a
//! race between, say, a caller's patience and a destination's answer has the same result at every scale, and durations are
//! exact. Time that the customer's server takes counts in whole real seconds; a quick answer costs nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use crate::legs::{
    Audio, BridgeEnd, CALLER, CollectRules, Ending, Gone, Heard, LegEvent, LegId, Legs, RecordEnd,
    RecordRules, Recorded, RecordingHandle,
};
use crate::media::{self, Burst, Sound};
use crate::records::HangUpCommand;
use crate::scenario::{CallScript, Destination, DestinationOutcome, VoicemailFinish};
use crate::sid::seeded_hash;
use crate::state::Carrier;

/// How fast a text is read out, about 150 words a minute.
const CHARACTERS_PER_SECOND: usize = 15;
/// A tone and the pause after it.
const KEY_MS: u64 = 500;
/// A leg that was placed begins to ring.
const RINGING_AFTER_MS: u64 = 1000;
/// How long the network takes to say that a number is busy or not in service.
const BUSY_AFTER_MS: u64 = 2000;
const FAILED_AFTER_MS: u64 = 1000;
/// Between the end of a prompt and the answer to it.
const REACTION_MS: u64 = 1000;
const BEEP_MS: u64 = 1000;

/// The legs of a scripted call.
#[derive(Debug)]
pub struct SimLegs {
    carrier: Arc<Carrier>,
    script: CallScript,
    call_sid: String,
    commands: mpsc::Receiver<HangUpCommand>,
    started_at: Timestamp,
    /// The call's own time, in milliseconds since it began.
    at_ms: u64,
    caller_left: bool,
    caller_digits: VecDeque<String>,
    caller_says: VecDeque<String>,
    callees: Vec<Callee>,
    /// Everybody's talk so far.
    bursts: Vec<Burst>,
    /// When each recording began.
    recordings: Vec<u64>,
    seed: u64,
}

/// A leg that a Dial placed.
#[derive(Debug)]
struct Callee {
    sid: String,
    destination: Destination,
    whisper_keys: VecDeque<String>,
    present: bool,
    /// What is still going to happen, in order.
    plan: VecDeque<(u64, Step)>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ring,
    Answer,
    End(Ending),
}

impl SimLegs {
    pub fn new(
        carrier: Arc<Carrier>,
        script: CallScript,
        call_sid: String,
        started_at: Timestamp,
        commands: mpsc::Receiver<HangUpCommand>,
    ) -> Self {
        Self {
            caller_digits: script.digits.texts().into(),
            caller_says: script.says.texts().into(),
            seed: seeded_hash(carrier.seed, &call_sid),
            carrier,
            script,
            call_sid,
            commands,
            started_at,
            at_ms: 0,
            caller_left: false,
            callees: Vec::new(),
            bursts: Vec::new(),
            recordings: Vec::new(),
        }
    }

    fn hangup_ms(&self) -> u64 {
        self.script.hangup_after_s.map_or(u64::MAX, milliseconds)
    }

    fn callee(&mut self, leg: LegId) -> Option<&mut Callee> {
        self.callees.get_mut(leg.0.checked_sub(1)?)
    }

    /// Sleeps until an instant of the call. False when something else changed first.
    async fn step(&mut self, until_ms: u64) -> Result<bool, Gone> {
        if self.caller_left {
            return Err(Gone(CALLER));
        }
        let until_ms = until_ms.max(self.at_ms);
        let target_ms = until_ms.min(self.hangup_ms()).max(self.at_ms);
        let started = Instant::now();
        let sleep = self.carrier.clock.sleep(signed(target_ms - self.at_ms));
        tokio::select! {
            biased;
            Some(command) = self.commands.recv() => {
                let passed = self.carrier.clock.to_virtual(started.elapsed());
                let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(0);
                self.at_ms = (self.at_ms + passed_ms).min(target_ms);
                self.obey(&command);
                Ok(false)
            }
            () = sleep => {
                self.at_ms = target_ms;
                if self.hangup_ms() <= self.at_ms {
                    self.caller_left = true;
                    return Err(Gone(CALLER));
                }
                Ok(true)
            }
        }
    }

    /// Sleeps until an instant, unless the caller or `needed` leaves before.
    async fn pass(&mut self, until_ms: u64, needed: LegId) -> Result<(), Gone> {
        loop {
            if needed != CALLER && !self.is_present(needed) {
                return Err(Gone(needed));
            }
            if self.step(until_ms).await? {
                return Ok(());
            }
        }
    }

    fn obey(&mut self, command: &HangUpCommand) {
        if command.leg_sid == self.call_sid {
            self.caller_left = true;
        }
        let at_ms = self.at_ms;
        let named = self.callees.iter_mut().find(|callee| callee.sid == command.leg_sid && callee.present);
        if let Some(callee) = named {
            callee.present = false;
            callee.plan = VecDeque::from([(at_ms, Step::End(Ending::HungUp))]);
        }
    }

    /// What a leg answers to a prompt, from its script.
    fn reply(&mut self, leg: LegId, rules: &CollectRules) -> Option<Reply> {
        if leg != CALLER {
            let keys = self.callee(leg)?.whisper_keys.pop_front();
            return keys.filter(|_| rules.dtmf).map(Reply::Keys);
        }
        if rules.dtmf
            && let Some(keys) = self.caller_digits.pop_front()
        {
            return Some(Reply::Keys(keys));
        }
        let words = if rules.speech { self.caller_says.pop_front() } else { None };
        words.map(Reply::Words)
    }

    /// When and how the caller's message after the beep ends, in milliseconds after the beep.
    fn message_end(&self, rules: &RecordRules) -> (u64, RecordEnd) {
        let said_ms = milliseconds(self.script.voicemail.seconds);
        let presses_pound = rules.finish_on_key.contains('#');
        let end = match self.script.voicemail.finish {
            VoicemailFinish::Hangup => (said_ms, RecordEnd::HungUp),
            VoicemailFinish::Pound if presses_pound => (said_ms, RecordEnd::Key('#')),
            VoicemailFinish::Pound | VoicemailFinish::Silence => {
                (said_ms + unsigned(rules.silence), RecordEnd::Silence)
            }
        };
        let max_ms = unsigned(rules.max_length);
        if max_ms < end.0 { (max_ms, RecordEnd::MaxLength) } else { end }
    }

    fn recorded(&self, started_at: Timestamp, start_ms: u64, end: RecordEnd, trim_silence: bool) -> Recorded {
        let said_ms = milliseconds(self.script.voicemail.seconds);
        let mut length_ms = self.at_ms - start_ms;
        if trim_silence && end == RecordEnd::Silence {
            length_ms = length_ms.min(said_ms);
        }
        let talk = media::monologue(start_ms, start_ms + said_ms, self.seed);
        Recorded {
            started_at,
            sound: Sound::cut(1, rounded_seconds(length_ms), start_ms, &talk, self.seed),
            end,
            transcript: Some(self.script.voicemail.says.clone()),
        }
    }
}

enum Reply {
    Keys(String),
    Words(String),
}

impl Legs for SimLegs {
    fn now(&self) -> Timestamp {
        self.started_at + signed(self.at_ms)
    }

    fn waited(&mut self, real_time: Duration) {
        self.at_ms += real_time.as_secs() * 1000;
        while let Ok(command) = self.commands.try_recv() {
            self.obey(&command);
        }
    }

    fn is_present(&self, leg: LegId) -> bool {
        match leg.0.checked_sub(1) {
            None => !self.caller_left && self.at_ms < self.hangup_ms(),
            Some(place) => self.callees.get(place).is_some_and(|callee| callee.present),
        }
    }

    async fn answer(&mut self) {}

    async fn place(&mut self, sid: &str, number: &str, _caller_id: &str) -> LegId {
        let destination = self.script.find_destination(number).cloned();
        let destination = destination.unwrap_or_else(|| {
            let state = self.carrier.state();
            let configured = state.destinations.get(number).cloned();
            configured.unwrap_or_else(|| Destination::of_number(number))
        });
        let answer_ms = milliseconds(destination.answer_after_s);
        let ring = (RINGING_AFTER_MS.min(answer_ms), Step::Ring);
        let plan = match destination.outcome {
            DestinationOutcome::Answer => vec![ring, (answer_ms, Step::Answer)],
            DestinationOutcome::NoAnswer => vec![(RINGING_AFTER_MS, Step::Ring)],
            DestinationOutcome::Busy => vec![(BUSY_AFTER_MS, Step::End(Ending::Busy))],
            DestinationOutcome::Fail => vec![(FAILED_AFTER_MS, Step::End(Ending::Failed))],
        };
        let placed_ms = self.at_ms;
        self.callees.push(Callee {
            sid: sid.to_owned(),
            whisper_keys: destination.whisper_keys.texts().into(),
            destination,
            present: true,
            plan: plan.into_iter().map(|(after_ms, step)| (placed_ms + after_ms, step)).collect(),
        });
        LegId(self.callees.len())
    }

    async fn next_event(&mut self, deadline: Timestamp) -> Result<Option<LegEvent>, Gone> {
        let deadline_ms = unsigned(deadline.duration_since(self.started_at));
        loop {
            let next = (self.callees.iter().enumerate())
                .filter_map(|(place, callee)| callee.plan.front().map(|(at, _)| (*at, place)))
                .min()
                .filter(|(at_ms, _)| *at_ms <= deadline_ms);
            let until_ms = next.map_or(deadline_ms, |(at_ms, _)| at_ms);
            if !self.step(until_ms).await? {
                continue;
            }
            let Some((_, place)) = next else {
                return Ok(None);
            };
            let callee = &mut self.callees[place];
            let Some((_, step)) = callee.plan.pop_front() else {
                continue;
            };
            let leg = LegId(place + 1);
            return Ok(Some(match step {
                Step::Ring => LegEvent::Ringing(leg),
                Step::Answer => LegEvent::Answered(leg),
                Step::End(ending) => {
                    callee.present = false;
                    LegEvent::Ended(leg, ending)
                }
            }));
        }
    }

    async fn play(&mut self, leg: LegId, audio: &Audio) -> Result<(), Gone> {
        self.pass(self.at_ms + length_ms(audio), leg).await
    }

    async fn collect(&mut self, leg: LegId, prompts: &[Audio], rules: &CollectRules) -> Result<Heard, Gone> {
        let prompts_ms: u64 = prompts.iter().map(length_ms).sum();
        let timeout_ms = unsigned(rules.timeout);
        self.pass(self.at_ms + prompts_ms, leg).await?;
        let Some(reply) = self.reply(leg, rules) else {
            self.pass(self.at_ms + timeout_ms, leg).await?;
            return Ok(Heard::Nothing);
        };
        self.pass(self.at_ms + REACTION_MS, leg).await?;
        match reply {
            Reply::Words(words) => {
                let length_ms = speech_ms(&words);
                self.pass(self.at_ms + length_ms, leg).await?;
                Ok(Heard::Speech(words))
            }
            Reply::Keys(keys) => {
                let (digits, finished) = press(&keys, rules);
                if !finished {
                    self.pass(self.at_ms + timeout_ms, leg).await?;
                }
                Ok(if digits.is_empty() { Heard::Nothing } else { Heard::Digits(digits) })
            }
        }
    }

    async fn record(&mut self, rules: &RecordRules) -> Recorded {
        let beep_ms = if rules.play_beep { BEEP_MS } else { 0 };
        let heard_beep = self.pass(self.at_ms + beep_ms, CALLER).await;
        let (started_at, start_ms) = (self.now(), self.at_ms);
        let (after_ms, mut end) = self.message_end(rules);
        let stayed = match heard_beep {
            Ok(()) => self.pass(start_ms + after_ms, CALLER).await,
            Err(gone) => Err(gone),
        };
        if stayed.is_err() {
            end = RecordEnd::HungUp;
        }
        if end == RecordEnd::HungUp {
            self.caller_left = true;
        }
        self.recorded(started_at, start_ms, end, rules.trim_silence)
    }

    async fn bridge(&mut self, callee: LegId, limit: SignedDuration) -> BridgeEnd {
        let Some(destination) = self.callee(callee).map(|callee| callee.destination.clone()) else {
            return BridgeEnd::CalleeLeft;
        };
        let start_ms = self.at_ms;
        let talk_end_ms = start_ms + milliseconds(destination.talk_s);
        let limit_ms = start_ms + unsigned(limit);
        let ended = self.pass(talk_end_ms.min(limit_ms), callee).await;
        let seed = self.seed ^ start_ms;
        self.bursts.extend(media::conversation(start_ms, self.at_ms, seed));
        match ended {
            Err(Gone(CALLER)) => BridgeEnd::CallerLeft,
            Err(Gone(_callee)) => BridgeEnd::CalleeLeft,
            Ok(()) if limit_ms < talk_end_ms => BridgeEnd::TimeLimit,
            Ok(()) if destination.hangs_up_first => {
                self.hang_up(callee).await;
                BridgeEnd::CalleeLeft
            }
            Ok(()) => {
                self.caller_left = true;
                BridgeEnd::CallerLeft
            }
        }
    }

    fn start_recording(&mut self) -> RecordingHandle {
        self.recordings.push(self.at_ms);
        RecordingHandle(self.recordings.len() - 1)
    }

    fn stop_recording(&mut self, recording: RecordingHandle, dual: bool) -> Sound {
        let start_ms = self.recordings[recording.0];
        let seconds = rounded_seconds(self.at_ms - start_ms);
        let channels = if dual { 2 } else { 1 };
        Sound::cut(channels, seconds, start_ms, &self.bursts, self.seed)
    }

    async fn hang_up(&mut self, leg: LegId) {
        match self.callee(leg) {
            None => self.caller_left = true,
            Some(callee) => {
                callee.present = false;
                callee.plan.clear();
            }
        }
    }
}

/// The digits a Gather takes from the keys pressed, and whether it is satisfied with them.
fn press(keys: &str, rules: &CollectRules) -> (String, bool) {
    let mut digits = String::new();
    for key in keys.chars() {
        if rules.finish_on_key.contains(key) {
            return (digits, true);
        }
        digits.push(key);
        let wanted = rules.num_digits.and_then(|count| usize::try_from(count).ok());
        if wanted == Some(digits.len()) {
            return (digits, true);
        }
    }
    (digits, false)
}

fn length_ms(audio: &Audio) -> u64 {
    match audio {
        Audio::Speech { text } => speech_ms(text),
        Audio::File { length } | Audio::Silence { length } => unsigned(*length),
        Audio::Keys { digits } => digits.chars().count() as u64 * KEY_MS,
    }
}

/// Whole seconds, at least one.
fn speech_ms(text: &str) -> u64 {
    let seconds = text.chars().count().div_ceil(CHARACTERS_PER_SECOND).max(1);
    seconds as u64 * 1000
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

fn rounded_seconds(milliseconds: u64) -> u32 {
    u32::try_from((milliseconds + 500) / 1000).unwrap_or(u32::MAX)
}

fn signed(milliseconds: u64) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX))
}

fn unsigned(duration: SignedDuration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_until_the_gather_is_satisfied() {
        let rules = |num_digits, finish_on_key: &str| CollectRules {
            dtmf: true,
            speech: false,
            timeout: SignedDuration::from_secs(5),
            num_digits,
            finish_on_key: finish_on_key.to_owned(),
        };
        for (keys, rules, digits, finished) in [
            ("1", rules(Some(1), "#"), "1", true),
            ("123", rules(Some(2), "#"), "12", true),
            ("12#3", rules(None, "#"), "12", true),
            ("12#", rules(None, ""), "12#", false),
            ("#", rules(Some(1), "#"), "", true),
        ] {
            assert_eq!(press(keys, &rules), (digits.to_owned(), finished), "{keys}");
        }
    }

    #[test]
    fn speech_takes_whole_seconds() {
        for (text, length) in [("", 1000), ("Hi", 1000), ("Sixteen letters!", 2000)] {
            assert_eq!(speech_ms(text), length, "{text}");
        }
    }
}
