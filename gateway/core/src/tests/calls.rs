//! Calls with a good token, in every way they can go.

use std::time::Duration;

use bytes::Bytes;
use strowger_dialog::{EndReason, UserAgentEvent};
use strowger_isup::Cause;
use strowger_sdp::Direction;
use strowger_sip::Header;
use strowger_trunk::Circuit;

use super::world::{ECHO, OFFER, World};
use crate::{CallState, Effect, Input, Law, RefusalReason, ReleaseSource};

fn last_stream(world: &World) -> (Circuit, crate::Stream, bool) {
    match world.bridges.last() {
        Some(Effect::BridgeMedia { circuit, stream: Some(stream), answered, .. }) => (*circuit, *stream, *answered),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_is_answered_connected_and_hung_up_by_the_caller() {
    let mut world = World::new();
    let call = world.call(ECHO, "call-1");
    // ringback is in the bearer: the caller hears it
    assert_eq!(world.statuses(), [183]);
    let (circuit, stream, answered) = last_stream(&world);
    assert_eq!((circuit.timeslot(), stream.law, answered), (1, Law::A, false));
    assert_eq!(stream.remote.unwrap().to_string(), "10.0.0.1:4000");
    world.run_ms(1000);
    assert_eq!(world.statuses(), [183, 200]);
    assert!(world.events.iter().any(|event| matches!(event, UserAgentEvent::Answered { sdp: Some(_), .. })));
    assert!(last_stream(&world).2);
    world.run_ms(10_500);
    world.caller_does(|agent, now, layer| agent.hang_up(now, layer, call, None)).unwrap();
    let usage = world.usage();
    assert_eq!((usage.cause, usage.release), (Cause::NORMAL_CLEARING, ReleaseSource::Source));
    assert_eq!(usage.duration_seconds(), 11); // begun seconds count
    assert_eq!((usage.transaction_id, usage.called.as_str(), usage.call_id.as_str()), (4712, ECHO, "call-1"));
    assert!(usage.start <= usage.alert.unwrap() && usage.alert.unwrap() < usage.connect.unwrap());
    assert_eq!(usage.media.unwrap().packets_received, 7);
    assert_eq!(
        world.states(),
        [
            CallState::OpeningMedia,
            CallState::AwaitingAddressComplete,
            CallState::Alerting,
            CallState::Accepted,
            CallState::Connected,
            CallState::Releasing,
            CallState::Ended
        ]
    );
    // the tariff, and 6 s intervals: at 0 s and 6 s
    let charges = world.effects.iter().filter(|effect| matches!(effect, Effect::Charge { transaction_id: 4712, .. }));
    assert_eq!(charges.count(), 3);
    let marks: Vec<_> = world
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::ChargeStart { .. } | Effect::ChargeStop { .. }))
        .collect();
    assert_eq!(marks.len(), 2);
    world.settle();
}

#[test]
fn numbers_that_fail_become_the_status_of_rfc_3398() {
    for (called, status, cause) in [
        ("12125550101", 486, 17),
        ("12125550102", 480, 19),
        ("12125550104", 404, 1),
        ("12125550199", 404, 1),
        ("12125550105", 503, 34),
    ] {
        let mut world = World::new();
        world.call(called, "call-1");
        world.run(Duration::from_secs(40));
        let refusal = world.refusal();
        assert_eq!(refusal.status(), Some(status), "{called}");
        let reason = refusal.header(Header::Reason).unwrap();
        assert!(reason.starts_with(&format!("Q.850;cause={cause};text=\"")), "{called}: {reason}");
        let usage = world.usage();
        assert_eq!((usage.cause, usage.release), (Cause(cause), ReleaseSource::Destination));
        assert_eq!((usage.connect, usage.duration_seconds()), (None, 0));
        assert_eq!(usage.alert.is_some(), called == "12125550102");
        assert_eq!(world.core.counters().calls_failed, 1);
        world.settle();
    }
}

#[test]
fn the_caller_cancels_while_it_rings() {
    let mut world = World::new();
    let call = world.call("12125550102", "call-1");
    world.run_ms(3000);
    world.caller_does(|agent, now, layer| agent.hang_up(now, layer, call, None)).unwrap();
    assert_eq!(world.refusal().status(), Some(487));
    let usage = world.usage();
    assert_eq!((usage.cause, usage.release, usage.connect), (Cause::NORMAL_CLEARING, ReleaseSource::Source, None));
    assert_eq!(world.core.counters().calls_cancelled, 1);
    world.settle();
}

#[test]
fn the_trunk_hangs_up() {
    let mut world = World::new();
    world.call(ECHO, "call-1");
    world.run_ms(5000);
    world.exchange_hangs_up(Cause::NORMAL_CLEARING);
    let ended = world.events.iter().find_map(|event| match event {
        UserAgentEvent::Ended { reason: EndReason::Remote(reason), .. } => reason.clone(),
        _ => None,
    });
    assert_eq!(ended.as_deref(), Some("Q.850;cause=16;text=\"normal call clearing\""));
    let usage = world.usage();
    assert_eq!((usage.cause, usage.release), (Cause::NORMAL_CLEARING, ReleaseSource::Destination));
    assert_eq!(usage.duration_seconds(), 4);
    world.settle();
}

#[test]
fn the_granted_time_runs_out() {
    let mut world = World::new();
    let mut token = world.token(ECHO, "call-1");
    token.granted_seconds = 10;
    let header = world.header(&token);
    world.invite(ECHO, "call-1", Some(OFFER), vec![header]);
    world.run_ms(1000 + 9_999);
    assert!(world.usages().is_empty());
    world.run_ms(1);
    let usage = world.usage();
    assert_eq!((usage.duration_seconds(), usage.release), (10, ReleaseSource::Gateway));
    let ended = world.events.iter().any(|event| {
        matches!(event, UserAgentEvent::Ended { reason: EndReason::Remote(Some(reason)), .. } if reason.contains("granted time"))
    });
    assert!(ended);
    assert_eq!(world.core.counters().calls_out_of_time, 1);
    world.settle();
}

#[test]
fn a_late_offer_is_ours_and_its_answer_comes_in_the_ack() {
    let mut world = World::new();
    let token = world.token(ECHO, "call-1");
    let header = world.header(&token);
    let call = world.invite(ECHO, "call-1", None, vec![header]);
    // no offer in an unreliable response
    assert_eq!(world.statuses(), [180]);
    world.run_ms(1000);
    assert!(world.events.iter().any(|event| matches!(event, UserAgentEvent::Answered { answer_owed: true, .. })));
    assert!(matches!(world.bridges.last(), Some(Effect::BridgeMedia { stream: None, answered: true, .. })));
    let answer = Bytes::from_static(OFFER.as_bytes());
    world.caller_does(|agent, now, layer| agent.acknowledge(now, layer, call, Some(answer))).unwrap();
    assert_eq!(last_stream(&world).1.law, Law::A);
    world.caller_does(|agent, now, layer| agent.hang_up(now, layer, call, None)).unwrap();
    assert_eq!(world.usage().cause, Cause::NORMAL_CLEARING);
    world.settle();
}

#[test]
fn a_late_offer_that_is_not_answered_ends_the_call() {
    let mut world = World::new();
    let token = world.token(ECHO, "call-1");
    let header = world.header(&token);
    let call = world.invite(ECHO, "call-1", None, vec![header]);
    world.run_ms(1000);
    world.caller_does(|agent, now, layer| agent.acknowledge(now, layer, call, None)).unwrap();
    assert_eq!((world.usage().cause, world.usage().release), (Cause(65), ReleaseSource::Gateway));
    world.settle();
}

#[test]
fn an_offer_without_a_codec_of_ours_is_488() {
    let mut world = World::new();
    let token = world.token(ECHO, "call-1");
    let header = world.header(&token);
    world.invite(ECHO, "call-1", Some(&OFFER.replace("8 0", "18")), vec![header]);
    assert_eq!(world.refusal().status(), Some(488));
    assert_eq!(world.refused().reason, RefusalReason::NoCodec);
    assert_eq!(world.usage().cause, Cause(65));
    world.settle();
    // and a body that is no session description
    let token = world.token(ECHO, "call-2");
    let header = world.header(&token);
    world.invite(ECHO, "call-2", Some("nonsense"), vec![header]);
    assert_eq!(world.refusal().status(), Some(488));
    world.settle();
}

#[test]
fn hold_and_resume_change_the_stream() {
    let mut world = World::new();
    let call = world.call(ECHO, "call-1");
    world.run_ms(2000);
    let hold = Bytes::from(format!("{OFFER}a=sendonly\r\n"));
    world.caller_does(|agent, now, layer| agent.reinvite(now, layer, call, Some(hold))).unwrap();
    assert_eq!(last_stream(&world).1.direction, Direction::RecvOnly);
    let inactive = Bytes::from(format!("{OFFER}a=inactive\r\n"));
    world.caller_does(|agent, now, layer| agent.reinvite(now, layer, call, Some(inactive))).unwrap();
    assert_eq!(last_stream(&world).1.direction, Direction::Inactive);
    // who is on hold may be silent
    world.input(Input::MediaIdle { call: 1 });
    assert!(world.usages().is_empty());
    let resume = Bytes::from(OFFER.replace("4000", "4100"));
    world.caller_does(|agent, now, layer| agent.reinvite(now, layer, call, Some(resume))).unwrap();
    let stream = last_stream(&world).1;
    assert_eq!((stream.direction, stream.remote.unwrap().port()), (Direction::SendRecv, 4100));
    // what cannot be accepted changes nothing
    let wrong = Bytes::from(OFFER.replace("8 0", "18"));
    world.caller_does(|agent, now, layer| agent.reinvite(now, layer, call, Some(wrong))).unwrap();
    assert!(world.events.iter().any(|event| matches!(event, UserAgentEvent::ReofferRefused { status: 488, .. })));
    assert_eq!(last_stream(&world).1, stream);
    // asked for an offer
    world.caller_does(|agent, now, layer| agent.reinvite(now, layer, call, None)).unwrap();
    assert!(world.events.iter().any(|event| matches!(event, UserAgentEvent::Reanswered { answer_owed: true, .. })));
    let answer = Bytes::from(OFFER.replace("8 0", "0"));
    world.caller_does(|agent, now, layer| agent.acknowledge(now, layer, call, Some(answer))).unwrap();
    assert_eq!(last_stream(&world).1.law, Law::Mu);
    world.input(Input::MediaIdle { call: 1 });
    let usage = world.usage();
    assert_eq!((usage.release, usage.cause), (ReleaseSource::Gateway, Cause(31)));
    world.settle();
}

#[test]
fn a_caller_that_vanishes_after_the_200_is_given_up() {
    let mut world = World::new();
    world.call(ECHO, "call-1");
    world.caller_is_gone = true;
    world.run_ms(1000);
    world.run(Duration::from_secs(31));
    assert!(world.usages().is_empty());
    world.run(Duration::from_secs(2));
    let usage = world.usage();
    assert_eq!((usage.cause, usage.release), (Cause::RECOVERY_ON_TIMER, ReleaseSource::Gateway));
    assert!(usage.connect.is_some());
    world.run(Duration::from_secs(100));
    assert_eq!(world.core.counters().circuits_now, 0);
    assert_eq!(world.core.counters().timers_now, 0);
}

#[test]
fn an_exchange_that_says_nothing_is_504_and_ringing_without_end_is_480() {
    let mut world = World::new();
    world.exchange_is_gone = true;
    world.call(ECHO, "call-1");
    world.run(Duration::from_secs(26)); // T7
    assert_eq!((world.refusal().status(), world.usage().cause), (Some(504), Cause(102)));

    let mut world = World::with(|config| config.no_answer = Duration::from_secs(20));
    world.call("12125550102", "call-1");
    world.run_ms(19_999);
    assert!(world.usages().is_empty());
    world.run_ms(1);
    assert_eq!((world.refusal().status(), world.usage().cause), (Some(480), Cause(19)));
    assert_eq!(world.usage().release, ReleaseSource::Gateway);
    world.settle();
}

#[test]
fn ringing_is_told_again_each_minute() {
    let mut world = World::new();
    world.exchange_is_gone = false;
    let call = world.call("12125550102", "call-1");
    world.exchange_is_gone = true; // its release does not come
    world.run(Duration::from_secs(90));
    assert_eq!(world.statuses(), [183, 183]);
    world.caller_does(|agent, now, layer| agent.hang_up(now, layer, call, None)).unwrap();
    assert_eq!(world.usage().cause, Cause::NORMAL_CLEARING);
}
