//! `strowger up`.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::File;
use crate::exchange::{Exchange, Options, ROLES};

/// Logs go to standard error, so that standard output keeps to its contract. `RUST_LOG` overrides the level.
pub fn log_to_stderr(level: &str) {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(level)).unwrap_or_default();
    // a second call (tests) keeps the first subscriber
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

/// Runs the roles until SIGTERM or SIGINT; SIGHUP reloads.
pub async fn up(path: Option<PathBuf>, roles: Vec<String>, data: Option<PathBuf>) -> Result<()> {
    for role in &roles {
        if !ROLES.contains(&role.as_str()) {
            let nearest = ROLES.iter().min_by_key(|known| strsim::damerau_levenshtein(known, role)).unwrap_or(&"proxy");
            bail!("--roles: there is no role {role:?}; the nearest is {nearest:?} (all: {})", ROLES.join(", "));
        }
    }
    let load = |path: &Option<PathBuf>| -> Result<File> {
        let mut file = File::load(path.as_deref())?;
        if let Some(data) = &data {
            file.data.clone_from(data);
        }
        Ok(file)
    };
    let file = load(&path)?;
    log_to_stderr(&file.log.level);
    let mut terminate = signal(SignalKind::terminate()).context("signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let mut hang_up = signal(SignalKind::hangup()).context("signals")?;
    let running = Exchange::start(&file, Options { roles, ..Options::default() }).await?;
    for line in &running.addresses {
        println!("{line}");
    }
    println!("ready");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = running.shutdown.cancelled() => {
                running.stop().await;
                bail!("a role ended; the log says why");
            }
            _ = hang_up.recv() => match load(&path) {
                Ok(new) => match running.reload(&new).await {
                    Ok(()) => tracing::info!("configuration reloaded"),
                    Err(error) => tracing::error!(%error, "configuration not reloaded"),
                },
                // a wrong file changes nothing
                Err(error) => tracing::error!(%error, "configuration not reloaded: the running one stays"),
            },
        }
    }
    tracing::info!("draining: a second signal ends at once");
    tokio::select! {
        () = running.drain() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.stop().await;
    Ok(())
}
