//! What the demo says: checks, notes, and in the end whether everything held.

use std::process::ExitCode;

use serde::Serialize;

use super::calls::Outcome;

/// One thing that had to hold.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    name: String,
    ok: bool,
    detail: String,
}

/// Collects checks and shows progress.
pub struct Report {
    json: bool,
    checks: Vec<Check>,
    not_checked: Vec<Check>,
    /// The ladder of the main call.
    pub ladder: String,
    /// Streams as seen on each side of the router.
    pub streams: serde_json::Value,
}

impl Report {
    /// An empty report.
    pub fn new(json: bool) -> Report {
        Report {
            json,
            checks: Vec::new(),
            not_checked: Vec::new(),
            ladder: String::new(),
            streams: serde_json::Value::Null,
        }
    }

    /// Tells what is being done.
    pub fn stage(&self, text: &str) {
        match self.json {
            true => eprintln!("{text}"),
            false => println!("\n== {text}"),
        }
    }

    /// Tells something worth knowing.
    pub fn note(&self, text: impl AsRef<str>) {
        match self.json {
            true => eprintln!("   {}", text.as_ref()),
            false => println!("   {}", text.as_ref()),
        }
    }

    /// Takes a check.
    pub fn check(&mut self, name: &str, ok: bool, detail: impl Into<String>) {
        let detail = detail.into();
        let line = format!("{} {name}: {detail}", if ok { "ok  " } else { "FAIL" });
        match self.json {
            true => eprintln!("{line}"),
            false => println!("{line}"),
        }
        self.checks.push(Check { name: name.to_owned(), ok, detail });
    }

    /// Something that cannot be checked on this machine, and why.
    pub fn not_checked(&mut self, name: &str, why: impl Into<String>) {
        let detail = why.into();
        self.note(format!("not checked: {name}: {detail}"));
        self.not_checked.push(Check { name: name.to_owned(), ok: false, detail });
    }

    /// Prints the end, and says how it went.
    pub fn finish(self, outcome: &Outcome) -> ExitCode {
        let failed = self.checks.iter().filter(|check| !check.ok).count();
        let sum: i128 = outcome.sums.iter().map(|(_, sum)| sum).sum();
        if self.json {
            let not_checked: Vec<_> = self
                .not_checked
                .iter()
                .map(|check| serde_json::json!({"name": check.name, "why": check.detail}))
                .collect();
            let object = serde_json::json!({
                "checks": self.checks,
                "not_checked": not_checked,
                "calls": outcome.calls,
                "cdrs": outcome.cdrs,
                "ledger": {"sum": sum, "before": outcome.before, "during": outcome.during, "after": outcome.after},
                "streams": self.streams,
                "ladder": self.ladder.lines().collect::<Vec<_>>(),
            });
            println!("{object}");
        } else {
            println!("\n{}", self.ladder);
            println!("{} checks, {failed} failed, {} not checked", self.checks.len(), self.not_checked.len());
        }
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
