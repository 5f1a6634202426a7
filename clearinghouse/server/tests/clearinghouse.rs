//! Calls through a real socket to a real store. Would catch: money that moves wrongly or twice, an answer clients in the field refuse, a call
//! lost by a restart, a token that does not fit its call.
#![allow(clippy::unwrap_used)] // tests: helpers outside #[test] functions too

mod harness;

use harness::{Harness, call_id, stop, usage};
use std::time::Duration;
use strowger_cdr::CdrState;
use strowger_clearinghouse_server::{Event, Peer};
use strowger_ledger::Nanos;
use strowger_osp::{Body, Component, Message, ReauthorizationRequest, Role, Status, Typed, UsageDetail};
use strowger_store::{AuthorizationState, Outcome, Page};
use strowger_token::{Check, Verifier, VerifyingKey};

fn nanos(text: &str) -> i64 {
    text.parse::<Nanos>().unwrap().0
}

#[tokio::test]
async fn a_call_is_authorized_reserved_reported_paid_and_still_so_after_a_restart() {
    let harness = Harness::start("paid").await;
    let mut events = harness.house.events();
    let answer = harness.authorize("12125550100").await;
    assert_eq!(answer.status.code, 200, "{answer:?}");
    let transaction = answer.transaction_id.unwrap();
    let addresses: Vec<_> = answer.destinations.iter().map(|d| d.signal_address.clone().unwrap()).collect();
    assert_eq!(addresses, ["[127.0.0.1]:5072", "[127.0.0.1]:5070"], "the cheaper one first");

    // each token is for one gateway, this call, this number
    let verifier = Verifier::new(vec![VerifyingKey::from_certificate(harness.house.authority_certificate()).unwrap()]);
    for (destination, gateway) in answer.destinations.iter().zip(["2002", "2001"]) {
        let info = verifier.verify(&destination.tokens[0].0).unwrap();
        assert_eq!((info.transaction_id, info.granted_seconds), (transaction, 600));
        let now = harness.clock.timestamp();
        assert_eq!(Check::new(gateway).check(&info, now, "12125550100", &call_id()), Ok(()));
        assert!(Check::new("other").check(&info, now, "12125550100", &call_id()).is_err());
        assert_eq!(destination.usage_details[0].amount, Some(600));
    }

    // the dearest candidate's price for the whole grant is reserved: 10 minutes at 0.03
    let caller = harness.house.account("1000").unwrap();
    assert_eq!((caller.posted.nanos, caller.pending_debits.nanos), (nanos("10"), nanos("0.3")));
    assert_eq!(caller.available.unwrap().nanos, nanos("9.7"));

    let source = usage(Role::Source, "1000", "1001", transaction, 60, 16, "[127.0.0.1]:5072", 1, Some(1));
    assert_eq!(harness.report(source).await, 200);
    let gateway = usage(Role::Destination, "2000", "2002", transaction, 61, 16, "[127.0.0.1]:5072", 0, None);
    assert_eq!(harness.report(gateway).await, 200);

    let cdr = harness.house.cdr(transaction).await.unwrap().unwrap();
    assert_eq!((cdr.cdr.state, cdr.cdr.rated_seconds, cdr.outcome), (CdrState::Matched, 60, Outcome::Posted));
    assert_eq!((cdr.sell.nanos, cdr.cost.nanos), (nanos("0.02"), nanos("0.01")));
    let expected = [("1000", "9.98"), ("2000", "0.01"), ("house", "0.01"), ("bank", "-10.5")];
    harness.expect_balances(&expected);
    assert_eq!(harness.house.open_calls(), []);
    let names: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).map(|event| format!("{event:?}")).collect();
    for (name, start) in names.iter().zip(["Authorized", "UsageReported", "UsageReported", "CdrClosed", "Settled"]) {
        assert!(name.starts_with(start), "{names:?}");
    }

    let harness = harness.restart().await;
    harness.expect_balances(&expected);
    assert_eq!(harness.house.cdr(transaction).await.unwrap().unwrap(), cdr);
    assert_eq!(harness.house.usage_reports(transaction).await.unwrap().len(), 2);
    let kept = harness.house.authorizations(Page::newest(10)).await.unwrap();
    assert_eq!((kept.len(), kept[0].state), (1, AuthorizationState::Closed));
    // numbers are never given twice
    assert!(harness.authorize("12125550100").await.transaction_id.unwrap() > transaction);
    harness.finish();
}

#[tokio::test]
async fn a_call_in_progress_outlives_the_process() {
    let harness = Harness::start("outlives").await;
    let transaction = harness.authorize("12125550100").await.transaction_id.unwrap();
    let source = usage(Role::Source, "1000", "1001", transaction, 60, 16, "[127.0.0.1]:5070", 2, Some(1));
    assert_eq!(harness.report(source.clone()).await, 200);
    let harness = harness.restart().await;
    assert_eq!(harness.house.open_calls().len(), 1);
    assert_eq!(harness.report(source).await, 200, "the same again is the same");
    let gateway = usage(Role::Destination, "2000", "2001", transaction, 60, 16, "[127.0.0.1]:5070", 0, None);
    assert_eq!(harness.report(gateway).await, 200);
    harness.expect_balances(&[("1000", "9.97"), ("2000", "0.015"), ("house", "0.015")]);
    harness.finish();
}

#[tokio::test]
async fn a_failed_call_is_voided_and_the_next_gateway_is_an_attempt_of_its_own() {
    let harness = Harness::start("voided").await;
    let busy = harness.authorize("12125550101").await.transaction_id.unwrap();
    assert_eq!(
        harness.report(usage(Role::Source, "1000", "1001", busy, 0, 17, "[127.0.0.1]:5072", 1, Some(1))).await,
        200
    );
    assert_eq!(harness.report(usage(Role::Destination, "2000", "2002", busy, 0, 17, "", 0, None)).await, 200);
    let cdr = harness.house.cdr(busy).await.unwrap().unwrap();
    assert_eq!((cdr.cdr.state, cdr.cdr.cause, cdr.outcome), (CdrState::Failed, Some(17), Outcome::Voided));
    harness.expect_balances(&[("1000", "10"), ("2000", "0"), ("house", "0")]);

    // first gateway down: both attempts in one message, as clients in the field send them
    let transaction = harness.authorize("12125550100").await.transaction_id.unwrap();
    let first = usage(Role::Source, "1000", "1001", transaction, 0, 1034, "[127.0.0.1]:5072", 1, Some(2));
    let second = usage(Role::Source, "1000", "1001", transaction, 30, 1016, "[127.0.0.1]:5070", 2, Some(2));
    assert_eq!(harness.exchange(vec![first, second]).await.iter().map(stop).collect::<Vec<_>>(), [200, 200]);
    assert_eq!(harness.report(usage(Role::Destination, "2000", "2001", transaction, 30, 16, "", 0, None)).await, 200);
    let cdr = harness.house.cdr(transaction).await.unwrap().unwrap().cdr;
    let attempts: Vec<_> = cdr.attempts.iter().map(|a| (a.number, a.source_report.as_ref().unwrap().cause)).collect();
    assert_eq!(attempts, [(1, Some(34)), (2, Some(16))]);
    assert_eq!(cdr.destination.unwrap().device, "2001");
    harness.expect_balances(&[("1000", "9.985"), ("2000", "0.0075"), ("house", "0.0075")]);
    harness.finish();
}

#[tokio::test]
async fn one_report_and_silence_closes_the_call_in_time() {
    let harness = Harness::start("silence").await;
    let failed = harness.authorize("12125550100").await.transaction_id.unwrap();
    let answered = harness.authorize("12125550100").await.transaction_id.unwrap();
    let abandoned = harness.authorize("12125550100").await.transaction_id.unwrap();
    harness.report(usage(Role::Source, "1000", "1001", failed, 0, 34, "[127.0.0.1]:5072", 1, Some(1))).await;
    harness.report(usage(Role::Source, "1000", "1001", answered, 60, 16, "[127.0.0.1]:5072", 1, Some(1))).await;
    harness.pass(Duration::from_secs(2)).await;
    assert_eq!(harness.house.cdr(failed).await.unwrap().unwrap().outcome, Outcome::Voided);
    assert_eq!(harness.house.cdr(answered).await.unwrap(), None);
    harness.pass(Duration::from_secs(28)).await;
    let cdr = harness.house.cdr(answered).await.unwrap().unwrap();
    assert_eq!((cdr.cdr.state, cdr.outcome), (CdrState::OneSided, Outcome::Posted));
    // nothing was ever heard of the third: its money comes back, and the audit says so
    harness.pass(Duration::from_secs(3600)).await;
    let cdr = harness.house.cdr(abandoned).await.unwrap().unwrap();
    assert_eq!((cdr.cdr.state, cdr.outcome), (CdrState::Unreported, Outcome::TimedOut));
    harness.expect_balances(&[("1000", "9.98"), ("2000", "0.01"), ("house", "0.01")]);
    let audit = harness.house.audit(Page::newest(10)).await.unwrap();
    assert!(audit.iter().any(|entry| entry.what == "reservation-timed-out" && entry.transaction == Some(abandoned)));

    // a report after all: the call opens again, and is paid out of what is there
    assert_eq!(
        harness.report(usage(Role::Source, "1000", "1001", abandoned, 60, 16, "[127.0.0.1]:5072", 1, Some(1))).await,
        200
    );
    assert_eq!(harness.report(usage(Role::Destination, "2000", "2002", abandoned, 60, 16, "", 0, None)).await, 200);
    let cdr = harness.house.cdr(abandoned).await.unwrap().unwrap();
    assert_eq!((cdr.cdr.state, cdr.outcome), (CdrState::Matched, Outcome::PostedLate));
    harness.expect_balances(&[("1000", "9.96"), ("2000", "0.02"), ("house", "0.02")]);
    harness.finish();
}

#[tokio::test]
async fn reports_are_taken_once_even_at_the_same_time() {
    let harness = Harness::start("once").await;
    let transaction = harness.authorize("12125550100").await.transaction_id.unwrap();
    let source = usage(Role::Source, "1000", "1001", transaction, 60, 16, "[127.0.0.1]:5072", 1, Some(1));
    let gateway = usage(Role::Destination, "2000", "2002", transaction, 60, 16, "", 0, None);
    let all = (0..20).map(|index| harness.report(if index % 2 == 0 { source.clone() } else { gateway.clone() }));
    let statuses = futures_join(all).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(harness.house.usage_reports(transaction).await.unwrap().len(), 2);
    assert_eq!(harness.house.audit(Page::newest(10)).await.unwrap(), []);
    harness.expect_balances(&[("1000", "9.98"), ("2000", "0.01"), ("house", "0.01")]);
    harness.finish();
}

/// Runs all at once.
async fn futures_join<F: Future<Output = u16>>(futures: impl Iterator<Item = F>) -> Vec<u16> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, result) in pending.iter_mut().filter(|(_, result)| result.is_none()) {
            if let std::task::Poll::Ready(status) = future.as_mut().poll(context) {
                *result = Some(status);
            }
        }
        match pending.iter().all(|(_, result)| result.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    pending.into_iter().filter_map(|(_, result)| result).collect()
}

#[tokio::test]
async fn the_balance_decides_how_long_and_whether() {
    let harness = Harness::start("balance").await;
    // the poor customer has 0.02: at the dearer gateway's 0.03 a minute that is 40 seconds
    let first = harness.authorize_as("3000", "3001", "12125550100").await;
    assert_eq!(first.status.code, 200);
    assert_eq!(first.destinations[0].usage_details[0].amount, Some(40));
    // all of it is reserved: the second call cannot race for it
    let second = harness.authorize_as("3000", "3001", "12125550100").await;
    assert_eq!((second.status.code, second.destinations.len()), (403, 0));
    assert!(second.status.description.contains("balance"), "{}", second.status.description);
    // a gateway that lets the call run on does so at its own cost
    let transaction = first.transaction_id.unwrap();
    harness.report(usage(Role::Source, "3000", "3001", transaction, 90, 16, "[127.0.0.1]:5070", 2, Some(1))).await;
    harness.report(usage(Role::Destination, "2000", "2001", transaction, 90, 16, "", 0, None)).await;
    let cdr = harness.house.cdr(transaction).await.unwrap().unwrap();
    assert!(cdr.beyond_grant);
    harness.expect_balances(&[("3000", "0"), ("2000", "0.01"), ("house", "0.01")]);
    harness.finish();
}

#[tokio::test]
async fn refusals_say_why() {
    let harness = Harness::start("refusals").await;
    for (customer, device, called, status) in [
        ("1000", "9999", "12125550100", 401),
        ("2000", "1001", "12125550100", 401),
        ("1000", "1009", "12125550100", 401),
        ("2000", "2001", "12125550100", 405),
        ("1000", "1001", "4412345", 404),
        ("1000", "1001", "alice", 404),
    ] {
        let answer = harness.authorize_as(customer, device, called).await;
        assert_eq!((answer.status.code, answer.transaction_id), (status, None), "{customer} {device} {called}");
        assert!(!answer.status.description.is_empty());
    }
    let mut request = Harness::request("1000", "1001", "12125550100");
    request.source_info = vec![Typed::new("e164", "alice")];
    assert_eq!(harness.ask(request).await.status.code, 428);
    let mut request = Harness::request("1000", "1001", "12125550100");
    request.call_ids = vec![strowger_osp::Base64(vec![b'x'; 149])];
    assert_eq!(harness.ask(request).await.status.code, 400);
    let mut request = Harness::request("1000", "1001", "12125550100");
    request.maximum_destinations = Some(1);
    assert_eq!(harness.ask(request).await.destinations.len(), 1);
    let mut request = Harness::request("1000", "1001", "12125550100");
    request.customer_id = None;
    assert_eq!(harness.ask(request).await.status.code, 401);

    let unknown = usage(Role::Source, "1000", "1001", 42, 60, 16, "", 1, Some(1));
    assert_eq!(harness.report(unknown).await, 400);
    let transaction = harness.authorize("12125550100").await.transaction_id.unwrap();
    let stranger = usage(Role::Destination, "3000", "3001", transaction, 60, 16, "", 1, None);
    assert_eq!(harness.report(stranger).await, 401);
    let endless = usage(Role::Source, "1000", "1001", transaction, 604_801, 16, "", 1, Some(1));
    assert_eq!(harness.report(endless).await, 400);
    let audit = harness.house.audit(Page::newest(10)).await.unwrap();
    let what: Vec<_> = audit.iter().map(|entry| entry.what.as_str()).collect();
    assert_eq!(what, ["usage-not-a-party", "usage-unknown"]);
    harness.finish();
}

#[tokio::test]
async fn a_certificate_speaks_for_its_own_device_alone() {
    let harness = Harness::start("certified").await;
    let body = Body::AuthorizationRequest(Harness::request("1000", "1001", "12125550100"));
    let message = |body| Message {
        message_id: "1".into(),
        random: None,
        components: vec![Component { component_id: "1".into(), body }],
    };
    for (device, status) in [("1001", 200), ("1009", 401)] {
        let peer = Peer { address: None, certified: Some(("1000".into(), device.into())) };
        let answer = harness.house.handle(message(body.clone()), &peer).await;
        assert_eq!(answer.components[0].body.status().unwrap().code, status);
    }
    // an answer is not answered
    let answer = Body::UsageConfirmation(strowger_osp::Confirmation { timestamp: None, status: Status::success() });
    assert_eq!(harness.house.handle(message(answer), &Peer::default()).await.components, []);
    harness.finish();
}

#[tokio::test]
async fn more_time_is_granted_while_the_balance_affords_it() {
    let harness = Harness::start("extended").await;
    let answer = harness.authorize("12125550100").await;
    let transaction = answer.transaction_id.unwrap();
    let request = |device: &str, customer: &str| ReauthorizationRequest {
        timestamp: None,
        role: Role::Source,
        call_id: strowger_osp::Base64(call_id()),
        source_info: vec![Typed::new("e164", "14045550199")],
        source_alternates: vec![],
        destination_info: vec![Typed::new("e164", "12125550100")],
        destination_alternates: vec![],
        transaction_id: transaction,
        usage_details: vec![UsageDetail { amount: Some(500), unit: Some("s".into()), ..UsageDetail::default() }],
        tokens: answer.destinations[0].tokens.clone(),
        customer_id: Some(customer.into()),
        device_id: Some(device.into()),
    };
    let ask = async |device: &str, customer: &str| {
        let bodies = harness.exchange(vec![Body::ReauthorizationRequest(request(device, customer))]).await;
        match bodies.into_iter().next() {
            Some(Body::ReauthorizationResponse(answer)) => answer,
            other => panic!("{other:?}"),
        }
    };
    let granted = ask("1001", "1000").await;
    assert_eq!(granted.status.code, 200, "{granted:?}");
    assert_eq!(granted.destinations[0].usage_details[0].amount, Some(700), "1200 in all less 500 used");
    // 20 minutes at the gateway's 0.02, in place of the first reservation
    assert_eq!(harness.house.account("1000").unwrap().pending_debits.nanos, nanos("0.4"));
    assert_eq!(ask("3001", "3000").await.status.code, 401);
    harness.report(usage(Role::Source, "1000", "1001", transaction, 900, 16, "[127.0.0.1]:5072", 1, Some(1))).await;
    harness.report(usage(Role::Destination, "2000", "2002", transaction, 900, 16, "", 0, None)).await;
    harness.expect_balances(&[("1000", "9.7"), ("2000", "0.15"), ("house", "0.15")]);
    assert_eq!(ask("1001", "1000").await.status.code, 400, "the call is over");
    harness.finish();
}

#[tokio::test]
async fn health_moves_a_gateway_to_the_end() {
    let harness = Harness::start("health").await;
    let capabilities = strowger_osp::CapabilitiesIndication {
        resources: Some(strowger_osp::Resources {
            almost_out_of_resources: Some(strowger_osp::Flag(true)),
            ..strowger_osp::Resources::default()
        }),
        customer_id: Some("2000".into()),
        device_id: Some("2002".into()),
        ..strowger_osp::CapabilitiesIndication::default()
    };
    let bodies = harness.exchange(vec![Body::CapabilitiesIndication(capabilities)]).await;
    assert_eq!(stop(&bodies[0]), 200);
    let answer = harness.authorize("12125550100").await;
    assert_eq!(answer.destinations[0].signal_address.as_deref(), Some("[127.0.0.1]:5070"));
    let kept = harness.house.open_calls();
    assert!(kept[0].candidates[1].why.contains("almost out of resources"), "{}", kept[0].candidates[1].why);
    harness.finish();
}

#[tokio::test]
async fn a_sip_status_alone_speaks_of_the_gateway_too() {
    // the cheaper gateway is first until it failed three times; what the called party does is not its failure
    for (kind, code, first) in [
        ("sip", 503, "[127.0.0.1]:5070"),
        ("sip", 500, "[127.0.0.1]:5070"),
        ("sip", 599, "[127.0.0.1]:5070"),
        ("sip", 408, "[127.0.0.1]:5070"),
        ("sip", 499, "[127.0.0.1]:5072"),
        ("sip", 486, "[127.0.0.1]:5072"),
        ("sip", 600, "[127.0.0.1]:5072"),
        ("q850", 34, "[127.0.0.1]:5070"),
        ("q850", 17, "[127.0.0.1]:5072"),
    ] {
        let harness = Harness::start(&format!("health-{kind}-{code}")).await;
        for _ in 0..3 {
            let transaction = harness.authorize("12125550100").await.transaction_id.unwrap();
            let mut failed = usage(Role::Source, "1000", "1001", transaction, 0, code, "[127.0.0.1]:5072", 1, Some(1));
            if let Body::UsageIndication(failed) = &mut failed {
                failed.usage_details[0].termination_causes[0].kind = Some(kind.into());
            }
            assert_eq!(harness.report(failed).await, 200);
            harness.pass(Duration::from_secs(3)).await;
        }
        let answer = harness.authorize("12125550100").await;
        assert_eq!(answer.destinations[0].signal_address.as_deref(), Some(first), "{kind} {code}");
        harness.finish();
    }
}

#[tokio::test]
async fn a_live_bill_grows_with_charge_messages() {
    let harness = Harness::start("bill").await;
    let transaction = harness.authorize("12125550100").await.transaction_id.unwrap();
    let mut events = harness.house.events();
    let tariff = strowger_charging::ChargeTariff::per_second(1_000_000, strowger_ledger::Currency::USD);
    for message in [strowger_charging::ChargeMessage::Tariff(tariff), strowger_charging::ChargeMessage::Start] {
        let path = format!("/charging/{transaction}");
        let (status, _, _) = harness.post(&path, message.to_xml().unwrap().into_bytes()).await;
        assert_eq!(status, 200);
    }
    harness.pass(Duration::from_secs(7)).await;
    let bill = harness.house.live_bill(transaction).unwrap();
    assert_eq!((bill.total.nanos, bill.seconds), (7_000_000, 7));
    assert!(matches!(events.try_recv(), Ok(Event::Charge { .. })));
    assert_eq!(harness.post("/charging/42", b"<messageType><start/></messageType>".to_vec()).await.0, 404);
    assert_eq!(harness.post(&format!("/charging/{transaction}"), b"x".to_vec()).await.0, 400);
    harness.finish();
}

#[tokio::test]
async fn a_device_enrolls_and_the_certificate_is_kept() {
    use strowger_enrollment::{DeviceKey, DeviceKeyKind, Secret, TepAnswer, TepRequest};
    let harness = Harness::start("enroll").await;
    let (status, _, body) = harness.post("/tep", b"operation=getcacert".to_vec()).await;
    assert_eq!(status, 200);
    let certificate = harness.house.authority_certificate().to_vec();
    assert_eq!(TepAnswer::parse(&body), Ok(TepAnswer::AuthorityCertificate { certificate }));
    let key = DeviceKey::generate(DeviceKeyKind::P256).unwrap();
    let request = |password: &str| TepRequest::Enroll {
        nonce: String::new(),
        username: "x".into(),
        password: Secret::new(password),
        device: "1001".into(),
        customer: "1000".into(),
        request: key.request("1000", "1001").unwrap(),
    };
    let ask =
        async |password| TepAnswer::parse(&harness.post("/tep", request(password).to_body().into_bytes()).await.2);
    assert!(matches!(ask("wrong").await, Ok(TepAnswer::Refused { .. })));
    assert_eq!(harness.house.certificates().await.unwrap().len(), 0);
    let Ok(TepAnswer::Issued { certificate, .. }) = ask("let me in").await else { panic!("no certificate") };
    let kept = harness.house.certificates().await.unwrap();
    assert_eq!((kept.len(), &kept[0].der), (1, &certificate));
    harness.finish();
}
