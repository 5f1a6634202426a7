//! A stub clearinghouse, a caller with ears, and a gateway between them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use strowger_clock::{Random, Timestamp};
use strowger_dialog::{CallId32, Command, Config, Invite, LocalAddress, UserAgent, UserAgentEvent};
use strowger_enrollment::{Authority, TepAnswer};
use strowger_gateway_server::{Gateway, GatewayConfig, GatewayEvent, GatewayHandle};
use strowger_net::{BoundEndpoint, ListenAddress, SystemClock};
use strowger_osp::{Body, Message, Status, UsageIndication};
use strowger_rtp::g711::{decode_a, encode_a};
use strowger_rtp::{Header, Packet};
use strowger_sdp::SessionDescription;
use strowger_token::{Signer, TokenInfo};
use strowger_transaction::{Target, Transport};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const ECHO: &str = "12125550100";
/// Nothing here takes so long; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn patient<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what}: nothing happened"))
}

pub struct Stub {
    pub authority: Authority,
    signer: Signer,
    address: SocketAddr,
    seen: Mutex<Vec<Body>>,
    charges: Mutex<Vec<(String, String)>>,
    key_hidden: Mutex<bool>,
    arrived: Notify,
}

fn now() -> Timestamp {
    SystemClock::new().timestamp()
}

impl Stub {
    pub async fn start() -> Arc<Stub> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let day = Duration::from_secs(86_400);
        let authority = Authority::create("Example", "CA", now().saturating_sub(day), day * 10, [1; 16]).unwrap();
        let signer = Signer::from_pkcs8(&authority.key_pkcs8(), authority.certificate()).unwrap();
        let stub = Arc::new(Stub {
            authority,
            signer,
            address: listener.local_addr().unwrap(),
            seen: Mutex::default(),
            charges: Mutex::default(),
            key_hidden: Mutex::new(false),
            arrived: Notify::new(),
        });
        let server = Arc::clone(&stub);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stub = Arc::clone(&server);
                let service = service_fn(move |request| {
                    let stub = Arc::clone(&stub);
                    async move { stub.answer(request).await }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        stub
    }

    async fn answer(&self, request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await?.to_bytes();
        let (status, text) = if path == "/tep" {
            let certificate = self.authority.certificate().to_vec();
            let hidden = *self.key_hidden.lock().unwrap();
            (if hidden { 503 } else { 200 }, TepAnswer::AuthorityCertificate { certificate }.to_body())
        } else if path == "/osp" {
            let message = Message::parse(&body).unwrap();
            let replies = message.components.iter().filter_map(|component| component.reply(Status::success(), now()));
            let answer = message.answer(replies.collect()).to_xml();
            self.seen.lock().unwrap().extend(message.components.into_iter().map(|component| component.body));
            self.arrived.notify_waiters();
            (200, answer)
        } else {
            let xml = String::from_utf8(body.to_vec()).unwrap();
            self.charges.lock().unwrap().push((path, xml));
            (200, String::new())
        };
        let response = http::Response::builder().status(status).header("content-type", "text/plain");
        Ok(response.body(Full::new(Bytes::from(text))).unwrap())
    }

    pub fn hide_key(&self, hidden: bool) {
        *self.key_hidden.lock().unwrap() = hidden;
    }

    pub fn messages(&self) -> Vec<Body> {
        self.seen.lock().unwrap().clone()
    }

    pub fn charges(&self) -> Vec<(String, String)> {
        self.charges.lock().unwrap().clone()
    }

    /// The first usage report, as soon as there is one.
    pub async fn usage(&self) -> UsageIndication {
        patient("usage", async {
            loop {
                let arrived = self.arrived.notified();
                let found = self.messages().into_iter().find_map(|body| match body {
                    Body::UsageIndication(usage) => Some(usage),
                    _ => None,
                });
                match found {
                    Some(usage) => return usage,
                    None => arrived.await,
                }
            }
        })
        .await
    }

    /// The header with a token of ours, transaction 4711.
    pub fn token(&self, called: &str, call_id: &str, nonce: &str, gateway: &str, seconds: u32) -> (String, String) {
        let token = TokenInfo {
            calling: "14045550001".to_owned(),
            called: called.to_owned(),
            call_id: call_id.as_bytes().to_vec(),
            valid_after: now().saturating_sub(Duration::from_secs(5)),
            valid_until: now() + Duration::from_secs(300),
            transaction_id: 4711,
            granted_seconds: seconds,
            gateway: gateway.to_owned(),
            nonce: nonce.to_owned(),
        };
        let der = self.signer.sign(&token).unwrap();
        ("P-OSP-Auth-Token".to_owned(), base64::engine::general_purpose::STANDARD.encode(der))
    }
}

pub struct Running {
    pub handle: GatewayHandle,
    pub address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

pub fn config(url: String) -> GatewayConfig {
    let listen = vec![ListenAddress::parse("udp://127.0.0.1:0").unwrap()];
    GatewayConfig::new("gw1", "2000", listen, "127.0.0.1".parse().unwrap(), vec![url])
}

/// A gateway that knows the stub's key, unless the stub hides it.
pub async fn start(stub: &Arc<Stub>, change: impl FnOnce(&mut GatewayConfig)) -> Running {
    let mut config = config(format!("http://{}/osp", stub.address));
    change(&mut config);
    let bound = Gateway::bind(config).unwrap();
    let address = bound.local_addresses()[0].address;
    let handle = bound.handle();
    let mut events = handle.subscribe();
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    let serving = tokio::spawn(async move { bound.serve(token).await.unwrap() });
    if !*stub.key_hidden.lock().unwrap() {
        wait_for(&mut events, |event| *event == GatewayEvent::AuthorityKnown).await;
    }
    Running { handle, address, shutdown, serving }
}

impl Running {
    /// Shuts down, and checks that nothing was kept.
    pub async fn stop(self) {
        self.shutdown.cancel();
        patient("shutdown", self.serving).await.unwrap();
        let counters = self.handle.counters();
        assert_eq!(counters.calls_now, 0, "{counters:?}");
        assert!(self.handle.calls().is_empty());
        assert!(self.handle.is_drained());
    }
}

pub async fn wait_for(
    events: &mut broadcast::Receiver<GatewayEvent>,
    wanted: impl Fn(&GatewayEvent) -> bool,
) -> GatewayEvent {
    patient("gateway event", async {
        loop {
            let event = events.recv().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

pub struct Caller {
    gateway: SocketAddr,
    commands: mpsc::Sender<Command>,
    events: mpsc::UnboundedReceiver<UserAgentEvent>,
    rtp: UdpSocket,
    sequence: u16,
    _end: tokio_util::sync::DropGuard,
}

impl Caller {
    pub async fn start(gateway: SocketAddr) -> Caller {
        let endpoint = BoundEndpoint::bind(&[ListenAddress::parse("udp://127.0.0.1:0").unwrap()]).unwrap();
        let address = endpoint.local_addresses()[0].address;
        let config = Config {
            local: vec![LocalAddress { transport: Transport::Udp, address }],
            contact_user: "alice".to_owned(),
            ..Config::default()
        };
        let agent = UserAgent::new(config, Random::from_seed(u64::from(address.port())));
        let (commands, inputs) = mpsc::channel(16);
        let (sender, events) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let end = shutdown.clone().drop_guard();
        tokio::spawn(strowger_net::serve(
            endpoint,
            strowger_transaction::Config::default(),
            agent,
            inputs,
            move |event| drop(sender.send(event)),
            shutdown,
        ));
        let rtp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Caller { gateway, commands, events, rtp, sequence: 0, _end: end }
    }

    pub async fn command(&self, command: Command) {
        self.commands.send(command).await.unwrap();
    }

    pub async fn next(&mut self, wanted: impl Fn(&UserAgentEvent) -> bool) -> UserAgentEvent {
        patient("caller event", async {
            loop {
                let event = self.events.recv().await.unwrap();
                if wanted(&event) {
                    return event;
                }
            }
        })
        .await
    }

    pub async fn call(&mut self, called: &str, call_id: &str, headers: Vec<(String, String)>) -> CallId32 {
        let port = self.rtp.local_addr().unwrap().port();
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n"
        );
        let invite = Invite {
            uri: format!("sip:+{called}@{};user=phone", self.gateway),
            to: None,
            from: "<sip:alice@example.test>".to_owned(),
            target: Target::new(Transport::Udp, self.gateway),
            route: Vec::new(),
            sdp: Some(Bytes::from(sdp)),
            headers,
            login: None,
            call_id: Some(call_id.to_owned()),
        };
        self.command(Command::Invite { reference: 1, invite }).await;
        match self.next(|event| matches!(event, UserAgentEvent::Dialing { .. })).await {
            UserAgentEvent::Dialing { call, .. } => call,
            _ => unreachable!(),
        }
    }

    fn remote(sdp: &Bytes) -> SocketAddr {
        let sdp = SessionDescription::parse(std::str::from_utf8(sdp).unwrap()).unwrap();
        sdp.media_address(sdp.audio().unwrap()).unwrap().into()
    }

    async fn say(&mut self, remote: SocketAddr, frame: &[i16]) {
        let header = Header {
            marker: self.sequence == 0,
            payload_type: 8,
            sequence: self.sequence,
            timestamp: u32::from(self.sequence) * 160,
            ssrc: 0x5741_4c4c,
        };
        let payload: Vec<u8> = frame.iter().map(|sample| encode_a(*sample)).collect();
        let mut packet = [0u8; 172];
        header.write(&payload, &mut packet).unwrap();
        self.sequence += 1;
        self.rtp.send_to(&packet, remote).await.unwrap();
    }

    async fn hear(&mut self, samples: &mut Vec<i16>) {
        let mut octets = [0u8; 1500];
        let length = patient("RTP", self.rtp.recv(&mut octets)).await.unwrap();
        let packet = Packet::parse(&octets[..length]).unwrap();
        samples.extend(packet.payload().iter().map(|octet| decode_a(*octet)));
    }

    /// So many packets, saying nothing.
    pub async fn listen(&mut self, sdp: &Bytes, packets: usize) -> Vec<i16> {
        let remote = Self::remote(sdp);
        let mut heard = Vec::new();
        for _ in 0..packets {
            self.hear(&mut heard).await;
            self.say(remote, &[0; 160]).await;
        }
        heard
    }

    /// Says noise that does not repeat, a packet for each heard. What was said, what was heard.
    pub async fn talk(&mut self, sdp: &Bytes, packets: usize) -> (Vec<i16>, Vec<i16>) {
        let remote = Self::remote(sdp);
        let mut random = Random::from_seed(1);
        let (mut said, mut heard) = (Vec::new(), Vec::new());
        for _ in 0..packets {
            self.hear(&mut heard).await;
            let frame: Vec<i16> = (0..160).map(|_| i16::try_from(random.below(16_000)).unwrap() - 8_000).collect();
            self.say(remote, &frame).await;
            said.extend_from_slice(&frame);
        }
        (said, heard)
    }
}

/// The highest normalized correlation of 100 ms of the end of `heard` with any place of `said`.
pub fn best_correlation(said: &[i16], heard: &[i16]) -> f64 {
    let piece = &heard[heard.len() - 800..];
    let power = |samples: &[i16]| samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum::<f64>();
    let own = power(piece);
    let from = said.len().saturating_sub(16_000);
    said[from..]
        .windows(piece.len())
        .map(|place| {
            let product: f64 = place.iter().zip(piece).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            product / (own * power(place)).sqrt()
        })
        .fold(0.0, f64::max)
}
