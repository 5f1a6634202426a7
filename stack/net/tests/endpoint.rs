//! An endpoint on real sockets, with a user that answers everything 200. Catches: framing, answers to what cannot be read,
//! limits that are not kept, connections that are not reused or not given up.

// the helpers of a test may fail like the test
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strowger_clock::Moment;
use strowger_net::{BoundEndpoint, Counters, Direction, Limits, ListenAddress, TransactionUser, serve};
use strowger_sip::{Builder, Header, Message, Method};
use strowger_transaction::{Config, Event, Layer, Target, Transport, ViaSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Answers every request; sends a request when told to; tells what happened.
struct Answering {
    via: ViaSpec,
    /// Holds its answers back until an input comes.
    slow: bool,
    held: Vec<(strowger_transaction::ServerKey, Message)>,
    told: Vec<String>,
}

enum Input {
    Ask(Target),
    Answer,
}

impl TransactionUser for Answering {
    type Input = Input;
    type Effect = String;

    fn event(&mut self, now: Moment, event: Event, layer: &mut Layer) {
        match event {
            Event::Request { key, message, .. } => {
                let response = Builder::response(&message, 200, None).to_tag("t").build();
                self.told.push(format!("request {}", message.method()));
                if self.slow { self.held.push((key, response)) } else { layer.respond(now, key, response) }
            }
            Event::Response { message, .. } => self.told.push(format!("response {}", message.status().unwrap())),
            Event::ClientFailed { why, .. } => self.told.push(format!("failed {why:?}")),
            _ => {}
        }
    }

    fn input(&mut self, now: Moment, input: Input, layer: &mut Layer) {
        match input {
            Input::Ask(target) => {
                layer.request(now, options(false, "ours"), target, &self.via).unwrap();
            }
            Input::Answer => {
                for (key, response) in self.held.drain(..) {
                    layer.respond(now, key, response);
                }
            }
        }
    }

    fn timeout(&mut self, _: Moment, _: &mut Layer) {}

    fn next_deadline(&self) -> Option<Moment> {
        None
    }

    fn poll_effect(&mut self) -> Option<String> {
        self.told.pop()
    }
}

struct Served {
    udp: SocketAddr,
    tcp: SocketAddr,
    counters: Arc<Counters>,
    inputs: mpsc::Sender<Input>,
    told: mpsc::UnboundedReceiver<String>,
    seen: Arc<Mutex<Vec<(Direction, Transport)>>>,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Served {
    async fn told(&mut self) -> String {
        timeout(Duration::from_secs(5), self.told.recv()).await.expect("nothing happened").unwrap()
    }
}

fn served(limits: Limits, slow: bool) -> Served {
    let addresses = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"].map(|a| ListenAddress::parse(a).unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tapped = Arc::clone(&seen);
    let bound = BoundEndpoint::bind(&addresses)
        .unwrap()
        .with_limits(limits)
        .with_tap(Arc::new(move |direction, _, flow| tapped.lock().unwrap().push((direction, flow.transport))));
    let [udp, tcp] = [0, 1].map(|at| bound.local_addresses()[at].address);
    let counters = bound.counters();
    let (inputs, received) = mpsc::channel(8);
    let (effects, told) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let user = Answering { via: ViaSpec::from(udp), slow, held: Vec::new(), told: Vec::new() };
    let effect = move |told| drop(effects.send(told));
    tokio::spawn(serve(bound, Config::default(), user, received, effect, stop.clone()));
    Served { udp, tcp, counters, inputs, told, seen, stop }
}

fn options(via: bool, branch: &str) -> Message {
    let builder = Builder::request(Method::Options, "sip:x@127.0.0.1");
    let builder = match via {
        true => builder.header(Header::Via, &format!("SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bK{branch}")),
        false => builder,
    };
    builder
        .header(Header::From, "<sip:a@127.0.0.1>;tag=f")
        .header(Header::To, "<sip:x@127.0.0.1>")
        .header(Header::CallId, branch)
        .header(Header::CSeq, "1 OPTIONS")
        .build()
}

async fn read_some(stream: &mut TcpStream) -> String {
    let mut buffer = vec![0u8; 4096];
    let read = timeout(Duration::from_secs(5), stream.read(&mut buffer)).await.expect("no answer");
    String::from_utf8_lossy(&buffer[..read.unwrap_or(0)]).into_owned()
}

async fn ask_udp(socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) -> String {
    socket.send_to(bytes, to).await.unwrap();
    let mut buffer = vec![0u8; 4096];
    let (read, _) = timeout(Duration::from_secs(5), socket.recv_from(&mut buffer)).await.expect("no answer").unwrap();
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

#[tokio::test]
async fn datagrams_are_answered_dropped_or_refused_as_they_deserve() {
    let served = served(Limits::default(), false);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    assert!(ask_udp(&socket, served.udp, options(true, "a").as_bytes()).await.starts_with("SIP/2.0 200 OK"));
    // noise is dropped, line ends are a keep-alive; the version and a missing header are answered
    socket.send_to(b"GET / HTTP/1.1\r\n\r\n", served.udp).await.unwrap();
    socket.send_to(b"\r\n\r\n", served.udp).await.unwrap();
    let seven = String::from_utf8_lossy(options(true, "b").as_bytes()).replacen(
        "x@127.0.0.1 SIP/2.0",
        "x@127.0.0.1 SIP/7.0",
        1,
    );
    assert!(ask_udp(&socket, served.udp, seven.as_bytes()).await.starts_with("SIP/2.0 505"));
    let nameless = String::from_utf8_lossy(options(true, "c").as_bytes()).replacen("Call-ID: c\r\n", "", 1);
    assert!(ask_udp(&socket, served.udp, nameless.as_bytes()).await.starts_with("SIP/2.0 400"));
    assert_eq!(served.counters.malformed_dropped.value(), 1);
    assert_eq!(served.counters.malformed_answered.value(), 2);
    assert_eq!(served.counters.keep_alives.value(), 1);
    assert_eq!(served.counters.messages_in.value(), 1);
    // both the request and its answer passed the tap, and the two refusals
    assert_eq!(served.seen.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_stream_is_framed_whatever_the_pieces() {
    let served = served(Limits::default(), false);
    let mut stream = TcpStream::connect(served.tcp).await.unwrap();
    stream.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(read_some(&mut stream).await, "\r\n");
    let (first, second) = (options(true, "a"), options(true, "b"));
    let both = [first.as_bytes().as_ref(), second.as_bytes().as_ref()].concat();
    for piece in both.chunks(37) {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answers = String::new();
    while answers.matches("SIP/2.0 200").count() < 2 {
        answers.push_str(&read_some(&mut stream).await);
    }
    // one bad message whose end is known does not cost the connection; a lost framing does
    let bad = String::from_utf8_lossy(first.as_bytes()).replacen("CSeq: 1 OPTIONS", "CSeq: 1 BYE", 1);
    stream.write_all(bad.as_bytes()).await.unwrap();
    assert!(read_some(&mut stream).await.starts_with("SIP/2.0 400"));
    stream.write_all(options(true, "c").as_bytes()).await.unwrap();
    assert!(read_some(&mut stream).await.starts_with("SIP/2.0 200"));
    let lost = String::from_utf8_lossy(first.as_bytes()).replacen("Content-Length: 0", "Content-Length: -1", 1);
    stream.write_all(lost.as_bytes()).await.unwrap();
    assert!(read_some(&mut stream).await.starts_with("SIP/2.0 400"));
    assert_eq!(read_some(&mut stream).await, "");
    assert_eq!(served.counters.framing_lost.value(), 1);
    timeout(Duration::from_secs(5), async {
        while served.counters.connections_open.value() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn connections_beyond_the_maximum_are_closed_and_those_within_are_not() {
    let served = served(Limits { connections: 2, ..Limits::default() }, false);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(served.tcp).await.unwrap();
        let written = stream.write_all(b"\r\n\r\n").await;
        streams.push((read_some(&mut stream).await, written, stream));
    }
    assert_eq!(streams.iter().map(|(read, ..)| read.as_str()).collect::<Vec<_>>(), ["\r\n", "\r\n", ""]);
    assert_eq!(served.counters.connections_refused.value(), 1);
    assert_eq!(served.counters.connections_open.value(), 2);
}

#[tokio::test]
async fn a_message_just_inside_the_maximum_passes_and_one_just_outside_does_not() {
    let served = served(Limits { message_bytes: 1000, ..Limits::default() }, false);
    let sized = |branch: &str, bytes: usize| {
        let empty = options(true, branch).edit().set_body("text/plain", &[b'x'; 100]).finish();
        let more = bytes - empty.as_bytes().len();
        let message = options(true, branch).edit().set_body("text/plain", &vec![b'x'; 100 + more]).finish();
        assert_eq!(message.as_bytes().len(), bytes);
        message
    };
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    assert!(ask_udp(&socket, served.udp, sized("u", 1000).as_bytes()).await.starts_with("SIP/2.0 200"));
    assert!(ask_udp(&socket, served.udp, sized("v", 1001).as_bytes()).await.starts_with("SIP/2.0 513"));
    let mut stream = TcpStream::connect(served.tcp).await.unwrap();
    stream.write_all(sized("t", 1000).as_bytes()).await.unwrap();
    assert!(read_some(&mut stream).await.starts_with("SIP/2.0 200"));
    stream.write_all(sized("w", 1001).as_bytes()).await.unwrap();
    assert!(read_some(&mut stream).await.starts_with("SIP/2.0 513"));
    assert_eq!(read_some(&mut stream).await, "");
}

#[tokio::test]
async fn a_connection_that_never_finishes_a_message_is_closed() {
    let served = served(Limits { unfinished_timeout: Duration::from_millis(100), ..Limits::default() }, false);
    let mut silent = TcpStream::connect(served.tcp).await.unwrap();
    let mut halting = TcpStream::connect(served.tcp).await.unwrap();
    let mut whole = TcpStream::connect(served.tcp).await.unwrap();
    halting.write_all(b"OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia").await.unwrap();
    whole.write_all(options(true, "w").as_bytes()).await.unwrap();
    assert!(read_some(&mut whole).await.starts_with("SIP/2.0 200"));
    assert_eq!(read_some(&mut silent).await, "");
    assert_eq!(read_some(&mut halting).await, "");
    assert_eq!(served.counters.connections_timed_out.value(), 2);
    assert_eq!(served.counters.connections_open.value(), 1);
}

#[tokio::test]
async fn requests_share_one_connection_and_unreachable_peers_fail_at_once() {
    let mut served = served(Limits::default(), false);
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::new(Transport::Tcp, peer.local_addr().unwrap());
    // two before the connection is there, one after
    served.inputs.send(Input::Ask(target)).await.ok().unwrap();
    served.inputs.send(Input::Ask(target)).await.ok().unwrap();
    let (mut stream, _) = peer.accept().await.unwrap();
    let mut read = String::new();
    while read.matches("OPTIONS sip:").count() < 2 {
        read.push_str(&read_some(&mut stream).await);
    }
    served.inputs.send(Input::Ask(target)).await.ok().unwrap();
    let request = Message::parse(read_some(&mut stream).await.into()).unwrap();
    let answer = Builder::response(&request, 200, None).to_tag("p").build();
    stream.write_all(answer.as_bytes()).await.unwrap();
    assert_eq!(served.told().await, "response 200");
    assert_eq!(served.counters.connections_opened.value(), 1);
    drop(peer);
    drop(stream);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    served.inputs.send(Input::Ask(Target::new(Transport::Tcp, gone))).await.ok().unwrap();
    while served.told().await != "failed Transport" {}
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    served.inputs.send(Input::Ask(Target::new(Transport::Udp, gone))).await.ok().unwrap();
    while served.told().await != "failed Transport" {}
    assert!(served.counters.icmp_errors.value() >= 1);
    // a transport without a listener
    served.inputs.send(Input::Ask(Target::new(Transport::Tls, gone))).await.ok().unwrap();
    while served.told().await != "failed Transport" {}
}

/// RFC 3261 §18.2.2: the connection a request came by is gone when its answer is ready: the answer goes to the port of sent-by.
#[tokio::test]
async fn an_answer_whose_connection_is_gone_opens_a_new_one() {
    let mut served = served(Limits::default(), true);
    let home = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(served.tcp).await.unwrap();
    let via = format!("SIP/2.0/TCP {};branch=z9hG4bKgone", home.local_addr().unwrap());
    let mut request = options(false, "gone").edit();
    request.push_front(Header::Via, &via);
    stream.write_all(request.finish().as_bytes()).await.unwrap();
    assert_eq!(served.told().await, "request OPTIONS");
    drop(stream);
    timeout(Duration::from_secs(5), async {
        while served.counters.connections_open.value() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    // the closing is told to the machines after the count: let it arrive
    tokio::time::sleep(Duration::from_millis(20)).await;
    served.inputs.send(Input::Answer).await.ok().unwrap();
    let (mut stream, _) = timeout(Duration::from_secs(5), home.accept()).await.expect("no new connection").unwrap();
    assert!(read_some(&mut stream).await.starts_with("SIP/2.0 200"));
}

/// A peer that does not read costs its connection, not our memory or our time.
#[tokio::test]
async fn a_peer_that_does_not_read_loses_its_connection() {
    let limits = Limits { connection_queue_bytes: 64 * 1024, ..Limits::default() };
    let served = served(limits, false);
    let stream = TcpStream::connect(served.tcp).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let pings = vec![b"\r\n\r\n".as_slice(); 4096].concat();
    let flood = async { while write.write_all(&pings).await.is_ok() {} };
    assert!(timeout(Duration::from_secs(20), flood).await.is_ok(), "the connection stays open");
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(5), read.read_to_end(&mut rest)).await;
}
