//! What a receiver knows of one stream: RFC 3550 A.1 (sequence numbers), A.3 (loss) and A.8 (jitter).

use crate::rtcp::ReportBlock;
use strowger_clock::Moment;

/// A jump forward of this many or more is a restart, not loss (A.1).
const MAX_DROPOUT: u16 = 3000;
/// A step back of fewer than this is reordering (A.1); also how far back duplicates are known.
const MAX_MISORDER: u16 = 128;
const SEQUENCE_MODULUS: u32 = 1 << 16;

/// How a packet stood in its stream.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The first packet.
    First,
    /// The one expected.
    InOrder,
    /// Ahead of the one expected by so many, which are missing for now.
    Gap(u16),
    /// Behind the newest and not seen before.
    Reordered,
    /// Seen before; not counted as received.
    Duplicate,
    /// Far from the sequence; the next one in step will restart the statistics. Not counted.
    Strange,
    /// Two in step after a jump: the peer restarted and so did the statistics.
    Restarted,
}

/// Statistics of one received stream. Of fixed size.
#[derive(Clone, Debug)]
pub struct Reception {
    clock_rate_hertz: u32,
    started: bool,
    base_sequence: u32,
    highest: u16,
    cycles: u32,
    bad_sequence: Option<u16>,
    seen: u128, // bit n: the packet n behind the highest came
    received: u64,
    duplicates: u64,
    reordered: u64,
    restarts: u64,
    octets: u64,
    lost_before_restart: u64,
    expected_prior: u32,
    received_prior: u64,
    received_since_restart: u64,
    transit: Option<u32>,
    jitter_sixteenths: u32,
    jitter_max_sixteenths: u32,
    last_sender_report: Option<(u32, Moment)>,
}

impl Reception {
    /// Statistics of a stream whose timestamps count `clock_rate_hertz`.
    pub fn new(clock_rate_hertz: u32) -> Self {
        Self {
            clock_rate_hertz: clock_rate_hertz.max(1),
            started: false,
            base_sequence: 0,
            highest: 0,
            cycles: 0,
            bad_sequence: None,
            seen: 0,
            received: 0,
            duplicates: 0,
            reordered: 0,
            restarts: 0,
            octets: 0,
            lost_before_restart: 0,
            expected_prior: 0,
            received_prior: 0,
            received_since_restart: 0,
            transit: None,
            jitter_sixteenths: 0,
            jitter_max_sixteenths: 0,
            last_sender_report: None,
        }
    }

    fn restart(&mut self, sequence: u16) {
        self.started = true;
        self.base_sequence = u32::from(sequence);
        self.highest = sequence;
        self.cycles = 0;
        self.bad_sequence = None;
        self.seen = 1;
        self.expected_prior = 0;
        self.received_prior = 0;
        self.received_since_restart = 0;
        self.transit = None;
    }

    /// Counts one packet of `octets` payload octets.
    pub fn received_packet(&mut self, sequence: u16, timestamp: u32, octets: usize, arrival: Moment) -> Arrival {
        let outcome = self.place(sequence);
        match outcome {
            Arrival::Duplicate => self.duplicates += 1,
            Arrival::Strange => {}
            _ => {
                self.received += 1;
                self.received_since_restart += 1;
                self.octets += octets as u64;
                if outcome == Arrival::Reordered {
                    self.reordered += 1;
                }
                self.measure_jitter(timestamp, arrival);
            }
        }
        outcome
    }

    fn place(&mut self, sequence: u16) -> Arrival {
        if !self.started {
            self.restart(sequence);
            return Arrival::First;
        }
        let ahead = sequence.wrapping_sub(self.highest);
        if ahead == 0 {
            return Arrival::Duplicate;
        }
        if ahead < MAX_DROPOUT {
            if sequence < self.highest {
                self.cycles = self.cycles.wrapping_add(SEQUENCE_MODULUS);
            }
            self.highest = sequence;
            self.seen = self.seen.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
            self.bad_sequence = None;
            return if ahead == 1 { Arrival::InOrder } else { Arrival::Gap(ahead - 1) };
        }
        let behind = self.highest.wrapping_sub(sequence);
        if behind < MAX_MISORDER {
            let bit = 1u128 << behind;
            if self.seen & bit != 0 {
                return Arrival::Duplicate;
            }
            self.seen |= bit;
            if self.extended_highest().wrapping_sub(u32::from(behind)) < self.base_sequence {
                self.base_sequence = self.extended_highest().wrapping_sub(u32::from(behind));
            }
            return Arrival::Reordered;
        }
        if self.bad_sequence == Some(sequence) {
            self.lost_before_restart += self.lost_since_restart();
            self.restarts += 1;
            self.restart(sequence);
            return Arrival::Restarted;
        }
        self.bad_sequence = Some(sequence.wrapping_add(1));
        Arrival::Strange
    }

    fn measure_jitter(&mut self, timestamp: u32, arrival: Moment) {
        let units = u128::from(arrival.as_nanos()) * u128::from(self.clock_rate_hertz) / 1_000_000_000;
        let transit = (units as u32).wrapping_sub(timestamp);
        if let Some(before) = self.transit {
            let difference = (transit.wrapping_sub(before) as i32).unsigned_abs();
            // a silence or a new timestamp base is not jitter
            if difference < self.clock_rate_hertz {
                self.jitter_sixteenths = self.jitter_sixteenths + difference - ((self.jitter_sixteenths + 8) >> 4);
                self.jitter_max_sixteenths = self.jitter_max_sixteenths.max(self.jitter_sixteenths);
            }
        }
        self.transit = Some(transit);
    }

    fn extended_highest(&self) -> u32 {
        self.cycles.wrapping_add(u32::from(self.highest))
    }

    fn expected_since_restart(&self) -> u32 {
        if self.started { self.extended_highest().wrapping_sub(self.base_sequence).wrapping_add(1) } else { 0 }
    }

    fn lost_since_restart(&self) -> u64 {
        u64::from(self.expected_since_restart()).saturating_sub(self.received_since_restart)
    }

    /// Packets received, duplicates not counted.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Payload octets received, duplicates not counted.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Packets that did not come, over all restarts.
    pub fn lost(&self) -> u64 {
        self.lost_before_restart + self.lost_since_restart()
    }

    /// Packets that came again.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Packets that came behind a newer one.
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Times the peer's sequence jumped.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Lost over expected, 0.0..=1.0.
    pub fn loss_ratio(&self) -> f64 {
        let (lost, received) = (self.lost() as f64, self.received as f64);
        if lost + received > 0.0 { lost / (lost + received) } else { 0.0 }
    }

    /// Interarrival jitter in units of the stream's clock (what a report block carries).
    pub fn jitter(&self) -> u32 {
        self.jitter_sixteenths >> 4
    }

    /// Interarrival jitter in ms.
    pub fn jitter_ms(&self) -> f64 {
        f64::from(self.jitter_sixteenths) / 16.0 * 1000.0 / f64::from(self.clock_rate_hertz)
    }

    /// Highest that [`Self::jitter_ms`] was.
    pub fn jitter_max_ms(&self) -> f64 {
        f64::from(self.jitter_max_sixteenths) / 16.0 * 1000.0 / f64::from(self.clock_rate_hertz)
    }

    /// Notes a sender report of this stream: the middle 32 bits of its NTP timestamp, and when it came.
    pub fn received_sender_report(&mut self, ntp_middle: u32, arrival: Moment) {
        self.last_sender_report = Some((ntp_middle, arrival));
    }

    /// The block for the next report, about `ssrc`; fraction lost counts from the call before (A.3).
    pub fn report_block(&mut self, ssrc: u32, now: Moment) -> ReportBlock {
        let expected = self.expected_since_restart();
        let expected_interval = expected.wrapping_sub(self.expected_prior);
        let received_interval = self.received_since_restart - self.received_prior;
        self.expected_prior = expected;
        self.received_prior = self.received_since_restart;
        let lost_interval = u64::from(expected_interval).saturating_sub(received_interval);
        let fraction_lost = if expected_interval == 0 {
            0
        } else {
            ((lost_interval << 8) / u64::from(expected_interval)).min(255) as u8
        };
        let (last_sender_report, delay) = match self.last_sender_report {
            Some((ntp, at)) => (ntp, (now.saturating_since(at).as_nanos() * 65_536 / 1_000_000_000) as u32),
            None => (0, 0),
        };
        ReportBlock {
            ssrc,
            fraction_lost,
            cumulative_lost: i32::try_from(self.lost()).unwrap_or(i32::MAX).min(0x7f_ffff),
            highest_sequence: self.extended_highest(),
            jitter: self.jitter(),
            last_sender_report,
            delay_since_last_sender_report: delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    #[test]
    fn a_steady_stream_has_no_loss_and_no_jitter_even_across_the_wrap() {
        let mut reception = Reception::new(8000);
        for n in 0..200u32 {
            reception.received_packet((65_500 + n) as u16, n * 160, 160, at(u64::from(n) * 20));
        }
        assert_eq!((reception.received(), reception.lost(), reception.octets()), (200, 0, 32_000));
        assert!(reception.jitter_ms() < 0.001);
        assert_eq!(reception.report_block(7, at(4000)).highest_sequence, 65_536 + 163);
    }

    #[test]
    fn loss_duplicates_and_reordering_are_told_apart() {
        let mut reception = Reception::new(8000);
        let order = [10, 11, 13, 12, 13, 16];
        let seen: Vec<_> = order
            .iter()
            .map(|n| reception.received_packet(*n, u32::from(*n) * 160, 160, at(u64::from(*n) * 20)))
            .collect();
        use Arrival::*;
        assert_eq!(seen, [First, InOrder, Gap(1), Reordered, Duplicate, Gap(2)]);
        assert_eq!(
            (reception.received(), reception.lost(), reception.duplicates(), reception.reordered()),
            (5, 2, 1, 1)
        );
        let block = reception.report_block(1, at(400));
        assert_eq!((block.cumulative_lost, block.fraction_lost), (2, (2 * 256 / 7) as u8));
        assert_eq!(reception.report_block(1, at(500)).fraction_lost, 0, "the fraction is of the interval");
    }

    #[test]
    fn jitter_follows_the_formula_of_a8() {
        let mut reception = Reception::new(8000);
        let mut want = 0f64;
        for n in 0..100u64 {
            let late = if n % 2 == 0 { 0 } else { 10 };
            reception.received_packet(n as u16, n as u32 * 160, 160, at(n * 20 + late));
            if n > 0 {
                want += (10.0 - want) / 16.0;
            }
        }
        assert!((reception.jitter_ms() - want).abs() < 0.3, "{} {want}", reception.jitter_ms());
    }

    #[test]
    fn a_restart_needs_two_packets_in_step() {
        let mut reception = Reception::new(8000);
        for n in 0..10u16 {
            reception.received_packet(n, 0, 0, at(0));
        }
        assert_eq!(
            reception.received_packet(MAX_DROPOUT + 8, 0, 0, at(0)),
            Arrival::Gap(MAX_DROPOUT - 2),
            "just inside"
        );
        let mut reception = Reception::new(8000);
        reception.received_packet(0, 0, 0, at(0));
        assert_eq!(reception.received_packet(MAX_DROPOUT, 0, 0, at(0)), Arrival::Strange, "just outside");
        assert_eq!(reception.received_packet(MAX_DROPOUT + 1, 0, 0, at(0)), Arrival::Restarted);
        assert_eq!(reception.lost(), 0);
    }

    proptest! {
        #[test]
        fn no_order_of_packets_breaks_the_counts(packets in proptest::collection::vec((any::<u16>(), any::<u32>(), 0u64..1_000_000), 0..300)) {
            let mut reception = Reception::new(8000);
            let mut counted = 0;
            for (sequence, timestamp, ms) in packets {
                match reception.received_packet(sequence, timestamp, 1, at(ms)) {
                    Arrival::Duplicate | Arrival::Strange => {}
                    _ => counted += 1,
                }
                reception.report_block(1, at(ms));
            }
            prop_assert_eq!(reception.received(), counted);
            prop_assert!((0.0..=1.0).contains(&reception.loss_ratio()));
        }
    }
}
