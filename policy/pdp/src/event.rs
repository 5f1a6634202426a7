//! What the PDP tells: the decision log and the usage of calls.

use std::net::SocketAddr;
use std::time::Duration;

use strowger_clock::Moment;
use strowger_cops::sip::Phase;
use strowger_pib::PibError;
use strowger_pib::flow::MediaFlow;

/// How logs and pages name a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallName {
    /// Call-ID of the SIP dialog.
    pub call_id: String,
    /// Address of record of the caller.
    pub caller: String,
    /// Address of record of the callee.
    pub callee: String,
    /// PEPID of the proxy.
    pub pep_id: String,
}

/// Why a connection or a message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// [`crate::Config::connections_max`].
    TooManyConnections,
    /// Neither COPS-PR nor our SIP client type.
    ClientType(u16),
    /// Not COPS, too long, or not readable.
    Malformed,
    /// A request for a client type that was not opened.
    NotOpened,
    /// A message only a PDP sends.
    WrongDirection,
    /// A report or delete for a handle that names nothing.
    UnknownHandle,
    /// Nothing was heard for the keep-alive time.
    Silent,
}

/// What one flow used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowUsage {
    /// The flow.
    pub flow: MediaFlow,
    /// Packets, the largest count that any router reported.
    pub packets: u64,
    /// Octets of IP, likewise.
    pub octets: u64,
}

/// What a call used: stored when it ends (start, stop, flows).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallUsage {
    /// The call.
    pub call: CallName,
    /// When it was admitted.
    pub admitted: Moment,
    /// When its flows were first marked.
    pub started: Option<Moment>,
    /// When its flows were removed.
    pub stopped: Moment,
    /// Every flow it had.
    pub flows: Vec<FlowUsage>,
    /// Why it ended.
    pub reason: String,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A router asked for its configuration.
    RouterConnected {
        /// Its PEPID.
        router: String,
        /// Its address.
        address: SocketAddr,
        /// Its role combination.
        roles: String,
    },
    /// A router confirmed its base policy (and the calls that were replayed).
    RouterReady {
        /// Its PEPID.
        router: String,
        /// Flows of running calls that came with it.
        replayed_flows: usize,
    },
    /// A router refused a decision, or reported a failure later.
    RouterFailed {
        /// Its PEPID.
        router: String,
        /// What it said.
        error: Option<PibError>,
    },
    /// A router's connection is gone; its rows are kept for replay.
    RouterLost {
        /// Its PEPID.
        router: String,
    },
    /// A proxy opened.
    ProxyConnected {
        /// Its PEPID.
        proxy: String,
        /// Its address.
        address: SocketAddr,
    },
    /// A proxy's connection is gone; its calls are held for a while.
    ProxyLost {
        /// Its PEPID.
        proxy: String,
        /// Calls held.
        calls: usize,
    },
    /// A decision went to a proxy.
    Decision {
        /// The call.
        call: CallName,
        /// In which phase.
        phase: Phase,
        /// Install or Remove.
        install: bool,
        /// Why.
        reason: String,
        /// Flows that are marked now.
        flows: Vec<MediaFlow>,
        /// Routers that confirmed.
        routers: u32,
        /// From the request to the decision.
        took: Duration,
    },
    /// A proxy reported on a decision.
    ProxyReport {
        /// The call.
        call: CallName,
        /// Whether it could carry the decision out.
        ok: bool,
    },
    /// A call ended; this is what it used.
    CallEnded(CallUsage),
    /// Something was refused or dropped.
    Refused {
        /// Who, as far as known.
        peer: SocketAddr,
        /// Why.
        kind: RefusalKind,
    },
}
