//! The policy decision point: admits calls, provisions routers, and ties the two together.
//!
//! - **In:** COPS connections (opened, bytes, closed) of routers (COPS-PR, client type 2) and of SIP proxies (client type 0x4001,
//!   [`strowger_cops::sip`]), and the time.
//! - **Out:** bytes for each connection, and [`Event`]s: every decision with its reason, what routers report, what calls used.
//! - **Never:** opens sockets, keeps more than its configured number of anything, gives two answers to one request, or says
//!   Install to an answer before every connected router has confirmed its rows.
//! - **Sources:** RFC 2748 §3, §4 (protocol), RFC 3084 §3 (provisioning), RFC 3317, RFC 3318 (rows), RFC 3264 (which flows a
//!   pair of session descriptions means), RFC 3571 (usage).
//!
//! The life of a call (one handle on the proxy's connection):
//! ```text
//!           REQ setup        REQ answer                   all RPT success
//!   (none) ----------> Admitted ----------> Installing ------------------> Marked
//!             | DEC Install    DEC to routers   | failure, time limit        |  REQ modify/answer: Installing again
//!             | or Remove                       v                            |  REQ teardown: DEC Remove to routers
//!             v                              Refused (rows removed)          v
//!          Refused                                                       Removing --all RPT--> Ended --DRQ--> (none)
//! ```

mod admission;
mod call;
mod config;
mod connection;
mod event;
mod media;
mod operation;
mod pdp;
mod request;
mod router;

pub use config::Config;
pub use event::{CallName, CallUsage, Event, FlowUsage, RefusalKind};
pub use media::{Agreed, FlowSettings, MediaError, Session, flows};
pub use pdp::{ConnectionId, Gauge, Output, Pdp};
