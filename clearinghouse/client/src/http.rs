use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::tls::{Tls, TlsError, nobody};

/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// An `http://` or `https://` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(http::Uri);

/// Why a URL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL with a host.
    #[error("{0:?} is not a URL such as http://127.0.0.1:5045/osp")]
    Malformed(String),
    /// Neither http nor https.
    #[error("{0:?}: only http:// and https:// are supported")]
    Scheme(String),
    /// https, and nothing that says whom to believe.
    #[error("{0:?}: https:// needs the authority's certificate, enroll the device first")]
    NoTrust(String),
    /// The keys or certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No URL at all.
    #[error("no clearinghouse URL is given")]
    None,
}

impl Url {
    /// Reads it.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let malformed = || UrlError::Malformed(text.to_owned());
        let uri: http::Uri = text.parse().map_err(|_| malformed())?;
        if uri.host().is_none_or(str::is_empty) || uri.scheme().is_none() {
            return Err(malformed());
        }
        match uri.scheme_str() {
            Some("http" | "https") => Ok(Url(uri)),
            _ => Err(UrlError::Scheme(text.to_owned())),
        }
    }

    /// Whether it is an `https://` URL.
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// The URL, when it can be asked with or without TLS.
    pub(crate) fn usable(self, tls: Option<&Tls>) -> Result<Url, UrlError> {
        if self.is_https() && tls.is_none() { Err(UrlError::NoTrust(self.to_string())) } else { Ok(self) }
    }

    /// The enrollment address beside an OSP address: the path `/osp` becomes `/tep`, any other is left alone.
    pub fn for_enrollment(&self) -> Url {
        if !matches!(self.0.path(), "/osp" | "/osp/" | "/" | "") {
            return self.clone();
        }
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/tep"));
        http::Uri::from_parts(parts).map_or_else(|_| self.clone(), Url)
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The server could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection, or it broke.
    #[error("connection failed: {0}")]
    Connection(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// An HTTP status other than 200.
    #[error("HTTP status {0}: {1}")]
    Status(u16, String),
    /// The answer is longer than allowed, or broke off.
    #[error("answer cannot be read: {0}")]
    Body(String),
}

/// HTTP/1.1 with kept connections, over TLS where the URL says so.
#[derive(Clone, Debug)]
pub(crate) struct Poster {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Poster {
    pub(crate) fn new(tls: Option<&Tls>) -> Result<Poster, TlsError> {
        let config = tls.map_or_else(nobody, Tls::client_config)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(KEEP_ALIVE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Poster { client })
    }

    /// Posts and returns the body of a 200.
    pub(crate) async fn post(
        &self,
        url: &Url,
        content_type: &'static str,
        body: Bytes,
        timeout: Duration,
        max_octets: usize,
    ) -> Result<Bytes, TransportError> {
        let request = http::Request::post(url.0.clone())
            .header(http::header::CONTENT_TYPE, content_type)
            .body(Full::new(body))
            .map_err(|error| TransportError::Connection(error.to_string()))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| connection(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), max_octets)
                .collect()
                .await
                .map_err(|error| TransportError::Body(error.to_string()))?
                .to_bytes();
            if status == http::StatusCode::OK {
                return Ok(body);
            }
            let said: String = String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(200).collect();
            Err(TransportError::Status(status.as_u16(), said))
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(TransportError::TimedOut(timeout)))
    }
}

/// The whole chain of causes in one line: the outermost alone says "client error".
fn connection(error: &(dyn std::error::Error + 'static)) -> TransportError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    TransportError::Connection(text)
}
