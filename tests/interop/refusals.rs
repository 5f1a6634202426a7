//! What a caller sees when a call cannot be had, and what it does not see: a gateway that fails before another carries the call.

use std::time::Duration;

use crate::support::exchange::{Configuration, Exchange};
use crate::support::sipp::Sipp;

/// The refusals of the telephone network, in the words of SIP (RFC 3398 §7.2.4.1), with the cause they come from. The gateway's
/// 503 for congestion is a 500 behind the proxy, whose other gateways may well have circuits (RFC 3261 §16.7, step 6).
#[test]
fn causes_of_the_telephone_network_reach_the_caller() {
    let exchange = Exchange::example();
    for (number, status, cause) in [("+12125550101", 486, 17), ("+12125550104", 404, 1), ("+12125550105", 500, 34)] {
        let messages = Sipp::refused(&exchange, number, status).succeeds();
        let response = messages.response(status).unwrap_or_default();
        assert!(response.contains(&format!("cause={cause}")), "{number}: no Q.850 cause {cause}:\n{response}");
    }
    nothing_is_owed(&exchange, 3);
}

#[test]
fn number_without_a_route_is_not_found() {
    let exchange = Exchange::example();
    Sipp::refused(&exchange, "+442079460100", 404).succeeds();
    exchange.rest().settled(Duration::from_secs(5));
    exchange.rest().proves_the_books();
}

#[test]
fn gateway_that_refuses_is_passed_over() {
    let refusing = "rtp_ports = \"20000-24999\"";
    let configuration = Configuration::example().with(refusing, &format!("{refusing}\nrefuse_all = 503"));
    second_gateway_carries(&Exchange::start(configuration));
}

#[test]
fn gateway_that_is_away_is_passed_over() {
    let listen = "listen = [\"udp://{ip}:5070\", \"tcp://{ip}:5070\"]";
    // the clearinghouse still says 5070
    let configuration = Configuration::example().with(listen, "listen = [\"udp://{ip}:5074\"]");
    second_gateway_carries(&Exchange::start(configuration));
}

fn second_gateway_carries(exchange: &Exchange) {
    Sipp::call(exchange, "+12125550100").succeeds();
    let rest = exchange.rest();
    rest.settled(Duration::from_secs(10));
    let cdrs = rest.cdrs();
    assert_eq!(cdrs.len(), 1, "{cdrs:?}");
    assert_eq!(cdrs[0]["attempts"].as_array().map(Vec::len), Some(2), "two gateways are tried: {}", cdrs[0]);
    assert_eq!(rest.account("2000").posted_nanos, 0, "who did not carry is not paid");
    assert!(rest.account("2001").posted_nanos > 0, "who carried is paid");
    rest.proves_the_books();
}

/// Calls that failed are on record, cost nothing, and hold no reservation.
fn nothing_is_owed(exchange: &Exchange, calls: usize) {
    let rest = exchange.rest();
    rest.settled(Duration::from_secs(10));
    let cdrs = rest.cdrs();
    assert_eq!(cdrs.len(), calls, "{cdrs:?}");
    assert!(cdrs.iter().all(|cdr| cdr["sell"]["nanos"] == 0), "{cdrs:?}");
    let callers = rest.account("1000");
    assert_eq!((callers.posted_nanos, callers.pending_debits_nanos), (1_000_000_000_000, 0));
    rest.proves_the_books();
}
