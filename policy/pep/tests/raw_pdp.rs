//! Both PEPs against a decision point that is nothing but bytes. Would catch: a decision without its one report, reports out of
//! order, a failed decision that leaves traces, keep-alives outside their window, a client that does not go to its backup.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may stop

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use strowger_clock::{Moment, Random};
use strowger_cops::sip::{DecisionData, Phase};
use strowger_cops::*;
use strowger_pep::*;
use strowger_pib::flow::{BasePolicy, Excess, MediaFlow, install_data, remove_data};
use strowger_pib::named::{self, NamedObject};
use strowger_pib::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

struct Router {
    pep: ConfigurationPep,
    now: Moment,
    applied: Vec<Transaction>,
    connects: Vec<SocketAddr>,
    refuse: Option<PibError>,
}

impl Router {
    fn new() -> Router {
        let pdps = vec![address("192.0.2.1:3288"), address("192.0.2.2:3288")];
        let config = ConfigurationConfig {
            link: LinkConfig::new(pdps, "r1", CLIENT_TYPE_PROVISIONING),
            capabilities: Capabilities { device: "test".into(), capability_set: "software".into(), interfaces: vec![] },
            hold_seconds: 60,
        };
        let pep = ConfigurationPep::new(config, Random::from_seed(1));
        Router { pep, now: Moment::ZERO, applied: Vec::new(), connects: Vec::new(), refuse: None }
    }

    fn drain(&mut self) -> Vec<Message> {
        let mut sent = Vec::new();
        while let Some(output) = self.pep.poll_output() {
            match output {
                ConfigurationOutput::Send(bytes) => sent.push(Message::parse(&bytes).unwrap()),
                ConfigurationOutput::Connect(pdp) => self.connects.push(pdp),
                ConfigurationOutput::Apply(transaction) => {
                    self.applied.push(transaction);
                    let result = self.refuse.take().map_or(Ok(()), Err);
                    self.pep.applied(self.now, result, &[]);
                }
                ConfigurationOutput::Close | ConfigurationOutput::Event(_) => {}
            }
        }
        sent
    }

    fn raw(&mut self, wire: &[u8]) -> Vec<Message> {
        self.pep.received(self.now, wire);
        self.drain()
    }

    /// Open, with a keep-alive timer of 40 s, and the base policy in place.
    fn ready() -> (Router, Bytes) {
        let mut router = Router::new();
        router.pep.start(router.now);
        router.drain();
        router.pep.connected(router.now);
        let open = router.drain();
        assert_eq!((open[0].op, open[0].pep_id(), open[0].last_pdp()), (Op::ClientOpen, Some("r1"), None));
        let request = router.raw(&[0x10, 7, 0, 2, 0, 0, 0, 16, 0, 8, 10, 1, 0, 0, 0, 40]);
        assert_eq!(request[0].context().unwrap().request_type, RequestType::CONFIGURATION);
        assert!(request[0].named_info().next().is_some());
        let handle = request[0].handle().unwrap().clone();
        let reports = router.raw(&decision(&handle, true, &[(Command::Install, install_data(&base().rows()))]));
        assert_eq!(reports, [Message::report(2, handle.clone(), ReportType::Success, true)]);
        router.applied.clear();
        (router, handle)
    }
}

fn base() -> BasePolicy {
    BasePolicy {
        capability_set: "software".into(),
        roles: "edge".into(),
        media_dscp: 46,
        signalling_dscp: 40,
        signalling: Vec::new(),
        media_rate_kbps_max: 0,
    }
}

fn flow(n: u32) -> Vec<Row> {
    let flow = MediaFlow {
        source: "192.0.2.1".parse().unwrap(),
        destination: "192.0.2.2".parse().unwrap(),
        source_port: None,
        destination_port: 20000,
        protocol: 17,
        rate_kbps: 88,
        burst_octets: 1000,
        excess: Excess::Drop,
    };
    flow.rows(n).unwrap()
}

fn decision(handle: &Bytes, solicited: bool, parts: &[(Command, Vec<u8>)]) -> Bytes {
    let decisions: Vec<Decision> = parts
        .iter()
        .map(|(command, data)| Decision {
            context: Context { request_type: RequestType::CONFIGURATION, message_type: 0 },
            command: *command,
            flags: 0,
            data: if data.is_empty() { vec![] } else { vec![DecisionObject::Named(Bytes::from(data.clone()))] },
        })
        .collect();
    Message::decision(2, handle.clone(), solicited, &decisions).encode()
}

fn error_of(report: &Message) -> PibError {
    assert_eq!((report.op, report.solicited, report.report_type()), (Op::ReportState, true, Some(ReportType::Failure)));
    named::find_error(&named::decode(report.named_info().next().unwrap()).unwrap()).unwrap()
}

#[test]
fn install_and_remove_are_transactions_with_one_report_each() {
    let (mut router, handle) = Router::ready();
    let rows = router.pep.installed().len();
    let install = decision(&handle, false, &[(Command::Install, install_data(&flow(1000)))]);
    let remove = decision(&handle, false, &[(Command::Remove, remove_data(&MediaFlow::prids(1000)))]);
    let null = decision(&handle, false, &[(Command::Null, vec![])]);
    let success = Message::report(2, handle.clone(), ReportType::Success, true);
    // All in one segment: three decisions, three reports.
    assert_eq!(
        router.raw(&[install.clone(), null, remove].concat()),
        [success.clone(), success.clone(), success.clone()]
    );
    assert_eq!((router.applied[0].installs.len(), router.applied[1].removes.len()), (5, 5));
    assert_eq!(router.pep.installed().len(), rows);
    // The same rows removed and installed in one decision change nothing.
    router.raw(&install);
    router.applied.clear();
    let prefix = named::encode(&[NamedObject::PrefixPrid("1.3.6.1.2.2.2.3".parse().unwrap())]);
    let again = [(Command::Remove, prefix), (Command::Install, install_data(&flow(1000)[..2]))];
    assert_eq!(router.raw(&decision(&handle, false, &again)), [success]);
    assert!(router.applied.is_empty());
}

#[test]
fn a_failed_decision_names_its_row_and_leaves_nothing() {
    let (mut router, handle) = Router::ready();
    let before: Vec<Row> = router.pep.installed().rows().cloned().collect();
    let mut dangling = flow(1000);
    dangling.remove(2);
    let mut notify = flow(1000);
    notify
        .push(FrwkDeviceId { instance: 1, description: b"x".to_vec(), message_octets_max: 64, contexts_max: 1 }.into());
    let mut crossed = flow(1000);
    if let Row::FrwkIpFilter(filter) = &mut crossed[1] {
        filter.source_port_min = 9;
        filter.source_port_max = 8;
    }
    let install = |rows: &[Row]| vec![(Command::Install, install_data(rows))];
    let cases = [
        (install(&dangling), PibError::class(DsMeter::prid(1000), ClassError::AttrReferenceUnknown, 4)),
        (install(&flow(1000)[1..]), PibError::class(FrwkIpFilter::prid(1000), ClassError::PriInstanceInvalid, 0)),
        (install(&notify), PibError::class(FrwkDeviceId::prid(1), ClassError::PriNotifyOnly, 0)),
        (install(&crossed), PibError::class(FrwkIpFilter::prid(1000), ClassError::AttrValueInvalid, 11)),
        (
            vec![(Command::Remove, remove_data(&[DsAction::prid(1), DsAction::prid(2)]))],
            PibError::class(DsAction::prid(2), ClassError::DeletedInRef, 0),
        ),
        (vec![(Command::Install, vec![0, 3, 1, 1])], PibError::global(GlobalError::MalformedDecision, 0)),
        (vec![(Command::Install, vec![])], PibError::global(GlobalError::MalformedDecision, 0)),
    ];
    for (parts, expected) in cases {
        let sent = router.raw(&decision(&handle, false, &parts));
        assert_eq!(sent.len(), 1);
        assert_eq!(error_of(&sent[0]), expected);
        assert_eq!(router.pep.installed().rows().cloned().collect::<Vec<_>>(), before);
    }
    assert!(router.applied.is_empty(), "the sink never saw any of it");
    // What only the device knows.
    let limit = PibError::class(DsMeter::prid(1000), ClassError::PriSpaceExhausted, 0);
    router.refuse = Some(limit.clone());
    assert_eq!(error_of(&router.raw(&decision(&handle, false, &install(&flow(1000))))[0]), limit);
    assert_eq!(router.pep.installed().rows().cloned().collect::<Vec<_>>(), before);
}

#[test]
fn synchronize_unknown_handles_and_malformed_decisions() {
    let (mut router, handle) = Router::ready();
    let sent = router.raw(&[0x10, 5, 0, 2, 0, 0, 0, 8]);
    assert_eq!(sent.iter().map(|message| message.op).collect::<Vec<_>>(), [Op::Request, Op::SynchronizeComplete]);
    let sent = router.raw(&[0x10, 5, 0, 2, 0, 0, 0, 16, 0, 8, 1, 1, 9, 9, 9, 9]);
    assert_eq!(sent[0].reason().unwrap().code, ReasonCode::SynchronizeHandleUnknown);
    // A DEC with neither decision nor error: DRQ, then a new request under a new handle.
    let mut wire = vec![0x10, 2, 0, 2, 0, 0, 0, 16, 0, 8, 1, 1];
    wire.extend_from_slice(&handle);
    let sent = router.raw(&wire);
    assert_eq!((sent[0].op, sent[0].reason().unwrap().code), (Op::DeleteRequestState, ReasonCode::MalformedDecision));
    router.now += Duration::from_secs(5);
    router.pep.timeout(router.now);
    let sent = router.drain();
    assert_eq!(sent[0].op, Op::Request);
    assert_ne!(sent[0].handle(), Some(&handle));
}

#[test]
fn keep_alives_stay_between_a_quarter_and_three_quarters() {
    let (mut router, _) = Router::ready();
    let mut last = router.now;
    for _ in 0..50 {
        router.now = router.pep.next_deadline().unwrap();
        router.pep.timeout(router.now);
        if router.pep.accounting_due(router.now) {
            router.pep.account(router.now, &[]);
        }
        if router.drain().iter().any(|message| message.op == Op::KeepAlive) {
            let pause = router.now.saturating_since(last);
            assert!((Duration::from_secs(10)..=Duration::from_secs(30)).contains(&pause), "{pause:?}");
            last = router.now;
            assert!(router.raw(&Message::keep_alive().encode()).is_empty());
        }
    }
    // Then silence: CC(9) within 40 s, and a new connection that says whose policy is still here.
    let silent_from = router.now;
    let mut sent = Vec::new();
    router.connects.clear();
    while router.connects.is_empty() {
        router.now = router.pep.next_deadline().unwrap();
        router.pep.timeout(router.now);
        if router.pep.accounting_due(router.now) {
            router.pep.account(router.now, &[]);
        }
        sent.extend(router.drain());
    }
    let close = sent.iter().find(|message| message.op == Op::ClientClose).unwrap();
    assert_eq!(close.error().unwrap().code, ErrorCode::CommunicationFailure);
    assert!(router.now.saturating_since(silent_from) < Duration::from_secs(41));
    assert_eq!(router.connects, [address("192.0.2.1:3288")], "the primary first");
    router.pep.connected(router.now);
    assert_eq!(router.drain()[0].last_pdp(), Some(address("192.0.2.1:3288")));
    // It fails: the backup is next.
    router.pep.closed(router.now);
    router.drain();
    assert_eq!(router.connects.last(), Some(&address("192.0.2.2:3288")));
}

#[test]
fn policy_outlives_its_pdp_for_the_hold_time_only() {
    let (mut router, _) = Router::ready();
    router.pep.closed(router.now);
    router.drain();
    let rows = router.pep.installed().len();
    let end = router.now + Duration::from_secs(60);
    while router.pep.next_deadline().unwrap() < end {
        router.now = router.pep.next_deadline().unwrap();
        router.pep.timeout(router.now);
        router.drain();
        assert_eq!(router.pep.installed().len(), rows);
    }
    router.now = end;
    router.pep.timeout(end);
    router.drain();
    assert!(router.pep.installed().is_empty());
    assert_eq!(router.applied.last().unwrap().removes.len(), rows);
}

#[test]
fn a_redirect_is_followed() {
    let mut router = Router::new();
    router.pep.start(router.now);
    router.pep.connected(router.now);
    router.drain();
    let close = Message::client_close(2, ErrorCode::RedirectToPreferredServer, 0)
        .with(Object::PdpRedirectAddress(address("198.51.100.9:4000")));
    router.raw(&close.encode());
    assert_eq!(router.connects.last(), Some(&address("198.51.100.9:4000")));
}

fn proxy() -> (OutsourcingPep, Moment) {
    let link = LinkConfig::new(vec![address("192.0.2.1:3288")], "p1", CLIENT_TYPE_SIP);
    let mut pep = OutsourcingPep::new(OutsourcingConfig { link, decision_time_ms: 4000 }, Random::from_seed(2));
    let now = Moment::ZERO;
    assert_eq!(pep.decide(now, 1, Phase::Setup, Bytes::new()), Err(DecideError::NotConnected));
    pep.start(now);
    pep.connected(now);
    pep.received(now, &[0x10, 7, 0x40, 1, 0, 0, 0, 16, 0, 8, 10, 1, 0, 0, 0, 0]);
    while pep.poll_output().is_some() {}
    (pep, now)
}

fn sent(pep: &mut OutsourcingPep) -> (Vec<Message>, Vec<OutsourcingOutput>) {
    let (mut messages, mut others) = (Vec::new(), Vec::new());
    while let Some(output) = pep.poll_output() {
        match output {
            OutsourcingOutput::Send(bytes) => messages.push(Message::parse(&bytes).unwrap()),
            other => others.push(other),
        }
    }
    (messages, others)
}

fn answer(handle: &Bytes, phase: Phase, command: Command, solicited: bool) -> Bytes {
    let data = DecisionData { reason: "because".into(), ..DecisionData::default() };
    let data = vec![DecisionObject::ClientSpecific(data.encode())];
    let decision = Decision { context: phase.context(), command, flags: 0, data };
    Message::decision(CLIENT_TYPE_SIP, handle.clone(), solicited, &[decision]).encode()
}

#[test]
fn one_question_at_a_time_on_a_handle() {
    let (mut pep, now) = proxy();
    pep.decide(now, 1, Phase::Setup, Bytes::from_static(b"INVITE")).unwrap();
    pep.decide(now, 1, Phase::Answer, Bytes::from_static(b"200")).unwrap();
    let (messages, _) = sent(&mut pep);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].signaled_info().next().unwrap().as_ref(), b"INVITE");
    let handle = messages[0].handle().unwrap().clone();
    pep.received(now, &answer(&handle, Phase::Setup, Command::Install, true));
    let (messages, others) = sent(&mut pep);
    assert_eq!(messages[0].context().unwrap().message_type, Phase::Answer.message_type());
    assert!(matches!(
        others[0],
        OutsourcingOutput::Decided { call: 1, phase: Phase::Setup, command: Command::Install, .. }
    ));
    // No decision: the handle is deleted, the next question has a new one.
    let late = now + Duration::from_millis(4000);
    pep.timeout(late);
    let (messages, others) = sent(&mut pep);
    assert_eq!(messages[0].reason().unwrap().code, ReasonCode::Timeout);
    assert_eq!(others, [OutsourcingOutput::Failed { call: 1, phase: Phase::Answer, why: Failure::Timeout }]);
    pep.decide(late, 1, Phase::Setup, Bytes::new()).unwrap();
    assert_ne!(sent(&mut pep).0[0].handle(), Some(&handle));
    // The late decision is for nobody.
    pep.received(late, &answer(&handle, Phase::Answer, Command::Install, true));
    assert_eq!(sent(&mut pep).0[0].op, Op::DeleteRequestState);
}

#[test]
fn granted_calls_are_synchronized_and_can_be_revoked() {
    let (mut pep, now) = proxy();
    for call in [1, 2] {
        pep.decide(now, call, Phase::Setup, Bytes::from_static(b"INVITE")).unwrap();
        let handle = sent(&mut pep).0[0].handle().unwrap().clone();
        let command = if call == 1 { Command::Install } else { Command::Remove };
        pep.received(now, &answer(&handle, Phase::Setup, command, true));
        sent(&mut pep);
    }
    pep.closed(now);
    assert_eq!(pep.calls(), 1, "the refused call is not kept");
    let now = pep.next_deadline().unwrap();
    pep.timeout(now);
    pep.connected(now);
    let (messages, _) = sent(&mut pep);
    assert_eq!(messages[0].last_pdp(), Some(address("192.0.2.1:3288")));
    pep.received(now, &[0x10, 7, 0x40, 1, 0, 0, 0, 16, 0, 8, 10, 1, 0, 0, 0, 0, 0x10, 5, 0x40, 1, 0, 0, 0, 8]);
    let (messages, _) = sent(&mut pep);
    assert_eq!(messages.iter().map(|message| message.op).collect::<Vec<_>>(), [Op::Request, Op::SynchronizeComplete]);
    let handle = messages[0].handle().unwrap().clone();
    // The decision on the replay is nobody's answer; a question asked meanwhile waits for it.
    pep.decide(now, 1, Phase::Teardown, Bytes::from_static(b"BYE")).unwrap();
    assert!(sent(&mut pep).0.is_empty());
    pep.received(now, &answer(&handle, Phase::Setup, Command::Install, true));
    assert_eq!(sent(&mut pep).0[0].context().unwrap().message_type, Phase::Teardown.message_type());
    pep.received(now, &answer(&handle, Phase::Setup, Command::Remove, false));
    assert!(matches!(sent(&mut pep).1[0], OutsourcingOutput::Revoked { call: 1, .. }));
    pep.delete(1, ReasonCode::Tear);
    assert_eq!((pep.calls(), sent(&mut pep).0[0].op), (0, Op::DeleteRequestState));
}

#[test]
fn waiting_requests_and_long_messages_have_limits() {
    let (mut pep, now) = proxy();
    for _ in 0..=REQUESTS_WAITING_MAX {
        pep.decide(now, 1, Phase::Setup, Bytes::new()).unwrap();
    }
    assert_eq!(pep.decide(now, 1, Phase::Setup, Bytes::new()), Err(DecideError::TooManyRequests));
    assert!(pep.decide(now, 2, Phase::Setup, Bytes::from(vec![b'x'; 65_531])).is_ok());
    assert_eq!(pep.decide(now, 3, Phase::Setup, Bytes::from(vec![b'x'; 65_532])), Err(DecideError::MessageTooLong));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(kind in 1u8..11, body in proptest::collection::vec(any::<u8>(), 0..80)) {
        let octets = 8 + body.len().next_multiple_of(4);
        let mut wire = vec![0x11, kind, 0, 2, 0, 0, 0, octets as u8];
        wire.extend_from_slice(&body);
        wire.resize(octets, 0);
        let (mut router, _) = Router::ready();
        router.raw(&wire);
        wire[2..4].copy_from_slice(&[0x40, 1]);
        let (mut pep, now) = proxy();
        pep.decide(now, 1, Phase::Setup, Bytes::new()).unwrap();
        pep.received(now, &wire);
        sent(&mut pep);
    }

    #[test]
    fn mutated_decisions_get_at_most_one_report(position in any::<prop::sample::Index>(), flip in 1u8..) {
        let (mut router, handle) = Router::ready();
        let before: Vec<Row> = router.pep.installed().rows().cloned().collect();
        let mut wire = decision(&handle, false, &[(Command::Install, install_data(&flow(1000)))]).to_vec();
        let position = position.index(wire.len());
        wire[position] ^= flip;
        let sent = router.raw(&wire);
        let reports: Vec<&Message> = sent.iter().filter(|message| message.op == Op::ReportState).collect();
        prop_assert!(reports.len() <= 1);
        if reports.first().is_some_and(|report| report.report_type() == Some(ReportType::Failure)) {
            let after: Vec<Row> = router.pep.installed().rows().cloned().collect();
            prop_assert_eq!(before, after);
        }
    }
}
