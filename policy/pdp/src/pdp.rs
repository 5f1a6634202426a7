//! The machine: its tables, its inputs and outputs. What it does with them is in the modules named after it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use strowger_clock::Moment;
use strowger_cops::{ErrorCode, Message};

use crate::admission::Budget;
use crate::call::{Call, CallId, CallKey};
use crate::config::Config;
use crate::connection::Connection;
use crate::event::{Event, RefusalKind};
use crate::operation::{Operation, OperationId};
use crate::router::Router;

/// A TCP connection, numbered by the driver; a number is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Write these bytes.
    Send(ConnectionId, Bytes),
    /// Close after what was written; `closed` is not called for it.
    Close(ConnectionId),
    /// Something to log, store or show.
    Event(Event),
}

/// How full the PDP is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauge {
    /// Open connections.
    pub connections: usize,
    /// Routers with a request state.
    pub routers: usize,
    /// Calls with a record, refused and ended ones waiting for their DRQ included.
    pub calls: usize,
    /// Calls that hold a share of the budget.
    pub admitted: usize,
    /// Bandwidth given away in kbit/s.
    pub admitted_kbps: u64,
    /// Changes whose reports are due.
    pub operations: usize,
    /// Flows that are or should be on the routers.
    pub flows: usize,
}

/// The policy decision point.
#[derive(Debug)]
pub struct Pdp {
    pub(crate) config: Config,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) routers: BTreeMap<String, Router>,
    pub(crate) calls: HashMap<CallId, Call>,
    pub(crate) call_keys: HashMap<CallKey, CallId>,
    pub(crate) calls_used: u64,
    /// Calls whose proxy is gone, by when they are given up.
    pub(crate) orphans: BTreeMap<(Moment, CallId), ()>,
    /// Which call a flow's instance number belongs to.
    pub(crate) instances: BTreeMap<u32, CallId>,
    pub(crate) next_instance: u32,
    pub(crate) operations: BTreeMap<OperationId, Operation>,
    pub(crate) operations_used: u64,
    pub(crate) budget: Budget,
    pub(crate) outputs: VecDeque<Output>,
}

impl Pdp {
    /// A PDP without connections.
    pub fn new(config: Config) -> Pdp {
        Pdp {
            config,
            connections: BTreeMap::new(),
            routers: BTreeMap::new(),
            calls: HashMap::new(),
            call_keys: HashMap::new(),
            calls_used: 0,
            orphans: BTreeMap::new(),
            instances: BTreeMap::new(),
            next_instance: strowger_pib::flow::FLOW_INSTANCE_MIN,
            operations: BTreeMap::new(),
            operations_used: 0,
            budget: Budget::default(),
            outputs: VecDeque::new(),
        }
    }

    /// A PEP has connected.
    pub fn connected(&mut self, now: Moment, id: ConnectionId, peer: SocketAddr) {
        if self.connections.len() >= self.config.connections_max {
            self.event(Event::Refused { peer, kind: RefusalKind::TooManyConnections });
            let close = Message::client_close(0, ErrorCode::UnableToProcess, 0);
            self.outputs.push_back(Output::Send(id, close.encode()));
            self.outputs.push_back(Output::Close(id));
            return;
        }
        let silent_at = self.silent_at(now);
        self.connections.insert(id, Connection::new(peer, self.config.message_octets_max, silent_at));
    }

    /// Bytes of a connection.
    pub fn received(&mut self, now: Moment, id: ConnectionId, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.framer.push(bytes);
            self.frames(now, id);
        }
    }

    /// A connection is gone.
    pub fn closed(&mut self, now: Moment, id: ConnectionId) {
        self.forget(now, id);
    }

    /// Says goodbye to everyone (CC "shutting down"). Routers keep what they have.
    pub fn shut_down(&mut self, now: Moment) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            self.close(now, id, ErrorCode::ShuttingDown);
        }
    }

    /// Time has passed.
    pub fn timeout(&mut self, now: Moment) {
        let silent: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.silent_at.is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in silent {
            self.refuse(id, RefusalKind::Silent);
            self.close(now, id, ErrorCode::CommunicationFailure);
        }
        let late: Vec<OperationId> =
            self.operations.iter().filter(|(_, operation)| operation.deadline <= now).map(|(id, _)| *id).collect();
        for id in late {
            self.operation_late(now, id);
        }
        while let Some((&(at, call), ())) = self.orphans.first_key_value()
            && at <= now
        {
            self.orphans.remove(&(at, call));
            self.drop_call(now, call, "its proxy did not come back");
        }
    }

    /// When [`Pdp::timeout`] has to be called.
    pub fn next_deadline(&self) -> Option<Moment> {
        let silent = self.connections.values().filter_map(|connection| connection.silent_at).min();
        let late = self.operations.values().map(|operation| operation.deadline).min();
        let orphan = self.orphans.keys().next().map(|(at, _)| *at);
        [silent, late, orphan].into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How full it is. Everything but connections and routers returns to zero when calls end.
    pub fn gauge(&self) -> Gauge {
        Gauge {
            connections: self.connections.len(),
            routers: self.routers.len(),
            calls: self.calls.len(),
            admitted: self.budget.calls(),
            admitted_kbps: self.budget.kbps(),
            operations: self.operations.len(),
            flows: self.instances.len(),
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(crate) fn send(&mut self, id: ConnectionId, message: &Message) {
        self.outputs.push_back(Output::Send(id, message.encode()));
    }

    pub(crate) fn refuse(&mut self, id: ConnectionId, kind: RefusalKind) {
        if let Some(peer) = self.connections.get(&id).map(|connection| connection.peer) {
            self.event(Event::Refused { peer, kind });
        }
    }

    /// A quarter more than the timer: the PEP's own clock and the network may be a little slow.
    pub(crate) fn silent_at(&self, now: Moment) -> Option<Moment> {
        let seconds = self.config.keep_alive_seconds;
        (seconds > 0).then(|| now + Duration::from_millis(u64::from(seconds) * 1250))
    }
}
