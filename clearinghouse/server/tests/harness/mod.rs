//! A clearinghouse on a free port with a store in a temporary folder and a clock that stands still.
#![allow(dead_code, clippy::unwrap_used)]

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strowger_clearinghouse_server::{BoundHttp, Clearinghouse, ClearinghouseConfig, Clock, serve};
use strowger_clock::{Moment, Timestamp};
use strowger_ledger::Nanos;
use strowger_osp::{
    AuthorizationRequest, AuthorizationResponse, Base64, Body, Component, Message, Role, TerminationCause, Typed,
    UsageDetail, UsageIndication,
};
use strowger_store::Sqlite;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const CONFIG: &str = r#"
maximum_granted_seconds = 600
[[customers]]
id = "1000"
name = "Calling carrier"
role = "originating"
opening_balance = "10"
[[customers]]
id = "2000"
name = "Terminating carrier"
role = "terminating"
[[customers]]
id = "3000"
name = "Poor carrier"
opening_balance = "0.5"
[[devices]]
id = "1001"
customer = "1000"
enrollment_password = "let me in"
[[devices]]
id = "1009"
customer = "1000"
enabled = false
[[devices]]
id = "2001"
customer = "2000"
address = "127.0.0.1:5070"
[[devices]]
id = "2002"
customer = "2000"
address = "127.0.0.1:5072"
[[devices]]
id = "3001"
customer = "3000"
[[routes]]
prefix = "1212"
device = "2001"
sell_per_minute = "0.03"
cost_per_minute = "0.015"
[[routes]]
prefix = "1212"
device = "2002"
sell_per_minute = "0.02"
cost_per_minute = "0.01"
"#;

/// Moves when told to.
pub struct Still(AtomicU64);

impl Still {
    pub fn timestamp(&self) -> Timestamp {
        Clock::timestamp(self)
    }
}

impl Clock for Still {
    fn now(&self) -> Moment {
        Moment::from_nanos(self.0.load(Ordering::SeqCst))
    }
    fn timestamp(&self) -> Timestamp {
        Timestamp::from_unix_nanos(1_800_000_000_000_000_000 + self.0.load(Ordering::SeqCst))
    }
}

pub struct Harness {
    pub house: Arc<Clearinghouse>,
    pub clock: Arc<Still>,
    folder: PathBuf,
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

pub fn call_id() -> Vec<u8> {
    b"a84b4c76e66710@example.test".to_vec()
}

/// The status of an answer.
pub fn stop(body: &Body) -> u16 {
    body.status().unwrap().code
}

#[allow(clippy::too_many_arguments)]
pub fn usage(
    role: Role,
    customer: &str,
    device: &str,
    transaction: u64,
    seconds: u64,
    cause: u32,
    address: &str,
    attempt: u32,
    total: Option<u32>,
) -> Body {
    let mut usage = UsageIndication::new(role, transaction, call_id());
    usage.source_info = vec![Typed::new("e164", "14045550199")];
    usage.destination_info = vec![Typed::new("e164", "12125550100")];
    if !address.is_empty() {
        usage.destination_alternates = vec![Typed::new("transport", address)];
    }
    usage.setup_attempt = (attempt > 0).then_some(attempt);
    usage.total_setup_attempts = total;
    usage.usage_details = vec![UsageDetail {
        amount: Some(seconds),
        increment: Some(1),
        unit: Some("s".into()),
        termination_causes: vec![TerminationCause { kind: Some("q850".into()), code: cause, description: None }],
        ..UsageDetail::default()
    }];
    usage.customer_id = Some(customer.into());
    usage.device_id = Some(device.into());
    Body::UsageIndication(usage)
}

impl Harness {
    pub async fn start(name: &str) -> Harness {
        let folder = std::env::temp_dir().join(format!("strowger-clearinghouse-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let mut config: ClearinghouseConfig = toml::from_str(CONFIG).unwrap();
        // 0.02 for the poor one
        config.customers[2].opening_balance =
            if name == "balance" { "0.02".parse().unwrap() } else { "0.5".parse().unwrap() };
        Self::open(folder, Arc::new(Still(AtomicU64::new(0))), config).await
    }

    async fn open(folder: PathBuf, clock: Arc<Still>, config: ClearinghouseConfig) -> Harness {
        let store = Arc::new(Sqlite::open(&folder.join("store.db")).unwrap());
        let bound = BoundHttp::bind(&["http://127.0.0.1:0/osp".to_owned()]).await.unwrap();
        let address = bound.local_addresses()[0];
        let house = Clearinghouse::open_with_clock(config, store, clock.clone()).await.unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(Arc::clone(&house), bound, shutdown.clone()));
        Harness { house, clock, folder, address, shutdown, server }
    }

    /// Ends the server and opens everything again from the disk.
    pub async fn restart(self) -> Harness {
        let (config, clock, folder) = (self.house.config().clone(), self.clock.clone(), self.folder.clone());
        self.shutdown.cancel();
        self.server.await.unwrap();
        drop(self.house);
        Self::open(folder, clock, config).await
    }

    /// Every test ends with the proof that the books balance.
    pub fn finish(self) {
        self.house.prove().unwrap();
        assert!(self.house.sums().iter().all(|sums| sums.posted_nanos == 0 && sums.pending_nanos == 0));
        self.shutdown.cancel();
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    pub async fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Ordering::SeqCst);
        self.house.sweep().await.unwrap();
    }

    /// `(status, headers, body)`
    pub async fn post(&self, path: &str, body: Vec<u8>) -> (u16, http::HeaderMap, Vec<u8>) {
        self.send(http::Method::POST, path, body).await
    }

    pub async fn send(&self, method: http::Method, path: &str, body: Vec<u8>) -> (u16, http::HeaderMap, Vec<u8>) {
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("content-type", "text/plain")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = client.request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    pub async fn exchange(&self, bodies: Vec<Body>) -> Vec<Body> {
        let components =
            bodies.into_iter().zip(1..).map(|(body, id)| Component { component_id: format!("{id}"), body });
        let message = Message { message_id: "17".into(), random: Some("99".into()), components: components.collect() };
        let (status, headers, body) = self.post("/osp", message.to_xml().into_bytes()).await;
        assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "text/plain"));
        assert!(headers.contains_key("content-length") && !headers.contains_key("transfer-encoding"));
        let answer = Message::parse(&body).unwrap();
        assert_eq!((answer.message_id.as_str(), answer.random.as_deref()), ("17", Some("99")));
        let ids = |message: &Message| message.components.iter().map(|c| c.component_id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&answer), ids(&message));
        answer.components.into_iter().map(|component| component.body).collect()
    }

    pub async fn report(&self, body: Body) -> u16 {
        stop(&self.exchange(vec![body]).await[0])
    }

    pub fn request(customer: &str, device: &str, called: &str) -> AuthorizationRequest {
        AuthorizationRequest {
            call_ids: vec![Base64(call_id())],
            source_info: vec![Typed::new("e164", "14045550199")],
            destination_info: vec![Typed::new("e164", called)],
            maximum_destinations: Some(5),
            customer_id: Some(customer.into()),
            device_id: Some(device.into()),
            ..AuthorizationRequest::default()
        }
    }

    pub async fn ask(&self, request: AuthorizationRequest) -> AuthorizationResponse {
        match self.exchange(vec![Body::AuthorizationRequest(request)]).await.into_iter().next() {
            Some(Body::AuthorizationResponse(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub async fn authorize(&self, called: &str) -> AuthorizationResponse {
        self.authorize_as("1000", "1001", called).await
    }

    pub async fn authorize_as(&self, customer: &str, device: &str, called: &str) -> AuthorizationResponse {
        self.ask(Self::request(customer, device, called)).await
    }

    pub fn expect_balances(&self, expected: &[(&str, &str)]) {
        for (name, posted) in expected {
            let account = self.house.accounts().into_iter().find(|account| account.name == *name).unwrap();
            assert_eq!(Nanos(account.posted.nanos), posted.parse().unwrap(), "{name}");
        }
        self.house.prove().unwrap();
    }
}
