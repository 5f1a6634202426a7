//! From packets to signalling messages and streams.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use bytes::Bytes;
use strowger_cops as cops;
use strowger_isup as isup;
use strowger_osp as osp;
use strowger_sip as sip;

use crate::capture::Limits;
use crate::file::{Packet, Trouble};
use crate::fragment::Fragments;
use crate::http::{self, HttpFramer};
use crate::label::{self, Words};
use crate::link::{self, Carried, IpPacket};
use crate::media::{Datagram, MediaTracker};
use crate::model::Summary;
use crate::sighting::{ConnectionId, Endpoint, Facts, OspFacts, Sighting};
use crate::stream::Stream;
use crate::tcp::{self, Piece, Seen};

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
/// Messages whose copies on other interfaces are recognized at the same time.
const COPIES_MAX: usize = 65_536;
/// Sendings of one message (timers A and E send 11 at most) whose first sight may be corrected.
const SENDINGS_MAX: usize = 16;
/// Interfaces (with direction) that one message is told apart on.
const PLACES_MAX: usize = 16;
/// The same octets again after so long are another message (64*T1, RFC 3261 §17).
const COPY_NANOS: u64 = 32_000_000_000;
/// Octets of a TCP direction kept while it is not known what it carries.
const UNKNOWN_OCTETS_MAX: usize = 8 * 1024;

/// Everything found in a capture, not yet put into calls.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub messages: Vec<Sighting>,
    pub streams: Vec<Stream>,
    pub summary: Summary,
}

/// How often a message was seen where.
#[derive(Debug)]
struct Copies {
    first_at: u64,
    places: Vec<(u64, u32)>,
    occurrences: u32,
    /// The message of each sending, the first [`SENDINGS_MAX`].
    messages: Vec<Option<usize>>,
}

/// What one direction of a TCP connection carries.
#[derive(Debug, Default)]
enum Framing {
    #[default]
    Nothing,
    /// Too little to tell.
    Unknown(Vec<u8>),
    Cops(cops::Framer),
    Http(HttpFramer),
    Sip(Box<sip::stream::Framer>),
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    sides: [(tcp::Direction, Framing); 2],
    used: u64,
}

/// A whole message of a TCP stream.
enum Whole {
    Sip(sip::Message),
    Cops(cops::Message),
    Http(http::HttpMessage),
    Wrong(String),
}

/// Reads packets one by one.
#[derive(Debug)]
pub(crate) struct Dissector {
    limits: Limits,
    found: Found,
    fragments: Fragments,
    connections: HashMap<(SocketAddr, SocketAddr), Connection>,
    connection_ids: u64,
    copies: HashMap<u64, Copies>,
    copies_order: VecDeque<u64>,
    media: MediaTracker,
    peps: HashMap<ConnectionId, String>,
}

impl Dissector {
    pub(crate) fn new(limits: Limits) -> Dissector {
        Dissector {
            limits,
            found: Found::default(),
            fragments: Fragments::new(limits.fragmented_datagrams),
            connections: HashMap::new(),
            connection_ids: 0,
            copies: HashMap::new(),
            copies_order: VecDeque::new(),
            media: MediaTracker::new(limits.streams),
            peps: HashMap::new(),
        }
    }

    /// Takes the next packet of the file.
    pub(crate) fn packet(&mut self, packet: &Packet<'_>) {
        let summary = &mut self.found.summary;
        summary.packets += 1;
        summary.octets += packet.octets.len() as u64;
        let (first, last) = (summary.first_unix_nanos, summary.last_unix_nanos);
        summary.first_unix_nanos = Some(first.map_or(packet.at_unix_nanos, |first| first.min(packet.at_unix_nanos)));
        summary.last_unix_nanos = Some(last.map_or(packet.at_unix_nanos, |last| last.max(packet.at_unix_nanos)));
        let seen =
            Seen { at: packet.at_unix_nanos, frame: packet.frame, offset: packet.offset, interface: packet.interface };
        match link::carried(packet.link_type, packet.octets) {
            Ok((Carried::Msu(unit), _)) => self.unit(unit, seen, packet.outbound),
            Ok((Carried::Ip(bytes), cooked)) => match link::ip(bytes) {
                Ok(ip) => self.ip(&ip, seen, packet.outbound.or(cooked)),
                Err(error) => self.trouble(seen, error.to_string()),
            },
            Ok((Carried::Other, _)) => self.found.summary.other += 1,
            Err(error) => self.trouble(seen, error.to_string()),
        }
    }

    /// The capture is over.
    pub(crate) fn finish(mut self, interfaces: &[String]) -> Found {
        let keys: Vec<_> = self.connections.keys().copied().collect();
        let mut connections: Vec<_> =
            keys.into_iter().filter_map(|key| Some((key, self.connections.remove(&key)?))).collect();
        connections.sort_by_key(|(_, connection)| connection.id);
        for (key, mut connection) in connections {
            self.finish_connection(key, &mut connection);
        }
        self.found.summary.over_limits += self.media.over_limit + self.fragments.given_up;
        self.found.streams = self.media.finish(interfaces);
        self.found.summary.rtp = self.found.streams.iter().map(|stream| stream.packets + stream.duplicates).sum();
        self.found
    }

    fn trouble(&mut self, seen: Seen, what: String) {
        let summary = &mut self.found.summary;
        summary.trouble_count += 1;
        if summary.troubles.len() < self.limits.troubles {
            summary.troubles.push(Trouble { offset: seen.offset, frame: seen.frame, what });
        }
    }

    fn ip(&mut self, packet: &IpPacket<'_>, seen: Seen, outbound: Option<bool>) {
        if let Some(fragment) = packet.fragment {
            let place = place(seen.interface, outbound);
            if let Some(whole) = self.fragments.add(place, packet, fragment) {
                let packet = IpPacket { fragment: None, payload: &whole, ..packet.clone() };
                self.transport(&packet, seen, outbound);
            }
        } else {
            self.transport(packet, seen, outbound);
        }
    }

    fn transport(&mut self, packet: &IpPacket<'_>, seen: Seen, outbound: Option<bool>) {
        let Some([a, b, c, d]) = packet.payload.first_chunk::<4>() else {
            self.found.summary.other += 1;
            return;
        };
        let source = SocketAddr::new(packet.source, u16::from_be_bytes([*a, *b]));
        let destination = SocketAddr::new(packet.destination, u16::from_be_bytes([*c, *d]));
        match packet.protocol {
            PROTOCOL_UDP => {
                let Some(payload) = packet.payload.get(8..) else {
                    return self.trouble(seen, "a UDP header is cut short".to_owned());
                };
                let length =
                    packet.payload.get(4..6).and_then(|two| two.first_chunk()).map(|two| u16::from_be_bytes(*two));
                let octets = usize::from(length.unwrap_or(0)).saturating_sub(8);
                let payload = if octets == 0 { payload } else { payload.get(..octets).unwrap_or(payload) };
                let datagram = Datagram {
                    interface: seen.interface,
                    outbound,
                    source,
                    destination,
                    at: seen.at,
                    dscp: packet.dscp,
                    ttl: packet.ttl,
                    payload,
                };
                self.datagram(&datagram, seen);
            }
            PROTOCOL_TCP => self.segment(packet.payload, source, destination, seen),
            _ => self.found.summary.other += 1,
        }
    }

    fn datagram(&mut self, datagram: &Datagram<'_>, seen: Seen) {
        if looks_like_sip(datagram.payload) {
            let (source, destination) = (Endpoint::Socket(datagram.source), Endpoint::Socket(datagram.destination));
            let place = place(datagram.interface, datagram.outbound);
            match self.occurrence(place, &(source, destination), datagram.payload, seen.at) {
                Occurrence::Copy(message) => {
                    // the earliest sight counts, whatever the order of the interfaces in the file
                    if let Some(message) = message.and_then(|index| self.found.messages.get_mut(index)) {
                        message.at = message.at.min(seen.at);
                    }
                }
                Occurrence::New { key, again } => match sip::Message::parse(Bytes::copy_from_slice(datagram.payload)) {
                    Ok(message) => {
                        let index = self.sip(&message, datagram.source, datagram.destination, seen, again);
                        self.remember(key, index);
                    }
                    Err(error) => {
                        self.trouble(seen, format!("SIP: {error}"));
                        self.remember(key, None);
                    }
                },
            }
        } else if strowger_rtp::is_rtcp(datagram.payload) {
            self.found.summary.rtcp += 1;
        } else if !self.media.datagram(datagram) {
            self.found.summary.other += 1;
        }
    }

    fn unit(&mut self, unit: &[u8], seen: Seen, outbound: Option<bool>) {
        match isup::Msu::parse(unit) {
            Ok(parsed) => {
                let (facts, words) = label::isup_message(&parsed);
                let (source, destination) = (Endpoint::PointCode(facts.origin), Endpoint::PointCode(facts.destination));
                let place = place(seen.interface, outbound);
                if let Occurrence::New { key, .. } = self.occurrence(place, &(source, destination), unit, seen.at) {
                    self.found.summary.isup += 1;
                    let index = self.message(seen, source, destination, words, false, Facts::Isup(facts));
                    self.remember(key, index);
                }
            }
            Err(isup::MsuError::Service(_)) => self.found.summary.other += 1,
            Err(error) => self.trouble(seen, format!("ISUP: {error}")),
        }
    }

    fn segment(&mut self, segment: &[u8], source: SocketAddr, destination: SocketAddr, seen: Seen) {
        let Some(header) = segment.first_chunk::<20>() else {
            return self.trouble(seen, "a TCP header is cut short".to_owned());
        };
        let [_, _, _, _, s0, s1, s2, s3, _, _, _, _, lengths, flags, ..] = *header;
        let Some(data) = segment.get(usize::from(lengths >> 4) * 4..).filter(|_| lengths >> 4 >= 5) else {
            return self.trouble(seen, "a TCP header length does not fit".to_owned());
        };
        let syn = flags & 0x02 != 0;
        if data.is_empty() && !syn {
            return;
        }
        let key = if source <= destination { (source, destination) } else { (destination, source) };
        let mut connection = match self.connections.remove(&key) {
            Some(connection) => connection,
            None => {
                self.make_room();
                self.connection_ids += 1;
                Connection { id: self.connection_ids, sides: Default::default(), used: 0 }
            }
        };
        connection.used = seen.frame;
        let side = usize::from(source != key.0);
        let sequence = u32::from_be_bytes([s0, s1, s2, s3]);
        let id = connection.id;
        if let Some((direction, framing)) = connection.sides.get_mut(side) {
            let gaps = direction.gaps;
            let mut wholes = Vec::new();
            let limit = self.limits.tcp_waiting_octets;
            direction.segment(sequence, syn, data, seen, limit, &mut |piece| framing.piece(piece, &mut wholes));
            self.found.summary.over_limits += direction.gaps - gaps;
            self.wholes(wholes, id, source, destination);
        }
        self.connections.insert(key, connection);
    }

    /// Forgets the connection that was silent longest when there is no room for another.
    fn make_room(&mut self) {
        if self.connections.len() < self.limits.tcp_connections.max(1) {
            return;
        }
        let oldest = self.connections.iter().min_by_key(|(_, connection)| connection.used).map(|(key, _)| *key);
        if let Some((key, mut connection)) = oldest.and_then(|key| Some((key, self.connections.remove(&key)?))) {
            self.finish_connection(key, &mut connection);
            self.found.summary.over_limits += 1;
        }
    }

    fn finish_connection(&mut self, key: (SocketAddr, SocketAddr), connection: &mut Connection) {
        let ends = [(key.0, key.1), (key.1, key.0)];
        for ((direction, framing), (source, destination)) in connection.sides.iter_mut().zip(ends) {
            let mut wholes = Vec::new();
            direction.finish(&mut |piece| framing.piece(piece, &mut wholes));
            self.wholes(wholes, connection.id, source, destination);
        }
    }

    fn wholes(&mut self, wholes: Vec<(Whole, Seen)>, id: ConnectionId, source: SocketAddr, destination: SocketAddr) {
        let (from, to) = (Endpoint::Socket(source), Endpoint::Socket(destination));
        for (whole, seen) in wholes {
            match whole {
                Whole::Sip(message) => {
                    self.sip(&message, source, destination, seen, false);
                }
                Whole::Cops(message) => {
                    self.found.summary.cops += 1;
                    let (mut facts, words) = label::cops_message(&message, id);
                    if let Some(pep_id) = &facts.pep_id {
                        self.peps.insert(id, pep_id.clone());
                    }
                    facts.pep_id = self.peps.get(&id).cloned();
                    if matches!(message.op, cops::Op::KeepAlive) {
                        continue;
                    }
                    self.message(seen, from, to, words, false, Facts::Cops(facts));
                }
                Whole::Http(message) => self.http(&message, id, from, to, seen),
                Whole::Wrong(what) => self.trouble(seen, what),
            }
        }
    }

    fn http(&mut self, message: &http::HttpMessage, id: ConnectionId, from: Endpoint, to: Endpoint, seen: Seen) {
        let status = message.status();
        let payload = osp::multipart::Payload::parse(message.content_type.as_deref(), &message.body);
        let xml = payload.as_ref().map(|payload| payload.xml()).unwrap_or_default();
        if !xml.trim_ascii_start().starts_with(b"<") {
            // an answer without OSP in it matters when it answers an OSP request
            if let Some(status) = status {
                let words = Words { label: format!("HTTP {status}"), detail: label::line(&message.start, 100) };
                let facts = OspFacts {
                    connection: id,
                    message_id: String::new(),
                    answer: true,
                    call_ids: Vec::new(),
                    transaction_id: None,
                    destination_side: false,
                };
                self.message(seen, from, to, words, false, Facts::Osp(facts));
            }
            return;
        }
        match osp::Message::parse(xml) {
            Ok(message) => {
                for component in &message.components {
                    self.found.summary.osp += 1;
                    let (facts, words) = label::osp_component(&message.message_id, component, id);
                    self.message(seen, from, to, words, false, Facts::Osp(facts));
                }
            }
            Err(error) => self.trouble(seen, format!("OSP: {error}")),
        }
    }

    fn sip(
        &mut self,
        message: &sip::Message,
        source: SocketAddr,
        destination: SocketAddr,
        seen: Seen,
        again: bool,
    ) -> Option<usize> {
        self.found.summary.sip += 1;
        let media = label::described_media(message);
        let (facts, words) = label::sip_message(message, source, &media);
        for (address, formats) in media {
            self.media.describe(address, formats);
        }
        self.message(seen, Endpoint::Socket(source), Endpoint::Socket(destination), words, again, Facts::Sip(facts))
    }

    fn message(
        &mut self,
        seen: Seen,
        source: Endpoint,
        destination: Endpoint,
        words: Words,
        retransmission: bool,
        facts: Facts,
    ) -> Option<usize> {
        if self.found.messages.len() >= self.limits.messages {
            self.found.summary.over_limits += 1;
            return None;
        }
        self.found.messages.push(Sighting {
            at: seen.at,
            frame: seen.frame,
            interface: seen.interface,
            source,
            destination,
            label: words.label,
            detail: words.detail,
            retransmission,
            facts,
        });
        Some(self.found.messages.len() - 1)
    }

    /// Whether this is a copy of a message that another interface saw, or the message itself, or sent again: the n-th sight at
    /// one place is the n-th sending.
    fn occurrence(&mut self, place: u64, ends: &(Endpoint, Endpoint), payload: &[u8], at: u64) -> Occurrence {
        let mut hasher = DefaultHasher::new();
        ends.hash(&mut hasher);
        payload.hash(&mut hasher);
        let key = hasher.finish();
        let expired = self.copies.get(&key).is_some_and(|copies| at.saturating_sub(copies.first_at) > COPY_NANOS);
        if expired {
            self.copies.remove(&key);
        }
        if !self.copies.contains_key(&key) {
            if !expired {
                if self.copies.len() >= COPIES_MAX
                    && let Some(oldest) = self.copies_order.pop_front()
                {
                    self.copies.remove(&oldest);
                }
                self.copies_order.push_back(key);
            }
            let copies = Copies { first_at: at, places: vec![(place, 1)], occurrences: 1, messages: Vec::new() };
            self.copies.insert(key, copies);
            return Occurrence::New { key, again: false };
        }
        let Some(copies) = self.copies.get_mut(&key) else { return Occurrence::New { key, again: false } };
        let count = match copies.places.iter_mut().find(|(known, _)| *known == place) {
            Some((_, count)) => {
                *count = count.saturating_add(1);
                *count
            }
            None => {
                if copies.places.len() < PLACES_MAX {
                    copies.places.push((place, 1));
                }
                1
            }
        };
        if count > copies.occurrences {
            copies.occurrences = count;
            return Occurrence::New { key, again: true };
        }
        Occurrence::Copy(copies.messages.get(count as usize - 1).copied().flatten())
    }

    fn remember(&mut self, key: u64, message: Option<usize>) {
        if let Some(copies) = self.copies.get_mut(&key)
            && copies.messages.len() < SENDINGS_MAX
        {
            copies.messages.push(message);
        }
    }
}

enum Occurrence {
    New { key: u64, again: bool },
    Copy(Option<usize>),
}

/// An interface and a direction as one number.
fn place(interface: u32, outbound: Option<bool>) -> u64 {
    let direction = match outbound {
        None => 0,
        Some(false) => 1,
        Some(true) => 2,
    };
    u64::from(interface) * 4 + direction
}

/// A start line of SIP (RFC 3261 §7.1, §7.2).
fn looks_like_sip(payload: &[u8]) -> bool {
    if payload.starts_with(b"SIP/2.0 ") {
        return true;
    }
    if !payload.first().is_some_and(u8::is_ascii_uppercase) {
        return false;
    }
    let searched = payload.get(..2_100).unwrap_or(payload);
    let line = searched.split(|octet| *octet == b'\n').next().unwrap_or_default().trim_ascii_end();
    line.ends_with(b" SIP/2.0")
}

/// A COPS header that could be one: version 1, an operation that exists, a length that is whole words.
fn looks_like_cops(bytes: &[u8]) -> Option<bool> {
    let Some(&[version, op, _, _, a, b, c, d]) = bytes.first_chunk::<8>() else {
        return if bytes.first().is_none_or(|first| matches!(first, 0x10 | 0x11)) { None } else { Some(false) };
    };
    let length = u32::from_be_bytes([a, b, c, d]);
    let length_fits = (8..=cops::MESSAGE_OCTETS_MAX as u32).contains(&length) && length % 4 == 0;
    Some(matches!(version, 0x10 | 0x11) && cops::Op::from_number(op).is_some() && length_fits)
}

impl Framing {
    fn piece(&mut self, piece: Piece<'_>, wholes: &mut Vec<(Whole, Seen)>) {
        match piece {
            Piece::Break => *self = Framing::Nothing,
            Piece::Data(octets, seen) => self.octets(octets, seen, wholes),
        }
    }

    fn octets(&mut self, octets: &[u8], seen: Seen, wholes: &mut Vec<(Whole, Seen)>) {
        match self {
            Framing::Nothing => *self = Framing::begin(octets.to_vec()),
            Framing::Unknown(held) => {
                held.extend_from_slice(octets);
                *self = Framing::begin(std::mem::take(held));
            }
            Framing::Cops(framer) => framer.push(octets),
            Framing::Http(framer) => framer.push(octets),
            Framing::Sip(framer) => framer.push(octets),
        }
        while let Some(whole) = self.next() {
            let lost = matches!(whole, Err(true));
            match whole {
                Ok(whole) => wholes.push((whole, seen)),
                Err(true) => wholes.push((Whole::Wrong("a TCP stream cannot be followed".to_owned()), seen)),
                Err(false) => {}
            }
            if lost {
                *self = Framing::Nothing;
                return;
            }
        }
    }

    /// What a stream is that begins so. What is none of ours is dropped: the next segment may be the start of a message.
    fn begin(held: Vec<u8>) -> Framing {
        let start = held.trim_ascii_start();
        if start.is_empty() {
            return Framing::Nothing;
        }
        if http::begins(start) {
            let mut framer = HttpFramer::default();
            framer.push(start);
            return Framing::Http(framer);
        }
        if looks_like_sip(start) {
            let mut framer = sip::stream::Framer::new(sip::Limits::DEFAULT);
            framer.push(start);
            return Framing::Sip(Box::new(framer));
        }
        match looks_like_cops(&held) {
            Some(true) => {
                let mut framer = cops::Framer::default();
                framer.push(&held);
                Framing::Cops(framer)
            }
            None => Framing::Unknown(held),
            Some(false) => {
                // the first line of SIP or HTTP may come in pieces
                let text = start.iter().all(|octet| octet.is_ascii_graphic() || *octet == b' ');
                if text && held.len() <= UNKNOWN_OCTETS_MAX { Framing::Unknown(held) } else { Framing::Nothing }
            }
        }
    }

    /// The next message; `Err(true)` when the stream is lost, `Err(false)` for something to step over.
    fn next(&mut self) -> Option<Result<Whole, bool>> {
        match self {
            Framing::Nothing | Framing::Unknown(_) => None,
            Framing::Cops(framer) => match framer.next() {
                Ok(Some(bytes)) => Some(Ok(match cops::Message::parse(&bytes) {
                    Ok(message) => Whole::Cops(message),
                    Err(error) => Whole::Wrong(format!("COPS: {error}")),
                })),
                Ok(None) => None,
                Err(_) => Some(Err(true)),
            },
            Framing::Http(framer) => match framer.next() {
                Ok(Some(message)) => Some(Ok(Whole::Http(message))),
                Ok(None) => None,
                Err(http::NotHttp) => Some(Err(true)),
            },
            Framing::Sip(framer) => match framer.next() {
                Ok(Some(sip::stream::Frame::Message(message))) => Some(Ok(Whole::Sip(message))),
                Ok(Some(sip::stream::Frame::KeepAlive)) => Some(Err(false)),
                Ok(None) => None,
                Err(error) if error.is_fatal() => Some(Err(true)),
                Err(error) => Some(Ok(Whole::Wrong(format!("SIP: {error}")))),
            },
        }
    }
}
