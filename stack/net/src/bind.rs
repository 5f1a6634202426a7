//! Sockets, opened where the caller stands.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use strowger_sip::Message;
use strowger_transaction::{Flow, Transport};

use crate::address::ListenAddress;
use crate::limits::{Counters, Limits};

/// Room asked of the kernel for datagrams that wait: a burst of calls must not be lost while the machine is busy.
const UDP_BUFFER_BYTES: usize = 4 << 20;
const TCP_BACKLOG: i32 = 1024;

/// Which way a message went.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a peer to us.
    In,
    /// From us to a peer.
    Out,
}

/// Sees every message that passes the endpoint: captures, ladders. It runs on the path of signalling and must not wait.
pub type Tap = Arc<dyn Fn(Direction, &Message, &Flow) + Send + Sync>;

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another socket has it.
    #[error("{0} is already in use: stop the program that listens there, or choose another port")]
    Taken(ListenAddress),
    /// The machine (or network namespace) has no such address.
    #[error("{0} cannot be listened on: this machine has no such address; choose one that `ip address` shows")]
    NoSuchAddress(ListenAddress),
    /// Ports below 1024 without the right to them.
    #[error("{0} may not be opened by this user: choose a port above 1023, or grant CAP_NET_BIND_SERVICE")]
    NotAllowed(ListenAddress),
    /// A transport that this build does not speak.
    #[error("{0} cannot be listened on: this version speaks udp and tcp")]
    UnsupportedTransport(ListenAddress),
    /// Anything else the system said.
    #[error("{address} cannot be listened on: {source}")]
    System {
        /// What was to be bound.
        address: ListenAddress,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    fn of(address: ListenAddress, source: io::Error) -> BindError {
        match source.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken(address),
            io::ErrorKind::AddrNotAvailable => BindError::NoSuchAddress(address),
            io::ErrorKind::PermissionDenied => BindError::NotAllowed(address),
            _ => BindError::System { address, source },
        }
    }
}

/// Sockets that are bound but not yet served. They were opened on the calling thread, hence in its network namespace.
pub struct BoundEndpoint {
    pub(crate) udp: Vec<(std::net::UdpSocket, SocketAddr)>,
    pub(crate) tcp: Vec<(std::net::TcpListener, SocketAddr)>,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
    pub(crate) tap: Option<Tap>,
    pub(crate) bound: Vec<ListenAddress>,
}

impl BoundEndpoint {
    /// Opens every address or none. Needs no runtime.
    pub fn bind(addresses: &[ListenAddress]) -> Result<BoundEndpoint, BindError> {
        let mut endpoint = BoundEndpoint {
            udp: Vec::new(),
            tcp: Vec::new(),
            limits: Limits::default(),
            counters: Arc::default(),
            tap: None,
            bound: Vec::new(),
        };
        for listen in addresses {
            let system = |source| BindError::of(*listen, source);
            let local = match listen.transport {
                Transport::Udp => {
                    let socket = udp_socket(listen.address).map_err(system)?;
                    let local = socket.local_addr().map_err(system)?;
                    endpoint.udp.push((socket, local));
                    local
                }
                Transport::Tcp => {
                    let listener = tcp_listener(listen.address).map_err(system)?;
                    let local = listener.local_addr().map_err(system)?;
                    endpoint.tcp.push((listener, local));
                    local
                }
                _ => return Err(BindError::UnsupportedTransport(*listen)),
            };
            endpoint.bound.push(ListenAddress { transport: listen.transport, address: local });
        }
        Ok(endpoint)
    }

    /// The addresses in the order they were given, with the ports the system chose.
    pub fn local_addresses(&self) -> &[ListenAddress] {
        &self.bound
    }

    /// Other maxima than [`Limits::default`].
    pub fn with_limits(mut self, limits: Limits) -> BoundEndpoint {
        self.limits = limits;
        self
    }

    /// Lets `tap` see every message.
    pub fn with_tap(mut self, tap: Tap) -> BoundEndpoint {
        self.tap = Some(tap);
        self
    }

    /// The counters, to keep while the endpoint is served.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
}

fn udp_socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // the kernel may give less than asked; that is no reason to fail
    let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(UDP_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    crate::icmp::enable(&socket, address);
    Ok(socket.into())
}

fn tcp_listener(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // a restart must not wait for connections of the last run in TIME_WAIT; two listeners still exclude each other
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(TCP_BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_one_sentence_with_what_to_do() {
        for scheme in ["udp", "tcp"] {
            let first =
                BoundEndpoint::bind(&[ListenAddress::parse(&format!("{scheme}://127.0.0.1:0")).unwrap()]).unwrap();
            let taken = first.local_addresses()[0];
            let error = BoundEndpoint::bind(&[taken]).err().unwrap();
            assert!(matches!(error, BindError::Taken(_)));
            assert!(error.to_string().starts_with(&taken.to_string()));
            assert!(error.to_string().contains("choose another port"));
        }
    }

    #[test]
    fn foreign_addresses_and_transports_are_named() {
        let foreign = ListenAddress::parse("udp://192.0.2.1:5060").unwrap();
        assert!(matches!(BoundEndpoint::bind(&[foreign]), Err(BindError::NoSuchAddress(_))));
        let tls = ListenAddress::parse("tls://127.0.0.1:0").unwrap();
        assert!(matches!(BoundEndpoint::bind(&[tls]), Err(BindError::UnsupportedTransport(_))));
    }
}
