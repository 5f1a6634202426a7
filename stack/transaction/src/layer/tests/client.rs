//! RFC 3261 §17.1 and §9.1. Catches: a wrong retransmission schedule, a missing or malformed ACK, a lost 2xx, a CANCEL sent
//! too early or for nothing, a transaction that never goes away.

use super::*;
use crate::Dropped;

#[test]
fn an_invite_nobody_answers() {
    let mut bench = Bench::new(Transport::Udp);
    bench.send(own(Method::Invite));
    bench.run_to(31_999);
    assert_eq!(times(&bench.take_sent()), [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert!(bench.take_events().is_empty());
    bench.run_to(32_000);
    assert_eq!(bench.take_events(), ["failed Timeout", "terminated"]);
    assert!(bench.layer.gauge().is_zero());
    assert_eq!(bench.layer.counters().retransmitted, 6);
}

#[test]
fn over_a_reliable_transport_nothing_is_sent_again() {
    for method in [Method::Invite, Method::Options] {
        let mut bench = Bench::new(Transport::Tcp);
        bench.send(own(method));
        bench.run_to(32_000);
        assert_eq!(times(&bench.take_sent()), [0]);
        assert_eq!(bench.take_events(), ["failed Timeout", "terminated"]);
        assert!(bench.layer.gauge().is_zero());
    }
}

#[test]
fn a_non_invite_nobody_answers() {
    let mut bench = Bench::new(Transport::Udp);
    bench.send(own(Method::Options));
    bench.run_to(40_000);
    let expected = [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(times(&bench.take_sent()), expected);
    assert_eq!(bench.take_events(), ["failed Timeout", "terminated"]);
}

#[test]
fn a_non_invite_proceeding_goes_on_every_t2() {
    let mut bench = Bench::new(Transport::Udp);
    bench.send(own(Method::Options));
    let request = bench.sent[0].1.clone();
    bench.run_to(600);
    bench.answer(&request, 100, "b");
    bench.run_to(10_000);
    assert_eq!(times(&bench.take_sent()), [0, 500, 1_500, 5_500, 9_500]);
    bench.answer(&request, 200, "b");
    bench.answer(&request, 200, "b");
    assert_eq!(bench.take_events(), ["response 100", "response 200"]);
    assert_eq!(bench.layer.counters().absorbed, 1);
    bench.run_to(14_999);
    assert_eq!(bench.layer.gauge().client, 1, "timer K");
    bench.run_to(15_000);
    assert_eq!(bench.take_events(), ["terminated"]);
    assert!(bench.layer.gauge().is_zero());
}

#[test]
fn a_provisional_response_ends_retransmission_and_timer_b() {
    let mut bench = Bench::new(Transport::Udp);
    bench.send(own(Method::Invite));
    let invite = bench.sent[0].1.clone();
    bench.answer(&invite, 180, "b");
    bench.run_to(600_000);
    assert_eq!(times(&bench.take_sent()), [0]);
    assert_eq!(bench.layer.gauge().timers, 0, "timer C is the proxy's");
    assert_eq!(bench.layer.gauge().client, 1);
}

#[test]
fn a_failure_is_acknowledged_each_time() {
    let mut bench = Bench::new(Transport::Udp);
    bench.send(own(Method::Invite));
    let invite = bench.sent[0].1.clone();
    bench.take_sent();
    bench.answer(&invite, 486, "b7");
    let ack = bench.sent[0].1.clone();
    assert_eq!(ack.method(), Method::Ack);
    assert_eq!(ack.request_uri(), invite.request_uri());
    assert_eq!(ack.header(Header::Via), invite.header(Header::Via), "the same branch");
    assert_eq!(ack.header(Header::To), Some("<sip:bob@example.test>;tag=b7"), "the response's To");
    assert_eq!(ack.header(Header::From), invite.header(Header::From));
    assert_eq!(ack.header(Header::Route), invite.header(Header::Route));
    assert_eq!(ack.header(Header::CSeq), Some("1 ACK"));
    assert_eq!(ack.call_id(), Some("c1"));
    Message::parse(ack.as_bytes().clone()).expect("a peer can read it");

    bench.run_to(31_999);
    bench.answer(&invite, 486, "b7");
    assert_eq!(times(&bench.take_sent()), [0, 31_999]);
    assert_eq!(bench.take_events(), ["response 486"]);
    bench.run_to(32_000);
    assert_eq!(bench.take_events(), ["terminated"], "timer D");
    assert!(bench.layer.gauge().is_zero());

    let mut bench = Bench::new(Transport::Tcp);
    bench.send(own(Method::Invite));
    let invite = bench.sent[0].1.clone();
    bench.answer(&invite, 486, "b7");
    assert_eq!(bench.take_events(), ["response 486", "terminated"], "timer D is zero");
    assert!(bench.layer.gauge().is_zero());
}

#[test]
fn every_2xx_reaches_the_user() {
    let mut bench = Bench::new(Transport::Udp);
    bench.send(own(Method::Invite));
    let invite = bench.sent[0].1.clone();
    bench.take_sent();
    bench.answer(&invite, 200, "b1");
    bench.run_to(500);
    bench.answer(&invite, 200, "b1");
    bench.answer(&invite, 200, "fork");
    bench.answer(&invite, 180, "late");
    assert_eq!(bench.take_events(), ["response 200"; 3]);
    assert!(bench.take_sent().is_empty(), "the ACK is the user's");
    assert_eq!(bench.layer.counters().dropped(Dropped::Unexpected), 1);
    bench.run_to(31_999);
    assert_eq!(bench.layer.gauge().client, 1);
    bench.run_to(32_000);
    assert_eq!(bench.take_events(), ["terminated"], "timer M");
    bench.answer(&invite, 200, "b1");
    assert_eq!(bench.take_events(), ["stray 200"]);
    assert_eq!(bench.layer.counters().stray_responses, 1);
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut bench = Bench::new(Transport::Udp);
    let key = bench.send(own(Method::Invite));
    let invite = bench.sent[0].1.clone();
    bench.take_sent();
    bench.layer.cancel_with_reason(bench.now, key, Some("SIP;cause=200"));
    bench.layer.cancel(bench.now, key);
    bench.drain();
    assert!(bench.take_sent().is_empty());
    bench.answer(&invite, 180, "b");
    let (_, cancel, target) = bench.sent[0].clone();
    assert_eq!(bench.take_sent(), [(0, String::from("CANCEL"))]);
    assert_eq!(target, bench.flow.reply_target());
    for header in [Header::Via, Header::From, Header::To, Header::CallId, Header::Route] {
        assert_eq!(cancel.header(header), invite.header(header));
    }
    assert_eq!(cancel.request_uri(), invite.request_uri());
    assert_eq!(cancel.header(Header::CSeq), Some("1 CANCEL"));
    assert_eq!(cancel.header(Header::Reason), Some("SIP;cause=200"));
    Message::parse(cancel.as_bytes().clone()).expect("a peer can read it");

    bench.answer(&cancel, 200, "b");
    bench.answer(&invite, 487, "b");
    assert_eq!(bench.take_events(), ["response 180", "response 487"], "the CANCEL's 200 is the layer's");
    assert_eq!(bench.take_sent(), [(0, String::from("ACK"))]);
    bench.run_to(32_000);
    assert_eq!(bench.take_events(), ["terminated"]);
    assert!(bench.layer.gauge().is_zero());
}

#[test]
fn cancel_is_not_sent_after_a_final_response() {
    let mut bench = Bench::new(Transport::Udp);
    let key = bench.send(own(Method::Invite));
    let invite = bench.sent[0].1.clone();
    bench.take_sent();
    bench.layer.cancel(bench.now, key);
    bench.answer(&invite, 200, "b");
    bench.answer(&invite, 180, "b");
    bench.layer.cancel(bench.now, key);
    bench.drain();
    assert!(bench.take_sent().is_empty());
    assert_eq!(bench.take_events(), ["response 200"]);
}

#[test]
fn a_cancelled_invite_ends_without_a_487() {
    let mut bench = Bench::new(Transport::Udp);
    let key = bench.send(own(Method::Invite));
    let invite = bench.sent[0].1.clone();
    bench.answer(&invite, 180, "b");
    bench.run_to(1_000);
    bench.layer.cancel(bench.now, key);
    bench.drain();
    let cancel = bench.sent[1].1.clone();
    bench.answer(&cancel, 200, "b");
    bench.take_events();
    bench.run_to(32_999);
    assert!(bench.take_events().is_empty());
    bench.run_to(33_000);
    assert_eq!(bench.take_events(), ["failed Timeout", "terminated"], "64*T1 after the CANCEL");
    assert!(bench.layer.gauge().is_zero());
}

#[test]
fn the_table_has_a_maximum() {
    let config = Config { client_transactions_max: 2, ..Config::default() };
    let mut bench = Bench::with(Transport::Tcp, config);
    bench.send(own(Method::Options));
    bench.send(own(Method::Options));
    let (target, spec) = (bench.flow.reply_target(), ViaSpec::new("192.0.2.1"));
    let refused = bench.layer.request(bench.now, own(Method::Options), target, &spec);
    assert_eq!(refused, Err(crate::Full { client_transactions_max: 2 }));
    assert_eq!(bench.layer.counters().requests_full, 1);
    let first = bench.sent[0].1.clone();
    bench.answer(&first, 200, "b");
    bench.send(own(Method::Options));
    assert_eq!(bench.layer.gauge().client, 2);
}

#[test]
fn the_transport_fails() {
    let mut bench = Bench::new(Transport::Udp);
    bench.send(own(Method::Invite));
    let id = bench.last_transmission.unwrap();
    bench.layer.transport_failed(bench.now, id);
    bench.drain();
    assert_eq!(bench.take_events(), ["failed Transport", "terminated"]);
    assert!(bench.layer.gauge().is_zero());
    bench.layer.transport_failed(bench.now, id);
    bench.drain();
    assert!(bench.take_events().is_empty(), "an old name names nothing");
}

#[test]
fn a_connection_closes() {
    let mut bench = Bench::new(Transport::Tcp);
    bench.send(own(Method::Invite));
    bench.send(own(Method::Invite));
    let answered = bench.sent[1].1.clone();
    bench.answer(&answered, 180, "b");
    bench.take_events();
    bench.layer.flow_closed(bench.now, FlowId(2));
    bench.layer.flow_closed(bench.now, FlowId(1));
    bench.drain();
    assert_eq!(bench.take_events(), ["failed Transport", "terminated"], "the other's answer comes by a new connection");
    bench.answer(&answered, 200, "b");
    assert_eq!(bench.take_events(), ["response 200"]);
    bench.run_to(32_000);
    assert!(bench.layer.gauge().is_zero());
}
