//! The gateway role: sockets, clocks, the span task and the clearinghouse around `strowger-gateway-core`.
//!
//! - **What comes in:** SIP over UDP and TCP, RTP, a [`GatewayConfig`].
//! - **What goes out:** SIP, RTP, ISUP and bearer blocks to the simulated exchange, OSP usage reports, charge messages,
//!   [`GatewayEvent`]s.
//! - **What it never does:** decide about a call (the core does); lose a usage report while it runs.
//! - **Which sections:** none of its own: ETSI TS 101 321 for what is reported, ES 201 296 for charge messages.

mod authority;
mod charging;
mod clearing;
mod config;
mod events;
mod gateway;
mod http;
mod links;
pub mod media;
mod watch;

pub use config::{AuthoritySource, GatewayConfig, TrunkSettings};
pub use events::GatewayEvent;
pub use gateway::{BoundGateway, Gateway, GatewayError, GatewayHandle};
