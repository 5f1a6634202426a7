//! The software router: forwards IPv4 between interfaces, and classifies, measures, marks and queues what it forwards as
//! the policy server says.
//!
//! - **In**: frames from network interfaces, rules (directly or as PIB rows through [`PibSink`]).
//! - **Out**: the same frames, in the buffers they came in, with their marks, on the interface their route says; ARP and
//!   ICMP of its own; counters; optionally a pcapng record of both sides.
//! - **Never**: copies a packet that it forwards without delay; drops one without counting why; decides policy; uses the
//!   kernel's routes or addresses.
//! - **Sources**: RFC 1812 (routers), 826 (ARP), 792 (ICMP), 1624, 2475; PIB rows as RFC 3317 means them.
//!
//! One thread owns the interfaces and the tables; [`RouterHandle`] talks to it through a bounded channel. IPv6 is not
//! forwarded: such packets are dropped and counted as unsupported.

mod config;
mod engine;
mod handle;
mod icmp;
mod neighbours;
mod pib;
mod routes;

pub use config::{InterfaceConfig, Network, NetworkFault, RouteConfig, RouterConfig};
pub use engine::{DropKind, RouterCounters};
pub use handle::{Router, RouterError, RouterHandle};
pub use pib::PibSink;
pub use strowger_diffserv::{
    FlowInstall, FlowSnapshot, InstanceId, Rule, SchedulerConfig, Transaction, TransactionError,
};
pub use strowger_packet::TierChoice;
