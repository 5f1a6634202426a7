//! The gateway core as a transaction user: its state and the dispatch of what comes in.

use std::collections::{HashMap, VecDeque};

use strowger_clock::{Moment, Random, TimerWheel};
use strowger_dialog::{CallId32, UserAgent, UserAgentEvent};
use strowger_isup::{Cause, Location};
use strowger_sip::{Builder, Header, Method};
use strowger_token::Check;
use strowger_transaction::{Event, Layer, TransactionUser};
use strowger_trunk::{Circuit, Output, TrunkConfig, TrunkGroup};

use crate::call::{Call, CallState, CallSummary};
use crate::config::Config;
use crate::counters::Counters;
use crate::effect::{CallNumber, Effect, Input, ReleaseSource};
use crate::release::Farewell;

/// Dialogs beyond the maximum of calls that the user agent still takes in, so that the core can say why it refuses.
const DIALOGS_TO_REFUSE: usize = 64;

/// Deadlines of the core's own.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Timer {
    /// The media driver owes a port.
    MediaOpen(CallNumber),
    /// Nobody answers.
    NoAnswer(CallNumber),
    /// The provisional response is sent again (RFC 3261 §13.3.1.1).
    Ringing(CallNumber),
    /// The granted time is over.
    Granted(CallNumber),
    /// The media driver owes its numbers.
    MediaClose(CallNumber),
}

/// The gateway core. See the crate's own documentation.
pub struct GatewayCore {
    pub(crate) config: Config,
    pub(crate) random: Random,
    pub(crate) agent: UserAgent,
    pub(crate) trunk: TrunkGroup,
    pub(crate) check: Check,
    pub(crate) calls: HashMap<CallNumber, Call>,
    pub(crate) by_agent: HashMap<CallId32, CallNumber>,
    pub(crate) by_circuit: HashMap<Circuit, CallNumber>,
    pub(crate) timers: TimerWheel<Timer>,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) counters: Counters,
    pub(crate) next_number: CallNumber,
    pub(crate) draining: bool,
    drained_told: bool,
}

impl GatewayCore {
    /// A core without calls, whose circuits are being aligned with the exchange (Q.764 §2.9.3). `first_call` begins the
    /// numbering of calls.
    pub fn new(
        now: Moment,
        config: Config,
        trunk: TrunkConfig,
        mut random: Random,
        first_call: CallNumber,
    ) -> GatewayCore {
        let agent = strowger_dialog::Config {
            local: config.local.clone(),
            timing: config.timing,
            calls_max: config.limits.calls.saturating_add(DIALOGS_TO_REFUSE),
            busy_status: 503,
            registrations_max: 0,
            ..strowger_dialog::Config::default()
        };
        let mut core = GatewayCore {
            agent: UserAgent::new(agent, random.fork()),
            trunk: TrunkGroup::new(trunk),
            check: Check::with_capacity(config.gateway.clone(), config.limits.tokens),
            config,
            random,
            calls: HashMap::new(),
            by_agent: HashMap::new(),
            by_circuit: HashMap::new(),
            timers: TimerWheel::new(),
            effects: VecDeque::new(),
            counters: Counters::default(),
            next_number: first_call,
            draining: false,
            drained_told: false,
        };
        core.trunk.reset_all(now);
        while let Some(output) = core.trunk.poll_output() {
            if let Output::Transmit(unit) = output {
                core.effects.push_back(Effect::Msu(unit));
            }
        }
        core
    }

    /// What has been done, and how much there is now.
    pub fn counters(&self) -> Counters {
        let agent = self.agent.gauge();
        let trunk = self.trunk.gauge();
        let units = self.trunk.counters();
        Counters {
            msus_dropped: units.malformed + units.misrouted + units.unknown + units.unexpected,
            calls_now: self.calls.len(),
            circuits_now: trunk.busy,
            circuits_idle: trunk.idle,
            dialogs_now: agent.records,
            tokens_now: self.check.remembered(),
            timers_now: self.timers.len() + agent.timers,
            ..self.counters.clone()
        }
    }

    /// Calls that are not over.
    pub fn calls(&self) -> impl Iterator<Item = CallSummary> {
        self.calls.values().map(Call::summary)
    }

    /// The signalling end of the trunk, to look.
    pub fn trunk(&self) -> &TrunkGroup {
        &self.trunk
    }

    pub(crate) fn tell(&mut self, number: CallNumber) {
        if let Some(call) = self.calls.get(&number) {
            self.effects.push_back(Effect::Call(Box::new(call.summary())));
        }
    }

    /// Replaces the call's one deadline.
    pub(crate) fn await_until(&mut self, number: CallNumber, deadline: Option<(Moment, Timer)>) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        if let Some(old) = call.deadline.take() {
            self.timers.cancel(old);
        }
        call.deadline = deadline.map(|(at, timer)| self.timers.insert(at, timer));
    }

    /// Carries what the agent and the trunk say to where it belongs, until both are silent.
    fn pump(&mut self, now: Moment, layer: &mut Layer) {
        loop {
            if let Some(event) = self.agent.poll_effect() {
                self.agent_event(now, layer, event);
            } else if let Some(output) = self.trunk.poll_output() {
                match output {
                    Output::Transmit(unit) => self.effects.push_back(Effect::Msu(unit)),
                    Output::Event(event) => self.trunk_event(now, layer, event),
                }
            } else {
                break;
            }
        }
        if self.draining && self.calls.is_empty() && !std::mem::replace(&mut self.drained_told, true) {
            self.effects.push_back(Effect::Drained);
        }
    }

    fn agent_event(&mut self, now: Moment, layer: &mut Layer, event: UserAgentEvent) {
        match event {
            UserAgentEvent::IncomingCall { call, request, flow, sdp } => {
                self.invited(now, layer, call, &request, flow.peer, sdp);
            }
            UserAgentEvent::Confirmed { call, sdp } => self.confirmed(now, layer, call, sdp),
            UserAgentEvent::Ended { call, reason } => self.caller_ended(now, layer, call, reason),
            UserAgentEvent::Reoffer { call, sdp, .. } => self.reoffered(now, layer, call, sdp),
            UserAgentEvent::Reanswered { call, sdp, .. } => self.reanswered(now, layer, call, sdp),
            // this agent neither calls nor registers, and digits in INFO are not carried into the circuit
            _ => {}
        }
    }

    fn reload(&mut self, config: Config) {
        if config.gateway != self.config.gateway || config.limits.tokens != self.config.limits.tokens {
            self.check = Check::with_capacity(config.gateway.clone(), config.limits.tokens);
        }
        self.config = Config { local: std::mem::take(&mut self.config.local), ..config };
    }

    fn hang_up(&mut self, now: Moment, layer: &mut Layer, number: CallNumber, text: &str) {
        let farewell = Farewell::by_gateway(Cause::TEMPORARY_FAILURE, text);
        self.end(now, layer, number, (Cause::TEMPORARY_FAILURE, ReleaseSource::Gateway), farewell);
    }
}

impl TransactionUser for GatewayCore {
    type Input = Input;
    type Effect = Effect;

    fn event(&mut self, now: Moment, event: Event, layer: &mut Layer) {
        match event {
            // asked whether it takes calls (RFC 3261 §11.2): not while it is going out of service
            Event::Request { key, message, .. }
                if self.draining
                    && message.method() == Method::Options
                    && message.to().is_ok_and(|to| to.tag().is_none()) =>
            {
                let tag = self.random.alphanumeric(12);
                let response = Builder::response(&message, 503, None).to_tag(&tag).header(Header::RetryAfter, "60");
                layer.respond(now, key, response.build());
            }
            event => self.agent.event(now, event, layer),
        }
        self.pump(now, layer);
    }

    fn input(&mut self, now: Moment, input: Input, layer: &mut Layer) {
        match input {
            Input::MediaOpened { call, port } => self.media_opened(now, layer, call, port),
            Input::MediaFailed { call } => self.media_failed(now, layer, call),
            Input::MediaIdle { call } => self.media_idle(now, layer, call),
            Input::MediaClosed { call, statistics } => self.media_closed(now, call, statistics),
            Input::Msu(unit) => self.trunk.received(now, &unit),
            Input::HangUp { call } => self.hang_up(now, layer, call, "hung up by the operator"),
            Input::Reload(config) => self.reload(*config),
            Input::Authorities(verifier) => self.config.authorities = Some(verifier),
            Input::Limits(limits) => self.reload(Config { limits, ..self.config.clone() }),
            Input::RefuseAll(status) => self.config.refuse_all = status,
            Input::Drain => self.draining = true,
            Input::HangUpAll => {
                let numbers: Vec<_> = self.calls.keys().copied().collect();
                for number in numbers {
                    self.hang_up(now, layer, number, "gateway is going out of service");
                }
            }
        }
        self.pump(now, layer);
    }

    fn timeout(&mut self, now: Moment, layer: &mut Layer) {
        if self.agent.next_deadline().is_some_and(|at| at <= now) {
            self.agent.timeout(now, layer);
            self.pump(now, layer);
        }
        if self.trunk.next_deadline().is_some_and(|at| at <= now) {
            self.trunk.timeout(now);
            self.pump(now, layer);
        }
        while let Some((_, timer)) = self.timers.pop_expired(now) {
            self.expired(now, layer, timer);
            self.pump(now, layer);
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        let all = [self.agent.next_deadline(), self.trunk.next_deadline(), self.timers.next_deadline()];
        all.into_iter().flatten().min()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}

impl GatewayCore {
    fn expired(&mut self, now: Moment, layer: &mut Layer, timer: Timer) {
        match timer {
            Timer::MediaOpen(number) => {
                self.forget_deadline(number);
                self.media_failed(now, layer, number);
            }
            Timer::NoAnswer(number) => {
                self.forget_deadline(number);
                let farewell = Farewell::by_gateway(Cause::NO_ANSWER, "nobody answered");
                self.end(now, layer, number, (Cause::NO_ANSWER, ReleaseSource::Gateway), farewell);
            }
            Timer::Ringing(number) => self.ring_again(now, layer, number),
            Timer::Granted(number) => {
                self.forget_deadline(number);
                self.counters.calls_out_of_time += 1;
                let farewell = Farewell::by_gateway(Cause::NORMAL_CLEARING, "granted time is over");
                self.end(now, layer, number, (Cause::NORMAL_CLEARING, ReleaseSource::Gateway), farewell);
            }
            Timer::MediaClose(number) => {
                self.forget_deadline(number);
                self.media_closed(now, number, None);
            }
        }
    }

    fn forget_deadline(&mut self, number: CallNumber) {
        if let Some(call) = self.calls.get_mut(&number) {
            call.deadline = None;
        }
    }

    /// The call of one of the agent's calls, while it is not over.
    pub(crate) fn number_of(&self, agent: CallId32) -> Option<CallNumber> {
        self.by_agent.get(&agent).copied()
    }

    /// Gives the call's circuit back with REL, if it still has one.
    pub(crate) fn release_circuit(&mut self, now: Moment, number: CallNumber, location: Location, cause: Cause) {
        let Some(circuit) = self.calls.get_mut(&number).and_then(|call| call.circuit.take()) else { return };
        self.by_circuit.remove(&circuit);
        self.trunk.release(now, circuit, location, cause);
    }

    pub(crate) fn state_of(&self, number: CallNumber) -> Option<CallState> {
        self.calls.get(&number).map(|call| call.state)
    }
}
