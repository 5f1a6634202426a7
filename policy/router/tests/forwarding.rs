//! host A - router - host B in three namespaces, on both packet tiers. Catches: a packet that does not arrive or arrives
//! damaged, a mark on the wrong flow or left behind after removal, ECN bits touched, a policer that lets too much through,
//! ARP, hops and ICMP gone wrong. Needs root; without, each test says that it did not run and why.

#![allow(clippy::unwrap_used, reason = "a test ends where its ground gives way")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use strowger_diffserv::{Dscp, Edge, Filter, Prefix};
use strowger_packet::pcapng::Writer;
use strowger_packet::{Topology, UdpBatch, probe};
use strowger_router::{
    DropKind, FlowInstall, InstanceId, InterfaceConfig, RouteConfig, Router, RouterConfig, RouterHandle, TierChoice,
};

const A: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 2);
const B: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 2);

/// The tiers that this machine allows; says which are left out.
fn tiers(test: &str) -> Vec<TierChoice> {
    let capabilities = probe();
    if !capabilities.can_route() {
        eprintln!("{test} DID NOT RUN: {}", capabilities.missing().join("; "));
        return Vec::new();
    }
    if !capabilities.bpf.is_present() {
        eprintln!("{test} DID NOT RUN on AF_XDP: {}", capabilities.missing().join("; "));
        return vec![TierChoice::Tpacket];
    }
    vec![TierChoice::Xdp, TierChoice::Tpacket]
}

struct Bench {
    router: RouterHandle,
    topology: Topology,
}

fn topology() -> Topology {
    Topology::builder("sgrtr")
        .namespace("a")
        .namespace("r")
        .namespace("b")
        .veth(("a", "a0"), ("r", "r0"))
        .veth(("r", "r1"), ("b", "b0"))
        .address("a", "a0", "10.77.1.2/24")
        .address("b", "b0", "10.77.2.2/24")
        .route("a", "default", "10.77.1.1")
        .route("b", "default", "10.77.2.1")
        .build()
        .unwrap()
}

fn config(topology: &Topology, tier: TierChoice) -> RouterConfig {
    let interface = |name: &str, network: &str| InterfaceConfig {
        name: name.into(),
        namespace: Some(topology.name("r").into()),
        network: network.parse().unwrap(),
        edge: Edge::Untrusted,
    };
    RouterConfig {
        interfaces: vec![interface("r0", "10.77.1.1/24"), interface("r1", "10.77.2.1/24")],
        routes: vec![RouteConfig { destination: "10.99.0.0/16".parse().unwrap(), via: Ipv4Addr::new(10, 77, 2, 250) }],
        tier,
        ..RouterConfig::default()
    }
}

fn bench(tier: TierChoice) -> Bench {
    let topology = topology();
    let router = Router::start(config(&topology, tier)).unwrap();
    eprintln!("{}", router.tiers().join("; "));
    Bench { router, topology }
}

impl Bench {
    fn sockets(&self, port: u16) -> (UdpSocket, UdpBatch) {
        let bind = |at: Ipv4Addr| move || UdpSocket::bind((at, port)).unwrap();
        let a = self.topology.within("a", bind(A)).unwrap();
        let b = self.topology.within("b", bind(B)).unwrap();
        (a, UdpBatch::new(b).unwrap())
    }
}

fn set_tos(socket: &UdpSocket, tos: i32) {
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::Ipv4Tos, &tos).unwrap();
}

/// Everything that arrives until `count` did or nothing came for a while: (payload's first octet, TOS).
fn collect(socket: &mut UdpBatch, count: usize) -> Vec<(u8, u8)> {
    let mut seen = Vec::new();
    let mut end = Instant::now() + Duration::from_millis(if count == 0 { 150 } else { 3_000 });
    while seen.len() < count.max(1) && Instant::now() < end {
        let arrived = socket.receive().unwrap();
        for n in 0..arrived {
            let datagram = socket.datagram(n).unwrap();
            seen.push((datagram.payload[0], datagram.tos));
        }
        if arrived > 0 {
            end = end.max(Instant::now() + Duration::from_millis(200));
        } else {
            std::thread::yield_now();
            let mut ready =
                [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(socket.socket()), nix::poll::PollFlags::POLLIN)];
            let _ = nix::poll::poll(&mut ready, nix::poll::PollTimeout::from(20u8));
        }
    }
    seen
}

fn flow(id: u64, port: u16, rate_kbps: u32, burst_octets: u32) -> FlowInstall {
    let filter = Filter {
        source: Some(Prefix::host(A.into())),
        destination: Some(Prefix::host(B.into())),
        protocol: Some(17),
        source_ports: port..=port,
        destination_ports: port..=port,
        dscp: None,
    };
    FlowInstall { id: InstanceId(id), filter, rate_kbps, burst_octets, dscp: Dscp::EF }
}

#[test]
fn qs4_only_the_installed_flow_is_marked_and_only_while_it_is() {
    for tier in tiers("marks") {
        let bench = bench(tier);
        let (a, mut b) = bench.sockets(4000);
        let (other, mut other_b) = bench.sockets(4002);
        // the sender claims EF and sets ECN: the claim is bleached, ECN stays
        for socket in [&a, &other] {
            set_tos(socket, 0xb8 | 1);
        }
        let round = |n: u8, a_tos: u8, b: &mut UdpBatch, other_b: &mut UdpBatch| {
            a.send_to(&[n; 172], SocketAddr::from((B, 4000))).unwrap();
            other.send_to(&[n; 172], SocketAddr::from((B, 4002))).unwrap();
            assert_eq!(collect(b, 1), [(n, a_tos)]);
            assert_eq!(collect(other_b, 1), [(n, 1)]);
        };
        round(1, 0x01, &mut b, &mut other_b);
        bench.router.install(&flow(7, 4000, 100, 2_000)).unwrap();
        round(2, 0xb9, &mut b, &mut other_b);
        let flows = bench.router.flows().unwrap();
        assert_eq!((flows.len(), flows[0].id, flows[0].counters.packets), (1, InstanceId(7), 1));
        assert_eq!(flows[0].counters.octets, 200);
        bench.router.remove(InstanceId(7)).unwrap();
        round(3, 0x01, &mut b, &mut other_b);
        assert!(bench.router.remove(InstanceId(7)).is_err());
        let counters = bench.router.counters().unwrap();
        assert!(counters.forwarded >= 6, "{counters:?}");
        bench.router.stop();
        assert!(bench.router.counters().unwrap_err().to_string().contains("stopped"));
    }
}

#[test]
fn the_policer_drops_above_the_rate() {
    for tier in tiers("policer") {
        let bench = bench(tier);
        let (a, mut b) = bench.sockets(4000);
        a.send_to(&[0; 172], SocketAddr::from((B, 4000))).unwrap(); // addresses are resolved before it counts
        assert_eq!(collect(&mut b, 1).len(), 1);
        // ten packets of 200 octets at once, then one in two seconds
        bench.router.install(&flow(1, 4000, 1, 2_000)).unwrap();
        for n in 0..60u8 {
            a.send_to(&[n; 172], SocketAddr::from((B, 4000))).unwrap();
        }
        let seen = collect(&mut b, 60);
        assert!((10..=12).contains(&seen.len()), "{seen:?}");
        assert_eq!(seen[..10], (0..10u8).map(|n| (n, 0xb8)).collect::<Vec<_>>());
        let counters = bench.router.counters().unwrap();
        assert_eq!(counters.policy_drops.total(), 60 - seen.len() as u64);
    }
}

#[test]
fn media_like_traffic_crosses_both_ways_without_loss_and_is_recorded() {
    for tier in tiers("both ways") {
        let topology = topology();
        let file = std::env::temp_dir().join(format!("strowger-router-{}-{tier:?}.pcapng", std::process::id()));
        let mut config = config(&topology, tier);
        config.capture = Some(Writer::create(&file, "strowger").unwrap());
        let bench = Bench { router: Router::start(config).unwrap(), topology };
        let (a, mut b) = bench.sockets(4000);
        a.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let peer = SocketAddr::from((B, 4000));
        let mut octets = [0; 300];
        for n in 0..400u16 {
            let payload = [n as u8; 172];
            a.send_to(&payload, peer).unwrap();
            assert_eq!(collect(&mut b, 1), [(n as u8, 0)]);
            assert!(b.queue(0, 172, SocketAddr::from((A, 4000)), 0));
            assert_eq!(b.send(), 1);
            assert_eq!(a.recv_from(&mut octets).unwrap(), (172, peer));
            assert_eq!(octets[..172], payload);
        }
        bench.router.stop();
        // each packet both coming and going: 400 there and back, 214 octets, plus blocks
        assert!(std::fs::metadata(&file).unwrap().len() > 4 * 400 * 214);
        std::fs::remove_file(&file).unwrap();
    }
}

/// A raw ICMP socket in host A: sends questions, hears every answer as (type, code).
struct Icmp(UdpSocket);

impl Icmp {
    fn open(bench: &Bench) -> Self {
        use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
        let open = || socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp).unwrap();
        let socket = UdpSocket::from(bench.topology.within("a", open).unwrap());
        socket.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
        Self(socket)
    }

    fn ask_echo(&self, to: [u8; 4]) {
        let mut question = [8, 0, 0, 0, 0x12, 0x34, 0, 1, 9, 9];
        let sum = strowger_packet::frames::internet_checksum(&question);
        question[2..4].copy_from_slice(&sum.to_be_bytes());
        self.0.send_to(&question, SocketAddr::from((to, 0))).unwrap();
    }

    /// Who answered, with the type and code.
    fn hear(&self) -> (std::net::IpAddr, u8, u8) {
        let mut octets = [0; 200];
        let (length, from) = self.0.recv_from(&mut octets).unwrap();
        assert!(length >= 28);
        (from.ip(), octets[20], octets[21])
    }
}

#[test]
fn the_router_answers_for_itself_and_counts_what_it_cannot_carry() {
    for tier in tiers("errors") {
        let bench = bench(tier);
        let icmp = Icmp::open(&bench);
        let near = [10, 77, 1, 1];
        icmp.ask_echo(near);
        assert_eq!(icmp.hear(), (near.into(), 0, 0), "the router itself");
        icmp.ask_echo([10, 77, 2, 1]);
        assert_eq!(icmp.hear(), ([10, 77, 2, 1].into(), 0, 0), "its far side");
        icmp.ask_echo(B.octets());
        assert_eq!(icmp.hear(), (B.into(), 0, 0), "the far host");
        let (a, mut b) = bench.sockets(4000);
        a.set_ttl(1).unwrap();
        a.send_to(&[0; 20], (B, 4000)).unwrap();
        assert_eq!(icmp.hear(), (near.into(), 11, 0), "one hop is not enough");
        a.set_ttl(2).unwrap();
        a.send_to(&[7; 20], (B, 4000)).unwrap();
        assert_eq!(collect(&mut b, 1), [(7, 0)], "two are");
        a.send_to(&[0; 20], SocketAddr::from(([10, 200, 0, 1], 9))).unwrap();
        assert_eq!(icmp.hear(), (near.into(), 3, 0), "no route");
        // a next hop that is not there: the packet waits, is given up after three requests, and its sender hears of it
        a.send_to(&[0; 20], SocketAddr::from(([10, 99, 0, 1], 9))).unwrap();
        assert_eq!(icmp.hear(), (near.into(), 3, 1));
        let counters = bench.router.counters().unwrap();
        for kind in [DropKind::HopsExceeded, DropKind::NoRoute, DropKind::Unresolved] {
            assert_eq!(counters.drops_of(kind), 1, "{kind:?} {counters:?}");
        }
        assert_eq!(counters.drops_of(DropKind::Checksum), 0);
    }
}

#[test]
fn an_interface_that_is_not_there_is_one_clear_sentence() {
    for tier in tiers("missing interface") {
        let topology = topology();
        let mut config = config(&topology, tier);
        config.interfaces[1].name = "r9".into();
        let error = Router::start(config).unwrap_err().to_string();
        assert!(error.contains("`r9`"), "{error}");
    }
}

#[test]
fn without_interfaces_a_router_keeps_its_tables() {
    let router = Router::start(RouterConfig::default()).unwrap();
    router.install(&flow(1, 4000, 100, 2_000)).unwrap();
    assert_eq!(router.flows().unwrap().len(), 1);
    router.remove(InstanceId(1)).unwrap();
    assert!(router.flows().unwrap().is_empty());
    assert!(router.counters().unwrap().ports.is_empty());
}

#[test]
fn a_route_by_an_unconnected_next_hop_is_named() {
    let config = RouterConfig {
        routes: vec![RouteConfig { destination: "0.0.0.0/0".parse().unwrap(), via: A }],
        ..RouterConfig::default()
    };
    let error = Router::start(config).unwrap_err().to_string();
    assert!(error.contains("0.0.0.0/0") && error.contains("10.77.1.2"), "{error}");
}

#[test]
fn commands_from_many_threads_are_all_done() {
    let router = Router::start(RouterConfig::default()).unwrap();
    let failures = Arc::new(Mutex::new(0));
    std::thread::scope(|scope| {
        for t in 0..8u64 {
            let (router, failures) = (router.clone(), failures.clone());
            scope.spawn(move || {
                for n in 0..100 {
                    if router.install(&flow(t * 100 + n, 4000 + n as u16, 100, 2_000)).is_err() {
                        *failures.lock().unwrap() += 1;
                    }
                }
            });
        }
    });
    assert_eq!((*failures.lock().unwrap(), router.flows().unwrap().len()), (0, 800));
}
