//! The layer by itself: messages in, outputs out, time by hand.

mod client;
mod matching;
mod never_panics;
mod server;

use std::net::SocketAddr;

use bytes::Bytes;
use strowger_clock::{Moment, Random};
use strowger_sip::{Builder, Header, Message, Method};

use super::Layer;
use crate::{ClientKey, Config, Event, Flow, FlowId, Output, ServerKey, Target, Transport, ViaSpec};

const PEER: &str = "192.0.2.7:5060";

fn millis(n: u64) -> Moment {
    Moment::from_millis(n)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn flow(transport: Transport) -> Flow {
    Flow { id: FlowId(1), transport, local: address("192.0.2.1:5060"), peer: address(PEER) }
}

fn parse(text: &str) -> Message {
    Message::parse(Bytes::from(text.replace('\n', "\r\n"))).unwrap()
}

/// A request as a peer sends it; `extra` are further header lines.
fn request(method: &str, via: &str, extra: &str) -> Message {
    parse(&format!(
        "{method} sip:bob@example.test SIP/2.0\nVia: {via}\nMax-Forwards: 70\nFrom: <sip:alice@example.test>;tag=a1\n\
         To: <sip:bob@example.test>\nCall-ID: c1\nCSeq: 1 {method}\n{extra}Content-Length: 0\n\n"
    ))
}

fn via(branch: &str) -> String {
    format!("SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK{branch}")
}

/// A request of our user, without Via.
fn own(method: Method) -> Message {
    let cseq = format!("1 {method}");
    Builder::request(method, "sip:bob@example.test")
        .header(Header::Route, "<sip:192.0.2.7;lr>")
        .header(Header::From, "<sip:alice@example.test>;tag=a1")
        .header(Header::To, "<sip:bob@example.test>")
        .header(Header::CallId, "c1")
        .header(Header::CSeq, &cseq)
        .build()
}

/// A layer and what it has said.
struct Bench {
    layer: Layer,
    now: Moment,
    flow: Flow,
    /// Messages sent since the last look, each with its time.
    sent: Vec<(u64, Message, Target)>,
    events: Vec<Event>,
    last_transmission: Option<crate::TransmitId>,
}

impl Bench {
    fn new(transport: Transport) -> Bench {
        Bench::with(transport, Config::default())
    }

    fn with(transport: Transport, config: Config) -> Bench {
        let layer = Layer::new(config, Random::from_seed(1));
        let (sent, events) = (Vec::new(), Vec::new());
        Bench { layer, now: Moment::ZERO, flow: flow(transport), sent, events, last_transmission: None }
    }

    fn drain(&mut self) {
        while let Some(output) = self.layer.poll_output() {
            match output {
                Output::Transmit { id, message, target } => {
                    self.last_transmission = Some(id);
                    self.sent.push((self.now.as_millis(), message, target));
                }
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    /// Runs the clock up to `to`, stopping at every deadline.
    fn run_to(&mut self, to: u64) {
        while let Some(at) = self.layer.next_deadline().filter(|at| *at <= millis(to)) {
            self.now = at;
            self.layer.timeout(at);
            self.drain();
        }
        self.now = millis(to);
    }

    fn send(&mut self, message: Message) -> ClientKey {
        let target = self.flow.reply_target();
        let key = self.layer.request(self.now, message, target, &ViaSpec::new("192.0.2.1:5060")).unwrap();
        self.drain();
        key
    }

    fn receive(&mut self, message: Message) {
        self.layer.received(self.now, message, self.flow);
        self.drain();
    }

    /// The peer answers the last request of this method that we sent.
    fn answer(&mut self, request: &Message, status: u16, tag: &str) {
        self.receive(Builder::response(request, status, None).to_tag(tag).build());
    }

    fn respond(&mut self, key: ServerKey, request: &Message, status: u16) {
        self.layer.respond(self.now, key, Builder::response(request, status, None).to_tag("b1").build());
        self.drain();
    }

    /// What was sent since the last call: time in ms and start (method or status).
    fn take_sent(&mut self) -> Vec<(u64, String)> {
        self.sent.drain(..).map(|(at, message, _)| (at, start(&message))).collect()
    }

    /// The events since the last call, in short.
    fn take_events(&mut self) -> Vec<String> {
        self.events.drain(..).map(|event| short(&event)).collect()
    }

    fn last_request(&mut self) -> (ServerKey, Message) {
        self.events
            .iter()
            .rev()
            .find_map(|event| match event {
                Event::Request { key, message, .. } => Some((*key, message.clone())),
                _ => None,
            })
            .unwrap()
    }
}

fn start(message: &Message) -> String {
    message.status().map_or_else(|| message.method().to_string(), |status| status.to_string())
}

fn short(event: &Event) -> String {
    match event {
        Event::Request { message, .. } => format!("request {}", message.method()),
        Event::Ack { .. } => String::from("ack"),
        Event::Cancel { .. } => String::from("cancel"),
        Event::Response { message, .. } => format!("response {}", start(message)),
        Event::StrayResponse { message, .. } => format!("stray {}", start(message)),
        Event::ClientFailed { why, .. } | Event::ServerFailed { why, .. } => format!("failed {why:?}"),
        Event::ClientTerminated { .. } | Event::ServerTerminated { .. } => String::from("terminated"),
    }
}

fn times(sent: &[(u64, String)]) -> Vec<u64> {
    sent.iter().map(|(at, _)| *at).collect()
}
