//! CH4 at the gateway, PA2: what is no good token for this very call is refused in its own words, leaves nothing behind, and
//! spoils nothing for the call that has one. Catches a check that is skipped, a refusal that reserves, seizes or charges.

use std::time::Duration;

use strowger_clock::Timestamp;
use strowger_enrollment::Authority;
use strowger_net::SystemClock;
use strowger_phone::CallOutcome;
use strowger_token::{Signer, TokenInfo};

use crate::support::exchange::Configuration;
use crate::world::{ECHO, World, authorized, report, source_usage, was_a_conversation, with_token};

/// Q.850 21: call rejected.
const REJECTED: u32 = 21;
const GATEWAY: u16 = 5070;

/// The example, with failed calls closed as soon as the caller has said so.
fn world() -> World {
    World::of(
        Configuration::example().with("usage_match_seconds = 30", "usage_match_seconds = 3\nfailed_match_seconds = 1"),
    )
}

/// Calls the first gateway directly.
async fn call(world: &World, number: &str, call_id: &str, token: Option<&[u8]>) -> CallOutcome {
    let phone = world.stranger().await;
    let outcome = phone.call(&world.at_gateway(number, GATEWAY), with_token(call_id, token)).await;
    phone.stop().await;
    outcome
}

/// It was refused so, and the gateway keeps nothing of it.
fn refused(world: &World, outcome: &CallOutcome, reason: &str) {
    assert_eq!((outcome.status, outcome.reason.as_str()), (403, reason), "{outcome:?}");
    let cause = outcome.cause.as_deref().unwrap_or_default();
    assert!(cause.starts_with("Q.850;cause=21;"), "{reason}: {cause}");
    for gauge in ["gateway_calls", "gateway_calls_now", "gateway_circuits_now"] {
        assert_eq!(world.metric(gauge, "gateway-1"), 0, "{reason}: {gauge}");
    }
}

/// A token of another authority that says the same as a genuine one would.
fn forged(transaction_id: u64, call_id: &str) -> Vec<u8> {
    let now = Timestamp::from_unix_seconds(SystemClock::new().timestamp().unix_seconds());
    let day = Duration::from_secs(86_400);
    let stranger = Authority::create("Elsewhere", "Elsewhere CA", now, day, [9; 16]).expect("an authority");
    let signer = Signer::from_pkcs8(&stranger.key_pkcs8(), stranger.certificate()).expect("a signer");
    let info = TokenInfo {
        calling: "12125550001".to_owned(),
        called: ECHO.to_owned(),
        call_id: call_id.as_bytes().to_vec(),
        valid_after: Timestamp::from_unix_seconds(now.unix_seconds() - 60),
        valid_until: now + Duration::from_secs(60),
        transaction_id,
        granted_seconds: 600,
        gateway: "gateway-1".to_owned(),
        nonce: "nonce".to_owned(),
    };
    signer.sign(&info).expect("a token")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch4_bad_tokens_are_refused_by_the_gateway_and_leave_nothing() {
    let world = world();
    let client = world.client();
    let before = world.callers();

    refused(&world, &call(&world, ECHO, "missing@client", None).await, "Authorization token missing");

    // every one of these is money that is reserved for a call, and given back when the call did not come about
    for case in ["unreadable", "forged", "another gateway", "wrong number", "wrong call"] {
        let call_id = format!("{}@client", case.replace(' ', "-"));
        let answer = authorized(&client, &call_id).await;
        assert!(world.callers().pending_debits_nanos > 0, "{case}: nothing is reserved");
        let [first, second] = [0, 1].map(|rank| answer.destinations[rank].tokens[0].0.clone());
        let (number, presented, token, reason) = match case {
            "unreadable" => (ECHO, &*call_id, first[..first.len() / 2].to_vec(), "Authorization token unreadable"),
            "forged" => {
                let token = forged(answer.transaction_id.unwrap(), &call_id);
                (ECHO, &*call_id, token, "Authorization token not signed by a trusted authority")
            }
            "another gateway" => (ECHO, &*call_id, second, "Authorization token is for another gateway"),
            "wrong number" => ("12125550103", &*call_id, first, "Authorization token is for another called number"),
            _ => (ECHO, "somebody-elses@client", first, "Authorization token is for another call"),
        };
        refused(&world, &call(&world, number, presented, Some(&token)).await, reason);
        report(&client, source_usage(&answer, &call_id, 0, 0, REJECTED)).await;
    }
    world.comes_to_rest();
    assert_eq!(world.callers(), before, "refused calls cost nothing");
    assert_eq!(world.metric("gateway_refused", "gateway-1"), 6);

    // and after all of them a good one is as good as ever
    let answer = authorized(&client, "good@client").await;
    let outcome = call(&world, ECHO, "good@client", Some(&answer.destinations[0].tokens[0].0)).await;
    was_a_conversation(&outcome);
    report(&client, source_usage(&answer, "good@client", 0, outcome.duration_ms.div_ceil(1000), 16)).await;
    world.comes_to_rest();
    assert!(world.callers().posted_nanos < before.posted_nanos, "the good call is paid");
    let outcomes: Vec<_> = world.rest.cdrs().iter().map(|cdr| cdr["outcome"].clone()).collect();
    assert_eq!(outcomes, ["posted", "voided", "voided", "voided", "voided", "voided"], "newest first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch4_token_that_was_used_is_refused() {
    let world = world();
    let client = world.client();
    let answer = authorized(&client, "once@client").await;
    let token = &answer.destinations[0].tokens[0].0;
    let outcome = call(&world, ECHO, "once@client", Some(token)).await;
    was_a_conversation(&outcome);
    report(&client, source_usage(&answer, "once@client", 0, 1, 16)).await;
    world.comes_to_rest();
    let paid = world.callers();

    let again = call(&world, ECHO, "once@client", Some(token)).await;
    assert_eq!((again.status, again.reason.as_str()), (403, "Authorization token used before"), "{again:?}");
    assert_eq!(world.metric("gateway_calls", "gateway-1"), 1, "one call with one token");
    world.comes_to_rest();
    assert_eq!(world.callers(), paid, "the second attempt costs nothing");
    assert_eq!(world.rest.cdrs().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ch4_token_whose_time_is_over_is_refused() {
    let configuration = Configuration::example()
        .with("token_validity_seconds = 300", "token_validity_seconds = 1")
        .with("maximum_granted_seconds = 14400", "maximum_granted_seconds = 1")
        .with("usage_match_seconds = 30", "usage_match_seconds = 1")
        .with("reservation_margin_seconds = 60", "reservation_margin_seconds = 1");
    let world = World::of(configuration);
    let client = world.client();
    let before = world.callers();
    let answer = authorized(&client, "late@client").await;
    // the test waits for calendar time, which is what the token is about: two seconds, for its times are whole seconds
    tokio::time::sleep(Duration::from_secs(2)).await;
    let outcome = call(&world, ECHO, "late@client", Some(&answer.destinations[0].tokens[0].0)).await;
    refused(&world, &outcome, "Authorization token expired");
    assert!(world.callers().pending_debits_nanos > 0, "somebody may still report");
    // nobody does: the reservation's own time is over soon after
    world.comes_to_rest();
    assert_eq!(world.callers(), before);
    let transfers = world.rest.json("/api/v1/transfers");
    assert_eq!(transfers["transfers"][0]["kind"], "time_out", "{transfers}");
}
