//! The simulated exchange: a trunk group of its own, a table of numbers, and what each number's line says and hears.

use crate::circuit::Circuit;
use crate::config::{CIRCUITS, TrunkConfig};
use crate::group::{Alert, Event, NoCircuit, Output, Setup, TrunkGroup};
use std::collections::VecDeque;
use std::time::Duration;
use strowger_clock::Moment;
use strowger_isup::{Cause, Charge, Location, Tariff};
use strowger_rtp::dtmf::DtmfDetector;
use strowger_rtp::g711::{A_LAW_SILENCE, decode_a, encode_a};
use strowger_rtp::tone::{ToneGenerator, TonePlan};

static WELCOME: &[u8] = include_bytes!("../audio/welcome.al");
static GOODBYE: &[u8] = include_bytes!("../audio/goodbye.al");

/// Most numbers of the table.
pub const MAX_NUMBERS: usize = 10_000;
/// Digits heard in band that are remembered for each line.
const MAX_HEARD: usize = 64;

/// What calling a number does.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Behavior {
    /// Rings for `ring`, answers, speaks the announcement, then echoes until released.
    AnnounceAndEcho,
    /// Rings, answers, speaks, releases with cause 16.
    AnnounceAndRelease,
    /// Released at once with cause 17.
    Busy,
    /// Rings until `no_answer`, then is released with cause 19.
    NoAnswer,
    /// Released at once with cause 1, as any number that is not in the table.
    Unallocated,
    /// Congestion tone in band for `congestion`, then released with cause 34.
    Congestion,
}

/// One number of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Digits with country code, without plus.
    pub number: String,
    /// What it does.
    pub behavior: Behavior,
}

/// What an exchange is told at its start.
#[derive(Clone, Debug)]
pub struct ExchangeConfig {
    /// The trunk as this end sees it ([`TrunkConfig::reversed`] of the gateway's).
    pub trunk: TrunkConfig,
    /// Numbers, at most [`MAX_NUMBERS`]; later ones are ignored.
    pub subscribers: Vec<Subscriber>,
    /// Tones.
    pub tones: TonePlan,
    /// Charge messages for calls that are answered; `None` sends none.
    pub tariff: Option<Tariff>,
    /// From ringing to answer.
    pub ring: Duration,
    /// From ringing to release of a number that does not answer.
    pub no_answer: Duration,
    /// Length of the congestion tone.
    pub congestion: Duration,
}

impl ExchangeConfig {
    /// The test numbers 12125550100–105, North American tones, ringing for 1 s, 0.01 USD for each begun 6 s.
    pub fn new(trunk: TrunkConfig) -> Self {
        let table = [
            ("12125550100", Behavior::AnnounceAndEcho),
            ("12125550101", Behavior::Busy),
            ("12125550102", Behavior::NoAnswer),
            ("12125550103", Behavior::AnnounceAndRelease),
            ("12125550104", Behavior::Unallocated),
            ("12125550105", Behavior::Congestion),
        ];
        Self {
            trunk,
            subscribers: table.map(|(number, behavior)| Subscriber { number: number.to_owned(), behavior }).into(),
            tones: TonePlan::NANP,
            tariff: Some(Tariff { currency: *b"USD", setup_micros: 0, interval_micros: 10_000, interval_ms: 6_000 }),
            ring: Duration::from_secs(1),
            no_answer: Duration::from_secs(30),
            congestion: Duration::from_secs(2),
        }
    }
}

/// What happened over the exchange's life.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ExchangeCounters {
    /// Calls that came in.
    pub calls: u64,
    /// Calls answered.
    pub answered: u64,
    /// Charge messages sent.
    pub charges: u64,
}

/// What is in the bearer toward the gateway.
#[derive(Debug)]
enum Voice {
    Silence,
    Tone(Box<ToneGenerator>),
    Announcement { octets: &'static [u8], at: usize },
    Echo,
}

/// What the line will do by itself, and when.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Next {
    Answer(Behavior),
    Release(Cause),
}

#[derive(Debug)]
struct CallLine {
    voice: Voice,
    next: Option<(Moment, Next)>,
    after_announcement: Option<Behavior>,
    charging: Option<Charging>,
    detector: DtmfDetector,
    heard: VecDeque<char>,
}

#[derive(Copy, Clone, Debug)]
struct Charging {
    next: Moment,
    number: u32,
    charged_ms: u64,
}

impl CallLine {
    fn new() -> Self {
        Self {
            voice: Voice::Silence,
            next: None,
            after_announcement: None,
            charging: None,
            detector: DtmfDetector::new(),
            heard: VecDeque::new(),
        }
    }
}

/// The exchange.
#[derive(Debug)]
pub struct Exchange {
    config: ExchangeConfig,
    group: TrunkGroup,
    lines: [Option<Box<CallLine>>; CIRCUITS],
    units: VecDeque<Vec<u8>>,
    finished: u32, // one bit a circuit: its announcement ended in a bearer block
    counters: ExchangeCounters,
}

impl Exchange {
    /// An exchange with every circuit idle.
    pub fn new(mut config: ExchangeConfig) -> Self {
        config.subscribers.truncate(MAX_NUMBERS);
        Self {
            group: TrunkGroup::new(config.trunk),
            config,
            lines: std::array::from_fn(|_| None),
            units: VecDeque::new(),
            finished: 0,
            counters: ExchangeCounters::default(),
        }
    }

    /// Takes a message signal unit from the gateway.
    pub fn received(&mut self, now: Moment, bytes: &[u8]) {
        self.group.received(now, bytes);
        self.drain(now);
    }

    /// The next message signal unit to the gateway.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.units.pop_front()
    }

    /// Calls into the gateway; when it answers, the line echoes. Digits without plus.
    ///
    /// # Errors
    /// No circuit is free.
    pub fn originate(&mut self, now: Moment, setup: Setup) -> Result<Circuit, NoCircuit> {
        let circuit = self.group.setup(now, setup)?;
        self.lines[circuit.index()] = Some(Box::new(CallLine::new()));
        self.drain(now);
        Ok(circuit)
    }

    /// Ends a call from this end.
    pub fn hang_up(&mut self, now: Moment, circuit: Circuit, cause: Cause) {
        self.group.release(now, circuit, Location::User, cause);
        self.lines[circuit.index()] = None;
        self.drain(now);
    }

    /// The signalling machine of this end, for maintenance (block, reset) and looking. Drive [`Self::timeout`] after.
    pub fn group_mut(&mut self) -> &mut TrunkGroup {
        &mut self.group
    }

    /// What happened so far.
    pub fn counters(&self) -> ExchangeCounters {
        self.counters
    }

    /// Digits that the echo line heard in band, oldest first, at most 64.
    pub fn digits_heard(&self, circuit: Circuit) -> String {
        self.line(circuit).map(|line| line.heard.iter().collect()).unwrap_or_default()
    }

    /// When [`Self::timeout`] is to be called next. An announcement's end is found by [`Self::bearer`] and acted on at
    /// the `timeout` after it.
    pub fn next_deadline(&self) -> Option<Moment> {
        if self.finished != 0 {
            return Some(Moment::ZERO);
        }
        let lines = self.lines.iter().flatten();
        let own = lines.flat_map(|line| [line.next.map(|(at, _)| at), line.charging.map(|charging| charging.next)]);
        own.flatten().chain(self.group.next_deadline()).min()
    }

    /// Lets everything that is due happen.
    pub fn timeout(&mut self, now: Moment) {
        self.group.timeout(now);
        self.drain(now);
        for circuit in Circuit::all() {
            if self.finished >> circuit.index() & 1 != 0 {
                self.finished &= !(1 << circuit.index());
                self.announcement_over(now, circuit);
            }
            let due = self.line(circuit).and_then(|line| line.next).filter(|(at, _)| *at <= now);
            if let Some((_, next)) = due {
                if let Some(line) = self.line_mut(circuit) {
                    line.next = None;
                }
                match next {
                    Next::Answer(behavior) => self.answer(now, circuit, behavior),
                    Next::Release(cause) => self.hang_up(now, circuit, cause),
                }
            }
            self.charge(now, circuit);
        }
        self.drain(now);
    }

    // a Circuit is below CIRCUITS by construction, so these cannot be out of the array
    fn line(&self, circuit: Circuit) -> Option<&CallLine> {
        self.lines[circuit.index()].as_deref()
    }

    fn line_mut(&mut self, circuit: Circuit) -> Option<&mut CallLine> {
        self.lines[circuit.index()].as_deref_mut()
    }

    fn drain(&mut self, now: Moment) {
        while let Some(output) = self.group.poll_output() {
            match output {
                Output::Transmit(bytes) => self.units.push_back(bytes),
                Output::Event(event) => self.event(now, event),
            }
        }
    }

    fn event(&mut self, now: Moment, event: Event) {
        match event {
            Event::IncomingCall { circuit, called, complete, .. } => {
                self.counters.calls += 1;
                self.lines[circuit.index()] = Some(Box::new(CallLine::new()));
                self.route(now, circuit, &called, complete);
            }
            Event::Digits { circuit, called, complete } => self.route(now, circuit, &called, complete),
            Event::Answered { circuit } => {
                if let Some(line) = self.line_mut(circuit) {
                    line.voice = Voice::Echo;
                }
            }
            Event::Released { circuit, .. } => self.lines[circuit.index()] = None,
            Event::Moved { from, to } => {
                let line = self.lines[from.index()].take();
                self.lines[to.index()] = line;
            }
            _ => {}
        }
    }

    fn route(&mut self, now: Moment, circuit: Circuit, called: &str, complete: bool) {
        let found = self.config.subscribers.iter().find(|subscriber| subscriber.number == called);
        let prefix = || self.config.subscribers.iter().any(|subscriber| subscriber.number.starts_with(called));
        let behavior = match found {
            Some(subscriber) => subscriber.behavior,
            None if !complete && prefix() => return, // more digits may come (T35)
            None => Behavior::Unallocated,
        };
        match behavior {
            Behavior::Busy => self.refuse(now, circuit, Location::User, Cause::USER_BUSY),
            Behavior::Unallocated => self.refuse(now, circuit, Location::PublicRemote, Cause::UNALLOCATED_NUMBER),
            Behavior::Congestion => {
                self.group.alert(circuit, Alert::Complete, true);
                let (tone, at) = (ToneGenerator::new(&self.config.tones.congestion), now + self.config.congestion);
                self.set(circuit, Voice::Tone(Box::new(tone)), Some((at, Next::Release(Cause::NO_CIRCUIT))));
            }
            Behavior::NoAnswer | Behavior::AnnounceAndEcho | Behavior::AnnounceAndRelease => {
                self.group.alert(circuit, Alert::Ringing, true);
                if let Some(tariff) = self.config.tariff.filter(|_| behavior != Behavior::NoAnswer) {
                    self.group.charge(circuit, Charge::Tariff(tariff));
                    self.counters.charges += 1;
                }
                let next = if behavior == Behavior::NoAnswer {
                    (now + self.config.no_answer, Next::Release(Cause::NO_ANSWER))
                } else {
                    (now + self.config.ring, Next::Answer(behavior))
                };
                let tone = ToneGenerator::new(&self.config.tones.ringback);
                self.set(circuit, Voice::Tone(Box::new(tone)), Some(next));
            }
        }
    }

    fn refuse(&mut self, now: Moment, circuit: Circuit, location: Location, cause: Cause) {
        self.group.release(now, circuit, location, cause);
        self.lines[circuit.index()] = None;
    }

    fn set(&mut self, circuit: Circuit, voice: Voice, next: Option<(Moment, Next)>) {
        if let Some(line) = self.line_mut(circuit) {
            line.voice = voice;
            line.next = next;
        }
    }

    fn answer(&mut self, now: Moment, circuit: Circuit, behavior: Behavior) {
        if !self.group.answer(circuit) {
            return;
        }
        self.counters.answered += 1;
        let octets = if behavior == Behavior::AnnounceAndRelease { GOODBYE } else { WELCOME };
        self.set(circuit, Voice::Announcement { octets, at: 0 }, None);
        let charged = self.config.tariff.is_some();
        if let Some(line) = self.line_mut(circuit) {
            line.after_announcement = Some(behavior);
            line.charging = charged.then_some(Charging { next: now, number: 0, charged_ms: 0 });
        }
    }

    fn announcement_over(&mut self, now: Moment, circuit: Circuit) {
        let behavior = self.line_mut(circuit).and_then(|line| line.after_announcement.take());
        match behavior {
            Some(Behavior::AnnounceAndRelease) => self.hang_up(now, circuit, Cause::NORMAL_CLEARING),
            Some(_) => self.set(circuit, Voice::Echo, None),
            None => {}
        }
    }

    /// Each begun interval is due at its beginning; the charge at answer goes with the first.
    fn charge(&mut self, now: Moment, circuit: Circuit) {
        let Some(tariff) = self.config.tariff else { return };
        let Some(line) = self.line_mut(circuit) else { return };
        let Some(charging) = line.charging.as_mut().filter(|charging| charging.next <= now) else { return };
        charging.number += 1;
        charging.charged_ms += u64::from(tariff.interval_ms);
        charging.next += Duration::from_millis(u64::from(tariff.interval_ms.max(100)));
        let setup = if charging.number == 1 { tariff.setup_micros } else { 0 };
        let message = Charge::Interval {
            currency: tariff.currency,
            number: charging.number,
            charged_seconds: u32::try_from(charging.charged_ms / 1000).unwrap_or(u32::MAX),
            amount_micros: tariff.interval_micros.saturating_add(setup),
        };
        self.group.charge(circuit, message);
        self.counters.charges += 1;
    }

    /// One block of a timeslot: takes what the gateway says, fills what it hears. Any length; both should be the same.
    pub fn bearer(&mut self, circuit: Circuit, from_gateway: &[u8], to_gateway: &mut [u8]) {
        let Some(line) = self.lines[circuit.index()].as_deref_mut() else {
            to_gateway.fill(A_LAW_SILENCE);
            return;
        };
        match &mut line.voice {
            Voice::Silence => to_gateway.fill(A_LAW_SILENCE),
            Voice::Tone(generator) => {
                for octet in to_gateway {
                    let mut sample = [0];
                    generator.fill(&mut sample);
                    *octet = encode_a(sample[0]);
                }
            }
            Voice::Announcement { octets, at } => {
                let rest = octets.get(*at..).unwrap_or(&[]);
                let count = rest.len().min(to_gateway.len());
                let (said, silent) = to_gateway.split_at_mut(count);
                said.copy_from_slice(rest.get(..count).unwrap_or(&[]));
                silent.fill(A_LAW_SILENCE);
                *at += count;
                if *at >= octets.len() {
                    self.finished |= 1 << circuit.index();
                }
            }
            Voice::Echo => {
                let count = from_gateway.len().min(to_gateway.len());
                let (echoed, silent) = to_gateway.split_at_mut(count);
                echoed.copy_from_slice(from_gateway.get(..count).unwrap_or(&[]));
                silent.fill(A_LAW_SILENCE);
                let heard = &mut line.heard;
                for octet in from_gateway {
                    line.detector.process(&[decode_a(*octet)], |digit| {
                        if heard.len() == MAX_HEARD {
                            heard.pop_front();
                        }
                        heard.push_back(digit);
                    });
                }
            }
        }
    }
}
