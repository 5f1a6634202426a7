//! Calls between agents: RFC 3261 §13 to §15, with loss, races and forks.

use strowger_simulation::{Link, NodeId};
use strowger_sip::{Builder, Header, Message, Method};
use strowger_transaction::Transport;

use super::world::{World, address, call_to, sdp};
use crate::{CallId32, EndReason, Refused, UserAgentEvent as Told};

/// Alice calls Bob, who answers; the ids of the call on either side.
fn up(world: &mut World, alice: NodeId, bob: NodeId) -> (CallId32, CallId32) {
    let transport = world.transport;
    let a =
        world.act(alice, |agent, now, layer| agent.invite(now, layer, call_to(2, transport, Some("offer"))).unwrap());
    world.run_ms(50);
    let b = world.net.node(bob).incoming();
    world.act(bob, |agent, now, layer| agent.ring(now, layer, b, 180, None).unwrap());
    world.run_ms(50);
    world.act(bob, |agent, now, layer| agent.answer(now, layer, b, Some(sdp("answer"))).unwrap());
    world.run_ms(50);
    (a, b)
}

fn pair(seed: u64, link: Link, transport: Transport) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed, link, transport);
    let alice = world.agent(1);
    let bob = world.agent(2);
    (world, alice, bob)
}

#[test]
fn a_call_is_made_answered_and_ended_from_either_side() {
    for transport in [Transport::Udp, Transport::Tcp] {
        for caller_ends in [true, false] {
            let (mut world, alice, bob) = pair(1, Link::PERFECT, transport);
            let (a, b) = up(&mut world, alice, bob);
            let heard = world.net.node(alice);
            assert!(heard.has(|e| matches!(e, Told::Progress { status: 180, sdp: None, .. })));
            assert!(
                heard.has(|e| matches!(e, Told::Answered { sdp: Some(s), answer_owed: false, .. } if s == "answer"))
            );
            assert!(world.net.node(bob).has(|e| matches!(e, Told::IncomingCall { sdp: Some(s), .. } if s == "offer")));
            assert!(world.net.node(bob).has(|e| matches!(e, Told::Confirmed { sdp: None, .. })));
            let reason = Some("Q.850;cause=16");
            if caller_ends {
                world.act(alice, |agent, now, layer| agent.hang_up(now, layer, a, reason).unwrap());
            } else {
                world.act(bob, |agent, now, layer| agent.hang_up(now, layer, b, reason).unwrap());
            }
            world.settle(&[alice, bob]);
            let (ended, told) = if caller_ends { (alice, bob) } else { (bob, alice) };
            assert!(world.net.node(ended).has(|e| matches!(e, Told::Ended { reason: EndReason::Local, .. })));
            assert!(
                world.net.node(told).has(
                    |e| matches!(e, Told::Ended { reason: EndReason::Remote(Some(r)), .. } if r == "Q.850;cause=16")
                )
            );
        }
    }
}

/// Whatever is lost, doubled or overtaken: both sides come to an end, and nothing stays behind.
#[test]
fn no_loss_leaves_anything_behind() {
    for seed in 0..60 {
        let (mut world, alice, bob) = pair(seed, Link::PERFECT, Transport::Udp);
        let mut random = world.net.fork_random();
        for (from, to) in [(1, 2), (2, 1)] {
            let link = Link::draw(0.4, &mut random);
            world.net.set_link(address(from), address(to), link);
        }
        let a = world.act(alice, |agent, now, layer| {
            agent.invite(now, layer, call_to(2, Transport::Udp, Some("offer"))).unwrap()
        });
        for _ in 0..80 {
            world.run_ms(500);
            let call = world.events(bob).iter().find_map(|e| match e {
                Told::IncomingCall { call, .. } => Some(*call),
                _ => None,
            });
            if let Some(call) = call {
                let _ = world.act(bob, |agent, now, layer| agent.answer(now, layer, call, Some(sdp("answer"))));
            }
            if world.net.node(alice).has(|e| matches!(e, Told::Answered { .. })) {
                break;
            }
        }
        let _ = world.act(alice, |agent, now, layer| agent.hang_up(now, layer, a, None));
        world.settle(&[alice, bob]);
        let ends =
            world.events(alice).iter().filter(|e| matches!(e, Told::Ended { .. } | Told::Rejected { .. })).count();
        assert_eq!(ends, 1, "seed {seed}: {:?}", world.events(alice));
        let calls = world.events(bob).iter().filter(|e| matches!(e, Told::IncomingCall { .. })).count();
        let ends = world.events(bob).iter().filter(|e| matches!(e, Told::Ended { .. })).count();
        assert_eq!(calls, ends, "seed {seed}: {:?}", world.events(bob));
    }
}

#[test]
fn cancel_is_answered_487_and_tells_both() {
    let (mut world, alice, bob) = pair(2, Link::PERFECT, Transport::Udp);
    let a = world
        .act(alice, |agent, now, layer| agent.invite(now, layer, call_to(2, Transport::Udp, Some("offer"))).unwrap());
    world.run_ms(50);
    let b = world.net.node(bob).incoming();
    world.act(bob, |agent, now, layer| agent.ring(now, layer, b, 180, None).unwrap());
    world.run_ms(50);
    world.act(alice, |agent, now, layer| agent.hang_up(now, layer, a, Some("SIP;cause=200")).unwrap());
    world.settle(&[alice, bob]);
    assert!(world.net.node(alice).has(|e| matches!(e, Told::Rejected { status: 487, .. })));
    assert!(world.net.node(bob).has(
        |e| matches!(e, Told::Ended { reason: EndReason::Cancelled(Some(reason)), .. } if reason == "SIP;cause=200")
    ));
}

#[test]
fn a_200_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let (mut world, alice, bob) = pair(3, Link::PERFECT, Transport::Udp);
    let a = world
        .act(alice, |agent, now, layer| agent.invite(now, layer, call_to(2, Transport::Udp, Some("offer"))).unwrap());
    world.run_ms(50);
    let b = world.net.node(bob).incoming();
    world.act(bob, |agent, now, layer| agent.ring(now, layer, b, 180, None).unwrap());
    world.run_ms(50);
    world.act(bob, |agent, now, layer| agent.answer(now, layer, b, Some(sdp("answer"))).unwrap());
    world.act(alice, |agent, now, layer| agent.hang_up(now, layer, a, None).unwrap());
    world.settle(&[alice, bob]);
    assert!(!world.net.node(alice).has(|e| matches!(e, Told::Answered { .. })));
    assert!(world.net.node(alice).has(|e| matches!(e, Told::Ended { reason: EndReason::Local, .. })));
    assert!(world.net.node(bob).has(|e| matches!(e, Told::Confirmed { .. })));
    assert!(world.net.node(bob).has(|e| matches!(e, Told::Ended { reason: EndReason::Remote(_), .. })));
}

#[test]
fn refusals_and_silence_are_told() {
    let (mut world, alice, bob) = pair(4, Link::PERFECT, Transport::Udp);
    world.act(alice, |agent, now, layer| agent.invite(now, layer, call_to(2, Transport::Udp, Some("offer"))).unwrap());
    world.run_ms(50);
    let b = world.net.node(bob).incoming();
    let headers = [("Reason".to_owned(), "Q.850;cause=17".to_owned())];
    world.act(bob, |agent, now, layer| agent.reject(now, layer, b, 486, None, &headers).unwrap());
    world.act(alice, |agent, now, layer| agent.invite(now, layer, call_to(9, Transport::Udp, Some("offer"))).unwrap());
    world.settle(&[alice, bob]);
    assert!(
        world.net.node(alice).has(|e| matches!(e, Told::Rejected { status: 486, reason, response: Some(response), .. }
        if reason == "Busy Here" && response.header(Header::Reason) == Some("Q.850;cause=17")))
    );
    assert!(world.net.node(alice).has(|e| matches!(e, Told::Rejected { status: 408, response: None, .. })));
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let (mut world, alice, bob) = pair(5, Link::PERFECT, Transport::Udp);
    let a = world.act(alice, |agent, now, layer| agent.invite(now, layer, call_to(2, Transport::Udp, None)).unwrap());
    world.run_ms(50);
    let b = world.net.node(bob).incoming();
    world.act(bob, |agent, now, layer| agent.answer(now, layer, b, Some(sdp("late offer"))).unwrap());
    // the owner takes its time: the 200 comes again, and is not acknowledged before there is an answer
    world.run_ms(1200);
    assert!(
        world
            .net
            .node(alice)
            .has(|e| matches!(e, Told::Answered { sdp: Some(s), answer_owed: true, .. } if s == "late offer"))
    );
    assert!(!world.net.node(bob).has(|e| matches!(e, Told::Confirmed { .. })));
    world.act(alice, |agent, now, layer| agent.acknowledge(now, layer, a, Some(sdp("late answer"))).unwrap());
    world.run_ms(50);
    assert!(world.net.node(bob).has(|e| matches!(e, Told::Confirmed { sdp: Some(s), .. } if s == "late answer")));
    world.act(bob, |agent, now, layer| agent.hang_up(now, layer, b, None).unwrap());
    world.settle(&[alice, bob]);
}

#[test]
fn a_200_without_ack_is_repeated_and_then_ended_with_bye() {
    let (mut world, alice, bob) = pair(6, Link::PERFECT, Transport::Udp);
    world.act(alice, |agent, now, layer| agent.invite(now, layer, call_to(2, Transport::Udp, Some("offer"))).unwrap());
    world.run_ms(50);
    let b = world.net.node(bob).incoming();
    world.net.set_link(address(1), address(2), Link::CUT);
    world.act(bob, |agent, now, layer| agent.answer(now, layer, b, Some(sdp("answer"))).unwrap());
    assert_eq!(world.act(bob, |agent, now, layer| agent.hang_up(now, layer, b, None)), Ok(()));
    world.run_ms(31_000);
    assert!(!world.net.node(bob).has(|e| matches!(e, Told::Ended { .. })));
    world.run_ms(2_000);
    assert!(world.net.node(bob).has(|e| matches!(e, Told::Ended { reason: EndReason::NotAcknowledged, .. })));
    // alice sees the BYE all the same
    assert!(world.net.node(alice).has(|e| matches!(e, Told::Ended { reason: EndReason::Remote(_), .. })));
    world.settle(&[alice, bob]);
}

#[test]
fn hold_and_resume_and_refusal_of_a_reoffer() {
    let (mut world, alice, bob) = pair(7, Link::PERFECT, Transport::Udp);
    let (a, b) = up(&mut world, alice, bob);
    world.act(alice, |agent, now, layer| agent.reinvite(now, layer, a, Some(sdp("hold"))).unwrap());
    assert_eq!(
        world.act(alice, |agent, now, layer| agent.reinvite(now, layer, a, Some(sdp("again")))),
        Err(Refused::OfferPending)
    );
    world.run_ms(50);
    assert!(world.net.node(bob).has(|e| matches!(e, Told::Reoffer { sdp: Some(s), .. } if s == "hold")));
    world.act(bob, |agent, now, layer| agent.answer_reoffer(now, layer, b, Some(sdp("held"))).unwrap());
    world.run_ms(50);
    assert!(world.net.node(alice).has(|e| matches!(e, Told::Reanswered { sdp: Some(s), .. } if s == "held")));
    // the other way, refused: the call goes on
    world.act(bob, |agent, now, layer| agent.reinvite(now, layer, b, Some(sdp("video"))).unwrap());
    world.run_ms(50);
    world.act(alice, |agent, now, layer| agent.reject_reoffer(now, layer, a, 488).unwrap());
    world.run_ms(50);
    assert!(world.net.node(bob).has(|e| matches!(e, Told::ReofferRefused { status: 488, .. })));
    // an offerless one: bob offers, alice answers in the ACK
    world.act(alice, |agent, now, layer| agent.reinvite(now, layer, a, None).unwrap());
    world.run_ms(50);
    world.act(bob, |agent, now, layer| agent.answer_reoffer(now, layer, b, Some(sdp("bob offers"))).unwrap());
    world.run_ms(50);
    assert!(
        world
            .net
            .node(alice)
            .has(|e| matches!(e, Told::Reanswered { sdp: Some(s), answer_owed: true, .. } if s == "bob offers"))
    );
    world.act(alice, |agent, now, layer| agent.acknowledge(now, layer, a, Some(sdp("alice answers"))).unwrap());
    world.run_ms(50);
    assert!(
        world
            .net
            .node(bob)
            .has(|e| matches!(e, Told::Reanswered { sdp: Some(s), answer_owed: false, .. } if s == "alice answers"))
    );
    world
        .act(alice, |agent, now, layer| agent.send_info(now, layer, a, "application/dtmf-relay", b"Signal=5").unwrap());
    world.run_ms(50);
    assert!(world.net.node(bob).has(|e| matches!(e, Told::Info { request, .. } if request.body() == b"Signal=5")));
    assert!(world.net.node(alice).has(|e| matches!(e, Told::InfoDone { status: 200, .. })));
    world.act(alice, |agent, now, layer| agent.hang_up(now, layer, a, None).unwrap());
    world.settle(&[alice, bob]);
}

#[test]
fn reinvites_that_meet_are_both_refused_491_and_both_come_through() {
    let (mut world, alice, bob) = pair(8, Link::PERFECT, Transport::Udp);
    let (a, b) = up(&mut world, alice, bob);
    world.act(alice, |agent, now, layer| agent.reinvite(now, layer, a, Some(sdp("from alice"))).unwrap());
    world.act(bob, |agent, now, layer| agent.reinvite(now, layer, b, Some(sdp("from bob"))).unwrap());
    for _ in 0..60 {
        world.run_ms(100);
        let _ = world.act(alice, |agent, now, layer| agent.answer_reoffer(now, layer, a, Some(sdp("to bob"))));
        let _ = world.act(bob, |agent, now, layer| agent.answer_reoffer(now, layer, b, Some(sdp("to alice"))));
    }
    assert!(world.net.node(alice).has(|e| matches!(e, Told::Reanswered { sdp: Some(s), .. } if s == "to alice")));
    assert!(world.net.node(bob).has(|e| matches!(e, Told::Reanswered { sdp: Some(s), .. } if s == "to bob")));
    world.act(bob, |agent, now, layer| agent.hang_up(now, layer, b, None).unwrap());
    world.settle(&[alice, bob]);
}

fn accepting(request: &Message, tag: &str) -> Message {
    Builder::response(request, 200, None)
        .to_tag(tag)
        .header(Header::Contact, "<sip:fork@10.0.0.2:5060>")
        .body("application/sdp", tag.as_bytes())
        .build()
}

#[test]
fn a_second_branch_that_answers_is_acknowledged_and_ended() {
    let mut world = World::new(9, Link::PERFECT, Transport::Udp);
    let alice = world.agent(1);
    let forks = world.script(2, |request| match (request.is_request(), request.method()) {
        (true, Method::Invite) => vec![
            Builder::response(request, 180, None).to_tag("one").build(),
            Builder::response(request, 183, None).to_tag("two").body("application/sdp", b"early").build(),
            accepting(request, "one"),
            accepting(request, "two"),
            accepting(request, "one"),
        ],
        (true, Method::Bye) => vec![Builder::response(request, 200, None).build()],
        _ => Vec::new(),
    });
    let a = world
        .act(alice, |agent, now, layer| agent.invite(now, layer, call_to(2, Transport::Udp, Some("offer"))).unwrap());
    world.run_ms(100);
    let seen = world.net.node(forks).seen();
    let tags = |method: Method| -> Vec<String> {
        let mut tags: Vec<_> = seen
            .iter()
            .filter(|m| m.is_request() && m.method() == method)
            .map(|m| m.to().unwrap().tag().unwrap().to_owned())
            .collect();
        tags.sort();
        tags
    };
    assert_eq!(tags(Method::Ack), ["one", "one", "two"]);
    assert_eq!(tags(Method::Bye), ["two"]);
    let answers = world.events(alice).iter().filter(|e| matches!(e, Told::Answered { .. })).count();
    assert_eq!(answers, 1);
    assert!(
        world.net.node(alice).has(|e| matches!(e, Told::Progress { status: 183, sdp: Some(s), .. } if s == "early"))
    );
    world.act(alice, |agent, now, layer| agent.hang_up(now, layer, a, None).unwrap());
    world.settle(&[alice]);
}

#[test]
fn a_redirection_lists_contacts_best_first() {
    let mut world = World::new(10, Link::PERFECT, Transport::Udp);
    let alice = world.agent(1);
    world.script(2, |request| {
        vec![
            Builder::response(request, 302, None)
                .to_tag("r")
                .header(Header::Contact, "<sip:a@10.0.0.3>;q=0.2, <sip:b@10.0.0.4>;q=0.9")
                .build(),
        ]
    });
    world.act(alice, |agent, now, layer| agent.invite(now, layer, call_to(2, Transport::Udp, Some("offer"))).unwrap());
    world.settle(&[alice]);
    assert!(world.net.node(alice).has(|e| matches!(e, Told::Redirected { status: 302, contacts, .. }
        if contacts == &["sip:b@10.0.0.4", "sip:a@10.0.0.3"])));
}

#[test]
fn the_maximum_of_calls_is_answered_just_outside_and_not_just_inside() {
    let mut world = World::new(11, Link::PERFECT, Transport::Udp);
    let alice = world.agent(1);
    let bob = world.agent_with(2, |config| {
        config.calls_max = 2;
        config.busy_status = 503;
    });
    for _ in 0..3 {
        world.act(alice, |agent, now, layer| agent.invite(now, layer, call_to(2, Transport::Udp, Some("o"))).unwrap());
        world.run_ms(20);
    }
    let calls = world.events(bob).iter().filter(|e| matches!(e, Told::IncomingCall { .. })).count();
    assert_eq!(calls, 2);
    assert!(world.net.node(alice).has(|e| matches!(e, Told::Rejected { status: 503, .. })));
    assert_eq!(
        world.act(bob, |agent, now, layer| agent.invite(now, layer, call_to(1, Transport::Udp, None))),
        Err(Refused::TooMany)
    );
}
