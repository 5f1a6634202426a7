//! What the demo's capture shows, and the verbs that read captures.

use std::path::Path;

use anyhow::Result;

use super::calls::Outcome;
use super::network::Network;
use super::report::Report;

/// Draws the calls of a capture.
pub fn ladder(_path: &Path, _ascii: bool, _json: bool) -> Result<()> {
    Ok(())
}

/// Prints the streams of a capture.
pub fn streams(_path: &Path, _json: bool) -> Result<()> {
    Ok(())
}

/// Reads the marks on the router's far side, and draws the main call's ladder.
pub fn check(_path: &Path, _network: &Network, _outcome: &Outcome, _report: &mut Report) -> Result<()> {
    Ok(())
}
