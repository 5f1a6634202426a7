//! A network of user agents and scripted peers.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use strowger_clock::{Moment, Random};
use strowger_simulation::{Link, Node, NodeId, Packet, Simulation};
use strowger_sip::Message;
use strowger_transaction::{Event, Flow, FlowId, Layer, Output, ServerKey, Target, TransactionUser, Transport};

use crate::{CallId32, Config, Invite, LocalAddress, UserAgent, UserAgentEvent};

/// Answers requests by a function; keeps responses.
pub(super) type Answers = Box<dyn FnMut(&Message) -> Vec<Message>>;

pub(super) enum User {
    Agent(Box<UserAgent>),
    Script { answers: Answers, seen: Vec<Message> },
}

pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    pub(super) layer: Layer,
    pub(super) user: User,
    pub(super) events: Vec<UserAgentEvent>,
    out: VecDeque<Packet>,
}

impl Peer {
    fn script_event(&mut self, now: Moment, event: Event) {
        let User::Script { answers, seen } = &mut self.user else { return };
        let mut respond = |key: Option<ServerKey>, message: &Message, layer: &mut Layer| {
            seen.push(message.clone());
            let responses = answers(message);
            for response in responses {
                if let Some(key) = key {
                    layer.respond(now, key, response);
                }
            }
        };
        match event {
            Event::Request { key, message, .. } => respond(Some(key), &message, &mut self.layer),
            Event::Ack { message, .. } | Event::Cancel { message, .. } | Event::Response { message, .. } => {
                respond(None, &message, &mut self.layer);
            }
            _ => {}
        }
    }

    pub(super) fn drain(&mut self, now: Moment) {
        loop {
            let mut quiet = true;
            while let Some(output) = self.layer.poll_output() {
                quiet = false;
                match output {
                    Output::Transmit { message, target, .. } => self.out.push_back(Packet {
                        from: self.address,
                        to: target.address,
                        payload: message.as_bytes().clone(),
                        is_ordered: self.transport.is_reliable(),
                    }),
                    Output::Event(event) => match &mut self.user {
                        User::Agent(agent) => agent.event(now, event, &mut self.layer),
                        User::Script { .. } => self.script_event(now, event),
                    },
                }
            }
            if let User::Agent(agent) = &mut self.user {
                while let Some(event) = agent.poll_effect() {
                    self.events.push(event);
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// The call of the latest event that names an incoming one.
    pub(super) fn incoming(&self) -> CallId32 {
        let call = self.events.iter().rev().find_map(|event| match event {
            UserAgentEvent::IncomingCall { call, .. } => Some(*call),
            _ => None,
        });
        call.expect("no incoming call")
    }

    pub(super) fn has(&self, wanted: impl Fn(&UserAgentEvent) -> bool) -> bool {
        self.events.iter().any(wanted)
    }

    pub(super) fn seen(&self) -> &[Message] {
        match &self.user {
            User::Script { seen, .. } => seen,
            User::Agent(_) => &[],
        }
    }
}

impl Node for Peer {
    fn received(&mut self, now: Moment, packet: Packet) {
        let flow = Flow { id: FlowId(1), transport: self.transport, local: self.address, peer: packet.from };
        if let Ok(message) = Message::parse(packet.payload) {
            self.layer.received(now, message, flow);
        }
        self.drain(now);
    }

    fn timeout(&mut self, now: Moment) {
        self.layer.timeout(now);
        self.drain(now);
        if let User::Agent(agent) = &mut self.user {
            agent.timeout(now, &mut self.layer);
        }
        self.drain(now);
    }

    fn next_deadline(&self) -> Option<Moment> {
        let user = match &self.user {
            User::Agent(agent) => agent.next_deadline(),
            User::Script { .. } => None,
        };
        self.layer.next_deadline().into_iter().chain(user).min()
    }

    fn poll_transmit(&mut self) -> Option<Packet> {
        self.out.pop_front()
    }
}

pub(super) struct World {
    pub(super) net: Simulation<Peer>,
    pub(super) transport: Transport,
}

pub(super) fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 5060))
}

pub(super) fn sdp(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) fn call_to(host: u8, transport: Transport, body: Option<&str>) -> Invite {
    let parameter = if transport.is_reliable() { ";transport=tcp" } else { "" };
    Invite {
        uri: format!("sip:bob@{}{parameter}", address(host)),
        to: None,
        from: "\"Alice\" <sip:alice@example.test>".to_owned(),
        target: Target::new(transport, address(host)),
        route: Vec::new(),
        sdp: body.map(sdp),
        headers: vec![("Subject".to_owned(), "test".to_owned())],
        login: None,
        call_id: None,
    }
}

impl World {
    pub(super) fn new(seed: u64, link: Link, transport: Transport) -> World {
        World { net: Simulation::new(seed, link), transport }
    }

    fn add(&mut self, host: u8, user: User) -> NodeId {
        let random = self.net.fork_random();
        let peer = Peer {
            address: address(host),
            transport: self.transport,
            layer: Layer::new(strowger_transaction::Config::default(), random),
            user,
            events: Vec::new(),
            out: VecDeque::new(),
        };
        self.net.add(&[address(host)], peer)
    }

    pub(super) fn agent_with(&mut self, host: u8, change: impl FnOnce(&mut Config)) -> NodeId {
        let mut config = Config {
            local: vec![LocalAddress { transport: self.transport, address: address(host) }],
            contact_user: format!("user{host}"),
            ..Config::default()
        };
        change(&mut config);
        let random: Random = self.net.fork_random();
        self.add(host, User::Agent(Box::new(UserAgent::new(config, random))))
    }

    pub(super) fn agent(&mut self, host: u8) -> NodeId {
        self.agent_with(host, |_| {})
    }

    pub(super) fn script(&mut self, host: u8, answers: impl FnMut(&Message) -> Vec<Message> + 'static) -> NodeId {
        self.add(host, User::Script { answers: Box::new(answers), seen: Vec::new() })
    }

    pub(super) fn act<R>(&mut self, id: NodeId, act: impl FnOnce(&mut UserAgent, Moment, &mut Layer) -> R) -> R {
        self.net.with(id, |now, peer| {
            let User::Agent(agent) = &mut peer.user else { panic!("a script is no agent") };
            let result = act(agent, now, &mut peer.layer);
            peer.drain(now);
            result
        })
    }

    pub(super) fn run_ms(&mut self, milliseconds: u64) {
        let until = Moment::from_millis(self.net.now().as_millis() + milliseconds);
        self.net.run_until(until);
    }

    /// Runs until nothing moves, and checks that nothing is held.
    pub(super) fn settle(&mut self, nodes: &[NodeId]) {
        let limit = Moment::from_millis(self.net.now().as_millis() + 3_600_000);
        self.net.run_until_idle(limit).expect("the network does not come to rest");
        for node in nodes {
            let peer = self.net.node(*node);
            assert!(peer.layer.gauge().is_zero(), "{:?}", peer.layer.gauge());
            if let User::Agent(agent) = &peer.user {
                assert_eq!(agent.gauge(), crate::Gauge::default());
            }
        }
    }

    pub(super) fn events(&self, id: NodeId) -> &[UserAgentEvent] {
        &self.net.node(id).events
    }
}
