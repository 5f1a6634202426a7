//! QS2 to QS4, QS7 at the proxy, against a policy server that says what the test wants, when the test wants it. Catches media that
//! are promised before they are granted, a refusal that leaves the gateway in a call, a teardown that nobody confirms.

use std::time::{Duration, Instant};

use strowger_cops::Command;
use strowger_cops::sip::Phase;
use strowger_phone::{CallProgress, EndedBy};

use crate::peers::{HELD, PDP_PORT, ScriptedPdp};
use crate::support::exchange::Configuration;
use crate::support::wait_for;
use crate::world::*;

/// An exchange whose proxy asks another policy server than its own.
fn asking_elsewhere(optional: bool) -> Configuration {
    Configuration::example()
        .with("policy_optional = false", &format!("policy_optional = {optional}\npolicy = [\"{{ip}}:{PDP_PORT}\"]"))
}

async fn scripted(optional: bool) -> (World, ScriptedPdp) {
    let configuration = asking_elsewhere(optional);
    let mut pdp = ScriptedPdp::listen(configuration.ip).await;
    let world = World::of(configuration);
    pdp.accept().await;
    (world, pdp)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qs2_qs3_invite_answer_and_bye_are_one_policy_state() {
    let (world, mut pdp) = scripted(false).await;
    let mut call = Running::call(world.alice().await, ECHO_URI, talks(SOON));
    let setup = pdp.admits().await;
    assert!(setup.sip.starts_with("INVITE sip:+12125550100@example.test SIP/2.0\r\n"), "{}", setup.sip);
    assert!(setup.sip.contains("m=audio "), "the offer comes with it");
    let answer = pdp.question(Phase::Answer).await;
    assert_eq!(answer.handle, setup.handle, "one handle for one call");
    assert!(answer.sip.starts_with("SIP/2.0 1") || answer.sip.starts_with("SIP/2.0 200 "), "{}", answer.sip);
    assert!(answer.sip.contains("m=audio "), "the answer comes with it");
    pdp.decide(&answer, Command::Install, "marked").await;
    pdp.report(&setup.handle).await;
    call.answered().await;

    let ended = tokio::spawn(call.hang_up());
    let teardown = pdp.tears_down(&setup.handle).await;
    assert!(teardown.sip.starts_with("BYE "), "{}", teardown.sip);
    assert_eq!(ended.await.unwrap().status, 200);
    world.comes_to_rest();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qs3_refused_setup_reaches_nobody() {
    let (world, mut pdp) = scripted(false).await;
    let call = Running::call(world.alice().await, ECHO_URI, talks(SOON));
    let setup = pdp.question(Phase::Setup).await;
    tokio::time::sleep(HELD).await;
    assert_eq!(world.metric("gateway_invites", "gateway-1"), 0, "no INVITE before the decision");
    assert_eq!(world.rest.open_calls(), 0, "and no authorization");
    pdp.decide(&setup, Command::Remove, "too many calls").await;
    assert_eq!(call.outcome().await.status, 503);
    assert_eq!(world.metric("proxy_calls_refused_policy", "proxy"), 1);
    assert_eq!(world.metric("gateway_invites", "gateway-1"), 0);
    assert!(world.rest.cdrs().is_empty());
    world.comes_to_rest();
}

/// The heart of it: no SDP answer reaches the caller before the decision, and then all of them do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qs4_responses_are_held_until_the_decision_installs() {
    let (world, mut pdp) = scripted(false).await;
    let mut call = Running::call(world.alice().await, ECHO_URI, talks(SOON));
    let setup = pdp.admits().await;
    let answer = pdp.question(Phase::Answer).await;
    // by now the gateway may have answered; the caller must not hear of it
    wait_for("the gateway's answer", SOON, || (world.metric("gateway_calls_answered", "gateway-1") == 1).then_some(()));
    tokio::time::sleep(HELD).await;
    let heard = call.heard();
    assert!(heard.iter().all(|progress| *progress == CallProgress::Provisional(100)), "before the decision: {heard:?}");
    assert_eq!(world.metric("proxy_calls_answered", "proxy"), 0);

    let decided = Instant::now();
    pdp.decide(&answer, Command::Install, "marked").await;
    pdp.report(&setup.handle).await;
    call.answered().await;
    assert!(decided.elapsed() < Duration::from_secs(1), "and at once after it");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ended = tokio::spawn(call.hang_up());
    pdp.tears_down(&setup.handle).await;
    was_a_conversation(&ended.await.unwrap());
    world.comes_to_rest();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qs4_refused_answer_is_503_and_the_gateway_is_hung_up() {
    let (world, mut pdp) = scripted(false).await;
    let before = world.callers();
    let mut call = Running::call(world.alice().await, ECHO_URI, talks(SOON));
    let setup = pdp.admits().await;
    let answer = pdp.question(Phase::Answer).await;
    wait_for("the gateway's answer", SOON, || (world.metric("gateway_calls_answered", "gateway-1") == 1).then_some(()));
    let heard = call.heard();
    pdp.decide(&answer, Command::Remove, "no bandwidth").await;
    pdp.tears_down(&setup.handle).await;
    let outcome = call.outcome().await;
    assert_eq!((outcome.status, outcome.answered), (503, false), "{outcome:?}");
    assert_eq!(outcome.ended_by, EndedBy::Nobody);
    assert!(heard.iter().all(|progress| *progress == CallProgress::Provisional(100)), "{heard:?}");
    world.comes_to_rest();
    assert_eq!(world.metric("proxy_calls_refused_policy", "proxy"), 1);
    assert_eq!(world.callers(), before, "a call that the caller never had costs nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qs3_without_a_policy_server_there_are_no_calls() {
    let world = World::of(asking_elsewhere(false));
    let call = Running::call(world.alice().await, ECHO_URI, talks(SOON));
    assert_eq!(call.outcome().await.status, 503);
    assert_eq!(world.metric("gateway_invites", "gateway-1"), 0);
    assert_eq!(world.rest.json("/api/v1/authorizations")["authorizations"].as_array().map(Vec::len), Some(0));
    world.comes_to_rest();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qs3_where_policy_is_optional_calls_go_on_without_a_policy_server() {
    let world = World::of(asking_elsewhere(true));
    let mut call = Running::call(world.alice().await, ECHO_URI, talks(SOON));
    call.answered().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    was_a_conversation(&call.hang_up().await);
    world.comes_to_rest();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qs7_teardown_is_confirmed_before_the_state_is_deleted() {
    let (world, mut pdp) = scripted(false).await;
    let mut call = Running::call(world.alice().await, ECHO_URI, talks(SOON));
    let setup = pdp.admits().await;
    let answer = pdp.question(Phase::Answer).await;
    pdp.decide(&answer, Command::Install, "marked").await;
    pdp.report(&setup.handle).await;
    call.answered().await;
    let outcome = call.hang_up().await;
    assert_eq!(outcome.ended_by, EndedBy::Us, "the BYE is answered whatever the policy server does");
    let teardown = pdp.question(Phase::Teardown).await;
    assert_eq!(teardown.handle, setup.handle);
    tokio::time::sleep(HELD).await;
    assert_eq!(world.metric("proxy_calls_now", "proxy"), 1, "the proxy waits for the confirmation");
    pdp.decide(&teardown, Command::Remove, "released").await;
    // RFC 2748 §3.3, §3.4: the decision is reported on, then the state is deleted, in this order
    pdp.report(&setup.handle).await;
    pdp.deletion(&setup.handle).await;
    world.comes_to_rest();
}
