//! The gateway's call bridge: SIP on one side, a trunk of the telephone network on the other.
//!
//! **What comes in:** events of the transaction layer, message signal units of the exchange and answers of the media driver as
//! [`Input`], the time, and a [`Config`].
//!
//! **What goes out:** SIP through the layer, and [`Effect`]s: message signal units, orders to the media driver, charge
//! messages, usage reports, what consoles show.
//!
//! **What it never does:** it opens no socket, reads no clock, touches no sample. It takes no call without a token that an
//! authority of its configuration has signed for this gateway, this number and this call, and takes each token once. It
//! reports every call whose token was good, once, answered or not.
//!
//! **Which sections:** RFC 3398 (SIP and ISUP: §7.2.3 ACM, §7.2.4 and §7.2.8 REL, §7.2.5 ANM, §8.2.3 CANCEL, §8.2.6 causes),
//! RFC 3326 and RFC 6432 (Reason), RFC 3264 (offer and answer), RFC 3261 §13.3.1.1 (provisionals repeated); ETSI TS 101 321
//! (tokens). The dialogs are `strowger-dialog`'s, the circuits `strowger-trunk`'s.
//!
//! ```text
//! INVITE ─ token ─ codec ─ circuit free? ─ OpenMedia ─► OpeningMedia
//!   MediaOpened: IAM ─────────────────────────────────► AwaitingAddressComplete
//!   ACM, CPG: 180, or 183 with SDP ───────────────────► Proceeding, Alerting
//!   ANM, CON: 200 ────────────────────────────────────► Accepted ── ACK ──► Connected
//!   BYE, CANCEL, REL, a limit: REL, BYE or refusal ───► Releasing ── MediaClosed: usage ──► Ended
//! ```

mod admission;
mod bridge;
mod call;
mod config;
mod core;
mod counters;
mod effect;
mod refusal;
mod release;
mod session;

#[cfg(test)]
mod tests;

pub use call::{CallState, CallSummary};
pub use config::{Config, Limits};
pub use core::GatewayCore;
pub use counters::Counters;
pub use effect::{CallNumber, CallUsage, Effect, Input, Law, MediaStatistics, ReleaseSource, Stream};
pub use refusal::{RefusalReason, RefusedCall};
