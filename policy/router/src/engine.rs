//! The life of a packet: received, classified, measured, marked, routed, queued, sent, all in the buffer it came in.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use strowger_clock::{Moment, Random};
use strowger_diffserv::{
    ClassCounters, Colour, Datapath, DropCounters, Edge, HeaderFault, Headers, QueueClass, Scheduler, SchedulerConfig,
    TokenBucket, Verdict, decrement_ttl,
};
use strowger_packet::frames::{ARP_OCTETS, Arp, BROADCAST, ETHERNET_OCTETS};
use strowger_packet::{Frame, PortCounters, PortSet};

use crate::config::{InterfaceConfig, Network};
use crate::icmp::{self, Problem};
use crate::neighbours::{Neighbours, Resolution};
use crate::routes::Routes;

/// Frames taken from a port before the next one has its turn.
const BATCH: usize = 64;
/// ICMP errors a second, and at once (RFC 1812 §4.3.2.8).
const ICMP_PER_SECOND: u64 = 100;
const ICMP_BURST: u32 = 20;

/// Why the router dropped a packet; what policy dropped is counted in [`DropCounters`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropKind {
    /// Not a readable IPv4 packet.
    Malformed,
    /// Wrong header checksum.
    Checksum,
    /// IPv6 or another protocol that is not forwarded.
    Unsupported,
    /// From or to an address that may not cross a router.
    NotForwardable,
    /// To the router itself, and nothing it answers.
    Local,
    /// No hops left.
    HopsExceeded,
    /// No route to the destination.
    NoRoute,
    /// Longer than the next link carries.
    TooBig,
    /// The next hop did not answer.
    Unresolved,
    /// Too many packets wait for next hops to answer, or no buffer was left to wait in.
    PendingFull,
    /// The transmit ring of the interface was full.
    TransmitFull,
    /// No buffer for something the router wanted to say.
    NoBuffer,
}

impl DropKind {
    /// All of them.
    pub const ALL: [DropKind; 12] = [
        Self::Malformed,
        Self::Checksum,
        Self::Unsupported,
        Self::NotForwardable,
        Self::Local,
        Self::HopsExceeded,
        Self::NoRoute,
        Self::TooBig,
        Self::Unresolved,
        Self::PendingFull,
        Self::TransmitFull,
        Self::NoBuffer,
    ];

    /// For logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Checksum => "checksum",
            Self::Unsupported => "unsupported",
            Self::NotForwardable => "not-forwardable",
            Self::Local => "local",
            Self::HopsExceeded => "hops-exceeded",
            Self::NoRoute => "no-route",
            Self::TooBig => "too-big",
            Self::Unresolved => "unresolved",
            Self::PendingFull => "pending-full",
            Self::TransmitFull => "transmit-full",
            Self::NoBuffer => "no-buffer",
        }
    }
}

/// Everything a router counts since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterCounters {
    /// Packets put on an outgoing interface.
    pub forwarded: u64,
    /// Drops by the router itself, in the order of [`DropKind::ALL`].
    pub drops: [u64; DropKind::ALL.len()],
    /// Drops by policy: meters, rules, queues.
    pub policy_drops: DropCounters,
    /// Each interface: its name and what its port carried.
    pub ports: Vec<(String, PortCounters)>,
    /// Each queue, all interfaces together, in the order of [`QueueClass::ALL`].
    pub classes: [ClassCounters; QueueClass::ALL.len()],
    /// Packet buffers that hold nothing.
    pub free_buffers: usize,
    /// Frames that the capture could not keep up with.
    pub capture_dropped: u64,
}

impl RouterCounters {
    /// Packets that the router itself dropped for `kind`.
    pub fn drops_of(&self, kind: DropKind) -> u64 {
        self.drops[kind as usize]
    }
}

struct Interface {
    network: Network,
    edge: Edge,
    mac: [u8; 6],
    mtu_octets: usize,
    scheduler: Scheduler<Frame>,
}

struct Pending {
    frame: Frame,
    from: usize,
    class: QueueClass,
    colour: Colour,
}

/// Everything that the router's thread owns.
pub(crate) struct Engine {
    pub(crate) ports: PortSet,
    pub(crate) datapath: Datapath,
    interfaces: Vec<Interface>,
    routes: Routes,
    neighbours: Neighbours<Pending>,
    icmp_limit: TokenBucket,
    counters: RouterCounters,
    batch: Vec<Frame>,
}

impl Engine {
    pub(crate) fn new(
        ports: PortSet,
        configs: &[InterfaceConfig],
        routes: Routes,
        scheduler: SchedulerConfig,
        mut random: Random,
    ) -> Self {
        let interfaces = configs
            .iter()
            .zip(ports.ports())
            .map(|(config, port)| Interface {
                network: config.network,
                edge: config.edge,
                mac: port.interface.mac,
                mtu_octets: port.interface.mtu_octets,
                scheduler: Scheduler::new(scheduler, random.fork()),
            })
            .collect();
        Self {
            ports,
            datapath: Datapath::new(),
            interfaces,
            routes,
            neighbours: Neighbours::new(),
            icmp_limit: TokenBucket::new(ICMP_PER_SECOND, ICMP_BURST),
            counters: RouterCounters::default(),
            batch: Vec::with_capacity(BATCH),
        }
    }

    /// Handles what has arrived and what is due; whether there may be more at once.
    pub(crate) fn turn(&mut self, now: Moment) -> bool {
        let mut more = false;
        for port in 0..self.interfaces.len() {
            let mut batch = std::mem::take(&mut self.batch);
            self.ports.receive(port, &mut batch, BATCH);
            more |= batch.len() == BATCH;
            for frame in batch.drain(..) {
                self.frame(now, port, frame);
            }
            self.batch = batch;
        }
        for lost in self.neighbours.timeout(now) {
            self.complain(now, lost.from, Problem::HostUnreachable, &lost.frame);
            self.drop(DropKind::Unresolved, lost.frame);
        }
        while let Some((port, neighbour)) = self.neighbours.poll_request() {
            self.ask(port, neighbour);
        }
        for port in 0..self.interfaces.len() {
            self.send(now, port);
        }
        self.ports.flush();
        more
    }

    /// How long the thread may wait for a frame: until then nothing is due.
    pub(crate) fn patience(&self, now: Moment) -> Option<Duration> {
        let queues = self.interfaces.iter().filter_map(|interface| interface.scheduler.next_deadline());
        queues.chain(self.neighbours.next_deadline()).min().map(|deadline| deadline.saturating_since(now))
    }

    pub(crate) fn counters(&mut self) -> RouterCounters {
        let mut counters = self.counters.clone();
        let own = self.datapath.drops();
        let queues = counters.policy_drops;
        counters.policy_drops = own.plus(queues);
        let names: Vec<String> = self.ports.ports().iter().map(|port| port.interface.name.clone()).collect();
        counters.ports = names.into_iter().enumerate().map(|(i, name)| (name, self.ports.counters(i))).collect();
        for (total, class) in counters.classes.iter_mut().zip(QueueClass::ALL) {
            for interface in &self.interfaces {
                let one = interface.scheduler.counters(class);
                total.packets += one.packets;
                total.octets += one.octets;
                total.dropped += one.dropped;
            }
        }
        counters.free_buffers = self.ports.free_buffers();
        counters
    }

    /// Drops what waits; the buffers go back before the ports close.
    pub(crate) fn close(&mut self) {
        for interface in &mut self.interfaces {
            for frame in interface.scheduler.drain() {
                self.ports.discard(frame);
            }
        }
        self.ports.flush();
    }

    fn drop(&mut self, kind: DropKind, frame: Frame) {
        self.counters.drops[kind as usize] += 1;
        self.ports.discard(frame);
    }

    fn frame(&mut self, now: Moment, port: usize, frame: Frame) {
        let Some(interface) = self.interfaces.get(port) else { return self.ports.discard(frame) };
        let octets = self.ports.octets(&frame);
        let Some(ethernet) = octets.first_chunk::<ETHERNET_OCTETS>() else {
            return self.drop(DropKind::Malformed, frame);
        };
        // group addresses have the lowest bit of the first octet set
        let (for_us, group) = (ethernet[..6] == interface.mac, ethernet[0] & 1 == 1);
        match u16::from_be_bytes([ethernet[12], ethernet[13]]) {
            0x0806 if for_us || group => match Arp::read(octets) {
                Some(arp) => {
                    self.arp(now, port, &arp);
                    self.ports.discard(frame);
                }
                None => self.drop(DropKind::Malformed, frame),
            },
            0x0800 if for_us => self.ipv4(now, port, frame),
            0x0800 | 0x0806 => self.drop(DropKind::NotForwardable, frame),
            _ => self.drop(DropKind::Unsupported, frame),
        }
    }

    fn arp(&mut self, now: Moment, port: usize, arp: &Arp) {
        let Some(interface) = self.interfaces.get(port) else { return };
        let (network, mac) = (interface.network, interface.mac);
        let (sender_mac, sender) = arp.sender;
        // an address outside the network, ours, or a group's cannot be a neighbour's
        if !network.contains(sender) || sender == network.address || sender_mac[0] & 1 == 1 {
            return;
        }
        let for_us = arp.target.1 == network.address;
        for waiting in self.neighbours.learn(now, port, sender, sender_mac, for_us && arp.request) {
            self.enqueue(now, port, sender_mac, waiting);
        }
        if for_us && arp.request {
            let reply = Arp { request: false, sender: (mac, network.address), target: arp.sender };
            self.say_arp(port, sender_mac, &reply);
        }
    }

    fn ask(&mut self, port: usize, neighbour: Ipv4Addr) {
        let Some(interface) = self.interfaces.get(port) else { return };
        let sender = (interface.mac, interface.network.address);
        self.say_arp(port, BROADCAST, &Arp { request: true, sender, target: ([0; 6], neighbour) });
    }

    fn say_arp(&mut self, port: usize, to: [u8; 6], arp: &Arp) {
        let Some(frame) = self.ports.allocate(ARP_OCTETS) else {
            self.counters.drops[DropKind::NoBuffer as usize] += 1;
            return;
        };
        arp.write(to, self.ports.octets(&frame));
        if let Err(frame) = self.ports.transmit(frame, port) {
            self.drop(DropKind::TransmitFull, frame);
        }
    }

    fn ipv4(&mut self, now: Moment, port: usize, frame: Frame) {
        let ip = self.ports.octets(&frame).get_mut(ETHERNET_OCTETS..).unwrap_or_default();
        let headers = match Headers::read(ip) {
            Ok(headers) => headers,
            Err(HeaderFault::Checksum) => return self.drop(DropKind::Checksum, frame),
            Err(HeaderFault::Short | HeaderFault::Version) => return self.drop(DropKind::Malformed, frame),
        };
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (headers.source, headers.destination) else {
            return self.drop(DropKind::Malformed, frame);
        };
        if let Some(at) = self.interfaces.iter().find(|interface| interface.network.address == destination) {
            let reply = icmp::echo_reply(at.network.address, ip);
            match reply {
                Some(reply) => {
                    self.ports.discard(frame);
                    self.say(now, source, &reply);
                }
                None => self.drop(DropKind::Local, frame),
            }
            return;
        }
        if !self.may_cross(source, destination) {
            return self.drop(DropKind::NotForwardable, frame);
        }
        let Some(route) = self.routes.lookup(destination) else {
            self.complain(now, port, Problem::NetUnreachable, &frame);
            return self.drop(DropKind::NoRoute, frame);
        };
        let (Some(incoming), Some(outgoing)) = (self.interfaces.get(port), self.interfaces.get(route.port)) else {
            return self.drop(DropKind::NoRoute, frame);
        };
        let (edge, mtu_octets) = (incoming.edge, outgoing.mtu_octets);
        if headers.ttl <= 1 {
            self.complain(now, port, Problem::TimeExceeded, &frame);
            return self.drop(DropKind::HopsExceeded, frame);
        }
        let ip = self.ports.octets(&frame).get_mut(ETHERNET_OCTETS..).unwrap_or_default();
        if headers.octets > mtu_octets {
            // cutting packets up is left to senders: the flag DF is on in all of today's traffic that is this long
            let whole = ip.get(6).is_some_and(|flags| flags & 0x40 != 0);
            if whole {
                let mtu = u16::try_from(mtu_octets).unwrap_or(u16::MAX);
                self.complain(now, port, Problem::FragmentationNeeded(mtu), &frame);
            }
            return self.drop(DropKind::TooBig, frame);
        }
        let (class, colour) = match self.datapath.process(now, ip, &headers, edge) {
            Verdict::Forward { class, colour } => (class, colour),
            Verdict::Drop(_) => return self.ports.discard(frame),
        };
        decrement_ttl(ip);
        let next_hop = route.via.unwrap_or(destination);
        self.towards(now, route.port, next_hop, Pending { frame, from: port, class, colour });
    }

    /// Sends to a next hop, or waits for its address.
    fn towards(&mut self, now: Moment, port: usize, next_hop: Ipv4Addr, mut packet: Pending) {
        match self.neighbours.resolve(now, port, next_hop) {
            Resolution::Known(mac) => self.enqueue(now, port, mac, packet),
            Resolution::Full => self.drop(DropKind::PendingFull, packet.frame),
            Resolution::Unknown => {
                packet.frame = match self.ports.retain(packet.frame) {
                    Ok(frame) => frame,
                    Err(frame) => return self.drop(DropKind::PendingFull, frame),
                };
                if let Err(packet) = self.neighbours.wait(port, next_hop, packet) {
                    self.drop(DropKind::PendingFull, packet.frame);
                }
            }
        }
    }

    fn enqueue(&mut self, now: Moment, port: usize, mac: [u8; 6], packet: Pending) {
        let Some(interface) = self.interfaces.get_mut(port) else { return self.ports.discard(packet.frame) };
        let octets = self.ports.octets(&packet.frame);
        if let Some(addresses) = octets.first_chunk_mut::<12>() {
            addresses[..6].copy_from_slice(&mac);
            addresses[6..].copy_from_slice(&interface.mac);
        }
        let length = octets.len() - ETHERNET_OCTETS.min(octets.len());
        let result = interface.scheduler.enqueue(now, packet.class, packet.colour, length, packet.frame);
        if let Err((frame, reason)) = result {
            self.counters.policy_drops.count(reason);
            self.ports.discard(frame);
        }
    }

    /// Moves packets from the queues of `port` to its transmit ring, as far as link and ring take them.
    fn send(&mut self, now: Moment, port: usize) {
        while let Some(frame) = self.interfaces.get_mut(port).and_then(|interface| interface.scheduler.dequeue(now)) {
            match self.ports.transmit(frame, port) {
                Ok(()) => self.counters.forwarded += 1,
                Err(frame) => self.drop(DropKind::TransmitFull, frame),
            }
        }
    }

    /// Tells the sender of a packet that came in by `port` what was wrong, unless too much was said lately.
    fn complain(&mut self, now: Moment, port: usize, problem: Problem, frame: &Frame) {
        let Some(source) = self.interfaces.get(port).map(|interface| interface.network.address) else { return };
        let offending = self.ports.octets(frame).get(ETHERNET_OCTETS..).unwrap_or_default();
        let Some(message) = icmp::error(problem, source, offending) else { return };
        let to = offending.get(12..16).and_then(|octets| <[u8; 4]>::try_from(octets).ok()).map(Ipv4Addr::from);
        if let Some(to) = to
            && self.icmp_limit.take(now, 1)
        {
            self.say(now, to, &message);
        }
    }

    /// Sends an IP packet of the router's own.
    fn say(&mut self, now: Moment, to: Ipv4Addr, ip: &[u8]) {
        let Some(route) = self.routes.lookup(to) else { return };
        let Some(frame) = self.ports.allocate(ETHERNET_OCTETS + ip.len()) else {
            self.counters.drops[DropKind::NoBuffer as usize] += 1;
            return;
        };
        let octets = self.ports.octets(&frame);
        if let Some(kind) = octets.get_mut(12..14) {
            kind.copy_from_slice(&[0x08, 0x00]);
        }
        if let Some(payload) = octets.get_mut(ETHERNET_OCTETS..) {
            payload.copy_from_slice(ip);
        }
        let (class, colour) = (QueueClass::Signalling, Colour::Green);
        self.towards(now, route.port, route.via.unwrap_or(to), Pending { frame, from: route.port, class, colour });
    }

    /// Addresses that may not be forwarded from or to (RFC 1812 §5.3.7, §5.3.5; link-local RFC 3927 §2.7).
    fn may_cross(&self, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
        let group = |address: Ipv4Addr| address.is_multicast() || address.is_broadcast() || address.octets()[0] >= 240;
        let nowhere = |address: Ipv4Addr| address.octets()[0] == 0 || address.is_loopback() || address.is_link_local();
        let broadcast = self.interfaces.iter().any(|i| i.network.broadcast() == Some(destination));
        !(group(source) || group(destination) || nowhere(source) || nowhere(destination) || broadcast)
    }
}
