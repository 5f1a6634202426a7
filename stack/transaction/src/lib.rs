//! The transaction layer: RFC 3261 §17 with RFC 6026, without sockets or clocks.
//!
//! - **In**: parsed messages with the flow they came by ([`Layer::received`]); requests, responses and cancellations of
//!   the user ([`Layer::request`], [`Layer::respond`], [`Layer::cancel`]); what the transport could not do
//!   ([`Layer::transport_failed`], [`Layer::flow_closed`]); the time ([`Layer::timeout`]).
//! - **Out**: [`Output`]: messages to transmit and events for the [`TransactionUser`]. Drain [`Layer::poll_output`] until
//!   `None` before the next call that mutates; then wait for [`Layer::next_deadline`] or the next input.
//! - **Never**: opens a socket, resolves a name, reads a clock, decides what a request means. What a peer sends never
//!   makes it fail: it is answered, or dropped and counted ([`Counters`]). Its tables have maxima ([`Config`]).
//! - **Sources**: RFC 3261 §8.1.3.3, §8.2.2.2 (merged requests are pointed out), §9 (CANCEL), §17 (all of it), §18.1.2,
//!   §18.2.1, §18.2.2 (literal addresses), RFC 6026 (Accepted, timers L and M), RFC 3581 (rport), RFC 2543 peers by
//!   RFC 3261 §17.2.3.
//!
//! ACK for a non-2xx response is this layer's; ACK for a 2xx is the user's ([`Layer::send_stateless`]).

mod branch;
mod config;
mod counters;
mod event;
mod layer;
mod machine;
mod matching;
mod routing;
mod slab;
mod transport;
mod user;

pub use branch::BranchOwner;
pub use config::{Config, Timing};
pub use counters::{Counters, Dropped, Gauge};
pub use event::{ClientKey, Event, Failure, Full, Output, ServerKey, TransmitId};
pub use layer::Layer;
pub use routing::response_target;
pub use transport::{Flow, FlowId, Target, Transport, ViaSpec};
pub use user::TransactionUser;
