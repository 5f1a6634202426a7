//! The process as its operator has it: killed in mid-call, told to end, told to read its configuration again.

use std::time::Duration;

use crate::support::exchange::{Configuration, Exchange};
use crate::support::sipp::{RunningSipp, Sipp};
use crate::support::wait_for;

const ECHO: &str = "+12125550100";

/// Waits until the gateway has answered a call.
fn answered(exchange: &Exchange) {
    let rest = exchange.rest();
    wait_for("an answered call", Duration::from_secs(10), || {
        (rest.metric("strowger_proxy_calls_answered") == 1).then_some(())
    });
}

fn call(exchange: &Exchange, talk: Duration) -> RunningSipp {
    let call = Sipp::call(exchange, ECHO).talking(talk).start();
    answered(exchange);
    call
}

#[test]
fn killed_in_mid_call_nothing_is_lost_from_the_books() {
    let configuration = Configuration::example()
        .with("token_validity_seconds = 300", "token_validity_seconds = 3")
        .with("maximum_granted_seconds = 14400", "maximum_granted_seconds = 4")
        .with("usage_match_seconds = 30", "usage_match_seconds = 1")
        .with("reservation_margin_seconds = 60", "reservation_margin_seconds = 3");
    let mut exchange = Exchange::start(configuration);
    let call = call(&exchange, Duration::from_secs(30));
    let reserved = exchange.rest().account("1000");
    assert!(reserved.pending_debits_nanos > 0, "money is reserved while a call runs: {reserved:?}");
    exchange.kill();
    drop(call);

    exchange.start_again();
    let rest = exchange.rest();
    assert_eq!(rest.account("1000"), reserved, "what was reserved is reserved still");
    assert_eq!(rest.open_calls(), 1, "the call is open still");
    rest.proves_the_books();

    // nobody reports its usage any more: the reservation ends with the authorization, and the margin after it
    rest.settled(Duration::from_secs(30));
    let after = rest.account("1000");
    assert_eq!(after.pending_debits_nanos, 0, "{after:?}");
    assert_eq!(rest.account("2000").pending_credits_nanos, 0);
    assert_eq!(rest.cdrs().len(), 1, "there is a record of the call");
    rest.proves_the_books();

    // and the next call is like any other
    Sipp::call(&exchange, ECHO).succeeds();
    rest.settled(Duration::from_secs(20));
    rest.proves_the_books();
}

#[test]
fn terminated_in_mid_call_it_lets_the_call_end() {
    let mut exchange = Exchange::example();
    let running = call(&exchange, Duration::from_secs(4));
    exchange.signal("TERM");
    std::thread::sleep(Duration::from_millis(300));
    Sipp::refused_at_once(&exchange, ECHO, 503).succeeds();
    running.succeeds();
    let finished = exchange.finish(Duration::from_secs(15));
    assert!(finished.status.success(), "{}: {}", finished.status, finished.err);

    exchange.start_again();
    let rest = exchange.rest();
    rest.settled(Duration::from_secs(5));
    let cdrs = rest.cdrs();
    assert_eq!(cdrs.len(), 1, "the call that ran is recorded, the refused one never began: {cdrs:?}");
    assert_eq!(cdrs[0]["state"], "matched", "{}", cdrs[0]);
    assert!(rest.account("2000").posted_nanos > 0, "the call that ran is paid");
    rest.proves_the_books();
}

#[test]
fn idle_it_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let mut exchange = Exchange::example();
        exchange.signal(signal);
        let finished = exchange.finish(Duration::from_secs(5));
        assert!(finished.status.success(), "{}: {}", finished.status, finished.err);
    }
}

#[test]
fn hung_up_it_reads_its_configuration_again() {
    let exchange = Exchange::example();
    assert!(!Sipp::register(&exchange, "carol").tries(), "nobody knows carol yet");
    let path = exchange.configuration();
    let before = std::fs::read_to_string(&path).expect("the configuration");
    let carol = "\n[[subscriber]]\nuser = \"carol\"\npassword = \"secret\"\n";

    // a wrong file changes nothing
    std::fs::write(&path, format!("{before}{carol}[proxi]\n")).expect("the configuration");
    exchange.signal("HUP");
    wait_for("the log of the wrong configuration", Duration::from_secs(5), || {
        exchange.log().contains("proxi").then_some(())
    });
    Sipp::register(&exchange, "alice").succeeds();

    std::fs::write(&path, before + carol).expect("the configuration");
    exchange.signal("HUP");
    wait_for("carol's registration", Duration::from_secs(8), || {
        Sipp::register(&exchange, "carol").tries().then_some(())
    });
    Sipp::call(&exchange, ECHO).succeeds();
}
