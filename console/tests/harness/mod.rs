//! A console on a free port before a clearinghouse with a store in a temporary folder and a clock that stands still; and HTTP by hand, so that the
//! console meets what no client library would send.

use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use strowger_charging::{ChargeMessage, ChargeTariff};
use strowger_clearinghouse_server::{Clearinghouse, ClearinghouseConfig, Clock, Peer};
use strowger_clock::{Moment, Timestamp};
use strowger_console::{Console, Gauges, Sources};
use strowger_ledger::{Currency, Nanos};
use strowger_osp::{
    AuthorizationRequest, Base64, Body, Component, Message, Role, TerminationCause, Typed, UsageDetail, UsageIndication,
};
use strowger_store::Sqlite;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CONFIG: &str = r#"
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
[[devices]]
id = "1001"
customer = "1000"
[[devices]]
id = "2001"
customer = "2000"
address = "127.0.0.1:5070"
[[devices]]
id = "2002"
customer = "2000"
address = "127.0.0.1:5072"
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

const CALL_ID: &[u8] = b"a84b4c76e66710@example.test";

/// Moves when told to.
struct Still(AtomicU64);

impl Clock for Still {
    fn now(&self) -> Moment {
        Moment::from_nanos(self.0.load(Ordering::SeqCst))
    }
    fn timestamp(&self) -> Timestamp {
        Timestamp::from_unix_nanos(1_800_000_000_000_000_000 + self.0.load(Ordering::SeqCst))
    }
}

pub struct Harness {
    pub address: SocketAddr,
    house: Arc<Clearinghouse>,
    clock: Arc<Still>,
    folder: PathBuf,
    shutdown: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

impl Harness {
    pub async fn start(name: &str) -> Harness {
        let folder = std::env::temp_dir().join(format!("strowger-console-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let config: ClearinghouseConfig = toml::from_str(CONFIG).unwrap();
        let (store, clock) = (Sqlite::open(&folder.join("store.db")).unwrap(), Arc::new(Still(AtomicU64::new(0))));
        let house = Clearinghouse::open_with_clock(config, Arc::new(store), clock.clone()).await.unwrap();
        let gauges = vec![
            Gauges {
                role: "proxy",
                instance: "proxy".into(),
                read: Box::new(|| vec![("calls_now", 3), ("requests", u64::MAX)]),
            },
            Gauges { role: "gateway", instance: "2001".into(), read: Box::new(|| vec![("calls_now", 1)]) },
            Gauges { role: "gateway", instance: "2002".into(), read: Box::new(|| vec![("calls_now", 2)]) },
        ];
        let addresses = vec!["proxy udp://127.0.0.1:5060".into(), "policy cops://127.0.0.1:3288".into()];
        let sources = Sources { clearinghouse: Some(Arc::clone(&house)), gauges, addresses };
        let bound = Console::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, shutdown) = (bound.local_address(), CancellationToken::new());
        let server = tokio::spawn(bound.serve(sources, shutdown.clone()));
        Harness { address, house, clock, folder, shutdown, server }
    }

    /// Every test ends with books that balance and a console that ends when told to.
    pub async fn finish(self) {
        self.house.prove().unwrap();
        self.shutdown.cancel();
        self.server.await.unwrap().unwrap();
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    pub async fn text(&self, path: &str) -> String {
        get(self.address, path).await.body
    }

    pub async fn json(&self, path: &str) -> (u16, Value) {
        let answer = get(self.address, path).await;
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
        (answer.status, answer.json())
    }

    pub fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Ordering::SeqCst);
    }

    async fn handle(&self, body: Body) -> Body {
        let components = vec![Component { component_id: "1".into(), body }];
        let message = Message { message_id: "1".into(), random: None, components };
        self.house.handle(message, &Peer::default()).await.components.remove(0).body
    }

    /// The transaction's number.
    pub async fn authorize(&self, called: &str) -> u64 {
        let request = AuthorizationRequest {
            call_ids: vec![Base64(CALL_ID.to_vec())],
            source_info: vec![Typed::new("e164", "14045550199")],
            destination_info: vec![Typed::new("e164", called)],
            maximum_destinations: Some(5),
            customer_id: Some("1000".into()),
            device_id: Some("1001".into()),
            ..AuthorizationRequest::default()
        };
        match self.handle(Body::AuthorizationRequest(request)).await {
            Body::AuthorizationResponse(answer) => answer.transaction_id.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub async fn report(&self, role: Role, customer: &str, device: &str, transaction: u64, seconds: u64) {
        let mut usage = UsageIndication::new(role, transaction, CALL_ID.to_vec());
        usage.source_info = vec![Typed::new("e164", "14045550199")];
        usage.destination_info = vec![Typed::new("e164", "12125550100")];
        usage.destination_alternates = vec![Typed::new("transport", "[127.0.0.1]:5072")];
        if usage.role == Role::Source {
            (usage.setup_attempt, usage.total_setup_attempts) = (Some(1), Some(1));
        }
        usage.usage_details = vec![UsageDetail {
            amount: Some(seconds),
            increment: Some(1),
            unit: Some("s".into()),
            termination_causes: vec![TerminationCause { kind: Some("q850".into()), code: 16, description: None }],
            ..UsageDetail::default()
        }];
        (usage.customer_id, usage.device_id) = (Some(customer.into()), Some(device.into()));
        assert_eq!(self.handle(Body::UsageIndication(usage)).await.status().unwrap().code, 200);
    }

    pub fn charge_per_second(&self, transaction: u64, price: &str) {
        let tariff = ChargeTariff::per_second(price.parse::<Nanos>().unwrap().0, Currency::USD);
        self.house.charge(transaction, &ChargeMessage::Tariff(tariff)).unwrap();
        self.house.charge(transaction, &ChargeMessage::Start).unwrap();
    }

    pub fn stop_charging(&self, transaction: u64) {
        self.house.charge(transaction, &ChargeMessage::Stop).unwrap();
    }
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await
}

/// Sends these octets on a connection of their own.
pub async fn request(address: SocketAddr, octets: &str) -> Answer {
    talk(&mut TcpStream::connect(address).await.unwrap(), octets).await
}

/// The same, where the connection may end without an answer.
pub async fn try_request(address: SocketAddr, octets: &str) -> Option<Answer> {
    answered(&mut TcpStream::connect(address).await.unwrap(), octets).await
}

/// Sends these octets and reads one answer.
pub async fn talk(stream: &mut TcpStream, octets: &str) -> Answer {
    answered(stream, octets).await.expect("the connection ends before its answer")
}

async fn answered(stream: &mut TcpStream, octets: &str) -> Option<Answer> {
    let _ = stream.write_all(octets.as_bytes()).await;
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
            let length: usize = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
            if octets.starts_with("HEAD") || body.len() >= length {
                return Some(answer);
            }
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

/// Sends these octets and no more, and waits until the console has closed the connection.
pub async fn send_and_drain(mut stream: TcpStream, octets: &[u8]) {
    let _ = stream.write_all(octets).await;
    let _ = stream.shutdown().await;
    let mut dropped = Vec::new();
    let _ = stream.read_to_end(&mut dropped).await;
}
