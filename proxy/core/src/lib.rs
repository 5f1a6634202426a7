//! The proxy core: registrar, location, authentication, call routing. It stands above the transaction layer.
//!
//! **What comes in:** events of the transaction layer, answers of the policy server and the clearinghouse as [`Input`], the
//! time, and a [`Config`].
//!
//! **What goes out:** calls to the layer (requests forwarded, responses) and [`Effect`]s: questions to the policy server and
//! to the clearinghouse, usage to report.
//!
//! **What it never does:** it opens no socket, resolves no name, reads no clock, waits for nothing. It does not know OSP or
//! COPS messages; `strowger-proxy-server` turns effects into them.
//!
//! **Which sections:** RFC 3261 §10 (registrar), §16 (proxy), §22 (authentication), RFC 3581, RFC 5393 §4 and §5 (loops, breadth),
//! RFC 6026; the order of one call is that of ARCHITECTURE.md, "One call".
//!
//! Invariant: media is promised to the caller (a response with SDP passes) only after the policy server has confirmed, where
//! one is configured; an INVITE to a gateway leaves only with a token that the clearinghouse has issued for it.

mod admission;
mod authentication;
mod call;
mod clearing;
mod config;
mod context;
mod core;
mod counters;
mod effect;
mod in_dialog;
mod location;
mod registrar;
mod request;
mod response;

pub use authentication::Authenticator;
pub use call::{CallState, CallSummary};
pub use config::{Config, Limits, Listener, PasswordHash, Subscriber};
pub use core::ProxyCore;
pub use counters::{Counters, Gauge};
pub use effect::{
    Attempt, Authorization, AuthorizationQuery, CallUsage, Cause, ClearingRefusal, Destination, Effect, Input, Phase,
    ReleaseSource, Verdict,
};
pub use location::{Binding, Location};
