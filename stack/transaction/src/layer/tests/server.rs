//! RFC 3261 §17.2 and §9.2, RFC 6026. Catches: a request handed up twice, a response not repeated, an ACK handed to the wrong
//! place, a CANCEL left unanswered, a full table that goes silent.

use super::*;
use crate::Dropped;

fn invited(transport: Transport) -> (Bench, ServerKey, Message) {
    let mut bench = Bench::new(transport);
    bench.receive(request("INVITE", &via("1"), ""));
    let (key, message) = bench.last_request();
    bench.take_events();
    (bench, key, message)
}

fn ack(tag: &str) -> Message {
    parse(&format!(
        "ACK sip:bob@example.test SIP/2.0\nVia: {}\nMax-Forwards: 70\nFrom: <sip:alice@example.test>;tag=a1\n\
         To: <sip:bob@example.test>;tag={tag}\nCall-ID: c1\nCSeq: 1 ACK\nContent-Length: 0\n\n",
        via("1")
    ))
}

#[test]
fn a_slow_user_is_covered_by_100() {
    let (mut bench, key, message) = invited(Transport::Udp);
    bench.run_to(100);
    bench.receive(request("INVITE", &via("1"), ""));
    bench.run_to(199);
    assert!(bench.take_sent().is_empty());
    bench.run_to(200);
    let trying = bench.sent[0].1.clone();
    assert_eq!(trying.to().unwrap().tag(), None);
    assert_eq!(bench.take_sent(), [(200, String::from("100"))]);
    bench.run_to(500);
    bench.receive(request("INVITE", &via("1"), ""));
    bench.respond(key, &message, 180);
    bench.receive(request("INVITE", &via("1"), ""));
    let sent: Vec<_> = bench.take_sent().into_iter().map(|(_, start)| start).collect();
    assert_eq!(sent, ["100", "180", "180"]);
    assert!(bench.take_events().is_empty(), "the user is told once");
}

#[test]
fn a_quick_user_needs_no_100() {
    let (mut bench, key, message) = invited(Transport::Udp);
    bench.run_to(199);
    bench.respond(key, &message, 180);
    bench.run_to(5_000);
    assert_eq!(bench.take_sent(), [(199, String::from("180"))]);
    assert_eq!(bench.layer.gauge().timers, 0);
}

#[test]
fn a_failure_is_repeated_until_the_ack() {
    let (mut bench, key, message) = invited(Transport::Udp);
    bench.respond(key, &message, 486);
    bench.run_to(8_000);
    assert_eq!(times(&bench.take_sent()), [0, 500, 1_500, 3_500, 7_500], "timer G up to T2");
    bench.receive(request("INVITE", &via("1"), ""));
    assert_eq!(bench.take_sent(), [(8_000, String::from("486"))]);
    bench.receive(ack("b1"));
    bench.receive(ack("b1"));
    bench.run_to(12_999);
    assert!(bench.take_sent().is_empty());
    assert!(bench.take_events().is_empty(), "the ACK is the layer's");
    bench.run_to(13_000);
    assert_eq!(bench.take_events(), ["terminated"], "timer I");
    assert!(bench.layer.gauge().is_zero());
}

#[test]
fn a_failure_nobody_acknowledges() {
    let (mut bench, key, message) = invited(Transport::Udp);
    bench.respond(key, &message, 486);
    bench.run_to(32_000);
    let expected = [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(times(&bench.take_sent()), expected);
    assert_eq!(bench.take_events(), ["failed Timeout", "terminated"]);
    assert!(bench.layer.gauge().is_zero());
}

#[test]
fn over_a_reliable_transport_the_failure_goes_once() {
    let (mut bench, key, message) = invited(Transport::Tcp);
    bench.respond(key, &message, 486);
    bench.run_to(10_000);
    assert_eq!(times(&bench.take_sent()), [0]);
    bench.receive(ack("b1"));
    assert_eq!(bench.take_events(), ["terminated"], "timer I is zero");
    assert!(bench.layer.gauge().is_zero());
}

#[test]
fn an_accepted_invite_absorbs_invites_and_passes_acks() {
    let (mut bench, key, message) = invited(Transport::Udp);
    bench.respond(key, &message, 200);
    bench.receive(request("INVITE", &via("1"), ""));
    bench.run_to(500);
    bench.respond(key, &message, 200);
    bench.respond(key, &message, 486);
    assert_eq!(times(&bench.take_sent()), [0, 500], "2xx are repeated by the user alone");
    assert_eq!(bench.layer.counters().dropped(Dropped::Unexpected), 1);
    bench.receive(ack("b1"));
    assert_eq!(bench.take_events(), ["ack"]);
    bench.run_to(31_999);
    assert_eq!(bench.layer.gauge().server, 1);
    bench.run_to(32_000);
    assert_eq!(bench.take_events(), ["terminated"], "timer L");
    assert!(bench.layer.gauge().is_zero());
    bench.respond(key, &message, 200);
    assert_eq!(bench.layer.counters().dropped(Dropped::NoTransaction), 1);
}

#[test]
fn a_non_invite_is_answered_again_and_again() {
    let mut bench = Bench::new(Transport::Udp);
    bench.receive(request("OPTIONS", &via("1"), ""));
    let (key, message) = bench.last_request();
    bench.receive(request("OPTIONS", &via("1"), ""));
    assert!(bench.take_sent().is_empty(), "Trying says nothing");
    bench.respond(key, &message, 200);
    bench.receive(request("OPTIONS", &via("1"), ""));
    bench.respond(key, &message, 500);
    assert_eq!(bench.take_sent(), [(0, String::from("200")), (0, String::from("200"))]);
    assert_eq!(bench.take_events(), ["request OPTIONS"]);
    bench.run_to(32_000);
    assert_eq!(bench.take_events(), ["terminated"], "timer J");
    assert!(bench.layer.gauge().is_zero());

    let mut bench = Bench::new(Transport::Tcp);
    bench.receive(request("OPTIONS", &via("1"), ""));
    let (key, message) = bench.last_request();
    bench.respond(key, &message, 200);
    assert_eq!(bench.take_events(), ["request OPTIONS", "terminated"], "timer J is zero");
    assert!(bench.layer.gauge().is_zero());
}

#[test]
fn cancel_of_a_pending_invite() {
    let (mut bench, key, message) = invited(Transport::Udp);
    bench.respond(key, &message, 180);
    bench.take_sent();
    bench.receive(request("CANCEL", &via("1"), ""));
    let answer = bench.sent[0].1.clone();
    assert_eq!((answer.status(), answer.method()), (Some(200), Method::Cancel));
    assert_eq!(answer.to().unwrap().tag(), Some("b1"), "the To tag of the INVITE's responses");
    assert!(matches!(bench.events[0], Event::Cancel { invite, .. } if invite == key));
    bench.receive(request("CANCEL", &via("1"), ""));
    assert_eq!(bench.take_sent(), [(0, String::from("200")), (0, String::from("200"))]);
    assert_eq!(bench.take_events(), ["cancel"], "once");
    bench.respond(key, &message, 487);
    bench.receive(ack("b1"));
    bench.run_to(40_000);
    assert_eq!(bench.take_events(), ["terminated"]);
    assert!(bench.layer.gauge().is_zero());
}

#[test]
fn cancel_of_what_is_answered_or_was_never_there() {
    let (mut bench, key, message) = invited(Transport::Udp);
    bench.respond(key, &message, 200);
    bench.take_sent();
    bench.receive(request("CANCEL", &via("1"), ""));
    assert_eq!(bench.take_sent(), [(0, String::from("200"))]);
    bench.receive(request("CANCEL", &via("2"), ""));
    assert_eq!(bench.take_sent(), [(0, String::from("481"))]);
    bench.receive(request("OPTIONS", &via("3"), ""));
    bench.receive(request("CANCEL", &via("3"), ""));
    assert_eq!(bench.take_sent(), [(0, String::from("200"))], "any method's CANCEL is answered 200");
    assert_eq!(bench.take_events(), ["request OPTIONS"], "no effect on the user");
}

#[test]
fn the_table_has_a_maximum() {
    let config = Config { server_transactions_max: 2, in_dialog_reserve: 1, ..Config::default() };
    let mut bench = Bench::with(Transport::Udp, config);
    bench.receive(request("INVITE", &via("1"), ""));
    bench.receive(request("INVITE", &via("2"), ""));
    assert_eq!(bench.take_events(), ["request INVITE"; 2]);
    bench.receive(request("INVITE", &via("3"), ""));
    let refusal = bench.sent[0].1.clone();
    assert_eq!(refusal.header(Header::RetryAfter), Some("5"));
    let tag = refusal.to().unwrap().tag().unwrap().to_owned();
    assert_eq!(bench.take_sent(), [(0, String::from("503"))]);
    assert_eq!(bench.layer.counters().refused_full, 1);
    assert_eq!(bench.layer.gauge().server, 2);
    let stateless_ack = ack(&tag).edit().set(Header::Via, &via("3")).finish();
    bench.receive(stateless_ack);
    assert!(bench.take_events().is_empty(), "the ACK of a stateless refusal goes no further");

    let bye = |branch| {
        let bye = request("BYE", &via(branch), "");
        bye.edit().set(Header::To, "<sip:bob@example.test>;tag=b1").finish()
    };
    bench.receive(bye("4"));
    assert_eq!(bench.take_events(), ["request BYE"], "inside a dialog there is a reserve");
    bench.receive(bye("5"));
    assert_eq!(bench.take_sent(), [(0, String::from("503"))]);
    bench.receive(request("CANCEL", &via("1"), ""));
    assert_eq!(bench.take_sent(), [(0, String::from("200"))]);
    assert_eq!(bench.take_events(), ["cancel"], "what frees a place is never shed");
}

#[test]
fn a_response_that_cannot_be_sent() {
    let (mut bench, key, message) = invited(Transport::Udp);
    bench.respond(key, &message, 180);
    let id = bench.last_transmission.unwrap();
    bench.layer.transport_failed(bench.now, id);
    bench.drain();
    assert_eq!(bench.take_events(), ["failed Transport"]);
    assert_eq!(bench.layer.gauge().server, 1, "RFC 6026 §8.8: it remains");
}

#[test]
fn a_closed_connection_leaves_the_address() {
    let mut bench = Bench::new(Transport::Tcp);
    bench.flow.peer = address("192.0.2.7:40001");
    bench.receive(request("INVITE", "SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK1", ""));
    let (key, message) = bench.last_request();
    bench.respond(key, &message, 180);
    bench.layer.flow_closed(bench.now, FlowId(1));
    bench.respond(key, &message, 200);
    let targets: Vec<_> = bench.sent.iter().map(|(_, _, target)| *target).collect();
    assert_eq!(targets[0].flow, Some(FlowId(1)));
    assert_eq!((targets[1].flow, targets[1].address), (None, address("192.0.2.7:5060")), "§18.2.2: the sent-by's port");
}

#[test]
fn a_request_by_two_paths_is_merged() {
    let mut bench = Bench::new(Transport::Udp);
    bench.receive(request("INVITE", &via("1"), ""));
    let (first, _) = bench.last_request();
    bench.receive(request("INVITE", &via("2"), ""));
    let (second, _) = bench.last_request();
    assert!(!bench.layer.is_merged(first));
    assert!(bench.layer.is_merged(second));
}
