//! A proxy core between user agents and raw scripts on the simulated network, with a policy server and a clearinghouse that
//! are functions.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use strowger_clock::{Moment, Timestamp};
use strowger_dialog::{CallId32, Invite, Login, Register, UserAgent, UserAgentEvent};
use strowger_proxy_core::{
    Authorization, AuthorizationQuery, CallUsage, ClearingRefusal, Config, Destination, Effect, Input, Limits,
    Listener, PasswordHash, Phase, ProxyCore, Subscriber, Verdict,
};
use strowger_simulation::{Link, NodeId, Packet, Simulation};
use strowger_sip::{Header, Message};
use strowger_transaction::{Layer, Target, TransactionUser, Transport};

pub use crate::nodes::{AgentNode, Auto, Party, ProxyNode, RawNode};

pub use strowger_proxy_core::Gauge;

pub const DOMAIN: &str = "example.test";
pub const NUMBER: &str = "12125550100";
pub const PROXY_HOST: u8 = 1;

/// After how many milliseconds the policy server says what; `None`: the test answers itself.
pub type Policy = Box<dyn FnMut(Phase) -> Option<(u64, Verdict)>>;
/// Likewise the clearinghouse.
pub type Clearing = Box<dyn FnMut(&AuthorizationQuery) -> Option<(u64, Result<Authorization, ClearingRefusal>)>>;

pub fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 5060))
}

pub fn sdp(host: u8, version: u32) -> Bytes {
    Bytes::from(format!(
        "v=0\r\no=- {host} {version} IN IP4 10.0.0.{host}\r\ns=-\r\nc=IN IP4 10.0.0.{host}\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8\r\n"
    ))
}

pub fn login(user: &str) -> Login {
    Login { username: user.to_owned(), password: format!("secret of {user}") }
}

pub fn config() -> Config {
    let subscriber = |user: &str, number: Option<&str>| {
        let password = PasswordHash::Clear(login(user).password);
        (user.to_owned(), Subscriber { password, number: number.map(str::to_owned) })
    };
    let at = address(PROXY_HOST);
    let listener = |transport| Listener { transport, address: at, advertised: at.to_string() };
    Config {
        domains: vec![DOMAIN.to_owned()],
        listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
        subscribers: [subscriber("alice", Some("12125550001")), subscriber("bob", None)].into(),
        secret: [7; 32],
        digest: strowger_sip::digest::Algorithm::STRONGEST_FIRST.to_vec(),
        clearing: true,
        policy: false,
        policy_optional: false,
        destinations_max: 5,
        gateway_silence: Duration::from_secs(3),
        timer_c: Duration::from_secs(181),
        call_grace: Duration::from_secs(60),
        wall: (Moment::ZERO, Timestamp::from_unix_seconds(1_800_000_000)),
        limits: Limits::default(),
    }
}

pub fn destination(host: u8) -> Destination {
    Destination {
        calling: "12125550001".to_owned(),
        called: NUMBER.to_owned(),
        address: address(host),
        token_base64: format!("dG9rZW4{host:02}"),
        granted_seconds: 300,
    }
}

pub fn authorized(hosts: &[u8]) -> Result<Authorization, ClearingRefusal> {
    Ok(Authorization { transaction_id: 4711, destinations: hosts.iter().map(|host| destination(*host)).collect() })
}

pub struct World {
    pub net: Simulation<Party>,
    pub proxy: NodeId,
    others: Vec<NodeId>,
}

impl World {
    pub fn new(config: Config) -> World {
        World::on(1, Link::PERFECT, config)
    }

    pub fn on(seed: u64, link: Link, config: Config) -> World {
        let mut net = Simulation::new(seed, link);
        let layer = Layer::new(strowger_transaction::Config::default(), net.fork_random());
        let core = ProxyCore::new(Moment::ZERO, config, net.fork_random(), 1_000);
        let policy: Policy = Box::new(|phase| {
            let verdict = match phase {
                Phase::Teardown => Verdict::Remove { reason: "released".to_owned() },
                _ => Verdict::Install,
            };
            Some((20, verdict))
        });
        let clearing: Clearing = Box::new(|_| Some((30, authorized(&[21, 22]))));
        let node = ProxyNode::new(layer, core, policy, clearing);
        let proxy = net.add(&[address(PROXY_HOST)], Party::Proxy(Box::new(node)));
        World { net, proxy, others: Vec::new() }
    }

    pub fn agent_by(&mut self, host: u8, user: &str, transport: Transport, auto: Option<Auto>) -> NodeId {
        let node = AgentNode::new(host, user, transport, auto, self.net.fork_random());
        let id = self.net.add(&[address(host)], Party::Agent(Box::new(node)));
        self.others.push(id);
        id
    }

    pub fn agent(&mut self, host: u8, user: &str) -> NodeId {
        self.agent_by(host, user, Transport::Udp, None)
    }

    pub fn raw(&mut self, host: u8) -> NodeId {
        let (transport, inbox, out) = (Transport::Udp, Vec::new(), VecDeque::new());
        self.net.add(&[address(host)], Party::Raw(RawNode { address: address(host), transport, inbox, out }))
    }

    pub fn send_raw(&mut self, id: NodeId, message: &Message) {
        let payload = message.as_bytes().clone();
        self.net.with(id, |_, party| {
            let Party::Raw(raw) = party else { panic!("not raw") };
            let is_ordered = raw.transport.is_reliable();
            raw.out.push_back(Packet { from: raw.address, to: address(PROXY_HOST), payload, is_ordered });
        });
    }

    /// Sends and gives the final response.
    pub fn ask_raw(&mut self, id: NodeId, request: &Message) -> Message {
        self.send_raw(id, request);
        self.run_ms(200);
        let branch = request.top_via().unwrap().branch().map(str::to_owned);
        let answer = self.inbox(id).iter().rev().find(|message| {
            message.status().is_some_and(|status| status >= 200)
                && message.top_via().unwrap().branch().map(str::to_owned) == branch
        });
        answer.cloned().expect("no final response")
    }

    pub fn inbox(&self, id: NodeId) -> &[Message] {
        let Party::Raw(raw) = self.net.node(id) else { panic!("not raw") };
        &raw.inbox
    }

    pub fn requests(&self, id: NodeId, method: &str) -> Vec<Message> {
        let all = self.inbox(id).iter();
        all.filter(|message| message.is_request() && message.method().as_str() == method).cloned().collect()
    }

    pub fn statuses(&self, id: NodeId) -> Vec<u16> {
        self.inbox(id).iter().filter_map(Message::status).collect()
    }

    pub fn act<R>(&mut self, id: NodeId, act: impl FnOnce(&mut UserAgent, Moment, &mut Layer) -> R) -> R {
        self.net.with(id, |now, party| {
            let Party::Agent(node) = party else { panic!("not an agent") };
            let result = act(&mut node.agent, now, &mut node.layer);
            node.drain(now);
            result
        })
    }

    pub fn peer(&self, id: NodeId) -> &AgentNode {
        let Party::Agent(node) = self.net.node(id) else { panic!("not an agent") };
        node
    }

    pub fn core(&self) -> &ProxyNode {
        let Party::Proxy(node) = self.net.node(self.proxy) else { panic!("not the proxy") };
        node
    }

    pub fn with_proxy<R>(&mut self, act: impl FnOnce(&mut ProxyNode) -> R) -> R {
        self.net.with(self.proxy, |now, party| {
            let Party::Proxy(node) = party else { panic!("not the proxy") };
            let result = act(node);
            node.drain(now);
            result
        })
    }

    pub fn input(&mut self, input: Input) {
        self.net.with(self.proxy, |now, party| {
            let Party::Proxy(node) = party else { panic!("not the proxy") };
            node.core.input(now, input, &mut node.layer);
            node.drain(now);
        });
    }

    pub fn run_ms(&mut self, milliseconds: u64) {
        let until = Moment::from_millis(self.net.now().as_millis() + milliseconds);
        self.net.run_until(until);
    }

    pub fn register(&mut self, id: NodeId, user: &str) {
        let transport = self.peer(id).transport;
        let register = Register {
            registrar: format!("sip:{DOMAIN}"),
            aor: format!("sip:{user}@{DOMAIN}"),
            target: Target::new(transport, address(PROXY_HOST)),
            expires_seconds: 86_400,
            login: Some(login(user)),
        };
        self.act(id, |agent, now, layer| agent.register(now, layer, register)).expect("registers");
        self.run_ms(500);
        assert!(self.peer(id).has(|event| matches!(event, UserAgentEvent::Registered { .. })));
    }

    /// Dials over the proxy, with an offer.
    pub fn dial(&mut self, id: NodeId, user: &str, uri: &str) -> CallId32 {
        let node = self.peer(id);
        let (transport, host) = (node.transport, node.host());
        let invite = Invite {
            uri: uri.to_owned(),
            to: None,
            from: format!("<sip:{user}@{DOMAIN}>"),
            target: Target::new(transport, address(PROXY_HOST)),
            route: Vec::new(),
            sdp: Some(sdp(host, 1)),
            headers: Vec::new(),
            login: Some(login(user)),
            call_id: None,
        };
        self.act(id, |agent, now, layer| agent.invite(now, layer, invite)).expect("dials")
    }

    pub fn hang_up(&mut self, id: NodeId, call: CallId32) {
        self.act(id, |agent, now, layer| agent.hang_up(now, layer, call, None)).expect("hangs up");
    }

    pub fn answer(&mut self, id: NodeId, version: u32) {
        let (call, host) = (self.peer(id).incoming(), self.peer(id).host());
        let body = Some(sdp(host, version));
        self.act(id, |agent, now, layer| agent.answer(now, layer, call, body)).expect("answers");
    }

    pub fn ring(&mut self, id: NodeId, status: u16, version: Option<u32>) {
        let (call, host) = (self.peer(id).incoming(), self.peer(id).host());
        let body = version.map(|version| sdp(host, version));
        self.act(id, |agent, now, layer| agent.ring(now, layer, call, status, body)).expect("rings");
    }

    pub fn reject(&mut self, id: NodeId, status: u16) {
        let call = self.peer(id).incoming();
        self.act(id, |agent, now, layer| agent.reject(now, layer, call, status, None, &[])).expect("rejects");
    }

    pub fn usages(&self) -> Vec<CallUsage> {
        let usage = |effect: &Effect| match effect {
            Effect::Usage { usage, .. } => Some(usage.clone()),
            _ => None,
        };
        self.core().effects.iter().filter_map(usage).collect()
    }

    /// The phases that the policy server was asked about, `Delete` and `Report` for the rest.
    pub fn policy_log(&self) -> Vec<&'static str> {
        let word = |effect: &Effect| match effect {
            Effect::Admission { phase: Phase::Setup, .. } => Some("setup"),
            Effect::Admission { phase: Phase::Answer, .. } => Some("answer"),
            Effect::Admission { phase: Phase::Modify, .. } => Some("modify"),
            Effect::Admission { phase: Phase::Teardown, .. } => Some("teardown"),
            Effect::AdmissionReport { .. } => Some("report"),
            Effect::AdmissionDelete { .. } => Some("delete"),
            _ => None,
        };
        self.core().effects.iter().filter_map(word).collect()
    }

    pub fn call_numbers(&self) -> Vec<u64> {
        self.core().core.calls().map(|call| call.number).collect()
    }

    pub fn first_call(&self) -> u64 {
        let number = |effect: &Effect| match effect {
            Effect::Admission { call, .. } | Effect::Authorize { call, .. } => Some(*call),
            _ => None,
        };
        self.core().effects.iter().find_map(number).expect("no call was asked about")
    }

    /// Runs until every transaction has run out, and checks that nothing is left.
    pub fn settle(&mut self) {
        self.run_ms(200_000);
        let bindings = self.core().core.gauge().bindings;
        assert_eq!(self.core().core.gauge(), Gauge { bindings, ..Gauge::default() });
        assert!(self.core().layer.gauge().is_zero(), "{:?}", self.core().layer.gauge());
        for id in &self.others {
            let gauge = self.peer(*id).agent.gauge();
            assert_eq!((gauge.calls, gauge.records, gauge.requests), (0, 0, 0));
        }
    }
}

/// What came to an agent as a request's header.
pub fn incoming_header(peer: &AgentNode, name: Header) -> Vec<String> {
    let request = peer.events.iter().rev().find_map(|event| match event {
        UserAgentEvent::IncomingCall { request, .. } => Some(request.clone()),
        _ => None,
    });
    request.expect("no incoming call").values(name).map(str::to_owned).collect()
}
