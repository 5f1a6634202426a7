//! Where the demo's phones, router and servers are.
//!
//! ```text
//!   edge                      router                       core
//!   phones 10.77.1.2, .3 ---- 10.77.1.1 | 10.77.2.1 ---- 10.77.2.2 proxy, policy, clearinghouse, gateways
//! ```

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result};
use strowger_packet::pcapng::{LinkType, SharedWriter};
use strowger_packet::{CaptureHandle, Topology, capture, netns, probe};

use super::report::Report;

const PREFIX: &str = "strowger-demo";

/// The demo's network.
pub struct Network {
    topology: Option<Topology>,
    /// Where the servers are.
    pub core: IpAddr,
    /// Where alice is.
    pub alice: IpAddr,
    /// Where bob is.
    pub bob: IpAddr,
}

impl Network {
    /// Makes namespaces where that is possible and wanted.
    pub fn make(no_namespaces: bool, report: &mut Report) -> Result<Network> {
        let capabilities = probe();
        let missing: Vec<String> = capabilities.missing().into_iter().map(str::to_owned).collect();
        if no_namespaces || !capabilities.can_route() {
            let why = if no_namespaces { "--no-namespaces".to_owned() } else { missing.join("; ") };
            report.not_checked("router", format!("all on loopback, no router in the path: {why}"));
            // a loopback address of our own: every port of it is free
            let process = std::process::id();
            let byte = |shift: u32| u8::try_from(process >> shift & 0x7f).unwrap_or(1);
            let own = IpAddr::V4(Ipv4Addr::new(127, 77, byte(7), byte(0).max(1)));
            return Ok(Network { topology: None, core: own, alice: own, bob: own });
        }
        Topology::remove_stale(PREFIX);
        let topology = Topology::builder(PREFIX)
            .namespace("edge")
            .namespace("router")
            .namespace("core")
            .veth(("edge", "edge0"), ("router", "to-edge"))
            .veth(("core", "core0"), ("router", "to-core"))
            .address("edge", "edge0", "10.77.1.2/24")
            .address("edge", "edge0", "10.77.1.3/24")
            .address("core", "core0", "10.77.2.2/24")
            .route("edge", "default", "10.77.1.1")
            .route("core", "default", "10.77.2.1")
            .build()?;
        let ip = |last: [u8; 4]| IpAddr::V4(Ipv4Addr::from(last));
        Ok(Network {
            topology: Some(topology),
            core: ip([10, 77, 2, 2]),
            alice: ip([10, 77, 1, 2]),
            bob: ip([10, 77, 1, 3]),
        })
    }

    /// Name of the router's namespace: what its interfaces are called by in the capture.
    pub fn router_name(&self) -> &str {
        self.topology.as_ref().map_or("router", |topology| topology.name("router"))
    }

    /// Whether media cross the router.
    pub fn has_router(&self) -> bool {
        self.topology.is_some()
    }

    /// Puts the calling thread, and those it starts, where the servers are.
    pub fn enter_core(&self) -> Result<()> {
        self.enter("core")
    }

    /// Puts the calling thread, and those it starts, where the phones are.
    pub fn enter_edge(&self) -> Result<()> {
        self.enter("edge")
    }

    fn enter(&self, name: &str) -> Result<()> {
        let Some(topology) = &self.topology else { return Ok(()) };
        let namespace = netns::NetNamespace::open(topology.name(name))?;
        namespace.enter().with_context(|| format!("cannot enter the namespace {name}"))
    }

    /// Records what the core sees: its interface behind the router, and what its servers say to each other. The router records
    /// both its sides itself.
    pub fn record(&self, writer: &SharedWriter) -> Result<Vec<CaptureHandle>> {
        let interfaces: &[(&str, &str)] = match &self.topology {
            Some(_) => &[("core0", "core0"), ("lo", "core-lo")],
            None if probe().raw_sockets.is_present() => &[("lo", "lo")],
            None => &[],
        };
        let mut handles = Vec::new();
        for (interface, name) in interfaces {
            let id = match writer.lock() {
                Ok(mut writer) => writer.add_interface(name, LinkType::Ethernet)?,
                Err(_) => anyhow::bail!("the capture's writer has failed"),
            };
            let open = || capture(interface);
            let opened = match &self.topology {
                Some(topology) => topology.within("core", open)??,
                None => open()?,
            };
            handles.push(opened.record(writer.clone(), id)?);
        }
        Ok(handles)
    }

    /// The configuration of the demo. Three gateways: nobody answers at the cheapest, the next one refuses every call, the third
    /// carries them.
    pub fn configuration(&self, folder: &Path) -> String {
        let core = self.core;
        let router = match &self.topology {
            Some(topology) => {
                let namespace = topology.name("router");
                format!(
                    r#"
[[router.interface]]
name = "to-edge"
namespace = "{namespace}"
network = "10.77.1.1/24"
edge = "untrusted"
[[router.interface]]
name = "to-core"
namespace = "{namespace}"
network = "10.77.2.1/24"
edge = "untrusted"
"#
                )
            }
            None => String::new(),
        };
        let data = folder.display();
        format!(
            r#"
data = "{data}"
[domain]
name = "example.test"
aliases = ["{core}"]
[[subscriber]]
user = "alice"
password = "wonderland"
number = "+12125550001"
[[subscriber]]
user = "bob"
password = "builder"
number = "+12125550002"
[proxy]
listen = ["udp://{core}:5060", "tcp://{core}:5060"]
gateway_silence_ms = 700
[[gateway]]
device = "refusing-gateway"
customer = "2001"
listen = ["udp://{core}:5072"]
rtp_ports = "24000-24999"
refuse_all = 503
[[gateway]]
device = "gateway"
customer = "2002"
listen = ["udp://{core}:5074"]
rtp_ports = "20000-23999"
[clearinghouse]
listen = ["http://{core}:5045/osp"]
usage_match_seconds = 5
[[clearinghouse.customers]]
id = "1000"
name = "callers of example.test"
role = "originating"
opening_balance = "100.00"
[[clearinghouse.customers]]
id = "2000"
name = "cheapest carrier, down"
role = "terminating"
[[clearinghouse.customers]]
id = "2001"
name = "second carrier, full"
role = "terminating"
[[clearinghouse.customers]]
id = "2002"
name = "third carrier"
role = "terminating"
[[clearinghouse.devices]]
id = "proxy"
customer = "1000"
[[clearinghouse.devices]]
id = "absent-gateway"
customer = "2000"
address = "{core}:5070"
[[clearinghouse.devices]]
id = "refusing-gateway"
customer = "2001"
address = "{core}:5072"
[[clearinghouse.devices]]
id = "gateway"
customer = "2002"
address = "{core}:5074"
[[clearinghouse.routes]]
prefix = "1212"
device = "absent-gateway"
sell_per_minute = "0.018"
cost_per_minute = "0.010"
[[clearinghouse.routes]]
prefix = "1212"
device = "refusing-gateway"
sell_per_minute = "0.020"
cost_per_minute = "0.011"
[[clearinghouse.routes]]
prefix = "1212"
device = "gateway"
sell_per_minute = "0.060"
cost_per_minute = "0.036"
[policy]
listen = "{core}:3288"
require_router = true
[router]
{router}
[console]
listen = "{core}:8080"
"#
        )
    }
}
