//! Whatever comes over the network never panics and leaves no state.

use bytes::Bytes;
use proptest::prelude::*;
use strowger_sip::{Header, Message, Method};

use crate::script::{Raw, number, register_with};
use crate::world::{Gauge, World, config};

/// Values that stand where others are expected.
const ODD: &[&str] = &[
    "",
    "*",
    "sip:",
    "<>",
    "sip:bob@example.test",
    "<sip:10.0.0.1:5060;lr;sc=00>",
    "<sip:10.0.0.1:5060;lr>",
    "0",
    "1",
    "255",
    "256",
    "-1",
    "4294967295",
    "99999999999999999999",
    "1 INVITE",
    "<sip:alice@example.test>;tag=a1",
    "<sip:bob@example.test>;tag=",
    "<tel:+1>",
    "Digest realm=\"example.test\"",
    "Digest username=\"alice\", realm=\"example.test\", nonce=\"00\", uri=\"x\", response=\"\"",
    "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK0",
    "<sip:x@10.0.0.30:0>",
    "<sip:x@[::1]:5060;transport=ws>;q=7;expires=x",
    "<sips:x@10.0.0.30>",
    "<sip:x@example.test?a=b>",
    "application/sdp",
];
const HEADERS: &[Header] = &[
    Header::Via,
    Header::From,
    Header::To,
    Header::CallId,
    Header::CSeq,
    Header::MaxForwards,
    Header::Contact,
    Header::Route,
    Header::RecordRoute,
    Header::Expires,
    Header::Authorization,
    Header::ProxyAuthorization,
    Header::Require,
    Header::ProxyRequire,
    Header::MaxBreadth,
    Header::ContentType,
    Header::Reason,
];
const URIS: &[&str] = &[
    "sip:bob@example.test",
    "sip:alice@10.0.0.1:5060",
    "sip:10.0.0.1:5060;lr;sc=1",
    "tel:+12125550100",
    "sip:example.test",
    "sips:bob@example.test",
    "http://x",
    "sip:%00@example.test",
    "sip:bob@10.0.0.30:5060;maddr=10.0.0.1",
    "sip:bob@10.0.0.1;transport=tcp",
    "sip:12125550100;phone-context=x@example.test",
];

fn methods() -> Vec<Method> {
    Method::KNOWN.to_vec()
}

fn check(messages: Vec<Message>) {
    let mut config = config();
    config.policy = true;
    let mut world = World::new(config);
    let phone = world.raw(12);
    crate::requests::register_raw(&mut world, phone, "bob", "<sip:bob@10.0.0.12>");
    let peer = world.raw(30);
    for message in &messages {
        world.send_raw(peer, message);
        world.run_ms(10);
    }
    // what arrived at the phone comes back as odd answers
    for request in world.inbox(phone).to_vec().iter().filter(|message| message.is_request()).take(4) {
        for status in [183, 200, 486] {
            world.send_raw(phone, &crate::script::response(request, status, "t", 12, Some(1)));
        }
    }
    world.run_ms(300_000);
    world.input(strowger_proxy_core::Input::Close);
    world.run_ms(100);
    let gauge = world.core().core.gauge();
    assert_eq!(gauge, Gauge { bindings: gauge.bindings, ..Gauge::default() });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn mutated_requests(
        all in proptest::collection::vec(
            (0..15usize, 0..URIS.len(), proptest::collection::vec((0..HEADERS.len(), 0..ODD.len(), 0..3u8), 0..4), any::<bool>()),
            1..6,
        ),
    ) {
        let mut messages = Vec::new();
        for (at, (method, uri, edits, in_dialog)) in all.into_iter().enumerate() {
            let branch = format!("f{at}");
            let known = methods();
            let method = known[method % known.len()].clone();
            let to = if in_dialog { "<sip:bob@example.test>;tag=t" } else { "<sip:bob@example.test>" };
            let raw = Raw { to, call_id: "fuzz", ..Raw::new(method, URIS[uri], 30, &branch) };
            let mut edit = raw.build().build().edit();
            for (header, value, how) in edits {
                match how {
                    0 => drop(edit.set(HEADERS[header], ODD[value])),
                    1 => drop(edit.push_front(HEADERS[header], ODD[value])),
                    _ => drop(edit.remove(HEADERS[header])),
                }
            }
            messages.push(edit.finish());
        }
        check(messages);
    }

    #[test]
    fn flipped_octets(position in any::<prop::sample::Index>(), octet in any::<u8>(), which in 0..4usize) {
        let uri = number();
        let originals = [
            Raw { from: "<sip:alice@example.test>;tag=1", ..Raw::new(Method::Invite, &uri, 30, "o1") }.build().build(),
            Raw::new(Method::Invite, "sip:bob@example.test", 30, "o2").build().body("application/sdp", b"v=0\r\n").build(),
            register_with(&crate::script::register("o3", "o3", 1), &["<sip:alice@10.0.0.30>;expires=60"]).build(),
            Raw::new(Method::Subscribe, "sip:bob@example.test", 30, "o4").build().build(),
        ];
        let mut octets = originals[which].as_bytes().to_vec();
        let at = position.index(octets.len());
        octets[at] = octet;
        if let Ok(message) = Message::parse(Bytes::from(octets)) {
            check(vec![message]);
        }
    }
}
