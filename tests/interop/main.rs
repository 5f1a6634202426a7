//! The program as it is delivered, driven by software that no one here wrote: SIPp, baresip, OSP Toolkit's test client, tshark.
//!
//! Catches what tests of our own making share our misunderstandings about: digest as phones really answer it, SDP as they write
//! it, sound that has to arrive, an OSP client of another house, a dissector that reads every octet. And what only a process
//! shows: signals, `kill -9`, taken ports, exit codes.
//!
//! Each test runs its own `strowger up` on a loopback address of its own (127.x.y.z), so that default ports are free and tests
//! run beside each other. A peer that is not installed fails its tests with a sentence; nothing is skipped. `./run setup`
//! installs them.

// test code throughout, outside of what the linter takes for test code: processes, sockets, files and time are what it is about
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

mod support;

mod baresip_calls;
mod configuration;
mod demonstration;
mod durability;
mod osp_toolkit;
mod refusals;
mod sipp_calls;
