//! What the core is told at its making, and again on reload.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use strowger_clock::{Moment, Timestamp};
use strowger_transaction::Transport;

/// An address that the proxy listens on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Its transport.
    pub transport: Transport,
    /// Where it is bound.
    pub address: SocketAddr,
    /// `host:port` that peers see; the bound address when nothing else is configured.
    pub advertised: String,
}

/// What is stored of a password (RFC 7616 §3.4.2: H(user:realm:password) is all that a server needs).
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordHash {
    /// The password: every algorithm can be offered.
    Clear(String),
    /// MD5 of `user:realm:password`, lower-case hex: only MD5 can be offered.
    Ha1Md5(String),
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// A user of the domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscriber {
    /// Secret.
    pub password: PasswordHash,
    /// E.164 digits without plus under which the user calls the telephone network, if any.
    pub number: Option<String>,
}

/// Maxima. Reaching one is answered, never silent.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Contacts per address of record; beyond it a REGISTER is answered 403.
    pub bindings_per_aor: usize,
    /// Bindings in all; beyond it a REGISTER is answered 503.
    pub bindings_total: usize,
    /// Calls at a time; beyond it an INVITE is answered 503.
    pub calls: usize,
    /// Shortest registration accepted (RFC 3261 §10.2.8), else 423.
    pub expires_min_seconds: u32,
    /// Longest registration granted.
    pub expires_max_seconds: u32,
    /// Granted when a REGISTER names no time.
    pub expires_default_seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bindings_per_aor: 10,
            bindings_total: 1_000_000,
            calls: 100_000,
            expires_min_seconds: 10,
            expires_max_seconds: 86_400,
            expires_default_seconds: 3_600,
        }
    }
}

/// Configuration of the core.
#[derive(Clone, Debug)]
pub struct Config {
    /// Domains that are ours, lower case; the first is the realm of challenges.
    pub domains: Vec<String>,
    /// Every listener of ours; not empty.
    pub listeners: Vec<Listener>,
    /// Users by name.
    pub subscribers: HashMap<String, Subscriber>,
    /// Key of nonces and of the cookie in our Record-Route. Kept over restarts by the driver.
    pub secret: [u8; 32],
    /// Digest algorithms that are offered, in any order: the strongest is always offered first (RFC 8760 §2.4).
    pub digest: Vec<strowger_sip::digest::Algorithm>,
    /// Whether a clearinghouse is configured: without it telephone numbers are answered 404.
    pub clearing: bool,
    /// Whether a policy server is configured: without it media is never held.
    pub policy: bool,
    /// Whether a call goes on, unmarked, while no policy server answers.
    pub policy_optional: bool,
    /// Most destinations asked of the clearinghouse.
    pub destinations_max: u32,
    /// Without any answer to an INVITE for this long, a gateway counts as down and the next is tried. A live one
    /// answers 100 within 200 ms (RFC 3261 §17.2.1).
    pub gateway_silence: Duration,
    /// Timer C (RFC 3261 §16.6 step 11): longest ringing.
    pub timer_c: Duration,
    /// A call is closed in the books this long after its granted time at the latest.
    pub call_grace: Duration,
    /// One moment as both clocks show it: moments are turned into timestamps by it.
    pub wall: (Moment, Timestamp),
    /// Maxima.
    pub limits: Limits,
}

impl Config {
    /// The realm of our challenges.
    pub fn realm(&self) -> &str {
        self.domains.first().map_or("strowger", String::as_str)
    }

    /// Wall-clock time of a moment.
    pub fn timestamp(&self, moment: Moment) -> Timestamp {
        let (then, wall) = self.wall;
        match moment.checked_since(then) {
            Some(after) => wall + after,
            None => Timestamp::from_unix_nanos(
                wall.unix_nanos().saturating_sub(then.as_nanos().saturating_sub(moment.as_nanos())),
            ),
        }
    }

    /// Whether a URI's host (and port) names us: one of our domains, or a listener.
    pub fn is_ours(&self, host: &str, port: Option<u16>) -> bool {
        let host = host.trim_end_matches('.');
        if self.domains.iter().any(|domain| domain.eq_ignore_ascii_case(host)) {
            return true;
        }
        self.is_listener(host, port)
    }

    /// Whether host and port are a listener of ours, as bound or as advertised.
    pub fn is_listener(&self, host: &str, port: Option<u16>) -> bool {
        self.listeners.iter().any(|listener| {
            let port = port.unwrap_or(listener.transport.default_port());
            let written = format!("{host}:{port}");
            listener.advertised.eq_ignore_ascii_case(&written)
                || (listener.advertised.eq_ignore_ascii_case(host) && port == listener.transport.default_port())
                || host
                    .trim_matches(['[', ']'])
                    .parse()
                    .is_ok_and(|ip: std::net::IpAddr| SocketAddr::new(ip, port) == listener.address)
        })
    }

    /// The listener of a transport that can reach an address; `near` is preferred.
    pub fn listener_for(&self, transport: Transport, peer: SocketAddr, near: Option<SocketAddr>) -> Option<&Listener> {
        let fits =
            |listener: &&Listener| listener.transport == transport && listener.address.is_ipv4() == peer.is_ipv4();
        self.listeners
            .iter()
            .filter(fits)
            .find(|listener| Some(listener.address) == near)
            .or_else(|| self.listeners.iter().find(fits))
    }
}
