//! Real frames over a veth pair, on both tiers. Catches: a buffer that is lost or handed out twice, a mark or an octet
//! changed on the way, a tier that holds a frame back, a program left on an interface. Needs root; says so without.

#![allow(clippy::unwrap_used, reason = "a test ends where its ground gives way")]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use strowger_packet::frames::{UdpPacketSpec, read_udp};
use strowger_packet::{PortConfig, PortSet, TierChoice, Topology, netns, probe};

fn allowed(test: &str) -> bool {
    let capabilities = probe();
    if !capabilities.can_route() {
        eprintln!("{test} DID NOT RUN: {}", capabilities.missing().join("; "));
    }
    capabilities.can_route()
}

fn chain() -> Topology {
    Topology::builder("sgpkt")
        .namespace("a")
        .namespace("r")
        .namespace("b")
        .veth(("a", "a0"), ("r", "r0"))
        .veth(("r", "r1"), ("b", "b0"))
        .build()
        .unwrap()
}

fn port(topology: &Topology, namespace: &str, interface: &str) -> PortConfig {
    PortConfig { namespace: Some(topology.name(namespace).into()), interface: interface.into() }
}

fn spec(n: u16, payload: &[u8]) -> Vec<u8> {
    let at = |last, port| SocketAddrV4::new(Ipv4Addr::new(10, 0, last, 2), port);
    UdpPacketSpec { source: at(1, n), destination: at(2, 4000), tos: 0xb9, ttl: 64, payload }
        .to_frame([2; 6], [4; 6])
        .unwrap()
}

/// Sends `count` frames a -> r -> b in bursts; r moves each from one port to the other in its buffer.
fn relay(tier: TierChoice, count: u16) {
    let topology = chain();
    let mut ends =
        PortSet::open(&[port(&topology, "a", "a0"), port(&topology, "b", "b0")], TierChoice::Tpacket).unwrap();
    let mut router = PortSet::open(&[port(&topology, "r", "r0"), port(&topology, "r", "r1")], tier).unwrap();
    eprintln!("{}", router.ports()[0].tier);
    let buffers = router.free_buffers();
    let (mut sent, mut seen, mut frames) = (0u16, Vec::new(), Vec::new());
    let end = Instant::now() + Duration::from_secs(20);
    while seen.len() < usize::from(count) && Instant::now() < end {
        for _ in 0..32 {
            if sent < count && usize::from(sent) < seen.len() + 64 {
                let octets = spec(sent, &sent.to_be_bytes().repeat(40));
                let frame = ends.allocate(octets.len()).unwrap();
                ends.octets(&frame).copy_from_slice(&octets);
                ends.transmit(frame, 0).unwrap();
                sent += 1;
            }
        }
        ends.flush();
        let _ = router.wait(Some(Duration::from_millis(5))).unwrap();
        router.receive(0, &mut frames, 64);
        for frame in frames.drain(..) {
            if read_udp(router.octets(&frame)).is_none() {
                router.discard(frame);
                continue;
            }
            let _ = router.octets(&frame).first_mut().map(|octet| *octet = 6);
            router.transmit(frame, 1).unwrap();
        }
        router.flush();
        ends.receive(1, &mut frames, 256);
        for frame in frames.drain(..) {
            if let Some(udp) = read_udp(ends.octets(&frame)) {
                assert_eq!(ends.octets(&frame)[0], 6);
                assert!(udp.checksums_right);
                assert_eq!((udp.tos, udp.payload.len()), (0xb9, 80));
                assert_eq!(udp.payload[..2], udp.source.port().to_be_bytes());
                seen.push(udp.source.port());
            }
            ends.discard(frame);
        }
        ends.flush();
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..count).collect::<Vec<_>>());
    router.flush();
    assert_eq!(router.free_buffers(), buffers, "every buffer came back");
    assert!(router.counters(1).transmitted >= u64::from(count));
}

#[test]
fn af_xdp_moves_frames_between_ports_in_their_buffers() {
    if allowed("af_xdp") && probe().bpf.is_present() {
        relay(TierChoice::Xdp, 6_000); // more than the UMEM has buffers: all come round
    }
}

#[test]
fn tpacket_moves_frames_between_ports_in_their_buffers() {
    if allowed("tpacket") {
        relay(TierChoice::Tpacket, 6_000);
    }
}

#[test]
fn af_xdp_leaves_no_program_behind() {
    if !allowed("af_xdp detach") || !probe().bpf.is_present() {
        return;
    }
    let topology = chain();
    let attached = || {
        let mut shown = std::process::Command::new("ip");
        shown.args(["-n", topology.name("r"), "-d", "link", "show", "dev", "r0"]);
        String::from_utf8(shown.output().unwrap().stdout).unwrap().contains("prog/xdp")
    };
    let ports = [port(&topology, "r", "r0"), port(&topology, "r", "r1")];
    let set = PortSet::open(&ports, TierChoice::Xdp).unwrap();
    assert!(attached());
    // the descriptors are all that holds the program, so a killed process leaves nothing either
    drop(set);
    // a child that another test is just starting holds copies of our descriptors until it executes its program
    let deadline = Instant::now() + Duration::from_secs(5);
    while attached() {
        assert!(Instant::now() < deadline, "the program is still attached to the interface");
    }
    let again = PortSet::open(&ports, TierChoice::Auto).unwrap();
    assert!(again.ports()[1].tier.starts_with("AF_XDP"));
}

#[test]
fn a_missing_interface_is_one_clear_sentence() {
    if !allowed("missing interface") {
        return;
    }
    let topology = chain();
    for tier in [TierChoice::Auto, TierChoice::Xdp, TierChoice::Tpacket] {
        let error = PortSet::open(&[port(&topology, "r", "none")], tier).unwrap_err().to_string();
        assert!(error.contains("`none`"), "{error}");
    }
    let elsewhere = PortConfig { namespace: Some("no-such-namespace".into()), interface: "lo".into() };
    let error = PortSet::open(&[elsewhere], TierChoice::Auto).unwrap_err().to_string();
    assert!(error.contains("ip netns add"), "{error}");
}

#[test]
fn a_topology_is_gone_when_it_is_dropped() {
    if !allowed("topology") {
        return;
    }
    let topology = chain();
    let name = topology.name("a").to_owned();
    assert!(netns::NetNamespace::open(&name).is_ok());
    drop(topology);
    assert!(netns::NetNamespace::open(&name).is_err());
}

#[test]
fn a_capture_of_lo_sees_each_datagram_once() {
    if !allowed("capture") {
        return;
    }
    let topology = Topology::builder("sgpkt").namespace("x").build().unwrap();
    let (mut capture, socket) = topology
        .within("x", || (strowger_packet::capture("lo").unwrap(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap()))
        .unwrap();
    let to = socket.local_addr().unwrap();
    for n in 0..3u8 {
        socket.send_to(&[n; 5], to).unwrap();
    }
    let mut seen = Vec::new();
    while let Some(frame) = capture.next(Duration::from_millis(100)).unwrap() {
        seen.extend(read_udp(frame.octets).map(|udp| udp.payload[0]));
    }
    assert_eq!(seen, [0, 1, 2]);
}
