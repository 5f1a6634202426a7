//! `strowger demo`: everything at once, over real protocols, checked step by step.
//!
//! Where it is allowed to, it makes three network namespaces: the phones' edge, the router, and the core with every server.
//! Every packet between phones and core then crosses the software router, and the marks are read from packets on its far side.
//! Elsewhere all of it runs on a loopback address of its own, and the report says what could not be checked.

mod calls;
pub mod captures;
mod network;
mod report;
mod unprivileged;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use strowger_packet::pcapng;

use crate::config::File;
use crate::exchange::{Exchange, Options as ExchangeOptions};
use network::Network;
use report::Report;

/// Arguments of `strowger demo`.
pub struct Options {
    /// One JSON object in place of text.
    pub json: bool,
    /// Where to leave the capture.
    pub pcap: Option<PathBuf>,
    /// All on loopback.
    pub no_namespaces: bool,
}

/// Runs it; the exit status is success only when every check holds.
pub fn run(options: &Options) -> Result<ExitCode> {
    crate::up::log_to_stderr("warn");
    unprivileged::become_root_of_own_namespaces(options);
    let folder = Folder::make()?;
    let capture_path = options.pcap.clone().unwrap_or_else(|| folder.0.join("demo.pcapng"));
    let mut report = Report::new(options.json);
    let network = Network::make(options.no_namespaces, &mut report)?;
    let writer = pcapng::Writer::create(&capture_path, concat!("strowger ", env!("CARGO_PKG_VERSION")))?;
    let recordings = network.record(&writer)?;

    report.stage("starting every role");
    let file = File::parse(&network.configuration(&folder.0), "the demo's configuration", &folder.0)?;
    let outcome = std::thread::scope(|scope| {
        let core = scope.spawn(|| -> Result<calls::Outcome> {
            network.enter_core()?;
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(async {
                let (policy_events, policy) = tokio::sync::mpsc::unbounded_channel();
                let options = ExchangeOptions {
                    capture: Some(writer.clone()),
                    policy_events: Some(policy_events),
                    ..ExchangeOptions::default()
                };
                let running = Exchange::start(&file, options).await?;
                let outcome = calls::run(&network, &running, policy, &folder.0, &mut report).await;
                running.stop().await;
                outcome
            })
        });
        core.join().unwrap_or_else(|_| anyhow::bail!("the demo's core ended unexpectedly; the log says where"))
    })?;
    // the last frames are on their way to the recorders
    std::thread::sleep(Duration::from_millis(200));
    for recording in recordings {
        recording.stop();
    }
    if let Ok(mut writer) = writer.lock() {
        writer.flush().context("cannot finish the capture")?;
    }
    report.stage("opening the books again, as after a restart");
    calls::reopen(&file, &outcome, &mut report)?;
    captures::check(&capture_path, &network, &outcome, &mut report)?;
    if let Some(path) = &options.pcap {
        report.note(format!("capture written to {}", path.display()));
    }
    Ok(report.finish(&outcome))
}

/// A folder of the demo's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Folder> {
        let path = std::env::temp_dir().join(format!("strowger-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
