//! HTTP/1.1 POST to the clearinghouse, for what is not OSP: the authority's certificate and charge messages.

use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Octets of an answer.
const MAX_ANSWER_OCTETS: usize = 64 * 1024;

/// Why a POST has no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    #[error("{0} is not a URL that can be asked")]
    Url(String),
    #[error("connection failed: {0}")]
    Connection(String),
    #[error("no answer within {TIMEOUT:?}")]
    TimedOut,
    #[error("HTTP status {0}")]
    Status(u16),
}

impl PostError {
    /// Whether the same request may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            PostError::Url(_) => false,
            PostError::Connection(_) | PostError::TimedOut => true,
            PostError::Status(status) => *status >= 500,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Poster {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Poster {
    pub(crate) fn new() -> Poster {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(KEEP_ALIVE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Poster { client }
    }

    /// Posts to another path of an OSP URL's server and returns the body of a 200.
    pub(crate) async fn post(
        &self,
        osp_url: &str,
        path: &str,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<Bytes, PostError> {
        let wrong = || PostError::Url(osp_url.to_owned());
        let mut parts = osp_url.parse::<Uri>().map_err(|_| wrong())?.into_parts();
        parts.path_and_query = Some(path.parse::<PathAndQuery>().map_err(|_| wrong())?);
        let request = http::Request::post(Uri::from_parts(parts).map_err(|_| wrong())?)
            .header(http::header::CONTENT_TYPE, content_type)
            .body(Full::new(body))
            .map_err(|_| wrong())?;
        let exchange = async {
            let response =
                self.client.request(request).await.map_err(|error| PostError::Connection(error.to_string()))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_OCTETS)
                .collect()
                .await
                .map_err(|error| PostError::Connection(error.to_string()))?
                .to_bytes();
            if status == http::StatusCode::OK { Ok(body) } else { Err(PostError::Status(status.as_u16())) }
        };
        tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or(Err(PostError::TimedOut))
    }
}
