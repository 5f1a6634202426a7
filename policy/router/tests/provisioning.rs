//! COPS-PR decisions, as bytes, through the PEP machine and the PIB sink into a router's tables. Catches: a flow that the
//! policy server installed but the router does not have, or still has after removal; a refusal without the row at fault.

#![allow(clippy::unwrap_used, reason = "a test ends where its ground gives way")]

use bytes::Bytes;
use strowger_clock::{Moment, Random};
use strowger_cops::*;
use strowger_diffserv::{Action, Dscp, MeterSpec, Prefix};
use strowger_pep::*;
use strowger_pib::flow::{BasePolicy, Excess, MediaFlow, SignallingPort, algorithm, install_data, remove_data};
use strowger_pib::{DsMeter, DsTbParam, FrwkBaseFilter, PibError, Row};
use strowger_router::{PibSink, Router, RouterConfig, RouterHandle};

struct Bench {
    pep: ConfigurationPep,
    sink: PibSink,
    router: RouterHandle,
    handle: Bytes,
}

impl Bench {
    fn new(base: &BasePolicy) -> Self {
        let router = Router::start(RouterConfig::default()).unwrap();
        let config = ConfigurationConfig {
            link: LinkConfig::new(vec!["192.0.2.1:3288".parse().unwrap()], "r1", CLIENT_TYPE_PROVISIONING),
            capabilities: Capabilities { device: "test".into(), capability_set: "software".into(), interfaces: vec![] },
            hold_seconds: 60,
        };
        let mut pep = ConfigurationPep::new(config, Random::from_seed(1));
        pep.start(Moment::ZERO);
        while pep.poll_output().is_some() {}
        pep.connected(Moment::ZERO);
        while pep.poll_output().is_some() {}
        // Client-Accept with a keep-alive timer of 40 s
        pep.received(Moment::ZERO, &[0x10, 7, 0, 2, 0, 0, 0, 16, 0, 8, 10, 1, 0, 0, 0, 40]);
        let mut bench = Self { pep, sink: PibSink::new(router.clone()), router, handle: Bytes::new() };
        let (sent, _) = bench.drain();
        bench.handle = sent[0].handle().unwrap().clone();
        assert_eq!(bench.decide(&[(Command::Install, install_data(&base.rows()))]), Ok(()));
        bench
    }

    fn drain(&mut self) -> (Vec<Message>, Result<(), PibError>) {
        let (mut sent, mut result) = (Vec::new(), Ok(()));
        while let Some(output) = self.pep.poll_output() {
            match output {
                ConfigurationOutput::Send(octets) => sent.push(Message::parse(&octets).unwrap()),
                ConfigurationOutput::Apply(transaction) => {
                    result = self.sink.apply(&transaction, self.pep.installed());
                    self.pep.applied(Moment::ZERO, result.clone(), &[]);
                }
                _ => {}
            }
        }
        (sent, result)
    }

    /// One decision; what the sink said to it.
    fn decide(&mut self, parts: &[(Command, Vec<u8>)]) -> Result<(), PibError> {
        self.pep.received(Moment::ZERO, &decision(&self.handle, parts));
        let (sent, result) = self.drain();
        assert_eq!(sent.len(), 1, "one report");
        result
    }

    fn installed(&self) -> Vec<u64> {
        self.router.flows().unwrap().iter().map(|flow| flow.id.0).collect()
    }
}

fn decision(handle: &Bytes, parts: &[(Command, Vec<u8>)]) -> Bytes {
    let decisions: Vec<Decision> = parts
        .iter()
        .map(|(command, data)| Decision {
            context: Context { request_type: RequestType::CONFIGURATION, message_type: 0 },
            command: *command,
            flags: 0,
            data: if data.is_empty() { vec![] } else { vec![DecisionObject::Named(Bytes::from(data.clone()))] },
        })
        .collect();
    Message::decision(2, handle.clone(), true, &decisions).encode()
}

fn base(signalling: Vec<SignallingPort>) -> BasePolicy {
    BasePolicy {
        capability_set: "software".into(),
        roles: "edge".into(),
        media_dscp: 46,
        signalling_dscp: 40,
        signalling,
        media_rate_kbps_max: 0,
    }
}

fn flow(excess: Excess) -> MediaFlow {
    MediaFlow {
        source: "192.0.2.1".parse().unwrap(),
        destination: "192.0.2.2".parse().unwrap(),
        source_port: None,
        destination_port: 20000,
        protocol: 17,
        rate_kbps: 88,
        burst_octets: 1000,
        excess,
    }
}

#[test]
fn qs4_a_flow_of_a_call_becomes_one_rule_and_goes_with_its_removal() {
    let mut bench = Bench::new(&base(Vec::new()));
    assert_eq!(bench.installed(), [0u64; 0], "the catch-all is what the router does anyway");
    let rows = |n, excess| flow(excess).rows(n).unwrap();
    let both: Vec<Row> = rows(1000, Excess::Drop).into_iter().chain(rows(1001, Excess::Bleach)).collect();
    bench.decide(&[(Command::Install, install_data(&both))]).unwrap();
    let flows = bench.router.flows().unwrap();
    assert_eq!(bench.installed(), [1000, 1001]);
    let rule = &flows[0].rule;
    assert_eq!(rule.filter.source, Some(Prefix::host("192.0.2.1".parse().unwrap())));
    assert_eq!((rule.filter.protocol, rule.filter.source_ports.clone()), (Some(17), 0..=65535));
    assert_eq!(rule.filter.destination_ports, 20000..=20000);
    assert_eq!(rule.meter, Some(MeterSpec::TokenBucket { rate_kbps: 88, burst_octets: 1000 }));
    assert_eq!((rule.green, rule.red), (Action::Forward(Some(Dscp::EF)), Action::Drop));
    assert_eq!(flows[1].rule.red, Action::Forward(Some(Dscp::DEFAULT)));
    let usage = bench.sink.usage(Some(&[1001]));
    assert_eq!(usage.iter().map(|u| (u.reference, u.packets)).collect::<Vec<_>>(), [(1001, 0)]);
    bench.decide(&[(Command::Remove, remove_data(&MediaFlow::prids(1000)))]).unwrap();
    assert_eq!(bench.installed(), [1001]);
    bench.decide(&[(Command::Remove, remove_data(&MediaFlow::prids(1001)))]).unwrap();
    assert_eq!(bench.installed(), [0u64; 0]);
}

#[test]
fn signalling_ports_are_marked_by_the_base_policy() {
    let bench = Bench::new(&base(vec![SignallingPort { protocol: 17, port: 5060 }]));
    let flows = bench.router.flows().unwrap();
    assert_eq!(flows.len(), 2, "to the port and from it");
    for flow in &flows {
        assert_eq!((flow.rule.green, flow.rule.meter), (Action::Forward(Some(Dscp::CS5)), None));
        assert_eq!((flow.rule.filter.source, flow.rule.filter.destination), (None, None));
    }
    assert_eq!(flows[0].rule.filter.destination_ports, 5060..=5060);
    assert_eq!(flows[1].rule.filter.source_ports, 5060..=5060);
}

#[test]
fn two_meters_in_a_row_become_one_two_rate_meter() {
    let mut bench = Bench::new(&base(Vec::new()));
    let mut rows = flow(Excess::Drop).rows(1000).unwrap();
    for row in &mut rows {
        match row {
            Row::DsTbParam(bucket) => bucket.kind = algorithm::tr_tcm_blind(),
            Row::DsMeter(meter) => meter.fail_next = DsMeter::prid(2000),
            _ => {}
        }
    }
    let mut second = flow(Excess::Drop).rows(2000).unwrap();
    second.retain(|row| matches!(row, Row::DsTbParam(_) | Row::DsMeter(_)));
    for row in &mut second {
        if let Row::DsTbParam(bucket) = row {
            bucket.kind = algorithm::tr_tcm_blind();
            bucket.rate_kbps = 200;
        }
    }
    let all: Vec<Row> = second.into_iter().chain(rows).collect();
    bench.decide(&[(Command::Install, install_data(&all))]).unwrap();
    let flows = bench.router.flows().unwrap();
    let expected = MeterSpec::TwoRate {
        committed_kbps: 88,
        committed_burst_octets: 1000,
        peak_kbps: 200,
        peak_burst_octets: 1000,
        aware: false,
    };
    assert_eq!((flows.len(), flows[0].rule.meter), (1, Some(expected)));
    assert_eq!((flows[0].rule.yellow, flows[0].rule.red), (Action::Forward(Some(Dscp::EF)), Action::Drop));
    // one row of the pair changes under its own name: the rule follows
    let bucket = DsTbParam {
        instance: 2000,
        kind: algorithm::tr_tcm_blind(),
        rate_kbps: 300,
        burst_octets: 1000,
        interval_us: 1000,
    };
    bench.decide(&[(Command::Install, install_data(&[bucket.into()]))]).unwrap();
    let meter = bench.router.flows().unwrap()[0].rule.meter;
    assert!(matches!(meter, Some(MeterSpec::TwoRate { peak_kbps: 300, .. })), "{meter:?}");
}

#[test]
fn what_the_router_cannot_do_is_refused_with_its_row_and_leaves_nothing() {
    let mut bench = Bench::new(&base(Vec::new()));
    let mut rows = flow(Excess::Drop).rows(1001).unwrap();
    for row in &mut rows {
        if let Row::FrwkBaseFilter(filter) = row {
            filter.negation = true;
        }
    }
    let good = flow(Excess::Drop).rows(1000).unwrap();
    let all: Vec<Row> = good.into_iter().chain(rows).collect();
    let refused = bench.decide(&[(Command::Install, install_data(&all))]).unwrap_err();
    assert!(matches!(&refused, PibError::Class { prid, .. } if *prid == FrwkBaseFilter::prid(1001)), "{refused:?}");
    assert_eq!(bench.installed(), [0u64; 0]);
    bench.decide(&[(Command::Install, install_data(&flow(Excess::Drop).rows(1000).unwrap()))]).unwrap();
    assert_eq!(bench.installed(), [1000]);
}
