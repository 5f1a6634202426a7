//! The proxy role: the proxy core on real sockets, with the clearinghouse and the policy server behind it.
//!
//! **What comes in:** a [`ProxyConfig`]; SIP over the listeners; OSP and COPS answers.
//!
//! **What goes out:** SIP; OSP AuthorizationRequests and UsageIndications; COPS requests; [`CallSummary`] events.
//!
//! **What it never does:** it makes no decision of its own: `strowger-proxy-core` does. Nothing on the shard's task waits:
//! each question to another server is a task of its own whose answer comes back as an input.
//!
//! **Which sections:** the wiring of RFC 3261 §16 to ETSI TS 101 321 and RFC 2748.

mod clearing;
mod proxy;

pub use proxy::{BoundProxy, ProxyConfig, ProxyError, ProxyHandle};
pub use strowger_proxy_core::{CallState, CallSummary, Counters, Limits, PasswordHash, Subscriber};
