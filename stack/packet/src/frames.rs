//! Ethernet, ARP, IPv4 and UDP frames built and read with pnet: what the router says for itself, what tests send, and
//! what captures are made of where no interface was tapped.

use std::net::{Ipv4Addr, SocketAddrV4};

use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{self, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::udp::{self, MutableUdpPacket, UdpPacket};
use pnet::packet::{MutablePacket, Packet};
use pnet::util::MacAddr;

/// Octets of an Ethernet header without tags.
pub const ETHERNET_OCTETS: usize = 14;
/// Octets of an ARP frame for IPv4 over Ethernet.
pub const ARP_OCTETS: usize = ETHERNET_OCTETS + 28;
/// The broadcast address.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// A UDP datagram in an IPv4 packet, as a sender describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpPacketSpec<'a> {
    /// From.
    pub source: SocketAddrV4,
    /// To.
    pub destination: SocketAddrV4,
    /// DSCP (upper six bits) and ECN.
    pub tos: u8,
    /// Hops left.
    pub ttl: u8,
    /// Payload, at most 65 507 octets.
    pub payload: &'a [u8],
}

impl UdpPacketSpec<'_> {
    /// The IPv4 packet with both checksums; `None` when the payload does not fit into a datagram.
    pub fn to_ip_packet(&self) -> Option<Vec<u8>> {
        let udp_octets = 8 + self.payload.len();
        let total = u16::try_from(20 + udp_octets).ok()?;
        let mut octets = vec![0; usize::from(total)];
        let mut ip = MutableIpv4Packet::new(&mut octets)?;
        ip.set_version(4);
        ip.set_header_length(5);
        ip.set_dscp(self.tos >> 2);
        ip.set_ecn(self.tos & 3);
        ip.set_total_length(total);
        ip.set_ttl(self.ttl);
        ip.set_next_level_protocol(IpNextHeaderProtocols::Udp);
        ip.set_source(*self.source.ip());
        ip.set_destination(*self.destination.ip());
        let mut datagram = MutableUdpPacket::new(ip.payload_mut())?;
        datagram.set_source(self.source.port());
        datagram.set_destination(self.destination.port());
        datagram.set_length(udp_octets as u16);
        datagram.set_payload(self.payload);
        let sum = udp::ipv4_checksum(&datagram.to_immutable(), self.source.ip(), self.destination.ip());
        datagram.set_checksum(sum);
        let sum = ipv4::checksum(&ip.to_immutable());
        ip.set_checksum(sum);
        Some(octets)
    }

    /// The same in an Ethernet frame; `None` as [`UdpPacketSpec::to_ip_packet`].
    pub fn to_frame(&self, from: [u8; 6], to: [u8; 6]) -> Option<Vec<u8>> {
        let ip = self.to_ip_packet()?;
        let mut octets = vec![0; ETHERNET_OCTETS + ip.len()];
        let mut frame = MutableEthernetPacket::new(&mut octets)?;
        frame.set_source(MacAddr::from(from));
        frame.set_destination(MacAddr::from(to));
        frame.set_ethertype(EtherTypes::Ipv4);
        frame.set_payload(&ip);
        Some(octets)
    }
}

/// What [`read_udp`] found in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpSeen {
    /// From.
    pub source: SocketAddrV4,
    /// To.
    pub destination: SocketAddrV4,
    /// DSCP and ECN.
    pub tos: u8,
    /// Hops left.
    pub ttl: u8,
    /// Whether the IPv4 header checksum and the UDP checksum are right.
    pub checksums_right: bool,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Reads a UDP datagram out of an Ethernet frame; `None` for anything else.
pub fn read_udp(frame: &[u8]) -> Option<UdpSeen> {
    let frame = EthernetPacket::new(frame)?;
    if frame.get_ethertype() != EtherTypes::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new(frame.payload())?;
    let header = usize::from(ip.get_header_length()) * 4;
    let total = usize::from(ip.get_total_length());
    if ip.get_version() != 4 || header < 20 || ip.get_next_level_protocol() != IpNextHeaderProtocols::Udp {
        return None;
    }
    let datagram = UdpPacket::new(frame.payload().get(header..total)?)?;
    let payload = datagram.packet().get(8..usize::from(datagram.get_length()))?.to_vec();
    let (from, to) = (ip.get_source(), ip.get_destination());
    let udp_right =
        datagram.get_checksum() == 0 || udp::ipv4_checksum(&datagram, &from, &to) == datagram.get_checksum();
    Some(UdpSeen {
        source: SocketAddrV4::new(from, datagram.get_source()),
        destination: SocketAddrV4::new(to, datagram.get_destination()),
        tos: ip.get_dscp() << 2 | ip.get_ecn(),
        ttl: ip.get_ttl(),
        checksums_right: udp_right && internet_checksum(frame.payload().get(..header)?) == 0,
        payload,
    })
}

/// An ARP message for IPv4 over Ethernet (RFC 826).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Arp {
    /// A request (1) or a reply (2).
    pub request: bool,
    /// Who speaks.
    pub sender: ([u8; 6], Ipv4Addr),
    /// Who is asked for, or answered.
    pub target: ([u8; 6], Ipv4Addr),
}

impl Arp {
    /// Writes the frame, from `sender` to the Ethernet address `to`, into the first [`ARP_OCTETS`] of `octets`; `false`
    /// when there is no room.
    pub fn write(&self, to: [u8; 6], octets: &mut [u8]) -> bool {
        let Some(octets) = octets.get_mut(..ARP_OCTETS) else { return false };
        let Some(mut frame) = MutableEthernetPacket::new(octets) else { return false };
        frame.set_source(MacAddr::from(self.sender.0));
        frame.set_destination(MacAddr::from(to));
        frame.set_ethertype(EtherTypes::Arp);
        let Some(mut arp) = MutableArpPacket::new(frame.payload_mut()) else { return false };
        arp.set_hardware_type(ArpHardwareTypes::Ethernet);
        arp.set_protocol_type(EtherTypes::Ipv4);
        arp.set_hw_addr_len(6);
        arp.set_proto_addr_len(4);
        arp.set_operation(if self.request { ArpOperations::Request } else { ArpOperations::Reply });
        arp.set_sender_hw_addr(MacAddr::from(self.sender.0));
        arp.set_sender_proto_addr(self.sender.1);
        arp.set_target_hw_addr(MacAddr::from(self.target.0));
        arp.set_target_proto_addr(self.target.1);
        true
    }

    /// Reads the ARP message in an Ethernet frame; `None` for anything else, also other hardware or protocols.
    pub fn read(frame: &[u8]) -> Option<Self> {
        let frame = EthernetPacket::new(frame)?;
        let arp = ArpPacket::new(frame.payload())?;
        let known = frame.get_ethertype() == EtherTypes::Arp
            && arp.get_hardware_type() == ArpHardwareTypes::Ethernet
            && arp.get_protocol_type() == EtherTypes::Ipv4
            && (arp.get_hw_addr_len(), arp.get_proto_addr_len()) == (6, 4);
        let request = arp.get_operation() == ArpOperations::Request;
        if !known || !(request || arp.get_operation() == ArpOperations::Reply) {
            return None;
        }
        let sender = (arp.get_sender_hw_addr().octets(), arp.get_sender_proto_addr());
        let target = (arp.get_target_hw_addr().octets(), arp.get_target_proto_addr());
        Some(Self { request, sender, target })
    }
}

/// The Internet checksum (RFC 1071) of `octets`; 0 when they hold their own right checksum.
pub fn internet_checksum(octets: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in octets.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair.first().copied().unwrap_or(0), low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];

    #[test]
    fn the_longest_datagram_is_built_and_one_octet_more_is_not() {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
        let build = |octets| {
            let payload = vec![0; octets];
            UdpPacketSpec { source: address, destination: address, tos: 0, ttl: 1, payload: &payload }.to_ip_packet()
        };
        assert!(build(65_507).is_some());
        assert!(build(65_508).is_none());
    }

    proptest! {
        #[test]
        fn udp_comes_back_as_it_was_sent(
            a: u32, b: u32, ports: (u16, u16), tos: u8, ttl: u8, payload in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let source = SocketAddrV4::new(a.into(), ports.0);
            let destination = SocketAddrV4::new(b.into(), ports.1);
            let frame = UdpPacketSpec { source, destination, tos, ttl, payload: &payload }.to_frame(A, B).unwrap();
            prop_assert_eq!(read_udp(&frame), Some(UdpSeen { source, destination, tos, ttl, checksums_right: true, payload }));
        }

        #[test]
        fn arp_comes_back_as_it_was_sent(request: bool, a: [u8; 6], b: u32, c: [u8; 6], d: u32) {
            let arp = Arp { request, sender: (a, b.into()), target: (c, d.into()) };
            let mut octets = [0; ARP_OCTETS];
            prop_assert!(arp.write(BROADCAST, &mut octets));
            prop_assert_eq!(Arp::read(&octets), Some(arp));
            prop_assert!(!arp.write(BROADCAST, &mut octets[1..]));
        }

        #[test]
        fn arbitrary_octets_are_read_without_harm(octets in proptest::collection::vec(any::<u8>(), 0..120), kind in 0..3u8) {
            let mut octets = octets;
            if octets.len() > 14 && kind > 0 {
                octets[12..14].copy_from_slice(if kind == 1 { &[8, 0] } else { &[8, 6] });
            }
            let _ = (read_udp(&octets), Arp::read(&octets));
        }
    }
}
