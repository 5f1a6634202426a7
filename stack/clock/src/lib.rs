//! Moments, timestamps, seeded randomness and the timer wheel: what every machine is handed instead of a clock.
//!
//! - **In**: points in time that a driver (or a test) read from its clock, and seeds that it drew.
//! - **Out**: differences, deadlines that have passed, calendar text, reproducible random values.
//! - **Never**: reads a clock, asks the system for randomness, waits, runs a thread.
//! - **Sources**: calendar text is RFC 3339 §5.6; random bytes are ChaCha with 20 rounds (RFC 8439 §2.3).
//!
//! A [`Moment`] is for machines (monotonic, starts at zero with the driver); a [`Timestamp`] is for the world
//! (tokens, CDRs, the ledger). They do not convert into one another: only a driver knows how they relate.

mod moment;
mod random;
mod timestamp;
mod wheel;

pub use moment::Moment;
pub use random::Random;
pub use timestamp::Timestamp;
pub use wheel::{TimerId, TimerWheel};
