//! Differentiated services as a machine: which flow a packet belongs to, whether it keeps to its rate, which mark it
//! leaves with, and when it leaves.
//!
//! - **In**: IP packets (as octets to rewrite in place), rules under opaque instance numbers, moments.
//! - **Out**: a verdict for each packet (forward in a class, or drop for a named reason), packets in the order of their
//!   classes, counters.
//! - **Never**: touches an interface, a clock or an address table; copies a packet; forgets to count a drop.
//! - **Sources**: RFC 2474 (DSCP), 2475 and 3290 (model), 2597 (AF), 3246 (EF), 2697 (srTCM), 2698 (trTCM), 5865
//!   (VOICE-ADMIT), 3168 (ECN stays), 1624 (incremental checksum).

mod classifier;
mod datapath;
mod dscp;
mod headers;
mod meter;
mod queue;

pub use classifier::{Classifier, FILTERS_MAXIMUM, Filter, FilterFault, InstanceId, Prefix, SHAPES_MAXIMUM};
pub use datapath::{
    Action, Datapath, DropCounters, DropReason, Edge, FRAGMENTS_MAXIMUM, FlowCounters, FlowInstall, FlowSnapshot, Rule,
    Transaction, TransactionError, Verdict,
};
pub use dscp::{Dscp, QueueClass};
pub use headers::{HeaderFault, Headers, decrement_ttl, set_dscp};
pub use meter::{Colour, Meter, MeterSpec, TokenBucket};
pub use queue::{ClassCounters, Scheduler, SchedulerConfig};
