//! The outsourcing PEP of a proxy: one handle for each call, one question at a time on it, a verdict for every question.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use strowger_clock::{Moment, Random};
use strowger_cops::sip::{DecisionData, Phase};
use strowger_cops::{ClientSi, Command, DecodeError, ErrorCode, Message, Object, Op, ReasonCode, ReportType};

use crate::link::{Link, LinkConfig, LinkEvent, LinkOutput, LostReason};

/// Most calls with a handle at once.
pub const CALLS_MAX: usize = 65_536;
/// Most questions of one call that wait for the one in flight.
pub const REQUESTS_WAITING_MAX: usize = 8;
/// Longest SIP message that fits a ClientSI object.
pub const SIP_OCTETS_MAX: usize = 0xFFFF - 4;

/// Settings.
#[derive(Debug, Clone)]
pub struct OutsourcingConfig {
    /// Connection; the client type is [`strowger_cops::CLIENT_TYPE_SIP`].
    pub link: LinkConfig,
    /// How long a decision may take, in milliseconds.
    pub decision_time_ms: u64,
}

/// A question that was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// No PDP accepts requests now.
    #[error("no policy decision point is connected")]
    NotConnected,
    /// [`CALLS_MAX`] is reached.
    #[error("too many calls have policy state")]
    TooManyCalls,
    /// [`REQUESTS_WAITING_MAX`] is reached.
    #[error("too many requests of one call wait for decisions")]
    TooManyRequests,
    /// The SIP message does not fit a ClientSI object.
    #[error("the SIP message is too long for COPS")]
    MessageTooLong,
}

/// A question that got no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No decision in time.
    #[error("the policy decision point did not answer in time")]
    Timeout,
    /// The connection went away.
    #[error("the connection to the policy decision point was lost")]
    Disconnected,
    /// The PDP answered with an Error object.
    #[error("the policy decision point answered with an error: {0}")]
    Refused(ErrorCode),
    /// The decision could not be read.
    #[error("the decision could not be read")]
    Malformed,
    /// The call's handle was deleted first.
    #[error("the call was deleted")]
    Deleted,
}

/// What the driver has to do or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutsourcingOutput {
    /// Open a TCP connection.
    Connect(SocketAddr),
    /// Write bytes.
    Send(Bytes),
    /// Close the connection.
    Close,
    /// The answer to a question.
    Decided {
        /// The call.
        call: u64,
        /// Which question.
        phase: Phase,
        /// Install admits, Remove refuses (or, for a teardown, confirms).
        command: Command,
        /// Why, and what came with it.
        data: DecisionData,
    },
    /// A question that got no answer.
    Failed {
        /// The call.
        call: u64,
        /// Which question.
        phase: Phase,
        /// Why.
        why: Failure,
    },
    /// The PDP takes back what it granted (unsolicited Remove).
    Revoked {
        /// The call.
        call: u64,
        /// Why.
        data: DecisionData,
    },
    /// A PDP accepted us.
    Opened(SocketAddr),
    /// The PDP is gone.
    Lost(LostReason),
    /// Something could not be read.
    Malformed(DecodeError),
}

#[derive(Debug)]
struct Call {
    handle: Bytes,
    in_flight: Option<(Phase, Moment)>,
    waiting: VecDeque<(Phase, Bytes)>,
    /// The last question, for synchronization.
    last: Option<(Phase, Bytes)>,
    installed: bool,
    /// Decisions on synchronized requests that are still to come; they come before any other (RFC 2748 §3.2).
    replays: u32,
}

/// The machine.
#[derive(Debug)]
pub struct OutsourcingPep {
    config: OutsourcingConfig,
    link: Link,
    calls: BTreeMap<u64, Call>,
    by_handle: HashMap<Bytes, u64>,
    generation: u32,
    outputs: VecDeque<OutsourcingOutput>,
}

impl OutsourcingPep {
    /// A PEP without calls.
    pub fn new(config: OutsourcingConfig, random: Random) -> OutsourcingPep {
        OutsourcingPep {
            link: Link::new(config.link.clone(), random),
            config,
            calls: BTreeMap::new(),
            by_handle: HashMap::new(),
            generation: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Begins to connect.
    pub fn start(&mut self, now: Moment) {
        self.link.start(now);
        self.drain();
    }

    /// The TCP connection stands.
    pub fn connected(&mut self, now: Moment) {
        self.link.connected(now);
        self.drain();
    }

    /// The TCP connection is gone, or could not be made.
    pub fn closed(&mut self, now: Moment) {
        self.link.closed(now);
        self.drain();
    }

    /// Bytes from the PDP.
    pub fn received(&mut self, now: Moment, bytes: &[u8]) {
        self.link.received(now, bytes);
        while let Some(event) = self.link.poll_event() {
            self.link_event(now, event);
        }
        self.drain();
    }

    /// Whether questions can be asked now.
    pub fn is_open(&self) -> bool {
        self.link.is_open()
    }

    /// Calls with a handle.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Asks about a call; the answer is one [`OutsourcingOutput::Decided`] or [`OutsourcingOutput::Failed`].
    pub fn decide(&mut self, now: Moment, call: u64, phase: Phase, sip: Bytes) -> Result<(), DecideError> {
        if sip.len() > SIP_OCTETS_MAX {
            return Err(DecideError::MessageTooLong);
        }
        if !self.link.is_open() {
            return Err(DecideError::NotConnected);
        }
        if !self.calls.contains_key(&call) {
            if self.calls.len() >= CALLS_MAX {
                return Err(DecideError::TooManyCalls);
            }
            // A handle is never used twice, even when a call number is (RFC 2748 §2.4).
            self.generation = self.generation.wrapping_add(1);
            let mut handle = call.to_be_bytes().to_vec();
            handle.extend_from_slice(&self.generation.to_be_bytes());
            let handle = Bytes::from(handle);
            self.by_handle.insert(handle.clone(), call);
            let state =
                Call { handle, in_flight: None, waiting: VecDeque::new(), last: None, installed: false, replays: 0 };
            self.calls.insert(call, state);
        }
        if let Some(state) = self.calls.get_mut(&call) {
            if state.waiting.len() >= REQUESTS_WAITING_MAX {
                return Err(DecideError::TooManyRequests);
            }
            state.waiting.push_back((phase, sip));
        }
        self.ask_next(now, call);
        self.drain();
        Ok(())
    }

    /// Reports that a decision was carried out, or could not be (RFC 2748 §3.3).
    pub fn report(&mut self, call: u64, ok: bool) {
        if let Some(state) = self.calls.get(&call) {
            let kind = if ok { ReportType::Success } else { ReportType::Failure };
            let message = Message::report(self.config.link.client_type, state.handle.clone(), kind, true);
            self.link.send(&message);
        }
        self.drain();
    }

    /// Deletes the call's request state with a DRQ. Questions without an answer fail.
    pub fn delete(&mut self, call: u64, reason: ReasonCode) {
        self.delete_state(call, reason, Failure::Deleted);
        self.drain();
    }

    /// Says goodbye and stays down.
    pub fn shut_down(&mut self) {
        self.link.shut_down();
        while let Some(event) = self.link.poll_event() {
            self.link_event(Moment::ZERO, event);
        }
        self.drain();
    }

    /// Time has passed.
    pub fn timeout(&mut self, now: Moment) {
        self.link.timeout(now);
        let late: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, state)| state.in_flight.is_some_and(|(_, deadline)| deadline <= now))
            .map(|(call, _)| *call)
            .collect();
        for call in late {
            // RFC 2748 §3.2: a handle that timed out must be deleted.
            self.delete_state(call, ReasonCode::Timeout, Failure::Timeout);
        }
        while let Some(event) = self.link.poll_event() {
            self.link_event(now, event);
        }
        self.drain();
    }

    /// When [`OutsourcingPep::timeout`] has to be called.
    pub fn next_deadline(&self) -> Option<Moment> {
        let decisions = self.calls.values().filter_map(|state| state.in_flight).map(|(_, deadline)| deadline).min();
        [self.link.next_deadline(), decisions].into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<OutsourcingOutput> {
        self.outputs.pop_front()
    }

    fn ask_next(&mut self, now: Moment, call: u64) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        if state.in_flight.is_some() || state.replays > 0 {
            return;
        }
        let Some((phase, sip)) = state.waiting.pop_front() else { return };
        let deadline = now + Duration::from_millis(self.config.decision_time_ms);
        state.in_flight = Some((phase, deadline));
        let message = request(self.config.link.client_type, &state.handle, phase, &sip);
        state.last = Some((phase, sip));
        self.link.send(&message);
    }

    fn delete_state(&mut self, call: u64, reason: ReasonCode, why: Failure) {
        let Some(state) = self.calls.remove(&call) else { return };
        self.by_handle.remove(&state.handle);
        self.link.send(&Message::delete_request(self.config.link.client_type, state.handle, reason, 0));
        let unanswered = state.in_flight.map(|(phase, _)| phase);
        for phase in unanswered.into_iter().chain(state.waiting.into_iter().map(|(phase, _)| phase)) {
            self.outputs.push_back(OutsourcingOutput::Failed { call, phase, why });
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.link.poll_output() {
            self.outputs.push_back(match output {
                LinkOutput::Connect(pdp) => OutsourcingOutput::Connect(pdp),
                LinkOutput::Send(bytes) => OutsourcingOutput::Send(bytes),
                LinkOutput::Close => OutsourcingOutput::Close,
            });
        }
        // Events that need the time were handled where it was known; what is left here is a loss.
        while let Some(event) = self.link.poll_event() {
            if let LinkEvent::Lost(reason) = event {
                self.lost(reason);
            }
        }
    }

    fn link_event(&mut self, now: Moment, event: LinkEvent) {
        match event {
            LinkEvent::Opened { pdp, .. } => self.outputs.push_back(OutsourcingOutput::Opened(pdp)),
            LinkEvent::Message(message) => match message.op {
                Op::Decision => self.decision(now, &message),
                Op::SynchronizeState => self.synchronize(now, &message),
                _ => {}
            },
            LinkEvent::Malformed(error) => self.malformed(error),
            LinkEvent::Lost(reason) => self.lost(reason),
        }
    }

    fn lost(&mut self, reason: LostReason) {
        self.outputs.push_back(OutsourcingOutput::Lost(reason));
        for (call, state) in &mut self.calls {
            state.replays = 0;
            let unanswered = state.in_flight.take().map(|(phase, _)| phase);
            for phase in unanswered.into_iter().chain(state.waiting.drain(..).map(|(phase, _)| phase)) {
                let why = Failure::Disconnected;
                self.outputs.push_back(OutsourcingOutput::Failed { call: *call, phase, why });
            }
        }
        // What was never granted is not worth asking for again; what was stays ours to re-request.
        self.calls.retain(|_, state| state.installed);
        let calls = &self.calls;
        self.by_handle.retain(|_, call| calls.contains_key(call));
        if self.calls.is_empty() {
            self.link.set_cached_from(None);
        }
    }

    fn decision(&mut self, now: Moment, message: &Message) {
        let Some(handle) = message.handle() else { return };
        let Some(&call) = self.by_handle.get(handle) else {
            let reason = ReasonCode::SynchronizeHandleUnknown;
            let answer = Message::delete_request(self.config.link.client_type, handle.clone(), reason, 0);
            return self.link.send(&answer);
        };
        let Some(state) = self.calls.get_mut(&call) else { return };
        let decision = message.decisions().into_iter().next();
        let data = |decision: &strowger_cops::Decision| {
            decision.client_specific().map(|bytes| DecisionData::parse(bytes)).unwrap_or_default()
        };
        if !message.solicited {
            if let Some(decision) = decision
                && decision.command == Command::Remove
            {
                state.installed = false;
                let data = data(&decision);
                self.outputs.push_back(OutsourcingOutput::Revoked { call, data });
            }
            return;
        }
        if state.replays > 0 {
            state.replays -= 1;
            if let Some(decision) = decision.filter(|decision| decision.command == Command::Remove) {
                state.installed = false;
                let data = data(&decision);
                self.outputs.push_back(OutsourcingOutput::Revoked { call, data });
            }
            return self.ask_next(now, call);
        }
        // A solicited decision without a question: nobody waits.
        let Some((phase, _)) = state.in_flight.take() else { return };
        match (message.error(), decision) {
            (Some(error), _) => {
                let why = Failure::Refused(error.code);
                self.outputs.push_back(OutsourcingOutput::Failed { call, phase, why });
            }
            (None, Some(decision)) => {
                state.installed = decision.command == Command::Install;
                let data = data(&decision);
                let pdp = self.link.pdp();
                self.link.set_cached_from(pdp);
                self.outputs.push_back(OutsourcingOutput::Decided { call, phase, command: decision.command, data });
            }
            (None, None) => {
                self.outputs.push_back(OutsourcingOutput::Failed { call, phase, why: Failure::Malformed });
            }
        }
        self.ask_next(now, call);
    }

    /// A DEC that cannot be read: DRQ for its handle (RFC 2748 §3.4).
    fn malformed(&mut self, error: DecodeError) {
        if error.op == Some(Op::Decision)
            && let Some(handle) = &error.handle
            && let Some(&call) = self.by_handle.get(handle)
        {
            let reason = error.reason_object();
            let message =
                Message::delete_request(self.config.link.client_type, handle.clone(), reason.code, reason.sub_code);
            self.link.send(&message);
            if let Some(state) = self.calls.remove(&call) {
                self.by_handle.remove(&state.handle);
                if let Some((phase, _)) = state.in_flight {
                    self.outputs.push_back(OutsourcingOutput::Failed { call, phase, why: Failure::Malformed });
                }
                for (phase, _) in state.waiting {
                    self.outputs.push_back(OutsourcingOutput::Failed { call, phase, why: Failure::Deleted });
                }
            }
        }
        self.outputs.push_back(OutsourcingOutput::Malformed(error));
    }

    /// SSQ: every granted request again (or the one asked for), then SSC (RFC 2748 §3.5).
    fn synchronize(&mut self, now: Moment, message: &Message) {
        let client_type = self.config.link.client_type;
        let asked = message.handle().cloned();
        if let Some(asked) = &asked
            && !self.by_handle.contains_key(asked)
        {
            let reason = ReasonCode::SynchronizeHandleUnknown;
            return self.link.send(&Message::delete_request(client_type, asked.clone(), reason, 0));
        }
        let _ = now;
        for state in self.calls.values_mut() {
            if asked.as_ref().is_some_and(|asked| *asked != state.handle) || state.in_flight.is_some() {
                continue;
            }
            if let Some((phase, sip)) = &state.last {
                state.replays += 1;
                self.link.send(&request(client_type, &state.handle, *phase, sip));
            }
        }
        let mut complete = Message::new(Op::SynchronizeComplete, client_type);
        complete.objects.extend(asked.map(Object::Handle));
        self.link.send(&complete);
    }
}

fn request(client_type: u16, handle: &Bytes, phase: Phase, sip: &Bytes) -> Message {
    Message::new(Op::Request, client_type)
        .with(Object::Handle(handle.clone()))
        .with(Object::Context(phase.context()))
        .with(Object::ClientSi(ClientSi::Signaled(sip.clone())))
}
