//! What the classifier and the marker read and write of an IPv4 or IPv6 packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dscp::Dscp;

/// Extension headers that are walked over in search of the ports.
const EXTENSIONS_MAXIMUM: usize = 8;

/// Why a packet cannot be read.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Shorter than its headers or than it says.
    #[error("the packet is shorter than it says")]
    Short,
    /// Neither version 4 nor 6.
    #[error("the packet is neither IPv4 nor IPv6")]
    Version,
    /// The IPv4 header checksum is wrong.
    #[error("the IPv4 header checksum is wrong")]
    Checksum,
}

/// The fields of a packet that rules look at.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// Transport protocol, 17 for UDP.
    pub protocol: u8,
    /// Source and destination port, when there are any and this packet holds them.
    pub ports: Option<(u16, u16)>,
    /// The mark it came with.
    pub dscp: Dscp,
    /// Hops left.
    pub ttl: u8,
    /// Octets of the IP packet, without padding of the link.
    pub octets: usize,
    /// Identification of the datagram when this is a piece of one.
    pub fragment: Option<u32>,
}

fn half(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(octets.get(at..at + 2)?.try_into().ok()?))
}

impl Headers {
    /// Reads the headers of the packet that `ip` begins with.
    ///
    /// # Errors
    /// [`HeaderFault`] for what must be dropped.
    pub fn read(ip: &[u8]) -> Result<Self, HeaderFault> {
        match ip.first().map(|octet| octet >> 4) {
            Some(4) => Self::read_v4(ip),
            Some(6) => Self::read_v6(ip).ok_or(HeaderFault::Short),
            Some(_) => Err(HeaderFault::Version),
            None => Err(HeaderFault::Short),
        }
    }

    fn read_v4(ip: &[u8]) -> Result<Self, HeaderFault> {
        let fixed: &[u8; 20] = ip.first_chunk().ok_or(HeaderFault::Short)?;
        let header_octets = usize::from(fixed[0] & 15) * 4;
        let octets = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if header_octets < 20 || octets < header_octets || ip.len() < octets {
            return Err(HeaderFault::Short);
        }
        if ones_sum(ip.get(..header_octets).unwrap_or_default()) != 0xffff {
            return Err(HeaderFault::Checksum);
        }
        let flags = u16::from_be_bytes([fixed[6], fixed[7]]);
        let (more, offset) = (flags & 0x2000 != 0, flags & 0x1fff);
        let fragment = (more || offset > 0).then(|| u32::from(u16::from_be_bytes([fixed[4], fixed[5]])));
        let payload = ip.get(header_octets..octets).unwrap_or_default();
        Ok(Self {
            source: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]).into(),
            destination: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]).into(),
            protocol: fixed[9],
            ports: if offset == 0 { ports(fixed[9], payload) } else { None },
            dscp: Dscp::from_tos(fixed[1]),
            ttl: fixed[8],
            octets,
            fragment,
        })
    }

    fn read_v6(ip: &[u8]) -> Option<Self> {
        let fixed: &[u8; 40] = ip.first_chunk()?;
        let octets = 40 + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        let ip = ip.get(..octets)?;
        let source: [u8; 16] = fixed[8..24].try_into().ok()?;
        let destination: [u8; 16] = fixed[24..40].try_into().ok()?;
        let (mut protocol, mut at, mut fragment, mut first) = (fixed[6], 40, None, true);
        for _ in 0..EXTENSIONS_MAXIMUM {
            let octets = match protocol {
                0 | 43 | 60 => 8 + 8 * usize::from(*ip.get(at + 1)?),
                44 => {
                    let identification: [u8; 4] = ip.get(at + 4..at + 8)?.try_into().ok()?;
                    fragment = Some(u32::from_be_bytes(identification));
                    first = half(ip, at + 2)? & 0xfff8 == 0;
                    8
                }
                _ => break,
            };
            protocol = *ip.get(at)?;
            at += octets;
            if !first {
                break;
            }
        }
        Some(Self {
            source: Ipv6Addr::from(source).into(),
            destination: Ipv6Addr::from(destination).into(),
            protocol,
            ports: if first { ports(protocol, ip.get(at..)?) } else { None },
            dscp: Dscp::from_tos(fixed[0] << 4 | fixed[1] >> 4),
            ttl: fixed[7],
            octets,
            fragment,
        })
    }
}

/// TCP, UDP, DCCP, SCTP and UDP-Lite begin with the ports.
fn ports(protocol: u8, payload: &[u8]) -> Option<(u16, u16)> {
    if !matches!(protocol, 6 | 17 | 33 | 132 | 136) {
        return None;
    }
    Some((half(payload, 0)?, half(payload, 2)?))
}

fn ones_sum(octets: &[u8]) -> u16 {
    let mut sum: u32 = octets.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Writes one half word of an IPv4 header and corrects the checksum for it (RFC 1624, equation 3).
fn rewrite_half(ip: &mut [u8], at: usize, new: u16) {
    let (Some(old), Some(sum)) = (half(ip, at), half(ip, 10)) else { return };
    let mut total = u32::from(!sum) + u32::from(!old) + u32::from(new);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    for (place, value) in [(at, new), (10, !(total as u16))] {
        if let Some(octets) = ip.get_mut(place..place + 2) {
            octets.copy_from_slice(&value.to_be_bytes());
        }
    }
}

/// Marks the packet, leaving its ECN bits as they are (RFC 3168); the IPv4 checksum follows, IPv6 has none.
pub fn set_dscp(ip: &mut [u8], dscp: Dscp) {
    match ip.first().map(|octet| octet >> 4) {
        Some(4) => {
            if let Some(old) = half(ip, 0) {
                rewrite_half(ip, 0, old & 0xff03 | u16::from(dscp.number()) << 2);
            }
        }
        Some(6) => {
            if let (Some(old), Some(octets)) = (half(ip, 0), ip.get_mut(..2)) {
                octets.copy_from_slice(&(old & 0xf03f | u16::from(dscp.number()) << 6).to_be_bytes());
            }
        }
        _ => {}
    }
}

/// Takes one hop off. `false`, and nothing changed, when the packet has none left to give (1 or 0): it may not be
/// forwarded (RFC 1812 §5.3.1, RFC 8200 §3).
pub fn decrement_ttl(ip: &mut [u8]) -> bool {
    match ip.first().map(|octet| octet >> 4) {
        Some(4) => match half(ip, 8) {
            Some(old) if old >> 8 > 1 => {
                rewrite_half(ip, 8, old - 0x0100);
                true
            }
            _ => false,
        },
        Some(6) => match ip.get_mut(7) {
            Some(hops) if *hops > 1 => {
                *hops -= 1;
                true
            }
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An IPv4 UDP packet with right checksum.
    pub(crate) fn udp(source: [u8; 4], destination: [u8; 4], ports: (u16, u16), tos: u8, payload: usize) -> Vec<u8> {
        let mut ip = vec![0; 28 + payload];
        ip[0] = 0x45;
        ip[1] = tos;
        ip[2..4].copy_from_slice(&((28 + payload) as u16).to_be_bytes());
        ip[8] = 64;
        ip[9] = 17;
        ip[12..16].copy_from_slice(&source);
        ip[16..20].copy_from_slice(&destination);
        let sum = !ones_sum(&ip[..20]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ip[20..22].copy_from_slice(&ports.0.to_be_bytes());
        ip[22..24].copy_from_slice(&ports.1.to_be_bytes());
        ip
    }

    fn udp6(class: u8, payload: usize) -> Vec<u8> {
        let mut ip = vec![0; 48 + payload];
        ip[0] = 0x60 | class >> 4;
        ip[1] = class << 4 | 0x0a; // a piece of flow label that must survive
        ip[4..6].copy_from_slice(&((8 + payload) as u16).to_be_bytes());
        (ip[6], ip[7], ip[23], ip[39]) = (17, 64, 1, 2);
        ip[40..44].copy_from_slice(&[0x10, 0, 0x20, 0]);
        ip
    }

    #[test]
    fn fragments_have_ports_only_in_their_first_piece() {
        let mut first = udp([10, 0, 0, 1], [10, 0, 0, 2], (5, 6), 0, 8);
        rewrite_half(&mut first, 4, 0x1234);
        rewrite_half(&mut first, 6, 0x2000);
        let mut second = first.clone();
        rewrite_half(&mut second, 6, 0x0001);
        let (first, second) = (Headers::read(&first).unwrap(), Headers::read(&second).unwrap());
        assert_eq!((first.fragment, first.ports), (Some(0x1234), Some((5, 6))));
        assert_eq!((second.fragment, second.ports), (Some(0x1234), None));
    }

    #[test]
    fn the_last_hop_is_not_taken() {
        for (before, after) in [(2, Some(1)), (1, None), (0, None)] {
            let mut ip = udp([1; 4], [2; 4], (1, 2), 0, 0);
            let old = half(&ip, 8).unwrap();
            rewrite_half(&mut ip, 8, old & 0xff | before << 8);
            assert_eq!(decrement_ttl(&mut ip).then_some(u16::from(ip[8])), after);
            let mut ip = udp6(0, 0);
            ip[7] = before as u8;
            assert_eq!(decrement_ttl(&mut ip).then_some(u16::from(ip[7])), after);
        }
    }

    #[test]
    fn an_ipv6_packet_is_read_and_marked() {
        let mut ip = udp6(0xb9, 4);
        let headers = Headers::read(&ip).unwrap();
        assert_eq!((headers.ports, headers.dscp, headers.octets), (Some((0x1000, 0x2000)), Dscp::EF, 52));
        set_dscp(&mut ip, Dscp::CS5);
        assert_eq!(Headers::read(&ip).unwrap().dscp, Dscp::CS5);
        assert_eq!((ip[0], ip[1]), (0x6a, 0x1a), "version, ECN and flow label stay");
    }

    proptest! {
        #[test]
        fn marking_and_hops_keep_the_checksum_right_and_all_else_unchanged(
            source: [u8; 4], destination: [u8; 4], ports: (u16, u16), tos: u8, dscp in 0..64u8,
        ) {
            let before = udp(source, destination, ports, tos, 10);
            let mut after = before.clone();
            set_dscp(&mut after, Dscp::new(dscp).unwrap());
            prop_assert!(decrement_ttl(&mut after));
            let headers = Headers::read(&after).unwrap(); // verifies the checksum
            prop_assert_eq!(headers.dscp.number(), dscp);
            prop_assert_eq!(after[1] & 3, tos & 3);
            prop_assert_eq!(headers.ttl, 63);
            prop_assert_eq!(&after[12..], &before[12..]);
            prop_assert_eq!(&after[2..8], &before[2..8]);
        }

        #[test]
        fn arbitrary_octets_are_read_without_harm(
            octets in proptest::collection::vec(any::<u8>(), 0..100), version in 0..16u8, next in prop::sample::select(vec![0u8, 43, 44, 60, 17]),
        ) {
            let mut octets = octets;
            if octets.len() > 6 {
                octets[0] = octets[0] & 15 | version << 4;
                octets[6] = next;
                octets[4] = 0;
            }
            if let Ok(headers) = Headers::read(&octets) {
                prop_assert!(headers.octets <= octets.len());
            }
            set_dscp(&mut octets, Dscp::EF);
            decrement_ttl(&mut octets);
        }
    }
}
