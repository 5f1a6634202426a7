//! The role as a whole on the loopback: a user agent calls through real UDP with a signed token, hears ringback, announcement
//! and its own echo, and hangs up; a stub clearinghouse takes key requests, charge messages and usage. Catches wiring: an
//! effect that nobody carries out, a port or circuit that does not come back, usage that is lost at shutdown. The caller is
//! paced by what it hears, so nothing sleeps.
#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

mod support;

use std::time::Duration;

use strowger_dialog::{Command, EndReason, UserAgentEvent};
use strowger_gateway_server::{AuthoritySource, Gateway, GatewayEvent};
use strowger_osp::Body;
use support::{Caller, ECHO, Stub, start, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_heard_charged_and_reported() {
    let stub = Stub::start().await;
    let gateway = start(&stub, |_| {}).await;
    let mut events = gateway.handle.subscribe();
    let mut caller = Caller::start(gateway.address).await;
    let call = caller.call(ECHO, "call-1", vec![stub.token(ECHO, "call-1", "n1", "gw1", 600)]).await;

    let progress =
        caller.next(|event| matches!(event, UserAgentEvent::Progress { status: 183, sdp: Some(_), .. })).await;
    let UserAgentEvent::Progress { sdp: Some(sdp), .. } = progress else { unreachable!() };
    // ringback: what comes before the answer is not silence
    let ringback = caller.listen(&sdp, 25).await;
    assert!(ringback.iter().any(|sample| sample.unsigned_abs() > 1000), "no ringback");
    caller.next(|event| matches!(event, UserAgentEvent::Answered { .. })).await;

    // ringing's rest and the announcement: 1 s and 5.5 s; then the echo of what we say from the beginning on
    let (said, heard) = caller.talk(&sdp, 440).await;
    let announcement = &heard[60 * 160..260 * 160];
    assert!(announcement.iter().any(|sample| sample.unsigned_abs() > 2000), "no announcement");
    let correlation = support::best_correlation(&said, &heard[heard.len() - 8000..]);
    assert!(correlation > 0.9, "echo correlation {correlation}");

    assert_eq!(gateway.handle.counters().calls_now, 1);
    assert_eq!(gateway.handle.calls()[0].transaction_id, 4711);
    caller.command(Command::HangUp { call, reason: None }).await;
    caller.next(|event| matches!(event, UserAgentEvent::Ended { reason: EndReason::Local, .. })).await;
    wait_for(&mut events, |event| matches!(event, GatewayEvent::Usage { .. })).await;

    let usage = stub.usage().await;
    assert_eq!((usage.transaction_id, usage.role.as_str()), (4711, "destination"));
    assert_eq!(usage.q850_cause(), Some(16));
    assert!((7..=20).contains(&usage.duration_seconds()), "{} s", usage.duration_seconds());
    assert_eq!((usage.customer_id.as_deref(), usage.device_id.as_deref()), (Some("2000"), Some("gw1")));
    let detail = &usage.usage_details[0];
    assert_eq!(detail.release_source.as_deref(), Some("source"));
    let statistics = detail.statistics.as_ref().unwrap();
    assert_eq!(statistics.loss_received.as_ref().unwrap().packets, Some(0));
    assert!(statistics.mos_cq[0].value.as_millis() > 4000, "{:?}", statistics.mos_cq);

    gateway.stop().await;
    let messages = stub.messages();
    let indications = messages.iter().filter(|body| matches!(body, Body::CapabilitiesIndication(_))).count();
    assert!(indications >= 2, "at the start and when going out of service");
    // rate token, start, an interval token for each 6 s begun after the first, stop
    let charges = stub.charges();
    let said = ["<crgt>", "<start/>", "<crgt>"];
    assert!(charges.len() >= 4, "{charges:?}");
    assert!(charges.iter().all(|(path, _)| path == "/charging/4711"));
    assert!(charges.iter().zip(said).all(|((_, xml), mark)| xml.contains(mark)), "{charges:?}");
    assert!(charges.last().unwrap().1.contains("<stop/>"), "{charges:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_tokens_and_failing_numbers_have_their_answers() {
    let stub = Stub::start().await;
    let gateway = start(&stub, |config| {
        // given, not asked for
        config.authority = AuthoritySource::Pem(stub.authority.certificate_pem());
    })
    .await;
    let mut caller = Caller::start(gateway.address).await;
    let busy = "12125550101";
    let used = stub.token(busy, "call-5", "n5", "gw1", 600);
    let cases = [
        ("call-1", vec![], 403, "missing"),
        ("call-2", vec![stub.token(ECHO, "call-2", "n2", "gw2", 600)], 403, "another gateway"),
        ("call-3", vec![stub.token(ECHO, "call-4", "n3", "gw1", 600)], 403, "another call"),
        ("call-5", vec![used.clone()], 486, "Busy"),
        ("call-5", vec![used], 403, "used before"),
    ];
    for (call_id, headers, status, text) in cases {
        let called = if call_id == "call-5" { busy } else { ECHO };
        caller.call(called, call_id, headers).await;
        let refused = caller.next(|event| matches!(event, UserAgentEvent::Rejected { .. })).await;
        let UserAgentEvent::Rejected { status: got, reason, .. } = refused else { unreachable!() };
        assert_eq!(got, status, "{call_id}: {reason}");
        assert!(reason.contains(text), "{call_id}: {reason}");
    }
    gateway.handle.refuse_all(Some(503)).await;
    caller.call(ECHO, "call-6", vec![stub.token(ECHO, "call-6", "n6", "gw1", 600)]).await;
    caller.next(|event| matches!(event, UserAgentEvent::Rejected { status: 503, .. })).await;
    assert_eq!(stub.usage().await.q850_cause(), Some(17));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_refused_until_the_key_is_known_and_running_ones_are_hung_up_at_the_end() {
    let stub = Stub::start().await;
    stub.hide_key(true);
    let gateway = start(&stub, |config| config.drain_limit = Duration::from_millis(10)).await;
    let mut events = gateway.handle.subscribe();
    let mut caller = Caller::start(gateway.address).await;
    caller.call(ECHO, "call-1", vec![stub.token(ECHO, "call-1", "n1", "gw1", 600)]).await;
    caller.next(|event| matches!(event, UserAgentEvent::Rejected { status: 503, .. })).await;
    stub.hide_key(false);
    wait_for(&mut events, |event| *event == GatewayEvent::AuthorityKnown).await;
    caller.call(ECHO, "call-2", vec![stub.token(ECHO, "call-2", "n2", "gw1", 600)]).await;
    caller.next(|event| matches!(event, UserAgentEvent::Answered { .. })).await;
    let gateway = tokio::spawn(gateway.stop());
    caller.next(|event| matches!(event, UserAgentEvent::Ended { reason: EndReason::Remote(Some(_)), .. })).await;
    gateway.await.unwrap();
    let usage = stub.usage().await;
    assert_eq!((usage.q850_cause(), usage.transaction_id), (Some(41), 4711));
}

#[test]
fn a_wrong_setting_is_one_sentence_and_opens_nothing() {
    let sentence = |change: fn(&mut strowger_gateway_server::GatewayConfig)| {
        let mut config = support::config("http://127.0.0.1:9/osp".to_owned());
        change(&mut config);
        Gateway::bind(config).err().expect("must not start").to_string()
    };
    assert!(sentence(|config| config.listen.clear()).contains("no SIP listener"));
    assert!(sentence(|config| config.osp_urls = vec!["nonsense".into()]).contains("nonsense"));
    assert!(sentence(|config| config.trunk.point_code = 2).contains("point code"));
    assert!(sentence(|config| config.dscp = Some(64)).contains("0 to 63"));
    assert!(sentence(|config| config.refuse_all = Some(200)).contains("300 to 699"));
    assert!(sentence(|config| config.media_address = "0.0.0.0".parse().unwrap()).contains("media_address"));
    assert!(sentence(|config| config.authority = AuthoritySource::Pem(String::new())).contains("certificate"));
    let bound = Gateway::bind(support::config("http://127.0.0.1:9/osp".to_owned())).unwrap();
    let taken = bound.local_addresses()[0];
    let mut config = support::config("http://127.0.0.1:9/osp".to_owned());
    config.listen = vec![taken];
    assert!(Gateway::bind(config).err().unwrap().to_string().contains("already in use"));
}
