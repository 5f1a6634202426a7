use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use strowger_clock::Timestamp;
use strowger_osp::limits::MAX_MESSAGE_OCTETS;
use strowger_osp::{
    AuthorizationRequest, AuthorizationResponse, Body, CapabilitiesIndication, Component, Message, OspError,
    ReauthorizationRequest, ReauthorizationResponse, Status, UsageIndication,
};

use crate::http::{Poster, TransportError, Url, UrlError};
use crate::tls::Tls;

/// How long one URL has to answer, when nothing else is said.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// Who this device is to its clearinghouse; written into every request that does not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// Customer number.
    pub customer_id: String,
    /// Device number.
    pub device_id: String,
}

/// Why there is no answer, or not the one that was wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OspClientError {
    /// None of the URLs could be asked; the last one's reason.
    #[error("clearinghouse {url} cannot be asked: {error}")]
    Unreachable {
        /// The last URL tried.
        url: String,
        /// What went wrong there.
        error: TransportError,
    },
    /// The answer is not OSP.
    #[error("clearinghouse {url} answered what cannot be read: {error}")]
    Malformed {
        /// Who answered.
        url: String,
        /// What is wrong with it.
        error: Box<OspError>,
    },
    /// The answer belongs to another request.
    #[error("clearinghouse {0} answered another request")]
    Mismatch(String),
    /// The clearinghouse says no.
    #[error("clearinghouse refused: {} {}", .0.code, .0.description)]
    Refused(Status),
}

impl OspClientError {
    /// Whether the same request may succeed later: nobody was reached, or the server has the trouble (5xx).
    pub fn is_transient(&self) -> bool {
        match self {
            OspClientError::Unreachable { .. } | OspClientError::Malformed { .. } | OspClientError::Mismatch(_) => true,
            OspClientError::Refused(status) => {
                (500..600).contains(&status.code) || status.code == Status::RATE_EXCEEDED
            }
        }
    }
}

/// A client of one clearinghouse with several URLs. Clones share connections.
#[derive(Clone, Debug)]
pub struct OspClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    urls: Vec<Url>,
    identity: ClientIdentity,
    timeout: Duration,
    poster: Poster,
    /// Index of the URL that answered last: the first to be asked.
    preferred: AtomicUsize,
    /// Message numbers: unique within the process, and, starting at the time, almost surely beyond it.
    next_id: AtomicU64,
}

/// Calendar time, now.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

impl OspClient {
    /// For these URLs (`http://host:port/osp`), the first being asked first. For `https://` see [`OspClient::with_tls`].
    ///
    /// # Errors
    /// When there is none, or one is no `http` URL.
    pub fn new<U: AsRef<str>>(urls: Vec<U>, identity: ClientIdentity) -> Result<OspClient, UrlError> {
        OspClient::with_timeout(urls, identity, ANSWER_TIMEOUT)
    }

    /// The same with another time-out for each URL than four seconds.
    ///
    /// # Errors
    /// When there is no URL, or one is no `http` URL.
    pub fn with_timeout<U: AsRef<str>>(
        urls: Vec<U>,
        identity: ClientIdentity,
        timeout: Duration,
    ) -> Result<OspClient, UrlError> {
        OspClient::build(urls, identity, timeout, None)
    }

    /// For `https://host:port/osp` as well, with what the client believes and shows.
    ///
    /// # Errors
    /// When there is no URL, one is neither `http` nor `https`, or keys and certificates do not fit together.
    pub fn with_tls<U: AsRef<str>>(
        urls: Vec<U>,
        identity: ClientIdentity,
        timeout: Duration,
        tls: &Tls,
    ) -> Result<OspClient, UrlError> {
        OspClient::build(urls, identity, timeout, Some(tls))
    }

    fn build<U: AsRef<str>>(
        urls: Vec<U>,
        identity: ClientIdentity,
        timeout: Duration,
        tls: Option<&Tls>,
    ) -> Result<OspClient, UrlError> {
        let parse = |url: &U| Url::parse(url.as_ref()).and_then(|url| url.usable(tls));
        let urls = urls.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() {
            return Err(UrlError::None);
        }
        Ok(OspClient {
            shared: Arc::new(Shared {
                urls,
                identity,
                timeout,
                poster: Poster::new(tls)?,
                preferred: AtomicUsize::new(0),
                next_id: AtomicU64::new(now().unix_nanos() / 1000),
            }),
        })
    }

    /// Who we are.
    pub fn identity(&self) -> &ClientIdentity {
        &self.shared.identity
    }

    /// Sends a message and returns its answer. The URLs are asked in turn, beginning with the one that answered last, until one answers
    /// that is not itself in trouble (status 500 to 520 in every component).
    ///
    /// # Errors
    /// See [`OspClientError`]; never `Refused`.
    pub async fn exchange(&self, message: Message) -> Result<Message, OspClientError> {
        let shared = &self.shared;
        let body = Bytes::from(message.to_xml());
        let first = shared.preferred.load(Ordering::Relaxed) % shared.urls.len().max(1);
        let mut outcome = None;
        for step in 0..shared.urls.len() {
            let index = (first + step) % shared.urls.len();
            let Some(url) = shared.urls.get(index) else { continue };
            let answer = self.ask(url, body.clone(), &message).await;
            match &answer {
                Ok(answer) if !in_trouble(answer) => {
                    shared.preferred.store(index, Ordering::Relaxed);
                    return Ok(answer.clone());
                }
                Ok(_) => tracing::warn!(%url, "clearinghouse is in trouble"),
                Err(error) => tracing::warn!(%url, %error, "clearinghouse did not answer"),
            }
            // An answer that says what the trouble is is worth more than none.
            if outcome.as_ref().is_none_or(Result::is_err) {
                outcome = Some(answer);
            }
        }
        outcome.unwrap_or_else(|| Err(OspClientError::Mismatch(String::new())))
    }

    async fn ask(&self, url: &Url, body: Bytes, request: &Message) -> Result<Message, OspClientError> {
        let shared = &self.shared;
        let answer = shared
            .poster
            .post(url, "text/plain", body, shared.timeout, MAX_MESSAGE_OCTETS)
            .await
            .map_err(|error| OspClientError::Unreachable { url: url.to_string(), error })?;
        let answer = Message::parse(&answer)
            .map_err(|error| OspClientError::Malformed { url: url.to_string(), error: Box::new(error) })?;
        if answer.message_id == request.message_id {
            Ok(answer)
        } else {
            Err(OspClientError::Mismatch(url.to_string()))
        }
    }

    /// Asks who may carry a call. Customer, device and time are filled in when they are not given.
    ///
    /// # Errors
    /// `Refused` with the clearinghouse's status when the call may not be made (403, 404, 405, …), else see [`OspClientError`].
    pub async fn authorize(&self, mut request: AuthorizationRequest) -> Result<AuthorizationResponse, OspClientError> {
        self.sign(&mut request.customer_id, &mut request.device_id, &mut request.timestamp);
        match self.single(Body::AuthorizationRequest(request)).await? {
            Body::AuthorizationResponse(answer) if answer.status.is_success() => Ok(answer),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Asks for more time for a running call.
    ///
    /// # Errors
    /// As [`OspClient::authorize`].
    pub async fn reauthorize(
        &self,
        mut request: ReauthorizationRequest,
    ) -> Result<ReauthorizationResponse, OspClientError> {
        self.sign(&mut request.customer_id, &mut request.device_id, &mut request.timestamp);
        match self.single(Body::ReauthorizationRequest(request)).await? {
            Body::ReauthorizationResponse(answer) if answer.status.is_success() => Ok(answer),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Says that the device is there.
    ///
    /// # Errors
    /// As [`OspClient::authorize`].
    pub async fn indicate_capabilities(&self, mut indication: CapabilitiesIndication) -> Result<(), OspClientError> {
        self.sign(&mut indication.customer_id, &mut indication.device_id, &mut indication.timestamp);
        match self.single(Body::CapabilitiesIndication(indication)).await? {
            Body::CapabilitiesConfirmation(answer) if answer.status.is_success() => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Reports usage in one message and says for each report whether it was taken, in order. This sends once;
    /// [`UsageReporter`](crate::UsageReporter) sends until it is taken.
    ///
    /// # Errors
    /// When there is no readable answer at all.
    pub async fn report(&self, usages: Vec<UsageIndication>) -> Result<Vec<Status>, OspClientError> {
        if usages.is_empty() {
            return Ok(Vec::new());
        }
        let mut bodies = Vec::with_capacity(usages.len());
        for mut usage in usages {
            self.sign(&mut usage.customer_id, &mut usage.device_id, &mut usage.timestamp);
            bodies.push(Body::UsageIndication(usage));
        }
        let message = self.message(bodies);
        let answer = self.exchange(message.clone()).await?;
        let status_of = |asked: &Component| {
            let given = answer.components.iter().find(|given| given.component_id == asked.component_id);
            // What is not confirmed was not taken: it is sent again.
            given
                .and_then(|given| given.body.status().cloned())
                .unwrap_or_else(|| Status::with_description(Status::TRANSIENT_PROBLEM, "not confirmed"))
        };
        Ok(message.components.iter().map(status_of).collect())
    }

    fn sign(&self, customer: &mut Option<String>, device: &mut Option<String>, timestamp: &mut Option<Timestamp>) {
        let identity = &self.shared.identity;
        customer.get_or_insert_with(|| identity.customer_id.clone());
        device.get_or_insert_with(|| identity.device_id.clone());
        timestamp.get_or_insert_with(now);
    }

    fn message(&self, bodies: Vec<Body>) -> Message {
        let number = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let component = |(index, body): (usize, Body)| Component { component_id: format!("{number}{index}"), body };
        Message {
            message_id: number.to_string(),
            random: Some((number % 1_000_000_007).to_string()),
            components: bodies.into_iter().enumerate().map(component).collect(),
        }
    }

    async fn single(&self, body: Body) -> Result<Body, OspClientError> {
        let message = self.message(vec![body]);
        let asked = message.components.first().map(|component| component.component_id.clone());
        let answer = self.exchange(message).await?;
        answer
            .components
            .into_iter()
            .find(|component| Some(&component.component_id) == asked.as_ref())
            .map(|component| component.body)
            .ok_or_else(|| OspClientError::Mismatch(self.url()))
    }

    fn unexpected(&self, body: &Body) -> OspClientError {
        match body.status() {
            Some(status) if !status.is_success() => OspClientError::Refused(status.clone()),
            _ => OspClientError::Mismatch(self.url()),
        }
    }

    fn url(&self) -> String {
        let index = self.shared.preferred.load(Ordering::Relaxed);
        self.shared.urls.get(index).map(Url::to_string).unwrap_or_default()
    }
}

/// Whether the server says of everything that it has trouble, so that another one should be asked.
fn in_trouble(answer: &Message) -> bool {
    let trouble = |component: &Component| component.body.status().is_some_and(|s| (500..=520).contains(&s.code));
    answer.components.iter().all(trouble)
}
