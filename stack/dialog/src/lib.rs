//! Dialogs, registration and calls of a SIP user agent.
//!
//! **What comes in:** events of the transaction layer, commands ([`Command`], or the methods of [`UserAgent`] of the same
//! names), and the time.
//!
//! **What goes out:** requests and responses through the [`Layer`](strowger_transaction::Layer), and [`UserAgentEvent`]s to
//! whoever owns the agent: a telephone, or a gateway with two agents back to back.
//!
//! **What it never does:** it opens no socket, reads no clock, resolves no name (the first hop of a request is given as an
//! address; later hops are literal addresses or the flow that the peer came by), and does not read session descriptions: it
//! puts offers and answers where RFC 3261 §13.2.1 wants them.
//!
//! **Which sections:** RFC 3261 §8 (UAC, UAS), §9 (CANCEL), §10.2 (registration), §11 (OPTIONS), §12 (dialogs), §13 (INVITE,
//! forks, 2xx until ACK), §14 (re-INVITE, glare), §15 (BYE), §22.2, §22.3 (digest, client side, with RFC 7616 and RFC 8760);
//! RFC 6086 (INFO, surfaced), RFC 3326 (Reason).

mod agent;
mod attempt;
mod call;
mod command;
mod config;
mod dialog;
mod event;
mod registration;
mod session;
mod uac;
mod uas;

#[cfg(test)]
mod tests;

pub use agent::UserAgent;
pub use command::{Command, Invite, Register};
pub use config::{Config, LocalAddress, Login};
pub use event::{CallId32, EndReason, Gauge, Refused, RegistrationId, UserAgentEvent};
