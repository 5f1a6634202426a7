//! Follows RTP streams: which datagrams are RTP, and what each stream's reception is.

use std::collections::HashMap;
use std::net::SocketAddr;

use strowger_clock::Moment;
use strowger_rtp::{Arrival, Reception};

use crate::stream::{Stream, mean_opinion_score};

/// Packets in step after which something is RTP that no SDP speaks of.
const CONFIRMING_PACKETS: u64 = 5;
/// Payload types remembered of one stream.
const PAYLOAD_TYPES_MAX: usize = 8;
/// Media addresses of SDP, and payload types at one of them.
const ADDRESSES_MAX: usize = 65_536;
const FORMATS_MAX: usize = 16;

/// What an SDP says of a payload type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub payload_type: u8,
    pub encoding: String,
    pub clock_rate_hz: u32,
}

/// RFC 3551 §6, the types that are met.
fn fixed(payload_type: u8) -> Option<(&'static str, u32)> {
    Some(match payload_type {
        0 => ("PCMU", 8_000),
        3 => ("GSM", 8_000),
        4 => ("G723", 8_000),
        8 => ("PCMA", 8_000),
        9 => ("G722", 8_000),
        10 | 11 => ("L16", 44_100),
        13 => ("CN", 8_000),
        15 => ("G728", 8_000),
        18 => ("G729", 8_000),
        26 => ("JPEG", 90_000),
        31 => ("H261", 90_000),
        32 => ("MPV", 90_000),
        33 => ("MP2T", 90_000),
        34 => ("H263", 90_000),
        _ => return None,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    interface: u32,
    outbound: Option<bool>,
    source: SocketAddr,
    destination: SocketAddr,
    ssrc: u32,
}

/// RFC 3550 A.8 in ms and without rounding, with its mean and maximum.
#[derive(Debug, Default)]
struct Jitter {
    last: Option<(u64, u32)>,
    now_ms: f64,
    sum_ms: f64,
    samples: u64,
    max_ms: f64,
}

impl Jitter {
    fn packet(&mut self, at: u64, timestamp: u32, clock_rate_hz: u32) {
        if let Some((at_before, timestamp_before)) = self.last {
            let arrived_ms = (at as i128 - i128::from(at_before)) as f64 / 1e6;
            let meant_ms =
                f64::from(timestamp.wrapping_sub(timestamp_before) as i32) * 1000.0 / f64::from(clock_rate_hz.max(1));
            let difference = (arrived_ms - meant_ms).abs();
            // a new timestamp base or a silence is no jitter
            if difference < 1000.0 {
                self.now_ms += (difference - self.now_ms) / 16.0;
                self.sum_ms += self.now_ms;
                self.samples += 1;
                self.max_ms = self.max_ms.max(self.now_ms);
            }
        }
        self.last = Some((at, timestamp));
    }

    fn mean_ms(&self) -> f64 {
        if self.samples == 0 { 0.0 } else { self.sum_ms / self.samples as f64 }
    }
}

#[derive(Debug)]
struct Track {
    key: Key,
    /// An SDP names one of its addresses.
    described: bool,
    codec: Option<String>,
    clock_rate_hz: u32,
    reception: Reception,
    jitter: Jitter,
    strange: u64,
    payload_types: Vec<(u8, u64)>,
    dscp: [u32; 64],
    ttl: u8,
    first: u64,
    last: u64,
}

impl Track {
    fn is_confirmed(&self) -> bool {
        let received = self.reception.received();
        self.described || (received >= CONFIRMING_PACKETS && self.strange * 4 < received)
    }
}

/// One datagram that may be RTP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    pub interface: u32,
    pub outbound: Option<bool>,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub at: u64,
    pub dscp: u8,
    pub ttl: u8,
    pub payload: &'a [u8],
}

/// Every stream and candidate.
#[derive(Debug)]
pub(crate) struct MediaTracker {
    limit: usize,
    formats: HashMap<SocketAddr, Vec<Format>>,
    index: HashMap<Key, usize>,
    tracks: Vec<Track>,
    pub over_limit: u64,
}

impl MediaTracker {
    pub(crate) fn new(limit: usize) -> MediaTracker {
        MediaTracker {
            limit: limit.max(1),
            formats: HashMap::new(),
            index: HashMap::new(),
            tracks: Vec::new(),
            over_limit: 0,
        }
    }

    /// Notes what an SDP says of an address.
    pub(crate) fn describe(&mut self, address: SocketAddr, formats: Vec<Format>) {
        if self.formats.len() >= ADDRESSES_MAX && !self.formats.contains_key(&address) {
            self.over_limit += 1;
            return;
        }
        let known = self.formats.entry(address).or_default();
        for format in formats {
            let room = known.len() < FORMATS_MAX;
            match known.iter_mut().find(|known| known.payload_type == format.payload_type) {
                Some(known) => *known = format,
                None if room => known.push(format),
                None => {}
            }
        }
    }

    fn format(&self, key: &Key, payload_type: u8) -> Option<(String, u32)> {
        let said = [key.destination, key.source]
            .iter()
            .find_map(|address| self.formats.get(address)?.iter().find(|format| format.payload_type == payload_type));
        said.map(|format| (format.encoding.clone(), format.clock_rate_hz))
            .or_else(|| fixed(payload_type).map(|(name, rate)| (name.to_owned(), rate)))
    }

    /// Whether the datagram was taken as RTP.
    pub(crate) fn datagram(&mut self, datagram: &Datagram<'_>) -> bool {
        let Ok(packet) = strowger_rtp::Packet::parse(datagram.payload) else { return false };
        let payload_type = packet.payload_type();
        if !matches!(payload_type, 0..=34 | 96..=127) {
            return false;
        }
        let key = Key {
            interface: datagram.interface,
            outbound: datagram.outbound,
            source: datagram.source,
            destination: datagram.destination,
            ssrc: packet.ssrc(),
        };
        let slot = match self.index.get(&key) {
            Some(slot) => *slot,
            None => {
                let described = self.formats.contains_key(&key.destination) || self.formats.contains_key(&key.source);
                if !described && (key.source.port() < 1024 || key.destination.port() < 1024) {
                    return false;
                }
                let Some(slot) = self.slot(datagram.at) else {
                    self.over_limit += 1;
                    return false;
                };
                let format = self.format(&key, payload_type);
                let clock_rate_hz = format.as_ref().map_or(8_000, |(_, rate)| *rate);
                let track = Track {
                    key,
                    described,
                    codec: None,
                    clock_rate_hz,
                    reception: Reception::new(clock_rate_hz),
                    jitter: Jitter::default(),
                    strange: 0,
                    payload_types: Vec::new(),
                    dscp: [0; 64],
                    ttl: datagram.ttl,
                    first: datagram.at,
                    last: datagram.at,
                };
                match self.tracks.get_mut(slot) {
                    Some(old) => {
                        self.index.remove(&old.key);
                        *old = track;
                    }
                    None => self.tracks.push(track),
                }
                self.index.insert(key, slot);
                slot
            }
        };
        let codec_known = self.tracks.get(slot).is_some_and(|track| track.codec.is_some());
        let codec = if codec_known { None } else { self.format(&key, payload_type) };
        let Some(track) = self.tracks.get_mut(slot) else { return false };
        if let Some((name, _)) = codec
            && !name.eq_ignore_ascii_case("telephone-event")
            && name != "CN"
        {
            track.codec = Some(name);
        }
        let arrival = Moment::from_nanos(datagram.at.saturating_sub(track.first));
        let outcome =
            track.reception.received_packet(packet.sequence(), packet.timestamp(), packet.payload().len(), arrival);
        match outcome {
            Arrival::Duplicate => {}
            Arrival::Strange => track.strange += 1,
            _ => track.jitter.packet(datagram.at, packet.timestamp(), track.clock_rate_hz),
        }
        let room = track.payload_types.len() < PAYLOAD_TYPES_MAX;
        match track.payload_types.iter_mut().find(|(known, _)| *known == payload_type) {
            Some((_, count)) => *count += 1,
            None if room => track.payload_types.push((payload_type, 1)),
            None => {}
        }
        if let Some(count) = track.dscp.get_mut(usize::from(datagram.dscp & 63)) {
            *count = count.saturating_add(1);
        }
        track.last = track.last.max(datagram.at);
        track.first = track.first.min(datagram.at);
        true
    }

    /// A free place: a new one, or that of the candidate that was silent longest.
    fn slot(&mut self, _now: u64) -> Option<usize> {
        if self.tracks.len() < self.limit {
            return Some(self.tracks.len());
        }
        let candidates = self.tracks.iter().enumerate().filter(|(_, track)| !track.is_confirmed());
        candidates.min_by_key(|(_, track)| track.last).map(|(slot, _)| slot)
    }

    /// The streams in order of their first packets, and the number of their packets.
    pub(crate) fn finish(mut self, interfaces: &[String]) -> Vec<Stream> {
        let mut tracks = std::mem::take(&mut self.tracks);
        for track in &mut tracks {
            // an SDP that came after the first packets counts, too
            track.described |=
                self.formats.contains_key(&track.key.destination) || self.formats.contains_key(&track.key.source);
        }
        let confirmed = tracks.iter().filter(|track| track.is_confirmed());
        let mut streams: Vec<Stream> = confirmed.map(|track| self.stream(track, interfaces)).collect();
        streams.sort_by_key(|stream| (stream.started_unix_nanos, stream.interface_index, stream.ssrc));
        streams
    }

    fn stream(&self, track: &Track, interfaces: &[String]) -> Stream {
        let main_type = track.payload_types.iter().max_by_key(|(_, count)| *count).map_or(0, |(number, _)| *number);
        let codec = track.codec.clone().or_else(|| self.format(&track.key, main_type).map(|(name, _)| name));
        let codec = codec.unwrap_or_else(|| format!("type {main_type}"));
        let marks = || track.dscp.iter().enumerate().filter(|(_, count)| **count > 0);
        let jitter_mean_ms = track.jitter.mean_ms();
        Stream {
            ssrc: track.key.ssrc,
            source: track.key.source,
            destination: track.key.destination,
            interface: interfaces.get(track.key.interface as usize).cloned().unwrap_or_default(),
            interface_index: track.key.interface,
            outbound: track.key.outbound,
            mos: mean_opinion_score(&codec, track.reception.loss_ratio(), jitter_mean_ms),
            codec,
            payload_types: track.payload_types.iter().map(|(number, _)| *number).collect(),
            clock_rate_hz: track.clock_rate_hz,
            packets: track.reception.received(),
            octets: track.reception.octets(),
            lost: track.reception.lost(),
            duplicates: track.reception.duplicates(),
            reordered: track.reception.reordered(),
            jitter_ms: track.jitter.now_ms,
            jitter_mean_ms,
            jitter_max_ms: track.jitter.max_ms,
            dscp: marks().max_by_key(|(_, count)| **count).map_or(0, |(mark, _)| mark as u8),
            dscp_seen: marks().map(|(mark, _)| mark as u8).collect(),
            ttl: track.ttl,
            started_unix_nanos: track.first,
            ended_unix_nanos: track.last,
            call_id: None,
        }
    }
}
