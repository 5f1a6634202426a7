//! The policy server in a call: what waits for it, and what becomes of a call when it refuses or is away.

use strowger_dialog::{EndReason, UserAgentEvent};
use strowger_proxy_core::{Cause, Config, Effect, Input, Phase, Verdict};
use strowger_simulation::NodeId;
use strowger_sip::Message;
use strowger_transaction::Transport;

use crate::requests::register_raw;
use crate::script::{bob, number, response};
use crate::world::{World, address, authorized, config, sdp};

fn with_policy() -> Config {
    let mut config = config();
    config.policy = true;
    config
}

/// Alice at 10; gateways at 21 and 22 as raw scripts.
fn world(config: Config) -> (World, NodeId, [NodeId; 2]) {
    let mut world = World::new(config);
    let alice = world.agent(10, "alice");
    let gateways = [world.raw(21), world.raw(22)];
    (world, alice, gateways)
}

fn manual(world: &mut World, phases: &'static [Phase]) {
    world.with_proxy(|proxy| {
        proxy.policy = Box::new(move |phase| {
            let verdict = match phase {
                Phase::Teardown => Verdict::Remove { reason: "released".to_owned() },
                _ => Verdict::Install,
            };
            (!phases.contains(&phase)).then_some((20, verdict))
        });
    });
}

fn decide(world: &mut World, phase: Phase, verdict: Verdict) {
    let call = world.first_call();
    world.input(Input::Admission { call, phase, verdict });
}

fn remove() -> Verdict {
    Verdict::Remove { reason: "no".to_owned() }
}

fn progress(world: &World, alice: NodeId, wanted: u16) -> bool {
    world.peer(alice).has(|event| matches!(event, UserAgentEvent::Progress { status, .. } if *status == wanted))
}

/// Setup, clearing, a silent gateway, 183 with SDP held, 200 behind it, ACK, BYE, usage of both attempts.
#[test]
fn one_call_through_everything() {
    let (mut world, alice, [first, second]) = world(with_policy());
    manual(&mut world, &[Phase::Answer]);
    let call = world.dial(alice, "alice", &number());
    world.run_ms(3_300);
    assert_eq!(world.requests(first, "INVITE").len(), 3, "retransmitted after 0.5 and 1.5 seconds");
    let invite = world.requests(second, "INVITE").pop().expect("the second gateway is tried");
    world.send_raw(second, &response(&invite, 180, "g", 22, None));
    world.run_ms(50);
    assert!(progress(&world, alice, 180), "no media, no question");
    world.send_raw(second, &response(&invite, 183, "g", 22, Some(1)));
    world.run_ms(50);
    assert!(!progress(&world, alice, 183));
    let answer = response(&invite, 200, "g", 22, Some(1));
    for _ in 0..5 {
        world.send_raw(second, &answer);
        world.run_ms(500);
    }
    assert!(!world.peer(alice).is_answered());
    decide(&mut world, Phase::Answer, Verdict::Install);
    world.run_ms(50);
    assert!(progress(&world, alice, 183) && world.peer(alice).is_answered());
    assert_eq!(world.requests(second, "ACK").len(), 1);
    world.run_ms(7_000);
    world.hang_up(alice, call);
    world.run_ms(100);
    let bye = world.requests(second, "BYE").pop().unwrap();
    world.send_raw(second, &response(&bye, 200, "g", 22, None));
    world.run_ms(100);
    assert_eq!(world.policy_log(), ["setup", "report", "answer", "report", "teardown", "report", "delete"]);
    let attempts = &world.usages()[0].attempts;
    assert_eq!((attempts.len(), &attempts[0].cause, &attempts[1].cause), (2, &Cause::Sip(408), &Cause::Q850(16)));
    assert!((9..=11).contains(&attempts[1].duration_seconds()));
    let cancel = world.requests(first, "CANCEL");
    assert!(cancel.is_empty(), "never answered: nothing to cancel");
    world.settle();
    assert_eq!(world.usages().len(), 1);
}

/// Two phones; one's 200 is held. The other's 487 must not overtake it (it would fail a call that is answered).
#[test]
fn a_487_of_another_branch_does_not_overtake_a_held_200() {
    let mut world = World::new(with_policy());
    manual(&mut world, &[Phase::Answer]);
    let alice = world.agent(10, "alice");
    let bobs = [world.agent(12, "bob"), world.agent(13, "bob")];
    for bob in bobs {
        world.register(bob, "bob");
    }
    let call = world.dial(alice, "alice", &bob());
    world.run_ms(200);
    world.ring(bobs[1], 180, None);
    world.run_ms(50);
    world.answer(bobs[0], 1);
    world.run_ms(200);
    assert!(world.peer(bobs[1]).has(|event| matches!(event, UserAgentEvent::Ended { .. })), "cancelled at once");
    assert_eq!((world.peer(alice).rejected(), world.peer(alice).is_answered()), (None, false));
    decide(&mut world, Phase::Answer, Verdict::Install);
    world.run_ms(50);
    assert!(world.peer(alice).is_answered());
    world.hang_up(alice, call);
    world.settle();
    assert_eq!(world.policy_log(), ["setup", "report", "answer", "report", "teardown", "report", "delete"]);
}

/// A CANCEL while the 200 is held comes too late: the 200 is passed on, and the caller hangs up.
#[test]
fn cancelled_while_the_200_is_held() {
    for verdict in [Verdict::Install, remove()] {
        let (mut world, alice, [first, _]) = world(with_policy());
        manual(&mut world, &[Phase::Answer]);
        let call = world.dial(alice, "alice", &number());
        world.run_ms(200);
        let invite = world.requests(first, "INVITE").pop().unwrap();
        world.send_raw(first, &response(&invite, 180, "g", 21, None));
        world.run_ms(50);
        world.send_raw(first, &response(&invite, 200, "g", 21, Some(1)));
        world.run_ms(50);
        world.hang_up(alice, call);
        world.run_ms(100);
        assert!(world.requests(first, "CANCEL").is_empty(), "it has answered");
        decide(&mut world, Phase::Answer, verdict.clone());
        world.run_ms(100);
        assert_eq!(world.requests(first, "ACK").len(), 1, "{verdict:?}");
        let bye = world.requests(first, "BYE").pop().expect("hung up");
        world.send_raw(first, &response(&bye, 200, "g", 21, None));
        world.run_ms(100);
        assert_eq!(world.usages().len(), 1);
        let seconds = world.usages()[0].attempts[0].duration_seconds();
        assert_eq!(seconds, u64::from(verdict == Verdict::Install));
        world.settle();
    }
}

/// No resources for the media: 503 to the caller; the callee is acknowledged and hung up once, however often its 200 comes.
#[test]
fn the_answer_is_refused() {
    for verdict in [remove(), Verdict::Unavailable] {
        let (mut world, alice, [first, second]) = world(with_policy());
        manual(&mut world, &[Phase::Answer]);
        world.dial(alice, "alice", &number());
        world.run_ms(200);
        let invite = world.requests(first, "INVITE").pop().unwrap();
        let answer = response(&invite, 200, "g", 21, Some(1));
        world.send_raw(first, &answer);
        world.run_ms(100);
        decide(&mut world, Phase::Answer, verdict);
        world.run_ms(100);
        assert_eq!(world.peer(alice).rejected(), Some(503));
        world.send_raw(first, &answer);
        world.run_ms(100);
        assert_eq!((world.requests(first, "ACK").len(), world.requests(first, "BYE").len()), (2, 1));
        world.send_raw(first, &response(&world.requests(first, "BYE")[0].clone(), 200, "g", 21, None));
        assert!(world.requests(second, "INVITE").is_empty());
        world.run_ms(100);
        assert_eq!(world.policy_log(), ["setup", "report", "answer", "teardown", "report", "delete"]);
        let usages = world.usages();
        let attempt = &usages[0].attempts[0];
        assert_eq!((usages.len(), attempt.duration_seconds(), &attempt.cause), (1, 0, &Cause::Sip(503)));
        world.settle();
    }
}

/// Early media is refused: the ringing phone is cancelled.
#[test]
fn a_183_is_refused() {
    let mut world = World::new(with_policy());
    manual(&mut world, &[Phase::Answer]);
    let alice = world.agent(10, "alice");
    let desk = world.agent(12, "bob");
    world.register(desk, "bob");
    world.dial(alice, "alice", &bob());
    world.run_ms(200);
    world.ring(desk, 183, Some(1));
    world.run_ms(50);
    decide(&mut world, Phase::Answer, remove());
    world.run_ms(100);
    assert_eq!(world.peer(alice).rejected(), Some(503));
    assert!(
        world.peer(desk).has(|event| matches!(event, UserAgentEvent::Ended { reason: EndReason::Cancelled(_), .. }))
    );
    world.settle();
}

/// No policy server: refused where one is demanded, unmarked where it is optional; in each phase.
#[test]
fn unavailable_in_each_phase() {
    for optional in [false, true] {
        for away in [Phase::Setup, Phase::Answer, Phase::Teardown] {
            let mut config = with_policy();
            config.policy_optional = optional;
            let mut world = World::new(config);
            world.with_proxy(|proxy| {
                proxy.policy = Box::new(move |phase| {
                    let verdict = match phase {
                        phase if phase == away => Verdict::Unavailable,
                        Phase::Teardown => remove(),
                        _ => Verdict::Install,
                    };
                    Some((20, verdict))
                });
            });
            let alice = world.agent(10, "alice");
            let desk = world.agent(12, "bob");
            world.register(desk, "bob");
            let call = world.dial(alice, "alice", &bob());
            world.run_ms(200);
            let goes_on = optional || away == Phase::Teardown;
            if goes_on || away == Phase::Answer {
                world.answer(desk, 1);
                world.run_ms(200);
            }
            assert_eq!(world.peer(alice).is_answered(), goes_on, "{away:?} {optional}");
            if goes_on {
                world.hang_up(alice, call);
            } else {
                assert_eq!(world.peer(alice).rejected(), Some(503));
            }
            world.settle();
            let log = world.policy_log();
            assert_eq!(log.iter().filter(|word| **word == "delete").count(), 1, "{log:?}");
            assert_eq!(log.last(), Some(&"delete"));
            let teardowns = log.iter().filter(|word| **word == "teardown").count();
            assert_eq!(teardowns, usize::from(away != Phase::Setup), "{log:?}");
        }
    }
}

/// The caller is gone before the policy server has said a word: the entry waits for it, and the handle is deleted.
#[test]
fn cancelled_while_admission_is_asked() {
    for verdict in [Verdict::Install, remove(), Verdict::Unavailable] {
        let (mut world, alice, [first, _]) = world(with_policy());
        manual(&mut world, &[Phase::Setup]);
        let call = world.dial(alice, "alice", &number());
        world.run_ms(300);
        world.hang_up(alice, call);
        world.run_ms(100);
        assert_eq!(world.peer(alice).rejected(), Some(487));
        assert_eq!(world.core().core.gauge().calls, 1);
        decide(&mut world, Phase::Setup, verdict);
        assert_eq!(world.core().core.gauge().calls, 0);
        assert_eq!(world.policy_log().last(), Some(&"delete"));
        assert!(world.requests(first, "INVITE").is_empty() && world.usages().is_empty());
        world.settle();
    }
}

/// Both servers' answers are outstanding when the caller hangs up; whichever comes last lets the entry go.
#[test]
fn cancelled_while_clearing_with_policy() {
    for clearing_first in [true, false] {
        let (mut world, alice, _) = world(with_policy());
        manual(&mut world, &[Phase::Teardown]);
        world.with_proxy(|proxy| proxy.clearing = Box::new(|_| None));
        let call = world.dial(alice, "alice", &number());
        world.run_ms(300);
        world.hang_up(alice, call);
        world.run_ms(100);
        let number = world.first_call();
        let cleared =
            |world: &mut World| world.input(Input::Authorization { call: number, outcome: authorized(&[21]) });
        if clearing_first {
            cleared(&mut world);
        }
        assert_eq!(world.core().core.gauge().calls, 1);
        decide(&mut world, Phase::Teardown, remove());
        if !clearing_first {
            assert_eq!(world.core().core.gauge().calls, 1);
            cleared(&mut world);
        }
        assert_eq!(world.core().core.gauge().calls, 0);
        assert_eq!(world.usages().len(), 1);
        world.settle();
        assert_eq!(world.policy_log(), ["setup", "report", "teardown", "report", "delete"]);
    }
}

/// A gateway promises early media and fails while the decision is open: its 183 is not let out afterwards.
#[test]
fn a_held_183_of_a_gateway_that_failed_is_dropped() {
    let (mut world, alice, [first, second]) = world(with_policy());
    manual(&mut world, &[Phase::Answer]);
    let call = world.dial(alice, "alice", &number());
    world.run_ms(200);
    let invite = world.requests(first, "INVITE").pop().unwrap();
    world.send_raw(first, &response(&invite, 183, "g1", 21, Some(1)));
    world.run_ms(50);
    world.send_raw(first, &response(&invite, 503, "g1", 21, None));
    world.run_ms(50);
    let invite = world.requests(second, "INVITE").pop().unwrap();
    world.send_raw(second, &response(&invite, 200, "g2", 22, Some(1)));
    world.run_ms(50);
    decide(&mut world, Phase::Answer, Verdict::Install);
    world.run_ms(50);
    assert!(!progress(&world, alice, 183) && !world.peer(alice).is_answered(), "the 200 has other SDP: asked again");
    decide(&mut world, Phase::Answer, Verdict::Install);
    world.run_ms(50);
    assert!(!progress(&world, alice, 183) && world.peer(alice).is_answered());
    world.hang_up(alice, call);
    world.run_ms(50);
    let bye = world.requests(second, "BYE").pop().unwrap();
    world.send_raw(second, &response(&bye, 200, "g2", 22, None));
    world.settle();
}

/// A re-INVITE and an UPDATE of a running call: asked about as a change, the answer held; refused, it passes all the same.
#[test]
fn a_changed_session() {
    for verdict in [Verdict::Install, remove()] {
        let mut world = World::new(with_policy());
        let alice = world.agent(10, "alice");
        let desk = world.agent(12, "bob");
        world.register(desk, "bob");
        let call = world.dial(alice, "alice", &bob());
        world.run_ms(200);
        world.answer(desk, 1);
        world.run_ms(200);
        // longer than the INVITE's transactions live
        world.run_ms(40_000);
        manual(&mut world, &[Phase::Answer]);
        world.act(alice, |agent, now, layer| agent.reinvite(now, layer, call, Some(sdp(10, 2)))).unwrap();
        world.run_ms(100);
        let at_desk = world.peer(desk).incoming();
        world.act(desk, |agent, now, layer| agent.answer_reoffer(now, layer, at_desk, Some(sdp(12, 2)))).unwrap();
        world.run_ms(100);
        let reanswered = |event: &UserAgentEvent| matches!(event, UserAgentEvent::Reanswered { .. });
        assert!(!world.peer(alice).has(reanswered), "held");
        decide(&mut world, Phase::Answer, verdict.clone());
        world.run_ms(100);
        assert!(world.peer(alice).has(reanswered));
        assert_eq!(world.call_numbers().len(), 1, "a refused change ends no call");
        assert_eq!(world.core().core.counters().calls_answered, 1);
        world.hang_up(alice, call);
        world.settle();
        let log = world.policy_log();
        let ends = log.iter().filter(|word| matches!(**word, "teardown" | "delete")).count();
        assert_eq!(ends, 2, "{log:?}");
        assert!(log.contains(&"modify"));
    }
}

/// The call ends while the answer to a re-INVITE is held: nothing is asked after the teardown, nothing stays.
#[test]
fn hung_up_while_a_changed_answer_is_held() {
    let mut world = World::new(with_policy());
    let alice = world.agent(10, "alice");
    let desk = world.agent(12, "bob");
    world.register(desk, "bob");
    let call = world.dial(alice, "alice", &bob());
    world.run_ms(200);
    world.answer(desk, 1);
    world.run_ms(200);
    manual(&mut world, &[Phase::Answer]);
    world.act(alice, |agent, now, layer| agent.reinvite(now, layer, call, Some(sdp(10, 2)))).unwrap();
    world.run_ms(100);
    let at_desk = world.peer(desk).incoming();
    world.act(desk, |agent, now, layer| agent.answer_reoffer(now, layer, at_desk, Some(sdp(12, 2)))).unwrap();
    world.run_ms(100);
    world.hang_up(alice, call);
    world.run_ms(100);
    assert_eq!(world.core().core.gauge().calls, 1, "an answer is outstanding");
    decide(&mut world, Phase::Answer, Verdict::Install);
    world.settle();
    let log = world.policy_log();
    assert_eq!(&log[log.len() - 2..], ["report", "delete"], "{log:?}");
    assert_eq!(log.iter().filter(|word| **word == "teardown").count(), 1);
}

/// Late offer: the 200 brings the offer, the ACK the answer; both are shown to the policy server.
#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut world = World::new(with_policy());
    let desk = world.raw(12);
    register_raw(&mut world, desk, "bob", "<sip:bob@10.0.0.12>");
    let alice = world.agent(10, "alice");
    let invite = strowger_dialog::Invite {
        uri: bob(),
        to: None,
        from: "<sip:alice@example.test>".to_owned(),
        target: strowger_transaction::Target::new(Transport::Udp, address(1)),
        route: Vec::new(),
        sdp: None,
        headers: Vec::new(),
        login: Some(crate::world::login("alice")),
        call_id: None,
    };
    let call = world.act(alice, |agent, now, layer| agent.invite(now, layer, invite)).unwrap();
    world.run_ms(200);
    let request = world.requests(desk, "INVITE").pop().unwrap();
    world.send_raw(desk, &response(&request, 200, "d", 12, Some(1)));
    world.run_ms(100);
    assert!(world.peer(alice).is_answered());
    world.act(alice, |agent, now, layer| agent.acknowledge(now, layer, call, Some(sdp(10, 1)))).unwrap();
    world.run_ms(100);
    assert!(!world.requests(desk, "ACK").pop().unwrap().body().is_empty());
    let asked: Vec<Message> = world
        .core()
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Admission { phase: Phase::Answer, sip, .. } => Message::parse(sip.clone()).ok(),
            _ => None,
        })
        .collect();
    assert_eq!(asked.iter().map(Message::is_request).collect::<Vec<_>>(), [false, true]);
    world.hang_up(alice, call);
    world.run_ms(100);
    let bye = world.requests(desk, "BYE").pop().unwrap();
    world.send_raw(desk, &response(&bye, 200, "d", 12, None));
    world.settle();
}
