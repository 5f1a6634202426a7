//! Two ends of a trunk on virtual time: every number of the simulated exchange, release from both sides, dual seizure,
//! blocking, reset, lost messages. Catches a timer that does not run, a circuit that never comes back, a wrong cause.
#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strowger_clock::Moment;
use strowger_isup::{Cause, Charge, Location, Message, Msu};
use strowger_rtp::dtmf::DtmfGenerator;
use strowger_rtp::g711::encode_a;
use strowger_trunk::*;

/// A gateway's end and an exchange, with time between them.
struct World {
    now: Moment,
    gateway: TrunkGroup,
    span: SpanDriver,
    events: VecDeque<(u64, Event)>,
    ladder: Arc<Mutex<Vec<&'static str>>>,
    lose: bool,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ExchangeConfig)) -> Self {
        let trunk = TrunkConfig::new(100, 200, 0).unwrap();
        let mut config = ExchangeConfig::new(trunk.reversed());
        change(&mut config);
        let ladder = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&ladder);
        let tap: SignalTap =
            Arc::new(move |_, bytes| seen.lock().unwrap().push(Msu::parse(bytes).unwrap().message.acronym()));
        Self {
            now: Moment::ZERO,
            gateway: TrunkGroup::new(trunk),
            span: SpanDriver::new(Exchange::new(config), Some(tap)),
            events: VecDeque::new(),
            ladder,
            lose: false,
        }
    }

    fn settle(&mut self) {
        loop {
            let mut moved = false;
            while let Some(output) = self.gateway.poll_output() {
                moved = true;
                match output {
                    Output::Transmit(bytes) if !self.lose => self.span.signal(self.now, &bytes),
                    Output::Transmit(_) => {}
                    Output::Event(event) => self.events.push_back((self.now.as_millis(), event)),
                }
            }
            while let Some(bytes) = self.span.poll_signal() {
                moved = true;
                if !self.lose {
                    self.gateway.received(self.now, &bytes);
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Ticks of 20 ms; `say` is what the gateway puts into the bearer, the result what it hears.
    fn run(&mut self, ms: u64, circuit: Option<Circuit>, mut say: impl FnMut(&mut [u8])) -> Vec<u8> {
        let mut heard = Vec::new();
        let end = self.now + Duration::from_millis(ms);
        self.settle();
        while self.now < end {
            if let Some(circuit) = circuit {
                let (mut out, mut back) = ([0xd5; BLOCK_SAMPLES], [0; BLOCK_SAMPLES]);
                say(&mut out);
                self.span.bearer(circuit, &out, &mut back);
                heard.extend(back);
            }
            self.now += Duration::from_millis(BLOCK_MS);
            self.gateway.timeout(self.now);
            self.span.timeout(self.now);
            self.settle();
        }
        heard
    }

    fn pass(&mut self, ms: u64) {
        self.run(ms, None, |_| {});
    }

    fn call(&mut self, number: &str) -> Circuit {
        let circuit = self.gateway.setup(self.now, Setup::international(number, Some("12125550199")).unwrap()).unwrap();
        self.settle();
        circuit
    }

    fn released(&self) -> Option<(u64, Cause)> {
        self.events.iter().find_map(|(at, event)| match event {
            Event::Released { cause, .. } => Some((*at, cause.cause)),
            _ => None,
        })
    }

    fn answered(&self) -> Option<u64> {
        self.events.iter().find_map(|(at, event)| matches!(event, Event::Answered { .. }).then_some(*at))
    }

    fn ladder(&self) -> Vec<&'static str> {
        self.ladder.lock().unwrap().clone()
    }

    fn all_idle(&mut self) -> bool {
        self.gateway.gauge().idle == CIRCUITS && self.span.exchange_mut().group_mut().gauge().idle == CIRCUITS
    }
}

fn loud(block: &[u8]) -> bool {
    block.iter().any(|octet| strowger_rtp::g711::decode_a(*octet).abs() > 1000)
}

#[test]
fn the_first_number_rings_answers_speaks_echoes_and_charges() {
    let mut world = World::new();
    let circuit = world.call("12125550100");
    assert_eq!(world.events[0].1, Event::Alerting { circuit, alert: Alert::Ringing, in_band: true });
    let ringing = world.run(1000, Some(circuit), |_| {});
    assert!(loud(&ringing), "ringback is in the bearer");
    assert_eq!(world.answered(), Some(1000));
    let said = world.run(6000, Some(circuit), |_| {});
    assert!(said.chunks(8000).take(4).all(loud), "the announcement speaks");
    let mut n = 0u8;
    let echo = world.run(100, Some(circuit), |out| {
        n += 1;
        out.fill(n);
    });
    assert_eq!([echo[0], echo[799]], [1, 5]);
    let mut tone = DtmfGenerator::new('7', 100).unwrap();
    world.run(200, Some(circuit), |out| {
        let mut samples = [0i16; BLOCK_SAMPLES];
        tone.fill(&mut samples);
        out.iter_mut().zip(samples).for_each(|(octet, sample)| *octet = encode_a(sample));
    });
    assert_eq!(world.span.exchange_mut().digits_heard(circuit), "7");
    world.pass(6000);
    let charges: Vec<_> = world
        .events
        .iter()
        .filter_map(|(at, e)| if let Event::Charge { charge, .. } = e { Some((*at, *charge)) } else { None })
        .collect();
    assert!(matches!(charges[0], (0, Charge::Tariff(t)) if t.interval_ms == 6000));
    let due = |number, charged_seconds| Charge::Interval {
        currency: *b"USD",
        number,
        charged_seconds,
        amount_micros: 10_000,
    };
    assert_eq!(charges[1..], [(1000, due(1, 6)), (7000, due(2, 12)), (13_000, due(3, 18))]);
    assert!(world.gateway.release(world.now, circuit, Location::User, Cause::NORMAL_CLEARING));
    world.pass(20_000);
    assert_eq!(
        world.ladder(),
        ["IAM", "ACM", "CRG", "ANM", "CRG", "CRG", "CRG", "REL", "RLC"],
        "no charge after release"
    );
    assert!(world.all_idle());
    assert_eq!(world.released(), None, "a release of our own is not told back");
}

#[test]
fn every_other_number_ends_with_its_cause() {
    for (number, alerted, cause, after) in [
        ("12125550101", false, 17, 0),
        ("12125550102", true, 19, 30_000),
        ("12125550104", false, 1, 0),
        ("12125559999", false, 1, 0),
        ("12125550105", true, 34, 2000),
    ] {
        let mut world = World::new();
        let circuit = world.call(number);
        let heard = world.run(40_000, Some(circuit), |_| {});
        assert_eq!(world.released(), Some((after, Cause(cause))), "{number}");
        assert_eq!(world.events.iter().any(|(_, e)| matches!(e, Event::Alerting { .. })), alerted, "{number}");
        assert_eq!(loud(&heard), alerted, "{number}: tone");
        assert_eq!(world.answered(), None);
        assert!(world.all_idle(), "{number}");
    }
}

#[test]
fn the_announcement_number_releases_when_it_has_spoken() {
    let mut world = World::new();
    let circuit = world.call("12125550103");
    world.run(10_000, Some(circuit), |_| {});
    assert_eq!(world.answered(), Some(1000));
    let (at, cause) = world.released().unwrap();
    assert_eq!(cause, Cause::NORMAL_CLEARING);
    assert!((6000..7000).contains(&at), "{at}");
    assert!(world.all_idle());
}

#[test]
fn the_exchange_calls_in_and_is_answered() {
    let mut world = World::new();
    let setup = Setup::international("12125550150", Some("12125550160")).unwrap();
    let circuit = world.span.exchange_mut().originate(world.now, setup).unwrap();
    world.settle();
    assert!(
        matches!(&world.events[0].1, Event::IncomingCall { circuit: c, called, complete: true, calling: Some(from), .. }
        if *c == circuit && called == "12125550150" && from.digits() == "12125550160")
    );
    world.pass(16_000);
    assert_eq!(world.ladder(), ["IAM", "ACM"], "T11 keeps the other end waiting");
    assert!(world.gateway.alert(circuit, Alert::Ringing, false));
    assert!(world.gateway.answer(circuit));
    world.settle();
    let echo = world.run(20, Some(circuit), |out| out.fill(9));
    assert_eq!(echo, [9; BLOCK_SAMPLES]);
    world.span.exchange_mut().hang_up(world.now, circuit, Cause::NORMAL_CLEARING);
    world.settle();
    assert_eq!(world.ladder(), ["IAM", "ACM", "CPG", "ANM", "REL", "RLC"]);
    assert!(world.all_idle());
    assert!(!world.gateway.answer(circuit), "no call, no answer");
}

#[test]
fn dual_seizure_moves_the_call_of_the_end_that_does_not_control() {
    let mut world = World::new();
    // leave one circuit: both ends will take it, or the one beside it
    let [kept, other] = [Circuit::new(4).unwrap(), Circuit::new(5).unwrap()];
    for circuit in Circuit::all().filter(|c| *c != kept) {
        world.gateway.block(world.now, circuit);
    }
    world.settle();
    let setup = || Setup::international("12125550100", None).unwrap();
    // free for a second attempt by the time the clash is seen; the other end has not heard of it yet
    world.gateway.unblock(world.now, other);
    let mine = world.gateway.setup(world.now, setup()).unwrap();
    let theirs = world.span.exchange_mut().originate(world.now, setup()).unwrap();
    assert_eq!((mine, theirs), (kept, kept));
    world.settle();
    // timeslot 5 is odd: the lower point code (ours, 100) controls it
    assert_eq!(world.gateway.counters().dual_seizures, 1);
    world.pass(1000);
    assert!(world.events.iter().any(|(_, e)| *e == Event::Answered { circuit: kept }));
    assert_eq!(world.span.exchange_mut().group_mut().counters().dual_seizures, 1);
    assert!(world.events.iter().any(|(_, e)| matches!(e, Event::IncomingCall { circuit, .. } if *circuit == other)));
}

#[test]
fn the_31st_call_finds_no_circuit() {
    let mut world = World::new();
    for _ in 0..CIRCUITS {
        world.call("12125550100");
    }
    let setup = Setup::international("12125550100", None).unwrap();
    assert_eq!(world.gateway.setup(world.now, setup), Err(NoCircuit));
    assert_eq!(world.gateway.counters().no_circuit, 1);
    world.pass(1000);
    for circuit in Circuit::all() {
        world.gateway.release(world.now, circuit, Location::User, Cause::NORMAL_CLEARING);
    }
    world.settle();
    assert!(world.all_idle());
}

#[test]
fn a_blocked_circuit_is_not_seized_by_either_end_and_an_open_call_stays() {
    let mut world = World::new();
    let circuit = world.call("12125550100");
    world.gateway.block(world.now, circuit);
    world.pass(2000);
    assert_eq!(world.gateway.state(circuit), CircuitState::Answered);
    assert_eq!(world.span.exchange_mut().group_mut().gauge().blocked, 1);
    world.gateway.release(world.now, circuit, Location::User, Cause::NORMAL_CLEARING);
    world.settle();
    assert_eq!(world.gateway.gauge().idle, CIRCUITS - 1);
    world.gateway.unblock(world.now, circuit);
    world.settle();
    assert!(world.all_idle());
}

#[test]
fn no_answer_to_anything_ends_in_t7_then_reset_and_the_circuit_comes_back() {
    let mut world = World::new();
    world.lose = true;
    let circuit = world.call("12125550100");
    world.pass(26_000);
    assert_eq!(world.released(), Some((25_000, Cause::RECOVERY_ON_TIMER)));
    assert_eq!(world.gateway.state(circuit), CircuitState::WaitReleaseComplete);
    world.pass(305_000);
    assert_eq!(world.gateway.state(circuit), CircuitState::Resetting, "T5 has passed");
    assert!(world.events.iter().any(|(_, e)| *e == Event::Alarm { circuit }));
    world.lose = false;
    world.pass(310_000);
    assert!(world.all_idle(), "RSC is repeated at T17");
}

#[test]
fn a_group_reset_ends_calls_and_aligns_both_ends() {
    let mut world = World::new();
    let circuit = world.call("12125550100");
    world.span.exchange_mut().group_mut().block(world.now, Circuit::new(20).unwrap());
    world.span.exchange_mut().timeout(world.now);
    world.settle();
    world.gateway.reset_all(world.now);
    world.settle();
    assert_eq!(world.released(), Some((0, Cause::TEMPORARY_FAILURE)));
    assert_eq!(world.gateway.state(circuit), CircuitState::Idle);
    let gauge = world.gateway.gauge();
    assert_eq!((gauge.idle, gauge.blocked), (CIRCUITS - 1, 1), "the acknowledgement tells who is blocked");
    assert_eq!(world.gateway.next_deadline(), None, "no timer is left");
}

#[test]
fn messages_that_make_no_sense_are_answered_or_counted() {
    let mut world = World::new();
    let trunk = TrunkConfig::new(100, 200, 0).unwrap();
    let unit = |cic: u16, message| {
        let label = strowger_isup::RoutingLabel {
            network: trunk.network,
            destination: trunk.own,
            origin: trunk.peer,
            selection: 0,
        };
        Msu { label, cic: strowger_isup::Cic::new(cic).unwrap(), message }.encode().unwrap()
    };
    let answer = |world: &mut World, bytes: &[u8]| -> Vec<&'static str> {
        world.gateway.received(Moment::ZERO, bytes);
        std::iter::from_fn(|| world.gateway.poll_output())
            .filter_map(|output| {
                if let Output::Transmit(b) = output { Some(Msu::parse(&b).unwrap().message.acronym()) } else { None }
            })
            .collect()
    };
    assert_eq!(answer(&mut world, &unit(1, Message::Answer { optional: vec![] })), ["RSC"]);
    assert_eq!(answer(&mut world, &unit(2, Message::ReleaseComplete { optional: vec![] })), Vec::<&str>::new());
    assert_eq!(answer(&mut world, &unit(16, Message::ResetCircuit)), ["UCIC"]);
    assert_eq!(answer(&mut world, &unit(40, Message::ResetCircuit)), ["UCIC"], "another span's");
    let mut unknown = unit(3, Message::ResetCircuit);
    unknown[7] = 0xee;
    assert_eq!(answer(&mut world, &unknown), ["CFN"]);
    assert_eq!(answer(&mut world, &unknown[..5]), Vec::<&str>::new());
    assert_eq!(
        answer(&mut world, &unit(4, Message::CircuitGroupQuery(strowger_isup::RangeAndStatus::range(3)))),
        ["CQR"]
    );
    let counters = world.gateway.counters();
    assert_eq!((counters.malformed, counters.unknown), (1, 1));
    let mut foreign = unit(3, Message::ResetCircuit);
    foreign[1] ^= 1;
    assert_eq!(answer(&mut world, &foreign), Vec::<&str>::new());
    assert_eq!(world.gateway.counters().misrouted, 1);
}

#[test]
fn digits_that_come_one_by_one_are_gathered() {
    let mut world = World::new();
    let trunk = TrunkConfig::new(100, 200, 0).unwrap();
    let send = |world: &mut World, message| {
        let label = strowger_isup::RoutingLabel {
            network: trunk.network,
            destination: trunk.peer,
            origin: trunk.own,
            selection: 0,
        };
        let unit = Msu { label, cic: strowger_isup::Cic::new(1).unwrap(), message };
        world.span.signal(world.now, &unit.encode().unwrap());
        while world.span.poll_signal().is_some() {}
    };
    let called =
        strowger_isup::CalledPartyNumber::new(strowger_isup::NatureOfAddress::International, "1212555").unwrap();
    send(&mut world, Message::InitialAddress(strowger_isup::InitialAddress::new(called, None)));
    send(&mut world, Message::SubsequentAddress { digits: "01".into(), optional: vec![] });
    assert_eq!(world.ladder(), ["IAM", "SAM"]);
    send(&mut world, Message::SubsequentAddress { digits: "00F".into(), optional: vec![] });
    assert_eq!(world.ladder(), ["IAM", "SAM", "SAM", "ACM", "CRG"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_messages_come_the_group_can_be_reset(messages in proptest::collection::vec((0u16..34, 0u8..0x33, proptest::collection::vec(any::<u8>(), 0..12), 0u64..400), 0..60)) {
        let mut world = World::new();
        world.call("12125550100");
        for (cic, kind, body, seconds) in messages {
            let mut bytes = vec![0x85];
            bytes.extend((100u32 | 200 << 14).to_le_bytes());
            bytes.extend(cic.to_le_bytes());
            bytes.push(kind);
            bytes.extend(body);
            world.gateway.received(world.now, &bytes);
            world.now += Duration::from_secs(seconds);
            world.gateway.timeout(world.now);
            world.span.timeout(world.now);
            // what the group makes of it the exchange must survive too
            world.settle();
        }
        for circuit in Circuit::all() {
            world.gateway.unblock(world.now, circuit);
            world.span.exchange_mut().group_mut().unblock(world.now, circuit);
        }
        world.gateway.reset_all(world.now);
        world.pass(40);
        world.span.exchange_mut().group_mut().reset_all(world.now);
        world.pass(40);
        world.pass(20_000);
        prop_assert!(world.all_idle(), "{:?} {:?}", world.gateway.gauge(), world.span.exchange_mut().group_mut().gauge());
    }
}
