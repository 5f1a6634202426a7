//! What the reader of a ladder calls the machines in it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::model::Role;

/// Names for addresses, interfaces and COPS clients. More precise entries win: a socket before its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    hosts: BTreeMap<IpAddr, String>,
    sockets: BTreeMap<SocketAddr, String>,
    point_codes: BTreeMap<u16, String>,
    interfaces: BTreeMap<String, String>,
    peps: BTreeMap<String, String>,
}

impl Names {
    /// No names: parties are called by their roles and addresses.
    pub fn new() -> Names {
        Names::default()
    }

    /// Everything at this address is one machine of this name.
    #[must_use]
    pub fn host(mut self, address: IpAddr, name: &str) -> Names {
        self.hosts.insert(address, name.to_owned());
        self
    }

    /// What listens here has this name. For roles that share an address.
    #[must_use]
    pub fn socket(mut self, address: SocketAddr, name: &str) -> Names {
        self.sockets.insert(address, name.to_owned());
        self
    }

    /// A signalling point of the telephone network.
    #[must_use]
    pub fn point_code(mut self, code: u16, name: &str) -> Names {
        self.point_codes.insert(code, name.to_owned());
        self
    }

    /// The router that an interface of the capture belongs to, by the interface's name or the part of it before `/`.
    #[must_use]
    pub fn interface(mut self, interface: &str, router: &str) -> Names {
        self.interfaces.insert(interface.to_owned(), router.to_owned());
        self
    }

    /// The COPS client that opens with this PEPID.
    #[must_use]
    pub fn pep(mut self, pep_id: &str, name: &str) -> Names {
        self.peps.insert(pep_id.to_owned(), name.to_owned());
        self
    }

    pub(crate) fn of_socket(&self, address: &SocketAddr) -> Option<&str> {
        self.sockets.get(address).map(String::as_str)
    }

    pub(crate) fn of_host(&self, address: &IpAddr) -> Option<&str> {
        self.hosts.get(address).map(String::as_str)
    }

    pub(crate) fn of_point_code(&self, code: u16) -> Option<&str> {
        self.point_codes.get(&code).map(String::as_str)
    }

    pub(crate) fn of_interface(&self, interface: &str) -> Option<&str> {
        let whole = self.interfaces.get(interface);
        whole.or_else(|| self.interfaces.get(interface.split_once('/')?.0)).map(String::as_str)
    }

    pub(crate) fn of_pep(&self, pep_id: &str) -> Option<&str> {
        self.peps.get(pep_id).map(String::as_str)
    }
}

/// The role that a name speaks of, if it does.
pub(crate) fn role_of(name: &str) -> Option<Role> {
    const WORDS: &[(&str, Role)] = &[
        ("router", Role::Router),
        ("proxy", Role::Proxy),
        ("policy", Role::Policy),
        ("pdp", Role::Policy),
        ("clearing", Role::Clearinghouse),
        ("gateway", Role::Gateway),
        ("exchange", Role::Exchange),
        ("switch", Role::Exchange),
    ];
    let lower = name.to_ascii_lowercase();
    WORDS.iter().find(|(word, _)| lower.contains(word)).map(|(_, role)| *role)
}
