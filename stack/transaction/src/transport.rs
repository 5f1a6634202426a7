//! Where messages come from and go to, as the transaction layer sees it.

use std::fmt;
use std::net::SocketAddr;

/// A transport of SIP, as a Via names it (RFC 3261 §20.42, RFC 7118 §5).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// Datagrams: the only unreliable one.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// Whether the transport itself retransmits (RFC 3261 §17: timers A, E and G then rest, D, I, J and K are zero).
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp)
    }

    /// The contract's short name for [`Transport::is_reliable`].
    pub const fn reliable(self) -> bool {
        self.is_reliable()
    }

    /// The name in a Via's sent-protocol: `UDP`, `TCP`, `TLS`, `WS`, `WSS`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// Reads a Via's transport, in any case; `None` for one we do not speak.
    pub fn parse(text: &str) -> Option<Transport> {
        [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss]
            .into_iter()
            .find(|transport| transport.as_str().eq_ignore_ascii_case(text))
    }

    /// The port meant when a sent-by names none (RFC 3261 §18.2.2, RFC 7118 §5).
    pub const fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names a flow: a connection, or a datagram socket. Given out by the transport driver, never reused.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlowId(pub u64);

/// What a message came in by.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    /// The connection or datagram socket.
    pub id: FlowId,
    /// Its transport.
    pub transport: Transport,
    /// Our end.
    pub local: SocketAddr,
    /// The address that the message came from.
    pub peer: SocketAddr,
}

impl Flow {
    /// Back the way the message came: the same flow, to the address that it came from.
    pub fn reply_target(&self) -> Target {
        Target { transport: self.transport, address: self.peer, flow: Some(self.id), local: Some(self.local) }
    }
}

/// Where a message is to be sent.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// By which transport.
    pub transport: Transport,
    /// To which address. For a flow that is still open this is its peer; when it has closed, a new one is opened there.
    pub address: SocketAddr,
    /// The flow to use while it is open.
    pub flow: Option<FlowId>,
    /// The listener to send from, where that matters (symmetric response routing, RFC 3581 §4).
    pub local: Option<SocketAddr>,
}

impl Target {
    /// A target with no flow yet and any listener.
    pub const fn new(transport: Transport, address: SocketAddr) -> Self {
        Target { transport, address, flow: None, local: None }
    }
}

/// What the Via that we push says besides transport and branch.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ViaSpec {
    /// `host` or `host:port` under which responses reach us (RFC 3261 §18.1.1); an IPv6 address in brackets.
    pub sent_by: String,
    /// Appended to the branch after a dot: what a proxy wants to find there again, such as the hash by which it knows a
    /// loop (RFC 3261 §16.6 step 8, RFC 5393 §4.2.1). Token characters only; may be empty.
    pub branch_suffix: String,
}

impl ViaSpec {
    /// A sent-by and nothing more.
    pub fn new(sent_by: impl Into<String>) -> Self {
        ViaSpec { sent_by: sent_by.into(), branch_suffix: String::new() }
    }
}

impl From<SocketAddr> for ViaSpec {
    fn from(address: SocketAddr) -> Self {
        ViaSpec::new(address.to_string())
    }
}
