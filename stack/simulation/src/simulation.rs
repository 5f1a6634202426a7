//! The event loop on the virtual clock.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use strowger_clock::{Moment, Random};

use crate::Link;
use crate::trace::{Fate, TRACE_MAX, TraceLine};

/// How many packets may be under way; more are dropped and traced as [`Fate::Overflow`].
pub const IN_FLIGHT_MAX: usize = 100_000;
/// How many lines of the trace are printed when a test panics.
const PRINTED_MAX: usize = 200;

/// A packet between two nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// The sender's address.
    pub from: SocketAddr,
    /// The receiver's.
    pub to: SocketAddr,
    /// Its octets.
    pub payload: Bytes,
    /// Part of a connection: neither lost nor doubled, and after those sent before it between the same addresses.
    pub is_ordered: bool,
}

/// A machine in the network.
pub trait Node {
    /// A packet came in.
    fn received(&mut self, now: Moment, packet: Packet);
    /// A deadline has passed.
    fn timeout(&mut self, now: Moment);
    /// When to call [`Node::timeout`] next.
    fn next_deadline(&self) -> Option<Moment>;
    /// The next packet to send. Called until `None` after every other call.
    fn poll_transmit(&mut self) -> Option<Packet>;
}

/// Names a node.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(usize);

/// The time ran out before the network became idle.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Busy {
    /// Packets still under way.
    pub in_flight: usize,
    /// The next deadline of any node.
    pub next_deadline: Option<Moment>,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets under way, next deadline {:?}", self.in_flight, self.next_deadline)
    }
}

impl std::error::Error for Busy {}

/// Nodes, links, packets under way, and the time.
pub struct Simulation<N> {
    seed: u64,
    now: Moment,
    random: Random,
    nodes: Vec<N>,
    addresses: BTreeMap<SocketAddr, usize>,
    default_link: Link,
    links: BTreeMap<(SocketAddr, SocketAddr), Link>,
    /// By arrival, then by order of sending.
    in_flight: BTreeMap<(Moment, u64), Packet>,
    next_packet: u64,
    /// When the last ordered packet between two addresses arrives.
    ordered_until: BTreeMap<(SocketAddr, SocketAddr), Moment>,
    trace: VecDeque<TraceLine>,
}

impl<N: Node> Simulation<N> {
    /// An empty network at time zero whose every chance comes from `seed`.
    pub fn new(seed: u64, default_link: Link) -> Self {
        Simulation {
            seed,
            now: Moment::ZERO,
            random: Random::from_seed(seed),
            nodes: Vec::new(),
            addresses: BTreeMap::new(),
            default_link,
            links: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next_packet: 0,
            ordered_until: BTreeMap::new(),
            trace: VecDeque::new(),
        }
    }

    /// Adds a node under its addresses. An address that another node has goes to the new one.
    pub fn add(&mut self, addresses: &[SocketAddr], node: N) -> NodeId {
        self.nodes.push(node);
        let index = self.nodes.len() - 1;
        self.addresses.extend(addresses.iter().map(|address| (*address, index)));
        NodeId(index)
    }

    /// Takes an address off the network: what is sent there, or under way there, is lost.
    pub fn unplug(&mut self, address: SocketAddr) {
        self.addresses.remove(&address);
    }

    /// The link from one address to another, from now on. Packets under way are not affected.
    pub fn set_link(&mut self, from: SocketAddr, to: SocketAddr, link: Link) {
        self.links.insert((from, to), link);
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The time.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Randomness of this run, for whoever drives it.
    pub fn fork_random(&mut self) -> Random {
        self.random.fork()
    }

    /// Looks at a node.
    ///
    /// # Panics
    /// When the node is another simulation's.
    pub fn node(&self, id: NodeId) -> &N {
        &self.nodes[id.0]
    }

    /// Does something to a node at the present time and sends what it then has to send.
    ///
    /// # Panics
    /// When the node is another simulation's.
    pub fn with<R>(&mut self, id: NodeId, act: impl FnOnce(Moment, &mut N) -> R) -> R {
        let result = act(self.now, &mut self.nodes[id.0]);
        self.collect(id.0);
        result
    }

    /// Runs until nothing is under way and no node has a deadline; gives the time.
    ///
    /// # Errors
    /// [`Busy`] when that is not so at `limit`, where it stops.
    pub fn run_until_idle(&mut self, limit: Moment) -> Result<Moment, Busy> {
        self.run(limit);
        let next_deadline = self.next_deadline();
        if self.in_flight.is_empty() && next_deadline.is_none() {
            return Ok(self.now);
        }
        self.now = self.now.max(limit);
        Err(Busy { in_flight: self.in_flight.len(), next_deadline })
    }

    /// Runs up to and including `until`.
    pub fn run_until(&mut self, until: Moment) {
        self.run(until);
        self.now = self.now.max(until);
    }

    /// The latest lines, oldest first; at most [`TRACE_MAX`].
    pub fn trace(&self) -> impl DoubleEndedIterator<Item = &TraceLine> {
        self.trace.iter()
    }

    fn run(&mut self, limit: Moment) {
        loop {
            let arrival = self.in_flight.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.next_deadline();
            let Some(next) = arrival.into_iter().chain(deadline).min().filter(|at| *at <= limit) else { return };
            self.now = self.now.max(next);
            // a packet that arrives when a deadline passes comes first: the machine may no longer need the timer
            match self.in_flight.first_entry().filter(|entry| entry.key().0 <= self.now) {
                Some(entry) => {
                    let packet = entry.remove();
                    self.arrive(packet);
                }
                None => self.expire(),
            }
        }
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.nodes.iter().filter_map(Node::next_deadline).min()
    }

    fn arrive(&mut self, packet: Packet) {
        let Some(index) = self.addresses.get(&packet.to).copied() else { return self.note(&packet, Fate::NoNode) };
        self.note(&packet, Fate::Arrived);
        self.nodes[index].received(self.now, packet);
        self.collect(index);
    }

    fn expire(&mut self) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].next_deadline().is_some_and(|at| at <= self.now) {
                self.nodes[index].timeout(self.now);
                self.collect(index);
            }
        }
    }

    fn collect(&mut self, index: usize) {
        while let Some(packet) = self.nodes[index].poll_transmit() {
            self.send(packet);
        }
    }

    fn send(&mut self, packet: Packet) {
        let pair = (packet.from, packet.to);
        let link = self.links.get(&pair).copied().unwrap_or(self.default_link);
        if packet.is_ordered {
            return self.send_ordered(packet, &link);
        }
        let passages = link.passages(&mut self.random);
        if passages.is_empty() {
            self.note(&packet, Fate::Lost);
        }
        for (copy, delay) in passages.into_iter().enumerate() {
            let arrives = self.now + delay;
            let fate = if copy == 0 { Fate::Sent { arrives } } else { Fate::Doubled { arrives } };
            self.launch(packet.clone(), arrives, fate);
        }
    }

    /// TCP hides loss as delay: each lost copy costs another passage. A link that is cut loses ordered packets too.
    fn send_ordered(&mut self, packet: Packet, link: &Link) {
        if link.loss >= 1.0 {
            return self.note(&packet, Fate::Lost);
        }
        let mut arrives = self.now + link.delay.draw(&mut self.random);
        while self.random.chance(link.loss) {
            arrives += link.delay.draw(&mut self.random);
        }
        let until = self.ordered_until.entry((packet.from, packet.to)).or_default();
        arrives = arrives.max(*until);
        *until = arrives;
        self.launch(packet, arrives, Fate::Sent { arrives });
    }

    fn launch(&mut self, packet: Packet, arrives: Moment, fate: Fate) {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return self.note(&packet, Fate::Overflow);
        }
        self.note(&packet, fate);
        self.in_flight.insert((arrives, self.next_packet), packet);
        self.next_packet += 1;
    }

    fn note(&mut self, packet: &Packet, fate: Fate) {
        if self.trace.len() >= TRACE_MAX {
            self.trace.pop_front();
        }
        let (at, from, to) = (self.now, packet.from, packet.to);
        let first_line = packet.payload.split(|octet| matches!(octet, b'\r' | b'\n')).next().unwrap_or_default();
        let label = String::from_utf8_lossy(first_line.get(..80).unwrap_or(first_line)).into_owned();
        self.trace.push_back(TraceLine { at, from, to, fate, label });
    }
}

/// A test that fails must be repeatable: prints the seed and the end of the trace.
impl<N> Drop for Simulation<N> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        eprintln!("simulation with seed {} at {}; the trace's end:", self.seed, self.now);
        for line in self.trace.iter().skip(self.trace.len().saturating_sub(PRINTED_MAX)) {
            eprintln!("  {line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Delay;

    /// Sends `left` packets, one each 10 ms, and keeps what it gets.
    struct Counter {
        at: SocketAddr,
        to: SocketAddr,
        left: u8,
        due: Moment,
        out: VecDeque<Packet>,
        got: Vec<(Moment, u8)>,
        is_ordered: bool,
    }

    impl Node for Counter {
        fn received(&mut self, now: Moment, packet: Packet) {
            self.got.push((now, packet.payload[0]));
        }
        fn timeout(&mut self, now: Moment) {
            self.due = now + Duration::from_millis(10);
            let payload = Bytes::from(vec![self.left]);
            self.out.push_back(Packet { from: self.at, to: self.to, payload, is_ordered: self.is_ordered });
            self.left -= 1;
        }
        fn next_deadline(&self) -> Option<Moment> {
            (self.left > 0).then_some(self.due)
        }
        fn poll_transmit(&mut self) -> Option<Packet> {
            self.out.pop_front()
        }
    }

    fn run(seed: u64, link: Link, is_ordered: bool) -> Vec<(Moment, u8)> {
        let addresses: [SocketAddr; 2] = [([10, 0, 0, 1], 5060).into(), ([10, 0, 0, 2], 5060).into()];
        let node = |at, to, left| {
            let (due, out, got) = (Moment::ZERO, VecDeque::new(), Vec::new());
            Counter { at, to, left, due, out, got, is_ordered }
        };
        let mut simulation = Simulation::new(seed, link);
        simulation.add(&addresses[..1], node(addresses[0], addresses[1], 200));
        let sink = simulation.add(&addresses[1..], node(addresses[1], addresses[0], 0));
        simulation.run_until_idle(Moment::from_seconds(60)).unwrap();
        simulation.node(sink).got.clone()
    }

    const BAD: Link = Link {
        loss: 0.3,
        duplication: 0.1,
        reordering: 0.3,
        reordering_span: Duration::from_millis(100),
        delay: Delay::Exponential { least: Duration::from_millis(5), mean: Duration::from_millis(10) },
    };

    #[test]
    fn a_seed_repeats_a_run() {
        assert_eq!(run(5, BAD, false), run(5, BAD, false));
        assert_ne!(run(5, BAD, false), run(6, BAD, false));
    }

    #[test]
    fn a_bad_link_loses_doubles_and_reorders() {
        let got = run(1, BAD, false);
        assert!((110..190).contains(&got.len()), "{}", got.len());
        assert!(got.windows(2).any(|pair| pair[0].1 < pair[1].1), "none overtaken");
        let distinct: std::collections::BTreeSet<_> = got.iter().map(|(_, n)| *n).collect();
        assert!(distinct.len() < got.len(), "none doubled");
    }

    #[test]
    fn ordered_packets_arrive_once_and_in_order() {
        let got: Vec<_> = run(1, BAD, true).into_iter().map(|(_, n)| n).collect();
        assert_eq!(got, (1..=200).rev().collect::<Vec<u8>>());
        assert!(run(1, Link::CUT, true).is_empty());
    }

    #[test]
    fn a_limit_is_told() {
        let address: SocketAddr = ([10, 0, 0, 1], 1).into();
        let mut simulation = Simulation::new(1, Link::PERFECT);
        let (due, out, got) = (Moment::from_seconds(9), VecDeque::new(), Vec::new());
        simulation.add(&[address], Counter { at: address, to: address, left: 1, due, out, got, is_ordered: false });
        let busy = simulation.run_until_idle(Moment::from_seconds(8));
        assert_eq!(busy, Err(Busy { in_flight: 0, next_deadline: Some(due) }));
        assert_eq!(simulation.now(), Moment::from_seconds(8));
        assert_eq!(simulation.run_until_idle(Moment::from_seconds(10)), Ok(due + Duration::from_millis(1)));
    }
}
