//! The clearinghouse role: OSP over HTTP and HTTPS, and behind it routing, money and records.
//!
//! **What comes in:** OSP messages ([`Clearinghouse::handle`], or `POST /osp`), enrollment (`POST /tep`), charge messages (`POST /charging/…`),
//! and a configuration.
//!
//! **What goes out:** the answers; [`Event`]s as things happen; accounts, transfers, records and authorizations to read.
//!
//! **What it never does:** answer before everything the answer depends on is on disk; authorize a call without reserving its price; take a
//! report twice; overdraw an account; wait while it holds the books; believe a device certificate that it did not issue or has revoked.
//!
//! **Sources:** ETSI TS 101 321 (all exchanges), RFC 9110 and 9112 for HTTP, RFC 8446 and 5246 for TLS (through rustls).
//!
//! How many of each: one [`Clearinghouse`] per process; one `Books` behind one lock that is held for microseconds and never across an await; one
//! writer thread in the store; one sweeper task; a task per connection.

mod authorize;
mod bind;
mod books;
mod certificates;
mod charge;
mod config;
mod enroll;
mod events;
mod http;
mod number;
mod open;
mod read;
mod reauthorize;
mod settle;
mod tls;
mod usage;

pub use bind::{BindError, BoundHttp};
pub use certificates::RevokeError;
pub use charge::ChargeRefused;
pub use config::{ClearinghouseConfig, ConfigError, CustomerConfig, CustomerRole, DeviceConfig, RouteConfig};
pub use events::{EVENTS_BUFFERED, Event};
pub use http::{MAXIMUM_BODY_OCTETS, MAXIMUM_CONNECTIONS, serve};
pub use open::OpenError;
pub use read::{AccountView, LiveBill, Status as Gauges};
pub use tls::HANDSHAKE_TIMEOUT;

use books::Books;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strowger_clock::{Moment, Timestamp};
use strowger_enrollment::Authority;
use strowger_net::SystemClock;
use strowger_osp::{Body, Component, Message, Status};
use strowger_routing::Table;
use strowger_store::{Durable, Store, StoreError};
use strowger_token::{Signer, Verifier};
use tokio::sync::broadcast;

/// Who sent a message, as far as the transport knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Where it came from; `None` inside the process.
    pub address: Option<SocketAddr>,
    /// Customer and device by the TLS client certificate, where there was one. A message must not claim to be from another device.
    pub certified: Option<(String, String)>,
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time.
    fn now(&self) -> Moment;
    /// Calendar time.
    fn timestamp(&self) -> Timestamp;
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        SystemClock::now(self)
    }
    fn timestamp(&self) -> Timestamp {
        SystemClock::timestamp(self)
    }
}

/// The clearinghouse.
pub struct Clearinghouse {
    config: ClearinghouseConfig,
    table: Table,
    store: Arc<dyn Store>,
    books: Mutex<Books>,
    clock: Arc<dyn Clock>,
    authority: Authority,
    signer: Signer,
    verifier: Verifier,
    events: broadcast::Sender<Event>,
}

/// An answer that may leave when what it depends on is durable.
struct Prepared {
    body: Option<Body>,
    durable: Option<Durable>,
    events: Vec<Event>,
}

impl Prepared {
    fn now(body: Body) -> Prepared {
        Prepared { body: Some(body), durable: None, events: Vec::new() }
    }
}

impl Clearinghouse {
    /// Opens the books: reads the store, proves that the ledger balances, opens accounts of new customers, makes the certificate authority the
    /// first time. Fails with one clear sentence and changes nothing when the configuration is wrong or the books do not balance.
    pub async fn open(config: ClearinghouseConfig, store: Arc<dyn Store>) -> Result<Arc<Clearinghouse>, OpenError> {
        Self::open_with_clock(config, store, Arc::new(SystemClock::new())).await
    }

    /// The same with a clock of one's own: a simulation's.
    pub async fn open_with_clock(
        config: ClearinghouseConfig,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Clearinghouse>, OpenError> {
        open::open(config, store, clock).await.map(Arc::new)
    }

    /// Answers a message. Every request and indication in it gets one answer, in order; answers among them are ignored.
    pub async fn handle(&self, message: Message, peer: &Peer) -> Message {
        let mut prepared = Vec::with_capacity(message.components.len());
        for component in &message.components {
            prepared.push(self.component(component, peer).await);
        }
        // nothing leaves before all of it is on disk: one message is one answer
        let mut answers = Vec::with_capacity(prepared.len());
        for (component, prepared) in message.components.iter().zip(prepared) {
            let written = match prepared.durable {
                Some(durable) => durable.await,
                None => Ok(()),
            };
            let body = match written {
                Ok(()) => {
                    prepared.events.into_iter().for_each(|event| self.emit(event));
                    prepared.body
                }
                Err(error) => component.body.kind().refusal(unavailable(&error), self.timestamp()),
            };
            answers.extend(body.map(|body| Component { component_id: component.component_id.clone(), body }));
        }
        message.answer(answers)
    }

    async fn component(&self, component: &Component, peer: &Peer) -> Prepared {
        let refused = |status: Status| {
            let (customer, _) = component.body.sender();
            Prepared {
                body: component.body.kind().refusal(status.clone(), self.timestamp()),
                durable: None,
                events: vec![Event::Refused {
                    customer: customer.unwrap_or_default().to_owned(),
                    status: status.code,
                    description: status.description,
                }],
            }
        };
        let party = match self.authenticate(&component.body, peer).await {
            Ok(Some(party)) => party,
            Ok(None) => return Prepared { body: None, durable: None, events: Vec::new() },
            Err(status) => return refused(status),
        };
        let prepared = match &component.body {
            Body::AuthorizationRequest(request) => self.authorize(request, &party),
            Body::ReauthorizationRequest(request) => self.reauthorize(request, &party),
            Body::AuthorizationIndication(indication) => self.confirm_authorization(indication, &party),
            Body::UsageIndication(indication) => self.usage(indication, &party, component).await,
            Body::CapabilitiesIndication(indication) => Ok(self.capabilities(indication, &party)),
            // prices of the dial plan are agreed elsewhere; the offer is taken note of
            Body::PricingIndication(_) => Ok(self.confirmed(component)),
            _ => return Prepared { body: None, durable: None, events: Vec::new() },
        };
        prepared.unwrap_or_else(refused)
    }

    /// The device's own party, when it is known, enabled, and the one the transport knows. `None` for a component that is itself an answer.
    async fn authenticate(&self, body: &Body, peer: &Peer) -> Result<Option<strowger_cdr::Party>, Status> {
        let unauthorized = |why: &str| Status::with_description(Status::UNAUTHORIZED, why);
        if body.status().is_some() {
            return Ok(None);
        }
        let (Some(customer), Some(device)) = body.sender() else {
            return Err(unauthorized("CustomerId and DeviceId are needed"));
        };
        let (customer, device) = (customer.trim(), device.trim());
        if peer.certified.as_ref().is_some_and(|(c, d)| (c.as_str(), d.as_str()) != (customer, device)) {
            let (shown_customer, shown_device) = peer.certified.clone().unwrap_or_default();
            let detail = format!("{shown_customer}/{shown_device} asks as {customer}/{device}");
            self.note("certificate-of-another", detail).await;
            return Err(unauthorized("the certificate is another device's"));
        }
        match self.config.device(device) {
            Some(known) if known.customer == customer && known.enabled => {
                Ok(Some(strowger_cdr::Party { customer: customer.to_owned(), device: device.to_owned() }))
            }
            Some(known) if known.customer == customer => Err(unauthorized("the device is disabled")),
            _ => Err(unauthorized("the device is not known")),
        }
    }

    fn capabilities(&self, indication: &strowger_osp::CapabilitiesIndication, party: &strowger_cdr::Party) -> Prepared {
        let flag = indication.resources.as_ref().and_then(|resources| resources.almost_out_of_resources);
        if let Some(flag) = flag {
            self.books().health.capabilities(&party.device, flag.0);
        }
        let (timestamp, status) = (Some(self.timestamp()), Status::success());
        Prepared::now(Body::CapabilitiesConfirmation(strowger_osp::Confirmation { timestamp, status }))
    }

    fn confirmed(&self, component: &Component) -> Prepared {
        let body = component.body.kind().refusal(Status::success(), self.timestamp());
        Prepared { body, durable: None, events: Vec::new() }
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The authority's certificate, DER: gateways verify tokens with it.
    pub fn authority_certificate(&self) -> &[u8] {
        self.authority.certificate()
    }

    /// The SHA-256 fingerprint of the authority's certificate, like `3F:A0:…`: by it a device knows the clearinghouse when it first enrolls
    /// over `https`.
    pub fn authority_fingerprint(&self) -> String {
        strowger_enrollment::sha256(self.authority.certificate()).map(|octet| format!("{octet:02X}")).join(":")
    }

    /// How it is set up.
    pub fn config(&self) -> &ClearinghouseConfig {
        &self.config
    }

    fn emit(&self, event: Event) {
        // nobody listening is no fault
        let _ = self.events.send(event);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn timestamp(&self) -> Timestamp {
        self.clock.timestamp()
    }
}

/// The status for a store that does not take more.
fn unavailable(error: &StoreError) -> Status {
    match error {
        StoreError::Overloaded => Status::with_description(Status::TRANSIENT_PROBLEM, "overloaded: try again"),
        _ => Status::with_description(Status::SERVICE_UNAVAILABLE, "the records cannot be kept"),
    }
}
