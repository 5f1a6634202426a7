//! SIP transports and flows: the driver that carries the pure machines (layer, transaction user) over UDP and TCP.
//!
//! **What comes in:** addresses to bind ([`BoundEndpoint::bind`]), a [`TransactionUser`], its inputs and a cancellation token
//! ([`serve`]); bytes of peers.
//!
//! **What goes out:** events to the user, its effects to a function, messages to peers; [`Counters`]; a [`Tap`] that sees
//! every message.
//!
//! **What it never does:** it knows no transaction, dialog or call; the task that owns the machines never waits for a peer, a
//! connection, a name or a store. It resolves no names: a target is an address.
//!
//! **Which sections:** RFC 3261 §18 (transport), RFC 5626 §3.5.1 (keep-alive), the transport half of RFC 3581 (rport).
//!
//! ```text
//!  UDP socket ── reader ──┐                       ┌── effects
//!  TCP listener ─ accept ─┤  bounded   ┌─────────┐│
//!  connection ─── reader ─┼──────────► │ one task ├┤            one task owns layer and user;
//!                inputs ──┴──────────► └────┬────┘│            nothing on it waits
//!  UDP socket ◄── try_send ─────────────────┤     └── tap
//!  connection ◄── writer ◄── bounded ───────┘
//! ```

mod address;
mod bind;
mod clock;
mod connection;
mod flows;
mod icmp;
mod limits;
mod serve;
mod udp;

pub use address::{AddressError, ListenAddress};
pub use bind::{BindError, BoundEndpoint, Direction, Tap};
pub use clock::SystemClock;
pub use limits::{Count, Counters, Limits};
pub use serve::serve;
pub use strowger_transaction::TransactionUser;

/// What the wire crate is told of our limits.
pub(crate) fn wire_limits(limits: &Limits) -> strowger_sip::Limits {
    strowger_sip::Limits { message_octets: limits.message_bytes, ..strowger_sip::Limits::DEFAULT }
}

/// The answer to a request that could not be read, if there is one (RFC 3261 §8.2, §16.3, §21.4.1).
pub(crate) fn refusal(error: &strowger_sip::ParseError) -> Option<strowger_sip::Message> {
    error.answerable().map(|(_, builder)| builder.build())
}
