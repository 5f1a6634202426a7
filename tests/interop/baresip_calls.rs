//! baresip, with sound: what it says arrives, what it should hear is in its recording.

use std::time::Duration;

use crate::support::baresip::{Baresip, Sound};
use crate::support::exchange::Exchange;
use crate::support::sound::{Heard, count, first, picture};

const ANSWER_LIMIT: Duration = Duration::from_secs(8);

#[test]
fn hears_ringback_announcement_and_its_own_echo_over_udp() {
    echo_call("udp");
}

#[test]
fn hears_ringback_announcement_and_its_own_echo_over_tcp() {
    echo_call("tcp");
}

fn echo_call(transport: &str) {
    let exchange = Exchange::example();
    let mut alice = Baresip::registered(&exchange, "alice", transport, Sound::Voice(30));
    alice.command("dial", "sip:+12125550100@example.test");
    alice.event("CALL_PROGRESS", ANSWER_LIMIT);
    alice.event("CALL_ESTABLISHED", ANSWER_LIMIT);
    // five seconds of announcement, then the echo
    std::thread::sleep(Duration::from_secs(8));
    alice.command("hangup", "");
    alice.event("CALL_CLOSED", ANSWER_LIMIT);
    let heard = alice.heard();
    alice.quits();

    let picture = picture(&heard);
    let of = |what| count(&heard, what);
    assert!(of(Heard::Ringback) >= 5, "half a second of ringback is wanted: {picture}");
    assert!(of(Heard::Speech) >= 25, "an announcement is wanted: {picture}");
    assert!(of(Heard::Voice) >= 10, "a second of the phone's own tone is wanted: {picture}");
    let order = [Heard::Ringback, Heard::Speech, Heard::Voice].map(|what| first(&heard, what));
    assert!(order.is_sorted(), "ringback, announcement, echo is the order wanted: {picture}");

    let rest = exchange.rest();
    rest.settled(Duration::from_secs(10));
    assert_eq!(rest.cdrs().len(), 1);
    rest.proves_the_books();
}

#[test]
fn phone_calls_phone_across_transports() {
    let exchange = Exchange::example();
    let bob = Baresip::registered(&exchange, "bob", "tcp", Sound::Echo);
    let mut alice = Baresip::registered(&exchange, "alice", "udp", Sound::Voice(20));
    alice.command("dial", "sip:bob@example.test");
    alice.event("CALL_ESTABLISHED", ANSWER_LIMIT);
    std::thread::sleep(Duration::from_secs(2));
    alice.command("hangup", "");
    alice.event("CALL_CLOSED", ANSWER_LIMIT);
    for (name, heard) in [("bob", bob.heard()), ("alice, of bob's echo,", alice.heard())] {
        assert!(count(&heard, Heard::Voice) >= 10, "{name} heard no second of alice's tone: {}", picture(&heard));
    }
    alice.quits();
    bob.quits();
}
