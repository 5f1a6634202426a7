//! Every token that must not admit a call, with the answer it gets.

use std::time::Duration;

use strowger_enrollment::Authority;
use strowger_sip::Header;
use strowger_token::{Signer, TokenInfo};

use super::world::{ECHO, OFFER, START, World};
use crate::RefusalReason;

fn refused_with(world: &World, reason: RefusalReason) {
    let answer = world.refusal();
    assert_eq!(answer.status(), Some(reason.status()), "{reason:?}");
    assert!(answer.reason().eq_ignore_ascii_case(reason.text()), "{}", answer.reason());
    assert!(answer.header(Header::Warning).is_some_and(|warning| warning.contains(reason.text())));
    assert!(answer.header(Header::Reason).is_some_and(|value| value.starts_with("Q.850;cause=21;")));
    assert_eq!(world.refused().reason, reason);
    assert_eq!(world.core.counters().refused(reason), 1);
    assert!(world.usages().is_empty(), "nobody vouches for it: nothing is reported");
}

#[test]
fn each_bad_token_has_its_own_answer() {
    type Change = fn(&mut TokenInfo);
    let cases: [(RefusalReason, Change); 5] = [
        (RefusalReason::TokenForeignGateway, |token| token.gateway = "gw2".into()),
        (RefusalReason::TokenNotYetValid, |token| token.valid_after = START + Duration::from_secs(60)),
        (RefusalReason::TokenExpired, |token| token.valid_until = token.valid_after),
        (RefusalReason::TokenWrongNumber, |token| token.called = "12125550101".into()),
        (RefusalReason::TokenWrongCall, |token| token.call_id = b"call-2".to_vec()),
    ];
    for (reason, change) in cases {
        let mut world = World::new();
        let mut token = world.token(ECHO, "call-1");
        change(&mut token);
        let header = world.header(&token);
        world.invite(ECHO, "call-1", Some(OFFER), vec![header]);
        refused_with(&world, reason);
        world.settle();
    }
}

#[test]
fn missing_unreadable_and_forged() {
    let mut world = World::new();
    world.invite(ECHO, "call-1", Some(OFFER), Vec::new());
    refused_with(&world, RefusalReason::TokenMissing);
    world.settle();

    for text in ["%%%", "AAAA", &"A".repeat(8_000)] {
        let mut world = World::new();
        world.invite(ECHO, "call-1", Some(OFFER), vec![("P-OSP-Auth-Token".to_owned(), text.to_owned())]);
        refused_with(&world, RefusalReason::TokenUnreadable);
        world.settle();
    }

    let mut world = World::new();
    let other = Authority::create("Example", "CA", START, Duration::from_secs(86_400), [8; 16]).unwrap();
    let good =
        std::mem::replace(&mut world.signer, Signer::from_pkcs8(&other.key_pkcs8(), other.certificate()).unwrap());
    world.call(ECHO, "call-1");
    refused_with(&world, RefusalReason::TokenForged);
    // the right key again, and the call goes
    world.signer = good;
    world.call(ECHO, "call-1");
    assert_eq!(world.core.counters().calls, 1);
}

#[test]
fn a_token_admits_one_call_and_once() {
    let mut world = World::new();
    let token = world.token(ECHO, "call-1");
    let header = world.header(&token);
    let call = world.invite(ECHO, "call-1", Some(OFFER), vec![header.clone()]);
    world.run_ms(1500);
    world.caller_does(|agent, now, layer| agent.hang_up(now, layer, call, None)).unwrap();
    assert_eq!(world.usages().len(), 1);
    world.effects.clear();
    world.invite(ECHO, "call-1", Some(OFFER), vec![header]);
    refused_with(&world, RefusalReason::TokenReplayed);
    world.settle();
}
