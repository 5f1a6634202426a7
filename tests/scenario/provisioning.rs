//! QS1, QS4, QS6, QS7 at the policy server and the routers: routers that are nothing but COPS-PR clients report, fail and
//! hesitate as the test wants. Catches media that are promised before every router has confirmed, rows that stay behind.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use strowger_cops::ReportType;
use strowger_phone::CallProgress;
use strowger_pib::{DsDscpMarkAct, FrwkIpFilter, Row};

use crate::peers::{HELD, ScriptedRouter, Told};
use crate::support::exchange::Configuration;
use crate::world::*;

/// Rows of one media flow: base filter, IP filter, token bucket, meter, classifier element.
const ROWS_OF_A_FLOW: usize = 5;
/// RFC 3246.
const EXPEDITED_FORWARDING: i32 = 46;

fn pdp(world: &World) -> SocketAddr {
    (world.exchange.ip, 3288).into()
}

/// An exchange that refuses media when routers do not confirm.
fn world() -> World {
    World::of(Configuration::example().with("require_router = false", "require_router = true"))
}

fn filters(told: &Told) -> Vec<&FrwkIpFilter> {
    let rows = told.installs.iter();
    rows.filter_map(|row| if let Row::FrwkIpFilter(filter) = row { Some(filter) } else { None }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qs1_routers_are_provisioned_before_any_call() {
    let world = world();
    let (mut router, base) = ScriptedRouter::connect(pdp(&world), "edge-1").await;
    assert!(base.solicited, "an answer to the router's request");
    assert!(!base.removes.is_empty(), "what another policy server left is cleared first");
    let marks: Vec<i32> = base
        .installs
        .iter()
        .filter_map(|row| match row {
            Row::DsDscpMarkAct(DsDscpMarkAct { dscp, .. }) => Some(*dscp),
            _ => None,
        })
        .collect();
    assert!(marks.contains(&EXPEDITED_FORWARDING) && marks.contains(&0), "{marks:?}");
    for class in ["DsDataPath", "DsClfr(", "DsQ(", "DsScheduler"] {
        assert!(base.installs.iter().any(|row| format!("{row:?}").starts_with(class)), "no {class}: {base:?}");
    }
    router.report(ReportType::Success).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qs4_qs6_install_confirmed_by_rpt() {
    let world = world();
    let mut near = ScriptedRouter::provisioned(pdp(&world), "edge-near").await;
    let mut far = ScriptedRouter::provisioned(pdp(&world), "edge-far").await;
    let mut call = Running::call(world.alice().await, ECHO_URI, talks(SOON));

    let install = near.decision().await;
    assert_eq!(far.decision().await, install, "the same for the routers of both sides");
    assert!(!install.solicited && install.removes.is_empty(), "{install:?}");
    assert_eq!(install.installs.len(), 2 * ROWS_OF_A_FLOW, "one flow each way");
    near.report(ReportType::Success).await;
    tokio::time::sleep(HELD).await;
    let heard = call.heard();
    assert!(heard.iter().all(|progress| *progress == CallProgress::Provisional(100)), "one report of two: {heard:?}");

    let confirmed = Instant::now();
    far.report(ReportType::Success).await;
    let CallProgress::Answered { local_rtp, remote_rtp: Some(remote_rtp) } = call.answered().await else {
        panic!("an answer without media");
    };
    assert!(confirmed.elapsed() < Duration::from_secs(3), "the answer waited for nothing else");

    // what was authorized with the token is what is marked: this call's two flows and nothing else
    let flow = |filter: &FrwkIpFilter| {
        assert_eq!((filter.protocol, filter.source_prefix_bits, filter.destination_prefix_bits), (17, 32, 32));
        assert_eq!(filter.destination_port_min, filter.destination_port_max, "one port");
        (filter.source.clone(), filter.destination.clone(), filter.destination_port_min)
    };
    let octets = |address: SocketAddr| match address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let between = |from: SocketAddr, to: SocketAddr| (octets(from), octets(to), u32::from(to.port()));
    let mut flows: Vec<_> = filters(&install).into_iter().map(flow).collect();
    let mut expected = vec![between(local_rtp, remote_rtp), between(remote_rtp, local_rtp)];
    flows.sort();
    expected.sort();
    assert_eq!(flows, expected);

    // and the same in reverse at the end
    let ended = tokio::spawn(call.hang_up());
    for router in [&mut near, &mut far] {
        let remove = router.decision().await;
        let mut names: Vec<String> = install.installs.iter().map(|row| row.prid().to_string()).collect();
        let mut removed = remove.removes.clone();
        names.sort();
        removed.sort();
        assert_eq!((removed, remove.installs.len()), (names, 0), "what was installed is removed");
        router.report(ReportType::Success).await;
    }
    was_a_conversation(&ended.await.unwrap());
    world.comes_to_rest();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qs4_router_that_fails_means_no_call_and_nothing_installed() {
    let world = world();
    let before = world.callers();
    let mut good = ScriptedRouter::provisioned(pdp(&world), "edge-good").await;
    let mut bad = ScriptedRouter::provisioned(pdp(&world), "edge-bad").await;
    let call = Running::call(world.alice().await, ECHO_URI, talks(SOON));
    let install = good.decision().await;
    good.report(ReportType::Success).await;
    bad.decision().await;
    bad.report(ReportType::Failure).await;

    // the router that could is told to take it back
    let back = good.decision().await;
    assert_eq!(back.removes.len(), install.installs.len(), "{back:?}");
    assert!(back.installs.is_empty());
    good.report(ReportType::Success).await;
    // the one that could not may hear of it, too, and has nothing to take back
    let bad = tokio::spawn(async move {
        bad.decision().await;
        bad.report(ReportType::Success).await;
        bad
    });
    let outcome = call.outcome().await;
    assert_eq!((outcome.status, outcome.answered), (503, false), "{outcome:?}");
    bad.abort();
    world.comes_to_rest();
    assert_eq!(world.callers(), before, "no call, no charge");
    assert_eq!(world.rest.cdrs()[0]["sell"]["nanos"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qs4_router_that_does_not_report_means_no_call() {
    let world = World::of(Configuration::example().with("report_time_ms = 2000", "report_time_ms = 500"));
    let mut router = ScriptedRouter::provisioned(pdp(&world), "edge-silent").await;
    let call = Running::call(world.alice().await, ECHO_URI, talks(SOON));
    let install = router.decision().await;
    let back = router.decision().await;
    assert_eq!(back.removes.len(), install.installs.len(), "what it may have done after all is taken back: {back:?}");
    router.report(ReportType::Success).await;
    router.report(ReportType::Success).await;
    let outcome = call.outcome().await;
    assert_eq!((outcome.status, outcome.answered), (503, false), "{outcome:?}");
    world.comes_to_rest();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qs7_removal_is_confirmed_by_the_routers() {
    let world = world();
    let mut router = ScriptedRouter::provisioned(pdp(&world), "edge-1").await;
    let mut call = Running::call(world.alice().await, ECHO_URI, talks(SOON));
    let install = router.decision().await;
    router.report(ReportType::Success).await;
    call.answered().await;
    call.hang_up().await;
    let remove = router.decision().await;
    assert_eq!(remove.removes.len(), install.installs.len(), "{remove:?}");
    tokio::time::sleep(HELD).await;
    assert_eq!(world.metric("proxy_calls_now", "proxy"), 1, "the call is not over before the router has confirmed");
    router.report(ReportType::Success).await;
    world.comes_to_rest();
}
