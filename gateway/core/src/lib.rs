//! The gateway's call bridge.
mod call;
mod config;
mod counters;
mod effect;
mod refusal;

pub use call::{CallState, CallSummary};
pub use config::{Config, Limits};
pub use counters::Counters;
pub use effect::{CallNumber, CallUsage, Effect, Input, Law, MediaStatistics, ReleaseSource, Stream};
pub use refusal::{RefusalReason, RefusedCall};
