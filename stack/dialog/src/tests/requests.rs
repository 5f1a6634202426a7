//! Requests that are not calls, requests that are wrong, and routes.

use bytes::Bytes;
use proptest::prelude::*;
use strowger_clock::{Moment, Random};
use strowger_simulation::Link;
use strowger_sip::{Builder, Header, Message, Method};
use strowger_transaction::{Flow, FlowId, Layer, Output, Target, TransactionUser, Transport, ViaSpec};

use super::world::{World, address};
use crate::dialog::Dialog;
use crate::{Config, LocalAddress, UserAgent};

fn request(method: Method, extra: &[(Header, &str)]) -> Message {
    let name = method.to_string();
    let mut builder = Builder::request(method, "sip:bob@10.0.0.1")
        .header(Header::From, "<sip:x@example.test>;tag=f")
        .header(Header::CallId, "c@x")
        .header(Header::CSeq, &format!("1 {name}"))
        .header(Header::Contact, "<sip:x@10.0.0.2>");
    if !extra.iter().any(|(name, _)| *name == Header::To) {
        builder = builder.header(Header::To, "<sip:bob@10.0.0.1>");
    }
    for (name, value) in extra {
        builder = builder.header(*name, value);
    }
    builder.build()
}

fn answer_to(message: Message) -> Message {
    let mut world = World::new(1, Link::PERFECT, Transport::Udp);
    world.agent(1);
    let asker = world.script(2, |_| Vec::new());
    world.net.with(asker, |now, peer| {
        let target = Target::new(Transport::Udp, address(1));
        peer.layer.request(now, message, target, &ViaSpec::from(address(2))).unwrap();
        peer.drain(now);
    });
    world.run_ms(300);
    world.net.node(asker).seen().last().unwrap().clone()
}

#[test]
fn what_is_not_understood_is_answered_as_the_rfc_says() {
    let options = answer_to(request(Method::Options, &[]));
    assert_eq!(options.status(), Some(200));
    assert!(options.header(Header::Allow).unwrap().contains("INVITE"));
    assert!(options.to().unwrap().tag().is_some());
    type Case<'a> = (Method, &'a [(Header, &'a str)], u16);
    let cases: [Case<'_>; 7] = [
        (Method::Other("FETCH".into()), &[], 501),
        (Method::Subscribe, &[], 405),
        (Method::Options, &[(Header::Require, "100rel, foo")], 420),
        (Method::Invite, &[(Header::To, "<sip:bob@10.0.0.1>;tag=unknown")], 481),
        (Method::Bye, &[(Header::To, "<sip:bob@10.0.0.1>;tag=unknown")], 481),
        (Method::Bye, &[], 481),
        (Method::Info, &[(Header::To, "<sip:bob@10.0.0.1>;tag=unknown")], 481),
    ];
    for (method, extra, status) in cases {
        let answer = answer_to(request(method.clone(), extra));
        assert_eq!(answer.status(), Some(status), "{method}");
        if status == 405 || status == 501 {
            assert!(answer.header(Header::Allow).is_some());
        }
        if status == 420 {
            assert_eq!(answer.header(Header::Unsupported), Some("100rel, foo"));
        }
    }
    let picture = request(Method::Invite, &[]).edit().set_body("image/png", b"png").finish();
    let answer = answer_to(picture);
    assert_eq!(answer.status(), Some(415));
    assert_eq!(answer.header(Header::Accept), Some("application/sdp"));
}

fn flow() -> Flow {
    Flow { id: FlowId(7), transport: Transport::Udp, local: address(1), peer: address(2) }
}

fn dialog_with(routes: &[&str]) -> Dialog {
    let mut dialog = Dialog::of_request(&request(Method::Invite, &[]), flow(), "mine".to_owned()).unwrap();
    dialog.route_set = routes.iter().map(|route| (*route).to_owned()).collect();
    dialog
}

#[test]
fn loose_routes_stay_in_route_and_strict_ones_take_the_request_uri() {
    let loose = dialog_with(&["<sip:10.0.0.8;lr>", "<sip:10.0.0.9>"]);
    let bye = loose.request(Method::Bye, 1).build();
    assert_eq!(bye.request_uri(), "sip:x@10.0.0.2");
    assert_eq!(bye.values(Header::Route).collect::<Vec<_>>(), ["<sip:10.0.0.8;lr>", "<sip:10.0.0.9>"]);
    assert_eq!(loose.next_hop().address.to_string(), "10.0.0.8:5060");

    let strict = dialog_with(&["<sip:10.0.0.8>", "<sip:10.0.0.9;lr>"]);
    let bye = strict.request(Method::Bye, 1).build();
    assert_eq!(bye.request_uri(), "sip:10.0.0.8");
    assert_eq!(bye.values(Header::Route).collect::<Vec<_>>(), ["<sip:10.0.0.9;lr>", "<sip:x@10.0.0.2>"]);
    assert_eq!(strict.next_hop().address.to_string(), "10.0.0.8:5060");
}

#[test]
fn a_hop_that_is_a_name_goes_back_the_way_the_peer_came() {
    let named = dialog_with(&["<sip:proxy.example.test;lr>"]);
    assert_eq!(named.next_hop(), flow().reply_target());
}

const INVITE: &str = "INVITE sip:bob@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKa\r\n\
    From: <sip:x@example.test>;tag=f\r\nTo: <sip:bob@10.0.0.1>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
    Contact: <sip:x@10.0.0.2>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n";

proptest! {
    /// Catches: a panic, or a record that outlives its transactions, from any mixture of mutated messages.
    #[test]
    fn mutated_messages_do_no_harm(
        edits in proptest::collection::vec((0usize..INVITE.len(), any::<u8>()), 0..4),
        methods in proptest::collection::vec(prop_oneof!["INVITE", "BYE", "ACK", "CANCEL", "UPDATE", "INFO"], 1..6),
    ) {
        let mut layer = Layer::new(strowger_transaction::Config::default(), Random::from_seed(1));
        let local = vec![LocalAddress { transport: Transport::Udp, address: address(1) }];
        let mut agent = UserAgent::new(Config { local, ..Config::default() }, Random::from_seed(2));
        let mut now = Moment::ZERO;
        for (number, method) in methods.iter().enumerate() {
            let text = INVITE.replace("INVITE", method).replace("CSeq: 1", &format!("CSeq: {number}"));
            let mut bytes = text.into_bytes();
            for (at, with) in &edits {
                if let Some(byte) = bytes.get_mut(*at) {
                    *byte = *with;
                }
            }
            if let Ok(message) = Message::parse(Bytes::from(bytes)) {
                layer.received(now, message, flow());
            }
            while let Some(output) = layer.poll_output() {
                if let Output::Event(event) = output {
                    agent.event(now, event, &mut layer);
                }
            }
            while let Some(event) = agent.poll_effect() {
                if let crate::UserAgentEvent::IncomingCall { call, .. } = event {
                    agent.answer(now, &mut layer, call, None).unwrap();
                }
            }
        }
        for _ in 0..10_000 {
            while let Some(output) = layer.poll_output() {
                if let Output::Event(event) = output {
                    agent.event(now, event, &mut layer);
                }
            }
            while agent.poll_effect().is_some() {}
            let Some(next) = layer.next_deadline().into_iter().chain(agent.next_deadline()).min() else { break };
            now = now.max(next);
            layer.timeout(now);
            agent.timeout(now, &mut layer);
        }
        prop_assert_eq!(agent.gauge(), crate::Gauge::default());
        prop_assert!(layer.gauge().is_zero());
    }
}
