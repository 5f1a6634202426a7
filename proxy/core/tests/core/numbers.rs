//! Calls to telephone numbers: clearing, gateways in order, usage.

use strowger_dialog::UserAgentEvent;
use strowger_proxy_core::{Authorization, Cause, ClearingRefusal, Effect, Input, ReleaseSource};
use strowger_simulation::NodeId;
use strowger_sip::{Builder, Header};

use crate::script::{number, response};
use crate::world::{World, authorized, config, destination, incoming_header};

/// Alice at 10; gateways at 21 and 22 as raw scripts.
fn world() -> (World, NodeId, [NodeId; 2]) {
    let mut world = World::new(config());
    let alice = world.agent(10, "alice");
    let gateways = [world.raw(21), world.raw(22)];
    (world, alice, gateways)
}

#[test]
fn the_invite_bears_the_token_and_usage_is_reported_once() {
    let mut world = World::new(config());
    let alice = world.agent(10, "alice");
    let gateway = world.agent(21, "gw");
    let call = world.dial(alice, "alice", &number());
    world.run_ms(200);
    assert_eq!(incoming_header(world.peer(gateway), Header::POspAuthToken), [destination(21).token_base64]);
    let query = world.core().core.calls().next().unwrap();
    assert_eq!((query.calling.as_str(), query.called.as_str()), ("12125550001", "12125550100"));
    world.ring(gateway, 183, Some(1));
    world.run_ms(1_000);
    world.answer(gateway, 1);
    world.run_ms(10_000);
    assert!(world.usages().is_empty());
    world.hang_up(alice, call);
    world.run_ms(100);
    let usages = world.usages();
    assert_eq!(usages.len(), 1);
    assert_eq!(usages[0].transaction_id, 4711);
    let [attempt] = &usages[0].attempts[..] else { panic!("one attempt") };
    assert_eq!(
        (attempt.duration_seconds(), &attempt.cause, attempt.release),
        (10, &Cause::Q850(16), ReleaseSource::Source)
    );
    assert!(attempt.alert.is_some() && attempt.start < attempt.alert.unwrap());
    world.settle();
    assert_eq!(world.usages().len(), 1);
}

#[test]
fn the_next_gateway_after_503() {
    let (mut world, alice, [first, second]) = world();
    let call = world.dial(alice, "alice", &number());
    world.run_ms(200);
    let invite = world.requests(first, "INVITE").pop().unwrap();
    world.send_raw(
        first,
        &Builder::response(&invite, 503, None).to_tag("x").header(Header::Reason, "Q.850;cause=34").build(),
    );
    world.run_ms(200);
    assert_eq!(world.requests(first, "ACK").len(), 1);
    let invite = world.requests(second, "INVITE").pop().expect("the second gateway is tried");
    assert_eq!(invite.header(Header::POspAuthToken), Some(destination(22).token_base64.as_str()));
    world.send_raw(second, &response(&invite, 200, "g2", 22, Some(1)));
    world.run_ms(100);
    assert!(world.peer(alice).is_answered());
    world.hang_up(alice, call);
    world.run_ms(100);
    let bye = world.requests(second, "BYE").pop().unwrap();
    world.send_raw(second, &response(&bye, 200, "g2", 22, None));
    let usages = world.usages();
    let causes: Vec<_> = usages[0].attempts.iter().map(|attempt| attempt.cause.clone()).collect();
    assert_eq!(causes, [Cause::Q850(34), Cause::Q850(16)]);
    assert_eq!(world.core().core.counters().destinations_failed, 1);
    world.settle();
}

/// A gateway that says nothing for three seconds is passed over; when it answers after all it is acknowledged and hung up,
/// once, however often its 200 comes.
#[test]
fn a_silent_gateway_that_answers_late() {
    let (mut world, alice, [first, second]) = world();
    let call = world.dial(alice, "alice", &number());
    world.run_ms(3_200);
    let late = world.requests(first, "INVITE").pop().unwrap();
    let invite = world.requests(second, "INVITE").pop().expect("the second gateway is tried");
    let mut answer = response(&late, 200, "g1", 21, Some(1)).edit();
    // a proxy of the gateway's own records its route above ours
    answer.push_front(Header::RecordRoute, "<sip:10.0.0.21:5060;lr>");
    let answer = answer.finish();
    for _ in 0..3 {
        world.send_raw(first, &answer);
        world.run_ms(50);
    }
    assert_eq!(world.requests(first, "ACK").len(), 3);
    let byes = world.requests(first, "BYE");
    assert_eq!(byes.len(), 1);
    assert_eq!(byes[0].values(Header::Route).collect::<Vec<_>>(), ["<sip:10.0.0.21:5060;lr>"]);
    assert_eq!(byes[0].request_uri(), "sip:gw@10.0.0.21:5060");
    world.send_raw(first, &response(&byes[0], 200, "g1", 21, None));
    assert!(!world.peer(alice).is_answered());
    world.send_raw(second, &response(&invite, 200, "g2", 22, Some(1)));
    world.run_ms(2_000);
    assert!(world.peer(alice).is_answered());
    world.hang_up(alice, call);
    world.run_ms(100);
    let bye = world.requests(second, "BYE").pop().unwrap();
    world.send_raw(second, &response(&bye, 200, "g2", 22, None));
    let attempts = &world.usages()[0].attempts;
    assert_eq!((attempts[0].duration_seconds(), attempts[1].duration_seconds()), (0, 2));
    assert_eq!(attempts[0].cause, Cause::Sip(408));
    world.settle();
}

/// Busy is busy by whatever gateway: the next is not tried.
#[test]
fn busy_is_final() {
    let (mut world, alice, [first, second]) = world();
    world.dial(alice, "alice", &number());
    world.run_ms(200);
    let invite = world.requests(first, "INVITE").pop().unwrap();
    world.send_raw(first, &response(&invite, 486, "g1", 21, None));
    world.run_ms(200);
    assert_eq!(world.peer(alice).rejected(), Some(486));
    assert!(world.requests(second, "INVITE").is_empty());
    let attempts = &world.usages()[0].attempts;
    assert_eq!((attempts.len(), &attempts[0].cause), (1, &Cause::Sip(486)));
    world.settle();
}

/// §16.7 step 6: a 503 of the last gateway is not the caller's.
#[test]
fn every_gateway_down_is_500() {
    let (mut world, alice, gateways) = world();
    world.dial(alice, "alice", &number());
    for (gateway, host) in gateways.into_iter().zip([21, 22]) {
        world.run_ms(200);
        let invite = world.requests(gateway, "INVITE").pop().unwrap();
        world.send_raw(gateway, &response(&invite, 503, "g", host, None));
    }
    world.run_ms(200);
    assert_eq!(world.peer(alice).rejected(), Some(500));
    assert_eq!(world.usages()[0].attempts.len(), 2);
    world.settle();
}

#[test]
fn what_the_clearinghouse_refuses() {
    let refused = |code| ClearingRefusal::Refused { code, description: "no".to_owned() };
    let cases = [
        (ClearingRefusal::Unavailable, 503),
        (refused(404), 404),
        (refused(428), 484),
        (refused(402), 403),
        (refused(401), 500),
        (refused(500), 503),
    ];
    for (refusal, status) in cases {
        let mut world = World::new(config());
        let given = refusal.clone();
        world.with_proxy(|proxy| proxy.clearing = Box::new(move |_| Some((10, Err(given.clone())))));
        let alice = world.agent(10, "alice");
        world.dial(alice, "alice", &number());
        world.run_ms(200);
        assert_eq!(world.peer(alice).rejected(), Some(status), "{refusal:?}");
        assert!(world.usages().is_empty(), "nothing was authorized");
        world.settle();
    }
}

/// The caller hangs up while the clearinghouse thinks: what it then reserves is given back, once.
#[test]
fn cancelled_while_clearing() {
    for outcome in [authorized(&[21, 22]), Err(ClearingRefusal::Unavailable)] {
        let mut world = World::new(config());
        world.with_proxy(|proxy| proxy.clearing = Box::new(|_| None));
        let alice = world.agent(10, "alice");
        let call = world.dial(alice, "alice", &number());
        world.run_ms(300);
        world.hang_up(alice, call);
        world.run_ms(100);
        assert_eq!(world.peer(alice).rejected(), Some(487));
        assert!(world.call_numbers().is_empty());
        assert_eq!(world.core().core.gauge().calls, 1, "it waits for the answer");
        let number = world.first_call();
        let authorized = outcome.is_ok();
        world.input(Input::Authorization { call: number, outcome });
        assert_eq!(world.core().core.gauge().calls, 0);
        let usages = world.usages();
        assert_eq!(usages.len(), usize::from(authorized));
        if let Some(usage) = usages.first() {
            assert_eq!(usage.attempts.len(), 1);
            assert_eq!((usage.attempts[0].duration_seconds(), &usage.attempts[0].cause), (0, &Cause::Sip(487)));
        }
        world.settle();
        assert_eq!(world.usages().len(), usize::from(authorized));
    }
}

/// The caller hangs up before the gateway has said anything, and while it rings.
#[test]
fn cancelled_while_calling_and_ringing() {
    for rings in [false, true] {
        let (mut world, alice, [first, second]) = world();
        let call = world.dial(alice, "alice", &number());
        world.run_ms(200);
        let invite = world.requests(first, "INVITE").pop().unwrap();
        if rings {
            world.send_raw(first, &response(&invite, 180, "g", 21, None));
            world.run_ms(300);
        }
        world.run_ms(300);
        world.hang_up(alice, call);
        world.run_ms(100);
        if !rings {
            assert!(world.requests(first, "CANCEL").is_empty(), "a CANCEL waits for a provisional (§9.1)");
            world.send_raw(first, &response(&invite, 100, "", 21, None));
            world.run_ms(50);
        }
        let cancel = world.requests(first, "CANCEL").pop().expect("cancelled");
        world.send_raw(first, &response(&cancel, 200, "g", 21, None));
        world.send_raw(first, &response(&invite, 487, "g", 21, None));
        world.run_ms(50);
        assert_eq!(world.peer(alice).rejected(), Some(487));
        assert!(world.requests(second, "INVITE").is_empty());
        let attempts = &world.usages()[0].attempts;
        assert_eq!((attempts.len(), attempts[0].release), (1, ReleaseSource::Source));
        world.settle();
    }
}

/// The process ends: what runs is reported, with its time so far.
#[test]
fn closing_reports_running_calls() {
    let mut world = World::new(config());
    let alice = world.agent(10, "alice");
    let gateway = world.agent(21, "gw");
    let call = world.dial(alice, "alice", &number());
    world.run_ms(200);
    world.answer(gateway, 1);
    world.run_ms(5_000);
    world.input(Input::Close);
    let attempts = &world.usages()[0].attempts;
    assert_eq!((attempts[0].duration_seconds(), &attempts[0].cause), (5, &Cause::Q850(41)));
    assert_eq!(world.core().core.gauge().calls, 0);
    // its BYE still finds the way by the cookie in its route
    world.hang_up(alice, call);
    world.run_ms(100);
    assert!(world.peer(gateway).has(|event| matches!(event, UserAgentEvent::Ended { .. })));
    world.settle();
    assert_eq!(world.usages().len(), 1);
}

#[test]
fn only_invites_and_only_with_a_clearinghouse() {
    let mut config = config();
    config.clearing = false;
    let mut world = World::new(config);
    let alice = world.agent(10, "alice");
    world.dial(alice, "alice", &number());
    world.run_ms(200);
    assert_eq!(world.peer(alice).rejected(), Some(404));
    world.settle();
}

/// The granted time and its grace are over and no BYE has come: closed in the books.
#[test]
fn the_granted_time_ends_a_call_in_the_books() {
    let (mut world, alice, [first, _]) = world();
    world.with_proxy(|proxy| {
        proxy.clearing = Box::new(|_| {
            let destinations = vec![strowger_proxy_core::Destination { granted_seconds: 30, ..destination(21) }];
            Some((10, Ok(Authorization { transaction_id: 1, destinations })))
        });
    });
    let call = world.dial(alice, "alice", &number());
    world.run_ms(200);
    let invite = world.requests(first, "INVITE").pop().unwrap();
    world.send_raw(first, &response(&invite, 200, "g", 21, Some(1)));
    world.run_ms(89_000);
    assert!(world.usages().is_empty());
    world.run_ms(2_000);
    assert_eq!(world.usages()[0].attempts[0].cause, Cause::Q850(102));
    world.hang_up(alice, call);
    world.run_ms(100);
    let bye = world.requests(first, "BYE").pop().unwrap();
    world.send_raw(first, &response(&bye, 200, "g", 21, None));
    world.settle();
    let usages = world.core().effects.iter().filter(|effect| matches!(effect, Effect::Usage { .. })).count();
    assert_eq!(usages, 1);
}
