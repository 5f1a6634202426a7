//! The role on real sockets: phones over UDP and TCP, a policy decision point over COPS, a clearinghouse of forty lines over
//! HTTP. Catches: an effect that is carried out twice, not at all or out of order, a counter that does not return to zero,
//! usage that is not reported, or not before the end.

#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strowger_clearinghouse_client::ClientIdentity;
use strowger_clock::Timestamp;
use strowger_net::ListenAddress;
use strowger_osp::{Base64, Body, Destination, Message, Status, UsageDetail, UsageIndication};
use strowger_pdp::Event;
use strowger_phone::{AnswerOptions, AudioSource, CallOptions, CallOutcome, EndedBy, Phone, PhoneConfig};
use strowger_policy_server::{BoundPdp, Phase, serve_pdp};
use strowger_proxy_server::{BoundProxy, Limits, PasswordHash, ProxyConfig, ProxyHandle, Subscriber};
use strowger_sip::digest::Algorithm;
use strowger_transaction::Timing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Timers a tenth as long as the RFC's, so that transactions end while a test waits.
fn brisk() -> Timing {
    Timing {
        t1: Duration::from_millis(30),
        t2: Duration::from_millis(240),
        t4: Duration::from_millis(300),
        timer_d: Duration::from_millis(500),
        ..Timing::default()
    }
}

struct Running {
    udp: ListenAddress,
    tcp: ListenAddress,
    handle: ProxyHandle,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

fn start(clearinghouses: Vec<String>, policy_servers: Vec<SocketAddr>) -> Running {
    let subscriber = |user: &str| {
        let password = PasswordHash::Clear(format!("secret of {user}"));
        (user.to_owned(), Subscriber { password, number: Some("12125550001".to_owned()) })
    };
    let config = ProxyConfig {
        domains: vec!["example.test".to_owned()],
        listen: ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"].map(|text| ListenAddress::parse(text).unwrap()).to_vec(),
        advertise: HashMap::new(),
        subscribers: ["alice", "bob"].map(subscriber).into(),
        secret: [9; 32],
        digest: Algorithm::STRONGEST_FIRST.to_vec(),
        clearinghouses,
        identity: ClientIdentity { customer_id: "1000".to_owned(), device_id: "1".to_owned() },
        policy_servers,
        policy_optional: false,
        destinations_max: 5,
        gateway_silence: Duration::from_millis(500),
        limits: Limits::default(),
    };
    let bound = BoundProxy::bind(config).unwrap().with_timing(brisk());
    let [udp, tcp] = bound.local_addresses()[..] else { panic!("two listeners") };
    let (handle, shutdown) = (bound.handle(), CancellationToken::new());
    let task = tokio::spawn(bound.serve(shutdown.clone()));
    Running { udp, tcp, handle, shutdown, task }
}

impl Running {
    async fn at_rest(&self) {
        let rest = async {
            while self.handle.counters().calls_now + self.handle.counters().contexts_now > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(15), rest).await.is_ok(), "{:?}", self.handle.counters());
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(8), self.task).await.expect("stops").unwrap().unwrap();
    }
}

async fn phone(user: &str, proxy: ListenAddress, answer: Option<AnswerOptions>) -> Phone {
    let transport = proxy.transport.as_str().to_ascii_lowercase();
    let listen = ListenAddress::parse(&format!("{transport}://127.0.0.1:0")).unwrap();
    let mut config = PhoneConfig::new(listen, format!("sip:{user}@example.test"));
    config.username = Some(user.to_owned());
    config.password = Some(format!("secret of {user}"));
    config.proxy = Some(proxy);
    config.answer = answer;
    config.timing = brisk();
    Phone::start(config).await.unwrap()
}

fn answering() -> Option<AnswerOptions> {
    let (ring, source) = (Duration::from_millis(50), AudioSource::Silence);
    Some(AnswerOptions { ring, source, ..AnswerOptions::default() })
}

fn talk(seconds: f64) -> CallOptions {
    CallOptions { max_duration: Duration::from_secs_f64(seconds), ..CallOptions::default() }
}

fn is_good(outcome: &CallOutcome) {
    assert!(outcome.answered && outcome.status == 200 && outcome.error.is_none(), "{outcome:?}");
    assert_eq!(outcome.ended_by, EndedBy::Us);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_register_and_call_over_udp_and_tcp() {
    let proxy = start(Vec::new(), Vec::new());
    for (calling, called) in [(proxy.udp, proxy.tcp), (proxy.tcp, proxy.udp), (proxy.tcp, proxy.tcp)] {
        let (alice, bob) = (phone("alice", calling, None).await, phone("bob", called, answering()).await);
        alice.register().await.unwrap();
        bob.register().await.unwrap();
        assert_eq!(proxy.handle.counters().bindings_now, 2);
        let outcome = alice.call("sip:bob@example.test", talk(0.2)).await;
        is_good(&outcome);
        assert_eq!(bob.next_outcome().await.unwrap().ended_by, EndedBy::Peer);
        proxy.at_rest().await;
        bob.unregister().await;
        assert_eq!(alice.call("sip:bob@example.test", talk(0.2)).await.status, 480);
        alice.unregister().await;
        assert_eq!(proxy.handle.counters().bindings_now, 0);
        alice.stop().await;
        bob.stop().await;
    }
    let counters = proxy.handle.counters();
    assert_eq!((counters.calls, counters.calls_answered), (3, 3));
    proxy.at_rest().await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_requests_are_survived() {
    let proxy = start(Vec::new(), Vec::new());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let local = socket.local_addr().unwrap();
    for noise in ["\r\n\r\n", "INVITE", "INVITE sip:x SIP/2.0\r\n\r\n", "\u{0}\u{1}\u{2}"] {
        socket.send_to(noise.as_bytes(), proxy.udp.address).await.unwrap();
    }
    let options = format!(
        "OPTIONS sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKopt\r\nFrom: <sip:x@elsewhere.test>;tag=1\r\n\
         To: <sip:example.test>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    socket.send_to(options.as_bytes(), proxy.udp.address).await.unwrap();
    let mut buffer = [0; 2048];
    let answered = async {
        loop {
            let length = socket.recv(&mut buffer).await.unwrap();
            if buffer[..length].starts_with(b"SIP/2.0 200") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), answered).await.expect("answered");
    proxy.at_rest().await;
    proxy.stop().await;
}

/// Answers every AuthorizationRequest with these gateways, in order, and keeps the usage.
#[derive(Clone, Default)]
struct Clearing {
    gateways: Arc<Mutex<Vec<SocketAddr>>>,
    usages: Arc<Mutex<Vec<UsageIndication>>>,
}

impl Clearing {
    async fn start(gateways: Vec<SocketAddr>) -> (Clearing, String) {
        let clearing = Clearing { gateways: Arc::new(Mutex::new(gateways)), usages: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/osp", listener.local_addr().unwrap());
        let server = clearing.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream));
            }
        });
        (clearing, url)
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
            let head = text.find("\r\n\r\n").map(|at| at + 4);
            let length: Option<usize> =
                text.split("content-length:").nth(1).and_then(|rest| rest.split("\r\n").next()?.trim().parse().ok());
            if let (Some(head), Some(length)) = (head, length)
                && bytes.len() >= head + length
            {
                let body = self.answer(&bytes[head..head + length]);
                let head_out =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head_out + &body).as_bytes()).await.unwrap();
                bytes.drain(..head + length);
                continue;
            }
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            }
        }
    }

    fn answer(&self, body: &[u8]) -> String {
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let message = Message::parse(body).unwrap();
        let components = message.components.iter().filter_map(|component| {
            let mut answer = component.reply(Status::success(), now)?;
            match (&component.body, &mut answer.body) {
                (Body::AuthorizationRequest(request), Body::AuthorizationResponse(response)) => {
                    response.transaction_id = Some(77);
                    let destination = |address: &SocketAddr| Destination {
                        source_info: request.source_info.clone(),
                        destination_info: request.destination_info.clone(),
                        signal_address: Some(format!("[{}]:{}", address.ip(), address.port())),
                        tokens: vec![Base64(b"token".to_vec())],
                        usage_details: vec![UsageDetail { amount: Some(60), ..UsageDetail::default() }],
                        ..Destination::default()
                    };
                    response.destinations = self.gateways.lock().unwrap().iter().map(destination).collect();
                }
                (Body::UsageIndication(usage), _) => self.usages.lock().unwrap().push(usage.clone()),
                _ => {}
            }
            Some(answer)
        });
        message.answer(components.collect()).to_xml()
    }

    fn usages(&self) -> Vec<UsageIndication> {
        self.usages.lock().unwrap().clone()
    }
}

async fn policy() -> (SocketAddr, Arc<Mutex<Vec<Event>>>, CancellationToken) {
    let bound = BoundPdp::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, events, shutdown) =
        (bound.local_address(), Arc::<Mutex<Vec<Event>>>::default(), CancellationToken::new());
    let (log, stop) = (Arc::clone(&events), shutdown.clone());
    tokio::spawn(async move {
        serve_pdp(bound, strowger_pdp::Config::default(), move |_, event| log.lock().unwrap().push(event), stop).await;
    });
    (address, events, shutdown)
}

/// Phases decided and calls ended, in order.
fn log_of(events: &Mutex<Vec<Event>>) -> Vec<String> {
    let word = |event: &Event| match event {
        Event::Decision { phase, install, .. } => Some(format!("{phase:?} {install}")),
        Event::CallEnded(_) => Some("ended".to_owned()),
        Event::Refused { kind, .. } => Some(format!("refused {kind:?}")),
        _ => None,
    };
    events.lock().unwrap().iter().filter_map(word).collect()
}

/// A number: policy, clearing, a gateway that is not there, one that is, BYE, two usage reports. Then a second call that is
/// still up when the process is told to end: closed, torn down and reported before it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_through_policy_and_clearing() {
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let gateway = {
        let mut config = PhoneConfig::new(ListenAddress::parse("udp://127.0.0.1:0").unwrap(), "sip:gw@example.test");
        config.answer = answering();
        config.timing = brisk();
        Phone::start(config).await.unwrap()
    };
    let gateways = vec![nobody.local_addr().unwrap(), gateway.address().address];
    let (clearing, url) = Clearing::start(gateways).await;
    let (pdp, events, pdp_stop) = policy().await;
    let proxy = start(vec![url], vec![pdp]);
    let connected = async {
        while !events.lock().unwrap().iter().any(|event| matches!(event, Event::ProxyConnected { .. })) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), connected).await.expect("COPS is up");
    let alice = phone("alice", proxy.udp, None).await;
    let outcome = alice.call("sip:+12125550100@example.test", talk(1.2)).await;
    is_good(&outcome);
    proxy.at_rest().await;
    let reported = async {
        while clearing.usages().len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), reported).await.expect("both attempts are reported");
    let amounts: Vec<_> = clearing.usages().iter().map(|usage| usage.usage_details[0].amount).collect();
    assert!(matches!(amounts[..], [Some(0), Some(1 | 2)]), "{amounts:?}");
    let install = |phase: Phase| format!("{phase:?} true");
    let teardown = format!("{:?} false", Phase::Teardown);
    let one_call = log_of(&events);
    assert_eq!(one_call[..2], [install(Phase::Setup), install(Phase::Answer)], "{one_call:?}");
    assert!(one_call.contains(&teardown) && one_call.contains(&"ended".to_owned()), "{one_call:?}");
    assert!(!one_call.iter().any(|word| word.starts_with("refused")), "{one_call:?}");

    let alice = Arc::new(alice);
    let talking = tokio::spawn({
        let alice = Arc::clone(&alice);
        async move { alice.call("sip:+12125550100@example.test", talk(60.0)).await }
    });
    let up = async {
        while proxy.handle.counters().calls_answered < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), up).await.expect("the second call is up");
    let handle = proxy.handle.clone();
    proxy.stop().await;
    assert_eq!(handle.counters().calls_now, 0);
    assert_eq!(clearing.usages().len(), 4, "reported before the end");
    let both = log_of(&events);
    assert_eq!(both.iter().filter(|word| **word == teardown).count(), 2, "{both:?}");
    talking.abort();
    gateway.stop().await;
    pdp_stop.cancel();
}
