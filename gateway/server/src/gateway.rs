//! The gateway as a role: bound first, then served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use strowger_clearinghouse_client::{ClientIdentity, OspClient, UsageReporter};
use strowger_clock::Random;
use strowger_dialog::LocalAddress;
use strowger_gateway_core::{CallSummary, Config, Counters, GatewayCore, Input, Limits};
use strowger_net::{BindError, BoundEndpoint, ListenAddress, SystemClock};
use strowger_token::Verifier;
use strowger_trunk::{Exchange, MAX_NUMBERS, SpanDriver};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::GatewayConfig;
use crate::events::GatewayEvent;
use crate::http::Poster;
use crate::links::{Links, Observed, View};
use crate::media::{MediaConfig, MediaEngine, MediaHandle};
use crate::{authority, charging, watch as watching};

/// Answers and signal units that may wait for the core.
const INPUTS_WAITING_MAX: usize = 16_384;
/// Events that a slow listener may fall behind.
const EVENTS_KEPT_MAX: usize = 4_096;
/// How long the ends of calls are waited for once everything has been hung up.
const HANG_UP_WAIT: Duration = Duration::from_secs(3);
/// How long usage that is still unreported is waited for at the end.
const USAGE_DRAIN: Duration = Duration::from_secs(3);

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
    core: GatewayCore,
    exchange: Exchange,
    client: Option<OspClient>,
    verifier: Option<Verifier>,
    here: Option<SocketAddr>,
    seed: u64,
    queue: mpsc::Receiver<Input>,
    handle: GatewayHandle,
}

/// Looks into a running gateway and steers it. Clones are of the same gateway.
#[derive(Clone, Debug)]
pub struct GatewayHandle {
    inputs: mpsc::Sender<Input>,
    events: broadcast::Sender<GatewayEvent>,
    view: Arc<View>,
    draining: Arc<std::sync::atomic::AtomicBool>,
    drained: watch::Sender<bool>,
    shutdown: CancellationToken,
}

impl Gateway {
    /// Opens the SIP listeners and checks every setting. Needs no runtime; sockets are opened in the caller's network namespace.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub fn bind(config: GatewayConfig) -> Result<BoundGateway, GatewayError> {
        check(&config)?;
        let verifier = authority::given(&config.authority)?;
        let identity = ClientIdentity { customer_id: config.customer_id.clone(), device_id: config.device_id.clone() };
        let client = match config.osp_urls.is_empty() {
            true => None,
            false => Some(OspClient::new(config.osp_urls.clone(), identity)?),
        };
        let trunk = config.trunk.trunk()?;
        let exchange = Exchange::new(config.trunk.exchange(trunk));
        let mut endpoint = BoundEndpoint::bind(&config.listen)?;
        if let Some(tap) = config.sip_tap.clone() {
            endpoint = endpoint.with_tap(tap);
        }
        let mut key = [0u8; 32];
        getrandom::fill(&mut key).map_err(std::io::Error::other)?;
        let mut random = Random::from_key(key);
        let seed = random.next_u64();
        let clock = SystemClock::new();
        let local = local_addresses(&config, endpoint.local_addresses());
        let here = local.first().map(|local| local.address);
        let core_config = Config {
            no_answer: config.no_answer,
            refuse_all: config.refuse_all,
            limits: config.limits,
            ..Config::new(&config.device_id, local, config.media_address, (clock.now(), clock.timestamp()))
        };
        let core = GatewayCore::new(clock.now(), core_config, trunk, random, 1);
        let (inputs, queue) = mpsc::channel(INPUTS_WAITING_MAX);
        let handle = GatewayHandle {
            inputs,
            events: broadcast::Sender::new(EVENTS_KEPT_MAX),
            view: Arc::default(),
            draining: Arc::default(),
            drained: watch::Sender::new(false),
            shutdown: CancellationToken::new(),
        };
        Ok(BoundGateway { config, endpoint, core, exchange, client, verifier, here, seed, queue, handle })
    }
}

fn check(config: &GatewayConfig) -> Result<(), GatewayError> {
    let wrong = |text: String| Err(GatewayError::Setting(text));
    if config.listen.is_empty() {
        return wrong("no SIP listener is given; give for example udp://127.0.0.1:5070".to_owned());
    }
    if config.device_id.is_empty() {
        return wrong("the device number is empty: tokens could not name this gateway".to_owned());
    }
    if config.media_address.is_unspecified() {
        return wrong("media_address must be one that callers can send to".to_owned());
    }
    if config.rtp_ports.end().saturating_sub(*config.rtp_ports.start()) < 1 || *config.rtp_ports.start() == 0 {
        return wrong("rtp_ports must hold at least one even port and the odd one above it".to_owned());
    }
    if config.dscp.is_some_and(|dscp| dscp > 63) {
        return wrong("dscp is a number from 0 to 63".to_owned());
    }
    if config.refuse_all.is_some_and(|status| !(300..700).contains(&status)) {
        return wrong("refuse_all is a final SIP status from 300 to 699".to_owned());
    }
    if let Some(numbers) = config.trunk.numbers.as_ref().filter(|numbers| numbers.len() > MAX_NUMBERS) {
        return wrong(format!("{} numbers behind the exchange are more than {MAX_NUMBERS}", numbers.len()));
    }
    Ok(())
}

/// Our addresses as peers reach them.
fn local_addresses(config: &GatewayConfig, bound: &[ListenAddress]) -> Vec<LocalAddress> {
    let reachable = |ip: std::net::IpAddr| match config.advertised {
        Some(advertised) if advertised.is_ipv4() == ip.is_ipv4() => advertised,
        _ if ip.is_unspecified() && config.media_address.is_ipv4() == ip.is_ipv4() => config.media_address,
        _ => ip,
    };
    bound
        .iter()
        .map(|listen| LocalAddress {
            transport: listen.transport,
            address: SocketAddr::new(reachable(listen.address.ip()), listen.address.port()),
        })
        .collect()
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

    /// Serves until `shutdown` (or [`GatewayHandle::shutdown`]); then drains (no new calls, running ones finish up to
    /// `drain_limit` and are hung up then, usage is delivered within a few seconds), and returns.
    ///
    /// # Errors
    /// What the system says when it gives no thread for media or takes no sockets over.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), GatewayError> {
        let BoundGateway { config, endpoint, core, exchange, client, verifier, here, seed, queue, handle } = self;
        let media = start_media(&config, exchange, seed, handle.inputs.clone())?;
        let tasks = TaskTracker::new();
        let poster = Poster::new();
        let reporter = client.clone().map(UsageReporter::spawn);
        let charges = (!config.osp_urls.is_empty()).then(|| {
            let (charges, notices) = mpsc::channel(charging::MAX_WAITING);
            tasks.spawn(charging::post_all(poster.clone(), config.osp_urls.clone(), notices));
            charges
        });
        let links = Links {
            media: media.clone(),
            media_address: config.media_address,
            here,
            inputs: handle.inputs.clone(),
            reporter: reporter.clone(),
            charges,
            events: handle.events.clone(),
            view: Arc::clone(&handle.view),
            tasks: tasks.clone(),
            drained: handle.drained.clone(),
        };
        let sockets = CancellationToken::new();
        let _close_all = sockets.clone().drop_guard();
        let background = CancellationToken::new();
        let _end_all = background.clone().drop_guard();
        for task in [
            tokio::spawn(until(background.clone(), know_authority(handle.clone(), poster, config.osp_urls, verifier))),
            tokio::spawn(until(
                background.clone(),
                watching::idle_media(media.clone(), handle.view.clone(), handle.inputs.clone(), config.media_idle),
            )),
            tokio::spawn(until(
                background.clone(),
                watching::capabilities(client.clone(), handle.clone(), here, config.limits.calls),
            )),
        ] {
            drop(task);
        }
        let observed = Observed { core, view: Arc::clone(&handle.view) };
        let layer = strowger_transaction::Config::default();
        let serving = strowger_net::serve(
            endpoint,
            layer,
            observed,
            queue,
            move |effect| links.carry_out(effect),
            sockets.clone(),
        );
        let ending = async {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = handle.shutdown.cancelled() => {}
            }
            handle.wind_up(config.drain_limit).await;
            sockets.cancel();
        };
        let (served, ()) = tokio::join!(serving, ending);
        media.stop();
        background.cancel();
        watching::say_goodbye(client, here).await;
        tasks.close();
        if tokio::time::timeout(USAGE_DRAIN, tasks.wait()).await.is_err() {
            tracing::warn!("charge messages were still under way at the end");
        }
        if let Some(reporter) = reporter {
            let counts = reporter.drain(USAGE_DRAIN).await;
            if counts.queued > 0 {
                tracing::error!(unreported = counts.queued, "the clearinghouse did not take all usage before the end");
            }
        }
        Ok(served?)
    }
}

fn start_media(
    config: &GatewayConfig,
    exchange: Exchange,
    seed: u64,
    inputs: mpsc::Sender<Input>,
) -> std::io::Result<MediaHandle> {
    let settings = MediaConfig { ports: config.rtp_ports.clone(), dscp: config.dscp, seed, ..MediaConfig::default() };
    MediaEngine::start(settings, SpanDriver::new(exchange, config.msu_tap.clone()), move |unit| {
        // on the media thread, which must not wait; ISUP's timers make up for a lost unit
        if let Err(mpsc::error::TrySendError::Full(_)) = inputs.try_send(Input::Msu(unit)) {
            tracing::error!("a signal unit of the exchange was lost: the gateway is overloaded");
        }
    })
}

async fn until(end: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = end.cancelled() => {}
        () = work => {}
    }
}

async fn know_authority(handle: GatewayHandle, poster: Poster, osp_urls: Vec<String>, given: Option<Verifier>) {
    let verifier = match given {
        Some(verifier) => verifier,
        None if osp_urls.is_empty() => {
            tracing::error!(
                "neither an authority's certificate nor a clearinghouse is configured: no call can be taken"
            );
            return;
        }
        None => authority::fetch(&poster, &osp_urls).await,
    };
    if handle.inputs.send(Input::Authorities(verifier)).await.is_ok() {
        let _ = handle.events.send(GatewayEvent::AuthorityKnown);
    }
}

impl GatewayHandle {
    /// What happens from now on; a receiver that lags misses the oldest.
    pub fn subscribe(&self) -> broadcast::Receiver<GatewayEvent> {
        self.events.subscribe()
    }

    /// The core's counters and gauges as of its last step.
    pub fn counters(&self) -> Counters {
        self.view.counters()
    }

    /// Calls that are not over.
    pub fn calls(&self) -> Vec<CallSummary> {
        self.view.calls()
    }

    /// Takes no new calls; running ones go on. [`GatewayEvent::Drained`] tells when none is left.
    pub async fn drain(&self) {
        self.draining.store(true, std::sync::atomic::Ordering::Relaxed);
        self.send(Input::Drain).await;
    }

    /// Whether it takes no new calls any more.
    pub fn is_draining(&self) -> bool {
        self.draining.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Whether it drains and no call is left.
    pub fn is_drained(&self) -> bool {
        *self.drained.borrow()
    }

    /// Ends serving as cancelling its token does.
    pub fn shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Other maxima. Running calls go on.
    pub async fn reload(&self, limits: Limits) {
        self.send(Input::Limits(limits)).await;
    }

    /// Other authorities: tokens that only the old ones have signed are refused from now on.
    ///
    /// # Errors
    /// [`GatewayError::Authority`] when no certificate is given or one cannot be read; nothing has changed then.
    pub async fn trust(&self, source: &crate::AuthoritySource) -> Result<(), GatewayError> {
        let verifier =
            authority::given(source)?.ok_or_else(|| GatewayError::Authority("no certificate is given".to_owned()))?;
        self.send(Input::Authorities(verifier)).await;
        Ok(())
    }

    /// The fault switch: every INVITE from now on is answered with this status.
    pub async fn refuse_all(&self, status: Option<u16>) {
        self.send(Input::RefuseAll(status)).await;
    }

    /// Hangs up a call.
    pub async fn hang_up(&self, call: u64) {
        self.send(Input::HangUp { call }).await;
    }

    async fn send(&self, input: Input) {
        // an error says that the gateway has ended
        let _ = self.inputs.send(input).await;
    }

    async fn wait_drained(&self, limit: Duration) -> bool {
        let mut drained = self.drained.subscribe();
        let waiting = drained.wait_for(|drained| *drained);
        tokio::time::timeout(limit, waiting).await.is_ok()
    }

    async fn wind_up(&self, limit: Duration) {
        self.drain().await;
        if !self.wait_drained(limit).await {
            tracing::warn!(calls = self.counters().calls_now, "calls are hung up: the limit for draining has passed");
            self.send(Input::HangUpAll).await;
            self.wait_drained(HANG_UP_WAIT).await;
        }
    }
}
