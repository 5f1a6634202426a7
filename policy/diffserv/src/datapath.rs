//! Rules under opaque names, applied to packets: classify, measure, mark, choose the queue.

use std::collections::{BTreeMap, HashMap, VecDeque};

use strowger_clock::Moment;

use crate::classifier::{Classifier, Filter, FilterFault, InstanceId, Mix};
use crate::dscp::{Dscp, QueueClass};
use crate::headers::{Headers, set_dscp};
use crate::meter::{Colour, Meter, MeterSpec};

/// Datagrams whose first piece is remembered so that the others follow it.
pub const FRAGMENTS_MAXIMUM: usize = 1_024;
/// How long a first piece is remembered, in seconds.
const FRAGMENT_SECONDS: u64 = 2;

/// What becomes of packets of one colour.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Forwarded, with this mark or with the one it has.
    Forward(Option<Dscp>),
    /// Dropped.
    Drop,
}

/// One classifier element and what hangs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which packets.
    pub filter: Filter,
    /// Higher wins.
    pub precedence: u32,
    /// How they are measured; without a meter all are green.
    pub meter: Option<MeterSpec>,
    /// Within the profile.
    pub green: Action,
    /// Between the profile and its excess.
    pub yellow: Action,
    /// Beyond.
    pub red: Action,
}

/// A call's media flow in plain terms: what is within the rate gets the mark, the rest is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowInstall {
    /// Its name.
    pub id: InstanceId,
    /// Its packets.
    pub filter: Filter,
    /// Token rate in kbit/s of IP.
    pub rate_kbps: u32,
    /// Bucket depth in octets.
    pub burst_octets: u32,
    /// Mark within the rate.
    pub dscp: Dscp,
}

/// Precedence of flows made from [`FlowInstall`].
const FLOW_PRECEDENCE: u32 = 1_000;

impl FlowInstall {
    /// The rule that does it.
    pub fn rule(&self) -> Rule {
        Rule {
            filter: self.filter.clone(),
            precedence: FLOW_PRECEDENCE,
            meter: Some(MeterSpec::TokenBucket { rate_kbps: self.rate_kbps, burst_octets: self.burst_octets }),
            green: Action::Forward(Some(self.dscp)),
            yellow: Action::Drop,
            red: Action::Drop,
        }
    }
}

/// Removes, then installs; all of it or nothing. Installing under a name that exists replaces, and starts with a fresh
/// meter; counters go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Names to remove.
    pub removes: Vec<InstanceId>,
    /// Rules to install.
    pub installs: Vec<(InstanceId, Rule)>,
}

/// Why a transaction was rolled back.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// A name to remove that is not installed.
    #[error("{0} is not installed")]
    UnknownInstance(InstanceId),
    /// A filter that cannot be installed.
    #[error("{0}: {1}")]
    Filter(InstanceId, FilterFault),
}

impl TransactionError {
    /// The instance at fault.
    pub fn instance(&self) -> InstanceId {
        match self {
            Self::UnknownInstance(id) | Self::Filter(id, _) => *id,
        }
    }
}

/// Whose marks count at the interface that a packet came in by.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Edge {
    /// A neighbour in the same domain: marks stay.
    #[default]
    Trusted,
    /// A customer or another domain: marks are bleached unless a rule gives one.
    Untrusted,
}

/// Why a packet is not forwarded.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// Its flow was above its rate.
    Policed,
    /// A rule drops it.
    Rule,
    /// Its queue was full.
    QueueFull,
    /// Weighted early drop.
    EarlyRandom,
    /// Expedited forwarding as a whole was above its limit.
    ExpeditedLimit,
}

impl DropReason {
    /// All of them.
    pub const ALL: [DropReason; 5] =
        [Self::Policed, Self::Rule, Self::QueueFull, Self::EarlyRandom, Self::ExpeditedLimit];

    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policed => "policed",
            Self::Rule => "rule",
            Self::QueueFull => "queue-full",
            Self::EarlyRandom => "early-random",
            Self::ExpeditedLimit => "expedited-limit",
        }
    }
}

/// Drops by reason.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct DropCounters([u64; DropReason::ALL.len()]);

impl DropCounters {
    /// Adds one.
    pub fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// Packets dropped for `reason`.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Both together.
    #[must_use]
    pub fn plus(mut self, other: DropCounters) -> DropCounters {
        for (to, from) in self.0.iter_mut().zip(other.0) {
            *to += from;
        }
        self
    }

    /// Packets dropped for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// What is to be done with a packet.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Put it in this queue.
    Forward {
        /// The queue, by the mark that it now carries.
        class: QueueClass,
        /// Its drop precedence.
        colour: Colour,
    },
    /// Drop it; it is counted already.
    Drop(DropReason),
}

/// What one rule has seen.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowCounters {
    /// Packets that matched.
    pub packets: u64,
    /// Octets of IP that matched.
    pub octets: u64,
    /// Of these, packets within the profile.
    pub green_packets: u64,
    /// Packets dropped by the rule.
    pub dropped_packets: u64,
    /// Octets dropped by the rule.
    pub dropped_octets: u64,
}

/// A rule and its counters, for people and reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSnapshot {
    /// Its name.
    pub id: InstanceId,
    /// The rule.
    pub rule: Rule,
    /// What it has seen.
    pub counters: FlowCounters,
}

#[derive(Clone, Debug)]
struct Element {
    rule: Rule,
    meter: Option<Meter>,
    counters: FlowCounters,
}

type FragmentKey = (std::net::IpAddr, std::net::IpAddr, u8, u32);

/// The tables of a router.
#[derive(Clone, Debug, Default)]
pub struct Datapath {
    classifier: Classifier,
    elements: HashMap<InstanceId, Element, std::hash::BuildHasherDefault<Mix>>,
    drops: DropCounters,
    /// What the first pieces of datagrams belonged to. A tree: its keys come from packets, so nobody may choose them to
    /// collide.
    fragments: BTreeMap<FragmentKey, (Option<InstanceId>, Moment)>,
    fragment_order: VecDeque<(FragmentKey, Moment)>,
}

impl Datapath {
    /// No rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rules installed.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Drops by rules and meters, since the beginning.
    pub fn drops(&self) -> DropCounters {
        self.drops
    }

    /// One rule's counters.
    pub fn counters(&self, id: InstanceId) -> Option<FlowCounters> {
        self.elements.get(&id).map(|element| element.counters)
    }

    /// Every rule, by name.
    pub fn snapshot(&self) -> Vec<FlowSnapshot> {
        let one =
            |(id, e): (&InstanceId, &Element)| FlowSnapshot { id: *id, rule: e.rule.clone(), counters: e.counters };
        let mut all: Vec<_> = self.elements.iter().map(one).collect();
        all.sort_by_key(|flow| flow.id);
        all
    }

    /// Removes and installs, in this order.
    ///
    /// # Errors
    /// The first step that cannot be done; the tables, meters and counters are then as they were.
    pub fn apply(&mut self, transaction: &Transaction) -> Result<(), TransactionError> {
        let mut undo: Vec<(InstanceId, Option<Element>)> = Vec::new();
        let result = self.run(transaction, &mut undo);
        if result.is_err() {
            for (id, before) in undo.into_iter().rev() {
                self.elements.remove(&id);
                self.classifier.remove(id);
                if let Some(element) = before {
                    // was in before this transaction, in a state with no fewer filters: cannot be refused
                    let _ = self.classifier.insert(id, element.rule.filter.clone(), element.rule.precedence);
                    self.elements.insert(id, element);
                }
            }
        }
        result
    }

    fn run(
        &mut self,
        transaction: &Transaction,
        undo: &mut Vec<(InstanceId, Option<Element>)>,
    ) -> Result<(), TransactionError> {
        for id in &transaction.removes {
            let before = self.elements.remove(id).ok_or(TransactionError::UnknownInstance(*id))?;
            self.classifier.remove(*id);
            undo.push((*id, Some(before)));
        }
        for (id, rule) in &transaction.installs {
            self.classifier
                .insert(*id, rule.filter.clone(), rule.precedence)
                .map_err(|fault| TransactionError::Filter(*id, fault))?;
            let before = self.elements.remove(id);
            let counters = before.as_ref().map(|element| element.counters).unwrap_or_default();
            undo.push((*id, before));
            self.elements.insert(*id, Element { rule: rule.clone(), meter: rule.meter.map(Meter::new), counters });
        }
        Ok(())
    }

    /// Judges the packet that `ip` begins with and marks it; `headers` were read from it.
    pub fn process(&mut self, now: Moment, ip: &mut [u8], headers: &Headers, edge: Edge) -> Verdict {
        let id = match headers.fragment {
            None => self.classifier.lookup(headers),
            Some(identification) => self.lookup_fragment(now, headers, identification),
        };
        let before = if edge == Edge::Trusted { headers.dscp.colour() } else { Colour::Green };
        let Some(element) = id.and_then(|id| self.elements.get_mut(&id)) else {
            let mark = if edge == Edge::Trusted { headers.dscp } else { Dscp::DEFAULT };
            return forward(ip, headers, mark);
        };
        let octets = headers.octets;
        element.counters.packets += 1;
        element.counters.octets += octets as u64;
        let colour = element.meter.as_mut().map_or(Colour::Green, |meter| meter.measure(now, octets, before));
        let action = match colour {
            Colour::Green => element.rule.green,
            Colour::Yellow => element.rule.yellow,
            Colour::Red => element.rule.red,
        };
        element.counters.green_packets += u64::from(colour == Colour::Green);
        match action {
            Action::Forward(mark) => forward(ip, headers, mark.unwrap_or(headers.dscp)),
            Action::Drop => {
                element.counters.dropped_packets += 1;
                element.counters.dropped_octets += octets as u64;
                let reason = if element.meter.is_some() { DropReason::Policed } else { DropReason::Rule };
                self.drops.count(reason);
                Verdict::Drop(reason)
            }
        }
    }

    /// Later pieces have no ports: they belong where the first one did. A piece that overtakes the first is classified
    /// by its addresses alone.
    fn lookup_fragment(&mut self, now: Moment, headers: &Headers, identification: u32) -> Option<InstanceId> {
        while let Some((key, at)) = self.fragment_order.front().copied() {
            let old = now.saturating_since(at).as_secs() >= FRAGMENT_SECONDS;
            if !old && self.fragment_order.len() < FRAGMENTS_MAXIMUM {
                break;
            }
            self.fragment_order.pop_front();
            if self.fragments.get(&key).is_some_and(|(_, since)| *since == at) {
                self.fragments.remove(&key);
            }
        }
        let key = (headers.source, headers.destination, headers.protocol, identification);
        if headers.ports.is_none() {
            return match self.fragments.get(&key) {
                Some((id, _)) => *id,
                None => self.classifier.lookup(headers),
            };
        }
        let id = self.classifier.lookup(headers);
        self.fragments.insert(key, (id, now));
        self.fragment_order.push_back((key, now));
        id
    }
}

fn forward(ip: &mut [u8], headers: &Headers, mark: Dscp) -> Verdict {
    if mark != headers.dscp {
        set_dscp(ip, mark);
    }
    Verdict::Forward { class: mark.queue_class(), colour: mark.colour() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::Prefix;
    use crate::headers::tests::udp;

    fn flow(id: u64, port: u16) -> FlowInstall {
        let host = |last| Some(Prefix::host([10, 0, 0, last].into()));
        let filter = Filter {
            source: host(1),
            destination: host(2),
            protocol: Some(17),
            source_ports: port..=port,
            destination_ports: port..=port,
            dscp: None,
        };
        FlowInstall { id: InstanceId(id), filter, rate_kbps: 80, burst_octets: 400, dscp: Dscp::EF }
    }

    fn install(flows: &[FlowInstall]) -> Transaction {
        Transaction { removes: vec![], installs: flows.iter().map(|f| (f.id, f.rule())).collect() }
    }

    fn send(datapath: &mut Datapath, now: Moment, port: u16, tos: u8, edge: Edge) -> (Verdict, u8) {
        let mut ip = udp([10, 0, 0, 1], [10, 0, 0, 2], (port, port), tos, 172);
        let headers = Headers::read(&ip).unwrap();
        let verdict = datapath.process(now, &mut ip, &headers, edge);
        assert!(Headers::read(&ip).is_ok(), "the checksum is right");
        (verdict, ip[1])
    }

    const EXPEDITED: Verdict = Verdict::Forward { class: QueueClass::Expedited, colour: Colour::Green };
    const BEST_EFFORT: Verdict = Verdict::Forward { class: QueueClass::BestEffort, colour: Colour::Green };

    #[test]
    fn only_the_installed_flow_is_marked_and_only_within_its_rate() {
        let mut datapath = Datapath::new();
        let now = Moment::ZERO;
        assert_eq!(send(&mut datapath, now, 4000, 1, Edge::Untrusted), (BEST_EFFORT, 1));
        datapath.apply(&install(&[flow(7, 4000)])).unwrap();
        assert_eq!(send(&mut datapath, now, 4000, 1, Edge::Untrusted), (EXPEDITED, 0xb9));
        assert_eq!(send(&mut datapath, now, 4002, 0xb8 | 2, Edge::Untrusted), (BEST_EFFORT, 2), "bleached");
        assert_eq!(send(&mut datapath, now, 4002, 0xb8, Edge::Trusted), (EXPEDITED, 0xb8), "trusted");
        assert_eq!(send(&mut datapath, now, 4000, 0, Edge::Untrusted), (EXPEDITED, 0xb8));
        let dropped = send(&mut datapath, now, 4000, 0, Edge::Untrusted).0;
        assert_eq!(dropped, Verdict::Drop(DropReason::Policed));
        let counters = datapath.counters(InstanceId(7)).unwrap();
        assert_eq!((counters.packets, counters.green_packets, counters.dropped_octets), (3, 2, 200));
        assert_eq!((datapath.drops().of(DropReason::Policed), datapath.drops().total()), (1, 1));
        datapath.apply(&Transaction { removes: vec![InstanceId(7)], installs: vec![] }).unwrap();
        assert_eq!(send(&mut datapath, now, 4000, 3, Edge::Untrusted), (BEST_EFFORT, 3));
        assert!(datapath.is_empty());
    }

    #[test]
    fn a_failed_transaction_changes_nothing_not_even_meters() {
        let mut datapath = Datapath::new();
        datapath.apply(&install(&[flow(1, 4000), flow(2, 4002)])).unwrap();
        send(&mut datapath, Moment::ZERO, 4000, 0, Edge::Untrusted);
        send(&mut datapath, Moment::ZERO, 4000, 0, Edge::Untrusted);
        let before = datapath.snapshot();
        let mut wrong = flow(9, 4008);
        wrong.filter.dscp = Some(64);
        let mut replaced = flow(1, 5000);
        replaced.rate_kbps = 1;
        let mut bad = install(&[replaced, flow(3, 4004), wrong]);
        bad.removes = vec![InstanceId(2)];
        assert_eq!(datapath.apply(&bad), Err(TransactionError::Filter(InstanceId(9), FilterFault::Dscp)));
        let unknown = Transaction { removes: vec![InstanceId(1), InstanceId(77)], installs: vec![] };
        assert_eq!(datapath.apply(&unknown), Err(TransactionError::UnknownInstance(InstanceId(77))));
        assert_eq!(datapath.snapshot(), before);
        // the bucket of flow 1 is still empty
        let verdict = send(&mut datapath, Moment::ZERO, 4000, 0, Edge::Untrusted).0;
        assert_eq!(verdict, Verdict::Drop(DropReason::Policed));
        assert_eq!(send(&mut datapath, Moment::ZERO, 4002, 0, Edge::Untrusted).0, EXPEDITED);
    }

    #[test]
    fn later_pieces_of_a_datagram_follow_the_first() {
        let mut datapath = Datapath::new();
        datapath.apply(&install(&[flow(1, 4000)])).unwrap();
        let piece = |datapath: &mut Datapath, millis, identification: u16, flags: u16| {
            let mut ip = udp([10, 0, 0, 1], [10, 0, 0, 2], (4000, 4000), 0, 20);
            ip[4..6].copy_from_slice(&identification.to_be_bytes());
            ip[6..8].copy_from_slice(&flags.to_be_bytes());
            ip[10..12].fill(0);
            let sum: u32 = ip[..20].chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(c[1])).sum();
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            let headers = Headers::read(&ip).unwrap();
            datapath.process(Moment::from_millis(millis), &mut ip, &headers, Edge::Untrusted)
        };
        assert_eq!(piece(&mut datapath, 0, 5, 0x0003), BEST_EFFORT, "overtook the first");
        assert_eq!(piece(&mut datapath, 0, 5, 0x2000), EXPEDITED);
        assert_eq!(piece(&mut datapath, 1, 5, 0x0003), EXPEDITED);
        assert_eq!(piece(&mut datapath, 1, 6, 0x0003), BEST_EFFORT, "another datagram");
        for n in 0..2 * FRAGMENTS_MAXIMUM as u16 {
            piece(&mut datapath, 2_500, 100 + n, 0x2000);
        }
        assert!(datapath.fragments.len() <= FRAGMENTS_MAXIMUM && datapath.fragment_order.len() <= FRAGMENTS_MAXIMUM);
        assert_eq!(piece(&mut datapath, 2_500, 5, 0x0003), BEST_EFFORT, "forgotten");
    }
}
