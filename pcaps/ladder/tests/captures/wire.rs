//! Writes captures: packets of IPv4 and TCP with their checksums, in pcapng (either byte order) and in the classic format.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub const ETHERNET: u16 = 1;
pub const RAW: u16 = 101;
pub const MTP3: u16 = 141;

/// 2026-11-21T10:00:00Z in ns.
pub const START: u64 = 1_795_255_200_000_000_000;

/// A pcapng file with nanosecond timestamps.
pub struct Pcapng {
    pub bytes: Vec<u8>,
    big_endian: bool,
}

impl Pcapng {
    pub fn new(big_endian: bool) -> Pcapng {
        let mut file = Pcapng { bytes: Vec::new(), big_endian };
        let mut body = file.u32(0x1a2b_3c4d).to_vec();
        body.extend(file.u16(1));
        body.extend(file.u16(0));
        body.extend([0xff; 8]);
        file.block(0x0a0d_0d0a, &body);
        file
    }

    pub fn u32(&self, value: u32) -> [u8; 4] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub fn u16(&self, value: u16) -> [u8; 2] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    pub fn block(&mut self, kind: u32, body: &[u8]) {
        let total = (body.len().next_multiple_of(4) + 12) as u32;
        self.bytes.extend(self.u32(kind));
        self.bytes.extend(self.u32(total));
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes.extend(self.u32(total));
    }

    fn option(&self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut out = [self.u16(code), self.u16(value.len() as u16)].concat();
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    /// `resolution` as in if_tsresol.
    pub fn interface(&mut self, name: &str, link: u16, resolution: u8) {
        let mut body = [self.u16(link), self.u16(0)].concat();
        body.extend(self.u32(65_535));
        body.extend(self.option(2, name.as_bytes()));
        body.extend(self.option(9, &[resolution]));
        body.extend(self.option(0, b""));
        self.block(1, &body);
    }

    /// `units` since 1970; `direction` 1 inbound, 2 outbound, 0 unknown.
    pub fn packet(&mut self, interface: u32, units: u64, direction: u32, octets: &[u8]) {
        let mut body = Vec::new();
        for word in [interface, (units >> 32) as u32, units as u32, octets.len() as u32, octets.len() as u32] {
            body.extend(self.u32(word));
        }
        body.extend(octets);
        body.resize(body.len().next_multiple_of(4), 0);
        if direction != 0 {
            body.extend(self.option(2, &self.u32(direction)));
            body.extend(self.option(0, b""));
        }
        self.block(6, &body);
    }
}

/// A file of the classic format.
pub fn pcap(link: u16, nanos: bool, big_endian: bool, packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let u32 = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let u16 = |value: u16| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut out = u32(if nanos { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }).to_vec();
    out.extend(u16(2));
    out.extend(u16(4));
    out.extend([0; 8]);
    out.extend(u32(65_535));
    out.extend(u32(u32::from(link)));
    // the link type is the last word
    let at = out.len() - 4;
    out.truncate(at);
    out.extend(u32(u32::from(link)));
    for (at, octets) in packets {
        let fraction = at % 1_000_000_000 / if nanos { 1 } else { 1_000 };
        for word in [(at / 1_000_000_000) as u32, fraction as u32, octets.len() as u32, octets.len() as u32] {
            out.extend(u32(word));
        }
        out.extend(octets);
    }
    out
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn checksum(mut sum: u32) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

fn v4(address: &SocketAddr) -> Ipv4Addr {
    match address.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("IPv4 only"),
    }
}

fn pseudo(source: &SocketAddr, destination: &SocketAddr, protocol: u8, length: usize) -> u32 {
    sum(&v4(source).octets()) + sum(&v4(destination).octets()) + u32::from(protocol) + length as u32
}

/// An IPv4 packet.
pub fn ipv4(source: &SocketAddr, destination: &SocketAddr, protocol: u8, dscp: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    fragment(source, destination, protocol, dscp, ttl, (0, 0, false), payload)
}

/// A fragment: identification, offset in octets, more to come.
pub fn fragment(
    source: &SocketAddr,
    destination: &SocketAddr,
    protocol: u8,
    dscp: u8,
    ttl: u8,
    (identification, offset, more): (u16, usize, bool),
    payload: &[u8],
) -> Vec<u8> {
    let mut out = vec![0x45, dscp << 2];
    out.extend(((20 + payload.len()) as u16).to_be_bytes());
    out.extend(identification.to_be_bytes());
    out.extend(((offset / 8) as u16 | if more { 0x2000 } else { 0 }).to_be_bytes());
    out.extend([ttl, protocol, 0, 0]);
    out.extend(v4(source).octets());
    out.extend(v4(destination).octets());
    let check = checksum(sum(&out));
    out[10..12].copy_from_slice(&check);
    out.extend(payload);
    out
}

/// A UDP datagram without its IP header.
pub fn udp_segment(source: &SocketAddr, destination: &SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len();
    let mut out = source.port().to_be_bytes().to_vec();
    out.extend(destination.port().to_be_bytes());
    out.extend((length as u16).to_be_bytes());
    out.extend([0, 0]);
    out.extend(payload);
    let check = checksum(pseudo(source, destination, 17, length) + sum(&out));
    out[6..8].copy_from_slice(&check);
    out
}

pub fn udp(source: &SocketAddr, destination: &SocketAddr, dscp: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    ipv4(source, destination, 17, dscp, ttl, &udp_segment(source, destination, payload))
}

pub fn tcp(
    source: &SocketAddr,
    destination: &SocketAddr,
    sequence: u32,
    ack: u32,
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut out = source.port().to_be_bytes().to_vec();
    out.extend(destination.port().to_be_bytes());
    out.extend(sequence.to_be_bytes());
    out.extend(ack.to_be_bytes());
    out.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    out.extend(payload);
    let check = checksum(pseudo(source, destination, 6, out.len()) + sum(&out));
    out[16..18].copy_from_slice(&check);
    ipv4(source, destination, 6, 0, 64, &out)
}

/// A TCP connection that gives segments.
pub struct Tcp {
    pub client: SocketAddr,
    pub server: SocketAddr,
    sequences: [u32; 2],
}

impl Tcp {
    pub fn new(client: SocketAddr, server: SocketAddr) -> Tcp {
        Tcp { client, server, sequences: [u32::MAX - 20, 7_000] }
    }

    /// SYN, SYN ACK, ACK.
    pub fn open(&mut self) -> Vec<Vec<u8>> {
        let [c, s] = self.sequences;
        self.sequences = [c.wrapping_add(1), s.wrapping_add(1)];
        let [c1, s1] = self.sequences;
        vec![
            tcp(&self.client, &self.server, c, 0, 0x02, b""),
            tcp(&self.server, &self.client, s, c1, 0x12, b""),
            tcp(&self.client, &self.server, c1, s1, 0x10, b""),
        ]
    }

    /// Segments of at most `segment` octets.
    pub fn send(&mut self, from_client: bool, data: &[u8], segment: usize) -> Vec<Vec<u8>> {
        let side = usize::from(!from_client);
        let (from, to) = if from_client { (self.client, self.server) } else { (self.server, self.client) };
        let mut out = Vec::new();
        for part in data.chunks(segment) {
            out.push(tcp(&from, &to, self.sequences[side], self.sequences[1 - side], 0x18, part));
            self.sequences[side] = self.sequences[side].wrapping_add(part.len() as u32);
        }
        out
    }
}

/// An Ethernet frame around an IP packet, with a VLAN tag when `vlan` is not 0.
pub fn ethernet(packet: &[u8], vlan: u16) -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if vlan != 0 {
        out.extend([0x81, 0x00]);
        out.extend(vlan.to_be_bytes());
    }
    out.extend([0x08, 0x00]);
    out.extend(packet);
    out
}
