use std::net::SocketAddr;

pub use strowger_sip::digest::Login;
use strowger_transaction::{Timing, Transport};

/// An address of ours that peers can reach.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct LocalAddress {
    /// By which transport.
    pub transport: Transport,
    /// Written into Via and Contact.
    pub address: SocketAddr,
}

/// What a user agent is told at its making.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our addresses; the first of a transport (and address family) is used for it.
    pub local: Vec<LocalAddress>,
    /// User part of our Contact; may be empty.
    pub contact_user: String,
    /// User-Agent and Server header.
    pub user_agent: String,
    /// Base timers, the same as the layer's.
    pub timing: Timing,
    /// Calls at a time; one more incoming is answered [`Config::busy_status`], one more outgoing refused.
    pub calls_max: usize,
    /// 486 for a telephone, 503 for a gateway.
    pub busy_status: u16,
    /// Registrations at a time.
    pub registrations_max: usize,
    /// Early dialogs of one call (branches of a fork); further ones are ignored until they answer.
    pub forks_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            local: Vec::new(),
            contact_user: String::new(),
            user_agent: "strowger".to_owned(),
            timing: Timing::default(),
            calls_max: 4096,
            busy_status: 486,
            registrations_max: 64,
            forks_max: 16,
        }
    }
}
