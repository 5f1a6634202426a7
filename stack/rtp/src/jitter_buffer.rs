//! An adaptive jitter buffer for one 8 kHz audio stream. It is a ring of samples in RTP time, so packets of any
//! length, in any order, land where they belong; reading advances by the samples read, which is the local clock.
//!
//! It adapts without a clock of its own. The *slack* of a packet is how many samples before its playout it came.
//! A packet in sequence that comes too late moves the playout back (more delay); a window of packets that all came
//! with slack to spare moves it forward (less delay), at a quiet place when there is one.

use crate::FRAME_SAMPLES;

/// Samples in the ring: 512 ms. A packet further ahead re-anchors the playout.
pub const CAPACITY_SAMPLES: usize = 4096;
const WORDS: usize = CAPACITY_SAMPLES / 64;
/// Packets in one adaptation window: two seconds of 20 ms packets.
const WINDOW_PACKETS: u32 = 100;
/// Samples given up at once when the delay shrinks: 5 ms.
const SHRINK_SAMPLES: i32 = 40;
/// Mean magnitude under which a frame is quiet enough to shorten unheard.
const QUIET: i32 = 400;
/// Concealment fades out over this many samples (60 ms) and is silence after.
const CONCEAL_SAMPLES: usize = 480;

/// Bounds of the playout delay.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct JitterBufferConfig {
    /// Delay at the start and after a jump, and the slack kept in reserve, in ms.
    pub initial_delay_ms: u16,
    /// The delay never adapts past this; held to 20..=400 ms.
    pub max_delay_ms: u16,
}

impl Default for JitterBufferConfig {
    fn default() -> Self {
        Self { initial_delay_ms: 40, max_delay_ms: 200 }
    }
}

/// What became of a packet given to the buffer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It will be played.
    Kept,
    /// It came after its time and more delay is not allowed, or it is old; dropped.
    Late,
    /// The playout was moved to it (first packet, silence, timestamp jump).
    Anchored,
    /// Longer than the ring, or empty; dropped.
    Refused,
}

/// What a read gave.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Played {
    /// Only samples that came.
    Received,
    /// Some samples were concealed.
    Concealed,
    /// Nothing to play: before the first packet, or concealment has faded out.
    Silence,
}

/// What happened over the buffer's life. Packets, except where said.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct JitterBufferCounters {
    /// Dropped because late.
    pub late: u64,
    /// Times the playout was moved to a packet.
    pub anchored: u64,
    /// Dropped because of their length.
    pub refused: u64,
    /// Samples concealed.
    pub concealed_samples: u64,
    /// Samples skipped to shorten the delay.
    pub skipped_samples: u64,
    /// Samples of delay added for late packets.
    pub stretched_samples: u64,
}

/// The buffer. Of fixed size (about 9 kB).
#[derive(Clone)]
pub struct JitterBuffer {
    samples: Box<[i16; CAPACITY_SAMPLES]>,
    valid: [u64; WORDS],
    initial: i32,
    max: i32,
    anchored: bool,
    next: u32,
    newest_sequence: u16,
    newest_end: u32,
    window_packets: u32,
    window_slack_min: i32,
    shrink: i32,
    history: [i16; FRAME_SAMPLES],
    concealed: usize,
    counters: JitterBufferCounters,
}

impl std::fmt::Debug for JitterBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JitterBuffer")
            .field("delay_ms", &self.delay_ms())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl JitterBuffer {
    /// An empty buffer; all it will ever allocate is allocated here.
    pub fn new(config: JitterBufferConfig) -> Self {
        let max = i32::from(config.max_delay_ms.clamp(20, 400)) * 8;
        Self {
            samples: Box::new([0; CAPACITY_SAMPLES]),
            valid: [0; WORDS],
            initial: (i32::from(config.initial_delay_ms) * 8).min(max),
            max,
            anchored: false,
            next: 0,
            newest_sequence: 0,
            newest_end: 0,
            window_packets: 0,
            window_slack_min: i32::MAX,
            shrink: 0,
            history: [0; FRAME_SAMPLES],
            concealed: CONCEAL_SAMPLES,
            counters: JitterBufferCounters::default(),
        }
    }

    /// Forgets what is buffered; the next packet anchors the playout. For a new source (SSRC).
    pub fn reset(&mut self) {
        self.anchored = false;
        self.valid = [0; WORDS];
        self.shrink = 0;
    }

    /// Takes the samples of one packet, the first of them at `timestamp`.
    pub fn push(&mut self, sequence: u16, timestamp: u32, samples: &[i16]) -> Pushed {
        let length = samples.len() as i32;
        if samples.is_empty() || length > self.max.max(FRAME_SAMPLES as i32 * 6) {
            self.counters.refused += 1;
            return Pushed::Refused;
        }
        if !self.anchored {
            self.anchor(sequence, timestamp, samples);
            return Pushed::Anchored;
        }
        let newer = sequence.wrapping_sub(self.newest_sequence);
        let in_order = newer != 0 && newer < 0x8000;
        let slack = timestamp.wrapping_sub(self.next) as i32;
        // a packet in sequence whose time is far off is a jump of the sender's clock, not jitter
        if in_order && (slack > self.max + length || slack < -(self.max + length)) {
            self.anchor(sequence, timestamp, samples);
            return Pushed::Anchored;
        }
        if slack < 0 {
            let lateness = -slack;
            // what is already behind the newest packet cannot move the playout past the bound
            let delay_after = self.newest_end.wrapping_sub(self.next) as i32 + lateness;
            if !in_order || delay_after > self.max {
                if lateness >= length {
                    self.counters.late += 1;
                    return Pushed::Late;
                }
                self.note(sequence, timestamp, length, slack, in_order);
                self.store(self.next, samples.get(lateness as usize..).unwrap_or(&[]));
                return Pushed::Kept;
            }
            self.next = timestamp;
            self.shrink = 0;
            self.counters.stretched_samples += lateness as u64;
        }
        if slack + length > CAPACITY_SAMPLES as i32 {
            self.counters.late += 1;
            return Pushed::Late;
        }
        self.note(sequence, timestamp, length, slack.max(0), in_order);
        self.store(timestamp, samples);
        Pushed::Kept
    }

    fn anchor(&mut self, sequence: u16, timestamp: u32, samples: &[i16]) {
        self.valid = [0; WORDS];
        self.anchored = true;
        self.next = timestamp.wrapping_sub(self.initial as u32);
        self.newest_sequence = sequence;
        self.newest_end = timestamp.wrapping_add(samples.len() as u32);
        self.window_packets = 0;
        self.window_slack_min = i32::MAX;
        self.shrink = 0;
        self.counters.anchored += 1;
        self.store(timestamp, samples);
    }

    fn note(&mut self, sequence: u16, timestamp: u32, length: i32, slack: i32, in_order: bool) {
        if in_order {
            self.newest_sequence = sequence;
            self.newest_end = timestamp.wrapping_add(length as u32);
        }
        self.window_slack_min = self.window_slack_min.min(slack);
        self.window_packets += 1;
        if self.window_packets == WINDOW_PACKETS {
            // half the initial delay stays in reserve
            self.shrink = (self.window_slack_min - self.initial / 2 - SHRINK_SAMPLES).max(0);
            self.window_packets = 0;
            self.window_slack_min = i32::MAX;
        }
    }

    fn store(&mut self, timestamp: u32, samples: &[i16]) {
        for (n, sample) in samples.iter().enumerate() {
            let at = timestamp.wrapping_add(n as u32) as usize % CAPACITY_SAMPLES;
            if let (Some(slot), Some(word)) = (self.samples.get_mut(at), self.valid.get_mut(at / 64)) {
                *slot = *sample;
                *word |= 1 << (at % 64);
            }
        }
    }

    fn take(&mut self) -> Option<i16> {
        let at = self.next as usize % CAPACITY_SAMPLES;
        self.next = self.next.wrapping_add(1);
        let word = self.valid.get_mut(at / 64)?;
        let bit = 1 << (at % 64);
        if *word & bit == 0 {
            return None;
        }
        *word &= !bit;
        self.samples.get(at).copied()
    }

    /// Fills `out` (usually 160 samples) with what is to be played now.
    pub fn pop(&mut self, out: &mut [i16]) -> Played {
        if !self.anchored {
            out.fill(0);
            return Played::Silence;
        }
        self.shorten();
        let (mut received, mut faded) = (true, true);
        for slot in out.iter_mut() {
            if let Some(sample) = self.take() {
                *slot = sample;
                self.concealed = 0;
                faded = false;
            } else {
                received = false;
                if self.concealed < CONCEAL_SAMPLES {
                    faded = false;
                    self.counters.concealed_samples += 1;
                }
                *slot = self.conceal();
            }
        }
        self.remember(out);
        match (received, faded) {
            (true, _) => Played::Received,
            (false, true) => Played::Silence,
            (false, false) => Played::Concealed,
        }
    }

    /// The last 20 ms again and again, fading to nothing in [`CONCEAL_SAMPLES`].
    fn conceal(&mut self) -> i16 {
        let left = CONCEAL_SAMPLES.saturating_sub(self.concealed) as i32;
        if left == 0 {
            return 0;
        }
        let sample = self.history.get(self.concealed % FRAME_SAMPLES).copied().unwrap_or(0);
        self.concealed += 1;
        (i32::from(sample) * left / CONCEAL_SAMPLES as i32) as i16
    }

    fn remember(&mut self, played: &[i16]) {
        // history is what was received; repeats of repeats would buzz
        if self.concealed == 0 {
            let keep = played.len().min(FRAME_SAMPLES);
            self.history.copy_within(keep.., 0);
            if let (Some(tail), Some(last)) =
                (self.history.get_mut(FRAME_SAMPLES - keep..), played.get(played.len() - keep..))
            {
                tail.copy_from_slice(last);
            }
        }
    }

    fn shorten(&mut self) {
        if self.shrink < SHRINK_SAMPLES {
            return;
        }
        let ahead: i32 = (0..SHRINK_SAMPLES as u32)
            .map(|n| {
                self.samples
                    .get(self.next.wrapping_add(n) as usize % CAPACITY_SAMPLES)
                    .map_or(0, |s| i32::from(*s).abs())
            })
            .sum();
        // quiet places first; a stream that is never quiet gives up its excess late in the window
        if ahead / SHRINK_SAMPLES < QUIET || self.window_packets > WINDOW_PACKETS / 2 {
            for _ in 0..SHRINK_SAMPLES {
                self.take();
            }
            self.shrink -= SHRINK_SAMPLES;
            self.counters.skipped_samples += SHRINK_SAMPLES as u64;
        }
    }

    /// From the sample to be played next to the end of the newest packet, in ms: the delay the buffer adds now.
    pub fn delay_ms(&self) -> u32 {
        if self.anchored { (self.newest_end.wrapping_sub(self.next) as i32).max(0) as u32 / 8 } else { 0 }
    }

    /// What happened so far.
    pub fn counters(&self) -> JitterBufferCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(n: u32) -> [i16; FRAME_SAMPLES] {
        std::array::from_fn(|at| (n * 160 + at as u32) as i16 | 1)
    }

    /// Plays a schedule of (tick at which it comes, packet number) and returns what each tick played.
    fn play(schedule: &[(u32, u32)], ticks: u32) -> (Vec<Played>, Vec<i16>, JitterBuffer) {
        let mut buffer = JitterBuffer::new(JitterBufferConfig::default());
        let (mut played, mut samples) = (Vec::new(), Vec::new());
        for tick in 0..ticks {
            for (_, n) in schedule.iter().filter(|(at, _)| *at == tick) {
                buffer.push(*n as u16, n * 160, &frame(*n));
            }
            let mut out = [0; FRAME_SAMPLES];
            played.push(buffer.pop(&mut out));
            samples.extend(out);
        }
        (played, samples, buffer)
    }

    #[test]
    fn a_steady_stream_comes_out_whole_after_the_initial_delay() {
        let schedule: Vec<_> = (0..50).map(|n| (n, n)).collect();
        let (played, samples, buffer) = play(&schedule, 52);
        assert_eq!(played.iter().filter(|p| **p == Played::Received).count(), 50);
        let want: Vec<i16> = (0..50).flat_map(frame).collect();
        assert_eq!(&samples[320..], &want[..]);
        assert_eq!(buffer.counters(), JitterBufferCounters { anchored: 1, ..Default::default() });
    }

    #[test]
    fn reordering_and_duplicates_are_unheard() {
        let mut schedule: Vec<_> = (0..50).map(|n| (n, n)).collect();
        schedule.swap(10, 11);
        schedule[10].0 = 10;
        schedule[11].0 = 11;
        schedule.push((21, 20));
        let (played, samples, _) = play(&schedule, 52);
        assert_eq!(played.iter().filter(|p| **p == Played::Received).count(), 50);
        assert_eq!(&samples[320..], &(0..50).flat_map(frame).collect::<Vec<_>>()[..]);
    }

    #[test]
    fn a_lost_packet_is_concealed_from_the_one_before() {
        let schedule: Vec<_> = (0..50).filter(|n| *n != 20).map(|n| (n, n)).collect();
        let (played, samples, buffer) = play(&schedule, 52);
        assert_eq!(played[22], Played::Concealed);
        assert_eq!(buffer.counters().concealed_samples, 160);
        let (before, concealed) = (&samples[21 * 160..22 * 160], &samples[22 * 160..23 * 160]);
        assert_eq!(before[0], concealed[0]);
        assert!(concealed.iter().zip(before).all(|(c, b)| c.abs() <= b.abs()));
        assert_eq!(played[23], Played::Received);
    }

    #[test]
    fn a_late_stretch_grows_the_delay_up_to_the_bound_and_shrinks_it_again() {
        // from packet 20 on everything is 100 ms late for a while, then on time again
        let schedule: Vec<_> = (0..600).map(|n| (if (20..200).contains(&n) { n + 5 } else { n }, n)).collect();
        let (played, _, buffer) = play(&schedule, 590);
        assert!(buffer.counters().stretched_samples >= 480);
        assert!(played[40..190].iter().all(|p| *p == Played::Received));
        assert!(buffer.counters().skipped_samples > 0);
        assert!(buffer.delay_ms() <= 80, "{}", buffer.delay_ms());
    }

    #[test]
    fn lateness_past_the_bound_is_dropped_or_anchors_but_never_grows_without_end() {
        let mut buffer = JitterBuffer::new(JitterBufferConfig { initial_delay_ms: 40, max_delay_ms: 60 });
        let mut out = [0; FRAME_SAMPLES];
        for n in 0..200u32 {
            buffer.push(n as u16, n * 160, &frame(n));
            for _ in 0..(if n % 7 == 0 { 3 } else { 1 }) {
                buffer.pop(&mut out);
            }
            assert!(buffer.delay_ms() <= 100);
        }
    }

    #[test]
    fn a_jump_of_the_timestamp_anchors_again() {
        let mut buffer = JitterBuffer::new(JitterBufferConfig::default());
        assert_eq!(buffer.push(0, 0, &frame(0)), Pushed::Anchored);
        assert_eq!(buffer.push(1, 160, &frame(1)), Pushed::Kept);
        assert_eq!(buffer.push(2, 1_000_000, &frame(2)), Pushed::Anchored);
        assert_eq!(buffer.push(1, 160, &frame(1)), Pushed::Late, "an old packet does not move the playout");
        assert_eq!(buffer.push(3, 5, &frame(2)), Pushed::Anchored, "also backwards");
        assert_eq!(buffer.push(4, 5, &[]), Pushed::Refused);
        assert_eq!(buffer.push(4, 165, &[1; 1600]), Pushed::Kept, "just inside");
        assert_eq!(buffer.push(5, 1765, &[1; 1601]), Pushed::Refused, "just outside");
    }

    #[test]
    fn silence_follows_a_stream_that_ends() {
        let schedule: Vec<_> = (0..5).map(|n| (n, n)).collect();
        let (played, samples, _) = play(&schedule, 20);
        assert_eq!(played[19], Played::Silence);
        assert!(samples[19 * 160..].iter().all(|s| *s == 0));
    }

    proptest! {
        #[test]
        fn no_order_of_packets_panics_or_grows(packets in proptest::collection::vec((any::<u16>(), prop_oneof![any::<u32>(), 0u32..4000], 0usize..2000, 0usize..4), 0..100)) {
            let mut buffer = JitterBuffer::new(JitterBufferConfig::default());
            let mut out = [0; FRAME_SAMPLES];
            let samples = [100i16; 2000];
            for (sequence, timestamp, length, reads) in packets {
                buffer.push(sequence, timestamp, &samples[..length]);
                for _ in 0..reads {
                    buffer.pop(&mut out);
                    prop_assert!(out.iter().all(|s| (0..=100).contains(s)));
                }
                prop_assert!(buffer.delay_ms() <= 512);
            }
        }
    }
}
