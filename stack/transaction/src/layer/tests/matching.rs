//! RFC 3261 §17.1.3, §17.2.3, §18.1.2, §18.2 and RFC 3581. Catches: messages given to a transaction that is not theirs, responses
//! sent where the request did not come from.

use super::*;
use crate::{Dropped, response_target};

#[test]
fn a_branch_is_one_senders() {
    let mut bench = Bench::new(Transport::Udp);
    bench.receive(request("INVITE", &via("1"), ""));
    bench.receive(request("INVITE", "SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bK1", ""));
    bench.receive(request("INVITE", "SIP/2.0/UDP 192.0.2.8:5060;branch=z9hG4bK1", ""));
    bench.receive(request("OPTIONS", &via("1"), ""));
    bench.receive(request("INVITE", &via("1x"), ""));
    assert_eq!(bench.layer.gauge().server, 5, "sent-by, method and branch all count");
    bench.receive(request("INVITE", &via("1"), "Subject: again\n"));
    assert_eq!(bench.layer.gauge().server, 5);
}

#[test]
fn rfc_2543_peers_have_no_cookie() {
    let mut bench = Bench::new(Transport::Udp);
    let old = "SIP/2.0/UDP 192.0.2.7:5060";
    bench.receive(request("INVITE", old, ""));
    let (key, message) = bench.last_request();
    bench.receive(request("INVITE", old, ""));
    assert_eq!(bench.layer.gauge().server, 1);
    bench.receive(request("INVITE", old, "").edit().set(Header::To, "<sip:bob@example.test>;tag=x").finish());
    assert_eq!(bench.layer.counters().dropped(Dropped::ToTagMismatch), 1);
    bench.receive(request("INVITE", old, "").edit().set(Header::CallId, "c2").finish());
    bench.receive(request("INVITE", old, "").edit().set(Header::CSeq, "2 INVITE").finish());
    bench.receive(request("INVITE", old, "").edit().set(Header::From, "<sip:alice@example.test>;tag=a2").finish());
    bench.receive(request("INVITE", old, "").edit().set_request_uri("sip:carol@example.test").finish());
    bench.receive(request("INVITE", "SIP/2.0/UDP 192.0.2.7:5060;branch=1", ""));
    assert_eq!(bench.layer.gauge().server, 6);
    bench.take_events();

    bench.respond(key, &message, 486);
    let ack = |tag: &str| {
        let ack = request("ACK", old, "");
        ack.edit().set(Header::To, &format!("<sip:bob@example.test>;tag={tag}")).finish()
    };
    bench.receive(ack("other"));
    assert_eq!(bench.take_events(), ["ack"], "not for our response");
    bench.receive(ack("b1"));
    bench.run_to(5_000);
    assert_eq!(bench.take_events(), ["terminated"]);
    bench.receive(request("CANCEL", "SIP/2.0/UDP 192.0.2.7:5060;branch=1", ""));
    assert_eq!(bench.take_events(), ["cancel"]);
}

#[test]
fn an_ack_without_a_transaction_is_the_users() {
    let mut bench = Bench::new(Transport::Udp);
    bench.receive(request("ACK", &via("9"), ""));
    assert_eq!(bench.take_events(), ["ack"]);
    assert!(bench.take_sent().is_empty());
    assert!(bench.layer.gauge().is_zero());
}

#[test]
fn responses_that_are_not_for_us() {
    let mut bench = Bench::new(Transport::Udp);
    bench.send(own(Method::Options));
    let sent = bench.sent[0].1.clone();
    let ok = Builder::response(&sent, 200, None).to_tag("b").build();
    let our_via = sent.header(Header::Via).unwrap().to_owned();

    bench.receive(ok.edit().set(Header::Via, &our_via.replace("192.0.2.1", "192.0.2.99")).finish());
    assert_eq!(bench.layer.counters().dropped(Dropped::ForeignSentBy), 1);
    bench.receive(ok.edit().push_back(Header::Via, &via("x")).finish());
    assert_eq!(bench.layer.counters().dropped(Dropped::ViaCount), 1);
    bench.receive(ok.edit().set(Header::CSeq, "1 INVITE").finish());
    bench.receive(ok.edit().set(Header::CSeq, "1 CANCEL").finish());
    bench.receive(ok.edit().set(Header::Via, &our_via.replace(";rport", "x;rport")).finish());
    bench.receive(ok.edit().set(Header::Via, &via("x")).finish());
    assert_eq!(bench.take_events(), ["stray 200"; 4]);
    bench.receive(ok);
    assert_eq!(bench.take_events(), ["response 200"]);
}

#[test]
fn a_cseq_of_another_method_is_refused() {
    let mut bench = Bench::new(Transport::Udp);
    let odd = request("OPTIONS", &via("1"), "").edit().set(Header::CSeq, "1 INVITE").finish();
    bench.receive(odd);
    let odd = request("ACK", &via("1"), "").edit().set(Header::CSeq, "1 INVITE").finish();
    bench.receive(odd);
    assert_eq!(bench.take_sent(), [(0, String::from("400"))], "an ACK is never answered");
    assert_eq!(bench.layer.counters().dropped(Dropped::MethodMismatch), 2);
    assert!(bench.layer.gauge().is_zero());
}

/// Peer address, Via as sent, Via as handed up, target of the response.
#[test]
fn where_responses_go() {
    let cases = [
        ("192.0.2.7:5060", "SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1", "", "192.0.2.7:5060"),
        ("192.0.2.7:4000", "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1", "", "192.0.2.7:5060"),
        ("192.0.2.7:4000", "SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bK1", ";received=192.0.2.7", "192.0.2.7:5062"),
        ("192.0.2.7:4000", "SIP/2.0/UDP pc.example.test;branch=z9hG4bK1", ";received=192.0.2.7", "192.0.2.7:5060"),
        (
            "192.0.2.7:4000",
            "SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bK1",
            ";received=192.0.2.7;rport=4000",
            "192.0.2.7:4000",
        ),
        (
            "[2001:db8::7]:4000",
            "SIP/2.0/UDP [2001:db8::9]:5062;rport;branch=z9hG4bK1",
            ";received=2001:db8::7;rport=4000",
            "[2001:db8::7]:4000",
        ),
        // what the sender claims about itself does not count
        (
            "192.0.2.7:4000",
            "SIP/2.0/UDP 192.0.2.7:5062;received=203.0.113.9;rport=53;branch=z9hG4bK1",
            ";received=192.0.2.7;rport=4000",
            "192.0.2.7:4000",
        ),
        ("192.0.2.7:4000", "SIP/2.0/UDP 192.0.2.7;maddr=192.0.2.50;branch=z9hG4bK1", "", "192.0.2.50:5060"),
    ];
    for (peer, sent, added, expected) in cases {
        let mut bench = Bench::new(Transport::Udp);
        bench.flow.peer = address(peer);
        bench.receive(request("OPTIONS", sent, ""));
        let (key, message) = bench.last_request();
        let marked = message.header(Header::Via).unwrap();
        assert!(marked.ends_with(added), "{marked}");
        assert_eq!(marked.contains("received"), added.contains("received"), "{marked}");
        assert!(!marked.contains("203.0.113.9"));
        bench.respond(key, &message, 200);
        let (_, response, target) = bench.sent[0].clone();
        assert_eq!(target.address, address(expected), "{sent}");
        assert_eq!(target.local, Some(bench.flow.local));
        assert_eq!(response_target(&response).map(|target| target.address), Some(address(expected)), "{sent}");
    }
}

#[test]
fn other_values_of_a_via_line_stay() {
    let mut bench = Bench::new(Transport::Udp);
    bench.flow.peer = address("192.0.2.7:4000");
    bench.receive(request(
        "OPTIONS",
        "SIP/2.0/UDP a.example.test;branch=z9hG4bK1, SIP/2.0/TCP b;branch=z9hG4bK0;x=\"1,2\"",
        "",
    ));
    let (_, message) = bench.last_request();
    let vias: Vec<_> = message.values(Header::Via).collect();
    let expected =
        ["SIP/2.0/UDP a.example.test;branch=z9hG4bK1;received=192.0.2.7", "SIP/2.0/TCP b;branch=z9hG4bK0;x=\"1,2\""];
    assert_eq!(vias, expected);
}

#[test]
fn a_name_without_received_has_no_target() {
    let request = request("OPTIONS", "SIP/2.0/UDP pc.example.test;branch=z9hG4bK1", "");
    assert_eq!(response_target(&Builder::response(&request, 200, None).build()), None);
}

#[test]
fn stateless_sending() {
    let mut bench = Bench::new(Transport::Udp);
    let value = bench.layer.via(&ViaSpec::new("192.0.2.1:5060"), Transport::Udp);
    let mut edit = own(Method::Ack).edit();
    edit.push_front(Header::Via, &value);
    bench.layer.send_stateless(edit.finish(), bench.flow.reply_target());
    bench.drain();
    let sent = bench.sent[0].1.clone();
    assert!(sent.top_via().unwrap().branch().unwrap().starts_with("z9hG4bK"));
    assert!(bench.layer.gauge().is_zero());
    let id = bench.last_transmission.unwrap();
    bench.layer.transport_failed(bench.now, id);
    bench.drain();
    assert!(bench.take_events().is_empty());
}
