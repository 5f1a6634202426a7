//! The media engine on the loopback with the simulated exchange behind it: echo through both laws, source lock, refused
//! datagrams, telephone-events as tones, RTCP, statistics, ports that come back. Catches a loop that drifts, talks to
//! strangers or forgets a port. The peer is paced by what it hears, so nothing sleeps.
#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use strowger_clock::Moment;
use strowger_gateway_server::media::{
    MAX_CALLS, MediaConfig, MediaEngine, MediaError, MediaHandle, OpenCall, PayloadTypes, Update,
};
use strowger_rtp::dtmf::DtmfDetector;
use strowger_rtp::g711::{Law, decode_mu};
use strowger_rtp::rtcp::{Compound, CompoundBuilder, RtcpPacket, SenderInfo};
use strowger_rtp::telephone_event::EventSender;
use strowger_rtp::{Header, Packet};
use strowger_trunk::{Circuit, Event, Exchange, ExchangeConfig, Output, Setup, SpanDriver, TrunkConfig, TrunkGroup};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Bench {
    media: MediaHandle,
    group: TrunkGroup,
    signals: Receiver<Vec<u8>>,
}

impl Bench {
    fn start(ports: std::ops::RangeInclusive<u16>) -> Self {
        let trunk = TrunkConfig::new(1, 2, 0).unwrap();
        let span = SpanDriver::new(Exchange::new(ExchangeConfig::new(trunk.reversed())), None);
        let (sender, signals) = channel();
        let config = MediaConfig {
            ports,
            report_interval: Duration::from_millis(300),
            dscp: Some(46),
            ..MediaConfig::default()
        };
        let media = MediaEngine::start(config, span, move |bytes| drop(sender.send(bytes))).unwrap();
        Self { media, group: TrunkGroup::new(trunk), signals }
    }

    /// A call from the exchange, answered: its line echoes.
    fn echo_circuit(&mut self) -> Circuit {
        let setup = Setup::international("12125550150", None).unwrap();
        let circuit = block_on(self.media.originate(setup)).unwrap();
        let bytes = self.signals.recv_timeout(Duration::from_secs(5)).expect("IAM");
        self.group.received(Moment::ZERO, &bytes);
        assert!(
            matches!(self.group.poll_output(), Some(Output::Event(Event::IncomingCall { circuit: c, .. })) if c == circuit)
        );
        assert!(self.group.answer(circuit));
        while let Some(Output::Transmit(bytes)) = self.group.poll_output() {
            self.media.signal(bytes).unwrap();
        }
        circuit
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.media.stop();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// An even port and the one after it.
fn peer_sockets() -> (UdpSocket, UdpSocket) {
    for _ in 0..100 {
        let rtp = UdpSocket::bind((LOCAL, 0)).unwrap();
        let port = rtp.local_addr().unwrap().port();
        if let Some(rtcp) = port.checked_add(1).and_then(|next| UdpSocket::bind((LOCAL, next)).ok()) {
            for socket in [&rtp, &rtcp] {
                socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            }
            return (rtp, rtcp);
        }
    }
    panic!("no pair of ports");
}

fn packet(payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = [0; 400];
    let length =
        Header { marker: false, payload_type, sequence, timestamp, ssrc: 77 }.write(payload, &mut out).unwrap();
    out[..length].to_vec()
}

fn ntp_middle_now() -> u32 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seconds = since_1970.as_secs() + 2_208_988_800;
    (seconds as u32) << 16 | (u64::from(since_1970.subsec_nanos()) * 65_536 / 1_000_000_000) as u32
}

#[test]
fn what_the_peer_says_comes_back_from_the_trunk() {
    let mut bench = Bench::start(21_000..=21_199);
    let circuit = bench.echo_circuit();
    let (rtp, rtcp) = peer_sockets();
    let stranger = UdpSocket::bind((LOCAL, 0)).unwrap();
    let payload_types = PayloadTypes { telephone_event: Some(101), ..PayloadTypes::PCMU };
    let open = OpenCall {
        call: 1,
        local: LOCAL,
        payload_types,
        remote: Some(rtp.local_addr().unwrap()),
        circuit: Some(circuit),
    };
    let port = bench.media.open(&open).unwrap();
    assert_eq!(port.0 % 2, 0);
    assert!(matches!(bench.media.open(&open), Err(MediaError::AlreadyOpen)));
    let (to, to_rtcp) = ((LOCAL, port.0), (LOCAL, port.0 + 1));

    let mut buffer = [0u8; 2000];
    let hear = || {
        let mut buffer = [0u8; 2000];
        let (length, from) = rtp.recv_from(&mut buffer).expect("a packet each 20 ms");
        assert_eq!(from.port(), port.0);
        let packet = Packet::parse(&buffer[..length]).unwrap();
        assert_eq!((packet.payload_type(), packet.payload().len()), (0, 160));
        (packet.sequence(), packet.timestamp(), packet.ssrc(), packet.payload().to_vec())
    };
    let (first_sequence, first_timestamp, ssrc, _) = hear();
    let mut heard = Vec::new();
    for n in 0..40u16 {
        let octet = Law::Mu.encode(i16::try_from(n).unwrap() * 400 + 2000);
        rtp.send_to(&packet(0, n, u32::from(n) * 160, &[octet; 160]), to).unwrap();
        if n == 10 {
            stranger.send_to(&packet(0, 500, 0, &[0; 160]), to).unwrap();
            rtp.send_to(&packet(33, 10, 0, &[0; 160]), to).unwrap();
            rtp.send_to(&[1, 2, 3], to).unwrap();
            rtp.send_to(&packet(0, n, u32::from(n) * 160, &[octet; 160]), to).unwrap();
            rtcp.send_to(&[9; 40], to_rtcp).unwrap();
        }
        heard.push(hear());
    }
    for (n, (sequence, timestamp, source, _)) in heard.iter().enumerate() {
        assert_eq!(*source, ssrc);
        assert_eq!(*sequence, first_sequence.wrapping_add(n as u16 + 1));
        assert_eq!(*timestamp, first_timestamp.wrapping_add((n as u32 + 1) * 160));
    }
    // the same levels come back, in order, as far as two conversions of law keep them
    let levels: Vec<i32> =
        heard.iter().map(|(.., payload)| i32::from(decode_mu(payload[80]))).filter(|level| *level > 1500).collect();
    assert!(levels.len() > 25, "{levels:?}");
    assert!(levels.windows(2).filter(|pair| pair[1] < pair[0]).count() <= 1, "{levels:?}");
    assert!((levels[0] - 2000).abs() < 200, "{levels:?}");

    // a digit by telephone-event is a tone in the bearer, and so comes back as one
    let mut events = EventSender::new();
    assert!(events.start(9, 40 * 160, 100, 10));
    let mut detector = DtmfDetector::new();
    let mut digits = String::new();
    let mut sequence = 40;
    for _ in 0..25 {
        if let Some(event) = events.next_packet(160) {
            rtp.send_to(&packet(101, sequence, event.timestamp, &event.payload), to).unwrap();
            sequence += 1;
        }
        let (.., payload) = hear();
        let samples: Vec<i16> = payload.into_iter().map(decode_mu).collect();
        detector.process(&samples, |digit| digits.push(digit));
    }
    assert_eq!(digits, "9");

    // RTCP both ways: our report of theirs, and their answer that tells the round trip
    let (length, _) = rtcp.recv_from(&mut buffer).unwrap();
    let report = Compound::parse(&buffer[..length]).unwrap();
    let Some(RtcpPacket::SenderReport { ssrc: reporter, sender, .. }) = report.iter().next() else {
        panic!("{report:?}")
    };
    assert_eq!(reporter, ssrc);
    assert!(sender.packets > 0);
    let mut out = [0; 200];
    let mut builder = CompoundBuilder::new(&mut out);
    let block = strowger_rtp::rtcp::ReportBlock {
        ssrc,
        fraction_lost: 64,
        last_sender_report: sender.ntp_middle(),
        delay_since_last_sender_report: ntp_middle_now().wrapping_sub(sender.ntp_middle()),
        ..Default::default()
    };
    builder.sender_report(77, &SenderInfo::default(), &[block]).unwrap();
    let length = builder.finish();
    rtcp.send_to(&out[..length], to_rtcp).unwrap();
    hear();
    hear();

    let open_now = block_on(bench.media.statistics(1)).unwrap();
    assert_eq!(open_now.remote, Some(rtp.local_addr().unwrap()));
    let end = bench.media.close_blocking(1).unwrap();
    assert_eq!((end.packets_received, end.lost), (47, 0), "{end:?}");
    assert!(end.packets_sent >= 60 && end.octets_sent == end.packets_sent * 160);
    assert!(end.mos > 4.0 && end.jitter_ms < 20.0, "{end:?}");
    assert_eq!(end.remote_loss, Some(0.25));
    assert!(end.round_trip_ms.is_some_and(|trip| (0.0..100.0).contains(&trip)), "{end:?}");
    let drops = end.drops;
    assert_eq!(
        (drops.foreign_source, drops.payload_type, drops.malformed, drops.duplicate, drops.malformed_rtcp),
        (1, 1, 1, 1, 1)
    );
    let goodbye = std::iter::from_fn(|| rtcp.recv_from(&mut buffer).ok().map(|(length, _)| buffer[..length].to_vec()))
        .find(|bytes| Compound::parse(bytes).unwrap().iter().any(|p| matches!(p, RtcpPacket::Goodbye { .. })));
    assert!(goodbye.is_some());
    let gauge = bench.media.gauge();
    assert_eq!((gauge.calls, gauge.ports, gauge.skipped_ticks), (0, 0, 0));
    assert!(matches!(bench.media.close_blocking(1), Err(MediaError::UnknownCall)));
}

#[test]
fn a_peer_behind_a_translator_is_believed_after_two_packets_and_a_new_offer_lifts_the_lock() {
    let mut bench = Bench::start(21_200..=21_399);
    let circuit = bench.echo_circuit();
    let (rtp, _rtcp) = peer_sockets();
    let (moved, _moved_rtcp) = peer_sockets();
    // SDP named an address that is not where the packets come from
    let nowhere = UdpSocket::bind((LOCAL, 0)).unwrap().local_addr().unwrap();
    let open = OpenCall {
        call: 1,
        local: LOCAL,
        payload_types: PayloadTypes::PCMA,
        remote: Some(nowhere),
        circuit: Some(circuit),
    };
    let to = (LOCAL, bench.media.open(&open).unwrap().0);
    for n in 0..3u16 {
        rtp.send_to(&packet(8, n, u32::from(n) * 160, &[0x11; 160]), to).unwrap();
    }
    let mut buffer = [0u8; 2000];
    let mut echoed = false;
    for n in 3..30u16 {
        let (length, _) = rtp.recv_from(&mut buffer).expect("sent to where the packets came from");
        echoed |= Packet::parse(&buffer[..length]).unwrap().payload() == [0x11; 160];
        rtp.send_to(&packet(8, n, u32::from(n) * 160, &[0x11; 160]), to).unwrap();
    }
    assert!(echoed, "A-law goes through the trunk unchanged");
    bench.media.update(1, Update { remote: Some(moved.local_addr().unwrap()), ..Update::default() }).unwrap();
    moved.recv_from(&mut buffer).expect("the new address is sent to");
    let end = bench.media.close_blocking(1).unwrap();
    assert_eq!(end.drops.foreign_source, 1, "the first of the two");
    assert!(matches!(bench.media.update(1, Update::default()), Err(MediaError::UnknownCall)));
}

#[test]
fn calls_and_ports_have_their_limits_and_come_back() {
    let bench = Bench::start(21_400..=21_499);
    let open = |call| OpenCall { call, local: LOCAL, payload_types: PayloadTypes::PCMA, remote: None, circuit: None };
    for call in 0..MAX_CALLS as u64 {
        bench.media.open(&open(call)).unwrap();
    }
    assert!(matches!(bench.media.open(&open(99)), Err(MediaError::TooManyCalls)));
    for call in 0..MAX_CALLS as u64 {
        bench.media.close_blocking(call).unwrap();
    }
    assert_eq!((bench.media.gauge().calls, bench.media.gauge().ports), (0, 0));
    let narrow = Bench::start(21_500..=21_503);
    narrow.media.open(&open(1)).unwrap();
    narrow.media.open(&open(2)).unwrap();
    assert!(matches!(narrow.media.open(&open(3)), Err(MediaError::NoPort(21_500, 21_503))));
    narrow.media.close_blocking(1).unwrap();
    narrow.media.open(&open(3)).unwrap();
}
