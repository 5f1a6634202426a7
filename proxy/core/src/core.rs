//! The proxy core as a transaction user: its state and the dispatch of what comes in.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use strowger_clock::{Moment, Random, TimerWheel};
use strowger_sip::{Builder, Header, Message};
use strowger_transaction::{ClientKey, Event, Failure, Layer, ServerKey, TransactionUser};

use crate::authentication::Authenticator;
use crate::call::{Call, CallState, CallSummary};
use crate::config::Config;
use crate::context::Context;
use crate::counters::{Counters, Gauge};
use crate::effect::{Cause, Effect, Input, ReleaseSource};
use crate::location::Location;

/// How often expired bindings are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// Deadlines of the core's own.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Timer {
    /// Timer C of a branch (RFC 3261 §16.6 step 11).
    C { context: u64, branch: usize },
    /// A gateway has not answered anything.
    Silence { context: u64, branch: usize },
    /// The longest a call can be open in the books.
    CallLimit { call: u64 },
    /// Forget expired bindings.
    Sweep,
}

/// The proxy core. See the crate's own documentation.
pub struct ProxyCore {
    pub(crate) config: Config,
    pub(crate) random: Random,
    pub(crate) authenticator: Authenticator,
    pub(crate) location: Location,
    pub(crate) contexts: HashMap<u64, Context>,
    pub(crate) by_server: HashMap<ServerKey, u64>,
    pub(crate) by_client: HashMap<ClientKey, (u64, usize)>,
    pub(crate) calls: HashMap<u64, Call>,
    /// Calls by Call-ID: two calls can share one (forks that come back).
    pub(crate) calls_by_id: HashMap<String, Vec<u64>>,
    pub(crate) timers: TimerWheel<Timer>,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) counters: Counters,
    pub(crate) next_number: u64,
    pub(crate) draining: bool,
}

impl ProxyCore {
    /// A core with nothing in it. `first_call` begins the numbering of calls; a driver gives one that an earlier process
    /// has not used, because the numbers are COPS handles too.
    pub fn new(now: Moment, config: Config, mut random: Random, first_call: u64) -> Self {
        let mut timers = TimerWheel::new();
        timers.insert(now + SWEEP_EVERY, Timer::Sweep);
        ProxyCore {
            authenticator: Authenticator::new(&config, random.fork()),
            config,
            random,
            location: Location::default(),
            contexts: HashMap::new(),
            by_server: HashMap::new(),
            by_client: HashMap::new(),
            calls: HashMap::new(),
            calls_by_id: HashMap::new(),
            timers,
            effects: VecDeque::new(),
            counters: Counters::default(),
            next_number: first_call,
            draining: false,
        }
    }

    /// What has been done, and how much there is now.
    pub fn counters(&self) -> Counters {
        Counters {
            calls_now: self.calls.len(),
            contexts_now: self.contexts.len(),
            bindings_now: self.location.total(),
            ..self.counters.clone()
        }
    }

    /// The location service.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Calls that are not over.
    pub fn calls(&self) -> impl Iterator<Item = CallSummary> {
        self.calls.values().filter(|call| call.state != CallState::Ended).map(Call::summary)
    }

    /// How full every table is.
    pub fn gauge(&self) -> Gauge {
        Gauge {
            calls: self.calls.len(),
            call_ids: self.calls_by_id.len(),
            contexts: self.contexts.len(),
            server_transactions: self.by_server.len(),
            client_transactions: self.by_client.len(),
            // one of them is always there: the sweep of expired bindings
            timers: self.timers.len().saturating_sub(1),
            bindings: self.location.total(),
        }
    }

    /// A number for a call or a context.
    pub(crate) fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// A tag of ours: 64 bits of randomness at least (RFC 3261 §19.3 asks for 32).
    pub(crate) fn tag(&mut self) -> String {
        self.random.alphanumeric(12)
    }

    /// Answers 420 with the extensions that a request demands in `header`; none is supported (RFC 3261 §8.2.2.3, §16.3).
    pub(crate) fn reject_extensions(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        key: ServerKey,
        request: &Message,
        header: Header,
    ) {
        let mut response = Builder::response(request, 420, None).to_tag(&self.tag());
        for option in request.values(header) {
            response = response.header(Header::Unsupported, option);
        }
        layer.respond(now, key, response.build());
    }

    /// Answers a request with a status and nothing else.
    pub(crate) fn reject(&mut self, now: Moment, layer: &mut Layer, key: ServerKey, request: &Message, status: u16) {
        let mut response = Builder::response(request, status, None).to_tag(&self.tag());
        if status == 503 {
            response = response.header(Header::RetryAfter, "5");
        }
        layer.respond(now, key, response.build());
    }

    pub(crate) fn report(&mut self, call: u64) {
        if let Some(call) = self.calls.get(&call) {
            self.effects.push_back(Effect::Call(call.summary()));
        }
    }
}

impl TransactionUser for ProxyCore {
    type Input = Input;
    type Effect = Effect;

    fn event(&mut self, now: Moment, event: Event, layer: &mut Layer) {
        match event {
            Event::Request { key, message, flow } => self.request(now, layer, key, message, flow),
            Event::Ack { message, flow } => self.ack(now, layer, message, flow),
            Event::Cancel { invite, .. } => self.cancel(now, layer, invite),
            Event::Response { key, message, .. } => self.response(now, layer, key, message),
            // RFC 6026 §7.3: a stateful proxy drops what matches no transaction of its own
            Event::StrayResponse { .. } => self.counters.dropped += 1,
            Event::ClientFailed { key, why } => {
                let status = match why {
                    Failure::Timeout => 408,
                    Failure::Transport => 503,
                };
                self.branch_failed(now, layer, key, status);
            }
            Event::ServerFailed { .. } => {}
            Event::ClientTerminated { key } => self.client_terminated(key),
            Event::ServerTerminated { key } => self.server_terminated(key),
        }
    }

    fn input(&mut self, now: Moment, input: Input, layer: &mut Layer) {
        match input {
            Input::Admission { call, phase, verdict } => self.admission(now, layer, call, phase, &verdict),
            Input::Authorization { call, outcome } => self.authorization(now, layer, call, outcome),
            Input::Reload(config) => {
                self.authenticator.reload(&config);
                self.config = *config;
            }
            Input::Drain => self.draining = true,
            Input::Close => {
                self.draining = true;
                let running: Vec<u64> = self.calls.keys().copied().collect();
                for call in running {
                    // Q.850 41: temporary failure
                    self.call_over(now, call, Cause::Q850(41), ReleaseSource::Intermediate, None);
                }
            }
        }
    }

    fn timeout(&mut self, now: Moment, layer: &mut Layer) {
        while let Some((_, timer)) = self.timers.pop_expired(now) {
            match timer {
                Timer::C { context, branch } => self.timer_c(now, layer, context, branch),
                Timer::Silence { context, branch } => self.silence(now, layer, context, branch),
                Timer::CallLimit { call } => self.call_limit(now, call),
                Timer::Sweep => {
                    self.location.sweep(now);
                    self.authenticator.expire(self.config.timestamp(now));
                    self.timers.insert(now + SWEEP_EVERY, Timer::Sweep);
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.timers.next_deadline()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}
