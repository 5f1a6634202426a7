//! One call's media: what its datagrams mean, what it sends each tick, what it knows at the end.

use super::ports::PortLease;
use super::{MediaConfig, OpenCall, PayloadTypes, Update};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use strowger_clock::{Moment, Random, Timestamp};
use strowger_packet::UdpBatch;
use strowger_rtp::dtmf::DtmfGenerator;
use strowger_rtp::emodel::{G711_WITH_CONCEALMENT, mean_opinion_score, rating};
use strowger_rtp::g711::{Law, a_to_mu};
use strowger_rtp::rtcp::{Compound, CompoundBuilder, RtcpPacket, SenderInfo};
use strowger_rtp::telephone_event::{EventChange, EventReceiver, EventReport, digit_of_event};
use strowger_rtp::{
    FRAME_SAMPLES, HEADER_LENGTH, Header, JitterBuffer, Packet, Pushed, Reception, SAMPLE_RATE_HERTZ, is_rtcp,
};
use strowger_trunk::{Circuit, SpanDriver};

/// Datagrams taken from a socket at once: eight packets of 20 ms, more than any burst worth playing.
const SLOTS: usize = 8;
const SLOT_OCTETS: usize = 1500;
/// Samples of the longest payload taken: 200 ms.
const MAX_PAYLOAD: usize = 1600;
/// Valid packets in a row from one address that SDP did not name, before it is believed (RFC 4961).
const LATCH_PACKETS: u8 = 2;
/// A tone without an end report stops after this.
const LONGEST_TONE_MS: u32 = 5_000;
/// Shortest tone played for an event, so that the far end can detect it.
const SHORTEST_TONE_MS: u32 = 60;
const TICK_MS: u32 = 20;
/// Seconds from 1900 to 1970.
const NTP_OFFSET_SECONDS: u64 = 2_208_988_800;

/// Datagrams that were dropped, by reason.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Not RTP.
    pub malformed: u64,
    /// A payload type that was not agreed.
    pub payload_type: u64,
    /// From an address other than the one locked, or not yet believed.
    pub foreign_source: u64,
    /// A repeat.
    pub duplicate: u64,
    /// Too late for the jitter buffer.
    pub late: u64,
    /// A payload too long, or empty, or far outside the sequence.
    pub refused: u64,
    /// Not RTCP.
    pub malformed_rtcp: u64,
    /// Could not be sent.
    pub not_sent: u64,
}

/// What is known of a call's media.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// RTP packets sent.
    pub packets_sent: u64,
    /// Their payload octets.
    pub octets_sent: u64,
    /// RTP packets received, repeats not counted.
    pub packets_received: u64,
    /// Their payload octets.
    pub octets_received: u64,
    /// Packets that did not come.
    pub lost: u64,
    /// Packets behind a newer one.
    pub reordered: u64,
    /// Interarrival jitter at the end, in ms.
    pub jitter_ms: f64,
    /// Highest interarrival jitter, in ms.
    pub jitter_max_ms: f64,
    /// Delay that the jitter buffer added at the end, in ms.
    pub buffer_ms: u32,
    /// Audio that was made up for missing packets, in ms.
    pub concealed_ms: u64,
    /// Round-trip time by RTCP, in ms; `None` when no report came.
    pub round_trip_ms: Option<f64>,
    /// Loss of what we sent, by the peer's last report, 0.0..=1.0.
    pub remote_loss: Option<f64>,
    /// Mean opinion score of what was received (G.107); 0.0 when nothing was.
    pub mos: f64,
    /// Where packets came from, once locked.
    pub remote: Option<SocketAddr>,
    /// Dropped datagrams.
    pub drops: Drops,
}

/// One open call.
#[derive(Debug)]
pub(crate) struct Leg {
    pub call: u64,
    pub circuit: Option<Circuit>,
    rtp: UdpBatch,
    rtcp: UdpBatch,
    payload_types: PayloadTypes,
    remote: Option<SocketAddr>,
    locked: bool,
    candidate: Option<(SocketAddr, u8)>,
    remote_ssrc: Option<u32>,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    sending: bool,
    first: bool,
    next_report: Moment,
    reception: Reception,
    jitter: JitterBuffer,
    events: EventReceiver,
    tone: Option<(DtmfGenerator, u32, u32)>, // generator, played ms, to play ms
    packets_sent: u64,
    octets_sent: u64,
    before: Statistics, // of sources that sent before the present one
    round_trip_ms: Option<f64>,
    remote_loss: Option<f64>,
    drops: Drops,
    // last, so that the port is given back after the sockets are closed
    _lease: PortLease,
}

impl Leg {
    pub fn new(
        config: &MediaConfig,
        open: &OpenCall,
        (lease, rtp, rtcp): (PortLease, UdpSocket, UdpSocket),
        random: &mut Random,
        now: Moment,
    ) -> io::Result<Self> {
        if let Some(dscp) = config.dscp {
            for socket in [&rtp, &rtcp] {
                let socket = socket2::SockRef::from(socket);
                let class = u32::from(dscp & 0x3f) << 2;
                if open.local.is_ipv4() { socket.set_tos_v4(class)? } else { socket.set_tclass_v6(class)? }
            }
        }
        Ok(Self {
            call: open.call,
            circuit: open.circuit,
            rtp: UdpBatch::with_slots(rtp, SLOTS, SLOT_OCTETS)?,
            rtcp: UdpBatch::with_slots(rtcp, 2, SLOT_OCTETS)?,
            payload_types: open.payload_types,
            remote: open.remote,
            locked: false,
            candidate: None,
            remote_ssrc: None,
            ssrc: random.next_u32(),
            sequence: random.next_u32() as u16,
            timestamp: random.next_u32(),
            sending: true,
            first: true,
            next_report: now + config.report_interval,
            reception: Reception::new(SAMPLE_RATE_HERTZ),
            jitter: JitterBuffer::new(config.jitter),
            events: EventReceiver::new(),
            tone: None,
            packets_sent: 0,
            octets_sent: 0,
            before: Statistics::default(),
            round_trip_ms: None,
            remote_loss: None,
            drops: Drops::default(),
            _lease: lease,
        })
    }

    pub fn sockets(&self) -> [&UdpSocket; 2] {
        [self.rtp.socket(), self.rtcp.socket()]
    }

    pub fn update(&mut self, update: Update) {
        if let Some(remote) = update.remote
            && self.remote != Some(remote)
        {
            self.remote = Some(remote);
            self.locked = false;
            self.candidate = None;
        }
        self.payload_types = update.payload_types.unwrap_or(self.payload_types);
        self.circuit = update.circuit.or(self.circuit);
        if let Some(sending) = update.sending {
            self.first |= sending && !self.sending;
            self.sending = sending;
        }
    }

    /// Takes what the RTP socket holds.
    pub fn receive_rtp(&mut self, now: Moment, wall: Timestamp) {
        let Ok(count) = self.rtp.receive() else { return };
        let mut buffer = [0u8; SLOT_OCTETS];
        for index in 0..count {
            let Some(datagram) = self.rtp.datagram(index) else { continue };
            let (peer, length) = (datagram.peer, datagram.payload.len().min(buffer.len()));
            let Some(bytes) = buffer.get_mut(..length) else { continue };
            // the slot belongs to the batch; a copy of one packet on the stack frees `self` for the work
            bytes.copy_from_slice(datagram.payload.get(..length).unwrap_or(&[]));
            if is_rtcp(bytes) {
                self.rtcp_datagram(now, wall, peer, bytes);
            } else {
                self.rtp_datagram(now, peer, bytes);
            }
        }
    }

    fn rtp_datagram(&mut self, now: Moment, peer: SocketAddr, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else {
            self.drops.malformed += 1;
            return;
        };
        let is_event = self.payload_types.telephone_event == Some(packet.payload_type());
        if !is_event && packet.payload_type() != self.payload_types.audio {
            self.drops.payload_type += 1;
            return;
        }
        if !self.is_believed(peer) {
            self.drops.foreign_source += 1;
            return;
        }
        if self.remote_ssrc != Some(packet.ssrc()) {
            self.new_source(packet.ssrc());
        }
        match self.reception.received_packet(packet.sequence(), packet.timestamp(), packet.payload().len(), now) {
            strowger_rtp::Arrival::Duplicate => {
                self.drops.duplicate += 1;
                return;
            }
            strowger_rtp::Arrival::Strange => {
                self.drops.refused += 1;
                return;
            }
            _ => {}
        }
        if is_event { self.event(&packet) } else { self.audio(&packet) }
    }

    /// Symmetric RTP: the address of SDP is believed at once, another one after [`LATCH_PACKETS`], and then only that.
    fn is_believed(&mut self, peer: SocketAddr) -> bool {
        if self.locked {
            return self.remote == Some(peer);
        }
        if self.remote == Some(peer) {
            self.locked = true;
            return true;
        }
        let seen = match self.candidate {
            Some((address, seen)) if address == peer => seen + 1,
            _ => 1,
        };
        self.candidate = Some((peer, seen));
        if seen >= LATCH_PACKETS {
            self.remote = Some(peer);
            self.locked = true;
        }
        self.locked
    }

    fn new_source(&mut self, ssrc: u32) {
        if self.remote_ssrc.is_some() {
            let so_far = self.statistics();
            self.before.packets_received = so_far.packets_received;
            self.before.octets_received = so_far.octets_received;
            self.before.lost = so_far.lost;
            self.before.reordered = so_far.reordered;
            self.before.jitter_max_ms = so_far.jitter_max_ms;
            self.reception = Reception::new(SAMPLE_RATE_HERTZ);
            self.jitter.reset();
            self.events = EventReceiver::new();
        }
        self.remote_ssrc = Some(ssrc);
    }

    fn audio(&mut self, packet: &Packet<'_>) {
        let mut samples = [0i16; MAX_PAYLOAD];
        let payload = packet.payload();
        let count = self.payload_types.law.decode_all(payload, &mut samples);
        let samples = if payload.len() > MAX_PAYLOAD { &[][..] } else { samples.get(..count).unwrap_or(&[]) };
        match self.jitter.push(packet.sequence(), packet.timestamp(), samples) {
            Pushed::Kept | Pushed::Anchored => {}
            Pushed::Late => self.drops.late += 1,
            Pushed::Refused => self.drops.refused += 1,
        }
    }

    fn event(&mut self, packet: &Packet<'_>) {
        let Ok(report) = EventReport::parse(packet.payload()) else {
            self.drops.malformed += 1;
            return;
        };
        match self.events.received(packet.timestamp(), report) {
            Some(EventChange::Began { event }) => self.start_tone(event, LONGEST_TONE_MS),
            Some(EventChange::Ended { event, duration_ms }) => {
                let to_play = duration_ms.clamp(SHORTEST_TONE_MS, LONGEST_TONE_MS);
                match &mut self.tone {
                    Some((_, _, until)) => *until = to_play,
                    None => self.start_tone(event, to_play),
                }
            }
            None => {}
        }
    }

    fn start_tone(&mut self, event: u8, to_play_ms: u32) {
        let generator = digit_of_event(event).and_then(|digit| DtmfGenerator::new(digit, LONGEST_TONE_MS));
        self.tone = generator.map(|generator| (generator, 0, to_play_ms));
    }

    /// Takes what the RTCP socket holds.
    pub fn receive_rtcp(&mut self, now: Moment, wall: Timestamp) {
        let Ok(count) = self.rtcp.receive() else { return };
        let mut buffer = [0u8; SLOT_OCTETS];
        for index in 0..count {
            let Some(datagram) = self.rtcp.datagram(index) else { continue };
            let (peer, length) = (datagram.peer, datagram.payload.len().min(buffer.len()));
            let Some(bytes) = buffer.get_mut(..length) else { continue };
            bytes.copy_from_slice(datagram.payload.get(..length).unwrap_or(&[]));
            self.rtcp_datagram(now, wall, peer, bytes);
        }
    }

    fn rtcp_datagram(&mut self, now: Moment, wall: Timestamp, peer: SocketAddr, bytes: &[u8]) {
        if self.remote.is_some_and(|remote| remote.ip() != peer.ip()) {
            self.drops.foreign_source += 1;
            return;
        }
        let Ok(compound) = Compound::parse(bytes) else {
            self.drops.malformed_rtcp += 1;
            return;
        };
        for packet in compound.iter() {
            let blocks = match packet {
                RtcpPacket::SenderReport { ssrc, sender, blocks } => {
                    if self.remote_ssrc == Some(ssrc) {
                        self.reception.received_sender_report(sender.ntp_middle(), now);
                    }
                    blocks
                }
                RtcpPacket::ReceiverReport { blocks, .. } => blocks,
                _ => continue,
            };
            for block in blocks.iter().filter(|block| block.ssrc == self.ssrc) {
                self.remote_loss = Some(f64::from(block.fraction_lost) / 256.0);
                if let Some(trip) = block.round_trip((ntp_of(wall) >> 16) as u32) {
                    self.round_trip_ms = Some(f64::from(trip) * 1000.0 / 65_536.0);
                }
            }
        }
    }

    /// One tick: 20 ms from the jitter buffer to the timeslot, and from the timeslot to the peer.
    pub fn tick(&mut self, now: Moment, wall: Timestamp, span: &mut SpanDriver, config: &MediaConfig) {
        let mut linear = [0i16; FRAME_SAMPLES];
        self.jitter.pop(&mut linear);
        self.overlay_tone(&mut linear);
        let mut to_exchange = [0u8; FRAME_SAMPLES];
        Law::A.encode_all(&linear, &mut to_exchange);
        let mut from_exchange = [Law::A.silence(); FRAME_SAMPLES];
        if let Some(circuit) = self.circuit {
            span.bearer(circuit, &to_exchange, &mut from_exchange);
        }
        if self.payload_types.law == Law::Mu {
            for octet in &mut from_exchange {
                *octet = a_to_mu(*octet);
            }
        }
        self.timestamp = self.timestamp.wrapping_add(FRAME_SAMPLES as u32);
        if let Some(remote) = self.remote.filter(|_| self.sending) {
            self.send(remote, &from_exchange);
        }
        if now >= self.next_report {
            self.next_report = now + config.report_interval;
            self.report(now, wall, config);
        }
    }

    fn overlay_tone(&mut self, linear: &mut [i16]) {
        let Some((generator, played, until)) = &mut self.tone else { return };
        let filled = generator.fill(linear);
        *played += TICK_MS;
        if filled == 0 || *played >= *until {
            self.tone = None;
        }
    }

    fn send(&mut self, remote: SocketAddr, payload: &[u8; FRAME_SAMPLES]) {
        let header = Header {
            marker: std::mem::take(&mut self.first),
            payload_type: self.payload_types.audio,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        };
        let mut out = [0u8; HEADER_LENGTH + FRAME_SAMPLES];
        self.sequence = self.sequence.wrapping_add(1);
        if header.write(payload, &mut out).is_some() && self.rtp.socket().send_to(&out, remote).is_ok() {
            self.packets_sent += 1;
            self.octets_sent += payload.len() as u64;
        } else {
            self.drops.not_sent += 1; // the socket never waits; a peer that is not there yet is no fault
        }
    }

    fn report(&mut self, now: Moment, wall: Timestamp, config: &MediaConfig) {
        let block = self.remote_ssrc.map(|ssrc| self.reception.report_block(ssrc, now));
        let mut out = [0u8; 600];
        let mut builder = CompoundBuilder::new(&mut out);
        let written = self.write_reports(&mut builder, wall, block.as_slice(), config).is_ok();
        let length = builder.finish();
        self.send_rtcp(out.get(..length).filter(|_| written));
    }

    fn write_reports(
        &self,
        builder: &mut CompoundBuilder<'_>,
        wall: Timestamp,
        blocks: &[strowger_rtp::rtcp::ReportBlock],
        config: &MediaConfig,
    ) -> Result<(), strowger_rtp::rtcp::Full> {
        if self.packets_sent == 0 {
            builder.receiver_report(self.ssrc, blocks)?;
        } else {
            let sender = SenderInfo {
                ntp: ntp_of(wall),
                rtp_timestamp: self.timestamp,
                packets: self.packets_sent as u32,
                octets: self.octets_sent as u32,
            };
            builder.sender_report(self.ssrc, &sender, blocks)?;
        }
        builder.cname(self.ssrc, config.cname.as_bytes())
    }

    fn send_rtcp(&mut self, bytes: Option<&[u8]>) {
        // RTCP is the port after RTP unless the peer says otherwise (RFC 3550 §11)
        let remote = self.remote.and_then(|remote| Some(SocketAddr::new(remote.ip(), remote.port().checked_add(1)?)));
        if let (Some(bytes), Some(remote)) = (bytes, remote)
            && self.rtcp.socket().send_to(bytes, remote).is_err()
        {
            self.drops.not_sent += 1;
        }
    }

    /// Tells the peer that the stream is over.
    pub fn say_goodbye(&mut self, now: Moment, wall: Timestamp, config: &MediaConfig) {
        let block = self.remote_ssrc.map(|ssrc| self.reception.report_block(ssrc, now));
        let mut out = [0u8; 600];
        let mut builder = CompoundBuilder::new(&mut out);
        let written = self
            .write_reports(&mut builder, wall, block.as_slice(), config)
            .and_then(|()| builder.goodbye(self.ssrc, None))
            .is_ok();
        let length = builder.finish();
        self.send_rtcp(out.get(..length).filter(|_| written));
    }

    pub fn statistics(&self) -> Statistics {
        let lost = self.before.lost + self.reception.lost();
        let packets_received = self.before.packets_received + self.reception.received();
        let unheard = (lost + self.drops.late) as f64;
        let expected = (lost + packets_received) as f64;
        let buffer_ms = self.jitter.delay_ms();
        // one packet of 20 ms, the buffer, and half of the way there and back
        let delay_ms = 20.0 + f64::from(buffer_ms) + self.round_trip_ms.unwrap_or(0.0) / 2.0;
        let mos = if packets_received == 0 {
            0.0
        } else {
            mean_opinion_score(rating(G711_WITH_CONCEALMENT, delay_ms, unheard / expected))
        };
        Statistics {
            packets_sent: self.packets_sent,
            octets_sent: self.octets_sent,
            packets_received,
            octets_received: self.before.octets_received + self.reception.octets(),
            lost,
            reordered: self.before.reordered + self.reception.reordered(),
            jitter_ms: self.reception.jitter_ms(),
            jitter_max_ms: self.before.jitter_max_ms.max(self.reception.jitter_max_ms()),
            buffer_ms,
            concealed_ms: self.jitter.counters().concealed_samples / 8,
            round_trip_ms: self.round_trip_ms,
            remote_loss: self.remote_loss,
            mos,
            remote: self.remote.filter(|_| self.locked),
            drops: self.drops,
        }
    }
}

fn ntp_of(wall: Timestamp) -> u64 {
    let nanos = wall.unix_nanos();
    let fraction = ((nanos % 1_000_000_000) << 32) / 1_000_000_000;
    ((nanos / 1_000_000_000 + NTP_OFFSET_SECONDS) << 32) | fraction
}
