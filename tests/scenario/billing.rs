//! RB: charge messages of the telephone network become a bill that grows while the call runs. Catches a rate that comes after
//! the answer, an interval that is charged twice or not at all, a bill that is only seen in the end.

use std::time::{Duration, Instant};

use crate::peers::Overheard;
use crate::support::exchange::Configuration;
use crate::support::wait_for;
use crate::world::*;

/// The trunk's tariff: 0.01 for each interval begun.
const INTERVAL_NANOS: i64 = 10_000_000;
/// How long an interval is.
const INTERVAL: Duration = Duration::from_secs(6);

/// An exchange whose first gateway speaks to the clearinghouse through a wire-tap.
async fn overheard() -> (World, Overheard) {
    let ports = "rtp_ports = \"20000-24999\"";
    let through = format!("{ports}\nclearinghouse = [\"http://{{ip}}:{}/osp\"]", crate::peers::TAP_PORT);
    let configuration = Configuration::example().with(ports, &through);
    let tap = Overheard::on(configuration.ip).await;
    (World::of(configuration), tap)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rb1_rate_token_is_sent_before_the_answer() {
    let (world, tap) = overheard().await;
    let mut call = Running::call(world.alice().await, ECHO_URI, talks(SOON));
    let transaction = world.open_transaction();
    let (came, xml) = wait_for("the first charge message", SOON, || tap.charges(&transaction).into_iter().next());
    assert!(xml.contains("<crgt>") && xml.contains("<currency>USD</currency>"), "{xml}");
    assert!(xml.contains("application/vnd.etsi.sci+xml"), "{xml}");
    call.answered().await;
    assert!(came < Instant::now() - Duration::from_millis(300), "the rate is known while it rings");
    wait_for("the start of charging", SOON, || {
        tap.charges(&transaction).iter().any(|(_, xml)| xml.contains("start")).then_some(())
    });
    let bill = wait_for("the first charge", SOON, || {
        let bill = world.rest.json(&format!("/api/v1/bill/{transaction}"));
        (bill["total"]["nanos"] == INTERVAL_NANOS).then_some(bill)
    });
    assert_eq!(bill["state"], "running", "{bill}");
    call.hang_up().await;
    world.comes_to_rest();
    let bill = world.rest.json(&format!("/api/v1/bill/{transaction}"));
    assert_eq!((&bill["state"], &bill["outcome"]), (&"settled".into(), &"posted".into()), "{bill}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rb2_rb3_interval_tokens_make_the_bill_grow() {
    let (world, tap) = overheard().await;
    let mut call = Running::call(world.alice().await, ECHO_URI, talks(SOON));
    call.answered().await;
    let transaction = world.open_transaction();
    let total = || world.rest.json(&format!("/api/v1/bill/{transaction}"))["total"]["nanos"].as_i64();
    wait_for("the first interval's charge", SOON, || (total() == Some(INTERVAL_NANOS)).then_some(()));
    let messages = tap.charges(&transaction).len();
    // the bill stands still within an interval, and grows by one interval with the next
    wait_for("the second interval's charge", INTERVAL + SOON, || {
        let total = total();
        assert!(matches!(total, Some(INTERVAL_NANOS) | Some(20_000_000)), "{total:?}");
        (total == Some(2 * INTERVAL_NANOS)).then_some(())
    });
    let all = tap.charges(&transaction);
    assert_eq!(all.len(), messages + 1, "one message for one interval");
    assert!(all.last().unwrap().1.contains("<crgt>"), "an interval token is a tariff of its own: {all:?}");
    let open = world.rest.json("/api/v1/calls/open");
    assert_eq!(open["calls"][0]["bill"]["total"]["nanos"], 2 * INTERVAL_NANOS, "beside the call, too: {open}");
    call.hang_up().await;
    world.comes_to_rest();
}
