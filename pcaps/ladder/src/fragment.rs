//! Puts IP fragments together (RFC 791 §3.2, RFC 8200 §4.5), within bounds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;

use crate::link::{Fragment, IpPacket};

/// Longest datagram.
const DATAGRAM_OCTETS_MAX: usize = 65_535;
/// Most pieces of one datagram: 65 535 octets in pieces of an Ethernet are 45.
const PIECES_MAX: usize = 128;

/// The interface is part of the name: copies seen elsewhere are put together on their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    interface: u64,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    identification: u32,
}

#[derive(Debug, Default)]
struct Partial {
    pieces: BTreeMap<usize, Vec<u8>>,
    total: Option<usize>,
}

impl Partial {
    /// The datagram, when nothing is missing. Where pieces overlap the earlier octets count.
    fn whole(&self) -> Option<Vec<u8>> {
        let total = self.total?;
        let mut out: Vec<u8> = Vec::with_capacity(total);
        for (offset, piece) in &self.pieces {
            let known = out.len().checked_sub(*offset)?;
            out.extend_from_slice(piece.get(known..).unwrap_or_default());
        }
        (out.len() >= total).then(|| {
            out.truncate(total);
            out
        })
    }
}

/// Datagrams of which some pieces are missing. When it is full the oldest gives way.
#[derive(Debug)]
pub(crate) struct Fragments {
    limit: usize,
    partial: HashMap<Name, Partial>,
    order: VecDeque<Name>,
    pub given_up: u64,
}

impl Fragments {
    pub(crate) fn new(limit: usize) -> Fragments {
        Fragments { limit: limit.max(1), partial: HashMap::new(), order: VecDeque::new(), given_up: 0 }
    }

    /// Adds a piece; the payload of the datagram when that completes it.
    pub(crate) fn add(&mut self, interface: u64, packet: &IpPacket<'_>, fragment: Fragment) -> Option<Vec<u8>> {
        let end = fragment.offset.checked_add(packet.payload.len())?;
        if end > DATAGRAM_OCTETS_MAX || packet.payload.is_empty() {
            return None;
        }
        let name = Name {
            interface,
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol,
            identification: fragment.identification,
        };
        if !self.partial.contains_key(&name) {
            if self.partial.len() >= self.limit
                && let Some(oldest) = self.order.pop_front()
            {
                self.given_up += u64::from(self.partial.remove(&oldest).is_some());
            }
            self.order.push_back(name.clone());
        }
        let partial = self.partial.entry(name.clone()).or_default();
        if partial.pieces.len() < PIECES_MAX {
            partial.pieces.entry(fragment.offset).or_insert_with(|| packet.payload.to_vec());
        }
        if !fragment.more {
            partial.total = Some(end);
        }
        let whole = partial.whole()?;
        self.partial.remove(&name);
        self.order.retain(|kept| kept != &name);
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn packet(payload: &[u8]) -> IpPacket<'_> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        IpPacket { source: address, destination: address, protocol: 17, dscp: 0, ttl: 9, fragment: None, payload }
    }

    fn piece(identification: u32, offset: usize, more: bool) -> Fragment {
        Fragment { identification, offset, more }
    }

    #[test]
    fn pieces_come_in_any_order_and_twice() {
        let mut fragments = Fragments::new(4);
        assert_eq!(fragments.add(0, &packet(&[9; 4]), piece(1, 16, false)), None);
        assert_eq!(fragments.add(0, &packet(&[2; 8]), piece(1, 8, true)), None);
        assert_eq!(fragments.add(0, &packet(&[2; 8]), piece(1, 8, true)), None);
        assert_eq!(fragments.add(1, &packet(&[1; 8]), piece(1, 0, true)), None, "another interface");
        let whole = fragments.add(0, &packet(&[1; 8]), piece(1, 0, true)).unwrap();
        assert_eq!(whole, [vec![1; 8], vec![2; 8], vec![9; 4]].concat());
    }

    #[test]
    fn the_oldest_gives_way_when_the_table_is_full() {
        let mut fragments = Fragments::new(2);
        for id in 1..=2 {
            fragments.add(0, &packet(&[1; 8]), piece(id, 0, true));
        }
        assert_eq!(fragments.given_up, 0);
        fragments.add(0, &packet(&[1; 8]), piece(3, 0, true));
        assert_eq!(fragments.given_up, 1);
        assert_eq!(fragments.add(0, &packet(&[1; 8]), piece(1, 8, false)), None, "its first piece is gone");
    }
}
