//! Checks every value and fills in what the file leaves out, so that what follows has nothing to guess.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use strowger_clearinghouse_server::{ClearinghouseConfig, CustomerConfig, CustomerRole, DeviceConfig, RouteConfig};
use strowger_ledger::Nanos;
use strowger_net::ListenAddress;
use strowger_router::Network;
use strowger_sip::digest::Algorithm;

use super::sections::{File, GatewaySection, ProxySection, SubscriberSection};
use super::{ConfigError, value_error};
use crate::keys;

const NANOS: i64 = 1_000_000_000;
/// Device of a clearinghouse that is configured by nothing but its presence: for another make's client, which enrolls with the
/// password that [`File::with_spare_enrollment`] keeps.
const SPARE_DEVICE: &str = "1001";

impl File {
    /// Gives the spare device its enrollment password: 128 random bits that only the owner reads, in a file beside the
    /// configuration (where `osp enroll` finds them by the configuration alone), else in the data folder. `make`: when there are
    /// none yet.
    pub fn with_spare_enrollment(&mut self, make: bool) -> std::io::Result<()> {
        let Some(house) = &mut self.clearinghouse else { return Ok(()) };
        let spare =
            house.devices.iter_mut().find(|device| device.id == SPARE_DEVICE && device.enrollment_password.is_none());
        let Some(spare) = spare else { return Ok(()) };
        let beside = self.source.as_ref().map(|source| source.with_extension("enrollment"));
        let in_data = self.data.join("enrollment.key");
        let places: Vec<&Path> = beside.iter().map(PathBuf::as_path).chain([in_data.as_path()]).collect();
        let mut key = match places.iter().find(|place| place.exists()) {
            Some(place) => Some(keys::stored::<16>(place)?),
            None => None,
        };
        if key.is_none() && make {
            // a folder that we may not write to is no reason not to start
            key = places.iter().find_map(|place| keys::stored::<16>(place).ok());
        }
        spare.enrollment_password = key.map(|key| key.iter().map(|octet| format!("{octet:02x}")).collect());
        Ok(())
    }

    pub(super) fn complete(&mut self, base: &Path) -> Result<(), ConfigError> {
        if self.store.starts_with("postgres:") {
            return Err(value_error("store", "PostgreSQL is not built in yet; use \"sqlite\""));
        }
        if self.store != "sqlite" {
            return Err(value_error("store", format!("{:?} is no store; use \"sqlite\"", self.store)));
        }
        if self.domain.name.is_empty() {
            return Err(value_error("domain.name", "a domain is needed, such as \"example.test\""));
        }
        for subscriber in &mut self.subscriber {
            complete_subscriber(subscriber, base)?;
        }
        let mut names: Vec<&str> = self.subscriber.iter().map(|subscriber| subscriber.user.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first()) {
            return Err(value_error(format!("subscriber.{twice}"), "this user is there twice"));
        }
        self.complete_policy()?;
        self.complete_gateways()?;
        self.complete_clearinghouse()?;
        self.complete_proxy()?;
        if let Some(console) = &self.console {
            socket_address("console.listen", &console.listen)?;
        }
        Ok(())
    }

    fn complete_policy(&mut self) -> Result<(), ConfigError> {
        let here = match &self.policy {
            Some(policy) => {
                socket_address("policy.listen", &policy.listen)?;
                vec![policy.listen.clone()]
            }
            None => Vec::new(),
        };
        if let Some(proxy) = &mut self.proxy {
            if proxy.policy.is_empty() {
                proxy.policy.clone_from(&here);
            }
            for server in &proxy.policy {
                socket_address("proxy.policy", server)?;
            }
        }
        let Some(router) = &mut self.router else { return Ok(()) };
        if router.policy.is_empty() {
            router.policy = here;
        }
        for server in &router.policy {
            socket_address("router.policy", server)?;
        }
        if !["auto", "xdp", "tpacket"].contains(&router.tier.as_str()) {
            return Err(value_error("router.tier", format!("{:?} is none of auto, xdp, tpacket", router.tier)));
        }
        for interface in &router.interface {
            let key = format!("router.interface.{}", interface.name);
            interface.network.parse::<Network>().map_err(|error| value_error(key, error.to_string()))?;
        }
        for route in &router.route {
            let key = format!("router.route.{}", route.destination);
            route.destination.parse::<Network>().map_err(|error| value_error(&key, error.to_string()))?;
            route
                .via
                .parse::<std::net::Ipv4Addr>()
                .map_err(|_| value_error(&key, format!("via {:?} is no IPv4 address", route.via)))?;
        }
        Ok(())
    }

    fn complete_gateways(&mut self) -> Result<(), ConfigError> {
        self.add_standby()?;
        for (gateway, number) in self.gateway.iter_mut().zip(1..) {
            if gateway.device.is_empty() {
                gateway.device = format!("gateway-{number}");
            }
            if gateway.customer.is_empty() {
                gateway.customer = (1999 + number).to_string();
            }
            let listeners = listen_addresses("gateway.listen", &gateway.listen)?;
            if let Some(every) = listeners.iter().find(|listener| listener.address.ip().is_unspecified()) {
                return Err(value_error(
                    "gateway.listen",
                    format!("{every} is every address and none to answer to: name one"),
                ));
            }
            if gateway.media_address.is_none() {
                gateway.media_address = listeners.first().map(|listener| listener.address.ip().to_string());
            }
            gateway.media_ip()?;
            gateway.rtp_range()?;
            if let Some(status) = gateway.refuse_all
                && !(300..700).contains(&status)
            {
                return Err(value_error("gateway.refuse_all", "a final status from 300 to 699 is needed"));
            }
        }
        Ok(())
    }

    /// Where the clearinghouse is to be made up from this file and there is one gateway alone, it gets a standby beside it, two
    /// ports up: a caller always has a second choice, as field clients expect.
    fn add_standby(&mut self) -> Result<(), ConfigError> {
        let made_up = self
            .clearinghouse
            .as_ref()
            .is_some_and(|house| house.customers.is_empty() && house.devices.is_empty() && house.routes.is_empty());
        let [gateway] = self.gateway.as_slice() else { return Ok(()) };
        if !made_up {
            return Ok(());
        }
        let listeners = listen_addresses("gateway.listen", &gateway.listen)?;
        let (first, last) = gateway.rtp_range()?;
        let middle = first + (last - first) / 4 * 2;
        let room = listeners.iter().all(|listener| (1..=u16::MAX - 2).contains(&listener.address.port()));
        if !room || middle <= first + 2 {
            return Ok(());
        }
        let up = |listener: &ListenAddress| {
            let mut up = *listener;
            up.address.set_port(listener.address.port() + 2);
            up.to_string()
        };
        let mut standby = gateway.clone();
        standby.listen = listeners.iter().map(up).collect();
        standby.device = String::new();
        standby.customer = String::new();
        standby.rtp_ports = Some(format!("{middle}-{last}"));
        if let Some(gateway) = self.gateway.first_mut() {
            gateway.rtp_ports = Some(format!("{first}-{}", middle - 1));
        }
        self.gateway.push(standby);
        Ok(())
    }

    /// A clearinghouse without customers is one for this file's proxy and gateways alone: each gateway a carrier of its own,
    /// the later ones a little dearer, so that the first is tried first.
    fn complete_clearinghouse(&mut self) -> Result<(), ConfigError> {
        let Some(house) = &mut self.clearinghouse else { return Ok(()) };
        if house.listen.is_empty() {
            house.listen.push("http://127.0.0.1:5045/osp".to_owned());
        }
        if house.customers.is_empty() && house.devices.is_empty() && house.routes.is_empty() {
            let proxy = self.proxy.clone().unwrap_or_default();
            house.customers.push(CustomerConfig {
                id: proxy.customer.clone(),
                name: format!("{} (callers)", self.domain.name),
                role: CustomerRole::Originating,
                currency: None,
                opening_balance: Nanos(1_000 * NANOS),
                credit_limit: Nanos(0),
            });
            house.devices.push(device(&proxy.device, &proxy.customer, None));
            house.devices.push(device(SPARE_DEVICE, &proxy.customer, None));
            for (gateway, rank) in self.gateway.iter().zip(0i64..) {
                add_gateway(house, gateway, rank);
            }
        }
        house.table().map(|_| ()).map_err(|error| value_error("clearinghouse", error.to_string()))?;
        Ok(())
    }

    fn complete_proxy(&mut self) -> Result<(), ConfigError> {
        // roles of one process speak plain HTTP to each other: over HTTPS a client needs a certificate to trust
        let plain = |url: &String| url.starts_with("http://");
        let house = self.clearinghouse.as_ref().map(|house| house.listen.clone()).unwrap_or_default();
        let here: Vec<String> = house.iter().filter(|url| plain(url)).cloned().collect();
        if here.is_empty() && !house.is_empty() && (self.proxy.is_some() || !self.gateway.is_empty()) {
            let message = "an http:// address is needed beside https:// for the proxy and gateways of this file";
            return Err(value_error("clearinghouse.listen", message));
        }
        for gateway in &mut self.gateway {
            if gateway.clearinghouse.is_empty() {
                gateway.clearinghouse.clone_from(&here);
            }
        }
        let Some(proxy) = &mut self.proxy else { return Ok(()) };
        if proxy.clearinghouse.is_empty() {
            proxy.clearinghouse = here;
        }
        let listeners = listen_addresses("proxy.listen", &proxy.listen)?;
        proxy.algorithms()?;
        for listener in listeners {
            let advertised = proxy.advertise.contains_key(&listener.to_string());
            if listener.address.ip().is_unspecified() && !advertised {
                return Err(value_error(
                    "proxy.listen",
                    format!(
                        "{listener} is every address and none to answer to: name one, or say in proxy.advertise what peers see"
                    ),
                ));
            }
        }
        for listener in proxy.advertise.keys() {
            ListenAddress::parse(listener).map_err(|error| value_error("proxy.advertise", error.to_string()))?;
        }
        Ok(())
    }
}

fn add_gateway(house: &mut ClearinghouseConfig, gateway: &GatewaySection, rank: i64) {
    if house.customer(&gateway.customer).is_none() {
        house.customers.push(CustomerConfig {
            id: gateway.customer.clone(),
            name: format!("carrier of {}", gateway.device),
            role: CustomerRole::Terminating,
            currency: None,
            opening_balance: Nanos(0),
            credit_limit: Nanos(0),
        });
    }
    let address = gateway
        .listen
        .iter()
        .filter_map(|listener| ListenAddress::parse(listener).ok())
        .map(|listener| listener.address.to_string())
        .next();
    house.devices.push(device(&gateway.device, &gateway.customer, address));
    house.routes.extend((1..=9).map(|digit| RouteConfig {
        prefix: digit.to_string(),
        device: gateway.device.clone(),
        sell_per_minute: Nanos(20_000_000 + rank * 2_000_000),
        cost_per_minute: Nanos(12_000_000 + rank * 2_000_000),
        connection_fee: Nanos(0),
        initial_increment_seconds: 1,
        following_increment_seconds: 1,
        rounding: Default::default(),
        currency: None,
    }));
}

fn device(id: &str, customer: &str, address: Option<String>) -> DeviceConfig {
    DeviceConfig {
        id: id.to_owned(),
        customer: customer.to_owned(),
        address,
        network: None,
        enrollment_password: None,
        enabled: true,
    }
}

fn complete_subscriber(subscriber: &mut SubscriberSection, base: &Path) -> Result<(), ConfigError> {
    let key = format!("subscriber.{}", subscriber.user);
    let given = [
        subscriber.password.is_some(),
        subscriber.ha1.is_some(),
        subscriber.password_file.is_some(),
        subscriber.password_env.is_some(),
    ];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(value_error(key, "exactly one of password, ha1, password_file and password_env is needed"));
    }
    if let Some(ha1) = &subscriber.ha1
        && (ha1.len() != 32 || !ha1.bytes().all(|octet| octet.is_ascii_hexdigit()))
    {
        return Err(value_error(key, "ha1 must be the 32 hexadecimal digits of MD5(user:realm:password)"));
    }
    if let Some(file) = subscriber.password_file.take() {
        let path = base.join(&file);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| value_error(&key, format!("cannot read password_file {}: {error}", path.display())))?;
        subscriber.password = Some(text.lines().next().unwrap_or_default().to_owned());
    }
    if let Some(variable) = subscriber.password_env.take() {
        let password = std::env::var(&variable)
            .map_err(|_| value_error(&key, format!("the environment variable {variable} is not set")))?;
        subscriber.password = Some(password);
    }
    if let Some(number) = &mut subscriber.number {
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        if digits.is_empty() || digits.len() > 15 {
            return Err(value_error(key, format!("number {number:?} is no telephone number of 1 to 15 digits")));
        }
        *number = digits;
    }
    Ok(())
}

impl ProxySection {
    /// Digest algorithms.
    pub fn algorithms(&self) -> Result<Vec<Algorithm>, ConfigError> {
        let known = |name: &String| match Algorithm::parse(name) {
            Ok((algorithm, false)) => Ok(algorithm),
            _ => Err(value_error("proxy.digest", format!("{name:?} is none of md5, sha-256, sha-512-256"))),
        };
        let algorithms: Vec<Algorithm> = self.digest.iter().map(known).collect::<Result<_, _>>()?;
        match algorithms.is_empty() {
            true => Err(value_error("proxy.digest", "at least one of md5, sha-256, sha-512-256 is needed")),
            false => Ok(algorithms),
        }
    }
}

impl GatewaySection {
    /// Address of RTP.
    pub fn media_ip(&self) -> Result<IpAddr, ConfigError> {
        let text = self.media_address.as_deref().unwrap_or("127.0.0.1");
        text.parse().map_err(|_| value_error("gateway.media_address", format!("{text:?} is no IP address")))
    }

    /// First and last port of RTP.
    pub fn rtp_range(&self) -> Result<(u16, u16), ConfigError> {
        let text = self.rtp_ports.as_deref().unwrap_or("20000-29999");
        text.split_once('-')
            .and_then(|(first, last)| Some((first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?)))
            .filter(|(first, last)| first % 2 == 0 && *first >= 1024 && *last > *first)
            .ok_or_else(|| value_error("gateway.rtp_ports", format!("{text:?} is not like 20000-29999 (even-odd)")))
    }
}

/// Listen addresses of a role; at least one.
pub fn listen_addresses(key: &str, texts: &[String]) -> Result<Vec<ListenAddress>, ConfigError> {
    if texts.is_empty() {
        return Err(value_error(key, "at least one address is needed, such as \"udp://127.0.0.1:5060\""));
    }
    texts.iter().map(|text| ListenAddress::parse(text).map_err(|error| value_error(key, error.to_string()))).collect()
}

/// An `ip:port`.
pub fn socket_address(key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| value_error(key, format!("{text:?} is not like 127.0.0.1:3288")))
}
