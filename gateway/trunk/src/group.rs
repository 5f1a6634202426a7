//! The signalling of one trunk group: calls on circuits (Q.764 §2). Blocking and reset: `supervision`; time: `timers`.

use crate::circuit::{CallTimer, Circuit, CircuitState, Line};
use crate::config::{CIRCUITS, TrunkConfig};
use std::collections::VecDeque;
use strowger_clock::Moment;
use strowger_isup::{
    BackwardCallIndicators, CalledPartyNumber, CalledPartyStatus, CallingPartyNumber, Cause, CauseIndicators, Charge,
    EventInformation, InitialAddress, Location, MAX_DIGITS, Message, MessageError, Msu, MsuError, NatureOfAddress,
    NumberError, OptionalParameter, RoutingLabel, SuspendResume, parameter,
};
use thiserror::Error;

/// A set-up that loses its circuit to the other end, or meets a circuit the other end cannot use, is tried so often.
pub(crate) const MAX_ATTEMPTS: u8 = 3;

/// No circuit is idle and unblocked: to SIP this is cause 34.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[error("no circuit of the trunk group is free")]
pub struct NoCircuit;

/// What an outgoing call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Called party.
    pub called: CalledPartyNumber,
    /// Calling party, when it is known.
    pub calling: Option<CallingPartyNumber>,
}

impl Setup {
    /// Complete international numbers, digits without plus.
    ///
    /// # Errors
    /// A character that is no digit, or too many of them.
    pub fn international(called: &str, calling: Option<&str>) -> Result<Self, NumberError> {
        Ok(Self {
            called: CalledPartyNumber::international(called)?,
            calling: calling
                .map(|digits| CallingPartyNumber::new(NatureOfAddress::International, digits))
                .transpose()?,
        })
    }
}

/// How far a call got before answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Alert {
    /// The address is complete, no more is known (early ACM): 183 to SIP.
    Complete,
    /// The called party is alerted: 180 to SIP.
    Ringing,
    /// Only progress, or information in band.
    Progress,
}

/// What the other end or time brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call comes in. Answer with [`TrunkGroup::alert`], [`TrunkGroup::answer`] or [`TrunkGroup::release`].
    IncomingCall {
        /// Its circuit.
        circuit: Circuit,
        /// Digits so far, without ST.
        called: String,
        /// Nature of the called address.
        nature: NatureOfAddress,
        /// Whether ST ended the digits; without it more may come.
        complete: bool,
        /// Calling party, when told.
        calling: Option<CallingPartyNumber>,
    },
    /// More digits of an incoming call (SAM): all digits so far.
    Digits {
        /// Its circuit.
        circuit: Circuit,
        /// Digits so far, without ST.
        called: String,
        /// Whether ST ended them.
        complete: bool,
    },
    /// ACM or CPG.
    Alerting {
        /// Its circuit.
        circuit: Circuit,
        /// How far it got.
        alert: Alert,
        /// A tone or announcement is in the bearer: connect it now.
        in_band: bool,
    },
    /// ANM or CON.
    Answered {
        /// Its circuit.
        circuit: Circuit,
    },
    /// The called party hung up for now; the call stays until T6 or REL.
    Suspended {
        /// Its circuit.
        circuit: Circuit,
    },
    /// And is back.
    Resumed {
        /// Its circuit.
        circuit: Circuit,
    },
    /// A charge message.
    Charge {
        /// Its circuit.
        circuit: Circuit,
        /// Tariff or amount.
        charge: Charge,
    },
    /// The call is over, whoever ended it but the user. Nothing more comes of it.
    Released {
        /// Its circuit.
        circuit: Circuit,
        /// Why and who.
        cause: CauseIndicators,
    },
    /// A set-up continues on another circuit: the other end took the first (dual seizure) or cannot use it.
    Moved {
        /// Where it was.
        from: Circuit,
        /// Where it is.
        to: Circuit,
    },
    /// The circuit can be used again.
    Idle {
        /// Which.
        circuit: Circuit,
    },
    /// The other end blocked or unblocked the circuit.
    Blocking {
        /// Which.
        circuit: Circuit,
        /// Blocked now.
        blocked: bool,
    },
    /// Maintenance: the other end does not answer releases or resets of this circuit (T5, T17, T13 passed).
    Alarm {
        /// Which.
        circuit: Circuit,
    },
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this message signal unit (service information octet first).
    Transmit(Vec<u8>),
    /// Tell the user.
    Event(Event),
}

/// What happened over the group's life.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Units received.
    pub received: u64,
    /// Units sent.
    pub sent: u64,
    /// Units dropped because they could not be read.
    pub malformed: u64,
    /// Units dropped because they were for another point code or service.
    pub misrouted: u64,
    /// Messages of a type not known (answered with CFN).
    pub unknown: u64,
    /// Messages that the circuit's state did not expect.
    pub unexpected: u64,
    /// Both ends seized one circuit.
    pub dual_seizures: u64,
    /// Set-ups refused because no circuit was free.
    pub no_circuit: u64,
    /// Timers that expired.
    pub expiries: u64,
}

/// Circuits by what they do now.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Free and usable.
    pub idle: usize,
    /// With a call.
    pub busy: usize,
    /// In release or reset.
    pub transient: usize,
    /// Blocked by either end.
    pub blocked: usize,
}

/// One end of a trunk group. One input makes at most a handful of outputs for each of its circuits; drain them before the next.
#[derive(Debug)]
pub struct TrunkGroup {
    pub(crate) config: TrunkConfig,
    pub(crate) lines: [Line; CIRCUITS],
    pub(crate) output: VecDeque<Output>,
    pub(crate) counters: Counters,
}

impl TrunkGroup {
    /// Every circuit idle. To align with the other end first, call [`Self::reset_all`].
    pub fn new(config: TrunkConfig) -> Self {
        Self {
            config,
            lines: std::array::from_fn(|_| Line::new()),
            output: VecDeque::with_capacity(2 * CIRCUITS),
            counters: Counters::default(),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// Where a circuit's call is.
    pub fn state(&self, circuit: Circuit) -> CircuitState {
        self.line(circuit).state
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Circuits by what they do now.
    pub fn gauge(&self) -> Gauge {
        let count = |test: fn(&Line) -> bool| self.lines.iter().filter(|line| test(line)).count();
        Gauge {
            idle: count(Line::can_be_seized),
            busy: count(|line| line.state.has_call()),
            transient: count(|line| matches!(line.state, CircuitState::Resetting | CircuitState::WaitReleaseComplete)),
            blocked: count(|line| line.locally_blocked || line.remotely_blocked),
        }
    }

    // a Circuit is below CIRCUITS by construction, so these cannot be out of the array
    pub(crate) fn line(&self, circuit: Circuit) -> &Line {
        &self.lines[circuit.index()]
    }

    pub(crate) fn line_mut(&mut self, circuit: Circuit) -> &mut Line {
        &mut self.lines[circuit.index()]
    }

    pub(crate) fn send(&mut self, circuit: Circuit, message: Message) {
        self.send_cic(self.config.cic(circuit.timeslot()), message);
    }

    fn send_cic(&mut self, cic: strowger_isup::Cic, message: Message) {
        let label = RoutingLabel {
            network: self.config.network,
            destination: self.config.peer,
            origin: self.config.own,
            selection: (cic.value() & 0x0f) as u8, // a circuit's messages keep their order on one link
        };
        // a message of ours is too long only when the user gave it a parameter that is; then nothing is sent
        if let Ok(bytes) = (Msu { label, cic, message }).encode() {
            self.counters.sent += 1;
            self.output.push_back(Output::Transmit(bytes));
        }
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.output.push_back(Output::Event(event));
    }

    pub(crate) fn start(&mut self, circuit: Circuit, now: Moment, timer: CallTimer) {
        let timers = &self.config.timers;
        let period = match timer {
            CallTimer::T1 => timers.t1,
            CallTimer::T6 => timers.t6,
            CallTimer::T7 => timers.t7,
            CallTimer::T9 => timers.t9,
            CallTimer::T11 => timers.t11,
            CallTimer::T16 => timers.t16,
            CallTimer::T35 => timers.t35,
        };
        self.line_mut(circuit).timer = Some((now + period, timer));
    }

    /// Circuits this end controls in a dual seizure (Q.764 §2.9.1.4): the even codes for the higher point code.
    pub(crate) fn controls(&self, circuit: Circuit) -> bool {
        let even = self.config.cic(circuit.timeslot()).value().is_multiple_of(2);
        even == (self.config.own > self.config.peer)
    }

    /// The first free circuit we control from the low end, else one of the other end's from the high end: so both ends
    /// meet as late as they can (Q.764 §2.9.1.3, method 2).
    fn free_circuit(&self) -> Option<Circuit> {
        let free = |circuit: &Circuit| self.line(*circuit).can_be_seized();
        Circuit::all().filter(free).find(|circuit| self.controls(*circuit)).or_else(|| Circuit::all().rev().find(free))
    }

    /// Seizes a circuit and sends IAM.
    ///
    /// # Errors
    /// No circuit is free.
    pub fn setup(&mut self, now: Moment, setup: Setup) -> Result<Circuit, NoCircuit> {
        self.attempt(now, Box::new(setup), 1).map_err(|_| {
            self.counters.no_circuit += 1;
            NoCircuit
        })
    }

    fn attempt(&mut self, now: Moment, setup: Box<Setup>, attempts: u8) -> Result<Circuit, Box<Setup>> {
        let Some(circuit) = self.free_circuit() else {
            return Err(setup);
        };
        let message = Message::InitialAddress(InitialAddress::new(setup.called.clone(), setup.calling.as_ref()));
        let line = self.line_mut(circuit);
        line.state = CircuitState::WaitAddressComplete;
        line.outgoing = true;
        line.attempts = attempts;
        line.setup = Some(setup);
        self.start(circuit, now, CallTimer::T7);
        self.send(circuit, message);
        Ok(circuit)
    }

    /// Takes the set-up off its circuit and tries another; tells `Moved`, or `Released` when there is none.
    pub(crate) fn try_elsewhere(&mut self, now: Moment, from: Circuit, cause: CauseIndicators) {
        let line = self.line_mut(from);
        let (setup, attempts) = (line.setup.take(), line.attempts);
        let moved =
            setup.filter(|_| attempts < MAX_ATTEMPTS).and_then(|setup| self.attempt(now, setup, attempts + 1).ok());
        match moved {
            Some(to) => self.tell(Event::Moved { from, to }),
            None => self.tell(Event::Released { circuit: from, cause }),
        }
    }

    /// Incoming call: sends ACM, or CPG after it. False when the circuit has no such call.
    pub fn alert(&mut self, circuit: Circuit, alert: Alert, in_band: bool) -> bool {
        let optional = if in_band {
            vec![OptionalParameter { code: parameter::OPTIONAL_BACKWARD_CALL_INDICATORS, value: vec![1] }]
        } else {
            Vec::new()
        };
        let message = match self.state(circuit) {
            CircuitState::IncomingSetup => {
                let status = if alert == Alert::Ringing {
                    CalledPartyStatus::SubscriberFree
                } else {
                    CalledPartyStatus::NoIndication
                };
                Message::AddressComplete { backward: BackwardCallIndicators::new(true, status), optional }
            }
            CircuitState::IncomingAlerting => {
                let event = match (alert, in_band) {
                    (Alert::Ringing, _) => EventInformation::Alerting,
                    (_, true) => EventInformation::InBand,
                    (_, false) => EventInformation::Progress,
                };
                Message::CallProgress { event, optional }
            }
            _ => return false,
        };
        let line = self.line_mut(circuit);
        line.state = CircuitState::IncomingAlerting;
        line.timer = None;
        self.send(circuit, message);
        true
    }

    /// Incoming call: sends ANM, or CON when no ACM went before. False when the circuit has no such call.
    pub fn answer(&mut self, circuit: Circuit) -> bool {
        let message = match self.state(circuit) {
            CircuitState::IncomingSetup => Message::Connect {
                backward: BackwardCallIndicators::new(true, CalledPartyStatus::NoIndication),
                optional: Vec::new(),
            },
            CircuitState::IncomingAlerting => Message::Answer { optional: Vec::new() },
            _ => return false,
        };
        let line = self.line_mut(circuit);
        line.state = CircuitState::Answered;
        line.timer = None;
        self.send(circuit, message);
        true
    }

    /// Sends a charge message backwards. False when the circuit has no incoming call.
    pub fn charge(&mut self, circuit: Circuit, charge: Charge) -> bool {
        let line = self.line(circuit);
        let fits = line.state.has_call() && !line.outgoing;
        if fits {
            self.send(circuit, Message::Charge(charge));
        }
        fits
    }

    /// Ends the call: sends REL. No event follows but `Idle`. False when the circuit has no call.
    pub fn release(&mut self, now: Moment, circuit: Circuit, location: Location, cause: Cause) -> bool {
        let has_call = self.state(circuit).has_call();
        if has_call {
            self.send_release(now, circuit, CauseIndicators::new(location, cause));
        }
        has_call
    }

    pub(crate) fn send_release(&mut self, now: Moment, circuit: Circuit, cause: CauseIndicators) {
        let t5 = self.config.timers.t5;
        let line = self.line_mut(circuit);
        line.state = CircuitState::WaitReleaseComplete;
        line.setup = None;
        line.release = Some(cause.clone());
        line.long_timer = Some(now + t5);
        self.start(circuit, now, CallTimer::T1);
        self.send(circuit, Message::Release { cause, optional: Vec::new() });
    }

    /// Takes one message signal unit.
    pub fn received(&mut self, now: Moment, bytes: &[u8]) {
        self.counters.received += 1;
        let unit = match Msu::parse(bytes) {
            Ok(unit) => unit,
            Err(MsuError::Message { cic, message_error: MessageError::UnknownType(_) }) => {
                self.counters.unknown += 1;
                // Q.764 §2.9.5.3
                let cause = CauseIndicators::new(Location::PublicLocal, Cause::MESSAGE_TYPE_UNKNOWN);
                self.send_cic(cic, Message::Confusion { cause, optional: Vec::new() });
                return;
            }
            Err(MsuError::Service(_)) => {
                self.counters.misrouted += 1;
                return;
            }
            Err(_) => {
                self.counters.malformed += 1;
                return;
            }
        };
        if unit.label.destination != self.config.own || unit.label.origin != self.config.peer {
            self.counters.misrouted += 1;
            return;
        }
        let cic = unit.cic.value();
        let circuit =
            (cic / 32 == u16::from(self.config.span)).then(|| Circuit::from_timeslot((cic % 32) as u8)).flatten();
        match circuit {
            Some(circuit) => self.message(now, circuit, unit.message),
            None => {
                self.counters.unexpected += 1;
                if !matches!(unit.message, Message::UnequippedCircuit | Message::Confusion { .. }) {
                    self.send_cic(unit.cic, Message::UnequippedCircuit); // Q.764 §2.12
                }
            }
        }
    }

    fn message(&mut self, now: Moment, circuit: Circuit, message: Message) {
        let state = self.state(circuit);
        let outgoing = self.line(circuit).outgoing;
        match (message, state) {
            (Message::InitialAddress(iam), _) => self.initial_address(now, circuit, iam),
            (Message::SubsequentAddress { digits, .. }, CircuitState::IncomingSetup) => {
                self.more_digits(now, circuit, &digits)
            }
            (Message::AddressComplete { backward, optional }, CircuitState::WaitAddressComplete) => {
                let alert = match backward.status() {
                    CalledPartyStatus::SubscriberFree => Alert::Ringing,
                    _ => Alert::Complete,
                };
                let line = self.line_mut(circuit);
                line.state = CircuitState::WaitAnswer;
                line.setup = None; // the other end has it now: no second attempt
                self.start(circuit, now, CallTimer::T9);
                let in_band = in_band(&optional) || backward.interworking();
                self.tell(Event::Alerting { circuit, alert, in_band });
            }
            (Message::CallProgress { event, optional }, CircuitState::WaitAnswer) => {
                let alert = if event == EventInformation::Alerting { Alert::Ringing } else { Alert::Progress };
                let in_band = in_band(&optional) || event == EventInformation::InBand;
                self.tell(Event::Alerting { circuit, alert, in_band });
            }
            (Message::CallProgress { .. }, CircuitState::Answered) if outgoing => {}
            (Message::Connect { .. }, CircuitState::WaitAddressComplete)
            | (Message::Answer { .. }, CircuitState::WaitAnswer) => {
                let line = self.line_mut(circuit);
                line.state = CircuitState::Answered;
                line.setup = None;
                line.timer = None;
                self.tell(Event::Answered { circuit });
            }
            (Message::Charge(charge), state) if state.has_call() && outgoing => {
                self.tell(Event::Charge { circuit, charge })
            }
            (Message::ForeignCharge(_), state) if state.has_call() => self.counters.unexpected += 1,
            (Message::Suspend { by, .. }, CircuitState::Answered) => {
                self.line_mut(circuit).state = CircuitState::Suspended;
                if by == SuspendResume::Network {
                    self.start(circuit, now, CallTimer::T6);
                }
                self.tell(Event::Suspended { circuit });
            }
            (Message::Resume { .. }, CircuitState::Suspended) => {
                let line = self.line_mut(circuit);
                line.state = CircuitState::Answered;
                line.timer = None;
                self.tell(Event::Resumed { circuit });
            }
            (Message::Release { cause, .. }, _) => self.release_received(now, circuit, cause),
            (Message::ReleaseComplete { .. }, CircuitState::WaitReleaseComplete | CircuitState::Resetting) => {
                self.line_mut(circuit).make_idle();
                self.tell(Event::Idle { circuit });
            }
            (Message::ReleaseComplete { .. }, CircuitState::Idle) => {} // Q.764 §2.9.5.1 a: discarded
            (Message::Confusion { .. } | Message::Continuity { .. }, _) => self.counters.unexpected += 1,
            (message, state) => self.supervision_or_unexpected(now, circuit, message, state),
        }
    }

    fn initial_address(&mut self, now: Moment, circuit: Circuit, iam: InitialAddress) {
        match self.state(circuit) {
            CircuitState::Idle => {}
            CircuitState::WaitAddressComplete => {
                self.counters.dual_seizures += 1;
                if self.controls(circuit) {
                    return; // the other end gives way
                }
                let line = self.line_mut(circuit);
                let (setup, attempts) = (line.setup.take(), line.attempts);
                line.make_idle();
                self.seize_for(now, circuit, iam);
                let line = self.line_mut(circuit);
                line.setup = setup;
                line.attempts = attempts;
                // told before the incoming call, so the user never has two calls on one circuit
                self.try_elsewhere(now, circuit, CauseIndicators::new(Location::PublicLocal, Cause::NO_CIRCUIT));
                self.announce(circuit);
                return;
            }
            _ => {
                self.counters.unexpected += 1; // an IAM for a busy circuit is discarded (Q.764 §2.9.5.1)
                return;
            }
        }
        if self.line(circuit).locally_blocked {
            // the other end did not have our BLO: it is told again, the call is not taken
            self.counters.unexpected += 1;
            self.send(circuit, Message::Blocking);
            return;
        }
        // an IAM on a circuit that the other end had blocked unblocks it (Q.764 §2.8.2.1)
        if std::mem::take(&mut self.line_mut(circuit).remotely_blocked) {
            self.tell(Event::Blocking { circuit, blocked: false });
        }
        self.seize_for(now, circuit, iam);
        self.announce(circuit);
    }

    fn seize_for(&mut self, now: Moment, circuit: Circuit, iam: InitialAddress) {
        let complete = iam.called.is_complete();
        let calling = iam.calling();
        let line = self.line_mut(circuit);
        line.state = CircuitState::IncomingSetup;
        line.outgoing = false;
        line.digits = iam.called.digits().to_owned();
        line.attempts = 0;
        // told by `announce`, after a set-up of ours has moved away
        line.incoming = Some(Box::new(Setup { called: iam.called, calling }));
        self.start(circuit, now, if complete { CallTimer::T11 } else { CallTimer::T35 });
    }

    fn announce(&mut self, circuit: Circuit) {
        if let Some(incoming) = self.line_mut(circuit).incoming.take() {
            let Setup { called, calling } = *incoming;
            self.tell(Event::IncomingCall {
                circuit,
                called: called.digits().to_owned(),
                nature: called.nature,
                complete: called.is_complete(),
                calling,
            });
        }
    }

    fn more_digits(&mut self, now: Moment, circuit: Circuit, digits: &str) {
        let complete = digits.ends_with('F');
        let line = self.line_mut(circuit);
        let room = MAX_DIGITS.saturating_sub(line.digits.len());
        let digits = digits.trim_end_matches('F');
        if digits.len() > room {
            let cause = CauseIndicators::new(Location::PublicLocal, Cause::INVALID_NUMBER_FORMAT);
            self.send_release(now, circuit, cause.clone());
            self.tell(Event::Released { circuit, cause });
            return;
        }
        line.digits.push_str(digits);
        let called = line.digits.clone();
        self.start(circuit, now, if complete { CallTimer::T11 } else { CallTimer::T35 });
        self.tell(Event::Digits { circuit, called, complete });
    }

    fn release_received(&mut self, now: Moment, circuit: Circuit, cause: CauseIndicators) {
        self.send(circuit, Message::ReleaseComplete { optional: Vec::new() });
        let state = self.state(circuit);
        match state {
            // both released: ours is still to be completed (Q.764 §2.3.1 e)
            CircuitState::WaitReleaseComplete | CircuitState::Resetting | CircuitState::Idle => {}
            CircuitState::WaitAddressComplete if cause.cause == Cause::REQUESTED_CIRCUIT_UNAVAILABLE => {
                // not idle yet, or the second attempt would take the same circuit
                self.try_elsewhere(now, circuit, cause);
                self.line_mut(circuit).make_idle();
                self.tell(Event::Idle { circuit });
            }
            _ => {
                self.line_mut(circuit).make_idle();
                self.tell(Event::Released { circuit, cause });
                self.tell(Event::Idle { circuit });
            }
        }
    }
}

fn in_band(optional: &[OptionalParameter]) -> bool {
    optional.iter().any(|p| {
        p.code == parameter::OPTIONAL_BACKWARD_CALL_INDICATORS && p.value.first().is_some_and(|octet| octet & 1 != 0)
    })
}
