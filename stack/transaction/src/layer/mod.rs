//! The layer: both tables, matching, timers.

mod client;
mod server;
mod timers;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};

use strowger_clock::{Moment, Random, TimerWheel};
use strowger_sip::Message;

use crate::branch::BranchOwner;
use crate::event::Owner;
use crate::machine::{Signal, Timer};
use crate::matching::Keyed;
use crate::slab::Slab;
use crate::{
    ClientKey, Config, Counters, Dropped, Event, Flow, FlowId, Gauge, Output, ServerKey, Target, TransmitId, Transport,
    ViaSpec,
};
use client::Client;
use server::Server;

/// The transaction layer of one shard.
///
/// Every call that takes `now` may leave outputs: drain [`Layer::poll_output`] before the next one.
#[derive(Debug)]
pub struct Layer {
    config: Config,
    random: Random,
    clients: Slab<Client>,
    servers: Slab<Server>,
    /// Server transactions by identity and method.
    server_index: HashMap<String, ServerKey, Keyed>,
    /// How many server transactions outside dialogs share a merge key (§8.2.2.2).
    merges: HashMap<String, u32, Keyed>,
    /// CANCEL transactions by their branch, which is that of the INVITE (§9.1).
    cancels: HashMap<String, ClientKey, Keyed>,
    /// Transactions that a closing connection concerns.
    flows: BTreeSet<(FlowId, Owner)>,
    timers: TimerWheel<(Owner, Timer)>,
    outputs: VecDeque<Output>,
    next_transmission: u64,
    counters: Counters,
    /// To tag of responses that we send without state, so that their ACKs are known again.
    stateless_tag: String,
}

impl Layer {
    /// An empty layer. Branches and tags come from `random`.
    pub fn new(config: Config, mut random: Random) -> Self {
        let keyed = Keyed::new(&mut random);
        let stateless_tag = random.alphanumeric(16);
        Layer {
            config,
            random,
            clients: Slab::new(),
            servers: Slab::new(),
            server_index: HashMap::with_hasher(keyed.clone()),
            merges: HashMap::with_hasher(keyed.clone()),
            cancels: HashMap::with_hasher(keyed),
            flows: BTreeSet::new(),
            timers: TimerWheel::new(),
            outputs: VecDeque::new(),
            next_transmission: 0,
            counters: Counters::default(),
            stateless_tag,
        }
    }

    /// A message came in. Responses go to their client transaction (§17.1.3), requests to their server transaction (§17.2.3)
    /// or begin one; ACK and CANCEL as §17.1.1.3 and §9.2 say.
    pub fn received(&mut self, now: Moment, message: Message, flow: Flow) {
        match message.status() {
            Some(status) => self.response_received(now, status, &message, flow),
            None => self.request_received(now, &message, flow),
        }
    }

    /// Sends a message outside any transaction: the ACK for a 2xx (with a Via of [`Layer::via`]), or a response whose target
    /// [`crate::response_target`] gave.
    pub fn send_stateless(&mut self, message: Message, target: Target) {
        self.transmit(Owner::Nobody, message, target);
    }

    /// A Via value with a fresh branch that belongs to no transaction, for [`Layer::send_stateless`].
    pub fn via(&mut self, spec: &ViaSpec, transport: Transport) -> String {
        let branch = BranchOwner::nobody(self.config.shard).write(&mut self.random, &spec.branch_suffix);
        via_value(spec, transport, &branch)
    }

    /// A transmission could not be made (RFC 3261 §17.1.4, §17.2.4 with RFC 6026 §8.8).
    pub fn transport_failed(&mut self, now: Moment, id: TransmitId) {
        self.signal(now, id.owner, Signal::TransportError);
    }

    /// A connection has closed. Requests that still wait for a first answer by it fail; responses to requests that came by it
    /// go to a new connection (§18.2.2).
    pub fn flow_closed(&mut self, now: Moment, flow: FlowId) {
        let first = Owner::Client(ClientKey { slot: 0, generation: 0 });
        let concerned: Vec<_> =
            self.flows.range((flow, first)..).take_while(|(id, _)| *id == flow).map(|(_, owner)| *owner).collect();
        for owner in concerned {
            self.flows.remove(&(flow, owner));
            match owner {
                Owner::Client(key) => {
                    if let Some(client) = self.clients.find_mut(key.slot, key.generation) {
                        client.target.flow = None;
                    }
                    self.signal(now, owner, Signal::TransportError);
                }
                Owner::Server(key) => {
                    if let Some(server) = self.servers.find_mut(key.slot, key.generation) {
                        server.target.flow = None;
                    }
                }
                Owner::Nobody => {}
            }
        }
    }

    /// The time is `now`: runs every timer that is due.
    pub fn timeout(&mut self, now: Moment) {
        while let Some((_, (owner, timer))) = self.timers.pop_expired(now) {
            self.timer_ran_out(owner, timer);
            if matches!(timer, Timer::A | Timer::E | Timer::G) {
                self.counters.retransmitted += 1;
            }
            self.signal(now, owner, Signal::Expired(timer));
        }
    }

    /// When to call [`Layer::timeout`] next; `None`: no timer runs.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.timers.next_deadline()
    }

    /// The next output. Call until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How full the layer is.
    pub fn gauge(&self) -> Gauge {
        Gauge { client: self.clients.len(), server: self.servers.len(), timers: self.timers.len() }
    }

    /// What was counted since the layer was made.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Timing and limits, as given at the making.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn signal(&mut self, now: Moment, owner: Owner, signal: Signal) {
        match owner {
            Owner::Client(key) => drop(self.step_client(now, key, signal, None)),
            Owner::Server(key) => drop(self.step_server(now, key, signal, None)),
            Owner::Nobody => {}
        }
    }

    fn transmit(&mut self, owner: Owner, message: Message, target: Target) {
        let id = TransmitId { owner, sequence: self.next_transmission };
        self.next_transmission += 1;
        self.outputs.push_back(Output::Transmit { id, message, target });
    }

    fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn drop_one(&mut self, why: Dropped) {
        self.counters.drop_one(why);
    }
}

/// `SIP/2.0/UDP host:port;branch=…;rport`. RFC 3581 §3 wants `rport` on unreliable transports.
fn via_value(spec: &ViaSpec, transport: Transport, branch: &str) -> String {
    let rport = if transport.is_reliable() { "" } else { ";rport" };
    format!("SIP/2.0/{transport} {};branch={branch}{rport}", spec.sent_by)
}

/// A response's or user's status as a signal.
fn signal_of(status: u16) -> Option<Signal> {
    match status {
        100..=199 => Some(Signal::Provisional),
        200..=299 => Some(Signal::Success),
        300..=699 => Some(Signal::Failure),
        _ => None,
    }
}
