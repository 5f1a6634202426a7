//! Listening addresses.

use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Why a listening address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Not `http://ip:port/osp`.
    #[error("clearinghouse: listen {0:?} must be like http://127.0.0.1:5045/osp")]
    Url(String),
    /// TLS is not built into this listener yet.
    #[error("clearinghouse: listen {0:?}: https is not served yet, use http:// or put a TLS proxy before it")]
    Tls(String),
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
    pub(crate) listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl BoundHttp {
    /// Listens on URLs like `http://127.0.0.1:5045/osp`. Port 0: any free one. Needs a tokio runtime.
    pub async fn bind(urls: &[String]) -> Result<BoundHttp, BindError> {
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for url in urls {
            let address = parse(url)?;
            let failed = |error| BindError::Address { address, error };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            addresses.push(listener.local_addr().map_err(failed)?);
            listeners.push(listener);
        }
        Ok(BoundHttp { listeners, addresses })
    }

    /// The addresses, with the ports that were chosen.
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The URLs to ask at: `http://ip:port/osp`.
    pub fn urls(&self) -> Vec<String> {
        self.addresses.iter().map(|address| format!("http://{address}/osp")).collect()
    }
}

fn parse(url: &str) -> Result<SocketAddr, BindError> {
    if url.starts_with("https://") {
        return Err(BindError::Tls(url.to_owned()));
    }
    let malformed = || BindError::Url(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(malformed)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, "osp"));
    if path != "osp" {
        return Err(malformed());
    }
    let authority = authority.replace("localhost", "127.0.0.1");
    authority.parse().map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_urls() {
        assert!(parse("http://127.0.0.1:5045/osp").is_ok());
        assert!(parse("http://[::1]:5045/osp").is_ok());
        assert!(parse("http://localhost:5045").is_ok());
        assert!(matches!(parse("https://127.0.0.1:1443/osp"), Err(BindError::Tls(_))));
        for bad in ["127.0.0.1:5045", "http://127.0.0.1/osp", "http://127.0.0.1:5045/other", "ftp://x"] {
            assert!(matches!(parse(bad), Err(BindError::Url(_))), "{bad}");
        }
    }
}
