//! The sections of the file, as they are written.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};
use strowger_clearinghouse_server::ClearinghouseConfig;

/// The whole file. A section that is missing is a role that does not run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Folder of everything that outlives the process.
    pub data: PathBuf,
    /// `sqlite`.
    pub store: String,
    /// Our domain.
    pub domain: DomainSection,
    /// Logging.
    pub log: LogSection,
    /// Users of the domain.
    pub subscriber: Vec<SubscriberSection>,
    /// SIP proxy and registrar.
    pub proxy: Option<ProxySection>,
    /// Gateways to the telephone network; `[gateway]` for one, `[[gateway]]` for several.
    #[serde(deserialize_with = "one_or_many")]
    pub gateway: Vec<GatewaySection>,
    /// OSP server with its books.
    pub clearinghouse: Option<ClearinghouseConfig>,
    /// COPS policy server.
    pub policy: Option<PolicySection>,
    /// Software router.
    pub router: Option<RouterSection>,
    /// REST and metrics.
    pub console: Option<ConsoleSection>,
    /// The file this was read from.
    #[serde(skip)]
    pub source: Option<PathBuf>,
}

impl Default for File {
    fn default() -> Self {
        File {
            data: PathBuf::from("strowger-data"),
            store: "sqlite".to_owned(),
            domain: DomainSection::default(),
            log: LogSection::default(),
            subscriber: Vec::new(),
            proxy: None,
            gateway: Vec::new(),
            clearinghouse: None,
            policy: None,
            router: None,
            console: None,
            source: None,
        }
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<GatewaySection>, D::Error> {
    // by hand and not `untagged`, which would lose the message that names the unknown key
    let value = toml::Value::deserialize(input)?;
    let tables = match value {
        toml::Value::Array(tables) => tables,
        table => vec![table],
    };
    tables.into_iter().map(|table| GatewaySection::deserialize(table).map_err(serde::de::Error::custom)).collect()
}

/// `[domain]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DomainSection {
    /// The domain of our users; also the realm of their passwords.
    pub name: String,
    /// Other names of it.
    pub aliases: Vec<String>,
}

impl Default for DomainSection {
    fn default() -> Self {
        DomainSection { name: "example.test".to_owned(), aliases: Vec::new() }
    }
}

/// `[log]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// `error`, `warn`, `info`, `debug` or `trace`, or a tracing filter such as `info,strowger_net=debug`.
    pub level: String,
}

impl Default for LogSection {
    fn default() -> Self {
        LogSection { level: "info".to_owned() }
    }
}

/// `[[subscriber]]`. Exactly one of the four ways to give the secret.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriberSection {
    /// User name.
    pub user: String,
    /// The password.
    pub password: Option<String>,
    /// MD5 of `user:realm:password` in hexadecimal; such a user can only be offered MD5.
    pub ha1: Option<String>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// An environment variable that holds the password.
    pub password_env: Option<String>,
    /// The user's telephone number.
    pub number: Option<String>,
}

impl std::fmt::Debug for SubscriberSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SubscriberSection({})", self.user)
    }
}

/// `[proxy]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxySection {
    /// `udp://ip:port`, `tcp://ip:port`.
    pub listen: Vec<String>,
    /// `host:port` that peers see, by listener (`udp://ip:port`).
    pub advertise: HashMap<String, String>,
    /// Clearinghouses in order; without it the one of this file.
    pub clearinghouse: Vec<String>,
    /// Digest algorithms offered: `md5`, `sha-256`, `sha-512-256`.
    pub digest: Vec<String>,
    /// Who the proxy is to the clearinghouse.
    pub customer: String,
    /// Its device there.
    pub device: String,
    /// Policy servers in order; without it the one of this file.
    pub policy: Vec<String>,
    /// Whether calls go on without marks while no policy server answers.
    pub policy_optional: bool,
    /// Most gateways asked for a call.
    pub destinations_max: u32,
    /// A gateway that answers nothing for so long is left for the next, in milliseconds.
    pub gateway_silence_ms: u64,
    /// Most calls at a time.
    pub calls_max: usize,
}

impl Default for ProxySection {
    fn default() -> Self {
        ProxySection {
            listen: Vec::new(),
            advertise: HashMap::new(),
            clearinghouse: Vec::new(),
            // many phones in the field give up when they are offered anything they do not know
            digest: vec!["md5".to_owned()],
            customer: "1000".to_owned(),
            device: "proxy".to_owned(),
            policy: Vec::new(),
            policy_optional: false,
            destinations_max: 3,
            gateway_silence_ms: 2_000,
            calls_max: 100_000,
        }
    }
}

/// `[gateway]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewaySection {
    /// Its device at the clearinghouse, `gateway-1`, `gateway-2`, … by default.
    pub device: String,
    /// The customer there whose it is, `2000`, `2001`, … by default.
    pub customer: String,
    /// `udp://ip:port`, `tcp://ip:port`.
    pub listen: Vec<String>,
    /// Address of RTP; that of the first listener by default.
    pub media_address: Option<String>,
    /// `first-last`, even first.
    pub rtp_ports: Option<String>,
    /// Clearinghouses in order; without it the one of this file.
    pub clearinghouse: Vec<String>,
    /// Most calls at a time.
    pub calls_max: Option<usize>,
    /// Answers every INVITE with this status: for trying out what callers do then.
    pub refuse_all: Option<u16>,
}

/// `[policy]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySection {
    /// `ip:port` of COPS.
    pub listen: String,
    /// Bandwidth of all admitted calls, kbit/s of IP in one direction.
    pub total_kbps_max: u64,
    /// Bandwidth of one caller's calls.
    pub caller_kbps_max: u64,
    /// Most calls of one caller.
    pub calls_per_caller_max: usize,
    /// Refuse calls while no router is connected.
    pub require_router: bool,
    /// How long routers may take to confirm, in milliseconds.
    pub report_time_ms: u64,
}

impl Default for PolicySection {
    fn default() -> Self {
        PolicySection {
            listen: "127.0.0.1:3288".to_owned(),
            total_kbps_max: 1_000_000,
            caller_kbps_max: 10_000,
            calls_per_caller_max: 100,
            require_router: false,
            report_time_ms: 2_000,
        }
    }
}

/// `[router]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouterSection {
    /// Name at the policy server.
    pub name: String,
    /// Policy servers in order; without it the one of this file.
    pub policy: Vec<String>,
    /// `auto`, `xdp` or `tpacket`.
    pub tier: String,
    /// Interfaces to forward between.
    pub interface: Vec<InterfaceSection>,
    /// Static routes.
    pub route: Vec<RouteSection>,
}

impl Default for RouterSection {
    fn default() -> Self {
        RouterSection {
            name: "router".to_owned(),
            policy: Vec::new(),
            tier: "auto".to_owned(),
            interface: Vec::new(),
            route: Vec::new(),
        }
    }
}

/// Whether an interface's marks are believed.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// They are kept.
    Trusted,
    /// They are taken off unless a filter admits the packet.
    #[default]
    Untrusted,
}

/// `[[router.interface]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceSection {
    /// Interface.
    pub name: String,
    /// The named network namespace it is in.
    pub namespace: Option<String>,
    /// The router's address and prefix length, `10.0.1.1/24`.
    pub network: String,
    /// `trusted` or `untrusted`.
    #[serde(default)]
    pub edge: Edge,
}

/// `[[router.route]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSection {
    /// `0.0.0.0/0` is the default route.
    pub destination: String,
    /// Neighbouring router.
    pub via: String,
}

/// `[console]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleSection {
    /// `ip:port` of REST and metrics.
    pub listen: String,
}

impl Default for ConsoleSection {
    fn default() -> Self {
        ConsoleSection { listen: "127.0.0.1:8080".to_owned() }
    }
}
