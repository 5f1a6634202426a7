//! The sound of one call: packets every 20 ms one way, statistics and a recording the other.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use rtp::packet::Packet;
use strowger_net::SystemClock;
use strowger_rtp::g711::Law;
use strowger_rtp::telephone_event::{
    EventChange, EventReceiver, EventReport, EventSender, digit_of_event, event_of_digit,
};
use strowger_rtp::{FRAME_SAMPLES, JitterBuffer, JitterBufferConfig, Reception, SAMPLE_RATE_HERTZ, emodel};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use webrtc_util::marshal::{Marshal, Unmarshal};

use crate::audio::Playing;
use crate::outcome::RtpStatistics;
use crate::session::Plan;

const FRAME: Duration = Duration::from_millis(20);
const DIGIT_MS: u32 = 100;
/// Frames between two digits (RFC 4733 asks for a pause that a receiver can tell).
const PAUSE_FRAMES: u8 = 4;
const DIGIT_VOLUME: u8 = 10;
/// Longest recording kept: an hour.
const RECORD_SAMPLES_MAX: usize = 3600 * SAMPLE_RATE_HERTZ as usize;
const DATAGRAM_BYTES: usize = 2048;
/// Ports tried before giving up on a range.
const PORT_TRIES: u16 = 200;

/// Opens an RTP socket on an even port (RFC 3550 §11), of a range if given.
pub(crate) fn socket(address: IpAddr, ports: Option<(u16, u16)>, salt: u16) -> io::Result<UdpSocket> {
    let open = |port: u16| -> io::Result<UdpSocket> {
        let local = SocketAddr::new(address, port);
        let domain = socket2::Domain::for_address(local);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.bind(&local.into())?;
        UdpSocket::from_std(socket.into())
    };
    let Some((first, last)) = ports else {
        let mut odd = Vec::new();
        for _ in 0..16 {
            let socket = open(0)?;
            if socket.local_addr()?.port() % 2 == 0 {
                return Ok(socket);
            }
            odd.push(socket);
        }
        return odd.pop().ok_or_else(|| io::Error::from(io::ErrorKind::AddrInUse));
    };
    let pairs = (last.saturating_sub(first) / 2).saturating_add(1);
    let mut error = io::Error::from(io::ErrorKind::AddrInUse);
    for step in 0..pairs.min(PORT_TRIES) {
        let port = (first & !1).saturating_add((salt.wrapping_add(step) % pairs) * 2);
        match open(port) {
            Ok(socket) => return Ok(socket),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

/// The end of a stream.
pub(crate) struct Report {
    pub(crate) statistics: RtpStatistics,
    pub(crate) recording: Vec<i16>,
    pub(crate) digits: String,
}

/// Where a stream begins.
pub(crate) struct Start {
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
}

pub(crate) struct Stream {
    socket: UdpSocket,
    plan: watch::Receiver<Option<Plan>>,
    digits_out: mpsc::Receiver<char>,
    digits_in: Option<mpsc::Sender<char>>,
    playing: Playing,
    recording: Option<Vec<i16>>,
    clock: SystemClock,
    // sending
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    first: bool,
    sent: u64,
    events: EventSender,
    queue: VecDeque<char>,
    pause: u8,
    // receiving
    reception: Reception,
    buffer: JitterBuffer,
    events_in: EventReceiver,
    digits: String,
    strange: u64,
    heard_anything: Option<watch::Sender<bool>>,
}

impl Stream {
    pub(crate) fn new(
        socket: UdpSocket,
        plan: watch::Receiver<Option<Plan>>,
        (digits_out, digits_in): (mpsc::Receiver<char>, Option<mpsc::Sender<char>>),
        playing: Playing,
        record: bool,
        start: Start,
        heard: watch::Sender<bool>,
    ) -> Stream {
        Stream {
            socket,
            plan,
            digits_out,
            digits_in,
            playing,
            recording: record.then(Vec::new),
            clock: SystemClock::new(),
            sequence: start.sequence,
            timestamp: start.timestamp,
            ssrc: start.ssrc,
            first: true,
            sent: 0,
            events: EventSender::new(),
            queue: VecDeque::new(),
            pause: 0,
            reception: Reception::new(SAMPLE_RATE_HERTZ),
            buffer: JitterBuffer::new(JitterBufferConfig::default()),
            events_in: EventReceiver::new(),
            digits: String::new(),
            strange: 0,
            heard_anything: Some(heard),
        }
    }

    /// Runs until `stop` is cancelled.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Report {
        let mut ticks = interval(FRAME);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut datagram = vec![0u8; DATAGRAM_BYTES];
        let mut digits_open = true;
        loop {
            tokio::select! {
                biased;
                _ = stop.cancelled() => break,
                _ = ticks.tick() => self.tick(),
                received = self.socket.recv_from(&mut datagram) => {
                    // an ICMP error of what was sent is no end of the call
                    if let Ok((length, from)) = received
                        && let Some(bytes) = datagram.get(..length)
                    {
                        self.received(bytes, from);
                    }
                }
                digit = self.digits_out.recv(), if digits_open => match digit {
                    Some(digit) => self.queue.push_back(digit),
                    None => digits_open = false,
                },
            }
        }
        self.report()
    }

    fn report(self) -> Report {
        let reception = &self.reception;
        let codec = match self.plan.borrow().as_ref().map(|plan| plan.law) {
            Some(Law::A) => "PCMA",
            Some(Law::Mu) => "PCMU",
            None => "",
        };
        let mos = if reception.received() == 0 {
            0.0
        } else {
            let delay_ms = f64::from(self.buffer.delay_ms()) + 20.0;
            let rating = emodel::rating(emodel::G711_WITH_CONCEALMENT, delay_ms, reception.loss_ratio());
            emodel::mean_opinion_score(rating)
        };
        let statistics = RtpStatistics {
            sent: self.sent,
            received: reception.received(),
            lost: reception.lost(),
            duplicates: reception.duplicates(),
            reordered: reception.reordered(),
            strange: self.strange,
            jitter_ms: reception.jitter_ms(),
            jitter_max_ms: reception.jitter_max_ms(),
            codec: codec.to_owned(),
            mos,
        };
        Report { statistics, recording: self.recording.unwrap_or_default(), digits: self.digits }
    }

    fn tick(&mut self) {
        let Some(plan) = self.plan.borrow().clone() else { return };
        let mut heard = [0i16; FRAME_SAMPLES];
        self.buffer.pop(&mut heard);
        if let Some(recording) = &mut self.recording
            && recording.len() < RECORD_SAMPLES_MAX
            && self.reception.received() > 0
        {
            recording.extend_from_slice(&heard);
        }
        let mut frame = [0i16; FRAME_SAMPLES];
        self.playing.fill(&mut frame, &heard);
        self.next_digit(&plan);
        let event = self.events.next_packet(FRAME_SAMPLES as u16);
        if let (Some(remote), true) = (plan.remote, plan.sends) {
            match (event, plan.event_send_type) {
                (Some(event), Some(payload_type)) => {
                    let payload = Bytes::copy_from_slice(&event.payload);
                    self.send(remote, (event.marker, payload_type, event.timestamp), payload);
                }
                _ => {
                    let mut octets = [0u8; FRAME_SAMPLES];
                    plan.law.encode_all(&frame, &mut octets);
                    let marker = std::mem::take(&mut self.first);
                    self.send(remote, (marker, plan.send_type, self.timestamp), Bytes::copy_from_slice(&octets));
                }
            }
        }
        // time passes whether or not anything was sent (RFC 3550 §5.1)
        self.timestamp = self.timestamp.wrapping_add(FRAME_SAMPLES as u32);
    }

    fn next_digit(&mut self, plan: &Plan) {
        if self.events.is_active() {
            self.pause = PAUSE_FRAMES;
            return;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        if plan.event_send_type.is_none() {
            self.queue.clear();
        }
        if let Some(event) = self.queue.pop_front().and_then(event_of_digit) {
            self.events.start(event, self.timestamp, DIGIT_MS, DIGIT_VOLUME);
        }
    }

    fn send(&mut self, remote: SocketAddr, (marker, payload_type, timestamp): (bool, u8, u32), payload: Bytes) {
        let header = rtp::header::Header {
            version: 2,
            marker,
            payload_type,
            sequence_number: self.sequence,
            timestamp,
            ssrc: self.ssrc,
            ..Default::default()
        };
        let Ok(bytes) = (Packet { header, payload }).marshal() else { return };
        self.sequence = self.sequence.wrapping_add(1);
        // a full socket buffer or a peer that is not there loses the packet, as the network would
        if self.socket.try_send_to(&bytes, remote).is_ok() {
            self.sent += 1;
        }
    }

    fn received(&mut self, bytes: &[u8], from: SocketAddr) {
        let Some(plan) = self.plan.borrow().clone() else { return };
        // RTCP of the peer on the same port (RFC 5761), and whatever else is not for us
        let strange = strowger_rtp::is_rtcp(bytes) || plan.remote.is_some_and(|remote| remote.ip() != from.ip());
        let Some(packet) = Some(()).filter(|()| !strange).and_then(|()| parse(bytes)) else {
            self.strange += 1;
            return;
        };
        let (header, payload) = (packet.header, packet.payload);
        let now = self.clock.now();
        self.reception.received_packet(header.sequence_number, header.timestamp, payload.len(), now);
        if let Some(heard) = self.heard_anything.take() {
            let _ = heard.send(true);
        }
        if plan.event_receive_type == Some(header.payload_type) {
            let change =
                EventReport::parse(&payload).ok().and_then(|report| self.events_in.received(header.timestamp, report));
            if let Some(EventChange::Ended { event, .. }) = change
                && let Some(digit) = digit_of_event(event)
            {
                self.digits.push(digit);
                if let Some(told) = &self.digits_in {
                    let _ = told.try_send(digit);
                }
            }
            return;
        }
        let Some((_, law)) = plan.receive_types.iter().find(|(number, _)| *number == header.payload_type) else {
            self.strange += 1;
            return;
        };
        let mut samples = vec![0i16; payload.len()];
        law.decode_all(&payload, &mut samples);
        self.buffer.push(header.sequence_number, header.timestamp, &samples);
    }
}

/// Reads a datagram as an RTP packet.
pub(crate) fn parse(bytes: &[u8]) -> Option<Packet> {
    // the view is the strict reader: it refuses what would make a lenient one stumble
    strowger_rtp::Packet::parse(bytes).ok()?;
    Packet::unmarshal(&mut Bytes::copy_from_slice(bytes)).ok().filter(|packet| packet.header.version == 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Catches: a datagram that makes the packet crates panic.
        #[test]
        fn no_datagram_does_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), real in any::<bool>()) {
            if real && let Some(first) = bytes.first_mut() {
                *first = 0x80 | (*first & 0x3f);
            }
            let _ = parse(&bytes);
        }

        /// Catches: a difference between the packet crate and our views.
        #[test]
        fn the_crate_and_our_view_read_the_same(
            sequence in any::<u16>(), timestamp in any::<u32>(), ssrc in any::<u32>(), marker in any::<bool>(),
            payload_type in 0u8..128, payload in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let header = rtp::header::Header {
                version: 2, marker, payload_type, sequence_number: sequence, timestamp, ssrc, ..Default::default()
            };
            let bytes = (Packet { header, payload: payload.clone().into() }).marshal().unwrap();
            let view = strowger_rtp::Packet::parse(&bytes).unwrap();
            prop_assert_eq!((view.sequence(), view.timestamp(), view.ssrc()), (sequence, timestamp, ssrc));
            prop_assert_eq!((view.marker(), view.payload_type(), view.payload()), (marker, payload_type, &payload[..]));
        }
    }
}
