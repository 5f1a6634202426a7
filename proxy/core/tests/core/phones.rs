//! Calls from phone to phone: forking, CANCEL, late answers, TCP.

use strowger_dialog::{EndReason, UserAgentEvent};
use strowger_proxy_core::{Input, Verdict};
use strowger_simulation::NodeId;
use strowger_sip::{Header, Message, Method};
use strowger_transaction::Transport;

use crate::requests::register_raw;
use crate::script::{Raw, bob, response};
use crate::world::{Auto, World, address, config, incoming_header};

/// Alice at 10, bob at 12 and 13, all registered.
fn two_bobs(transport: Transport) -> (World, NodeId, [NodeId; 2]) {
    let mut world = World::new(config());
    let alice = world.agent_by(10, "alice", transport, None);
    let bobs = [world.agent_by(12, "bob", transport, None), world.agent_by(13, "bob", Transport::Udp, None)];
    world.register(alice, "alice");
    for bob in bobs {
        world.register(bob, "bob");
    }
    (world, alice, bobs)
}

#[test]
fn a_forked_call_from_ringing_to_bye() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (mut world, alice, [desk, mobile]) = two_bobs(transport);
        let call = world.dial(alice, "alice", &bob());
        world.run_ms(100);
        world.ring(desk, 180, None);
        world.ring(mobile, 180, None);
        world.run_ms(100);
        assert!(world.peer(alice).has(|event| matches!(event, UserAgentEvent::Progress { status: 180, .. })));
        assert!(incoming_header(world.peer(desk), Header::ProxyAuthorization).is_empty(), "credentials stay here");
        // UDP on one side and TCP on the other: two Record-Routes (RFC 5658)
        let mixed = if transport == Transport::Tcp { 2 } else { 1 };
        assert_eq!(incoming_header(world.peer(mobile), Header::RecordRoute).len(), mixed);
        world.answer(desk, 1);
        world.run_ms(100);
        assert!(world.peer(alice).is_answered());
        assert!(world.peer(desk).has(|event| matches!(event, UserAgentEvent::Confirmed { .. })));
        let cancelled =
            |event: &UserAgentEvent| matches!(event, UserAgentEvent::Ended { reason: EndReason::Cancelled(_), .. });
        assert!(world.peer(mobile).has(cancelled));
        assert_eq!(world.call_numbers().len(), 1);
        world.hang_up(alice, call);
        world.run_ms(100);
        assert!(
            world.peer(desk).has(|event| matches!(event, UserAgentEvent::Ended { reason: EndReason::Remote(_), .. }))
        );
        assert!(world.usages().is_empty());
        assert_eq!(world.core().core.counters().calls_answered, 1);
        world.settle();
    }
}

#[test]
fn the_callee_hangs_up() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (mut world, alice, [desk, _]) = two_bobs(transport);
        world.dial(alice, "alice", &bob());
        world.run_ms(100);
        world.answer(desk, 1);
        world.run_ms(100);
        let call = world.peer(desk).incoming();
        world.hang_up(desk, call);
        world.run_ms(100);
        assert!(
            world.peer(alice).has(|event| matches!(event, UserAgentEvent::Ended { reason: EndReason::Remote(_), .. }))
        );
        world.settle();
    }
}

#[test]
fn cancelled_while_ringing_and_before() {
    let (mut world, alice, [desk, _]) = two_bobs(Transport::Udp);
    let call = world.dial(alice, "alice", &bob());
    world.run_ms(100);
    world.ring(desk, 180, None);
    world.run_ms(50);
    world.hang_up(alice, call);
    world.run_ms(300);
    assert_eq!(world.peer(alice).rejected(), Some(487));
    world.settle();
}

#[test]
fn busy_everywhere_and_declined() {
    let (mut world, alice, [desk, mobile]) = two_bobs(Transport::Udp);
    world.dial(alice, "alice", &bob());
    world.run_ms(100);
    world.reject(desk, 486);
    world.run_ms(50);
    assert_eq!(world.peer(alice).rejected(), None, "the mobile may still answer");
    world.reject(mobile, 486);
    world.run_ms(50);
    assert_eq!(world.peer(alice).rejected(), Some(486));
    let (mut world, alice, [desk, _]) = two_bobs(Transport::Udp);
    world.dial(alice, "alice", &bob());
    world.run_ms(100);
    world.reject(desk, 603);
    world.run_ms(300);
    assert_eq!(world.peer(alice).rejected(), Some(603));
    world.settle();
}

/// Two phones answer at the same moment: both 200s go to the caller, who hangs one up (RFC 3261 §13.2.2.4).
#[test]
fn both_answer_at_once() {
    let (mut world, alice, [desk, mobile]) = two_bobs(Transport::Udp);
    let call = world.dial(alice, "alice", &bob());
    world.run_ms(100);
    world.answer(desk, 1);
    world.answer(mobile, 1);
    world.run_ms(500);
    let ended = |peer: NodeId, world: &World| {
        world.peer(peer).has(|event| matches!(event, UserAgentEvent::Ended { reason: EndReason::Remote(_), .. }))
    };
    assert!(ended(desk, &world) ^ ended(mobile, &world));
    assert_eq!(world.call_numbers().len(), 1, "the BYE of the other leg does not end the call");
    world.hang_up(alice, call);
    world.settle();
}

/// The caller's CANCEL and the callee's 200 cross: the 200 wins, is passed on, and the caller hangs up.
#[test]
fn a_200_that_crosses_the_cancel() {
    let mut world = World::new(config());
    let alice = world.agent(10, "alice");
    world.register(alice, "alice");
    let desk = world.raw(12);
    register_raw(&mut world, desk, "bob", "<sip:bob@10.0.0.12>");
    let call = world.dial(alice, "alice", &bob());
    world.run_ms(100);
    let invite = world.requests(desk, "INVITE").pop().unwrap();
    world.send_raw(desk, &response(&invite, 180, "d", 12, None));
    world.run_ms(20);
    world.hang_up(alice, call);
    world.run_ms(20);
    assert_eq!(world.requests(desk, "CANCEL").len(), 1);
    world.send_raw(desk, &response(&world.requests(desk, "CANCEL")[0].clone(), 200, "d", 12, None));
    world.send_raw(desk, &response(&invite, 200, "d", 12, Some(1)));
    world.run_ms(100);
    assert_eq!(world.requests(desk, "ACK").len(), 1);
    let bye = world.requests(desk, "BYE").pop().expect("hung up");
    world.send_raw(desk, &response(&bye, 200, "d", 12, None));
    world.settle();
}

/// A phone that does not answer at all fails its branch with 408 after timer B; nothing stays behind.
#[test]
fn a_silent_phone_times_out() {
    let mut world = World::new(config());
    let alice = world.agent(10, "alice");
    world.register(alice, "alice");
    let desk = world.raw(12);
    register_raw(&mut world, desk, "bob", "<sip:bob@10.0.0.12>");
    world.dial(alice, "alice", &bob());
    world.run_ms(33_000);
    assert_eq!(world.peer(alice).rejected(), Some(408));
    world.settle();
}

/// Timer C (§16.8): a phone that rings for ever is cancelled.
#[test]
fn endless_ringing_ends() {
    let (mut world, alice, [desk, mobile]) = two_bobs(Transport::Udp);
    world.dial(alice, "alice", &bob());
    world.run_ms(100);
    world.ring(desk, 180, None);
    world.ring(mobile, 180, None);
    world.run_ms(182_000);
    assert_eq!(world.peer(alice).rejected(), Some(487));
    world.settle();
}

/// A contact of less preference is called only when the better ones have failed.
#[test]
fn preferences_are_called_one_after_the_other() {
    let mut world = World::new(config());
    let (one, two, caller) = (world.raw(14), world.raw(15), world.raw(30));
    register_raw(&mut world, one, "bob", "<sip:bob@10.0.0.14>;q=0.9");
    register_raw(&mut world, two, "bob", "<sip:bob@10.0.0.15:5060>;q=0.2");
    world.send_raw(caller, &Raw::new(Method::Invite, "sip:bob@example.test", 30, "q").build().build());
    world.run_ms(100);
    assert!(world.requests(two, "INVITE").is_empty());
    let first = world.requests(one, "INVITE").pop().unwrap();
    world.send_raw(one, &response(&first, 480, "b1", 14, None));
    world.run_ms(100);
    let second = world.requests(two, "INVITE").pop().expect("then the second");
    world.send_raw(two, &response(&second, 486, "b2", 15, None));
    world.settle();
}

/// Draining refuses new calls and leaves the running ones alone.
#[test]
fn draining() {
    let (mut world, alice, [desk, _]) = two_bobs(Transport::Udp);
    let call = world.dial(alice, "alice", &bob());
    world.run_ms(100);
    world.answer(desk, 1);
    world.run_ms(100);
    world.input(Input::Drain);
    world.dial(alice, "alice", &bob());
    world.run_ms(100);
    assert_eq!(world.peer(alice).rejected(), Some(503));
    world.hang_up(alice, call);
    world.run_ms(100);
    assert!(world.call_numbers().is_empty());
    world.settle();
}

#[test]
fn a_call_above_the_limit_is_503() {
    let mut config = config();
    config.limits.calls = 1;
    let mut world = World::new(config);
    let alice = world.agent(10, "alice");
    let auto = Auto { answer_after_ms: 10, hang_up_after_ms: None, rejects: None };
    let desk = world.agent_by(12, "bob", Transport::Udp, Some(auto));
    world.register(desk, "bob");
    let call = world.dial(alice, "alice", &bob());
    world.run_ms(500);
    world.dial(alice, "alice", &bob());
    world.run_ms(500);
    assert_eq!(world.peer(alice).rejected(), Some(503));
    world.hang_up(alice, call);
    world.run_ms(100);
    world.dial(alice, "alice", &bob());
    world.run_ms(500);
    assert_eq!(world.call_numbers().len(), 1);
    let call = world.peer(desk).incoming();
    world.hang_up(desk, call);
    world.settle();
}

/// A call nobody hangs up is closed in the books after its limit.
#[test]
fn a_call_without_bye_is_forgotten() {
    let mut world = World::new(config());
    let (desk, caller) = (world.raw(12), world.raw(30));
    register_raw(&mut world, desk, "bob", "<sip:bob@10.0.0.12>");
    let invite = Raw::new(Method::Invite, "sip:bob@example.test", 30, "lost").build().build();
    world.send_raw(caller, &invite);
    world.run_ms(50);
    let at_desk = world.requests(desk, "INVITE").pop().unwrap();
    world.send_raw(desk, &response(&at_desk, 200, "d", 12, None));
    world.run_ms(12 * 3_600_000 - 1_000);
    assert_eq!(world.call_numbers().len(), 1);
    world.run_ms(2_000);
    assert!(world.call_numbers().is_empty());
    world.settle();
}

/// A BYE in an early dialog (§15) ends the call when the 2xx that crossed it has passed.
#[test]
fn an_early_bye_and_a_2xx_that_crosses_it() {
    let mut world = World::new(config());
    let (desk, caller) = (world.raw(12), world.raw(30));
    register_raw(&mut world, desk, "bob", "<sip:bob@10.0.0.12>");
    let raw = Raw::new(Method::Invite, "sip:bob@example.test", 30, "eb");
    world.send_raw(caller, &raw.build().build());
    world.run_ms(50);
    let at_desk = world.requests(desk, "INVITE").pop().unwrap();
    world.send_raw(desk, &response(&at_desk, 183, "d", 12, None));
    world.run_ms(50);
    let early: Message = world.inbox(caller).last().unwrap().clone();
    let route = early.values(Header::RecordRoute).next().unwrap().to_owned();
    let bye = Raw {
        to: "<sip:bob@example.test>;tag=d",
        cseq: 2,
        call_id: "eb",
        ..Raw::new(Method::Bye, "sip:gw@10.0.0.12:5060", 30, "eb2")
    };
    world.send_raw(caller, &bye.build().header(Header::Route, &route).build());
    world.run_ms(50);
    let at_desk_bye = world.requests(desk, "BYE").pop().expect("forwarded");
    world.send_raw(desk, &response(&at_desk, 200, "d", 12, None));
    world.send_raw(desk, &response(&at_desk_bye, 200, "d", 12, None));
    world.run_ms(50);
    assert!(world.statuses(caller).contains(&200));
    assert!(world.call_numbers().is_empty());
    world.settle();
}

/// Over the same gate as media: a refusal at setup reaches no phone.
#[test]
fn policy_refuses_the_setup() {
    let mut config = config();
    config.policy = true;
    let mut world = World::new(config);
    world.with_proxy(|proxy| {
        proxy.policy = Box::new(|_| Some((20, Verdict::Remove { reason: "no".to_owned() })));
    });
    let alice = world.agent(10, "alice");
    let desk = world.agent(12, "bob");
    world.register(desk, "bob");
    world.dial(alice, "alice", &bob());
    world.run_ms(200);
    assert_eq!(world.peer(alice).rejected(), Some(503));
    assert!(!world.peer(desk).has(|event| matches!(event, UserAgentEvent::IncomingCall { .. })));
    assert_eq!(world.policy_log(), ["setup", "delete"]);
    let _ = address(1);
    world.settle();
}
