//! A network of machines on a virtual clock, for tests.
//!
//! - **In**: nodes ([`Node`]: sans-IO machines with their addresses), links ([`Link`]: loss, duplication, reordering, delay),
//!   one seed.
//! - **Out**: the nodes after a run, and a trace of every packet ([`Simulation::trace`]). When a test panics, the seed and the
//!   trace's end are printed: the same seed gives the same run.
//! - **Never**: reads a clock, waits, opens a socket. A minute of simulated time costs what its packets cost.
//! - **Sources**: none; it imitates UDP (RFC 768: packets get lost, doubled and overtaken) and, for ordered packets, what a TCP
//!   user sees (RFC 9293: in order, once).

mod link;
mod simulation;
mod trace;

pub use link::{Delay, Link};
pub use simulation::{Busy, IN_FLIGHT_MAX, Node, NodeId, Packet, Simulation};
pub use trace::{Fate, TRACE_MAX, TraceLine};
