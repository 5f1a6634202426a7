//! What the project claims to do (`claims.txt`), driven over the real protocols against the program as it is delivered.
//!
//! Catches what no crate's own tests can: a claim that every part fulfils and the whole does not. Each test runs its own
//! `strowger up` on a loopback address of its own; phones are the project's softphone, OSP is spoken by its OSP client, and where
//! a peer has to misbehave or to hesitate there are scripted ones (`peers`).
//!
//! A test's name begins with the claims it carries, `qs4_…` or `ch2_pa2_…`; `cargo xtask claims` prints the table.

// test code throughout, outside of what the linter takes for test code: processes, sockets and time are what it is about
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "../interop/support/mod.rs"]
#[allow(dead_code)] // what starts the program is shared; the other peers are not needed here
mod support;

mod billing;
mod clearing;
mod dealing;
mod peers;
mod policy;
mod provisioning;
mod tokens;
mod world;
