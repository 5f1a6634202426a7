//! Meters: a token bucket, the single-rate (RFC 2697) and the two-rate (RFC 2698) three-colour marker.

use strowger_clock::Moment;

/// Octets are counted in billionths, so that a rate in octets per second fills a bucket exactly, nanosecond by nanosecond.
const SCALE: u64 = 1_000_000_000;

/// How well a packet keeps to its profile.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Colour {
    /// Within the committed rate.
    Green,
    /// Above it, but within the excess burst or the peak rate.
    Yellow,
    /// Above both.
    Red,
}

/// A bucket that fills at a rate and is emptied by packets. It starts full.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    octets_per_second: u64,
    depth: u64,
    tokens: u64,
    filled_at: Option<Moment>,
}

impl TokenBucket {
    /// Fills with `octets_per_second` up to `burst_octets`.
    pub fn new(octets_per_second: u64, burst_octets: u32) -> Self {
        let depth = u64::from(burst_octets) * SCALE;
        Self { octets_per_second, depth, tokens: depth, filled_at: None }
    }

    /// From a rate in kbit/s (thousands of bits).
    pub fn from_kbps(kbps: u32, burst_octets: u32) -> Self {
        Self::new(u64::from(kbps) * 125, burst_octets)
    }

    /// Adds what has come since the last call; returns what did not fit, for a bucket behind this one.
    fn fill(&mut self, now: Moment) -> u64 {
        let since = now.saturating_since(self.filled_at.unwrap_or(now));
        self.filled_at = Some(self.filled_at.unwrap_or(now).max(now));
        let come = u128::from(self.octets_per_second) * since.as_nanos();
        let total = u128::from(self.tokens) + come;
        self.tokens = total.min(u128::from(self.depth)) as u64;
        u64::try_from(total - u128::from(self.tokens)).unwrap_or(u64::MAX)
    }

    fn holds(&self, octets: usize) -> bool {
        self.tokens >= (octets as u64).saturating_mul(SCALE)
    }

    fn debit(&mut self, octets: usize) {
        self.tokens = self.tokens.saturating_sub((octets as u64).saturating_mul(SCALE));
    }

    /// Takes `octets` out when they are there.
    pub fn take(&mut self, now: Moment, octets: usize) -> bool {
        self.fill(now);
        let there = self.holds(octets);
        if there {
            self.debit(octets);
        }
        there
    }

    /// When `octets` will be there, if nothing else is taken; `None` when never.
    pub fn ready_at(&self, octets: usize) -> Option<Moment> {
        let wanted = (octets as u64).saturating_mul(SCALE);
        if wanted > self.depth || (self.octets_per_second == 0 && wanted > self.tokens) {
            return None;
        }
        let missing = wanted.saturating_sub(self.tokens);
        let nanos = if missing == 0 { 0 } else { missing.div_ceil(self.octets_per_second) };
        Some(self.filled_at.unwrap_or(Moment::ZERO) + std::time::Duration::from_nanos(nanos))
    }
}

/// What a meter measures; rates in kbit/s of IP, bursts in octets.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum MeterSpec {
    /// Green within the bucket, red beyond.
    TokenBucket {
        /// Rate.
        rate_kbps: u32,
        /// Bucket depth.
        burst_octets: u32,
    },
    /// RFC 2697.
    SingleRate {
        /// Committed information rate.
        committed_kbps: u32,
        /// Committed burst size.
        committed_burst_octets: u32,
        /// Excess burst size.
        excess_burst_octets: u32,
        /// Whether the colour a packet comes with counts.
        aware: bool,
    },
    /// RFC 2698.
    TwoRate {
        /// Committed information rate.
        committed_kbps: u32,
        /// Committed burst size.
        committed_burst_octets: u32,
        /// Peak information rate.
        peak_kbps: u32,
        /// Peak burst size.
        peak_burst_octets: u32,
        /// Whether the colour a packet comes with counts.
        aware: bool,
    },
}

/// A meter at work.
#[derive(Clone, Debug)]
pub struct Meter {
    spec: MeterSpec,
    committed: TokenBucket,
    /// Excess (RFC 2697, filled only by what the committed bucket spills) or peak (RFC 2698).
    second: TokenBucket,
}

impl Meter {
    /// Starts with full buckets.
    pub fn new(spec: MeterSpec) -> Self {
        let (committed, second) = match spec {
            MeterSpec::TokenBucket { rate_kbps, burst_octets } => {
                (TokenBucket::from_kbps(rate_kbps, burst_octets), TokenBucket::new(0, 0))
            }
            MeterSpec::SingleRate { committed_kbps, committed_burst_octets, excess_burst_octets, .. } => (
                TokenBucket::from_kbps(committed_kbps, committed_burst_octets),
                TokenBucket::new(0, excess_burst_octets),
            ),
            MeterSpec::TwoRate { committed_kbps, committed_burst_octets, peak_kbps, peak_burst_octets, .. } => (
                TokenBucket::from_kbps(committed_kbps, committed_burst_octets),
                TokenBucket::from_kbps(peak_kbps, peak_burst_octets),
            ),
        };
        Self { spec, committed, second }
    }

    /// What it was made from.
    pub fn spec(&self) -> MeterSpec {
        self.spec
    }

    /// The colour of a packet of `octets` that came with `before`.
    pub fn measure(&mut self, now: Moment, octets: usize, before: Colour) -> Colour {
        match self.spec {
            MeterSpec::TokenBucket { .. } => {
                if self.committed.take(now, octets) {
                    Colour::Green
                } else {
                    Colour::Red
                }
            }
            MeterSpec::SingleRate { aware, .. } => {
                let spilled = self.committed.fill(now);
                self.second.tokens = self.second.tokens.saturating_add(spilled).min(self.second.depth);
                let before = if aware { before } else { Colour::Green };
                // RFC 2697 §3
                if before == Colour::Green && self.committed.holds(octets) {
                    self.committed.debit(octets);
                    Colour::Green
                } else if before <= Colour::Yellow && self.second.holds(octets) {
                    self.second.debit(octets);
                    Colour::Yellow
                } else {
                    Colour::Red
                }
            }
            MeterSpec::TwoRate { aware, .. } => {
                self.committed.fill(now);
                self.second.fill(now);
                let before = if aware { before } else { Colour::Green };
                // RFC 2698 §3: peak first; green debits both
                if before == Colour::Red || !self.second.holds(octets) {
                    Colour::Red
                } else if before == Colour::Yellow || !self.committed.holds(octets) {
                    self.second.debit(octets);
                    Colour::Yellow
                } else {
                    self.second.debit(octets);
                    self.committed.debit(octets);
                    Colour::Green
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Colour::{Green, Red, Yellow};
    use proptest::prelude::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn colours(meter: &mut Meter, now: Moment, octets: usize, count: usize) -> Vec<Colour> {
        (0..count).map(|_| meter.measure(now, octets, Green)).collect()
    }

    #[test]
    fn a_bucket_passes_its_burst_at_once_and_then_its_rate() {
        let mut meter = Meter::new(MeterSpec::TokenBucket { rate_kbps: 80, burst_octets: 400 }); // 10 octets a millisecond
        assert_eq!(colours(&mut meter, at(0), 200, 3), [Green, Green, Red]);
        assert_eq!(meter.measure(at(19), 200, Green), Red, "190 octets have come");
        assert_eq!(meter.measure(at(20), 200, Green), Green);
        assert_eq!(colours(&mut meter, at(10_000), 200, 3), [Green, Green, Red], "never more than the burst");
    }

    #[test]
    fn a_bucket_says_when_it_will_be_ready() {
        let mut bucket = TokenBucket::new(1_000, 100);
        assert!(bucket.take(at(5), 100));
        assert_eq!(bucket.ready_at(50), Some(at(55)));
        assert_eq!((bucket.ready_at(100), bucket.ready_at(101)), (Some(at(105)), None));
        assert!(!bucket.take(at(54), 50));
        assert!(bucket.take(at(55), 50));
    }

    #[test]
    fn rfc2697_fills_the_excess_bucket_only_from_overflow() {
        let spec = MeterSpec::SingleRate {
            committed_kbps: 8,
            committed_burst_octets: 1_000,
            excess_burst_octets: 1_000,
            aware: false,
        };
        let mut meter = Meter::new(spec);
        assert_eq!(colours(&mut meter, at(0), 500, 5), [Green, Green, Yellow, Yellow, Red]);
        // one octet a millisecond: after one second the committed bucket is full and nothing has spilled
        assert_eq!(colours(&mut meter, at(1_000), 500, 3), [Green, Green, Red]);
        // after two more, one second's worth has spilled
        assert_eq!(colours(&mut meter, at(3_000), 500, 5), [Green, Green, Yellow, Yellow, Red]);
    }

    #[test]
    fn rfc2698_debits_both_buckets_for_green() {
        let spec = MeterSpec::TwoRate {
            committed_kbps: 8,
            committed_burst_octets: 1_000,
            peak_kbps: 16,
            peak_burst_octets: 1_500,
            aware: false,
        };
        let mut meter = Meter::new(spec);
        assert_eq!(colours(&mut meter, at(0), 500, 4), [Green, Green, Yellow, Red]);
        assert_eq!(colours(&mut meter, at(500), 500, 3), [Green, Yellow, Red], "500 committed, 1000 peak");
    }

    #[test]
    fn an_aware_meter_never_makes_a_packet_better() {
        for spec in [
            MeterSpec::SingleRate {
                committed_kbps: 1,
                committed_burst_octets: 9_000,
                excess_burst_octets: 9_000,
                aware: true,
            },
            MeterSpec::TwoRate {
                committed_kbps: 1,
                committed_burst_octets: 9_000,
                peak_kbps: 1,
                peak_burst_octets: 9_000,
                aware: true,
            },
        ] {
            let mut meter = Meter::new(spec);
            assert_eq!([Green, Yellow, Red].map(|c| meter.measure(at(0), 100, c)), [Green, Yellow, Red]);
        }
    }

    proptest! {
        #[test]
        fn what_passes_is_never_more_than_burst_and_rate_allow(
            rate_kbps in 1..10_000u32, burst_octets in 100..10_000u32,
            packets in proptest::collection::vec((0..50_000_000u64, 1..1_500usize), 1..200),
        ) {
            let mut meter = Meter::new(MeterSpec::TokenBucket { rate_kbps, burst_octets });
            let (mut nanos, mut passed, first) = (0, 0u128, packets[0].0);
            for (gap, octets) in packets {
                nanos += gap;
                if meter.measure(Moment::from_nanos(nanos), octets, Green) == Green {
                    passed += octets as u128;
                }
            }
            let allowed = u128::from(burst_octets) + u128::from(nanos - first) * u128::from(rate_kbps) * 125 / 1_000_000_000;
            prop_assert!(passed <= allowed, "{passed} > {allowed}");
        }
    }
}
