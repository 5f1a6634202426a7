//! Machines against machines over a seeded, lossy network on a virtual clock (`stack/simulation`).
//!
//! Catches what no single message shows: races between CANCEL, final responses and ACK, retransmissions that are answered twice
//! or not at all, ends that disagree about a call, transactions and timers that are never released.
//!
//! A failure prints its seed and the trace; `SIMULATION_SEED=<n> cargo test --test simulation` runs that seed alone.

// the users are test code throughout: what they expect is what is tested
#![allow(clippy::expect_used)]

mod callee;
mod caller;
mod party;
mod transactions;

use std::ops::Range;

/// The seeds of a test: all, or the one that is asked for.
fn seeds(all: Range<u64>) -> Range<u64> {
    match std::env::var("SIMULATION_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => all,
    }
}
