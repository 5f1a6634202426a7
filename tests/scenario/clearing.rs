//! CH: a call through the proxy, a call without it, and what each "if valid" says when it is not. Catches a way around a check,
//! a token that is not for the gateway it is sent to, a second gateway that is not tried.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strowger_clearinghouse_client::{DeviceKeyKind, enroll};
use strowger_phone::CallProgress;
use strowger_sip::Header;
use strowger_token::{TokenInfo, Verifier, VerifyingKey};

use crate::peers::{GATEWAY_PORT, ScriptedGateway};
use crate::support::exchange::Configuration;
use crate::support::wait_for;
use crate::world::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch1_proxy_mediated_call_reaches_the_pstn() {
    let world = World::example();
    let mut call = Running::call(world.alice().await, ECHO_URI, talks(SOON));
    let answered = call.answered().await;
    assert!(matches!(answered, CallProgress::Answered { remote_rtp: Some(_), .. }), "{answered:?}");

    assert!(world.metric("proxy_challenges", "proxy") >= 1, "the proxy asks its user for a password");
    assert_eq!(world.metric("gateway_circuits_now", "gateway-1"), 1, "the call is on the trunk");
    let open = world.rest.json("/api/v1/calls/open")["calls"][0].clone();
    assert_eq!((&open["source"]["customer"], &open["source"]["device"]), (&"1000".into(), &"proxy".into()));
    assert_eq!(open["called"], "1212555xxxx", "numbers of running calls are not shown in full");
    let gateways = open["gateways"].as_array().unwrap();
    let devices: Vec<_> = gateways.iter().map(|gateway| gateway["device"].as_str().unwrap()).collect();
    assert_eq!(devices, ["gateway-1", "gateway-2"], "ranked: the cheaper first");

    tokio::time::sleep(Duration::from_millis(500)).await; // a conversation is not made of one packet
    was_a_conversation(&call.hang_up().await);
    world.comes_to_rest();
    let cdrs = world.rest.cdrs();
    assert_eq!((cdrs.len(), &cdrs[0]["called"], &cdrs[0]["calling"]), (1, &ECHO.into(), &"12125550001".into()));
    assert_eq!(world.metric("gateway_refused", "gateway-1"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch2_pa2_client_direct_call_is_accepted_on_the_token_alone() {
    let world = World::example();
    let client = world.client();
    let before = world.callers();
    let answer = authorized(&client, "direct@client").await;
    assert_eq!(ports(&answer), [5070, 5072]);
    // the client picks: here the second
    let token = &answer.destinations[1].tokens[0].0;
    let phone = world.stranger().await;
    let outcome = phone.call(&world.at_gateway(ECHO, 5072), with_token("direct@client", Some(token))).await;
    was_a_conversation(&outcome);
    assert_eq!(world.metric("proxy_calls", "proxy"), 0, "no proxy was asked");
    report(&client, source_usage(&answer, "direct@client", 1, outcome.duration_ms.div_ceil(1000), 16)).await;
    world.comes_to_rest();
    let cdr = world.rest.cdrs().remove(0);
    assert_eq!((&cdr["state"], &cdr["destination"]["device"]), (&"matched".into(), &"gateway-2".into()), "{cdr}");
    assert!(world.callers().posted_nanos < before.posted_nanos, "the client's carrier pays");
    assert!(world.rest.account("2001").posted_nanos > 0, "the gateway's carrier is paid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch4_bad_user_at_proxy() {
    let world = World::example();
    for (user, password) in [("alice", "wrong"), ("mallory", "secret")] {
        let phone = world.phone(user, password).await;
        let outcome = phone.call(ECHO_URI, talks(Duration::from_secs(1))).await;
        phone.stop().await;
        assert!(matches!(outcome.status, 401 | 403 | 407), "{user}: {outcome:?}");
    }
    assert!(world.metric("proxy_credentials_refused", "proxy") >= 2);
    assert!(world.holds_nothing());
    assert_eq!(world.metric("gateway_invites", "gateway-1"), 0, "no gateway ever heard of them");
    let asked = world.rest.json("/api/v1/authorizations");
    assert_eq!(asked["authorizations"].as_array().map(Vec::len), Some(0), "the clearinghouse neither: {asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch4_bad_proxy_at_clearinghouse() {
    // the proxy says it is somebody whom the clearinghouse does not know
    let configuration = Configuration::example().with("device = \"proxy\"", "device = \"impostor\"");
    let world = World::of(configuration);
    let phone = world.alice().await;
    let outcome = phone.call(ECHO_URI, talks(Duration::from_secs(1))).await;
    phone.stop().await;
    // it is not the caller's fault: a server's failure, not "forbidden"
    assert_eq!(outcome.status, 500, "{outcome:?}");
    assert_eq!(world.metric("proxy_calls_refused_clearing", "proxy"), 1);
    assert_eq!(world.metric("gateway_invites", "gateway-1"), 0);
    world.comes_to_rest();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch4_next_gateway_is_tried_and_each_gets_its_own_token() {
    let device = "id = \"gateway-1\"\ncustomer = \"2000\"\naddress = \"{ip}:";
    let configuration = Configuration::example().with(&format!("{device}5070"), &format!("{device}{GATEWAY_PORT}"));
    let mut gateway = ScriptedGateway::refusing(configuration.ip, 503).await;
    let world = World::of(configuration);
    let call = Running::call(world.alice().await, ECHO_URI, talks(SOON));

    let invite = gateway.invite().await;
    assert!(invite.request_uri().starts_with("sip:+12125550100@"), "{}", invite.request_uri());
    let token = STANDARD.decode(invite.header(Header::POspAuthToken).expect("a token")).expect("base64");
    let token = read_token(&world, &token).await;
    assert_eq!((token.gateway.as_str(), token.called.as_str()), ("gateway-1", ECHO));
    assert_eq!(token.call_id, invite.call_id().unwrap().as_bytes());

    wait_for("the second gateway", SOON, || (world.metric("gateway_circuits_now", "gateway-2") == 1).then_some(()));
    let mut call = call;
    call.answered().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    was_a_conversation(&call.hang_up().await);
    world.comes_to_rest();
    let cdr = world.rest.cdrs().remove(0);
    assert_eq!(cdr["destination"]["device"], "gateway-2", "{cdr}");
    assert_eq!(cdr["attempts"].as_array().map(Vec::len), Some(2), "{cdr}");
    assert_eq!(world.rest.account("2000").posted_nanos, 0, "who refused is not paid");
}

/// Verifies a token with the authority's certificate, as any gateway gets it: by enrollment.
async fn read_token(world: &World, token: &[u8]) -> TokenInfo {
    let credentials = enroll(&world.osp_url(), "2000", "gateway-1", "enroll-me", DeviceKeyKind::P256).await;
    let pem = credentials.expect("credentials").authority_pem;
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let certificate = STANDARD.decode(base64).expect("a certificate");
    let verifier = Verifier::new(vec![VerifyingKey::from_certificate(&certificate).expect("a key")]);
    verifier.verify(token).expect("a genuine token")
}
