//! A whole call between the machines, written as a capture and read by tshark, which no one here wrote. Would catch: any
//! message or object of ours that another implementation cannot read. Needs tshark (Debian package `tshark`).

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may stop

use std::collections::VecDeque;
use std::fs;
use std::process::Command as Process;

use bytes::Bytes;
use strowger_clock::{Moment, Random};
use strowger_cops::sip::Phase;
use strowger_cops::{CLIENT_TYPE_PROVISIONING, CLIENT_TYPE_SIP, ErrorCode, Message, ReasonCode};
use strowger_pdp::{Config, ConnectionId, Output, Pdp};
use strowger_pep::{
    Capabilities, ConfigurationConfig, ConfigurationOutput, ConfigurationPep, LinkConfig, OutsourcingConfig,
    OutsourcingOutput, OutsourcingPep, RoleInterface,
};
use strowger_pib::{ClassError, DsMeter, FrwkFeedbackTraffic, PibError};

const ROUTER: ConnectionId = ConnectionId(1);
const PROXY: ConnectionId = ConnectionId(2);

/// Ethernet, IPv4 and TCP around each message; sequence numbers count so that the dissector sees whole streams.
struct Capture {
    file: Vec<u8>,
    sequence: [[u32; 2]; 2],
    seconds: u32,
}

impl Capture {
    fn new() -> Capture {
        let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        file.extend_from_slice(&262_144u32.to_le_bytes());
        file.extend_from_slice(&1u32.to_le_bytes());
        Capture { file, sequence: [[1, 1]; 2], seconds: 0 }
    }

    fn add(&mut self, id: ConnectionId, to_pdp: bool, payload: &[u8]) {
        let peer = usize::from(id == PROXY);
        // A jumbo segment keeps one message in one frame: IPv4 carries up to 65,495 octets of TCP payload.
        assert!(payload.len() < 65_000);
        let (client, server) = (([10, 0, 0, 11 + peer as u8], 40_000 + peer as u16), ([10, 0, 0, 1], 3288u16));
        let (from, to) = if to_pdp { (client, server) } else { (server, client) };
        let (mine, other) = (usize::from(to_pdp), usize::from(!to_pdp));
        let (sequence, acknowledged) = (self.sequence[peer][mine], self.sequence[peer][other]);
        self.sequence[peer][mine] += payload.len() as u32;
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend_from_slice(&[0x45, 0xa0]);
        frame.extend_from_slice(&((40 + payload.len()) as u16).to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend_from_slice(&from.0);
        frame.extend_from_slice(&to.0);
        frame.extend_from_slice(&from.1.to_be_bytes());
        frame.extend_from_slice(&to.1.to_be_bytes());
        frame.extend_from_slice(&sequence.to_be_bytes());
        frame.extend_from_slice(&acknowledged.to_be_bytes());
        frame.extend_from_slice(&[0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        frame.extend_from_slice(payload);
        self.seconds += 1;
        for field in [self.seconds, 0, frame.len() as u32, frame.len() as u32] {
            self.file.extend_from_slice(&field.to_le_bytes());
        }
        self.file.extend_from_slice(&frame);
    }
}

struct Scene {
    pdp: Pdp,
    router: ConfigurationPep,
    proxy: OutsourcingPep,
    capture: Capture,
    messages: usize,
    refuse: bool,
}

impl Scene {
    /// Carries everything between the machines until all are quiet.
    fn run(&mut self) {
        let now = Moment::ZERO;
        let mut wires: VecDeque<(ConnectionId, bool, Bytes)> = VecDeque::new();
        loop {
            while let Some(output) = self.router.poll_output() {
                match output {
                    ConfigurationOutput::Connect(_) => self.router.connected(now),
                    ConfigurationOutput::Send(bytes) => wires.push_back((ROUTER, true, bytes)),
                    ConfigurationOutput::Apply(transaction) => {
                        let meters = transaction.removes.iter().filter(|row| row.class() == &DsMeter::CLASS);
                        let usage: Vec<FrwkFeedbackTraffic> = (1u32..)
                            .zip(meters)
                            .map(|(instance, row)| FrwkFeedbackTraffic {
                                instance,
                                reference: row.instance(),
                                packets: 500,
                                octets: 100_000,
                            })
                            .collect();
                        let full = PibError::class(DsMeter::prid(1000), ClassError::PriSpaceExhausted, 0);
                        let result = if self.refuse { Err(full) } else { Ok(()) };
                        self.router.applied(now, result, &usage);
                    }
                    ConfigurationOutput::Close | ConfigurationOutput::Event(_) => {}
                }
            }
            while let Some(output) = self.proxy.poll_output() {
                match output {
                    OutsourcingOutput::Connect(_) => self.proxy.connected(now),
                    OutsourcingOutput::Send(bytes) => wires.push_back((PROXY, true, bytes)),
                    _ => {}
                }
            }
            while let Some(output) = self.pdp.poll_output() {
                if let Output::Send(id, bytes) = output {
                    wires.push_back((id, false, bytes));
                }
            }
            let Some((id, to_pdp, bytes)) = wires.pop_front() else { return };
            self.capture.add(id, to_pdp, &bytes);
            self.messages += 1;
            match (to_pdp, id) {
                (true, id) => self.pdp.received(now, id, &bytes),
                (false, ROUTER) => self.router.received(now, &bytes),
                (false, _) => self.proxy.received(now, &bytes),
            }
        }
    }

    fn ask(&mut self, call: u64, phase: Phase, sip: &str) {
        self.proxy.decide(Moment::ZERO, call, phase, Bytes::from(sip.to_owned())).unwrap();
        self.run();
    }
}

fn sip(start: &str, port: u16) -> String {
    let body =
        format!("v=0\r\no=- 1 1 IN IP4 10.0.0.5\r\ns=-\r\nc=IN IP4 10.0.0.5\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n");
    format!(
        "{start}\r\nVia: SIP/2.0/UDP 10.0.0.5;branch=z9hG4bKabc\r\nFrom: <sip:alice@example.test>;tag=1\r\n\
         To: <sip:bob@example.test>\r\nCall-ID: one\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn tshark_reads_every_message() {
    let link = |name: &str, client_type| LinkConfig::new(vec!["10.0.0.1:3288".parse().unwrap()], name, client_type);
    let capabilities = Capabilities {
        device: "software router".to_owned(),
        capability_set: "software".to_owned(),
        interfaces: vec![RoleInterface { ifindex: 2, roles: "edge".to_owned() }],
    };
    let router = ConfigurationConfig {
        link: link("router-a.example.test", CLIENT_TYPE_PROVISIONING),
        capabilities,
        hold_seconds: 60,
    };
    let proxy = OutsourcingConfig { link: link("proxy.example.test", CLIENT_TYPE_SIP), decision_time_ms: 4000 };
    let mut scene = Scene {
        pdp: Pdp::new(Config::default()),
        router: ConfigurationPep::new(router, Random::from_seed(1)),
        proxy: OutsourcingPep::new(proxy, Random::from_seed(2)),
        capture: Capture::new(),
        messages: 0,
        refuse: false,
    };
    for (id, port) in [(ROUTER, 40_000), (PROXY, 40_001)] {
        scene.pdp.connected(Moment::ZERO, id, ([10, 0, 0, 11], port).into());
    }
    scene.router.start(Moment::ZERO);
    scene.run();
    scene.proxy.start(Moment::ZERO);
    scene.run();
    let (invite, ok) = (sip("INVITE sip:bob@example.test SIP/2.0", 30000), sip("SIP/2.0 200 OK", 20000));
    // A call that works, then one that the router refuses.
    for (call, refuse) in [(1, false), (2, true)] {
        scene.refuse = refuse;
        scene.ask(call, Phase::Setup, &invite);
        scene.ask(call, Phase::Answer, &ok);
        scene.proxy.report(call, true);
        scene.refuse = false;
        scene.ask(call, Phase::Teardown, "BYE");
        scene.proxy.delete(call, ReasonCode::Tear);
        scene.run();
    }
    for (id, message) in [
        (ROUTER, Message::keep_alive()),
        (PROXY, Message::client_close(CLIENT_TYPE_SIP, ErrorCode::RedirectToPreferredServer, 0)),
    ] {
        scene.capture.add(id, false, &message.encode());
        scene.messages += 1;
    }

    let path = std::env::temp_dir().join(format!("strowger-cops-{}.pcap", std::process::id()));
    fs::write(&path, &scene.capture.file).unwrap();
    let tshark = |arguments: &[&str]| {
        let output = Process::new("tshark").arg("-r").arg(&path).args(arguments).output();
        let output = output.expect("tshark is needed: install the Debian package tshark");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let malformed = tshark(&[
        "-Y",
        "_ws.malformed || _ws.unreassembled || cops.epd.unknown || _ws.expert.severity >= warning",
        "-V",
    ]);
    let operations = tshark(&["-Y", "cops", "-T", "fields", "-e", "cops.op_code"]);
    let named = tshark(&["-Y", "cops.prid.instance_id", "-T", "fields", "-e", "cops.prid.instance_id"]);
    fs::remove_file(&path).unwrap();
    assert!(malformed.is_empty(), "{malformed}");
    assert_eq!(operations.lines().count(), scene.messages, "every message is read as COPS");
    for wanted in 1..=9 {
        // 5 and 10 (SSQ, SSC) need a lost connection; all others are here.
        let seen = operations.lines().any(|line| line == wanted.to_string());
        assert!(seen || wanted == 5, "operation {wanted}");
    }
    assert!(named.contains("1.3.6.1.2.2.4.2.7.1.1"), "the mark's PRID is read: {named}");
}
