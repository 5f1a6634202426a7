//! The multi-field classifier: filters of the same shape (prefix lengths, which fields are exact) share a hash table, so
//! that a lookup costs one probe per shape, however many flows there are.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::headers::Headers;

/// Most filters of one classifier.
pub const FILTERS_MAXIMUM: usize = 65_536;
/// Most shapes; real policies have a handful.
pub const SHAPES_MAXIMUM: usize = 256;

/// An opaque name that whoever installs gives, and removes by.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub u64);

impl std::fmt::Display for InstanceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "instance {}", self.0)
    }
}

/// An address prefix of one family.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// The address; bits beyond the length are ignored.
    pub address: IpAddr,
    /// Bits that count.
    pub bits: u8,
}

impl Prefix {
    /// One address.
    pub fn host(address: IpAddr) -> Self {
        Self { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && mask(left(address), self.bits) == mask(left(self.address), self.bits)
    }
}

/// What packets a rule is about. `None` and the whole range are wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Sender; `None` for any, of both families when the destination is any too.
    pub source: Option<Prefix>,
    /// Receiver.
    pub destination: Option<Prefix>,
    /// IP protocol.
    pub protocol: Option<u8>,
    /// Sender's port.
    pub source_ports: RangeInclusive<u16>,
    /// Receiver's port.
    pub destination_ports: RangeInclusive<u16>,
    /// The mark a packet comes with.
    pub dscp: Option<u8>,
}

impl Filter {
    /// Everything.
    pub fn any() -> Self {
        Self {
            source: None,
            destination: None,
            protocol: None,
            source_ports: 0..=u16::MAX,
            destination_ports: 0..=u16::MAX,
            dscp: None,
        }
    }
}

/// Why a filter is refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterFault {
    /// The two prefixes are of different families.
    #[error("source and destination are of different address families")]
    Families,
    /// More bits than the family has.
    #[error("a prefix is longer than its address")]
    PrefixLength,
    /// A range that ends before it starts.
    #[error("a port range is empty")]
    EmptyRange,
    /// A DSCP above 63.
    #[error("a DSCP is above 63")]
    Dscp,
    /// [`FILTERS_MAXIMUM`] or [`SHAPES_MAXIMUM`] is reached.
    #[error("the classifier is full")]
    Full,
}

/// Which fields of a key count.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
struct Shape {
    family: u8,
    source_bits: u8,
    destination_bits: u8,
    protocol: bool,
    source_port: bool,
    destination_port: bool,
    dscp: bool,
}

/// The fields themselves, zero where they do not count.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: u128,
    destination: u128,
    ports: u32,
    protocol: u8,
    dscp: u8,
}

#[derive(Clone, Debug)]
struct Entry {
    id: InstanceId,
    precedence: u32,
    /// Ranges that are neither one port nor all.
    source_ports: Option<RangeInclusive<u16>>,
    destination_ports: Option<RangeInclusive<u16>>,
}

#[derive(Clone, Debug, Default)]
struct Table {
    entries: HashMap<Key, Vec<Entry>, BuildHasherDefault<Mix>>,
    /// Filters by precedence: the highest bounds what this table can offer.
    precedences: BTreeMap<u32, usize>,
}

/// Filters with precedences: the highest one that matches wins, and the lowest instance among equals.
#[derive(Clone, Debug, Default)]
pub struct Classifier {
    /// Highest possible precedence first.
    tables: Vec<(Shape, Table)>,
    filters: HashMap<InstanceId, (Filter, u32), BuildHasherDefault<Mix>>,
}

impl Classifier {
    /// No filters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Filters it holds.
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Puts a filter in, in the place of what `id` was before.
    ///
    /// # Errors
    /// [`FilterFault`]; the classifier is then as it was.
    pub fn insert(&mut self, id: InstanceId, filter: Filter, precedence: u32) -> Result<(), FilterFault> {
        let shapes = shapes(&filter)?;
        let full = self.filters.len() >= FILTERS_MAXIMUM && !self.filters.contains_key(&id);
        let fresh = shapes.iter().filter(|shape| !self.tables.iter().any(|(known, _)| known == *shape)).count();
        if full || self.tables.len() + fresh > SHAPES_MAXIMUM {
            return Err(FilterFault::Full);
        }
        self.remove(id);
        for shape in shapes {
            let position = match self.tables.iter().position(|(known, _)| *known == shape) {
                Some(position) => position,
                None => {
                    self.tables.push((shape, Table::default()));
                    self.tables.len() - 1
                }
            };
            let Some((_, table)) = self.tables.get_mut(position) else { continue };
            let bucket = table.entries.entry(filter_key(&filter, &shape)).or_default();
            let at = bucket
                .partition_point(|e| (e.precedence, std::cmp::Reverse(e.id)) > (precedence, std::cmp::Reverse(id)));
            bucket.insert(
                at,
                Entry {
                    id,
                    precedence,
                    source_ports: (!shape.source_port).then(|| filter.source_ports.clone()).filter(|r| !is_all(r)),
                    destination_ports: (!shape.destination_port)
                        .then(|| filter.destination_ports.clone())
                        .filter(|r| !is_all(r)),
                },
            );
            *table.precedences.entry(precedence).or_default() += 1;
        }
        self.filters.insert(id, (filter, precedence));
        self.sort();
        Ok(())
    }

    /// Takes a filter out; `None` when there is none of that name.
    pub fn remove(&mut self, id: InstanceId) -> Option<(Filter, u32)> {
        let (filter, precedence) = self.filters.remove(&id)?;
        for shape in shapes(&filter).unwrap_or_default() {
            let Some((_, table)) = self.tables.iter_mut().find(|(known, _)| *known == shape) else { continue };
            let key = filter_key(&filter, &shape);
            if let Some(bucket) = table.entries.get_mut(&key) {
                bucket.retain(|entry| entry.id != id);
                if bucket.is_empty() {
                    table.entries.remove(&key);
                }
            }
            if let Some(count) = table.precedences.get_mut(&precedence) {
                *count -= 1;
                if *count == 0 {
                    table.precedences.remove(&precedence);
                }
            }
        }
        self.tables.retain(|(_, table)| !table.entries.is_empty());
        self.sort();
        Some((filter, precedence))
    }

    fn sort(&mut self) {
        self.tables.sort_by_key(|(_, table)| std::cmp::Reverse(table.precedences.last_key_value().map(|(p, _)| *p)));
    }

    /// The filter that a packet belongs to.
    pub fn lookup(&self, packet: &Headers) -> Option<InstanceId> {
        let mut best: Option<(u32, InstanceId)> = None;
        for (shape, table) in &self.tables {
            let bound = table.precedences.last_key_value().map_or(0, |(precedence, _)| *precedence);
            if best.is_some_and(|(precedence, _)| precedence > bound) {
                break;
            }
            let Some(key) = packet_key(packet, shape) else { continue };
            let Some(bucket) = table.entries.get(&key) else { continue };
            let fits = |range: &Option<RangeInclusive<u16>>, port: Option<u16>| match (range, port) {
                (None, _) => true,
                (Some(range), Some(port)) => range.contains(&port),
                (Some(_), None) => false,
            };
            let found = bucket.iter().find(|entry| {
                fits(&entry.source_ports, packet.ports.map(|p| p.0))
                    && fits(&entry.destination_ports, packet.ports.map(|p| p.1))
            });
            if let Some(entry) = found {
                let better = best.is_none_or(|(p, id)| (entry.precedence, id) > (p, entry.id));
                if better {
                    best = Some((entry.precedence, entry.id));
                }
            }
        }
        best.map(|(_, id)| id)
    }
}

fn is_all(range: &RangeInclusive<u16>) -> bool {
    *range == (0..=u16::MAX)
}

/// The address in the upper bits, so that prefix lengths mean the same for both families.
fn left(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn mask(value: u128, bits: u8) -> u128 {
    if bits == 0 { 0 } else { value & (u128::MAX << (128 - u32::from(bits.min(128)))) }
}

/// One shape, or one for each family when the filter names none.
fn shapes(filter: &Filter) -> Result<Vec<Shape>, FilterFault> {
    let mut families = Vec::with_capacity(2);
    for prefix in [&filter.source, &filter.destination].into_iter().flatten() {
        let (family, most) = if prefix.address.is_ipv4() { (4, 32) } else { (6, 128) };
        if prefix.bits > most {
            return Err(FilterFault::PrefixLength);
        }
        families.push(family);
    }
    families.dedup();
    match families.len() {
        0 => families = vec![4, 6],
        1 => {}
        _ => return Err(FilterFault::Families),
    }
    if filter.source_ports.is_empty() || filter.destination_ports.is_empty() {
        return Err(FilterFault::EmptyRange);
    }
    if filter.dscp.is_some_and(|dscp| dscp > 63) {
        return Err(FilterFault::Dscp);
    }
    let one = |range: &RangeInclusive<u16>| range.start() == range.end();
    let shape = |family| Shape {
        family,
        source_bits: filter.source.map_or(0, |p| p.bits),
        destination_bits: filter.destination.map_or(0, |p| p.bits),
        protocol: filter.protocol.is_some(),
        source_port: one(&filter.source_ports),
        destination_port: one(&filter.destination_ports),
        dscp: filter.dscp.is_some(),
    };
    Ok(families.into_iter().map(shape).collect())
}

fn filter_key(filter: &Filter, shape: &Shape) -> Key {
    let address = |prefix: Option<Prefix>| prefix.map_or(0, |p| mask(left(p.address), p.bits));
    let port = |counts: bool, range: &RangeInclusive<u16>| if counts { u32::from(*range.start()) } else { 0 };
    Key {
        source: address(filter.source),
        destination: address(filter.destination),
        ports: port(shape.source_port, &filter.source_ports) << 16
            | port(shape.destination_port, &filter.destination_ports),
        protocol: filter.protocol.unwrap_or(0),
        dscp: filter.dscp.unwrap_or(0),
    }
}

/// `None` when the packet lacks a field that counts.
fn packet_key(packet: &Headers, shape: &Shape) -> Option<Key> {
    let family = if packet.source.is_ipv4() { 4 } else { 6 };
    let needs_ports = shape.source_port || shape.destination_port;
    if family != shape.family || needs_ports && packet.ports.is_none() {
        return None;
    }
    let (source_port, destination_port) = packet.ports.unwrap_or_default();
    let port = |counts: bool, port: u16| if counts { u32::from(port) } else { 0 };
    Some(Key {
        source: mask(left(packet.source), shape.source_bits),
        destination: mask(left(packet.destination), shape.destination_bits),
        ports: port(shape.source_port, source_port) << 16 | port(shape.destination_port, destination_port),
        protocol: if shape.protocol { packet.protocol } else { 0 },
        dscp: if shape.dscp { packet.dscp.number() } else { 0 },
    })
}

/// A fast hash without a secret. Safe here: only the policy server puts keys in, packets merely look them up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.write_u64(u64::from(*octet));
        }
    }
    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }
    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }
    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(29) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 31;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::tests::udp;
    use proptest::prelude::*;

    fn packet(source: [u8; 4], destination: [u8; 4], ports: (u16, u16)) -> Headers {
        Headers::read(&udp(source, destination, ports, 0, 0)).unwrap()
    }

    fn v4(address: [u8; 4], bits: u8) -> Option<Prefix> {
        Some(Prefix { address: address.into(), bits })
    }

    #[test]
    fn the_highest_precedence_wins_and_removal_uncovers_the_next() {
        let mut classifier = Classifier::new();
        classifier.insert(InstanceId(1), Filter::any(), 1).unwrap();
        let net = Filter { source: v4([10, 1, 0, 0], 16), ..Filter::any() };
        classifier.insert(InstanceId(2), net, 10).unwrap();
        let flow = Filter {
            source: v4([10, 1, 2, 3], 32),
            destination: v4([10, 9, 9, 9], 32),
            protocol: Some(17),
            source_ports: 5000..=5000,
            destination_ports: 6000..=6000,
            dscp: None,
        };
        classifier.insert(InstanceId(3), flow, 100).unwrap();
        let seen = packet([10, 1, 2, 3], [10, 9, 9, 9], (5000, 6000));
        assert_eq!(classifier.lookup(&seen), Some(InstanceId(3)));
        assert_eq!(classifier.lookup(&packet([10, 1, 2, 3], [10, 9, 9, 9], (5000, 6001))), Some(InstanceId(2)));
        assert_eq!(classifier.lookup(&packet([10, 2, 2, 3], [10, 9, 9, 9], (5000, 6000))), Some(InstanceId(1)));
        for left in [Some(2), Some(1), None] {
            let id = classifier.lookup(&seen).unwrap();
            assert!(classifier.remove(id).is_some());
            assert_eq!(classifier.lookup(&seen), left.map(InstanceId));
        }
        assert!(classifier.is_empty());
    }

    #[test]
    fn filters_that_cannot_be_are_refused() {
        let mut classifier = Classifier::new();
        let v6 = Some(Prefix::host("::1".parse().unwrap()));
        #[allow(clippy::reversed_empty_ranges, reason = "that is the case under test")]
        let cases = [
            (Filter { source: v4([1; 4], 32), destination: v6, ..Filter::any() }, FilterFault::Families),
            (Filter { source: v4([1; 4], 33), ..Filter::any() }, FilterFault::PrefixLength),
            (Filter { source_ports: 2..=1, ..Filter::any() }, FilterFault::EmptyRange),
            (Filter { dscp: Some(64), ..Filter::any() }, FilterFault::Dscp),
        ];
        for (filter, fault) in cases {
            assert_eq!(classifier.insert(InstanceId(1), filter, 1), Err(fault));
        }
        assert!(classifier.is_empty());
    }

    #[test]
    fn the_last_filter_fits_and_one_more_does_not() {
        let mut classifier = Classifier::new();
        let filter = |n: u32| Filter { source: Some(Prefix::host(IpAddr::V4(n.into()))), ..Filter::any() };
        for n in 0..FILTERS_MAXIMUM as u32 {
            classifier.insert(InstanceId(n.into()), filter(n), 5).unwrap();
        }
        let more = FILTERS_MAXIMUM as u32;
        assert_eq!(classifier.insert(InstanceId(more.into()), filter(more), 5), Err(FilterFault::Full));
        assert_eq!(classifier.insert(InstanceId(0), filter(more), 5), Ok(()), "replacing needs no room");
    }

    fn small_filter() -> impl Strategy<Value = (Filter, u32)> {
        let prefix = || proptest::option::of((0..4u8, prop::sample::select(vec![0u8, 8, 24, 31, 32])));
        let range = || {
            (0..4u16, 0..4u16, any::<bool>())
                .prop_map(|(a, b, all)| if all { 0..=u16::MAX } else { a.min(b)..=a.max(b) })
        };
        (prefix(), prefix(), proptest::option::of(16..18u8), range(), range(), 0..5u32).prop_map(
            |(s, d, protocol, sp, dp, precedence)| {
                let prefix =
                    |p: Option<(u8, u8)>| p.map(|(last, bits)| Prefix { address: [10, 0, 0, last].into(), bits });
                let filter = Filter {
                    source: prefix(s),
                    destination: prefix(d),
                    protocol,
                    source_ports: sp,
                    destination_ports: dp,
                    dscp: None,
                };
                (filter, precedence)
            },
        )
    }

    fn matches(filter: &Filter, packet: &Headers) -> bool {
        let (s, d) = packet.ports.unwrap();
        filter.source.is_none_or(|p| p.contains(packet.source))
            && filter.destination.is_none_or(|p| p.contains(packet.destination))
            && filter.protocol.is_none_or(|p| p == packet.protocol)
            && filter.source_ports.contains(&s)
            && filter.destination_ports.contains(&d)
    }

    proptest! {
        #[test]
        fn the_tables_agree_with_a_plain_search(
            filters in proptest::collection::vec(small_filter(), 0..40), removed in proptest::collection::vec(0..40u64, 0..20),
            packets in proptest::collection::vec((0..4u8, 0..4u8, 0..4u16, 0..4u16), 1..20),
        ) {
            let mut classifier = Classifier::new();
            let mut plain = BTreeMap::new();
            for (n, (filter, precedence)) in filters.into_iter().enumerate() {
                classifier.insert(InstanceId(n as u64), filter.clone(), precedence).unwrap();
                plain.insert(n as u64, (filter, precedence));
            }
            for n in removed {
                prop_assert_eq!(classifier.remove(InstanceId(n)), plain.remove(&n));
            }
            for (s, d, sp, dp) in packets {
                let packet = packet([10, 0, 0, s], [10, 0, 0, d], (sp, dp));
                let best = plain.iter().filter(|(_, (f, _))| matches(f, &packet)).max_by_key(|(n, (_, p))| (*p, std::cmp::Reverse(**n)));
                prop_assert_eq!(classifier.lookup(&packet), best.map(|(n, _)| InstanceId(*n)));
            }
        }
    }
}
