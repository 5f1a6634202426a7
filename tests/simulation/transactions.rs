//! RFC 3261 §17 and §9 with RFC 6026: client and server transactions at the two ends of bad links.

use std::net::SocketAddr;
use std::time::Duration;

use strowger_clock::{Moment, Random};
use strowger_simulation::{Link, NodeId, Simulation};
use strowger_sip::Method;
use strowger_transaction::{Failure, Target, Transport, ViaSpec};

use crate::callee::Callee;
use crate::caller::{Caller, Outcome, Place};
use crate::party::{Host, Party};
use crate::seeds;

/// Long after every timer: timer C, then 64*T1 for the CANCEL, then timers D or H.
const LIMIT: Moment = Moment::from_seconds(600);
const INVITES: u64 = 3;
const OPTIONS: u64 = 1;

fn address(host: u8) -> SocketAddr {
    ([10, 0, 0, host], 5060).into()
}

/// How often each ending was seen, so that a test can say that it saw them all.
#[derive(Default, Debug)]
struct Seen {
    established: u32,
    busy: u32,
    no_answer: u32,
    cancelled: u32,
    crossed: u32,
    timed_out: u32,
    unacknowledged: u32,
    options: u32,
}

struct World {
    simulation: Simulation<Party>,
    caller: NodeId,
    callee: NodeId,
    random: Random,
    transport: Transport,
}

impl World {
    fn new(seed: u64, transport: Transport, loss_max: f64) -> World {
        let mut simulation = Simulation::new(seed, Link::PERFECT);
        let mut random = simulation.fork_random();
        if loss_max > 0.0 {
            simulation.set_link(address(1), address(2), Link::draw(loss_max, &mut random));
            simulation.set_link(address(2), address(1), Link::draw(loss_max, &mut random));
        }
        let caller = Caller::new(ViaSpec::from(address(1)));
        let caller = Party::Caller(Box::new(Host::new(address(1), transport, random.fork(), caller)));
        let callee = Callee::new(random.fork());
        let callee = Party::Callee(Box::new(Host::new(address(2), transport, random.fork(), callee)));
        let caller = simulation.add(&[address(1)], caller);
        let callee = simulation.add(&[address(2)], callee);
        World { simulation, caller, callee, random, transport }
    }

    fn place(&mut self, name: String, method: Method, to: SocketAddr) {
        let is_cancelled = method == Method::Invite && self.random.chance(0.4);
        let cancel_after = is_cancelled.then(|| Duration::from_millis(self.random.below(7_000)));
        let target = Target::new(self.transport, to);
        let place = Place { call_id: name, method, target, cancel_after };
        self.simulation.with(self.caller, |now, party| party.caller_mut().input(now, place));
    }

    /// A few calls and an OPTIONS, spread over a few seconds.
    fn place_some(&mut self) {
        for n in 0..INVITES {
            self.place(format!("invite-{n}"), Method::Invite, address(2));
            let until = self.simulation.now() + Duration::from_millis(self.random.below(2_000));
            self.simulation.run_until(until);
        }
        for n in 0..OPTIONS {
            self.place(format!("options-{n}"), Method::Options, address(2));
        }
    }

    /// Runs to the end; there nothing may be left, and the ends must agree.
    fn finish(&mut self, seen: &mut Seen) {
        let seed = self.simulation.seed();
        if let Err(busy) = self.simulation.run_until_idle(LIMIT) {
            panic!("seed {seed}: not idle: {busy}");
        }
        let caller = self.simulation.node(self.caller).caller();
        let callee = self.simulation.node(self.callee).callee();
        assert!(caller.gauge().is_zero(), "seed {seed}: the caller keeps {:?}", caller.gauge());
        assert!(callee.gauge().is_zero(), "seed {seed}: the callee keeps {:?}", callee.gauge());
        for call_id in caller.user.placed.keys() {
            self.check(call_id, seen);
        }
    }

    fn check(&self, call_id: &str, seen: &mut Seen) {
        let seed = self.simulation.seed();
        let placed = &self.simulation.node(self.caller).caller().user.placed[call_id];
        let incoming = self.simulation.node(self.callee).callee().user.incoming.get(call_id);
        assert!(placed.is_terminated, "seed {seed} {call_id}");
        let outcome = placed.outcome.as_ref().unwrap_or_else(|| panic!("seed {seed} {call_id}: no outcome"));
        let answered = incoming.and_then(|incoming| incoming.answered);
        let is_confirmed = incoming.is_some_and(|incoming| incoming.is_confirmed);
        let is_unacknowledged = incoming.is_some_and(|incoming| incoming.is_unacknowledged);
        assert!(incoming.is_none_or(|incoming| incoming.is_terminated), "seed {seed} {call_id}");
        seen.unacknowledged += u32::from(is_unacknowledged);
        if call_id.starts_with("options") {
            match outcome {
                Outcome::Accepted(_) => assert_eq!(answered, Some(200), "seed {seed} {call_id}"),
                Outcome::Failed(Failure::Timeout) => {}
                other => panic!("seed {seed} {call_id}: {other:?}"),
            }
            seen.options += 1;
            return;
        }
        match outcome {
            Outcome::Accepted(_) => {
                assert_eq!(answered, Some(200), "seed {seed} {call_id}");
                assert!(is_confirmed || is_unacknowledged, "seed {seed} {call_id}");
                seen.established += 1;
                seen.crossed += u32::from(placed.is_cancelled);
            }
            Outcome::Rejected(status) => {
                assert_eq!(answered, Some(*status), "seed {seed} {call_id}");
                assert!(!is_confirmed);
                assert!(*status != 487 || placed.is_cancelled, "seed {seed} {call_id}: nobody cancelled");
                match status {
                    486 => seen.busy += 1,
                    487 => seen.cancelled += 1,
                    _ => seen.no_answer += 1,
                }
            }
            Outcome::Failed(Failure::Timeout) => {
                assert!(!is_confirmed, "seed {seed} {call_id}: one end speaks, the other gave up");
                assert!(answered.is_none() || is_unacknowledged, "seed {seed} {call_id}: who acknowledged?");
                seen.timed_out += 1;
            }
            Outcome::Failed(Failure::Transport) => panic!("seed {seed} {call_id}: no transport failed"),
        }
    }
}

#[test]
fn calls_over_bad_links() {
    let mut seen = Seen::default();
    for seed in seeds(0..300) {
        let mut world = World::new(seed, Transport::Udp, 0.35);
        world.place_some();
        world.finish(&mut seen);
        // eleven tries each way: at a third of loss and these seeds, every one gets through
        assert_eq!(seen.timed_out + seen.unacknowledged, 0, "seed {seed}: gave up too early");
    }
    if seeds(0..300).end == 300 {
        let all = [seen.established, seen.busy, seen.no_answer, seen.cancelled, seen.crossed];
        assert!(all.iter().all(|count| *count >= 10), "a race that was not run is not tested: {seen:?}");
    }
}

#[test]
fn calls_over_connections() {
    let mut seen = Seen::default();
    for seed in seeds(0..100) {
        let mut world = World::new(seed, Transport::Tcp, 0.1);
        world.place_some();
        world.finish(&mut seen);
        assert_eq!(seen.timed_out + seen.unacknowledged, 0, "seed {seed}: a connection loses nothing");
    }
}

#[test]
fn calls_over_perfect_links() {
    let mut seen = Seen::default();
    for seed in seeds(0..50) {
        let mut world = World::new(seed, Transport::Udp, 0.0);
        world.place_some();
        world.finish(&mut seen);
        assert_eq!(seen.timed_out + seen.unacknowledged, 0, "seed {seed}");
        let stray = world.simulation.node(world.caller).caller().layer.counters().stray_responses;
        assert_eq!(stray, 0, "seed {seed}");
    }
}

/// The network goes away in mid-call, one way or both, for ever or for a while.
#[test]
fn calls_through_an_outage() {
    let mut seen = Seen::default();
    for seed in seeds(0..150) {
        let mut world = World::new(seed, Transport::Udp, 0.2);
        world.place_some();
        let at = world.simulation.now() + Duration::from_millis(world.random.below(6_000));
        world.simulation.run_until(at);
        let ways = world.random.below(3);
        for (from, to) in [(1, 2), (2, 1)] {
            if ways == 0 || ways == u64::from(from) {
                world.simulation.set_link(address(from), address(to), Link::CUT);
            }
        }
        if world.random.chance(0.5) {
            let until = at + Duration::from_millis(world.random.below(40_000));
            world.simulation.run_until(until);
            world.simulation.set_link(address(1), address(2), Link::PERFECT);
            world.simulation.set_link(address(2), address(1), Link::PERFECT);
        }
        world.finish(&mut seen);
    }
    if seeds(0..150).end == 150 {
        assert!(seen.timed_out >= 10 && seen.unacknowledged >= 10 && seen.established >= 10, "{seen:?}");
    }
}

#[test]
fn nobody_is_there() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut seen = Seen::default();
        let mut world = World::new(1, transport, 0.0);
        for n in 0..5 {
            world.place(format!("invite-{n}"), Method::Invite, address(9));
        }
        world.place(String::from("options-0"), Method::Options, address(9));
        world.finish(&mut seen);
        assert_eq!((seen.timed_out, seen.options), (5, 1));
        assert_eq!(world.simulation.now(), Moment::from_seconds(32), "64*T1");
    }
}
