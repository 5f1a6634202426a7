//! Named telephone events in RTP (RFC 4733 §2): the four-octet payload, a sender with its three end packets, and a
//! receiver that tells each event once however many packets carry it.

use crate::SAMPLE_RATE_HERTZ;
use thiserror::Error;

/// Octets of one event report.
pub const PAYLOAD_LENGTH: usize = 4;
/// Longest duration one report can carry at 8 kHz, in ms; longer presses are cut there (§2.5.1.3 segments are not sent).
pub const MAX_DURATION_MS: u32 = 0xffff * 1000 / SAMPLE_RATE_HERTZ;
/// The final report is sent this many times (§2.5.1.4).
pub const END_REPEATS: u8 = 3;

/// Why a payload is not an event report.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Error)]
#[error("a telephone-event payload has 4 octets, not {length}")]
pub struct EventError {
    /// Octets found.
    pub length: usize,
}

/// One event report.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct EventReport {
    /// Event code: 0..=9 digits, 10 `*`, 11 `#`, 12..=15 A–D, 16 flash; others are kept.
    pub event: u8,
    /// The event is over.
    pub end: bool,
    /// Power below 0 dBm0, 0..=63.
    pub volume: u8,
    /// Since the event's timestamp, in samples of 1/8000 s.
    pub duration: u16,
}

impl EventReport {
    /// Reads the first report of a payload; further octets (redundant reports) are ignored.
    pub fn parse(payload: &[u8]) -> Result<Self, EventError> {
        let Some([event, flags, high, low]) = payload.first_chunk::<PAYLOAD_LENGTH>().copied() else {
            return Err(EventError { length: payload.len() });
        };
        Ok(Self { event, end: flags & 0x80 != 0, volume: flags & 0x3f, duration: u16::from_be_bytes([high, low]) })
    }

    /// The four octets; the reserved bit is zero.
    pub fn to_bytes(self) -> [u8; PAYLOAD_LENGTH] {
        let [high, low] = self.duration.to_be_bytes();
        [self.event, (u8::from(self.end) << 7) | (self.volume & 0x3f), high, low]
    }
}

/// The event code of a keypad digit: `0`–`9`, `*`, `#`, `A`–`D` in either case.
pub fn event_of_digit(digit: char) -> Option<u8> {
    match digit {
        '0'..='9' => Some(digit as u8 - b'0'),
        '*' => Some(10),
        '#' => Some(11),
        'A'..='D' => Some(digit as u8 - b'A' + 12),
        'a'..='d' => Some(digit as u8 - b'a' + 12),
        _ => None,
    }
}

/// The keypad digit of an event code 0..=15.
pub fn digit_of_event(event: u8) -> Option<char> {
    match event {
        0..=9 => Some(char::from(b'0' + event)),
        10 => Some('*'),
        11 => Some('#'),
        12..=15 => Some(char::from(b'A' + event - 12)),
        _ => None,
    }
}

/// What an [`EventSender`] wants sent this interval; the sequence number is the stream's next.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct EventPacket {
    /// Set on the first packet of the event.
    pub marker: bool,
    /// RTP timestamp of the event's beginning, the same in all its packets.
    pub timestamp: u32,
    /// Payload.
    pub payload: [u8; PAYLOAD_LENGTH],
}

/// Sends one event at a time: start, updates, end three times.
#[derive(Clone, Debug, Default)]
pub struct EventSender {
    running: Option<Running>,
}

#[derive(Copy, Clone, Debug)]
struct Running {
    event: u8,
    volume: u8,
    timestamp: u32,
    elapsed: u32,
    total: u32,
    first: bool,
    ends_left: u8,
}

impl EventSender {
    /// A sender with nothing to send.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins an event at the stream's RTP `timestamp`. Durations are held to 40 ms..=[`MAX_DURATION_MS`].
    /// Returns false, changing nothing, while another event is being sent.
    pub fn start(&mut self, event: u8, timestamp: u32, duration_ms: u32, volume: u8) -> bool {
        if self.running.is_some() {
            return false;
        }
        let total = duration_ms.clamp(40, MAX_DURATION_MS) * (SAMPLE_RATE_HERTZ / 1000);
        self.running =
            Some(Running { event, volume, timestamp, elapsed: 0, total, first: true, ends_left: END_REPEATS });
        true
    }

    /// Whether audio is to be withheld because an event is being sent.
    pub fn is_active(&self) -> bool {
        self.running.is_some()
    }

    /// The packet of the next interval of `samples` (160 for 20 ms); `None` when nothing is being sent.
    pub fn next_packet(&mut self, samples: u16) -> Option<EventPacket> {
        let running = self.running.as_mut()?;
        running.elapsed = (running.elapsed + u32::from(samples)).min(running.total);
        let end = running.elapsed == running.total;
        let report = EventReport {
            event: running.event,
            end,
            volume: running.volume,
            duration: u16::try_from(running.elapsed).unwrap_or(u16::MAX),
        };
        let packet = EventPacket { marker: running.first, timestamp: running.timestamp, payload: report.to_bytes() };
        running.first = false;
        if end {
            running.ends_left -= 1;
            if running.ends_left == 0 {
                self.running = None;
            }
        }
        Some(packet)
    }
}

/// What an arriving report says that was not known before.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum EventChange {
    /// A new event began.
    Began {
        /// Event code.
        event: u8,
    },
    /// The event is over (its end report came; also told when the only packets that came were end packets).
    Ended {
        /// Event code.
        event: u8,
        /// Its length.
        duration_ms: u32,
    },
}

/// Follows the reports of one stream.
#[derive(Clone, Debug, Default)]
pub struct EventReceiver {
    last: Option<(u32, u8, bool)>, // timestamp, event, ended
}

impl EventReceiver {
    /// A receiver that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one report with its RTP timestamp. A `Began` whose end never arrives is followed by the next `Began`.
    /// When the first report seen is an end, `Ended` alone is returned: it began too.
    pub fn received(&mut self, timestamp: u32, report: EventReport) -> Option<EventChange> {
        let ended = EventChange::Ended {
            event: report.event,
            duration_ms: u32::from(report.duration) * 1000 / SAMPLE_RATE_HERTZ,
        };
        match self.last {
            Some((last, _, over)) if last == timestamp => {
                if over || !report.end {
                    return None;
                }
                self.last = Some((timestamp, report.event, true));
                Some(ended)
            }
            // an old packet that arrives late is of an event already told
            Some((last, _, _)) if timestamp.wrapping_sub(last) > u32::MAX / 2 => None,
            _ => {
                self.last = Some((timestamp, report.event, report.end));
                Some(if report.end { ended } else { EventChange::Began { event: report.event } })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_event_is_a_start_updates_and_three_ends() {
        let mut sender = EventSender::new();
        assert!(sender.start(5, 1000, 100, 10));
        assert!(!sender.start(6, 1000, 100, 10), "one at a time");
        let mut receiver = EventReceiver::new();
        let (mut packets, mut changes) = (Vec::new(), Vec::new());
        while let Some(packet) = sender.next_packet(160) {
            let report = EventReport::parse(&packet.payload).unwrap();
            changes.extend(receiver.received(packet.timestamp, report));
            packets.push((packet.marker, report.end, report.duration));
        }
        assert_eq!(
            packets,
            [
                (true, false, 160),
                (false, false, 320),
                (false, false, 480),
                (false, false, 640),
                (false, true, 800),
                (false, true, 800),
                (false, true, 800)
            ]
        );
        assert_eq!(changes, [EventChange::Began { event: 5 }, EventChange::Ended { event: 5, duration_ms: 100 }]);
        assert!(!sender.is_active());
    }

    #[test]
    fn the_longest_duration_fits_and_longer_is_cut() {
        for asked in [MAX_DURATION_MS, MAX_DURATION_MS + 1, u32::MAX] {
            let mut sender = EventSender::new();
            sender.start(1, 0, asked, 10);
            let last = std::iter::from_fn(|| sender.next_packet(160)).last().unwrap();
            assert_eq!(u32::from(EventReport::parse(&last.payload).unwrap().duration), MAX_DURATION_MS * 8);
        }
    }

    #[test]
    fn a_lost_beginning_and_late_packets_are_told_once() {
        let mut receiver = EventReceiver::new();
        let end = EventReport { event: 1, end: true, volume: 10, duration: 800 };
        assert_eq!(receiver.received(500, end), Some(EventChange::Ended { event: 1, duration_ms: 100 }));
        assert_eq!(receiver.received(500, end), None);
        assert_eq!(
            receiver.received(2000, EventReport { event: 2, end: false, ..end }),
            Some(EventChange::Began { event: 2 })
        );
        assert_eq!(receiver.received(500, end), None);
    }

    #[test]
    fn digits_have_codes_and_back() {
        for digit in "0123456789*#ABCD".chars() {
            assert_eq!(event_of_digit(digit).and_then(digit_of_event), Some(digit));
        }
        assert_eq!((event_of_digit('d'), event_of_digit('x'), digit_of_event(16)), (Some(15), None, None));
    }

    proptest! {
        #[test]
        fn reports_round_trip_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..8)) {
            match EventReport::parse(&bytes) {
                Ok(report) => {
                    let mut want = [bytes[0], bytes[1] & 0xbf, bytes[2], bytes[3]];
                    prop_assert_eq!(report.to_bytes(), want);
                    want[1] |= 0x40;
                    prop_assert_eq!(EventReport::parse(&want), Ok(report));
                }
                Err(error) => prop_assert_eq!(error.length, bytes.len()),
            }
        }
    }
}
