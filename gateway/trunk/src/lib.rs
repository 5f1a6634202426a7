//! The trunk: circuits of one E1 under ISUP, their bearers, and a simulated exchange at the far end.
//!
//! - **What comes in:** commands of the gateway (set up, alert, answer, release), message signal units as octets,
//!   A-law blocks of each timeslot, and moments.
//! - **What goes out:** message signal units as octets, events of calls and circuits, A-law blocks, charge messages.
//! - **What it never does:** sockets, threads, clocks; MTP2 and MTP3 procedures (the link never fails here); it routes no
//!   call and knows no SIP.
//! - **Which sections:** ITU-T Q.764 §2.1–2.3 (set-up, release, suspend), §2.8 (blocking), §2.9 (abnormal conditions,
//!   reset, dual seizure) and table A.1 (timers); G.704 (timeslots); E.180 and national tone plans.
//!
//! ```text
//! gateway core ── commands ──► TrunkGroup ══ MSUs ══ SpanDriver { Exchange { TrunkGroup, lines } }
//!             ◄── events ────                                ║
//! media loop ═════════════════ A-law blocks, each 20 ms ═════╝
//! ```
//! Both ends of the signalling are the same machine, [`TrunkGroup`]: the exchange has one of its own.

mod circuit;
mod config;
mod exchange;
mod group;
mod span;
mod supervision;
mod timers;

pub use circuit::{Circuit, CircuitState};
pub use config::{CIRCUITS, ConfigError, Timers, TrunkConfig};
pub use exchange::{Behavior, Exchange, ExchangeConfig, ExchangeCounters, MAX_NUMBERS, Subscriber};
pub use group::{Alert, Counters, Event, Gauge, NoCircuit, Output, Setup, TrunkGroup};
pub use span::{BLOCK_MS, BLOCK_SAMPLES, SignalDirection, SignalTap, SpanDriver};
