//! What a router is told at its start.

use std::net::Ipv4Addr;
use std::str::FromStr;

use strowger_diffserv::{Edge, SchedulerConfig};
use strowger_packet::TierChoice;
use strowger_packet::pcapng::SharedWriter;

/// An IPv4 address with the length of its network's prefix.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// The address (of an interface) or any address of the network (of a route).
    pub address: Ipv4Addr,
    /// Bits of the prefix, 0 to 32.
    pub bits: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no IPv4 network such as 10.0.1.1/24")]
pub struct NetworkFault(String);

impl Network {
    /// The mask as a number.
    pub const fn mask(self) -> u32 {
        match self.bits {
            0 => 0,
            bits => u32::MAX << (32 - if bits > 32 { 32 } else { bits }),
        }
    }

    /// Whether `address` is in the network.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (u32::from(address) ^ u32::from(self.address)) & self.mask() == 0
    }

    /// The highest address: a broadcast, except in networks of one or two (RFC 3021).
    pub fn broadcast(self) -> Option<Ipv4Addr> {
        (self.bits < 31).then(|| Ipv4Addr::from(u32::from(self.address) | !self.mask()))
    }
}

impl FromStr for Network {
    type Err = NetworkFault;

    fn from_str(text: &str) -> Result<Self, NetworkFault> {
        let fault = || NetworkFault(text.to_owned());
        let (address, bits) = text.split_once('/').ok_or_else(fault)?;
        let bits = bits.parse().ok().filter(|bits| *bits <= 32).ok_or_else(fault)?;
        Ok(Self { address: address.parse().map_err(|_| fault())?, bits })
    }
}

/// One interface of the router. The kernel should have no address on it.
#[derive(Clone, Debug)]
pub struct InterfaceConfig {
    /// Its name.
    pub name: String,
    /// The named namespace it is in; `None` for the process's own.
    pub namespace: Option<String>,
    /// The router's address on it, and the network connected to it.
    pub network: Network,
    /// Whether marks of packets that come in here are kept.
    pub edge: Edge,
}

/// A network behind a neighbouring router.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RouteConfig {
    /// The network; 0.0.0.0/0 is the default route.
    pub destination: Network,
    /// A neighbour on a connected network.
    pub via: Ipv4Addr,
}

/// Everything.
#[derive(Clone, Default)]
pub struct RouterConfig {
    /// The interfaces; none makes a router that keeps tables only.
    pub interfaces: Vec<InterfaceConfig>,
    /// Static routes.
    pub routes: Vec<RouteConfig>,
    /// Which packet tier.
    pub tier: TierChoice,
    /// Queues of every interface.
    pub scheduler: SchedulerConfig,
    /// Where to record what every interface carries, as one pcapng interface each, called NAMESPACE/NAME.
    pub capture: Option<SharedWriter>,
}

impl std::fmt::Debug for RouterConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouterConfig")
            .field("interfaces", &self.interfaces)
            .field("routes", &self.routes)
            .field("tier", &self.tier)
            .field("scheduler", &self.scheduler)
            .field("capture", &self.capture.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_wrong_ones_are_named() {
        let network: Network = "10.1.2.3/24".parse().unwrap();
        assert!(network.contains(Ipv4Addr::new(10, 1, 2, 250)) && !network.contains(Ipv4Addr::new(10, 1, 3, 3)));
        assert_eq!(network.broadcast(), Some(Ipv4Addr::new(10, 1, 2, 255)));
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(Ipv4Addr::BROADCAST));
        let host: Network = "1.2.3.4/32".parse().unwrap();
        assert!(!host.contains(Ipv4Addr::new(1, 2, 3, 5)) && host.broadcast().is_none());
        for wrong in ["10.0.0.1", "10.0.0.1/33", "10.0.0/24", "/", ""] {
            assert!(wrong.parse::<Network>().unwrap_err().to_string().contains(wrong));
        }
    }
}
