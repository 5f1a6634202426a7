//! The client side of COPS: a policy enforcement point as two machines over one connection machine.
//!
//! - **In:** what the connection did (connected, bytes, closed), the time, what the local side wants (decide on a call; the
//!   result of applying a transaction).
//! - **Out:** connect, send, close; for a router whole checked transactions of policy rows ([`Transaction`]) to hand to a
//!   [`PolicySink`]; for a proxy one verdict for each question.
//! - **Never:** opens sockets, reads clocks, marks packets, or answers a decision twice: each configuration DEC gets exactly one
//!   solicited RPT, in order, and a failed one leaves everything as it was.
//! - **Sources:** RFC 2748 §2.3 to §4.5, RFC 3084 §3, §5, §6. [`ConfigurationPep`] is COPS-PR client type 2,
//!   [`OutsourcingPep`] the SIP client type of [`strowger_cops::sip`].

mod configuration;
mod installed;
mod link;
mod outsourcing;
mod sink;

pub use configuration::{
    Capabilities, ConfigurationConfig, ConfigurationEvent, ConfigurationOutput, ConfigurationPep, RoleInterface,
};
pub use installed::{INSTALLED_ROWS_MAX, Installed, PlannedTransaction};
pub use link::{Link, LinkConfig, LinkEvent, LinkOutput, LostReason};
pub use outsourcing::{
    CALLS_MAX, DecideError, Failure, OutsourcingConfig, OutsourcingOutput, OutsourcingPep, REQUESTS_WAITING_MAX,
};
pub use sink::{PolicySink, Transaction};
