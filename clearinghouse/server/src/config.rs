//! Configuration: customers, their devices, routes and prices.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::net::IpAddr;
use strowger_cdr::DurationRule;
use strowger_ledger::{Currency, Nanos};
use strowger_rating::{Rounding, Tariff};
use strowger_routing::{Device, Route, RouteError, Table};

/// How the clearinghouse is set up. Amounts are decimal strings (`"0.012"`): a float would not hold them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClearinghouseConfig {
    /// Where OSP is served: `http://127.0.0.1:5045/osp`, `https://127.0.0.1:1443/osp`. Enrollment (`/tep`) and charging (`/charging`) are
    /// beside it.
    pub listen: Vec<String>,
    /// Host names and IP addresses, beside those in `listen`, by which devices reach the server over `https`: they stand in its certificate.
    pub server_names: Vec<String>,
    /// The house's currency; customers and routes that name none are in it.
    pub currency: Currency,
    /// The carriers.
    pub customers: Vec<CustomerConfig>,
    /// Their proxies and gateways.
    pub devices: Vec<DeviceConfig>,
    /// Which numbers are reached by which gateway, at which price.
    pub routes: Vec<RouteConfig>,
    /// How long a token holds after it was issued, in seconds.
    pub token_validity_seconds: u32,
    /// Tokens hold this much before they were issued, in seconds: clocks differ.
    pub clock_skew_seconds: u32,
    /// The longest call that is granted at once, in seconds.
    pub maximum_granted_seconds: u32,
    /// How many gateways are named at most.
    pub maximum_destinations: u32,
    /// How long the second report of a conversation is waited for, in seconds.
    pub usage_match_seconds: u32,
    /// How long the gateways' reports of a call are waited for whose caller says that every attempt failed, in seconds.
    pub failed_match_seconds: u32,
    /// How long a reservation outlives token, longest call and the wait for reports together, in seconds: clocks and queues.
    pub reservation_margin_seconds: u32,
    /// Differences between the two reports up to this are no disagreement, in seconds.
    pub disagreement_tolerance_seconds: u32,
    /// Which duration is paid for when the reports differ.
    pub duration_rule: DurationRule,
}

impl Default for ClearinghouseConfig {
    fn default() -> Self {
        ClearinghouseConfig {
            listen: Vec::new(),
            server_names: Vec::new(),
            currency: Currency::USD,
            customers: Vec::new(),
            devices: Vec::new(),
            routes: Vec::new(),
            token_validity_seconds: 300,
            clock_skew_seconds: 60,
            maximum_granted_seconds: 14_400,
            maximum_destinations: 5,
            usage_match_seconds: 30,
            failed_match_seconds: 2,
            reservation_margin_seconds: 60,
            disagreement_tolerance_seconds: 2,
            duration_rule: DurationRule::Shorter,
        }
    }
}

/// What a customer may do.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CustomerRole {
    /// Its devices may ask for calls and receive none.
    Originating,
    /// Its devices receive calls and may ask for none.
    Terminating,
    /// Both.
    #[default]
    Both,
}

/// A carrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomerConfig {
    /// Its number in OSP (`CustomerId`).
    pub id: String,
    /// Its name, for people.
    #[serde(default)]
    pub name: String,
    /// What it may do.
    #[serde(default)]
    pub role: CustomerRole,
    /// The currency of its account; the house's when none is given.
    #[serde(default)]
    pub currency: Option<Currency>,
    /// Deposited once, when the account is opened.
    #[serde(default)]
    pub opening_balance: Nanos,
    /// How far below zero its account may go.
    #[serde(default)]
    pub credit_limit: Nanos,
}

/// A proxy or gateway of a customer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// Its number in OSP (`DeviceId`).
    pub id: String,
    /// The customer it belongs to.
    pub customer: String,
    /// For gateways: where calls are sent, `ip:port`.
    #[serde(default)]
    pub address: Option<String>,
    /// For gateways: the name of its network, by which a request may prefer it.
    #[serde(default)]
    pub network: Option<String>,
    /// What it says to get a certificate; without one it cannot enroll.
    #[serde(default)]
    pub enrollment_password: Option<String>,
    /// A disabled device gets no calls and no answers.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

impl std::fmt::Debug for DeviceConfig {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let DeviceConfig { id, customer, address, network, enabled, .. } = self;
        write!(
            out,
            "DeviceConfig {{ {customer}/{id}, {address:?}, {network:?}, enabled: {enabled}, password: secret }}"
        )
    }
}

/// Numbers by a gateway at a price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// The dial code, digits without plus.
    pub prefix: String,
    /// The gateway's number.
    pub device: String,
    /// What the caller's customer pays for a minute.
    pub sell_per_minute: Nanos,
    /// What the gateway's customer is paid for a minute.
    pub cost_per_minute: Nanos,
    /// Paid by the caller's customer once per connected call.
    #[serde(default)]
    pub connection_fee: Nanos,
    /// The shortest duration that is billed, in seconds.
    #[serde(default = "one")]
    pub initial_increment_seconds: u32,
    /// Steps beyond it, in seconds.
    #[serde(default = "one")]
    pub following_increment_seconds: u32,
    /// How prices are rounded to a billionth.
    #[serde(default)]
    pub rounding: Rounding,
    /// The currency of both prices; the house's when none is given.
    #[serde(default)]
    pub currency: Option<Currency>,
}

fn one() -> u32 {
    1
}

/// What is wrong with a configuration, in one sentence that names the entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Two entries have the same number.
    #[error("clearinghouse: there are two {what}s {id:?}")]
    Twice {
        /// `customer` or `device`.
        what: &'static str,
        /// The number.
        id: String,
    },
    /// A device belongs to no customer.
    #[error("clearinghouse: device {device:?} belongs to the unknown customer {customer:?}")]
    NoCustomer {
        /// The device.
        device: String,
        /// What it names.
        customer: String,
    },
    /// A route's gateway has no address.
    #[error("clearinghouse: the route to {prefix:?} leads to device {device:?}, which has no address")]
    NoAddress {
        /// The dial code.
        prefix: String,
        /// The device.
        device: String,
    },
    /// A gateway's customer may not terminate.
    #[error("clearinghouse: the route to {prefix:?} leads to device {device:?} of a customer that only originates")]
    OriginatesOnly {
        /// The dial code.
        prefix: String,
        /// The device.
        device: String,
    },
    /// A route is wrong.
    #[error("clearinghouse: {0}")]
    Route(#[from] RouteError),
    /// A value is outside its range.
    #[error("clearinghouse: {key} must be {range}")]
    Range {
        /// The key.
        key: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// A customer's or device's number cannot be carried in a token.
    #[error("clearinghouse: {0:?} is no number or name of 1 to 64 printable characters without spaces")]
    Name(String),
    /// A name of the server cannot stand in a certificate.
    #[error("clearinghouse: server_names: {0:?} is neither a host name nor an IP address")]
    ServerName(String),
}

impl ClearinghouseConfig {
    /// The device of this number.
    pub fn device(&self, id: &str) -> Option<&DeviceConfig> {
        self.devices.iter().find(|device| device.id == id)
    }

    /// The customer of this number.
    pub fn customer(&self, id: &str) -> Option<&CustomerConfig> {
        self.customers.iter().find(|customer| customer.id == id)
    }

    /// Checks everything and builds the dial plan.
    pub fn table(&self) -> Result<Table, ConfigError> {
        self.check_ranges()?;
        self.server_names.iter().try_for_each(|name| check_server_name(name))?;
        let mut seen = HashSet::new();
        for customer in &self.customers {
            check_name(&customer.id)?;
            if !seen.insert(&customer.id) {
                return Err(ConfigError::Twice { what: "customer", id: customer.id.clone() });
            }
            if customer.credit_limit.0 < 0 || customer.opening_balance.0 < 0 {
                return Err(ConfigError::Range { key: "opening_balance and credit_limit", range: "zero or more" });
            }
        }
        let mut table = Table::new();
        let mut seen = HashSet::new();
        for device in &self.devices {
            check_name(&device.id)?;
            if !seen.insert(&device.id) {
                return Err(ConfigError::Twice { what: "device", id: device.id.clone() });
            }
            if self.customer(&device.customer).is_none() {
                let (device, customer) = (device.id.clone(), device.customer.clone());
                return Err(ConfigError::NoCustomer { device, customer });
            }
            if let Some(address) = &device.address {
                table.insert_device(Device {
                    id: device.id.clone(),
                    customer: device.customer.clone(),
                    address: address.clone(),
                    network: device.network.clone(),
                    enabled: device.enabled,
                });
            }
        }
        self.routes.iter().try_for_each(|route| self.insert(&mut table, route))?;
        Ok(table)
    }

    fn insert(&self, table: &mut Table, route: &RouteConfig) -> Result<(), ConfigError> {
        let (prefix, device) = (route.prefix.clone(), route.device.clone());
        if let Some(known) = self.device(&route.device) {
            if known.address.is_none() {
                return Err(ConfigError::NoAddress { prefix, device });
            }
            if self.customer(&known.customer).is_some_and(|customer| customer.role == CustomerRole::Originating) {
                return Err(ConfigError::OriginatesOnly { prefix, device });
            }
        }
        let tariff = |per_minute: Nanos, fee: Nanos| Tariff {
            rounding: route.rounding,
            ..Tariff::per_minute(per_minute.0, route.currency.unwrap_or(self.currency))
                .with_increments(route.initial_increment_seconds, route.following_increment_seconds)
                .with_connection_fee(fee.0)
        };
        let sell = tariff(route.sell_per_minute, route.connection_fee);
        let cost = tariff(route.cost_per_minute, Nanos(0));
        Ok(table.insert(Route { prefix, device, sell, cost })?)
    }

    fn check_ranges(&self) -> Result<(), ConfigError> {
        let in_range = |key, range, inside: bool| if inside { Ok(()) } else { Err(ConfigError::Range { key, range }) };
        in_range("token_validity_seconds", "1 to 86400", (1..=86_400).contains(&self.token_validity_seconds))?;
        in_range("clock_skew_seconds", "0 to 3600", self.clock_skew_seconds <= 3600)?;
        in_range("maximum_granted_seconds", "1 to 604800", (1..=604_800).contains(&self.maximum_granted_seconds))?;
        in_range("maximum_destinations", "1 to 32", (1..=32).contains(&self.maximum_destinations))?;
        in_range("usage_match_seconds", "0 to 86400", self.usage_match_seconds <= 86_400)?;
        in_range("failed_match_seconds", "0 to 86400", self.failed_match_seconds <= 86_400)?;
        in_range("reservation_margin_seconds", "0 to 86400", self.reservation_margin_seconds <= 86_400)
    }
}

fn check_name(name: &str) -> Result<(), ConfigError> {
    let fits = (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(()) } else { Err(ConfigError::Name(name.to_owned())) }
}

/// RFC 1123 §2.1, or an IP address.
fn check_server_name(name: &str) -> Result<(), ConfigError> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let fits = name.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(label));
    if fits { Ok(()) } else { Err(ConfigError::ServerName(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names() {
        let longest = [&"a".repeat(63), "b"].join(".");
        for good in ["clearinghouse.example.test", "127.0.0.1", "::1", "a", &longest] {
            assert_eq!(check_server_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a..b", "-a", "a-", "a_b", "m\u{fc}ller", "[::1]", "a:1", &"a".repeat(64)] {
            assert!(check_server_name(bad).is_err(), "{bad}");
        }
    }
}
