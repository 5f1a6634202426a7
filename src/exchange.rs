//! The roles of one process, wired: everything is bound before anything is served, so that a wrong configuration starts nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use strowger_clearinghouse_client::ClientIdentity;
use strowger_clearinghouse_server::{BoundHttp, Clearinghouse};
use strowger_cops::CLIENT_TYPE_PROVISIONING;
use strowger_gateway_server::{BoundGateway, Gateway, GatewayConfig, GatewayEvent, GatewayHandle};
use strowger_packet::pcapng::SharedWriter;
use strowger_pdp::Event as PolicyEvent;
use strowger_pep::{Capabilities, ConfigurationConfig, ConfigurationEvent, LinkConfig, LostReason, RoleInterface};
use strowger_policy_server::BoundPdp;
use strowger_proxy_server::{BoundProxy, Limits, PasswordHash, ProxyConfig, ProxyHandle, Subscriber};
use strowger_router::{InterfaceConfig, PibSink, RouteConfig, Router, RouterConfig, RouterHandle, TierChoice};
use strowger_store::Sqlite;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::complete::{listen_addresses, socket_address};
use crate::config::{Edge, File, GatewaySection, ProxySection, RouterSection};
use crate::{gauges, keys};

/// How long gateways are waited for before `ready` is said.
const AUTHORITY_WAIT: Duration = Duration::from_secs(3);
/// How long running calls get to end after SIGTERM.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// What a caller of [`Exchange::start`] may add.
#[derive(Default)]
pub struct Options {
    /// Roles to run; all that the configuration has when empty.
    pub roles: Vec<String>,
    /// Where the router and the trunks record what they carry.
    pub capture: Option<SharedWriter>,
    /// Hears the policy server's decisions.
    pub policy_events: Option<tokio::sync::mpsc::UnboundedSender<PolicyEvent>>,
}

/// Names of the roles, as `--roles` takes them.
pub const ROLES: [&str; 6] = ["proxy", "gateway", "policy", "router", "clearinghouse", "console"];

/// The running roles.
pub struct Exchange {
    /// One line per listening address: `proxy udp://127.0.0.1:5060`.
    pub addresses: Vec<String>,
    /// The clearinghouse, if it runs here.
    pub clearinghouse: Option<Arc<Clearinghouse>>,
    /// The proxy, if it runs here.
    pub proxy: Option<ProxyHandle>,
    /// The gateways that run here, by device.
    pub gateways: Vec<(String, GatewayHandle)>,
    /// Gateways that take no calls yet because no clearinghouse has given them its key.
    pub unready: Vec<String>,
    /// The router, if it runs here.
    pub router: Option<RouterHandle>,
    /// Cancelled when something ends by itself.
    pub shutdown: CancellationToken,
    tasks: TaskTracker,
    /// The clearinghouse outlives the others by a moment: their last usage is reported to it.
    house_shutdown: CancellationToken,
    house_tasks: TaskTracker,
}

impl Exchange {
    /// Binds every address of the chosen roles, then serves.
    ///
    /// # Errors
    /// One clear sentence; nothing runs then.
    pub async fn start(file: &File, options: Options) -> Result<Exchange> {
        let mut file = file.clone();
        file.with_spare_enrollment(true)?;
        let file = &file;
        let wants = |role: &str| options.roles.is_empty() || options.roles.iter().any(|wanted| wanted == role);
        std::fs::create_dir_all(&file.data)
            .with_context(|| format!("data: cannot make the folder {}", file.data.display()))?;
        let mut addresses = Vec::new();

        // bind all
        let house = match file.clearinghouse.as_ref().filter(|_| wants("clearinghouse")) {
            Some(config) => {
                let bound = BoundHttp::bind(&config.listen).await?;
                addresses.extend(bound.urls().into_iter().map(|url| format!("clearinghouse {url}")));
                Some((config, bound))
            }
            None => None,
        };
        let policy = match file.policy.as_ref().filter(|_| wants("policy")) {
            Some(section) => {
                let bound = BoundPdp::bind(socket_address("policy.listen", &section.listen)?).await?;
                addresses.push(format!("policy cops://{}", bound.local_address()));
                Some((section, bound))
            }
            None => None,
        };
        let proxy = match file.proxy.as_ref().filter(|_| wants("proxy")) {
            Some(section) => {
                let bound = BoundProxy::bind(proxy_config(file, section)?)?;
                addresses.extend(bound.local_addresses().iter().map(|address| format!("proxy {address}")));
                Some(bound)
            }
            None => None,
        };
        let mut gateways: Vec<(String, BoundGateway)> = Vec::new();
        for section in file.gateway.iter().filter(|_| wants("gateway")) {
            let bound = Gateway::bind(gateway_config(section, options.capture.clone())?)?;
            let name = &section.device;
            addresses.extend(bound.local_addresses().iter().map(|address| format!("gateway {address} ({name})")));
            gateways.push((name.clone(), bound));
        }
        let console = match file.console.as_ref().filter(|_| wants("console")) {
            Some(section) => {
                let bound = strowger_console::Console::bind(socket_address("console.listen", &section.listen)?).await?;
                addresses.push(format!("console http://{}", bound.local_address()));
                Some(bound)
            }
            None => None,
        };
        let router = match file.router.as_ref().filter(|_| wants("router")) {
            Some(section) => {
                let handle = Router::start(router_config(section, options.capture.clone())?)?;
                if section.interface.is_empty() {
                    addresses
                        .push(format!("router {} (no interfaces: keeps its tables, forwards nothing)", section.name));
                }
                for (interface, tier) in section.interface.iter().zip(handle.tiers()) {
                    addresses.push(format!("router {} {} ({tier})", interface.name, interface.network));
                }
                Some((section, handle))
            }
            None => None,
        };

        // serve all
        let shutdown = CancellationToken::new();
        let house_shutdown = CancellationToken::new();
        let (tasks, house_tasks) = (TaskTracker::new(), TaskTracker::new());
        let mut running = Exchange {
            addresses,
            clearinghouse: None,
            proxy: None,
            gateways: Vec::new(),
            unready: Vec::new(),
            router: None,
            shutdown: shutdown.clone(),
            tasks: tasks.clone(),
            house_shutdown: house_shutdown.clone(),
            house_tasks: house_tasks.clone(),
        };
        if let Some((config, bound)) = house {
            let store = Sqlite::open(&file.data.join("strowger.db"))?;
            let clearinghouse = Clearinghouse::open(config.clone(), Arc::new(store)).await?;
            running.clearinghouse = Some(Arc::clone(&clearinghouse));
            house_tasks.spawn(strowger_clearinghouse_server::serve(clearinghouse, bound, house_shutdown));
        }
        if let Some((section, bound)) = policy {
            let config = strowger_pdp::Config {
                total_kbps_max: section.total_kbps_max,
                caller_kbps_max: section.caller_kbps_max,
                calls_per_caller_max: section.calls_per_caller_max,
                require_router: section.require_router,
                report_time_ms: section.report_time_ms,
                ..strowger_pdp::Config::default()
            };
            let listener = options.policy_events.clone();
            let events = move |_, event: PolicyEvent| {
                log_policy(&event);
                if let Some(listener) = &listener {
                    let _ = listener.send(event);
                }
            };
            tasks.spawn(strowger_policy_server::serve_pdp(bound, config, events, shutdown.clone()));
        }
        if let Some((section, handle)) = router {
            running.router = Some(handle.clone());
            if !section.policy.is_empty() {
                let config = provisioning(section, &handle)?;
                let sink = PibSink::new(handle);
                tasks.spawn(strowger_policy_server::run_configuration_pep(
                    config,
                    sink,
                    log_provisioning,
                    shutdown.clone(),
                ));
            }
        }
        let mut waiting = Vec::new();
        for (name, bound) in gateways {
            let handle = bound.handle();
            waiting.push((name.clone(), handle.subscribe()));
            running.gateways.push((name, handle));
            tasks.spawn(ends_all(bound.serve(shutdown.clone()), shutdown.clone(), "gateway"));
        }
        if let Some(bound) = proxy {
            running.proxy = Some(bound.handle());
            tasks.spawn(ends_all(bound.serve(shutdown.clone()), shutdown.clone(), "proxy"));
        }
        if let Some(bound) = console {
            let sources = gauges::sources(&running);
            tasks.spawn(ends_all(bound.serve(sources, shutdown.clone()), shutdown.clone(), "console"));
        }
        tasks.close();
        house_tasks.close();
        // "ready" should mean that calls are taken; a clearinghouse elsewhere that is down must not hold everything up
        let deadline = tokio::time::Instant::now() + AUTHORITY_WAIT;
        for (name, mut events) in waiting {
            let known = async {
                while let Ok(event) = events.recv().await {
                    if event == GatewayEvent::AuthorityKnown {
                        return true;
                    }
                }
                false
            };
            if !tokio::time::timeout_at(deadline, known).await.unwrap_or(false) {
                tracing::warn!(
                    gateway = name,
                    "no clearinghouse has given its key yet: calls are answered 503 until one does"
                );
                running.unready.push(name);
            }
        }
        Ok(running)
    }

    /// Calls that are up or being set up, on all roles of this process.
    pub fn calls_now(&self) -> usize {
        let gateways: usize = self.gateways.iter().map(|(_, gateway)| gateway.counters().calls_now).sum();
        self.proxy.as_ref().map_or(0, |proxy| proxy.counters().calls_now).max(gateways)
    }

    /// Takes no new calls and waits for the running ones, at most [`DRAIN_LIMIT`].
    pub async fn drain(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.drain().await;
        }
        for (_, gateway) in &self.gateways {
            gateway.drain().await;
        }
        let deadline = tokio::time::Instant::now() + DRAIN_LIMIT;
        let calls = self.calls_now();
        if calls > 0 {
            tracing::info!(calls, limit_seconds = DRAIN_LIMIT.as_secs(), "waiting for running calls to end");
        }
        while self.calls_now() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops every role: the callers of the clearinghouse first, so that their last usage reaches it.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.wait().await;
        if let Some(router) = &self.router {
            router.stop();
        }
        self.house_shutdown.cancel();
        self.house_tasks.wait().await;
    }

    /// Takes a new configuration without dropping anything: users and limits. Listeners and roles stay as they are.
    pub async fn reload(&self, file: &File) -> Result<()> {
        if let (Some(handle), Some(section)) = (&self.proxy, &file.proxy) {
            handle.reload(subscribers(file), limits(section)).await;
        }
        Ok(())
    }
}

async fn ends_all<E: std::fmt::Display>(
    role: impl Future<Output = Result<(), E>>,
    shutdown: CancellationToken,
    name: &'static str,
) {
    if let Err(error) = role.await {
        tracing::error!(role = name, %error, "role ended");
        shutdown.cancel();
    }
}

fn subscribers(file: &File) -> HashMap<String, Subscriber> {
    file.subscriber
        .iter()
        .map(|section| {
            let password = match (&section.password, &section.ha1) {
                (_, Some(ha1)) => PasswordHash::Ha1Md5(ha1.to_ascii_lowercase()),
                (Some(password), None) => PasswordHash::Clear(password.clone()),
                (None, None) => PasswordHash::Ha1Md5(String::new()),
            };
            (section.user.clone(), Subscriber { password, number: section.number.clone() })
        })
        .collect()
}

fn limits(section: &ProxySection) -> Limits {
    Limits { calls: section.calls_max, ..Limits::default() }
}

fn proxy_config(file: &File, section: &ProxySection) -> Result<ProxyConfig> {
    let listen = listen_addresses("proxy.listen", &section.listen)?;
    let advertise = section
        .advertise
        .iter()
        .map(|(listener, name)| Ok((strowger_net::ListenAddress::parse(listener)?.address, name.clone())))
        .collect::<Result<_>>()?;
    let policy_servers = section
        .policy
        .iter()
        .map(|text| socket_address("proxy.policy", text))
        .collect::<Result<Vec<SocketAddr>, _>>()?;
    Ok(ProxyConfig {
        domains: std::iter::once(&file.domain.name).chain(&file.domain.aliases).cloned().collect(),
        listen,
        advertise,
        subscribers: subscribers(file),
        // nonces and routes of before a restart stay good
        secret: keys::stored(&file.data.join("proxy.key"))?,
        digest: section.algorithms()?,
        clearinghouses: section.clearinghouse.clone(),
        identity: ClientIdentity { customer_id: section.customer.clone(), device_id: section.device.clone() },
        policy_servers,
        policy_optional: section.policy_optional,
        destinations_max: section.destinations_max,
        gateway_silence: Duration::from_millis(section.gateway_silence_ms),
        limits: limits(section),
    })
}

fn gateway_config(section: &GatewaySection, capture: Option<SharedWriter>) -> Result<GatewayConfig> {
    let (first, last) = section.rtp_range()?;
    let listen = listen_addresses("gateway.listen", &section.listen)?;
    let (device, customer) = (&section.device, &section.customer);
    let mut config = GatewayConfig::new(device, customer, listen, section.media_ip()?, section.clearinghouse.clone());
    config.rtp_ports = first..=last;
    config.refuse_all = section.refuse_all;
    if let Some(calls) = section.calls_max {
        config.limits.calls = calls;
    }
    if let Some(writer) = capture {
        config.msu_tap = Some(gauges::msu_tap(writer, &section.device)?);
    }
    Ok(config)
}

fn router_config(section: &RouterSection, capture: Option<SharedWriter>) -> Result<RouterConfig> {
    let interfaces = section
        .interface
        .iter()
        .map(|interface| {
            Ok(InterfaceConfig {
                name: interface.name.clone(),
                namespace: interface.namespace.clone(),
                network: interface.network.parse()?,
                edge: match interface.edge {
                    Edge::Trusted => strowger_diffserv::Edge::Trusted,
                    Edge::Untrusted => strowger_diffserv::Edge::Untrusted,
                },
            })
        })
        .collect::<Result<_>>()?;
    let routes = section
        .route
        .iter()
        .map(|route| Ok(RouteConfig { destination: route.destination.parse()?, via: route.via.parse()? }))
        .collect::<Result<_>>()?;
    let tier = match section.tier.as_str() {
        "xdp" => TierChoice::Xdp,
        "tpacket" => TierChoice::Tpacket,
        _ => TierChoice::Auto,
    };
    Ok(RouterConfig { interfaces, routes, tier, capture, ..RouterConfig::default() })
}

fn provisioning(section: &RouterSection, handle: &RouterHandle) -> Result<ConfigurationConfig> {
    let pdps = section
        .policy
        .iter()
        .map(|text| socket_address("router.policy", text))
        .collect::<Result<Vec<SocketAddr>, _>>()?;
    let interfaces = section
        .interface
        .iter()
        .zip(handle.interface_indices())
        .map(|(_, index)| RoleInterface { ifindex: *index, roles: "edge".to_owned() })
        .collect();
    Ok(ConfigurationConfig {
        link: LinkConfig::new(pdps, section.name.clone(), CLIENT_TYPE_PROVISIONING),
        capabilities: Capabilities {
            device: format!("strowger {}", env!("CARGO_PKG_VERSION")),
            capability_set: "strowger".to_owned(),
            interfaces,
        },
        hold_seconds: 300,
    })
}

fn log_provisioning(event: ConfigurationEvent) {
    match event {
        ConfigurationEvent::Applied { removes, installs } => tracing::debug!(removes, installs, "router policy"),
        ConfigurationEvent::Opened(server) => tracing::info!(%server, "router has a policy server"),
        ConfigurationEvent::Lost(LostReason::ShutDown) => {}
        other => tracing::warn!(event = ?other, "router policy"),
    }
}

fn log_policy(event: &PolicyEvent) {
    match event {
        PolicyEvent::Decision { phase, install, reason, routers, .. } => {
            tracing::info!(?phase, install, reason, routers, "policy decision");
        }
        PolicyEvent::RouterFailed { router, error } => tracing::warn!(router, ?error, "router refused"),
        other => tracing::debug!(event = ?other, "policy"),
    }
}
