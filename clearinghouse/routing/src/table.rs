//! The dial plan.

use std::collections::{BTreeMap, HashMap};
use strowger_rating::Tariff;

/// How many routes a table may hold.
pub const MAXIMUM_ROUTES: usize = 1_000_000;

/// The longest dial code: E.164 numbers have 15 digits at most.
pub const MAXIMUM_PREFIX_DIGITS: usize = 15;

/// A terminating device: a gateway of a customer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its identifier in OSP messages.
    pub id: String,
    /// The customer it belongs to, who is paid.
    pub customer: String,
    /// Where calls are sent: `host:port`.
    pub address: String,
    /// The name under which a request may prefer it (OSP's DestinationAlternate of type network), besides its identifier and address.
    pub network: Option<String>,
    /// Disabled devices get no calls.
    pub enabled: bool,
}

/// One offer: numbers that begin with a dial code, by one device, at a price to the caller's customer and a cost to the house.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The dial code: E.164 digits without plus. Empty: every number.
    pub prefix: String,
    /// The device's identifier.
    pub device: String,
    /// What the caller's customer pays the house.
    pub sell: Tariff,
    /// What the house pays the device's customer.
    pub cost: Tariff,
}

/// Why a route is not taken into the table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The prefix holds something other than digits, or too many.
    #[error("the prefix {0:?} is not 0 to {MAXIMUM_PREFIX_DIGITS} digits")]
    Prefix(String),
    /// The table has no such device.
    #[error("the route to {prefix:?} names the unknown device {device:?}")]
    NoDevice {
        /// The route's prefix.
        prefix: String,
        /// The name that is not there.
        device: String,
    },
    /// A tariff is invalid, or the two are not in the same currency.
    #[error("the route to {prefix:?} by {device:?} has an invalid tariff, or two currencies")]
    Tariff {
        /// The route's prefix.
        prefix: String,
        /// The route's device.
        device: String,
    },
    /// The table holds [`MAXIMUM_ROUTES`].
    #[error("a table holds at most {MAXIMUM_ROUTES} routes")]
    Full,
}

/// Routes by dial code, and the devices they lead to.
#[derive(Clone, Debug, Default)]
pub struct Table {
    devices: HashMap<String, Device>,
    routes: BTreeMap<String, Vec<Route>>,
    count: usize,
}

impl Table {
    /// An empty table.
    pub fn new() -> Table {
        Table::default()
    }

    /// Takes or replaces a device.
    pub fn insert_device(&mut self, device: Device) {
        self.devices.insert(device.id.clone(), device);
    }

    /// Takes a route; one of the same prefix and device is replaced.
    pub fn insert(&mut self, route: Route) -> Result<(), RouteError> {
        if route.prefix.len() > MAXIMUM_PREFIX_DIGITS || !route.prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RouteError::Prefix(route.prefix));
        }
        if !self.devices.contains_key(&route.device) {
            return Err(RouteError::NoDevice { prefix: route.prefix, device: route.device });
        }
        if !route.sell.is_valid() || !route.cost.is_valid() || route.sell.currency != route.cost.currency {
            return Err(RouteError::Tariff { prefix: route.prefix, device: route.device });
        }
        let routes = self.routes.entry(route.prefix.clone()).or_default();
        match routes.iter_mut().find(|known| known.device == route.device) {
            Some(known) => *known = route,
            None if self.count >= MAXIMUM_ROUTES => return Err(RouteError::Full),
            None => {
                routes.push(route);
                self.count += 1;
            }
        }
        Ok(())
    }

    /// A device by its identifier.
    pub fn device(&self, id: &str) -> Option<&Device> {
        self.devices.get(id)
    }

    /// Every device.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.values()
    }

    /// Every route.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.values().flatten()
    }

    /// The routes of each dial code that `called` begins with, the longest code first.
    pub(crate) fn matching<'a>(&'a self, called: &'a str) -> impl Iterator<Item = &'a [Route]> {
        (0..=called.len().min(MAXIMUM_PREFIX_DIGITS))
            .rev()
            .filter_map(move |length| self.routes.get(called.get(..length)?))
            .map(Vec::as_slice)
    }
}
