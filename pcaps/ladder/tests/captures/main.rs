//! Captures written here, read back: the whole call in one ladder, statistics that agree with tshark's, files that are cut,
//! broken or hostile. Would catch: a message attributed to the wrong call or party, a ladder whose columns move, copies of
//! other interfaces drawn as retransmissions, a reader that stops early or panics.
#![allow(clippy::disallowed_methods, reason = "tests may use files")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what builds a test capture must not fail")]

mod call;
mod files;
mod hostile;
mod ladder;
mod tshark;
mod wire;
