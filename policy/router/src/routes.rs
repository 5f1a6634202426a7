//! Longest-prefix match: a table for each prefix length in use, longest first.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::config::Network;

/// Most routes, connected ones included.
pub(crate) const ROUTES_MAXIMUM: usize = 65_536;

/// Where packets to a network go.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The port to leave by.
    pub(crate) port: usize,
    /// The next router; `None` when the destination itself is on that port's network.
    pub(crate) via: Option<Ipv4Addr>,
}

/// Not changed after the start, so keyed only by the operator.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    lengths: Vec<(u32, HashMap<u32, Route>)>,
}

impl Routes {
    /// Adds a route; the first one to a network stays.
    pub(crate) fn add(&mut self, network: Network, route: Route) {
        let mask = network.mask();
        let at = match self.lengths.iter().position(|(known, _)| *known <= mask) {
            Some(at) if self.lengths.get(at).is_some_and(|(known, _)| *known == mask) => at,
            other => {
                let at = other.unwrap_or(self.lengths.len());
                self.lengths.insert(at, (mask, HashMap::new()));
                at
            }
        };
        if let Some((_, table)) = self.lengths.get_mut(at) {
            table.entry(u32::from(network.address) & mask).or_insert(route);
        }
    }

    pub(crate) fn lookup(&self, destination: Ipv4Addr) -> Option<Route> {
        let destination = u32::from(destination);
        self.lengths.iter().find_map(|(mask, table)| table.get(&(destination & mask)).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_whatever_the_order() {
        let route = |port| Route { port, via: None };
        let networks =
            [("10.1.0.0/16", 2), ("0.0.0.0/0", 0), ("10.1.2.0/24", 3), ("10.0.0.0/8", 1), ("10.1.2.9/32", 4)];
        let mut routes = Routes::default();
        assert_eq!(routes.lookup(Ipv4Addr::LOCALHOST), None);
        for (network, port) in networks {
            routes.add(network.parse().unwrap(), route(port));
        }
        for (address, port) in
            [([10, 1, 2, 9], 4), ([10, 1, 2, 8], 3), ([10, 1, 3, 1], 2), ([10, 2, 0, 0], 1), ([9, 0, 0, 0], 0)]
        {
            assert_eq!(routes.lookup(address.into()), Some(route(port)));
        }
    }
}
