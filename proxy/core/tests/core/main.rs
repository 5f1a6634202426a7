//! The proxy core with its transaction layer among user agents and raw scripts, on virtual time. What these tests would catch:
//! answers that are wrong or missing, calls that stay in a table, usage that is reported twice or not at all, media promised
//! before the policy server has agreed, callees left ringing or unacknowledged.

#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

mod dialogs;
mod fuzz;
mod lossy;
mod nodes;
mod numbers;
mod phones;
mod policy;
mod registrar;
mod requests;
mod script;
mod world;
