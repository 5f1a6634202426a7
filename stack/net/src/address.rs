//! Where to listen: `udp://127.0.0.1:5060`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use strowger_transaction::Transport;

/// A transport and a socket address to listen on.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenAddress {
    /// What is spoken on the socket.
    pub transport: Transport,
    /// The address; port 0 lets the system choose one.
    pub address: SocketAddr,
}

/// Why a text is not a listen address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `://`.
    #[error("`{0}` has no transport: write it as `udp://127.0.0.1:5060` or `tcp://127.0.0.1:5060`")]
    NoTransport(String),
    /// Something before `://` that is not a transport.
    #[error("`{given}` in `{text}` is not a transport: use udp, tcp, tls, ws or wss")]
    UnknownTransport {
        /// What stood before `://`.
        given: String,
        /// The whole text.
        text: String,
    },
    /// A host name, or no address at all.
    #[error("`{0}` does not end in an IP address and port: write it as `udp://127.0.0.1:5060` or `udp://[::1]:5060`")]
    NoAddress(String),
}

impl ListenAddress {
    /// `udp://` on an address.
    pub fn udp(address: SocketAddr) -> ListenAddress {
        ListenAddress { transport: Transport::Udp, address }
    }

    /// `tcp://` on an address.
    pub fn tcp(address: SocketAddr) -> ListenAddress {
        ListenAddress { transport: Transport::Tcp, address }
    }

    /// Reads `transport://ip[:port]`; a missing port is the transport's default. Host names are refused: what is listened
    /// on must not depend on a resolver.
    pub fn parse(text: &str) -> Result<ListenAddress, AddressError> {
        let Some((name, rest)) = text.split_once("://") else {
            return Err(AddressError::NoTransport(text.to_owned()));
        };
        let Some(transport) = Transport::parse(name) else {
            return Err(AddressError::UnknownTransport { given: name.to_owned(), text: text.to_owned() });
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let address = rest.parse::<SocketAddr>().ok().or_else(|| {
            let bare = rest.strip_prefix('[').and_then(|r| r.strip_suffix(']')).unwrap_or(rest);
            bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, transport.default_port()))
        });
        match address {
            Some(address) => Ok(ListenAddress { transport, address }),
            None => Err(AddressError::NoAddress(text.to_owned())),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<ListenAddress, AddressError> {
        ListenAddress::parse(text)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport.as_str().to_ascii_lowercase(), self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["udp://127.0.0.1:5060", "tcp://[::1]:5070", "tls://10.0.0.1:5061", "ws://0.0.0.0:8088"] {
            assert_eq!(ListenAddress::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(ListenAddress::parse("UDP://127.0.0.1").unwrap().address.port(), 5060);
        assert_eq!(ListenAddress::parse("tls://[::1]").unwrap().address.port(), 5061);
    }

    #[test]
    fn refuses_with_a_sentence() {
        assert!(matches!(ListenAddress::parse("127.0.0.1:5060"), Err(AddressError::NoTransport(_))));
        assert!(matches!(ListenAddress::parse("sctp://127.0.0.1:5060"), Err(AddressError::UnknownTransport { .. })));
        assert!(matches!(ListenAddress::parse("udp://localhost:5060"), Err(AddressError::NoAddress(_))));
        assert!(ListenAddress::parse("udp://localhost:5060").unwrap_err().to_string().contains("udp://127.0.0.1:5060"));
        assert!(matches!(ListenAddress::parse("udp://127.0.0.1:99999"), Err(AddressError::NoAddress(_))));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = ListenAddress::parse(&text);
        }
    }
}
