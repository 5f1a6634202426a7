//! SIPp registers and calls with the example configuration: RFC 3665's flows, with digest, over UDP and TCP.

use std::time::Duration;

use crate::support::exchange::Exchange;
use crate::support::scratch::loopback;
use crate::support::sipp::{Sipp, Transport};

const ECHO: &str = "+12125550100";

#[test]
fn registers_over_udp_and_tcp() {
    let exchange = Exchange::example();
    Sipp::register(&exchange, "alice").succeeds();
    Sipp::register(&exchange, "alice").over(Transport::Tcp).succeeds();
    Sipp::register(&exchange, "bob").over(Transport::Tcp).succeeds();
    assert!(!Sipp::register(&exchange, "bob").with_password("wrong").tries(), "a wrong password was taken");
    assert_eq!(exchange.rest().metric("strowger_proxy_registrations"), 3);
}

#[test]
fn calls_the_telephone_network_over_udp_and_is_charged() {
    calls_the_telephone_network(Transport::Udp);
}

#[test]
fn calls_the_telephone_network_over_tcp_and_is_charged() {
    calls_the_telephone_network(Transport::Tcp);
}

fn calls_the_telephone_network(over: Transport) {
    let exchange = Exchange::example();
    let ip = loopback();
    Sipp::register(&exchange, "alice").at(ip).over(over).succeeds();
    let before = exchange.rest().account("1000");
    let messages = Sipp::call(&exchange, ECHO).at(ip).over(over).talking(Duration::from_millis(2_500)).succeeds();
    let progress = messages.response(183).expect("a 183 with the network's tones");
    assert!(progress.contains("m=audio"), "the 183 has no session description:\n{progress}");

    let rest = exchange.rest();
    rest.settled(Duration::from_secs(10));
    let cdrs = rest.cdrs();
    assert_eq!(cdrs.len(), 1, "{cdrs:?}");
    let cdr = &cdrs[0];
    assert_eq!((&cdr["calling"], &cdr["called"]), (&"12125550001".into(), &"12125550100".into()));
    assert_eq!((&cdr["state"], &cdr["disagreement"]), (&"matched".into(), &false.into()), "{cdr}");
    assert!((2..=4).contains(&cdr["rated_seconds"].as_u64().unwrap_or(0)), "{cdr}");
    let (sell, cost) = (cdr["sell"]["nanos"].as_i64().unwrap_or(0), cdr["cost"]["nanos"].as_i64().unwrap_or(0));
    assert!(sell > cost && cost > 0, "{cdr}");

    // what the caller's carrier paid, the other and the house have
    let after = rest.account("1000");
    assert_eq!(before.posted_nanos - after.posted_nanos, sell, "{before:?} {after:?}");
    assert_eq!(rest.account("2000").posted_nanos, cost);
    assert_eq!(after.pending_debits_nanos, 0);
    rest.proves_the_books();
}

#[test]
fn phone_calls_phone() {
    let exchange = Exchange::example();
    let (alice, bob) = (loopback(), loopback());
    Sipp::register(&exchange, "bob").at(bob).succeeds();
    let answering = Sipp::answer(&exchange, "bob", bob).start();
    let messages = Sipp::call(&exchange, "bob").at(alice).succeeds();
    assert!(messages.response(180).is_some(), "no ringing:\n{}", messages.text());
    answering.succeeds();
    assert_eq!(exchange.rest().cdrs(), Vec::<serde_json::Value>::new(), "a call inside the house costs nothing");
    exchange.rest().proves_the_books();
}
