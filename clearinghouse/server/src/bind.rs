//! Listening addresses.

use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpListener;

/// Why a listening address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Neither `http://ip:port/osp` nor `https://ip:port/osp`.
    #[error("clearinghouse: listen {0:?} must be like http://127.0.0.1:5045/osp or https://127.0.0.1:1443/osp")]
    Url(String),
    /// The address is taken or not ours.
    #[error(
        "clearinghouse: cannot listen on {address}: {error}; choose another port under [clearinghouse] listen, or stop the program that has it"
    )]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
}

/// Sockets that listen, before anything is served: all addresses are known to be free, or nothing is started.
pub struct BoundHttp {
    pub(crate) listeners: Vec<Listener>,
    addresses: Vec<SocketAddr>,
}

pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    /// For `https://`: the names by which the server is reached, for its certificate.
    pub(crate) names: Option<Vec<String>>,
}

impl BoundHttp {
    /// Listens on URLs like `http://127.0.0.1:5045/osp` and `https://127.0.0.1:1443/osp`. Port 0: any free one. Needs a tokio runtime.
    pub async fn bind(urls: &[String]) -> Result<BoundHttp, BindError> {
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for url in urls {
            let (https, address) = parse(url)?;
            let failed = |error| BindError::Address { address, error };
            let socket = TcpListener::bind(address).await.map_err(failed)?;
            addresses.push(socket.local_addr().map_err(failed)?);
            listeners.push(Listener { socket, names: https.then(|| names(address.ip())) });
        }
        Ok(BoundHttp { listeners, addresses })
    }

    /// The addresses, with the ports that were chosen.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The URLs to ask at: `http://ip:port/osp`, `https://ip:port/osp`.
    pub fn urls(&self) -> Vec<String> {
        let scheme = |listener: &Listener| if listener.names.is_some() { "https" } else { "http" };
        let bound = self.listeners.iter().zip(&self.addresses);
        bound.map(|(listener, address)| format!("{}://{address}/osp", scheme(listener))).collect()
    }
}

/// Whether it is `https`, and where to listen.
fn parse(url: &str) -> Result<(bool, SocketAddr), BindError> {
    let malformed = || BindError::Url(url.to_owned());
    let (https, rest) = match url.strip_prefix("https://") {
        Some(rest) => (true, rest),
        None => (false, url.strip_prefix("http://").ok_or_else(malformed)?),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, "osp"));
    if path != "osp" {
        return Err(malformed());
    }
    let authority = authority.replace("localhost", "127.0.0.1");
    authority.parse().map(|address| (https, address)).map_err(|_| malformed())
}

/// The names under which a server that listens here is reached from the same machine, and the address itself.
fn names(address: IpAddr) -> Vec<String> {
    if address.is_unspecified() || address.is_loopback() {
        return ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    }
    vec![address.to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_urls() {
        assert!(parse("http://127.0.0.1:5045/osp").is_ok());
        assert!(parse("http://[::1]:5045/osp").is_ok());
        assert!(parse("http://localhost:5045").is_ok());
        assert!(matches!(parse("http://127.0.0.1:1443/osp"), Ok((false, _))));
        assert!(matches!(parse("https://127.0.0.1:1443/osp"), Ok((true, _))));
        for bad in ["127.0.0.1:5045", "http://127.0.0.1/osp", "http://127.0.0.1:5045/other", "ftp://x"] {
            assert!(matches!(parse(bad), Err(BindError::Url(_))), "{bad}");
        }
    }

    #[test]
    fn names_of_a_listener() {
        assert_eq!(names(IpAddr::from([192, 0, 2, 1])), ["192.0.2.1"]);
        for here in [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0])] {
            assert_eq!(names(here), ["localhost", "127.0.0.1", "::1"]);
        }
    }
}
