//! COPS over TCP: the drivers of the policy machines.
//!
//! - **In:** addresses, a policy, a [`PolicySink`]; calls to decide on; TCP connections.
//! - **Out:** a running decision point ([`BoundPdp`], [`serve_pdp`]), verdicts for a proxy ([`OutsourcingClient`]), policy rows
//!   handed to a router's sink ([`run_configuration_pep`]).
//! - **Never:** decides anything itself (the machines of `strowger_pdp` and `strowger_pep` do), holds a lock across an await, or
//!   lets one slow peer hold up another: every queue is bounded and a peer that does not read is disconnected.
//! - **Sources:** RFC 2748 §2.3 (TCP, port 3288, the PEP connects).

mod outsourcing;
mod pdp;
mod provisioning;
mod wire;

pub use outsourcing::{OutsourcingClient, OutsourcingClientConfig, PolicyUnavailable, Revocation, Verdict};
pub use pdp::{BindError, BoundPdp, CONNECTIONS_MAX, serve_pdp};
pub use provisioning::run_configuration_pep;
pub use strowger_cops::sip::{DecisionData, Phase};
pub use strowger_cops::{COPS_PORT, ReasonCode};
pub use strowger_pep::{
    Capabilities, ConfigurationConfig, ConfigurationEvent, Installed, LinkConfig, PolicySink, RoleInterface,
    Transaction,
};

use std::time::{SystemTime, UNIX_EPOCH};

use strowger_clock::{Moment, Random, Timestamp};

/// Moments since the driver's start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch(tokio::time::Instant);

impl Epoch {
    pub(crate) fn new() -> Epoch {
        Epoch(tokio::time::Instant::now())
    }

    pub(crate) fn now(self) -> Moment {
        Moment::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn instant(self, moment: Moment) -> tokio::time::Instant {
        self.0 + moment.saturating_since(Moment::ZERO)
    }
}

/// Waits for a machine's deadline; for ever when it has none.
pub(crate) async fn sleep_until(epoch: Epoch, deadline: Option<Moment>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(epoch.instant(deadline)).await,
        None => std::future::pending().await,
    }
}

pub(crate) fn timestamp() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Only spreads retries and keep-alives: the clock is random enough.
pub(crate) fn random() -> Random {
    Random::from_seed(timestamp().unix_nanos() ^ u64::from(std::process::id()).rotate_left(32))
}
