//! From a captured frame to an IP packet or a message signal unit: headers of the link layer, then of IP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Link types of the LINKTYPE registry that are read.
pub mod link_type {
    /// BSD loopback: the address family in the writer's byte order.
    pub const NULL: u16 = 0;
    /// Ethernet.
    pub const ETHERNET: u16 = 1;
    /// IP, as older files write it.
    pub const RAW_OLD: u16 = 12;
    /// IP, as OpenBSD writes it.
    pub const RAW_OPENBSD: u16 = 14;
    /// IP.
    pub const RAW: u16 = 101;
    /// OpenBSD loopback: the address family in network order.
    pub const LOOP: u16 = 108;
    /// Linux cooked, version 1.
    pub const LINUX_SLL: u16 = 113;
    /// MTP2, from the sequence numbers on.
    pub const MTP2: u16 = 140;
    /// MTP3: from the service information octet on.
    pub const MTP3: u16 = 141;
    /// IPv4.
    pub const IPV4: u16 = 228;
    /// IPv6.
    pub const IPV6: u16 = 229;
    /// Linux cooked, version 2.
    pub const LINUX_SLL2: u16 = 276;
}

/// Tags that may be stacked before the IP header.
const TAGS_MAX: usize = 4;
/// IPv6 extension headers that may be chained.
const EXTENSIONS_MAX: usize = 8;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const ETHERTYPE_PPPOE_SESSION: u16 = 0x8864;
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

/// What a frame carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Carried<'a> {
    /// An IP packet, from its header on.
    Ip(&'a [u8]),
    /// A message signal unit, from the service information octet on.
    Msu(&'a [u8]),
    /// Something else (ARP, another link type).
    Other,
}

/// Why a frame cannot be read.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the frame ends inside its {0} header")]
    Short(&'static str),
    #[error("{0}")]
    Wrong(&'static str),
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}

fn by_ethertype(mut ethertype: u16, mut rest: &[u8]) -> Result<Carried<'_>, FrameError> {
    for _ in 0..TAGS_MAX {
        match ethertype {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => return Ok(Carried::Ip(rest)),
            ETHERTYPE_PPPOE_SESSION => {
                // version and type, code, session id, length, then the PPP protocol (RFC 2516 §4)
                let protocol = u16_at(rest, 6).ok_or(FrameError::Short("PPPoE"))?;
                return Ok(match protocol {
                    PPP_IPV4 | PPP_IPV6 => Carried::Ip(rest.get(8..).unwrap_or_default()),
                    _ => Carried::Other,
                });
            }
            tag if ETHERTYPE_VLAN.contains(&tag) => {
                ethertype = u16_at(rest, 2).ok_or(FrameError::Short("VLAN"))?;
                rest = rest.get(4..).unwrap_or_default();
            }
            _ => return Ok(Carried::Other),
        }
    }
    Ok(Carried::Other)
}

/// Takes the link layer off. The flag says whether a cooked header marks the frame as sent by the capturing host.
pub(crate) fn carried(link: u16, frame: &[u8]) -> Result<(Carried<'_>, Option<bool>), FrameError> {
    let carried = match link {
        link_type::ETHERNET => {
            let ethertype = u16_at(frame, 12).ok_or(FrameError::Short("Ethernet"))?;
            by_ethertype(ethertype, frame.get(14..).unwrap_or_default())?
        }
        link_type::LINUX_SLL => {
            let ethertype = u16_at(frame, 14).ok_or(FrameError::Short("Linux cooked"))?;
            let outgoing = u16_at(frame, 0).map(|kind| kind == 4);
            return Ok((by_ethertype(ethertype, frame.get(16..).unwrap_or_default())?, outgoing));
        }
        link_type::LINUX_SLL2 => {
            let ethertype = u16_at(frame, 0).ok_or(FrameError::Short("Linux cooked"))?;
            let rest = frame.get(20..).ok_or(FrameError::Short("Linux cooked"))?;
            return Ok((by_ethertype(ethertype, rest)?, frame.get(10).map(|kind| *kind == 4)));
        }
        link_type::RAW | link_type::RAW_OLD | link_type::RAW_OPENBSD | link_type::IPV4 | link_type::IPV6 => {
            Carried::Ip(frame)
        }
        link_type::NULL | link_type::LOOP => {
            let (family, rest) = frame.split_first_chunk::<4>().ok_or(FrameError::Short("loopback"))?;
            // families of the BSDs and Linux; the writer's byte order is not known, and none is above 255
            match u32::from_le_bytes(*family).min(u32::from_be_bytes(*family)) {
                2 | 10 | 24 | 28 | 30 => Carried::Ip(rest),
                _ => Carried::Other,
            }
        }
        link_type::MTP3 => Carried::Msu(frame),
        link_type::MTP2 => {
            // fill-in and link status units have a length indicator below 3 (Q.703 §2.3.3)
            let length = frame.get(2).ok_or(FrameError::Short("MTP2"))? & 0x3f;
            if length < 3 { Carried::Other } else { Carried::Msu(frame.get(3..).unwrap_or_default()) }
        }
        _ => Carried::Other,
    };
    Ok((carried, None))
}

/// An IP packet, or a fragment of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IpPacket<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub dscp: u8,
    pub ttl: u8,
    pub fragment: Option<Fragment>,
    pub payload: &'a [u8],
}

/// Where a fragment belongs.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub identification: u32,
    /// Octets.
    pub offset: usize,
    pub more: bool,
}

/// Reads an IP header. A capture cut short of the IP length gives what is there.
pub(crate) fn ip(bytes: &[u8]) -> Result<IpPacket<'_>, FrameError> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => ipv4(bytes),
        Some(6) => ipv6(bytes),
        Some(_) => Err(FrameError::Wrong("an IP version other than 4 and 6")),
        None => Err(FrameError::Short("IP")),
    }
}

fn ipv4(bytes: &[u8]) -> Result<IpPacket<'_>, FrameError> {
    let header: &[u8; 20] = bytes.first_chunk().ok_or(FrameError::Short("IPv4"))?;
    let header_octets = usize::from(header[0] & 0x0f) * 4;
    if header_octets < 20 {
        return Err(FrameError::Wrong("an IPv4 header shorter than 20 octets"));
    }
    let mut total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if total == 0 {
        total = bytes.len(); // segmentation offload leaves the length to the card
    }
    if total < header_octets {
        return Err(FrameError::Wrong("an IPv4 length shorter than the header"));
    }
    let payload = bytes.get(header_octets..total.min(bytes.len())).ok_or(FrameError::Short("IPv4"))?;
    let flags = u16::from_be_bytes([header[6], header[7]]);
    let (offset, more) = (usize::from(flags & 0x1fff) * 8, flags & 0x2000 != 0);
    let identification = u32::from(u16::from_be_bytes([header[4], header[5]]));
    Ok(IpPacket {
        source: IpAddr::V4(Ipv4Addr::new(header[12], header[13], header[14], header[15])),
        destination: IpAddr::V4(Ipv4Addr::new(header[16], header[17], header[18], header[19])),
        protocol: header[9],
        dscp: header[1] >> 2,
        ttl: header[8],
        fragment: (offset != 0 || more).then_some(Fragment { identification, offset, more }),
        payload,
    })
}

fn ipv6(bytes: &[u8]) -> Result<IpPacket<'_>, FrameError> {
    let short = FrameError::Short("IPv6");
    let (header, rest) = bytes.split_first_chunk::<40>().ok_or(short)?;
    let address = |from: usize| -> Option<IpAddr> {
        let octets: [u8; 16] = *header.get(from..)?.first_chunk()?;
        Some(IpAddr::V6(Ipv6Addr::from(octets)))
    };
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let mut payload = if length == 0 { rest } else { rest.get(..length).unwrap_or(rest) };
    let mut protocol = header[6];
    let mut fragment = None;
    for _ in 0..EXTENSIONS_MAX {
        let octets = match protocol {
            // hop-by-hop, routing, destination options: length in units of 8 octets beyond the first (RFC 8200 §4)
            0 | 43 | 60 => usize::from(*payload.get(1).ok_or(short)?) * 8 + 8,
            51 => usize::from(*payload.get(1).ok_or(short)?) * 4 + 8,
            44 if fragment.is_none() => {
                let head: &[u8; 8] = payload.first_chunk().ok_or(short)?;
                let word = u16::from_be_bytes([head[2], head[3]]);
                let identification = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
                let (offset, more) = (usize::from(word & 0xfff8), word & 1 != 0);
                // an atomic fragment is whole (RFC 6946)
                fragment = (offset != 0 || more).then_some(Fragment { identification, offset, more });
                8
            }
            _ => break,
        };
        protocol = *payload.first().ok_or(short)?;
        payload = payload.get(octets..).ok_or(short)?;
        if fragment.is_some_and(|fragment| fragment.offset != 0) {
            break; // what follows is the middle of the datagram
        }
    }
    Ok(IpPacket {
        source: address(8).ok_or(short)?,
        destination: address(24).ok_or(short)?,
        protocol,
        dscp: ((header[0] & 0x0f) << 4 | header[1] >> 4) >> 2,
        ttl: header[7],
        fragment,
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPV4: [u8; 24] =
        [0x45, 0xb8, 0, 24, 0, 7, 0x20, 1, 63, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0xaa, 0xbb, 0xcc, 0xdd];

    #[test]
    fn an_ipv4_fragment_under_two_tags_is_read_and_padding_is_not() {
        let mut frame = vec![0; 12];
        frame.extend([0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 6, 0x08, 0x00]);
        frame.extend(IPV4);
        frame.extend([0; 18]);
        let Ok((Carried::Ip(bytes), None)) = carried(link_type::ETHERNET, &frame) else { panic!() };
        let packet = ip(bytes).unwrap();
        assert_eq!((packet.dscp, packet.ttl, packet.protocol), (46, 63, 17));
        assert_eq!(packet.fragment, Some(Fragment { identification: 7, offset: 8, more: true }));
        assert_eq!(packet.payload, [0xaa, 0xbb, 0xcc, 0xdd]);
    }

    #[test]
    fn ipv6_extensions_are_stepped_over() {
        let mut bytes = vec![0x6b, 0x80, 0, 0, 0, 12, 0, 64];
        bytes.extend([0; 32]);
        bytes.extend([17, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
        let packet = ip(&bytes).unwrap();
        assert_eq!((packet.dscp, packet.protocol, packet.payload), (46, 17, &[1u8, 2, 3, 4][..]));
    }

    #[test]
    fn every_link_type_finds_the_packet() {
        let with = |head: &[u8]| [head, &IPV4].concat();
        let sll: Vec<u8> = [0, 4, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0].to_vec();
        let mut sll2 = vec![8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6];
        sll2.extend([0; 8]);
        let mut pppoe = vec![0; 12];
        pppoe.extend([0x88, 0x64, 0x11, 0, 0, 1, 0, 26, 0, 0x21]);
        for (link, frame, outgoing) in [
            (link_type::RAW, with(&[]), None),
            (link_type::NULL, with(&[2, 0, 0, 0]), None),
            (link_type::LOOP, with(&[0, 0, 0, 2]), None),
            (link_type::LINUX_SLL, with(&sll), Some(true)),
            (link_type::LINUX_SLL2, with(&sll2), Some(false)),
            (link_type::ETHERNET, with(&pppoe), None),
        ] {
            assert_eq!(carried(link, &frame), Ok((Carried::Ip(&IPV4), outgoing)), "link type {link}");
        }
        assert_eq!(carried(link_type::MTP3, &[0x85]), Ok((Carried::Msu(&[0x85]), None)));
        assert_eq!(carried(link_type::MTP2, &[0, 0, 9, 0x85]), Ok((Carried::Msu(&[0x85]), None)));
        assert_eq!(carried(link_type::MTP2, &[0, 0, 1, 0]), Ok((Carried::Other, None)));
        assert_eq!(carried(9999, &IPV4), Ok((Carried::Other, None)));
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        assert!(carried(link_type::ETHERNET, &[0; 13]).is_err());
        for length in 0..20 {
            assert!(ip(&IPV4[..length]).is_err());
        }
        assert_eq!(ip(&[0x44; 20]), Err(FrameError::Wrong("an IPv4 header shorter than 20 octets")));
    }
}
