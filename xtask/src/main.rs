//! Developer commands: `cargo xtask <command>`.
//!
//! - In: the tracked tree of the workspace.
//! - Out: findings, one a line, and a non-zero exit when there are any.
//! - Never: changes a file.

mod claims;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

commands:
  tidy    arrows between crates, unsafe outside stack/packet, dead files, lifted lint bans, machine paths
  crates  the crates with their layer and the arrows between them
  claims  which tests carry which claim of tests/scenario/claims.txt, and which claims have none yet";

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    let result = match command.as_deref() {
        Some("tidy") => tidy::run(),
        Some("crates") => tidy::print_crates(),
        Some("claims") => claims::run(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(findings) => {
            eprintln!("xtask: {findings} finding(s)");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
