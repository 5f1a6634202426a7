//! CS, PA: who may ask, whom the clearinghouse names, what it books. Catches stale availability, a price that the asker did not
//! accept, a report that changes the money twice or not at all.

use std::time::Duration;

use strowger_osp::{CapabilitiesIndication, Decimal, Flag, PricingIndication, Resources};

use crate::support::exchange::Configuration;
use crate::support::wait_for;
use crate::world::*;

/// Q.850 34: no circuit available. It speaks of the gateway, not of who was called.
const NO_CIRCUIT: u32 = 34;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cs1_only_enrolled_devices_are_answered() {
    let world = World::example();
    for (customer, device) in [("1000", "unknown"), ("2000", "proxy"), ("9999", "proxy")] {
        let status = refused_with(world.osp(customer, device).authorize(asks_for(ECHO, "call@client")).await);
        assert_eq!(status, 401, "{customer} {device}");
    }
    assert_eq!(world.rest.open_calls(), 0);
    assert_eq!(authorized(&world.client(), "call@client").await.destinations.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cs1_gateways_are_ranked_by_price_load_and_failures() {
    let configuration =
        Configuration::example().with("usage_match_seconds = 30", "usage_match_seconds = 3\nfailed_match_seconds = 0");
    let world = World::of(configuration);
    let client = world.client();
    let mut calls = 0;
    let mut next = || {
        calls += 1;
        format!("call-{calls}@client")
    };
    let gateway = world.osp("2000", "gateway-1");
    let load = |is_high| CapabilitiesIndication {
        resources: Some(Resources { almost_out_of_resources: Some(Flag(is_high)), ..Resources::default() }),
        ..CapabilitiesIndication::default()
    };

    assert_eq!(ports(&authorized(&client, &next()).await), [5070, 5072], "the cheaper first");
    gateway.indicate_capabilities(load(true)).await.expect("a confirmation");
    assert_eq!(ports(&authorized(&client, &next()).await), [5072, 5070], "not the one that is nearly full");
    gateway.indicate_capabilities(load(false)).await.expect("a confirmation");
    for _ in 0..3 {
        let call_id = next();
        let answer = authorized(&client, &call_id).await;
        assert_eq!(ports(&answer), [5070, 5072], "the cheaper first again");
        report(&client, source_usage(&answer, &call_id, 0, 0, NO_CIRCUIT)).await;
        let transaction = answer.transaction_id.unwrap();
        wait_for("the failed call's record", SOON, || {
            (world.rest.get(&format!("/api/v1/cdrs/{transaction}")).0 == 200).then_some(())
        });
    }
    assert_eq!(ports(&authorized(&client, &next()).await), [5072, 5070], "not the one that has failed three times");
    let one = strowger_osp::AuthorizationRequest { maximum_destinations: Some(1), ..asks_for(ECHO, &next()) };
    assert_eq!(ports(&client.authorize(one).await.unwrap()), [5072], "no more than asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cs2_both_ends_reports_become_one_record() {
    let world = World::example();
    let phone = world.alice().await;
    let outcome = phone.call(ECHO_URI, talks(Duration::from_secs(1))).await;
    phone.stop().await;
    was_a_conversation(&outcome);
    world.comes_to_rest();
    let cdrs = world.rest.cdrs();
    assert_eq!(cdrs.len(), 1, "{cdrs:?}");
    let transaction = cdrs[0]["transaction"].as_str().unwrap();
    let cdr = world.rest.json(&format!("/api/v1/cdrs/{transaction}"));
    assert_eq!((&cdr["state"], &cdr["disagreement"]), (&"matched".into(), &false.into()), "{cdr}");
    assert_eq!(cdr["call_id"], outcome.call_id.as_str());
    let mut roles: Vec<_> = cdr["usage"].as_array().unwrap().iter().map(|usage| usage["role"].to_string()).collect();
    roles.sort();
    assert_eq!(roles, ["\"destination\"", "\"source\""], "{cdr}");
    for seconds in ["source_seconds", "destination_seconds"] {
        assert!(cdr[seconds].as_u64().is_some_and(|seconds| seconds <= 2), "{cdr}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cs2_disagreement_of_the_ends_is_found_and_shown() {
    let world = World::example();
    let client = world.client();
    let answer = authorized(&client, "honest@client").await;
    let token = &answer.destinations[0].tokens[0].0;
    let phone = world.stranger().await;
    was_a_conversation(&phone.call(&world.at_gateway(ECHO, 5070), with_token("honest@client", Some(token))).await);
    // the caller's end says a minute, the gateway knows better
    report(&client, source_usage(&answer, "honest@client", 0, 60, 16)).await;
    world.comes_to_rest();
    let cdr = world.rest.cdrs().remove(0);
    assert_eq!((&cdr["state"], &cdr["disagreement"]), (&"matched".into(), &true.into()), "{cdr}");
    assert_eq!(cdr["source_seconds"], 60, "{cdr}");
    assert!(cdr["destination_seconds"].as_u64().is_some_and(|seconds| seconds <= 2), "{cdr}");
    assert!(cdr["difference_seconds"].as_u64().is_some_and(|seconds| seconds >= 58), "{cdr}");
    let audit = world.rest.json("/api/v1/audit").to_string();
    assert!(audit.contains("\"disagreement\"") && audit.contains("caller 60 s"), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pa1_only_sessions_at_an_acceptable_price_are_authorized() {
    let world = World::example();
    let client = world.client();
    let at_most = |nanos, currency: &str, call_id: &str| strowger_osp::AuthorizationRequest {
        pricing: vec![PricingIndication {
            amount: Some(Decimal { nanos }),
            increment: Some(1),
            unit: Some("min".to_owned()),
            currency: Some(currency.to_owned()),
            ..PricingIndication::default()
        }],
        ..asks_for(ECHO, call_id)
    };
    // the first carrier's minute is sold for 0.020, the second's for 0.022
    for (nanos, expected) in [(22_000_000, vec![5070, 5072]), (21_999_999, vec![5070]), (20_000_000, vec![5070])] {
        let answer = client.authorize(at_most(nanos, "USD", "call@client")).await.unwrap();
        assert_eq!(ports(&answer), expected, "{nanos}");
    }
    let open = world.rest.open_calls();
    assert_eq!(refused_with(client.authorize(at_most(19_999_999, "USD", "dear@client")).await), 404);
    assert_eq!(refused_with(client.authorize(at_most(22_000_000, "EUR", "other@client")).await), 404);
    assert_eq!(refused_with(client.authorize(asks_for("442079460100", "nowhere@client")).await), 404);
    assert_eq!(world.rest.open_calls(), open, "what is refused reserves nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pa3_accounting_of_both_ends_moves_the_money_of_a_call() {
    let world = World::example();
    let balances = || {
        let accounts = ["1000", "2000", "2001"];
        accounts.map(|name| world.rest.account(name))
    };
    let before = balances();
    assert_eq!(before.map(|balance| balance.posted_nanos), [1_000_000_000_000, 0, 0]);

    let mut call = Running::call(world.alice().await, ECHO_URI, talks(SOON));
    call.answered().await;
    let during = balances();
    assert_eq!(during[0].posted_nanos, before[0].posted_nanos, "nothing is paid while nobody knows how much");
    assert!(during[0].pending_debits_nanos > 0, "but it is reserved: {during:?}");
    world.rest.proves_the_books();
    tokio::time::sleep(Duration::from_millis(1200)).await; // two seconds begun
    was_a_conversation(&call.hang_up().await);

    world.comes_to_rest();
    let after = balances();
    let cdr = world.rest.cdrs().remove(0);
    let (sell, cost) = (cdr["sell"]["nanos"].as_i64().unwrap(), cdr["cost"]["nanos"].as_i64().unwrap());
    let seconds = cdr["rated_seconds"].as_i64().unwrap();
    assert!((1..=3).contains(&seconds) && sell > cost && cost > 0, "{cdr}");
    // 0.020 and 0.012 a minute, each second begun, half a billionth up or down for rounding
    assert!((sell - seconds * 20_000_000 / 60).abs() <= 1 && (cost - seconds * 12_000_000 / 60).abs() <= 1, "{cdr}");
    assert_eq!(before[0].posted_nanos - after[0].posted_nanos, sell, "the caller's carrier pays");
    assert_eq!(after[1].posted_nanos, cost, "the terminating carrier is paid");
    assert_eq!(after[2], before[2], "who had no part in it has no part of it");
    let kinds = world.rest.json("/api/v1/transfers");
    let kinds: Vec<_> = kinds["transfers"].as_array().unwrap().iter().filter_map(|one| one["kind"].as_str()).collect();
    assert!(kinds.contains(&"pending") && kinds.contains(&"post"), "{kinds:?}");
}
