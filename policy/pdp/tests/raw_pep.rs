//! The decision point against a PEP that is nothing but bytes written from RFC 2748 and RFC 3084. Would catch: a missing or
//! doubled answer, an answer to what deserves none, state left behind, a decision before the reports are in.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may stop

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use strowger_clock::Moment;
use strowger_cops::sip::{DecisionData, Phase};
use strowger_cops::*;
use strowger_pdp::{Config, ConnectionId, Event, Output, Pdp, RefusalKind};

const ROUTER: ConnectionId = ConnectionId(1);
const PROXY: ConnectionId = ConnectionId(2);

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

struct Bench {
    pdp: Pdp,
    now: Moment,
    events: Vec<Event>,
    closed: Vec<ConnectionId>,
}

impl Bench {
    fn new(config: Config) -> Bench {
        let mut pdp = Pdp::new(config);
        for id in [ROUTER, PROXY] {
            pdp.connected(Moment::ZERO, id, "192.0.2.50:40000".parse().unwrap());
        }
        Bench { pdp, now: Moment::ZERO, events: Vec::new(), closed: Vec::new() }
    }

    fn drain(&mut self) -> Vec<(ConnectionId, Message)> {
        let mut sent = Vec::new();
        while let Some(output) = self.pdp.poll_output() {
            match output {
                Output::Send(id, bytes) => sent.push((id, Message::parse(&bytes).unwrap())),
                Output::Close(id) => self.closed.push(id),
                Output::Event(event) => self.events.push(event),
            }
        }
        sent
    }

    fn raw(&mut self, id: ConnectionId, wire: &[u8]) -> Vec<(ConnectionId, Message)> {
        self.pdp.received(self.now, id, wire);
        self.drain()
    }

    fn wait(&mut self, milliseconds: u64) -> Vec<(ConnectionId, Message)> {
        self.now += Duration::from_millis(milliseconds);
        self.pdp.timeout(self.now);
        self.drain()
    }

    /// OPN "r1", REQ with handle 1 and no capabilities, RPT success for the base policy.
    fn router(&mut self) {
        let accept = self.raw(ROUTER, &bytes("10 06 0002 00000010 0008 0b 01 72310000"));
        assert_eq!(accept[0].1.op, Op::ClientAccept);
        let base = self.raw(ROUTER, &bytes("10 01 0002 00000018 0008 01 01 00000001 0008 02 01 0008 0000"));
        assert_eq!((base[0].1.op, base[0].1.solicited, base[0].1.decisions().len()), (Op::Decision, true, 2));
        assert_eq!(base[0].1.decisions()[0].command, Command::Remove, "removes come first");
        assert!(self.report(true).is_empty());
    }

    fn report(&mut self, ok: bool) -> Vec<(ConnectionId, Message)> {
        let kind = if ok { "0001" } else { "0002" };
        self.raw(ROUTER, &bytes(&format!("11 03 0002 00000018 0008 01 01 00000001 0008 0c 01 {kind} 0000")))
    }

    fn proxy(&mut self) {
        let accept = self.raw(PROXY, &bytes("10 06 4001 00000010 0008 0b 01 70310000"));
        assert_eq!(accept.len(), 1);
        assert_eq!(accept[0].1.keep_alive_timer_seconds(), Some(30));
    }

    fn ask(&mut self, handle: &'static [u8], phase: Phase, sip: Bytes) -> Vec<(ConnectionId, Message)> {
        let message = Message::new(Op::Request, CLIENT_TYPE_SIP)
            .with(Object::Handle(Bytes::from_static(handle)))
            .with(Object::Context(phase.context()))
            .with(Object::ClientSi(ClientSi::Signaled(sip)));
        self.raw(PROXY, &message.encode())
    }

    fn drq(&mut self, handle: &'static [u8]) -> Vec<(ConnectionId, Message)> {
        let message =
            Message::delete_request(CLIENT_TYPE_SIP, Bytes::from_static(handle), ReasonCode::Tear, 0).encode();
        self.raw(PROXY, &message)
    }

    fn marked(config: Config) -> Bench {
        let mut bench = Bench::new(config);
        bench.router();
        bench.proxy();
        bench.ask(b"c1", Phase::Setup, invite("alice"));
        assert_eq!(bench.ask(b"c1", Phase::Answer, response(200))[0].0, ROUTER);
        assert_eq!(verdict(&bench.report(true)), (Command::Install, "marked on 1 router".into()));
        bench
    }

    fn assert_empty(&self) {
        let gauge = self.pdp.gauge();
        assert_eq!((gauge.calls, gauge.admitted, gauge.admitted_kbps, gauge.operations, gauge.flows), (0, 0, 0, 0, 0));
    }
}

fn sdp(address: &str, port: u16) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n")
}

fn message(start: &str, user: &str, body: &str) -> Bytes {
    Bytes::from(format!(
        "{start}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKabc\r\nFrom: <sip:{user}@example.test>;tag=1\r\n\
         To: <sip:bob@example.test>\r\nCall-ID: one\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn invite(user: &str) -> Bytes {
    message("INVITE sip:bob@example.test SIP/2.0", user, &sdp("192.0.2.1", 30000))
}

fn response(status: u16) -> Bytes {
    message(&format!("SIP/2.0 {status} Some reason"), "alice", &sdp("198.51.100.7", 20000))
}

fn verdict(sent: &[(ConnectionId, Message)]) -> (Command, String) {
    let (_, message) = sent.iter().find(|(id, _)| *id == PROXY).unwrap_or_else(|| panic!("{sent:?}"));
    assert!(message.solicited);
    let decision = message.decisions().remove(0);
    (decision.command, DecisionData::parse(decision.client_specific().unwrap()).reason)
}

#[test]
fn unknown_client_types_get_a_close_and_keep_alives_an_echo() {
    let mut bench = Bench::new(Config::default());
    let sent = bench.raw(ROUTER, &bytes("10 06 0001 00000010 0008 0b 01 72310000"));
    assert_eq!(sent[0].1, Message::client_close(1, ErrorCode::UnsupportedClientType, 0));
    assert_eq!(bench.raw(ROUTER, &bytes("10 09 0000 00000008"))[0].1, Message::keep_alive());
    // Security without a key here (RFC 2748 §4.1).
    let sent = bench.raw(ROUTER, &bytes("10 06 0000 00000010 0008 0b 01 72310000"));
    assert_eq!(sent[0].1.error().unwrap().code, ErrorCode::AuthenticationFailure);
    // A request before any open.
    let sent = bench.raw(ROUTER, &bytes("10 01 0002 00000018 0008 01 01 00000001 0008 02 01 0008 0000"));
    assert_eq!(sent[0].1.op, Op::ClientClose);
}

#[test]
fn malformed_requests_get_a_decision_with_the_error() {
    let mut bench = Bench::new(Config::default());
    bench.proxy();
    let sent = bench.raw(PROXY, &bytes("10 01 4001 00000010 0008 01 01 00000001"));
    let error = sent[0].1.error().unwrap();
    assert_eq!((sent[0].1.op, error.code, error.sub_code), (Op::Decision, ErrorCode::MandatoryObjectMissing, 0x0200));
    // No ClientSI, then one that is no SIP.
    let sent = bench.raw(PROXY, &bytes("10 01 4001 00000018 0008 01 01 00000001 0008 02 01 0001 0001"));
    assert_eq!(sent[0].1.error().unwrap().code, ErrorCode::MandatoryClientInfoMissing);
    let sent = bench.ask(b"x", Phase::Setup, Bytes::from_static(b"hello"));
    assert_eq!(sent[0].1.error().unwrap().code, ErrorCode::UnableToProcess);
    // Reports and deletes for handles that name nothing are dropped and counted.
    assert!(bench.drq(b"nothing").is_empty());
    assert!(bench.events.iter().any(|event| matches!(event, Event::Refused { kind: RefusalKind::UnknownHandle, .. })));
    bench.assert_empty();
    assert_eq!(bench.raw(PROXY, b"HTTP").len(), 1, "a stream that is no COPS is closed");
    assert_eq!(bench.closed, [PROXY]);
}

#[test]
fn the_decision_waits_for_the_report() {
    let mut bench = Bench::new(Config::default());
    bench.router();
    bench.proxy();
    assert_eq!(verdict(&bench.ask(b"c1", Phase::Setup, invite("alice"))).0, Command::Install);
    let sent = bench.ask(b"c1", Phase::Answer, response(183));
    assert_eq!(sent.len(), 1, "only the router is asked");
    assert!(!sent[0].1.solicited);
    assert_eq!(verdict(&bench.report(true)), (Command::Install, "marked on 1 router".into()));
    // The 200 repeats the answer: nothing goes to the router.
    let sent = bench.ask(b"c1", Phase::Answer, response(200));
    assert_eq!((sent.len(), verdict(&sent).1), (1, "already marked".into()));
    let sent = bench.ask(b"c1", Phase::Teardown, Bytes::from_static(b"BYE"));
    assert_eq!((sent[0].0, sent[0].1.decisions()[0].command), (ROUTER, Command::Remove));
    assert_eq!(verdict(&bench.report(true)), (Command::Remove, "released on 1 router".into()));
    assert_eq!(bench.pdp.gauge().calls, 1, "the handle lives until its DRQ");
    assert!(bench.drq(b"c1").is_empty());
    bench.assert_empty();
    assert_eq!(bench.events.iter().filter(|event| matches!(event, Event::CallEnded(_))).count(), 1);
}

#[test]
fn a_report_that_does_not_come_or_fails_undoes_the_call() {
    for late in [true, false] {
        let mut bench = Bench::new(Config::default());
        bench.router();
        bench.proxy();
        bench.ask(b"c1", Phase::Setup, invite("alice"));
        bench.ask(b"c1", Phase::Answer, response(200));
        if late {
            assert!(bench.wait(1999).is_empty());
        }
        let sent = if late { bench.wait(1) } else { bench.report(false) };
        let removal = sent.iter().find(|(id, _)| *id == ROUTER).unwrap();
        assert_eq!(removal.1.decisions()[0].command, Command::Remove);
        assert_eq!(verdict(&sent).0, Command::Remove);
        if late {
            assert!(bench.report(true).is_empty(), "the late report");
        }
        assert!(bench.report(true).is_empty(), "the removal's report");
        assert!(bench.drq(b"c1").is_empty());
        bench.assert_empty();
    }
}

#[test]
fn limits_just_inside_and_just_outside() {
    // One G.711 call is 88 kbit/s.
    let mut bench = Bench::new(Config { caller_kbps_max: 176, total_kbps_max: 264, ..Config::default() });
    bench.proxy();
    let calls: [(&'static [u8], &str, Command); 5] = [
        (b"1", "alice", Command::Install),
        (b"2", "alice", Command::Install),
        (b"3", "alice", Command::Remove),
        (b"4", "bob", Command::Install),
        (b"5", "carol", Command::Remove),
    ];
    for (handle, user, expected) in calls {
        let (command, reason) = verdict(&bench.ask(handle, Phase::Setup, invite(user)));
        assert_eq!(command, expected, "{user}: {reason}");
        assert!(command == Command::Install || reason.contains("kbit/s"), "{reason}");
    }
    // What one gives back another may take.
    bench.drq(b"1");
    assert_eq!(verdict(&bench.ask(b"6", Phase::Setup, invite("carol"))).0, Command::Install);
    for handle in [b"2".as_slice(), b"3", b"4", b"5", b"6"] {
        bench.drq(handle);
    }
    bench.assert_empty();
    let mut bench = Bench::new(Config { calls_per_caller_max: 1, ..Config::default() });
    bench.proxy();
    assert_eq!(verdict(&bench.ask(b"1", Phase::Setup, invite("alice"))).0, Command::Install);
    assert_eq!(verdict(&bench.ask(b"2", Phase::Setup, invite("alice"))).0, Command::Remove);
}

#[test]
fn a_bare_delete_gets_no_answer_and_removes_the_rows() {
    let mut bench = Bench::marked(Config::default());
    let sent = bench.drq(b"c1");
    assert_eq!((sent.len(), sent[0].0), (1, ROUTER));
    assert!(bench.report(true).is_empty());
    bench.assert_empty();
}

#[test]
fn calls_of_a_lost_proxy_are_held_then_dropped_or_taken_up() {
    let mut bench = Bench::marked(Config::default());
    bench.pdp.closed(bench.now, PROXY);
    bench.drain();
    bench.wait(30_000);
    // Back under the same name: the PDP asks for its state; the call that is asked for again stays.
    let again = ConnectionId(3);
    bench.pdp.connected(bench.now, again, "192.0.2.50:40001".parse().unwrap());
    let sent = bench.raw(again, &bytes("10 06 4001 00000010 0008 0b 01 70310000"));
    assert_eq!(
        sent.iter().map(|(_, message)| message.op).collect::<Vec<_>>(),
        [Op::ClientAccept, Op::SynchronizeState]
    );
    let request = Message::new(Op::Request, CLIENT_TYPE_SIP)
        .with(Object::Handle(Bytes::from_static(b"c1")))
        .with(Object::Context(Phase::Answer.context()))
        .with(Object::ClientSi(ClientSi::Signaled(response(200))));
    let sent = bench.raw(again, &request.encode());
    assert_eq!(sent[0].1.decisions()[0].command, Command::Install);
    bench.raw(again, &bytes("10 0a 4001 00000008"));
    assert_eq!(bench.pdp.gauge().flows, 2);
    // Gone for good.
    bench.pdp.closed(bench.now, again);
    bench.drain();
    bench.wait(59_999);
    assert_eq!(bench.pdp.gauge().calls, 1);
    bench.wait(1);
    bench.wait(5_000);
    bench.assert_empty();
}

#[test]
fn silence_ends_a_connection() {
    let mut bench = Bench::new(Config::default());
    bench.router();
    assert!(bench.wait(37_499).is_empty());
    let sent = bench.wait(1);
    let close = sent.iter().find(|(id, _)| *id == ROUTER).unwrap();
    assert_eq!(close.1.error().unwrap().code, ErrorCode::CommunicationFailure);
    assert_eq!((bench.closed.len(), bench.pdp.gauge().connections, bench.pdp.gauge().routers), (2, 0, 0));
}

#[test]
fn a_changed_session_replaces_its_flows_in_one_decision() {
    let mut bench = Bench::marked(Config::default());
    let offer = message("INVITE sip:bob@example.test SIP/2.0", "alice", &sdp("192.0.2.1", 30002));
    assert_eq!(verdict(&bench.ask(b"c1", Phase::Modify, offer)).0, Command::Install);
    let sent = bench.ask(b"c1", Phase::Answer, response(200));
    let commands: Vec<Command> = sent[0].1.decisions().iter().map(|decision| decision.command).collect();
    assert_eq!(commands, [Command::Remove, Command::Install]);
    bench.report(true);
    assert_eq!(bench.pdp.gauge().flows, 2);
    // A change that cannot be is refused, the call stays as it is.
    let odd = message("INVITE sip:bob@example.test SIP/2.0", "alice", "v=1\r\n");
    assert_eq!(verdict(&bench.ask(b"c1", Phase::Modify, odd)).0, Command::Remove);
    assert_eq!((bench.pdp.gauge().flows, bench.pdp.gauge().admitted), (2, 1));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..6), kind in 1u8..11) {
        let mut bench = Bench::new(Config::default());
        bench.router();
        bench.proxy();
        for piece in pieces {
            // Well framed, so that it reaches the machine.
            let mut wire = vec![0x10, kind, 0x40, 0x01, 0, 0, 0, (8 + piece.len().next_multiple_of(4)) as u8];
            wire.extend_from_slice(&piece);
            wire.resize(8 + piece.len().next_multiple_of(4), 0);
            bench.raw(PROXY, &wire);
            wire[2..4].copy_from_slice(&[0, 2]);
            bench.raw(ROUTER, &wire);
        }
    }

    #[test]
    fn any_order_of_phases_returns_to_zero(steps in proptest::collection::vec(0u8..7, 0..24)) {
        let mut bench = Bench::new(Config::default());
        bench.router();
        bench.proxy();
        for step in steps {
            match step {
                0 => drop(bench.ask(b"c", Phase::Setup, invite("alice"))),
                1 => drop(bench.ask(b"c", Phase::Answer, response(200))),
                2 => drop(bench.ask(b"c", Phase::Modify, invite("alice"))),
                3 => drop(bench.ask(b"c", Phase::Teardown, Bytes::new())),
                4 => drop(bench.report(true)),
                5 => drop(bench.report(false)),
                _ => drop(bench.drq(b"c")),
            }
        }
        bench.drq(b"c");
        bench.wait(2_000);
        bench.wait(2_000);
        bench.assert_empty();
    }
}
