//! What is full, missing, going out of service or failing.

use std::time::Duration;

use strowger_isup::Cause;
use strowger_sip::Header;
use strowger_transaction::TransactionUser as _;

use super::world::{ECHO, OFFER, World};
use crate::{Config, Effect, Input, Limits, RefusalReason, ReleaseSource};

#[test]
fn the_thirtieth_call_has_a_circuit_and_the_next_is_503_with_cause_34() {
    let mut world = World::new();
    for number in 0..30 {
        world.call(ECHO, &format!("call-{number}"));
    }
    assert_eq!(world.core.counters().circuits_now, 30);
    world.call(ECHO, "call-30");
    let refusal = world.refusal();
    assert_eq!(refusal.status(), Some(503));
    assert!(refusal.header(Header::Reason).unwrap().starts_with("Q.850;cause=34;"));
    assert_eq!(world.refused().reason, RefusalReason::NoCircuit);
    assert_eq!((world.usage().cause, world.usage().release), (Cause::NO_CIRCUIT, ReleaseSource::Gateway));
    world.run_ms(3000);
    assert_eq!(world.core.counters().calls_answered, 30);
    world.input(Input::HangUpAll);
    assert_eq!(world.usages().len(), 31);
    world.settle();
}

#[test]
fn circuits_are_kept_for_calls_that_wait_for_their_port() {
    let mut world = World::new();
    world.media = false;
    for number in 0..30 {
        world.call(ECHO, &format!("call-{number}"));
    }
    world.call(ECHO, "call-30");
    assert_eq!(world.refused().reason, RefusalReason::NoCircuit);
    // the ports come, or do not
    for call in 1..=29 {
        world.input(Input::MediaOpened { call, port: 20_000 });
    }
    world.input(Input::MediaFailed { call: 30 });
    assert_eq!(world.refused().reason, RefusalReason::NoMedia);
    assert_eq!(world.core.counters().circuits_now, 29);
    // one that closed late is still reported
    world.run_ms(2000);
    assert_eq!(world.usages().len(), 2);
    assert!(world.usages().iter().all(|usage| usage.media.is_none()));
}

#[test]
fn a_media_driver_that_says_nothing_is_503() {
    let mut world = World::new();
    world.media = false;
    world.call(ECHO, "call-1");
    world.run_ms(1999);
    assert!(!world.effects.iter().any(|effect| matches!(effect, Effect::Refused(_))));
    world.run_ms(1);
    assert_eq!(world.refused().reason, RefusalReason::NoMedia);
    assert!(world.effects.iter().any(|effect| matches!(effect, Effect::CloseMedia { call: 1 })));
    // too late
    world.input(Input::MediaOpened { call: 1, port: 20_000 });
    assert_eq!(world.core.counters().circuits_now, 0);
    world.run_ms(2000);
    assert_eq!(world.usage().cause, Cause::RESOURCE_UNAVAILABLE);
    world.settle();
}

#[test]
fn calls_have_a_maximum() {
    let mut world = World::with(|config| config.limits = Limits { calls: 2, ..Limits::default() });
    world.call(ECHO, "call-1");
    world.call(ECHO, "call-2");
    world.call(ECHO, "call-3");
    assert_eq!((world.refusal().status(), world.refused().reason), (Some(503), RefusalReason::TooManyCalls));
    world.input(Input::Limits(Limits { calls: 3, ..Limits::default() }));
    world.call(ECHO, "call-4");
    assert_eq!(world.core.counters().calls, 3);
    world.input(Input::HangUpAll);
    world.settle();
}

#[test]
fn tokens_have_a_maximum() {
    let mut world = World::with(|config| config.limits = Limits { tokens: 1, ..Limits::default() });
    world.call(ECHO, "call-1");
    world.call(ECHO, "call-2");
    assert_eq!((world.refusal().status(), world.refused().reason), (Some(503), RefusalReason::TokensFull));
    // the first one's time is over
    world.run(Duration::from_secs(300));
    world.call(ECHO, "call-3");
    assert_eq!(world.core.counters().calls, 2);
}

#[test]
fn without_the_authority_no_call_is_taken_until_it_is_known() {
    let verifier = std::cell::Cell::new(None);
    let mut world = World::with(|config| verifier.set(config.authorities.take()));
    world.call(ECHO, "call-1");
    assert_eq!((world.refusal().status(), world.refused().reason), (Some(503), RefusalReason::NoAuthority));
    world.input(Input::Authorities(verifier.take().unwrap()));
    world.call(ECHO, "call-2");
    assert_eq!(world.core.counters().calls, 1);
}

#[test]
fn the_fault_switch_answers_every_invite() {
    let mut world = World::with(|config| config.refuse_all = Some(502));
    world.call(ECHO, "call-1");
    assert_eq!((world.refusal().status(), world.refused().reason), (Some(502), RefusalReason::FaultSwitch));
    world.input(Input::RefuseAll(None));
    world.call(ECHO, "call-2");
    assert_eq!(world.core.counters().calls, 1);
}

#[test]
fn names_and_numbers_that_are_too_long_are_484() {
    let mut world = World::new();
    for called in ["bob", "1212555010012125550100121255501001"] {
        world.invite(called, "call-1", Some(OFFER), Vec::new());
        assert_eq!((world.refusal().status(), world.refused().reason), (Some(484), RefusalReason::NotANumber));
    }
    world.settle();
}

#[test]
fn draining_takes_no_calls_and_ends_with_the_last() {
    let mut world = World::new();
    let call = world.call(ECHO, "call-1");
    world.run_ms(2000);
    world.input(Input::Drain);
    world.call(ECHO, "call-2");
    assert_eq!((world.refusal().status(), world.refused().reason), (Some(503), RefusalReason::Draining));
    assert!(!world.effects.contains(&Effect::Drained));
    world.caller_does(|agent, now, layer| agent.hang_up(now, layer, call, None)).unwrap();
    assert_eq!(world.effects.iter().filter(|effect| **effect == Effect::Drained).count(), 1);
    assert_eq!(world.usage().cause, Cause::NORMAL_CLEARING);
    world.settle();
}

#[test]
fn a_reload_leaves_calls_and_used_tokens_alone() {
    let mut world = World::new();
    world.call(ECHO, "call-1");
    let kept = world.core.counters().tokens_now;
    let config = Config { no_answer: Duration::from_secs(9), ..world.core.config.clone() };
    world.input(Input::Reload(Box::new(config)));
    assert_eq!((world.core.counters().tokens_now, world.core.counters().calls_now), (kept, 1));
    world.run_ms(1500);
    assert_eq!(world.core.counters().calls_answered, 1);
    world.input(Input::HangUp { call: 1 });
    assert_eq!(world.usage().release, ReleaseSource::Gateway);
    world.settle();
}

#[test]
fn units_that_are_no_messages_are_counted() {
    let mut world = World::new();
    for unit in [vec![], vec![0x85], vec![0xff; 300], vec![0x05, 1, 2, 3, 4, 5, 6, 7]] {
        world.core.input(world.now, Input::Msu(unit), &mut world.layer);
        world.drain();
    }
    assert_eq!(world.core.counters().msus_dropped, 4);
    world.settle();
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    /// Whatever the exchange sends in the middle of a call, the call can be ended and leaves nothing.
    #[test]
    fn no_unit_of_the_exchange_breaks_a_call(units in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), 1..8), valid_head in proptest::prelude::any::<bool>()) {
        let mut world = World::new();
        world.call(ECHO, "call-1");
        world.run_ms(500);
        for mut unit in units {
            // a label of ours and circuit 2, so that the message itself is looked at
            if valid_head && unit.len() > 8 {
                unit[..7].copy_from_slice(&[0x85, 0x01, 0x80, 0x00, 0x20, 0x02, 0x00]);
                unit[7] &= 0x3f;
            }
            world.input(Input::Msu(unit));
        }
        world.run_ms(2000);
        world.input(Input::HangUpAll);
        world.run(Duration::from_secs(5));
        proptest::prop_assert_eq!(world.core.counters().calls_now, 0);
        proptest::prop_assert_eq!(world.usages().len(), 1);
        proptest::prop_assert!(world.core.by_circuit.is_empty() && world.core.by_agent.is_empty());
        proptest::prop_assert!(world.core.timers.next_deadline().is_none());
    }
}
