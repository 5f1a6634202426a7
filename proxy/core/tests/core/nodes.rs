//! The parties on the simulated network: the proxy with its functions for servers, user agents, raw scripts.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use strowger_clock::{Moment, Random};
use strowger_dialog::{CallId32, LocalAddress, UserAgent, UserAgentEvent};
use strowger_proxy_core::{Effect, Input, ProxyCore};
use strowger_simulation::{Node, Packet};
use strowger_sip::Message;
use strowger_transaction::{Flow, FlowId, Layer, Output, TransactionUser, Transport};

use crate::world::{Clearing, PROXY_HOST, Policy, address, sdp};

pub struct ProxyNode {
    pub layer: Layer,
    pub core: ProxyCore,
    /// Everything but call events.
    pub effects: Vec<Effect>,
    pub policy: Policy,
    pub clearing: Clearing,
    due: BTreeMap<(Moment, u64), Input>,
    next_due: u64,
    flows: HashMap<FlowId, SocketAddr>,
    pub out: VecDeque<Packet>,
}

impl ProxyNode {
    pub fn new(layer: Layer, core: ProxyCore, policy: Policy, clearing: Clearing) -> ProxyNode {
        let (due, flows) = (BTreeMap::new(), HashMap::new());
        ProxyNode { layer, core, effects: Vec::new(), policy, clearing, due, next_due: 0, flows, out: VecDeque::new() }
    }

    fn later(&mut self, at: Moment, input: Input) {
        self.next_due += 1;
        self.due.insert((at, self.next_due), input);
    }

    pub fn drain(&mut self, now: Moment) {
        loop {
            let mut quiet = true;
            while let Some(output) = self.layer.poll_output() {
                quiet = false;
                match output {
                    Output::Transmit { message, target, .. } => {
                        let flow = target.flow.and_then(|flow| self.flows.get(&flow));
                        let to = flow.copied().filter(|_| target.transport.is_reliable()).unwrap_or(target.address);
                        let is_ordered = target.transport.is_reliable();
                        let payload = message.as_bytes().clone();
                        self.out.push_back(Packet { from: address(PROXY_HOST), to, payload, is_ordered });
                    }
                    Output::Event(event) => self.core.event(now, event, &mut self.layer),
                }
            }
            while let Some(effect) = self.core.poll_effect() {
                quiet = false;
                match &effect {
                    Effect::Admission { call, phase, .. } => {
                        if let Some((after_ms, verdict)) = (self.policy)(*phase) {
                            let input = Input::Admission { call: *call, phase: *phase, verdict };
                            self.later(now + Duration::from_millis(after_ms), input);
                        }
                    }
                    Effect::Authorize { call, query } => {
                        if let Some((after_ms, outcome)) = (self.clearing)(query) {
                            let input = Input::Authorization { call: *call, outcome };
                            self.later(now + Duration::from_millis(after_ms), input);
                        }
                    }
                    _ => {}
                }
                if !matches!(effect, Effect::Call(_)) {
                    self.effects.push(effect);
                }
            }
            if quiet {
                return;
            }
        }
    }
}

/// What an agent does by itself.
#[derive(Copy, Clone)]
pub struct Auto {
    pub answer_after_ms: u64,
    /// After the answer it hangs up, where this is given.
    pub hang_up_after_ms: Option<u64>,
    /// Instead of answering.
    pub rejects: Option<u16>,
}

enum Chore {
    Answer(CallId32),
    Reject(CallId32, u16),
    HangUp(CallId32),
}

pub struct AgentNode {
    pub address: SocketAddr,
    pub transport: Transport,
    pub layer: Layer,
    pub agent: UserAgent,
    pub events: Vec<UserAgentEvent>,
    pub auto: Option<Auto>,
    chores: BTreeMap<(Moment, u64), Chore>,
    next_chore: u64,
    pub out: VecDeque<Packet>,
}

impl AgentNode {
    pub fn new(host: u8, user: &str, transport: Transport, auto: Option<Auto>, mut random: Random) -> AgentNode {
        let config = strowger_dialog::Config {
            local: vec![LocalAddress { transport, address: address(host) }],
            contact_user: user.to_owned(),
            ..strowger_dialog::Config::default()
        };
        AgentNode {
            address: address(host),
            transport,
            layer: Layer::new(strowger_transaction::Config::default(), random.fork()),
            agent: UserAgent::new(config, random),
            events: Vec::new(),
            auto,
            chores: BTreeMap::new(),
            next_chore: 0,
            out: VecDeque::new(),
        }
    }

    fn later(&mut self, at: Moment, chore: Chore) {
        self.next_chore += 1;
        self.chores.insert((at, self.next_chore), chore);
    }

    pub fn drain(&mut self, now: Moment) {
        loop {
            let mut quiet = true;
            while let Some(output) = self.layer.poll_output() {
                quiet = false;
                match output {
                    Output::Transmit { message, target, .. } => self.out.push_back(Packet {
                        from: self.address,
                        to: target.address,
                        payload: message.as_bytes().clone(),
                        is_ordered: target.transport.is_reliable(),
                    }),
                    Output::Event(event) => self.agent.event(now, event, &mut self.layer),
                }
            }
            while let Some(event) = self.agent.poll_effect() {
                quiet = false;
                self.react(now, &event);
                self.events.push(event);
            }
            if quiet {
                return;
            }
        }
    }

    fn react(&mut self, now: Moment, event: &UserAgentEvent) {
        let Some(auto) = self.auto else { return };
        let after = |milliseconds| now + Duration::from_millis(milliseconds);
        match event {
            UserAgentEvent::IncomingCall { call, .. } => {
                let _ = self.agent.ring(now, &mut self.layer, *call, 180, None);
                let chore = match auto.rejects {
                    Some(status) => Chore::Reject(*call, status),
                    None => Chore::Answer(*call),
                };
                self.later(after(auto.answer_after_ms), chore);
            }
            UserAgentEvent::Answered { call, .. } | UserAgentEvent::Confirmed { call, .. } => {
                if let Some(milliseconds) = auto.hang_up_after_ms {
                    self.later(after(milliseconds), Chore::HangUp(*call));
                }
            }
            UserAgentEvent::Reoffer { call, .. } => {
                let _ = self.agent.answer_reoffer(now, &mut self.layer, *call, Some(sdp(99, 2)));
            }
            _ => {}
        }
    }

    pub fn host(&self) -> u8 {
        match self.address {
            SocketAddr::V4(address) => address.ip().octets()[3],
            SocketAddr::V6(_) => 0,
        }
    }

    pub fn incoming(&self) -> CallId32 {
        let call = self.events.iter().rev().find_map(|event| match event {
            UserAgentEvent::IncomingCall { call, .. } => Some(*call),
            _ => None,
        });
        call.expect("no incoming call")
    }

    pub fn has(&self, wanted: impl Fn(&UserAgentEvent) -> bool) -> bool {
        self.events.iter().any(wanted)
    }

    pub fn rejected(&self) -> Option<u16> {
        self.events.iter().find_map(|event| match event {
            UserAgentEvent::Rejected { status, .. } => Some(*status),
            _ => None,
        })
    }

    pub fn is_answered(&self) -> bool {
        self.has(|event| matches!(event, UserAgentEvent::Answered { .. }))
    }
}

/// Keeps what comes and sends what the test tells it.
pub struct RawNode {
    pub address: SocketAddr,
    pub transport: Transport,
    pub inbox: Vec<Message>,
    pub out: VecDeque<Packet>,
}

pub enum Party {
    Proxy(Box<ProxyNode>),
    Agent(Box<AgentNode>),
    Raw(RawNode),
}

impl Node for Party {
    fn received(&mut self, now: Moment, packet: Packet) {
        let Ok(message) = Message::parse(packet.payload) else { return };
        match self {
            Party::Proxy(proxy) => {
                let transport = if packet.is_ordered { Transport::Tcp } else { Transport::Udp };
                let SocketAddr::V4(peer) = packet.from else { return };
                let number = u64::from(peer.ip().octets()[3]) << 16 | u64::from(peer.port());
                let id = FlowId(if packet.is_ordered { number } else { 1 });
                proxy.flows.insert(id, packet.from);
                let flow = Flow { id, transport, local: packet.to, peer: packet.from };
                proxy.layer.received(now, message, flow);
                proxy.drain(now);
            }
            Party::Agent(agent) => {
                let transport = if packet.is_ordered { Transport::Tcp } else { Transport::Udp };
                let flow = Flow { id: FlowId(1), transport, local: agent.address, peer: packet.from };
                agent.layer.received(now, message, flow);
                agent.drain(now);
            }
            Party::Raw(raw) => raw.inbox.push(message),
        }
    }

    fn timeout(&mut self, now: Moment) {
        match self {
            Party::Proxy(proxy) => {
                while let Some(entry) = proxy.due.first_entry().filter(|entry| entry.key().0 <= now) {
                    let input = entry.remove();
                    proxy.core.input(now, input, &mut proxy.layer);
                    proxy.drain(now);
                }
                proxy.layer.timeout(now);
                proxy.drain(now);
                proxy.core.timeout(now, &mut proxy.layer);
                proxy.drain(now);
            }
            Party::Agent(agent) => {
                while let Some(entry) = agent.chores.first_entry().filter(|entry| entry.key().0 <= now) {
                    let chore = entry.remove();
                    let answer = sdp(agent.host(), 1);
                    // the call may have ended meanwhile
                    let _ = match chore {
                        Chore::Answer(call) => agent.agent.answer(now, &mut agent.layer, call, Some(answer)),
                        Chore::Reject(call, status) => {
                            agent.agent.reject(now, &mut agent.layer, call, status, None, &[])
                        }
                        Chore::HangUp(call) => agent.agent.hang_up(now, &mut agent.layer, call, None),
                    };
                    agent.drain(now);
                }
                agent.layer.timeout(now);
                agent.drain(now);
                agent.agent.timeout(now, &mut agent.layer);
                agent.drain(now);
            }
            Party::Raw(_) => {}
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        match self {
            Party::Proxy(proxy) => {
                let due = proxy.due.first_key_value().map(|((at, _), _)| *at);
                [due, proxy.layer.next_deadline(), proxy.core.next_deadline()].into_iter().flatten().min()
            }
            Party::Agent(agent) => {
                let due = agent.chores.first_key_value().map(|((at, _), _)| *at);
                [due, agent.layer.next_deadline(), agent.agent.next_deadline()].into_iter().flatten().min()
            }
            Party::Raw(_) => None,
        }
    }

    fn poll_transmit(&mut self) -> Option<Packet> {
        match self {
            Party::Proxy(proxy) => proxy.out.pop_front(),
            Party::Agent(agent) => agent.out.pop_front(),
            Party::Raw(raw) => raw.out.pop_front(),
        }
    }
}
