//! A node of the network: a transaction layer with a user above it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use strowger_clock::{Moment, Random};
use strowger_simulation::{Node, Packet};
use strowger_sip::Message;
use strowger_transaction::{Config, Flow, FlowId, Gauge, Layer, Output, Target, TransactionUser, Transport};

use crate::callee::Callee;
use crate::caller::Caller;

/// One user on one address.
pub struct Host<U> {
    address: SocketAddr,
    transport: Transport,
    pub layer: Layer,
    pub user: U,
    out: VecDeque<Packet>,
}

impl<U: TransactionUser> Host<U> {
    pub fn new(address: SocketAddr, transport: Transport, random: Random, user: U) -> Self {
        let layer = Layer::new(Config::default(), random);
        Host { address, transport, layer, user, out: VecDeque::new() }
    }

    pub fn input(&mut self, now: Moment, input: U::Input) {
        self.user.input(now, input, &mut self.layer);
        self.drain(now);
    }

    pub fn gauge(&self) -> Gauge {
        self.layer.gauge()
    }

    fn received(&mut self, now: Moment, packet: Packet) {
        let message = Message::parse(packet.payload).expect("what one layer sends another can read");
        // one connection per peer, for ever
        let id = FlowId(u64::from(packet.from.port()));
        let flow = Flow { id, transport: self.transport, local: self.address, peer: packet.from };
        self.layer.received(now, message, flow);
        self.drain(now);
    }

    fn timeout(&mut self, now: Moment) {
        if self.layer.next_deadline().is_some_and(|at| at <= now) {
            self.layer.timeout(now);
            self.drain(now);
        }
        if self.user.next_deadline().is_some_and(|at| at <= now) {
            self.user.timeout(now, &mut self.layer);
            self.drain(now);
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.layer.next_deadline().into_iter().chain(self.user.next_deadline()).min()
    }

    /// The sans-IO contract: all outputs first, only then the next change.
    fn drain(&mut self, now: Moment) {
        loop {
            let outputs: Vec<_> = std::iter::from_fn(|| self.layer.poll_output()).collect();
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                match output {
                    Output::Transmit { message, target, .. } => self.send(&message, target),
                    Output::Event(event) => self.user.event(now, event, &mut self.layer),
                }
            }
        }
    }

    fn send(&mut self, message: &Message, target: Target) {
        let (from, to, payload) = (self.address, target.address, message.as_bytes().clone());
        self.out.push_back(Packet { from, to, payload, is_ordered: target.transport.is_reliable() });
    }
}

/// Either end of the calls.
pub enum Party {
    Caller(Box<Host<Caller>>),
    Callee(Box<Host<Callee>>),
}

impl Party {
    pub fn caller(&self) -> &Host<Caller> {
        match self {
            Party::Caller(host) => host,
            Party::Callee(_) => panic!("the callee"),
        }
    }

    pub fn caller_mut(&mut self) -> &mut Host<Caller> {
        match self {
            Party::Caller(host) => host,
            Party::Callee(_) => panic!("the callee"),
        }
    }

    pub fn callee(&self) -> &Host<Callee> {
        match self {
            Party::Callee(host) => host,
            Party::Caller(_) => panic!("the caller"),
        }
    }
}

impl Node for Party {
    fn received(&mut self, now: Moment, packet: Packet) {
        match self {
            Party::Caller(host) => host.received(now, packet),
            Party::Callee(host) => host.received(now, packet),
        }
    }

    fn timeout(&mut self, now: Moment) {
        match self {
            Party::Caller(host) => host.timeout(now),
            Party::Callee(host) => host.timeout(now),
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        match self {
            Party::Caller(host) => host.next_deadline(),
            Party::Callee(host) => host.next_deadline(),
        }
    }

    fn poll_transmit(&mut self) -> Option<Packet> {
        match self {
            Party::Caller(host) => host.out.pop_front(),
            Party::Callee(host) => host.out.pop_front(),
        }
    }
}
